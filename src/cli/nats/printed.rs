//! The problems that were printed while sensors go on.
//!
//! In: findings and incidents of one round after another, each over all that is known by then. Out: what differs from what
//! was printed. Whether a problem is one is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    /// Whether the last round that reached its clock had it.
    is_current: bool,
    /// The clock of the last fact that what was printed of it rests on. A round that ends earlier changes nothing of it.
    known_at: Timestamp,
}

/// An event of a round, with the clock of the fact that it was found by.
pub(in crate::cli) type RoundEvent = (Timestamp, Event);

/// A problem of one round.
#[derive(Debug, Default)]
struct RoundProblem {
    finding: Option<Event>,
    incident: Option<Event>,
    /// The clock of the last fact that they were found by.
    known_at: Timestamp,
}

/// What of a problem is the same for all the connections that may have been the first to show it.
type ProblemContent = (&'static str, String, Vec<Arc<str>>);

/// The problems that the last round had and this one does not have by their ids.
type MissingProblems = BTreeMap<ProblemContent, VecDeque<Arc<str>>>;

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
                    printed.known_at = printed.known_at.max(event.at);
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
        events: Vec<RoundEvent>,
        now: Timestamp,
        lacks: bool,
    ) -> Vec<Event> {
        let (mut order, mut round, mut out) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (clock, event) in events {
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
            problem.known_at = clock;
            match event.body {
                Body::Finding { .. } => problem.finding = Some(event),
                _ => problem.incident = Some(event),
            }
        }
        let mut missing = self.missing(&round);
        let mut current = BTreeSet::new();
        for id in &order {
            if let Some(problem) = round.remove(id) {
                let id = self.problem(id, problem, now, &mut missing, &mut out);
                current.extend(id);
            }
        }
        for (id, printed) in &mut self.known {
            // What this round does not reach, it does not contradict.
            let is_later = printed.known_at > now && !lacks;
            let is_current = current.contains(id) || printed.is_current && is_later;
            let was_current = std::mem::replace(&mut printed.is_current, is_current);
            if was_current && !printed.is_current && !lacks {
                printed.incident.state = IncidentState::Withdrawn;
                printed.known_at = now;
                let incident = Box::new(printed.incident.clone());
                let body = Body::Incident { incident };
                out.push(Event { at: now, frame: None, input: None, connection: None, body });
            }
        }
        self.shrink();
        out
    }

    /// One problem of a round, up to the clock `now`. The id that it is printed with; `None` if nothing was found.
    fn problem(
        &mut self,
        id: &Arc<str>,
        RoundProblem { finding, mut incident, known_at }: RoundProblem,
        now: Timestamp,
        missing: &mut MissingProblems,
        out: &mut Vec<Event>,
    ) -> Option<Arc<str>> {
        let mut found = finding?;
        let at = found.at;
        let Body::Finding { finding } = &mut found.body else { return None };
        let content = || (finding.rule, finding.title.clone(), finding.nodes.clone());
        let own = match self.known.contains_key(id) {
            true => Arc::clone(id),
            // The same problem, found by an earlier or a later connection.
            false => missing
                .get_mut(&content())
                .and_then(VecDeque::pop_front)
                .unwrap_or_else(|| Arc::clone(id)),
        };
        // What was printed of it may rest on facts that this round does not have yet.
        if let Some(printed) = self.known.get(&own).filter(|it| it.known_at > now) {
            return (printed.incident.state != IncidentState::Withdrawn).then_some(own);
        }
        finding.incident_id = Arc::clone(&own);
        finding.revision = None;
        let mut state = IncidentState::Open;
        if let Some(Event { body: Body::Incident { incident }, .. }) = &mut incident {
            incident.incident_id = Arc::clone(&own);
            state = incident.state;
        }
        let printed = self.known.get(&own);
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
        (latest.revisions, latest.known_at) = (revisions, known_at);
        if let Some(Event { body: Body::Incident { incident }, .. }) = &incident {
            // Its nodes are those of all its findings; the ones that were printed are compared.
            let nodes = std::mem::take(&mut latest.incident.nodes);
            latest.incident = Incident { nodes, ..(**incident).clone() };
        }
        self.known.insert(Arc::clone(&own), latest);
        if !is_as_printed {
            out.push(found);
        }
        if is_other_state {
            out.extend(incident);
        }
        Some(own)
    }

    /// The problems that the last round had, and that are not in this one by their ids.
    fn missing(&self, round: &BTreeMap<Arc<str>, RoundProblem>) -> MissingProblems {
        let mut missing = MissingProblems::new();
        let is_missing =
            |id: &Arc<str>, it: &PrintedProblem| it.is_current && !round.contains_key(id);
        for (id, it) in self.known.iter().filter(|(id, it)| is_missing(id, it)) {
            let content = (it.incident.rule, it.title.clone(), it.incident.nodes.clone());
            missing.entry(content).or_default().push_back(Arc::clone(id));
        }
        missing
    }

    /// Forgets the problems that were over first, if there are too many: all at once, as one costs a look at each.
    fn shrink(&mut self) {
        if self.known.len() <= MOST_PRINTED + MOST_PRINTED / 4 {
            return;
        }
        let age = |(id, it): (&Arc<str>, &PrintedProblem)| {
            (it.is_current, it.incident.last, Arc::clone(id))
        };
        let mut ages: Vec<_> = self.known.iter().map(age).collect();
        ages.sort_unstable();
        for (.., id) in ages.iter().take(ages.len() - MOST_PRINTED) {
            self.known.remove(id);
        }
    }
}

impl PrintedProblem {
    fn new(at: Timestamp, finding: &Finding, is_current: bool) -> Self {
        let known_at = at;
        let at = finding.shown_at.unwrap_or(at);
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
        Self { title, severity, incident, revisions, is_current, known_at }
    }
}

/// Problems that are remembered: as many as a run has at most. A quarter more may be there for a while.
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
        output_at(printed, Timestamp(9), round, lacks)
    }

    /// The same, for a round that ends at this clock. Its events were found by facts of that clock.
    fn output_at(
        printed: &mut PrintedProblems,
        now: Timestamp,
        round: &[Event],
        lacks: bool,
    ) -> Vec<String> {
        let events = round.iter().map(|event| (now, event.clone())).collect();
        let differences = printed.differences(events, now, lacks);
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
    fn a_round_that_ends_earlier_prints_what_is_new_and_changes_nothing_that_is_later() {
        let mut printed = PrintedProblems::default();
        let later = [finding("x", "t"), solved("x"), finding("y", "u")];
        let all = ["x found 0", "x Solved", "y found 0"];
        assert_eq!(output_at(&mut printed, Timestamp(9), &later, false), all);
        let earlier = [finding("x", "t"), finding("z", "v")];
        assert_eq!(output_at(&mut printed, Timestamp(5), &earlier, false), ["z found 0"]);
        assert_eq!(output_at(&mut printed, Timestamp(6), &[], false), ["z Withdrawn"]);
        assert_eq!(output_at(&mut printed, Timestamp(9), &later, false), [""; 0]);
        let contradicted = ["x Withdrawn", "y Withdrawn"];
        assert_eq!(output_at(&mut printed, Timestamp(9), &[], false), contradicted);
        assert_eq!(output_at(&mut printed, Timestamp(7), &earlier, false), ["z found 1"]);
    }

    #[test]
    fn a_round_that_reaches_less_far_contradicts_nothing_later() {
        let mut printed = PrintedProblems::default();
        let later = Event { at: Timestamp(20), ..finding("x", "t") };
        let solved = Event { at: Timestamp(30), ..solved("x") };
        let mut differ = |round: &[Event], now| {
            let round = round.iter().map(|it| (it.at, it.clone())).collect();
            let differences = printed.differences(round, Timestamp(now), false);
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
    fn what_a_round_lacks_that_ends_earlier_is_not_withdrawn_by_the_next_one() {
        let mut printed = PrintedProblems::default();
        output_at(&mut printed, Timestamp(9), &[finding("x", "t")], false);
        assert_eq!(output_at(&mut printed, Timestamp(5), &[], true), [""; 0]);
        assert_eq!(output_at(&mut printed, Timestamp(9), &[], false), [""; 0]);
    }

    #[test]
    fn a_problem_takes_the_place_of_one_other_problem_alone() {
        let mut printed = PrintedProblems::default();
        output_of(&mut printed, &[finding("x", "t")], false);
        let two = [finding("a", "t"), finding("b", "t")];
        assert_eq!(output_of(&mut printed, &two, false), ["b found 0"]);
    }

    #[test]
    fn the_problems_that_were_over_first_are_forgotten() {
        let mut printed = PrintedProblems::default();
        let most = MOST_PRINTED + MOST_PRINTED / 4 + 1;
        for number in 0..most {
            let mut event = finding(&format!("{number:08}"), "t");
            event.at = Timestamp(number as u64);
            printed.note(&event);
        }
        assert_eq!(printed.known.len(), MOST_PRINTED);
        let first = printed.known.keys().next().map(|it| it.to_string());
        assert_eq!(first, Some(format!("{:08}", most - MOST_PRINTED)));
    }

    #[test]
    fn what_was_printed_before_the_start_is_not_printed_again_nor_withdrawn() {
        let mut printed = PrintedProblems::default();
        [finding("x", "t"), solved("x"), finding("y", "u")].iter().for_each(|it| printed.note(it));
        assert_eq!(output_of(&mut printed, &[], false), [""; 0]);
        let round = [finding("x", "t"), solved("x"), finding("y", "u"), finding("z", "v")];
        assert_eq!(output_of(&mut printed, &round, false), ["z found 0"]);
        // The first rounds may end before the fact that solved it.
        let mut printed = PrintedProblems::default();
        let solved = Event { at: Timestamp(8), ..solved("x") };
        [finding("x", "t"), solved].iter().for_each(|it| printed.note(it));
        let open = [finding("x", "t")];
        assert_eq!(output_at(&mut printed, Timestamp(5), &open, false), [""; 0]);
    }
}
