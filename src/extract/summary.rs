//! What was read and kept of captures, for programs that run many extracts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::ExtractEnd;

/// An account of one extract.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct ExtractSummary {
    /// Number of all packets of the captures.
    pub packets: u64,
    /// Number of those that were kept.
    pub kept: u64,
    /// The same of each input, if they are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputSummary>,
    /// What the captures lack, in the order in which it was read; the first of them.
    pub damage: Vec<ExtractDamage>,
    /// Addresses of the connections that are Erlang's, as far as the capture and the facts show; `null` if there are too
    /// many.
    pub addresses: Option<BTreeSet<IpAddr>>,
}

/// An account of one of several inputs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct InputSummary {
    /// Its name, as events have it.
    pub name: Arc<str>,
    /// Number of all its packets.
    pub packets: u64,
    /// Number of those that were kept.
    pub kept: u64,
}

/// A place where a capture is cut or damaged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ExtractDamage {
    /// Its kind, as that of an `anomaly` event; `input_failed` where the rest could not be read.
    pub kind: String,
    /// What was expected and what was found.
    pub detail: String,
    /// The name of its input, if they are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
}

impl ExtractSummary {
    /// Notes a damage, unless there are many.
    pub fn add_damage(&mut self, kind: &str, detail: String, input: Option<Arc<str>>) {
        if self.damage.len() < MOST_DAMAGES {
            self.damage.push(ExtractDamage { kind: kind.to_owned(), detail, input });
        }
    }

    /// The summary of an extract of these inputs that is done, with this many packets of each.
    pub fn end(&mut self, selected: &mut ExtractEnd, names: &[Arc<str>], kept: &[u64]) {
        (self.packets, self.kept) = (selected.frames, kept.iter().sum());
        let of = |counts: &[u64], place: usize| counts.get(place).copied().unwrap_or_default();
        let summary = |(place, name): (usize, &Arc<str>)| InputSummary {
            name: Arc::clone(name),
            packets: of(&selected.inputs, place),
            kept: of(kept, place),
        };
        if names.len() > 1 {
            self.inputs = names.iter().enumerate().map(summary).collect();
        }
        self.addresses = selected.addresses.take();
    }
}

/// Damages that a summary names.
const MOST_DAMAGES: usize = 16;
