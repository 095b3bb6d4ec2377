//! Reassembly: segments in any order give the stream that single bytes give, once, and what is held is bounded.

use beamscope::limits::Limits;
use beamscope::memory::MemoryBudget;
use beamscope::packet::{FrameRef, PacketRef};
use beamscope::stream::{
    SegmentData, SeqNum, StreamChunk, StreamDirection, StreamEvent, TcpOffset,
};
use beamscope::time::Timestamp;

/// What happens to one direction. In the input: a byte for the kind and six for the fields.
#[derive(Debug)]
enum Step {
    Segment { place: u16, len: u8, missing: u16, later: u8, ip_id: Option<u16> },
    Acknowledged { place: u16, is_first: bool },
    Begins { place: u16 },
    Wait { ms: u16 },
}

impl Step {
    fn read([kind, a, b, len, c, d, later]: [u8; 7]) -> Self {
        // Within a window that a model of single bytes keeps up with.
        let number = |high, low| u16::from_be_bytes([high, low]) % 8192;
        let (place, missing) = (number(a, b), number(c, d));
        match kind % 16 {
            0..=5 => Self::Segment { place, len, missing: 0, later, ip_id: None },
            6..=8 => Self::Segment { place: place % 512, len, missing: 0, later, ip_id: None },
            9 | 10 => Self::Segment { place, len, missing, later, ip_id: Some(missing) },
            11 | 12 => Self::Segment { place: place % 512, len: 1, missing, later: 0, ip_id: None },
            13 => Self::Acknowledged { place, is_first: later & 1 == 1 },
            14 => Self::Begins { place },
            _ => Self::Wait { ms: missing },
        }
    }
}

/// Runs the steps against a model of single bytes.
pub fn reassembly(data: &[u8]) {
    let Some(([flags, isn @ ..], steps)) = data.split_first_chunk::<5>() else { return };
    let (begins, is_small) = (flags & 1 == 0, flags & 2 != 0);
    let held = if is_small { 2_000 } else { 1 << 20 };
    let limits = Limits { held_per_direction: held, held_total: held, ..Limits::default() };
    let budget = MemoryBudget::new(limits.held_total);
    let mut direction = StreamDirection::new(&budget);
    let isn = SeqNum(u32::from_be_bytes(*isn));
    if begins {
        direction.begins_at(isn);
    }
    let (mut now, mut number) = (0_u64, 0_u64);
    let (mut model, mut out) = (Model::default(), Taken::default());
    // From here on the model has no opinion: the stream began somewhere else, or a hole was given up.
    let mut is_exact = begins;
    for step in steps.as_chunks().0 {
        number += 1;
        let (place, len, missing, ip_id) = match Step::read(*step) {
            Step::Segment { place, len, missing, later, ip_id } => {
                now += u64::from(later);
                (place, usize::from(len), u32::from(missing), ip_id)
            }
            Step::Acknowledged { place, is_first } => {
                let ack = (isn.plus(u32::from(place)), Timestamp(now * 1_000_000));
                direction.on_ack(ack, is_first, &limits);
                is_exact = false;
                continue;
            }
            Step::Begins { place } => {
                direction.begins_at(isn.plus(u32::from(place)));
                is_exact = false;
                continue;
            }
            Step::Wait { ms } => {
                now += u64::from(ms);
                let at = Timestamp(now * 1_000_000);
                direction.settle(at, &limits, &mut |chunk| out.take(&chunk));
                continue;
            }
        };
        if len == 0 && missing == 0 {
            // Those are no part of the stream, and are not passed to it.
            continue;
        }
        let payload: Vec<u8> = (0..len).map(|n| (number as usize * 7 + n) as u8).collect();
        model.add(usize::from(place), &payload, missing as usize);
        let packet =
            PacketRef { frame: FrameRef { input: 0, number }, at: Timestamp(now * 1_000_000) };
        let seq = isn.plus(u32::from(place));
        let segment = SegmentData { seq, payload: &payload, missing, packet: &packet, ip_id };
        direction.push(segment, &limits, &mut |chunk| out.take(&chunk));
        assert!(budget.used() <= held + (1 << 17), "{} bytes held", budget.used());
    }
    direction.finish(&mut |chunk| out.take(&chunk));
    assert_eq!(budget.used(), 0, "all memory was given back");
    assert_eq!(out.bytes, direction.bytes());
    assert_eq!(out.missing, direction.missing());
    if is_exact && !is_small {
        let (out, model) = (out.stream, model.stream());
        let differs =
            (0..out.len().max(model.len())).find(|place| out.get(*place) != model.get(*place));
        assert!(differs.is_none(), "byte {differs:?} of {} and {}", out.len(), model.len());
    }
}

/// What came out.
#[derive(Default)]
struct Taken {
    stream: Vec<Option<u8>>,
    bytes: u64,
    missing: u64,
    end: Option<TcpOffset>,
}

impl Taken {
    fn take(&mut self, chunk: &StreamChunk<'_>) {
        let len = match chunk.event {
            StreamEvent::Data(bytes) => {
                assert!(!bytes.is_empty());
                self.bytes += bytes.len() as u64;
                self.stream.extend(bytes.iter().copied().map(Some));
                bytes.len() as u64
            }
            StreamEvent::Gap(bytes) => {
                assert!(bytes > 0);
                self.missing += bytes;
                self.stream.extend((0..bytes.min(1 << 20)).map(|_| None));
                bytes
            }
        };
        assert!(self.end.is_none_or(|end| end == chunk.end.minus(len)), "chunks follow each other");
        self.end = Some(chunk.end);
    }
}

/// The first copy of each byte: `Some(None)` if it was cut.
#[derive(Default)]
struct Model(Vec<Option<Option<u8>>>);

impl Model {
    fn add(&mut self, place: usize, payload: &[u8], missing: usize) {
        let end = place + payload.len() + missing;
        if self.0.len() < end {
            self.0.resize(end, None);
        }
        for (n, byte) in self.0.iter_mut().take(end).skip(place).enumerate() {
            byte.get_or_insert(payload.get(n).copied());
        }
    }

    fn stream(&self) -> Vec<Option<u8>> {
        self.0.iter().map(|byte| byte.flatten()).collect()
    }
}
