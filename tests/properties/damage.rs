//! Captures cut anywhere, and with any byte of their headers flipped: no panic, no hang, memory
//! bounded, everything before the damage delivered, and the same events reported about it.
//!
//! Where frames end is found here by a walk of its own, so that the readers are not their own witness.
//! Large captures are tried at places of a fixed seed, as many as their size allows; a hundred times as
//! many, and each with more patterns, with `BEAMSCOPE_FULL=1`.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Cursor, Read};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{corpus, is_alone};
use beamscope::capture::{CaptureFile, Error, Frame, Item, LinkType, Notice, NoticeKind};
use beamscope::drive::{self, Control};
use beamscope::engine::{Config, Engine};
use beamscope::protocol::digest::{CandidateCookies, Cookie};
use beamscope::record::Event;

#[test]
fn a_cut_anywhere_leaves_everything_before_it() {
    if !is_alone("properties::damage::a_cut_anywhere_leaves_everything_before_it") {
        return;
    }
    corpus::check_all(|path| watched(path, |capture, place| capture.cut_everywhere(place)));
    memory_is_bounded();
}

#[test]
fn a_flipped_byte_of_a_header_leaves_everything_before_it() {
    if !is_alone("properties::damage::a_flipped_byte_of_a_header_leaves_everything_before_it") {
        return;
    }
    corpus::check_all(|path| watched(path, |capture, place| capture.flip_everywhere(place)));
    memory_is_bounded();
}

/// A capture, what it holds undamaged, and where.
struct Capture {
    bytes: Arc<[u8]>,
    frames: Vec<Kept>,
    output: RunOutput,
    /// `None` where it is compressed: then bytes of the file are not those of a record.
    layout: Option<Layout>,
}

/// A frame that outlives its buffer.
#[derive(Debug, Eq, PartialEq)]
struct Kept {
    at: u64,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: Vec<u8>,
}

impl Kept {
    fn is(&self, frame: &Frame<'_>) -> bool {
        let header = (frame.at.0, frame.link, frame.interface, frame.wire_len);
        header == (self.at, self.link, self.interface, self.wire_len) && frame.bytes == self.bytes
    }
}

/// What reading gave beside the frames that were expected.
#[derive(Default)]
struct Outcome {
    /// Frames at the beginning that are those of the whole capture.
    same: usize,
    frames: usize,
    notices: Vec<Notice>,
    error: Option<Error>,
}

/// What the stages behind the capture reported, and how much of it after each frame.
#[derive(Default)]
struct RunOutput {
    events: Vec<Event>,
    after_frame: Vec<usize>,
}

impl Capture {
    fn new(path: &Path) -> Self {
        let bytes: Arc<[u8]> = fs::read(path).unwrap().into();
        let mut frames = Vec::new();
        let mut capture = reader(Cursor::new(Arc::clone(&bytes)));
        while let Some(item) = capture.next_item().unwrap() {
            let Item::Frame(frame) = item else { continue };
            assert_eq!(frame.id.number, frames.len() as u64 + 1);
            frames.push(Kept {
                at: frame.at.0,
                link: frame.link,
                interface: frame.interface,
                wire_len: frame.wire_len,
                bytes: frame.bytes.to_vec(),
            });
        }
        let output = analyse(Cursor::new(Arc::clone(&bytes)));
        let layout = Layout::of(&bytes);
        assert!(layout.as_ref().is_none_or(|layout| layout.frames.len() == frames.len()));
        Self { bytes, frames, output, layout }
    }

    fn cut_everywhere(&self, place: &AtomicUsize) -> Vec<String> {
        let mut wrong = Vec::new();
        let all = 0..self.bytes.len();
        let most = if self.bytes.len() <= SMALL { usize::MAX } else { CUTS };
        for at in self.sample(all.clone().collect(), most) {
            place.fetch_add(1, Ordering::Relaxed);
            let outcome = self.read(self.until(at));
            if let Err(what) = self.judge_cut(at, &outcome) {
                wrong.push(format!("cut at byte {at}: {what}"));
            }
        }
        for at in self.sample(all.collect(), self.affordable() / 4) {
            place.fetch_add(1, Ordering::Relaxed);
            let output = analyse(self.until(at));
            let before = output.after_frame.last().copied().unwrap_or(0);
            let text = |output: &RunOutput| format!("{:?}", output.events.get(..before));
            if text(&output) != text(&self.output)
                || !self.output.after_frame.starts_with(&output.after_frame)
            {
                wrong.push(format!("cut at byte {at}: other events before the cut"));
            }
        }
        wrong
    }

    fn judge_cut(&self, at: usize, outcome: &Outcome) -> Result<(), String> {
        let Outcome { same, frames, notices, error } = outcome;
        let is = |what: bool, fault: &str| what.then_some(()).ok_or_else(|| fault.to_owned());
        is(same == frames, "frames that are not in the whole capture")?;
        match error {
            Some(Error::Empty { .. }) => return is(at == 0, "told empty"),
            Some(Error::NotACapture { .. }) => return is(at < MAGIC_LEN, "told no capture"),
            Some(e) => return Err(e.to_string()),
            None => {}
        }
        is(notices.iter().all(|notice| notice.kind == NoticeKind::Truncated), "not told as a cut")?;
        let Some(layout) = &self.layout else {
            return is(notices.len() == 1, "not one notice");
        };
        let expected = layout.frames.iter().filter(|frame| frame.end <= at).count();
        is(*frames == expected, &format!("{frames} frames of {expected}"))?;
        is(notices.is_empty() == layout.ends.contains(&at), "a notice without need, or none")?;
        is(notices.len() <= 1, "more than one notice")?;
        let spans = |notice: &Notice| {
            let skipped = notice.skipped.unwrap_or(u64::MAX);
            notice.after.number == expected as u64
                && notice.offset.checked_add(skipped) == Some(at as u64)
        };
        is(notices.iter().all(spans), "a notice about other bytes than the last")
    }

    fn flip_everywhere(&self, place: &AtomicUsize) -> Vec<String> {
        let mut wrong = Vec::new();
        let headers = match &self.layout {
            Some(layout) => layout.headers(self.bytes.len()),
            None => (0..self.bytes.len()).collect(),
        };
        for at in self.sample(headers, self.affordable()) {
            // All bits, the sign, the least: lengths become huge, negative, wrong by one.
            let patterns: &[u8] = if is_full() { &[0xff, 0x80, 0x01] } else { &[0xff] };
            for pattern in patterns {
                place.fetch_add(1, Ordering::Relaxed);
                let mut bytes = self.bytes.to_vec();
                bytes[at] ^= pattern;
                let bytes: Arc<[u8]> = bytes.into();
                if let Err(what) = self.judge_flip(at, &bytes) {
                    wrong.push(format!("byte {at} flipped by {pattern:02x}: {what}"));
                }
                analyse(Cursor::new(bytes));
            }
        }
        wrong
    }

    fn judge_flip(&self, at: usize, bytes: &Arc<[u8]>) -> Result<(), String> {
        let outcome = self.read(Cursor::new(Arc::clone(bytes)));
        let Some(layout) = &self.layout else { return Ok(()) };
        let before = layout.frames.iter().filter(|frame| frame.end <= at).count();
        if outcome.same < before {
            return Err(format!("{} frames of {before} before it", outcome.same));
        }
        // A frame or a notice needs some bytes of its own.
        if outcome.frames + outcome.notices.len() > bytes.len() / 8 {
            return Err(format!("{} frames, {} notices", outcome.frames, outcome.notices.len()));
        }
        Ok(())
    }

    fn read(&self, source: impl Read + Send + 'static) -> Outcome {
        let mut capture = reader(source);
        let mut outcome = Outcome::default();
        loop {
            match capture.next_item() {
                Ok(Some(Item::Frame(frame))) => {
                    let same = self.frames.get(outcome.frames).is_some_and(|kept| kept.is(&frame));
                    outcome.same += usize::from(same && outcome.same == outcome.frames);
                    outcome.frames += 1;
                }
                Ok(Some(Item::Notice(notice))) => outcome.notices.push(notice),
                Ok(Some(_)) => {}
                Ok(None) => return outcome,
                Err(e) => outcome.error = Some(e),
            }
        }
    }

    fn until(&self, at: usize) -> impl Read + Send + 'static {
        Cursor::new(Arc::clone(&self.bytes)).take(at as u64)
    }

    /// How many times the whole capture may go through all stages.
    fn affordable(&self) -> usize {
        let work = if is_full() { 100 * WORK } else { WORK };
        work / self.frames.len().max(1)
    }

    /// At most `most` of `places`, by a fixed seed, the first ones always.
    fn sample(&self, mut places: Vec<usize>, most: usize) -> Vec<usize> {
        if places.len() <= most {
            return places;
        }
        let first = places.drain(..most / 4).collect::<Vec<_>>();
        let mut state = self.bytes.len() as u64 | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        let rest = (0..most - first.len()).map(|_| places[random() % places.len()]);
        first.iter().copied().chain(rest).collect()
    }
}

fn reader(source: impl Read + Send + 'static) -> CaptureFile {
    CaptureFile::from_reader("damaged".into(), 0, Box::new(source))
}

/// All stages over `source`.
fn analyse(source: impl Read + Send + 'static) -> RunOutput {
    let mut cookies = CandidateCookies::default();
    cookies.add(Cookie::new("right", b"cookie"));
    let config = Config { cookies, ..Config::default() };
    let mut pipeline = Engine::new(config, Vec::<Event>::new());
    let mut output = RunOutput::default();
    let mut capture = reader(source);
    drive::run(&mut capture, &mut pipeline, &mut output).unwrap();
    output.events = pipeline.finish();
    output
}

impl Control<Vec<Event>> for RunOutput {
    fn after_frame(&mut self, _: &Frame<'_>, engine: &mut Engine<Vec<Event>>) -> ControlFlow<()> {
        self.after_frame.push(engine.sink_mut().len());
        ControlFlow::Continue(())
    }
}

/// Where a plain capture has its frames.
#[derive(Default)]
struct Layout {
    /// The record or block of each frame.
    frames: Vec<Range<usize>>,
    /// Places at which a cut is none: behind a header, a record or a block.
    ends: BTreeSet<usize>,
    /// Bytes from the start of a record to its frame.
    header_len: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Option<Self> {
        let magic = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        match magic(&bytes[..4]) {
            0xa1b2_c3d4 | 0xa1b2_3c4d => Some(Self::of_pcap(bytes, u32::from_le_bytes)),
            0xd4c3_b2a1 | 0x4d3c_b2a1 => Some(Self::of_pcap(bytes, u32::from_be_bytes)),
            0x0a0d_0d0a if bytes[8..12] == [0x4d, 0x3c, 0x2b, 0x1a] => {
                Some(Self::of_pcapng(bytes, u32::from_le_bytes))
            }
            0x0a0d_0d0a => Some(Self::of_pcapng(bytes, u32::from_be_bytes)),
            _ => None,
        }
    }

    fn of_pcap(bytes: &[u8], word: fn([u8; 4]) -> u32) -> Self {
        let mut layout = Self { header_len: 16, ..Self::default() };
        let mut at = 24;
        layout.ends.insert(at);
        while let Some(captured) = bytes.get(at + 8..at + 12) {
            let end = at + 16 + word(captured.try_into().unwrap()) as usize;
            if end > bytes.len() {
                break;
            }
            layout.frames.push(at..end);
            layout.ends.insert(end);
            at = end;
        }
        layout
    }

    /// Of one section, with its frames in enhanced, simple or obsolete packet blocks.
    fn of_pcapng(bytes: &[u8], word: fn([u8; 4]) -> u32) -> Self {
        let mut layout = Self { header_len: 28, ..Self::default() };
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 8) {
            let [kind, len] = [0, 4].map(|from| word(head[from..from + 4].try_into().unwrap()));
            let end = at + len as usize;
            if end > bytes.len() {
                break;
            }
            if matches!(kind, 2 | 3 | 6) {
                layout.frames.push(at..end);
            }
            layout.ends.insert(end);
            at = end;
        }
        layout
    }

    /// Places of the headers: those of the file, of each record, and in each frame those of the link,
    /// of IP and of TCP.
    fn headers(&self, len: usize) -> Vec<usize> {
        let first = self.frames.first().map_or(len, |frame| frame.start);
        let of_frame = |frame: &Range<usize>| {
            let front = frame.start..frame.end.min(frame.start + self.header_len + PROTOCOLS);
            let back = frame.end - 4..frame.end;
            front.clone().chain(back.filter(move |at| *at >= front.end))
        };
        (0..first).chain(self.frames.iter().flat_map(of_frame)).collect()
    }
}

/// Runs `check` on the capture at `path`, and ends the process with a message when it hangs.
fn watched(path: &Path, check: impl Fn(&Capture, &AtomicUsize) -> Vec<String>) -> Vec<String> {
    let (place, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut last = usize::MAX;
            while !done.load(Ordering::Relaxed) {
                let now = place.load(Ordering::Relaxed);
                if now == last {
                    eprintln!("{}: hangs at damage number {now}", path.display());
                    process::abort();
                }
                last = now;
                thread::park_timeout(PATIENCE);
            }
        });
        let wrong = check(&Capture::new(path), &place);
        done.store(true, Ordering::Relaxed);
        watch.thread().unpark();
        wrong
    })
}

/// The most memory that this process ever had, where the kernel gives it.
fn memory_is_bounded() {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 512 << 10, "{kib} KiB of memory");
}

fn is_full() -> bool {
    env::var("BEAMSCOPE_FULL").as_deref() == Ok("1")
}

/// Captures up to this size are cut at every byte.
const SMALL: usize = 20_000;

/// Cuts of a larger one.
const CUTS: usize = 2000;

/// Frames that go through all stages for one capture and one test; some seconds, unoptimised.
const WORK: usize = 10_000;

/// Bytes of a frame that hold headers: Ethernet, IPv4 and TCP with options.
const PROTOCOLS: usize = 66;

/// Shorter than this, nothing can be recognised.
const MAGIC_LEN: usize = 12;

/// Longest time for one damage: thousands of times what it needs.
const PATIENCE: Duration = Duration::from_secs(60);
