//! Stage 7: what a person should look at.
//!
//! In: events. Out: findings, each with the frames that show it, and incidents that close what repeated.
//! Sees events and never octets. One cause gives one finding: the rules share the outcomes out among them.

mod cookie_mismatch;
mod dist_port;
mod epmd_unreachable;
mod handshake_failed;
mod incidents;
mod name_mismatch;
mod node_not_registered;
mod not_allowed;
mod not_distribution;
mod same_name;
mod text;
mod tls_mismatch;
mod version_mismatch;

use std::sync::Arc;

use self::incidents::Incidents;
use crate::event::{Confidence, Event, Evidence, Role, Severity};
use crate::limits::Limits;
use crate::time::Timestamp;

/// A small state machine over events that knows one problem.
pub trait Rule {
    /// Stable identifiers of what it may find: the names in the output.
    fn ids(&self) -> &'static [&'static str];

    /// Looks at one event; a problem that it shows goes to `out`.
    fn on_event(&mut self, event: &Event, out: &mut Vec<Problem>);
}

/// A problem as one event shows it; becomes a finding when it is the first of its kind between its
/// parties.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Rule that found it.
    pub rule: &'static str,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// One sentence.
    pub title: String,
    /// What was seen and what it means.
    pub explanation: String,
    /// What to do.
    pub remedy: Vec<String>,
    /// Nodes concerned, as far as named.
    pub nodes: Vec<Arc<str>>,
    /// Who is concerned, in a form that is the same for each repeat.
    pub parties: String,
    /// The packets that show it.
    pub evidence: Vec<Evidence>,
    /// Other readings.
    pub not_excluded: Vec<String>,
    /// Which side logs it.
    pub logged_by: Vec<Role>,
}

/// Every rule, in the order in which findings about one event are told.
pub const RULES: &[fn() -> Box<dyn Rule>] = &[
    || Box::<cookie_mismatch::CookieMismatch>::default(),
    || Box::<name_mismatch::NameMismatch>::default(),
    || Box::<version_mismatch::VersionMismatch>::default(),
    || Box::<not_allowed::NotAllowed>::default(),
    || Box::<same_name::SameName>::default(),
    || Box::<tls_mismatch::TlsMismatch>::default(),
    || Box::<node_not_registered::NodeNotRegistered>::default(),
    || Box::<epmd_unreachable::EpmdUnreachable>::default(),
    || Box::<dist_port::DistPort>::default(),
    || Box::<handshake_failed::HandshakeFailed>::default(),
    || Box::<not_distribution::NotDistribution>::default(),
];

/// All rules at work.
pub struct Detector {
    rules: Vec<Box<dyn Rule>>,
    incidents: Incidents,
    found: Vec<Problem>,
}

impl Detector {
    /// Every rule, none of which has seen anything.
    pub fn new(limits: &Limits) -> Self {
        Self {
            rules: RULES.iter().map(|rule| rule()).collect(),
            incidents: Incidents::new(limits.incidents),
            found: Vec::new(),
        }
    }

    /// Problems that were forgotten because a bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.incidents.evictions()
    }

    /// Shows an event to every rule; findings, and incidents that it ends, go to `out`.
    pub fn on_event(&mut self, event: &Event, out: &mut Vec<Event>) {
        self.incidents.on_event(event, out);
        for rule in &mut self.rules {
            rule.on_event(event, &mut self.found);
        }
        for problem in self.found.drain(..) {
            self.incidents.on_problem(problem, event, out);
        }
    }

    /// The run ends: closes what repeated.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        self.incidents.finish(now, out);
    }
}
