//! The second half of the engine: facts to events.
//!
//! In: facts, in the order of [`Recorded::clock`](crate::observe::Recorded::clock). Out: [`Conclusions`]. Knows no
//! packet and no connection in progress, so it gives the same for facts that were written to a file, sorted and read
//! back, or that come from several runs.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::decode::Endpoint;
use crate::detect::{Detector, Rule};
use crate::judge::world::{HomeNets, World};
use crate::judge::{JudgedConnection, Outcome, Verdict, judge};
use crate::limits::Limits;
use crate::observe::{
    EpmdObservation, Fact, Observation, Occasion, Recorded, Role, Settled, State,
};
use crate::record::{
    Anomaly, AnomalyKind, Body, Cluster, Epmd, Event, Handshake, Node, Problems, Session,
};
use crate::time::Timestamp;

/// Makes events of facts: judges connections, remembers what they show of others, and applies the rules.
pub struct Reducer {
    world: World,
    detector: Detector,
    reports: Reports,
    /// Latest time of a fact.
    now: Timestamp,
    /// Number of facts that were forgotten when that was looked at last.
    forgotten: u64,
    /// What of it was reported, each kind once.
    reported: Vec<&'static str>,
}

/// What follows from one fact.
#[derive(Debug, Default)]
pub struct Conclusions {
    /// Events in the order in which they are reported.
    pub events: Vec<Event>,
    /// Endpoints at which a node listens; some may have been reported before.
    pub node_ports: Vec<Endpoint>,
    /// Outcomes of connections that no observation follows on.
    pub ended: Vec<Outcome>,
}

impl Reducer {
    /// A reducer before its first fact.
    pub fn new(limits: &Limits, home: HomeNets) -> Self {
        Self {
            world: World::new(limits, home),
            detector: Detector::new(limits),
            reports: Reports::new(limits.connections),
            now: Timestamp::default(),
            forgotten: 0,
            reported: Vec::new(),
        }
    }

    /// Adds a rule of the user to those of the library.
    pub fn add_rule(&mut self, rule: Box<dyn Rule>) {
        self.detector.add(rule);
    }

    /// Takes in one fact; what follows from it is added to `out`.
    pub fn on_fact(&mut self, fact: Fact, out: &mut Conclusions) {
        match fact {
            Fact::Connection { settled, seen } => self.on_connection(settled, seen, out),
            Fact::Epmd { settled, seen } => self.on_epmd(&settled, &seen, out),
            Fact::Handshake { settled, message } => {
                self.world.on_handshake(&settled, &message);
                let handshake = Box::new(Handshake::of(&message));
                self.on_other(&settled, Body::Handshake { handshake }, out);
            }
            Fact::Anomaly { settled, anomaly } => {
                self.on_other(&settled, Body::Anomaly { anomaly: Box::new(anomaly) }, out);
            }
            Fact::Run { at, input, anomaly } => {
                let body = Body::Anomaly { anomaly: Box::new(anomaly) };
                out.events.push(Event { at, frame: None, input, connection: None, body });
            }
            Fact::Message { settled, message } => {
                self.detector.on_message(&settled, &message, &mut out.events);
            }
            Fact::ProxyHeader { settled, header } => {
                self.world.on_proxy_header(&settled, &header);
                self.detector.on_other(&settled);
            }
            Fact::Resolved(resolved) => self.world.on_resolved(&resolved),
            Fact::Unresolved(unresolved) => self.world.on_unresolved(unresolved),
            Fact::NoNeighbour(neighbour) => self.world.on_no_neighbour(neighbour),
            Fact::ListedName { ip, name } => self.world.on_listed_name(ip, &name),
            // Other runs may go on; the last one is followed by `finish`.
            Fact::End(_) => {}
        }
    }

    /// The input ends at `now`: reports what is reported once a run, and closes incidents that repeated.
    pub fn finish(&mut self, now: Timestamp, out: &mut Conclusions) {
        self.detector.finish(now, &self.world, &mut out.events);
    }

    /// The nodes and how they are connected, as known by `now`.
    pub fn cluster(&self, now: Timestamp) -> Cluster {
        self.world.cluster(now).into()
    }

    /// The number of problems so far, by state and severity.
    pub fn problems(&self) -> Problems {
        self.detector.problems()
    }

    /// What all facts so far show together.
    pub(super) const fn world(&self) -> &World {
        &self.world
    }

    /// Facts and problems that were forgotten because a bound was reached.
    pub fn evictions(&self) -> u64 {
        self.world.evictions() + self.detector.evictions()
    }

    fn on_connection(&mut self, settled: Settled, seen: Box<Observation>, out: &mut Conclusions) {
        let verdict = judge(&seen, &self.world);
        let report = self.reports.next(&settled, &seen, &verdict, &mut out.ended);
        let Some(NextReport { again, damage }) = report else { return };
        for anomaly in damage {
            let body = Body::Anomaly { anomaly: Box::new(anomaly) };
            out.events.push(Event::of(&settled, body));
        }
        let claim = self.world.claim(&settled, &seen, &verdict);
        let it = JudgedConnection { settled, seen, verdict, claim, is_repeated: again };
        let (mut changes, mut detected) = (Vec::new(), Vec::new());
        self.world.on_session(&it, &mut out.node_ports, &mut changes);
        let incident = self.detector.on_session(&it, &self.world, &mut detected);
        self.world.on_session_incident(&it, incident);
        let session = Box::new(Session::of(it.ids(), &it.seen, &it.verdict));
        out.events.push(Event::of(&it.settled, Body::Session { session }));
        out.events.append(&mut detected);
        self.report_forgotten(&it.settled, out);
        for change in changes {
            self.detector.on_node(&change, &mut detected);
            let node = Box::new(Node::of(&change.node, Some(change.kind)));
            out.events.push(Event::of(&change.settled, Body::Node { node }));
            out.events.append(&mut detected);
        }
    }

    fn on_epmd(&mut self, settled: &Settled, seen: &EpmdObservation, out: &mut Conclusions) {
        self.world.on_epmd(settled, seen, &mut out.node_ports);
        let mut detected = Vec::new();
        let incident = self.detector.on_epmd(settled, seen, &self.world, &mut detected);
        self.world.on_epmd_incident(settled, seen, incident);
        let epmd = Box::new(Epmd::of(seen));
        out.events.push(Event::of(settled, Body::Epmd { epmd }));
        out.events.append(&mut detected);
        self.report_forgotten(settled, out);
    }

    fn on_other(&mut self, settled: &Settled, body: Body, out: &mut Conclusions) {
        self.detector.on_other(settled);
        out.events.push(Event::of(settled, body));
        self.report_forgotten(settled, out);
    }

    /// Reports once for each bound that it was reached, and facts are forgotten.
    fn report_forgotten(&mut self, settled: &Settled, out: &mut Conclusions) {
        self.now = self.now.max(settled.at);
        let forgotten = self.evictions();
        if forgotten == self.forgotten {
            return;
        }
        self.forgotten = forgotten;
        let problems = [("problems", self.detector.evictions())];
        for (what, dropped) in self.world.dropped().into_iter().chain(problems) {
            if dropped > 0 && !self.reported.contains(&what) {
                self.reported.push(what);
                let detail = format!("more {what} than are remembered: some are forgotten");
                out.events.push(limit_event(self.now, detail));
            }
        }
    }
}

/// Judges recorded facts, in any order, as one run would have: sorts them, and gives all events that follow, incidents
/// included. `limits` and `home` are those of the run, or of the merge.
pub fn judge_facts(mut facts: Vec<Recorded>, limits: &Limits, home: HomeNets) -> Vec<Event> {
    facts.sort_by_key(|recorded| (recorded.clock, recorded.sequence));
    let end = facts.last().map(|recorded| recorded.clock).unwrap_or_default();
    let mut reducer = Reducer::new(limits, home);
    let mut out = Conclusions::default();
    for recorded in facts {
        reducer.on_fact(recorded.fact, &mut out);
    }
    reducer.finish(end, &mut out);
    out.events
}

/// An event about a bound of the whole run.
pub(super) fn limit_event(at: Timestamp, detail: String) -> Event {
    let anomaly = Box::new(Anomaly::new(AnomalyKind::Limit, detail));
    Event { at, frame: None, input: None, connection: None, body: Body::Anomaly { anomaly } }
}

/// What was last reported of each connection that is not over.
#[derive(Debug)]
struct Reports {
    /// By the hash of the connection's id: 24 bytes an entry, where the id itself would take three times as much.
    last: HashMap<u64, Reported, RandomState>,
    /// Hashes of the ids in the order of their first report.
    order: VecDeque<u64>,
    capacity: usize,
}

/// What was reported of one connection.
#[derive(Clone, Copy, Debug)]
struct Reported {
    last: LastReport,
    /// Whether what its streams lack was reported.
    damage: bool,
    /// Whether a record was reported for more bytes alone.
    more: bool,
}

/// What of a record is compared to see whether another one has anything new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct LastReport {
    outcome: Outcome,
    state: State,
    closed_by: Option<Role>,
    bytes: u64,
}

impl LastReport {
    /// Whether a record with this is worth another one. More bytes alone are so when the connection is over, once, and at the
    /// end: otherwise each packet that comes after a close, and after silence, would have a record of its own.
    fn is_news(self, before: Self, is_end: bool) -> bool {
        self.is_other(before) || is_end && self.bytes != before.bytes
    }

    fn is_other(self, before: Self) -> bool {
        let rest = |it: Self| (it.outcome, it.state, it.closed_by);
        rest(self) != rest(before)
    }
}

/// A record that is to be reported.
struct NextReport {
    /// Whether a record with this outcome was reported before.
    again: bool,
    /// What the streams lack, reported once.
    damage: Vec<Anomaly>,
}

impl Reports {
    fn new(capacity: usize) -> Self {
        Self { last: HashMap::default(), order: VecDeque::new(), capacity }
    }

    /// Whether an observation with this verdict is reported, and how; `None` when the last record of the connection
    /// is as good.
    fn next(
        &mut self,
        settled: &Settled,
        seen: &Observation,
        verdict: &Verdict,
        ended: &mut Vec<Outcome>,
    ) -> Option<NextReport> {
        let id = self.last.hasher().hash_one(&*settled.connection.session_id);
        let own = LastReport {
            outcome: verdict.outcome,
            state: seen.state(),
            closed_by: seen.closed_by(),
            bytes: seen.bytes(),
        };
        let connected = verdict.outcome == Outcome::Connected;
        let is_reported = match seen.occasion {
            Occasion::Established => connected,
            Occasion::Silent { .. } => connected && !seen.is_closed(),
            Occasion::Over if verdict.is_pending => false,
            Occasion::Over | Occasion::Quiet | Occasion::End => {
                let known = self.last.get(&id).copied();
                let before = known.map(|known| known.last);
                let had_more = known.is_some_and(|known| known.more);
                let is_end = seen.is_final || seen.occasion == Occasion::Over && !had_more;
                let is_news = before.is_none_or(|before| own.is_news(before, is_end));
                let has_damage = seen.tcp.gaps + seen.tcp.conflicts > 0;
                let was_damaged = known.is_some_and(|known| known.damage);
                if seen.is_final {
                    ended.push(own.outcome);
                    self.last.remove(&id);
                } else if is_news {
                    let more = had_more || before.is_some_and(|before| !own.is_other(before));
                    let damage = was_damaged || has_damage;
                    self.remember(id, Reported { last: own, damage, more });
                }
                return is_news.then(|| NextReport {
                    again: before.is_some_and(|before| before.outcome == own.outcome),
                    damage: if was_damaged { Vec::new() } else { damage(seen) },
                });
            }
        };
        is_reported.then(|| NextReport { again: false, damage: Vec::new() })
    }

    fn remember(&mut self, id: u64, own: Reported) {
        if self.last.insert(id, own).is_some() {
            return;
        }
        self.order.push_back(id);
        while self.last.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else { return };
            self.last.remove(&oldest);
        }
        // Ids of connections that ended are dropped in batches, once they are a fifth of the order: linear in all,
        // and no more than that stays allocated.
        if self.order.len() > self.last.len() + self.last.len() / 4 + ORDER_KEPT {
            self.order.retain(|id| self.last.contains_key(id));
        }
    }
}

/// What of the streams is missing, or came in two versions.
fn damage(seen: &Observation) -> Vec<Anomaly> {
    let tcp = &seen.tcp;
    let (gaps, bytes, conflicts) = (tcp.gaps, tcp.gap_bytes, tcp.conflicts);
    let found = [
        (
            gaps,
            AnomalyKind::Gap,
            format!(
                "{bytes} bytes in {gaps} {} were not captured",
                if gaps == 1 { "gap" } else { "gaps" }
            ),
        ),
        (
            conflicts,
            AnomalyKind::OverlapConflict,
            format!("{conflicts} segments differ from what came before; the first is believed"),
        ),
    ];
    let found = found.into_iter().filter(|(count, ..)| *count > 0);
    found.map(|(_, kind, detail)| Anomaly::new(kind, detail)).collect()
}

/// Ended ids that stay in the order in any case: little beside what else is kept.
const ORDER_KEPT: usize = 4096;
