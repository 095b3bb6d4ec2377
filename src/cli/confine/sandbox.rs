//! Confinement to what capturing needs, by Landlock and seccomp where the kernel has them.
//!
//! In: what the program reads, and where it makes files once it is confined. Out: a process that can do this, and reach
//! nothing else; files that are open already stay usable. What an old kernel lacks is left out and reported as text: the
//! run goes on there, too.

use std::os::fd::OwnedFd;

/// What may be changed within a sandbox.
#[derive(Debug)]
pub(in crate::cli) enum Writable {
    /// This device or pipe may be opened again.
    File(OwnedFd),
    /// Files may be made in this directory, and written.
    Directory(OwnedFd),
    /// Files may be made in this directory, written, renamed and removed.
    DirectoryWithRemoval(OwnedFd),
}

#[cfg(target_os = "linux")]
pub(in crate::cli) use linux::Sandbox;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::path::Path;

    use super::Writable;
    use landlock::{
        ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
        RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
    };
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

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
            Self { files: is_wanted.then(|| restrict_files(read, writable)) }
        }

        /// Whether the kernel restricts files.
        #[cfg(test)]
        pub(super) fn is_in_force(&self) -> bool {
            self.files.as_ref().is_some_and(|files| !files.starts_with("no "))
        }

        /// Blocks all system calls that the capture loop does not need; no thread can start from here
        /// on. Returns what is in force, as text.
        pub(crate) fn restrict_calls(self) -> String {
            match self.files {
                Some(files) => format!("{files}; {}", restrict_calls()),
                None => "none, because of --no-sandbox".to_owned(),
            }
        }
    }

    fn restrict_files(read: &[impl AsRef<Path>], writable: &[Writable]) -> String {
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        let restricted = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
            .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
            .and_then(|rules| rules.create())
            .and_then(|rules| rules.add_rules(path_beneath_rules(read, reading)))
            .and_then(|rules| rules.add_rules(writable.iter().map(rule)))
            .and_then(|rules| rules.restrict_self());
        match restricted.map(|status| status.ruleset) {
            Ok(RulesetStatus::FullyEnforced) => "Landlock".to_owned(),
            Ok(RulesetStatus::PartiallyEnforced) => {
                "Landlock, as far as this kernel supports it".to_owned()
            }
            Ok(RulesetStatus::NotEnforced) => "no Landlock in this kernel".to_owned(),
            Err(error) => format!("no Landlock: {error}"),
        }
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
            Writable::Directory(directory) => (directory.as_fd(), write | AccessFs::MakeReg),
            Writable::DirectoryWithRemoval(directory) => {
                (directory.as_fd(), write | AccessFs::MakeReg | AccessFs::RemoveFile)
            }
        }
    }

    fn restrict_calls() -> String {
        let filter = || -> Option<BpfProgram> {
            let calls = CALLS.iter().map(|call| (*call, Vec::new())).collect::<BTreeMap<_, _>>();
            // An error instead of a kill: a call missing in the table fails, and the capture goes on.
            let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
            let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
            SeccompFilter::new(calls, refuse, SeccompAction::Allow, arch).ok()?.try_into().ok()
        };
        let Some(filter) = filter() else { return "no seccomp filter for this machine".to_owned() };
        match seccompiler::apply_filter_all_threads(&filter) {
            Ok(()) => "seccomp".to_owned(),
            Err(error) => format!("no seccomp: {error}"),
        }
    }

    /// System calls that the capture loop and the writing of files need. No new process or thread, no
    /// socket, no tracing.
    #[rustfmt::skip] // a table reads best as a table
    const CALLS: &[libc::c_long] = &[
        // waiting, time, signals
        libc::SYS_ppoll, libc::SYS_futex, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep, libc::SYS_gettimeofday, libc::SYS_restart_syscall, libc::SYS_sched_yield,
        libc::SYS_rt_sigreturn, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigaction, libc::SYS_sigaltstack,
        libc::SYS_kill, libc::SYS_tgkill, libc::SYS_getpid, libc::SYS_gettid,
        // open descriptors: the ring buffer, its counters, output
        libc::SYS_read, libc::SYS_readv, libc::SYS_write, libc::SYS_writev, libc::SYS_pwrite64,
        libc::SYS_pread64, libc::SYS_close, libc::SYS_getsockopt, libc::SYS_setsockopt,
        libc::SYS_getsockname, libc::SYS_epoll_pwait, libc::SYS_recvfrom, libc::SYS_ioctl, libc::SYS_fcntl, libc::SYS_dup,
        libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_lseek, libc::SYS_ftruncate, libc::SYS_fallocate,
        // files, where Landlock allows them
        libc::SYS_openat, libc::SYS_statx, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_fstatfs,
        libc::SYS_statfs, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_faccessat, libc::SYS_getdents64,
        libc::SYS_mkdirat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat,
        libc::SYS_readlinkat, libc::SYS_getcwd, libc::SYS_umask,
        // memory, and exit
        libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
        libc::SYS_brk, libc::SYS_getrandom, libc::SYS_exit, libc::SYS_exit_group,
        // a thread that has just started
        libc::SYS_rseq, libc::SYS_set_robust_list, libc::SYS_prctl, libc::SYS_sched_getaffinity,
        #[cfg(target_arch = "x86_64")] libc::SYS_poll,
        #[cfg(target_arch = "x86_64")] libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")] libc::SYS_open,
        #[cfg(target_arch = "x86_64")] libc::SYS_stat,
        #[cfg(target_arch = "x86_64")] libc::SYS_lstat,
        #[cfg(target_arch = "x86_64")] libc::SYS_access,
        #[cfg(target_arch = "x86_64")] libc::SYS_mkdir,
        #[cfg(target_arch = "x86_64")] libc::SYS_rename,
        #[cfg(target_arch = "x86_64")] libc::SYS_unlink,
        #[cfg(target_arch = "x86_64")] libc::SYS_readlink,
        #[cfg(target_arch = "x86_64")] libc::SYS_chmod,
        #[cfg(target_arch = "x86_64")] libc::SYS_time,
    ];
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

    pub(in crate::cli) fn restrict_calls(self) -> String {
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
