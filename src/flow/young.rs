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
#[derive(Clone, Debug, Default)]
pub struct Opening {
    key: FlowKey,
    /// In order of arrival; the first `kept` of them.
    segments: [Bare; MOST],
    kept: u8,
}

/// SYN, SYN-ACK, and two of retransmissions, RST or FIN: more do not come before the first octet.
/// Acknowledgements alone open nothing.
const MOST: usize = 4;

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
    /// Begins anew. What stays of the one before is behind `kept`: to write it over would cost more than all
    /// the rest.
    fn begin(&mut self, key: &FlowKey, first: &Bare) {
        self.key = *key;
        self.segments[0] = *first;
        self.kept = 1;
    }

    fn bare(&self) -> &[Bare] {
        self.segments.get(..self.kept.into()).unwrap_or_default()
    }

    fn keep(&mut self, bare: Bare) {
        if let Some(free) = self.segments.get_mut(usize::from(self.kept)) {
            *free = bare;
            self.kept += 1;
        }
    }

    /// The end that the connection was opened to: the receiver of a SYN, the sender of a SYN-ACK.
    fn responder(&self) -> Option<Endpoint> {
        let syn = self.bare().iter().find(|bare| bare.flags.has(TcpFlags::SYN))?;
        Some(self.key.end(if syn.opens() { syn.direction.reverse() } else { syn.direction }))
    }

    /// How many octets its side sent before `segment`, which goes `direction`, as far as the opening tells.
    pub fn octets_before(&self, segment: &Segment<'_>, direction: Direction) -> Option<u32> {
        self.bare().iter().find_map(|bare| {
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

    /// The segments again, and which way each goes.
    pub fn segments(&self) -> impl Iterator<Item = (Segment<'static>, Direction)> {
        self.bare().iter().map(|bare| {
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

/// The last openings, by key, each in the one place that its hash gives it. The hash has no seed, so that the
/// same capture gives the same output on each run; who makes entries collide displaces some, and no more.
#[derive(Debug)]
pub struct YoungTable {
    /// In the upper half of each place, the mark of what is in it, 0 for nothing: most packets of other
    /// protocols end here, without touching an opening. In the lower half, where in `openings` it has its own,
    /// unless another has come there since.
    places: Vec<u64>,
    /// The port that what is in each place was opened to, for the search by that.
    ports: Vec<u16>,
    /// A ring, written in the order of arrival: it grows to what a run needs, and a million SYNs go through
    /// it line by line, where writing each at the place of its hash took twice the time.
    openings: Vec<Opening>,
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
        let places = places.next_power_of_two();
        Self {
            // Zeroes from the system cost nothing until they are written over.
            places: vec![0; places],
            ports: vec![0; places],
            openings: Vec::new(),
            next: 0,
        }
    }

    /// Notes a segment without payload. Only a SYN begins an entry; another is noted where one is.
    #[inline]
    pub fn note(&mut self, key: FlowKey, segment: &Segment<'_>, direction: Direction) {
        self.note_bare(&key, &Bare::new(segment, direction));
    }

    fn note_bare(&mut self, key: &FlowKey, bare: &Bare) {
        let place = self.place_of(key);
        match self.at(place, key) {
            Some(known) if !is_another(known, bare) => known.keep(*bare),
            _ if bare.flags.has(TcpFlags::SYN) => self.put(place, key, bare),
            _ => {}
        }
    }

    /// The opening of `key`.
    pub fn get(&mut self, key: &FlowKey) -> Option<&Opening> {
        let place = self.place_of(key);
        self.at(place, key).map(|opening| &*opening)
    }

    /// Takes the opening of `key` out.
    pub fn take(&mut self, key: &FlowKey) -> Option<Opening> {
        let place = self.place_of(key);
        let opening = self.at(place, key)?.clone();
        self.clear(place.index);
        Some(opening)
    }

    /// Takes out every opening of a connection to `end`, by time: it has just become known as a node's.
    pub fn take_to(&mut self, end: Endpoint) -> Vec<(FlowKey, Opening)> {
        let mut found = Vec::new();
        // Stretch by stretch: whether a port is in one at all is asked several ports at a time.
        for start in (0..self.ports.len()).step_by(STRETCH) {
            let stretch = start..(start + STRETCH).min(self.ports.len());
            if self.ports.get(stretch.clone()).is_some_and(|ports| ports.contains(&end.port)) {
                found.extend(stretch.filter_map(|index| self.take_from(index, end)));
            }
        }
        found.sort_by_key(|(_, opening)| opening.bare().first().map(|it| (it.input, it.number)));
        found
    }

    fn take_from(&mut self, index: usize, end: Endpoint) -> Option<(FlowKey, Opening)> {
        if *self.ports.get(index)? != end.port {
            return None;
        }
        let (mark, slot) = halves(*self.places.get(index)?);
        let opening = self.openings.get(slot)?.clone();
        let place = self.place_of(&opening.key);
        let is_own = (place.index, place.mark) == (index, mark);
        if !is_own || opening.responder() != Some(end) {
            return None;
        }
        self.clear(index);
        Some((opening.key, opening))
    }

    /// What `place` holds, if it is the opening of `key`.
    #[inline]
    fn at(&mut self, place: Place, key: &FlowKey) -> Option<&mut Opening> {
        let (mark, slot) = halves(*self.places.get(place.index)?);
        if mark != place.mark {
            return None;
        }
        self.openings.get_mut(slot).filter(|known| known.key == *key)
    }

    fn put(&mut self, place: Place, key: &FlowKey, first: &Bare) {
        if self.next == self.openings.len() {
            self.openings.push(Opening::default());
        }
        let Self { places, ports, openings, next } = self;
        let last = places.len() - 1;
        let (Some(known), Some(port), Some(opening)) =
            (places.get_mut(place.index), ports.get_mut(place.index), openings.get_mut(*next))
        else {
            return;
        };
        opening.begin(key, first);
        *known = u64::from(place.mark) << 32 | *next as u64;
        *port = opening.responder().map_or(0, |responder| responder.port);
        *next = (*next + 1) & last;
    }

    fn clear(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index) {
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

/// Whether a SYN opens another connection between the ends of `known`: its number differs.
fn is_another(known: &Opening, segment: &Bare) -> bool {
    segment.flags.has(TcpFlags::SYN)
        && known.bare().iter().any(|bare| {
            bare.flags.has(TcpFlags::SYN)
                && bare.direction == segment.direction
                && bare.seq != segment.seq
        })
}

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
