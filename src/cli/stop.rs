//! When a run without an end of its own ends, and when it reports in between.
//!
//! In: signals, time, the reader of standard output. Out: whether to end, which reports are due, and
//! one `poll` that waits for any of these. Reads no packet and writes nothing.

#[cfg(unix)]
use std::time::{Duration, Instant};

#[cfg(not(unix))]
pub(super) use other::StopCondition;
#[cfg(unix)]
pub(super) use unix::StopCondition;

/// Reports that a run without an end of its own makes before it ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct DueReports {
    /// The nodes and the state of each pair.
    pub(super) cluster: bool,
    /// The statistics of the run.
    pub(super) stats: bool,
}

/// A moment of this run, to measure time from.
#[cfg(feature = "nats")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(Instant);

#[cfg(feature = "nats")]
impl Moment {
    /// The moment of this call.
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Whether there is something to read now, or the end.
#[cfg(feature = "nats")]
pub(super) fn is_readable(source: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(source, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&now)).is_ok_and(|answered| answered > 0)
}

/// An interval that repeats without end.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub(super) struct Interval {
    length: Duration,
    end: Instant,
}

#[cfg(unix)]
impl Interval {
    /// Starts the first interval now.
    pub(super) fn new(length: Duration) -> Self {
        let now = Instant::now();
        Self { length, end: now.checked_add(length).unwrap_or(now) }
    }

    /// Whether the current interval has ended; if so, the next one starts now.
    pub(super) fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        let has_ended = self.end <= now;
        if has_ended {
            self.end = now.checked_add(self.length).unwrap_or(now);
        }
        has_ended
    }
}

/// A flag that SIGUSR1 sets, or SIGINFO (Ctrl-T) where the system has it, in a run that ends by itself.
///
/// # Errors
///
/// The signal handler cannot be installed.
pub(super) fn on_report_signal() -> std::io::Result<std::sync::Arc<std::sync::atomic::AtomicBool>> {
    let asked = std::sync::Arc::default();
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, std::sync::Arc::clone(&asked))?;
    #[cfg(any(
        target_os = "macos",
        target_os = "freebsd",
        target_os = "openbsd",
        target_os = "netbsd"
    ))]
    signal_hook::flag::register(signal_hook::consts::SIGINFO, std::sync::Arc::clone(&asked))?;
    Ok(asked)
}

/// Longest wait of one call, so that events that depend on time alone are not late.
#[cfg(unix)]
pub(super) const TICK: Duration = Duration::from_millis(100);

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    use signal_hook::flag;

    use crate::cli::settings::{Hangup, StopSettings};
    use crate::cli::stop::{DueReports, Interval};

    /// What ends a run that has no end of its own. Clones share their signals, not their intervals.
    #[derive(Clone)]
    pub(in crate::cli) struct StopCondition {
        /// SIGINT or SIGTERM came: end the run. A second signal kills the process.
        stop: Arc<AtomicBool>,
        /// SIGUSR1 came: make all reports.
        report: Arc<AtomicBool>,
        /// SIGHUP came: open the files for output again.
        #[cfg_attr(
            not(feature = "live"),
            expect(dead_code, reason = "only a live capture does it")
        )]
        reopen: Arc<AtomicBool>,
        until: Option<Instant>,
        cluster: Option<Interval>,
        stats: Option<Interval>,
        ends_with_stdout: bool,
    }

    impl StopCondition {
        /// Installs the signal handlers and starts the time limit and the intervals.
        ///
        /// # Errors
        ///
        /// A signal handler cannot be installed.
        pub(in crate::cli) fn new(settings: &StopSettings) -> io::Result<Self> {
            let stop: Arc<AtomicBool> = Arc::default();
            let report: Arc<AtomicBool> = Arc::default();
            let reopen: Arc<AtomicBool> = Arc::default();
            for signal in [SIGINT, SIGTERM] {
                // In this order: at the first signal the first handler must find the flag unset.
                flag::register_conditional_default(signal, Arc::clone(&stop))?;
                flag::register(signal, Arc::clone(&stop))?;
            }
            flag::register(SIGUSR1, Arc::clone(&report))?;
            match settings.hangup {
                Hangup::Kill => {}
                Hangup::Stop => drop(flag::register(SIGHUP, Arc::clone(&stop))?),
                Hangup::Reopen => drop(flag::register(SIGHUP, Arc::clone(&reopen))?),
            }
            Ok(Self {
                stop,
                report,
                reopen,
                until: settings.duration.and_then(|time| Instant::now().checked_add(time)),
                cluster: settings.cluster_interval.map(Interval::new),
                stats: settings.stats_interval.map(Interval::new),
                ends_with_stdout: settings.ends_with_stdout,
            })
        }

        /// Whether a signal or the time limit ends the run.
        pub(in crate::cli) fn is_met(&self) -> bool {
            self.stop.load(Ordering::Relaxed)
                || self.until.is_some_and(|until| until <= Instant::now())
        }

        /// The reports that are due: all after SIGUSR1, otherwise those whose interval has ended.
        pub(in crate::cli) fn due_reports(&mut self) -> DueReports {
            let is_asked = self.report.swap(false, Ordering::Relaxed);
            let has_ended = |interval: &mut Option<Interval>| {
                interval.as_mut().is_some_and(Interval::has_ended)
            };
            DueReports {
                // Without short circuit: a signal must not delay the next interval.
                cluster: has_ended(&mut self.cluster) | is_asked,
                stats: has_ended(&mut self.stats) | is_asked,
            }
        }

        /// Whether a report is due that another clone makes: after SIGUSR1, or at the end of an interval.
        pub(in crate::cli) fn is_report_due(&mut self) -> bool {
            let has_ended = |interval: &mut Option<Interval>| {
                interval.as_mut().is_some_and(Interval::has_ended)
            };
            let is_asked = self.report.load(Ordering::Relaxed);
            has_ended(&mut self.cluster) | has_ended(&mut self.stats) | is_asked
        }

        /// Whether SIGHUP came since the last call: the files for output are to be opened again.
        #[cfg(feature = "live")]
        pub(in crate::cli) fn takes_reopen(&self) -> bool {
            self.reopen.swap(false, Ordering::Relaxed)
        }

        /// Waits until one of `sources` can be read, for a signal, or for `longest`, which is less than
        /// a second. `true` when the reader of standard output has closed it: a run that writes
        /// nothing learns it nowhere else.
        ///
        /// # Errors
        ///
        /// `poll` fails.
        pub(in crate::cli) fn wait<S: AsFd>(
            &self,
            sources: &[S],
            longest: Duration,
        ) -> io::Result<bool> {
            let stdout = io::stdout();
            let mut fds: Vec<_> =
                sources.iter().map(|source| PollFd::new(source, PollFlags::IN)).collect();
            if self.ends_with_stdout {
                fds.push(PollFd::new(&stdout, PollFlags::empty()));
            }
            let longest = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
            match poll(&mut fds, Some(&longest)) {
                // After a signal, the caller looks at its flags next.
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let closed = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
            let out = if self.ends_with_stdout { fds.last() } else { None };
            Ok(out.is_some_and(|out| out.revents().intersects(closed)))
        }
    }
}

#[cfg(not(unix))]
mod other {
    use crate::cli::stop::DueReports;

    /// Without Unix signals no run is without an end of its own, so there is no value of this type.
    #[derive(Clone)]
    pub(in crate::cli) enum StopCondition {}

    impl StopCondition {
        pub(in crate::cli) fn is_met(&self) -> bool {
            match *self {}
        }

        pub(in crate::cli) fn due_reports(&mut self) -> DueReports {
            match *self {}
        }
    }
}
