//! Anomalies of an input, or of the traffic in it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault of the traffic, or of the capture.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Anomaly {
    /// The kind of anomaly.
    pub kind: AnomalyKind,
    /// Field at which parsing failed, as the specification names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// Offset of that field in bytes, from the start of the message or of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The anomaly in words.
    pub detail: String,
}

impl Anomaly {
    /// An anomaly without a field or an offset.
    pub const fn new(kind: AnomalyKind, detail: String) -> Self {
        Self { kind, field: None, offset: None, detail }
    }
}

/// The kind of an anomaly.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A message cannot be parsed as its tag demands.
    Malformed,
    /// A message that the protocol does not allow at this point.
    OutOfTurn,
    /// Bytes of a stream are missing from the capture.
    Gap,
    /// Two copies of the same bytes of a stream differ.
    OverlapConflict,
    /// A packet counts for nothing: its receiver dropped it, or the rest of the connection contradicts it.
    NotTaken,
    /// A memory limit of the program was reached.
    Limit,
    /// The input ends in the middle of a record.
    InputTruncated,
    /// A record of the input is damaged.
    InputCorrupt,
    /// The input cannot be opened, or is not a capture.
    InputUnreadable,
    /// The input has frames of an unsupported link type.
    UnsupportedLink,
    /// The interface went down and delivers no packets.
    InterfaceDown,
    /// The interface is up again.
    InterfaceUp,
    /// The interface was removed and delivers no more packets.
    InterfaceGone,
    /// Secrets of a key log do not open their connection, or not all of it.
    KeyLog,
    /// Secrets of a key log have the label of the other side.
    KeyLabels,
    /// Packets that were to be saved could not be.
    NotSaved,
    /// The clock of the input differs from that of the first one, and its times are corrected.
    ClocksAligned,
    /// The clock of the input differs from that of another one, and no correction fits.
    ClocksApart,
    /// The connection has other addresses at another sensor, which saw the same sequence numbers.
    AddressTranslated,
    /// The handshake of the connection was seen on another one as well: a proxy, or a translator that changes sequence
    /// numbers.
    SameHandshake,
}

impl AnomalyKind {
    /// True for a fault of the input itself, false for one of the traffic in it.
    pub const fn is_about_input(self) -> bool {
        matches!(
            self,
            Self::InputTruncated
                | Self::InputCorrupt
                | Self::InputUnreadable
                | Self::UnsupportedLink
                | Self::InterfaceDown
                | Self::InterfaceUp
                | Self::InterfaceGone
                | Self::ClocksAligned
                | Self::ClocksApart
        )
    }

    /// True if something of the input is missing or in doubt.
    pub const fn lacks_input(self) -> bool {
        self.is_about_input() && !matches!(self, Self::ClocksAligned)
    }
}
