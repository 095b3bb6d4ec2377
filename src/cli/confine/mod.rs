//! Giving up every right that capturing does not need, once all is open.

pub(super) mod privileges;
pub(super) mod sandbox;
