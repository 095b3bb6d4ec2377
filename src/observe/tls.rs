//! What one side of a connection showed of TLS.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Blank, exact, is_default};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;
use crate::wire::suites::suite_name;

/// The TLS records of one side.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TlsSide {
    /// The first record in clear.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sign: Option<(TlsSign, PacketRef)>,
    /// The first alert in clear that ends a TLS connection: its number, as in IANA's "TLS Alerts".
    #[serde(default, skip_serializing_if = "is_default")]
    pub fatal: Option<(u8, PacketRef)>,
    /// Lengths of encrypted records under the cipher suite in its ServerHello.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lengths: Option<SealedLengths>,
    /// The first encrypted records, at most [`SealedRecord::KEPT`].
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub sealed: Vec<SealedRecord>,
    /// What its hello offers, or selects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hello: Option<TlsHello>,
    /// Its certificate, and those of the authorities that it sends with it; only TLS 1.2 sends them in clear.
    #[serde(default, deserialize_with = "exact", skip_serializing_if = "is_default")]
    pub certificates: Vec<CertificateFacts>,
    /// How far it got in the handshake of TLS 1.2.
    #[serde(default, skip_serializing_if = "is_default")]
    pub progress: TlsProgress,
}

impl Blank for TlsSide {
    fn blank() -> &'static Self {
        static BLANK: TlsSide = TlsSide {
            sign: None,
            fatal: None,
            lengths: None,
            sealed: Vec::new(),
            hello: None,
            certificates: Vec::new(),
            progress: TlsProgress {
                flight: None,
                no_certificate: None,
                finished: None,
                alert: None,
            },
        };
        &BLANK
    }
}

/// How far one side got in the handshake of TLS 1.2, which has its messages in clear up to `Finished`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct TlsProgress {
    /// The end of its message that makes the other side the next one to send: the ServerHelloDone of a server, the
    /// ClientKeyExchange of a client.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flight: Option<PacketRef>,
    /// Its Certificate message without a certificate, with which a client answers that it has none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_certificate: Option<PacketRef>,
    /// The first record of a handshake behind a `change_cipher_spec`; in TLS 1.2 the encrypted Finished message.
    #[serde(default, skip_serializing_if = "is_default")]
    pub finished: Option<SealedRecord>,
    /// The first alert behind a `change_cipher_spec`, which is encrypted in TLS 1.2 and has a record type of its own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub alert: Option<SealedRecord>,
}

/// What was opened of a TLS connection with the secrets of a key log.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct OpenedTls {
    /// The secrets that the key log has of it; `None` if it has none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: Option<OpenedBy>,
    /// Number of records that were opened.
    #[serde(default, skip_serializing_if = "is_default")]
    pub records: u64,
    /// Number of encrypted records that were not: no key opens them, or the capture lacks a part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unopened: u64,
    /// Whether application data were opened: the bytes of the distribution protocol.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_data: bool,
    /// Whether secrets opened records of the side that their label does not name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub has_exchanged_labels: bool,
}

/// The kind of secrets in a key log.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OpenedBy {
    /// The master secret of TLS 1.2 (`CLIENT_RANDOM`).
    MasterSecret,
    /// The traffic secrets of TLS 1.3.
    TrafficSecrets,
}

/// The parts of a ClientHello or ServerHello that concern nodes.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct TlsHello {
    /// The host that the client dialed: the host part of the node name, also if it is an address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server_name: Option<Arc<str>>,
    /// The first application protocol that the client offers, which a node never does; or the one that the server
    /// selects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Option<Arc<str>>,
    /// The versions that the client offers, or the one that the server selected: 0x0303 is TLS 1.2.
    #[serde(default, skip_serializing_if = "is_default")]
    pub versions: Vec<u16>,
    /// The cipher suite that the server selected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cipher_suite: Option<u16>,
    /// Whether the server selected `encrypt_then_mac`, which Erlang's `ssl` never does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encrypt_then_mac: bool,
    /// Whether it has an extension that a node never sends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_not_by_otp: bool,
    /// A digest of the random bytes of a client, which distinguishes the connection from any other wherever it is seen. Those of a
    /// server may be a constant (RFC 8446, section 4.1.3).
    #[serde(default, skip_serializing_if = "is_default")]
    pub fingerprint: Option<u64>,
}

impl TlsHello {
    /// The name of the selected cipher suite as IANA has it, else its number in hex.
    pub fn suite_name(&self) -> Option<Arc<str>> {
        let number = self.cipher_suite?;
        Some(suite_name(number).map_or_else(|| format!("{number:#06x}").into(), Arc::from))
    }
}

/// The name of a TLS version by its number in a hello.
pub const fn tls_version_name(version: u16) -> Option<&'static str> {
    Some(match version {
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        0x0304 => "TLS 1.3",
        _ => return None,
    })
}

/// The parts of a certificate that a person compares.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct CertificateFacts {
    /// The packet that completed the certificate, or the list that it is in.
    pub mark: PacketRef,
    /// The common name of its subject; without one, all of the subject's name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subject: Option<Arc<str>>,
    /// The common name of its issuer; without one, all of the issuer's name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub issuer: Option<Arc<str>>,
    /// The hosts and addresses for which it was issued (`subjectAltName`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub names: Vec<Arc<str>>,
    /// The beginning of its validity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_before: Option<Timestamp>,
    /// The end of its validity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub not_after: Option<Timestamp>,
    /// What its key may be used for, by the names of RFC 5280; `None` without `keyUsage`, which permits all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key_usage: Option<Vec<Arc<str>>>,
    /// What the certificate is for, by the names of RFC 5280 or as an object identifier; `None` without
    /// `extendedKeyUsage`, which permits all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extended_key_usage: Option<Vec<Arc<str>>>,
    /// Whether it is that of an authority, which may issue others (`basicConstraints`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_authority: bool,
    /// Who issued it, as far as the certificates that came with it show.
    pub issued: IssuedBy,
}

/// Who issued a certificate, by the names and key identifiers in those that came with it. Signatures are not verified.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuedBy {
    /// Its own subject: a root, or a self-signed certificate.
    Itself,
    /// The subject of another certificate in the list.
    Sent,
    /// An authority whose certificate is not in the list.
    NotSent,
}

/// The kind of a side's first TLS record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsSign {
    /// It is a ClientHello or ServerHello.
    Hello,
    /// It is an alert in clear.
    Alert,
}

/// Lengths of encrypted records of TLS 1.3 under one cipher suite, without the header.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SealedLengths {
    /// Length of an alert.
    pub alert: u16,
    /// Length of a Finished message.
    pub finished: u16,
    /// Length of a Certificate message without a certificate.
    pub no_certificate: u16,
}

/// An encrypted TLS record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SealedRecord {
    /// Number of bytes after its header.
    pub length: u16,
    /// Offset in the TCP stream after its last byte.
    pub end: TcpOffset,
    /// The packet that completed its header.
    pub mark: PacketRef,
}

impl SealedRecord {
    /// Maximum number of records of each side: those of the longest handshake of TLS 1.3, of the distribution handshake
    /// in it, and some more.
    pub const KEPT: usize = 16;
}
