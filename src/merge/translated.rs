//! Connections that sensors on both sides of an address translation saw, and handshakes that a proxy passes on.
//!
//! In: the connections between each pair of ends, with what all sensors saw of them. Out: the same, where those that are one
//! connection with other addresses are one. A translator changes addresses and ports and leaves the sequence numbers, which
//! are random (RFC 6528): one TCP connection has the same two first sequence numbers on both sides. A proxy has two
//! connections, with one handshake on them: these are not joined, and an anomaly of each names the other.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::align::opening_times;
use super::connections::{APART, Group, LOOKED_BACK, SensorView};
use crate::decode::Endpoint;
use crate::observe::{
    Anomaly, AnomalyKind, ConnectionIds, EpmdTag, Fact, Observation, Orientation, PerRole, Role,
    community_id,
};
use crate::time::Timestamp;

/// What of a connection is the same at every sensor, apart from its ends.
struct Traits {
    ends: PerRole<Endpoint>,
    /// Sequence number of the first byte of each side, as far as known.
    starts: PerRole<Option<u32>>,
    /// Fingerprint of the handshake.
    fingerprint: Option<u64>,
    /// The first requests, on a connection to EPMD; `None` on any other.
    requests: Option<Vec<(EpmdTag, Option<Arc<str>>)>>,
    span: (Timestamp, Timestamp),
    /// For each message of the initiator that the acceptor answers: the longest and the shortest time until the answer.
    waits: [Option<(u64, u64)>; PAIRS],
}

/// Number of messages at the start of a connection that wait for an answer: SYN, `send_name` and `challenge_reply`.
const PAIRS: usize = 3;

/// What two views of one connection have in common.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
enum TraitKey {
    Starts(u32, u32),
    /// The first sequence number of the initiator, where nothing accepted the connection.
    Opening(u32),
    Handshake(u64),
}

/// Joins the connections that are one under several addresses.
pub(super) fn across_translation(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by_key(|group| (group.span, group.views.first().map(SensorView::ends)));
    let mut sets: Vec<Vec<(Group, Traits)>> = Vec::new();
    let mut rest = Vec::new();
    let mut by_key: HashMap<TraitKey, Vec<usize>, RandomState> = HashMap::default();
    for group in groups {
        let Some(traits) = Traits::of(&group) else {
            rest.push(group);
            continue;
        };
        let keys = traits.keys();
        let known = keys.iter().filter_map(|key| by_key.get(key));
        let mut known = known.flat_map(|sets| sets.iter().rev().take(LOOKED_BACK)).copied();
        let is_same = |number: &usize| sets.get(*number).is_some_and(|set| traits.is_one_of(set));
        let number = known.find(is_same).unwrap_or(sets.len());
        match sets.get_mut(number) {
            Some(set) => set.push((group, traits)),
            None => sets.push(vec![(group, traits)]),
        }
        for key in keys {
            let sets = by_key.entry(key).or_default();
            if sets.last() != Some(&number) {
                sets.push(number);
            }
        }
    }
    let (mut joined, mut translators) = (Vec::new(), Translators::default());
    for set in sets {
        if sees_more_than_one(set.iter().map(|(group, _)| group)) && set.len() > 1 {
            joined.extend(one_of(set, &mut translators));
        } else {
            joined.extend(set);
        }
    }
    note_relays(&mut joined);
    rest.extend(joined.into_iter().map(|(group, _)| group));
    translators.mark(&mut rest);
    rest
}

/// Addresses under which connections of other hosts were seen.
#[derive(Default)]
struct Translators(HashSet<IpAddr, RandomState>);

impl Translators {
    /// Takes in a connection whose nodes have the addresses `ends`, and which was also seen under the addresses `other`.
    fn add(&mut self, ends: &PerRole<Endpoint>, other: &PerRole<Endpoint>) {
        for role in Role::BOTH {
            if ends[role].ip != other[role].ip {
                self.0.insert(other[role].ip);
            }
        }
    }

    /// Marks the sides that have such an address on connections which were seen on one side of the translator alone: their
    /// address shows nothing about the name that was sent from there.
    fn mark(&self, groups: &mut [Group]) {
        let alone = groups.iter_mut().filter(|group| group.ids.is_none());
        for seen in alone.flat_map(|group| &mut group.views).flat_map(SensorView::observations) {
            for role in Role::BOTH {
                seen.passed_on[role] |= self.0.contains(&seen.ends[role].ip);
            }
        }
    }
}

/// Whether more than one sensor is among the views: what a run of one sensor shows stays as it is.
fn sees_more_than_one<'g>(groups: impl Iterator<Item = &'g Group>) -> bool {
    let mut ranks = groups.flat_map(|group| &group.views).map(|view| view.rank);
    let first = ranks.next();
    ranks.any(|rank| Some(rank) != first)
}

impl Traits {
    /// `None` where the roles of the two sides are not certain.
    fn of(group: &Group) -> Option<Self> {
        let mut waits = [None; PAIRS];
        let facts = || group.views.iter().filter_map(SensorView::shown);
        for times in facts().filter_map(opening_times) {
            for (wait, pair) in waits.iter_mut().zip(times.chunks(2)) {
                let &[Some(asked), Some(answered)] = pair else { continue };
                let own = answered.0.saturating_sub(asked.0);
                *wait = Some(wait.map_or((own, own), |(longest, shortest): (u64, u64)| {
                    (longest.max(own), shortest.min(own))
                }));
            }
        }
        let mut starts = PerRole { initiator: None, acceptor: None };
        let (mut fingerprint, mut requests, mut ends) = (None, None, None);
        for view in &group.views {
            for fact in &view.facts {
                let (own, known) = match &fact.fact {
                    Fact::Connection { seen, .. } => {
                        if !is_certain(seen) {
                            continue;
                        }
                        fingerprint = fingerprint.max(seen.fingerprint());
                        let sides = &seen.tcp.sides;
                        (seen.ends, PerRole::from_fn(|role| sides[role].start))
                    }
                    Fact::Epmd { seen, .. } => {
                        let asked = requests.get_or_insert_with(Vec::new);
                        let request = seen.request.map(|tag| (tag, seen.name.clone()));
                        asked.extend(request.filter(|_| asked.len() < MOST_REQUESTS));
                        (of_ids(&view.ids), seen.seen.starts)
                    }
                    _ => continue,
                };
                if *ends.get_or_insert(own) != own {
                    return None;
                }
                for role in Role::BOTH {
                    starts[role] = starts[role].or(known[role]);
                }
            }
        }
        Some(Self { ends: ends?, starts, fingerprint, requests, span: group.span, waits })
    }

    /// The longest and the shortest wait for the answer to one of the messages.
    fn wait(&self, at: usize) -> Option<(u64, u64)> {
        self.waits.get(at).copied().flatten()
    }

    fn keys(&self) -> Vec<TraitKey> {
        let starts = match (self.starts.initiator, self.starts.acceptor) {
            (Some(initiator), Some(acceptor)) => Some(TraitKey::Starts(initiator, acceptor)),
            (Some(initiator), None) => Some(TraitKey::Opening(initiator)),
            (None, _) => None,
        };
        starts.into_iter().chain(self.fingerprint.map(TraitKey::Handshake)).collect()
    }

    /// Whether it is the connection that a set of others is, with other addresses.
    fn is_one_of(&self, set: &[(Group, Self)]) -> bool {
        set.len() < MOST_SIDES
            && set.iter().all(|(_, other)| !self.contradicts(other))
            && set.iter().any(|(_, other)| self.shows_the_same(other))
    }

    fn contradicts(&self, other: &Self) -> bool {
        fn differ<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
            a.zip(b).is_some_and(|(a, b)| a != b)
        }
        let other_starts = Role::BOTH
            .into_iter()
            .any(|role| differ(self.starts[role].as_ref(), other.starts[role].as_ref()));
        self.ends == other.ends
            || !self.is_at_the_time_of(other)
            || other_starts
            || differ(self.fingerprint.as_ref(), other.fingerprint.as_ref())
            || self.requests.is_some() != other.requests.is_some()
            || self.asks_others(other)
    }

    /// Whether both asked EPMD, and nothing alike.
    fn asks_others(&self, other: &Self) -> bool {
        let (Some(own), Some(other)) = (&self.requests, &other.requests) else { return false };
        !own.is_empty() && !other.is_empty() && !own.iter().any(|it| other.contains(it))
    }

    fn is_at_the_time_of(&self, other: &Self) -> bool {
        let is_soon = |from: Timestamp, until: Timestamp| from.since(until) <= APART;
        is_soon(self.span.0, other.span.1) && is_soon(other.span.0, self.span.1)
    }

    /// Whether random numbers of both agree: 64 bits by the sequence numbers of both sides, or by the handshake and one of
    /// them. Of a connection that nothing accepted there is one sequence number; there the acceptor has to be the same as
    /// well: a scanner has one number and one port of its own for all hosts.
    fn shows_the_same(&self, other: &Self) -> bool {
        let [initiator, acceptor] = Role::BOTH
            .map(|role| self.starts[role].is_some() && self.starts[role] == other.starts[role]);
        let is_one_handshake = self.fingerprint.is_some() && self.fingerprint == other.fingerprint;
        let is_unaccepted = |it: &Self| it.starts.acceptor.is_none() && it.fingerprint.is_none();
        let is_one_acceptor = self.ends.acceptor == other.ends.acceptor;
        initiator && acceptor
            || is_one_handshake && (initiator || acceptor)
            || initiator && is_unaccepted(self) && is_unaccepted(other) && is_one_acceptor
    }
}

/// Both ends of a request to EPMD, the client first.
fn of_ids(ids: &ConnectionIds) -> PerRole<Endpoint> {
    PerRole {
        initiator: Endpoint { ip: ids.src_ip, port: ids.src_port },
        acceptor: Endpoint { ip: ids.dest_ip, port: ids.dest_port },
    }
}

const fn is_certain(seen: &Observation) -> bool {
    matches!(seen.orientation, Orientation::Syn | Orientation::Handshake)
}

/// One connection of all that a set shows. Its ends are the initiator's where a sensor is nearest to the initiator, and the
/// acceptor's where one is nearest to the acceptor: the addresses that the two nodes themselves have, as far as seen.
fn one_of(set: Vec<(Group, Traits)>, translators: &mut Translators) -> Option<(Group, Traits)> {
    let ends = ends_of_nodes(&set)?;
    let mut others: Vec<_> = set.iter().map(|(_, it)| it.ends).filter(|it| *it != ends).collect();
    others.sort_unstable_by_key(|it| [it.initiator, it.acceptor]);
    others.iter().for_each(|other| translators.add(&ends, other));
    let mut set = set.into_iter();
    let (mut group, mut traits) = set.next()?;
    let with_ends = |group: &mut Group, ends| {
        let views = std::mem::take(&mut group.views);
        views.into_iter().map(move |view| (ends, view)).collect::<Vec<_>>()
    };
    let mut views = with_ends(&mut group, traits.ends);
    for (mut other, its) in set {
        views.extend(with_ends(&mut other, its.ends));
        traits.add(&its);
    }
    // The fullest view first. It names the connection, if it has these ends; and of what one sensor saw on both sides, one
    // view is as good as the other.
    views.sort_by_key(|(own, view)| {
        Reverse((*own == ends, view.fullness(), [own.initiator, own.acceptor]))
    });
    let (own, first) = views.first()?;
    let is_turned = of_ids(&first.ids).initiator != own.initiator;
    let [src, dest] =
        if is_turned { [ends.acceptor, ends.initiator] } else { [ends.initiator, ends.acceptor] };
    let ids = Arc::new(ConnectionIds {
        community_id: community_id(src, dest),
        src_ip: src.ip,
        src_port: src.port,
        dest_ip: dest.ip,
        dest_port: dest.port,
        ..(*first.ids).clone()
    });
    let detail = format!(
        "the same sequence numbers were seen between {}: addresses are translated on the way",
        listed(&others)
    );
    group.notes.push(Anomaly::new(AnomalyKind::AddressTranslated, detail));
    for (_, mut view) in views {
        view.observations().for_each(|seen| seen.ends = ends);
        view.ids = Arc::clone(&ids);
        let is_new = group.views.iter().all(|known| known.rank != view.rank);
        if is_new { group.views.push(view) } else { group.doubles.push(view) }
    }
    group.ids = Some(ids);
    traits.ends = ends;
    Some((group, traits))
}

impl Traits {
    /// Takes in what the other side of a translation shows.
    fn add(&mut self, other: &Self) {
        for role in Role::BOTH {
            self.starts[role] = self.starts[role].or(other.starts[role]);
        }
        self.fingerprint = self.fingerprint.or(other.fingerprint);
        self.span = (self.span.0.min(other.span.0), self.span.1.max(other.span.1));
        for (wait, own) in self.waits.iter_mut().zip(other.waits) {
            let all = [*wait, own].into_iter().flatten();
            *wait = all.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1)));
        }
    }
}

/// The ends as the sensors nearest to each of them have them. Who sends waits for the answer the longer the nearer a sensor
/// is to it, on any clock. Without an answer the first sight of the connection decides.
fn ends_of_nodes(set: &[(Group, Traits)]) -> Option<PerRole<Endpoint>> {
    let all = || set.iter().map(|(_, traits)| traits);
    // Only what every one of them has can be compared.
    let is_comparable = |at: &usize| all().all(|it| it.wait(*at).is_some());
    let pairs: Vec<usize> = (0..PAIRS).filter(is_comparable).collect();
    let waits = |it: &Traits| pairs.iter().filter_map(|at| it.wait(*at)).collect::<Vec<_>>();
    let longest = |it: &Traits| waits(it).iter().map(|(longest, _)| *longest).collect::<Vec<_>>();
    let shortest = |it: &Traits| waits(it).iter().map(|(_, it)| *it).collect::<Vec<_>>();
    let initiator =
        all().max_by_key(|it| (longest(it), Reverse(it.span.0), Reverse(it.ends.initiator)))?;
    let acceptor = all().min_by_key(|it| (shortest(it), Reverse(it.span.0), it.ends.acceptor))?;
    Some(PerRole { initiator: initiator.ends.initiator, acceptor: acceptor.ends.acceptor })
}

/// Notes where a handshake was seen on several connections. A proxy answers with what it was sent, so nothing but the
/// handshake is the same; a translator that chooses sequence numbers anew looks the same. The times are not compared: no
/// connection is in common by which the clocks of the two sides could be, and no two handshakes have one fingerprint.
fn note_relays(groups: &mut [(Group, Traits)]) {
    let mut by_handshake: HashMap<u64, Vec<usize>, RandomState> = HashMap::default();
    for (number, (_, traits)) in groups.iter().enumerate() {
        let Some(fingerprint) = traits.fingerprint else { continue };
        let legs = by_handshake.entry(fingerprint).or_default();
        if legs.len() < MOST_SIDES {
            legs.push(number);
        }
    }
    for legs in by_handshake.into_values().filter(|legs| legs.len() > 1) {
        let of = |number: &usize| groups.get(*number);
        let legs: Vec<_> = legs.iter().filter_map(|it| Some((*it, of(it)?))).collect();
        if !sees_more_than_one(legs.iter().map(|(_, (group, _))| group)) {
            continue;
        }
        let mut found = Vec::new();
        for (number, (_, own)) in &legs {
            let others = legs.iter().map(|(_, (_, other))| other);
            let mut others: Vec<_> = others.filter(|other| other.ends != own.ends).collect();
            others.sort_unstable_by_key(|it| [it.ends.initiator, it.ends.acceptor]);
            let passed_on =
                PerRole::from_fn(|role| others.iter().any(|other| own.has_behind(role, other)));
            if !others.is_empty() {
                let ends: Vec<_> = others.iter().map(|it| it.ends).collect();
                found.push((*number, passed_on, listed(&ends)));
            }
        }
        for (number, passed_on, others) in found {
            let Some((group, _)) = groups.get_mut(number) else { continue };
            let detail = format!(
                "it was also seen between {others}: a proxy passes it on, or a translator changes addresses and \
                 sequence numbers; it is unknown which"
            );
            group.notes.push(Anomaly::new(AnomalyKind::SameHandshake, detail));
            for view in &mut group.views {
                view.observations().for_each(|seen| seen.passed_on = passed_on);
            }
        }
    }
}

impl Traits {
    /// Whether the node in this role is behind another leg of its connection. The leg nearer to the initiator waits longer
    /// for the challenge; where that is not known, every side with another address may be one that passes on.
    fn has_behind(&self, role: Role, other: &Self) -> bool {
        let is_nearer = self.wait(1).zip(other.wait(1)).and_then(|((own, _), (other, _))| {
            (own != other).then_some((own > other) == (role == Role::Initiator))
        });
        self.ends[role].ip != other.ends[role].ip && !is_nearer.unwrap_or(false)
    }
}

/// The ends of connections, in a sentence.
fn listed(all: &[PerRole<Endpoint>]) -> String {
    let one =
        |it: &PerRole<Endpoint>| format!("{} and {}", shown(it.initiator), shown(it.acceptor));
    all.iter().map(one).collect::<Vec<_>>().join(", and between ")
}

fn shown(end: Endpoint) -> std::net::SocketAddr {
    std::net::SocketAddr::new(end.ip, end.port)
}

/// Requests of one connection that are compared with those of another: EPMD answers one, and closes.
const MOST_REQUESTS: usize = 16;

/// Sides of translators, or legs of proxies, that one connection has.
const MOST_SIDES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// A connection between two ends with these sequence numbers and this fingerprint, from 1 to 2 s.
    fn seen(
        ends: [&str; 2],
        starts: [Option<u32>; 2],
        fingerprint: Option<u64>,
        requests: Option<&str>,
    ) -> Traits {
        let end = |text: &str| {
            let end: std::net::SocketAddr = text.parse().unwrap();
            Endpoint { ip: end.ip(), port: end.port() }
        };
        let requests = requests.map(|name| vec![(EpmdTag::PORT_PLEASE2_REQ, Some(name.into()))]);
        Traits {
            ends: PerRole { initiator: end(ends[0]), acceptor: end(ends[1]) },
            starts: PerRole { initiator: starts[0], acceptor: starts[1] },
            fingerprint,
            requests,
            span: (Timestamp(1_000_000_000), Timestamp(2_000_000_000)),
            waits: [None; PAIRS],
        }
    }

    const INSIDE: [&str; 2] = ["10.1.0.2:4000", "10.2.0.2:9100"];
    const OUTSIDE: [&str; 2] = ["10.2.0.1:5000", "10.2.0.2:9100"];
    const ELSEWHERE: [&str; 2] = ["10.2.0.1:5000", "10.2.0.3:9100"];

    fn is_one(a: &Traits, b: &Traits) -> bool {
        !a.contradicts(b) && a.shows_the_same(b)
    }

    #[test]
    fn one_connection_has_the_same_sequence_numbers_or_one_of_them_and_the_handshake() {
        let inside = |starts, fingerprint| seen(INSIDE, starts, fingerprint, None);
        let outside = |starts, fingerprint| seen(OUTSIDE, starts, fingerprint, None);
        let (both, first, last) = ([Some(1), Some(2)], [Some(1), None], [None, Some(2)]);
        assert!(is_one(&inside(both, None), &outside(both, None)));
        assert!(is_one(&inside(both, Some(7)), &outside(last, Some(7))));
        assert!(is_one(&inside(first, Some(7)), &outside(both, Some(7))));
        assert!(!is_one(&inside(first, None), &outside(both, None)), "32 bits of an accepted one");
        assert!(!is_one(&inside([None; 2], Some(7)), &outside(both, Some(7))), "may be a proxy");
        assert!(!is_one(&inside(both, Some(7)), &outside([Some(1), Some(3)], Some(7))), "a proxy");
        assert!(!is_one(&inside(both, Some(7)), &outside(both, Some(8))), "another handshake");
        assert!(!is_one(&inside(both, None), &inside(both, None)), "the same addresses");
        let mut later = outside(both, Some(7));
        later.span = (Timestamp(9_000_000_000), Timestamp(9_500_000_000));
        assert!(!is_one(&inside(both, Some(7)), &later));
    }

    #[test]
    fn what_nothing_accepted_needs_the_same_acceptor() {
        let first = [Some(1), None];
        let inside = seen(INSIDE, first, None, None);
        assert!(is_one(&inside, &seen(OUTSIDE, first, None, None)));
        assert!(!is_one(&inside, &seen(ELSEWHERE, first, None, None)));
        let scanned = ["10.1.0.2:4000", "10.2.0.3:9100"];
        assert!(!is_one(&inside, &seen(scanned, first, None, None)), "one scanner, two hosts");
    }

    #[test]
    fn requests_to_epmd_are_one_by_what_they_ask() {
        let both = [Some(1), Some(2)];
        let of = |ends, name| seen(ends, both, None, name);
        assert!(is_one(&of(INSIDE, Some("a")), &of(OUTSIDE, Some("a"))));
        assert!(!is_one(&of(INSIDE, Some("a")), &of(OUTSIDE, Some("b"))));
        assert!(!is_one(&of(INSIDE, Some("a")), &of(OUTSIDE, None)), "no request to EPMD");
    }

    #[test]
    fn the_leg_that_waits_longer_is_nearer_to_the_dialing_node() {
        let (mut dialer, mut acceptor) =
            (seen(INSIDE, [None; 2], None, None), seen(ELSEWHERE, [None; 2], None, None));
        let roles =
            |own: &Traits, other: &Traits| Role::BOTH.map(|role| own.has_behind(role, other));
        assert_eq!(roles(&dialer, &acceptor), [true, true], "not known which");
        dialer.waits[1] = Some((90, 90));
        acceptor.waits[1] = Some((50, 50));
        assert_eq!(roles(&dialer, &acceptor), [false, true]);
        assert_eq!(roles(&acceptor, &dialer), [true, false]);
    }
}
