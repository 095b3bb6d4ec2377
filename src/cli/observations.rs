//! The file of `--observations`: what each connection of a run showed, for `beamscope merge`.
//!
//! In: facts as the engine settles them. Out: lines in a file of the user alone.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use beamscope::engine::FactRecorder;
use beamscope::observe::Recorded;
use beamscope::render::{observations_head, write_observation};

use super::error::Error;
use super::place::{FileMode, Target, Trusted};
use super::settings::{ObservationSettings, is_stdin};

/// Only the owner reads it: it has names of nodes and hosts, and with `--include-secrets` challenges and digests.
const OPENING: FileMode = FileMode { is_private: true, appends: false };

/// Opens the file of the settings; what is in it is still there.
///
/// # Errors
///
/// It cannot be made, or a link on the way is not followed.
pub(super) fn open(settings: &ObservationSettings, trusted: Trusted) -> Result<Target, Error> {
    let opened = Target::open(&settings.file, trusted, OPENING);
    opened.map_err(|source| Error::output(&settings.file, source))
}

/// A file of observations that is being written.
pub(super) struct ObservationFile {
    path: PathBuf,
    lines: Arc<Mutex<ObservationLines>>,
}

struct ObservationLines {
    file: BufWriter<File>,
    line: Vec<u8>,
    /// The first write that failed; nothing is written behind it.
    failure: Option<io::Error>,
}

impl ObservationLines {
    fn fact(&mut self, fact: &Recorded) {
        self.line.clear();
        write_observation(&mut self.line, fact);
        if self.failure.is_none() {
            self.failure = self.file.write_all(&self.line).err();
        }
    }
}

impl ObservationFile {
    /// Empties the file and begins it. `inputs` are the names that facts number inputs by, the first of which names the
    /// sensor where neither the user nor `usual` does.
    ///
    /// # Errors
    ///
    /// The file cannot be emptied or written.
    pub(super) fn start(
        settings: &ObservationSettings,
        mut target: Target,
        usual: Option<Arc<str>>,
        inputs: &[Arc<str>],
    ) -> Result<Self, Error> {
        let path = settings.file.clone();
        let named = settings.sensor.clone().or(usual);
        let sensor = named.or_else(|| inputs.first().cloned()).unwrap_or_default();
        let head = observations_head(&sensor, inputs);
        let begin = |mut file: File| file.write_all(head.as_bytes()).map(|()| file);
        let file = target.start(OPENING).and_then(begin).map_err(|e| Error::output(&path, e))?;
        let lines =
            ObservationLines { file: BufWriter::new(file), line: Vec::new(), failure: None };
        Ok(Self { path, lines: Arc::new(Mutex::new(lines)) })
    }

    /// What the engine gives its facts to.
    pub(super) fn recorder(&self) -> FactRecorder {
        let lines = Arc::clone(&self.lines);
        Box::new(move |fact| lines.lock().unwrap_or_else(PoisonError::into_inner).fact(fact))
    }

    /// Writes what is buffered, once the run is over.
    ///
    /// # Errors
    ///
    /// Something could not be written, now or before.
    pub(super) fn finish(self) -> Result<(), Error> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let written = lines.failure.take().map_or_else(|| lines.file.flush(), Err);
        drop(lines);
        written.map_err(|source| Error::output(&self.path, source))
    }
}

/// The name of a sensor that reads these captures, if the user gives none: the file name of the first.
pub(super) fn sensor_of(captures: &[PathBuf]) -> Arc<str> {
    let first = captures.first().map_or_else(|| Path::new("-"), PathBuf::as_path);
    let name = if is_stdin(first) { None } else { first.file_name() };
    name.map_or_else(|| "stdin".into(), |name| name.to_string_lossy().into())
}

/// The name of a sensor that captures on this host, if the user gives none; `None` if the system does not show it in a
/// file.
#[cfg(feature = "live")]
pub(super) fn host_name() -> Option<Arc<str>> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let names = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    let mut names = names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    names.next().filter(|name| super::console::is_safe(name)).map(Arc::from)
}
