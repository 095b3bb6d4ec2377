//! The verdict on one connection: a pure function of what the connection showed and of what is known of others.
//!
//! The verdict is that of the first close. What counts is what the closing side had received by then, as its
//! acknowledgement shows; what the other side sent after that changes nothing, except a refusal that crossed the
//! close. What the capture does not show is `incomplete`, never a failure.

use std::borrow::Cow;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::{self, TlsAlert};
use super::world::{Ground, HostClue, PriorLookup, RelatedFacts, World};
use crate::observe::{
    CloseFacts, CloseKind, HandshakeFacts, MessageKind, Observation, Opening, PerRole, Received,
    Role, StatusText, TlsSign,
};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;
use crate::wire::DistFlags;
use crate::wire::flags::{Demands, Release};
use crate::wire::handshake::alive_and_host;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Erlang distribution protocol, also for a connection without data to a known distribution port.
    Distribution,
    /// TLS on a port known for distribution.
    Tls,
    /// Another protocol on a port known for distribution.
    Unknown,
}

/// The outcome of a connection or attempt.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The handshake completed, or distribution frames were seen.
    Connected,
    /// A side refused the digest of the other.
    CookieMismatch,
    /// The acceptor has another name than the initiator dialed.
    NameMismatch,
    /// The acceptor sent the status `not_allowed`, and no flag explains it.
    NotAllowed,
    /// A side refused the protocol version or missed mandatory flags.
    VersionMismatch,
    /// The acceptor sent the status `alive`, and the initiator answered `false` or closed.
    AlreadyConnected,
    /// The attempt was dropped for a simultaneous connection.
    Superseded,
    /// One side uses TLS, the other does not.
    TlsMismatch,
    /// Both sides use TLS; the outcome inside is not visible.
    Tls,
    /// A side stopped answering during the handshake, and the other gave up.
    TimedOut,
    /// The SYN was answered by RST or by ICMP unreachable.
    Refused,
    /// The SYN was not answered.
    Unanswered,
    /// The connection was closed during the handshake, and none of the above explains it.
    Aborted,
    /// The connection does not carry the distribution protocol.
    NotDistribution,
    /// The capture lacks the packets that would decide.
    Incomplete,
}

impl Outcome {
    /// True for the outcome of an attempt that failed, as far as the capture shows.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Connected
            | Self::AlreadyConnected
            | Self::Superseded
            | Self::Tls
            | Self::Incomplete => false,
            Self::CookieMismatch
            | Self::NameMismatch
            | Self::NotAllowed
            | Self::VersionMismatch
            | Self::TlsMismatch
            | Self::TimedOut
            | Self::Refused
            | Self::Unanswered
            | Self::Aborted
            | Self::NotDistribution => true,
        }
    }
}

/// How certain a statement is.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A harmless explanation is as good.
    Possible,
    /// The usual explanation by the protocol; `not_excluded` lists the others.
    Likely,
    /// The captured bytes allow no other explanation.
    Proven,
}

impl Confidence {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Proven => "proven",
        }
    }
}

/// What came of a connection, how sure that is, and what it rests on.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Protocol on the connection.
    pub protocol: Protocol,
    /// What came of it.
    pub outcome: Outcome,
    /// How sure that is.
    pub confidence: Confidence,
    /// Other readings that the capture does not rule out.
    pub not_excluded: Vec<Cow<'static, str>>,
    /// The side whose behaviour shows the failure, by being the one that gave up.
    pub detected_by: Option<Role>,
    /// Flags that the refusing side demands and the other lacks.
    pub missing_flags: DistFlags,
    /// The message that was due when a side gave up.
    pub owed: Option<MessageKind>,
    /// Whether what comes in the next moment may show another cause.
    pub is_pending: bool,
    /// The alert that ended a TLS connection: the first in clear, or an encrypted one.
    pub tls_alert: Option<TlsAlert>,
    /// The EPMD look-up that led to the connection.
    pub lookup: Option<PriorLookup>,
    /// The host that the initiator most likely dialed, where its name decides something.
    pub host: Option<HostClue>,
}

impl Verdict {
    pub(crate) const fn new(outcome: Outcome, confidence: Confidence) -> Self {
        Self {
            protocol: Protocol::Distribution,
            outcome,
            confidence,
            not_excluded: Vec::new(),
            detected_by: None,
            missing_flags: DistFlags(0),
            owed: None,
            is_pending: false,
            tls_alert: None,
            lookup: None,
            host: None,
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

    const fn over(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    fn unless(mut self, readings: &[&'static str]) -> Self {
        self.not_excluded.extend(readings.iter().copied().map(Cow::Borrowed));
        self
    }

    /// Names of [`Self::missing_flags`], without `DFLAG_`.
    pub fn missing_flag_names(&self) -> Vec<String> {
        self.missing_flags.names().map(Cow::into_owned).collect()
    }
}

/// Judges a connection by what it showed so far and what is known of others.
pub fn judge(seen: &Observation, world: &World) -> Verdict {
    judge_related(seen, world.related(seen))
}

/// Judges a connection by what it showed so far and these facts about others.
pub(crate) fn judge_related(seen: &Observation, related: RelatedFacts) -> Verdict {
    let case = Case { seen, related: &related };
    let mut verdict = case.verdict();
    verdict.tls_alert = tls::alert(seen, case.judged_close());
    case.add_dialed(&mut verdict);
    verdict.lookup = related.lookup;
    verdict
}

/// A connection and what bears on it.
struct Case<'a> {
    seen: &'a Observation,
    related: &'a RelatedFacts,
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        match self.seen.tcp.opening {
            Opening::Reset(_) | Opening::Unreachable(_) => {
                return Verdict::proven(Outcome::Refused);
            }
            Opening::Unanswered => return self.unanswered(),
            Opening::Answered => {}
        }
        self.tls()
            .or_else(|| self.foreign())
            .or_else(|| self.connected())
            .or_else(|| self.refused_in_words())
            .unwrap_or_else(|| match &self.seen.tcp.close {
                Some(close) => self.closed(close),
                None => Verdict::incomplete(),
            })
    }

    const fn handshake(&self) -> &HandshakeFacts {
        &self.seen.handshake
    }

    /// Adds the host that the initiator dialed, as far as other connections and name servers show it.
    fn add_dialed(&self, verdict: &mut Verdict) {
        let e = self.handshake();
        if verdict.outcome == Outcome::Connected || e.reply.is_some() {
            // It accepted the name that it was given: guesses have nothing to add.
            return;
        }
        let answered =
            e.challenge.as_ref().and_then(|challenge| challenge.what.name.split_once('@'));
        // The initiator closed over the name of a node that has, as far as the capture shows, the one it dialed.
        let is_answered = |clue: &HostClue| {
            let asked = self.related.lookup.as_ref().map(|lookup| &*lookup.asked);
            verdict.outcome == Outcome::NameMismatch
                && answered.is_some_and(|(alive, host)| Some(alive) == asked && host == &*clue.host)
        };
        // What is no more than a habit is refuted by the close.
        let is_firm = |clue: &HostClue| matches!(clue.ground, Ground::Dns { .. });
        let mut hosts = self.related.hosts.iter();
        let host = hosts.find(|clue| is_firm(clue) || !is_answered(clue)).cloned();
        if host.as_ref().is_some_and(is_answered) && verdict.confidence == Confidence::Likely {
            // The close is that of a name mismatch, and the names are equal as far as anything shows.
            verdict.confidence = Confidence::Possible;
        }
        verdict.host = host;
    }

    fn unanswered(&self) -> Verdict {
        if self.seen.syn_timed_out(Role::Initiator) {
            Verdict::likely(Outcome::Unanswered)
                .unless(&["the answer did not pass the place of capture"])
        } else {
            Verdict::incomplete()
        }
    }

    fn tls(&self) -> Option<Verdict> {
        let PerRole { initiator, acceptor } = &self.seen.tls;
        let sign = |sign: Option<(TlsSign, PacketRef)>| sign.map(|(sign, _)| sign);
        let outcome = match (sign(initiator.sign), sign(acceptor.sign)) {
            (None, None) => return None,
            (Some(_), Some(_)) => Verdict::proven(Outcome::Tls),
            // Alert in answer to a hello in clear.
            (None, Some(TlsSign::Alert)) if self.handshake().send_name.is_some() => {
                Verdict::proven(Outcome::TlsMismatch).by(Role::Acceptor)
            }
            (Some(TlsSign::Hello), None) => self.tls_alone(),
            _ => Verdict::incomplete(),
        };
        Some(outcome.over(Protocol::Tls))
    }

    /// The initiator spoke TLS and the acceptor did not.
    fn tls_alone(&self) -> Verdict {
        if self.handshake().status.is_some() || self.seen.foreign.acceptor.is_some() {
            return Verdict::proven(Outcome::TlsMismatch);
        }
        let Some((close, by)) = self.judged_close() else { return Verdict::incomplete() };
        if self.seen.tcp.sides.acceptor.bytes > 0 {
            return Verdict::incomplete();
        }
        let last = self.seen.tcp.sides.initiator.last_bytes.unwrap_or(close.mark.at);
        if close.mark.at.since(last) >= SILENCE {
            Verdict::likely(Outcome::TlsMismatch).unless(&["the acceptor was stuck"])
        } else {
            Verdict::likely(Outcome::Aborted)
                .by(by)
                .unless(&["the acceptor does not speak TLS", "a proxy without a backend"])
        }
    }

    fn foreign(&self) -> Option<Verdict> {
        let (e, foreign) = (self.handshake(), &self.seen.foreign);
        let is_foreign = foreign.initiator.is_some() && e.send_name.is_none()
            || foreign.acceptor.is_some() && e.status.is_none() && e.challenge.is_none();
        is_foreign.then(|| Verdict::proven(Outcome::NotDistribution).over(Protocol::Unknown))
    }

    fn connected(&self) -> Option<Verdict> {
        let (e, traffic) = (self.handshake(), &self.seen.traffic);
        let (from_initiator, from_acceptor) = (traffic.initiator.frames, traffic.acceptor.frames);
        if e.ack.is_none() && from_initiator == 0 && from_acceptor == 0 {
            return None;
        }
        if e.cookies.contradict() && from_initiator == 0 {
            // The acceptor accepted the digest; its own is made with another cookie.
            return Some(Verdict::proven(Outcome::CookieMismatch).by(Role::Initiator));
        }
        if e.reached().is_none() {
            // The capture began later: frames flow, and no handshake shows which side accepted which.
            return Some(Verdict::likely(Outcome::Connected));
        }
        if from_initiator > 0 || e.cookies.agree() {
            return Some(Verdict::proven(Outcome::Connected));
        }
        let refuses = "the initiator refused the acceptor's digest";
        let left_at_once = self.seen.tcp.close.is_some_and(|close| {
            close.by == Some(Role::Initiator)
                && e.ack.as_ref().is_some_and(|ack| self.is_at_once(&close, ack.mark))
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
        if self.handshake().late_refusal.is_some() {
            return Some(self.not_allowed());
        }
        match &self.handshake().status.as_ref()?.what {
            StatusText::Nok => Some(Verdict::proven(Outcome::Superseded).by(self.who_dropped())),
            StatusText::NotAllowed => Some(self.not_allowed()),
            StatusText::Alive
                if self.handshake().alive_reply.as_ref().is_some_and(|said| !said.what) =>
            {
                Some(Verdict::proven(Outcome::AlreadyConnected).by(Role::Acceptor))
            }
            _ => None,
        }
    }

    /// With `nok`: the acceptor refused, unless the initiator had dropped its dial before it heard.
    fn who_dropped(&self) -> Role {
        let first = self.seen.tcp.close;
        let dropped = first.zip(self.handshake().status.as_ref()).is_some_and(|(close, answer)| {
            close.by == Some(Role::Initiator) && !has_heard(&close, answer)
        });
        if dropped { Role::Initiator } else { Role::Acceptor }
    }

    fn not_allowed(&self) -> Verdict {
        let Some(hello) = &self.handshake().send_name else {
            return Verdict::incomplete();
        };
        let demands = Demands::of(self.handshake().challenge.as_ref().map(|said| said.what.flags));
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
    pub(super) fn judged_close(&self) -> Option<(CloseFacts, Role)> {
        let close = self.seen.tcp.close?;
        let by = close.by?;
        // A reset behind a FIN that was not seen does not show when that was sent.
        let is_dated = close.kind == CloseKind::Fin || !self.seen.tcp.sides[by].fin_unseen;
        let is_whole =
            is_dated && self.seen.tcp.both_seen && !self.handshake().is_torn && close.is_whole;
        is_whole.then_some((close, by))
    }

    fn closed(&self, close: &CloseFacts) -> Verdict {
        let Some((close, by)) = self.judged_close().filter(|(judged, _)| judged == close) else {
            return Verdict::incomplete();
        };
        let e = self.handshake();
        let hello = known(&e.send_name, Role::Initiator, by, &close);
        let reply = known(&e.reply, Role::Initiator, by, &close);
        let answer = known(&e.status, Role::Acceptor, by, &close);
        let challenge = known(&e.challenge, Role::Acceptor, by, &close);

        // A node that is dialed may drop its own dial before the first word, too.
        let is_silent = self.seen.tcp.sides.initiator.bytes == 0;
        let may_be_dropped = hello.is_some() || is_silent && self.related.dialed_back;
        if by == Role::Initiator && may_be_dropped && answer.is_none() {
            if self.related.crossed {
                return Verdict::likely(Outcome::Superseded)
                    .by(by)
                    .unless(&["the initiator was stopped at this very point"]);
            }
            // A node that drops its dial for the other side's says so there, a moment later.
            let was_quick = close.mark.at.since(self.last_word()) < SILENCE;
            if was_quick && self.seen.at.since(close.mark.at) < CROSSING_SHOWS {
                return Verdict { is_pending: true, ..Verdict::incomplete() };
            }
            // What shows in the other connection alone, and by its absence.
            if self.seen.lost_until.is_some_and(|lost| lost >= self.seen.tcp.first.at) {
                return Verdict::incomplete();
            }
        }
        if e.reached().is_none() && (e.is_lost.initiator || e.is_lost.acceptor) {
            return Verdict::incomplete();
        }
        match (answer, challenge) {
            // The stream of the acceptor begins behind its status: the capture lacks it.
            (None, Some(_)) => Verdict::incomplete(),
            _ if e.send_name.is_none() && e.reached().is_some() => Verdict::incomplete(),
            (None, None) => match hello {
                None => self.gave_up_or_left(&close, by, Role::Initiator, MessageKind::SendName),
                Some(hello) => self.closed_after_hello(&close, by, hello.mark),
            },
            (Some(answer), None) if answer.what == StatusText::Alive => {
                Verdict::proven(Outcome::AlreadyConnected).by(Role::Acceptor)
            }
            (Some(_), None) => {
                self.gave_up_or_left(&close, by, Role::Acceptor, MessageKind::Challenge)
            }
            (Some(_), Some(challenge)) => match reply {
                None => self.closed_after_challenge(&close, by, challenge.mark),
                Some(reply) => self.closed_after_reply(&close, by, reply.mark),
            },
        }
    }

    fn closed_after_hello(&self, close: &CloseFacts, by: Role, hello: PacketRef) -> Verdict {
        let Some(said) = &self.handshake().send_name else { return Verdict::incomplete() };
        if by == Role::Acceptor && self.is_at_once(close, hello) {
            let old_hello = said.what.version == 5;
            let old_acceptor = self.related.acceptor_version.is_some_and(|version| version < 6);
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
        self.gave_up_or_left(close, by, Role::Acceptor, MessageKind::Status)
    }

    fn closed_after_challenge(
        &self,
        close: &CloseFacts,
        by: Role,
        challenge: PacketRef,
    ) -> Verdict {
        let (Some(mine), Some(theirs)) = (&self.handshake().send_name, &self.handshake().challenge)
        else {
            return Verdict::incomplete();
        };
        // An initiator that leaves after a silence did not leave over what it read.
        if by == Role::Acceptor || close.mark.at.since(self.last_word()) >= SILENCE {
            let verdict =
                self.gave_up_or_left(close, by, Role::Initiator, MessageKind::ChallengeReply);
            return if by == Role::Initiator {
                verdict.unless(&["the initiator wanted a node of another name"])
            } else {
                verdict
            };
        }
        // A node that turns a name down has read the challenge, and closes with FIN; its kernel resets
        // where bytes lie unread.
        if close.kind == CloseKind::Rst || !self.is_at_once(close, challenge) {
            return Verdict::likely(Outcome::Aborted)
                .by(by)
                .unless(&["the initiator wanted a node of another name"]);
        }
        // A node checks the name first, then the flags.
        let asked = self.related.lookup.as_ref().map(|lookup| lookup.asked.as_ref());
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

    fn closed_after_reply(&self, close: &CloseFacts, by: Role, reply: PacketRef) -> Verdict {
        if by == Role::Initiator {
            return self.gave_up_or_left(close, by, Role::Acceptor, MessageKind::ChallengeAck);
        }
        let acceptor =
            self.handshake().challenge.as_ref().map_or("the acceptor", |said| &*said.what.name);
        if !self.is_at_once(close, reply) {
            let mut verdict = Verdict::likely(Outcome::Aborted).by(by);
            verdict.owed = Some(MessageKind::ChallengeAck);
            verdict.not_excluded.push(format!("{acceptor} refused the cookie").into());
            return verdict;
        }
        let known = &self.related.acceptor_cookies;
        let own = self.handshake().cookies.initiator.label();
        let differs = own.is_some_and(|own| !known.is_empty() && !known.contains(own));
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
        close: &CloseFacts,
        by: Role,
        owes: Role,
        owed: MessageKind,
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

    /// When the last handshake message came before the first close, the opening included.
    fn last_word(&self) -> Timestamp {
        let (e, tcp) = (self.handshake(), &self.seen.tcp);
        let messages = [
            e.send_name.as_ref().map(|it| (it.mark, it.end, Role::Initiator)),
            e.reply.as_ref().map(|it| (it.mark, it.end, Role::Initiator)),
            e.complement.as_ref().map(|it| (it.mark, it.end, Role::Initiator)),
            e.alive_reply.as_ref().map(|it| (it.mark, it.end, Role::Initiator)),
            e.status.as_ref().map(|it| (it.mark, it.end, Role::Acceptor)),
            e.challenge.as_ref().map(|it| (it.mark, it.end, Role::Acceptor)),
        ];
        let opened = tcp.sides.each().filter_map(|(_, side)| side.syn.map(|syn| syn.mark.at));
        let known = messages.into_iter().flatten().filter(|(mark, end, from)| {
            tcp.close.is_none_or(|close| close.by == Some(*from) || is_heard(&close, *mark, *end))
        });
        known.map(|(mark, ..)| mark.at).chain(opened).max().unwrap_or(tcp.first.at)
    }

    /// Whether a close followed `trigger` within a few round trips, retransmissions aside.
    fn is_at_once(&self, close: &CloseFacts, trigger: PacketRef) -> bool {
        let tcp = &self.seen.tcp;
        let copies = tcp.sides.each().filter_map(|(_, side)| side.last_bytes);
        let last = copies.chain([trigger.at]).max().unwrap_or(trigger.at);
        let trips = tcp.round_trip.unwrap_or_default().min(LONGEST_TRIP) * 4;
        let allowed =
            AT_ONCE + trips + if tcp.is_lossy { ONE_RETRANSMISSION } else { Duration::ZERO };
        close.mark.at.since(last) <= allowed
    }
}

/// What `from` said, as far as it counts for a close by `by`: a side knows its own words, and of the
/// other's what it had heard.
fn known<'s, T>(
    said: &'s Option<Received<T>>,
    from: Role,
    by: Role,
    close: &CloseFacts,
) -> Option<&'s Received<T>> {
    said.as_ref().filter(|said| from == by || has_heard(close, said))
}

/// Whether the closing side had heard what the other said.
fn has_heard<T>(close: &CloseFacts, said: &Received<T>) -> bool {
    is_heard(close, said.mark, said.end)
}

pub(super) fn is_heard(close: &CloseFacts, mark: PacketRef, end: TcpOffset) -> bool {
    match close.received {
        Some(received) => end <= received,
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
