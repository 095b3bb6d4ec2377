//! A file that is still being written.
//!
//! In: a regular file, and a function that is called at its end. Out: its bytes, and those that are written later.
//! Knows no clock: the function does the waiting.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Error;

/// A reader of a file that may still grow.
pub struct Follow<F> {
    file: File,
    should_continue: F,
}

impl<F: FnMut() -> bool> Follow<F> {
    /// Opens the file at `path`. At its end, `should_continue` is called, which waits a while and returns whether
    /// the file may still grow.
    ///
    /// # Errors
    ///
    /// The operating system does not open the file.
    pub fn open(path: &Path, should_continue: F) -> Result<Self, Error> {
        let name = || path.display().to_string();
        let file = File::open(path).map_err(|source| Error::Open { name: name(), source })?;
        Ok(Self { file, should_continue })
    }
}

impl<F: FnMut() -> bool> Read for Follow<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.file.read(into)?;
            if bytes > 0 || into.is_empty() || !(self.should_continue)() {
                return Ok(bytes);
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
    fn what_is_written_at_the_end_is_read_as_if_it_had_been_there() {
        let mut capture = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
        capture.record(1, 0, 3, b"one").record(2, 0, 3, b"two");
        let path = std::env::temp_dir().join(format!("beamscope-follow-{}", std::process::id()));
        fs::write(&path, b"").unwrap();

        // Each time that the end is reached, one byte is written, so that each record is read in all its parts.
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        let mut rest = capture.bytes.clone().into_iter();
        let should_continue =
            move || rest.next().is_some_and(|byte| writer.write_all(&[byte]).is_ok());
        let source = Box::new(Follow::open(&path, should_continue).unwrap());
        let mut reader = CaptureFile::from_reader("growing".into(), 0, source);
        let mut frames = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Frame(frame) => frames.push(frame.bytes.to_vec()),
                other => panic!("{other:?}"),
            }
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(frames, [b"one", b"two"]);
    }
}
