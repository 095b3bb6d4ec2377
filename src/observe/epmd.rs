//! What one request to EPMD showed.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Delivery, EpmdNodeType, EpmdTag, Foreign, PerRole, ProxyHeaderFacts, Rare, Role, TlsSide,
    is_default,
};
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// One request to EPMD and its outcome.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EpmdObservation {
    /// Tag of the request; `None` if the request was not seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: Option<EpmdTag>,
    /// Alive name that was looked up, registered or stopped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex if they are not UTF-8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name_hex: Option<String>,
    /// Outcome of the request.
    pub outcome: EpmdOutcome,
    /// Tag of the reply.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response: Option<EpmdTag>,
    /// Result code of the reply, 0 for success.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result: Option<u8>,
    /// Distribution port in the registration or the answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub port: Option<u16>,
    /// Node type in the registration or the answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_type: Option<EpmdNodeType>,
    /// Highest handshake version that the node supports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub highest_version: Option<u16>,
    /// Lowest handshake version that the node claims to support.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lowest_version: Option<u16>,
    /// Transport protocol, 0 for TCP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Option<u8>,
    /// Extra bytes of the registration, in hex.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extra_hex: Option<String>,
    /// Creation that EPMD assigned to the node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub creation: Option<u32>,
    /// Registered nodes, for `NAMES_REQ` and `DUMP_REQ`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub names: Option<Vec<RegisteredName>>,
    /// Text of the reply to `KILL_REQ` and `STOP_REQ`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reply: Option<String>,
    /// Time from the last byte of the request to that of the reply, in microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response_time_us: Option<u64>,
    /// How long the registration lasted in microseconds, with [`EpmdOutcome::Unregistered`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub lifetime_us: Option<u64>,
    /// The packets of the request, and the state of its TCP connection.
    pub seen: EpmdPackets,
}

/// Packets of a request to EPMD, and the state of its TCP connection.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EpmdPackets {
    /// The first SYN of the connection.
    #[serde(default, skip_serializing_if = "is_default")]
    pub syn: Option<PacketRef>,
    /// Number of SYNs sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub syns: u32,
    /// Sequence number of the first byte of each side, as far as its SYN or an acknowledgement shows it; the client is the
    /// initiator.
    #[serde(default, skip_serializing_if = "is_default")]
    pub starts: PerRole<Option<u32>>,
    /// The packet with the end of the request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request: Option<PacketRef>,
    /// The packet with the end of the reply.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reply: Option<PacketRef>,
    /// The RST or ICMP packet that ended it, or the first FIN.
    #[serde(default, skip_serializing_if = "is_default")]
    pub close: Option<PacketRef>,
    /// Type and code of an ICMP "destination unreachable", and the address of its sender.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// The first bytes of a protocol other than EPMD's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub foreign: Option<Foreign>,
    /// The PROXY protocol header in front of the request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy: Option<ProxyHeaderFacts>,
    /// What both sides showed of TLS around EPMD's protocol, the client first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: PerRole<Rare<TlsSide>>,
    /// The first side to close the open connection; the client is the initiator.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closed_by: Option<Role>,
    /// Whether both directions were seen without a gap.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_whole: bool,
    /// Whether EPMD's host acknowledged every byte that was sent to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_acknowledged: bool,
    /// Whether EPMD closed with RST, or before it had received everything.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_unread: bool,
    /// Whether the client sent more than one complete request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_pipelined: bool,
    /// Whether neither side sent a byte.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_mute: bool,
    /// What of the bytes of each side arrived at the other; the client is the initiator.
    #[serde(default, skip_serializing_if = "is_default")]
    pub delivery: PerRole<Delivery>,
    /// When each side last sent a segment of any kind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_segment: PerRole<Option<Timestamp>>,
}

/// A registered node in an EPMD listing.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
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
    /// The request, or the reply to it, was sent and never acknowledged: it did not arrive.
    Unacknowledged,
    /// The capture lacks the packets that would decide.
    #[default]
    Incomplete,
}

impl EpmdOutcome {
    /// True for the outcome of a request that failed, as far as the capture shows.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Answered | Self::Unregistered | Self::Incomplete)
    }
}

impl EpmdOutcome {
    /// The word for it in the output.
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
            Self::Unacknowledged => "unacknowledged",
            Self::Incomplete => "incomplete",
        }
    }
}
