//! A node that dials with the name of the node it dials.
//!
//! Symptom: `nok`, as in a simultaneous connect, but nobody dials back. Evidence: the initiator's name is the
//! name that the acceptor goes by. May look like it: a simultaneous connect between hosts whose nodes share
//! an alive name, which is why any dial the other way keeps the rule silent.

use std::net::IpAddr;

use super::text::{Sides, closed, finding, looked_up, settled, shown};
use super::{Page, Rule};
use crate::correlate::{Correlator, acceptor_end, ip_of};
use crate::event::{Confidence, Event, Finding, Outcome, Role, Session, Severity};

/// `beamscope explain same-name`.
const PAGE: Page = Page {
    rule: "same-name",
    severity: Severity::High,
    summary: "a node dials with the name of the node it dials",
    means: "",
    proof: "",
    resembles: "",
    logs: &[],
    remedy: &[],
};

#[derive(Default)]
pub(super) struct SameName;

impl Rule for SameName {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, known: &Correlator, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        let refused = session.seen.status.as_ref().is_some_and(|(_, text)| text == "nok");
        if session.outcome != Outcome::Superseded || !refused {
            return;
        }
        let Some(name) = &session.initiator.node else { return };
        let (from, end) = (ip_of(ids, session, Role::Initiator), acceptor_end(ids, session));
        let confidence = match known.dials().listener(end) {
            Some(listener) if listener == name.as_ref() => Confidence::Proven,
            None if asked_for_itself(session, end.ip) => Confidence::Likely,
            _ => return,
        };
        let to = end.ip;
        if known.dials().crossing(ids, session, event.at).is_some() {
            return;
        }
        let sides = Sides::of(ids, session);
        let mut found = finding(&PAGE, session, &sides);
        found.confidence = confidence;
        found.title = format!("two nodes call themselves {name}");
        found.explanation = format!(
            "The node at {from} introduced itself to the node at {to} as {name}, which is that node's own \
             name; it was refused with nok."
        );
        found.remedy = vec!["Give one of the two another name and restart it.".to_owned()];
        found.evidence.extend(looked_up(session));
        found.evidence.extend(shown(session.seen.send_name, Some(Role::Initiator), "send_name"));
        let status = session.seen.status.as_ref().map(|(mark, _)| *mark);
        found.evidence.extend(shown(status, Some(Role::Acceptor), "status nok"));
        found.evidence.extend(closed(session, "after nok"));
        found.not_excluded = match confidence {
            Confidence::Proven => Vec::new(),
            _ => {
                vec!["a simultaneous connect whose other dial the capture does not show".to_owned()]
            }
        };
        found.logged_by = vec![Role::Acceptor];
        out.push(found);
    }
}

/// Whether the initiator asked EPMD for its own name, at the host that its name has.
fn asked_for_itself(session: &Session, acceptor: IpAddr) -> bool {
    let name = session.initiator.node.as_deref();
    let Some((alive, host)) = name.and_then(|name| name.split_once('@')) else { return false };
    let asked = session.lookup.as_ref().is_some_and(|lookup| lookup.asked.as_ref() == alive);
    asked && host == acceptor.to_string()
}
