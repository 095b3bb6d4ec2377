//! The command line: the only place that knows arguments, environment, standard streams, exit
//! status.
//!
//! In: what the user typed. Out: a run of the pipeline, its events on standard output or in a file,
//! everything else on standard error. Analyses nothing.

mod args;
mod cookies;
#[cfg(feature = "live")]
mod live;
mod run;

pub(crate) use args::arguments;
pub(crate) use run::run;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use beamscope::capture;

/// How a run ended that could do what it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It reached its end, or whoever read its output has seen enough.
    Done,
    /// So did this one, with a finding at or above `--fail-on`.
    Found,
    /// Some input could not be read; the others were.
    Incomplete,
}

impl Outcome {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Found => ExitCode::FAILURE,
            Self::Incomplete => ExitCode::from(2),
        }
    }
}

/// Why a run cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Neither a capture nor an interface was named.
    #[error("no capture given")]
    NoInput,
    /// `-` on a terminal.
    #[error("standard input is a terminal; expected a capture")]
    Terminal,
    /// `-` more than once.
    #[error("standard input can be read once only")]
    StdinTwice,
    /// `-o` names an input.
    #[error("{name} is both read and written")]
    OwnInput {
        /// The file as named.
        name: String,
    },
    /// `-i` or `-D` in a build without libpcap.
    #[cfg(not(feature = "live"))]
    #[error("this build of beamscope cannot capture from an interface")]
    NoLive,
    /// What goes to standard output or to the file of `-o`.
    #[error("cannot write {name}: {source}")]
    Output {
        /// The file as named.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// Waiting for packets, or for signals.
    #[cfg(feature = "live")]
    #[error("cannot wait for packets: {0}")]
    Wait(#[source] io::Error),
    /// Candidate cookies.
    #[error(transparent)]
    Cookie(#[from] cookies::Error),
    /// An interface.
    #[error(transparent)]
    Capture(#[from] capture::Error),
}

impl Error {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoInput => {
                "beamscope FILE reads a capture, beamscope - standard input, beamscope -i eth0 an \
                 interface; beamscope --help shows more"
            }
            Self::Terminal => "tcpdump -U -w - | beamscope -",
            Self::OwnInput { .. } => "name another file with --output",
            #[cfg(not(feature = "live"))]
            Self::NoLive => {
                "capture with another program: tcpdump -U -i eth0 -w - | beamscope -; or build \
                 beamscope with libpcap and the feature \"live\""
            }
            #[cfg(feature = "live")]
            Self::Wait(_) => return None,
            Self::StdinTwice | Self::Output { .. } => return None,
            Self::Cookie(error) => return error.hint().map(str::to_owned),
            Self::Capture(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// Tells the user on standard error what went wrong. Where even that cannot be written, the exit
/// status must do.
pub(crate) fn complain(error: &dyn Display, hint: Option<String>) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {error}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
}
