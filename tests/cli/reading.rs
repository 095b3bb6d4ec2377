//! What is read of a capture: by time, by filter, and while it is still being written.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
#[cfg(all(feature = "live", target_os = "linux"))]
use std::{
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use ruzstd::encoding::CompressionLevel;
use serde_json::Value;

/// What a run printed.
struct Run {
    status: i32,
    events: Vec<Value>,
    stderr: String,
}

impl Run {
    fn stats(&self) -> &Value {
        &self.events.last().unwrap()["stats"]
    }

    /// Frames that events name.
    fn frames(&self) -> Vec<u64> {
        self.events.iter().filter_map(|event| event["frame"].as_u64()).collect()
    }
}

fn beamscope(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/captures")).args(arguments);
    command
}

fn run(arguments: &[&str]) -> Run {
    let Output { status, stdout, stderr } = beamscope(arguments).output().unwrap();
    let lines = String::from_utf8(stdout).unwrap();
    Run {
        status: status.code().unwrap(),
        events: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn scratch(name: &str) -> PathBuf {
    env::temp_dir().join(format!("beamscope-reading-{}-{name}", process::id()))
}

/// Every capture there is, in order.
fn captures() -> Vec<String> {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/captures")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".pcap")).collect();
    names.sort();
    names
}

/// The seed: refused over the cookie (first frame 1), then connected.
const SEED: &str = "seed-lan-wrong-then-right-cookie.pcap";

#[test]
fn any_number_of_threads_gives_the_same_lines() {
    let folder = scratch("threads");
    fs::create_dir_all(&folder).unwrap();
    let seed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(SEED)).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let packed = gzip(&seed);
    let damaged = packed.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == 2000)).collect();
    let files = [
        ("one.pcap.gz", packed.clone()),
        ("two.pcap.zst", ruzstd::encoding::compress_to_vec(&seed[..], CompressionLevel::Fastest)),
        ("cut.pcap.gz", packed[..packed.len() / 2].to_vec()),
        ("damaged.pcap.gz", damaged),
        ("plain.pcap", seed),
        ("no-capture.gz", gzip(b"no capture")),
    ];
    let mut names = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        names.push(path.to_str().unwrap().to_owned());
    }
    for order in ["time", "given"] {
        let outputs = ["1", "2", "4", "64"].map(|threads| {
            let mut arguments = vec!["--json", "--order", order, "-j", threads];
            arguments.extend(names.iter().map(String::as_str));
            beamscope(&arguments).output().unwrap()
        });
        assert!(outputs[0].stdout.len() > 10_000);
        for output in &outputs[1..] {
            assert_eq!(output, &outputs[0]);
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn messages_are_the_same_lines_whether_a_thread_writes_them_or_not() {
    let all = captures();
    let lines = ["1", "2", "8"].map(|threads| {
        let mut arguments = vec!["--json", "--payloads", "-j", threads];
        arguments.extend(all.iter().map(String::as_str));
        beamscope(&arguments).output().unwrap()
    });
    let has_blocks = lines[0].stdout.len() > 10 * (64 << 10);
    assert!(has_blocks, "{}", lines[0].stdout.len());
    assert!(lines[1..].iter().all(|output| *output == lines[0]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_the_same_whether_a_thread_writes_or_not() {
    let all = captures();
    let stderr = ["1", "2"].map(|threads| {
        let mut arguments = vec!["--json", "--payloads", "-j", threads];
        arguments.extend(all.iter().map(String::as_str));
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        beamscope(&arguments).stdout(full).output().unwrap()
    });
    assert_eq!(stderr[0].status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stderr[0].stderr).contains("No space left on device"));
    assert_eq!(stderr[0], stderr[1]);
}

#[test]
fn a_window_of_time_keeps_the_numbers_of_its_frames() {
    let whole = run(&[SEED]);
    let (first, last) = (&whole.stats()["first"], &whole.stats()["last"]);
    let both = ["--since", first.as_str().unwrap(), "--until", last.as_str().unwrap(), SEED];
    assert_eq!(run(&both).stats(), whole.stats(), "both ends belong to it");

    let connected = |run: &Run| run.stats()["sessions"].clone();
    assert_eq!(connected(&whole)["cookie_mismatch"], 1);
    let verdict = whole.events.iter().find(|event| event["event_type"] == "finding").unwrap();
    let at = verdict["timestamp"].as_str().unwrap();
    let after = run(&["--since", at, SEED]);
    let expected: Vec<_> =
        whole.frames().into_iter().filter(|n| *n > verdict["frame"].as_u64().unwrap()).collect();
    let named: Vec<_> = after.frames();
    assert!(expected.iter().all(|n| named.contains(n)), "{expected:?} {named:?}");
    let before = run(&["--until", at, SEED]);
    assert_eq!(connected(&before)["cookie_mismatch"], 1);
    assert_eq!(connected(&before)["connected"], Value::Null);
    assert!(before.stats()["packets"].as_u64() < whole.stats()["packets"].as_u64());
}

#[test]
fn a_time_may_count_from_the_last_packet() {
    // The capture is from 15:29:51.691 to 15:29:52.159 UTC.
    let packets =
        |arguments: &[&str]| run(&[arguments, &[SEED]].concat()).stats()["packets"].clone();
    let after = packets(&["--since", "2026-11-22T15:29:52Z"]);
    assert!(after.as_u64().is_some_and(|n| n > 0) && after != packets(&[]));
    for since in ["15:29:52", "15:29:52Z", "16:29:52+01:00"] {
        assert_eq!(packets(&["--since", since]), after, "{since}");
    }
    assert_eq!(packets(&["--since", "1h ago"]), packets(&[]));
    assert_eq!(packets(&["--until", "0s ago"]), packets(&[]));
    assert_eq!(packets(&["--tz", "UTC", "--since", "2026-11-22 15:29:52"]), after);
}

#[test]
fn a_range_without_packets_is_an_error_that_names_what_the_capture_spans() {
    let run = run(&["--since", "15:30", SEED]);
    assert_eq!(run.status, 2);
    let expected = "hint: the capture has packets from 2026-11-22 15:29:51.691 to 2026-11-22 \
                    15:29:52.159 UTC\n";
    assert!(run.stderr.ends_with(expected), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn a_signal_asks_a_run_over_files_how_far_it_is() {
    let capture = fs::read(format!("{}/captures/{SEED}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut command = beamscope(&["--json", "-l", "-"]);
    let pipe = Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&capture).unwrap();
    // The first event shows that the packets were read, and so that the handler is installed.
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut printed = String::new();
    events.read_line(&mut printed).unwrap();
    let mut answers = BufReader::new(child.stderr.take().unwrap());
    let mut answer = String::new();
    while !answer.contains("1 problem so far") {
        let asked = Command::new("kill").args(["-USR1", &child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        answer.clear();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("read ") && answer.contains(" bytes in "), "{answer}");
    }
    drop(input);
    events.read_to_string(&mut printed).unwrap();
    assert!(child.wait().unwrap().success());
    let alone = beamscope(&["--json", SEED]).output().unwrap();
    assert_eq!(printed, String::from_utf8(alone.stdout).unwrap().replace(SEED, "-"));
}

#[test]
fn a_time_that_counts_from_the_last_packet_needs_a_file() {
    let mut command = beamscope(&["--since", "10m ago", "-"]);
    let capture =
        fs::File::open(format!("{}/captures/{SEED}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let output = command.stdin(capture).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("error: standard input can be read only once"), "{stderr}");
}

#[test]
fn times_that_make_no_sense_are_wrong_usage() {
    for arguments in [
        &["--since", "yesterday", SEED][..],
        &["--since", "2014-05-26", "--until", "2014-05-25", SEED],
        &["--since", "0", "-i", "lo"],
        &["--duration", "1", SEED],
        &["--duration", "1", "--follow", "no-such-file.pcap"],
        &["--follow", "-i", "lo"],
    ] {
        let run = run(arguments);
        assert_eq!((run.status, run.events.len()), (2, 0), "{arguments:?}: {}", run.stderr);
    }
}

#[cfg(feature = "live")]
#[test]
fn a_filter_keeps_what_it_names_on_every_link() {
    for capture in [SEED, "links-any-sll.pcap", "links-any-sll2.pcap", "links-tun.pcap"] {
        let whole = run(&[capture]);
        let filtered = run(&["-f", "tcp port 4369", capture]);
        assert_eq!(filtered.status, 0, "{}", filtered.stderr);
        assert_eq!(filtered.stats()["sessions"], serde_json::json!({}));
        assert_eq!(filtered.stats()["epmd"], whole.stats()["epmd"], "{capture}");
        assert!(filtered.frames().iter().all(|frame| whole.frames().contains(frame)));
        assert!(filtered.stderr.contains("nodes listen on any port"), "{}", filtered.stderr);
        assert_eq!(run(&["-q", "-f", "tcp port 4369", capture]).stderr, "");
        let all = run(&["-f", "tcp or icmp or icmp6", capture]);
        assert_eq!(
            (all.stats()["sessions"].clone(), &*all.stderr),
            (whole.stats()["sessions"].clone(), "")
        );
    }
}

#[cfg(feature = "live")]
#[test]
fn a_filter_out_of_a_file_may_have_comments() {
    let path = scratch("filter");
    fs::write(&path, "tcp # Erlang\nand port # EPMD\n4369\n").unwrap();
    let from_file = run(&["-F", path.to_str().unwrap(), SEED]);
    fs::remove_file(&path).unwrap();
    assert_eq!(from_file.events, run(&["-f", "tcp and port 4369", SEED]).events);
    let gone = run(&["-F", path.to_str().unwrap(), SEED]);
    assert_eq!((gone.status, gone.events.len()), (2, 0));
    assert!(gone.stderr.contains("cannot read the filter"), "{}", gone.stderr);
}

#[cfg(feature = "live")]
#[test]
fn what_a_filter_hides_is_reported() {
    let tagged = run(&["-f", "tcp", "links-vlan.pcap"]);
    assert!(tagged.stderr.contains("with VLAN tags"), "{}", tagged.stderr);
    let named = run(&["-f", "(tcp) or (vlan and (tcp))", "links-vlan.pcap"]);
    assert_eq!(named.stderr, "");
    assert_eq!(named.stats()["sessions"], run(&["links-vlan.pcap"]).stats()["sessions"]);
    let tunnel = run(&["-f", "host 10.10.0.1", "links-vxlan.pcap"]);
    assert!(tunnel.stderr.contains("in tunnels"), "{}", tunnel.stderr);
    assert_eq!(run(&["-f", "udp", "links-vxlan.pcap"]).stderr, "");
    let cut = run(&["-f", "greater 97", "fmt-snaplen96.pcap"]);
    assert!(cut.stderr.contains("116 packets"), "{}", cut.stderr);
}

/// Two frames: an IPv4 datagram in two fragments.
#[cfg(feature = "live")]
#[test]
fn fragments_that_a_filter_hides_are_reported() {
    #[rustfmt::skip]
    let mut capture = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0,
    ];
    for (offset, flags) in [(0u8, 0x20u8), (1, 0)] {
        capture.extend([1, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28, 0, 0, 0]);
        #[rustfmt::skip]
        capture.extend([
            0x45, 0, 0, 28, 0, 1, flags, offset, 64, 6, 0, 0, // IPv4, a fragment of TCP
            10, 0, 0, 1, 10, 0, 0, 2,
            0x9c, 0x40, 0x11, 0x11, 0, 0, 0, 0, // ports 40000, 4369
        ]);
    }
    let path = scratch("fragments.pcap");
    fs::write(&path, capture).unwrap();
    let path_text = path.to_str().unwrap();
    let hidden = run(&["-f", "tcp dst port 4369", path_text]);
    assert!(hidden.stderr.contains("1 IP fragments"), "{}", hidden.stderr);
    let kept = run(&["-f", "(tcp dst port 4369) or (ip[6:2] & 0x1fff != 0)", path_text]);
    fs::remove_file(&path).unwrap();
    assert!(!kept.stderr.contains("fragments"), "{}", kept.stderr);
    assert_eq!(kept.stats()["packets"], 2);
}

#[cfg(feature = "live")]
#[test]
fn a_filter_that_cannot_be_used_is_reported_once_and_the_rest_is_read() {
    let wrong = run(&["-f", "tcp prot 4369", SEED]);
    assert_eq!((wrong.status, wrong.events.len()), (2, 0));
    assert!(wrong.stderr.contains("syntax error"), "{}", wrong.stderr);

    let cooked = run(&["-f", "tcp or vlan", SEED, "links-any-sll2.pcap"]);
    assert_eq!(cooked.status, 2);
    assert_eq!(cooked.stderr.matches("link type 276").count(), 1, "{}", cooked.stderr);
    assert_eq!(cooked.stats()["anomalies"]["unsupported_link"], 1);
    assert_eq!(cooked.stats()["complete"], false);
    assert_eq!(cooked.stats()["sessions"], run(&[SEED]).stats()["sessions"]);
}

/// On loopback the kernel filters: of two connections, it hands over the one that the filter names.
#[cfg(all(feature = "live", target_os = "linux"))]
#[test]
fn a_filter_on_an_interface_is_the_kernels() {
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let [port, other] = [0, 1].map(|n: usize| listeners[n].local_addr().unwrap().port());
    let filter = format!("tcp port {port}");
    let child = beamscope(&["-i", "lo", "--duration", "2", "-f", &filter])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(1000));
    for _ in 0..20 {
        drop(TcpStream::connect(("127.0.0.1", other)).unwrap());
    }
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        println!("skipped: live: {stderr}");
        assert!(env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() != Ok("1"), "{stderr}");
        return;
    }
    assert!(stderr.contains(&format!("port {port} only")), "{stderr}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let packets = last["stats"]["packets"].as_u64().unwrap();
    assert!((3..20).contains(&packets), "a connection of {packets} packets");
}

/// A pcapng of two interfaces, each with a statistics block: `isb_ifdrop` (5), `isb_osdrop` (7).
#[test]
fn drops_that_a_capture_shows_are_in_the_statistics() {
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes()[..], &len, body, &len].concat()
    }
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut capture = block(0x0a0d_0d0a, &section);
    let interface = block(1, &[1, 0, 0, 0, 0, 0, 4, 0]);
    capture.extend([&interface[..], &interface].concat());
    for (id, if_drop, os_drop) in [(0u32, 3u64, 40u64), (1, 4, 2)] {
        let mut body = [&id.to_le_bytes()[..], &[0; 8]].concat();
        for (option, count) in [(5, if_drop), (7, os_drop)] {
            body.extend([option, 0, 8, 0]);
            body.extend(count.to_le_bytes());
        }
        capture.extend(block(5, &body));
    }
    let path = scratch("drops.pcapng");
    fs::write(&path, capture).unwrap();
    let run = run(&[path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("drops.pcapng holds no packet"), "{}", run.stderr);
    assert_eq!(run.stats()["kernel_drops"], 42);
    assert_eq!(run.stats()["interface_drops"], 7);
    assert_eq!(run.stats()["complete"], false);
}

#[cfg(not(feature = "live"))]
#[test]
fn without_libpcap_a_filter_explains_itself() {
    let run = run(&["-f", "tcp", SEED]);
    assert_eq!((run.status, run.events.len()), (2, 0));
    assert!(run.stderr.contains("tcpdump -r FILE -w - FILTER | beamscope -"), "{}", run.stderr);
}

/// Grows a copy of the seed while it is followed, cut inside a record.
#[cfg(unix)]
#[test]
fn a_file_that_grows_is_followed_until_the_time_is_over() {
    let capture =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(SEED)).unwrap();
    let path = scratch("growing.pcap");
    let (early, late) = capture.split_at(capture.len() / 2 + 5);
    fs::write(&path, early).unwrap();
    let arguments = ["--follow", "--duration", "3", path.to_str().unwrap()];
    let mut child = beamscope(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["event_type"], "epmd", "told before the file is whole");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(late).unwrap();
    let mut events = vec![first];
    events.extend(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()));
    assert!(child.wait().unwrap().success());
    fs::remove_file(&path).unwrap();

    let whole = run(&[SEED]);
    for event in &mut events {
        event["input"] = SEED.into();
    }
    assert_eq!(events, whole.events);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_what_is_followed_with_its_statistics() {
    let path = scratch("quiet.pcap");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(SEED), &path).unwrap();
    let mut child =
        beamscope(&["--follow", path.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    // By the shell: small systems have no other `kill`.
    let interrupt = format!("kill -INT {}", child.id());
    let interrupted = Command::new("sh").args(["-c", &interrupt]).status();
    assert!(interrupted.unwrap().success());
    let last = lines.last().unwrap().unwrap();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["stats"]["final"], true);
    assert!(child.wait().unwrap().success());
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_capture_without_the_start_of_a_connection_shows_it() {
    let unseen = |since: &str| {
        let run = run(&["--since", since, "tls-both.pcap"]);
        run.stats()["unseen"].as_array().cloned().unwrap_or_default()
    };
    assert!(unseen("2026-11-22T15:40:00Z").is_empty());
    let cut = unseen("2026-11-22T15:40:04.119054Z");
    assert_eq!(cut.len(), 1, "{cut:?}");
    assert!(cut[0]["detail"].as_str().unwrap().contains("no start of a TCP connection"), "{cut:?}");
}

#[cfg(unix)]
#[test]
fn statistics_of_a_followed_file_come_although_nothing_is_written() {
    let run = run(&["--follow", "--duration", "3s", "--stats-interval", "1s", SEED]);
    let stats: Vec<_> = run.events.iter().filter(|it| it["event_type"] == "stats").collect();
    assert!(stats.len() >= 3, "{}", stats.len());
    assert_eq!(stats[0]["stats"]["packets"], 65);
    assert_eq!(stats[0]["stats"]["final"], false);
}

/// Begins a copy of the seed anew while it is followed, as a log rotation that copies and truncates does.
#[cfg(unix)]
#[test]
fn a_followed_file_that_shrinks_keeps_what_was_read_and_is_named() {
    let path = scratch("shrinking.pcap");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(SEED), &path).unwrap();
    let arguments = ["--follow", "--duration", "60", path.to_str().unwrap()];
    let mut command = beamscope(&arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(24).unwrap();
    let rest = lines.map(|line| line.unwrap());
    let events: Vec<Value> =
        [first].into_iter().chain(rest).map(|line| serde_json::from_str(&line).unwrap()).collect();
    let ended = child.wait_with_output().unwrap();
    fs::remove_file(&path).unwrap();

    assert_eq!(ended.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(errors.contains("the file has become shorter while it was followed"), "{errors}");
    let of = |kind: &str| events.iter().filter(|event| event["event_type"] == kind).count();
    let whole = run(&[SEED]);
    for kind in ["session", "epmd", "handshake", "finding", "node"] {
        let wanted = whole.events.iter().filter(|event| event["event_type"] == kind).count();
        assert_eq!(of(kind), wanted, "{kind}");
    }
    assert_eq!((of("anomaly"), of("stats")), (1, 1));
}
