//! EPMD gives a port, and no connection to that port can be opened.
//!
//! `stale-registration`: the answer is RST, so no process listens there. `dist-port-blocked`: no answer in this
//! capture, or ICMP. The capture cannot show the reason: a listener on another interface and a missing port
//! mapping also lead to RST.

use super::finding::{Sides, address, finding, looked_up, shown, syn_count};
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc, log_lines};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{IcmpUnreachable, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `stale-registration`.
const STALE: RuleDoc = RuleDoc {
    rule: "stale-registration",
    severity: Severity::High,
    summary: "EPMD gives a port that refuses connections",
    symptom: "EPMD lists the node, and its port refuses connections",
    meaning: "EPMD returned a port for the name, and the host refuses connections to that port: \
              nothing listens there. The registration outlived the listener, the node died in \
              between, or it listens on another address or behind a port mapping.",
    evidence: "PORT2_RESP with a port, then a SYN to that port which is answered with RST.",
    lookalikes: "A firewall that sends RST in the host's name. A firewall that drops, or answers \
                 with ICMP, is dist-port-blocked. If the connection is accepted and another node \
                 answers, that is name-mismatch.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        LogLine { writer: "the dialed host", releases: "all", text: "" },
        log_lines::NO_LISTENER,
        log_lines::RABBITMQ_NO_TCP,
    ],
    remedy: &[
        "On the dialed host, compare `epmd -names` with the listening sockets (`ss -ltnp`), and \
         restart the node whose port is missing.",
        "If the node listens on one address only (inet_dist_use_interface), dial it by that \
         address.",
        "Behind NAT or in a container, map the distribution port to the same number outside: fix \
         it with inet_dist_listen_min and inet_dist_listen_max.",
    ],
};

/// Documentation of the rule `dist-port-blocked`.
const BLOCKED: RuleDoc = RuleDoc {
    rule: "dist-port-blocked",
    severity: Severity::High,
    summary: "EPMD gives a port that a firewall blocks",
    symptom: "nothing for 7 s, then `false`; EPMD answers, and the node's own port does not",
    meaning: "EPMD returned a port for the name, and connections to that port are dropped or \
              rejected on the path. Very often only port 4369 was opened, while each node \
              listens on a port of its own.",
    evidence: "PORT2_RESP with a port, then a SYN to that port which is answered with ICMP. SYNs \
               without any answer make it likely, since EPMD on the same host does answer.",
    lookalikes: "An RST means that nothing listens there: stale-registration. A host that went \
                 down after EPMD answered is silent too, and so is an answer that takes a path \
                 past the capture point.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        LogLine { writer: "the dialed host", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
        log_lines::RABBITMQ_NO_TCP,
    ],
    remedy: &[
        "Fix the range of distribution ports on all nodes with inet_dist_listen_min and \
         inet_dist_listen_max (kernel application), and open it between the hosts in both \
         directions, besides 4369.",
        "Until then, read the node's port from `epmd -names` on the dialed host, and open that \
         port.",
    ],
};

#[derive(Default)]
pub(super) struct DistPort;

impl Rule for DistPort {
    fn docs(&self) -> &'static [RuleDoc] {
        &[STALE, BLOCKED]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        let sides = Sides::of(session);
        let end = session.acceptor_end();
        let port = address(end.ip, end.port);
        let node = match &session.verdict.lookup {
            Some(lookup) => format!("\"{}\"", lookup.asked),
            None => "a node".to_owned(),
        };
        let open_ports = format!(
            "Open the distribution ports between the hosts, not 4369 alone: fix their range with \
             inet_dist_listen_min and inet_dist_listen_max (kernel application) and let {} through.",
            end.port
        );
        let syn = session.seen.tcp.sides.initiator.syn;
        let mut found = match (session.outcome(), session.seen.tcp.icmp) {
            (Outcome::Refused, None) => {
                let mut found = finding(&STALE, session, &sides);
                found.title = match &session.verdict.lookup {
                    Some(_) => format!(
                        "EPMD says {node} is on port {}; {} refused the connection",
                        end.port, end.ip
                    ),
                    None => format!("{port} refused the connection"),
                };
                found.explanation = format!(
                    "{} dialed {port}, and its SYN was answered with RST: the host is up and the port \
                     is closed. The registration outlived the listener, the node died in between, or it \
                     listens on another interface.",
                    sides.initiator
                );
                found.remedy = vec![format!(
                    "On {}, compare `epmd -names` with the listening sockets (`ss -ltnp`); restart the \
                     node whose port is missing there. Check inet_dist_use_interface and port mappings.",
                    end.ip
                )];
                found
            }
            (Outcome::Refused, Some(IcmpUnreachable { kind, code, reporter })) => {
                let mut found = finding(&BLOCKED, session, &sides);
                found.title = format!("a firewall rejects connections to {node} ({port})");
                found.explanation = format!(
                    "{reporter} answered the SYN to {port} with ICMP {kind}/{code}, \"destination \
                     unreachable\": a packet filter rejects it, or there is no route."
                );
                found.remedy = vec![open_ports];
                found
            }
            (Outcome::Unanswered, _) => {
                let mut found = finding(&BLOCKED, session, &sides);
                found.title = format!("no answer from {node} at {port}");
                found.explanation = format!(
                    "{} from {} to {port} and no answer in this capture. If EPMD on the same host \
                     answers, the usual reason is a packet filter that lets port 4369 through and not this \
                     port.",
                    syn_count(syn.map_or(0, |syn| syn.count.into())),
                    sides.initiator
                );
                found.remedy = vec![open_ports];
                found
            }
            _ => return,
        };
        // A port that accepts no connection is one cause, however many nodes dial it.
        found.parties = format!("{port},{node}");
        let is_blocked = found.rule == BLOCKED.rule;
        let endings = [Ending::connection_of(session), Ending::accepted(session, is_blocked)];
        found.ended_by = EndedBy::Any(endings.into());
        found.evidence.extend(looked_up(session));
        found.evidence.extend(shown(syn.map(|syn| syn.mark), Some(Role::Initiator), Shows::Syn));
        let answer = if session.seen.tcp.icmp.is_some() { Shows::Icmp } else { Shows::RST };
        found.evidence.extend(shown(session.seen.closed(), Some(Role::Acceptor), answer));
        out.push(found);
    }
}
