//! Events and messages as JSON.

pub(super) mod message;
