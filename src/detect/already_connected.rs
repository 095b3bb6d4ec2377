//! A node dials another one that still has an older connection with it.
//!
//! With status `alive` the acceptor asks whether to replace the older connection: `true` replaces it, `false`
//! closes the new one. Usually the older connection had ended on one side only.

use super::finding::{Sides, closed, finding, shown};
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `already-connected`.
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
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        let is_established = session.has_just_connected();
        let is_given_up = session.is_settled() && session.outcome() == Outcome::AlreadyConnected;
        if !is_established && !is_given_up || session.claim.is_some() {
            return;
        }
        let Some(status) = session.seen.status("alive") else { return };
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let reply = session.seen.handshake.alive_reply.as_ref().map(|it| (it.mark, it.what));
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{b} still had an older connection with {a}");
        let what_followed = match reply {
            _ if is_established => {
                format!("{a} confirmed, and the new connection replaced the old one.")
            }
            Some((_, false)) => format!("{a} answered false, and the new connection was closed."),
            _ => format!("{a} sent no reply, and the new connection was closed."),
        };
        found.explanation = format!(
            "{a} dialed {b}, which still had a connection with {a} and asked whether to replace it \
             (status alive). Either the old connection had ended on the side of {a} only, or another \
             node has the same name. {what_followed}"
        );
        found.remedy = vec![
            format!("Do nothing if {a} was restarted or lost its link for a moment."),
            "If it happens again and again, look for a firewall or NAT that drops idle connections, \
             and for a second node with the same name."
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
        if let Some((mark, should_continue)) = reply {
            let what = Shows::handshake(MessageKind::Status, should_continue.to_string());
            found.evidence.extend(shown(Some(mark), Some(Role::Initiator), what));
        }
        if !is_established {
            found.evidence.extend(closed(session, "before the handshake was complete"));
        }
        out.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, rules};
    use crate::judge::samples::{SampleDial, dial, mark};
    use crate::observe::Received;

    fn with_status(dial: SampleDial, status: &str, reply: Option<bool>) -> Step {
        but(dial, |session| {
            session.status(mark(5), status);
            session.seen.handshake.alive_reply =
                reply.map(|what| Received { what, mark: mark(6), end: Default::default() });
        })
    }

    fn established() -> SampleDial {
        dial(0, "a@h1/10.0.0.1/1", "b@h1/10.0.0.1/2")
    }

    #[test]
    fn the_finding_shows_the_reply_to_alive_and_what_followed() {
        let explained = |step: Step| {
            let [finding] = &found(&[step])[..] else { panic!() };
            assert_eq!((finding.rule, finding.severity), ("already-connected", Severity::Info));
            let frames: Vec<_> = finding.evidence.iter().map(|shown| shown.frame.number).collect();
            (finding.explanation.clone(), frames)
        };
        let (text, frames) = explained(with_status(established(), "alive", Some(true)));
        assert!(
            text.ends_with("a@h1 confirmed, and the new connection replaced the old one."),
            "{text}"
        );
        assert_eq!(frames, [1, 5, 6]);
        let given_up = || established().fails(Outcome::AlreadyConnected);
        let (text, _) = explained(with_status(given_up(), "alive", Some(false)));
        assert!(text.ends_with("answered false, and the new connection was closed."), "{text}");
        let (text, frames) = explained(with_status(given_up().closed(9, [9; 2]), "alive", None));
        assert!(text.ends_with("sent no reply, and the new connection was closed."), "{text}");
        assert_eq!(frames, [1, 5, 9]);
    }

    #[test]
    fn other_statuses_are_no_finding_and_another_cause_takes_precedence() {
        assert!(rules(&[with_status(established(), "ok", None)]).is_empty());
        let refused =
            with_status(established().fails(Outcome::CookieMismatch), "alive", Some(true));
        assert_eq!(rules(&[refused]), ["cookie-mismatch"]);
        let closed = with_status(established().closed(9, [9; 2]), "alive", Some(true));
        assert!(rules(&[closed]).is_empty(), "it was reported when the connection was established");
    }
}
