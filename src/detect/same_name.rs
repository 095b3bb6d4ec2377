//! A node that dials with the name of the node it dials.
//!
//! Symptom: status `nok`, as in a simultaneous connect, but without a dial in the other direction. Evidence: the
//! initiator's name is the acceptor's own. A similar case is a simultaneous connect of two nodes with the same alive
//! name on different hosts; so the rule reports nothing if there is any dial in the other direction. A node that dials
//! an alias or another address of its own host gets the same answer, and there is one node only.

use std::net::IpAddr;
use std::time::Duration;

use super::finding::{Sides, address, closed, finding, looked_up, shown};
use super::{Detection, EndedBy, LogLine, Rule, RuleDoc};
use crate::judge::world::{World, alive_of};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `same-name`.
const DOC: RuleDoc = RuleDoc {
    rule: "same-name",
    severity: Severity::High,
    summary: "a node dials with the name of the node it dials",
    symptom: "a node cannot connect to another one that has its own name",
    meaning: "A node sent, as its own name, the name of the node that it dials: two nodes share \
              one name, on two hosts or with two EPMDs. They never connect to each other, and a \
              third node reaches sometimes one, sometimes the other. Or it is one node, which \
              dials itself by an alias or a second address of its host; that does no harm \
              (severity low).",
    evidence: "The name in send_name is the name of the dialed node, or EPMD was asked for it \
               and the same happens again; the dialed node answers with status nok and closes, \
               and does not dial back.",
    lookalikes: "Two nodes that dial each other at the same time: there, nok goes to the one \
                 with the smaller name, and the other's own dial succeeds \
                 (simultaneous-connect).",
    log_lines: &[
        LogLine {
            writer: "the dialed node",
            releases: "OTP 21 and newer",
            text: "** Cannot get connection id for node 'b@h'",
        },
        LogLine { writer: "the dialing node", releases: "all", text: "" },
    ],
    remedy: &[
        "Give one of the two another name, and restart it.",
        "If a node dials itself, take its own host out of the list of nodes that it is to dial.",
        "If hosts are cloned or containers share a template, build the name from the host: -name \
         app@$(hostname -f).",
    ],
};

#[derive(Default)]
pub(super) struct SameName;

impl Rule for SameName {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        let Some(status) = session.seen.status("nok") else { return };
        if session.outcome() != Outcome::Superseded {
            return;
        }
        let Some(name) = session.name(Role::Initiator) else { return };
        let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
        if dials_itself(session, name, known) {
            out.push(itself(session, name, status));
            return;
        }
        let confidence = match known.dials().listener(end) {
            Some(listener) if listener == name.as_ref() => Confidence::Proven,
            None if asked_for_itself(session, end.ip) => Confidence::Likely,
            // Nodes on different hosts often have the same alive name. But their dials rarely cross repeatedly, and a
            // dial that is declined for another one is followed by that one.
            None if asked_for_its_alive_name(session)
                && (known.dials().is_declined_again(session)
                    || kept_open(session, status) >= CROSSING_ARRIVES) =>
            {
                Confidence::Likely
            }
            _ => return,
        };
        let to = end.ip;
        if known.dials().crossing(session, session.at()).is_some() {
            return;
        }
        let sides = Sides::of(session);
        let mut found = finding(&DOC, session, &sides);
        found.confidence = confidence;
        found.title = format!("two nodes call themselves {name}");
        found.explanation = format!(
            "The node at {from} dialed the node at {to} under the name {name}, which is {}. It was refused with \
             nok, and there was no dial in the other direction.",
            match confidence {
                Confidence::Proven => "the name of that node itself",
                _ => "most likely the name of that node itself, because EPMD was asked for it",
            }
        );
        found.remedy = vec!["Give one of the two nodes another name and restart it.".to_owned()];
        found.evidence = refusal(session, status);
        found.not_excluded = match confidence {
            Confidence::Proven => Vec::new(),
            _ => {
                vec!["a simultaneous connect whose other dial did not arrive, or is not in the capture"
                    .to_owned()]
            }
        };
        found.logged_by = vec![Role::Acceptor];
        out.push(found);
    }
}

/// Whether the node that was refused with `nok` is the one that it dialed. EPMD knows a name once: a node that asks the
/// EPMD of its own host for its own alive name finds itself.
fn dials_itself(session: &JudgedConnection, name: &str, known: &World) -> bool {
    let end = session.acceptor_end();
    let listener = known.dials().listener(end);
    if listener.is_some_and(|listener| listener != name) {
        return false;
    }
    let is_own_address = session.ip(Role::Initiator) == end.ip;
    let is_own_name = listener.is_some() || asked_for_its_alive_name(session);
    is_own_address && is_own_name || known.dials().is_acceptor_itself(session)
}

/// The finding about a node that dials itself.
fn itself(session: &JudgedConnection, name: &str, status: PacketRef) -> Detection {
    let end = session.acceptor_end();
    let alive = alive_of(name).unwrap_or(name);
    let dialed = session.verdict.host.as_ref().map(|clue| format!("{alive}@{}", clue.host));
    let dialed = dialed.filter(|dialed| dialed != name);
    let mut found = finding(&DOC, session, &Sides::of(session));
    found.severity = Severity::Low;
    found.confidence = Confidence::Likely;
    found.title = match &dialed {
        Some(dialed) => format!("{name} dials itself as {dialed}"),
        None => format!("{name} dials itself by another name or address of its own host"),
    };
    let from = session.ip(Role::Initiator);
    let way = if from == end.ip {
        format!("It dialed {} from the same address", address(end.ip, end.port))
    } else {
        format!("It dialed {} from {from}", address(end.ip, end.port))
    };
    found.explanation = format!(
        "{way}, and the node that listens there is {name} as well: there is one node only. It was asked to connect \
         to a name that is not its own, and that leads to its own host: an alias, or a second address. It \
         refused itself with nok. That does no harm, but costs a log line and a waiting time each time."
    );
    found.remedy = vec![
        format!(
            "Take the own host out of the list of nodes that {name} is to dial (libcluster, sync_nodes_mandatory, a \
             DNS record with all hosts), or list it there as {name}: a node does not dial its own name."
        ),
        "Use the same spelling of its host on every node and in every list.".to_owned(),
    ];
    found.evidence = refusal(session, status);
    found.not_excluded = vec![format!(
        "another node that calls itself {name} too, registered with another EPMD of the same host"
    )];
    found.ended_by = EndedBy::Nothing;
    found.logged_by = vec![Role::Acceptor];
    found
}

/// Evidence by the look-up, the name and the refusal.
fn refusal(session: &JudgedConnection, status: PacketRef) -> Vec<Evidence> {
    let hello = session.seen.message(MessageKind::SendName);
    let nok = Shows::handshake(MessageKind::Status, "nok");
    let all = [
        looked_up(session),
        shown(hello, Some(Role::Initiator), MessageKind::SendName),
        shown(Some(status), Some(Role::Acceptor), nok),
        closed(session, "after nok"),
    ];
    all.into_iter().flatten().collect()
}

/// How long the initiator kept the declined dial open. A node drops it when the acceptor's own dial arrives, which has
/// been sent by then, or when its setup time is over.
fn kept_open(session: &JudgedConnection, declined: PacketRef) -> Duration {
    let initiator = &session.seen.tcp.sides.initiator;
    if initiator.fin_unseen {
        return Duration::ZERO;
    }
    initiator.closed_at.unwrap_or_else(|| session.at()).since(declined.at)
}

/// A crossing dial arrives within a few round trips.
const CROSSING_ARRIVES: Duration = Duration::from_secs(1);

/// Whether the initiator asked EPMD for its own alive name on the host in its own name.
fn asked_for_itself(session: &JudgedConnection, acceptor: IpAddr) -> bool {
    let host = session.name(Role::Initiator).and_then(|name| Some(name.split_once('@')?.1));
    asked_for_its_alive_name(session) && host == Some(acceptor.to_string().as_str())
}

/// Whether the initiator asked EPMD for its own alive name.
fn asked_for_its_alive_name(session: &JudgedConnection) -> bool {
    let alive = session.name(Role::Initiator).and_then(|name| alive_of(name));
    let asked = session.verdict.lookup.as_ref().map(|lookup| lookup.asked.as_ref());
    alive.is_some() && alive == asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, hello, nok, rules};
    use crate::judge::samples::{at, dial, lookup, mark};

    const B: &str = "app@pod-b/10.0.0.2/2";

    /// A declined dial of `app@pod-a` to the port that EPMD returned for `app`.
    fn declined(ms: u64) -> Step {
        but(dial(ms, "app@pod-a/10.0.0.1/1", B).fails(Outcome::Superseded), |session| {
            session.forget_name(Role::Acceptor);
            session.status(mark(ms + 5), "nok");
            session.verdict.lookup = Some(lookup("app", ms + 5));
        })
    }

    fn dialed(dials: &[Step]) -> Vec<Step> {
        let steps = |dial: &Step| [hello(dial), nok(dial), dial.clone()];
        dials.iter().flat_map(steps).collect()
    }

    #[test]
    fn a_repeatedly_declined_dial_without_one_in_return_shows_the_same_name() {
        assert!(rules(&dialed(&[declined(100)])).is_empty(), "once may be a crossing");
        assert_eq!(rules(&dialed(&[declined(100), declined(5000)])), ["same-name"]);
    }

    #[test]
    fn a_declined_dial_that_is_kept_open_had_no_crossing_dial() {
        let observed_at = |ms: u64| {
            let mut step = declined(100);
            step.settled().at = at(ms);
            step
        };
        assert_eq!(rules(&dialed(&[observed_at(1200)])), ["same-name"]);
        let mut dropped = observed_at(1200);
        let sides = &mut dropped.session_mut().seen.tcp.sides;
        sides.initiator.closed_at = Some(at(190));
        sides.acceptor.closed_at = Some(at(106));
        assert!(rules(&dialed(&[dropped])).is_empty(), "the other dial arrived");
    }

    /// A dial of a node to this endpoint, refused with `nok`, after EPMD was asked for its own alive name.
    fn to_itself(ms: u64, from: &str, to: &str, creation: u32) -> Step {
        let from = format!("app@pod-a/{from}/{creation}");
        but(dial(ms, &from, &format!("app@pod-a/{to}/1")).fails(Outcome::Superseded), |session| {
            session.forget_name(Role::Acceptor);
            session.status(mark(ms + 5), "nok");
            session.verdict.lookup = declined(ms).session().verdict.lookup.clone();
        })
    }

    fn titles(steps: &[Step]) -> Vec<String> {
        let same = found(steps).into_iter().filter(|found| found.rule == "same-name");
        same.map(|found| found.title).collect()
    }

    #[test]
    fn a_dial_to_the_own_address_and_alive_name_is_of_one_node() {
        let title = "app@pod-a dials itself by another name or address of its own host";
        for ip in ["10.0.0.1", "127.0.0.1", "fd00::1"] {
            assert_eq!(titles(&dialed(&[to_itself(100, ip, ip, 7)])), [title], "{ip}");
        }
        let mut other = to_itself(100, "10.0.0.1", "10.0.0.1", 7);
        other.session_mut().verdict.lookup = None;
        assert!(titles(&dialed(&[other])).is_empty(), "two nodes of one host may cross");
    }

    #[test]
    fn a_listener_with_the_own_name_and_creation_is_the_node_itself() {
        let answered = |creation: u32| {
            let to = format!("app@pod-a/10.0.0.2/{creation}");
            Step::from(dial(0, "c@h3/10.0.0.3/1", &to))
        };
        let dial = || dialed(&[to_itself(500, "10.0.0.1", "10.0.0.2", 77)]);
        let after = |creation: u32| titles(&[vec![answered(creation)], dial()].concat());
        assert!(after(77)[0].contains("dials itself"));
        assert_eq!(after(78), ["two nodes call themselves app@pod-a"]);
    }

    #[test]
    fn a_proxy_that_passes_the_dial_back_shows_one_node() {
        let (out, back) = (
            to_itself(100, "10.0.0.1", "10.0.0.9", 77),
            to_itself(102, "10.0.0.8", "10.0.0.1", 77),
        );
        let steps = [hello(&out), hello(&back), nok(&back), nok(&out), back, out];
        let titles = titles(&steps);
        assert!(!titles.is_empty() && titles.iter().all(|title| title.contains("dials itself")));
    }

    #[test]
    fn two_nodes_with_one_alive_name_that_dial_each_other_are_no_finding() {
        let back = dial(90, B, "app@pod-a/10.0.0.1/1").fails(Outcome::Incomplete);
        let mut events = vec![hello(&back.into())];
        events.extend(dialed(&[declined(100), declined(5000)]));
        assert!(!rules(&events).contains(&"same-name"));
    }
}
