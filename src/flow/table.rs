//! The connections that are followed, in a table of bounded size.

use hashbrown::HashTable;

use super::{FlowKey, KeyHash};

/// Place of a connection in the table; stays the same while it is there.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowId(u32);

/// Connections by key. When full, the one that was quiet for longest, or nearly so, makes room.
#[derive(Debug)]
pub struct FlowTable<C> {
    ids: HashTable<(KeyHash, FlowId)>,
    slots: Vec<Slot<C>>,
    free: Vec<FlowId>,
    /// Next slot that the search for room looks at.
    hand: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<C> {
    entry: Option<Entry<C>>,
    /// Set by use, cleared by the search for room: second chance, which needs no list to keep.
    used: bool,
}

#[derive(Debug)]
struct Entry<C> {
    key: FlowKey,
    hash: KeyHash,
    connection: Box<C>,
}

impl<C> FlowTable<C> {
    /// An empty table for `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        Self { ids: HashTable::new(), slots: Vec::new(), free: Vec::new(), hand: 0, capacity }
    }

    /// Where the connection of `key` is.
    pub fn find(&self, hash: KeyHash, key: &FlowKey) -> Option<FlowId> {
        let is_meant = |(_, id): &(KeyHash, FlowId)| {
            let slot = self.slots.get(id.0 as usize);
            slot.and_then(|slot| slot.entry.as_ref()).is_some_and(|entry| entry.key == *key)
        };
        self.ids.find(hash.0, is_meant).map(|(_, id)| *id)
    }

    /// The connection at `id`.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut C> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        slot.used = true;
        slot.entry.as_mut().map(|entry| entry.connection.as_mut())
    }

    /// Puts a connection in, and gives back the one that had to make room.
    pub fn insert(
        &mut self,
        hash: KeyHash,
        key: FlowKey,
        connection: C,
    ) -> (FlowId, Option<Box<C>>) {
        let evicted = if self.ids.len() >= self.capacity { self.evict() } else { None };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { entry: None, used: true });
            FlowId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            let connection = Box::new(connection);
            *slot = Slot { entry: Some(Entry { key, hash, connection }), used: true };
            self.ids.insert_unique(hash.0, (hash, id), |(hash, _)| hash.0);
        }
        (id, evicted)
    }

    /// Takes the connection at `id` out.
    pub fn remove(&mut self, id: FlowId) -> Option<Box<C>> {
        let Entry { hash, connection, .. } = self.slots.get_mut(id.0 as usize)?.entry.take()?;
        if let Ok(entry) = self.ids.find_entry(hash.0, |(_, known)| *known == id) {
            entry.remove();
        }
        self.free.push(id);
        Some(connection)
    }

    /// Takes everything out, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = Box<C>> {
        self.ids.clear();
        self.free.clear();
        self.hand = 0;
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| Some(slot.entry?.connection))
    }

    fn evict(&mut self) -> Option<Box<C>> {
        // Two rounds at the most: the first clears every mark that it does not find cleared.
        for _ in 0..self.slots.len().saturating_mul(2) {
            let hand = self.hand;
            self.hand = (hand + 1) % self.slots.len().max(1);
            let slot = self.slots.get_mut(hand)?;
            if slot.entry.is_some() && !std::mem::take(&mut slot.used) {
                return self.remove(FlowId(u32::try_from(hand).ok()?));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::decode::Endpoint;

    /// A key and its hash; the hash is the same for all, which is the worst that can happen.
    fn key(port: u16) -> (KeyHash, FlowKey) {
        let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port };
        (KeyHash(7), FlowKey::new(end(1), end(port)).0)
    }

    fn insert(table: &mut FlowTable<u16>, port: u16) -> (FlowId, Option<Box<u16>>) {
        let (hash, key) = key(port);
        table.insert(hash, key, port)
    }

    fn find(table: &FlowTable<u16>, port: u16) -> Option<FlowId> {
        let (hash, key) = key(port);
        table.find(hash, &key)
    }

    #[test]
    fn a_full_table_forgets_one_and_keeps_what_is_in_use() {
        let mut table = FlowTable::new(3);
        let ids: Vec<_> = (10..13).map(|port| insert(&mut table, port).0).collect();
        assert_eq!(insert(&mut table, 13).1.as_deref(), Some(&10));
        table.get_mut(ids[1]);
        assert_eq!(insert(&mut table, 14).1.as_deref(), Some(&12));
        assert_eq!(find(&table, 11), Some(ids[1]));
        assert_eq!(table.drain().count(), 3);
    }

    #[test]
    fn a_place_that_was_left_is_used_again() {
        let mut table = FlowTable::new(8);
        let (id, _) = insert(&mut table, 10);
        assert_eq!(table.remove(id).as_deref(), Some(&10));
        assert_eq!(find(&table, 10), None);
        assert_eq!(insert(&mut table, 11).0, id);
    }
}
