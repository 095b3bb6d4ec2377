//! What is odd about an input, or about the traffic in it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that should not be in such traffic, or in such a capture.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Anomaly {
    /// What kind.
    pub kind: AnomalyKind,
    /// Field at which reading broke, as the specification names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// Bytes from the start: of the message, or of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In words.
    pub detail: String,
}

impl Anomaly {
    /// One that is at no field of a message.
    pub const fn new(kind: AnomalyKind, detail: String) -> Self {
        Self { kind, field: None, offset: None, detail }
    }
}

/// Kinds of anomaly.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A message cannot be read as what its tag claims.
    Malformed,
    /// A message where the protocol has no place for it.
    OutOfTurn,
    /// Bytes the capture does not have.
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
    /// The interface went down: nothing comes from it.
    InterfaceDown,
    /// The interface is up again.
    InterfaceUp,
    /// The interface is gone: nothing more will come from it.
    InterfaceGone,
    /// Packets that were to be saved could not be.
    NotSaved,
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
                | Self::InterfaceDown
                | Self::InterfaceUp
                | Self::InterfaceGone
        )
    }
}
