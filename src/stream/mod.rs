//! Stage 4: TCP segments to streams.
//!
//! In: segments of one direction, in any order, again, overlapping. Out: its bytes in order, once, and
//! the holes that the capture has. In order costs no copy. Knows nothing of what the bytes mean.

mod direction;
mod seq;

pub use direction::{Budget, SegmentData, StreamChunk, StreamDirection, StreamEvent};
pub use seq::SeqNum;
