//! One problem between the same parties is one incident, however often it is tried.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::conn::digest::short_id;
use crate::event::{
    Body, Confidence, EpmdOutcome, Event, Finding, Incident, Outcome, Severity, State,
};
use crate::time::Timestamp;

/// Where a finding is told.
pub(super) struct Place<'a> {
    at: Timestamp,
    /// What shows it; nothing does at the end of a run.
    event: Option<&'a Event>,
}

impl<'a> Place<'a> {
    pub(super) const fn of(event: &'a Event) -> Self {
        Self { at: event.at, event: Some(event) }
    }

    pub(super) const fn nowhere(at: Timestamp) -> Self {
        Self { at, event: None }
    }
}

/// The problems that are known, by rule and parties.
#[derive(Debug)]
pub(super) struct Incidents {
    known: HashMap<Key, Ongoing, RandomState>,
    /// Keys in the order in which the incidents began.
    order: VecDeque<(Key, u64)>,
    /// Keys by what ends their incident.
    by_end: HashMap<String, Vec<(Key, u64)>, RandomState>,
    begun: u64,
    capacity: usize,
    evictions: u64,
}

type Key = (&'static str, String);

#[derive(Debug)]
struct Ongoing {
    incident: Incident,
    /// Which of all incidents it is: tells a key that began anew from its old place in the order.
    number: u64,
    /// What ends it, if anything but the end of the run.
    ended_by: Option<String>,
}

impl Incidents {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            by_end: HashMap::default(),
            begun: 0,
            capacity,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Tells a finding that is new, counts one that is known. Gives the incident it belongs to.
    pub(super) fn on_finding(
        &mut self,
        mut finding: Finding,
        place: &Place<'_>,
        out: &mut Vec<Event>,
    ) -> Arc<str> {
        let key = (finding.rule, finding.parties.clone());
        if let Some(ongoing) = self.known.get_mut(&key) {
            ongoing.incident.count += 1;
            ongoing.incident.last = ongoing.incident.last.max(place.at);
            let nodes = &mut ongoing.incident.nodes;
            for node in finding.nodes {
                if nodes.len() < MAX_NODES && !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
            return Arc::clone(&ongoing.incident.incident_id);
        }
        if self.known.len() >= self.capacity {
            self.evict(place.at, out);
        }
        self.begun += 1;
        // What is only possible is nothing to be woken up for.
        if finding.confidence == Confidence::Possible {
            finding.severity = finding.severity.min(Severity::Low);
        }
        let own = place.event.and_then(|event| event.connection.as_ref());
        for evidence in &mut finding.evidence {
            evidence.session_id = evidence
                .session_id
                .take()
                .filter(|id| own.is_none_or(|connection| connection.session_id != *id));
        }
        let text = format!("{},{},{}", finding.rule, finding.parties, place.at);
        finding.incident_id = short_id(&text);
        let id = Arc::clone(&finding.incident_id);
        let incident = Incident {
            incident_id: Arc::clone(&id),
            rule: finding.rule,
            severity: finding.severity,
            nodes: finding.nodes.clone(),
            count: 1,
            first: place.at,
            last: place.at,
        };
        self.order.push_back((key.clone(), self.begun));
        let by_an_answer = ENDED_BY_AN_ANSWER.contains(&incident.rule);
        let ended_by = match place.event.filter(|_| by_an_answer) {
            Some(event) => answer_end(event),
            // What is no fault is not over because the two connect: it is how they do.
            None if incident.severity == Severity::Info => None,
            None => nodes_end(&incident.nodes),
        };
        if let Some(end) = &ended_by {
            self.by_end.entry(end.clone()).or_default().push((key.clone(), self.begun));
        }
        self.known.insert(key, Ongoing { incident, number: self.begun, ended_by });
        out.push(Event {
            at: place.at,
            frame: place.event.and_then(|event| event.frame),
            input: place.event.map_or_else(|| only_input(&finding), |event| event.input),
            connection: place.event.and_then(|event| event.connection.clone()),
            body: Body::Finding { finding: Box::new(finding) },
        });
        id
    }

    /// Two nodes that connect, or a port mapper that answers, end what was wrong between them.
    pub(super) fn on_event(&mut self, event: &Event, out: &mut Vec<Event>) {
        let end = match &event.body {
            Body::Session { session }
                if session.state == State::Established && session.outcome == Outcome::Connected =>
            {
                let nodes = [&session.initiator.node, &session.acceptor.node];
                nodes_end(&nodes.into_iter().flatten().cloned().collect::<Vec<_>>())
            }
            Body::Epmd { epmd } if epmd.outcome == EpmdOutcome::Answered => answer_end(event),
            _ => None,
        };
        let ended = end.and_then(|end| self.by_end.remove(&end)).unwrap_or_default();
        for (key, number) in ended {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.close(&key, event.at, out);
            }
        }
    }

    /// The run ends.
    pub(super) fn finish(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        while let Some((key, number)) = self.order.pop_front() {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.close(&key, now, out);
            }
        }
    }

    fn evict(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        while let Some((key, number)) = self.order.pop_front() {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.evictions += 1;
                self.close(&key, now, out);
                return;
            }
        }
    }

    fn close(&mut self, key: &Key, now: Timestamp, out: &mut Vec<Event>) {
        let Some(Ongoing { incident, number, ended_by }) = self.known.remove(key) else { return };
        if let Some(end) = ended_by {
            if let Some(ending) = self.by_end.get_mut(&end) {
                ending.retain(|(_, other)| *other != number);
                if ending.is_empty() {
                    self.by_end.remove(&end);
                }
            }
        }
        if incident.count > 1 {
            let body = Body::Incident { incident: Box::new(incident) };
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }
}

/// Problems that are over once the port mapper gives what it did not give before.
const ENDED_BY_AN_ANSWER: [&str; 2] = ["epmd-unreachable", "node-not-registered"];

/// What a problem between two nodes is over with: that they connect.
fn nodes_end(nodes: &[Arc<str>]) -> Option<String> {
    match nodes {
        [a, b] if a <= b => Some(format!("{a},{b}")),
        [a, b] => Some(format!("{b},{a}")),
        _ => None,
    }
}

/// What an EPMD problem is over with: an answer by the same port mapper about the same name.
fn answer_end(event: &Event) -> Option<String> {
    let (Body::Epmd { epmd }, Some(ids)) = (&event.body, &event.connection) else { return None };
    let name = epmd.name.as_deref().unwrap_or_default();
    Some(format!("{},{},{},{name}", ids.src_ip, ids.dest_ip, ids.dest_port))
}

/// The input that all of a finding is about, where no event has it.
fn only_input(finding: &Finding) -> Option<u16> {
    let mut inputs = finding.evidence.iter().map(|shown| shown.frame.input);
    let first = inputs.next()?;
    inputs.all(|input| input == first).then_some(first)
}

/// Nodes named of one incident: what all attack is told by the first few.
const MAX_NODES: usize = 32;
