//! Giving up every right that capturing or reading does not need, once all is open.

#[cfg(target_os = "linux")]
mod calls;
pub(super) mod privileges;
pub(super) mod reading;
pub(super) mod sandbox;
