//! What one request to a port mapper showed.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EpmdNodeType, EpmdTag, Foreign, Role};
use crate::packet::PacketRef;

/// One request to a port mapper and what came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EpmdObservation {
    /// The request; `None` when it was not seen.
    pub request: Option<EpmdTag>,
    /// Alive name asked for, registered or stopped.
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex where they are no UTF-8.
    pub name_hex: Option<String>,
    /// What came of it.
    pub outcome: EpmdOutcome,
    /// The reply.
    pub response: Option<EpmdTag>,
    /// Result code of the reply, 0 for success.
    pub result: Option<u8>,
    /// Distribution port registered or answered.
    pub port: Option<u16>,
    /// Node type registered or answered.
    pub node_type: Option<EpmdNodeType>,
    /// Highest handshake version that the node supports.
    pub highest_version: Option<u16>,
    /// Lowest handshake version that the node claims to support.
    pub lowest_version: Option<u16>,
    /// Transport, 0 for TCP.
    pub protocol: Option<u8>,
    /// Extra bytes of the registration, in hex.
    pub extra_hex: Option<String>,
    /// Creation given to the node.
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    pub reply: Option<String>,
    /// From the request's last byte to the reply's, in microseconds.
    pub response_time_us: Option<u64>,
    /// How long the registration lasted in microseconds, with [`EpmdOutcome::Unregistered`].
    pub lifetime_us: Option<u64>,
    /// The packets and the TCP side of it.
    pub seen: EpmdPackets,
}

/// Packets of a request to a port mapper, and what TCP showed of its connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EpmdPackets {
    /// First SYN of the connection.
    pub syn: Option<PacketRef>,
    /// SYNs sent.
    pub syns: u32,
    /// The request.
    pub request: Option<PacketRef>,
    /// The reply.
    pub reply: Option<PacketRef>,
    /// RST or ICMP that ended it, or the first FIN.
    pub close: Option<PacketRef>,
    /// Type and code of an ICMP "destination unreachable", and who sent it.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// First bytes of something that is not the EPMD protocol.
    pub foreign: Option<Foreign>,
    /// The first to close, once the connection was open; the client is the initiator.
    pub closed_by: Option<Role>,
    /// Whether both directions were seen without a hole.
    pub is_whole: bool,
    /// Whether the port mapper's system has acknowledged everything that was sent to it.
    pub is_acknowledged: bool,
    /// Whether the port mapper closed by RST, or before it had received everything.
    pub is_unread: bool,
    /// Whether more was sent than one whole request.
    pub is_pipelined: bool,
    /// Whether neither side has sent a byte.
    pub is_mute: bool,
}

/// A registered node in an EPMD listing.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct RegisteredName {
    /// Alive name of the node.
    pub name: Arc<str>,
    /// Exact bytes of `name` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Distribution port of the node.
    pub port: u16,
}

/// The outcome of an EPMD request.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum EpmdOutcome {
    /// EPMD gave a complete, positive reply.
    Answered,
    /// The name is not registered: PORT2_RESP with a result other than 0.
    NotRegistered,
    /// The registration was refused: ALIVE2_RESP or ALIVE2_X_RESP with a result other than 0.
    RegistrationRefused,
    /// The SYN was answered by RST or by ICMP unreachable.
    ConnectionRefused,
    /// The SYN was not answered.
    Unanswered,
    /// The complete request was seen, and the connection was closed without a byte of reply.
    NoReply,
    /// The connection does not carry the EPMD protocol.
    Malformed,
    /// EPMD refused the command: `NO` to KILL_REQ, or `NOEXIST` to STOP_REQ.
    CommandRefused,
    /// The connection of the registration was closed.
    Unregistered,
    /// The capture lacks the packets that would decide.
    #[default]
    Incomplete,
}

impl EpmdOutcome {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::NotRegistered => "not_registered",
            Self::RegistrationRefused => "registration_refused",
            Self::ConnectionRefused => "connection_refused",
            Self::Unanswered => "unanswered",
            Self::NoReply => "no_reply",
            Self::Malformed => "malformed",
            Self::CommandRefused => "command_refused",
            Self::Unregistered => "unregistered",
            Self::Incomplete => "incomplete",
        }
    }
}
