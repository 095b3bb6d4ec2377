//! A PROXY protocol header in front of what a node sent.

use serde::{Deserialize, Serialize};

use crate::decode::Endpoint;
use crate::packet::PacketRef;

/// A PROXY protocol header, which a load balancer put before the bytes of its client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ProxyHeaderFacts {
    /// Version of the header: 1 is text, 2 is binary.
    pub version: u8,
    /// The packet that completed the header.
    pub mark: PacketRef,
    /// The client of the load balancer; `None` if the header does not give it, as in a health check.
    pub client: Option<Endpoint>,
    /// The address of the load balancer that the client dialed.
    pub dialed: Option<Endpoint>,
}
