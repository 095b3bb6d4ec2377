//! `-w`: what is saved is what was read, in files that begin anew when they should, that no other user can
//! read, and that are whole when the disk is full.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{SEED, TestDir, beamscope, captures, skip};
use beamscope::capture::{CaptureFile, Item};

/// Time, link type, length on the wire and bytes of each frame.
fn frames(path: &str) -> Vec<(u64, u16, u32, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        if let Item::Frame(it) = item {
            frames.push((it.at.0, it.link.0, it.wire_len, it.bytes.to_vec()));
        }
    }
    frames
}

fn run(arguments: &[&str]) -> Output {
    beamscope(arguments).output().unwrap()
}

/// Events without the name of their input.
fn events(arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = run(&[&["--json", "--cookie-file", "captures/cookies.txt"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
            event.as_object_mut().unwrap().remove("input");
            event
        })
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_capture_is_saved_as_it_was_read_and_reports_the_same() {
    let folder = TestDir::new("save");
    let saved = folder.file("saved.pcapng");
    for capture in captures() {
        let output = events(&["--with-keys", "-w", &saved, &capture]);
        assert_eq!(frames(&saved), frames(&capture), "{capture}");
        // A file that is cut short or damaged reports it, and its copy is whole.
        let is_whole = !output.iter().any(|event| {
            event["anomaly"]["kind"].as_str().is_some_and(|kind| kind.starts_with("input_"))
        });
        if is_whole {
            assert_eq!(events(&[&saved]), output, "{capture}");
        }
    }
}

#[test]
fn a_name_in_pcap_makes_a_pcap_file() {
    let folder = TestDir::new("save-pcap");
    let saved = folder.file("saved.pcap");
    let output = events(&["-w", &saved, SEED]);
    assert_eq!(fs::read(&saved).unwrap()[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(frames(&saved), frames(SEED));
    assert_eq!(events(&[&saved]), output);
}

#[test]
fn only_what_is_looked_at_is_saved() {
    let folder = TestDir::new("save-part");
    let saved = folder.file("saved.pcapng");
    run(&["-w", &saved, "-c", "10", SEED]);
    assert_eq!(frames(&saved), frames(SEED)[..10]);
    if cfg!(feature = "live") {
        run(&["-w", &saved, "-f", "tcp port 4369", SEED]);
        let saved = frames(&saved).len();
        assert!(0 < saved && saved < frames(SEED).len(), "{saved}");
    }
}

#[cfg(unix)]
#[test]
fn no_other_user_can_read_what_is_saved() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TestDir::new("save-mode");
    let saved = folder.file("saved.pcapng");
    // One that everybody could read before.
    fs::write(&saved, "old").unwrap();
    fs::set_permissions(&saved, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["-w", &saved, SEED]);
    run(&["-w", &folder.file("row.pcapng"), "-C", "4k", SEED]);
    assert!(folder.names().len() > 2);
    for name in folder.names() {
        let mode = fs::metadata(folder.file(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn what_would_be_overwritten_or_mixed_is_refused() {
    let folder = TestDir::new("save-refused");
    let (copy, out) = (folder.file("copy.pcap"), folder.file("out"));
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED), &copy).unwrap();
    let nowhere = folder.file("no/such/saved.pcapng");
    for (arguments, expected) in [
        (&["-w", "-", SEED][..], "send the events to a file: --output FILE --write -"),
        (&["-w", &copy, &copy], "is both read and written"),
        (&["-w", &out, "-o", &out, SEED], "is both read and written"),
        (&["-w", "-", "-o", &out, "-C", "1M", SEED], "-C and -G are for files"),
        (&["-w", &nowhere, SEED], "cannot write"),
        (&["-w", &nowhere, "-C", "1M", SEED], "cannot write"),
        (&["-W", "3", SEED], "required"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(frames(&copy), frames(SEED));
}

#[test]
fn packets_go_to_standard_output_where_events_do_not() {
    let folder = TestDir::new("save-stdout");
    let (events, saved) = (folder.file("events"), folder.file("saved.pcapng"));
    let output = run(&["-w", "-", "-o", &events, "--json", SEED]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    fs::write(&saved, output.stdout).unwrap();
    assert_eq!(frames(&saved), frames(SEED));
    assert!(fs::read_to_string(events).unwrap().contains("\"finding\""));
}

#[test]
fn files_of_a_row_end_before_their_size_and_make_the_whole() {
    let folder = TestDir::new("save-row");
    let output = run(&["-w", &folder.file("lan.pcapng"), "-C", "2k", "-o", "/dev/null", SEED]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let names = folder.names();
    assert!(names.len() >= 3, "{names:?}");
    let mut all = Vec::new();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with("lan-20"), "{name}");
        assert!(name.ends_with(&format!("Z-{number:05}.pcapng")), "{name}");
        let bytes = fs::metadata(folder.file(name)).unwrap().len();
        assert!((1..=2048).contains(&bytes), "{name}: {bytes}");
        all.extend(frames(&folder.file(name)));
    }
    assert_eq!(all, frames(SEED));
    // All of them together report what the one reported.
    let paths: Vec<_> = names.iter().map(|name| folder.file(name)).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    let findings = |events: Vec<serde_json::Value>| {
        let findings = events.into_iter().filter(|event| event["event_type"] == "finding");
        findings.map(|event| event["finding"]["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(findings(events(&paths)), findings(events(&[SEED])));
}

#[test]
fn the_oldest_of_a_row_are_deleted() {
    let folder = TestDir::new("save-count");
    run(&["-w", &folder.file("lan.pcap"), "-C", "2k", "-W", "2", SEED]);
    let names = folder.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!names[0].ends_with("-00001.pcap"), "{names:?}");
    let last: Vec<_> = names.iter().flat_map(|name| frames(&folder.file(name))).collect();
    assert!(frames(SEED).ends_with(&last));
}

#[test]
fn files_of_a_row_end_by_time() {
    let folder = TestDir::new("save-time");
    let long = captures().into_iter().find(|name| {
        let frames = frames(name);
        frames.last().unwrap().0 - frames[0].0 > 5_000_000_000
    });
    let long = long.expect("a capture of more than five seconds");
    run(&["-w", &folder.file("lan.pcapng"), "-G", "2s", "-o", "/dev/null", &long]);
    let names = folder.names();
    assert!(names.len() >= 2, "{names:?}");
    let mut all = Vec::new();
    for name in &names {
        let part = frames(&folder.file(name));
        assert!(part.iter().all(|frame| frame.0 < part[0].0 + 2_000_000_000), "{name}");
        all.extend(part);
    }
    assert_eq!(all, frames(&long));
}

#[test]
fn one_pcap_file_does_not_take_two_link_types() {
    let folder = TestDir::new("save-links");
    let all = captures();
    let link = |name: &String| frames(name)[0].1;
    let other = all.iter().find(|name| link(name) != 1).expect("a capture of another link type");
    let saved = folder.file("saved.pcap");
    let output = run(&["-w", &saved, "--order", "given", "--json", SEED, other]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("name it .pcapng"), "{}", stderr(&output));
    assert_eq!(frames(&saved), frames(SEED));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"kind\":\"not_saved\""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_stops_saving_and_not_the_analysis() {
    let output = run(&["-w", "/dev/full", "--json", SEED]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output).matches("cannot write /dev/full").count(), 1, "{}", stderr(&output));
    // An extract has no analysis that goes on.
    let output = run(&["extract", SEED, "-w", "/dev/full"]);
    let errors = stderr(&output);
    assert!(errors.contains("cannot write /dev/full") && !errors.contains("analysis"), "{errors}");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout.matches("\"kind\":\"not_saved\"").count(), 1, "{stdout}");
    assert_eq!(stdout.matches("\"finding\":{\"rule\":\"cookie-mismatch\"").count(), 1, "{stdout}");
}

/// A file system of 64 KiB: what fits is there and whole.
#[cfg(target_os = "linux")]
#[test]
fn what_was_saved_before_the_disk_was_full_is_whole() {
    let folder = TestDir::new("save-full");
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "none"])
        .arg(&folder.0)
        .output()
        .unwrap();
    if !mount.status.success() {
        let why = String::from_utf8_lossy(&mount.stderr).into_owned();
        skip("full disk", why.trim());
        return;
    }
    let (saved, row) = (folder.file("saved.pcapng"), folder.file("row.pcapng"));
    // All captures one after the other are much more.
    let all = captures();
    let save = |arguments: &[&str]| {
        let mut arguments = [arguments, &["--order", "given", "--json", "-q"]].concat();
        arguments.extend(all.iter().map(String::as_str));
        run(&arguments)
    };
    let one = save(&["-w", &saved]);
    let kept = frames(&saved).len();
    fs::remove_file(&saved).unwrap();
    // Together never more than there is room for.
    let several = save(&["-w", &row, "-C", "16k", "-W", "2"]);
    let mut names = folder.names();
    // The captures are not in the order of their time; numbers are in that of writing.
    names.sort_by_key(|name| name.rsplit('-').next().unwrap().to_owned());
    let last: Vec<_> = names.iter().flat_map(|name| frames(&folder.file(name))).collect();
    let unmounted = Command::new("umount").arg(&folder.0).status().unwrap();
    assert!(unmounted.success());

    assert_eq!(one.status.code(), Some(2));
    let output = String::from_utf8_lossy(&one.stdout);
    assert_eq!(output.matches("\"kind\":\"not_saved\"").count(), 1);
    assert!(output.lines().last().unwrap().contains("\"final\":true"));
    let packets: usize = all.iter().map(|name| frames(name).len()).sum();
    assert!(0 < kept && kept < packets, "{kept} of {packets}");

    assert_eq!(several.status.code(), Some(0));
    let output = String::from_utf8_lossy(&several.stdout);
    assert_eq!(output.matches("\"kind\":\"not_saved\"").count(), 0);
    assert_eq!(names.len(), 2, "{names:?}");
    let whole: Vec<_> = all.iter().flat_map(|name| frames(name)).collect();
    assert!(whole.ends_with(&last) && !last.is_empty());
}

#[test]
fn other_programs_count_the_same_packets() {
    let folder = TestDir::new("save-capinfos");
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has("capinfos") {
        skip("capinfos", "not installed");
        return;
    }
    let count = |path: &str| {
        let output = Command::new("capinfos")
            .args(["-T", "-r", "-m", "-c", "-a", "-e", "-S"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once(',').unwrap().1.to_owned()
    };
    for name in ["saved.pcapng", "saved.pcap"] {
        let saved = folder.file(name);
        run(&["-w", &saved, SEED]);
        // Zeros of nanoseconds aside.
        let digits = |text: String| text.trim().replace("000,", ",").replace("000\n", "");
        assert_eq!(
            digits(count(&saved)).trim_end_matches('0'),
            digits(count(SEED)).trim_end_matches('0')
        );
    }
}
