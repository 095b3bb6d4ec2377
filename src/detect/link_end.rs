//! How an established connection ended, as far as it shows that itself.
//!
//! In: the settled observation of a connection. Out: [`LinkEnd`]. A node that is stopped, one whose tick time differs,
//! and a path that is cut look alike to the peer; what the kernel of the silent side acknowledged, and whether that side
//! answered the close, distinguishes them.

use std::time::Duration;

use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{CloseKind, Role, SealedRecord};
use crate::packet::PacketRef;
use crate::time::micros;

/// How an established connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkEnd {
    /// One side closed after it had received nothing for as long as a node waits.
    Silent(LinkSilence),
    /// What one side sent was not acknowledged; the verdict has the details.
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
pub(super) struct LinkSilence {
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
                    None => LinkSilence::of(session, by, close).map(Self::Silent),
                    Some(_) => None,
                };
                silence.or(unacknowledged).or_else(|| {
                    let is_recent = time_since_bytes(session, by, close)? <= recent(session, by);
                    is_recent.then_some(Self::Closed { by, close })
                })
            }
            (CloseKind::Rst, Some((by, close))) if has_flowed(session) => {
                unacknowledged.or_else(|| {
                    // What was sent just before may be the reason, and not be in the capture.
                    if seen.lost_until.is_some_and(|lost| lost >= close.at) {
                        return None;
                    }
                    let is_busy = may_be_end_of_node(session, by, close);
                    Some(Self::Reset { by, close, is_busy })
                })
            }
            (CloseKind::InputEnd | CloseKind::Idle, None) => unacknowledged,
            _ => None,
        }
    }
}

/// The reset that ended a TLS connection on which data had passed, as [`LinkEnd::Reset`]. What TLS carries is not
/// visible, but its records behind the handshake are.
pub(super) fn tls_reset(session: &JudgedConnection) -> Option<LinkEnd> {
    if session.seen.close_kind() != Some(CloseKind::Rst)
        || session.verdict.undelivered.is_some()
        || !tls_has_flowed(session)
    {
        return None;
    }
    let (by, close) = session.seen.closed_by().zip(session.seen.closed())?;
    let is_busy = may_be_end_of_node(session, by, close);
    Some(LinkEnd::Reset { by, close, is_busy })
}

/// Whether nodes talked inside TLS: the order of the records shows that they connected; or, where the capture does not
/// have the handshake, both sides sent more encrypted records than one has.
pub(super) fn tls_has_flowed(session: &JudgedConnection) -> bool {
    let tls = &session.seen.tls;
    let has_many = || tls.each().all(|(_, side)| side.sealed.len() >= SealedRecord::KEPT);
    session.outcome() == Outcome::Tls
        && session.verdict.tls_alert.is_none_or(|alert| !alert.is_refusal())
        && (session.verdict.tls_link.is_some() || has_many())
}

impl LinkSilence {
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
    // The capture does not show what the other side had sent.
    if !tcp.both_seen || tcp.sides[closer.peer()].missing_bytes > 0 {
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

/// `net_ticktime` is a whole number of seconds, and is never set as low as this in practice.
pub(super) const SHORTEST_SILENCE: Duration = Duration::from_secs(3);

/// A node that runs reads the close of its peer and closes well within this time.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Bytes in flight to a side that closes arrive well within this time.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// A node that is alive reads received bytes well within this time.
const UNREAD: Duration = Duration::from_secs(5);

/// A window that is closed for this long can delay ticks.
const STALL: Duration = Duration::from_secs(1);

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::detect::tests::{Step, but};
    use crate::judge::Undelivered;
    use crate::judge::samples::{at, dial, in_the_void, mark};
    use crate::observe::{Observation, Occasion, PauseSpan, PerRole, Stall};

    pub(in crate::detect) const A: &str = "a@h1/10.0.0.1/1";
    pub(in crate::detect) const B: &str = "b@h2/10.0.0.2/2";
    pub(in crate::detect) const C: &str = "c@h3/10.0.0.3/3";

    pub(in crate::detect) fn session(step: &mut Step) -> &mut Observation {
        &mut step.session_mut().seen
    }

    /// The acceptor last sends at `last_sent`, and the initiator, which ticks every second, closes at `closed`, in
    /// milliseconds. The kernel of the acceptor acknowledges until then.
    pub(in crate::detect) fn closed(from: &str, to: &str, last_sent: u64, closed: u64) -> Step {
        but(dial(0, from, to).closed(closed, [closed, last_sent]), |session| {
            session.close(Role::Initiator, mark(closed));
            session.seen.traffic.initiator.ticks = 5;
            session.seen.traffic.initiator.tick_period = Some(Duration::from_secs(1));
            session.seen.traffic.initiator.last = Some(mark(closed));
            session.seen.tcp.sides.initiator.last_segment = Some(at(closed));
            session.seen.tcp.sides.acceptor.last_segment = Some(at(closed));
        })
    }

    pub(in crate::detect) fn reset(last_sent: u64, at: u64, is_answer: bool) -> Step {
        let mut event = closed(A, B, last_sent, at);
        let close = session(&mut event).tcp.close.as_mut().unwrap();
        (close.kind, close.is_answer) = (CloseKind::Rst, is_answer);
        session(&mut event).traffic.acceptor.messages = 5;
        event
    }

    /// The initiator's bytes of `since` are sent again until `end`, when the input ends.
    pub(in crate::detect) fn unacknowledged(from: &str, to: &str, since: u64, end: u64) -> Step {
        let mut event = closed(from, to, end, end);
        let seen = session(&mut event);
        (seen.occasion, seen.tcp.close) = (Occasion::End, None);
        seen.tcp.last = mark(end);
        event.session_mut().verdict.undelivered = Some(Box::new(in_the_void(since, end)));
        event
    }

    fn end(mut step: Step, change: impl FnOnce(&mut Observation)) -> Option<LinkEnd> {
        change(session(&mut step));
        LinkEnd::of(step.session())
    }

    fn is_silent(end: Option<LinkEnd>) -> bool {
        matches!(end, Some(LinkEnd::Silent(_)))
    }

    #[test]
    fn silence_for_three_tick_periods_is_a_reason_to_close() {
        assert!(is_silent(end(closed(A, B, 6000, 10_000), |_| {})));
        let closes = end(closed(A, B, 8900, 10_000), |_| {});
        assert!(matches!(closes, Some(LinkEnd::Closed { by: Role::Initiator, .. })), "{closes:?}");
        let unknown = end(closed(A, B, 6000, 10_000), |seen| {
            seen.traffic.initiator.tick_period = None;
        });
        assert!(!is_silent(unknown), "the tick time may be 60 s");
    }

    #[test]
    fn missing_bytes_and_a_closed_window_are_no_silence() {
        let lost = end(closed(A, B, 6000, 10_000), |seen| {
            seen.tcp.sides.acceptor.missing_bytes = 4;
        });
        let stalled = end(closed(A, B, 6000, 10_000), |seen| {
            let stall = Stall { since: mark(7000), lasted_us: 3_000_000, sent_bytes: true };
            seen.tcp.sides.initiator.stall = Some(stall);
        });
        assert_eq!((lost, stalled), (None, None));
    }

    /// The acceptor, which had a message to send every 100 ms, is silent for 8 s, and then the initiator closes, which
    /// never had the time to tick. The observation is made 2 s later.
    fn talker(change: impl FnOnce(&mut Observation)) -> Option<LinkEnd> {
        end(closed(A, B, 12_000, 20_000), |seen| {
            seen.at = at(22_000);
            seen.traffic.initiator.tick_period = None;
            seen.traffic.acceptor.frames = 100;
            let pause = PauseSpan { lasted_us: 100_000, since: mark(5000) };
            seen.traffic.acceptor.longest_pause = Some(pause);
            change(seen);
        })
    }

    #[test]
    fn a_talker_that_falls_silent_and_does_not_close_has_stopped() {
        assert!(is_silent(talker(|_| {})));
        let runs = talker(|seen| seen.tcp.sides.acceptor.closed_at = Some(at(20_001)));
        assert!(!is_silent(runs), "it closed when its peer did: it runs");
        assert!(!is_silent(talker(|seen| seen.at = at(20_100))), "it may still close");
        let pauses = talker(|seen| {
            let pause = PauseSpan { lasted_us: 7_000_000, since: mark(1000) };
            seen.traffic.acceptor.longest_pause = Some(pause);
        });
        assert!(!is_silent(pauses), "it was as silent before");
        assert!(!is_silent(talker(|seen| seen.lost_until = Some(at(20_500)))), "packets lack");
    }

    #[test]
    fn a_side_whose_bytes_did_not_arrive_was_not_silent() {
        let mut step = closed(A, B, 6000, 10_000);
        let lost = Undelivered { from: Role::Acceptor, ..in_the_void(3000, 9000) };
        step.session_mut().verdict.undelivered = Some(Box::new(lost));
        assert_eq!(LinkEnd::of(step.session()), Some(LinkEnd::Unacknowledged));
    }

    #[test]
    fn a_reset_just_after_bytes_may_be_the_end_of_a_node() {
        let is_busy = |step: Step| match LinkEnd::of(step.session()) {
            Some(LinkEnd::Reset { is_busy, .. }) => Some(is_busy),
            _ => None,
        };
        assert_eq!(is_busy(reset(1000, 60_000, false)), Some(false));
        assert_eq!(is_busy(reset(59_000, 60_000, false)), Some(true));
        let mut one_direction = reset(1000, 60_000, false);
        session(&mut one_direction).tcp.both_seen = false;
        let mut gap = reset(1000, 60_000, false);
        session(&mut gap).tcp.sides.acceptor.missing_bytes = 7;
        assert_eq!((is_busy(one_direction), is_busy(gap)), (Some(true), Some(true)));
        let answering = |last_sent: u64| {
            let mut step = reset(60_000, 60_000, true);
            session(&mut step).tcp.sides.initiator.last_bytes = Some(at(last_sent));
            is_busy(step)
        };
        assert_eq!((answering(50_000), answering(59_900)), (Some(false), Some(true)));
    }

    #[test]
    fn a_reset_before_the_first_frame_loses_no_connection() {
        let none = end(reset(9000, 10_000, false), |seen| seen.traffic = PerRole::default());
        assert!(none.is_none(), "{none:?}");
        for role in Role::BOTH {
            let one = end(reset(9000, 10_000, false), |seen| {
                seen.traffic = PerRole::default();
                seen.traffic[role].ticks = 1;
            });
            assert!(matches!(one, Some(LinkEnd::Reset { .. })), "{role:?}");
        }
    }
}
