//! Which ports matter.

/// A set of port numbers, as bits: asked for each segment.
#[derive(Clone)]
pub struct PortSet(Vec<u64>);

impl PortSet {
    /// Adds a port.
    pub fn insert(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    /// Whether one of the two ends of a segment is at a port of the set.
    pub fn has_one_of(&self, src: u16, dst: u16) -> bool {
        self.contains(src) || self.contains(dst)
    }

    fn contains(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

impl FromIterator<u16> for PortSet {
    fn from_iter<I: IntoIterator<Item = u16>>(ports: I) -> Self {
        let mut set = Self(vec![0; 1 << 10]);
        ports.into_iter().for_each(|port| set.insert(port));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_end_counts_and_the_last_port_too() {
        let ports: PortSet = [0, 4369, 65_535].into_iter().collect();
        for (src, dst) in [(0, 1), (40_000, 4369), (65_535, 2)] {
            assert!(ports.has_one_of(src, dst), "{src} {dst}");
        }
        assert!(!ports.has_one_of(4368, 4370));
    }
}
