//! Capturing until told to stop.
//!
//! In: interfaces, signals, and the other end of standard output. Out: frames pushed into the
//! pipeline, and the time told to it while there are none. One loop around one `poll`; nothing is
//! analysed.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use beamscope::capture::live::{self, Live, LiveOptions};
use beamscope::capture::save::Described;
use beamscope::output::Output;
use beamscope::pipeline::Pipeline;
use beamscope::time::Timestamp;

use super::args::Args;
use super::run::{self, Out};
use super::save::Saver;
use super::wait::{Ending, TICK};
use super::{Error, complain, filter};

/// The interfaces being captured from.
pub(super) struct Capture {
    devices: Vec<Live>,
    ending: Ending,
}

impl Capture {
    /// Opens all interfaces; from here on, signals wait for [`Capture::run`].
    ///
    /// # Errors
    ///
    /// One cannot be captured from, the filter cannot be used, or signals cannot be caught.
    pub(super) fn open(args: &Args) -> Result<Self, Error> {
        let defaults = LiveOptions::default();
        let options = LiveOptions {
            snaplen: args.snaplen.filter(|octets| *octets > 0).unwrap_or(defaults.snaplen),
            buffer: args.buffer_size.map_or(defaults.buffer, |kib| kib.saturating_mul(1024)),
            promisc: !args.no_promisc,
            filter: filter::text(args)?,
            ..defaults
        };
        let devices =
            args.interface.iter().zip(0..).map(|(name, input)| Live::open(name, input, &options));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Self { devices, ending: Ending::new(args).map_err(Error::Wait)? })
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
        mut saver: Option<&mut Saver>,
    ) -> Result<bool, Error> {
        let mut left = args.count.unwrap_or(u64::MAX);
        let mut lost = Vec::new();
        let mut busy = false;
        while left > 0
            && !self.devices.is_empty()
            && !self.ending.is_due()
            && !pipeline.sink_mut().failed()
            && !self.wait(busy)?
        {
            busy = false;
            self.devices.retain_mut(|device| {
                match drain(device, pipeline, saver.as_deref_mut(), &mut left) {
                    Ok(more) => {
                        busy |= more;
                        true
                    }
                    Err(error) => {
                        lost.push(error);
                        false
                    }
                }
            });
            pipeline.advance(now().before(HELD_BACK));
            let asked = self.ending.asked();
            if asked.cluster {
                pipeline.cluster();
            }
            if asked.stats {
                self.count_drops(pipeline);
                pipeline.stats();
            }
            if let Some(saver) = &mut saver {
                saver.flush();
                run::tell_trouble(args, saver, pipeline);
            }
            pipeline.sink_mut().flush();
        }
        self.count_drops(pipeline);
        lost.iter().for_each(|error| complain(error, error.hint()));
        Ok(lost.is_empty())
    }

    /// Waits for packets, for a signal, or for [`TICK`]; not at all when `busy`. `true` when nobody
    /// reads the output any more.
    fn wait(&self, busy: bool) -> Result<bool, Error> {
        let longest = if busy { Duration::ZERO } else { TICK };
        self.ending.wait(&self.devices, longest).map_err(Error::Wait)
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
    mut saver: Option<&mut Saver>,
    left: &mut u64,
) -> Result<bool, beamscope::capture::Error> {
    for _ in 0..BATCH.min(*left) {
        let Some(frame) = device.next_frame()? else { return Ok(false) };
        pipeline.push_frame(&frame);
        if let Some(saver) = &mut saver {
            saver.save(&frame, [], Described::default);
        }
        *left -= 1;
    }
    Ok(true)
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

/// Age up to which the kernel may still hold frames back: its time-out for a block is 100 ms, and
/// the time that is told to the pipeline must not be ahead of a frame that comes later.
const HELD_BACK: Duration = Duration::from_millis(250);

/// Frames of one interface before the others, the signals and the clock have their turn: a few
/// milliseconds of work.
const BATCH: u64 = 4096;
