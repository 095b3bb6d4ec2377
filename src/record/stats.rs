//! `stats`: the totals of a run, and what the capture lacks.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AnomalyKind, EpmdOutcome, IncidentState, Outcome, Severity, kept, kept::ContractName};
pub use crate::judge::world::Undecided;
use crate::observe::known_sum;
use crate::time::Timestamp;

/// The candidate cookies, tested against the digests of all handshakes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct CookieTests {
    /// Number of candidate cookies, without repetitions.
    pub candidates: u64,
    /// False if no handshake had a digest to test them against.
    pub tested: bool,
    /// Number of candidates that fit no side of any handshake.
    pub unused: u64,
    /// Labels of the first eight of them.
    pub unused_labels: Vec<Arc<str>>,
}

/// The totals of a run, and what the capture lacks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Stats {
    /// True for the last statistics of a run.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Number of frames that were read, are within the times asked for, and passed the filter.
    pub packets: u64,
    /// Length of those frames on the wire, in bytes.
    pub bytes: u64,
    /// Capture time of the first frame; `null` without one.
    pub first: Option<Timestamp>,
    /// Capture time of the last frame; `null` without one.
    pub last: Option<Timestamp>,
    /// Number of sessions by the outcome of their last record.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Outcome" }))]
    pub sessions: BTreeMap<Outcome, u64>,
    /// Number of EPMD requests by outcome.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/EpmdOutcome" }))]
    pub epmd: BTreeMap<EpmdOutcome, u64>,
    /// Number of incidents by rule; repetitions are not counted.
    #[serde(deserialize_with = "kept::counts_by_name")]
    pub findings: BTreeMap<ContractName, u64>,
    /// Number of problems by their state and severity. Findings of severity `info` are not counted.
    pub problems: Problems,
    /// What became of the candidate cookies; absent if none were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookies: Option<CookieTests>,
    /// Number of anomalies by kind.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/AnomalyKind" }))]
    pub anomalies: BTreeMap<AnomalyKind, u64>,
    /// Number of gaps in Erlang connections: ranges of bytes that the capture lacks.
    pub gaps: u64,
    /// Length of those gaps in bytes, as far as known.
    pub missing_bytes: u64,
    /// Number of frames that the snapshot length cut short.
    pub cut_packets: u64,
    /// Number of connections with packets of one direction only.
    pub one_sided: u64,
    /// Number of IP fragments whose datagram is incomplete.
    pub lost_fragments: u64,
    /// How often the clock of an input jumped back by more than a millisecond.
    pub clock_steps: u64,
    /// Number of packets that the kernel dropped; `null` if the input does not record it.
    pub kernel_drops: Option<u64>,
    /// Number of packets that the interface dropped; `null` if the input does not record it.
    pub interface_drops: Option<u64>,
    /// Number of connections and facts dropped because a memory limit was reached.
    pub evictions: u64,
    /// Number of events left out because the reader was slower than the capture; their `seq` are missing.
    /// Only in live captures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// False if anything was lost, cut, evicted or left out.
    pub complete: bool,
    /// What this capture cannot show, whatever is in it; only in the final statistics.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unseen: Vec<Unseen>,
    /// The pairs of `--expect`; only in the final statistics.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub expected: Vec<ExpectedPair>,
}

impl Stats {
    /// Whether the capture has what decides: it was read, nothing that matters is unseen, and no connection and no
    /// request is incomplete.
    pub fn is_decided(&self) -> bool {
        let lost = [self.kernel_drops, self.interface_drops, self.left_out];
        self.unseen.is_empty()
            && self.evictions == 0
            && !self.sessions.contains_key(&Outcome::Incomplete)
            && !self.epmd.contains_key(&EpmdOutcome::Incomplete)
            && !self.anomalies.keys().any(|kind| kind.lacks_input())
            && lost.into_iter().flatten().all(|lost| lost == 0)
    }
}

impl Stats {
    /// Adds the statistics of other inputs.
    pub fn join(&mut self, other: &Self) {
        fn add<K: Clone + Ord>(sums: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
            for (key, n) in counts {
                let sum = sums.entry(key.clone()).or_default();
                *sum = sum.saturating_add(*n);
            }
        }
        self.is_final &= other.is_final;
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
        add(&mut self.sessions, &other.sessions);
        add(&mut self.epmd, &other.epmd);
        add(&mut self.findings, &other.findings);
        add(&mut self.problems.open, &other.problems.open);
        add(&mut self.problems.solved, &other.problems.solved);
        add(&mut self.problems.unknown, &other.problems.unknown);
        add(&mut self.anomalies, &other.anomalies);
        self.cookies = self.cookies.take().or_else(|| other.cookies.clone());
        for (sum, n) in [
            (&mut self.gaps, other.gaps),
            (&mut self.missing_bytes, other.missing_bytes),
            (&mut self.cut_packets, other.cut_packets),
            (&mut self.one_sided, other.one_sided),
            (&mut self.lost_fragments, other.lost_fragments),
            (&mut self.clock_steps, other.clock_steps),
            (&mut self.evictions, other.evictions),
        ] {
            *sum = sum.saturating_add(n);
        }
        self.kernel_drops = known_sum(self.kernel_drops, other.kernel_drops);
        self.interface_drops = known_sum(self.interface_drops, other.interface_drops);
        self.left_out = known_sum(self.left_out, other.left_out);
        self.complete &= other.complete;
        for unseen in &other.unseen {
            if !self.unseen.iter().any(|it| it.detail == unseen.detail) {
                self.unseen.push(unseen.clone());
            }
        }
        self.expected.extend(other.expected.iter().cloned());
    }
}

/// Something that a capture cannot show, and how to capture it.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Unseen {
    /// The reason why it cannot be seen.
    pub because: UnseenBecause,
    /// The reason in one sentence, with what it rests on.
    pub detail: String,
    /// How to capture so that it can be seen.
    pub remedy: String,
}

/// Why a capture cannot show something.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnseenBecause {
    /// No packet was read.
    NoPackets,
    /// Frames have a link type that is not read.
    LinkType,
    /// No packet is part of Erlang traffic.
    NoErlang,
    /// The capture has port 4369 only, and no connection between nodes.
    OnlyEpmd,
    /// Most packets are cut short.
    CutPackets,
    /// Most connections have packets of one direction only.
    OneDirection,
    /// The packets have no times.
    NoTimes,
}

/// A pair of nodes that was expected to be connected.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct ExpectedPair {
    /// The two ends as given.
    pub nodes: [Arc<str>; 2],
    /// Whether the two are connected at the end of the capture.
    pub connected: bool,
    /// Why the capture does not show whether they are; absent if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<Undecided>,
}

/// Number of problems, by their state and severity.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Problems {
    /// Problems that are not over, as far as the capture shows.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Severity" }))]
    pub open: BTreeMap<Severity, u64>,
    /// Problems that are over.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Severity" }))]
    pub solved: BTreeMap<Severity, u64>,
    /// Problems of which the capture does not show whether they are over.
    #[schemars(extend("propertyNames" = { "$ref": "#/$defs/Severity" }))]
    pub unknown: BTreeMap<Severity, u64>,
}

impl Problems {
    /// The problems in this state.
    pub(crate) const fn of_mut(&mut self, state: IncidentState) -> &mut BTreeMap<Severity, u64> {
        match state {
            IncidentState::Open => &mut self.open,
            IncidentState::Solved => &mut self.solved,
            // No run counts one that was withdrawn: it is none.
            IncidentState::Unknown | IncidentState::Withdrawn => &mut self.unknown,
        }
    }

    /// The highest severity of the problems that are not known to be over.
    pub fn worst(&self) -> Option<Severity> {
        self.open.keys().chain(self.unknown.keys()).max().copied()
    }
}
