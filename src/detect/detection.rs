//! What a rule has detected, before it is known whether it was reported already.

use std::sync::Arc;

use super::RuleDoc;
use crate::observe::Role;
use crate::record::{Confidence, Evidence, Finding, Severity};

/// What a rule has detected: a [`Finding`] unless it is a repeat of one.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Stable identifier of the rule, kebab-case.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What is wrong, in one sentence.
    pub title: String,
    /// What was seen and what it means.
    pub explanation: String,
    /// What to do, one step each.
    pub remedy: Vec<String>,
    /// Nodes concerned, as far as named.
    pub nodes: Vec<Arc<str>>,
    /// Who is concerned, in a form that is the same for each repeat: with the rule, what makes two detections one
    /// incident.
    pub parties: String,
    /// The packets that show it.
    pub evidence: Vec<Evidence>,
    /// Other readings that the capture does not rule out.
    pub not_excluded: Vec<String>,
    /// Which side writes anything about it in its own log; empty when neither does.
    pub logged_by: Vec<Role>,
}

impl Detection {
    /// A detection of which only the rule is known.
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
        }
    }

    /// The printed form, as the first case of an incident.
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
            evidence_file: None,
        }
    }
}
