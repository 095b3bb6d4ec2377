//! Sets of ports, for the tests that dismiss most segments.

/// A hash of two ports that is the same for both directions of a connection, and usually differs between
/// connections of the same two hosts. It is below `buckets`, a power of two.
#[inline]
pub(super) const fn bucket(a: u16, b: u16, buckets: u16) -> u16 {
    (a ^ b) & (buckets - 1)
}

/// Words of a set with one bit for each port.
const WORDS: usize = 1 << 10;

/// A set of port numbers as a bit map of 8 KiB, which stays in the first-level cache.
#[derive(Clone, Debug)]
pub struct PortSet(Box<[u64; WORDS]>);

impl PortSet {
    /// Adds a port to the set.
    pub fn insert(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    /// Removes a port from the set.
    pub fn remove(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word &= !(1 << (port & 63));
        }
    }

    /// Whether one of the two ports is in the set.
    #[inline]
    pub fn has_one_of(&self, src: u16, dst: u16) -> bool {
        (self.from(src) | self.from(dst)) & 1 == 1
    }

    /// Whether both ports are in the set.
    #[inline]
    pub fn has_both(&self, src: u16, dst: u16) -> bool {
        self.from(src) & self.from(dst) & 1 == 1
    }

    /// The word of `port`, shifted so that the bit of `port` is the lowest.
    #[inline]
    fn from(&self, port: u16) -> u64 {
        self.0.get(usize::from(port >> 6)).map_or(0, |word| word >> (port & 63))
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut set = Self::default();
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

/// Number of connections of each port, and the set of ports that have any. Most segments are of other protocols,
/// and the set dismisses them without a look into the table of connections.
#[derive(Clone, Debug, Default)]
pub(super) struct PortCounts {
    /// One counter for each port; empty until there is a connection.
    counts: Vec<u32>,
    used: PortSet,
}

impl PortCounts {
    pub(super) fn add<const N: usize>(&mut self, ports: [u16; N]) {
        if self.counts.is_empty() {
            self.counts = vec![0; 1 << 16];
        }
        for port in ports {
            if let Some(count) = self.counts.get_mut(usize::from(port)) {
                *count += 1;
                self.used.insert(port);
            }
        }
    }

    pub(super) fn subtract(&mut self, ports: [u16; 2]) {
        for port in ports {
            if let Some(count) = self.counts.get_mut(usize::from(port)) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.used.remove(port);
                }
            }
        }
    }

    /// Counts a port for the rest of the run.
    pub(super) fn pin(&mut self, port: u16) {
        self.add([port]);
    }

    /// Whether one of the two ports is a port of any connection.
    #[inline]
    pub(super) fn have_either(&self, src: u16, dst: u16) -> bool {
        self.used.has_one_of(src, dst)
    }

    /// Whether both ports are ports of connections, as the two ports of a known connection are.
    #[inline]
    pub(super) fn have_both(&self, src: u16, dst: u16) -> bool {
        self.used.has_both(src, dst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_until_its_last_connection_is_gone() {
        let mut counts = PortCounts::default();
        counts.add([1, 2]);
        counts.add([2, 2]);
        assert!(counts.have_both(2, 1) && !counts.have_both(1, 3));
        counts.subtract([2, 2]);
        assert!(counts.have_both(1, 2));
        counts.subtract([1, 2]);
        assert!(!counts.have_both(1, 2) && !counts.have_both(2, 2));
    }

    #[test]
    fn either_end_counts_and_the_last_port_too() {
        let ports: PortSet = [0, 4369, 65_535].into_iter().collect();
        for (src, dst) in [(0, 1), (40_000, 4369), (65_535, 2)] {
            assert!(ports.has_one_of(src, dst), "{src} {dst}");
        }
        assert!(!ports.has_one_of(4368, 4370));
    }
}
