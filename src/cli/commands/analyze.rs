//! `beamscope CAPTURE...`: analyses capture files.
//!
//! In: [`AnalyzeSettings`]. Out: packets of the captures run through the engine, events written,
//! packets saved, and how the run ended.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beamscope::anonymize::{Anonymized, Replacements};
use beamscope::capture::{self, Frame, Input, Inputs, Item, ReadCounter};
use beamscope::drive::{self, Control};
use beamscope::engine::Engine;
use beamscope::record::{Anomaly, AnomalyKind, UnseenBecause};
use beamscope::render::{Format, Output};

use super::{
    Confined, OpenOutputs, anonymous_names, confined, finish_observations, finish_run,
    finish_saving, replacements, report_problem,
};
use crate::cli::console::{self, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::evidence_dir::EvidenceDir;
use crate::cli::keylog::KeyLogFiles;
use crate::cli::observations::{ObservationFile, sensor_of};
use crate::cli::place::Trusted;
use crate::cli::progress::FileProgress;
use crate::cli::save::{SavedInputs, Saver};
use crate::cli::selection::{Selected, Selection, SelectionOutcome};
use crate::cli::settings::AnalyzeSettings;
use crate::cli::sinks::{self, EventStream};
use crate::cli::sources;
use crate::cli::stop::StopCondition;
#[cfg(feature = "tui")]
use crate::cli::tui::Tui;

/// Analyses the captures.
///
/// # Errors
///
/// An option does not fit the captures, or a file for output cannot be opened or written. A capture
/// that cannot be read is reported, and the outcome is then `Incomplete`.
#[inline(never)] // the loop over frames, whose instructions are counted
pub(in crate::cli) fn run(mut settings: AnalyzeSettings) -> Result<RunOutcome, Error> {
    let (inputs, stop) = sources::inputs(&mut settings)?;
    let (output_settings, fail_on) = (settings.run.output.clone(), settings.run.fail_on);
    let run = &settings.run;
    let (save, evidence) = (run.save.as_ref(), run.evidence.as_ref());
    let observations = run.observations.as_ref();
    let outputs = OpenOutputs::open(&run.output, save, evidence, observations, Trusted::default())?;
    let has_screen = matches!(run.output.options.format, Format::Screen(_));
    let confined = confined(settings.is_sandboxed, &settings.captures, &outputs, save, has_screen);
    let inputs = CountedInputs::new(inputs, &settings)?;
    let opened = (inputs, outputs, confined);
    let (output, is_complete) = read(settings, opened, stop, None)?;
    finish_run(&output_settings, fail_on, output, is_complete)
}

/// The captures as one source, and how much of them was read.
pub(super) struct CountedInputs {
    pub(super) inputs: Inputs,
    read: ReadCounter,
}

impl CountedInputs {
    /// The inputs of a run with these settings.
    ///
    /// # Errors
    ///
    /// There are more than can be numbered.
    pub(super) fn new(inputs: Vec<Input>, settings: &AnalyzeSettings) -> Result<Self, Error> {
        let read = ReadCounter::default();
        let inputs = sources::merged(inputs, settings.order, settings.threads, read.clone())?;
        Ok(Self { inputs, read })
    }
}

/// Reads the captures, and whether they were read and saved completely. Events go to `output`, or to the one that the
/// settings name, which is opened once the selection is known to be valid.
///
/// # Errors
///
/// An option does not fit the captures, or a file for output cannot be opened.
pub(super) fn read(
    settings: AnalyzeSettings,
    (inputs, outputs, mut confined): (CountedInputs, OpenOutputs, Confined),
    stop: Option<StopCondition>,
    output: Option<Output<EventStream>>,
) -> Result<(Output<EventStream>, bool), Error> {
    let AnalyzeSettings { captures, selection, run, .. } = settings;
    let selection = Selection::new(selection, || sources::last_packet(&captures))?;
    let CountedInputs { mut inputs, read } = inputs;
    let names = inputs.names();
    let saved_names = if run.is_anonymized { anonymous_names(names.len()) } else { names.clone() };
    let mut anonymous = run.is_anonymized.then(|| Anonymous {
        replacements: replacements(&run.config),
        outcome: SelectionOutcome::default(),
    });
    // What is anonymised is selected before.
    let (selection, mut outer) = match &anonymous {
        Some(_) => (selection.everything(), Some(selection)),
        None => (selection, None),
    };
    let evidence_failed = Arc::<AtomicBool>::default();
    let limits = run.config.limits.evidence;
    let evidence = run.evidence.as_ref().zip(outputs.evidence).map(|(settings, directory)| {
        let read = captures.iter().filter_map(|path| console::identity(&fs::metadata(path).ok()?));
        let read = read.chain(console::stdin_identity()).collect();
        EvidenceDir::new(settings, directory, (&saved_names, read), limits, &evidence_failed)
    });
    let open = || sinks::open_output(&run.output, outputs.events, names.clone());
    let output = output.map_or_else(open, Ok)?;
    let mut engine = Engine::new(run.config, output);
    let observations = run.observations.as_ref().zip(outputs.observations);
    let observations = observations.map(|(settings, opened)| {
        let sensor = (!run.is_anonymized).then(|| sensor_of(&captures));
        ObservationFile::start(settings, opened, sensor, &saved_names)
    });
    let observations = observations.transpose()?;
    if let Some(file) = &observations {
        engine.record_facts(file.recorder());
    }
    let inputs_saved = SavedInputs { names: saved_names.clone(), snaplen: 0 };
    let saver = run.save.map(|save| Saver::new(save, outputs.packets, inputs_saved)).transpose()?;
    if let Some(evidence) = evidence {
        engine.keep_evidence(Box::new(evidence));
    }
    #[cfg(feature = "tui")]
    let tui = Tui::wanted(&run.output, names.join(", "))?;
    confined.complete();
    let mut control = AnalyzeControl {
        selection,
        left: run.packet_limit,
        stop,
        key_log: run.key_log,
        saver,
        is_incomplete: false,
        has_skipped: false,
    };
    // A run without an end of its own answers the signal with reports.
    let progress = control.stop.is_none().then(|| {
        let counts = engine.sink_mut().counts();
        FileProgress::start(&captures, read, counts, run.output.warnings)
    });
    match (&mut anonymous, &mut outer) {
        (Some(anonymous), Some(selection)) => {
            anonymous.run(inputs, selection, &mut engine, &mut control)?;
        }
        _ => drop(drive::run(&mut inputs, &mut engine, &mut control)?),
    }
    drop(progress);
    let AnalyzeControl { selection, saver, mut is_incomplete, mut has_skipped, .. } = control;
    let selection = outer.unwrap_or(selection);
    if let Some(Anonymous { outcome, .. }) = anonymous {
        is_incomplete |= outcome.has_failed;
        has_skipped |= outcome.has_skipped;
    }
    let spans = selection.spans();
    selection.warnings().iter().for_each(|warning| run.output.warnings.warn(warning));
    let is_saved = finish_saving(saver, &mut engine);
    let output = engine.finish();
    let are_observed = finish_observations(observations);
    #[cfg(feature = "tui")]
    tui.map_or(Ok(()), |tui| tui.finish(false))?;
    let is_read = is_incomplete || is_anything_read(&output, &names, has_skipped, spans);
    let is_complete = !is_incomplete
        && is_read
        && is_saved
        && are_observed
        && !evidence_failed.load(Ordering::Relaxed);
    Ok((output, is_complete))
}

/// A run whose packets are anonymised before they are analysed.
struct Anonymous {
    replacements: Replacements,
    outcome: SelectionOutcome,
}

impl Anonymous {
    #[inline(never)] // keeps another loop over frames out of the one that is counted
    fn run(
        &mut self,
        inputs: Inputs,
        selection: &mut Selection,
        engine: &mut FileEngine,
        control: &mut AnalyzeControl,
    ) -> Result<(), capture::Error> {
        let source = Selected::new(inputs, selection, &mut self.outcome);
        let mut source = Anonymized::new(source, &mut self.replacements);
        drive::run(&mut source, engine, control).map(|_| ())
    }
}

/// Reports an error if no packet was read, or none could be.
fn is_anything_read(
    output: &Output<EventStream>,
    names: &[Arc<str>],
    is_selected: bool,
    spans: Option<String>,
) -> bool {
    let Some(stats) = output.final_stats() else { return true };
    if stats.packets == 0 {
        report_error(&Error::NoPackets { name: names.join(", "), is_selected }, spans);
        return false;
    }
    let unread = stats.unseen.iter().find(|it| it.because == UnseenBecause::LinkType);
    let Some(unread) = unread else { return true };
    let is_nothing_else = stats.sessions.is_empty() && stats.epmd.is_empty();
    if is_nothing_else {
        let detail = unread.detail.clone();
        report_error(&Error::LinkTypes { detail }, Some(unread.remedy.clone()));
    }
    !is_nothing_else
}

/// Selects frames, saves them, and ends the run as the settings demand.
struct AnalyzeControl {
    selection: Selection,
    /// Packets left until the packet limit ends the run.
    left: u64,
    /// What ends a run with `--follow`, and when it reports in between.
    stop: Option<StopCondition>,
    /// Files with secrets of TLS, which may grow.
    key_log: KeyLogFiles,
    saver: Option<Saver>,
    /// Whether a capture could not be read, or not be filtered.
    is_incomplete: bool,
    /// Whether a frame was not selected.
    has_skipped: bool,
}

type FileEngine = Engine<Output<EventStream>>;

impl Control<Output<EventStream>> for AnalyzeControl {
    #[inline(always)]
    fn selects(&mut self, frame: &Frame<'_>, engine: &mut FileEngine) -> bool {
        let is_selected = self.selection.admits(frame);
        if !is_selected {
            self.on_skipped(frame, engine);
        }
        is_selected
    }

    #[inline(always)]
    fn after_frame(&mut self, frame: &Frame<'_>, engine: &mut FileEngine) -> ControlFlow<()> {
        self.left -= 1;
        if let Some(saver) = &mut self.saver {
            save(saver, frame, engine);
        }
        if self.left == 0 || engine.sink_mut().failed() {
            return ControlFlow::Break(());
        }
        if self.stop.is_some() { self.check_stop(engine) } else { ControlFlow::Continue(()) }
    }

    fn after_item(&mut self, item: &Item<'_>, engine: &mut FileEngine) -> ControlFlow<()> {
        if let Some(saver) = &mut self.saver {
            saver.on_item(item);
        }
        self.check_stop(engine)
    }

    fn on_failure(
        &mut self,
        _: u16,
        error: capture::Error,
        engine: &mut FileEngine,
    ) -> ControlFlow<()> {
        self.is_incomplete = true;
        report_error(&error, error.hint());
        self.check_stop(engine)
    }

    fn on_pause(&mut self, engine: &mut FileEngine) -> ControlFlow<()> {
        self.key_log.read_on();
        self.check_stop(engine)
    }
}

impl AnalyzeControl {
    /// A frame was not selected: by its time or the filter, or because the filter does not fit its link type.
    #[cold]
    fn on_skipped(&mut self, frame: &Frame<'_>, engine: &mut FileEngine) {
        self.has_skipped = true;
        if let Some(error) = self.selection.take_error() {
            self.is_incomplete = true;
            report_error(&error, error.hint());
            let anomaly = Anomaly::new(AnomalyKind::UnsupportedLink, error.to_string());
            engine.on_input_anomaly(frame.id.input, anomaly);
        }
    }

    /// With `--follow`: makes the reports that are due, and ends the run on a signal or the time limit.
    #[inline(never)]
    fn check_stop(&mut self, engine: &mut FileEngine) -> ControlFlow<()> {
        let Some(stop) = &mut self.stop else { return ControlFlow::Continue(()) };
        if stop.is_met() {
            return ControlFlow::Break(());
        }
        let due = stop.due_reports();
        if due.cluster {
            engine.cluster();
        }
        if due.stats {
            engine.stats();
        }
        ControlFlow::Continue(())
    }
}

#[inline(never)] // keeps the saver's code out of the loop over frames
fn save(saver: &mut Saver, frame: &Frame<'_>, engine: &mut FileEngine) {
    saver.save(frame, frame.comments.iter().map(|comment| &**comment));
    report_problem(saver, engine);
}
