//! One problem between the same parties is one incident, however often it is tried.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::Limits;
use crate::observe::messages::MessageEvent;
use crate::packet::FrameRef;
use crate::protocol::digest::short_id;
use crate::record::{
    Anomaly, AnomalyKind, Body, Confidence, ConnectionIds, EpmdOutcome, Event, Finding, Incident,
    Outcome, Severity, State,
};
use crate::time::Timestamp;

/// Where a finding is told.
pub(super) struct Place<'a> {
    at: Timestamp,
    /// The packet that shows it; none does at the end of a run.
    frame: Option<FrameRef>,
    input: Option<u16>,
    connection: Option<&'a Arc<ConnectionIds>>,
    /// The event that shows it; a message is none.
    event: Option<&'a Event>,
}

impl<'a> Place<'a> {
    pub(super) const fn of(event: &'a Event) -> Self {
        let Event { at, frame, input, connection, .. } = event;
        let connection = connection.as_ref();
        Self { at: *at, frame: *frame, input: *input, connection, event: Some(event) }
    }

    pub(super) const fn of_message(event: &MessageEvent<'a>) -> Self {
        let MessageEvent { connection, message } = event;
        let mark = &message.meta.packet;
        let (at, frame) = (mark.at, Some(mark.frame));
        Self { at, frame, input: None, connection: Some(connection), event: None }
    }

    pub(super) const fn nowhere(at: Timestamp) -> Self {
        Self { at, frame: None, input: None, connection: None, event: None }
    }

    /// An event of what is told there, about `input` where nothing shows it.
    fn tells(&self, input: Option<u16>, body: Body) -> Event {
        let is_nowhere = self.frame.is_none() && self.event.is_none();
        Event {
            at: self.at,
            frame: self.frame,
            input: if is_nowhere { input } else { self.input },
            connection: self.connection.cloned(),
            body,
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
        let own = place.connection;
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
        self.forget_ended();
        self.known.insert(key, Ongoing { incident, number: self.begun, ended_by });
        let input = only_input(&finding);
        out.push(place.tells(input, Body::Finding { finding: Box::new(finding) }));
        id
    }

    /// Whether a rule has told so much of late that a finding is counted and not told: the incident
    /// that all of those belong to.
    fn is_one_too_many(
        &mut self,
        finding: &Finding,
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
        out.push(place.tells(None, Body::Anomaly { anomaly: Box::new(anomaly) }));
        Some(id)
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

/// Time in which a rule may tell [`Limits::findings`] different things.
const FLOOD_WINDOW: Duration = Duration::from_secs(3600);

/// Places in the order below which none is dropped: little beside what else is kept.
const PLACES_KEPT: usize = 4096;

/// Nodes named of one incident: what all attack is told by the first few.
const MAX_NODES: usize = 32;
