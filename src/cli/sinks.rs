//! Where events go: standard output or a file.
//!
//! In: [`OutputSettings`]. Out: an [`Output`] of the library over a stream of bytes that is open, and
//! the outcome of the run once everything is written.

use std::io::{self, Write};
use std::sync::Arc;

use beamscope::render::{BackgroundWriter, Format, Output};

use super::console;
use super::error::{Error, RunOutcome};
#[cfg(feature = "live")]
use super::place::OpenedFile;
use super::place::{FileMode, Place, Target, Trusted};
use super::settings::OutputSettings;

/// The stream that events are written to.
pub(super) type EventStream = Box<dyn Write + Send>;

/// Opens the file of the settings; `None` for standard output. What is in it is still there.
///
/// # Errors
///
/// It cannot be made, or a link on the way is not followed.
pub(super) fn open_file(
    settings: &OutputSettings,
    trusted: Trusted,
) -> Result<Option<Target>, Error> {
    let target = settings.file.as_ref().map(|path| Target::open(path, trusted, opening(settings)));
    target.transpose().map_err(|source| write_error(settings, source))
}

/// Opens the stream, and in front of it a thread if the settings want one. `inputs` are the names of
/// the inputs as events show them.
///
/// # Errors
///
/// The file cannot be created, or the thread cannot be started.
pub(super) fn open_output(
    settings: &OutputSettings,
    file: Option<Target>,
    inputs: Vec<Arc<str>>,
) -> Result<Output<EventStream>, Error> {
    let (mut out, _) = start(settings, file)?;
    if settings.in_background {
        let writer = BackgroundWriter::start(out);
        out = Box::new(writer.map_err(|source| write_error(settings, source))?);
    }
    Ok(Output::new(out, inputs, settings.options.clone()))
}

/// The stream into the file, or to standard output, and the place of the file.
///
/// # Errors
///
/// The file cannot be emptied.
pub(super) fn start(
    settings: &OutputSettings,
    file: Option<Target>,
) -> Result<(EventStream, Option<Place>), Error> {
    let Some(mut target) = file else { return Ok((console::stdout(), None)) };
    let file = target.start(opening(settings)).map_err(|source| write_error(settings, source))?;
    Ok((Box::new(file), Some(target.place)))
}

const fn opening(settings: &OutputSettings) -> FileMode {
    FileMode { is_private: settings.is_private, appends: settings.append }
}

/// Opens the file again, which another program may have moved away. What it contains is kept.
///
/// # Errors
///
/// The file cannot be made.
#[cfg(feature = "live")]
pub(super) fn reopen_file(settings: &OutputSettings, place: &Place) -> Result<EventStream, Error> {
    let opened = place.open(FileMode { appends: true, ..opening(settings) });
    let file =
        opened.and_then(OpenedFile::start).map_err(|source| write_error(settings, source))?;
    Ok(Box::new(file))
}

/// Writes what is buffered, after which the run has the outcome `ended`. If the reader closed the
/// pipe, it has seen enough, and the run is done.
///
/// # Errors
///
/// Something could not be written, now or before.
pub(super) fn finish(
    settings: &OutputSettings,
    output: Output<EventStream>,
    ended: RunOutcome,
) -> Result<RunOutcome, Error> {
    match output.finish() {
        // A screen is closed when everything was seen, and the run ended as it did.
        Err(_) if matches!(settings.options.format, Format::Screen(_)) => Ok(ended),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(RunOutcome::Done),
        Err(source) => Err(write_error(settings, source)),
        Ok(()) => Ok(ended),
    }
}

/// The error of a failed write to the stream.
pub(super) fn write_error(settings: &OutputSettings, source: io::Error) -> Error {
    Error::Output { name: settings.name(), source }
}
