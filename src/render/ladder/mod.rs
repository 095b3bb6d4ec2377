//! Ladders of attempts to connect, as text, as SVG, or as a diagram of Mermaid.
//!
//! In: the events of a run, and which attempt is asked for. Out: its drawing. What a ladder has comes from the
//! [report](super::report); the files of this folder lay it out.

mod mermaid;
pub(super) mod svg;
pub(super) mod text;

use std::fmt;
use std::sync::Arc;

use self::text::LadderText;
use super::report::{Ladder, LadderStore, Problem, Report, Sections};
use super::shown::{EventFilter, Pattern, Shown};
use super::text::Styles;
use super::words::{times, wrapped};
use super::{InputNames, escape};
use crate::record::{Body, Event, EventSink, Outcome};
use crate::time::Zone;

/// Which attempt is drawn.
#[derive(Clone, Debug)]
pub enum LadderChoice {
    /// That of the first problem that is open, else of the first one, else the first connection.
    First,
    /// Of two nodes: that of their first problem, else their last attempt that failed, else their first connection.
    Pair([Pattern; 2]),
    /// Of a node, in the same order.
    Node(Pattern),
    /// The connection with this `session_id`.
    Session(Arc<str>),
    /// That of the problem with this number in the text about the capture, from 1.
    Finding(usize),
}

/// How a ladder is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LadderFormat {
    /// Lines of text for a terminal.
    Text {
        /// Columns of a line.
        width: usize,
        /// True to write ANSI colours.
        colour: bool,
        /// True for a terminal without box-drawing characters.
        ascii: bool,
    },
    /// A sequence diagram of Mermaid.
    Mermaid,
    /// A picture in SVG.
    Svg,
}

/// There is no ladder of what was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoLadder {
    /// The captures have no connection of nodes and no request to EPMD.
    Nothing,
    /// No connection has this `session_id`.
    Session {
        /// The identifier that was asked for.
        id: Arc<str>,
        /// The connections that the captures have, with their identifiers.
        known: Vec<String>,
    },
    /// There is no problem with this number.
    Finding {
        /// The number that was asked for.
        number: usize,
        /// The problems that the captures have, in order of their numbers.
        known: Vec<String>,
    },
    /// The problem has no packet that was kept.
    NotKept {
        /// The number that was asked for.
        number: usize,
        /// The title of the problem.
        title: String,
    },
    /// Nothing is between the two nodes.
    Pair {
        /// Those of the two that fit no node and no address.
        unknown: Vec<String>,
        /// The connections that the captures have, with their identifiers.
        known: Vec<String>,
    },
    /// Nothing is of the node.
    Node {
        /// The connections that the captures have, with their identifiers.
        known: Vec<String>,
    },
}

impl std::error::Error for NoLadder {}

impl fmt::Display for NoLadder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => {
                f.write_str("there is no connection between nodes and no request to EPMD to draw")
            }
            Self::Session { id, .. } => {
                write!(f, "no connection has the session_id {}", escape(id))
            }
            Self::Finding { number, known } => match known.len() {
                0 => write!(f, "there is no problem {number}: no problem was found"),
                1 => write!(f, "there is no problem {number}: one problem was found"),
                n => write!(f, "there is no problem {number}: {n} problems were found"),
            },
            Self::NotKept { number, title } => {
                write!(f, "no packet of problem {number} was kept: {}", escape(title))
            }
            Self::Pair { unknown, .. } if !unknown.is_empty() => {
                write!(f, "no node or address is {}", unknown.join(" or "))
            }
            Self::Pair { .. } => f.write_str("there is nothing between these two nodes"),
            Self::Node { .. } => f.write_str("there is no connection of such a node"),
        }
    }
}

impl NoLadder {
    /// What could have been asked for.
    pub fn hint(&self) -> Option<String> {
        let (known, what) = match self {
            Self::Nothing => return None,
            Self::NotKept { .. } => {
                return Some("draw a connection of it with --pair or --session".to_owned());
            }
            Self::Session { known, .. } | Self::Pair { known, .. } | Self::Node { known } => {
                (known, "connections")
            }
            Self::Finding { known, .. } => (known, "problems"),
        };
        if known.is_empty() {
            return None;
        }
        let mut text = format!("the {what} are");
        for line in known.iter().take(LISTED) {
            text.push_str("\n  ");
            text.push_str(&escape(line));
        }
        if known.len() > LISTED {
            text.push_str(&format!("\n  and {} more", known.len() - LISTED));
        }
        Some(text)
    }
}

/// Collects the events of a run, and draws one attempt at its end.
pub struct LadderRun {
    choice: LadderChoice,
    store: LadderStore,
    report: Report,
    /// Selects what is of the nodes that were asked for.
    filter: Option<EventFilter>,
    /// The first connection that may be drawn, and the last one that failed.
    first: Option<Arc<str>>,
    failed: Option<Arc<str>>,
    /// The first request to EPMD that may be drawn.
    request: Option<Arc<str>>,
}

impl LadderRun {
    /// A run over these inputs, as the user named them.
    pub fn new(inputs: Vec<Arc<str>>, choice: LadderChoice) -> Self {
        let inputs = InputNames::new(inputs);
        let mut shown = Shown::default();
        let mut wanted = None;
        match &choice {
            LadderChoice::Session(id) => wanted = Some(Arc::clone(id)),
            LadderChoice::Pair(pair) => shown.pairs.push(pair.clone()),
            LadderChoice::Node(node) => shown.nodes.push(node.clone()),
            LadderChoice::First | LadderChoice::Finding(_) => {}
        }
        Self {
            choice,
            store: LadderStore::new(inputs.clone(), wanted),
            report: Report::new(inputs, Vec::new(), Zone::UTC),
            filter: EventFilter::new(&shown),
            first: None,
            failed: None,
            request: None,
        }
    }

    /// The drawing.
    ///
    /// # Errors
    ///
    /// The captures have nothing of what was asked for.
    pub fn draw(mut self, format: LadderFormat) -> Result<String, NoLadder> {
        let Sections { groups, .. } = self.report.take_sections();
        let problems: Vec<_> = groups.into_iter().flatten().collect();
        let (ladder, more) = self.chosen(&problems)?;
        Ok(match format {
            LadderFormat::Mermaid => mermaid::mermaid(&ladder),
            LadderFormat::Svg => svg::svg(&ladder),
            LadderFormat::Text { width, colour, ascii } => {
                let styles = if colour { Styles::COLOURED } else { Styles::default() };
                let how = LadderText { width, is_ascii: ascii, styles };
                drawn(&self.store, &ladder, more.as_deref(), how)
            }
        })
    }

    /// The ladder that was asked for, and how to see more of the problem.
    fn chosen(&self, problems: &[Problem]) -> Result<(Ladder, Option<String>), NoLadder> {
        let of_problem = |(number, problem): (usize, &Problem)| {
            let ladder = self.store.of_finding(&problem.finding.incident_id)?;
            let others = match problems.len() {
                0 | 1 => String::new(),
                n => format!("This is problem {number} of {n}; --finding draws another one. "),
            };
            let rule = problem.finding.rule;
            Some((ladder, Some(format!("{others}More about it: beamscope explain {rule}"))))
        };
        let sessions = || {
            let sessions = self.store.sessions();
            sessions.into_iter().map(|(id, text)| format!("{id}  {text}")).collect()
        };
        let of_session = |id: &Option<Arc<str>>| Some((self.store.of_session(id.as_ref()?)?, None));
        let mut numbered = (1..).zip(problems);
        match &self.choice {
            LadderChoice::Session(id) => of_session(&Some(Arc::clone(id)))
                .ok_or_else(|| NoLadder::Session { id: Arc::clone(id), known: sessions() }),
            LadderChoice::Finding(number) => {
                let Some((_, problem)) = numbered.find(|(n, _)| n == number) else {
                    let titles = (1..).zip(problems);
                    let titles =
                        titles.map(|(n, it): (usize, _)| format!("{n}. {}", it.finding.title));
                    return Err(NoLadder::Finding { number: *number, known: titles.collect() });
                };
                of_problem((*number, problem)).ok_or_else(|| NoLadder::NotKept {
                    number: *number,
                    title: problem.finding.title.clone(),
                })
            }
            LadderChoice::First => numbered
                .find_map(of_problem)
                .or_else(|| of_session(&self.first))
                .or_else(|| of_session(&self.request))
                .ok_or(NoLadder::Nothing),
            LadderChoice::Pair(_) | LadderChoice::Node(_) => numbered
                .find_map(of_problem)
                .or_else(|| of_session(&self.failed))
                .or_else(|| of_session(&self.first))
                .or_else(|| of_session(&self.request))
                .ok_or_else(|| match (&self.choice, &self.filter) {
                    (LadderChoice::Node(_), _) | (_, None) => NoLadder::Node { known: sessions() },
                    (_, Some(filter)) => {
                        NoLadder::Pair { unknown: filter.unknown_halves(), known: sessions() }
                    }
                }),
        }
    }
}

/// A ladder as lines of text with its title and its notes, beside a good one of `store` if there is room, and `more` about
/// its problem.
pub(super) fn drawn(
    store: &LadderStore,
    ladder: &Ladder,
    more: Option<&str>,
    how: LadderText,
) -> String {
    let safe = |text: &str| text::plain(text, how.is_ascii);
    let mut out = String::new();
    let bold = how.styles.bold;
    let title = wrapped("", &safe(&ladder.title), how.width);
    out.push_str(&format!("{bold}{}{bold:#}\n\n", title.trim_end()));
    let is_wide = how.width >= WIDE;
    let good = if is_wide { store.good(ladder) } else { None };
    let lines = match good {
        Some(good) => {
            let half = LadderText { width: how.width / 2 - 2, ..how };
            let mut right = vec![text::Line::default(), text::Line::default()];
            let heading = wrapped("", &safe(&good.title), half.width);
            right.clear();
            right.extend(heading.lines().map(text::Line::plain));
            right.push(text::Line::default());
            right.extend(text::lines(&good, half));
            let mut left: Vec<_> = heading.lines().map(|_| text::Line::default()).collect();
            left.push(text::Line::default());
            left.extend(text::lines(ladder, half));
            text::beside(left, right, 4)
        }
        None => text::lines(ladder, how),
    };
    for line in lines {
        out.push_str(line.trimmed());
        out.push('\n');
    }
    out.push('\n');
    let often =
        ladder.times.map(|n| format!("The problem occurred {}; this is one of them.", times(n)));
    let notes = ladder.notes.iter().map(String::as_str);
    for note in notes.chain(often.as_deref()).chain(more) {
        out.push_str(&wrapped("", &safe(note), how.width));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

impl EventSink for LadderRun {
    fn event(&mut self, mut event: Event) {
        self.report.observe(&event);
        self.store.observe(&event);
        let is_shown = self.filter.as_mut().is_none_or(|filter| filter.admits(&mut event));
        if let Body::Incident { incident } = &event.body {
            self.report.end_incident(incident);
        }
        if !is_shown {
            return;
        }
        let id = event.connection.as_ref().map(|ids| &ids.session_id);
        match (&event.body, id) {
            (Body::Finding { finding }, _) => {
                let problem = self.report.problem(&event, finding);
                // Beyond the limit, none is asked for by its number.
                let _ = self.report.hold(problem);
            }
            (Body::Session { session }, Some(id)) => {
                if self.first.is_none() {
                    self.first = Some(Arc::clone(id));
                    self.store.keep(id);
                }
                if !matches!(session.outcome, Outcome::Connected | Outcome::Incomplete) {
                    self.failed = Some(Arc::clone(id));
                }
            }
            (Body::Epmd { .. }, Some(id)) if self.request.is_none() => {
                self.request = Some(Arc::clone(id));
                self.store.keep(id);
            }
            _ => {}
        }
    }
}

/// Columns that two ladders side by side need.
const WIDE: usize = 150;

/// Connections or problems that a hint lists.
const LISTED: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::record::{Handshake, Outcome, Role, State, Step, StepKind};
    use crate::render::samples;

    const HOSTILE: &str = "<img src=x onerror=alert(1)>@h\u{202e};end\x1b[2J\n#x\"'&";

    /// A run in which the node that dialed has this name.
    fn run(name: &str) -> LadderRun {
        let mut run = LadderRun::new(vec!["a.pcap".into()], LadderChoice::First);
        for mut event in samples::story() {
            match &mut event.body {
                Body::Session { session } => session.initiator.node = Some(name.into()),
                Body::Handshake { handshake } => handshake.name = Some(format!("{name}2").into()),
                Body::Finding { finding } => finding.title = format!("refused {name}"),
                _ => {}
            }
            run.event(event);
        }
        run
    }

    const TEXT: LadderFormat = LadderFormat::Text { width: 80, colour: false, ascii: true };

    #[test]
    fn a_name_from_the_wire_stays_text_in_every_format() {
        let svg = run(HOSTILE).draw(LadderFormat::Svg).unwrap();
        assert!(
            !svg.contains("<img") && !svg.contains('\u{202e}') && !svg.contains('\x1b'),
            "{svg}"
        );
        assert!(svg.contains("&lt;img src=x"), "{svg}");
        let inside = svg.split('<').filter(|part| part.contains("onerror"));
        assert!(inside.clone().count() > 0);
        assert!(
            inside
                .into_iter()
                .all(|part| part.find('>') < part.find("onerror") || part.starts_with("svg ")),
            "{svg}"
        );

        let diagram = run(HOSTILE).draw(LadderFormat::Mermaid).unwrap();
        for line in diagram.lines().skip(1) {
            let (_, text) = line.split_once([':', ' ']).unwrap();
            assert!(
                !text.contains(['<', '\x1b', '"', '\u{202e}']) || text.contains("<br/>"),
                "{line}"
            );
        }
        assert!(diagram.contains("#60;img src#61;x onerror#61;alert(1)#62;@h"), "{diagram}");
        assert!(!diagram.contains(" end "), "{diagram}");

        let text = run(HOSTILE).draw(TEXT).unwrap();
        assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
        assert!(text.contains("\\u{202e};end\\x1b[2J\\x0a"), "{text}");
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_in_the_middle_and_given_whole_before() {
        let name = format!("{}@{}", "n".repeat(120), "h".repeat(134));
        let text = run(&name).draw(TEXT).unwrap();
        assert!(text.contains(&format!("\n left:  {name}\n")), "{text}");
        let rows =
            text.lines().filter(|line| !line.contains(&name) && !line.starts_with("refused"));
        assert!(rows.clone().all(|line| line.len() <= 80), "{text}");
        assert!(rows.into_iter().any(|line| line.contains("nnn~hhh")), "{text}");
        let svg = run(&name).draw(LadderFormat::Svg).unwrap();
        assert!(svg.contains(&format!("<title>{name}</title>")), "{svg}");
    }

    #[test]
    fn a_problem_without_a_packet_is_an_error_that_names_it() {
        let mut run = LadderRun::new(vec!["a.pcap".into()], LadderChoice::Finding(1));
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.evidence.clear();
        run.event(event);
        let error = run.draw(TEXT).unwrap_err();
        let expected = "no packet of problem 1 was kept: two@192.168.0.103 refused the cookie of \
                        one@192.168.0.100";
        assert_eq!(error.to_string(), expected);
        assert!(error.hint().is_some_and(|hint| hint.contains("--session")));
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(text::columns_of("ab"), 2);
        assert_eq!(text::columns_of("節点"), 4);
        assert_eq!(text::cut("節点abc", 5, '~'), "節~bc");
        assert_eq!(text::cut("abcdef", 6, '~'), "abcdef");
    }

    #[test]
    fn connections_that_are_kept_have_a_bound_and_the_one_that_is_asked_for_stays() {
        let wanted: Arc<str> = "5f0c1a2b3c4d5e6f".into();
        let mut run =
            LadderRun::new(vec!["a.pcap".into()], LadderChoice::Session(Arc::clone(&wanted)));
        run.event(samples::session(State::Closed, Outcome::CookieMismatch));
        for n in 0..5000 {
            let mut event = samples::session(State::Closed, Outcome::Refused);
            let mut ids = (*event.connection.unwrap()).clone();
            ids.session_id = format!("{n:016x}").into();
            event.connection = Some(Arc::new(ids));
            run.event(event);
        }
        assert!(run.store.sessions().len() <= crate::limits::LADDER_SESSIONS + 2);
        assert!(run.draw(TEXT).unwrap().contains("cookie mismatch"));
    }

    #[test]
    fn messages_beyond_the_limit_are_counted() {
        let wanted: Arc<str> = "5f0c1a2b3c4d5e6f".into();
        let mut run = LadderRun::new(vec!["a.pcap".into()], LadderChoice::Session(wanted));
        for story in samples::story() {
            if let Body::Handshake { handshake } = &story.body {
                for from in [Role::Initiator, Role::Acceptor].into_iter().cycle().take(20) {
                    let handshake = Box::new(Handshake { from, ..(**handshake).clone() });
                    run.event(Event { body: Body::Handshake { handshake }, ..story.clone() });
                }
            }
        }
        run.event(samples::session(State::Closed, Outcome::TimedOut));
        let text = run.draw(TEXT).unwrap();
        assert!(text.contains("4 more messages of the handshake are left out."), "{text}");
    }

    /// A run in which EPMD answered on a third host.
    fn with_epmd_elsewhere(choice: LadderChoice) -> LadderRun {
        let mut run = LadderRun::new(vec!["a.pcap".into()], choice);
        let mut request = samples::epmd();
        let mut ids = (*request.connection.unwrap()).clone();
        ids.session_id = "0011223344556677".into();
        (ids.dest_ip, ids.dest_port) = ([10, 9, 9, 9].into(), 4369);
        request.connection = Some(Arc::new(ids));
        let step = |number, micros, from, what| Step {
            frame: FrameRef { input: 0, number },
            input: None,
            at: samples::at(micros),
            from: Some(from),
            what,
            count: None,
            until: None,
            bytes: None,
            messages: Vec::new(),
            detail: None,
        };
        if let Body::Epmd { epmd } = &mut request.body {
            epmd.steps = vec![
                step(7, 300, Role::Initiator, StepKind::Request),
                step(9, 512, Role::Acceptor, StepKind::Reply),
            ];
        }
        run.event(request);
        let mut session = samples::session(State::Closed, Outcome::Refused);
        if let Body::Session { session } = &mut session.body {
            session.steps = vec![
                step(12, 900, Role::Initiator, StepKind::Syn),
                step(13, 950, Role::Acceptor, StepKind::Rst),
            ];
        }
        run.event(session);
        run
    }

    #[test]
    fn epmd_on_another_host_has_a_line_of_its_own() {
        let text = with_epmd_elsewhere(LadderChoice::First).draw(TEXT).unwrap();
        let expected = r#"
 frame   ms  one@192.168.0.100               two@192.168.0.103   EPMD
                                                port 33435   10.9.9.9:4369
     7    0  |-- EPMD: port of "two"? ---------------------------->|
     9  0.2  |<-------------------------------- EPMD: port 33435 --|
    12  0.3  |-- SYN to port 33435 ----------------->|             |
    13  0.1  |<------------------------------- RST --|             |  two resets
"#;
        assert!(text.contains(expected), "{text}");
        let svg = with_epmd_elsewhere(LadderChoice::First).draw(LadderFormat::Svg).unwrap();
        assert_eq!(svg.matches("class=\"life\"").count(), 3, "{svg}");
        let diagram = with_epmd_elsewhere(LadderChoice::First).draw(LadderFormat::Mermaid).unwrap();
        assert!(diagram.contains("    A->>E: EPMD#58; port of #34;two#34;#63;"), "{diagram}");
    }
}
