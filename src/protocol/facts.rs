//! What a connection is told about the rest of the world.
//!
//! A connection looks at its own segments and at nothing else. What other connections have shown reaches
//! it by this door, as facts about the question it asks.

use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::Endpoint;
use crate::record::{HostClue, Lookup};
use crate::time::Timestamp;

/// Answers questions about other connections.
pub trait FactSource {
    /// What is known that bears on this connection.
    fn facts(&self, about: &Question<'_>) -> Facts;
    /// Whether a packet has marked this port as one where a node listens.
    fn is_node_port(&self, end: Endpoint) -> bool;
    /// Up to when the capture is known to have lost packets: until then, what it does not show may have been
    /// there.
    fn lost_until(&self) -> Option<Timestamp> {
        None
    }
}

/// The connection that facts are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Address of the initiator.
    pub initiator: IpAddr,
    /// Where the acceptor listens.
    pub acceptor: Endpoint,
    /// When the connection was opened.
    pub opened: Timestamp,
    /// When it was first closed.
    pub closed: Timestamp,
    /// Name that the initiator gave.
    pub initiator_name: Option<&'a str>,
    /// Name that the acceptor gave.
    pub acceptor_name: Option<&'a str>,
}

/// What other connections have shown.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The EPMD look-up that led here.
    pub lookup: Option<Lookup>,
    /// Hosts that the initiator may have dialed, the best-founded first.
    pub hosts: Vec<HostClue>,
    /// Highest handshake version that EPMD gives the acceptor.
    pub acceptor_version: Option<u16>,
    /// Labels of the cookies that the acceptor's digests were made with in other connections.
    pub acceptor_cookies: Vec<Arc<str>>,
    /// The initiator accepted, about then, a connection from the acceptor in place of this one.
    pub crossed: bool,
    /// The acceptor had dialed the initiator, a moment before this one was closed.
    pub dialed_back: bool,
}
