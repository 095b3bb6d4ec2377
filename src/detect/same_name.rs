//! A node that dials with the name of the node it dials.
//!
//! Symptom: `nok`, as in a simultaneous connect, but nobody dials back. Evidence: the initiator's name is the
//! name that the acceptor goes by. May look like it: a simultaneous connect between hosts whose nodes share
//! an alive name, which is why any dial the other way keeps the rule silent.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::text::{Sides, closed, finding, looked_up, settled, shown};
use super::{LogLine, Page, Rule};
use crate::correlate::Correlator;
use crate::correlate::{acceptor_end, ip_of};
use crate::decode::Endpoint;
use crate::event::{Body, Confidence, Event, Finding, Outcome, Role, Session, Severity};
use crate::time::Timestamp;

/// `beamscope explain same-name`.
const PAGE: Page = Page {
    rule: "same-name",
    severity: Severity::High,
    summary: "a node dials with the name of the node it dials",
    means: "A node introduced itself to another with that other's own name: two nodes share one \
            name, on two hosts or with two port mappers. They never connect to each other, and a \
            third node reaches now the one, now the other.",
    proof: "The name in send_name is the name that the dialed node goes by; it answers with status \
            nok and closes, and does not dial back.",
    resembles: "Two nodes that dial each other at the same time: there, nok goes to the one with \
                the smaller name while the other's own dial goes on and succeeds \
                (simultaneous-connect).",
    logs: &[
        LogLine {
            by: "the dialed node",
            releases: "OTP 21 and newer",
            text: "** Cannot get connection id for node 'b@h'",
        },
        LogLine { by: "the dialing node", releases: "all", text: "" },
    ],
    remedy: &[
        "Give one of the two another name, and restart it.",
        "Where hosts are cloned or containers share a template, make the name from the host: -name \
         app@$(hostname -f).",
    ],
};

#[derive(Default)]
pub(super) struct SameName {
    /// Who dialed whom, the last ones.
    dials: VecDeque<(IpAddr, IpAddr, Timestamp)>,
    /// Names that acceptors gave, by where they listen; the last ones.
    names: VecDeque<(Endpoint, Arc<str>)>,
}

impl Rule for SameName {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, _: &Correlator, out: &mut Vec<Finding>) {
        let Some(ids) = &event.connection else { return };
        if let Body::Handshake { handshake } = &event.body {
            if handshake.message == "send_name" {
                push(&mut self.dials, (ids.src_ip, ids.dest_ip, event.at));
            }
            return;
        }
        let Some((ids, session)) = settled(event) else { return };
        let end = acceptor_end(ids, session);
        if let Some(name) = &session.acceptor.node {
            self.names.retain(|(known, _)| *known != end);
            push(&mut self.names, (end, Arc::clone(name)));
        }
        let refused = session.seen.status.as_ref().is_some_and(|(_, text)| text == "nok");
        if session.outcome != Outcome::Superseded || !refused {
            return;
        }
        let Some(name) = &session.initiator.node else { return };
        let Some(confidence) = self.same(end, name, session) else { return };
        let (from, to) = (ip_of(ids, session, Role::Initiator), end.ip);
        let crossed = self.dials.iter().any(|(dialer, dialed, at)| {
            (*dialer, *dialed) == (to, from)
                && event.at.since(*at) <= CROSSING
                && at.since(event.at) <= CROSSING
        });
        if crossed && from != to {
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

impl SameName {
    /// Whether the acceptor at `end` goes by `name`, and how sure that is.
    fn same(&self, end: Endpoint, name: &str, session: &Session) -> Option<Confidence> {
        if let Some((_, known)) = self.names.iter().find(|(known, _)| *known == end) {
            return (known.as_ref() == name).then_some(Confidence::Proven);
        }
        let (alive, host) = name.split_once('@')?;
        let asked = session.lookup.as_ref().is_some_and(|lookup| lookup.asked.as_ref() == alive);
        (asked && host == end.ip.to_string()).then_some(Confidence::Likely)
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    queue.push_back(item);
    if queue.len() > REMEMBERED {
        queue.pop_front();
    }
}

/// Dials that cross do so within the set-up time of both, and some.
const CROSSING: Duration = Duration::from_secs(10);

/// Dials and names kept: far more than there are within [`CROSSING`].
const REMEMBERED: usize = 1024;
