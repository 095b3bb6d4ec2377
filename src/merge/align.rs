//! Clocks of several sensors, compared by what they saw of the same connections.
//!
//! In: the facts of each sensor. Out: what to add to its times. The messages that open a connection answer each other: what
//! one sensor saw of one of them came before what another saw of the next. So each connection that two sensors saw bounds the
//! difference of their clocks from both sides, as for captures in [`crate::clocks`].

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Part;
use crate::clocks::{Bounds, Fit, MIN_BOUNDS, seconds};
use crate::decode::Endpoint;
use crate::observe::{
    Anomaly, AnomalyKind, EpmdObservation, EpmdOutcome, Fact, MessageKind, Observation, SynFacts,
};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// How the clock of one sensor differs.
#[derive(Debug, Default)]
pub(super) struct ClockShift {
    /// Nanoseconds to add to its times.
    pub(super) nanos: i64,
    /// The correction, or why there is none, if there is something to report.
    pub(super) note: Option<Anomaly>,
}

/// What one connection is known by at every sensor, with the sequence numbers of the first bytes of both sides.
#[derive(Eq, Hash, PartialEq)]
enum SharedKey {
    /// By the fingerprint of its handshake, where the sensors see other addresses.
    Handshake(u64, [u32; 2]),
    /// By the addresses and ports of both ends.
    Ends(EndPair, [u32; 2]),
}

/// What one sensor saw of a connection that others may have seen.
struct SharedOpening {
    ends: EndPair,
    starts: [u32; 2],
    fingerprint: Option<u64>,
    times: OpeningTimes,
}

/// Both ends of a connection, the initiator's first.
type EndPair = [Endpoint; 2];

/// When the packets that open a connection were seen: each of them answers the one before it.
pub(super) type OpeningTimes = [Option<Timestamp>; 6];

/// Bounds between two sensors, the first of which has the lower number.
type PairBounds = HashMap<(usize, usize), Bounds, RandomState>;

/// What to add to the times of each part, so that its clock is that of the first one with which it has connections in
/// common.
pub(super) fn align(parts: &[Part]) -> Vec<ClockShift> {
    let pairs = if parts.len() < 2 { PairBounds::default() } else { bounds(parts) };
    let mut placed: Vec<Option<i64>> = vec![None; parts.len()];
    let mut shifts: Vec<ClockShift> = parts.iter().map(|_| ClockShift::default()).collect();
    for root in 0..parts.len() {
        if placed.get(root).is_some_and(Option::is_some) {
            continue;
        }
        set(&mut placed, root, 0);
        while let Some((own, other, bounds)) = next(&pairs, &placed) {
            let before = placed.get(other).copied().flatten().unwrap_or_default();
            let fit = bounds.fit();
            let nanos = match fit {
                Fit::Same | Fit::None => before,
                Fit::Shift(shift) => before.saturating_add(shift),
            };
            set(&mut placed, own, nanos);
            let name = |number: usize| parts.get(number).map(|it| &*it.sensor).unwrap_or_default();
            let note = match fit {
                Fit::None => Some(Anomaly::new(
                    AnomalyKind::ClocksApart,
                    format!(
                        "no one difference fits between the clock of {} and that of {}: where packets of both decide, \
                         their order may be wrong",
                        name(own),
                        name(other)
                    ),
                )),
                Fit::Same | Fit::Shift(_) if nanos != 0 => {
                    let side = if nanos < 0 { "ahead of" } else { "behind" };
                    Some(Anomaly::new(
                        AnomalyKind::ClocksAligned,
                        format!(
                            "the clock of {} is {} s {side} that of {}, by {} packets that answer each other: its times \
                             are corrected",
                            name(own),
                            seconds(nanos.unsigned_abs()),
                            name(root),
                            bounds.len()
                        ),
                    ))
                }
                Fit::Same | Fit::Shift(_) => None,
            };
            if let Some(shift) = shifts.get_mut(own) {
                *shift = ClockShift { nanos, note };
            }
        }
    }
    shifts
}

fn set(placed: &mut [Option<i64>], number: usize, nanos: i64) {
    if let Some(place) = placed.get_mut(number) {
        *place = Some(nanos);
    }
}

/// The part that has most in common with one whose clock is placed, that one, and the bounds from its clock.
fn next(pairs: &PairBounds, placed: &[Option<i64>]) -> Option<(usize, usize, Bounds)> {
    let is_placed = |number: usize| placed.get(number).is_some_and(Option::is_some);
    let candidates = pairs.iter().filter(|(_, bounds)| bounds.len() >= MIN_BOUNDS);
    let candidates =
        candidates.filter_map(|((a, b), bounds)| match (is_placed(*a), is_placed(*b)) {
            (true, false) => Some((*b, *a, bounds, false)),
            (false, true) => Some((*a, *b, bounds, true)),
            _ => None,
        });
    let best = candidates
        .max_by_key(|(own, other, bounds, _)| (bounds.len(), Reverse(*own), Reverse(*other)));
    let (own, other, bounds, is_reversed) = best?;
    Some((own, other, if is_reversed { bounds.reversed() } else { bounds.clone() }))
}

/// The bounds between each two parts that saw the same connections.
fn bounds(parts: &[Part]) -> PairBounds {
    let mut shared: HashMap<SharedKey, Vec<(usize, EndPair, OpeningTimes)>, RandomState> =
        HashMap::default();
    for (number, part) in parts.iter().enumerate() {
        for it in part.facts.iter().filter_map(|fact| SharedOpening::of(&fact.fact)) {
            for key in it.keys() {
                let seen = shared.entry(key).or_default();
                if let Some((_, ends, times)) = seen.last_mut().filter(|(last, ..)| *last == number)
                {
                    // A later observation of the same connection.
                    (*ends, *times) = (it.ends, it.times);
                } else if seen.len() < MOST_SENSORS {
                    seen.push((number, it.ends, it.times));
                }
            }
        }
    }
    let mut pairs = PairBounds::default();
    for (key, seen) in &shared {
        for (at, (a, ends, ours)) in seen.iter().enumerate() {
            for (b, other_ends, theirs) in seen.iter().skip(at + 1).filter(|(b, ..)| b != a) {
                // What has the same ends is compared by these, also if one sensor lacks a part of the handshake.
                if matches!(key, SharedKey::Handshake(..)) && ends == other_ends {
                    continue;
                }
                let bounds = pairs.entry((*a, *b)).or_default();
                if bounds.len() < MOST_BOUNDS {
                    bounds.add(differences(ours, theirs), differences(theirs, ours));
                }
            }
        }
    }
    pairs
}

/// The time of each packet in `before` less that of its answer in `after`, in nanoseconds.
fn differences(before: &OpeningTimes, after: &OpeningTimes) -> Vec<i64> {
    let both = before.iter().enumerate().filter_map(|(at, time)| {
        let answer = after.iter().skip(at + 1).step_by(2).flatten().next()?;
        Some(i128::from((*time)?.0) - i128::from(answer.0))
    });
    both.filter_map(|nanos| i64::try_from(nanos).ok()).collect()
}

impl SharedOpening {
    /// `None` where the sequence numbers of both sides are not known.
    fn of(fact: &Fact) -> Option<Self> {
        let (ends, starts, fingerprint) = match fact {
            Fact::Connection { seen, .. } => {
                let sides = &seen.tcp.sides;
                let starts = [sides.initiator.start?, sides.acceptor.start?];
                ([seen.ends.initiator, seen.ends.acceptor], starts, seen.fingerprint())
            }
            Fact::Epmd { settled, seen } => {
                let (ids, starts) = (&settled.connection, seen.seen.starts);
                let client = Endpoint { ip: ids.src_ip, port: ids.src_port };
                let epmd = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
                ([client, epmd], [starts.initiator?, starts.acceptor?], None)
            }
            _ => return None,
        };
        Some(Self { ends, starts, fingerprint, times: opening_times(fact)? })
    }

    fn keys(&self) -> impl Iterator<Item = SharedKey> {
        let handshake = self.fingerprint.map(|it| SharedKey::Handshake(it, self.starts));
        std::iter::once(SharedKey::Ends(self.ends, self.starts)).chain(handshake)
    }
}

/// When the packets that open a connection were seen.
pub(super) fn opening_times(fact: &Fact) -> Option<OpeningTimes> {
    match fact {
        Fact::Connection { seen, .. } => Some(of_connection(seen)),
        Fact::Epmd { seen, .. } => Some(of_request(seen)),
        _ => None,
    }
}

fn of_connection(seen: &Observation) -> OpeningTimes {
    let sides = &seen.tcp.sides;
    let syn = |it: Option<SynFacts>| it.filter(|it| it.count == 1).map(|it| it.mark);
    let packets = [
        syn(sides.initiator.syn),
        syn(sides.acceptor.syn).or_else(|| seen.tcp.opening.refused()),
        seen.message(MessageKind::SendName),
        seen.message(MessageKind::Challenge),
        seen.message(MessageKind::ChallengeReply),
        seen.message(MessageKind::ChallengeAck),
    ];
    times(packets)
}

fn of_request(seen: &EpmdObservation) -> OpeningTimes {
    let it = &seen.seen;
    let syn = it.syn.filter(|_| it.syns == 1);
    let refused = it.close.filter(|_| seen.outcome == EpmdOutcome::ConnectionRefused);
    times([syn, refused, it.request, it.reply, None, None])
}

/// The times of packets. A capture without times shows nothing.
fn times(packets: [Option<PacketRef>; 6]) -> OpeningTimes {
    let time = |it: PacketRef| Some(it.at).filter(|at| *at != Timestamp::default());
    packets.map(|packet| packet.and_then(time))
}

/// Sensors of one connection that are compared.
const MOST_SENSORS: usize = 8;

/// Bounds between two sensors that are kept: more make the difference no more certain.
const MOST_BOUNDS: usize = 1 << 16;
