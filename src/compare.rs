//! Comparison of two captures: the pairs of nodes whose state differs.
//!
//! In: the session records of two captures, as events or read back from lines of output. Out: an event for each pair
//! that changed, and one with the counts. A pair is two nodes in either order, identified by the best names that the
//! captures show.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::{Limits, remember};
use crate::record::{
    Body, Comparison, Event, Outcome, PairChange, PairChangeKind, PairState, Party, Severity, State,
};
use crate::time::Timestamp;

/// The fields of one session record that a comparison needs.
#[derive(Clone, Debug)]
pub struct PairAttempt {
    /// Time of the record.
    pub at: Timestamp,
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
    /// State of the connection.
    pub state: State,
    /// Outcome of the connection.
    pub outcome: Outcome,
    /// The initiator and the acceptor.
    pub sides: [PairSide; 2],
}

/// A problem that a rule found in a connection.
#[derive(Clone, Debug)]
pub struct PairProblem {
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
    /// Name of the rule.
    pub rule: Arc<str>,
    /// The reason, for a rule with findings for several: a text that is equal for equal reasons.
    pub reason: Option<Arc<str>>,
}

impl PairProblem {
    /// The problem of an event; `None` if the event is no finding of a connection, or is for information only.
    pub fn of(event: &Event) -> Option<Self> {
        let Body::Finding { finding } = &event.body else { return None };
        let ids = event.connection.as_deref().filter(|_| finding.severity > Severity::Info)?;
        Some(Self::new(Arc::clone(&ids.session_id), finding.rule.into(), &finding.title))
    }

    /// The problem of a finding with this title.
    pub fn new(session_id: Arc<str>, rule: Arc<str>, title: &str) -> Self {
        // Titles of other rules have durations, and name either side first.
        let reason = (*rule == *HAS_REASONS).then(|| {
            let title = title.split_once(", again").map_or(title, |(title, _)| title);
            let title = title.split_once(", for the ").map_or(title, |(title, _)| title);
            title.replace(|c: char| c.is_ascii_digit(), "").into()
        });
        Self { session_id, rule, reason }
    }
}

/// One node of a pair, by the best name that the capture shows.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PairSide {
    /// A node with the name that it sent, and its address.
    Named(Arc<str>, IpAddr),
    /// A node without a name: the alive name that was looked up, and its address.
    LookedUp(Arc<str>, IpAddr),
    /// An unnamed client at this address that had asked EPMD, as nodes do.
    EpmdClient(IpAddr),
    /// Something unnamed at this address.
    Unknown(IpAddr),
}

impl PairAttempt {
    /// The two sides of a connection from `src` to `dst`; `asked` is the alive name in the look-up that led to it, and
    /// `nodes` are the names that the two nodes sent.
    pub fn sides(
        [src, dst]: [IpAddr; 2],
        nodes: [Option<Arc<str>>; 2],
        asked: Option<Arc<str>>,
    ) -> [PairSide; 2] {
        let [initiator, acceptor] = nodes;
        let client =
            if asked.is_some() { PairSide::EpmdClient(src) } else { PairSide::Unknown(src) };
        [
            initiator.map_or(client, |node| PairSide::Named(node, src)),
            match (acceptor, asked) {
                (Some(node), _) => PairSide::Named(node, dst),
                (None, Some(asked)) => PairSide::LookedUp(asked, dst),
                (None, None) => PairSide::Unknown(dst),
            },
        ]
    }

    /// The attempt of an event; `None` if the event is not a session record.
    pub fn of(event: &Event) -> Option<Self> {
        let Body::Session { session } = &event.body else { return None };
        let ids = event.connection.as_deref()?;
        let ip = |party: &Party, usual| party.ip.unwrap_or(usual);
        let (initiator, acceptor) = (&session.initiator, &session.acceptor);
        Some(Self {
            at: event.at,
            session_id: Arc::clone(&ids.session_id),
            state: session.state,
            outcome: session.outcome,
            sides: Self::sides(
                [ip(initiator, ids.src_ip), ip(acceptor, ids.dest_ip)],
                [initiator.node.clone(), acceptor.node.clone()],
                session.lookup.as_ref().map(|lookup| Arc::clone(&lookup.asked)),
            ),
        })
    }
}

/// The state of each pair in one capture.
#[derive(Debug)]
pub struct CapturePairs {
    states: HashMap<[PairSide; 2], PairState>,
    /// The last records of connections that may have another one.
    open: HashMap<Arc<str>, PairAttempt>,
    /// The last attempts that failed, and their pairs; at most [`RECENT`]. A finding follows the record of its connection.
    recent: VecDeque<(Arc<str>, [PairSide; 2])>,
    names: NodesByAddress,
    undecided: u64,
    left_out: u64,
    capacity: usize,
}

impl CapturePairs {
    /// A table before its first record.
    pub fn new(limits: &Limits) -> Self {
        Self {
            states: HashMap::new(),
            open: HashMap::new(),
            recent: VecDeque::new(),
            names: NodesByAddress { at: BTreeSet::new(), capacity: limits.nodes },
            undecided: 0,
            left_out: 0,
            capacity: limits.connections,
        }
    }

    /// Adds one record. The last record of a connection counts.
    pub fn on_attempt(&mut self, attempt: PairAttempt) {
        self.open.remove(&attempt.session_id);
        if attempt.state == State::Closed || self.open.len() >= self.capacity {
            self.settle(attempt);
        } else {
            self.open.insert(Arc::clone(&attempt.session_id), attempt);
        }
    }

    /// Adds a finding to the pair of an attempt that failed.
    pub fn on_problem(&mut self, problem: PairProblem) {
        let is_it = |(id, _): &&(Arc<str>, _)| *id == problem.session_id;
        let Some((_, pair)) = self.recent.iter().rev().find(is_it) else { return };
        let state = self.states.get_mut(pair);
        if let Some(state) = state.filter(|known| known.findings.len() < MAX_FINDINGS) {
            state.findings.insert(problem.rule);
            state.reasons.extend(problem.reason.filter(|_| state.reasons.len() < MAX_FINDINGS));
        }
    }

    fn settle(&mut self, attempt: PairAttempt) {
        attempt.sides.iter().for_each(|side| self.names.learn(side));
        if !decides(attempt.outcome) {
            self.undecided += 1;
            return;
        }
        let mut pair = attempt.sides;
        pair.sort();
        if self.states.len() >= self.capacity && !self.states.contains_key(&pair) {
            self.left_out += 1;
            return;
        }
        if attempt.outcome.is_failure() {
            remember(&mut self.recent, (attempt.session_id, pair.clone()), RECENT);
        }
        let own = state(attempt.outcome, attempt.at);
        match self.states.get_mut(&pair) {
            Some(state) => state.add(own),
            None => _ = self.states.insert(pair, own),
        }
    }

    /// The pairs by name; a node whose name is not found is given by its address.
    fn by_name(&self, names: &NodesByAddress) -> BTreeMap<[Arc<str>; 2], PairState> {
        let mut found: BTreeMap<_, PairState> = BTreeMap::new();
        for (sides, own) in &self.states {
            let mut pair = sides.each_ref().map(|side| names.of(side));
            pair.sort();
            match found.get_mut(&pair) {
                Some(state) => state.add(own.clone()),
                None => _ = found.insert(pair, own.clone()),
            }
        }
        found
    }
}

impl PairState {
    /// Adds the counts of the same pair, and takes the outcome of the later connection.
    fn add(&mut self, other: Self) {
        self.connected = self.connected.saturating_add(other.connected);
        self.failed = self.failed.saturating_add(other.failed);
        self.findings.extend(other.findings);
        self.reasons.extend(other.reasons);
        // Of two outcomes at the same time, the first in the order of `Outcome`: the order of records must not count.
        let is_later = (other.last, std::cmp::Reverse(other.outcome))
            > (self.last, std::cmp::Reverse(self.outcome));
        if is_later {
            (self.last, self.outcome) = (other.last, other.outcome);
        }
    }
}

fn state(outcome: Outcome, last: Timestamp) -> PairState {
    PairState {
        outcome,
        connected: u64::from(outcome == Outcome::Connected),
        failed: u64::from(outcome.is_failure()),
        last,
        findings: BTreeSet::new(),
        reasons: BTreeSet::new(),
    }
}

/// Whether an attempt with this outcome decides the state of its pair.
const fn decides(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Incomplete | Outcome::Superseded | Outcome::AlreadyConnected)
}

/// The names of the nodes that were seen at each address.
#[derive(Debug, Default)]
struct NodesByAddress {
    at: BTreeSet<(IpAddr, Arc<str>)>,
    capacity: usize,
}

impl NodesByAddress {
    fn learn(&mut self, side: &PairSide) {
        if let (PairSide::Named(node, ip), true) = (side, self.at.len() < self.capacity) {
            self.at.insert((*ip, Arc::clone(node)));
        }
    }

    /// The name of a side. A node without an answer has not sent its name; if only one node matches, the side has its
    /// name. A client that is not known to be a node never has one.
    fn of(&self, side: &PairSide) -> Arc<str> {
        match side {
            PairSide::Named(node, _) => Arc::clone(node),
            PairSide::LookedUp(alive, ip) => self
                .only(*ip, &format!("{alive}@"))
                .unwrap_or_else(|| format!("{alive}@{ip}").into()),
            PairSide::EpmdClient(ip) => self.only(*ip, "").unwrap_or_else(|| ip.to_string().into()),
            PairSide::Unknown(ip) => ip.to_string().into(),
        }
    }

    /// The only node at this address whose name begins with `prefix`.
    fn only(&self, ip: IpAddr, prefix: &str) -> Option<Arc<str>> {
        let from = (ip, Arc::from(prefix));
        let meant = |(at, node): &&(IpAddr, Arc<str>)| *at == ip && node.starts_with(prefix);
        let mut meant = self.at.range(from..).take_while(meant).map(|(_, node)| node);
        meant.next().filter(|_| meant.next().is_none()).cloned()
    }
}

/// How `after` differs from `before`: the pairs that changed, the worst kind first, and the counts.
pub fn compare(mut before: CapturePairs, mut after: CapturePairs) -> Vec<Event> {
    for pairs in [&mut before, &mut after] {
        let open = std::mem::take(&mut pairs.open);
        open.into_values().for_each(|attempt| pairs.settle(attempt));
    }
    let mut comparison = Comparison {
        undecided: before.undecided.saturating_add(after.undecided),
        left_out: before.left_out.saturating_add(after.left_out),
        ..Comparison::default()
    };
    // The name of a node in one capture is used for the other too, which may lack it.
    let mut names = std::mem::take(&mut before.names);
    names.at.append(&mut after.names.at);
    let (before, after) = (before.by_name(&names), after.by_name(&names));
    let pairs: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changed = Vec::new();
    let mut last = Timestamp::default();
    for nodes in pairs {
        let (before, after) = (before.get(nodes).cloned(), after.get(nodes).cloned());
        let Some(at) = after.as_ref().or(before.as_ref()).map(|it| it.last) else { continue };
        last = last.max(at);
        match turn(before.as_ref(), after.as_ref()) {
            None => comparison.unchanged += 1,
            Some(change) => {
                *comparison.changes.entry(change).or_default() += 1;
                let change = PairChange { change, nodes: nodes.clone(), before, after };
                changed.push((at, change));
            }
        }
    }
    changed.sort_by_key(|(_, change)| change.change);
    let alone = |at, body| Event { at, frame: None, input: None, connection: None, body };
    let mut events: Vec<_> = changed
        .into_iter()
        .map(|(at, change)| alone(at, Body::PairChange { pair_change: Box::new(change) }))
        .collect();
    events.push(alone(last, Body::Comparison { comparison: Box::new(comparison) }));
    events
}

fn turn(before: Option<&PairState>, after: Option<&PairState>) -> Option<PairChangeKind> {
    let (Some(before), Some(after)) = (before, after) else {
        return match (before, after) {
            (None, None) => None,
            (None, _) => Some(PairChangeKind::New),
            (_, None) => Some(PairChangeKind::Gone),
            (Some(_), Some(_)) => None,
        };
    };
    let (failed, fails) = (before.outcome.is_failure(), after.outcome.is_failure());
    match (before.outcome, after.outcome) {
        // A problem that several pairs have is found once, so a pair without one shows no other cause.
        (one, same) if one == same => {
            let are_known = !before.findings.is_empty() && !after.findings.is_empty();
            let are_same = (&before.findings, &before.reasons) == (&after.findings, &after.reasons);
            let has_changed = fails && are_known && !are_same;
            has_changed.then_some(PairChangeKind::Changed)
        }
        (Outcome::Connected, _) if fails => Some(PairChangeKind::Broken),
        (_, Outcome::Connected) if failed => Some(PairChangeKind::Fixed),
        _ => Some(PairChangeKind::Changed),
    }
}

/// Attempts of which the findings are expected: those of an attempt follow its record at once, or when a rule knows more.
const RECENT: usize = 256;

/// The rule that finds several reasons: its titles differ by these, by names and by ports alone.
const HAS_REASONS: &str = "tls-failure";

/// Maximum of findings of one pair: more than there are rules.
const MAX_FINDINGS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use Outcome::{Connected, CookieMismatch, Incomplete, NotDistribution, Refused, Superseded};

    fn at(second: u64) -> Timestamp {
        Timestamp::default().after(Duration::from_secs(second))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// An attempt that ends at a second; `id` names its connection.
    fn attempt(id: u64, second: u64, sides: [PairSide; 2], outcome: Outcome) -> PairAttempt {
        let session_id = format!("{id:016x}").into();
        PairAttempt { at: at(second), session_id, state: State::Closed, outcome, sides }
    }

    fn named(name: &str, address: &str) -> PairSide {
        PairSide::Named(name.into(), ip(address))
    }

    fn one_and_two() -> [PairSide; 2] {
        [named("one@h1", "10.0.0.1"), named("two@h2", "10.0.0.2")]
    }

    fn pairs(attempts: Vec<PairAttempt>) -> CapturePairs {
        let mut pairs = CapturePairs::new(&Limits::default());
        attempts.into_iter().for_each(|attempt| pairs.on_attempt(attempt));
        pairs
    }

    fn outcomes(outcomes: &[Outcome]) -> CapturePairs {
        let second = |(n, outcome)| attempt(n, n, one_and_two(), outcome);
        pairs((0..).zip(outcomes.iter().copied()).map(second).collect())
    }

    /// The changes as text, and the counts.
    fn differences(before: CapturePairs, after: CapturePairs) -> (Vec<String>, Comparison) {
        let mut changes = Vec::new();
        let state = |state: Option<PairState>| match state {
            Some(PairState { outcome, connected, failed, .. }) => {
                format!("{outcome:?} {connected}/{failed}")
            }
            None => "-".to_owned(),
        };
        for event in compare(before, after) {
            match event.body {
                Body::PairChange { pair_change } => {
                    let PairChange { change, nodes: [a, b], before, after } = *pair_change;
                    let (before, after) = (state(before), state(after));
                    changes.push(format!("{change:?} {a} {b}: {before} to {after}"));
                }
                Body::Comparison { comparison } => return (changes, *comparison),
                other => panic!("{other:?}"),
            }
        }
        panic!("no comparison")
    }

    #[test]
    fn the_last_decided_attempt_is_the_state_of_a_pair() {
        for (before, after, expected) in [
            (
                &[CookieMismatch, CookieMismatch][..],
                &[Connected][..],
                &["Fixed one@h1 two@h2: CookieMismatch 0/2 to Connected 1/0"][..],
            ),
            (
                &[CookieMismatch, Connected],
                &[Refused],
                &["Broken one@h1 two@h2: Connected 1/1 to Refused 0/1"],
            ),
            (
                &[Refused],
                &[Connected, CookieMismatch],
                &["Changed one@h1 two@h2: Refused 0/1 to CookieMismatch 1/1"],
            ),
            (&[], &[Refused], &["New one@h1 two@h2: - to Refused 0/1"]),
            (&[Connected], &[Incomplete], &["Gone one@h1 two@h2: Connected 1/0 to -"]),
            (&[Connected], &[Refused, Connected, Incomplete, Superseded], &[]),
            (&[Incomplete], &[Superseded], &[]),
        ] {
            let (changes, _) = differences(outcomes(before), outcomes(after));
            assert_eq!(changes, expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_pair_that_fails_for_another_reason_has_changed() {
        let failing = |rules: &[&str]| {
            let mut pairs = outcomes(&[Connected, Refused]);
            let session_id: Arc<str> = format!("{:016x}", 1).into();
            rules.iter().for_each(|rule| {
                let session_id = Arc::clone(&session_id);
                let (rule, title) = rule.split_once(": ").unwrap_or((rule, "refused"));
                pairs.on_problem(PairProblem::new(session_id, rule.into(), title));
            });
            pairs
        };
        let kinds =
            |before: &[&str], after: &[&str]| differences(failing(before), failing(after)).0.len();
        assert_eq!(kinds(&["dist-port-refused"], &["registration-lost"]), 1);
        assert_eq!(kinds(&["dist-port-refused"], &["dist-port-refused"]), 0);
        assert_eq!(kinds(&["dist-port-refused"], &[]), 0, "found at another pair");
        assert_eq!(kinds(&["tls-failure: a at 1, expired"], &["tls-failure: a at 2, unknown"]), 1);
        assert_eq!(kinds(&["tls-failure: a at 1, expired"], &["tls-failure: a at 2, expired"]), 0);
    }

    #[test]
    fn the_worst_kind_comes_first_and_all_is_counted() {
        let [one, two] = one_and_two();
        let three = named("three@h3", "10.0.0.3");
        let between =
            |a: &PairSide, b: &PairSide, outcome| attempt(0, 1, [a.clone(), b.clone()], outcome);
        let before = pairs(vec![
            between(&one, &two, Refused),
            between(&three, &one, Connected),
            between(&two, &three, Connected),
            between(&two, &three, Incomplete),
        ]);
        let after = pairs(vec![
            between(&two, &one, Connected),
            between(&one, &three, Refused),
            between(&three, &two, Connected),
        ]);
        let (changes, comparison) = differences(before, after);
        let expected = [
            "Broken one@h1 three@h3: Connected 1/0 to Refused 0/1",
            "Fixed one@h1 two@h2: Refused 0/1 to Connected 1/0",
        ];
        assert_eq!(changes, expected, "in either direction");
        assert_eq!((comparison.unchanged, comparison.undecided), (1, 1));
        assert_eq!(
            comparison.changes,
            [(PairChangeKind::Broken, 1), (PairChangeKind::Fixed, 1)].into()
        );
    }

    #[test]
    fn a_connection_counts_once_with_its_last_record() {
        let open = |second, state, outcome| PairAttempt {
            state,
            ..attempt(7, second, one_and_two(), outcome)
        };
        let before = pairs(vec![
            open(1, State::Established, Connected),
            attempt(8, 2, one_and_two(), Refused),
            open(3, State::Open, Connected),
        ]);
        let (changes, _) = differences(before, outcomes(&[CookieMismatch]));
        let expected = ["Broken one@h1 two@h2: Connected 1/1 to CookieMismatch 0/1"];
        assert_eq!(changes, expected, "the connection outlived the refusal");
    }

    #[test]
    fn a_node_without_an_answer_has_its_name_from_the_other_capture() {
        let dial = [
            PairSide::EpmdClient(ip("10.0.0.1")),
            PairSide::LookedUp("two".into(), ip("10.0.0.2")),
        ];
        let refused = || pairs(vec![attempt(0, 1, dial.clone(), Refused)]);
        let (changes, _) = differences(refused(), outcomes(&[Connected]));
        assert_eq!(changes, ["Fixed one@h1 two@h2: Refused 0/1 to Connected 1/0"]);
        let (changes, _) = differences(outcomes(&[Connected]), refused());
        assert_eq!(changes, ["Broken one@h1 two@h2: Connected 1/0 to Refused 0/1"]);
        // The other capture has no node at these addresses.
        let (changes, _) = differences(refused(), pairs(vec![]));
        assert_eq!(changes, ["Gone 10.0.0.1 two@10.0.0.2: Refused 0/1 to -"]);
        // The other capture has two names that match.
        let other = [named("other@h1", "10.0.0.1"), named("twofold@h2", "10.0.0.2")];
        let mut after = outcomes(&[Connected]);
        after.on_attempt(attempt(9, 1, other, Connected));
        let (changes, _) = differences(refused(), after);
        assert_eq!(changes[1], "New other@h1 twofold@h2: - to Connected 1/0");
        assert_eq!(changes[2], "Gone 10.0.0.1 two@h2: Refused 0/1 to -");
    }

    #[test]
    fn a_client_that_is_no_node_does_not_get_the_name_of_one() {
        let [_, two] = one_and_two();
        let junk = [PairSide::Unknown(ip("10.0.0.1")), two];
        let mut after = outcomes(&[Connected]);
        after.on_attempt(attempt(9, 5, junk, NotDistribution));
        let (changes, comparison) = differences(outcomes(&[Connected]), after);
        assert_eq!(changes, ["New 10.0.0.1 two@h2: - to NotDistribution 0/1"]);
        assert_eq!(comparison.unchanged, 1);
    }

    #[test]
    fn pairs_and_open_connections_have_a_bound() {
        let limits = Limits { connections: 2, nodes: 2, ..Limits::default() };
        let mut pairs = CapturePairs::new(&limits);
        for n in 0..9 {
            let sides = [named(&format!("n{n}@h"), "10.0.0.1"), named("x@h", "10.0.0.2")];
            pairs.on_attempt(PairAttempt {
                state: State::Established,
                ..attempt(n, n, sides, Connected)
            });
        }
        assert!(pairs.open.len() <= 2 && pairs.states.len() <= 2 && pairs.names.at.len() <= 2);
        let (changes, comparison) = differences(CapturePairs::new(&limits), pairs);
        assert_eq!((changes.len(), comparison.left_out), (2, 7));
    }
}
