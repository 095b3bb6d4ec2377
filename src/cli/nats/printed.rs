//! The problems that were printed while sensors go on.
//!
//! In: findings and incidents of one round after another, each over all that is known by then. Out: what differs from what
//! was printed. Whether a problem is one is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use beamscope::record::{Body, Event, Finding, Incident, IncidentState, Severity};
use beamscope::time::Timestamp;

/// What was printed so far.
#[derive(Debug, Default)]
pub(in crate::cli) struct PrintedProblems {
    known: BTreeMap<Arc<str>, PrintedProblem>,
    /// What was printed of the inputs.
    notes: BTreeSet<String>,
}

/// A problem as it was printed last.
#[derive(Debug)]
struct PrintedProblem {
    title: String,
    severity: Severity,
    incident: Incident,
    /// How often its finding was printed after the first time.
    revisions: u32,
    /// Time of the last of it.
    at: Timestamp,
    /// Whether the last round that reached that time had it.
    is_current: bool,
}

/// A problem of one round.
#[derive(Debug, Default)]
struct RoundProblem {
    finding: Option<Event>,
    incident: Option<Event>,
}

impl PrintedProblems {
    /// Takes in an event that was printed before this process began.
    pub(in crate::cli) fn note(&mut self, event: &Event) {
        match &event.body {
            Body::Finding { finding } => {
                let printed = PrintedProblem::new(event.at, finding, false);
                self.known.insert(Arc::clone(&finding.incident_id), printed);
            }
            Body::Incident { incident } => {
                if let Some(printed) = self.known.get_mut(&incident.incident_id) {
                    printed.incident = (**incident).clone();
                    printed.at = printed.at.max(event.at);
                }
            }
            _ => {}
        }
        self.shrink();
    }

    /// What differs between a round, up to the clock `now`, and what was printed; it counts as printed from here on. A round
    /// waits for a sensor that is behind, and then reaches less far than one before: it contradicts nothing that was later.
    /// `lacks`: what rounds before had is not all in this one.
    pub(in crate::cli) fn differences(
        &mut self,
        events: Vec<Event>,
        now: Timestamp,
        lacks: bool,
    ) -> Vec<Event> {
        let (mut order, mut round, mut out) = (Vec::new(), BTreeMap::new(), Vec::new());
        for event in events {
            let id = match &event.body {
                Body::Finding { finding } => Arc::clone(&finding.incident_id),
                Body::Incident { incident } => Arc::clone(&incident.incident_id),
                Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                    if self.notes.len() < MOST_NOTES && self.notes.insert(anomaly.detail.clone()) {
                        out.push(event);
                    }
                    continue;
                }
                _ => continue,
            };
            let problem: &mut RoundProblem = round.entry(Arc::clone(&id)).or_insert_with(|| {
                order.push(id);
                RoundProblem::default()
            });
            match event.body {
                Body::Finding { .. } => problem.finding = Some(event),
                _ => problem.incident = Some(event),
            }
        }
        let ids: BTreeSet<_> = order.iter().map(Arc::clone).collect();
        let mut current = BTreeSet::new();
        for id in &order {
            let Some(RoundProblem { finding: Some(finding), incident }) = round.remove(id) else {
                continue;
            };
            self.problem(id, (finding, incident), (&ids, now), &mut out, &mut current);
        }
        for (id, printed) in &mut self.known {
            if printed.at > now && !lacks {
                continue;
            }
            let was_current = std::mem::replace(&mut printed.is_current, current.contains(id));
            if was_current && !printed.is_current && !lacks {
                printed.incident.state = IncidentState::Withdrawn;
                let incident = Box::new(printed.incident.clone());
                let body = Body::Incident { incident };
                out.push(Event { at: now, frame: None, input: None, connection: None, body });
            }
        }
        self.shrink();
        out
    }

    /// One problem of a round.
    fn problem(
        &mut self,
        id: &Arc<str>,
        (mut found, mut incident): (Event, Option<Event>),
        (round, now): (&BTreeSet<Arc<str>>, Timestamp),
        out: &mut Vec<Event>,
        current: &mut BTreeSet<Arc<str>>,
    ) {
        let at = found.at;
        let Body::Finding { finding } = &mut found.body else { return };
        let own = match self.known.contains_key(id) {
            true => Arc::clone(id),
            false => self.alike(finding, round).unwrap_or_else(|| Arc::clone(id)),
        };
        current.insert(Arc::clone(&own));
        finding.incident_id = Arc::clone(&own);
        finding.revision = None;
        let mut state = IncidentState::Open;
        if let Some(Event { body: Body::Incident { incident }, .. }) = &mut incident {
            incident.incident_id = Arc::clone(&own);
            state = incident.state;
        }
        let printed = self.known.get(&own);
        if printed.is_some_and(|it| it.at > now) {
            return;
        }
        let is_as_printed = printed.is_some_and(|it| {
            let is_alike = it.title == finding.title
                && it.severity == finding.severity
                && it.incident.nodes == finding.nodes;
            // That it is open again is in no record of a run that never saw it solved.
            is_alike
                && (it.incident.state == state || incident.is_some())
                && it.incident.state != IncidentState::Withdrawn
        });
        let is_other_state = printed.map_or(IncidentState::Open, |it| it.incident.state) != state
            && incident.is_some();
        let revisions = printed.map_or(0, |it| it.revisions + u32::from(!is_as_printed));
        finding.revision = (revisions > 0).then_some(revisions);
        let mut latest = PrintedProblem::new(at, finding, true);
        latest.revisions = revisions;
        if let Some(Event { at, body: Body::Incident { incident }, .. }) = &incident {
            latest.at = latest.at.max(*at);
            // Its nodes are those of all its findings; the ones that were printed are compared.
            let nodes = std::mem::take(&mut latest.incident.nodes);
            latest.incident = Incident { nodes, ..(**incident).clone() };
        }
        self.known.insert(own, latest);
        if !is_as_printed {
            out.push(found);
        }
        if is_other_state {
            out.extend(incident);
        }
    }

    /// The problem that is the same, found by an earlier or a later connection: the round does not have it by its own id.
    fn alike(&self, finding: &Finding, round: &BTreeSet<Arc<str>>) -> Option<Arc<str>> {
        let is_alike = |it: &PrintedProblem| {
            it.is_current
                && it.incident.rule == finding.rule
                && it.title == finding.title
                && it.incident.nodes == finding.nodes
        };
        let alike = self.known.iter().filter(|(id, it)| is_alike(it) && !round.contains(*id));
        alike.map(|(id, _)| Arc::clone(id)).next()
    }

    /// Forgets the problems that were over first, if there are too many.
    fn shrink(&mut self) {
        while self.known.len() > MOST_PRINTED {
            let oldest = self.known.iter().min_by_key(|(_, it)| (it.is_current, it.incident.last));
            let Some(oldest) = oldest.map(|(id, _)| Arc::clone(id)) else { return };
            self.known.remove(&oldest);
        }
    }
}

impl PrintedProblem {
    /// A finding of which nothing else was printed; what settled it came at `shown`.
    fn new(shown: Timestamp, finding: &Finding, is_current: bool) -> Self {
        let at = finding.shown_at.unwrap_or(shown);
        let incident = Incident {
            incident_id: Arc::clone(&finding.incident_id),
            rule: finding.rule,
            severity: finding.severity,
            found_severity: finding.severity,
            nodes: finding.nodes.clone(),
            count: 1,
            first: at,
            last: at,
            state: IncidentState::Open,
            settled_at: None,
            settled_frame: None,
            settled_by: None,
        };
        let revisions = finding.revision.unwrap_or(0);
        let (title, severity) = (finding.title.clone(), finding.severity);
        Self { title, severity, incident, revisions, at: shown, is_current }
    }
}

/// Problems that are remembered: as many as a run has at most.
const MOST_PRINTED: usize = 16_384;

/// Notes about inputs that are remembered, and so printed.
const MOST_NOTES: usize = 1000;

#[cfg(test)]
mod tests {
    use beamscope::record::{Confidence, SettledBy};

    use super::*;

    fn finding(id: &str, title: &str) -> Event {
        let finding = Finding {
            rule: "cookie-mismatch",
            severity: Severity::High,
            confidence: Confidence::Proven,
            title: title.to_owned(),
            explanation: String::new(),
            remedy: Vec::new(),
            nodes: vec!["a@h".into(), "b@h".into()],
            incident_id: id.into(),
            shown_at: None,
            evidence: Vec::new(),
            not_excluded: Vec::new(),
            logged_by: Vec::new(),
            may_log: Vec::new(),
            revision: None,
            evidence_file: None,
        };
        event(Body::Finding { finding: Box::new(finding) })
    }

    fn solved(id: &str) -> Event {
        let mut printed = match finding(id, "").body {
            Body::Finding { finding } => PrintedProblem::new(Timestamp(1), &finding, false),
            _ => unreachable!(),
        };
        printed.incident.state = IncidentState::Solved;
        printed.incident.settled_by = Some(SettledBy::Connected);
        event(Body::Incident { incident: Box::new(printed.incident) })
    }

    fn event(body: Body) -> Event {
        Event { at: Timestamp(1), frame: None, input: None, connection: None, body }
    }

    /// What is printed of a round: the id, and the revision of a finding or the state of an incident.
    fn output_of(printed: &mut PrintedProblems, round: &[Event], lacks: bool) -> Vec<String> {
        let differences = printed.differences(round.to_vec(), Timestamp(9), lacks);
        let text = |event: &Event| match &event.body {
            Body::Finding { finding } => {
                format!("{} found {}", finding.incident_id, finding.revision.unwrap_or(0))
            }
            Body::Incident { incident } => format!("{} {:?}", incident.incident_id, incident.state),
            _ => String::new(),
        };
        differences.iter().map(text).collect()
    }

    #[test]
    fn a_problem_is_printed_once_and_again_where_it_changes() {
        let mut printed = PrintedProblems::default();
        let open = [finding("x", "t")];
        assert_eq!(output_of(&mut printed, &open, false), ["x found 0"]);
        assert_eq!(output_of(&mut printed, &open, false), [""; 0]);
        let over = [finding("x", "t"), solved("x")];
        assert_eq!(output_of(&mut printed, &over, false), ["x Solved"]);
        assert_eq!(output_of(&mut printed, &over, false), [""; 0]);
        let other = [finding("x", "another title"), solved("x")];
        assert_eq!(output_of(&mut printed, &other, false), ["x found 1"]);
        // It is open again, of which a run that never saw it solved has no record.
        let open = [finding("x", "another title")];
        assert_eq!(output_of(&mut printed, &open, false), ["x found 2"]);
    }

    #[test]
    fn what_later_facts_contradict_is_withdrawn_and_may_come_back() {
        let mut printed = PrintedProblems::default();
        output_of(&mut printed, &[finding("x", "t"), finding("y", "u")], false);
        assert_eq!(output_of(&mut printed, &[finding("y", "u")], false), ["x Withdrawn"]);
        assert_eq!(output_of(&mut printed, &[finding("y", "u")], false), [""; 0]);
        assert_eq!(
            output_of(&mut printed, &[finding("x", "t"), finding("y", "u")], false),
            ["x found 1"]
        );
        // A round without the facts of the problem contradicts nothing, nor does the next one.
        assert_eq!(output_of(&mut printed, &[finding("y", "u")], true), [""; 0]);
        assert_eq!(output_of(&mut printed, &[finding("y", "u")], false), [""; 0]);
    }

    #[test]
    fn a_round_that_reaches_less_far_contradicts_nothing_later() {
        let mut printed = PrintedProblems::default();
        let later = Event { at: Timestamp(20), ..finding("x", "t") };
        let solved = Event { at: Timestamp(30), ..solved("x") };
        let mut differ = |round: &[Event], now| {
            let differences = printed.differences(round.to_vec(), Timestamp(now), false);
            differences.iter().map(|it| it.body.event_type()).collect::<Vec<_>>()
        };
        assert_eq!(differ(&[later.clone(), solved.clone()], 30), ["finding", "incident"]);
        // Before the problem, and before its end; with a problem of a sensor that was behind.
        assert_eq!(differ(&[finding("y", "u")], 10), ["finding"]);
        assert_eq!(differ(&[finding("y", "u"), later.clone()], 25), [""; 0]);
        assert_eq!(differ(&[finding("y", "u"), later, solved], 40), [""; 0]);
        assert_eq!(differ(&[finding("y", "u")], 40), ["incident"], "it is withdrawn");
    }

    #[test]
    fn an_earlier_connection_of_a_problem_makes_no_other_problem_of_it() {
        let mut printed = PrintedProblems::default();
        output_of(&mut printed, &[finding("x", "t")], false);
        assert_eq!(output_of(&mut printed, &[finding("earlier", "t")], false), [""; 0]);
        assert_eq!(
            output_of(&mut printed, &[finding("earlier", "t"), solved("earlier")], false),
            ["x Solved"]
        );
        let both = [finding("x", "t"), finding("earlier", "t")];
        assert_eq!(output_of(&mut printed, &both, false), ["x found 1", "earlier found 0"]);
    }

    #[test]
    fn what_was_printed_before_the_start_is_not_printed_again_nor_withdrawn() {
        let mut printed = PrintedProblems::default();
        [finding("x", "t"), solved("x"), finding("y", "u")].iter().for_each(|it| printed.note(it));
        assert_eq!(output_of(&mut printed, &[], false), [""; 0]);
        let round = [finding("x", "t"), solved("x"), finding("y", "u"), finding("z", "v")];
        assert_eq!(output_of(&mut printed, &round, false), ["z found 0"]);
    }
}
