//! The verdict on one connection: a pure function of what was said, what TCP did, and the facts told.
//!
//! The verdict stands at the first close. What counts is what the closing side had heard by then, told by
//! its acknowledgement; what the other side sent after that changes nothing, except a refusal that
//! crossed it. What the capture does not show is `incomplete`, never a failure.

use std::borrow::Cow;
use std::time::Duration;

use super::dist::handshake::{Answer, Exchange, Seen};
use super::facts::Facts;
use crate::flow::Direction;
use crate::packet::PacketRef;
use crate::record::{Confidence, Outcome, Protocol, Role};
use crate::stream::TcpOffset;
use crate::stream::tcp::{ClosingFlag, FirstClose, Opened, TcpConnection};
use crate::time::Timestamp;
use crate::transport::tls::TlsSign;
use crate::wire::DistFlags;
use crate::wire::flags::{Demands, Release};
use crate::wire::handshake::alive_and_host;

/// What a verdict is made from.
pub(super) struct Case<'a> {
    pub(super) tcp: &'a TcpConnection,
    pub(super) exchange: &'a Exchange,
    pub(super) facts: &'a Facts,
    /// Which way the initiator sends.
    pub(super) initiator: Direction,
    /// Frames after the handshake, ticks included, by role.
    pub(super) frames: [u64; 2],
    /// Roles that sent bytes which are no handshake.
    pub(super) foreign: [bool; 2],
    /// TLS in clear, by role.
    pub(super) tls: [Option<TlsSign>; 2],
    /// What the candidate cookies say.
    pub(super) cookies: &'a CookieTest,
    /// The moment up to which the capture was seen.
    pub(super) now: Timestamp,
    /// Up to when the capture is known to have lost packets.
    pub(super) lost: Option<Timestamp>,
}

/// What the candidate cookies say of the two digests of a handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieTest {
    /// Outer level: whether it could be tested. Inner: the candidate that fits.
    pub(super) reply: Option<Option<std::sync::Arc<str>>>,
    /// The same for the acceptor's digest.
    pub(super) ack: Option<Option<std::sync::Arc<str>>>,
}

impl CookieTest {
    /// A candidate fits one of the two digests and not the other.
    fn contradicts(&self) -> bool {
        matches!((&self.reply, &self.ack), (Some(reply), Some(ack)) if reply != ack)
    }

    /// One candidate fits both.
    fn agrees(&self) -> bool {
        matches!((&self.reply, &self.ack), (Some(Some(reply)), Some(Some(ack))) if reply == ack)
    }
}

/// The verdict.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) protocol: Protocol,
    pub(super) outcome: Outcome,
    pub(super) confidence: Confidence,
    pub(super) not_excluded: Vec<Cow<'static, str>>,
    pub(super) detected_by: Option<Role>,
    /// Flags demanded by the refusing side and lacking.
    pub(super) missing_flags: DistFlags,
    /// The message that was owed when a side gave up.
    pub(super) owed: Option<&'static str>,
    /// What comes in the next moment may show another cause.
    pub(super) is_pending: bool,
}

impl Verdict {
    const fn new(outcome: Outcome, confidence: Confidence) -> Self {
        Self {
            protocol: Protocol::Distribution,
            outcome,
            confidence,
            not_excluded: Vec::new(),
            detected_by: None,
            missing_flags: DistFlags(0),
            owed: None,
            is_pending: false,
        }
    }

    const fn likely(outcome: Outcome) -> Self {
        Self::new(outcome, Confidence::Likely)
    }

    const fn proven(outcome: Outcome) -> Self {
        Self::new(outcome, Confidence::Proven)
    }

    const fn incomplete() -> Self {
        Self::new(Outcome::Incomplete, Confidence::Possible)
    }

    const fn by(mut self, role: Role) -> Self {
        self.detected_by = Some(role);
        self
    }

    const fn spoken(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    fn unless(mut self, readings: &[&'static str]) -> Self {
        self.not_excluded.extend(readings.iter().copied().map(Cow::Borrowed));
        self
    }
}

/// Judges a connection as it stands.
pub(super) fn judge(case: &Case<'_>) -> Verdict {
    match case.tcp.opened() {
        Opened::Reset(_) | Opened::Unreachable(_) => return Verdict::proven(Outcome::Refused),
        Opened::Unanswered => return case.unanswered(),
        Opened::Yes => {}
    }
    if let Some(verdict) = case.tls().or_else(|| case.foreign()) {
        return verdict;
    }
    if let Some(verdict) = case.connected() {
        return verdict;
    }
    if let Some(verdict) = case.refused_in_words() {
        return verdict;
    }
    match case.tcp.first_close() {
        Some(close) => case.closed(&close),
        None => Verdict::incomplete(),
    }
}

impl Case<'_> {
    pub(super) const fn direction(&self, role: Role) -> Direction {
        match role {
            Role::Initiator => self.initiator,
            Role::Acceptor => self.initiator.reverse(),
        }
    }

    fn role(&self, direction: Direction) -> Role {
        if direction == self.initiator { Role::Initiator } else { Role::Acceptor }
    }

    fn unanswered(&self) -> Verdict {
        if self.tcp.timed_out(self.initiator, self.now, self.lost) {
            Verdict::likely(Outcome::Unanswered)
                .unless(&["the answer did not pass the place of capture"])
        } else {
            Verdict::incomplete()
        }
    }

    fn tls(&self) -> Option<Verdict> {
        let outcome = match self.tls {
            [None, None] => return None,
            [Some(_), Some(_)] => Verdict::proven(Outcome::Tls),
            // Alert to a plain hello.
            [None, Some(TlsSign::Alert)] if self.exchange.send_name.is_some() => {
                Verdict::proven(Outcome::TlsMismatch).by(Role::Acceptor)
            }
            [Some(TlsSign::Hello), None] => self.tls_alone(),
            _ => Verdict::incomplete(),
        };
        Some(outcome.spoken(Protocol::Tls))
    }

    /// The initiator spoke TLS and the acceptor did not.
    fn tls_alone(&self) -> Verdict {
        let [_, foreign_acceptor] = self.foreign;
        if self.exchange.answer.is_some() || foreign_acceptor {
            return Verdict::proven(Outcome::TlsMismatch);
        }
        let Some((close, by)) = self.judged_close() else { return Verdict::incomplete() };
        if self.tcp.side(self.direction(Role::Acceptor)).stream.bytes() > 0 {
            return Verdict::incomplete();
        }
        let said = self.tcp.side(self.initiator).last_bytes(close.mark.at);
        let said = said.unwrap_or(close.mark.at);
        if close.mark.at.since(said) >= SILENCE {
            Verdict::likely(Outcome::TlsMismatch).unless(&["the acceptor was stuck"])
        } else {
            Verdict::likely(Outcome::Aborted)
                .by(by)
                .unless(&["the acceptor does not speak TLS", "a proxy without a backend"])
        }
    }

    fn foreign(&self) -> Option<Verdict> {
        let [initiator, acceptor] = self.foreign;
        let spoke = initiator && self.exchange.send_name.is_none()
            || acceptor && self.exchange.answer.is_none() && self.exchange.challenge.is_none();
        spoke.then(|| Verdict::proven(Outcome::NotDistribution).spoken(Protocol::Unknown))
    }

    fn connected(&self) -> Option<Verdict> {
        let [from_initiator, from_acceptor] = self.frames;
        let acked = self.exchange.ack.is_some();
        if !acked && from_initiator == 0 && from_acceptor == 0 {
            return None;
        }
        if self.cookies.contradicts() && from_initiator == 0 {
            // The acceptor took the digest; its own is made with another cookie.
            return Some(Verdict::proven(Outcome::CookieMismatch).by(Role::Initiator));
        }
        if self.exchange.reached().is_none() {
            // Joined in the middle: frames flow, and nothing says who let whom in.
            return Some(Verdict::likely(Outcome::Connected));
        }
        if from_initiator > 0 || self.cookies.agrees() {
            return Some(Verdict::proven(Outcome::Connected));
        }
        let refuses = "the initiator refused the acceptor's digest";
        let left_at_once = self.tcp.first_close().is_some_and(|close| {
            close.by == Some(self.initiator)
                && self.exchange.ack.as_ref().is_some_and(|ack| self.is_at_once(&close, ack.mark))
        });
        Some(if left_at_once && self.judged_close().is_none() {
            // What would tell whether the digests contradict each other may be what is missing.
            Verdict::incomplete()
        } else if left_at_once {
            Verdict::new(Outcome::Connected, Confidence::Possible)
                .unless(&[refuses, "a probe that leaves once it is connected"])
        } else {
            Verdict::likely(Outcome::Connected).unless(&[refuses])
        })
    }

    /// Refusals that the acceptor put in words need no close, and may cross it.
    fn refused_in_words(&self) -> Option<Verdict> {
        if self.exchange.late_refusal.is_some() {
            return Some(self.not_allowed());
        }
        match &self.exchange.answer.as_ref()?.what {
            Answer::Nok => Some(Verdict::proven(Outcome::Superseded).by(self.who_dropped())),
            Answer::NotAllowed => Some(self.not_allowed()),
            Answer::Alive if self.exchange.alive_reply.as_ref().is_some_and(|said| !said.what) => {
                Some(Verdict::proven(Outcome::AlreadyConnected).by(Role::Acceptor))
            }
            _ => None,
        }
    }

    /// With `nok`: the acceptor refused, unless the initiator had dropped its dial before it heard.
    fn who_dropped(&self) -> Role {
        let first = self.tcp.first_close();
        let dropped = first.zip(self.exchange.answer.as_ref()).is_some_and(|(close, answer)| {
            close.by == Some(self.initiator) && !has_heard(&close, answer)
        });
        if dropped { Role::Initiator } else { Role::Acceptor }
    }

    fn not_allowed(&self) -> Verdict {
        let Some(hello) = &self.exchange.send_name else {
            return Verdict::incomplete();
        };
        let demands = Demands::of(self.exchange.challenge.as_ref().map(|said| said.what.flags));
        let missing = hello.what.flags.missing(demands.possible.mandatory());
        let verdict = if missing.is_empty() {
            Verdict::likely(Outcome::NotAllowed)
                .unless(&["the acceptor demands flags that no known release does"])
        } else {
            Verdict::likely(Outcome::VersionMismatch)
                .unless(&["the acceptor's list of allowed nodes (net_kernel:allow/1)"])
        };
        Verdict { missing_flags: missing, ..verdict }.by(Role::Acceptor)
    }

    /// The first close, when the capture shows everything that it can have been decided by.
    pub(super) fn judged_close(&self) -> Option<(FirstClose, Role)> {
        let close = self.tcp.first_close()?;
        let by = close.by?;
        // A reset behind a FIN that was not seen says nothing of when that was sent.
        let dated = close.kind == ClosingFlag::Fin || !self.tcp.fin_unseen(by);
        let whole = dated
            && self.tcp.both_seen()
            && !self.exchange.is_torn
            && self.tcp.is_whole(by, None)
            && self.tcp.is_whole(by.reverse(), close.heard);
        whole.then_some((close, self.role(by)))
    }

    fn closed(&self, close: &FirstClose) -> Verdict {
        let Some((close, by)) = self.judged_close().filter(|(judged, _)| judged == close) else {
            return Verdict::incomplete();
        };
        let e = self.exchange;
        let hello = known(&e.send_name, Role::Initiator, by, &close);
        let reply = known(&e.reply, Role::Initiator, by, &close);
        let answer = known(&e.answer, Role::Acceptor, by, &close);
        let challenge = known(&e.challenge, Role::Acceptor, by, &close);

        // A node that is dialed may drop its own dial before the first word, too.
        let is_silent = self.tcp.side(self.initiator).stream.bytes() == 0;
        let may_be_dropped = hello.is_some() || is_silent && self.facts.dialed_back;
        if by == Role::Initiator && may_be_dropped && answer.is_none() {
            if self.facts.crossed {
                return Verdict::likely(Outcome::Superseded)
                    .by(by)
                    .unless(&["the initiator was stopped at this very point"]);
            }
            // A node that drops its dial for the other side's says so there, a moment later.
            let was_quick = close.mark.at.since(self.last_word()) < SILENCE;
            if was_quick && self.now.since(close.mark.at) < CROSSING_SHOWS {
                return Verdict { is_pending: true, ..Verdict::incomplete() };
            }
            // What shows in the other connection alone, and by its absence.
            if self.lost.is_some_and(|lost| lost >= self.tcp.first().at) {
                return Verdict::incomplete();
            }
        }
        if e.reached().is_none() && e.is_lost.contains(&true) {
            return Verdict::incomplete();
        }
        match (answer, challenge) {
            // The stream of the acceptor begins behind its status: the capture lacks it.
            (None, Some(_)) => Verdict::incomplete(),
            _ if e.send_name.is_none() && e.reached().is_some() => Verdict::incomplete(),
            (None, None) => match hello {
                None => self.gave_up_or_left(&close, by, Role::Initiator, "send_name"),
                Some(hello) => self.closed_after_hello(&close, by, hello.mark),
            },
            (Some(answer), None) if answer.what == Answer::Alive => {
                Verdict::proven(Outcome::AlreadyConnected).by(Role::Acceptor)
            }
            (Some(_), None) => self.gave_up_or_left(&close, by, Role::Acceptor, "challenge"),
            (Some(_), Some(challenge)) => match reply {
                None => self.closed_after_challenge(&close, by, challenge.mark),
                Some(reply) => self.closed_after_reply(&close, by, reply.mark),
            },
        }
    }

    fn closed_after_hello(&self, close: &FirstClose, by: Role, hello: PacketRef) -> Verdict {
        let Some(said) = &self.exchange.send_name else { return Verdict::incomplete() };
        if by == Role::Acceptor && self.is_at_once(close, hello) {
            let old_hello = said.what.version == 5;
            let old_acceptor = self.facts.acceptor_version.is_some_and(|version| version < 6);
            if !said.what.is_legal {
                return Verdict::likely(Outcome::Aborted)
                    .by(by)
                    .unless(&["the name in send_name is none that a node may have"]);
            }
            if old_hello || old_acceptor {
                let missing = said.what.flags.missing(Release::NEWEST.mandatory());
                let verdict = Verdict::likely(Outcome::VersionMismatch).by(by).unless(&[
                    "a third attempt while the acceptor asks about an older connection",
                    "something that is no Erlang node behind the port",
                ]);
                let missing = if old_acceptor { DistFlags(0) } else { missing };
                return Verdict { missing_flags: missing, ..verdict };
            }
            return Verdict::likely(Outcome::Aborted).by(by).unless(&[
                "the acceptor is OTP 22 or older",
                "a third attempt while the acceptor asks about an older connection",
                "something that is no Erlang node behind the port",
            ]);
        }
        self.gave_up_or_left(close, by, Role::Acceptor, "status")
    }

    fn closed_after_challenge(
        &self,
        close: &FirstClose,
        by: Role,
        challenge: PacketRef,
    ) -> Verdict {
        let (Some(mine), Some(theirs)) = (&self.exchange.send_name, &self.exchange.challenge)
        else {
            return Verdict::incomplete();
        };
        // An initiator that leaves after a silence did not leave over what it read.
        if by == Role::Acceptor || close.mark.at.since(self.last_word()) >= SILENCE {
            let verdict = self.gave_up_or_left(close, by, Role::Initiator, "challenge_reply");
            return if by == Role::Initiator {
                verdict.unless(&["the initiator wanted a node of another name"])
            } else {
                verdict
            };
        }
        // A node that turns a name down has read the challenge, and closes with FIN; its kernel resets
        // where bytes lie unread.
        if close.kind == ClosingFlag::Rst || !self.is_at_once(close, challenge) {
            return Verdict::likely(Outcome::Aborted)
                .by(by)
                .unless(&["the initiator wanted a node of another name"]);
        }
        // A node checks the name first, then the flags.
        let asked = self.facts.lookup.as_ref().map(|lookup| lookup.asked.as_ref());
        let answered = alive_and_host(theirs.what.name.as_bytes());
        if let (Some(asked), Some((alive, _))) = (asked, answered) {
            if asked.as_bytes() != alive {
                return Verdict::proven(Outcome::NameMismatch).by(by);
            }
        }
        let demands = Demands::of(Some(mine.what.flags));
        let missing = theirs.what.flags.missing(demands.sure.mandatory());
        let maybe_missing = theirs.what.flags.missing(demands.possible.mandatory());
        let old_layout = theirs.what.version == 5 && mine.what.version == 6;
        if old_layout || !missing.is_empty() || !maybe_missing.is_empty() {
            let verdict = Verdict::likely(Outcome::VersionMismatch)
                .by(by)
                .unless(&["the initiator wanted a node of another name"]);
            let missing_flags = if missing.is_empty() { maybe_missing } else { missing };
            return Verdict { missing_flags, ..verdict };
        }
        Verdict::likely(Outcome::NameMismatch)
            .by(by)
            .unless(&["the initiator went away for another reason at this very point"])
    }

    fn closed_after_reply(&self, close: &FirstClose, by: Role, reply: PacketRef) -> Verdict {
        if by == Role::Initiator {
            return self.gave_up_or_left(close, by, Role::Acceptor, "challenge_ack");
        }
        let acceptor =
            self.exchange.challenge.as_ref().map_or("the acceptor", |said| &*said.what.name);
        if !self.is_at_once(close, reply) {
            let mut verdict = Verdict::likely(Outcome::Aborted).by(by);
            verdict.owed = Some("challenge_ack");
            verdict.not_excluded.push(format!("{acceptor} refused the cookie").into());
            return verdict;
        }
        let known = &self.facts.acceptor_cookies;
        let differs = matches!(&self.cookies.reply, Some(Some(mine))
            if !known.is_empty() && !known.contains(mine));
        if differs {
            return Verdict::proven(Outcome::CookieMismatch).by(by);
        }
        let mut verdict = Verdict::likely(Outcome::CookieMismatch).by(by);
        verdict
            .not_excluded
            .push(format!("{acceptor} closed for another reason at this very point").into());
        verdict
    }

    /// Closed while `owes` owed a message: the other gave up after a silence, or somebody just left.
    fn gave_up_or_left(
        &self,
        close: &FirstClose,
        by: Role,
        owes: Role,
        owed: &'static str,
    ) -> Verdict {
        if by != owes && close.mark.at.since(self.last_word()) >= SILENCE {
            let mut verdict = Verdict::likely(Outcome::TimedOut)
                .by(by)
                .unless(&["the path swallowed what the silent side sent"]);
            verdict.owed = Some(owed);
            return verdict;
        }
        Verdict::likely(Outcome::Aborted).by(by).unless(match by {
            Role::Initiator => &["the initiator was stopped", "a probe that leaves"],
            Role::Acceptor => &["the acceptor was stopped", "a proxy without a backend"],
        })
    }

    /// When anything was last said before the first close, the opening included.
    fn last_word(&self) -> Timestamp {
        let e = self.exchange;
        let close = self.tcp.first_close();
        let said = [
            e.send_name.as_ref().map(|s| (s.mark, s.end, Role::Initiator)),
            e.reply.as_ref().map(|s| (s.mark, s.end, Role::Initiator)),
            e.complement.as_ref().map(|s| (s.mark, s.end, Role::Initiator)),
            e.alive_reply.as_ref().map(|s| (s.mark, s.end, Role::Initiator)),
            e.answer.as_ref().map(|s| (s.mark, s.end, Role::Acceptor)),
            e.challenge.as_ref().map(|s| (s.mark, s.end, Role::Acceptor)),
        ];
        let opened = [self.tcp.side(self.initiator), self.tcp.side(self.initiator.reverse())]
            .into_iter()
            .filter_map(|side| side.syn.map(|syn| syn.mark.at));
        let heard = said.into_iter().flatten().filter(|(mark, end, role)| {
            close.is_none_or(|close| {
                close.by == Some(self.direction(*role)) || is_heard(&close, *mark, *end)
            })
        });
        heard.map(|(mark, ..)| mark.at).chain(opened).max().unwrap_or_else(|| self.tcp.first().at)
    }

    /// Whether a close followed `trigger` within a few round trips, retransmissions aside.
    fn is_at_once(&self, close: &FirstClose, trigger: PacketRef) -> bool {
        let copies = [Direction::LowToHigh, Direction::HighToLow]
            .into_iter()
            .filter_map(|direction| self.tcp.side(direction).last_bytes(close.mark.at));
        let last = copies.chain([trigger.at]).max().unwrap_or(trigger.at);
        let trips = self.tcp.round_trip().unwrap_or_default().min(LONGEST_TRIP) * 4;
        let allowed =
            AT_ONCE + trips + if self.tcp.is_lossy() { ONE_RETRANSMISSION } else { Duration::ZERO };
        close.mark.at.since(last) <= allowed
    }
}

/// What `from` said, as far as it counts for a close by `by`: a side knows its own words, and of the
/// other's what it had heard.
fn known<'s, T>(
    said: &'s Option<Seen<T>>,
    from: Role,
    by: Role,
    close: &FirstClose,
) -> Option<&'s Seen<T>> {
    said.as_ref().filter(|said| from == by || has_heard(close, said))
}

/// Whether the closing side had heard what the other said.
fn has_heard<T>(close: &FirstClose, said: &Seen<T>) -> bool {
    is_heard(close, said.mark, said.end)
}

pub(super) fn is_heard(close: &FirstClose, mark: PacketRef, end: TcpOffset) -> bool {
    match close.heard {
        Some(heard) => end <= heard,
        None => mark.frame <= close.mark.frame,
    }
}

/// A node answers on one connection within milliseconds of closing the other; the answer travels.
const CROSSING_SHOWS: Duration = Duration::from_secs(1);

/// A side that owes a message for this long is silent. Set-up times differ (`net_setuptime`): 7 s is the
/// default and no condition.
const SILENCE: Duration = Duration::from_secs(1);

/// A node closes over what it read within microseconds; this leaves room for a busy host.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Beyond this, a measured round trip is a pause of something else.
const LONGEST_TRIP: Duration = Duration::from_millis(500);

/// The first retransmission comes after 200 ms at the least, and twice that for the second.
const ONE_RETRANSMISSION: Duration = Duration::from_millis(650);
