//! Key logs: files with secrets of TLS connections.
//!
//! In: names of files. Out: a [`KeyLog`] with their lines, and files that are read on as they grow. The buffers that held
//! lines are wiped, and no text that leaves here shows a secret.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use beamscope::engine::KeyLog;
use zeroize::{Zeroize, Zeroizing};

/// The key logs of a run.
pub(super) struct KeyLogFiles {
    log: KeyLog,
    files: Vec<KeyLogFile>,
}

/// An open key log, and the last bytes of it, which are no whole line yet.
struct KeyLogFile {
    file: File,
    rest: Zeroizing<Vec<u8>>,
}

/// Why a key log cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyLogError {
    #[error("cannot read the key log {file}: {source}")]
    Read {
        /// The file as the user named it.
        file: String,
        /// The error of the operating system.
        source: io::Error,
    },
    #[error("--keylog-env needs the environment variable SSLKEYLOGFILE, which is not set")]
    NoVariable,
}

/// Something about a key log that is allowed and most likely a mistake.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyLogWarning {
    #[error(
        "{lines} lines of {file} are no lines of a key log; expected lines such as CLIENT_RANDOM, 64 hex \
         digits, and 96 hex digits"
    )]
    Unreadable { file: String, lines: u64 },
    #[error("the key log {file} is empty so far")]
    Empty { file: String },
    #[error(
        "other users of this machine can read the secrets in {file}; keep them from it: chmod 600 {file}"
    )]
    Readers { file: String },
}

impl KeyLogFiles {
    /// Opens key logs and adds their lines to `log`. `use_variable`: also the one that the environment names.
    ///
    /// # Errors
    ///
    /// A file cannot be opened or read.
    pub(super) fn open(
        paths: &[PathBuf],
        use_variable: bool,
        log: KeyLog,
    ) -> Result<(Self, Vec<KeyLogWarning>), KeyLogError> {
        let named = use_variable.then(|| env::var_os("SSLKEYLOGFILE").map(PathBuf::from));
        let named = named.map(|path| path.ok_or(KeyLogError::NoVariable)).transpose()?;
        let (mut all, mut warnings) = (Self { log, files: Vec::new() }, Vec::new());
        for path in paths.iter().chain(&named) {
            let name = path.display().to_string();
            let error = |source| KeyLogError::Read { file: name.clone(), source };
            let before = all.log.counts();
            let file = File::open(path).map_err(error)?;
            if is_readable_by_others(&file) {
                warnings.push(KeyLogWarning::Readers { file: name.clone() });
            }
            let mut file = KeyLogFile { file, rest: Zeroizing::default() };
            file.read(&all.log).map_err(error)?;
            // A last line without an end may be whole. If it goes on, its secret is added again.
            all.log.add_lines(&file.rest);
            let counts = all.log.counts();
            let lines = counts.unreadable - before.unreadable;
            if lines > 0 {
                warnings.push(KeyLogWarning::Unreadable { file: name, lines });
            } else if counts.secrets + counts.unused == before.secrets + before.unused {
                warnings.push(KeyLogWarning::Empty { file: name });
            }
            all.files.push(file);
        }
        Ok((all, warnings))
    }

    /// Whether there are any.
    pub(super) const fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Takes all files out, for the one that waits for more packets to read them on.
    #[cfg(unix)]
    pub(super) fn take(&mut self) -> Self {
        Self { log: self.log.clone(), files: std::mem::take(&mut self.files) }
    }

    /// Reads what the files have grown by. An error is no reason to end a run: its lines stay out.
    pub(super) fn read_on(&mut self) {
        for file in &mut self.files {
            let _ = file.read(&self.log);
        }
    }
}

impl KeyLogFile {
    /// Adds all whole lines up to the present end of the file.
    fn read(&mut self, log: &KeyLog) -> io::Result<()> {
        let mut buffer = Zeroizing::new([0; BUFFER]);
        loop {
            let len = match self.file.read(&mut *buffer) {
                Ok(0) => return Ok(()),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..len).unwrap_or_default();
            let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                self.hold(bytes);
                continue;
            };
            let (lines, rest) = bytes.split_at_checked(end + 1).unwrap_or((bytes, &[]));
            // The first line goes on from what was held.
            let first = lines.iter().position(|byte| *byte == b'\n').unwrap_or(end);
            let (first, lines) = lines.split_at_checked(first).unwrap_or((lines, &[]));
            self.hold(first);
            log.add_lines(&self.rest);
            log.add_lines(lines);
            self.rest.zeroize();
            self.hold(rest);
        }
    }

    /// Keeps the front of a line. Of one that is too long for a key log, the rest is dropped.
    fn hold(&mut self, bytes: &[u8]) {
        if self.rest.capacity() == 0 {
            // Allocated once: growing would leave copies behind.
            self.rest.reserve_exact(MOST_LINE);
        }
        let room = MOST_LINE - self.rest.len();
        self.rest.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }
}

/// Whether users other than the owner can read a file.
#[cfg(unix)]
fn is_readable_by_others(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|it| it.is_file() && it.mode() & 0o044 != 0)
}

#[cfg(not(unix))]
const fn is_readable_by_others(_: &File) -> bool {
    false
}

/// Bytes read at a time.
const BUFFER: usize = 64 << 10;

/// Bytes of the longest line that is read. The longest label has 31 characters, and a line some 200.
const MOST_LINE: usize = 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn line(number: u32) -> String {
        format!("CLIENT_RANDOM {number:064x} {}\n", "07".repeat(48))
    }

    #[test]
    fn lines_are_added_as_the_file_grows_and_long_ones_are_cut() {
        let path = env::temp_dir().join(format!("beamscope-keylog-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let log = KeyLog::default();
        let paths = std::slice::from_ref(&path);
        let (mut files, warnings) = KeyLogFiles::open(paths, false, log.clone()).unwrap();
        assert!(
            warnings.iter().any(|it| matches!(it, KeyLogWarning::Empty { .. })),
            "{warnings:?}"
        );
        let whole: String = (0..2000).map(line).collect();
        for piece in whole.as_bytes().chunks(7777) {
            file.write_all(piece).unwrap();
            files.read_on();
        }
        assert_eq!(log.counts().secrets, 2000);
        file.write_all(&[b'x'; 200_000]).unwrap();
        files.read_on();
        assert!(files.files[0].rest.len() <= MOST_LINE);
        file.write_all(b"\n").unwrap();
        file.write_all(line(9999).as_bytes()).unwrap();
        files.read_on();
        let counts = log.counts();
        assert_eq!((counts.secrets, counts.unreadable), (2001, 1));
        std::fs::remove_file(path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn files_that_were_taken_are_read_on_by_the_one_that_has_them() {
        let path = env::temp_dir().join(format!("beamscope-keylog-taken-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let log = KeyLog::default();
        let paths = std::slice::from_ref(&path);
        let (mut files, _) = KeyLogFiles::open(paths, false, log.clone()).unwrap();
        let mut taken = files.take();
        file.write_all(line(1).as_bytes()).unwrap();
        files.read_on();
        assert_eq!((files.has_files(), log.counts().secrets), (false, 0));
        taken.read_on();
        assert_eq!((taken.has_files(), log.counts().secrets), (true, 1));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = [PathBuf::from("/no/such/keys.log")];
        let Err(error) = KeyLogFiles::open(&missing, false, KeyLog::default()) else {
            panic!("it does not exist")
        };
        assert!(error.to_string().contains("/no/such/keys.log"), "{error}");
    }
}
