//! Why a run cannot do what the user asked for, how a run ended, and the text of both.
//!
//! In: nothing. Out: [`Error`] with a hint, and [`RunOutcome`] with its exit status. Every other file
//! of the command line may import this one; it imports none of them but [`cookies`] and [`keylog`].

use std::io;
use std::path::Path;
use std::process::ExitCode;

use beamscope::capture;
use beamscope::render::{NoFacts, NoLadder, NoObservations, ReadError};
use beamscope::time::Timestamp;

use super::{cookies, keylog};

/// How a run ended that did what it was asked for, completely or in part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RunOutcome {
    /// The run reached its end, or the reader of its output closed the pipe.
    Done,
    /// The run reached its end with a finding at or above `--fail-on`, or `diff --exit-code` found a
    /// change.
    Found,
    /// An input could not be read, or packets could not be saved; everything else was done.
    Incomplete,
    /// `explain --log` found no rule for the line.
    NoMatch,
}

impl RunOutcome {
    /// The exit status that the manual documents for this outcome.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Found | Self::NoMatch => ExitCode::FAILURE,
            Self::Incomplete => ExitCode::from(2),
        }
    }
}

/// Why a run cannot do what the user asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments name neither a capture nor an interface.
    #[error("no capture given; expected a file, \"-\" or an interface")]
    NoInput,
    /// `-` was given while standard input is a terminal.
    #[error("standard input is a terminal; expected a capture")]
    StdinTerminal,
    /// `-` was given more than once.
    #[error("standard input can be read once only; \"-\" was given {times} times")]
    StdinTwice {
        /// How often it was given.
        times: usize,
    },
    /// A file for output is also an input.
    #[error("{name} is both read and written")]
    OwnInput {
        /// The file as the user named it.
        name: String,
    },
    /// The name of a file for output ends like one of a format that is not written.
    #[error("{name} has the ending of another format than is written")]
    OtherFormat {
        /// The file as the user named it.
        name: String,
        /// How to write which format.
        how: &'static str,
    },
    /// A file of `--facts` cannot be read.
    #[error("{name}: {source}")]
    Facts {
        /// The file as the user named it.
        name: String,
        /// Why it cannot be read.
        source: NoFacts,
    },
    /// An input of `merge` cannot be used.
    #[error("{name}: {source}")]
    Observations {
        /// The file as the user named it.
        name: String,
        /// Why it cannot be used.
        source: NoObservations,
    },
    /// An input of `annotate` that can be read once only.
    #[error("{name} can be read once only, and annotate reads a capture twice")]
    ReadTwice {
        /// The input as the user named it.
        name: String,
    },
    /// An output of `annotate` or `extract` in a format without comments and numbers.
    #[error("{name}: a pcap file holds no comments, and no numbers of frames")]
    NoComments {
        /// The file as the user named it.
        name: String,
    },
    /// `-w -` without `-o FILE`: events go to standard output already.
    #[error("standard output already carries the events; packets cannot go there as well")]
    StdoutTwice,
    /// `-w -` while standard output is a terminal.
    #[error("standard output is a terminal; a capture is binary data")]
    StdoutTerminal,
    /// `-w -` with `-C` or `-G`.
    #[error("standard output cannot be split into several files; -C and -G are for files")]
    StdoutRotated,
    /// `-i` or `-D` in a build without libpcap.
    #[cfg(not(feature = "live"))]
    #[error("this build of beamscope cannot capture from an interface")]
    NoLive,
    /// `-f` or `-F` in a build without libpcap.
    #[cfg(not(feature = "live"))]
    #[error("this build of beamscope has no packet filters")]
    NoFilter,
    /// The file of `-F` cannot be read.
    #[cfg(feature = "live")]
    #[error("cannot read the filter from {name}: {source}")]
    FilterFile {
        /// The file as the user named it.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The filter does not compile for one link type of the captures.
    #[cfg(feature = "live")]
    #[error("skipping all packets of link type {link}, the filter does not fit it: {source}")]
    FilterLink {
        /// Number of the link type in the registry of tcpdump.org.
        link: u16,
        /// The error of libpcap.
        source: capture::Error,
    },
    /// `report` without a file for a page.
    #[error("a page needs a file to be written to")]
    NoReportFile,
    /// A filter behind the captures, as tcpdump takes it.
    #[error("there is no file {:?}, which looks like the start of a filter", filter.split(' ').next().unwrap_or_default())]
    FilterWords {
        /// The words from the first one of the filter on.
        filter: String,
    },
    /// `--tui` without a terminal.
    #[cfg(feature = "tui")]
    #[error("--tui needs a terminal, and standard output is none")]
    NoScreen,
    /// A selection by names or addresses, with `--anonymize`.
    #[error("with --anonymize, {option} would have to fit the replaced names and addresses")]
    Anonymized {
        /// The option that was given.
        option: &'static str,
    },
    /// The name of a command where a capture is expected.
    #[error("there is no file {name:?}, and the command {name} goes first")]
    CommandLast {
        /// The command, as it was typed.
        name: String,
    },
    /// Captures beside an interface.
    #[cfg(feature = "live")]
    #[error("-i captures from an interface, and reads no file")]
    InterfaceAndFile,
    /// `--until` is before `--since`.
    #[error("--until {until} is before --since {since}")]
    EmptyWindow {
        /// Start of the range, as the user gave it.
        since: Timestamp,
        /// End of the range, as the user gave it.
        until: Timestamp,
    },
    /// A time that counts from the last packet, for an input that can be read only once.
    #[error("{name} can be read only once, so its last packet is not known beforehand")]
    NoLastPacket {
        /// The input as the user named it.
        name: String,
    },
    /// `--duration` for captures that end by themselves.
    #[error("--duration needs -i or --follow; these captures end by themselves")]
    Duration,
    /// `--cluster-interval` or `--stats-interval` for captures that end by themselves.
    #[error("{option} needs -i or --follow; these captures end by themselves")]
    Interval {
        /// The option that was given.
        option: &'static str,
    },
    /// The names of the captures of an extract take more room than a header has.
    #[error("the paths of {inputs} captures do not fit into the header of an extract")]
    LongNames {
        /// Number of all the captures.
        inputs: usize,
    },
    /// No packet of the captures was read.
    #[error("{name} {}", if *is_selected { "has no packet that --since, --until or the filter lets through" } else { "holds no packet" })]
    NoPackets {
        /// The captures as the user named them.
        name: String,
        /// Whether packets were there, and none was selected.
        is_selected: bool,
    },
    /// Every packet has a link type that is not read.
    #[error("nothing was read: {detail}")]
    LinkTypes {
        /// How many packets, of which types.
        detail: String,
    },
    /// `--require-complete` for a capture without the packets that would decide.
    #[error("the capture lacks packets that would decide (--require-complete)")]
    Undecided,
    /// `explain` with a name that no rule has.
    #[error("no rule is named {name:?}{}", did_you_mean(nearest))]
    NoRule {
        /// Name of the rule, as the user gave it.
        name: String,
        /// Names of rules that resemble it.
        nearest: Vec<&'static str>,
    },
    /// `man` with a name that no command has.
    #[error("no command is named {name:?}; expected one of {}", known.join(", "))]
    NoCommand {
        /// Name of the command, as the user gave it.
        name: String,
        /// The names of all commands.
        known: Vec<String>,
    },
    /// Standard output, or a file that the arguments name, cannot be written.
    #[error("cannot write {name}: {source}")]
    Output {
        /// The file as the user named it.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// `--follow` on a system without Unix signals, where nothing could stop it cleanly.
    #[cfg(not(unix))]
    #[error("--follow works on Unix systems only")]
    NoFollow,
    /// `poll` failed, or signal handlers could not be installed.
    #[cfg(unix)]
    #[error("cannot wait for packets: {0}")]
    Wait(#[source] io::Error),
    /// `ladder` has nothing to draw of what was asked for.
    #[error(transparent)]
    Ladder(#[from] NoLadder),
    /// A candidate cookie cannot be used.
    #[error(transparent)]
    Cookie(#[from] cookies::CookieError),
    /// A key log cannot be used.
    #[error(transparent)]
    KeyLog(#[from] keylog::KeyLogError),
    /// A file of events cannot be read.
    #[error("{name}: {source}")]
    Events {
        /// The file as the user named it.
        name: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// `-Z` with a user that the system does not have.
    #[cfg(feature = "live")]
    #[error("no user {name:?} in {accounts}")]
    NoUser {
        /// Name of the user, as the option gave it.
        name: String,
        /// Where users are looked up.
        accounts: &'static str,
    },
    /// Privileges could not be dropped. The run ends: it must not go on with them.
    #[cfg(feature = "live")]
    #[error("cannot {action}: {source}")]
    Privileges {
        /// The step that failed, for a sentence.
        action: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// NATS cannot be used as the arguments have it.
    #[cfg(feature = "nats")]
    #[error("{detail}")]
    Nats {
        /// What is wrong, for a sentence.
        detail: String,
    },
    /// The process that talks to NATS cannot be started, or not be talked to.
    #[cfg(feature = "nats")]
    #[error("cannot start the process that talks to NATS: {0}")]
    NatsProcess(#[source] io::Error),
    /// The process that talks to NATS ended at once, and has printed why.
    #[cfg(feature = "nats")]
    #[error("NATS cannot be used as the options have it")]
    NatsEnded,
    /// The process that reads from NATS ended too early, and has printed why.
    #[cfg(feature = "nats")]
    #[error("not all could be read from NATS")]
    NatsRead,
    /// `--publish` without a directory for the spool.
    #[cfg(feature = "nats")]
    #[error("there is no directory for what waits to be published")]
    NoSpool,
    /// A capture or an interface cannot be opened.
    #[error(transparent)]
    Capture(#[from] capture::Error),
}

impl Error {
    /// The error of a file for output.
    pub(crate) fn output(path: &Path, source: io::Error) -> Self {
        Self::Output { name: path.display().to_string(), source }
    }

    /// What the user can do about it, where there is something.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoInput => {
                "read a file with: beamscope FILE; read standard input with: beamscope -; capture \
                 with: beamscope -i eth0; see beamscope --help for more"
            }
            Self::NoReportFile => {
                "give one with -o report.html; -o - writes the page to standard output, and --format \
                 markdown prints the short form"
            }
            Self::StdinTerminal => "pipe a capture into it: tcpdump -U -w - | beamscope -",
            Self::OwnInput { .. } => "write to another file",
            Self::LongNames { .. } => {
                "extract fewer at once, or change to their folder, so that their names are short"
            }
            Self::OtherFormat { how, .. } => how,
            Self::Observations { source: NoObservations::Events, .. } => {
                "where the events were made, run beamscope again with --observations FILE, and merge that file"
            }
            Self::Observations { source: NoObservations::OtherVersion { .. }, .. } => {
                "write it again with --observations of this version of beamscope, or merge with the version that wrote it"
            }
            Self::ReadTwice { .. } => "save it to a file first, and give that file",
            Self::NoComments { .. } => "give it a name that ends in .pcapng",
            Self::StdoutTwice => "send the events to a file: --output FILE --write -",
            Self::StdoutTerminal => {
                "pipe it into a program: beamscope -i eth0 -o events.ndjson -w - | tshark -r -"
            }
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
                "some filter terms, such as vlan or ifindex, exist for some link types only; read \
                 captures of one link type at a time, with a filter that fits it"
            }
            Self::FilterWords { filter } => {
                return Some(format!("give the filter with -f: -f '{filter}'"));
            }
            Self::Anonymized { .. } => {
                "leave it out; or select first with -w, and anonymize what was saved: beamscope annotate --anonymize"
            }
            Self::CommandLast { name } => {
                return Some(format!(
                    "put it before the options and captures: beamscope {name} CAPTURE"
                ));
            }
            #[cfg(feature = "live")]
            Self::InterfaceAndFile => "leave out -i to read the file, or the file to capture",
            Self::NoLastPacket { .. } => {
                "give --since and --until with a date, such as \"2014-05-25 15:30\", or save the capture to a file"
            }
            Self::EmptyWindow { .. } => "give --since the earlier of the two times",
            Self::Interval { .. } => {
                "the state of the cluster and the statistics are printed at the end in any case"
            }
            Self::NoRule { .. } => {
                "beamscope explain lists all rules; beamscope explain --log LINE finds the rules \
                 for a line of a log"
            }
            Self::Duration => "to read a part of a capture, use --since and --until",
            #[cfg(feature = "live")]
            Self::NoUser { .. } => "give the user by number: -Z UID:GID",
            #[cfg(feature = "live")]
            Self::Privileges { .. } => {
                "only root can switch to another user; leave out -Z otherwise"
            }
            #[cfg(feature = "nats")]
            Self::NoSpool => "name one with --spool DIR, or set STATE_DIRECTORY",
            Self::Cookie(error) => return error.hint().map(str::to_owned),
            Self::Ladder(error) => return error.hint(),
            Self::Capture(error) => return error.hint(),
            _ => return None,
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
