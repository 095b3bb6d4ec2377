//! The configuration of a run of the engine.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::judge::world::HomeNets;
use crate::limits::Limits;
use crate::protocol::MessageDetail;
use crate::protocol::digest::CandidateCookies;
use crate::transport::tls::KeyLog;

/// The settings of a run; the same for all of its inputs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds on everything that is kept in memory.
    pub limits: Limits,
    /// Candidate cookies, which digests are tested against.
    pub cookies: CandidateCookies,
    /// The secrets of TLS connections. Those of decryption secrets blocks are added to it, and more lines may be added
    /// during the run.
    pub key_log: KeyLog,
    /// Whether events contain challenges and digests.
    pub include_secrets: bool,
    /// Which messages after the handshake are reported, and in which detail.
    pub messages: MessageDetail,
    /// Whether a side that falls silent is reported before its peer gives up on it: for a live view.
    pub warns: bool,
    /// Ports on which EPMD listens.
    pub epmd_ports: Vec<u16>,
    /// Ports on which nodes are known to listen, on any host.
    pub dist_ports: Vec<RangeInclusive<u16>>,
    /// The user's own networks; empty if none was named.
    pub home_nets: HomeNets,
    /// Pairs that are expected to be connected at the end: names of nodes, alive names or addresses.
    pub expect: Vec<[Arc<str>; 2]>,
}

impl Default for Config {
    /// No candidate cookies, no secrets, no messages, and EPMD on its registered port.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            cookies: CandidateCookies::default(),
            key_log: KeyLog::default(),
            include_secrets: false,
            messages: MessageDetail::None,
            warns: false,
            epmd_ports: vec![EPMD_PORT],
            dist_ports: Vec::new(),
            home_nets: HomeNets::default(),
            expect: Vec::new(),
        }
    }
}

/// The port of EPMD, registered with IANA.
pub const EPMD_PORT: u16 = 4369;
