//! Prints the findings of capture files, worst first.
//!
//! ```text
//! cargo run --example analyze -- trace.pcapng
//! ```

use std::cmp::Reverse;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};

use beamscope::engine::Config;
use beamscope::record::Severity;

fn main() -> Result<(), Box<dyn Error>> {
    run(std::env::args_os().skip(1), &mut io::stdout())
}

/// Prints the findings of the captures at `paths`.
pub(crate) fn run(
    paths: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let analysis = beamscope::analyze(paths, Config::default())?;
    let mut findings: Vec<_> = analysis.findings(Severity::Info).collect();
    findings.sort_by_key(|finding| Reverse(finding.severity));
    for finding in findings {
        writeln!(out, "{:8} {}: {}", finding.severity.name(), finding.rule, finding.title)?;
    }
    for (input, error) in &analysis.failures {
        writeln!(out, "input {input} was read in part: {error}")?;
    }
    if analysis.stats().is_some_and(|stats| !stats.complete) {
        writeln!(out, "the captures lack packets, which may hide a cause")?;
    }
    Ok(())
}
