//! Confinement to what capturing needs, by Landlock and seccomp where the kernel has them.
//!
//! In: the files and directories that the program writes. Out: a process that can write there, read
//! the state of interfaces in `/sys`, and reach nothing else. What an old kernel lacks is left out and
//! reported as text: the capture runs there, too.

use std::path::{Path, PathBuf};

/// What must be writable so that `file` can be made again: its directory, or the file itself if it is
/// a device.
pub(in crate::cli) fn directory_of(file: &Path) -> PathBuf {
    if file.exists() && !file.is_file() {
        return file.to_owned();
    }
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(target_os = "linux")]
pub(in crate::cli) use linux::Sandbox;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, Scope, path_beneath_rules,
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
        /// Closes all files but those that are open already and those below `writable`. Does nothing
        /// unless `is_wanted`.
        pub(crate) fn restrict_files(is_wanted: bool, writable: &[PathBuf]) -> Self {
            Self { files: is_wanted.then(|| restrict_files(writable)) }
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

    fn restrict_files(writable: &[PathBuf]) -> String {
        let read = AccessFs::from_read(NEWEST);
        // No devices, no sockets, no execution.
        let write = AccessFs::from_file(NEWEST)
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::ReadDir;
        let write = write & !AccessFs::Execute;
        let restricted = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))
            .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
            .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
            .and_then(|rules| rules.create())
            .and_then(|rules| rules.add_rules(path_beneath_rules(READ, read & !AccessFs::Execute)))
            .and_then(|rules| rules.add_rules(path_beneath_rules(writable, write)))
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

    /// What libpcap and this program read about interfaces: their state and their drop counters.
    const READ: [&str; 1] = ["/sys"];

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
    pub(in crate::cli) fn restrict_files(_: bool, _: &[PathBuf]) -> Self {
        Self
    }

    pub(in crate::cli) fn restrict_calls(self) -> String {
        "none on this system".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_its_directory_and_a_device_only_itself() {
        let directories = ["a.ndjson", "logs/a.ndjson", "/a", "/dev/null"].map(Path::new);
        assert_eq!(
            directories.map(directory_of),
            [".", "logs", "/", "/dev/null"].map(PathBuf::from)
        );
    }
}
