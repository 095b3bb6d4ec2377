//! The first frames of connections whose opening is in none of the frames so far.

use crate::flow::FlowKey;

/// Counts the first frames of each connection, in a table of fixed size. The hash has no seed, as that of
/// [`PendingTable`](crate::flow::PendingTable); a connection whose entry made room for others gets more frames kept.
#[derive(Debug)]
pub(super) struct FirstFrames {
    /// Entries with the same lower bits of the hash, the newest first. Of an entry, the upper bits are others of the hash,
    /// and the lower ones count.
    buckets: Vec<[u32; WAYS]>,
}

impl Default for FirstFrames {
    fn default() -> Self {
        Self { buckets: vec![[0; WAYS]; BUCKETS] }
    }
}

impl FirstFrames {
    /// Counts a frame of a connection; whether it is one of the first.
    pub(super) fn count(&mut self, key: &FlowKey) -> bool {
        let Some(entry) = self.entry(key) else { return true };
        let is_first = *entry & COUNT < FIRST;
        *entry += u32::from(is_first);
        is_first
    }

    /// No further frame of this connection is one of the first.
    pub(super) fn end(&mut self, key: &FlowKey) {
        if let Some(entry) = self.entry(key) {
            *entry = *entry & !COUNT | FIRST;
        }
    }

    /// Whether no further frame of this connection is one of the first.
    pub(super) fn has_ended(&mut self, key: &FlowKey) -> bool {
        self.entry(key).is_some_and(|entry| *entry & COUNT >= FIRST)
    }

    /// The entry of a key, which takes the place of the oldest if it is new.
    #[expect(clippy::cast_possible_truncation, reason = "one part each")]
    fn entry(&mut self, key: &FlowKey) -> Option<&mut u32> {
        let hash = key.unseeded_hash();
        let mark = (hash >> 32) as u32 & !COUNT | (COUNT + 1);
        let bucket = self.buckets.get_mut(hash as usize & (BUCKETS - 1))?;
        if let Some(way) = bucket.iter().position(|entry| entry & !COUNT == mark) {
            return bucket.get_mut(way);
        }
        bucket.rotate_right(1);
        let entry = bucket.first_mut()?;
        *entry = mark;
        Some(entry)
    }
}

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
}
