//! Capture files: whatever the bytes, reading ends, and what `pcap-parser` reads is read alike.

use beamscope::capture::{CaptureFile, Item};
use beamscope::drive;
use beamscope::engine::{Config, Engine};
use beamscope::extract::{Facts, KeptItem, KeptItems, Selector};
use beamscope::protocol::MessageDetail;
use beamscope::record::{AnomalyKind, Body, Event, Severity};
use beamscope::render::{Format, Options, Output, ReportForm, Shown, TermStyle, TextOptions};
use beamscope::time::Zone;
use pcap_parser::{Block, parse_block_le, parse_pcap_frame, parse_pcap_header};

/// Reads a capture of any format, compressed or not, to its end.
pub fn reader(data: &[u8]) {
    let (mut file, mut items) = (CaptureFile::from_bytes(data.to_vec()), 0_u64);
    while let Ok(Some(item)) = file.next_item() {
        if let Item::Frame(frame) = item {
            assert!(frame.bytes.len() <= 64 << 20, "a frame of {} bytes", frame.bytes.len());
        }
        items += 1;
        // A decompressed byte gives at most one item, and one compressed byte a thousand of those.
        assert!(items <= 1_100 * (data.len() as u64 + 64), "{items} items of {} bytes", data.len());
    }
}

/// Runs a capture through everything, messages and all forms of output included.
pub fn pipeline(data: &[u8]) {
    let (form, data) = data.split_first().unwrap_or((&0, &[]));
    let format = match form % 3 {
        0 => Format::Ndjson,
        1 => Format::Text(TextOptions { width: 80, verbose: true, ..TextOptions::default() }),
        _ => Format::Report(ReportForm::Html, Zone::default()),
    };
    let options = Options {
        format,
        only_findings: false,
        min_severity: Severity::Info,
        shown: Shown::default(),
        line_buffered: false,
        terms: if form & 16 == 0 { TermStyle::Erlang } else { TermStyle::Json },
    };
    let config = Config {
        messages: if form & 2 == 0 { MessageDetail::Payloads } else { MessageDetail::None },
        include_secrets: form & 4 != 0,
        warns: form & 8 != 0,
        dist_ports: vec![9100..=9200],
        ..Config::default()
    };
    let mut engine = Engine::new(config, Output::new(Vec::new(), vec!["input".into()], options));
    let mut file = CaptureFile::from_bytes(data.to_vec());
    let _ = drive::run(&mut file, &mut engine, &mut ());
    let _ = engine.finish().finish();
}

/// Extracts the frames that matter of a capture: these alone give the events that all of them give.
pub fn extract(data: &[u8]) {
    let mut file = CaptureFile::from_bytes(data.to_vec());
    let mut all = Engine::new(Config::default(), Vec::new());
    let mut kept = KeptFrames(Engine::new(Config::default(), Vec::new()));
    let mut selector: Selector<()> = Selector::new(&Config::default(), &Facts::default());
    while let Ok(Some(item)) = file.next_item() {
        if let Item::Frame(frame) = item {
            all.push_frame(&frame);
            selector.on_frame(&frame, &mut kept);
        }
    }
    let until = selector.finish(&mut kept).until;
    kept.0.advance(until);
    let (all, kept) = (all.finish(), kept.0.finish());
    let (mut all, mut kept) = (compared(&all), compared(&kept));
    loop {
        let (expected, found) = (all.next(), kept.next());
        assert_eq!(expected, found);
        if expected.is_none() {
            return;
        }
    }
}

/// Analyses what a selector keeps.
struct KeptFrames(Engine<Vec<Event>>);

impl KeptItems<()> for KeptFrames {
    fn on_kept(&mut self, item: KeptItem<'_, ()>) {
        if let KeptItem::Frame(frame) = item {
            self.0.push_frame(frame);
        }
    }
}

/// The events without what is about all frames.
fn compared(events: &[Event]) -> impl Iterator<Item = String> {
    let is_about_erlang = |event: &&Event| match &event.body {
        Body::Stats { .. } => false,
        Body::Anomaly { anomaly } => anomaly.kind != AnomalyKind::UnsupportedLink,
        _ => true,
    };
    events.iter().filter(is_about_erlang).map(|event| format!("{:?}", event.body))
}

/// Reads pcap and pcapng beside `pcap-parser`: as long as both have frames, they are the same.
pub fn pcap_parser(data: &[u8]) {
    let ours = ours(data);
    let Some(theirs) = theirs(data) else { return };
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "frame {number}");
    }
}

type Packet = (u32, Vec<u8>);

/// The frames before the first damage.
fn ours(data: &[u8]) -> Vec<Packet> {
    let (mut file, mut frames) = (CaptureFile::from_bytes(data.to_vec()), Vec::new());
    while let Ok(Some(item)) = file.next_item() {
        match item {
            Item::Frame(frame) => frames.push((frame.wire_len, frame.bytes.to_vec())),
            Item::Notice(_) => break,
            _ => {}
        }
    }
    frames
}

/// The frames of little-endian files in which every record so far is read. `None` if the file is of another kind.
fn theirs(data: &[u8]) -> Option<Vec<Packet>> {
    let mut frames = Vec::new();
    match *data {
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => {
            let (mut rest, _) = parse_pcap_header(data).ok()?;
            while let Ok((next, frame)) = parse_pcap_frame(rest) {
                frames.push((frame.origlen, frame.data.to_vec()));
                rest = next;
            }
        }
        [0x0a, 0x0d, 0x0d, 0x0a, _, _, _, _, 0x4d, 0x3c, 0x2b, 0x1a, ..] => {
            let mut rest = data;
            while let Ok((next, block)) = parse_block_le(rest) {
                match block {
                    Block::EnhancedPacket(packet) => {
                        let bytes = packet.data.get(..packet.caplen as usize)?;
                        frames.push((packet.origlen, bytes.to_vec()));
                    }
                    // The length of these is bounded by the snaplen of the interface, which is not looked up here.
                    Block::SimplePacket(_) => return None,
                    _ => {}
                }
                rest = next;
            }
        }
        _ => return None,
    }
    Some(frames)
}
