//! Connections that have not said anything yet.
//!
//! Whether a connection on an unknown port is Erlang shows with its first octets; who opened it shows
//! before. A table of fixed size keeps the opening of the connections of the last moments, so that what is
//! not Erlang costs no lasting memory. An entry that is overwritten loses the opening and nothing else.

use super::{Direction, FlowKey};
use crate::capture::FrameRef;
use crate::decode::{Endpoint, Segment, TcpFlags};
use crate::time::Timestamp;

/// The segments without payload that opened a connection, as they came.
#[derive(Clone, Debug)]
pub struct Opening {
    key: FlowKey,
    /// In order of arrival.
    segments: Vec<Bare>,
}

/// What one SYN writes of an opening: side by side, so that a million of them a second go through memory as one
/// stream, and apart from what only follows behind some.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    key: FlowKey,
    first: Bare,
    /// How many segments there are behind the first.
    later: u8,
}

/// Segments behind the first: SYN-ACK, and two of retransmissions, RST or FIN. More do not come before the first
/// octet; acknowledgements alone open nothing.
type Later = [Bare; 3];

/// A segment without its payload. One million SYNs a second write one each, so its fields are those of
/// [`Segment`] without the gaps between them.
#[derive(Clone, Copy, Debug, Default)]
struct Bare {
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

impl Bare {
    fn new(segment: &Segment<'_>, direction: Direction) -> Self {
        Self {
            number: segment.frame.number,
            at: segment.at,
            seq: segment.seq,
            ack: segment.ack,
            input: segment.frame.input,
            window: segment.window,
            ip_id: segment.ip_id.unwrap_or_default(),
            flags: segment.flags,
            direction,
        }
    }

    /// Whether it is a SYN, and no answer to one.
    const fn opens(&self) -> bool {
        self.flags.has(TcpFlags::SYN) && !self.flags.has(TcpFlags::ACK)
    }
}

impl Opening {
    /// How many octets its side sent before `segment`, which goes `direction`, as far as the opening tells.
    pub fn octets_before(&self, segment: &Segment<'_>, direction: Direction) -> Option<u32> {
        octets_before(self.segments.iter(), segment, direction)
    }

    /// The segments again, and which way each goes.
    pub fn segments(&self) -> impl Iterator<Item = (Segment<'static>, Direction)> {
        self.segments.iter().map(|bare| {
            let segment = Segment {
                frame: FrameRef { input: bare.input, number: bare.number },
                at: bare.at,
                src: self.key.end(bare.direction),
                dst: self.key.end(bare.direction.reverse()),
                seq: bare.seq,
                ack: bare.ack,
                flags: bare.flags,
                window: bare.window,
                ip_id: self.key.is_v4().then_some(bare.ip_id),
                payload: &[],
                missing: 0,
                layers: &[],
            };
            (segment, bare.direction)
        })
    }
}

fn octets_before<'a>(
    mut opening: impl Iterator<Item = &'a Bare>,
    segment: &Segment<'_>,
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
        Some(segment.seq.wrapping_sub(begins))
    })
}

impl Head {
    /// The end that the connection was opened to: the receiver of a SYN, the sender of a SYN-ACK. An entry begins
    /// with one of the two.
    fn responder(&self) -> Endpoint {
        let direction = self.first.direction;
        self.key.end(if self.first.opens() { direction.reverse() } else { direction })
    }
}

/// The last openings, by key, each in the one place that its hash gives it. The hash has no seed, so that the
/// same capture gives the same output on each run; who makes entries collide displaces some, and no more.
#[derive(Debug)]
pub struct YoungTable {
    /// In the upper half of each place, the mark of what is in it, 0 for nothing: most packets of other
    /// protocols end here, without touching an opening. In the lower half, where in the ring it has its opening,
    /// unless another has come there since.
    places: Vec<u64>,
    /// A ring, written in the order of arrival: it grows to what a run needs, and a million SYNs go through
    /// it line by line, where writing each at the place of its hash took twice the time.
    heads: Vec<Head>,
    /// For each of the ring, as far as any has some.
    later: Vec<Later>,
    /// For each of the ring the port that it was opened to, for the search by that.
    ports: Vec<u16>,
    next: usize,
}

/// A place of the table for a key.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    mark: u32,
}

impl YoungTable {
    /// A table of `places` places, or as many as the next power of two.
    pub fn new(places: usize) -> Self {
        Self {
            // Zeroes from the system cost nothing until they are written over.
            places: vec![0; places.next_power_of_two()],
            heads: Vec::new(),
            later: Vec::new(),
            ports: Vec::new(),
            next: 0,
        }
    }

    /// Notes a segment without payload. Only a SYN begins an entry; another is noted where one is.
    #[inline]
    pub fn note(&mut self, key: FlowKey, segment: &Segment<'_>, direction: Direction) {
        let bare = Bare::new(segment, direction);
        let place = self.place_of(&key);
        match self.find(place, &key) {
            Some(slot) if !self.is_another(slot, &bare) => self.keep(slot, bare),
            _ if bare.flags.has(TcpFlags::SYN) => {
                self.put(place, Head { key, first: bare, later: 0 })
            }
            _ => {}
        }
    }

    /// Octets have come, in `segment`, that begin nothing that is followed: whether that is all that needs to be
    /// known. It is where no opening is known, and where they are the first of their side: then the opening is
    /// forgotten. Others, up to `most` octets behind the first, may have come before those that do begin something.
    #[inline]
    pub fn rules_out(
        &mut self,
        key: &FlowKey,
        segment: &Segment<'_>,
        direction: Direction,
        most: u32,
    ) -> bool {
        let place = self.place_of(key);
        let Some(slot) = self.find(place, key) else { return true };
        match octets_before(self.bare(slot), segment, direction) {
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
        self.find(self.place_of(key), key).is_some()
    }

    /// The opening of `key`.
    pub fn get(&self, key: &FlowKey) -> Option<Opening> {
        let slot = self.find(self.place_of(key), key)?;
        Some(Opening { key: *key, segments: self.bare(slot).copied().collect() })
    }

    /// Takes the opening of `key` out.
    pub fn take(&mut self, key: &FlowKey) -> Option<Opening> {
        let opening = self.get(key)?;
        self.clear(self.place_of(key));
        Some(opening)
    }

    /// Takes out every opening of a connection to `end`, by time: it has just become known as a node's.
    pub fn take_to(&mut self, end: Endpoint) -> Vec<(FlowKey, Opening)> {
        let mut keys = Vec::new();
        // Stretch by stretch: whether a port is in one at all is asked several ports at a time.
        let stretches = self.ports.chunks(STRETCH).zip(self.heads.chunks(STRETCH));
        for (start, (ports, heads)) in (0..).step_by(STRETCH).zip(stretches) {
            if ports.contains(&end.port) {
                let to_end = (start..).zip(heads).filter(|(_, head)| head.responder() == end);
                let current = to_end
                    .filter(|(slot, it)| self.find(self.place_of(&it.key), &it.key) == Some(*slot));
                keys.extend(current.map(|(_, head)| head.key));
            }
        }
        let mut found: Vec<_> =
            keys.into_iter().filter_map(|key| Some((key, self.take(&key)?))).collect();
        found.sort_by_key(|(_, opening)| opening.segments.first().map(|it| (it.input, it.number)));
        found
    }

    /// Where in the ring the opening of `key` is, if `place` holds that.
    #[inline]
    fn find(&self, place: Place, key: &FlowKey) -> Option<usize> {
        let (mark, slot) = halves(*self.places.get(place.index)?);
        let is_it = mark == place.mark && self.heads.get(slot)?.key == *key;
        is_it.then_some(slot)
    }

    /// The segments of one of the ring.
    #[inline]
    fn bare(&self, slot: usize) -> impl Iterator<Item = &Bare> {
        let head = self.heads.get(slot);
        let first = head.map(|head| &head.first);
        let count = head.map_or(0, |head| usize::from(head.later));
        // Not looked for where there is none.
        let later = (count > 0).then(|| self.later.get(slot)?.get(..count)).flatten();
        first.into_iter().chain(later.into_iter().flatten())
    }

    /// Whether a SYN opens another connection between the same ends: its number differs.
    #[inline]
    fn is_another(&self, slot: usize, segment: &Bare) -> bool {
        segment.flags.has(TcpFlags::SYN)
            && self.bare(slot).any(|bare| {
                bare.flags.has(TcpFlags::SYN)
                    && bare.direction == segment.direction
                    && bare.seq != segment.seq
            })
    }

    #[inline]
    fn keep(&mut self, slot: usize, bare: Bare) {
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

    #[inline]
    fn put(&mut self, place: Place, head: Head) {
        let port = head.responder().port;
        match (self.heads.get_mut(self.next), self.ports.get_mut(self.next)) {
            (Some(oldest), Some(its_port)) => (*oldest, *its_port) = (head, port),
            _ => {
                self.heads.push(head);
                self.ports.push(port);
            }
        }
        if let Some(known) = self.places.get_mut(place.index) {
            *known = u64::from(place.mark) << 32 | self.next as u64;
        }
        self.next = (self.next + 1) & (self.places.len() - 1);
    }

    fn clear(&mut self, place: Place) {
        if let Some(place) = self.places.get_mut(place.index) {
            *place = 0;
        }
    }

    /// Where an entry belongs, and the mark that stands for it.
    #[inline]
    fn place_of(&self, key: &FlowKey) -> Place {
        let (mark, index) = halves(key.unseeded_hash());
        Place { index: index & (self.places.len() - 1), mark: mark | 1 }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "one half each")]
const fn halves(word: u64) -> (u32, usize) {
    ((word >> 32) as u32, word as u32 as usize)
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
        Segment {
            frame: FrameRef { input: 0, number: u64::from(seq) },
            at: Timestamp(0),
            src,
            dst,
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

    fn note(young: &mut YoungTable, segment: &Segment<'_>) {
        let (key, direction) = FlowKey::new(segment.src, segment.dst);
        young.note(key, segment, direction);
    }

    #[test]
    fn the_opening_comes_out_as_it_came_in() {
        let mut young = YoungTable::new(64);
        let key = FlowKey::new(A, B).0;
        note(&mut young, &bare(A, B, 1, 0x02));
        note(&mut young, &bare(B, A, 2, 0x12));
        note(&mut young, &bare(A, B, 3, 0x10));
        let opening = young.take(&key).unwrap();
        let seen: Vec<_> = opening.segments().map(|(s, _)| (s.src, s.seq)).collect();
        assert_eq!(seen, [(A, 1), (B, 2), (A, 3)]);
        assert!(young.take(&key).is_none());
    }

    #[test]
    fn the_oldest_openings_make_room_and_no_other_is_taken_for_them() {
        let mut young = YoungTable::new(4);
        let from = |port| Endpoint { port, ..A };
        for port in 100..120 {
            note(&mut young, &bare(from(port), B, port.into(), 0x02));
        }
        let mut left: Vec<_> = (100..120)
            .filter(|port| young.get(&FlowKey::new(from(*port), B).0).is_some())
            .collect();
        assert!(left.len() <= 4 && left.iter().all(|port| *port >= 116), "{left:?}");
        let taken = young.take_to(B);
        let ports = taken.iter().map(|(_, opening)| opening.segments().next().unwrap().0.src.port);
        left.sort_unstable();
        assert_eq!(ports.collect::<Vec<_>>(), left);
    }

    #[test]
    fn connections_to_a_port_are_found_from_either_syn() {
        let mut young = YoungTable::new(64);
        note(&mut young, &bare(B, A, 2, 0x12));
        note(&mut young, &bare(A, B, 1, 0x02));
        assert!(young.take_to(A).is_empty());
        assert_eq!(young.take_to(B).len(), 1);
    }

    #[test]
    fn ports_used_again_begin_a_new_opening() {
        let mut young = YoungTable::new(64);
        note(&mut young, &bare(A, B, 1, 0x02));
        note(&mut young, &bare(A, B, 9, 0x02));
        let opening = young.take(&FlowKey::new(A, B).0).unwrap();
        assert_eq!(opening.segments().map(|(s, _)| s.seq).collect::<Vec<_>>(), [9]);
    }
}
