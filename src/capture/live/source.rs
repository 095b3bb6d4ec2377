//! Interfaces as a source: their frames in the order of time, their drops, and the time up to which all frames were
//! given.
//!
//! In: interfaces, and a way to [wait](Wait) for them. Out: items. Only this file reads the wall clock, with which
//! the kernel stamps frames.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use super::timeline::Timeline;
use super::{Live, LiveStats};
use crate::capture::{Drops, Error, Frame, Interface, Item, Progress, Receiver, Source};
use crate::time::Timestamp;

/// Waits for packets, and knows when the user wants no more of them.
pub trait Wait: Send {
    /// Whether the capture is to end: packets that have reached the host by now are still given.
    fn is_stopped(&mut self) -> bool;

    /// Waits until one of `interfaces` can be read, or for the `longest` time. `true` ends the capture at once.
    ///
    /// # Errors
    ///
    /// The operating system does not let it wait.
    fn wait(&mut self, interfaces: &[Live], longest: Duration) -> io::Result<bool>;
}

/// The frames of some interfaces, until they are stopped.
pub struct LiveSource<W> {
    interfaces: Vec<Live>,
    wait: W,
    /// With several interfaces: puts their frames in order.
    timeline: Option<Timeline>,
    /// Age up to which a frame may still come although nothing waits in the ring.
    held_back: Duration,
    /// When the capture was stopped: later frames are not given.
    end: Option<Timestamp>,
    /// Whether more frames were at hand than were taken.
    is_busy: bool,
    /// Packets that interfaces dropped which are gone.
    gone: LiveStats,
    /// Packets dropped up to the last look.
    dropped: u64,
    looked_at: Timestamp,
}

impl<W: Wait> LiveSource<W> {
    /// Captures from `interfaces`, opened with the same options, whose frames are
    /// [held back](super::LiveOptions::held_back) for so long.
    pub fn new(interfaces: Vec<Live>, held_back: Duration, wait: W) -> Self {
        let several = interfaces.len() > 1;
        Self {
            timeline: several.then(|| Timeline::new(interfaces.len(), MOST_HELD)),
            interfaces,
            wait,
            held_back,
            end: None,
            is_busy: false,
            gone: LiveStats::default(),
            dropped: 0,
            looked_at: Timestamp::default(),
        }
    }

    /// Whether all frames were given that reached the host before the end.
    fn is_drained(&self) -> bool {
        self.end.is_some_and(|end| end.after(self.held_back) < now())
    }

    /// How long to wait for packets, or for a signal.
    const fn longest_wait(&self) -> Duration {
        match (self.is_busy, &self.timeline, self.end) {
            (true, ..) => Duration::ZERO,
            (false, None, None) => TICK,
            (false, ..) => HELD_TICK,
        }
    }

    /// Takes the frames that are at hand, up to [`BATCH`] of each interface.
    fn take(&mut self, receiver: &mut Open<'_, impl Receiver>) {
        let Self { interfaces, timeline, end, gone, .. } = self;
        receiver.end = *end;
        let mut is_busy = false;
        interfaces.retain_mut(|interface| {
            let mut last = Timestamp::default();
            let taken = interface.frames(BATCH, |frame| {
                last = frame.at;
                match timeline {
                    Some(timeline) => timeline.hold(frame),
                    None => receiver.give(frame),
                }
            });
            match taken {
                // Frames after the end are not waited for.
                Ok(more) => is_busy |= more && end.is_none_or(|end| last <= end),
                Err(error) => {
                    let input = interface.input();
                    receiver.item(Item::Failed { input, error });
                    *gone = gone.and(interface.stats());
                    if let Some(timeline) = timeline {
                        timeline.close(input);
                    }
                    return false;
                }
            }
            true
        });
        self.is_busy = is_busy;
        // While there is more, only the frames that no interface can precede are given.
        self.release(if is_busy { Timestamp(0) } else { now().before(self.held_back) }, receiver);
    }

    /// Gives the frames up to `until`, and those before which none can come.
    fn release(&mut self, until: Timestamp, receiver: &mut Open<'_, impl Receiver>) {
        if let Some(timeline) = &mut self.timeline {
            timeline.release(until, |frame| receiver.give(frame));
        }
    }

    /// Gives the items that are no frames: interfaces that went down or came up, and drops.
    fn look_around(&mut self, receiver: &mut Open<'_, impl Receiver>) {
        let now = now();
        self.looked_at = now;
        let mut total = self.gone;
        for live in &mut self.interfaces {
            let input = live.input();
            if let Some(is_up) = live.turn() {
                receiver.item(Item::InterfaceState { input, device: live.device(), is_up });
            }
            let stats = live.stats();
            total = total.and(stats);
            let interface = Interface {
                name: None,
                received: Some(stats.received),
                if_drop: Some(stats.if_dropped),
                os_drop: Some(stats.dropped),
            };
            receiver.item(Item::Interface { input, index: None, interface: &interface });
        }
        let dropped = total.dropped.saturating_add(total.if_dropped);
        let has_dropped = dropped > std::mem::replace(&mut self.dropped, dropped);
        receiver.item(Item::Drops(Drops {
            kernel: Some(total.dropped),
            interface: Some(total.if_dropped),
            until: has_dropped.then_some(now),
        }));
    }
}

impl<W: Wait> Source for LiveSource<W> {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        let receiver = &mut Open::new(receiver, self.end);
        let is_over = !self.is_busy && self.is_drained();
        if is_over || self.interfaces.is_empty() {
            self.release(Timestamp(u64::MAX), receiver);
            return Ok(Progress::End);
        }
        if self.end.is_none() && self.wait.is_stopped() {
            // Frames that arrived before now may still be in the ring buffer.
            self.end = Some(now());
        }
        let waited = self.wait.wait(&self.interfaces, self.longest_wait());
        let is_ended = waited.map_err(|source| Error::Wait { source })?;
        self.take(receiver);
        let time = now();
        if time < self.looked_at || time >= self.looked_at.after(TICK) {
            self.look_around(receiver);
        }
        if is_ended {
            self.release(Timestamp(u64::MAX), receiver);
            return Ok(Progress::End);
        }
        if self.is_busy {
            return Ok(Progress::More);
        }
        let until = time.before(self.held_back);
        Ok(Progress::Idle(self.end.map_or(until, |end| until.min(end))))
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        self.look_around(&mut Open::new(receiver, None));
    }
}

/// A receiver up to the end of the capture, or up to its break: libpcap cannot stop within a batch.
struct Open<'a, R> {
    receiver: &'a mut R,
    end: Option<Timestamp>,
    is_broken: bool,
}

impl<'a, R: Receiver> Open<'a, R> {
    const fn new(receiver: &'a mut R, end: Option<Timestamp>) -> Self {
        Self { receiver, end, is_broken: false }
    }

    #[inline]
    fn give(&mut self, frame: &Frame<'_>) {
        if !self.is_broken && self.end.is_none_or(|end| frame.at <= end) {
            self.is_broken = self.receiver.on_frame(frame) == ControlFlow::Break(());
        }
    }

    fn item(&mut self, item: Item<'_>) {
        if !self.is_broken {
            self.is_broken = self.receiver.on_item(item) == ControlFlow::Break(());
        }
    }
}

/// The wall clock, with which the kernel stamps frames.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs(), since.subsec_nanos().into())
}

/// Frames of one interface before the others, the signals and the clock have their turn: a few
/// milliseconds of work.
const BATCH: usize = 4096;

/// Bytes of frames that wait for those of other interfaces: twice what a link of 1 Gbit/s brings in the time
/// for which they wait.
const MOST_HELD: usize = 32 << 20;

/// Longest wait, and the time between two looks at the interfaces: events that depend on time alone are this late.
const TICK: Duration = Duration::from_millis(100);

/// Longest wait while frames are held until that time is over.
const HELD_TICK: Duration = Duration::from_millis(10);
