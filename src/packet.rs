//! How a packet is referred to: its frame, and its frame with the capture time.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A frame of an input: the position of the input (file or interface) on the command line, and the
/// frame's number in that input, 1-based, as Wireshark counts.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct FrameRef {
    /// Index of the input.
    pub input: u16,
    /// 1-based frame number within that input.
    pub number: u64,
}

/// A packet: its frame, and when it was captured.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PacketRef {
    /// The frame.
    pub frame: FrameRef,
    /// Capture time of the frame.
    pub at: Timestamp,
}
