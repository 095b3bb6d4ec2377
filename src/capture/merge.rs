//! Stage 1: several captures as one timeline.
//!
//! In: the inputs as the command line names them. Out: their items merged by capture time, or one input
//! behind the other. Within an input nothing changes its place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::file::Advance;
use super::read_ahead::DecompressionThreads;
use super::{Annotations, CaptureFile, Error, Interface, Item, Notice, Record};
use crate::time::Timestamp;

/// Where an input comes from.
pub enum Input {
    /// A file, a named pipe, a device.
    Path(PathBuf),
    /// Bytes from elsewhere, such as standard input.
    Stream {
        /// What errors call it.
        name: String,
        /// The bytes.
        source: Box<dyn Read>,
    },
}

/// How several inputs make one sequence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// By capture time; at the same time, in the order given.
    #[default]
    Time,
    /// One after the other, in the order given.
    Given,
}

/// Several captures read as one.
///
/// An input that cannot be read does not keep the others from being read: its error waits in
/// [`Inputs::take_errors`].
///
/// Regular files are opened when their first frame is due, so that rotated captures are open one or
/// two at a time however many there are.
pub struct Inputs {
    sources: Vec<Source>,
    /// Time of the next frame of each input that has one, and the input.
    due: BinaryHeap<Reverse<(Timestamp, u16)>>,
    /// Inputs to come that do not stand in `due`: all at first, then those behind the current one when
    /// the order is the given one.
    waiting: std::ops::Range<u16>,
    order: Order,
    /// The input whose item was given last and which has not been read on since.
    current: Option<Box<CaptureFile>>,
    /// Its frames from before this time come before those of any other.
    horizon: Timestamp,
    helpers: DecompressionThreads,
    errors: Vec<(u16, Error)>,
}

/// What [`Inputs::seek`] found.
enum Next {
    /// A frame of the current input.
    Frame(Record),
    Notice(Notice),
}

enum Source {
    Waiting(Input),
    /// Its next frame stands in [`Inputs::due`].
    Open(Box<CaptureFile>),
    /// [`Inputs::current`], or about to be.
    Current,
    /// Read to its end, or to its error. The interfaces stay for those who kept an index, the
    /// annotations for those who ask last.
    Done(Vec<Interface>, Annotations),
}

impl Inputs {
    /// Takes the inputs; opens none.
    ///
    /// # Errors
    ///
    /// There are more than 65 535.
    pub fn new(inputs: Vec<Input>, order: Order) -> Result<Self, Error> {
        let count = u16::try_from(inputs.len())
            .map_err(|_| Error::TooManyInputs { given: inputs.len() })?;
        Ok(Self {
            sources: inputs.into_iter().map(Source::Waiting).collect(),
            due: BinaryHeap::new(),
            waiting: 0..count,
            order,
            current: None,
            horizon: Timestamp::default(),
            helpers: DecompressionThreads::default(),
            errors: Vec::new(),
        })
    }

    /// Uses so many threads, the caller's included, to decompress captures. What is read, and in which order,
    /// is the same for every number.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { helpers: DecompressionThreads::new(threads.get() - 1), ..self }
    }

    /// The next frame or notice of any input; `None` when all have ended. Always a part of the loop over all
    /// frames: what it gives goes through memory otherwise, and is waited for there.
    #[inline(always)]
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        // Nearly always a frame of the input that gave the last one, and in hand: but for the moments in which
        // something has to be read, and where inputs take turns.
        let record = match self.current.as_mut().and_then(|capture| capture.step()) {
            Some(record) if record.at < self.horizon => record,
            stepped => match self.seek(stepped)? {
                Next::Frame(record) => record,
                Next::Notice(notice) => return Some(Item::Notice(notice)),
            },
        };
        self.current.as_ref().map(|capture| Item::Frame(capture.frame(record)))
    }

    /// The current input waits until its frame, of time `at`, is next.
    fn put_off(&mut self, at: Timestamp) {
        let Some(capture) = self.current.take() else { return };
        let input = capture.input();
        self.due.push(Reverse((at, input)));
        self.put(input, Source::Open(capture));
    }

    fn put(&mut self, input: u16, source: Source) {
        if let Some(place) = self.sources.get_mut(usize::from(input)) {
            *place = source;
        }
    }

    /// Makes `input` the current one, opening it first where it is not open yet, and says whether its next frame
    /// has been found already.
    fn take_up(&mut self, input: u16) -> bool {
        let horizon = self.horizon_of(input);
        let Some(place) = self.sources.get_mut(usize::from(input)) else { return false };
        match std::mem::replace(place, Source::Current) {
            Source::Open(capture) => {
                (self.current, self.horizon) = (Some(capture), horizon);
                return true;
            }
            Source::Waiting(waiting) => match waiting.open(input, &self.helpers) {
                Ok(capture) => (self.current, self.horizon) = (Some(Box::new(capture)), horizon),
                Err(e) => {
                    *place = Source::Done(Vec::new(), Annotations::default());
                    self.errors.push((input, e));
                }
            },
            as_before => *place = as_before,
        }
        false
    }

    /// The time before which nothing comes of any input but `input`.
    fn horizon_of(&self, input: u16) -> Timestamp {
        if !self.waiting.is_empty() && self.order == Order::Time {
            return Timestamp::default();
        }
        // At the same time, in the order given.
        self.due.peek().map_or(Timestamp(u64::MAX), |Reverse((at, other))| {
            Timestamp(at.0.saturating_add(u64::from(input < *other)))
        })
    }

    /// Nothing more comes of the current input.
    fn close(&mut self) {
        if let Some(capture) = self.current.take() {
            let input = capture.input();
            let (interfaces, annotations) = capture.into_told();
            self.put(input, Source::Done(interfaces, annotations));
        }
    }

    /// What comes next, where it has to be looked for: the current input, of which `stepped` is in hand, has nothing
    /// in hand, or gives way to another.
    #[inline(never)]
    fn seek(&mut self, stepped: Option<Record>) -> Option<Next> {
        if let (Some(capture), Some(record)) = (&mut self.current, stepped) {
            let at = record.at;
            capture.keep(record);
            self.put_off(at);
        }
        loop {
            // Reading on is put off until now: a pipe is not asked for more than was wanted.
            if let Some(capture) = &mut self.current {
                match capture.advance() {
                    Ok(Advance::Notice(notice)) => return Some(Next::Notice(notice)),
                    Ok(Advance::Frame(at)) if at < self.horizon => {
                        return Some(Next::Frame(capture.found()));
                    }
                    Ok(Advance::Frame(at)) => self.put_off(at),
                    Ok(Advance::End) => self.close(),
                    Err(e) => {
                        self.errors.push((capture.input(), e));
                        self.close();
                    }
                }
            } else if let Some(input) = self.next_waiting() {
                self.take_up(input);
            } else {
                let Reverse((_, input)) = self.due.pop()?;
                if self.take_up(input) {
                    return self.current.as_ref().map(|capture| Next::Frame(capture.found()));
                }
            }
        }
    }

    /// Errors of inputs that could not be read, or not to their end, since the last call; in the
    /// order of the inputs.
    pub fn take_errors(&mut self) -> Vec<(u16, Error)> {
        self.errors.sort_by_key(|(input, _)| *input);
        std::mem::take(&mut self.errors)
    }

    /// The interface that a frame of `input` names.
    pub fn interface(&self, input: u16, interface: u32) -> Option<&Interface> {
        self.interfaces(input).get(interface as usize)
    }

    /// All interfaces that `input` declared so far.
    pub fn interfaces(&self, input: u16) -> &[Interface] {
        match self.sources.get(usize::from(input)) {
            Some(Source::Open(capture)) => capture.interfaces(),
            Some(Source::Current) => self.current.as_ref().map_or(&[], |it| it.interfaces()),
            Some(Source::Done(interfaces, _)) => interfaces,
            Some(Source::Waiting(_)) | None => &[],
        }
    }

    /// Names, secrets and comments that `input` told so far.
    pub fn annotations(&self, input: u16) -> &Annotations {
        match self.sources.get(usize::from(input)) {
            Some(Source::Open(capture)) => capture.annotations(),
            Some(Source::Current) => {
                self.current.as_ref().map_or(Annotations::NONE, |it| it.annotations())
            }
            Some(Source::Done(_, annotations)) => annotations,
            Some(Source::Waiting(_)) | None => Annotations::NONE,
        }
    }

    /// An input that must be opened before anything else can be given. Puts off those whose first
    /// time can be had without keeping them open.
    fn next_waiting(&mut self) -> Option<u16> {
        if self.order == Order::Given && !self.due.is_empty() {
            return None;
        }
        let several = self.sources.len() > 1 && self.order == Order::Time;
        for input in self.waiting.by_ref() {
            match self.sources.get(usize::from(input)) {
                Some(Source::Waiting(Input::Path(path))) if several && path.is_file() => {
                    let first = first_time(path);
                    self.due.push(Reverse((first, input)));
                }
                _ => return Some(input),
            }
        }
        None
    }
}

impl Input {
    fn open(self, input: u16, helpers: &DecompressionThreads) -> Result<CaptureFile, Error> {
        match self {
            Self::Path(path) => CaptureFile::open_with(&path, input, helpers),
            Self::Stream { name, source } => Ok(CaptureFile::from_reader(name, input, source)),
        }
    }
}

/// Time of the first frame of the file, or the beginning of time where its first item is something
/// else, which then comes first.
fn first_time(path: &Path) -> Timestamp {
    match CaptureFile::open(path, 0).and_then(|mut capture| capture.advance()) {
        Ok(Advance::Frame(at)) => at,
        _ => Timestamp::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Endian;
    use super::super::samples::{Blocks, Records};
    use super::*;
    use crate::packet::FrameRef;

    fn stream(seconds: &[u32]) -> Input {
        let mut pcap = Records::file(Endian::Little, 0xa1b2_c3d4, 1);
        for seconds in seconds {
            pcap.record(*seconds, 0, 1, b"x");
        }
        let source = Box::new(std::io::Cursor::new(pcap.bytes));
        Input::Stream { name: "sample".into(), source }
    }

    /// (input, number) of each frame.
    fn order(inputs: &mut Inputs) -> Vec<(u16, u64)> {
        let mut order = Vec::new();
        while let Some(item) = inputs.next_item() {
            if let Item::Frame(frame) = item {
                order.push((frame.id.input, frame.id.number));
            }
        }
        order
    }

    #[test]
    fn inputs_are_merged_by_time_and_ties_by_their_order() {
        let inputs = vec![stream(&[2, 5, 9]), stream(&[1, 5, 6])];
        let mut inputs = Inputs::new(inputs, Order::Time).unwrap();
        assert_eq!(order(&mut inputs), [(1, 1), (0, 1), (0, 2), (1, 2), (1, 3), (0, 3)]);
        assert!(inputs.take_errors().is_empty());
    }

    #[test]
    fn an_input_is_never_reordered() {
        let inputs = vec![stream(&[5, 1, 7]), stream(&[6])];
        let mut inputs = Inputs::new(inputs, Order::Time).unwrap();
        assert_eq!(order(&mut inputs), [(0, 1), (0, 2), (1, 1), (0, 3)]);
    }

    #[test]
    fn the_given_order_puts_one_input_behind_the_other() {
        let inputs = vec![stream(&[5, 6]), stream(&[1]), stream(&[])];
        let mut inputs = Inputs::new(inputs, Order::Given).unwrap();
        assert_eq!(order(&mut inputs), [(0, 1), (0, 2), (1, 1)]);
    }

    #[test]
    fn an_unreadable_input_keeps_no_other_from_being_read() {
        for given in [Order::Time, Order::Given] {
            let text = Box::new(&b"no capture"[..]);
            let inputs = vec![
                stream(&[1]),
                Input::Path("/no/such/file".into()),
                Input::Stream { name: "text".into(), source: text },
                stream(&[2]),
                Input::Path("/".into()),
            ];
            let mut inputs = Inputs::new(inputs, given).unwrap();
            assert_eq!(order(&mut inputs), [(0, 1), (3, 1)]);
            let errors = inputs.take_errors();
            assert_eq!(errors.iter().map(|(input, _)| *input).collect::<Vec<_>>(), [1, 2, 4]);
        }
    }

    #[test]
    fn a_file_is_opened_when_its_first_frame_is_due_and_closed_at_its_end() {
        let folder = std::env::temp_dir().join(format!("beamscope-merge-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths: Vec<_> = [30, 10, 20]
            .into_iter()
            .map(|seconds| {
                let mut pcap = Records::file(Endian::Big, 0xa1b2_c3d4, 1);
                pcap.record(seconds, 0, 1, b"x").record(seconds + 1, 0, 1, b"y");
                let path = folder.join(format!("{seconds}.pcap"));
                std::fs::write(&path, pcap.bytes).unwrap();
                path
            })
            .collect();
        let inputs = paths.into_iter().map(Input::Path).collect();
        let mut inputs = Inputs::new(inputs, Order::Time).unwrap();
        let mut order = Vec::new();
        while let Some(Item::Frame(frame)) = inputs.next_item() {
            order.push((frame.id.input, frame.id.number));
            let is_open = |source: &&Source| matches!(source, Source::Open(_) | Source::Current);
            let open = inputs.sources.iter().filter(is_open);
            assert_eq!(open.count(), 1);
        }
        assert_eq!(order, [(1, 1), (1, 2), (2, 1), (2, 2), (0, 1), (0, 2)]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn annotations_outlive_the_reading_of_their_input() {
        let mut pcapng = Blocks::section(Endian::Big);
        // A packet of no bytes with opt_comment (1) of 2 bytes.
        pcapng.interface(1, 0, &[]).words(6, &[0, 0, 1, 0, 0], &[0, 1, 0, 2, b'h', b'i']);
        let source = Box::new(std::io::Cursor::new(pcapng.bytes));
        let pcapng = Input::Stream { name: "sample".into(), source };
        let mut inputs = Inputs::new(vec![stream(&[1]), pcapng], Order::Given).unwrap();
        assert_eq!(order(&mut inputs), [(0, 1), (1, 1)]);
        let frame = FrameRef { input: 1, number: 1 };
        assert_eq!(inputs.annotations(1).comments, [(frame, b"hi"[..].into())]);
        assert_eq!(inputs.interfaces(1).len(), 1);
        assert!([0, 2].iter().all(|input| inputs.annotations(*input).comments.is_empty()));
    }

    #[test]
    fn more_inputs_than_can_be_numbered_are_refused() {
        let inputs = (0..=u16::MAX).map(|_| Input::Path("x".into())).collect();
        assert!(matches!(
            Inputs::new(inputs, Order::Time),
            Err(Error::TooManyInputs { given: 65_536 })
        ));
    }
}
