//! A side of a handshake that sends the name of a node elsewhere, and has not proven a cookie.
//!
//! A name is text in a message: who sends it may be the node, or anybody else. So the node of that name is not blamed for
//! what came of the attempt. The evidence that it is elsewhere is the address in its name, or a connection of the node at
//! another address whose digest was accepted. A node with several addresses or behind address translation looks the same
//! until its own digest is accepted.

use std::net::IpAddr;

use super::finding::{Sides, address, closed, finding, shown, sighted};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::{Claim, Owner, Sighting, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{MessageKind, Role};
use crate::record::{Confidence, Evidence, Severity};

/// Documentation of the rule `unproven-name`.
const DOC: RuleDoc = RuleDoc {
    rule: "unproven-name",
    severity: Severity::High,
    summary: "an unproven address uses the name of a node",
    symptom: "a log has the name of a node that did not dial, or another address dials under it",
    meaning: "Every program can send the name of any node; only the cookie proves who belongs to \
              the cluster. A handshake had the name of a node whose address is another one, and it \
              ended before the cookie was accepted. So it is not known to be that node, and what \
              came of the attempt says nothing about the node of that name. It may be a stranger \
              who tries to get in, or the node itself behind address translation, on a second \
              address of its host, or after a move, with a wrong cookie.",
    evidence: "The name in send_name, or in the challenge of a dialed node, has another address as \
               its host; or the node of that name connected from another address, and its digest \
               was accepted there. Nothing shows that the digest of this address was accepted.",
    lookalikes: "A node with several addresses is itself on each one on which its digest was \
                 accepted. A proxy that passes the hello of a node on, an address translator of \
                 which the capture has both sides, a dial of a host to itself, and names with a host name of which no connection succeeded, are not reported \
                 here. A wrong cookie at the address of the node is cookie-mismatch, and many \
                 attempts may be cookie-guessing.",
    log_lines: &[
        LogLine {
            writer: "the dialed node, if it refuses the cookie",
            releases: "OTP 23 and newer",
            text: "** Connection attempt from node 'a@h' rejected. Invalid challenge reply. **",
        },
        LogLine { writer: "the node of that name", releases: "all", text: "" },
    ],
    remedy: &[
        "Find out what runs at that address: ss -tnp on its host shows the program. Give it no \
         cookie before you know.",
        "If it is a node of yours on another address (address translation, a proxy, a second \
         interface, a move), compare its cookie with that of its peer: erlang:get_cookie() on \
         both.",
        "If it is not yours, let only the hosts of the cluster reach port 4369 and the \
         distribution ports, and use TLS with certificates that both sides verify.",
    ],
};

#[derive(Default)]
pub(super) struct UnprovenName;

impl Rule for UnprovenName {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        let claim = session.claim.as_ref().filter(|claim| claim.decides(&session.verdict));
        let Some(claim) = claim.filter(|_| session.is_settled()) else { return };
        // A client that guesses belongs to the rule `cookie-guessing`.
        let (from, end) = (session.ip(Role::Initiator), session.acceptor_end());
        let is_guess = known.guesses().guess(from, end).is_some();
        if session.outcome() == Outcome::Incomplete || is_guess {
            return;
        }
        out.push(detection(session, claim));
    }
}

fn detection(session: &JudgedConnection, claim: &Claim) -> Detection {
    let Claim { role, name, owner } = claim;
    let (sides, ip) = (Sides::of(session), session.ip(*role));
    let (_, peer) = sides.side_and_peer(*role);
    let mut found = finding(&DOC, session, &sides);
    if session.outcome() != Outcome::CookieMismatch {
        found.severity = Severity::Medium;
    }
    found.parties = format!("{ip},{name},{peer}");
    let sender = match role {
        Role::Initiator => format!("A program at {ip}"),
        Role::Acceptor => format!("What listens at {}", listens_at(session)),
    };
    let came = what_came(session, claim, peer);
    write(&mut found, claim, ip, peer, &format!("{sender} sent the name {name}, and {came}."));
    if session.outcome() == Outcome::Aborted && session.verdict.detected_by == Some(role.peer()) {
        found
            .remedy
            .push(format!("Read the log of {peer} at that moment: it closed the connection."));
    }
    let message = match role {
        Role::Initiator => MessageKind::SendName,
        Role::Acceptor => MessageKind::Challenge,
    };
    let own = shown(session.seen.message(message), Some(*role), message);
    let end = closed(session, "before the cookie was accepted");
    found.evidence = proven(owner).into_iter().chain(own).chain(end).collect();
    let refuser = session.verdict.refuser.unwrap_or_default();
    let is_logged = session.outcome() == Outcome::CookieMismatch
        && session.verdict.detected_by == Some(role.peer())
        && *role == Role::Initiator
        && refuser.implementation.logs_refusals();
    found.logged_by = if is_logged { vec![Role::Acceptor] } else { Vec::new() };
    found
}

/// Writes what is known of a program at `ip` that uses the name of a node elsewhere towards `peer`. The explanation begins
/// with `came`, which is what became of it.
pub(super) fn write(found: &mut Detection, claim: &Claim, ip: IpAddr, peer: &str, came: &str) {
    let Claim { role, name, owner } = claim;
    let owner_ip = owner.ip();
    let does = match role {
        Role::Initiator => "dials",
        Role::Acceptor => "answers",
    };
    found.confidence = Confidence::Likely;
    found.title = format!(
        "{ip} {does} {peer} as {name}, whose address is {owner_ip}, and has not proven a cookie"
    );
    let ground = match owner {
        Owner::Named(_) => format!("By its name, {name} is at {owner_ip}."),
        Owner::Proven(_) => format!("{name} was connected at {owner_ip}, with a cookie."),
    };
    found.explanation = format!(
        "{came} {ground} A name alone does not prove who sends it, so this shows nothing about the node at {owner_ip}."
    );
    found.remedy = vec![
        format!(
            "Find out what runs at {ip}: ss -tnp there shows the program. Give it no cookie before you know."
        ),
        format!(
            "If it is {name} on another address (address translation, a proxy, a second interface, a move), compare \
             its cookie with that of {peer}: erlang:get_cookie() on both."
        ),
        "If it is not yours, let only the hosts of the cluster reach port 4369 and the distribution ports."
            .to_owned(),
    ];
    let moved = match owner {
        Owner::Named(_) => "",
        Owner::Proven(_) => "after a move, ",
    };
    found.not_excluded = vec![format!(
        "{name} itself, {moved}behind address translation or on another address of its host"
    )];
}

fn listens_at(session: &JudgedConnection) -> String {
    let end = session.acceptor_end();
    address(end.ip, end.port)
}

/// What became of the attempt, as part of a sentence.
fn what_came(session: &JudgedConnection, claim: &Claim, peer: &str) -> String {
    let by_peer = session.verdict.detected_by == Some(claim.role.peer());
    let status = session.seen.handshake.status.as_ref().map(|status| status.what.text());
    match (session.outcome(), claim.role) {
        (Outcome::CookieMismatch, _) if by_peer => format!("{peer} refused its cookie"),
        (Outcome::CookieMismatch, _) => format!("it refused the cookie of {peer}"),
        (Outcome::NotAllowed | Outcome::VersionMismatch, Role::Initiator) if by_peer => {
            format!("{peer} refused it before it came to the cookie")
        }
        (Outcome::AlreadyConnected | Outcome::Superseded, Role::Initiator) => format!(
            "{peer} answered with status {}, before it came to the cookie",
            status.unwrap_or("alive")
        ),
        (Outcome::TimedOut, _) => "it did not go on with the handshake".to_owned(),
        (Outcome::Aborted, _) if by_peer => {
            format!("{peer} closed the connection before it accepted a cookie")
        }
        _ => "the connection was closed before its cookie was accepted".to_owned(),
    }
}

/// Evidence by the hello of the node of that name, at its own address.
fn proven(owner: &Owner) -> Option<Evidence> {
    let Owner::Proven(proof) = owner else { return None };
    Some(sighted(&Sighting {
        ip: proof.ip,
        creation: None,
        hello: proof.hello,
        session_id: proof.session_id.clone(),
        role: proof.role,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{but, found};
    use crate::judge::samples::{SampleDial, dial, mark};
    use crate::record::Finding;

    const STRANGER: &str = "a@10.0.0.1/10.0.0.66/7";
    const B: &str = "b@10.0.0.2/10.0.0.2/5";

    /// The finding about a dial with this outcome, which `by` ended.
    fn about(dialed: SampleDial, outcome: Outcome, by: Role) -> Finding {
        let step = but(dialed.fails(outcome), |it| {
            it.verdict.detected_by = Some(by);
            it.close(by, mark(110));
        });
        let mut all = found(&[step]);
        all.retain(|it| it.rule == DOC.rule);
        assert_eq!(all.len(), 1, "{outcome:?} by {by:?}");
        all.remove(0)
    }

    #[test]
    fn what_came_of_an_attempt_names_the_side_that_ended_it() {
        let explained = |outcome, by, what: &str| {
            let found = about(dial(100, STRANGER, B), outcome, by);
            assert!(found.explanation.contains(what), "{outcome:?}: {}", found.explanation);
            found
        };
        let refused = "b@10.0.0.2 refused it before it came to the cookie.";
        let closed = "the connection was closed before its cookie was accepted.";
        explained(Outcome::TimedOut, Role::Acceptor, "it did not go on with the handshake.");
        explained(Outcome::NotAllowed, Role::Acceptor, refused);
        explained(Outcome::VersionMismatch, Role::Initiator, closed);
        explained(Outcome::NameMismatch, Role::Initiator, closed);
        explained(Outcome::CookieMismatch, Role::Acceptor, "b@10.0.0.2 refused its cookie.");
        let left = explained(Outcome::Aborted, Role::Initiator, closed);
        assert!(!left.remedy.iter().any(|step| step.starts_with("Read the log")));
        let by_b = "b@10.0.0.2 closed the connection before it accepted a cookie.";
        let found = explained(Outcome::Aborted, Role::Acceptor, by_b);
        assert!(found.remedy.iter().any(|step| step.starts_with("Read the log of b@10.0.0.2")));
        assert_eq!(found.severity, Severity::Medium);
    }

    #[test]
    fn a_node_logs_the_cookie_of_a_stranger_that_dialed_it_and_no_more() {
        let logs = |dialed, outcome, by| !about(dialed, outcome, by).logged_by.is_empty();
        let dialed = || dial(100, STRANGER, B);
        assert!(logs(dialed(), Outcome::CookieMismatch, Role::Acceptor));
        assert!(!logs(dialed(), Outcome::NotAllowed, Role::Acceptor));
        let dials = || dial(100, B, STRANGER);
        assert!(!logs(dials(), Outcome::CookieMismatch, Role::Initiator), "of what it dialed");
        assert!(!logs(dials(), Outcome::CookieMismatch, Role::Acceptor), "of its own cookie");
    }
}
