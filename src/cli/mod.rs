//! The command line: the only place that knows arguments, environment, standard streams, exit
//! status.
//!
//! In: what the user typed. Out: a run of the pipeline, its events on standard output or in a file,
//! everything else on standard error. Analyses nothing.

mod args;
mod cookies;
mod diff;
mod evidence;
mod explain;
#[cfg(feature = "live")]
mod filter;
#[cfg(feature = "live")]
mod live;
#[cfg(feature = "live")]
mod privileges;
mod run;
#[cfg(feature = "live")]
mod sandbox;
mod save;
mod select;
mod shell;
#[cfg(unix)]
mod wait;

pub(crate) use args::arguments;
pub(crate) use run::run;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use beamscope::capture;
use beamscope::render::ReadError;
use beamscope::time::Timestamp;

/// Nothing is followed here: see [`Error::NoFollow`].
#[cfg(not(unix))]
mod wait {
    pub(super) enum Ending {}

    impl Ending {
        pub(super) fn is_due(&self) -> bool {
            match *self {}
        }

        pub(super) fn asked(&self) -> super::Asked {
            match *self {}
        }
    }
}

/// What a run that has no end of its own is asked to tell on the way.
struct Asked {
    /// The nodes and how they stand to each other.
    cluster: bool,
    /// The statistics.
    stats: bool,
}

/// How a run ended that could do what it was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It reached its end, or whoever read its output has seen enough.
    Done,
    /// So did this one, with a finding at or above `--fail-on`, or a change that was asked for.
    Found,
    /// Some input could not be read, or some packets not saved; all else was done.
    Incomplete,
    /// Nothing is known that matches what was asked for.
    NoMatch,
}

impl Outcome {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Found | Self::NoMatch => ExitCode::FAILURE,
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
    /// `-w -` beside events on standard output.
    #[error("standard output is taken by the events; packets cannot go there as well")]
    StdoutTwice,
    /// `-w -` to somebody who looks at it.
    #[error("standard output is a terminal; packets are not for reading")]
    StdoutTerminal,
    /// `-w -` with `-C` or `-G`.
    #[error("standard output cannot begin anew: -C and -G are for files")]
    RowOfStdout,
    /// `-i` or `-D` in a build without libpcap.
    #[cfg(not(feature = "live"))]
    #[error("this build of beamscope cannot capture from an interface")]
    NoLive,
    /// `-f` or `-F` in a build without libpcap.
    #[cfg(not(feature = "live"))]
    #[error("this build of beamscope has no filters")]
    NoFilter,
    /// The file of `-F`.
    #[cfg(feature = "live")]
    #[error("cannot read the filter from {name}: {source}")]
    FilterFile {
        /// The file as named.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A filter that means nothing for some of the frames.
    #[cfg(feature = "live")]
    #[error("all frames of link type {link} are left out: {source}")]
    FilterLink {
        /// Number in the registry of tcpdump.org.
        link: u16,
        /// What libpcap said.
        source: capture::Error,
    },
    /// `--until` before `--since`.
    #[error("nothing can be both after {since} and before {until}")]
    EmptyWindow {
        /// As given.
        since: Timestamp,
        /// As given.
        until: Timestamp,
    },
    /// `--duration` for captures that end by themselves.
    #[error("--duration is for interfaces and for files with --follow; others end by themselves")]
    Duration,
    /// `--cluster-interval` and `--stats-interval` likewise.
    #[error("{option} is for interfaces and for files with --follow")]
    Interval {
        /// Which of them.
        option: &'static str,
    },
    /// `explain` with a name that no rule has.
    #[error("no rule is named {name:?}{}", did_you_mean(nearest))]
    NoRule {
        /// As given.
        name: String,
        /// Rules that may be meant.
        nearest: Vec<&'static str>,
    },
    /// `man` with a name that no command has.
    #[error("no command is named {name:?}; expected one of {}", known.join(", "))]
    NoCommand {
        /// As given.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// What goes to standard output or to the file of `-o`.
    #[error("cannot write {name}: {source}")]
    Output {
        /// The file as named.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// `--follow` where neither a signal nor the reader's end could stop it.
    #[cfg(not(unix))]
    #[error("--follow is for Unix systems")]
    NoFollow,
    /// Waiting for packets, or for signals.
    #[cfg(unix)]
    #[error("cannot wait for packets: {0}")]
    Wait(#[source] io::Error),
    /// Candidate cookies.
    #[error(transparent)]
    Cookie(#[from] cookies::Error),
    /// A file of events.
    #[error("{name}: {source}")]
    Events {
        /// The file as named.
        name: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// `-Z` with somebody that the system does not know.
    #[cfg(feature = "live")]
    #[error("no user {name:?} in {}", privileges::ACCOUNTS)]
    NoUser {
        /// As given.
        name: String,
    },
    /// Privileges that cannot be given up are no reason to go on with them.
    #[cfg(feature = "live")]
    #[error("cannot {what}: {source}")]
    Privileges {
        /// What was tried.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
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
            Self::OwnInput { .. } => "name another file",
            Self::StdoutTwice => "send the events to a file: --output FILE --write -",
            Self::StdoutTerminal => "beamscope -i eth0 -o events.ndjson -w - | tshark -r -",
            Self::RowOfStdout => return None,
            #[cfg(not(feature = "live"))]
            Self::NoLive => {
                "capture with another program: tcpdump -U -i eth0 -w - | beamscope -; or build \
                 beamscope with libpcap and the feature \"live\""
            }
            #[cfg(not(feature = "live"))]
            Self::NoFilter => {
                "filter with another program: tcpdump -r FILE -w - FILTER | beamscope -; or build \
                 beamscope with libpcap and the feature \"live\""
            }
            #[cfg(feature = "live")]
            Self::FilterLink { .. } => {
                "some terms, such as vlan or ifindex, exist for some link types only; give \
                 captures of one link type a filter that fits it"
            }
            Self::EmptyWindow { .. } => "--since is the earlier of the two",
            Self::Interval { .. } => "both are told at the end of a capture in any case",
            Self::NoRule { .. } => {
                "beamscope explain lists all rules; beamscope explain --log LINE finds those \
                 behind a line of a log"
            }
            Self::Duration => "--since and --until take a part of a capture",
            #[cfg(not(unix))]
            Self::NoFollow => return None,
            #[cfg(unix)]
            Self::Wait(_) => return None,
            #[cfg(feature = "live")]
            Self::FilterFile { .. } => return None,
            Self::NoCommand { .. } => return None,
            #[cfg(feature = "live")]
            Self::NoUser { .. } => "name one by number: -Z UID:GID",
            #[cfg(feature = "live")]
            Self::Privileges { .. } => "only root becomes another user; others need no -Z",
            Self::StdinTwice | Self::Output { .. } | Self::Events { .. } => return None,
            Self::Cookie(error) => return error.hint().map(str::to_owned),
            Self::Capture(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}

fn did_you_mean(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
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

/// Tells the user on standard error what may surprise them, unless they asked for quiet.
fn warn(writing: &args::OutputArgs, warning: &dyn Display) {
    warn_unless(writing.quiet, warning);
}

fn warn_unless(quiet: bool, warning: &dyn Display) {
    if !quiet {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
}
