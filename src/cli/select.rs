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
    filter: Option<Filter>,
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
            filter: filter::text(args)?.map(Filter::new).transpose()?,
        })
    }

    /// Whether `frame` is looked at.
    ///
    /// # Errors
    ///
    /// The filter does not compile for its link type: told at the first of them, all are left out.
    #[inline(always)] // beside a result that goes through memory
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        if frame.at < self.since || frame.at > self.until {
            return Ok(false);
        }
        #[cfg(feature = "live")]
        if let Some(filter) = &mut self.filter {
            return filter.admits(frame);
        }
        Ok(true)
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
