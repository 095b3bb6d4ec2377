//! Stage 1: a thread that reads an input ahead of its consumer.
//!
//! In: a reader that the thread creates and reads. Out: its bytes in chunks, followed by its error. The thread blocks while
//! two chunks are queued. A chunk is not copied: the consumer takes its buffer, and gives back the one before.
//!
//! Compressed captures are read ahead, because decompression takes about as long as the analysis; and one of several plain
//! files is, since the system copies the next bytes meanwhile (16 files of 64 MB in the page cache: 0.16 s, without a
//! thread 0.22 s). One plain file alone gains a tenth of its time, for half as much processor time again, and is not. A
//! thread after decoding does not help, because a packet takes less time than passing it to another thread.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// Number of threads for reading that may still be started.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadThreads(Arc<AtomicUsize>);

/// Permission for one thread, which is returned when this is dropped.
struct Permit(ReadThreads);

impl ReadThreads {
    /// Allows `most` threads at a time.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(most)))
    }

    /// Whether one can be started now.
    pub(super) fn has_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn take(&self) -> Option<Permit> {
        let one_less = |free: usize| free.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok()?;
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Consumer of the chunks that the thread reads.
pub(super) struct ReadAhead {
    full: Receiver<io::Result<Chunk>>,
    /// Returns used buffers to the thread, which fills them again.
    empty: Sender<Vec<u8>>,
    _permit: Permit,
}

/// A buffer that is passed between the threads. Its bytes are those from [`HEADROOM`] up to `filled`.
pub(super) struct Chunk {
    /// The bytes, with the headroom in front.
    pub(super) buffer: Vec<u8>,
    /// Where its bytes end.
    pub(super) filled: usize,
}

impl ReadAhead {
    /// Starts a thread that reads the reader which `make` returns. `None` if no more threads are allowed.
    pub(super) fn start<R: Read>(
        threads: &ReadThreads,
        make: impl FnOnce() -> R + Send + 'static,
    ) -> Option<io::Result<Self>> {
        let permit = threads.take()?;
        let (full_in, full) = sync_channel(QUEUE_LEN);
        let (empty, empty_out) = channel();
        let run = move || read_chunks(make(), &full_in, &empty_out);
        let thread = thread::Builder::new().name("read".to_owned()).spawn(run);
        Some(thread.map(|_| Self { full, empty, _permit: permit }))
    }

    /// The next chunk; `None` at the end.
    pub(super) fn next(&self) -> Option<io::Result<Chunk>> {
        self.full.recv().ok()
    }

    /// Gives back a buffer to the thread, which fills it again.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        // A buffer that held a large record is not kept.
        if buffer.capacity() <= 2 * (HEADROOM + CHUNK_LEN) {
            // The thread may have ended, and then needs no more buffers.
            let _ = self.empty.send(buffer);
        }
    }
}

/// Reads until the source ends or the consumer is dropped.
fn read_chunks(
    mut source: impl Read,
    full: &SyncSender<io::Result<Chunk>>,
    empty: &Receiver<Vec<u8>>,
) {
    loop {
        let mut chunk = Chunk { buffer: empty.try_recv().unwrap_or_default(), filled: HEADROOM };
        let ended = chunk.fill(&mut source);
        let is_last = !matches!(ended, Ok(false));
        let sent = chunk.filled == HEADROOM || full.send(Ok(chunk)).is_ok();
        if let Err(error) = ended {
            // The consumer may have been dropped, and then needs no error.
            let _ = full.send(Err(error));
        }
        if is_last || !sent {
            return;
        }
    }
}

impl Chunk {
    /// Fills the chunk; true if `source` has ended.
    fn fill(&mut self, source: &mut impl Read) -> io::Result<bool> {
        self.buffer.resize(HEADROOM + CHUNK_LEN, 0);
        while let Some(free) = self.buffer.get_mut(self.filled..).filter(|free| !free.is_empty()) {
            match source.read(free) {
                Ok(0) => return Ok(true),
                Ok(bytes) => self.filled += bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// The bytes that were read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(HEADROOM..self.filled).unwrap_or_default()
    }
}

/// Bytes in front of those of a chunk that the thread leaves free, for the start of a record whose end is in the chunk. A
/// longer start is copied together with the chunk.
pub(super) const HEADROOM: usize = 64 * 1024;

/// Large enough to make passing a chunk negligible, and small compared with the second-level cache.
const CHUNK_LEN: usize = 256 * 1024;

/// Chunks in the queue, beside the one being filled and the one being consumed.
const QUEUE_LEN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(source: impl Read + Send + 'static) -> (Vec<u8>, Option<io::ErrorKind>) {
        let read_ahead = ReadAhead::start(&ReadThreads::new(1), || source).unwrap().unwrap();
        let mut bytes = Vec::new();
        loop {
            match read_ahead.next() {
                Some(Ok(chunk)) => {
                    bytes.extend(chunk.bytes());
                    read_ahead.give_back(chunk.buffer);
                }
                Some(Err(error)) => return (bytes, Some(error.kind())),
                None => return (bytes, None),
            }
        }
    }

    #[test]
    fn bytes_are_unchanged_and_an_error_follows_them() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        let long: Vec<u8> =
            (0..3 * CHUNK_LEN + 7).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, long.len()] {
            let source = io::Cursor::new(long[..len].to_vec());
            assert_eq!(read_all(source.clone()), (long[..len].to_vec(), None));
            let failing = source.chain(Fails);
            assert_eq!(read_all(failing), (long[..len].to_vec(), Some(io::ErrorKind::InvalidData)));
        }
    }

    #[test]
    fn no_more_threads_start_than_allowed_and_permits_are_returned() {
        let threads = ReadThreads::new(1);
        let first = ReadAhead::start(&threads, io::empty).unwrap();
        assert!(ReadAhead::start(&threads, io::empty).is_none());
        drop(first);
        assert!(ReadAhead::start(&threads, io::empty).is_some());
        assert!(ReadAhead::start(&ReadThreads::default(), io::empty).is_none());
    }

    #[test]
    fn the_thread_ends_when_its_consumer_is_dropped() {
        let read_ahead = ReadAhead::start(&ReadThreads::new(1), || io::repeat(7)).unwrap().unwrap();
        let chunk = read_ahead.next().unwrap().unwrap();
        assert_eq!(chunk.bytes()[..10], [7; 10]);
    }
}
