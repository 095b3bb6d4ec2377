//! The verdict on one connection: a pure function of its observation and of related facts from other connections.
//!
//! The first close decides. The messages that count are those which the closing side had received by then, as its
//! acknowledgement shows. Messages that the other side sent later change nothing, except a refusal that crossed the
//! close. A capture without the packets that would decide gives `incomplete`, never a failure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::{self, InsideTls};
use super::software::{Demands, Software};
use super::tls::{self, AlertContent, TlsAlert, TlsStep};
use super::undelivered::Undelivered;
use super::world::{Ground, HostClue, PriorLookup, RelatedFacts, World};
use crate::observe::{
    CloseFacts, CloseKind, HandshakeFacts, MessageKind, Observation, Opening, PerRole, Received,
    Role, SealedRecord, StatusText, TlsSign,
};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;
use crate::wire::DistFlags;
use crate::wire::flags::Release;
use crate::wire::handshake::alive_and_host;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
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
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
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
    /// The word for it in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Proven => "proven",
        }
    }
}

/// The outcome of a connection, its certainty, and the facts that it rests on.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Protocol that the connection carries.
    pub protocol: Protocol,
    /// The outcome of the connection.
    pub outcome: Outcome,
    /// Certainty of the outcome.
    pub confidence: Confidence,
    /// Other explanations that the capture does not rule out.
    pub not_excluded: Vec<Cow<'static, str>>,
    /// The side whose behaviour shows the failure, because it refused or gave up.
    pub detected_by: Option<Role>,
    /// Flags that the refusing side demands, or may demand, and the other side lacks.
    pub missing_flags: DistFlags,
    /// Whether the refusing side demands these flags in every release that it may be.
    pub is_demanded: bool,
    /// The program of the side that detected the failure, as far as any connection shows it.
    pub refuser: Option<Software>,
    /// The message that a side had waited for when it gave up.
    pub awaited: Option<MessageKind>,
    /// Bytes of one side that do not arrive at the other: the reason of a failure, or why a connection stalls.
    pub undelivered: Option<Box<Undelivered>>,
    /// Whether packets of the next second may still show another cause.
    pub is_pending: bool,
    /// The alert that ended a TLS connection: the first one in clear, else an encrypted one.
    pub tls_alert: Option<TlsAlert>,
    /// The packet which shows that the nodes connected inside TLS, if its records show that.
    pub tls_link: Option<PacketRef>,
    /// How far a connection over TLS got.
    pub tls_step: Option<TlsStep>,
    /// The handshake of the nodes inside TLS, by the lengths of its records.
    pub inside_tls: Option<InsideTls>,
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
            is_demanded: false,
            refuser: None,
            awaited: None,
            undelivered: None,
            is_pending: false,
            tls_alert: None,
            tls_link: None,
            tls_step: None,
            inside_tls: None,
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

    fn not_excluding(mut self, causes: &[&'static str]) -> Self {
        self.not_excluded.extend(causes.iter().copied().map(Cow::Borrowed));
        self
    }

    /// Adds the flags that the refusing side surely demands, or if there are none, those that it may demand.
    const fn lacking(mut self, sure: DistFlags, possible: DistFlags) -> Self {
        self.is_demanded = !sure.is_empty();
        self.missing_flags = if sure.is_empty() { possible } else { sure };
        self
    }

    /// Names of [`Self::missing_flags`], without `DFLAG_`.
    pub fn missing_flag_names(&self) -> Vec<String> {
        self.missing_flags.names().map(Cow::into_owned).collect()
    }
}

/// Judges a connection by its latest observation and by what other connections have shown.
pub fn judge(seen: &Observation, world: &World) -> Verdict {
    judge_related(seen, world.related(seen))
}

/// Judges a connection by its latest observation and by these facts from other connections.
pub(crate) fn judge_related(seen: &Observation, related: RelatedFacts) -> Verdict {
    let mut evaluation = Evaluation { seen, related: &related, alert: None };
    evaluation.alert = tls::alert(seen, evaluation.judged_close());
    let mut verdict = evaluation.verdict();
    let is_failure = verdict.outcome.is_failure();
    if is_failure && seen.at == Timestamp::default() && verdict.confidence == Confidence::Likely {
        // Without times, a close at once looks like one after a long silence.
        verdict.confidence = Confidence::Possible;
        verdict = verdict.not_excluding(&["another cause, since the packets have no times"]);
    }
    verdict.undelivered = evaluation.undelivered(verdict.outcome).map(Box::new);
    verdict.tls_alert = evaluation.alert;
    verdict.tls_link = (verdict.outcome == Outcome::Tls).then(|| tls::link(seen)).flatten();
    if verdict.protocol == Protocol::Tls {
        evaluation.add_tls_step(&mut verdict);
    }
    evaluation.add_dialed_host(&mut verdict);
    verdict.refuser = match verdict.detected_by {
        Some(Role::Initiator) => Software::of(&seen.handshake, Role::Initiator),
        Some(Role::Acceptor) => evaluation.acceptor(),
        None => None,
    };
    verdict.lookup = related.lookup;
    verdict
}

/// The inputs of one verdict: an observation, and related facts from other connections.
struct Evaluation<'a> {
    seen: &'a Observation,
    related: &'a RelatedFacts,
    /// The alert that ended TLS, as far as the records show it.
    alert: Option<TlsAlert>,
}

impl Evaluation<'_> {
    fn verdict(&self) -> Verdict {
        match self.seen.tcp.opening {
            Opening::Reset(_) | Opening::Unreachable(_) => {
                return Verdict::proven(Outcome::Refused);
            }
            Opening::Unanswered => return self.unanswered(),
            Opening::Answered => {}
        }
        self.behind_proxy_header()
            .or_else(|| if self.is_read_inside_tls() { None } else { self.tls() })
            .or_else(|| self.foreign())
            .or_else(|| self.connected())
            .or_else(|| self.refused_by_message())
            .unwrap_or_else(|| match &self.seen.tcp.close {
                Some(close) => self.closed(close),
                None => Verdict::incomplete(),
            })
    }

    /// Whether the handshake of the nodes inside TLS is read, so that it decides. An alert that refuses comes before it is
    /// over: in TLS 1.3 the first message may be sent before a certificate is refused.
    fn is_read_inside_tls(&self) -> bool {
        let is_refused = self.alert.is_some_and(|alert| alert.is_refusal());
        let is_over = self.handshake().ack.is_some()
            || self.seen.traffic.each().any(|(_, traffic)| traffic.frames > 0);
        self.seen.is_opened_tls() && (is_over || !is_refused)
    }

    const fn handshake(&self) -> &HandshakeFacts {
        &self.seen.handshake
    }

    /// Adds how far a connection over TLS got, by what is in clear and by the lengths of its records.
    fn add_tls_step(&self, verdict: &mut Verdict) {
        let close = self.judged_close();
        if matches!(verdict.outcome, Outcome::Tls | Outcome::Aborted) {
            let is_at_once = |close: &CloseFacts, mark| self.is_at_once(close, mark);
            verdict.inside_tls = inside::inside(self.seen, close, is_at_once);
        }
        verdict.tls_step = tls::step(self.seen, close, verdict.inside_tls.as_ref());
    }

    /// Adds the host that the initiator dialed, as far as other connections and name servers show it.
    fn add_dialed_host(&self, verdict: &mut Verdict) {
        let tls = &self.seen.tls.initiator;
        let named = tls.hello.as_ref().and_then(|hello| hello.server_name.as_ref());
        if let Some((host, (_, hello))) = named.zip(tls.sign) {
            let ground = Ground::TlsHello(hello.frame);
            verdict.host = Some(HostClue { host: Arc::clone(host), ground });
            return;
        }
        let e = self.handshake();
        if verdict.outcome == Outcome::Connected || e.reply.is_some() {
            // The initiator accepted the acceptor's name, so the host that it dialed is known.
            return;
        }
        let answered =
            e.challenge.as_ref().and_then(|challenge| challenge.what.name.split_once('@'));
        // The initiator closed after the challenge although, by this clue, it had dialed the very name in it.
        let is_answered = |clue: &HostClue| {
            let asked = self.related.lookup.as_ref().map(|lookup| &*lookup.asked);
            verdict.outcome == Outcome::NameMismatch
                && answered.is_some_and(|(alive, host)| Some(alive) == asked && host == &*clue.host)
        };
        // The close contradicts a clue that only shows what the initiator usually dials.
        let is_firm = |clue: &HostClue| matches!(clue.ground, Ground::Dns { .. });
        let mut hosts = self.related.hosts.iter();
        let host = hosts.find(|clue| is_firm(clue) || !is_answered(clue)).cloned();
        if host.as_ref().is_some_and(is_answered) && verdict.confidence == Confidence::Likely {
            // The close is that of a name mismatch, but by the clue the two names are equal.
            verdict.confidence = Confidence::Possible;
        }
        verdict.host = host;
    }

    /// Bytes that do not arrive, if that concerns this outcome.
    fn undelivered(&self, outcome: Outcome) -> Option<Undelivered> {
        match outcome {
            Outcome::TimedOut | Outcome::Aborted => self.undelivered_until_close(),
            Outcome::Connected | Outcome::Tls | Outcome::Incomplete => {
                Undelivered::of(self.seen, None)
            }
            _ => None,
        }
    }

    /// Bytes that did not arrive before the first close.
    fn undelivered_until_close(&self) -> Option<Undelivered> {
        Undelivered::of(self.seen, self.judged_close().map(|(close, _)| close.mark.at))
    }

    fn unanswered(&self) -> Verdict {
        if self.seen.syn_timed_out(Role::Initiator) {
            Verdict::likely(Outcome::Unanswered)
                .not_excluding(&["the answer took a path past the capture point"])
        } else {
            Verdict::incomplete()
        }
    }

    /// The verdict on a connection that begins with a PROXY protocol header, unless the header was understood. A node
    /// reads it as the length of a message, and waits for the rest. A proxy that understands it passes on what the node
    /// behind it answers.
    fn behind_proxy_header(&self) -> Option<Verdict> {
        if self.seen.proxy.is_none() || self.seen.tcp.sides.acceptor.bytes > 0 {
            return None;
        }
        let verdict = match self.judged_close() {
            Some((_, by)) => Verdict::proven(Outcome::NotDistribution).by(by),
            None => Verdict::incomplete(),
        };
        Some(verdict.over(Protocol::Unknown))
    }

    fn tls(&self) -> Option<Verdict> {
        let PerRole { initiator, acceptor } = &self.seen.tls;
        let sign = |sign: Option<(TlsSign, PacketRef)>| sign.map(|(sign, _)| sign);
        let outcome = match (sign(initiator.sign), sign(acceptor.sign)) {
            (None, None) => return None,
            (Some(_), Some(_)) => self.tls_on_both_sides(),
            // The acceptor answered a `send_name` in clear with an alert.
            (None, Some(TlsSign::Alert)) if self.handshake().send_name.is_some() => {
                Verdict::proven(Outcome::TlsMismatch).by(Role::Acceptor)
            }
            (Some(TlsSign::Hello), None) => self.tls_from_initiator_only(),
            _ => Verdict::incomplete(),
        };
        Some(outcome.over(Protocol::Tls))
    }

    /// The verdict where both sides sent TLS records, and what one of them sent of its handshake did not arrive.
    fn tls_flight_lost(&self) -> Option<Verdict> {
        let lost = self.undelivered_until_close()?;
        // What follows the Finished message of a side is encrypted, and it is the last of its handshake.
        let is_over = |record: &SealedRecord| record.end <= lost.offset;
        if self.seen.tls[lost.from].sealed.iter().any(is_over) {
            return None;
        }
        Some(match self.judged_close() {
            Some((_, by)) => Verdict::likely(Outcome::TimedOut).by(by),
            None => Verdict::incomplete(),
        })
    }

    /// The verdict where both sides sent TLS records: a refusal if an alert ended the TLS handshake.
    fn tls_on_both_sides(&self) -> Verdict {
        match self.alert.filter(TlsAlert::is_refusal) {
            Some(TlsAlert { from, content: AlertContent::Number(_), .. }) => {
                Verdict::proven(Outcome::Aborted).by(from)
            }
            Some(TlsAlert { from, .. }) => {
                Verdict::likely(Outcome::Aborted).by(from).not_excluding(&[
                    "an alert about something other than a certificate",
                    "a node that left during the handshake for a reason of its own",
                ])
            }
            None => self.tls_flight_lost().unwrap_or(Verdict::proven(Outcome::Tls)),
        }
    }

    /// The verdict where only the initiator sent TLS records.
    fn tls_from_initiator_only(&self) -> Verdict {
        if self.handshake().status.is_some() || self.seen.foreign.acceptor.is_some() {
            return Verdict::proven(Outcome::TlsMismatch);
        }
        let Some((close, by)) = self.judged_close() else { return Verdict::incomplete() };
        if self.seen.tcp.sides.acceptor.bytes > 0 {
            return Verdict::incomplete();
        }
        if self.undelivered_until_close().is_some_and(|lost| lost.from == Role::Initiator) {
            return Verdict::likely(Outcome::TimedOut).by(by);
        }
        let last = self.seen.tcp.sides.initiator.last_bytes.unwrap_or(close.mark.at);
        // A node without TLS waits for the rest of a message until its setup time is over.
        let least = if by == Role::Acceptor { ACCEPTOR_WAITS } else { SILENCE };
        if close.mark.at.since(last) >= least {
            if by == Role::Initiator {
                match self.acceptor_closes_at_once(close.mark.at) {
                    Some(true) => {}
                    Some(false) => {
                        return Verdict::likely(Outcome::TimedOut)
                            .by(by)
                            .not_excluding(&["the acceptor does not use TLS"]);
                    }
                    None => return Verdict::incomplete(),
                }
            }
            Verdict::likely(Outcome::TlsMismatch).not_excluding(&["the acceptor hung"])
        } else if by == Role::Initiator {
            // A node drops its dial for one of its peer's that began at the same time, and inside TLS names and status
            // are not seen. Nothing that the acceptor did can be the reason.
            Verdict::incomplete()
        } else {
            let options: &[&str] = match by {
                Role::Acceptor => {
                    &["the acceptor's own TLS options do not load: a server_ option of \
                                     -ssl_dist_opt, or the server part of -ssl_dist_optfile"]
                }
                Role::Initiator => &[],
            };
            Verdict::likely(Outcome::Aborted)
                .by(by)
                .not_excluding(&["the acceptor does not use TLS", "a proxy without a backend"])
                .not_excluding(options)
        }
    }

    /// Whether the acceptor closed as soon as the initiator had, at `closed`: a node that waits for the rest of a message
    /// does, and one that hangs, or was stopped, does not. `None` if the capture may lack its FIN.
    fn acceptor_closes_at_once(&self, closed: Timestamp) -> Option<bool> {
        let side = &self.seen.tcp.sides.acceptor;
        let way = self.seen.tcp.round_trip.unwrap_or_default();
        match side.closed_at {
            Some(at) => Some(at.since(closed) <= way + BEFORE_DELAYED_ACK),
            None if side.fin_unseen || self.seen.at.since(closed) < way + STILL_OPEN => None,
            None => Some(false),
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
        let acceptor = &self.seen.tcp.sides.acceptor;
        let has_all = self.seen.tcp.both_seen && acceptor.missing_bytes == 0;
        if e.ack.is_none() && e.reply.is_some() && from_acceptor == 0 && has_all {
            // A node sends frames when it has the last message of the acceptor, which the acceptor did not send.
            return None;
        }
        if e.cookies.contradict() && from_initiator == 0 {
            // The acceptor accepted the initiator's digest, and made its own with another cookie.
            return Some(Verdict::proven(Outcome::CookieMismatch).by(Role::Initiator));
        }
        if e.ack.is_some() && from_initiator == 0 {
            let close = self.judged_close().filter(|(_, by)| *by == Role::Initiator);
            if close.is_some_and(|(close, _)| !has_received_any(&close, e.ack.as_ref())) {
                // The initiator never received the message that completes the handshake.
                return None;
            }
            if close.is_none() && self.is_ack_lost() {
                return Some(Verdict::incomplete());
            }
        }
        if e.reached().is_none() {
            // The capture began after the handshake: there are frames, and no digests to compare.
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
            // The capture may lack the bytes that would show whether the digests agree.
            Verdict::incomplete()
        } else if left_at_once {
            Verdict::new(Outcome::Connected, Confidence::Possible)
                .not_excluding(&[refuses, "a probe that closes once it is connected"])
        } else {
            Verdict::likely(Outcome::Connected).not_excluding(&[refuses])
        })
    }

    /// Whether the acceptor sends its `challenge_ack` again and again, and receives no acknowledgement.
    fn is_ack_lost(&self) -> bool {
        let lost = Undelivered::of(self.seen, None).filter(|lost| lost.from == Role::Acceptor);
        lost.zip(self.handshake().ack.as_ref()).is_some_and(|(lost, ack)| lost.offset < ack.end)
    }

    /// A refusal in a status message. It decides without a close, and may cross one.
    fn refused_by_message(&self) -> Option<Verdict> {
        if self.handshake().late_refusal.is_some() {
            return Some(self.not_allowed());
        }
        match &self.handshake().status.as_ref()?.what {
            StatusText::Nok => Some(Verdict::proven(Outcome::Superseded).by(self.dropped_by())),
            StatusText::NotAllowed => Some(self.not_allowed()),
            StatusText::Alive
                if self.handshake().alive_reply.as_ref().is_some_and(|reply| !reply.what) =>
            {
                Some(Verdict::proven(Outcome::AlreadyConnected).by(Role::Acceptor))
            }
            _ => None,
        }
    }

    /// The side that ended a dial with status `nok`: the acceptor, unless the initiator had closed before it received
    /// the status.
    fn dropped_by(&self) -> Role {
        let first = self.seen.tcp.close;
        let is_dropped =
            first.zip(self.handshake().status.as_ref()).is_some_and(|(close, status)| {
                close.by == Some(Role::Initiator) && !has_received(&close, status)
            });
        if is_dropped { Role::Initiator } else { Role::Acceptor }
    }

    fn not_allowed(&self) -> Verdict {
        if self.handshake().send_name.is_none() {
            return Verdict::incomplete();
        }
        let (sure, possible) = self.missing(Role::Initiator, self.acceptor_demands());
        let verdict = if possible.is_empty() {
            Verdict::likely(Outcome::NotAllowed)
                .not_excluding(&["the acceptor requires flags that no known release requires"])
        } else if sure.is_empty() {
            // A node is refused with the same status for its release and by a list of allowed nodes.
            Verdict::likely(Outcome::VersionMismatch)
        } else {
            Verdict::likely(Outcome::VersionMismatch)
                .not_excluding(&["the acceptor's list of allowed nodes (net_kernel:allow/1)"])
        };
        verdict.lacking(sure, possible).by(Role::Acceptor)
    }

    /// The flags that the side in this role lacks, of those that its peer surely demands, and of those that it may
    /// demand.
    fn missing(&self, role: Role, peer: Demands) -> (DistFlags, DistFlags) {
        let unknown = self.handshake().unknown_flags(role);
        let flags = self.handshake().hello(role).map_or(DistFlags(0), |hello| hello.what.flags);
        let of = |release: Release| flags.missing(release.mandatory()).difference(unknown);
        (of(peer.sure), of(peer.possible))
    }

    /// What the acceptor demands, by its hello on this connection or on others, or by the version with which it is registered.
    fn acceptor_demands(&self) -> Demands {
        let demands = self.acceptor().map(Software::demands).unwrap_or_default();
        self.related.acceptor_version.map_or(demands, |version| demands.registered_with(version))
    }

    /// The program that the acceptor is, as far as any connection shows.
    fn acceptor(&self) -> Option<Software> {
        Software::of(self.handshake(), Role::Acceptor).or(self.related.acceptor)
    }

    /// The first close, if the capture has every message that it can have depended on.
    pub(super) fn judged_close(&self) -> Option<(CloseFacts, Role)> {
        let close = self.seen.tcp.close?;
        let by = close.by?;
        // If the capture lacks the FIN before an RST, the time of the close is not known.
        let is_dated = close.kind == CloseKind::Fin || !self.seen.tcp.sides[by].fin_unseen;
        let is_whole =
            is_dated && self.seen.tcp.both_seen && !self.handshake().is_torn() && close.is_whole;
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

        // A node that accepts a connection from its peer may drop its own dial before it has sent anything on it.
        let is_silent = self.seen.tcp.sides.initiator.bytes == 0;
        let may_be_dropped = hello.is_some() || is_silent && self.related.dialed_back;
        if by == Role::Initiator && may_be_dropped && answer.is_none() {
            if self.related.crossed {
                return Verdict::likely(Outcome::Superseded)
                    .by(by)
                    .not_excluding(&["the initiator was stopped at this very moment"]);
            }
            // A node that drops its dial for its peer's answers the peer's with `ok_simultaneous` a moment later.
            let was_quick = close.mark.at.since(self.last_message()) < SILENCE;
            if was_quick && self.seen.at.since(close.mark.at) < CROSSING_SHOWS {
                return Verdict { is_pending: true, ..Verdict::incomplete() };
            }
            // Without a crossing dial the close is a failure; a capture that lost packets may lack that dial, or its answer.
            if was_quick && self.related.may_have_crossed {
                return Verdict::incomplete();
            }
            if self.seen.lost_until.is_some_and(|lost| lost >= self.seen.tcp.first.at) {
                return Verdict::incomplete();
            }
        }
        // What was sent before the capture begins, or in a gap, is not known.
        let is_opening_seen = self.seen.tcp.sides.each().any(|(_, side)| side.syn.is_some());
        let is_lost = e.is_lost.initiator || e.is_lost.acceptor || !is_opening_seen;
        if e.reached().is_none() && is_lost {
            return Verdict::incomplete();
        }
        if answer.is_none() && challenge.is_none() && e.is_lost.acceptor {
            // What the acceptor may have sent before the capture begins, or in a gap, is not known.
            return Verdict::incomplete();
        }
        match (answer, challenge) {
            // The capture lacks the acceptor's status, which precedes its challenge.
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
        let Some(send_name) = &self.handshake().send_name else { return Verdict::incomplete() };
        if by == Role::Acceptor && self.is_at_once(close, hello) {
            let acceptor = self.related.acceptor.unwrap_or_default();
            // Nodes of OTP 22 and older register with version 5, and later ones with 6.
            let is_old = self.related.acceptor_version.map(|version| version < 6);
            // OTP 25.0 to 25.2 close on an old hello, and OTP 22 and older on a new one.
            let is_refused = match send_name.what.version {
                5 => is_old != Some(true) && acceptor.may_refuse_old_hellos(),
                _ => is_old == Some(true) && acceptor.may_refuse_new_hellos(),
            };
            if !send_name.what.is_legal {
                return Verdict::likely(Outcome::Aborted)
                    .by(by)
                    .not_excluding(&["the name in send_name is not a valid node name"]);
            }
            const OTHERS: [&str; 2] = [
                "a third attempt, while the acceptor still checks an older connection",
                "what listens on that port is not an Erlang node",
            ];
            if is_refused {
                return Verdict::likely(Outcome::VersionMismatch).by(by).not_excluding(&OTHERS);
            }
            let verdict = Verdict::likely(Outcome::Aborted).by(by);
            return if send_name.what.version == 6 && acceptor.may_refuse_new_hellos() {
                verdict.not_excluding(&["the acceptor is OTP 22 or older"]).not_excluding(&OTHERS)
            } else {
                verdict.not_excluding(&OTHERS)
            };
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
        // An initiator that closes after a silence did not close because of the challenge.
        if by == Role::Acceptor || close.mark.at.since(self.last_message()) >= SILENCE {
            let verdict =
                self.gave_up_or_left(close, by, Role::Initiator, MessageKind::ChallengeReply);
            return if by == Role::Initiator {
                verdict.not_excluding(&["the initiator dialed a node of another name"])
            } else {
                verdict
            };
        }
        // A node that rejects the acceptor's name has read the challenge and closes with FIN. Its kernel sends RST
        // only if received bytes were not read.
        if close.kind == CloseKind::Rst || !self.is_at_once(close, challenge) {
            return Verdict::likely(Outcome::Aborted)
                .by(by)
                .not_excluding(&["the initiator dialed a node of another name"]);
        }
        let software = Software::of(self.handshake(), Role::Initiator).unwrap_or_default();
        if software.implementation.is_foreign() {
            // Observed: erl_dist, erldistpy, edp_client, Pyrlang and Ergo compare neither name nor flags.
            return Verdict::likely(Outcome::Aborted).by(by).not_excluding(&[
                "the initiator dialed a node of another name",
                "the initiator demands flags that the acceptor lacks",
            ]);
        }
        // A node checks the acceptor's name first, then its flags (`recv_challenge` in OTP's `dist_util`).
        let asked = self.related.lookup.as_ref().map(|lookup| lookup.asked.as_ref());
        let answered = alive_and_host(theirs.what.name.as_bytes());
        if let (Some(asked), Some((alive, _))) = (asked, answered)
            && asked.as_bytes() != alive
        {
            return Verdict::proven(Outcome::NameMismatch).by(by);
        }
        let (sure, possible) = self.missing(Role::Acceptor, software.demands());
        let old_layout = theirs.what.version == 5 && mine.what.version == 6;
        if old_layout || !sure.is_empty() || !possible.is_empty() {
            return Verdict::likely(Outcome::VersionMismatch)
                .by(by)
                .not_excluding(&["the initiator dialed a node of another name"])
                .lacking(sure, possible);
        }
        Verdict::likely(Outcome::NameMismatch)
            .by(by)
            .not_excluding(&["the initiator closed for another reason at this very moment"])
    }

    fn closed_after_reply(&self, close: &CloseFacts, by: Role, reply: PacketRef) -> Verdict {
        if by == Role::Initiator {
            return self.gave_up_or_left(close, by, Role::Acceptor, MessageKind::ChallengeAck);
        }
        let acceptor = self
            .handshake()
            .challenge
            .as_ref()
            .map_or("the acceptor", |challenge| &*challenge.what.name);
        if !self.is_at_once(close, reply) {
            let mut verdict = Verdict::likely(Outcome::Aborted).by(by);
            verdict.awaited = Some(MessageKind::ChallengeAck);
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
            .push(format!("{acceptor} closed for another reason at this very moment").into());
        verdict
    }

    /// The verdict on a close while `sender` had yet to send the message `awaited`: its peer gave up after a silence,
    /// or one of the two closed for no visible reason.
    fn gave_up_or_left(
        &self,
        close: &CloseFacts,
        by: Role,
        sender: Role,
        awaited: MessageKind,
    ) -> Verdict {
        if by != sender && close.mark.at.since(self.last_message()) >= SILENCE {
            if self.seen.lost_until.is_some_and(|lost| lost >= self.seen.tcp.first.at) {
                // Whether what was sent had arrived is not known: its copies may be lost as well.
                return Verdict::incomplete();
            }
            let mut verdict = Verdict::likely(Outcome::TimedOut)
                .by(by)
                .not_excluding(&["what the silent side sent was lost on the way"]);
            verdict.awaited = Some(awaited);
            return verdict;
        }
        Verdict::likely(Outcome::Aborted).by(by).not_excluding(match by {
            Role::Initiator => &["the initiator was stopped", "a probe that closes"],
            Role::Acceptor => &["the acceptor was stopped", "a proxy without a backend"],
        })
    }

    /// Time of the last handshake message before the first close; of the SYN-ACK or SYN if there was none.
    fn last_message(&self) -> Timestamp {
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
            tcp.close
                .is_none_or(|close| close.by == Some(*from) || is_received(&close, *mark, *end))
        });
        known.map(|(mark, ..)| mark.at).chain(opened).max().unwrap_or(tcp.first.at)
    }

    /// Whether a close followed `trigger` within a few round trips; retransmissions extend the time.
    fn is_at_once(&self, close: &CloseFacts, trigger: PacketRef) -> bool {
        let tcp = &self.seen.tcp;
        let copies = tcp.sides.each().filter_map(|(_, side)| side.last_bytes);
        let last = copies.chain([trigger.at]).max().unwrap_or(trigger.at);
        let trips = tcp.round_trip.unwrap_or_default().min(LONGEST_TRIP) * 4;
        let allowed =
            AT_ONCE + trips + if tcp.is_lossy { TWO_RETRANSMISSIONS } else { Duration::ZERO };
        close.mark.at.since(last) <= allowed
    }
}

/// A message of `from`, if the side `by` knew it when it closed: a side knows the messages that it sent, and those that
/// it had received.
fn known<'s, T>(
    message: &'s Option<Received<T>>,
    from: Role,
    by: Role,
    close: &CloseFacts,
) -> Option<&'s Received<T>> {
    message.as_ref().filter(|message| from == by || has_received(close, message))
}

/// Whether the closing side had received a message of its peer.
fn has_received<T>(close: &CloseFacts, message: &Received<T>) -> bool {
    is_received(close, message.mark, message.end)
}

/// Whether the closing side had received a message of its peer, if that was sent at all.
fn has_received_any<T>(close: &CloseFacts, message: Option<&Received<T>>) -> bool {
    message.is_some_and(|message| has_received(close, message))
}

/// Whether the closing side had received its peer's stream up to `end`. An RST without an acknowledgement does not show
/// that; then the order of the packets counts.
pub(super) fn is_received(close: &CloseFacts, mark: PacketRef, end: TcpOffset) -> bool {
    match close.received {
        Some(received) => end <= received,
        // Frames of several captures have no order but their times.
        None if mark.frame.input != close.mark.frame.input => mark.at <= close.mark.at,
        None => mark.frame <= close.mark.frame,
    }
}

/// A node answers its peer's dial within milliseconds of closing its own; the rest is for the way of the answer.
const CROSSING_SHOWS: Duration = Duration::from_secs(1);

/// A side that does not send the message that is due for this long is silent. Setup times are configurable
/// (`net_setuptime`, 7 s by default), so a silence need not last 7 s.
const SILENCE: Duration = Duration::from_secs(1);

/// A node that still runs closes within this time of its peer, well before the delayed acknowledgement of a kernel whose
/// program does nothing (40 ms in Linux).
const BEFORE_DELAYED_ACK: Duration = Duration::from_millis(35);

/// A node whose FIN is not seen within this time of its peer's has not closed.
const STILL_OPEN: Duration = Duration::from_secs(1);

/// An acceptor without TLS closes after its setup time, 7 s by default: one that closes much earlier has decided to.
const ACCEPTOR_WAITS: Duration = Duration::from_secs(5);

/// A node closes within microseconds of reading a message that it rejects; the bound leaves room for a busy host.
const AT_ONCE: Duration = Duration::from_millis(100);

/// A longer measured round trip includes a pause of another cause.
const LONGEST_TRIP: Duration = Duration::from_millis(500);

/// The time of two retransmissions: the first follows after at least 200 ms (the minimum retransmission timeout of
/// Linux), the second after twice that.
const TWO_RETRANSMISSIONS: Duration = Duration::from_millis(650);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{dial, mark};
    use crate::judge::tls::AlertContent;

    #[test]
    fn a_handshake_inside_tls_is_read_unless_an_alert_refuses_before_it_is_over() {
        let is_read = |has_data: bool, alert: Option<u8>, has_ack: bool, frames: u64| {
            let mut seen = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged().seen;
            seen.opened_tls.has_data = has_data;
            seen.handshake.ack = seen.handshake.ack.filter(|_| has_ack);
            seen.traffic.acceptor.frames = frames;
            let content = |number| AlertContent::Number(number);
            let of = |content| TlsAlert { from: Role::Acceptor, mark: mark(1), content };
            let alert = alert.map(content).map(of);
            let related = RelatedFacts::default();
            Evaluation { seen: &seen, related: &related, alert }.is_read_inside_tls()
        };
        const BAD_CERTIFICATE: Option<u8> = Some(42);
        const CLOSE_NOTIFY: Option<u8> = Some(0);
        assert!(is_read(true, None, false, 0));
        assert!(is_read(true, CLOSE_NOTIFY, false, 0));
        assert!(!is_read(true, BAD_CERTIFICATE, false, 0));
        assert!(is_read(true, BAD_CERTIFICATE, true, 0));
        assert!(is_read(true, BAD_CERTIFICATE, false, 1));
        for (alert, has_ack) in [(None, true), (None, false), (BAD_CERTIFICATE, true)] {
            assert!(!is_read(false, alert, has_ack, 1), "nothing is opened");
        }
    }
}
