//! How a packet is referred to: its frame, and its frame with the capture time.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A frame of an input: the position of the input (file or interface) on the command line, and the number of the
/// frame in that input, counted from 1 as in Wireshark.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct FrameRef {
    /// Index of the input, from 0.
    pub input: u16,
    /// Frame number within that input, from 1.
    pub number: u64,
}

/// A packet: its frame and its capture time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PacketRef {
    /// The frame that the packet was captured in.
    pub frame: FrameRef,
    /// Capture time of the frame.
    pub at: Timestamp,
}
