//! Stage 8: events as sentences for a person at a terminal.
//!
//! In: an [`Event`] and the name of its input. Out: a block for each incident, the cluster as a table,
//! and a summary at the end; also, for those who watch or ask, a line for each finished connection
//! and request. Judges nothing: what is bad and why, the events say. Text from the wire is escaped,
//! since a node may call itself anything, terminal controls included.

mod account;
mod block;
mod changes;
mod cluster;
mod sentences;
mod sheet;
mod summary;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::Style;

use self::block::{LastConnection, Problem};
use self::sentences::{Ends, attempt, change, message, progress, repeated, request, trouble};
use self::sheet::{Place, TextWriter};
use self::summary::Tally;
use crate::observe::messages::MessageEvent;
use crate::record::{Body, Cluster, EpmdOutcome, Event, Stats};

/// How text is laid out.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// Columns at which explanations are wrapped.
    pub width: usize,
    /// Whether ANSI colours are written.
    pub colour: bool,
    /// Whether handshake messages are told one by one, and, when [grouped](Layout::Grouped),
    /// whether there is a time line at all.
    pub verbose: bool,
    /// When what is written.
    pub layout: Layout,
}

/// When what is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// What is wrong, worst first, when the input has ended: for captures that are there.
    Grouped,
    /// Everything as it is settled: for those who watch.
    Streaming,
}

/// Writes events as text.
pub(super) struct TextReport {
    options: TextOptions,
    several_inputs: bool,
    sheet: TextWriter,
    /// The latest connection told of: a finding about it names its ends.
    latest: Option<Arc<LastConnection>>,
    tally: Tally,
    /// Findings held back until the end, in order of time; at most [`HELD`].
    held: Vec<Problem>,
    /// Where in `held` each incident is.
    incidents: HashMap<Arc<str>, usize>,
    /// The cluster as last told, held back likewise.
    cluster: Option<Cluster>,
}

impl TextReport {
    /// Frames are named with their input where there are several.
    pub(super) fn new(options: TextOptions, several_inputs: bool) -> Self {
        Self {
            sheet: TextWriter::new(&options),
            options,
            several_inputs,
            latest: None,
            tally: Tally::default(),
            held: Vec::new(),
            incidents: HashMap::new(),
            cluster: None,
        }
    }

    /// Takes note of an event, whether or not it is written.
    pub(super) fn note(&mut self, event: &Event) {
        let Body::Session { session } = &event.body else { return };
        self.tally.on_session(session);
        if let Some(ids) = event.connection.as_deref() {
            self.latest = Some(Arc::new(LastConnection {
                session_id: Arc::clone(&ids.session_id),
                ends: Ends::of(session, Some(ids)),
                outcome: session.outcome,
            }));
        }
    }

    /// Writes what is to be said about one event, if anything is, and if it is time.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        input: Option<&Arc<str>>,
        event: &Event,
    ) -> io::Result<()> {
        let is_grouped = self.options.layout == Layout::Grouped;
        let input_of_frame = input.filter(|_| self.several_inputs);
        let frame = event.frame.map(|frame| frame.number);
        match &event.body {
            Body::Finding { finding } => {
                let problem = Problem {
                    at: event.at,
                    finding: (**finding).clone(),
                    connection: event.connection.clone(),
                    frame,
                    input: input_of_frame.cloned(),
                    latest: self.latest.clone(),
                    incident: None,
                };
                self.tally.on_finding(&problem);
                if is_grouped && self.held.len() < HELD {
                    let id = Arc::clone(&problem.finding.incident_id);
                    self.incidents.insert(id, self.held.len());
                    self.held.push(problem);
                    return Ok(());
                }
                self.sheet.date(out, event.at)?;
                return problem.write(&mut self.sheet, out, false);
            }
            Body::Incident { incident } => {
                self.tally.on_incident(incident);
                let held = self.incidents.get(&incident.incident_id);
                if let Some(problem) = held.and_then(|at| self.held.get_mut(*at)) {
                    problem.incident = Some((**incident).clone());
                    return Ok(());
                }
            }
            Body::Cluster { cluster } if is_grouped => {
                self.cluster = Some((**cluster).clone());
                return Ok(());
            }
            Body::Cluster { cluster } => {
                self.sheet.date(out, event.at)?;
                return cluster::write(&mut self.sheet, out, cluster);
            }
            Body::PairChange { pair_change } => {
                return changes::pair(&mut self.sheet, out, pair_change);
            }
            Body::Comparison { comparison } => {
                return changes::whole(&mut self.sheet, out, comparison);
            }
            Body::Stats { stats } if stats.is_final => return self.end(out, stats),
            Body::Epmd { .. }
            | Body::Handshake { .. }
            | Body::Session { .. }
            | Body::Node { .. }
            | Body::Anomaly { .. }
            | Body::Stats { .. } => {}
        }
        let Some((style, text)) = self.sentence(input, event) else { return Ok(()) };
        let place = Place { frame, input: input_of_frame.map(|input| &**input) };
        self.sheet.line(out, event.at, style, &text, &place)?;
        match &event.body {
            Body::Session { session } if self.options.verbose => {
                let Some(messages) = &session.messages else { return Ok(()) };
                let ends = Ends::of(session, event.connection.as_deref());
                account::write(&mut self.sheet, out, messages, &ends.names)
            }
            _ => Ok(()),
        }
    }

    /// Writes one message after the handshake.
    pub(super) fn message(
        &mut self,
        out: &mut impl Write,
        input: Option<&Arc<str>>,
        event: &MessageEvent<'_>,
    ) -> io::Result<()> {
        let MessageEvent { connection, message } = event;
        let packet = message.meta.packet;
        let latest = self.latest.as_ref();
        let latest = latest.filter(|latest| latest.session_id == connection.session_id);
        let names = latest.map(|latest| &latest.ends.names);
        let text = sentences::signal(message, connection, names);
        let input = input.filter(|_| self.several_inputs).map(|input| &**input);
        let place = Place { frame: Some(packet.frame.number), input };
        let plain = self.sheet.styles.plain;
        self.sheet.line(out, packet.at, plain, &text, &place)
    }

    /// What the time line says of an event, and in which style.
    fn sentence(&self, input: Option<&Arc<str>>, event: &Event) -> Option<(Style, String)> {
        let styles = &self.sheet.styles;
        let connection = event.connection.as_deref();
        let has_time_line = self.options.verbose || self.options.layout == Layout::Streaming;
        Some(match &event.body {
            Body::Incident { incident } => (styles.severity(incident.severity), repeated(incident)),
            Body::Stats { stats } => (styles.dim, progress(stats)),
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                let subject = input.map_or("capture", |input| &**input);
                (styles.notable, format!("{subject}: {}", trouble(anomaly)))
            }
            _ if !has_time_line => return None,
            Body::Epmd { epmd } => {
                let style = match epmd.outcome {
                    EpmdOutcome::Answered | EpmdOutcome::Unregistered => styles.plain,
                    _ => styles.notable,
                };
                (style, request(epmd, connection))
            }
            Body::Handshake { handshake } if self.options.verbose => {
                (styles.dim, message(handshake, connection))
            }
            Body::Session { session } => {
                (styles.outcome(session.outcome), attempt(session, connection))
            }
            Body::Node { node } => (styles.notable, change(node)?),
            Body::Anomaly { anomaly } => {
                let subject = match connection {
                    Some(ids) => {
                        format!("{} -> {}", sentences::source(ids), sentences::destination(ids))
                    }
                    None => input.map_or("capture", |input| &**input).to_owned(),
                };
                (styles.dim, format!("{subject}: {}", trouble(anomaly)))
            }
            Body::Handshake { .. }
            | Body::Finding { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. } => return None,
        })
    }

    /// Writes what was held back: problems, the worst first, then what is for information only, then
    /// the cluster.
    pub(super) fn release(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.incidents.clear();
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|problem| (Reverse(problem.finding.severity), problem.at));
        let (problems, notes): (Vec<_>, Vec<_>) = held.into_iter().partition(Problem::is_problem);
        let sheet = &mut self.sheet;
        problems.iter().try_for_each(|problem| problem.write(sheet, out, true))?;
        if !notes.is_empty() {
            sheet.space(out)?;
        }
        notes.iter().take(NOTES).try_for_each(|note| note.write_short(sheet, out))?;
        sheet.more(out, "", notes.len().saturating_sub(NOTES) as u64)?;
        match self.cluster.take() {
            Some(cluster) => cluster::write(&mut self.sheet, out, &cluster),
            None => Ok(()),
        }
    }

    fn end(&mut self, out: &mut impl Write, stats: &Stats) -> io::Result<()> {
        self.release(out)?;
        self.tally.write(&mut self.sheet, out, stats, self.options.layout)
    }
}

/// How many findings are held back: as many as there are incidents at a time. What comes then is
/// written at once.
const HELD: usize = 16_384;

/// How many findings that are for information only are told in text.
const NOTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Change, Outcome, Pair, Severity, State, Turn};
    use crate::render::samples;
    use crate::render::words::is_unsafe;

    fn told(events: &[Event], options: TextOptions) -> String {
        let mut human = TextReport::new(options, false);
        let mut out = Vec::new();
        for event in events {
            human.note(event);
            human.write(&mut out, Some(&"a.pcap".into()), event).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    const PLAIN: TextOptions =
        TextOptions { width: 80, colour: false, verbose: false, layout: Layout::Grouped };

    const LIVE: TextOptions = TextOptions { layout: Layout::Streaming, ..PLAIN };

    const VERBOSE: TextOptions = TextOptions { verbose: true, ..PLAIN };

    /// Findings of their own incidents, each with its number in its title.
    fn findings(n: usize) -> Vec<Event> {
        let mut events = vec![samples::finding(); n];
        for (n, event) in events.iter_mut().enumerate() {
            let finding = finding_of(event);
            finding.title = format!("title {n}");
            finding.incident_id = format!("{n:016x}").into();
        }
        events
    }

    fn finding_of(event: &mut Event) -> &mut crate::record::Finding {
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding
    }

    #[test]
    fn a_capture_reads_as_what_is_wrong_and_then_the_rest() {
        let expected = "\
2014-05-25, times in UTC
14:32:25.090  a.pcap: The input ends in the middle of a record: ends inside a packet record, \
byte 4711

HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
      Between one@192.168.0.100 and two@192.168.0.103: 3 times from 2014-05-25
      14:32:25.080 to 14:32:25.090 UTC (cookie-mismatch, likely).
      one@192.168.0.100 answered the challenge with the cookie cookies.txt:1;
      two@192.168.0.103 closed the connection without an acknowledgement.
      Seen in the capture:
        frame 19  one@192.168.0.100 answered the challenge (challenge_reply)
        frame 21  two@192.168.0.103 closed the connection (FIN without
                  challenge_ack)
      What to do:
        - Give both nodes the same cookie.
      Other readings that the capture leaves open:
        - two@192.168.0.103 closed for another reason at this very point
      Look into the log of two@192.168.0.103: the other side logs nothing about
      this.
      More about it: beamscope explain cookie-mismatch

2 nodes; pairs: 1 failed
  one@192.168.0.100  10.0.0.1, OTP 25 to 26, hidden, 1 restart
  two@192.168.0.103  192.168.0.100, 10.0.0.1, OTP 25 to 26, hidden, 1 restart
  one@192.168.0.100 -> two@192.168.0.103: refused over the cookie, 3 times (with cookies.txt:1), crossed over

Summary
  1 problem found: 1 cookie-mismatch.
  Failed connections: 3 refused over the cookie.
  Everything else is well: 1 connection, 4 requests to port mappers answered.
  1,234 packets of 56.7 kB in 90.0 ms, from 2014-05-25 14:32:25.000 to
  14:32:25.090 UTC.
  The capture does not show everything:
    - 2 packets cut short by the capture's snapshot length.
    - The input ends in the middle of a record.
";
        assert_eq!(told(&samples::story(), PLAIN), expected);
    }

    #[test]
    fn those_who_watch_are_told_at_once() {
        let expected = "\
2014-05-25, times in UTC
14:32:25.000  192.168.0.100 asked the port mapper of 192.168.0.103 for \"two\": port 33435  (frame 9)
14:32:25.000  192.168.0.100 asked the port mapper of 192.168.0.103 for all names: 1 name  (frame 11)
14:32:25.060  one@192.168.0.100 restarted at 10.0.0.1  (frame 14)
14:32:25.080  one@192.168.0.100 -> two@192.168.0.103: refused over the cookie (likely)  (frame 21)

HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
      Between one@192.168.0.100 and two@192.168.0.103: first at 14:32:25.080
      (cookie-mismatch, likely).
";
        let text = told(&samples::story(), LIVE);
        assert!(text.starts_with(expected), "{text}");
        let expected = "
      More about it: beamscope explain cookie-mismatch

14:32:25.090  cookie-mismatch happened 3 times between one@192.168.0.100 and two@192.168.0.103, \
from 2014-05-25 14:32:25.080 to 14:32:25.090 UTC
14:32:25.090  a.pcap: The input ends in the middle of a record: ends inside a packet record, \
byte 4711

2 nodes; pairs: 1 failed
";
        assert!(text.contains(expected), "{text}");
        let expected = "
Summary
  1 problem found: 1 cookie-mismatch.
    - HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_worst_come_first_then_the_earliest_and_what_is_for_information_last() {
        let mut events = findings(4);
        finding_of(&mut events[0]).severity = Severity::Info;
        finding_of(&mut events[1]).severity = Severity::Low;
        events[2].at = samples::at(80_800);
        let mut incident = samples::incident();
        let Body::Incident { incident: end } = &mut incident.body else { unreachable!() };
        end.incident_id = format!("{:016x}", 0).into();
        events.push(incident);
        let text = told(&[events, vec![samples::stats()]].concat(), PLAIN);
        let places: Vec<_> = [
            "HIGH  title 3\n",
            "HIGH  title 2\n",
            "LOW  title 1\n",
            "\n\nINFO  title 0  (cookie-mismatch, 3 times, frame 21)\n\nSummary",
        ]
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")))
        .into();
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("3 problems found"), "what is for information is none: {text}");
    }

    #[test]
    fn what_is_held_back_has_a_bound_and_what_comes_then_is_written_at_once() {
        let mut human = TextReport::new(PLAIN, false);
        let mut out = Vec::new();
        for event in findings(HELD + 1) {
            assert!(out.is_empty());
            human.write(&mut out, None, &event).unwrap();
        }
        let text = String::from_utf8(std::mem::take(&mut out)).unwrap();
        assert!(text.contains(&format!("HIGH  title {HELD}\n")), "{text}");
        human.release(&mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("HIGH  title 0\n"));
    }

    #[test]
    fn a_connection_that_failed_after_it_stood_is_not_called_well() {
        let mut events =
            vec![samples::session(State::Closed, Outcome::Connected), samples::finding()];
        let mut stats = samples::stats();
        let Body::Stats { stats: totals } = &mut stats.body else { unreachable!() };
        totals.sessions = [(Outcome::Connected, 3)].into();
        events.extend([samples::incident(), stats]);
        let text = told(&events, PLAIN);
        assert!(text.contains("is well: 4 requests to port mappers answered."), "{text}");
    }

    #[test]
    fn what_was_not_shown_is_counted() {
        let text = told(&[samples::stats()], PLAIN);
        assert!(text.contains("  1 finding below the severity asked for.\n"), "{text}");
    }

    #[test]
    fn changes_of_a_node_are_told_and_news_of_it_are_not() {
        let events = [
            Change::Seen,
            Change::Updated,
            Change::Restarted,
            Change::Moved,
            Change::Duplicate,
            Change::Address,
        ]
        .map(|change| samples::changed("a@h", change));
        for options in [VERBOSE, LIVE] {
            let text = told(&events, options);
            let lines: Vec<_> = text.lines().skip(1).map(|line| &line[14..]).collect();
            assert_eq!(
                lines,
                [
                    "a@h restarted at 10.0.0.1  (frame 14)",
                    "a@h is another incarnation now at 10.0.0.1, and no longer elsewhere  (frame 14)",
                    "two nodes call themselves a@h, at 192.168.0.100 and 10.0.0.1  (frame 14)",
                    "a@h was also seen at 10.0.0.1  (frame 14)",
                ]
            );
        }
        assert_eq!(told(&events, PLAIN), "");
    }

    #[test]
    fn what_changed_between_two_captures_is_a_line_each() {
        use Outcome::{Connected, Refused, TimedOut};
        let mut hostile = samples::change(Turn::Gone, Some(Connected), None);
        let Body::PairChange { pair_change } = &mut hostile.body else { unreachable!() };
        pair_change.nodes[0] = "\x1b[2J".into();
        let events = [
            samples::change(Turn::Broken, Some(Connected), Some(Refused)),
            samples::change(Turn::Changed, Some(Refused), Some(TimedOut)),
            samples::change(Turn::New, None, Some(Connected)),
            hostile,
            samples::change(Turn::Fixed, Some(TimedOut), Some(Connected)),
            samples::comparison(),
        ];
        let expected = "\
broken   a@h1 and b@h2: connected, now refused with RST or ICMP (3 failed)
changed  a@h1 and b@h2: refused with RST or ICMP (3 failed), now timed out in mid-handshake \
(3 failed)
new      a@h1 and b@h2: connected
gone     \\x1b[2J and b@h2: connected, now undecided or not seen
fixed    a@h1 and b@h2: timed out in mid-handshake (3 failed), now connected
2 pairs unchanged. 1 connection that decided nothing.
";
        assert_eq!(told(&events, PLAIN), expected);
    }

    #[test]
    fn a_large_cluster_is_told_in_a_screenful_of_rows() {
        let mut cluster = samples::pair();
        cluster.nodes = (0..50).map(|n| samples::node(&format!("n{n}@h"), None)).collect();
        cluster.connected = vec![
            Pair {
                nodes: ["n0@h".into(), "n1@h".into()],
                since: samples::at(0),
                closed: false
            };
            1234
        ];
        cluster.never_tried = vec![["n2@h".into(), "n3@h".into()]];
        let group = |nodes: &[&str], refused: &[&str]| crate::record::CookieGroup {
            nodes: nodes.iter().map(|name| (*name).into()).collect(),
            cookies: vec!["cookies.txt:1".into()],
            refused: refused.iter().map(|name| (*name).into()).collect(),
            sessions: vec!["5f0c1a2b3c4d5e6f".into()],
        };
        cluster.cookies = vec![group(&["n0@h"; 10], &["n4@h"])];
        cluster.left_out = 3;
        let text = told(&[samples::cluster(cluster), samples::stats()], PLAIN);
        for part in [
            "50 nodes; pairs: 1,234 connected, 1 failed and 1 never tried\n",
            "\n  and 30 more\n",
            "\n  never tried: n2@h and n3@h\n",
            "n0@h, n0@h and 2 more (cookies.txt:1); at odds with n4@h\n",
            "\n  and 3 more\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().count() < 40, "{text}");
    }

    #[test]
    fn the_summary_repeats_the_worst_titles_and_counts_the_others() {
        let mut events = findings(15);
        finding_of(&mut events[1]).title = "title 0".into();
        finding_of(&mut events[14]).severity = Severity::Critical;
        events.push(samples::stats());
        let text = told(&events, PLAIN);
        assert!(
            text.contains("\n    - CRITICAL  title 14\n    - HIGH  title 0  (2 times)\n"),
            "{text}"
        );
        assert!(text.contains("    - HIGH  title 9\n    - and 4 more\n"), "{text}");
    }

    #[test]
    fn a_connection_that_stood_is_told_from_hand_shake_to_close() {
        let events = [State::Established, State::Closed, State::Open]
            .map(|state| samples::session(state, Outcome::Connected));
        let text = told(&events, LIVE);
        let fates: Vec<_> =
            text.lines().skip(1).map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(
            fates,
            [
                "connected in 412 µs  (frame 21)",
                "closed by two@192.168.0.103 after 80.2 ms  (frame 21)",
                "connected, still open after 80.2 ms  (frame 21)"
            ]
        );
    }

    #[test]
    fn a_finding_about_another_connection_names_no_node_of_the_last() {
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.evidence[1].session_id = Some("0000000000000000".into());
        let text = told(&[event], LIVE);
        assert!(text.contains("frame 19  192.168.0.100:37832 answered the challenge"), "{text}");
        assert!(text.contains("frame 21  the acceptor closed"), "{text}");
        assert!(text.contains("log of 192.168.0.103:33435"), "{text}");
    }

    #[test]
    fn a_node_cannot_speak_to_the_terminal() {
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.title = "\x1b]0;owned\x07 \u{9b}31m \u{202e}gnp.exe\r\n".into();
        finding.evidence[0].what = crate::record::Shows::Note("\x1b[2J".into());
        finding.evidence[0].input = Some("\x1b.pcap".into());
        let text = told(&[event], LIVE);
        assert!(text.contains(r"\x1b]0;owned\x07 \x9b31m \u{202e}gnp.exe\x0d\x0a"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text}");
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        let options = TextOptions { colour: true, ..PLAIN };
        assert!(told(&samples::story(), options).contains("\x1b[1m\x1b[31mHIGH\x1b[0m"));
        assert!(!told(&samples::story(), PLAIN).contains('\x1b'));
    }

    #[test]
    fn handshake_messages_are_told_to_those_who_ask() {
        let line = "send_name from the initiator \"one@192.168.0.100\"  (frame 14)";
        assert!(told(&samples::story(), VERBOSE).contains(line));
        assert!(!told(&samples::story(), PLAIN).contains("send_name"));
    }

    #[test]
    fn nobody_is_said_to_have_connected_who_got_no_answer() {
        let mut event = samples::epmd();
        let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
        (epmd.request, epmd.outcome) = (None, EpmdOutcome::Unanswered);
        let line = "192.168.0.100 tried to reach the port mapper of 192.168.0.103: unanswered";
        assert!(told(&[event], LIVE).contains(line));
    }

    #[test]
    fn a_registration_reads_as_asked_granted_and_ended() {
        let text =
            [EpmdOutcome::Answered, EpmdOutcome::RegistrationRefused, EpmdOutcome::Unregistered]
                .map(|outcome| {
                    let mut event = samples::epmd();
                    let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
                    (epmd.request, epmd.outcome) = (Some("ALIVE2_REQ"), outcome);
                    told(&[event], LIVE)
                })
                .concat();
        assert!(text.contains("103 to register \"two\" at port 33435: registered  ("), "{text}");
        assert!(text.contains("\" at port 33435: registration refused  ("), "{text}");
        assert!(text.contains("100 had registered \"two\" at port 33435 with"), "{text}");
    }

    #[test]
    fn what_is_undecided_needs_no_doubt_beside_it() {
        let text = told(&[samples::session(State::Closed, Outcome::Incomplete)], LIVE);
        assert!(text.contains("undecided for want of packets  (frame"), "{text}");
    }

    #[test]
    fn an_empty_capture_says_so() {
        let mut event = samples::stats();
        let stats = Stats { is_final: true, complete: true, ..Stats::default() };
        event.body = Body::Stats { stats: Box::new(stats) };
        let text = told(&[event], LIVE);
        assert!(text.starts_with("Summary\n  No Erlang connection"), "{text}");
        assert!(text.ends_with("the capture lacks nothing.\n"), "{text}");
    }
}
