//! The recent dials, and the names of listening nodes. Crossing dials, shared names and cookie guesses are detected
//! from them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{PriorLookup, alive_of};
use crate::decode::Endpoint;
use crate::judge::JudgedConnection;
use crate::judge::identity::is_tool;
use crate::limits::remember;
use crate::observe::{HandshakeObservation, MessageKind, Observation, Role, Settled};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The last dials, and the names of the nodes that answered.
#[derive(Debug, Default)]
pub struct Dials {
    recent: VecDeque<Dial>,
    /// The last names and creations that acceptors sent, by the endpoint on which they listen.
    listeners: VecDeque<Listener>,
}

/// A node that answered with its name.
#[derive(Debug)]
struct Listener {
    end: Endpoint,
    name: Arc<str>,
    creation: Option<u32>,
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
        let mut known = self.recent.iter_mut().rev().find(|dial| dial.session_id == ids.session_id);
        if let (MessageKind::Status | MessageKind::Challenge, Some(dial)) =
            (message.message, &mut known)
        {
            dial.answered = true;
        }
        match (message.message, message.status.as_deref(), known) {
            (MessageKind::SendName, ..) => {
                self.add(settled, message.name.clone(), message.creation);
                let named = message.name.as_deref().zip(message.flags);
                if let (Some(dial), Some((name, flags))) = (self.recent.back_mut(), named) {
                    dial.is_tool = is_tool(name, flags);
                }
            }
            (MessageKind::Status, Some("ok_simultaneous"), Some(dial)) => {
                dial.accepted_instead = Some(at)
            }
            (MessageKind::Status, Some("nok"), Some(dial)) => dial.declined = true,
            (MessageKind::Status, Some("ok_simultaneous"), None) => {
                self.add(settled, None, None);
                if let Some(dial) = self.recent.back_mut() {
                    dial.accepted_instead = Some(at);
                }
            }
            (MessageKind::ChallengeReply, _, Some(dial)) => {
                let (from, to, name, dialed) = (dial.from, dial.to, dial.name.clone(), dial.at);
                return name.is_some()
                    && self.recent.iter().any(|other| {
                        (other.from, other.to, &other.name) == (from, to, &name)
                            && other.at > dialed
                            && other.at < at
                    });
            }
            _ => {}
        }
        false
    }

    fn add(&mut self, settled: &Settled, name: Option<Arc<str>>, creation: Option<u32>) {
        let ids = &settled.connection;
        let dial = Dial {
            session_id: Arc::clone(&ids.session_id),
            from: ids.src_ip,
            to: Endpoint { ip: ids.dest_ip, port: ids.dest_port },
            name,
            creation,
            at: settled.at,
            frame: settled.frame,
            accepted_instead: None,
            declined: false,
            answered: false,
            is_tool: false,
        };
        remember(&mut self.recent, dial, REMEMBERED);
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        if let Some(name) = it.name(Role::Acceptor) {
            let end = it.acceptor_end();
            let creation = it.seen.handshake.creation(Role::Acceptor);
            self.listeners.retain(|known| known.end != end);
            let listener = Listener { end, name: Arc::clone(name), creation };
            remember(&mut self.listeners, listener, REMEMBERED);
        }
    }

    /// Whether a command-line tool at `from` dialed a node at `to` shortly before. Such tools then check the port, and ask
    /// EPMD for all names (`rabbit_nodes_common:diagnostics/1` of `RabbitMQ`).
    pub fn tool_dialed(&self, from: IpAddr, to: IpAddr, at: Timestamp) -> bool {
        self.recent.iter().any(|dial| {
            dial.is_tool
                && (dial.from, dial.to.ip) == (from, to)
                && dial.at <= at
                && at.since(dial.at) <= TOOL_CHECKS
        })
    }

    /// Whether the initiator accepted a connection from the acceptor in place of this one, at about the same time.
    pub(super) fn crossed(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.recent.iter().any(|dial| {
            dial.to.ip == about.ends.initiator.ip
                && dial.from == about.ends.acceptor.ip
                && dial
                    .accepted_instead
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
        // What takes least to compare comes first: nearly all dials are answered.
        self.recent.iter().any(|dial| {
            !dial.answered
                && dial.at >= since
                && dial.at <= until
                && (dial.from, dial.to.ip) == (about.ends.acceptor.ip, about.ends.initiator.ip)
                && dial.to != about.ends.acceptor
                && dial.may_be_asked_for(lookup)
        })
    }

    /// Whether the acceptor had dialed the initiator when this connection was closed, at most [`DIALED_BACK`] before it
    /// was opened.
    pub(super) fn dialed_back(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.recent.iter().any(|dial| {
            (dial.from, dial.to.ip) == (about.ends.acceptor.ip, about.ends.initiator.ip)
                && dial.at <= closed
                && dial.at >= opened.before(DIALED_BACK)
                && dial.may_be_asked_for(lookup)
        })
    }

    /// The dial from the acceptor of a connection to its initiator that crossed it at about `at`.
    pub fn crossing(&self, it: &JudgedConnection, at: Timestamp) -> Option<&Dial> {
        let end = it.acceptor_end();
        let from = it.ip(Role::Initiator);
        let initiator = it.name(Role::Initiator)?;
        let lookup = it.verdict.lookup.as_ref();
        let acceptor = it.name(Role::Acceptor).map(|name| &**name).or_else(|| self.listener(end));
        self.recent.iter().rev().find(|dial| {
            let is_from_acceptor = match (acceptor, &dial.name) {
                (Some(acceptor), Some(name)) => acceptor == name.as_ref(),
                // On one host the addresses are the same, and only the names show which node dialed which.
                (None, _) if from == end.ip && lookup.is_none() => false,
                _ => dial.may_be_asked_for(lookup),
            };
            let is_to_initiator =
                self.listener(dial.to).is_none_or(|name| name == initiator.as_ref());
            (dial.from, dial.to.ip) == (end.ip, from)
                && dial.name.as_ref() != Some(initiator)
                && is_from_acceptor
                && is_to_initiator
                && at.since(dial.at) <= CROSSING
                && dial.at.since(at) <= CROSSING
        })
    }

    /// Whether the same dial was declined before, at least `ANOTHER_TIME` ago, and there is no dial in the other
    /// direction.
    pub fn is_declined_again(&self, it: &JudgedConnection) -> bool {
        let hello = it.seen.message(MessageKind::SendName);
        let Some(at) = hello.map(|mark| mark.at) else { return false };
        let (from, end) = (it.ip(Role::Initiator), it.acceptor_end());
        let name = it.name(Role::Initiator);
        let mut others = self.recent.iter();
        self.recent.iter().any(|dial| {
            (dial.from, dial.to, dial.name.as_ref()) == (from, end, name)
                && dial.declined
                && at.since(dial.at) >= ANOTHER_TIME
        }) && !others.any(|dial| (dial.from, dial.to.ip) == (end.ip, from))
    }

    /// The dials with a hello of this name and creation, the last one first.
    pub(super) fn with_hello(
        &self,
        name: &str,
        creation: Option<u32>,
    ) -> impl Iterator<Item = &Dial> {
        let is_same =
            move |dial: &&Dial| dial.name.as_deref() == Some(name) && dial.creation == creation;
        self.recent.iter().rev().filter(is_same)
    }

    /// The last name that the node at `end` sent.
    pub fn listener(&self, end: Endpoint) -> Option<&str> {
        self.listeners.iter().find(|known| known.end == end).map(|known| known.name.as_ref())
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
        let answered = self.listeners.iter().any(|known| {
            known.end == end && &*known.name == name && known.creation == Some(creation)
        });
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
}
