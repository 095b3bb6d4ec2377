//! What port mappers have said: which port belongs to which name, and who asked.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::decode::Endpoint;
use crate::limits::Limits;
use crate::protocol::Question;
use crate::record::{ConnectionIds, Epmd, EpmdOutcome, Event, Lookup};
use crate::time::Timestamp;

/// EPMD's answers so far.
#[derive(Debug)]
pub(super) struct Registry {
    /// Ports named on the command line, on any host.
    named: Vec<RangeInclusive<u16>>,
    /// Ports on which a node listens, or did.
    ports: HashSet<Endpoint, RandomState>,
    /// In the order in which they were marked: nodes take a new port at each start, for months.
    port_order: VecDeque<Endpoint>,
    max_ports: usize,
    /// Answered look-ups, by who asked and for which port the answer was; oldest first.
    lookups: HashMap<(IpAddr, Endpoint), VecDeque<Answered>, RandomState>,
    /// Keys of `lookups` in the order of the answers.
    order: VecDeque<(IpAddr, Endpoint)>,
    max_lookups: usize,
    evictions: u64,
}

/// An answer to a look-up.
#[derive(Debug)]
pub(super) struct Answered {
    at: Timestamp,
    /// When the asking connection was opened, where that was seen.
    pub(super) opened: Option<Timestamp>,
    pub(super) lookup: Lookup,
}

impl Registry {
    pub(super) fn new(limits: &Limits, named: Vec<RangeInclusive<u16>>) -> Self {
        Self {
            named,
            ports: HashSet::default(),
            port_order: VecDeque::new(),
            max_ports: limits.ports,
            lookups: HashMap::default(),
            order: VecDeque::new(),
            max_lookups: limits.lookups,
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    pub(super) fn is_node_port(&self, end: Endpoint) -> bool {
        self.ports.contains(&end) || self.named.iter().any(|range| range.contains(&end.port))
    }

    /// A node listens at `end`.
    pub(super) fn mark(&mut self, end: Endpoint, marked: &mut Vec<Endpoint>) {
        if !self.ports.insert(end) {
            return;
        }
        marked.push(end);
        self.port_order.push_back(end);
        if self.port_order.len() > self.max_ports {
            // One that is still in use is marked again by its next session.
            self.evictions += 1;
            if let Some(oldest) = self.port_order.pop_front() {
                self.ports.remove(&oldest);
            }
        }
    }

    /// A port mapper has spoken.
    pub(super) fn on_epmd(
        &mut self,
        event: &Event,
        ids: &ConnectionIds,
        epmd: &Epmd,
        marked: &mut Vec<Endpoint>,
    ) {
        if epmd.outcome != EpmdOutcome::Answered {
            return;
        }
        let ip = ids.dest_ip;
        for port in epmd.names.iter().flatten().map(|known| known.port).chain(epmd.port) {
            if port != 0 {
                self.mark(Endpoint { ip, port }, marked);
            }
        }
        let (Some("PORT2_RESP"), Some(port), Some(frame)) = (epmd.response, epmd.port, event.frame)
        else {
            return;
        };
        let key = (ids.src_ip, Endpoint { ip, port });
        let lookup = Lookup {
            session_id: Arc::clone(&ids.session_id),
            reply: frame,
            asked: epmd.name.clone().unwrap_or_default(),
            port,
            highest_version: epmd.highest_version.unwrap_or_default(),
        };
        let opened = epmd.seen.syn.map(|mark| mark.at);
        self.lookups.entry(key).or_default().push_back(Answered { at: event.at, opened, lookup });
        self.order.push_back(key);
        if self.order.len() > self.max_lookups {
            self.forget_oldest();
        }
    }

    /// The look-up that led to a connection: the last one answered before it was opened.
    pub(super) fn lookup(&self, about: &Question<'_>) -> Option<&Answered> {
        let answered = self.lookups.get(&(about.initiator, about.acceptor))?;
        let latest = about.opened.after(REORDERED);
        let earliest = about.opened.before(LOOKUP_AGE);
        let before = answered.iter().rev().find(|answer| answer.at <= about.opened);
        let found = before.or_else(|| answered.iter().find(|answer| answer.at <= latest))?;
        (found.at >= earliest).then_some(found)
    }

    /// How often `asker` was given the port of the node at `end` since then.
    pub(super) fn lookups_since(&self, asker: IpAddr, end: Endpoint, since: Timestamp) -> usize {
        let answered = self.lookups.get(&(asker, end)).into_iter().flatten();
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

/// A node dials right after the answer; its set-up timer, 7 s by default, runs for both.
pub(super) const LOOKUP_AGE: Duration = Duration::from_secs(10);

/// Captures reorder by milliseconds: an answer may show a little after the SYN that it led to.
pub(super) const REORDERED: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_marked_last_are_known() {
        let mut registry = Registry::new(&Limits { ports: 3, ..Limits::default() }, Vec::new());
        let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port };
        let mut marked = Vec::new();
        for port in [1, 2, 2, 3, 4, 5] {
            registry.mark(end(port), &mut marked);
        }
        assert_eq!(marked.len(), 5);
        let known: Vec<_> = (0..9).filter(|port| registry.is_node_port(end(*port))).collect();
        assert_eq!((known, registry.evictions()), (vec![3, 4, 5], 2));
    }
}
