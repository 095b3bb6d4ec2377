//! Facts: what the capture showed of each connection, before a verdict.
//!
//! `protocol/` and the engine build these values. [`Fact`] is the only type that passes from the first half of the
//! engine (packets to facts) to the second (facts to records, [`crate::judge`] and [`crate::detect`]).
//! A fact is owned, can be serialized and read back, and knows no other connection: facts of several runs can be
//! merged, sorted by [`Recorded::clock`], and judged together.

mod anomaly;
mod connection;
mod delivery;
mod epmd;
mod handshake;
mod ids;
pub mod messages;
mod per_role;
mod proxy;
mod rare;
mod sums;
mod tls;
mod totals;

pub use self::anomaly::*;
pub use self::connection::*;
pub use self::delivery::*;
pub use self::epmd::*;
pub use self::handshake::*;
pub use self::ids::*;
pub use self::messages::{Execution, RuleTrigger};
pub use self::per_role::{PerRole, Role};
pub use self::proxy::*;
pub use self::rare::{Blank, Rare};
pub use self::sums::*;
pub use self::tls::*;
pub use self::totals::Totals;
pub(crate) use self::totals::known_sum;
pub use crate::wire::epmd::{EpmdNodeType, EpmdTag};
pub use crate::wire::flags::DistFlags;
pub use crate::wire::handshake::MessageKind;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{Resolved, Unresolved};
use crate::packet::FrameRef;
use crate::questions::NoNeighbour;
use crate::time::Timestamp;

/// Version of the serialized form of [`Recorded`]; a reader refuses any other.
pub const VERSION: u8 = 4;

/// A fact with its position in the order of its run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recorded {
    /// [`VERSION`] of the program that wrote it.
    pub version: u8,
    /// The clock of the run when the fact was settled: the latest capture time so far. It never goes back, so that
    /// facts sorted by `clock` and then `sequence` are in the order of the run.
    pub clock: Timestamp,
    /// Position among all facts of the run, from 0.
    pub sequence: u64,
    /// The fact that was recorded.
    pub fact: Fact,
}

/// One fact that the capture showed.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A distribution connection, as far as it was observed.
    Connection {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// What the connection showed.
        seen: Box<Observation>,
    },
    /// A request to EPMD, and its outcome.
    Epmd {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// What the request showed.
        seen: Box<EpmdObservation>,
    },
    /// One message of a handshake.
    Handshake {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// The content of the message.
        message: Box<HandshakeObservation>,
    },
    /// A message after the handshake that a rule evaluates.
    Message {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// The message and the reason why rules need it.
        message: Box<TriggerMessage>,
    },
    /// Something on a connection that the protocol does not allow.
    Anomaly {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// The kind of the anomaly, and its position.
        anomaly: Anomaly,
    },
    /// A PROXY protocol header at the beginning of a connection.
    ProxyHeader {
        /// Packet, time and connection of the fact.
        settled: Settled,
        /// The contents of the header.
        header: ProxyHeaderFacts,
    },
    /// An answer of a name server.
    Resolved(Resolved),
    /// A question to a name server that gave no address.
    Unresolved(Unresolved),
    /// A host of the same network that did not answer.
    NoNeighbour(NoNeighbour),
    /// A name of an address in the capture file itself.
    ListedName {
        /// The address that has a name.
        ip: IpAddr,
        /// Host name of the address.
        name: Arc<str>,
    },
    /// A fault of the run, or of one of its inputs.
    Run {
        /// The clock of the run when it was found.
        at: Timestamp,
        /// The input that it is about, if it is about one.
        input: Option<u16>,
        /// The kind of the fault.
        anomaly: Anomaly,
    },
    /// The end of the run, at its clock, with what it counted: everything up to then was observed, or is not in the capture.
    End(Box<Totals>),
}

/// What settled a fact, by reference or by mutable reference.
macro_rules! settled_of {
    ($fact:expr) => {
        match $fact {
            Fact::Connection { settled, .. }
            | Fact::Epmd { settled, .. }
            | Fact::Handshake { settled, .. }
            | Fact::Message { settled, .. }
            | Fact::Anomaly { settled, .. }
            | Fact::ProxyHeader { settled, .. } => Some(settled),
            Fact::Resolved(_)
            | Fact::Unresolved(_)
            | Fact::NoNeighbour(_)
            | Fact::ListedName { .. }
            | Fact::Run { .. }
            | Fact::End(_) => None,
        }
    };
}

impl Fact {
    /// The packet that settled it, and its connection; `None` if it is not about a connection.
    pub const fn settled(&self) -> Option<&Settled> {
        settled_of!(self)
    }

    /// The same, to be changed.
    pub(crate) const fn settled_mut(&mut self) -> Option<&mut Settled> {
        settled_of!(self)
    }
}

/// The packet that settled a fact, and its connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Settled {
    /// Capture time of that packet, or the moment on the capture's clock at which the fact was settled without one.
    pub at: Timestamp,
    /// The packet that settled the fact, if one did.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frame: Option<FrameRef>,
    /// Input of the connection, if no packet settled the fact.
    #[serde(default, skip_serializing_if = "is_default")]
    pub input: Option<u16>,
    /// The input that represents all inputs of one host, where several show its loopback addresses. Known to a merge alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_input: Option<u16>,
    /// Identifiers of the TCP connection.
    pub connection: Arc<ConnectionIds>,
}

impl Settled {
    /// The number of the input that shows the fact.
    pub fn shown_by_input(&self) -> Option<u16> {
        self.frame.map(|frame| frame.input).or(self.input)
    }

    /// By what the loopback addresses of one host differ from those of another: the input, or the one that represents it.
    pub fn host(&self) -> Option<u16> {
        self.host_input.or_else(|| self.shown_by_input())
    }

    /// The same connection and input at another time, at which no packet settles anything.
    pub fn without_packet(self, at: Timestamp) -> Self {
        Self { at, input: self.shown_by_input(), frame: None, ..self }
    }
}

/// First bytes of another protocol.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Foreign {
    /// The side that sent them.
    pub from: Role,
    /// The packet with the first of them.
    pub mark: crate::packet::PacketRef,
    /// The protocol that they look like, for a sentence.
    pub looks_like: Cow<'static, str>,
}

/// Whether a field is left out of the serialized form: most connections lack most of what one can show.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a list into no more memory than it needs: most have one entry, and a list that grows has room for four.
fn exact<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Vec<T>, D::Error> {
    Vec::deserialize(source).map(|mut list: Vec<T>| {
        list.shrink_to_fit();
        list
    })
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimestampVisitor)
    }
}

/// Reads a time from its text, without a copy of that; from null, as of a capture without times, the earliest one.
struct TimestampVisitor;

impl Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time or null")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_unit<E>(self) -> Result<Timestamp, E> {
        Ok(Timestamp::default())
    }
}
