//! Events as text for a person at a terminal.
//!
//! In: events and messages. Out: the summary, a block for each problem, and the cluster as a table; for live captures,
//! blocks as they come and the summary at the end. Live and with `verbose`, also a time line. All words come from the [report](super::report);
//! this folder lays them out. Text from the wire is escaped, since a node name may contain anything.

mod changes;
mod cluster;
mod messages;
mod problem;
mod summary;
mod writer;

use std::io::{self, Write};

pub(super) use self::writer::Styles;
use self::writer::TextWriter;
use super::report::{LadderStore, Report, Sections, TimelineDetail};
use super::{InputNames, Renderer};
use crate::cursor::LineBuffer;
use crate::observe::messages::MessageEvent;
use crate::record::{Body, Event, Stats};
use crate::time::Zone;

/// How text is laid out.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// Columns at which explanations are wrapped.
    pub width: usize,
    /// True to write ANSI colours.
    pub colour: bool,
    /// True to write each handshake message, and a time line also when [grouped](Layout::Grouped).
    pub verbose: bool,
    /// The order in which problems are written.
    pub layout: Layout,
    /// True to write of a [grouped](Layout::Grouped) report the summary only.
    pub brief: bool,
    /// True to write ASCII only.
    pub ascii: bool,
    /// The zone of all times.
    pub zone: Zone,
}

/// The order in which problems are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Layout {
    /// The worst first, when the input has ended: for files.
    #[default]
    Grouped,
    /// Each as it is found: for live captures.
    Streaming,
}

/// Writes events as text.
pub(super) struct TextReport {
    options: TextOptions,
    writer: TextWriter,
    report: Report,
    /// What a ladder of the first problem is drawn from; only for a report that is written at the end.
    ladders: Option<LadderStore>,
}

impl TextReport {
    /// Frames have the name of their input if there are several inputs; `hiding` are the options that may hide
    /// findings.
    pub(super) fn new(options: TextOptions, inputs: InputNames, hiding: Vec<&'static str>) -> Self {
        let draws = matches!(options.layout, Layout::Grouped) && !options.brief;
        let ladders = draws.then(|| LadderStore::new(inputs.clone(), None));
        let report = Report::new(inputs, hiding, options.zone.clone());
        Self { writer: TextWriter::new(&options), options, report, ladders }
    }

    const fn is_grouped(&self) -> bool {
        matches!(self.options.layout, Layout::Grouped)
    }

    const fn timeline(&self) -> TimelineDetail {
        match (self.options.verbose, self.is_grouped()) {
            (true, _) => TimelineDetail::Handshakes,
            (false, false) => TimelineDetail::Events,
            (false, true) => TimelineDetail::Essential,
        }
    }

    /// Writes what the report holds: problems, notes, and the cluster.
    fn sections(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Sections { groups, notes, cluster } = self.report.take_sections();
        let writer = &mut self.writer;
        let mut number = 1;
        let first = groups.first().and_then(|group| group.first());
        let ladder = first
            .zip(self.ladders.as_ref())
            .and_then(|(problem, ladders)| ladders.of_finding(&problem.finding.incident_id));
        let mut ladder = ladder.and_then(|ladder| problem::DrawnLadder::of(ladder, &self.options));
        for group in &groups {
            let verbose = self.options.verbose;
            problem::write_group(writer, out, group, number, verbose, ladder.take())?;
            number += group.len();
        }
        if !notes.is_empty() {
            writer.blank_line(out)?;
        }
        notes.iter().take(NOTES).try_for_each(|note| problem::write_short(writer, out, note))?;
        let options = "--json has all, --rule, --node and --pair some";
        writer.more(out, "", notes.len().saturating_sub(NOTES) as u64, options)?;
        cluster.map_or(Ok(()), |cluster| cluster::write(writer, out, &cluster))
    }

    fn end(&mut self, out: &mut impl Write, stats: &Stats) -> io::Result<()> {
        if stats.packets == 0 {
            // The reason is an error, which is written elsewhere.
            return Ok(());
        }
        let (summary, layout) = (self.report.summary(stats), self.options.layout);
        if self.is_grouped() {
            self.writer.blank_line(out)?;
            summary::write_head(&mut self.writer, out, &summary)?;
            if self.options.brief {
                self.report.take_sections();
            } else {
                self.sections(out)?;
            }
        } else {
            self.sections(out)?;
            self.writer.blank_line(out)?;
            self.writer.heading(out, "", "Summary")?;
            summary::write_head(&mut self.writer, out, &summary)?;
        }
        summary::write_rest(&mut self.writer, out, &summary, layout)
    }
}

impl Renderer for TextReport {
    fn observe(&mut self, event: &Event) {
        self.report.observe(event);
        if let Some(ladders) = &mut self.ladders {
            ladders.observe(event);
        }
    }

    fn record(&mut self, _seq: u64, event: &Event, out: &mut LineBuffer) -> io::Result<()> {
        match &event.body {
            Body::Finding { finding } => {
                let mut problem = self.report.problem(event, finding);
                if self.is_grouped() {
                    match self.report.hold(problem) {
                        Ok(()) => return Ok(()),
                        Err(too_many) => problem = *too_many,
                    }
                }
                self.writer.date(out, event.at)?;
                return problem::write(&mut self.writer, out, &problem);
            }
            Body::Incident { incident } if self.report.end_incident(incident) => return Ok(()),
            Body::Cluster { cluster } => {
                self.report.hold_cluster(cluster);
                if self.is_grouped() {
                    return Ok(());
                }
                self.writer.date(out, event.at)?;
                return self.sections(out);
            }
            Body::PairChange { pair_change } => {
                return changes::pair(&mut self.writer, out, pair_change);
            }
            Body::Comparison { comparison } => {
                return changes::whole(&mut self.writer, out, comparison);
            }
            Body::Stats { stats } if stats.is_final => return self.end(out, stats),
            // The report has it among what the capture lacks.
            Body::Anomaly { .. } if self.is_grouped() && !self.options.verbose => return Ok(()),
            Body::Incident { .. }
            | Body::Epmd { .. }
            | Body::Handshake { .. }
            | Body::Session { .. }
            | Body::Node { .. }
            | Body::Anomaly { .. }
            | Body::Stats { .. } => {}
        }
        let Some(entry) = self.report.entry(event, self.timeline()) else { return Ok(()) };
        self.writer.entry(out, &entry)?;
        if self.options.verbose {
            messages::write(&mut self.writer, out, &Report::totals(event))?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        _seq: u64,
        event: &MessageEvent<'_>,
        out: &mut LineBuffer,
    ) -> io::Result<()> {
        self.writer.entry(out, &self.report.message_entry(event))
    }

    fn set_inputs(&mut self, inputs: InputNames) {
        self.report.set_inputs(inputs);
    }

    fn finish(&mut self, out: &mut LineBuffer) -> io::Result<()> {
        self.sections(out)
    }
}

/// How many findings that are for information only are written.
const NOTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Change, EpmdOutcome, Outcome, Pair, PairChangeKind, Severity, State};
    use crate::render::escape::is_unsafe;
    use crate::render::report::MAX_HELD;
    use crate::render::samples;

    fn inputs() -> InputNames {
        InputNames::new(vec!["a.pcap".into()])
    }

    fn written(events: &[Event], options: TextOptions) -> String {
        let mut text = TextReport::new(options, inputs(), vec!["--min-severity"]);
        let mut out = LineBuffer::default();
        for (seq, event) in (1..).zip(events) {
            text.observe(event);
            text.record(seq, event, &mut out).unwrap();
        }
        str::from_utf8(out.bytes()).unwrap().to_owned()
    }

    fn plain() -> TextOptions {
        TextOptions { width: 80, ..TextOptions::default() }
    }

    fn live() -> TextOptions {
        TextOptions { layout: Layout::Streaming, ..plain() }
    }

    fn verbose() -> TextOptions {
        TextOptions { verbose: true, ..plain() }
    }

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
    fn a_file_is_written_as_summary_then_problems_and_cluster() {
        let expected = "\
1 problem open. 1,234 packets (56.7 kB) in 90.0 ms, from 2014-05-25 14:32:25.000
to 14:32:25.090 UTC; the capture is not complete.

  OPEN  HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
              3 times, from 2014-05-25 14:32:25.080 to 14:32:25.090
              Fix: Give both nodes the same cookie.

1.    two@192.168.0.103 refused the cookie of one@192.168.0.100
      Between one@192.168.0.100 and two@192.168.0.103: 3 times from 2014-05-25
      14:32:25.080 to 14:32:25.090 (cookie-mismatch, likely).
      one@192.168.0.100 answered the challenge with the cookie cookies.txt:1;
      two@192.168.0.103 closed the connection without an acknowledgement.

 frame  ms  one@192.168.0.100                              two@192.168.0.103
                                                              port 33435
     9      │◄───────────────────── EPMD: \"two\" is at port 33435 ──│
    14   0  │── send_name ────────────────────────────────────────►│
    19      │── challenge_reply ──────────────────────────────────►│
            │◄ ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  challenge_ack │ never sent
    21      │◄────────────────────────────────────────────── FIN ──│

      What to do:
        - Give both nodes the same cookie.
      Not ruled out:
        - two@192.168.0.103 closed for another reason at this very point
      Look at the log of two@192.168.0.103; the other side logs nothing about
      this.
      More about it: beamscope explain cookie-mismatch

2 nodes; pairs: 1 failed
  one@192.168.0.100  10.0.0.1, OTP 25 to 26, hidden, 1 restart
  two@192.168.0.103  192.168.0.100, 10.0.0.1, OTP 25 to 26, hidden, 1 restart
  one@192.168.0.100 -> two@192.168.0.103: cookie mismatch, 3 times (cookie
    cookies.txt:1), cookies swapped

3 connections failed: cookie mismatch.
Without a problem: 1 connection, 4 EPMD requests answered.
The capture is not complete:
  - 2 packets cut short by the capture's snapshot length.
  - The input ends in the middle of a record: ends inside a packet record, byte
    4711.
";
        assert_eq!(written(&samples::story(), plain()), expected);
    }

    #[test]
    fn a_live_capture_is_written_as_it_comes() {
        let expected = "\
2014-05-25, times in UTC
14:32:25.000  192.168.0.100 asked EPMD at 192.168.0.103 for \"two\": port 33435  (frame 9)
14:32:25.000  192.168.0.100 asked EPMD at 192.168.0.103 for all names: 1 name  (frame 11)
14:32:25.060  one@192.168.0.100 restarted at 10.0.0.1  (frame 14)
14:32:25.080  one@192.168.0.100 -> two@192.168.0.103: cookie mismatch (likely)  (frame 21)

HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
      Between one@192.168.0.100 and two@192.168.0.103: first at 14:32:25.080
      (cookie-mismatch, likely).
";
        let text = written(&samples::story(), live());
        assert!(text.starts_with(expected), "{text}");
        let expected = "
      More about it: beamscope explain cookie-mismatch

14:32:25.090  open: two@192.168.0.103 refused the cookie of one@192.168.0.100 (3 times from \
2014-05-25 14:32:25.080 to 14:32:25.090)
14:32:25.090  a.pcap: The input ends in the middle of a record: ends inside a packet record, \
byte 4711

2 nodes; pairs: 1 failed
";
        assert!(text.contains(expected), "{text}");
        let expected = "
Summary
1 problem open. 1,234 packets (56.7 kB) in 90.0 ms, from 2014-05-25 14:32:25.000
to 14:32:25.090 UTC; the capture is not complete.

  OPEN  HIGH  two@192.168.0.103 refused the cookie of one@192.168.0.100
              3 times, from 2014-05-25 14:32:25.080 to 14:32:25.090
              Fix: Give both nodes the same cookie.
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_worst_problems_come_first_then_the_earliest_and_notes_last() {
        let mut events = findings(4);
        finding_of(&mut events[0]).severity = Severity::Info;
        finding_of(&mut events[1]).severity = Severity::Low;
        events[2].at = samples::at(80_800);
        let mut incident = samples::incident();
        let Body::Incident { incident: end } = &mut incident.body else { unreachable!() };
        end.incident_id = format!("{:016x}", 0).into();
        (end.severity, end.found_severity) = (Severity::Info, Severity::Info);
        events.push(incident);
        let text = written(&[events, vec![samples::stats()]].concat(), plain());
        let places: Vec<_> = [
            "3 problems open.",
            "  OPEN  HIGH  title 3\n",
            "  OPEN  HIGH  title 2\n",
            "  OPEN  LOW   title 1\n",
            "\n1.    title 3\n",
            "\n2.    title 2\n",
            "\n3.    title 1\n",
            "\n\nINFO  title 0 (cookie-mismatch, 3 times, frame 21)\n",
        ]
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part}: {text}")))
        .into();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn of_many_problems_of_one_cause_the_first_are_written_in_full() {
        let of = |n: usize, options| {
            let text = written(&[findings(n), vec![samples::stats()]].concat(), options);
            let remedies = text.matches("        - Give both nodes the same cookie.").count();
            assert_eq!(remedies, 1, "{text}");
            // The first one has a ladder in place of the list.
            (text.matches("Seen in the capture:").count() + text.matches(" frame  ").count(), text)
        };
        assert_eq!(of(5, plain()).0, 5);
        let (in_full, text) = of(7, plain());
        assert_eq!(in_full, 3);
        let rest = "\n7.    title 6\n";
        assert!(text.contains(rest), "{text}");
        assert!(text.contains("The packets of 4 to 7: --verbose, or --pair"), "{text}");
        assert_eq!(of(7, verbose()).0, 7);
    }

    #[test]
    fn held_problems_have_a_bound_and_later_ones_are_written_at_once() {
        let mut text = TextReport::new(plain(), inputs(), vec!["--min-severity"]);
        let mut out = LineBuffer::default();
        for event in findings(MAX_HELD + 1) {
            assert_eq!(out.len(), 0);
            text.record(1, &event, &mut out).unwrap();
        }
        let written = str::from_utf8(out.bytes()).unwrap();
        assert!(written.contains(&format!("HIGH  title {MAX_HELD}\n")), "{written}");
        out.truncate(0);
        text.finish(&mut out).unwrap();
        assert!(str::from_utf8(out.bytes()).unwrap().contains("1.    title 0\n"));
    }

    #[test]
    fn a_connection_that_was_lost_is_not_counted_as_without_a_problem() {
        let mut events =
            vec![samples::session(State::Closed, Outcome::Connected), samples::finding()];
        let mut stats = samples::stats();
        let Body::Stats { stats: totals } = &mut stats.body else { unreachable!() };
        totals.sessions = [(Outcome::Connected, 3)].into();
        events.extend([samples::incident(), stats]);
        let text = written(&events, plain());
        assert!(text.contains("Without a problem: 4 EPMD requests answered."), "{text}");
    }

    #[test]
    fn hidden_findings_are_counted() {
        let text = written(&[samples::stats()], plain());
        assert!(text.starts_with("1 finding is hidden by --min-severity. 1,234 packets"), "{text}");
    }

    #[test]
    fn changes_of_a_node_are_written_and_updates_are_not() {
        let events = [
            Change::Seen,
            Change::Updated,
            Change::Restarted,
            Change::Moved,
            Change::Duplicate,
            Change::Address,
        ]
        .map(|change| samples::changed("a@h", change));
        for options in [verbose(), live()] {
            let text = written(&events, options);
            let lines: Vec<_> = text.lines().skip(1).map(|line| &line[14..]).collect();
            assert_eq!(
                lines,
                [
                    "a@h restarted at 10.0.0.1  (frame 14)",
                    "a@h now runs with another creation at 10.0.0.1; the former address is silent  (frame 14)",
                    "two nodes use the name a@h, at 192.168.0.100 and 10.0.0.1  (frame 14)",
                    "a@h was also seen at 10.0.0.1  (frame 14)",
                ]
            );
        }
        assert_eq!(written(&events, plain()), "");
    }

    #[test]
    fn a_comparison_has_a_line_for_each_changed_pair() {
        use Outcome::{Connected, Refused, TimedOut};
        let mut hostile = samples::change(PairChangeKind::Gone, Some(Connected), None);
        let Body::PairChange { pair_change } = &mut hostile.body else { unreachable!() };
        pair_change.nodes[0] = "\x1b[2J".into();
        let events = [
            samples::change(PairChangeKind::Broken, Some(Connected), Some(Refused)),
            samples::change(PairChangeKind::Changed, Some(Refused), Some(TimedOut)),
            samples::change(PairChangeKind::New, None, Some(Connected)),
            hostile,
            samples::change(PairChangeKind::Fixed, Some(TimedOut), Some(Connected)),
            samples::comparison(),
        ];
        let expected = "\
broken   a@h1 and b@h2: connected, now refused with RST or ICMP (3 failed)
changed  a@h1 and b@h2: refused with RST or ICMP (3 failed), now timed out during the handshake \
(3 failed)
new      a@h1 and b@h2: connected
gone     \\x1b[2J and b@h2: connected, now undecided or not seen
fixed    a@h1 and b@h2: timed out during the handshake (3 failed), now connected
2 pairs unchanged. 1 connection undecided.
";
        assert_eq!(written(&events, plain()), expected);
    }

    #[test]
    fn a_large_cluster_fits_on_a_screen() {
        let mut cluster = samples::pair();
        cluster.nodes = (0..50).map(|n| samples::node(&format!("n{n}@h"), None)).collect();
        let pair = |n: usize| Pair {
            nodes: [format!("n{n}@h").into(), "n@h".into()],
            since: samples::at(0),
            closed: false,
            tls: false,
        };
        cluster.connected = (0..1234).map(pair).collect();
        cluster.never_tried = vec![["n2@h".into(), "n3@h".into()]];
        let group = |nodes: &[&str], refused: &[&str]| crate::record::CookieGroup {
            nodes: nodes.iter().map(|name| (*name).into()).collect(),
            cookies: vec!["cookies.txt:1".into()],
            refused: refused.iter().map(|name| (*name).into()).collect(),
            sessions: vec!["5f0c1a2b3c4d5e6f".into()],
        };
        cluster.cookies = vec![group(&["n0@h"; 10], &["n4@h"])];
        cluster.left_out = 3;
        let text = written(&[samples::cluster(cluster), samples::stats()], plain());
        for part in [
            "50 nodes; pairs: 1,234 connected, 1 failed and 1 never tried\n",
            "\n  and 30 more: --json has all, --node and --host some\n",
            "\n  never tried: n2@h and n3@h\n",
            " 2 more\n    (cookies.txt:1); mismatch with n4@h\n",
            "\n  and 3 more\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.lines().count() < 40, "{text}");
    }

    #[test]
    fn the_summary_has_a_line_for_each_problem_and_more_about_the_worst() {
        let mut events = findings(15);
        finding_of(&mut events[1]).title = "title 0".into();
        finding_of(&mut events[14]).severity = Severity::Critical;
        events.push(samples::stats());
        let text = written(&events, plain());
        let first = "  OPEN  CRITICAL  title 14\n                  at 14:32:25.080 (frame 21)\n";
        assert!(text.contains(first), "{text}");
        let twice = "  OPEN  HIGH      title 0\n                  at 14:32:25.080 (frame 21); and 1 other \
                     problem of this kind\n";
        assert!(text.contains(twice), "{text}");
        assert!(text.contains("  OPEN  HIGH      title 9\n                  at 14:"), "{text}");
        let titles_alone = "  OPEN  HIGH      title 12\n  OPEN  HIGH      title 13\n\n";
        assert!(text.contains(titles_alone), "{text}");

        let brief = written(&events, TextOptions { brief: true, ..plain() });
        assert!(text.starts_with(&brief[..brief.find(titles_alone).unwrap()]), "{brief}");
        assert!(text.contains("Seen in the capture:") && !brief.contains("Seen in the capture:"));
    }

    #[test]
    fn a_connection_is_written_when_established_and_when_closed() {
        let events = [State::Established, State::Closed, State::Open]
            .map(|state| samples::session(state, Outcome::Connected));
        let text = written(&events, live());
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
        finding.nodes = vec!["one@h1".into(), "two@h2".into()];
        let text = written(&[event], live());
        assert!(text.contains("frame 19  192.168.0.100:37832 answered the challenge"), "{text}");
        assert!(text.contains("frame 21  the acceptor closed"), "{text}");
        assert!(text.contains("log of 192.168.0.103:33435"), "{text}");
    }

    #[test]
    fn a_node_whose_address_is_known_is_named() {
        let seen = samples::changed("one@h1", Change::Updated);
        let mut finding = samples::finding();
        let Body::Finding { finding: it } = &mut finding.body else { unreachable!() };
        it.nodes = vec!["one@h1".into(), "two@h2".into()];
        let text = written(&[seen, finding], live());
        assert!(text.contains("frame 19  one@h1 answered the challenge"), "{text}");
    }

    #[test]
    fn control_characters_of_a_node_are_escaped() {
        let mut event = samples::finding();
        let Body::Finding { finding } = &mut event.body else { unreachable!() };
        finding.title = "\x1b]0;owned\x07 \u{9b}31m \u{202e}gnp.exe\r\n".into();
        finding.evidence[0].what = crate::record::Shows::Note("\x1b[2J".into());
        finding.evidence[0].input = Some("\x1b.pcap".into());
        let text = written(&[event], live());
        assert!(text.contains(r"\x1b]0;owned\x07 \x9b31m \u{202e}gnp.exe\x0d\x0a"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text}");
    }

    #[test]
    fn colour_is_written_only_when_asked_for() {
        let options = TextOptions { colour: true, ..plain() };
        assert!(written(&samples::story(), options).contains("\x1b[1m\x1b[31mHIGH\x1b[0m"));
        assert!(!written(&samples::story(), plain()).contains('\x1b'));
    }

    #[test]
    fn handshake_messages_are_written_if_verbose() {
        let line = "send_name from the initiator \"one@192.168.0.100\"  (frame 14)";
        assert!(written(&samples::story(), verbose()).contains(line));
        assert!(!written(&samples::story(), plain()).contains("send_name from"));
    }

    #[test]
    fn an_unanswered_request_has_no_connection() {
        let mut event = samples::epmd();
        let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
        (epmd.request, epmd.outcome) = (None, EpmdOutcome::Unanswered);
        let line = "192.168.0.100 tried to reach EPMD at 192.168.0.103: no answer";
        assert!(written(&[event], live()).contains(line));
    }

    #[test]
    fn a_registration_has_a_line_for_each_state() {
        let text =
            [EpmdOutcome::Answered, EpmdOutcome::RegistrationRefused, EpmdOutcome::Unregistered]
                .map(|outcome| {
                    let mut event = samples::epmd();
                    let Body::Epmd { epmd } = &mut event.body else { unreachable!() };
                    (epmd.request, epmd.outcome) = (Some("ALIVE2_REQ"), outcome);
                    written(&[event], live())
                })
                .concat();
        assert!(text.contains("103 to register \"two\" (port 33435): registered  ("), "{text}");
        assert!(text.contains("\" (port 33435): registration refused  ("), "{text}");
        assert!(text.contains("100 had registered \"two\" (port 33435) with"), "{text}");
    }

    #[test]
    fn an_undecided_outcome_has_no_confidence() {
        let text = written(&[samples::session(State::Closed, Outcome::Incomplete)], live());
        assert!(text.contains(": incomplete: bytes of it are missing  (frame"), "{text}");
    }

    #[test]
    fn an_empty_capture_has_an_error_and_no_summary() {
        let mut event = samples::stats();
        let stats = Stats { is_final: true, complete: true, ..Stats::default() };
        event.body = Body::Stats { stats: Box::new(stats) };
        let text = written(&[event], live());
        assert_eq!(text, "");
    }
}
