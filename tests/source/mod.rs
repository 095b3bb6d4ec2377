//! Rules for the source text itself.

mod layering;
