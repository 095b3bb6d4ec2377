//! The filter of system calls, as a program for the kernel.
//!
//! In: what the process is for. Out: a program that lets the calls of a table through. The kernel
//! runs it once for each of its calls when it is set, and afterwards remembers which are always allowed: a search by halves
//! takes 20 µs, where a chain of comparisons, which `seccompiler` makes, takes 300 µs of a run that takes 1.6 ms.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, sock_filter};

use super::kind::SandboxKind;

/// What becomes of a system call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Action {
    Allow,
    /// The call fails with this error. No kill: a call that is missing in the table fails, and the run goes on.
    Fail(u32),
    /// `clone`, which starts a thread, and nothing else.
    Thread,
}

/// The program; `None` for a processor whose calls are not known.
pub(super) fn filter(kind: SandboxKind) -> Option<BpfProgram> {
    let calls = CALLS
        .iter()
        .chain(more_calls(kind))
        .filter_map(|call| Some((u32::try_from(*call).ok()?, Action::Allow)));
    let mut calls: BTreeMap<_, _> = calls.collect();
    if kind.has_threads() {
        calls.insert(u32::try_from(libc::SYS_clone).ok()?, Action::Thread);
        // Its flags are in memory, which no filter sees. The C library takes `clone` where `clone3` is not there.
        calls.insert(
            u32::try_from(libc::SYS_clone3).ok()?,
            Action::Fail(libc::ENOSYS.unsigned_abs()),
        );
    }
    let mut program = vec![
        load(ARCHITECTURE_AT),
        jump(libc::BPF_JEQ, this_architecture()?, 1, 0),
        fail(libc::EPERM.unsigned_abs()),
        load(NUMBER_AT),
    ];
    search(&ranges(&calls), &mut program)?;
    Some(program)
}

/// The numbers at which another action begins, from 0 on.
fn ranges(calls: &BTreeMap<u32, Action>) -> Vec<(u32, Action)> {
    let refused = Action::Fail(libc::EPERM.unsigned_abs());
    let mut ranges = vec![(0, refused)];
    let mut push = |from: u32, action: Action| match ranges.last_mut() {
        Some(last) if last.0 == from => last.1 = action,
        Some(last) if last.1 == action => {}
        _ => ranges.push((from, action)),
    };
    for (call, action) in calls {
        push(*call, *action);
        if !calls.contains_key(&(call + 1)) {
            push(call + 1, refused);
        }
    }
    ranges
}

/// Appends a search for the range of the number that is loaded.
fn search(ranges: &[(u32, Action)], program: &mut BpfProgram) -> Option<()> {
    if let [(_, action)] = ranges {
        match action {
            Action::Allow => program.push(allow()),
            Action::Fail(error) => program.push(fail(*error)),
            Action::Thread => program.extend([
                load(FLAGS_AT),
                jump(libc::BPF_JSET, libc::CLONE_THREAD.unsigned_abs(), 0, 1),
                allow(),
                fail(libc::EPERM.unsigned_abs()),
            ]),
        }
        return Some(());
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let at = program.len();
    program.push(jump(libc::BPF_JGE, above.first()?.0, 0, 0));
    search(below, program)?;
    let skipped = u8::try_from(program.len() - at - 1).ok()?;
    program.get_mut(at)?.jt = skipped;
    search(above, program)
}

const fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, (0, 0))
}

const fn jump(comparison: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, value, (if_true, if_false))
}

const fn allow() -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, (0, 0))
}

const fn fail(error: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error, (0, 0))
}

#[expect(clippy::cast_possible_truncation, reason = "the codes of instructions have one byte")]
const fn instruction(code: u32, k: u32, (jt, jf): (u8, u8)) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Where the kernel puts what a program loads, in `struct seccomp_data`: the number of the call, the architecture, and the
/// lower half of the first argument, which has the flags of `clone` on the two architectures here.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const FLAGS_AT: u32 = 16;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` of linux/audit.h: the number of ELF, 64 bits, little-endian. Calls of 32-bit
/// programs have other numbers.
const fn this_architecture() -> Option<u32> {
    let elf = if cfg!(target_arch = "x86_64") {
        62
    } else if cfg!(target_arch = "aarch64") {
        183
    } else {
        return None;
    };
    Some(elf | 0x8000_0000 | 0x4000_0000)
}

/// System calls that a process needs beside [`CALLS`].
const fn more_calls(kind: SandboxKind) -> &'static [libc::c_long] {
    match kind {
        SandboxKind::Live => &[],
        SandboxKind::Reading => READING_CALLS,
        #[cfg(feature = "nats")]
        SandboxKind::Network => NETWORK_CALLS,
    }
}

/// System calls that reading captures needs.
const READING_CALLS: &[libc::c_long] = &[libc::SYS_fadvise64, libc::SYS_prlimit64];

/// System calls that connections to servers need, and the C library to look up their names.
#[cfg(feature = "nats")]
#[rustfmt::skip] // a table reads best as a table
const NETWORK_CALLS: &[libc::c_long] = &[
    libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_getpeername, libc::SYS_shutdown,
    libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg, libc::SYS_recvmsg, libc::SYS_recvmmsg,
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_eventfd2, libc::SYS_pipe2, libc::SYS_uname,
    libc::SYS_clock_getres, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_prlimit64, libc::SYS_fadvise64,
    libc::SYS_sysinfo,
];

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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers for a call: it runs the program.
    fn answer(program: &BpfProgram, data: impl Fn(u32) -> u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut branch = |is: bool| at += usize::from(if is { jt } else { jf });
            match u32::from(code) {
                0x20 => loaded = data(k),
                0x15 => branch(loaded == k),
                0x35 => branch(loaded >= k),
                0x45 => branch(loaded & k != 0),
                0x06 => return k,
                other => panic!("{other:x}"),
            }
        }
    }

    #[test]
    fn each_call_is_answered_as_the_tables_have_it() {
        let (allowed, refused) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO | 1);
        let kinds = [
            SandboxKind::Live,
            SandboxKind::Reading,
            #[cfg(feature = "nats")]
            SandboxKind::Network,
        ];
        for kind in kinds {
            let program = filter(kind).unwrap();
            let starts_threads = kind.has_threads();
            assert!(program.len() < 300, "{}", program.len());
            let asked = |number: u32, flags: u32| {
                let data = [
                    (NUMBER_AT, number),
                    (ARCHITECTURE_AT, this_architecture().unwrap()),
                    (FLAGS_AT, flags),
                ];
                answer(&program, |at| data.iter().find(|it| it.0 == at).unwrap().1)
            };
            for number in (0..2000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let call = libc::c_long::from(number);
                let thread = libc::CLONE_THREAD.unsigned_abs();
                let expected = match call {
                    libc::SYS_clone if starts_threads => [refused, allowed],
                    libc::SYS_clone3 if starts_threads => {
                        [libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(); 2]
                    }
                    _ if CALLS.contains(&call) || more_calls(kind).contains(&call) => [allowed; 2],
                    _ => [refused; 2],
                };
                assert_eq!([asked(number, 17), asked(number, thread | 17)], expected, "{number}");
            }
            assert_eq!(answer(&program, |_| 0), refused, "of another architecture");
        }
        for call in
            [libc::SYS_socket, libc::SYS_execve, libc::SYS_ptrace, libc::SYS_connect, libc::SYS_bpf]
        {
            assert!(!CALLS.contains(&call) && !READING_CALLS.contains(&call));
        }
    }
}
