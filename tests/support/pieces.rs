//! The frames of a capture, written to captures of their own.

#![expect(clippy::cast_possible_truncation, reason = "fields of a pcap file have 32 bits")]

use beamscope::capture::{Frame, Input, Inputs, Item, LinkType, Order};
use beamscope::decode::{Decoded, Decoder, Direction};
use beamscope::limits::DefragLimits;

/// A frame, and the direction of its segment if it has one.
pub(crate) struct Kept {
    pub(crate) nanos: u64,
    pub(crate) wire_len: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) direction: Option<Direction>,
}

/// The frames of a capture with one link type.
pub(crate) fn frames_of(path: &str) -> Option<(LinkType, Vec<Kept>)> {
    let mut inputs = Inputs::new(vec![Input::Path(path.into())], Order::Time).unwrap();
    let mut decoder = Decoder::new(DefragLimits::default());
    let (mut kept, mut links) = (Vec::new(), Vec::new());
    while let Some(item) = inputs.next_item() {
        let Item::Frame(frame) = item else { continue };
        let direction = match decoder.decode(&frame) {
            Decoded::Tcp(segment) => Some(segment.direction),
            _ => None,
        };
        let Frame { at, link, wire_len, bytes, .. } = frame;
        kept.push(Kept { nanos: at.0, wire_len, bytes: bytes.to_vec(), direction });
        links.push(link);
    }
    links.dedup();
    let [link] = links[..] else { return None };
    Some((link, kept))
}

/// A pcap file with times in nanoseconds, `shift` nanoseconds later.
pub(crate) fn pcap(link: LinkType, frames: &[&Kept], shift: i64) -> Vec<u8> {
    let mut pcap = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
    pcap.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    pcap.extend(0x4_0000_u32.to_le_bytes());
    pcap.extend(u32::from(link.0).to_le_bytes());
    for frame in frames {
        let nanos = frame.nanos.saturating_add_signed(shift);
        let words = [nanos / 1_000_000_000, nanos % 1_000_000_000];
        pcap.extend(words.map(|word| (word as u32).to_le_bytes()).concat());
        pcap.extend((frame.bytes.len() as u32).to_le_bytes());
        pcap.extend(frame.wire_len.to_le_bytes());
        pcap.extend(&frame.bytes);
    }
    pcap
}
