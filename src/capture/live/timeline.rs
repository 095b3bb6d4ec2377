//! Frames of several interfaces, in the order of their time.
//!
//! In: frames of each interface, in blocks as the kernel hands them over. Out: the same frames, the earliest first,
//! each as soon as no earlier one can follow. Memory is bounded: beyond the bound, frames are given out of order,
//! since frames left in the ring buffer would be dropped.

use std::collections::VecDeque;

use crate::capture::{Frame, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Frames that wait for frames of other interfaces.
pub(super) struct Timeline {
    inputs: Vec<HeldInput>,
    /// Bytes of all frames that wait, and their bound.
    bytes: usize,
    most: usize,
}

/// The waiting frames of one input, in the order of their arrival.
#[derive(Default)]
struct HeldInput {
    /// The bytes of its frames, contiguous.
    bytes: Vec<u8>,
    /// Offset of the first frame in `bytes`.
    begin: usize,
    frames: VecDeque<HeldFrame>,
    /// Whether the input has ended.
    is_over: bool,
}

/// A frame whose bytes are in [`HeldInput::bytes`].
struct HeldFrame {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    len: usize,
}

impl Timeline {
    /// Makes a timeline for `inputs` inputs. It holds at most `most` bytes, and one frame more.
    pub(super) fn new(inputs: usize, most: usize) -> Self {
        let inputs = std::iter::repeat_with(HeldInput::default).take(inputs).collect();
        Self { inputs, bytes: 0, most }
    }

    /// Adds a frame of one of the inputs.
    pub(super) fn hold(&mut self, frame: &Frame<'_>) {
        let Some(held) = self.inputs.get_mut(usize::from(frame.id.input)) else { return };
        held.bytes.extend_from_slice(frame.bytes);
        held.frames.push_back(HeldFrame {
            id: frame.id,
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            wire_len: frame.wire_len,
            len: frame.bytes.len(),
        });
        self.bytes += frame.bytes.len() + OVERHEAD;
    }

    /// Marks an input as ended.
    pub(super) fn close(&mut self, input: u16) {
        if let Some(held) = self.inputs.get_mut(usize::from(input)) {
            held.is_over = true;
        }
    }

    /// Calls `on_frame` for each frame that no other can precede: frames up to the time `until`, up to which the
    /// frames of all inputs were added, and frames for which each other input has a later one.
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

    /// The input of the earliest frame, if that can be given.
    fn next(&mut self, until: Timestamp) -> Option<&mut HeldInput> {
        let is_full = self.bytes > self.most;
        let all_wait = self.inputs.iter().all(|held| held.is_over || !held.frames.is_empty());
        let waiting =
            self.inputs.iter_mut().filter_map(|held| Some((held.frames.front()?.at, held)));
        let (at, held) = waiting.min_by_key(|(at, _)| *at)?;
        (at <= until || all_wait || is_full).then_some(held)
    }
}

impl HeldInput {
    /// Moves the waiting frames to the front of the buffer, once the free bytes before them are more.
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

/// Memory of a frame beside its bytes.
const OVERHEAD: usize = size_of::<HeldFrame>();

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
    fn frames_of_two_interfaces_are_given_by_time() {
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
    fn memory_is_bounded() {
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
