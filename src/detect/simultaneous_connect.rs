//! Two nodes that dialed each other at the same time, so that one of the two dials was dropped.
//!
//! Evidence: a dial that was refused with `nok` or dropped, and the dial in the other direction. The protocol resolves
//! crossing dials in this way; the finding explains the dial that failed.

use super::finding::{Sides, closed, finding, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Evidence, Severity, Shows};

/// Documentation of the rule `simultaneous-connect`.
const DOC: RuleDoc = RuleDoc {
    rule: "simultaneous-connect",
    severity: Severity::Info,
    summary: "two nodes dialed each other, and one dial gave way",
    symptom: "two dials crossed, and one of them ended with status `nok`",
    meaning: "Both nodes dialed each other at the same moment. One connection is enough, so one \
              of the two dials is dropped: that of the node with the smaller name. Nothing is \
              wrong.",
    evidence: "A dial that ends with status nok, or that its node drops before it has an answer, \
               and a dial between the same two nodes in the other direction at the same time \
               (ok_simultaneous, if it was answered while the first was pending).",
    lookalikes: "nok without a dial in the other direction: a node that uses the name of the \
                 node it dials, which is same-name. A dial that was dropped because its node was \
                 stopped looks the same until the other dial is seen.",
    log_lines: &[],
    remedy: &[
        "Do nothing as long as one of the two dials connects.",
        "If both nodes dial each other at each start, let one side do it: a mesh needs one dial \
         for each pair.",
    ],
};

#[derive(Default)]
pub(super) struct SimultaneousConnect;

impl Rule for SimultaneousConnect {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::Superseded {
            return;
        }
        let (Some(hello), Some(name)) =
            (session.seen.message(MessageKind::SendName), session.name(Role::Initiator))
        else {
            return;
        };
        let Some(other) = known.dials().crossing(session, hello.at) else { return };
        let mut sides = Sides::of(session);
        if let Some(dialer) = &other.name {
            sides.acceptor = dialer.to_string();
            sides.nodes = vec![name.clone(), dialer.clone()];
        }
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let refused = session.seen.status("nok");
        let mut found = finding(&DOC, session, &sides);
        found.parties = sides.unordered_pair();
        found.title = format!("{a} and {b} dialed each other at once");
        found.explanation = format!(
            "The dial of {a} gave way to the dial of {b}: {}. The protocol resolves two crossing dials in \
             this way; it is not a fault.",
            if refused.is_some() { "it was refused with nok" } else { "it was dropped" }
        );
        found.remedy = vec!["Do nothing as long as the other dial connects.".to_owned()];
        found.evidence.extend(shown(Some(hello), Some(Role::Initiator), MessageKind::SendName));
        match refused {
            Some(status) => {
                found.evidence.extend(shown(
                    Some(status),
                    Some(Role::Acceptor),
                    Shows::handshake(MessageKind::Status, "nok"),
                ));
            }
            None => found.evidence.extend(closed(session, "before an answer")),
        }
        found.evidence.extend(other.frame.map(|frame| Evidence {
            frame,
            input: None,
            session_id: Some(other.session_id.clone()),
            from: Some(Role::Initiator),
            what: Shows::handshake(MessageKind::SendName, "of the dial in the other direction"),
        }));
        out.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, hello, rules};
    use crate::judge::samples::{dial, mark};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";

    /// A dial that was refused with `status` or dropped, without the name of the acceptor.
    fn given_up(ms: u64, from: &str, to: &str, status: Option<&str>) -> Step {
        but(dial(ms, from, to).fails(Outcome::Superseded), |session| {
            session.forget_name(Role::Acceptor);
            if let Some(text) = status {
                session.status(mark(ms + 5), text);
            }
        })
    }

    #[test]
    fn two_crossing_dials_are_one_incident_in_either_direction() {
        let (lost, won) = (given_up(100, A, B, Some("nok")), Step::from(dial(120, B, A)));
        let again = given_up(9000, B, A, None);
        let crossing = hello(&dial(9010, A, B).into());
        let events = [hello(&lost), hello(&won), lost, won, hello(&again), crossing, again];
        let findings = found(&events);
        let of = |rule: &str| findings.iter().filter(|it| it.rule == rule).collect::<Vec<_>>();
        let [finding] = of("simultaneous-connect")[..] else { panic!("{findings:?}") };
        assert_eq!(finding.title, "a@h1 and b@h2 dialed each other at once");
        assert_eq!(finding.severity, Severity::Info);
        let frames: Vec<_> = finding.evidence.iter().map(|shown| shown.frame.number).collect();
        assert_eq!(frames, [100, 105, 120]);
        assert!(findings.iter().all(|finding| finding.severity == Severity::Info));
    }

    #[test]
    fn a_dial_at_another_time_or_of_another_node_did_not_cross() {
        let lost = given_up(60_000, A, B, Some("nok"));
        let early = Step::from(dial(100, B, A));
        assert!(rules(&[hello(&early), hello(&lost), lost.clone()]).is_empty());
        let other = Step::from(dial(60_010, "c@h3/10.0.0.3/3", A));
        assert!(rules(&[hello(&other), hello(&lost), lost]).is_empty());
    }

    #[test]
    fn a_dial_with_the_name_of_the_dialed_node_is_no_simultaneous_connect() {
        let twin = "b@h2/10.0.0.1/7";
        let known = Step::from(dial(0, "c@h3/10.0.0.3/3", B).fails(Outcome::TimedOut));
        let lost = given_up(100, twin, B, Some("nok"));
        let events = [hello(&known), known, hello(&lost), lost];
        assert_eq!(rules(&events), ["handshake-timeout", "same-name"]);
    }
}
