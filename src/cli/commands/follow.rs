//! `beamscope merge --follow`: the problems of a cluster as they show, while sensors go on.
//!
//! In: messages of a stream without end. Out: findings, and what becomes of them. From time to time all that is known is
//! merged and judged anew, in a round, so that each answer is that of one merge over the same facts; what differs from what was
//! printed is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beamscope::engine::{Config, Engine};
use beamscope::merge::{GoingRun, Part, merge};
use beamscope::record::{Anomaly, Body, Event, EventSink};
use beamscope::render::{Format, KeptEvents, Options, Output, input_names};
use beamscope::time::Timestamp;

use super::finish_run;
use super::merge_inputs::MergeInputs;
use crate::cli::console::report_error;
use crate::cli::error::{Error, RunOutcome};
use crate::cli::nats::{Gathering, MessageReader, PrintedProblems, RoundEvent, Waited};
use crate::cli::place::{FileMode, Target, Trusted};
use crate::cli::settings::{FailSettings, FollowSettings, OutputSettings};
use crate::cli::sinks::EventStream;
use crate::cli::stop::{Moment, StopCondition};

/// The file that remembers what was printed, open, and what is in it.
pub(super) struct FollowState {
    file: Option<Target>,
    printed: PrintedProblems,
}

impl FollowState {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be read, has something else in it, or cannot be made.
    pub(super) fn open(settings: &FollowSettings) -> Result<Self, Error> {
        let mut printed = PrintedProblems::default();
        let Some(path) = &settings.state else { return Ok(Self { file: None, printed }) };
        let events = |path: &Path| File::open(path).map(BufReader::new);
        match events(path).and_then(|lines| Ok((lines, events(path)?))) {
            Ok((lines, again)) => {
                let names = input_names(lines, usize::from(u16::MAX));
                let mut kept = KeptEvents::new(again, names, 0);
                while let Some(event) = kept
                    .next_event()
                    .map_err(|source| Error::Events { name: path.display().to_string(), source })?
                {
                    printed.note(&event);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::output(path, source)),
        }
        let file = Target::open(path, Trusted::default(), STATE);
        Ok(Self { file: Some(file.map_err(|source| Error::output(path, source))?), printed })
    }
}

/// Only the owner reads it: it has names of nodes and hosts.
const STATE: FileMode = FileMode { is_private: true, appends: true };

/// What is known so far, and what was printed of it.
pub(super) struct Following {
    gathering: Gathering,
    printed: PrintedProblems,
    /// What is the same in all rounds: files and captures.
    base: MergeInputs,
    /// Files of which nothing can be used.
    unread: Vec<Anomaly>,
    config: Config,
    /// The file that remembers what was printed.
    state: Option<Output<EventStream>>,
    /// Faults that were reported on standard error.
    reported: BTreeSet<String>,
    /// Number of runs that had made room for others at the last round.
    forgotten: usize,
}

/// The events of one round.
struct Round {
    events: Vec<RoundEvent>,
    inputs: Vec<Arc<str>>,
    /// The clock of its last fact.
    now: Timestamp,
    /// Whether something is left out that waits for another sensor.
    is_held: bool,
    is_complete: bool,
}

impl Following {
    /// Begins with what files and captures have.
    ///
    /// # Errors
    ///
    /// The file that remembers what was printed cannot be written.
    pub(super) fn new(
        mut base: MergeInputs,
        config: Config,
        settings: &FollowSettings,
        state: FollowState,
    ) -> Result<Self, Error> {
        let FollowState { file, printed } = state;
        let record = |(mut file, path): (Target, &std::path::PathBuf)| {
            let file = file.start(STATE).map_err(|source| Error::output(path, source))?;
            let options = Options { format: Format::Ndjson, ..settings.options.clone() };
            Ok::<_, Error>(Output::new(Box::new(file) as EventStream, Vec::new(), options))
        };
        let state = file.zip(settings.state.as_ref()).map(record).transpose()?;
        let gathering = Gathering::following(base.left);
        let mut unread = Vec::new();
        for (error, anomaly) in std::mem::take(&mut base.unread) {
            report_error(&error, error.hint());
            unread.push(anomaly);
        }
        let reported = BTreeSet::new();
        Ok(Self { gathering, printed, base, unread, config, state, reported, forgotten: 0 })
    }

    /// Reads and prints until a signal ends it, and then prints the answer over all that is known.
    ///
    /// # Errors
    ///
    /// The output cannot be written, or waiting fails.
    pub(super) fn run(
        mut self,
        mut reader: MessageReader,
        mut output: Output<EventStream>,
        (settings, follow, fail_on): (&OutputSettings, &FollowSettings, FailSettings),
    ) -> Result<RunOutcome, Error> {
        let stop = StopCondition::new(&follow.stop).map_err(Error::Wait)?;
        let mut pace = Pace::default();
        let mut failure = None;
        while failure.is_none() && !stop.is_met() && !output.failed() {
            match reader.wait(&stop)? {
                Waited::Closed => break,
                Waited::Nothing => {}
                Waited::Message => match reader.next() {
                    Ok(Some(message)) => {
                        self.gathering.add(message);
                        pace.has_new = true;
                    }
                    Ok(None) => pace.has_all = true,
                    Err(error) => failure = Some(error),
                },
            }
            if pace.is_due() {
                let begun = Moment::now();
                let round = self.round(false);
                pace.on_round(begun, round.is_held);
                self.print(round, &mut output);
            }
        }
        let is_read = failure.is_none();
        if let Some(error) = failure {
            report_error(&error, error.hint());
        }
        let round = self.round(true);
        let is_complete = is_read && round.is_complete;
        if matches!(settings.options.format, Format::Text(_)) {
            output.restart(round.inputs, settings.options.clone());
            round.events.into_iter().for_each(|(_, event)| output.event(event));
        } else {
            let events = round.events.iter().map(|(_, event)| event);
            let stats = events.filter(|it| matches!(it.body, Body::Stats { .. }));
            let stats: Vec<_> = stats.cloned().collect();
            let worst = round.events.iter().filter_map(|(_, event)| match &event.body {
                Body::Finding { finding } => Some(finding.severity),
                _ => None,
            });
            let worst = worst.max();
            self.print(round, &mut output);
            stats.into_iter().for_each(|event| output.event(event));
            // What was printed by an earlier process counts, and what was withdrawn does not.
            output.set_worst(worst);
        }
        finish_run(settings, fail_on, output, is_complete)
    }

    /// Merges and judges all that is known. The last round has an end, as a capture that a signal ends.
    fn round(&mut self, is_last: bool) -> Round {
        let mut reading = self.base.again();
        let (mut is_held, mut ended, mut wrong) = (false, Vec::new(), Vec::new());
        for mut run in self.gathering.runs() {
            let is_quiet = run.arrived.is_none_or(|arrived| arrived.elapsed() >= QUIET);
            let Some(part) = reading.run(&mut run) else {
                // What is missing may be on the way.
                let unread = if is_last { Vec::new() } else { std::mem::take(&mut reading.unread) };
                let unread = unread.into_iter().filter(|_| is_quiet);
                wrong.extend(unread.map(|(error, _)| (run.name.clone(), error)));
                continue;
            };
            if part.has_end() {
                ended.push(run);
                continue;
            }
            if is_last {
                part.going = Some(GoingRun::UpToTheEnd);
            } else if is_quiet {
                part.going = Some(GoingRun::UpToNow);
            } else {
                part.going = Some(GoingRun::UpToItsLastFact);
                is_held = true;
            }
            // What is missing may be on the way.
            let faults = if is_last { Vec::new() } else { std::mem::take(&mut part.faults) };
            let error = |it: Anomaly| (run.name.clone(), Error::Nats { detail: it.detail });
            wrong.extend(faults.into_iter().filter(|_| is_quiet).map(error));
        }
        ended.iter().for_each(|run| self.gathering.on_end(run));
        wrong.into_iter().for_each(|(run, error)| self.report(run, &error));
        if is_last {
            reading.add_unread(self.gathering.faults());
        }
        let mut unread = self.unread.clone();
        for (error, anomaly) in std::mem::take(&mut reading.unread) {
            self.report(error.to_string(), &error);
            unread.push(anomaly);
        }
        let is_read = !reading.has_failed && unread.is_empty();
        let parts = reading.parts;
        let is_complete = is_read && parts.iter().all(Part::is_complete);
        let merged = merge(parts, &self.config.limits.merge);
        let now = merged.facts.last().map_or_else(Timestamp::default, |fact| fact.clock);
        let mut engine = Engine::new(self.config.clone(), Vec::new());
        unread.into_iter().for_each(|anomaly| engine.on_anomaly(anomaly));
        let mut events = Vec::new();
        for fact in merged.facts {
            let clock = fact.clock;
            engine.push_fact(fact);
            events.extend(std::mem::take(engine.sink_mut()).into_iter().map(|it| (clock, it)));
        }
        // Before the end nothing is concluded from what did not come yet.
        if is_last {
            events.extend(engine.finish().into_iter().map(|it| (now, it)));
        }
        Round { events, inputs: merged.inputs, now, is_held, is_complete }
    }

    /// Reports what cannot be used, once for each `key`.
    fn report(&mut self, key: String, error: &Error) {
        if self.reported.len() < MOST_REPORTED && self.reported.insert(key) {
            report_error(error, error.hint());
        }
    }

    /// Prints what differs from what was printed.
    fn print(&mut self, round: Round, output: &mut Output<EventStream>) {
        let Round { events, inputs, now, .. } = round;
        let lacks =
            std::mem::replace(&mut self.forgotten, self.gathering.forgotten()) != self.forgotten;
        let (sessions, events): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|(_, it)| matches!(it.body, Body::Session { .. }));
        // The last one of each connection.
        let own = sessions.iter().filter_map(|(_, event)| Some((session_of(event)?, event)));
        let own: BTreeMap<_, _> = own.collect();
        let differences = self.printed.differences(events, now, lacks);
        if let Some(state) = &mut self.state {
            state.set_inputs(inputs.clone());
        }
        output.set_inputs(inputs);
        for event in differences {
            // A text about a finding names the ends of its connection.
            if let Some(session) = session_of(&event).and_then(|id| own.get(id)) {
                output.event((*session).clone());
            }
            if let Some(state) = &mut self.state {
                output.event(event.clone());
                state.event(event);
            } else {
                output.event(event);
            }
        }
        output.flush();
    }
}

fn session_of(event: &Event) -> Option<&Arc<str>> {
    event.connection.as_ref().map(|it| &it.session_id)
}

/// When the next round is due.
#[derive(Debug, Default)]
struct Pace {
    /// Whether all that the stream had was read once.
    has_all: bool,
    /// Whether something came since the last round.
    has_new: bool,
    /// Whether the last round left something out.
    is_held: bool,
    /// When the last round was over, and the least time to the next one.
    last: Option<(Moment, Duration)>,
}

impl Pace {
    fn is_due(&self) -> bool {
        if !self.has_all {
            return false;
        }
        self.last.is_none_or(|(last, pause)| {
            let passed = last.elapsed();
            passed >= pause && (self.has_new || self.is_held && passed >= QUIET)
        })
    }

    fn on_round(&mut self, begun: Moment, is_held: bool) {
        // At most a tenth of the time goes into rounds.
        let pause = (begun.elapsed() * 10).max(PAUSE);
        (self.has_new, self.is_held) = (false, is_held);
        self.last = Some((Moment::now(), pause));
    }
}

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_secs(1);

/// A sensor of which nothing came for so long has seen nothing more so far. Its second process sends what it has at once.
const QUIET: Duration = Duration::from_secs(10);

/// Faults that are reported on standard error.
const MOST_REPORTED: usize = 1000;
