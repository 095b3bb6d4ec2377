//! A bounded queue between the capture and a slow reader.
//!
//! In: rendered events, each with its [`Rank`]. Out: the same bytes, from a thread that may block on a slow
//! reader; the capture never does. When the queue is full, the events of the lowest rank are left out and
//! counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The importance of an event when the queue is full.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Rank {
    /// A message between connected nodes.
    Message,
    /// A step towards an outcome, such as a handshake message.
    Step,
    /// An outcome, or the state of a node.
    Record,
    /// A problem, or the statistics of the run.
    Finding,
}

impl Rank {
    const COUNT: usize = 4;

    const fn index(self) -> usize {
        match self {
            Self::Message => 0,
            Self::Step => 1,
            Self::Record => 2,
            Self::Finding => 3,
        }
    }
}

/// The sending end of the queue, which never blocks.
pub struct Queue<W> {
    shared: Arc<SharedQueue<W>>,
    /// Most bytes that the queue holds.
    most: usize,
}

/// The receiving end of the queue, for a thread of its own.
pub struct Backlog<W> {
    shared: Arc<SharedQueue<W>>,
    out: W,
}

struct SharedQueue<W> {
    state: Mutex<QueueState<W>>,
    /// Signals that the queue has lines, or is closed.
    ready: Condvar,
    /// Signals that lines were written.
    progress: Condvar,
}

struct QueueState<W> {
    /// Lines by rank, each in order.
    lines: [VecDeque<QueuedLine>; Rank::COUNT],
    /// Bytes in these lines, and in the block being written.
    bytes: usize,
    /// Sequence number of the next line.
    next: u64,
    /// Destination of the lines from this sequence number on.
    replacement: Option<(u64, W)>,
    left_out: u64,
    /// True once no more lines can come.
    closed: bool,
    /// True once the thread has ended its work.
    done: bool,
    /// Number of bytes written so far.
    written: u64,
    failed: bool,
    error: Option<io::Error>,
}

struct QueuedLine {
    place: u64,
    text: Box<[u8]>,
}

/// Memory of a line besides its bytes.
const OVERHEAD: usize = 64;

/// Bytes of one write call.
const BLOCK: usize = 64 << 10;

impl QueuedLine {
    fn cost(&self) -> usize {
        self.text.len().saturating_add(OVERHEAD)
    }
}

/// A queue that ends in `out` and holds at most `most` bytes.
pub fn queue<W: Write>(out: W, most: usize) -> (Queue<W>, Backlog<W>) {
    let state = QueueState {
        lines: Default::default(),
        bytes: 0,
        next: 0,
        replacement: None,
        left_out: 0,
        closed: false,
        done: false,
        written: 0,
        failed: false,
        error: None,
    };
    let shared = Arc::new(SharedQueue {
        state: Mutex::new(state),
        ready: Condvar::new(),
        progress: Condvar::new(),
    });
    (Queue { shared: Arc::clone(&shared), most }, Backlog { shared, out })
}

impl<W> SharedQueue<W> {
    /// Locks the state; a panic of another thread leaves it valid.
    fn lock(&self) -> MutexGuard<'_, QueueState<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Queue<W> {
    /// Adds one event. If the queue is full, events of lower rank are left out for it, the newest first; if
    /// there are none, the event itself is.
    pub(super) fn push(&self, rank: Rank, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        let line = QueuedLine { place: state.next, text: text.into() };
        state.next += 1;
        while state.bytes.saturating_add(line.cost()) > self.most {
            if !state.leave_out_below(rank) {
                state.left_out += 1;
                return;
            }
        }
        state.bytes += line.cost();
        if let Some(lines) = state.lines.get_mut(rank.index()) {
            lines.push_back(line);
        }
    }

    /// Wakes the writer thread.
    pub(super) fn flush(&self) {
        self.shared.ready.notify_one();
    }

    /// Writes all later events to `out`.
    pub(super) fn replace(&self, out: W) {
        let mut state = self.shared.lock();
        let place = state.next;
        // After a second replacement before the first is in effect, the lines between go to the old one.
        state.replacement = Some((place, out));
        drop(state);
        self.flush();
    }

    /// Number of events left out so far.
    pub(super) fn left_out(&self) -> u64 {
        self.shared.lock().left_out
    }

    /// True if the queue is more than half full.
    pub(super) fn is_behind(&self) -> bool {
        self.shared.lock().bytes > self.most / 2
    }

    /// True if a write has failed.
    pub(super) fn failed(&self) -> bool {
        self.shared.lock().failed
    }

    /// Waits until all is written. Gives up after `patience` without progress.
    ///
    /// # Errors
    ///
    /// A write failed, or the reader has stopped.
    pub(super) fn finish(self, patience: Duration) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.closed = true;
        self.shared.ready.notify_one();
        while !state.done {
            let written = state.written;
            let waited = self.shared.progress.wait_timeout_while(state, patience, |state| {
                !state.done && state.written == written
            });
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() && !state.done && state.written == written {
                let unread = "the reader has stopped; the last events are not written";
                return Err(io::Error::new(io::ErrorKind::TimedOut, unread));
            }
        }
        state.error.take().map_or(Ok(()), Err)
    }
}

impl<W> QueueState<W> {
    /// Drops the newest line of the lowest rank below `rank`. False if there is none.
    fn leave_out_below(&mut self, rank: Rank) -> bool {
        let least = self.lines.iter_mut().take(rank.index()).find(|lines| !lines.is_empty());
        let Some(line) = least.and_then(VecDeque::pop_back) else { return false };
        self.bytes = self.bytes.saturating_sub(line.cost());
        self.left_out += 1;
        true
    }

    /// Moves lines with the same destination into `block`, in order. Returns the memory they had.
    fn take(&mut self, block: &mut Vec<u8>) -> usize {
        let end = self.replacement.as_ref().map_or(u64::MAX, |(place, _)| *place);
        let mut cost = 0;
        while block.len() < BLOCK {
            let first = self.lines.iter_mut().filter(|lines| !lines.is_empty());
            let first = first.min_by_key(|lines| lines.front().map(|line| line.place));
            let Some(lines) = first else { break };
            if lines.front().is_none_or(|line| line.place >= end) {
                break;
            }
            let Some(line) = lines.pop_front() else { break };
            block.extend_from_slice(&line.text);
            cost += line.cost();
        }
        cost
    }

    fn has_work(&self) -> bool {
        self.replacement.is_some() || self.lines.iter().any(|lines| !lines.is_empty())
    }
}

impl<W: Write> Backlog<W> {
    /// Writes lines until the queue is closed or a write fails.
    pub fn write(mut self) {
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            let state = self.shared.lock();
            let waited = self.shared.ready.wait_while(state, |s| !s.has_work() && !s.closed);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            block.clear();
            let cost = state.take(&mut block);
            let replacement = if block.is_empty() { state.replacement.take() } else { None };
            let is_over = block.is_empty() && replacement.is_none() && state.closed;
            drop(state);
            if let Some((_, out)) = replacement {
                self.out = out;
                continue;
            }
            let written = self.out.write_all(&block).and_then(|()| self.out.flush());
            let mut state = self.shared.lock();
            state.bytes = state.bytes.saturating_sub(cost);
            state.written = state.written.saturating_add(block.len() as u64);
            state.failed = written.is_err();
            state.done = is_over || state.failed;
            state.error = written.err();
            let done = state.done;
            drop(state);
            self.shared.progress.notify_one();
            if done {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// Keeps the written bytes for the test.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    fn written(fill: impl FnOnce(&Queue<Kept>), most: usize) -> (String, u64) {
        let kept = Kept::default();
        let (queue, backlog) = queue(kept.clone(), most);
        fill(&queue);
        let left_out = queue.left_out();
        let writer = thread::spawn(|| backlog.write());
        queue.finish(PATIENCE).unwrap();
        writer.join().unwrap();
        (kept.text(), left_out)
    }

    #[test]
    fn events_keep_their_order_whatever_their_rank() {
        let (text, left_out) = written(
            |queue| {
                queue.push(Rank::Finding, b"a");
                queue.push(Rank::Step, b"b");
                queue.push(Rank::Record, b"c");
                queue.push(Rank::Step, b"d");
            },
            1 << 20,
        );
        assert_eq!((text.as_str(), left_out), ("abcd", 0));
    }

    #[test]
    fn a_full_queue_leaves_out_the_lowest_rank_first_and_counts() {
        let room = 4 * (OVERHEAD + 1);
        let (text, left_out) = written(
            |queue| {
                queue.push(Rank::Step, b"1");
                queue.push(Rank::Record, b"2");
                queue.push(Rank::Step, b"3");
                queue.push(Rank::Record, b"4");
                queue.push(Rank::Step, b"5"); // no room, nothing of lower rank
                queue.push(Rank::Finding, b"6"); // in place of 3
                queue.push(Rank::Record, b"7"); // in place of 1
                queue.push(Rank::Finding, b"8"); // in place of 7
                queue.push(Rank::Record, b"9"); // none
            },
            room,
        );
        assert_eq!((text.as_str(), left_out), ("2468", 5));
    }

    #[test]
    fn events_after_a_replacement_go_to_the_new_destination() {
        let (old, new) = (Kept::default(), Kept::default());
        let (queue, backlog) = queue(old.clone(), 1 << 20);
        queue.push(Rank::Record, b"old");
        queue.replace(new.clone());
        queue.push(Rank::Finding, b"new");
        let writer = thread::spawn(|| backlog.write());
        queue.finish(PATIENCE).unwrap();
        writer.join().unwrap();
        assert_eq!((old.text().as_str(), new.text().as_str()), ("old", "new"));
    }

    /// Blocks until the test ends.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stopped_reader_blocks_the_end_for_a_limited_time() {
        let (release, stuck) = mpsc::channel();
        let (queue, backlog) = queue(Stuck(stuck), 1 << 10);
        let writer = thread::spawn(|| backlog.write());
        for _ in 0..100 {
            queue.push(Rank::Record, &[b'x'; 100]);
            queue.flush();
        }
        assert!(queue.left_out() > 0);
        let ended = queue.finish(Duration::from_millis(20));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(release);
        writer.join().unwrap();
    }

    #[test]
    fn a_failed_write_is_reported_to_the_sender() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (queue, backlog) = queue(Broken, 1 << 10);
        queue.push(Rank::Record, b"x");
        thread::spawn(|| backlog.write()).join().unwrap();
        assert!(queue.failed());
        assert_eq!(queue.finish(PATIENCE).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
