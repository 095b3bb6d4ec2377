//! Who dialed whom, and who listens where: the one memory that crossings, shared names and guesses are
//! told from.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{PriorLookup, alive_of};
use crate::decode::Endpoint;
use crate::judge::JudgedConnection;
use crate::limits::remember;
use crate::observe::{HandshakeObservation, MessageKind, Observation, Role, Settled};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The last dials, and the names of those who answered.
#[derive(Debug, Default)]
pub struct Dials {
    recent: VecDeque<Dial>,
    /// Names that acceptors gave, by where they listen; the last ones.
    listeners: VecDeque<(Endpoint, Arc<str>)>,
}

/// A node that introduced itself to another.
#[derive(Debug)]
pub struct Dial {
    /// Its connection.
    pub session_id: Arc<str>,
    /// Who dialed.
    pub from: IpAddr,
    /// Who was dialed.
    pub to: Endpoint,
    /// The name that the dialing node gave; `None` where its `send_name` was not seen.
    pub name: Option<Arc<str>>,
    /// When it gave it, or when it was answered where that was not seen.
    pub at: Timestamp,
    /// The packet.
    pub frame: Option<FrameRef>,
    /// When the other side took this dial in place of its own (`ok_simultaneous`).
    taken: Option<Timestamp>,
    /// Whether it was answered with `nok`.
    declined: bool,
}

impl Dials {
    /// A handshake message. Gives, for a `challenge_reply`, whether its sender had dialed the same
    /// acceptor anew under the same name before it sent that.
    pub(super) fn on_handshake(
        &mut self,
        settled: &Settled,
        message: &HandshakeObservation,
    ) -> bool {
        let (at, ids) = (settled.at, &settled.connection);
        let known = self.recent.iter_mut().rev().find(|dial| dial.session_id == ids.session_id);
        match (message.message, message.status.as_deref(), known) {
            (MessageKind::SendName, ..) => self.note(settled, message.name.clone()),
            (MessageKind::Status, Some("ok_simultaneous"), Some(dial)) => dial.taken = Some(at),
            (MessageKind::Status, Some("nok"), Some(dial)) => dial.declined = true,
            (MessageKind::Status, Some("ok_simultaneous"), None) => {
                self.note(settled, None);
                if let Some(dial) = self.recent.back_mut() {
                    dial.taken = Some(at);
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

    fn note(&mut self, settled: &Settled, name: Option<Arc<str>>) {
        let ids = &settled.connection;
        let dial = Dial {
            session_id: Arc::clone(&ids.session_id),
            from: ids.src_ip,
            to: Endpoint { ip: ids.dest_ip, port: ids.dest_port },
            name,
            at: settled.at,
            frame: settled.frame,
            taken: None,
            declined: false,
        };
        remember(&mut self.recent, dial, REMEMBERED);
    }

    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        if let Some(name) = it.name(Role::Acceptor) {
            let end = it.acceptor_end();
            self.listeners.retain(|(known, _)| *known != end);
            remember(&mut self.listeners, (end, Arc::clone(name)), REMEMBERED);
        }
    }

    /// Whether the initiator took, about then, a connection from the acceptor in place of this one.
    pub(super) fn crossed(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.recent.iter().any(|dial| {
            dial.to.ip == about.ends.initiator.ip
                && dial.from == about.ends.acceptor.ip
                && dial
                    .taken
                    .is_some_and(|at| at >= opened.before(CROSSING) && at <= closed.after(CROSSING))
                && dial.may_be_asked_for(lookup)
        })
    }

    /// Whether the acceptor had dialed the initiator when this connection was closed, a moment before.
    pub(super) fn dialed_back(&self, about: &Observation, lookup: Option<&PriorLookup>) -> bool {
        let (opened, closed) = (about.tcp.first.at, about.open_until());
        self.recent.iter().any(|dial| {
            (dial.from, dial.to.ip) == (about.ends.acceptor.ip, about.ends.initiator.ip)
                && dial.at <= closed
                && dial.at >= opened.before(A_MOMENT)
                && dial.may_be_asked_for(lookup)
        })
    }

    /// A dial from the acceptor of a connection to its initiator that crossed it, `at` about the time.
    pub fn crossing(&self, it: &JudgedConnection, at: Timestamp) -> Option<&Dial> {
        let end = it.acceptor_end();
        let from = it.ip(Role::Initiator);
        let me = it.name(Role::Initiator)?;
        let lookup = it.verdict.lookup.as_ref();
        let answers = it.name(Role::Acceptor).map(|name| &**name).or_else(|| self.listener(end));
        self.recent.iter().rev().find(|dial| {
            let is_they = match (answers, &dial.name) {
                (Some(answers), Some(name)) => answers == name.as_ref(),
                // On one host, only the names tell who dialed whom.
                (None, _) if from == end.ip && lookup.is_none() => false,
                _ => dial.may_be_asked_for(lookup),
            };
            let is_to_me = self.listener(dial.to).is_none_or(|name| name == me.as_ref());
            (dial.from, dial.to.ip) == (end.ip, from)
                && dial.name.as_ref() != Some(me)
                && is_they
                && is_to_me
                && at.since(dial.at) <= CROSSING
                && dial.at.since(at) <= CROSSING
        })
    }

    /// Whether this dial was declined before, a while ago, and nobody has dialed the other way since.
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

    /// The name that the node at `end` gave last.
    pub fn listener(&self, end: Endpoint) -> Option<&str> {
        self.listeners.iter().find(|(known, _)| *known == end).map(|(_, name)| name.as_ref())
    }
}

impl Dial {
    /// Whether the dialing node may be the one that `lookup` asked for.
    fn may_be_asked_for(&self, lookup: Option<&PriorLookup>) -> bool {
        let alive = self.name.as_deref().and_then(alive_of);
        alive.zip(lookup).is_none_or(|(alive, lookup)| alive == lookup.asked.as_ref())
    }
}

/// Dials that cross do so within the set-up time of both, 7 s by default, and some.
const CROSSING: Duration = Duration::from_secs(10);

/// A node drops its dial for one that has just come, and both were begun at about the same time.
const A_MOMENT: Duration = Duration::from_secs(1);

/// Dials that cross do so once: a node that is declined dials again when it is asked to, or never.
const ANOTHER_TIME: Duration = Duration::from_secs(1);

/// Dials and names kept: far more than there are within [`CROSSING`].
const REMEMBERED: usize = 1024;
