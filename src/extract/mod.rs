//! Which frames of a capture matter, before any is judged.
//!
//! In: the frames of a run, and what is known from other runs. Out: the frames that can change the state of an
//! engine, in their order, and how many there are of all. An engine that is given these frames, and the time up to which
//! the input goes, reports the same as one that is given all frames.

mod facts;
mod first_frames;
mod selector;
mod summary;
mod waiting;

pub use facts::Facts;
pub use selector::{ExtractEnd, Selector};
pub use summary::{ExtractDamage, ExtractSummary, InputSummary};
pub use waiting::{KeptItem, KeptItems};
