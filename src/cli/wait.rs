//! Waiting, and when to stop.
//!
//! In: signals, the time allowed, the other end of standard output. Out: whether a run that has no
//! end of its own is to end. One `poll`; nothing is read.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use super::Asked;
use super::args::Args;

/// What ends a run that has no end of its own.
pub(super) struct Ending {
    /// Ctrl-C, or `kill`: end well. A second one ends at once.
    stop: Arc<AtomicBool>,
    /// SIGUSR1: tell how it goes.
    report: Arc<AtomicBool>,
    until: Option<Instant>,
    /// How often the cluster is told, and when next.
    cluster: Option<(Duration, Cell<Instant>)>,
    /// Whether events go to standard output.
    to_stdout: bool,
}

impl Ending {
    /// The time of the arguments runs, and signals are caught, from here on.
    ///
    /// # Errors
    ///
    /// Signals cannot be caught.
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        let ending = Self {
            stop: Arc::default(),
            report: Arc::default(),
            until: args.duration.and_then(|time| Instant::now().checked_add(time)),
            cluster: args
                .cluster_interval
                .and_then(|every| Some((every, Cell::new(Instant::now().checked_add(every)?)))),
            to_stdout: args.writing.output.is_none(),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must find the flag down.
            flag::register_conditional_default(signal, Arc::clone(&ending.stop))?;
            flag::register(signal, Arc::clone(&ending.stop))?;
        }
        flag::register(SIGUSR1, Arc::clone(&ending.report))?;
        Ok(ending)
    }

    /// Whether the user has ended it, or the time is over.
    pub(super) fn is_due(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// What is to be told by now: all of it on SIGUSR1, the cluster when its interval is over.
    pub(super) fn asked(&self) -> Asked {
        let stats = self.report.swap(false, Ordering::Relaxed);
        Asked { stats, cluster: self.is_time_for_cluster() || stats }
    }

    fn is_time_for_cluster(&self) -> bool {
        let Some((every, next)) = &self.cluster else { return false };
        let now = Instant::now();
        let is_time = next.get() <= now;
        if is_time {
            next.set(now.checked_add(*every).unwrap_or(now));
        }
        is_time
    }

    /// Waits until one of `sources` can be read, for a signal, or for the `longest` time, which is
    /// less than a second. `true` when nobody reads the output any more, which where nothing is
    /// written shows nowhere else.
    ///
    /// # Errors
    ///
    /// Waiting is not possible.
    pub(super) fn wait<S: AsFd>(&self, sources: &[S], longest: Duration) -> io::Result<bool> {
        let stdout = io::stdout();
        let mut fds: Vec<_> =
            sources.iter().map(|source| PollFd::new(source, PollFlags::IN)).collect();
        if self.to_stdout {
            fds.push(PollFd::new(&stdout, PollFlags::empty()));
        }
        let longest = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        match poll(&mut fds, Some(&longest)) {
            // The flags of the signal are looked at next.
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let out = if self.to_stdout { fds.last() } else { None };
        Ok(out.is_some_and(|out| out.revents().intersects(gone)))
    }
}

/// Longest sleep, so that what waits for a time to pass is told in time.
pub(super) const TICK: Duration = Duration::from_millis(100);
