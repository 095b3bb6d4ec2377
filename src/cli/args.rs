//! The command line as typed.
//!
//! In: the arguments of the process. Out: [`Args`], each value read, nothing opened yet. Help and
//! usage errors are clap's, which ends the process with status 2. The only door to `clap`.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use beamscope::capture::Order;
use beamscope::judge::world::Cidr;
use beamscope::record::Severity;
use beamscope::time::Timestamp;
pub(super) use clap::ColorChoice;
pub(super) use clap::builder::styling::Style;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Reads packet captures of Erlang and Elixir clusters and says why two nodes do not connect.
///
/// Events go to standard output: text at a terminal, else one JSON object a line. Everything else
/// goes to standard error.
#[derive(Debug, Parser)]
#[command(
    name = "beamscope",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    group = ArgGroup::new("rotation").multiple(true),
    override_usage = "beamscope [OPTIONS] CAPTURE...\n       \
                      beamscope [OPTIONS] -i INTERFACE\n       \
                      beamscope COMMAND"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Captures to read: pcap or pcapng, also compressed (gzip, zstd, lz4, xz); "-" is standard
    /// input. Several make one timeline
    #[arg(value_name = "CAPTURE")]
    pub(super) captures: Vec<PathBuf>,

    /// Read this capture, as if named without the option
    #[arg(short, long, value_name = "FILE", help_heading = INPUT)]
    pub(super) read: Vec<PathBuf>,

    /// Capture from this interface, by name or by its number in --list-interfaces, until Ctrl-C
    /// ("any": from all). May be given several times
    #[arg(
        short, long, value_name = "INTERFACE", help_heading = INPUT,
        conflicts_with_all = FILES
    )]
    pub(super) interface: Vec<String>,

    /// List the interfaces that can be captured from
    #[arg(short = 'D', long, exclusive = true, help_heading = INPUT)]
    pub(super) list_interfaces: bool,

    /// Stop after this many packets
    #[arg(
        short, long, value_name = "N", help_heading = INPUT,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(super) count: Option<u64>,

    /// Leave out packets from before this time: 2014-05-25T14:32:25Z, "2014-05-25 14:32" in UTC, or
    /// seconds since 1970
    #[arg(long, value_name = "TIME", help_heading = INPUT, conflicts_with = "interface")]
    pub(super) since: Option<Timestamp>,

    /// Leave out packets from after this time
    #[arg(long, value_name = "TIME", help_heading = INPUT, conflicts_with = "interface")]
    pub(super) until: Option<Timestamp>,

    /// Look only at packets that this filter lets pass, in the syntax of pcap-filter(7)
    #[arg(short, long, value_name = "BPF", help_heading = INPUT, conflicts_with = "filter_file")]
    pub(super) filter: Option<String>,

    /// Read the filter from this file
    #[arg(short = 'F', long, value_name = "FILE", help_heading = INPUT)]
    pub(super) filter_file: Option<PathBuf>,

    /// Wait at the end of the last capture for more to be written, until Ctrl-C
    #[arg(long, help_heading = INPUT, conflicts_with = "interface")]
    pub(super) follow: bool,

    /// Stop capturing, or following, after this time, such as 90s, 10m, 2h; a bare number is
    /// seconds
    #[arg(long, value_name = "TIME", help_heading = INPUT, value_parser = duration)]
    pub(super) duration: Option<Duration>,

    /// Capture at most this many bytes of a packet, 0 for all
    #[arg(
        short, long, value_name = "BYTES", help_heading = INPUT, conflicts_with_all = FILES,
        value_parser = snaplen
    )]
    pub(super) snaplen: Option<u32>,

    /// Do not ask the interface for packets to other hosts
    #[arg(short = 'p', long, help_heading = INPUT, conflicts_with_all = FILES)]
    pub(super) no_promisc: bool,

    /// Size of the kernel's buffer in KiB [default: 16384]
    #[arg(
        short = 'B', long, value_name = "KIB", help_heading = INPUT, conflicts_with_all = FILES,
        value_parser = clap::value_parser!(u32).range(1..=1 << 21)
    )]
    pub(super) buffer_size: Option<u32>,

    /// Ask the kernel for each packet at once: for tests, at the price of time and of most of the
    /// buffer. Otherwise packets come within 100 ms
    #[arg(long, help_heading = INPUT, conflicts_with_all = FILES)]
    pub(super) immediate: bool,

    /// Threads to decompress captures and to hand on messages with [default: one for each processor]
    #[arg(short = 'j', long, value_name = "N", help_heading = INPUT)]
    pub(super) threads: Option<NonZeroUsize>,

    /// Order of packets from several captures
    #[arg(
        long, value_name = "ORDER", help_heading = INPUT, default_value = "time",
        value_parser = PossibleValuesParser::new(["time", "given"]).map(order)
    )]
    pub(super) order: Order,

    #[command(flatten)]
    pub(super) facts: ProtocolArgs,

    /// Print each message after the handshake: its operation, for whom it is, what is called; not
    /// what it carries
    #[arg(long, help_heading = OUTPUT)]
    pub(super) messages: bool,

    /// Like --messages, with what they carry: captures hold other people's data
    #[arg(long, help_heading = SECRETS)]
    pub(super) payloads: bool,

    /// How --payloads writes terms: in Erlang's syntax, cut at a bound, or as JSON without loss
    #[arg(
        long, value_name = "STYLE", help_heading = SECRETS, default_value = "erlang",
        requires = "payloads", value_enum
    )]
    pub(super) terms: TermStyle,

    /// Once the interfaces and files are open, go on as this user: a name, or UID or UID:GID. Without
    /// it, the user stays and all capabilities go
    #[arg(short = 'Z', long, value_name = "USER", help_heading = PRIVILEGES, conflicts_with_all = FILES)]
    pub(super) user: Option<String>,

    /// Do not confine the program to what capturing needs, for systems where that gets in the way
    #[arg(long, help_heading = PRIVILEGES, conflicts_with_all = FILES)]
    pub(super) no_sandbox: bool,

    /// Print challenges and digests, with which anyone can test guesses at the cookie
    #[arg(long, help_heading = SECRETS)]
    pub(super) include_secrets: bool,

    /// Print only findings, their repeats, what is wrong with the input, and the final statistics
    #[arg(long, help_heading = OUTPUT)]
    pub(super) only_findings: bool,

    /// Leave out findings below this severity
    #[arg(
        long, value_name = "SEVERITY", help_heading = OUTPUT, default_value = "info",
        value_parser = severity(&[]).map(|name| severity_of(&name).unwrap_or(Severity::Info))
    )]
    pub(super) min_severity: Severity,

    #[command(flatten)]
    pub(super) writing: OutputArgs,

    #[command(flatten)]
    pub(super) saving: SaveArgs,

    /// Hand on each event at once, also into a file or a pipe
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) line_buffered: bool,

    /// While capturing or following, tell the nodes and how they stand to each other this often, such
    /// as 10m; at the end, and on SIGUSR1, they are told in any case
    #[arg(long, value_name = "TIME", help_heading = OUTPUT, value_parser = duration)]
    pub(super) cluster_interval: Option<Duration>,

    /// While capturing or following, tell the statistics this often; at the end, and on SIGUSR1,
    /// they are told in any case
    #[arg(long, value_name = "TIME", help_heading = OUTPUT, value_parser = duration)]
    pub(super) stats_interval: Option<Duration>,

    /// In text, also tell each handshake message, and in that of captures each connection and
    /// request; when live, say on standard error which privileges are kept
    #[arg(short, long, help_heading = OUTPUT, conflicts_with = "quiet")]
    pub(super) verbose: bool,

    /// End with status 1 when there is a finding of this severity or a worse one
    #[arg(
        long, value_name = "SEVERITY", help_heading = OUTPUT, default_value = "never",
        value_parser = severity(&["never"]).map(|name| FailOn(severity_of(&name)))
    )]
    pub(super) fail_on: FailOn,
}

/// What is known beside the captures.
#[derive(Debug, clap::Args)]
pub(crate) struct ProtocolArgs {
    /// Port of a port mapper (EPMD), besides 4369. May be given several times
    #[arg(
        long, value_name = "PORT", help_heading = PROTOCOL,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(super) epmd_port: Vec<u16>,

    /// Port, or ports P-Q, on which nodes listen, for captures that lack the answer of the port
    /// mapper. May be given several times
    #[arg(long, value_name = "P[-Q]", help_heading = PROTOCOL, value_parser = ports)]
    pub(super) dist_port: Vec<RangeInclusive<u16>>,

    /// A network that is one's own, such as 10.0.0.0/8: what is asked or dialed from outside is told
    /// apart. May be given several times
    #[arg(long, value_name = "CIDR", help_heading = PROTOCOL, value_parser = str::parse::<Cidr>)]
    pub(super) home_net: Vec<Cidr>,

    /// Test digests against the cookies in this file, one a line, each with LABEL and a tab before
    /// it or without. May be given several times. Output names the label, never the cookie
    #[arg(long, value_name = "FILE", help_heading = SECRETS)]
    pub(super) cookie_file: Vec<PathBuf>,

    /// Test digests against this cookie. Other users of the machine can see it in the list of
    /// processes
    #[arg(
        long, value_name = "TEXT", help_heading = SECRETS, allow_hyphen_values = true,
        value_parser = OsStringValueParser::new().map(Secret)
    )]
    pub(super) cookie: Vec<Secret>,

    /// Test digests against the cookie in ~/.erlang.cookie, which is not read otherwise
    #[arg(long, help_heading = SECRETS)]
    pub(super) home_cookie: bool,
}

/// Where events go, and how they are written.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Write events to this file
    #[arg(short, long, value_name = "FILE", help_heading = OUTPUT)]
    pub(super) output: Option<PathBuf>,

    /// Keep what that file has already, and write behind it
    #[arg(long, help_heading = OUTPUT, requires = "output")]
    pub(super) append: bool,

    /// Write JSON, also at a terminal
    #[arg(long, help_heading = OUTPUT, conflicts_with = "format")]
    pub(super) json: bool,

    /// How to write events [default: text at a terminal, else ndjson]
    #[arg(long, value_name = "FORMAT", help_heading = OUTPUT, value_enum)]
    pub(super) format: Option<FormatName>,

    /// Whether text is coloured
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, default_value = "auto", value_enum)]
    pub(super) color: ColorChoice,

    /// No warnings
    #[arg(short, long, help_heading = OUTPUT)]
    pub(super) quiet: bool,
}

/// Which packets are saved, and where.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct SaveArgs {
    /// Save the packets that are looked at to this file: pcapng, or pcap where its name ends in .pcap,
    /// both with nanoseconds. "-" is standard output, which then takes no events
    #[arg(short, long, value_name = "FILE", help_heading = SAVING)]
    pub(super) write: Option<PathBuf>,

    /// Begin another file before this one has more bytes than this, such as 500k, 100M or 2G; a bare
    /// number is millions. The files are called like FILE, with time and number: NAME-TIME-NUMBER
    #[arg(
        short = 'C', long, value_name = "SIZE", help_heading = SAVING, value_parser = size,
        requires = "write", group = "rotation"
    )]
    pub(super) rotate_size: Option<u64>,

    /// Begin another file with the first packet that comes this long after the first one of the file,
    /// such as 90s, 10m, 2h; a bare number is seconds
    #[arg(
        short = 'G', long, value_name = "TIME", help_heading = SAVING, value_parser = duration,
        requires = "write", group = "rotation"
    )]
    pub(super) rotate_every: Option<Duration>,

    /// Keep this many of those files, and delete older ones
    #[arg(
        short = 'W', long, value_name = "COUNT", help_heading = SAVING, requires = "rotation",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1 << 20)
    )]
    pub(super) rotate_count: Option<usize>,

    /// For each finding, save the packets of the connections that it rests on to a small pcapng file in
    /// this directory, with what they show as comments
    #[arg(long, value_name = "DIR", help_heading = SAVING)]
    pub(super) evidence: Option<PathBuf>,
}

/// The arguments of this process. Ends it with help, or with status 2, where they ask for that.
pub(crate) fn arguments() -> Args {
    Args::parse()
}

/// What to do instead of reading captures.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell which pairs of nodes stand otherwise in AFTER than in BEFORE
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(Box<Diff>),

    /// Tell what a finding means, what proves it, what the nodes log, and what to do; or find the
    /// findings behind a line of a log
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// The name of a rule, as findings have it; without one, all are listed
        rule: Option<String>,

        /// Tell which rules are behind this line of a log, or part of one; '' shows all that are
        /// known
        #[arg(long, value_name = "LINE", allow_hyphen_values = true, conflicts_with = "rule")]
        log: Option<String>,

        /// Print each rule as a line of JSON
        #[arg(long)]
        json: bool,
    },

    /// Print the JSON Schema of the lines that are written
    Schema,

    /// Print what a shell reads to complete arguments
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: Shell,
    },

    /// Print the page of the manual in roff
    #[command(hide = true)]
    Man {
        /// A command that has a page of its own
        command: Option<String>,
    },
}

/// What two captures are compared by.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// A capture, or a file of events as beamscope writes them; "-" is standard input
    #[arg(value_name = "BEFORE")]
    pub(super) before: PathBuf,

    /// Likewise
    #[arg(value_name = "AFTER")]
    pub(super) after: PathBuf,

    /// End with status 1 when a pair changed
    #[arg(long, help_heading = OUTPUT)]
    pub(super) exit_code: bool,

    #[command(flatten)]
    pub(super) facts: ProtocolArgs,

    #[command(flatten)]
    pub(super) writing: OutputArgs,
}

/// Names of the formats.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FormatName {
    /// One JSON object a line
    Ndjson,
    /// Sentences
    Text,
}

/// How terms are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum TermStyle {
    /// Erlang's syntax
    Erlang,
    /// JSON
    Json,
}

/// The severity from which a finding fails the run; `None`: none does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FailOn(pub(super) Option<Severity>);

/// A cookie as typed. Never printed.
#[derive(Clone)]
pub(crate) struct Secret(pub(super) OsString);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

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

fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("expected a port, or two as in 9100-9105".to_owned()),
    }
}

/// Less than 64 bytes would cut the headers of every packet.
fn snaplen(text: &str) -> Result<u32, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes == 0 || *bytes >= 64);
    bytes.ok_or_else(|| "expected 0, or at least 64 bytes".to_owned())
}

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

/// Bytes: a number of millions as tcpdump has it, or one with a unit.
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

/// What cannot stand beside an interface.
const FILES: [&str; 2] = ["captures", "read"];

const INPUT: &str = "Input";
const PROTOCOL: &str = "Protocol";
const SECRETS: &str = "Cookies and contents";
const OUTPUT: &str = "Output";
const SAVING: &str = "Saving packets";
const PRIVILEGES: &str = "Privileges";

const EXAMPLES: &str = "\
Examples:
  beamscope trace.pcapng                       why do these nodes not connect?
  beamscope rotated-*.pcap.gz                  several files, one timeline
  beamscope --since 2014-05-25T14:30Z a.pcap   from this moment on
  beamscope --follow growing.pcap              what another program is writing
  sudo beamscope -i any                        watch until Ctrl-C
  ssh host tcpdump -U -w - not port 22 | beamscope -   watch another machine
  beamscope --cookie-file cookies trace.pcap   name the cookie that each node used
  beamscope trace.pcap | jq 'select(.event_type == \"finding\").finding.title'
  beamscope -i eth0 -w lan.pcapng -C 100M -W 20   keep the last 2 GB of packets
  beamscope --evidence found trace.pcap        a small capture for each finding
  beamscope --fail-on high trace.pcap          status 1 when something is badly wrong
  beamscope diff before.pcap after.pcap        which pairs of nodes changed
  beamscope explain cookie-mismatch            what a finding means, and what to do
  beamscope explain --log 'LINE OF A LOG'      what may be behind it

Exit status: 0 the run reached its end; 1 a finding at or above --fail-on; 2 wrong
usage, or an input that could not be read (what could be, has been), or packets
that could not be saved.";

const DIFF_EXAMPLES: &str = "\
Examples:
  beamscope diff before.pcap after.pcap        what the change of a firewall did
  beamscope diff monday.ndjson tuesday.pcap    kept events stand for their capture
  beamscope diff --exit-code a.pcap b.pcap     status 1 when a pair changed

Exit status: 0 the two were compared; 1 a pair changed, with --exit-code; 2 wrong usage, or one of
them could not be read.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  beamscope explain                            all rules
  beamscope explain cookie-mismatch            one of them
  beamscope explain --log 'Connection attempt from disallowed node'
  beamscope explain --json | jq -r '.rule + \": \" + .summary'

Exit status: 0 it was told; 1 no rule is known to be behind the line; 2 wrong usage, or no
such rule.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["beamscope"].iter().chain(arguments))
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn captures_options_and_commands_stand_side_by_side() {
        let args = parse(&["-r", "-", "a.pcap", "-c", "5"]).unwrap();
        assert_eq!((args.read.len(), args.captures.len(), args.count), (1, 1, Some(5)));
        assert!(matches!(parse(&["schema"]).unwrap().command, Some(Command::Schema)));
        assert!(matches!(parse(&["diff", "a", "-"]).unwrap().command, Some(Command::Diff(_))));
        assert!(parse(&["diff", "a"]).is_err());
        assert!(parse(&["./schema"]).unwrap().command.is_none());
        let command = parse(&["explain", "--log", "- ** line **"]).unwrap().command;
        assert!(matches!(command, Some(Command::Explain { rule: None, log: Some(_), .. })));
        assert!(parse(&["explain", "cookie-mismatch", "--log", "line"]).is_err());
        assert!(parse(&["-i", "lo", "a.pcap"]).is_err());
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
        assert_eq!(args.facts.dist_port, [9100..=9105, 25672..=25672]);
        let args = parse(&["--fail-on", "high", "--min-severity", "low"]).unwrap();
        assert_eq!(args.fail_on, FailOn(Some(Severity::High)));
        assert_eq!(parse(&["-i", "lo", "-s", "0"]).unwrap().snaplen, Some(0));
        assert_eq!(args.min_severity, Severity::Low);
        assert_eq!(parse(&[]).unwrap().fail_on, FailOn(None));
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
        assert!(parse(&["-w", "a", "-W", "3"]).is_err(), "nothing to count");
        let args = parse(&["-w", "a", "-C", "5", "-G", "60", "-W", "3"]).unwrap();
        assert_eq!(args.saving.rotate_count, Some(3));
    }

    #[test]
    fn a_cookie_may_begin_with_a_hyphen_and_is_never_echoed() {
        let args = parse(&["--cookie", "-s3cr3t", "--cookie", "--s3cr3t"]).unwrap();
        assert_eq!(args.facts.cookie.len(), 2);
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
