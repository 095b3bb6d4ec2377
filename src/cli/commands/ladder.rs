//! `beamscope ladder`: one attempt to connect, drawn message by message.
//!
//! In: captures, and which attempt. Out: the drawing, on standard output or in a file. The library collects and draws;
//! this file reads the captures and writes the result.

use std::ops::ControlFlow;

use beamscope::capture::{self, Frame, ReadCounter};
use beamscope::drive::{self, Control};
use beamscope::engine::Engine;
use beamscope::record::{Anomaly, AnomalyKind, Body, Event, EventSink};
use beamscope::render::{LadderRun, escape};

use super::{OpenOutputs, confined, open_whole, write_whole};
use crate::cli::console::{self, Warnings, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::selection::{Selected, Selection, SelectionOutcome};
use crate::cli::settings::LadderSettings;
use crate::cli::{sources, stop};

/// Draws the attempt.
///
/// # Errors
///
/// The captures have no such attempt, or the drawing cannot be written. A capture that cannot be read is reported, and
/// the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: LadderSettings) -> Result<RunOutcome, Error> {
    // The signal that asks how far a run is must not end it. Without the handler it does.
    let _ = stop::on_report_signal();
    let LadderSettings { captures, choice, format, config, output, warnings, .. } = settings;
    sources::check_readable(&captures)?;
    let outputs = OpenOutputs::of_events(output.as_deref().map(open_whole).transpose()?);
    let _confined = confined(settings.is_sandboxed, &captures, &outputs, None, false);
    let inputs = captures.iter().map(|path| sources::input(path)).collect();
    let read = ReadCounter::default();
    let mut inputs = sources::merged(inputs, settings.order, settings.threads, read)?;
    let names = inputs.names();
    let mut selection = Selection::new(settings.selection, || sources::last_packet(&captures))?;
    let mut outcome = SelectionOutcome::default();
    let mut source = Selected::new(inputs, &mut selection, &mut outcome);
    let collector = LadderCollector { run: LadderRun::new(names, choice), warnings };
    let mut engine = Engine::new(config, collector);
    let mut control = LadderControl::default();
    drive::run(&mut source, &mut engine, &mut control)?;
    selection.warnings().iter().for_each(|warning| warnings.warn(warning));
    if let Some(spans) = selection.spans().filter(|_| control.frames == 0) {
        warnings.warn(&format_args!("no packet was selected: {spans}"));
    }
    let drawing = engine.finish().run.draw(format)?;
    let written = match outputs.events.zip(output.as_ref()) {
        Some((target, path)) => write_whole(target, path, &drawing).map(|()| RunOutcome::Done),
        None => console::print(&drawing),
    };
    if control.has_failed || outcome.has_failed {
        written.map(|_| RunOutcome::Incomplete)
    } else {
        written
    }
}

/// Reports the inputs that cannot be read, and goes on with the others.
#[derive(Default)]
struct LadderControl {
    has_failed: bool,
    /// Number of packets that were selected.
    frames: u64,
}

impl<S: EventSink> Control<S> for LadderControl {
    fn after_frame(&mut self, _: &Frame<'_>, _: &mut Engine<S>) -> ControlFlow<()> {
        self.frames += 1;
        ControlFlow::Continue(())
    }

    fn on_failure(&mut self, _: u16, error: capture::Error, _: &mut Engine<S>) -> ControlFlow<()> {
        self.has_failed = true;
        report_error(&error, error.hint());
        ControlFlow::Continue(())
    }
}

/// Collects events, and warns of inputs that are damaged.
struct LadderCollector {
    run: LadderRun,
    warnings: Warnings,
}

impl EventSink for LadderCollector {
    fn event(&mut self, event: Event) {
        if let Body::Anomaly { anomaly } = &event.body
            && anomaly.kind.is_about_input()
        {
            self.warn(anomaly);
        }
        self.run.event(event);
    }
}

impl LadderCollector {
    fn warn(&self, anomaly: &Anomaly) {
        // The error of the input was reported.
        if anomaly.kind != AnomalyKind::InputUnreadable {
            self.warnings.warn(&escape(&anomaly.detail));
        }
    }
}
