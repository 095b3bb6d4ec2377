//! Stage 1: frames of several interfaces in the order of their time.
//!
//! In: frames of each interface as the kernel hands them over, a block at a time. Out: the same frames,
//! the earliest first, once none that is earlier can come any more. What is held is bounded: beyond that,
//! order gives way, since frames left in the ring would be lost.

use std::collections::VecDeque;

use crate::capture::{Frame, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Frames that wait for those of other interfaces.
pub(super) struct Timeline {
    inputs: Vec<Held>,
    /// Bytes held for all, and the most there may be.
    bytes: usize,
    most: usize,
}

/// The frames of one input, in the order in which they came.
#[derive(Default)]
struct Held {
    /// Their bytes, one behind the other.
    bytes: Vec<u8>,
    /// Where those of the first begin.
    begin: usize,
    frames: VecDeque<Kept>,
    /// Nothing more comes from it.
    is_over: bool,
}

/// A frame, its bytes apart.
struct Kept {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    len: usize,
}

impl Timeline {
    /// One of `inputs` inputs that holds at most `most` bytes, and a frame.
    pub(super) fn new(inputs: usize, most: usize) -> Self {
        let inputs = std::iter::repeat_with(Held::default).take(inputs).collect();
        Self { inputs, bytes: 0, most }
    }

    /// Takes a frame of its input in.
    pub(super) fn hold(&mut self, frame: &Frame<'_>) {
        let Some(held) = self.inputs.get_mut(usize::from(frame.id.input)) else { return };
        held.bytes.extend_from_slice(frame.bytes);
        held.frames.push_back(Kept {
            id: frame.id,
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            wire_len: frame.wire_len,
            len: frame.bytes.len(),
        });
        self.bytes += frame.bytes.len() + OVERHEAD;
    }

    /// Nothing more comes from `input`.
    pub(super) fn close(&mut self, input: u16) {
        if let Some(held) = self.inputs.get_mut(usize::from(input)) {
            held.is_over = true;
        }
    }

    /// Gives the frames to `on_frame` before which none can come any more: those from before `until`, up
    /// to which every input has been handed over, and those behind which each input has another.
    pub(super) fn release(&mut self, until: Timestamp, mut on_frame: impl FnMut(&Frame<'_>)) {
        while let Some(held) = self.next(until) {
            let Some(kept) = held.frames.pop_front() else { return };
            let end = held.begin + kept.len;
            if let Some(bytes) = held.bytes.get(held.begin..end) {
                on_frame(&Frame {
                    id: kept.id,
                    at: kept.at,
                    link: kept.link,
                    interface: kept.interface,
                    wire_len: kept.wire_len,
                    bytes,
                    comments: &[],
                });
            }
            held.begin = end;
            held.make_room();
            self.bytes = self.bytes.saturating_sub(kept.len + OVERHEAD);
        }
    }

    /// The input whose turn it is.
    fn next(&mut self, until: Timestamp) -> Option<&mut Held> {
        let is_full = self.bytes > self.most;
        let all_wait = self.inputs.iter().all(|held| held.is_over || !held.frames.is_empty());
        let waiting =
            self.inputs.iter_mut().filter_map(|held| Some((held.frames.front()?.at, held)));
        let (at, held) = waiting.min_by_key(|(at, _)| *at)?;
        (at <= until || all_wait || is_full).then_some(held)
    }
}

impl Held {
    /// Moves what is still held to the front, once that is less than what it leaves.
    fn make_room(&mut self) {
        if self.frames.is_empty() {
            self.bytes.clear();
            self.begin = 0;
        } else if self.begin > self.bytes.len() / 2 {
            self.bytes.drain(..self.begin);
            self.begin = 0;
        }
    }
}

/// What a frame costs beside its bytes.
const OVERHEAD: usize = size_of::<Kept>();

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(input: u16, at: u64, bytes: &[u8]) -> Frame<'_> {
        Frame {
            id: FrameRef { input, number: at },
            at: Timestamp(at),
            link: LinkType::ETHERNET,
            interface: Some(input.into()),
            wire_len: 1500,
            bytes,
            comments: &[],
        }
    }

    fn release(timeline: &mut Timeline, until: u64) -> Vec<(u16, u64, Vec<u8>)> {
        let mut released = Vec::new();
        timeline.release(Timestamp(until), |frame| {
            released.push((frame.id.input, frame.at.0, frame.bytes.to_vec()));
        });
        released
    }

    #[test]
    fn frames_of_two_interfaces_come_out_by_time() {
        let mut timeline = Timeline::new(2, 1 << 20);
        timeline.hold(&frame(0, 10, b"a"));
        timeline.hold(&frame(0, 30, b"ccc"));
        timeline.hold(&frame(1, 20, b"bb"));
        let expected = [(0, 10, b"a".to_vec()), (1, 20, b"bb".to_vec())];
        assert_eq!(release(&mut timeline, 0), expected, "input 1 may still give one before 30");
        assert_eq!(release(&mut timeline, 30), [(0, 30, b"ccc".to_vec())]);
    }

    #[test]
    fn an_interface_that_is_gone_is_not_waited_for() {
        let mut timeline = Timeline::new(2, 1 << 20);
        timeline.hold(&frame(0, 10, b"a"));
        assert!(release(&mut timeline, 0).is_empty());
        timeline.close(1);
        assert_eq!(release(&mut timeline, 0).len(), 1);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut timeline = Timeline::new(2, 10 * (100 + OVERHEAD));
        let mut released = 0;
        for at in 0..1000 {
            timeline.hold(&frame(0, at, &[0; 100]));
            released += release(&mut timeline, 0).len();
        }
        assert_eq!(released, 990);
        assert!(timeline.inputs[0].bytes.len() <= 2 * 11 * 100);
    }
}
