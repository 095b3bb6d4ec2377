//! Capturing until told to stop.
//!
//! In: interfaces, signals, and the other end of standard output. Out: frames pushed into the
//! pipeline, and the time told to it while there are none. One loop around one `poll`; nothing is
//! analysed.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use beamscope::capture::live::{self, Live, LiveOptions};
use beamscope::output::Output;
use beamscope::pipeline::Pipeline;
use beamscope::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use super::args::Args;
use super::run::Out;
use super::{Error, complain};

/// The interfaces being captured from.
pub(super) struct Capture {
    devices: Vec<Live>,
    signals: Signals,
}

impl Capture {
    /// Opens all interfaces; from here on, signals wait for [`Capture::run`].
    ///
    /// # Errors
    ///
    /// One cannot be captured from, or signals cannot be caught.
    pub(super) fn open(args: &Args) -> Result<Self, Error> {
        let defaults = LiveOptions::default();
        let options = LiveOptions {
            snaplen: args.snaplen.unwrap_or(defaults.snaplen),
            buffer: args.buffer_size.map_or(defaults.buffer, |kib| kib.saturating_mul(1024)),
            promisc: !args.no_promisc,
            ..defaults
        };
        let devices =
            args.interface.iter().zip(0..).map(|(name, input)| Live::open(name, input, &options));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Self { devices, signals: Signals::new().map_err(Error::Wait)? })
    }

    /// Captures until a signal, a limit of the arguments, the end of whoever reads the output, or
    /// the loss of all interfaces. `false` when an interface was lost.
    ///
    /// # Errors
    ///
    /// Waiting is not possible.
    pub(super) fn run(
        &mut self,
        args: &Args,
        pipeline: &mut Pipeline<Output<Out>>,
    ) -> Result<bool, Error> {
        let until = args.duration.and_then(|time| Instant::now().checked_add(time));
        let mut left = args.count.unwrap_or(u64::MAX);
        let mut lost = Vec::new();
        let mut busy = false;
        while left > 0
            && !self.devices.is_empty()
            && !self.signals.stop.load(Ordering::Relaxed)
            && until.is_none_or(|until| Instant::now() < until)
            && !pipeline.sink_mut().failed()
            && !self.wait(args, busy)?
        {
            busy = false;
            self.devices.retain_mut(|device| match drain(device, pipeline, &mut left) {
                Ok(more) => {
                    busy |= more;
                    true
                }
                Err(error) => {
                    lost.push(error);
                    false
                }
            });
            pipeline.advance(now().before(HELD_BACK));
            if self.signals.report.swap(false, Ordering::Relaxed) {
                self.count_drops(pipeline);
                pipeline.stats();
            }
            pipeline.sink_mut().flush();
        }
        self.count_drops(pipeline);
        lost.iter().for_each(|error| complain(error, error.hint()));
        Ok(lost.is_empty())
    }

    /// Waits for packets, for a signal, or for [`TICK`]; not at all when `busy`. `true` when nobody
    /// reads the output any more, which on a quiet link shows nowhere else.
    fn wait(&self, args: &Args, busy: bool) -> Result<bool, Error> {
        let stdout = io::stdout();
        let mut fds: Vec<_> =
            self.devices.iter().map(|device| PollFd::new(device, PollFlags::IN)).collect();
        if args.output.is_none() {
            fds.push(PollFd::new(&stdout, PollFlags::empty()));
        }
        let tick = if busy { Duration::ZERO } else { TICK };
        let tick = Timespec { tv_sec: 0, tv_nsec: tick.subsec_nanos().into() };
        match poll(&mut fds, Some(&tick)) {
            // The flags of the signal are looked at next.
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::Wait(e.into())),
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let out = if args.output.is_none() { fds.last() } else { None };
        Ok(out.is_some_and(|out| out.revents().intersects(gone)))
    }

    fn count_drops(&mut self, pipeline: &mut Pipeline<Output<Out>>) {
        let counts = self.devices.iter_mut().filter_map(|device| device.stats().ok());
        let total = counts
            .map(|stats| (stats.dropped, stats.if_dropped))
            .reduce(|a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
        pipeline.drops(total.map(|(kernel, _)| kernel), total.map(|(_, device)| device));
    }
}

/// Pushes the frames that are there, up to [`BATCH`]. `true` when that was not all.
fn drain(
    device: &mut Live,
    pipeline: &mut Pipeline<Output<Out>>,
    left: &mut u64,
) -> Result<bool, beamscope::capture::Error> {
    for _ in 0..BATCH.min(*left) {
        let Some(frame) = device.next_frame()? else { return Ok(false) };
        pipeline.push_frame(&frame);
        *left -= 1;
    }
    Ok(true)
}

/// What signals ask for.
struct Signals {
    /// Ctrl-C, or `kill`: end well. A second one ends at once.
    stop: Arc<AtomicBool>,
    /// SIGUSR1: tell how it goes.
    report: Arc<AtomicBool>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let signals = Self { stop: Arc::default(), report: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must find the flag down.
            flag::register_conditional_default(signal, Arc::clone(&signals.stop))?;
            flag::register(signal, Arc::clone(&signals.stop))?;
        }
        flag::register(SIGUSR1, Arc::clone(&signals.report))?;
        Ok(signals)
    }
}

/// The interfaces that can be captured from, a line each.
pub(super) fn interfaces() -> Result<String, Error> {
    let mut text = String::new();
    for device in live::available()? {
        let state = if device.up { "" } else { " (down)" };
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{}{state}", device.name);
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

/// Longest sleep, so that what waits for a time to pass is told in time.
const TICK: Duration = Duration::from_millis(100);

/// Age up to which the kernel may still hold frames back: its time-out for a block is 100 ms, and
/// the time that is told to the pipeline must not be ahead of a frame that comes later.
const HELD_BACK: Duration = Duration::from_millis(250);

/// Frames of one interface before the others, the signals and the clock have their turn: a few
/// milliseconds of work.
const BATCH: u64 = 4096;
