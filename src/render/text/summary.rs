//! Stage 8: the end of text.
//!
//! In: what was told of, and the final statistics. Out: what was wrong in a few lines, what is well,
//! what could not be decided, and what the capture does not show.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use super::Layout;
use super::block::Problem;
use super::sheet::TextWriter;
use crate::record::{AnomalyKind, EpmdOutcome, Incident, Outcome, Session, Severity, Stats};
use crate::render::words::{
    anomaly_words, bytes, count, duration, epmd_words, grouped, listed, outcome_words, span,
};
use crate::time::micros;

/// What was told of so far, as far as the statistics do not have it.
#[derive(Default)]
pub(super) struct Tally {
    /// Problems by rule.
    problems: BTreeMap<&'static str, u64>,
    /// Findings that are for information only.
    notes: u64,
    /// Titles of the worst problems and how many have each, the worst first; at most [`TITLES`].
    worst: Vec<(Severity, String, u64)>,
    /// Connections that came about and had a problem later.
    stood: u64,
    /// The incidents those belong to; at most [`MAX_NAMES`].
    stood_incidents: HashSet<Arc<str>>,
    /// Names of the nodes that were connected; at most [`MAX_NAMES`].
    nodes: HashSet<Arc<str>>,
    /// Whether there are more.
    unnamed: bool,
}

impl Tally {
    pub(super) fn on_session(&mut self, session: &Session) {
        if session.outcome != Outcome::Connected {
            return;
        }
        for party in [&session.initiator, &session.acceptor] {
            match &party.node {
                Some(node) if self.nodes.contains(node) => {}
                Some(node) if self.nodes.len() < MAX_NAMES => {
                    self.nodes.insert(Arc::clone(node));
                }
                _ => self.unnamed = true,
            }
        }
    }

    pub(super) fn on_finding(&mut self, problem: &Problem) {
        if !problem.is_problem() {
            self.notes += 1;
            return;
        }
        let finding = &problem.finding;
        *self.problems.entry(finding.rule).or_default() += 1;
        match self.worst.iter_mut().find(|(_, title, _)| *title == finding.title) {
            Some((.., n)) => *n += 1,
            None => self.worst.push((finding.severity, finding.title.clone(), 1)),
        }
        self.worst.sort_by_key(|(severity, ..)| std::cmp::Reverse(*severity));
        self.worst.truncate(TITLES);
        if problem.stood() {
            self.stood += 1;
            if self.stood_incidents.len() < MAX_NAMES {
                self.stood_incidents.insert(Arc::clone(&finding.incident_id));
            }
        }
    }

    pub(super) fn on_incident(&mut self, incident: &Incident) {
        if self.stood_incidents.contains(&incident.incident_id) {
            self.stood = self.stood.saturating_add(incident.count.saturating_sub(1));
        }
    }

    /// The last lines of a run.
    pub(super) fn write(
        &self,
        sheet: &mut TextWriter,
        out: &mut impl Write,
        stats: &Stats,
        layout: Layout,
    ) -> io::Result<()> {
        sheet.space(out)?;
        sheet.heading(out, "", "Summary")?;
        if let Some(rules) = tally(&self.problems, |rule| rule) {
            let total = self.problems.values().sum();
            sheet.wrapped(out, LEAD, &format!("{} found: {rules}.", count(total, "problem")))?;
            // Where blocks were told as they came, they have often left the screen.
            if layout == Layout::Streaming || total > 1 {
                self.worst_again(sheet, out, total)?;
            }
        }
        let told = self.problems.values().sum::<u64>().saturating_add(self.notes);
        let hidden = stats.findings.values().sum::<u64>().saturating_sub(told);
        if hidden > 0 {
            let text = format!("{} below the severity asked for.", count(hidden, "finding"));
            sheet.wrapped(out, LEAD, &text)?;
        }
        let failed = failed(stats);
        if let Some(failed) = &failed {
            sheet.wrapped(out, LEAD, failed)?;
        }
        let is_wrong = !self.problems.is_empty() || hidden > 0 || failed.is_some();
        for text in [self.well(stats, is_wrong), undecided(stats)].into_iter().flatten() {
            sheet.wrapped(out, LEAD, &text)?;
        }
        if let Some(odd) = odd(stats).filter(|_| layout == Layout::Grouped) {
            sheet.wrapped(out, LEAD, &odd)?;
        }
        sheet.wrapped(out, LEAD, &extent(stats))?;
        let losses = losses(stats);
        if losses.is_empty() && stats.complete {
            return sheet.wrapped(out, LEAD, "As far as can be told, the capture lacks nothing.");
        }
        sheet.wrapped(out, LEAD, "The capture does not show everything:")?;
        losses.iter().try_for_each(|loss| sheet.wrapped(out, BULLET, loss))?;
        advice(stats).map_or(Ok(()), |advice| sheet.wrapped(out, LEAD, &advice))
    }

    fn worst_again(
        &self,
        sheet: &mut TextWriter,
        out: &mut impl Write,
        total: u64,
    ) -> io::Result<()> {
        let plain = sheet.styles.plain;
        for (severity, title, n) in &self.worst {
            let times = if *n > 1 { format!("  ({n} times)") } else { String::new() };
            sheet.judged(out, BULLET, *severity, plain, &format!("{title}{times}"))?;
        }
        let told: u64 = self.worst.iter().map(|(.., n)| n).sum();
        sheet.more(out, BULLET, total.saturating_sub(told))
    }

    /// What was well, in one line.
    fn well(&self, stats: &Stats, is_wrong: bool) -> Option<String> {
        if stats.sessions.is_empty() && stats.epmd.is_empty() {
            let text = "No Erlang connection among them, and no request to a port mapper. Nodes \
                        listen on ports of their own choice, so a capture of port 4369 alone does \
                        not have them.";
            return Some(text.to_owned());
        }
        let sessions = |outcome| stats.sessions.get(&outcome).copied().unwrap_or(0);
        let connected = sessions(Outcome::Connected).saturating_sub(self.stood);
        let nodes = if self.unnamed || self.nodes.is_empty() || self.stood > 0 {
            String::new()
        } else {
            format!(" between {}", count(self.nodes.len() as u64, "node"))
        };
        let given_up = [Outcome::AlreadyConnected, Outcome::Superseded].map(|outcome| {
            let n = sessions(outcome);
            (n, format!("{} {}", count(n, "attempt"), outcome_words(outcome)))
        });
        let answered = stats.epmd.get(&EpmdOutcome::Answered).copied().unwrap_or(0);
        let answers = format!("{} to port mappers answered", count(answered, "request"));
        let mut parts = vec![(connected, format!("{}{nodes}", count(connected, "connection")))];
        parts.extend(given_up);
        parts.push((answered, answers));
        let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|it| it.1).collect();
        match (is_wrong, parts.is_empty()) {
            (true, true) => None,
            (true, false) => Some(format!("Everything else is well: {}.", parts.join(", "))),
            (false, true) => Some(format!("{NO_PROBLEM}.")),
            (false, false) => Some(format!("{NO_PROBLEM}: {}.", parts.join(", "))),
        }
    }
}

/// What failed, whether or not a finding tells of it.
fn failed(stats: &Stats) -> Option<String> {
    let sessions = stats.sessions.iter().filter(|(outcome, _)| outcome.is_failure());
    let well = [EpmdOutcome::Answered, EpmdOutcome::Unregistered, EpmdOutcome::Incomplete];
    let requests = stats.epmd.iter().filter(|(outcome, _)| !well.contains(outcome));
    let parts = [
        (tally(sessions, |outcome| outcome_words(*outcome)), "connections"),
        (tally(requests, |outcome| epmd_words(*outcome)), "requests to port mappers"),
    ];
    let parts = parts.into_iter().filter_map(|(words, what)| Some(format!("{what}: {}", words?)));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty()).then(|| format!("Failed {}.", parts.join("; failed ")))
}

/// What could not be decided, in one line.
fn undecided(stats: &Stats) -> Option<String> {
    let sessions = |outcome| stats.sessions.get(&outcome).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let parts = [
        (sessions(Outcome::Incomplete), "connection", " for want of packets"),
        (requests, "request", " for want of packets"),
        (sessions(Outcome::Tls), "connection", " whose contents are TLS"),
    ];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    let parts: Vec<_> = parts.map(|(n, what, why)| format!("{}{why}", count(n, what))).collect();
    (!parts.is_empty()).then(|| format!("Undecided: {}.", listed(&parts)))
}

/// What was odd between nodes, where that is told nowhere else.
fn odd(stats: &Stats) -> Option<String> {
    let kinds = [AnomalyKind::Malformed, AnomalyKind::OutOfTurn, AnomalyKind::OverlapConflict];
    let odd = stats.anomalies.iter().filter(|(kind, n)| kinds.contains(kind) && **n > 0);
    let odd: Vec<_> = odd
        .map(|(kind, n)| format!("\"{}\" ({})", anomaly_words(*kind), count(*n, "time")))
        .collect();
    (!odd.is_empty()).then(|| format!("Odd in the traffic: {}; -v tells where.", listed(&odd)))
}

/// How much was read, and over what time.
fn extent(stats: &Stats) -> String {
    let read = format!("{} of {}", count(stats.packets, "packet"), bytes(stats.bytes));
    let (Some(first), Some(last)) = (stats.first, stats.last) else { return format!("{read}.") };
    format!("{read} in {}, {}.", duration(micros(last.since(first))), span(first, last))
}

/// What the capture lacks, a sentence each.
fn losses(stats: &Stats) -> Vec<String> {
    let drops = |by: Option<u64>, whom: &str| {
        by.map(|n| (n, format!("dropped by {whom} before they could be captured.")))
    };
    let missing = match stats.missing_bytes {
        0 => "within connections between nodes.".to_owned(),
        n => format!("within connections between nodes, {} in all.", bytes(n)),
    };
    let share = stats.cut_packets.saturating_mul(100) / stats.packets.max(1);
    let cut = match share {
        0 => "cut short by the capture's snapshot length.".to_owned(),
        share => format!("cut short by the capture's snapshot length, {share}% of all."),
    };
    let told = [
        drops(stats.kernel_drops, "the kernel").map(|(n, text)| (n, "packet", text)),
        drops(stats.interface_drops, "the interface").map(|(n, text)| (n, "packet", text)),
        Some((stats.cut_packets, "packet", cut)),
        Some((stats.gaps, "gap", missing)),
        Some((stats.one_sided, "connection", "of which one direction alone was captured.".into())),
        Some((stats.lost_fragments, "IP fragment", "without the rest of their datagram.".into())),
        Some((stats.clock_steps, "step", "back of the capture's clock.".into())),
        stats.left_out.map(|n| (n, "event", "left out: the reader was too slow.".into())),
        Some((stats.evictions, "fact", "forgotten to stay within the memory allowed.".into())),
    ];
    let told = told.into_iter().flatten().filter(|(n, ..)| *n > 0);
    let mut losses: Vec<_> =
        told.map(|(n, what, text)| format!("{} {text}", count(n, what))).collect();
    for (kind, n) in &stats.anomalies {
        if kind.is_about_input() {
            let words = anomaly_words(*kind);
            losses.push(match n {
                1 => format!("{words}."),
                n => format!("{words}, {n} times."),
            });
        }
    }
    losses
}

/// How to capture so that fewer verdicts stay open, where what is lost may be why they are.
fn advice(stats: &Stats) -> Option<String> {
    let sessions = stats.sessions.get(&Outcome::Incomplete).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let is_undecided = sessions > 0 || requests > 0;
    let dropped =
        stats.kernel_drops.unwrap_or(0).saturating_add(stats.interface_drops.unwrap_or(0));
    let ways = [
        (stats.cut_packets, "with -s 0, which keeps packets whole"),
        (dropped, "with a filter or a larger buffer (-B), so that less is dropped"),
        (stats.one_sided, "where both directions pass"),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(n, _)| *n > 0).map(|(_, way)| way).collect();
    (is_undecided && !ways.is_empty())
        .then(|| format!("That may be why something stayed undecided: capture {}.", listed(&ways)))
}

/// Counts with their words, the most frequent first: `3 refused, 1 connected`.
fn tally<'a, K: 'a>(
    counts: impl IntoIterator<Item = (&'a K, &'a u64)>,
    words: impl Fn(&'a K) -> &'a str,
) -> Option<String> {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, n)| **n > 0).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let parts: Vec<_> =
        counts.into_iter().map(|(key, n)| format!("{} {}", grouped(*n), words(key))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

const NO_PROBLEM: &str = "No problem found in what the capture shows";

const LEAD: &str = "  ";
const BULLET: &str = "    - ";

/// How many titles the summary repeats: few enough to be read, and to stay on one screen.
const TITLES: usize = 10;

/// How many names are kept to be counted or found again. A cluster of more nodes is not seen in one
/// place.
const MAX_NAMES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_for_verdicts_that_lack_what_was_lost() {
        let mut stats = Stats { packets: 181, cut_packets: 116, ..Stats::default() };
        assert_eq!(advice(&stats), None);
        stats.sessions.insert(Outcome::Incomplete, 1);
        let expected = "That may be why something stayed undecided: \
                        capture with -s 0, which keeps packets whole.";
        assert_eq!(advice(&stats).as_deref(), Some(expected));
        stats.cut_packets = 0;
        assert_eq!(advice(&stats), None);
    }
}
