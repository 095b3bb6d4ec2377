//! What is visibly wrong with the certificates of a TLS connection.
//!
//! In: the certificates in clear, and the host that was dialed. Out: faults. They show why a node may refuse a
//! certificate, and never that it does: a node that does not verify accepts every one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::{CertificateFacts, IssuedBy, Observation, Role};
use crate::time::Timestamp;
use crate::wire::x509::{ANY_PURPOSE, CLIENT_AUTH, SERVER_AUTH};

/// What is visibly wrong with a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateFault {
    /// It had expired when it was sent, by the clock of the capture.
    Expired,
    /// It was not valid yet when it was sent, by the clock of the capture.
    NotYetValid,
    /// None of its names is the host that was dialed.
    OtherHost,
    /// A name with a wildcard is the only one that fits the host that was dialed. Erlang accepts it only with
    /// `customize_hostname_check`.
    WildcardOnly,
    /// Its extended key usage lacks `serverAuth` for a dialed node, or `clientAuth` for a dialing one.
    OtherPurpose,
    /// No authority issued it: its issuer is its own subject.
    SelfSigned,
    /// Certificates of authorities came with it, and its issuer is not among them.
    IssuerNotSent,
}

/// The faults of the certificate at this place, from 0, of those that `role` sent.
pub fn certificate_faults(seen: &Observation, role: Role, place: usize) -> Vec<CertificateFault> {
    let list = &seen.tls[role].certificates;
    let Some(certificate) = list.get(place) else { return Vec::new() };
    let mut faults = Vec::new();
    let sent = certificate.mark.at;
    if sent != Timestamp::default() {
        if certificate.not_after.is_some_and(|end| end < sent) {
            faults.push(CertificateFault::Expired);
        } else if certificate.not_before.is_some_and(|begin| begin > sent) {
            faults.push(CertificateFault::NotYetValid);
        }
    }
    if place > 0 {
        return faults;
    }
    // Only the dialing node compares names: with the host that it dialed.
    let hello = seen.tls.initiator.hello.as_ref().filter(|_| role == Role::Acceptor);
    if let Some(host) = hello.and_then(|hello| hello.server_name.as_ref()) {
        faults.extend(host_fault(certificate, host));
    }
    let needed = if role == Role::Acceptor { SERVER_AUTH } else { CLIENT_AUTH };
    let is_needed = |purpose: &str| purpose == needed || purpose == ANY_PURPOSE;
    let purposes = certificate.extended_key_usage.as_ref();
    if purposes.is_some_and(|list| !list.iter().any(|purpose| is_needed(purpose))) {
        faults.push(CertificateFault::OtherPurpose);
    }
    match certificate.issued {
        IssuedBy::Itself => faults.push(CertificateFault::SelfSigned),
        IssuedBy::NotSent if list.len() > 1 => faults.push(CertificateFault::IssuerNotSent),
        IssuedBy::NotSent | IssuedBy::Sent => {}
    }
    faults
}

/// Whether the authorities of the two sides differ: no certificate of one side has an issuer of the other side's. `None`
/// if one side sent none in clear.
pub fn has_other_authority(seen: &Observation) -> Option<bool> {
    let issuers = |role: Role| {
        let issuers = seen.tls[role].certificates.iter().filter_map(|it| it.issuer.as_ref());
        let issuers: Vec<_> = issuers.collect();
        Some(issuers).filter(|issuers| !issuers.is_empty())
    };
    let (mine, theirs) = (issuers(Role::Initiator)?, issuers(Role::Acceptor)?);
    Some(!mine.iter().any(|issuer| theirs.contains(issuer)))
}

/// The fault of a certificate that was not issued for this host. Without alternative names, the common name counts.
///
/// Spec: RFC 6125, sections 6.4.3 and 6.4.4.
fn host_fault(certificate: &CertificateFacts, host: &str) -> Option<CertificateFault> {
    let (names, subject) = (&certificate.names, &certificate.subject);
    let mut names = names.iter().chain(subject.iter().filter(|_| names.is_empty())).peekable();
    // A certificate may have more names than are kept, or some that are no hosts.
    names.peek()?;
    let (mut is_many, mut has_wildcard) = (0, false);
    for name in names {
        is_many += 1;
        if name.eq_ignore_ascii_case(host) {
            return None;
        }
        has_wildcard |= name.strip_prefix("*.").is_some_and(|rest| {
            host.split_once('.').is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest))
        });
    }
    if has_wildcard {
        return Some(CertificateFault::WildcardOnly);
    }
    (is_many < crate::wire::x509::MOST_NAMES).then_some(CertificateFault::OtherHost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::JudgedConnection;
    use crate::judge::samples::{at, certificate, dial};
    use crate::observe::TlsHello;

    fn sent(role: Role, host: &str, certificates: Vec<CertificateFacts>) -> JudgedConnection {
        let mut it = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged();
        let hello = TlsHello { server_name: Some(host.into()), ..TlsHello::default() };
        it.seen.tls.initiator.hello = Some(hello);
        it.seen.tls[role].certificates = certificates;
        it
    }

    fn faults(role: Role, host: &str, certificate: CertificateFacts) -> Vec<CertificateFault> {
        certificate_faults(&sent(role, host, vec![certificate]).seen, role, 0)
    }

    #[test]
    fn the_dialed_host_is_compared_with_the_names_of_the_dialed_node_alone() {
        let of = |role, host, names: &[&str]| faults(role, host, certificate(names));
        let dialed = |host, names: &[&str]| of(Role::Acceptor, host, names);
        assert_eq!(dialed("web9.lab", &["web8.lab"]), [CertificateFault::OtherHost]);
        assert_eq!(dialed("web9.lab", &["web8.lab", "WEB9.lab"]), []);
        assert_eq!(dialed("10.0.0.9", &["10.0.0.8"]), [CertificateFault::OtherHost]);
        assert_eq!(dialed("fd00::9", &["fd00::9"]), []);
        assert_eq!(dialed("web9.lab", &["*.lab"]), [CertificateFault::WildcardOnly]);
        assert_eq!(dialed("a.web9.lab", &["*.lab"]), [CertificateFault::OtherHost]);
        assert_eq!(dialed("web9.lab", &[]), [], "no names are known");
        assert_eq!(dialed("web9.lab", &["x"; 8]), [], "further names may not be known");
        assert_eq!(of(Role::Initiator, "web9.lab", &["web8.lab"]), []);
    }

    #[test]
    fn the_common_name_counts_where_there_is_no_alternative_name() {
        let named = |names: &[&str]| CertificateFacts {
            subject: Some("web9".into()),
            ..certificate(names)
        };
        assert_eq!(faults(Role::Acceptor, "web9", named(&[])), []);
        assert_eq!(faults(Role::Acceptor, "web9", named(&["web8"])), [CertificateFault::OtherHost]);
        assert_eq!(faults(Role::Acceptor, "web8", named(&[])), [CertificateFault::OtherHost]);
    }

    #[test]
    fn the_purpose_is_that_of_the_role() {
        let purposes = |list: &[&str]| CertificateFacts {
            extended_key_usage: Some(list.iter().map(|it| (*it).into()).collect()),
            ..certificate(&["h2"])
        };
        let of = |role, list: &[&str]| faults(role, "h2", purposes(list));
        assert_eq!(of(Role::Acceptor, &[SERVER_AUTH]), []);
        assert_eq!(of(Role::Initiator, &[SERVER_AUTH]), [CertificateFault::OtherPurpose]);
        assert_eq!(of(Role::Acceptor, &[CLIENT_AUTH]), [CertificateFault::OtherPurpose]);
        assert_eq!(of(Role::Acceptor, &["codeSigning", ANY_PURPOSE]), []);
        assert_eq!(faults(Role::Initiator, "h2", certificate(&["h1"])), [], "for every purpose");
    }

    #[test]
    fn dates_of_the_whole_chain_count_by_the_clock_of_the_capture() {
        let valid = |from, to| CertificateFacts {
            not_before: Some(at(from)),
            not_after: Some(at(to)),
            ..certificate(&["h2"])
        };
        let sent_at = certificate(&[]).mark.at;
        let (before, after) = (1, 1_000_000);
        assert!(at(before) < sent_at && sent_at < at(after));
        assert_eq!(faults(Role::Acceptor, "h2", valid(0, after)), []);
        assert_eq!(faults(Role::Acceptor, "h2", valid(0, before)), [CertificateFault::Expired]);
        let early = valid(after, after + 1);
        assert_eq!(faults(Role::Initiator, "h2", early), [CertificateFault::NotYetValid]);
        let chain = vec![valid(0, after), valid(0, before)];
        let it = sent(Role::Acceptor, "h2", chain);
        assert_eq!(certificate_faults(&it.seen, Role::Acceptor, 1), [CertificateFault::Expired]);
        let mut untimed = valid(0, before);
        untimed.mark.at = Timestamp::default();
        assert_eq!(faults(Role::Acceptor, "h2", untimed), [], "the packets have no times");
    }

    #[test]
    fn issuers_count_as_far_as_they_were_sent() {
        let issued = |issued| CertificateFacts { issued, ..certificate(&["h2"]) };
        let of = |first, rest: usize| {
            let chain = std::iter::once(issued(first));
            let chain = chain.chain(std::iter::repeat_n(issued(IssuedBy::Itself), rest)).collect();
            certificate_faults(&sent(Role::Acceptor, "h2", chain).seen, Role::Acceptor, 0)
        };
        assert_eq!(of(IssuedBy::Itself, 0), [CertificateFault::SelfSigned]);
        assert_eq!(of(IssuedBy::NotSent, 0), [], "the authority is in the files of the peer");
        assert_eq!(of(IssuedBy::NotSent, 1), [CertificateFault::IssuerNotSent]);
        assert_eq!(of(IssuedBy::Sent, 1), []);
    }

    #[test]
    fn two_sides_of_one_authority_share_an_issuer() {
        let by =
            |issuer: &str| CertificateFacts { issuer: Some(issuer.into()), ..certificate(&["h2"]) };
        let differ = |mine: &[&str], theirs: &[&str]| {
            let of = |list: &[&str]| list.iter().map(|issuer| by(issuer)).collect();
            let mut it = sent(Role::Acceptor, "h2", of(theirs));
            it.seen.tls.initiator.certificates = of(mine);
            has_other_authority(&it.seen)
        };
        assert_eq!(differ(&["CA 1"], &["CA 2"]), Some(true));
        assert_eq!(differ(&["Mid 1", "Root"], &["Mid 2", "Root"]), Some(false));
        assert_eq!(differ(&[], &["CA 2"]), None);
    }
}
