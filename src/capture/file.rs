//! One capture, in any format and from any source.
//!
//! In: a path or any [`Read`]. Out: one [`Item`] after the other, with frames numbered as Wireshark numbers them.
//! Recognises formats by content, decompresses, and reads forward only; the order of frames is that of the input.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::buffer::Buffer;
use super::compressed::{Decompressed, is_compressed};
use super::counted::ReadCounter;
use super::follow::Shrunk;
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::read_ahead::{ReadAhead, ReadThreads};
use super::snoop::Snoop;
use super::{
    Comment, Drops, Error, FormatStep, Frame, FrameRecord, Interface, Item, LinkType, Notice,
    NoticeKind, Progress, Receiver, Secrets, SecretsType, Source,
};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// A capture that is being read: pcap, pcapng or snoop, plain or compressed.
///
/// Reads once for a frame that is asked for, and only if no complete frame is in the buffer. Allocates nothing for
/// a frame.
///
/// # Limits
///
/// 64 MiB of buffer, of which 512 KiB are used unless a record is larger; a decompression window of up to 128 MiB.
/// A pcap record beyond 16 MiB or a pcapng block beyond 32 MiB counts as damage.
pub struct CaptureFile {
    name: String,
    /// Its number among the captures that are read.
    place: u16,
    /// The number of its input; the first of up to so many if it is an extract of several.
    inputs: (u16, u16),
    buffer: Buffer,
    format: CaptureFormat,
    /// Number of the last frame, 0 before the first.
    id: FrameRef,
    record: FrameRecord,
    /// Whether frames follow, and how they are taken. After the end or an error, nothing follows.
    reading: FrameSteps,
    /// Nanoseconds that are added to the times of its frames.
    shift: i64,
    /// Number of damaged places that were reported one by one.
    reported: u32,
    /// Number of damaged places beyond those, and their bytes.
    unreported: (u64, u64),
}

#[repr(u8)] // a tag of its own is loaded faster than a niche in a field
enum CaptureFormat {
    /// No byte was read so far.
    Unknown,
    Pcap(Pcap),
    Pcapng(Pcapng),
    Snoop(Snoop),
}

/// The result of [`CaptureFile::advance`].
pub(super) enum Advance {
    /// A frame of this time, which [`CaptureFile::found`] returns.
    Frame(Timestamp),
    /// Another item, which [`CaptureFile::item`] returns.
    Other(Other),
    End,
}

/// Any item but a frame, with its bytes still in the buffer.
pub(super) enum Other {
    Names,
    Secrets,
    /// The interface of this index.
    Interface(u32),
    Notice(Notice),
    /// Nothing is at hand for now: the input is followed, and something else is due.
    Pause,
}

/// How the frames of a capture are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FrameSteps {
    /// By [`CaptureFile::step`] where that is possible.
    Fast,
    /// By [`CaptureFile::advance`] alone, which corrects their times.
    Corrected,
    /// There are no more of them.
    Ended,
}

impl CaptureFile {
    /// Opens the capture at `path`, as input number `input`. An extract of several captures has as many inputs, from that
    /// number on.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or is a directory. Whether it is a capture shows only when it is read.
    pub fn open(path: &Path, input: u16) -> Result<Self, Error> {
        Self::open_with(path, input, (&ReadThreads::default(), false), &ReadCounter::default())
    }

    /// Opens a capture as [`Self::open`] does; one of the `helpers` reads it ahead if one is free, and `counter` counts
    /// what is read of it. Of plain files, only one `of_several` is read ahead.
    pub(super) fn open_with(
        path: &Path,
        input: u16,
        (helpers, of_several): (&ReadThreads, bool),
        counter: &ReadCounter,
    ) -> Result<Self, Error> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, mut file) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(Error::Open { name, source }),
        };
        if metadata.is_dir() {
            return Err(Error::Directory { name });
        }
        // A pipe or a device is not asked for more bytes than are wanted, and gives no byte twice.
        if metadata.is_file() {
            let is_compressed = is_compressed(&mut file).unwrap_or_default();
            // If no thread is free, this thread reads.
            if let Some(source) = file.try_clone().ok().filter(|_| is_compressed || of_several)
                && let Some(Ok(read_ahead)) = {
                    let source = counter.count(source);
                    ReadAhead::start(helpers, move || Decompressed::new(Box::new(source)))
                }
            {
                return Ok(Self::new(name, input, Buffer::read_ahead(read_ahead)));
            }
        }
        Ok(Self::from_reader(name, input, Box::new(counter.count(file))))
    }

    /// Reads the capture from `source`, with a `name` for errors. Reads nothing yet.
    pub fn from_reader(name: String, input: u16, source: Box<dyn Read + Send>) -> Self {
        Self::new(name, input, Buffer::new(Box::new(Decompressed::new(source))))
    }

    fn new(name: String, input: u16, buffer: Buffer) -> Self {
        Self {
            name,
            place: input,
            inputs: (input, u16::MAX - input),
            buffer,
            format: CaptureFormat::Unknown,
            id: FrameRef { input, number: 0 },
            record: FrameRecord {
                at: Timestamp::default(),
                link: LinkType::NULL,
                interface: None,
                wire_len: 0,
                place: 0..0,
            },
            reading: FrameSteps::Fast,
            shift: 0,
            reported: 0,
            unreported: (0, 0),
        }
    }

    /// Reads a capture that is in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_reader("memory".to_owned(), 0, Box::new(io::Cursor::new(bytes)))
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    ///
    /// The input is no capture, or the operating system fails. Nothing follows an error.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        Ok(match self.advance()? {
            Advance::Frame(_) => Some(Item::Frame(self.found())),
            Advance::Other(other) => Some(self.item(other)),
            Advance::End => None,
        })
    }

    /// Adds so many nanoseconds to the times of its frames from now on.
    pub(super) const fn set_shift(&mut self, nanos: i64) {
        self.shift = nanos;
        self.go_on();
    }

    /// Numbers its inputs from `first` on, `most` of them, before it is read.
    pub(super) const fn number_inputs(&mut self, first: u16, most: u16) {
        self.inputs = (first, most);
        self.id.input = first;
    }

    /// Lets frames follow from now on.
    const fn go_on(&mut self) {
        let is_of_several =
            matches!(&self.format, CaptureFormat::Pcapng(pcapng) if pcapng.is_of_several());
        let is_plain = self.shift == 0 && !is_of_several;
        self.reading = if is_plain { FrameSteps::Fast } else { FrameSteps::Corrected };
    }

    /// The number of this capture among those that are read.
    pub(super) const fn place(&self) -> u16 {
        self.place
    }

    /// The names of the captures that it was taken from, if it is an extract of several; none otherwise. It must not have
    /// been read so far. What cannot be read is reported when it is read.
    pub(super) fn listed_inputs(&mut self) -> Vec<Arc<str>> {
        let is_section = self.buffer.fill(SECTION_MAGIC.len())
            && self.buffer.bytes().starts_with(&SECTION_MAGIC)
            && self.buffer.fill(SECTION_HEAD_LEN)
            && Pcapng::recognise(self.buffer.bytes());
        if is_section { Pcapng::listed_inputs(&mut self.buffer) } else { Vec::new() }
    }

    /// The interfaces that the capture declared so far, as [`Frame::interface`] counts them.
    pub fn interfaces(&self) -> &[Interface] {
        match &self.format {
            CaptureFormat::Pcapng(pcapng) => &pcapng.interfaces,
            CaptureFormat::Snoop(snoop) => &snoop.interface,
            _ => &[],
        }
    }

    /// The latest capture time of those frames that an extract left out, if the capture is one and has ended.
    pub(super) fn until(&self) -> Option<Timestamp> {
        match &self.format {
            CaptureFormat::Pcapng(pcapng) => pcapng.until.map(|until| until.shifted(self.shift)),
            _ => None,
        }
    }

    /// Adds the packets that its interfaces have dropped to `drops`.
    pub(super) fn add_drops(&self, drops: &mut Drops) {
        self.interfaces().iter().for_each(|interface| drops.add(interface));
    }

    /// The item that [`Self::advance`] has found.
    pub(super) fn item(&self, other: Other) -> Item<'_> {
        const NO_INTERFACE: &Interface =
            &Interface { name: None, received: None, if_drop: None, os_drop: None };
        let input = self.id.input;
        let annotations = match &self.format {
            CaptureFormat::Pcapng(pcapng) => Some(&pcapng.annotations),
            _ => None,
        };
        match other {
            Other::Names => {
                let names = annotations.map_or(&[][..], |annotations| &annotations.names);
                Item::Names { input, names }
            }
            Other::Secrets => {
                let secrets = annotations.and_then(|annotations| annotations.secrets.clone());
                let (kind, place) = secrets.unwrap_or((SecretsType(0), 0..0));
                Item::KeyLog { input, secrets: Secrets::new(kind, self.buffer.at(place)) }
            }
            Other::Interface(index) => {
                let interface = self.interfaces().get(index as usize).unwrap_or(NO_INTERFACE);
                let own = match &self.format {
                    CaptureFormat::Pcapng(pcapng) => pcapng.input_of(index),
                    _ => None,
                };
                let input = own.unwrap_or(input);
                Item::Interface { input, index: Some(index), interface }
            }
            Other::Notice(notice) => Item::Notice(notice),
            Other::Pause => Item::Names { input, names: &[] },
        }
    }

    /// Takes the next frame if it is complete in the buffer, as nearly all are. Inlined into the loop over frames:
    /// calling [`Self::advance`] for each frame took as long as decoding it.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<FrameRecord> {
        let number = &mut self.id.number;
        match &mut self.format {
            _ if self.reading != FrameSteps::Fast => None,
            CaptureFormat::Pcap(pcap) => pcap.step(&mut self.buffer, number),
            CaptureFormat::Pcapng(pcapng) => pcapng.step(&mut self.buffer, number),
            // Records of other formats are read by `advance`.
            CaptureFormat::Snoop(_) | CaptureFormat::Unknown => None,
        }
    }

    /// Keeps the record that [`Self::step`] returned, for [`Self::found`].
    pub(super) fn keep(&mut self, record: FrameRecord) {
        self.record = record;
        if let CaptureFormat::Pcapng(pcapng) = &mut self.format {
            // These were the comments of an earlier frame.
            pcapng.annotations.comments.clear();
        }
    }

    /// Reads up to the next item. A frame then stays available until the next call.
    pub(super) fn advance(&mut self) -> Result<Advance, Error> {
        while self.reading != FrameSteps::Ended {
            let step = match &mut self.format {
                CaptureFormat::Pcap(pcap) => {
                    pcap.advance(&mut self.buffer, &mut self.id.number, &mut self.record)
                }
                CaptureFormat::Pcapng(pcapng) => {
                    pcapng.advance(&mut self.buffer, &mut self.id, &mut self.record)
                }
                CaptureFormat::Snoop(snoop) => {
                    snoop.advance(&mut self.buffer, &mut self.id.number, &mut self.record)
                }
                CaptureFormat::Unknown => {
                    self.reading = FrameSteps::Ended;
                    let begun = self.begin();
                    if self.buffer.take_pause() {
                        self.go_on();
                        return Ok(Advance::Other(Other::Pause));
                    }
                    match begun? {
                        Some(step) => step,
                        None => {
                            self.go_on();
                            continue;
                        }
                    }
                }
            };
            // What is there of the next record stays in the buffer.
            let is_paused = self.buffer.take_pause();
            if is_paused && matches!(step, FormatStep::End | FormatStep::Truncated { .. }) {
                return Ok(Advance::Other(Other::Pause));
            }
            match step {
                FormatStep::Frame => {
                    self.record.at = self.record.at.shifted(self.shift);
                    return Ok(Advance::Frame(self.record.at));
                }
                FormatStep::Names => return Ok(Advance::Other(Other::Names)),
                FormatStep::Secrets => return Ok(Advance::Other(Other::Secrets)),
                FormatStep::Interface(index) => return Ok(Advance::Other(Other::Interface(index))),
                FormatStep::Section => self.go_on(),
                FormatStep::Corrupt { skipped: Some(bytes), .. }
                    if self.reported == MAX_REPORTED =>
                {
                    let (places, sum) = self.unreported;
                    self.unreported = (places + 1, sum.saturating_add(bytes));
                }
                step => return self.finish_step(step),
            }
        }
        Ok(Advance::End)
    }

    /// The frame that [`Self::advance`] found last, or whose record [`Self::keep`] was given.
    pub(super) fn found(&self) -> Frame<'_> {
        let comments = match &self.format {
            CaptureFormat::Pcapng(pcapng) => &pcapng.annotations.comments,
            _ => &[][..],
        };
        self.frame_with(self.record.clone(), comments)
    }

    /// The frame of a record that [`Self::step`] returned last.
    #[inline(always)]
    pub(super) fn frame(&self, record: FrameRecord) -> Frame<'_> {
        // `step` leaves packet blocks with options to `advance`, so there are no comments.
        self.frame_with(record, &[])
    }

    #[inline(always)]
    fn frame_with<'a>(&'a self, record: FrameRecord, comments: &'a [Comment]) -> Frame<'a> {
        let FrameRecord { at, link, interface, wire_len, place } = record;
        let bytes = self.buffer.at(place);
        Frame { id: self.id, at, link, interface, wire_len, bytes, comments }
    }

    /// Recognises the format and skips the file header, or returns the step that takes its place.
    fn begin(&mut self) -> Result<Option<FormatStep>, Error> {
        let header_cut = FormatStep::Truncated { offset: 0, what: "the file header" };
        self.buffer.fill(4);
        let Some(magic) = self.buffer.bytes().first_chunk() else {
            return match self.buffer.len() {
                _ if self.buffer.has_failed() => Ok(Some(header_cut)),
                0 => Err(Error::Empty { name: self.name.clone() }),
                _ => Err(self.not_a_capture()),
            };
        };
        if let Some(mut pcap) = Pcap::recognise(*magic) {
            if !pcap.read_header(&mut self.buffer) {
                return Ok(Some(header_cut));
            }
            self.format = CaptureFormat::Pcap(pcap);
            return Ok(None);
        }
        if Snoop::recognise(*magic) {
            self.format = match Snoop::read_header(&mut self.buffer) {
                None => return Ok(Some(header_cut)),
                Some(Ok(snoop)) => CaptureFormat::Snoop(snoop),
                Some(Err(what)) => return Err(Error::Snoop { name: self.name.clone(), what }),
            };
            return Ok(None);
        }
        if *magic == SECTION_MAGIC {
            if !self.buffer.fill(SECTION_HEAD_LEN) {
                return Ok(Some(header_cut));
            }
            if Pcapng::recognise(self.buffer.bytes()) {
                let (first, most) = self.inputs;
                self.format = CaptureFormat::Pcapng(Pcapng::new(first, most));
                return Ok(None);
            }
        }
        Err(self.not_a_capture())
    }

    /// Turns a step that is no frame into a notice, an error or the end.
    fn finish_step(&mut self, step: FormatStep) -> Result<Advance, Error> {
        let (kind, offset, skipped, detail) = match step {
            FormatStep::Corrupt { offset, skipped, detail } => {
                if skipped.is_none() {
                    self.reading = FrameSteps::Ended;
                }
                self.reported += 1;
                (NoticeKind::Corrupt, offset, skipped, detail)
            }
            FormatStep::Truncated { offset, what } => {
                self.buffer.consume(self.buffer.len());
                let end = self.buffer.offset();
                let (kind, why) = match self.buffer.take_failure() {
                    Some(failure) => self.stopped(failure)?,
                    None => (NoticeKind::Truncated, "the input ends".into()),
                };
                let detail = format!("expected the rest of {what}; {why}");
                (kind, offset, Some(end.saturating_sub(offset)), detail)
            }
            FormatStep::Frame
            | FormatStep::Names
            | FormatStep::Secrets
            | FormatStep::Interface(_)
            | FormatStep::Section
            | FormatStep::End => {
                let offset = self.buffer.offset();
                if let Some(failure) = self.buffer.take_failure() {
                    let (kind, why) = self.stopped(failure)?;
                    (kind, offset, Some(0), format!("expected a record or the end; {why}"))
                } else if let (places @ 1.., bytes) = std::mem::take(&mut self.unreported) {
                    let detail = format!("{places} more damaged places were passed over");
                    (NoticeKind::Corrupt, offset, Some(bytes), detail)
                } else {
                    self.reading = FrameSteps::Ended;
                    return Ok(Advance::End);
                }
            }
        };
        let notice = Notice { after: self.id, kind, offset, skipped, detail };
        Ok(Advance::Other(Other::Notice(notice)))
    }

    /// Classifies a failed read: damaged compression is part of the capture, and gives a notice; a failing device
    /// is an error.
    fn stopped(&mut self, failure: io::Error) -> Result<(NoticeKind, String), Error> {
        let has_shrunk = failure.get_ref().is_some_and(|source| source.is::<Shrunk>());
        if has_shrunk || failure.raw_os_error().is_some() {
            let offset = self.buffer.offset().saturating_add(self.buffer.len() as u64);
            self.reading = FrameSteps::Ended;
            return Err(Error::Read { name: self.name.clone(), offset, source: failure });
        }
        Ok(match failure.kind() {
            io::ErrorKind::UnexpectedEof => {
                (NoticeKind::Truncated, "the compressed input ends".into())
            }
            _ => (NoticeKind::Corrupt, format!("the compressed input is damaged: {failure}")),
        })
    }

    fn not_a_capture(&mut self) -> Error {
        self.buffer.fill(SHOWN);
        let mut found = String::new();
        for byte in self.buffer.bytes().iter().take(SHOWN) {
            let space = if found.is_empty() { "" } else { " " };
            // Writing to a `String` cannot fail.
            let _ = write!(found, "{space}{byte:02x}");
        }
        Error::NotACapture { name: self.name.clone(), found }
    }
}

impl Source for CaptureFile {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        loop {
            let broken = match self.next_item() {
                Ok(Some(Item::Frame(frame))) => receiver.on_frame(&frame),
                Ok(Some(item)) => receiver.on_item(item),
                Ok(None) => return Ok(Progress::End),
                Err(error) => receiver.on_item(Item::Failed { input: self.inputs.0, error }),
            };
            if broken.is_break() {
                return Ok(Progress::More);
            }
        }
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        let mut drops = Drops::default();
        self.add_drops(&mut drops);
        let _ = receiver.on_item(Item::Drops(drops));
    }
}

/// Type of a pcapng section header, alike in both byte orders, and the bytes up to its own.
const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const SECTION_HEAD_LEN: usize = 12;

/// Damage beyond this number is summed up in one notice at the end: otherwise a file of nothing but damage would
/// give more text than it has bytes.
const MAX_REPORTED: u32 = 1000;

/// Bytes of an unknown input that its error quotes.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::Endian;
    use super::super::samples::{PcapBuilder, PcapngBuilder, items, read};
    use super::*;

    fn small_captures() -> Vec<Vec<u8>> {
        let mut captures = Vec::new();
        for endian in [Endian::Big, Endian::Little] {
            for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
                let mut pcap = PcapBuilder::file(endian, magic, 1);
                pcap.record(1, 0, 3, b"one").record(2, 0, 0, b"").record(3, 0, 5, b"three");
                captures.push(pcap.bytes);
            }
            let mut pcapng = PcapngBuilder::section(endian);
            pcapng.interface(1, 0, &[(2, b"eth0")]).packet(0, 1, b"one").words(3, &[2], b"ab");
            pcapng.words(4, &[0], b"").packet(0, 3, b"three");
            captures.push(pcapng.bytes);
        }
        captures
    }

    #[test]
    fn a_cut_at_any_byte_gives_the_frames_before_it_and_one_notice() {
        for capture in small_captures() {
            let (whole, notices, error) = items(&capture);
            assert_eq!((whole.len(), notices.len(), error.is_none()), (3, 0, true));
            let mut given = 0;
            for cut in 0..capture.len() {
                let (frames, notices, error) = items(&capture[..cut]);
                match error {
                    Some(Error::Empty { .. }) => assert_eq!(cut, 0),
                    Some(Error::NotACapture { .. }) => assert!((1..4).contains(&cut)),
                    Some(e) => panic!("{e}"),
                    None => assert!(cut >= 4),
                }
                assert_eq!(frames, whole[..frames.len()]);
                // Another frame each time that a record is complete; then there is no notice.
                let whole_records = frames.len() > given;
                given = frames.len();
                assert!(notices.len() <= 1 && (notices.is_empty() || !whole_records));
                for notice in notices {
                    assert_eq!(notice.kind, NoticeKind::Truncated);
                    assert_eq!(notice.after.number, given as u64);
                    assert_eq!(notice.offset + notice.skipped.unwrap(), cut as u64);
                }
            }
            assert_eq!(given, 2);
        }
    }

    #[test]
    fn a_header_without_packets_is_no_error() {
        for capture in [
            PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1).bytes,
            PcapngBuilder::section(Endian::Big).bytes,
        ] {
            let (frames, notices, error) = items(&capture);
            assert!(frames.is_empty() && notices.is_empty() && error.is_none());
        }
    }

    #[test]
    fn an_input_that_is_no_capture_is_recognised_by_its_first_bytes() {
        let error = items(b"{\"event\":1}\n").2.unwrap();
        assert!(error.to_string().contains("found bytes 7b 22 65 76 65 6e 74 22"), "{error}");
        // The type of a section header without its byte-order magic number.
        assert!(items(b"\n\r\r\n and then text").2.is_some());
        let error = items(b"").2.unwrap();
        assert_eq!(
            error.to_string(),
            "sample is an empty file; expected a capture file (pcap, pcapng or snoop)"
        );
    }

    #[test]
    fn endless_damage_gives_a_bounded_number_of_notices() {
        let mut pcapng = PcapngBuilder::section(Endian::Little);
        pcapng.interface(1, 0, &[]);
        for _ in 0..MAX_REPORTED + 5 {
            pcapng.bytes.extend([0xff; 4]);
            pcapng.packet(0, 1, b"x");
        }
        let (frames, notices, _) = items(&pcapng.bytes);
        assert_eq!(
            (frames.len(), notices.len()),
            (MAX_REPORTED as usize + 5, MAX_REPORTED as usize + 1)
        );
        let last = notices.last().unwrap();
        assert_eq!(last.detail, "5 more damaged places were passed over");
        assert_eq!(last.skipped, Some(20));
    }

    #[test]
    fn nothing_comes_after_an_error() {
        let mut capture = read(b"text".to_vec(), 1);
        assert!(capture.next_item().is_err());
        assert!(matches!(capture.next_item(), Ok(None)));
    }

    #[test]
    fn a_directory_and_a_missing_file_are_errors_before_reading() {
        let open = |path: &str| CaptureFile::open(Path::new(path), 0).err().unwrap();
        assert!(matches!(open("/"), Error::Directory { .. }));
        assert!(matches!(open("/no/such/file"), Error::Open { .. }));
    }

    #[test]
    fn a_failing_device_is_an_error_after_the_frames_before_it() {
        struct Failing(Vec<u8>);
        impl Read for Failing {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                match self.0.len() {
                    0 => Err(io::Error::from_raw_os_error(5)),
                    bytes => {
                        into[..bytes].copy_from_slice(&self.0);
                        self.0.clear();
                        Ok(bytes)
                    }
                }
            }
        }
        let mut pcap = PcapBuilder::file(Endian::Big, 0xa1b2_c3d4, 1);
        pcap.record(1, 0, 3, b"one");
        let source = Failing(pcap.bytes[4..].to_vec());
        let source = io::Cursor::new(pcap.bytes[..4].to_vec()).chain(source);
        let mut capture = CaptureFile::from_reader("disk".into(), 0, Box::new(source));
        assert!(matches!(capture.next_item(), Ok(Some(Item::Frame(_)))));
        assert!(matches!(capture.next_item(), Err(Error::Read { offset: 43, .. })));
        assert!(matches!(capture.next_item(), Ok(None)));
    }

    #[test]
    fn a_frame_in_the_pipe_does_not_wait_for_the_next() {
        /// Gives a header and one record, and fails the test when asked for more.
        struct Pipe(Vec<Vec<u8>>);
        impl Read for Pipe {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let chunk = self.0.remove(0);
                assert!(!chunk.is_empty(), "asked for more than was needed");
                let bytes = chunk.len().min(into.len());
                into[..bytes].copy_from_slice(&chunk[..bytes]);
                if bytes < chunk.len() {
                    self.0.insert(0, chunk[bytes..].to_vec());
                }
                Ok(bytes)
            }
        }
        for capture in small_captures() {
            let pipe = Pipe(vec![capture, Vec::new()]);
            let mut capture = CaptureFile::from_reader("pipe".into(), 0, Box::new(pipe));
            let mut frames = 0;
            while frames < 3 {
                match capture.next_item() {
                    Ok(Some(Item::Frame(_))) => frames += 1,
                    Ok(Some(Item::Interface { .. })) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
