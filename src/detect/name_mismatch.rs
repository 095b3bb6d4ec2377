//! The node that answered is not the one that was asked for.
//!
//! Symptom: `Node.connect` gives `false`, and neither node logs anything. Evidence: the initiator closes at
//! once after the `challenge`, whose name it compares with the one it dialed. May look like it: an
//! initiator that stops at this very point.

use super::text::{Sides, closed, finding, looked_up, settled, shown};
use super::{Page, Rule};
use crate::correlate::Correlator;
use crate::event::{Confidence, Event, Finding, Outcome, Role, Severity};

/// `beamscope explain name-mismatch`.
const PAGE: Page = Page {
    rule: "name-mismatch",
    severity: Severity::High,
    summary: "the node that answers is not the one that was dialed",
    means: "",
    proof: "",
    resembles: "",
    logs: &[],
    remedy: &[],
};

#[derive(Default)]
pub(super) struct NameMismatch;

impl Rule for NameMismatch {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, _: &Correlator, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::NameMismatch {
            return;
        }
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let (answered_alive, host) = b.split_once('@').unwrap_or((b, ""));
        let asked = session.lookup.as_ref().map(|lookup| lookup.asked.to_string());
        let mut found = finding(&PAGE, session, &sides);
        match asked {
            Some(asked) if asked != answered_alive => {
                found.title = format!("{a} asked for \"{asked}\" and reached {b}");
                found.explanation = format!(
                    "EPMD gave {a} the port of \"{asked}\", but the node that answers there is {b}; \
                     {a} closed the connection."
                );
                found.remedy = vec![
                    format!(
                        "On the host of {b}, compare `epmd -names` with the sockets that listen: the \
                         registration of \"{asked}\" is left over, or points to the wrong port."
                    ),
                    format!("Restart \"{asked}\" so that it registers the port it listens on."),
                ];
            }
            _ => {
                found.title = format!("{a} wanted another name than {b}");
                found.explanation = format!(
                    "{b} presented itself, and {a} closed the connection at once: a node does that \
                     when the name is not letter by letter the one it dialed. {}",
                    host_advice(a, host)
                );
                found.remedy = vec![
                    format!("Dial exactly '{b}': the name that node() gives on that node."),
                    "Or start both nodes with names of one kind, with hosts that each resolves: both \
                     short (-sname) or both long (-name) with the same fully qualified host."
                        .to_owned(),
                ];
            }
        }
        found.evidence.extend(looked_up(session));
        found.evidence.extend(shown(
            session.seen.challenge,
            Some(Role::Acceptor),
            &format!("challenge from {b}"),
        ));
        found.evidence.extend(closed(session, "without challenge_reply"));
        debug_assert!(found.confidence != Confidence::Proven || found.not_excluded.is_empty());
        out.push(found);
    }
}

/// What the host parts of the two names tell.
fn host_advice(initiator: &str, host: &str) -> String {
    let own_host = initiator.split_once('@').map_or("", |(_, host)| host);
    let is_short = |host: &str| !host.contains(['.', ':']);
    if !own_host.is_empty() && is_short(own_host) != is_short(host) {
        let (short, long) = if is_short(host) { (host, own_host) } else { (own_host, host) };
        format!(
            "One of the two has a short name (host {short}), the other a long one (host {long}); such \
             nodes do not connect."
        )
    } else {
        format!(
            "The host it was dialed by is an alias, an address or a spelling other than {host}."
        )
    }
}
