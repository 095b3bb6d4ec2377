//! `beamscope CAPTURE...`: analyses capture files.
//!
//! In: [`AnalyzeSettings`]. Out: packets of the captures pushed into the engine, events written,
//! packets saved, and how the run ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use beamscope::capture::save::Described;
use beamscope::capture::{self, Inputs, Item, Notice, NoticeKind};
use beamscope::engine::Engine;
use beamscope::packet::FrameRef;
use beamscope::record::{Anomaly, AnomalyKind};
use beamscope::render::Output;

use super::super::console::report_error;
use super::super::error::{Error, RunOutcome};
use super::super::evidence_dir::EvidenceDir;
use super::super::save::Saver;
use super::super::selection::Selection;
use super::super::settings::AnalyzeSettings;
use super::super::sinks::{self, EventStream};
use super::super::sources;
use super::super::stop::StopCondition;
use super::{finish_run, finish_saving, report_problem};

/// Analyses the captures.
///
/// # Errors
///
/// An option does not fit the captures, or a file for output cannot be opened or written. A capture
/// that cannot be read is reported, and the outcome is then `Incomplete`.
#[inline(never)] // the loop over frames, whose instructions are counted
pub(in super::super) fn run(settings: AnalyzeSettings) -> Result<RunOutcome, Error> {
    let (inputs, mut stop) = sources::inputs(&settings)?;
    let AnalyzeSettings { captures, order, selection, threads, run, .. } = settings;
    let mut selection = Selection::new(selection)?;
    let names: Vec<Arc<str>> = captures.iter().map(|path| path.to_string_lossy().into()).collect();
    let mut inputs = Inputs::new(inputs, order)?.with_threads(threads);
    let evidence_failed = Arc::<AtomicBool>::default();
    let limits = run.config.limits.evidence;
    let open_evidence = |it| EvidenceDir::open(it, &names, limits, &evidence_failed);
    let evidence = run.evidence.as_ref().map(open_evidence).transpose()?;
    let mut pipeline = Engine::new(run.config, sinks::open_output(&run.output, names.clone())?);
    let mut saver = run.save.map(Saver::open).transpose()?;
    if let Some(evidence) = evidence {
        pipeline.keep_evidence(Box::new(evidence));
    }
    let mut left = run.packet_limit;
    let mut unfiltered = false;
    let mut listed = vec![0; captures.len()];
    let mut saved_names = vec![0; captures.len()];
    loop {
        let (mut look_for_names, mut save_for) = (None, None);
        // By reference: moving the item, which was just built, would stall on store forwarding.
        match &inputs.next_item() {
            None => break,
            Some(Item::Frame(frame)) if selection.admits(frame) => {
                pipeline.push_frame(frame);
                if let Some(saver) = &mut saver {
                    saver.stage(frame);
                    save_for = Some(frame.id.input);
                }
                left -= 1;
                if frame.id.number % NAMES_EVERY == 1 {
                    look_for_names = Some(frame.id.input);
                }
            }
            Some(Item::Frame(frame)) => {
                if let Some(error) = selection.take_error() {
                    unfiltered = true;
                    report_error(&error, error.hint());
                    pipeline.on_input_anomaly(frame.id.input, left_out(error.to_string()));
                }
            }
            Some(Item::Notice(notice)) => {
                pipeline.on_input_anomaly(notice.after.input, anomaly(notice.clone()));
            }
        }
        if let (Some(saver), Some(input)) = (&mut saver, save_for) {
            save_names(&inputs, input, &mut saved_names, saver);
            saver.save_staged(
                |frame| comments(&inputs, frame),
                |input, interface| described(&inputs, &names, input, interface),
            );
            report_problem(saver, &mut pipeline);
        }
        if let Some(input) = look_for_names {
            hand_on_names(&inputs, input, &mut listed, &mut pipeline);
        }
        let is_stopped = stop.as_ref().is_some_and(StopCondition::is_met);
        if left == 0 || pipeline.sink_mut().failed() || is_stopped {
            break;
        }
        if let Some(stop) = &mut stop {
            let due = stop.due_reports();
            if due.cluster {
                pipeline.cluster();
            }
            if due.stats {
                pipeline.stats();
            }
        }
    }
    for input in (0..u16::MAX).take(captures.len()) {
        hand_on_names(&inputs, input, &mut listed, &mut pipeline);
    }
    selection.warnings().iter().for_each(|warning| run.output.warnings.warn(warning));
    let errors = inputs.take_errors();
    for (input, error) in &errors {
        report_error(error, error.hint());
        pipeline.on_input_anomaly(*input, unreadable(error));
    }

    let interfaces = || (0..u16::MAX).take(captures.len()).flat_map(|n| inputs.interfaces(n));
    let kernel = interfaces().filter_map(|interface| interface.os_drop).reduce(u64::saturating_add);
    let device = interfaces().filter_map(|interface| interface.if_drop).reduce(u64::saturating_add);
    pipeline.drops(kernel, device);
    if let Some(saver) = &mut saver {
        for input in (0..u16::MAX).take(captures.len()) {
            save_names(&inputs, input, &mut saved_names, saver);
            for (interface, counts) in (0..).zip(inputs.interfaces(input)) {
                saver.count(input, Some(interface), counts.clone());
            }
        }
    }
    let is_saved = finish_saving(saver, &mut pipeline);
    let is_complete =
        !unfiltered && errors.is_empty() && is_saved && !evidence_failed.load(Ordering::Relaxed);
    finish_run(&run.output, run.fail_on, pipeline.finish(), is_complete)
}

/// Saves the names of addresses that `input` has brought since the last time; `saved` counts those of
/// each input.
fn save_names(inputs: &Inputs, input: u16, saved: &mut [usize], saver: &mut Saver) {
    let names = &inputs.annotations(input).names;
    if let Some(saved) = saved.get_mut(usize::from(input)) {
        saver.names(names.get(*saved..).unwrap_or_default());
        *saved = names.len();
    }
}

/// The comments on a frame that has just been read.
fn comments(inputs: &Inputs, frame: FrameRef) -> impl Iterator<Item = &[u8]> {
    let all = &inputs.annotations(frame.input).comments;
    let others = all.iter().rposition(|(on, _)| *on != frame).map_or(0, |last| last + 1);
    all.get(others..).unwrap_or_default().iter().map(|(_, text)| &**text)
}

/// What an interface of an input is called: as its capture says, or as the input.
fn described(inputs: &Inputs, names: &[Arc<str>], input: u16, interface: Option<u32>) -> Described {
    let known = interface.and_then(|interface| inputs.interface(input, interface));
    let name = known.and_then(|known| known.name.clone());
    let input = || names.get(usize::from(input)).map(|name| name.to_string());
    Described { name: name.or_else(input), snaplen: 0 }
}

/// Gives the pipeline the names of addresses that `input` has brought since the last time; `listed` counts
/// those of each input that it has.
fn hand_on_names(
    inputs: &Inputs,
    input: u16,
    listed: &mut [usize],
    pipeline: &mut Engine<Output<EventStream>>,
) {
    let Some(listed) = listed.get_mut(usize::from(input)) else { return };
    let names = &inputs.annotations(input).names;
    for (ip, name) in names.iter().skip(*listed) {
        pipeline.on_listed_name(*ip, name);
    }
    *listed = names.len();
}

/// What the reader noticed, as an event tells it.
pub(super) fn anomaly(notice: Notice) -> Anomaly {
    let kind = match notice.kind {
        NoticeKind::Truncated => AnomalyKind::InputTruncated,
        NoticeKind::Corrupt => AnomalyKind::InputCorrupt,
    };
    Anomaly { kind, field: None, offset: Some(notice.offset), detail: notice.detail }
}

/// What frames that the filter could not judge mean for the events.
const fn left_out(detail: String) -> Anomaly {
    Anomaly::new(AnomalyKind::UnsupportedLink, detail)
}

/// What a reader that failed half-way means for the events.
fn unreadable(error: &capture::Error) -> Anomaly {
    let (kind, offset) = match error {
        capture::Error::Read { offset, .. } => (AnomalyKind::InputTruncated, Some(*offset)),
        _ => (AnomalyKind::InputUnreadable, None),
    };
    Anomaly { kind, field: None, offset, detail: error.to_string() }
}

/// Frames between two looks for names: they stand before the first frame, or anywhere.
const NAMES_EVERY: u64 = 256;
