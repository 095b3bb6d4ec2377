//! The report: what the records of a run add up to, before any layout.
//!
//! In: events, one by one. Out: problems with the worst first, notes, the cluster, entries of the time
//! line, and the summary; each as plain values and sentences. A renderer adds layout, colour and escaping
//! and takes no decision of its own. Text from the wire is not escaped here.

mod cluster;
mod comments;
mod ladder;
mod messages;
mod problem;
mod sentences;
mod summary;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) use cluster::{ClusterTable, failed_last, failure_reasons, few, node_facts, release};
pub use comments::{CommentCollector, Comments};
pub(super) use ladder::{Arrow, Ladder, LadderStore, Lifeline, Row};
pub(super) use messages::SideTotals;
pub(super) use problem::Problem;
pub(super) use sentences::{connection_names, lane_ends, lane_of_request};
pub(super) use summary::{ListedProblem, Summary};

use self::problem::LastConnection;
use self::sentences::Ends;
use self::summary::RunSummary;
use super::InputNames;
use crate::limits::{BoundedMap, LADDER_NODES, LADDER_SESSIONS};
use crate::observe::messages::MessageEvent;
use crate::record::{
    AnomalyKind, Body, Cluster, EpmdOutcome, Event, Finding, Incident, IncidentState, Outcome,
    Severity, Stats,
};
use crate::time::{Timestamp, Zone};

/// Collects the records of a run.
pub(super) struct Report {
    inputs: InputNames,
    /// The options that may hide findings.
    hiding: Vec<&'static str>,
    /// The zone of all times.
    zone: Zone,
    /// The last session record: a finding about its connection names its nodes.
    last_connection: Option<Arc<LastConnection>>,
    /// The last session records, since evidence may name other connections.
    connections: BoundedMap<Arc<str>, Option<Arc<LastConnection>>>,
    /// Addresses of nodes, by their names.
    nodes: BoundedMap<Arc<str>, Vec<IpAddr>>,
    /// The last request to EPMD: its connection and its outcome.
    last_request: Option<(Arc<str>, EpmdOutcome)>,
    /// Findings held until the end, in order of time; at most `most_held`.
    held: Vec<Problem>,
    most_held: usize,
    /// Index into `held` of each incident.
    incidents: HashMap<Arc<str>, usize>,
    /// The last cluster record.
    cluster: Option<Cluster>,
    run: RunSummary,
}

/// What is held until the end of a run.
pub(super) struct Sections {
    /// Findings above [`Severity::Info`], in groups of one state and one rule; the group of the first problem first.
    /// What is open precedes, then the worst, then the earliest; also inside a group.
    pub(super) groups: Vec<Vec<Problem>>,
    /// Findings for information only, the earliest first.
    pub(super) notes: Vec<Problem>,
    pub(super) cluster: Option<ClusterTable>,
}

/// One line of the time line.
pub(super) struct TimelineEntry {
    pub(super) at: Timestamp,
    pub(super) tone: Tone,
    pub(super) text: String,
    pub(super) frame: Option<FrameLabel>,
}

/// How a line is to be taken; a renderer chooses colours or marks for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Plain,
    /// Detail that matters to few readers.
    Faint,
    Good,
    Notable,
    Bad,
    Severity(Severity),
}

/// Which events the time line has.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum TimelineDetail {
    /// Repeated problems, progress, and damage of the input.
    Essential,
    /// Also sessions, requests to EPMD, nodes and odd messages.
    Events,
    /// Also each handshake message.
    Handshakes,
}

/// The name of a packet: its frame number, and its input if the run has several.
#[derive(Clone, Debug)]
pub(super) struct FrameLabel {
    pub(super) frame: u64,
    pub(super) input: Option<Arc<str>>,
}

impl fmt::Display for FrameLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.frame)?;
        self.input.as_ref().map_or(Ok(()), |input| write!(f, " of {input}"))
    }
}

impl Report {
    /// A report on a run over these inputs; `hiding` are the options that may hide findings, and `zone` is that of all times.
    pub(super) fn new(inputs: InputNames, hiding: Vec<&'static str>, zone: Zone) -> Self {
        Self {
            inputs,
            hiding,
            zone,
            last_connection: None,
            connections: BoundedMap::new(LADDER_SESSIONS),
            nodes: BoundedMap::new(LADDER_NODES),
            last_request: None,
            held: Vec::new(),
            most_held: MAX_HELD,
            incidents: HashMap::new(),
            cluster: None,
            run: RunSummary::default(),
        }
    }

    /// The same, holding no more findings than this.
    pub(super) fn holding_at_most(mut self, findings: usize) -> Self {
        self.most_held = findings;
        self
    }

    /// Keeps from a record what later records need. Called for every record, also for those that filters
    /// leave out.
    pub(super) fn observe(&mut self, event: &Event) {
        if let (Body::Epmd { epmd }, Some(ids)) = (&event.body, event.connection.as_deref()) {
            self.last_request = Some((Arc::clone(&ids.session_id), epmd.outcome));
        }
        if let Body::Anomaly { anomaly } = &event.body
            && anomaly.kind.is_about_input()
        {
            let input = self.inputs.of(event).filter(|_| self.inputs.are_several());
            let input = input.map_or_else(String::new, |input| format!("{input}: "));
            let sentence = format!("{input}{}.", sentences::anomaly(anomaly));
            if anomaly.kind.lacks_input() {
                self.run.on_damage(sentence);
            } else {
                self.run.on_clock(sentence);
            }
        }
        // What stays closed is as unknown as what is missing.
        if let (Body::Anomaly { anomaly }, Some(ids)) = (&event.body, event.connection.as_deref())
            && anomaly.kind == AnomalyKind::KeyLog
        {
            let ends = sentences::addresses(ids);
            self.run.on_damage(format!("{ends}: {}.", sentences::anomaly(anomaly)));
        }
        if let Body::Node { node } = &event.body {
            *self.nodes.entry(&node.node).0 =
                node.ips.iter().take(MAX_ADDRESSES).copied().collect();
        }
        let Body::Session { session } = &event.body else { return };
        self.run.on_session(session);
        if let Some(ids) = event.connection.as_deref() {
            let connection = Arc::new(LastConnection {
                session_id: Arc::clone(&ids.session_id),
                ends: Ends::of(session, Some(ids)),
                outcome: session.outcome,
            });
            *self.connections.entry(&ids.session_id).0 = Some(Arc::clone(&connection));
            self.last_connection = Some(connection);
        }
    }

    /// Numbers the inputs of later events anew.
    pub(super) fn set_inputs(&mut self, inputs: InputNames) {
        self.inputs = inputs;
    }

    /// Counts a finding, and joins it with what is known of its connection.
    pub(super) fn problem(&mut self, event: &Event, finding: &Finding) -> Problem {
        let named = finding.evidence.iter().filter_map(|evidence| evidence.session_id.as_ref());
        let mut others: Vec<_> =
            named.filter_map(|id| self.connections.get(id)).flatten().cloned().collect();
        others.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let problem = Problem {
            at: event.at,
            finding: finding.clone(),
            connection: event.connection.clone(),
            frame: self.frame_of(event),
            input: self.inputs.if_several(event).cloned(),
            last_connection: self.last_connection.clone(),
            others,
            nodes_at: self.nodes_at(finding),
            incident: None,
            zone: self.zone.clone(),
        };
        let own = event.connection.as_deref().map(|ids| &ids.session_id);
        let request = self.last_request.as_ref().filter(|(id, _)| Some(id) == own);
        self.run.on_finding(&problem, request.map(|(_, outcome)| *outcome));
        problem
    }

    /// The addresses at which one node of a finding was seen, or that its name has; those of several are left out.
    fn nodes_at(&self, finding: &Finding) -> Vec<(IpAddr, Arc<str>)> {
        let mut all: Vec<(IpAddr, Arc<str>)> = Vec::new();
        for node in finding.nodes.iter().take(MAX_ADDRESSES) {
            let in_name = node.rsplit('@').next().and_then(|host| host.parse().ok());
            let seen = self.nodes.get(node).map(Vec::as_slice).unwrap_or_default();
            let own: BTreeSet<IpAddr> = seen.iter().copied().chain(in_name).collect();
            all.extend(own.into_iter().map(|ip| (ip, Arc::clone(node))));
        }
        let several: Vec<_> = all.iter().map(|(ip, _)| *ip).collect();
        let is_one = |ip: &IpAddr| several.iter().filter(|it| *it == ip).count() == 1;
        all.retain(|(ip, _)| is_one(ip));
        all
    }

    /// Holds a problem until the end.
    ///
    /// # Errors
    ///
    /// Gives the problem back if as many are held as may be.
    pub(super) fn hold(&mut self, problem: Problem) -> Result<(), Box<Problem>> {
        let known = self.incidents.get(&problem.finding.incident_id);
        if let Some(held) = known.and_then(|index| self.held.get_mut(*index)) {
            // Roles and packets of the text are those of the connection that it was written for.
            held.finding = problem.finding;
            held.nodes_at = problem.nodes_at;
            if problem.connection.is_some() {
                held.connection = problem.connection;
                held.last_connection = problem.last_connection;
            }
            return Ok(());
        }
        if self.held.len() >= self.most_held {
            return Err(Box::new(problem));
        }
        self.incidents.insert(Arc::clone(&problem.finding.incident_id), self.held.len());
        self.held.push(problem);
        Ok(())
    }

    /// Takes the end of an incident. True if its problem is held, and so will show the count itself.
    pub(super) fn end_incident(&mut self, incident: &Incident) -> bool {
        self.run.on_incident(incident);
        let index = self.incidents.get(&incident.incident_id);
        let Some(problem) = index.and_then(|index| self.held.get_mut(*index)) else { return false };
        problem.incident = Some(incident.clone());
        true
    }

    /// Holds the cluster until the end, in place of an earlier one.
    pub(super) fn hold_cluster(&mut self, cluster: &Cluster) {
        self.cluster = Some(cluster.clone());
    }

    /// Gives what is held, and holds nothing any more.
    pub(super) fn take_sections(&mut self) -> Sections {
        self.incidents.clear();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|problem| problem.state() != IncidentState::Withdrawn);
        held.sort_by_key(|problem| {
            (order(problem.state()), Reverse(problem.severity()), problem.at)
        });
        let (problems, notes): (Vec<_>, _) = held.into_iter().partition(Problem::is_problem);
        let mut places = HashMap::new();
        let mut groups: Vec<Vec<Problem>> = Vec::new();
        for problem in problems {
            let cause = (order(problem.state()), problem.finding.rule);
            let place = *places.entry(cause).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(problem),
                None => groups.push(vec![problem]),
            }
        }
        let cluster = self.cluster.take().as_ref().and_then(ClusterTable::of);
        Sections { groups, notes, cluster }
    }

    /// The end of the report.
    pub(super) fn summary(&self, stats: &Stats) -> Summary {
        self.run.summary(&self.zone, stats, &self.hiding)
    }

    /// The line of an event in the time line, if it has one.
    pub(super) fn entry(&self, event: &Event, timeline: TimelineDetail) -> Option<TimelineEntry> {
        let connection = event.connection.as_deref();
        let input = || self.inputs.of(event).map_or("capture", |input| &**input);
        let (tone, text) = match &event.body {
            Body::Incident { incident } => {
                let title = self.run.title(&incident.incident_id);
                let tone = match incident.state {
                    IncidentState::Solved | IncidentState::Withdrawn => Tone::Good,
                    IncidentState::Open | IncidentState::Unknown => {
                        Tone::Severity(incident.severity)
                    }
                };
                (tone, sentences::incident_change(&self.zone, incident, title))
            }
            Body::Stats { stats } => (Tone::Faint, sentences::progress(stats)),
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                (Tone::Notable, format!("{}: {}", input(), sentences::anomaly(anomaly)))
            }
            _ if timeline == TimelineDetail::Essential => return None,
            Body::Epmd { epmd } => {
                let tone = match epmd.outcome {
                    EpmdOutcome::Answered | EpmdOutcome::Unregistered => Tone::Plain,
                    _ => Tone::Notable,
                };
                (tone, sentences::request(epmd, connection))
            }
            Body::Handshake { handshake } if timeline == TimelineDetail::Handshakes => {
                (Tone::Faint, sentences::handshake(handshake, connection))
            }
            Body::Session { session } => {
                (outcome_tone(session.outcome), sentences::attempt(session, connection))
            }
            Body::Node { node } => (Tone::Notable, sentences::node_change(node)?),
            Body::Anomaly { anomaly } => {
                let subject = match connection {
                    Some(ids) => sentences::addresses(ids),
                    None => input().to_owned(),
                };
                (Tone::Faint, format!("{subject}: {}", sentences::anomaly(anomaly)))
            }
            Body::Handshake { .. }
            | Body::Finding { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. } => return None,
        };
        Some(TimelineEntry { at: event.at, tone, text, frame: self.frame_of(event) })
    }

    /// The line of a message after the handshake in the time line.
    pub(super) fn message_entry(&self, event: &MessageEvent<'_>) -> TimelineEntry {
        let MessageEvent { connection, message, .. } = event;
        let packet = message.meta.packet;
        let last = self.last_connection.as_ref();
        let last = last.filter(|last| last.session_id == connection.session_id);
        let text = sentences::signal(message, connection, last.map(|last| &last.ends.names));
        let input = self.inputs.get(packet.frame.input).filter(|_| self.inputs.are_several());
        let frame = FrameLabel { frame: packet.frame.number, input: input.cloned() };
        TimelineEntry { at: packet.at, tone: Tone::Plain, text, frame: Some(frame) }
    }

    /// What the two sides of an ended connection sent, if the record has it: the initiator first.
    pub(super) fn totals(event: &Event) -> Vec<SideTotals> {
        let Body::Session { session } = &event.body else { return Vec::new() };
        let Some(messages) = &session.messages else { return Vec::new() };
        let ends = Ends::of(session, event.connection.as_deref());
        SideTotals::of(messages, &ends.names)
    }

    fn frame_of(&self, event: &Event) -> Option<FrameLabel> {
        let frame = event.frame?.number;
        Some(FrameLabel { frame, input: self.inputs.if_several(event).cloned() })
    }
}

const fn outcome_tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Connected => Tone::Good,
        Outcome::AlreadyConnected
        | Outcome::Superseded
        | Outcome::Tls
        | Outcome::NotDistribution
        | Outcome::Incomplete => Tone::Plain,
        Outcome::CookieMismatch
        | Outcome::NameMismatch
        | Outcome::NotAllowed
        | Outcome::VersionMismatch
        | Outcome::TlsMismatch
        | Outcome::TimedOut
        | Outcome::Refused
        | Outcome::Unanswered
        | Outcome::Aborted => Tone::Bad,
    }
}

/// The place of a problem with this state: what is open comes first.
const fn order(state: IncidentState) -> u8 {
    match state {
        IncidentState::Open => 0,
        IncidentState::Unknown => 1,
        IncidentState::Solved => 2,
        IncidentState::Withdrawn => 3,
    }
}

/// Addresses of one node, and nodes of one finding, that are looked at to name its ends.
const MAX_ADDRESSES: usize = 16;

/// How many findings are held until the end: as many as there are incidents at a time.
pub(super) const MAX_HELD: usize = 16_384;
