//! The end of a report: what failed, what works, what is undecided, and what the capture lacks.
//!
//! In: sessions and findings as they come, and the final statistics. Out: a [`Summary`] of counts and
//! sentences.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::sentences::incident_state;
use super::{FrameLabel, Problem, order};
use crate::limits::CLOCK_INPUTS;
use crate::record::{
    AnomalyKind, EpmdOutcome, ExpectedPair, Incident, IncidentState, Outcome, Session, Severity,
    Stats, Undecided, Unseen, UnseenBecause,
};
use crate::render::MIN_SEVERITY;
use crate::render::words::{
    bytes, count, duration, epmd_words, grouped, listed, outcome_words, span, time, times,
};
use crate::time::{Timestamp, Zone, micros};

/// What a run adds up to.
pub(in crate::render) struct Summary {
    /// What the capture cannot show, whatever is in it: it is read first.
    pub(in crate::render) unseen: Vec<Unseen>,
    /// The pairs that were expected to be connected, a sentence each.
    pub(in crate::render) expected: Vec<String>,
    /// How many problems there are, how much was read, and whether the capture is complete.
    pub(in crate::render) head: String,
    /// The problems: those that are open first, then the worst, then the earliest.
    pub(in crate::render) problems: Vec<ListedProblem>,
    /// How many findings there are beside those, which nothing is kept of.
    pub(in crate::render) more: u64,
    /// Sentences about what failed, what works, and what is incomplete.
    pub(in crate::render) outcome: Vec<String>,
    /// Anomalies between nodes, which the time line has one by one.
    pub(in crate::render) unusual: Option<String>,
    /// What the capture lacks, a sentence each.
    pub(in crate::render) losses: Vec<String>,
    /// How to capture so that less is incomplete.
    pub(in crate::render) advice: Option<String>,
}

/// A problem in the list at the start of a report.
#[derive(Clone)]
pub(in crate::render) struct ListedProblem {
    pub(in crate::render) state: IncidentState,
    pub(in crate::render) severity: Severity,
    pub(in crate::render) title: String,
    /// How often and when, and what shows that it is over.
    pub(in crate::render) when: String,
    /// The first thing to do about it, unless it is over.
    pub(in crate::render) remedy: Option<String>,
    at: Timestamp,
    /// Its place among all findings.
    number: usize,
    /// How many problems have this title.
    problems: u64,
}

/// A problem as it is remembered for the list.
struct KnownProblem {
    severity: Severity,
    title: String,
    remedy: Option<String>,
    at: Timestamp,
    /// When it showed, if that is before `at`.
    shown_at: Option<Timestamp>,
    /// Its place among all findings.
    number: usize,
    /// The packet at `at`.
    frame: Option<FrameLabel>,
    incident: Option<Incident>,
    /// How often it is counted among the connections and requests that have a problem.
    counted: u64,
    of: Option<Claimed>,
}

/// The outcome of the connection, or request to EPMD, that a problem is about.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Claimed {
    Connection(Outcome),
    Request(EpmdOutcome),
}

impl KnownProblem {
    /// Whether it is more than information, and was not withdrawn.
    fn is_problem(&self) -> bool {
        let state = self.incident.as_ref().map(|incident| incident.state);
        self.severity() > Severity::Info && state != Some(IncidentState::Withdrawn)
    }

    fn severity(&self) -> Severity {
        self.incident.as_ref().map_or(self.severity, |incident| incident.severity)
    }

    fn listed(&self, zone: &Zone) -> ListedProblem {
        let Self { title, remedy, at, shown_at, number, frame, incident, .. } = self;
        let state = incident.as_ref().map_or(IncidentState::Open, |incident| incident.state);
        let often = match incident {
            Some(Incident { count, first, last, .. }) if *count > 1 => {
                format!("{}, {}", times(*count), span(zone, *first, *last))
            }
            _ => {
                let first = incident.as_ref().map(|incident| incident.first).or(*shown_at);
                let first = first.unwrap_or(*at);
                // What ended it may have been captured before the packet that the finding is about, and that packet may
                // have come long after the time that is named.
                let settled = incident.as_ref().and_then(|incident| incident.settled_at);
                let is_at = shown_at.is_none_or(|shown_at| at.since(shown_at) < SAME_TIME);
                let frame = frame
                    .as_ref()
                    .filter(|_| is_at && settled.is_none_or(|settled| settled >= *at));
                let frame = frame.map_or_else(String::new, |it| format!(" ({it})"));
                format!("at {}{frame}", time(zone, first))
            }
        };
        let when = match incident {
            Some(incident) if incident.state != IncidentState::Open => {
                format!("{often}; {}", incident_state(zone, incident))
            }
            _ => often,
        };
        let is_over = state == IncidentState::Solved;
        ListedProblem {
            state,
            severity: self.severity(),
            title: title.clone(),
            when,
            remedy: remedy.clone().filter(|_| !is_over),
            at: *at,
            number: *number,
            problems: 1,
        }
    }
}

/// What the records of a run add up to, as far as the statistics do not have it.
#[derive(Default)]
pub(super) struct RunSummary {
    /// The findings by incident; at most [`MAX_NAMES`].
    problems: HashMap<Arc<str>, KnownProblem>,
    /// What the inputs lack, in words; at most [`MAX_DAMAGES`].
    damages: Vec<String>,
    /// What was corrected of the clocks of the inputs, a sentence for each.
    clocks: Vec<String>,
    /// Number of those that are not among them.
    more_damages: u64,
    /// Findings that are not among them.
    more: u64,
    /// Number of connections and requests that problems are about, by outcome.
    claimed: BTreeMap<Claimed, u64>,
    /// Names of the nodes that were connected; at most [`MAX_NAMES`].
    nodes: HashSet<Arc<str>>,
    /// True if there are more nodes than `nodes` has.
    has_more_nodes: bool,
    /// Number of connections over TLS whose records show that the nodes connected.
    connected_inside: u64,
}

impl RunSummary {
    pub(super) fn on_session(&mut self, session: &Session) {
        if session.connected_inside {
            self.connected_inside += 1;
        }
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

    /// Takes a finding; `request` is the outcome of the EPMD request that it is about.
    pub(super) fn on_finding(&mut self, problem: &Problem, request: Option<EpmdOutcome>) {
        let finding = &problem.finding;
        if finding.revision.is_some()
            && let Some(known) = self.problems.get_mut(&finding.incident_id)
        {
            // It is written anew, because more is known.
            known.severity = finding.severity;
            known.title.clone_from(&finding.title);
            known.remedy = finding.remedy.first().cloned();
            return;
        }
        if self.problems.len() >= MAX_NAMES {
            self.more += 1;
            return;
        }
        let outcome = problem.outcome().map(Claimed::Connection);
        let of = outcome.or_else(|| request.map(Claimed::Request)).filter(|_| problem.is_problem());
        if let Some(of) = of {
            *self.claimed.entry(of).or_default() += 1;
        }
        let known = KnownProblem {
            severity: finding.severity,
            title: finding.title.clone(),
            remedy: finding.remedy.first().cloned(),
            at: problem.at,
            shown_at: finding.shown_at,
            number: self.problems.len(),
            frame: problem.frame.clone(),
            incident: None,
            counted: 1,
            of,
        };
        self.problems.insert(Arc::clone(&finding.incident_id), known);
    }

    pub(super) fn on_incident(&mut self, incident: &Incident) {
        let Some(known) = self.problems.get_mut(&incident.incident_id) else { return };
        if let Some(of) = known.of {
            *self.claimed.entry(of).or_default() += incident.count.saturating_sub(known.counted);
        }
        known.counted = known.counted.max(incident.count);
        known.incident = Some(incident.clone());
    }

    /// Takes what was corrected of the clock of an input, as a sentence.
    pub(super) fn on_clock(&mut self, sentence: String) {
        if self.clocks.len() < CLOCK_INPUTS {
            self.clocks.push(sentence);
        }
    }

    /// Takes what an input lacks, as a sentence.
    pub(super) fn on_damage(&mut self, sentence: String) {
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(sentence);
        } else {
            self.more_damages += 1;
        }
    }

    /// The title of the problem with this incident, if its finding came before.
    pub(super) fn title(&self, incident: &str) -> Option<&str> {
        self.problems.get(incident).map(|known| known.title.as_str())
    }

    pub(super) fn summary(&self, zone: &Zone, stats: &Stats, hiding: &[&'static str]) -> Summary {
        let problems = self.problems.values().filter(|known| known.is_problem());
        let all: Vec<_> = problems.map(|known| known.listed(zone)).collect();
        let mut count_of: BTreeMap<IncidentState, u64> = BTreeMap::new();
        for problem in &all {
            *count_of.entry(problem.state).or_default() += 1;
        }
        if self.more > 0 {
            *count_of.entry(IncidentState::Open).or_default() += self.more;
        }
        let hiding_options = listed(hiding);
        let listed = merged(all);
        let seen = self.problems.len() as u64 + self.more;
        let hidden = stats.findings.values().sum::<u64>().saturating_sub(seen);
        let mut hidden = (hidden > 0).then(|| {
            let are = if hidden == 1 { "is" } else { "are" };
            format!("{} {are} hidden by {}.", count(hidden, "finding"), hiding_options)
        });
        let failed = failed(stats);
        let is_wrong = !count_of.is_empty() || hidden.is_some() || failed.is_some();
        let working = self.working(stats);
        let mut losses = losses(stats);
        losses.extend(self.damages.iter().cloned());
        losses.extend(
            (self.more_damages > 0).then(|| format!("and {} more.", grouped(self.more_damages))),
        );
        let is_complete = losses.is_empty() && stats.complete && stats.is_decided();
        if !is_complete && losses.is_empty() && stats.is_decided() {
            losses.push("It lacks packets.".to_owned());
        }
        let undecided = self.undecided(stats);
        // Statistics count everything, also what filters leave out.
        let is_filtered = hiding.iter().any(|option| *option != MIN_SEVERITY);
        let head = match (problem_counts(&count_of), &working) {
            (Some(counts), _) => counts,
            (None, _) if hidden.is_some() => {
                let hidden = hidden.take().unwrap_or_default();
                if is_filtered {
                    format!("No problem among what is shown. {hidden}")
                } else {
                    hidden
                }
            }
            (None, _) if is_wrong => String::new(),
            (None, _) if !stats.unseen.is_empty() => String::new(),
            (None, Some(working)) => format!("{NO_PROBLEM}: {working}."),
            (None, None) if undecided.is_some() => String::new(),
            (None, None) => format!("{NO_PROBLEM}."),
        };
        // The head has it already.
        let is_in_head = head.starts_with(NO_PROBLEM);
        let working =
            working.filter(|_| !is_in_head).map(|working| format!("Without a problem: {working}."));
        let has_counts = failed.is_some() || working.is_some() || undecided.is_some();
        let whole = (is_filtered && has_counts).then(|| "In the whole capture:".to_owned());
        let clocks = (!self.clocks.is_empty()).then(|| self.clocks.join(" "));
        let outcome = [hidden, whole, failed, working, undecided, unused_cookies(stats), clocks];
        let looks = if is_complete {
            "; the capture looks complete."
        } else {
            "; the capture is not complete."
        };
        let extent = extent(zone, stats);
        let head = match (head.is_empty(), extent) {
            (true, extent) => format!("{extent}{looks}"),
            (false, extent) => format!("{head} {extent}{looks}"),
        };
        Summary {
            unseen: stats.unseen.clone(),
            expected: stats.expected.iter().map(expected).collect(),
            head,
            more: self.more,
            problems: listed,
            outcome: outcome.into_iter().flatten().collect(),
            unusual: unusual(stats),
            losses,
            advice: advice(stats),
        }
    }

    /// Number of connections with this outcome that no problem is about.
    fn unclaimed(&self, stats: &Stats, outcome: Outcome) -> u64 {
        let all = stats.sessions.get(&outcome).copied().unwrap_or(0);
        let claimed = self.claimed.get(&Claimed::Connection(outcome)).copied().unwrap_or(0);
        all.saturating_sub(claimed)
    }

    /// Number of requests to EPMD with this outcome that no problem is about.
    fn unclaimed_requests(&self, stats: &Stats, outcome: EpmdOutcome) -> u64 {
        let all = stats.epmd.get(&outcome).copied().unwrap_or(0);
        let claimed = self.claimed.get(&Claimed::Request(outcome)).copied().unwrap_or(0);
        all.saturating_sub(claimed)
    }

    /// What works, as a list without a full stop.
    fn working(&self, stats: &Stats) -> Option<String> {
        let connected = self.unclaimed(stats, Outcome::Connected);
        let is_each = connected == stats.sessions.get(&Outcome::Connected).copied().unwrap_or(0);
        let nodes = if self.has_more_nodes || self.nodes.is_empty() || !is_each {
            String::new()
        } else {
            format!(" between {}", count(self.nodes.len() as u64, "node"))
        };
        let repeated = self.unclaimed(stats, Outcome::AlreadyConnected);
        let crossed = self.unclaimed(stats, Outcome::Superseded);
        let answered = self.unclaimed_requests(stats, EpmdOutcome::Answered);
        let inside = self.unclaimed(stats, Outcome::Tls).min(self.connected_inside);
        let parts = [
            (connected, format!("{}{nodes}", count(connected, "connection"))),
            (inside, format!("{} over TLS", count(inside, "connection"))),
            (repeated, format!("{} refused as already connected", count(repeated, "attempt"))),
            (crossed, format!("{} dropped for a simultaneous one", count(crossed, "attempt"))),
            (answered, format!("{} answered", count(answered, "EPMD request"))),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|it| it.1).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// What could not be decided, and why.
    fn undecided(&self, stats: &Stats) -> Option<String> {
        let incomplete = [
            (self.unclaimed(stats, Outcome::Incomplete), "connection"),
            (self.unclaimed_requests(stats, EpmdOutcome::Incomplete), "EPMD request"),
        ];
        let incomplete = incomplete.into_iter().filter(|(n, _)| *n > 0);
        let incomplete: Vec<_> = incomplete.map(|(n, what)| count(n, what)).collect();
        let encrypted = self.unclaimed(stats, Outcome::Tls).saturating_sub(self.connected_inside);
        let parts = [
            (!incomplete.is_empty()).then(|| {
                format!("Incomplete, the capture lacks what would decide: {}.", listed(&incomplete))
            }),
            (encrypted > 0).then(|| {
                format!(
                    "Encrypted with TLS, outcome not visible: {}.",
                    count(encrypted, "connection")
                )
            }),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

/// The problems in the order in which they are listed, those with one title and one state as one.
fn merged(mut all: Vec<ListedProblem>) -> Vec<ListedProblem> {
    all.sort_by_key(|it| (order(it.state), Reverse(it.severity), it.at, it.number));
    let mut places: HashMap<(IncidentState, String), usize> = HashMap::new();
    let mut listed: Vec<ListedProblem> = Vec::new();
    for problem in all {
        let key = (problem.state, problem.title.clone());
        match places.get(&key).and_then(|place| listed.get_mut(*place)) {
            Some(first) => first.problems += 1,
            None => {
                places.insert(key, listed.len());
                listed.push(problem);
            }
        }
    }
    for problem in listed.iter_mut().filter(|problem| problem.problems > 1) {
        let others = problem.problems - 1;
        problem.when += &format!("; and {}", count(others, "other problem of this kind"));
    }
    listed
}

/// How many problems have each state.
fn problem_counts(count_of: &BTreeMap<IncidentState, u64>) -> Option<String> {
    let of = |state| count_of.get(&state).copied().unwrap_or(0);
    let (open, solved) = (of(IncidentState::Open), of(IncidentState::Solved));
    let unknown = of(IncidentState::Unknown);
    if count_of.is_empty() {
        return None;
    }
    let open = match open {
        0 => "No problem open".to_owned(),
        n => format!("{} open", count(n, "problem")),
    };
    let others = [(unknown, "unknown whether over"), (solved, "solved")];
    let others = others.into_iter().filter(|(n, _)| *n > 0);
    let parts = others.map(|(n, what)| format!("{} {what}", grouped(n)));
    Some(format!("{}.", std::iter::once(open).chain(parts).collect::<Vec<_>>().join(", ")))
}

/// Whether an expected pair is connected.
fn expected(pair: &ExpectedPair) -> String {
    let ExpectedPair { nodes: [a, b], connected, unknown_because } = pair;
    let why = match unknown_because {
        _ if *connected => return format!("As expected, {a} and {b} are connected."),
        None => {
            return format!(
                "Not as expected: {a} and {b} are not connected at the end of this capture."
            );
        }
        Some(Undecided::Tls) => {
            "they use TLS, and its records do not show that the nodes inside connected"
        }
        Some(Undecided::Incomplete) => {
            "the capture lacks the packets that show what became of their last connection"
        }
    };
    format!("Expected, and not known: whether {a} and {b} are connected; {why}.")
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
    let requests: Vec<_> = stats.epmd.iter().filter(|(outcome, _)| outcome.is_failure()).collect();
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

/// The number of each anomaly between nodes.
fn unusual(stats: &Stats) -> Option<String> {
    let kinds = [
        (AnomalyKind::Malformed, "unreadable message"),
        (AnomalyKind::OutOfTurn, "message out of sequence"),
        (AnomalyKind::OverlapConflict, "conflicting retransmission"),
        (AnomalyKind::NotTaken, "packet that counts for nothing"),
        (AnomalyKind::AddressTranslated, "connection through address translation"),
        (AnomalyKind::SameHandshake, "connection with the handshake of another one"),
    ];
    let counts =
        kinds.into_iter().filter_map(|(kind, what)| Some((stats.anomalies.get(&kind)?, what)));
    let counts: Vec<_> =
        counts.filter(|(n, _)| **n > 0).map(|(n, what)| format!("{what}, {}", times(*n))).collect();
    (!counts.is_empty()).then(|| format!("Unusual: {} (-v shows where).", counts.join("; ")))
}

/// How much was read, and over what time, without a full stop.
fn extent(zone: &Zone, stats: &Stats) -> String {
    let has_events = !stats.sessions.is_empty() || !stats.epmd.is_empty();
    let read = if stats.packets == 0 && has_events {
        // Kept events that were cut before their statistics.
        "Packets not counted".to_owned()
    } else {
        format!("{} ({})", count(stats.packets, "packet"), bytes(stats.bytes))
    };
    match (stats.first, stats.last) {
        (Some(first), Some(last)) if last > Timestamp::default() => {
            let (lasted, span) = (duration(micros(last.since(first))), span(zone, first, last));
            // Other times are of the same zone, and do not repeat it.
            format!("{read} in {lasted}, {span} {}", zone.abbreviation(last))
        }
        _ => read,
    }
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
    counts.map(|(n, what, text)| format!("{} {text}", count(n, what))).collect()
}

/// How to capture so that less is undecided, if what is lost may be the reason.
fn advice(stats: &Stats) -> Option<String> {
    let sessions = stats.sessions.get(&Outcome::Incomplete).copied().unwrap_or(0);
    let requests = stats.epmd.get(&EpmdOutcome::Incomplete).copied().unwrap_or(0);
    let is_undecided = sessions > 0 || requests > 0;
    let dropped =
        stats.kernel_drops.unwrap_or(0).saturating_add(stats.interface_drops.unwrap_or(0));
    // What the capture cannot show at all has a remedy of its own.
    let is_unseen = |because| stats.unseen.iter().any(|it| it.because == because);
    let unless = |because, n| if is_unseen(because) { 0 } else { n };
    let ways = [
        (
            unless(UnseenBecause::CutPackets, stats.cut_packets),
            "with -s 0, which keeps packets whole",
        ),
        (dropped, "with a filter or a larger buffer (-B), so that fewer packets are dropped"),
        (
            unless(UnseenBecause::OneDirection, stats.one_sided),
            "at a place that both directions pass",
        ),
    ];
    let ways: Vec<_> = ways.into_iter().filter(|(n, _)| *n > 0).map(|(_, way)| way).collect();
    (is_undecided && !ways.is_empty()).then(|| {
        format!("That may be why something is incomplete: next time, capture {}.", listed(&ways))
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

/// Times are shown in milliseconds.
const SAME_TIME: Duration = Duration::from_millis(1);

const NO_PROBLEM: &str = "No problem found in this capture";

/// How many sentences about damages of the inputs are kept: more do not help.
const MAX_DAMAGES: usize = 20;

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
        let expected = "That may be why something is incomplete: next time, capture with -s 0, \
                        which keeps packets whole.";
        assert_eq!(advice(&stats).as_deref(), Some(expected));
        stats.cut_packets = 0;
        assert_eq!(advice(&stats), None);
    }
}
