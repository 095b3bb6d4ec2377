//! A problem as a rule detected it, before repeats of one incident are sorted out.

use std::sync::Arc;

use super::{EndedBy, RuleDoc};
use crate::observe::{Role, Settled};
use crate::record::{Confidence, Evidence, Finding, Severity};
use crate::time::Timestamp;

/// A problem that a rule detected. It becomes a [`Finding`] unless it repeats an earlier one.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Stable identifier of the rule, kebab-case.
    pub rule: &'static str,
    /// Severity of the finding that it becomes.
    pub severity: Severity,
    /// Confidence that the problem is real.
    pub confidence: Confidence,
    /// The problem, in one sentence without a full stop.
    pub title: String,
    /// What the capture shows, and what that means.
    pub explanation: String,
    /// Steps that solve the problem, the first one first.
    pub remedy: Vec<String>,
    /// Names of the nodes that have the problem, as far as they are known.
    pub nodes: Vec<Arc<str>>,
    /// Key of the incident: two detections of one rule with equal `parties` are one incident.
    pub parties: String,
    /// Packets that show the problem, in order of time.
    pub evidence: Vec<Evidence>,
    /// Other explanations that the capture does not rule out.
    pub not_excluded: Vec<String>,
    /// Sides that log something about it; empty if neither is known to.
    pub logged_by: Vec<Role>,
    /// Sides that may log something about it: the packets do not show what they did.
    pub may_log: Vec<Role>,
    /// What shows that the problem is over.
    pub ended_by: EndedBy,
    /// Severity of the problem once it is over, if that is lower: one that ends by itself needs no action.
    pub severity_if_solved: Option<Severity>,
    /// When the problem last showed, if that is not the last packet of the fact that the rule was given.
    pub shown_at: Option<Timestamp>,
    /// The fact that it is about, if it is reported later than the rule was given that fact.
    pub settled: Option<Settled>,
    /// What it does if its incident has begun.
    pub if_known: IfKnown,
}

/// What a detection does if its incident has begun.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IfKnown {
    /// It is counted as a repeat.
    #[default]
    Counts,
    /// It is counted, and its text replaces that of the finding, because more is known now.
    Rewrites,
    /// It is no occurrence of its own: its text replaces that of the finding. Without an incident it does nothing.
    RewritesOnly,
}

impl Detection {
    /// A detection with the rule and its severity, and everything else empty.
    pub const fn new(doc: &RuleDoc) -> Self {
        Self {
            rule: doc.rule,
            severity: doc.severity,
            confidence: Confidence::Proven,
            title: String::new(),
            explanation: String::new(),
            remedy: Vec::new(),
            nodes: Vec::new(),
            parties: String::new(),
            evidence: Vec::new(),
            not_excluded: Vec::new(),
            logged_by: Vec::new(),
            may_log: Vec::new(),
            ended_by: EndedBy::NodesConnect,
            severity_if_solved: None,
            shown_at: None,
            settled: None,
            if_known: IfKnown::Counts,
        }
    }

    /// Converts it to the finding that opens an incident.
    pub(super) fn into_finding(self, incident_id: Arc<str>) -> Finding {
        Finding {
            rule: self.rule,
            severity: self.severity,
            confidence: self.confidence,
            title: self.title,
            explanation: self.explanation,
            remedy: self.remedy,
            nodes: self.nodes,
            incident_id,
            evidence: self.evidence,
            not_excluded: self.not_excluded,
            logged_by: self.logged_by,
            may_log: self.may_log,
            revision: None,
            evidence_file: None,
        }
    }
}
