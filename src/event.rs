//! Events: what the stages after `conn/` speak, and what the program prints.
//!
//! These types are the output contract. One [`Event`] becomes one line; the JSON Schema is derived from
//! the same types. Fields are only ever added; a rename or a new type for a field raises [`VERSION`].
//!
//! An absent field does not apply. `null` means: looked for and not seen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::capture::FrameRef;
use crate::time::Timestamp;

/// Version of the output contract, on every line.
pub const VERSION: u8 = 1;

/// Takes events as they are settled.
pub trait EventSink {
    /// One event; events come in the order of the packets that settled them.
    fn event(&mut self, event: Event);
}

impl EventSink for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }
}

/// Something that was settled, and by which packet.
#[derive(Clone, Debug)]
pub struct Event {
    /// Capture time of the packet that settled it, or the moment on the capture's clock at which it was
    /// settled without one.
    pub at: Timestamp,
    /// That packet.
    pub frame: Option<FrameRef>,
    /// Input it belongs to where no packet settled it; `None` when about several.
    pub input: Option<u16>,
    /// The TCP connection it is about.
    pub connection: Option<Arc<ConnectionIds>>,
    /// What was settled.
    pub body: Body,
}

/// Names of one TCP connection, on every line about it.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ConnectionIds {
    /// 16 hex digits, the same for the same input on any machine: the first 8 octets of the MD5 of
    /// `src_ip,src_port,dest_ip,dest_port,src_isn,dest_isn`, as far as known at the first line.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub session_id: Arc<str>,
    /// Community ID v1, seed 0.
    pub community_id: Arc<str>,
    /// TCP originator.
    #[schemars(with = "String")]
    pub src_ip: IpAddr,
    /// Its port.
    pub src_port: u16,
    /// TCP responder.
    #[schemars(with = "String")]
    pub dest_ip: IpAddr,
    /// Its port.
    pub dest_port: u16,
    /// Always `"TCP"`.
    #[schemars(extend("const" = "TCP"))]
    pub proto: &'static str,
    /// Outer layers, outermost first, such as `"vlan 7"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encap: Vec<String>,
}

/// What an event says: the body, under a key of the same name as the `event_type` of the line.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is documented at its only field's type")]
pub enum Body {
    Epmd { epmd: Box<Epmd> },
    Handshake { handshake: Box<Handshake> },
    Session { session: Box<Session> },
    Finding { finding: Box<Finding> },
    Incident { incident: Box<Incident> },
    Anomaly { anomaly: Box<Anomaly> },
    Stats { stats: Box<Stats> },
}

impl Body {
    /// `event_type` of the line, and the key of the body.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::Epmd { .. } => "epmd",
            Self::Handshake { .. } => "handshake",
            Self::Session { .. } => "session",
            Self::Finding { .. } => "finding",
            Self::Incident { .. } => "incident",
            Self::Anomaly { .. } => "anomaly",
            Self::Stats { .. } => "stats",
        }
    }
}

/// The Erlang side of a connection that something is about.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node that dialed and sent `send_name`.
    Initiator,
    /// The node that was dialed.
    Acceptor,
}

impl Role {
    /// The other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }

    /// Position in an array kept per role.
    pub const fn index(self) -> usize {
        match self {
            Self::Initiator => 0,
            Self::Acceptor => 1,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Acceptor => "acceptor",
        })
    }
}

/// A 64-bit value as `"0x…"`: JSON numbers end at 2^53.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hex(pub u64);

impl JsonSchema for Hex {
    fn schema_name() -> Cow<'static, str> {
        "Hex".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^0x[0-9a-f]{1,16}$" })
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// One request to a port mapper and what came of it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Epmd {
    /// The specification's name of the request; `null` when it was not seen.
    pub request: Option<&'static str>,
    /// Alive name asked for, registered or stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Exact octets of `name` where they are no UTF-8.
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
    /// Extra octets of the registration.
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
    /// From the request's last octet to the reply's.
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
    pub syn: Option<Mark>,
    /// SYNs sent.
    pub syns: u32,
    /// The request.
    pub request: Option<Mark>,
    /// The reply.
    pub reply: Option<Mark>,
    /// RST or ICMP that ended it, or the first FIN.
    pub close: Option<Mark>,
    /// Type and code of an ICMP "destination unreachable", and who sent it.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// First octets of something that is not the EPMD protocol.
    pub foreign: Option<Foreign>,
}

/// A registered node in an EPMD listing.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct RegisteredName {
    /// Alive name.
    pub name: Arc<str>,
    /// Exact octets of `name` where they are no UTF-8.
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
    /// Request seen whole, connection closed without an octet of reply.
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
    /// Exact octets of `name` where they are no UTF-8.
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
    /// Exact octets of `assigned_name` where they are no UTF-8.
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
    /// What the record rests on.
    #[serde(skip)]
    #[schemars(skip)]
    pub seen: SessionSeen,
}

/// A moment in the capture, and its packet.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Mark {
    /// The packet.
    pub frame: FrameRef,
    /// Its capture time.
    pub at: Timestamp,
}

/// First octets of another protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// Who sent them.
    pub from: Role,
    /// Where.
    pub mark: Mark,
    /// What they look like, in words.
    pub looks_like: &'static str,
}

/// What a [`Session`] rests on; not printed.
#[derive(Clone, Debug, Default)]
pub struct SessionSeen {
    /// First SYN.
    pub syn: Option<Mark>,
    /// SYNs sent.
    pub syns: u32,
    /// SYN-ACK.
    pub syn_ack: Option<Mark>,
    /// `send_name`.
    pub send_name: Option<Mark>,
    /// First status of the acceptor, and its text.
    pub status: Option<(Mark, String)>,
    /// `challenge`.
    pub challenge: Option<Mark>,
    /// `challenge_reply`.
    pub challenge_reply: Option<Mark>,
    /// `challenge_ack`.
    pub challenge_ack: Option<Mark>,
    /// First FIN or RST.
    pub close: Option<Mark>,
    /// Time from the last word of either side to that.
    pub silence_us: u64,
    /// Type and code of an ICMP "destination unreachable" about the SYN, and who sent it.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// Flags that the refusing side demands and the other lacks, by name.
    pub missing_flags: Vec<String>,
    /// First octets of another protocol.
    pub foreign: Option<Foreign>,
    /// The side that spoke TLS, with its first octets.
    pub tls: Option<(Role, Mark)>,
    /// TLS alert that was sent in clear.
    pub tls_alert: Option<u8>,
    /// The message that a side owed when the other gave up.
    pub owed: Option<&'static str>,
    /// Whether a record with this outcome was told before.
    pub again: bool,
    /// Whether what comes in the next moment may show another cause.
    pub is_pending: bool,
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
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
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
    /// Octets that are no handshake.
    NotDistribution,
    /// The capture lacks what would decide.
    Incomplete,
}

/// How sure a statement is.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Something is odd, and a harmless reading is as good.
    Possible,
    /// The protocol's usual reading; `not_excluded` lists the others.
    Likely,
    /// The octets leave no other reading.
    Proven,
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
    /// Exact octets of `node` where they are no UTF-8.
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

/// What an initiator was after.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Wanted {
    /// Part left of the `@`, from the look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<Arc<str>>,
    /// Part right of the `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// What this is known from.
    pub rests_on: Vec<&'static str>,
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

/// What flowed one way.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Flowed {
    /// Length of the stream as far as seen, each octet once, SYN and FIN not counted.
    pub octets: u64,
    /// Octets known to have been sent and not captured.
    pub missing_octets: u64,
    /// Octets sent again.
    pub retransmitted_octets: u64,
    /// Distribution messages after the handshake.
    pub messages: u64,
    /// Ticks.
    pub ticks: u64,
}

/// Something a person should look at.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Finding {
    /// Stable identifier, kebab-case.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// One sentence.
    pub title: String,
    /// What was seen and what it means.
    pub explanation: String,
    /// What to do, one step each.
    pub remedy: Vec<String>,
    /// Nodes concerned, as far as named.
    pub nodes: Vec<Arc<str>>,
    /// Joins a finding with its repeats.
    pub incident_id: Arc<str>,
    /// The packets that show it.
    pub evidence: Vec<Evidence>,
    /// Other readings that the capture leaves open.
    pub not_excluded: Vec<String>,
    /// Which side writes anything about it in its own log; `[]` when none does.
    pub logged_by: Vec<Role>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A packet that shows something.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Evidence {
    /// Frame number within its input.
    #[serde(serialize_with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// Its input, where that is not the line's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Its connection, where that is not the line's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Arc<str>>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    /// What it is.
    pub what: String,
}

/// The end of a finding that repeated.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Incident {
    /// As in the finding.
    pub incident_id: Arc<str>,
    /// As in the finding.
    pub rule: &'static str,
    /// As in the finding.
    pub severity: Severity,
    /// As in the finding.
    pub nodes: Vec<Arc<str>>,
    /// How often it happened, the finding included.
    pub count: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}

/// Something that should not be in such traffic, or in such a capture.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Anomaly {
    /// What kind.
    pub kind: AnomalyKind,
    /// Field at which reading broke, as the specification names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// Octets from the start: of the message, or of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In words.
    pub detail: String,
}

/// Kinds of anomaly.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A message cannot be read as what its tag claims.
    Malformed,
    /// A message where the protocol has no place for it.
    OutOfTurn,
    /// Octets the capture does not have.
    Gap,
    /// Two copies of one stretch of a stream differ.
    OverlapConflict,
    /// A bound of the program was reached.
    Limit,
    /// The input ends in the middle of a record.
    InputTruncated,
    /// The input is damaged.
    InputCorrupt,
    /// The input cannot be opened, or is no capture.
    InputUnreadable,
    /// The input has frames of a link type that is not read.
    UnsupportedLink,
}

impl AnomalyKind {
    /// Whether it is about the input itself and not about what is in it.
    pub const fn is_about_input(self) -> bool {
        matches!(
            self,
            Self::InputTruncated
                | Self::InputCorrupt
                | Self::InputUnreadable
                | Self::UnsupportedLink
        )
    }
}

/// What was read, and what the capture could not show.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Stats {
    /// Whether the run is over.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Frames looked at: read, within the times asked for, and passed by the filter.
    pub packets: u64,
    /// Octets those frames had on the wire.
    pub octets: u64,
    /// Capture time of the first frame; `null` without one.
    pub first: Option<Timestamp>,
    /// Capture time of the last.
    pub last: Option<Timestamp>,
    /// Sessions by the outcome of their last record.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Outcome" }))]
    pub sessions: BTreeMap<Outcome, u64>,
    /// EPMD requests by outcome.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/EpmdOutcome" }))]
    pub epmd: BTreeMap<EpmdOutcome, u64>,
    /// Problems by rule, each counted once.
    pub findings: BTreeMap<&'static str, u64>,
    /// Anomalies by kind.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/AnomalyKind" }))]
    pub anomalies: BTreeMap<AnomalyKind, u64>,
    /// Stretches of Erlang connections that the capture does not have.
    pub gaps: u64,
    /// Octets in them, as far as known.
    pub missing_octets: u64,
    /// Frames that the snaplen cut.
    pub cut_packets: u64,
    /// Connections of which one direction alone was seen.
    pub one_sided: u64,
    /// IP fragments that found no whole datagram.
    pub lost_fragments: u64,
    /// Times the clock of an input went back by more than a millisecond.
    pub clock_steps: u64,
    /// Packets dropped by the kernel's buffer; `null` where the input does not tell.
    pub kernel_drops: Option<u64>,
    /// Packets dropped by the interface; `null` where the input does not tell.
    pub interface_drops: Option<u64>,
    /// Connections and facts forgotten because a bound was reached.
    pub evictions: u64,
    /// False when anything was lost, cut or evicted.
    pub complete: bool,
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z$",
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
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

fn frame_number<S: Serializer>(frame: &FrameRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(frame.number)
}

/// How octets of the wire are turned into text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// Names in the handshake: Latin-1 by protocol, in practice often UTF-8.
    Latin1,
    /// Everything else.
    Utf8,
}

/// Octets from the wire as text, and as hex digits where the text does not keep them.
pub fn wire_text(octets: &[u8], charset: Charset) -> (Arc<str>, Option<String>) {
    if let Ok(text) = std::str::from_utf8(octets) {
        return (Arc::from(text), None);
    }
    let text: Arc<str> = match charset {
        Charset::Latin1 => octets.iter().copied().map(char::from).collect::<String>().into(),
        Charset::Utf8 => String::from_utf8_lossy(octets).into(),
    };
    (text, Some(hex(octets)))
}

/// Octets as lower-case hex digits.
pub fn hex(octets: &[u8]) -> String {
    use fmt::Write;
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}
