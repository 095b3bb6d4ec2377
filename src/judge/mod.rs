//! What facts mean: the verdict on each connection, and what all of them together show.
//!
//! In: facts of [`crate::observe`], one after the other. Out: a [`Verdict`] on each connection, and a [`World`] that
//! later verdicts and the rules of [`crate::detect`] look at. Pure: no packet, no clock, no I/O.

#[cfg(test)]
pub(crate) mod samples;
mod tls;
mod verdict;
pub mod world;

pub use self::tls::{AlertSays, TlsAlert};
#[cfg(test)]
pub(crate) use self::verdict::judge_related;
pub use self::verdict::{Confidence, Outcome, Protocol, Verdict, judge};
pub use self::world::World;

use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::Endpoint;
use crate::observe::{ConnectionIds, Observation, Role, Settled, State};
use crate::time::Timestamp;

/// A distribution connection with the verdict on it: what the world and the rules look at.
#[derive(Clone, Debug)]
pub struct JudgedConnection {
    /// When it was observed, and which connection it is.
    pub settled: Settled,
    /// What the connection showed.
    pub seen: Box<Observation>,
    /// What came of it.
    pub verdict: Verdict,
    /// Whether a record with this outcome was reported before.
    pub again: bool,
}

impl JudgedConnection {
    /// Capture time of the packet that settled it, or the moment on the capture's clock.
    pub const fn at(&self) -> Timestamp {
        self.settled.at
    }

    /// The TCP connection.
    pub fn ids(&self) -> &ConnectionIds {
        &self.settled.connection
    }

    /// Id of the connection.
    pub fn session_id(&self) -> &Arc<str> {
        &self.settled.connection.session_id
    }

    /// What came of the connection.
    pub const fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }

    /// Progress of the connection.
    pub const fn state(&self) -> State {
        self.seen.state()
    }

    /// Name of the side in this role, where it was seen.
    pub fn name(&self, role: Role) -> Option<&Arc<str>> {
        self.seen.name(role)
    }

    /// Address of the side in this role.
    pub fn ip(&self, role: Role) -> IpAddr {
        self.seen.ends[role].ip
    }

    /// Where the acceptor listens.
    pub fn acceptor_end(&self) -> Endpoint {
        self.seen.ends.acceptor
    }

    /// Whether the connection is over, or as far along as the capture goes, and has this outcome for the first time:
    /// most rules look at nothing else.
    pub fn is_settled(&self) -> bool {
        self.state() != State::Established && !self.again
    }
}
