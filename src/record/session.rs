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
    /// Who sent it.
    pub from: Role,
    /// Layout on the wire, 5 or 6, where the message has two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Node name, or only its host in a request for a dynamic name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact bytes of `name` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Distribution flags; the high half alone in a `complement`, in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Hex>,
    /// Their names without `DFLAG_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_names: Option<Vec<String>>,
    /// Incarnation of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// Text of a status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Dynamic name granted by a `named:` status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_name: Option<Arc<str>>,
    /// Exact bytes of `assigned_name` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_name_hex: Option<String>,
    /// Label of the candidate cookie that the digest was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Arc<str>>,
    /// The challenge; only with `--include-secrets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<u32>,
    /// The digest, 32 hex digits; only with `--include-secrets`.
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

/// One distribution connection, or an attempt at one. The last record of a `session_id` is the whole
/// truth about it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Session {
    /// What was spoken.
    pub protocol: Protocol,
    /// Where the connection stands.
    pub state: State,
    /// What came of it.
    pub outcome: Outcome,
    /// How sure that is.
    pub confidence: Confidence,
    /// Other readings that the capture leaves open.
    pub not_excluded: Vec<String>,
    /// The side whose behaviour shows the failure, by being the one that gave up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_by: Option<Role>,
    /// How the roles were settled.
    pub orientation: Orientation,
    /// The node that dialed.
    pub initiator: Party,
    /// The node that was dialed.
    pub acceptor: Party,
    /// The handshake message furthest along that was seen whole; `null` for none.
    pub reached: Option<&'static str>,
    /// What the initiator was after, as far as the capture tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// The first to close; `null` while open, or where the capture does not tell.
    pub closed_by: Option<Role>,
    /// How the connection ended, or why an open one is told.
    pub close: Option<CloseKind>,
    /// The EPMD look-up that led here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// From `send_name` to `challenge_ack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_us: Option<u64>,
    /// From the first packet to the last.
    pub duration_us: u64,
    /// What flowed.
    pub traffic: Traffic,
    /// The messages after the handshake, added up; absent where there were none.
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

/// What was spoken on a connection.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Erlang distribution protocol, also where nothing was said on a port known for it.
    Distribution,
    /// TLS on a distribution port.
    Tls,
    /// Something else on a port known for distribution.
    Unknown,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The handshake has just completed.
    Established,
    /// The connection is over.
    Closed,
    /// The input ended, or it went idle, first.
    Open,
}

/// What came of a connection.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake ran to its end, or distribution frames flow.
    Connected,
    /// A digest was refused.
    CookieMismatch,
    /// The acceptor is not who the initiator wanted.
    NameMismatch,
    /// Status `not_allowed`, flags not at fault.
    NotAllowed,
    /// Refused over protocol version or mandatory flags.
    VersionMismatch,
    /// Status `alive`, answered `false` or closed.
    AlreadyConnected,
    /// Given up for a simultaneous connection.
    Superseded,
    /// One side TLS, the other not.
    TlsMismatch,
    /// Both sides spoke TLS: what is inside is not known.
    Tls,
    /// A side fell silent in mid-handshake and the other gave up.
    TimedOut,
    /// RST or ICMP unreachable to the SYN.
    Refused,
    /// SYN without an answer.
    Unanswered,
    /// Closed in mid-handshake with none of the above to explain it.
    Aborted,
    /// Bytes that are no handshake.
    NotDistribution,
    /// The capture lacks what would decide.
    Incomplete,
}

impl Outcome {
    /// Whether an attempt that ended so was in vain, as far as the capture tells.
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

/// How the roles of the two sides were settled.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// By the SYN or SYN-ACK.
    Syn,
    /// By a port known as that of a node.
    Epmd,
    /// By the handshake messages.
    Handshake,
    /// By who was seen to speak first.
    Guess,
}

/// One side of a session.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Party {
    /// Node name, as this side gave it; `null` when not seen.
    pub node: Option<Arc<str>>,
    /// Exact bytes of `node` where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_hex: Option<String>,
    /// Layout of its hello, 5 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u8>,
    /// Its flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Hex>,
    /// Its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation: Option<u32>,
    /// What else they tell.
    #[serde(skip)]
    #[schemars(skip)]
    pub abilities: Option<Abilities>,
    /// Oldest OTP release that sends such flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otp_at_least: Option<u16>,
    /// Label of the candidate cookie that its digest was made with; `null` when none fits or no digest
    /// was seen.
    pub cookie: Option<Arc<str>>,
    /// Its address, where the Erlang roles differ from source and destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ip: Option<IpAddr>,
    /// Its port, likewise.
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

/// What an initiator was after.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Wanted {
    /// Part left of the `@`, from the look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<Arc<str>>,
    /// Part right of the `@`; absent once the initiator has taken the acceptor's name for the one it
    /// dialed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// What this is known from: `epmd`, `dns`, `other_session`, `capture_names`.
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
    /// Its own connection.
    pub session_id: Arc<str>,
    /// Frame of the answer.
    #[serde(serialize_with = "frame_number", rename = "frame")]
    #[schemars(with = "u64")]
    pub reply: FrameRef,
    /// Alive name asked for.
    pub asked: Arc<str>,
    /// Port answered.
    pub port: u16,
    /// Highest handshake version in the answer.
    #[serde(skip)]
    #[schemars(skip)]
    pub highest_version: u16,
}

/// How a connection ended, or why an open one is told.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseKind {
    /// FIN.
    Fin,
    /// RST.
    Rst,
    /// Nothing came for long.
    Idle,
    /// The input ended.
    InputEnd,
}

/// What flowed on a connection, by the Erlang roles.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Traffic {
    /// From initiator to acceptor.
    pub initiator: Flowed,
    /// From acceptor to initiator.
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

/// What flowed one way.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Flowed {
    /// Length of the stream as far as seen, each byte once, SYN and FIN not counted.
    pub bytes: u64,
    /// Bytes known to have been sent and not captured.
    pub missing_bytes: u64,
    /// Bytes sent again.
    pub retransmitted_bytes: u64,
    /// Distribution messages after the handshake.
    pub messages: u64,
    /// Ticks.
    pub ticks: u64,
}
