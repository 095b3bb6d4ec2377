//! Distribution without TLS between different hosts, reported once at the end of a run.
//!
//! The cookie is not on the wire, but everything else is: anyone who captures these packets can read every
//! message, and anyone who can change them can run code on the nodes. That is normal in a closed network, and an
//! exposure beyond one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::finding::Sides;
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{JudgedConnection, Outcome, Protocol};
use crate::observe::{MessageKind, Role};
use crate::packet::FrameRef;
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `clear-text-distribution`.
const DOC: RuleDoc = RuleDoc {
    rule: "clear-text-distribution",
    severity: Severity::Info,
    summary: "nodes on different hosts talk without TLS",
    symptom: "nothing fails: traffic between hosts can be read on the wire",
    meaning: "These pairs of nodes are connected without encryption. The cookie itself is not \
              sent, but every message can be read on the network, a captured handshake lets \
              anyone test guesses at the cookie offline, and an attacker on the path can take \
              over the connection and run code on both nodes. This is the default, and common \
              inside a closed network. The severity is medium if one end is outside the networks \
              given with --home-net.",
    evidence: "A completed distribution handshake, or frames after one, without TLS between two \
               addresses that do not belong to one host.",
    lookalikes: "Nodes inside an encrypted tunnel (WireGuard, IPsec, a service mesh) look like \
                 this on the inner interface: check encap, and where the capture was made. Two \
                 addresses may belong to one host.",
    log_lines: &[],
    remedy: &[
        "Do nothing if the network between the nodes is closed, or encrypted at a lower layer.",
        "Otherwise run all nodes with -proto_dist inet_tls and an -ssl_dist_optfile that has \
         certificates and {verify, verify_peer} on both sides, and set fail_if_no_peer_cert for \
         servers.",
        "Let firewalls pass port 4369 and the distribution ports (inet_dist_listen_min, \
         inet_dist_listen_max) only between the nodes.",
    ],
};

#[derive(Default)]
pub(super) struct ClearText {
    /// Pairs of nodes by name, or by address where no name was seen.
    pairs: BTreeMap<[String; 2], ClearTextPair>,
    /// Number of connections of further pairs, after [`MAX_PAIRS`] pairs were known.
    uncounted: u64,
}

struct ClearTextPair {
    nodes: Vec<Arc<str>>,
    ips: [IpAddr; 2],
    frame: Option<FrameRef>,
    session_id: Arc<str>,
}

impl Rule for ClearText {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, _: &mut Vec<Detection>) {
        if session.outcome() != Outcome::Connected
            || session.verdict.protocol != Protocol::Distribution
            || session.seen.is_opened_tls()
        {
            return;
        }
        let (from, to) = (session.ip(Role::Initiator), session.acceptor_end().ip);
        if from == to || from.is_loopback() || to.is_loopback() {
            return;
        }
        let sides = Sides::of(session);
        let mut key = Role::BOTH.map(|role| {
            let label = session.label(role);
            label.map_or_else(|| session.ip(role).to_string(), |label| label.to_string())
        });
        key.sort_unstable();
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&key) {
            self.uncounted += u64::from(!session.is_repeated);
            return;
        }
        let seen = &session.seen;
        let shown = [MessageKind::ChallengeAck, MessageKind::Challenge, MessageKind::SendName];
        let mark = shown.into_iter().find_map(|kind| seen.message(kind));
        self.pairs.entry(key).or_insert_with(|| ClearTextPair {
            nodes: sides.nodes,
            ips: [from.min(to), from.max(to)],
            frame: mark.map(|mark| mark.frame).or(session.settled.frame),
            session_id: session.session_id().clone(),
        });
    }

    fn on_end(&mut self, known: &World, out: &mut Vec<Detection>) {
        // A connection whose start is not in the capture has no names, but another one between the same
        // addresses may have them.
        let addresses_with_names: BTreeSet<_> = self
            .pairs
            .values()
            .filter(|pair| !pair.nodes.is_empty())
            .map(|pair| pair.ips)
            .collect();
        self.pairs
            .retain(|_, pair| !pair.nodes.is_empty() || !addresses_with_names.contains(&pair.ips));
        let is_outside = |ip: &IpAddr| known.home().is_outside(*ip) == Some(true);
        let mut pairs: Vec<_> = std::mem::take(&mut self.pairs).into_iter().collect();
        let outside = |pair: &ClearTextPair| pair.ips.iter().any(is_outside);
        pairs.sort_by_key(|(_, pair)| !outside(pair));
        let exposed = pairs.iter().filter(|(_, pair)| outside(pair)).count();
        if pairs.is_empty() {
            return;
        }
        let mut found = Detection::new(&DOC);
        let count = match (pairs.len(), self.uncounted) {
            (1, 0) => "one pair of nodes on different hosts is connected without TLS".to_owned(),
            (count, 0) => {
                format!("{count} pairs of nodes on different hosts are connected without TLS")
            }
            (count, _) => format!(
                "more than {count} pairs of nodes on different hosts are connected without TLS"
            ),
        };
        found.title = if exposed > 0 {
            found.severity = Severity::Medium;
            let of_them =
                if pairs.len() == 1 { String::new() } else { format!("{exposed} of them ") };
            format!("{count}, {of_them}with an end outside your networks")
        } else {
            count
        };
        let named: Vec<_> = pairs
            .iter()
            .take(NAMED)
            .map(|(key, pair)| {
                let [a, b] = key;
                let mark = if outside(pair) { " (outside)" } else { "" };
                format!("{a} and {b}{mark}")
            })
            .collect();
        let rest = match pairs.len().saturating_sub(NAMED) {
            0 => String::new(),
            rest => format!(", and {rest} more"),
        };
        found.explanation = format!(
            "Not encrypted: {}{rest}. Anyone who can capture packets on the path can read every message, \
             and can test guesses at the cookie against the handshakes.",
            named.join("; ")
        );
        found.remedy = vec![
            "Do nothing if the network between the nodes is closed, or encrypted at a lower layer."
                .to_owned(),
            "Otherwise run all nodes with -proto_dist inet_tls and certificates that both sides verify."
                .to_owned(),
        ];
        found.parties = "all".to_owned();
        for node in pairs.iter().take(NAMED).flat_map(|(_, pair)| &pair.nodes) {
            if !found.nodes.contains(node) {
                found.nodes.push(Arc::clone(node));
            }
        }
        found.evidence = pairs
            .iter()
            .take(NAMED)
            .filter_map(|([a, b], pair)| {
                Some(Evidence {
                    frame: pair.frame?,
                    input: None,
                    session_id: Some(pair.session_id.clone()),
                    from: None,
                    what: Shows::Note(format!("{a} and {b} without TLS").into()),
                })
            })
            .collect();
        found.confidence = Confidence::Proven;
        out.push(found);
    }
}

/// Maximum of pairs kept: those of a full mesh of 90 nodes.
const MAX_PAIRS: usize = 4096;

/// Maximum of pairs that the finding names and gives evidence for.
const NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, found_at_home};
    use crate::judge::samples::dial;
    use crate::judge::world::HomeNets;
    use crate::record::Finding;

    fn only(findings: &[Finding]) -> Option<&Finding> {
        let mut matching = findings.iter().filter(|it| it.rule == "clear-text-distribution");
        let first = matching.next();
        assert!(matching.next().is_none());
        first
    }

    #[test]
    fn all_pairs_are_one_finding_and_pairs_beyond_ten_are_counted() {
        let mesh: Vec<_> = (1..=15)
            .flat_map(|n| {
                let from = format!("n{n:02}@h/10.0.0.{n}/1");
                [dial(n, &from, "hub@h/10.0.1.1/1"), dial(n + 100, "hub@h/10.0.1.1/1", &from)]
            })
            .map(Step::from)
            .collect();
        let findings = found(&mesh);
        let finding = only(&findings).unwrap();
        assert_eq!(finding.title, "15 pairs of nodes on different hosts are connected without TLS");
        assert!(
            finding.explanation.contains("hub@h and n10@h, and 5 more."),
            "{}",
            finding.explanation
        );
        assert_eq!((finding.severity, finding.evidence.len()), (Severity::Info, NAMED));
    }

    #[test]
    fn connections_on_one_host_and_failed_dials_are_no_finding() {
        let events = [
            dial(0, "a@h/127.0.0.1/1", "b@h/127.0.0.1/2").into(),
            dial(1, "a@h/::1/1", "b@h/::1/2").into(),
            dial(2, "a@h/10.0.0.1/1", "b@h/10.0.0.1/2").into(),
            dial(3, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").fails(Outcome::CookieMismatch).into(),
            dial(4, "a@h/10.0.0.1/1", "b@h/10.0.0.2/2").fails(Outcome::Tls).into(),
        ];
        assert!(only(&found(&events)).is_none());
    }

    #[test]
    fn a_pair_with_an_end_outside_the_home_networks_is_medium_and_listed_first() {
        let home: HomeNets = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
        let inside = Step::from(dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2"));
        let across = Step::from(dial(1, "y@h9/203.0.113.9/1", "z@h2/10.0.0.2/2"));
        let findings = found_at_home(&[inside.clone(), across], home.clone());
        let finding = only(&findings).unwrap();
        assert_eq!(finding.severity, Severity::Medium);
        assert!(
            finding
                .explanation
                .starts_with("Not encrypted: y@h9 and z@h2 (outside); a@h1 and b@h2.")
        );
        assert_eq!(only(&found_at_home(&[inside], home)).unwrap().severity, Severity::Info);
    }

    #[test]
    fn a_connection_without_its_start_is_no_second_pair() {
        let whole = Step::from(dial(9, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2"));
        let joined = but(dial(0, "a@h1/10.0.0.2/1", "b@h2/10.0.0.1/2"), |session| {
            session.forget_names();
        });
        let findings = found(&[joined.clone(), whole]);
        assert_eq!(only(&findings).unwrap().nodes.len(), 2);
        assert!(only(&findings).unwrap().title.starts_with("one pair"));
        assert!(only(&found(&[joined])).unwrap().explanation.contains("10.0.0.1 and 10.0.0.2"));
    }
}
