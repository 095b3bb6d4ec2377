//! Confining a run that reads captures: a capture may come from anywhere, and its author gains nothing from an error in what
//! parses it.
//!
//! In: what the run reads, and where it makes files later. Out: a process without capabilities, which can read those files and
//! nothing else, and has no system calls for sockets, other programs or other processes. Must run before the first thread
//! starts. What the system does not have, or does not allow, is left out: reading needs no rights to begin with.

use std::path::{Path, PathBuf};

use super::privileges::{self, FileRights};
use super::sandbox::{Sandbox, SandboxKind, Writable};

/// A run that is confined, but for the system calls that a screen needs to start.
#[derive(Default)]
pub(in crate::cli) struct Confined {
    sandbox: Option<Sandbox>,
}

impl Confined {
    /// Drops all rights but those that reading `read`, and making files in `writable`, needs. `has_screen`: a screen is
    /// started after this.
    pub(in crate::cli) fn reading(
        read: &[PathBuf],
        writable: Vec<Writable>,
        has_screen: bool,
    ) -> Self {
        let rights = FileRights::needed(read, &writable);
        // A system that does not let a process give up its rights is no reason to read nothing.
        let _ = privileges::drop_others(None, rights);
        let terminal = Path::new("/dev/tty");
        let more = has_screen.then(|| Writable::terminal(terminal)).flatten();
        let writable: Vec<_> = writable.into_iter().chain(more).collect();
        let read: Vec<_> =
            read.iter().map(PathBuf::as_path).chain(FOR_FILTERS.map(Path::new)).collect();
        let sandbox = Sandbox::restrict_files(true, &read, &writable);
        let mut confined = Self { sandbox: Some(sandbox) };
        if !has_screen {
            confined.complete();
        }
        confined
    }

    /// Blocks the system calls that reading does not need, if that was not done.
    pub(in crate::cli) fn complete(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            let _ = sandbox.restrict_calls(SandboxKind::Reading);
        }
    }
}

/// What libpcap reads when a filter is compiled for a link type that is unusual: names of services and protocols.
const FOR_FILTERS: [&str; 2] = ["/etc/services", "/etc/protocols"];
