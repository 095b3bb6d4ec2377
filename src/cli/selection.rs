//! Which frames are analysed.
//!
//! In: the settings, and frames as they are read. Out: whether each goes on into the engine: those
//! between two times that match the filter.

use std::ops::ControlFlow;

use beamscope::capture::{self, Frame, Item, Progress, Receiver, Source};
use beamscope::time::{TimePoint, Timestamp, Zone};

use super::console::report_error;
use super::error::Error;
#[cfg(feature = "live")]
use super::filter::PacketFilter;
use super::settings::SelectionSettings;

/// The selection that the settings make.
pub(super) struct Selection {
    since: Timestamp,
    until: Timestamp,
    /// The first and the last time of the frames that are outside of this range.
    outside: Option<(Timestamp, Timestamp)>,
    zone: Zone,
    #[cfg(feature = "live")]
    filter: Option<Box<PacketFilter>>,
    /// Why frames are skipped that should have been analysed, until it is reported.
    error: Option<Error>,
}

impl Selection {
    /// Selects as the settings name it. `last` gives the time of the last packet, if one of the times counts from it.
    ///
    /// # Errors
    ///
    /// `last` fails, or the end is before the start.
    pub(super) fn new(
        settings: SelectionSettings,
        last: impl FnOnce() -> Result<Option<Timestamp>, Error>,
    ) -> Result<Self, Error> {
        let SelectionSettings { since, until, zone, .. } = &settings;
        let is_needed = since.iter().chain(until).any(TimePoint::needs_last);
        let last = if is_needed { last()? } else { None };
        let moment = |point: &Option<TimePoint>| point.and_then(|point| point.moment(zone, last));
        let since = moment(since).unwrap_or(Timestamp(0));
        let until = moment(until).unwrap_or(Timestamp(u64::MAX));
        if until < since {
            return Err(Error::EmptyWindow { since, until });
        }
        Ok(Self {
            since,
            until,
            outside: None,
            zone: settings.zone,
            #[cfg(feature = "live")]
            filter: settings.filter.map(|filter| Box::new(PacketFilter::new(filter))),
            error: None,
        })
    }

    /// The same selection, for another pass over the same frames.
    pub(super) fn begin_again(&mut self) {
        (self.outside, self.error) = (None, None);
        #[cfg(feature = "live")]
        if let Some(filter) = &mut self.filter {
            filter.begin_again();
        }
    }

    /// A selection of all frames, for those that were selected before.
    pub(super) fn everything(&self) -> Self {
        Self {
            since: Timestamp(0),
            until: Timestamp(u64::MAX),
            outside: None,
            zone: self.zone.clone(),
            #[cfg(feature = "live")]
            filter: None,
            error: None,
        }
    }

    /// Whether `frame` is analysed.
    #[inline(always)] // without a filter, two comparisons in the loop over frames
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> bool {
        if frame.at < self.since || frame.at > self.until {
            self.on_outside(frame.at);
            return false;
        }
        #[cfg(feature = "live")]
        if self.filter.is_some() {
            return self.matches(frame);
        }
        true
    }

    #[cold]
    fn on_outside(&mut self, at: Timestamp) {
        let (first, last) = self.outside.unwrap_or((at, at));
        self.outside = Some((first.min(at), last.max(at)));
    }

    /// From when to when the frames are that were outside of the range, as a sentence.
    pub(super) fn spans(&self) -> Option<String> {
        let Self { outside, zone, .. } = self;
        outside.map(|(first, last)| {
            format!(
                "the capture has packets from {} {} to {} {} {}",
                zone.date(first),
                zone.time_of_day(first),
                zone.date(last),
                zone.time_of_day(last),
                zone.abbreviation(last)
            )
        })
    }

    #[cfg(feature = "live")]
    #[inline(never)] // keeps the filter's code out of the loop over frames
    fn matches(&mut self, frame: &Frame<'_>) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        filter.matches(frame).unwrap_or_else(|error| {
            self.error = Some(error);
            false
        })
    }

    /// Why the last frame was skipped although it should have been analysed: the filter does not
    /// compile for its link type. The first frame of that type gives the error, all are skipped.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Warnings about packets that the filter may have missed.
    pub(super) fn warnings(&self) -> Vec<String> {
        #[cfg(feature = "live")]
        if let Some(filter) = &self.filter {
            return filter.warnings();
        }
        Vec::new()
    }
}

/// A source without the frames that are not selected.
pub(super) struct Selected<'s, S> {
    source: S,
    selection: &'s mut Selection,
    outcome: &'s mut SelectionOutcome,
}

/// What became of the frames of a [`Selected`] source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SelectionOutcome {
    /// Whether a frame was not selected.
    pub(super) has_skipped: bool,
    /// Whether frames were skipped because the filter does not fit their link type.
    pub(super) has_failed: bool,
}

impl<'s, S> Selected<'s, S> {
    /// The frames of `source` that `selection` admits.
    pub(super) const fn new(
        source: S,
        selection: &'s mut Selection,
        outcome: &'s mut SelectionOutcome,
    ) -> Self {
        Self { source, selection, outcome }
    }
}

impl<S: Source> Source for Selected<'_, S> {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, capture::Error> {
        let Self { source, selection, outcome } = self;
        source.pump(&mut SelectedFrames { selection, outcome, receiver })
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        let Self { source, selection, outcome } = self;
        source.close(&mut SelectedFrames { selection, outcome, receiver });
    }
}

/// Hands selected frames on.
struct SelectedFrames<'a, R> {
    selection: &'a mut Selection,
    outcome: &'a mut SelectionOutcome,
    receiver: &'a mut R,
}

impl<R: Receiver> Receiver for SelectedFrames<'_, R> {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        if self.selection.admits(frame) {
            return self.receiver.on_frame(frame);
        }
        self.outcome.has_skipped = true;
        if let Some(error) = self.selection.take_error() {
            self.outcome.has_failed = true;
            report_error(&error, error.hint());
        }
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        match item {
            Item::Frame(frame) => self.on_frame(&frame),
            other => self.receiver.on_item(other),
        }
    }
}
