//! `beamscope -i`: captures from interfaces until a signal, a limit, or a closed output ends it.
//!
//! In: interfaces, signals, time, and the reader of standard output. Out: frames pushed into the
//! engine, and the time passed to it while there are none. One loop around one `poll`; nothing is
//! analysed here, and nothing waits for a reader: events leave through a queue.

mod startup;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use beamscope::capture::live::{self, Live, LiveStats};
use beamscope::capture::save::Described;
use beamscope::capture::{Frame, Interface, Timeline};
use beamscope::engine::Engine;
use beamscope::record::{Anomaly, AnomalyKind};
use beamscope::render::Output;
use beamscope::time::Timestamp;

use self::startup::{LiveCapture, Started};
use super::{finish_run, finish_saving, report_problem};
use crate::cli::console::{print, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::save::Saver;
use crate::cli::settings::{LiveSettings, OutputSettings};
use crate::cli::sinks::{self, EventStream};
use crate::cli::stop::{Interval, TICK};

/// Captures from the interfaces.
///
/// # Errors
///
/// An interface or a file for output cannot be opened, privileges cannot be dropped, or output cannot
/// be written. An interface that is lost during the run is reported, and the outcome is then
/// `Incomplete`.
pub(in crate::cli) fn run(settings: LiveSettings) -> Result<RunOutcome, Error> {
    let Started { mut capture, mut engine, mut saver, evidence_failed, output, fail_on } =
        startup::start(settings)?;
    let ended = capture.run(&output, &mut engine, saver.as_mut());
    let is_saved = finish_saving(saver, &mut engine);
    let is_complete = is_saved && !evidence_failed.load(Ordering::Relaxed);
    let outcome = finish_run(&output, fail_on, engine.finish(), is_complete)?;
    Ok(if ended? { outcome } else { RunOutcome::Incomplete })
}

/// Prints the interfaces to capture from.
///
/// # Errors
///
/// libpcap cannot list them.
pub(in crate::cli) fn list_interfaces() -> Result<RunOutcome, Error> {
    print(interfaces()?)
}

impl LiveCapture {
    /// Captures until a signal, a limit of the settings, a closed output, or the loss of all
    /// interfaces. `false` if an interface was lost.
    ///
    /// # Errors
    ///
    /// `poll` fails.
    fn run(
        &mut self,
        output: &OutputSettings,
        engine: &mut Engine<Output<EventStream>>,
        saver: Option<&mut Saver>,
    ) -> Result<bool, Error> {
        let mut live = LiveLoop {
            engine,
            saver,
            names: &self.names,
            snaplen: self.snaplen,
            timeline: (self.devices.len() > 1)
                .then(|| Timeline::new(self.devices.len(), MOST_HELD)),
            held_back: self.held_back,
            packets_left: self.packet_limit,
            end: None,
            lost_stats: LiveStats::default(),
            has_lost_interface: false,
            dropped: 0,
            slow_reader: SlowReaderNotice::default(),
        };
        let mut tick = Interval::new(TICK);
        let mut is_busy = false;
        let mut is_read = true;
        while is_read
            && (is_busy || !live.is_drained())
            && !live.is_done()
            && !self.devices.is_empty()
        {
            if live.end.is_none() && self.stop.is_met() {
                // Frames that arrived before now may still be in the kernel's buffer: read them first.
                live.end = Some(now());
            }
            is_read =
                !self.stop.wait(&self.devices, live.max_wait(is_busy)).map_err(Error::Wait)?;
            is_busy = live.read_frames(&mut self.devices);
            if tick.has_ended() {
                live.check_interfaces(&mut self.devices);
            }
            if !is_busy {
                live.pass_time();
            }
            let due = self.stop.due_reports();
            if due.cluster {
                live.engine.cluster();
            }
            if due.stats {
                live.count_drops(&mut self.devices);
                live.engine.stats();
            }
            if self.stop.takes_reopen() {
                match sinks::reopen_stream(output) {
                    Some(Ok(out)) => live.engine.sink_mut().replace(out),
                    Some(Err(error)) => report_error(&error, error.hint()),
                    None => {}
                }
                if let Some(saver) = &mut live.saver {
                    saver.reopen();
                }
            }
            live.flush_saver();
            live.engine.sink_mut().flush();
        }
        live.release(Timestamp(u64::MAX));
        live.check_interfaces(&mut self.devices);
        Ok(!live.has_lost_interface)
    }
}

/// The loop around one `poll`, and its state.
struct LiveLoop<'a> {
    engine: &'a mut Engine<Output<EventStream>>,
    saver: Option<&'a mut Saver>,
    /// Names of the interfaces, in the order of their inputs.
    names: &'a [String],
    /// Bytes captured of a frame.
    snaplen: u32,
    /// Puts the frames of several interfaces in order; `None` for a single interface.
    timeline: Option<Timeline>,
    /// Longest time from the arrival of a frame until libpcap hands it over.
    held_back: Duration,
    /// Packets that may still come before `--count` ends the run.
    packets_left: u64,
    /// When a signal or the time limit ended the run: later packets are ignored.
    end: Option<Timestamp>,
    /// Counters of the interfaces that were lost.
    lost_stats: LiveStats,
    has_lost_interface: bool,
    /// Packets dropped up to the last call of [`Self::count_drops`].
    dropped: u64,
    slow_reader: SlowReaderNotice,
}

impl LiveLoop<'_> {
    /// Analyses and saves a frame. Frames come in the order of time.
    fn on_frame(&mut self, frame: &Frame<'_>) {
        if self.packets_left == 0 || self.end.is_some_and(|end| end < frame.at) {
            return;
        }
        self.packets_left -= 1;
        self.engine.push_frame(frame);
        if let Some(saver) = &mut self.saver {
            let (names, snaplen) = (self.names, self.snaplen);
            let describe =
                || Described { name: names.get(usize::from(frame.id.input)).cloned(), snaplen };
            // One input has one interface; the frames of "any" contain their interface themselves.
            saver.save(&Frame { interface: None, ..*frame }, [], describe);
        }
    }

    /// Writes the packets to be saved, and reports a failure.
    fn flush_saver(&mut self) {
        if let Some(saver) = &mut self.saver {
            saver.flush();
            report_problem(saver, self.engine);
        }
    }

    /// Whether the packet limit is reached, or events can no longer be written.
    fn is_done(&mut self) -> bool {
        self.packets_left == 0 || self.engine.sink_mut().failed()
    }

    /// Whether all frames that arrived before the end of the run have been read.
    fn is_drained(&self) -> bool {
        self.end.is_some_and(|end| end.after(self.held_back) < now())
    }

    /// Longest wait for packets or for a signal.
    const fn max_wait(&self, is_busy: bool) -> Duration {
        match (is_busy, &self.timeline, self.end) {
            (true, ..) => Duration::ZERO,
            (false, None, None) => TICK,
            (false, ..) => HELD_TICK,
        }
    }

    /// Reads the frames that are ready, up to [`BATCH`] of each interface. `true` if more may be ready
    /// that belong to the run.
    fn read_frames(&mut self, devices: &mut Vec<Live>) -> bool {
        let mut is_busy = false;
        devices.retain_mut(|device| {
            let mut last = Timestamp::default();
            let taken = match self.timeline.take() {
                Some(mut timeline) => {
                    let taken = device.frames(BATCH, |frame| {
                        last = frame.at;
                        timeline.hold(frame);
                    });
                    self.timeline = Some(timeline);
                    taken
                }
                None => {
                    let most = usize::try_from(self.packets_left).unwrap_or(BATCH).min(BATCH);
                    device.frames(most, |frame| {
                        last = frame.at;
                        self.on_frame(frame);
                    })
                }
            };
            match taken {
                // Frames after the end of the run need not be read.
                Ok(more) => is_busy |= more && self.end.is_none_or(|end| last <= end),
                Err(error) => {
                    report_error(&error, error.hint());
                    self.on_interface(device, AnomalyKind::InterfaceGone, error.to_string());
                    self.lost_stats = self.lost_stats.and(device.stats());
                    self.has_lost_interface = true;
                    if let Some(timeline) = &mut self.timeline {
                        timeline.close(device.input());
                    }
                    return false;
                }
            }
            true
        });
        // While more is ready, an earlier frame may be among it: release none by the clock.
        self.release(if is_busy { Timestamp(0) } else { now().before(self.held_back) });
        is_busy
    }

    /// Analyses the frames up to `until`, and those that no other interface can precede.
    fn release(&mut self, until: Timestamp) {
        if let Some(mut timeline) = self.timeline.take() {
            timeline.release(until, |frame| self.on_frame(frame));
            self.timeline = Some(timeline);
        }
    }

    /// Passes the time up to which all frames have been read to the engine.
    fn pass_time(&mut self) {
        let until = now().before(self.held_back);
        self.engine.advance(self.end.map_or(until, |end| until.min(end)));
    }

    /// Reports what frames do not show: interfaces that go down and come back, drops, and a slow reader
    /// of the output.
    fn check_interfaces(&mut self, devices: &mut [Live]) {
        for device in devices.iter_mut() {
            let device_name = device.device().to_owned();
            match device.turn() {
                Some(false) => {
                    let detail = format!("{device_name} is down: no packets come from it");
                    self.on_interface(device, AnomalyKind::InterfaceDown, detail);
                }
                Some(true) => {
                    let detail = format!("{device_name} is up again");
                    self.on_interface(device, AnomalyKind::InterfaceUp, detail);
                }
                None => {}
            }
        }
        self.count_drops(devices);
        let output = self.engine.sink_mut();
        let (left_out, is_behind) = (output.left_out(), output.is_behind());
        self.engine.left_out(left_out);
        if let Some(detail) = self.slow_reader.update(left_out, is_behind) {
            self.engine.on_anomaly(Anomaly::new(AnomalyKind::Limit, detail));
        }
    }

    fn on_interface(&mut self, device: &Live, kind: AnomalyKind, detail: String) {
        self.engine.on_input_anomaly(device.input(), Anomaly::new(kind, detail));
    }

    fn count_drops(&mut self, devices: &mut [Live]) {
        let mut total = self.lost_stats;
        for device in devices {
            let stats = device.stats();
            total = total.and(stats);
            if let Some(saver) = &mut self.saver {
                let counts = Interface {
                    name: None,
                    received: Some(stats.received),
                    if_drop: Some(stats.if_dropped),
                    os_drop: Some(stats.dropped),
                };
                saver.count(device.input(), None, counts);
            }
        }
        let dropped = total.dropped.saturating_add(total.if_dropped);
        if dropped > std::mem::replace(&mut self.dropped, dropped) {
            self.engine.on_loss(now());
        }
        self.engine.drops(Some(total.dropped), Some(total.if_dropped));
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

/// The wall clock, which the kernel also takes the times of frames from. Nothing else reads it.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs(), since.subsec_nanos().into())
}

/// Frames read from one interface before the others, the signals and the clock are looked at: a few
/// milliseconds of work.
const BATCH: usize = 4096;

/// Bytes of frames that wait for those of other interfaces: twice what a link of 1 Gbit/s brings in the
/// time that they wait.
const MOST_HELD: usize = 32 << 20;

/// Longest wait for packets while frames of one interface wait for those of another.
const HELD_TICK: Duration = Duration::from_millis(10);

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
