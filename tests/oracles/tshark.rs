//! Side by side with tshark: the frames of every capture, and the stream of each direction of each TCP
//! connection in it.
//!
//! tshark is the second opinion up to the first byte that it reports as missing; what lies behind a
//! hole, both may differ and neither is wrong.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::link_headers::{LINK_HEADERS, as_pcap, as_snoop};
use crate::support::streams::{Stream, Streams};
use crate::support::{SEED, TestDir, corpus, skip};
use beamscope::capture::{CaptureFile, Frame, Item};
use beamscope::decode::{Decoded, Decoder, Endpoint};
use beamscope::limits::DefragLimits;

#[test]
fn frames_and_streams_are_those_of_tshark() {
    if is_missing() {
        return;
    }
    corpus::check_all(compare);
}

#[test]
fn link_types_and_snoop_files_are_read_as_tshark_reads_them() {
    if is_missing() {
        return;
    }
    let folder = TestDir::new("tshark-links");
    let path = folder.0.join("capture");
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED);
    let compare = |file: Vec<u8>, what: String| {
        fs::write(&path, file).unwrap();
        assert_eq!(compare(&path), [""; 0], "{what}");
    };
    for link in LINK_HEADERS.iter().filter(|link| link.is_in_tshark) {
        compare(as_pcap(&seed, link), format!("link type {}", link.link));
    }
    compare(as_snoop(&seed), "snoop".to_owned());
}

/// Whether tshark cannot be run; fails where nothing may be skipped.
fn is_missing() -> bool {
    let version = Command::new("tshark").arg("--version").stdout(Stdio::null()).status();
    if let Err(e) = &version {
        skip("tshark", &e.to_string());
    }
    version.is_err()
}

/// What the two sides differ in.
fn compare(path: &Path) -> Vec<String> {
    let ours = Ours::read(path);
    let theirs = Theirs::read(path, ours.streams.connections.len());
    let mut differences = Vec::new();
    let mut differ = |what: String| differences.push(what);
    if ours.frames.len() != theirs.frames.len() {
        differ(format!("{} frames, tshark has {}", ours.frames.len(), theirs.frames.len()));
    }
    let (mut stream_of, mut connection_of) = (BTreeMap::new(), BTreeMap::new());
    for (number, (our, their)) in (1..).zip(ours.frames.iter().zip(&theirs.frames)) {
        if our.header != their.header {
            differ(format!("frame {number} is {:?}, tshark: {:?}", our.header, their.header));
        }
        match (our.connection, their.stream) {
            (Some(connection), Some(stream)) => {
                let known = *stream_of.entry(connection).or_insert(stream);
                let unique = *connection_of.entry(stream).or_insert(connection) == connection;
                if known != stream || !unique {
                    differ(format!("frame {number}: of stream {known}, tshark: {stream}"));
                }
            }
            (None, Some(_)) if their.is_icmp => {}
            (None, None) => {}
            (our, their) => differ(format!("frame {number}: TCP {our:?}, tshark: {their:?}")),
        }
    }
    for (index, connection) in ours.streams.connections.iter().enumerate() {
        let Some(stream) = stream_of.get(&index) else { continue };
        for (end, our) in &connection.streams {
            let their = theirs.streams.get(&(*stream, *end)).cloned().unwrap_or_default();
            let same = match (our.cut, their.hole) {
                (true, _) => their.bytes.starts_with(&our.bytes),
                (false, true) => our.bytes.starts_with(&their.bytes),
                (false, false) => our.bytes == their.bytes,
            };
            if !same {
                let at = our.bytes.iter().zip(&their.bytes).take_while(|(a, b)| a == b).count();
                differ(format!(
                    "stream {stream} from {end:?} differs at byte {at}: {our} tshark: {their}",
                    our = our.from(at),
                    their = their.from(at)
                ));
            }
        }
    }
    differences
}

/// Capture time in nanoseconds, bytes on the wire, bytes captured.
type Header = (u64, usize, usize);

/// What this crate makes of a capture.
#[derive(Default)]
struct Ours {
    frames: Vec<OurFrame>,
    streams: Streams,
}

struct OurFrame {
    header: Header,
    connection: Option<usize>,
}

impl Ours {
    fn read(path: &Path) -> Self {
        let mut ours = Self::default();
        let mut capture = CaptureFile::open(path, 0).unwrap();
        let mut decoder = Decoder::new(DefragLimits::default());
        while let Some(item) = capture.next_item().unwrap() {
            if let Item::Frame(frame) = item {
                ours.on_frame(&frame, &mut decoder);
            }
        }
        ours.streams.finish();
        ours
    }

    fn on_frame(&mut self, frame: &Frame<'_>, decoder: &mut Decoder) {
        let header = (frame.at.0, frame.wire_len as usize, frame.bytes.len());
        let connection = match decoder.decode(frame) {
            Decoded::Tcp(segment) => Some(self.streams.on_segment(&segment)),
            _ => None,
        };
        self.frames.push(OurFrame { header, connection });
    }
}

/// What tshark makes of it.
#[derive(Default)]
struct Theirs {
    frames: Vec<TheirFrame>,
    streams: HashMap<(usize, Endpoint), Stream>,
}

struct TheirFrame {
    header: Header,
    stream: Option<usize>,
    is_icmp: bool,
}

impl Theirs {
    /// One run gives both: a line for each frame, then a block for each of the first streams.
    fn read(path: &Path, connections: usize) -> Self {
        let mut tshark = Command::new("tshark");
        tshark.arg("-n").arg("-r").arg(path).args(["-T", "fields", "-E", "occurrence=l"]);
        let fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "tcp.stream", "icmp.type"];
        tshark.args(fields.into_iter().chain(["icmpv6.type"]).flat_map(|field| ["-e", field]));
        // An ICMP message may quote a stream of which nothing else was seen.
        for stream in 0..connections + 8 {
            tshark.arg("-z").arg(format!("follow,tcp,raw,{stream}"));
        }
        let output = tshark.stderr(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (frames, blocks) = text.split_once("\n=====").unwrap();
        let frames = frames.lines().filter(|line| !line.is_empty()).map(TheirFrame::read).collect();
        let mut theirs = Self { frames, ..Self::default() };
        for block in blocks.split("Follow: tcp,raw\n").skip(1) {
            theirs.read_block(block);
        }
        theirs
    }

    /// ```text
    /// Filter: tcp.stream eq 0
    /// Node 0: 192.168.0.100:37832
    /// Node 1: [fd00::1]:4369
    /// 00047a74776f
    ///         7700829b4d0000060005000374776f0000
    /// ===================================================================
    /// ```
    fn read_block(&mut self, block: &str) {
        let mut lines = block.lines();
        let mut after = |label| lines.next().unwrap().strip_prefix(label).unwrap();
        let stream = after("Filter: tcp.stream eq ").parse().unwrap();
        let Some(ends) = endpoint(after("Node 0: ")).zip(endpoint(after("Node 1: "))) else {
            return;
        };
        for line in lines.take_while(|line| !line.starts_with("=====")) {
            let (end, hex) = match line.strip_prefix('\t') {
                Some(hex) => (ends.1, hex),
                None => (ends.0, line),
            };
            let bytes = bytes(hex);
            let stream = self.streams.entry((stream, end)).or_default();
            if bytes.starts_with(b"[") && bytes.ends_with(b" bytes missing in capture file]\0") {
                stream.hole = true;
            } else {
                stream.push(&bytes);
            }
        }
    }
}

impl TheirFrame {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[time, wire_len, captured, stream, icmp, icmpv6] = fields.as_slice() else {
            panic!("{line}")
        };
        let nanos = time.replace('.', "").parse().unwrap();
        Self {
            header: (nanos, wire_len.parse().unwrap(), captured.parse().unwrap()),
            stream: stream.parse().ok(),
            is_icmp: !icmp.is_empty() || !icmpv6.is_empty(),
        }
    }
}

/// `None` for a stream that is not there.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (ip, port) = text.rsplit_once(':')?;
    let ip: IpAddr = ip.trim_matches(['[', ']']).parse().ok()?;
    Some(Endpoint { ip, port: port.parse().ok()? })
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
