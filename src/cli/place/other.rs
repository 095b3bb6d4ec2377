//! Places on systems without `openat`: paths.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::opened::{FileIdentity, FileMode, OpenedFile, Trusted};

/// A file for output, by its path.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place(PathBuf);

impl Place {
    /// The place that `path` names.
    pub(in crate::cli) fn find(path: &Path, _: Trusted) -> io::Result<Self> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                Err(io::ErrorKind::NotADirectory.into())
            }
            _ => Ok(Self(path.to_owned())),
        }
    }

    /// Another name in the same directory.
    pub(in crate::cli) fn beside(&self, name: &OsStr) -> Self {
        Self(self.0.with_file_name(name))
    }

    /// Makes the file, or opens the one that is there.
    pub(in crate::cli) fn open(&self, opening: FileMode) -> io::Result<OpenedFile> {
        let mut options = OpenOptions::new();
        options.append(opening.appends).write(true).create(true);
        let file = options.open(&self.0)?;
        let is_emptied = !opening.appends && file.metadata().is_ok_and(|it| it.is_file());
        Ok(OpenedFile { file, is_new: false, is_emptied })
    }

    /// Not known on this system.
    pub(in crate::cli) fn identity(&self) -> Option<FileIdentity> {
        self.0.exists().then_some((0, 0))
    }

    /// Removes the file, if it is there.
    pub(in crate::cli) fn remove(&self, _: FileIdentity) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A directory in which files are made.
#[derive(Debug)]
pub(in crate::cli) struct Directory(PathBuf);

impl Directory {
    /// Opens the directory, and makes it and those above it where need be.
    pub(in crate::cli) fn open(path: &Path, _: Trusted) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Makes a file; one of that name is removed before.
    pub(in crate::cli) fn make_private(&self, name: &str) -> io::Result<File> {
        self.remove(name);
        File::create_new(self.0.join(name))
    }

    /// Whether a file may be made under a name: which files are read is not known here, so that none is replaced.
    pub(in crate::cli) fn is_free(&self, name: &str, _: &[FileIdentity]) -> bool {
        !self.0.join(name).exists()
    }

    /// Renames a file within the directory.
    pub(in crate::cli) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    /// Removes a name, if it is there.
    pub(in crate::cli) fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.0.join(name));
    }
}
