//! `beamscope schema`: the JSON Schema of the lines that a run writes.

use beamscope::render;

use crate::cli::console::print;
use crate::cli::error::{Error, RunOutcome};

/// Prints the schema.
///
/// # Errors
///
/// Standard output cannot be written.
pub(in crate::cli) fn run() -> Result<RunOutcome, Error> {
    print(render::schema())
}
