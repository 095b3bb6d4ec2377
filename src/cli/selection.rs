//! Which frames are analysed.
//!
//! In: the settings, and frames as they are read. Out: whether each goes on into the engine: those
//! between two times that match the filter.

use beamscope::capture::Frame;
use beamscope::time::Timestamp;

use super::error::Error;
#[cfg(feature = "live")]
use super::filter::PacketFilter;
use super::settings::SelectionSettings;

/// The selection that the settings make.
pub(super) struct Selection {
    since: Timestamp,
    until: Timestamp,
    #[cfg(feature = "live")]
    filter: Option<Box<PacketFilter>>,
    /// Why frames are skipped that should have been analysed, until it is reported.
    error: Option<Error>,
}

impl Selection {
    /// Compiles the filter.
    ///
    /// # Errors
    ///
    /// The filter compiles for no link type.
    pub(super) fn new(settings: SelectionSettings) -> Result<Self, Error> {
        Ok(Self {
            since: settings.since,
            until: settings.until,
            #[cfg(feature = "live")]
            filter: settings.filter.map(PacketFilter::new).transpose()?.map(Box::new),
            error: None,
        })
    }

    /// Whether `frame` is analysed.
    #[inline(always)] // without a filter, two comparisons in the loop over frames
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> bool {
        if frame.at < self.since || frame.at > self.until {
            return false;
        }
        #[cfg(feature = "live")]
        if self.filter.is_some() {
            return self.matches(frame);
        }
        true
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
