//! What tests of the real binary share: how it is started, and the captures of the project.

#![allow(dead_code, reason = "no test uses all of it")]

use std::path::Path;
use std::process::{Command, Output};

/// The capture of the story in README.md.
pub(crate) const SEED: &str = "captures/seed-lan-wrong-then-right-cookie.pcap";

/// The binary with these arguments, to be run in the project's folder, so that captures have the
/// same names everywhere.
pub(crate) fn beamscope(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CLICOLOR_FORCE");
    command
}

/// Standard output of a run that must end with status 0.
pub(crate) fn lines_of(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = beamscope(arguments).output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// The project's own captures, as `captures/NAME`, sorted.
pub(crate) fn captures() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("captures/{}", entry.unwrap().file_name().to_string_lossy()))
        .filter(|name| name.contains(".pcap"))
        .collect();
    names.sort();
    names
}
