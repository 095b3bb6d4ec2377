//! The second process of a run: it talks to NATS, and this one does not.
//!
//! In: the arguments of the run. Out: a process of the same program, started before this one gives up its rights, and pipes
//! to it. No signal and no system call is needed to end it: it ends when its standard input does.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::spool::Spool;
use super::worker::{COMMAND, END, LEFT, READY};
use crate::cli::error::Error;
use crate::cli::settings::NatsSettings;
use crate::cli::stop::{StopCondition, TICK, is_readable};

/// What runs this program: the file that it was started from, also where that was replaced meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Starts the second process with arguments of its own.
fn start(
    settings: &NatsSettings,
    is_quiet: bool,
    own: impl IntoIterator<Item = OsString>,
) -> Result<Child, Error> {
    let program = if cfg!(target_os = "linux") && Path::new(OWN_PROGRAM).exists() {
        OWN_PROGRAM.into()
    } else {
        std::env::current_exe().map_err(Error::NatsProcess)?
    };
    let mut command = Command::new(program);
    command.arg(COMMAND).args(settings.arguments()).args(own);
    if is_quiet {
        command.arg("--quiet");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().map_err(Error::NatsProcess)
}

/// The process that sends what a run puts into its spool.
#[derive(Debug)]
pub(in crate::cli) struct Publisher {
    /// Open while the run adds lines.
    run: ChildStdin,
    answer: BufReader<ChildStdout>,
}

impl Publisher {
    /// Starts to send the lines of the spool, and of earlier runs in it.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub(in crate::cli) fn start(
        settings: &NatsSettings,
        (path, spool): (&Path, &Spool),
        user: Option<&str>,
        is_quiet: bool,
    ) -> Result<Self, Error> {
        let mut own: Vec<OsString> =
            vec!["--spool".into(), path.into(), "--growing".into(), spool.run().into()];
        if let Some(user) = user {
            own.extend(["--user".into(), user.into()]);
        }
        let mut child = start(settings, is_quiet, own)?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(run), Some(answer)) => {
                let mut answer = BufReader::new(answer);
                let mut first = String::new();
                let read = (&mut answer).take(LONGEST_ANSWER).read_line(&mut first);
                // It has printed why on standard error.
                match read.is_ok() && first.trim_end() == READY {
                    true => Ok(Self { run, answer }),
                    false => Err(Error::NatsEnded),
                }
            }
            _ => Err(Error::NatsProcess(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Lets it know that the run is over, and waits until all is sent, or cannot be sent now. Bytes that are left in the spool;
    /// `None` if the process ended without an answer.
    pub(in crate::cli) fn finish(self) -> Option<u64> {
        drop(self.run);
        let mut text = String::new();
        self.answer.take(LONGEST_ANSWER).read_to_string(&mut text).ok()?;
        text.strip_prefix(LEFT)?.trim().parse().ok()
    }
}

const LONGEST_ANSWER: u64 = 256;

/// A message of the stream.
#[derive(Debug)]
pub(in crate::cli) struct StreamMessage {
    /// Its subject, from the first word on.
    pub(in crate::cli) subject: String,
    /// Its message id; empty if it has none.
    pub(in crate::cli) id: String,
    pub(in crate::cli) payload: Vec<u8>,
}

/// What came within a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum Waited {
    /// Nothing came so far.
    Nothing,
    /// A message, or the end of what is there.
    Message,
    /// The reader of standard output has closed it.
    Closed,
}

/// The process that reads a stream.
#[derive(Debug)]
pub(in crate::cli) struct MessageReader {
    /// Open as long as this process wants messages.
    _wanted: ChildStdin,
    messages: BufReader<ChildStdout>,
}

impl MessageReader {
    /// Starts to read the stream from its beginning; with `follows`, without end: after all that is there comes what is added.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub(in crate::cli) fn start(
        settings: &NatsSettings,
        is_quiet: bool,
        follows: bool,
    ) -> Result<Self, Error> {
        let mut child = start(settings, is_quiet, follows.then(|| "--follow".into()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(wanted), Some(messages)) => {
                Ok(Self { _wanted: wanted, messages: BufReader::new(messages) })
            }
            _ => Err(Error::NatsProcess(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// The next message; `None` when all that is there was read.
    ///
    /// # Errors
    ///
    /// The process ended before it had read all that is there. It has printed why on standard error.
    pub(in crate::cli) fn next(&mut self) -> Result<Option<StreamMessage>, Error> {
        let mut head = String::new();
        let read = (&mut self.messages).take(LONGEST_HEAD).read_line(&mut head);
        read.map_err(Error::NatsProcess)?;
        Ok(match head.trim_end_matches('\n') {
            END => None,
            head => Some(self.message(head).ok_or(Error::NatsRead)?),
        })
    }

    /// Waits a moment for a message, or for what ends the run.
    ///
    /// # Errors
    ///
    /// Waiting fails.
    pub(in crate::cli) fn wait(&self, stop: &StopCondition) -> Result<Waited, Error> {
        if !self.messages.buffer().is_empty() {
            return Ok(Waited::Message);
        }
        let pipe = self.messages.get_ref();
        if stop.wait(&[pipe], TICK).map_err(Error::Wait)? {
            return Ok(Waited::Closed);
        }
        Ok(if is_readable(pipe) { Waited::Message } else { Waited::Nothing })
    }

    /// The message behind its head.
    fn message(&mut self, head: &str) -> Option<StreamMessage> {
        let mut fields = head.split(' ');
        let (length, subject, id) = (fields.next()?, fields.next()?, fields.next()?);
        let mut payload = vec![0; length.parse().ok().filter(|it| *it <= LONGEST_PAYLOAD)?];
        self.messages.read_exact(&mut payload).ok()?;
        Some(StreamMessage { subject: subject.to_owned(), id: id.to_owned(), payload })
    }
}

/// Bytes of the longest line before a message. A server takes subjects and headers of 4 KiB and more.
const LONGEST_HEAD: u64 = 64 << 10;

/// Bytes of the longest message: the most that a server can be set to take.
const LONGEST_PAYLOAD: usize = 64 << 20;
