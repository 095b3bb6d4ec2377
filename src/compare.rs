//! Beside the stages: which pairs of nodes stand otherwise in one capture than in another.
//!
//! In: the session records of two captures, as events or read back from lines. Out: an event for each
//! pair that changed, and one with the counts. A pair is two nodes in either order, as far as they are
//! named; knows nothing of where records come from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::Limits;
use crate::record::{
    Body, Comparison, Event, Outcome, PairChange, PairChangeKind, PairState, Party, State,
};
use crate::time::Timestamp;

/// What one session record says about a pair of nodes.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it was told.
    pub at: Timestamp,
    /// The connection.
    pub session_id: Arc<str>,
    /// Where it stood.
    pub state: State,
    /// What had come of it.
    pub outcome: Outcome,
    /// Who dialed, and who was dialed.
    pub sides: [Side; 2],
}

/// One of two nodes, by the best name there is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// By the name that it gave, with its address.
    Named(Arc<str>, IpAddr),
    /// By the name that was asked for at its address.
    Asked(Arc<str>, IpAddr),
    /// Somebody at this address who had asked a port mapper, as nodes do.
    Asker(IpAddr),
    /// Somebody at this address.
    Unknown(IpAddr),
}

impl Attempt {
    /// The two sides of a connection from `src` to `dst`; `asked` is the name in the look-up that led
    /// to it, and `nodes` is what each gave as its own.
    pub fn sides(
        [src, dst]: [IpAddr; 2],
        nodes: [Option<Arc<str>>; 2],
        asked: Option<Arc<str>>,
    ) -> [Side; 2] {
        let [initiator, acceptor] = nodes;
        let asker = if asked.is_some() { Side::Asker(src) } else { Side::Unknown(src) };
        [
            initiator.map_or(asker, |node| Side::Named(node, src)),
            match (acceptor, asked) {
                (Some(node), _) => Side::Named(node, dst),
                (None, Some(asked)) => Side::Asked(asked, dst),
                (None, None) => Side::Unknown(dst),
            },
        ]
    }

    /// What an event says, where it is about a connection between nodes.
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

/// The pairs of one capture.
#[derive(Debug)]
pub struct Pairs {
    states: HashMap<[Side; 2], PairState>,
    /// Connections that may be told of again, as last told of.
    open: HashMap<Arc<str>, Attempt>,
    names: Names,
    undecided: u64,
    left_out: u64,
    capacity: usize,
}

impl Pairs {
    /// None yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            states: HashMap::new(),
            open: HashMap::new(),
            names: Names { at: BTreeSet::new(), capacity: limits.nodes },
            undecided: 0,
            left_out: 0,
            capacity: limits.connections,
        }
    }

    /// Takes note of one record. The last of a connection is the one that counts.
    pub fn on_attempt(&mut self, attempt: Attempt) {
        self.open.remove(&attempt.session_id);
        if attempt.state == State::Closed || self.open.len() >= self.capacity {
            self.settle(attempt);
        } else {
            self.open.insert(Arc::clone(&attempt.session_id), attempt);
        }
    }

    fn settle(&mut self, attempt: Attempt) {
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
        let own = state(attempt.outcome, attempt.at);
        self.states.entry(pair).and_modify(|state| state.add(own)).or_insert(own);
    }

    /// The pairs by name, and what no name was found for by address.
    fn by_name(&self, names: &Names) -> BTreeMap<[Arc<str>; 2], PairState> {
        let mut found: BTreeMap<_, PairState> = BTreeMap::new();
        for (sides, own) in &self.states {
            let mut pair = sides.each_ref().map(|side| names.of(side));
            pair.sort();
            found.entry(pair).and_modify(|state| state.add(*own)).or_insert(*own);
        }
        found
    }
}

impl PairState {
    /// Takes in what else is known of the same pair.
    fn add(&mut self, other: Self) {
        self.connected = self.connected.saturating_add(other.connected);
        self.failed = self.failed.saturating_add(other.failed);
        // At one moment, whichever comes first in the order of outcomes: no order of records counts.
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
    }
}

/// Whether an attempt that ended so says how the two stand.
const fn decides(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Incomplete | Outcome::Superseded | Outcome::AlreadyConnected)
}

/// Which nodes were seen at which address.
#[derive(Debug, Default)]
struct Names {
    at: BTreeSet<(IpAddr, Arc<str>)>,
    capacity: usize,
}

impl Names {
    fn learn(&mut self, side: &Side) {
        if let (Side::Named(node, ip), true) = (side, self.at.len() < self.capacity) {
            self.at.insert((*ip, Arc::clone(node)));
        }
    }

    /// A node that got no answer has not said its name; where one node alone fits, it is taken to be
    /// that one. What spoke without being a node is nobody.
    fn of(&self, side: &Side) -> Arc<str> {
        match side {
            Side::Named(node, _) => Arc::clone(node),
            Side::Asked(alive, ip) => self
                .only(*ip, &format!("{alive}@"))
                .unwrap_or_else(|| format!("{alive}@{ip}").into()),
            Side::Asker(ip) => self.only(*ip, "").unwrap_or_else(|| ip.to_string().into()),
            Side::Unknown(ip) => ip.to_string().into(),
        }
    }

    /// The one node at this address whose name begins so.
    fn only(&self, ip: IpAddr, prefix: &str) -> Option<Arc<str>> {
        let from = (ip, Arc::from(prefix));
        let meant = |(at, node): &&(IpAddr, Arc<str>)| *at == ip && node.starts_with(prefix);
        let mut meant = self.at.range(from..).take_while(meant).map(|(_, node)| node);
        meant.next().filter(|_| meant.next().is_none()).cloned()
    }
}

/// How `after` differs from `before`: the pairs that changed, the worst kind first, and the counts.
pub fn compare(mut before: Pairs, mut after: Pairs) -> Vec<Event> {
    for pairs in [&mut before, &mut after] {
        let open = std::mem::take(&mut pairs.open);
        open.into_values().for_each(|attempt| pairs.settle(attempt));
    }
    let mut comparison = Comparison {
        undecided: before.undecided.saturating_add(after.undecided),
        left_out: before.left_out.saturating_add(after.left_out),
        ..Comparison::default()
    };
    // What one capture tells of a node holds for the other: only one of them may show its name.
    let mut names = std::mem::take(&mut before.names);
    names.at.append(&mut after.names.at);
    let (before, after) = (before.by_name(&names), after.by_name(&names));
    let pairs: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changed = Vec::new();
    let mut last = Timestamp::default();
    for nodes in pairs {
        let (before, after) = (before.get(nodes).copied(), after.get(nodes).copied());
        let Some(state) = after.or(before) else { continue };
        last = last.max(state.last);
        match turn(before.map(|it| it.outcome), after.map(|it| it.outcome)) {
            None => comparison.unchanged += 1,
            Some(change) => {
                *comparison.changes.entry(change).or_default() += 1;
                let change = PairChange { change, nodes: nodes.clone(), before, after };
                changed.push((state.last, change));
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

fn turn(before: Option<Outcome>, after: Option<Outcome>) -> Option<PairChangeKind> {
    match (before, after) {
        (before, after) if before == after => None,
        (None, _) => Some(PairChangeKind::New),
        (_, None) => Some(PairChangeKind::Gone),
        (Some(Outcome::Connected), Some(after)) if after.is_failure() => {
            Some(PairChangeKind::Broken)
        }
        (Some(before), Some(Outcome::Connected)) if before.is_failure() => {
            Some(PairChangeKind::Fixed)
        }
        (Some(_), Some(_)) => Some(PairChangeKind::Changed),
    }
}

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
    fn attempt(id: u64, second: u64, sides: [Side; 2], outcome: Outcome) -> Attempt {
        let session_id = format!("{id:016x}").into();
        Attempt { at: at(second), session_id, state: State::Closed, outcome, sides }
    }

    fn named(name: &str, address: &str) -> Side {
        Side::Named(name.into(), ip(address))
    }

    fn one_and_two() -> [Side; 2] {
        [named("one@h1", "10.0.0.1"), named("two@h2", "10.0.0.2")]
    }

    fn pairs(attempts: Vec<Attempt>) -> Pairs {
        let mut pairs = Pairs::new(&Limits::default());
        attempts.into_iter().for_each(|attempt| pairs.on_attempt(attempt));
        pairs
    }

    fn outcomes(outcomes: &[Outcome]) -> Pairs {
        let second = |(n, outcome)| attempt(n, n, one_and_two(), outcome);
        pairs((0..).zip(outcomes.iter().copied()).map(second).collect())
    }

    /// Changes as text, and the counts.
    fn changes(before: Pairs, after: Pairs) -> (Vec<String>, Comparison) {
        let mut told = Vec::new();
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
                    told.push(format!("{change:?} {a} {b}: {before} to {after}"));
                }
                Body::Comparison { comparison } => return (told, *comparison),
                other => panic!("{other:?}"),
            }
        }
        panic!("no comparison")
    }

    #[test]
    fn the_last_attempt_that_decided_is_how_a_pair_stands() {
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
            let (told, _) = changes(outcomes(before), outcomes(after));
            assert_eq!(told, expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_worst_kind_comes_first_and_all_is_counted() {
        let [one, two] = one_and_two();
        let three = named("three@h3", "10.0.0.3");
        let between = |a: &Side, b: &Side, outcome| attempt(0, 1, [a.clone(), b.clone()], outcome);
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
        let (told, comparison) = changes(before, after);
        let expected = [
            "Broken one@h1 three@h3: Connected 1/0 to Refused 0/1",
            "Fixed one@h1 two@h2: Refused 0/1 to Connected 1/0",
        ];
        assert_eq!(told, expected, "whoever dialed");
        assert_eq!((comparison.unchanged, comparison.undecided), (1, 1));
        assert_eq!(
            comparison.changes,
            [(PairChangeKind::Broken, 1), (PairChangeKind::Fixed, 1)].into()
        );
    }

    #[test]
    fn a_connection_counts_once_and_as_last_told() {
        let open = |second, state, outcome| Attempt {
            state,
            ..attempt(7, second, one_and_two(), outcome)
        };
        let before = pairs(vec![
            open(1, State::Established, Connected),
            attempt(8, 2, one_and_two(), Refused),
            open(3, State::Open, Connected),
        ]);
        let (told, _) = changes(before, outcomes(&[CookieMismatch]));
        let expected = ["Broken one@h1 two@h2: Connected 1/1 to CookieMismatch 0/1"];
        assert_eq!(told, expected, "the connection outlived the refusal");
    }

    #[test]
    fn who_got_no_answer_is_named_by_what_the_other_capture_shows() {
        let dial = [Side::Asker(ip("10.0.0.1")), Side::Asked("two".into(), ip("10.0.0.2"))];
        let refused = || pairs(vec![attempt(0, 1, dial.clone(), Refused)]);
        let (told, _) = changes(refused(), outcomes(&[Connected]));
        assert_eq!(told, ["Fixed one@h1 two@h2: Refused 0/1 to Connected 1/0"]);
        let (told, _) = changes(outcomes(&[Connected]), refused());
        assert_eq!(told, ["Broken one@h1 two@h2: Connected 1/0 to Refused 0/1"]);
        // Nobody is known there.
        let (told, _) = changes(refused(), pairs(vec![]));
        assert_eq!(told, ["Gone 10.0.0.1 two@10.0.0.2: Refused 0/1 to -"]);
        // Two are.
        let other = [named("other@h1", "10.0.0.1"), named("twofold@h2", "10.0.0.2")];
        let mut after = outcomes(&[Connected]);
        after.on_attempt(attempt(9, 1, other, Connected));
        let (told, _) = changes(refused(), after);
        assert_eq!(told[1], "New other@h1 twofold@h2: - to Connected 1/0");
        assert_eq!(told[2], "Gone 10.0.0.1 two@h2: Refused 0/1 to -");
    }

    #[test]
    fn what_is_no_node_is_not_taken_for_one() {
        let [_, two] = one_and_two();
        let junk = [Side::Unknown(ip("10.0.0.1")), two];
        let mut after = outcomes(&[Connected]);
        after.on_attempt(attempt(9, 5, junk, NotDistribution));
        let (told, comparison) = changes(outcomes(&[Connected]), after);
        assert_eq!(told, ["New 10.0.0.1 two@h2: - to NotDistribution 0/1"]);
        assert_eq!(comparison.unchanged, 1);
    }

    #[test]
    fn pairs_and_open_connections_have_a_bound() {
        let limits = Limits { connections: 2, nodes: 2, ..Limits::default() };
        let mut pairs = Pairs::new(&limits);
        for n in 0..9 {
            let sides = [named(&format!("n{n}@h"), "10.0.0.1"), named("x@h", "10.0.0.2")];
            pairs.on_attempt(Attempt {
                state: State::Established,
                ..attempt(n, n, sides, Connected)
            });
        }
        assert!(pairs.open.len() <= 2 && pairs.states.len() <= 2 && pairs.names.at.len() <= 2);
        let (told, comparison) = changes(Pairs::new(&limits), pairs);
        assert_eq!((told.len(), comparison.left_out), (2, 7));
    }
}
