//! `finding` and `incident`: what a person should look at, and how often it was seen.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Confidence, Role, Shows, frame_number};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Something a person should look at.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Finding {
    /// Stable identifier, kebab-case.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// One sentence.
    pub title: String,
    /// What was seen and what it means.
    pub explanation: String,
    /// What to do, one step each.
    pub remedy: Vec<String>,
    /// Nodes concerned, as far as named.
    pub nodes: Vec<Arc<str>>,
    /// Joins a finding with its repeats; settled when it is told.
    pub incident_id: Arc<str>,
    /// Who is concerned, in a form that is the same for each repeat: with the rule, what makes two
    /// findings one incident.
    #[serde(skip)]
    #[schemars(skip)]
    pub parties: String,
    /// The packets that show it.
    pub evidence: Vec<Evidence>,
    /// Other readings that the capture leaves open.
    pub not_excluded: Vec<String>,
    /// Which side writes anything about it in its own log; `[]` when none does.
    pub logged_by: Vec<Role>,
    /// The file that its packets were saved to, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_file: Option<Arc<str>>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// As printed.
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

/// A packet that shows something.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Evidence {
    /// Frame number within its input.
    #[serde(serialize_with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// Its input, where that is not the line's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Its connection, where that is not the line's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Arc<str>>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    /// What it shows, as text.
    #[schemars(with = "String")]
    pub what: Shows,
}

/// The end of a finding that repeated.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Incident {
    /// As in the finding.
    pub incident_id: Arc<str>,
    /// As in the finding.
    pub rule: &'static str,
    /// As in the finding.
    pub severity: Severity,
    /// As in the finding.
    pub nodes: Vec<Arc<str>>,
    /// How often it happened, the finding included.
    pub count: u64,
    /// When first.
    pub first: Timestamp,
    /// When last.
    pub last: Timestamp,
}
