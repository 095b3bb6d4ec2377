//! Connections that have not said anything yet.
//!
//! Whether a connection on an unknown port is Erlang shows with its first octets; who opened it shows
//! before. A table of fixed size keeps the opening of the connections of the last moments, so that what is
//! not Erlang costs no lasting memory. An entry that is overwritten loses the opening and nothing else.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::FlowKey;
use crate::capture::FrameRef;
use crate::decode::{Endpoint, Segment, TcpFlags};
use crate::time::Timestamp;

/// The segments without payload that opened a connection, as they came.
#[derive(Clone, Debug)]
pub struct Opening {
    key: FlowKey,
    /// End that `segments` with `from_first` come from.
    first: Endpoint,
    second: Endpoint,
    /// In order of arrival; more than this do not come before the first octet.
    segments: [Option<Bare>; KEPT],
}

/// SYN, SYN-ACK, and two of retransmissions, RST or FIN. Acknowledgements alone open nothing.
const KEPT: usize = 4;

/// A segment without its payload.
#[derive(Clone, Copy, Debug)]
struct Bare {
    frame: FrameRef,
    at: Timestamp,
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    window: u16,
    ip_id: Option<u16>,
    from_first: bool,
}

impl Opening {
    /// The end that the connection was opened to: the receiver of a SYN, the sender of a SYN-ACK.
    fn responder(&self) -> Option<Endpoint> {
        self.segments.iter().flatten().find(|s| s.flags.has(TcpFlags::SYN)).map(|s| {
            if s.from_first == s.flags.has(TcpFlags::ACK) { self.first } else { self.second }
        })
    }

    /// How many octets its side sent before `segment`, as far as the opening tells.
    pub fn octets_before(&self, segment: &Segment<'_>) -> Option<u32> {
        self.segments.iter().flatten().find_map(|s| {
            let own = s.from_first == (self.first == segment.src);
            let begins = if !own && s.flags.has(TcpFlags::ACK) {
                s.ack
            } else if own && s.flags.has(TcpFlags::SYN) {
                s.seq.wrapping_add(1)
            } else {
                return None;
            };
            Some(segment.seq.wrapping_sub(begins))
        })
    }

    /// The segments again.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'static>> {
        self.segments.iter().flatten().map(|s| {
            let (src, dst) =
                if s.from_first { (self.first, self.second) } else { (self.second, self.first) };
            Segment {
                frame: s.frame,
                at: s.at,
                src,
                dst,
                seq: s.seq,
                ack: s.ack,
                flags: s.flags,
                window: s.window,
                ip_id: s.ip_id,
                payload: &[],
                missing: 0,
                layers: &[],
            }
        })
    }
}

/// Openings by key, each in the one place that its hash gives it. The hash has no seed, so that the same
/// capture gives the same output on each run; who makes entries collide displaces some, and no more.
#[derive(Debug)]
pub struct YoungTable {
    hasher: FixedState,
    /// The upper half of the hash of what is in each place; 0 for nothing. Most packets of other protocols
    /// end here, without touching an entry.
    marks: Vec<u32>,
    /// The port that what is in each place was opened to, for the search by that.
    ports: Vec<u16>,
    places: Vec<Option<Opening>>,
}

impl YoungTable {
    /// A table of `places` places.
    pub fn new(places: usize) -> Self {
        let places = places.max(1);
        Self {
            hasher: FixedState::default(),
            marks: vec![0; places],
            ports: vec![0; places],
            places: vec![None; places],
        }
    }

    /// Notes a segment without payload. Only a SYN begins an entry; another is noted where one is.
    pub fn note(&mut self, key: FlowKey, segment: &Segment<'_>) {
        let bare = Bare {
            frame: segment.frame,
            at: segment.at,
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            window: segment.window,
            ip_id: segment.ip_id,
            from_first: true,
        };
        let known = self.get_mut(&key).filter(|known| !is_another(known, segment));
        if let Some(known) = known {
            let from_first = known.first == segment.src;
            if let Some(free) = known.segments.iter_mut().find(|s| s.is_none()) {
                *free = Some(Bare { from_first, ..bare });
            }
        } else if segment.flags.has(TcpFlags::SYN) {
            let mut segments = [None; KEPT];
            segments[0] = Some(bare);
            let (place, mark) = self.place_of(&key);
            let opening = Opening { key, first: segment.src, second: segment.dst, segments };
            let port = opening.responder().map_or(0, |responder| responder.port);
            let Self { marks, ports, places, .. } = self;
            if let (Some(kept), Some(opened_to), Some(known)) =
                (marks.get_mut(place), ports.get_mut(place), places.get_mut(place))
            {
                (*kept, *opened_to, *known) = (mark, port, Some(opening));
            }
        }
    }

    /// The opening of `key`.
    pub fn get(&mut self, key: &FlowKey) -> Option<&Opening> {
        self.get_mut(key).map(|opening| &*opening)
    }

    /// Takes the opening of `key` out.
    pub fn take(&mut self, key: &FlowKey) -> Option<Opening> {
        self.get_mut(key)?;
        let (place, _) = self.place_of(key);
        *self.marks.get_mut(place)? = 0;
        self.places.get_mut(place)?.take()
    }

    /// Takes out every opening of a connection to `end`, by time: it has just become known as a node's.
    pub fn take_to(&mut self, end: Endpoint) -> Vec<(FlowKey, Opening)> {
        let places = self.ports.iter().zip(self.places.iter_mut());
        let mut found: Vec<_> = places
            .filter(|(port, _)| **port == end.port)
            .filter(|(_, place)| place.as_ref().is_some_and(|it| it.responder() == Some(end)))
            .filter_map(|(_, place)| place.take().map(|opening| (opening.key, opening)))
            .collect();
        found.sort_by_key(|(_, opening)| opening.segments[0].map(|first| first.frame));
        found
    }

    fn get_mut(&mut self, key: &FlowKey) -> Option<&mut Opening> {
        let (place, mark) = self.place_of(key);
        if *self.marks.get(place)? != mark {
            return None;
        }
        self.places.get_mut(place)?.as_mut().filter(|known| known.key == *key)
    }

    /// Where an entry belongs, and the mark that stands for it.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a hash")]
    fn place_of(&self, key: &FlowKey) -> (usize, u32) {
        let hash = self.hasher.hash_one(key);
        (hash as u32 as usize % self.places.len(), (hash >> 32) as u32 | 1)
    }
}

/// Whether a SYN opens another connection between the ends of `known`: its number differs.
fn is_another(known: &Opening, segment: &Segment<'_>) -> bool {
    segment.flags.has(TcpFlags::SYN)
        && known.segments.iter().flatten().any(|s| {
            s.flags.has(TcpFlags::SYN)
                && s.from_first == (known.first == segment.src)
                && s.seq != segment.seq
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

    #[test]
    fn the_opening_comes_out_as_it_came_in() {
        let mut young = YoungTable::new(64);
        let (key, _) = FlowKey::new(A, B);
        young.note(key, &bare(A, B, 1, 0x02));
        young.note(key, &bare(B, A, 2, 0x12));
        young.note(key, &bare(A, B, 3, 0x10));
        let opening = young.take(&key).unwrap();
        let seen: Vec<_> = opening.segments().map(|s| (s.src, s.seq)).collect();
        assert_eq!(seen, [(A, 1), (B, 2), (A, 3)]);
        assert!(young.take(&key).is_none());
    }

    #[test]
    fn connections_to_a_port_are_found_from_either_syn() {
        let mut young = YoungTable::new(64);
        let (key, _) = FlowKey::new(A, B);
        young.note(key, &bare(B, A, 2, 0x12));
        young.note(key, &bare(A, B, 1, 0x02));
        assert!(young.take_to(A).is_empty());
        assert_eq!(young.take_to(B).len(), 1);
    }

    #[test]
    fn ports_used_again_begin_a_new_opening() {
        let mut young = YoungTable::new(64);
        let (key, _) = FlowKey::new(A, B);
        young.note(key, &bare(A, B, 1, 0x02));
        young.note(key, &bare(A, B, 9, 0x02));
        let opening = young.take(&key).unwrap();
        assert_eq!(opening.segments().map(|s| s.seq).collect::<Vec<_>>(), [9]);
    }
}
