//! What was read and kept of a capture, for programs that run many extracts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use super::ExtractEnd;

/// An account of one extract.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ExtractSummary {
    /// Number of all packets of the capture.
    pub packets: u64,
    /// Number of those that were kept.
    pub kept: u64,
    /// What the capture lacks, in its order; the first of them.
    pub damage: Vec<ExtractDamage>,
    /// Addresses of the connections that are Erlang's, as far as the capture and the facts show; `null` if there are too
    /// many.
    pub addresses: Option<BTreeSet<IpAddr>>,
}

/// A place where a capture is cut or damaged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ExtractDamage {
    /// Its kind, as that of an `anomaly` event; `input_failed` where the rest could not be read.
    pub kind: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl ExtractSummary {
    /// Notes a damage, unless there are many.
    pub fn add_damage(&mut self, kind: &str, detail: String) {
        if self.damage.len() < MOST_DAMAGES {
            self.damage.push(ExtractDamage { kind: kind.to_owned(), detail });
        }
    }

    /// The summary of an extract that is done, with this many packets.
    pub fn end(&mut self, selected: &mut ExtractEnd, kept: u64) {
        (self.packets, self.kept) = (selected.frames, kept);
        self.addresses = selected.addresses.take();
    }
}

/// Damages that a summary names.
const MOST_DAMAGES: usize = 16;
