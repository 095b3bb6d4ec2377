//! Rules that detect problems.
//!
//! In: judged connections, EPMD requests, changes of nodes, and messages with a rule trigger. Out: findings, each
//! with the frames that show it, and incidents that count repeats. Rules see facts and verdicts, and never bytes.
//! One cause gives one finding: each outcome of a connection belongs to one rule.

mod already_connected;
mod asked_not_dialed;
mod clear_text;
mod congested_link;
mod connection_lost;
mod cookie_guessing;
mod cookie_mismatch;
mod corrupt_distribution;
mod detection;
mod disagreements;
mod dist_port;
mod doc;
mod duplicate_node;
mod ending;
mod epmd_command;
mod epmd_common;
mod epmd_enumeration;
mod epmd_silent;
mod epmd_unreachable;
mod finding;
mod handshake_failed;
mod held;
mod idle_limit;
mod incidents;
mod known_tool;
mod link_end;
pub mod log_lines;
mod log_notes;
mod name_in_use;
mod name_mismatch;
mod name_not_resolved;
mod node_not_registered;
mod node_restarted;
mod not_allowed;
mod not_distribution;
mod partition_cascade;
mod proxy_header;
mod refused_inside_tls;
mod registration_lost;
mod registration_rejected;
mod remote_execution;
mod same_name;
mod simultaneous_connect;
#[cfg(test)]
mod tests;
mod tick_timeout;
mod tls_around_epmd;
mod tls_failure;
mod tls_mismatch;
mod undelivered;
mod unproven_name;
mod version_mismatch;

use std::sync::Arc;

pub use self::detection::{Detection, IfKnown};
pub use self::doc::{LogLine, RuleDoc};
pub use self::ending::{EndedBy, Ending, Host, KnownAs};
pub use self::log_notes::LogNote;

use self::incidents::{Incidents, ReportContext};
use crate::judge::JudgedConnection;
use crate::judge::world::{NodeChange, SentName, World};
use crate::limits::Limits;
use crate::observe::{EpmdObservation, Settled, TriggerMessage};
use crate::record::{Event, Problems};
use crate::time::Timestamp;

/// A small state machine over facts and verdicts that detects one problem, or a few related ones.
///
/// A rule writes to `out` each time that it detects its problem. Repeats are grouped later, by
/// [`Detection::parties`]. `world` is the state that all facts so far have built.
pub trait Rule: Send {
    /// Documentation of the findings that the rule can make.
    fn docs(&self) -> &'static [RuleDoc];

    /// Receives the time and the connection of every fact, before the method for its kind is called.
    fn on_fact(&mut self, _settled: &Settled) {}

    /// Receives a judged connection.
    fn on_session(&mut self, _it: &JudgedConnection, _world: &World, _out: &mut Vec<Detection>) {}

    /// Receives an EPMD request and its outcome.
    fn on_epmd(
        &mut self,
        _settled: &Settled,
        _epmd: &EpmdObservation,
        _world: &World,
        _out: &mut Vec<Detection>,
    ) {
    }

    /// Receives a node whose entry has changed.
    fn on_node(&mut self, _change: &NodeChange, _out: &mut Vec<Detection>) {}

    /// Receives a message that has a [trigger](crate::observe::RuleTrigger); messages without one are not
    /// passed to rules.
    fn on_message(
        &mut self,
        _settled: &Settled,
        _message: &TriggerMessage,
        _out: &mut Vec<Detection>,
    ) {
    }

    /// Receives the time at which the input ends, before [`Self::on_end`] is called.
    fn on_input_end(&mut self, _now: Timestamp) {}

    /// Reports problems that are reported once a run, at the end of the input.
    fn on_end(&mut self, _world: &World, _out: &mut Vec<Detection>) {}
}

/// Every rule, in the order in which findings about one event are reported.
pub const RULES: &[fn() -> Box<dyn Rule>] = &[
    || Box::<cookie_mismatch::CookieMismatch>::default(),
    || Box::<cookie_guessing::CookieGuessing>::default(),
    || Box::<unproven_name::UnprovenName>::default(),
    || Box::<name_mismatch::NameMismatch>::default(),
    || Box::<version_mismatch::VersionMismatch>::default(),
    || Box::<not_allowed::NotAllowed>::default(),
    || Box::<same_name::SameName>::default(),
    || Box::<simultaneous_connect::SimultaneousConnect>::default(),
    || Box::<already_connected::AlreadyConnected>::default(),
    || Box::<name_in_use::NameInUse>::default(),
    || Box::<tls_mismatch::TlsMismatch>::default(),
    || Box::<tls_failure::TlsFailure>::default(),
    || Box::<refused_inside_tls::RefusedInsideTls>::default(),
    || Box::<tls_around_epmd::TlsAroundEpmd>::default(),
    || Box::<proxy_header::ProxyHeaderFirst>::default(),
    || Box::<node_not_registered::NodeNotRegistered>::default(),
    || Box::<epmd_unreachable::EpmdUnreachable>::default(),
    || Box::<epmd_silent::EpmdSilent>::default(),
    || Box::<registration_rejected::RegistrationRejected>::default(),
    || Box::<registration_lost::RegistrationLost>::default(),
    || Box::<dist_port::DistPort>::default(),
    || Box::<asked_not_dialed::AskedNotDialed>::default(),
    || Box::<name_not_resolved::NameNotResolved>::default(),
    || Box::<handshake_failed::HandshakeFailed>::default(),
    || Box::<undelivered::UndeliveredBytes>::default(),
    || Box::<tick_timeout::TickTimeout>::default(),
    || Box::<connection_lost::ConnectionLost>::default(),
    || Box::<partition_cascade::PartitionCascade>::default(),
    || Box::<idle_limit::IdleLimit>::default(),
    || Box::<corrupt_distribution::CorruptDistribution>::default(),
    || Box::<congested_link::CongestedLink>::default(),
    || Box::<duplicate_node::DuplicateNode>::default(),
    || Box::<node_restarted::NodeRestarted>::default(),
    || Box::<not_distribution::NotDistribution>::default(),
    || Box::<epmd_enumeration::EpmdEnumeration>::default(),
    || Box::<epmd_command::EpmdCommand>::default(),
    || Box::<known_tool::KnownTool>::default(),
    || Box::<remote_execution::RemoteExecution>::default(),
    || Box::<clear_text::ClearText>::default(),
];

/// Documentation of all rules, in the order of [`RULES`].
pub fn docs() -> impl Iterator<Item = &'static RuleDoc> {
    RULES.iter().flat_map(|rule| rule().docs())
}

/// Documentation of the rule with this identifier.
pub fn doc(rule: &str) -> Option<&'static RuleDoc> {
    docs().find(|doc| doc.rule == rule)
}

/// Runs all rules over the facts of a capture.
pub struct Detector {
    rules: Vec<Box<dyn Rule>>,
    incidents: Incidents,
    detected: Vec<Detection>,
}

impl Detector {
    /// A detector with every rule in its initial state.
    pub fn new(limits: &Limits) -> Self {
        Self {
            rules: RULES.iter().map(|rule| rule()).collect(),
            incidents: Incidents::new(limits),
            detected: Vec::new(),
        }
    }

    /// Adds a rule that receives every fact from here on, after those of [`RULES`].
    pub fn add(&mut self, rule: Box<dyn Rule>) {
        self.rules.push(rule);
    }

    /// Number of incidents that were closed early because [`Limits::incidents`] was reached.
    pub const fn evictions(&self) -> u64 {
        self.incidents.evictions()
    }

    /// The number of problems so far, by state and severity.
    pub fn problems(&self) -> Problems {
        self.incidents.problems()
    }

    /// Passes a judged connection to every rule. Findings, and incidents that it ends, go to `out`. Returns the
    /// ID of the incident that the connection belongs to, if any.
    pub fn on_session(
        &mut self,
        it: &JudgedConnection,
        world: &World,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        self.incidents.on_session(it, out);
        for rule in &mut self.rules {
            rule.on_fact(&it.settled);
            rule.on_session(it, world, &mut self.detected);
        }
        if !self.detected.is_empty() {
            let unproven = world.unclaimed(it);
            for found in &mut self.detected {
                let is_in = |sent: &&SentName| found.nodes.contains(&sent.identity.label);
                found.unproven = unproven.iter().filter(is_in).cloned().collect();
            }
        }
        self.report(&ReportContext::of_session(it), out)
    }

    /// Passes an EPMD request to every rule, as [`Self::on_session`] does with a connection.
    pub fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        world: &World,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        self.incidents.on_epmd(settled, epmd, out);
        for rule in &mut self.rules {
            rule.on_fact(settled);
            rule.on_epmd(settled, epmd, world, &mut self.detected);
        }
        self.report(&ReportContext::of_epmd(settled, epmd), out)
    }

    /// Passes a node whose entry has changed to every rule.
    pub fn on_node(&mut self, change: &NodeChange, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_node(change, &mut self.detected);
        }
        self.report(&ReportContext::of(&change.settled), out);
    }

    /// Passes only the time and the connection of a fact that has no method of its own.
    pub fn on_other(&mut self, settled: &Settled) {
        for rule in &mut self.rules {
            rule.on_fact(settled);
        }
    }

    /// Passes a message that has a trigger to every rule.
    pub fn on_message(
        &mut self,
        settled: &Settled,
        message: &TriggerMessage,
        out: &mut Vec<Event>,
    ) {
        for rule in &mut self.rules {
            rule.on_message(settled, message, &mut self.detected);
        }
        self.report(&ReportContext::of(settled), out);
    }

    /// Reports problems that are reported once a run, and closes all incidents.
    pub fn finish(&mut self, now: Timestamp, world: &World, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_input_end(now);
            rule.on_end(world, &mut self.detected);
        }
        self.report(&ReportContext::end_of_run(now), out);
        self.incidents.name_sides(now, world, out);
        self.incidents.name_strangers(now, world, out);
        self.incidents.finish(now, out);
    }

    /// Passes what the rules have detected to the incidents. Returns the ID of the first incident.
    fn report(&mut self, context: &ReportContext<'_>, out: &mut Vec<Event>) -> Option<Arc<str>> {
        let mut incident = None;
        for detection in self.detected.drain(..) {
            if let Some(id) = self.incidents.on_detection(detection, context, out) {
                incident.get_or_insert(id);
            }
        }
        incident
    }
}
