//! Two nodes with different cookies.
//!
//! Symptom: `Node.connect` gives `false`; the dialed node logs a rejected attempt, the dialing one nothing.
//! Evidence: the acceptor closes at once after `challenge_reply`, or candidate cookies tell the digests
//! apart. May look like it: a node that stops at this very point.

use super::text::{Sides, closed, finding, settled, shown};
use super::{Page, Rule};
use crate::correlate::Correlator;
use crate::event::{Event, Finding, Outcome, Role, Severity};

/// `beamscope explain cookie-mismatch`.
const PAGE: Page = Page {
    rule: "cookie-mismatch",
    severity: Severity::High,
    summary: "the two nodes hold different cookies",
    means: "",
    proof: "",
    resembles: "",
    logs: &[],
    remedy: &[],
};

#[derive(Default)]
pub(super) struct CookieMismatch;

impl Rule for CookieMismatch {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, _: &Correlator, out: &mut Vec<Finding>) {
        let Some((ids, session)) = settled(event) else { return };
        if session.outcome != Outcome::CookieMismatch {
            return;
        }
        let sides = Sides::of(ids, session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let made_with = |cookie: &Option<std::sync::Arc<str>>| {
            cookie.as_ref().map_or_else(String::new, |label| format!(" with the cookie {label}"))
        };
        let by_acceptor = session.detected_by == Some(Role::Acceptor);
        let mut found = finding(&PAGE, session, &sides);
        found.parties = sides.either_way();
        if by_acceptor {
            found.title = format!("{b} refused the cookie of {a}");
            found.explanation = format!(
                "{a} answered the challenge{}; {b} closed the connection without an acknowledgement. \
                 A node does that when the two cookies differ.",
                made_with(&session.initiator.cookie)
            );
            found.evidence.extend(shown(
                session.seen.challenge_reply,
                Some(Role::Initiator),
                "challenge_reply",
            ));
            found.evidence.extend(closed(session, "without challenge_ack"));
        } else {
            found.title = format!("{a} refused the cookie of {b}");
            found.explanation = format!(
                "{b} took the digest of {a}, made{}, and answered with one made{}: the two sides do \
                 not hold the same cookie.",
                made_with(&session.initiator.cookie),
                match made_with(&session.acceptor.cookie) {
                    none if none.is_empty() => " with another cookie".to_owned(),
                    some => some,
                }
            );
            found.evidence.extend(shown(
                session.seen.challenge_reply,
                Some(Role::Initiator),
                "challenge_reply",
            ));
            found.evidence.extend(shown(
                session.seen.challenge_ack,
                Some(Role::Acceptor),
                "challenge_ack made with another cookie",
            ));
            found.evidence.extend(closed(session, "after challenge_ack"));
        }
        found.remedy = vec![
            "Give both nodes the same cookie: compare ~/.erlang.cookie of the users that run them, or \
             start both with the same --cookie (Elixir) or -setcookie (Erlang)."
                .to_owned(),
            "On a running node, erlang:get_cookie() (Node.get_cookie in Elixir) shows the cookie in use \
             and Node.set_cookie changes it; a cookie set for one peer alone goes before it."
                .to_owned(),
        ];
        found.logged_by = session.detected_by.into_iter().collect();
        out.push(found);
    }
}
