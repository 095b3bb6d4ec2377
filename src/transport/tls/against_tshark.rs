//! The bytes inside TLS as tshark decrypts them, beside ours.
//!
//! tshark numbers TCP connections in the order of their first packets, as this test does. Records of the distribution are
//! decrypted only if its dissector of that protocol is off.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::keylog::KeyLog;
use crate::capture::{CaptureFile, Item};
use crate::decode::{Decoded, Decoder, Segment};
use crate::flow::{Direction, FlowKey, PerDirection};
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::packet::PacketRef;
use crate::stream::StreamEvent;
use crate::stream::tcp::TcpConnection;
use crate::transport::Transport;

/// One TCP connection of a capture, and what was opened of it.
struct OpenedConnection {
    tcp: TcpConnection,
    transport: Transport,
    bytes: PerDirection<Vec<u8>>,
    has_gap: bool,
    /// The direction of the first packet, and the end that it came from.
    client: (Direction, String),
}

impl OpenedConnection {
    fn on_segment(&mut self, segment: &Segment<'_>, limits: &Limits) {
        let Self { tcp, transport, bytes, has_gap, .. } = self;
        tcp.on_segment(segment, limits, &mut |chunk| {
            transport.on_chunk(
                segment.direction,
                &chunk,
                true,
                &mut |direction, chunk| match chunk.event {
                    _ if !chunk.is_opened() => {}
                    StreamEvent::Data(more) => bytes[direction].extend_from_slice(more),
                    StreamEvent::Gap(_) => *has_gap = true,
                },
            );
        });
    }
}

/// What is opened of each connection of a capture, in the order of their first packets.
fn opened(capture: &Path, log: &KeyLog) -> Vec<OpenedConnection> {
    let limits = Limits::default();
    let budget = MemoryBudget::new(limits.held_total);
    let mut decoder = Decoder::new(limits.fragments);
    let mut places: HashMap<FlowKey, usize> = HashMap::new();
    let mut all: Vec<OpenedConnection> = Vec::new();
    let mut file = CaptureFile::open(capture, 0).unwrap();
    while let Some(item) = file.next_item().unwrap() {
        let Item::Frame(frame) = item else { continue };
        let Decoded::Tcp(segment) = decoder.decode_full(&frame) else { continue };
        let place = *places.entry(segment.flow).or_insert_with(|| {
            let first = PacketRef { frame: segment.frame, at: segment.at };
            all.push(OpenedConnection {
                tcp: TcpConnection::new(first, &budget),
                transport: Transport::recognizing(log, &MemoryBudget::new(1 << 20)),
                bytes: PerDirection::default(),
                has_gap: false,
                client: {
                    let end = segment.flow.end(segment.direction);
                    (segment.direction, format!("{}:{}", end.ip, end.port))
                },
            });
            all.len() - 1
        });
        all[place].on_segment(&segment, &limits);
    }
    all
}

/// What tshark decrypts of one connection: the bytes of `client`, and those of the other end.
fn by_tshark(capture: &Path, keys: &Path, number: usize, client: &str) -> Option<[Vec<u8>; 2]> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["--disable-protocol", "erldp", "-q", "-o"])
        .arg(format!("tls.keylog_file:{}", keys.display()))
        .args(["-z", &format!("follow,tls,raw,{number}")])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut sides = [Vec::new(), Vec::new()];
    for line in text.lines().filter(|line| line.trim_start().len() >= 2) {
        let digits = line.trim_start().as_bytes();
        if digits.iter().all(u8::is_ascii_hexdigit) {
            let pairs = digits.chunks_exact(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap());
            sides[usize::from(line.starts_with('\t'))].extend(bytes);
        }
    }
    // The end without indentation is the one that sent first, which the server does with a resumed session.
    let first = text.lines().find_map(|line| line.strip_prefix("Node 0: "))?;
    if first != client {
        sides.reverse();
    }
    Some(sides)
}

/// The captures of a folder that have a key log beside them.
fn with_keys(folder: &Path) -> Vec<[PathBuf; 2]> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let keys = entries.filter(|path| path.extension().is_some_and(|it| it == "keylog"));
    let pairs = keys.map(|keys| [keys.with_extension("pcap"), keys]);
    let mut pairs: Vec<_> = pairs.filter(|[capture, _]| capture.is_file()).collect();
    pairs.sort();
    pairs
}

#[test]
fn what_is_opened_is_what_tshark_decrypts() {
    if Command::new("tshark").arg("--version").output().is_err() {
        let is_required = std::env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() == Ok("1");
        assert!(!is_required, "tshark is missing");
        println!("skipped: tshark is missing");
        return;
    }
    let folder = std::env::var("BEAMSCOPE_TLS_CAPTURES");
    let folder = folder.unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/captures").into());
    let (mut compared, mut different) = (0, Vec::new());
    for [capture, keys] in with_keys(Path::new(&folder)) {
        let log = KeyLog::default();
        log.add_lines(&fs::read(&keys).unwrap());
        let mut all = 0;
        for (number, connection) in opened(&capture, &log).iter().enumerate() {
            let OpenedConnection { client: (client, end), bytes, has_gap, .. } = connection;
            let theirs = by_tshark(&capture, &keys, number, end).unwrap();
            let ours = [&bytes[*client], &bytes[client.reverse()]];
            // tshark passes over what is missing as well, and opens nothing with secrets of later generations.
            if *has_gap || theirs.iter().all(Vec::is_empty) || ours.iter().all(|it| it.is_empty()) {
                continue;
            }
            let lengths = |sides: [&[u8]; 2]| sides.map(<[u8]>::len);
            let (theirs, ours) = (theirs.each_ref().map(|it| &**it), ours.map(|it| &**it));
            if theirs != ours {
                different.push(format!(
                    "{}, connection {number}: {:?} bytes by tshark, {:?} by us",
                    capture.display(),
                    lengths(theirs),
                    lengths(ours)
                ));
            }
            all += ours[0].len() + ours[1].len();
        }
        println!("{}: {all} bytes are compared", capture.display());
        compared += usize::from(all > 0);
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(compared >= 5, "{compared} captures were compared");
}
