//! What a merge reads: the parts of each sensor, and what of them cannot be used.
//!
//! In: files of observations, captures, and what sensors published. Out: a [`Part`] for each run.

use std::io::BufRead;
#[cfg(feature = "nats")]
use std::io::Cursor;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use beamscope::capture::{self, Input, Order, ReadCounter};
use beamscope::drive::{self, Control};
use beamscope::engine::{Config, Engine};
use beamscope::limits::MergeLimits;
use beamscope::merge::Part;
use beamscope::observe::{Anomaly, AnomalyKind, ContentDigest, Recorded};
use beamscope::record::{Event, EventSink};
use beamscope::render::{KeptObservations, ReadError, observations_head, write_observation};

use crate::cli::console::report_error;
use crate::cli::error::Error;
#[cfg(feature = "nats")]
use crate::cli::nats::{GatheredRun, Gathering, MessageReader};
use crate::cli::observations::sensor_of;
#[cfg(feature = "nats")]
use crate::cli::settings::NatsSettings;
use crate::cli::sources;

/// What was read of the inputs.
pub(super) struct MergeInputs {
    pub(super) parts: Vec<Part>,
    /// Number of facts that are still kept; a long one counts as several.
    pub(super) left: usize,
    /// Inputs of which nothing can be used.
    pub(super) unread: Vec<(Error, Anomaly)>,
    /// Whether a capture could not be read.
    pub(super) has_failed: bool,
}

impl MergeInputs {
    /// The same, for another merge with what follows.
    #[cfg(feature = "nats")]
    pub(super) fn again(&self) -> Self {
        let Self { parts, left, has_failed, .. } = self;
        Self { parts: parts.clone(), left: *left, unread: Vec::new(), has_failed: *has_failed }
    }

    /// Reads what sensors published.
    ///
    /// # Errors
    ///
    /// The server cannot be read from, or has nothing.
    #[cfg(feature = "nats")]
    pub(super) fn published(
        &mut self,
        mut reader: MessageReader,
        nats: &NatsSettings,
        limits: &MergeLimits,
    ) -> Result<(), Error> {
        let mut gathering = Gathering::new(limits);
        while let Some(message) = reader.next()? {
            gathering.add(message);
        }
        self.add_unread(gathering.faults());
        for mut run in gathering.runs() {
            self.run(&mut run);
        }
        if gathering.is_empty() {
            let detail = format!(
                "stream {} has no observations of the subject {}.>; --nats-stream and --nats-subject name others",
                nats.stream, nats.subject
            );
            self.add_unread(vec![Anomaly::new(AnomalyKind::InputUnreadable, detail)]);
        }
        Ok(())
    }

    /// Takes in what of the messages of a server cannot be used.
    #[cfg(feature = "nats")]
    pub(super) fn add_unread(&mut self, faults: Vec<Anomaly>) {
        let error = |anomaly: &Anomaly| Error::Nats { detail: anomaly.detail.clone() };
        self.unread.extend(faults.into_iter().map(|anomaly| (error(&anomaly), anomaly)));
    }

    /// Reads what is there of a run that was published; its lines and faults are taken. `None` if nothing of it can be used.
    #[cfg(feature = "nats")]
    pub(super) fn run(&mut self, run: &mut GatheredRun) -> Option<&mut Part> {
        let faults = std::mem::take(&mut run.faults);
        let lines = std::mem::take(&mut run.lines);
        if lines.is_empty() {
            // Nothing is known of it but what is missing.
            self.add_unread(faults);
            return None;
        }
        self.observations(run.name.clone(), Box::new(Cursor::new(lines)), faults)
    }

    /// Reads a file of observations, or what is there of a run that was published. `faults`: what it is known to lack.
    pub(super) fn observations(
        &mut self,
        name: String,
        lines: Box<dyn BufRead + Send>,
        mut faults: Vec<Anomaly>,
    ) -> Option<&mut Part> {
        let mut kept = match KeptObservations::open(lines) {
            Ok(kept) => kept,
            Err(source) => {
                let error = Error::Observations { name, source };
                let anomaly = Anomaly::new(AnomalyKind::InputUnreadable, error.to_string());
                self.unread.push((error, anomaly));
                return None;
            }
        };
        let mut facts = Vec::new();
        let (mut first_wrong, mut wrong) = (None, 0_u64);
        loop {
            match kept.next_fact() {
                Ok(None) => break,
                Ok(Some(_)) if self.left < MergeLimits::cost(kept.line_bytes()) => {
                    self.left = 0;
                    let detail = format!(
                        "{name}: more facts than --max-memory permits of all inputs: the rest of this file is not used"
                    );
                    faults.push(Anomaly::new(AnomalyKind::Limit, detail));
                    break;
                }
                Ok(Some(fact)) => {
                    self.left -= MergeLimits::cost(kept.line_bytes());
                    facts.push(fact);
                }
                Err(error @ (ReadError::Io(_) | ReadError::Endless { .. })) => {
                    let detail = format!("{name}: {error}; the rest of this file is not used");
                    faults.push(Anomaly::new(AnomalyKind::InputTruncated, detail));
                    break;
                }
                Err(error) => {
                    wrong += 1;
                    first_wrong.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first_wrong {
            let unused = match wrong {
                1 => "that line is not used".to_owned(),
                _ => format!("{wrong} such lines are not used"),
            };
            let detail = format!("{name}: {error}; {unused}");
            faults.push(Anomaly::new(AnomalyKind::InputCorrupt, detail));
        }
        let part = Part {
            sensor: Arc::clone(kept.sensor()),
            inputs: kept.inputs().to_vec(),
            digest: kept.digest(),
            facts,
            faults,
            going: None,
        };
        self.parts.push(part);
        self.parts.last_mut()
    }

    /// Reads captures together, by time.
    pub(super) fn captures(
        &mut self,
        captures: Vec<Input>,
        paths: &[PathBuf],
        config: &Config,
    ) -> Result<(), Error> {
        let read = ReadCounter::default();
        let mut inputs = sources::merged(captures, Order::Time, NonZeroUsize::MIN, read)?;
        let names = inputs.names();
        let mut engine = Engine::new(config.clone(), NotReported);
        let recorded: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let (sink, most) = (Arc::clone(&recorded), self.left);
        engine.record_facts(Box::new(move |fact| {
            let mut facts = sink.lock().unwrap_or_else(PoisonError::into_inner);
            if facts.len() < most {
                facts.push(fact.clone());
            }
        }));
        let mut failures = CaptureFailures::default();
        drive::run(&mut inputs, &mut engine, &mut failures)?;
        self.has_failed |= failures.has_failed;
        engine.finish();
        let facts = std::mem::take(&mut *recorded.lock().unwrap_or_else(PoisonError::into_inner));
        let mut faults = Vec::new();
        if facts.len() >= most {
            let detail = "more facts than --max-memory permits of all inputs: the rest of the captures is not used";
            faults.push(Anomaly::new(AnomalyKind::Limit, detail.to_owned()));
        }
        self.left -= facts.len();
        let sensor = sensor_of(paths);
        let (mut digest, mut line) = (ContentDigest::default(), Vec::new());
        digest.add(observations_head(&sensor, &names).as_bytes());
        for fact in &facts {
            line.clear();
            write_observation(&mut line, fact);
            digest.add(&line);
        }
        self.parts.push(Part {
            sensor,
            inputs: names,
            digest: digest.finish(),
            facts,
            faults,
            going: None,
        });
        Ok(())
    }
}

/// Events of one sensor are not reported: those of the merge are.
struct NotReported;

impl EventSink for NotReported {
    fn event(&mut self, _: Event) {}
}

/// Reports captures that cannot be read; the engine has an anomaly of each.
#[derive(Default)]
struct CaptureFailures {
    has_failed: bool,
}

impl<S: EventSink> Control<S> for CaptureFailures {
    fn on_failure(&mut self, _: u16, error: capture::Error, _: &mut Engine<S>) -> ControlFlow<()> {
        report_error(&error, error.hint());
        self.has_failed = true;
        ControlFlow::Continue(())
    }
}
