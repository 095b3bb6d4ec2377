//! What a person should look at.
//!
//! In: judged connections, answers of port mappers, changes of nodes, and messages that rules look at. Out: findings,
//! each with the frames that show it, and incidents that close what repeated. Sees facts and verdicts, and never
//! bytes. One cause gives one finding: the rules share the outcomes out among them.

mod already_connected;
mod clear_text;
mod congested_link;
mod connection_lost;
mod cookie_guessing;
mod cookie_mismatch;
mod corrupt_distribution;
mod detection;
mod dist_port;
mod doc;
mod duplicate_node;
mod epmd_command;
mod epmd_common;
mod epmd_enumeration;
mod epmd_silent;
mod epmd_unreachable;
mod finding;
mod handshake_failed;
mod incidents;
mod known_tool;
pub mod log_lines;
mod name_in_use;
mod name_mismatch;
mod node_not_registered;
mod node_restarted;
mod not_allowed;
mod not_distribution;
mod registration_lost;
mod registration_rejected;
mod remote_execution;
mod same_name;
mod simultaneous_connect;
#[cfg(test)]
mod tests;
mod tls_failure;
mod tls_mismatch;
mod version_mismatch;

use std::sync::Arc;

pub use self::detection::Detection;
pub use self::doc::{LogLine, RuleDoc};

use self::incidents::{Incidents, Place};
use crate::judge::JudgedConnection;
use crate::judge::world::{NodeChange, World};
use crate::limits::Limits;
use crate::observe::{EpmdObservation, Settled, TriggerMessage};
use crate::record::Event;
use crate::time::Timestamp;

/// A small state machine over facts and verdicts that knows one problem, or a few that are told apart at once.
///
/// What it detects goes to `out` each time it is seen: repeats are sorted out behind the rules, by
/// [`Detection::parties`]. `world` is what all facts so far have shown.
pub trait Rule: Send {
    /// What it may find.
    fn pages(&self) -> &'static [RuleDoc];

    /// Looks at the time and the connection of a fact, before the method for its kind is called.
    fn on_fact(&mut self, _settled: &Settled) {}

    /// Looks at a connection that was judged.
    fn on_session(&mut self, _it: &JudgedConnection, _world: &World, _out: &mut Vec<Detection>) {}

    /// Looks at a request to a port mapper and what came of it.
    fn on_epmd(
        &mut self,
        _settled: &Settled,
        _epmd: &EpmdObservation,
        _world: &World,
        _out: &mut Vec<Detection>,
    ) {
    }

    /// Looks at a node whose entry has changed.
    fn on_node(&mut self, _change: &NodeChange, _out: &mut Vec<Detection>) {}

    /// Looks at a message that has a [trigger](crate::observe::RuleTrigger): no other comes here.
    fn on_message(
        &mut self,
        _settled: &Settled,
        _message: &TriggerMessage,
        _out: &mut Vec<Detection>,
    ) {
    }

    /// The input ends: the last chance for what is reported once a run.
    fn on_end(&mut self, _world: &World, _out: &mut Vec<Detection>) {}
}

/// Every rule, in the order in which findings about one event are told.
pub const RULES: &[fn() -> Box<dyn Rule>] = &[
    || Box::<cookie_mismatch::CookieMismatch>::default(),
    || Box::<cookie_guessing::CookieGuessing>::default(),
    || Box::<name_mismatch::NameMismatch>::default(),
    || Box::<version_mismatch::VersionMismatch>::default(),
    || Box::<not_allowed::NotAllowed>::default(),
    || Box::<same_name::SameName>::default(),
    || Box::<simultaneous_connect::SimultaneousConnect>::default(),
    || Box::<already_connected::AlreadyConnected>::default(),
    || Box::<name_in_use::NameInUse>::default(),
    || Box::<tls_mismatch::TlsMismatch>::default(),
    || Box::<tls_failure::TlsFailure>::default(),
    || Box::<node_not_registered::NodeNotRegistered>::default(),
    || Box::<epmd_unreachable::EpmdUnreachable>::default(),
    || Box::<epmd_silent::EpmdSilent>::default(),
    || Box::<registration_rejected::RegistrationRejected>::default(),
    || Box::<registration_lost::RegistrationLost>::default(),
    || Box::<dist_port::DistPort>::default(),
    || Box::<handshake_failed::HandshakeFailed>::default(),
    || Box::<connection_lost::ConnectionLost>::default(),
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

/// The pages of all rules, in that order.
pub fn pages() -> impl Iterator<Item = &'static RuleDoc> {
    RULES.iter().flat_map(|rule| rule().pages())
}

/// All rules at work.
pub struct Detector {
    rules: Vec<Box<dyn Rule>>,
    incidents: Incidents,
    detected: Vec<Detection>,
}

impl Detector {
    /// Every rule, none of which has seen anything.
    pub fn new(limits: &Limits) -> Self {
        Self {
            rules: RULES.iter().map(|rule| rule()).collect(),
            incidents: Incidents::new(limits),
            detected: Vec::new(),
        }
    }

    /// Adds a rule, which sees every fact from here on, after those of [`RULES`].
    pub fn add(&mut self, rule: Box<dyn Rule>) {
        self.rules.push(rule);
    }

    /// Problems that were forgotten because a bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.incidents.evictions()
    }

    /// Shows a judged connection to every rule; findings, and incidents that it ends, go to `out`. Gives the
    /// incident that the connection is the first or a further case of.
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
        self.report(&Place::of(&it.settled), out)
    }

    /// Likewise a request to a port mapper.
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
        self.report(&Place::of_epmd(settled, epmd), out)
    }

    /// Likewise a node whose entry has changed.
    pub fn on_node(&mut self, change: &NodeChange, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_node(change, &mut self.detected);
        }
        self.report(&Place::of(&change.settled), out);
    }

    /// Shows every rule when, and on which connection, there was a fact that no rule looks at.
    pub fn on_other(&mut self, settled: &Settled) {
        for rule in &mut self.rules {
            rule.on_fact(settled);
        }
    }

    /// Shows a message that has a trigger to every rule.
    pub fn on_message(
        &mut self,
        settled: &Settled,
        message: &TriggerMessage,
        out: &mut Vec<Event>,
    ) {
        for rule in &mut self.rules {
            rule.on_message(settled, message, &mut self.detected);
        }
        self.report(&Place::of(settled), out);
    }

    /// The run ends: reports what is reported once a run, and closes what repeated.
    pub fn finish(&mut self, now: Timestamp, world: &World, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_end(world, &mut self.detected);
        }
        self.report(&Place::nowhere(now), out);
        self.incidents.finish(now, out);
    }

    /// Makes findings of what the rules have detected. Gives the incident of the first.
    fn report(&mut self, place: &Place<'_>, out: &mut Vec<Event>) -> Option<Arc<str>> {
        let mut incident = None;
        for detection in self.detected.drain(..) {
            let id = self.incidents.on_detection(detection, place, out);
            incident.get_or_insert(id);
        }
        incident
    }
}
