//! Stage 1: the bytes of an input in one buffer that is used again and again.
//!
//! In: any [`Read`]. Out: slices of what it gave, in order. Copies a byte at most once after it was
//! read, and knows no format.

use std::io::{self, Read};
use std::ops::Range;

/// A window onto a stream, moved forward by its user.
pub(super) struct Buffer {
    source: Box<dyn Read + Send>,
    data: Vec<u8>,
    /// The bytes in hand are `data[hand]`; `hand.end` never passes the end of `data`.
    hand: Range<usize>,
    /// Position in the stream of the first byte of `data`.
    origin: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl Buffer {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, data: Vec::new(), hand: 0..0, origin: 0, ended: false, failure: None }
    }

    /// The bytes in hand.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.at(self.hand.clone())
    }

    /// The next `N` bytes, for who looks at each frame: what is not in hand of them means nothing, and
    /// [`Self::take`] will say so.
    #[inline]
    pub(super) fn peek<const N: usize>(&self) -> Option<&[u8; N]> {
        self.data.get(self.hand.start..)?.first_chunk()
    }

    /// As [`Self::consume`], where so many bytes are in hand.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Option<usize> {
        let start = self.hand.start;
        let end = start.checked_add(bytes).filter(|end| *end <= self.hand.end)?;
        self.hand.start = end;
        Some(start)
    }

    /// How many bytes are in hand.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.hand.len()
    }

    /// Position in the stream of the first byte in hand.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.origin.saturating_add(self.hand.start as u64)
    }

    /// Bytes at a place that [`Self::consume`] told; empty once [`Self::fill`] had to move them.
    #[inline]
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.data.get(place).unwrap_or_else(nothing)
    }

    /// Lets go of `bytes` in hand and says where they lie until the next [`Self::fill`].
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) -> usize {
        let start = self.hand.start;
        self.hand.start += bytes.min(self.hand.len());
        start
    }

    /// Reads until `need` bytes are in hand; false when the input ends before.
    ///
    /// Reads nothing while they are in hand already, so a packet that lies in a pipe never waits for
    /// the one behind it. `need` is at most [`MAX_NEED`].
    #[inline]
    pub(super) fn fill(&mut self, need: usize) -> bool {
        self.hand.len() >= need || self.read_until(need)
    }

    /// Why the input ended, when it was not by its end.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether a failure waits to be taken.
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

    /// Makes room behind the hand. Moves only what is smaller than what was consumed since the last
    /// move, so the cost of moving stays below one copy a byte however the input is built; doubles
    /// only a buffer that is full, so a length on the wire reserves nothing.
    fn make_room(&mut self) {
        if self.hand.start >= self.data.len() / 2 {
            self.data.copy_within(self.hand.clone(), 0);
            self.origin = self.offset();
            self.hand = 0..self.hand.len();
        }
        if self.hand.end == self.data.len() {
            // Zeroes from the system cost nothing until they are written over.
            let mut larger = vec![0; (self.data.len() * 2).max(INITIAL)];
            larger.split_at_mut(self.data.len()).0.copy_from_slice(&self.data);
            self.data = larger;
        }
    }
}

/// A branch that is never taken costs less than a choice that is always made.
#[cold]
const fn nothing<'a>() -> &'a [u8] {
    &[]
}

/// Large enough that the price of a `read` call vanishes, small enough to stay in the second-level
/// cache while its records are walked: with 256 KiB, reading took a sixth longer.
const INITIAL: usize = 512 * 1024;

/// The most bytes that a record may need at once. A full buffer is doubled only while less than this
/// is in hand and that is more than half of it: it never passes twice this size, 64 MiB.
pub(super) const MAX_NEED: usize = 32 * 1024 * 1024;

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]
mod tests {
    use super::*;

    /// Gives `bytes` at a time of an endless count 0, 1, 2 …, and counts the calls.
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
