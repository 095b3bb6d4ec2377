//! What a session shows of TLS.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kept::{self, ContractName};
use super::{Role, is_false};
use crate::judge::{AlertContent, Outcome, Verdict, certificate_faults, is_resumed};
pub use crate::judge::{CertificateFault, TlsStep};
use crate::observe::{CertificateFacts, Observation, tls_version_name};
use crate::time::Timestamp;

/// TLS on a connection, as far as it is in clear, and what the lengths of its encrypted records show.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct SessionTls {
    /// Version that the dialed side selected, such as `TLS 1.2`.
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        deserialize_with = "kept::maybe_name"
    )]
    pub version: Option<ContractName>,
    /// Cipher suite that the dialed side selected, by its IANA name, else its number in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suite: Option<Arc<str>>,
    /// Host that the dialing side named (SNI): the host part of the node name that it dialed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Arc<str>>,
    /// Application protocol (ALPN) that the dialed side selected, else the first that was offered. Nodes offer none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Arc<str>>,
    /// True if the session of an earlier connection was resumed, so that no certificates were sent; else absent.
    #[serde(skip_serializing_if = "is_false", default)]
    pub resumed: bool,
    /// The last step of TLS, and then of the distribution handshake inside it, that the first side to close had seen;
    /// without a close, that the capture shows. Steps inside are concluded from the lengths of encrypted records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<TlsStep>,
    /// The alert that ended TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<SessionAlert>,
    /// Outcome that a plain connection with messages of these lengths would have. It is possible and not certain, since
    /// nothing inside is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks_like: Option<Outcome>,
    /// Certificates of both sides, as far as they are in clear.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub certificates: Vec<SessionCertificate>,
}

impl SessionTls {
    /// The TLS of a connection; `None` without a hello of TLS.
    pub(super) fn of(seen: &Observation, verdict: &Verdict) -> Option<Self> {
        let (client, server) = (&seen.tls.initiator.hello, &seen.tls.acceptor.hello);
        if client.is_none() && server.is_none() {
            return None;
        }
        let selected = server.as_ref();
        let version = selected.and_then(|hello| tls_version_name(*hello.versions.first()?));
        let alpn = [server, client].into_iter().flatten().find_map(|it| it.protocol.clone());
        let certificates = seen.tls.each().flat_map(|(from, tls)| {
            let of = move |(place, facts)| SessionCertificate::of(seen, from, place, facts);
            tls.certificates.iter().enumerate().map(of)
        });
        Some(Self {
            version,
            cipher_suite: selected.and_then(|hello| hello.suite_name()),
            server_name: client.as_ref().and_then(|hello| hello.server_name.clone()),
            alpn,
            resumed: is_resumed(seen),
            reached: verdict.tls_step,
            alert: verdict.tls_alert.map(|alert| SessionAlert {
                from: alert.from,
                number: match alert.content {
                    AlertContent::Number(number) => Some(number),
                    AlertContent::RefusedCertificate | AlertContent::RefusedNoCertificate => None,
                },
            }),
            looks_like: verdict.inside_tls.as_ref().and_then(|inside| inside.looks_like),
            certificates: certificates.collect(),
        })
    }
}

/// An alert that ended TLS.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct SessionAlert {
    /// The side that sent it.
    pub from: Role,
    /// Its number in IANA's "TLS Alerts"; absent if it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u8>,
}

/// A certificate that one side sent in clear.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct SessionCertificate {
    /// The side that sent it.
    pub from: Role,
    /// Place in the list of that side: 1 is its own, the others are those of authorities.
    pub number: u64,
    /// Common name of its subject; without one, all of the subject's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    /// Common name of its issuer; without one, all of the issuer's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
    /// Hosts and addresses for which it was issued (`subjectAltName`), at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub names: Vec<Arc<str>>,
    /// Beginning of its validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// End of its validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// What its key may be used for, such as `digitalSignature`; absent without this extension, which permits all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_usage: Option<Vec<Arc<str>>>,
    /// What it is for, such as `serverAuth` and `clientAuth`; absent without this extension, which permits all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended_key_usage: Option<Vec<Arc<str>>>,
    /// True if it may issue others; else absent.
    #[serde(skip_serializing_if = "is_false", default)]
    pub authority: bool,
    /// What is visibly wrong with it. A node that does not verify accepts it all the same.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub faults: Vec<CertificateFault>,
}

impl SessionCertificate {
    fn of(seen: &Observation, from: Role, place: usize, facts: &CertificateFacts) -> Self {
        Self {
            from,
            number: place as u64 + 1,
            subject: facts.subject.clone(),
            issuer: facts.issuer.clone(),
            names: facts.names.clone(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            key_usage: facts.key_usage.clone(),
            extended_key_usage: facts.extended_key_usage.clone(),
            authority: facts.is_authority,
            faults: certificate_faults(seen, from, place),
        }
    }
}
