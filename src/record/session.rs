//! `handshake` and `session`: one handshake message; one distribution connection, or an attempt at one.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Confidence, Foreign, Hex, Implementation, Messages, Role, frame_number};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// One handshake message.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Handshake {
    /// `send_name`, `status`, `challenge`, `complement`, `challenge_reply` or `challenge_ack`.
    pub message: &'static str,
    /// The side that sent the message.
    pub from: Role,
    /// Handshake version of the message, 5 or 6, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Node name, or only the host in a request for a dynamic name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Distribution flags; a `complement` has the upper 32 bits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Hex>,
    /// Names of the flags without `DFLAG_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_names: Option<Vec<String>>,
    /// Creation of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Text of a `status` message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Dynamic name granted by a `named:` status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_name: Option<Arc<str>>,
    /// Exact bytes of `assigned_name` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_name_hex: Option<String>,
    /// Label of the candidate cookie that the digest was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Arc<str>>,
    /// Number in the challenge; only with `--include-secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<u32>,
    /// Digest as 32 hex digits; only with `--include-secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Handshake {
    /// A message of which nothing more is told than what it is.
    pub const fn new(message: &'static str, from: Role) -> Self {
        Self {
            message,
            from,
            version: None,
            name: None,
            name_hex: None,
            flags: None,
            flag_names: None,
            creation: None,
            status: None,
            assigned_name: None,
            assigned_name_hex: None,
            cookie: None,
            challenge: None,
            digest: None,
        }
    }
}

/// One distribution connection, or an attempt at one. The last record of a `session_id` replaces the
/// earlier ones.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Session {
    /// Protocol of the connection.
    pub protocol: Protocol,
    /// State of the connection.
    pub state: State,
    /// Outcome of the connection or attempt.
    pub outcome: Outcome,
    /// How certain the outcome is.
    pub confidence: Confidence,
    /// Other explanations that the capture does not rule out.
    pub not_excluded: Vec<String>,
    /// The side that detected the failure and gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_by: Option<Role>,
    /// How the roles of the two sides were determined.
    pub orientation: Orientation,
    /// The node that dialed.
    pub initiator: Party,
    /// The node that was dialed.
    pub acceptor: Party,
    /// The last message of the handshake that was seen completely; `null` if none was.
    pub reached: Option<&'static str>,
    /// The node that the initiator wanted to reach, as far as the capture shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// The side that closed first; `null` if the connection is open or the capture does not show it.
    pub closed_by: Option<Role>,
    /// How the connection ended, or why an open one is reported.
    pub close: Option<CloseKind>,
    /// The EPMD look-up before the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// Time from `send_name` to `challenge_ack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<u64>,
    /// Time from the first packet to the last.
    pub duration_us: u64,
    /// Bytes and messages of each side.
    pub traffic: Traffic,
    /// Totals of the messages after the handshake; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Box<Messages>>,
    /// What the record rests on.
    #[serde(skip)]
    #[schemars(skip)]
    pub seen: SessionSeen,
}

impl SessionSeen {
    /// The message in which the side in this role gave its name.
    pub const fn hello(&self, role: Role) -> Option<PacketRef> {
        match role {
            Role::Initiator => self.send_name,
            Role::Acceptor => self.challenge,
        }
    }
}

impl Session {
    /// The side in this role.
    pub const fn party(&self, role: Role) -> &Party {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }
}

/// What a [`Session`] rests on; not printed.
#[derive(Clone, Debug, Default)]
pub struct SessionSeen {
    /// First SYN.
    pub syn: Option<PacketRef>,
    /// SYNs sent.
    pub syns: u32,
    /// SYN-ACK.
    pub syn_ack: Option<PacketRef>,
    /// `send_name`.
    pub send_name: Option<PacketRef>,
    /// First status of the acceptor, and its text.
    pub status: Option<(PacketRef, String)>,
    /// The initiator's word on `alive`, and whether it was `true`.
    pub alive_reply: Option<(PacketRef, bool)>,
    /// `challenge`.
    pub challenge: Option<PacketRef>,
    /// `challenge_reply`.
    pub challenge_reply: Option<PacketRef>,
    /// What is odd about the initiator's challenge in it.
    pub odd_challenge: Option<OddChallenge>,
    /// `challenge_ack`.
    pub challenge_ack: Option<PacketRef>,
    /// First FIN or RST.
    pub close: Option<PacketRef>,
    /// The last packet of the connection.
    pub last: Option<PacketRef>,
    /// Whether the close is the RST of a host that does not know the connection any more.
    pub is_answer: bool,
    /// When each side closed, by [`Role::index`]; `None` where it did not, or the capture lacks its FIN.
    pub closed_at: [Option<Timestamp>; 2],
    /// Whether each side sent a FIN that the capture lacks, by [`Role::index`], as below.
    pub fin_unseen: [bool; 2],
    /// When each side last sent bytes before the close, new or again.
    pub last_bytes: [Option<Timestamp>; 2],
    /// When each side last sent a segment of any kind.
    pub last_segment: [Option<Timestamp>; 2],
    /// Since when bytes of each side waited to be acknowledged, where they still did.
    pub unanswered: [Option<Timestamp>; 2],
    /// The side that has fallen silent, with its last word: the other will give up on it.
    pub silent: Option<(Role, PacketRef)>,
    /// The first frame of either side that a node would refuse, and what of it.
    pub corrupt: Option<(Role, PacketRef, &'static str)>,
    /// Shortest time from one tick of each side to its next.
    pub tick_period_us: [Option<u64>; 2],
    /// The longest time that each side let the other send nothing.
    pub stalls: [Option<Stall>; 2],
    /// Time from the last word of either side to that.
    pub silence_us: u64,
    /// Type and code of an ICMP "destination unreachable" about the SYN, and who sent it.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// Flags that the refusing side demands and the other lacks, by name.
    pub missing_flags: Vec<String>,
    /// First bytes of another protocol.
    pub foreign: Option<Foreign>,
    /// The side that spoke TLS, with its first bytes.
    pub tls: Option<(Role, PacketRef)>,
    /// The alert that ends a TLS connection: the first in clear, or a sealed one.
    pub tls_alert: Option<TlsAlert>,
    /// The message that a side owed when the other gave up.
    pub owed: Option<&'static str>,
    /// What tells the wanted host.
    pub host_clue: Option<HostClue>,
    /// Whether a record with this outcome was told before.
    pub again: bool,
    /// Whether what comes in the next moment may show another cause.
    pub is_pending: bool,
}

/// A time in which a side let the other send nothing, for want of room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stall {
    /// Its first segment that says so.
    pub since: PacketRef,
    /// How long.
    pub lasted_us: u64,
    /// Whether it sent bytes of its own meanwhile.
    pub spoke: bool,
}

/// A challenge that is no random number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OddChallenge {
    /// One of those that simple programs send each time: 0, or the bytes 1 to 4.
    Constant,
    /// That of the other side.
    Echo,
}

/// An alert that ends a TLS connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TlsAlert {
    /// Who sent it.
    pub from: Role,
    /// Where.
    pub mark: PacketRef,
    /// What it says.
    pub says: AlertSays,
}

/// What an alert says of why it was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AlertSays {
    /// In clear: its number, as in IANA's "TLS Alerts".
    Number(u8),
    /// Sealed, in answer to the other side's part of the handshake, which brought a certificate.
    RefusedCertificate,
    /// Sealed, in answer to a part of the handshake that had an empty place for a certificate.
    RefusedNoCertificate,
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Erlang distribution protocol, also for a connection without data to a known distribution port.
    Distribution,
    /// TLS on a port known for distribution.
    Tls,
    /// Another protocol on a port known for distribution.
    Unknown,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The handshake has just completed.
    Established,
    /// The connection was closed.
    Closed,
    /// The input ended, or the connection became idle, before a close.
    Open,
}

/// The outcome of a connection or attempt.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed, or distribution frames were seen.
    Connected,
    /// A side refused the digest of the other.
    CookieMismatch,
    /// The acceptor has another name than the initiator dialed.
    NameMismatch,
    /// The acceptor sent the status `not_allowed`, and no flag explains it.
    NotAllowed,
    /// A side refused the protocol version or missed mandatory flags.
    VersionMismatch,
    /// The acceptor sent the status `alive`, and the initiator answered `false` or closed.
    AlreadyConnected,
    /// The attempt was dropped for a simultaneous connection.
    Superseded,
    /// One side uses TLS, the other does not.
    TlsMismatch,
    /// Both sides use TLS; the outcome inside is not visible.
    Tls,
    /// A side stopped answering during the handshake, and the other gave up.
    TimedOut,
    /// The SYN was answered by RST or by ICMP unreachable.
    Refused,
    /// The SYN was not answered.
    Unanswered,
    /// The connection was closed during the handshake, and none of the above explains it.
    Aborted,
    /// The connection does not carry the distribution protocol.
    NotDistribution,
    /// The capture lacks the packets that would decide.
    Incomplete,
}

impl Outcome {
    /// True for the outcome of an attempt that failed, as far as the capture shows.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Connected
            | Self::AlreadyConnected
            | Self::Superseded
            | Self::Tls
            | Self::Incomplete => false,
            Self::CookieMismatch
            | Self::NameMismatch
            | Self::NotAllowed
            | Self::VersionMismatch
            | Self::TlsMismatch
            | Self::TimedOut
            | Self::Refused
            | Self::Unanswered
            | Self::Aborted
            | Self::NotDistribution => true,
        }
    }
}

/// How the roles of the two sides were determined.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// By the SYN or SYN-ACK.
    Syn,
    /// By a port known as that of a node.
    Epmd,
    /// By the handshake messages.
    Handshake,
    /// By the side that sent the first data.
    Guess,
}

/// One side of a session.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Party {
    /// Node name, as this side sent it; `null` if not seen.
    pub node: Option<Arc<str>>,
    /// Exact bytes of `node` in hex, if they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_hex: Option<String>,
    /// Handshake version of this side, 5 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Distribution flags of this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Hex>,
    /// Creation of this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// What else they tell.
    #[serde(skip)]
    #[schemars(skip)]
    pub abilities: Option<Abilities>,
    /// Oldest OTP release that sends such flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_least: Option<u16>,
    /// Label of the candidate cookie that its digest was made with; `null` if none fits or no digest was
    /// seen.
    pub cookie: Option<Arc<str>>,
    /// Address of this side, if the initiator is not the source of the TCP connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ip: Option<IpAddr>,
    /// Port of this side, in the same case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a hello's flags tell of its sender; not printed with the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Abilities {
    /// It is to be in `nodes()` of its peer.
    pub published: bool,
    /// It asks for a name, or echoes that somebody did.
    pub names: bool,
    /// It is of OTP 23 or later: these send all they can in either hello. Older ones answer with what
    /// both nodes have, and hide from hidden nodes.
    pub answers_whole: bool,
    /// Who sends such flags.
    pub implementation: Implementation,
    /// Newest release that sends such flags; `None` where that is the newest known.
    pub otp_at_most: Option<u16>,
    /// Newest release that takes a node with such flags, and the flags that the next one misses;
    /// `None` where every one known does.
    pub accepted_up_to: Option<(u16, Vec<String>)>,
}

/// The node that an initiator wanted to reach.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Wanted {
    /// Part of the node name before the `@`, from the look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<Arc<str>>,
    /// Part of the node name after the `@`; absent once the initiator accepted the name of the acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// Sources of the name: `epmd`, `dns`, `other_session`, `capture_names`.
    pub rests_on: Vec<&'static str>,
}

/// A host that an initiator may have dialed; not printed as such.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostClue {
    /// The part right of the `@`, as it was typed.
    pub host: Arc<str>,
    /// What tells it.
    pub ground: Ground,
}

/// What tells the host that an initiator wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ground {
    /// The initiator asked a name server shortly before, and this address was the answer.
    Dns {
        /// The answer.
        frame: FrameRef,
        /// The name as it was asked for.
        asked: Arc<str>,
    },
    /// Shortly before, this address was announced to all under that name (mDNS).
    Mdns(FrameRef),
    /// After the same look-up, the same initiator has connected to a node on that host.
    OtherSession {
        /// Its connection.
        session_id: Arc<str>,
        /// The packet that showed its name.
        frame: FrameRef,
    },
    /// The capture brings a list of names, in which this address has that one.
    CaptureNames,
}

impl Ground {
    /// As printed in `rests_on`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dns { .. } | Self::Mdns(_) => "dns",
            Self::OtherSession { .. } => "other_session",
            Self::CaptureNames => "capture_names",
        }
    }
}

/// The EPMD look-up that led to a connection.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Lookup {
    /// Connection of the look-up.
    pub session_id: Arc<str>,
    /// Frame of the reply.
    #[serde(serialize_with = "frame_number", rename = "frame")]
    #[schemars(with = "u64")]
    pub reply: FrameRef,
    /// Alive name that was looked up.
    pub asked: Arc<str>,
    /// Distribution port in the reply.
    pub port: u16,
    /// Highest handshake version in the answer.
    #[serde(skip)]
    #[schemars(skip)]
    pub highest_version: u16,
}

/// How a connection ended, or why an open one is reported.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseKind {
    /// A side sent a FIN first.
    Fin,
    /// A side sent an RST.
    Rst,
    /// No packet came for a long time.
    Idle,
    /// The input ended before a close.
    InputEnd,
}

/// Bytes and messages of a connection, by sender.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Traffic {
    /// Data from the initiator to the acceptor.
    pub initiator: Flowed,
    /// Data from the acceptor to the initiator.
    pub acceptor: Flowed,
}

impl Traffic {
    /// What the side in this role sent.
    pub const fn of(&self, role: Role) -> &Flowed {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }
}

/// Bytes and messages of one direction.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Flowed {
    /// Length of the TCP stream in bytes, as far as seen, without retransmissions.
    pub bytes: u64,
    /// Number of bytes that were sent and not captured.
    pub missing_bytes: u64,
    /// Number of bytes that were retransmitted.
    pub retransmitted_bytes: u64,
    /// Number of distribution messages after the handshake.
    pub messages: u64,
    /// Number of ticks.
    pub ticks: u64,
}
