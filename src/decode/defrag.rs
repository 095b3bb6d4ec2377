//! Reassembly of IP fragments.
//!
//! In: fragments in any order. Out: the payload of their datagram, once it is complete. Of overlapping fragments,
//! the bytes seen first count. An offset reserves no memory; memory is bounded by [`DefragLimits`], and what is
//! dropped is counted. Reads no header.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::IpNumber;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::ip::FragmentPosition;
use super::slice::{PacketSlice, bytes_in};
use crate::limits::DefragLimits;
use crate::time::Timestamp;

/// Counters of IP fragments.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FragmentCounters {
    /// Fragments that were seen.
    pub seen: u64,
    /// Datagrams that were reassembled.
    pub reassembled: u64,
    /// Datagrams that were dropped because of their age.
    pub expired: u64,
    /// Datagrams that were dropped because of the bounds of the table.
    pub evicted: u64,
    /// Fragments that belong to no datagram: beyond 65,535 bytes, beyond its end, empty, or too many.
    pub refused: u64,
    /// Datagrams that are incomplete; at the end of the input they are lost.
    pub waiting: usize,
}

/// The incomplete datagrams, by their keys.
pub(super) struct Defrag {
    limits: DefragLimits,
    /// Incomplete datagrams by number, in the order of their first fragments: the first is the oldest.
    waiting: BTreeMap<u64, IncompleteDatagram>,
    /// The numbers of the same datagrams by key.
    numbers: HashMap<DatagramKey, u64, RandomState>,
    next_number: u64,
    /// Memory of all fragments in `waiting`.
    bytes: usize,
    counters: FragmentCounters,
}

/// The fields that the fragments of one datagram share.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct DatagramKey {
    /// Hash of the input and of the layers around: equal addresses in two networks are two hosts.
    pub(super) context: u64,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    /// The protocol, in IPv4 only (RFC 791, against RFC 8200).
    pub(super) protocol: Option<IpNumber>,
}

impl Defrag {
    pub(super) fn new(limits: DefragLimits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            numbers: HashMap::default(),
            next_number: 0,
            bytes: 0,
            counters: FragmentCounters::default(),
        }
    }

    pub(super) fn counters(&self) -> FragmentCounters {
        FragmentCounters { waiting: self.waiting.len(), ..self.counters }
    }

    /// Adds a fragment. If it completes its datagram, writes the payload of the datagram up to the first byte that
    /// was not captured to `whole`, and returns its protocol and the number of missing bytes from there on.
    pub(super) fn add(
        &mut self,
        key: DatagramKey,
        at: Timestamp,
        protocol: IpNumber,
        fragment: FragmentPosition,
        payload: PacketSlice<'_>,
        whole: &mut Vec<u8>,
    ) -> Option<(IpNumber, u32)> {
        self.counters.seen += 1;
        self.expire(at);
        let start = u32::from(fragment.offset);
        let end = start.saturating_add(payload.sent());
        let ragged = fragment.more && payload.sent() % 8 != 0;
        if start == end || end > DATAGRAM_MAX || ragged {
            self.counters.refused += 1;
            return None;
        }
        let number = self.number(key, at);
        let waiting = self.waiting.get_mut(&number)?;
        let before = waiting.cost;
        let added = waiting.add(start..end, fragment.more, payload, self.limits.pieces);
        if start == 0 && waiting.protocol.is_none() {
            waiting.protocol = Some(protocol);
        }
        self.bytes = self.bytes.saturating_add(waiting.cost.saturating_sub(before));
        if added.is_err() {
            self.counters.refused += 1;
        }
        let complete = waiting.end == Some(waiting.covered);
        if !complete {
            while self.bytes > self.limits.bytes && self.drop_oldest() {
                self.counters.evicted += 1;
            }
            return None;
        }
        let done = self.remove(number)?;
        self.counters.reassembled += 1;
        let missing = done.write(whole);
        done.protocol.map(|protocol| (protocol, missing))
    }

    /// The number of the datagram of `key`, which is new if none is waiting.
    fn number(&mut self, key: DatagramKey, at: Timestamp) -> u64 {
        if let Some(&number) = self.numbers.get(&key) {
            return number;
        }
        while self.waiting.len() >= self.limits.datagrams && self.drop_oldest() {
            self.counters.evicted += 1;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(key, number);
        self.waiting.insert(number, IncompleteDatagram::new(key, at));
        number
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.waiting.first_key_value() {
            if now.since(oldest.first_at) <= self.limits.age {
                break;
            }
            self.drop_oldest();
            self.counters.expired += 1;
        }
    }

    /// Drops the oldest datagram; `false` if there was none.
    fn drop_oldest(&mut self) -> bool {
        let oldest = self.waiting.first_key_value().map(|(&number, _)| number);
        oldest.and_then(|number| self.remove(number)).is_some()
    }

    fn remove(&mut self, number: u64) -> Option<IncompleteDatagram> {
        let gone = self.waiting.remove(&number)?;
        self.numbers.remove(&gone.key);
        self.bytes = self.bytes.saturating_sub(gone.cost);
        Some(gone)
    }
}

/// A datagram of which bytes are missing.
struct IncompleteDatagram {
    key: DatagramKey,
    first_at: Timestamp,
    /// The protocol, from the fragment at offset 0 (RFC 8200, section 4.5).
    protocol: Option<IpNumber>,
    /// Length of the payload, known from the last fragment.
    end: Option<u32>,
    /// Fragments in order, without overlaps, none beyond `end`.
    pieces: Vec<FragmentBytes>,
    /// Sum of the lengths of the fragments; equal to `end` if there is no hole.
    covered: u32,
    /// Memory of the fragments in bytes.
    cost: usize,
}

/// Bytes `start..end` of a datagram, as far as they were captured.
struct FragmentBytes {
    start: u32,
    end: u32,
    /// The captured bytes; fewer than `start..end` if the snaplen cut them.
    bytes: Box<[u8]>,
}

/// A fragment that contradicts its datagram.
struct FragmentRefused;

impl IncompleteDatagram {
    const fn new(key: DatagramKey, first_at: Timestamp) -> Self {
        let pieces = Vec::new();
        Self { key, first_at, protocol: None, end: None, pieces, covered: 0, cost: 0 }
    }

    /// Fills the holes within `range` with bytes of `payload`, which begins at `range.start`.
    fn add(
        &mut self,
        range: std::ops::Range<u32>,
        more: bool,
        payload: PacketSlice<'_>,
        pieces: usize,
    ) -> Result<(), FragmentRefused> {
        let reach = self.pieces.last().map_or(0, |last| last.end);
        match self.end {
            Some(end) if range.end > end || (!more && range.end != end) => {
                return Err(FragmentRefused);
            }
            None if !more && range.end < reach => return Err(FragmentRefused),
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
                    .insert(index, FragmentBytes { start: from, end: to, bytes: bytes.into() });
                from = to;
            }
            index += 1;
        }
        Ok(())
    }

    /// Writes the bytes up to the first that was not captured. Returns the number of bytes from there on.
    fn write(&self, whole: &mut Vec<u8>) -> u32 {
        whole.clear();
        for piece in &self.pieces {
            whole.extend_from_slice(&piece.bytes);
            if bytes_in(&piece.bytes) < piece.end - piece.start {
                break;
            }
        }
        self.covered.saturating_sub(bytes_in(whole))
    }
}

/// Bytes `from..to` of `bytes`, as far as they are there.
fn part(bytes: &[u8], from: u32, to: u32) -> &[u8] {
    let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(index(from)..index(to)).unwrap_or_default()
}

/// The greatest length of an IP datagram.
const DATAGRAM_MAX: u32 = 65_535;

/// Memory of a fragment beside its bytes: its fields and the overhead of an allocator, rounded up.
const PIECE_COST: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::ip_number::{TCP, UDP};

    use super::*;

    const KEY: DatagramKey = DatagramKey {
        context: 0,
        src: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 100)),
        dst: IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 103)),
        id: 1,
        protocol: Some(TCP),
    };

    /// Offset, bytes, and whether more fragments follow.
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
        let mut whole = vec![0xff; 3]; // left from another datagram
        let fragment = FragmentPosition { id, offset, more };
        let payload = PacketSlice { bytes, missing: 0 };
        let at = Timestamp::new(at, 0);
        let done = table.add(DatagramKey { id, ..KEY }, at, TCP, fragment, payload, &mut whole)?;
        assert_eq!(done, (TCP, 0));
        Some(whole)
    }

    const PARTS: [Part<'_>; 4] = [
        (0, b"aaaaaaaa", true),
        (8, b"bbbbbbbbBBBBBBBB", true),
        (24, b"cccccccc", true),
        (32, b"dd", false),
    ];
    const WHOLE: &[u8] = b"aaaaaaaabbbbbbbbBBBBBBBBccccccccdd";

    /// All orders of 0, 1, 2, 3.
    fn orders() -> Vec<[usize; 4]> {
        let digits = |n: usize| [n / 64 % 4, n / 16 % 4, n / 4 % 4, n % 4];
        let distinct = |order: &[usize; 4]| (0..4).all(|part| order.contains(&part));
        (0..256).map(digits).filter(distinct).collect()
    }

    #[test]
    fn fragments_in_any_order_give_the_datagram_with_the_last_one() {
        assert_eq!(orders().len(), 24);
        for order in orders() {
            let mut table = table();
            let [first @ .., last] = order.map(|part| PARTS[part]);
            for part in first {
                assert_eq!(add(&mut table, 1, 0, part), None, "{order:?}");
            }
            assert_eq!(add(&mut table, 1, 0, last).as_deref(), Some(WHOLE), "{order:?}");
            assert_eq!((table.bytes, table.waiting.len(), table.numbers.len()), (0, 0, 0));
        }
    }

    #[test]
    fn doubled_fragments_change_nothing() {
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
    fn without_one_of_them_the_datagram_waits() {
        for lacking in 0..4 {
            let mut table = table();
            for part in (0..4).filter(|&part| part != lacking) {
                assert_eq!(add(&mut table, 1, 0, PARTS[part]), None);
            }
            assert_eq!(table.counters().waiting, 1);
        }
    }

    #[test]
    fn where_fragments_overlap_the_bytes_seen_first_stay() {
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
        let fragment = FragmentPosition { id: 1, offset: 8, more: true };
        let payload = PacketSlice { bytes: b"bbbbbbbb", missing: 0 };
        let key = DatagramKey { protocol: Some(UDP), ..KEY };
        table.add(key, Timestamp(0), UDP, fragment, payload, &mut Vec::new());
        assert_eq!(table.counters().waiting, 3);
    }

    #[test]
    fn the_first_fragment_contains_the_protocol() {
        let mut table = table();
        let (mut whole, key) = (Vec::new(), DatagramKey { protocol: None, ..KEY });
        let mut add = |protocol, offset, bytes, more| {
            let fragment = FragmentPosition { id: 1, offset, more };
            let payload = PacketSlice { bytes, missing: 0 };
            table.add(key, Timestamp(0), protocol, fragment, payload, &mut whole)
        };
        assert_eq!(add(UDP, 8, b"b", false), None);
        assert_eq!(add(TCP, 0, b"aaaaaaaa", true), Some((TCP, 0)));
    }

    #[test]
    fn what_the_snaplen_cut_of_a_fragment_is_missing_from_the_datagram() {
        let mut table = table();
        let mut whole = Vec::new();
        let mut add = |offset, bytes, missing, more| {
            let fragment = FragmentPosition { id: 1, offset, more };
            table.add(KEY, Timestamp(0), TCP, fragment, PacketSlice { bytes, missing }, &mut whole)
        };
        assert_eq!(add(16, &b"cc"[..], 0, false), None);
        assert_eq!(add(8, b"bbb", 5, true), None);
        assert_eq!(add(0, b"aaaaaaaa", 0, true), Some((TCP, 7)));
        assert_eq!(whole, b"aaaaaaaabbb");
    }

    #[test]
    fn a_datagram_that_is_too_old_is_dropped() {
        let mut table = table();
        add(&mut table, 1, 100, PARTS[0]);
        add(&mut table, 2, 130, PARTS[0]);
        assert_eq!(table.counters().expired, 0);
        add(&mut table, 3, 131, PARTS[0]);
        assert_eq!((table.counters().expired, table.counters().waiting), (1, 2));
    }

    #[test]
    fn fragments_that_contradict_their_datagram_are_refused() {
        let mut table = table();
        add(&mut table, 1, 0, (8, b"end", false));
        let refused: [Part<'_>; 6] = [
            (65_528, b"12345678", true), // beyond what a datagram can hold
            (0, b"ragged", true),
            (0, b"", true),
            (8, b"later end", false),
            (8, b"en", false), // earlier end
            (16, b"12345678", true),
        ];
        for part in refused {
            assert_eq!(add(&mut table, 1, 0, part), None);
        }
        add(&mut table, 2, 0, (16, b"12345678", true));
        add(&mut table, 2, 0, (8, b"end", false)); // before bytes already there
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
    fn hostile_fragments_stay_within_the_bounds() {
        let limits = DefragLimits { bytes: 1 << 20, ..DefragLimits::default() };
        let mut table = Defrag::new(limits);
        let big = [0; 1480];
        for id in 0..100_000 {
            let bytes = if id % 2 == 0 { &big[..] } else { &big[..8] };
            add(&mut table, id, 0, (if id % 3 == 0 { 0 } else { 60_000 }, bytes, true));
            assert!(table.waiting.len() <= limits.datagrams && table.bytes <= limits.bytes);
        }
        let counters = table.counters();
        assert_eq!(counters.waiting, table.numbers.len());
        assert_eq!(counters.evicted, 100_000 - counters.waiting as u64);
        let cost = table.waiting.values().map(|waiting| waiting.cost).sum::<usize>();
        assert_eq!(table.bytes, cost);
    }

    #[test]
    fn one_datagram_in_tiny_fragments_stays_within_the_bounds() {
        let mut table = table();
        for at in (0..65_000).step_by(16) {
            add(&mut table, 1, 0, (at, &[0; 8], true));
        }
        let pieces = table.waiting.values().map(|waiting| waiting.pieces.len()).sum::<usize>();
        assert_eq!(pieces, DefragLimits::default().pieces);
    }

    #[test]
    fn a_datagram_above_the_memory_bound_is_dropped() {
        let limits = DefragLimits { bytes: 1000, age: Duration::MAX, ..DefragLimits::default() };
        let mut table = Defrag::new(limits);
        add(&mut table, 1, 0, (0, &[0; 1480], true));
        assert_eq!((table.bytes, table.counters().evicted), (0, 1));
    }
}
