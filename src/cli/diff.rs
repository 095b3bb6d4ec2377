//! `beamscope diff`: which pairs of nodes stand otherwise in one capture than in another.
//!
//! In: two captures, or files of events. Out: the records of their sessions, compared elsewhere, and
//! what changed on standard output or in a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::path::Path;

use beamscope::capture::{Input, Inputs, Item, Order};
use beamscope::compare::{Attempt, Pairs, compare};
use beamscope::engine::{Config, Engine};
use beamscope::record::{Body, Event, EventSink, Severity};
use beamscope::render::{self, Layout, Output, Records};

use super::args::{Diff, OutputArgs};
use super::run::{anomaly, config, finish, format, is_stdin, open};
use super::{Error, Outcome, warn};

/// Does what the arguments say.
///
/// # Errors
///
/// One of the two cannot be read whole: what is missing there would look like a change.
pub(super) fn run(args: &Diff) -> Result<Outcome, Error> {
    let paths = [args.before.as_path(), args.after.as_path()];
    match paths.iter().filter(|path| is_stdin(path)).count() {
        0 => {}
        1 if io::stdin().is_terminal() => return Err(Error::Terminal),
        1 => {}
        _ => return Err(Error::StdinTwice),
    }
    let config = config(&args.facts, &args.writing)?;
    let before = pairs(&args.before, config.clone(), &args.writing)?;
    let after = pairs(&args.after, config, &args.writing)?;
    let options = render::Options {
        format: format(&args.writing, false, Layout::Grouped),
        only_findings: false,
        min_severity: Severity::Info,
        line_buffered: false,
        terms: render::TermStyle::Erlang,
    };
    let names = paths.iter().map(|path| path.to_string_lossy().into()).collect();
    let mut output = Output::new(open(&args.writing, paths)?, names, options);
    let mut changed = false;
    for event in compare(before, after) {
        changed |= matches!(event.body, Body::PairChange { .. });
        output.event(event);
    }
    let is_found = args.exit_code && changed;
    finish(&args.writing, output, if is_found { Outcome::Found } else { Outcome::Done })
}

/// What one of the two shows.
fn pairs(path: &Path, config: Config, writing: &OutputArgs) -> Result<Pairs, Error> {
    let pairs = Pairs::new(&config.limits);
    match source(path)? {
        Source::Events(lines) => {
            read_events(lines, pairs).map_err(|source| Error::Events { name: name(path), source })
        }
        Source::Capture(input) => read_capture(input, path, config, writing, pairs),
    }
}

fn read_events(lines: Box<dyn BufRead>, mut pairs: Pairs) -> Result<Pairs, render::ReadError> {
    let mut records = Records::new(lines);
    while let Some(attempt) = records.next_attempt()? {
        pairs.on_attempt(attempt);
    }
    Ok(pairs)
}

fn read_capture(
    input: Input,
    path: &Path,
    config: Config,
    writing: &OutputArgs,
    pairs: Pairs,
) -> Result<Pairs, Error> {
    let mut inputs = Inputs::new(vec![input], Order::Given)?;
    let mut pipeline = Engine::new(config, Sessions { pairs, path, writing });
    while let Some(item) = inputs.next_item() {
        match item {
            Item::Frame(ref frame) => pipeline.push_frame(frame),
            Item::Notice(notice) => pipeline.on_input_anomaly(0, anomaly(notice)),
        }
    }
    match inputs.take_errors().pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(pipeline.finish().pairs),
    }
}

/// Keeps the sessions among events.
struct Sessions<'a> {
    pairs: Pairs,
    path: &'a Path,
    writing: &'a OutputArgs,
}

impl EventSink for Sessions<'_> {
    fn event(&mut self, event: Event) {
        match &event.body {
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                let (name, detail) = (name(self.path), &anomaly.detail);
                let doubt = "what it lacks may look like a change";
                warn(self.writing, &format!("{name}: {detail}; {doubt}"));
            }
            _ => {
                if let Some(attempt) = Attempt::of(&event) {
                    self.pairs.on_attempt(attempt);
                }
            }
        }
    }
}

enum Source {
    Events(Box<dyn BufRead>),
    Capture(Input),
}

/// Opens what is named, whichever of the two it is: no capture begins with a brace.
fn source(path: &Path) -> Result<Source, Error> {
    let mut bytes: Box<dyn BufRead> = if is_stdin(path) {
        Box::new(BufReader::new(io::stdin()))
    } else {
        match File::open(path) {
            Ok(file) => Box::new(BufReader::new(file)),
            // The reader of captures says it better.
            Err(_) => return Ok(Source::Capture(Input::Path(path.into()))),
        }
    };
    // A pipe is not opened twice, and need not give more than a byte at a time.
    let mut head = Vec::new();
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    while head.len() < MAX_BLANKS && head.iter().all(is_blank) {
        if (&mut bytes).take(1).read_to_end(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    if head.iter().find(|byte| !is_blank(byte)) == Some(&b'{') {
        return Ok(Source::Events(Box::new(Cursor::new(head).chain(bytes))));
    }
    if path.is_file() || path.is_dir() {
        return Ok(Source::Capture(Input::Path(path.into())));
    }
    let source = Box::new(Cursor::new(head).chain(bytes));
    Ok(Source::Capture(Input::Stream { name: name(path), source }))
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Blank bytes before the first line of events: the magic of a pcapng file begins with some, too.
const MAX_BLANKS: usize = 64;
