//! Stage 2: reassembly of IP fragments.
//!
//! In: fragments in any order. Out: the payload of their datagram, once every byte of it has arrived.
//! Where fragments overlap, the bytes that arrived first are used. Memory is allocated for bytes that
//! arrived, never for an offset that a header claims. [`DefragLimits`] bounds the buffered bytes, and
//! every discarded datagram is counted. This file parses no header.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::IpNumber;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::ip::IpFragment;
use super::slice::{PacketSlice, bytes_in};
use crate::limits::DefragLimits;
use crate::time::Timestamp;

/// Counts of IP fragments by what the decoder did with them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FragmentCounters {
    /// Fragments that the frames contained.
    pub seen: u64,
    /// Datagrams reassembled from all their fragments.
    pub reassembled: u64,
    /// Datagrams discarded because they stayed incomplete for too long.
    pub expired: u64,
    /// Datagrams discarded because the table was full, by number or by bytes.
    pub evicted: u64,
    /// Fragments that fit in no datagram: they reach beyond 65,535 bytes or beyond the end of the
    /// datagram, are empty, or exceed the number of pieces allowed.
    pub refused: u64,
    /// Datagrams that lack fragments; at the end of the input, those that stayed incomplete.
    pub incomplete: usize,
}

/// Table of the datagrams that lack fragments.
pub(super) struct Defrag {
    limits: DefragLimits,
    /// Keyed by a serial number in order of arrival, so that the first entry is the oldest.
    incomplete: BTreeMap<u64, PartialDatagram>,
    /// Serial numbers by key; the same set of datagrams as in `incomplete`.
    numbers: HashMap<FragmentKey, u64, RandomState>,
    next_number: u64,
    /// Sum of the costs of all pieces in `incomplete`.
    bytes: usize,
    counters: FragmentCounters,
}

/// The header fields that the fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct FragmentKey {
    /// Hash of the input and of the outer layers, since equal addresses on two networks are two hosts.
    pub(super) context: u64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    /// Part of the key in IPv4 only (RFC 791; RFC 8200 leaves it out).
    pub(super) protocol: Option<IpNumber>,
}

impl Defrag {
    pub(super) fn new(limits: DefragLimits) -> Self {
        Self {
            limits,
            incomplete: BTreeMap::new(),
            numbers: HashMap::default(),
            next_number: 0,
            bytes: 0,
            counters: FragmentCounters::default(),
        }
    }

    /// Fragments that were read so far.
    pub(super) const fn read(&self) -> u64 {
        self.counters.seen
    }

    pub(super) fn counters(&self) -> FragmentCounters {
        FragmentCounters { incomplete: self.incomplete.len(), ..self.counters }
    }

    /// Adds a fragment. If it completes a datagram, writes the payload to `out` up to the first byte
    /// that was not captured, and returns the protocol and the number of bytes that follow from there.
    pub(super) fn add(
        &mut self,
        key: FragmentKey,
        at: Timestamp,
        protocol: IpNumber,
        fragment: IpFragment,
        payload: PacketSlice<'_>,
        out: &mut Vec<u8>,
    ) -> Option<(IpNumber, u32)> {
        self.counters.seen += 1;
        self.expire(at);
        let start = u32::from(fragment.offset);
        let end = start.saturating_add(payload.sent());
        let unaligned = fragment.more && !payload.sent().is_multiple_of(8);
        if start == end || end > DATAGRAM_MAX || unaligned {
            self.counters.refused += 1;
            return None;
        }
        let number = self.number(key, at);
        let incomplete = self.incomplete.get_mut(&number)?;
        let before = incomplete.cost;
        let added = incomplete.add(start..end, fragment.more, payload, self.limits.pieces);
        if start == 0 && incomplete.protocol.is_none() {
            incomplete.protocol = Some(protocol);
        }
        self.bytes = self.bytes.saturating_add(incomplete.cost.saturating_sub(before));
        if added.is_err() {
            self.counters.refused += 1;
        }
        let complete = incomplete.end == Some(incomplete.covered);
        if !complete {
            while self.bytes > self.limits.bytes && self.evict_oldest() {
                self.counters.evicted += 1;
            }
            return None;
        }
        let done = self.remove(number)?;
        self.counters.reassembled += 1;
        let missing = done.write(out);
        done.protocol.map(|protocol| (protocol, missing))
    }

    /// The serial number of the datagram with `key`, which is added if it is not in the table.
    fn number(&mut self, key: FragmentKey, at: Timestamp) -> u64 {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        while self.incomplete.len() >= self.limits.datagrams && self.evict_oldest() {
            self.counters.evicted += 1;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key, number);
        self.incomplete.insert(number, PartialDatagram::new(key, at));
        number
    }

    /// Discards the datagrams whose first fragment is too old at `now`.
    fn expire(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.incomplete.first_key_value() {
            if now.since(oldest.first_at) <= self.limits.age {
                break;
            }
            self.evict_oldest();
            self.counters.expired += 1;
        }
    }

    /// Discards the oldest datagram; false if the table is empty.
    fn evict_oldest(&mut self) -> bool {
        let oldest = self.incomplete.first_key_value().map(|(&number, _)| number);
        oldest.and_then(|number| self.remove(number)).is_some()
    }

    fn remove(&mut self, number: u64) -> Option<PartialDatagram> {
        let gone = self.incomplete.remove(&number)?;
        self.numbers.remove(&gone.key);
        self.bytes = self.bytes.saturating_sub(gone.cost);
        Some(gone)
    }
}

/// One datagram of which some bytes have not arrived.
struct PartialDatagram {
    key: FragmentKey,
    first_at: Timestamp,
    /// Taken from the fragment at offset 0, which alone defines it (RFC 8200, section 4.5).
    protocol: Option<IpNumber>,
    /// Length of the payload, known once the last fragment arrived.
    end: Option<u32>,
    /// Sorted by offset; they never overlap and never reach beyond `end`.
    pieces: Vec<DatagramPiece>,
    /// Sum of the lengths of the pieces; there is no gap when it equals `end`.
    covered: u32,
    /// Bytes of memory that the pieces take, by [`PIECE_COST`] and their bytes.
    cost: usize,
}

/// The bytes `start..end` of a datagram that were captured.
struct DatagramPiece {
    start: u32,
    end: u32,
    /// Shorter than `start..end` if the snaplen truncated the frame.
    bytes: Box<[u8]>,
}

/// The error for a fragment that contradicts those which arrived before it.
struct FragmentRefused;

impl PartialDatagram {
    const fn new(key: FragmentKey, first_at: Timestamp) -> Self {
        let pieces = Vec::new();
        Self { key, first_at, protocol: None, end: None, pieces, covered: 0, cost: 0 }
    }

    /// Fills the gaps within `range` from `payload`, whose first byte is at offset `range.start`.
    fn add(
        &mut self,
        range: std::ops::Range<u32>,
        more: bool,
        payload: PacketSlice<'_>,
        pieces: usize,
    ) -> Result<(), FragmentRefused> {
        let last_end = self.pieces.last().map_or(0, |last| last.end);
        match self.end {
            Some(end) if range.end > end || (!more && range.end != end) => {
                return Err(FragmentRefused);
            }
            None if !more && range.end < last_end => return Err(FragmentRefused),
            _ => {}
        }
        if !more {
            self.end = Some(range.end);
        }
        let mut from = range.start;
        let mut index = self.pieces.partition_point(|piece| piece.end <= from);
        while from < range.end {
            let next = self.pieces.get(index);
            if let Some(piece) = next.filter(|piece| piece.start <= from) {
                from = piece.end;
            } else {
                if self.pieces.len() >= pieces {
                    return Err(FragmentRefused);
                }
                let to = next.map_or(range.end, |piece| piece.start.min(range.end));
                let bytes = part(payload.bytes, from - range.start, to - range.start);
                self.covered += to - from;
                self.cost += bytes.len() + PIECE_COST;
                self.pieces
                    .insert(index, DatagramPiece { start: from, end: to, bytes: bytes.into() });
                from = to;
            }
            index += 1;
        }
        Ok(())
    }

    /// Writes the bytes up to the first that was not captured, and returns the number of those that follow.
    fn write(&self, out: &mut Vec<u8>) -> u32 {
        out.clear();
        for piece in &self.pieces {
            out.extend_from_slice(&piece.bytes);
            if bytes_in(&piece.bytes) < piece.end - piece.start {
                break;
            }
        }
        self.covered.saturating_sub(bytes_in(out))
    }
}

/// The bytes `from..to` of `bytes`, or as many of them as exist.
fn part(bytes: &[u8], from: u32, to: u32) -> &[u8] {
    let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(index(from)..index(to)).unwrap_or_default()
}

/// The largest value of the length field of IP.
const DATAGRAM_MAX: u32 = 65_535;

/// Bytes that a piece takes beside its payload: its fields and the overhead of the allocator, rounded up.
const PIECE_COST: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::ip_number::{TCP, UDP};

    use super::*;

    const KEY: FragmentKey = FragmentKey {
        context: 0,
        src: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 100)),
        dst: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 103)),
        id: 1,
        protocol: Some(TCP),
    };

    /// A fragment: its offset, its bytes, and whether more follow.
    type Part<'a> = (u16, &'a [u8], bool);

    fn table() -> Defrag {
        Defrag::new(DefragLimits::default())
    }

    fn add(
        table: &mut Defrag,
        id: u32,
        at: u64,
        (offset, bytes, more): Part<'_>,
    ) -> Option<Vec<u8>> {
        let mut out = vec![0xff; 3]; // as an earlier datagram leaves the buffer
        let fragment = IpFragment { id, offset, more };
        let payload = PacketSlice { bytes, missing: 0 };
        let at = Timestamp::new(at, 0);
        let done = table.add(FragmentKey { id, ..KEY }, at, TCP, fragment, payload, &mut out)?;
        assert_eq!(done, (TCP, 0));
        Some(out)
    }

    const PARTS: [Part<'_>; 4] = [
        (0, b"aaaaaaaa", true),
        (8, b"bbbbbbbbBBBBBBBB", true),
        (24, b"cccccccc", true),
        (32, b"dd", false),
    ];
    const WHOLE: &[u8] = b"aaaaaaaabbbbbbbbBBBBBBBBccccccccdd";

    /// All permutations of the numbers 0 to 3.
    fn orders() -> Vec<[usize; 4]> {
        let digits = |n: usize| [n / 64 % 4, n / 16 % 4, n / 4 % 4, n % 4];
        let distinct = |order: &[usize; 4]| (0..4).all(|part| order.contains(&part));
        (0..256).map(digits).filter(distinct).collect()
    }

    #[test]
    fn a_datagram_is_complete_with_its_last_fragment_in_any_order() {
        assert_eq!(orders().len(), 24);
        for order in orders() {
            let mut table = table();
            let [first @ .., last] = order.map(|part| PARTS[part]);
            for part in first {
                assert_eq!(add(&mut table, 1, 0, part), None, "{order:?}");
            }
            assert_eq!(add(&mut table, 1, 0, last).as_deref(), Some(WHOLE), "{order:?}");
            assert_eq!((table.bytes, table.incomplete.len(), table.numbers.len()), (0, 0, 0));
        }
    }

    #[test]
    fn duplicated_fragments_change_nothing() {
        for order in orders() {
            let mut table = table();
            let [first @ .., last] = order.map(|part| PARTS[part]);
            for part in first {
                assert_eq!(add(&mut table, 1, 0, part), None);
                assert_eq!(add(&mut table, 1, 0, part), None);
            }
            assert_eq!(add(&mut table, 1, 0, last).as_deref(), Some(WHOLE), "{order:?}");
        }
    }

    #[test]
    fn a_datagram_without_one_fragment_stays_incomplete() {
        for left_out in 0..4 {
            let mut table = table();
            for part in (0..4).filter(|&part| part != left_out) {
                assert_eq!(add(&mut table, 1, 0, PARTS[part]), None);
            }
            assert_eq!(table.counters().incomplete, 1);
        }
    }

    #[test]
    fn where_fragments_overlap_the_bytes_that_arrived_first_are_used() {
        let mut table = table();
        assert_eq!(add(&mut table, 1, 0, (8, b"11111111", true)), None);
        assert_eq!(add(&mut table, 1, 0, (24, b"33333333", true)), None);
        assert_eq!(add(&mut table, 1, 0, (0, &[b'x'; 32], true)), None);
        assert_eq!(
            add(&mut table, 1, 0, (24, b"yyyyyyyyyyyyyyyyyy", false)).as_deref(),
            Some(&b"xxxxxxxx11111111xxxxxxxx33333333yyyyyyyyyy"[..])
        );
    }

    #[test]
    fn datagrams_are_distinguished_by_id_and_protocol() {
        let mut table = table();
        add(&mut table, 1, 0, PARTS[0]);
        add(&mut table, 2, 0, PARTS[1]);
        let fragment = IpFragment { id: 1, offset: 8, more: true };
        let payload = PacketSlice { bytes: b"bbbbbbbb", missing: 0 };
        let key = FragmentKey { protocol: Some(UDP), ..KEY };
        table.add(key, Timestamp(0), UDP, fragment, payload, &mut Vec::new());
        assert_eq!(table.counters().incomplete, 3);
    }

    #[test]
    fn the_fragment_at_offset_zero_defines_the_protocol() {
        let mut table = table();
        let (mut out, key) = (Vec::new(), FragmentKey { protocol: None, ..KEY });
        let mut add = |protocol, offset, bytes, more| {
            let fragment = IpFragment { id: 1, offset, more };
            let payload = PacketSlice { bytes, missing: 0 };
            table.add(key, Timestamp(0), protocol, fragment, payload, &mut out)
        };
        assert_eq!(add(UDP, 8, b"b", false), None);
        assert_eq!(add(TCP, 0, b"aaaaaaaa", true), Some((TCP, 0)));
    }

    #[test]
    fn bytes_truncated_by_the_snaplen_are_missing_from_the_datagram() {
        let mut table = table();
        let mut out = Vec::new();
        let mut add = |offset, bytes, missing, more| {
            let fragment = IpFragment { id: 1, offset, more };
            table.add(KEY, Timestamp(0), TCP, fragment, PacketSlice { bytes, missing }, &mut out)
        };
        assert_eq!(add(16, &b"cc"[..], 0, false), None);
        assert_eq!(add(8, b"bbb", 5, true), None);
        assert_eq!(add(0, b"aaaaaaaa", 0, true), Some((TCP, 7)));
        assert_eq!(out, b"aaaaaaaabbb");
    }

    #[test]
    fn a_datagram_that_is_too_old_is_discarded() {
        let mut table = table();
        add(&mut table, 1, 100, PARTS[0]);
        add(&mut table, 2, 130, PARTS[0]);
        assert_eq!(table.counters().expired, 0);
        add(&mut table, 3, 131, PARTS[0]);
        assert_eq!((table.counters().expired, table.counters().incomplete), (1, 2));
    }

    #[test]
    fn fragments_that_fit_in_no_datagram_are_refused() {
        let mut table = table();
        add(&mut table, 1, 0, (8, b"end", false));
        let refused: [Part<'_>; 6] = [
            (65_528, b"12345678", true), // reaches beyond the longest datagram
            (0, b"ragged", true),
            (0, b"", true),
            (8, b"later end", false),
            (8, b"en", false), // contradicts the end
            (16, b"12345678", true),
        ];
        for part in refused {
            assert_eq!(add(&mut table, 1, 0, part), None);
        }
        add(&mut table, 2, 0, (16, b"12345678", true));
        add(&mut table, 2, 0, (8, b"end", false)); // ends before bytes that arrived
        assert_eq!(table.counters().refused, 7);
        assert_eq!(add(&mut table, 1, 0, PARTS[0]).as_deref(), Some(&b"aaaaaaaaend"[..]));
    }

    #[test]
    fn the_longest_datagram_is_reassembled() {
        let bytes = vec![7; 65_535];
        let mut table = table();
        let mut parts = bytes.chunks(1480).zip((0..).step_by(1480)).collect::<Vec<_>>();
        let (last, at) = parts.pop().unwrap();
        for (part, at) in parts {
            assert_eq!(add(&mut table, 1, 0, (at, part, true)), None);
        }
        assert_eq!(add(&mut table, 1, 0, (at, last, false)), Some(bytes));
    }

    #[test]
    fn incomplete_datagrams_stay_within_the_bounds() {
        let limits = DefragLimits { bytes: 1 << 20, ..DefragLimits::default() };
        let mut table = Defrag::new(limits);
        let big = [0; 1480];
        for id in 0..100_000 {
            let bytes = if id % 2 == 0 { &big[..] } else { &big[..8] };
            add(&mut table, id, 0, (if id % 3 == 0 { 0 } else { 60_000 }, bytes, true));
            assert!(table.incomplete.len() <= limits.datagrams && table.bytes <= limits.bytes);
        }
        let counters = table.counters();
        assert_eq!(counters.incomplete, table.numbers.len());
        assert_eq!(counters.evicted, 100_000 - counters.incomplete as u64);
        let cost = table.incomplete.values().map(|incomplete| incomplete.cost).sum::<usize>();
        assert_eq!(table.bytes, cost);
    }

    #[test]
    fn one_datagram_in_many_pieces_stays_within_the_bounds() {
        let mut table = table();
        for at in (0..65_000).step_by(16) {
            add(&mut table, 1, 0, (at, &[0; 8], true));
        }
        let pieces =
            table.incomplete.values().map(|incomplete| incomplete.pieces.len()).sum::<usize>();
        assert_eq!(pieces, DefragLimits::default().pieces);
    }

    #[test]
    fn a_datagram_longer_than_the_bytes_allowed_is_evicted() {
        let limits = DefragLimits { bytes: 1000, age: Duration::MAX, ..DefragLimits::default() };
        let mut table = Defrag::new(limits);
        add(&mut table, 1, 0, (0, &[0; 1480], true));
        assert_eq!((table.bytes, table.counters().evicted), (0, 1));
    }
}
