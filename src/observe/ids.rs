//! Identifiers of connections and incidents.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::decode::Endpoint;

/// Identifiers and addresses of one TCP connection; every line about it has them.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ConnectionIds {
    /// 16 hex digits, the same for the same input on any machine: the first 8 bytes of the MD5 of
    /// `src_ip,src_port,dest_ip,dest_port,src_isn,dest_isn`, as far as known at the first line.
    #[schemars(regex(pattern = "^[0-9a-f]{16}$"))]
    pub session_id: Arc<str>,
    /// Community ID v1, seed 0.
    pub community_id: Arc<str>,
    /// Address of the TCP client, which sent the SYN.
    #[schemars(with = "String")]
    pub src_ip: IpAddr,
    /// Port of the TCP client.
    pub src_port: u16,
    /// Address of the TCP server.
    #[schemars(with = "String")]
    pub dest_ip: IpAddr,
    /// Port of the TCP server.
    pub dest_port: u16,
    /// Transport protocol; always `"TCP"`.
    #[schemars(with = "String", extend("const" = "TCP"))]
    pub proto: TransportProtocol,
    /// Encapsulations such as `"vlan 7"`, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub encap: Vec<String>,
}

/// Transport protocol of a connection, by its IANA keyword.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum TransportProtocol {
    /// The only one that carries the distribution protocol.
    #[serde(rename = "TCP")]
    Tcp,
}

/// The Community ID of the flow between two ends, by which other tools name the same connection.
pub fn community_id(src: Endpoint, dest: Endpoint) -> Arc<str> {
    const TCP: u8 = 6;
    community_id::calculate_community_id(
        0,
        src.ip,
        dest.ip,
        Some(src.port),
        Some(dest.port),
        TCP,
        Default::default(),
    )
    .unwrap_or_default()
    .into()
}

/// A digest of bytes that come in pieces, which is the same on any machine. Contents with one digest count once, so it must
/// be impossible to make two of them, as with SHA-256; which is also twice as fast as MD5 where the processor has
/// instructions for it.
#[derive(Clone, Default)]
pub struct ContentDigest(Sha256);

impl ContentDigest {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The SHA-256 of all bytes, as 64 hex digits.
    pub fn finish(self) -> Arc<str> {
        let mut digits = String::new();
        for byte in self.0.finalize() {
            let _ = write!(digits, "{byte:02x}");
        }
        digits.into()
    }
}

impl std::fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContentDigest").finish_non_exhaustive()
    }
}

/// The first 8 bytes of the MD5 of `text`, as 16 hex digits: an identifier that is the same on any machine.
pub fn short_id(text: &str) -> Arc<str> {
    format!("{:016x}", short_digest(text.as_bytes())).into()
}

/// The first 8 bytes of the MD5 of `bytes` as a number, which is the same on any machine.
pub fn short_digest(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = md5::compute(bytes).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
