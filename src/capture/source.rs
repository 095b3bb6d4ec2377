//! The interface of every source of packets: files, several files, growing files, interfaces, memory.

use std::ops::ControlFlow;

use super::{Error, Frame, Item};
use crate::time::Timestamp;

/// Gives the items of a capture, in order.
///
/// A source pushes its items into a [`Receiver`] and does not return them one by one: the frames of a live capture
/// are in the ring of the kernel, and libpcap copies each frame that is pulled from there, which costs as much as
/// its analysis.
pub trait Source: Send {
    /// Gives the items that are at hand, and returns whether there are more. Nothing follows after the receiver breaks.
    ///
    /// # Errors
    ///
    /// Waiting for packets fails. An input that fails is an [`Item::Failed`].
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error>;

    /// Gives the items that are about the whole capture, such as its final counters. Called once, when no more
    /// frames are wanted.
    fn close(&mut self, receiver: &mut impl Receiver);
}

/// Takes the items of a [`Source`]; breaks to end the run.
pub trait Receiver {
    /// Takes the next frame of the source.
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()>;

    /// Takes anything but a frame.
    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()>;
}

/// What a source has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// More items may be at hand.
    More,
    /// Nothing is at hand. All frames before this time have been given.
    Idle(Timestamp),
    /// The source has no more items.
    End,
}
