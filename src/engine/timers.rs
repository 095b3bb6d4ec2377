//! Timers of connections: when each has to be looked at although no packet comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::flow::FlowId;
use crate::time::Timestamp;

/// Timers in capture time, the earliest first.
///
/// A timer cannot be cancelled: a connection remembers the one that counts, and a timer that is not that one is
/// ignored when it fires.
#[derive(Debug)]
pub(super) struct Timers {
    queue: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
    /// Before this time no timer fires: one comparison for each packet in place of a look into the queue.
    wake_at: Timestamp,
}

impl Timers {
    pub(super) const fn new() -> Self {
        Self { queue: BinaryHeap::new(), wake_at: Timestamp(u64::MAX) }
    }

    /// Whether something is due at `now`.
    #[inline(always)]
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.wake_at
    }

    /// The first timer that is due at `now`, which is then no longer queued.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, FlowId)> {
        let Reverse((due, _)) = *self.queue.peek()?;
        if due > now {
            return None;
        }
        self.queue.pop().map(|Reverse(timer)| timer)
    }

    /// Nothing is due before the first timer of the queue.
    pub(super) fn sleep(&mut self) {
        self.wake_at = self.queue.peek().map_or(Timestamp(u64::MAX), |Reverse((due, _))| *due);
    }

    /// Something is due with the next packet, and with each one until [`Self::sleep`].
    pub(super) const fn stay_awake(&mut self) {
        self.wake_at = Timestamp(0);
    }

    /// Queues a timer of the connection `id`. One at the latest time there is would be due behind that, which never comes.
    pub(super) fn set(&mut self, due: Timestamp, id: FlowId) {
        if due == Timestamp(u64::MAX) {
            return;
        }
        self.queue.push(Reverse((due, id)));
        self.wake_at = self.wake_at.min(due);
    }

    /// Drops the timers that no longer count, once they are the most of all: an obsolete one may be hours ahead.
    /// `connections` is the number of those that may have one.
    pub(super) fn prune(&mut self, connections: usize, counts: impl Fn(Timestamp, FlowId) -> bool) {
        if self.queue.len() > TIMERS_KEPT.max(connections.saturating_mul(4)) {
            self.queue.retain(|Reverse((due, id))| counts(*due, *id));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// With fewer timers than this, none is dropped: they take 64 KiB.
const TIMERS_KEPT: usize = 4096;

/// The shortest time between two looks at a connection for which no packet comes.
pub(super) const SHORTEST_TIMER: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let mut table = crate::flow::FlowTable::new(1);
        let (id, _) = table.insert(crate::flow::FlowKey::default(), ());
        let mut timers = Timers::new();
        assert!(!timers.is_due(Timestamp(u64::MAX - 1)));
        timers.set(Timestamp(20), id);
        timers.set(Timestamp(10), id);
        assert!(!timers.is_due(Timestamp(9)) && timers.is_due(Timestamp(10)));
        assert_eq!(timers.pop(Timestamp(15)), Some((Timestamp(10), id)));
        assert_eq!(timers.pop(Timestamp(15)), None);
        timers.sleep();
        assert!(!timers.is_due(Timestamp(19)) && timers.is_due(Timestamp(20)));
    }

    #[test]
    fn a_time_behind_the_latest_one_never_comes() {
        let mut table = crate::flow::FlowTable::new(1);
        let (id, _) = table.insert(crate::flow::FlowKey::default(), ());
        let mut timers = Timers::new();
        timers.set(Timestamp(u64::MAX), id);
        assert_eq!(timers.pop(Timestamp(u64::MAX)), None);
    }
}
