//! The verdict on each connection, and what all connections together show.
//!
//! In: facts of [`crate::observe`], one after the other. Out: a [`Verdict`] on each connection, and a [`World`] that
//! later verdicts and the rules of [`crate::detect`] read. The module does no I/O and reads neither packets nor a clock.

mod certificates;
mod identity;
mod incomplete;
mod inside;
#[cfg(test)]
pub(crate) mod samples;
mod software;
mod tls;
mod undelivered;
mod verdict;
pub mod world;

pub use self::certificates::{CertificateFault, certificate_faults, has_other_authority};
pub use self::identity::Identity;
pub use self::incomplete::IncompleteBecause;
pub use self::inside::InsideTls;
pub use self::software::{Demands, Implementation, Software};
pub use self::tls::{AlertContent, TlsAlert, TlsStep, is_resumed};
pub use self::undelivered::{LossScope, PeerSigns, TooLarge, Undelivered};
#[cfg(test)]
pub(crate) use self::verdict::judge_related;
pub use self::verdict::{Confidence, Outcome, Protocol, Verdict, judge};
pub use self::world::World;

use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::Endpoint;
use crate::observe::{ConnectionIds, Observation, Occasion, Role, Settled, State};
use crate::time::Timestamp;

/// A distribution connection with the verdict on it, which is the input of the world and of the rules.
#[derive(Clone, Debug)]
pub struct JudgedConnection {
    /// When it was observed, and on which TCP connection.
    pub settled: Settled,
    /// What the connection showed.
    pub seen: Box<Observation>,
    /// The outcome, and what it rests on.
    pub verdict: Verdict,
    /// The name that one side sent, if that is the name of a node elsewhere and not proven. Such a side counts as one
    /// without a name: it is known by its address.
    pub claim: Option<world::Claim>,
    /// Whether a record with this outcome was reported before.
    pub is_repeated: bool,
}

impl JudgedConnection {
    /// Capture time of the packet that settled the observation, or the time of the capture's clock without one.
    pub const fn at(&self) -> Timestamp {
        self.settled.at
    }

    /// Identifiers of the TCP connection.
    pub fn ids(&self) -> &ConnectionIds {
        &self.settled.connection
    }

    /// The `session_id` of the connection.
    pub fn session_id(&self) -> &Arc<str> {
        &self.settled.connection.session_id
    }

    /// Outcome of the connection by the verdict.
    pub const fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }

    /// State of the connection when it was observed.
    pub const fn state(&self) -> State {
        self.seen.state()
    }

    /// Name of the side in this role, if it was seen.
    pub fn name(&self, role: Role) -> Option<&Arc<str>> {
        self.seen.name(role).filter(|_| !self.is_claimed(role))
    }

    /// The identity of the side in this role, if its name was seen.
    pub fn identity(&self, role: Role) -> Option<Identity> {
        Identity::of(&self.seen, role).filter(|_| !self.is_claimed(role))
    }

    /// Whether the name that the side in this role sent is that of a node elsewhere.
    fn is_claimed(&self, role: Role) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.role == role)
    }

    /// The label of the identity of the side in this role.
    pub fn label(&self, role: Role) -> Option<Arc<str>> {
        Some(self.identity(role)?.label)
    }

    /// The labels of both sides whose names were seen, the initiator's first.
    pub fn labels(&self) -> impl Iterator<Item = Arc<str>> {
        Role::BOTH.into_iter().filter_map(|role| self.label(role))
    }

    /// The program at the side in this role, if its hello was seen.
    pub fn software(&self, role: Role) -> Option<Software> {
        Software::of(&self.seen.handshake, role)
    }

    /// The name that the initiator dialed, if EPMD's answer shows the one part and its TLS hello the other.
    pub fn dialed_over_tls(&self) -> Option<Arc<str>> {
        let alive = &self.verdict.lookup.as_ref()?.asked;
        let host = self.seen.tls.initiator.hello.as_ref()?.server_name.as_ref()?;
        Some(format!("{alive}@{host}").into())
    }

    /// IP address of the side in this role.
    pub fn ip(&self, role: Role) -> IpAddr {
        self.seen.ends[role].ip
    }

    /// Address and port on which the acceptor listens.
    pub fn acceptor_end(&self) -> Endpoint {
        self.seen.ends.acceptor
    }

    /// Whether it has just been established. That a side of it is silent later is also observed while it is open.
    pub fn has_just_connected(&self) -> bool {
        self.seen.occasion == Occasion::Established && self.outcome() == Outcome::Connected
    }

    /// Whether the connection is closed, or open at the end of the capture, and has this outcome for the first time.
    /// Most rules ignore every other observation.
    pub fn is_settled(&self) -> bool {
        self.state() != State::Established && !self.is_repeated
    }
}
