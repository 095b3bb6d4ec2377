//! `anomaly` and `stats`: what was odd about the input or the traffic, and what was read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{AnomalyKind, EpmdOutcome, Outcome};
use crate::time::Timestamp;

/// What was read, and what the capture could not show.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Stats {
    /// Whether the run is over.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Frames looked at: read, within the times asked for, and passed by the filter.
    pub packets: u64,
    /// Bytes those frames had on the wire.
    pub bytes: u64,
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
    /// Bytes in them, as far as known.
    pub missing_bytes: u64,
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
    /// Events left out because whoever reads them was slower than the capture; their numbers (`seq`) are
    /// missing. While live only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// False when anything was lost, cut, evicted or left out.
    pub complete: bool,
}
