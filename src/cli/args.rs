//! The command line as typed.
//!
//! In: the arguments of the process. Out: [`Args`], each value parsed, nothing opened yet. Help and
//! usage errors are clap's, which ends the process with status 2. `settings` turns these types into
//! its own, so that nothing else knows clap.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::console;
use beamscope::capture::Order;
use beamscope::detect;
use beamscope::limits::LEAST_MEMORY;
use beamscope::network::Cidr;
use beamscope::record::Severity;
use beamscope::render::Pattern;
use beamscope::time::{TimePoint, Zone};
pub(super) use clap::ColorChoice;
use clap::builder::{OsStringValueParser, PossibleValuesParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{
    Arg, ArgAction, ArgGroup, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use clap_complete::Shell;

use super::cookies::CookieText;
use super::spelling::distance;
use super::zone;

/// Reads packet captures of Erlang and Elixir clusters and explains why two nodes do not connect.
///
/// Events go to standard output: as text on a terminal, otherwise as one JSON object a line. Errors
/// and warnings go to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "beamscope",
    version,
    after_help = SHORT_EXAMPLES,
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    group = ArgGroup::new("rotation").multiple(true),
    group = ArgGroup::new("recorded").multiple(true),
    override_usage = "beamscope [OPTIONS] CAPTURE...\n       \
                      beamscope [OPTIONS] -i INTERFACE\n       \
                      beamscope COMMAND"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<CommandArgs>,

    /// Capture files to read: pcap, pcapng or snoop, also compressed (gzip, zstd, lz4, xz). "-" reads
    /// standard input. Several files are read as one timeline
    #[arg(value_name = "CAPTURE")]
    pub(super) captures: Vec<PathBuf>,

    /// Read this capture file; the same as CAPTURE
    #[arg(short, long, value_name = "FILE", help_heading = INPUT)]
    pub(super) read: Vec<PathBuf>,

    /// Capture from this interface until Ctrl-C: a name, a number of --list-interfaces, or "any" for
    /// all. Repeat it for several
    #[arg(short, long, value_name = "INTERFACE", help_heading = INPUT)]
    pub(super) interface: Vec<String>,

    /// List the interfaces to capture from
    #[arg(short = 'D', long, exclusive = true, help_heading = INPUT)]
    pub(super) list_interfaces: bool,

    /// Stop after this many packets
    #[arg(
        short, long, value_name = "N", help_heading = INPUT,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(super) count: Option<u64>,

    /// Skip packets before this time: 15:30 (on the day of the last packet), "10m ago" (before the last packet),
    /// "2014-05-25 14:32", 2014-05-25T14:32:25Z, or seconds since 1970. Without an offset, the zone is that of --tz
    #[arg(long, value_name = "TIME", help_heading = INPUT, conflicts_with = "interface")]
    pub(super) since: Option<TimePoint>,

    /// Skip packets after this time
    #[arg(long, value_name = "TIME", help_heading = INPUT, conflicts_with = "interface")]
    pub(super) until: Option<TimePoint>,

    /// Analyse only packets that match this filter, in the syntax of tcpdump: see pcap-filter(7)
    #[arg(short, long, value_name = "BPF", help_heading = INPUT, conflicts_with = "filter_file")]
    pub(super) filter: Option<String>,

    /// Read the filter from this file
    #[arg(short = 'F', long, value_name = "FILE", help_heading = INPUT)]
    pub(super) filter_file: Option<PathBuf>,

    /// At the end of the last capture file, wait for more packets until Ctrl-C
    #[arg(long, help_heading = INPUT, conflicts_with = "interface")]
    pub(super) follow: bool,

    /// Stop capturing or following after this time: 90s, 10m, 2h, or a number of seconds
    #[arg(long, value_name = "TIME", help_heading = INPUT, value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// Capture at most this many bytes of each packet; 0 captures all
    #[arg(
        short, long, value_name = "BYTES", help_heading = INPUT, conflicts_with_all = FILES,
        value_parser = snaplen
    )]
    pub(super) snaplen: Option<u32>,

    /// Do not put the interface into promiscuous mode
    #[arg(short = 'p', long, help_heading = INPUT, conflicts_with_all = FILES)]
    pub(super) no_promisc: bool,

    /// Size of the kernel's capture buffer in KiB [default: 16384]
    #[arg(
        short = 'B', long, value_name = "KIB", help_heading = INPUT, conflicts_with_all = FILES,
        value_parser = clap::value_parser!(u32).range(1..=1 << 21)
    )]
    pub(super) buffer_size: Option<u32>,

    /// Get each packet from the kernel at once instead of within 100 ms. For tests: it is slow and uses
    /// up the capture buffer
    #[arg(long, help_heading = INPUT, conflicts_with_all = FILES)]
    pub(super) immediate: bool,

    /// Number of threads that read captures ahead, decompress them and write messages [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", help_heading = INPUT)]
    pub(super) threads: Option<NonZeroUsize>,

    /// Read packets of several captures by time, or file after file as given
    #[arg(
        long, value_name = "ORDER", help_heading = INPUT, default_value = "time",
        value_parser = PossibleValuesParser::new(["time", "given"]).map(order)
    )]
    pub(super) order: Order,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,

    /// Print each message after the handshake: its operation, sender, receiver and called function, not
    /// its contents
    #[arg(long, help_heading = OUTPUT)]
    pub(super) messages: bool,

    /// Print messages with their contents, which may be private data of other people
    #[arg(long, help_heading = SECRETS)]
    pub(super) payloads: bool,

    /// How --payloads writes terms
    #[arg(
        long, value_name = "STYLE", help_heading = SECRETS, default_value = "erlang",
        requires = "payloads", value_enum
    )]
    pub(super) terms: TermStyleName,

    /// Switch to this user once interfaces and files are open: a name, UID, or UID:GID. All
    /// capabilities are dropped with and without it
    #[arg(short = 'Z', long, value_name = "USER", help_heading = PRIVILEGES, conflicts_with_all = FILES)]
    pub(super) user: Option<String>,

    /// Print challenges and digests. With them, anyone can guess cookies and test each guess
    #[arg(long, help_heading = SECRETS)]
    pub(super) include_secrets: bool,

    /// Print only findings, their repeats, problems with the input, and the final statistics
    #[arg(long, help_heading = OUTPUT)]
    pub(super) only_findings: bool,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    #[command(flatten)]
    pub(super) save: SaveArgs,

    /// Write each event at once, also to a file or a pipe
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) line_buffered: bool,

    /// While capturing or following, print the state of the cluster this often, such as 10m. SIGUSR1
    /// prints it at any time
    #[arg(long, value_name = "TIME", help_heading = OUTPUT, value_parser = duration)]
    pub(super) cluster_interval: Option<Duration>,

    /// While capturing or following, print statistics this often. SIGUSR1 prints them at any time
    #[arg(long, value_name = "TIME", help_heading = OUTPUT, value_parser = duration)]
    pub(super) stats_interval: Option<Duration>,

    /// In text, also print each connection, EPMD request and handshake message. While capturing, also
    /// print the remaining privileges
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "quiet", action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Does nothing: addresses and ports are never resolved. For people who are used to tcpdump
    #[arg(short, hide = true, action = ArgAction::Count)]
    pub(super) numeric: u8,

    /// Write only the summary of the text about captures: how the run ended, and a line for each problem
    #[arg(long, help_heading = SHOWN, conflicts_with_all = ["json", "verbose"])]
    pub(super) brief: bool,

    /// Show connections, problems and nodes on the whole screen as they change. Enter shows the messages of one, / filters,
    /// q ends
    #[cfg(feature = "tui")]
    #[arg(
        long, help_heading = OUTPUT,
        conflicts_with_all = ["output", "json", "text", "format", "brief", "verbose", "messages", "payloads"]
    )]
    pub(super) tui: bool,

    #[command(flatten)]
    pub(super) judged: JudgedArgs,
}

/// Options about findings: which are shown, and which exit status they give.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct JudgedArgs {
    /// Hide findings below this severity
    #[arg(
        long, value_name = "SEVERITY", help_heading = OUTPUT, default_value = "info",
        value_parser = severity(&[]).map(|name| severity_of(&name).unwrap_or(Severity::Info))
    )]
    pub(super) min_severity: Severity,

    /// Exit with status 1 if there is a finding of this severity or above, unless the capture shows that the
    /// problem is over
    #[arg(
        long, value_name = "SEVERITY", help_heading = OUTPUT, default_value = "never",
        value_parser = severity(&["never"]).map(|name| FailOn(severity_of(&name)))
    )]
    pub(super) fail_on: FailOn,

    /// For --fail-on, also count the problems that are over
    #[arg(long, help_heading = OUTPUT)]
    pub(super) fail_on_solved: bool,

    /// Exit with status 1 unless these two are connected at the end of the capture: node names, names without
    /// the host, or addresses. Repeat it for several pairs
    #[arg(long, value_name = "A,B", help_heading = OUTPUT, value_parser = pair)]
    pub(super) expect: Vec<[Arc<str>; 2]>,

    /// Exit with status 2 if the capture lacks packets that would decide what became of a connection
    #[arg(long, help_heading = OUTPUT)]
    pub(super) require_complete: bool,
}

/// Options about what is shown of everything that was analysed.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct ShownArgs {
    /// Show only connections, findings and messages of this node: its name, or the part before the @; "*" matches any
    /// characters. Repeat it for several
    #[arg(long, value_name = "NAME", help_heading = SHOWN, value_parser = str::parse::<Pattern>)]
    pub(super) node: Vec<Pattern>,

    /// Show only what this address, or an address of this network, is one end of. Repeat it for several
    #[arg(long, value_name = "ADDRESS[/BITS]", help_heading = SHOWN, value_parser = str::parse::<Cidr>)]
    pub(super) host: Vec<Cidr>,

    /// Show only what is between these two: nodes as for --node, or addresses. Repeat it for several pairs
    #[arg(long, value_name = "A,B", help_heading = SHOWN, value_parser = pair_of_patterns)]
    pub(super) pair: Vec<[Pattern; 2]>,

    /// Show only the connection with this session_id. Repeat it for several
    #[arg(long, value_name = "ID", help_heading = SHOWN, value_parser = session_id)]
    pub(super) session: Vec<Arc<str>>,

    /// Show only the findings of this rule. Repeat it for several
    #[arg(long, value_name = "RULE", help_heading = SHOWN, value_parser = rule)]
    pub(super) rule: Vec<&'static str>,

    /// Of messages, show those to this registered name, process or alias; implies --messages. Repeat it for several
    #[arg(long, value_name = "NAME", help_heading = SHOWN, value_parser = str::parse::<Pattern>)]
    pub(super) to: Vec<Pattern>,

    /// Of messages, show those of this operation, such as REG_SEND or "MONITOR*"; implies --messages. Repeat it for
    /// several
    #[arg(long, value_name = "OPERATION", help_heading = SHOWN, value_parser = str::parse::<Pattern>)]
    pub(super) op: Vec<Pattern>,

    /// Of messages, show those that call or spawn this function, such as "rabbit_mnesia:*"; implies --messages. Repeat
    /// it for several
    #[arg(long, value_name = "MODULE:FUNCTION", help_heading = SHOWN, value_parser = function)]
    pub(super) call: Vec<[Pattern; 2]>,
}

/// Options about the network and the cluster that a capture does not show.
#[derive(Debug, clap::Args)]
pub(crate) struct ProtocolArgs {
    #[command(flatten)]
    pub(super) read: ReadArgs,

    /// A network of your own, such as 10.0.0.0/8. Connections from other networks are reported as
    /// coming from outside. Repeat it for several
    #[arg(long, value_name = "CIDR", help_heading = PROTOCOL, value_parser = str::parse::<Cidr>)]
    pub(super) home_net: Vec<Cidr>,

    /// Use at most this much memory, such as 64M: hostile traffic needs up to 640M otherwise. What no longer fits is
    /// forgotten, and an anomaly reports it. At least 48M
    #[arg(long, value_name = "SIZE", help_heading = PROTOCOL, value_parser = memory)]
    pub(super) max_memory: Option<usize>,

    /// Find out which cookie of this file each node used. One cookie a line, or LABEL, a tab, and the
    /// cookie; output shows the label only. Repeat it for several
    #[arg(long, value_name = "FILE", help_heading = SECRETS)]
    pub(super) cookie_file: Vec<PathBuf>,

    /// Find out which nodes used this cookie. Other users can see it in the list of processes; prefer
    /// --cookie-file
    #[arg(
        long, value_name = "TEXT", help_heading = SECRETS, allow_hyphen_values = true,
        value_parser = OsStringValueParser::new().map(CookieText)
    )]
    pub(super) cookie: Vec<CookieText>,

    /// Find out which nodes used the cookie in ~/.erlang.cookie
    #[arg(long, help_heading = SECRETS)]
    pub(super) home_cookie: bool,

    /// Look inside TLS with the secrets in this key log (SSLKEYLOGFILE format), which a node can write: see
    /// beamscope explain tls-failure. Read on as it grows. Repeat it for several
    #[arg(long, value_name = "FILE", help_heading = SECRETS)]
    pub(super) keylog: Vec<PathBuf>,

    /// Also use the key log that the environment variable SSLKEYLOGFILE names
    #[arg(long, help_heading = SECRETS)]
    pub(super) keylog_env: bool,
}

/// Options of every command that reads captures: what it is allowed to do, and on which ports it finds Erlang traffic.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct ReadArgs {
    /// Do not restrict file access and system calls, and keep all capabilities while reading captures
    #[arg(long, help_heading = PRIVILEGES)]
    pub(super) no_sandbox: bool,

    /// Another port of EPMD, the port mapper, besides 4369. Repeat it for several
    #[arg(
        long, value_name = "PORT", help_heading = PROTOCOL,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) epmd_port: Vec<u16>,

    /// Port or ports P-Q on which nodes listen, for captures without the answer of EPMD. Repeat it for
    /// several
    #[arg(long, value_name = "P[-Q]", help_heading = PROTOCOL, value_parser = ports)]
    pub(super) dist_port: Vec<RangeInclusive<u16>>,
}

/// Options about where events go, and how they are written.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Write events to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: Option<PathBuf>,

    /// Append to the file of --output
    #[arg(long, help_heading = OUTPUT, requires = "output")]
    pub(super) append: bool,

    /// Write JSON, also on a terminal: the same as --format ndjson
    #[arg(long, help_heading = OUTPUT, conflicts_with = "format")]
    pub(super) json: bool,

    /// Write text, also to a pipe or a file: the same as --format text
    #[arg(long, help_heading = OUTPUT, conflicts_with_all = ["format", "json"])]
    pub(super) text: bool,

    /// Format of events [default: text on a terminal, otherwise ndjson]
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum)]
    pub(super) format: Option<FormatName>,

    /// When to colour text
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, default_value = "auto", value_enum)]
    pub(super) color: ColorChoice,

    /// Time zone of text and of times in arguments: local, UTC, or a name such as Europe/Berlin [default: local at a
    /// terminal, otherwise UTC]. JSON is always in UTC
    #[arg(long, value_name = "ZONE", help_heading = OUTPUT, value_parser = zone::parse)]
    pub(super) tz: Option<Zone>,

    /// Do not print warnings
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Options about which packets are saved, and where.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct SaveArgs {
    /// Save the analysed packets to this file: pcap if its name ends in .pcap, otherwise pcapng. "-"
    /// writes to standard output and needs --output for the events
    #[arg(short, long, value_name = "FILE", help_heading = SAVING)]
    pub(super) write: Option<PathBuf>,

    /// Start a new file before the current one exceeds this size: 500k, 100M, 2G, or a number of
    /// millions of bytes. Files are named NAME-TIME-NUMBER
    #[arg(
        short = 'C', long, value_name = "SIZE", help_heading = SAVING, value_parser = size,
        requires = "write", group = "rotation"
    )]
    pub(super) rotate_size: Option<u64>,

    /// Start a new file after this time: 90s, 10m, 2h, or a number of seconds
    #[arg(
        short = 'G', long, value_name = "TIME", help_heading = SAVING, value_parser = duration,
        requires = "write", group = "rotation"
    )]
    pub(super) rotate_every: Option<Duration>,

    /// Keep this many of these files and delete older ones
    #[arg(
        short = 'W', long, value_name = "COUNT", help_heading = SAVING, requires = "rotation",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1 << 20)
    )]
    pub(super) rotate_count: Option<usize>,

    /// Save the packets of each finding to a small pcapng file in this directory, with comments that
    /// explain them
    #[arg(long, value_name = "DIR", help_heading = SAVING)]
    pub(super) evidence: Option<PathBuf>,

    /// Also write what each connection showed to this file, for beamscope merge: one line of JSON a fact, which only you can
    /// read
    #[arg(long, value_name = "FILE", help_heading = SAVING, group = "recorded")]
    pub(super) observations: Option<PathBuf>,

    /// Name of this place in --observations [default: the file name of the first capture; of a live capture, the name of
    /// this host]
    #[arg(long, value_name = "NAME", help_heading = SAVING, requires = "recorded")]
    pub(super) sensor: Option<String>,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(super) publish: PublishArgs,

    /// Put the secrets of --keylog, and those of the captures, into what -w saves: anyone with the file can read inside
    /// TLS
    #[arg(long, help_heading = SAVING, requires = "write", conflicts_with = "anonymize")]
    pub(super) with_keys: bool,

    /// Replace names of nodes and hosts, addresses, ports, challenges and digests, and make contents zero, in what
    /// -w and --evidence save and in all events. The findings stay the same
    #[arg(long, help_heading = SAVING)]
    pub(super) anonymize: bool,
}

/// Options about where observations are published.
#[cfg(feature = "nats")]
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct PublishArgs {
    /// Also publish what each connection showed to JetStream of this NATS server, for beamscope merge --nats. Several servers
    /// of one cluster are separated by commas
    #[arg(
        long, value_name = "URL", help_heading = NATS, value_parser = nats_url, group = "recorded"
    )]
    pub(super) publish: Option<NatsUrl>,

    /// Keep in this directory what the server has not acknowledged [default: spool in $STATE_DIRECTORY, or in
    /// ~/.local/state/beamscope]
    #[arg(long, value_name = "DIR", help_heading = NATS, requires = "publish")]
    pub(super) spool: Option<PathBuf>,

    /// Let the spool take at most this much. Once it is full, the rest of the run is not published, which the merge reports
    #[arg(
        long, value_name = "SIZE", help_heading = NATS, default_value = "256M", value_parser = size,
        requires = "publish"
    )]
    pub(super) spool_size: u64,

    #[command(flatten)]
    pub(super) nats: NatsArgs,
}

/// Options about a NATS server.
#[cfg(feature = "nats")]
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct NatsArgs {
    /// Name of the stream. A sensor makes it where there is none, and it then keeps messages for seven days
    #[arg(
        long, value_name = "NAME", help_heading = NATS, default_value = "BEAMSCOPE",
        value_parser = stream_name
    )]
    pub(super) nats_stream: String,

    /// What the subjects of messages begin with; the sensor and the connection follow
    #[arg(
        long, value_name = "SUBJECT", help_heading = NATS, default_value = "beamscope",
        value_parser = subject
    )]
    pub(super) nats_subject: String,

    /// Prove who you are with this file of NATS credentials. A user and a password, or a token, are a part of the URL, where
    /// other users can see them in the list of processes
    #[arg(long, value_name = "FILE", help_heading = NATS)]
    pub(super) nats_creds: Option<PathBuf>,

    /// Use TLS, and trust the certificates that are signed by those in this file, and no others
    #[arg(long, value_name = "FILE", help_heading = NATS)]
    pub(super) nats_ca: Option<PathBuf>,

    /// Use TLS, and show the server this certificate
    #[arg(long, value_name = "FILE", help_heading = NATS, requires = "nats_key")]
    pub(super) nats_cert: Option<PathBuf>,

    /// The key of --nats-cert
    #[arg(long, value_name = "FILE", help_heading = NATS, requires = "nats_cert")]
    pub(super) nats_key: Option<PathBuf>,
}

/// The address of a NATS server, which may have a password in it.
#[cfg(feature = "nats")]
#[derive(Clone)]
pub(crate) struct NatsUrl(pub(super) String);

#[cfg(feature = "nats")]
impl std::fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NatsUrl")
    }
}

/// Arguments of the process that talks to NATS, which no user starts.
#[cfg(feature = "nats")]
#[derive(Debug, clap::Args)]
pub(crate) struct NatsWorkerArgs {
    #[arg(value_parser = nats_url)]
    pub(super) url: NatsUrl,

    #[command(flatten)]
    pub(super) nats: NatsArgs,

    /// The directory to send from; without it, the stream is read
    #[arg(long, requires = "growing")]
    pub(super) spool: Option<PathBuf>,

    /// The number of the run that adds to the directory
    #[arg(long, requires = "spool")]
    pub(super) growing: Option<String>,

    /// Read what is added to the stream, without end
    #[arg(long, conflicts_with = "spool")]
    pub(super) follow: bool,

    /// The user to switch to
    #[arg(long)]
    pub(super) user: Option<String>,

    /// Do not restrict file access and system calls
    #[arg(long)]
    pub(super) no_sandbox: bool,

    /// Do not print warnings
    #[arg(long)]
    pub(super) quiet: bool,
}

impl Args {
    /// The arguments of this process. Ends the process after `--help`, or with status 2 after a usage
    /// error.
    pub(crate) fn from_process() -> Self {
        Self::of(std::env::args_os()).unwrap_or_else(|error| {
            // Arguments may be names of files, which may contain anything.
            if error.use_stderr() && !console::is_safe(&error.render().to_string()) {
                console::report(&error.render(), None);
                std::process::exit(error.exit_code());
            }
            error.exit()
        })
    }

    /// Parses the arguments, the first of which is the name of the program.
    fn of(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        let asks_for_short_help = arguments.get(1).is_some_and(|argument| argument == "-h");
        let command = if asks_for_short_help { short_help() } else { Self::command() };
        let parsed = command.try_get_matches_from(arguments);
        let parsed = parsed.and_then(|matches| Self::from_arg_matches(&matches));
        #[cfg(feature = "nats")]
        let parsed = parsed.map_err(without_address);
        parsed.map_err(without_guesses)
    }
}

/// The command line with what fits one screen: a sentence for each of the usual options.
fn short_help() -> clap::Command {
    let first_sentence = |text: Option<&StyledStr>| {
        let text = text.map(ToString::to_string).unwrap_or_default();
        text.split(['.', ':', ';', '[']).next().unwrap_or_default().trim_end().to_owned()
    };
    let usual_only = |arg: Arg| {
        let help = first_sentence(arg.get_help());
        let is_usual = USUAL.contains(&arg.get_id().as_str());
        arg.help(help).help_heading(None).hide(!is_usual)
    };
    let short = |command: clap::Command| {
        let about = first_sentence(command.get_about());
        command.about(about)
    };
    Args::command().mut_args(usual_only).mut_subcommands(short)
}

/// The error without suggestions that have little in common with what was typed, and without the one to give an unknown
/// option as the name of a file.
fn without_guesses(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    error.remove(ContextKind::Suggested);
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.trim_start_matches('-').to_owned(),
        _ => String::new(),
    };
    let (typed, guess) = (text(ContextKind::InvalidArg), text(ContextKind::SuggestedArg));
    let is_start = typed.len() > 2 && (guess.starts_with(&typed) || typed.starts_with(&guess));
    if !is_start && distance(&typed, &guess) > 2 {
        error.remove(ContextKind::SuggestedArg);
    }
    error
}

/// The error without the text of an address, which may have a password in it.
#[cfg(feature = "nats")]
fn without_address(mut error: clap::Error) -> clap::Error {
    let of_address = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(option)) if option.ends_with("<URL>")
    );
    if of_address && error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("...".to_owned()));
    }
    error
}

/// Commands that do something else than analyse captures.
#[derive(Debug, Subcommand)]
pub(crate) enum CommandArgs {
    /// Compare two captures: which pairs broke, which recovered
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Box<DiffArgs>),

    /// Make a report as one file: problems, a map of the cluster, a timeline, traffic
    #[command(after_help = REPORT_EXAMPLES)]
    Report(Box<ReportArgs>),

    /// Draw one attempt to connect as a ladder: a row a message, with what is missing
    #[command(after_help = LADDER_EXAMPLES)]
    Ladder(Box<LadderArgs>),

    /// Write the capture again with comments on its packets, for Wireshark and tshark
    #[command(after_help = ANNOTATE_EXAMPLES)]
    Annotate(Box<AnnotateArgs>),

    /// Write the packets of captures that matter to a smaller one, in which they keep their numbers
    #[command(after_help = EXTRACT_EXAMPLES)]
    Extract(Box<ExtractArgs>),

    /// Write which ports and connections of captures are Erlang's, for extract --facts
    #[command(after_help = FACTS_EXAMPLES)]
    Facts(Box<FactsArgs>),

    /// Join what several sensors saw: files of --observations and captures, as one run over everything
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(Box<MergeArgs>),

    /// Send observations to NATS, or read them, for another process of this program
    #[cfg(feature = "nats")]
    #[command(hide = true)]
    NatsWorker(Box<NatsWorkerArgs>),

    /// Explain a finding: what it means, what proves it, what the nodes log, what to do. Or find the
    /// findings for a line of a log
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// Name of the rule, as findings show it. Without it, all rules are listed
        rule: Option<String>,

        /// Show which rules are behind this log line, or part of one. '' shows all known lines
        #[arg(long, value_name = "LINE", allow_hyphen_values = true, conflicts_with = "rule")]
        log: Option<String>,

        /// Print each rule as a line of JSON
        #[arg(long)]
        json: bool,
    },

    /// Print the JSON Schema of events
    Schema,

    /// Print a script that completes arguments in a shell
    Completions {
        /// Name of the shell
        shell: Shell,
    },

    /// Print the manual page in roff
    Man {
        /// Print the page of this command instead
        command: Option<String>,
    },
}

/// Arguments of `beamscope diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The earlier capture, or a file of events from beamscope. "-" reads standard input
    #[arg(value_name = "BEFORE")]
    pub(super) before: PathBuf,

    /// The later capture, or a file of events from beamscope
    #[arg(value_name = "AFTER")]
    pub(super) after: PathBuf,

    /// Exit with status 1 if a pair changed
    #[arg(long, help_heading = OUTPUT)]
    pub(super) exit_code: bool,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// Options about which packets of captures a command takes, and in which order.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct PacketArgs {
    /// Skip packets of captures before this time: 15:30 (on the day of the last packet), "10m ago" (before the last
    /// packet), "2014-05-25 14:32", 2014-05-25T14:32:25Z, or seconds since 1970. Without an offset, the zone is that of
    /// --tz
    #[arg(long, value_name = "TIME", help_heading = INPUT)]
    pub(super) since: Option<TimePoint>,

    /// Skip packets after this time
    #[arg(long, value_name = "TIME", help_heading = INPUT)]
    pub(super) until: Option<TimePoint>,

    /// Skip packets that do not match this filter, in the syntax of tcpdump: see pcap-filter(7)
    #[arg(short, long, value_name = "BPF", help_heading = INPUT, conflicts_with = "filter_file")]
    pub(super) filter: Option<String>,

    /// Read the filter from this file
    #[arg(short = 'F', long, value_name = "FILE", help_heading = INPUT)]
    pub(super) filter_file: Option<PathBuf>,

    /// Number of threads that read captures ahead and decompress them [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", help_heading = INPUT)]
    pub(super) threads: Option<NonZeroUsize>,

    /// Read packets of several captures by time, or file after file as given
    #[arg(
        long, value_name = "ORDER", help_heading = INPUT, default_value = "time",
        value_parser = PossibleValuesParser::new(["time", "given"]).map(order)
    )]
    pub(super) order: Order,
}

/// Arguments of `beamscope report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Captures, or files of events from beamscope. "-" reads standard input. Several captures are read as one timeline
    #[arg(value_name = "INPUT", required = true)]
    pub(super) inputs: Vec<PathBuf>,

    /// Write the report to this file; "-" writes to standard output
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: Option<PathBuf>,

    /// A page for a browser, or the short form for a ticket [default: markdown if the file ends in .md, otherwise html]
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum)]
    pub(super) format: Option<ReportFormName>,

    #[command(flatten)]
    pub(super) packets: PacketArgs,

    /// Time zone of the report and of these times: local, UTC, or a name such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", help_heading = OUTPUT, value_parser = zone::parse)]
    pub(super) tz: Option<Zone>,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    /// Leave out findings below this severity
    #[arg(
        long, value_name = "SEVERITY", help_heading = SHOWN, default_value = "info",
        value_parser = severity(&[]).map(|name| severity_of(&name).unwrap_or(Severity::Info))
    )]
    pub(super) min_severity: Severity,

    /// Do not print warnings
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Values of the option `--format` of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ReportFormName {
    /// One page that needs no network and no script
    Html,
    /// The short form for a ticket or a pull request
    Markdown,
}

/// Arguments of `beamscope ladder`.
#[derive(Debug, clap::Args)]
pub(crate) struct LadderArgs {
    /// Capture files to read, as one timeline. "-" reads standard input
    #[arg(value_name = "CAPTURE", required = true)]
    pub(super) captures: Vec<PathBuf>,

    /// Draw the attempt that explains the problem of these two: nodes, parts of names before the @, or addresses
    #[arg(
        long, value_name = "A,B", help_heading = WHICH, value_parser = pair_of_patterns,
        conflicts_with_all = ["session", "finding"]
    )]
    pub(super) pair: Option<[Pattern; 2]>,

    /// Draw the attempt that explains the problem of this node, part of its name before the @, or address
    #[arg(
        long, value_name = "NAME", help_heading = WHICH,
        conflicts_with_all = ["pair", "session", "finding"]
    )]
    pub(super) node: Option<Pattern>,

    /// Draw the connection with this session_id
    #[arg(
        long, value_name = "ID", help_heading = WHICH, value_parser = session_id,
        conflicts_with = "finding"
    )]
    pub(super) session: Option<Arc<str>>,

    /// Draw the attempt of the problem with this number in the text about the capture
    #[arg(
        long, value_name = "N", help_heading = WHICH,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..)
    )]
    pub(super) finding: Option<usize>,

    /// Write the drawing to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: Option<PathBuf>,

    /// Format of the drawing [default: text; svg for a FILE that ends in .svg, mermaid for .mmd]
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum)]
    pub(super) format: Option<LadderFormatName>,

    /// Columns of text [default: those of the terminal, otherwise 80]. From 150 on, a connection that was
    /// established is drawn beside it
    #[arg(
        long, value_name = "COLUMNS", help_heading = OUTPUT,
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(40..=500)
    )]
    pub(super) width: Option<usize>,

    /// When to colour text
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, default_value = "auto", value_enum)]
    pub(super) color: ColorChoice,

    /// Do not print warnings
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) packets: PacketArgs,

    /// Time zone of the times of --since and --until: local, UTC, or a name such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", help_heading = INPUT, value_parser = zone::parse)]
    pub(super) tz: Option<Zone>,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,
}

/// Formats of `beamscope ladder`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LadderFormatName {
    /// Lines for a terminal
    Text,
    /// A sequence diagram for Markdown
    Mermaid,
    /// A picture for a web page
    Svg,
}

/// Arguments of `beamscope annotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct AnnotateArgs {
    /// Capture files to read, as for the analysis; each is read twice. Several files become one
    #[arg(value_name = "CAPTURE", required = true)]
    pub(super) captures: Vec<PathBuf>,

    /// Write the packets and the comments to this pcapng file. "-" writes to standard output
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: PathBuf,

    #[command(flatten)]
    pub(super) packets: PacketArgs,

    /// Time zone of these times: local, UTC, or a name such as Europe/Berlin [default: local at a terminal, otherwise
    /// UTC]
    #[arg(long, value_name = "ZONE", help_heading = INPUT, value_parser = zone::parse)]
    pub(super) tz: Option<Zone>,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    /// Write no comments about findings below this severity
    #[arg(
        long, value_name = "SEVERITY", help_heading = OUTPUT, default_value = "info",
        value_parser = severity(&[]).map(|name| severity_of(&name).unwrap_or(Severity::Info))
    )]
    pub(super) min_severity: Severity,

    /// Keep the secrets of TLS that the captures contain, and add those of --keylog: anyone with the file can read inside
    /// TLS
    #[arg(long, help_heading = OUTPUT, conflicts_with = "anonymize")]
    pub(super) with_keys: bool,

    /// Replace names of nodes and hosts, addresses, ports, challenges and digests, and make contents zero, so that the
    /// file can be shown to others. The findings stay the same
    #[arg(long, help_heading = OUTPUT)]
    pub(super) anonymize: bool,

    /// Do not print warnings, nor what was written
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Arguments of `beamscope extract`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExtractArgs {
    /// The captures to read, by time. Extracts are read as the captures that they are of. "-" reads standard input
    #[arg(value_name = "CAPTURE", required_unless_present = "interface")]
    pub(super) captures: Vec<PathBuf>,

    /// Write the packets to this pcapng file. "-" writes to standard output
    #[arg(short = 'w', long = "write", value_name = "FILE", help_heading = OUTPUT)]
    pub(super) write: PathBuf,

    /// Capture from this interface until Ctrl-C, and write the packets that matter as they come: a name, a number of
    /// --list-interfaces, or "any" for all. Repeat it for several
    #[arg(
        short, long, value_name = "INTERFACE", help_heading = INPUT,
        conflicts_with_all = ["captures", "with_keys"]
    )]
    pub(super) interface: Vec<String>,

    /// Capture only packets that match this filter, in the syntax of tcpdump: see pcap-filter(7)
    #[arg(short, long, value_name = "BPF", help_heading = INPUT, requires = "interface")]
    pub(super) filter: Option<String>,

    /// Stop capturing after this time: 90s, 10m, 2h, or a number of seconds
    #[arg(
        long, value_name = "TIME", help_heading = INPUT, requires = "interface",
        value_parser = duration
    )]
    pub(super) duration: Option<Duration>,

    /// Capture at most this many bytes of each packet; 0 captures all
    #[arg(
        short, long, value_name = "BYTES", help_heading = INPUT, requires = "interface",
        value_parser = snaplen
    )]
    pub(super) snaplen: Option<u32>,

    /// Do not put the interface into promiscuous mode
    #[arg(short = 'p', long, help_heading = INPUT, requires = "interface")]
    pub(super) no_promisc: bool,

    /// Size of the kernel's capture buffer in KiB [default: 16384]
    #[arg(
        short = 'B', long, value_name = "KIB", help_heading = INPUT, requires = "interface",
        value_parser = clap::value_parser!(u32).range(1..=1 << 21)
    )]
    pub(super) buffer_size: Option<u32>,

    /// Switch to this user once the interface and the files are open: a name, UID, or UID:GID. All capabilities are
    /// dropped with and without it
    #[arg(short = 'Z', long, value_name = "USER", help_heading = PRIVILEGES, requires = "interface")]
    pub(super) user: Option<String>,

    /// Also keep what matters by this file, which beamscope facts has written from other captures of the same traffic.
    /// Repeat it for several
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub(super) facts: Vec<PathBuf>,

    /// Number of threads that read captures ahead and decompress them [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", help_heading = INPUT)]
    pub(super) threads: Option<NonZeroUsize>,

    /// Keep the secrets of TLS that the captures contain, and the connections that only they show to be Erlang's: anyone
    /// with the file can read inside TLS
    #[arg(long, help_heading = OUTPUT)]
    pub(super) with_keys: bool,

    /// Also write to this file what was read and kept, as one JSON object: packets, damage, addresses of connections
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) summary: Option<PathBuf>,

    #[command(flatten)]
    pub(super) read: ReadArgs,

    /// Do not print warnings, nor what was written
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Arguments of `beamscope facts`.
#[derive(Debug, clap::Args)]
pub(crate) struct FactsArgs {
    /// The captures to read, by time. "-" reads standard input
    #[arg(value_name = "CAPTURE", required = true)]
    pub(super) captures: Vec<PathBuf>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) read: ReadArgs,

    /// Do not print warnings
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Where a merge gets the observations of sensors.
#[cfg(feature = "nats")]
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct MergeNatsArgs {
    /// Also read what sensors published to JetStream of this NATS server
    #[arg(long, value_name = "URL", help_heading = NATS, value_parser = nats_url)]
    pub(super) nats: Option<NatsUrl>,

    /// Go on with what the sensors publish, and print each problem when it shows, until a signal ends it
    #[arg(long, help_heading = NATS, requires = "nats")]
    pub(super) follow: bool,

    /// With --follow, remember in this file what was printed: after a restart only what is new is
    #[arg(long, value_name = "FILE", help_heading = NATS, requires = "follow")]
    pub(super) state: Option<PathBuf>,

    #[command(flatten)]
    pub(super) access: NatsArgs,
}

/// Arguments of `beamscope merge`.
#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// Files of --observations, captures and extracts, in any order. "-" reads standard input
    #[cfg_attr(feature = "nats", arg(value_name = "INPUT", required_unless_present = "nats"))]
    #[cfg_attr(not(feature = "nats"), arg(value_name = "INPUT", required = true))]
    pub(super) inputs: Vec<PathBuf>,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(super) sensors: MergeNatsArgs,

    #[command(flatten)]
    pub(super) protocol: ProtocolArgs,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    /// In text, also print each connection, EPMD request and handshake message
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "quiet")]
    pub(super) verbose: bool,

    /// Write only the summary of the text: how the run ended, and a line for each problem
    #[arg(long, help_heading = SHOWN, conflicts_with_all = ["json", "verbose"])]
    pub(super) brief: bool,

    #[command(flatten)]
    pub(super) judged: JudgedArgs,
}

/// Values of the option `--format`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FormatName {
    /// One JSON object a line
    Ndjson,
    /// Sentences for people to read
    Text,
}

/// Values of the option `--terms`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TermStyleName {
    /// Erlang syntax, long terms are cut
    Erlang,
    /// JSON, terms are always complete
    Json,
}

/// The value of `--fail-on`: the lowest severity that makes a run exit with status 1, or `None` for
/// `never`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FailOn(pub(super) Option<Severity>);

fn severity(others: &[&'static str]) -> PossibleValuesParser {
    let names = Severity::ALL.map(Severity::name);
    PossibleValuesParser::new(others.iter().copied().chain(names).collect::<Vec<_>>())
}

fn severity_of(name: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|severity| severity.name() == name)
}

fn order(name: String) -> Order {
    if name == "given" { Order::Given } else { Order::Time }
}

/// Two names with a comma between them.
fn pair(text: &str) -> Result<[Arc<str>; 2], String> {
    match text.split_once(',').map(|(a, b)| [a.trim(), b.trim()]) {
        Some([a, b]) if !a.is_empty() && !b.is_empty() && !b.contains(',') => {
            Ok([a.into(), b.into()])
        }
        _ => Err("expected two nodes, such as one@host1,two@host2".to_owned()),
    }
}

/// Two nodes or addresses, as patterns.
fn pair_of_patterns(text: &str) -> Result<[Pattern; 2], String> {
    let [a, b] = pair(text)?;
    Ok([a.parse()?, b.parse()?])
}

/// A module and a function, as patterns.
fn function(text: &str) -> Result<[Pattern; 2], String> {
    let parts = text.split_once(':').map(|(module, name)| (module.parse(), name.parse()));
    match parts {
        Some((Ok(module), Ok(name))) => Ok([module, name]),
        _ => Err("expected a module and a function, such as erpc:execute_call or rpc:*".to_owned()),
    }
}

/// The `session_id` of a connection.
fn session_id(text: &str) -> Result<Arc<str>, String> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 16 && text.bytes().all(is_hex) {
        Ok(text.into())
    } else {
        Err("expected the 16 hex digits of a session_id".to_owned())
    }
}

/// The identifier of a rule.
fn rule(text: &str) -> Result<&'static str, String> {
    detect::doc(text).map(|doc| doc.rule).ok_or_else(|| {
        format!("no rule has this name; {} explain lists all rules", env!("CARGO_PKG_NAME"))
    })
}

/// A port, or a range of ports.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("expected a port such as 9100, or a range such as 9100-9105".to_owned()),
    }
}

/// A snap length; below 64 bytes it would cut the headers of every packet.
fn snaplen(text: &str) -> Result<u32, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes == 0 || *bytes >= 64);
    bytes.ok_or_else(|| "expected 0 for all bytes, or at least 64".to_owned())
}

/// A time in seconds, or with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a time such as 90s, 10m or 2h".to_owned())
}

/// Bytes: a number of millions, as with `tcpdump -C`, or a number with a unit.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).map(str::to_ascii_lowercase).as_deref() {
        Some("") => 1_000_000,
        Some("k") => 1 << 10,
        Some("m") => 1 << 20,
        Some("g") => 1 << 30,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 500k, 100M or 2G".to_owned())
}

/// Addresses of NATS servers.
#[cfg(feature = "nats")]
fn nats_url(text: &str) -> Result<NatsUrl, String> {
    let is_address = |url: &str| {
        let (scheme, host) = url.split_once("://").unwrap_or(("nats", url));
        let host = host.rsplit('@').next().unwrap_or_default();
        let is_host = !host.is_empty() && host != "-";
        matches!(scheme, "nats" | "tls") && is_host && !url.contains(char::is_whitespace)
    };
    let all = text.split(',').all(is_address);
    let wrong = || "expected nats://HOST:PORT, or tls://HOST:PORT for TLS".to_owned();
    // A comma in a password ends an address as well, and what is before it would be printed as a host.
    let mut with_login = text.split(',').map(|url| url.contains('@'));
    if with_login.next() == Some(false) && with_login.any(|is| is) {
        return Err("the login is that of the first address; write a comma in it as %2C".to_owned());
    }
    all.then(|| NatsUrl(text.to_owned())).ok_or_else(wrong)
}

/// The name of a stream of JetStream.
#[cfg(feature = "nats")]
fn stream_name(text: &str) -> Result<String, String> {
    let has_meaning = |c: char| c.is_whitespace() || c.is_control() || "./*>\\".contains(c);
    let is_name = !text.is_empty() && !text.contains(has_meaning);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a name without . * > and spaces".to_owned())
}

/// The start of subjects: words with dots between them.
#[cfg(feature = "nats")]
fn subject(text: &str) -> Result<String, String> {
    let all = text.split('.').all(|word| stream_name(word).is_ok());
    all.then(|| text.to_owned()).ok_or_else(|| "expected words with dots between them".to_owned())
}

/// Bytes of memory, at least as many as a run needs in any case.
fn memory(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    let bytes =
        usize::try_from(bytes).map_err(|_| "more than this system can address".to_owned())?;
    if bytes < LEAST_MEMORY {
        let least = LEAST_MEMORY >> 20;
        return Err(format!("expected at least {least}M: with less, too much would be forgotten"));
    }
    Ok(bytes)
}

/// Arguments that conflict with an interface.
const FILES: [&str; 2] = ["captures", "read"];

const INPUT: &str = "Input";
const PROTOCOL: &str = "Protocol";
const SECRETS: &str = "Cookies and contents";
const OUTPUT: &str = "Output";
const SHOWN: &str = "Looking at less";
const SAVING: &str = "Saving packets";
#[cfg(feature = "nats")]
const NATS: &str = "NATS";
const WHICH: &str = "Which attempt";
const PRIVILEGES: &str = "Privileges";

/// The options that `-h` lists; `--help` lists all.
const USUAL: [&str; 16] = [
    "captures",
    "interface",
    "list_interfaces",
    "since",
    "filter",
    "follow",
    "cookie_file",
    "messages",
    "node",
    "pair",
    "brief",
    "output",
    "json",
    "write",
    "evidence",
    "tz",
];

const SHORT_EXAMPLES: &str = "\
Examples:
  beamscope trace.pcapng             why do these nodes not connect?
  sudo beamscope -i any              capture until Ctrl-C

All options, examples and the exit status: beamscope --help";

const EXAMPLES: &str = "\
Examples:
  beamscope trace.pcapng                       why do these nodes not connect?
  beamscope rotated-*.pcap.gz                  several files as one timeline
  beamscope --since 2014-05-25T14:30Z a.pcap   from this moment on
  beamscope --follow growing.pcap              a file that is still being written
  sudo beamscope -i any                        capture until Ctrl-C
  ssh host tcpdump -U -w - not port 22 | beamscope -   capture on another machine
  beamscope --cookie-file cookies trace.pcap   name the cookie that each node used
  beamscope trace.pcap | jq 'select(.event_type == \"finding\").finding.title'
  beamscope -i eth0 -w lan.pcapng -C 100M -W 20   keep the last 2 GB of packets
  beamscope --evidence found trace.pcap        a small capture for each finding
  beamscope --fail-on high trace.pcap          exit status 1 on a serious finding
  beamscope --expect one@h1,two@h2 trace.pcap  exit status 1 unless they are connected
  beamscope diff before.pcap after.pcap        which pairs broke, which recovered
  beamscope report trace.pcap -o report.html   all of it as one page, to send to others
  beamscope ladder trace.pcap                  the first problem, message by message
  beamscope explain cookie-mismatch            what a finding means, and what to do
  beamscope explain --log 'LINE OF A LOG'      what causes this log line

Exit status: 0 the run reached its end; 1 a problem at or above --fail-on is not solved, or a pair
of --expect is not connected; 2 wrong usage, an input could not be read (the others were), no packet
was read, packets could not be saved, or the capture lacks what --require-complete requires.";

const DIFF_EXAMPLES: &str = "\
Examples:
  beamscope diff before.pcap after.pcap        what a change of the firewall did
  beamscope diff monday.ndjson tuesday.pcap    saved events in place of a capture
  beamscope diff --exit-code a.pcap b.pcap     exit status 1 if a pair changed

Exit status: 0 both were compared; 1 a pair changed, with --exit-code; 2 wrong usage, or one of
the two could not be read.";

const REPORT_EXAMPLES: &str = "\
Examples:
  beamscope report trace.pcapng -o report.html     a page for a browser, in one file
  beamscope report kept.ndjson -o report.html      the same of events that were kept
  beamscope report --format markdown trace.pcapng  the short form for a ticket
  beamscope report --node 'web*' trace.pcapng -o web.html   what is about these nodes

Exit status: 0 the report was written; 2 wrong usage, an input could not be read to its end (the report has
what was before), or no packet was read.";

const LADDER_EXAMPLES: &str = "\
Examples:
  beamscope ladder trace.pcap                  the first open problem, else the first connection
  beamscope ladder --finding 2 trace.pcap      problem 2 of the text about the capture
  beamscope ladder --pair one,two trace.pcap   the last failure between these two
  beamscope ladder -o ladder.svg trace.pcap    a picture
  beamscope ladder --format mermaid a.pcap     a diagram for an issue or a wiki

Exit status: 0 it was drawn; 2 wrong usage, there is no such attempt, or an input could not be read.";

const ANNOTATE_EXAMPLES: &str = "\
Examples:
  beamscope annotate trace.pcapng -o out.pcapng
  tshark -r out.pcapng -Y frame.comment -T fields -e frame.number -e frame.comment
  beamscope annotate --cookie-file cookies trace.pcap -o out.pcapng
  beamscope annotate trace.pcap -o - | wireshark -k -i -
  beamscope annotate --anonymize trace.pcap -o for-a-ticket.pcapng

Exit status: 0 all packets were written; 2 wrong usage, or something could not be read or written.";

const EXTRACT_EXAMPLES: &str = "\
Examples:
  beamscope extract trace.pcap -w small.pcapng
  beamscope small.pcapng                       the same findings, with the frame numbers of trace.pcap
  beamscope extract a.pcap b.pcap -w ab.pcapng
  beamscope ab.pcapng                          the same as beamscope a.pcap b.pcap
  beamscope facts a.pcap b.pcap -o facts.json
  beamscope extract --facts facts.json b.pcap -w b.pcapng

Exit status: 0 all that matters was written; 2 wrong usage, or something could not be read or written.";

const FACTS_EXAMPLES: &str = "\
Examples:
  beamscope facts a.pcap b.pcap -o facts.json
  beamscope extract --facts facts.json a.pcap -w a.pcapng
  beamscope extract --facts facts.json b.pcap -w b.pcapng
  beamscope a.pcapng b.pcapng                  the same findings as of a.pcap and b.pcap

Exit status: 0 all was read; 2 wrong usage, or something could not be read or written.";

const MERGE_EXAMPLES: &str = "\
Examples:
  beamscope host-a.pcap --observations a.ndjson --sensor host-a
  beamscope -i any --observations b.ndjson     on host-b
  beamscope merge a.ndjson b.ndjson            one answer
  beamscope merge a.ndjson b.ndjson c.pcapng   also with a capture or an extract

Exit status: 0 all was read; 1 a finding of --fail-on, or a pair of --expect is not connected; 2 wrong usage, or an input
could not be used completely.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  beamscope explain                            list all rules
  beamscope explain cookie-mismatch            explain one rule
  beamscope explain --log 'Connection attempt from disallowed node'
  beamscope explain --json | jq -r '.rule + \": \" + .summary'

Exit status: 0 there is an explanation; 1 the log line is not known; 2 wrong usage, or no such
rule.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::of(["beamscope"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn the_definition_of_the_arguments_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn captures_options_and_commands_are_distinguished() {
        let args = parse(&["-r", "-", "a.pcap", "-c", "5"]).unwrap();
        assert_eq!((args.read.len(), args.captures.len(), args.count), (1, 1, Some(5)));
        assert!(matches!(parse(&["schema"]).unwrap().command, Some(CommandArgs::Schema)));
        assert!(matches!(parse(&["diff", "a", "-"]).unwrap().command, Some(CommandArgs::Diff(_))));
        assert!(parse(&["diff", "a"]).is_err());
        assert!(parse(&["./schema"]).unwrap().command.is_none());
        let command = parse(&["explain", "--log", "- ** line **"]).unwrap().command;
        assert!(matches!(command, Some(CommandArgs::Explain { rule: None, log: Some(_), .. })));
        assert!(parse(&["explain", "cookie-mismatch", "--log", "line"]).is_err());
        assert!(parse(&["-s", "96", "a.pcap"]).is_err(), "a snaplen without an interface");
    }

    #[test]
    fn values_are_checked() {
        for wrong in [
            ["--epmd-port", "0"],
            ["--epmd-port", "65536"],
            ["--dist-port", "9105-9100"],
            ["--dist-port", "0-1"],
            ["--home-net", "10.0.0.0/33"],
            ["--fail-on", "bad"],
            ["--min-severity", "never"],
            ["-c", "0"],
            ["--since", "yesterday"],
            ["-s", "63"],
            ["-C", "100M"],
            ["-G", "10m"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        let args = parse(&["--dist-port", "9100-9105", "--dist-port", "25672"]).unwrap();
        assert_eq!(args.protocol.read.dist_port, [9100..=9105, 25672..=25672]);
        let args = parse(&["--fail-on", "high", "--min-severity", "low"]).unwrap();
        assert_eq!(args.judged.fail_on, FailOn(Some(Severity::High)));
        assert_eq!(parse(&["-i", "lo", "-s", "0"]).unwrap().snaplen, Some(0));
        assert_eq!(args.judged.min_severity, Severity::Low);
        assert_eq!(parse(&[]).unwrap().judged.fail_on, FailOn(None));
    }

    #[test]
    fn times_have_units() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(["90", "90s", "10m", "2h"].map(seconds), [90, 90, 600, 7200].map(Ok));
        for wrong in ["", "s", "0", "1d", "1.5s", "-1", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units_and_rotation_needs_a_file() {
        let sizes = ["1", "500k", "100M", "2G", "3m"].map(size);
        assert_eq!(sizes, [1_000_000, 500 << 10, 100 << 20, 2 << 30, 3 << 20].map(Ok));
        for wrong in ["", "M", "0", "1T", "1.5M", "-1", "99999999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(memory("48M"), Ok(48 << 20));
        let error = "expected at least 48M: with less, too much would be forgotten";
        assert_eq!(memory("47M"), Err(error.to_owned()));
        assert!(parse(&["-w", "a", "-W", "3"]).is_err(), "nothing to count");
        let args = parse(&["-w", "a", "-C", "5", "-G", "60", "-W", "3"]).unwrap();
        assert_eq!(args.save.rotate_count, Some(3));
    }

    #[test]
    fn a_cookie_may_begin_with_a_hyphen_and_is_never_echoed() {
        let args = parse(&["--cookie", "-s3cr3t", "--cookie", "--s3cr3t"]).unwrap();
        assert_eq!(args.protocol.cookie.len(), 2);
        assert!(!format!("{args:?}").contains("s3cr3t"));
        for wrong in [
            &["--cookie", "s3cr3t", "--json", "--format", "text"][..],
            &["--cookei=s3cr3t"],
            &["--cookie", "s3cr3t", "--nonsense"],
        ] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
