//! A client that tries many cookies.
//!
//! The evidence is refused digests from one address at one node, together with a sign that no node with one
//! wrong cookie shows: many names, many of the candidate cookies, or a dial to a node while an earlier dial is
//! pending. Number and rate of the attempts prove nothing. Observed: a real node in a loop of `net_adm:ping/1`
//! is refused 1,200 times a second (OTP 25.2.3).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Sides, address, closed_without, lasted, order_by_frame, ordinal, shown};
use super::{Detection, EndedBy, IfKnown, LogLine, Rule, RuleDoc};
use crate::decode::Endpoint;
use crate::judge::world::{Guess, Sign, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `cookie-guessing`.
const DOC: RuleDoc = RuleDoc {
    rule: "cookie-guessing",
    severity: Severity::Critical,
    summary: "one address tries many cookies",
    symptom: "the log line of a wrong cookie, many times in seconds, often with changing names",
    meaning: "One address was refused for its cookie many times, in a way that a node with one \
              wrong cookie does not show: it is searching for the right cookie. Whoever finds it \
              can run any code on the node and, from there, on the whole cluster.",
    evidence: "Refused digests from one address to one node within seconds, and one of these \
               signs: four or more of the candidate cookies fit them (needs --cookie-file); ten \
               or more names, with at most one EPMD lookup for every four of them, while a node \
               asks EPMD before each dial; 16 or more dials, with at most one EPMD lookup for \
               every eight of them; 32 or more names within ten seconds; or eight or more dials \
               that began while another one under the same name was pending, which a node never \
               does.",
    lookalikes: "A node that retries with one wrong cookie is cookie-mismatch with a count, \
                 however fast it dials: a loop reaches over a thousand dials a second. Command \
                 line tools of releases and of RabbitMQ use a new name for each call, and many \
                 nodes behind one address have many names; both are slower, and ask EPMD for \
                 each dial. An attacker who uses one name, asks EPMD for every dial or for none, \
                 and tries only cookies that are not among the candidates cannot be told from a \
                 node in a loop: check the count of its cookie-mismatch.",
    log_lines: &[
        LogLine {
            writer: "the dialed node, once for each attempt",
            releases: "OTP 23 and newer",
            text: "** Connection attempt from node 'a@h' rejected. Invalid challenge reply. **",
        },
        LogLine {
            writer: "the dialed node, once for each attempt",
            releases: "OTP 22 and older",
            text: "** Connection attempt from disallowed node 'a@h' **",
        },
    ],
    remedy: &[
        "Find out what runs at that address. If it is not yours, block it from port 4369 and \
         from the distribution ports (inet_dist_listen_min to inet_dist_listen_max) now.",
        "Give all nodes of the cluster a new, long, random cookie (20 or more characters), and \
         never a default such as monster, rabbit or cookie.",
        "Keep the distribution on an internal network: bind it with -kernel \
         inet_dist_use_interface, filter it, or use -proto_dist inet_tls with certificates that \
         both sides verify.",
        "Check whether the address got in: the finding says so, and so does nodes(connected) on \
         the node.",
    ],
};

#[derive(Default)]
pub(super) struct CookieGuessing {
    /// What was last reported of each client and node.
    reported: HashMap<(IpAddr, Endpoint), ReportedGuess>,
}

/// A client that was reported.
struct ReportedGuess {
    found: Detection,
    refused: u64,
    is_accepted: bool,
}

impl Rule for CookieGuessing {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
        let Some(guess) = known.guesses().guess(from, end) else { return };
        let has_connected = session.has_just_connected()
            && session.at().since(guess.first.at) <= guess.lasted + SOON;
        if !is_refused(session) && !has_connected {
            return;
        }
        let sides = Sides::of(session);
        let mut found = Detection::new(&DOC);
        found.confidence = Confidence::Likely;
        found.nodes = session.label(Role::Acceptor).into_iter().collect();
        found.parties = format!("{from},{}", address(end.ip, end.port));
        found.ended_by = EndedBy::Nothing;
        write_guess(&mut found, &guess, (from, place(known, from)), &sides.acceptor);
        add_evidence(&mut found, session, &guess);
        let is_accepted = guess.accepted.is_some();
        let has_room = self.reported.len() < MAX_REPORTED;
        match self.reported.get_mut(&(from, end)) {
            // A repeat has nothing new, unless it is the one that shows that the client got in.
            Some(before) if before.is_accepted || !is_accepted => {}
            Some(before) => {
                found.if_known = IfKnown::Rewrites;
                *before =
                    ReportedGuess { found: found.clone(), refused: guess.refused, is_accepted };
            }
            None if has_room => {
                let refused = guess.refused;
                let reported = ReportedGuess { found: found.clone(), refused, is_accepted };
                self.reported.insert((from, end), reported);
            }
            None => {}
        }
        out.push(found);
    }

    fn on_end(&mut self, known: &World, out: &mut Vec<Detection>) {
        let mut reported: Vec<_> = std::mem::take(&mut self.reported).into_iter().collect();
        reported.sort_unstable_by_key(|(key, _)| *key);
        for ((from, end), ReportedGuess { mut found, refused, .. }) in reported {
            let guess = known.guesses().guess(from, end);
            // Further refusals alone are counted by the incident.
            let has_news = |guess: &Guess| guess.accepted.is_some() && guess.refused > refused;
            let Some(guess) = guess.filter(has_news) else { continue };
            let node = found.nodes.first();
            let node = node.map_or_else(|| address(end.ip, end.port), ToString::to_string);
            write_guess(&mut found, &guess, (from, place(known, from)), &node);
            found.if_known = IfKnown::RewritesOnly;
            out.push(found);
        }
    }
}

/// The place of an address by the networks of the user, as part of a sentence.
fn place(known: &World, from: IpAddr) -> &'static str {
    match known.home().is_outside(from) {
        Some(true) => " (outside your networks)",
        Some(false) => " (inside your networks)",
        None => "",
    }
}

/// Writes the texts about a client at `from` that guesses the cookie of `node`.
fn write_guess(found: &mut Detection, guess: &Guess, (from, place): (IpAddr, &str), node: &str) {
    let pace = format!("{} guesses in {}", guess.attempts(), lasted(guess.lasted));
    match &guess.accepted {
        Some(accepted) => {
            let which = format!(
                "the {} was accepted (frame {})",
                ordinal(accepted.number),
                accepted.ack.frame.number
            );
            found.title = match guess.sign {
                Sign::Accepted => format!("{from} guessed the cookie of {node}: {pace}, {which}"),
                _ => format!("{from} was refused by {node} with {pace}, then connected: {which}"),
            };
            found.explanation = format!(
                "{from}{place} was refused {} times within {}, and {which}: {}. Whoever runs it has the cookie, \
                 and with it can run any code on every node that uses it.",
                guess.refused,
                lasted(guess.lasted),
                sign(guess.sign)
            );
            found.remedy = vec![
                format!(
                    "Treat the host of {node} as compromised: block {from} from port 4369 and from the distribution \
                     ports now, and find out what it did: beamscope --messages shows what was sent after that frame."
                ),
                NEW_COOKIE.to_owned(),
            ];
            found.not_excluded = match guess.sign {
                Sign::Accepted => vec!["a test of your own".to_owned()],
                _ => vec![
                    "a test of your own".to_owned(),
                    "another node behind the same address connected".to_owned(),
                ],
            };
        }
        None => {
            found.title = format!("a client at {from} is guessing the cookie of {node}: {pace}");
            found.explanation = format!(
                "{from}{place} was refused {} times within {}: {}. Further attempts are only counted.",
                guess.refused,
                lasted(guess.lasted),
                sign(guess.sign)
            );
            found.remedy = vec![
                format!(
                    "Find out what runs at {from}. If it is not yours, block it from port 4369 and from the \
                     distribution ports."
                ),
                NEW_COOKIE.to_owned(),
            ];
            found.not_excluded = vec!["a test of your own".to_owned()];
            if matches!(guess.sign, Sign::Names(_) | Sign::Overlaps(_) | Sign::FewLookups(..)) {
                found
                    .not_excluded
                    .push("many nodes behind one address, all with a wrong cookie".to_owned());
            }
        }
    }
}

const NEW_COOKIE: &str = "Give the cluster a new, long, random cookie, and let only the networks of the \
                          cluster reach the distribution ports.";

/// Whether the acceptor refused the cookie of this connection.
fn is_refused(session: &JudgedConnection) -> bool {
    session.is_settled()
        && session.outcome() == Outcome::CookieMismatch
        && session.verdict.detected_by == Some(Role::Acceptor)
}

/// Adds the packets of the first and the latest attempt, and of the accepted one.
fn add_evidence(found: &mut Detection, session: &JudgedConnection, guess: &Guess) {
    let session_id = Some(Arc::clone(&guess.first_session));
    found.evidence.extend(
        shown(Some(guess.first), Some(Role::Initiator), first())
            .map(|shown| Evidence { session_id, ..shown }),
    );
    if let Some(accepted) = &guess.accepted {
        let what = Shows::handshake(MessageKind::ChallengeAck, "to the accepted attempt");
        let session_id = Some(Arc::clone(&accepted.session_id));
        found.evidence.extend(
            shown(Some(accepted.ack), Some(Role::Acceptor), what)
                .map(|shown| Evidence { session_id, ..shown }),
        );
    }
    if is_refused(session) {
        let reply = session.seen.message(MessageKind::ChallengeReply);
        let last = Shows::handshake(MessageKind::ChallengeReply, "of the latest attempt");
        for evidence in shown(reply, Some(Role::Initiator), last)
            .into_iter()
            .chain(closed_without(session, MessageKind::ChallengeAck))
        {
            let session_id = Some(session.session_id().clone());
            found.evidence.push(Evidence { session_id, ..evidence });
        }
    }
    order_by_frame(&mut found.evidence);
    let refuser = session.software(Role::Acceptor).unwrap_or_default();
    found.logged_by =
        refuser.implementation.logs_refusals().then_some(Role::Acceptor).into_iter().collect();
}

/// The sign that this is no node with a wrong cookie, as part of a sentence.
fn sign(sign: Sign) -> String {
    match sign {
        Sign::Cookies(count) => {
            format!("the attempts used {count} different candidate cookies, while a node has one")
        }
        Sign::Names(count) => {
            format!("it used {count} node names within ten seconds, while a node has one")
        }
        Sign::NamesOfFewLookups(names, lookups) => format!(
            "it used {names} node names and asked EPMD {}, while a node has one name and asks \
             before each dial",
            times(lookups)
        ),
        Sign::FewLookups(attempts, lookups) => format!(
            "it dialed {attempts} times within ten seconds and asked EPMD {}, while a node asks \
             before each dial",
            times(lookups)
        ),
        Sign::Accepted => {
            "it was refused before and after that, within milliseconds, so it has tried \
                           several cookies"
                .to_owned()
        }
        Sign::Overlaps(count) => format!(
            "it began {count} dials while another one under the same name was pending, while a node never \
             has two dials to one peer pending"
        ),
    }
}

/// A number of times, as part of a sentence.
fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// Evidence text for the first attempt.
fn first() -> Shows {
    Shows::handshake(MessageKind::ChallengeReply, "of the first attempt")
}

/// Time after the last refusal in which a connection belongs to the guesses: a client uses a cookie as soon as it
/// has found it.
const SOON: Duration = Duration::from_secs(10);

/// Maximum number of clients whose last finding is kept, to write it anew: more than a person reads.
const MAX_REPORTED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, found_at_home, hello, reply, rules};
    use crate::judge::samples::{dial, mark};
    use crate::judge::world::HomeNets;
    use crate::observe::Received;
    use crate::record::Finding;

    const B: &str = "b@h2/10.0.0.2/2";

    /// A dial that is refused for its cookie, from `send_name` at `ms` to the reply `lasts` later.
    fn refused(ms: u64, lasts: u64, name: &str, cookie: Option<&str>) -> Step {
        let from = format!("{name}@h1/10.0.0.1/1");
        let dial = dial(ms, &from, B).cookies(cookie, None).fails(Outcome::CookieMismatch);
        but(dial, |session| {
            session.verdict.detected_by = Some(Role::Acceptor);
            let reply = Received { what: (), mark: mark(ms + lasts), end: Default::default() };
            session.seen.handshake.reply = Some(reply);
            session.seen.tcp.close.as_mut().unwrap().mark = mark(ms + lasts + 1);
        })
    }

    fn count(findings: &[Finding], rule: &str) -> usize {
        findings.iter().filter(|finding| finding.rule == rule).count()
    }

    #[test]
    fn two_hundred_names_are_one_case_of_guessing() {
        let events: Vec<_> =
            (1..=200).map(|n| refused(n * 20, 5, &format!("x{n}"), None)).collect();
        let findings = found(&events);
        assert_eq!(count(&findings, "cookie-guessing"), 1);
        let mismatches = || findings.iter().filter(|finding| finding.rule == "cookie-mismatch");
        assert!(mismatches().map(|it| it.severity).eq([Severity::Info]), "a part of the guessing");
        let guess = findings.iter().find(|finding| finding.rule == "cookie-guessing").unwrap();
        let title = "a client at 10.0.0.1 is guessing the cookie of b@h2: 32 guesses in 620 ms";
        assert_eq!(guess.title, title);
        assert_eq!(guess.severity, Severity::Critical);
        let frames: Vec<_> = guess.evidence.iter().map(|shown| shown.frame.number).collect();
        assert_eq!(frames, [25, 645, 646]);
    }

    #[test]
    fn one_name_with_several_cookies_is_guessing() {
        let labels = ["l1", "l2", "l3", "l4", "l5"];
        let tries = |n: usize| {
            let numbered = labels.iter().take(n).zip(1..);
            numbered.map(|(label, n)| refused(n * 100, 5, "a", Some(label))).collect::<Vec<_>>()
        };
        assert_eq!(rules(&tries(3)), ["cookie-mismatch"]);
        assert_eq!(rules(&tries(5)), ["cookie-mismatch", "cookie-guessing"]);
    }

    #[test]
    fn overlapping_dials_under_one_name_are_guessing() {
        let overlapping = |every: u64| {
            let dials: Vec<_> = (1..=20).map(|n| refused(n * every, 5, "a", None)).collect();
            let facts = dials.iter().flat_map(|dial| [hello(dial), reply(dial), dial.clone()]);
            let mut facts: Vec<_> = facts.collect();
            facts.sort_by_key(Step::at);
            rules(&facts)
        };
        assert_eq!(overlapping(3), ["cookie-mismatch", "cookie-guessing"]);
        assert_eq!(overlapping(6), ["cookie-mismatch"]);
    }

    #[test]
    fn a_node_with_one_wrong_cookie_is_no_guessing_however_often_and_fast_it_dials() {
        let redeployed: Vec<_> = (1..=500).map(|n| refused(n * 2, 1, "a", Some("old"))).collect();
        assert_eq!(rules(&redeployed), ["cookie-mismatch"]);
        let calls: Vec<_> =
            (1..=200).map(|n| refused(n * 1000, 5, &format!("rpc-{n}"), Some("old"))).collect();
        let findings = found(&calls);
        assert_eq!(count(&findings, "cookie-guessing"), 0);
        assert_eq!(count(&findings, "cookie-mismatch"), 1);
    }

    #[test]
    fn a_connection_right_after_guessing_is_in_the_same_finding() {
        let mut events: Vec<_> =
            (1..=40).map(|n| refused(n * 20, 5, &format!("x{n}"), None)).collect();
        let title = |events: &[Step]| {
            let findings = found(events);
            let guesses = findings.iter().filter(|it| it.rule == "cookie-guessing");
            let titles: Vec<_> = guesses.map(|it| it.title.clone()).collect();
            let [title] = titles.as_slice() else { panic!("{titles:?}") };
            title.clone()
        };
        let late = dial(60_000, "n@h1/10.0.0.1/3", B).into();
        events.push(late);
        assert!(!title(&events).contains("connected"), "the guessing ended long before");
        events.pop();
        events.push(dial(900, "x41@h1/10.0.0.1/3", B).into());
        let expected = "10.0.0.1 was refused by b@h2 with 41 guesses in 780 ms, then connected: the \
                        41st was accepted (frame 900)";
        assert_eq!(title(&events), expected);
    }

    /// An attempt that is accepted.
    fn accepted(ms: u64, name: &str) -> Step {
        dial(ms, &format!("{name}@h1/10.0.0.1/1"), B).into()
    }

    #[test]
    fn an_accepted_attempt_between_refused_ones_is_a_guessed_cookie() {
        let mut events: Vec<_> = (1..=6).map(|n| refused(n * 10, 2, "a", None)).collect();
        events.push(accepted(70, "a"));
        events.extend((8..=9).map(|n| refused(n * 10, 2, "a", None)));
        let findings = found(&events);
        let [mismatch, guess, ..] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!((mismatch.rule, mismatch.severity), ("cookie-mismatch", Severity::Info));
        let title = "10.0.0.1 guessed the cookie of b@h2: 9 guesses in 80 ms, the 7th was accepted \
                     (frame 70)";
        assert_eq!((&*guess.title, guess.severity), (title, Severity::Critical));
        let frames: Vec<_> = guess.evidence.iter().map(|shown| shown.frame.number).collect();
        assert_eq!(frames, [12, 70, 82, 83]);
    }

    #[test]
    fn new_names_faster_than_nodes_are_started_are_one_client() {
        let burst = |every: u64| {
            let names = (1..=16).map(|n| (n, format!("x{n}")));
            let attempts = names.map(|(n, name)| match n {
                9 => accepted(n * every, &name),
                _ => refused(n * every, 1, &name, None),
            });
            count(&found(&attempts.collect::<Vec<_>>()), "cookie-guessing")
        };
        assert_eq!((burst(10), burst(100)), (1, 0));
    }

    #[test]
    fn two_nodes_of_one_host_with_different_cookies_are_no_guessing() {
        // One node dials in a tight loop with a wrong cookie; its neighbour connects.
        let mut events: Vec<_> = (1..=40).map(|n| refused(n * 2, 1, "a", None)).collect();
        events.insert(20, accepted(41, "good"));
        let findings = found(&events);
        assert_eq!(count(&findings, "cookie-guessing"), 0);
        let title = "b@h2 refused the cookie of a@h1 40 times in 78 ms";
        assert_eq!(findings[0].title, title);
        let steps = findings[0].remedy.join(" ");
        assert!(steps.starts_with("Find out what runs at 10.0.0.1"), "{steps}");
        // A node whose cookie is put right, and later wrong again.
        let slow = [refused(100, 5, "a", None), accepted(2000, "a"), refused(4000, 5, "a", None)];
        assert_eq!(count(&found(&slow), "cookie-guessing"), 0);
    }

    #[test]
    fn the_explanation_names_the_side_of_the_home_networks() {
        let events: Vec<_> = (1..=40).map(|n| refused(n * 20, 5, &format!("x{n}"), None)).collect();
        for (net, expected) in [("10.0.0.2", "(outside your networks)"), ("10.0.0.0/8", "(inside")]
        {
            let home: HomeNets = [net.parse().unwrap()].into_iter().collect();
            let findings = found_at_home(&events, home);
            let guess = findings.iter().find(|it| it.rule == "cookie-guessing").unwrap();
            assert!(guess.explanation.contains(expected), "{}", guess.explanation);
        }
    }
}
