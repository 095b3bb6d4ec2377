//! Which facts of several sensors are about the same connection, and what they show together.
//!
//! In: the facts of all sensors, on one clock. Out: the same facts, with those of a connection that several saw joined:
//! it has one identifier, each of its messages once, and one observation when it is established and when it is over.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::hosts::HostInputs;
use super::join::{join, join_epmd, orientation_rank, rebase, settle, with_other_roles};
use super::translated::across_translation;
use crate::decode::Endpoint;
use crate::observe::{
    Anomaly, AnomalyKind, ConnectionIds, EpmdObservation, EpmdOutcome, EpmdTag, Fact, Observation,
    Occasion, PerRole, Recorded, Role, Settled, Totals,
};
use crate::packet::PacketRef;
use crate::time::{Timestamp, micros};

/// A fact with the rank of its sensor.
pub(super) type Ranked = (usize, Recorded);

/// Joins the facts about connections that several sensors saw. What they counted twice is taken from `totals`.
/// The inputs that turn out to be of one host are added to `hosts`.
///
/// `covered` is the time of each sensor, by its rank.
pub(super) fn unite(
    facts: Vec<Ranked>,
    covered: &[Coverage],
    totals: &mut Totals,
    hosts: &mut HostInputs,
) -> Vec<Ranked> {
    if facts.iter().all(|(rank, _)| Some(*rank) == facts.first().map(|(rank, _)| *rank)) {
        return facts;
    }
    let (mut united, mut views) = (Vec::new(), Views::default());
    let mut sightings = Sightings::default();
    for (rank, fact) in facts {
        match fact.fact.settled() {
            Some(settled) => {
                let ids = Arc::clone(&settled.connection);
                views.add(rank, &ids, fact);
            }
            None if sightings.is_known(rank, &fact) => {}
            None => united.push((rank, fact)),
        }
    }
    let mut all: Vec<Group> =
        views.by_ends().into_iter().flat_map(|views| groups(views, covered)).collect();
    for group in &mut all {
        for stranger in group.align_roles() {
            let rank = stranger.rank;
            united.extend(stranger.facts.into_iter().map(|fact| (rank, fact)));
        }
    }
    for group in across_translation(all) {
        hosts.add_views(&group.views);
        group.join_into(&mut united, totals);
    }
    united
}

/// The time in which a sensor saw packets: what was sent in it, and is not there, was not sent, or is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coverage {
    first: Timestamp,
    last: Timestamp,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { first: Timestamp(u64::MAX), last: Timestamp::default() }
    }
}

impl Coverage {
    /// Takes in times at which it was there.
    pub(super) fn add(&mut self, times: impl IntoIterator<Item = Timestamp>) {
        for at in times {
            (self.first, self.last) = (self.first.min(at), self.last.max(at));
        }
    }
}

/// What one sensor saw of one connection.
#[derive(Debug)]
pub(super) struct SensorView {
    pub(super) rank: usize,
    pub(super) ids: Arc<ConnectionIds>,
    pub(super) facts: Vec<Recorded>,
    /// The time from its first packet to its last.
    span: (Timestamp, Timestamp),
    /// Sequence number of the first byte of each end as far as it saw where that begins, the lower end first.
    pub(super) starts: [Option<u32>; 2],
    /// Sequence numbers of the first byte and of the one behind the last that it saw of each end, in the same order.
    streams: [Option<[u32; 2]>; 2],
    /// Whether it saw a SYN.
    opens: bool,
    /// Whether it saw a FIN or RST.
    closes: bool,
}

#[derive(Default)]
struct Views {
    numbers: HashMap<(usize, Arc<str>), usize, RandomState>,
    views: Vec<SensorView>,
}

impl Views {
    fn add(&mut self, rank: usize, ids: &Arc<ConnectionIds>, fact: Recorded) {
        let next = self.views.len();
        let key = (rank, Arc::clone(&ids.session_id));
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            let span = (Timestamp(u64::MAX), Timestamp::default());
            let (ids, starts) = (Arc::clone(ids), [None; 2]);
            self.views.push(SensorView {
                rank,
                ids,
                facts: Vec::new(),
                span,
                starts,
                streams: [None; 2],
                opens: false,
                closes: false,
            });
        }
        if let Some(view) = self.views.get_mut(number) {
            view.note(&fact);
            view.facts.push(fact);
        }
    }

    /// The views of each pair of addresses and ports, in the order of their first packets.
    fn by_ends(self) -> Vec<Vec<SensorView>> {
        let mut numbers: HashMap<_, usize, RandomState> = HashMap::default();
        let mut all: Vec<Vec<SensorView>> = Vec::new();
        for view in self.views {
            let next = all.len();
            let number = *numbers.entry(view.ends()).or_insert(next);
            if number == next {
                all.push(Vec::new());
            }
            if let Some(views) = all.get_mut(number) {
                views.push(view);
            }
        }
        for views in &mut all {
            views.sort_by_key(|view| (view.span.0, view.rank));
        }
        all
    }
}

impl SensorView {
    /// Both ends, the lower one first.
    pub(super) fn ends(&self) -> [Endpoint; 2] {
        let ids = &self.ids;
        let src = Endpoint { ip: ids.src_ip, port: ids.src_port };
        let dst = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        if src <= dst { [src, dst] } else { [dst, src] }
    }

    /// The input of its first fact.
    pub(super) fn input(&self) -> Option<u16> {
        self.facts.first()?.fact.settled()?.shown_by_input()
    }

    /// Whether the sequence numbers of the other view may be the next ones of the same connection, as far as both are known.
    fn is_before(&self, other: &Self) -> bool {
        self.streams.iter().zip(&other.streams).all(|pair| match pair {
            // As RFC 9293 compares sequence numbers, section 3.4.
            (Some([_, end]), Some([first, _])) => {
                first.wrapping_sub(*end).cast_signed().unsigned_abs() <= MOST_BETWEEN
            }
            _ => true,
        })
    }

    /// Whether both saw the connection first at the same moment.
    pub(super) fn begins_with(&self, other: &Self) -> bool {
        self.span.0.since(other.span.0).max(other.span.0.since(self.span.0)) <= APART
    }

    /// Whether a host talks to itself.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.ids.src_ip.is_loopback() && self.ids.dest_ip.is_loopback()
    }

    /// Takes in what a fact shows of when the connection was open, and of where its streams begin.
    fn note(&mut self, fact: &Recorded) {
        let mut at = |time: Timestamp| {
            self.span = (self.span.0.min(time), self.span.1.max(time));
        };
        match &fact.fact {
            Fact::Connection { seen, .. } => {
                at(seen.tcp.first.at);
                at(seen.tcp.last.at);
                let [low, _] = self.ends();
                for (role, side) in seen.tcp.sides.each() {
                    let place = usize::from(seen.ends[role] != low);
                    if let Some(start) = self.starts.get_mut(place) {
                        *start = start.or(side.start);
                    }
                    if let (Some(stream), Some(base)) = (self.streams.get_mut(place), side.base) {
                        let end = side.end.sequence_behind(base);
                        let first = stream.map_or(base, |[first, _]| first);
                        *stream = Some([first, end]);
                    }
                    self.opens |= side.syn.is_some();
                    self.closes |= side.closed_at.is_some();
                }
            }
            Fact::Epmd { seen, .. } => {
                let it = &seen.seen;
                let marks = [it.syn, it.request, it.reply, it.close];
                marks.into_iter().flatten().for_each(|mark| at(mark.at));
                self.opens |= it.syn.is_some();
                self.closes |= it.close.is_some();
                it.last_segment.each().filter_map(|(_, time)| *time).for_each(at);
                let [low, _] = self.ends();
                let client = Endpoint { ip: self.ids.src_ip, port: self.ids.src_port };
                let is_low = client == low;
                for (role, known) in it.starts.each() {
                    let place = usize::from(is_low != (role == Role::Initiator));
                    if let Some(start) = self.starts.get_mut(place) {
                        *start = start.or(*known);
                    }
                }
            }
            other => {
                if let Some(settled) = other.settled() {
                    at(settled.at);
                }
            }
        }
    }

    /// The last observation once the connection is over, or the input ends.
    fn last(&self) -> Option<&Observation> {
        self.facts.iter().rev().find_map(|it| match &it.fact {
            Fact::Connection { seen, .. } if is_last(seen) => Some(&**seen),
            _ => None,
        })
    }

    /// The last fact that shows the whole of the connection.
    pub(super) fn shown(&self) -> Option<&Fact> {
        let all = self.facts.iter();
        let whole = all.filter(|it| matches!(it.fact, Fact::Connection { .. } | Fact::Epmd { .. }));
        Some(&whole.max_by_key(|it| (it.clock, it.sequence))?.fact)
    }

    pub(super) fn observations(&mut self) -> impl Iterator<Item = &mut Box<Observation>> {
        self.facts.iter_mut().filter_map(|it| match &mut it.fact {
            Fact::Connection { seen, .. } => Some(seen),
            _ => None,
        })
    }

    /// How much it shows: whether it has both openings, then the length of the streams. An earlier sensor is preferred.
    pub(super) fn fullness(&self) -> (usize, u64, std::cmp::Reverse<usize>) {
        let known = self.starts.iter().flatten().count();
        let bytes = self.last().map_or(self.facts.len() as u64, |it| {
            let sides = &it.tcp.sides;
            sides.initiator.bytes.saturating_add(sides.acceptor.bytes)
        });
        (known, bytes, std::cmp::Reverse(self.rank))
    }
}

const fn is_last(seen: &Observation) -> bool {
    matches!(seen.occasion, Occasion::Over | Occasion::Quiet | Occasion::End)
}

/// The views of one connection.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) views: Vec<SensorView>,
    /// More views of a sensor that saw the connection on both sides of a translation.
    pub(super) doubles: Vec<SensorView>,
    /// The identifiers of the connection, where its views have several.
    pub(super) ids: Option<Arc<ConnectionIds>>,
    /// What is to be reported of its addresses.
    pub(super) notes: Vec<Anomaly>,
    pub(super) span: (Timestamp, Timestamp),
    starts: [Option<u32>; 2],
}

/// Divides the views of one pair of ends into connections: a pair of ends is used again, and then with other sequence
/// numbers, or later.
fn groups(views: Vec<SensorView>, covered: &[Coverage]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for view in views {
        let recent = groups.len().saturating_sub(LOOKED_BACK);
        let candidates =
            groups.iter_mut().skip(recent).filter(|group| group.may_have(&view, covered));
        match candidates.min_by_key(|group| view.span.0.since(group.span.1)) {
            Some(group) => group.add(view),
            None => {
                groups.push(Group::new(view));
            }
        }
    }
    groups
}

/// Connections between the same two ports that are looked at for one more view.
pub(super) const LOOKED_BACK: usize = 16;

/// The time between the last packet of one file and the first one of the next, where little is sent: two nodes that have
/// nothing to send tick every 15 s, unless they are set to do so less often.
const QUIET: Duration = Duration::from_secs(60);

/// Bytes of a connection that no sensor saw between two that follow each other, or that both saw.
const MOST_BETWEEN: u32 = 1 << 20;

/// Two sensors that see one direction each have no packet of the same time. No host uses a pair of ports again so soon.
pub(super) const APART: Duration = Duration::from_millis(200);

impl Group {
    fn new(view: SensorView) -> Self {
        let (span, starts) = (view.span, view.starts);
        Self { views: vec![view], doubles: Vec::new(), ids: None, notes: Vec::new(), span, starts }
    }

    /// Whether a view that begins later may be of the same connection.
    fn may_have(&self, view: &SensorView, covered: &[Coverage]) -> bool {
        let differs = |(a, b): (&Option<u32>, &Option<u32>)| a.is_some() && b.is_some() && a != b;
        let is_new = self.views.iter().all(|it| it.rank != view.rank);
        let is_near = view.span.0.since(self.span.1) <= APART || self.goes_on_in(view, covered);
        is_new && is_near && !self.starts.iter().zip(&view.starts).any(differs)
    }

    /// Whether it was open when its sensors stopped, and the sensor of the view began then: that saw no opening, and its
    /// sequence numbers are the next ones.
    fn goes_on_in(&self, view: &SensorView, covered: &[Coverage]) -> bool {
        if view.opens || self.views.iter().any(|own| own.closes) {
            return false;
        }
        let until = self.views.iter().filter_map(|own| Some(covered.get(own.rank)?.last)).max();
        let since = covered.get(view.rank).map(|own| own.first);
        let is_covered = until.zip(since).is_some_and(|(until, since)| since.since(until) <= QUIET);
        is_covered && self.views.iter().all(|own| own.is_before(view))
    }

    fn add(&mut self, view: SensorView) {
        self.span.1 = self.span.1.max(view.span.1);
        for (own, other) in self.starts.iter_mut().zip(view.starts) {
            *own = own.or(other);
        }
        self.views.push(view);
    }

    /// Adds its facts, joined if several sensors have them.
    fn join_into(mut self, united: &mut Vec<Ranked>, totals: &mut Totals) {
        self.views.sort_by_key(|view| view.rank);
        let fullest = self.views.iter().max_by_key(|view| view.fullness());
        let fullest = || fullest.map(|view| Arc::clone(&view.ids));
        let Some(ids) = self.ids.take().or_else(fullest) else { return };
        self.add_notes(&ids, united);
        if self.views.len() == 1 {
            let all = self.views.into_iter();
            united
                .extend(all.flat_map(|view| view.facts.into_iter().map(move |it| (view.rank, it))));
            return;
        }
        self.align_offsets();
        let parts: Vec<_> = self.views.iter().filter_map(|view| view.last().cloned()).collect();
        let all = joined(parts.clone());
        let doubles = self.doubles.iter().filter_map(|view| view.last().cloned());
        let counted: Vec<_> = parts.into_iter().chain(doubles).collect();
        self.take_from(totals, &counted, all.as_ref());
        let is_without_gaps = all.as_ref().is_some_and(|all| all.tcp.gaps == 0);
        let mut facts: Vec<Ranked> = Vec::new();
        for view in self.views {
            facts.extend(view.facts.into_iter().map(|fact| (view.rank, fact)));
        }
        facts.sort_by_key(|(rank, it)| (it.clock, it.sequence, *rank));
        let (mut established, mut last, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        let (mut silent, mut quiet) = (Vec::new(), Vec::new());
        // The sensors of `quiet`, and whether one saw the end.
        let (mut quiet_at, mut is_over) = (BTreeSet::new(), false);
        let mut sightings = Sightings::default();
        let mut nodes = PerRole { initiator: None, acceptor: None };
        for (rank, mut fact) in facts {
            if let Fact::Handshake { message, .. } = &mut fact.fact {
                // A sensor of one direction has one of the names.
                for role in Role::BOTH {
                    nodes[role] = message.nodes[role].clone().or_else(|| nodes[role].take());
                    message.nodes[role].clone_from(&nodes[role]);
                }
                // A sensor that waits for lost bytes reads what is behind them later.
                let sent = all.as_ref().and_then(|all| all.message(message.message));
                fact = settled_by(fact, sent);
            }
            if let Some(settled) = fact.fact.settled_mut() {
                settled.connection = Arc::clone(&ids);
            }
            match &fact.fact {
                Fact::Connection { seen, .. } => match seen.occasion {
                    Occasion::Established => established.push((rank, fact)),
                    Occasion::Silent { .. } => silent.push((rank, fact)),
                    Occasion::Quiet => {
                        if !is_over && quiet_at.insert(rank) {
                            quiet.push((rank, fact.clone()));
                        }
                        last.push((rank, fact));
                    }
                    Occasion::Over | Occasion::End => {
                        is_over |= seen.occasion == Occasion::Over;
                        last.push((rank, fact));
                    }
                },
                Fact::Epmd { .. } => requests.push((rank, fact)),
                Fact::Anomaly { anomaly, .. }
                    if is_without_gaps && anomaly.kind == AnomalyKind::Gap => {}
                _ if sightings.is_known(rank, &fact) => {}
                _ => united.push((rank, fact)),
            }
        }
        if no_other_saw_more(&silent, &last) {
            united.extend(joined_established(silent));
        }
        if quiet.len() < last.len() && no_other_saw_more(&quiet, &last) {
            let others = last.iter().filter(|(rank, _)| !quiet_at.contains(rank));
            let others = others.filter_map(|(rank, it)| Some((*rank, observation(it)?.clone())));
            united.extend(joined_last(others.collect(), quiet, Some(Occasion::Quiet)));
        }
        united.extend(joined_established(established));
        united.extend(joined_last(HashMap::default(), last, None));
        united.extend(joined_requests(requests));
    }

    /// Adds its notes in front of its first fact.
    fn add_notes(&mut self, ids: &Arc<ConnectionIds>, united: &mut Vec<Ranked>) {
        let ranked = self.views.iter().flat_map(|view| view.facts.iter().map(|it| (view.rank, it)));
        let first = ranked.min_by_key(|(rank, it)| (it.clock, it.sequence, *rank));
        let Some((rank, first)) = first else { return };
        let Some(settled) = first.fact.settled() else { return };
        let settled = Settled { connection: Arc::clone(ids), ..settled.clone() };
        let notes = self.notes.drain(..).map(|anomaly| {
            let fact = Fact::Anomaly { settled: settled.clone(), anomaly };
            (rank, Recorded { fact, version: first.version, ..*first })
        });
        united.extend(notes);
    }

    /// Gives all views the roles of the one that knows them best. Those that contradict it are taken out.
    fn align_roles(&mut self) -> Vec<SensorView> {
        let best = self.views.iter().filter_map(|view| {
            let seen = view.last()?;
            Some((orientation_rank(seen.orientation), view.fullness(), seen.ends))
        });
        let Some((.., ends)) = best.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1))) else {
            return Vec::new();
        };
        let (mut kept, mut strangers) = (Vec::new(), Vec::new());
        for mut view in std::mem::take(&mut self.views) {
            let fits = view.observations().all(|seen| {
                if seen.ends == ends {
                    return true;
                }
                match with_other_roles((**seen).clone()) {
                    Some(turned) => {
                        **seen = turned;
                        seen.ends == ends
                    }
                    None => false,
                }
            });
            if fits { kept.push(view) } else { strangers.push(view) }
        }
        self.views = kept;
        strangers
    }

    /// Makes the offsets of all views count from the same bytes.
    fn align_offsets(&mut self) {
        for role in Role::BOTH {
            let sides = || self.views.iter().filter_map(|view| Some(&view.last()?.tcp.sides[role]));
            let by_syn = sides().filter(|side| side.syn.is_some()).find_map(|side| side.base);
            let lowest = sides()
                .filter_map(|side| side.base)
                .reduce(|a, b| if a.wrapping_sub(b).cast_signed() < 0 { a } else { b });
            let Some(base) = by_syn.or(lowest) else { continue };
            for view in &mut self.views {
                view.observations().for_each(|seen| rebase(seen, role, base));
            }
        }
    }

    /// Takes from the totals what several sensors counted of this connection. `parts` are their observations, and `all` is
    /// what these show together.
    fn take_from(&self, totals: &mut Totals, parts: &[Observation], all: Option<&Observation>) {
        let count =
            |it: &Observation| [it.tcp.gaps, it.tcp.gap_bytes, u64::from(!it.tcp.both_seen)];
        let sums = parts.iter().map(count).fold([0_u64; 3], |sums, own| {
            let [a, b, c] = sums;
            let [gaps, bytes, sided] = own;
            [a.saturating_add(gaps), b.saturating_add(bytes), c.saturating_add(sided)]
        });
        let one = all.map(count).unwrap_or_default();
        let [gaps, bytes, sided] = [0, 1, 2].map(|at: usize| {
            let of = |counts: &[u64; 3]| counts.get(at).copied().unwrap_or_default();
            of(&sums).saturating_sub(of(&one))
        });
        let views = self.views.iter().chain(&self.doubles);
        let requests = views.flat_map(|view| &view.facts).filter_map(|it| match &it.fact {
            Fact::Epmd { seen, .. } => Some(&seen.seen.last_segment),
            _ => None,
        });
        let (mut halves, mut both) = (0_u64, PerRole { initiator: false, acceptor: false });
        for last in requests {
            let seen = [last.initiator.is_some(), last.acceptor.is_some()];
            halves += u64::from(seen != [true, true] && seen != [false, false]);
            both.initiator |= last.initiator.is_some();
            both.acceptor |= last.acceptor.is_some();
        }
        let sided =
            if both.initiator && both.acceptor { sided.saturating_add(halves) } else { sided };
        totals.gaps = totals.gaps.saturating_sub(gaps);
        totals.missing_bytes = totals.missing_bytes.saturating_sub(bytes);
        totals.one_sided = totals.one_sided.saturating_sub(sided);
    }
}

/// What all sensors show of a connection.
fn joined(parts: Vec<Observation>) -> Option<Observation> {
    let mut all = parts.clone().into_iter().reduce(join)?;
    if parts.len() > 1 {
        settle(&mut all, &parts);
    }
    Some(all)
}

/// Whether no sensor without one of these observations of a silence saw a later packet: it may have seen that side send, or
/// the connection go on. `last` are the last observations of all sensors.
fn no_other_saw_more(silent: &[Ranked], last: &[Ranked]) -> bool {
    let ranks: BTreeSet<usize> = silent.iter().map(|(rank, _)| *rank).collect();
    let until = |(_, it): &Ranked| observation(it).map(|seen| seen.tcp.last.at);
    let latest = silent.iter().filter_map(until).max();
    last.iter().filter(|(rank, _)| !ranks.contains(rank)).all(|it| until(it) <= latest)
}

/// The observation that a handshake has completed, or that a side is silent: from the first sensor on that saw it, with what
/// all saw by then.
fn joined_established(facts: Vec<Ranked>) -> Option<Ranked> {
    let parts = facts.iter().filter_map(|(_, it)| observation(it).cloned()).collect();
    let seen = Box::new(joined(parts)?);
    let (rank, first) = facts.into_iter().next()?;
    Some((rank, with_observation(first, seen)))
}

/// The last observation: when the first sensor saw the connection end, or else when the last one saw no more of it.
///
/// `parts` are what other sensors saw until then, and `occasion` is that of all, where these saw it later or not at all.
fn joined_last(
    mut parts: HashMap<usize, Observation, RandomState>,
    facts: Vec<Ranked>,
    occasion: Option<Occasion>,
) -> Option<Ranked> {
    let (mut over, mut last) = (None, None);
    for (rank, fact) in facts {
        let seen = observation(&fact)?;
        parts.insert(rank, seen.clone());
        if seen.occasion == Occasion::Over && over.is_none() {
            over = Some((rank, fact));
        } else {
            last = Some((rank, fact));
        }
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(rank, _)| *rank);
    let mut seen = Box::new(joined(parts.into_iter().map(|(_, seen)| seen).collect())?);
    seen.is_final = true;
    seen.occasion = match occasion.unwrap_or(seen.occasion) {
        // Nothing follows that could still change it.
        Occasion::Over => Occasion::End,
        other => other,
    };
    let (rank, fact) = over.or(last)?;
    let ended = seen.tcp.opening.refused().or_else(|| {
        let (sides, close) = (&seen.tcp.sides, seen.tcp.close?);
        let both = sides.initiator.closed_at.zip(sides.acceptor.closed_at);
        let until = both.map(|(a, b)| a.max(b)).filter(|_| !close.is_reset());
        let at = until.or_else(|| close.is_reset().then_some(close.mark.at))?;
        Some(PacketRef { at, ..close.mark })
    });
    Some((rank, settled_by(with_observation(fact, seen), ended)))
}

const fn observation(fact: &Recorded) -> Option<&Observation> {
    match &fact.fact {
        Fact::Connection { seen, .. } => Some(seen),
        _ => None,
    }
}

fn with_observation(fact: Recorded, seen: Box<Observation>) -> Recorded {
    match fact.fact {
        Fact::Connection { settled, .. } => {
            Recorded { fact: Fact::Connection { settled, seen }, ..fact }
        }
        _ => fact,
    }
}

/// The requests to EPMD on one connection: each sensor's first is the same one, and so on. The end of a registration is one
/// of its own.
fn joined_requests(facts: Vec<Ranked>) -> Vec<Ranked> {
    let mut counts: HashMap<(usize, bool), usize, RandomState> = HashMap::default();
    let mut requests: Vec<(Vec<Ranked>, EpmdObservation)> = Vec::new();
    let mut numbers: HashMap<(bool, usize), usize, RandomState> = HashMap::default();
    for (rank, fact) in facts {
        let Fact::Epmd { seen, .. } = &fact.fact else { continue };
        let seen = (**seen).clone();
        let is_end = seen.outcome == EpmdOutcome::Unregistered;
        let count = counts.entry((rank, is_end)).or_default();
        let next = requests.len();
        let number = *numbers.entry((is_end, *count)).or_insert(next);
        *count += 1;
        match requests.get_mut(number) {
            Some((known, joined)) => {
                known.push((rank, fact));
                *joined = join_epmd(std::mem::take(joined), seen);
            }
            None => requests.push((vec![(rank, fact)], seen)),
        }
    }
    let is_end_seen = requests.iter().any(|(_, it)| it.outcome == EpmdOutcome::Unregistered);
    let joined = requests.into_iter().filter_map(|(facts, seen)| joined_request(facts, seen));
    let mut joined: Vec<Ranked> = joined.collect();
    if !is_end_seen {
        let end = joined.iter().find_map(end_of_registration);
        joined.extend(end);
    }
    joined
}

/// The end of the registration that a request made, where one sensor has the registration and another one the close of its
/// connection.
fn end_of_registration((rank, fact): &Ranked) -> Option<Ranked> {
    let Fact::Epmd { seen, .. } = &fact.fact else { return None };
    let is_registered =
        seen.request == Some(EpmdTag::ALIVE2_REQ) && seen.outcome == EpmdOutcome::Answered;
    let (close, since) = seen.seen.close.zip(seen.seen.reply).filter(|_| is_registered)?;
    let mut end = fact.clone();
    if let Fact::Epmd { seen, .. } = &mut end.fact {
        **seen = EpmdObservation {
            request: seen.request,
            name: seen.name.clone(),
            name_hex: seen.name_hex.clone(),
            port: seen.port,
            outcome: EpmdOutcome::Unregistered,
            lifetime_us: Some(micros(close.at.since(since.at))),
            seen: seen.seen.clone(),
            ..EpmdObservation::default()
        };
    }
    Some((*rank, settled_at(end, close)))
}

/// The fact of the first sensor that has the outcome, with what all sensors show. A sensor that ended before the reply has
/// another outcome, at another time.
fn joined_request(facts: Vec<Ranked>, seen: EpmdObservation) -> Option<Ranked> {
    let has_outcome = |(_, it): &Ranked| matches!(&it.fact, Fact::Epmd { seen: own, .. } if own.outcome == seen.outcome);
    let decided = facts.iter().position(has_outcome);
    let (rank, fact) = facts.into_iter().nth(decided.unwrap_or(0))?;
    let Fact::Epmd { settled, .. } = fact.fact else { return None };
    let is_end = seen.outcome == EpmdOutcome::Unregistered;
    // A sensor that lacks the answer to the close reports the end when it sees no more.
    let is_late = is_end && settled.frame.is_none();
    let both = seen.seen.request.zip(seen.seen.reply).map(|(_, reply)| reply);
    let is_undecided = seen.outcome == EpmdOutcome::Incomplete;
    // Nothing of the request follows its close.
    let last = both.filter(|_| !is_end);
    let last = last.or_else(|| seen.seen.close.filter(|_| is_undecided || is_late));
    let fact = Recorded { fact: Fact::Epmd { settled, seen: Box::new(seen) }, ..fact };
    let has_time = |mark: &PacketRef| mark.at != Timestamp::default();
    Some(match last.filter(has_time) {
        // None of them decided it: one has the request, another the reply.
        Some(last) if decided.is_none() => (rank, settled_at(fact, last)),
        last => (rank, settled_by(fact, last)),
    })
}

/// The fact as if this packet had settled it, if that is earlier: a sensor of one direction reports what another one decides
/// when it gives up waiting.
fn settled_by(fact: Recorded, mark: Option<PacketRef>) -> Recorded {
    let is_earlier = |mark: &PacketRef| mark.at < fact.clock && mark.at != Timestamp::default();
    match mark.filter(is_earlier) {
        Some(mark) => settled_at(fact, mark),
        None => fact,
    }
}

/// The fact as settled by this packet.
fn settled_at(mut fact: Recorded, mark: PacketRef) -> Recorded {
    fact.clock = mark.at;
    if let Some(settled) = fact.fact.settled_mut() {
        (settled.at, settled.frame) = (mark.at, Some(mark.frame));
    }
    fact
}

/// Facts that another sensor showed as well.
#[derive(Default)]
struct Sightings {
    /// By the content of the fact: the time of each, and the sensors that showed it.
    known: HashMap<String, Vec<(Timestamp, Vec<usize>)>, RandomState>,
}

impl Sightings {
    /// Whether another sensor showed the same. If not, it is remembered as shown by this one.
    fn is_known(&mut self, rank: usize, fact: &Recorded) -> bool {
        let Some((content, at, within)) = content(&fact.fact) else { return false };
        let times = self.known.entry(content).or_default();
        let near = |time: Timestamp| at.since(time).max(time.since(at)) <= within;
        let recent = times.len().saturating_sub(LOOKED_BACK);
        let same = times
            .iter_mut()
            .skip(recent)
            .find(|(time, ranks)| near(*time) && !ranks.contains(&rank));
        match same {
            Some((_, ranks)) => {
                ranks.push(rank);
                true
            }
            None => {
                times.push((at, vec![rank]));
                false
            }
        }
    }
}

/// What of a fact is the same at every sensor; its time; and how far apart that may be. `None` for facts of one sensor alone.
fn content(fact: &Fact) -> Option<(String, Timestamp, Duration)> {
    let text = |it: &dyn Debug| format!("{it:?}");
    Some(match fact {
        Fact::Handshake { settled, message } => {
            (text(&(message.message, message.from)), settled.at, Duration::MAX)
        }
        Fact::Message { settled, message: it } => (
            text(&(it.from, &it.operation, it.trigger, &it.call, &it.lost)),
            settled.at,
            Duration::MAX,
        ),
        Fact::Anomaly { settled, anomaly: it } => {
            (text(&(it.kind, &it.field, &it.detail)), settled.at, Duration::MAX)
        }
        Fact::ProxyHeader { settled, header: it } => {
            (text(&(it.version, it.client, it.dialed)), settled.at, Duration::MAX)
        }
        Fact::Resolved(it) => (text(&(it.client, &it.name, &it.ips)), it.mark.at, SAME_PACKET),
        Fact::Unresolved(it) => {
            let question = &it.question;
            let asked = (question.client, question.server, &question.name, question.is_v6);
            (text(&(asked, it.reason)), question.mark.at, SAME_PACKET)
        }
        Fact::NoNeighbour(it) => (text(&(it.asker, it.wanted)), it.first.at, SAME_PACKET),
        Fact::ListedName { ip, name } => (text(&(ip, name)), Timestamp::default(), Duration::MAX),
        Fact::Connection { .. } | Fact::Epmd { .. } | Fact::Run { .. } | Fact::End(_) => {
            return None;
        }
    })
}

/// A packet passes two sensors within this time. A question is not asked again so soon.
const SAME_PACKET: Duration = Duration::from_millis(500);
