//! `beamscope extract -i`: the packets of interfaces that matter, written as they come.
//!
//! In: interfaces, signals, time. Out: a pcapng file that is whole whenever it is read. Nothing waits for a reader.

use std::ops::ControlFlow;
use std::sync::Arc;

use beamscope::capture::live::LiveSource;
use beamscope::capture::{self, Frame, Item, Progress, Receiver, Source};
use beamscope::extract::Selector;

use super::startup::{self, LiveCapture, StartedExtract};
use crate::cli::commands::extract::{Extract, Selecting, finish, known};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::settings::{ExtractSettings, LiveExtractSettings};

/// Captures from the interfaces and writes the packets that matter.
///
/// # Errors
///
/// An interface or a file cannot be opened, privileges cannot be dropped, or the summary cannot be written. An interface that
/// is lost during the run is reported, and the outcome is then `Incomplete`.
pub(in crate::cli) fn run(settings: LiveExtractSettings) -> Result<RunOutcome, Error> {
    let LiveExtractSettings { interfaces, options, user, stop, extract } = settings;
    let ExtractSettings { is_sandboxed, facts, config, save, summary, warnings, .. } = extract;
    let known = known(&facts)?;
    let output = save.target.name();
    let opened = (is_sandboxed, save, summary.as_deref());
    let started = startup::start_extract((&interfaces, &options), user.as_deref(), &stop, opened)?;
    let StartedExtract { capture, saver, summary: target } = started;
    let LiveCapture { interfaces, names, stop, held_back, .. } = capture;
    // The same words as those of tcpdump: from here on no packet is missed.
    warnings.notice(&format_args!("listening on {}", names.join(", ")));
    let names: Vec<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
    let mut source = OneInterface(LiveSource::new(interfaces, held_back, stop.clone()));
    let selector = Selector::new(&config, &known);
    let selecting = Selecting::new(selector, Extract::new(saver), names.clone(), warnings);
    let end = selecting.run(&mut source, |selecting| {
        selecting.advance();
        let saver = &mut selecting.out.saver;
        if stop.takes_reopen() {
            saver.reopen();
        }
        saver.flush();
        // Without the file, there is nothing to do.
        if saver.is_open() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let drops = end.drops;
    let dropped = drops.kernel.unwrap_or(0).saturating_add(drops.interface.unwrap_or(0));
    if dropped > 0 {
        warnings.warn(&format_args!(
            "{dropped} packets were dropped before they could be read; --buffer-size makes room for more"
        ));
    }
    finish(end, &names, &output, target.zip(summary), warnings)
}

/// A source of which each input has one interface. The frames of "any" contain their interface themselves.
struct OneInterface<S>(S);

impl<S: Source> Source for OneInterface<S> {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, capture::Error> {
        self.0.pump(&mut WithoutInterface(receiver))
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        self.0.close(&mut WithoutInterface(receiver));
    }
}

/// Takes frames without their interface.
struct WithoutInterface<'a, R>(&'a mut R);

impl<R: Receiver> Receiver for WithoutInterface<'_, R> {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.0.on_frame(&Frame { interface: None, ..*frame })
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        self.0.on_item(item)
    }
}
