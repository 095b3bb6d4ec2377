//! Where packets of capture files come from: files, standard input, a file that is still being written.
//!
//! In: paths as given. Out: the inputs of the library, and for `--follow` the condition that ends the
//! last one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use beamscope::capture::{
    self, CaptureFile, Decompressed, Frame, Input, Inputs, Item, Order, Progress, ReadCounter,
    Receiver, Source,
};
#[cfg(unix)]
use beamscope::capture::{AtEnd, Follow};
use beamscope::clocks;
use beamscope::time::Timestamp;

use super::error::Error;
use super::settings::{AnalyzeSettings, is_stdin};
use super::stop::StopCondition;
#[cfg(unix)]
use super::stop::TICK;

/// The inputs that the settings name. With `--follow` the last one ends when the [`StopCondition`] is
/// met; `None` if all end by themselves.
///
/// # Errors
///
/// The file to follow cannot be opened, or an option needs a capture without an end of its own and
/// there is none.
pub(super) fn inputs(
    settings: &mut AnalyzeSettings,
) -> Result<(Vec<Input>, Option<StopCondition>), Error> {
    let mut inputs: Vec<_> = settings.captures.iter().map(|path| input(path)).collect();
    let followed = inputs.last_mut().filter(|_| settings.follow);
    let stop = followed.map(|last| follow(last, settings)).transpose()?.flatten();
    if stop.is_none() {
        let settings = &settings.run.stop;
        if settings.duration.is_some() {
            return Err(Error::Duration);
        }
        if settings.cluster_interval.is_some() {
            return Err(Error::Interval { option: "--cluster-interval" });
        }
        if settings.stats_interval.is_some() {
            return Err(Error::Interval { option: "--stats-interval" });
        }
    }
    Ok((inputs, stop))
}

/// Captures as one source, with their clocks aligned where they are read by time. The source names its inputs, of which an
/// extract may have several.
///
/// # Errors
///
/// There are more inputs than can be numbered.
pub(super) fn merged(
    inputs: Vec<Input>,
    order: Order,
    threads: NonZeroUsize,
    counter: ReadCounter,
) -> Result<Inputs, capture::Error> {
    let mut inputs = Inputs::new(inputs, order)?.with_threads(threads).with_counter(counter);
    clocks::align(&mut inputs);
    Ok(inputs)
}

/// The time of the last packet of the captures, which are read for it and can be read again.
///
/// # Errors
///
/// One of them can be read only once, or there are too many.
pub(super) fn last_packet(captures: &[PathBuf]) -> Result<Option<Timestamp>, Error> {
    if let Some(stream) = captures.iter().find(|path| is_read_once(path)) {
        let name = if is_stdin(stream) { "standard input" } else { &stream.to_string_lossy() };
        return Err(Error::NoLastPacket { name: name.to_owned() });
    }
    let mut inputs = Inputs::new(captures.iter().map(|path| input(path)).collect(), Order::Given)?;
    let mut last = LastPacket(None);
    while inputs.pump(&mut last)? != Progress::End {}
    Ok(last.0)
}

/// The latest time of the frames of a source. What cannot be read is reported when it is read again.
struct LastPacket(Option<Timestamp>);

impl Receiver for LastPacket {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.0 = self.0.max(Some(frame.at));
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        if let Item::Frame(frame) = item {
            self.on_frame(&frame)
        } else {
            ControlFlow::Continue(())
        }
    }
}

pub(super) fn input(path: &Path) -> Input {
    if is_stdin(path) {
        Input::Stream { name: "-".to_owned(), source: Box::new(io::stdin()) }
    } else {
        Input::Path(path.into())
    }
}

/// Checks that one of the captures at least can be read, before the output of an earlier run is replaced by nothing.
///
/// # Errors
///
/// That of the first capture, if none can be read.
pub(super) fn check_readable(captures: &[PathBuf]) -> Result<(), capture::Error> {
    check_one(captures, |mut file| file.next_item().map(|_| ()))
}

/// Checks that one of the captures or files of events at least can be opened.
///
/// # Errors
///
/// That of the first, if none can be opened.
pub(super) fn check_opens(inputs: &[PathBuf]) -> Result<(), capture::Error> {
    check_one(inputs, |_| Ok(()))
}

fn check_one(
    inputs: &[PathBuf],
    check: impl Fn(CaptureFile) -> Result<(), capture::Error>,
) -> Result<(), capture::Error> {
    let mut first = Ok(());
    for path in inputs {
        // What can be read only once is not read for this.
        let checked =
            if is_read_once(path) { Ok(()) } else { CaptureFile::open(path, 0).and_then(&check) };
        if checked.is_ok() {
            return checked;
        }
        first = first.and(checked);
    }
    first
}

/// Whether an input is a pipe or a device.
fn is_read_once(path: &Path) -> bool {
    is_stdin(path) || path.exists() && !path.is_file() && !path.is_dir()
}

/// An input that is a capture, or a file of events or observations.
pub(super) enum MixedInput {
    /// Lines of events or observations, one each; decompressed.
    Events(Box<dyn BufRead + Send>),
    /// A capture of any kind.
    Capture(Input),
}

/// Opens a capture, or a file of events or observations. Their lines begin with a brace, no capture does. Either may be
/// compressed.
pub(super) fn open(path: &Path) -> MixedInput {
    let source: Box<dyn Read + Send> = if is_stdin(path) {
        Box::new(io::stdin())
    } else {
        match File::open(path) {
            Ok(file) => Box::new(file),
            // The library reports the error, with a better text.
            Err(_) => return MixedInput::Capture(Input::Path(path.into())),
        }
    };
    let mut bytes = BufReader::with_capacity(READ_SIZE, Decompressed::new(source));
    // Byte by byte, and kept: a pipe cannot be opened twice, and may give one byte at a time.
    let mut head = Vec::new();
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    while head.len() < MAX_BLANKS && head.iter().all(is_blank) {
        if (&mut bytes).take(1).read_to_end(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    if head.iter().find(|byte| !is_blank(byte)) == Some(&b'{') {
        return MixedInput::Events(Box::new(Cursor::new(head).chain(bytes)));
    }
    if path.is_file() || path.is_dir() {
        return MixedInput::Capture(Input::Path(path.into()));
    }
    let source = Box::new(Cursor::new(head).chain(bytes));
    MixedInput::Capture(Input::Stream { name: path.to_string_lossy().into_owned(), source })
}

/// Bytes that are read at a time: lines of observations have a few KiB each.
const READ_SIZE: usize = 1 << 16;

/// Blank bytes that may precede the first event; the magic number of pcapng contains some, too.
const MAX_BLANKS: usize = 64;

/// Makes the last input wait at its end until the [`StopCondition`] is met, and read the key logs on meanwhile: a key is
/// known before the packets that come after it. `None` if it is no regular file: reading from a pipe waits by itself, and a
/// pipe has an end.
#[cfg(unix)]
fn follow(
    last: &mut Input,
    settings: &mut AnalyzeSettings,
) -> Result<Option<StopCondition>, Error> {
    let Input::Path(path) = last else { return Ok(None) };
    if !path.is_file() {
        return Ok(None);
    }
    let stop = StopCondition::new(&settings.run.stop).map_err(Error::Wait)?;
    let mut waits_for = stop.clone();
    let mut key_log = settings.run.key_log.take();
    let at_end = move || {
        let is_closed = waits_for.wait::<File>(&[], TICK);
        key_log.read_on();
        if waits_for.is_met() || is_closed.is_ok_and(|is_closed| is_closed) {
            AtEnd::End
        } else if waits_for.is_report_due() {
            AtEnd::Pause
        } else {
            AtEnd::Again
        }
    };
    let name = path.display().to_string();
    let source = Box::new(Follow::open(path, at_end)?);
    *last = Input::Stream { name, source };
    Ok(Some(stop))
}

#[cfg(not(unix))]
fn follow(_: &mut Input, _: &mut AnalyzeSettings) -> Result<Option<StopCondition>, Error> {
    Err(Error::NoFollow)
}
