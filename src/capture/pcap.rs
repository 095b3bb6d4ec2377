//! Stage 1: records of the classic pcap format.
//!
//! In: the buffer, at the file header or a record. Out: one [`FrameRecord`] after the other, or the offset of the first
//! corrupt record. Records have no magic number by which the next one could be found, so reading ends there.
//!
//! ```text
//! file    4       2       2       4          4         4         4
//!      | magic | major | minor | zone | accuracy | snaplen | FCS flags, link type |
//!
//! record     4          4           4           4       8, only "modified"   captured
//!      | seconds | fraction | captured | original |      ...       |   bytes of the frame |
//! ```
//!
//! Spec: *PCAP Capture File Format*, draft-ietf-opsawg-pcap. The snaplen is ignored, because some files contain
//! longer records.

use super::buffer::Buffer;
use super::{Endian, FormatStep, FrameRecord, LinkType};
use crate::time::Timestamp;

/// Format of the records of one file.
pub(super) struct Pcap {
    endian: Endian,
    link: LinkType,
    nanos_per_fraction: u32,
    record_header_len: usize,
}

impl Pcap {
    /// Reads the magic number; `None` if it belongs to another format.
    pub(super) fn recognise(magic: [u8; 4]) -> Option<Self> {
        let (nanos_per_fraction, record_header_len) = (1000, 16);
        let pcap =
            |endian| Self { endian, link: LinkType::NULL, nanos_per_fraction, record_header_len };
        [Endian::Big, Endian::Little].into_iter().find_map(|endian| match endian.u32(magic) {
            0xa1b2_c3d4 => Some(pcap(endian)),
            0xa1b2_3c4d => Some(Self { nanos_per_fraction: 1, ..pcap(endian) }),
            // The "modified" format: interface, protocol and packet type in each record header.
            0xa1b2_cd34 => Some(Self { record_header_len: 24, ..pcap(endian) }),
            _ => None,
        })
    }

    /// Reads the file header; false if the input ends within it.
    pub(super) fn read_header(&mut self, buffer: &mut Buffer) -> bool {
        if !buffer.fill(FILE_HEADER_LEN) {
            return false;
        }
        if let Some([.., network]) = self.endian.words::<6>(buffer.bytes()) {
            // The upper half describes the frame check sequence.
            let [_, _, link @ ..] = network.to_be_bytes();
            self.link = LinkType(u16::from_be_bytes(link));
        }
        buffer.consume(FILE_HEADER_LEN);
        true
    }

    /// Reads the next record, and more input if necessary.
    pub(super) fn advance(
        &mut self,
        buffer: &mut Buffer,
        number: &mut u64,
        record: &mut FrameRecord,
    ) -> FormatStep {
        let offset = buffer.offset();
        let header_len = self.record_header_len;
        if !buffer.fill(header_len) && buffer.len() == 0 {
            return FormatStep::End;
        }
        let header = buffer.bytes().get(..header_len).and_then(|header| self.endian.words(header));
        let Some([_, _, captured]) = header else {
            return FormatStep::Truncated { offset, what: "a record header" };
        };
        if captured > MAX_CAPTURED {
            let detail = format!(
                "expected a record of at most {MAX_CAPTURED} bytes, found {captured}; stopped reading"
            );
            return FormatStep::Corrupt { offset, skipped: None, detail };
        }
        buffer.fill(header_len + captured as usize);
        match self.step(buffer, number) {
            Some(found) => {
                *record = found;
                FormatStep::Frame
            }
            None => FormatStep::Truncated { offset, what: "a record" },
        }
    }

    /// Reads the next record if all of it is buffered.
    #[inline(always)]
    pub(super) fn step(&self, buffer: &mut Buffer, number: &mut u64) -> Option<FrameRecord> {
        let [seconds, fraction, captured, wire_len] = self.endian.words(buffer.peek::<16>()?)?;
        if captured > MAX_CAPTURED {
            return None;
        }
        let whole = self.record_header_len + captured as usize;
        let start = buffer.take(whole)?;
        *number += 1;
        let nanos = u64::from(fraction) * u64::from(self.nanos_per_fraction);
        Some(FrameRecord {
            at: Timestamp::new(seconds.into(), nanos),
            link: self.link,
            interface: None,
            wire_len,
            place: start + self.record_header_len..start + whole,
        })
    }
}

const FILE_HEADER_LEN: usize = 24;

/// Largest record that is accepted; a larger length is taken for corruption. Capture tools write at most 256 KiB;
/// segmentation offload gives records of 64 KiB, USB larger ones.
const MAX_CAPTURED: u32 = 16 * 1024 * 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]
mod tests {
    use super::super::NoticeKind;
    use super::super::samples::{PcapBuilder, frames, notices};
    use super::*;

    const SECONDS: u32 = 1_700_000_000;

    #[test]
    fn every_magic_is_read_in_both_byte_orders() {
        for endian in [Endian::Big, Endian::Little] {
            for (magic, nanos) in [(0xa1b2_c3d4, 5_000), (0xa1b2_3c4d, 5), (0xa1b2_cd34, 5_000)] {
                let mut file = PcapBuilder::file(endian, magic, 1);
                file.record(SECONDS, 5, 99, b"one").record(SECONDS, 6, 3, b"two");
                let frames = frames(&file.bytes);
                assert_eq!(frames.len(), 2, "{magic:x}");
                assert_eq!(frames[0].at, Timestamp::new(SECONDS.into(), nanos));
                assert_eq!((frames[0].wire_len, frames[0].bytes.as_slice()), (99, &b"one"[..]));
                assert_eq!((frames[1].number, frames[1].bytes.as_slice()), (2, &b"two"[..]));
            }
        }
    }

    #[test]
    fn the_link_type_is_the_lower_half_of_its_field() {
        let mut file = PcapBuilder::file(Endian::Big, 0xa1b2_c3d4, 0x5400_0114);
        file.record(1, 0, 1, b"x");
        assert_eq!(frames(&file.bytes)[0].link, LinkType::LINUX_SLL2);
    }

    #[test]
    fn reading_ends_at_a_record_with_an_impossible_length() {
        for length in [MAX_CAPTURED + 1, u32::MAX] {
            let mut file = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
            file.record(1, 0, 1, b"x");
            let offset = file.bytes.len() as u64;
            file.record(1, 0, 1, b"y").record(1, 0, 1, b"z");
            file.bytes[offset as usize + 8..][..4].copy_from_slice(&length.to_le_bytes());
            assert_eq!(frames(&file.bytes).len(), 1);
            let notices = notices(&file.bytes);
            assert_eq!(notices.len(), 1);
            assert_eq!((notices[0].kind, notices[0].offset), (NoticeKind::Corrupt, offset));
            assert_eq!((notices[0].skipped, notices[0].after.number), (None, 1));
        }
    }

    #[test]
    fn a_record_larger_than_the_first_buffer_is_one_slice() {
        let mut file = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        let large: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        file.record(1, 0, 1_000_000, &large).record(2, 0, 1, b"x");
        let frames = frames(&file.bytes);
        assert!(frames[0].bytes == large && frames[1].bytes == b"x");
    }
}
