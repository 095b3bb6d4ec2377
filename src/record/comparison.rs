//! `pair_change` and `comparison`: how two captures differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::Outcome;
use crate::time::Timestamp;

/// A pair of nodes whose state differs between the two captures.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PairChange {
    /// The kind of the change.
    pub change: PairChangeKind,
    /// The two nodes, in order of their names. A node without a name is given by the name that was looked
    /// up and its address, or by its address.
    pub nodes: [Arc<str>; 2],
    /// State of the pair in the first capture; `null` if that capture does not show it.
    pub before: Option<PairState>,
    /// State of the pair in the second capture; `null` if that capture does not show it.
    pub after: Option<PairState>,
}

/// The kind of a change. Changes are written in this order.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairChangeKind {
    /// Connected in the first capture, and not in the second.
    Broken,
    /// Another outcome that is neither broken nor fixed: mostly another failure.
    Changed,
    /// The pair is only in the second capture.
    New,
    /// The pair is only in the first capture.
    Gone,
    /// Not connected in the first capture, and connected in the second.
    Fixed,
}

/// The state of a pair at the end of a capture.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct PairState {
    /// Outcome of the last connection between them that was not undecided.
    pub outcome: Outcome,
    /// Number of connections that were established.
    pub connected: u64,
    /// Number of attempts that failed.
    pub failed: u64,
    /// Time of the last record about that last connection.
    pub last: Timestamp,
    /// Rules that found a problem in the attempts that failed, in order of their names; absent if there is none. Each
    /// problem is counted at the attempt that showed it first.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub findings: BTreeSet<Arc<str>>,
    /// Their reasons, of rules with several; compared, and not written.
    #[serde(skip)]
    #[schemars(skip)]
    pub reasons: BTreeSet<Arc<str>>,
}

/// The totals of a comparison.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Comparison {
    /// Number of pairs that changed, by kind of change.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/PairChangeKind" }))]
    pub changes: BTreeMap<PairChangeKind, u64>,
    /// Number of pairs with the same state in both captures.
    pub unchanged: u64,
    /// Number of undecided connections in the two captures.
    pub undecided: u64,
    /// Number of connections that a memory limit left out.
    pub left_out: u64,
}
