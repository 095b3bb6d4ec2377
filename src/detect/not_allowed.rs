//! A node that is not on the list of those allowed to connect.
//!
//! Evidence: status `not_allowed` although no mandatory flag is missing. May look like it: a carrier or a
//! release that demands flags unknown here.

use super::text::{Sides, finding, settled, shown};
use super::{Page, Rule};
use crate::correlate::Correlator;
use crate::event::{Event, Finding, Outcome, Role, Severity};

/// `beamscope explain not-allowed`.
const PAGE: Page = Page {
    rule: "not-allowed",
    severity: Severity::High,
    summary: "the dialed node does not let this one in",
    means: "",
    proof: "",
    resembles: "",
    logs: &[],
    remedy: &[],
};

#[derive(Default)]
pub(super) struct NotAllowed;

impl Rule for NotAllowed {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, _: &Correlator, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::NotAllowed {
            return;
        }
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let mut found = finding(&PAGE, session, &sides);
        found.title = format!("{b} does not allow {a} to connect");
        found.explanation = format!(
            "{b} answered the name of {a} with not_allowed, before any cookie was looked at, and {a} \
             has every flag that a release demands: so {a} is not on the list of nodes that {b} allows."
        );
        found.remedy =
            vec![format!("On {b}, find who calls net_kernel:allow/1 and add '{a}' to its list.")];
        let status = session.seen.status.as_ref().map(|(mark, _)| *mark);
        found.evidence.extend(shown(session.seen.send_name, Some(Role::Initiator), "send_name"));
        found.evidence.extend(shown(status, Some(Role::Acceptor), "status not_allowed"));
        found.logged_by = vec![Role::Acceptor];
        out.push(found);
    }
}
