//! What files for output are opened for, and what comes of it, on every system.

use std::fs::File;
use std::io;

/// Who may read a file, and what becomes of what is in it.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct FileMode {
    /// Only its owner may read it: it holds packets, contents or secrets.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no modes"))]
    pub(in crate::cli) is_private: bool,
    /// What is in it stays, and what is written follows.
    pub(in crate::cli) appends: bool,
}

/// A file that was opened for output. What is in it is still there.
#[derive(Debug)]
pub(in crate::cli) struct OpenedFile {
    pub(super) file: File,
    /// Whether this run made it.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "only -Z changes its owner"))]
    pub(super) is_new: bool,
    /// Whether it is emptied before anything is written.
    pub(super) is_emptied: bool,
}

impl OpenedFile {
    /// The file, to be written from its start, or from its end where that was asked for.
    ///
    /// # Errors
    ///
    /// It cannot be emptied.
    pub(in crate::cli) fn start(self) -> io::Result<File> {
        if self.is_emptied {
            self.file.set_len(0)?;
        }
        Ok(self.file)
    }

    /// The file, if this run made it.
    #[cfg(feature = "live")]
    pub(in crate::cli) fn if_new(&self) -> Option<&File> {
        self.is_new.then_some(&self.file)
    }
}

/// The users whose files and links are used, beside root.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Trusted {
    /// The user of `-Z`, to whom files of an earlier run were given.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no owners"))]
    pub(in crate::cli) account: Option<u32>,
}

/// The device and the number of a file, which it has under every name.
pub(in crate::cli) type FileIdentity = (u64, u64);
