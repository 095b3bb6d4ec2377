//! `beamscope report`: what captures or kept events show, as one file.
//!
//! In: captures and files of events. Out: a page or a short text. Captures go through the run that analyses them without
//! this command; events are read back. The library collects both and lays them out.

use std::io::{BufRead, Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use beamscope::limits::ReportLimits;
use beamscope::observe::{Anomaly, AnomalyKind};
use beamscope::record::{Body, Event, EventSink};
use beamscope::render::{KeptEvents, Output, ReadError, input_names};
use beamscope::time::Timestamp;

use super::analyze::{self, CountedInputs};
use super::{OpenOutputs, confined};
use crate::cli::console::report_error;
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::Trusted;
use crate::cli::settings::ReportSettings;
use crate::cli::sinks::{self, EventStream};
use crate::cli::sources::{self, MixedInput};

/// Makes the report.
///
/// # Errors
///
/// The file cannot be opened or written, or an option does not fit the captures. An input that cannot be read to its end
/// is reported, the report has what was before, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: ReportSettings) -> Result<RunOutcome, Error> {
    let ReportSettings { mut analyze, inputs } = settings;
    sources::check_opens(&inputs)?;
    let mut outputs = OpenOutputs::open(&analyze.run.output, None, None, None, Trusted::default())?;
    let confined = confined(analyze.is_sandboxed, &inputs, &outputs, None, false);
    let limits = ReportLimits::default();
    let (mut captures, mut kept) = (Vec::new(), Vec::new());
    for path in &inputs {
        match sources::open(path) {
            MixedInput::Capture(input) => {
                captures.push(input);
                analyze.captures.push(path.clone());
            }
            MixedInput::Events(lines) => kept.push((path, lines)),
        }
    }
    let mut captures = CountedInputs::new(captures, &analyze)?;
    let mut names = captures.inputs.names();
    let mut files = Vec::new();
    for (path, lines) in kept {
        let (own, lines) = read_ahead(path, lines, limits);
        for name in own {
            let is_new = names.len() < limits.inputs && !names.contains(&name);
            names.extend(is_new.then_some(name));
        }
        files.push((path, lines));
    }
    let output_settings = analyze.run.output.clone();
    let mut output = sinks::open_output(&output_settings, outputs.events.take(), names.clone())?;
    let mut is_complete = true;
    if !analyze.captures.is_empty() {
        (output, is_complete) =
            analyze::read(analyze, (captures, outputs, confined), None, Some(output))?;
    }
    for (path, lines) in files {
        if let Err(source) = read_events(lines, &names, &mut output) {
            let error = Error::Events { name: path.to_string_lossy().into_owned(), source };
            report_error(&error, error.hint());
            output.event(cut_short(&error));
            is_complete = false;
        }
    }
    let ended = if is_complete { RunOutcome::Done } else { RunOutcome::Incomplete };
    sinks::finish(&output_settings, output, ended)
}

/// The names of the captures that events are about, and the lines again. A pipe is read ahead for that, within a bound.
fn read_ahead(
    path: &Path,
    mut lines: Box<dyn BufRead + Send>,
    limits: ReportLimits,
) -> (Vec<Arc<str>>, Box<dyn BufRead + Send>) {
    if path.is_file()
        && let MixedInput::Events(again) = sources::open(path)
    {
        return (input_names(again, limits.inputs), lines);
    }
    let mut head = Vec::new();
    // An error comes back with the next read.
    let _ = (&mut lines).take(limits.read_ahead).read_to_end(&mut head);
    let names = input_names(head.as_slice(), limits.inputs);
    (names, Box::new(Cursor::new(head).chain(lines)))
}

fn read_events(
    lines: Box<dyn BufRead + Send>,
    names: &[Arc<str>],
    output: &mut Output<EventStream>,
) -> Result<(), ReadError> {
    let mut events = KeptEvents::new(lines, names.to_vec(), 0);
    while let Some(event) = events.next_event()? {
        output.event(event);
    }
    Ok(())
}

/// That a file of events was not read to its end, as an event of the report.
fn cut_short(error: &Error) -> Event {
    let detail = format!("{error}; what came before it is in this report");
    let anomaly = Box::new(Anomaly::new(AnomalyKind::InputCorrupt, detail));
    let body = Body::Anomaly { anomaly };
    Event { at: Timestamp::default(), frame: None, input: None, connection: None, body }
}
