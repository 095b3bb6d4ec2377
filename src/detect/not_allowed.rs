//! A node that is not on the list of those allowed to connect.
//!
//! Evidence: status `not_allowed` although no mandatory flag is missing. May look like it: a carrier or a
//! release that demands flags unknown here.

use super::finding::{Sides, finding, settled, shown};
use super::log_lines;
use super::{LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::record::{Event, Finding, MessageKind, Outcome, Role, Severity, Shows};

/// `beamscope explain not-allowed`.
const DOC: RuleDoc = RuleDoc {
    rule: "not-allowed",
    severity: Severity::High,
    summary: "the dialed node does not let this one in",
    means: "The dialed node keeps a list of nodes that may connect, set with net_kernel:allow/1, \
            and the dialing node is not on it. It is refused before any cookie is looked at.",
    proof: "Status not_allowed in answer to send_name, from a node that lacks no flag that any \
            release demands.",
    resembles: "Releases too far apart are refused with the same status, but a flag is missing \
                then: version-mismatch. A carrier of one's own that demands further flags looks \
                the same as a list. OTP 22 and older log a wrong cookie in the same words: \
                cookie-mismatch.",
    logs: &[
        LogLine {
            by: "the dialed node",
            releases: "all",
            text: "** Connection attempt from disallowed node a@h **",
        },
        LogLine { by: "the dialing node", releases: "all", text: "" },
        LogLine {
            by: "the dialing node, where it has a list without the other and so sends nothing",
            releases: "all",
            text: "** Connection attempt with disallowed node b@h **",
        },
        log_lines::REFUSED_BY_STATUS,
        LogLine {
            by: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* This node is not on the list of nodes authorised by remote node (see \
                   net_kernel:allow/1)",
        },
    ],
    remedy: &[
        "On the dialed node, find who calls net_kernel:allow/1, and add the name of the dialing \
         node, letter by letter.",
        "net_kernel:allow/1 on the running node adds to the list at once.",
    ],
};

#[derive(Default)]
pub(super) struct NotAllowed;

impl Rule for NotAllowed {
    fn pages(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_event(&mut self, event: &Event, _: &World, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::NotAllowed {
            return;
        }
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{b} does not allow {a} to connect");
        found.explanation = format!(
            "{b} answered the name of {a} with not_allowed, before any cookie was looked at, and {a} \
             has every flag that a release demands: so {a} is not on the list of nodes that {b} allows."
        );
        found.remedy =
            vec![format!("On {b}, find who calls net_kernel:allow/1 and add '{a}' to its list.")];
        let status = session.seen.status.as_ref().map(|(mark, _)| *mark);
        found.evidence.extend(shown(
            session.seen.send_name,
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
