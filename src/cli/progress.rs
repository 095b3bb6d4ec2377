//! How far a run over files is: a line at the bottom of the terminal if it takes long, and an answer to SIGUSR1.
//!
//! In: counters that the run keeps, and a signal. Out: the line, and lines on standard error. A thread of its own looks
//! at the counters a few times a second, so that the loop over frames does nothing for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use beamscope::capture::ReadCounter;
use beamscope::render::{RunCounts, plural};

use super::console::{StatusLine, Warnings};
use super::stop;

/// Watches a run until it is dropped.
pub(super) struct FileProgress {
    thread: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

impl FileProgress {
    /// Watches a run over these captures. `warnings` print the answer to SIGUSR1. Without a thread or a signal handler,
    /// which both are a convenience, nothing is watched.
    pub(super) fn start(
        captures: &[PathBuf],
        read: ReadCounter,
        counts: Arc<RunCounts>,
        warnings: Warnings,
    ) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let sizes = captures.iter().map(|path| path.metadata().ok().filter(|it| it.is_file()));
        let total = sizes.map(|it| it.map(|it| it.len())).sum::<Option<u64>>();
        let asked = stop::on_report_signal().unwrap_or_default();
        let watch = Watch { read, counts, total, asked, warnings, is_over: Arc::clone(&is_over) };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(|| watch.run());
        Self { thread: thread.ok(), is_over }
    }
}

impl Drop for FileProgress {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of a display is no reason to fail.
            let _ = thread.join();
        }
    }
}

/// What the thread looks at.
struct Watch {
    read: ReadCounter,
    counts: Arc<RunCounts>,
    /// Bytes of all inputs, if all are files.
    total: Option<u64>,
    /// Whether SIGUSR1 came since the last look.
    asked: Arc<AtomicBool>,
    warnings: Warnings,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn run(self) {
        let start = Instant::now();
        let mut line = None;
        while !self.is_over.load(Ordering::Relaxed) {
            thread::park_timeout(LOOK);
            if self.asked.swap(false, Ordering::Relaxed) {
                self.warnings.answer(&self.sentence(start.elapsed()));
            }
            if start.elapsed() >= PATIENCE
                && !self.warnings.are_off()
                && !self.is_over.load(Ordering::Relaxed)
            {
                let line = line.get_or_insert_with(|| StatusLine::of_files(self.total));
                line.update(self.read.bytes(), &self.counts());
            }
        }
    }

    fn counts(&self) -> String {
        let RunCounts { connections, problems } = &*self.counts;
        let (connections, problems) =
            (connections.load(Ordering::Relaxed), problems.load(Ordering::Relaxed));
        let (what, found) = (plural(connections, "connection"), plural(problems, "problem"));
        format!("{connections} {what}, {problems} {found} so far")
    }

    fn sentence(&self, elapsed: Duration) -> String {
        let read = self.read.bytes();
        let share = match self.total {
            Some(total) => {
                let percent = read.saturating_mul(100).checked_div(total).unwrap_or(100);
                format!("{read} of {total} bytes ({percent} %)")
            }
            None => format!("{read} bytes"),
        };
        format!("read {share} in {:.1} s: {}", elapsed.as_secs_f64(), self.counts())
    }
}

/// How often the thread looks at the counters.
const LOOK: Duration = Duration::from_millis(100);

/// How long a run may take without a line about it.
const PATIENCE: Duration = Duration::from_secs(2);
