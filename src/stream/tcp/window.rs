//! Receive windows, and bytes that wait to be acknowledged.

use super::TcpDirection;
use crate::decode::Segment;
use crate::packet::PacketRef;
use crate::time::{Timestamp, micros};

/// A period in which one side announced a receive window of zero, so that the other could not send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ClosedWindow {
    /// Its first segment with a window of zero.
    pub(crate) since: PacketRef,
    /// Duration in microseconds, so far.
    pub(crate) lasted_us: u64,
    /// Whether that side sent bytes of its own meanwhile.
    pub(crate) sent_bytes: bool,
}

impl TcpDirection {
    /// Since when bytes of it wait to be acknowledged; `None` when none do.
    pub(crate) fn unanswered(&self) -> Option<Timestamp> {
        // Their acknowledgement may have come before them, where the capture is out of order.
        let waits = self.stream.acked().is_none_or(|acked| acked < self.stream.end());
        self.unanswered.filter(|_| waits)
    }

    /// Since when bytes of it wait to be acknowledged, if it has not sent them again: they may not be its own.
    pub(crate) fn in_doubt_since(&self) -> Option<Timestamp> {
        let since = self.unanswered()?;
        let is_again = self.stream.resent().is_some_and(|resent| resent.last.at >= since);
        (!is_again).then_some(since)
    }

    /// The longest period in which it announced a window of zero.
    pub(crate) const fn longest_closed_window(&self) -> Option<ClosedWindow> {
        self.longest_closed_window
    }

    /// Whether the window that it announces is zero.
    pub(crate) const fn is_window_closed(&self) -> bool {
        self.closed_window.is_some()
    }

    /// When bytes were last sent, new or again, before `until`.
    pub(crate) fn last_bytes(&self, until: Timestamp) -> Option<Timestamp> {
        self.bytes_at.iter().flatten().copied().filter(|at| *at <= until).max()
    }

    #[inline]
    pub(super) fn on_window(&mut self, segment: &Segment<'_>) {
        if segment.window == 0 || self.closed_window.is_some() {
            self.on_closed_window(segment);
        }
    }

    #[cold]
    fn on_closed_window(&mut self, segment: &Segment<'_>) {
        let is_closed = segment.window == 0 && !segment.flags.opens_or_closes();
        if !is_closed && self.closed_window.is_none() {
            return;
        }
        let since = PacketRef { frame: segment.frame, at: segment.at };
        let first = ClosedWindow { since, lasted_us: 0, sent_bytes: false };
        let mut window = self.closed_window.unwrap_or(first);
        window.lasted_us = micros(segment.at.since(window.since.at));
        window.sent_bytes |= is_closed && !segment.payload.is_empty();
        self.closed_window = is_closed.then_some(window);
        if self.longest_closed_window.is_none_or(|longest| window.lasted_us >= longest.lasted_us) {
            self.longest_closed_window = Some(window);
        }
    }

    #[inline]
    pub(super) fn on_bytes(&mut self, at: Timestamp) {
        self.unanswered.get_or_insert(at);
        let index = usize::from(self.bytes_at_next) % self.bytes_at.len();
        if let Some(entry) = self.bytes_at.get_mut(index) {
            *entry = Some(at);
        }
        self.bytes_at_next = self.bytes_at_next.wrapping_add(1);
    }
}
