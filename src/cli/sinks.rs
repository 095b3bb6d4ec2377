//! Where events go: standard output or a file.
//!
//! In: [`OutputSettings`]. Out: an [`Output`] of the library over a stream of bytes that is open, and
//! the outcome of the run once everything is written.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use beamscope::render::{BackgroundWriter, Format, Output};

use super::console;
use super::error::{Error, RunOutcome};
use super::settings::OutputSettings;

/// The stream that events are written to.
pub(super) type EventStream = Box<dyn Write + Send>;

/// Opens the stream, and in front of it a thread if the settings want one. `inputs` are the names of
/// the inputs as events show them.
///
/// # Errors
///
/// The file cannot be created, or the thread cannot be started.
pub(super) fn open_output(
    settings: &OutputSettings,
    inputs: Vec<Arc<str>>,
) -> Result<Output<EventStream>, Error> {
    let mut out = open_stream(settings)?;
    if settings.in_background {
        let writer = BackgroundWriter::start(out);
        out = Box::new(writer.map_err(|source| write_error(settings, source))?);
    }
    Ok(Output::new(out, inputs, settings.options.clone()))
}

/// Opens the stream.
///
/// # Errors
///
/// The file cannot be created.
pub(super) fn open_stream(settings: &OutputSettings) -> Result<EventStream, Error> {
    let Some(path) = &settings.file else { return Ok(console::stdout()) };
    let file = if settings.append { append_to(path) } else { File::create(path) };
    Ok(Box::new(file.map_err(|source| write_error(settings, source))?))
}

/// Opens the file again, which another program may have moved away. What it contains is kept. `None`
/// for standard output.
#[cfg(feature = "live")]
pub(super) fn reopen_stream(settings: &OutputSettings) -> Option<Result<EventStream, Error>> {
    let file = append_to(settings.file.as_ref()?);
    Some(match file {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(write_error(settings, source)),
    })
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

fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}
