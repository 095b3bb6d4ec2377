//! Stage 1: records of the classic pcap format.
//!
//! In: the buffer, at a file header or a record. Out: one [`Record`] after the other, or where the file
//! stops making sense. A record has no mark by which to find it again, so damage is the end here.
//!
//! ```text
//! file    4       2       2       4          4         4         4
//!      | magic | major | minor | zone | accuracy | snaplen | FCS flags, link type |
//!
//! record     4          4           4           4       8, only "modified"   captured
//!      | seconds | fraction | captured | original |      ...       |   octets of the frame |
//! ```
//!
//! Spec: *PCAP Capture File Format*, draft-ietf-opsawg-pcap. The snaplen is not trusted: files exist
//! whose records are longer.

use super::buffer::Buffer;
use super::{Endian, LinkType, Record, Step};
use crate::time::Timestamp;

/// How to read the records of one file.
pub(super) struct Pcap {
    endian: Endian,
    link: LinkType,
    nanos_per_fraction: u64,
    record_header_len: usize,
}

impl Pcap {
    /// Reads the magic number; `None` when it is none of this format.
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

    /// Reads the rest of the file header; false when the input ends in it.
    pub(super) fn read_header(&mut self, buffer: &mut Buffer) -> bool {
        if !buffer.fill(FILE_HEADER_LEN) {
            return false;
        }
        if let Some([.., network]) = self.endian.words::<6>(buffer.bytes()) {
            // The upper half says whether frames end in a frame check sequence.
            let [_, _, link @ ..] = network.to_be_bytes();
            self.link = LinkType(u16::from_be_bytes(link));
        }
        buffer.consume(FILE_HEADER_LEN);
        true
    }

    pub(super) fn advance(&mut self, buffer: &mut Buffer, number: &mut u64) -> Step {
        let offset = buffer.offset();
        let header_len = self.record_header_len;
        if !buffer.fill(header_len) && buffer.len() == 0 {
            return Step::End;
        }
        let header = buffer.bytes().get(..header_len).and_then(|header| self.endian.words(header));
        let Some([seconds, fraction, captured, wire_len]) = header else {
            return Step::Truncated { offset, what: "a record header" };
        };
        if captured > MAX_CAPTURED {
            let detail = format!(
                "expected a record of at most {MAX_CAPTURED} octets, found {captured}; stopped reading"
            );
            return Step::Corrupt { offset, skipped: None, detail };
        }
        let captured = captured as usize;
        if !buffer.fill(header_len + captured) {
            return Step::Truncated { offset, what: "a record" };
        }
        let start = buffer.consume(header_len + captured) + header_len;
        *number += 1;
        Step::Frame(Record {
            at: Timestamp::new(
                seconds.into(),
                u64::from(fraction).saturating_mul(self.nanos_per_fraction),
            ),
            link: self.link,
            interface: None,
            wire_len,
            place: start..start + captured,
        })
    }
}

const FILE_HEADER_LEN: usize = 24;

/// No capture tool writes records above 256 KiB; offload makes some of 64 KiB, USB larger ones. What
/// claims more than this is damage.
const MAX_CAPTURED: u32 = 16 * 1024 * 1024;
