//! Endpoints at which nodes listen, as far as they are known.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::decode::Endpoint;

/// Endpoints at which a node listens, or did; a bounded number of them.
#[derive(Debug)]
pub struct NodePorts {
    /// Ports named on the command line, on any host.
    named: Vec<RangeInclusive<u16>>,
    ends: HashSet<Endpoint, RandomState>,
    /// The same endpoints in the order in which they became known. Nodes take a new port at each start, so the set
    /// grows for as long as a capture runs.
    order: VecDeque<Endpoint>,
    capacity: usize,
    evictions: u64,
}

impl NodePorts {
    /// Starts with the ports that the user named, and keeps at most `capacity` endpoints of nodes beside them.
    pub fn new(named: Vec<RangeInclusive<u16>>, capacity: usize) -> Self {
        let (ends, order) = (HashSet::default(), VecDeque::new());
        Self { named, ends, order, capacity, evictions: 0 }
    }

    /// Endpoints that were forgotten because the bound was reached.
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Endpoints that were added so far.
    pub fn inserted(&self) -> u64 {
        self.evictions + self.order.len() as u64
    }

    /// The endpoints that were added after so many, unless they were forgotten since.
    pub fn since(&self, inserted: u64) -> impl Iterator<Item = Endpoint> {
        let known = usize::try_from(inserted.saturating_sub(self.evictions)).unwrap_or(usize::MAX);
        self.order.iter().skip(known).copied()
    }

    /// Whether a node listens at `end`.
    pub fn contains(&self, end: Endpoint) -> bool {
        self.ends.contains(&end) || self.named.iter().any(|range| range.contains(&end.port))
    }

    /// Adds an endpoint at which a node listens. `true` if it was not known.
    pub fn insert(&mut self, end: Endpoint) -> bool {
        if !self.ends.insert(end) {
            return false;
        }
        self.order.push_back(end);
        if self.order.len() > self.capacity {
            // An endpoint that is still in use becomes known again with the next session to it.
            self.evictions += 1;
            if let Some(oldest) = self.order.pop_front() {
                self.ends.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_that_became_known_last_are_kept() {
        let mut ports = NodePorts::new(Vec::new(), 3);
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        let new = [1, 2, 2, 3, 4, 5].into_iter().filter(|port| ports.insert(end(*port))).count();
        assert_eq!(new, 5);
        let known: Vec<_> = (0..9).filter(|port| ports.contains(end(*port))).collect();
        assert_eq!((known, ports.evictions()), (vec![3, 4, 5], 2));
    }
}
