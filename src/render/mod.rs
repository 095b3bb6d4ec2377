//! Output: events and messages in the form that was asked for.
//!
//! In: [`Event`]s and messages. Out: bytes on any [`io::Write`], for programs ([NDJSON](Format::Ndjson)) or
//! people ([text](Format::Text)). [`Output`] filters, numbers and hands on; a `Renderer` gives each form,
//! in a folder of its own, and `Options::renderer` is the table of them. Forms for people take their words
//! from the report model, which they share. No threshold and no severity is decided here.
//!
//! The crate uses `serde_json` nowhere else.

mod background;
mod escape;
mod html;
mod json;
mod ladder;
mod markdown;
mod queue;
mod report;
mod screen;
mod shown;
mod text;
mod words;

pub use background::BackgroundWriter;
pub use escape::escape;
pub use html::ReportForm;
pub use json::{
    JsonTerm, KeptEvents, KeptObservations, NoFacts, NoObservations, PairRecord, ReadError,
    Records, facts_line, input_names, json_line, observations_head, read_facts, schema,
    summary_line, write_observation,
};
pub use ladder::{LadderChoice, LadderFormat, LadderRun, NoLadder};
pub use queue::{Backlog, Queue, queue};
pub use report::{CommentCollector, Comments};
pub use screen::{Screen, ScreenList, ScreenRow, ScreenTone};
pub use shown::{Pattern, Shown};
pub use text::{Layout, TextOptions};
pub use words::{plural, wrapped};

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queue::Rank;
use shown::EventFilter;

use crate::cursor::LineBuffer;
use crate::observe::messages::MessageEvent;
use crate::record::{AnomalyKind, Body, Event, EventSink, Outcome, Severity, State, Stats};
use crate::time::Zone;

/// The form of the output.
#[derive(Clone, Debug)]
pub enum Format {
    /// One JSON object a line, as [`schema()`] describes it.
    Ndjson,
    /// Sentences for a terminal.
    Text(TextOptions),
    /// Rows for a screen that another thread draws; nothing is written.
    Screen(Screen),
    /// One file at the end of the run, with times in this zone.
    Report(ReportForm, Zone),
}

/// Which events are written, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of the output.
    pub format: Format,
    /// Write only findings, incidents, anomalies about the input, and the final statistics.
    pub only_findings: bool,
    /// Leave out findings and incidents below this severity.
    pub min_severity: Severity,
    /// Leave out everything else than this.
    pub shown: Shown,
    /// Write each event at once instead of 64 KiB at a time.
    pub line_buffered: bool,
    /// How lines of JSON show the terms that messages carry.
    pub terms: TermStyle,
}

/// How lines of JSON show terms.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TermStyle {
    /// Text in Erlang's syntax, up to a few screens.
    #[default]
    Erlang,
    /// JSON that loses nothing.
    Json,
}

/// One form of output.
trait Renderer: Send {
    /// Keeps from an event what later events need. Called for every event, also for those that filters leave
    /// out; before [`record`](Self::record).
    fn observe(&mut self, _event: &Event) {}

    /// Writes an event, or keeps it for later. `seq` is its number among the events written.
    fn record(&mut self, seq: u64, event: &Event, out: &mut LineBuffer) -> io::Result<()>;

    /// Writes a message after the handshake; nothing by default.
    fn message(
        &mut self,
        _seq: u64,
        _event: &MessageEvent<'_>,
        _out: &mut LineBuffer,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Numbers the inputs of later events anew.
    fn set_inputs(&mut self, _inputs: InputNames) {}

    /// Whether nothing more is wanted, as if a reader had closed its pipe.
    fn is_closed(&self) -> bool {
        false
    }

    /// Writes what is kept, at the end of a run.
    fn finish(&mut self, _out: &mut LineBuffer) -> io::Result<()> {
        Ok(())
    }
}

impl Options {
    /// The table of all forms.
    fn renderer(&self, inputs: InputNames) -> Box<dyn Renderer> {
        match &self.format {
            Format::Report(form, zone) => {
                Box::new(html::FileReport::new(*form, inputs, self.hiding(), zone.clone()))
            }
            Format::Ndjson => Box::new(json::JsonLines::new(inputs, self.terms)),
            Format::Screen(screen) => screen.renderer(),
            Format::Text(options) => {
                Box::new(text::TextReport::new(options.clone(), inputs, self.hiding()))
            }
        }
    }

    /// The options that may hide findings.
    fn hiding(&self) -> Vec<&'static str> {
        let mut hiding = self.shown.options();
        hiding.extend((self.min_severity > Severity::Info).then_some(MIN_SEVERITY));
        hiding
    }
}

/// The inputs as the user named them, in the order in which frames count them.
#[derive(Clone)]
struct InputNames(Arc<[Arc<str>]>);

impl InputNames {
    fn new(names: Vec<Arc<str>>) -> Self {
        Self(names.into())
    }

    fn iter(&self) -> std::slice::Iter<'_, Arc<str>> {
        self.0.iter()
    }

    fn get(&self, input: u16) -> Option<&Arc<str>> {
        self.0.get(usize::from(input))
    }

    fn are_several(&self) -> bool {
        self.0.len() > 1
    }

    /// The input that an event is about; none if it is about several.
    fn of(&self, event: &Event) -> Option<&Arc<str>> {
        self.get(input_of(event)?)
    }

    /// The input that an event is about, if the run has several.
    fn if_several(&self, event: &Event) -> Option<&Arc<str>> {
        self.of(event).filter(|_| self.are_several())
    }
}

fn input_of(event: &Event) -> Option<u16> {
    event.frame.map(|frame| frame.input).or(event.input)
}

/// Writes events to `W`.
///
/// After the first failure nothing more is written: [`Output::failed`] is true, so that a run can end early,
/// and [`Output::finish`] gives the error.
pub struct Output<W: Write> {
    inputs: InputNames,
    options: Options,
    filter: Option<EventFilter>,
    renderer: Box<dyn Renderer>,
    /// Rendered bytes that are not written to the destination yet.
    block: LineBuffer,
    out: Destination<W>,
    /// Number of the last event written.
    seq: u64,
    worst: Option<Severity>,
    counts: Arc<RunCounts>,
    /// The final statistics, once they have come.
    final_stats: Option<Box<Stats>>,
    error: Option<io::Error>,
}

/// What a run has found so far, also of what is not written. Another thread may look at it.
#[derive(Debug, Default)]
pub struct RunCounts {
    /// Connections between nodes, and attempts at one.
    pub connections: AtomicU64,
    /// Findings above [`Severity::Info`], without those that are written anew.
    pub problems: AtomicU64,
}

impl RunCounts {
    fn count(&self, body: &Body) {
        match body {
            Body::Session { session } => {
                // An established connection has one more record when it ends.
                let is_first =
                    session.state == State::Established || session.outcome != Outcome::Connected;
                self.connections.fetch_add(u64::from(is_first), Ordering::Relaxed);
            }
            Body::Finding { finding } => {
                let is_problem = finding.severity > Severity::Info && finding.revision.is_none();
                self.problems.fetch_add(u64::from(is_problem), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Where rendered bytes go.
enum Destination<W: Write> {
    /// A writer. Blocks while the reader is slow.
    Direct(W),
    /// A queue that another thread empties. Never blocks.
    Queued(Queue<W>),
}

impl<W: Write> Output<W> {
    /// Writes to `out`; `inputs` are the names of the inputs as given.
    pub fn new(out: W, inputs: Vec<Arc<str>>, options: Options) -> Self {
        Self::to(Destination::Direct(out), inputs, options)
    }

    /// Writes into `queue`, and so never waits for a reader.
    pub fn queued(queue: Queue<W>, inputs: Vec<Arc<str>>, options: Options) -> Self {
        Self::to(Destination::Queued(queue), inputs, options)
    }

    fn to(out: Destination<W>, inputs: Vec<Arc<str>>, options: Options) -> Self {
        let inputs = InputNames::new(inputs);
        let renderer = options.renderer(inputs.clone());
        let filter = EventFilter::new(&options.shown);
        let block = LineBuffer::default();
        Self {
            inputs,
            options,
            filter,
            renderer,
            block,
            out,
            seq: 0,
            worst: None,
            counts: Arc::default(),
            final_stats: None,
            error: None,
        }
    }

    /// True if writing has failed: nothing that follows is written.
    pub fn failed(&self) -> bool {
        let elsewhere = match &self.out {
            Destination::Direct(_) => false,
            Destination::Queued(queue) => queue.failed(),
        };
        elsewhere || self.error.is_some()
    }

    /// How many events were left out because the reader was too slow.
    pub fn left_out(&self) -> u64 {
        match &self.out {
            Destination::Direct(_) => 0,
            Destination::Queued(queue) => queue.left_out(),
        }
    }

    /// True if more waits for the reader than is usual.
    pub fn is_behind(&self) -> bool {
        match &self.out {
            Destination::Direct(_) => false,
            Destination::Queued(queue) => queue.is_behind(),
        }
    }

    /// Writes all later events to `out`; earlier ones go where they were to go.
    pub fn replace(&mut self, out: W) {
        self.flush();
        match &mut self.out {
            Destination::Direct(old) => *old = out,
            Destination::Queued(queue) => queue.replace(out),
        }
    }

    /// Numbers the inputs of all later events anew.
    pub fn set_inputs(&mut self, inputs: Vec<Arc<str>>) {
        self.inputs = InputNames::new(inputs);
        self.renderer.set_inputs(self.inputs.clone());
    }

    /// Begins another output on the same stream: what was written before has nothing to do with it.
    pub fn restart(&mut self, inputs: Vec<Arc<str>>, options: Options) {
        self.flush();
        self.inputs = InputNames::new(inputs);
        self.renderer = options.renderer(self.inputs.clone());
        self.filter = EventFilter::new(&options.shown);
        self.options = options;
        (self.worst, self.final_stats) = (None, None);
    }

    /// Which options nothing of the capture fits, as a sentence without a full stop. For the end of a run.
    pub fn nothing_fits(&mut self) -> Option<String> {
        self.filter.as_mut()?.nothing_fits()
    }

    /// The severity of the worst finding so far, written or left out.
    pub const fn worst(&self) -> Option<Severity> {
        self.worst
    }

    /// Replaces the severity of the worst finding, where what was written is not what the run has found in all.
    pub const fn set_worst(&mut self, worst: Option<Severity>) {
        self.worst = worst;
    }

    /// What was found so far.
    pub fn counts(&self) -> Arc<RunCounts> {
        Arc::clone(&self.counts)
    }

    /// The final statistics, once they have come.
    pub fn final_stats(&self) -> Option<&Stats> {
        self.final_stats.as_deref()
    }

    /// Writes the block, and flushes the destination.
    pub fn flush(&mut self) {
        if self.error.is_some() {
            return;
        }
        if self.renderer.is_closed() {
            self.error = Some(io::ErrorKind::BrokenPipe.into());
            return;
        }
        self.write_block();
        match &mut self.out {
            Destination::Direct(out) if self.error.is_none() => self.error = out.flush().err(),
            Destination::Direct(_) => {}
            Destination::Queued(queue) => queue.flush(),
        }
    }

    /// Writes the block to the destination, which may buffer it.
    fn write_block(&mut self) {
        if let Destination::Direct(out) = &mut self.out {
            self.error = out.write_all(self.block.bytes()).err();
            self.block.truncate(0);
        }
    }

    /// Writes the rest.
    ///
    /// # Errors
    ///
    /// The first error of any write.
    pub fn finish(mut self) -> io::Result<()> {
        // A run that ended with its statistics has nothing left to write.
        if self.error.is_none() {
            let written = self.renderer.finish(&mut self.block);
            if self.block.len() > 0 || written.is_err() {
                self.hand_on(Rank::Finding, written);
            }
        }
        self.flush();
        let written = match self.out {
            Destination::Direct(_) => Ok(()),
            Destination::Queued(queue) => queue.finish(PATIENCE),
        };
        self.error.map_or(written, Err)
    }

    fn is_wanted(&self, body: &Body) -> bool {
        match body {
            Body::Finding { finding } => finding.severity >= self.options.min_severity,
            Body::Incident { incident } => incident.found_severity >= self.options.min_severity,
            Body::Anomaly { anomaly } => {
                !self.options.only_findings || anomaly.kind.is_about_input()
            }
            Body::Stats { stats } => !self.options.only_findings || stats.is_final,
            Body::PairChange { .. } | Body::Comparison { .. } => true,
            Body::Epmd { .. }
            | Body::Handshake { .. }
            | Body::Session { .. }
            | Body::Node { .. }
            | Body::Cluster { .. } => !self.options.only_findings,
        }
    }

    /// Hands on what was rendered last, or keeps it until the block is full.
    #[inline]
    fn hand_on(&mut self, rank: Rank, written: io::Result<()>) {
        if written.is_err() {
            self.error = written.err();
            return;
        }
        match &mut self.out {
            Destination::Direct(_) => {
                if self.options.line_buffered {
                    self.flush();
                } else if self.block.len() >= BLOCK {
                    self.write_block();
                }
            }
            Destination::Queued(queue) => {
                queue.push(rank, self.block.bytes());
                self.block.truncate(0);
            }
        }
    }
}

/// Which events a full queue leaves out first.
fn rank(body: &Body) -> Rank {
    match body {
        Body::Epmd { .. } | Body::Handshake { .. } => Rank::Step,
        Body::Session { .. } | Body::Node { .. } | Body::Cluster { .. } => Rank::Record,
        Body::Anomaly { anomaly } => {
            let is_ours = anomaly.kind.is_about_input() || anomaly.kind == AnomalyKind::Limit;
            if is_ours { Rank::Finding } else { Rank::Record }
        }
        Body::Finding { .. }
        | Body::Incident { .. }
        | Body::PairChange { .. }
        | Body::Comparison { .. }
        | Body::Stats { .. } => Rank::Finding,
    }
}

impl<W: Write> EventSink for Output<W> {
    fn event(&mut self, mut event: Event) {
        self.renderer.observe(&event);
        self.counts.count(&event.body);
        let input = input_of(&event);
        if let Body::Finding { finding } = &mut event.body {
            self.worst = self.worst.max(Some(finding.severity));
            for evidence in &mut finding.evidence {
                if Some(evidence.frame.input) != input {
                    evidence.input = self.inputs.get(evidence.frame.input).cloned();
                }
            }
        }
        if let Body::Stats { stats } = &event.body
            && stats.is_final
        {
            self.final_stats = Some(stats.clone());
        }
        if let Body::Session { session } = &mut event.body {
            for step in &mut session.steps {
                if Some(step.frame.input) != input {
                    step.input = self.inputs.get(step.frame.input).cloned();
                }
            }
            for link in session.messages.iter_mut().flat_map(|messages| messages.packet_links()) {
                if Some(link.frame.input) != input {
                    link.input = self.inputs.get(link.frame.input).cloned();
                }
            }
        }
        if let Body::Epmd { epmd } = &mut event.body {
            for step in &mut epmd.steps {
                if Some(step.frame.input) != input {
                    step.input = self.inputs.get(step.frame.input).cloned();
                }
            }
        }
        let is_shown = self.filter.as_mut().is_none_or(|filter| filter.admits(&mut event));
        if !is_shown || self.failed() || !self.is_wanted(&event.body) {
            return;
        }
        self.seq += 1;
        let written = self.renderer.record(self.seq, &event, &mut self.block);
        self.hand_on(rank(&event.body), written);
        // A finding that is written anew with names may be the first one that is shown of its incident.
        if let Body::Finding { finding } = &event.body
            && let Some(held) =
                self.filter.as_mut().and_then(|filter| filter.take_held(&finding.incident_id))
        {
            self.event(held);
        }
    }

    fn message(&mut self, event: &MessageEvent<'_>) {
        let is_shown = self.filter.as_mut().is_none_or(|filter| filter.admits_message(event));
        if !is_shown || self.failed() || self.options.only_findings {
            return;
        }
        self.seq += 1;
        let written = self.renderer.message(self.seq, event, &mut self.block);
        self.hand_on(Rank::Message, written);
    }
}

/// The option that hides findings below a severity.
const MIN_SEVERITY: &str = "--min-severity";

/// Bytes of one write: enough to make system calls rare, and little memory.
const BLOCK: usize = 64 << 10;

/// How long the end of a run waits for a reader that takes nothing, such as a pager.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    fn options() -> Options {
        Options {
            format: Format::Ndjson,
            only_findings: false,
            min_severity: Severity::Info,
            shown: Shown::default(),
            line_buffered: false,
            terms: TermStyle::Erlang,
        }
    }

    fn run(options: Options, events: Vec<Event>) -> String {
        let mut bytes = Vec::new();
        let inputs = vec!["a.pcap".into(), "b.pcap".into()];
        let mut output = Output::new(&mut bytes, inputs, options);
        events.into_iter().for_each(|event| output.event(event));
        output.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_findings_leaves_what_a_person_must_see() {
        let options = Options { only_findings: true, ..options() };
        let text = run(options, samples::story());
        let types: Vec<_> = text.lines().map(|l| l.split('"').nth(9).unwrap()).collect();
        assert_eq!(types, ["finding", "incident", "anomaly", "stats"]);
        assert!(text.starts_with(r#"{"v":1,"#));
        assert!(text.lines().last().unwrap().contains(r#""seq":4,"#), "numbered as written");
    }

    #[test]
    fn text_names_the_nodes_of_a_session_that_is_not_written() {
        let layout = Layout::Grouped;
        let text = TextOptions { width: 80, layout, ..TextOptions::default() };
        let options = Options { format: Format::Text(text), only_findings: true, ..options() };
        let text = run(options, samples::all());
        assert!(
            text.contains("  one@192.168.0.100   ") && text.contains(" frames of a.pcap"),
            "{text}"
        );
    }

    #[test]
    fn a_run_that_ends_early_still_reports_its_findings() {
        let layout = Layout::Grouped;
        let text = TextOptions { width: 80, layout, ..TextOptions::default() };
        let options = Options { format: Format::Text(text), ..options() };
        let text = run(options, vec![samples::finding()]);
        assert!(text.starts_with("1.    two@192.168.0.103 refused"), "{text}");
    }

    #[test]
    fn a_finding_below_the_asked_severity_is_left_out_and_still_counts_as_worst() {
        let options = Options { min_severity: Severity::Critical, ..options() };
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, vec!["a.pcap".into()], options);
        samples::all().into_iter().for_each(|event| output.event(event));
        assert_eq!(output.worst(), Some(Severity::High));
        output.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.contains("\"finding\":{\"rule") && !text.contains("\"incident\":"), "{text}");
    }

    #[test]
    fn evidence_names_its_input_only_where_it_is_another() {
        let mut event = samples::finding();
        if let Body::Finding { finding } = &mut event.body {
            finding.evidence[0].frame.input = 1;
        }
        let text = run(options(), vec![event]);
        assert_eq!(text.matches("a.pcap").count(), 1, "{text}");
        assert_eq!(text.matches("b.pcap").count(), 1, "{text}");
    }

    /// Takes `room` bytes and then fails.
    struct Full {
        room: usize,
        calls: usize,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.room == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_failure_is_kept_and_nothing_is_written_behind_it() {
        let mut full = Full { room: 10, calls: 0 };
        let options = Options { line_buffered: true, ..options() };
        let mut output = Output::new(&mut full, vec!["a.pcap".into()], options);
        samples::all().into_iter().for_each(|event| output.event(event));
        assert!(output.failed());
        assert_eq!(output.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(full.calls, 2, "one that took ten bytes, one that failed");
    }
}

/// Events for the tests of this folder.
#[cfg(test)]
mod samples {
    use std::collections::BTreeMap;

    use super::*;
    use crate::observe::{DistFlags, HandshakeObservation, MessageKind};
    use crate::packet::FrameRef;
    use crate::record::*;
    use crate::time::Timestamp;

    /// A time on 2014-05-25, `micros` microseconds after 14:32:25Z.
    pub(super) fn at(micros: u64) -> Timestamp {
        Timestamp::new(1_401_028_345, micros * 1000)
    }

    fn event(frame: u64, micros: u64, body: Body) -> Event {
        let connection = ConnectionIds {
            session_id: "5f0c1a2b3c4d5e6f".into(),
            community_id: "1:E13v/443dILbtN/IyLRmvhbtZcU=".into(),
            src_ip: [192, 168, 0, 100].into(),
            src_port: 37832,
            dest_ip: [192, 168, 0, 103].into(),
            dest_port: 33435,
            proto: crate::observe::TransportProtocol::Tcp,
            encap: vec!["vlan 7".into()],
        };
        Event {
            at: at(micros),
            frame: Some(FrameRef { input: 0, number: frame }),
            input: None,
            connection: Some(Arc::new(connection)),
            body,
        }
    }

    fn alone(body: Body, input: Option<u16>) -> Event {
        Event { at: at(90_000), frame: None, input, connection: None, body }
    }

    pub(super) fn epmd() -> Event {
        let epmd = Epmd {
            request: Some("PORT_PLEASE2_REQ"),
            name: Some("two".into()),
            outcome: EpmdOutcome::Answered,
            response: Some("PORT2_RESP"),
            result: Some(0),
            port: Some(33435),
            node_type: Some(NodeType::Named("normal")),
            highest_version: Some(6),
            lowest_version: Some(5),
            response_time_us: Some(213),
            ..Epmd::default()
        };
        event(9, 512, Body::Epmd { epmd: Box::new(epmd) })
    }

    fn names() -> Event {
        let epmd = Epmd {
            request: Some("NAMES_REQ"),
            outcome: EpmdOutcome::Answered,
            names: Some(vec![RegisteredName { name: "two".into(), name_hex: None, port: 33435 }]),
            ..Epmd::default()
        };
        event(11, 900, Body::Epmd { epmd: Box::new(epmd) })
    }

    pub(super) fn handshake() -> Event {
        let handshake = Handshake {
            version: Some(6),
            name: Some("one@192.168.0.100".into()),
            flags: Some(Hex(0xd_07df_7fbd)),
            flag_names: Some(DistFlags::PUBLISHED),
            creation: Some(1_795_361_392),
            ..Handshake::of(&HandshakeObservation::new(MessageKind::SendName, Role::Initiator))
        };
        event(14, 60_000, Body::Handshake { handshake: Box::new(handshake) })
    }

    pub(super) fn party(node: &str) -> Party {
        Party { node: Some(node.into()), flags: Some(Hex(4)), ..Party::default() }
    }

    fn messages() -> Messages {
        let share = |name: &str| Share { name: name.into(), messages: 3, bytes: 210 };
        let spot = || PacketLink { frame: FrameRef { input: 0, number: 17 }, input: None };
        let calls = Calls {
            kind: "gen_call".into(),
            asked: 4,
            answered: 1,
            unanswered: 1,
            given_up: 1,
            noproc: 1,
            down: 0,
            median_us: Some(120),
            p99_us: Some(120),
            slowest: Some(Slowest { latency_us: 120, request: spot(), answer: spot() }),
            oldest_unanswered: Some(spot()),
        };
        let account = Account {
            operations: vec![share("REG_SEND"), share("MONITOR_P")],
            names: vec![share("rex")],
            functions: vec![share("lists:seq/2")],
            largest: Some(Largest { bytes: 80, operation: "REG_SEND".into(), at: spot() }),
            fragmented: 1,
            fragments: 3,
            unfinished: 0,
            unreadable: 0,
            calls: vec![calls],
            tick_time_s: Some(60),
            longest_silence: Some(Pause { lasted_us: 15_000_000, since: spot() }),
            longest_stall: Some(Pause { lasted_us: 2_000_000, since: spot() }),
        };
        Messages { initiator: Some(account), acceptor: None }
    }

    pub(super) fn session(state: State, outcome: Outcome) -> Event {
        let failed = !matches!(outcome, Outcome::Connected);
        let session = Session {
            protocol: Protocol::Distribution,
            state,
            outcome,
            connected_inside: false,
            tls: None,
            incomplete_because: matches!(outcome, Outcome::Incomplete)
                .then_some(IncompleteBecause::MissingBytes),
            confidence: if failed { Confidence::Likely } else { Confidence::Proven },
            not_excluded: vec![],
            detected_by: failed.then_some(Role::Acceptor),
            orientation: Orientation::Syn,
            initiator: party("one@192.168.0.100"),
            acceptor: party("two@192.168.0.103"),
            reached: Some("challenge_reply"),
            wanted: Some(Wanted { alive: Some("two".into()), host: None, rests_on: vec!["epmd"] }),
            closed_by: matches!(state, State::Closed).then_some(Role::Acceptor),
            close: matches!(state, State::Closed).then_some(CloseKind::Fin),
            lookup: Some(Lookup {
                session_id: "0011223344556677".into(),
                reply: FrameRef { input: 0, number: 9 },
                asked: "two".into(),
                port: 33435,
            }),
            handshake_us: (!failed).then_some(412),
            duration_us: 80_213,
            traffic: Traffic::default(),
            steps: Vec::new(),
            messages: Some(Box::new(messages())),
            last_frame: None,
        };
        event(21, 80_725, Body::Session { session: Box::new(session) })
    }

    pub(super) fn finding() -> Event {
        let evidence = |number, from, what: Shows| Evidence {
            frame: FrameRef { input: 0, number },
            input: None,
            session_id: None,
            from: Some(from),
            what,
        };
        let finding = Finding {
            rule: "cookie-mismatch",
            severity: Severity::High,
            confidence: Confidence::Likely,
            title: "two@192.168.0.103 refused the cookie of one@192.168.0.100".into(),
            explanation: "one@192.168.0.100 answered the challenge with the cookie cookies.txt:1; \
                          two@192.168.0.103 closed the connection without an acknowledgement."
                .into(),
            remedy: vec!["Give both nodes the same cookie.".into()],
            nodes: vec!["one@192.168.0.100".into(), "two@192.168.0.103".into()],
            incident_id: "9c41000000000000".into(),
            shown_at: None,
            evidence: vec![
                evidence(19, Role::Initiator, MessageKind::ChallengeReply.into()),
                evidence(
                    21,
                    Role::Acceptor,
                    Shows::Close {
                        is_reset: false,
                        missing: Some(Missing::Handshake(MessageKind::ChallengeAck)),
                        detail: "",
                    },
                ),
            ],
            not_excluded: vec![
                "two@192.168.0.103 closed for another reason at this very point".into(),
            ],
            logged_by: vec![Role::Acceptor],
            may_log: Vec::new(),
            revision: None,
            evidence_file: None,
        };
        event(21, 80_725, Body::Finding { finding: Box::new(finding) })
    }

    pub(super) fn incident() -> Event {
        let incident = Incident {
            incident_id: "9c41000000000000".into(),
            rule: "cookie-mismatch",
            severity: Severity::High,
            found_severity: Severity::High,
            nodes: vec!["one@192.168.0.100".into(), "two@192.168.0.103".into()],
            count: 3,
            first: at(80_725),
            last: at(90_000),
            state: IncidentState::Open,
            settled_at: None,
            settled_frame: None,
            settled_by: None,
        };
        alone(Body::Incident { incident: Box::new(incident) }, None)
    }

    pub(super) fn anomaly() -> Event {
        let anomaly = Anomaly {
            kind: AnomalyKind::InputTruncated,
            field: None,
            offset: Some(4711),
            detail: "ends inside a packet record".into(),
        };
        alone(Body::Anomaly { anomaly: Box::new(anomaly) }, Some(0))
    }

    pub(super) fn stats() -> Event {
        let stats = Stats {
            is_final: true,
            packets: 1234,
            bytes: 56_789,
            first: Some(at(0)),
            last: Some(at(90_000)),
            sessions: BTreeMap::from([(Outcome::Connected, 1), (Outcome::CookieMismatch, 3)]),
            epmd: BTreeMap::from([(EpmdOutcome::Answered, 4)]),
            findings: BTreeMap::from([("cookie-mismatch", 1)]),
            anomalies: BTreeMap::from([(AnomalyKind::InputTruncated, 1)]),
            cut_packets: 2,
            ..Stats::default()
        };
        alone(Body::Stats { stats: Box::new(stats) }, None)
    }

    pub(super) fn node(name: &str, change: Option<Change>) -> Node {
        Node {
            node: name.into(),
            change,
            ips: vec![[192, 168, 0, 100].into(), [10, 0, 0, 1].into()],
            dist_ports: vec![33435],
            creation: Some(1_795_361_392),
            restarts: 1,
            hidden: Some(true),
            dynamic: false,
            names: None,
            implementation: Implementation::Vm,
            versions: vec![6],
            flags: Some(Hex(4)),
            otp_at_least: Some(25),
            otp_at_most: Some(26),
            accepted_up_to: Some(27),
            lacks: vec!["V4_NC".into()],
        }
    }

    pub(super) fn changed(name: &str, change: Change) -> Event {
        let body = Body::Node { node: Box::new(node(name, Some(change))) };
        Event { connection: None, ..event(14, 60_000, body) }
    }

    pub(super) fn cluster(cluster: Cluster) -> Event {
        alone(Body::Cluster { cluster: Box::new(cluster) }, None)
    }

    /// Two nodes, of which the second refuses the cookie of the first.
    pub(super) fn pair() -> Cluster {
        let (one, two): (Arc<str>, Arc<str>) =
            ("one@192.168.0.100".into(), "two@192.168.0.103".into());
        let failed = FailedPair {
            initiator: Arc::clone(&one),
            acceptor: Arc::clone(&two),
            both_dialed: false,
            outcome: Failure::Session(Outcome::CookieMismatch),
            initiator_cookie: Some("cookies.txt:1".into()),
            acceptor_cookie: None,
            crossed: true,
            count: 3,
            reasons: vec![FailureReason {
                outcome: Failure::Session(Outcome::CookieMismatch),
                count: 3,
                last: at(80_725),
                incident_id: Some("9c41000000000000".into()),
            }],
            last: at(80_725),
            incident_id: Some("9c41000000000000".into()),
            beside: None,
        };
        Cluster {
            nodes: vec![node(&one, None), node(&two, None)],
            failed: vec![failed],
            ..Cluster::default()
        }
    }

    pub(super) fn change(
        change: PairChangeKind,
        before: Option<Outcome>,
        after: Option<Outcome>,
    ) -> Event {
        let state = |outcome| PairState {
            outcome,
            connected: u64::from(outcome == Outcome::Connected),
            failed: if outcome == Outcome::Connected { 0 } else { 3 },
            last: at(80_725),
            findings: Default::default(),
            reasons: Default::default(),
        };
        let pair_change = PairChange {
            change,
            nodes: ["a@h1".into(), "b@h2".into()],
            before: before.map(state),
            after: after.map(state),
        };
        alone(Body::PairChange { pair_change: Box::new(pair_change) }, None)
    }

    pub(super) fn comparison() -> Event {
        let changes = [(PairChangeKind::Broken, 1)].into();
        let comparison = Comparison { changes, unchanged: 2, undecided: 1, left_out: 0 };
        alone(Body::Comparison { comparison: Box::new(comparison) }, None)
    }

    /// A run over a capture.
    pub(super) fn story() -> Vec<Event> {
        let session = session(State::Closed, Outcome::CookieMismatch);
        vec![
            epmd(),
            names(),
            handshake(),
            changed("one@192.168.0.100", Change::Restarted),
            session,
            finding(),
            incident(),
            anomaly(),
            cluster(pair()),
            stats(),
        ]
    }

    /// One event of every type.
    pub(super) fn all() -> Vec<Event> {
        let mut events = story();
        events.extend([
            change(PairChangeKind::Broken, Some(Outcome::Connected), Some(Outcome::Refused)),
            change(PairChangeKind::New, None, Some(Outcome::Connected)),
            comparison(),
        ]);
        events
    }
}
