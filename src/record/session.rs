//! `handshake` and `session`: one handshake message; one distribution connection, or an attempt at one.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Confidence, Hex, Messages, Role, frame_number};
use crate::judge::Verdict;
use crate::judge::world::{HostClue, PriorLookup};
pub use crate::judge::{Outcome, Protocol};
pub use crate::observe::{CloseKind, Orientation, State};
use crate::observe::{
    ConnectionIds, DistFlags, FrameTraffic, HandshakeObservation, Hello, MessageKind, Observation,
    PerRole, TcpSide,
};
use crate::packet::FrameRef;
use crate::time::micros;

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
    /// The printed form of a message.
    pub fn of(message: &HandshakeObservation) -> Self {
        let flag_names = message.flags.map(|flags| flags.names().map(Cow::into_owned).collect());
        Self {
            message: message.message.name(),
            from: message.from,
            version: message.version,
            name: message.name.clone(),
            name_hex: message.name_hex.clone(),
            flags: message.flags.map(|flags| Hex(flags.0)),
            flag_names,
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
}

impl Session {
    /// The printed form of what a connection showed, on the line of `ids`, and of the verdict on it.
    pub fn of(ids: &ConnectionIds, seen: &Observation, verdict: &Verdict) -> Self {
        let PerRole { initiator, acceptor } = PerRole::from_fn(|role| Party::of(ids, seen, role));
        let flowed = |role: Role| Flowed::of(&seen.tcp.sides[role], &seen.traffic[role]);
        Self {
            protocol: verdict.protocol,
            state: seen.state(),
            outcome: verdict.outcome,
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
            traffic: Traffic {
                initiator: flowed(Role::Initiator),
                acceptor: flowed(Role::Acceptor),
            },
            messages: Messages::of(&seen.messages).map(Box::new),
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
        let flags = hello.map(|hello| hello.flags);
        Self {
            node: name.map(|(name, _)| Arc::clone(name)),
            node_hex: name.and_then(|(_, hex)| hex.cloned()),
            version: hello.map(|hello| hello.version),
            flags: flags.map(|flags| Hex(flags.0)),
            creation: hello.and_then(|hello: &Hello| hello.creation),
            otp_at_least: flags.and_then(DistFlags::otp_at_least),
            cookie: seen.handshake.cookies[role].label().cloned(),
            ip: own_end.map(|end| end.ip),
            port: own_end.map(|end| end.port),
        }
    }
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
}

impl Lookup {
    fn of(lookup: &PriorLookup) -> Self {
        let PriorLookup { session_id, reply, asked, port, .. } = lookup;
        let (session_id, asked) = (Arc::clone(session_id), Arc::clone(asked));
        Self { session_id, reply: *reply, asked, port: *port }
    }
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

impl Flowed {
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
