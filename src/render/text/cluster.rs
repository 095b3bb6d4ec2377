//! Stage 8: the cluster as a table.
//!
//! In: the nodes and pairs as last seen. Out: a line for each node, each pair that failed, what was
//! never tried, and who shares a cookie, as far as that says something.

use std::io::{self, Write};

use super::sheet::TextWriter;
use crate::record::{Cluster, CookieGroup, FailedPair, Failure, Node};
use crate::render::words::{count, epmd_words, grouped, listed, outcome_words};

/// Writes the table.
pub(super) fn write(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    cluster: &Cluster,
) -> io::Result<()> {
    let Cluster { nodes, connected, failed, never_tried, cookies, left_out } = cluster;
    if nodes.is_empty() && failed.is_empty() {
        return Ok(());
    }
    sheet.space(out)?;
    let pairs = [
        (connected.len(), "connected"),
        (failed.len(), "failed"),
        (never_tried.len(), "never tried"),
    ];
    let pairs: Vec<_> = pairs
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", grouped(*n as u64)))
        .collect();
    let pairs = if pairs.is_empty() { "no pair tried".to_owned() } else { listed(&pairs) };
    let named = match nodes.len() as u64 {
        0 => "No node that gave its name".to_owned(),
        n => count(n, "node"),
    };
    let heading = format!("{named}; pairs: {pairs}");
    sheet.heading(out, "", &heading)?;
    let names = nodes.iter().take(ROWS).map(|node| node.node.chars().count());
    let column = names.max().unwrap_or(0).min(COLUMN);
    rows(sheet, out, nodes, |node| format!("{:column$}  {}", node.node, facts(node)))?;
    rows(sheet, out, failed, failure)?;
    let never = |[a, b]: &[_; 2]| format!("never tried: {a} and {b}");
    rows(sheet, out, never_tried, never)?;
    // Of two nodes, whether they connect says it all.
    if nodes.len() > 2 {
        let trigger = |group: &&CookieGroup| group.nodes.len() > 1 || !group.cookies.is_empty();
        let trigger: Vec<_> = cookies.iter().filter(trigger).collect();
        let is_split = trigger.len() > 1 || trigger.iter().any(|it| !it.refused.is_empty());
        rows(sheet, out, if is_split { &trigger } else { &[] }, |it| group(it))?;
    }
    sheet.more(out, LEAD, *left_out)
}

/// At most [`ROWS`] lines, and how many more there are.
fn rows<T>(
    sheet: &mut TextWriter,
    out: &mut impl Write,
    items: &[T],
    text: impl Fn(&T) -> String,
) -> io::Result<()> {
    for item in items.iter().take(ROWS) {
        sheet.row(out, &format!("{LEAD}{}", text(item)))?;
    }
    sheet.more(out, LEAD, items.len().saturating_sub(ROWS) as u64)
}

fn facts(node: &Node) -> String {
    let ips: Vec<_> = node.ips.iter().map(ToString::to_string).collect();
    let unsaid: Vec<_> = ips.iter().filter(|ip| !node.node.contains(ip.as_str())).collect();
    let mut facts = Vec::new();
    facts.extend((!unsaid.is_empty()).then(|| few(&unsaid)));
    facts.extend(match (node.otp_at_least, node.otp_at_most) {
        (Some(least), Some(most)) if least == most => Some(format!("OTP {least}")),
        (Some(least), Some(most)) => Some(format!("OTP {least} to {most}")),
        (Some(least), None) => Some(format!("OTP {least} or later")),
        (None, Some(most)) => Some(format!("OTP {most} or older")),
        (None, None) => None,
    });
    facts.extend((node.hidden == Some(true)).then(|| "hidden".to_owned()));
    facts.extend((node.restarts > 0).then(|| count(node.restarts, "restart")));
    facts.join(", ")
}

fn failure(pair: &FailedPair) -> String {
    let FailedPair { initiator, acceptor, outcome, count: n, .. } = pair;
    let words = match outcome {
        Failure::Session(outcome) => outcome_words(*outcome),
        Failure::Lookup(outcome) => epmd_words(*outcome),
    };
    let mut text = format!("{initiator} -> {acceptor}: {words}, {}", count(*n, "time"));
    match (&pair.initiator_cookie, &pair.acceptor_cookie) {
        (Some(mine), Some(theirs)) => text += &format!(" ({mine} against {theirs})"),
        (Some(mine), None) => text += &format!(" (with {mine})"),
        (None, _) => {}
    }
    if pair.crossed {
        text += ", crossed over";
    }
    text
}

fn group(group: &CookieGroup) -> String {
    let mut text = format!("one cookie: {}", few(&group.nodes));
    if !group.cookies.is_empty() {
        text += &format!(" ({})", few(&group.cookies));
    }
    if !group.refused.is_empty() {
        text += &format!("; at odds with {}", few(&group.refused));
    }
    text
}

/// The first few of a list, and how many more there are.
fn few<T: ToString>(items: &[T]) -> String {
    let shown: Vec<_> = items.iter().take(FEW).map(T::to_string).collect();
    match items.len().saturating_sub(FEW) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

const LEAD: &str = "  ";

/// How many rows of each kind are written: as many as a screen has room for.
const ROWS: usize = 20;

/// How many names or addresses stand in one row.
const FEW: usize = 8;

/// Widest column of names: a longer one sticks out.
const COLUMN: usize = 40;
