//! Stage 1: blocks of the pcapng format.
//!
//! In: the buffer, at the start of a block. Out: one [`FrameRecord`] for each packet block, the declared interfaces,
//! the places where corrupt bytes were skipped, and [`Annotations`]. Only comments on packets are kept.
//!
//! ```text
//!   4        4                                   4
//! | type | length | body, padded to 4 bytes | length |
//! ```
//!
//! Every section may have its own byte order and declares its own interfaces; the link type, the
//! resolution and the origin of time stamps belong to the interface. Both lengths count the whole block, so a
//! block can be verified, and the next one found after corrupt bytes.
//!
//! Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng.
//!
//! Bodies are parsed here and not by `pcap-parser`, which tests compare the results with: it allocates a list of
//! options for each block, always reads `if_tsoffset` as little-endian, and supports neither resolutions that are
//! powers of two nor the obsolete packet block.

use std::net::IpAddr;
use std::sync::Arc;

use super::annotations::Annotations;
use super::buffer::{Buffer, MAX_NEED};
use super::originals::{self, Originals};
use super::save::EXTRACT_PREFIX;
use super::{Endian, FormatStep, FrameRecord, Interface, LinkType, SecretsType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// State of reading one file: the current section and the interfaces.
pub(super) struct Pcapng {
    endian: Endian,
    /// Interfaces of the current section, by identifier.
    declared: Vec<DeclaredInterface>,
    /// Interfaces of all sections, in the order of their blocks.
    pub(super) interfaces: Vec<Interface>,
    /// The input that each of them is of.
    inputs: Vec<u16>,
    pub(super) annotations: Annotations,
    /// Whether a packet of an undeclared interface was reported in this section; once is enough.
    undeclared_reported: bool,
    /// Whether the section is an extract of another capture.
    is_extract: bool,
    /// Whether its packets have the numbers that they had there.
    has_numbers: bool,
    originals: Originals,
    /// Place in their list of the input of the last packet.
    original: Option<u16>,
    /// Latest time of a frame in the capture that extracts were taken from.
    pub(super) until: Option<Timestamp>,
    /// Time of the previous packet, which a packet block without a time stamp gets.
    last: Timestamp,
}

/// Fields of an interface that its packets depend on.
struct DeclaredInterface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Index of the interface in [`Pcapng::interfaces`].
    index: Option<u32>,
    /// Place of its input in the list of an extract of several.
    original: Option<u16>,
}

/// Unit and origin of the time stamps of an interface.
struct Clock {
    /// Set if it is an integer, as for all resolutions in use.
    nanos_per_tick: Option<i128>,
    /// The same value, set if the offset is zero.
    plain_nanos_per_tick: Option<u64>,
    ticks_per_second: i128,
    offset_seconds: i64,
}

/// Why no block begins at the start of the buffer.
enum NoBlock {
    End,
    Cut,
    Corrupt(String),
}

/// Fields of a packet block of any kind.
struct PacketBlock {
    interface: u32,
    ticks: Option<u64>,
    captured: u32,
    wire_len: u32,
    /// Bytes of the block before the frame.
    header_len: usize,
}

impl Pcapng {
    /// Whether the 12 bytes `head` are the start of a section.
    pub(super) fn recognise(head: &[u8]) -> bool {
        section_endian(head).is_some()
    }

    /// A file whose frames are of the input `first`, or of up to `most` inputs from there if it is an extract of several.
    pub(super) fn new(first: u16, most: u16) -> Self {
        Self {
            endian: Endian::Little,
            declared: Vec::new(),
            interfaces: Vec::new(),
            inputs: Vec::new(),
            annotations: Annotations::default(),
            undeclared_reported: false,
            is_extract: false,
            has_numbers: false,
            originals: Originals::new(first, most),
            original: None,
            until: None,
            last: Timestamp::default(),
        }
    }

    /// The inputs that the section at the start of the buffer lists, as an extract of several does.
    pub(super) fn listed_inputs(buffer: &mut Buffer) -> Vec<Arc<str>> {
        let mut section = Self::new(0, 1);
        match section.peek_block(buffer) {
            Ok((_, len)) => section.inputs_of(buffer.bytes().get(8..len - 4).unwrap_or_default()),
            Err(_) => Vec::new(),
        }
    }

    /// Whether the frames are of several inputs. [`Self::step`] does not distinguish them.
    pub(super) const fn is_of_several(&self) -> bool {
        self.originals.are_several()
    }

    /// The input of the interface of this index.
    pub(super) fn input_of(&self, index: u32) -> Option<u16> {
        self.inputs.get(index as usize).copied()
    }

    /// Reads up to the next item. The number of `id` is that of the last frame.
    pub(super) fn advance(
        &mut self,
        buffer: &mut Buffer,
        id: &mut FrameRef,
        found: &mut FrameRecord,
    ) -> FormatStep {
        self.annotations.comments.clear();
        if let Some((_, place)) = self.annotations.secrets.take() {
            buffer.wipe(place);
        }
        loop {
            let (kind, len) = match self.peek_block(buffer) {
                Ok(block) => block,
                Err(NoBlock::End) => return FormatStep::End,
                // The rest of it may come.
                Err(NoBlock::Cut) if buffer.is_paused() => {
                    return FormatStep::Truncated { offset: buffer.offset(), what: "a block" };
                }
                Err(NoBlock::Cut) => return self.resynchronise(buffer, None),
                Err(NoBlock::Corrupt(detail)) => return self.resynchronise(buffer, Some(detail)),
            };
            let offset = buffer.offset();
            let start = buffer.consume(len);
            let block = buffer.at(start..start + len);
            let body = block.get(8..len - 4).unwrap_or_default();
            let read = match kind {
                ENHANCED_PACKET | SIMPLE_PACKET | PACKET => {
                    id.number += 1;
                    match self.packet(kind, block, start) {
                        Ok(Some(record)) => {
                            let mut own = None;
                            // Most packets have no options, and simple packets never have any.
                            let options_at = (record.place.end - start).next_multiple_of(4);
                            if options_at < len - 4 && kind != SIMPLE_PACKET {
                                let options = block.get(options_at..len - 4).unwrap_or_default();
                                self.keep_comments(options);
                                own = self.has_numbers.then(|| self.own_number(options)).flatten();
                            }
                            if self.has_numbers || self.is_of_several() {
                                self.restore(own, id);
                            }
                            *found = record;
                            return FormatStep::Frame;
                        }
                        Ok(None) => continue,
                        Err(why) => Err(why),
                    }
                }
                INTERFACE_DESCRIPTION | INTERFACE_STATISTICS => {
                    let read = match kind {
                        INTERFACE_DESCRIPTION => self.describe_interface(body),
                        _ => self.count_statistics(body),
                    };
                    match read {
                        Ok(Some(index)) => return FormatStep::Interface(index),
                        Ok(None) => continue,
                        Err(why) => Err(why),
                    }
                }
                NAME_RESOLUTION => {
                    self.keep_names(body);
                    if !self.annotations.names.is_empty() {
                        return FormatStep::Names;
                    }
                    continue;
                }
                DECRYPTION_SECRETS => {
                    self.keep_secrets(body, start + 8);
                    if self.annotations.secrets.is_some() {
                        return FormatStep::Secrets;
                    }
                    continue;
                }
                SECTION_HEADER => match self.begin_section(body) {
                    Ok(()) => return FormatStep::Section,
                    Err(why) => Err(why),
                },
                // Wireshark shows and counts these as frames.
                JOURNAL_EXPORT | CUSTOM | CUSTOM_NOT_COPIED => {
                    id.number += 1;
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(detail) = read {
                return FormatStep::Corrupt { offset, skipped: Some(len as u64), detail };
            }
        }
    }

    /// Reads the next block if it has the common form: an enhanced packet block, whole and buffered, without options.
    /// Returns `None` and consumes nothing for any other, which [`Self::advance`] reads in three times the time.
    #[inline(always)]
    pub(super) fn step(&mut self, buffer: &mut Buffer, number: &mut u64) -> Option<FrameRecord> {
        let header = self.endian.words(buffer.peek::<ENHANCED_HEADER_LEN>()?)?;
        let [ENHANCED_PACKET, len, interface, high, low, captured, wire_len] = header else {
            return None;
        };
        let (whole, captured) = (len as usize, captured as usize);
        let declared = self.declared.get(interface as usize)?;
        if captured > MAX_NEED
            || whole != ENHANCED_HEADER_LEN + captured.next_multiple_of(4) + 4
            || trailing_len(self.endian, buffer.bytes(), whole) != Some(len)
        {
            return None;
        }
        let start = buffer.take(whole)? + ENHANCED_HEADER_LEN;
        self.last = declared.clock.at(u64::from(high) << 32 | u64::from(low));
        *number += 1;
        Some(FrameRecord {
            at: self.last,
            link: declared.link,
            interface: declared.index,
            wire_len,
            place: start..start + captured,
        })
    }

    /// Type and length of the next block, after it is buffered whole and its two lengths agree. At the start of a
    /// section, sets the byte order.
    fn peek_block(&mut self, buffer: &mut Buffer) -> Result<(u32, usize), NoBlock> {
        if !buffer.fill(MIN_BLOCK) {
            return Err(if buffer.len() == 0 { NoBlock::End } else { NoBlock::Cut });
        }
        let head = buffer.bytes();
        let [mut kind, mut len] = self.endian.words(head).ok_or(NoBlock::Cut)?;
        if kind == SECTION_HEADER {
            self.endian = section_endian(head).ok_or_else(|| {
                NoBlock::Corrupt("expected a byte-order magic in a section header".into())
            })?;
            [kind, len] = self.endian.words(head).ok_or(NoBlock::Cut)?;
        }
        let whole = block_len(len).ok_or_else(|| {
            let expected = format!("a multiple of 4 from {MIN_BLOCK} to {MAX_NEED}");
            NoBlock::Corrupt(format!("expected a block length, {expected}; found {len}"))
        })?;
        if !buffer.fill(whole) {
            return Err(NoBlock::Cut);
        }
        let trailing = trailing_len(self.endian, buffer.bytes(), whole);
        if trailing != Some(len) {
            let found = trailing.unwrap_or_default();
            let detail =
                format!("expected a block of {len} bytes to end in its length, found {found}");
            return Err(NoBlock::Corrupt(detail));
        }
        Ok((kind, whole))
    }

    /// Skips bytes until a plausible block begins. `detail` describes the error. It is `None` if the input ended
    /// within the block, which is then truncated unless another block follows in the buffered bytes.
    fn resynchronise(&mut self, buffer: &mut Buffer, detail: Option<String>) -> FormatStep {
        let offset = buffer.offset();
        loop {
            buffer.consume(1);
            if !buffer.fill(MIN_BLOCK) {
                break;
            }
            if self.begins_plausible_block(buffer) {
                let detail = detail.unwrap_or_else(|| {
                    "expected a whole block, found a length beyond the end of the input".into()
                });
                let skipped = Some(buffer.offset().saturating_sub(offset));
                return FormatStep::Corrupt { offset, skipped, detail };
            }
        }
        buffer.consume(buffer.len());
        match detail {
            None => FormatStep::Truncated { offset, what: "a block" },
            Some(detail) => {
                let skipped = Some(buffer.offset().saturating_sub(offset));
                FormatStep::Corrupt { offset, skipped, detail }
            }
        }
    }

    /// Whether a plausible block begins here: it has a known type and a valid length, and the same length at its end.
    fn begins_plausible_block(&self, buffer: &mut Buffer) -> bool {
        let head = buffer.bytes();
        let endian = section_endian(head).unwrap_or(self.endian);
        let Some([kind, len]) = endian.words(head) else { return false };
        let known = matches!(kind, SECTION_HEADER | DECRYPTION_SECRETS)
            || (INTERFACE_DESCRIPTION..=ENHANCED_PACKET).contains(&kind);
        let len = block_len(len).filter(|len| *len <= MAX_RESYNC_LEN && known);
        len.is_some_and(|len| {
            buffer.fill(len)
                && trailing_len(endian, buffer.bytes(), len).is_some_and(|end| end as usize == len)
        })
    }

    /// Reads a packet block that begins at `start` in the buffer.
    fn packet(
        &mut self,
        kind: u32,
        block: &[u8],
        start: usize,
    ) -> Result<Option<FrameRecord>, String> {
        let too_short =
            || format!("a packet block of {} bytes has no room for its header", block.len());
        let room = |header_len| block.len().checked_sub(header_len + 4).ok_or_else(too_short);
        let packet = match kind {
            ENHANCED_PACKET | PACKET => {
                let [_, _, mut interface, high, low, captured, wire_len] =
                    self.endian.words(block).ok_or_else(too_short)?;
                if kind == PACKET {
                    // The interface is the first half of the word; the second half is a count of drops.
                    let field = block.get(8..).and_then(|rest| rest.first_chunk());
                    interface = self.endian.u16(*field.ok_or_else(too_short)?).into();
                }
                let ticks = Some(u64::from(high) << 32 | u64::from(low));
                PacketBlock {
                    interface,
                    ticks,
                    captured,
                    wire_len,
                    header_len: ENHANCED_HEADER_LEN,
                }
            }
            _ => {
                let [_, _, wire_len] = self.endian.words(block).ok_or_else(too_short)?;
                // The block has no field for the time, the interface or the captured length: the frame
                // fills the block, up to the snaplen of the first interface.
                let snaplen = self.declared.first().map_or(0, |first| first.snaplen);
                let room = u32::try_from(room(12)?).unwrap_or(u32::MAX);
                let captured = match snaplen {
                    0 => wire_len.min(room),
                    snaplen => wire_len.min(room).min(snaplen),
                };
                PacketBlock { interface: 0, ticks: None, captured, wire_len, header_len: 12 }
            }
        };
        let room = room(packet.header_len)?;
        let captured = packet.captured as usize;
        if captured > room {
            return Err(format!("expected at most {room} bytes of a frame, found {captured}"));
        }
        let Some(declared) = self.declared.get(packet.interface as usize) else {
            if std::mem::replace(&mut self.undeclared_reported, true) {
                return Ok(None);
            }
            return Err(format!(
                "expected one of the section's {} interfaces, found interface {}; packets of \
                 undeclared interfaces are left out",
                self.declared.len(),
                packet.interface
            ));
        };
        if let Some(ticks) = packet.ticks {
            self.last = declared.clock.at(ticks);
        }
        self.original = declared.original;
        let start = start + packet.header_len;
        Ok(Some(FrameRecord {
            at: self.last,
            link: declared.link,
            interface: declared.index,
            wire_len: packet.wire_len,
            place: start..start + captured,
        }))
    }

    /// Interface description: link type (2), reserved (2), snaplen (4), options. Returns the index of the interface.
    fn describe_interface(&mut self, body: &[u8]) -> Result<Option<u32>, String> {
        let (Some(link), Some([_, snaplen])) = (body.first_chunk(), self.endian.words(body)) else {
            return Err("an interface description has no room for its fields".into());
        };
        let options = body.get(8..).unwrap_or_default();
        if self.declared.len() == MAX_INTERFACES {
            return Err(format!("more than {MAX_INTERFACES} interfaces in one section"));
        }
        let mut interface = Interface::default();
        let mut clock = Clock::new(DEFAULT_RESOLUTION);
        let mut offset_seconds = 0;
        let mut original = None;
        for (code, value) in self.options(options) {
            match (code, value) {
                (IF_NAME, name) => {
                    let name = name.get(..MAX_NAME).unwrap_or(name);
                    interface.name = Some(String::from_utf8_lossy(name).into_owned());
                }
                (OPT_COMMENT, comment) if self.has_numbers => {
                    original = original.or_else(|| self.originals.place_of(comment));
                }
                (IF_TSRESOL, [resolution, ..]) => clock = Clock::new(*resolution),
                (IF_TSOFFSET, value) => {
                    if let Some(bytes) = value.first_chunk() {
                        offset_seconds = i64::from_ne_bytes(self.endian.u64(*bytes).to_ne_bytes());
                    }
                }
                _ => {}
            }
        }
        let index = (self.interfaces.len() < MAX_INTERFACES)
            .then(|| u32::try_from(self.interfaces.len()).ok())
            .flatten();
        if index.is_some() {
            self.interfaces.push(interface);
            self.inputs.push(self.originals.input(original));
        }
        self.declared.push(DeclaredInterface {
            link: LinkType(self.endian.u16(*link)),
            snaplen,
            clock: clock.with_offset(offset_seconds),
            index,
            original,
        });
        if self.has_numbers && self.is_of_several() && original.is_none() {
            return Err(
                "expected an interface of one of the inputs that its section lists: its frames are counted as those of the \
                 first input"
                    .into(),
            );
        }
        Ok(index)
    }

    /// Interface statistics: interface (4), time stamp (8), options. Counters count from the start of
    /// the capture, so the last block is used. Returns the index of the interface.
    fn count_statistics(&mut self, body: &[u8]) -> Result<Option<u32>, String> {
        let Some([interface, high, low]) = self.endian.words(body) else {
            return Err("interface statistics have no room for their fields".into());
        };
        let declared = self.declared.get(interface as usize);
        if let Some(declared) = declared.filter(|_| self.is_extract) {
            let at = declared.clock.at(u64::from(high) << 32 | u64::from(low));
            self.until = self.until.max(Some(at));
        }
        let index = declared.and_then(|declared| declared.index);
        let Some(index) = index else { return Ok(None) };
        let counters: Vec<_> = self
            .options(body.get(12..).unwrap_or_default())
            .filter_map(|(code, value)| Some((code, self.endian.u64(*value.first_chunk()?))))
            .take(MAX_COUNTERS)
            .collect();
        if let Some(interface) = self.interfaces.get_mut(index as usize) {
            for (code, count) in counters {
                match code {
                    ISB_IFRECV => interface.received = Some(count),
                    ISB_IFDROP => interface.if_drop = Some(count),
                    ISB_OSDROP => interface.os_drop = Some(count),
                    _ => {}
                }
            }
        }
        Ok(Some(index))
    }

    /// Whether a section is an extract: behind magic (4), version (4) and length (8), its options name the program.
    fn is_extract_section(&self, body: &[u8]) -> bool {
        let mut options = self.options(body.get(16..).unwrap_or_default());
        options.any(|(code, value)| code == SHB_USERAPPL && value.starts_with(EXTRACT_PREFIX))
    }

    /// Starts a section: magic (4), version (4) and length (8), options.
    ///
    /// # Errors
    ///
    /// It lists inputs to which its frames cannot be assigned.
    fn begin_section(&mut self, body: &[u8]) -> Result<(), String> {
        self.declared.clear();
        self.undeclared_reported = false;
        self.is_extract = self.is_extract_section(body);
        let begun = self.originals.begin_section(self.inputs_of(body));
        self.has_numbers = self.is_extract && begun.is_ok();
        begun
    }

    /// The inputs that a section lists if it is an extract of several.
    fn inputs_of(&self, body: &[u8]) -> Vec<Arc<str>> {
        if !self.is_extract_section(body) {
            return Vec::new();
        }
        let options = self.options(body.get(16..).unwrap_or_default());
        let comments = options.filter(|(code, _)| *code == OPT_COMMENT);
        originals::listed(comments.map(|(_, comment)| comment))
    }

    /// The number of a packet in the capture that an extract was taken from, by its options.
    fn own_number(&self, options: &[u8]) -> Option<u64> {
        let mut own = self.options(options).filter(|(code, _)| *code == EPB_PACKETID);
        let own = own.next().and_then(|(_, value)| Some(self.endian.u64(*value.first_chunk()?)));
        // A number that no capture reaches is none, and could not be counted on from.
        own.filter(|own| *own <= MOST_FRAMES)
    }

    /// Sets the input and the number of a frame to those in the capture that an extract was taken from. Numbers rise.
    fn restore(&mut self, own: Option<u64>, id: &mut FrameRef) {
        match self.originals.place(self.original, own) {
            Some(of) => *id = of,
            None => id.number = own.unwrap_or_default().max(id.number),
        }
    }

    /// Keeps the comments among the options of a packet.
    fn keep_comments(&mut self, options: &[u8]) {
        for (_, comment) in self.options(options).filter(|(code, _)| *code == OPT_COMMENT) {
            self.annotations.comment(comment);
        }
    }

    /// Name resolution: records of an address and its names, each name terminated by a zero byte.
    fn keep_names(&mut self, body: &[u8]) {
        self.annotations.names.clear();
        // Records have the layout of options, and the same code for the end.
        for (kind, value) in self.options(body) {
            let record = match kind {
                NRB_RECORD_IPV4 => split_address::<4>(value),
                NRB_RECORD_IPV6 => split_address::<16>(value),
                _ => None,
            };
            let Some((address, names)) = record else { continue };
            for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                self.annotations.name(address, name);
            }
        }
    }

    /// Decryption secrets: type (4), length (4), data, options. The body begins at `start` in the buffer.
    fn keep_secrets(&mut self, body: &[u8], start: usize) {
        self.annotations.secrets = None;
        let Some([kind, len]) = self.endian.words(body) else { return };
        if body.get(8..).is_some_and(|data| data.len() >= len as usize) {
            let data = start + 8;
            self.annotations.secret(SecretsType(kind), data..data + len as usize);
        }
    }

    /// Options as (code, value), up to the end of options or to one that is longer than the bytes.
    fn options<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let endian = self.endian;
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (code, after_code) = rest.split_first_chunk()?;
            let (len, after_len) = after_code.split_first_chunk()?;
            let len = usize::from(endian.u16(*len));
            let value = after_len.get(..len)?;
            rest = after_len.get(len.next_multiple_of(4)..).unwrap_or_default();
            Some((endian.u16(*code), value)).filter(|(code, _)| *code != END_OF_OPTIONS)
        })
    }
}

impl Clock {
    /// `if_tsresol`: the seven lower bits are the negative exponent, the highest bit selects the base, 10 or 2.
    fn new(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let base: i128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        // If the power overflows, 2^64 ticks are less than a nanosecond, so any large value gives 0.
        let ticks_per_second = base.checked_pow(exponent).unwrap_or(i128::MAX);
        let nanos_per_tick = (NANOS_PER_SECOND % ticks_per_second == 0)
            .then_some(NANOS_PER_SECOND / ticks_per_second);
        let plain_nanos_per_tick = nanos_per_tick.and_then(|nanos| nanos.try_into().ok());
        Self { nanos_per_tick, plain_nanos_per_tick, ticks_per_second, offset_seconds: 0 }
    }

    fn with_offset(self, offset_seconds: i64) -> Self {
        let plain_nanos_per_tick = self.plain_nanos_per_tick.filter(|_| offset_seconds == 0);
        Self { plain_nanos_per_tick, offset_seconds, ..self }
    }

    /// Converts a time stamp; times before 1970 become 1970.
    #[inline]
    fn at(&self, ticks: u64) -> Timestamp {
        // 64 bits suffice for the resolutions and times in use.
        let plain = self.plain_nanos_per_tick.and_then(|nanos| ticks.checked_mul(nanos));
        plain.map_or_else(|| self.at_any(ticks), Timestamp)
    }

    fn at_any(&self, ticks: u64) -> Timestamp {
        // The product of 64 and 30 bits has 94 bits, so 128 bits do not overflow.
        let nanos = match self.nanos_per_tick {
            Some(nanos) => i128::from(ticks) * nanos,
            None => i128::from(ticks) * NANOS_PER_SECOND / self.ticks_per_second,
        };
        let nanos = nanos + i128::from(self.offset_seconds) * NANOS_PER_SECOND;
        Timestamp(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// Splits the value of a record into an address of `N` bytes and the names after it.
fn split_address<const N: usize>(value: &[u8]) -> Option<(IpAddr, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    value.split_first_chunk().map(|(address, names)| (IpAddr::from(*address), names))
}

/// Byte order of the section that begins with `head`; `None` if `head` is not a section header.
fn section_endian(head: &[u8]) -> Option<Endian> {
    [Endian::Big, Endian::Little]
        .into_iter()
        .find(|endian| matches!(endian.words(head), Some([SECTION_HEADER, _, BYTE_ORDER_MAGIC])))
}

/// The length `len` if a block can have it.
fn block_len(len: u32) -> Option<usize> {
    let len = len as usize;
    ((MIN_BLOCK..=MAX_NEED).contains(&len) && len.is_multiple_of(4)).then_some(len)
}

/// The length field at the end of a block, which is the first `len` of `bytes`.
fn trailing_len(endian: Endian, bytes: &[u8], len: usize) -> Option<u32> {
    Some(endian.u32(*bytes.get(..len)?.last_chunk()?))
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete packet block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const JOURNAL_EXPORT: u32 = 9;
const DECRYPTION_SECRETS: u32 = 10;
const CUSTOM: u32 = 0x0000_0bad;
const CUSTOM_NOT_COPIED: u32 = 0x4000_0bad;

/// Type, length, interface, two halves of the time, captured length, original length.
const ENHANCED_HEADER_LEN: usize = 28;

const END_OF_OPTIONS: u16 = 0;
const OPT_COMMENT: u16 = 1;
/// The highest number of a frame that an extract can give it.
const MOST_FRAMES: u64 = u64::MAX / 2;

const SHB_USERAPPL: u16 = 4;
const EPB_PACKETID: u16 = 5;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;

const NRB_RECORD_IPV4: u16 = 1;
const NRB_RECORD_IPV6: u16 = 2;

/// Microseconds, the default of the specification.
const DEFAULT_RESOLUTION: u8 = 6;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// A type and two lengths.
const MIN_BLOCK: usize = 12;

/// Largest block at which reading resumes after corrupt bytes. Larger blocks are rare, and a wrong length found in
/// the middle of a block should not make a reader of a live capture wait for many more bytes.
const MAX_RESYNC_LEN: usize = 1024 * 1024;

/// The 16-bit interface field of the obsolete packet block allows this many; a section of a real capture has a few
/// dozen.
const MAX_INTERFACES: usize = 65_536;

/// Bytes of an interface name that are kept. Linux names have up to 15, Windows names about 50.
const MAX_NAME: usize = 256;

/// Options read in one statistics block; the specification defines eight.
const MAX_COUNTERS: usize = 64;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]
mod tests {
    use super::super::samples::{PcapngBuilder, frames, items, notices, read};
    use super::super::{Endian, Item, NoticeKind};
    use super::*;

    const SECONDS: u64 = 1_700_000_000;

    #[test]
    fn every_section_has_its_own_byte_order_and_interfaces() {
        let mut file = PcapngBuilder::section(Endian::Big);
        file.interface(1, 0, &[]).packet(0, SECONDS * 1_000_000 + 1, b"first");
        let mut second = PcapngBuilder::section(Endian::Little);
        second.interface(276, 0, &[]).interface(101, 0, &[]);
        second.packet(1, SECONDS * 1_000_000 + 2, b"second");
        file.bytes.append(&mut second.bytes);
        let frames = frames(&file.bytes);
        assert_eq!(
            frames.iter().map(|f| (f.number, f.link.0, f.interface)).collect::<Vec<_>>(),
            [(1, 1, Some(0)), (2, 101, Some(2))]
        );
        assert_eq!(frames[0].at, Timestamp::new(SECONDS, 1000));
        assert_eq!(frames[1].bytes, b"second");
    }

    #[test]
    fn each_interface_has_its_own_time_resolution_and_offset() {
        for endian in [Endian::Big, Endian::Little] {
            let offset = |seconds: i64| match endian {
                Endian::Big => seconds.to_be_bytes(),
                Endian::Little => seconds.to_le_bytes(),
            };
            let mut file = PcapngBuilder::section(endian);
            file.interface(1, 0, &[(IF_TSRESOL, &[9]), (IF_TSOFFSET, &offset(1000))])
                .interface(1, 0, &[(IF_TSRESOL, &[0x94]), (IF_TSOFFSET, &offset(-5))])
                .interface(1, 0, &[(IF_TSRESOL, &[12])])
                .interface(1, 0, &[(IF_TSRESOL, &[0])])
                .interface(1, 0, &[(IF_TSRESOL, &[0x7f])])
                .interface(1, 0, &[(IF_TSRESOL, &[0xff])])
                .interface(1, 0, &[(IF_TSOFFSET, &offset(i64::MIN))])
                .interface(1, 0, &[(IF_TSRESOL, &[0]), (IF_TSOFFSET, &offset(i64::MAX))])
                .packet(0, SECONDS * 1_000_000_000 + 123_456_789, b"x")
                .packet(1, SECONDS * (1 << 20) + 77_777, b"x")
                .packet(2, 1_700_000_123_456_789_012, b"x")
                .packet(3, SECONDS, b"x")
                .packet(4, u64::MAX, b"x")
                .packet(5, u64::MAX, b"x")
                .packet(6, u64::MAX, b"x")
                .packet(7, u64::MAX, b"x");
            let at: Vec<_> = frames(&file.bytes).iter().map(|frame| frame.at).collect();
            assert_eq!(at[0], Timestamp::new(SECONDS + 1000, 123_456_789));
            assert_eq!(at[1], Timestamp::new(SECONDS - 5, 74_173_927));
            assert_eq!(at[2], Timestamp::new(1_700_000, 123_456_789));
            assert_eq!(at[3], Timestamp::new(SECONDS, 0));
            assert_eq!(at[4..7], [Timestamp(0); 3]);
            assert_eq!(at[7], Timestamp(u64::MAX));
        }
    }

    #[test]
    fn simple_packets_have_the_snaplen_of_the_first_interface_and_the_time_of_the_previous_packet()
    {
        for (snaplen, captured) in [(0, 6), (4, 4), (100, 6)] {
            let mut file = PcapngBuilder::section(Endian::Big);
            file.interface(1, snaplen, &[]).packet(0, 7, b"timed");
            file.words(SIMPLE_PACKET, &[6], b"abcdef");
            let frames = frames(&file.bytes);
            assert_eq!(frames[1].bytes, &b"abcdef"[..captured]);
            assert_eq!((frames[1].at, frames[1].wire_len), (Timestamp(7000), 6));
        }
    }

    #[test]
    fn obsolete_packets_have_a_16_bit_interface_field() {
        for (endian, first_word) in [(Endian::Big, 0x0001_0007), (Endian::Little, 0x0007_0001)] {
            let mut file = PcapngBuilder::section(endian);
            file.interface(1, 0, &[]).interface(113, 0, &[]);
            file.words(PACKET, &[first_word, 0, 9, 3, 60], b"abc");
            let frames = frames(&file.bytes);
            assert_eq!((frames[0].link.0, frames[0].wire_len), (113, 60));
            assert_eq!((frames[0].bytes.as_slice(), frames[0].at), (&b"abc"[..], Timestamp(9000)));
        }
    }

    #[test]
    fn wireshark_counts_journal_and_custom_blocks_and_no_others() {
        let mut file = PcapngBuilder::section(Endian::Little);
        file.interface(1, 0, &[]);
        for kind in [JOURNAL_EXPORT, CUSTOM, CUSTOM_NOT_COPIED, DECRYPTION_SECRETS, 4, 77] {
            file.words(kind, &[1], b"what it holds");
        }
        file.packet(0, 1, b"x");
        assert_eq!(frames(&file.bytes)[0].number, 4);
    }

    #[test]
    fn interfaces_have_names_and_counters() {
        let mut file = PcapngBuilder::section(Endian::Big);
        let long = [b'n'; 1000];
        file.interface(1, 0, &[(IF_NAME, b"eth0"), (END_OF_OPTIONS, b""), (IF_NAME, b"no")]);
        file.interface(1, 0, &[(IF_NAME, &long)]);
        let counter = |count: u64| count.to_be_bytes();
        let counters =
            [(ISB_IFRECV, counter(9)), (ISB_IFDROP, counter(3)), (ISB_OSDROP, counter(4))];
        for (code, count) in counters {
            let mut option = vec![0, code as u8, 0, 8];
            option.extend(count);
            file.words(INTERFACE_STATISTICS, &[0, 0, 0], &option);
        }
        let mut capture = read(file.bytes, usize::MAX);
        while capture.next_item().unwrap().is_some() {}
        let [first, second] = capture.interfaces() else { panic!("two interfaces") };
        assert_eq!(first.name.as_deref(), Some("eth0"));
        assert_eq!((first.received, first.if_drop, first.os_drop), (Some(9), Some(3), Some(4)));
        assert_eq!(second.name.as_ref().map(String::len), Some(MAX_NAME));
    }

    /// Options, or records of names: code, length, value, padding.
    fn options(endian: Endian, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            for field in [*code, value.len() as u16] {
                bytes.extend(match endian {
                    Endian::Big => field.to_be_bytes(),
                    Endian::Little => field.to_le_bytes(),
                });
            }
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    /// All annotations that were read from a file.
    #[derive(Default)]
    struct Read {
        comments: Vec<(u64, Vec<u8>)>,
        names: Vec<(IpAddr, Box<[u8]>)>,
        secrets: Vec<(SecretsType, Vec<u8>)>,
    }

    /// Annotations of a file with one interface and the blocks that `fill` adds.
    fn annotations(endian: Endian, fill: impl Fn(&mut PcapngBuilder)) -> Read {
        let mut file = PcapngBuilder::section(endian);
        file.interface(1, 0, &[]);
        fill(&mut file);
        assert!(notices(&file.bytes).is_empty());
        let mut capture = read(file.bytes, usize::MAX);
        let mut found = Read::default();
        while let Some(item) = capture.next_item().unwrap() {
            match item {
                Item::Frame(frame) => {
                    let number = frame.id.number;
                    found.comments.extend(frame.comments.iter().map(|it| (number, it.to_vec())));
                }
                Item::Names { names, .. } => found.names.extend_from_slice(names),
                Item::KeyLog { secrets, .. } => {
                    found.secrets.push((secrets.kind, secrets.expose().to_vec()));
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn an_extract_gives_its_frames_their_numbers_and_they_rise() {
        let endian = Endian::Little;
        for (program, numbers) in
            [(&b"beamscope extract 0.1.0"[..], [1, 7, 8, 9, 10]), (b"another", [1, 2, 3, 4, 5])]
        {
            let mut file = PcapngBuilder::section(endian);
            let head = [BYTE_ORDER_MAGIC, 1, u32::MAX, u32::MAX];
            file.words(SECTION_HEADER, &head, &options(endian, &[(SHB_USERAPPL, program)]));
            file.words(INTERFACE_DESCRIPTION, &[1, 0], &[]);
            // The second number of 7 is too low, and the last two cannot be numbers.
            for own in [1, 7, 7, u64::MAX, u64::MAX - 1] {
                let own = options(endian, &[(EPB_PACKETID, &own.to_le_bytes())]);
                file.words(ENHANCED_PACKET, &[0, 0, 0, 0, 0], &own);
            }
            let mut capture = read(file.bytes, usize::MAX);
            let mut found = Vec::new();
            while let Some(item) = capture.next_item().unwrap() {
                if let Item::Frame(frame) = item {
                    found.push(frame.id.number);
                }
            }
            assert_eq!(found, numbers);
        }
    }

    /// A section of an extract that lists these inputs.
    fn extract_section(file: &mut PcapngBuilder, inputs: &[&str]) {
        let entries = (0..).zip(inputs).map(|(at, name)| originals::entry(at, name));
        let entries: Vec<_> = entries.collect();
        let comments = entries.iter().map(|entry| (OPT_COMMENT, entry.as_bytes()));
        let program = (SHB_USERAPPL, &b"beamscope extract 0.1.0"[..]);
        let head = options(Endian::Little, &comments.chain([program]).collect::<Vec<_>>());
        file.words(SECTION_HEADER, &[BYTE_ORDER_MAGIC, 1, u32::MAX, u32::MAX], &head);
    }

    /// A packet of an extract.
    fn extract_packet(file: &mut PcapngBuilder, interface: u32, number: u64) {
        let own = options(Endian::Little, &[(EPB_PACKETID, &number.to_le_bytes())]);
        file.words(ENHANCED_PACKET, &[interface, 0, 0, 0, 0], &own);
    }

    /// Input and number of each frame, the input of each interface, and what is reported.
    type ExtractItems = (Vec<(u16, u64)>, Vec<u16>, Vec<String>);

    fn extract_items(bytes: &[u8], most: u16) -> ExtractItems {
        let mut capture = read(bytes.to_vec(), usize::MAX);
        capture.number_inputs(3, most);
        let (mut found, mut interfaces, mut notices) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(item) = capture.next_item().unwrap() {
            match item {
                Item::Frame(frame) => found.push((frame.id.input, frame.id.number)),
                Item::Interface { input, .. } => interfaces.push(input),
                Item::Notice(notice) => notices.push(notice.detail),
                other => panic!("{other:?}"),
            }
        }
        (found, interfaces, notices)
    }

    #[test]
    fn an_extract_of_several_gives_its_frames_their_inputs_and_their_numbers_there() {
        let mut file =
            PcapngBuilder { bytes: Vec::new(), ..PcapngBuilder::section(Endian::Little) };
        for _ in 0..2 {
            // The same list again, as a file has it that was opened again.
            extract_section(&mut file, &["a.pcap", "b.pcap"]);
            file.interface(1, 0, &[(OPT_COMMENT, b"input 2")]);
            file.interface(1, 0, &[(OPT_COMMENT, b"why"), (OPT_COMMENT, b"input 1")]);
            for (interface, number) in [(0, 48), (1, 3), (0, 50), (1, 7)] {
                extract_packet(&mut file, interface, number);
            }
            // Another program has removed the options.
            file.packet(1, 0, b"");
        }
        let found = extract_items(&file.bytes, 2);
        let first = [(4, 48), (3, 3), (4, 50), (3, 7), (3, 8)];
        let second = [(4, 51), (3, 9), (4, 52), (3, 10), (3, 11)];
        assert_eq!(found, ([first, second].concat(), vec![4, 3, 4, 3], Vec::new()));
        let mut whole = read(file.bytes.clone(), usize::MAX);
        assert_eq!(whole.listed_inputs(), ["a.pcap", "b.pcap"].map(Arc::from));
        // Nothing was taken by that.
        assert!(matches!(whole.next_item(), Ok(Some(Item::Interface { .. }))));
        // Where no numbers are kept for its inputs, it is as any other capture.
        let (frames, interfaces, notices) = extract_items(&file.bytes, 1);
        assert!(frames.into_iter().eq((1..=10).map(|number| (3, number))));
        assert_eq!((&*interfaces, notices.len()), (&[3; 4][..], 2));
        assert!(notices[0].contains("no numbers are kept for the 2 inputs"), "{notices:?}");
    }

    #[test]
    fn an_extract_with_wrong_inputs_is_reported_and_bounded() {
        for mark in [&b"input 3"[..], b"input 0", b"input 65536", b"input", b"Input 1"] {
            let mut file =
                PcapngBuilder { bytes: Vec::new(), ..PcapngBuilder::section(Endian::Little) };
            extract_section(&mut file, &["a.pcap", "b.pcap"]);
            file.interface(1, 0, &[(OPT_COMMENT, mark)]);
            extract_packet(&mut file, 0, 48);
            extract_packet(&mut file, 0, 49);
            let (frames, interfaces, notices) = extract_items(&file.bytes, 2);
            assert_eq!((&*frames, &*interfaces), (&[(3, 1), (3, 2)][..], &[][..]));
            assert!(notices.len() == 1 && notices[0].contains("one of the inputs"), "{notices:?}");
        }
        // Sections of other inputs, or of none.
        let mut file =
            PcapngBuilder { bytes: Vec::new(), ..PcapngBuilder::section(Endian::Little) };
        for inputs in [&["a", "b"][..], &["c", "d", "e"], &[]] {
            extract_section(&mut file, inputs);
            file.interface(1, 0, &[(OPT_COMMENT, b"input 2")]);
            extract_packet(&mut file, 0, 48);
            file.packet(0, 0, b"");
        }
        let (frames, interfaces, notices) = extract_items(&file.bytes, 2);
        assert_eq!(frames, [(4, 48), (4, 49), (3, 1), (3, 2), (3, 3), (3, 4)]);
        assert_eq!((&*interfaces, notices.len()), (&[4, 3, 3][..], 2));
        assert!(notices.iter().all(|detail| detail.contains("as those of the first input")));
        // A million inputs.
        let names = vec!["x"; 1_000_000];
        let mut file =
            PcapngBuilder { bytes: Vec::new(), ..PcapngBuilder::section(Endian::Little) };
        extract_section(&mut file, &names);
        file.interface(1, 0, &[(OPT_COMMENT, b"input 65535")]);
        extract_packet(&mut file, 0, 48);
        let (frames, _, notices) = extract_items(&file.bytes, 9);
        assert_eq!((&*frames, notices.len()), (&[(3, 1)][..], 1));
        assert!(notices[0].contains("the 65535 inputs"), "{notices:?}");
    }

    #[test]
    fn comments_belong_to_the_packet_that_has_them() {
        for endian in [Endian::Big, Endian::Little] {
            let found = annotations(endian, |file| {
                let commented = options(
                    endian,
                    &[
                        (OPT_COMMENT, b"one"),
                        (2, &[0; 4]),
                        (OPT_COMMENT, b""),
                        (0, b""),
                        (1, b"no"),
                    ],
                );
                // Five bytes of a frame, and three of padding.
                let padded = [b"frame\0\0\0", commented.as_slice()].concat();
                file.packet(0, 1, b"none").words(ENHANCED_PACKET, &[0, 0, 2, 5, 5], &padded);
                file.words(SIMPLE_PACKET, &[5], &padded);
                file.words(PACKET, &[0, 0, 4, 0, 0], &options(endian, &[(OPT_COMMENT, b"old")]));
            });
            let comments: Vec<_> =
                found.comments.iter().map(|(number, text)| (*number, &**text)).collect();
            assert_eq!(comments, [(2, &b"one"[..]), (2, b""), (4, b"old")]);
        }
    }

    #[test]
    fn an_address_may_have_several_names_and_records_after_the_end_are_ignored() {
        for endian in [Endian::Big, Endian::Little] {
            let found = annotations(endian, |file| {
                let mut ipv6 = [0; 16].to_vec();
                ipv6[15] = 1;
                ipv6.extend(b"six\0");
                let records: [(u16, &[u8]); 6] = [
                    (NRB_RECORD_IPV4, b"\x0a\0\0\x02a.example\0b\0"),
                    (3, b"\x02\0\0\0\0\x01mac\0"),
                    (NRB_RECORD_IPV4, b"\x0a\0\0"),
                    (NRB_RECORD_IPV6, &ipv6),
                    (0, b""),
                    (NRB_RECORD_IPV4, b"\x0a\0\0\x03late\0"),
                ];
                file.words(NAME_RESOLUTION, &[], &options(endian, &records));
            });
            let names: Vec<_> =
                found.names.iter().map(|(at, name)| (at.to_string(), &**name)).collect();
            let expected = [("10.0.0.2", "a.example"), ("10.0.0.2", "b"), ("::1", "six")];
            assert_eq!(names, expected.map(|(at, name)| (at.to_owned(), name.as_bytes())));
        }
    }

    #[test]
    fn secrets_are_kept_with_their_type() {
        for endian in [Endian::Big, Endian::Little] {
            let found = annotations(endian, |file| {
                file.words(DECRYPTION_SECRETS, &[0x544c_534b, 5], b"log 1, and padding");
                file.words(DECRYPTION_SECRETS, &[0x5353_484b, 0], b"");
            });
            let secrets: Vec<_> =
                found.secrets.iter().map(|(kind, data)| (*kind, &**data)).collect();
            let ssh = SecretsType(0x5353_484b);
            assert_eq!(secrets, [(SecretsType::TLS_KEY_LOG, &b"log 1"[..]), (ssh, b"")]);
        }
    }

    #[test]
    fn malformed_annotations_end_at_the_first_that_does_not_fit_and_no_frame_is_lost() {
        for endian in [Endian::Big, Endian::Little] {
            let found = annotations(endian, |file| {
                // Each list ends with an option whose length is beyond the block.
                let cut = |list: &[(u16, &[u8])]| {
                    let mut bytes = options(endian, list);
                    bytes.extend(options(endian, &[(1, &[b'x'; 256])]).iter().take(8));
                    bytes
                };
                file.words(ENHANCED_PACKET, &[0, 0, 1, 0, 0], &cut(&[(OPT_COMMENT, b"kept")]));
                file.words(ENHANCED_PACKET, &[0, 0, 1, 0, 0], b"\xff\xff\xff\xff");
                file.words(NAME_RESOLUTION, &[], &cut(&[(NRB_RECORD_IPV4, b"\x7f\0\0\x01me")]));
                file.words(NAME_RESOLUTION, &[], b"");
                file.words(DECRYPTION_SECRETS, &[1, 5], b"four");
                file.words(DECRYPTION_SECRETS, &[1, u32::MAX], b"four");
                file.words(DECRYPTION_SECRETS, &[1], b"");
            });
            let kept = (found.comments.len(), found.names.len(), found.secrets.len());
            assert_eq!(kept, (1, 1, 0));
        }
    }

    #[test]
    fn annotations_beyond_their_bounds_are_left_out() {
        let found = annotations(Endian::Big, |file| {
            let long = vec![b'x'; 5000];
            file.words(ENHANCED_PACKET, &[0; 5], &options(Endian::Big, &[(OPT_COMMENT, &long)]));
            file.words(NAME_RESOLUTION, &[], &options(Endian::Big, &[(NRB_RECORD_IPV4, &long)]));
            let many = [&[10, 0, 0, 1][..], &b"n\0".repeat(5000)].concat();
            file.words(NAME_RESOLUTION, &[], &options(Endian::Big, &[(NRB_RECORD_IPV4, &many)]));
            for len in [600_000, 1_200_000] {
                file.words(DECRYPTION_SECRETS, &[1, len], &vec![b's'; len as usize]);
            }
        });
        assert_eq!((found.comments.len(), found.names.len(), found.secrets.len()), (0, 4096, 1));
    }

    #[test]
    fn packets_of_an_undeclared_interface_are_reported_once_and_counted() {
        let mut file = PcapngBuilder::section(Endian::Little);
        file.interface(1, 0, &[]).packet(0, 1, b"a").packet(9, 2, b"b").packet(8, 3, b"c");
        file.packet(0, 4, b"d");
        assert_eq!(frames(&file.bytes).iter().map(|f| f.number).collect::<Vec<_>>(), [1, 4]);
        let notices = notices(&file.bytes);
        assert_eq!(notices.len(), 1);
        assert!(notices[0].detail.contains("interface 9"), "{}", notices[0].detail);
    }

    /// A file of three packets, and the range of the second.
    fn three_packets() -> (Vec<u8>, std::ops::Range<usize>) {
        let mut file = PcapngBuilder::section(Endian::Little);
        file.interface(1, 0, &[]).packet(0, 1, b"packet 1");
        let start = file.bytes.len();
        file.packet(0, 2, b"packet 2");
        let second = start..file.bytes.len();
        file.packet(0, 3, b"packet 3");
        (file.bytes, second)
    }

    #[test]
    fn a_wrong_length_loses_one_packet() {
        let (file, second) = three_packets();
        let leading = [0, 3, 8, 36, 44, 1 << 20, 1 << 30, u32::MAX];
        let leading = leading.map(|length| (second.start + 4, length));
        for (at, length) in leading.into_iter().chain([(second.end - 4, 1)]) {
            let mut file = file.clone();
            file[at..][..4].copy_from_slice(&length.to_le_bytes());
            let (frames, notices, _) = items(&file);
            let given: Vec<_> = frames.iter().map(|frame| frame.bytes.as_slice()).collect();
            assert_eq!(given, [b"packet 1", b"packet 3"], "{length}");
            let [notice] = notices.as_slice() else { panic!("{notices:?}") };
            assert_eq!((notice.kind, notice.after.number), (NoticeKind::Corrupt, 1));
            assert_eq!(notice.offset, second.start as u64);
            assert_eq!(notice.skipped, Some(second.len() as u64));
        }
    }

    #[test]
    fn inserted_bytes_lose_no_packet() {
        let (mut file, second) = three_packets();
        file.splice(second.start..second.start, [0xaa; 7]);
        let (frames, notices, _) = items(&file);
        assert_eq!((frames.len(), notices.len(), notices[0].skipped), (3, 1, Some(7)));
    }

    #[test]
    fn a_captured_length_beyond_the_block_loses_only_that_packet() {
        let mut file = PcapngBuilder::section(Endian::Big);
        file.interface(1, 0, &[]);
        file.words(ENHANCED_PACKET, &[0, 0, 1, u32::MAX, 4], b"abcd").words(
            ENHANCED_PACKET,
            &[],
            b"",
        );
        file.words(INTERFACE_DESCRIPTION, &[], b"").words(SIMPLE_PACKET, &[], b"");
        file.packet(0, 5, b"good");
        assert_eq!(notices(&file.bytes).len(), 4);
        assert_eq!(frames(&file.bytes)[0].number, 4);
    }

    #[test]
    fn changed_bytes_never_stop_the_reader() {
        // Each byte of a small file is replaced by several values.
        let mut file = PcapngBuilder::section(Endian::Little);
        file.interface(1, 96, &[(IF_NAME, b"eth0"), (IF_TSRESOL, &[9])]).packet(0, 5, b"abcde");
        file.words(SIMPLE_PACKET, &[4], b"abcd").packet(0, 6, b"fghij");
        let comment = options(Endian::Little, &[(OPT_COMMENT, b"comment")]);
        let names = options(Endian::Little, &[(NRB_RECORD_IPV4, b"\x7f\0\0\x01me\0")]);
        file.words(ENHANCED_PACKET, &[0; 5], &comment).words(NAME_RESOLUTION, &[], &names);
        file.words(DECRYPTION_SECRETS, &[1, 4], b"keys");
        for at in 12..file.bytes.len() {
            for value in [0, 1, 6, 0x0a, 0x7f, 0x80, 0xff] {
                let mut bytes = file.bytes.clone();
                bytes[at] = value;
                assert!(items(&bytes).0.len() <= 4);
            }
        }
    }

    #[test]
    fn pcap_parser_reads_the_same_packets() {
        use pcap_parser::{Block, parse_block_be, parse_block_le};
        for endian in [Endian::Big, Endian::Little] {
            let mut file = PcapngBuilder::section(endian);
            file.interface(113, 0, &[(IF_NAME, b"any")]);
            for n in 0..20u64 {
                file.packet(0, SECONDS * 1_000_000 + n, &vec![n as u8; n as usize]);
            }
            let mut theirs = Vec::new();
            let mut rest = file.bytes.as_slice();
            while !rest.is_empty() {
                let parse = if endian == Endian::Big { parse_block_be } else { parse_block_le };
                let (next, block) = parse(rest).unwrap();
                if let Block::EnhancedPacket(packet) = block {
                    let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                    let data = packet.data[..packet.caplen as usize].to_vec();
                    theirs.push((Timestamp(ticks * 1000), packet.origlen, data));
                }
                rest = next;
            }
            let ours = frames(&file.bytes);
            let ours: Vec<_> = ours.into_iter().map(|f| (f.at, f.wire_len, f.bytes)).collect();
            assert_eq!(ours, theirs);
        }
    }
}
