//! The recent dials, and the names of listening nodes. Crossing dials, shared names and cookie guesses are detected
//! from them.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{PriorLookup, alive_of};
use crate::decode::Endpoint;
use crate::judge::JudgedConnection;
use crate::judge::identity::is_tool;
use crate::observe::{HandshakeObservation, MessageKind, Observation, Role, Settled};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The last dials, and the names of the nodes that answered.
#[derive(Debug, Default)]
pub struct Dials {
    recent: RecentDials,
    listeners: Listeners,
}

/// The last dials, found by what they have in common with another one: a flood of dials does not make each look-up longer.
#[derive(Debug, Default)]
struct RecentDials {
    /// In the order in which they came.
    dials: VecDeque<Dial>,
    /// Number of dials that gave up their place. A dial has this number and its place in `dials` as its own number.
    dropped: u64,
    /// The number of the last dial of each connection.
    by_session: HashMap<Arc<str>, u64, RandomState>,
    /// The numbers of the dials from one address to another.
    by_hosts: HashMap<[IpAddr; 2], VecDeque<u64>, RandomState>,
    /// The numbers of the dials under each name.
    by_name: HashMap<Arc<str>, VecDeque<u64>, RandomState>,
}

impl RecentDials {
    fn get(&self, number: u64) -> Option<&Dial> {
        self.dials.get(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }

    /// The last dial of a connection.
    fn of_session(&mut self, session_id: &str) -> Option<&mut Dial> {
        let number = *self.by_session.get(session_id)?;
        self.dials.get_mut(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }

    /// The dials from one address to another, the oldest first.
    fn between(&self, from: IpAddr, to: IpAddr) -> impl DoubleEndedIterator<Item = &Dial> {
        self.all(self.by_hosts.get(&[from, to]))
    }

    /// The dials under a name, the oldest first.
    fn with_name(&self, name: &str) -> impl DoubleEndedIterator<Item = &Dial> {
        self.all(self.by_name.get(name))
    }

    fn all<'a>(
        &'a self,
        numbers: Option<&'a VecDeque<u64>>,
    ) -> impl DoubleEndedIterator<Item = &'a Dial> {
        numbers.into_iter().flatten().filter_map(|number| self.get(*number))
    }

    /// Adds a dial, in the place of the oldest one if there are too many.
    fn add(&mut self, dial: Dial) -> Option<&mut Dial> {
        if self.dials.len() >= REMEMBERED {
            self.drop_oldest();
        }
        let number = self.dropped + self.dials.len() as u64;
        self.by_session.insert(Arc::clone(&dial.session_id), number);
        self.by_hosts.entry([dial.from, dial.to.ip]).or_default().push_back(number);
        if let Some(name) = &dial.name {
            self.by_name.entry(Arc::clone(name)).or_default().push_back(number);
        }
        self.dials.push_back(dial);
        self.dials.back_mut()
    }

    fn drop_oldest(&mut self) {
        let Some(dial) = self.dials.pop_front() else { return };
        let number = self.dropped;
        self.dropped += 1;
        if self.by_session.get(&dial.session_id) == Some(&number) {
            self.by_session.remove(&dial.session_id);
        }
        let hosts = [dial.from, dial.to.ip];
        if self.by_hosts.get_mut(&hosts).is_some_and(is_empty_without_first) {
            self.by_hosts.remove(&hosts);
        }
        if let Some(name) = &dial.name
            && self.by_name.get_mut(name).is_some_and(is_empty_without_first)
        {
            self.by_name.remove(name);
        }
    }
}

/// Removes the first number, and returns whether it was the only one.
fn is_empty_without_first(numbers: &mut VecDeque<u64>) -> bool {
    numbers.pop_front();
    numbers.is_empty()
}

/// The last names and creations that acceptors sent, by the endpoint on which they listen.
#[derive(Debug, Default)]
struct Listeners {
    by_end: HashMap<Endpoint, Listener, RandomState>,
    /// The endpoints by the turn in which their nodes last sent a name.
    turns: BTreeMap<u64, Endpoint>,
    next_turn: u64,
}

/// A node that answered with its name.
#[derive(Debug)]
struct Listener {
    name: Arc<str>,
    creation: Option<u32>,
    turn: u64,
}

impl Listeners {
    /// Notes the name of the node at `end`. If there are too many, the one whose node sent its name first gives way.
    fn note(&mut self, end: Endpoint, name: &Arc<str>, creation: Option<u32>) {
        let turn = self.next_turn;
        self.next_turn += 1;
        let listener = Listener { name: Arc::clone(name), creation, turn };
        if let Some(known) = self.by_end.insert(end, listener) {
            self.turns.remove(&known.turn);
        }
        self.turns.insert(turn, end);
        if self.by_end.len() > REMEMBERED
            && let Some((_, oldest)) = self.turns.pop_first()
        {
            self.by_end.remove(&oldest);
        }
    }
}

/// A connection on which a node sent its name to another one.
#[derive(Debug)]
pub struct Dial {
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
    /// Address of the initiator.
    pub from: IpAddr,
    /// Address and port of the acceptor.
    pub to: Endpoint,
    /// The name in `send_name`; `None` if that was not seen.
    pub name: Option<Arc<str>>,
    /// The creation in `send_name`, which identifies the incarnation of the node.
    creation: Option<u32>,
    /// The fingerprint of the handshake, once its challenges were seen.
    fingerprint: Option<u64>,
    /// Time of `send_name`, or of the answer if `send_name` was not seen.
    pub at: Timestamp,
    /// The packet with that message.
    pub frame: Option<FrameRef>,
    /// When the acceptor dropped its own dial for this one (`ok_simultaneous`).
    accepted_instead: Option<Timestamp>,
    /// Whether the acceptor answered with `nok`.
    declined: bool,
    /// Whether a status or challenge of the acceptor was seen.
    answered: bool,
    /// Whether the initiator is a command-line tool.
    is_tool: bool,
}

impl Dials {
    /// Records a handshake message. Returns true for a `challenge_reply` whose sender had, before it sent that, dialed
    /// the same acceptor again under the same name.
    pub(super) fn on_handshake(
        &mut self,
        settled: &Settled,
        message: &HandshakeObservation,
    ) -> bool {
        let (at, ids) = (settled.at, &settled.connection);
        let mut known = self.recent.of_session(&ids.session_id);
        if let (MessageKind::Status, Some(dial)) = (message.message, &mut known) {
            dial.answered = true;
        }
        match (message.message, message.status.as_deref(), known) {
            (MessageKind::SendName, ..) => {
                let named = message.name.as_deref().zip(message.flags);
                let dial = self.add(settled, message.name.clone(), message.creation);
                if let (Some(dial), Some((name, flags))) = (dial, named) {
                    dial.is_tool = is_tool(name, flags);
                }
            }
            (MessageKind::Status, Some("ok_simultaneous"), Some(dial)) => {
                dial.accepted_instead = Some(at)
            }
            (MessageKind::Status, Some("nok"), Some(dial)) => dial.declined = true,
            (MessageKind::Status, Some("ok_simultaneous"), None) => {
                if let Some(dial) = self.add(settled, None, None) {
                    dial.accepted_instead = Some(at);
                }
            }
            (MessageKind::ChallengeReply, _, Some(dial)) => {
                dial.fingerprint = message.fingerprint;
                let (from, to, name, dialed) = (dial.from, dial.to, dial.name.clone(), dial.at);
                return name.is_some()
                    && self.recent.between(from, to.ip).any(|other| {
                        other.at > dialed && other.at < at && (other.to, &other.name) == (to, &name)
                    });
            }
            _ => {}
        }
        false
    }

    fn add(
        &mut self,
        settled: &Settled,
        name: Option<Arc<str>>,
        creation: Option<u32>,
    ) -> Option<&mut Dial> {
        let ids = &settled.connection;
        self.recent.add(Dial {
            session_id: Arc::clone(&ids.session_id),
            from: ids.src_ip,
            to: Endpoint { ip: ids.dest_ip, port: ids.dest_port },
            name,
            creation,
            fingerprint: None,
            at: settled.at,
            frame: settled.frame,
            accepted_instead: None,
            declined: false,
            answered: false,
            is_tool: false,
        })
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        if let Some(name) = it.name(Role::Acceptor) {
            let creation = it.seen.handshake.creation(Role::Acceptor);
            self.listeners.note(it.acceptor_end(), name, creation);
        }
    }

    /// Whether a command-line tool at `from` dialed a node at `to` shortly before. Such tools then check the port, and ask
    /// EPMD for all names (`rabbit_nodes_common:diagnostics/1` of `RabbitMQ`).
    pub fn tool_dialed(&self, from: IpAddr, to: IpAddr, at: Timestamp) -> bool {
        self.recent
            .between(from, to)
            .any(|dial| dial.is_tool && dial.at <= at && at.since(dial.at) <= TOOL_CHECKS)
    }

    /// Whether the initiator accepted a connection from the acceptor in place of this one, at about the same time.
    pub(super) fn crossed(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.back_from(about).any(|dial| {
            dial.accepted_instead
                .is_some_and(|at| at >= opened.before(CROSSING) && at <= closed.after(CROSSING))
                && dial.may_be_asked_for(lookup)
        })
    }

    /// Whether the acceptor dialed the initiator at about the same time, and the capture lacks the answer, which may have
    /// been that the initiator accepts it in place of this one.
    pub(super) fn may_have_crossed(
        &self,
        about: &Observation,
        lookup: Option<&PriorLookup>,
    ) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        let (since, until) = (opened.before(CROSSING), closed.after(CROSSING));
        self.back_from(about).any(|dial| {
            !dial.answered
                && dial.at >= since
                && dial.at <= until
                && dial.to != about.ends.acceptor
                && dial.may_be_asked_for(lookup)
        })
    }

    /// Whether the acceptor had dialed the initiator when this connection was closed, at most [`DIALED_BACK`] before it
    /// was opened.
    pub(super) fn dialed_back(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.back_from(about).any(|dial| {
            dial.at <= closed
                && dial.at >= opened.before(DIALED_BACK)
                && dial.may_be_asked_for(lookup)
        })
    }

    /// The dials from the acceptor of a connection to its initiator.
    fn back_from(&self, about: &Observation) -> impl Iterator<Item = &Dial> {
        self.recent.between(about.ends.acceptor.ip, about.ends.initiator.ip)
    }

    /// The dial from the acceptor of a connection to its initiator that crossed it at about `at`.
    pub fn crossing(&self, it: &JudgedConnection, at: Timestamp) -> Option<&Dial> {
        let end = it.acceptor_end();
        let from = it.ip(Role::Initiator);
        let initiator = it.name(Role::Initiator)?;
        let lookup = it.verdict.lookup.as_ref();
        let acceptor = it.name(Role::Acceptor).map(|name| &**name).or_else(|| self.listener(end));
        self.recent.between(end.ip, from).rev().find(|dial| {
            let is_from_acceptor = || match (acceptor, &dial.name) {
                (Some(acceptor), Some(name)) => acceptor == name.as_ref(),
                // On one host the addresses are the same, and only the names show which node dialed which.
                (None, _) if from == end.ip && lookup.is_none() => false,
                _ => dial.may_be_asked_for(lookup),
            };
            let is_to_initiator =
                || self.listener(dial.to).is_none_or(|name| name == initiator.as_ref());
            at.since(dial.at) <= CROSSING
                && dial.at.since(at) <= CROSSING
                && dial.name.as_ref() != Some(initiator)
                && is_from_acceptor()
                && is_to_initiator()
        })
    }

    /// Whether the same dial was declined before, at least `ANOTHER_TIME` ago, and there is no dial in the other
    /// direction.
    pub fn is_declined_again(&self, it: &JudgedConnection) -> bool {
        let hello = it.seen.message(MessageKind::SendName);
        let Some(at) = hello.map(|mark| mark.at) else { return false };
        let (from, end) = (it.ip(Role::Initiator), it.acceptor_end());
        let name = it.name(Role::Initiator);
        self.recent.between(end.ip, from).next().is_none()
            && self.recent.between(from, end.ip).any(|dial| {
                dial.declined
                    && at.since(dial.at) >= ANOTHER_TIME
                    && (dial.to, dial.name.as_ref()) == (end, name)
            })
    }

    /// The dials with a hello of this name and creation, the last one first.
    pub(super) fn with_hello(
        &self,
        name: &str,
        creation: Option<u32>,
    ) -> impl Iterator<Item = &Dial> {
        self.recent.with_name(name).rev().filter(move |dial| dial.creation == creation)
    }

    /// The last name that the node at `end` sent.
    pub fn listener(&self, end: Endpoint) -> Option<&str> {
        self.listeners.by_end.get(&end).map(|known| known.name.as_ref())
    }

    /// Whether a node that dials under the name of the acceptor is the acceptor itself: the node there answered another
    /// dial with this name and this creation; or a proxy passed the dial on, and the capture has both legs: the same
    /// hello came from the acceptor's address, or went on to the initiator's.
    pub fn is_acceptor_itself(&self, it: &JudgedConnection) -> bool {
        let Some(hello) = it.seen.handshake.send_name.as_ref() else { return false };
        // Before OTP 23, creations are 1 to 3, and many nodes have the same one.
        let Some(creation) = hello.what.creation.filter(|creation| *creation > 3) else {
            return false;
        };
        let (from, end, name) = (it.ip(Role::Initiator), it.acceptor_end(), &*hello.what.name);
        let answered = self
            .listeners
            .by_end
            .get(&end)
            .is_some_and(|known| &*known.name == name && known.creation == Some(creation));
        let is_other_leg = |dial: &Dial| {
            let apart = dial.at.since(hello.mark.at).max(hello.mark.at.since(dial.at));
            dial.session_id != *it.session_id()
                && dial.from != from
                && (dial.from == end.ip || dial.to.ip == from)
                && apart <= PASSED_ON
        };
        answered || self.with_hello(name, Some(creation)).any(is_other_leg)
    }
}

impl Dial {
    /// Whether the handshake of `seen` is this one, seen on another connection: the challenges of both are the same.
    pub(super) fn has_handshake_of(&self, seen: &Observation) -> bool {
        self.fingerprint.is_some() && self.fingerprint == seen.handshake.fingerprint
    }

    /// Whether the dialing node may be the one that `lookup` was for.
    fn may_be_asked_for(&self, lookup: Option<&PriorLookup>) -> bool {
        let alive = self.name.as_deref().and_then(alive_of);
        alive.zip(lookup).is_none_or(|(alive, lookup)| alive == lookup.asked.as_ref())
    }
}

/// Dials cross within the setup time of both, 7 s by default; the rest is a margin.
const CROSSING: Duration = Duration::from_secs(10);

/// A node drops its dial for one that it has just received, and both began at about the same time.
const DIALED_BACK: Duration = Duration::from_secs(1);

/// A proxy passes a hello on within milliseconds; the rest is the path.
const PASSED_ON: Duration = Duration::from_secs(1);

/// Two dials cross once. A node whose dial was declined dials again only on a new request.
const ANOTHER_TIME: Duration = Duration::from_secs(1);

/// A tool gives up after at most a minute, and checks the node right after that.
const TOOL_CHECKS: Duration = Duration::from_secs(90);

/// Maximum number of dials and of names: far more than there are within [`CROSSING`].
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "numbers that the tests make")]
    fn hello(dials: &mut Dials, n: usize, from: &str, to: &str) {
        use crate::judge::samples::dial;
        use crate::observe::HandshakeObservation;
        let step = dial(1000 + n as u64, from, to).judged();
        let mut settled = step.settled.clone();
        let mut ids = (*settled.connection).clone();
        ids.session_id = n.to_string().into();
        settled.connection = Arc::new(ids);
        let name = from.split('/').next().map(Arc::from);
        let message = HandshakeObservation {
            name,
            creation: Some(n as u32 % 7),
            ..HandshakeObservation::new(MessageKind::SendName, Role::Initiator)
        };
        dials.on_handshake(&settled, &message);
    }

    #[test]
    fn every_index_has_the_last_dials_and_no_other() {
        let mut dials = Dials::default();
        for n in 0..5000 {
            let (from, to) = (n % 3, n % 2);
            hello(
                &mut dials,
                n,
                &format!("n{}@h1/10.0.0.{from}/1", n % 11),
                &format!("b@h2/10.0.1.{to}/9100"),
            );
        }
        let recent = &dials.recent;
        assert_eq!((recent.dials.len(), recent.by_session.len()), (REMEMBERED, REMEMBERED));
        let numbers = recent.by_hosts.values().chain(recent.by_name.values());
        assert_eq!(numbers.map(VecDeque::len).sum::<usize>(), 2 * REMEMBERED);
        for (n, dial) in (5000 - REMEMBERED..).zip(&recent.dials) {
            assert_eq!(*dial.session_id, *n.to_string());
            let is_it = |other: &Dial| other.session_id == dial.session_id;
            assert_eq!(recent.between(dial.from, dial.to.ip).filter(|it| is_it(it)).count(), 1);
            assert_eq!(
                dials
                    .with_hello(&format!("n{}@h1", n % 11), dial.creation)
                    .filter(|it| is_it(it))
                    .count(),
                1
            );
        }
        // What a look-up visits are the dials between two hosts, in whatever flood of others.
        for n in 5000..10_000 {
            hello(&mut dials, n, "flood@h9/10.9.9.9/1", "b@h2/10.0.1.1/9100");
        }
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(dials.recent.between(ip("10.0.0.1"), ip("10.0.1.1")).count(), 0);
        assert_eq!((dials.recent.by_hosts.len(), dials.recent.by_name.len()), (1, 1));
    }

    #[test]
    fn a_dial_may_be_of_the_node_that_was_asked_for_or_of_any_without_a_look_up() {
        use crate::judge::samples::lookup;
        let mut dials = Dials::default();
        hello(&mut dials, 0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/9100");
        let dial = dials.recent.dials.front_mut().unwrap();
        let may = |dial: &Dial, asked: &str| dial.may_be_asked_for(Some(&lookup(asked, 1)));
        assert_eq!((may(dial, "a"), may(dial, "b")), (true, false));
        assert!(dial.may_be_asked_for(None));
        dial.name = None;
        assert!(may(dial, "b"));
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "numbers that the test makes")]
    fn the_listener_that_sent_its_name_first_gives_way() {
        let mut listeners = Listeners::default();
        let end = |port: usize| Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: port as u16 };
        for n in 0..REMEMBERED {
            listeners.note(end(n), &"a@h1".into(), None);
        }
        (0..5000).for_each(|_| listeners.note(end(0), &"b@h1".into(), Some(5)));
        listeners.note(end(REMEMBERED), &"c@h1".into(), None);
        assert_eq!((listeners.by_end.len(), listeners.turns.len()), (REMEMBERED, REMEMBERED));
        let name = |port: usize| listeners.by_end.get(&end(port)).map(|known| &*known.name);
        assert_eq!((name(0), name(1), name(2)), (Some("b@h1"), None, Some("a@h1")));
    }

    #[test]
    fn only_a_tool_that_dialed_this_host_shortly_before_checks_it() {
        use crate::judge::samples::{at, dial};
        use crate::observe::{DistFlags, HandshakeObservation};
        let mut dials = Dials::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let shown = |dials: &mut Dials, name: &str, flags: u64| {
            let step = dial(1000, &format!("{name}/10.0.0.1/1"), "rabbit@h2/10.0.0.2/2").judged();
            let message = HandshakeObservation {
                name: Some(name.into()),
                flags: Some(DistFlags(flags)),
                ..HandshakeObservation::new(MessageKind::SendName, Role::Initiator)
            };
            dials.on_handshake(&step.settled, &message);
        };
        shown(&mut dials, "rabbit@h1", 0xd_07df_7fbd);
        assert!(!dials.tool_dialed(ip("10.0.0.1"), ip("10.0.0.2"), at(2000)), "a node");
        shown(&mut dials, "rabbitmqcli-7-rabbit@h1", 0xd_07df_7fbc);
        assert!(dials.tool_dialed(ip("10.0.0.1"), ip("10.0.0.2"), at(2000)));
        assert!(!dials.tool_dialed(ip("10.0.0.9"), ip("10.0.0.2"), at(2000)), "a stranger");
        assert!(!dials.tool_dialed(ip("10.0.0.1"), ip("10.0.0.3"), at(2000)), "another host");
        assert!(!dials.tool_dialed(ip("10.0.0.1"), ip("10.0.0.2"), at(500)), "before the tool");
        assert!(!dials.tool_dialed(ip("10.0.0.1"), ip("10.0.0.2"), at(200_000)), "long after");
    }

    #[test]
    fn a_dial_may_have_crossed_one_of_its_peer_at_that_time_whose_answer_is_missing() {
        use crate::judge::samples::{at, dial};
        // The other dial is sent at 1,000 ms.
        let crossed = |from: &str, to: &str, begun: u64, closed: u64| {
            let mut dials = Dials::default();
            hello(&mut dials, 0, "b@h2/10.0.0.2/1", "a@h1/10.0.0.1/1");
            let mut about = dial(begun, from, to).closed(closed, [begun; 2]).judged();
            about.seen.ends.acceptor.port = 9200;
            about.seen.at = at(closed);
            dials.may_have_crossed(&about.seen, None)
        };
        let (a, b) = ("a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1");
        assert!(crossed(a, b, 990, 1010));
        assert!(!crossed(b, a, 990, 1010), "it is that dial, or another in the same direction");
        assert!(!crossed(a, "b@h2/10.0.0.3/1", 990, 1010), "another host");
        assert!(!crossed(a, b, 600_000, 600_010), "long after");
    }
}
