//! Two OTP releases that are too far apart.
//!
//! Symptom: status `not_allowed`, or a close right after the other side's flags. Evidence: a flag that the refusing
//! side's release requires is missing, or the hello has a version that it cannot parse. Similar cases are a list of
//! allowed nodes, and an initiator that dialed another name.

use super::finding::{Sides, closed, finding, release, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `version-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "version-mismatch",
    severity: Severity::High,
    summary: "OTP releases too far apart",
    symptom: "one node is much older than the other, and they do not connect",
    meaning: "One node requires something of the protocol that the other does not support, \
              because their OTP releases are too far apart: a capability flag, or a layout of \
              the first message. Releases at most two apart connect. A dialed node refuses with \
              status not_allowed, or closes; a dialing node closes after the challenge.",
    evidence: "Status not_allowed to a node that lacks a flag which the other's release \
               requires; or a dialing node that closes at once after a challenge whose flags \
               lack one that its own release requires; or a first message in a layout that the \
               dialed release cannot read, and a close without a reply. The flags in send_name \
               and challenge also show the release of each side.",
    lookalikes: "An allow list also answers not_allowed, but to a node that lacks no flag: \
                 not-allowed. A dialing node that closes after a challenge with all flags \
                 expected another name: name-mismatch.",
    log_lines: &[
        LogLine {
            writer: "the dialed node, if it refuses",
            releases: "OTP 20 and newer",
            text: "** 'b@h': Connection attempt from node 'a@h' rejected since it cannot handle \
                   [\"V4_NC\",\"UNLINK_ID\"].**",
        },
        LogLine {
            writer: "the dialing node, if it refuses",
            releases: "OTP 20 and newer",
            text: "** 'a@h': Connection attempt to node 'b@h' aborted since it cannot handle \
                   [\"V4_NC\",\"UNLINK_ID\"].**",
        },
        LogLine {
            writer: "the node that refuses",
            releases: "OTP 19 and older",
            text: "** 'b@h': Connection attempt from node 'a@h' rejected since it cannot handle \
                   extended references, pids and ports. **",
        },
        LogLine {
            writer: "the dialed node, if it cannot read the first message",
            releases: "OTP 22 and older, and 25.0 to 25.2",
            text: "",
        },
        LogLine { writer: "the node that is refused", releases: "all", text: "" },
        log_lines::REFUSED_BY_STATUS,
        log_lines::CLOSED_WITHOUT_STATUS,
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* Remote node uses an incompatible Erlang version",
        },
        log_lines::RABBITMQ_CLOSED,
    ],
    remedy: &[
        "Upgrade the older node: releases at most two apart connect. The finding says which \
         release each side looks like.",
        "For a rolling upgrade over more than two releases, use one in between.",
        "OTP 25.0 to 25.2 refuses the old first message that OTP 23 and 24 send to nodes they \
         did not look up with EPMD: upgrade it to 25.3, or let them use EPMD.",
    ],
};

#[derive(Default)]
pub(super) struct VersionMismatch;

impl Rule for VersionMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::VersionMismatch {
            return;
        }
        let sides = Sides::of(session);
        let by_initiator = session.verdict.detected_by == Some(Role::Initiator);
        let (refusing, refused) = if by_initiator {
            (&sides.initiator, &sides.acceptor)
        } else {
            (&sides.acceptor, &sides.initiator)
        };
        let role = if by_initiator { Role::Acceptor } else { Role::Initiator };
        let hello = session.seen.handshake.hello(role);
        let version = hello.map(|hello| hello.what.version);
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{refusing} refused {refused}: their OTP releases are too far apart");
        let missing = session.verdict.missing_flag_names();
        let lacks = if missing.is_empty() {
            String::new()
        } else {
            format!(" It lacks {}, which the other side requires.", missing.join(", "))
        };
        let layout = match version {
            Some(version) => format!(" and uses handshake version {version}"),
            None => String::new(),
        };
        found.explanation =
            format!("{refused} is {}{layout}; {refusing} refused it.{lacks}", release(hello));
        found.remedy =
            vec!["Upgrade the older node: releases at most two apart connect.".to_owned()];
        if !by_initiator && version == Some(5) {
            found.remedy.push(
                "A dialed node of OTP 25.0 to 25.2 refuses the old handshake (version 5), which OTP 23 and 24 \
                 use towards nodes that they did not look up with EPMD: upgrade it to 25.3, or let them use EPMD."
                    .to_owned(),
            );
        }
        let seen = &session.seen;
        found.evidence.extend(shown(
            seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        match seen.status("not_allowed") {
            Some(status) => {
                found.evidence.extend(shown(
                    Some(status),
                    Some(Role::Acceptor),
                    Shows::handshake(MessageKind::Status, "not_allowed"),
                ));
            }
            None => {
                found.evidence.extend(shown(
                    seen.message(MessageKind::Challenge),
                    Some(Role::Acceptor),
                    MessageKind::Challenge,
                ));
                found.evidence.extend(closed(session, "at once"));
            }
        }
        // A release that cannot parse the hello, or closes without a status, logs nothing.
        found.logged_by = if missing.is_empty() {
            Vec::new()
        } else {
            session.verdict.detected_by.into_iter().collect()
        };
        out.push(found);
    }
}
