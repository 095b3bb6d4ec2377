//! How a packet is referred to: its frame, and its frame with the capture time.

use serde::{Deserialize, Serialize, Serializer};

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
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
pub struct PacketRef {
    /// The frame that the packet was captured in.
    pub frame: FrameRef,
    /// Capture time of the frame.
    pub at: Timestamp,
}

/// Serializes as `[[input, number], time]`, since an observation has twenty or more. The form with names is read as well.
impl Serialize for PacketRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { frame: FrameRef { input, number }, at } = self;
        ((input, number), at).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_read_in_its_short_form_and_in_the_one_with_names() {
        let mark = PacketRef { frame: FrameRef { input: 3, number: 7 }, at: Timestamp(5) };
        let text = serde_json::to_string(&mark).unwrap();
        assert_eq!(text, r#"[[3,7],"1970-01-01T00:00:00.000000005Z"]"#);
        let named =
            r#"{"frame": {"input": 3, "number": 7}, "at": "1970-01-01T00:00:00.000000005Z"}"#;
        for text in [&*text, named] {
            assert_eq!(serde_json::from_str::<PacketRef>(text).unwrap(), mark, "{text}");
        }
    }
}
