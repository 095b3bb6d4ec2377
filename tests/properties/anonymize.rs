//! Anonymising damaged packets: no panic, no packet is lost or changes its length, and nothing grows without bound.

use std::ops::ControlFlow;
use std::path::Path;

use crate::support::captures;
use beamscope::anonymize::{Anonymized, Replacements};
use beamscope::capture::{CaptureFile, Error, Frame, Item, LinkType, Progress, Receiver, Source};
use beamscope::limits::AnonymizeLimits;
use beamscope::packet::FrameRef;
use beamscope::time::Timestamp;

/// Gives frames from memory.
struct Frames<'a> {
    frames: &'a [(u64, LinkType, u32, Vec<u8>)],
    at: usize,
}

impl Source for Frames<'_> {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        let Some((at, link, wire_len, bytes)) = self.frames.get(self.at) else {
            return Ok(Progress::End);
        };
        self.at += 1;
        let frame = Frame {
            id: FrameRef { input: 0, number: self.at as u64 },
            at: Timestamp(*at),
            link: *link,
            interface: None,
            wire_len: *wire_len,
            bytes,
            comments: &[],
        };
        let _ = receiver.on_frame(&frame);
        Ok(Progress::More)
    }

    fn close(&mut self, _: &mut impl Receiver) {}
}

/// Lengths of the frames that come.
#[derive(Default)]
struct Lengths(Vec<(u64, usize)>);

impl Receiver for Lengths {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.0.push((frame.id.number, frame.bytes.len()));
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, _: Item<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A small generator: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below.max(1)
    }
}

fn read(path: &str) -> Vec<(u64, LinkType, u32, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut frames = Vec::new();
    while let Ok(Some(item)) = capture.next_item() {
        if let Item::Frame(frame) = item {
            frames.push((frame.at.0, frame.link, frame.wire_len, frame.bytes.to_vec()));
        }
    }
    frames
}

fn lengths(frames: &[(u64, LinkType, u32, Vec<u8>)], limits: AnonymizeLimits) -> Vec<(u64, usize)> {
    let mut replacements = Replacements::new(&[4369], [], limits);
    let mut source = Anonymized::new(Frames { frames, at: 0 }, &mut replacements);
    let mut lengths = Lengths::default();
    while source.pump(&mut lengths).unwrap() != Progress::End {}
    source.close(&mut lengths);
    lengths.0
}

#[test]
fn damaged_packets_are_given_in_order_and_as_long_as_before() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let small = AnonymizeLimits {
        packets: 4096,
        streams: 8192,
        connections: 4,
        datagrams: 2,
        ..AnonymizeLimits::default()
    };
    for (index, path) in captures().iter().enumerate() {
        let mut frames = read(path);
        frames.truncate(400);
        for round in 0..4 {
            let mut damaged = frames.clone();
            for (_, link, _, bytes) in &mut damaged {
                for _ in 0..random.below(4) {
                    let at = random.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = u8::try_from(random.below(256)).unwrap();
                    }
                }
                if random.below(6) == 0 {
                    bytes.truncate(random.below(bytes.len() + 1));
                }
                if round == 3 && random.below(4) == 0 {
                    *link = LinkType(u16::try_from(random.below(300)).unwrap());
                }
            }
            if round == 2 {
                for at in 1..damaged.len() {
                    damaged.swap(at, at - random.below(2));
                }
            }
            let limits = if index % 2 == 0 { small } else { AnonymizeLimits::default() };
            let given = lengths(&damaged, limits);
            assert_eq!(given.len(), damaged.len(), "{path}");
            for ((number, len), (expected, frame)) in given.iter().zip((1..).zip(&damaged)) {
                assert_eq!(*number, expected, "{path}");
                // A link header that has addresses at places that are not known is left out.
                assert!(*len <= frame.3.len(), "{path}: frame {number}");
                if frame.1 == LinkType::ETHERNET {
                    assert_eq!(*len, frame.3.len(), "{path}: frame {number}");
                }
            }
        }
    }
}
