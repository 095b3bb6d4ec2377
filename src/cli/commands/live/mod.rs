//! `beamscope -i`: captures from interfaces until a signal, a limit, or a closed output ends it.
//!
//! In: interfaces, signals, time, and the reader of standard output. Out: frames run through the engine,
//! saved, and reported. Nothing waits for a reader: events leave through a queue.

pub(in crate::cli) mod extract;
mod startup;
mod status;

use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use beamscope::anonymize::Anonymized;
use beamscope::capture::live::{self, Live, LiveSource, Wait};
use beamscope::capture::{self, Drops, Frame, Item};
use beamscope::drive::{self, Control};
use beamscope::engine::Engine;
use beamscope::record::{Anomaly, AnomalyKind};
use beamscope::render::Output;

use self::startup::{LiveCapture, Started};
use self::status::LiveStatus;
use super::{finish_observations, finish_run, finish_saving, report_problem};
use crate::cli::console::{print, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::keylog::KeyLogFiles;
use crate::cli::place::Place;
use crate::cli::save::Saver;
use crate::cli::settings::{LiveSettings, OutputSettings};
use crate::cli::sinks::{self, EventStream};
use crate::cli::stop::{Interval, StopCondition, TICK};

/// Captures from the interfaces.
///
/// # Errors
///
/// An interface or a file for output cannot be opened, privileges cannot be dropped, or output cannot
/// be written. An interface that is lost during the run is reported, and the outcome is then
/// `Incomplete`.
pub(in crate::cli) fn run(settings: LiveSettings) -> Result<RunOutcome, Error> {
    let Started {
        capture,
        mut engine,
        key_log,
        saver,
        replacements,
        evidence_failed,
        observations,
        output,
        events_place,
        fail_on,
        #[cfg(feature = "tui")]
        tui,
    } = startup::start(settings)?;
    let LiveCapture { interfaces, names, stop, held_back, packet_limit } = capture;
    #[cfg(feature = "tui")]
    let signals = stop.clone();
    let mut source = LiveSource::new(interfaces, held_back, stop.clone());
    let mut control = LiveControl {
        status: LiveStatus::new(&names, output.warnings),
        captured: 0,
        drops: Drops::default(),
        output: &output,
        events_place,
        key_log,
        saver,
        left: packet_limit,
        stop,
        tick: Interval::new(TICK),
        slow_reader: SlowReaderNotice::default(),
        has_failed: false,
    };
    let ended = match replacements {
        None => drive::run(&mut source, &mut engine, &mut control),
        Some(mut replacements) => {
            let mut source = Anonymized::new(source, &mut replacements);
            drive::run(&mut source, &mut engine, &mut control)
        }
    };
    control.status = None;
    control.report_slow_reader(&mut engine);
    let LiveControl { saver, has_failed, .. } = control;
    let is_saved = finish_saving(saver, &mut engine);
    let sink = engine.finish();
    let is_saved = finish_observations(observations) && is_saved;
    let is_complete = is_saved && !has_failed && !evidence_failed.load(Ordering::Relaxed);
    #[cfg(feature = "tui")]
    tui.map_or(Ok(()), |tui| tui.finish(signals.is_met()))?;
    let outcome = finish_run(&output, fail_on, sink, is_complete)?;
    ended?;
    Ok(outcome)
}

/// Prints the interfaces to capture from.
///
/// # Errors
///
/// libpcap cannot list them.
pub(in crate::cli) fn list_interfaces() -> Result<RunOutcome, Error> {
    print(interfaces()?)
}

/// Saves frames, answers signals, and ends the run as the settings demand.
struct LiveControl<'a> {
    status: Option<LiveStatus>,
    /// Number of packets so far.
    captured: u64,
    /// Packets that were dropped so far.
    drops: Drops,
    output: &'a OutputSettings,
    /// Where the file of events is; `None` for standard output.
    events_place: Option<Place>,
    key_log: KeyLogFiles,
    saver: Option<Saver>,
    /// Packets left until the packet limit ends the run.
    left: u64,
    stop: StopCondition,
    tick: Interval,
    slow_reader: SlowReaderNotice,
    /// Whether an interface was lost.
    has_failed: bool,
}

type LiveEngine = Engine<Output<EventStream>>;

impl Control<Output<EventStream>> for LiveControl<'_> {
    #[inline]
    fn after_frame(&mut self, frame: &Frame<'_>, _: &mut LiveEngine) -> ControlFlow<()> {
        self.left -= 1;
        self.captured += 1;
        if let Some(saver) = &mut self.saver {
            // One input has one interface; the frames of "any" contain their interface themselves.
            saver.save(&Frame { interface: None, ..*frame }, []);
        }
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn after_item(&mut self, item: &Item<'_>, _: &mut LiveEngine) -> ControlFlow<()> {
        if let Item::Drops(drops) = item {
            self.drops = *drops;
        }
        if let (Some(saver), Item::Interface { input, interface, .. }) = (&mut self.saver, item) {
            saver.count(*input, None, (*interface).clone());
        }
        ControlFlow::Continue(())
    }

    fn on_failure(&mut self, _: u16, error: capture::Error, _: &mut LiveEngine) -> ControlFlow<()> {
        report_error(&error, error.hint());
        self.has_failed = true;
        ControlFlow::Continue(())
    }

    fn on_pause(&mut self, engine: &mut LiveEngine) -> ControlFlow<()> {
        self.key_log.read_on();
        if self.tick.has_ended() {
            self.report_slow_reader(engine);
        }
        if let Some(status) = &mut self.status {
            status.update(self.captured, &engine.sink_mut().counts(), self.drops);
        }
        let due = self.stop.due_reports();
        if due.cluster {
            engine.cluster();
        }
        if due.stats {
            engine.stats();
        }
        if self.stop.takes_reopen() {
            self.reopen(engine);
        }
        if let Some(saver) = &mut self.saver {
            saver.flush();
            report_problem(saver, engine);
        }
        engine.sink_mut().flush();
        if engine.sink_mut().failed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl LiveControl<'_> {
    /// Reports once when events are left out, and once when the reader has caught up.
    fn report_slow_reader(&mut self, engine: &mut LiveEngine) {
        let output = engine.sink_mut();
        let (left_out, is_behind) = (output.left_out(), output.is_behind());
        engine.left_out(left_out);
        if let Some(detail) = self.slow_reader.update(left_out, is_behind) {
            engine.on_anomaly(Anomaly::new(AnomalyKind::Limit, detail));
        }
    }

    /// Opens the files for output again, which another program may have moved away.
    fn reopen(&mut self, engine: &mut LiveEngine) {
        let reopened =
            self.events_place.as_ref().map(|place| sinks::reopen_file(self.output, place));
        match reopened {
            Some(Ok(out)) => engine.sink_mut().replace(out),
            Some(Err(error)) => report_error(&error, error.hint()),
            None => {}
        }
        if let Some(saver) = &mut self.saver {
            saver.reopen();
        }
    }
}

impl Wait for StopCondition {
    fn is_stopped(&mut self) -> bool {
        self.is_met()
    }

    fn wait(&mut self, interfaces: &[Live], longest: Duration) -> io::Result<bool> {
        Self::wait(self, interfaces, longest)
    }
}

/// Reports once when a slow reader makes events drop out, and once when it has caught up.
#[derive(Default)]
struct SlowReaderNotice {
    /// Events left out before the reader fell behind.
    left_out_before: u64,
    is_behind: bool,
}

impl SlowReaderNotice {
    /// The notice that is due now that `left_out` events have been left out in all.
    fn update(&mut self, left_out: u64, is_behind: bool) -> Option<String> {
        if !self.is_behind && left_out > self.left_out_before {
            self.is_behind = true;
            return Some(
                "events are left out from here on: their reader is slower than the capture"
                    .to_owned(),
            );
        }
        if self.is_behind && !is_behind {
            self.is_behind = false;
            let events = left_out - std::mem::replace(&mut self.left_out_before, left_out);
            return Some(format!("{events} events were left out; from here on all are written"));
        }
        None
    }
}

/// The interfaces to capture from, one a line, with the numbers that `-i` accepts.
fn interfaces() -> Result<String, Error> {
    let mut text = String::new();
    for (number, device) in (1..).zip(live::available()?) {
        let state = if device.up { "" } else { " (down)" };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{number}.{}{state}", device.name);
        let about = device.description.into_iter().chain(device.addresses).collect::<Vec<_>>();
        let _ = match about.as_slice() {
            [] => writeln!(text),
            about => writeln!(text, "  {}", about.join(", ")),
        };
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_reported_when_it_falls_behind_and_when_it_has_caught_up() {
        let mut notice = SlowReaderNotice::default();
        assert!(notice.update(0, true).is_none(), "behind, and nothing left out yet");
        assert!(notice.update(5, true).unwrap().contains("from here on"));
        assert!(notice.update(9, true).is_none());
        assert!(notice.update(9, false).unwrap().starts_with("9 events"));
        assert!(notice.update(9, false).is_none());
        assert!(notice.update(10, true).is_some());
        assert!(notice.update(12, false).unwrap().starts_with("3 events"));
    }
}
