//! Giving up every right that capturing or reading does not need, once all is open.

#[cfg(target_os = "linux")]
mod calls;
mod kind;
#[cfg(feature = "nats")]
pub(super) mod network;
pub(super) mod privileges;
pub(super) mod reading;
pub(super) mod sandbox;
