//! A malformed frame, after which the receiver closed the connection (`corrupt-distribution`).
//!
//! The capture cannot show whether the sender wrote the bytes or something on the path changed them.

use std::time::Duration;

use super::finding::{Sides, finding, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::CorruptFrame;
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `corrupt-distribution`.
const DOC: RuleDoc = RuleDoc {
    rule: "corrupt-distribution",
    severity: Severity::High,
    summary: "a malformed frame, and the connection was closed",
    symptom: "a connection is closed after a malformed message",
    meaning: "A node closes a connection when it cannot parse what it receives: an invalid \
              distribution header, control message or fragment. All links and monitors over that \
              connection end with noconnection.",
    evidence: "Bytes that are no frame, or a frame whose header or control message cannot be \
               parsed, in a stream with no bytes missing; then the other side closes at once.",
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
        if !session.is_settled() {
            return;
        }
        let (Some((from, CorruptFrame { mark, field })), Some(close)) =
            (session.seen.corrupt(), session.seen.closed())
        else {
            return;
        };
        let is_answered = session.seen.closed_by() == Some(from.peer())
            && close.at >= mark.at
            && close.at.since(mark.at) <= AT_ONCE;
        let is_whole = session.seen.tcp.sides[from].missing_bytes == 0;
        if session.outcome() != Outcome::Connected || !is_answered || !is_whole {
            return;
        }
        let sides = Sides::of(session);
        let (sender, closer) = sides.side_and_peer(from);
        let mut found = finding(&DOC, session, &sides);
        found.confidence = Confidence::Likely;
        found.title =
            format!("{closer} closed the connection after a malformed frame from {sender}");
        found.explanation = format!(
            "{sender} sent bytes that cannot be read as a {field}, and {closer} closed the connection at \
             once. No bytes of the stream are missing in the capture."
        );
        found.remedy = DOC.remedy.iter().map(ToString::to_string).collect();
        found.evidence.extend(shown(
            Some(*mark),
            Some(from),
            Shows::Malformed { field: field.clone() },
        ));
        found.evidence.extend(shown(
            Some(close),
            session.seen.closed_by(),
            Shows::Closed("close".into()),
        ));
        found.not_excluded =
            vec![format!("{closer} closed the connection for another reason at that moment")];
        found.logged_by = vec![from.peer()];
        out.push(found);
    }
}

/// Maximum time from the frame to the close: a node closes as soon as it has read the frame.
const AT_ONCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use crate::detect::tests::{but, found};
    use crate::judge::JudgedConnection;
    use crate::judge::samples::{dial, mark};
    use crate::observe::{CorruptFrame, Role};

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

    #[test]
    fn missing_bytes_another_closer_and_a_later_close_are_no_finding() {
        assert!(titles(|session| session.seen.tcp.sides.initiator.missing_bytes = 1).is_empty());
        assert!(titles(|session| session.close(Role::Initiator, mark(5020))).is_empty());
        assert!(titles(|session| session.close(Role::Acceptor, mark(9000))).is_empty());
        assert!(titles(|session| session.seen.traffic.initiator.corrupt = None).is_empty());
    }
}
