//! A problem as a rule detected it, before repeats of one incident are sorted out.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{EndedBy, RuleDoc};
use crate::judge::world::SentName;
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
    /// The two sides of an established connection that showed no names: the label in the texts, and the address. A name
    /// that the capture shows later takes the place of the label.
    pub unnamed: Vec<(String, IpAddr)>,
    /// Names in it that were not proven. They may turn out to be of nodes elsewhere.
    pub unproven: Vec<SentName>,
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
            unnamed: Vec::new(),
            unproven: Vec::new(),
            ended_by: EndedBy::NodesConnect,
            severity_if_solved: None,
            shown_at: None,
            settled: None,
            if_known: IfKnown::Counts,
        }
    }

    /// Puts the names of nodes in place of the labels of its sides, by the only node of each address. Returns whether
    /// that changed anything.
    pub(super) fn name_sides(
        &mut self,
        by_host: &HashMap<IpAddr, Option<Arc<str>>, RandomState>,
    ) -> bool {
        let mut sides = std::mem::take(&mut self.unnamed);
        // The label of one side may be the beginning of the other one's.
        sides.sort_by_key(|(label, _)| std::cmp::Reverse(label.len()));
        for (label, ip) in &sides {
            let Some(Some(name)) = by_host.get(ip) else { continue };
            if self.nodes.contains(name) {
                continue;
            }
            self.nodes.push(Arc::clone(name));
            self.title = with_name(&self.title, label, name);
            self.explanation = with_name(&self.explanation, label, name);
            self.explanation.push_str(&format!(
                " {name} is the only node that this capture shows at {ip}; its name came later."
            ));
            for text in self.remedy.iter_mut().chain(&mut self.not_excluded) {
                *text = with_name(text, label, name);
            }
        }
        !self.nodes.is_empty()
    }

    /// Converts it to the finding that opens an incident. `shown_at` is that of the finding by then.
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
            shown_at: self.shown_at,
            evidence: self.evidence,
            not_excluded: self.not_excluded,
            logged_by: self.logged_by,
            may_log: self.may_log,
            revision: None,
            evidence_file: None,
        }
    }
}

/// The text with `name` in place of each `label` that is not a part of a longer address.
fn with_name(text: &str, label: &str, name: &str) -> String {
    let mut named = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(label) {
        let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '@');
        // A point or a colon behind it may end a part of a sentence.
        let behind = after.strip_prefix(['.', ':']).unwrap_or(after);
        let is_whole =
            !before.ends_with(|c: char| is_part(c) || c == '.') && !behind.starts_with(is_part);
        named.push_str(before);
        named.push_str(if is_whole { name } else { label });
        rest = after;
    }
    named.push_str(rest);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_takes_the_place_of_a_whole_address_only() {
        let named = |text| with_name(text, "10.0.0.1", "a@h");
        assert_eq!(named("10.0.0.1 fell silent, and 10.0.0.1"), "a@h fell silent, and a@h");
        assert_eq!(named("from 10.0.0.1. Then"), "from a@h. Then");
        assert_eq!(named("Check 10.0.0.1: was it"), "Check a@h: was it");
        for same in ["10.0.0.12", "110.0.0.1", "10.0.0.1.5", "10.0.0.1:4369", "x@10.0.0.1"] {
            assert_eq!(named(same), same);
        }
    }
}
