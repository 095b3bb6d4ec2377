//! What shows that a problem is over.
//!
//! In: judged connections and EPMD requests. Out: the [`Ending`]s that each of them is. A rule gives the endings of its
//! problem with [`Detection::ended_by`](super::Detection::ended_by), and `super::incidents` compares the two.

use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::Endpoint;
use crate::judge::world::alive_of;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Opening, Role, Settled, State};
use crate::packet::FrameRef;
use crate::record::{SettledBy, Severity};
use crate::time::Timestamp;

/// What ends a problem.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum EndedBy {
    /// The two nodes of the finding connect, whichever dials. Nothing, if the finding is not about two nodes.
    #[default]
    NodesConnect,
    /// Any one of these. An incident with several detections is over when each of them is.
    Any(Vec<Ending>),
    /// Nothing that a capture shows: the finding is about an event, or about how something is set up. Findings of
    /// severity info are always so.
    Nothing,
}

impl EndedBy {
    /// The endings for a finding about these nodes with this severity.
    pub(super) fn endings(self, nodes: &[Arc<str>], severity: Severity) -> Vec<Ending> {
        match (self, nodes) {
            _ if severity == Severity::Info => Vec::new(),
            (Self::Any(endings), _) => endings,
            (Self::NodesConnect, [a, b]) => {
                let [a, b] = [a, b].map(|name| KnownAs::Name(Arc::clone(name)));
                vec![Ending::connect(a, b)]
            }
            (Self::NodesConnect | Self::Nothing, _) => Vec::new(),
        }
    }
}

/// An event that shows that a problem is over. It counts only if it is later than the problem.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Ending {
    /// The two nodes connect, whichever dials. In ascending order; [`Ending::connect`] takes any order.
    Connect([KnownAs; 2]),
    /// Some node connects to this one.
    IsDialed(KnownAs),
    /// A node registers this name with this EPMD.
    Registers {
        /// The host of EPMD.
        host: Host,
        /// The port of EPMD.
        port: u16,
        /// The alive name of the node.
        name: Arc<str>,
    },
    /// This EPMD knows this name: a node registers it, EPMD gives its port, or lists it.
    IsRegistered {
        /// The host of EPMD.
        host: Host,
        /// The port of EPMD.
        port: u16,
        /// The alive name of the node.
        name: Arc<str>,
    },
    /// This EPMD replies, to this client or, without one, to anybody.
    EpmdReplies {
        /// The host of EPMD.
        host: Host,
        /// The port of EPMD.
        port: u16,
        /// The host that asks.
        client: Option<Host>,
    },
    /// A port of a node accepts a TCP connection, from this client or, without one, from anybody.
    Accepts {
        /// The host of the node.
        host: Host,
        /// The port of the node.
        port: u16,
        /// The host that dials.
        client: Option<Host>,
    },
}

/// A node, by what is known of it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KnownAs {
    /// By its full name.
    Name(Arc<str>),
    /// By its alive name and its host: the name that was looked up.
    Alive(Arc<str>, Host),
    /// Any node of a host.
    AnyOf(Host),
}

/// A host by one of its addresses. All loopback addresses of one input are one host, and those of another input are
/// another host.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// The host with this address.
    At(IpAddr),
    /// The host that dials itself in this input.
    Loopback(Option<u16>),
}

impl Host {
    /// The host with address `ip` in the input of `settled`.
    pub fn of(ip: IpAddr, settled: &Settled) -> Self {
        if ip.is_loopback() { Self::Loopback(settled.host()) } else { Self::At(ip) }
    }
}

impl KnownAs {
    /// The node in this role of a connection: by its name, else by the name that was looked up, else by its host.
    pub fn of(it: &JudgedConnection, role: Role) -> Self {
        let host = Host::of(it.ip(role), &it.settled);
        let lookup = it.verdict.lookup.as_ref().filter(|_| role == Role::Acceptor);
        match (it.label(role), lookup) {
            (Some(label), _) => Self::Name(label),
            (None, Some(lookup)) => Self::Alive(Arc::clone(&lookup.asked), host),
            (None, None) => Self::AnyOf(host),
        }
    }

    /// The node that the initiator wanted: by the name that was looked up, else as [`Self::of`] has it.
    pub fn wanted(it: &JudgedConnection) -> Self {
        let host = Host::of(it.acceptor_end().ip, &it.settled);
        match &it.verdict.lookup {
            Some(lookup) => Self::Alive(Arc::clone(&lookup.asked), host),
            None => Self::of(it, Role::Acceptor),
        }
    }

    /// All that the node in this role of a connection may be known as.
    fn all_of(it: &JudgedConnection, role: Role) -> Vec<Self> {
        let host = Host::of(it.ip(role), &it.settled);
        let over_tls = it.dialed_over_tls().filter(|_| role == Role::Acceptor);
        let (name, label) = (it.name(role), it.label(role).or(over_tls));
        let lookup = it.verdict.lookup.as_ref().filter(|_| role == Role::Acceptor);
        let asked = lookup.map(|lookup| &*lookup.asked);
        let alive = name.and_then(|name| alive_of(name));
        let mut all = vec![Self::AnyOf(host)];
        all.extend(label.map(Self::Name));
        all.extend(alive.map(|alive| Self::Alive(alive.into(), host)));
        all.extend(
            asked.filter(|asked| Some(*asked) != alive).map(|it| Self::Alive(it.into(), host)),
        );
        all
    }
}

impl Ending {
    /// These two nodes connect, whichever dials.
    pub fn connect(a: KnownAs, b: KnownAs) -> Self {
        Self::Connect(if a <= b { [a, b] } else { [b, a] })
    }

    /// The nodes of this connection connect.
    pub fn connection_of(it: &JudgedConnection) -> Self {
        let [a, b] = Role::BOTH.map(|role| KnownAs::of(it, role));
        Self::connect(a, b)
    }

    /// The port that was dialed accepts a connection: `from_same_host` from the host that dialed, else from anybody.
    pub fn accepted(it: &JudgedConnection, from_same_host: bool) -> Self {
        let Endpoint { ip, port } = it.acceptor_end();
        let client = Host::of(it.ip(Role::Initiator), &it.settled);
        let client = Some(client).filter(|_| from_same_host);
        Self::Accepts { host: Host::of(ip, &it.settled), port, client }
    }

    /// A node registers `name` with the EPMD that was asked.
    pub fn registers(settled: &Settled, name: &Arc<str>) -> Self {
        let (host, port) = server(settled);
        Self::Registers { host, port, name: Arc::clone(name) }
    }

    /// The EPMD that was asked knows `name`.
    pub fn is_registered(settled: &Settled, name: &Arc<str>) -> Self {
        let (host, port) = server(settled);
        Self::IsRegistered { host, port, name: Arc::clone(name) }
    }

    /// The EPMD that was asked replies: `to_same_host` to the host that asked, else to anybody.
    pub fn reply(settled: &Settled, to_same_host: bool) -> Self {
        let (host, port) = server(settled);
        let client = Host::of(settled.connection.src_ip, settled);
        Self::EpmdReplies { host, port, client: Some(client).filter(|_| to_same_host) }
    }

    /// How a record names this ending.
    pub(super) const fn settled_by(&self) -> SettledBy {
        match self {
            Self::Connect(_) | Self::IsDialed(_) => SettledBy::Connected,
            Self::Registers { .. } | Self::IsRegistered { .. } => SettledBy::Registered,
            Self::EpmdReplies { .. } => SettledBy::EpmdReplied,
            Self::Accepts { .. } => SettledBy::Accepted,
        }
    }
}

/// Host and port of the EPMD that was asked.
fn server(settled: &Settled) -> (Host, u16) {
    let ids = &settled.connection;
    (Host::of(ids.dest_ip, settled), ids.dest_port)
}

/// Something that may end problems.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    /// The problems that it may end.
    pub(super) ends: Vec<Ending>,
    pub(super) at: Timestamp,
    /// The packet that shows it, if one does.
    pub(super) frame: Option<FrameRef>,
    /// False if the capture does not show whether it happened: an attempt without a known outcome.
    pub(super) is_certain: bool,
}

impl Happened {
    /// What a connection may end: its port accepted it, and its nodes connected.
    pub(super) fn of_session(it: &JudgedConnection) -> impl Iterator<Item = Self> {
        [Self::accepted(it), Self::connected(it)].into_iter().flatten()
    }

    fn accepted(it: &JudgedConnection) -> Option<Self> {
        let syn_ack = it.seen.tcp.sides[Role::Acceptor].syn?;
        let is_taken = it.seen.tcp.is_answer_taken();
        if it.seen.tcp.opening != Opening::Answered || !is_taken || it.is_repeated {
            return None;
        }
        let ends = [true, false].map(|from_same_host| Ending::accepted(it, from_same_host));
        let (at, frame) = (syn_ack.mark.at, Some(syn_ack.mark.frame));
        Some(Self { ends: ends.into(), at, frame, is_certain: true })
    }

    fn connected(it: &JudgedConnection) -> Option<Self> {
        let link = it.verdict.tls_link.filter(|_| !it.is_repeated);
        // A connection that was open when the capture began was made at a time that is not known.
        let was_made = Role::BOTH.iter().any(|role| it.seen.hello(*role).is_some())
            || it.seen.tcp.sides.each().any(|(_, side)| side.syn.is_some());
        let is_certain = it.has_just_connected() && was_made || link.is_some();
        // Of a SYN without an answer, nothing shows that it was of that host.
        let is_answered = it.seen.tcp.opening != Opening::Unanswered;
        let is_unknown = matches!(it.outcome(), Outcome::Incomplete | Outcome::Tls)
            && is_answered
            && it.state() != State::Established;
        if !is_certain && !is_unknown {
            return None;
        }
        let [ours, theirs] = Role::BOTH.map(|role| KnownAs::all_of(it, role));
        let pairs = ours
            .iter()
            .flat_map(|one| theirs.iter().map(|other| Ending::connect(one.clone(), other.clone())));
        let mut ends: Vec<_> = pairs.collect();
        ends.extend(theirs.iter().cloned().map(Ending::IsDialed));
        let (at, frame) = match link {
            Some(link) => (link.at, Some(link.frame)),
            None if is_certain => (it.at(), it.settled.frame),
            None => (it.seen.tcp.first.at, it.settled.frame),
        };
        Some(Self { ends, at, frame, is_certain })
    }

    /// What an EPMD request may end: EPMD replied, and the name is registered.
    pub(super) fn of_epmd(settled: &Settled, epmd: &EpmdObservation) -> Option<Self> {
        let replied = match epmd.outcome {
            EpmdOutcome::Answered
            | EpmdOutcome::NotRegistered
            | EpmdOutcome::RegistrationRefused
            | EpmdOutcome::CommandRefused => epmd.seen.reply,
            _ => return None,
        };
        let mut ends = vec![Ending::reply(settled, true), Ending::reply(settled, false)];
        if epmd.outcome == EpmdOutcome::Answered {
            let known = epmd.name.iter().filter(|_| epmd.port.is_some());
            let listed = epmd.names.iter().flatten().map(|listed| &listed.name);
            ends.extend(known.chain(listed).map(|name| Ending::is_registered(settled, name)));
            let registers = epmd.request == Some(EpmdTag::ALIVE2_REQ);
            let new = epmd.name.iter().filter(|_| registers);
            ends.extend(new.map(|name| Ending::registers(settled, name)));
        }
        let (at, frame) = match replied {
            Some(mark) => (mark.at, Some(mark.frame)),
            None => (settled.at, settled.frame),
        };
        Some(Self { ends, at, frame, is_certain: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{at, dial, lookup, mark};
    use crate::observe::SynFacts;

    #[test]
    fn a_port_that_accepts_ends_problems_once_and_only_if_its_answer_was_taken() {
        let accepts = |change: fn(&mut JudgedConnection)| {
            let mut it = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged();
            let syn = SynFacts { mark: mark(0), count: 1, last: at(0) };
            it.seen.tcp.sides =
                it.seen.tcp.sides.map(|side| crate::observe::TcpSide { syn: Some(syn), ..side });
            it.seen.tcp.round_trip = Some(std::time::Duration::from_millis(1));
            change(&mut it);
            Happened::accepted(&it).is_some()
        };
        assert!(accepts(|_| {}));
        assert!(!accepts(|it| it.is_repeated = true));
        assert!(!accepts(|it| it.seen.tcp.round_trip = None), "the dialing side did not go on");
        assert!(!accepts(|it| it.seen.tcp.opening = Opening::Unanswered));
        assert!(!accepts(|it| it.seen.tcp.sides.acceptor.syn = None));
    }

    #[test]
    fn a_node_without_a_name_is_known_by_the_name_that_was_looked_up_or_by_its_host() {
        let mut it = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged();
        assert_eq!(KnownAs::of(&it, Role::Acceptor), KnownAs::Name("b@h2".into()));
        it.forget_names();
        it.verdict.lookup = Some(lookup("b", 1));
        let host = |n: u8| Host::At([10, 0, 0, n].into());
        assert_eq!(KnownAs::of(&it, Role::Acceptor), KnownAs::Alive("b".into(), host(2)));
        assert_eq!(KnownAs::of(&it, Role::Initiator), KnownAs::AnyOf(host(1)));
    }
}
