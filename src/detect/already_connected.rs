//! A node dials another that believes it is connected to it already.
//!
//! Status `alive`: the acceptor asks whether the connection that it has is to go. `true` replaces it, `false`
//! gives the new one up. Mostly the old connection had died at one end only.

use super::finding::{Sides, closed, finding, settled, shown};
use super::{Rule, RuleDoc};
use crate::judge::world::World;
use crate::record::{Body, Event, Finding, MessageKind, Outcome, Role, Severity, Shows, State};

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

    fn on_event(&mut self, event: &Event, _: &World, out: &mut Vec<Finding>) {
        let established = match (&event.body, &event.connection) {
            (Body::Session { session }, Some(ids))
                if session.state == State::Established && session.outcome == Outcome::Connected =>
            {
                Some((&**ids, &**session))
            }
            _ => None,
        };
        let given_up =
            settled(event).filter(|(_, session)| session.outcome == Outcome::AlreadyConnected);
        let Some((ids, session)) = established.or(given_up) else { return };
        let Some((status, _)) = session.seen.status.as_ref().filter(|(_, text)| text == "alive")
        else {
            return;
        };
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let answer = session.seen.alive_reply;
        let mut found = finding(&DOC, session, &sides);
        found.title = format!("{b} still held a connection with {a}");
        let what_followed = match answer {
            _ if established.is_some() => {
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
            session.seen.send_name,
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        found.evidence.extend(shown(
            Some(*status),
            Some(Role::Acceptor),
            Shows::handshake(MessageKind::Status, "alive"),
        ));
        if let Some((mark, should_continue)) = answer {
            let what = Shows::handshake(MessageKind::Status, should_continue.to_string());
            found.evidence.extend(shown(Some(mark), Some(Role::Initiator), what));
        }
        if established.is_none() {
            found.evidence.extend(closed(session, "in place of a handshake"));
        }
        out.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{but, found, rules};
    use crate::packet::FrameRef;
    use crate::packet::PacketRef;
    use crate::record::samples::{Dial, at, dial};

    fn answered(dial: Dial, status: &str, reply: Option<bool>) -> Event {
        but(dial, |session| {
            let mark = |number| PacketRef { frame: FrameRef { input: 0, number }, at: at(number) };
            session.seen.status = Some((mark(5), status.to_owned()));
            session.seen.alive_reply = reply.map(|reply| (mark(6), reply));
        })
    }

    fn up() -> Dial {
        dial(0, "a@h1/10.0.0.1/1", "b@h1/10.0.0.1/2")
    }

    #[test]
    fn alive_is_told_with_what_followed() {
        let told = |event: Event| {
            let [finding] = &found(&[event])[..] else { panic!() };
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
        let (text, frames) = told(answered(given_up(), "alive", None));
        assert!(text.ends_with("gave no answer, and the new one was closed."), "{text}");
        assert_eq!(frames, [1, 5]);
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
