//! Stage 1: one reused buffer for the bytes of an input.
//!
//! In: any [`Read`]. Out: slices of its bytes, in order. Each byte is copied at most once after it was read. This
//! file contains no knowledge of capture formats.

use std::io::{self, Read};
use std::ops::Range;

use super::read_ahead::{Chunk, HEADROOM, ReadAhead};

/// A sliding window over the bytes of a stream.
pub(super) struct Buffer {
    source: ByteSource,
    data: Vec<u8>,
    /// The range of `data` that was read from the source and not consumed; within `data` always.
    unread: Range<usize>,
    /// Position in the stream of the first byte of `data`, modulo 2^64: at first, `data` may begin before the stream.
    origin: u64,
    ended: bool,
    failure: Option<io::Error>,
    /// Whether the source had nothing at hand, so that reading stopped before it ended.
    is_paused: bool,
}

/// Where the bytes come from.
enum ByteSource {
    /// They are read when they are needed.
    Reader(Box<dyn Read + Send>),
    /// Another thread reads them.
    Ahead(ReadAhead),
}

impl Buffer {
    /// A buffer of bytes that are read when they are needed.
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self::of(ByteSource::Reader(source))
    }

    /// A buffer of bytes that another thread reads.
    pub(super) fn read_ahead(source: ReadAhead) -> Self {
        Self::of(ByteSource::Ahead(source))
    }

    fn of(source: ByteSource) -> Self {
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
        self.origin.wrapping_add(self.unread.start as u64)
    }

    /// Bytes at a range from [`Self::consume`]. The range is invalid after the next [`Self::fill`].
    #[inline]
    pub(super) fn at(&self, place: Range<usize>) -> &[u8] {
        self.data.get(place).unwrap_or_else(empty)
    }

    /// Overwrites bytes that were read, since they are secret.
    pub(super) fn wipe(&mut self, place: Range<usize>) {
        if let Some(bytes) = self.data.get_mut(place) {
            bytes.fill(0);
        }
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
            match self.read() {
                Ok(0) => self.ended = true,
                Ok(_) => {}
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

    /// Reads once; returns the number of bytes, 0 at the end.
    fn read(&mut self) -> io::Result<usize> {
        if let ByteSource::Ahead(source) = &self.source {
            let Some(chunk) = source.next() else { return Ok(0) };
            let chunk = chunk?;
            let bytes = chunk.bytes().len();
            let used = self.add(chunk);
            if let ByteSource::Ahead(source) = &self.source {
                source.give_back(used);
            }
            return Ok(bytes);
        }
        self.make_room();
        let ByteSource::Reader(source) = &mut self.source else { return Ok(0) };
        let free = self.data.get_mut(self.unread.end..).unwrap_or_default();
        let bytes = source.read(free)?.min(free.len());
        self.unread.end += bytes;
        Ok(bytes)
    }

    /// Adds the bytes of a chunk behind the unread bytes; returns the buffer that is not needed.
    fn add(&mut self, mut chunk: Chunk) -> Vec<u8> {
        let start = HEADROOM.checked_sub(self.unread.len());
        let headroom =
            start.and_then(|start| Some((start, chunk.buffer.get_mut(start..HEADROOM)?)));
        let Some((start, headroom)) = headroom else {
            self.drop_consumed();
            self.data.truncate(self.unread.end);
            self.data.extend_from_slice(chunk.bytes());
            self.unread.end = self.data.len();
            return chunk.buffer;
        };
        // The start of a record is copied in front of its end, and the rest of the chunk is not.
        headroom.copy_from_slice(self.bytes());
        self.origin = self.offset().wrapping_sub(start as u64);
        self.unread = start..chunk.filled;
        std::mem::replace(&mut self.data, chunk.buffer)
    }

    /// Makes room after the unread bytes. They are moved only if they are fewer than the bytes consumed since the last
    /// move, so each byte is copied at most once for any input. Only a full buffer is doubled, so a length field of
    /// the input allocates nothing.
    fn make_room(&mut self) {
        self.drop_consumed();
        if self.unread.end == self.data.len() {
            // The system provides zeroed pages only when they are first written.
            let mut larger = vec![0; (self.data.len() * 2).max(INITIAL)];
            larger.split_at_mut(self.data.len()).0.copy_from_slice(&self.data);
            self.data = larger;
        }
    }

    /// Moves the unread bytes to the front, if they are fewer than those before them.
    fn drop_consumed(&mut self) {
        if self.unread.start >= self.data.len() / 2 {
            self.data.copy_within(self.unread.clone(), 0);
            self.origin = self.offset();
            self.unread = 0..self.unread.len();
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
    fn bytes_that_a_thread_reads_are_those_of_the_source() {
        use super::super::read_ahead::ReadThreads;

        const BYTES: u64 = 3_000_000;
        for need in [1, 24, 1500, HEADROOM, HEADROOM + 1, 300_000, 1_000_000] {
            let source = || Counting { bytes: 10_007, given: 0, left: BYTES };
            let ahead = ReadAhead::start(&ReadThreads::new(1), source).unwrap().unwrap();
            let mut buffers = [Buffer::new(Box::new(source())), Buffer::read_ahead(ahead)];
            loop {
                let filled = buffers.each_mut().map(|buffer| buffer.fill(need));
                let [one, other] = &mut buffers;
                assert_eq!(filled[0], filled[1], "{need}");
                let len = need.min(one.len());
                assert_eq!(one.bytes()[..len], other.bytes()[..len], "{need} at {}", one.offset());
                assert_eq!(one.offset(), other.offset(), "{need}");
                if !filled[0] {
                    assert_eq!((one.len(), one.offset()), (other.len(), other.offset()));
                    break;
                }
                // Some of what was asked for stays.
                for buffer in [one, other] {
                    buffer.consume(need - need / 3);
                }
            }
        }
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
