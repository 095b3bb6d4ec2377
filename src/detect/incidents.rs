//! One problem between the same parties is one incident, however often it is tried.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::Detection;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::Limits;
use crate::observe::{EpmdObservation, EpmdOutcome, Settled, State, short_id};
use crate::record::{Anomaly, AnomalyKind, Body, Confidence, Event, Incident, Severity};
use crate::time::Timestamp;

/// When a finding is reported, and on which connection.
pub(super) struct Place<'a> {
    at: Timestamp,
    /// The fact that shows it; none does at the end of a run.
    settled: Option<&'a Settled>,
    /// The request to a port mapper that shows it.
    epmd: Option<&'a EpmdObservation>,
}

impl<'a> Place<'a> {
    pub(super) const fn of(settled: &'a Settled) -> Self {
        Self { at: settled.at, settled: Some(settled), epmd: None }
    }

    pub(super) const fn of_epmd(settled: &'a Settled, epmd: &'a EpmdObservation) -> Self {
        Self { at: settled.at, settled: Some(settled), epmd: Some(epmd) }
    }

    pub(super) const fn nowhere(at: Timestamp) -> Self {
        Self { at, settled: None, epmd: None }
    }

    /// The event of `body` there, about `input` where no fact shows it.
    fn event(&self, input: Option<u16>, body: Body) -> Event {
        match self.settled {
            Some(settled) => Event::of(settled, body),
            None => Event { at: self.at, frame: None, input, connection: None, body },
        }
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
    /// How much each rule has told of late.
    floods: HashMap<&'static str, Flood, RandomState>,
    most_told: u64,
    begun: u64,
    capacity: usize,
    evictions: u64,
}

/// What one rule tells, and what it has too much of.
#[derive(Debug)]
struct Flood {
    /// When counting began.
    since: Timestamp,
    /// Findings since then.
    told: u64,
    /// Those that were one too many, of the whole run.
    rest: Option<Incident>,
}

impl Flood {
    const fn new(since: Timestamp) -> Self {
        Self { since, told: 0, rest: None }
    }
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
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            by_end: HashMap::default(),
            floods: HashMap::default(),
            most_told: limits.findings,
            begun: 0,
            capacity: limits.incidents,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Reports a detection that is new, counts one that is known. Gives the incident it belongs to.
    pub(super) fn on_detection(
        &mut self,
        mut finding: Detection,
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
        if let Some(id) = self.is_one_too_many(&finding, place, out) {
            return id;
        }
        if self.known.len() >= self.capacity {
            self.evict(place.at, out);
        }
        self.begun += 1;
        // What is only possible is nothing to be woken up for.
        if finding.confidence == Confidence::Possible {
            finding.severity = finding.severity.min(Severity::Low);
        }
        let own = place.settled.map(|settled| &settled.connection.session_id);
        for evidence in &mut finding.evidence {
            let session_id = evidence.session_id.take();
            evidence.session_id = session_id.filter(|id| own != Some(id));
        }
        let id = short_id(&format!("{},{},{}", finding.rule, finding.parties, place.at));
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
        let ended_by = match place.settled.filter(|_| by_an_answer) {
            Some(settled) => place.epmd.map(|epmd| answer_end(settled, epmd)),
            // What is no fault is not over because the two connect: it is how they do.
            None if incident.severity == Severity::Info => None,
            None => nodes_end(&incident.nodes),
        };
        if let Some(end) = &ended_by {
            self.by_end.entry(end.clone()).or_default().push((key.clone(), self.begun));
        }
        self.forget_ended();
        self.known.insert(key, Ongoing { incident, number: self.begun, ended_by });
        let input = only_input(&finding);
        let finding = Box::new(finding.into_finding(Arc::clone(&id)));
        out.push(place.event(input, Body::Finding { finding }));
        id
    }

    /// Whether a rule has told so much of late that a finding is counted and not told: the incident
    /// that all of those belong to.
    fn is_one_too_many(
        &mut self,
        finding: &Detection,
        place: &Place<'_>,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        let flood = self.floods.entry(finding.rule).or_insert_with(|| Flood::new(place.at));
        if place.at.since(flood.since) >= FLOOD_WINDOW {
            (flood.since, flood.told) = (place.at, 0);
        }
        flood.told += 1;
        if flood.told <= self.most_told {
            return None;
        }
        if let Some(rest) = &mut flood.rest {
            rest.count += 1;
            rest.last = rest.last.max(place.at);
            return Some(Arc::clone(&rest.incident_id));
        }
        let id = short_id(&format!("{},,{}", finding.rule, place.at));
        flood.rest = Some(Incident {
            incident_id: Arc::clone(&id),
            rule: finding.rule,
            severity: finding.severity,
            nodes: Vec::new(),
            count: 1,
            first: place.at,
            last: place.at,
        });
        let detail = format!(
            "more than {} findings of {} within an hour: further ones are counted, in one incident, and \
             not told",
            self.most_told, finding.rule
        );
        let anomaly = Anomaly::new(AnomalyKind::Limit, detail);
        out.push(place.event(None, Body::Anomaly { anomaly: Box::new(anomaly) }));
        Some(id)
    }

    /// Two nodes that connect end what was wrong between them.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, out: &mut Vec<Event>) {
        if it.state() == State::Established && it.outcome() == Outcome::Connected {
            let end = nodes_end(&it.seen.names().cloned().collect::<Vec<_>>());
            self.end(end, it.at(), out);
        }
    }

    /// A port mapper that answers ends what was wrong with it.
    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        out: &mut Vec<Event>,
    ) {
        if epmd.outcome == EpmdOutcome::Answered {
            self.end(Some(answer_end(settled, epmd)), settled.at, out);
        }
    }

    fn end(&mut self, end: Option<String>, at: Timestamp, out: &mut Vec<Event>) {
        let ended = end.and_then(|end| self.by_end.remove(&end)).unwrap_or_default();
        for (key, number) in ended {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.close(&key, at, out);
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
        let mut rest: Vec<_> = self.floods.drain().filter_map(|(_, flood)| flood.rest).collect();
        rest.sort_unstable_by_key(|incident| incident.rule);
        for incident in rest {
            let body = Body::Incident { incident: Box::new(incident) };
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }

    /// Drops the places of incidents that are over, once they are most of all: two nodes may fail and
    /// connect for days.
    fn forget_ended(&mut self) {
        if self.order.len() > PLACES_KEPT.max(self.known.len().saturating_mul(4)) {
            let known = &self.known;
            self.order.retain(|(key, number)| {
                *number == self.begun
                    || known.get(key).is_some_and(|ongoing| ongoing.number == *number)
            });
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
fn answer_end(settled: &Settled, epmd: &EpmdObservation) -> String {
    let ids = &settled.connection;
    let name = epmd.name.as_deref().unwrap_or_default();
    format!("{},{},{},{name}", ids.src_ip, ids.dest_ip, ids.dest_port)
}

/// The input that all of a finding is about, where no event has it.
fn only_input(finding: &Detection) -> Option<u16> {
    let mut inputs = finding.evidence.iter().map(|shown| shown.frame.input);
    let first = inputs.next()?;
    inputs.all(|input| input == first).then_some(first)
}

/// Time in which a rule may tell [`Limits::findings`] different things.
const FLOOD_WINDOW: Duration = Duration::from_secs(3600);

/// Places in the order below which none is dropped: little beside what else is kept.
const PLACES_KEPT: usize = 4096;

/// Nodes named of one incident: what all attack is told by the first few.
const MAX_NODES: usize = 32;
