//! Encoder of capture files.
//!
//! In: frames and descriptions of their interfaces. Out: bytes of a pcapng section or of a pcap file, both with
//! nanoseconds, appended to a buffer that the caller writes to a file. This file does no I/O.
//!
//! ```text
//! section   type   length   magic  1.0   -1 (length unknown)       comment, inputs, program
//! interface 1      length   link type, 0   snaplen                 name, input, resolution
//! packet    6      length   interface  time (2)  captured  wire    frame, padding, number, comments
//! names     4      length   records of an address and its name
//! secrets   10     length   type   bytes                           secrets, padding
//! counters  5      length   interface  time (2)                    received, drops
//! ```
//!
//! Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng; *PCAP Capture File
//! Format*, draft-ietf-opsawg-pcap.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Frame, Interface, LinkType, Secrets, originals};
use crate::time::Timestamp;

/// Formats of saved captures, both with nanoseconds in little-endian order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaveFormat {
    /// Several interfaces and link types, comments, names and counters.
    Pcapng,
    /// A pcapng file that keeps the numbers of its frames (`epb_packetid`): those of the capture that it was taken from. Where
    /// it was taken from several, it also keeps which one each frame is of.
    Extract,
    /// Frames of one link type, without metadata.
    Pcap,
}

/// Encodes the frames of one file.
///
/// Each call appends whole blocks or records, so that the file is valid after each call.
#[derive(Debug)]
pub struct Encoder {
    format: SaveFormat,
    /// Interface of the file for each origin, numbered in the order of the blocks.
    interfaces: HashMap<Origin, u32, RandomState>,
    /// Origin and interface of the previous frame, since most files have only one.
    last: Option<(Origin, u32)>,
    /// Whether the section lists inputs, and each interface is of one of them.
    lists_inputs: bool,
}

/// Input, interface and link type of a frame; each combination is an interface of the file.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Origin {
    input: u16,
    interface: Option<u32>,
    link: LinkType,
}

/// Fields of an interface block beside the link type.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct InterfaceInfo {
    /// Name of the interface, or of the input file if that contains none.
    pub name: Option<String>,
    /// Most captured bytes of a frame; 0 for no limit.
    pub snaplen: u32,
}

/// Error of a frame that has another link type than its pcap file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a pcap file holds packets of one link type; this one has {has}, and a packet has {other}")]
pub struct LinkTypeMismatch {
    /// Link type of the file.
    pub has: u16,
    /// Link type of the frame.
    pub other: u16,
}

impl Encoder {
    /// An encoder for a new file.
    pub fn new(format: SaveFormat) -> Self {
        Self { format, interfaces: HashMap::default(), last: None, lists_inputs: false }
    }

    /// Writes the section header with a `comment`, which may be empty. An extract of several lists its `inputs` there, which
    /// must [fit](inputs_fit). Writes nothing for a pcap file, whose header needs the link type of the first frame.
    pub fn begin(&mut self, comment: &str, inputs: &[Arc<str>], out: &mut Vec<u8>) {
        if self.format == SaveFormat::Pcap {
            return;
        }
        let block = Block::begin(SECTION_HEADER, out);
        words(out, &[BYTE_ORDER_MAGIC, VERSION_1_0, u32::MAX, u32::MAX]);
        if !comment.is_empty() {
            option(OPT_COMMENT, clipped(comment, MAX_SECTION_COMMENT).as_bytes(), out);
        }
        let is_extract = self.format == SaveFormat::Extract;
        // An extract of one goes by the name of its file.
        self.lists_inputs = is_extract && inputs.len() > 1;
        for (place, name) in inputs.iter().enumerate().filter(|_| self.lists_inputs) {
            option(OPT_COMMENT, originals::entry(place, name).as_bytes(), out);
        }
        let program = if is_extract { EXTRACT_PROGRAM } else { PROGRAM };
        option(SHB_USERAPPL, program.as_bytes(), out);
        option(END_OF_OPTIONS, b"", out);
        block.end(out);
    }

    /// Writes a frame with its comments. Before the first frame of an interface it writes the interface block, with
    /// the fields that `describe` returns.
    ///
    /// # Errors
    ///
    /// The format is pcap, and the frame has another link type than the file.
    pub fn frame<'c>(
        &mut self,
        frame: &Frame<'_>,
        comments: impl IntoIterator<Item = &'c [u8]>,
        describe: impl FnOnce() -> InterfaceInfo,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkTypeMismatch> {
        let origin = Origin { input: frame.id.input, interface: frame.interface, link: frame.link };
        if self.format == SaveFormat::Pcap {
            return self.record(origin, frame, out);
        }
        let interface = match self.last {
            Some((last, interface)) if last == origin => interface,
            _ => self.interface(origin, describe, out),
        };
        self.last = Some((origin, interface));
        let block = Block::begin(ENHANCED_PACKET, out);
        let [high, low] = halves(frame.at);
        words(out, &[interface, high, low, length(frame.bytes), frame.wire_len]);
        padded(frame.bytes, out);
        let mut has_options = self.format == SaveFormat::Extract;
        if has_options {
            option(EPB_PACKETID, &frame.id.number.to_le_bytes(), out);
        }
        for comment in comments {
            option(OPT_COMMENT, comment.get(..MAX_COMMENT).unwrap_or(comment), out);
            has_options = true;
        }
        if has_options {
            option(END_OF_OPTIONS, b"", out);
        }
        block.end(out);
        Ok(())
    }

    /// Writes names of addresses, as the original capture contained them.
    pub fn names(&self, names: &[(IpAddr, Box<[u8]>)], out: &mut Vec<u8>) {
        if self.format == SaveFormat::Pcap || names.is_empty() {
            return;
        }
        let block = Block::begin(NAME_RESOLUTION, out);
        for (address, name) in names {
            let (kind, mut record) = match address {
                IpAddr::V4(v4) => (NRB_RECORD_IPV4, v4.octets().to_vec()),
                IpAddr::V6(v6) => (NRB_RECORD_IPV6, v6.octets().to_vec()),
            };
            record.extend_from_slice(name);
            record.push(0);
            option(kind, &record, out);
        }
        option(END_OF_OPTIONS, b"", out);
        block.end(out);
    }

    /// Writes secrets that decrypt packets after them, as the original capture contained them.
    pub fn secrets(&self, secrets: &Secrets<'_>, out: &mut Vec<u8>) {
        if self.format == SaveFormat::Pcap {
            return;
        }
        let block = Block::begin(DECRYPTION_SECRETS, out);
        words(out, &[secrets.kind.0, length(secrets.expose())]);
        padded(secrets.expose(), out);
        block.end(out);
    }

    /// Writes the packets received and dropped by the interfaces of the file until `at`. `counts` returns the
    /// counters of an interface of an input, if they are known.
    pub fn statistics(
        &self,
        at: Timestamp,
        counts: impl Fn(u16, Option<u32>) -> Option<Interface>,
        out: &mut Vec<u8>,
    ) {
        if self.format == SaveFormat::Pcap {
            return;
        }
        let mut known: Vec<_> = self.interfaces.iter().collect();
        known.sort_unstable_by_key(|(_, interface)| **interface);
        for (origin, interface) in known {
            let Some(counts) = counts(origin.input, origin.interface) else { continue };
            let counters = [
                (ISB_IFRECV, counts.received),
                (ISB_IFDROP, counts.if_drop),
                (ISB_OSDROP, counts.os_drop),
            ];
            if counters.iter().all(|(_, count)| count.is_none()) {
                continue;
            }
            let block = Block::begin(INTERFACE_STATISTICS, out);
            let [high, low] = halves(at);
            words(out, &[*interface, high, low]);
            for (code, count) in counters {
                if let Some(count) = count {
                    option(code, &count.to_le_bytes(), out);
                }
            }
            option(END_OF_OPTIONS, b"", out);
            block.end(out);
        }
    }

    /// The number of an interface; writes its block if it is new.
    fn interface(
        &mut self,
        origin: Origin,
        describe: impl FnOnce() -> InterfaceInfo,
        out: &mut Vec<u8>,
    ) -> u32 {
        let next = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let lists_inputs = self.lists_inputs;
        *self.interfaces.entry(origin).or_insert_with(|| {
            let InterfaceInfo { name, snaplen } = describe();
            let block = Block::begin(INTERFACE_DESCRIPTION, out);
            words(out, &[origin.link.0.into(), snaplen]);
            if let Some(name) = name {
                option(IF_NAME, clipped(&name, MAX_NAME).as_bytes(), out);
            }
            if lists_inputs {
                option(OPT_COMMENT, originals::mark(origin.input).as_bytes(), out);
            }
            option(IF_TSRESOL, &[NANOSECONDS], out);
            option(END_OF_OPTIONS, b"", out);
            block.end(out);
            next
        })
    }

    /// Writes a pcap record, and before the first one the file header.
    fn record(
        &mut self,
        origin: Origin,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), LinkTypeMismatch> {
        match self.last {
            Some((first, _)) if first.link != origin.link => {
                return Err(LinkTypeMismatch { has: first.link.0, other: origin.link.0 });
            }
            Some(_) => {}
            None => {
                words(out, &[PCAP_NANOSECONDS, PCAP_VERSION_2_4, 0, 0, PCAP_SNAPLEN]);
                words(out, &[origin.link.0.into()]);
                self.last = Some((origin, 0));
            }
        }
        let (seconds, nanos) = frame.at.parts();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let nanos = u32::try_from(nanos).unwrap_or_default();
        words(out, &[seconds, nanos, length(frame.bytes), frame.wire_len]);
        out.extend_from_slice(frame.bytes);
        Ok(())
    }
}

/// Whether the header of an extract has room for the names of its inputs: 900 KiB, in which 10,000 names can have 72 bytes
/// each. libpcap reads no header of more than 1 MiB.
pub fn inputs_fit(inputs: &[Arc<str>]) -> bool {
    let lengths = inputs.iter().map(|name| name.len() + ENTRY_OVERHEAD);
    inputs.iter().all(|name| name.len() <= MAX_INPUT) && lengths.sum::<usize>() <= MAX_INPUTS
}

/// A pcapng block that is being written.
struct Block {
    start: usize,
}

impl Block {
    fn begin(kind: u32, out: &mut Vec<u8>) -> Self {
        let start = out.len();
        words(out, &[kind, 0]);
        Self { start }
    }

    /// Writes both lengths: after the type and at the end.
    fn end(self, out: &mut Vec<u8>) {
        let length = u32::try_from(out.len() - self.start + 4).unwrap_or(u32::MAX);
        if let Some(field) = out.get_mut(self.start + 4..self.start + 8) {
            field.copy_from_slice(&length.to_le_bytes());
        }
        words(out, &[length]);
    }
}

fn words(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Writes an option or a record of names: code, length, value, padding.
fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    padded(value.get(..length.into()).unwrap_or(value), out);
}

fn padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
    let padding = bytes.len().next_multiple_of(4) - bytes.len();
    out.extend([0; 4].iter().take(padding));
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn halves(at: Timestamp) -> [u32; 2] {
    let high = u32::try_from(at.0 >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(at.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    [high, low]
}

/// The longest prefix of `text` with at most `bytes` bytes and only whole characters.
fn clipped(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Name and version of this program, as files have it.
const PROGRAM: &str = concat!("beamscope ", env!("CARGO_PKG_VERSION"));
const EXTRACT_PROGRAM: &str = concat!("beamscope extract ", env!("CARGO_PKG_VERSION"));
/// The beginning of the latter, whatever the version.
pub(super) const EXTRACT_PREFIX: &[u8] = b"beamscope extract ";

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const VERSION_1_0: u32 = 1;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

const END_OF_OPTIONS: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const EPB_PACKETID: u16 = 5;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;
const NRB_RECORD_IPV4: u16 = 1;
const NRB_RECORD_IPV6: u16 = 2;

/// Value of `if_tsresol` for units of 10^-9 s.
const NANOSECONDS: u8 = 9;

const PCAP_NANOSECONDS: u32 = 0xa1b2_3c4d;
const PCAP_VERSION_2_4: u32 = 0x0004_0002;
/// The default of libpcap, which truncates nothing.
const PCAP_SNAPLEN: u32 = 262_144;

/// Most bytes of an interface name that readers keep.
const MAX_NAME: usize = 255;

/// Most bytes of a comment on a frame, which is the limit of the reader in this crate.
const MAX_COMMENT: usize = 1024;

/// Most bytes of the name of an input, which is the limit of paths on Linux.
const MAX_INPUT: usize = 4096;

/// Most bytes of the options that list inputs, and what each takes beside the name.
const MAX_INPUTS: usize = 900 << 10;
const ENTRY_OVERHEAD: usize = 20;

/// Most bytes of the comment on a section: less than an option can have, more than a finding needs.
const MAX_SECTION_COMMENT: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::samples::{frames, items, read};
    use super::*;
    use crate::packet::FrameRef;

    fn frame(number: u64, bytes: &[u8]) -> Frame<'_> {
        Frame {
            id: FrameRef { input: 0, number },
            at: Timestamp::new(1_700_000_000, 123_456_789 + number),
            link: LinkType::ETHERNET,
            interface: None,
            wire_len: length(bytes) + 7,
            bytes,
            comments: &[],
        }
    }

    fn eth0() -> InterfaceInfo {
        InterfaceInfo { name: Some("eth0".into()), snaplen: 96 }
    }

    #[test]
    fn frames_are_unchanged_after_encoding_in_both_formats() {
        let bytes: Vec<u8> = (0..=60).collect();
        // Every length is tried, since frames are padded to four bytes.
        let sent: Vec<_> =
            (1..=60).map(|n| frame(n, bytes.split_at(usize::try_from(n).unwrap()).0)).collect();
        for format in [SaveFormat::Pcapng, SaveFormat::Pcap] {
            let (mut encoder, mut out) = (Encoder::new(format), Vec::new());
            encoder.begin("", &[], &mut out);
            for frame in &sent {
                encoder.frame(frame, [], eth0, &mut out).unwrap();
            }
            let (read, notices, error) = items(&out);
            assert!(notices.is_empty() && error.is_none(), "{notices:?} {error:?}");
            assert_eq!(read.len(), sent.len());
            for (sent, kept) in sent.iter().zip(read) {
                assert_eq!((kept.number, kept.at, kept.link), (sent.id.number, sent.at, sent.link));
                assert_eq!((kept.wire_len, &kept.bytes[..]), (sent.wire_len, sent.bytes));
            }
        }
    }

    #[test]
    fn each_input_interface_and_link_type_is_a_separate_interface() {
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcapng), Vec::new());
        encoder.begin("", &[], &mut out);
        let sent = [(0, None, 1), (1, None, 1), (0, None, 1), (0, Some(0), 1), (0, Some(0), 101)];
        for (number, (input, interface, link)) in (1..).zip(sent) {
            let frame = Frame {
                id: FrameRef { input, number },
                interface,
                link: LinkType(link),
                ..frame(number, b"x")
            };
            let name = Some(format!("{input} {interface:?} {link}"));
            encoder.frame(&frame, [], || InterfaceInfo { name, snaplen: 0 }, &mut out).unwrap();
        }
        let mut capture = read(out.clone(), usize::MAX);
        while capture.next_item().unwrap().is_some() {}
        let names: Vec<_> = capture.interfaces().iter().map(|it| it.name.as_deref()).collect();
        let expected = ["0 None 1", "1 None 1", "0 Some(0) 1", "0 Some(0) 101"];
        assert_eq!(names, expected.map(Some));
        let interfaces: Vec<_> = frames(&out).iter().map(|frame| frame.interface).collect();
        assert_eq!(interfaces, [0, 1, 0, 2, 3].map(Some));
    }

    #[test]
    fn an_extract_of_several_lists_its_inputs_and_its_frames_keep_theirs() {
        for (names, marks) in [(&["a.pcap", "b.pcap"][..], 2), (&["a.pcap"][..], 0)] {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            let (mut encoder, mut out) = (Encoder::new(SaveFormat::Extract), Vec::new());
            encoder.begin("why", &names, &mut out);
            let mut capture = read(out.clone(), usize::MAX);
            assert_eq!(capture.listed_inputs(), if marks > 0 { &names[..] } else { &[] });
            for (input, number) in [(1, 48), (0, 3), (1, 50)] {
                let frame = Frame { id: FrameRef { input, number }, ..frame(number, b"x") };
                encoder.frame(&frame, [], eth0, &mut out).unwrap();
            }
            let mut capture = read(out, usize::MAX);
            let mut found = Vec::new();
            while let Some(item) = capture.next_item().unwrap() {
                if let Item::Frame(frame) = item {
                    found.push((frame.id.input, frame.id.number));
                }
            }
            let expected =
                if marks > 0 { [(1, 48), (0, 3), (1, 50)] } else { [(0, 48), (0, 49), (0, 50)] };
            assert_eq!(found, expected);
        }
        let long: Arc<str> = "x".repeat(MAX_INPUT).into();
        assert!(inputs_fit(&vec![Arc::clone(&long); 200]) && !inputs_fit(&vec![long; 230]));
        assert!(!inputs_fit(&["x".repeat(MAX_INPUT + 1).into()]));
    }

    #[test]
    fn comments_names_and_counters_are_unchanged_after_encoding() {
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcapng), Vec::new());
        encoder.begin("about it all", &[], &mut out);
        encoder.names(
            &[
                ([10, 0, 0, 1].into(), b"one.example"[..].into()),
                (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), b"me"[..].into()),
            ],
            &mut out,
        );
        let long = [b'x'; 2000];
        let comments = [&b"first"[..], b"second", &long];
        encoder.frame(&frame(1, b"abc"), comments, eth0, &mut out).unwrap();
        encoder.frame(&frame(2, b"abcd"), [], eth0, &mut out).unwrap();
        let counts =
            Interface { os_drop: Some(4), received: Some(1 << 40), ..Interface::default() };
        encoder.statistics(Timestamp(7), |_, _| Some(counts.clone()), &mut out);
        let mut capture = read(out, usize::MAX);
        let (mut last, mut names_read, mut comments) = (Interface::default(), 0, Vec::new());
        while let Some(item) = capture.next_item().unwrap() {
            match item {
                Item::Frame(frame) => {
                    let number = frame.id.number;
                    comments.extend(frame.comments.iter().map(|text| (number, text.len())));
                }
                Item::Names { names, .. } => names_read += names.len(),
                Item::Interface { interface, index: Some(0), .. } => last = interface.clone(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(last, Interface { name: Some("eth0".into()), ..counts });
        assert_eq!(names_read, 2);
        assert_eq!(comments, [(1, 5), (1, 6), (1, MAX_COMMENT)]);
    }

    #[test]
    fn a_pcap_file_takes_one_link_type() {
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcap), Vec::new());
        encoder.frame(&frame(1, b"a"), [], eth0, &mut out).unwrap();
        let bytes = out.len();
        let other = Frame { link: LinkType::RAW, ..frame(2, b"b") };
        let error = encoder.frame(&other, [], eth0, &mut out).unwrap_err();
        assert_eq!((error, out.len()), (LinkTypeMismatch { has: 1, other: 101 }, bytes));
        encoder.frame(&frame(3, b"c"), [], eth0, &mut out).unwrap();
        assert_eq!(frames(&out).len(), 2);
    }

    #[test]
    fn pcap_parser_reads_the_same_blocks() {
        use pcap_parser::pcapng::Block as Theirs;
        use pcap_parser::{Block, OptionCode, PcapNGOption, parse_block_le};
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Pcapng), Vec::new());
        encoder.begin("why", &[], &mut out);
        encoder.frame(&frame(1, b"abcde"), [&b"this one"[..]], eth0, &mut out).unwrap();
        let counts = || Some(Interface { os_drop: Some(3), ..Interface::default() });
        encoder.statistics(Timestamp(7), |_, _| counts(), &mut out);
        // `pcap-parser` includes the padding in the value.
        let value = |it: &PcapNGOption<'_>| it.value()[..it.len.into()].to_vec();
        let (mut rest, mut seen) = (out.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (next, block): (_, Theirs<'_>) = parse_block_le(rest).unwrap();
            match block {
                Block::SectionHeader(it) => {
                    seen.push("section");
                    assert_eq!((it.major_version, it.minor_version, it.section_len), (1, 0, -1));
                    assert_eq!(value(&it.options[0]), b"why");
                }
                Block::InterfaceDescription(it) => {
                    seen.push("interface");
                    assert_eq!((it.linktype.0, it.snaplen, it.if_tsresol), (1, 96, 9));
                }
                Block::EnhancedPacket(it) => {
                    seen.push("packet");
                    let ticks = u64::from(it.ts_high) << 32 | u64::from(it.ts_low);
                    assert_eq!(Timestamp(ticks), frame(1, b"").at);
                    assert_eq!((&it.data[..5], it.caplen, it.origlen), (&b"abcde"[..], 5, 12));
                    assert_eq!(it.options[0].code, OptionCode::Comment);
                    assert_eq!(value(&it.options[0]), b"this one");
                }
                Block::InterfaceStatistics(it) => {
                    seen.push("statistics");
                    assert_eq!(value(&it.options[0]), 3_u64.to_le_bytes());
                }
                other => panic!("{other:?}"),
            }
            rest = next;
        }
        assert_eq!(seen, ["section", "interface", "packet", "statistics"]);
    }

    #[test]
    fn text_is_clipped_between_characters() {
        assert_eq!(clipped("aéb", 2), "a");
        assert_eq!(clipped("aéb", 3), "aé");
        assert_eq!(clipped("ab", 9), "ab");
    }
}
