//! What each connection of a run showed, as lines of JSON that another run reads.
//!
//! In: facts. Out: a line that describes the run, a line for each fact, and back.

use std::io::{self, BufRead};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::read::{KeptLines, ReadError};
use crate::observe::{ContentDigest, Recorded, VERSION};
use crate::render::escape::escape;

/// The first line of a file of observations.
#[derive(Debug, Deserialize, Serialize)]
struct ObservationsHead {
    v: u8,
    #[serde(rename = "type")]
    kind: String,
    sensor: Arc<str>,
    inputs: Vec<Arc<str>>,
}

/// Of the first line of any file, what shows which kind it is of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyHead {
    v: u64,
    #[serde(rename = "type")]
    kind: Option<String>,
    event_type: Option<String>,
}

/// Why a file is none of observations.
#[derive(Debug, thiserror::Error)]
pub enum NoObservations {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has no line at all.
    #[error("it is empty; expected what beamscope --observations writes")]
    Empty,
    /// It has events, which lack what a verdict rests on.
    #[error("it has events, and a verdict on several runs needs what each connection showed")]
    Events,
    /// It is no file of this program.
    #[error("expected what beamscope --observations writes: {found}")]
    OtherContent {
        /// What is wrong with it.
        found: String,
    },
    /// It was written by another version.
    #[error("version {found} of the format is not read, only {VERSION}")]
    OtherVersion {
        /// The version of the file.
        found: u64,
    },
}

/// The line that begins a file of observations.
pub fn observations_head(sensor: &Arc<str>, inputs: &[Arc<str>]) -> String {
    let (sensor, inputs) = (Arc::clone(sensor), inputs.to_vec());
    let head = ObservationsHead { v: VERSION, kind: KIND.to_owned(), sensor, inputs };
    let mut line = serde_json::to_string(&head).unwrap_or_default();
    line.push('\n');
    line
}

/// Appends a fact as one line.
pub fn write_observation(out: &mut Vec<u8>, fact: &Recorded) {
    // The types have no map with keys of their own, and memory takes every byte.
    let _ = serde_json::to_writer(&mut *out, fact);
    out.push(b'\n');
}

/// The facts in a file of observations.
pub struct KeptObservations<R> {
    lines: KeptLines<R>,
    sensor: Arc<str>,
    inputs: Vec<Arc<str>>,
    digest: ContentDigest,
}

impl<R: BufRead> KeptObservations<R> {
    /// Reads the line that begins the file.
    ///
    /// # Errors
    ///
    /// The input cannot be read, or is no file of observations of this version.
    pub fn open(lines: R) -> Result<Self, NoObservations> {
        let mut lines = KeptLines::new(lines);
        let other = |found: String| NoObservations::OtherContent { found };
        match lines.read() {
            Ok(true) => {}
            Ok(false) => return Err(NoObservations::Empty),
            Err(ReadError::Io(source)) => return Err(NoObservations::Io(source)),
            Err(error) => return Err(other(error.to_string())),
        }
        let bytes = lines.line();
        let wrong = |e: serde_json::Error| other(escape(&e.to_string()).into_owned());
        let any: AnyHead = serde_json::from_slice(bytes).map_err(wrong)?;
        if any.event_type.is_some() {
            return Err(NoObservations::Events);
        }
        if any.kind.as_deref() != Some(KIND) {
            return Err(other(format!("the type of its first line is not \"{KIND}\"")));
        }
        if any.v != u64::from(VERSION) {
            return Err(NoObservations::OtherVersion { found: any.v });
        }
        let ObservationsHead { sensor, inputs, .. } =
            serde_json::from_slice(bytes).map_err(wrong)?;
        let mut digest = ContentDigest::default();
        digest.add(observations_head(&sensor, &inputs).as_bytes());
        Ok(Self { lines, sensor, inputs, digest })
    }

    /// Name of the sensor that the facts are of.
    pub const fn sensor(&self) -> &Arc<str> {
        &self.sensor
    }

    /// Names of the inputs of its run.
    pub fn inputs(&self) -> &[Arc<str>] {
        &self.inputs
    }

    /// Digest of what was read so far.
    pub fn digest(&self) -> Arc<str> {
        self.digest.clone().finish()
    }

    /// Length of the line of the last fact, in bytes.
    pub fn line_bytes(&self) -> usize {
        self.lines.line().len()
    }

    /// The next fact; `None` when there is none left. The lines behind one that is no fact can still be read.
    ///
    /// # Errors
    ///
    /// The input cannot be read, or a line is no fact of this version.
    pub fn next_fact(&mut self) -> Result<Option<Recorded>, ReadError> {
        if !self.lines.read()? {
            return Ok(None);
        }
        self.digest.add(self.lines.line());
        let fact: Recorded = self.lines.parse()?;
        if fact.version != VERSION {
            return Err(self.lines.wrong(&format!("its version is {}", fact.version)));
        }
        Ok(Some(fact))
    }
}

/// The type of these files.
const KIND: &str = "observations";
