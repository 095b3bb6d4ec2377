//! The cluster as a table of sentences.
//!
//! In: the last cluster record. Out: a heading and a row for each node, each pair that failed, each pair
//! that never tried, and each set of nodes with one cookie, if they show more than the pairs do.

use std::collections::HashSet;

use crate::record::{Cluster, CookieGroup, FailedPair, Failure, FailureReason, Node, Pair};
use crate::render::words::{count, epmd_words, grouped, listed, outcome_words, times};

/// The rows of a cluster; a renderer decides how many of each kind it has room for.
pub(in crate::render) struct ClusterTable {
    pub(in crate::render) heading: String,
    /// Name and facts of each node.
    pub(in crate::render) nodes: Vec<(String, String)>,
    pub(in crate::render) failed: Vec<String>,
    pub(in crate::render) never_tried: Vec<String>,
    pub(in crate::render) cookies: Vec<String>,
    /// Entries that the record itself leaves out.
    pub(in crate::render) left_out: u64,
}

impl ClusterTable {
    /// The table of a record; none if it has neither nodes nor failed pairs.
    pub(in crate::render) fn of(cluster: &Cluster) -> Option<Self> {
        let Cluster { nodes, failed, never_tried, cookies, left_out, .. } = cluster;
        if nodes.is_empty() && failed.is_empty() {
            return None;
        }
        // Of two nodes, the pair shows everything.
        let groups = if nodes.len() > 2 { telling_groups(cookies) } else { Vec::new() };
        Some(Self {
            heading: heading(cluster),
            nodes: nodes.iter().map(|node| (node.node.to_string(), node_facts(node))).collect(),
            failed: failed.iter().map(failure).collect(),
            never_tried: never_tried
                .iter()
                .map(|[a, b]| format!("never tried: {a} and {b}"))
                .collect(),
            cookies: groups.into_iter().map(group).collect(),
            left_out: *left_out,
        })
    }
}

fn heading(cluster: &Cluster) -> String {
    // Of a pair with a connection and failed attempts, what it is now counts.
    let failed: HashSet<_> = cluster.failed.iter().map(of_failed).collect();
    let (closed, open): (Vec<_>, Vec<_>) = cluster.connected.iter().partition(|it| it.closed);
    let open: HashSet<_> = open.into_iter().map(of_connected).collect();
    let closed = closed.into_iter().map(of_connected).filter(|pair| !failed.contains(pair));
    let pairs = [
        (open.len(), "connected"),
        (closed.count(), "connected until closed"),
        (failed.difference(&open).count(), "failed"),
        (cluster.never_tried.len(), "never tried"),
    ];
    let pairs: Vec<_> = pairs
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", grouped(*n as u64)))
        .collect();
    let pairs = if pairs.is_empty() { "none tried".to_owned() } else { listed(&pairs) };
    let named = match cluster.nodes.len() as u64 {
        0 => "No node gave its name".to_owned(),
        n => count(n, "node"),
    };
    format!("{named}; pairs: {pairs}")
}

/// The names of a pair, whichever dialed.
fn ordered<'a>(a: &'a str, b: &'a str) -> [&'a str; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

fn of_failed(pair: &FailedPair) -> [&str; 2] {
    ordered(&pair.initiator, &pair.acceptor)
}

fn of_connected(Pair { nodes: [a, b], .. }: &Pair) -> [&str; 2] {
    ordered(a, b)
}

/// The groups worth a row: none if all nodes share one cookie.
fn telling_groups(cookies: &[CookieGroup]) -> Vec<&CookieGroup> {
    let is_telling = |group: &&CookieGroup| group.nodes.len() > 1 || !group.cookies.is_empty();
    let telling: Vec<_> = cookies.iter().filter(is_telling).collect();
    let is_split = telling.len() > 1 || telling.iter().any(|group| !group.refused.is_empty());
    if is_split { telling } else { Vec::new() }
}

/// The releases of OTP that a node may have, by its flags.
pub(in crate::render) fn release(node: &Node) -> Option<String> {
    match (node.otp_at_least, node.otp_at_most) {
        (Some(least), Some(most)) if least == most => Some(format!("OTP {least}")),
        (Some(least), Some(most)) => Some(format!("OTP {least} to {most}")),
        (Some(least), None) => Some(format!("OTP {least} or later")),
        (None, Some(most)) => Some(format!("OTP {most} or older")),
        (None, None) => None,
    }
}

/// What is known of a node, in a few words.
pub(in crate::render) fn node_facts(node: &Node) -> String {
    let ips: Vec<_> = node.ips.iter().map(ToString::to_string).collect();
    let not_in_name: Vec<_> = ips.iter().filter(|ip| !node.node.contains(ip.as_str())).collect();
    let mut facts = Vec::new();
    facts.extend((!not_in_name.is_empty()).then(|| few(&not_in_name)));
    facts.extend(release(node));
    facts.extend((node.hidden == Some(true)).then(|| "hidden".to_owned()));
    facts.extend((node.restarts > 0).then(|| count(node.restarts, "restart")));
    facts.join(", ")
}

fn failure(pair: &FailedPair) -> String {
    format!("{}: {}", pair.dialed(), failure_reasons(pair))
}

/// The outcome of the last attempt of a pair.
pub(in crate::render) const fn failed_last(pair: &FailedPair) -> &'static str {
    words_of(pair.outcome)
}

const fn words_of(failure: Failure) -> &'static str {
    match failure {
        Failure::Session(outcome) => outcome_words(outcome),
        Failure::Lookup(outcome) => epmd_words(outcome),
    }
}

/// Why attempts of a pair failed, how often, and with which cookies.
pub(in crate::render) fn failure_reasons(pair: &FailedPair) -> String {
    let reasons = pair.reasons.iter();
    let reasons = reasons.map(|FailureReason { outcome, count, .. }| {
        format!("{}, {}", words_of(*outcome), times(*count))
    });
    let mut text = reasons.collect::<Vec<_>>().join("; ");
    match (&pair.initiator_cookie, &pair.acceptor_cookie) {
        (Some(mine), Some(theirs)) => text += &format!(" (cookies {mine} and {theirs})"),
        (Some(mine), None) => text += &format!(" (cookie {mine})"),
        (None, _) => {}
    }
    if pair.crossed {
        text += ", cookies swapped";
    }
    if let Some(beside) = &pair.beside {
        text += &format!("; {beside}");
    }
    text
}

fn group(group: &CookieGroup) -> String {
    let mut text = format!("same cookie: {}", few(&group.nodes));
    if !group.cookies.is_empty() {
        text += &format!(" ({})", few(&group.cookies));
    }
    if !group.refused.is_empty() {
        text += &format!("; mismatch with {}", few(&group.refused));
    }
    text
}

/// The first few of a list, and how many more there are.
pub(in crate::render) fn few<T: ToString>(items: &[T]) -> String {
    let shown: Vec<_> = items.iter().take(FEW).map(T::to_string).collect();
    match items.len().saturating_sub(FEW) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// How many names or addresses one row has.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn a_pair_counts_once_and_both_dialers_show() {
        let mut cluster = samples::pair();
        cluster.failed[0].both_dialed = true;
        let table = ClusterTable::of(&cluster).unwrap();
        assert_eq!(table.heading, "2 nodes; pairs: 1 failed");
        assert!(table.failed[0].starts_with("one@192.168.0.100 <-> two@192.168.0.103: "));
        let [one, two] = [&cluster.failed[0].initiator, &cluster.failed[0].acceptor];
        for (closed, heading) in [(false, "1 connected"), (true, "1 failed")] {
            let nodes = [two.clone(), one.clone()];
            let connected = vec![Pair { nodes, since: samples::at(0), closed, tls: false }];
            let heading_of = heading_of(Cluster { connected, ..cluster.clone() });
            assert_eq!(heading_of, format!("2 nodes; pairs: {heading}"));
        }
    }

    fn heading_of(cluster: Cluster) -> String {
        ClusterTable::of(&cluster).unwrap().heading
    }
}
