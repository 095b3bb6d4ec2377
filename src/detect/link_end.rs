//! How an established connection ended, as far as it shows that itself.
//!
//! In: the settled observation of a connection. Out: [`LinkEnd`]. A node that is stopped, one whose tick time differs,
//! and a path that is cut look alike to the peer; what the kernel of the silent side acknowledged, and whether that side
//! answered the close, tells them apart.

use std::time::Duration;

use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{CloseKind, Role};
use crate::packet::PacketRef;
use crate::time::micros;

/// How an established connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkEnd {
    /// One side closed after it had received nothing for as long as a node waits.
    Silent(Silence),
    /// What one side sent was not acknowledged; the verdict says which.
    Unacknowledged,
    /// A reset ended it.
    Reset {
        /// The side whose address sent the reset.
        by: Role,
        /// The packet with the reset.
        close: PacketRef,
        /// Whether the other side had sent bytes just before, as a node that exits would answer with a reset.
        is_busy: bool,
    },
    /// One side closed, and both had sent something just before.
    Closed {
        /// The side that closed.
        by: Role,
        /// The packet with the close.
        close: PacketRef,
    },
}

/// A silence after which the other side closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Silence {
    /// The side that closed.
    pub(super) closer: Role,
    /// Time from the last bytes of the silent side to the close.
    pub(super) lasted: Duration,
    /// Whether the host of the silent side sent segments without bytes meanwhile.
    pub(super) kernel: bool,
    /// Whether the silent side closed as soon as it received the close; `None` if the capture does not show it.
    pub(super) answers_close: Option<bool>,
    /// Time between two ticks of the side that closed; `None` if it sent no two ticks in a row.
    pub(super) period: Option<Duration>,
    /// Time between two ticks of the silent side.
    pub(super) own_period: Option<Duration>,
    /// Whether the side that closed had sent frames until shortly before.
    pub(super) closer_talks: bool,
}

impl LinkEnd {
    /// Of a settled connection; `None` if it was not established, or its end shows nothing.
    pub(super) fn of(session: &JudgedConnection) -> Option<Self> {
        if session.outcome() != Outcome::Connected {
            return None;
        }
        let seen = &session.seen;
        let unacknowledged = session.verdict.undelivered.as_ref().map(|_| Self::Unacknowledged);
        match (seen.close_kind()?, seen.closed_by().zip(seen.closed())) {
            (CloseKind::Fin, Some((by, close))) => {
                // A side whose bytes did not arrive was not silent.
                let lost = session.verdict.undelivered.as_ref();
                let silence = match lost.filter(|lost| lost.from != by) {
                    None => Silence::of(session, by, close).map(Self::Silent),
                    Some(_) => None,
                };
                silence.or(unacknowledged).or_else(|| {
                    let is_recent = time_since_bytes(session, by, close)? <= recent(session, by);
                    is_recent.then_some(Self::Closed { by, close })
                })
            }
            (CloseKind::Rst, Some((by, close))) if has_flowed(session) => {
                unacknowledged.or_else(|| {
                    let is_busy = may_be_end_of_node(session, by, close);
                    Some(Self::Reset { by, close, is_busy })
                })
            }
            (CloseKind::InputEnd | CloseKind::Idle, None) => unacknowledged,
            _ => None,
        }
    }
}

impl Silence {
    /// The silence of one side before the other closed with FIN, however short.
    pub(super) fn before_close(session: &JudgedConnection) -> Option<Self> {
        if session.outcome() != Outcome::Connected || session.verdict.undelivered.is_some() {
            return None;
        }
        let is_fin = session.seen.close_kind() == Some(CloseKind::Fin);
        let (by, close) = session.seen.closed_by().zip(session.seen.closed()).filter(|_| is_fin)?;
        Self::measure(session, by, close)
    }

    /// The silence of the other side before `closer` closed, if it is a reason to close.
    fn of(session: &JudgedConnection, closer: Role, close: PacketRef) -> Option<Self> {
        let silence = Self::measure(session, closer, close)?;
        let waits = silence.period.unwrap_or(DEFAULT_PERIOD) * PERIODS;
        // Allow 1/8 less: ticks and the peer's tick check run on independent timers.
        let is_due = silence.lasted + waits / 8 >= waits;
        (is_due || silence.is_stop_of_talker(session)).then_some(silence)
    }

    fn measure(session: &JudgedConnection, closer: Role, close: PacketRef) -> Option<Self> {
        let (sides, traffic) = (&session.seen.tcp.sides, &session.seen.traffic);
        let silent = closer.peer();
        let lasted = time_since_bytes(session, closer, close)?;
        let last_bytes = sides[silent].last_bytes?;
        let kernel = sides[silent]
            .last_segment
            .is_some_and(|segment| segment.since(last_bytes) * 2 >= lasted);
        let closer_talks =
            traffic[closer].last.is_some_and(|last| close.at.since(last.at) * 4 <= lasted);
        Some(Self {
            closer,
            lasted,
            kernel,
            answers_close: answers_close(session, silent, close),
            period: traffic[closer].tick_period,
            own_period: traffic[silent].tick_period,
            closer_talks,
        })
    }

    /// Whether a node that had always talked fell silent and did not run any more: a node that is busy sends no ticks,
    /// so its tick time does not show. A node that runs closes its side when the other one does.
    fn is_stop_of_talker(&self, session: &JudgedConnection) -> bool {
        let silent = &session.seen.traffic[self.closer.peer()];
        let talked = silent.frames >= TALKS
            && silent.longest_pause.is_some_and(|pause| pause.lasted_us * 4 <= micros(self.lasted));
        self.period.is_none()
            && self.answers_close == Some(false)
            && self.kernel
            && self.lasted >= SHORTEST_SILENCE
            && talked
            && self.closer_talks
    }
}

/// Time from the last bytes of the peer of `closer` to the close. `None` if bytes that the capture lacks may have been
/// sent later, or bytes that wait for a closed window to open were not sent yet.
fn time_since_bytes(
    session: &JudgedConnection,
    closer: Role,
    close: PacketRef,
) -> Option<Duration> {
    let sides = &session.seen.tcp.sides;
    let peer = &sides[closer.peer()];
    let stalled = sides[closer].stall.map_or(0, |stall| stall.lasted_us);
    let last = peer.last_bytes.filter(|_| peer.missing_bytes == 0 && stalled < micros(STALL))?;
    Some(close.at.since(last))
}

/// A healthy node without messages sends a tick in one tick period; the rest is for independent timers.
fn recent(session: &JudgedConnection, closer: Role) -> Duration {
    let period = session.seen.traffic[closer].tick_period.unwrap_or(DEFAULT_PERIOD);
    period + period / 2
}

/// Whether the side `silent` closed as soon as it received the FIN of the other.
fn answers_close(session: &JudgedConnection, silent: Role, close: PacketRef) -> Option<bool> {
    let seen = &session.seen;
    let side = &seen.tcp.sides[silent];
    if side.fin_unseen || seen.lost_until.is_some_and(|lost| lost >= close.at) {
        return None;
    }
    let trips = seen.tcp.round_trip.unwrap_or_default().min(AT_ONCE) * 2;
    match side.closed_at {
        Some(at) => Some(at.since(close.at) <= AT_ONCE + trips),
        None => (seen.at.since(close.at) > AT_ONCE + trips).then_some(false),
    }
}

/// Whether a reset can come from a node that exits: the last bytes that reached it were unread, so its kernel
/// sends RST instead of FIN (RFC 2525, section 2.17).
fn may_be_end_of_node(session: &JudgedConnection, closer: Role, close: PacketRef) -> bool {
    let tcp = &session.seen.tcp;
    let since = |role: Role| {
        let last = tcp.sides[role].last_bytes;
        last.map_or(Duration::MAX, |last| close.at.since(last))
    };
    if tcp.sides[closer].fin_unseen {
        return true;
    }
    if tcp.close.is_some_and(|close| close.is_answer) {
        // The bytes were in flight when it closed, and the capture may lack its FIN.
        since(closer) < IN_FLIGHT
    } else {
        since(closer.peer()) <= UNREAD
    }
}

/// Whether frames were exchanged. A reset before the first one is an aborted handshake.
fn has_flowed(session: &JudgedConnection) -> bool {
    session.seen.traffic.each().any(|(_, sent)| sent.messages + sent.ticks > 0)
}

/// Tick periods that have passed when a node closes: it does so at its fourth check without received data.
pub(super) const PERIODS: u32 = 3;

/// Time between two ticks with the default `net_ticktime` of 60 s.
pub(super) const DEFAULT_PERIOD: Duration = Duration::from_secs(15);

/// Fewer frames show no habit.
const TALKS: u64 = 5;

/// `net_ticktime` is a whole number of seconds, and nobody sets it as low as this.
pub(super) const SHORTEST_SILENCE: Duration = Duration::from_secs(3);

/// A node that runs reads the close of its peer and closes well within this time.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Bytes in flight to a side that closes arrive well within this time.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A node that is alive reads received bytes well within this time.
const UNREAD: Duration = Duration::from_secs(5);

/// A window that is closed for this long can delay ticks.
const STALL: Duration = Duration::from_secs(1);
