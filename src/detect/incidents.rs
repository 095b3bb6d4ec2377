//! Groups repeated detections of one problem into an incident: the first one becomes a finding, later ones are counted.
//!
//! An incident is open until each of its detections was followed by one of its [`Ending`]s. It is solved then, and a
//! record of it is written at that time. A detection within [`REOPENS`] reopens it; a later one begins a new incident.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::ending::{Ending, Happened};
use super::finding::{order_by_frame, ordinal};
use super::{Detection, IfKnown, unproven_name};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::{Limits, remember};
use crate::observe::{EpmdObservation, Observation, Settled, short_id};
use crate::packet::FrameRef;
use crate::record::{
    Anomaly, AnomalyKind, Body, Confidence, Event, Incident, IncidentState, Problems, Severity,
};
use crate::time::Timestamp;

/// Time and fact at which the rules detected a problem.
pub(super) struct ReportContext<'a> {
    at: Timestamp,
    /// Time and connection of the fact; `None` at the end of a run.
    settled: Option<&'a Settled>,
    /// When the fact last showed a problem: a timer may settle it later.
    shown_at: Timestamp,
}

impl<'a> ReportContext<'a> {
    pub(super) const fn of(settled: &'a Settled) -> Self {
        Self { at: settled.at, settled: Some(settled), shown_at: settled.at }
    }

    pub(super) fn of_session(it: &'a JudgedConnection) -> Self {
        let Observation { tcp, .. } = &*it.seen;
        let sent = tcp.sides.each().filter_map(|(_, side)| side.last_bytes);
        let last = match it.outcome() {
            // A new connection may be there before the end of a broken one is captured.
            Outcome::Connected => sent.min().unwrap_or(tcp.last.at),
            _ => it.seen.closed().map_or(tcp.last.at, |closed| closed.at),
        };
        Self { shown_at: last.min(it.at()), ..Self::of(&it.settled) }
    }

    pub(super) fn of_epmd(settled: &'a Settled, epmd: &'a EpmdObservation) -> Self {
        let seen = &epmd.seen;
        let marks = [seen.syn, seen.request, seen.reply, seen.close].into_iter().flatten();
        let last = marks.map(|mark| mark.at).max();
        Self { shown_at: last.map_or(settled.at, |at| at.min(settled.at)), ..Self::of(settled) }
    }

    pub(super) const fn end_of_run(at: Timestamp) -> Self {
        Self { at, settled: None, shown_at: at }
    }

    /// Wraps `body` into an event of this fact. At the end of a run the event is about `input`.
    fn event(&self, input: Option<u16>, body: Body) -> Event {
        match self.settled {
            Some(settled) => Event::of(settled, body),
            None => Event { at: self.at, frame: None, input, connection: None, body },
        }
    }
}

/// All incidents, by rule and parties.
#[derive(Debug)]
pub(super) struct Incidents {
    known: HashMap<Key, Ongoing, RandomState>,
    /// Keys and numbers of incidents in the order in which they began; may contain forgotten ones.
    order: VecDeque<(Key, u64)>,
    /// Keys of incidents in the order in which they were solved, each with [`Ongoing::solution`]; may contain reopened
    /// and forgotten ones.
    solved: VecDeque<(Key, u64)>,
    /// How often an incident was solved.
    solutions: u64,
    /// Keys and numbers of open incidents by the events that may end them.
    by_ending: HashMap<Ending, Vec<(Key, u64)>, RandomState>,
    /// What happened last and when that was known, for problems that are detected later than they were over.
    happened: VecDeque<(Timestamp, Happened)>,
    /// How many findings had each title.
    titles: HashMap<String, u32, RandomState>,
    /// Limit of reported findings for each rule.
    rate_limits: HashMap<&'static str, RateLimit, RandomState>,
    /// Incidents that were forgotten, by their state then and their severity.
    forgotten: Problems,
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
    /// What is not over; empty once the incident is solved.
    waits: Vec<Awaited>,
    /// The events by which [`Incidents::by_ending`] knows it.
    endings: Vec<Ending>,
    /// True if there were more than [`MAX_WAITS`], so that not all of them are known.
    has_more: bool,
    /// Severity once it is solved.
    severity_if_solved: Severity,
    /// Sequence number of the time when it was last solved: distinguishes that from the times before, after which it
    /// was reopened.
    solution: u64,
    /// Number of records about changes of its state.
    changes: u32,
    /// State and count in the last record.
    written: (IncidentState, u64),
    /// How often its finding was written after the first time.
    revisions: u32,
    /// Its detection, if its sides have no names yet.
    unnamed: Option<Box<Detection>>,
    /// Its first detection, if all of them are about a name that one address sent and has not proven.
    unproven: Option<Box<Detection>>,
}

/// Detections of one incident that the same events end.
#[derive(Debug)]
struct Awaited {
    /// Any of these ends them.
    endings: Vec<Ending>,
    /// When the problem last showed.
    shown_at: Timestamp,
    /// Whether something happened since then that may have been an ending.
    may_be_over: bool,
}

impl Ongoing {
    /// Adds a detection that one of `endings` ends. Returns those that the incident was not waiting for.
    fn wait(&mut self, endings: Vec<Ending>, shown_at: Timestamp) -> Vec<Ending> {
        if let Some(known) = self.waits.iter_mut().find(|wait| wait.endings == endings) {
            known.shown_at = known.shown_at.max(shown_at);
            known.may_be_over = false;
            return Vec::new();
        }
        if self.waits.len() >= MAX_WAITS {
            self.has_more = true;
            return Vec::new();
        }
        let is_new = |ending: &&Ending| !self.endings.contains(ending);
        let new: Vec<_> = endings.iter().filter(is_new).cloned().collect();
        self.endings.extend(new.iter().cloned());
        self.waits.push(Awaited { endings, shown_at, may_be_over: false });
        new
    }

    /// Takes in what happened. Returns the ending by which the incident is solved, if it is now.
    fn on_happened(&mut self, it: &Happened) -> Option<Ending> {
        let mut last = None;
        self.waits.retain_mut(|wait| {
            let ending = it.ends.iter().find(|ending| wait.endings.contains(ending));
            let Some(ending) = ending.filter(|_| it.at > wait.shown_at) else { return true };
            wait.may_be_over = true;
            last = Some(ending);
            !it.is_certain
        });
        last.filter(|_| self.waits.is_empty() && !self.has_more).cloned()
    }

    /// Whether it is solved, and was by the solution of this number.
    fn is_solved_by(&self, solution: u64) -> bool {
        self.solution == solution && self.incident.state == IncidentState::Solved
    }

    /// The body of a record about its state, which changed.
    fn changed(&mut self) -> Option<Body> {
        self.changes += 1;
        (self.changes <= MAX_CHANGES).then(|| self.body())
    }

    /// The body of a record about its state.
    fn body(&mut self) -> Body {
        self.written = (self.incident.state, self.incident.count);
        Body::Incident { incident: Box::new(self.incident.clone()) }
    }

    /// The state at the end of a run, or when the incident is forgotten.
    fn last_state(&self) -> IncidentState {
        let may_be_over = self.waits.iter().all(|wait| wait.may_be_over);
        match self.incident.state {
            IncidentState::Open if may_be_over => IncidentState::Unknown,
            state => state,
        }
    }
}

impl Incidents {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            known: HashMap::default(),
            order: VecDeque::new(),
            solved: VecDeque::new(),
            solutions: 0,
            by_ending: HashMap::default(),
            happened: VecDeque::new(),
            titles: HashMap::default(),
            rate_limits: HashMap::default(),
            forgotten: Problems::default(),
            max_reported: limits.findings,
            begun: 0,
            capacity: limits.incidents,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The number of problems by state and severity. What is for information only is none.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = self.forgotten.clone();
        for ongoing in self.known.values() {
            count(&mut problems, ongoing.last_state(), ongoing.incident.severity);
        }
        for excess in self.rate_limits.values().filter_map(|limit| limit.excess.as_ref()) {
            count(&mut problems, excess.state, excess.severity);
        }
        problems
    }

    /// Reports a new detection as a finding, and counts a repeated one. Returns the ID of the incident that it
    /// belongs to, if any.
    pub(super) fn on_detection(
        &mut self,
        mut finding: Detection,
        context: &ReportContext<'_>,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        // No packet settles what is reported later than its fact.
        let own_fact = finding.settled.take().map(|settled| {
            let at = settled.at.max(context.at);
            settled.without_packet(at)
        });
        let own_context = own_fact.as_ref().map(ReportContext::of);
        let context = own_context.as_ref().unwrap_or(context);
        let key = (finding.rule, finding.parties.clone());
        let shown_at = finding.shown_at.unwrap_or(context.shown_at);
        let ended_by = std::mem::take(&mut finding.ended_by);
        let endings = ended_by.endings(&finding.nodes, finding.severity);
        if finding.if_known == IfKnown::RewritesOnly {
            self.rewrite(&key, finding, context, out);
            return None;
        }
        if let Some(id) = self.repeated(&key, &finding, &endings, (context, shown_at), out) {
            if finding.if_known == IfKnown::Rewrites {
                self.rewrite(&key, finding, context, out);
            }
            return Some(id);
        }
        if let Some(id) = self.rate_limited(&finding, context, out) {
            return Some(id);
        }
        if self.known.len() >= self.capacity {
            self.evict(context.at, out);
        }
        self.begun += 1;
        prepare(&mut finding, context);
        self.make_title_unique(&mut finding.title);
        let id = short_id(&format!("{},{},{}", finding.rule, finding.parties, context.at));
        let incident = Incident {
            nodes: finding.nodes.clone(),
            ..incident_of(&finding, Arc::clone(&id), IncidentState::Open, context.at.min(shown_at))
        };
        self.order.push_back((key.clone(), self.begun));
        self.remove_ended_from_order();
        let severity_if_solved = finding.severity_if_solved.unwrap_or(finding.severity);
        let severity_if_solved = severity_if_solved.min(finding.severity);
        let ongoing = Ongoing {
            incident,
            number: self.begun,
            waits: Vec::new(),
            endings: Vec::new(),
            has_more: false,
            severity_if_solved,
            solution: 0,
            changes: 0,
            written: (IncidentState::Open, 1),
            revisions: 0,
            unnamed: unnamed(&finding, context),
            unproven: unproven(&finding, context),
        };
        self.known.insert(key.clone(), ongoing);
        let input = only_input(&finding);
        finding.shown_at = finding.shown_at.filter(|shown_at| *shown_at < context.at);
        let finding = Box::new(finding.into_finding(Arc::clone(&id)));
        out.push(context.event(input, Body::Finding { finding }));
        self.wait(&key, endings, (context, shown_at), out);
        Some(id)
    }

    /// Writes the finding of a known incident anew, with this text and severity.
    fn rewrite(
        &mut self,
        key: &Key,
        mut finding: Detection,
        context: &ReportContext<'_>,
        out: &mut Vec<Event>,
    ) {
        let Some(ongoing) = self.known.get_mut(key).filter(|it| it.revisions < MAX_REVISIONS)
        else {
            return;
        };
        prepare(&mut finding, context);
        ongoing.unnamed = unnamed(&finding, context);
        ongoing.revisions += 1;
        ongoing.incident.found_severity = finding.severity;
        ongoing.severity_if_solved =
            finding.severity_if_solved.unwrap_or(finding.severity).min(finding.severity);
        let before = ongoing.incident.severity;
        ongoing.incident.severity = match ongoing.incident.state {
            IncidentState::Solved => ongoing.severity_if_solved,
            IncidentState::Open | IncidentState::Unknown | IncidentState::Withdrawn => {
                finding.severity
            }
        };
        let is_other =
            ongoing.incident.state == IncidentState::Solved && ongoing.incident.severity != before;
        let (id, revision) = (Arc::clone(&ongoing.incident.incident_id), ongoing.revisions);
        let input = only_input(&finding);
        finding.shown_at = finding.shown_at.filter(|shown_at| *shown_at < context.at);
        let mut finding = Box::new(finding.into_finding(id));
        finding.revision = Some(revision);
        out.push(context.event(input, Body::Finding { finding }));
        if is_other {
            // The record that it is solved had another severity.
            out.extend(ongoing.changed().map(|body| context.event(input, body)));
        }
    }

    /// Changes a title that another finding has: two problems with one title cannot be distinguished.
    fn make_title_unique(&mut self, title: &mut String) {
        if self.titles.len() >= MAX_TITLES {
            self.titles.clear();
        }
        let count = self.titles.entry(title.clone()).or_default();
        *count += 1;
        match *count {
            1 => {}
            2 => title.push_str(", again"),
            n => *title = format!("{title}, for the {} time", ordinal(n.into())),
        }
    }

    /// Counts a detection of a known incident, which it may reopen. Returns the ID of the incident; `None` if the
    /// detection begins a new one.
    fn repeated(
        &mut self,
        key: &Key,
        finding: &Detection,
        endings: &[Ending],
        (context, shown_at): (&ReportContext<'_>, Timestamp),
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        let ongoing = self.known.get_mut(key)?;
        if let Some(before) = &mut ongoing.unproven {
            before.unproven.retain(|sent| finding.unproven.contains(sent));
        }
        let incident = &mut ongoing.incident;
        let settled_at = incident.settled_at;
        if settled_at.is_some_and(|at| shown_at.since(at) > REOPENS) {
            self.forget(key);
            return None;
        }
        incident.count += 1;
        incident.last = incident.last.max(context.at.min(shown_at));
        for node in &finding.nodes {
            if incident.nodes.len() < MAX_NODES && !incident.nodes.contains(node) {
                incident.nodes.push(Arc::clone(node));
            }
        }
        let id = Arc::clone(&incident.incident_id);
        // A detection of something that was over by then does not reopen the incident.
        if settled_at.is_some_and(|at| shown_at <= at) {
            return Some(id);
        }
        if settled_at.is_some() {
            incident.reopen();
            out.extend(ongoing.changed().map(|body| context.event(None, body)));
        }
        self.wait(key, endings.to_vec(), (context, shown_at), out);
        Some(id)
    }

    /// Notes what ends a detection of this incident. It may have happened already.
    fn wait(
        &mut self,
        key: &Key,
        endings: Vec<Ending>,
        (context, shown_at): (&ReportContext<'_>, Timestamp),
        out: &mut Vec<Event>,
    ) {
        let Some(ongoing) = self.known.get_mut(key) else { return };
        for ending in ongoing.wait(endings, shown_at) {
            let ended = self.by_ending.entry(ending).or_default();
            ended.push((key.clone(), ongoing.number));
        }
        let later = self.happened.iter().rev().take_while(|(known, _)| *known > shown_at).count();
        let first = self.happened.len().saturating_sub(later);
        let later = self.happened.iter().skip(first);
        let solved = later
            .map(|(_, it)| it)
            .find_map(|it| Some((ongoing.on_happened(it)?, it.at, it.frame)));
        if let Some((ending, at, frame)) = solved {
            let event = |body| context.event(frame.map(|frame| frame.input), body);
            self.solve(key, &ending, (at, frame), event, out);
        }
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
        let excess = incident_of(finding, Arc::clone(&id), IncidentState::Unknown, context.at);
        limit.excess = Some(excess);
        let detail = format!(
            "more than {} findings of {} within an hour: further ones are only counted, in one incident",
            self.max_reported, finding.rule
        );
        let anomaly = Anomaly::new(AnomalyKind::Limit, detail);
        out.push(context.event(None, Body::Anomaly { anomaly: Box::new(anomaly) }));
        Some(id)
    }

    /// Solves the incidents that a connection shows to be over.
    pub(super) fn on_session(&mut self, it: &JudgedConnection, out: &mut Vec<Event>) {
        for happened in Happened::of_session(it) {
            self.on_happened(happened, &it.settled, out);
        }
    }

    /// Solves the incidents that an EPMD request shows to be over.
    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        out: &mut Vec<Event>,
    ) {
        if let Some(happened) = Happened::of_epmd(settled, epmd) {
            self.on_happened(happened, settled, out);
        }
    }

    fn on_happened(&mut self, it: Happened, settled: &Settled, out: &mut Vec<Event>) {
        let ended = it.ends.iter().filter_map(|ending| self.by_ending.get(ending)).flatten();
        // The incident that began first is solved first.
        let mut ended: Vec<_> = ended.cloned().collect();
        ended.sort_unstable_by_key(|(_, number)| *number);
        ended.dedup_by_key(|(_, number)| *number);
        for (key, number) in ended {
            let ongoing = self.known.get_mut(&key).filter(|ongoing| ongoing.number == number);
            let Some(ending) = ongoing.and_then(|ongoing| ongoing.on_happened(&it)) else {
                continue;
            };
            let event = |body| {
                let is_own = it.frame == settled.frame;
                let frame = it.frame.filter(|_| is_own);
                let input = it.frame.map(|frame| frame.input);
                let at = if is_own { it.at } else { settled.at };
                Event { at, frame, input, connection: None, body }
            };
            self.solve(&key, &ending, (it.at, it.frame), event, out);
        }
        remember(&mut self.happened, (settled.at, it), MAX_HAPPENED);
    }

    /// Marks an incident as solved by `ending` at that time and packet, and reports it.
    fn solve(
        &mut self,
        key: &Key,
        ending: &Ending,
        (at, frame): (Timestamp, Option<FrameRef>),
        event: impl FnOnce(Body) -> Event,
        out: &mut Vec<Event>,
    ) {
        let Some(ongoing) = self.known.get_mut(key) else { return };
        let severity = ongoing.severity_if_solved;
        ongoing.incident.solve(at, frame, ending.settled_by(), severity);
        out.extend(ongoing.changed().map(event));
        self.solutions += 1;
        ongoing.solution = self.solutions;
        self.solved.push_back((key.clone(), self.solutions));
        if self.solved.len() > self.longest_order() {
            let known = &self.known;
            self.solved.retain(|(key, solution)| {
                known.get(key).is_some_and(|ongoing| ongoing.is_solved_by(*solution))
            });
        }
        self.forget_endings(key);
    }

    /// Writes the findings anew whose sides have names by now.
    pub(super) fn name_sides(&mut self, now: Timestamp, world: &World, out: &mut Vec<Event>) {
        if self.known.values().all(|ongoing| ongoing.unnamed.is_none()) {
            return;
        }
        let by_host = world.only_nodes();
        for (key, number) in self.order.clone() {
            let ongoing = self.known.get_mut(&key).filter(|ongoing| ongoing.number == number);
            let Some(mut found) = ongoing.and_then(|ongoing| ongoing.unnamed.take()) else {
                continue;
            };
            if found.name_sides(&by_host) {
                self.rename(&key, *found, now, out);
            }
        }
    }

    /// Writes the findings anew in which a name turned out to be that of a node elsewhere: they are about the address that
    /// sent it, and not about that node.
    pub(super) fn name_strangers(&mut self, now: Timestamp, world: &World, out: &mut Vec<Event>) {
        if self.known.values().all(|ongoing| ongoing.unproven.is_none()) {
            return;
        }
        for (key, number) in self.order.clone() {
            let ongoing = self.known.get_mut(&key).filter(|ongoing| ongoing.number == number);
            let Some(mut found) = ongoing.and_then(|ongoing| ongoing.unproven.take()) else {
                continue;
            };
            let claimed = found.unproven.iter().find_map(|sent| {
                let claim = world.claim_by_now(sent)?;
                Some((claim, sent.ip, sent.peer))
            });
            let Some((claim, ip, peer)) = claimed else { continue };
            found.nodes.retain(|node| *node != claim.name);
            let peer = found.nodes.first().map_or_else(|| peer.to_string(), ToString::to_string);
            let came = format!(
                "A program at {ip} sent the name {} to {peer}, and the handshake failed.",
                claim.name
            );
            unproven_name::write(&mut found, &claim, ip, &peer, &came);
            self.rename(&key, *found, now, out);
        }
    }

    /// Writes a finding anew at the end of the run, whose nodes are others than before.
    fn rename(&mut self, key: &Key, mut found: Detection, now: Timestamp, out: &mut Vec<Event>) {
        if let Some(ongoing) = self.known.get_mut(key) {
            ongoing.incident.nodes.clone_from(&found.nodes);
        }
        let own = found.settled.take().map(|settled| settled.without_packet(now));
        let context =
            own.as_ref().map_or_else(|| ReportContext::end_of_run(now), ReportContext::of);
        self.rewrite(key, found, &context, out);
    }

    /// Ends all incidents at the end of the run.
    pub(super) fn finish(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        let order = std::mem::take(&mut self.order);
        for (key, number) in order {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.number == number) {
                self.conclude(&key, now, out);
            }
        }
        let mut excess: Vec<_> =
            self.rate_limits.drain().filter_map(|(_, limit)| limit.excess).collect();
        excess.sort_unstable_by_key(|incident| incident.rule);
        for incident in excess {
            count(&mut self.forgotten, incident.state, incident.severity);
            let body = Body::Incident { incident: Box::new(incident) };
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }

    /// Removes forgotten incidents from the order once they outnumber the known ones by far.
    fn remove_ended_from_order(&mut self) {
        if self.order.len() > self.longest_order() {
            let known = &self.known;
            self.order.retain(|(key, number)| {
                *number == self.begun
                    || known.get(key).is_some_and(|ongoing| ongoing.number == *number)
            });
        }
    }

    /// Length of an order above which it is cleaned up.
    fn longest_order(&self) -> usize {
        MIN_ORDER.max(self.known.len().saturating_mul(4))
    }

    /// Forgets an incident: one that is solved, if there is one, else the oldest.
    fn evict(&mut self, now: Timestamp, out: &mut Vec<Event>) {
        while let Some((key, solution)) = self.solved.pop_front() {
            if self.known.get(&key).is_some_and(|ongoing| ongoing.is_solved_by(solution)) {
                return self.forget(&key);
            }
        }
        while let Some((key, number)) = self.order.pop_front() {
            if let Some(ongoing) = self.known.get_mut(&key).filter(|it| it.number == number) {
                self.evictions += 1;
                // Nothing will show whether it ends.
                ongoing.incident.state = IncidentState::Unknown;
                self.conclude(&key, now, out);
                return self.forget(&key);
            }
        }
    }

    /// Reports the last state of an incident, unless a record has it already.
    fn conclude(&mut self, key: &Key, now: Timestamp, out: &mut Vec<Event>) {
        let Some(ongoing) = self.known.get_mut(key) else { return };
        ongoing.incident.state = ongoing.last_state();
        if ongoing.written != (ongoing.incident.state, ongoing.incident.count) {
            let body = ongoing.body();
            out.push(Event { at: now, frame: None, input: None, connection: None, body });
        }
    }

    fn forget(&mut self, key: &Key) {
        self.forget_endings(key);
        let Some(Ongoing { incident, .. }) = self.known.remove(key) else { return };
        count(&mut self.forgotten, incident.state, incident.severity);
    }

    fn forget_endings(&mut self, key: &Key) {
        let Some(ongoing) = self.known.get_mut(key) else { return };
        for ending in std::mem::take(&mut ongoing.endings) {
            if let Some(ended) = self.by_ending.get_mut(&ending) {
                ended.retain(|(_, number)| *number != ongoing.number);
                if ended.is_empty() {
                    self.by_ending.remove(&ending);
                }
            }
        }
    }
}

/// Prepares a detection for the event of this fact.
fn prepare(finding: &mut Detection, context: &ReportContext<'_>) {
    // A problem that is only possible must not raise an alarm.
    if finding.confidence == Confidence::Possible {
        finding.severity = finding.severity.min(Severity::Low);
    }
    // Numbers of frames are in order of time within one input only.
    if only_input(finding).is_some() {
        order_by_frame(&mut finding.evidence);
    }
    let own = context.settled.map(|settled| &settled.connection.session_id);
    for evidence in &mut finding.evidence {
        let session_id = evidence.session_id.take();
        evidence.session_id = session_id.filter(|id| own != Some(id));
    }
}

/// The detection and its fact, if its sides have no names yet.
fn unnamed(finding: &Detection, context: &ReportContext<'_>) -> Option<Box<Detection>> {
    let is_unnamed = !finding.unnamed.is_empty();
    is_unnamed.then(|| Box::new(Detection { settled: context.settled.cloned(), ..finding.clone() }))
}

fn unproven(finding: &Detection, context: &ReportContext<'_>) -> Option<Box<Detection>> {
    let is_unproven = !finding.unproven.is_empty();
    is_unproven
        .then(|| Box::new(Detection { settled: context.settled.cloned(), ..finding.clone() }))
}

/// The incident that a detection begins, without its nodes.
const fn incident_of(
    finding: &Detection,
    incident_id: Arc<str>,
    state: IncidentState,
    at: Timestamp,
) -> Incident {
    Incident {
        incident_id,
        rule: finding.rule,
        severity: finding.severity,
        found_severity: finding.severity,
        nodes: Vec::new(),
        count: 1,
        first: at,
        last: at,
        state,
        settled_at: None,
        settled_frame: None,
        settled_by: None,
    }
}

/// Counts a problem by its state and severity.
fn count(problems: &mut Problems, state: IncidentState, severity: Severity) {
    if severity > Severity::Info {
        *problems.of_mut(state).entry(severity).or_default() += 1;
    }
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

/// Time after its end within which a problem that returns is the same incident. A person who watches has not forgotten it, and
/// nodes that fail and connect in turn give one finding.
pub(super) const REOPENS: Duration = Duration::from_secs(3600);

/// Different sets of endings that an incident waits for: more than a person would look at.
const MAX_WAITS: usize = 64;

/// Records of one incident about changes of its state; further ones are not written, and its last state is.
const MAX_CHANGES: u32 = 100;

/// Events that are kept for problems that are detected later than they were over. Most are detected within
/// [`Limits::syn_wait`].
const MAX_HAPPENED: usize = 1024;

/// Maximum of times that the finding of one incident is written after the first time.
const MAX_REVISIONS: u32 = 32;

/// Maximum of titles that are compared: a run with more findings is not read title by title.
const MAX_TITLES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, events};
    use crate::judge::samples::{dial, mark};
    use crate::judge::{AlertContent, Outcome, Protocol, TlsAlert};
    use crate::observe::{Occasion, Opening, Role, SynFacts};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/1";
    const C: &str = "c@h3/10.0.0.3/1";

    fn refused(ms: u64, from: &str, to: &str) -> Step {
        dial(ms, from, to).fails(Outcome::CookieMismatch).into()
    }

    fn unanswered(ms: u64, reported: u64) -> Step {
        but(dial(ms, A, B).fails(Outcome::Unanswered), |it| {
            it.forget_names();
            it.seen.tcp.close = None;
            it.seen.tcp.opening = Opening::Unanswered;
            it.settled.at = mark(reported).at;
            it.settled.frame = None;
            let syn = SynFacts { mark: mark(ms), count: 2, last: mark(ms).at };
            it.seen.tcp.sides.initiator.syn = Some(syn);
        })
    }

    /// State, count, and time of the packet that settled it, of each record about an incident of this rule.
    fn changes(steps: &[Step], rule: &str) -> Vec<(IncidentState, u64, Option<u64>)> {
        let of_rule = events(steps).into_iter().filter_map(|event| match event.body {
            Body::Incident { incident } if incident.rule == rule => Some(*incident),
            _ => None,
        });
        of_rule.map(|it| (it.state, it.count, it.settled_frame)).collect()
    }

    use IncidentState::{Open, Solved, Unknown};

    #[test]
    fn a_pair_that_connects_later_solves_its_problem_whichever_dials() {
        for connects in [dial(20, A, B), dial(20, B, A)] {
            let steps = [refused(10, A, B), connects.into()];
            assert_eq!(changes(&steps, "cookie-mismatch"), [(Solved, 1, Some(20))]);
        }
        let steps = [refused(10, A, B), dial(20, A, C).into(), dial(5, A, B).into()];
        assert_eq!(changes(&steps, "cookie-mismatch"), [], "another pair, and before");
    }

    #[test]
    fn a_silence_on_an_open_connection_is_no_new_connection() {
        let silent = but(dial(20, A, B), |it| {
            it.seen.occasion = Occasion::Silent { role: Role::Acceptor, last: mark(15) };
        });
        let found = changes(&[refused(10, A, B), silent.clone()], "cookie-mismatch");
        assert_eq!(found, []);
        assert_eq!(changes(&[silent], "tick-timeout"), [], "the silence is not over by itself");
    }

    #[test]
    fn what_is_back_within_an_hour_is_the_same_problem() {
        let mut steps = vec![refused(10, A, B), dial(20, A, B).into(), refused(30, A, B)];
        let reopened = [(Solved, 1, Some(20)), (Open, 2, None)];
        assert_eq!(changes(&steps, "cookie-mismatch"), reopened);
        steps.push(refused(40, A, B));
        let counted = [(Solved, 1, Some(20)), (Open, 2, None), (Open, 3, None)];
        assert_eq!(changes(&steps, "cookie-mismatch"), counted);
        let late = 20 + 3_600_001;
        let steps = [refused(10, A, B), dial(20, A, B).into(), refused(late, A, B)];
        let found = crate::detect::tests::found(&steps);
        let findings = found.iter().filter(|finding| finding.rule == "cookie-mismatch");
        assert_eq!(findings.count(), 2);
        assert_eq!(changes(&steps, "cookie-mismatch"), [(Solved, 1, Some(20))]);
    }

    #[test]
    fn nodes_that_connect_inside_tls_solve_the_refusal_of_a_certificate() {
        let tls = |ms, outcome, link: Option<u64>| {
            but(dial(ms, A, B).fails(outcome), |it| {
                it.forget_names();
                it.verdict.protocol = Protocol::Tls;
                it.verdict.tls_link = link.map(mark);
                if outcome == Outcome::Aborted {
                    let content = AlertContent::Number(48);
                    let (from, mark) = (Role::Initiator, mark(ms));
                    it.verdict.tls_alert = Some(TlsAlert { from, mark, content });
                }
            })
        };
        let refused = || tls(10, Outcome::Aborted, None);
        let steps = [refused(), tls(90, Outcome::Tls, Some(20))];
        assert_eq!(changes(&steps, "tls-failure"), [(Solved, 1, Some(20))]);
        let steps = [refused(), tls(90, Outcome::Tls, None)];
        assert_eq!(changes(&steps, "tls-failure"), [(Unknown, 1, None)], "a cookie may differ");
        let steps = [refused(), tls(90, Outcome::Tls, Some(5))];
        assert_eq!(changes(&steps, "tls-failure"), [], "connected before, and closed later");
    }

    #[test]
    fn names_that_come_later_are_in_the_finding_about_a_link_without_them() {
        let silent = || {
            let mut step = crate::detect::link_end::tests::closed(A, B, 6000, 10_000);
            step.session_mut().forget_names();
            step
        };
        let text = |steps: &[Step]| {
            let mut found = crate::detect::tests::found(steps);
            found.retain(|it| it.rule == "tick-timeout");
            let [only] = &found[..] else { panic!("{found:?}") };
            (only.title.clone(), only.nodes.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let (title, nodes) = text(&[silent()]);
        assert_eq!(title, "10.0.0.2:9100 fell silent, and 10.0.0.1 closed the connection");
        assert!(nodes.is_empty());
        let (title, nodes) = text(&[silent(), dial(12_000, A, B).into()]);
        assert_eq!(title, "b@h2 fell silent, and a@h1 closed the connection");
        assert_eq!(nodes, ["b@h2", "a@h1"]);
        let second = "x@h2/10.0.0.2/1";
        let (title, _) =
            text(&[silent(), dial(12_000, A, B).into(), dial(12_500, A, second).into()]);
        assert!(title.starts_with("10.0.0.2:9100 fell silent, and a@h1"), "{title}");
    }

    #[test]
    fn a_problem_that_is_detected_late_may_be_over_by_then() {
        let steps = [dial(5_000, A, B).into(), unanswered(10, 8_010)];
        let solved = changes(&steps, "dist-port-blocked");
        assert_eq!(solved, [(Solved, 1, Some(5_000))]);
        let steps = [dial(5, A, B).into(), unanswered(10, 8_010)];
        assert_eq!(changes(&steps, "dist-port-blocked"), []);
    }

    #[test]
    fn an_attempt_without_a_result_leaves_the_state_unknown() {
        let undecided = |ms| dial(ms, A, B).fails(Outcome::Incomplete);
        let steps = [refused(10, A, B), undecided(20).into()];
        assert_eq!(changes(&steps, "cookie-mismatch"), [(Unknown, 1, None)]);
        let steps = [refused(10, A, B), undecided(20).into(), refused(30, A, B)];
        assert_eq!(changes(&steps, "cookie-mismatch"), [(Open, 2, None)]);
        let steps = [refused(10, A, B), undecided(20).into(), dial(30, A, B).into()];
        assert_eq!(changes(&steps, "cookie-mismatch"), [(Solved, 1, Some(30))]);
    }

    #[test]
    fn a_port_that_accepts_a_connection_is_not_blocked() {
        let accepted = but(dial(20, A, B).fails(Outcome::CookieMismatch), |it| {
            let syn = SynFacts { mark: mark(20), count: 1, last: mark(20).at };
            it.seen.tcp.sides[Role::Acceptor].syn = Some(syn);
            it.seen.occasion = Occasion::Over;
        });
        let steps = [unanswered(10, 15), accepted];
        assert_eq!(changes(&steps, "dist-port-blocked"), [(Solved, 1, Some(20))]);
    }

    #[test]
    fn records_of_a_flapping_pair_are_bounded_and_the_last_state_is_written() {
        let flaps = (0..80).flat_map(|n| [refused(20 * n, A, B), dial(20 * n + 10, A, B).into()]);
        let written = changes(&flaps.collect::<Vec<_>>(), "cookie-mismatch");
        assert_eq!(written.len(), 101);
        assert_eq!(written.last(), Some(&(Solved, 80, Some(79 * 20 + 10))));
    }

    #[test]
    fn evidence_is_in_the_order_of_its_packets() {
        let shown = |frame: u64| crate::record::Evidence {
            frame: FrameRef { input: 0, number: frame },
            input: None,
            session_id: None,
            from: None,
            what: crate::record::Shows::Syn,
        };
        let mut found = Detection::new(crate::detect::docs().next().unwrap());
        found.evidence = [9, 2, 5].map(shown).into();
        let (step, mut out) = (refused(10, A, B), Vec::new());
        let context = ReportContext::of_session(step.session());
        Incidents::new(&Limits::default()).on_detection(found, &context, &mut out);
        let Some(Event { body: Body::Finding { finding }, .. }) = out.pop() else { panic!() };
        let frames: Vec<_> = finding.evidence.iter().map(|it| it.frame.number).collect();
        assert_eq!(frames, [2, 5, 9]);
    }

    #[test]
    fn problems_are_counted_by_state_and_severity() {
        let mut incidents = Incidents::new(&Limits::default());
        let step = refused(10, A, B);
        let it = step.session();
        let doc = crate::detect::docs().next().unwrap();
        let mut found = Detection::new(doc);
        found.ended_by = crate::detect::EndedBy::Any(vec![Ending::connection_of(it)]);
        found.severity = Severity::High;
        found.severity_if_solved = Some(Severity::Low);
        let mut out = Vec::new();
        incidents.on_detection(found, &ReportContext::of_session(it), &mut out);
        assert_eq!(incidents.problems().worst(), Some(Severity::High));
        incidents.on_session(&dial(20, B, A).judged(), &mut out);
        assert_eq!(incidents.problems().solved.keys().collect::<Vec<_>>(), [&Severity::Low]);
        assert_eq!(incidents.problems().worst(), None);
    }

    #[test]
    fn a_problem_that_is_solved_and_back_without_end_is_kept_once() {
        let mut incidents = Incidents::new(&Limits::default());
        let doc = crate::detect::docs().next().unwrap();
        let mut out = Vec::new();
        let rounds = MIN_ORDER as u64 * 2;
        for ms in (0..rounds).map(|round| round * 20) {
            let step = refused(ms + 10, A, B);
            let it = step.session();
            let mut found = Detection::new(doc);
            found.ended_by = crate::detect::EndedBy::Any(vec![Ending::connection_of(it)]);
            found.severity = Severity::High;
            incidents.on_detection(found, &ReportContext::of_session(it), &mut out);
            incidents.on_session(&dial(ms + 20, B, A).judged(), &mut out);
            out.clear();
        }
        assert_eq!((incidents.known.len(), incidents.solutions), (1, rounds));
        assert!(incidents.solved.len() <= MIN_ORDER, "{}", incidents.solved.len());
        assert_eq!(incidents.problems().solved.values().sum::<u64>(), 1);
    }

    #[test]
    fn incidents_are_bounded_and_those_that_were_forgotten_are_still_counted() {
        const KEPT: usize = 3;
        let doc = crate::detect::docs().next().unwrap();
        let rounds = MIN_ORDER as u64 + 500;
        for are_solved in [false, true] {
            let mut incidents = Incidents::new(&Limits { incidents: KEPT, ..Limits::default() });
            let mut out = Vec::new();
            for round in 0..rounds {
                // Far apart, so that no rate limit joins them.
                let ms = round * 7_200_000;
                let step = refused(ms, A, B);
                let it = step.session();
                let mut found = Detection::new(doc);
                found.ended_by = crate::detect::EndedBy::Any(vec![Ending::connection_of(it)]);
                (found.parties, found.severity) = (round.to_string(), Severity::High);
                incidents.on_detection(found, &ReportContext::of_session(it), &mut out);
                if are_solved {
                    incidents.on_session(&dial(ms + 10, B, A).judged(), &mut out);
                }
                assert!(incidents.known.len() <= KEPT, "after {round}");
                out.clear();
            }
            assert!(incidents.order.len() <= MIN_ORDER, "{}", incidents.order.len());
            // What is solved is forgotten without a loss.
            let lost = if are_solved { 0 } else { rounds - KEPT as u64 };
            assert_eq!(incidents.evictions(), lost);
            let problems = incidents.problems();
            let counted = [&problems.open, &problems.solved, &problems.unknown];
            let counted = counted.into_iter().flat_map(|by_severity| by_severity.values());
            assert_eq!(counted.sum::<u64>(), rounds);
        }
    }
}
