//! A table of bounded size for the connections that are followed.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::FlowKey;
use super::ports::{PortCounts, bucket};

/// Identifies a connection in the table as long as it is there. The identifier is used again later.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowId(u32);

/// Connections by key. A full table evicts the connection that was unused for longest, approximately.
#[derive(Debug)]
pub struct FlowTable<C> {
    ids: HashMap<FlowKey, FlowId, RandomState>,
    ports: PortCounts,
    /// The connection found last in each bucket of ports. Where few connections are busy, it saves the look-up in
    /// `ids`.
    recent: Box<[FlowId; BUCKETS as usize]>,
    slots: Vec<Slot<C>>,
    free: Vec<FlowId>,
    /// The next slot that an eviction looks at.
    hand: usize,
    capacity: usize,
    has_evicted: bool,
}

#[derive(Debug)]
struct Slot<C> {
    entry: Option<(FlowKey, Box<C>)>,
    /// Set by use, cleared by an eviction that passes: the second-chance algorithm, which needs no list.
    used: bool,
}

impl<C> FlowTable<C> {
    /// Makes an empty table for `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        Self {
            ids: HashMap::default(),
            ports: PortCounts::default(),
            recent: Box::new([FlowId(u32::MAX); BUCKETS as usize]),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity,
            has_evicted: false,
        }
    }

    /// Whether a connection between such ports may be in the table. Two loads from a table in the first-level
    /// cache.
    #[inline]
    pub fn may_have(&self, src_port: u16, dst_port: u16) -> bool {
        self.ports.have_both(src_port, dst_port)
    }

    /// From here on, [`Self::may_concern`] holds for this port.
    pub fn watch(&mut self, port: u16) {
        self.ports.pin(port);
    }

    /// Whether one of the two is the port of a connection in the table, or [watched](Self::watch). This is the
    /// first test of each segment, and its table of 8 KiB dismisses nearly all of them.
    #[inline]
    pub fn may_concern(&self, src_port: u16, dst_port: u16) -> bool {
        self.ports.have_either(src_port, dst_port)
    }

    /// The identifier of the connection with this key.
    #[inline]
    pub fn find(&mut self, key: &FlowKey) -> Option<FlowId> {
        let id = *self.recent.get(recent_place(key))?;
        let slot = self.slots.get(id.0 as usize);
        let is_it = slot.is_some_and(|slot| slot.entry.as_ref().is_some_and(|(it, _)| it == key));
        if is_it { Some(id) } else { self.look_up(key) }
    }

    #[inline(never)]
    fn look_up(&mut self, key: &FlowKey) -> Option<FlowId> {
        let id = self.ids.get(key).copied()?;
        if let Some(recent) = self.recent.get_mut(recent_place(key)) {
            *recent = id;
        }
        Some(id)
    }

    /// The connection with this identifier, which is then in use.
    #[inline]
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut C> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        slot.used = true;
        slot.entry.as_mut().map(|(_, connection)| connection.as_mut())
    }

    /// The connection with this identifier; the eviction does not count this as use.
    pub fn peek(&self, id: FlowId) -> Option<&C> {
        self.slots.get(id.0 as usize)?.entry.as_ref().map(|(_, connection)| connection.as_ref())
    }

    /// Whether a connection with this key is in the table.
    pub fn has(&self, key: &FlowKey) -> bool {
        self.ids.contains_key(key)
    }

    /// Whether a connection had to make room for another.
    pub const fn has_evicted(&self) -> bool {
        self.has_evicted
    }

    /// The keys of all connections, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &FlowKey> {
        self.ids.keys()
    }

    /// Number of connections in the table.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Adds a connection. Returns its identifier, and the connection that was evicted for it.
    pub fn insert(&mut self, key: FlowKey, connection: C) -> (FlowId, Option<Box<C>>) {
        let evicted = if self.ids.len() >= self.capacity { self.evict() } else { None };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { entry: None, used: true });
            FlowId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            *slot = Slot { entry: Some((key, Box::new(connection))), used: true };
            if self.ids.insert(key, id).is_none() {
                self.ports.add(key.ports());
            }
        }
        (id, evicted)
    }

    /// Removes the connection with this identifier.
    pub fn remove(&mut self, id: FlowId) -> Option<Box<C>> {
        let (key, connection) = self.slots.get_mut(id.0 as usize)?.entry.take()?;
        if self.ids.remove(&key).is_some() {
            self.ports.subtract(key.ports());
        }
        self.free.push(id);
        Some(connection)
    }

    /// Removes all connections, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = Box<C>> {
        self.ids.clear();
        self.ports = PortCounts::default();
        self.free.clear();
        self.hand = 0;
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| Some(slot.entry?.1))
    }

    fn evict(&mut self) -> Option<Box<C>> {
        // At most two rounds: the first clears every mark.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let hand = self.hand;
            self.hand = (hand + 1) % self.slots.len().max(1);
            let slot = self.slots.get_mut(hand)?;
            if slot.entry.is_some() && !std::mem::take(&mut slot.used) {
                self.has_evicted = true;
                return self.remove(FlowId(u32::try_from(hand).ok()?));
            }
        }
        None
    }
}

/// Index in [`FlowTable::recent`] for this key.
#[inline]
fn recent_place(key: &FlowKey) -> usize {
    let [low, high] = key.ports();
    bucket(low, high, BUCKETS).into()
}

/// A power of two; on most links several times the number of connections that are busy at the same time. 4 KiB.
const BUCKETS: u16 = 1024;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::decode::Endpoint;

    fn key(port: u16) -> FlowKey {
        let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port };
        FlowKey::new(end(1), end(port)).0
    }

    #[test]
    fn a_full_table_forgets_one_and_keeps_what_is_in_use() {
        let mut table = FlowTable::new(3);
        let ids: Vec<_> = (10..13).map(|port| table.insert(key(port), port).0).collect();
        assert_eq!(table.insert(key(13), 13).1.as_deref(), Some(&10));
        table.get_mut(ids[1]);
        assert_eq!(table.insert(key(14), 14).1.as_deref(), Some(&12));
        assert_eq!(table.find(&key(11)), Some(ids[1]));
        assert_eq!(table.drain().count(), 3);
    }

    #[test]
    fn a_cached_identifier_is_not_used_for_another_connection() {
        let mut table = FlowTable::new(2000);
        let ids: Vec<_> = (10..1010).map(|port| table.insert(key(port), port).0).collect();
        for _ in 0..2 {
            for (port, id) in (10..).zip(&ids) {
                assert_eq!(table.find(&key(port)), Some(*id));
                assert_eq!(table.find(&key(port)), Some(*id));
            }
        }
        table.remove(ids[0]);
        assert_eq!(table.find(&key(10)), None);
        assert_eq!(table.insert(key(2000), 2000).0, ids[0]);
        assert_eq!((table.find(&key(10)), table.find(&key(2000))), (None, Some(ids[0])));
        table.drain().for_each(drop);
        assert_eq!(table.find(&key(2000)), None);
    }

    #[test]
    fn an_identifier_is_used_again_after_its_connection_was_removed() {
        let mut table = FlowTable::new(8);
        let (id, _) = table.insert(key(10), 10);
        assert_eq!(table.find(&key(10)), Some(id));
        assert_eq!(table.remove(id).as_deref(), Some(&10));
        assert_eq!(table.find(&key(10)), None);
        assert_eq!(table.insert(key(11), 11).0, id);
    }
}
