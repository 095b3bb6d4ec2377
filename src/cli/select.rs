//! Which frames are looked at.
//!
//! In: the arguments, and frames as they are read. Out: whether each goes on into the pipeline:
//! those between two times that the filter lets pass.

use beamscope::capture::Frame;
use beamscope::time::Timestamp;

use super::Error;
use super::args::Args;
#[cfg(feature = "live")]
use super::filter::{self, Filter};

/// The selection that the arguments make.
pub(super) struct Selection {
    since: Timestamp,
    until: Timestamp,
    #[cfg(feature = "live")]
    filter: Option<Box<Filter>>,
    /// Why frames are left out that were to be looked at, until it is told.
    trouble: Option<Error>,
}

impl Selection {
    /// Reads the arguments, and the filter's file where they name one.
    ///
    /// # Errors
    ///
    /// The end is before the beginning; the filter cannot be read, is understood for no link type,
    /// or this build has no filters.
    pub(super) fn new(args: &Args) -> Result<Self, Error> {
        let since = args.since.unwrap_or(Timestamp(0));
        let until = args.until.unwrap_or(Timestamp(u64::MAX));
        if until < since {
            return Err(Error::EmptyWindow { since, until });
        }
        #[cfg(not(feature = "live"))]
        if args.filter.is_some() || args.filter_file.is_some() {
            return Err(Error::NoFilter);
        }
        Ok(Self {
            since,
            until,
            #[cfg(feature = "live")]
            filter: filter::text(args)?.map(Filter::new).transpose()?.map(Box::new),
            trouble: None,
        })
    }

    /// Whether `frame` is looked at.
    #[inline(always)] // a few instructions, where nothing is filtered
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> bool {
        if frame.at < self.since || frame.at > self.until {
            return false;
        }
        #[cfg(feature = "live")]
        if self.filter.is_some() {
            return self.passes(frame);
        }
        true
    }

    #[cfg(feature = "live")]
    #[inline(never)]
    fn passes(&mut self, frame: &Frame<'_>) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        filter.admits(frame).unwrap_or_else(|trouble| {
            self.trouble = Some(trouble);
            false
        })
    }

    /// Why a frame was not admitted that should have been looked at: the filter does not compile for its link
    /// type. Told at the first of them, all are left out.
    pub(super) fn take_trouble(&mut self) -> Option<Error> {
        self.trouble.take()
    }

    /// What the filter may have hidden, a sentence each.
    pub(super) fn doubts(&self) -> Vec<String> {
        #[cfg(feature = "live")]
        if let Some(filter) = &self.filter {
            return filter.doubts();
        }
        Vec::new()
    }
}
