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
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use super::Asked;
use super::args::Args;

/// What ends a run that has no end of its own.
pub(super) struct StopCondition {
    /// Ctrl-C, or `kill`: end well. A second one ends at once.
    stop: Arc<AtomicBool>,
    /// SIGUSR1: tell how it goes.
    report: Arc<AtomicBool>,
    /// SIGHUP: open the output anew.
    reopen: Arc<AtomicBool>,
    until: Option<Instant>,
    /// When the cluster is told.
    cluster: Option<Interval>,
    /// When the statistics are.
    stats: Option<Interval>,
    /// Whether events go to standard output.
    to_stdout: bool,
}

impl StopCondition {
    /// The time of the arguments runs, and signals are caught, from here on.
    ///
    /// # Errors
    ///
    /// Signals cannot be caught.
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        let ending = Self {
            stop: Arc::default(),
            report: Arc::default(),
            reopen: Arc::default(),
            until: args.duration.and_then(|time| Instant::now().checked_add(time)),
            cluster: args.cluster_interval.map(Interval::new),
            stats: args.stats_interval.map(Interval::new),
            to_stdout: args.writing.output.is_none(),
        };
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must find the flag down.
            flag::register_conditional_default(signal, Arc::clone(&ending.stop))?;
            flag::register(signal, Arc::clone(&ending.stop))?;
        }
        flag::register(SIGUSR1, Arc::clone(&ending.report))?;
        if !args.interface.is_empty() {
            // Without a file there is nothing to open: the terminal is gone.
            let hung_up = if ending.to_stdout { &ending.stop } else { &ending.reopen };
            flag::register(SIGHUP, Arc::clone(hung_up))?;
        }
        Ok(ending)
    }

    /// Whether the user has ended it, or the time is over.
    pub(super) fn is_due(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.until.is_some_and(|until| until <= Instant::now())
    }

    /// What is to be done by now: on SIGUSR1 all is told, else what its interval is over for.
    pub(super) fn asked(&self) -> Asked {
        let report = self.report.swap(false, Ordering::Relaxed);
        let is_time = |every: &Option<Interval>| every.as_ref().is_some_and(Interval::is_over);
        Asked {
            // Both are asked, so that neither misses its turn.
            cluster: is_time(&self.cluster) | report,
            stats: is_time(&self.stats) | report,
        }
    }

    /// Whether SIGHUP has come: the file of `-o` is to be opened anew.
    #[cfg(feature = "live")]
    pub(super) fn is_to_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
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

/// An interval of time, again and again.
pub(super) struct Interval {
    length: Duration,
    next: Cell<Instant>,
}

impl Interval {
    /// The first begins now.
    pub(super) fn new(length: Duration) -> Self {
        let now = Instant::now();
        Self { length, next: Cell::new(now.checked_add(length).unwrap_or(now)) }
    }

    /// Whether one is over; the next begins with that.
    pub(super) fn is_over(&self) -> bool {
        let now = Instant::now();
        let is_over = self.next.get() <= now;
        if is_over {
            self.next.set(now.checked_add(self.length).unwrap_or(now));
        }
        is_over
    }
}

/// Longest sleep, so that what waits for a time to pass is told in time.
pub(super) const TICK: Duration = Duration::from_millis(100);
