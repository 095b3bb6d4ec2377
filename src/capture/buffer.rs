//! Stage 1: one reused buffer for the bytes of an input.
//!
//! In: any [`Read`]. Out: slices of its bytes, in order. Each byte is copied at most once after it was read. This
//! file contains no knowledge of capture formats.

use std::io::{self, Read};
use std::ops::Range;

/// A sliding window over the bytes of a stream.
pub(super) struct Buffer {
    source: Box<dyn Read + Send>,
    data: Vec<u8>,
    /// The range of `data` that was read from the source and not consumed; within `data` always.
    unread: Range<usize>,
    /// Position in the stream of the first byte of `data`.
    origin: u64,
    ended: bool,
    failure: Option<io::Error>,
    /// Whether the source had nothing at hand, so that reading stopped before it ended.
    is_paused: bool,
}

impl Buffer {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self {
            source,
            data: Vec::new(),
            unread: 0..0,
            origin: 0,
            ended: false,
            failure: None,
            is_paused: false,
        }
    }

    /// The buffered bytes that were not consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.at(self.unread.clone())
    }

    /// The next `N` bytes of `data`, for use on every frame. They may reach beyond the unread bytes and are then
    /// undefined; [`Self::take`] fails in that case.
    #[inline]
    pub(super) fn peek<const N: usize>(&self) -> Option<&[u8; N]> {
        self.data.get(self.unread.start..)?.first_chunk()
    }

    /// As [`Self::consume`]; `None` if fewer bytes are buffered.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<usize> {
        let start = self.unread.start;
        let end = start.checked_add(bytes).filter(|end| *end <= self.unread.end)?;
        self.unread.start = end;
        Some(start)
    }

    /// Number of buffered bytes that were not consumed.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.unread.len()
    }

    /// Position in the stream of the first unread byte.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.origin.saturating_add(self.unread.start as u64)
    }

    /// Bytes at a range from [`Self::consume`]. The range is invalid after the next [`Self::fill`].
    #[inline]
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.data.get(place).unwrap_or_else(empty)
    }

    /// Consumes `bytes`; returns the index of the first, which is valid until the next [`Self::fill`].
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) -> usize {
        let start = self.unread.start;
        self.unread.start += bytes.min(self.unread.len());
        start
    }

    /// Reads until `need` bytes are buffered; false if the input ends before.
    ///
    /// Does not read if they are already buffered, so a packet from a pipe is processed before the next one
    /// arrives. `need` is at most [`MAX_NEED`].
    #[inline]
    pub(super) fn fill(&mut self, need: usize) -> bool {
        self.unread.len() >= need || self.read_until(need)
    }

    /// The error at which reading stopped, if there was one.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether reading stopped at an error that was not taken yet.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether the source has nothing at hand for now.
    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The same, once for each time.
    pub(super) fn take_pause(&mut self) -> bool {
        std::mem::take(&mut self.is_paused)
    }

    #[cold]
    fn read_until(&mut self, need: usize) -> bool {
        while self.unread.len() < need.min(MAX_NEED) && !self.ended {
            self.make_room();
            let free = self.data.get_mut(self.unread.end..).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.unread.end += bytes.min(free.len()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.is_paused = true;
                    break;
                }
                Err(e) => {
                    self.ended = true;
                    self.failure = Some(e);
                }
            }
        }
        self.unread.len() >= need
    }

    /// Makes room after the unread bytes. They are moved only if they are fewer than the bytes consumed since the last
    /// move, so each byte is copied at most once for any input. Only a full buffer is doubled, so a length field of
    /// the input allocates nothing.
    fn make_room(&mut self) {
        if self.unread.start >= self.data.len() / 2 {
            self.data.copy_within(self.unread.clone(), 0);
            self.origin = self.offset();
            self.unread = 0..self.unread.len();
        }
        if self.unread.end == self.data.len() {
            // The system provides zeroed pages only when they are first written.
            let mut larger = vec![0; (self.data.len() * 2).max(INITIAL)];
            larger.split_at_mut(self.data.len()).0.copy_from_slice(&self.data);
            self.data = larger;
        }
    }
}

/// The empty slice, from a cold function: a branch that is never taken is predicted, and costs less than a
/// conditional move on every call.
#[cold]
const fn empty<'a>() -> &'a [u8] {
    &[]
}

/// Large enough to make the time of a `read` call negligible, small enough to stay in the second-level cache while
/// its records are parsed. With 256 KiB, reading took a sixth longer.
const INITIAL: usize = 512 * 1024;

/// Most bytes that a record may need at once. A full buffer is doubled only while it holds fewer unread bytes than
/// this and more than half of its size, so it never exceeds twice this value, which is 64 MiB.
pub(super) const MAX_NEED: usize = 32 * 1024 * 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]
mod tests {
    use super::*;

    /// A source of the bytes 0, 1, 2 and so on, which returns at most `bytes` per call.
    struct Counting {
        bytes: usize,
        given: u64,
        left: u64,
    }

    impl Read for Counting {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.bytes.min(into.len()).min(self.left as usize);
            for slot in &mut into[..bytes] {
                *slot = self.given as u8;
                self.given += 1;
            }
            self.left -= bytes as u64;
            Ok(bytes)
        }
    }

    #[test]
    fn bytes_are_in_order_for_any_size_of_reads() {
        for bytes in [1, 7, 4096, usize::MAX] {
            let source = Counting { bytes, given: 0, left: 600_000 };
            let mut buffer = Buffer::new(Box::new(source));
            let mut expected = 0u64;
            while buffer.fill(1000) {
                assert_eq!(buffer.offset(), expected);
                let start = buffer.consume(1000);
                let taken = buffer.at(start..start + 1000);
                assert!(taken.iter().all(|&byte| {
                    expected += 1;
                    byte == (expected - 1) as u8
                }));
            }
            assert_eq!(expected, 600_000);
            assert_eq!(buffer.len(), 0);
        }
    }

    #[test]
    fn the_buffer_grows_with_the_bytes_that_arrive_and_not_with_the_request() {
        let source = Counting { bytes: usize::MAX, given: 0, left: 1000 };
        let mut buffer = Buffer::new(Box::new(source));
        assert!(!buffer.fill(MAX_NEED));
        assert_eq!((buffer.len(), buffer.data.len()), (1000, INITIAL));
    }

    #[test]
    fn the_buffer_never_exceeds_twice_the_largest_need() {
        let source = Counting { bytes: usize::MAX, given: 0, left: u64::MAX };
        let mut buffer = Buffer::new(Box::new(source));
        for _ in 0..50 {
            assert!(buffer.fill(MAX_NEED));
            buffer.consume(1_000_003);
        }
        assert_eq!(buffer.data.len(), 2 * MAX_NEED);
        assert!(!buffer.fill(MAX_NEED + 1 + 2 * MAX_NEED));
    }
}
