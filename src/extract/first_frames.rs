//! The first frames of connections whose opening is in none of the frames so far.

use crate::flow::FlowKey;

/// Counts the first frames of each connection, in a table of fixed size. The hash has no seed, as that of
/// [`PendingTable`](crate::flow::PendingTable); a connection whose entry made room for others gets more frames kept.
#[derive(Debug)]
pub(super) struct FirstFrames {
    /// The entries that were used last, one for each value of some bits of the hash. The table is larger than a processor's
    /// caches: each use of it waits for memory, and most connections are used some times within a short while.
    recent: Vec<RecentEntry>,
    /// Entries whose place there was taken, until they are put back together: the waits for memory then overlap.
    displaced: Vec<RecentEntry>,
    /// Entries with the same lower bits of the hash, the newest first. Of an entry, the upper bits are others of the hash,
    /// and the lower ones count.
    buckets: Vec<EntryBucket>,
}

/// Entries in one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct EntryBucket([u32; WAYS]);

/// An entry, and the bucket that it is put into when another takes its place here.
#[derive(Clone, Copy, Debug, Default)]
struct RecentEntry {
    bucket: u32,
    entry: u32,
}

impl Default for FirstFrames {
    fn default() -> Self {
        Self {
            recent: vec![RecentEntry::default(); RECENT],
            displaced: Vec::with_capacity(DISPLACED),
            buckets: vec![EntryBucket::default(); BUCKETS],
        }
    }
}

impl FirstFrames {
    /// Counts a frame of a connection; whether it is one of the first.
    pub(super) fn count(&mut self, key: &FlowKey) -> bool {
        let Some(entry) = self.entry(key, true) else { return true };
        let is_first = *entry & COUNT < FIRST;
        *entry += u32::from(is_first);
        is_first
    }

    /// No further frame of this connection is one of the first.
    pub(super) fn end(&mut self, key: &FlowKey) {
        if let Some(entry) = self.entry(key, false) {
            *entry = *entry & !COUNT | FIRST;
        }
    }

    /// Whether no further frame of this connection is one of the first.
    pub(super) fn has_ended(&mut self, key: &FlowKey) -> bool {
        self.entry(key, true).is_some_and(|entry| *entry & COUNT >= FIRST)
    }

    /// The entry of a key, with its count if that `is_read`.
    #[expect(clippy::cast_possible_truncation, reason = "one part each")]
    #[inline]
    fn entry(&mut self, key: &FlowKey, is_read: bool) -> Option<&mut u32> {
        let hash = key.unseeded_hash();
        let mark = (hash >> 32) as u32 & !COUNT | (COUNT + 1);
        let bucket = hash as u32 & (BUCKETS as u32 - 1);
        let place = (hash as u32 / BUCKETS as u32) as usize & (RECENT - 1);
        let recent = self.recent.get(place)?;
        if (recent.bucket, recent.entry & !COUNT) != (bucket, mark) {
            self.displaced.push(*recent);
            if is_read || self.displaced.len() >= DISPLACED {
                self.put_back();
            }
            let known = if is_read { self.known(bucket, mark).copied() } else { None };
            *self.recent.get_mut(place)? = RecentEntry { bucket, entry: known.unwrap_or(mark) };
        }
        self.recent.get_mut(place).map(|recent| &mut recent.entry)
    }

    /// The entry of a bucket with this mark.
    fn known(&mut self, bucket: u32, mark: u32) -> Option<&mut u32> {
        let EntryBucket(entries) = self.buckets.get_mut(bucket as usize)?;
        entries.iter_mut().find(|entry| **entry & !COUNT == mark)
    }

    /// Puts the displaced entries into their buckets, where each takes the place of the oldest if it is new.
    fn put_back(&mut self) {
        let mut displaced = std::mem::take(&mut self.displaced);
        for RecentEntry { bucket, entry } in displaced.drain(..) {
            if let Some(known) = self.known(bucket, entry & !COUNT) {
                *known = entry;
            } else if let Some(EntryBucket(entries)) = self.buckets.get_mut(bucket as usize) {
                entries.rotate_right(1);
                if let Some(first) = entries.first_mut() {
                    *first = entry;
                }
            }
        }
        self.displaced = displaced;
    }
}

/// Entries that are put back together.
const DISPLACED: usize = 32;

/// Entries that were used last, a power of two: 32 KiB.
const RECENT: usize = 1 << 12;

/// A power of two. With its ways, 1 MiB.
const BUCKETS: usize = 1 << 15;

/// Entries of a bucket: half a cache line.
const WAYS: usize = 8;

/// The bits of an entry that count.
const COUNT: u32 = 7;

/// Frames in which a connection begins: those of the opening, and one of each side.
const FIRST: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Endpoint;

    fn key(port: u16) -> FlowKey {
        let end = |port| Endpoint { ip: [10, 0, 0, 1].into(), port };
        FlowKey::new(end(port), end(80)).0
    }

    #[test]
    fn the_first_frames_of_each_connection_are_counted() {
        let mut frames = FirstFrames::default();
        for port in 1000..1100 {
            let first = (0..20).filter(|_| frames.count(&key(port))).count();
            assert_eq!(first, FIRST as usize, "{port}");
        }
        frames.end(&key(5));
        assert!(!frames.count(&key(5)) && frames.has_ended(&key(5)));
        assert!(!frames.has_ended(&key(6)) && frames.count(&key(6)));
    }

    #[test]
    fn counts_are_kept_behind_more_connections_than_were_used_last() {
        let mut frames = FirstFrames::default();
        let connections = || (1..=20_000).map(key);
        for round in 0..FIRST {
            assert!(connections().all(|key| frames.count(&key)), "{round}");
        }
        assert!(connections().all(|key| !frames.count(&key)));
        connections().take(10_000).for_each(|key| frames.end(&key));
        assert!(connections().all(|key| frames.has_ended(&key)));
    }
}
