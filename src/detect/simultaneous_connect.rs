//! Two nodes dialed each other at once, and one of the two dials gave way.
//!
//! Evidence: a dial that was refused with `nok` or dropped, and the other one. It is how the protocol settles
//! such a thing: told as context for whoever wonders about the dial that failed.

use super::text::{Sides, closed, finding, settled, shown};
use super::{Page, Rule};
use crate::correlate::Correlator;
use crate::event::{Event, Evidence, Finding, Outcome, Role, Severity};

/// `beamscope explain simultaneous-connect`.
const PAGE: Page = Page {
    rule: "simultaneous-connect",
    severity: Severity::Info,
    summary: "two nodes dialed each other at once, and one dial gave way",
    means: "Both nodes dialed each other within the same moment. One connection is enough, so one of the two \
            dials is given up: that of the node whose name is the smaller one. Nothing is wrong.",
    proof: "A dial that ends with status nok, or that its node drops before it has an answer, and a dial \
            between the same two nodes in the other direction at the same time (ok_simultaneous, where it was \
            answered while the first was pending).",
    resembles: "nok without any dial the other way: a node that uses the name of the node it dials, which is \
                same-name. A dial that was dropped because its node was stopped looks the same until the \
                other one is seen.",
    logs: &[],
    remedy: &[
        "Nothing, as long as one of the two dials connects.",
        "If both nodes dial each other each time they start, one side may do it alone: a mesh needs one dial \
         a pair.",
    ],
};

#[derive(Default)]
pub(super) struct SimultaneousConnect;

impl Rule for SimultaneousConnect {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, known: &Correlator, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::Superseded {
            return;
        }
        let (Some(hello), Some(name)) = (session.seen.send_name, &session.initiator.node) else {
            return;
        };
        let Some(other) = known.dials().crossing(ids, session, hello.at) else { return };
        let mut sides = Sides::of(ids, session);
        if let Some(dialer) = &other.name {
            sides.acceptor = dialer.to_string();
            sides.nodes = vec![name.clone(), dialer.clone()];
        }
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let refused = session.seen.status.as_ref().filter(|(_, text)| text == "nok");
        let mut found = finding(&PAGE, session, &sides);
        found.parties = sides.either_way();
        found.title = format!("{a} and {b} dialed each other at once");
        found.explanation = format!(
            "The dial of {a} gave way to the dial of {b}: {}. That is how two dials that cross are \
             settled, and no fault.",
            if refused.is_some() { "it was answered with nok" } else { "it was dropped" }
        );
        found.remedy = vec!["Nothing, as long as the other dial connects.".to_owned()];
        found.evidence.extend(shown(Some(hello), Some(Role::Initiator), "send_name"));
        match refused {
            Some((mark, _)) => {
                found.evidence.extend(shown(Some(*mark), Some(Role::Acceptor), "status nok"));
            }
            None => found.evidence.extend(closed(session, "before an answer")),
        }
        found.evidence.extend(other.frame.map(|frame| Evidence {
            frame,
            input: None,
            session_id: Some(other.session_id.clone()),
            from: Some(Role::Initiator),
            what: "send_name of the dial the other way".to_owned(),
        }));
        out.push(found);
    }
}
