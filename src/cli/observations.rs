//! Where `--observations` and `--publish` put what each connection of a run showed, for `beamscope merge`.
//!
//! In: facts as the engine settles them. Out: lines in a file of the user alone, or in a spool that another process sends.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use beamscope::engine::FactRecorder;
use beamscope::observe::Recorded;
use beamscope::render::{observations_head, write_observation};

use super::error::Error;
#[cfg(feature = "nats")]
use super::nats::{Publisher, Spool};
use super::place::{FileMode, Target, Trusted};
#[cfg(feature = "nats")]
use super::settings::PublishSettings;
use super::settings::{ObservationSettings, is_stdin};

/// Only the owner reads it: it has names of nodes and hosts, and with `--include-secrets` challenges and digests.
const OPENING: FileMode = FileMode { is_private: true, appends: false };

/// What observations are written to, open.
#[derive(Debug, Default)]
pub(super) struct OpenObservations {
    /// The file; what is in it is still there.
    pub(super) file: Option<Target>,
    /// The spool, and the process that sends it.
    #[cfg(feature = "nats")]
    pub(super) publishing: Option<(Spool, Publisher)>,
}

impl OpenObservations {
    /// Opens what the settings name, and starts to publish what an earlier run left.
    ///
    /// # Errors
    ///
    /// The file or the spool cannot be made, a link on the way is not followed, or no process can be started.
    pub(super) fn open(settings: &ObservationSettings, trusted: Trusted) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            Target::open(path, trusted, OPENING).map_err(|source| Error::output(path, source))
        };
        Ok(Self {
            file: settings.file.as_ref().map(open).transpose()?,
            #[cfg(feature = "nats")]
            publishing: settings.publish.as_ref().map(|it| publishing(it, trusted)).transpose()?,
        })
    }
}

#[cfg(feature = "nats")]
fn publishing(settings: &PublishSettings, trusted: Trusted) -> Result<(Spool, Publisher), Error> {
    let PublishSettings { nats, spool: path, spool_size, user, warnings } = settings;
    let spool = Spool::open(path, *spool_size, trusted);
    let spool = spool.map_err(|source| Error::output(path, source))?;
    let publisher = Publisher::start(nats, (path, &spool), user.as_deref(), warnings.are_off())?;
    Ok((spool, publisher))
}

/// The observations of a run, as they are written.
pub(super) struct ObservationFile {
    path: Option<PathBuf>,
    lines: Arc<Mutex<ObservationLines>>,
    #[cfg(feature = "nats")]
    publisher: Option<Publisher>,
}

struct ObservationLines {
    file: Option<BufWriter<File>>,
    line: Vec<u8>,
    /// The first write that failed; nothing is written behind it.
    failure: Option<io::Error>,
    #[cfg(feature = "nats")]
    spool: Option<SpooledRun>,
}

/// The spool of a run.
#[cfg(feature = "nats")]
struct SpooledRun {
    spool: Spool,
    /// The directory, for messages.
    path: PathBuf,
    sensor: Arc<str>,
    warnings: super::console::Warnings,
}

#[cfg(feature = "nats")]
impl SpooledRun {
    fn add(&mut self, connection: Option<&str>, line: &[u8]) {
        self.spool.add(&self.sensor, connection, line);
        if let Some(error) = self.spool.take_failure() {
            let path = self.path.display();
            self.warnings.warn(&format_args!(
                "the spool {path} takes no more: {error}; the rest of this run is not published"
            ));
        }
    }
}

impl ObservationLines {
    fn fact(&mut self, fact: &Recorded) {
        self.line.clear();
        write_observation(&mut self.line, fact);
        if let Some(file) = &mut self.file
            && self.failure.is_none()
        {
            self.failure = file.write_all(&self.line).err();
        }
        #[cfg(feature = "nats")]
        if let Some(run) = &mut self.spool {
            let connection = fact.fact.settled().map(|it| &*it.connection.session_id);
            run.add(connection, &self.line);
        }
    }
}

impl ObservationFile {
    /// Empties the file and begins it, and the run in the spool. `inputs` are the names that facts number inputs by, the first
    /// of which names the sensor where neither the user nor `usual` does.
    ///
    /// # Errors
    ///
    /// The file cannot be emptied or written.
    pub(super) fn start(
        settings: &ObservationSettings,
        opened: OpenObservations,
        usual: Option<Arc<str>>,
        inputs: &[Arc<str>],
    ) -> Result<Self, Error> {
        let named = settings.sensor.clone().or(usual);
        let sensor = named.or_else(|| inputs.first().cloned()).unwrap_or_default();
        let head = observations_head(&sensor, inputs);
        let path = settings.file.clone();
        let begin = |mut file: File| file.write_all(head.as_bytes()).map(|()| file);
        let start = |(mut target, path): (Target, &PathBuf)| {
            target.start(OPENING).and_then(begin).map_err(|e| Error::output(path, e))
        };
        let file = opened.file.zip(path.as_ref()).map(start).transpose()?;
        #[cfg(feature = "nats")]
        let (spool, publisher) = match (opened.publishing, &settings.publish) {
            (Some((spool, publisher)), Some(settings)) => {
                let (path, warnings) = (settings.spool.clone(), settings.warnings);
                let mut run = SpooledRun { spool, path, sensor, warnings };
                run.add(None, head.as_bytes());
                (Some(run), Some(publisher))
            }
            _ => (None, None),
        };
        let lines = ObservationLines {
            file: file.map(BufWriter::new),
            line: Vec::new(),
            failure: None,
            #[cfg(feature = "nats")]
            spool,
        };
        Ok(Self {
            path,
            lines: Arc::new(Mutex::new(lines)),
            #[cfg(feature = "nats")]
            publisher,
        })
    }

    /// What the engine gives its facts to.
    pub(super) fn recorder(&self) -> FactRecorder {
        let lines = Arc::clone(&self.lines);
        Box::new(move |fact| lines.lock().unwrap_or_else(PoisonError::into_inner).fact(fact))
    }

    /// Writes what is buffered, once the run is over, and waits a little until it is published.
    ///
    /// # Errors
    ///
    /// Something could not be written, now or before.
    pub(super) fn finish(self) -> Result<(), Error> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = lines.file.as_mut().map_or(Ok(()), BufWriter::flush);
        let written = lines.failure.take().map_or(flushed, Err);
        #[cfg(feature = "nats")]
        let run = lines.spool.take();
        drop(lines);
        #[cfg(feature = "nats")]
        if let Some((run, publisher)) = run.zip(self.publisher) {
            finish_publishing(&run, publisher)?;
        }
        let path = self.path.unwrap_or_default();
        written.map_err(|source| Error::output(&path, source))
    }
}

/// Waits until what is in the spool is sent, or cannot be sent now, which is no error: the next run sends it.
#[cfg(feature = "nats")]
fn finish_publishing(run: &SpooledRun, publisher: Publisher) -> Result<(), Error> {
    let path = run.path.display();
    match publisher.finish() {
        Some(0) => {}
        Some(left) => run.warnings.warn(&format_args!(
            "{left} bytes of observations are not published yet; they wait in {path} for the next run with this --spool"
        )),
        None => run.warnings.warn(&format_args!(
            "the process that publishes has ended; what it has not sent waits in {path}"
        )),
    }
    match run.spool.lost() {
        0 => Ok(()),
        lost => Err(Error::Nats {
            detail: format!(
                "{lost} observations found no room in {path}: the end of this run is not published"
            ),
        }),
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
