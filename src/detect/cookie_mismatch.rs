//! Two nodes with different cookies.
//!
//! `Node.connect/1` returns `false`; the dialed node logs a rejected attempt, and the dialing node logs nothing.
//! The evidence is a close by the acceptor at once after `challenge_reply`, or digests that were made with
//! different candidate cookies. A node that stops at this moment looks the same.

use super::finding::{Sides, closed, closed_without, finding, listed, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::{CookieUse, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Severity, Shows};

/// Documentation of the rule `cookie-mismatch`.
const DOC: RuleDoc = RuleDoc {
    rule: "cookie-mismatch",
    severity: Severity::High,
    summary: "the two nodes have different cookies",
    symptom: "`Node.connect/1` returns `false` at once; only the node that refuses logs something",
    meaning: "The nodes reached each other and ran the handshake, and one of them found that the \
              other has a different cookie. For each peer, a node uses the cookie set for that \
              peer, or else its own. The dialed node checks first, so it nearly always is the \
              one that refuses; the dialing node only sees a closed connection, and \
              Node.connect/1 returns false.",
    evidence: "The dialing node sends challenge_reply and the dialed node closes within \
               milliseconds, without challenge_ack. Or challenge_ack comes and the dialing node \
               closes because of it. Candidate cookies given with --cookie-file or --cookie are \
               tested against the digests themselves: they prove the mismatch, and name each \
               side's cookie by its label.",
    lookalikes: "A dialed node that is killed at that very moment: then its other connections \
                 and its EPMD registration end too. A challenge_reply that is followed by \
                 seconds of silence is handshake-timeout. A refusal because of the release or of \
                 an allow list comes earlier, as status not_allowed; but OTP 22 and older log a \
                 wrong cookie and a node that is not on the list in the same words, and only a \
                 capture tells which it is.",
    log_lines: &[
        LogLine {
            writer: "the dialed node",
            releases: "OTP 23 and newer",
            text: "** Connection attempt from node 'a@h' rejected. Invalid challenge reply. **",
        },
        LogLine {
            writer: "the dialed node",
            releases: "OTP 22 and older",
            text: "** Connection attempt from disallowed node a@h **",
        },
        LogLine {
            writer: "the dialing node, if it refuses the other",
            releases: "OTP 23 and newer",
            text: "** Connection attempt to node 'b@h' cancelled. Invalid challenge ack. **",
        },
        LogLine {
            writer: "the dialing node, if it refuses the other",
            releases: "OTP 22 and older",
            text: "** Connection attempt to disallowed node b@h **",
        },
        LogLine { writer: "the dialing node, if it is refused", releases: "all", text: "" },
        LogLine {
            writer: "the dialing node, with net_kernel:verbose(1)",
            releases: "OTP 25 and older",
            text: "{net_kernel,{'EXIT',<0.87.0>,{recv_challenge_ack_failed,{error,closed}}}}",
        },
        LogLine {
            writer: "the dialing node, with net_kernel:verbose(1), if it refuses the other",
            releases: "OTP 25 and older",
            text: "{net_kernel,{'EXIT',<0.87.0>,{recv_challenge_ack_failed,bad_cookie}}}",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* Authentication failed (rejected by the remote node), please check the Erlang \
                   cookie",
        },
        LogLine {
            writer: "rabbitmqctl on the dialing host, if its node refuses",
            releases: "all",
            text: "* Authentication failed (rejected by the local node), please check the Erlang \
                   cookie",
        },
    ],
    remedy: &[
        "Give both nodes the same cookie: the same ~/.erlang.cookie for the users that run them \
         (readable by the owner only; a command run as another user reads another file), or the \
         same -setcookie (Erlang), --cookie (Elixir) or RELEASE_COOKIE (release).",
        "See which cookie each node uses: erlang:get_cookie(), or Node.get_cookie() in Elixir.",
        "A cookie set for that node with erlang:set_cookie(Node, Cookie) or Node.set_cookie/2 \
         overrides the node's own: look for such a call.",
        "If the files look equal, compare their bytes (od -c): a space at the end of the line \
         counts.",
    ],
};

#[derive(Default)]
pub(super) struct CookieMismatch;

impl Rule for CookieMismatch {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        if session.outcome() != Outcome::CookieMismatch {
            return;
        }
        let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
        let by_acceptor = session.verdict.detected_by == Some(Role::Acceptor);
        // A client that guesses belongs to the rule `cookie-guessing`.
        if by_acceptor && known.guesses().guess(from, end).is_some() {
            return;
        }
        let sides = Sides::of(session);
        let (a, b) = (&sides.initiator, &sides.acceptor);
        let cookies = &session.seen.handshake.cookies;
        let mut found = finding(&DOC, session, &sides);
        found.parties = sides.unordered_pair();
        if by_acceptor {
            found.title = format!("{b} refused the cookie of {a}");
            found.explanation = format!(
                "{a} answered the challenge{}; {b} closed the connection without sending challenge_ack. \
                 A node does that when the two cookies differ.",
                cookies
                    .initiator
                    .label()
                    .map_or_else(String::new, |label| format!(" with the cookie {label}"))
            );
            found.evidence.extend(shown(
                session.seen.message(MessageKind::ChallengeReply),
                Some(Role::Initiator),
                MessageKind::ChallengeReply,
            ));
            found.evidence.extend(closed_without(session, MessageKind::ChallengeAck));
        } else {
            found.title = format!("{a} refused the cookie of {b}");
            found.explanation = format!(
                "{b} accepted the digest of {a}{} and answered with a digest made with {}: the two nodes do \
                 not have the same cookie.",
                cookies
                    .initiator
                    .label()
                    .map_or_else(String::new, |label| format!(" (cookie {label})")),
                cookies.acceptor.label().map_or_else(
                    || "another cookie".to_owned(),
                    |label| format!("the cookie {label}")
                )
            );
            found.evidence.extend(shown(
                session.seen.message(MessageKind::ChallengeReply),
                Some(Role::Initiator),
                MessageKind::ChallengeReply,
            ));
            found.evidence.extend(shown(
                session.seen.message(MessageKind::ChallengeAck),
                Some(Role::Acceptor),
                Shows::handshake(MessageKind::ChallengeAck, "made with another cookie"),
            ));
            found.evidence.extend(closed(session, "after challenge_ack"));
        }
        if let (Some(a), Some(b)) = (session.name(Role::Initiator), session.name(Role::Acceptor)) {
            for sentence in cookies_elsewhere(known.cookies(), a, b) {
                found.explanation.push(' ');
                found.explanation.push_str(&sentence);
            }
        }
        if by_acceptor && known.guesses().is_one_of_many(from, end, a) {
            found.parties = format!("{from},{b}");
            found.nodes = session.name(Role::Acceptor).into_iter().cloned().collect();
            found.title = format!("{b} refused the cookie of further nodes at {from}");
            found.explanation.push_str(
                " Other names from this address were refused before; this one and all further ones are \
                 counted together.",
            );
        }
        found.remedy = vec![
            "Give both nodes the same cookie: compare ~/.erlang.cookie of the users that run them, or \
             start both with the same --cookie (Elixir) or -setcookie (Erlang)."
                .to_owned(),
            "On a running node, erlang:get_cookie() (Node.get_cookie in Elixir) shows the cookie in use, \
             and Node.set_cookie/1 changes it. A cookie set for that node with Node.set_cookie/2 \
             overrides it."
                .to_owned(),
        ];
        let refuser = session.verdict.refuser.unwrap_or_default();
        let logs = refuser.implementation.logs_refusals();
        found.logged_by = session.verdict.detected_by.filter(|_| logs).into_iter().collect();
        out.push(found);
    }
}

/// Sentences about the cookies that two nodes use on other connections.
fn cookies_elsewhere(cookies: &CookieUse, a: &str, b: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    match (cookies.used(a, b), cookies.used(b, a)) {
        (Some(by_a), Some(by_b)) if cookies.are_crossed(a, b) => sentences.push(format!(
            "The two cookies are swapped: for {b}, {a} uses {by_a}, the cookie that {b} uses elsewhere; \
             and for {a}, {b} uses {by_b}. A cookie that is set for one peer must be the same on both \
             sides."
        )),
        (Some(by_a), Some(by_b)) if by_a != by_b => {
            sentences.push(format!("When {b} dials {a}, it uses {by_b}."));
        }
        _ => {}
    }
    for (node, peer) in [(a, b), (b, a)] {
        if let [first, second, ..] = cookies.labels(node) {
            sentences.push(format!("{node} has used more than one cookie: {first} and {second}."));
        }
        // The node that other nodes refuse too, and that none accepts, is the odd one out.
        let peers_that = |agreed: bool| {
            let others = cookies
                .peers(node)
                .iter()
                .filter(move |other| other.agreed == agreed && other.name.as_ref() != peer);
            others.map(|other| other.name.as_ref()).collect::<Vec<_>>()
        };
        let is_peer_accepted =
            cookies.peers(peer).iter().any(|other| other.agreed && other.name.as_ref() != node);
        let refused = peers_that(false);
        if !refused.is_empty() && peers_that(true).is_empty() && is_peer_accepted {
            sentences.push(format!(
                "{node} is the odd one out: it does not share a cookie with {} either, while {peer} \
                 is connected to others.",
                listed(&refused)
            ));
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, found};
    use crate::judge::samples::{SampleDial, dial};

    const A: &str = "a@h1/10.0.0.1/1";
    const B: &str = "b@h2/10.0.0.2/2";
    const C: &str = "c@h3/10.0.0.3/3";

    fn refused(ms: u64, from: &str, to: &str) -> SampleDial {
        dial(ms, from, to).fails(Outcome::CookieMismatch)
    }

    /// The explanation of the last refusal.
    fn explained(dials: Vec<SampleDial>) -> String {
        let events: Vec<_> = dials.into_iter().map(Step::from).collect();
        let findings = found(&events);
        let last = findings.iter().rfind(|finding| finding.rule == "cookie-mismatch");
        last.unwrap().explanation.clone()
    }

    #[test]
    fn a_node_that_is_refused_by_nodes_that_agree_is_the_odd_one_out() {
        let text = explained(vec![dial(0, A, B), refused(100, C, A), refused(200, C, B)]);
        assert!(text.contains("c@h3 is the odd one out"), "{text}");
        assert!(text.contains("with a@h1 either"), "{text}");
        let text = explained(vec![refused(100, C, A), refused(200, C, B)]);
        assert!(!text.contains("odd one out"), "no two nodes are known to agree: {text}");
        let text = explained(vec![dial(0, A, B), refused(100, C, A)]);
        assert!(!text.contains("odd one out"), "one refusal may be a cookie for one peer: {text}");
    }

    #[test]
    fn swapped_cookies_are_in_the_explanation() {
        let cookies = |dial: SampleDial, from: &str, to: Option<&str>| dial.cookies(Some(from), to);
        let text = explained(vec![
            cookies(dial(0, A, C), "of-a", Some("of-a")),
            cookies(dial(0, B, "d@h4/10.0.0.4/4"), "of-b", Some("of-b")),
            cookies(refused(100, A, B), "of-b", None),
            cookies(refused(9000, B, A), "of-a", None),
        ]);
        // The second refusal is a repeat of the first one, which came before the cookies were known.
        assert!(!text.contains("swapped"), "{text}");
        let text = explained(vec![
            cookies(dial(0, A, C), "of-a", Some("of-a")),
            cookies(dial(0, B, "d@h4/10.0.0.4/4"), "of-b", Some("of-b")),
            cookies(dial(50, B, A), "of-a", Some("of-a")),
            cookies(refused(100, A, B), "of-b", None),
        ]);
        assert!(text.contains("swapped: for b@h2, a@h1 uses of-b"), "{text}");
        assert!(text.contains("has used more than one cookie"), "{text}");
    }
}
