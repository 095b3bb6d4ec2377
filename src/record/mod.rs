//! Records: the events that the program prints.
//!
//! These types are the output contract. One [`Event`] becomes one line; the JSON Schema is
//! derived from the same types. Fields are only ever added; a rename or a new type for a field raises
//! [`VERSION`].
//!
//! An absent field does not apply. `null` means: looked for and not seen.

mod cluster;
mod comparison;
mod epmd;
mod evidence;
mod finding;
mod message;
#[cfg(test)]
pub(crate) mod samples;
mod session;
mod stats;

pub use cluster::*;
pub use comparison::*;
pub use epmd::*;
pub use evidence::*;
pub use finding::*;
pub use message::*;
pub use session::*;
pub use stats::*;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::observe::messages::MessageEvent;
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Version of the output contract; every line has it.
pub const VERSION: u8 = 1;

/// A receiver of events.
pub trait EventSink {
    /// Takes one event. Events come in the order of the packets that settled them.
    fn event(&mut self, event: Event);

    /// Takes one message after the handshake, in the same order; only if messages were asked for.
    fn message(&mut self, _event: &MessageEvent<'_>) {}
}

impl EventSink for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }
}

/// A fact, with the packet that settled it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Capture time of the packet that settled it, or the moment on the capture's clock at which it was
    /// settled without one.
    pub at: Timestamp,
    /// The packet that settled it, if one did.
    pub frame: Option<FrameRef>,
    /// The input that it is about, if no packet settled it; `None` if it is about several.
    pub input: Option<u16>,
    /// The TCP connection it is about.
    pub connection: Option<Arc<ConnectionIds>>,
    /// The fact itself.
    pub body: Body,
}

/// Identifiers and addresses of one TCP connection; every line about it has them.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ConnectionIds {
    /// 16 hex digits, the same for the same input on any machine: the first 8 bytes of the MD5 of
    /// `src_ip,src_port,dest_ip,dest_port,src_isn,dest_isn`, as far as known at the first line.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub session_id: Arc<str>,
    /// Community ID v1, seed 0.
    pub community_id: Arc<str>,
    /// Address of the TCP client, which sent the SYN.
    #[schemars(with = "String")]
    pub src_ip: IpAddr,
    /// Port of the TCP client.
    pub src_port: u16,
    /// Address of the TCP server.
    #[schemars(with = "String")]
    pub dest_ip: IpAddr,
    /// Port of the TCP server.
    pub dest_port: u16,
    /// Always `"TCP"`.
    #[schemars(extend("const" = "TCP"))]
    pub proto: &'static str,
    /// Encapsulations such as `"vlan 7"`, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encap: Vec<String>,
}

/// The body of an event. In JSON, its key is the `event_type` of the line.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each variant is documented at its only field's type")]
pub enum Body {
    Epmd { epmd: Box<Epmd> },
    Handshake { handshake: Box<Handshake> },
    Session { session: Box<Session> },
    Finding { finding: Box<Finding> },
    Incident { incident: Box<Incident> },
    Node { node: Box<Node> },
    Cluster { cluster: Box<Cluster> },
    PairChange { pair_change: Box<PairChange> },
    Comparison { comparison: Box<Comparison> },
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
            Self::Node { .. } => "node",
            Self::Cluster { .. } => "cluster",
            Self::PairChange { .. } => "pair_change",
            Self::Comparison { .. } => "comparison",
            Self::Anomaly { .. } => "anomaly",
            Self::Stats { .. } => "stats",
        }
    }
}

/// A side of a connection, by its part in the handshake.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node that dialed and sent `send_name`.
    Initiator,
    /// The node that was dialed and sent `challenge`.
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

/// How certain a statement is.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A harmless explanation is as good.
    Possible,
    /// The usual explanation by the protocol; `not_excluded` lists the others.
    Likely,
    /// The captured bytes allow no other explanation.
    Proven,
}

impl Confidence {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Proven => "proven",
        }
    }
}

/// First bytes of another protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// Who sent them.
    pub from: Role,
    /// Where.
    pub mark: PacketRef,
    /// What they look like, in words.
    pub looks_like: &'static str,
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

fn frame_number<S: Serializer>(frame: &FrameRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(frame.number)
}

/// How bytes of the wire are turned into text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// Names in the handshake: Latin-1 by protocol, in practice often UTF-8.
    Latin1,
    /// Everything else.
    Utf8,
}

/// Bytes from the wire as text, and as hex digits where the text does not keep them.
pub fn wire_text(bytes: &[u8], charset: Charset) -> (Arc<str>, Option<String>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Arc::from(text), None);
    }
    let text: Arc<str> = match charset {
        Charset::Latin1 => bytes.iter().copied().map(char::from).collect::<String>().into(),
        Charset::Utf8 => String::from_utf8_lossy(bytes).into(),
    };
    (text, Some(hex(bytes)))
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
