//! What the second process of a run does: it sends the lines of a spool, or reads a stream.
//!
//! In: its arguments, and standard input, whose end is that of the run. Out: messages of the server, or lines to it. It has the
//! network and the spool, and neither packets nor other files.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, sleep};

use super::client::{self, NatsAccess, StreamItem};
use super::spool::{SpoolReader, SpooledLine};
#[cfg(feature = "live")]
use crate::cli::confine::{network, privileges::UserAccount};
use crate::cli::console::{Warnings, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::{Directory, Trusted};
use crate::cli::settings::NatsWorkerSettings;
use crate::cli::stop::{StopCondition, is_readable};

/// The name of the command, which is in no help.
pub(in crate::cli) const COMMAND: &str = "nats-worker";

/// The line behind the last message that is there.
pub(super) const END: &str = "end";

/// The first line of a publisher, once nothing of its arguments is wrong.
pub(super) const READY: &str = "ready";

/// What the answer of a publisher begins with; the bytes follow that are left in the spool.
pub(super) const LEFT: &str = "left ";

/// Runs the second process.
///
/// # Errors
///
/// An argument cannot be used, or rights cannot be given up.
pub(in crate::cli) fn run(settings: NatsWorkerSettings) -> Result<RunOutcome, Error> {
    let NatsWorkerSettings { nats, spool, follows, user, stop, warnings } = settings;
    // The signals that end the run end the process that reads packets, and this one afterwards.
    let _signals = StopCondition::new(&stop).map_err(Error::Wait)?;
    let refused = |detail| Error::Nats { detail };
    let (files, is_sandboxed) = (nats.files(), nats.is_sandboxed);
    #[cfg(feature = "live")]
    let account = user.as_deref().map(UserAccount::find).transpose()?;
    #[cfg(feature = "live")]
    let trusted = Trusted { account: account.as_ref().map(UserAccount::uid) };
    #[cfg(not(feature = "live"))]
    let trusted = Trusted::default();
    let access = NatsAccess::new(nats).map_err(refused)?;
    let directory = |path: &std::path::PathBuf| {
        Directory::open(path, trusted).map_err(|e| Error::output(path, e))
    };
    let reader = match spool {
        Some((path, growing)) => Some((SpoolReader::new(directory(&path)?, growing), path)),
        None => None,
    };
    #[cfg(feature = "live")]
    network::confine(is_sandboxed, account.as_ref(), &files, reader.as_ref().map(|it| &*it.1))?;
    #[cfg(not(feature = "live"))]
    let _ = (is_sandboxed, user, files);
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::NatsProcess)?;
    let report = OneWarning { warnings, last: String::new() };
    let outcome = match reader {
        Some((reader, path)) => {
            let place = path.display().to_string();
            let mut sending = Sending { access, reader, report, place, too_long: 0 };
            publish(&runtime, &mut sending)
        }
        None => read(&runtime, &access, follows, report),
    };
    // A thread that looks up a name is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Prints what is wrong, once until it is something else.
struct OneWarning {
    warnings: Warnings,
    last: String,
}

impl OneWarning {
    fn warn(&mut self, text: String) {
        if self.last != text {
            self.warnings.warn(&text);
            self.last = text;
        }
    }
}

/// A spool, and where it is sent.
struct Sending {
    access: NatsAccess,
    reader: SpoolReader,
    report: OneWarning,
    /// The directory, for messages.
    place: String,
    /// Number of lines that no message can hold.
    too_long: u64,
}

fn publish(runtime: &Runtime, sending: &mut Sending) -> Result<RunOutcome, Error> {
    answer(READY)?;
    runtime.block_on(sending.send());
    let left = sending.reader.left();
    answer(&format!("{LEFT}{left}"))?;
    Ok(RunOutcome::Done)
}

/// Writes a line to the process that packets are read in.
fn answer(line: &str) -> Result<(), Error> {
    let mut out = io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::NatsProcess)
}

impl Sending {
    /// Sends lines until the run is over and all are sent, or time is up.
    async fn send(&mut self) {
        let mut deadline = None;
        let mut connection = None;
        // What was taken from the spool and is not acknowledged.
        let mut batch = Vec::new();
        loop {
            if deadline.is_none() && is_over() {
                self.reader.end();
                deadline = Instant::now().checked_add(AFTER_THE_RUN);
            }
            if batch.is_empty() {
                match self.next_batch() {
                    Ok(lines) => batch = lines,
                    Err(error) => self.report.warn(format!("{}: {error}", self.place)),
                }
            }
            if batch.is_empty() {
                self.reader.acknowledge();
                if deadline.is_some() {
                    return;
                }
                sleep(TICK).await;
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
            let sent = self.try_send(&mut connection, &batch).await;
            match sent {
                Ok(too_long) => {
                    batch.clear();
                    self.reader.acknowledge();
                    self.report.last.clear();
                    self.count_too_long(too_long);
                }
                Err(error) => {
                    let place = &self.place;
                    self.report.warn(format!("{error}; observations wait in {place}"));
                    // The stream may be gone as well.
                    connection = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn try_send(
        &self,
        connection: &mut Option<client::NatsConnection>,
        batch: &[SpooledLine],
    ) -> Result<u64, String> {
        let connected = match connection.take() {
            Some(connected) => connected,
            None => self.access.connect(true).await?,
        };
        let sent = connected.publish(batch).await?;
        *connection = Some(connected);
        Ok(sent)
    }

    fn next_batch(&mut self) -> io::Result<Vec<SpooledLine>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < BATCH_LINES && bytes < BATCH_BYTES {
            match self.reader.next_line() {
                Ok(Some(line)) => {
                    bytes += line.payload.len();
                    lines.push(line);
                }
                Err(error) if lines.is_empty() => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok(lines)
    }

    fn count_too_long(&mut self, lines: u64) {
        self.too_long += lines;
        if lines > 0 {
            let (all, name) = (self.too_long, self.access.name());
            self.report
                .warn(format!("{all} observations are longer than {name} takes: they are missing"));
        }
    }
}

/// Reads all messages that are there, and then those that come, if that is wanted.
fn read(
    runtime: &Runtime,
    access: &NatsAccess,
    follows: bool,
    mut report: OneWarning,
) -> Result<RunOutcome, Error> {
    let mut next = 1;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut is_done = false;
    let mut failures = 0;
    let outcome = runtime.block_on(async {
        loop {
            let before = next;
            let read = async {
                let connection = access.connect(false).await?;
                let take = |item: Option<StreamItem<'_>>| {
                    let taken = match item {
                        Some(item) => message(&mut out, &item),
                        None if follows => end(&mut out),
                        None => {
                            is_done = true;
                            return false;
                        }
                    };
                    taken.is_ok()
                };
                let reading = connection.read(&mut next, follows, take);
                client::until(reading, over(follows)).await.unwrap_or(Ok(()))
            };
            let error = match read.await {
                Ok(()) => return ControlFlow::Continue(()),
                Err(error) => error,
            };
            failures = if next > before { 0 } else { failures + 1 };
            if failures >= TRIES && !follows {
                return ControlFlow::Break(error);
            }
            if is_over() {
                // The process that wanted the messages has ended.
                return ControlFlow::Continue(());
            }
            report.warn(error);
            sleep(PAUSE).await;
        }
    });
    if let ControlFlow::Break(detail) = outcome {
        report_error(&Error::Nats { detail }, None);
        return Ok(RunOutcome::Incomplete);
    }
    if is_done {
        end(&mut out).map_err(Error::NatsProcess)?;
    }
    Ok(RunOutcome::Done)
}

/// All that is there was written.
fn end(out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "{END}").and_then(|()| out.flush())
}

/// Ends once the process that wants messages without end wants no more.
async fn over(follows: bool) {
    loop {
        sleep(PAUSE).await;
        if follows && is_over() {
            return;
        }
    }
}

fn message(out: &mut impl io::Write, item: &StreamItem<'_>) -> io::Result<()> {
    // A header may have any text, and a longer one than the reader of this line takes.
    let is_id = item.id.len() <= LONGEST_ID && !item.id.contains(char::is_whitespace);
    let id = if is_id { item.id } else { "" };
    writeln!(out, "{} {} {id}", item.payload.len(), item.subject)?;
    out.write_all(item.payload)
}

/// Whether the run has closed standard input.
fn is_over() -> bool {
    is_readable(&io::stdin())
}

/// Bytes of the longest message id that may be one of an observation: two numbers.
const LONGEST_ID: usize = 64;

/// Lines that are sent at a time, and about how many bytes.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1 << 20;

/// How long after the end of the run lines are still sent.
const AFTER_THE_RUN: Duration = Duration::from_secs(10);

/// Time between two looks into a spool without new lines.
const TICK: Duration = Duration::from_millis(100);

/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries to read in a row that give no message.
const TRIES: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_of_an_observation_is_left_out() {
        let line = |id: &str| {
            let mut out = Vec::new();
            message(&mut out, &StreamItem { subject: "b.a.run", id, payload: b"x" }).unwrap();
            String::from_utf8(out).unwrap()
        };
        let id = format!("{:016x}-{}", u64::MAX, u64::MAX);
        assert_eq!(line(&id), format!("1 b.a.run {id}\nx"));
        for id in ["a b", "a\nb", &"a".repeat(1 << 16)] {
            assert!(line(id) == "1 b.a.run \nx", "{} bytes", id.len());
        }
    }
}
