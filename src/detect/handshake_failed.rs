//! A handshake that ended without a better reading.
//!
//! `handshake-timeout`: a side owed a message, was silent, and the other gave up. `handshake-aborted`: closed
//! in mid-handshake and nothing shows why.

use super::finding::{Sides, closed, finding, seconds, settled, shown};
use super::log_lines;
use super::{LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::packet::PacketRef;
use crate::record::{
    CloseKind, Event, Evidence, Finding, Flowed, MessageKind, Outcome, Protocol, Role, Session,
    Severity, Shows,
};

/// `beamscope explain handshake-timeout`.
const TIMEOUT: RuleDoc = RuleDoc {
    rule: "handshake-timeout",
    severity: Severity::Medium,
    summary: "a side fell silent in mid-handshake",
    means: "In mid-handshake one side owed the next message and did not send it, and the other \
            gave up when its set-up time was over (7 s by default). The host is alive, since its \
            kernel took the connection; the node behind it is stuck, or something in between \
            swallows what is said.",
    proof: "The message that was owed is absent, the capture has both directions without a hole, \
            and the other side closes after seconds of silence.",
    resembles: "A hello of TLS to a node without TLS is waited out in the same way: tls-mismatch. \
                So is what is no Erlang at all: not-distribution. A close within milliseconds is a \
                judgement and no time-out.",
    logs: &[
        LogLine { by: "both nodes", releases: "all", text: "" },
        log_lines::SET_UP_TIME_OVER,
        log_lines::RABBITMQ_TIMED_OUT,
    ],
    remedy: &[
        "Look at the silent node: it may be suspended, swapping, out of memory, or its schedulers \
         overloaded; see whether it answers in its own shell.",
        "After a status alive, the dialed node waits for an older connection of the pair to die: \
         look at that one.",
        "Where the node is well, look for a proxy, a load balancer or a service mesh that opens \
         the connection and passes nothing on.",
        "On slow hosts, the kernel application's net_setuptime gives more time.",
    ],
};

/// `beamscope explain handshake-aborted`.
const ABORTED: RuleDoc = RuleDoc {
    rule: "handshake-aborted",
    severity: Severity::Medium,
    summary: "closed in mid-handshake, and nothing shows why",
    means: "One side closed the connection in mid-handshake, and nothing in the capture shows why: \
            the name, the flags, the cookie and the time give no reason.",
    proof: "A close before challenge_ack that no other rule explains; or a reset right after \
            challenge_ack, before a single frame.",
    resembles: "Whoever connects, says nothing and leaves is a health check or a scanner more \
                often than a node. A close where the cookie, the name or the release is judged has \
                a rule of its own.",
    logs: &[
        LogLine { by: "both nodes", releases: "all", text: "" },
        log_lines::CLOSED_WITHOUT_STATUS,
        log_lines::RABBITMQ_CLOSED,
    ],
    remedy: &[
        "Read the log of the side that closed, at that moment: a node that crashed or was stopped \
         says so.",
        "Look at limits on the dialed host (open files, +Q ports), and at proxies without a \
         backend.",
        "If an Erlang implementation of another make is involved, compare the names it uses: an \
         illegal one is closed on without a word.",
    ],
};

#[derive(Default)]
pub(super) struct HandshakeFailed;

impl Rule for HandshakeFailed {
    fn pages(&self) -> &'static [RuleDoc] {
        &[TIMEOUT, ABORTED]
    }

    fn on_event(&mut self, event: &Event, _: &World, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let bytes = session.traffic.initiator.bytes + session.traffic.acceptor.bytes;
        let reached = match session.reached {
            Some(message) => format!("after {message}"),
            None if bytes > 0 => "before a whole message was said".to_owned(),
            None => "before anything was said".to_owned(),
        };
        let by = session.detected_by.unwrap_or(Role::Initiator);
        let (who, other) = sides.beginning_with(by);
        let mut found = match session.outcome {
            Outcome::TimedOut => {
                let mut found = finding(&TIMEOUT, session, &sides);
                let owed = session.seen.owed.unwrap_or("next message");
                let silence = seconds(session.seen.silence_us);
                found.title = format!("{other} fell silent in the handshake with {who}");
                found.explanation = format!(
                    "{other} owed the {owed} and sent none for {silence}; then {who} gave up."
                );
                // One node that hangs is one cause, whoever waits for it.
                found.parties = other.clone();
                found.remedy = vec![
                    format!(
                        "Look at {other}: is it suspended, out of memory, swapping, or overloaded? Its \
                         kernel accepts connections even when the node itself does nothing."
                    ),
                    "Where the node is well, look for a proxy or a filter that opens the connection and \
                     swallows what follows."
                        .to_owned(),
                ];
                found
            }
            Outcome::Aborted => {
                // Whoever connects, says nothing and leaves is a probe more often than a node.
                let is_probe = by == Role::Initiator && session.traffic.initiator.bytes == 0;
                let severity = if is_probe { Severity::Low } else { Severity::Medium };
                let mut found = finding(&ABORTED, session, &sides);
                found.severity = severity;
                found.title = format!("{who} closed the connection with {other} {reached}");
                found.explanation = format!(
                    "The handshake stopped {reached}: {who} closed the connection, and nothing in this \
                     capture shows why."
                );
                found.remedy = vec![format!(
                    "Read the log of {who} at this moment, and of any proxy in between."
                )];
                found
            }
            Outcome::Connected if is_reset_before_first_frame(session) => {
                let mut found = finding(&ABORTED, session, &sides);
                found.title =
                    format!("the connection of {a} and {b} was reset as soon as it was up");
                found.explanation =
                    "The handshake ran to its end, and a reset came before the first frame: a node \
                     crashed at that point, or a middlebox cut the connection."
                        .to_owned();
                found.remedy = vec!["Read the logs of both nodes at this moment.".to_owned()];
                found
            }
            _ => return,
        };
        found.evidence.extend(last_words(session));
        found.evidence.extend(closed(session, "in mid-handshake"));
        if session.protocol == Protocol::Tls {
            found.evidence.extend(session.seen.tls.and_then(|(role, mark)| {
                shown(Some(mark), Some(role), Shows::TlsHello("TLS hello"))
            }));
        }
        out.push(found);
    }
}

fn is_reset_before_first_frame(session: &Session) -> bool {
    let traffic = &session.traffic;
    // Bytes that the capture lacks may have been frames.
    let silent = |side: &Flowed| side.messages + side.ticks + side.missing_bytes == 0;
    session.close == Some(CloseKind::Rst)
        && session.reached.is_some()
        && silent(&traffic.initiator)
        && silent(&traffic.acceptor)
}

/// The message that came last before the close.
fn last_words(session: &Session) -> Option<Evidence> {
    let seen = &session.seen;
    let status = seen.status.as_ref().map(|(mark, _)| *mark);
    let said = [
        (seen.challenge_ack, Role::Acceptor, MessageKind::ChallengeAck),
        (seen.challenge_reply, Role::Initiator, MessageKind::ChallengeReply),
        (seen.challenge, Role::Acceptor, MessageKind::Challenge),
        (status, Role::Acceptor, MessageKind::Status),
        (seen.send_name, Role::Initiator, MessageKind::SendName),
    ];
    let before = |mark: &Option<PacketRef>| {
        mark.is_some_and(|mark| seen.close.is_none_or(|close| mark.at <= close.at))
    };
    let (mark, from, what) = said.into_iter().find(|(mark, ..)| before(mark))?;
    shown(mark, Some(from), what)
}
