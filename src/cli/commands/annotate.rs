//! `beamscope annotate`: the packets of captures again, with comments on those that matter.
//!
//! In: [`AnnotateSettings`]. Out: a pcapng file. The captures are read twice: the analysis gives the comments, and the
//! second pass writes packets and comments. What the captures hold beside packets (names, secrets, comments, names of
//! interfaces, counters) is written as well.

use std::ops::ControlFlow;

use beamscope::anonymize::Anonymized;
use beamscope::capture::{self, Frame, Input, Item, Progress, ReadCounter, Receiver, Source};
use beamscope::drive::{self, Control};
use beamscope::engine::Engine;
use beamscope::packet::FrameRef;
use beamscope::record::{Body, Event, EventSink, Severity};
use beamscope::render::{CommentCollector, Comments};

use super::{OpenOutputs, anonymous_names, confined, replacements};
use crate::cli::console::{Warnings, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::Trusted;
use crate::cli::save::{self, SavedInputs, Saver};
use crate::cli::selection::{Selected, Selection, SelectionOutcome};
use crate::cli::settings::{AnnotateSettings, SaveSettings, SaveTarget};
use crate::cli::sources;

/// Writes the captures again with comments.
///
/// # Errors
///
/// An option does not fit the captures, no packet was read, or the output cannot be written. A capture that cannot be
/// read to its end is reported, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: AnnotateSettings) -> Result<RunOutcome, Error> {
    let AnnotateSettings { captures, order, selection, threads, config, .. } = settings;
    let warnings = settings.warnings;
    sources::check_readable(&captures)?;
    let outputs = OpenOutputs::of_packets(save::open(&settings.save, Trusted::default())?);
    let save = Some(&settings.save);
    let _confined = confined(settings.is_sandboxed, &captures, &outputs, save, false);
    let last = || sources::last_packet(&captures);
    let inputs = || {
        let inputs = captures.iter().cloned().map(Input::Path).collect();
        sources::merged(inputs, order, threads, ReadCounter::default())
    };
    let mut selected = Selection::new(selection, last)?;
    let mut replacements = settings.is_anonymized.then(|| replacements(&config));
    if let Some(replacements) = &mut replacements {
        // A first pass, so that no replacement is a name or an address of the capture.
        let mut outcome = SelectionOutcome::default();
        let source = Selected::new(inputs()?, &mut selected, &mut outcome);
        let mut source = Anonymized::new(source, replacements);
        while source.pump(&mut Nothing)? != Progress::End {}
        replacements.choose_anew();
    }
    let comments = CommentCollector::new(&config.limits, &settings.shown);
    let sink =
        AnalysisSink { comments, min_severity: settings.min_severity, warnings, findings: 0 };
    let mut engine = Engine::new(config, sink);
    let mut analysis = AnalysisControl { frames: 0, is_incomplete: false };
    let mut outcome = SelectionOutcome::default();
    selected.begin_again();
    let source = Selected::new(inputs()?, &mut selected, &mut outcome);
    match &mut replacements {
        None => drive::run(&mut { source }, &mut engine, &mut analysis)?,
        Some(replacements) => {
            drive::run(&mut Anonymized::new(source, replacements), &mut engine, &mut analysis)?
        }
    };
    let AnalysisSink { comments, findings, .. } = engine.finish();
    let comments = comments.finish();
    let mut copied = inputs()?;
    let names = copied.names();
    if analysis.frames == 0 {
        let name = names.join(", ");
        return Err(Error::NoPackets { name, is_selected: outcome.has_skipped });
    }
    selected.warnings().iter().for_each(|warning| warnings.warn(warning));
    if comments.left_out > 0 {
        warnings.warn(&format_args!(
            "{} comments are left out: there are more than can be kept in memory",
            comments.left_out
        ));
    }
    let save = SaveSettings { comment: section_comment(&comments), ..settings.save };
    let output = match &save.target {
        SaveTarget::File(path) => path.display().to_string(),
        SaveTarget::Stdout | SaveTarget::Rotating { .. } => "-".to_owned(),
    };
    let names = if replacements.is_some() { anonymous_names(names.len()) } else { names };
    let mut copy = Copy {
        left: analysis.frames,
        saver: Saver::new(save, outputs.packets, SavedInputs { names, snaplen: 0 })?,
        cursors: Cursors::new(&comments.packets),
        commented: 0,
    };
    let known: Vec<_> =
        comments.names.iter().map(|(ip, name)| (*ip, name.as_bytes().into())).collect();
    copy.saver.names(&known);
    let mut unused = SelectionOutcome::default();
    selected.begin_again();
    let source = Selected::new(copied, &mut selected, &mut unused);
    match &mut replacements {
        None => copy.run(source)?,
        Some(replacements) => copy.run(Anonymized::new(source, replacements))?,
    }
    let is_saved = copy.saver.finish();
    if let Some(problem) = copy.saver.take_problem() {
        report_error(&problem, None);
    }
    if is_saved {
        warnings.notice(&format_args!(
            "{output}: {} packets, {} of them with comments; {findings} findings",
            analysis.frames - copy.left,
            copy.commented,
        ));
    }
    let is_complete = is_saved && !analysis.is_incomplete && !outcome.has_failed;
    Ok(if is_complete { RunOutcome::Done } else { RunOutcome::Incomplete })
}

/// The comment of the file: what was found.
fn section_comment(comments: &Comments) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let found = if comments.capture.is_empty() { "no findings\n" } else { &comments.capture };
    format!("Annotated by beamscope {version}\n{}", found.trim_end())
}

/// Takes the events of the analysis.
struct AnalysisSink {
    comments: CommentCollector,
    min_severity: Severity,
    warnings: Warnings,
    findings: u64,
}

impl EventSink for AnalysisSink {
    fn event(&mut self, event: Event) {
        match &event.body {
            Body::Finding { finding } => {
                if finding.severity < self.min_severity {
                    return;
                }
                self.findings += u64::from(finding.revision.is_none());
            }
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => {
                self.warnings.warn(&anomaly.detail);
            }
            _ => {}
        }
        self.comments.event(event);
    }
}

/// Counts the frames of the analysis.
struct AnalysisControl {
    frames: u64,
    is_incomplete: bool,
}

impl Control<AnalysisSink> for AnalysisControl {
    fn after_frame(&mut self, _: &Frame<'_>, _: &mut Engine<AnalysisSink>) -> ControlFlow<()> {
        self.frames += 1;
        ControlFlow::Continue(())
    }

    fn on_failure(
        &mut self,
        _: u16,
        error: capture::Error,
        _: &mut Engine<AnalysisSink>,
    ) -> ControlFlow<()> {
        self.is_incomplete = true;
        report_error(&error, error.hint());
        ControlFlow::Continue(())
    }
}

/// Writes the frames of the second pass.
struct Copy<'a> {
    /// Frames that the analysis had and that are not written yet: a capture may have grown since.
    left: u64,
    saver: Saver,
    cursors: Cursors<'a>,
    /// Frames with comments of the analysis.
    commented: u64,
}

impl Copy<'_> {
    fn run(&mut self, mut source: impl Source) -> Result<(), capture::Error> {
        while self.left > 0 && source.pump(self)? != Progress::End {}
        source.close(self);
        Ok(())
    }
}

/// Takes the items of a pass that only looks.
struct Nothing;

impl Receiver for Nothing {
    fn on_frame(&mut self, _: &Frame<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, _: Item<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl Receiver for Copy<'_> {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        // The source may be closed after the last frame that the analysis had.
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        let own = self.cursors.next(frame.id);
        self.commented += u64::from(!own.is_empty());
        let is_own = |comment: &[u8]| own.iter().any(|(_, text)| text.as_bytes() == comment);
        // A capture that was annotated before has some of these comments already.
        let theirs = frame.comments.iter().map(|it| &**it).filter(|it| !is_own(it));
        let comments = theirs.chain(own.iter().map(|(_, text)| text.as_bytes()));
        self.saver.save(frame, comments);
        self.left -= 1;
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        if let Item::Frame(frame) = item {
            return self.on_frame(&frame);
        }
        self.saver.on_item(&item);
        ControlFlow::Continue(())
    }
}

/// The comments of each input that are not written yet.
struct Cursors<'a> {
    inputs: Vec<&'a [(FrameRef, Box<str>)]>,
}

impl<'a> Cursors<'a> {
    /// `comments` are in the order of their frames.
    fn new(comments: &'a [(FrameRef, Box<str>)]) -> Self {
        let inputs = comments.chunk_by(|(a, _), (b, _)| a.input == b.input);
        let mut all = Vec::new();
        for input in inputs {
            let index = input.first().map_or(0, |(frame, _)| usize::from(frame.input));
            all.resize(index, &[][..]);
            all.push(input);
        }
        Self { inputs: all }
    }

    /// The comments on a frame; frames of an input come in their order.
    fn next(&mut self, frame: FrameRef) -> &'a [(FrameRef, Box<str>)] {
        let Some(rest) = self.inputs.get_mut(usize::from(frame.input)) else { return &[] };
        if rest.first().is_none_or(|(next, _)| next.number > frame.number) {
            return &[];
        }
        let start = rest.partition_point(|(it, _)| it.number < frame.number);
        let end = rest.partition_point(|(it, _)| it.number <= frame.number);
        let own = rest.get(start..end).unwrap_or_default();
        *rest = rest.get(end..).unwrap_or_default();
        own
    }
}
