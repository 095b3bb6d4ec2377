//! Stage 7: what a person should look at.
//!
//! In: events, and messages that are telling. Out: findings, each with the frames that show it, and
//! incidents that close what repeated. Sees events and never bytes. One cause gives one finding: the
//! rules share the outcomes out among them.

mod already_connected;
mod clear_text;
mod congested_link;
mod connection_lost;
mod cookie_guessing;
mod cookie_mismatch;
mod corrupt_distribution;
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

pub use self::doc::{LogLine, RuleDoc};

use self::incidents::{Incidents, Place};
use crate::judge::world::World;
use crate::limits::Limits;
use crate::observe::messages::MessageEvent;
use crate::record::{Event, Finding};
use crate::time::Timestamp;

/// A small state machine over events that knows one problem, or a few that are told apart at once.
pub trait Rule: Send {
    /// What it may find.
    fn pages(&self) -> &'static [RuleDoc];

    /// Looks at one event, and at what is `known` from all before it. What it finds goes to `out`
    /// each time it is seen: repeats are sorted out behind the rules, by [`Finding::parties`].
    fn on_event(&mut self, event: &Event, known: &World, out: &mut Vec<Finding>);

    /// Looks at a message that has a [trigger](crate::observe::messages::RuleTrigger); others are not passed to rules.
    fn on_message(&mut self, _event: &MessageEvent<'_>, _out: &mut Vec<Finding>) {}

    /// The input ends: the last chance for what is told once a run.
    fn on_end(&mut self, _known: &World, _out: &mut Vec<Finding>) {}
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
    found: Vec<Finding>,
}

impl Detector {
    /// Every rule, none of which has seen anything.
    pub fn new(limits: &Limits) -> Self {
        Self {
            rules: RULES.iter().map(|rule| rule()).collect(),
            incidents: Incidents::new(limits),
            found: Vec::new(),
        }
    }

    /// Problems that were forgotten because a bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.incidents.evictions()
    }

    /// Shows an event to every rule; findings, and incidents that it ends, go to `out`. Gives the
    /// incident that the event is the first or a further case of.
    pub fn on_event(
        &mut self,
        event: &Event,
        known: &World,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        self.incidents.on_event(event, out);
        for rule in &mut self.rules {
            rule.on_event(event, known, &mut self.found);
        }
        let place = Place::of(event);
        let mut incident = None;
        for finding in self.found.drain(..) {
            let id = self.incidents.on_finding(finding, &place, out);
            incident.get_or_insert(id);
        }
        incident
    }

    /// Shows a telling message to every rule.
    pub fn on_message(&mut self, event: &MessageEvent<'_>, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_message(event, &mut self.found);
        }
        let place = Place::of_message(event);
        for finding in self.found.drain(..) {
            self.incidents.on_finding(finding, &place, out);
        }
    }

    /// The run ends: tells what is told once a run, and closes what repeated.
    pub fn finish(&mut self, now: Timestamp, known: &World, out: &mut Vec<Event>) {
        for rule in &mut self.rules {
            rule.on_end(known, &mut self.found);
        }
        for finding in self.found.drain(..) {
            self.incidents.on_finding(finding, &Place::nowhere(now), out);
        }
        self.incidents.finish(now, out);
    }
}
