//! A node dials another that believes it is connected to it already.
//!
//! Status `alive`: the acceptor asks whether the connection that it has is to go. `true` replaces it, `false`
//! gives the new one up. Mostly the old connection had died at one end only.

use super::finding::{Sides, closed, finding, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role, State};
use crate::record::{Severity, Shows};

/// `beamscope explain already-connected`.
const DOC: RuleDoc = RuleDoc {
    rule: "already-connected",
    severity: Severity::Info,
    summary: "the dialed node still had an older connection",
    symptom: "a node was restarted or lost its link, and its first dial is answered with status \
              `alive`",
    meaning: "The dialed node still had a connection with the dialing node and asked, with \
              status alive, whether to drop it. Usually the old connection had ended on one side \
              only: the dialing node was restarted or lost its link, and the dialed node had not \
              noticed yet.",
    evidence: "Status alive from the dialed node, and the reply: after true, the handshake \
               continues and the new connection replaces the old one; after false, or a close, \
               the old connection stays.",
    lookalikes: "Two nodes that share one name look the same to the dialed node; duplicate-node \
                 reports that if both are seen alive. Two simultaneous dials give status nok or \
                 ok_simultaneous: that is simultaneous-connect.",
    log_lines: &[],
    remedy: &[
        "Do nothing if the node was restarted or its link was down for a moment.",
        "If it keeps happening, look for a firewall or NAT that drops idle connections: its idle \
         limit must be longer than net_ticktime / 4 (15 s by default).",
        "If it happens without a restart, check that no second node has the same name: compare \
         node() and erlang:system_info(creation) on every candidate.",
    ],
};

#[derive(Default)]
pub(super) struct AlreadyConnected;

impl Rule for AlreadyConnected {
    fn pages(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        let is_established =
            session.state() == State::Established && session.outcome() == Outcome::Connected;
        let is_given_up = session.is_settled() && session.outcome() == Outcome::AlreadyConnected;
        if !is_established && !is_given_up {
            return;
        }
        let Some(status) = session.seen.status("alive") else { return };
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let answer = session.seen.handshake.alive_reply.as_ref().map(|it| (it.mark, it.what));
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{b} still held a connection with {a}");
        let what_followed = match answer {
            _ if is_established => {
                format!("{a} wanted the new one, which replaced the old.")
            }
            Some((_, false)) => format!("{a} did not want the new one any more, which was closed."),
            _ => format!("{a} gave no answer, and the new one was closed."),
        };
        found.explanation = format!(
            "{a} dialed {b}, which asked whether the connection that it still had is to go (status \
             alive): that one had ended for {a} before, or another node of that name holds it. \
             {what_followed}"
        );
        found.remedy = vec![
            format!("Nothing, if {a} was restarted or lost its link for a moment."),
            "If it happens again and again, look for a firewall or address translation that forgets quiet \
             connections, and for a second node of that name."
                .to_owned(),
        ];
        found.evidence.extend(shown(
            session.seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        found.evidence.extend(shown(
            Some(status),
            Some(Role::Acceptor),
            Shows::handshake(MessageKind::Status, "alive"),
        ));
        if let Some((mark, should_continue)) = answer {
            let what = Shows::handshake(MessageKind::Status, should_continue.to_string());
            found.evidence.extend(shown(Some(mark), Some(Role::Initiator), what));
        }
        if !is_established {
            found.evidence.extend(closed(session, "in place of a handshake"));
        }
        out.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, rules};
    use crate::judge::samples::{Dial, dial, mark};
    use crate::observe::Received;

    fn answered(dial: Dial, status: &str, reply: Option<bool>) -> Step {
        but(dial, |session| {
            session.status(mark(5), status);
            session.seen.handshake.alive_reply =
                reply.map(|what| Received { what, mark: mark(6), end: Default::default() });
        })
    }

    fn up() -> Dial {
        dial(0, "a@h1/10.0.0.1/1", "b@h1/10.0.0.1/2")
    }

    #[test]
    fn alive_is_told_with_what_followed() {
        let told = |step: Step| {
            let [finding] = &found(&[step])[..] else { panic!() };
            assert_eq!((finding.rule, finding.severity), ("already-connected", Severity::Info));
            let frames: Vec<_> = finding.evidence.iter().map(|shown| shown.frame.number).collect();
            (finding.explanation.clone(), frames)
        };
        let (text, frames) = told(answered(up(), "alive", Some(true)));
        assert!(text.ends_with("a@h1 wanted the new one, which replaced the old."), "{text}");
        assert_eq!(frames, [1, 5, 6]);
        let given_up = || up().fails(Outcome::AlreadyConnected);
        let (text, _) = told(answered(given_up(), "alive", Some(false)));
        assert!(text.ends_with("did not want the new one any more, which was closed."), "{text}");
        let (text, frames) = told(answered(given_up().closed(9, [9; 2]), "alive", None));
        assert!(text.ends_with("gave no answer, and the new one was closed."), "{text}");
        assert_eq!(frames, [1, 5, 9]);
    }

    #[test]
    fn any_other_status_is_none_and_another_cause_goes_before() {
        assert!(rules(&[answered(up(), "ok", None)]).is_empty());
        let refused = answered(up().fails(Outcome::CookieMismatch), "alive", Some(true));
        assert_eq!(rules(&[refused]), ["cookie-mismatch"]);
        let closed = answered(up().closed(9, [9; 2]), "alive", Some(true));
        assert!(rules(&[closed]).is_empty(), "it was told when it came up");
    }
}
