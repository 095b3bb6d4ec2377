//! How much of the inputs has been read, for a display of progress on another thread.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that were read of all inputs, before decompression. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct ReadCounter(Arc<AtomicU64>);

impl ReadCounter {
    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// `source`, whose bytes are counted as they are read.
    pub(super) fn count<R>(&self, source: R) -> Counted<R> {
        Counted { source, counter: self.clone() }
    }
}

/// A reader whose bytes are counted. Captures are read in large pieces, so this costs nothing that could be measured.
pub(super) struct Counted<R> {
    source: R,
    counter: ReadCounter,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.source.read(buffer)?;
        self.counter.0.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_all_sources_are_added_up() {
        let counter = ReadCounter::default();
        for bytes in [&b"three"[..], b"two"] {
            io::copy(&mut counter.count(bytes), &mut io::sink()).unwrap();
        }
        assert_eq!(counter.bytes(), 8);
    }
}
