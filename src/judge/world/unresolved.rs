//! Names that gave no address, and neighbours that did not answer.
//!
//! In: questions without an address, and the answers that have one. Out: what each client could not resolve. Whether
//! that matters to a node is decided by the rules.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::limits::{Limits, remember};
use crate::names::{NoAddress, Resolved, Unresolved};
use crate::packet::PacketRef;
use crate::questions::NoNeighbour;

/// What no host could resolve, by client and name.
#[derive(Debug)]
pub struct UnresolvedNames {
    failed: HashMap<NameKey, FailedName, RandomState>,
    /// Keys of `failed` and `resolved`, the oldest first.
    order: VecDeque<NameKey>,
    resolved: HashSet<NameKey, RandomState>,
    /// Hosts of the same network that did not answer, at most [`MAX_NEIGHBOURS`].
    neighbours: VecDeque<NoNeighbour>,
    capacity: usize,
    evictions: u64,
}

/// The client, and the name in lower case.
type NameKey = (IpAddr, Arc<str>);

/// A name for which one client got no address.
#[derive(Clone, Debug)]
pub struct FailedName {
    /// The client that asked.
    pub client: IpAddr,
    /// The name server that was asked last.
    pub server: IpAddr,
    /// The name in lower case.
    pub name: Arc<str>,
    /// The reason of the last failure.
    pub reason: NoAddress,
    /// Whether the last question was for IPv6 addresses.
    pub is_v6: bool,
    /// The packet with the first question.
    pub first: PacketRef,
    /// The last question, and its answer if there was one.
    pub last: (PacketRef, Option<PacketRef>),
    /// Number of questions without an address.
    pub count: u64,
}

impl UnresolvedNames {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            failed: HashMap::default(),
            order: VecDeque::new(),
            resolved: HashSet::default(),
            neighbours: VecDeque::new(),
            capacity: limits.resolved,
            evictions: 0,
        }
    }

    /// Number of names that were forgotten because of the limit.
    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The names that clients asked for and never got an address for, in the order of the first questions.
    pub fn failed(&self) -> Vec<&FailedName> {
        let mut failed: Vec<_> = self.failed.values().collect();
        // Several may be of one moment: their order is the same in each run.
        failed.sort_by_key(|it| (it.first.at, &*it.name, it.first.frame, it.client));
        failed
    }

    /// Whether this client got an address for a name that is `name`, or begins with its labels.
    pub fn was_resolved(&self, client: IpAddr, name: &str) -> bool {
        self.resolved.iter().any(|(other, resolved)| *other == client && extends(resolved, name))
    }

    /// Number of names that any client got an address for.
    pub fn resolved(&self) -> usize {
        self.resolved.len()
    }

    /// The hosts of the same network that did not answer.
    pub fn neighbours(&self) -> impl Iterator<Item = &NoNeighbour> {
        self.neighbours.iter()
    }

    pub(super) fn on_resolved(&mut self, it: &Resolved) {
        let Some(client) = it.client.filter(|_| !it.ips.is_empty()) else { return };
        let key = (client, Arc::from(it.name.to_ascii_lowercase()));
        self.failed.remove(&key);
        if self.resolved.insert(key.clone()) {
            self.remember(key);
        }
    }

    pub(super) fn on_unresolved(&mut self, it: Unresolved) {
        let Unresolved { question, answer, reason } = it;
        let name: Arc<str> = question.name.to_ascii_lowercase().into();
        let key = (question.client, Arc::clone(&name));
        if self.resolved.contains(&key) {
            return;
        }
        let last = (question.mark, answer);
        if let Some(known) = self.failed.get_mut(&key) {
            (known.server, known.reason, known.is_v6) = (question.server, reason, question.is_v6);
            (known.last, known.count) = (last, known.count + 1);
            return;
        }
        let (client, server, is_v6) = (question.client, question.server, question.is_v6);
        let first = question.mark;
        let failed = FailedName { client, server, name, reason, is_v6, first, last, count: 1 };
        self.failed.insert(key.clone(), failed);
        self.remember(key);
    }

    pub(super) fn on_no_neighbour(&mut self, it: NoNeighbour) {
        remember(&mut self.neighbours, it, MAX_NEIGHBOURS);
    }

    fn remember(&mut self, key: NameKey) {
        self.order.push_back(key);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.failed.remove(&oldest);
            self.resolved.remove(&oldest);
            self.evictions += 1;
        }
    }
}

/// Whether `name` begins with all labels of `start`: a resolver appends its search domains.
pub(crate) fn extends(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Neighbours that are kept: more than a few are those of a host that searches its network.
const MAX_NEIGHBOURS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::mark;
    use crate::names::Question;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn asked(name: &str, ms: u64) -> Unresolved {
        let (mark, name) = (mark(ms), name.into());
        let question = Question { mark, client: CLIENT, server: CLIENT, name, is_v6: false };
        Unresolved { question, answer: None, reason: NoAddress::NoAnswer }
    }

    fn resolved(name: &str) -> Resolved {
        Resolved { mark: mark(5), client: Some(CLIENT), name: name.into(), ips: vec![CLIENT] }
    }

    fn failed(names: &UnresolvedNames) -> Vec<(&str, u64)> {
        names.failed().into_iter().map(|it| (&*it.name, it.count)).collect()
    }

    #[test]
    fn a_name_is_failed_until_it_is_resolved_and_never_again() {
        let mut names = UnresolvedNames::new(&Limits::default());
        names.on_unresolved(asked("One.example", 1));
        names.on_unresolved(asked("one.example", 2));
        names.on_unresolved(asked("two.example", 3));
        assert_eq!(failed(&names), [("one.example", 2), ("two.example", 1)]);
        names.on_resolved(&resolved("ONE.example"));
        names.on_unresolved(asked("one.example", 4));
        assert_eq!(failed(&names), [("two.example", 1)]);
        assert!(names.was_resolved(CLIENT, "one") && !names.was_resolved(CLIENT, "on"));
        let other = [10, 0, 0, 2].into();
        assert!(!names.was_resolved(other, "one"), "what another host asked shows nothing");
    }

    #[test]
    fn what_several_clients_asked_at_one_moment_has_one_order() {
        let mut names = UnresolvedNames::new(&Limits::default());
        let clients: Vec<IpAddr> = (1..20).map(|host| [10, 0, 0, host].into()).collect();
        for client in &clients {
            let mut asked = asked("one", 1);
            asked.question.client = *client;
            names.on_unresolved(asked);
        }
        let order: Vec<_> = names.failed().iter().map(|it| it.client).collect();
        assert_eq!(order, clients);
    }

    #[test]
    fn the_oldest_names_are_forgotten_first_and_counted() {
        let mut names = UnresolvedNames::new(&Limits { resolved: 2, ..Limits::default() });
        names.on_unresolved(asked("one", 1));
        names.on_resolved(&resolved("two"));
        assert_eq!(names.evictions(), 0);
        names.on_unresolved(asked("three", 3));
        assert_eq!((failed(&names), names.evictions()), (vec![("three", 1)], 1));
        names.on_unresolved(asked("four", 4));
        assert_eq!(failed(&names), [("three", 1), ("four", 1)]);
        assert_eq!((names.resolved(), names.evictions()), (0, 2));
    }
}
