//! The arguments as they are meant: checked against each other, defaults filled in, files of cookies
//! and filters read.
//!
//! In: [`Args`]. Out: settings for each command, with the types of the library. Opens no capture and
//! makes no file. The commands and everything below them know these types and none of clap's.

#[cfg(feature = "nats")]
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use beamscope::capture::Order;
#[cfg(feature = "live")]
use beamscope::capture::live::LiveOptions;
use beamscope::capture::save::SaveFormat;
use beamscope::engine::{Config, EPMD_PORT, KeyLog};
use beamscope::limits::Limits;
use beamscope::protocol::MessageDetail;
use beamscope::record::Severity;
use beamscope::render::{
    self, Format, LadderChoice, LadderFormat, Layout, ReportForm, Screen, Shown, TermStyle,
    TextOptions,
};
use beamscope::time::{TimePoint, Zone};

use super::args::{
    AnnotateArgs, Args, ColorChoice, DiffArgs, ExtractArgs, FactsArgs, FormatName, JudgedArgs,
    LadderArgs, LadderFormatName, MergeArgs, OutputArgs, ProtocolArgs, ReadArgs, ReportArgs,
    ReportFormName, SaveArgs, ShownArgs, TermStyleName,
};
#[cfg(feature = "nats")]
use super::args::{NatsArgs, NatsUrl, NatsWorkerArgs, PublishArgs};
use super::console::{self, Warnings};
use super::cookies::{self, CookieSources};
use super::error::Error;
#[cfg(feature = "live")]
use super::filter::{self, CompiledFilter};
use super::keylog::KeyLogFiles;
use super::zone;

/// Settings of a run over capture files.
pub(super) struct AnalyzeSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// Captures to read, at least one; [`is_stdin`] for standard input.
    pub(super) captures: Vec<PathBuf>,
    /// Order of packets from several captures.
    pub(super) order: Order,
    /// Wait for more packets at the end of the last capture.
    pub(super) follow: bool,
    /// Which packets are analysed.
    pub(super) selection: SelectionSettings,
    /// Threads that read ahead, decompress, and write messages.
    pub(super) threads: NonZeroUsize,
    /// What both kinds of runs have.
    pub(super) run: RunSettings,
}

/// Settings of a live capture.
#[cfg(feature = "live")]
pub(super) struct LiveSettings {
    /// Interfaces by name or number, at least one.
    pub(super) interfaces: Vec<String>,
    /// How libpcap captures, the filter included.
    pub(super) options: LiveOptions,
    /// User to switch to, by name or number.
    pub(super) user: Option<String>,
    /// Restrict file access and system calls.
    pub(super) is_sandboxed: bool,
    /// Print the remaining privileges.
    pub(super) is_verbose: bool,
    /// What both kinds of runs have.
    pub(super) run: RunSettings,
}

/// Settings that a run over files and a live capture share.
pub(super) struct RunSettings {
    /// Settings of the analysis.
    pub(super) config: Config,
    /// The files that its secrets of TLS come from.
    pub(super) key_log: KeyLogFiles,
    /// Where and how events are written.
    pub(super) output: OutputSettings,
    /// Where packets are saved.
    pub(super) save: Option<SaveSettings>,
    /// Where the packets of each finding are saved.
    pub(super) evidence: Option<EvidenceSettings>,
    /// Where what each connection showed is written.
    pub(super) observations: Option<ObservationSettings>,
    /// Replace names, addresses and contents in everything that is written.
    pub(super) is_anonymized: bool,
    /// What ends the run, and when it reports in between.
    pub(super) stop: StopSettings,
    /// Packets after which the run ends.
    pub(super) packet_limit: u64,
    /// What makes the exit status 1 or 2.
    pub(super) fail_on: FailSettings,
}

/// What makes the exit status 1 or 2.
#[derive(Clone, Copy)]
pub(super) struct FailSettings {
    /// The lowest severity of a finding that does.
    pub(super) least: Option<Severity>,
    /// Whether a problem that is over does as well.
    pub(super) on_solved: bool,
    /// Whether a capture without the packets that would decide makes it 2.
    pub(super) require_complete: bool,
}

impl FailSettings {
    const fn of(args: &JudgedArgs) -> Self {
        Self {
            least: args.fail_on.0,
            on_solved: args.fail_on_solved,
            require_complete: args.require_complete,
        }
    }
}

/// Settings of `beamscope diff`.
pub(super) struct DiffSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// The earlier capture or file of events.
    pub(super) before: PathBuf,
    /// The later capture or file of events.
    pub(super) after: PathBuf,
    /// Settings of the analysis of both.
    pub(super) config: Config,
    /// Where and how changes are written.
    pub(super) output: OutputSettings,
    /// Exit with status 1 if a pair changed.
    pub(super) exit_code: bool,
}

/// Settings of `beamscope report`.
pub(super) struct ReportSettings {
    /// How captures among the inputs are read, and where the report goes.
    pub(super) analyze: AnalyzeSettings,
    /// Captures and files of events, at least one.
    pub(super) inputs: Vec<PathBuf>,
}

/// Settings of `beamscope ladder`.
pub(super) struct LadderSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// Captures to read, at least one; [`is_stdin`] for standard input.
    pub(super) captures: Vec<PathBuf>,
    /// Order of packets from several captures.
    pub(super) order: Order,
    /// Which packets are analysed.
    pub(super) selection: SelectionSettings,
    /// Number of threads that read ahead and decompress captures.
    pub(super) threads: NonZeroUsize,
    /// The attempt that is drawn.
    pub(super) choice: LadderChoice,
    /// How it is drawn.
    pub(super) format: LadderFormat,
    /// Settings of the analysis.
    pub(super) config: Config,
    /// The file; `None` for standard output.
    pub(super) output: Option<PathBuf>,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Settings of `beamscope annotate`.
pub(super) struct AnnotateSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// Captures to read, at least one; each can be read twice.
    pub(super) captures: Vec<PathBuf>,
    /// Order of packets from several captures.
    pub(super) order: Order,
    /// Which packets are analysed and written.
    pub(super) selection: SelectionSettings,
    /// Number of threads that read ahead and decompress captures.
    pub(super) threads: NonZeroUsize,
    /// Settings of the analysis.
    pub(super) config: Config,
    /// Which events become comments.
    pub(super) shown: Shown,
    /// Findings below this severity become no comments.
    pub(super) min_severity: Severity,
    /// Where packets with comments are written; its comment is still empty.
    pub(super) save: SaveSettings,
    /// Replace names, addresses and contents.
    pub(super) is_anonymized: bool,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Settings of `beamscope extract`.
pub(super) struct ExtractSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// The captures to read, by time.
    pub(super) captures: Vec<PathBuf>,
    /// Number of threads that read ahead and decompress captures.
    pub(super) threads: NonZeroUsize,
    /// Files of facts from other captures.
    pub(super) facts: Vec<PathBuf>,
    /// On which ports Erlang traffic is found.
    pub(super) config: Config,
    /// Where packets are written.
    pub(super) save: SaveSettings,
    /// The file of the summary, if one is wanted.
    pub(super) summary: Option<PathBuf>,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Settings of `beamscope extract -i`.
#[cfg(feature = "live")]
pub(super) struct LiveExtractSettings {
    /// Interfaces by name or number, at least one.
    pub(super) interfaces: Vec<String>,
    /// How libpcap captures, the filter included.
    pub(super) options: LiveOptions,
    /// User to switch to, by name or number.
    pub(super) user: Option<String>,
    /// What ends the capture.
    pub(super) stop: StopSettings,
    /// What is kept, and where it is written; without captures.
    pub(super) extract: ExtractSettings,
}

/// Settings of `beamscope facts`.
pub(super) struct FactsSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// Captures to read, by time.
    pub(super) captures: Vec<PathBuf>,
    /// The file that is written; `None` for standard output.
    pub(super) output: Option<PathBuf>,
    /// On which ports Erlang traffic is found.
    pub(super) config: Config,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Which packets of a capture are analysed.
pub(super) struct SelectionSettings {
    /// Packets before this time are skipped.
    pub(super) since: Option<TimePoint>,
    /// Packets after this time are skipped.
    pub(super) until: Option<TimePoint>,
    /// The zone of these times, where they have none.
    pub(super) zone: Zone,
    /// Packets that do not match are skipped, in the syntax of pcap-filter(7).
    #[cfg(feature = "live")]
    pub(super) filter: Option<CompiledFilter>,
}

/// Where and how events are written.
#[derive(Clone)]
pub(super) struct OutputSettings {
    /// The file; `None` for standard output.
    pub(super) file: Option<PathBuf>,
    /// Keep what the file contains already.
    pub(super) append: bool,
    /// Only the owner of the file may read it: events show contents of messages, or challenges and digests.
    pub(super) is_private: bool,
    /// Format, and which events are left out.
    pub(super) options: render::Options,
    /// A thread writes, so that the analysis does not wait for each block.
    pub(super) in_background: bool,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Where packets are saved.
pub(super) struct SaveSettings {
    /// The file or files.
    pub(super) target: SaveTarget,
    /// The format of the file or files.
    pub(super) format: SaveFormat,
    /// The comment at the start of each file; empty for none.
    pub(super) comment: String,
    /// Write each packet at once: a reader may wait for it.
    pub(super) is_immediate: bool,
    /// The key logs whose secrets are saved, beside those of the captures; `None` to save no secrets.
    pub(super) key_logs: Option<Vec<PathBuf>>,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// The file or files that packets are saved to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum SaveTarget {
    /// Standard output, for a program that reads it.
    Stdout,
    /// One file for the whole run.
    File(PathBuf),
    /// A sequence of files, at least one of `max_bytes` and `max_age` given.
    Rotating {
        /// The name that those of the files are made from.
        name: PathBuf,
        /// Size that no file exceeds.
        max_bytes: Option<u64>,
        /// Time from the first packet of a file to the first packet of the next.
        max_age: Option<Duration>,
        /// Number of files that are kept.
        keep: Option<usize>,
    },
}

impl SaveTarget {
    /// What messages call the one file.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdout | Self::Rotating { .. } => console::STDOUT.to_owned(),
        }
    }
}

/// Where the packets of each finding are saved.
pub(super) struct EvidenceSettings {
    /// The directory of the files.
    pub(super) directory: PathBuf,
    /// Findings below this severity get no file.
    pub(super) min_severity: Severity,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Where what each connection showed is written: to at least one place.
pub(super) struct ObservationSettings {
    /// The file, which is another one than all others.
    pub(super) file: Option<PathBuf>,
    /// The server that gets them.
    #[cfg(feature = "nats")]
    pub(super) publish: Option<PublishSettings>,
    /// Name of the sensor, if the user gave one.
    pub(super) sensor: Option<Arc<str>>,
}

/// How observations are published.
#[cfg(feature = "nats")]
pub(super) struct PublishSettings {
    /// The server that is used.
    pub(super) nats: NatsSettings,
    /// The directory of what is not acknowledged.
    pub(super) spool: PathBuf,
    /// Bytes that it may take.
    pub(super) spool_size: u64,
    /// The user of `-Z`.
    pub(super) user: Option<String>,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// A NATS server, and what of it is used.
#[cfg(feature = "nats")]
pub(super) struct NatsSettings {
    /// Its address, or several with commas between them.
    pub(super) url: NatsUrl,
    /// Name of the stream.
    pub(super) stream: String,
    /// What subjects begin with.
    pub(super) subject: String,
    /// The file of credentials.
    pub(super) credentials: Option<PathBuf>,
    /// The file of certificates that are trusted.
    pub(super) ca: Option<PathBuf>,
    /// The files of an own certificate, and of its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
    /// Give up the rights that this does not need.
    pub(super) is_sandboxed: bool,
}

/// Settings of the process that talks to NATS.
#[cfg(feature = "nats")]
pub(super) struct NatsWorkerSettings {
    /// The server that is used.
    pub(super) nats: NatsSettings,
    /// The directory to send from, and the number of the run that adds to it; `None` to read.
    pub(super) spool: Option<(PathBuf, String)>,
    /// Read what is added, without end.
    pub(super) follows: bool,
    /// The user to switch to.
    pub(super) user: Option<String>,
    /// The signals that do not end it at once.
    pub(super) stop: StopSettings,
    /// Where warnings are printed, if at all.
    pub(super) warnings: Warnings,
}

/// Settings of `beamscope merge`.
pub(super) struct MergeSettings {
    /// Give up the rights that reading does not need.
    pub(super) is_sandboxed: bool,
    /// Files of observations, and captures.
    pub(super) inputs: Vec<PathBuf>,
    /// The server with the observations of sensors.
    #[cfg(feature = "nats")]
    pub(super) nats: Option<NatsSettings>,
    /// Go on with what is published.
    #[cfg(feature = "nats")]
    pub(super) follow: Option<FollowSettings>,
    /// Settings of the analysis.
    pub(super) config: Config,
    /// Where and how events are written.
    pub(super) output: OutputSettings,
    /// What makes the exit status 1 or 2.
    pub(super) fail_on: FailSettings,
}

/// How `beamscope merge` goes on with what is published.
#[cfg(feature = "nats")]
pub(super) struct FollowSettings {
    /// The file that remembers what was printed.
    pub(super) state: Option<PathBuf>,
    /// What ends the run.
    pub(super) stop: StopSettings,
    /// The form of what is printed while it goes on.
    pub(super) options: render::Options,
}

/// What ends a run that has no end of its own, and when it reports in between.
#[cfg_attr(not(unix), allow(dead_code, reason = "there are no signals, and no --follow"))]
#[derive(Clone, Debug)]
pub(super) struct StopSettings {
    /// Time after which the run ends.
    pub(super) duration: Option<Duration>,
    /// Time between two reports of the cluster.
    pub(super) cluster_interval: Option<Duration>,
    /// Time between two reports of the statistics.
    pub(super) stats_interval: Option<Duration>,
    /// What the signal SIGHUP does.
    pub(super) hangup: Hangup,
    /// Events go to standard output: the run ends when its reader has closed it.
    pub(super) ends_with_stdout: bool,
}

#[cfg(feature = "nats")]
impl StopSettings {
    /// Signals alone end it, and nothing is reported in between.
    const fn of_signals(hangup: Hangup) -> Self {
        let (duration, ends_with_stdout) = (None, false);
        Self { duration, cluster_interval: None, stats_interval: None, hangup, ends_with_stdout }
    }
}

/// What the signal SIGHUP does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hangup {
    /// It kills the process, as without a handler.
    Kill,
    /// It ends the run: events go to a terminal that is gone.
    Stop,
    /// It opens the files for output again, after another program has moved them.
    Reopen,
}

impl AnalyzeSettings {
    /// Checks the arguments of a run over capture files.
    ///
    /// # Errors
    ///
    /// They contradict each other, a file of cookies or the filter cannot be read, or this build has
    /// no filters.
    pub(super) fn new(args: Args) -> Result<Self, Error> {
        let captures: Vec<PathBuf> = args.read.iter().chain(&args.captures).cloned().collect();
        if captures.is_empty() {
            return Err(Error::NoInput);
        }
        check_filter_words(&captures)?;
        check_stdin(captures.iter().map(PathBuf::as_path))?;
        let selection = SelectionSettings::new(&args)?;
        // Packets from a pipe may come slowly, and end with the Ctrl-C that ends their source.
        let is_streamed = args.follow || captures.iter().any(|path| is_stdin(path));
        let threads = threads(&args);
        let run = RunSettings::new(&args, &captures, is_streamed)?;
        let is_sandboxed = !args.protocol.read.no_sandbox;
        let (order, follow) = (args.order, args.follow);
        Ok(Self { is_sandboxed, captures, order, follow, selection, threads, run })
    }
}

#[cfg(feature = "live")]
impl LiveSettings {
    /// Checks the arguments of a live capture.
    ///
    /// # Errors
    ///
    /// They contradict each other, or a file of cookies or the filter cannot be read.
    pub(super) fn new(args: Args) -> Result<Self, Error> {
        let files: Vec<_> = args.read.iter().chain(&args.captures).cloned().collect();
        check_filter_words(&files)?;
        if !files.is_empty() {
            return Err(Error::InterfaceAndFile);
        }
        let filter = filter_text(
            (args.filter.clone(), args.filter_file.clone(), &args.protocol.read.dist_port),
            Warnings::new(args.output.quiet),
        )?;
        let options = live_options((args.snaplen, args.buffer_size, args.no_promisc), filter);
        let options = LiveOptions { immediate: args.immediate, ..options };
        let run = RunSettings::new(&args, &[], false)?;
        Ok(Self {
            interfaces: args.interface,
            options,
            user: args.user,
            is_sandboxed: !args.protocol.read.no_sandbox,
            is_verbose: args.verbose > 0,
            run,
        })
    }
}

impl RunSettings {
    /// `captures` are the files that are read; `is_streamed` when their packets may still be coming.
    fn new(args: &Args, captures: &[PathBuf], is_streamed: bool) -> Result<Self, Error> {
        let is_live = !args.interface.is_empty();
        let warnings = Warnings::new(args.output.quiet);
        let (config, key_log) = config(&args.protocol, warnings)?;
        let config = Config {
            include_secrets: args.include_secrets,
            messages: message_detail(args),
            expect: args.judged.expect.clone(),
            warns: is_live || args.follow,
            ..config
        };
        let grows = is_live || is_streamed;
        if grows && key_log.has_files() {
            config.key_log.expect_more();
        }
        let layout = if is_live || is_streamed { Layout::Streaming } else { Layout::Grouped };
        let writes_file = args.output.output.is_some();
        let line_buffered =
            args.line_buffered || is_streamed || !writes_file && console::stdout_is_terminal();
        let options = render::Options {
            format: match screen(args)? {
                Some(screen) => Format::Screen(screen),
                None => format(&args.output, (args.verbose > 0, args.brief), layout),
            },
            only_findings: args.only_findings,
            min_severity: args.judged.min_severity,
            shown: shown(&args.shown),
            line_buffered,
            terms: match args.terms {
                TermStyleName::Erlang => TermStyle::Erlang,
                TermStyleName::Json => TermStyle::Json,
            },
        };
        let has_messages = config.messages != MessageDetail::None;
        let in_background = has_messages && !line_buffered && threads(args) > NonZeroUsize::MIN;
        check_anonymized(args.save.anonymize, &args.shown, &args.protocol)?;
        let read = read_files(captures, &args.protocol, args.filter_file.as_ref());
        let is_private = args.payloads || args.include_secrets;
        let output = OutputSettings {
            is_private,
            ..OutputSettings::new(&args.output, options, in_background, &read)?
        };
        let evidence = args.save.evidence.as_ref().map(|directory| EvidenceSettings {
            directory: directory.clone(),
            min_severity: args.judged.min_severity,
            warnings,
        });
        let stop = StopSettings {
            duration: args.duration,
            cluster_interval: args.cluster_interval,
            stats_interval: args.stats_interval,
            hangup: match (is_live, writes_file) {
                (false, _) => Hangup::Kill,
                (true, false) => Hangup::Stop,
                (true, true) => Hangup::Reopen,
            },
            ends_with_stdout: !writes_file,
        };
        Ok(Self {
            config,
            key_log,
            output,
            save: SaveSettings::new(args, &read, is_streamed)?,
            evidence,
            observations: ObservationSettings::new(args, &read)?,
            is_anonymized: args.save.anonymize,
            stop,
            packet_limit: args.count.unwrap_or(u64::MAX),
            fail_on: FailSettings::of(&args.judged),
        })
    }
}

impl DiffSettings {
    /// Checks the arguments of `beamscope diff`.
    ///
    /// # Errors
    ///
    /// They contradict each other, or a file of cookies cannot be read.
    pub(super) fn new(args: DiffArgs) -> Result<Self, Error> {
        let inputs = [args.before, args.after];
        check_stdin(inputs.iter().map(PathBuf::as_path))?;
        let (config, _) = config(&args.protocol, Warnings::new(args.output.quiet))?;
        let options = render::Options {
            format: format(&args.output, (false, false), Layout::Grouped),
            only_findings: false,
            min_severity: Severity::Info,
            shown: Shown::default(),
            line_buffered: false,
            terms: TermStyle::Erlang,
        };
        let output = OutputSettings::new(&args.output, options, false, &inputs)?;
        let [before, after] = inputs;
        let is_sandboxed = !args.protocol.read.no_sandbox;
        Ok(Self { is_sandboxed, before, after, config, output, exit_code: args.exit_code })
    }
}

impl ReportSettings {
    /// Checks the arguments of `beamscope report`.
    ///
    /// # Errors
    ///
    /// They contradict each other, a file of cookies cannot be read, or this build has no filters.
    pub(super) fn new(args: ReportArgs) -> Result<Self, Error> {
        let ReportArgs { inputs, packets, .. } = args;
        let order = packets.order;
        check_stdin(inputs.iter().map(PathBuf::as_path))?;
        let warnings = Warnings::new(args.quiet);
        let is_to_stdout = args.output.as_deref().is_some_and(is_stdin);
        let file = args.output.filter(|_| !is_to_stdout);
        let form = match (args.format, &file) {
            (Some(ReportFormName::Html), _) | (None, None) => ReportForm::Html,
            (Some(ReportFormName::Markdown), _) => ReportForm::Markdown,
            (None, Some(path)) => match ending(path).as_deref() {
                Some("md" | "markdown") => ReportForm::Markdown,
                _ => ReportForm::Html,
            },
        };
        if form == ReportForm::Html && file.is_none() && !is_to_stdout {
            return Err(Error::NoReportFile);
        }
        let zone = zone(args.tz, false);
        let range = (packets.since, packets.until, zone.clone());
        let read = read_files(&inputs, &args.protocol, packets.filter_file.as_ref());
        let filter = (packets.filter, packets.filter_file, &*args.protocol.read.dist_port);
        let selection = SelectionSettings::of(range, filter, warnings)?;
        let output = OutputSettings {
            append: false,
            is_private: false,
            options: render::Options {
                format: Format::Report(form, zone),
                only_findings: false,
                min_severity: args.min_severity,
                shown: shown(&args.shown),
                line_buffered: false,
                terms: TermStyle::Erlang,
            },
            in_background: false,
            warnings,
            file,
        };
        output.check_inputs(&read)?;
        if let (None, Some(path), ReportForm::Html) = (args.format, &output.file, form) {
            let how = "a page for a browser in .html, the short form for a ticket in .md; or name the format with \
                       --format. Browsers print a page to PDF; beamscope FILE -o x.txt writes text, and beamscope \
                       ladder -o x.svg a picture";
            check_ending(path, ending(path).as_deref(), &["html", "htm"], how)?;
        }
        let (config, key_log) = config(&args.protocol, warnings)?;
        let run = RunSettings {
            config,
            key_log,
            output,
            save: None,
            evidence: None,
            observations: None,
            is_anonymized: false,
            stop: StopSettings {
                duration: None,
                cluster_interval: None,
                stats_interval: None,
                hangup: Hangup::Kill,
                ends_with_stdout: false,
            },
            packet_limit: u64::MAX,
            fail_on: FailSettings { least: None, on_solved: false, require_complete: false },
        };
        let threads = packets.threads.unwrap_or_else(all_threads);
        let analyze = AnalyzeSettings {
            is_sandboxed: !args.protocol.read.no_sandbox,
            captures: Vec::new(),
            order,
            follow: false,
            selection,
            threads,
            run,
        };
        Ok(Self { analyze, inputs })
    }
}

/// The ending of a file name, in small letters.
fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase())
}

/// Checks that the ending of an output is not that of a format which is not written.
fn check_ending(
    path: &Path,
    ending: Option<&str>,
    own: &[&str],
    how: &'static str,
) -> Result<(), Error> {
    match ending {
        Some(ending) if !own.contains(&ending) && OTHER_FORMATS.contains(&ending) => {
            Err(Error::OtherFormat { name: path.display().to_string(), how })
        }
        _ => Ok(()),
    }
}

/// Endings of file names that people know a format by.
const OTHER_FORMATS: [&str; 26] = [
    "png", "jpg", "jpeg", "gif", "webp", "bmp", "svg", "pdf", "ps", "eps", "html", "htm", "md",
    "markdown", "txt", "json", "ndjson", "jsonl", "csv", "xml", "mmd", "mermaid", "doc", "docx",
    "pcap", "pcapng",
];

impl LadderSettings {
    /// Checks the arguments of `beamscope ladder`.
    ///
    /// # Errors
    ///
    /// They contradict each other, or a file of cookies cannot be read.
    pub(super) fn new(args: LadderArgs) -> Result<Self, Error> {
        check_stdin(args.captures.iter().map(PathBuf::as_path))?;
        let packets = args.packets;
        let read = read_files(&args.captures, &args.protocol, packets.filter_file.as_ref());
        if let Some(path) = &args.output
            && read.iter().any(|input| is_same_file(input, path))
        {
            return Err(Error::OwnInput { name: path.display().to_string() });
        }
        let warnings = Warnings::new(args.quiet);
        let (config, _) = config(&args.protocol, warnings)?;
        let range = (packets.since, packets.until, zone(args.tz, false));
        let filter = (packets.filter, packets.filter_file, &*args.protocol.read.dist_port);
        let selection = SelectionSettings::of(range, filter, warnings)?;
        let choice = match (args.pair, args.node, args.session, args.finding) {
            (Some(pair), ..) => LadderChoice::Pair(pair),
            (_, Some(node), ..) => LadderChoice::Node(node),
            (_, _, Some(id), _) => LadderChoice::Session(id),
            (.., Some(number)) => LadderChoice::Finding(number),
            (None, None, None, None) => LadderChoice::First,
        };
        let by_ending = match (args.format, &args.output) {
            (Some(format), _) => format,
            (None, None) => LadderFormatName::Text,
            (None, Some(path)) => match ending(path).as_deref() {
                Some("svg") => LadderFormatName::Svg,
                Some("mmd" | "mermaid") => LadderFormatName::Mermaid,
                other => {
                    let how = "text in .txt, a picture in .svg, a diagram for Markdown in .mmd; or name the format \
                               with --format";
                    check_ending(path, other, &["txt", "text", "log"], how)?;
                    LadderFormatName::Text
                }
            },
        };
        let format = match by_ending {
            LadderFormatName::Svg => LadderFormat::Svg,
            LadderFormatName::Mermaid => LadderFormat::Mermaid,
            LadderFormatName::Text => {
                let is_terminal = args.output.is_none() && console::stdout_is_terminal();
                let width = args.width.unwrap_or_else(|| console::drawing_width(is_terminal));
                let colour = takes_colour(args.color, args.output.is_none());
                LadderFormat::Text { width, colour, ascii: !console::takes_unicode() }
            }
        };
        Ok(Self {
            is_sandboxed: !args.protocol.read.no_sandbox,
            captures: args.captures,
            order: packets.order,
            selection,
            threads: packets.threads.unwrap_or_else(all_threads),
            choice,
            format,
            config,
            output: args.output,
            warnings,
        })
    }
}

impl AnnotateSettings {
    /// Checks the arguments of `beamscope annotate`.
    ///
    /// # Errors
    ///
    /// They contradict each other, an input cannot be read twice or is the output, the output cannot hold comments, or
    /// a file of cookies or the filter cannot be read.
    pub(super) fn new(args: AnnotateArgs) -> Result<Self, Error> {
        for capture in &args.captures {
            let name = || capture.display().to_string();
            if is_stdin(capture) {
                return Err(Error::ReadTwice { name: console::STDIN.to_owned() });
            }
            // What does not exist is reported when it is opened.
            if fs::metadata(capture).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
                return Err(Error::ReadTwice { name: name() });
            }
        }
        let read = read_files(&args.captures, &args.protocol, args.packets.filter_file.as_ref());
        if let Some(taken) = read.iter().find(|input| is_same_file(input, &args.output)) {
            return Err(Error::OwnInput { name: taken.display().to_string() });
        }
        check_anonymized(args.anonymize, &args.shown, &args.protocol)?;
        let target = pcapng_target(args.output)?;
        let warnings = Warnings::new(args.quiet);
        let is_at_terminal = console::stdout_is_terminal();
        let packets = args.packets;
        let range = (packets.since, packets.until, zone(args.tz, is_at_terminal));
        let filter = (packets.filter, packets.filter_file, &*args.protocol.read.dist_port);
        Ok(Self {
            is_sandboxed: !args.protocol.read.no_sandbox,
            captures: args.captures,
            order: packets.order,
            selection: SelectionSettings::of(range, filter, warnings)?,
            threads: packets.threads.unwrap_or_else(all_threads),
            config: config(&args.protocol, warnings)?.0,
            shown: shown(&args.shown),
            min_severity: args.min_severity,
            is_anonymized: args.anonymize,
            save: SaveSettings {
                target,
                format: SaveFormat::Pcapng,
                comment: String::new(),
                is_immediate: false,
                key_logs: args.with_keys.then(|| args.protocol.keylog.clone()),
                warnings,
            },
            warnings,
        })
    }
}

impl ExtractSettings {
    /// Checks the arguments of `beamscope extract`.
    ///
    /// # Errors
    ///
    /// The output is an input, is of another format, or is a terminal. Or standard input is a terminal or is named twice.
    pub(super) fn new(args: ExtractArgs) -> Result<Self, Error> {
        let ExtractArgs {
            captures, write, facts, threads, with_keys, summary, read, quiet, ..
        } = args;
        check_stdin(captures.iter().map(|path| &**path))?;
        let is_output = |input: &&PathBuf| {
            [Some(&write), summary.as_ref()].into_iter().flatten().any(|it| is_same_file(input, it))
        };
        let written_twice = summary.as_ref().filter(|it| is_same_file(it, &write));
        let taken = facts.iter().chain(&captures).find(is_output).or(written_twice);
        if let Some(taken) = taken {
            return Err(Error::OwnInput { name: taken.display().to_string() });
        }
        let target = pcapng_target(write)?;
        let warnings = Warnings::new(quiet);
        Ok(Self {
            is_sandboxed: !read.no_sandbox,
            captures,
            threads: threads.unwrap_or_else(all_threads),
            facts,
            config: reading_config(&read),
            save: SaveSettings {
                target,
                format: SaveFormat::Extract,
                comment: String::new(),
                is_immediate: false,
                key_logs: with_keys.then(Vec::new),
                warnings,
            },
            summary,
            warnings,
        })
    }
}

#[cfg(feature = "live")]
impl LiveExtractSettings {
    /// Checks the arguments of `beamscope extract -i`.
    ///
    /// # Errors
    ///
    /// The output is a file of facts, is of another format, or is a terminal.
    pub(super) fn new(args: ExtractArgs) -> Result<Self, Error> {
        let is_file = !is_stdin(&args.write);
        let options = live_options(
            (args.snaplen, args.buffer_size, args.no_promisc),
            filter_text(
                (args.filter.clone(), None, &args.read.dist_port),
                Warnings::new(args.quiet),
            )?,
        );
        let stop = StopSettings {
            duration: args.duration,
            cluster_interval: None,
            stats_interval: None,
            hangup: if is_file { Hangup::Reopen } else { Hangup::Stop },
            ends_with_stdout: !is_file,
        };
        let (interfaces, user) = (args.interface.clone(), args.user.clone());
        Ok(Self { interfaces, options, user, stop, extract: ExtractSettings::new(args)? })
    }
}

/// How libpcap captures, by the arguments for the length of packets, the buffer and promiscuous mode, and the filter.
#[cfg(feature = "live")]
fn live_options(
    (snaplen, buffer_size, no_promisc): (Option<u32>, Option<u32>, bool),
    filter: Option<String>,
) -> LiveOptions {
    let defaults = LiveOptions::default();
    LiveOptions {
        snaplen: snaplen.filter(|bytes| *bytes > 0).unwrap_or(defaults.snaplen),
        buffer: buffer_size.map_or(defaults.buffer, |kib| kib.saturating_mul(1024)),
        promisc: !no_promisc,
        filter,
        ..defaults
    }
}

impl FactsSettings {
    /// Checks the arguments of `beamscope facts`.
    ///
    /// # Errors
    ///
    /// The output is an input, or standard input is a terminal or is named twice.
    pub(super) fn new(args: FactsArgs) -> Result<Self, Error> {
        let FactsArgs { captures, output, read, quiet } = args;
        check_stdin(captures.iter().map(|path| &**path))?;
        let is_output =
            |input: &&PathBuf| output.as_ref().is_some_and(|output| is_same_file(input, output));
        if let Some(taken) = captures.iter().find(is_output) {
            return Err(Error::OwnInput { name: taken.display().to_string() });
        }
        let (is_sandboxed, config) = (!read.no_sandbox, reading_config(&read));
        let warnings = Warnings::new(quiet);
        Ok(Self { is_sandboxed, captures, output, config, warnings })
    }
}

impl MergeSettings {
    /// Checks the arguments of `beamscope merge`.
    ///
    /// # Errors
    ///
    /// They contradict each other, or a file of cookies cannot be read.
    pub(super) fn new(args: MergeArgs) -> Result<Self, Error> {
        check_stdin(args.inputs.iter().map(PathBuf::as_path))?;
        let (config, _) = config(&args.protocol, Warnings::new(args.output.quiet))?;
        let fail_on = FailSettings::of(&args.judged);
        let config = Config { expect: args.judged.expect, ..config };
        let options = render::Options {
            format: format(&args.output, (args.verbose, args.brief), Layout::Grouped),
            only_findings: false,
            min_severity: args.judged.min_severity,
            shown: shown(&args.shown),
            line_buffered: false,
            terms: TermStyle::Erlang,
        };
        let read = read_files(&args.inputs, &args.protocol, None);
        let output = OutputSettings::new(&args.output, options, false, &read)?;
        let is_sandboxed = !args.protocol.read.no_sandbox;
        #[cfg(feature = "nats")]
        let follow = args.sensors.follow.then(|| FollowSettings {
            state: args.sensors.state,
            stop: StopSettings {
                ends_with_stdout: output.file.is_none(),
                ..StopSettings::of_signals(Hangup::Kill)
            },
            options: render::Options {
                format: format(&args.output, (false, false), Layout::Streaming),
                only_findings: true,
                line_buffered: true,
                ..output.options.clone()
            },
        });
        Ok(Self {
            is_sandboxed,
            inputs: args.inputs,
            #[cfg(feature = "nats")]
            nats: args
                .sensors
                .nats
                .map(|url| NatsSettings::new(url, &args.sensors.access, is_sandboxed)),
            #[cfg(feature = "nats")]
            follow,
            config,
            output,
            fail_on,
        })
    }
}

impl ObservationSettings {
    fn new(args: &Args, inputs: &[PathBuf]) -> Result<Option<Self>, Error> {
        let save = &args.save;
        if let Some(file) = &save.observations {
            // A file that does not exist yet is known by its name alone.
            let is_taken = |other: &&PathBuf| *other == file || is_same_file(other, file);
            let others = inputs.iter().chain(&args.output.output).chain(&save.write);
            if let Some(taken) = others.into_iter().find(is_taken) {
                return Err(Error::OwnInput { name: taken.display().to_string() });
            }
        }
        let settings = Self {
            file: save.observations.clone(),
            #[cfg(feature = "nats")]
            publish: PublishSettings::new(args)?,
            sensor: save.sensor.as_deref().map(Arc::from),
        };
        #[cfg(feature = "nats")]
        let is_published = settings.publish.is_some();
        #[cfg(not(feature = "nats"))]
        let is_published = false;
        Ok((settings.file.is_some() || is_published).then_some(settings))
    }
}

#[cfg(feature = "nats")]
impl PublishSettings {
    fn new(args: &Args) -> Result<Option<Self>, Error> {
        let PublishArgs { publish, spool, spool_size, nats } = &args.save.publish;
        let Some(url) = publish else { return Ok(None) };
        let is_sandboxed = !args.protocol.read.no_sandbox;
        Ok(Some(Self {
            nats: NatsSettings::new(url.clone(), nats, is_sandboxed),
            spool: spool.clone().or_else(usual_spool).ok_or(Error::NoSpool)?,
            spool_size: *spool_size,
            user: args.user.clone(),
            warnings: Warnings::new(args.output.quiet),
        }))
    }
}

/// Where programs keep what outlives them: the directory of a service, or of a user.
#[cfg(feature = "nats")]
fn usual_spool() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let first = |list: OsString| std::env::split_paths(&list).next();
    let of_service = named("STATE_DIRECTORY").and_then(first);
    let of_user = || Some(PathBuf::from(named("XDG_STATE_HOME")?).join("beamscope"));
    let at_home = || Some(PathBuf::from(named("HOME")?).join(".local/state/beamscope"));
    let directory = of_service.or_else(of_user).or_else(at_home)?;
    Some(directory.join("spool"))
}

#[cfg(feature = "nats")]
impl NatsSettings {
    fn new(url: NatsUrl, args: &NatsArgs, is_sandboxed: bool) -> Self {
        let NatsArgs { nats_stream, nats_subject, nats_creds, nats_ca, nats_cert, nats_key } = args;
        Self {
            url,
            stream: nats_stream.clone(),
            subject: nats_subject.clone(),
            credentials: nats_creds.clone(),
            ca: nats_ca.clone(),
            certificate: nats_cert.clone().zip(nats_key.clone()),
            is_sandboxed,
        }
    }

    /// The same, as arguments of another process.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let Self { url, stream, subject, credentials, ca, certificate, is_sandboxed } = self;
        let (certificate, key) =
            (certificate.as_ref().map(|it| &it.0), certificate.as_ref().map(|it| &it.1));
        let mut arguments: Vec<OsString> = vec![(&*url.0).into()];
        let names = [("--nats-stream", stream), ("--nats-subject", subject)];
        arguments.extend(names.iter().flat_map(|(name, value)| [(*name).into(), value.into()]));
        let files = [
            ("--nats-creds", credentials.as_ref()),
            ("--nats-ca", ca.as_ref()),
            ("--nats-cert", certificate),
            ("--nats-key", key),
        ];
        for (name, file) in files {
            arguments.extend(file.into_iter().flat_map(|file| [name.into(), file.into()]));
        }
        arguments.extend((!is_sandboxed).then(|| "--no-sandbox".into()));
        arguments
    }

    /// The files that are read at each connection.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let own = self.certificate.iter().flat_map(|(certificate, key)| [certificate, key]);
        // Where certificates of servers are, if not where the system has them.
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os);
        let trusted = named.flat_map(|list| std::env::split_paths(&list).collect::<Vec<_>>());
        self.ca.iter().chain(own).cloned().chain(trusted).collect()
    }
}

#[cfg(feature = "nats")]
impl NatsWorkerSettings {
    /// The settings of a process that another one starts.
    pub(super) fn new(args: NatsWorkerArgs) -> Self {
        let NatsWorkerArgs { url, nats, spool, growing, follow, user, no_sandbox, quiet } = args;
        Self {
            nats: NatsSettings::new(url, &nats, !no_sandbox),
            spool: spool.zip(growing),
            follows: follow,
            user,
            stop: StopSettings::of_signals(Hangup::Stop),
            warnings: Warnings::new(quiet),
        }
    }
}

/// Where a command writes packets with more than pcap can hold.
fn pcapng_target(path: PathBuf) -> Result<SaveTarget, Error> {
    if path.extension().is_some_and(|it| it.eq_ignore_ascii_case("pcap")) {
        return Err(Error::NoComments { name: path.display().to_string() });
    }
    match is_stdin(&path) {
        true if console::stdout_is_terminal() => Err(Error::StdoutTerminal),
        true => Ok(SaveTarget::Stdout),
        false => Ok(SaveTarget::File(path)),
    }
}

/// The configuration of a command that finds Erlang traffic and judges nothing.
fn reading_config(args: &ReadArgs) -> Config {
    let (epmd_ports, dist_ports) = (epmd_ports(args), args.dist_port.clone());
    Config { epmd_ports, dist_ports, ..Config::default() }
}

impl SelectionSettings {
    fn new(args: &Args) -> Result<Self, Error> {
        let filter =
            (args.filter.clone(), args.filter_file.clone(), &*args.protocol.read.dist_port);
        let range = (args.since, args.until, output_zone(&args.output));
        Self::of(range, filter, Warnings::new(args.output.quiet))
    }

    /// Packets of this range, with this filter or that in the file.
    #[cfg_attr(
        not(feature = "live"),
        expect(unused_variables, reason = "warnings are about filters")
    )]
    fn of(
        (since, until, zone): (Option<TimePoint>, Option<TimePoint>, Zone),
        filter: (Option<String>, Option<PathBuf>, &[RangeInclusive<u16>]),
        warnings: Warnings,
    ) -> Result<Self, Error> {
        #[cfg(not(feature = "live"))]
        if filter.0.is_some() || filter.1.is_some() {
            return Err(Error::NoFilter);
        }
        Ok(Self {
            since,
            until,
            zone,
            #[cfg(feature = "live")]
            filter: filter_text(filter, warnings)?.map(CompiledFilter::new).transpose()?,
        })
    }
}

impl OutputSettings {
    fn new(
        args: &OutputArgs,
        options: render::Options,
        in_background: bool,
        inputs: &[PathBuf],
    ) -> Result<Self, Error> {
        let settings = Self {
            file: args.output.clone(),
            append: args.append,
            is_private: false,
            // Lines of their own would be drawn into the screen.
            warnings: Warnings::new(args.quiet || matches!(options.format, Format::Screen(_))),
            options,
            in_background,
        };
        settings.check_inputs(inputs)?;
        if let (Some(path), None) = (&settings.file, args.format) {
            let how = "events in .ndjson, text in .txt; a page with beamscope report -o x.html, a picture with beamscope \
                       ladder -o x.svg, packets with -w x.pcap; or name the format with --format";
            let own = ["txt", "json", "ndjson", "jsonl"];
            check_ending(path, ending(path).as_deref(), &own, how)?;
        }
        Ok(settings)
    }

    /// The file must not be one of the inputs.
    fn check_inputs(&self, inputs: &[PathBuf]) -> Result<(), Error> {
        let Some(path) = &self.file else { return Ok(()) };
        // A device, such as /dev/null, may be read and written.
        let is_input = |input: &PathBuf| is_same_file(input, path);
        if inputs.iter().any(is_input) {
            return Err(Error::OwnInput { name: path.display().to_string() });
        }
        Ok(())
    }

    /// What messages call the file.
    pub(super) fn name(&self) -> String {
        let path = self.file.as_ref();
        path.map_or_else(|| console::STDOUT.to_owned(), |path| path.display().to_string())
    }
}

impl SaveSettings {
    fn new(args: &Args, captures: &[PathBuf], is_streamed: bool) -> Result<Option<Self>, Error> {
        let Some(path) = &args.save.write else { return Ok(None) };
        let SaveArgs { rotate_size, rotate_every, rotate_count, .. } = args.save;
        let is_rotating = rotate_size.is_some() || rotate_every.is_some();
        let target = if is_stdin(path) {
            if args.output.output.is_none() {
                return Err(Error::StdoutTwice);
            }
            if is_rotating {
                return Err(Error::StdoutRotated);
            }
            if console::stdout_is_terminal() {
                return Err(Error::StdoutTerminal);
            }
            SaveTarget::Stdout
        } else if is_rotating {
            SaveTarget::Rotating {
                name: path.clone(),
                max_bytes: rotate_size,
                max_age: rotate_every,
                keep: rotate_count,
            }
        } else {
            // The file of events may not exist yet, and is then known by its name alone.
            let is_taken = |other: &&PathBuf| {
                let is_new = *other == path && !is_stdin(path) && !path.exists();
                is_new || is_same_file(other, path)
            };
            if let Some(taken) = captures.iter().chain(&args.output.output).find(is_taken) {
                return Err(Error::OwnInput { name: taken.display().to_string() });
            }
            SaveTarget::File(path.clone())
        };
        let is_pcap = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("pcap"));
        Ok(Some(Self {
            target,
            format: if is_pcap { SaveFormat::Pcap } else { SaveFormat::Pcapng },
            comment: String::new(),
            is_immediate: is_streamed,
            key_logs: args.save.with_keys.then(|| args.protocol.keylog.clone()),
            warnings: Warnings::new(args.output.quiet),
        }))
    }
}

/// Whether a path means standard input or output.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard input can be read once, and not from a terminal.
fn check_stdin<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    match paths.filter(|path| is_stdin(path)).count() {
        0 => Ok(()),
        1 if console::stdin_is_terminal() => Err(Error::StdinTerminal),
        1 => Ok(()),
        times => Err(Error::StdinTwice { times }),
    }
}

/// Finds a command or a filter that was typed behind the captures or the interface, the latter as tcpdump has it.
fn check_filter_words(captures: &[PathBuf]) -> Result<(), Error> {
    let is_word = |path: &PathBuf| {
        FILTER_WORDS.iter().any(|word| path.as_os_str() == *word) && !path.exists()
    };
    let is_command =
        |path: &&PathBuf| COMMANDS.iter().any(|name| path.as_os_str() == *name) && !path.exists();
    if let Some(name) = captures.iter().find(is_command) {
        return Err(Error::CommandLast { name: name.display().to_string() });
    }
    let Some(first) = captures.iter().position(is_word) else { return Ok(()) };
    let words = captures.get(first..).unwrap_or_default();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    Err(Error::FilterWords { filter: words.join(" ") })
}

/// The commands that people may put behind a capture.
const COMMANDS: [&str; 6] = ["annotate", "diff", "explain", "ladder", "merge", "report"];

/// Words that a filter begins with, and captures are hardly named: see pcap-filter(7).
const FILTER_WORDS: [&str; 18] = [
    "tcp",
    "udp",
    "ip",
    "ip6",
    "icmp",
    "icmp6",
    "arp",
    "port",
    "portrange",
    "host",
    "net",
    "src",
    "dst",
    "ether",
    "vlan",
    "not",
    "greater",
    "less",
];

/// The settings of the analysis that captures do not show, without those of a single command.
fn config(args: &ProtocolArgs, warnings: Warnings) -> Result<(Config, KeyLogFiles), Error> {
    let limits = args.max_memory.map_or_else(Limits::default, Limits::for_memory);
    let key_log = KeyLog::new(limits.key_log);
    let (files, suspect) = KeyLogFiles::open(&args.keylog, args.keylog_env, key_log.clone())?;
    suspect.iter().for_each(|warning| warnings.warn(warning));
    let sources =
        CookieSources { files: &args.cookie_file, typed: &args.cookie, use_home: args.home_cookie };
    let (cookies, suspect) = cookies::load(&sources, &limits)?;
    suspect.iter().for_each(|warning| warnings.warn(warning));
    if !args.cookie.is_empty() {
        warnings.warn(
            &"other users of this machine can see a cookie given with --cookie; --cookie-file \
              keeps it from them",
        );
    }
    let config = Config {
        limits,
        cookies,
        key_log,
        include_secrets: false,
        messages: MessageDetail::None,
        warns: false,
        epmd_ports: epmd_ports(&args.read),
        dist_ports: args.read.dist_port.clone(),
        home_nets: args.home_net.iter().copied().collect(),
        expect: Vec::new(),
    };
    Ok((config, files))
}

/// The port of EPMD, and others that the user named.
fn epmd_ports(args: &ReadArgs) -> Vec<u16> {
    let others = args.epmd_port.iter().copied().filter(|port| *port != EPMD_PORT);
    [EPMD_PORT].into_iter().chain(others).collect()
}

/// What is shown of everything that was analysed.
fn shown(args: &ShownArgs) -> Shown {
    Shown {
        nodes: args.node.clone(),
        hosts: args.host.clone(),
        pairs: args.pair.clone(),
        sessions: args.session.clone(),
        rules: args.rule.clone(),
        receivers: args.to.clone(),
        operations: args.op.clone(),
        calls: args.call.clone(),
    }
}

/// How much of the messages after the handshake is printed.
const fn message_detail(args: &Args) -> MessageDetail {
    let ShownArgs { to, op, call, .. } = &args.shown;
    let selects = !to.is_empty() || !op.is_empty() || !call.is_empty();
    match (args.messages || selects, args.payloads) {
        (_, true) => MessageDetail::Payloads,
        (true, false) => MessageDetail::Operations,
        (false, false) => MessageDetail::None,
    }
}

/// The filter of the arguments, with a warning if it looks too narrow.
#[cfg(feature = "live")]
fn filter_text(
    (text, file, dist_ports): (Option<String>, Option<PathBuf>, &[RangeInclusive<u16>]),
    warnings: Warnings,
) -> Result<Option<String>, Error> {
    let text = match &file {
        Some(path) => Some(filter::read(path)?),
        None => text,
    };
    let warning = text.as_deref().and_then(|text| filter::hidden_ports(text, dist_ports));
    if let Some(warning) = warning {
        warnings.warn(&warning);
    }
    Ok(text)
}

/// As many threads as asked for, or as can run at the same time.
fn threads(args: &Args) -> NonZeroUsize {
    args.threads.unwrap_or_else(all_threads)
}

/// As many threads as can run at the same time.
fn all_threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn format(args: &OutputArgs, (verbose, brief): (bool, bool), layout: Layout) -> Format {
    let is_terminal = args.output.is_none() && console::stdout_is_terminal();
    let name = match args.format {
        _ if args.json => FormatName::Ndjson,
        _ if args.text || brief && args.format.is_none() => FormatName::Text,
        Some(format) => format,
        None if is_terminal
            || args.output.as_deref().and_then(ending).as_deref() == Some("txt") =>
        {
            FormatName::Text
        }
        None => FormatName::Ndjson,
    };
    match name {
        FormatName::Ndjson => Format::Ndjson,
        FormatName::Text => {
            let colour = takes_colour(args.color, args.output.is_none());
            let width = console::text_width(is_terminal);
            let ascii = !console::takes_unicode();
            let zone = output_zone(args);
            Format::Text(TextOptions { width, colour, verbose, layout, brief, ascii, zone })
        }
    }
}

/// Whether text has colours.
fn takes_colour(choice: ColorChoice, is_stdout: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_stdout && console::takes_colour(),
    }
}

fn output_zone(args: &OutputArgs) -> Zone {
    zone(args.tz.clone(), args.output.is_none() && console::stdout_is_terminal())
}

/// The screen, if one is wanted.
#[cfg(feature = "tui")]
fn screen(args: &Args) -> Result<Option<Screen>, Error> {
    if args.tui && !console::stdout_is_terminal() {
        return Err(Error::NoScreen);
    }
    let zone = output_zone(&args.output);
    Ok(args.tui.then(|| Screen::new(zone, !console::takes_unicode())))
}

/// The screen, which this build does not have.
#[cfg(not(feature = "tui"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
const fn screen(_: &Args) -> Result<Option<Screen>, Error> {
    Ok(None)
}

/// The zone of times in text, and of times in arguments that have none of their own: by default, that of the machine at
/// a terminal and UTC elsewhere.
fn zone(given: Option<Zone>, is_at_terminal: bool) -> Zone {
    given.unwrap_or_else(|| if is_at_terminal { zone::local() } else { Zone::UTC })
}

/// Whether two paths lead to the same regular file, also by links; `-` is what standard input was redirected from.
fn is_same_file(input: &Path, output: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().and_then(|it| console::identity(&it));
    let of_input = if is_stdin(input) { console::stdin_identity() } else { identity(input) };
    of_input.is_some() && of_input == identity(output) || {
        let (a, b) = (fs::canonicalize(input), fs::canonicalize(output));
        matches!((a, b), (Ok(a), Ok(b)) if a == b && a.is_file())
    }
}

/// The captures, and the other files that a run reads: cookies, key logs and a filter.
fn read_files(
    captures: &[PathBuf],
    protocol: &ProtocolArgs,
    filter: Option<&PathBuf>,
) -> Vec<PathBuf> {
    let secrets = protocol.cookie_file.iter().chain(&protocol.keylog);
    captures.iter().chain(secrets).chain(filter).cloned().collect()
}

/// Selections by names and addresses fit those of the capture, and with `--anonymize` the analysis sees others.
fn check_anonymized(
    is_anonymized: bool,
    shown: &ShownArgs,
    protocol: &ProtocolArgs,
) -> Result<(), Error> {
    let given = [
        (!shown.node.is_empty(), "--node"),
        (!shown.host.is_empty(), "--host"),
        (!shown.pair.is_empty(), "--pair"),
        (!shown.to.is_empty(), "--to"),
        (!protocol.home_net.is_empty(), "--home-net"),
    ];
    match given.into_iter().find(|(is_given, _)| is_anonymized && *is_given) {
        Some((_, option)) => Err(Error::Anonymized { option }),
        None => Ok(()),
    }
}
