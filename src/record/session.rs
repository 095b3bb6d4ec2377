//! `handshake` and `session`: one handshake message; one distribution connection, or an attempt at one.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::kept::{self, ContractName};
use super::{Confidence, Hex, Messages, Role, SessionTls, Step, frame_number, is_false};
use crate::judge::world::{HostClue, PriorLookup};
pub use crate::judge::{IncompleteBecause, Outcome, Protocol};
use crate::judge::{Software, Verdict};
pub use crate::observe::{CloseKind, Orientation, State};
use crate::observe::{
    ConnectionIds, DistFlags, FrameTraffic, HandshakeObservation, MessageKind, Observation,
    PerRole, TcpSide,
};
use crate::packet::FrameRef;
use crate::time::micros;

/// One message of a distribution handshake.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Handshake {
    /// `send_name`, `status`, `challenge`, `complement`, `challenge_reply` or `challenge_ack`.
    #[serde(deserialize_with = "kept::name")]
    pub message: ContractName,
    /// The side that sent the message.
    pub from: Role,
    /// Name of the initiator, from this message or one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator: Option<Arc<str>>,
    /// Name of the acceptor, from this message or one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptor: Option<Arc<str>>,
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
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "flag_names",
        skip_deserializing
    )]
    #[schemars(with = "Option<Vec<String>>")]
    pub flag_names: Option<DistFlags>,
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
    /// The record of an observed message.
    pub fn of(message: &HandshakeObservation) -> Self {
        Self {
            message: message.message.name(),
            from: message.from,
            initiator: message.nodes.initiator.clone(),
            acceptor: message.nodes.acceptor.clone(),
            version: message.version,
            name: message.name.clone(),
            name_hex: message.name_hex.clone(),
            flags: message.flags.map(|flags| Hex(flags.0)),
            flag_names: message.flags,
            creation: message.creation,
            status: message.status.clone(),
            assigned_name: message.assigned_name.clone(),
            assigned_name_hex: message.assigned_name_hex.clone(),
            cookie: message.cookie.clone(),
            challenge: message.challenge,
            digest: message.digest.clone(),
        }
    }
}

/// Writes the names of flags straight into the output: a vector of them took as long as the rest of the line.
fn flag_names<S: Serializer>(flags: &Option<DistFlags>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(flags.iter().flat_map(|flags| flags.names()))
}

/// One distribution connection, or an attempt at one. The last record of a `session_id` replaces the
/// earlier ones.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Session {
    /// Protocol of the connection.
    pub protocol: Protocol,
    /// State of the connection.
    pub state: State,
    /// Outcome of the connection or attempt.
    pub outcome: Outcome,
    /// True if the order of the TLS records shows that the two nodes connected inside TLS; else absent.
    #[serde(skip_serializing_if = "is_false", default)]
    pub connected_inside: bool,
    /// TLS on the connection; absent without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<SessionTls>>,
    /// What the capture lacks; only with the outcome `incomplete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete_because: Option<IncompleteBecause>,
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
    #[serde(deserialize_with = "kept::maybe_name")]
    pub reached: Option<ContractName>,
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
    /// The packets that opened and closed the connection, TLS records, and bytes that were sent again, in order of
    /// time.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
    /// Totals of the messages after the handshake; absent if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Box<Messages>>,
    /// The last packet of the connection so far, for a comment on it.
    #[serde(skip)]
    pub last_frame: Option<FrameRef>,
}

impl Session {
    /// The record of an observation and its verdict. `ids` are those of the line, whose addresses are not repeated.
    pub fn of(ids: &ConnectionIds, seen: &Observation, verdict: &Verdict) -> Self {
        let PerRole { initiator, acceptor } = PerRole::from_fn(|role| Party::of(ids, seen, role));
        let sent = |role: Role| DirectionTraffic::of(&seen.tcp.sides[role], &seen.traffic[role]);
        Self {
            protocol: verdict.protocol,
            state: seen.state(),
            outcome: verdict.outcome,
            connected_inside: verdict.tls_link.is_some(),
            tls: SessionTls::of(seen, verdict).map(Box::new),
            incomplete_because: (verdict.outcome == Outcome::Incomplete)
                .then(|| IncompleteBecause::of(seen)),
            confidence: verdict.confidence,
            not_excluded: verdict.not_excluded.iter().map(ToString::to_string).collect(),
            detected_by: verdict.detected_by,
            orientation: seen.orientation,
            initiator,
            acceptor,
            reached: seen.handshake.reached().map(MessageKind::name),
            wanted: Wanted::of(verdict.lookup.as_ref(), verdict.host.as_ref()),
            closed_by: seen.closed_by(),
            close: seen.close_kind(),
            lookup: verdict.lookup.as_ref().map(Lookup::of),
            handshake_us: seen.handshake_us(),
            duration_us: micros(seen.duration()),
            traffic: Traffic { initiator: sent(Role::Initiator), acceptor: sent(Role::Acceptor) },
            steps: Step::of_connection(ids, seen),
            messages: Messages::of(&seen.messages).map(Box::new),
            last_frame: Some(seen.tcp.last.frame),
        }
    }

    /// A copy without the totals of messages, which are the most of it.
    pub(crate) fn outline(&self) -> Self {
        Self {
            protocol: self.protocol,
            state: self.state,
            outcome: self.outcome,
            connected_inside: self.connected_inside,
            tls: self.tls.clone(),
            incomplete_because: self.incomplete_because,
            confidence: self.confidence,
            not_excluded: self.not_excluded.clone(),
            detected_by: self.detected_by,
            orientation: self.orientation,
            initiator: self.initiator.clone(),
            acceptor: self.acceptor.clone(),
            reached: self.reached,
            wanted: self.wanted.clone(),
            closed_by: self.closed_by,
            close: self.close,
            lookup: self.lookup.clone(),
            handshake_us: self.handshake_us,
            duration_us: self.duration_us,
            traffic: self.traffic,
            last_frame: self.last_frame,
            steps: self.steps.clone(),
            messages: None,
        }
    }

    /// The side in this role.
    pub const fn party(&self, role: Role) -> &Party {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }
}

/// One side of a session.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
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

impl Party {
    fn of(ids: &ConnectionIds, seen: &Observation, role: Role) -> Self {
        let name = seen.handshake.name(role);
        let end = seen.ends[role];
        let printed = match role {
            Role::Initiator => (ids.src_ip, ids.src_port),
            Role::Acceptor => (ids.dest_ip, ids.dest_port),
        };
        let own_end = ((end.ip, end.port) != printed).then_some(end);
        let hello = seen.handshake.hello(role).map(|hello| &hello.what);
        let software = Software::of(&seen.handshake, role);
        Self {
            node: name.map(|(name, _)| Arc::clone(name)),
            node_hex: name.and_then(|(_, hex)| hex.cloned()),
            version: hello.map(|hello| hello.version),
            flags: hello.map(|hello| Hex(hello.flags.0)),
            creation: seen.handshake.creation(role),
            otp_at_least: software.and_then(|software| software.at_least),
            cookie: seen.handshake.cookies[role].label().cloned(),
            ip: own_end.map(|end| end.ip),
            port: own_end.map(|end| end.port),
        }
    }
}

/// The node that an initiator wanted to reach.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Wanted {
    /// Part of the node name before the `@`, from the look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alive: Option<Arc<str>>,
    /// Part of the node name after the `@`; absent once the initiator accepted the name of the acceptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// Sources of the name: `epmd`, `dns`, `other_session`, `capture_names`, `tls`.
    #[serde(deserialize_with = "kept::names")]
    pub rests_on: Vec<ContractName>,
}

impl Wanted {
    fn of(lookup: Option<&PriorLookup>, host: Option<&HostClue>) -> Option<Self> {
        let rests_on = lookup.iter().map(|_| "epmd");
        let rests_on: Vec<_> = rests_on.chain(host.iter().map(|clue| clue.ground.name())).collect();
        (!rests_on.is_empty()).then(|| Self {
            alive: lookup.map(|lookup| Arc::clone(&lookup.asked)),
            host: host.map(|clue| Arc::clone(&clue.host)),
            rests_on,
        })
    }
}

/// The EPMD look-up that led to a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Lookup {
    /// Connection of the look-up.
    pub session_id: Arc<str>,
    /// Frame of the reply.
    #[serde(with = "frame_number", rename = "frame")]
    #[schemars(with = "u64")]
    pub reply: FrameRef,
    /// Alive name that was looked up.
    pub asked: Arc<str>,
    /// Distribution port in the reply.
    pub port: u16,
}

impl Lookup {
    fn of(lookup: &PriorLookup) -> Self {
        let PriorLookup { session_id, reply, asked, port, .. } = lookup;
        let (session_id, asked) = (Arc::clone(session_id), Arc::clone(asked));
        Self { session_id, reply: *reply, asked, port: *port }
    }
}

/// Bytes and messages of a connection, by sender.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Traffic {
    /// Data from the initiator to the acceptor.
    pub initiator: DirectionTraffic,
    /// Data from the acceptor to the initiator.
    pub acceptor: DirectionTraffic,
}

impl Traffic {
    /// What the side in this role sent.
    pub const fn of(&self, role: Role) -> &DirectionTraffic {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }
}

/// Bytes and messages of one direction.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct DirectionTraffic {
    /// Length of the TCP stream in bytes, as far as seen, without retransmissions.
    pub bytes: u64,
    /// Number of bytes that were sent and not captured.
    pub missing_bytes: u64,
    /// Number of bytes that were retransmitted.
    pub retransmitted_bytes: u64,
    /// Number of distribution messages after the handshake.
    pub messages: u64,
    /// Number of ticks that this side sent.
    pub ticks: u64,
}

impl DirectionTraffic {
    const fn of(tcp: &TcpSide, frames: &FrameTraffic) -> Self {
        Self {
            bytes: tcp.bytes,
            missing_bytes: tcp.missing_bytes,
            retransmitted_bytes: tcp.retransmitted_bytes,
            messages: frames.messages,
            ticks: frames.ticks,
        }
    }
}
