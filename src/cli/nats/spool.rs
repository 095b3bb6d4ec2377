//! The spool: lines of observations on disk, from when they are observed until a server has acknowledged them.
//!
//! In: lines, one at a time. Out: the same lines, in order, to another process. A run has segments, files named
//! `RUN-FIRST.spool`: the number of the run, and that of the first line in the file. Behind a line that found no room no other
//! one of the run is added: without it, they could accuse a node that the missing one clears. A file whose lines were all
//! acknowledged is removed; what is left when a process ends is sent by the next one, under the same numbers.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use crate::cli::place::{Directory, Trusted};

/// Ends the name of a segment.
const ENDING: &str = ".spool";

/// The name of the file that one run at a time has locked.
const LOCK: &str = "lock";

/// Of the spool, what one segment takes: small files are given back sooner.
const SEGMENTS: u64 = 16;

/// Bytes of the largest segment.
const LARGEST: u64 = 4 << 20;

/// Bytes of the longest line that is read back. Observations are bounded far below.
const LONGEST: usize = 16 << 20;

/// Characters of the name of a sensor, or of a connection, in a subject.
const LONGEST_TOKEN: usize = 64;

/// The spool of a run that writes to it.
#[derive(Debug)]
pub(in crate::cli) struct Spool {
    directory: Directory,
    /// Locked until the run ends.
    _lock: File,
    /// The number of the run, in hexadecimal digits.
    run: String,
    /// Bytes that all segments may take.
    most: u64,
    /// Names of the segments that may be there, the one that is written last.
    segments: Vec<String>,
    open: Option<SpoolSegment>,
    /// Number of the next line.
    next: u64,
    lost: u64,
    /// The first write that failed, or that found no room.
    failure: Option<io::Error>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct SpoolSegment {
    file: File,
    bytes: u64,
}

impl Spool {
    /// Opens the directory, and makes it where need be. Nothing of this run is in it yet.
    ///
    /// # Errors
    ///
    /// It cannot be made or read, or another run writes to it.
    pub(in crate::cli) fn open(path: &Path, most: u64, trusted: Trusted) -> io::Result<Self> {
        let directory = Directory::open(path, trusted)?;
        let lock = directory.open_private(LOCK)?;
        lock.try_lock().map_err(|_| {
            io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another run has this spool; each needs its own",
            )
        })?;
        let segments = directory.names()?.into_iter().filter(|name| parse(name).is_some());
        let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        Ok(Self {
            segments: segments.collect(),
            directory,
            _lock: lock,
            run,
            most,
            open: None,
            next: 0,
            lost: 0,
            failure: None,
            line: Vec::new(),
        })
    }

    /// The directory of the segments.
    #[cfg(any(feature = "live", test))]
    pub(in crate::cli) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The number of the run.
    pub(in crate::cli) fn run(&self) -> &str {
        &self.run
    }

    /// Adds a line, with its newline, that goes to a subject ending in `sensor` and `connection`. One that finds no room
    /// is counted, and so are those behind it.
    pub(in crate::cli) fn add(&mut self, sensor: &str, connection: Option<&str>, line: &[u8]) {
        if self.lost > 0 {
            self.lost += 1;
            return;
        }
        self.line.clear();
        push_token(&mut self.line, sensor);
        self.line.push(b'.');
        push_token(&mut self.line, connection.unwrap_or("run"));
        self.line.push(b'\t');
        self.line.extend_from_slice(line);
        if let Err(error) = self.write() {
            // A part of a line would be joined with the next one.
            if let Some(segment) = self.open.take() {
                let _ = segment.file.set_len(segment.bytes);
            }
            self.lost = 1;
            self.failure = Some(error);
        }
        self.next += 1;
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = self.line.len() as u64;
        let largest = (self.most / SEGMENTS).clamp(1, LARGEST);
        if self.open.as_ref().is_some_and(|it| it.bytes + bytes > largest) {
            self.open = None;
        }
        let mut segment = match self.open.take() {
            Some(segment) => segment,
            None => self.begin(bytes)?,
        };
        let written = segment.file.write_all(&self.line);
        if written.is_ok() {
            segment.bytes += bytes;
        }
        self.open = Some(segment);
        written
    }

    /// Begins a segment for a line of so many bytes, if there is room for a whole one.
    fn begin(&mut self, bytes: u64) -> io::Result<SpoolSegment> {
        let mut taken = 0;
        let directory = &self.directory;
        self.segments.retain(|name| match directory.file_size(name) {
            Some(size) => {
                taken += size;
                true
            }
            None => false,
        });
        if taken + bytes.max(self.most / SEGMENTS) > self.most {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "it has reached --spool-size"));
        }
        let name = format!("{}-{:020}{ENDING}", self.run, self.next);
        let file = self.directory.make_private(&name)?;
        self.segments.push(name);
        Ok(SpoolSegment { file, bytes: 0 })
    }

    /// Number of lines that found no room.
    pub(in crate::cli) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Why the first of them found none, once.
    pub(in crate::cli) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

/// Appends a text as one token of a subject: what has a meaning there becomes an underscore.
pub(super) fn push_token(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    let token =
        text.bytes().take(LONGEST_TOKEN).map(|byte| if is_plain(byte) { byte } else { b'_' });
    let before = out.len();
    out.extend(token);
    if out.len() == before {
        out.push(b'_');
    }
}

/// The run of a segment, and the number of its first line.
fn parse(name: &str) -> Option<(&str, u64)> {
    let (run, first) = name.strip_suffix(ENDING)?.split_once('-')?;
    let is_run = !run.is_empty() && run.bytes().all(|it| it.is_ascii_hexdigit());
    is_run.then_some((run, first.parse().ok()?))
}

/// A line of a spool.
#[derive(Debug)]
pub(super) struct SpooledLine {
    /// The number of the run, and that of the line in it: what makes the message known when it is sent twice.
    pub(super) id: String,
    /// The subject, without what all have in common.
    pub(super) subject: String,
    /// The observation, without its newline.
    pub(super) payload: Vec<u8>,
}

/// The lines of a spool, as another process adds to it.
#[derive(Debug)]
pub(super) struct SpoolReader {
    directory: Directory,
    /// The run that still adds lines; `None` once it has ended.
    growing: Option<String>,
    /// Segments that were not opened yet, in order.
    waiting: VecDeque<String>,
    open: Option<OpenSegment>,
    /// Segments that were read to their end, and whose lines may not be acknowledged yet.
    done: Vec<String>,
}

#[derive(Debug)]
struct OpenSegment {
    name: String,
    run: String,
    next: u64,
    lines: BufReader<File>,
    /// A line whose end is not there yet.
    part: Vec<u8>,
}

impl SpoolReader {
    /// Reads the spool in a directory, to which the run `growing` adds.
    pub(super) fn new(directory: Directory, growing: String) -> Self {
        Self {
            directory,
            growing: Some(growing),
            waiting: VecDeque::new(),
            open: None,
            done: Vec::new(),
        }
    }

    /// From here on no run adds lines.
    pub(super) fn end(&mut self) {
        self.growing = None;
    }

    /// The next line that is whole; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// The directory or a segment cannot be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<SpooledLine>> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(segment) = &mut self.open else { return Ok(None) };
            let had = segment.part.len();
            segment.lines.read_until(b'\n', &mut segment.part)?;
            if segment.part.ends_with(b"\n") {
                let id = format!("{}-{}", segment.run, segment.next);
                segment.next += 1;
                let line = std::mem::take(&mut segment.part);
                // A line that this program did not write is a hole in the numbers.
                if let Some(line) = spooled(id, &line) {
                    return Ok(Some(line));
                }
                continue;
            }
            if segment.part.len() > had && segment.part.len() < LONGEST {
                continue;
            }
            if !self.is_over()? {
                return Ok(None);
            }
            self.done.extend(self.open.take().map(|segment| segment.name));
        }
    }

    /// Whether nothing more comes into the open segment.
    fn is_over(&mut self) -> io::Result<bool> {
        let Some(segment) = &self.open else { return Ok(true) };
        if self.growing.as_ref() != Some(&segment.run) {
            return Ok(true);
        }
        let run = segment.run.clone();
        if self.waiting.is_empty() {
            self.look()?;
        }
        // The writer ends a segment before it begins another one. What it wrote last may not have been read.
        let is_followed = self.waiting.iter().any(|name| parse(name).is_some_and(|it| it.0 == run));
        let is_read =
            self.open.as_mut().is_none_or(|it| it.lines.fill_buf().is_ok_and(<[u8]>::is_empty));
        Ok(is_followed && is_read)
    }

    /// Finds the segments behind those that were opened.
    fn look(&mut self) -> io::Result<()> {
        let mut names = self.directory.names()?;
        let open = self.open.as_ref().map(|it| &it.name);
        names.retain(|name| {
            parse(name).is_some() && Some(name) != open && !self.done.contains(name)
        });
        // The run that still adds lines comes last: it has no end to wait for.
        let growing = self.growing.as_deref();
        names.sort_by_cached_key(|name| {
            let (run, first) = parse(name).unwrap_or_default();
            (Some(run) == growing, run.to_owned(), first)
        });
        self.waiting = names.into();
        Ok(())
    }

    fn open_next(&mut self) -> io::Result<bool> {
        if self.waiting.is_empty() {
            self.look()?;
        }
        while let Some(name) = self.waiting.pop_front() {
            let Some((run, next)) = parse(&name) else { continue };
            let run = run.to_owned();
            let file = match self.directory.read(&name) {
                Ok(file) => file,
                // The process of an earlier run, which ended a moment ago, has sent it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let lines = BufReader::with_capacity(64 << 10, file);
            self.open = Some(OpenSegment { name, run, next, lines, part: Vec::new() });
            return Ok(true);
        }
        Ok(false)
    }

    /// All lines that were given out are acknowledged.
    pub(super) fn acknowledge(&mut self) {
        self.done.drain(..).for_each(|name| self.directory.remove(&name));
    }

    /// Bytes of the segments that are left.
    pub(super) fn left(&self) -> u64 {
        let names = self.directory.names().unwrap_or_default();
        let names = names.iter().filter(|name| parse(name).is_some());
        names.filter_map(|name| self.directory.file_size(name)).sum()
    }
}

/// The line with this number.
fn spooled(id: String, line: &[u8]) -> Option<SpooledLine> {
    let at = line.iter().position(|byte| *byte == b'\t')?;
    let (subject, payload) = line.split_at_checked(at)?;
    let subject = String::from_utf8(subject.to_vec()).ok()?;
    let payload = payload.trim_ascii().to_vec();
    Some(SpooledLine { id, subject, payload })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("beamscope-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn spool(folder: &Path, most: u64) -> Spool {
        Spool::open(folder, most, Trusted::default()).unwrap()
    }

    fn reader(folder: &Path, growing: &str) -> SpoolReader {
        let directory = Directory::open(folder, Trusted::default()).unwrap();
        SpoolReader::new(directory, growing.to_owned())
    }

    fn numbers(reader: &mut SpoolReader) -> Vec<String> {
        let lines = std::iter::from_fn(|| reader.next_line().unwrap());
        lines.map(|it| format!("{} {}", it.id.split_once('-').unwrap().1, it.subject)).collect()
    }

    #[test]
    fn lines_are_read_as_they_are_added_and_their_files_go_once_they_are_acknowledged() {
        let folder = folder("spool-grows");
        let mut spool = spool(&folder, 16 * 40);
        let mut reader = reader(&folder, spool.run());
        assert_eq!(numbers(&mut reader), [""; 0]);
        spool.add("host a.b", Some("c1"), b"{\"n\":1}\n");
        spool.add("host a.b", None, b"{\"n\":2}\n");
        assert_eq!(numbers(&mut reader), ["0 host_a_b.c1", "1 host_a_b.run"]);
        reader.acknowledge();
        assert_eq!(spool.directory().names().unwrap().len(), 2, "the segment may grow");
        (0..4).for_each(|_| spool.add("a", None, b"{\"n\":3}\n"));
        assert_eq!(numbers(&mut reader), ["2 a.run", "3 a.run", "4 a.run", "5 a.run"]);
        let left = reader.left();
        reader.acknowledge();
        assert!(reader.left() < left);
        drop(spool);
        reader.end();
        assert_eq!(numbers(&mut reader), [""; 0]);
        reader.acknowledge();
        assert_eq!(reader.left(), 0);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_spool_ends_the_run_that_it_has() {
        let folder = folder("spool-full");
        let mut spool = spool(&folder, 16 * 20);
        (0..100).for_each(|_| spool.add("a", None, b"{\"n\":1}\n"));
        let kept = 100 - spool.lost();
        assert!((5..50).contains(&kept), "{kept}");
        let error = spool.take_failure().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let mut first = reader(&folder, spool.run());
        assert_eq!(numbers(&mut first).len() as u64, kept);
        first.acknowledge();
        spool.add("a", None, b"{\"n\":2}\n");
        assert_eq!(numbers(&mut first), [""; 0], "the others are missing");
        assert_eq!(spool.lost(), 101 - kept);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_run_left_is_read_by_the_next_one_under_the_same_numbers() {
        let folder = folder("spool-left");
        let mut before = spool(&folder, 1 << 20);
        before.add("a", None, b"{\"n\":1}\n");
        let run = before.run().to_owned();
        let busy = Spool::open(&folder, 1 << 20, Trusted::default()).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);
        // Its process was killed in the middle of a line.
        before.open.take().unwrap().file.write_all(b"a.run\t{\"n\":").unwrap();
        drop(before);
        let mut spool = spool(&folder, 1 << 20);
        spool.add("a", None, b"{\"n\":3}\n");
        let mut reader = reader(&folder, spool.run());
        let ids: Vec<_> =
            std::iter::from_fn(|| reader.next_line().unwrap()).map(|it| it.id).collect();
        assert_eq!(ids, [format!("{run}-0"), format!("{}-0", spool.run())]);
        fs::remove_dir_all(folder).unwrap();
    }
}
