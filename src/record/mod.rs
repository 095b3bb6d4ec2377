//! Records: the events that the program prints.
//!
//! These types are the output contract. One [`Event`] becomes one line, and the JSON Schema is derived from the same
//! types. New fields keep [`VERSION`]; a renamed field, or one of another type, raises it.
//!
//! An absent field does not apply to the record. `null` means that the value was looked for and not seen.

mod cluster;
mod comparison;
mod epmd;
mod evidence;
mod finding;
mod kept;
mod message;
mod session;
mod stats;
mod step;
mod tls;

pub use cluster::*;
pub use comparison::*;
pub use epmd::*;
pub use evidence::*;
pub use finding::*;
pub use message::*;
pub use session::*;
pub use stats::*;
pub use step::*;
pub use tls::*;

pub use crate::judge::Confidence;
pub use crate::observe::{Anomaly, AnomalyKind, ConnectionIds, Role};

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use self::kept::frame_number;

use crate::observe::Settled;
use crate::observe::messages::MessageEvent;
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Version of the output contract; every line has it.
pub const VERSION: u8 = 1;

/// Leaves a field out that is false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields on by reference")]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// A consumer of events, such as a renderer.
pub trait EventSink {
    /// Consumes one event. Events come in the order of the packets that settled them.
    fn event(&mut self, event: Event);

    /// Consumes one message after the handshake, in the same order; called only if messages are printed.
    fn message(&mut self, _event: &MessageEvent<'_>) {}
}

impl EventSink for Vec<Event> {
    fn event(&mut self, event: Event) {
        self.push(event);
    }
}

/// A fact to be printed, with the packet that settled it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Capture time of the packet that settled the fact, or the moment on the capture's clock at which a timer
    /// settled it.
    pub at: Timestamp,
    /// The packet that settled the fact; `None` if a timer or the end of the capture did.
    pub frame: Option<FrameRef>,
    /// The input of the connection, if no packet settled the fact; `None` if the fact is about several inputs.
    pub input: Option<u16>,
    /// The TCP connection that the fact is about.
    pub connection: Option<Arc<ConnectionIds>>,
    /// The record of the fact.
    pub body: Body,
}

impl Event {
    /// The event with this body at the time, packet and connection of `settled`.
    pub fn of(settled: &Settled, body: Body) -> Self {
        let Settled { at, frame, input, ref connection, .. } = *settled;
        Self { at, frame, input, connection: Some(Arc::clone(connection)), body }
    }
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

/// A 64-bit value, printed as `"0x…"` because JSON numbers are exact only up to 2^53.
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

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
        match digits {
            Some(Ok(value)) => Ok(Self(value)),
            _ => Err(D::Error::custom("expected 0x and hex digits")),
        }
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "null"],
            "format": "date-time",
            "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{9}Z$",
        })
    }
}

/// A packet without a time, and an input without packets, have the time 0: that is no time.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::default() {
            return serializer.serialize_none();
        }
        match self.text() {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.serialize_none(),
        }
    }
}

/// The character set of text on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Charset {
    /// Names in the handshake: Latin-1 by the protocol, in practice often UTF-8.
    Latin1,
    /// All other text on the wire.
    Utf8,
}

/// Bytes from the wire as text, and also as hex digits if they are not UTF-8, since the text then loses them.
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

/// The bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
