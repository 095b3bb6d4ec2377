//! `pair_change` and `comparison`: how two captures differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::Outcome;
use crate::time::Timestamp;

/// A pair of nodes that stands otherwise in the second capture than in the first.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PairChange {
    /// What kind of change.
    pub change: Turn,
    /// The two, in order of their names: each by its node name, else by the name that was asked for
    /// and the address, else by the address.
    pub nodes: [Arc<str>; 2],
    /// How they stood in the first; `null` when nothing there decided it.
    pub before: Option<PairState>,
    /// How they stand in the second; `null` when nothing there decides it.
    pub after: Option<PairState>,
}

/// What kind of change. In the order in which they are told.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Connected before, and not now.
    Broken,
    /// Another outcome, where neither of the two is as clear as that: mostly another failure.
    Changed,
    /// Only in the second.
    New,
    /// Only in the first.
    Gone,
    /// Not connected before, and now.
    Fixed,
}

/// How two nodes stand to each other at the end of a capture.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PairState {
    /// Outcome of the last connection between them that decided anything.
    pub outcome: Outcome,
    /// Connections that came about.
    pub connected: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// When that last connection was last told of.
    pub last: Timestamp,
}

/// The end of a comparison.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Comparison {
    /// Pairs that changed, by kind.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Turn" }))]
    pub changes: BTreeMap<Turn, u64>,
    /// Pairs that stand as they stood.
    pub unchanged: u64,
    /// Connections of either that decided nothing.
    pub undecided: u64,
    /// Connections of either whose pair a bound left out.
    pub left_out: u64,
}
