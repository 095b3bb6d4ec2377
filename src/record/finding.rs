//! `finding` and `incident`: problems that were detected, and how often each occurred.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Confidence, Role, Shows, frame_number, kept, kept::ContractName};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// A problem, or a fact worth knowing, that a rule detected.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Finding {
    /// Identifier of the rule, in kebab-case; it never changes.
    #[serde(deserialize_with = "kept::name")]
    pub rule: ContractName,
    /// Severity of the problem.
    pub severity: Severity,
    /// How certain the finding is.
    pub confidence: Confidence,
    /// The finding in one sentence.
    pub title: String,
    /// What the capture shows and what it means.
    pub explanation: String,
    /// What to do about it, one step per entry.
    pub remedy: Vec<String>,
    /// Names of the nodes concerned, as far as the capture has them.
    pub nodes: Vec<Arc<str>>,
    /// Identifier that the finding shares with the `incident` record of its repetitions.
    pub incident_id: Arc<str>,
    /// Time at which the problem showed, if that is before the time of the line: what settles it may come later. Absent
    /// if the two are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_at: Option<Timestamp>,
    /// The packets that show the finding.
    pub evidence: Vec<Evidence>,
    /// Other explanations that the capture does not rule out.
    pub not_excluded: Vec<String>,
    /// The sides whose own logs have a line about it; `[]` if neither is known to have one.
    pub logged_by: Vec<Role>,
    /// The sides whose own logs may have a line about it, which the packets do not show; absent if there is none. If
    /// `logged_by` is `[]` as well, neither side logs anything about it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub may_log: Vec<Role>,
    /// How often this finding was written before, with less known; absent the first time. The last one of an
    /// `incident_id` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// The file that its packets were saved to; only with `--evidence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_file: Option<Arc<str>>,
}

/// The severity of a finding.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names need no explanation")]
pub enum Severity {
    #[default]
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All severities, the lowest first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The name of the severity in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// A packet that shows a finding.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Evidence {
    /// Frame number within its input, from 1.
    #[serde(with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// The input of the packet, if it is not that of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// The connection of the packet, if it is not that of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Arc<str>>,
    /// The side that sent the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    /// What the packet shows, as text.
    #[schemars(with = "String")]
    pub what: Shows,
}

/// What became of a problem after its finding. Written when it is over, when it is back or withdrawn, and at the end of a run
/// if it occurred more than once or is not known to go on. The last one of an `incident_id` counts.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Incident {
    /// The `incident_id` of the finding.
    pub incident_id: Arc<str>,
    /// The rule of the finding.
    #[serde(deserialize_with = "kept::name")]
    pub rule: ContractName,
    /// The severity of the problem: that of the finding, or a lower one once it is solved.
    pub severity: Severity,
    /// The severity of the finding, by which filters select both.
    #[serde(skip)]
    pub found_severity: Severity,
    /// Names of the nodes concerned in any occurrence.
    pub nodes: Vec<Arc<str>>,
    /// How often the problem occurred, the finding included.
    pub count: u64,
    /// Time of the first occurrence.
    pub first: Timestamp,
    /// Time of the last occurrence.
    pub last: Timestamp,
    /// Whether the problem is over.
    pub state: IncidentState,
    /// Time of the packet that shows that the problem is over; only if it is solved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// Frame number of that packet, in the input of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_frame: Option<u64>,
    /// What that packet shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<SettledBy>,
}

impl Incident {
    /// Marks the problem as solved by what a packet shows.
    pub(crate) fn solve(
        &mut self,
        at: Timestamp,
        frame: Option<FrameRef>,
        by: SettledBy,
        severity: Severity,
    ) {
        self.state = IncidentState::Solved;
        self.severity = severity;
        self.settled_at = Some(at);
        self.settled_frame = frame.map(|frame| frame.number);
        self.settled_by = Some(by);
    }

    /// Marks a solved problem as back.
    pub(crate) const fn reopen(&mut self) {
        self.state = IncidentState::Open;
        self.severity = self.found_severity;
        self.settled_at = None;
        self.settled_frame = None;
        self.settled_by = None;
    }
}

/// Whether a problem is over.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// Nothing in the capture shows that it is over.
    Open,
    /// What failed worked later in the capture.
    Solved,
    /// The capture does not show whether it is over: what failed was tried again, and the capture lacks the result.
    Unknown,
    /// There is no such problem: what another sensor published later contradicts the finding. Only of `merge --nats --follow`.
    Withdrawn,
}

/// What shows that a problem is over.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettledBy {
    /// The nodes of the problem connected.
    Connected,
    /// The name was registered with EPMD.
    Registered,
    /// EPMD replied to a request.
    EpmdReplied,
    /// The port accepted a TCP connection.
    Accepted,
}
