//! What a screen shows of a run while it goes on: connections, problems and nodes as rows, and ladders.
//!
//! In: events, on the thread of the analysis. Out: rows and text for another thread, which draws them. Neither waits for
//! the other longer than it takes to copy some rows. Text from the wire is escaped here.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::escape::{ascii, escape};
use super::ladder;
use super::ladder::text::LadderText;
use super::report::{LadderStore, Report, TimelineDetail, Tone, node_facts};
use super::text::Styles;
use super::words::times;
use super::{InputNames, Renderer};
use crate::cursor::LineBuffer;
use crate::limits::{BoundedMap, SCREEN_ROWS};
use crate::record::{Body, Event, Finding, Incident, IncidentState, Severity};
use crate::time::Zone;

/// What a screen lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScreenList {
    /// Connections between nodes, attempts at one, and requests to EPMD; the one that began last is first.
    Connections,
    /// Problems: those that are open first, then the worst, then the last.
    Problems,
    /// Nodes, in order of their names.
    Nodes,
}

/// One row of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScreenRow {
    /// Identifies the row in its list: a `session_id`, an `incident_id` or a node.
    pub id: Arc<str>,
    /// What is in front of the text, such as the time.
    pub mark: String,
    /// What happened, or what is known.
    pub text: String,
    /// How it is to be taken.
    pub tone: ScreenTone,
}

/// How a row is to be taken, for its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScreenTone {
    /// Neither good nor bad.
    Plain,
    /// Something that works as it should.
    Good,
    /// Something that is worth a look.
    Notable,
    /// A failure, or a severe problem.
    Bad,
}

/// The state of a run that a screen shows. Clones show the same run.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<ScreenState>>);

struct ScreenState {
    report: Report,
    ladders: LadderStore,
    zone: Zone,
    is_ascii: bool,
    connections: BoundedMap<Arc<str>, ConnectionRow>,
    /// Identifiers of the connections, in order of their first event, as `connections` gives them up.
    recent: VecDeque<Arc<str>>,
    problems: BoundedMap<Arc<str>, ProblemRow>,
    nodes: BoundedMap<Arc<str>, String>,
    is_closed: bool,
    is_over: bool,
}

#[derive(Default)]
struct ConnectionRow {
    mark: String,
    text: String,
    tone: Option<ScreenTone>,
}

#[derive(Default)]
struct ProblemRow {
    title: String,
    severity: Option<Severity>,
    state: Option<IncidentState>,
    count: u64,
    /// Its position among all problems.
    number: u64,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Screen").field(&self.counts()).finish()
    }
}

impl Screen {
    /// An empty screen; times are in `zone`, and text in ASCII where `is_ascii`.
    pub fn new(zone: Zone, is_ascii: bool) -> Self {
        let inputs = InputNames::new(Vec::new());
        Self(Arc::new(Mutex::new(ScreenState {
            report: Report::new(inputs.clone(), Vec::new(), zone.clone()),
            ladders: LadderStore::new(inputs, None),
            zone,
            is_ascii,
            connections: BoundedMap::new(SCREEN_ROWS),
            recent: VecDeque::new(),
            problems: BoundedMap::new(SCREEN_ROWS),
            nodes: BoundedMap::new(SCREEN_ROWS),
            is_closed: false,
            is_over: false,
        })))
    }

    /// Closes the screen: the run ends, as if the reader of its output had gone.
    pub fn close(&self) {
        self.state().is_closed = true;
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Whether the run has ended.
    pub fn is_over(&self) -> bool {
        self.state().is_over
    }

    /// Number of rows of each list: connections, problems, nodes.
    pub fn counts(&self) -> [usize; 3] {
        let state = self.state();
        [state.connections.len(), state.problems.len(), state.nodes.len()]
    }

    /// The rows of a list that contain `filter`, upper and lower case alike, in its order.
    pub fn rows(&self, list: ScreenList, filter: &str) -> Vec<ScreenRow> {
        let filter = filter.to_lowercase();
        let mut rows = self.state().rows(list);
        rows.retain(|row| {
            filter.is_empty()
                || row.text.to_lowercase().contains(&filter)
                || row.mark.to_lowercase().contains(&filter)
        });
        rows
    }

    /// The ladder of a connection or of a problem, as lines of at most `width` columns; `None` if it is not kept.
    pub fn ladder(&self, list: ScreenList, id: &str, width: usize) -> Option<String> {
        let state = self.state();
        let ladder = match list {
            ScreenList::Connections => state.ladders.of_session(id),
            ScreenList::Problems => state.ladders.of_finding(id),
            ScreenList::Nodes => None,
        }?;
        let how = LadderText { width, is_ascii: state.is_ascii, styles: Styles::default() };
        Some(ladder::drawn(&state.ladders, &ladder, None, how))
    }

    /// The renderer that keeps the state.
    pub(super) fn renderer(&self) -> Box<dyn Renderer> {
        Box::new(ScreenRenderer(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, ScreenState> {
        // A thread that panicked holds nothing halfway: each field is set at once.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ScreenState {
    fn safe(&self, text: &str) -> String {
        if self.is_ascii { ascii(text) } else { escape(text) }.into_owned()
    }

    fn rows(&self, list: ScreenList) -> Vec<ScreenRow> {
        match list {
            ScreenList::Connections => {
                let row = |id: &Arc<str>| {
                    let ConnectionRow { mark, text, tone } = self.connections.get(id)?;
                    let (mark, text) = (mark.clone(), text.clone());
                    let tone = tone.unwrap_or(ScreenTone::Plain);
                    Some(ScreenRow { id: Arc::clone(id), mark, text, tone })
                };
                self.recent.iter().rev().filter_map(row).collect()
            }
            ScreenList::Problems => {
                let mut all: Vec<_> = self.problems.iter().collect();
                all.sort_by_key(|(_, row)| {
                    let is_solved = row.state == Some(IncidentState::Solved);
                    (is_solved, std::cmp::Reverse((row.severity, row.number)))
                });
                all.into_iter().map(|(id, row)| row.shown(id)).collect()
            }
            ScreenList::Nodes => {
                let mut all: Vec<_> = self.nodes.iter().collect();
                all.sort_unstable();
                let row = |(name, facts): (&Arc<str>, &String)| ScreenRow {
                    id: Arc::clone(name),
                    mark: self.safe(name),
                    text: facts.clone(),
                    tone: ScreenTone::Plain,
                };
                all.into_iter().map(row).collect()
            }
        }
    }

    fn on_event(&mut self, event: &Event) {
        match &event.body {
            Body::Finding { finding } if finding.severity > Severity::Info => {
                self.on_finding(finding);
            }
            Body::Incident { incident } => self.on_incident(incident),
            Body::Node { node } => {
                let facts = self.safe(&node_facts(node));
                *self.nodes.entry(&node.node).0 = facts;
            }
            Body::Session { .. } | Body::Epmd { .. } => self.on_connection(event),
            Body::Stats { stats } if stats.is_final => self.is_over = true,
            _ => {}
        }
    }

    fn on_connection(&mut self, event: &Event) {
        let Some(ids) = &event.connection else { return };
        let Some(entry) = self.report.entry(event, TimelineDetail::Events) else { return };
        let mark = self.zone.time_of_day(entry.at);
        let text = self.safe(&entry.text);
        let (row, evicted) = self.connections.entry(&ids.session_id);
        let is_new = row.text.is_empty();
        *row = ConnectionRow { mark, text, tone: Some(entry.tone.into()) };
        if evicted.is_some() {
            self.recent.pop_front();
        }
        if is_new {
            self.recent.push_back(Arc::clone(&ids.session_id));
        }
    }

    fn on_finding(&mut self, finding: &Finding) {
        let title = self.safe(&finding.title);
        let number = self.problems.len() as u64;
        let (row, _) = self.problems.entry(&finding.incident_id);
        if row.count == 0 {
            *row = ProblemRow { count: 1, number, ..ProblemRow::default() };
        }
        (row.title, row.severity) = (title, Some(finding.severity));
    }

    fn on_incident(&mut self, incident: &Incident) {
        let Some(row) = self.problems.get_mut(&incident.incident_id) else { return };
        row.severity = Some(incident.severity);
        row.state = Some(incident.state);
        row.count = incident.count;
    }
}

impl ProblemRow {
    fn shown(&self, id: &Arc<str>) -> ScreenRow {
        let severity = self.severity.unwrap_or(Severity::Info);
        let is_solved = self.state == Some(IncidentState::Solved);
        let state = match self.state {
            None | Some(IncidentState::Open) => "OPEN",
            Some(IncidentState::Solved) => "SOLVED",
            Some(IncidentState::Unknown) => "UNKNOWN",
            Some(IncidentState::Withdrawn) => "WITHDRAWN",
        };
        let often = if self.count > 1 { format!(", {}", times(self.count)) } else { String::new() };
        let tone = match (is_solved, severity) {
            (true, _) => ScreenTone::Good,
            (false, Severity::High | Severity::Critical) => ScreenTone::Bad,
            (false, _) => ScreenTone::Notable,
        };
        ScreenRow {
            id: Arc::clone(id),
            mark: format!("{state:7} {}", severity.name().to_ascii_uppercase()),
            text: format!("{}{often}", self.title),
            tone,
        }
    }
}

impl From<Tone> for ScreenTone {
    fn from(tone: Tone) -> Self {
        match tone {
            Tone::Plain | Tone::Faint => Self::Plain,
            Tone::Good => Self::Good,
            Tone::Notable => Self::Notable,
            Tone::Bad | Tone::Severity(Severity::High | Severity::Critical) => Self::Bad,
            Tone::Severity(_) => Self::Notable,
        }
    }
}

/// Keeps the state of a screen; writes nothing.
struct ScreenRenderer(Screen);

impl Renderer for ScreenRenderer {
    fn observe(&mut self, event: &Event) {
        let mut state = self.0.state();
        state.report.observe(event);
        state.ladders.observe(event);
    }

    fn record(&mut self, _seq: u64, event: &Event, _out: &mut LineBuffer) -> io::Result<()> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.on_event(event);
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, State};
    use crate::render::samples;

    fn shown(events: &[Event]) -> Screen {
        let screen = Screen::new(Zone::UTC, true);
        let mut renderer = screen.renderer();
        for event in events {
            renderer.observe(event);
            renderer.record(1, event, &mut LineBuffer::default()).unwrap();
        }
        screen
    }

    #[test]
    fn a_run_has_rows_of_connections_problems_and_nodes() {
        let screen = shown(&samples::story());
        let rows = screen.rows(ScreenList::Problems, "");
        assert_eq!(rows.len(), 1);
        assert_eq!((&*rows[0].mark, rows[0].tone), ("OPEN    HIGH", ScreenTone::Bad));
        assert!(rows[0].text.ends_with("refused the cookie of one@192.168.0.100, 3 times"));
        let connections = screen.rows(ScreenList::Connections, "");
        assert!(
            connections.iter().any(|row| row.text.contains("cookie mismatch")),
            "{connections:?}"
        );
        assert!(
            screen.rows(ScreenList::Nodes, "").iter().any(|row| row.mark == "one@192.168.0.100")
        );
        assert!(screen.is_over());
    }

    #[test]
    fn a_filter_keeps_rows_that_contain_it() {
        let screen = shown(&samples::story());
        assert_eq!(screen.rows(ScreenList::Problems, "COOKIE of one").len(), 1);
        assert!(screen.rows(ScreenList::Problems, "nothing of the kind").is_empty());
    }

    #[test]
    fn a_row_has_a_ladder() {
        let screen = shown(&samples::story());
        let row = screen.rows(ScreenList::Problems, "").remove(0);
        let ladder = screen.ladder(ScreenList::Problems, &row.id, 80).unwrap();
        assert!(ladder.is_ascii() && ladder.contains("one@192.168.0.100"), "{ladder}");
        assert!(screen.ladder(ScreenList::Nodes, &row.id, 80).is_none());
    }

    #[test]
    fn rows_are_bounded_and_escaped() {
        let mut events = Vec::new();
        for n in 0..SCREEN_ROWS + 10 {
            let mut event = samples::session(State::Closed, Outcome::Aborted);
            let ids = Arc::make_mut(event.connection.as_mut().unwrap());
            ids.session_id = format!("{n:016x}").into();
            if let Body::Session { session } = &mut event.body {
                session.initiator.node = Some("\x1b[2Jevil@h".into());
            }
            events.push(event);
        }
        let screen = shown(&events);
        let rows = screen.rows(ScreenList::Connections, "");
        assert_eq!(rows.len(), SCREEN_ROWS);
        assert_eq!(&*rows[0].id, format!("{:016x}", SCREEN_ROWS + 9));
        assert!(rows[0].text.contains("\\x1b[2Jevil@h"), "{}", rows[0].text);
    }

    #[test]
    fn a_closed_screen_ends_the_run() {
        let screen = shown(&[]);
        let mut renderer = screen.renderer();
        assert!(!renderer.is_closed());
        screen.close();
        assert!(renderer.is_closed());
        let written = renderer.record(1, &samples::finding(), &mut LineBuffer::default());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
