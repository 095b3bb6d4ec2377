//! `epmd`: one request to EPMD and its outcome.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Foreign, Role};
use crate::packet::PacketRef;

/// One request to EPMD and its outcome.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Epmd {
    /// Name of the request in the specification; `null` if the request was not seen.
    pub request: Option<&'static str>,
    /// Alive name that is looked up, registered or stopped: the part of a node name before the `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Outcome of the request.
    pub outcome: EpmdOutcome,
    /// Name of the reply in the specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'static str>,
    /// Result code of the reply, 0 for success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<u8>,
    /// Distribution port in the registration or in the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Node type: `normal`, `hidden`, or the number on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<NodeType>,
    /// Highest handshake version that the node supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_version: Option<u16>,
    /// Lowest handshake version that the node supports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_version: Option<u16>,
    /// Transport protocol, 0 for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Extra bytes of the registration in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hex: Option<String>,
    /// Creation that EPMD gave to the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Time from the last byte of the request to the last byte of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_us: Option<u64>,
    /// Duration of the registration; only with `unregistered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_us: Option<u64>,
    /// What the record rests on.
    #[serde(skip)]
    #[schemars(skip)]
    pub seen: EpmdSeen,
}

/// What an [`Epmd`] record rests on; not printed.
#[derive(Clone, Debug, Default)]
pub struct EpmdSeen {
    /// First SYN of the connection, with its time.
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
    /// The first to close, once the connection was open: the one who asks is the initiator.
    pub closed_by: Option<Role>,
    /// Whether both directions were seen without a hole.
    pub is_whole: bool,
    /// Whether the port mapper's system has acknowledged everything that was sent to it.
    pub is_acknowledged: bool,
    /// Whether the port mapper closed by RST, or before it had heard everything.
    pub is_unread: bool,
    /// Whether more was sent than one whole request.
    pub is_pipelined: bool,
    /// Whether neither side has said a word.
    pub is_mute: bool,
}

/// A registered node in an EPMD listing.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
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

/// The node type in an EPMD registration.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum NodeType {
    /// `normal` (77) or `hidden` (72).
    Named(&'static str),
    /// Any other value on the wire.
    Number(u8),
}

/// The outcome of an EPMD request.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
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
