//! The bytes of an input, in one buffer that is used again and again.
//!
//! In: any [`Read`]. Out: slices of its bytes, in order. Copies each byte at most once after it was read. Knows no
//! format.

use std::io::{self, Read};
use std::ops::Range;

/// A window of a stream, which its user moves forward.
pub(super) struct Buffer {
    source: Box<dyn Read + Send>,
    data: Vec<u8>,
    /// The unread bytes are `data[hand]`; `hand.end` is never beyond the end of `data`.
    hand: Range<usize>,
    /// Position of the first byte of `data` in the stream.
    origin: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl Buffer {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, data: Vec::new(), hand: 0..0, origin: 0, ended: false, failure: None }
    }

    /// The bytes that were read and not consumed.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.at(self.hand.clone())
    }

    /// The next `N` bytes of `data`, for the fast path. Bytes beyond the unread ones are meaningless; the
    /// [`Self::take`] that follows fails then.
    #[inline]
    pub(super) fn peek<const N: usize>(&self) -> Option<&[u8; N]> {
        self.data.get(self.hand.start..)?.first_chunk()
    }

    /// Consumes bytes as [`Self::consume`] does, if so many are unread.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<usize> {
        let start = self.hand.start;
        let end = start.checked_add(bytes).filter(|end| *end <= self.hand.end)?;
        self.hand.start = end;
        Some(start)
    }

    /// Number of unread bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.hand.len()
    }

    /// Position of the first unread byte in the stream.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.origin.saturating_add(self.hand.start as u64)
    }

    /// The bytes at a place that [`Self::consume`] returned; empty after a [`Self::fill`] that moved them.
    #[inline]
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.data.get(place).unwrap_or_else(nothing)
    }

    /// Consumes unread bytes. Returns their place, which is valid until the next [`Self::fill`].
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) -> usize {
        let start = self.hand.start;
        self.hand.start += bytes.min(self.hand.len());
        start
    }

    /// Reads until `need` bytes, at most [`MAX_NEED`], are unread; `false` if the input ends before.
    ///
    /// Reads nothing if they are there already, so that a packet in a pipe never waits for the one after it.
    #[inline]
    pub(super) fn fill(&mut self, need: usize) -> bool {
        self.hand.len() >= need || self.read_until(need)
    }

    /// The error that ended the input, if it did not reach its end.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether there is such an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    #[cold]
    fn read_until(&mut self, need: usize) -> bool {
        while self.hand.len() < need.min(MAX_NEED) && !self.ended {
            self.make_room();
            let free = self.data.get_mut(self.hand.end..).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.hand.end += bytes.min(free.len()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.ended = true;
                    self.failure = Some(e);
                }
            }
        }
        self.hand.len() >= need
    }

    /// Makes room after the unread bytes. Moves them only if they are fewer than the bytes consumed since the last
    /// move, so that moving costs less than one copy of each byte for any input. Doubles only a buffer that is
    /// full, so that a length on the wire reserves no memory.
    fn make_room(&mut self) {
        if self.hand.start >= self.data.len() / 2 {
            self.data.copy_within(self.hand.clone(), 0);
            self.origin = self.offset();
            self.hand = 0..self.hand.len();
        }
        if self.hand.end == self.data.len() {
            // Zeroed pages from the operating system cost nothing until they are written.
            let mut larger = vec![0; (self.data.len() * 2).max(INITIAL)];
            larger.split_at_mut(self.data.len()).0.copy_from_slice(&self.data);
            self.data = larger;
        }
    }
}

/// A branch that is predicted as not taken is cheaper than a conditional move.
#[cold]
const fn nothing<'a>() -> &'a [u8] {
    &[]
}

/// Large enough that the cost of a `read` call is negligible, and small enough to stay in the second-level cache
/// while the records are read: with 256 KiB, reading took a sixth longer.
const INITIAL: usize = 512 * 1024;

/// The most bytes that a record may need at once. A full buffer is doubled only if fewer than this are unread and
/// they fill more than half of it, so it never exceeds twice this size, 64 MiB.
pub(super) const MAX_NEED: usize = 32 * 1024 * 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]
mod tests {
    use super::*;

    /// Returns `bytes` at a time of the endless sequence 0, 1, 2 …, and counts the calls.
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
    fn bytes_come_in_order_however_they_arrive_and_are_taken() {
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
    fn grows_for_what_arrives_and_not_for_what_is_asked() {
        let source = Counting { bytes: usize::MAX, given: 0, left: 1000 };
        let mut buffer = Buffer::new(Box::new(source));
        assert!(!buffer.fill(MAX_NEED));
        assert_eq!((buffer.len(), buffer.data.len()), (1000, INITIAL));
    }

    #[test]
    fn never_passes_twice_the_largest_need() {
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
