//! Stage 1: one capture, whatever its format and wherever it comes from.
//!
//! In: a path or any [`Read`]. Out: one [`Item`] after the other, the frames numbered as Wireshark
//! numbers them. Tells formats apart by content, decompresses, and reads forward only; the order of
//! frames is that of the input.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::buffer::Buffer;
use super::compressed::{Decompressed, is_compressed};
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::read_ahead::{DecompressionThreads, ReadAhead};
use super::{
    Comment, Drops, Error, Frame, Interface, Item, LinkType, Notice, NoticeKind, Progress,
    Receiver, Record, Secrets, SecretsType, Source, Step,
};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// A capture being read: pcap or pcapng, plain or compressed.
///
/// Reads when asked for a frame, once, and only when no whole frame is in hand. Allocates nothing for
/// a frame.
///
/// # Limits
///
/// 64 MiB of buffer, of which 512 KiB are used unless a record is larger; a decompressor's window of up
/// to 128 MiB. A pcap record beyond 16 MiB or a pcapng block beyond 32 MiB counts as damage.
pub struct CaptureFile {
    name: String,
    buffer: Buffer,
    format: Format,
    /// Number of the last frame, 0 before the first.
    id: FrameRef,
    record: Record,
    /// Nothing comes any more: the end was told, or an error was.
    ended: bool,
    /// Damaged places that were told one by one.
    told: u32,
    /// Damaged places beyond those, and their bytes.
    untold: (u64, u64),
}

#[repr(u8)] // a tag of its own is told sooner than one that hides in a field
enum Format {
    /// Nothing was read so far.
    Unknown,
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// What [`CaptureFile::advance`] came to.
pub(super) enum Advance {
    /// A frame of this time, now to be had from [`CaptureFile::found`].
    Frame(Timestamp),
    /// What [`CaptureFile::item`] makes an item of.
    Other(Other),
    End,
}

/// Anything but a frame, its bytes still in the buffer.
pub(super) enum Other {
    Names,
    Secrets,
    /// The interface of this index.
    Interface(u32),
    Notice(Notice),
}

impl CaptureFile {
    /// Opens the capture at `path`, as input number `input`.
    ///
    /// # Errors
    ///
    /// What cannot be opened, and directories. What is no capture shows when it is read.
    pub fn open(path: &Path, input: u16) -> Result<Self, Error> {
        Self::open_with(path, input, &DecompressionThreads::default())
    }

    /// As [`Self::open`], a compressed file decompressed by one of the `helpers` where one is free.
    pub(super) fn open_with(
        path: &Path,
        input: u16,
        helpers: &DecompressionThreads,
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
        // A pipe or a device is not asked for more than is wanted, and gives nothing twice.
        if metadata.is_file() && is_compressed(&mut file).unwrap_or_default() {
            let file = file.try_clone().map(|file| move || Decompressed::new(Box::new(file)));
            // Where no thread is to be had, it goes without.
            if let Some(Ok(read_ahead)) = file.ok().and_then(|file| ReadAhead::start(helpers, file))
            {
                return Ok(Self::new(name, input, Box::new(read_ahead)));
            }
        }
        Ok(Self::from_reader(name, input, Box::new(file)))
    }

    /// Reads the capture that `source` gives, under a `name` for errors. Reads nothing yet.
    pub fn from_reader(name: String, input: u16, source: Box<dyn Read + Send>) -> Self {
        Self::new(name, input, Box::new(Decompressed::new(source)))
    }

    fn new(name: String, input: u16, source: Box<dyn Read + Send>) -> Self {
        Self {
            name,
            buffer: Buffer::new(source),
            format: Format::Unknown,
            id: FrameRef { input, number: 0 },
            record: Record {
                at: Timestamp::default(),
                link: LinkType::NULL,
                interface: None,
                wire_len: 0,
                place: 0..0,
            },
            ended: false,
            told: 0,
            untold: (0, 0),
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
    /// The input is no capture, or the operating system fails. Nothing comes after an error.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        Ok(match self.advance()? {
            Advance::Frame(_) => Some(Item::Frame(self.found())),
            Advance::Other(other) => Some(self.item(other)),
            Advance::End => None,
        })
    }

    /// The input number of this capture.
    pub(super) const fn input(&self) -> u16 {
        self.id.input
    }

    /// The interfaces that the capture declared so far, as [`Frame::interface`] counts them.
    pub fn interfaces(&self) -> &[Interface] {
        match &self.format {
            Format::Pcapng(pcapng) => &pcapng.interfaces,
            _ => &[],
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
        let input = self.input();
        let annotations = match &self.format {
            Format::Pcapng(pcapng) => Some(&pcapng.annotations),
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
                Item::Interface { input, index: Some(index), interface }
            }
            Other::Notice(notice) => Item::Notice(notice),
        }
    }

    /// Goes on to the next frame where it is in hand as a whole, as nearly all are. A part of the loop over all
    /// frames: [`Self::advance`] for each took as long as decoding them.
    #[inline(always)]
    pub(super) fn step(&mut self) -> Option<Record> {
        let number = &mut self.id.number;
        match &mut self.format {
            _ if self.ended => None,
            Format::Pcap(pcap) => pcap.step(&mut self.buffer, number),
            Format::Pcapng(pcapng) => pcapng.step(&mut self.buffer, number),
            Format::Unknown => None,
        }
    }

    /// Keeps what [`Self::step`] gave, until [`Self::found`] is asked for.
    pub(super) fn keep(&mut self, record: Record) {
        self.record = record;
        if let Format::Pcapng(pcapng) = &mut self.format {
            // The frame before had these.
            pcapng.annotations.comments.clear();
        }
    }

    /// Reads on to the next frame, which then stays until the next call.
    pub(super) fn advance(&mut self) -> Result<Advance, Error> {
        while !self.ended {
            let number = &mut self.id.number;
            let step = match &mut self.format {
                Format::Pcap(pcap) => pcap.advance(&mut self.buffer, number, &mut self.record),
                Format::Pcapng(pcapng) => {
                    pcapng.advance(&mut self.buffer, number, &mut self.record)
                }
                Format::Unknown => {
                    self.ended = true;
                    match self.begin()? {
                        Some(step) => step,
                        None => {
                            self.ended = false;
                            continue;
                        }
                    }
                }
            };
            match step {
                Step::Frame => return Ok(Advance::Frame(self.record.at)),
                Step::Names => return Ok(Advance::Other(Other::Names)),
                Step::Secrets => return Ok(Advance::Other(Other::Secrets)),
                Step::Interface(index) => return Ok(Advance::Other(Other::Interface(index))),
                Step::Corrupt { skipped: Some(bytes), .. } if self.told == MAX_TOLD => {
                    let (places, sum) = self.untold;
                    self.untold = (places + 1, sum.saturating_add(bytes));
                }
                step => return self.trouble(step),
            }
        }
        Ok(Advance::End)
    }

    /// The frame that [`Self::advance`] found last, or [`Self::keep`] was given.
    pub(super) fn found(&self) -> Frame<'_> {
        let comments = match &self.format {
            Format::Pcapng(pcapng) => &pcapng.annotations.comments,
            _ => &[][..],
        };
        self.frame_with(self.record.clone(), comments)
    }

    /// The frame that [`Self::step`] found last, by its record.
    #[inline(always)]
    pub(super) fn frame(&self, record: Record) -> Frame<'_> {
        // A packet block with options is left to `advance`.
        self.frame_with(record, &[])
    }

    #[inline(always)]
    fn frame_with<'a>(&'a self, record: Record, comments: &'a [Comment]) -> Frame<'a> {
        let Record { at, link, interface, wire_len, place } = record;
        let bytes = self.buffer.at(place);
        Frame { id: self.id, at, link, interface, wire_len, bytes, comments }
    }

    /// Recognises the format and passes its header, or gives the step that stands in its place.
    fn begin(&mut self) -> Result<Option<Step>, Error> {
        let header_cut = Step::Truncated { offset: 0, what: "the file header" };
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
            self.format = Format::Pcap(pcap);
            return Ok(None);
        }
        if *magic == SECTION_MAGIC {
            if !self.buffer.fill(SECTION_HEAD_LEN) {
                return Ok(Some(header_cut));
            }
            if Pcapng::recognise(self.buffer.bytes()) {
                self.format = Format::Pcapng(Pcapng::new());
                return Ok(None);
            }
        }
        Err(self.not_a_capture())
    }

    /// Turns what is no frame into a notice, an error or the end.
    fn trouble(&mut self, step: Step) -> Result<Advance, Error> {
        let (kind, offset, skipped, detail) = match step {
            Step::Corrupt { offset, skipped, detail } => {
                self.ended = skipped.is_none();
                self.told += 1;
                (NoticeKind::Corrupt, offset, skipped, detail)
            }
            Step::Truncated { offset, what } => {
                self.buffer.consume(self.buffer.len());
                let end = self.buffer.offset();
                let (kind, why) = match self.buffer.take_failure() {
                    Some(failure) => self.stopped(failure)?,
                    None => (NoticeKind::Truncated, "the input ends".into()),
                };
                let detail = format!("expected the rest of {what}; {why}");
                (kind, offset, Some(end.saturating_sub(offset)), detail)
            }
            Step::Frame | Step::Names | Step::Secrets | Step::Interface(_) | Step::End => {
                let offset = self.buffer.offset();
                if let Some(failure) = self.buffer.take_failure() {
                    let (kind, why) = self.stopped(failure)?;
                    (kind, offset, Some(0), format!("expected a record or the end; {why}"))
                } else if let (places @ 1.., bytes) = std::mem::take(&mut self.untold) {
                    let detail = format!("{places} more damaged places were passed over");
                    (NoticeKind::Corrupt, offset, Some(bytes), detail)
                } else {
                    self.ended = true;
                    return Ok(Advance::End);
                }
            }
        };
        let notice = Notice { after: self.id, kind, offset, skipped, detail };
        Ok(Advance::Other(Other::Notice(notice)))
    }

    /// What a failed read means: damaged compression is part of the capture and told in a notice, a
    /// failing device is an error.
    fn stopped(&mut self, failure: io::Error) -> Result<(NoticeKind, String), Error> {
        if failure.raw_os_error().is_some() {
            let offset = self.buffer.offset().saturating_add(self.buffer.len() as u64);
            self.ended = true;
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
            // Writing to a string does not fail.
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
                Err(error) => receiver.on_item(Item::Failed { input: self.input(), error }),
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

/// Damage that comes more often is told in one notice at the end: a file of nothing but damage would
/// give more text than it has bytes.
const MAX_TOLD: u32 = 1000;

/// Bytes of an unknown input that its error shows.
const SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::Endian;
    use super::super::samples::{Blocks, Records, items, read};
    use super::*;

    fn small_captures() -> Vec<Vec<u8>> {
        let mut captures = Vec::new();
        for endian in [Endian::Big, Endian::Little] {
            for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
                let mut pcap = Records::file(endian, magic, 1);
                pcap.record(1, 0, 3, b"one").record(2, 0, 0, b"").record(3, 0, 5, b"three");
                captures.push(pcap.bytes);
            }
            let mut pcapng = Blocks::section(endian);
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
                // One frame more each time a record is whole: then there is nothing to notice.
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
            Records::file(Endian::Little, 0xa1b2_c3d4, 1).bytes,
            Blocks::section(Endian::Big).bytes,
        ] {
            let (frames, notices, error) = items(&capture);
            assert!(frames.is_empty() && notices.is_empty() && error.is_none());
        }
    }

    #[test]
    fn what_is_no_capture_is_told_by_its_first_bytes() {
        let error = items(b"{\"event\":1}\n").2.unwrap();
        assert!(error.to_string().contains("found bytes 7b 22 65 76 65 6e 74 22"), "{error}");
        // The type of a section header without its byte-order magic.
        assert!(items(b"\n\r\r\n and then text").2.is_some());
        let error = items(b"").2.unwrap();
        assert_eq!(
            error.to_string(),
            "sample is an empty file; expected a capture file (pcap or pcapng)"
        );
    }

    #[test]
    fn damage_without_end_is_told_in_a_bounded_number_of_notices() {
        let mut pcapng = Blocks::section(Endian::Little);
        pcapng.interface(1, 0, &[]);
        for _ in 0..MAX_TOLD + 5 {
            pcapng.bytes.extend([0xff; 4]);
            pcapng.packet(0, 1, b"x");
        }
        let (frames, notices, _) = items(&pcapng.bytes);
        assert_eq!((frames.len(), notices.len()), (MAX_TOLD as usize + 5, MAX_TOLD as usize + 1));
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
    fn a_directory_and_a_missing_file_are_told_before_reading() {
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
        let mut pcap = Records::file(Endian::Big, 0xa1b2_c3d4, 1);
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
