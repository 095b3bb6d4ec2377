//! One problem: a finding, how often it came, and the ends of its connection.
//!
//! In: a finding with the session record before it. Out: the sentences that a block about it consists of.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::FrameLabel;
use super::sentences::{Ends, destination, incident_state, source};
use crate::packet::FrameRef;
use crate::record::{
    ConnectionIds, Evidence, Finding, Incident, IncidentState, Outcome, Role, Severity,
};
use crate::render::words::{action, confidence, grouped, listed, moment, span, time};
use crate::time::{Timestamp, Zone};

/// A finding, with what the report knows of it besides.
pub(in crate::render) struct Problem {
    pub(in crate::render) at: Timestamp,
    pub(in crate::render) finding: Finding,
    pub(super) connection: Option<Arc<ConnectionIds>>,
    /// The packet that settled it; findings of the end of a run have none.
    pub(super) frame: Option<FrameLabel>,
    /// The input of its packets, if the run has several.
    pub(super) input: Option<Arc<str>>,
    /// The last session record before it.
    pub(super) last_connection: Option<Arc<LastConnection>>,
    /// The connections that its evidence names besides, as far as their records came before it.
    pub(super) others: Vec<Arc<LastConnection>>,
    /// Its nodes by their addresses, where one node of the finding was seen at an address.
    pub(super) nodes_at: Vec<(IpAddr, Arc<str>)>,
    /// The end of its incident, if it came more than once.
    pub(super) incident: Option<Incident>,
    /// The zone of its times.
    pub(super) zone: Zone,
}

/// A connection between nodes, from its last session record.
pub(super) struct LastConnection {
    pub(super) session_id: Arc<str>,
    pub(super) ends: Ends,
    pub(super) outcome: Outcome,
}

impl Problem {
    /// False for a finding that is for information only.
    pub(in crate::render) fn is_problem(&self) -> bool {
        self.severity() > Severity::Info
    }

    /// Its severity: that of the finding, unless it is lower now that the problem is over.
    pub(in crate::render) fn severity(&self) -> Severity {
        self.incident.as_ref().map_or(self.finding.severity, |incident| incident.severity)
    }

    /// Whether it is over.
    pub(in crate::render) fn state(&self) -> IncidentState {
        self.incident.as_ref().map_or(IncidentState::Open, |incident| incident.state)
    }

    /// When it showed first.
    pub(in crate::render) fn shown_at(&self) -> Timestamp {
        let first = self.incident.as_ref().map(|incident| incident.first);
        first.or(self.finding.shown_at).unwrap_or(self.at)
    }

    /// How often it came.
    pub(in crate::render) fn count(&self) -> u64 {
        self.incident.as_ref().map_or(1, |incident| incident.count)
    }

    /// The outcome of the connection that it is about, if that is one between nodes.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.own_connection().map(|last| last.outcome)
    }

    /// Between whom, how often and when, under which rule. `is_final` if no repeat can follow.
    pub(in crate::render) fn circumstances(&self, is_final: bool) -> String {
        let (between, when) = (self.between(), self.when(is_final));
        let how_sure = confidence(self.finding.confidence);
        format!("{between}: {when} ({}, {how_sure}).", self.finding.rule)
    }

    /// Its title, rule, count and packet in one line.
    pub(in crate::render) fn one_line(&self) -> String {
        let Finding { rule, title, .. } = &self.finding;
        let often = match self.count() {
            1 => String::new(),
            n => format!(", {} times", grouped(n)),
        };
        let frame = self.frame.as_ref().map_or_else(String::new, |frame| format!(", {frame}"));
        format!("{title}  ({rule}{often}{frame})")
    }

    /// Each packet of its evidence, with what it shows.
    pub(in crate::render) fn evidence(&self) -> impl Iterator<Item = (FrameLabel, String)> + '_ {
        self.finding.evidence.iter().map(|evidence| self.shown_by(evidence))
    }

    /// The packets of its evidence, each once, in their order.
    pub(in crate::render) fn frames(&self) -> BTreeSet<FrameRef> {
        self.finding.evidence.iter().map(|evidence| evidence.frame).collect()
    }

    /// All frames that sentences about it may name.
    pub(in crate::render) fn frame_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        let evidence = self.finding.evidence.iter().map(|evidence| evidence.frame.number);
        let settled = self.incident.iter().filter_map(|incident| incident.settled_frame);
        evidence.chain(self.frame.iter().map(|label| label.frame)).chain(settled)
    }

    /// The connection that it is about.
    pub(in crate::render) fn session_id(&self) -> Option<&Arc<str>> {
        self.connection.as_ref().map(|ids| &ids.session_id)
    }

    /// What to do about it, as far as an earlier problem does not have it, and the numbers of those that have the rest.
    /// `known` has the number of the problem that had each remedy.
    pub(in crate::render) fn own_remedies<'a>(
        &'a self,
        number: usize,
        known: &mut HashMap<&'a str, usize>,
    ) -> (Vec<&'a str>, Vec<String>) {
        let mut own = Vec::new();
        let mut earlier = BTreeSet::new();
        for remedy in &self.finding.remedy {
            match *known.entry(remedy).or_insert(number) {
                first if first == number => own.push(remedy.as_str()),
                first => _ = earlier.insert(first),
            }
        }
        (own, earlier.iter().map(ToString::to_string).collect())
    }

    /// Which side's log has a line about it.
    pub(in crate::render) fn logs(&self) -> String {
        let own = self.connection.as_ref().map(|ids| &ids.session_id);
        let Finding { logged_by, may_log, nodes, .. } = &self.finding;
        let names =
            |sides: &[Role]| -> Vec<_> { sides.iter().map(|role| self.side(*role, own)).collect() };
        match (names(logged_by).as_slice(), names(may_log).as_slice()) {
            ([], []) => "No node logs anything about this.".to_owned(),
            ([], [one]) => format!("The log of {one} may have a line about this."),
            ([], several) => format!("The logs of {} may have a line about this.", listed(several)),
            ([one], []) => {
                format!("Look at the log of {one}; the other side logs nothing about this.")
            }
            ([one], _) => format!("Look at the log of {one}."),
            (_, _) if self.own_connection().is_none() && nodes.len() > 2 => {
                format!("Look at the logs of {}.", listed(nodes))
            }
            (several, _) => format!("Look at the logs of {}.", listed(several)),
        }
    }

    /// The connection that it is about, if that is one between nodes.
    fn own_connection(&self) -> Option<&LastConnection> {
        let own = self.connection.as_ref()?;
        self.last_connection.as_deref().filter(|last| last.session_id == own.session_id)
    }

    fn between(&self) -> String {
        let nodes = self.finding.nodes.as_slice();
        match (self.own_connection(), nodes, self.connection.as_deref()) {
            (Some(LastConnection { ends: Ends { located: [a, b], .. }, .. }), ..) => {
                let located = |end: &String| match self.node_at(end) {
                    Some(node) if node.contains(end.as_str()) => node.to_string(),
                    Some(node) => format!("{node} ({end})"),
                    None => end.clone(),
                };
                format!("Between {} and {}", located(a), located(b))
            }
            (None, several @ [_, _, ..], _) => format!("Between {}", listed(several)),
            (None, _, Some(ids)) => format!("Between {} and {}", ids.src_ip, destination(ids)),
            (None, [one], None) => format!("At {one}"),
            (None, [], None) => "Seen".to_owned(),
        }
    }

    fn when(&self, is_final: bool) -> String {
        let zone = &self.zone;
        match &self.incident {
            Some(incident) => {
                let Incident { count, first, last, .. } = incident;
                let often = match count {
                    1 => format!("once at {}", moment(zone, *first)),
                    count => format!("{} times {}", grouped(*count), span(zone, *first, *last)),
                };
                match incident.state {
                    IncidentState::Open => often,
                    _ => format!("{often}; {}", incident_state(zone, incident)),
                }
            }
            None if is_final => format!("once at {}", moment(zone, self.shown_at())),
            None => format!("first at {}", time(zone, self.shown_at())),
        }
    }

    fn shown_by(&self, evidence: &Evidence) -> (FrameLabel, String) {
        let Evidence { frame, input, session_id, from, what } = evidence;
        let input = input.as_ref().or(self.input.as_ref()).cloned();
        let own = self.connection.as_ref().map(|ids| &ids.session_id);
        let session = session_id.as_ref().or(own);
        let text = match (from, action(what)) {
            (Some(role), Some(action)) => {
                format!("{} {action} ({what})", self.side(*role, session))
            }
            (Some(role), None) => format!("{}: {what}", self.side(*role, session)),
            (None, _) => what.to_string(),
        };
        (FrameLabel { frame: frame.number, input }, text)
    }

    /// The node of the finding at an end that is given by its address.
    fn node_at(&self, end: &str) -> Option<&Arc<str>> {
        let ip = end.parse().or_else(|_| end.parse().map(|end: SocketAddr| end.ip())).ok()?;
        self.nodes_at.iter().find(|(at, _)| *at == ip).map(|(_, node)| node)
    }

    fn side(&self, role: Role, session: Option<&Arc<str>>) -> String {
        let side = self.side_by_record(role, session);
        self.node_at(&side).map(ToString::to_string).unwrap_or(side)
    }

    fn side_by_record(&self, role: Role, session: Option<&Arc<str>>) -> String {
        match (&self.last_connection, &self.connection) {
            (Some(last), _) if session == Some(&last.session_id) => {
                last.ends.names.get(role.index()).cloned().unwrap_or_default()
            }
            (_, Some(ids)) if session == Some(&ids.session_id) => match role {
                Role::Initiator => source(ids),
                Role::Acceptor => destination(ids),
            },
            _ => {
                let other = self.others.iter().find(|other| session == Some(&other.session_id));
                let name = other.and_then(|other| other.ends.names.get(role.index()).cloned());
                name.unwrap_or_else(|| format!("the {role}"))
            }
        }
    }
}
