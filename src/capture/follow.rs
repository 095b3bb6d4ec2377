//! A file that is still being written.
//!
//! In: a regular file, and a function that is called at its end. Out: its bytes, and those that are written later; an error if
//! the file becomes shorter, because its bytes then no longer continue those before. Knows no clock: the function does the
//! waiting.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Error;
use super::compressed::{MAGIC_LEN, is_magic_of_compression};

/// What to do at the end of a file that may still grow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AtEnd {
    /// Look whether it has grown.
    Again,
    /// Let the run do something else first.
    Pause,
    /// The file is complete.
    End,
}

/// The error of a file that has become shorter than what was read of it: another program began it anew.
#[derive(Debug, thiserror::Error)]
#[error(
    "the file has become shorter while it was followed, {len} bytes. The packets before are in these results; follow the \
     file again for those that were written since"
)]
pub(super) struct Shrunk {
    /// The bytes that the file has now.
    len: u64,
}

/// A reader of a file that may still grow.
pub struct Follow<F> {
    file: File,
    at_end: F,
    /// Number of bytes read so far.
    read: u64,
    /// The first bytes of the file, at most [`MAGIC_LEN`].
    magic: Vec<u8>,
}

impl<F: FnMut() -> AtEnd> Follow<F> {
    /// Opens the file at `path`. At its end, `at_end` is called, which waits a while first.
    ///
    /// # Errors
    ///
    /// The operating system does not open the file.
    pub fn open(path: &Path, at_end: F) -> Result<Self, Error> {
        let name = || path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Open { name: name(), source })?;
        Ok(Self { file, at_end, read: 0, magic: Vec::new() })
    }
}

impl<F: FnMut() -> AtEnd> Read for Follow<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.file.read(into)?;
            if bytes > 0 || into.is_empty() {
                let more = MAGIC_LEN.saturating_sub(self.magic.len());
                self.magic.extend(into.iter().take(bytes.min(more)));
                self.read += bytes as u64;
                return Ok(bytes);
            }
            let len = self.file.metadata()?.len();
            if len < self.read {
                return Err(io::Error::other(Shrunk { len }));
            }
            // A reader of compressed bytes takes a pause for an error.
            let may_pause = self.magic.len() >= MAGIC_LEN && !is_magic_of_compression(&self.magic);
            match (self.at_end)() {
                AtEnd::Pause if may_pause => return Err(io::ErrorKind::WouldBlock.into()),
                AtEnd::Again | AtEnd::Pause => {}
                AtEnd::End => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::super::samples::PcapBuilder;
    use super::super::{CaptureFile, Endian, Item};
    use super::*;

    #[test]
    fn a_file_that_becomes_shorter_gives_its_packets_and_a_clear_error() {
        let mut capture = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        capture.record(1, 0, 3, b"one").record(2, 0, 3, b"two");
        let name = format!("beamscope-shorter-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, &capture.bytes).unwrap();
        // Another program begins the file anew; the next look finds a header and no more.
        let (writer, header) = (path.clone(), capture.bytes.split_at(24).0.to_vec());
        let at_end = move || {
            fs::write(&writer, &header).unwrap();
            AtEnd::Again
        };
        let source = Box::new(Follow::open(&path, at_end).unwrap());
        let mut reader = CaptureFile::from_reader("log.pcap".into(), 0, source);
        let mut frames = Vec::new();
        let error = loop {
            match reader.next_item() {
                Ok(Some(Item::Frame(frame))) => frames.push(frame.bytes.to_vec()),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        fs::remove_file(&path).unwrap();
        assert_eq!(frames, [b"one", b"two"]);
        assert_eq!(
            error.to_string(),
            "cannot read log.pcap beyond byte 62: the file has become shorter while it was followed, 24 bytes. The \
             packets before are in these results; follow the file again for those that were written since"
        );
    }

    #[test]
    fn what_is_written_at_the_end_is_read_as_if_it_had_been_there() {
        let mut capture = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        capture.record(1, 0, 3, b"one").record(2, 0, 3, b"two");
        let path = std::env::temp_dir().join(format!("beamscope-follow-{}", std::process::id()));
        fs::write(&path, b"").unwrap();

        // Each time that the end is reached, one byte is written, so that each record is read in all its parts.
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let mut rest = capture.bytes.clone().into_iter();
        let mut is_pause = false;
        let at_end = move || {
            is_pause = !is_pause;
            if is_pause {
                return AtEnd::Pause;
            }
            let is_written = rest.next().is_some_and(|byte| writer.write_all(&[byte]).is_ok());
            if is_written { AtEnd::Again } else { AtEnd::End }
        };
        let source = Box::new(Follow::open(&path, at_end).unwrap());
        let mut reader = CaptureFile::from_reader("growing".into(), 0, source);
        let (mut frames, mut pauses) = (Vec::new(), 0);
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Frame(frame) => frames.push(frame.bytes.to_vec()),
                Item::Names { names: [], .. } => pauses += 1,
                other => panic!("{other:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(frames, [b"one", b"two"]);
        assert!(pauses > 40, "{pauses}");
    }
}
