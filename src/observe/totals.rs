//! What a run counted, which no fact about a connection shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The counts of a run at its end, as far as they do not follow from its facts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Number of the run's inputs, up to the last one with a frame.
    pub inputs: u16,
    /// Number of frames that were read.
    pub packets: u64,
    /// Length of those frames on the wire, in bytes.
    pub bytes: u64,
    /// Capture time of the first frame.
    pub first: Option<Timestamp>,
    /// The latest time at which a frame was read, by the clock of the capture.
    pub last: Option<Timestamp>,
    /// Number of gaps in the streams of connections that are over.
    pub gaps: u64,
    /// Number of bytes in these gaps.
    pub missing_bytes: u64,
    /// Number of frames that the snapshot length cut short.
    pub cut_packets: u64,
    /// Number of connections with packets of one direction only.
    pub one_sided: u64,
    /// Number of IP fragments whose datagram is incomplete.
    pub lost_fragments: u64,
    /// How often the clock of an input jumped back.
    pub clock_steps: u64,
    /// Number of packets that the kernel dropped, if the inputs record it.
    pub kernel_drops: Option<u64>,
    /// Number of packets that the interfaces dropped, if the inputs record it.
    pub interface_drops: Option<u64>,
    /// Number of connections, and of parts of streams and messages, that were dropped at a memory limit.
    pub evictions: u64,
    /// Number of frames of each link type that is not read, by its number in the registry of tcpdump.org.
    pub unsupported: BTreeMap<u16, u64>,
    /// Whether a segment on ports other than those of EPMD and of known nodes was read.
    pub has_other_ports: bool,
    /// Whether a segment that opens a TCP connection on such ports was read.
    pub has_openings: bool,
}

impl Totals {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let Self {
            inputs,
            packets,
            bytes,
            first,
            last,
            gaps,
            missing_bytes,
            cut_packets,
            one_sided,
            lost_fragments,
            clock_steps,
            kernel_drops,
            interface_drops,
            evictions,
            unsupported,
            has_other_ports,
            has_openings,
        } = self;
        *inputs = (*inputs).max(other.inputs);
        *first = first.iter().chain(&other.first).min().copied();
        *last = (*last).max(other.last);
        for (sum, n) in [
            (packets, other.packets),
            (bytes, other.bytes),
            (gaps, other.gaps),
            (missing_bytes, other.missing_bytes),
            (cut_packets, other.cut_packets),
            (one_sided, other.one_sided),
            (lost_fragments, other.lost_fragments),
            (clock_steps, other.clock_steps),
            (evictions, other.evictions),
        ] {
            *sum = sum.saturating_add(n);
        }
        for (link, frames) in &other.unsupported {
            let sum = unsupported.entry(*link).or_default();
            *sum = sum.saturating_add(*frames);
        }
        *kernel_drops = known_sum(*kernel_drops, other.kernel_drops);
        *interface_drops = known_sum(*interface_drops, other.interface_drops);
        *has_other_ports |= other.has_other_ports;
        *has_openings |= other.has_openings;
    }
}

/// The sum of two counts as far as they are known.
pub(crate) fn known_sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}
