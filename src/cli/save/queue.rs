//! Standard output behind a thread, so that a slow reader of packets does not delay a live capture.
//!
//! In: blocks of bytes. Out: the same on standard output, or `WouldBlock` when too many are queued.

use std::io;
#[cfg(feature = "live")]
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(feature = "live")]
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, Sender};
#[cfg(feature = "live")]
use std::thread;
use std::time::Duration;

/// Blocks that wait for a thread to write them to standard output.
pub(super) struct StdoutQueue {
    blocks: Sender<Vec<u8>>,
    /// Bytes of all blocks that are queued.
    bytes: Arc<AtomicUsize>,
    /// Disconnects when all are written, or when the reader has closed standard output.
    done: Receiver<()>,
}

impl StdoutQueue {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The operating system starts no thread.
    #[cfg(feature = "live")]
    pub(super) fn start() -> io::Result<Self> {
        let (blocks, queued) = mpsc::channel::<Vec<u8>>();
        let (finished, done) = mpsc::channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&bytes);
        thread::Builder::new().name("packets".to_owned()).spawn(move || {
            let mut stdout = io::stdout();
            for block in queued {
                if stdout.write_all(&block).and_then(|()| stdout.flush()).is_err() {
                    return;
                }
                left.fetch_sub(block.len(), Ordering::Relaxed);
            }
            let _ = finished.send(());
        })?;
        Ok(Self { blocks, bytes, done })
    }

    /// Queues a copy of `block`.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if [`MAX_QUEUED`] bytes wait already, `BrokenPipe` if the thread has ended.
    pub(super) fn push(&self, block: &[u8]) -> io::Result<()> {
        if self.bytes.load(Ordering::Relaxed) + block.len() > MAX_QUEUED {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.fetch_add(block.len(), Ordering::Relaxed);
        self.blocks.send(block.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits until all blocks are written, for at most [`LAST_WAIT`]; `false` if some were not.
    pub(super) fn finish(self) -> bool {
        let Self { blocks, done, .. } = self;
        drop(blocks);
        done.recv_timeout(LAST_WAIT).is_ok()
    }
}

/// Bytes that wait for a slow reader: some seconds of a busy link.
const MAX_QUEUED: usize = 32 << 20;

/// How long the end of a run waits for the reader.
const LAST_WAIT: Duration = Duration::from_secs(2);
