//! Extracts of captures give the events of the captures: the frames that are left out changed nothing.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use beamscope::capture::save::{Encoder, InterfaceInfo, SaveFormat};
use beamscope::capture::{
    Frame, Input, Inputs, Interface, Item, Order, Progress, Receiver, Source,
};
use beamscope::drive;
use beamscope::engine::{Config, Engine};
use beamscope::extract::{ExtractEnd, Facts, KeptItem, KeptItems, Selector};
use beamscope::record::{AnomalyKind, Body, Event};
use beamscope::time::Timestamp;

use crate::support::capture_builder::{CaptureBuilder, End, checksum};
use crate::support::pieces::{Kept, frames_of, pcap};
use crate::support::{TestDir, captures};

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

/// What is compared: each event, and of the statistics what is about Erlang.
fn lines(events: &[Event]) -> Vec<String> {
    let is_compared = |event: &&Event| match &event.body {
        // Frames of such a link type are counted, and nothing else.
        Body::Anomaly { anomaly } => anomaly.kind != AnomalyKind::UnsupportedLink,
        _ => true,
    };
    let line = |event: &Event| match &event.body {
        Body::Stats { stats } => format!(
            "{:?} {:?} {:?} {:?} {} {} {} {}",
            stats.sessions,
            stats.epmd,
            stats.findings,
            stats.problems,
            stats.gaps,
            stats.missing_bytes,
            stats.one_sided,
            stats.evictions
        ),
        _ => format!("{event:?}"),
    };
    events.iter().filter(is_compared).map(line).collect()
}

/// The first event that differs.
fn difference(expected: &[Event], found: &[Event]) -> Option<String> {
    let (expected, found) = (lines(expected), lines(found));
    let differs = |(a, b): &(&String, &String)| a != b;
    let first = expected.iter().zip(&found).find(differs);
    match first {
        Some((expected, found)) => Some(format!("expected {expected}\n   found {found}")),
        None if expected.len() == found.len() => None,
        None => {
            let longer = if expected.len() > found.len() { &expected } else { &found };
            let at = expected.len().min(found.len());
            Some(format!("{} and {} events: {:?}", expected.len(), found.len(), longer.get(at)))
        }
    }
}

/// Captures as one source, each named by its bytes.
fn inputs_of(captures: &[Vec<u8>]) -> Inputs {
    let input = |bytes: &Vec<u8>| {
        let sum = bytes
            .iter()
            .fold(0, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let source = Box::new(Cursor::new(bytes.clone()));
        Input::Stream { name: format!("part {sum}"), source }
    };
    Inputs::new(captures.iter().map(input).collect(), Order::Time).unwrap()
}

/// The events of one run over several captures.
fn events_of(captures: &[Vec<u8>]) -> Vec<Event> {
    events_with(captures, Config::default())
}

fn events_with(captures: &[Vec<u8>], config: Config) -> Vec<Event> {
    let mut engine = Engine::new(config, Vec::new());
    drive::run(&mut inputs_of(captures), &mut engine, &mut ()).unwrap();
    engine.finish()
}

/// Writes what is kept.
struct ToFile {
    encoder: Encoder,
    bytes: Vec<u8>,
    frames: u64,
}

impl KeptItems<()> for ToFile {
    fn on_kept(&mut self, item: KeptItem<'_, ()>) {
        if let KeptItem::Frame(frame) = item {
            let Self { encoder, bytes, frames } = self;
            encoder.frame(frame, [], InterfaceInfo::default, bytes).unwrap();
            *frames += 1;
        }
    }
}

/// Gives the frames of a source to a selector.
struct Selecting {
    selector: Selector<()>,
    out: ToFile,
}

impl Receiver for Selecting {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.selector.on_frame(frame, &mut self.out);
        ControlFlow::Continue(())
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        match item {
            Item::Frame(frame) => self.on_frame(&frame),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// An extract of captures, the number of its frames, and what was selected.
fn extract(captures: &[Vec<u8>], facts: &Facts) -> (Vec<u8>, u64, ExtractEnd) {
    extract_with(captures, facts, &Config::default())
}

fn extract_with(
    captures: &[Vec<u8>],
    facts: &Facts,
    config: &Config,
) -> (Vec<u8>, u64, ExtractEnd) {
    let mut inputs = inputs_of(captures);
    let selector = Selector::new(config, facts);
    let encoder = Encoder::new(SaveFormat::Extract);
    let mut out = ToFile { encoder, bytes: Vec::new(), frames: 0 };
    out.encoder.begin("", &inputs.names(), &mut out.bytes);
    let mut selecting = Selecting { selector, out };
    let mut until = Timestamp::default();
    loop {
        match inputs.pump(&mut selecting).unwrap() {
            Progress::End => break,
            // The captures are extracts themselves.
            Progress::Idle(at) => until = until.max(at),
            Progress::More => {}
        }
    }
    let Selecting { selector, mut out } = selecting;
    let selected = selector.finish(&mut out);
    let counts = |_, _| Some(Interface { received: Some(selected.frames), ..Interface::default() });
    out.encoder.statistics(selected.until.max(until), counts, &mut out.bytes);
    (out.bytes, out.frames, selected)
}

/// Cuts frames at some places into captures of their own. Frames that are out of order are not torn apart.
fn cut(frames: &[Kept], random: &mut Random, most: usize) -> Vec<std::ops::Range<usize>> {
    let mut places: Vec<usize> = (0..most).map(|_| random.below(frames.len())).collect();
    places.extend([0, frames.len()]);
    places.sort_unstable();
    places.dedup();
    let before = |place: usize| frames[..place].iter().map(|frame| frame.nanos).max();
    let after = |place: usize| frames[place..].iter().map(|frame| frame.nanos).min();
    let is_clean =
        |place: &usize| *place == 0 || *place == frames.len() || before(*place) < after(*place);
    places.retain(is_clean);
    places.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[test]
fn an_extract_gives_the_events_of_its_capture() {
    let (mut kept, mut all) = (0, 0);
    for capture in captures() {
        let Some((link, frames)) = frames_of(&capture) else { continue };
        let bytes = pcap(link, &frames.iter().collect::<Vec<_>>(), 0);
        let (extract, frames, selected) = extract(std::slice::from_ref(&bytes), &Facts::default());
        kept += frames;
        all += selected.frames;
        if let Some(difference) = difference(&events_of(&[bytes]), &events_of(&[extract])) {
            panic!("{capture}: {difference}");
        }
    }
    assert!(kept < all, "{kept} of {all} frames");
}

/// Ends of connections on ports of which nothing is known.
const DIALED: &str = "10.0.0.2:9100";
const OTHER: &str = "10.0.0.4:9200";
const DIALS: &str = "10.0.0.1:40000";

const MINUTE: Duration = Duration::from_secs(60);

/// A capture whose first frame is of no connection: the first of a file is kept in any case.
fn begun() -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    capture.dns_question("10.0.0.1:5000", "10.0.0.9:53", "b.example");
    capture
}

/// Asserts that the extract of a capture, whose frames are changed first, gives the events of all of it, and has fewer frames.
fn assert_extracted(capture: &CaptureBuilder, config: &Config, change: impl Fn(&mut Vec<Kept>)) {
    let folder = TestDir::new("extracted");
    let (link, mut frames) = frames_of(&capture.write(&folder, "all.pcap")).unwrap();
    change(&mut frames);
    let all = pcap(link, &frames.iter().collect::<Vec<_>>(), 0);
    let (extract, kept, selected) =
        extract_with(std::slice::from_ref(&all), &Facts::default(), config);
    let [expected, found] = [all, extract].map(|bytes| events_with(&[bytes], config.clone()));
    let difference = difference(&expected, &found);
    assert!(difference.is_none(), "{}", difference.unwrap_or_default());
    assert!(kept < selected.frames, "{kept} of {} frames", selected.frames);
}

/// A connection of another protocol, none of whose frames matters.
fn add_other_protocol(capture: &mut CaptureBuilder) {
    let mut web = capture.connect("10.0.0.1:41000", "10.0.0.3:80");
    web.send(End::Initiator, b"GET / HTTP/1.1\r\n\r\n").close(End::Initiator);
}

#[test]
fn an_extract_has_late_frames_of_a_connection_where_the_clock_had_leapt() {
    let mut capture = begun();
    add_other_protocol(&mut capture);
    let mut leaps = vec![capture.frames()];
    add_other_protocol(&mut capture);
    let paused = capture.connect(DIALS, DIALED).send_name("a@10.0.0.1").pause();
    leaps.push(capture.frames());
    add_other_protocol(&mut capture);
    let mut dial = capture.resume(paused);
    dial.close(End::Initiator).wait(2 * MINUTE);
    dial.decoy(End::Initiator, b"late").wait(MINUTE).decoy(End::Acceptor, b"late");
    for leap in leaps {
        assert_extracted(&capture, &Config::default(), |frames| {
            // The clock of the engine is then far ahead, so that it does not forget the connection.
            frames[leap].nanos += 3_600 * 1_000_000_000;
        });
    }
}

#[test]
fn an_extract_has_late_frames_of_a_connection_with_an_icmp_error() {
    let mut capture = begun();
    add_other_protocol(&mut capture);
    let mut dial = capture.dial(DIALS, DIALED);
    dial.send_name("a@10.0.0.1").wait(Duration::from_secs(100));
    dial.unreachable_about(1_000).wait(Duration::from_secs(55));
    dial.send(End::Initiator, b"late").send(End::Initiator, b"later");
    assert_extracted(&capture, &Config::default(), |_| {});
}

#[test]
fn an_extract_has_late_frames_of_a_connection_that_made_room_in_another_table() {
    let mut config = Config::default();
    config.limits.connections = 2;
    let mut capture = begun();
    add_other_protocol(&mut capture);
    let mut waits = capture.connect(DIALS, DIALED);
    let paused = waits.send_name("a@10.0.0.1").pause();
    let mut long = capture.connect("10.0.0.1:40001", OTHER);
    long.send_name("a@10.0.0.1").send_status("ok");
    for _ in 0..70 {
        long.acknowledge(End::Initiator);
    }
    long.close(End::Initiator).wait(2 * MINUTE);
    capture.connect("10.0.0.1:40002", OTHER).send_name("a@10.0.0.1");
    capture.resume(paused).close(End::Acceptor);
    assert_extracted(&capture, &config, |_| {});
}

#[test]
fn an_extract_has_the_frames_of_a_connection_that_begins_in_ip_fragments() {
    let mut capture = begun();
    add_other_protocol(&mut capture);
    let mut dial = capture.connect(DIALS, DIALED);
    let begins = dial.frames();
    dial.send_name("a@10.0.0.1").acknowledge(End::Acceptor).acknowledge(End::Initiator);
    dial.close(End::Initiator);
    assert_extracted(&capture, &Config::default(), |frames| {
        let whole = frames.remove(begins);
        for (place, part) in fragments(&whole).into_iter().enumerate() {
            frames.insert(begins + place, part);
        }
    });
}

/// A frame of Ethernet and IPv4 without options, in two fragments.
fn fragments(whole: &Kept) -> [Kept; 2] {
    const IP: usize = 14;
    const BODY: usize = 34;
    const FIRST: usize = 32;
    let part = |body: &[u8], place: u16| {
        let mut bytes = [&whole.bytes[..BODY], body].concat();
        let len = (bytes.len() - IP) as u16;
        bytes[IP + 2..IP + 4].copy_from_slice(&len.to_be_bytes());
        bytes[IP + 6..IP + 8].copy_from_slice(&place.to_be_bytes());
        bytes[IP + 10..IP + 12].fill(0);
        let sum = checksum(&bytes[IP..BODY]);
        bytes[IP + 10..IP + 12].copy_from_slice(&sum);
        let (nanos, wire_len) = (whole.nanos, bytes.len() as u32);
        Kept { nanos, wire_len, bytes, direction: None }
    };
    let (first, second) = whole.bytes[BODY..].split_at(FIRST);
    // The flag that more fragments follow, and the offset in words of eight bytes (RFC 791, section 3.1).
    [part(first, 0x2000), part(second, FIRST as u16 / 8)]
}

#[test]
fn extracts_that_know_the_facts_of_all_parts_give_the_events_of_one_run() {
    let mut random = Random(0xfac75);
    let mut trials = 0;
    for capture in captures() {
        let Some((link, frames)) = frames_of(&capture) else { continue };
        for _ in 0..3 {
            let most = 1 + random.below(9);
            let ranges = cut(&frames, &mut random, most);
            let part = |range: &std::ops::Range<usize>| {
                pcap(link, &frames[range.clone()].iter().collect::<Vec<_>>(), 0)
            };
            let parts: Vec<_> = ranges.iter().map(part).collect();
            let mut facts = Facts::default();
            // In any order, and one twice.
            for part in parts.iter().rev().chain(parts.first()) {
                facts.add(extract(std::slice::from_ref(part), &Facts::default()).2.facts);
            }
            let extracts: Vec<_> =
                parts.iter().map(|part| extract(std::slice::from_ref(part), &facts).0).collect();
            if let Some(difference) = difference(&events_of(&parts), &events_of(&extracts)) {
                panic!("{capture} cut at {ranges:?}: {difference}");
            }
            trials += 1;
        }
    }
    assert!(trials > 100, "{trials}");
}

/// What a run over captures shows, and the names of its inputs.
fn run_of(captures: &[Vec<u8>]) -> (Vec<Event>, Vec<Arc<str>>) {
    (events_of(captures), inputs_of(captures).names())
}

/// Deals frames to captures of their own, as several hosts have them.
fn dealt<'a>(frames: &'a [Kept], random: &mut Random, count: usize) -> Vec<Vec<&'a Kept>> {
    let mut parts = vec![Vec::new(); count];
    frames.iter().for_each(|frame| parts[random.below(count)].push(frame));
    parts
}

#[test]
fn one_extract_of_all_parts_gives_the_events_and_inputs_of_one_run() {
    let mut random = Random(0x0a11);
    let mut trials = 0;
    for capture in captures() {
        let Some((link, frames)) = frames_of(&capture) else { continue };
        for trial in 0..2 {
            let count = 1 + random.below(5);
            let parts: Vec<_> = if trial > 0 {
                let ranges = cut(&frames, &mut random, count - 1);
                ranges.into_iter().map(|range| frames[range].iter().collect()).collect()
            } else {
                dealt(&frames, &mut random, count)
            };
            let parts: Vec<_> = parts.iter().map(|part| pcap(link, part, 0)).collect();
            let expected = run_of(&parts);
            let (all, _, selected) = extract(&parts, &Facts::default());
            // An extract of this extract, and of one of some parts and the others.
            let again = extract(std::slice::from_ref(&all), &selected.facts).0;
            let (some, others) = parts.split_at(random.below(parts.len()));
            let has_names = parts.len() > 1 && some.len() != 1;
            let some = if some.is_empty() { None } else { Some(extract(some, &selected.facts).0) };
            let mixed: Vec<_> = some.into_iter().chain(others.to_vec()).collect();
            let mixed = extract(&mixed, &Facts::default()).0;
            for (found, has_names) in
                [(all, parts.len() > 1), (again, parts.len() > 1), (mixed, has_names)]
            {
                let found = run_of(&[found]);
                if let Some(difference) = difference(&expected.0, &found.0) {
                    panic!("{capture} in {} parts: {difference}", parts.len());
                }
                // An extract of one has the name of its file.
                assert!(
                    !has_names || expected.1 == found.1,
                    "{capture}: {:?} {:?}",
                    expected.1,
                    found.1
                );
            }
            trials += 1;
        }
    }
    assert!(trials > 100, "{trials}");
}
