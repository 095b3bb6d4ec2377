//! Saving packets while they come: on loopback, with a dial played over real TCP.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::live::{self, connected, listening, refused_cookie, signal};
use crate::support::{TestDir, lines_of, skip};
use beamscope::capture::{CaptureFile, Item};
use serde_json::Value;

/// The program at work on loopback, where dials are played to a port of its own.
struct LiveLoop {
    child: Child,
    listener: TcpListener,
}

impl LiveLoop {
    /// `None` where capturing is not allowed.
    fn start(more: &[&str]) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let filter = format!("tcp port {port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
        command
            .args(["-i", "lo", "--json", "--dist-port", &port, "-f", &filter])
            .args(more)
            .stdout(if more.contains(&"-") { Stdio::piped() } else { Stdio::null() });
        let child = listening("live saving", &mut command)?;
        Some(Self { child, listener })
    }

    /// A dial that is refused over the cookie.
    fn dial(&self) {
        refused_cookie(&self.listener);
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    fn stop(mut self) -> Option<i32> {
        self.signal("INT");
        self.child.wait().unwrap().code()
    }
}

/// Frames of a capture, which must be whole.
fn frames(path: &str) -> usize {
    let mut capture = CaptureFile::open(Path::new(path), 0).unwrap();
    let mut frames = 0;
    while let Some(item) = capture.next_item().unwrap() {
        match item {
            Item::Frame(_) => frames += 1,
            Item::Interface { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    frames
}

fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    live::wait_until(what, Duration::from_secs(10), is_so);
}

/// Events in the order written, without the name of the input and what only one kind of run has: the wall
/// clock at its end, events left out, files of evidence.
fn events(text: &str) -> Vec<Value> {
    let events = text.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        event.as_object_mut().unwrap().remove("input");
        if let Some(finding) = event.get_mut("finding") {
            finding.as_object_mut().unwrap().remove("evidence_file");
        }
        if let Some(stats) = event.get_mut("stats") {
            stats.as_object_mut().unwrap().remove("left_out");
        }
        if event.get("frame").is_none() {
            event.as_object_mut().unwrap().remove("timestamp");
        }
        event
    });
    events.collect()
}

#[test]
fn a_saved_capture_gives_what_was_reported_live_and_each_finding_has_its_file() {
    let folder = TestDir::new("live-save");
    let (saved, out) = (folder.file("saved.pcapng"), folder.file("events"));
    let evidence = folder.file("evidence");
    let Some(watch) = LiveLoop::start(&["-w", &saved, "-o", &out, "--evidence", &evidence]) else {
        return;
    };
    watch.dial();
    let finding = || {
        let text = fs::read_to_string(&out).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        events(whole).into_iter().any(|event| event["event_type"] == "finding")
    };
    wait_until("the finding is told", finding);
    // While it runs: the packets of the dial, and the file of the finding, whole.
    wait_until("the packets are in the file", || frames(&saved) >= 10);
    let files: Vec<_> = fs::read_dir(&evidence).unwrap().map(|it| it.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(watch.stop(), Some(0));

    let live = fs::read_to_string(&out).unwrap();
    assert!(live.contains(&format!("\"evidence_file\":\"{}\"", file.display())), "{live}");
    let port = live.split("\"dest_port\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let again = lines_of(&["--json", "--dist-port", &port, &saved]);
    assert_eq!(events(&again), events(&live));
    let alone = lines_of(&["--json", &file.display().to_string()]);
    let titles = |text: &str| {
        let found = events(text).into_iter().filter(|event| event["event_type"] == "finding");
        found.map(|event| event["finding"]["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&alone), titles(&live));
    for (path, mode) in [(saved.as_str(), 0o600), (evidence.as_str(), 0o700)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A request and an answer of another protocol.
fn other_protocol(listener: &TcpListener) {
    let (mut a, mut b) = connected(listener);
    a.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(b.read(&mut [0; 100]).unwrap() > 0);
    b.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert!(a.read(&mut [0; 100]).unwrap() > 0);
}

#[test]
fn an_extract_of_an_interface_has_what_matters_while_it_comes_and_ends_whole() {
    let folder = TestDir::new("live-extract");
    let [all, small, of_all] =
        ["all.pcapng", "small.pcapng", "of-all.pcapng"].map(|it| folder.file(it));
    // An address that no other test uses.
    let [nodes, web] = [(); 2].map(|()| TcpListener::bind("127.0.7.7:0").unwrap());
    let filter = "host 127.0.7.7";
    let start = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
        command.args(arguments).args(["-i", "lo", "-f", filter]).stdout(Stdio::null());
        listening("live extract", &mut command)
    };
    let Some(mut extract) = start(&["extract", "-w", &small]) else { return };
    let Some(mut saving) = start(&["--json", "-w", &all]) else { return };
    for _ in 0..5 {
        other_protocol(&web);
    }
    refused_cookie(&nodes);
    wait_until("the packets are in the file", || frames(&small) >= 10);
    other_protocol(&web);
    wait_until("the packets are in the other", || frames(&all) >= 60);
    for child in [&mut extract, &mut saving] {
        signal(child, "INT");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    lines_of(&["extract", "-q", &all, "-w", &of_all]);
    let found = |file: &str| {
        let mut found = events(&lines_of(&["--json", file]));
        let stats = found.pop().unwrap();
        assert_eq!(stats["stats"]["kernel_drops"], 0, "{stats}");
        assert!(found.iter().any(|it| it["finding"]["rule"] == "cookie-mismatch"), "{found:?}");
        // Both number the same packets; the time of each is read for each program.
        let compared = |it: &Value| {
            let finding = &it["finding"];
            let evidence = finding["evidence"].as_array().cloned().unwrap_or_default();
            let evidence: Vec<_> = evidence.iter().map(|it| it["frame"].clone()).collect();
            (it["event_type"].clone(), it["frame"].clone(), finding["rule"].clone(), evidence)
        };
        found.iter().map(compared).collect::<Vec<_>>()
    };
    assert_eq!(found(&small), found(&of_all));
    assert_eq!(frames(&small), frames(&of_all));
    assert!(frames(&small) < frames(&all));
    assert_eq!(fs::metadata(&small).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_row_goes_on_behind_the_sandbox_and_its_oldest_files_go() {
    let folder = TestDir::new("live-row");
    let Some(watch) = LiveLoop::start(&["-w", &folder.file("lan.pcap"), "-C", "1k", "-W", "3"])
    else {
        return;
    };
    let names = || folder.names();
    (0..5).for_each(|_| watch.dial());
    let last = || names().last().and_then(|name| name.rsplit_once('-')?.1[..5].parse().ok());
    wait_until("several files", || last() >= Some(5));
    assert_eq!(watch.stop(), Some(0));
    assert_eq!(names().len(), 3, "{:?}", names());
    for name in names() {
        assert!(frames(&folder.file(&name)) > 0, "{name}");
    }
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_on_sighup() {
    let folder = TestDir::new("live-hup");
    let (saved, moved) = (folder.file("lan.pcapng"), folder.file("moved.pcapng"));
    // Without -o, the reader of standard output is the one that closes.
    let Some(watch) = LiveLoop::start(&["-w", &saved, "-o", "/dev/null"]) else { return };
    watch.dial();
    wait_until("packets", || frames(&saved) >= 10);
    // The file is where it was: writing goes on.
    let file = fs::metadata(&saved).unwrap().ino();
    watch.signal("HUP");
    watch.dial();
    wait_until("more packets", || frames(&saved) >= 20);
    assert_eq!(fs::metadata(&saved).unwrap().ino(), file);
    fs::rename(&saved, &moved).unwrap();
    watch.signal("HUP");
    wait_until("another file", || Path::new(&saved).exists());
    watch.dial();
    wait_until("packets in the other file", || frames(&saved) >= 10);
    assert_eq!(watch.stop(), Some(0));
    assert!(frames(&moved) >= 20);
}

#[test]
fn another_user_writes_into_the_directory_that_was_made_for_it() {
    // Only root becomes another user.
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        skip("saving as another user", "not root");
        return;
    }
    let folder = TestDir::new("live-user");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o711)).unwrap();
    let (saved, evidence) = (folder.file("lan.pcapng"), folder.file("evidence"));
    let Some(watch) = LiveLoop::start(&["-Z", "65534", "-w", &saved, "--evidence", &evidence])
    else {
        return;
    };
    watch.dial();
    wait_until("a file of evidence", || fs::read_dir(&evidence).unwrap().count() == 1);
    assert_eq!(watch.stop(), Some(0));
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    let file = fs::read_dir(&evidence).unwrap().next().unwrap().unwrap().path();
    assert_eq!([owner(&file), owner(Path::new(&saved))], [65534, 65534]);
}

#[test]
fn another_user_gets_what_the_run_made_and_nothing_that_was_there() {
    if !fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        skip("saving as another user", "not root");
        return;
    }
    let folder = TestDir::new("live-user-old");
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o711)).unwrap();
    let [saved, out, evidence] = ["lan.pcapng", "events", "evidence"].map(|it| folder.file(it));
    let owners = || [&saved, &out, &evidence].map(|path| fs::metadata(path).unwrap().uid());
    let arguments = ["-Z", "65534", "-w", &saved, "-o", &out, "--evidence", &evidence];
    let Some(watch) = LiveLoop::start(&arguments) else { return };
    assert_eq!(owners(), [65534; 3], "made by the run");
    assert_eq!(watch.stop(), Some(0));
    // Those of the first run are used again.
    let Some(watch) = LiveLoop::start(&arguments) else { return };
    assert_eq!(watch.stop(), Some(0));
    [&saved, &out].into_iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::remove_dir_all(&evidence).unwrap();
    [&saved, &out].into_iter().for_each(|path| fs::write(path, "").unwrap());
    fs::create_dir(&evidence).unwrap();
    let Some(watch) = LiveLoop::start(&arguments) else { return };
    assert_eq!(owners(), [0; 3], "there before");
    assert_eq!(watch.stop(), Some(0));
}

#[test]
fn a_reader_of_packets_that_stops_costs_the_analysis_nothing() {
    let folder = TestDir::new("live-stdout");
    let (out, saved) = (folder.file("events"), folder.file("saved.pcapng"));
    let Some(mut watch) = LiveLoop::start(&["-w", "-", "-o", &out]) else { return };
    // Far more than a pipe and the queue hold, while nothing reads.
    let (mut a, mut b) = connected(&watch.listener);
    let reader = thread::spawn(move || {
        let mut room = vec![0; 1 << 20];
        while matches!(b.read(&mut room), Ok(1..)) {}
    });
    let junk = vec![0xee; 4 << 20];
    wait_until("packets are left out", || {
        a.write_all(&junk).unwrap();
        let reported = fs::read_to_string(&out).unwrap_or_default();
        reported.contains("packets are left out of standard output")
    });
    drop(a);
    reader.join().unwrap();
    // While packets were dropped, nothing is reported that rests on one that is not there.
    wait_until("the finding is told", || {
        watch.dial();
        fs::read_to_string(&out).unwrap_or_default().contains("\"cookie-mismatch\"")
    });
    let mut stdout = watch.child.stdout.take().unwrap();
    let rest = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(watch.stop(), Some(2), "not all was saved");
    fs::write(&saved, rest.join().unwrap()).unwrap();
    assert!(frames(&saved) > 0);
}
