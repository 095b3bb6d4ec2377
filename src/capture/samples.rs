//! Captures for the tests of this folder, built byte by byte, and readers that return them in pieces.

#![expect(clippy::cast_possible_truncation, reason = "lengths of what the tests make")]

use std::collections::VecDeque;
use std::io::{self, Read};

use super::{CaptureFile, Endian, Error, Item, LinkType, Notice};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Returns at most `step` bytes at a time.
pub(super) struct Trickle {
    pub(super) bytes: VecDeque<u8>,
    pub(super) step: usize,
}

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let step = self.step.min(into.len());
        self.bytes.read(&mut into[..step])
    }
}

/// A copy of a frame that outlives its buffer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct OwnedFrame {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) link: LinkType,
    pub(super) interface: Option<u32>,
    pub(super) wire_len: u32,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn read(bytes: Vec<u8>, step: usize) -> CaptureFile {
    let source = Trickle { bytes: bytes.into(), step };
    CaptureFile::from_reader("sample".into(), 0, Box::new(source))
}

/// All items of a capture. The test fails if reading byte by byte gives others.
pub(super) fn items(bytes: &[u8]) -> (Vec<OwnedFrame>, Vec<Notice>, Option<Error>) {
    let all_of = |step| {
        let mut capture = read(bytes.to_vec(), step);
        let (mut frames, mut notices) = (Vec::new(), Vec::new());
        loop {
            match capture.next_item() {
                Ok(Some(Item::Frame(frame))) => {
                    let FrameRef { number, .. } = frame.id;
                    frames.push(OwnedFrame {
                        number,
                        at: frame.at,
                        link: frame.link,
                        interface: frame.interface,
                        wire_len: frame.wire_len,
                        bytes: frame.bytes.to_vec(),
                    });
                }
                Ok(Some(Item::Notice(notice))) => notices.push(notice),
                Ok(Some(_)) => {}
                Ok(None) => break (frames, notices, None),
                Err(e) => break (frames, notices, Some(e)),
            }
        }
    };
    let (slowly, at_once) = (all_of(1), all_of(usize::MAX));
    assert_eq!((&slowly.0, &slowly.1), (&at_once.0, &at_once.1));
    at_once
}

pub(super) fn frames(bytes: &[u8]) -> Vec<OwnedFrame> {
    items(bytes).0
}

pub(super) fn notices(bytes: &[u8]) -> Vec<Notice> {
    items(bytes).1
}

fn put(bytes: &mut Vec<u8>, endian: Endian, words: &[u32]) {
    for word in words {
        bytes.extend(match endian {
            Endian::Big => word.to_be_bytes(),
            Endian::Little => word.to_le_bytes(),
        });
    }
}

/// Builds a classic pcap file.
pub(super) struct PcapBuilder {
    endian: Endian,
    /// Bytes of the modified format after each record header.
    extra: usize,
    pub(super) bytes: Vec<u8>,
}

impl PcapBuilder {
    pub(super) fn file(endian: Endian, magic: u32, network: u32) -> Self {
        let mut bytes = Vec::new();
        let version = if endian == Endian::Big { 0x0002_0004 } else { 0x0004_0002 };
        put(&mut bytes, endian, &[magic, version, 0, 0, 65_535, network]);
        Self { endian, extra: if magic == 0xa1b2_cd34 { 8 } else { 0 }, bytes }
    }

    pub(super) fn record(&mut self, sec: u32, fraction: u32, wire: u32, data: &[u8]) -> &mut Self {
        put(&mut self.bytes, self.endian, &[sec, fraction, data.len() as u32, wire]);
        self.bytes.extend(vec![0xee; self.extra]);
        self.bytes.extend(data);
        self
    }
}

/// Builds a pcapng section.
pub(super) struct PcapngBuilder {
    pub(super) endian: Endian,
    pub(super) bytes: Vec<u8>,
}

impl PcapngBuilder {
    pub(super) fn section(endian: Endian) -> Self {
        let mut blocks = Self { endian, bytes: Vec::new() };
        let version = if endian == Endian::Big { 0x0001_0000 } else { 0x0000_0001 };
        blocks.words(0x0a0d_0d0a, &[0x1a2b_3c4d, version, u32::MAX, u32::MAX], b"");
        blocks
    }

    /// A block of any type: 32-bit fields, then step and their padding.
    pub(super) fn words(&mut self, kind: u32, words: &[u32], step: &[u8]) -> &mut Self {
        let len = (12 + 4 * words.len() + step.len().next_multiple_of(4)) as u32;
        put(&mut self.bytes, self.endian, &[kind, len]);
        put(&mut self.bytes, self.endian, words);
        self.bytes.extend(step);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        put(&mut self.bytes, self.endian, &[len]);
        self
    }

    pub(super) fn interface(
        &mut self,
        link: u16,
        snaplen: u32,
        options: &[(u16, &[u8])],
    ) -> &mut Self {
        let short = |number: u16| match self.endian {
            Endian::Big => number.to_be_bytes(),
            Endian::Little => number.to_le_bytes(),
        };
        let mut body = short(link).to_vec();
        body.extend([0, 0]);
        put(&mut body, self.endian, &[snaplen]);
        for (code, value) in options {
            body.extend(short(*code));
            body.extend(short(value.len() as u16));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.words(1, &[], &body)
    }

    pub(super) fn packet(&mut self, interface: u32, ticks: u64, data: &[u8]) -> &mut Self {
        let (high, low) = ((ticks >> 32) as u32, ticks as u32);
        let len = data.len() as u32;
        self.words(6, &[interface, high, low, len, len], data)
    }
}
