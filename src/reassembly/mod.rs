//! Stage 4: TCP segments to streams.
//!
//! In: segments of one direction, in any order, again, overlapping. Out: its bytes in order, once, and
//! the holes that the capture has. In order costs no copy. Knows nothing of what the bytes mean.

mod half;
mod seq;

pub use half::{Budget, Half, Piece, StreamEvent, Taken};
pub use seq::SeqNum;
