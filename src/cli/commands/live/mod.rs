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
use super::super::console::{print, report_error};
use super::super::error::{Error, RunOutcome};
use super::super::save::Saver;
use super::super::settings::{LiveSettings, OutputSettings};
use super::super::sinks::{self, EventStream};
use super::super::stop::{Interval, TICK};
use super::{finish_run, finish_saving, report_problem};

/// Captures from the interfaces.
///
/// # Errors
///
/// An interface or a file for output cannot be opened, privileges cannot be dropped, or output cannot
/// be written. An interface that is lost during the run is reported, and the outcome is then
/// `Incomplete`.
pub(in super::super) fn run(settings: LiveSettings) -> Result<RunOutcome, Error> {
    let Started { mut capture, mut pipeline, mut saver, evidence_failed, output, fail_on } =
        startup::start(settings)?;
    let ended = capture.run(&output, &mut pipeline, saver.as_mut());
    let is_saved = finish_saving(saver, &mut pipeline);
    let is_complete = is_saved && !evidence_failed.load(Ordering::Relaxed);
    let outcome = finish_run(&output, fail_on, pipeline.finish(), is_complete)?;
    Ok(if ended? { outcome } else { RunOutcome::Incomplete })
}

/// Prints the interfaces to capture from.
///
/// # Errors
///
/// libpcap cannot list them.
pub(in super::super) fn list_interfaces() -> Result<RunOutcome, Error> {
    print(interfaces()?)
}

impl LiveCapture {
    /// Captures until a signal, a limit of the settings, the end of whoever reads the output, or
    /// the loss of all interfaces. `false` when an interface was lost.
    ///
    /// # Errors
    ///
    /// Waiting is not possible.
    fn run(
        &mut self,
        output: &OutputSettings,
        pipeline: &mut Engine<Output<EventStream>>,
        saver: Option<&mut Saver>,
    ) -> Result<bool, Error> {
        let mut watch = LiveLoop {
            pipeline,
            saver,
            names: &self.names,
            snaplen: self.snaplen,
            timeline: (self.devices.len() > 1)
                .then(|| Timeline::new(self.devices.len(), MOST_HELD)),
            held_back: self.held_back,
            left: self.packet_limit,
            end: None,
            lost: LiveStats::default(),
            are_lost: false,
            dropped: 0,
            unread: SlowReaderNotice::default(),
        };
        let mut tick = Interval::new(TICK);
        let mut busy = false;
        let mut is_read = true;
        while is_read
            && (busy || !watch.is_drained())
            && !watch.is_done()
            && !self.devices.is_empty()
        {
            if watch.end.is_none() && self.stop.is_met() {
                // What has reached the host by now is still on its way to us.
                watch.end = Some(now());
            }
            is_read = !self.stop.wait(&self.devices, watch.patience(busy)).map_err(Error::Wait)?;
            busy = watch.take(&mut self.devices);
            if tick.has_ended() {
                watch.look_around(&mut self.devices);
            }
            if !busy {
                watch.pass_time();
            }
            let due = self.stop.due_reports();
            if due.cluster {
                watch.pipeline.cluster();
            }
            if due.stats {
                watch.count_drops(&mut self.devices);
                watch.pipeline.stats();
            }
            if self.stop.takes_reopen() {
                match sinks::reopen_stream(output) {
                    Some(Ok(out)) => watch.pipeline.sink_mut().replace(out),
                    Some(Err(error)) => report_error(&error, error.hint()),
                    None => {}
                }
                if let Some(saver) = &mut watch.saver {
                    saver.reopen();
                }
            }
            watch.flush_saver();
            watch.pipeline.sink_mut().flush();
        }
        watch.release(Timestamp(u64::MAX));
        watch.look_around(&mut self.devices);
        Ok(!watch.are_lost)
    }
}

/// The state of the loop.
struct LiveLoop<'a> {
    pipeline: &'a mut Engine<Output<EventStream>>,
    saver: Option<&'a mut Saver>,
    /// What the interfaces are called, and how much is kept of a frame.
    names: &'a [String],
    snaplen: u32,
    /// Where there are several interfaces: puts their frames in order.
    timeline: Option<Timeline>,
    held_back: Duration,
    /// Packets still wanted.
    left: u64,
    /// When the run was ended: what came later is not looked at.
    end: Option<Timestamp>,
    /// What interfaces that are lost have dropped.
    lost: LiveStats,
    are_lost: bool,
    /// Packets dropped by the last look.
    dropped: u64,
    unread: SlowReaderNotice,
}

impl LiveLoop<'_> {
    /// Each frame passes here, in the order of time.
    fn on_frame(&mut self, frame: &Frame<'_>) {
        if self.left == 0 || self.end.is_some_and(|end| end < frame.at) {
            return;
        }
        self.left -= 1;
        self.pipeline.push_frame(frame);
        if let Some(saver) = &mut self.saver {
            let (names, snaplen) = (self.names, self.snaplen);
            let describe =
                || Described { name: names.get(usize::from(frame.id.input)).cloned(), snaplen };
            // Cooked frames of several interfaces tell them apart themselves.
            saver.save(&Frame { interface: None, ..*frame }, [], describe);
        }
    }

    /// Hands on the packets that are to be saved.
    fn flush_saver(&mut self) {
        if let Some(saver) = &mut self.saver {
            saver.flush();
            report_problem(saver, self.pipeline);
        }
    }

    /// Whether nothing is wanted any more, whatever has come.
    fn is_done(&mut self) -> bool {
        self.left == 0 || self.pipeline.sink_mut().failed()
    }

    /// Whether all has come that reached the host before the end.
    fn is_drained(&self) -> bool {
        self.end.is_some_and(|end| end.after(self.held_back) < now())
    }

    /// How long to wait for packets, or for a signal.
    const fn patience(&self, busy: bool) -> Duration {
        match (busy, &self.timeline, self.end) {
            (true, ..) => Duration::ZERO,
            (false, None, None) => TICK,
            (false, ..) => HELD_TICK,
        }
    }

    /// Takes the frames that are there, up to [`BATCH`] of each interface. `true` when that may not be
    /// all that are wanted.
    fn take(&mut self, devices: &mut Vec<Live>) -> bool {
        let mut busy = false;
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
                    let most = usize::try_from(self.left).unwrap_or(BATCH).min(BATCH);
                    device.frames(most, |frame| {
                        last = frame.at;
                        self.on_frame(frame);
                    })
                }
            };
            match taken {
                // What comes after the end is not waited for.
                Ok(more) => busy |= more && self.end.is_none_or(|end| last <= end),
                Err(error) => {
                    report_error(&error, error.hint());
                    self.on_interface(device, AnomalyKind::InterfaceGone, error.to_string());
                    self.lost = self.lost.and(device.stats());
                    self.are_lost = true;
                    if let Some(timeline) = &mut self.timeline {
                        timeline.close(device.input());
                    }
                    return false;
                }
            }
            true
        });
        // While there is more, only what no interface can precede is told.
        self.release(if busy { Timestamp(0) } else { now().before(self.held_back) });
        busy
    }

    /// Hands on the frames up to `until`, and those before which none can come.
    fn release(&mut self, until: Timestamp) {
        if let Some(mut timeline) = self.timeline.take() {
            timeline.release(until, |frame| self.on_frame(frame));
            self.timeline = Some(timeline);
        }
    }

    /// Tells the pipeline the time up to which all frames have come.
    fn pass_time(&mut self) {
        let until = now().before(self.held_back);
        self.pipeline.advance(self.end.map_or(until, |end| until.min(end)));
    }

    /// What does not show in the frames: interfaces that go down and come back, drops, and readers that
    /// are too slow.
    fn look_around(&mut self, devices: &mut [Live]) {
        for device in devices.iter_mut() {
            let device_name = device.device().to_owned();
            match device.turn() {
                Some(false) => {
                    let detail = format!("{device_name} is down: no packet comes from it");
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
        let output = self.pipeline.sink_mut();
        let (left_out, is_behind) = (output.left_out(), output.is_behind());
        self.pipeline.left_out(left_out);
        if let Some(detail) = self.unread.turn(left_out, is_behind) {
            self.pipeline.on_anomaly(Anomaly::new(AnomalyKind::Limit, detail));
        }
    }

    fn on_interface(&mut self, device: &Live, kind: AnomalyKind, detail: String) {
        self.pipeline.on_input_anomaly(device.input(), Anomaly::new(kind, detail));
    }

    fn count_drops(&mut self, devices: &mut [Live]) {
        let mut total = self.lost;
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
            self.pipeline.on_loss(now());
        }
        self.pipeline.drops(Some(total.dropped), Some(total.if_dropped));
    }
}

/// What is said of events that were left out.
#[derive(Default)]
struct SlowReaderNotice {
    /// Events left out when there was last room for all.
    before: u64,
    is_behind: bool,
}

impl SlowReaderNotice {
    /// What is to be said now that `left_out` events are left out in all: once when that begins, and once
    /// when the reader has caught up.
    fn turn(&mut self, left_out: u64, is_behind: bool) -> Option<String> {
        if !self.is_behind && left_out > self.before {
            self.is_behind = true;
            return Some(
                "events are left out from here on: whoever reads them is slower than the capture"
                    .to_owned(),
            );
        }
        if self.is_behind && !is_behind {
            self.is_behind = false;
            let events = left_out - std::mem::replace(&mut self.before, left_out);
            return Some(format!("{events} events were left out; from here on all are told"));
        }
        None
    }
}

/// The interfaces that can be captured from, a line each, numbered as `-i` takes them.
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

/// The only reading of the wall clock: frames are stamped with the same by the kernel.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs(), since.subsec_nanos().into())
}

/// Frames of one interface before the others, the signals and the clock have their turn: a few
/// milliseconds of work.
const BATCH: usize = 4096;

/// Bytes of frames that wait for those of other interfaces: what a link of 1 Gbit/s brings in the time
/// for which they do, twice.
const MOST_HELD: usize = 32 << 20;

/// Longest sleep while frames may wait for that time to be over.
const HELD_TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_of_once_when_it_begins_and_once_when_it_is_over() {
        let mut unread = SlowReaderNotice::default();
        assert!(unread.turn(0, true).is_none(), "behind, and nothing left out yet");
        assert!(unread.turn(5, true).unwrap().contains("from here on"));
        assert!(unread.turn(9, true).is_none());
        assert!(unread.turn(9, false).unwrap().starts_with("9 events"));
        assert!(unread.turn(9, false).is_none());
        assert!(unread.turn(10, true).is_some());
        assert!(unread.turn(12, false).unwrap().starts_with("3 events"));
    }
}
