//! Key logs: what is read inside TLS, what is printed of the secrets (nothing), and what is left of them in memory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use crate::support::{TestDir, WITH_SECRETS, beamscope, lines_of};

/// The captures with a key log beside them, and that key log; and one that contains it.
fn with_keys() -> Vec<(String, String)> {
    let with = crate::support::captures().into_iter().filter_map(|capture| {
        let keys = format!("{}.keylog", capture.split('.').next()?);
        let is_there = Path::new(env!("CARGO_MANIFEST_DIR")).join(&keys).is_file();
        is_there.then_some((capture, keys))
    });
    let with: Vec<_> = with.collect();
    assert!(with.len() >= 10, "{with:?}");
    let own = WITH_SECRETS.to_owned();
    [with, vec![(own.clone(), own)]].concat()
}

/// The secrets of a key log, or of a capture with one, as hex digits in both cases and as bytes.
fn secrets(keys: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(keys)).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let is_hex = |word: &&str| word.len() >= 64 && word.bytes().all(|it| it.is_ascii_hexdigit());
    // The random bytes of the ClientHello come before the secret.
    let hex: Vec<&str> = text.split_ascii_whitespace().filter(is_hex).collect();
    let hex: Vec<&str> = hex.chunks_exact(2).map(|pair| pair[1]).collect();
    assert!(!hex.is_empty(), "{keys}");
    hex.into_iter()
        .flat_map(|hex| {
            let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes = (0..hex.len()).step_by(2).map(digit).collect();
            // A part of a secret is as bad as all of it.
            let part = |text: String| text.as_bytes()[..40].to_vec();
            [part(hex.to_lowercase()), part(hex.to_uppercase()), bytes]
        })
        .collect()
}

fn assert_no_secret(what: &str, bytes: &[u8], secrets: &[Vec<u8>]) {
    for secret in secrets {
        let at = bytes.windows(secret.len()).position(|window| window == secret);
        assert_eq!(at, None, "{what} has a secret at this byte");
    }
}

#[test]
fn no_output_has_a_secret() {
    for (capture, keys) in with_keys() {
        let secrets = secrets(&keys);
        let folder = TestDir::new("keylog-output");
        let file = |name: &str| folder.file(name);
        let (report, annotated, saved) = (file("r.html"), file("a.pcapng"), file("s.pcapng"));
        let evidence = file("evidence");
        let runs: [&[&str]; 6] = [
            &["--json", "--messages", "--payloads", "--include-secrets", "-vv"],
            &["--text", "--evidence", &evidence],
            &["--json", "-w", &saved],
            &["report", "-o", &report],
            &["annotate", "-o", &annotated],
            &["ladder"],
        ];
        for run in runs {
            let arguments = [run, &["--keylog", &keys, &capture]].concat();
            let output = beamscope(&arguments).output().unwrap();
            assert_no_secret("standard output", &output.stdout, &secrets);
            assert_no_secret("standard error", &output.stderr, &secrets);
        }
        let evidence = fs::read_dir(&evidence).into_iter().flatten().map(|it| it.unwrap().path());
        for path in evidence.chain([&report, &annotated, &saved].map(Into::into)) {
            assert_no_secret(&path.display().to_string(), &fs::read(&path).unwrap(), &secrets);
        }
    }
}

#[test]
fn errors_and_warnings_have_no_secret() {
    let (capture, keys) = with_keys().remove(0);
    let folder = TestDir::new("keylog-errors");
    let broken = folder.file("broken.keylog");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&keys)).unwrap();
    fs::write(&broken, text.replace(' ', "  ") + &text.replace("CLIENT", "\u{1b}[31mX") + "x\n")
        .unwrap();
    for arguments in [["--keylog", &broken, &capture], ["--keylog", &capture, &capture]] {
        let output = beamscope(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_no_secret("standard error", &output.stderr, &secrets(&keys));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("are no lines of a key log"), "{stderr}");
    }
}

#[test]
fn a_key_log_that_is_missing_ends_the_run_with_its_name() {
    let (capture, keys) = with_keys().remove(0);
    let output = beamscope(&["--keylog", "/no/such.keylog", &capture]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("/no/such.keylog"), "{stderr}");
    let by_variable = |arguments: &[&str]| {
        let mut command = beamscope(arguments);
        command.env_remove("SSLKEYLOGFILE");
        command
    };
    let output = by_variable(&["--keylog-env", &capture]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    // Only when asked for.
    let arguments = ["--json", &capture];
    let output = by_variable(&arguments).env("SSLKEYLOGFILE", &keys).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), lines_of(&arguments));
    let arguments = ["--json", "--keylog-env", &capture];
    let output = by_variable(&arguments).env("SSLKEYLOGFILE", &keys).output().unwrap();
    let opened = lines_of(&["--json", "--keylog", &keys, &capture]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), opened);
    assert_ne!(opened, lines_of(&["--json", &capture]));
}

/// How far a process has read a file that it has open.
#[cfg(target_os = "linux")]
fn position_in(pid: u32, file: &str) -> u64 {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    let is_it =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|it| it.ends_with(file));
    let number = open.filter(is_it).map(|entry| entry.file_name()).next().unwrap();
    let info = format!("/proc/{pid}/fdinfo/{}", number.to_str().unwrap());
    let info = fs::read_to_string(info).unwrap();
    info.lines().find_map(|line| line.strip_prefix("pos:")).unwrap().trim().parse().unwrap()
}

/// The last secrets come while the capture grows: records wait for them.
#[cfg(target_os = "linux")]
#[test]
fn secrets_may_come_after_their_records() {
    let (capture, keys) = with_keys().remove(0);
    let folder = TestDir::new("keylog-late");
    let (late, growing) = (folder.file("late.keylog"), folder.file("growing.pcap"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bytes = fs::read(root.join(&capture)).unwrap();
    // Most of the records, and not the close of the connection, behind which nothing is opened any more.
    let (first, rest) = bytes.split_at(bytes.len() * 3 / 4);
    fs::write(&late, "").unwrap();
    fs::write(&growing, first).unwrap();
    let mut child = beamscope(&["--json", "--keylog", &late, "--follow", &growing])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first_event = lines.next().unwrap().unwrap();
    assert!(first_event.contains("\"event_type\":\"epmd\""), "{first_event}");
    let secrets = fs::read(root.join(&keys)).unwrap();
    fs::write(&late, &secrets).unwrap();
    while position_in(child.id(), &late) < secrets.len() as u64 {
        thread::yield_now();
    }
    fs::OpenOptions::new().append(true).open(&growing).unwrap().write_all(rest).unwrap();
    let is_end =
        |line: &String| line.contains("\"event_type\":\"session\"") && line.contains("\"closed\"");
    let end = lines.map(Result::unwrap).find(is_end).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(end.contains("\"protocol\":\"distribution\""), "{end}");
}

/// All memory of a run whose connections have ended, read as root.
#[cfg(target_os = "linux")]
#[test]
fn no_secret_is_left_in_memory_when_connections_have_ended() {
    let is_closed = |line: &String| {
        line.contains("\"event_type\":\"session\"") && line.contains("\"state\":\"closed\"")
    };
    for (capture, keys) in with_keys() {
        let whole = lines_of(&["--json", "--keylog", &keys, &capture]);
        let closed = whole.lines().filter(|line| is_closed(&(*line).to_owned())).count();
        if closed == 0 {
            continue;
        }
        let mut child = beamscope(&["--json", "--keylog", &keys, "--follow", &capture])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ended = lines.by_ref().map(Result::unwrap).filter(is_closed).take(closed).count();
        let memory = memory_of(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ended, closed, "{capture}: a connection did not end");
        let Ok(memory) = memory else {
            crate::support::skip("keylog memory", "reading the memory of a process takes root");
            return;
        };
        assert!(memory.len() > 1 << 16);
        for (at, secret) in secrets(&keys).iter().enumerate() {
            let found = memory.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{capture}: form {} of secret {} is in memory", at % 3, at / 3);
        }
    }
}

#[test]
fn with_keys_saves_what_opens_the_saved_packets() {
    let (capture, keys) = with_keys().remove(0);
    let folder = TestDir::new("with-keys");
    let (saved, annotated) = (folder.file("saved.pcapng"), folder.file("annotated.pcapng"));
    let own = WITH_SECRETS;
    lines_of(&["--json", "--keylog", &keys, "--with-keys", "-w", &saved, &capture]);
    lines_of(&["annotate", "--with-keys", own, "-o", &annotated]);
    for file in [&saved, &annotated] {
        assert!(lines_of(&["--json", file]).contains("\"protocol\":\"distribution\""), "{file}");
    }
    let refused = beamscope(&["--with-keys", &capture]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

/// The writable memory of a process.
#[cfg(target_os = "linux")]
fn memory_of(pid: u32) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|it| u64::from_str_radix(it, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        // Pages that were never used cannot all be read.
        if memory.read_exact_at(&mut part, from).is_ok() {
            all.extend(part);
        }
    }
    Ok(all)
}

/// Without EPMD's answer, nothing but the key log shows that a connection is one of nodes.
#[cfg(feature = "live")]
#[test]
fn connections_on_unknown_ports_are_opened_too() {
    let folder = TestDir::new("keylog-ports");
    let saved = folder.file("saved.pcapng");
    for (capture, keys) in with_keys() {
        let outcomes = |arguments: &[&str]| {
            let text = lines_of(&[&["--json"], arguments].concat());
            let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
            let sessions = events.filter_map(|event: serde_json::Value| {
                let outcome = event["session"]["outcome"].as_str()?.to_owned();
                Some((outcome, event["session"]["tls"]["opened_by"].is_string()))
            });
            sessions.collect::<Vec<_>>()
        };
        let with_epmd = outcomes(&["--keylog", &keys, &capture]);
        let save = ["-f", "not port 4369", "--with-keys", "-w", &saved, &capture];
        lines_of(&[&["--json"], &save[..]].concat());
        let opened = outcomes(&["--keylog", &keys, &saved]);
        // A connection that never came to the first message of the nodes is not known as theirs.
        if with_epmd.iter().all(|(outcome, _)| outcome != "aborted") {
            assert_eq!(opened, with_epmd, "{capture}");
        }
    }
}

/// Each of two runs has the secrets, although the first wipes its own.
#[test]
fn both_captures_of_a_comparison_are_opened() {
    let (capture, keys) = with_keys().remove(0);
    let text = lines_of(&["diff", "--keylog", &keys, &capture, &capture]);
    assert!(text.contains("\"unchanged\":1"), "{text}");
    assert!(text.contains("\"changes\":{}"), "{text}");
}
