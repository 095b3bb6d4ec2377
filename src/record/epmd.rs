//! `epmd`: one request to a port mapper and what came of it.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Foreign, Role};
use crate::packet::PacketRef;

/// One request to a port mapper and what came of it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Epmd {
    /// The specification's name of the request; `null` when it was not seen.
    pub request: Option<&'static str>,
    /// Alive name asked for, registered or stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// What came of it.
    pub outcome: EpmdOutcome,
    /// The specification's name of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'static str>,
    /// Result code of the reply, 0 for success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<u8>,
    /// Distribution port registered or answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `normal`, `hidden`, or the number on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_type: Option<NodeType>,
    /// Highest handshake version the node speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_version: Option<u16>,
    /// Lowest handshake version the node says it speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowest_version: Option<u16>,
    /// Transport, 0 for TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Extra bytes of the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_hex: Option<String>,
    /// Creation given to the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// From the request's last byte to the reply's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time_us: Option<u64>,
    /// How long the registration lasted, with `unregistered`.
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
    /// Alive name.
    pub name: Arc<str>,
    /// Exact bytes of `name` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Distribution port.
    pub port: u16,
}

/// Node type of an EPMD registration.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
pub enum NodeType {
    /// `normal` (77) or `hidden` (72).
    Named(&'static str),
    /// Any other value.
    Number(u8),
}

/// What came of an EPMD request.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum EpmdOutcome {
    /// A whole reply, and a positive one.
    Answered,
    /// PORT2_RESP with a result other than 0.
    NotRegistered,
    /// ALIVE2_RESP or ALIVE2_X_RESP with a result other than 0.
    RegistrationRefused,
    /// RST, or ICMP unreachable, to the SYN.
    ConnectionRefused,
    /// SYN without an answer.
    Unanswered,
    /// Request seen whole, connection closed without a byte of reply.
    NoReply,
    /// Not the EPMD protocol.
    Malformed,
    /// KILL answered `NO`, STOP answered `NOEXIST…`.
    CommandRefused,
    /// The registration's connection closed.
    Unregistered,
    /// The capture lacks what would decide.
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
