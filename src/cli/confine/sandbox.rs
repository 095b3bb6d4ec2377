//! Confinement to what capturing needs, by Landlock and seccomp where the kernel has them.
//!
//! In: what the program reads, and where it makes files once it is confined. Out: a process that can do this, and reach
//! nothing else; files that are open already stay usable. What an old kernel lacks is left out and reported as text: the
//! run goes on there, too.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// What may be changed within a sandbox.
#[derive(Debug)]
pub(in crate::cli) enum Writable {
    /// This device or pipe may be opened again.
    File(OwnedFd),
    /// Files may be made in this directory, and written.
    Directory(OwnedFd),
    /// Files may be made in this directory, written, renamed and removed.
    DirectoryWithRemoval(OwnedFd),
    /// This terminal may be opened, read and written, and its modes set.
    Terminal(OwnedFd),
}

impl Writable {
    /// The terminal at `path`, if there is one.
    pub(in crate::cli) fn terminal(path: &Path) -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok().map(Self::Terminal)
    }
}

pub(in crate::cli) use super::kind::SandboxKind;
#[cfg(target_os = "linux")]
pub(in crate::cli) use linux::Sandbox;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::Path;

    use super::{SandboxKind, Writable};
    use crate::cli::confine::calls;
    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath,
        RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
        Scope, path_beneath_rules,
    };

    /// The newest Landlock rules that are asked for; an older kernel applies those that it knows.
    const NEWEST: ABI = ABI::V6;

    /// A sandbox that restricts files already and system calls not yet: threads can still start.
    pub(crate) struct Sandbox {
        /// How files are restricted, as text; `None` without a sandbox.
        files: Option<String>,
    }

    impl Sandbox {
        /// Closes all files but those that are open already: `read` can be read, with what is below it, and `writable`
        /// can be changed. Does nothing unless `is_wanted`.
        pub(crate) fn restrict_files(
            is_wanted: bool,
            read: &[impl AsRef<Path>],
            writable: &[Writable],
        ) -> Self {
            Self { files: is_wanted.then(|| restrict_files(read, writable, false)) }
        }

        /// The same for a process that may connect to servers.
        #[cfg(feature = "nats")]
        pub(crate) fn restrict_files_of_client(
            read: &[impl AsRef<Path>],
            writable: &[Writable],
        ) -> Self {
            Self { files: Some(restrict_files(read, writable, true)) }
        }

        /// Whether the kernel restricts files.
        #[cfg(test)]
        pub(super) fn is_in_force(&self) -> bool {
            self.files.as_ref().is_some_and(|files| !files.starts_with("no "))
        }

        /// Blocks all system calls that the run does not need. Returns what is in force, as text.
        pub(crate) fn restrict_calls(self, kind: SandboxKind) -> String {
            match self.files {
                Some(files) => format!("{files}; {}", restrict_calls(kind)),
                None => "none, because of --no-sandbox".to_owned(),
            }
        }
    }

    fn restrict_files(read: &[impl AsRef<Path>], writable: &[Writable], connects: bool) -> String {
        let restricted = restricted(read, writable, connects).or_else(|_| {
            // A descriptor of a pipe or of memory takes no rule, and needs none.
            let read: Vec<_> = read.iter().filter(|path| takes_a_rule(path.as_ref())).collect();
            restricted(&read, writable, connects)
        });
        match restricted.map(|status| status.ruleset) {
            Ok(RulesetStatus::FullyEnforced) => "Landlock".to_owned(),
            Ok(RulesetStatus::PartiallyEnforced) => {
                "Landlock, as far as this kernel supports it".to_owned()
            }
            Ok(RulesetStatus::NotEnforced) => "no Landlock in this kernel".to_owned(),
            Err(error) => format!("no Landlock: {error}"),
        }
    }

    fn restricted(
        read: &[impl AsRef<Path>],
        writable: &[Writable],
        connects: bool,
    ) -> Result<RestrictionStatus, RulesetError> {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let closed = AccessNet::from_all(NEWEST);
        let closed = if connects { closed & AccessNet::BindTcp } else { closed };
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|rules| rules.handle_access(closed))
            .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
            .and_then(|rules| rules.create())
            .and_then(|rules| rules.add_rules(path_beneath_rules(read, reading)))
            .and_then(|rules| rules.add_rules(writable.iter().map(rule)))
            .and_then(|rules| rules.restrict_self())
    }

    /// Whether a rule about a path is possible.
    fn takes_a_rule(path: &Path) -> bool {
        let access = AccessFs::ReadFile;
        let rules = Ruleset::default().handle_access(access).and_then(|rules| rules.create());
        rules.is_ok_and(|rules| rules.add_rules(path_beneath_rules([path], access)).is_ok())
    }

    fn rule(place: &Writable) -> Result<PathBeneath<BorrowedFd<'_>>, RulesetError> {
        let (file, rights) = rights(place);
        Ok(PathBeneath::new(file, rights))
    }

    /// What may be done with a place. No devices, sockets, directories or links are made, and nothing is executed.
    fn rights(place: &Writable) -> (BorrowedFd<'_>, BitFlags<AccessFs>) {
        let write = AccessFs::WriteFile | AccessFs::Truncate;
        match place {
            Writable::File(file) => (file.as_fd(), write),
            Writable::Terminal(terminal) => {
                (terminal.as_fd(), write | AccessFs::ReadFile | AccessFs::IoctlDev)
            }
            Writable::Directory(directory) => (directory.as_fd(), write | AccessFs::MakeReg),
            Writable::DirectoryWithRemoval(directory) => {
                (directory.as_fd(), write | AccessFs::MakeReg | AccessFs::RemoveFile)
            }
        }
    }

    fn restrict_calls(kind: SandboxKind) -> String {
        let Some(filter) = calls::filter(kind) else {
            return "no seccomp filter for this machine".to_owned();
        };
        match seccompiler::apply_filter_all_threads(&filter) {
            Ok(()) => "seccomp".to_owned(),
            Err(error) => format!("no seccomp: {error}"),
        }
    }
}

/// Other systems have neither Landlock nor seccomp.
#[cfg(not(target_os = "linux"))]
pub(in crate::cli) struct Sandbox;

#[cfg(not(target_os = "linux"))]
impl Sandbox {
    pub(in crate::cli) fn restrict_files(
        _: bool,
        _: &[impl AsRef<std::path::Path>],
        _: &[Writable],
    ) -> Self {
        Self
    }

    #[cfg(test)]
    fn is_in_force(&self) -> bool {
        false
    }

    pub(in crate::cli) fn restrict_calls(self, _: SandboxKind) -> String {
        "none on this system".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::path::{Path, PathBuf};
    use std::thread;

    use super::*;

    /// What works in a directory, done by a thread that is confined: Landlock binds the thread alone.
    fn allowed(
        folder: PathBuf,
        writable: impl FnOnce(OwnedFd) -> Writable + Send + 'static,
    ) -> Option<Vec<&'static str>> {
        let confined = thread::spawn(move || {
            let mut open = OpenOptions::new().write(true).open(folder.join("old")).unwrap();
            let places = [writable(File::open(&folder).unwrap().into())];
            let sandbox = Sandbox::restrict_files(true, &[folder.join("read")], &places);
            if !sandbox.is_in_force() {
                return None;
            }
            let at = |name: &str| folder.join(name);
            let tried = [
                ("read what is named", File::open(at("read")).is_ok()),
                ("read another", File::open(at("old")).is_ok()),
                ("list", fs::read_dir(&folder).is_ok()),
                ("write", OpenOptions::new().write(true).open(at("old")).is_ok()),
                ("write what is open", std::io::Write::write_all(&mut open, b"x").is_ok()),
                ("make", OpenOptions::new().write(true).create_new(true).open(at("new")).is_ok()),
                ("make a directory", fs::create_dir(at("directory")).is_ok()),
                ("link", std::os::unix::fs::symlink("old", at("link")).is_ok()),
                ("rename", fs::rename(at("old"), at("renamed")).is_ok()),
                ("remove", fs::remove_file(at("gone")).is_ok()),
                (
                    "elsewhere",
                    File::create(std::env::temp_dir().join("beamscope-elsewhere")).is_ok(),
                ),
                ("read elsewhere", File::open("/etc/passwd").is_ok()),
                ("look", Path::new("/etc/passwd").exists()),
            ];
            Some(tried.into_iter().filter(|(_, works)| *works).map(|(what, _)| what).collect())
        });
        confined.join().unwrap()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("beamscope-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        ["old", "read", "gone"].into_iter().for_each(|it| fs::write(folder.join(it), "").unwrap());
        folder
    }

    #[test]
    fn only_what_is_named_is_read_and_only_what_is_wanted_is_changed() {
        let (plain, rotating) = (folder("sandbox-plain"), folder("sandbox-rotating"));
        let made = allowed(plain.clone(), Writable::Directory);
        let Some(made) = made else { return println!("skipped: this kernel has no Landlock") };
        let always = ["read what is named", "write", "write what is open", "make"];
        assert_eq!(made, [&always[..], &["look"]].concat());
        let removed = allowed(rotating.clone(), Writable::DirectoryWithRemoval).unwrap();
        assert_eq!(removed, [&always[..], &["rename", "remove", "look"]].concat());
        [plain, rotating].into_iter().for_each(|it| fs::remove_dir_all(it).unwrap());
    }
}
