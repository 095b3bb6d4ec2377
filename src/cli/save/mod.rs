//! `-w`: packets into capture files.
//!
//! In: the frames that are analysed, one by one. Out: one file, a sequence of files that rotates by
//! size or time, or standard output. When a write fails, for example because the disk is full, saving
//! stops and the analysis goes on; the failure is reported once, and a sequence tries its next file.

mod queue;
pub(super) mod rotate;
mod sink;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use beamscope::capture::save::{Encoder, InterfaceInfo, SaveFormat};
use beamscope::capture::{Frame, Interface, Item, Secrets, SecretsType};
use beamscope::time::Timestamp;
use zeroize::Zeroizing;

use self::rotate::RotatingFiles;
use self::sink::{OpenSink, PacketSink};
use super::console::{STDOUT, Warnings};
use super::error::Error;
use super::place::{FileMode, OpenedFile, Place, Target, Trusted};
use super::settings::{SaveSettings, SaveTarget};

/// Saves packets to one file, or to a series of files.
pub(super) struct Saver {
    target: OpenTarget,
    inputs: SavedInputs,
    format: SaveFormat,
    /// The comment at the start of each file.
    comment: String,
    encoder: Encoder,
    /// What packets go to; `None` before the first file of a sequence, and after a failed write.
    open: Option<OpenSink>,
    /// Complete blocks that are not written yet, and where in them each packet ends.
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// Packets that were dropped because the reader of standard output was too slow.
    dropped: u64,
    /// Write each packet at once: a reader waits for it.
    is_immediate: bool,
    /// The lines of the key logs that are saved; `None` to save no secrets.
    key_logs: Option<Zeroizing<Vec<u8>>>,
    /// Name of each interface, and packets received and dropped, by input and interface.
    counts: HashMap<(u16, Option<u32>), Interface>,
    /// Time of the last packet.
    last: Timestamp,
    /// Why saving stopped, until it is reported.
    problem: Option<String>,
    /// Whether saving has ever stopped.
    has_failed: bool,
    /// Where the problem is printed.
    pub(super) warnings: Warnings,
}

/// The inputs of the packets that are saved.
#[derive(Debug, Default)]
pub(super) struct SavedInputs {
    /// Their names, which are those of interfaces without one.
    pub(super) names: Vec<Arc<str>>,
    /// Most captured bytes of a frame; 0 for no limit.
    pub(super) snaplen: u32,
}

/// Secrets that are saved later.
pub(super) struct SecretsCopy {
    kind: SecretsType,
    data: Zeroizing<Vec<u8>>,
}

impl SecretsCopy {
    /// A copy of secrets, which is wiped when it is dropped.
    pub(super) fn new(secrets: &Secrets<'_>) -> Self {
        Self { kind: secrets.kind, data: Zeroizing::new(secrets.expose().to_vec()) }
    }

    /// The secrets that were copied.
    pub(super) fn secrets(&self) -> Secrets<'_> {
        Secrets::new(self.kind, &self.data)
    }
}

/// Where packets go, with the state of a sequence.
enum OpenTarget {
    Stdout,
    /// The file, and its name as the arguments give it.
    File(
        #[cfg_attr(
            not(feature = "live"),
            expect(dead_code, reason = "only SIGHUP opens it again")
        )]
        Place,
        PathBuf,
    ),
    Rotating(RotatingFiles),
}

impl Saver {
    /// Saves to what [`open`] opened for the settings.
    ///
    /// # Errors
    ///
    /// The file cannot be emptied, or a key log cannot be read.
    pub(super) fn new(
        settings: SaveSettings,
        target: Option<Target>,
        inputs: SavedInputs,
    ) -> Result<Self, Error> {
        let SaveSettings { target: wanted, format, comment, is_immediate, key_logs, warnings } =
            settings;
        let read = |path: &PathBuf| fs::read(path).map_err(|source| Error::output(path, source));
        let key_logs = key_logs.map(|paths| paths.iter().map(read).collect::<Result<Vec<_>, _>>());
        let key_logs = key_logs.transpose()?.map(|all| Zeroizing::new(all.concat()));
        let (target, sink) = match (wanted, target) {
            (SaveTarget::File(path), Some(mut target)) => {
                let file = target.start(NEW).map_err(|source| Error::output(&path, source))?;
                (OpenTarget::File(target.place, path), Some(PacketSink::File(file)))
            }
            (
                SaveTarget::Rotating { name, max_bytes, max_age, keep },
                Some(Target { place, .. }),
            ) => {
                let files = RotatingFiles::new(place, name, max_bytes, max_age, keep);
                (OpenTarget::Rotating(files), None)
            }
            (_, _) => (OpenTarget::Stdout, Some(PacketSink::Stdout(io::stdout()))),
        };
        let mut saver = Self {
            target,
            inputs,
            format,
            comment,
            encoder: Encoder::new(format),
            open: None,
            buffer: Vec::new(),
            ends: Vec::new(),
            dropped: 0,
            is_immediate,
            key_logs,
            counts: HashMap::new(),
            last: Timestamp::default(),
            problem: None,
            has_failed: false,
            warnings,
        };
        if let Some(sink) = sink {
            let name = saver.name();
            saver.begin(sink, name);
            saver.flush();
        }
        Ok(saver)
    }

    /// Puts a queue in front of standard output: a live capture must not wait for a slow reader.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    #[cfg(feature = "live")]
    pub(super) fn put_queue_before_stdout(&mut self) -> Result<(), Error> {
        let queued = self.open.as_mut().map_or(Ok(()), OpenSink::put_queue_before_stdout);
        queued.map_err(super::console::stdout_error)
    }

    /// Saves a frame, with its `comments`.
    pub(super) fn save<'c>(
        &mut self,
        frame: &Frame<'_>,
        comments: impl IntoIterator<Item = &'c [u8]>,
    ) {
        self.last = frame.at;
        self.rotate(frame);
        let Some(open) = &mut self.open else { return };
        open.since.get_or_insert(frame.at);
        // At the first frame of an interface.
        let describe = || {
            let known = self.counts.get(&(frame.id.input, frame.interface));
            let own = known.and_then(|interface| interface.name.clone());
            let input = || self.inputs.names.get(usize::from(frame.id.input));
            let name = own.or_else(|| input().map(ToString::to_string));
            InterfaceInfo { name, snaplen: self.inputs.snaplen }
        };
        if let Err(error) = self.encoder.frame(frame, comments, describe, &mut self.buffer) {
            // The frames before this one are complete.
            self.flush();
            return self.stop(&format!("{error}; name it .pcapng, a format that holds several"));
        }
        self.ends.push(self.buffer.len());
        if self.is_immediate || self.buffer.len() >= BLOCK {
            self.flush();
        }
    }

    /// Saves what an input contains beside frames, or remembers it for the end.
    pub(super) fn on_item(&mut self, item: &Item<'_>) {
        match item {
            Item::Names { names, .. } => self.names(names),
            Item::KeyLog { secrets, .. } => self.secrets(secrets),
            Item::Interface { input, index, interface } => {
                self.count(*input, *index, (*interface).clone());
            }
            Item::Frame(_)
            | Item::Drops(_)
            | Item::InterfaceState { .. }
            | Item::Failed { .. }
            | Item::Notice(_) => {}
        }
    }

    /// Saves names of addresses, as the input contained them.
    pub(super) fn names(&mut self, names: &[(IpAddr, Box<[u8]>)]) {
        if self.open.is_some() {
            // In several blocks, since the length of one is bounded.
            for names in names.chunks(NAMES_IN_A_BLOCK) {
                self.encoder.names(names, &mut self.buffer);
            }
        }
    }

    /// Saves secrets that decrypt later packets, as the input contained them, if secrets are saved.
    pub(super) fn secrets(&mut self, secrets: &Secrets<'_>) {
        if self.open.is_some() && self.key_logs.is_some() {
            self.encoder.secrets(secrets, &mut self.buffer);
        }
    }

    /// Sets the number of packets that an interface has received and dropped so far.
    pub(super) fn count(&mut self, input: u16, interface: Option<u32>, counts: Interface) {
        self.counts.insert((input, interface), counts);
    }

    /// Sets the number of packets that an interface has received, unless the input has it.
    pub(super) fn count_received(&mut self, input: u16, interface: Option<u32>, received: u64) {
        self.counts.entry((input, interface)).or_default().received.get_or_insert(received);
    }

    /// Sets the time up to which the capture goes, if that is after the last packet.
    pub(super) fn go_on_until(&mut self, at: Timestamp) {
        self.last = self.last.max(at);
    }

    /// Writes what is buffered.
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
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.drop_buffered(),
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// Drops what is buffered, because the reader of standard output is too slow.
    fn drop_buffered(&mut self) {
        if self.dropped == 0 {
            self.problem = Some(
                "packets are left out of standard output: its reader is slower than the capture"
                    .to_owned(),
            );
        }
        self.has_failed = true;
        self.dropped += self.ends.len() as u64;
        self.ends.clear();
        self.buffer.clear();
        if self.format != SaveFormat::Pcap {
            // The dropped blocks may have described interfaces; a new section describes them again.
            self.encoder = Encoder::new(self.format);
            self.encoder.begin(&self.comment, &self.inputs.names, &mut self.buffer);
        }
    }

    /// Opens the one file of a run again if another program has moved it away, or if it could not be
    /// written; starts the next file of a sequence.
    #[cfg(feature = "live")]
    pub(super) fn reopen(&mut self) {
        let place = match &mut self.target {
            OpenTarget::Stdout => return,
            OpenTarget::Rotating(files) => {
                files.retry_now();
                return self.close();
            }
            OpenTarget::File(place, _) => place.clone(),
        };
        if self.open.as_ref().is_some_and(|open| open.is_at(&place)) {
            return;
        }
        self.close();
        // Appending starts a second section, which a pcap file cannot have.
        let is_taken =
            self.format == SaveFormat::Pcap && place.file_size().is_some_and(|size| size > 0);
        let opened = match is_taken {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => place.open(FileMode { appends: true, ..NEW }).and_then(OpenedFile::start),
        };
        match opened {
            Ok(file) => {
                let name = self.name();
                self.begin(PacketSink::File(file), name);
                self.flush();
            }
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// Whether there is something to save to.
    #[cfg(feature = "live")]
    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Why saving stopped since the last call, as text.
    pub(super) fn take_problem(&mut self) -> Option<String> {
        self.problem.take()
    }

    /// Writes the rest. `false` if not everything could be saved; the reason, if not reported yet, is in
    /// [`Self::take_problem`].
    pub(super) fn finish(&mut self) -> bool {
        self.close();
        if self.dropped > 0 {
            let packets = std::mem::take(&mut self.dropped);
            self.problem = Some(format!("{packets} packets were left out of standard output"));
        }
        !self.has_failed
    }

    /// Starts the next file of a sequence if `frame` belongs there.
    fn rotate(&mut self, frame: &Frame<'_>) {
        let OpenTarget::Rotating(files) = &mut self.target else { return };
        let is_full = self.open.as_ref().is_some_and(|open| {
            let bytes =
                open.bytes + self.buffer.len() as u64 + frame.bytes.len() as u64 + FRAME_OVERHEAD;
            open.since.is_some_and(|since| files.is_full(since, frame.at, bytes))
        });
        if is_full {
            self.close();
        } else if self.open.is_some() {
            return;
        }
        let OpenTarget::Rotating(files) = &mut self.target else { return };
        let Some((place, path)) = files.next_place(frame.at) else { return };
        let name = path.display().to_string();
        match place.open(NEW).and_then(OpenedFile::start) {
            Ok(file) => {
                files.on_created(place);
                self.begin(PacketSink::File(file), name);
            }
            Err(error) => self.stop_at(&name, &error.to_string()),
        }
    }

    /// Starts a file, or a section of one, with its header.
    fn begin(&mut self, sink: PacketSink, name: String) {
        self.encoder = Encoder::new(self.format);
        self.buffer.clear();
        self.ends.clear();
        self.encoder.begin(&self.comment, &self.inputs.names, &mut self.buffer);
        let lines = self.key_logs.iter().flat_map(|lines| lines.split_inclusive(|it| *it == b'\n'));
        for line in lines {
            self.encoder.secrets(&Secrets::key_log(line), &mut self.buffer);
        }
        self.open = Some(OpenSink::new(sink, name));
    }

    /// Ends the file that is open, with the counts of its interfaces.
    fn close(&mut self) {
        if self.open.is_some() {
            let counts = |input, interface| self.counts.get(&(input, interface)).cloned();
            self.encoder.statistics(self.last, counts, &mut self.buffer);
            self.flush();
            if self.open.take().is_some_and(|open| !open.finish()) {
                self.stop("its reader does not read the rest");
            }
        }
    }

    fn stop(&mut self, why: &str) {
        let name = self.open.as_ref().map_or_else(|| self.name(), |open| open.name.clone());
        self.stop_at(&name, why);
    }

    /// Stops saving, for good or until the next file of a sequence.
    fn stop_at(&mut self, name: &str, why: &str) {
        self.open = None;
        self.buffer.clear();
        let mut until = "no more packets are saved";
        if let OpenTarget::Rotating(files) = &mut self.target {
            files.on_failed(self.last);
            until = "packets are not saved until the next file";
        }
        if !self.has_failed {
            self.problem = Some(format!("cannot write {name}: {why}; {until}"));
        }
        self.has_failed = true;
    }

    /// What messages call the target.
    fn name(&self) -> String {
        match &self.target {
            OpenTarget::Stdout => STDOUT.to_owned(),
            OpenTarget::File(_, path) => path.display().to_string(),
            OpenTarget::Rotating(files) => files.name().display().to_string(),
        }
    }
}

/// Opens the one file of the settings, or finds the directory of a sequence; `None` for standard output.
///
/// # Errors
///
/// The file cannot be created, or the directory is not there, or a link on the way is not followed.
pub(super) fn open(settings: &SaveSettings, trusted: Trusted) -> Result<Option<Target>, Error> {
    let (path, target) = match &settings.target {
        SaveTarget::Stdout => return Ok(None),
        SaveTarget::File(path) => (path, Target::open(path, trusted, NEW)),
        SaveTarget::Rotating { name, .. } => {
            (name, Place::find(name, trusted).map(|place| Target { place, opened: None }))
        }
    };
    target.map(Some).map_err(|source| Error::output(path, source))
}

/// How files of packets are made.
const NEW: FileMode = FileMode { is_private: true, appends: false };

/// Bytes that are buffered before they are written.
const BLOCK: usize = 256 << 10;

/// Roughly what a frame takes in a file beside its bytes, with the counters at the end of the file.
const FRAME_OVERHEAD: u64 = 128;

/// Names in one block: with the longest of 255 bytes, less than readers accept.
const NAMES_IN_A_BLOCK: usize = 256;
