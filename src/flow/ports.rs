//! Which ports matter.

/// A number that is the same for both ways of a connection, and differs between those from one host to another:
/// below `buckets`, a power of two.
#[inline]
pub(super) const fn bucket(a: u16, b: u16, buckets: u16) -> u16 {
    (a ^ b) & (buckets - 1)
}

/// One bit a port.
const WORDS: usize = 1 << 10;

/// A set of port numbers, as bits: asked for each segment.
#[derive(Clone, Debug)]
pub struct PortSet(Box<[u64; WORDS]>);

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    /// Takes a port out.
    pub fn remove(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word &= !(1 << (port & 63));
        }
    }

    /// Whether one of the two ends of a segment is at a port of the set.
    #[inline]
    pub fn has_one_of(&self, src: u16, dst: u16) -> bool {
        (self.from(src) | self.from(dst)) & 1 == 1
    }

    /// Whether both are.
    #[inline]
    pub fn has_both(&self, src: u16, dst: u16) -> bool {
        self.from(src) & self.from(dst) & 1 == 1
    }

    /// Bits from that of `port` on.
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

/// How many connections have each port, and which ports have any: the answer for most segments, which are
/// of other protocols, without a look into the table.
#[derive(Clone, Debug, Default)]
pub(super) struct PortCounts {
    /// Empty until the first connection comes.
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

    /// Counts a port once and for all.
    pub(super) fn pin(&mut self, port: u16) {
        self.add([port]);
    }

    /// Whether one of the ports of a segment is the port of any.
    #[inline]
    pub(super) fn have_either(&self, src: u16, dst: u16) -> bool {
        self.used.has_one_of(src, dst)
    }

    /// Whether both ports of a segment are ports of connections, as those of one are.
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
