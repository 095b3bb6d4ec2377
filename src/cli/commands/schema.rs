//! `beamscope schema`: the JSON Schema of the lines that a run writes.

use beamscope::render;

use super::super::console::print;
use super::super::error::{Error, RunOutcome};

/// Prints the schema.
///
/// # Errors
///
/// Standard output cannot be written.
pub(in super::super) fn run() -> Result<RunOutcome, Error> {
    print(render::schema())
}
