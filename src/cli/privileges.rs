//! Giving up every right once all is open.
//!
//! In: the user of `-Z`, if any. Out: a process without capabilities that cannot get any. Comes before
//! the first thread: Linux keeps rights for each thread.

use std::fs;
use std::path::Path;

use super::Error;

/// Where users are looked up.
#[cfg(target_os = "linux")]
pub(super) const ACCOUNTS: &str = "/etc/passwd";
#[cfg(not(target_os = "linux"))]
pub(super) const ACCOUNTS: &str = "Linux, where alone -Z works";

/// Whom to go on as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Makes it the owner of what was made for it; what cannot be handed over shows when it is used.
    pub(super) fn hand_over(&self, path: &Path) {
        #[cfg(unix)]
        let _ = std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid));
        #[cfg(not(unix))]
        let _ = path;
    }
}

/// The account that `name` means: a user of [`ACCOUNTS`], or numbers.
///
/// # Errors
///
/// There is no such user.
pub(super) fn account(name: &str) -> Result<Account, Error> {
    let accounts = fs::read_to_string(ACCOUNTS).unwrap_or_default();
    find(name, &accounts).ok_or_else(|| Error::NoUser { name: name.to_owned() })
}

fn find(name: &str, accounts: &str) -> Option<Account> {
    let known = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let account = Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (user == name || uid == name).then_some(account)
    });
    known.or_else(|| {
        let (uid, gid) = name.split_once(':').unwrap_or((name, name));
        Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// Becomes `account`, where there is one, gives up all capabilities, and sees to it that none comes
/// back. Gives what is left, in words.
///
/// # Errors
///
/// The system refuses.
#[cfg(target_os = "linux")]
pub(super) fn give_up(account: Option<&Account>) -> Result<String, Error> {
    use rustix::thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    };
    use rustix::thread::{Gid, Uid};

    let failed =
        |what: String| move |e: rustix::io::Errno| Error::Privileges { what, source: e.into() };
    // Needs a capability itself, and without one there is little in the set that could be got.
    for capability in CapabilitySet::all().iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if let Some(Account { uid, gid }) = account {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        let become_user = || {
            set_thread_groups(&[gid])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)
        };
        become_user().map_err(failed(format!("become user {}", uid.as_raw())))?;
    }
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("give up capabilities".to_owned()))?;
    set_no_new_privs(true).map_err(failed("rule out new privileges".to_owned()))?;
    Ok(format!("user {}, no capabilities, none to come", rustix::process::getuid().as_raw()))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn give_up(account: Option<&Account>) -> Result<String, Error> {
    match account {
        Some(_) => Err(Error::NoUser { name: "-Z".to_owned() }),
        None => Ok("as started".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_or_numbered() {
        let accounts = "root:x:0:0::/root:/bin/sh\nbeam:x:105:110::/:/bin/false\n# odd\n";
        let account = |uid, gid| Some(Account { uid, gid });
        assert_eq!(find("beam", accounts), account(105, 110));
        assert_eq!(find("105", accounts), account(105, 110), "the group of a known number");
        assert_eq!(find("7", accounts), account(7, 7));
        assert_eq!(find("7:8", accounts), account(7, 8));
        for wrong in ["nobody", "", "7:", ":8", "-1", "7:8:9"] {
            assert_eq!(find(wrong, accounts), None, "{wrong}");
        }
    }
}
