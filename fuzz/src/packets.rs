//! Frames: whatever the bytes, decoding ends, and the fast path gives what the full decoder gives.

use beamscope::capture::{Frame, LinkType};
use beamscope::decode::{Decoded, Decoder, FastDecode, Segment};
use beamscope::limits::DefragLimits;
use beamscope::packet::FrameRef;
use beamscope::time::Timestamp;

/// A frame. In the input: link type, bytes that were cut off, and, if another one follows, its length, in two bytes each.
#[derive(Debug)]
struct Given<'a> {
    link: u16,
    missing: u16,
    bytes: &'a [u8],
}

impl<'a> Given<'a> {
    fn read(data: &'a [u8], is_last: bool) -> Option<(Self, &'a [u8])> {
        let (&[a, b, c, d], rest) = data.split_first_chunk()?;
        let (len, rest) = if is_last {
            (rest.len(), rest)
        } else {
            let (&[high, low], rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes([high, low])).min(rest.len()), rest)
        };
        let (bytes, later) = rest.split_at(len);
        let (link, missing) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some((Self { link, missing, bytes }, later))
    }

    fn frame(&self, number: u64) -> Frame<'a> {
        // One link type in two is Ethernet, the others are any of those that are registered.
        let link = if self.link & 1 == 0 { LinkType::ETHERNET } else { LinkType(self.link >> 1) };
        Frame {
            id: FrameRef { input: 0, number },
            at: Timestamp::new(1_000, 1_000 * number),
            link,
            interface: None,
            wire_len: self.bytes.len() as u32 + u32::from(self.missing),
            bytes: self.bytes,
            comments: &[],
        }
    }
}

/// Decodes frames of any link type, fragments of datagrams among them.
pub fn decode(data: &[u8]) {
    let mut decoder = Decoder::new(DefragLimits { bytes: 1 << 16, ..DefragLimits::default() });
    let mut data = data;
    for number in 1..64 {
        let Some((given, rest)) = Given::read(data, false) else { return };
        data = rest;
        if let Decoded::Tcp(segment) = decoder.decode(&given.frame(number)) {
            assert!(segment.payload.len() <= 1 << 16, "{}", segment.payload.len());
        }
    }
}

/// Decodes one frame on both ways.
pub fn fast_decode(data: &[u8]) {
    let Some((given, _)) = Given::read(data, true) else { return };
    let frame = given.frame(1);
    let (mut one, mut other) =
        (Decoder::new(DefragLimits::default()), Decoder::new(DefragLimits::default()));
    let fast = one.decode_fast(&frame);
    let full = other.decode_full(&frame);
    match fast {
        FastDecode::Undecided => {}
        FastDecode::Other => assert!(matches!(full, Decoded::Other), "{full:?}"),
        FastDecode::Tcp(view) => {
            let fast = one.segment(&frame, &view);
            let Decoded::Tcp(full) = full else { panic!("only the fast path has {fast:?}") };
            assert_eq!(fields(&fast), fields(&full));
        }
    }
}

fn fields(segment: &Segment<'_>) -> String {
    format!("{segment:?}")
}
