//! A refusal of two nodes inside TLS, by the lengths of the encrypted records.
//!
//! Evidence: the handshake of TLS is complete, the records behind it are as long as the first messages of the
//! distribution handshake, and one side closes at once in place of the next. Nothing inside is read, so it is possible
//! and never more. A node that stops at this very moment looks the same.

use std::cmp::Ordering;

use super::finding::{Sides, address, closed, finding, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{InsideTls, JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Severity, Shows};

/// Documentation of the rule `refused-inside-tls`.
const DOC: RuleDoc = RuleDoc {
    rule: "refused-inside-tls",
    severity: Severity::Medium,
    summary: "one node most likely refused the other inside TLS",
    symptom: "`Node.connect/1` returns `false`, TLS is established, and the connection ends a moment later",
    meaning: "The two nodes agreed on TLS. The encrypted records behind it are as long as the first \
              messages of the distribution handshake, and the connection ends where it ends if a \
              cookie, a name or a node is refused. Nothing inside can be read in the capture.",
    evidence: "Erlang sends each message in a record of its own, and a cipher suite adds a known number \
               of bytes. Records as long as send_name, status, challenge and challenge_reply, and a close \
               by the dialed node at once in place of challenge_ack: its twin without TLS is \
               cookie-mismatch. A close by the dialing node behind challenge: name-mismatch. A record as \
               long as status not_allowed: not-allowed.",
    lookalikes: "A node that is stopped at that very moment. A tool that leaves once it is connected has \
                 received challenge_ack, and is not reported; nor are two simultaneous dials, an older \
                 connection (status alive), a resumed session, or bytes of another protocol. To be \
                 certain, give the secrets of the connection with --keylog: docs/tls.md shows how a node \
                 writes them.",
    log_lines: &[LogLine {
        writer: "the dialing node, if its cookie is refused",
        releases: "all",
        text: "",
    }],
    remedy: &[
        "See on the dialed node what it noted at that moment, such as Invalid challenge reply for a cookie: the \
         pages of cookie-mismatch, name-mismatch and not-allowed have the lines.",
        "Compare the cookies: erlang:get_cookie() on both nodes, or Node.get_cookie() in Elixir.",
        "To see it in the capture, let one node write a key log and read the capture with --keylog: \
         docs/tls.md.",
    ],
};

#[derive(Default)]
pub(super) struct RefusedInsideTls;

impl Rule for RefusedInsideTls {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() || session.outcome() != Outcome::Tls {
            return;
        }
        let Some(inside) = &session.verdict.inside_tls else { return };
        let sides = Sides::of(session);
        let Some(text) = RefusalText::of(session, inside, &sides) else { return };
        let mut found = finding(&DOC, session, &sides);
        found.confidence = Confidence::Possible;
        if session.verdict.inside_tls.as_ref().and_then(|it| it.looks_like)
            == Some(Outcome::CookieMismatch)
        {
            found.parties = hosts(session, &sides);
        }
        found.title = text.title;
        found.explanation = format!(
            "{} Nothing inside is readable; the sizes of the TLS records are all that shows it.",
            text.explanation
        );
        found.not_excluded = vec![
            format!("{} was stopped at this very moment", text.by),
            "other messages of the same sizes".to_owned(),
        ];
        found.remedy = text.remedy;
        found.remedy.push(WITH_KEYS.to_owned());
        found.evidence.extend(looked_up(session));
        for (message, packet) in &inside.messages {
            let from = match message {
                MessageKind::SendName | MessageKind::Complement | MessageKind::ChallengeReply => {
                    Role::Initiator
                }
                MessageKind::Status | MessageKind::Challenge | MessageKind::ChallengeAck => {
                    Role::Acceptor
                }
            };
            let what = Shows::Note(format!("TLS record as long as {}", message.name()).into());
            found.evidence.extend(shown(Some(*packet), Some(from), what));
        }
        found.evidence.extend(closed(session, "inside TLS"));
        found.may_log = text.may_log;
        out.push(found);
    }
}

/// The key of two nodes that refuse each other's cookie, the same whichever of them dials. Of the dialing one, only the
/// address is known.
fn hosts(session: &JudgedConnection, sides: &Sides) -> String {
    let (a, b) = (session.ip(Role::Initiator), session.ip(Role::Acceptor));
    match a.cmp(&b) {
        Ordering::Less => format!("{a},{b}"),
        Ordering::Greater => format!("{b},{a}"),
        Ordering::Equal => sides.ordered_pair(),
    }
}

/// How to be certain, as the last step.
const WITH_KEYS: &str = "To be certain, let one of the nodes write the secrets of its TLS connections to a file, capture \
                         again, and give the file with --keylog: docs/tls.md shows how.";

/// What the finding states.
struct RefusalText {
    title: String,
    explanation: String,
    remedy: Vec<String>,
    /// The node that closed.
    by: String,
    may_log: Vec<Role>,
}

impl RefusalText {
    fn of(session: &JudgedConnection, inside: &InsideTls, sides: &Sides) -> Option<Self> {
        let (a, b) = (&sides.initiator, &sides.acceptor);
        Some(match inside.looks_like? {
            Outcome::CookieMismatch => Self {
                title: format!(
                    "{b} most likely refused the cookie of {a}, by the sizes of the TLS records"
                ),
                explanation: format!(
                    "TLS was established, and the records behind it are as long as send_name, status, challenge and \
                     challenge_reply. Then {b} closed at once, where challenge_ack was due: that is how a node \
                     refuses a cookie."
                ),
                remedy: vec![
                    format!(
                        "Read the log of {b} at that moment: \"Invalid challenge reply\" confirms it. The dialing \
                         node logs nothing."
                    ),
                    "Give both nodes the same cookie: the same ~/.erlang.cookie for the users that run them, or \
                     the same -setcookie, --cookie or RELEASE_COOKIE. TLS does not replace the cookie."
                        .to_owned(),
                ],
                by: b.clone(),
                may_log: vec![Role::Acceptor],
            },
            Outcome::NameMismatch => {
                let (dialed, end) = (session.dialed_over_tls(), session.acceptor_end());
                let lengths = inside.name_bytes.zip(dialed.as_ref().map(|name| name.len()));
                let compared = match lengths {
                    Some((bytes, len)) if usize::from(bytes) != len => format!(
                        " By the size of its challenge the name of that node has {bytes} bytes, and the one that was \
                         dialed, {}, has {len}.",
                        dialed.as_deref().unwrap_or_default()
                    ),
                    _ => String::new(),
                };
                Self {
                    title: format!(
                        "{a} most likely refused the name of {b}, by the sizes of the TLS records"
                    ),
                    explanation: format!(
                        "TLS was established, and the records behind it are as long as send_name, status and \
                         challenge. Then {a} closed at once, where challenge_reply was due. A node does that if \
                         it finds another name than it dialed, or misses a capability.{compared}"
                    ),
                    remedy: vec![format!(
                        "Compare what node() returns on the node at {} with the name that {a} dials, its host part \
                         included. Then compare the OTP releases of both nodes.",
                        address(end.ip, end.port)
                    )],
                    by: a.clone(),
                    may_log: vec![Role::Initiator],
                }
            }
            Outcome::NotAllowed => Self {
                title: format!(
                    "{b} most likely does not allow {a} to connect, by the sizes of the TLS records"
                ),
                explanation: "TLS was established, and the records behind it are as long as send_name and status \
                     not_allowed. A node answers that if its list of allowed nodes lacks the dialing one, or if the \
                     release of the dialing one is too old for it."
                    .to_owned(),
                remedy: vec![format!(
                    "Read the log of {b} at that moment. Look for net_kernel:allow/1 in its code, and compare the \
                     OTP releases of both nodes."
                )],
                by: b.clone(),
                may_log: vec![Role::Acceptor],
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, rules};
    use crate::judge::Protocol;
    use crate::judge::samples::{dial, mark};
    use crate::observe::TlsHello;

    fn seen(looks_like: Option<Outcome>, name_bytes: Option<u16>) -> Step {
        let dial = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(Outcome::Tls);
        but(dial, |session| {
            session.forget_names();
            session.verdict.protocol = Protocol::Tls;
            session.verdict.inside_tls = Some(InsideTls {
                messages: vec![(MessageKind::SendName, mark(5)), (MessageKind::Status, mark(6))],
                has_more: false,
                looks_like,
                name_bytes,
            });
            let hello = TlsHello { server_name: Some("h2".into()), ..TlsHello::default() };
            session.seen.tls.initiator.hello = Some(hello);
        })
    }

    #[test]
    fn a_refusal_inside_tls_is_possible_and_shows_the_records() {
        for (outcome, title) in [
            (
                Outcome::CookieMismatch,
                "10.0.0.2:9100 most likely refused the cookie of 10.0.0.1, by the sizes of the TLS records",
            ),
            (
                Outcome::NameMismatch,
                "10.0.0.1 most likely refused the name of 10.0.0.2:9100, by the sizes of the TLS records",
            ),
            (
                Outcome::NotAllowed,
                "10.0.0.2:9100 most likely does not allow 10.0.0.1 to connect, by the sizes of the TLS records",
            ),
        ] {
            let [finding] = &found(&[seen(Some(outcome), None)])[..] else { panic!() };
            assert_eq!((finding.rule, &*finding.title), ("refused-inside-tls", title));
            assert_eq!(finding.confidence, Confidence::Possible);
            assert!(finding.explanation.contains("Nothing inside is readable"), "{finding:?}");
            assert!(finding.remedy.last().unwrap().contains("docs/tls.md"), "{finding:?}");
            let shown: Vec<_> = finding.evidence.iter().map(|it| it.what.to_string()).collect();
            assert!(shown.contains(&"TLS record as long as send_name".to_owned()), "{shown:?}");
        }
    }

    #[test]
    fn two_nodes_that_refuse_each_others_cookie_are_one_problem() {
        let refused = |from: &str, to: &str| {
            let dial = dial(0, &format!("a@h1/{from}/1"), &format!("b@h2/{to}/2"));
            but(dial.fails(Outcome::Tls), |session| {
                session.forget_names();
                session.verdict.inside_tls = Some(InsideTls {
                    messages: vec![(MessageKind::SendName, mark(5))],
                    has_more: false,
                    looks_like: Some(Outcome::CookieMismatch),
                    name_bytes: None,
                });
            })
        };
        let both = [refused("10.0.0.1", "10.0.0.2"), refused("10.0.0.2", "10.0.0.1")];
        assert_eq!(rules(&both), ["refused-inside-tls"]);
        let others = [refused("10.0.0.1", "10.0.0.2"), refused("fd00::3", "10.0.0.1")];
        assert_eq!(rules(&others).len(), 2);
    }

    #[test]
    fn a_healthy_ending_inside_tls_is_no_refusal() {
        for outcome in [None, Some(Outcome::Superseded), Some(Outcome::AlreadyConnected)] {
            assert!(rules(&[seen(outcome, None)]).is_empty(), "{outcome:?}");
        }
    }
}
