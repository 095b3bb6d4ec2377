//! Messages of a stream become the lines of each run again.
//!
//! In: messages, in any order and any number of times. Out: for each run its lines in order, each once, and what is missing
//! of them. Whether a line is an observation is not known here.

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher as _;

use beamscope::limits::MergeLimits;
use beamscope::observe::{Anomaly, AnomalyKind};
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::process::StreamMessage;
use crate::cli::stop::Moment;

/// The messages of all runs so far.
#[derive(Debug)]
pub(in crate::cli) struct Gathering {
    runs: BTreeMap<RunKey, RunLines>,
    /// Messages that belong to no run, by sensor.
    others: BTreeMap<String, u64>,
    /// As many facts are still kept.
    left: usize,
    /// Whether there are runs of which nothing is kept.
    is_cut: bool,
    /// Runs that have ended, the one that did so first in front, if they make room for others.
    ended: Option<VecDeque<RunKey>>,
    /// Digests of the runs that made room.
    forgotten: HashSet<u64, RandomState>,
}

/// The name of a sensor in subjects, and the number of its run.
type RunKey = (String, String);

#[derive(Debug, Default)]
struct RunLines {
    lines: BTreeMap<u64, Vec<u8>>,
    /// What its lines take of what may be kept.
    cost: usize,
    /// When a line of it came last.
    arrived: Option<Moment>,
    /// Number of messages with the number of another one, and other contents.
    contradicting: u64,
    /// Whether lines are left out, because there are too many in all.
    is_cut: bool,
    /// Whether its end was seen.
    has_ended: bool,
}

/// A run, as far as it is known.
#[derive(Debug)]
pub(in crate::cli) struct GatheredRun {
    /// The run, for messages.
    pub(in crate::cli) name: String,
    /// Its lines, as a file would have them, up to the first one that is missing.
    pub(in crate::cli) lines: Vec<u8>,
    /// What is missing of it.
    pub(in crate::cli) faults: Vec<Anomaly>,
    /// When a line of it came last.
    pub(in crate::cli) arrived: Option<Moment>,
    key: RunKey,
}

impl Gathering {
    /// Keeps as much as the bounds permit.
    pub(in crate::cli) fn new(limits: &MergeLimits) -> Self {
        Self {
            runs: BTreeMap::new(),
            others: BTreeMap::new(),
            left: limits.facts,
            is_cut: false,
            ended: None,
            forgotten: HashSet::default(),
        }
    }

    /// The same, for runs without end: `left` facts are kept, and runs that have ended make room for others.
    pub(in crate::cli) fn following(left: usize) -> Self {
        let limits = MergeLimits { facts: left, ..MergeLimits::default() };
        Self { ended: Some(VecDeque::new()), ..Self::new(&limits) }
    }

    /// Notes that a run has ended.
    pub(in crate::cli) fn on_end(&mut self, run: &GatheredRun) {
        if let Some(ended) = &mut self.ended
            && let Some(known) = self.runs.get_mut(&run.key)
            && !std::mem::replace(&mut known.has_ended, true)
        {
            ended.push_back(run.key.clone());
        }
    }

    /// Number of runs that made room for others.
    pub(in crate::cli) fn forgotten(&self) -> usize {
        self.forgotten.len()
    }

    fn has_forgotten(&self, run: &RunKey) -> bool {
        self.forgotten.contains(&self.forgotten.hasher().hash_one(run))
    }

    /// Makes room for a line, as far as runs have ended.
    fn make_room(&mut self, cost: usize) {
        while self.left < cost
            && self.forgotten.len() < MOST_FORGOTTEN
            && let Some(oldest) = self.ended.as_mut().and_then(VecDeque::pop_front)
        {
            self.left += self.runs.remove(&oldest).map_or(0, |run| run.cost);
            self.forgotten.insert(self.forgotten.hasher().hash_one(&oldest));
        }
    }

    /// Adds a message; one that is there already changes nothing.
    pub(in crate::cli) fn add(&mut self, message: StreamMessage) {
        let StreamMessage { subject, id, payload } = message;
        let sensor = subject.rsplit('.').nth(1).unwrap_or_default().to_owned();
        let Some((run, number)) = numbers(&id) else {
            // So many sensors that their names would take room are not named one by one.
            let name = if self.others.len() < MOST_OTHERS { sensor } else { String::new() };
            *self.others.entry(name).or_default() += 1;
            return;
        };
        // The name of a sensor may be longer than what its run has.
        let cost = MergeLimits::cost(payload.len() + sensor.len());
        let key = (sensor, run.to_owned());
        let known = self.runs.get(&key).and_then(|run| run.lines.get(&number));
        if known == Some(&payload) || self.has_forgotten(&key) {
            return;
        }
        self.make_room(cost);
        // The run itself may have made room.
        if self.has_forgotten(&key) {
            return;
        }
        if self.left < cost && !self.runs.contains_key(&key) {
            self.is_cut = true;
            return;
        }
        let known = self.runs.entry(key).or_default();
        match known.lines.get(&number) {
            Some(_) => known.contradicting += 1,
            None if self.left < cost => known.is_cut = true,
            None => {
                self.left -= cost;
                known.cost += cost;
                known.arrived = Some(Moment::now());
                known.lines.insert(number, payload);
            }
        }
    }

    /// What of the messages is in no run.
    pub(in crate::cli) fn faults(&self) -> Vec<Anomaly> {
        let unread = |(sensor, messages): (&String, &u64)| {
            let detail = format!(
                "{messages} messages of sensor {sensor:?} have no number of an observation, and are not used"
            );
            Anomaly::new(AnomalyKind::InputUnreadable, detail)
        };
        let cut = self.is_cut.then(|| {
            let detail =
                "more facts than --max-memory permits of all inputs: some runs are not used";
            Anomaly::new(AnomalyKind::Limit, detail.to_owned())
        });
        self.others.iter().map(unread).chain(cut).collect()
    }

    /// Whether no message came so far.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.others.is_empty()
    }

    /// The runs, sorted by sensor and number.
    pub(in crate::cli) fn runs(&self) -> impl Iterator<Item = GatheredRun> {
        self.runs.iter().map(|((sensor, run), known)| known.gathered(sensor, run))
    }
}

impl RunLines {
    fn gathered(&self, sensor: &str, run: &str) -> GatheredRun {
        let name = format!("run {run} of sensor {sensor}");
        let mut lines = Vec::new();
        // Behind a gap nothing is used: what is missing may clear a node that what follows accuses.
        let in_order = self.lines.iter().zip(0..).take_while(|((number, _), at)| *number == at);
        let mut used = 0;
        for ((_, line), _) in in_order {
            // A message with several lines would pass for several observations.
            lines.extend(line.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
            lines.push(b'\n');
            used += 1;
        }
        let fault = |kind, what: String| Anomaly::new(kind, format!("{name}: {what}"));
        let mut faults = Vec::new();
        let last = self.lines.keys().next_back().map_or(0, |last| last.saturating_add(1));
        let missing = last.saturating_sub(self.lines.len() as u64);
        if missing > 0 {
            let what = format!(
                "{missing} of {last} observations are missing, the first of them is number {used}; the rest of this run is not used"
            );
            faults.push(fault(AnomalyKind::InputTruncated, what));
        }
        if self.contradicting > 0 {
            let what = format!(
                "{} messages have the number of another one and are not used",
                self.contradicting
            );
            faults.push(fault(AnomalyKind::InputCorrupt, what));
        }
        if self.is_cut {
            let what = "more facts than --max-memory permits of all inputs: the rest of this run is not used";
            faults.push(fault(AnomalyKind::Limit, what.to_owned()));
        }
        let key = (sensor.to_owned(), run.to_owned());
        GatheredRun { name, lines, faults, arrived: self.arrived, key }
    }
}

/// The run of a message id, and the number of the line.
fn numbers(id: &str) -> Option<(&str, u64)> {
    let (run, number) = id.split_once('-')?;
    let is_run = run.len() == RUN_DIGITS && run.bytes().all(|it| it.is_ascii_hexdigit());
    is_run.then_some((run, number.parse().ok()?))
}

/// Runs that may make room. Their digests take 16 MiB at most.
const MOST_FORGOTTEN: usize = 1 << 20;

/// Digits of the number of a run.
const RUN_DIGITS: usize = 16;

/// Sensors whose messages are counted apart.
const MOST_OTHERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, payload: &str) -> StreamMessage {
        let (subject, id) = ("beamscope.a.run".to_owned(), id.to_owned());
        StreamMessage { subject, id, payload: payload.as_bytes().to_vec() }
    }

    fn gathered(messages: &[(&str, &str)]) -> Gathering {
        let mut gathering = Gathering::new(&MergeLimits::default());
        messages.iter().for_each(|(id, payload)| gathering.add(message(id, payload)));
        gathering
    }

    #[test]
    fn the_order_of_messages_and_how_often_they_come_changes_nothing() {
        let [zero, one, two] =
            [("00000000000000aa-0", "0"), ("00000000000000aa-1", "1"), ("00000000000000aa-2", "2")];
        for messages in [&[zero, one, two][..], &[two, one, zero, one, two, two]] {
            let runs: Vec<_> = gathered(messages).runs().collect();
            let [run] = &*runs else { panic!("{runs:?}") };
            assert_eq!((&*run.lines, run.faults.len()), (&b"0\n1\n2\n"[..], 0));
        }
    }

    #[test]
    fn what_is_missing_or_contradicts_is_named() {
        let gathering = gathered(&[
            ("00000000000000aa-0", "0"),
            ("00000000000000aa-4", "4"),
            ("00000000000000aa-4", "other\nlines"),
            ("00000000000000bb-0", "a\nb"),
            ("", "garbage"),
            ("x-1", "garbage"),
            ("00000000000000aa-x", "garbage"),
        ]);
        let runs: Vec<_> = gathering.runs().collect();
        let [first, second] = &*runs else { panic!("{runs:?}") };
        let details: Vec<_> = first.faults.iter().map(|it| &*it.detail).collect();
        let run = "run 00000000000000aa of sensor a";
        assert_eq!(
            details,
            [
                format!(
                    "{run}: 3 of 5 observations are missing, the first of them is number 1; the rest of this run is not used"
                ),
                format!("{run}: 1 messages have the number of another one and are not used"),
            ]
        );
        assert_eq!((&*first.lines, &*second.lines), (&b"0\n"[..], &b"a b\n"[..]));
        let unread: Vec<_> = gathering.faults().into_iter().map(|it| it.detail).collect();
        let wanted =
            "3 messages of sensor \"a\" have no number of an observation, and are not used";
        assert_eq!(unread, [wanted]);
    }

    #[test]
    fn what_is_beyond_the_bound_is_not_kept() {
        let limits = MergeLimits { facts: 2, ..MergeLimits::default() };
        let mut gathering = Gathering::new(&limits);
        (0..5).for_each(|n| gathering.add(message(&format!("00000000000000aa-{n}"), "x")));
        let runs: Vec<_> = gathering.runs().collect();
        assert_eq!(runs[0].lines, b"x\nx\n");
        assert!(runs[0].faults[0].detail.contains("--max-memory"));
        assert!(!gathering.is_cut);
        (0..5).for_each(|n| gathering.add(message(&format!("{n:016x}-0"), "x")));
        assert!(gathering.is_cut);
        assert_eq!(gathering.runs().count(), 1, "a run of which nothing is kept takes no memory");
    }

    #[test]
    fn a_run_that_has_ended_makes_room_for_others_and_none_for_itself() {
        let mut gathering = Gathering::following(2);
        let whole = |gathering: &Gathering| {
            let runs = gathering.runs().filter(|it| it.faults.is_empty());
            runs.map(|it| it.lines.len()).collect::<Vec<_>>()
        };
        (0..2).for_each(|n| gathering.add(message(&format!("00000000000000aa-{n}"), "x")));
        let ended = gathering.runs().next().unwrap();
        gathering.on_end(&ended);
        gathering.on_end(&ended);
        gathering.add(message("00000000000000aa-1", "x"));
        assert_eq!((whole(&gathering), gathering.forgotten()), (vec![4], 0));
        gathering.add(message("00000000000000bb-0", "x"));
        assert_eq!((whole(&gathering), gathering.forgotten()), (vec![2], 1));
        gathering.add(message("00000000000000aa-1", "x"));
        assert_eq!((whole(&gathering), gathering.forgotten()), (vec![2], 1));
        // What comes behind its end.
        let ended = gathering.runs().next().unwrap();
        gathering.on_end(&ended);
        gathering.add(message("00000000000000bb-1", "x"));
        gathering.add(message("00000000000000bb-2", "x"));
        assert_eq!((gathering.runs().count(), gathering.forgotten()), (0, 2));
    }

    #[test]
    fn a_long_name_of_a_sensor_counts() {
        let limits = MergeLimits { facts: 100, ..MergeLimits::default() };
        let mut gathering = Gathering::new(&limits);
        let subject = format!("beamscope.{}.run", "a".repeat(50 * MergeLimits::FACT_BYTES));
        for n in 0..5 {
            let (subject, id) = (subject.clone(), format!("{n:016x}-0"));
            gathering.add(StreamMessage { subject, id, payload: b"x".to_vec() });
        }
        assert_eq!((gathering.runs().count(), gathering.is_cut), (2, true));
    }
}
