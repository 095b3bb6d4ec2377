//! TCP segments to byte streams, and the state of TCP connections.
//!
//! In: segments of a connection in any order, also repeated or overlapping. Out: the bytes of each direction in order,
//! each once, and the holes that the capture has; how the connection was opened and closed. Segments that come in order
//! are not copied. What the bytes mean is not known here.

mod direction;
mod offset;
mod recent;
mod resent;
mod seq;
pub(crate) mod tcp;

pub use direction::{SegmentData, StreamChunk, StreamDirection, StreamEvent};
pub use offset::TcpOffset;
pub use resent::Resent;
pub use seq::SeqNum;
