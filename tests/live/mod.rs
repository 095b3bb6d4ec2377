//! Capturing from interfaces, and captures of real nodes that the tests start themselves.

mod faults;
#[cfg(feature = "live")]
mod harm;
#[cfg(feature = "live")]
mod loopback;
mod messages;
#[cfg(feature = "live")]
mod nodes;
#[cfg(feature = "live")]
mod save;
#[cfg(feature = "live")]
mod soak;
