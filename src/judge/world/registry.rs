//! The look-ups that EPMD has answered: the name, the port, and the client.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::decode::Endpoint;
use crate::limits::{Limits, remember};
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Observation, Settled};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The look-ups that EPMD answered so far.
#[derive(Debug)]
pub(super) struct Registry {
    /// Answered look-ups by client and by the endpoint in the answer, the oldest first.
    lookups: HashMap<(IpAddr, Endpoint), VecDeque<AnsweredLookup>, RandomState>,
    /// Keys of `lookups` in the order of the answers.
    order: VecDeque<(IpAddr, Endpoint)>,
    /// The last answers, to find those that were passed on.
    recent: VecDeque<Exchange>,
    max_lookups: usize,
    evictions: u64,
}

/// A look-up with its question and its answer.
#[derive(Debug)]
struct Exchange {
    client: Endpoint,
    epmd: Endpoint,
    asked: Arc<str>,
    port: u16,
    /// Times of the SYN if it was seen, of the request, and of the reply.
    opened: Option<Timestamp>,
    requested: Timestamp,
    replied: Timestamp,
    session_id: Arc<str>,
    reply: FrameRef,
}

/// A look-up with the time of its answer.
#[derive(Debug)]
pub(super) struct AnsweredLookup {
    at: Timestamp,
    /// When the connection to EPMD was opened, if that was seen.
    pub(super) opened: Option<Timestamp>,
    pub(super) lookup: PriorLookup,
}

/// The EPMD look-up that led to a connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PriorLookup {
    /// The `session_id` of the connection to EPMD.
    pub session_id: Arc<str>,
    /// The packet with the answer.
    pub reply: FrameRef,
    /// Alive name in the request.
    pub asked: Arc<str>,
    /// Distribution port in the answer.
    pub port: u16,
    /// Highest handshake version in the answer.
    pub highest_version: u16,
    /// The EPMD that the answer came from, if a proxy passed the look-up on to it.
    pub forwarded: Option<Box<ForwardedLookup>>,
}

/// The second half of a look-up that a proxy passed on to another EPMD.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ForwardedLookup {
    /// Address and port of the EPMD that answered.
    pub epmd: Endpoint,
    /// The `session_id` of the connection from the proxy to that EPMD.
    pub session_id: Arc<str>,
    /// The packet with its answer.
    pub reply: FrameRef,
}

impl Registry {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            lookups: HashMap::default(),
            order: VecDeque::new(),
            recent: VecDeque::new(),
            max_lookups: limits.lookups,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Records the outcome of an EPMD request; endpoints in the answer are added to `marked`.
    pub(super) fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        marked: &mut Vec<Endpoint>,
    ) {
        if epmd.outcome != EpmdOutcome::Answered {
            return;
        }
        let ids = &settled.connection;
        let ip = ids.dest_ip;
        for port in epmd.names.iter().flatten().map(|known| known.port).chain(epmd.port) {
            if port != 0 {
                marked.push(Endpoint { ip, port });
            }
        }
        let (Some(EpmdTag::PORT2_RESP), Some(port), Some(frame)) =
            (epmd.response, epmd.port, settled.frame)
        else {
            return;
        };
        let key = (ids.src_ip, Endpoint { ip, port });
        let asked = epmd.name.clone().unwrap_or_default();
        let exchange = epmd.seen.request.map(|request| Exchange {
            client: Endpoint { ip: ids.src_ip, port: ids.src_port },
            epmd: Endpoint { ip, port: ids.dest_port },
            asked: Arc::clone(&asked),
            port,
            opened: epmd.seen.syn.map(|mark| mark.at),
            requested: request.at,
            replied: epmd.seen.reply.map_or(settled.at, |reply| reply.at),
            session_id: Arc::clone(&ids.session_id),
            reply: frame,
        });
        let forwarded = exchange.as_ref().and_then(|exchange| self.forwarded(exchange));
        if let Some(exchange) = exchange {
            remember(&mut self.recent, exchange, RECENT);
        }
        let lookup = PriorLookup {
            session_id: Arc::clone(&ids.session_id),
            reply: frame,
            asked,
            port,
            highest_version: epmd.highest_version.unwrap_or_default(),
            forwarded,
        };
        let opened = epmd.seen.syn.map(|mark| mark.at);
        let answered = AnsweredLookup { at: settled.at, opened, lookup };
        self.lookups.entry(key).or_default().push_back(answered);
        self.order.push_back(key);
        if self.order.len() > self.max_lookups {
            self.forget_oldest();
        }
    }

    /// The look-up that `outer` was passed on as: asked by the host that `outer` asked, or with the client's own port by
    /// address translation, for the same name and with the same answer, and from first to last within `outer`.
    fn forwarded(&self, outer: &Exchange) -> Option<Box<ForwardedLookup>> {
        let is_inner = |inner: &&Exchange| {
            let is_passed_on = inner.client.ip == outer.epmd.ip || inner.client == outer.client;
            let opened = inner.opened.zip(outer.opened);
            is_passed_on
                && inner.epmd != outer.epmd
                && (inner.port, &inner.asked) == (outer.port, &outer.asked)
                && opened.is_none_or(|(inner, outer)| inner >= outer)
                && inner.requested >= outer.requested
                && inner.replied <= outer.replied
        };
        let inner = self.recent.iter().rev().find(is_inner)?;
        Some(Box::new(ForwardedLookup {
            epmd: inner.epmd,
            session_id: Arc::clone(&inner.session_id),
            reply: inner.reply,
        }))
    }

    /// The look-up that led to a connection: the last one that was answered before the connection was opened.
    pub(super) fn lookup(&self, about: &Observation) -> Option<&AnsweredLookup> {
        let answered = self.lookups.get(&(about.ends.initiator.ip, about.ends.acceptor))?;
        let opened = about.tcp.first.at;
        let latest = opened.after(REORDERED);
        let earliest = opened.before(LOOKUP_AGE);
        let before = answered.iter().rev().find(|answer| answer.at <= opened);
        let found = before.or_else(|| answered.iter().find(|answer| answer.at <= latest))?;
        (found.at >= earliest).then_some(found)
    }

    /// The look-ups, the latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &PriorLookup> {
        let keys = self.order.iter().rev();
        let last = |key| self.lookups.get(key).and_then(|answered| answered.back());
        keys.filter_map(last).map(|answered| &answered.lookup)
    }

    /// Number of look-ups since a time in which `client` received the port of the node at `end`.
    pub(super) fn lookups_since(&self, client: IpAddr, end: Endpoint, since: Timestamp) -> usize {
        let answered = self.lookups.get(&(client, end)).into_iter().flatten();
        answered.filter(|answer| answer.at >= since).count()
    }

    fn forget_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else { return };
        if let Some(answered) = self.lookups.get_mut(&key) {
            answered.pop_front();
            if answered.is_empty() {
                self.lookups.remove(&key);
            }
        }
    }
}

/// A node dials right after the answer. Its setup time, 7 s by default, includes both.
pub(super) const LOOKUP_AGE: Duration = Duration::from_secs(10);

/// Captures reorder packets by milliseconds: an answer may come shortly after the SYN that it led to.
pub(super) const REORDERED: Duration = Duration::from_millis(50);

/// Answers among which one that was passed on is searched. A proxy passes an answer on within milliseconds.
const RECENT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{at, dial, mark};
    use crate::observe::EpmdPackets;

    /// The answer 9100 to a look-up of `b` that 10.0.0.1 sent to EPMD at 10.0.0.2.
    fn answer(known: &mut Registry, ms: u64) {
        let mut it = dial(ms, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").judged();
        (it.settled.at, it.settled.frame) = (at(ms), Some(mark(ms).frame));
        let seen = EpmdPackets {
            request: Some(mark(ms)),
            reply: Some(mark(ms)),
            ..EpmdPackets::default()
        };
        let epmd = EpmdObservation {
            request: Some(EpmdTag::PORT_PLEASE2_REQ),
            response: Some(EpmdTag::PORT2_RESP),
            name: Some("b".into()),
            port: Some(9100),
            outcome: EpmdOutcome::Answered,
            seen,
            ..EpmdObservation::default()
        };
        known.on_epmd(&it.settled, &epmd, &mut Vec::new());
    }

    /// The packet with the answer that led to a dial at `ms`.
    fn before(known: &Registry, ms: u64) -> Option<u64> {
        let dial = dial(ms, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").judged();
        known.lookup(&dial.seen).map(|it| it.lookup.reply.number)
    }

    #[test]
    fn the_last_answer_before_a_dial_led_to_it_and_none_that_is_old_or_came_later() {
        let mut known = Registry::new(&Limits::default());
        [1000, 2000, 30_000].into_iter().for_each(|ms| answer(&mut known, ms));
        assert_eq!(before(&known, 1500), Some(1000));
        assert_eq!(before(&known, 2000), Some(2000));
        assert_eq!(before(&known, 12_000), Some(2000));
        assert_eq!(before(&known, 12_001), None, "older than 10 s");
        assert_eq!(before(&known, 960), Some(1000), "the capture is out of order");
        assert_eq!(before(&known, 900), None);
    }

    #[test]
    fn ports_that_epmd_names_are_marked_but_for_zero() {
        let it = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").judged();
        for (port, ports) in [(9100, vec![9100]), (0, vec![])] {
            let mut marked = Vec::new();
            let epmd = EpmdObservation {
                port: Some(port),
                outcome: EpmdOutcome::Answered,
                ..EpmdObservation::default()
            };
            Registry::new(&Limits::default()).on_epmd(&it.settled, &epmd, &mut marked);
            assert_eq!(marked.iter().map(|end| end.port).collect::<Vec<_>>(), ports);
        }
    }

    #[test]
    fn the_oldest_answers_are_forgotten_first() {
        let mut known = Registry::new(&Limits { lookups: 2, ..Limits::default() });
        [1000, 2000, 3000].into_iter().for_each(|ms| answer(&mut known, ms));
        assert_eq!((before(&known, 1500), before(&known, 2500)), (None, Some(2000)));
        assert_eq!((known.order.len(), known.lookups.len()), (2, 1));
    }

    /// A look-up of a name by `from`, at an EPMD, between two times. The answer is port 9100.
    fn asks(known: &mut Registry, [from, epmd]: [&str; 2], name: &str, [since, until]: [u64; 2]) {
        let mut it = dial(since, &format!("a@h1/{from}/1"), &format!("b@h2/{epmd}/1")).judged();
        (it.settled.at, it.settled.frame) = (at(until), Some(mark(until).frame));
        let seen = EpmdPackets {
            request: Some(mark(since)),
            reply: Some(mark(until)),
            ..EpmdPackets::default()
        };
        let epmd = EpmdObservation {
            response: Some(EpmdTag::PORT2_RESP),
            name: Some(name.into()),
            port: Some(9100),
            outcome: EpmdOutcome::Answered,
            seen,
            ..EpmdObservation::default()
        };
        known.on_epmd(&it.settled, &epmd, &mut Vec::new());
    }

    #[test]
    fn a_look_up_is_passed_on_by_the_host_that_was_asked_and_for_the_same_name() {
        let passes_on = |by: &str, name: &str| {
            let mut known = Registry::new(&Limits::default());
            asks(&mut known, [by, "10.0.0.3"], name, [1010, 1020]);
            asks(&mut known, ["10.0.0.1", "10.0.0.2"], "b", [1000, 1030]);
            let dial = dial(2000, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/1").judged();
            known.lookup(&dial.seen).unwrap().lookup.forwarded.is_some()
        };
        assert!(passes_on("10.0.0.2", "b"));
        assert!(!passes_on("10.0.0.2", "c"), "another name");
        assert!(!passes_on("10.0.0.9", "b"), "another host");
    }
}
