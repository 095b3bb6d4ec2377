//! Timestamps of segments, and those that are too old.
//!
//! A receiver drops a segment whose timestamp is older than one that it has taken (RFC 7323, section 5). Its own segments
//! repeat a timestamp that it has taken, so they show this: also where the capture has segments in another order than they
//! arrived.

use std::time::Duration;

use super::{TcpConnection, TcpDirection};
use crate::decode::{Segment, TcpFlags};
use crate::stream::SeqNum;
use crate::time::Timestamp;

/// The latest timestamps of one direction. Others may rewrite them on the way, so that those of one input are compared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    sent: Option<Stamp>,
    /// The latest that the other side has repeated.
    taken: Option<Stamp>,
}

/// A timestamp, and the segment that has it.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    value: u32,
    input: u16,
    at: Timestamp,
}

impl Stamp {
    /// Whether it is later than `before`, or as late. They wrap around.
    const fn is_from(self, before: u32) -> bool {
        self.value.wrapping_sub(before) <= LARGEST_STEP
    }
}

/// Keeps the later of two timestamps of one input.
fn keep_latest(known: &mut Option<Stamp>, stamp: Stamp) {
    if known.is_none_or(|known| known.input == stamp.input && stamp.is_from(known.value)) {
        *known = Some(stamp);
    }
}

impl TcpConnection {
    /// Notes the timestamps of a segment that came the way of those before it.
    pub(super) fn note_stamps(&mut self, segment: &Segment<'_>) {
        let Some((value, repeated)) = segment.timestamps() else { return };
        let flags = segment.flags;
        if flags.has(TcpFlags::RST) || !self.side(segment.direction).has_usual_ttl(segment.ttl) {
            return;
        }
        let stamp = Stamp { value, input: segment.frame.input, at: segment.at };
        keep_latest(&mut self.sides[segment.direction].stamps.sent, stamp);
        let Stamps { sent, taken } = &mut self.sides[segment.direction.reverse()].stamps;
        let was_sent = sent.is_some_and(|sent| sent.input == stamp.input && sent.is_from(repeated));
        // With a zero a receiver compares nothing: some systems send it in the SYN.
        if flags.has(TcpFlags::ACK) && repeated != 0 && was_sent {
            keep_latest(taken, Stamp { value: repeated, ..stamp });
        }
    }

    /// Whether the receiver of a segment has taken a later timestamp, so that it drops the segment. It does not drop an RST,
    /// nor an acknowledgement alone, which may have come out of order.
    pub(super) fn is_too_old(&self, segment: &Segment<'_>) -> bool {
        let flags = segment.flags;
        let moves = segment.has_bytes() || flags.has(TcpFlags::FIN);
        if !moves || flags.has(TcpFlags::SYN) || flags.has(TcpFlags::RST) {
            return false;
        }
        let side = self.side(segment.direction);
        let Some(taken) = side.stamps.taken else { return false };
        let is_old = |(value, _): (u32, u32)| {
            taken.is_from(value) && taken.value.wrapping_sub(value) > TOLERATED
        };
        taken.input == segment.frame.input
            && segment.at >= taken.at
            && segment.at <= taken.at.after(LONGEST_VALID)
            && segment.timestamps().is_some_and(is_old)
            && !side.is_acknowledged(segment)
    }
}

impl TcpDirection {
    /// Whether the other side has acknowledged all bytes and the FIN of a segment, so that it may be a late copy.
    fn is_acknowledged(&self, segment: &Segment<'_>) -> bool {
        let sent = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let sent = sent
            .saturating_add(segment.missing)
            .saturating_add(segment.flags.has(TcpFlags::FIN).into());
        let end = self.stream.offset_of(SeqNum(segment.seq).plus(sent));
        end.is_none_or(|end| self.stream.acked().is_none_or(|acked| acked >= end))
    }
}

/// The step forward beyond which a timestamp is an earlier one.
const LARGEST_STEP: u32 = i32::MAX as u32;

/// Linux takes a segment that is older by one tick of its clock.
const TOLERATED: u32 = 1;

/// A timestamp that was taken longer ago is not compared (RFC 7323, section 5.5): a clock of microseconds, as Linux has
/// (`tcp_usec_ts`), comes halfway around in 35 minutes, and between the handshake and the close no timestamps are noted.
const LONGEST_VALID: Duration = Duration::from_secs(30 * 60);
