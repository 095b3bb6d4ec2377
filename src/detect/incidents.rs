//! Groups repeated detections of one problem into an incident: the first one becomes a finding, later ones
//! are counted.

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

/// Time and fact at which the rules detected a problem.
pub(super) struct ReportContext<'a> {
    at: Timestamp,
    /// Time and connection of the fact; `None` at the end of a run.
    settled: Option<&'a Settled>,
    /// The EPMD request, if the fact is one.
    epmd: Option<&'a EpmdObservation>,
}

impl<'a> ReportContext<'a> {
    pub(super) const fn of(settled: &'a Settled) -> Self {
        Self { at: settled.at, settled: Some(settled), epmd: None }
    }

    pub(super) const fn of_epmd(settled: &'a Settled, epmd: &'a EpmdObservation) -> Self {
        Self { at: settled.at, settled: Some(settled), epmd: Some(epmd) }
    }

    pub(super) const fn end_of_run(at: Timestamp) -> Self {
        Self { at, settled: None, epmd: None }
    }

    /// Wraps `body` into an event of this fact. At the end of a run the event is about `input`.
    fn event(&self, input: Option<u16>, body: Body) -> Event {
        match self.settled {
            Some(settled) => Event::of(settled, body),
            None => Event { at: self.at, frame: None, input, connection: None, body },
        }
    }
}

/// All open incidents, by rule and parties.
#[derive(Debug)]
pub(super) struct Incidents {
    known: HashMap<Key, Ongoing, RandomState>,
    /// Keys and numbers of incidents in the order in which they began; may contain closed ones.
    order: VecDeque<(Key, u64)>,
    /// Keys and numbers of incidents by the [event](Ongoing::ended_by) that ends them.
    by_end: HashMap<String, Vec<(Key, u64)>, RandomState>,
    /// Limit of reported findings for each rule.
    rate_limits: HashMap<&'static str, RateLimit, RandomState>,
    /// Maximum of findings that a rule reports within [`RATE_WINDOW`].
    max_reported: u64,
    begun: u64,
    capacity: usize,
    evictions: u64,
}

/// Counts the findings of one rule, so that a flood of different problems does not fill the output.
#[derive(Debug)]
struct RateLimit {
    /// Start of the current window of [`RATE_WINDOW`].
    since: Timestamp,
    /// Findings of the rule since the window began.
    detected: u64,
    /// One incident for all findings above the limit, in the whole run.
    excess: Option<Incident>,
}

impl RateLimit {
    const fn new(since: Timestamp) -> Self {
        Self { since, detected: 0, excess: None }
    }
}

type Key = (&'static str, String);

#[derive(Debug)]
struct Ongoing {
    incident: Incident,
    /// Sequence number of the incident: distinguishes it from an earlier one with the same key.
    number: u64,
    /// Key of the event that ends it; `None` if only the end of the run does.
    ended_by: Option<String>,
}

impl Incidents {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            by_end: HashMap::default(),
            rate_limits: HashMap::default(),
            max_reported: limits.findings,
            begun: 0,
            capacity: limits.incidents,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Reports a new detection as a finding, and counts a repeated one. Returns the ID of the incident that it
    /// belongs to.
    pub(super) fn on_detection(
        &mut self,
        mut finding: Detection,
        context: &ReportContext<'_>,
        out: &mut Vec<Event>,
    ) -> Arc<str> {
        let key = (finding.rule, finding.parties.clone());
        if let Some(ongoing) = self.known.get_mut(&key) {
            ongoing.incident.count += 1;
            ongoing.incident.last = ongoing.incident.last.max(context.at);
            let nodes = &mut ongoing.incident.nodes;
            for node in finding.nodes {
                if nodes.len() < MAX_NODES && !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
            return Arc::clone(&ongoing.incident.incident_id);
        }
        if let Some(id) = self.rate_limited(&finding, context, out) {
            return id;
        }
        if self.known.len() >= self.capacity {
            self.evict(context.at, out);
        }
        self.begun += 1;
        // A problem that is only possible must not raise an alarm.
        if finding.confidence == Confidence::Possible {
            finding.severity = finding.severity.min(Severity::Low);
        }
        let own = context.settled.map(|settled| &settled.connection.session_id);
        for evidence in &mut finding.evidence {
            let session_id = evidence.session_id.take();
            evidence.session_id = session_id.filter(|id| own != Some(id));
        }
        let id = short_id(&format!("{},{},{}", finding.rule, finding.parties, context.at));
        let incident = Incident {
            incident_id: Arc::clone(&id),
            rule: finding.rule,
            severity: finding.severity,
            nodes: finding.nodes.clone(),
            count: 1,
            first: context.at,
            last: context.at,
        };
        self.order.push_back((key.clone(), self.begun));
        let is_ended_by_answer = ENDED_BY_ANSWER.contains(&incident.rule);
        let ended_by = match context.settled.filter(|_| is_ended_by_answer) {
            Some(settled) => context.epmd.map(|epmd| answer_key(settled, epmd)),
            // Findings of severity info describe how nodes connect, so a connection does not end them.
            None if incident.severity == Severity::Info => None,
            None => connection_key(&incident.nodes),
        };
        if let Some(end) = &ended_by {
            self.by_end.entry(end.clone()).or_default().push((key.clone(), self.begun));
        }
        self.remove_ended_from_order();
        self.known.insert(key, Ongoing { incident, number: self.begun, ended_by });
        let input = only_input(&finding);
        let finding = Box::new(finding.into_finding(Arc::clone(&id)));
        out.push(context.event(input, Body::Finding { finding }));
        id
    }

    /// Counts a finding of a rule. If the rule exceeds its limit, returns the ID of the incident that collects
    /// its further findings.
    fn rate_limited(
        &mut self,
        finding: &Detection,
        context: &ReportContext<'_>,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        let limit =
            self.rate_limits.entry(finding.rule).or_insert_with(|| RateLimit::new(context.at));
        if context.at.since(limit.since) >= RATE_WINDOW {
            (limit.since, limit.detected) = (context.at, 0);
        }
        limit.detected += 1;
        if limit.detected <= self.max_reported {
            return None;
        }
        if let Some(excess) = &mut limit.excess {
            excess.count += 1;
            excess.last = excess.last.max(context.at);
            return Some(Arc::clone(&excess.incident_id));
        }
        let id = short_id(&format!("{},,{}", finding.rule, context.at));
        limit.excess = Some(Incident {
            incident_id: Arc::clone(&id),
            rule: finding.rule,
            severity: finding.severity,
            nodes: Vec::new(),
            count: 1,
            first: context.at,
            last: context.at,
        });
        let detail = format!(
            "more than {} findings of {} within an hour: further ones are only counted, in one incident",
            self.max_reported, finding.rule
        );
        let anomaly = Anomaly::new(AnomalyKind::Limit, detail);
        out.push(context.event(None, Body::Anomaly { anomaly: Box::new(anomaly) }));
        Some(id)
    }

    /// Closes the incidents between two nodes when these connect.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, out: &mut Vec<Event>) {
        if it.state() == State::Established && it.outcome() == Outcome::Connected {
            let end = connection_key(&it.seen.names().cloned().collect::<Vec<_>>());
            self.end(end, it.at(), out);
        }
    }

    /// Closes the incidents of a lookup when EPMD answers it.
    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        out: &mut Vec<Event>,
    ) {
        if epmd.outcome == EpmdOutcome::Answered {
            self.end(Some(answer_key(settled, epmd)), settled.at, out);
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

    /// Closes all incidents at the end of the run.
    pub(super) fn finish(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        while let Some((key, number)) = self.order.pop_front() {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.close(&key, now, out);
            }
        }
        let mut excess: Vec<_> =
            self.rate_limits.drain().filter_map(|(_, limit)| limit.excess).collect();
        excess.sort_unstable_by_key(|incident| incident.rule);
        for incident in excess {
            let body = Body::Incident { incident: Box::new(incident) };
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }

    /// Removes closed incidents from the order once they outnumber open ones by far: two nodes may fail and
    /// connect in turn for days.
    fn remove_ended_from_order(&mut self) {
        if self.order.len() > MIN_ORDER.max(self.known.len().saturating_mul(4)) {
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
        if let Some(end) = ended_by
            && let Some(ending) = self.by_end.get_mut(&end)
        {
            ending.retain(|(_, other)| *other != number);
            if ending.is_empty() {
                self.by_end.remove(&end);
            }
        }
        if incident.count > 1 {
            let body = Body::Incident { incident: Box::new(incident) };
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }
}

/// Rules whose incidents end once EPMD answers the lookup.
const ENDED_BY_ANSWER: [&str; 2] = ["epmd-unreachable", "node-not-registered"];

/// Key of the event that ends a problem between two nodes: their connection.
fn connection_key(nodes: &[Arc<str>]) -> Option<String> {
    match nodes {
        [a, b] if a <= b => Some(format!("{a},{b}")),
        [a, b] => Some(format!("{b},{a}")),
        _ => None,
    }
}

/// Key of the event that ends a problem with EPMD: its answer to the same host about the same name.
fn answer_key(settled: &Settled, epmd: &EpmdObservation) -> String {
    let ids = &settled.connection;
    let name = epmd.name.as_deref().unwrap_or_default();
    format!("{},{},{},{name}", ids.src_ip, ids.dest_ip, ids.dest_port)
}

/// The input that all evidence of a finding comes from, if it is only one.
fn only_input(finding: &Detection) -> Option<u16> {
    let mut inputs = finding.evidence.iter().map(|shown| shown.frame.input);
    let first = inputs.next()?;
    inputs.all(|input| input == first).then_some(first)
}

/// Time in which a rule may report [`Limits::findings`] different problems.
const RATE_WINDOW: Duration = Duration::from_secs(3600);

/// Length of the order below which it is not cleaned up: small beside the incidents themselves.
const MIN_ORDER: usize = 4096;

/// Maximum of nodes named in one incident: the first few show what they have in common.
const MAX_NODES: usize = 32;
