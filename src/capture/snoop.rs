//! Stage 1: records of the snoop format.
//!
//! In: the buffer, at the file header or a record. Out: one [`FrameRecord`] after the other, or the offset of the first
//! corrupt record; reading ends there, as for pcap. All numbers are big-endian.
//!
//! ```text
//! file       8           4          4
//!      | "snoop\0\0\0" | version | datalink |
//!
//! record     4          4         4        4        4          4        captured     to the length
//!      | original | captured | length | dropped | seconds | microseconds | frame   |   padding   |
//! ```
//!
//! `length` is that of the whole record; `dropped` counts packets since the first record. Spec: RFC 1761, *Snoop Version
//! 2 Packet Capture File Format*; datalink types by IANA, *Snoop Datalink Types*.

use super::buffer::Buffer;
use super::{Endian, FormatStep, FrameRecord, Interface, LinkType};
use crate::time::Timestamp;

/// State of reading one file.
pub(super) struct Snoop {
    link: LinkType,
    /// The interface, for the counter of dropped packets. The format names none.
    pub(super) interface: [Interface; 1],
}

impl Snoop {
    /// Whether these are the first four bytes of a snoop file.
    pub(super) fn recognise(magic: [u8; 4]) -> bool {
        MAGIC.starts_with(&magic)
    }

    /// Reads the file header. An error has the words for what is not supported, `None` that the input ends within it.
    pub(super) fn read_header(buffer: &mut Buffer) -> Option<Result<Self, String>> {
        if !buffer.fill(FILE_HEADER_LEN) {
            return None;
        }
        let (magic, numbers) = buffer.bytes().split_first_chunk::<8>()?;
        let [version, datalink] = Endian::Big.words(numbers)?;
        let is_snoop = magic == MAGIC;
        buffer.consume(FILE_HEADER_LEN);
        Some(if !is_snoop || version != VERSION {
            Err(format!("of version {version}; expected version {VERSION}"))
        } else {
            link_type(datalink).map(|link| Self { link, interface: Default::default() })
        })
    }

    /// Reads the next record, and more input if necessary.
    pub(super) fn advance(
        &mut self,
        buffer: &mut Buffer,
        number: &mut u64,
        record: &mut FrameRecord,
    ) -> FormatStep {
        let offset = buffer.offset();
        if !buffer.fill(RECORD_HEADER_LEN) && buffer.len() == 0 {
            return FormatStep::End;
        }
        let header = buffer.bytes().get(..RECORD_HEADER_LEN);
        let Some([_, captured, len]) = header.and_then(|header| Endian::Big.words(header)) else {
            return FormatStep::Truncated { offset, what: "a record header" };
        };
        let Some(len) = record_len(captured, len) else {
            let detail = format!(
                "expected a record of at most {MAX_RECORD} bytes that holds its packet, found {len} bytes \
                 and a packet of {captured}; stopped reading"
            );
            return FormatStep::Corrupt { offset, skipped: None, detail };
        };
        buffer.fill(len);
        match self.step(buffer, number) {
            Some(found) => {
                *record = found;
                FormatStep::Frame
            }
            None => FormatStep::Truncated { offset, what: "a record" },
        }
    }

    /// Reads the next record if all of it is buffered.
    fn step(&mut self, buffer: &mut Buffer, number: &mut u64) -> Option<FrameRecord> {
        let header = buffer.bytes().get(..RECORD_HEADER_LEN)?;
        let [wire_len, captured, len, dropped, seconds, micros] = Endian::Big.words(header)?;
        let start = buffer.take(record_len(captured, len)?)? + RECORD_HEADER_LEN;
        *number += 1;
        let [interface] = &mut self.interface;
        // Systems that cannot count leave the field 0.
        interface.os_drop = Some(dropped.into()).filter(|dropped| *dropped > 0);
        Some(FrameRecord {
            at: Timestamp::new(seconds.into(), u64::from(micros) * 1000),
            link: self.link,
            interface: None,
            wire_len,
            place: start..start + captured as usize,
        })
    }
}

/// Length of a record as its header gives it, if that is possible.
fn record_len(captured: u32, len: u32) -> Option<usize> {
    let (captured, len) = (captured as usize, len as usize);
    (len <= MAX_RECORD && len >= captured.saturating_add(RECORD_HEADER_LEN)).then_some(len)
}

/// The link type of frames of a datalink type; the error names the type in words.
fn link_type(datalink: u32) -> Result<LinkType, String> {
    let name = match datalink {
        0 | 4 | 24 | 25 => return Ok(LinkType::ETHERNET), // IEEE 802.3, Ethernet, both, 100BaseT
        2 => return Ok(LinkType::IEEE802_5),
        8 => return Ok(LinkType::FDDI),
        16 => return Ok(LinkType::IP_OVER_FC),
        18 => return Ok(LinkType::SUNATM),
        26 => return Ok(LinkType::IPOIB),
        PRIVATE_IPNET => return Ok(LinkType::IPNET),
        1 => "IEEE 802.4 token bus",
        3 => "IEEE 802.6 metro net",
        5 => "HDLC",
        6 => "character synchronous",
        7 => "IBM channel-to-channel",
        9 => "other",
        10 => "frame relay LAPF",
        11 => "multi-protocol over frame relay",
        12 => "character asynchronous",
        13 => "X.25",
        14 => "software loopback",
        17 => "ATM",
        19 => "X.25 LAPB",
        20 => "ISDN",
        21 => "HIPPI",
        22 => "100VG-AnyLAN Ethernet",
        23 => "100VG-AnyLAN Token Ring",
        _ => "without a name",
    };
    Err(format!("of datalink type {datalink} ({name})"))
}

const MAGIC: &[u8; 8] = b"snoop\0\0\0";
const VERSION: u32 = 2;
const FILE_HEADER_LEN: usize = 16;
const RECORD_HEADER_LEN: usize = 24;

/// `DL_IPNET` of Solaris, whose private types have the highest bit.
const PRIVATE_IPNET: u32 = 0x8000_0005;

/// Largest record that is accepted, as for pcap.
const MAX_RECORD: usize = 16 * 1024 * 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "lengths of what the tests make")]
mod tests {
    use super::super::samples::{frames, items, notices, read};
    use super::super::{Drops, Error, NoticeKind};
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn header(version: u32, datalink: u32) -> Vec<u8> {
        [&MAGIC[..], &words(&[version, datalink])].concat()
    }

    /// A record of `data` with `padding` bytes, of a frame with a byte more on the wire.
    fn record(data: &[u8], padding: usize, dropped: u32) -> Vec<u8> {
        let (captured, len) =
            (data.len() as u32, (RECORD_HEADER_LEN + data.len() + padding) as u32);
        let header = words(&[captured + 1, captured, len, dropped, 1_700_000_000, 5]);
        [&header[..], data, &vec![0xee; padding]].concat()
    }

    #[test]
    fn records_are_read_with_and_without_padding() {
        let file = [header(2, 4), record(b"one", 1, 0), record(b"", 0, 0), record(b"three", 7, 0)];
        let frames = frames(&file.concat());
        let data: Vec<_> = frames.iter().map(|frame| (frame.number, &frame.bytes[..])).collect();
        assert_eq!(data, [(1, &b"one"[..]), (2, b""), (3, b"three")]);
        assert_eq!(frames[0].at, Timestamp::new(1_700_000_000, 5_000));
        assert_eq!((frames[0].wire_len, frames[0].link), (4, LinkType::ETHERNET));
    }

    #[test]
    fn a_cut_at_any_byte_gives_the_frames_before_it_and_one_notice() {
        let file = [header(2, 4), record(b"one", 1, 0), record(b"two", 5, 0)].concat();
        let whole = frames(&file);
        let ends = [16, 16 + 28, file.len()];
        for cut in 4..file.len() {
            let (frames, notices, error) = items(&file[..cut]);
            assert!(error.is_none());
            assert_eq!(frames, whole[..ends.iter().filter(|end| cut >= **end).count().max(1) - 1]);
            assert_eq!(notices.len(), usize::from(!ends.contains(&cut)), "{cut}");
            assert!(notices.iter().all(|notice| notice.kind == NoticeKind::Truncated));
        }
    }

    #[test]
    fn reading_ends_at_an_impossible_record() {
        for (captured, len) in [(3, 26), (u32::MAX, u32::MAX), (3, u32::MAX), (u32::MAX, 100)] {
            let bad = words(&[3, captured, len, 0, 1, 1]);
            let file = [header(2, 4), record(b"one", 0, 0), bad, record(b"two", 0, 0)].concat();
            assert_eq!(frames(&file).len(), 1);
            let notices = notices(&file);
            assert_eq!((notices[0].kind, notices[0].offset), (NoticeKind::Corrupt, 16 + 27));
        }
    }

    #[test]
    fn dropped_packets_are_those_of_the_last_record() {
        let file = [header(2, 0), record(b"x", 0, 3), record(b"y", 0, 7)].concat();
        let mut capture = read(file, usize::MAX);
        while capture.next_item().unwrap().is_some() {}
        let mut drops = Drops::default();
        capture.add_drops(&mut drops);
        assert_eq!((drops.kernel, drops.interface), (Some(7), None));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (version, datalink, words) in [
            (2, 5, "datalink type 5 (HDLC), which is not read"),
            (2, 10, "datalink type 10 (frame relay LAPF), which"),
            (2, 999, "datalink type 999 (without a name), which"),
            (3, 4, "of version 3; expected version 2"),
        ] {
            let (frames, _, error) = items(&header(version, datalink));
            let error = error.unwrap();
            assert!(frames.is_empty() && matches!(error, Error::Snoop { .. }));
            assert!(error.to_string().contains(words), "{error}");
        }
        for datalink in [0, 2, 4, 8, 16, 18, 24, 25, 26, PRIVATE_IPNET] {
            assert!(items(&header(2, datalink)).2.is_none(), "{datalink}");
        }
        assert!(items(b"snoop and text that is long enough").2.is_some());
    }
}
