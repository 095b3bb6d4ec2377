//! Where files for output are, and how they are made and opened.
//!
//! In: a path as the user gave it. Out: a [`Place`], which is a directory that is held open and a name in it, and files that
//! were opened there. A program that runs as root may be given a path in which other users can write: no link of theirs is
//! followed, and no file of theirs takes what the owner alone may read.
//!
//! The rules, for a path and for each directory on the way:
//!
//! - A symbolic link is followed if root, or the user that runs the program, made it, or if no other user can write where it
//!   is. That is the rule of `fs.protected_symlinks` of Linux, for every directory and not for `/tmp` alone.
//! - A file that is not there is made with `O_EXCL`.
//! - A file that is there is opened first, and looked at before anything is changed: it must be that of a user named above,
//!   or of the owner of the directory where that is not `/tmp`, and have no other name elsewhere (a hard link) where others
//!   could have made one. Packets and secrets go into files of the user alone.
//! - What changes a file (its length, mode and owner) goes through the descriptor, never through the path.

mod opened;
#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

use std::fs::File;
use std::io;
use std::path::Path;

pub(super) use opened::{FileIdentity, FileMode, OpenedFile, Trusted};
#[cfg(not(unix))]
pub(super) use other::{Directory, Place};
#[cfg(unix)]
pub(super) use unix::{Directory, Place};

/// Where a run writes: a place, and what was opened there already.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    /// `None` where files are made as packets come.
    pub(super) opened: Option<OpenedFile>,
}

impl Target {
    /// Finds the place of a path and opens the file there.
    ///
    /// # Errors
    ///
    /// The operating system refuses it, or other users could have changed where the path leads.
    pub(super) fn open(path: &Path, trusted: Trusted, opening: FileMode) -> io::Result<Self> {
        let place = Place::find(path, trusted)?;
        let opened = Some(place.open(opening)?);
        Ok(Self { place, opened })
    }

    /// The file, to be written from its start; for a second time, what is there is opened again.
    ///
    /// # Errors
    ///
    /// It cannot be emptied, or not be opened.
    pub(super) fn start(&mut self, opening: FileMode) -> io::Result<File> {
        self.opened.take().map_or_else(|| self.place.open(opening), Ok)?.start()
    }
}
