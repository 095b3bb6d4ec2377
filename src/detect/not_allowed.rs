//! A node that is not on the list of those allowed to connect.
//!
//! Evidence: status `not_allowed` although no mandatory flag is missing. A similar case is a carrier or a release that
//! requires flags which this program does not know.

use super::finding::{Sides, finding, shown};
use super::{Detection, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `not-allowed`.
const DOC: RuleDoc = RuleDoc {
    rule: "not-allowed",
    severity: Severity::High,
    summary: "the dialed node's allow list lacks the dialing node",
    symptom: "the dialed node refuses before any cookie is checked",
    meaning: "The dialed node has a list of nodes that may connect, set with net_kernel:allow/1, \
              and the dialing node is not on it. The refusal comes before any cookie is checked.",
    evidence: "Status not_allowed in answer to send_name, from a node that lacks no flag that \
               any release requires.",
    lookalikes: "Releases too far apart are refused with the same status, but then a flag is \
                 missing: version-mismatch. A custom carrier that requires further flags looks \
                 the same as a list. OTP 22 and older log a wrong cookie in the same words: \
                 cookie-mismatch.",
    log_lines: &[
        LogLine {
            writer: "the dialed node",
            releases: "all",
            text: "** Connection attempt from disallowed node a@h **",
        },
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        LogLine {
            writer: "the dialing node, if its own list lacks the other (it then sends nothing)",
            releases: "all",
            text: "** Connection attempt with disallowed node b@h **",
        },
        log_lines::REFUSED_BY_STATUS,
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* This node is not on the list of nodes authorised by remote node (see \
                   net_kernel:allow/1)",
        },
    ],
    remedy: &[
        "On the dialed node, find the call of net_kernel:allow/1, and add the exact name of the \
         dialing node.",
        "On a running node, net_kernel:allow/1 adds to the list at once.",
    ],
};

#[derive(Default)]
pub(super) struct NotAllowed;

impl Rule for NotAllowed {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || session.claim.is_some() {
            return;
        }
        if session.outcome() != Outcome::NotAllowed {
            return;
        }
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{b} does not allow {a} to connect");
        found.explanation = format!(
            "{b} answered the send_name of {a} with not_allowed, before any cookie was checked. {a} has every \
             flag that a release requires, so the reason is that {b} has a list of allowed nodes and {a} is not \
             on it."
        );
        found.remedy =
            vec![format!("On {b}, find the call of net_kernel:allow/1 and add '{a}' to its list.")];
        let status = session.seen.message(MessageKind::Status);
        found.evidence.extend(shown(
            session.seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        found.evidence.extend(shown(
            status,
            Some(Role::Acceptor),
            Shows::handshake(MessageKind::Status, "not_allowed"),
        ));
        found.logged_by = vec![Role::Acceptor];
        out.push(found);
    }
}
