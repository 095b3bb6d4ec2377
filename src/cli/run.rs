//! From arguments to a run.
//!
//! In: [`Args`]. Out: captures pushed through the pipeline, events written, and how that ended.
//! Checks what the arguments mean together, opens what they name, and carries items from one stage
//! to the next; what they mean is decided elsewhere.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anstream::AutoStream;
use beamscope::capture::save::Described;
use beamscope::capture::{self, Input, Inputs, Item, Notice, NoticeKind};
use beamscope::engine::{Config, EPMD_PORT, Engine};
use beamscope::limits::Limits;
use beamscope::packet::FrameRef;
use beamscope::protocol::MessageDetail;
use beamscope::record::{Anomaly, AnomalyKind};
use beamscope::render::{self, Format, Layout, Output, TextOptions};

use super::args::{Args, ColorChoice, Command, FormatName, OutputArgs, ProtocolArgs, TermStyle};
use super::evidence::EvidenceDir;
use super::explain::explain;
use super::save::Saver;
use super::select::Selection;
use super::wait::StopCondition;
use super::{Error, Outcome, complain, cookies, diff, shell, warn};
#[cfg(feature = "live")]
use super::{privileges, sandbox};

/// Where events go: standard output, or a file.
pub(super) type Out = Box<dyn Write + Send>;

/// Does what the arguments say.
///
/// # Errors
///
/// They make no sense together, or what they name cannot be opened, written, or captured from. An
/// input that cannot be read is no error here: the others are, and the [`Outcome`] tells.
pub(crate) fn run(args: &Args) -> Result<Outcome, Error> {
    match &args.command {
        Some(Command::Diff(args)) => return diff::run(args),
        Some(Command::Explain { rule, log, json }) => {
            return explain(rule.as_deref(), log.as_deref(), *json);
        }
        Some(Command::Schema) => return print(render::schema()),
        Some(Command::Completions { shell }) => return shell::completions(*shell),
        Some(Command::Man { command }) => return shell::man(command.as_deref()),
        None if args.list_interfaces => return list_interfaces(),
        None => {}
    }
    let include_secrets = args.include_secrets;
    let messages = detail(args);
    let warns = !args.interface.is_empty() || args.follow;
    let config = config(&args.facts, &args.writing)?;
    let config = Config { include_secrets, messages, warns, ..config };
    if args.interface.is_empty() { read(args, config) } else { capture(args, config) }
}

/// What a run works with, as far as it is known beside the captures.
pub(super) fn config(facts: &ProtocolArgs, writing: &OutputArgs) -> Result<Config, Error> {
    let limits = Limits::default();
    let cookies = cookies::candidates(facts, &limits)?;
    if !facts.cookie.is_empty() {
        let seen = "other users of this machine can see a cookie given with --cookie; \
                    --cookie-file keeps it from them";
        warn(writing, &seen);
    }
    let mut epmd_ports = vec![EPMD_PORT];
    epmd_ports.extend(facts.epmd_port.iter().filter(|port| **port != EPMD_PORT));
    Ok(Config {
        limits,
        cookies,
        include_secrets: false,
        messages: MessageDetail::None,
        warns: false,
        epmd_ports,
        dist_ports: facts.dist_port.clone(),
        home_nets: facts.home_net.iter().copied().collect(),
    })
}

/// Which messages are told, and what of them.
const fn detail(args: &Args) -> MessageDetail {
    match (args.messages, args.payloads) {
        (_, true) => MessageDetail::Payloads,
        (true, false) => MessageDetail::Operations,
        (false, false) => MessageDetail::None,
    }
}

/// Reads captures.
#[inline(never)] // the loop over frames, whose instructions count
fn read(args: &Args, config: Config) -> Result<Outcome, Error> {
    let paths: Vec<&Path> = captures(args).collect();
    match paths.iter().filter(|path| is_stdin(path)).count() {
        _ if paths.is_empty() => return Err(Error::NoInput),
        0 => {}
        1 if io::stdin().is_terminal() => return Err(Error::Terminal),
        1 => {}
        _ => return Err(Error::StdinTwice),
    }
    let mut selection = Selection::new(args)?;
    let names: Vec<Arc<str>> = paths.iter().map(|path| path.to_string_lossy().into()).collect();
    let mut sources: Vec<_> = paths.iter().map(|path| source(path)).collect();
    let followed = sources.last_mut().filter(|_| args.follow);
    let ending = followed.map(|last| follow(last, args)).transpose()?.flatten();
    if args.duration.is_some() && ending.is_none() {
        return Err(Error::Duration);
    }
    let intervals =
        [(args.cluster_interval, "--cluster-interval"), (args.stats_interval, "--stats-interval")];
    if let (Some((_, option)), None) =
        (intervals.into_iter().find(|(interval, _)| interval.is_some()), &ending)
    {
        return Err(Error::Interval { option });
    }
    let mut inputs = Inputs::new(sources, args.order)?.with_threads(threads(args));
    let unsaved = Rc::<Cell<bool>>::default();
    let folder = EvidenceDir::open(args, &names, config.limits.evidence, &unsaved)?;
    let mut pipeline = Engine::new(config, output(args, names.clone())?);
    let mut saver = Saver::open(args, &paths, is_awaited(args))?;
    if let Some(folder) = folder {
        pipeline.keep_evidence(Box::new(folder));
    }
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut unfiltered = false;
    let mut listed = vec![0; paths.len()];
    let mut saved_names = vec![0; paths.len()];
    loop {
        let (mut look_for_names, mut save_for) = (None, None);
        // By reference: a copy of what was just put together waits for its stores.
        match &inputs.next_item() {
            None => break,
            Some(Item::Frame(frame)) if selection.admits(frame) => {
                pipeline.push_frame(frame);
                if let Some(saver) = &mut saver {
                    saver.stage(frame);
                    save_for = Some(frame.id.input);
                }
                left -= 1;
                if frame.id.number % NAMES_EVERY == 1 {
                    look_for_names = Some(frame.id.input);
                }
            }
            Some(Item::Frame(frame)) => {
                if let Some(error) = selection.take_trouble() {
                    unfiltered = true;
                    complain(&error, error.hint());
                    pipeline.on_input_anomaly(frame.id.input, left_out(error.to_string()));
                }
            }
            Some(Item::Notice(notice)) => {
                pipeline.on_input_anomaly(notice.after.input, anomaly(notice.clone()));
            }
        }
        if let (Some(saver), Some(input)) = (&mut saver, save_for) {
            save_names(&inputs, input, &mut saved_names, saver);
            saver.save_staged(
                |frame| comments(&inputs, frame),
                |input, interface| described(&inputs, &names, input, interface),
            );
            tell_trouble(args, saver, &mut pipeline);
        }
        if let Some(input) = look_for_names {
            hand_on_names(&inputs, input, &mut listed, &mut pipeline);
        }
        let ending = ending.as_deref();
        if left == 0 || pipeline.sink_mut().failed() || ending.is_some_and(StopCondition::is_due) {
            break;
        }
        let asked = ending.map(StopCondition::asked);
        if asked.as_ref().is_some_and(|asked| asked.cluster) {
            pipeline.cluster();
        }
        if asked.is_some_and(|asked| asked.stats) {
            pipeline.stats();
        }
    }
    for input in (0..u16::MAX).take(paths.len()) {
        hand_on_names(&inputs, input, &mut listed, &mut pipeline);
    }
    selection.doubts().iter().for_each(|doubt| warn(&args.writing, doubt));
    let errors = inputs.take_errors();
    for (input, error) in &errors {
        complain(error, error.hint());
        pipeline.on_input_anomaly(*input, unreadable(error));
    }

    let interfaces = || (0..u16::MAX).take(paths.len()).flat_map(|n| inputs.interfaces(n));
    let kernel = interfaces().filter_map(|interface| interface.os_drop).reduce(u64::saturating_add);
    let device = interfaces().filter_map(|interface| interface.if_drop).reduce(u64::saturating_add);
    pipeline.drops(kernel, device);
    if let Some(saver) = &mut saver {
        for input in (0..u16::MAX).take(paths.len()) {
            save_names(&inputs, input, &mut saved_names, saver);
            for (interface, counts) in (0..).zip(inputs.interfaces(input)) {
                saver.count(input, Some(interface), counts.clone());
            }
        }
    }
    let saved = conclude_saving(args, saver, &mut pipeline);
    let output = pipeline.finish();
    conclude(args, output, unfiltered || !errors.is_empty() || !saved || unsaved.get())
}

/// Writes what is left of the packets. `false` when not all could be saved.
fn conclude_saving(args: &Args, saver: Option<Saver>, pipeline: &mut Engine<Output<Out>>) -> bool {
    let Some(mut saver) = saver else { return true };
    let saved = saver.finish();
    tell_trouble(args, &mut saver, pipeline);
    saved
}

/// Tells what keeps packets from being saved, once.
pub(super) fn tell_trouble(args: &Args, saver: &mut Saver, pipeline: &mut Engine<Output<Out>>) {
    if let Some(detail) = saver.take_trouble() {
        warn(&args.writing, &detail);
        pipeline.on_anomaly(Anomaly::new(AnomalyKind::NotSaved, detail));
    }
}

/// Saves the names of addresses that `input` has brought since the last time; `saved` counts those of
/// each input.
fn save_names(inputs: &Inputs, input: u16, saved: &mut [usize], saver: &mut Saver) {
    let names = &inputs.annotations(input).names;
    if let Some(saved) = saved.get_mut(usize::from(input)) {
        saver.names(names.get(*saved..).unwrap_or_default());
        *saved = names.len();
    }
}

/// The comments on a frame that has just been read.
fn comments(inputs: &Inputs, frame: FrameRef) -> impl Iterator<Item = &[u8]> {
    let all = &inputs.annotations(frame.input).comments;
    let others = all.iter().rposition(|(on, _)| *on != frame).map_or(0, |last| last + 1);
    all.get(others..).unwrap_or_default().iter().map(|(_, text)| &**text)
}

/// What an interface of an input is called: as its capture says, or as the input.
fn described(inputs: &Inputs, names: &[Arc<str>], input: u16, interface: Option<u32>) -> Described {
    let known = interface.and_then(|interface| inputs.interface(input, interface));
    let name = known.and_then(|known| known.name.clone());
    let input = || names.get(usize::from(input)).map(|name| name.to_string());
    Described { name: name.or_else(input), snaplen: 0 }
}

/// Gives the pipeline the names of addresses that `input` has brought since the last time; `listed` counts
/// those of each input that it has.
fn hand_on_names(
    inputs: &Inputs,
    input: u16,
    listed: &mut [usize],
    pipeline: &mut Engine<Output<Out>>,
) {
    let Some(listed) = listed.get_mut(usize::from(input)) else { return };
    let names = &inputs.annotations(input).names;
    for (ip, name) in names.iter().skip(*listed) {
        pipeline.on_listed_name(*ip, name);
    }
    *listed = names.len();
}

/// How many threads are used: those asked for, or as many as can run at a time. Only decompression and the lines of
/// messages get any.
fn threads(args: &Args) -> NonZeroUsize {
    let all = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    args.threads.unwrap_or_else(all)
}

fn source(path: &Path) -> Input {
    if is_stdin(path) {
        Input::Stream { name: "-".to_owned(), source: Box::new(io::stdin()) }
    } else {
        Input::Path(path.into())
    }
}

/// Gives the last input no end until the [`StopCondition`] is due. `None` where it is no regular file: a
/// pipe has an end of its own, and waits by itself.
#[cfg(unix)]
fn follow(last: &mut Input, args: &Args) -> Result<Option<Rc<StopCondition>>, Error> {
    let Input::Path(path) = last else { return Ok(None) };
    if !path.is_file() {
        return Ok(None);
    }
    let ending = Rc::new(StopCondition::new(args).map_err(Error::Wait)?);
    let asked = Rc::clone(&ending);
    let should_continue = move || {
        let unread = || asked.wait::<File>(&[], super::wait::TICK);
        !asked.is_due() && unread().is_ok_and(|unread| !unread)
    };
    let name = path.display().to_string();
    let source = Box::new(capture::Follow::open(path, should_continue)?);
    *last = Input::Stream { name, source };
    Ok(Some(ending))
}

#[cfg(not(unix))]
fn follow(_: &mut Input, _: &Args) -> Result<Option<Rc<StopCondition>>, Error> {
    Err(Error::NoFollow)
}

/// Captures from interfaces: everything is opened first, then all rights are given up.
#[cfg(feature = "live")]
fn capture(args: &Args, config: Config) -> Result<Outcome, Error> {
    let account = args.user.as_deref().map(privileges::account).transpose()?;
    // Before the file of `-o` is made: what cannot be captured from leaves nothing behind.
    let mut live = super::live::Capture::open(args)?;
    let (queue, backlog) = render::queue(open(&args.writing, [])?, config.limits.unread);
    let names: Vec<Arc<str>> = live.names().iter().map(|name| name.as_str().into()).collect();
    let unsaved = Rc::<Cell<bool>>::default();
    let folder = EvidenceDir::open(args, &names, config.limits.evidence, &unsaved)?;
    let mut saver = Saver::open(args, &[], false)?;
    if let Some(account) = &account {
        let made = folder.as_ref().and_then(EvidenceDir::made).into_iter();
        made.chain(saver.as_ref().and_then(Saver::made)).for_each(|path| account.hand_over(path));
    }
    let kept = privileges::give_up(account.as_ref())?;
    let sandbox = sandbox::Sandbox::enter(args);
    // From here on, threads are begun without any rights, and none is begun once the sandbox is shut.
    let writer = thread::Builder::new().name("output".to_owned()).spawn(|| backlog.write());
    drop(writer.map_err(|source| Error::Output { name: output_name(&args.writing), source })?);
    saver.as_mut().map_or(Ok(()), Saver::queue)?;
    let sandbox = sandbox.shut();
    let mut pipeline = Engine::new(config, Output::queued(queue, names, output_options(args)));
    if let Some(folder) = folder {
        pipeline.keep_evidence(Box::new(folder));
    }
    if args.verbose {
        let _ = writeln!(io::stderr(), "privileges: {kept}\nsandbox: {sandbox}");
    }
    if !args.writing.quiet {
        // As tcpdump does: from here on nothing is missed.
        let _ = writeln!(io::stderr(), "listening on {}", live.names().join(", "));
    }
    let ended = live.run(args, &mut pipeline, saver.as_mut());
    let saved = conclude_saving(args, saver, &mut pipeline);
    let output = pipeline.finish();
    let written = conclude(args, output, !saved || unsaved.get())?;
    if ended? { Ok(written) } else { Ok(Outcome::Incomplete) }
}

/// Opens the file of `-o` anew, which somebody may have moved away. What is there is kept.
#[cfg(feature = "live")]
pub(super) fn reopen(writing: &OutputArgs) -> Option<Result<Out, Error>> {
    let path = writing.output.as_ref()?;
    let file = append_to(path);
    let failed = |source| Error::Output { name: output_name(writing), source };
    Some(file.map(|file| Box::new(file) as Out).map_err(failed))
}

#[cfg(not(feature = "live"))]
fn capture(_: &Args, _: Config) -> Result<Outcome, Error> {
    Err(Error::NoLive)
}

/// Writes what is held back and says how the run ended.
fn conclude(args: &Args, output: Output<Out>, incomplete: bool) -> Result<Outcome, Error> {
    let found = args.fail_on.0.is_some_and(|least| output.worst() >= Some(least));
    let ended = if incomplete {
        Outcome::Incomplete
    } else if found {
        Outcome::Found
    } else {
        Outcome::Done
    };
    finish(&args.writing, output, ended)
}

/// Writes what is held back, after which the run has `ended` so. A reader that closed the pipe has
/// seen enough.
pub(super) fn finish(
    writing: &OutputArgs,
    output: Output<Out>,
    ended: Outcome,
) -> Result<Outcome, Error> {
    match output.finish() {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Outcome::Done),
        Err(source) => Err(Error::Output { name: output_name(writing), source }),
        Ok(()) => Ok(ended),
    }
}

/// Opens where events go, and settles how they are written.
fn output(args: &Args, inputs: Vec<Arc<str>>) -> Result<Output<Out>, Error> {
    let options = output_options(args);
    let mut out = open(&args.writing, captures(args))?;
    let has_messages = args.messages || args.payloads;
    if has_messages && !options.line_buffered && threads(args) > NonZeroUsize::MIN {
        let failed = |source| Error::Output { name: output_name(&args.writing), source };
        out = Box::new(render::BackgroundWriter::start(out).map_err(failed)?);
    }
    Ok(Output::new(out, inputs, options))
}

fn output_options(args: &Args) -> render::Options {
    let is_live = !args.interface.is_empty() || is_awaited(args);
    let layout = if is_live { Layout::Streaming } else { Layout::Grouped };
    render::Options {
        format: format(&args.writing, args.verbose, layout),
        only_findings: args.only_findings,
        min_severity: args.min_severity,
        line_buffered: args.line_buffered || is_terminal(&args.writing) || is_awaited(args),
        terms: match args.terms {
            TermStyle::Erlang => render::TermStyle::Erlang,
            TermStyle::Json => render::TermStyle::Json,
        },
    }
}

/// Opens where events go, which must not be one of the `inputs`.
pub(super) fn open<'a>(
    writing: &OutputArgs,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<Out, Error> {
    Ok(match &writing.output {
        Some(path) => Box::new(create(writing, path, inputs)?),
        None => Box::new(io::stdout()),
    })
}

fn is_terminal(writing: &OutputArgs) -> bool {
    writing.output.is_none() && io::stdout().is_terminal()
}

pub(super) fn format(writing: &OutputArgs, verbose: bool, layout: Layout) -> Format {
    let name = match writing.format {
        _ if writing.json => FormatName::Ndjson,
        Some(format) => format,
        None if is_terminal(writing) => FormatName::Text,
        None => FormatName::Ndjson,
    };
    match name {
        FormatName::Ndjson => Format::Ndjson,
        FormatName::Text => Format::Text(text_options(writing, verbose, layout)),
    }
}

/// Whether somebody waits for what is still to come. What comes through a pipe may come slowly, and
/// end with the Ctrl-C that ends its source.
fn is_awaited(args: &Args) -> bool {
    args.follow || captures(args).any(is_stdin)
}

fn text_options(writing: &OutputArgs, verbose: bool, layout: Layout) -> TextOptions {
    let colour = match writing.color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => writing.output.is_none() && takes_colour(),
    };
    TextOptions { width: width(is_terminal(writing)), colour, verbose, layout }
}

/// Whether standard output wants colours. Knows NO_COLOR, CLICOLOR_FORCE, terminals that cannot.
pub(super) fn takes_colour() -> bool {
    AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Columns of text on standard output, where that is a terminal, or anywhere else.
pub(super) fn width(terminal: bool) -> usize {
    let width = if terminal { terminal_width() } else { None };
    width.unwrap_or(80).clamp(40, 100)
}

#[cfg(unix)]
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    // A terminal without a screen behind it has no columns, and takes any.
    (size.ws_col > 0).then(|| size.ws_col.into())
}

#[cfg(not(unix))]
fn terminal_width() -> Option<usize> {
    None
}

/// Creates the file of `-o`, unless that would empty an input.
fn create<'a>(
    writing: &OutputArgs,
    path: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<File, Error> {
    let name = || output_name(writing);
    if let Ok(target) = fs::canonicalize(path) {
        let is_target = |input: &Path| fs::canonicalize(input).is_ok_and(|it| it == target);
        // A device, such as /dev/null, is not emptied.
        if target.is_file() && inputs.into_iter().any(is_target) {
            return Err(Error::OwnInput { name: name() });
        }
    }
    let file = if writing.append { append_to(path) } else { File::create(path) };
    file.map_err(|source| Error::Output { name: name(), source })
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

fn output_name(writing: &OutputArgs) -> String {
    let path = writing.output.as_ref();
    path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string())
}

fn captures(args: &Args) -> impl Iterator<Item = &Path> {
    args.read.iter().chain(&args.captures).map(PathBuf::as_path)
}

pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// What the reader noticed, as an event tells it.
pub(super) fn anomaly(notice: Notice) -> Anomaly {
    let kind = match notice.kind {
        NoticeKind::Truncated => AnomalyKind::InputTruncated,
        NoticeKind::Corrupt => AnomalyKind::InputCorrupt,
    };
    Anomaly { kind, field: None, offset: Some(notice.offset), detail: notice.detail }
}

/// What frames that the filter could not judge mean for the events.
const fn left_out(detail: String) -> Anomaly {
    Anomaly::new(AnomalyKind::UnsupportedLink, detail)
}

/// What a reader that failed half-way means for the events.
fn unreadable(error: &capture::Error) -> Anomaly {
    let (kind, offset) = match error {
        capture::Error::Read { offset, .. } => (AnomalyKind::InputTruncated, Some(*offset)),
        _ => (AnomalyKind::InputUnreadable, None),
    };
    Anomaly { kind, field: None, offset, detail: error.to_string() }
}

/// Prints an answer that is no event.
pub(super) fn print(answer: impl AsRef<[u8]>) -> Result<Outcome, Error> {
    let mut out = io::stdout().lock();
    match out.write_all(answer.as_ref()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(e)),
        _ => Ok(Outcome::Done),
    }
}

/// Standard output takes no more.
pub(super) fn unwritten(source: io::Error) -> Error {
    Error::Output { name: "standard output".to_owned(), source }
}

#[cfg(feature = "live")]
fn list_interfaces() -> Result<Outcome, Error> {
    print(super::live::interfaces()?)
}

#[cfg(not(feature = "live"))]
fn list_interfaces() -> Result<Outcome, Error> {
    Err(Error::NoLive)
}

/// Frames between two looks for names: they stand before the first frame, or anywhere.
const NAMES_EVERY: u64 = 256;
