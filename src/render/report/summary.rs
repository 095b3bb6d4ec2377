//! The end of a report: what failed, what works, what is undecided, and what the capture lacks.
//!
//! In: sessions and findings as they come, and the final statistics. Out: a [`Summary`] of counts and
//! sentences.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Problem;
use crate::record::{AnomalyKind, EpmdOutcome, Incident, Outcome, Session, Severity, Stats};
use crate::render::words::{
    anomaly_words, bytes, count, duration, epmd_words, grouped, listed, outcome_words, span, times,
};
use crate::time::micros;

/// The end of a report.
pub(in crate::render) struct Summary {
    /// How many problems were found, and of which rules; none if there are none.
    pub(in crate::render) problems: Option<String>,
    /// How many problems were found.
    pub(in crate::render) total: u64,
    /// The titles of the worst problems, the worst first; at most [`MAX_TITLES`].
    pub(in crate::render) titles: Vec<Title>,
    /// Sentences about what failed, what works, and what is undecided.
    pub(in crate::render) outcome: Vec<String>,
    /// Anomalies between nodes, which the time line has one by one.
    pub(in crate::render) unusual: Option<String>,
    /// How much was read, and over what time.
    pub(in crate::render) extent: String,
    /// True if the capture has everything that it should have.
    pub(in crate::render) is_complete: bool,
    /// What it lacks, a sentence each.
    pub(in crate::render) losses: Vec<String>,
    /// How to capture so that less is undecided.
    pub(in crate::render) advice: Option<String>,
}

/// A title that one or several problems have.
#[derive(Clone)]
pub(in crate::render) struct Title {
    pub(in crate::render) severity: Severity,
    pub(in crate::render) text: String,
    pub(in crate::render) count: u64,
}

/// What the records of a run add up to, as far as the statistics do not have it.
#[derive(Default)]
pub(super) struct RunSummary {
    /// Number of problems by rule.
    problems: BTreeMap<&'static str, u64>,
    /// Findings that are for information only.
    notes: u64,
    /// The worst titles, the worst first; at most [`MAX_TITLES`].
    titles: Vec<Title>,
    /// Rule, severity and title of each finding by its incident; at most [`MAX_NAMES`].
    written: HashMap<Arc<str>, (&'static str, Severity, String)>,
    /// Connections that were established and had a problem later.
    lost: u64,
    /// The incidents of those; at most [`MAX_NAMES`].
    lost_incidents: HashSet<Arc<str>>,
    /// Names of the nodes that were connected; at most [`MAX_NAMES`].
    nodes: HashSet<Arc<str>>,
    /// True if there are more nodes than `nodes` has.
    has_more_nodes: bool,
}

impl RunSummary {
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
                _ => self.has_more_nodes = true,
            }
        }
    }

    pub(super) fn on_finding(&mut self, problem: &Problem) {
        let finding = &problem.finding;
        if finding.revision.is_some() {
            self.forget(&finding.incident_id);
        }
        let known = (finding.rule, finding.severity, finding.title.clone());
        if self.written.len() < MAX_NAMES {
            self.written.insert(Arc::clone(&finding.incident_id), known);
        }
        if !problem.is_problem() {
            self.notes += 1;
            return;
        }
        *self.problems.entry(finding.rule).or_default() += 1;
        match self.titles.iter_mut().find(|title| title.text == finding.title) {
            Some(title) => title.count += 1,
            None => self.titles.push(Title {
                severity: finding.severity,
                text: finding.title.clone(),
                count: 1,
            }),
        }
        self.titles.sort_by_key(|title| Reverse(title.severity));
        self.titles.truncate(MAX_TITLES);
        if problem.was_connected() && finding.revision.is_none() {
            self.lost += 1;
            if self.lost_incidents.len() < MAX_NAMES {
                self.lost_incidents.insert(Arc::clone(&finding.incident_id));
            }
        }
    }

    /// Forgets what was written of an incident, because it is written anew.
    fn forget(&mut self, incident_id: &str) {
        let Some((rule, severity, text)) = self.written.remove(incident_id) else { return };
        if severity == Severity::Info {
            self.notes = self.notes.saturating_sub(1);
            return;
        }
        if let Some(count) = self.problems.get_mut(rule) {
            *count = count.saturating_sub(1);
        }
        self.problems.retain(|_, count| *count > 0);
        if let Some(title) = self.titles.iter_mut().find(|title| title.text == text) {
            title.count = title.count.saturating_sub(1);
        }
        self.titles.retain(|title| title.count > 0);
    }

    pub(super) fn on_incident(&mut self, incident: &Incident) {
        if self.lost_incidents.contains(&incident.incident_id) {
            self.lost = self.lost.saturating_add(incident.count.saturating_sub(1));
        }
    }

    pub(super) fn summary(&self, stats: &Stats) -> Summary {
        let total = self.problems.values().sum::<u64>();
        let hidden =
            stats.findings.values().sum::<u64>().saturating_sub(total.saturating_add(self.notes));
        let hidden = (hidden > 0).then(|| {
            let are = if hidden == 1 { "is" } else { "are" };
            format!("{} {are} hidden by --min-severity.", count(hidden, "finding"))
        });
        let failed = failed(stats);
        let is_wrong = total > 0 || hidden.is_some() || failed.is_some();
        let cookies = unused_cookies(stats);
        let outcome = [hidden, failed, self.working(stats, is_wrong), undecided(stats), cookies];
        let losses = losses(stats);
        Summary {
            problems: tally(&self.problems, |rule| rule)
                .map(|rules| format!("{} found: {rules}.", count(total, "problem"))),
            total,
            titles: self.titles.clone(),
            outcome: outcome.into_iter().flatten().collect(),
            unusual: unusual(stats),
            extent: extent(stats),
            is_complete: losses.is_empty() && stats.complete,
            losses,
            advice: advice(stats),
        }
    }

    /// What works, in one sentence.
    fn working(&self, stats: &Stats, is_wrong: bool) -> Option<String> {
        if stats.sessions.is_empty() && stats.epmd.is_empty() {
            return Some(match stats.packets {
                0 => "The capture has no packets.".to_owned(),
                n => {
                    let those = if n == 1 { "this" } else { "these" };
                    format!("No Erlang traffic in {those} {}. {OTHER_PORTS}", count(n, "packet"))
                }
            });
        }
        let sessions = |outcome| stats.sessions.get(&outcome).copied().unwrap_or(0);
        let connected = sessions(Outcome::Connected).saturating_sub(self.lost);
        let nodes = if self.has_more_nodes || self.nodes.is_empty() || self.lost > 0 {
            String::new()
        } else {
            format!(" between {}", count(self.nodes.len() as u64, "node"))
        };
        let repeated = sessions(Outcome::AlreadyConnected);
        let crossed = sessions(Outcome::Superseded);
        let answered = stats.epmd.get(&EpmdOutcome::Answered).copied().unwrap_or(0);
        let parts = [
            (connected, format!("{}{nodes}", count(connected, "connection"))),
            (repeated, format!("{} refused as already connected", count(repeated, "attempt"))),
            (crossed, format!("{} dropped for a simultaneous one", count(crossed, "attempt"))),
            (answered, format!("{} answered", count(answered, "EPMD request"))),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|it| it.1).collect();
        match (is_wrong, parts.is_empty()) {
            (true, true) => None,
            (true, false) => Some(format!("Without a problem: {}.", parts.join(", "))),
            (false, true) => Some(format!("{NO_PROBLEM}.")),
            (false, false) => Some(format!("{NO_PROBLEM}: {}.", parts.join(", "))),
        }
    }
}

/// The candidate cookies that fit no side of any handshake.
fn unused_cookies(stats: &Stats) -> Option<String> {
    let tests = stats.cookies.as_ref().filter(|tests| tests.unused > 0)?;
    let (all, unused) = (tests.candidates, tests.unused);
    Some(if !tests.tested {
        "The candidate cookies were not tested: no handshake has a challenge and its digest."
            .to_owned()
    } else if unused < all {
        let verb = if unused == 1 { "fits" } else { "fit" };
        let labels: Vec<_> = tests.unused_labels.iter().map(|label| &**label).collect();
        let more = match unused.saturating_sub(labels.len() as u64) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let labels = labels.join(", ");
        format!(
            "{unused} of {all} candidate cookies {verb} neither side of any handshake: {labels}{more}."
        )
    } else if all == 1 {
        "The candidate cookie fits neither side of any handshake.".to_owned()
    } else {
        format!("None of the {all} candidate cookies fits either side of any handshake.")
    })
}

/// What failed, whether or not a finding explains it.
fn failed(stats: &Stats) -> Option<String> {
    let sessions: Vec<_> =
        stats.sessions.iter().filter(|(outcome, _)| outcome.is_failure()).collect();
    let not_failed = [EpmdOutcome::Answered, EpmdOutcome::Unregistered, EpmdOutcome::Incomplete];
    let requests: Vec<_> =
        stats.epmd.iter().filter(|(outcome, _)| !not_failed.contains(outcome)).collect();
    let total = |counts: u64, what| count(counts, what);
    let parts = [
        (
            total(sessions.iter().map(|(_, n)| **n).sum(), "connection"),
            tally(sessions, |outcome| outcome_words(*outcome)),
        ),
        (
            total(requests.iter().map(|(_, n)| **n).sum(), "EPMD request"),
            tally(requests, |outcome| epmd_words(*outcome)),
        ),
    ];
    let parts = parts.into_iter();
    let parts: Vec<_> =
        parts.filter_map(|(n, why)| Some(format!("{n} failed: {}", why?))).collect();
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

/// What could not be decided, and why.
fn undecided(stats: &Stats) -> Option<String> {
    let sessions = |outcome| stats.sessions.get(&outcome).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let incomplete = [(sessions(Outcome::Incomplete), "connection"), (requests, "EPMD request")];
    let incomplete = incomplete.into_iter().filter(|(n, _)| *n > 0);
    let incomplete: Vec<_> = incomplete.map(|(n, what)| count(n, what)).collect();
    let encrypted = sessions(Outcome::Tls);
    let parts = [
        (!incomplete.is_empty())
            .then(|| format!("Undecided because packets are missing: {}.", listed(&incomplete))),
        (encrypted > 0)
            .then(|| format!("Undecided because of TLS: {}.", count(encrypted, "connection"))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The number of each anomaly between nodes.
fn unusual(stats: &Stats) -> Option<String> {
    let kinds = [
        (AnomalyKind::Malformed, "unreadable message"),
        (AnomalyKind::OutOfTurn, "message out of sequence"),
        (AnomalyKind::OverlapConflict, "conflicting retransmission"),
    ];
    let counts =
        kinds.into_iter().filter_map(|(kind, what)| Some((stats.anomalies.get(&kind)?, what)));
    let counts: Vec<_> =
        counts.filter(|(n, _)| **n > 0).map(|(n, what)| format!("{what}, {}", times(*n))).collect();
    (!counts.is_empty()).then(|| format!("Unusual: {} (-v shows where).", counts.join("; ")))
}

/// How much was read, and over what time.
fn extent(stats: &Stats) -> String {
    let read = format!("{} ({})", count(stats.packets, "packet"), bytes(stats.bytes));
    let (Some(first), Some(last)) = (stats.first, stats.last) else { return format!("{read}.") };
    format!("{read} in {}, {}.", duration(micros(last.since(first))), span(first, last))
}

/// What the capture lacks, a sentence each.
fn losses(stats: &Stats) -> Vec<String> {
    let drops = |by: Option<u64>, whom: &str| {
        by.map(|n| (n, format!("dropped by {whom} before they could be captured.")))
    };
    let missing = match stats.missing_bytes {
        0 => "in connections between nodes.".to_owned(),
        n => format!("in connections between nodes, {} in all.", bytes(n)),
    };
    let share = stats.cut_packets.saturating_mul(100) / stats.packets.max(1);
    let cut = match share {
        0 => "cut short by the capture's snapshot length.".to_owned(),
        share => format!("cut short by the capture's snapshot length, {share}% of all."),
    };
    let counts = [
        drops(stats.kernel_drops, "the kernel").map(|(n, text)| (n, "packet", text)),
        drops(stats.interface_drops, "the interface").map(|(n, text)| (n, "packet", text)),
        Some((stats.cut_packets, "packet", cut)),
        Some((stats.gaps, "gap", missing)),
        Some((stats.one_sided, "connection", "captured in one direction only.".into())),
        Some((stats.lost_fragments, "IP fragment", "without the rest of their datagram.".into())),
        Some((stats.clock_steps, "jump", "of the capture clock, backwards.".into())),
        stats.left_out.map(|n| (n, "event", "left out because the reader was too slow.".into())),
        Some((stats.evictions, "fact", "dropped to stay within the memory limits.".into())),
    ];
    let counts = counts.into_iter().flatten().filter(|(n, ..)| *n > 0);
    let mut losses: Vec<_> =
        counts.map(|(n, what, text)| format!("{} {text}", count(n, what))).collect();
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

/// How to capture so that less is undecided, if what is lost may be the reason.
fn advice(stats: &Stats) -> Option<String> {
    let sessions = stats.sessions.get(&Outcome::Incomplete).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let is_undecided = sessions > 0 || requests > 0;
    let dropped =
        stats.kernel_drops.unwrap_or(0).saturating_add(stats.interface_drops.unwrap_or(0));
    let ways = [
        (stats.cut_packets, "with -s 0, which keeps packets whole"),
        (dropped, "with a filter or a larger buffer (-B), so that fewer packets are dropped"),
        (stats.one_sided, "at a place that both directions pass"),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(n, _)| *n > 0).map(|(_, way)| way).collect();
    (is_undecided && !ways.is_empty()).then(|| {
        format!("That may be why something is undecided: next time, capture {}.", listed(&ways))
    })
}

/// Words, the most frequent first, with counts above 1: `cookie mismatch (3), name mismatch`. A word alone
/// has no count: the sentence has the total.
fn tally<'a, K: 'a>(
    counts: impl IntoIterator<Item = (&'a K, &'a u64)>,
    words: impl Fn(&'a K) -> &'a str,
) -> Option<String> {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, n)| **n > 0).collect();
    counts.sort_by_key(|(_, n)| Reverse(**n));
    let is_alone = counts.len() == 1;
    let with_count = |(key, n): (&'a K, &'a u64)| match *n {
        n if n > 1 && !is_alone => format!("{} ({})", words(key), grouped(n)),
        _ => words(key).to_owned(),
    };
    let parts: Vec<_> = counts.into_iter().map(with_count).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

const NO_PROBLEM: &str = "No problem found in this capture";

const OTHER_PORTS: &str = "Each node listens on a port of its own: a capture of port 4369 alone has no \
                           connection between nodes.";

/// How many titles the summary has: few enough to be read, and to fit on one screen.
const MAX_TITLES: usize = 10;

/// How many names are kept to be counted or recognized. One capture rarely shows a larger cluster.
const MAX_NAMES: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_for_verdicts_that_lack_what_was_lost() {
        let mut stats = Stats { packets: 181, cut_packets: 116, ..Stats::default() };
        assert_eq!(advice(&stats), None);
        stats.sessions.insert(Outcome::Incomplete, 1);
        let expected = "That may be why something is undecided: next time, capture with -s 0, \
                        which keeps packets whole.";
        assert_eq!(advice(&stats).as_deref(), Some(expected));
        stats.cut_packets = 0;
        assert_eq!(advice(&stats), None);
    }
}
