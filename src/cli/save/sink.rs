//! What blocks of packets are written to: a file, standard output, or a queue in front of it.

use std::fs::File;
use std::io::{self, Stdout, Write};

use beamscope::time::Timestamp;

use super::queue::StdoutQueue;
#[cfg(feature = "live")]
use crate::cli::place::Place;

/// What is being written, with its name and size.
pub(super) struct OpenSink {
    sink: PacketSink,
    /// What messages call it.
    pub(super) name: String,
    /// Bytes of the complete blocks in it.
    pub(super) bytes: u64,
    /// Time of its first packet.
    pub(super) since: Option<Timestamp>,
}

/// The destination of the bytes of a capture.
pub(super) enum PacketSink {
    /// A file, which may be a device or a pipe.
    File(File),
    /// Standard output; a slow reader delays the run.
    Stdout(Stdout),
    /// Standard output behind a thread, so that a slow reader does not delay a live capture.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "a run over files may wait"))]
    Queue(StdoutQueue),
}

impl OpenSink {
    /// A sink that is open, called `name` in messages.
    pub(super) fn new(sink: PacketSink, name: String) -> Self {
        let bytes = match &sink {
            PacketSink::File(file) => file.metadata().map_or(0, |there| there.len()),
            PacketSink::Stdout(_) | PacketSink::Queue(_) => 0,
        };
        Self { sink, name, bytes, since: None }
    }

    /// Whether the file at `place` is still the one that is open. `true` for standard output.
    #[cfg(feature = "live")]
    pub(super) fn is_at(&self, place: &Place) -> bool {
        use std::os::unix::fs::MetadataExt;
        let PacketSink::File(file) = &self.sink else { return true };
        file.metadata().is_ok_and(|open| place.identity() == Some((open.dev(), open.ino())))
    }

    /// Puts a queue in front of standard output.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    #[cfg(feature = "live")]
    pub(super) fn put_queue_before_stdout(&mut self) -> io::Result<()> {
        if let PacketSink::Stdout(_) = self.sink {
            self.sink = PacketSink::Queue(StdoutQueue::start()?);
        }
        Ok(())
    }

    /// Writes blocks, of which each packet ends at one of `ends`. If only a part can be written, a file
    /// is cut behind the last complete packet, so that it stays readable.
    ///
    /// # Errors
    ///
    /// Not everything was written. `WouldBlock`: nothing was, the reader is too slow.
    pub(super) fn write(&mut self, blocks: &[u8], ends: &[usize]) -> io::Result<()> {
        let file = match &mut self.sink {
            PacketSink::Stdout(stdout) => {
                return stdout.write_all(blocks).and_then(|()| stdout.flush());
            }
            PacketSink::Queue(queue) => return queue.push(blocks),
            PacketSink::File(file) => file,
        };
        let (written, outcome) = write_counted(file, blocks);
        let complete = match outcome {
            Ok(()) => written,
            Err(_) => ends.iter().rev().copied().find(|end| *end <= written).unwrap_or(0),
        };
        self.bytes += complete as u64;
        if outcome.is_err() {
            // Fails for a pipe or a device, which cannot be cut.
            let _ = file.set_len(self.bytes);
        }
        outcome
    }

    /// Waits for a queue to be written; `false` if its reader did not take everything.
    pub(super) fn finish(self) -> bool {
        match self.sink {
            PacketSink::Queue(queue) => queue.finish(),
            PacketSink::File(_) | PacketSink::Stdout(_) => true,
        }
    }
}

/// Like `write_all`, but returns the number of bytes written also after an error.
fn write_counted(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut rest = bytes;
    let outcome = loop {
        match file.write(rest) {
            _ if rest.is_empty() => break Ok(()),
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    (bytes.len() - rest.len(), outcome)
}
