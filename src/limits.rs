//! Every bound of the program, with the reason for its default.
//!
//! Hostile input is normal: whatever a capture can make grow has its bound here, in octets where it
//! holds octets.

use std::time::Duration;

/// Tags, labels and session headers read between one link header and its IP datagram. Three are
/// rare in honest traffic; a frame made of nothing but tags must end somewhere.
pub const LINK_TAGS: usize = 8;

/// Tunnels opened, one in the other. A container network over a provider's tunnel has two.
pub const TUNNELS: usize = 4;

/// Bounds of the table in which IP fragments wait for one another.
#[derive(Clone, Copy, Debug)]
pub struct DefragLimits {
    /// Datagrams waiting at once. Arbitrary: the octets bind first unless the fragments are tiny.
    pub datagrams: usize,
    /// Octets held for all of them, bookkeeping included. What Linux allows itself by default
    /// (`ipfrag_high_thresh`, 4 MiB).
    pub octets: usize,
    /// Pieces of one datagram. One of 65,535 octets has 119 over the smallest common MTU of 576.
    pub pieces: usize,
    /// Time on the capture's clock from the first fragment to the last. What Linux waits for IPv4
    /// (`ipfrag_time`, 30 s).
    pub age: Duration,
}

impl Default for DefragLimits {
    fn default() -> Self {
        Self { datagrams: 1024, octets: 4 << 20, pieces: 256, age: Duration::from_secs(30) }
    }
}
