//! Connections of which no payload has been seen yet.
//!
//! The first payload shows whether a connection on an unknown port is one of Erlang; the segments before it show
//! which side opened it. A table of fixed size keeps these first segments for the most recent connections, so that
//! other protocols cost no lasting memory. An entry that is overwritten loses them and nothing else: its connection
//! can still be followed.

use std::time::Duration;

use super::ports::bucket;
use super::{Direction, FlowKey};
use crate::capture::Frame;
use crate::decode::{Endpoint, Segment, TcpFlags, TcpView};
use crate::packet::{FrameRef, PacketRef};
use crate::time::Timestamp;

/// The segments that opened a connection, all of them without payload.
#[derive(Clone, Debug)]
pub struct TcpOpening {
    key: FlowKey,
    /// In the order in which they were captured.
    segments: Vec<SegmentHeader>,
}

/// The part of an entry that one SYN writes. Contiguous, and apart from the rest of the entry, so that a million
/// SYNs a second are one sequential stream of stores.
#[derive(Clone, Copy, Debug, Default)]
struct PendingEntry {
    key: FlowKey,
    first: SegmentHeader,
    /// Number of segments after the first.
    later: u8,
}

/// Segments after the first: a SYN-ACK, and two of retransmissions, RST or FIN. Before the first payload no more of
/// them occur; pure acknowledgements are not kept.
type Later = [SegmentHeader; 3];

/// A segment without its payload. Its fields are those of [`Segment`] without padding between them, since one
/// million SYNs a second write one each.
#[derive(Clone, Copy, Debug, Default)]
struct SegmentHeader {
    number: u64,
    at: Timestamp,
    seq: u32,
    ack: u32,
    input: u16,
    window: u16,
    ip_id: u16,
    flags: TcpFlags,
    direction: Direction,
}

impl SegmentHeader {
    #[inline]
    fn new(segment: &Segment<'_>) -> Self {
        Self {
            number: segment.frame.number,
            at: segment.at,
            seq: segment.seq,
            ack: segment.ack,
            input: segment.frame.input,
            window: segment.window,
            ip_id: segment.ip_id.unwrap_or_default(),
            flags: segment.flags,
            direction: segment.direction,
        }
    }

    #[inline(always)]
    fn of_view(frame: &Frame<'_>, view: &TcpView<'_>) -> (FlowKey, Self) {
        let (key, direction) = view.flow();
        let header = Self {
            number: frame.id.number,
            at: frame.at,
            seq: view.seq(),
            ack: view.ack(),
            input: frame.id.input,
            window: view.window(),
            ip_id: view.ip_id().unwrap_or_default(),
            flags: view.flags(),
            direction,
        };
        (key, header)
    }

    /// Whether it is a SYN, not a SYN-ACK.
    #[inline]
    const fn opens(&self) -> bool {
        self.flags.has(TcpFlags::SYN) && !self.flags.has(TcpFlags::ACK)
    }

    /// Whether it is the answer to a SYN: it acknowledges that SYN and nothing behind it.
    fn answers(&self, syn: &Self) -> bool {
        self.flags.has(TcpFlags::ACK)
            && self.direction != syn.direction
            && self.ack == syn.seq.wrapping_add(1)
    }

    /// Whether it is a SYN of which `answer` shows that it did not open the connection.
    fn is_contradicted_by(&self, answer: &Self) -> bool {
        self.flags.has(TcpFlags::SYN)
            && if self.direction == answer.direction {
                self.opens() && self.seq != answer.seq
            } else {
                !answer.answers(self)
            }
    }
}

impl TcpOpening {
    /// An opening with its first segment.
    pub fn new(segment: &Segment<'_>) -> Self {
        Self { key: segment.flow, segments: vec![SegmentHeader::new(segment)] }
    }

    /// Adds a segment; retransmissions beyond the first few are left out.
    pub fn add(&mut self, segment: &Segment<'_>) {
        if self.segments.len() <= Later::default().len() {
            self.segments.push(SegmentHeader::new(segment));
        }
    }

    /// Whether a SYN opens another connection between the same ends: its sequence number differs.
    pub fn is_another(&self, segment: &Segment<'_>) -> bool {
        is_another(self.segments.iter(), SegmentHeader::new(segment))
    }

    /// The packet of the first segment.
    pub fn first(&self) -> Option<PacketRef> {
        let SegmentHeader { input, number, at, .. } = *self.segments.first()?;
        Some(PacketRef { frame: FrameRef { input, number }, at })
    }

    /// Bytes that the sender of `segment` sent before it, if the opening shows its initial sequence number.
    pub fn bytes_before(&self, segment: &Segment<'_>) -> Option<u32> {
        bytes_before(self.segments.iter(), segment.seq, segment.direction)
    }

    /// The segments of the opening, without layers around them.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'static>> {
        self.segments.iter().map(|header| Segment {
            frame: FrameRef { input: header.input, number: header.number },
            at: header.at,
            flow: self.key,
            direction: header.direction,
            seq: header.seq,
            ack: header.ack,
            flags: header.flags,
            window: header.window,
            ip_id: self.key.is_v4().then_some(header.ip_id),
            ttl: 0,
            ip_header: &[],
            header: &[],
            payload: &[],
            missing: 0,
            layers: &[],
        })
    }
}

/// Whether a SYN opens a new connection between the same ends as an opening: its sequence number differs.
#[inline]
fn is_another<'a>(
    mut opening: impl Iterator<Item = &'a SegmentHeader>,
    segment: SegmentHeader,
) -> bool {
    segment.flags.has(TcpFlags::SYN)
        && opening.any(|header| {
            header.flags.has(TcpFlags::SYN)
                && header.direction == segment.direction
                && header.seq != segment.seq
        })
}

fn bytes_before<'a>(
    mut opening: impl Iterator<Item = &'a SegmentHeader>,
    seq: u32,
    direction: Direction,
) -> Option<u32> {
    opening.find_map(|header| {
        let own = header.direction == direction;
        let begins = if !own && header.flags.has(TcpFlags::ACK) {
            header.ack
        } else if own && header.flags.has(TcpFlags::SYN) {
            header.seq.wrapping_add(1)
        } else {
            return None;
        };
        Some(seq.wrapping_sub(begins))
    })
}

/// The end that accepted the connection: the receiver of a SYN, or the sender of a SYN-ACK. The first segment of an
/// entry is one of the two.
#[inline]
fn responder(key: &FlowKey, first: SegmentHeader) -> Endpoint {
    let direction = first.direction;
    key.end(if first.opens() { direction.reverse() } else { direction })
}

/// The most recent openings, by key: a direct-mapped table. The hash has no seed, so that the same capture gives
/// the same output on each run. An attacker who makes entries collide displaces some of them, and nothing more.
#[derive(Debug)]
pub struct PendingTable {
    places: KeyIndex,
    /// Ring of entries, written in the order of arrival. It grows to the size that a run needs. Sequential writes
    /// go through memory cache line by cache line; writing each entry at the index of its hash took twice the time.
    entries: Vec<PendingEntry>,
    /// The further segments of each entry of the ring; shorter than the ring if the last entries have none.
    later: Vec<Later>,
    /// The destination port of each entry of the ring, for the search by port.
    ports: Vec<u16>,
    /// Number of entries that were made. An entry is in the ring at its number modulo the length of the ring.
    made: u32,
}

/// The index from keys to entries.
#[derive(Debug)]
struct KeyIndex {
    /// One word for each slot. The upper half is the tag of the entry, 0 if there is none; the lower half is the
    /// number of the entry, which may have been overwritten in the ring since.
    words: Vec<u64>,
    /// Number of used slots for each bucket of ports. Most segments that close a connection, and most first
    /// payloads, are of connections that were ruled out before. These counters dismiss them without computing a
    /// key: they are 8 KiB and stay in the first-level cache.
    busy: Box<[u16; BUCKETS as usize]>,
}

/// The slot of a key, and its tag.
#[derive(Clone, Copy)]
struct KeySlot {
    index: usize,
    mark: u32,
}

impl KeyIndex {
    fn new(places: usize) -> Self {
        // Zeroed pages from the operating system cost nothing until they are written.
        let words = vec![0; places.next_power_of_two().min(MOST_SLOTS)];
        Self { words, busy: Box::new([0; BUCKETS as usize]) }
    }

    /// The highest index, which is also the mask of an index.
    #[inline]
    fn last(&self) -> usize {
        self.words.len() - 1
    }

    /// The slot in which the entry of `key` belongs.
    #[inline]
    fn of(&self, key: &FlowKey) -> KeySlot {
        let (upper, lower) = halves(key.unseeded_hash());
        let [low, high] = key.ports();
        let buckets = u32::from(BUCKETS);
        let mark = upper & !(2 * buckets - 1) | buckets | u32::from(bucket(low, high, BUCKETS));
        KeySlot { index: lower as usize & self.last(), mark }
    }

    #[inline]
    fn may_have(&self, a: u16, b: u16) -> bool {
        self.busy.get(usize::from(bucket(a, b, BUCKETS))).is_none_or(|busy| *busy > 0)
    }

    /// The number of the entry in a slot, if its tag matches.
    #[inline]
    fn get(&self, place: KeySlot) -> Option<u32> {
        let (mark, number) = halves(*self.words.get(place.index)?);
        (mark == place.mark).then_some(number)
    }

    #[inline]
    fn put(&mut self, place: KeySlot, number: u32) {
        self.set(place.index, u64::from(place.mark) << 32 | u64::from(number));
    }

    /// Clears the slot at `index` if its entry has been overwritten in the ring, now that `made` entries were made.
    #[inline]
    fn sweep(&mut self, index: usize, made: u32) {
        let Some(word) = self.words.get(index) else { return };
        if *word != 0 && made.wrapping_sub(halves(*word).1) as usize > self.last() {
            self.set(index, 0);
        }
    }

    #[inline]
    fn set(&mut self, index: usize, word: u64) {
        let Some(place) = self.words.get_mut(index) else { return };
        let before = std::mem::replace(place, word);
        let bucket_of = |word: u64| (halves(word).0 % u32::from(BUCKETS)) as usize;
        if let Some(busy) = self.busy.get_mut(bucket_of(before)) {
            *busy -= u16::from(before != 0);
        }
        if let Some(busy) = self.busy.get_mut(bucket_of(word)) {
            *busy += u16::from(word != 0);
        }
    }
}

/// The highest number of slots: a counter of a bucket has 16 bits.
const MOST_SLOTS: usize = 1 << 15;

/// A power of two; some times the number of connections that are being opened at the same time on a busy link.
const BUCKETS: u16 = 1 << 12;

impl PendingTable {
    /// Makes a table with `places` slots, rounded up to a power of two.
    pub fn new(places: usize) -> Self {
        Self {
            places: KeyIndex::new(places),
            entries: Vec::new(),
            later: Vec::new(),
            ports: Vec::new(),
            made: 0,
        }
    }

    /// Whether there may be an opening of a connection between such ports. One load from a table in the first-level
    /// cache.
    #[inline]
    pub fn may_have(&self, src_port: u16, dst_port: u16) -> bool {
        self.places.may_have(src_port, dst_port)
    }

    /// Notes a segment without payload. Only a SYN makes an entry; any other segment is added to the entry of its
    /// connection, if there is one. Returns whether an entry has it now.
    pub fn note(&mut self, segment: &Segment<'_>) -> bool {
        self.note_header(segment.flow, SegmentHeader::new(segment))
    }

    /// The same, for the segment of a frame of which no [`Segment`] is made.
    #[inline(always)] // up to a million calls a second; out of line, the header would be passed through memory
    pub fn note_view(&mut self, frame: &Frame<'_>, view: &TcpView<'_>) -> bool {
        let (key, header) = SegmentHeader::of_view(frame, view);
        self.note_header(key, header)
    }

    #[inline(always)]
    fn note_header(&mut self, key: FlowKey, header: SegmentHeader) -> bool {
        let place = self.places.of(&key);
        // Without an entry in the bucket, the slot, which is likely a cache miss, is not loaded.
        let [low, high] = key.ports();
        let known = if self.may_have(low, high) { self.find(place, &key) } else { None };
        match known {
            Some(slot) if !self.is_another(slot, header) || self.is_beside(slot, header) => {
                self.keep(slot, header)
            }
            _ if header.flags.has(TcpFlags::SYN) => {
                self.put(place, key, header);
                true
            }
            _ => false,
        }
    }

    /// A payload at `seq` begins nothing that is followed. Returns whether no later segment can change that: if no
    /// opening is known, or if the payload is the first of its side, in which case the opening is forgotten. A
    /// payload up to `most` bytes after the first may have overtaken the one that begins a handshake.
    #[inline]
    pub fn rules_out(&mut self, key: &FlowKey, seq: u32, direction: Direction, most: u32) -> bool {
        let place = self.places.of(key);
        let Some(slot) = self.find(place, key) else { return true };
        match bytes_before(self.headers(slot), seq, direction) {
            Some(0) => {
                self.clear(place);
                true
            }
            Some(before) => before >= most,
            None => true,
        }
    }

    /// Bytes that the sender of a segment at `seq` sent before it, if the opening of its connection is known and shows it.
    pub fn bytes_before(&self, key: &FlowKey, seq: u32, direction: Direction) -> Option<u32> {
        bytes_before(self.headers(self.find(self.places.of(key), key)?), seq, direction)
    }

    /// Whether an opening of `key` is known.
    pub fn has(&self, key: &FlowKey) -> bool {
        self.find(self.places.of(key), key).is_some()
    }

    /// A copy of the opening of `key`.
    pub fn get(&self, key: &FlowKey) -> Option<TcpOpening> {
        let slot = self.find(self.places.of(key), key)?;
        let mut segments: Vec<_> = self.headers(slot).copied().collect();
        // Of two SYNs without an answer, the last is that of the connection that is being opened.
        let last = segments.iter().rfind(|later| is_another(segments.iter(), **later)).copied();
        let is_answered = segments.iter().any(|it| segments.iter().any(|syn| it.answers(syn)));
        if let Some(last) = last.filter(|_| !is_answered)
            && let Some(place) = segments.iter().position(|it| it.seq == last.seq)
        {
            segments.drain(..place);
        }
        Some(TcpOpening { key: *key, segments })
    }

    /// Takes the opening of `key` out.
    pub fn take(&mut self, key: &FlowKey) -> Option<TcpOpening> {
        let opening = self.get(key)?;
        self.clear(self.places.of(key));
        Some(opening)
    }

    /// Removes the openings of all connections to `end`, which has just become known as a port of a node. Returns
    /// them in the order of their time.
    pub fn take_to(&mut self, end: Endpoint) -> Vec<TcpOpening> {
        let mut keys = Vec::new();
        // Block by block: the compiler vectorises the search for a port within a block.
        let blocks = self.ports.chunks(BLOCK).zip(self.entries.chunks(BLOCK));
        for (start, (ports, entries)) in (0..).step_by(BLOCK).zip(blocks) {
            if ports.contains(&end.port) {
                let to_end =
                    (start..).zip(entries).filter(|(_, it)| responder(&it.key, it.first) == end);
                let current = to_end.filter(|(slot, it)| {
                    self.find(self.places.of(&it.key), &it.key) == Some(*slot)
                });
                keys.extend(current.map(|(_, entry)| entry.key));
            }
        }
        let mut found: Vec<_> = keys.iter().filter_map(|key| self.take(key)).collect();
        found.sort_by_key(|opening| opening.segments.first().map(|it| (it.input, it.number)));
        found
    }

    /// Index in the ring of the opening of `key`, if its slot refers to it.
    #[inline]
    fn find(&self, place: KeySlot, key: &FlowKey) -> Option<usize> {
        let slot = self.slot(self.places.get(place)?);
        (self.entries.get(slot)?.key == *key).then_some(slot)
    }

    /// Index in the ring of the entry with this number.
    #[inline]
    fn slot(&self, number: u32) -> usize {
        number as usize & self.places.last()
    }

    /// The segments of the entry at an index of the ring.
    #[inline]
    fn headers(&self, slot: usize) -> impl Iterator<Item = &SegmentHeader> {
        let entry = self.entries.get(slot);
        let first = entry.map(|entry| &entry.first);
        let count = entry.map_or(0, |entry| usize::from(entry.later));
        // Without further segments, their cache line is not loaded.
        let later = (count > 0).then(|| self.later.get(slot)?.get(..count)).flatten();
        first.into_iter().chain(later.into_iter().flatten())
    }

    #[inline]
    fn is_another(&self, slot: usize, segment: SegmentHeader) -> bool {
        is_another(self.headers(slot), segment)
    }

    /// Whether a SYN comes beside one that still waits for its answer, or is the answer to that: then both are kept until the
    /// answer shows which of them opens the connection.
    #[cold] // few ports are used again at once
    fn is_beside(&self, slot: usize, segment: SegmentHeader) -> bool {
        let syns: Vec<_> = self.headers(slot).filter(|header| header.opens()).collect();
        let Some(last) = syns.iter().map(|syn| syn.at).max() else { return false };
        let answers = |it: &SegmentHeader| syns.iter().any(|syn| it.answers(syn));
        !self.headers(slot).any(answers)
            && (segment.at <= last.after(UNANSWERED) || answers(&segment))
    }

    /// Drops the SYNs of which an answer shows that they did not open the connection.
    #[cold] // beside the usual segments of an opening
    fn drop_contradicted(&mut self, slot: usize, answer: SegmentHeader) {
        if !self.headers(slot).any(|header| header.opens() && answer.answers(header)) {
            return;
        }
        let is_kept = |header: &&SegmentHeader| !header.is_contradicted_by(&answer);
        let kept: Vec<_> = self.headers(slot).filter(is_kept).copied().collect();
        let (Some(entry), Some(later)) = (self.entries.get_mut(slot), self.later.get_mut(slot))
        else {
            return;
        };
        if let Some((first, rest)) = kept.split_first() {
            entry.first = *first;
            entry.later = 0;
            for (place, header) in later.iter_mut().zip(rest) {
                *place = *header;
                entry.later += 1;
            }
        }
    }

    #[inline]
    fn keep(&mut self, slot: usize, header: SegmentHeader) -> bool {
        if self.later.len() <= slot {
            self.later.resize(slot + 1, Later::default());
        }
        let (Some(entry), Some(later)) = (self.entries.get_mut(slot), self.later.get_mut(slot))
        else {
            return false;
        };
        let Some(free) = later.get_mut(usize::from(entry.later)) else { return false };
        *free = header;
        entry.later += 1;
        if entry.later > 1 && header.flags.has(TcpFlags::ACK) {
            self.drop_contradicted(slot, header);
        }
        true
    }

    /// Makes an entry, field by field in its place. Building it elsewhere and copying it stalls on store
    /// forwarding.
    #[inline(always)]
    fn put(&mut self, place: KeySlot, key: FlowKey, first: SegmentHeader) {
        let slot = self.slot(self.made);
        if self.entries.len() <= slot {
            self.entries.push(PendingEntry::default());
            self.ports.push(0);
        }
        if let (Some(entry), Some(port)) = (self.entries.get_mut(slot), self.ports.get_mut(slot)) {
            entry.key = key;
            entry.first = first;
            entry.later = 0;
            *port = responder(&key, first).port;
        }
        self.places.sweep(slot, self.made);
        self.places.put(place, self.made);
        self.made = self.made.wrapping_add(1);
    }

    fn clear(&mut self, place: KeySlot) {
        self.places.set(place.index, 0);
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "one half each")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// A SYN is sent again when no answer has come for this long (RFC 6298, section 2.1).
const UNANSWERED: Duration = Duration::from_secs(1);

/// Entries in a block of the search by port.
const BLOCK: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const A: Endpoint = Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), port: 5 };
    const B: Endpoint = Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), port: 6 };

    fn header(src: Endpoint, dst: Endpoint, seq: u32, flags: u8) -> Segment<'static> {
        Segment {
            frame: FrameRef { input: 0, number: u64::from(seq) },
            at: Timestamp(0),
            seq,
            flags: TcpFlags(flags),
            window: 0,
            ..Segment::between(src, dst)
        }
    }

    #[test]
    fn the_opening_comes_out_as_it_came_in() {
        let mut pending = PendingTable::new(64);
        let key = FlowKey::new(A, B).0;
        pending.note(&header(A, B, 1, 0x02));
        pending.note(&header(B, A, 2, 0x12));
        pending.note(&header(A, B, 3, 0x10));
        let opening = pending.take(&key).unwrap();
        let seen: Vec<_> = opening.segments().map(|s| (s.src(), s.seq)).collect();
        assert_eq!(seen, [(A, 1), (B, 2), (A, 3)]);
        assert!(pending.take(&key).is_none());
    }

    #[test]
    fn the_oldest_openings_make_room_and_no_other_is_taken_for_them() {
        let mut pending = PendingTable::new(4);
        let from = |port| Endpoint { port, ..A };
        for port in 100..120 {
            pending.note(&header(from(port), B, port.into(), 0x02));
        }
        let mut left: Vec<_> = (100..120)
            .filter(|port| pending.get(&FlowKey::new(from(*port), B).0).is_some())
            .collect();
        assert!(left.len() <= 4 && left.iter().all(|port| *port >= 116), "{left:?}");
        let taken = pending.take_to(B);
        let ports = taken.iter().map(|opening| opening.segments().next().unwrap().src().port);
        left.sort_unstable();
        assert_eq!(ports.collect::<Vec<_>>(), left);
    }

    #[test]
    fn the_answer_shows_which_of_two_syns_opens_the_connection() {
        let answer = |ack, flags| Segment { ack, ..header(B, A, 90, flags) };
        let opening = |segments: &[Segment<'static>]| {
            let mut pending = PendingTable::new(64);
            for segment in segments {
                pending.note(segment);
            }
            let opening = pending.take(&FlowKey::new(A, B).0).unwrap();
            opening.segments().map(|segment| segment.seq).collect::<Vec<_>>()
        };
        let (one, other) = (header(A, B, 1, 0x02), header(A, B, 7, 0x02));
        for flags in [0x12, 0x14] {
            assert_eq!(opening(&[one, other, answer(2, flags)]), [1, 90]);
            assert_eq!(opening(&[one, other, answer(8, flags)]), [7, 90]);
            let crossing = header(B, A, 50, 0x02);
            assert_eq!(opening(&[one, crossing, answer(2, flags)]), [1, 90]);
            let wrong = Segment { ack: 3, ..header(A, B, 9, 0x12) };
            assert_eq!(opening(&[one, wrong, answer(2, flags)]), [1, 90]);
        }
        assert_eq!(opening(&[one, other]), [7], "no answer");
        let later = Segment { at: Timestamp(2_000_000_000), ..other };
        assert_eq!(opening(&[one, later, answer(2, 0x12)]), [7, 90], "the port was used again");
    }

    #[test]
    fn connections_to_a_port_are_found_from_either_syn() {
        let mut pending = PendingTable::new(64);
        pending.note(&header(B, A, 2, 0x12));
        pending.note(&header(A, B, 1, 0x02));
        assert!(pending.take_to(A).is_empty());
        assert_eq!(pending.take_to(B).len(), 1);
    }

    #[test]
    fn ports_used_again_begin_a_new_opening() {
        let mut pending = PendingTable::new(64);
        pending.note(&header(A, B, 1, 0x02));
        pending.note(&header(A, B, 9, 0x02));
        let opening = pending.take(&FlowKey::new(A, B).0).unwrap();
        assert_eq!(opening.segments().map(|s| s.seq).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn ports_of_an_opening_are_never_denied_and_those_that_made_room_are_forgotten() {
        let mut pending = PendingTable::new(64);
        let from = |port| Endpoint { port, ..A };
        let key = |port| FlowKey::new(from(port), B).0;
        let all_are_counted = |pending: &PendingTable| {
            let taken = pending.places.words.iter().filter(|word| **word != 0).count();
            let busy: usize = pending.places.busy.iter().map(|busy| usize::from(*busy)).sum();
            assert_eq!(busy, taken);
        };
        for port in 0..2000 {
            pending.note(&header(from(port), B, 1, 0x02));
            // Every third connection sends a payload from its start.
            if port % 3 == 0 && port > 10 {
                let direction = FlowKey::new(from(port), B).1;
                assert!(pending.rules_out(&key(port - 9), 2, direction, 600));
                assert!(!pending.has(&key(port - 9)));
            }
            let known = (0..=port).filter(|port| pending.has(&key(*port)));
            assert!(known.into_iter().all(|port| pending.may_have(B.port, port)));
            all_are_counted(&pending);
        }
        // Long after, an old entry is not taken for one of another connection.
        for port in 10_000..10_128 {
            pending.note(&header(from(port), B, 1, 0x02));
        }
        let left =
            (0..2000).filter(|port| {
                pending.places.words.iter().any(|word| {
                    *word != 0 && halves(*word).0 == pending.places.of(&key(*port)).mark
                })
            });
        assert_eq!(left.count(), 0);
        all_are_counted(&pending);
    }

    #[test]
    fn bytes_behind_the_first_do_not_rule_out_what_may_follow() {
        let mut pending = PendingTable::new(64);
        let (key, up) = FlowKey::new(A, B);
        assert!(pending.rules_out(&key, 7, up, 600), "nothing is known of it");
        pending.note(&header(A, B, 1, 0x02));
        assert!(!pending.rules_out(&key, 100, up, 600));
        assert!(pending.rules_out(&key, 900, up, 600));
        assert!(pending.rules_out(&key, 5, up.reverse(), 600), "of this side nothing is known");
        assert!(pending.has(&key));
        assert!(pending.rules_out(&key, 2, up, 600));
        assert!(!pending.has(&key));
    }
}
