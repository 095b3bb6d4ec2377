//! Dropping every privilege once all files and interfaces are open.
//!
//! In: the user of `-Z`, if any. Out: a process without capabilities that cannot get any. Must run
//! before the first thread starts: Linux keeps privileges for each thread.

use std::fs;
#[cfg(target_os = "linux")]
use std::io;
use std::os::fd::BorrowedFd;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::{Gid, Uid};
#[cfg(target_os = "linux")]
use rustix::process::geteuid;
#[cfg(target_os = "linux")]
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::sandbox::Writable;

use crate::cli::error::Error;

/// Where users are looked up.
#[cfg(target_os = "linux")]
const ACCOUNTS: &str = "/etc/passwd";
#[cfg(not(target_os = "linux"))]
const ACCOUNTS: &str = "/etc/passwd; -Z works on Linux only";

/// The user to switch to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) struct UserAccount {
    uid: u32,
    gid: u32,
}

impl UserAccount {
    /// The account of a user in [`ACCOUNTS`], by name or number, or of the numbers UID or UID:GID.
    ///
    /// # Errors
    ///
    /// There is no such user.
    pub(in crate::cli) fn find(name: &str) -> Result<Self, Error> {
        let accounts = if cfg!(target_os = "linux") {
            fs::read_to_string(ACCOUNTS).unwrap_or_default()
        } else {
            String::new()
        };
        let account = find(name, &accounts);
        account.ok_or_else(|| Error::NoUser { name: name.to_owned(), accounts: ACCOUNTS })
    }

    /// The number of the user.
    pub(in crate::cli) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Makes the account the owner of an open file or directory. A failure shows when it is used.
    pub(in crate::cli) fn hand_over(&self, file: BorrowedFd<'_>) {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let _ = rustix::fs::fchown(file, Some(uid), Some(gid));
    }
}

fn find(name: &str, accounts: &str) -> Option<UserAccount> {
    let known = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let account = UserAccount { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (user == name || uid == name).then_some(account)
    });
    known.or_else(|| {
        let (uid, gid) = name.split_once(':').unwrap_or((name, name));
        Some(UserAccount { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// Rights of root to files that their owner and mode do not give. A run over captures keeps what it needs of them.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct FileRights(#[cfg(target_os = "linux")] CapabilitySet);

impl FileRights {
    /// None of these rights, for a run that has everything open.
    pub(in crate::cli) const NONE: Self = Self(
        #[cfg(target_os = "linux")]
        CapabilitySet::empty(),
    );

    /// What the run needs to read files and to make others. Tried without them: root needs none for its own files and for
    /// those that everybody can read.
    #[cfg(target_os = "linux")]
    pub(in crate::cli) fn needed(read: &[PathBuf], writable: &[Writable]) -> Self {
        let both = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        let Ok(own) = capabilities(None) else { return Self::NONE };
        if !own.permitted.intersects(both) {
            return Self::NONE;
        }
        if set_capabilities(None, CapabilitySets { effective: own.effective - both, ..own })
            .is_err()
        {
            return Self::NONE;
        }
        let mut needed = CapabilitySet::empty();
        if !read.iter().all(|path| can_read(path)) {
            needed |= CapabilitySet::DAC_READ_SEARCH;
        }
        if !writable.iter().all(can_make) {
            needed |= CapabilitySet::DAC_OVERRIDE;
        }
        Self(needed & own.permitted)
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::cli) const fn needed(_: &[PathBuf], _: &[Writable]) -> Self {
        Self::NONE
    }
}

/// Whether a file can be read, or its absence be seen.
#[cfg(target_os = "linux")]
fn can_read(path: &Path) -> bool {
    let is_denied = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    match fs::metadata(path) {
        Ok(it) if it.is_file() => !fs::File::open(path).is_err_and(is_denied),
        // Opening a pipe waits for its other end.
        Ok(_) => true,
        Err(error) => !is_denied(error),
    }
}

/// Whether a directory lets this user make files by its mode alone.
#[cfg(target_os = "linux")]
fn can_make(place: &Writable) -> bool {
    let (Writable::Directory(directory) | Writable::DirectoryWithRemoval(directory)) = place else {
        return true;
    };
    let needed = if rustix::fs::fstat(directory).is_ok_and(|it| it.st_uid == geteuid().as_raw()) {
        0o300
    } else {
        0o003
    };
    rustix::fs::fstat(directory).is_ok_and(|it| it.st_mode & needed == needed)
}

/// Switches to `account`, if there is one, drops all capabilities, and makes sure that none can
/// come back. Returns the remaining privileges as text.
///
/// # Errors
///
/// The system refuses one of these.
#[cfg(target_os = "linux")]
pub(in crate::cli) fn drop_all(account: Option<&UserAccount>) -> Result<String, Error> {
    // May fail: it needs CAP_SETPCAP. Without that capability the bounding set is of little use to
    // the process, and no_new_privs below keeps it from gaining any.
    for capability in CapabilitySet::all().iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    drop_others(account, FileRights::NONE)
}

/// As [`drop_all`], but for capabilities that are `kept`. The bounding set stays: emptying it takes as long as all the
/// rest, and limits only programs that are started, of which a confined run starts none.
///
/// # Errors
///
/// The system refuses one of these.
#[cfg(target_os = "linux")]
pub(super) fn drop_others(
    account: Option<&UserAccount>,
    FileRights(kept): FileRights,
) -> Result<String, Error> {
    use rustix::thread::{
        clear_ambient_capability_set, set_no_new_privs, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    };

    let failed =
        |action: String| move |e: rustix::io::Errno| Error::Privileges { action, source: e.into() };
    if let Some(UserAccount { uid, gid }) = account {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        let switch = || {
            set_thread_groups(&[gid])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)
        };
        switch().map_err(failed(format!("switch to user {}", uid.as_raw())))?;
    }
    // May fail: kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })
        .map_err(failed("drop capabilities".to_owned()))?;
    set_no_new_privs(true).map_err(failed("rule out new privileges".to_owned()))?;
    Ok(match rustix::process::getuid().as_raw() {
        0 => "running as root, all capabilities dropped".to_owned(),
        uid => format!("running as user {uid}, all capabilities dropped"),
    })
}

#[cfg(not(target_os = "linux"))]
pub(in crate::cli) fn drop_all(account: Option<&UserAccount>) -> Result<String, Error> {
    drop_others(account, FileRights::NONE)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn drop_others(account: Option<&UserAccount>, _: FileRights) -> Result<String, Error> {
    match account {
        Some(_) => Err(Error::NoUser { name: "-Z".to_owned(), accounts: ACCOUNTS }),
        None => Ok("unchanged; they are dropped on Linux only".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_or_number() {
        let accounts = "root:x:0:0::/root:/bin/sh\nbeam:x:105:110::/:/bin/false\n# odd\n";
        let account = |uid, gid| Some(UserAccount { uid, gid });
        assert_eq!(find("beam", accounts), account(105, 110));
        assert_eq!(find("105", accounts), account(105, 110), "the group of a known user");
        assert_eq!(find("7", accounts), account(7, 7));
        assert_eq!(find("7:8", accounts), account(7, 8));
        for wrong in ["nobody", "", "7:", ":8", "-1", "7:8:9"] {
            assert_eq!(find(wrong, accounts), None, "{wrong}");
        }
    }
}
