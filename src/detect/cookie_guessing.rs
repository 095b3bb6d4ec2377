//! Somebody tries cookies.
//!
//! Evidence: refused digests of one address at one node, and with them what no node with a wrong cookie does:
//! many names, many of the candidate cookies, or dials to a node that is being dialed already. Number and pace
//! of the attempts prove nothing. Observed: a real node in a loop of `net_adm:ping/1` is refused 1,200 times a
//! second (OTP 25.2.3).

use std::time::Duration;

use super::text::{Sides, address, blank, closed, settled, shown};
use super::{LogLine, Page, Rule};
use crate::correlate::{Correlator, Guess, Sign, acceptor_end, ip_of};
use crate::event::{
    Body, Confidence, ConnectionIds, Event, Evidence, Finding, Outcome, Role, Session, Severity,
    State,
};

/// `beamscope explain cookie-guessing`.
const PAGE: Page = Page {
    rule: "cookie-guessing",
    severity: Severity::Critical,
    summary: "somebody tries cookies",
    means: "One address was refused again and again for its cookie, and not in the way of a node that has a \
            wrong one: it is searching for the right one. Whoever finds it can run any code on the node and, \
            from there, on the whole cluster.",
    proof: "Refused digests from one address to one node within seconds, and one of these signs: four or more \
            of the candidate cookies fit them (needs --cookie-file); ten or more names, and EPMD asked at most once for four \
            of them, while a node asks before each dial; 32 or more names within ten seconds; or dials \
            that were begun while another one under the same name was pending, eight times and more, which \
            a node never does.",
    resembles: "A node with one wrong cookie that retries is cookie-mismatch with a count, however fast it \
                dials: over a thousand times a second in a loop. Command line tools of releases and of \
                RabbitMQ take a new name at each call; many nodes behind one address have many names. Both \
                are slower, and ask EPMD for each dial. A guesser with one name, no overlap and cookies that \
                are not among the candidates cannot be told from a node in a loop: look at the count of its \
                cookie-mismatch.",
    logs: &[
        LogLine {
            by: "the dialed node (acceptor), once for each attempt",
            releases: "23 and newer",
            text: "** Connection attempt from node 'a@h' rejected. Invalid challenge reply. **",
        },
        LogLine {
            by: "the dialed node (acceptor), once for each attempt",
            releases: "22 and older",
            text: "** Connection attempt from disallowed node 'a@h' **",
        },
    ],
    remedy: &[
        "Find out what runs at that address. If it is none of yours, block it from port 4369 and from the \
         distribution ports (inet_dist_listen_min to inet_dist_listen_max) now.",
        "Give all nodes of the cluster a new, long, random cookie (20 characters and more), and never one of \
         a default installation such as monster, rabbit or cookie.",
        "Keep distribution inside: bind it with -kernel inet_dist_use_interface, filter it, or use \
         -proto_dist inet_tls with certificates that both sides verify.",
        "Look whether the address got in: a finding says so here, and nodes(connected) on the node.",
    ],
};

#[derive(Default)]
pub(super) struct CookieGuessing;

impl Rule for CookieGuessing {
    fn pages(&self) -> &'static [Page] {
        &[PAGE]
    }

    fn on_event(&mut self, event: &Event, known: &Correlator, out: &mut Vec<Finding>) {
        let (Body::Session { session }, Some(ids)) = (&event.body, &event.connection) else {
            return;
        };
        let (from, end) = (ip_of(ids, session, Role::Initiator), acceptor_end(ids, session));
        let Some(guess) = known.guesses().guess(from, end) else { return };
        let sides = Sides::of(ids, session);
        let mut found = blank(&PAGE);
        found.confidence = Confidence::Likely;
        found.nodes = session.acceptor.node.iter().cloned().collect();
        let place = match known.home().is_outside(from) {
            Some(true) => " (outside of your networks)",
            Some(false) => " (inside your networks)",
            None => "",
        };
        let b = &sides.acceptor;
        if is_refused(event) {
            tell_attempts(&mut found, ids, session, &guess);
            found.title = format!("somebody at {from} is guessing the cookie of {b}");
            found.explanation = format!(
                "{from}{place} was refused {} times within {}: {}. What follows is counted, not told.",
                guess.refused,
                lasted(guess.lasted),
                sign(guess.sign)
            );
            found.parties = format!("{from},{}", address(end.ip, end.port));
        } else if session.state == State::Established
            && session.outcome == Outcome::Connected
            && event.at.since(guess.first.at) <= guess.lasted + SOON
        {
            found.title = format!("{from} got in at {b} after {} refused cookies", guess.refused);
            found.explanation = format!(
                "{from}{place} was refused {} times: {}. Right after that, {} connected from there to {b}: \
                 its cookie was accepted.",
                guess.refused,
                sign(guess.sign),
                sides.initiator
            );
            found.parties = format!("{from},{},in", address(end.ip, end.port));
            let ack = session.seen.challenge_ack;
            found.evidence.extend(shown(Some(guess.first), Some(Role::Initiator), FIRST));
            found.evidence.extend(shown(ack, Some(Role::Acceptor), "challenge_ack"));
            found.not_excluded = vec!["another node behind the same address connected".to_owned()];
        } else {
            return;
        }
        found.remedy = vec![
            format!(
                "Find out what runs at {from}. If it is none of yours, block it from port 4369 and from \
                 the distribution ports."
            ),
            "Give the cluster a new, long, random cookie, and let no network but the cluster's own reach \
             distribution."
                .to_owned(),
        ];
        out.push(found);
    }
}

fn is_refused(event: &Event) -> bool {
    settled(event).is_some_and(|(_, session)| {
        session.outcome == Outcome::CookieMismatch && session.detected_by == Some(Role::Acceptor)
    })
}

fn tell_attempts(found: &mut Finding, ids: &ConnectionIds, session: &Session, guess: &Guess) {
    found.evidence.extend(shown(Some(guess.first), Some(Role::Initiator), FIRST));
    let reply = session.seen.challenge_reply;
    for evidence in shown(reply, Some(Role::Initiator), "challenge_reply of the last one so far")
        .into_iter()
        .chain(closed(session, "without challenge_ack"))
    {
        let session_id = Some(ids.session_id.clone());
        found.evidence.push(Evidence { session_id, ..evidence });
    }
    found.not_excluded = vec!["a test of your own".to_owned()];
    if matches!(guess.sign, Sign::Names(_) | Sign::Overlaps(_)) {
        found
            .not_excluded
            .push("many nodes behind one address, all with a wrong cookie".to_owned());
    }
    found.logged_by = vec![Role::Acceptor];
}

fn lasted(time: Duration) -> String {
    match time.as_secs() {
        0 => "a second".to_owned(),
        seconds => format!("{} seconds", seconds + 1),
    }
}

/// What shows that this is no node with a wrong cookie.
fn sign(sign: Sign) -> String {
    match sign {
        Sign::Cookies(count) => {
            format!(
                "the attempts were made with {count} different candidate cookies, and a node has one"
            )
        }
        Sign::Names(count) => {
            format!("it gave itself {count} names within ten seconds, and a node has one")
        }
        Sign::NamesOfFewLookups(names, lookups) => format!(
            "it gave itself {names} names and asked EPMD {lookups} times, while a node has one name and asks \
             before each dial"
        ),
        Sign::Overlaps(count) => format!(
            "it began {count} dials while another one under the same name was pending, and a node dials a \
             peer once at a time"
        ),
    }
}

const FIRST: &str = "challenge_reply of the first attempt";

/// Whoever found the cookie uses it at once.
const SOON: Duration = Duration::from_secs(10);
