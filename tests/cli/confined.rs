//! Runs that read captures have no rights but to read them: what the kernel shows of the process while it waits for more.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::support::{SEED, TestDir, beamscope, skip};

/// A run that waits for the rest of a capture on standard input.
struct Waiting {
    child: Child,
}

impl Waiting {
    fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut beamscope(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let capture = fs::read(SEED).unwrap();
        child.stdin.as_mut().unwrap().write_all(&capture[..3000]).unwrap();
        Self { child }
    }

    /// A line of /proc/PID/status, without its name.
    fn status(&self, name: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until its system calls are filtered, after which nothing changes any more; whether they ever are.
    fn is_confined(&self) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if self.status("Seccomp") == "2" {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this kernel filters system calls, and builds have the filter.
fn has_filters() -> bool {
    let has = cfg!(feature = "live")
        && fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:");
    if !has {
        skip("confined reading", "no filter of system calls");
    }
    has
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

const NONE: &str = "0000000000000000";

#[test]
fn every_command_that_reads_a_capture_gives_up_its_rights() {
    if !has_filters() {
        return;
    }
    let folder = TestDir::new("confined");
    let (out, saved, evidence) = (folder.file("out"), folder.file("a.pcapng"), folder.file("e"));
    for arguments in [
        &["--json", "-"][..],
        &["--json", "-", "-w", &saved, "-o", &out, "--evidence", &evidence],
        &["--json", "-", "-w", &saved, "-C", "1M", "-W", "3", "-f", "tcp port 4369"],
        &["report", "-", "--format", "html", "-o", &out],
        &["ladder", "-"],
        &["diff", "-", SEED],
    ] {
        let run = Waiting::start(arguments);
        assert!(run.is_confined(), "{arguments:?}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(run.status(set), NONE, "{set} of {arguments:?}");
        }
        assert_eq!(run.status("NoNewPrivs"), "1", "{arguments:?}");
    }
    // What is read twice is no pipe: it is followed here.
    let growing = folder.file("growing.pcap");
    fs::write(&growing, &fs::read(SEED).unwrap()[..3000]).unwrap();
    let run = Waiting {
        child: beamscope(&["--follow", &growing]).stdout(Stdio::null()).spawn().unwrap(),
    };
    assert!(run.is_confined());
    assert_eq!(run.status("CapEff"), NONE);
    let run = Waiting::start(&["--no-sandbox", "--json", "-"]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((run.status("Seccomp").as_str(), run.status("NoNewPrivs").as_str()), ("0", "0"));
}

#[test]
fn root_keeps_the_one_right_that_reading_the_file_of_another_user_needs() {
    if !has_filters() || !is_root() {
        return;
    }
    let folder = TestDir::new("confined-other");
    let private = folder.file("private");
    fs::create_dir(&private).unwrap();
    let capture = format!("{private}/a.pcap");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED), &capture).unwrap();
    for (path, mode) in [(&capture, 0o600), (&private, 0o700)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        chown(path, Some(65_534), Some(65_534)).unwrap();
    }
    // CAP_DAC_READ_SEARCH has number 2, and CAP_DAC_OVERRIDE number 1.
    let run = Waiting::start(&["--json", "--order", "given", &capture, "-"]);
    assert!(run.is_confined());
    assert_eq!(
        (run.status("CapEff"), run.status("CapPrm")),
        (format!("{:016x}", 4), format!("{:016x}", 4))
    );
    let evidence = Waiting::start(&["--json", "-", "--evidence", &private]);
    assert!(evidence.is_confined());
    assert_eq!(evidence.status("CapEff"), format!("{:016x}", 2));
    let read = beamscope(&["--json", &capture, "--evidence", &private]).output().unwrap();
    assert!(read.status.success());
    assert_eq!(
        fs::read_dir(&private).unwrap().count(),
        3,
        "the capture, and two files of evidence"
    );
}

#[test]
fn what_is_read_may_be_a_pipe_a_descriptor_or_a_link() {
    let folder = TestDir::new("confined-inputs");
    let expected = beamscope(&["--json", "--only-findings", SEED]).output().unwrap();
    let findings =
        |text: &[u8]| String::from_utf8_lossy(text).matches("\"event_type\":\"finding\"").count();
    assert!(findings(&expected.stdout) > 0);
    let check = |command: &mut Command, what: &str| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{what}: {stderr}");
        assert_eq!(findings(&output.stdout), findings(&expected.stdout), "{what}");
    };
    let pipe = folder.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = thread::spawn({
        let pipe = pipe.clone();
        move || File::options().write(true).open(pipe).unwrap().write_all(&fs::read(SEED).unwrap())
    });
    check(&mut beamscope(&["--json", "--only-findings", &pipe]), "a named pipe");
    writer.join().unwrap().unwrap();
    let link = folder.file("link.pcap");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED), &link).unwrap();
    check(&mut beamscope(&["--json", "--only-findings", &link]), "a link");
    let mut stdin = beamscope(&["--json", "--only-findings", "/dev/stdin"]);
    check(stdin.stdin(File::open(SEED).unwrap()), "/dev/stdin");
    let program = env!("CARGO_BIN_EXE_beamscope");
    for line in [
        "\"$1\" --json --only-findings <(cat \"$2\")",
        "cat \"$2\" | \"$1\" --json --only-findings /dev/fd/0",
    ] {
        let mut shell = Command::new("bash");
        check(shell.args(["-c", line, "bash", program, SEED]), line);
    }
    // Many threads, that decompress.
    let packed = folder.file("packed.pcap.gz");
    let gzip = Command::new("gzip").args(["-c", SEED]).output().unwrap();
    fs::write(&packed, gzip.stdout).unwrap();
    check(&mut beamscope(&["--json", "--only-findings", "-j", "4", &packed]), "threads");
    check(
        &mut beamscope(&["--json", "--only-findings", "-f", "host localhost or tcp", SEED]),
        "a filter with a name",
    );
}
