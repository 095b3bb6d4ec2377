//! The endpoints that accepted connections, and the EPMDs that answered, as far as the capture shows.
//!
//! In: judged connections and EPMD requests. Out: what a refusal has to be compared with. A port that accepted a
//! connection and refuses the next one need not be closed: a packet filter answers with RST as well.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::alive_of;
use crate::decode::Endpoint;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::{BoundedMap, Limits};
use crate::observe::{EpmdObservation, EpmdOutcome, Orientation, Role, Settled, State};
use crate::packet::PacketRef;

/// The endpoints that accepted a connection.
#[derive(Debug)]
pub struct Reach {
    ends: BoundedMap<Endpoint, AcceptedHere>,
    /// Addresses at which a port accepted connections, at most [`MAX_SAME_PORT`] of each port.
    by_port: HashMap<u16, Vec<IpAddr>, RandomState>,
    /// Addresses of nodes by alive name, at most [`MAX_ADDRESSES`] of each.
    nodes: BoundedMap<Arc<str>, Vec<SeenAt>>,
    epmds: BoundedMap<IpAddr, Vec<EpmdAnswer>>,
}

/// A connection that an endpoint accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The packet that shows it: the SYN-ACK, or the first packet of a connection that was open before.
    pub mark: PacketRef,
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
    /// Name of the node that accepted it, if it was seen.
    pub node: Option<Arc<str>>,
}

/// An address at which a node sent its name.
#[derive(Clone, Debug)]
pub struct SeenAt {
    /// Full name of the node.
    pub node: Arc<str>,
    /// Its address on that connection.
    pub ip: IpAddr,
    /// The packet with its name.
    pub mark: PacketRef,
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
}

/// An answer of an EPMD.
#[derive(Clone, Debug)]
pub struct EpmdAnswer {
    /// Port on which that EPMD listens.
    pub port: u16,
    /// The packet with the answer.
    pub mark: PacketRef,
    /// The `session_id` of the connection to it.
    pub session_id: Arc<str>,
}

/// What an endpoint accepted.
#[derive(Debug, Default)]
struct AcceptedHere {
    /// The last one, by time; every entry has it.
    last: Option<Accepted>,
    /// Connections that are open, at most [`MAX_OPEN`].
    open: Vec<Accepted>,
}

impl Reach {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            ends: BoundedMap::new(limits.ports),
            by_port: HashMap::default(),
            nodes: BoundedMap::new(limits.ports),
            epmds: BoundedMap::new(limits.ports),
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.ends.evictions() + self.nodes.evictions() + self.epmds.evictions()
    }

    /// The last connection that `end` accepted.
    pub fn accepted(&self, end: Endpoint) -> Option<&Accepted> {
        self.ends.get(&end)?.last.as_ref()
    }

    /// A connection to `end` that is open.
    pub fn open(&self, end: Endpoint) -> Option<&Accepted> {
        self.ends.get(&end)?.open.first()
    }

    /// A connection that a node with this alive name accepted on the same port at another address, and the address.
    pub fn elsewhere(&self, alive: &str, end: Endpoint) -> Option<(IpAddr, &Accepted)> {
        let others = self.by_port.get(&end.port)?.iter().filter(|ip| **ip != end.ip);
        others.into_iter().find_map(|ip| {
            let accepted = self.accepted(Endpoint { ip: *ip, port: end.port })?;
            let is_named = accepted.node.as_deref().and_then(alive_of) == Some(alive);
            is_named.then_some((*ip, accepted))
        })
    }

    /// Where the only node with this alive name was seen, if every address is of the other family than `ip`.
    pub fn only_in_other_family(&self, alive: &str, ip: IpAddr) -> Option<&SeenAt> {
        let seen = self.nodes.get(alive)?;
        let first = seen.first()?;
        let fits = |it: &SeenAt| it.node == first.node && it.ip.is_ipv4() != ip.is_ipv4();
        let is_bounded = seen.len() < MAX_ADDRESSES;
        (is_bounded && seen.iter().all(fits)).then_some(first)
    }

    /// The last answer of the EPMD at `end`.
    pub fn epmd(&self, end: Endpoint) -> Option<&EpmdAnswer> {
        self.epmds.get(&end.ip)?.iter().find(|answer| answer.port == end.port)
    }

    /// The last answer of an EPMD on the same host that listens on another port.
    pub fn epmd_on_other_port(&self, end: Endpoint) -> Option<&EpmdAnswer> {
        let others = self.epmds.get(&end.ip)?.iter().filter(|answer| answer.port != end.port);
        others.max_by_key(|answer| answer.mark.at)
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        let seen = &it.seen;
        for role in Role::BOTH {
            self.on_name(it, role);
        }
        let syn_ack = seen.tcp.sides.acceptor.syn.map(|syn| syn.mark);
        let is_accepted = !matches!(it.outcome(), Outcome::Refused | Outcome::Unanswered)
            && (syn_ack.is_some() && seen.tcp.is_answer_taken()
                || it.outcome() == Outcome::Connected);
        if !is_accepted {
            return;
        }
        let is_open = it.outcome() == Outcome::Connected && it.state() == State::Established;
        // Without the opening, either end may be the one that listens.
        let is_oriented = seen.orientation != Orientation::Guess;
        let ends = Role::BOTH.into_iter().filter(|role| !is_oriented || *role == Role::Acceptor);
        for role in ends {
            let accepted = Accepted {
                mark: syn_ack.unwrap_or(seen.tcp.first),
                session_id: Arc::clone(it.session_id()),
                node: it.name(role).cloned(),
            };
            self.on_accepted(seen.ends[role], accepted, is_open);
        }
    }

    fn on_accepted(&mut self, end: Endpoint, accepted: Accepted, is_open: bool) {
        let (listener, forgotten) = self.ends.entry(&end);
        let is_new = listener.last.is_none();
        listener.open.retain(|it| it.session_id != accepted.session_id);
        if is_open && listener.open.len() < MAX_OPEN {
            listener.open.push(accepted.clone());
        }
        if listener.last.as_ref().is_none_or(|last| accepted.mark.at >= last.mark.at) {
            listener.last = Some(accepted);
        }
        if let Some((oldest, _)) = forgotten
            && let Some(ips) = self.by_port.get_mut(&oldest.port)
        {
            ips.retain(|ip| *ip != oldest.ip);
            if ips.is_empty() {
                self.by_port.remove(&oldest.port);
            }
        }
        if is_new {
            let ips = self.by_port.entry(end.port).or_default();
            if ips.len() < MAX_SAME_PORT {
                ips.push(end.ip);
            }
        }
    }

    fn on_name(&mut self, it: &JudgedConnection, role: Role) {
        let Some((node, mark)) = it.name(role).zip(it.seen.hello(role)) else { return };
        let Some(alive) = alive_of(node) else { return };
        let ip = it.ip(role);
        let (seen, _) = self.nodes.entry(&alive.into());
        if seen.len() < MAX_ADDRESSES && !seen.iter().any(|it| it.ip == ip && it.node == *node) {
            let (node, session_id) = (Arc::clone(node), Arc::clone(it.session_id()));
            seen.push(SeenAt { node, ip, mark, session_id });
        }
    }

    pub(super) fn on_epmd(&mut self, settled: &Settled, epmd: &EpmdObservation) {
        use EpmdOutcome::{Answered, NotRegistered, RegistrationRefused};
        let is_answer = matches!(epmd.outcome, Answered | NotRegistered | RegistrationRefused);
        let Some(mark) = epmd.seen.reply.filter(|_| is_answer) else { return };
        let ids = &settled.connection;
        let session_id = Arc::clone(&ids.session_id);
        let answer = EpmdAnswer { port: ids.dest_port, mark, session_id };
        let (known, _) = self.epmds.entry(&ids.dest_ip);
        known.retain(|other| other.port != answer.port);
        known.push(answer);
        if known.len() > MAX_SAME_PORT {
            known.remove(0);
        }
    }
}

/// Addresses kept for one port, and EPMDs kept for one host: a few show what they have in common.
const MAX_SAME_PORT: usize = 16;

/// Addresses kept of the nodes with one alive name.
const MAX_ADDRESSES: usize = 8;

/// Open connections kept for one endpoint: one is enough to show that it lives, and the others may close first.
const MAX_OPEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";

    fn end(last: u8) -> Endpoint {
        Endpoint { ip: [10, 0, 0, last].into(), port: 9100 }
    }

    fn reach() -> Reach {
        Reach::new(&Limits::default())
    }

    #[test]
    fn an_open_connection_shows_that_its_port_lives_until_it_is_closed() {
        let mut known = reach();
        known.on_session(&dial(0, A, B).judged());
        assert!(known.open(end(2)).is_some() && known.accepted(end(2)).is_some());
        assert!(known.accepted(end(1)).is_none(), "only the acceptor listens");
        known.on_session(&dial(0, A, B).closed(5000, [10; 2]).judged());
        assert!(known.open(end(2)).is_none() && known.accepted(end(2)).is_some());
    }

    #[test]
    fn a_refused_or_unanswered_dial_shows_no_listener() {
        let mut known = reach();
        for outcome in [Outcome::Refused, Outcome::Unanswered] {
            known.on_session(&dial(0, A, B).fails(outcome).judged());
        }
        assert!(known.accepted(end(2)).is_none());
    }

    #[test]
    fn without_the_opening_either_end_may_be_the_listener() {
        let mut known = reach();
        let mut judged = dial(0, A, B).judged();
        judged.seen.orientation = Orientation::Guess;
        judged.seen.ends.initiator.port = 9100;
        known.on_session(&judged);
        assert!(known.open(end(1)).is_some() && known.open(end(2)).is_some());
    }

    #[test]
    fn the_same_node_is_found_at_another_address_by_its_alive_name_and_port() {
        let mut known = reach();
        known.on_session(&dial(0, A, B).judged());
        let (ip, accepted) = known.elsewhere("b", end(7)).unwrap();
        assert_eq!((ip, accepted.node.as_deref()), (end(2).ip, Some("b@h2")));
        assert!(known.elsewhere("b", end(2)).is_none());
        assert!(known.elsewhere("c", end(7)).is_none());
    }

    #[test]
    fn a_node_that_was_seen_over_one_family_alone_is_distinguished_from_one_with_both() {
        let mut known = reach();
        known.on_session(&dial(0, A, B).judged());
        let dialed = "fd00::2".parse().unwrap();
        let seen = known.only_in_other_family("b", dialed).unwrap();
        assert_eq!((&*seen.node, seen.ip), ("b@h2", end(2).ip));
        assert!(known.only_in_other_family("b", end(9).ip).is_none());
        known.on_session(&dial(0, A, "b@h3/10.0.0.3/1").judged());
        assert!(known.only_in_other_family("b", dialed).is_none(), "two nodes of that name");
    }

    #[test]
    fn the_oldest_endpoint_is_forgotten_first() {
        let mut known = Reach::new(&Limits { ports: 2, ..Limits::default() });
        for last in 2..5 {
            known.on_session(&dial(0, A, &format!("b@h/10.0.0.{last}/1")).judged());
        }
        assert!(known.accepted(end(2)).is_none() && known.elsewhere("b", end(9)).is_some());
        assert_eq!((known.ends.len(), known.evictions()), (2, 1));
    }
    #[test]
    fn what_is_forgotten_of_endpoints_names_and_mappers_is_counted_together() {
        let mut known = Reach::new(&Limits { ports: 1, ..Limits::default() });
        known.on_session(&dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").judged());
        assert_eq!((known.ends.evictions(), known.nodes.evictions()), (0, 1));
        known.on_session(&dial(9, "b@h2/10.0.0.2/1", "b@h3/10.0.0.3/1").judged());
        assert_eq!((known.ends.evictions(), known.evictions()), (1, 2));
        known.epmds.entry(&end(1).ip);
        known.epmds.entry(&end(2).ip);
        assert_eq!(known.evictions(), 3);
    }
}
