//! `beamscope diff`: which pairs of nodes changed from one capture to another.
//!
//! In: two captures, or files of events. Out: what changed, on standard output or in a file. The
//! library compares; this file reads both sides.

use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;

use beamscope::capture::{self, Input, Inputs, Order};
use beamscope::compare::{CapturePairs, PairAttempt, PairProblem, compare};
use beamscope::drive::{self, Control};
use beamscope::engine::{Config, Engine};
use beamscope::record::{Body, Event, EventSink};
use beamscope::render::{self, PairRecord, Records};

use super::{OpenOutputs, confined};
use crate::cli::console::Warnings;
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::Trusted;
use crate::cli::settings::DiffSettings;
use crate::cli::sinks;
use crate::cli::sources::{self, MixedInput};
use crate::cli::stop;

/// Compares the two.
///
/// # Errors
///
/// One of the two cannot be read to its end: what is missing there would look like a change. Or the
/// changes cannot be written.
pub(in crate::cli) fn run(settings: &DiffSettings) -> Result<RunOutcome, Error> {
    // The signal that asks how far a run is must not end it. Without the handler it does.
    let _ = stop::on_report_signal();
    let DiffSettings { before, after, config, output: output_settings, exit_code, .. } = settings;
    let warnings = output_settings.warnings;
    let read = [before.clone(), after.clone()];
    read.chunks(1).try_for_each(sources::check_opens)?;
    let outputs = OpenOutputs::of_events(sinks::open_file(output_settings, Trusted::default())?);
    let _confined = confined(settings.is_sandboxed, &read, &outputs, None, false);
    let key_log = config.key_log.for_another_run();
    let pairs_before = pairs(before, Config { key_log, ..config.clone() }, warnings)?;
    let pairs_after = pairs(after, config.clone(), warnings)?;
    let names = [before, after].map(|path| path.to_string_lossy().into()).into();
    let mut output = sinks::open_output(output_settings, outputs.events, names)?;
    let mut has_changed = false;
    for event in compare(pairs_before, pairs_after) {
        has_changed |= matches!(event.body, Body::PairChange { .. });
        output.event(event);
    }
    let is_found = *exit_code && has_changed;
    let ended = if is_found { RunOutcome::Found } else { RunOutcome::Done };
    sinks::finish(output_settings, output, ended)
}

/// The pairs of nodes in a capture or a file of events.
fn pairs(path: &Path, config: Config, warnings: Warnings) -> Result<CapturePairs, Error> {
    let pairs = CapturePairs::new(&config.limits);
    match sources::open(path) {
        MixedInput::Events(lines) => {
            read_events(lines, pairs).map_err(|source| Error::Events { name: name(path), source })
        }
        MixedInput::Capture(input) => read_capture(input, path, config, warnings, pairs),
    }
}

fn read_events(
    lines: Box<dyn BufRead + Send>,
    mut pairs: CapturePairs,
) -> Result<CapturePairs, render::ReadError> {
    let mut records = Records::new(lines);
    while let Some(record) = records.next_record()? {
        match record {
            PairRecord::Attempt(attempt) => pairs.on_attempt(attempt),
            PairRecord::Problem(problem) => pairs.on_problem(problem),
        }
    }
    Ok(pairs)
}

fn read_capture(
    input: Input,
    path: &Path,
    config: Config,
    warnings: Warnings,
    pairs: CapturePairs,
) -> Result<CapturePairs, Error> {
    let mut inputs = Inputs::new(vec![input], Order::Given)?;
    let mut engine = Engine::new(config, AttemptCollector { pairs, path, warnings });
    let mut control = FirstFailure::default();
    drive::run(&mut inputs, &mut engine, &mut control)?;
    match control.0 {
        Some(error) => Err(error.into()),
        None => Ok(engine.finish().pairs),
    }
}

/// Ends the run at the first failure.
#[derive(Default)]
struct FirstFailure(Option<capture::Error>);

impl<S: EventSink> Control<S> for FirstFailure {
    fn on_failure(&mut self, _: u16, error: capture::Error, _: &mut Engine<S>) -> ControlFlow<()> {
        self.0 = Some(error);
        ControlFlow::Break(())
    }
}

/// Collects the attempts to connect from the events of a run.
struct AttemptCollector<'a> {
    pairs: CapturePairs,
    path: &'a Path,
    warnings: Warnings,
}

impl EventSink for AttemptCollector<'_> {
    fn event(&mut self, event: Event) {
        match &event.body {
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                let (name, detail) = (name(self.path), &anomaly.detail);
                let warning = format!("{name}: {detail}; what is missing may look like a change");
                self.warnings.warn(&warning);
            }
            _ => {
                if let Some(attempt) = PairAttempt::of(&event) {
                    self.pairs.on_attempt(attempt);
                } else if let Some(problem) = PairProblem::of(&event) {
                    self.pairs.on_problem(problem);
                }
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
