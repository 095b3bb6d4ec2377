//! Two releases too far apart.
//!
//! Symptom: `not_allowed`, or a close right after the other side's flags. Evidence: a flag that the refusing
//! side's release demands is missing, or the hello is of a layout it no longer reads. May look like it: a
//! list of allowed nodes; an initiator that wanted another name.

use super::finding::{Sides, closed, finding, release, settled, shown};
use super::log_lines;
use super::{LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::record::{Event, Finding, MessageKind, Outcome, Role, Severity, Shows};

/// `beamscope explain version-mismatch`.
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
    fn pages(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_event(&mut self, event: &Event, _: &World, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::VersionMismatch {
            return;
        }
        let sides = Sides::of(ids, session);
        let by_initiator = session.detected_by == Some(Role::Initiator);
        let (refusing, refused) = if by_initiator {
            (&sides.initiator, &sides.acceptor)
        } else {
            (&sides.acceptor, &sides.initiator)
        };
        let party = if by_initiator { &session.acceptor } else { &session.initiator };
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{refusing} refused {refused}: their OTP releases are too far apart");
        let missing = &session.seen.missing_flags;
        let lacks = if missing.is_empty() {
            String::new()
        } else {
            format!(" It lacks {}, which the other side demands.", missing.join(", "))
        };
        let layout = match party.version {
            Some(version) => format!(" and speaks handshake version {version}"),
            None => String::new(),
        };
        found.explanation = format!(
            "{refused} is {}{layout}; {refusing} closed the door on it.{lacks}",
            release(party)
        );
        found.remedy =
            vec!["Upgrade the older node: releases at most two apart connect.".to_owned()];
        if !by_initiator && party.version == Some(5) {
            found.remedy.push(
                "An acceptor of OTP 25.0 to 25.2 refuses every node that begins with the old handshake, \
             which OTP 23 and 24 do without EPMD: upgrade it to 25.3, or let them use EPMD."
                    .to_owned(),
            );
        }
        let seen = &session.seen;
        found.evidence.extend(shown(seen.send_name, Some(Role::Initiator), MessageKind::SendName));
        match &seen.status {
            Some((mark, text)) if text == "not_allowed" => {
                found.evidence.extend(shown(
                    Some(*mark),
                    Some(Role::Acceptor),
                    Shows::handshake(MessageKind::Status, "not_allowed"),
                ));
            }
            _ => {
                found.evidence.extend(shown(
                    seen.challenge,
                    Some(Role::Acceptor),
                    MessageKind::Challenge,
                ));
                found.evidence.extend(closed(session, "at once"));
            }
        }
        // A release that cannot read the hello at all, or closes without a status, logs nothing.
        found.logged_by =
            if missing.is_empty() { Vec::new() } else { session.detected_by.into_iter().collect() };
        out.push(found);
    }
}
