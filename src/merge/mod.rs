//! What several sensors saw, as one run over everything would have it.
//!
//! In: the facts of each sensor, in any order and any number of times. Out: one sequence of facts for the engine. Nothing
//! depends on the order of the sensors: they are sorted by their names, then by a digest of what they recorded, and what
//! is there twice counts once.

mod align;
mod connections;
mod hosts;
mod join;
mod place;
mod translated;

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use self::connections::{Coverage, unite};
use self::hosts::{HostInputs, is_file_name};
use self::place::{Placed as _, SensorPlace};
use crate::limits::MergeLimits;
use crate::observe::{Anomaly, AnomalyKind, Fact, Recorded, Totals, VERSION};
use crate::time::Timestamp;

/// What one run of one sensor recorded.
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of the sensor. Parts of one name share a clock.
    pub sensor: Arc<str>,
    /// Names of the inputs that its facts are numbered by.
    pub inputs: Vec<Arc<str>>,
    /// Digest of the recorded facts, with the name of the sensor and those of the inputs.
    pub digest: Arc<str>,
    /// The facts in any order.
    pub facts: Vec<Recorded>,
    /// What of it could not be read.
    pub faults: Vec<Anomaly>,
    /// How far a run that goes on is known; `None` for one that is over.
    pub going: Option<GoingRun>,
}

/// How far a run is known that goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GoingRun {
    /// Up to its last fact: more may be on the way.
    UpToItsLastFact,
    /// Up to now: nothing came for a while, so that there is nothing more so far.
    UpToNow,
    /// Up to where this merge ends, as a capture that a signal ends.
    UpToTheEnd,
}

impl Part {
    /// Whether it has the end of its run.
    pub fn has_end(&self) -> bool {
        self.facts.iter().any(|it| matches!(it.fact, Fact::End(_)))
    }

    /// Whether it has the end of its run or goes on, and all of it could be read.
    pub fn is_complete(&self) -> bool {
        self.faults.is_empty() && (self.has_end() || self.going.is_some())
    }

    /// The clock up to which it is known, if that is not all of the time.
    fn reach(&self) -> Option<Timestamp> {
        let last = || self.facts.iter().map(|it| it.clock).max();
        if self.going == Some(GoingRun::UpToItsLastFact) { last() } else { None }
    }
}

/// The facts of all sensors.
#[derive(Debug, Default)]
pub struct Merged {
    /// In the order in which they are judged.
    pub facts: Vec<Recorded>,
    /// Names of the inputs that they are numbered by.
    pub inputs: Vec<Arc<str>>,
}

/// Joins what the sensors recorded.
///
/// While a run goes on, what is later than it is known is left out, and there is no end.
pub fn merge(mut parts: Vec<Part>, limits: &MergeLimits) -> Merged {
    parts.sort_by(|a, b| (&a.sensor, &a.digest).cmp(&(&b.sensor, &b.digest)));
    parts.dedup_by(|a, b| a.digest == b.digest);
    let mut inputs = InputTable::new(&parts, limits.inputs);
    let shifts = align::align(&parts);
    let (mut hosts, mut covered) = (HostInputs::default(), Vec::new());
    let all = parts.iter().map(|part| part.facts.len()).sum();
    let (mut facts, mut totals, mut end) = (Vec::with_capacity(all), Totals::default(), None);
    // What one sensor saw is judged once it is known what the others saw by then.
    let reached =
        parts.iter().zip(&shifts).filter_map(|(part, it)| Some(part.reach()?.shifted(it.nanos)));
    let reached = reached.min();
    let is_over = |part: &Part| matches!(part.going, None | Some(GoingRun::UpToTheEnd));
    let is_over = parts.iter().all(is_over);
    for (rank, (mut part, shift)) in parts.into_iter().zip(shifts).enumerate() {
        let own = if part.inputs.is_empty() { &[Arc::clone(&part.sensor)] } else { &*part.inputs };
        let numbers: Vec<u16> = own.iter().map(|name| inputs.number(&part.sensor, name)).collect();
        if let ([name], [number]) = (own, &*numbers) {
            hosts.add_run(&part.sensor, name, *number);
        }
        let place = SensorPlace { inputs: numbers, shift: shift.nanos };
        add_faults(&mut part, shift.note);
        let mut span = Coverage::default();
        for mut fact in part.facts {
            fact.place(&place);
            if reached.is_some_and(|reached| fact.clock > reached) {
                continue;
            }
            match fact.fact {
                Fact::End(counts) => {
                    span.add(counts.first.into_iter().chain(counts.last));
                    totals.add(&counts);
                    end = end.max(Some((fact.clock, fact.sequence)));
                }
                _ => {
                    span.add([fact.clock]);
                    facts.push((rank, fact));
                }
            }
        }
        covered.push(span);
    }
    let mut facts = unite(facts, &covered, &mut totals, &mut hosts);
    facts.sort_by_key(|(rank, it)| (it.clock, it.sequence, *rank));
    let mut facts: Vec<_> = facts.into_iter().map(|(_, fact)| fact).collect();
    facts.iter_mut().for_each(|it| hosts.mark(&mut it.fact));
    if let Some((clock, sequence)) = end.filter(|_| is_over) {
        let fact = Fact::End(Box::new(totals));
        facts.push(Recorded { version: VERSION, clock, sequence, fact });
    }
    Merged { facts, inputs: inputs.names }
}

/// Adds what of a part could not be read, as facts behind those that could, and the correction of its clock before them.
fn add_faults(part: &mut Part, note: Option<Anomaly>) {
    let clocks = || part.facts.iter().map(|it| it.clock);
    let (first, last) = (clocks().min().unwrap_or_default(), clocks().max().unwrap_or_default());
    if part.faults.is_empty() && part.going.is_none() && !part.has_end() {
        let detail = "the observations have no end: the run that wrote them was cut short, or a part of the file is missing";
        part.faults.push(Anomaly::new(AnomalyKind::InputTruncated, detail.to_owned()));
    }
    let fault = |(clock, sequence), anomaly| {
        let fact = Fact::Run { at: clock, input: Some(0), anomaly };
        Recorded { version: VERSION, clock, sequence, fact }
    };
    let next = part.facts.iter().map(|it| it.sequence).max().map_or(0, |it| it.saturating_add(1));
    let faults = part.faults.drain(..).map(|anomaly| fault((last, next), anomaly));
    part.facts.extend(faults.chain(note.map(|note| fault((first, 0), note))));
}

/// The inputs of all sensors.
struct InputTable {
    names: Vec<Arc<str>>,
    numbers: HashMap<(Arc<str>, Arc<str>), u16, RandomState>,
    /// Whether the name of an input alone does not show which one it is.
    has_sensors: bool,
    most: usize,
}

impl InputTable {
    fn new(parts: &[Part], most: usize) -> Self {
        let has_sensors =
            parts.windows(2).any(|pair| matches!(pair, [a, b] if a.sensor != b.sensor));
        let most = most.min(usize::from(u16::MAX));
        Self { names: Vec::new(), numbers: HashMap::default(), has_sensors, most }
    }

    /// The number of an input. Those that the table has no room for share the last one.
    fn number(&mut self, sensor: &Arc<str>, input: &Arc<str>) -> u16 {
        let key = (Arc::clone(sensor), Arc::clone(input));
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        if self.names.len() >= self.most {
            return u16::try_from(self.names.len().saturating_sub(1)).unwrap_or_default();
        }
        let number = u16::try_from(self.names.len()).unwrap_or_default();
        let is_plain = !self.has_sensors || is_file_name(sensor, input);
        self.names.push(if is_plain {
            Arc::clone(input)
        } else {
            format!("{sensor}:{input}").into()
        });
        self.numbers.insert(key, number);
        number
    }
}
