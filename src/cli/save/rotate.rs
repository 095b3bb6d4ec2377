//! Which file of a sequence packets go to: when the next one starts, its name, and which ones are
//! deleted.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use beamscope::time::Timestamp;

use crate::cli::place::{FileIdentity, Place};

/// A sequence of files, of which one at a time is written.
pub(super) struct RotatingFiles {
    /// The directory of the files.
    place: Place,
    /// The name that the arguments give; those of the files begin and end with its parts.
    name: PathBuf,
    max_bytes: Option<u64>,
    /// Time from the first packet of a file to the first packet of the next.
    max_age: Option<Duration>,
    keep: Option<usize>,
    /// Number of the last file.
    number: u64,
    /// Files that exist, the oldest first; at most `keep`.
    existing: VecDeque<(Place, FileIdentity)>,
    /// When another file is tried after one could not be written.
    retry_at: Option<Timestamp>,
}

impl RotatingFiles {
    /// A sequence without a file; the first one is that of the first packet.
    pub(super) const fn new(
        place: Place,
        name: PathBuf,
        max_bytes: Option<u64>,
        max_age: Option<Duration>,
        keep: Option<usize>,
    ) -> Self {
        let existing = VecDeque::new();
        Self { place, name, max_bytes, max_age, keep, number: 0, existing, retry_at: None }
    }

    /// The name as the arguments give it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Whether a packet at time `at` belongs to the next file: the current one began at `since` and
    /// would have this many `bytes` with the packet.
    pub(super) fn is_full(&self, since: Timestamp, at: Timestamp, bytes: u64) -> bool {
        self.max_bytes.is_some_and(|max| bytes > max)
            || self.max_age.is_some_and(|max| at.since(since) >= max)
    }

    /// The place of the next file, which begins at `at`, and its path; `None` while a failed write is not retried.
    /// Deletes the oldest files, so that there is room for another one.
    pub(super) fn next_place(&mut self, at: Timestamp) -> Option<(Place, PathBuf)> {
        if self.retry_at.is_some_and(|retry_at| at < retry_at) {
            return None;
        }
        self.retry_at = None;
        self.number += 1;
        while self.keep.is_some_and(|keep| self.existing.len() >= keep) {
            // A file that is gone already needs no deletion, and one that took its name is not of this run.
            if let Some((place, file)) = self.existing.pop_front() {
                place.remove(file);
            }
        }
        let path = self.path(at);
        Some((self.place.beside(path.file_name()?), path))
    }

    /// The file at `place` was created.
    pub(super) fn on_created(&mut self, place: Place) {
        if let Some(file) = place.identity() {
            self.existing.push_back((place, file));
        }
    }

    /// A write failed at `at`: the next file is tried after the time that one file lasts.
    pub(super) fn on_failed(&mut self, at: Timestamp) {
        self.retry_at = Some(at.after(self.max_age.unwrap_or(RETRY)));
    }

    /// Tries the next file with the next packet, also after a failed write.
    #[cfg(feature = "live")]
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// `NAME-20140525T143225Z-00001.EXT`: names sort by time, and within a second by number.
    fn path(&self, at: Timestamp) -> PathBuf {
        let mut name = self.name.file_stem().map(OsString::from).unwrap_or_default();
        name.push(format!("-{}-{:05}", file_time(at, 0), self.number));
        if let Some(extension) = self.name.extension() {
            name.push(".");
            name.push(extension);
        }
        self.name.with_file_name(name)
    }
}

/// A time for the names of files: `20140525T143225Z`, with up to nine decimals of the second.
pub(in crate::cli) fn file_time(at: Timestamp, decimals: usize) -> String {
    let text = at.to_string();
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut time: String = seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    if let Some(fraction) = fraction.get(..decimals).filter(|it| !it.is_empty()) {
        time.push('.');
        time.push_str(fraction);
    }
    time.push('Z');
    time
}

/// When a sequence that rotates by size alone is tried again after a failure: the disk may have room.
const RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::place::Trusted;

    #[test]
    fn names_of_a_sequence_sort_by_time_and_number() {
        let place = Place::find(Path::new("lan.pcapng"), Trusted::default()).unwrap();
        let mut files = RotatingFiles::new(place, "dir/lan.pcapng".into(), None, None, None);
        files.number = 9;
        let at = Timestamp::new(1_401_028_345, 999_999_999);
        assert_eq!(files.path(at), Path::new("dir/lan-20140525T143225Z-00009.pcapng"));
        files.name = "lan".into();
        files.number = 123_456;
        assert_eq!(files.path(at), Path::new("lan-20140525T143225Z-123456"));
    }

    #[test]
    fn times_in_names_take_decimals() {
        let at = Timestamp::new(1_401_028_345, 512_000);
        assert_eq!(file_time(at, 0), "20140525T143225Z");
        assert_eq!(file_time(at, 6), "20140525T143225.000512Z");
    }
}
