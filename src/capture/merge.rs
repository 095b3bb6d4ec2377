//! Several captures as one.
//!
//! In: the inputs as the user named them. Out: their items, merged by capture time or one input after the other.
//! Within an input, nothing is reordered.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::counted::ReadCounter;
use super::file::{Advance, Other};
use super::read_ahead::ReadThreads;
use super::{
    CaptureFile, Drops, Error, FrameRecord, Item, Notice, NoticeKind, Progress, Receiver, Source,
};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The origin of an input.
pub enum Input {
    /// The path of a file, a named pipe or a device.
    Path(PathBuf),
    /// A stream of bytes, such as standard input.
    Stream {
        /// Its name in errors.
        name: String,
        /// The reader of the bytes.
        source: Box<dyn Read + Send>,
    },
}

/// How several inputs become one sequence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// Merged by capture time; at equal times in the order given.
    #[default]
    Time,
    /// One after the other, in the order given.
    Given,
}

/// Several captures that are read as one.
///
/// An input that cannot be read does not keep the others from being read: its error is an [`Item::Failed`].
///
/// A regular file is opened when its first frame is due, so that of many rotated captures one or two are open at a
/// time.
///
/// An extract of several captures is read in place of these: its frames are of the inputs that it lists, which are numbered at its
/// place. In [the given order](Order::Given) that is so for regular files, and for what is read first.
pub struct Inputs {
    /// The captures. All numbers of them here are places in this list.
    inputs: Vec<InputState>,
    /// Number of the first input of each capture, and how many they are; found before the first is read.
    numbers: Vec<(u16, u16)>,
    /// The names of the inputs.
    names: Vec<Arc<str>>,
    /// Time of the next frame of each input that has one, and the input.
    due: BinaryHeap<Reverse<(Timestamp, u16)>>,
    /// Inputs that are not in `due` yet: all of them at first; in the given order, those after the current one.
    waiting: std::ops::Range<u16>,
    order: Order,
    /// The input of the last item, unless it has been read further since.
    current: Option<Box<CaptureFile>>,
    /// Its frames before this time precede those of any other input.
    horizon: Timestamp,
    helpers: ReadThreads,
    counter: ReadCounter,
    /// Packets that the interfaces of inputs that are done have dropped.
    drops: Drops,
    /// Latest time of a frame that the inputs left out, which are extracts.
    until: Option<Timestamp>,
    /// Nanoseconds to add to the times of inputs with another clock.
    shifts: HashMap<u16, i64>,
    /// What is to be reported of inputs before their frames.
    notices: VecDeque<Notice>,
}

/// The result of [`Inputs::seek`].
enum NextItem {
    /// The next frame of the current input.
    Frame,
    /// Another item of the current input.
    Other(Other),
    /// The error of an input that ends here.
    Failed(u16, Error),
    /// What was noted of an input before it is read.
    Noted(Notice),
}

enum InputState {
    Waiting(Input),
    /// Nothing was taken from it yet.
    Opened(Box<CaptureFile>),
    /// The time of its next frame is in [`Inputs::due`].
    Open(Box<CaptureFile>),
    /// It is [`Inputs::current`], or about to become it.
    Current,
    /// Read to its end, or to its error.
    Done,
}

impl Inputs {
    /// Takes the inputs without opening any.
    ///
    /// # Errors
    ///
    /// There are more than 65,535.
    pub fn new(inputs: Vec<Input>, order: Order) -> Result<Self, Error> {
        let count = u16::try_from(inputs.len())
            .map_err(|_| Error::TooManyInputs { given: inputs.len() })?;
        Ok(Self {
            inputs: inputs.into_iter().map(InputState::Waiting).collect(),
            numbers: Vec::new(),
            names: Vec::new(),
            due: BinaryHeap::new(),
            waiting: 0..count,
            order,
            current: None,
            horizon: Timestamp::default(),
            helpers: ReadThreads::default(),
            counter: ReadCounter::default(),
            drops: Drops::default(),
            until: None,
            shifts: HashMap::new(),
            notices: VecDeque::new(),
        })
    }

    /// Uses up to so many threads, that of the caller included, to decompress captures, and to read several of them. The
    /// items and their order do not depend on the number.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { helpers: ReadThreads::new(threads.get() - 1), ..self }
    }

    /// Counts the bytes that are read of all inputs with this counter.
    #[must_use]
    pub fn with_counter(self, counter: ReadCounter) -> Self {
        Self { counter, ..self }
    }

    /// The names of the inputs, by their numbers: the paths as given, and for an extract of several captures the names that
    /// it lists. Reads the start of each file, and of a pipe that is read at once.
    pub fn names(&mut self) -> Vec<Arc<str>> {
        self.number_inputs();
        self.names.clone()
    }

    /// Numbers the inputs, unless that was done.
    fn number_inputs(&mut self) {
        for place in self.numbers.len()..self.inputs.len() {
            let name = match self.inputs.get(place) {
                Some(InputState::Waiting(Input::Path(path))) => path.to_string_lossy().into(),
                Some(InputState::Waiting(Input::Stream { name, .. })) => name.as_str().into(),
                _ => Arc::from(""),
            };
            let listed = self.listed_by(place);
            let first = self.names.len();
            // Each capture behind it needs one.
            let needed = first + listed.len() + (self.inputs.len() - place - 1);
            let listed = if needed <= usize::from(u16::MAX) { listed } else { Vec::new() };
            let count = listed.len().max(1);
            let number = |number| u16::try_from(number).unwrap_or(u16::MAX);
            self.numbers.push((number(first), number(count)));
            if listed.is_empty() {
                self.names.push(name);
            } else {
                self.names.extend(listed);
            }
        }
    }

    /// The inputs that the capture at this place lists, if it is an extract of several. What cannot be opened twice, and is
    /// read at once, stays open.
    fn listed_by(&mut self, place: usize) -> Vec<Arc<str>> {
        let (is_at_once, several) =
            (place == 0 || self.order == Order::Time, self.inputs.len() > 1);
        let Some(state) = self.inputs.get_mut(place) else { return Vec::new() };
        let InputState::Waiting(input) = &*state else { return Vec::new() };
        match input {
            Input::Path(path) if path.is_file() => {
                let opened = CaptureFile::open(path, 0);
                return opened.map(|mut capture| capture.listed_inputs()).unwrap_or_default();
            }
            _ if !is_at_once => return Vec::new(),
            // It is an error when its turn has come.
            Input::Path(path) if path.is_dir() || !path.exists() => return Vec::new(),
            Input::Path(_) | Input::Stream { .. } => {}
        }
        let InputState::Waiting(input) = std::mem::replace(state, InputState::Done) else {
            return Vec::new();
        };
        let (again, number) = (input.path(), u16::try_from(place).unwrap_or(u16::MAX));
        match input.open(number, (&self.helpers, several), &self.counter) {
            Ok(mut capture) => {
                let listed = capture.listed_inputs();
                *state = InputState::Opened(Box::new(capture));
                listed
            }
            Err(_) => {
                *state =
                    again.map_or(InputState::Done, |path| InputState::Waiting(Input::Path(path)));
                Vec::new()
            }
        }
    }

    /// Number of the first input of a capture.
    fn first_input(&self, place: u16) -> u16 {
        self.numbers.get(usize::from(place)).map_or(place, |(first, _)| *first)
    }

    /// The regular files among the inputs, with their places; none if the inputs are not merged by time.
    pub(crate) fn files_by_time(&self) -> Vec<(u16, PathBuf)> {
        let numbered = (0..).zip(&self.inputs).filter(|_| self.order == Order::Time);
        let files = numbered.filter_map(|(input, state)| match state {
            InputState::Waiting(Input::Path(path)) if path.is_file() => Some((input, path.clone())),
            _ => None,
        });
        files.collect()
    }

    /// Adds so many nanoseconds to the times of the capture at this place, which was not opened yet.
    pub(crate) fn shift(&mut self, place: u16, nanos: i64) {
        self.shifts.insert(place, nanos);
    }

    /// Reports this of the capture at this place before the first frame.
    pub(crate) fn note(&mut self, place: u16, kind: NoticeKind, detail: String) {
        self.number_inputs();
        let after = FrameRef { input: self.first_input(place), number: 0 };
        self.notices.push_back(Notice { after, kind, offset: 0, skipped: Some(0), detail });
    }

    /// The next item of any input; `None` when all have ended.
    #[inline(always)] // part of the loop over frames: the frame stays in registers
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        // In nearly all cases a complete frame of the current input is in its buffer, and precedes those of all
        // other inputs.
        match self.current.as_mut().and_then(|capture| capture.step()) {
            Some(record) if record.at < self.horizon => {
                self.current.as_ref().map(|capture| Item::Frame(capture.frame(record)))
            }
            stepped => self.seek_item(stepped),
        }
    }

    #[inline(never)]
    fn seek_item(&mut self, stepped: Option<FrameRecord>) -> Option<Item<'_>> {
        let next = self.seek(stepped)?;
        match next {
            NextItem::Failed(place, error) => {
                return Some(Item::Failed { input: self.first_input(place), error });
            }
            NextItem::Noted(notice) => return Some(Item::Notice(notice)),
            NextItem::Frame | NextItem::Other(_) => {}
        }
        let capture = self.current.as_ref()?;
        Some(match next {
            NextItem::Other(other) => capture.item(other),
            NextItem::Frame | NextItem::Failed(..) | NextItem::Noted(_) => {
                Item::Frame(capture.found())
            }
        })
    }

    /// The current input waits until its frame, of time `at`, is next.
    fn defer(&mut self, at: Timestamp) {
        let Some(capture) = self.current.take() else { return };
        let input = capture.place();
        self.due.push(Reverse((at, input)));
        self.put(input, InputState::Open(capture));
    }

    fn put(&mut self, input: u16, state: InputState) {
        if let Some(place) = self.inputs.get_mut(usize::from(input)) {
            *place = state;
        }
    }

    /// Makes `input` the current one, and opens it if it is not open. Returns whether its next frame was found
    /// already.
    fn make_current(&mut self, input: u16) -> Result<bool, Error> {
        let horizon = self.horizon_of(input);
        let numbers = self.numbers.get(usize::from(input)).copied();
        let Some(place) = self.inputs.get_mut(usize::from(input)) else { return Ok(false) };
        let (mut capture, is_found) = match std::mem::replace(place, InputState::Current) {
            InputState::Open(capture) => (capture, true),
            InputState::Opened(capture) => (capture, false),
            InputState::Waiting(waiting) => {
                let several = self.inputs.len() > 1;
                match waiting.open(input, (&self.helpers, several), &self.counter) {
                    Ok(mut capture) => {
                        capture.set_shift(self.shift_of(input));
                        (Box::new(capture), false)
                    }
                    Err(e) => {
                        self.put(input, InputState::Done);
                        return Err(e);
                    }
                }
            }
            as_before => {
                *place = as_before;
                return Ok(false);
            }
        };
        if let Some((first, count)) = numbers.filter(|_| !is_found) {
            capture.number_inputs(first, count);
        }
        (self.current, self.horizon) = (Some(capture), horizon);
        if !is_found {
            self.open_next();
        }
        Ok(is_found)
    }

    /// Opens the file after the current one, so that a thread that is free reads the start of it meanwhile.
    fn open_next(&mut self) {
        let Some(Reverse((_, next))) = self.due.peek().filter(|_| self.helpers.has_free()) else {
            return;
        };
        let (next, helpers) = (*next, (&self.helpers, true));
        // A file that cannot be opened is an error when its turn has come.
        if let Some(InputState::Waiting(Input::Path(path))) = self.inputs.get(usize::from(next))
            && let Ok(mut capture) = CaptureFile::open_with(path, next, helpers, &self.counter)
        {
            capture.set_shift(self.shift_of(next));
            self.put(next, InputState::Opened(Box::new(capture)));
        }
    }

    fn shift_of(&self, input: u16) -> i64 {
        self.shifts.get(&input).copied().unwrap_or(0)
    }

    /// The time before which all items are of `input`.
    fn horizon_of(&self, input: u16) -> Timestamp {
        if !self.waiting.is_empty() && self.order == Order::Time {
            return Timestamp::default();
        }
        // At the same time, in the order given.
        self.due.peek().map_or(Timestamp(u64::MAX), |Reverse((at, other))| {
            Timestamp(at.0.saturating_add(u64::from(input < *other)))
        })
    }

    /// The current input has no more items.
    fn close_current(&mut self) {
        if let Some(capture) = self.current.take() {
            let input = capture.place();
            capture.add_drops(&mut self.drops);
            self.until = self.until.max(capture.until());
            self.put(input, InputState::Done);
        }
    }

    /// Finds the next item if it is not simply the next frame of the current input: `stepped` is the frame in its
    /// buffer, if any, which has to wait for another input.
    #[inline(never)]
    fn seek(&mut self, stepped: Option<FrameRecord>) -> Option<NextItem> {
        if self.numbers.is_empty() {
            self.number_inputs();
        }
        // Nothing was read before the first of them.
        if let Some(notice) = self.notices.pop_front() {
            return Some(NextItem::Noted(notice));
        }
        if let (Some(capture), Some(record)) = (&mut self.current, stepped) {
            let at = record.at;
            capture.keep(record);
            self.defer(at);
        }
        loop {
            // Only now is the current input read further, so that a pipe is not asked for more than is wanted.
            if let Some(capture) = &mut self.current {
                match capture.advance() {
                    Ok(Advance::Other(other)) => return Some(NextItem::Other(other)),
                    Ok(Advance::Frame(at)) if at < self.horizon => return Some(NextItem::Frame),
                    Ok(Advance::Frame(at)) => self.defer(at),
                    Ok(Advance::End) => self.close_current(),
                    Err(e) => {
                        let input = capture.place();
                        self.close_current();
                        return Some(NextItem::Failed(input, e));
                    }
                }
                continue;
            }
            let waiting = self.next_waiting();
            let due = || self.due.pop().map(|Reverse((_, input))| input);
            let input = waiting.or_else(due)?;
            match self.make_current(input) {
                Ok(true) => return Some(NextItem::Frame),
                Ok(false) => {}
                Err(e) => return Some(NextItem::Failed(input, e)),
            }
        }
    }

    /// The next input that must be opened before another item can be returned. Inputs whose first time can be read
    /// without keeping them open are put into `due` instead.
    fn next_waiting(&mut self) -> Option<u16> {
        if self.order == Order::Given && !self.due.is_empty() {
            return None;
        }
        let several = self.inputs.len() > 1 && self.order == Order::Time;
        for input in self.waiting.by_ref() {
            match self.inputs.get(usize::from(input)) {
                Some(InputState::Waiting(Input::Path(path))) if several && path.is_file() => {
                    let first = first_time(path);
                    let first = first.shifted(self.shifts.get(&input).copied().unwrap_or(0));
                    self.due.push(Reverse((first, input)));
                }
                _ => return Some(input),
            }
        }
        None
    }
}

impl Input {
    /// Its path, if it has one.
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Path(path) => Some(path.clone()),
            Self::Stream { .. } => None,
        }
    }

    fn open(
        self,
        input: u16,
        helpers: (&ReadThreads, bool),
        counter: &ReadCounter,
    ) -> Result<CaptureFile, Error> {
        match self {
            Self::Path(path) => CaptureFile::open_with(&path, input, helpers, counter),
            Self::Stream { name, source } => {
                Ok(CaptureFile::from_reader(name, input, Box::new(counter.count(source))))
            }
        }
    }
}

/// Time of the first frame of the file; the beginning of time if it begins with a notice, which then comes first.
fn first_time(path: &Path) -> Timestamp {
    let Ok(mut capture) = CaptureFile::open(path, 0) else { return Timestamp::default() };
    loop {
        match capture.advance() {
            Ok(Advance::Frame(at)) => return at,
            // Declarations at the start of a file have no time.
            Ok(Advance::Other(
                Other::Names | Other::Secrets | Other::Interface(_) | Other::Pause,
            )) => {}
            _ => return Timestamp::default(),
        }
    }
}

impl Source for Inputs {
    #[inline(always)] // the loop over frames, specialised for its receiver
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        loop {
            // The fast path of `next_item`, without an item between the frame and its receiver.
            let flow = match self.current.as_mut().and_then(|capture| capture.step()) {
                Some(record) if record.at < self.horizon => {
                    let Some(capture) = &self.current else { return Ok(Progress::End) };
                    receiver.on_frame(&capture.frame(record))
                }
                stepped => match self.seek_item(stepped) {
                    Some(item) => receiver.on_item(item),
                    // Time went on behind the last frame of an extract.
                    None => return Ok(self.until.take().map_or(Progress::End, Progress::Idle)),
                },
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

    use super::super::samples::{PcapBuilder, PcapngBuilder};
    use super::super::save::{Encoder, InterfaceInfo, SaveFormat};
    use super::super::{Endian, Frame, LinkType};
    use super::*;
    use crate::packet::FrameRef;

    fn stream(seconds: &[u32]) -> Input {
        let mut pcap = PcapBuilder::file(Endian::Little, 0xa1b2_c3d4, 1);
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

    /// The same, and the inputs that failed.
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
                let mut pcap = PcapBuilder::file(Endian::Big, 0xa1b2_c3d4, 1);
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
            let mut pcapng = PcapngBuilder::section(Endian::Big);
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
        let mut pcapng = PcapngBuilder::section(Endian::Big);
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

    /// An extract of inputs of these names, with a frame of each at second 1, 2, ...
    fn extract_of(names: &[&str]) -> Vec<u8> {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let (mut encoder, mut out) = (Encoder::new(SaveFormat::Extract), Vec::new());
        encoder.begin("", &names, &mut out);
        for input in 0..names.len() as u16 {
            let frame = Frame {
                id: FrameRef { input, number: 48 },
                at: Timestamp::new(u64::from(input) + 1, 0),
                link: LinkType::ETHERNET,
                interface: None,
                wire_len: 0,
                bytes: &[],
                comments: &[],
            };
            encoder.frame(&frame, [], InterfaceInfo::default, &mut out).unwrap();
        }
        out
    }

    fn stream_of(bytes: Vec<u8>) -> Input {
        Input::Stream { name: "extract".into(), source: Box::new(std::io::Cursor::new(bytes)) }
    }

    #[test]
    fn an_extract_of_several_is_read_in_place_of_these() {
        let folder = std::env::temp_dir().join(format!("beamscope-several-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("extract.pcapng");
        std::fs::write(&file, extract_of(&["a", "b"])).unwrap();
        let given = || {
            let missing = Input::Path("/no/such/file".into());
            vec![
                missing,
                Input::Path(file.clone()),
                stream(&[2]),
                stream_of(extract_of(&["c", "d"])),
            ]
        };
        let mut inputs = Inputs::new(given(), Order::Time).unwrap();
        assert_eq!(inputs.names(), ["/no/such/file", "a", "b", "sample", "c", "d"].map(Arc::from));
        let (found, failed) = order_and_failures(&mut inputs);
        // At the same time, in the order given.
        assert_eq!(found, [(1, 48), (4, 48), (2, 48), (3, 1), (5, 48)]);
        assert_eq!(failed, [0]);
        // A pipe that is not read at once is not opened for its names.
        let mut inputs = Inputs::new(given(), Order::Given).unwrap();
        let (found, failed) = order_and_failures(&mut inputs);
        assert_eq!(
            (&*found, &*failed),
            (&[(1, 48), (2, 48), (3, 1), (4, 1), (4, 2)][..], &[0][..])
        );
        assert_eq!(inputs.names().len(), 5);
        // Behind it, a packet without options, as other programs write them.
        let mut file = PcapngBuilder { endian: Endian::Little, bytes: extract_of(&["c", "d"]) };
        file.packet(0, 9_000_000_000, b"");
        let mut alone = Inputs::new(vec![stream_of(file.bytes)], Order::Given).unwrap();
        assert_eq!(order(&mut alone), [(0, 48), (1, 48), (0, 49)]);
        assert_eq!(alone.names(), ["c", "d"].map(Arc::from));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_extract_of_more_inputs_than_can_be_numbered_is_one_input() {
        let names = vec!["x"; 60_000];
        let extract = extract_of(&names);
        let given = vec![stream_of(extract.clone()), stream_of(extract), stream(&[9])];
        let mut inputs = Inputs::new(given, Order::Time).unwrap();
        assert_eq!(inputs.names().len(), 60_002);
        assert_eq!(&*inputs.names()[60_000], "extract");
        let numbers: Vec<_> = order(&mut inputs).into_iter().filter(|id| id.0 >= 60_000).collect();
        assert_eq!((numbers.len(), numbers.last()), (60_001, Some(&(60_000, 60_000))));
        assert!(numbers.contains(&(60_001, 1)));
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
