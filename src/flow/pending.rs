//! Connections that have not said anything yet.
//!
//! Whether a connection on an unknown port is Erlang shows with its first bytes; who opened it shows
//! before. A table of fixed size keeps the opening of the connections of the last moments, so that what is
//! not Erlang costs no lasting memory. An entry that is overwritten loses the opening and nothing else.

use super::ports::bucket;
use super::{Direction, FlowKey};
use crate::decode::{Endpoint, Segment, TcpFlags};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The segments without payload that opened a connection, as they came.
#[derive(Clone, Debug)]
pub struct TcpOpening {
    key: FlowKey,
    /// In order of arrival.
    segments: Vec<SegmentHeader>,
}

/// What one SYN writes of an opening: side by side, so that a million of them a second go through memory as one
/// stream, and apart from what only follows behind some.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    key: FlowKey,
    first: SegmentHeader,
    /// How many segments there are behind the first.
    later: u8,
}

/// Segments behind the first: SYN-ACK, and two of retransmissions, RST or FIN. More do not come before the first
/// byte; acknowledgements alone open nothing.
type Later = [SegmentHeader; 3];

/// A segment without its payload. One million SYNs a second write one each, so its fields are those of
/// [`Segment`] without the gaps between them.
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

    /// Whether it is a SYN, and no answer to one.
    const fn opens(&self) -> bool {
        self.flags.has(TcpFlags::SYN) && !self.flags.has(TcpFlags::ACK)
    }
}

impl TcpOpening {
    /// How many bytes its side sent before `segment`, as far as the opening tells.
    pub fn bytes_before(&self, segment: &Segment<'_>) -> Option<u32> {
        bytes_before(self.segments.iter(), segment.seq, segment.direction)
    }

    /// The segments again.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'static>> {
        self.segments.iter().map(|bare| Segment {
            frame: FrameRef { input: bare.input, number: bare.number },
            at: bare.at,
            flow: self.key,
            direction: bare.direction,
            seq: bare.seq,
            ack: bare.ack,
            flags: bare.flags,
            window: bare.window,
            ip_id: self.key.is_v4().then_some(bare.ip_id),
            payload: &[],
            missing: 0,
            layers: &[],
        })
    }
}

fn bytes_before<'a>(
    mut opening: impl Iterator<Item = &'a SegmentHeader>,
    seq: u32,
    direction: Direction,
) -> Option<u32> {
    opening.find_map(|bare| {
        let own = bare.direction == direction;
        let begins = if !own && bare.flags.has(TcpFlags::ACK) {
            bare.ack
        } else if own && bare.flags.has(TcpFlags::SYN) {
            bare.seq.wrapping_add(1)
        } else {
            return None;
        };
        Some(seq.wrapping_sub(begins))
    })
}

/// The end that a connection was opened to: the receiver of a SYN, the sender of a SYN-ACK. An entry begins with
/// one of the two.
#[inline]
fn responder(key: &FlowKey, first: SegmentHeader) -> Endpoint {
    let direction = first.direction;
    key.end(if first.opens() { direction.reverse() } else { direction })
}

/// The last openings, by key, each in the one place that its hash gives it. The hash has no seed, so that the
/// same capture gives the same output on each run; who makes entries collide displaces some, and no more.
#[derive(Debug)]
pub struct PendingTable {
    places: Places,
    /// A ring, written in the order of arrival: it grows to what a run needs, and a million SYNs go through
    /// it line by line, where writing each at the place of its hash took twice the time.
    heads: Vec<Head>,
    /// For each of the ring, as far as any has some.
    later: Vec<Later>,
    /// For each of the ring the port that it was opened to, for the search by that.
    ports: Vec<u16>,
    /// How many entries were made; in the ring, each has the place of its number.
    made: u32,
}

/// Where the openings of keys are.
#[derive(Debug)]
struct Places {
    /// In the upper half of each place, the mark of what is in it, 0 for nothing. In the lower half, the number of
    /// the entry, which may have made room for another since.
    words: Vec<u64>,
    /// How many of them there are for each bucket of ports. Of what closes a connection, and of first
    /// bytes, most are of connections whose opening was ruled out before: they end here, in 8 KiB that stay in the
    /// cache, without so much as a key.
    busy: Box<[u16; BUCKETS as usize]>,
}

/// A place of the table for a key.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    mark: u32,
}

impl Places {
    fn new(places: usize) -> Self {
        // Zeroes from the system cost nothing until they are written over.
        let words = vec![0; places.next_power_of_two().min(MOST_PLACES)];
        Self { words, busy: Box::new([0; BUCKETS as usize]) }
    }

    /// The greatest index.
    #[inline]
    fn last(&self) -> usize {
        self.words.len() - 1
    }

    /// Where an entry belongs, and the mark that stands for it.
    #[inline]
    fn of(&self, key: &FlowKey) -> Place {
        let (upper, lower) = halves(key.unseeded_hash());
        let [low, high] = key.ports();
        let buckets = u32::from(BUCKETS);
        let mark = upper & !(2 * buckets - 1) | buckets | u32::from(bucket(low, high, BUCKETS));
        Place { index: lower as usize & self.last(), mark }
    }

    #[inline]
    fn may_have(&self, a: u16, b: u16) -> bool {
        self.busy.get(usize::from(bucket(a, b, BUCKETS))).is_none_or(|busy| *busy > 0)
    }

    /// The number of the entry at `place`, if it may be what belongs there.
    #[inline]
    fn get(&self, place: Place) -> Option<u32> {
        let (mark, number) = halves(*self.words.get(place.index)?);
        (mark == place.mark).then_some(number)
    }

    #[inline]
    fn put(&mut self, place: Place, number: u32) {
        self.set(place.index, u64::from(place.mark) << 32 | u64::from(number));
    }

    /// Clears the place at `index` if its entry has made room for another, once `made` were made.
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

/// So many can be counted.
const MOST_PLACES: usize = 1 << 15;

/// A few times as many as there are openings at a time on a busy link; a power of two.
const BUCKETS: u16 = 1 << 12;

impl PendingTable {
    /// A table of `places` places, or as many as the next power of two.
    pub fn new(places: usize) -> Self {
        Self {
            places: Places::new(places),
            heads: Vec::new(),
            later: Vec::new(),
            ports: Vec::new(),
            made: 0,
        }
    }

    /// Whether there may be an opening of a connection between such ports. Costs next to nothing.
    #[inline]
    pub fn may_have(&self, src_port: u16, dst_port: u16) -> bool {
        self.places.may_have(src_port, dst_port)
    }

    /// Notes a segment without payload. Only a SYN begins an entry; another is noted where one is.
    #[inline(always)] // a million times a second, each of its arguments through memory otherwise
    pub fn note(&mut self, segment: &Segment<'_>) {
        let (key, bare) = (segment.flow, SegmentHeader::new(segment));
        let place = self.places.of(&key);
        // Where there can be none, what the place holds is not waited for.
        let [low, high] = key.ports();
        let known = if self.may_have(low, high) { self.find(place, &key) } else { None };
        match known {
            Some(slot) if !self.is_another(slot, bare) => self.keep(slot, bare),
            _ if bare.flags.has(TcpFlags::SYN) => self.put(place, key, bare),
            _ => {}
        }
    }

    /// Bytes have come, numbered from `seq`, that begin nothing that is followed: whether that is all that needs to be
    /// known. It is where no opening is known, and where they are the first of their side: then the opening is
    /// forgotten. Others, up to `most` bytes behind the first, may have come before those that do begin something.
    #[inline]
    pub fn rules_out(&mut self, key: &FlowKey, seq: u32, direction: Direction, most: u32) -> bool {
        let place = self.places.of(key);
        let Some(slot) = self.find(place, key) else { return true };
        match bytes_before(self.bare(slot), seq, direction) {
            Some(0) => {
                self.clear(place);
                true
            }
            Some(before) => before >= most,
            None => true,
        }
    }

    /// Whether there is an opening of `key`.
    pub fn has(&self, key: &FlowKey) -> bool {
        self.find(self.places.of(key), key).is_some()
    }

    /// The opening of `key`.
    pub fn get(&self, key: &FlowKey) -> Option<TcpOpening> {
        let slot = self.find(self.places.of(key), key)?;
        Some(TcpOpening { key: *key, segments: self.bare(slot).copied().collect() })
    }

    /// Takes the opening of `key` out.
    pub fn take(&mut self, key: &FlowKey) -> Option<TcpOpening> {
        let opening = self.get(key)?;
        self.clear(self.places.of(key));
        Some(opening)
    }

    /// Takes out every opening of a connection to `end`, by time: it has just become known as a node's.
    pub fn take_to(&mut self, end: Endpoint) -> Vec<TcpOpening> {
        let mut keys = Vec::new();
        // Stretch by stretch: whether a port is in one at all is asked several ports at a time.
        let stretches = self.ports.chunks(STRETCH).zip(self.heads.chunks(STRETCH));
        for (start, (ports, heads)) in (0..).step_by(STRETCH).zip(stretches) {
            if ports.contains(&end.port) {
                let to_end =
                    (start..).zip(heads).filter(|(_, it)| responder(&it.key, it.first) == end);
                let current = to_end.filter(|(slot, it)| {
                    self.find(self.places.of(&it.key), &it.key) == Some(*slot)
                });
                keys.extend(current.map(|(_, head)| head.key));
            }
        }
        let mut found: Vec<_> = keys.iter().filter_map(|key| self.take(key)).collect();
        found.sort_by_key(|opening| opening.segments.first().map(|it| (it.input, it.number)));
        found
    }

    /// Where in the ring the opening of `key` is, if `place` holds that.
    #[inline]
    fn find(&self, place: Place, key: &FlowKey) -> Option<usize> {
        let slot = self.slot(self.places.get(place)?);
        (self.heads.get(slot)?.key == *key).then_some(slot)
    }

    /// Where in the ring the entry of a number is.
    #[inline]
    fn slot(&self, number: u32) -> usize {
        number as usize & self.places.last()
    }

    /// The segments of one of the ring.
    #[inline]
    fn bare(&self, slot: usize) -> impl Iterator<Item = &SegmentHeader> {
        let head = self.heads.get(slot);
        let first = head.map(|head| &head.first);
        let count = head.map_or(0, |head| usize::from(head.later));
        // Not looked for where there is none.
        let later = (count > 0).then(|| self.later.get(slot)?.get(..count)).flatten();
        first.into_iter().chain(later.into_iter().flatten())
    }

    /// Whether a SYN opens another connection between the same ends: its number differs.
    #[inline]
    fn is_another(&self, slot: usize, segment: SegmentHeader) -> bool {
        segment.flags.has(TcpFlags::SYN)
            && self.bare(slot).any(|bare| {
                bare.flags.has(TcpFlags::SYN)
                    && bare.direction == segment.direction
                    && bare.seq != segment.seq
            })
    }

    #[inline]
    fn keep(&mut self, slot: usize, bare: SegmentHeader) {
        if self.later.len() <= slot {
            self.later.resize(slot + 1, Later::default());
        }
        let (Some(head), Some(later)) = (self.heads.get_mut(slot), self.later.get_mut(slot)) else {
            return;
        };
        if let Some(free) = later.get_mut(usize::from(head.later)) {
            *free = bare;
            head.later += 1;
        }
    }

    /// Makes an entry, field by field where it is to be: one that is put together elsewhere and copied is waited
    /// for.
    #[inline(always)]
    fn put(&mut self, place: Place, key: FlowKey, first: SegmentHeader) {
        let slot = self.slot(self.made);
        if self.heads.len() <= slot {
            self.heads.push(Head::default());
            self.ports.push(0);
        }
        if let (Some(head), Some(port)) = (self.heads.get_mut(slot), self.ports.get_mut(slot)) {
            head.key = key;
            head.first = first;
            head.later = 0;
            *port = responder(&key, first).port;
        }
        self.places.sweep(slot, self.made);
        self.places.put(place, self.made);
        self.made = self.made.wrapping_add(1);
    }

    fn clear(&mut self, place: Place) {
        self.places.set(place.index, 0);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "one half each")]
const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Places that are searched at once.
const STRETCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const A: Endpoint = Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), port: 5 };
    const B: Endpoint = Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), port: 6 };

    fn bare(src: Endpoint, dst: Endpoint, seq: u32, flags: u8) -> Segment<'static> {
        let (flow, direction) = FlowKey::new(src, dst);
        Segment {
            frame: FrameRef { input: 0, number: u64::from(seq) },
            at: Timestamp(0),
            flow,
            direction,
            seq,
            ack: 0,
            flags: TcpFlags(flags),
            window: 0,
            ip_id: None,
            payload: &[],
            missing: 0,
            layers: &[],
        }
    }

    #[test]
    fn the_opening_comes_out_as_it_came_in() {
        let mut pending = PendingTable::new(64);
        let key = FlowKey::new(A, B).0;
        pending.note(&bare(A, B, 1, 0x02));
        pending.note(&bare(B, A, 2, 0x12));
        pending.note(&bare(A, B, 3, 0x10));
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
            pending.note(&bare(from(port), B, port.into(), 0x02));
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
    fn connections_to_a_port_are_found_from_either_syn() {
        let mut pending = PendingTable::new(64);
        pending.note(&bare(B, A, 2, 0x12));
        pending.note(&bare(A, B, 1, 0x02));
        assert!(pending.take_to(A).is_empty());
        assert_eq!(pending.take_to(B).len(), 1);
    }

    #[test]
    fn ports_used_again_begin_a_new_opening() {
        let mut pending = PendingTable::new(64);
        pending.note(&bare(A, B, 1, 0x02));
        pending.note(&bare(A, B, 9, 0x02));
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
            pending.note(&bare(from(port), B, 1, 0x02));
            // Every third says something, from its beginning.
            if port % 3 == 0 && port > 10 {
                let direction = FlowKey::new(from(port), B).1;
                assert!(pending.rules_out(&key(port - 9), 2, direction, 600));
                assert!(!pending.has(&key(port - 9)));
            }
            let known = (0..=port).filter(|port| pending.has(&key(*port)));
            assert!(known.into_iter().all(|port| pending.may_have(B.port, port)));
            all_are_counted(&pending);
        }
        // Long after, what was there at a time of other ports is not taken for it.
        for port in 10_000..10_128 {
            pending.note(&bare(from(port), B, 1, 0x02));
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
        pending.note(&bare(A, B, 1, 0x02));
        assert!(!pending.rules_out(&key, 100, up, 600));
        assert!(pending.rules_out(&key, 900, up, 600));
        assert!(pending.rules_out(&key, 5, up.reverse(), 600), "of this side nothing is known");
        assert!(pending.has(&key));
        assert!(pending.rules_out(&key, 2, up, 600));
        assert!(!pending.has(&key));
    }
}
