//! Written bytes on their way out, handed to the operating system by a thread of their own.
//!
//! In: blocks, through [`io::Write`]. Out: the same bytes, and the first error, as if there were no thread.
//! Bounded: who writes waits where two blocks wait.
//!
//! For what is long, which is a line for each message: there the system's copy into a pipe or a file takes a
//! quarter of the time and more. A capture without message lines prints too little for it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

/// The near end of the thread.
pub struct BackgroundWriter {
    full: SyncSender<Vec<u8>>,
    /// Blocks that were written come back, to be filled again; or the error that ended the thread.
    written: Receiver<io::Result<Vec<u8>>>,
    /// Blocks at hand.
    empty: Vec<Vec<u8>>,
    /// Blocks that were handed over and have not come back.
    under_way: usize,
}

impl BackgroundWriter {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (full, full_out) = sync_channel(WAITING);
        let (written_in, written) = channel();
        let work = move || write_on(out, &full_out, &written_in);
        thread::Builder::new().name("output".to_owned()).spawn(work)?;
        Ok(Self { full, written, empty: Vec::new(), under_way: 0 })
    }

    /// A block has come back, or none will any more.
    fn take_back(&mut self, block: io::Result<Vec<u8>>) -> io::Result<()> {
        self.under_way -= 1;
        self.empty.push(block?);
        Ok(())
    }

    /// Waits for the next block to come back.
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
        self.under_way += 1;
        match self.full.send(block) {
            Ok(()) => Ok(bytes.len()),
            // The thread has gone, and left its error.
            Err(_) => self.wait().map(|()| bytes.len()),
        }
    }

    /// Waits until all is written.
    fn flush(&mut self) -> io::Result<()> {
        while self.under_way > 0 {
            self.wait()?;
        }
        Ok(())
    }
}

/// Ends with the first error, or with whoever writes.
fn write_on(mut out: impl Write, full: &Receiver<Vec<u8>>, written: &Sender<io::Result<Vec<u8>>>) {
    while let Ok(block) = full.recv() {
        let result = out.write_all(&block).and_then(|()| out.flush());
        let failed = result.is_err();
        // Nobody left to hear it is as good.
        let _ = written.send(result.map(|()| block));
        if failed {
            return;
        }
    }
}

/// Blocks that wait, beside the one that is filled and the one that is written.
const WAITING: usize = 2;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes so many bytes, and then no more.
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
    fn blocks_come_out_in_order_and_all_are_written_once_flushed() {
        let taken = Arc::default();
        let mut behind = BackgroundWriter::start(Room(Arc::clone(&taken), usize::MAX)).unwrap();
        let mut expected = Vec::new();
        for block in 0..500_u16 {
            let bytes = vec![block.to_le_bytes()[0]; usize::from(block % 7) * 100];
            behind.write_all(&bytes).unwrap();
            expected.extend(bytes);
            if block % 50 == 0 {
                behind.flush().unwrap();
                assert_eq!(*taken.lock().unwrap(), expected);
            }
        }
        behind.flush().unwrap();
        assert_eq!(*taken.lock().unwrap(), expected);
        assert!(behind.empty.len() <= WAITING + 2, "{}", behind.empty.len());
    }

    #[test]
    fn the_first_error_comes_back_with_a_later_block_or_at_the_end() {
        for blocks in 1..20 {
            let taken = Arc::default();
            let mut behind = BackgroundWriter::start(Room(Arc::clone(&taken), 1000)).unwrap();
            let outcome = (0..blocks).try_for_each(|_| behind.write_all(&[7; 300]));
            let outcome = outcome.and_then(|()| behind.flush());
            let expected = (blocks > 3).then_some(io::ErrorKind::StorageFull);
            assert_eq!(outcome.err().map(|e| e.kind()), expected, "{blocks}");
            assert_eq!(taken.lock().unwrap().len(), 300 * blocks.min(3));
        }
    }
}
