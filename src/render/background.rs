//! A writer with a thread of its own, so that system calls do not delay the analysis.
//!
//! In: blocks, through [`io::Write`]. Out: the same bytes, and the first error, as without a thread.
//! Bounded: a write blocks while two blocks are pending.
//!
//! Used for output with a line for each message: there the copy of the kernel into a pipe or a file takes a
//! quarter of the run time and more. Other output is too short to gain from it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// The sending end of the writer thread.
pub struct BackgroundWriter {
    full: SyncSender<Vec<u8>>,
    /// Returns blocks that were written, to be filled again; or the error that ended the thread.
    written: Receiver<io::Result<Vec<u8>>>,
    /// Blocks that are free to be filled.
    empty: Vec<Vec<u8>>,
    /// Number of blocks that the thread has.
    pending: usize,
}

impl BackgroundWriter {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// The operating system cannot start a thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (full, full_out) = sync_channel(WAITING);
        let (written_in, written) = channel();
        let work = move || write_on(out, &full_out, &written_in);
        thread::Builder::new().name("output".to_owned()).spawn(work)?;
        Ok(Self { full, written, empty: Vec::new(), pending: 0 })
    }

    /// Takes a block, or the error of the thread.
    fn take_back(&mut self, block: io::Result<Vec<u8>>) -> io::Result<()> {
        self.pending -= 1;
        self.empty.push(block?);
        Ok(())
    }

    /// Waits for the next block that was written.
    fn wait(&mut self) -> io::Result<()> {
        let gone = |_| Err(io::ErrorKind::BrokenPipe.into());
        let block = self.written.recv().unwrap_or_else(gone);
        self.take_back(block)
    }
}

impl Write for BackgroundWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while let Ok(block) = self.written.try_recv() {
            self.take_back(block)?;
        }
        let mut block = self.empty.pop().unwrap_or_default();
        block.clear();
        block.extend_from_slice(bytes);
        self.pending += 1;
        match self.full.send(block) {
            Ok(()) => Ok(bytes.len()),
            // The thread has ended, and its error is in the channel.
            Err(_) => self.wait().map(|()| bytes.len()),
        }
    }

    /// Waits until all is written.
    fn flush(&mut self) -> io::Result<()> {
        while self.pending > 0 {
            self.wait()?;
        }
        Ok(())
    }
}

/// Writes blocks until the first error, or until the sender is dropped.
fn write_on(mut out: impl Write, full: &Receiver<Vec<u8>>, written: &Sender<io::Result<Vec<u8>>>) {
    while let Ok(block) = full.recv() {
        let result = out.write_all(&block).and_then(|()| out.flush());
        let failed = result.is_err();
        // If the receiver is gone, no one waits for the result.
        let _ = written.send(result.map(|()| block));
        if failed {
            return;
        }
    }
}

/// Number of pending blocks, besides the one being filled and the one being written.
const WAITING: usize = 2;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes a number of bytes, and then fails.
    struct Room(Arc<Mutex<Vec<u8>>>, usize);

    impl Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().unwrap();
            if taken.len() + bytes.len() > self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn blocks_are_written_in_order_and_flush_waits_for_all() {
        let taken = Arc::default();
        let mut writer = BackgroundWriter::start(Room(Arc::clone(&taken), usize::MAX)).unwrap();
        let mut expected = Vec::new();
        for block in 0..500_u16 {
            let bytes = vec![block.to_le_bytes()[0]; usize::from(block % 7) * 100];
            writer.write_all(&bytes).unwrap();
            expected.extend(bytes);
            if block % 50 == 0 {
                writer.flush().unwrap();
                assert_eq!(*taken.lock().unwrap(), expected);
            }
        }
        writer.flush().unwrap();
        assert_eq!(*taken.lock().unwrap(), expected);
        assert!(writer.empty.len() <= WAITING + 2, "{}", writer.empty.len());
    }

    #[test]
    fn the_first_error_is_returned_by_a_later_write_or_flush() {
        for blocks in 1..20 {
            let taken = Arc::default();
            let mut writer = BackgroundWriter::start(Room(Arc::clone(&taken), 1000)).unwrap();
            let outcome = (0..blocks).try_for_each(|_| writer.write_all(&[7; 300]));
            let outcome = outcome.and_then(|()| writer.flush());
            let expected = (blocks > 3).then_some(io::ErrorKind::StorageFull);
            assert_eq!(outcome.err().map(|e| e.kind()), expected, "{blocks}");
            assert_eq!(taken.lock().unwrap().len(), 300 * blocks.min(3));
        }
    }
}
