//! What one part of a traffic shows about the others.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::decode::Endpoint;

/// What decides, beside the frames themselves, which frames of a part matter: learned in other parts.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// Endpoints at which a node or an EPMD listens.
    pub ends: BTreeSet<Endpoint>,
    /// Both ends of each connection that is followed, and has none of these endpoints.
    pub flows: BTreeSet<[Endpoint; 2]>,
}

impl Facts {
    /// Adds those of another part.
    pub fn add(&mut self, other: Self) {
        self.ends.extend(other.ends);
        self.flows.extend(other.flows);
    }
}
