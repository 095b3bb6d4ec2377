//! Stage 1: blocks of the pcapng format.
//!
//! In: the buffer, at a block. Out: one [`Record`] a packet block, the interfaces as they are declared,
//! and where damage was passed over. Comments, names and secrets are skipped.
//!
//! ```text
//!   4        4                                   4
//! | type | length | body, padded to 4 octets | length |
//! ```
//!
//! Every section may have its own byte order and declares its own interfaces; the link type, the
//! resolution and the origin of time stamps belong to the interface. Both lengths count the whole
//! block, which is how the next one is found again after damage.
//!
//! Spec: *PCAP Next Generation Capture File Format*, draft-ietf-opsawg-pcapng.
//!
//! Bodies are read here and not by `pcap-parser`, which serves the tests as a second opinion: it
//! allocates a list of options a block, reads `if_tsoffset` little-endian always, knows no resolution
//! of powers of two and no obsolete packet block.

use super::buffer::{Buffer, MAX_NEED};
use super::{Endian, Interface, LinkType, Record, Step};
use crate::time::Timestamp;

/// Where a file stands: its section, and what it told about interfaces.
pub(super) struct Pcapng {
    endian: Endian,
    /// Interfaces of the section, by their identifier.
    declared: Vec<Declared>,
    /// Interfaces of all sections, in the order of their blocks.
    pub(super) interfaces: Vec<Interface>,
    /// A packet of this section named an interface that is not declared; say so once.
    undeclared_told: bool,
    /// Time of the packet before, which is all that is known of one without a time.
    last: Timestamp,
}

/// What the reading of packets needs to know of an interface.
struct Declared {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Its place in [`Pcapng::interfaces`].
    index: Option<u32>,
}

/// What the two halves of a packet's time stamp count, and from when.
struct Clock {
    /// Set where it is a whole number, as for all resolutions in use.
    nanos_per_tick: Option<i128>,
    ticks_per_second: i128,
    offset_seconds: i64,
}

/// Why there is no block at the front of the buffer.
enum NoBlock {
    End,
    Cut,
    Corrupt(String),
}

/// A block as a packet describes itself.
struct Packet {
    interface: u32,
    ticks: Option<u64>,
    captured: u32,
    wire_len: u32,
    /// Octets of the block before those of the frame.
    header_len: usize,
}

impl Pcapng {
    /// Whether the 12 octets `head` begin a section.
    pub(super) fn recognise(head: &[u8]) -> bool {
        section_endian(head).is_some()
    }

    pub(super) fn new() -> Self {
        Self {
            endian: Endian::Little,
            declared: Vec::new(),
            interfaces: Vec::new(),
            undeclared_told: false,
            last: Timestamp::default(),
        }
    }

    pub(super) fn advance(&mut self, buffer: &mut Buffer, number: &mut u64) -> Step {
        loop {
            let (kind, len) = match self.front(buffer) {
                Ok(front) => front,
                Err(NoBlock::End) => return Step::End,
                Err(NoBlock::Cut) => return self.resynchronise(buffer, None),
                Err(NoBlock::Corrupt(detail)) => return self.resynchronise(buffer, Some(detail)),
            };
            let offset = buffer.offset();
            let start = buffer.consume(len);
            let block = buffer.at(start..start + len);
            let body = block.get(8..len - 4).unwrap_or_default();
            let read = match kind {
                ENHANCED_PACKET | SIMPLE_PACKET | PACKET => {
                    *number += 1;
                    match self.packet(kind, block, start) {
                        Ok(Some(record)) => return Step::Frame(record),
                        Ok(None) => continue,
                        Err(why) => Err(why),
                    }
                }
                INTERFACE_DESCRIPTION => self.describe_interface(body),
                INTERFACE_STATISTICS => self.count_statistics(body),
                SECTION_HEADER => {
                    self.declared.clear();
                    self.undeclared_told = false;
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(detail) = read {
                return Step::Corrupt { offset, skipped: Some(len as u64), detail };
            }
        }
    }

    /// Type and length of the block at the front, all of it in hand and its two lengths alike. Takes
    /// on the byte order of a section that begins.
    fn front(&mut self, buffer: &mut Buffer) -> Result<(u32, usize), NoBlock> {
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
                format!("expected a block of {len} octets to end in its length, found {found}");
            return Err(NoBlock::Corrupt(detail));
        }
        Ok((kind, whole))
    }

    /// Passes over octets until a block can be trusted again. `detail` says what was wrong; without
    /// it, the input ended in what may have been a block, unless a whole one follows after all.
    fn resynchronise(&mut self, buffer: &mut Buffer, detail: Option<String>) -> Step {
        let offset = buffer.offset();
        loop {
            buffer.consume(1);
            if !buffer.fill(MIN_BLOCK) {
                break;
            }
            if self.trustworthy(buffer) {
                let detail = detail.unwrap_or_else(|| {
                    "expected a whole block, found a length beyond the end of the input".into()
                });
                let skipped = Some(buffer.offset().saturating_sub(offset));
                return Step::Corrupt { offset, skipped, detail };
            }
        }
        buffer.consume(buffer.len());
        match detail {
            None => Step::Truncated { offset, what: "a block" },
            Some(detail) => {
                let skipped = Some(buffer.offset().saturating_sub(offset));
                Step::Corrupt { offset, skipped, detail }
            }
        }
    }

    /// Whether what lies at the front is a block beyond reasonable doubt: of a known type, of a length
    /// as blocks have, and with the same length at its end.
    fn trustworthy(&self, buffer: &mut Buffer) -> bool {
        let head = buffer.bytes();
        let endian = section_endian(head).unwrap_or(self.endian);
        let Some([kind, len]) = endian.words(head) else { return false };
        let known = matches!(kind, SECTION_HEADER | DECRYPTION_SECRETS)
            || (INTERFACE_DESCRIPTION..=ENHANCED_PACKET).contains(&kind);
        let len = block_len(len).filter(|len| *len <= MAX_TRUSTED && known);
        len.is_some_and(|len| {
            buffer.fill(len)
                && trailing_len(endian, buffer.bytes(), len).is_some_and(|end| end as usize == len)
        })
    }

    /// Reads a packet block that lies at `start` in the buffer.
    fn packet(&mut self, kind: u32, block: &[u8], start: usize) -> Result<Option<Record>, String> {
        let too_short =
            || format!("a packet block of {} octets has no room for its header", block.len());
        let room = |header_len| block.len().checked_sub(header_len + 4).ok_or_else(too_short);
        let packet = match kind {
            ENHANCED_PACKET => {
                let [_, _, interface, high, low, captured, wire_len] =
                    self.endian.words(block).ok_or_else(too_short)?;
                let ticks = Some(u64::from(high) << 32 | u64::from(low));
                Packet { interface, ticks, captured, wire_len, header_len: 28 }
            }
            PACKET => {
                let [_, _, _, high, low, captured, wire_len] =
                    self.endian.words(block).ok_or_else(too_short)?;
                // The interface shares its word with a count of drops, in the section's byte order.
                let interface = block.get(8..).and_then(|field| field.first_chunk());
                let interface = self.endian.u16(*interface.ok_or_else(too_short)?).into();
                let ticks = Some(u64::from(high) << 32 | u64::from(low));
                Packet { interface, ticks, captured, wire_len, header_len: 28 }
            }
            _ => {
                let [_, _, wire_len] = self.endian.words(block).ok_or_else(too_short)?;
                // It tells neither time nor interface nor how much of the frame was captured: all
                // that the block has room for, within the first interface's snaplen.
                let snaplen = self.declared.first().map_or(0, |first| first.snaplen);
                let room = u32::try_from(room(12)?).unwrap_or(u32::MAX);
                let captured = match snaplen {
                    0 => wire_len.min(room),
                    snaplen => wire_len.min(room).min(snaplen),
                };
                Packet { interface: 0, ticks: None, captured, wire_len, header_len: 12 }
            }
        };
        let room = room(packet.header_len)?;
        let captured = packet.captured as usize;
        if captured > room {
            return Err(format!("expected at most {room} octets of a frame, found {captured}"));
        }
        let Some(declared) = self.declared.get(packet.interface as usize) else {
            if std::mem::replace(&mut self.undeclared_told, true) {
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
        let start = start + packet.header_len;
        Ok(Some(Record {
            at: self.last,
            link: declared.link,
            interface: declared.index,
            wire_len: packet.wire_len,
            place: start..start + captured,
        }))
    }

    /// Interface description: link type (2), reserved (2), snaplen (4), options.
    fn describe_interface(&mut self, body: &[u8]) -> Result<(), String> {
        let Some((([link @ .., _, _], snaplen), options)) = body
            .split_first_chunk::<4>()
            .and_then(|(link, rest)| Some((link, rest.split_first_chunk::<4>()?)))
            .map(|(link, (snaplen, options))| ((link, snaplen), options))
        else {
            return Err("an interface description has no room for its fields".into());
        };
        if self.declared.len() == MAX_INTERFACES {
            return Err(format!("more than {MAX_INTERFACES} interfaces in one section"));
        }
        let mut interface = Interface::default();
        let mut clock = Clock::new(DEFAULT_RESOLUTION);
        let mut offset_seconds = 0;
        for (code, value) in self.options(options) {
            match (code, value) {
                (IF_NAME, name) => {
                    let name = name.get(..MAX_NAME).unwrap_or(name);
                    interface.name = Some(String::from_utf8_lossy(name).into_owned());
                }
                (IF_TSRESOL, [resolution, ..]) => clock = Clock::new(*resolution),
                (IF_TSOFFSET, value) => {
                    if let Some(octets) = value.first_chunk() {
                        offset_seconds = self.endian.u64(*octets).cast_signed();
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
        }
        self.declared.push(Declared {
            link: LinkType(self.endian.u16(*link)),
            snaplen: self.endian.u32(*snaplen),
            clock: Clock { offset_seconds, ..clock },
            index,
        });
        Ok(())
    }

    /// Interface statistics: interface (4), time stamp (8), options. Counters count from the start of
    /// the capture, so the last block holds.
    fn count_statistics(&mut self, body: &[u8]) -> Result<(), String> {
        let Some([interface, _, _]) = self.endian.words(body) else {
            return Err("interface statistics have no room for their fields".into());
        };
        let index = self.declared.get(interface as usize).and_then(|declared| declared.index);
        let Some(index) = index else { return Ok(()) };
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
        Ok(())
    }

    /// Options as (code, value) up to their end, or up to one that does not fit.
    fn options<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let endian = self.endian;
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (code, behind) = rest.split_first_chunk()?;
            let (len, behind) = behind.split_first_chunk()?;
            let len = usize::from(endian.u16(*len));
            let value = behind.get(..len)?;
            rest = behind.get(len.next_multiple_of(4)..).unwrap_or_default();
            Some((endian.u16(*code), value)).filter(|(code, _)| *code != END_OF_OPTIONS)
        })
    }
}

impl Clock {
    /// `if_tsresol`: the seven lower bits are the negative exponent, the upper one the base, 10 or 2.
    fn new(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let base: i128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        // With more ticks in a second, 64 bits of them do not fill a nanosecond.
        let ticks_per_second = base.checked_pow(exponent).unwrap_or(i128::MAX);
        let nanos_per_tick = (NANOS_PER_SECOND % ticks_per_second == 0)
            .then_some(NANOS_PER_SECOND / ticks_per_second);
        Self { nanos_per_tick, ticks_per_second, offset_seconds: 0 }
    }

    /// The moment that a time stamp means; 1970 where it lies before.
    fn at(&self, ticks: u64) -> Timestamp {
        // 64 bits times a thousand million is 94 bits: no overflow in 128.
        let nanos = match self.nanos_per_tick {
            Some(nanos) => i128::from(ticks) * nanos,
            None => i128::from(ticks) * NANOS_PER_SECOND / self.ticks_per_second,
        };
        let nanos = nanos + i128::from(self.offset_seconds) * NANOS_PER_SECOND;
        Timestamp(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// Byte order of the section that `head` begins; `None` when it begins none.
fn section_endian(head: &[u8]) -> Option<Endian> {
    [Endian::Big, Endian::Little]
        .into_iter()
        .find(|endian| matches!(endian.words(head), Some([SECTION_HEADER, _, BYTE_ORDER_MAGIC])))
}

/// A length that a block may have.
fn block_len(len: u32) -> Option<usize> {
    let len = len as usize;
    ((MIN_BLOCK..=MAX_NEED).contains(&len) && len % 4 == 0).then_some(len)
}

/// The length at the end of the block of `len` octets that begins `bytes`.
fn trailing_len(endian: Endian, bytes: &[u8], len: usize) -> Option<u32> {
    Some(endian.u32(*bytes.get(..len)?.last_chunk()?))
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete packet block.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const DECRYPTION_SECRETS: u32 = 10;

const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;

/// Microseconds, where an interface says nothing else.
const DEFAULT_RESOLUTION: u8 = 6;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Two lengths and a type.
const MIN_BLOCK: usize = 12;

/// Damage is passed over only up to a block below this: larger ones are rare, and a false length found
/// in the middle of octets should not make a live reader wait for many more.
const MAX_TRUSTED: usize = 1024 * 1024;

/// The obsolete packet block could name this many; a section of a real capture has a few dozen.
const MAX_INTERFACES: usize = 65_536;

/// Octets of an interface's name. Linux has 15, Windows about 50.
const MAX_NAME: usize = 256;

/// Options looked at in one statistics block; the specification has eight.
const MAX_COUNTERS: usize = 64;
