//! `beamscope extract`: the packets of captures that matter, in a smaller one; `beamscope facts`: what it needs to know from others.
//!
//! In: captures. Out: a pcapng file whose frames keep their inputs and numbers; or one JSON object. The library selects; this file
//! reads and writes.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use beamscope::capture::save::inputs_fit;
use beamscope::capture::{
    self, Drops, Frame, Interface, Item, Notice, Order, Progress, ReadCounter, Receiver,
    SecretsType, Source,
};
use beamscope::extract::{ExtractEnd, ExtractSummary, Facts, KeptItem, KeptItems, Selector};
use beamscope::render::{escape, facts_line, read_facts, summary_line};
use beamscope::time::Timestamp;

use super::{OpenOutputs, confined, open_whole, write_whole};
use crate::cli::console::{self, Warnings, report_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::place::{Target, Trusted};
use crate::cli::save::{self, SavedInputs, Saver, SecretsCopy};
use crate::cli::settings::{ExtractSettings, FactsSettings};
use crate::cli::sources;

/// Writes the packets of captures that matter.
///
/// # Errors
///
/// A file of facts cannot be read, no packet was read, or the output cannot be written. Or the captures are more than can be
/// numbered, or their paths do not fit into the output. A capture that cannot be read to its
/// end is reported, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: ExtractSettings) -> Result<RunOutcome, Error> {
    let ExtractSettings { captures, threads, facts, config, save, summary, warnings, .. } =
        settings;
    let known = known(&facts)?;
    sources::check_readable(&captures)?;
    let mut outputs = OpenOutputs::of_packets(save::open(&save, Trusted::default())?);
    outputs.events = summary.as_deref().map(open_whole).transpose()?;
    let _confined = confined(settings.is_sandboxed, &captures, &outputs, Some(&save), false);
    let inputs = captures.iter().map(|path| sources::input(path)).collect();
    let mut inputs = sources::merged(inputs, Order::Time, threads, ReadCounter::default())?;
    let names = inputs.names();
    if names.len() > 1 && !inputs_fit(&names) {
        return Err(Error::LongNames { inputs: names.len() });
    }
    let saved = SavedInputs { names: names.clone(), snaplen: 0 };
    let (output, keeps_secrets) = (save.target.name(), save.key_logs.is_some());
    let out = Extract::new(Saver::new(save, outputs.packets, saved)?);
    let selector = Selector::new(&config, &known);
    let mut selecting = Selecting::new(selector, out, names.clone(), warnings);
    selecting.keeps_secrets = keeps_secrets;
    let selected = selecting.run(&mut inputs, |_| ControlFlow::Continue(()))?;
    if selected.selected.frames == 0 && selected.is_incomplete {
        return Ok(RunOutcome::Incomplete);
    }
    if selected.selected.frames == 0 {
        return Err(Error::NoPackets { name: names.join(", "), is_selected: false });
    }
    finish(selected, &names, &output, outputs.events.zip(summary), warnings)
}

/// Reads what is known from other captures.
///
/// # Errors
///
/// A file cannot be read, or has no facts.
pub(super) fn known(facts: &[PathBuf]) -> Result<Facts, Error> {
    let mut known = Facts::default();
    for path in facts {
        known.add(read(path)?);
    }
    Ok(known)
}

/// Writes the rest of an extract and its summary, and reports what was written to `output`.
///
/// # Errors
///
/// The summary cannot be written.
pub(super) fn finish(
    end: SelectingEnd<Extract>,
    names: &[Arc<str>],
    output: &str,
    summary: Option<(Target, PathBuf)>,
    warnings: Warnings,
) -> Result<RunOutcome, Error> {
    let SelectingEnd { mut selected, mut out, summary: mut read, is_incomplete, .. } = end;
    out.end(&selected);
    let is_saved = out.saver.finish();
    let kept: Vec<_> = out.inputs.iter().map(|input| input.kept).collect();
    read.end(&mut selected, names, &kept);
    if let Some((target, path)) = summary {
        write_whole(target, &path, &summary_line(&read))?;
    }
    if let Some(problem) = out.saver.take_problem() {
        report_error(&problem, None);
    }
    if is_saved {
        warnings.notice(&format_args!("{output}: {} of {} packets", read.kept, read.packets));
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
    let read = ReadCounter::default();
    let mut inputs = sources::merged(inputs, Order::Time, NonZeroUsize::MIN, read)?;
    let names = inputs.names();
    let selector = Selector::new(config, &Facts::default());
    let SelectingEnd { selected, is_incomplete, .. } =
        Selecting::new(selector, NotWritten, names.clone(), *warnings)
            .run(&mut inputs, |_| ControlFlow::Continue(()))?;
    if selected.frames == 0 && is_incomplete {
        return Ok(RunOutcome::Incomplete);
    }
    if selected.frames == 0 {
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
pub(super) enum KeptExtra {
    Names(Vec<(IpAddr, Box<[u8]>)>),
    Interface { input: u16, index: Option<u32>, interface: Interface },
    Secrets(SecretsCopy),
}

impl KeptExtra {
    /// The bytes that it takes in memory, roughly.
    fn bytes(&self) -> usize {
        match self {
            Self::Names(names) => {
                names.iter().map(|(_, name)| size_of::<IpAddr>() + name.len()).sum()
            }
            Self::Interface { interface, .. } => interface.name.as_ref().map_or(0, String::len),
            Self::Secrets(copy) => copy.secrets().expose().len(),
        }
    }
}

/// Gives the items of a source to a selector.
pub(super) struct Selecting<O> {
    selector: Selector<KeptExtra>,
    pub(super) out: O,
    /// The names of the inputs.
    names: Vec<Arc<str>>,
    /// Whether secrets of TLS are kept, and what they open.
    keeps_secrets: bool,
    warnings: Warnings,
    summary: ExtractSummary,
    is_incomplete: bool,
    /// Packets that were dropped before they could be read.
    drops: Drops,
    /// The time up to which all frames were given, as far as the source knows it.
    until: Timestamp,
}

/// What a selection has given.
pub(super) struct SelectingEnd<O> {
    selected: ExtractEnd,
    out: O,
    /// What the captures lack; the rest is not counted yet.
    summary: ExtractSummary,
    is_incomplete: bool,
    /// Packets that were dropped before they could be read.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "a live capture reports them"))]
    pub(super) drops: Drops,
}

impl<O: KeptItems<KeptExtra>> Selecting<O> {
    pub(super) fn new(
        selector: Selector<KeptExtra>,
        out: O,
        names: Vec<Arc<str>>,
        warnings: Warnings,
    ) -> Self {
        let summary = ExtractSummary::default();
        Self {
            selector,
            out,
            names,
            keeps_secrets: false,
            warnings,
            summary,
            is_incomplete: false,
            drops: Drops::default(),
            until: Timestamp::default(),
        }
    }

    /// The name of an input, if they are several.
    fn name_of(&self, input: u16) -> Option<Arc<str>> {
        self.names.get(usize::from(input)).filter(|_| self.names.len() > 1).cloned()
    }

    /// Lets leave what has waited long, in a capture that goes on.
    #[cfg(feature = "live")]
    pub(super) fn advance(&mut self) {
        self.selector.advance(self.until, &mut self.out);
    }

    /// Reads a source to its end, or until `on_pause` ends it, which is called some times a second where packets come as
    /// they are sent.
    ///
    /// # Errors
    ///
    /// Waiting for packets fails.
    #[inline(never)] // the loop over frames
    pub(super) fn run(
        mut self,
        source: &mut impl Source,
        mut on_pause: impl FnMut(&mut Self) -> ControlFlow<()>,
    ) -> Result<SelectingEnd<O>, capture::Error> {
        loop {
            match source.pump(&mut self)? {
                Progress::End => break,
                Progress::Idle(at) => self.until = self.until.max(at),
                Progress::More => {}
            }
            if on_pause(&mut self).is_break() {
                break;
            }
        }
        source.close(&mut self);
        let Self { selector, mut out, summary, is_incomplete, drops, until, .. } = self;
        let mut selected = selector.finish(&mut out);
        // The input may be an extract itself.
        selected.until = selected.until.max(until);
        Ok(SelectingEnd { selected, out, summary, is_incomplete, drops })
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
            Item::Interface { input, index, interface } => {
                Some(KeptExtra::Interface { input, index, interface: interface.clone() })
            }
            Item::Failed { input, error } => {
                self.is_incomplete = true;
                self.summary.add_damage("input_failed", error.to_string(), self.name_of(input));
                report_error(&error, error.hint());
                None
            }
            Item::Notice(Notice { after, kind, detail, .. }) => {
                let input = self.name_of(after.input);
                match &input {
                    Some(name) => self.warnings.warn(&format_args!("{}: {detail}", escape(name))),
                    None => self.warnings.warn(&detail),
                }
                self.summary.add_damage(kind.name(), detail, input);
                None
            }
            Item::KeyLog { secrets, .. } if self.keeps_secrets => {
                if secrets.kind == SecretsType::TLS_KEY_LOG {
                    self.selector.add_secrets(secrets.expose());
                }
                Some(KeptExtra::Secrets(SecretsCopy::new(&secrets)))
            }
            // Secrets are in the capture, and stay there.
            Item::KeyLog { .. } => None,
            Item::Drops(drops) => {
                self.drops = drops;
                None
            }
            Item::InterfaceState { device, is_up, .. } => {
                let state = if is_up { "is up again" } else { "is down: no packets come from it" };
                self.warnings.warn(&format_args!("{} {state}", escape(device)));
                None
            }
        };
        if let Some(extra) = extra {
            let bytes = extra.bytes();
            self.selector.on_other(extra, bytes, &mut self.out);
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
pub(super) struct Extract {
    pub(super) saver: Saver,
    inputs: Vec<KeptOfInput>,
}

/// What was kept of one input.
#[derive(Clone, Copy, Default)]
struct KeptOfInput {
    /// The interface of its first frame.
    first: Option<u32>,
    /// Number of its frames.
    kept: u64,
}

impl Extract {
    /// Writes with a saver, which has written nothing so far.
    pub(super) const fn new(saver: Saver) -> Self {
        Self { saver, inputs: Vec::new() }
    }

    /// Writes how many frames each input has, and up to when all go.
    fn end(&mut self, selected: &ExtractEnd) {
        for (input, (of, frames)) in (0..).zip(self.inputs.iter().zip(&selected.inputs)) {
            if of.kept > 0 {
                self.saver.count_received(input, of.first, *frames);
            }
        }
        self.saver.go_on_until(selected.until);
    }
}

impl KeptItems<KeptExtra> for Extract {
    fn on_kept(&mut self, item: KeptItem<'_, KeptExtra>) {
        let Self { saver, inputs } = self;
        match item {
            KeptItem::Frame(frame) => {
                let place = usize::from(frame.id.input);
                if inputs.len() <= place {
                    inputs.resize(place + 1, KeptOfInput::default());
                }
                if let Some(input) = inputs.get_mut(place) {
                    if input.kept == 0 {
                        input.first = frame.interface;
                    }
                    input.kept += 1;
                }
                saver.save(frame, frame.comments.iter().map(|comment| &**comment));
            }
            KeptItem::Other(KeptExtra::Names(names)) => saver.names(&names),
            KeptItem::Other(KeptExtra::Interface { input, index, interface }) => {
                saver.count(input, index, interface);
            }
            KeptItem::Other(KeptExtra::Secrets(copy)) => saver.secrets(&copy.secrets()),
        }
    }
}
