//! `-w`: packets into files of their own.
//!
//! In: the frames that are looked at, one by one. Out: one file, a row of files that begin anew by size or
//! by time, or standard output. When the disk is full, saving stops and the analysis goes on: what
//! happened is told once, and the next file of a row is tried again.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Stdout, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
#[cfg(feature = "live")]
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, Sender};
#[cfg(feature = "live")]
use std::thread;
use std::time::Duration;

use beamscope::capture::save::{Described, Encoder, SaveFormat};
use beamscope::capture::{Frame, Interface, LinkType};
use beamscope::packet::FrameRef;
use beamscope::time::Timestamp;

use super::Error;
use super::args::Args;
use super::run::is_stdin;

/// Saves packets as the arguments ask for it.
pub(super) struct Saver {
    target: Target,
    format: SaveFormat,
    encoder: Encoder,
    /// What packets go to; `None` before the first file of a row, and while saving is not possible.
    open: Option<Open>,
    /// Whole blocks that are not written yet, and where in them each packet ends.
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// Packets that a reader was too slow for.
    left_out: u64,
    /// Hand on each packet at once: somebody waits for it.
    at_once: bool,
    /// What the interfaces have received and lost, by input and interface.
    counts: HashMap<(u16, Option<u32>), Interface>,
    /// Time of the last packet.
    last: Timestamp,
    /// A frame that is looked at just now.
    staged: Option<Staged>,
    /// What stopped saving, until it is told.
    trouble: Option<String>,
    /// Whether anything has ever stopped it.
    failed: bool,
}

/// Where packets go.
enum Target {
    Stdout,
    One(PathBuf),
    RotatingFiles(RotatingFiles),
}

/// Files that follow each other.
struct RotatingFiles {
    /// The name that the arguments give: what its files are called begins and ends with it.
    name: PathBuf,
    /// Bytes after which a file ends.
    size: Option<u64>,
    /// Time after which one does, from its first packet on.
    every: Option<Duration>,
    /// Files that stay.
    most: Option<usize>,
    /// Number of the last file.
    number: u64,
    /// Files that are there.
    there: VecDeque<PathBuf>,
    /// When a file is tried again after one could not be written.
    retry: Option<Timestamp>,
}

/// A file being written.
struct Open {
    sink: Sink,
    /// What it is called in messages.
    name: String,
    /// Bytes that are in it, of whole blocks.
    bytes: u64,
    /// Time of its first packet.
    since: Option<Timestamp>,
}

enum Sink {
    File(File),
    Stdout(Stdout),
    /// Standard output by way of a thread, so that a slow reader keeps nobody from capturing.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "who reads files may wait"))]
    Queue(Queue),
}

/// Blocks on their way to a reader.
struct Queue {
    blocks: Sender<Vec<u8>>,
    /// Bytes that are on it.
    bytes: Arc<AtomicUsize>,
    /// Hangs up when all are written, or when nobody reads any more.
    done: Receiver<()>,
}

/// A frame that outlives its buffer, whose room is used again.
struct Staged {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: Vec<u8>,
    is_due: bool,
}

impl Saver {
    /// What the arguments ask for; `None` where they do not. The one file of a run is made at once, those
    /// of a row with their first packet.
    ///
    /// # Errors
    ///
    /// The file cannot be made, or is an input or that of `-o`; standard output is taken by events, or a
    /// terminal.
    pub(super) fn open(
        args: &Args,
        inputs: &[&Path],
        at_once: bool,
    ) -> Result<Option<Self>, Error> {
        let Some(path) = &args.saving.write else { return Ok(None) };
        let saving = &args.saving;
        let is_row = saving.rotate_size.is_some() || saving.rotate_every.is_some();
        let is_pcap = path.extension().is_some_and(|it| it.eq_ignore_ascii_case("pcap"));
        let format = if is_pcap { SaveFormat::Pcap } else { SaveFormat::Pcapng };
        let target = if is_stdin(path) {
            if args.writing.output.is_none() {
                return Err(Error::StdoutTwice);
            }
            if is_row {
                return Err(Error::RowOfStdout);
            }
            if io::stdout().is_terminal() {
                return Err(Error::StdoutTerminal);
            }
            Target::Stdout
        } else if is_row {
            let folder = folder_of(path);
            if !folder.is_dir() {
                return Err(unwritten(&folder, io::ErrorKind::NotADirectory.into()));
            }
            Target::RotatingFiles(RotatingFiles {
                name: path.clone(),
                size: saving.rotate_size,
                every: saving.rotate_every,
                most: saving.rotate_count,
                number: 0,
                there: VecDeque::new(),
                retry: None,
            })
        } else {
            let written = args.writing.output.as_deref();
            if let Some(taken) = inputs.iter().copied().chain(written).find(|it| is_same(it, path))
            {
                return Err(Error::OwnInput { name: taken.display().to_string() });
            }
            Target::One(path.clone())
        };
        let mut saver = Self {
            target,
            format,
            encoder: Encoder::new(format),
            open: None,
            buffer: Vec::new(),
            ends: Vec::new(),
            left_out: 0,
            at_once,
            counts: HashMap::new(),
            last: Timestamp::default(),
            staged: None,
            trouble: None,
            failed: false,
        };
        let sink = match &saver.target {
            Target::RotatingFiles(_) => return Ok(Some(saver)),
            Target::Stdout => Sink::Stdout(io::stdout()),
            Target::One(path) => {
                Sink::File(create(path).map_err(|source| unwritten(path, source))?)
            }
        };
        let name = saver.name();
        saver.begin(sink, name);
        saver.flush();
        Ok(Some(saver))
    }

    /// The one file that was made for this run.
    #[cfg(feature = "live")]
    pub(super) fn made(&self) -> Option<&Path> {
        match &self.target {
            Target::One(path) if path.is_file() => Some(path),
            Target::One(_) | Target::RotatingFiles(_) | Target::Stdout => None,
        }
    }

    /// A frame is looked at. It is saved by [`Self::save_staged`], when its input can be asked about it.
    pub(super) fn stage(&mut self, frame: &Frame<'_>) {
        let mut bytes = self.staged.take().map(|staged| staged.bytes).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame.bytes);
        let Frame { id, at, link, interface, wire_len, .. } = *frame;
        self.staged = Some(Staged { id, at, link, interface, wire_len, bytes, is_due: true });
    }

    /// Saves the frame that was staged, if one was, with what `comments` and `describe` know of it.
    pub(super) fn save_staged<'c, C: IntoIterator<Item = &'c [u8]>>(
        &mut self,
        comments: impl FnOnce(FrameRef) -> C,
        describe: impl FnOnce(u16, Option<u32>) -> Described,
    ) {
        let Some(mut staged) = self.staged.take_if(|staged| staged.is_due) else { return };
        let Staged { id, at, link, interface, wire_len, ref bytes, .. } = staged;
        let frame = Frame { id, at, link, interface, wire_len, bytes };
        self.save(&frame, comments(id), || describe(id.input, interface));
        staged.is_due = false;
        self.staged = Some(staged);
    }

    /// From here on, whoever reads standard output is not waited for.
    ///
    /// # Errors
    ///
    /// No thread can be begun.
    #[cfg(feature = "live")]
    pub(super) fn queue(&mut self) -> Result<(), Error> {
        if let Some(Open { sink: sink @ Sink::Stdout(_), .. }) = &mut self.open {
            let failed = |source| Error::Output { name: "standard output".to_owned(), source };
            *sink = Sink::Queue(Queue::new().map_err(failed)?);
        }
        Ok(())
    }

    /// Saves a frame.
    pub(super) fn save<'c>(
        &mut self,
        frame: &Frame<'_>,
        comments: impl IntoIterator<Item = &'c [u8]>,
        describe: impl FnOnce() -> Described,
    ) {
        self.last = frame.at;
        self.turn(frame);
        let Some(open) = &mut self.open else { return };
        open.since.get_or_insert(frame.at);
        if let Err(error) = self.encoder.frame(frame, comments, describe, &mut self.buffer) {
            let hint = "call it .pcapng, which holds all of them";
            // What came before is whole.
            self.flush();
            return self.stop(&format!("{error}; {hint}"));
        }
        self.ends.push(self.buffer.len());
        if self.at_once || self.buffer.len() >= BLOCK {
            self.flush();
        }
    }

    /// Saves names of addresses that came with an input.
    pub(super) fn names(&mut self, names: &[(IpAddr, Box<[u8]>)]) {
        if self.open.is_some() {
            // A few to a block: there is a bound on the length of one.
            for names in names.chunks(NAMES_IN_A_BLOCK) {
                self.encoder.names(names, &mut self.buffer);
            }
        }
    }

    /// What an interface has received and lost so far.
    pub(super) fn count(&mut self, input: u16, interface: Option<u32>, counts: Interface) {
        self.counts.insert((input, interface), counts);
    }

    /// Hands on what is held back.
    pub(super) fn flush(&mut self) {
        let Some(open) = &mut self.open else { return };
        if self.buffer.is_empty() {
            return;
        }
        match open.write(&self.buffer, &self.ends) {
            Ok(()) => {
                self.buffer.clear();
                self.ends.clear();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.leave_out(),
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// The reader is too slow for what is held back.
    fn leave_out(&mut self) {
        if self.left_out == 0 {
            self.trouble = Some(
                "packets are left out of standard output: whoever reads them is slower than the capture"
                    .to_owned(),
            );
        }
        self.failed = true;
        self.left_out += self.ends.len() as u64;
        self.ends.clear();
        self.buffer.clear();
        if self.format == SaveFormat::Pcapng {
            // What was left out may have described interfaces: another section has its own.
            self.encoder = Encoder::new(self.format);
            self.encoder.begin("", &mut self.buffer);
        }
    }

    /// Opens the one file of a run anew where somebody has moved it away, or where it could not be written;
    /// begins the next of a row.
    #[cfg(feature = "live")]
    pub(super) fn reopen(&mut self) {
        let path = match &mut self.target {
            Target::Stdout => return,
            Target::RotatingFiles(row) => {
                row.retry = None;
                return self.close();
            }
            Target::One(path) => path.clone(),
        };
        if self.open.as_ref().is_some_and(|open| open.is_at(&path)) {
            return;
        }
        self.close();
        // Behind what a file has, another section goes, which the older format does not know.
        let is_taken = self.format == SaveFormat::Pcap
            && fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() > 0);
        let file = if is_taken { Err(io::ErrorKind::AlreadyExists.into()) } else { append(&path) };
        match file {
            Ok(file) => {
                let name = self.name();
                self.begin(Sink::File(file), name);
                self.flush();
            }
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// What has stopped saving since the last time, in words.
    pub(super) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    /// Writes the rest. `false` when not everything could be saved; [`Self::take_trouble`] then says why
    /// unless it has.
    pub(super) fn finish(&mut self) -> bool {
        self.close();
        if self.left_out > 0 {
            let packets = std::mem::take(&mut self.left_out);
            self.trouble = Some(format!("{packets} packets were left out of standard output"));
        }
        !self.failed
    }

    /// Turns to another file of a row when it is time.
    fn turn(&mut self, frame: &Frame<'_>) {
        let Target::RotatingFiles(row) = &mut self.target else { return };
        let is_over = self.open.as_ref().is_some_and(|open| {
            let Some(since) = open.since else { return false };
            let more = frame.bytes.len() as u64 + RESERVE;
            let bytes = open.bytes + self.buffer.len() as u64 + more;
            row.size.is_some_and(|size| bytes > size)
                || row.every.is_some_and(|every| frame.at.since(since) >= every)
        });
        if is_over {
            self.close();
        } else if self.open.is_some() {
            return;
        }
        let Target::RotatingFiles(row) = &mut self.target else { return };
        if row.retry.is_some_and(|retry| frame.at < retry) {
            return;
        }
        row.retry = None;
        row.number += 1;
        let path = row.path(frame.at);
        while row.most.is_some_and(|most| row.there.len() >= most) {
            // Who has taken it away already does what we would have done.
            let _ = row.there.pop_front().map(fs::remove_file);
        }
        match create(&path) {
            Ok(file) => {
                row.there.push_back(path.clone());
                self.begin(Sink::File(file), path.display().to_string());
            }
            Err(error) => self.stop_at(&path.display().to_string(), &error.to_string()),
        }
    }

    fn begin(&mut self, sink: Sink, name: String) {
        self.encoder = Encoder::new(self.format);
        self.buffer.clear();
        self.ends.clear();
        self.encoder.begin("", &mut self.buffer);
        let bytes = match &sink {
            Sink::File(file) => file.metadata().map_or(0, |there| there.len()),
            Sink::Stdout(_) | Sink::Queue(_) => 0,
        };
        self.open = Some(Open { sink, name, bytes, since: None });
    }

    /// Ends the file that is open with what is known of its interfaces.
    fn close(&mut self) {
        if self.open.is_some() {
            let counts = |input, interface| self.counts.get(&(input, interface)).cloned();
            self.encoder.statistics(self.last, counts, &mut self.buffer);
            self.flush();
            if let Some(Open { sink: Sink::Queue(queue), .. }) = self.open.take() {
                if !queue.finish() {
                    self.stop("its reader does not take the rest");
                }
            }
        }
    }

    fn stop(&mut self, why: &str) {
        let name = self.open.as_ref().map_or_else(|| self.name(), |open| open.name.clone());
        self.stop_at(&name, why);
    }

    /// Nothing is saved from here on, or not until the next file of a row.
    fn stop_at(&mut self, name: &str, why: &str) {
        self.open = None;
        self.buffer.clear();
        let mut again = "nothing more is saved, the analysis goes on";
        if let Target::RotatingFiles(row) = &mut self.target {
            row.retry = Some(self.last.after(row.every.unwrap_or(RETRY)));
            again = "packets are not saved until the next file, the analysis goes on";
        }
        if !self.failed {
            self.trouble = Some(format!("cannot write {name}: {why}; {again}"));
        }
        self.failed = true;
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Stdout => "standard output".to_owned(),
            Target::One(path) | Target::RotatingFiles(RotatingFiles { name: path, .. }) => {
                path.display().to_string()
            }
        }
    }
}

impl RotatingFiles {
    /// `NAME-20140525T143225Z-00001.EXT`: names sort by time, and within a second by number.
    fn path(&self, at: Timestamp) -> PathBuf {
        let mut name = self.name.file_stem().map(OsString::from).unwrap_or_default();
        name.push(format!("-{}-{:05}", stamp(at, 0), self.number));
        if let Some(extension) = self.name.extension() {
            name.push(".");
            name.push(extension);
        }
        self.name.with_file_name(name)
    }
}

impl Open {
    /// Whether the file of this name is still the one that is open.
    #[cfg(feature = "live")]
    fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let Sink::File(file) = &self.sink else { return true };
        match (file.metadata(), fs::metadata(path)) {
            (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// Writes blocks. Where not all could be written, what is behind the last of the `ends` that was is taken
    /// back, so that the file stays a whole one.
    fn write(&mut self, blocks: &[u8], ends: &[usize]) -> io::Result<()> {
        let file = match &mut self.sink {
            Sink::Stdout(stdout) => {
                return stdout.write_all(blocks).and_then(|()| stdout.flush());
            }
            Sink::Queue(queue) => return queue.push(blocks),
            Sink::File(file) => file,
        };
        let (written, outcome) = write_some(file, blocks);
        let whole = match outcome {
            Ok(()) => written,
            Err(_) => ends.iter().rev().copied().find(|end| *end <= written).unwrap_or(0),
        };
        self.bytes += whole as u64;
        if outcome.is_err() {
            // A pipe or a device keeps what it has.
            let _ = file.set_len(self.bytes);
        }
        outcome
    }
}

/// Writes all, or as much as there is room for, and tells how much.
fn write_some(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
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

impl Queue {
    #[cfg(feature = "live")]
    fn new() -> io::Result<Self> {
        let (blocks, queued) = mpsc::channel::<Vec<u8>>();
        let (finished, done) = mpsc::channel();
        let bytes = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&bytes);
        thread::Builder::new().name("packets".to_owned()).spawn(move || {
            let mut stdout = io::stdout();
            for block in queued {
                if stdout.write_all(&block).and_then(|()| stdout.flush()).is_err() {
                    return;
                }
                left.fetch_sub(block.len(), Ordering::Relaxed);
            }
            let _ = finished.send(());
        })?;
        Ok(Self { blocks, bytes, done })
    }

    fn push(&self, blocks: &[u8]) -> io::Result<()> {
        if self.bytes.load(Ordering::Relaxed) + blocks.len() > QUEUED {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes.fetch_add(blocks.len(), Ordering::Relaxed);
        self.blocks.send(blocks.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Waits for the rest to be written; `false` when it was not.
    fn finish(self) -> bool {
        let Self { blocks, done, .. } = self;
        drop(blocks);
        done.recv_timeout(PATIENCE).is_ok()
    }
}

/// A time for the names of files: `20140525T143225Z`, with so many decimals.
pub(super) fn stamp(at: Timestamp, decimals: usize) -> String {
    let text = at.to_string();
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut stamp: String = seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    if let Some(fraction) = fraction.get(..decimals).filter(|it| !it.is_empty()) {
        stamp.push('.');
        stamp.push_str(fraction);
    }
    stamp.push('Z');
    stamp
}

/// Makes a file that nobody else can read, or empties the one that is there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().write(true).create(true).truncate(true))
}

/// Makes a file that nobody else can read, or goes on with the one that is there.
#[cfg(feature = "live")]
fn append(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().append(true).create(true))
}

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, PRIVATE);
    let file = options.open(path)?;
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        // One that was there keeps its mode otherwise.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(PRIVATE);
        file.set_permissions(mode)?;
    }
    Ok(file)
}

/// Whether two names stand for one file, which is no device.
fn is_same(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b && a.is_file(),
        _ => a == b && a.as_os_str() != "-" && !a.exists(),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn unwritten(path: &Path, source: io::Error) -> Error {
    Error::Output { name: path.display().to_string(), source }
}

/// Read and written by their owner alone.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;

/// Bytes that wait for a slow reader: some seconds of a busy link.
const QUEUED: usize = 32 << 20;

/// How long the reader has for the rest when all is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that are held back before they are written.
const BLOCK: usize = 256 << 10;

/// What a frame takes in a file beside its bytes, with the counters at its end: roughly.
const RESERVE: u64 = 128;

/// Names in one block: with the longest of 255 bytes, less than a reader takes.
const NAMES_IN_A_BLOCK: usize = 256;

/// When a row that turns by size alone is tried again after a failure: somebody may have made room.
const RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_row_sort_by_time_and_number() {
        let mut row = RotatingFiles {
            name: "dir/lan.pcapng".into(),
            size: None,
            every: None,
            most: None,
            number: 9,
            there: VecDeque::new(),
            retry: None,
        };
        let at = Timestamp::new(1_401_028_345, 999_999_999);
        assert_eq!(row.path(at), Path::new("dir/lan-20140525T143225Z-00009.pcapng"));
        row.name = "lan".into();
        row.number = 123_456;
        assert_eq!(row.path(at), Path::new("lan-20140525T143225Z-123456"));
    }

    #[test]
    fn stamps_take_decimals() {
        let at = Timestamp::new(1_401_028_345, 512_000);
        assert_eq!(stamp(at, 0), "20140525T143225Z");
        assert_eq!(stamp(at, 6), "20140525T143225.000512Z");
    }
}
