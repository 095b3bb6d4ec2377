//! Observations: what the bytes of a connection showed, before any judgement and in no output format.

pub mod messages;
