//! `beamscope extract`: the packets that matter, in a smaller capture; `beamscope facts`: what it needs to know from others.
//!
//! In: captures. Out: a pcapng file whose frames keep their numbers; or one JSON object. The library selects; this file
//! reads and writes.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;

use beamscope::capture::{
    self, Frame, Inputs, Interface, Item, Notice, Order, Progress, Receiver, Source,
};
use beamscope::clocks;
use beamscope::extract::{ExtractEnd, ExtractSummary, Facts, KeptItem, KeptItems, Selector};
use beamscope::render::{facts_line, read_facts, summary_line};
use beamscope::time::Timestamp;

use super::{OpenOutputs, confined, open_whole, write_whole};
use crate::cli::console::{self, Warnings, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::Trusted;
use crate::cli::save::{self, SavedInputs, Saver};
use crate::cli::settings::{ExtractSettings, FactsSettings, SaveTarget};
use crate::cli::sources;

/// Writes the packets of a capture that matter.
///
/// # Errors
///
/// A file of facts cannot be read, no packet was read, or the output cannot be written. A capture that cannot be read to its
/// end is reported, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: ExtractSettings) -> Result<RunOutcome, Error> {
    let ExtractSettings { capture, facts, config, save, summary, warnings, is_sandboxed } =
        settings;
    let mut known = Facts::default();
    for path in &facts {
        known.add(read(path)?);
    }
    let captures = [capture];
    sources::check_readable(&captures)?;
    let mut outputs = OpenOutputs::of_packets(save::open(&save, Trusted::default())?);
    outputs.events = summary.as_deref().map(open_whole).transpose()?;
    let _confined = confined(is_sandboxed, &captures, &outputs, Some(&save), false);
    let [capture] = &captures;
    let output = match &save.target {
        SaveTarget::File(path) => path.display().to_string(),
        SaveTarget::Stdout | SaveTarget::Rotating { .. } => console::STDOUT.to_owned(),
    };
    let inputs = Inputs::new(vec![sources::input(capture)], Order::Given)?;
    let names = vec![capture.display().to_string().into()];
    let saver = Saver::new(save, outputs.packets, SavedInputs { names, snaplen: 0 })?;
    let out = Extract { saver, first: None, frames: 0 };
    let selecting = Selecting::new(Selector::new(&config, &known), out, warnings);
    let SelectingEnd { mut selected, mut out, summary: mut read, is_incomplete } =
        selecting.run(inputs)?;
    if selected.frames == 0 && is_incomplete {
        return Ok(RunOutcome::Incomplete);
    }
    if selected.frames == 0 {
        let name = capture.display().to_string();
        return Err(Error::NoPackets { name, is_selected: false });
    }
    out.end(&selected);
    let is_saved = out.saver.finish();
    read.end(&mut selected, out.frames);
    if let Some((target, path)) = outputs.events.zip(summary) {
        write_whole(target, &path, &summary_line(&read))?;
    }
    if let Some(problem) = out.saver.take_problem() {
        report_error(&problem, None);
    }
    if is_saved {
        warnings.notice(&format_args!("{output}: {} of {} packets", out.frames, selected.frames));
    }
    Ok(if is_saved && !is_incomplete { RunOutcome::Done } else { RunOutcome::Incomplete })
}

/// Writes what captures show about others of the same traffic.
///
/// # Errors
///
/// No packet was read, or the output cannot be written. A capture that cannot be read to its end is reported, and the
/// outcome is then `Incomplete`.
pub(in crate::cli) fn facts(settings: &FactsSettings) -> Result<RunOutcome, Error> {
    let FactsSettings { captures, output, config, warnings, is_sandboxed } = settings;
    sources::check_readable(captures)?;
    let outputs = OpenOutputs::of_events(output.as_deref().map(open_whole).transpose()?);
    let _confined = confined(*is_sandboxed, captures, &outputs, None, false);
    let inputs = captures.iter().map(|path| sources::input(path)).collect();
    let mut inputs = Inputs::new(inputs, Order::Time)?;
    clocks::align(&mut inputs);
    let selector = Selector::new(config, &Facts::default());
    let SelectingEnd { selected, is_incomplete, .. } =
        Selecting::new(selector, NotWritten, *warnings).run(inputs)?;
    if selected.frames == 0 && is_incomplete {
        return Ok(RunOutcome::Incomplete);
    }
    if selected.frames == 0 {
        let names: Vec<_> = captures.iter().map(|path| path.display().to_string()).collect();
        return Err(Error::NoPackets { name: names.join(", "), is_selected: false });
    }
    let line = facts_line(selected.facts);
    let written = match outputs.events.zip(output.as_ref()) {
        Some((target, path)) => {
            write_whole(target, path, &line)?;
            RunOutcome::Done
        }
        None => console::print(&line)?,
    };
    Ok(if is_incomplete { RunOutcome::Incomplete } else { written })
}

/// Reads a file of facts.
fn read(path: &PathBuf) -> Result<Facts, Error> {
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|source| Error::Facts { name: name.clone(), source: source.into() })?;
    read_facts(io::BufReader::new(file)).map_err(|source| Error::Facts { name, source })
}

/// What of a capture is kept beside frames.
enum KeptExtra {
    Names(Vec<(IpAddr, Box<[u8]>)>),
    Interface { index: Option<u32>, interface: Interface },
}

/// Gives the items of a source to a selector.
struct Selecting<O> {
    selector: Selector<KeptExtra>,
    out: O,
    warnings: Warnings,
    summary: ExtractSummary,
    is_incomplete: bool,
}

/// What a selection has given.
struct SelectingEnd<O> {
    selected: ExtractEnd,
    out: O,
    /// What the captures lack; the rest is not counted yet.
    summary: ExtractSummary,
    is_incomplete: bool,
}

impl<O: KeptItems<KeptExtra>> Selecting<O> {
    fn new(selector: Selector<KeptExtra>, out: O, warnings: Warnings) -> Self {
        Self { selector, out, warnings, summary: ExtractSummary::default(), is_incomplete: false }
    }

    #[inline(never)] // the loop over frames
    fn run(mut self, mut inputs: Inputs) -> Result<SelectingEnd<O>, capture::Error> {
        let mut until = Timestamp::default();
        loop {
            match inputs.pump(&mut self)? {
                Progress::End => break,
                Progress::Idle(at) => until = until.max(at),
                Progress::More => {}
            }
        }
        inputs.close(&mut self);
        let Self { selector, mut out, summary, is_incomplete, .. } = self;
        let mut selected = selector.finish(&mut out);
        // The input may be an extract itself.
        selected.until = selected.until.max(until);
        Ok(SelectingEnd { selected, out, summary, is_incomplete })
    }
}

impl<O: KeptItems<KeptExtra>> Receiver for Selecting<O> {
    #[inline(always)] // the body of the loop over frames
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.selector.on_frame(frame, &mut self.out);
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        let extra = match item {
            Item::Frame(frame) => return self.on_frame(&frame),
            Item::Names { names, .. } => Some(KeptExtra::Names(names.to_vec())),
            Item::Interface { index, interface, .. } => {
                Some(KeptExtra::Interface { index, interface: interface.clone() })
            }
            Item::Failed { error, .. } => {
                self.is_incomplete = true;
                self.summary.add_damage("input_failed", error.to_string());
                report_error(&error, error.hint());
                None
            }
            Item::Notice(Notice { kind, detail, .. }) => {
                self.warnings.warn(&detail);
                self.summary.add_damage(kind.name(), detail);
                None
            }
            // Secrets are in the capture, and stay there.
            Item::KeyLog { .. } | Item::Drops(_) | Item::InterfaceState { .. } => None,
        };
        if let Some(extra) = extra {
            self.selector.on_other(extra, &mut self.out);
        }
        ControlFlow::Continue(())
    }
}

/// Takes what is kept, and writes none of it.
struct NotWritten;

impl KeptItems<KeptExtra> for NotWritten {
    fn on_kept(&mut self, _: KeptItem<'_, KeptExtra>) {}
}

/// Writes what is kept.
struct Extract {
    saver: Saver,
    /// The interface of the first frame.
    first: Option<Option<u32>>,
    frames: u64,
}

impl Extract {
    /// Writes how many frames the capture has, and up to when.
    fn end(&mut self, selected: &ExtractEnd) {
        let Some(interface) = self.first else { return };
        self.saver.count_received(0, interface, selected.frames);
        self.saver.go_on_until(selected.until);
    }
}

impl KeptItems<KeptExtra> for Extract {
    fn on_kept(&mut self, item: KeptItem<'_, KeptExtra>) {
        let Self { saver, first, frames } = self;
        match item {
            KeptItem::Frame(frame) => {
                *frames += 1;
                first.get_or_insert(frame.interface);
                saver.save(frame, frame.comments.iter().map(|comment| &**comment));
            }
            KeptItem::Other(KeptExtra::Names(names)) => saver.names(&names),
            KeptItem::Other(KeptExtra::Interface { index, interface }) => {
                saver.count(0, index, interface);
            }
        }
    }
}
