//! A malformed frame, after which the receiver closed the connection (`corrupt-distribution`).
//!
//! The capture cannot show whether the sender wrote the bytes or something on the path changed them. A native record
//! (OTP 29) is well formed, but a node of an older release cannot read it: OTP 29 sends it whatever the peer knows.

use std::time::Duration;

use super::finding::{Sides, finding, release, shown};
use super::{Detection, EndedBy, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{CorruptFrame, Role};
use crate::packet::PacketRef;
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `corrupt-distribution`.
const DOC: RuleDoc = RuleDoc {
    rule: "corrupt-distribution",
    severity: Severity::High,
    summary: "a malformed frame, and the connection was closed",
    symptom: "a connection is closed after a malformed message",
    meaning: "A node closes a connection when it cannot parse what it receives: an invalid \
              distribution header, control message or fragment, or a term that its release does \
              not know, such as a native record of OTP 29. All links and monitors over that \
              connection end with noconnection.",
    evidence: "Bytes that are no frame, or a frame whose header or control message cannot be \
               parsed, in a stream with no bytes missing; then the other side closes at once. Or a \
               native record (tag 67) to a node whose hello lacks NATIVE_RECORDS, and such a close.",
    lookalikes: "A capture that lacks packets: bytes after a gap may look like anything, so \
                 nothing is reported there. A custom distribution carrier (-proto_dist) with its \
                 own framing.",
    log_lines: &[
        LogLine {
            writer: "the node that closes",
            releases: "all",
            text: "'b@h' got a corrupted distribution header from 'a@h' on distribution channel 5",
        },
        LogLine {
            writer: "the node that closes",
            releases: "OTP 28 and older",
            text: "'b@h' got a corrupted external term from 'a@h' on distribution channel 5",
        },
        LogLine {
            writer: "the node that closes",
            releases: "all",
            text: "** Got message from incompatible erlang on channel 5",
        },
        LogLine {
            writer: "the node that closes",
            releases: "all",
            text: "Invalid distribution message: 4 bytes: <<131,68,0,1>>",
        },
    ],
    remedy: &[
        "Open the frame that the finding names, and see whether the bytes after its length come \
         from a node or from something else.",
        "Look for devices that may change bytes on the path: a proxy, a VPN, offloading in a \
         faulty network card.",
        "After a native record: upgrade the receiving node to OTP 29, or send it tuples, maps or \
         old records.",
        "Check what the sending side is: another implementation of the protocol, a custom \
         carrier, or a NIF or driver that corrupts memory.",
    ],
};

#[derive(Default)]
pub(super) struct CorruptDistribution;

impl Rule for CorruptDistribution {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || session.outcome() != Outcome::Connected {
            return;
        }
        out.extend(malformed(session).or_else(|| native_record(session)));
    }
}

/// Whether what one side sent just before the close is the reason of it.
pub(super) fn explains(session: &JudgedConnection) -> bool {
    session.outcome() == Outcome::Connected
        && (malformed(session).is_some() || native_record(session).is_some())
}

/// The finding about a malformed frame.
fn malformed(session: &JudgedConnection) -> Option<Detection> {
    let (from, CorruptFrame { mark, field }) = session.seen.corrupt()?;
    let close = answered_by_close(session, from, *mark)?;
    let sides = Sides::of(session);
    let (sender, closer) = sides.side_and_peer(from);
    let mut found = about(session, &sides, from, close);
    found.title = format!("{closer} closed the connection after a malformed frame from {sender}");
    found.explanation = format!(
        "{sender} sent bytes that cannot be read as a {field}, and {closer} closed the connection at once. No bytes \
         of the stream are missing in the capture."
    );
    found.remedy = DOC
        .remedy
        .iter()
        .filter(|step| !step.contains("native"))
        .map(ToString::to_string)
        .collect();
    let what = Shows::Malformed { field: field.clone() };
    found.evidence.splice(0..0, shown(Some(*mark), Some(from), what));
    Some(found)
}

/// The finding about a native record that the receiver does not know.
fn native_record(session: &JudgedConnection) -> Option<Detection> {
    let of_side = |role| Some((role, session.seen.traffic[role].native_records?));
    let (from, records) = Role::BOTH.into_iter().find_map(of_side)?;
    let answered = |mark| Some((mark, answered_by_close(session, from, mark)?));
    let (mark, close) = answered(records.first).or_else(|| answered(records.last))?;
    let sides = Sides::of(session);
    let (sender, closer) = sides.side_and_peer(from);
    let mut found = about(session, &sides, from, close);
    found.title = format!(
        "{closer} closed the connection after a native record from {sender}, which it cannot read"
    );
    found.explanation = format!(
        "{sender} ({}) sent a message with a native record (tag 67, new in OTP 29). {closer} ({}) does not know such \
         terms: its hello lacks the flag NATIVE_RECORDS. OTP 29 sends them all the same. {closer} closed the \
         connection at once, and logs a corrupted external term; all links and monitors over it ended. That \
         comes back with each such message.",
        release(session, from),
        release(session, from.peer()),
    );
    found.remedy = vec![
        format!(
            "Upgrade {closer} to OTP 29, or do not send native records to it: use maps, tuples or old records in \
             messages while both releases run."
        ),
        format!(
            "Find the process: the log of {closer} has the line \"got a corrupted external term\" and the bytes of the \
             message, and frame {} has the receiver.",
            mark.frame.number
        ),
    ];
    let what = Shows::Note("message with a native record (tag 67)".into());
    found.evidence.splice(0..0, shown(Some(mark), Some(from), what));
    // The nodes connect again, and part again with the next record.
    found.ended_by = EndedBy::Nothing;
    Some(found)
}

/// The close with which the receiver answered, at once, what `from` sent at `mark`.
fn answered_by_close(session: &JudgedConnection, from: Role, mark: PacketRef) -> Option<PacketRef> {
    let close = session.seen.closed()?;
    let is_answered = session.seen.closed_by() == Some(from.peer())
        && close.at >= mark.at
        && close.at.since(mark.at) <= AT_ONCE;
    let is_whole = session.seen.tcp.sides[from].missing_bytes == 0;
    (is_answered && is_whole).then_some(close)
}

/// The parts that both findings share.
fn about(session: &JudgedConnection, sides: &Sides, from: Role, close: PacketRef) -> Detection {
    let (_, closer) = sides.side_and_peer(from);
    let mut found = finding(&DOC, session, sides);
    found.confidence = Confidence::Likely;
    found.evidence = shown(Some(close), session.seen.closed_by(), Shows::Closed("close".into()))
        .into_iter()
        .collect();
    found.not_excluded =
        vec![format!("{closer} closed the connection for another reason at that moment")];
    found.logged_by = vec![from.peer()];
    found
}

/// Maximum time from the frame to the close: a node closes as soon as it has read the frame.
const AT_ONCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use crate::detect::tests::{but, found};
    use crate::judge::JudgedConnection;
    use crate::judge::samples::{dial, mark};
    use crate::observe::{CorruptFrame, NativeRecords, Role};

    /// Titles for a connection with a malformed frame of its initiator at 5 s, after `change`.
    fn titles(change: impl FnOnce(&mut JudgedConnection)) -> Vec<String> {
        let dial = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").closed(5100, [5000, 4900]);
        let event = but(dial, |session| {
            let corrupt = CorruptFrame { mark: mark(5000), field: "control message".into() };
            session.seen.traffic.initiator.corrupt = Some(corrupt);
            session.close(Role::Acceptor, mark(5020));
            change(session);
        });
        let found = found(&[event]).into_iter();
        let corrupt = found.filter(|finding| finding.rule == "corrupt-distribution");
        corrupt.map(|finding| finding.title.clone()).collect()
    }

    #[test]
    fn a_close_after_a_malformed_frame_is_a_finding() {
        assert_eq!(titles(|_| ()), ["b@h closed the connection after a malformed frame from a@h"]);
    }

    /// Titles for a connection whose initiator sent native records at 4 s and at 5 s, after `change`.
    fn records(change: impl FnOnce(&mut JudgedConnection)) -> Vec<String> {
        titles(|session| {
            let traffic = &mut session.seen.traffic.initiator;
            traffic.corrupt = None;
            traffic.native_records = Some(NativeRecords { first: mark(1000), last: mark(5000) });
            change(session);
        })
    }

    #[test]
    fn a_close_after_a_native_record_names_it() {
        let title =
            "b@h closed the connection after a native record from a@h, which it cannot read";
        assert_eq!(records(|_| ()), [title]);
        assert_eq!(records(|session| session.close(Role::Acceptor, mark(1010))), [title]);
        assert!(records(|session| session.close(Role::Acceptor, mark(900))).is_empty(), "before");
        assert!(records(|session| session.close(Role::Acceptor, mark(9000))).is_empty(), "later");
        assert!(records(|session| session.close(Role::Initiator, mark(5020))).is_empty(), "sender");
    }

    #[test]
    fn missing_bytes_another_closer_and_a_later_close_are_no_finding() {
        assert!(titles(|session| session.seen.tcp.sides.initiator.missing_bytes = 1).is_empty());
        assert!(titles(|session| session.close(Role::Initiator, mark(5020))).is_empty());
        assert!(titles(|session| session.close(Role::Acceptor, mark(9000))).is_empty());
        assert!(titles(|session| session.seen.traffic.initiator.corrupt = None).is_empty());
    }

    #[test]
    fn a_reset_behind_a_malformed_frame_is_no_second_problem() {
        let rules = |is_corrupt: bool| {
            let dial = dial(0, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").closed(5100, [5000, 3000]);
            let mut rules = crate::detect::tests::rules(&[but(dial, |session| {
                let corrupt = CorruptFrame { mark: mark(5000), field: "control message".into() };
                session.seen.traffic.initiator.corrupt = is_corrupt.then_some(corrupt);
                session.seen.traffic.initiator.messages = 3;
                session.close(Role::Acceptor, mark(5020));
                let close = session.seen.tcp.close.as_mut().unwrap();
                (close.kind, close.is_answer) = (crate::observe::CloseKind::Rst, true);
            })]);
            rules.retain(|rule| *rule != "clear-text-distribution");
            rules
        };
        assert_eq!(rules(true), ["corrupt-distribution"]);
        assert_eq!(rules(false), ["connection-lost"]);
    }
}
