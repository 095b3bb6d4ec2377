//! `--anonymize`: what is written is judged as the original, and holds none of its names, addresses and secrets.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::capture_builder::{CaptureBuilder, End};
use crate::support::{SEED, TestDir, WITH_SECRETS, beamscope, captures, skip};
use beamscope::capture::{CaptureFile, Item};

fn events(arguments: &[&str]) -> Vec<Value> {
    let output = beamscope(&[&["--json"], arguments].concat()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What of the events is the same whatever the names: rules, severities, states, outcomes and frames.
fn gist(events: &[Value]) -> Vec<String> {
    let mut gist: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let frame = &event["frame"];
            Some(match event["event_type"].as_str()? {
                "finding" => {
                    let finding = &event["finding"];
                    let of = ["rule", "severity", "confidence"].map(|key| finding[key].clone());
                    let evidence = finding["evidence"].as_array()?.iter();
                    let mut frames: Vec<_> =
                        evidence.filter_map(|it| it["frame"].as_u64()).collect();
                    frames.sort_unstable();
                    format!("finding {frame} {of:?} {frames:?}")
                }
                "session" => {
                    let session = &event["session"];
                    let of = ["outcome", "state", "confidence", "reached"];
                    format!("session {frame} {:?}", of.map(|key| session[key].clone()))
                }
                "epmd" => {
                    let epmd = &event["epmd"];
                    let names = epmd["names"].as_array().map(Vec::len);
                    format!("epmd {frame} {} {} {names:?}", epmd["request"], epmd["outcome"])
                }
                "handshake" => {
                    let handshake = &event["handshake"];
                    let of = ["message", "from", "flags", "creation"];
                    format!("handshake {frame} {:?}", of.map(|key| handshake[key].clone()))
                }
                "incident" => {
                    let incident = &event["incident"];
                    let of = ["rule", "state", "count", "settled_frame"];
                    format!("incident {:?}", of.map(|key| incident[key].clone()))
                }
                "stats" => {
                    let stats = &event["stats"];
                    let of = ["packets", "sessions", "findings", "problems"];
                    format!("stats {:?}", of.map(|key| stats[key].clone()))
                }
                _ => return None,
            })
        })
        .collect();
    gist.sort();
    gist
}

/// Bytes of all frames, names of addresses and comments of a capture.
fn contents(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    let mut bytes = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        match item {
            Item::Frame(frame) => {
                bytes.extend_from_slice(frame.bytes);
                bytes.push(0);
            }
            Item::Names { names, .. } => {
                for (ip, name) in names {
                    bytes.extend(ip.to_string().into_bytes());
                    bytes.extend_from_slice(name);
                    bytes.push(0);
                }
            }
            Item::KeyLog { .. } => bytes.extend(b"secrets"),
            Item::Interface { interface, .. } => {
                bytes.extend(interface.name.iter().flat_map(|name| name.bytes()));
            }
            _ => {}
        }
    }
    bytes
}

/// Names of five characters or more, addresses, challenges and digests of a capture, as bytes that nothing may contain.
fn marks(capture: &str) -> BTreeSet<Vec<u8>> {
    let mut marks = BTreeSet::new();
    for event in events(&["--include-secrets", capture]) {
        let handshake = &event["handshake"];
        let node = &event["node"];
        let names = [
            &handshake["name"],
            &handshake["assigned_name"],
            &event["epmd"]["name"],
            &node["node"],
        ];
        for name in names.iter().filter_map(|name| name.as_str()) {
            let parts = name.split('@').chain([name]);
            marks.extend(parts.map(|part| part.as_bytes().to_vec()));
        }
        for name in event["epmd"]["names"].as_array().into_iter().flatten() {
            marks.extend(name["name"].as_str().map(|name| name.as_bytes().to_vec()));
        }
        if let Some(digest) = handshake["digest"].as_str() {
            let byte = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap();
            marks.insert((0..digest.len()).step_by(2).map(byte).collect());
        }
        for key in ["src_ip", "dest_ip"] {
            let Some(ip) = event[key].as_str().and_then(|ip| ip.parse::<IpAddr>().ok()) else {
                continue;
            };
            marks.insert(ip.to_string().into_bytes());
            match ip {
                IpAddr::V4(ip) => marks.insert(ip.octets().to_vec()),
                IpAddr::V6(ip) => marks.insert(ip.octets().to_vec()),
            };
        }
    }
    let is_special = |mark: &[u8]| {
        let text = String::from_utf8_lossy(mark);
        let ip = text.parse::<IpAddr>().ok().or_else(|| match mark {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d])),
            _ => <[u8; 16]>::try_from(mark).ok().map(IpAddr::from),
        });
        // What docs/privacy.md lists: it belongs to no one.
        ip.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
            || ["localhost", "AAAAAA", "AAAAAAA", "AAAAAA@AAAAAAA", "nowhere"].contains(&&*text)
            // The pattern of the names of a tool.
            || text.contains('*')
    };
    marks.retain(|mark| {
        (mark.len() >= 5 || mark.len() == 4 && !mark.is_ascii()) && !is_special(mark)
    });
    marks
}

/// Whether the bytes contain a mark; an address as text only where it is not a part of another one.
fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    let is_address = std::str::from_utf8(mark).is_ok_and(|it| it.parse::<IpAddr>().is_ok());
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'))
    };
    let mut places = bytes.windows(mark.len()).enumerate().filter(|(_, it)| *it == mark);
    places.any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        !is_address || !is_part(before) && !is_part(bytes.get(at + mark.len()))
    })
}

#[test]
fn every_capture_is_judged_as_before_and_nothing_of_it_is_left() {
    let folder = TestDir::new("anonymize");
    let out = folder.file("out.pcapng");
    for capture in captures().into_iter().filter(|it| it != WITH_SECRETS) {
        let written =
            beamscope(&["annotate", "--anonymize", &capture, "-o", &out]).output().unwrap();
        assert!(Path::new(&out).exists(), "{capture}: {written:?}");
        let (before, after) = (gist(&events(&[&capture])), gist(&events(&[&out])));
        assert_eq!(after, before, "{capture}");
        let bytes = contents(&out);
        for mark in marks(&capture) {
            assert!(!contains(&bytes, &mark), "{capture}: {:?}", String::from_utf8_lossy(&mark));
        }
        fs::remove_file(&out).unwrap();
    }
}

#[test]
fn saved_packets_evidence_and_events_are_anonymised_alike() {
    let folder = TestDir::new("anonymize-saved");
    let (saved, evidence) = (folder.file("saved.pcapng"), folder.file("evidence"));
    let arguments = ["--anonymize", "-w", &saved, "--evidence", &evidence, SEED];
    let printed = events(&arguments);
    assert_eq!(gist(&printed), gist(&events(&[SEED])));
    assert_eq!(gist(&events(&[&saved])), gist(&printed));
    let mut files = vec![saved];
    files.extend(
        printed.iter().filter_map(|it| it["finding"]["evidence_file"].as_str()).map(str::to_owned),
    );
    assert_eq!(files.len(), 3, "{files:?}");
    let text = printed.iter().map(Value::to_string).collect::<String>();
    for mark in marks(SEED) {
        for file in &files {
            assert!(!contains(&fs::read(file).unwrap(), &mark), "{file}: {mark:?}");
        }
        let mark = String::from_utf8_lossy(&mark).into_owned();
        assert!(!text.contains(&mark), "{mark}");
    }
}

const MARKER: &[u8] = b"a message with private data in it";

/// A connection whose streams are cut into pieces of this size, each sent twice; every third pair is in reverse order.
fn in_pieces(capture: &mut CaptureBuilder, size: usize) {
    let named = |name: &str| [&[0, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    let framed = |message: Vec<u8>| {
        let len = u16::try_from(message.len()).unwrap().to_be_bytes();
        [len.as_slice(), &message].concat()
    };
    let flags = [0, 0, 0, 0x0d, 0x07, 0xdf, 0x7f, 0xbd];
    let hello =
        [b"N".as_slice(), &flags, &[0, 0, 0, 9], &named("alpha@first.example.lan")].concat();
    let challenge =
        [b"N".as_slice(), &flags, &[7; 4], &[0, 0, 0, 9], &named("gamma@second.example.lan")]
            .concat();
    let term = [&[109, 0, 0, 0, u8::try_from(MARKER.len()).unwrap()], MARKER].concat();
    let body = [&[131, 68, 0, 104, 2, 97, 2, 119, 0][..], &term].concat();
    let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    capture.epmd_lookup("10.1.2.3:39999", "10.1.2.4:4369", "gamma", Some(9100));
    let mut dial = capture.connect("10.1.2.3:40000", "10.1.2.4:9100");
    for (from, bytes) in [
        (End::Initiator, framed(hello)),
        (End::Acceptor, framed(b"sok".to_vec())),
        (End::Acceptor, framed(challenge)),
        (End::Initiator, framed([b"r".as_slice(), &[3; 4], &[4; 16]].concat())),
        (End::Acceptor, framed([b"a".as_slice(), &[5; 16]].concat())),
        (End::Initiator, frame),
    ] {
        for piece in bytes.chunks(size) {
            dial.send_in_vain(from, piece, 0);
            dial.send_again(from, piece);
            dial.acknowledge(from.peer());
        }
    }
    dial.close(End::Acceptor);
}

#[test]
fn names_that_are_split_over_segments_and_sent_twice_are_replaced_alike() {
    let folder = TestDir::new("anonymize-pieces");
    let (original, out) = (folder.file("original.pcap"), folder.file("out.pcapng"));
    for size in [1, 2, 3, 5, 7, 11, 40] {
        let mut capture = CaptureBuilder::new();
        in_pieces(&mut capture, size);
        capture.write(&folder, "original.pcap");
        beamscope(&["annotate", "--anonymize", &original, "-o", &out]).output().unwrap();
        let before = events(&[&original]);
        assert!(before.iter().any(|it| it["session"]["reached"] == "challenge_ack"), "{before:?}");
        assert_eq!(gist(&events(&[&out])), gist(&before), "{size}");
        let bytes = contents(&out);
        for mark in
            [&b"alpha"[..], b"first", b"gamma", b"second", b"example", &MARKER[2..9], &[4; 16]]
        {
            assert!(!contains(&bytes, mark), "{size}: {:?}", String::from_utf8_lossy(mark));
        }
        let conflicts = |events: &[Value]| {
            events.iter().filter(|it| it["anomaly"]["kind"] == "overlap_conflict").count()
        };
        assert_eq!(conflicts(&events(&[&out])), conflicts(&before), "{size}");
    }
}

#[test]
fn data_of_other_protocols_is_zero() {
    let folder = TestDir::new("anonymize-others");
    let out = folder.file("out.pcapng");
    let mut capture = CaptureBuilder::new();
    capture
        .connect("10.1.2.3:40000", "10.1.2.4:8080")
        .send(End::Initiator, &[b"GET /secret HTTP/1.1\r\nHost: ", MARKER].concat())
        .send(End::Acceptor, MARKER)
        .close(End::Initiator);
    capture
        .connect("10.1.2.3:40001", "10.1.2.4:4369")
        .send(End::Initiator, &[b"GET /secret HTTP/1.1\r\nHost: ", MARKER].concat())
        .close(End::Initiator);
    in_pieces(&mut capture, 40);
    let original = capture.write(&folder, "original.pcap");
    beamscope(&["annotate", "--anonymize", &original, "-o", &out]).output().unwrap();
    assert_eq!(gist(&events(&[&out])), gist(&events(&[&original])));
    let bytes = contents(&out);
    assert!(!contains(&bytes, b"secret") && !contains(&bytes, MARKER));
}

#[test]
fn tshark_finds_no_fault_that_the_original_does_not_have() {
    let folder = TestDir::new("anonymize-tshark");
    let out = folder.file("out.pcapng");
    let faults = |path: &str| -> Result<BTreeSet<String>, std::io::Error> {
        let filter = "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || \
                      udp.checksum.status == 0 || icmp.checksum.status == 0";
        let checks = ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"];
        let output = Command::new("tshark")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["-r", path, "-Y", filter, "-T", "fields", "-e", "frame.number"])
            .args(checks.iter().flat_map(|check| ["-o".to_owned(), format!("{check}:TRUE")]))
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().map(str::to_owned).collect())
    };
    // tshark takes a while for each.
    for capture in captures().into_iter().filter(|it| !it.contains("fmt-")).step_by(6) {
        beamscope(&["annotate", "--anonymize", &capture, "-o", &out]).output().unwrap();
        let (before, after) = match (faults(&capture), faults(&out)) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(e), _) | (_, Err(e)) => return skip("tshark", &e.to_string()),
        };
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.is_empty(), "{capture}: {new:?}");
    }
}
