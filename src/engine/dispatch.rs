//! From what connections report to events: the stages that see all connections, then the sink.
//!
//! In: the output of a connection, and anomalies of the run. Out: events and messages, to the sink.
//!
//! An event may call for more work: a port becomes known as that of a node, so that connections to it that were
//! pending are followed. Such work is queued and done when the output at hand has been dispatched; nothing
//! recurses.

use std::ops::Range;
use std::sync::Arc;

use super::Core;
use crate::decode::Endpoint;
use crate::observe::messages::{FieldKind, MessageEvent, RuleTrigger};
use crate::observe::{
    self, EpmdObservation, Fact, LostContact, Recorded, Settled, TriggerCall, TriggerMessage,
};
use crate::protocol::{ConnEvent, ConnOutput, FollowReason, MessageDetail};
use crate::record::{Anomaly, AnomalyKind, Body, Event, EventSink};

/// Work that results from dispatching.
#[derive(Debug)]
pub(super) enum Work {
    /// Connections to this end are those of a node: follow the pending ones.
    Follow(Endpoint),
    /// An event that is not of a connection.
    Event(Event),
}

impl<S: EventSink> Core<S> {
    /// Dispatches what the connections have reported, and does the work that this calls for.
    #[inline]
    pub(super) fn dispatch(&mut self) {
        if !self.output.is_empty() {
            self.flush_output();
        }
        if !self.queue.is_empty() {
            self.run_queue();
        }
    }

    /// Does all of the queued work.
    #[cold] // beside packets
    #[inline(never)]
    pub(super) fn run_queue(&mut self) {
        while let Some(work) = self.queue.pop_front() {
            match work {
                Work::Follow(end) => self.follow_pending(end),
                Work::Event(event) => self.report(event),
            }
        }
    }

    /// Something about the run, or about one input of it. The work that it calls for is queued.
    pub(super) fn on_anomaly(&mut self, input: Option<u16>, anomaly: Anomaly) {
        self.on_fact(Fact::Run { at: self.now, input, anomaly });
    }

    /// Dispatches what a connection has reported, in its order. The messages of the output are borrowed from it, so
    /// it is taken out and put back with its memory.
    pub(super) fn flush_output(&mut self) {
        let Some((source, mut events)) = self.output.take_events() else { return };
        let mut output = std::mem::take(&mut self.output);
        for event in events.drain(..) {
            match event {
                ConnEvent::Observed(observed) => self.on_fact(observed.settled(source.clone())),
                ConnEvent::Messages(range) => self.report_messages(&output, &source, range),
            }
        }
        output.reuse(events);
        // Nothing above hands a segment to a connection, so nothing was reported meanwhile.
        self.output = output;
    }

    fn report_messages(&mut self, output: &ConnOutput, source: &Settled, range: Range<usize>) {
        let are_wanted = self.config.messages != MessageDetail::None;
        output.each_message(source, range, |event| {
            if are_wanted {
                self.sink.message(event);
            }
            if let Some(fact) = trigger_fact(event) {
                self.on_fact(fact);
            }
        });
    }

    /// Takes in a fact: records it, and reports what follows from it. Ports that become known as those of nodes are
    /// queued.
    #[inline(never)]
    pub(super) fn on_fact(&mut self, fact: Fact) {
        let (clock, sequence) = (self.now, self.facts);
        self.facts += 1;
        if let Fact::Epmd { settled, seen } = &fact {
            self.learn_epmd(settled, seen);
        }
        let fact = match &mut self.recorder {
            None => fact,
            Some(recorder) => {
                let recorded = Recorded { version: observe::VERSION, clock, sequence, fact };
                recorder(&recorded);
                recorded.fact
            }
        };
        if let Fact::Connection { seen, .. } = &fact
            && !self.config.cookies.is_empty()
        {
            self.count_cookies(&seen.handshake.cookies);
        }
        let mut out = std::mem::take(&mut self.conclusions);
        self.reducer.on_fact(fact, &mut out);
        for event in out.events.drain(..) {
            self.report(event);
        }
        for outcome in out.ended.drain(..) {
            *self.stats.sessions.entry(outcome).or_default() += 1;
        }
        let node_ports = &mut self.node_ports;
        let new_ports = out.node_ports.drain(..).filter(|end| node_ports.insert(*end));
        self.queue.extend(new_ports.map(Work::Follow));
        self.conclusions = out;
        self.report_limits();
    }

    /// Remembers an EPMD that answered on another port than the configured ones: from here on, connections to it are
    /// followed whatever becomes of them.
    fn learn_epmd(&mut self, settled: &Settled, seen: &EpmdObservation) {
        let ids = &settled.connection;
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        let is_new = seen.response.is_some()
            && !self.config.epmd_ports.contains(&end.port)
            && self.epmd_ends.insert(end);
        if is_new {
            self.know_port(end.port);
        }
    }

    /// Reports each bound of the run that was reached since the last call, once.
    pub(super) fn report_limits(&mut self) {
        if !self.forgets && self.node_ports.evictions() + self.epmd_ends.evictions() > 0 {
            self.forgets = true;
            self.report_limit(format!(
                "more than the {} ports of nodes that are remembered: some are forgotten",
                self.config.limits.ports
            ));
        }
        let key_log = &self.config.key_log;
        if !self.drops_secrets && key_log.is_in_use() && key_log.counts().dropped > 0 {
            self.drops_secrets = true;
            let sessions = self.config.limits.key_log.sessions;
            self.report_limit(format!(
                "the key log has the secrets of more than {sessions} connections: the first ones are dropped"
            ));
        }
        if !self.drops_segments && self.reassembly.refused() > 0 {
            self.drops_segments = true;
            let limits = &self.config.limits;
            self.report_limit(format!(
                "segments behind a hole need more than the {} bytes of one direction, or the {} of all: the hole is given \
                 up, and what comes later in it is not read",
                limits.held_per_direction, limits.held_total
            ));
        }
        if !self.lacks_room && self.pool.refused() > 0 {
            self.lacks_room = true;
            self.report_limit(format!(
                "messages need more than the {} bytes that are kept of them: some atoms, names, calls and \
                 messages in several packets stay unknown",
                self.config.limits.messages
            ));
        }
    }

    /// A bound of the whole run has been reached.
    pub(super) fn report_limit(&mut self, detail: String) {
        self.on_anomaly(None, Anomaly::new(AnomalyKind::Limit, detail));
    }

    /// Hands an event to the sink, after the packets of a finding were saved as evidence.
    pub(super) fn report(&mut self, mut event: Event) {
        if let Some(Err(anomaly)) = self.evidence.as_mut().map(|it| it.on_event(&mut event)) {
            let body = Body::Anomaly { anomaly: Box::new(anomaly) };
            let event = Event { at: self.now, frame: None, input: None, connection: None, body };
            self.queue.push_back(Work::Event(event));
        }
        if self.count_event(&event) {
            self.sink.event(event);
        }
    }

    /// A port has become known as that of a node: connections to it that were pending are followed.
    fn follow_pending(&mut self, end: Endpoint) {
        self.know_port(end.port);
        for opening in self.triage.take_openings_to(end) {
            let Some(first) = opening.segments().next() else { continue };
            let towards = first.direction;
            let dials = if first.dst() == end { towards } else { towards.reverse() };
            self.enter(&first, FollowReason::Node(dials), Some(&opening));
        }
    }
}

/// The fact in a message that rules look at; `None` for all others, which are nearly all.
fn trigger_fact(event: &MessageEvent<'_>) -> Option<Fact> {
    let MessageEvent { connection, message, .. } = event;
    let meta = message.meta;
    let trigger = meta.trigger?;
    let text = |kind| message.text(kind).map(Into::into);
    let call = meta.call.map(|kind| TriggerCall {
        kind: kind.name().into(),
        module: text(FieldKind::Module),
        function: text(FieldKind::Function),
        arity: message.number(FieldKind::Arity).and_then(|arity| arity.try_into().ok()),
    });
    let lost = matches!(trigger, RuleTrigger::LostConnection { .. })
        .then(|| LostContact { by: text(FieldKind::LostBy), node: text(FieldKind::LostNode) });
    let (mark, from, operation) = (meta.packet, meta.from, meta.operation_name().into());
    let message = Box::new(TriggerMessage { mark, from, operation, trigger, call, lost });
    let (at, frame, connection) = (mark.at, Some(mark.frame), Arc::clone(connection));
    Some(Fact::Message {
        settled: Settled { at, frame, input: None, host_input: None, connection },
        message,
    })
}
