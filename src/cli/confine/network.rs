//! Confining the process that talks to a server: what the server sends may come from anybody who can reach it, or who reaches
//! this process in its place.
//!
//! In: the files that it reads later, and its spool. Out: a process that can connect, read these files and what names are
//! looked up with, and remove files of the spool; that starts no program. Must run before the first thread starts.

use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::privileges::{self, UserAccount};
use super::sandbox::{Sandbox, SandboxKind, Writable};
use crate::cli::error::Error;

/// Gives up all rights but those to connect, to read `files`, and to read and remove files of the spool. A system that does
/// not have a restriction runs without it.
///
/// # Errors
///
/// Privileges cannot be dropped, and another user was wanted.
pub(in crate::cli) fn confine(
    is_sandboxed: bool,
    account: Option<&UserAccount>,
    files: &[PathBuf],
    spool: Option<&Path>,
) -> Result<(), Error> {
    // Under the sandbox of another program, or without the right to give up rights, this may not be possible.
    let dropped = privileges::drop_all(account);
    if account.is_some() {
        dropped?;
    }
    if !is_sandboxed {
        return Ok(());
    }
    let files = files.iter().map(PathBuf::as_path);
    let read: Vec<_> = files.chain(FOR_NAMES.map(Path::new)).chain(spool).collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let spool = spool.and_then(|path| rustix::fs::open(path, flags, Mode::empty()).ok());
    let spool: Vec<_> = spool.map(Writable::DirectoryWithRemoval).into_iter().collect();
    let sandbox = Sandbox::restrict_files_of_client(&read, &spool);
    let _ = sandbox.restrict_calls(SandboxKind::Network);
    Ok(())
}

/// What the C library reads to look up a name, and what certificates of servers are checked with. Where a program replaces
/// `/etc/resolv.conf` itself, as some DHCP clients do, the new file cannot be read: the others write into the directories.
const FOR_NAMES: [&str; 24] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/tls/certs",
    "/etc/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/var/lib/ca-certificates",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    // Where /etc/resolv.conf is a link to.
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_other_services_cannot_be_read() {
        for keys in ["/etc/ssl/private", "/etc/pki/tls/private"] {
            let is_within = |place: &&&str| Path::new(keys).starts_with(**place);
            assert_eq!(FOR_NAMES.iter().find(is_within), None, "{keys}");
        }
    }
}
