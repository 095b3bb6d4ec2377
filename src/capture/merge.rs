//! Stage 1: several captures as one timeline.
//!
//! In: the inputs as the command line names them. Out: their items merged by capture time, or one input
//! behind the other. Within an input nothing changes its place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Read;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::file::{Advance, Other};
use super::read_ahead::DecompressionThreads;
use super::{CaptureFile, Drops, Error, Item, Progress, Receiver, Record, Source};
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
        source: Box<dyn Read + Send>,
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
/// An input that cannot be read does not keep the others from being read: its error is an [`Item::Failed`].
///
/// Regular files are opened when their first frame is due, so that rotated captures are open one or
/// two at a time however many there are.
pub struct Inputs {
    inputs: Vec<InputState>,
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
    /// Packets that the interfaces of inputs that are done have dropped.
    drops: Drops,
}

/// What [`Inputs::seek`] found.
enum Next {
    /// A frame of the current input.
    Frame,
    /// Something else of the current input.
    Other(Other),
    /// An input that ends here.
    Failed(u16, Error),
}

enum InputState {
    Waiting(Input),
    /// Its next frame stands in [`Inputs::due`].
    Open(Box<CaptureFile>),
    /// [`Inputs::current`], or about to be.
    Current,
    /// Read to its end, or to its error.
    Done,
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
            inputs: inputs.into_iter().map(InputState::Waiting).collect(),
            due: BinaryHeap::new(),
            waiting: 0..count,
            order,
            current: None,
            horizon: Timestamp::default(),
            helpers: DecompressionThreads::default(),
            drops: Drops::default(),
        })
    }

    /// Uses so many threads, the caller's included, to decompress captures. What is read, and in which order,
    /// is the same for every number.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { helpers: DecompressionThreads::new(threads.get() - 1), ..self }
    }

    /// The next item of any input; `None` when all have ended.
    #[inline(always)] // part of the loop over frames: the frame stays in registers
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        // Nearly always a whole frame of the current input is in its buffer, and no other input comes before it.
        match self.current.as_mut().and_then(|capture| capture.step()) {
            Some(record) if record.at < self.horizon => {
                self.current.as_ref().map(|capture| Item::Frame(capture.frame(record)))
            }
            stepped => self.seek_item(stepped),
        }
    }

    #[inline(never)]
    fn seek_item(&mut self, stepped: Option<Record>) -> Option<Item<'_>> {
        let next = self.seek(stepped)?;
        if let Next::Failed(input, error) = next {
            return Some(Item::Failed { input, error });
        }
        let capture = self.current.as_ref()?;
        Some(match next {
            Next::Other(other) => capture.item(other),
            Next::Frame | Next::Failed(..) => Item::Frame(capture.found()),
        })
    }

    /// The current input waits until its frame, of time `at`, is next.
    fn put_off(&mut self, at: Timestamp) {
        let Some(capture) = self.current.take() else { return };
        let input = capture.input();
        self.due.push(Reverse((at, input)));
        self.put(input, InputState::Open(capture));
    }

    fn put(&mut self, input: u16, state: InputState) {
        if let Some(place) = self.inputs.get_mut(usize::from(input)) {
            *place = state;
        }
    }

    /// Makes `input` the current one, opening it first where it is not open yet, and says whether its next frame
    /// has been found already.
    fn take_up(&mut self, input: u16) -> Result<bool, Error> {
        let horizon = self.horizon_of(input);
        let Some(place) = self.inputs.get_mut(usize::from(input)) else { return Ok(false) };
        match std::mem::replace(place, InputState::Current) {
            InputState::Open(capture) => {
                (self.current, self.horizon) = (Some(capture), horizon);
                return Ok(true);
            }
            InputState::Waiting(waiting) => match waiting.open(input, &self.helpers) {
                Ok(capture) => (self.current, self.horizon) = (Some(Box::new(capture)), horizon),
                Err(e) => {
                    *place = InputState::Done;
                    return Err(e);
                }
            },
            as_before => *place = as_before,
        }
        Ok(false)
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
    fn close_current(&mut self) {
        if let Some(capture) = self.current.take() {
            let input = capture.input();
            capture.add_drops(&mut self.drops);
            self.put(input, InputState::Done);
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
                    Ok(Advance::Other(other)) => return Some(Next::Other(other)),
                    Ok(Advance::Frame(at)) if at < self.horizon => return Some(Next::Frame),
                    Ok(Advance::Frame(at)) => self.put_off(at),
                    Ok(Advance::End) => self.close_current(),
                    Err(e) => {
                        let input = capture.input();
                        self.close_current();
                        return Some(Next::Failed(input, e));
                    }
                }
                continue;
            }
            let waiting = self.next_waiting();
            let due = || self.due.pop().map(|Reverse((_, input))| input);
            let input = waiting.or_else(due)?;
            match self.take_up(input) {
                Ok(true) => return Some(Next::Frame),
                Ok(false) => {}
                Err(e) => return Some(Next::Failed(input, e)),
            }
        }
    }

    /// An input that must be opened before anything else can be given. Puts off those whose first
    /// time can be had without keeping them open.
    fn next_waiting(&mut self) -> Option<u16> {
        if self.order == Order::Given && !self.due.is_empty() {
            return None;
        }
        let several = self.inputs.len() > 1 && self.order == Order::Time;
        for input in self.waiting.by_ref() {
            match self.inputs.get(usize::from(input)) {
                Some(InputState::Waiting(Input::Path(path))) if several && path.is_file() => {
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

/// Time of the first frame of the file, or the beginning of time if a notice precedes it, which then comes first.
fn first_time(path: &Path) -> Timestamp {
    let Ok(mut capture) = CaptureFile::open(path, 0) else { return Timestamp::default() };
    loop {
        match capture.advance() {
            Ok(Advance::Frame(at)) => return at,
            // Declarations at the front of a file say nothing about its time.
            Ok(Advance::Other(Other::Names | Other::Secrets | Other::Interface(_))) => {}
            _ => return Timestamp::default(),
        }
    }
}

impl Source for Inputs {
    #[inline(always)] // the loop over frames, specialised for its receiver
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        loop {
            // By reference: moving the item, which was just built, would stall on store forwarding.
            let next = self.next_item();
            let flow = match &next {
                Some(Item::Frame(frame)) => receiver.on_frame(frame),
                Some(_) => next.map_or(ControlFlow::Continue(()), |item| receiver.on_item(item)),
                None => return Ok(Progress::End),
            };
            if flow.is_break() {
                return Ok(Progress::More);
            }
        }
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        self.close_current();
        let mut drops = self.drops;
        for input in &self.inputs {
            if let InputState::Open(capture) = input {
                capture.add_drops(&mut drops);
            }
        }
        let _ = receiver.on_item(Item::Drops(drops));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "counts that make bytes")]

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
        let (order, failed) = order_and_failures(inputs);
        assert!(failed.is_empty(), "{failed:?}");
        order
    }

    /// Likewise, and the inputs that failed.
    fn order_and_failures(inputs: &mut Inputs) -> (Vec<(u16, u64)>, Vec<u16>) {
        let (mut order, mut failed) = (Vec::new(), Vec::new());
        while let Some(item) = inputs.next_item() {
            match item {
                Item::Frame(frame) => order.push((frame.id.input, frame.id.number)),
                Item::Failed { input, .. } => failed.push(input),
                _ => {}
            }
        }
        (order, failed)
    }

    #[test]
    fn inputs_are_merged_by_time_and_ties_by_their_order() {
        let inputs = vec![stream(&[2, 5, 9]), stream(&[1, 5, 6])];
        let mut inputs = Inputs::new(inputs, Order::Time).unwrap();
        assert_eq!(order(&mut inputs), [(1, 1), (0, 1), (0, 2), (1, 2), (1, 3), (0, 3)]);
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
            let (order, failed) = order_and_failures(&mut inputs);
            assert_eq!(
                (order.as_slice(), failed.as_slice()),
                (&[(0, 1), (3, 1)][..], &[1, 2, 4][..])
            );
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
            let is_open =
                |state: &&InputState| matches!(state, InputState::Open(_) | InputState::Current);
            let open = inputs.inputs.iter().filter(is_open);
            assert_eq!(open.count(), 1);
        }
        assert_eq!(order, [(1, 1), (1, 2), (2, 1), (2, 2), (0, 1), (0, 2)]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn comments_and_interfaces_come_with_their_input_in_either_order() {
        for given in [Order::Time, Order::Given] {
            let mut pcapng = Blocks::section(Endian::Big);
            // Packets of no bytes, the second with opt_comment (1) of 2 bytes.
            pcapng.interface(1, 0, &[]).packet(0, 0, b"");
            pcapng.words(6, &[0, 0, 1, 0, 0], &[0, 1, 0, 2, b'h', b'i']).packet(0, 2, b"");
            let source = Box::new(std::io::Cursor::new(pcapng.bytes));
            let pcapng = Input::Stream { name: "sample".into(), source };
            let mut inputs = Inputs::new(vec![stream(&[1]), pcapng], given).unwrap();
            let (mut comments, mut interfaces) = (Vec::new(), Vec::new());
            while let Some(item) = inputs.next_item() {
                match item {
                    Item::Frame(frame) => {
                        let texts = frame.comments.iter().map(|text| text.to_vec());
                        comments.extend(texts.map(|text| (frame.id, text)));
                    }
                    Item::Interface { input, index, .. } => interfaces.push((input, index)),
                    other => panic!("{other:?}"),
                }
            }
            let commented = FrameRef { input: 1, number: 2 };
            assert_eq!(comments, [(commented, b"hi".to_vec())]);
            assert_eq!(interfaces, [(1, Some(0))]);
        }
    }

    #[test]
    fn a_comment_stays_with_its_frame_where_inputs_take_turns() {
        let seconds = |n: u64| n * 1_000_000;
        let mut pcapng = Blocks::section(Endian::Big);
        pcapng.interface(1, 0, &[]);
        let high_low = |n: u64| ((seconds(n) >> 32) as u32, seconds(n) as u32);
        for n in [1, 3, 5] {
            let (high, low) = high_low(n);
            let comment = [0, 1, 0, 1, b'0' + n as u8, 0, 0, 0];
            pcapng.words(6, &[0, high, low, 0, 0], &comment).packet(0, seconds(n), b"");
        }
        let source = Box::new(std::io::Cursor::new(pcapng.bytes));
        let pcapng = Input::Stream { name: "sample".into(), source };
        let inputs = vec![pcapng, stream(&[0, 2, 4, 6])];
        let mut inputs = Inputs::new(inputs, Order::Time).unwrap();
        let mut seen = Vec::new();
        while let Some(item) = inputs.next_item() {
            if let Item::Frame(frame) = item {
                seen.push((frame.id.input, frame.comments.first().map(|text| text[0])));
            }
        }
        let expected = [
            (1, None),
            (0, Some(b'1')),
            (0, None),
            (1, None),
            (0, Some(b'3')),
            (0, None),
            (1, None),
            (0, Some(b'5')),
            (0, None),
            (1, None),
        ];
        assert_eq!(seen, expected);
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
