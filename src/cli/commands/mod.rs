//! One file or folder for each command of the program, and what a run over files shares with a live
//! capture.

pub(super) mod analyze;
pub(super) mod annotate;
pub(super) mod diff;
pub(super) mod explain;
pub(super) mod extract;
#[cfg(feature = "nats")]
mod follow;
pub(super) mod ladder;
#[cfg(feature = "live")]
pub(super) mod live;
pub(super) mod merge;
mod merge_inputs;
pub(super) mod report;
pub(super) mod schema;
pub(super) mod shell;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beamscope::anonymize::Replacements;
use beamscope::engine::{Config, Engine};
use beamscope::record::{Anomaly, AnomalyKind, Severity, Stats};
use beamscope::render::Output;

#[cfg(feature = "live")]
use super::confine::reading::Confined;
#[cfg(feature = "live")]
use super::confine::sandbox::Writable;
use super::console::report_error;
use super::error::{Error, RunOutcome};
use super::evidence_dir;
use super::observations::{ObservationFile, OpenObservations};
use super::place::{Directory, FileMode, Target, Trusted};
use super::save::{self, Saver};
#[cfg(all(feature = "live", target_os = "linux"))]
use super::settings::SaveTarget;
use super::settings::{
    EvidenceSettings, FailSettings, ObservationSettings, OutputSettings, SaveSettings,
};
use super::sinks::{self, EventStream};

/// What a run writes to. It is open before anything is read, and what is in these files is there until they are started.
struct OpenOutputs {
    /// The file of events; `None` for standard output.
    events: Option<Target>,
    /// The file, or the files, of packets; `None` for standard output.
    packets: Option<Target>,
    evidence: Option<Directory>,
    /// Where what each connection showed goes.
    observations: Option<OpenObservations>,
}

impl OpenOutputs {
    /// Opens what the settings name.
    ///
    /// # Errors
    ///
    /// A file or directory cannot be made, or a link on the way is not followed.
    fn open(
        output: &OutputSettings,
        save: Option<&SaveSettings>,
        evidence: Option<&EvidenceSettings>,
        observations: Option<&ObservationSettings>,
        trusted: Trusted,
    ) -> Result<Self, Error> {
        let evidence = evidence.map(|it| evidence_dir::directory(it, trusted)).transpose()?;
        let packets = save.map(|save| save::open(save, trusted)).transpose()?.flatten();
        let observations =
            observations.map(|it| OpenObservations::open(it, trusted)).transpose()?;
        Ok(Self { events: sinks::open_file(output, trusted)?, packets, evidence, observations })
    }

    /// One file of packets.
    fn of_packets(packets: Option<Target>) -> Self {
        Self { events: None, packets, evidence: None, observations: None }
    }

    /// One file of events, or a drawing.
    fn of_events(events: Option<Target>) -> Self {
        Self { events, packets: None, evidence: None, observations: None }
    }

    /// Where files are made later: all that rotates, all evidence, and, where SIGHUP `reopens` them, the others.
    #[cfg(all(feature = "live", target_os = "linux"))]
    fn made_later(&self, save: Option<&SaveSettings>, reopens: bool) -> Vec<Writable> {
        let target = save.map(|save| &save.target);
        let events = self.events.as_ref().filter(|_| reopens).map(|it| (it, false));
        let packets = self.packets.as_ref().and_then(|it| match target {
            Some(SaveTarget::Rotating { keep, .. }) => Some((it, keep.is_some())),
            _ => reopens.then_some((it, false)),
        });
        let files = events.into_iter().chain(packets).filter_map(|(target, removes)| {
            let (file, is_directory) = target.place.to_make().ok()?;
            Some(match (is_directory, removes) {
                (false, _) => Writable::File(file),
                (true, false) => Writable::Directory(file),
                (true, true) => Writable::DirectoryWithRemoval(file),
            })
        });
        let evidence = self.evidence.as_ref().and_then(|it| it.to_make().ok());
        let places = files.chain(evidence.map(Writable::DirectoryWithRemoval));
        #[cfg(feature = "nats")]
        let places = {
            let published = self.observations.as_ref().and_then(|it| it.publishing.as_ref());
            let spool = published.and_then(|(spool, _)| spool.directory().to_make().ok());
            places.chain(spool.map(Writable::Directory))
        };
        places.collect()
    }

    /// Nothing is confined on this system.
    #[cfg(all(feature = "live", not(target_os = "linux")))]
    fn made_later(&self, _: Option<&SaveSettings>, _: bool) -> Vec<Writable> {
        Vec::new()
    }
}

/// Gives up what reading the files does not need, unless the settings forbid it. `has_screen`: a screen is started later.
#[cfg(feature = "live")]
fn confined(
    is_wanted: bool,
    read: &[PathBuf],
    outputs: &OpenOutputs,
    save: Option<&SaveSettings>,
    has_screen: bool,
) -> Confined {
    if !is_wanted {
        return Confined::default();
    }
    let key_logs = save.and_then(|save| save.key_logs.as_deref()).unwrap_or_default();
    let read = [read, key_logs].concat();
    Confined::reading(&read, outputs.made_later(save, false), has_screen)
}

/// A run that no sandbox confines: this build has none.
#[cfg(not(feature = "live"))]
#[derive(Default)]
struct Confined;

#[cfg(not(feature = "live"))]
impl Confined {
    /// There is nothing to complete.
    fn complete(&mut self) {}
}

#[cfg(not(feature = "live"))]
const fn confined(
    _: bool,
    _: &[PathBuf],
    _: &OpenOutputs,
    _: Option<&SaveSettings>,
    _: bool,
) -> Confined {
    Confined
}

/// Replacements with which a run is anonymised: ports that the settings name stay, so that the same settings fit.
fn replacements(config: &Config) -> Replacements {
    let kept = config.dist_ports.iter().flat_map(Clone::clone);
    Replacements::new(&config.epmd_ports, kept, config.limits.anonymize)
}

/// What so many inputs are called in files that are anonymised.
fn anonymous_names(inputs: usize) -> Vec<Arc<str>> {
    (1..=inputs).map(|number| format!("capture {number}").into()).collect()
}

/// Reports once, as a warning and as an event, why packets are not saved.
fn report_problem(saver: &mut Saver, engine: &mut Engine<Output<EventStream>>) {
    if let Some(detail) = saver.take_problem() {
        saver.warnings.warn(&detail);
        engine.on_anomaly(Anomaly::new(AnomalyKind::NotSaved, detail));
    }
}

/// Writes the rest of the packets. `false` if not all could be saved.
fn finish_saving(saver: Option<Saver>, engine: &mut Engine<Output<EventStream>>) -> bool {
    let Some(mut saver) = saver else { return true };
    let is_saved = saver.finish();
    report_problem(&mut saver, engine);
    is_saved
}

/// Opens a file that is written at once at the end; what is in it is still there.
fn open_whole(path: &Path) -> Result<Target, Error> {
    Target::open(path, Trusted::default(), WHOLE).map_err(|source| Error::output(path, source))
}

/// Writes such a file.
fn write_whole(mut target: Target, path: &Path, text: &str) -> Result<(), Error> {
    let write = |mut file: File| file.write_all(text.as_bytes());
    target.start(WHOLE).and_then(write).map_err(|source| Error::output(path, source))
}

/// How such a file is opened.
const WHOLE: FileMode = FileMode { is_private: false, appends: false };

/// Writes the rest of what the connections showed. `false` if not all could be written.
fn finish_observations(file: Option<ObservationFile>) -> bool {
    let written = file.map_or(Ok(()), ObservationFile::finish);
    if let Err(error) = &written {
        report_error(error, error.hint());
    }
    written.is_ok()
}

/// Writes the rest of the events and decides how the run ended.
fn finish_run(
    settings: &OutputSettings,
    fail_on: FailSettings,
    mut output: Output<EventStream>,
    is_complete: bool,
) -> Result<RunOutcome, Error> {
    if let Some(warning) = output.nothing_fits() {
        settings.warnings.warn(&warning);
    }
    let stats = output.final_stats();
    let has_failed = fail_on.least.is_some_and(|least| {
        // A finding for information only has no state.
        let all = fail_on.on_solved || least == Severity::Info;
        let unsolved = stats.and_then(|stats| stats.problems.worst());
        let worst = if all { output.worst() } else { unsolved };
        worst >= Some(least)
    });
    let expected = stats.map(|stats| stats.expected.as_slice()).unwrap_or_default();
    let has_failed = has_failed || expected.iter().any(|pair| !pair.connected);
    let is_decided = stats.is_some_and(Stats::is_decided);
    let is_complete = is_complete && (is_decided || !fail_on.require_complete);
    if fail_on.require_complete && !is_decided {
        let error = Error::Undecided;
        let remedy = stats.and_then(|stats| stats.unseen.first()).map(|it| it.remedy.clone());
        report_error(&error, remedy);
    }
    let ended = match (is_complete, has_failed) {
        (false, _) => RunOutcome::Incomplete,
        (true, true) => RunOutcome::Found,
        (true, false) => RunOutcome::Done,
    };
    sinks::finish(settings, output, ended)
}
