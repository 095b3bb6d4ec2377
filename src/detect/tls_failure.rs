//! A TLS connection between nodes that an alert ended.
//!
//! Evidence: a fatal alert in clear, which its sender can send only before its first encrypted record; or, in
//! TLS 1.3, an encrypted alert at a position where nothing but a refusal is possible. The number of an encrypted
//! alert cannot be read. At any other position it is mostly `close_notify`, the normal end of a connection.

use super::finding::{Sides, closed, finding, listed, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc, tls_mismatch};
use crate::judge::world::World;
use crate::judge::{
    AlertContent, CertificateFault, JudgedConnection, Outcome, Protocol, TlsAlert,
    certificate_faults, has_other_authority,
};
use crate::observe::{CertificateFacts, Role, tls_version_name};
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::Timestamp;

/// Documentation of the rule `tls-failure`.
const DOC: RuleDoc = RuleDoc {
    rule: "tls-failure",
    severity: Severity::High,
    summary: "a TLS alert ended the connection of two nodes",
    symptom: "a TLS alert such as `Unknown CA`, `Certificate Expired` or `Handshake Failure`",
    meaning: "Both nodes use TLS for distribution, and one of them refused the other in the TLS \
              handshake: its certificate, its TLS version, its cipher suites or its name. The \
              Erlang handshake inside never began, so cookies and node names are not at fault.",
    evidence: "A fatal alert in clear after the hellos, with its number: 48 unknown_ca, 42 to 46 \
               a certificate, 40 handshake_failure, 70 protocol_version, 112 unrecognized_name \
               and so on. The side that sends it is the one that refused. In TLS 1.2 the \
               certificates are in clear, and show what is wrong: dates, names, purpose, issuer. In TLS 1.3 an alert \
               about a certificate is encrypted, and is recognised by its length and its \
               position: it is all that the dialing node sends after the other's certificate, or \
               all that the dialed node sends after the dialing node's. That is likely, and not \
               proven.",
    lookalikes: "TLS on one side only is tls-mismatch. An alert of level warning, and \
                 close_notify, are no failure; in TLS 1.3 close_notify is as long as any alert, \
                 and comes after other records. A node that leaves during the handshake for a \
                 reason of its own looks the same as one that refuses. A refusal inside TLS, after \
                 its handshake, is refused-inside-tls. Certificates with faults are listed in the \
                 session, whether a node refuses them or not.",
    log_lines: &[
        LogLine {
            writer: "either node, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS server: In state certify at ssl_handshake.erl:2109 generated SERVER ALERT: Fatal - \
                   Unknown CA",
        },
        LogLine {
            writer: "either node, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS client: In state cipher received SERVER ALERT: Fatal - Unknown CA",
        },
        LogLine {
            writer: "the dialing node that refuses in TLS 1.3, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS client: In state wait_cert_cr at ssl_handshake.erl:2017 generated CLIENT ALERT: Fatal - \
                   Handshake Failure - {bad_cert,hostname_check_failed}",
        },
        LogLine {
            writer: "the dialed node that was refused in TLS 1.3, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS server: In state wait_finished received CLIENT ALERT: Fatal - Unknown CA",
        },
        LogLine {
            writer: "the dialed node that refuses in TLS 1.3, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS server: In state wait_cert at tls_handshake_1_3.erl:1484 generated SERVER ALERT: Fatal - \
                   Certificate required",
        },
        LogLine {
            writer: "the dialing node that was refused in TLS 1.3, as a notice",
            releases: "OTP 22 and newer",
            text: "TLS client: In state connection received SERVER ALERT: Fatal - Certificate required",
        },
    ],
    remedy: &[
        "Check the file that -ssl_dist_optfile (or -ssl_dist_opt) names: on the node that sent \
         the alert for what it requires, and on the other node for what it offers.",
        "Check the certificates: openssl x509 -in CERT.pem -noout -subject -issuer -dates -ext \
         subjectAltName,extendedKeyUsage; and openssl verify -CAfile CA.pem CERT.pem.",
        "Try it by hand: openssl s_client -connect HOST:PORT -servername HOST -CAfile CA.pem \
         -cert CERT.pem -key KEY.pem. It prints the same alert, and the certificates that the \
         node sends.",
        "To see what is encrypted, as the number of an alert of TLS 1.3, let one node write the secrets of its \
         connections to a file ({keep_secrets, {keylog, Fun}} in the -ssl_dist_optfile, from OTP 27.3.1), and \
         give it with --keylog: docs/tls.md shows how, for older releases too.",
    ],
};

#[derive(Default)]
pub(super) struct TlsFailure;

impl Rule for TlsFailure {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, session: &JudgedConnection, _: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        let Some(alert) = &session.verdict.tls_alert else { return };
        let is_tls = session.verdict.protocol == Protocol::Tls;
        if session.outcome() != Outcome::Aborted || !is_tls || !alert.is_refusal() {
            return;
        }
        let sides = Sides::of(session);
        let (who, other) = sides.side_and_peer(alert.from);
        let mut found = finding(&DOC, session, &sides);
        found.not_excluded = Vec::new();
        let what = if let AlertContent::Number(number) = alert.content {
            let AlertText { name, meaning, remedy } = alert_text(number, alert.from);
            found.confidence = Confidence::Proven;
            found.title = format!("{who} refused TLS with {other}: {name}");
            found.explanation =
                format!("{who} sent the fatal TLS alert {name} ({number}): {meaning}");
            if number == PROTOCOL_VERSION {
                found.explanation.push_str(&offered_versions(session, &sides));
            }
            found.remedy = vec![remedy.to_owned()];
            let reading = CertificateReading::of(session, alert.from, number);
            if let Some(reading) = reading.filter(|_| ABOUT_CERTIFICATES.contains(&number)) {
                found.explanation.push_str(&reading.sentence);
                if let Some(fault) = reading.fault {
                    found.title.push_str(&fault.title);
                    found.remedy = vec![fault.remedy];
                }
                found.evidence.push(reading.shown);
            }
            let none = session.seen.tls.initiator.progress.no_certificate;
            let none =
                none.filter(|_| alert.from == Role::Acceptor && SENT_FOR_NONE.contains(&number));
            if let Some(mark) = none {
                found.title.push_str(", no certificate was sent");
                found.explanation.push_str(
                    " The dialed node had asked for a certificate, and the dialing one answered that it has none.",
                );
                found.remedy = vec![NO_CLIENT_CERTIFICATE.remedy.to_owned()];
                let what = Shows::Note("Certificate message without a certificate".into());
                found.evidence.extend(shown(Some(mark), Some(Role::Initiator), what));
            }
            found.remedy.push(TRY_BY_HAND.to_owned());
            Shows::TlsAlert(format!("fatal TLS alert {name}").into())
        } else {
            let AlertText { name, meaning, remedy } = encrypted(alert);
            found.confidence = Confidence::Likely;
            found.title = format!("{who} most likely refused TLS with {other} {name}");
            found.explanation = format!(
                "{who} sent an encrypted TLS 1.3 alert {meaning} The number of the alert cannot be read in \
                 the capture; both nodes log it."
            );
            found.remedy = vec![READ_LOGS.to_owned(), remedy.to_owned(), TRY_BY_HAND.to_owned()];
            found.not_excluded = NOT_EXCLUDED.map(ToOwned::to_owned).to_vec();
            Shows::TlsAlert("encrypted TLS alert".into())
        };
        let first = looked_up(session).into_iter();
        let hello = session.seen.tls().filter(|(_, mark)| *mark != alert.mark);
        let hello = hello
            .and_then(|(role, mark)| shown(Some(mark), Some(role), Shows::TlsHello("TLS hello")));
        found.evidence.splice(0..0, first.chain(hello));
        found.evidence.extend(shown(Some(alert.mark), Some(alert.from), what));
        found.evidence.extend(closed(session, "in the TLS handshake"));
        found.logged_by = vec![Role::Initiator, Role::Acceptor];
        if tls_mismatch::is_by_proxy_hello(session) {
            found.explanation.push_str(
                " The TLS hello has extensions that no node sends: the sidecar of a service mesh, a proxy or a \
                 tool such as openssl s_client sent it, and no node.",
            );
            found.remedy.insert(0, BY_PROXY.to_owned());
            found.logged_by = vec![Role::Acceptor];
        }
        out.push(found);
    }
}

/// The first step if no node sent the hello.
const BY_PROXY: &str = "Find out what sent it: ss -tnp on its host. If it is a service mesh or a proxy, compare its \
                        certificates and its mTLS mode on both hosts, or take port 4369 and the distribution \
                        ports out of it.";

/// The certificate that was refused, as far as it is in clear.
struct CertificateReading {
    /// The names, the issuer and the dates, in a sentence that follows another one.
    sentence: String,
    /// What is visibly wrong with it.
    fault: Option<VisibleFault>,
    shown: Evidence,
}

/// What is visibly wrong with a certificate that was refused.
struct VisibleFault {
    /// Words that continue the title of the finding.
    title: String,
    remedy: String,
}

impl CertificateReading {
    /// The certificate that the peer of `refuser` sent. `number` is that of the alert.
    fn of(session: &JudgedConnection, refuser: Role, number: u8) -> Option<Self> {
        let sender = refuser.peer();
        let list = &session.seen.tls[sender].certificates;
        let facts = list.first()?;
        let names = name_list(facts)?;
        let issued = |it| format!(", issued by \"{it}\"");
        let issuer = facts.issuer.as_ref().map_or_else(String::new, issued);
        let dates = match (facts.not_before, facts.not_after) {
            (Some(from), Some(to)) => format!(", valid from {} to {}", day(from), day(to)),
            _ => String::new(),
        };
        let mut sentence = format!(" That certificate is for {names}{issuer}{dates}.");
        let mut fault = None;
        for (place, certificate) in list.iter().enumerate() {
            for found in certificate_faults(&session.seen, sender, place) {
                let (words, visible) = explained(session, sender, found, certificate, place);
                sentence.push_str(&words);
                // The first one that fits the alert goes into the title.
                if fault.is_none() && is_reason(found, number) {
                    fault = visible;
                }
            }
        }
        if number == UNKNOWN_CA && has_other_authority(&session.seen) == Some(true) {
            let own = session.seen.tls[refuser].certificates.first();
            let own = own.and_then(|it| it.issuer.as_ref());
            let own = own.map_or_else(String::new, |it| format!(", \"{it}\""));
            sentence
                .push_str(" The certificate of the node that refused is from another authority");
            sentence.push_str(&own);
            sentence.push('.');
        }
        let what = Shows::Note(format!("certificate for {names}").into());
        let shown = shown(Some(facts.mark), Some(sender), what)?;
        Some(Self { sentence, fault, shown })
    }
}

/// The names for which a certificate was issued, else its subject.
fn name_list(facts: &CertificateFacts) -> Option<String> {
    let names = facts.names.iter().chain(facts.subject.iter().filter(|_| facts.names.is_empty()));
    let names: Vec<&str> = names.map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| listed(&names))
}

/// Whether a node that sees this fault may send the alert of this number.
const fn is_reason(fault: CertificateFault, number: u8) -> bool {
    match fault {
        CertificateFault::Expired | CertificateFault::NotYetValid => {
            matches!(number, BAD_CERTIFICATE | CERTIFICATE_EXPIRED | CERTIFICATE_UNKNOWN)
        }
        CertificateFault::OtherHost | CertificateFault::WildcardOnly => {
            matches!(number, HANDSHAKE_FAILURE | BAD_CERTIFICATE | CERTIFICATE_UNKNOWN)
        }
        CertificateFault::OtherPurpose => {
            matches!(number, BAD_CERTIFICATE | UNSUPPORTED_CERTIFICATE | CERTIFICATE_UNKNOWN)
                || number == HANDSHAKE_FAILURE
        }
        CertificateFault::SelfSigned | CertificateFault::IssuerNotSent => {
            matches!(number, BAD_CERTIFICATE | UNKNOWN_CA | CERTIFICATE_UNKNOWN)
        }
    }
}

/// A fault in a sentence that follows another one; and what it adds to the finding, if it is of the first certificate or
/// about dates.
fn explained(
    session: &JudgedConnection,
    sender: Role,
    fault: CertificateFault,
    certificate: &CertificateFacts,
    place: usize,
) -> (String, Option<VisibleFault>) {
    let side = if sender == Role::Acceptor { "dialed" } else { "dialing" };
    let (it, whose) = if place == 0 {
        ("It".to_owned(), "the certificate".to_owned())
    } else {
        let name = certificate.subject.as_ref().map_or("an authority", |it| it);
        (
            format!("The certificate of its authority {name}"),
            format!("that of its authority {name}"),
        )
    };
    let (until, from) = (certificate.not_after.map(day), certificate.not_before.map(day));
    let renewed = || {
        format!("Renew the certificate of the {side} node, and compare the clocks of both hosts.")
    };
    let hello = session.seen.tls.initiator.hello.as_ref();
    let dialed = hello.and_then(|hello| hello.server_name.as_deref()).unwrap_or("another host");
    let names = name_list(certificate).unwrap_or_default();
    let (words, title, remedy) = match fault {
        CertificateFault::Expired => (
            format!(" {it} was expired when it was sent, by the clock of the capture."),
            until.map_or_else(String::new, |day| format!(", {whose} was valid until {day}")),
            renewed(),
        ),
        CertificateFault::NotYetValid => (
            format!(" {it} was not valid yet when it was sent, by the clock of the capture."),
            from.map_or_else(String::new, |day| format!(", {whose} is valid from {day} on")),
            renewed(),
        ),
        CertificateFault::OtherHost => (
            format!(
                " The host that was dialed is {dialed}, and none of the names in the certificate is that host \
                 (hostname_check_failed in the log)."
            ),
            format!(", the certificate is for {names} and not for {dialed}"),
            format!(
                "Issue a certificate for the dialed node whose subjectAltName has {dialed}, the host part of its \
                 node name, or dial the node by a host name that its certificate has."
            ),
        ),
        CertificateFault::WildcardOnly => (
            format!(
                " The host that was dialed is {dialed}, which fits a name with a wildcard alone. Erlang compares \
                 names without wildcards by default (hostname_check_failed in the log)."
            ),
            format!(", the certificate is for {names} and {dialed} fits only its wildcard"),
            format!(
                "Issue a certificate for the dialed node whose subjectAltName has {dialed}, or set \
                 {{customize_hostname_check, [{{match_fun, public_key:pkix_verify_hostname_match_fun(https)}}]}} under \
                 client in the -ssl_dist_optfile of the dialing node."
            ),
        ),
        CertificateFault::OtherPurpose => {
            let needed = if sender == Role::Acceptor { "serverAuth" } else { "clientAuth" };
            let purposes = certificate.extended_key_usage.iter().flatten();
            let purposes: Vec<&str> = purposes.map(AsRef::as_ref).collect();
            let purposes = listed(&purposes);
            (
                format!(
                    " It is issued for {purposes}, and the certificate of a {side} node must be for {needed}."
                ),
                format!(", the certificate is for {purposes} and not for {needed}"),
                "Issue the certificate for both uses: extendedKeyUsage = serverAuth, clientAuth. A node is both \
                 client and server."
                    .to_owned(),
            )
        }
        CertificateFault::SelfSigned => (
            format!(
                " {it} is self-signed: a node accepts it only if its cacertfile has this very certificate."
            ),
            ", the certificate is self-signed".to_owned(),
            format!(
                "Issue the certificate of the {side} node with an authority that the other node has in its \
                 cacertfile."
            ),
        ),
        CertificateFault::IssuerNotSent => (
            " The certificates of authorities that came with it do not have its issuer.".to_owned(),
            ", its issuer is not among the certificates that came with it".to_owned(),
            format!(
                "Put the certificate that issued that of the {side} node, and those up to the root, into its \
                 certfile behind its own, or into the cacertfile of the other node."
            ),
        ),
    };
    (words, Some(VisibleFault { title, remedy }))
}

/// The day of a time, such as `2026-11-29`.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take_while(|c| *c != 'T').collect()
}

/// The versions that the two sides showed, in a sentence that follows another one.
fn offered_versions(session: &JudgedConnection, sides: &Sides) -> String {
    let Some(hello) = &session.seen.tls.initiator.hello else { return String::new() };
    let mut versions = hello.versions.clone();
    versions.sort_unstable();
    let named: Vec<_> = versions.iter().filter_map(|version| tls_version_name(*version)).collect();
    match named.as_slice() {
        [] => String::new(),
        [only] => format!(" {} offers {only} alone.", sides.initiator),
        several => format!(" {} offers {}.", sides.initiator, several.join(" and ")),
    }
}

/// What is most likely meant by an encrypted alert at its position in the handshake. The meaning continues the
/// sentence "A sent an encrypted TLS 1.3 alert".
const fn encrypted(alert: &TlsAlert) -> AlertText {
    match (alert.from, alert.content) {
        (Role::Initiator, _) => SERVER_CERTIFICATE,
        (Role::Acceptor, AlertContent::RefusedNoCertificate) => NO_CLIENT_CERTIFICATE,
        (Role::Acceptor, _) => CLIENT_CERTIFICATE,
    }
}

/// The dialing node refused the certificate of the dialed one.
const SERVER_CERTIFICATE: AlertText = AlertText {
    name: "because of the certificate of the dialed node",
    meaning: "after it had received the certificate of the dialed node, and nothing else, although its own part \
              of the handshake was due. Most likely it does not accept that certificate: its authority, its \
              dates, or its names, which must include the host that was dialed.",
    remedy: "On the dialing node, check the authority in cacertfile. On the dialed node, check the certificate: \
             its issuer, its dates, and that its subjectAltName has the host part of the node name.",
};

/// The dialed node asked for a certificate and received none.
const NO_CLIENT_CERTIFICATE: AlertText = AlertText {
    name: "because no certificate was sent",
    meaning: "and nothing else after the dialing node had finished its part of the handshake, in which it was \
              asked for a certificate and sent none. Most likely that is the reason.",
    remedy: "Give the dialing node a certfile and a keyfile, under client in its -ssl_dist_optfile. The dialed \
             node demands a certificate if it has {verify, verify_peer} and {fail_if_no_peer_cert, true} under \
             server.",
};

/// The dialed node refused the certificate of the dialing one.
const CLIENT_CERTIFICATE: AlertText = AlertText {
    name: "because of the certificate of the dialing node",
    meaning: "and nothing else after the dialing node had finished its part of the handshake, in which it was \
              asked for a certificate and sent one. Most likely the dialed node does not accept that \
              certificate: its authority, its dates, or its permitted use.",
    remedy: "On the dialed node, check the authority in cacertfile. On the dialing node, check the certificate \
             under client: its issuer, its dates, and that it is issued for clientAuth too.",
};

const READ_LOGS: &str = "Read the notice that both nodes log at that moment: it ends in the name of the alert, such \
                         as Fatal - Unknown CA.";

const NOT_EXCLUDED: [&str; 2] = [
    "an alert about something other than a certificate",
    "a node that left during the handshake for a reason of its own",
];

/// What an alert means between two nodes, and what to do about it.
#[derive(Clone, Copy)]
struct AlertText {
    /// Name in IANA's "TLS Alerts"; for an encrypted alert, the reason that its position implies.
    name: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

/// The text for an alert of this number from this side.
fn alert_text(number: u8, from: Role) -> AlertText {
    if (number, from) == (BAD_CERTIFICATE, Role::Acceptor) {
        return BAD_CLIENT_CERTIFICATE;
    }
    let known = ALERTS.iter().find(|(known, _)| *known == number);
    known.map_or(UNKNOWN_ALERT, |(_, text)| *text)
}

/// Alert of a certificate that is not accepted; OTP sends it for a host name that does not fit, too.
const BAD_CERTIFICATE: u8 = 42;

/// Alert of two sides without common parameters; OTP 25 and older send it for a host name that does not fit.
const HANDSHAKE_FAILURE: u8 = 40;

/// Alerts of a node that demands a certificate and received none.
const SENT_FOR_NONE: [u8; 4] = [HANDSHAKE_FAILURE, 41, BAD_CERTIFICATE, 116];

/// Alert of a certificate of a kind, or for a use, that is not accepted.
const UNSUPPORTED_CERTIFICATE: u8 = 43;

/// Alert of a certificate that is past its date, or not yet valid.
const CERTIFICATE_EXPIRED: u8 = 45;

/// Alert of a certificate that is not accepted for another reason.
const CERTIFICATE_UNKNOWN: u8 = 46;

/// Alert of a certificate whose authority is not known.
const UNKNOWN_CA: u8 = 48;

/// Alert of two sides without a common version.
const PROTOCOL_VERSION: u8 = 70;

/// Alerts that may be about the certificate of the other side.
const ABOUT_CERTIFICATES: [u8; 8] = [
    HANDSHAKE_FAILURE,
    BAD_CERTIFICATE,
    UNSUPPORTED_CERTIFICATE,
    44,
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNKNOWN,
    UNKNOWN_CA,
    49,
];

/// The dialed node refused the certificate of the dialing one; it compares no host name.
const BAD_CLIENT_CERTIFICATE: AlertText = AlertText {
    name: "bad_certificate",
    meaning: "a check on the certificate of the dialing node failed: its signature is wrong, or a verify_fun \
              refused it.",
    remedy: "Verify the certificate of the dialing node against the cacertfile of the dialed one, and look for \
             a verify_fun or a wrong intermediate certificate.",
};

/// The alerts by number. A meaning continues the sentence "A sent the fatal TLS alert NAME (NUMBER):".
///
/// Spec: RFC 8446, section 6.2; RFC 5246, section 7.2.2; RFC 6066, section 3.
const ALERTS: &[(u8, AlertText)] = &[
    (
        10,
        AlertText {
            name: "unexpected_message",
            meaning: "it received something other than the message that was due, as when what answers is not a \
                      TLS node.",
            remedy: "Check that both nodes run with -proto_dist inet_tls, and that nothing between them \
                     terminates TLS.",
        },
    ),
    (20, AlertText { name: "bad_record_mac", meaning: NOT_DECIPHERED, remedy: COMPARE_KEYS }),
    (21, AlertText { name: "decryption_failed", meaning: NOT_DECIPHERED, remedy: COMPARE_KEYS }),
    (
        40,
        AlertText {
            name: "handshake_failure",
            meaning: "the two nodes have no common set of parameters (cipher suites, curves, signatures), or a \
                      certificate was demanded and none was sent, or the name in the certificate is not the \
                      host that was dialed.",
            remedy: "Compare ciphers, versions and eccs in both -ssl_dist_optfile. If one side has \
                     {fail_if_no_peer_cert, true}, give the other one a certfile and a keyfile. Check that the \
                     certificate's subjectAltName has the host part of the node name.",
        },
    ),
    (41, AlertText { name: "no_certificate", meaning: NO_CERTIFICATE, remedy: ADD_CERTIFICATE }),
    (
        42,
        AlertText {
            name: "bad_certificate",
            meaning: "a check on the certificate that it received failed. OTP sends this alert when the names in \
                      the certificate lack the host that was dialed (hostname_check_failed), as often as for a \
                      wrong signature.",
            remedy: "Check that the subjectAltName of the dialed node's certificate has the host part of its node \
                     name, as it was dialed. Then verify the certificate against the cacertfile of the node \
                     that refused, and look for a verify_fun or a wrong intermediate certificate.",
        },
    ),
    (
        43,
        AlertText {
            name: "unsupported_certificate",
            meaning: "the certificate that it received is of a kind or for a use that it does not accept, such as \
                      a server certificate from a node that dials.",
            remedy: "Issue the certificate of the other node for both uses: extendedKeyUsage = serverAuth, \
                     clientAuth. A node is both client and server.",
        },
    ),
    (
        44,
        AlertText {
            name: "certificate_revoked",
            meaning: "the certificate that it received is on a revocation list.",
            remedy: "Issue a new certificate for the other node, or check crl_check and crl_cache on this one.",
        },
    ),
    (
        45,
        AlertText {
            name: "certificate_expired",
            meaning: "the certificate that it received is past its date or not yet valid, by the clock of the \
                      node that refused.",
            remedy: "Renew the certificate of the other node, with its issuers, and compare the clocks of both \
                     hosts.",
        },
    ),
    (
        46,
        AlertText {
            name: "certificate_unknown",
            meaning: "something about the certificate that it received was not acceptable.",
            remedy: "Read the notice in the log of the node that refused: it gives the reason.",
        },
    ),
    (
        47,
        AlertText {
            name: "illegal_parameter",
            meaning: "a field of the handshake is out of range or contradicts another one.",
            remedy: "Look for two releases or TLS libraries that disagree, and for a middlebox that changes TLS.",
        },
    ),
    (
        48,
        AlertText {
            name: "unknown_ca",
            meaning: "the certificate that it received is not signed by an authority that it trusts.",
            remedy: "Add the authority that signed the other node's certificate, with any intermediates, to the \
                     cacertfile of the node that refused.",
        },
    ),
    (
        49,
        AlertText {
            name: "access_denied",
            meaning: "the certificate is valid, but its owner is not permitted to connect.",
            remedy: "Check verify_fun in the -ssl_dist_optfile of the node that refused.",
        },
    ),
    (51, AlertText { name: "decrypt_error", meaning: NOT_DECIPHERED, remedy: COMPARE_KEYS }),
    (
        70,
        AlertText {
            name: "protocol_version",
            meaning: "the two nodes have no TLS version in common.",
            remedy: "Set the same {versions, ['tlsv1.2', 'tlsv1.3']} under client and under server in the \
                     -ssl_dist_optfile of both nodes. Without it, OTP 25 and 27 offer TLS 1.2 alone as soon as \
                     any option of TLS is set, and OTP 29 offers TLS 1.3 too.",
        },
    ),
    (
        71,
        AlertText {
            name: "insufficient_security",
            meaning: "what the other side offers is too weak for it.",
            remedy: "Compare ciphers and key sizes in both -ssl_dist_optfile.",
        },
    ),
    (
        80,
        AlertText {
            name: "internal_error",
            meaning: "it failed for a reason of its own, often because a file in its options is missing or \
                      unreadable.",
            remedy: "Read the log of the node that refused. Check that its user can read certfile, keyfile and \
                     cacertfile.",
        },
    ),
    (
        86,
        AlertText {
            name: "inappropriate_fallback",
            meaning: "the other side tried again with an older TLS version than it supports.",
            remedy: "Look for a middlebox that breaks newer TLS, and compare {versions, [...]} on both nodes.",
        },
    ),
    (
        109,
        AlertText {
            name: "missing_extension",
            meaning: "the hello lacks an extension that it demands.",
            remedy: "Compare the releases and the -ssl_dist_optfile of both nodes.",
        },
    ),
    (
        112,
        AlertText {
            name: "unrecognized_name",
            meaning: "it does not serve the host that was dialed (SNI): its certificate or its sni_hosts are for \
                      a host other than the host part of the node name.",
            remedy: "Dial the node by the host name in its certificate, or issue a certificate for the host part \
                     of its node name.",
        },
    ),
    (
        116,
        AlertText {
            name: "certificate_required",
            meaning: NO_CERTIFICATE,
            remedy: ADD_CERTIFICATE,
        },
    ),
    (
        120,
        AlertText {
            name: "no_application_protocol",
            meaning: "it demands an application protocol (ALPN), which nodes do not offer: it is not a node.",
            remedy: "Check what listens on that port: most likely a TLS proxy or a web server, and not the node.",
        },
    ),
];

const NOT_DECIPHERED: &str = "what it received could not be deciphered, or its signature is wrong: a key does not belong \
                              to its certificate, bytes were changed on the way, or two releases disagree.";

const COMPARE_KEYS: &str = "Check that keyfile and certfile belong together: openssl x509 -in CERT.pem -noout -pubkey and \
                            openssl pkey -in KEY.pem -pubout must print the same.";

const NO_CERTIFICATE: &str = "it demands a certificate, and the other side sent none.";

const ADD_CERTIFICATE: &str = "Give the other node a certfile and a keyfile in its -ssl_dist_optfile: under client if it \
                               dials, under server if it is dialed.";

const UNKNOWN_ALERT: AlertText = AlertText {
    name: "of another kind",
    meaning: "see IANA's list of TLS alerts for this number.",
    remedy: "Read the logs of both nodes at that moment.",
};

const TRY_BY_HAND: &str = "Try it by hand: openssl s_client -connect HOST:PORT -servername HOST -CAfile CA.pem \
                           -cert CERT.pem -key KEY.pem prints the same alert and the certificates.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, rules};
    use crate::judge::TlsAlert;
    use crate::judge::samples::{dial, mark};

    fn ended_by(outcome: Outcome, from: Role, description: u8) -> Step {
        ended_with(outcome, from, AlertContent::Number(description))
    }

    fn ended_with(outcome: Outcome, from: Role, content: AlertContent) -> Step {
        let dial = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(outcome);
        but(dial, |session| {
            session.forget_names();
            session.verdict.protocol = Protocol::Tls;
            session.verdict.tls_alert = Some(TlsAlert { from, mark: mark(9), content });
        })
    }

    #[test]
    fn the_finding_names_a_fatal_alert_and_its_sender() {
        let [finding] = &found(&[ended_by(Outcome::Aborted, Role::Acceptor, 48)])[..] else {
            panic!()
        };
        assert_eq!(finding.title, "10.0.0.2:9100 refused TLS with 10.0.0.1: unknown_ca");
        assert_eq!((finding.rule, finding.confidence), ("tls-failure", Confidence::Proven));
        assert!(finding.evidence.iter().any(|shown| shown.frame.number == 9));
        let [finding] = &found(&[ended_by(Outcome::Aborted, Role::Initiator, 45)])[..] else {
            panic!()
        };
        assert_eq!(finding.title, "10.0.0.1 refused TLS with 10.0.0.2:9100: certificate_expired");
    }

    #[test]
    fn a_hello_that_no_node_sends_is_not_that_of_a_node() {
        let mut step = ended_by(Outcome::Aborted, Role::Acceptor, 48);
        let hello = crate::observe::TlsHello { is_not_by_otp: true, ..Default::default() };
        step.session_mut().seen.tls.initiator.hello = Some(hello);
        let [finding] = &found(&[step])[..] else { panic!() };
        assert!(finding.explanation.contains("no node sends"), "{finding:?}");
        assert!(finding.remedy[0].contains("service mesh"), "{finding:?}");
        assert_eq!(finding.logged_by, [Role::Acceptor]);
    }

    #[test]
    fn an_encrypted_alert_at_the_position_of_a_refusal_is_a_likely_finding() {
        for (from, content, title) in [
            (
                Role::Initiator,
                AlertContent::RefusedCertificate,
                "10.0.0.1 most likely refused TLS with 10.0.0.2:9100 because of the certificate of the dialed node",
            ),
            (
                Role::Acceptor,
                AlertContent::RefusedCertificate,
                "10.0.0.2:9100 most likely refused TLS with 10.0.0.1 because of the certificate of the dialing node",
            ),
            (
                Role::Acceptor,
                AlertContent::RefusedNoCertificate,
                "10.0.0.2:9100 most likely refused TLS with 10.0.0.1 because no certificate was sent",
            ),
        ] {
            let [finding] = &found(&[ended_with(Outcome::Aborted, from, content)])[..] else {
                panic!()
            };
            assert_eq!(finding.title, title);
            assert_eq!(finding.confidence, Confidence::Likely);
            assert!(!finding.not_excluded.is_empty());
            assert!(
                finding
                    .evidence
                    .iter()
                    .any(|shown| shown.what.to_string() == "encrypted TLS alert")
            );
        }
    }

    #[test]
    fn a_missing_certificate_is_named_if_the_dialed_node_refuses() {
        let title = |from, number| {
            let mut step = ended_by(Outcome::Aborted, from, number);
            step.session_mut().seen.tls.initiator.progress.no_certificate = Some(mark(8));
            let [finding] = &found(&[step])[..] else { panic!() };
            finding.title.clone()
        };
        assert!(title(Role::Acceptor, 40).ends_with("handshake_failure, no certificate was sent"));
        assert!(title(Role::Initiator, 40).ends_with("handshake_failure"), "its own reason");
        assert!(title(Role::Acceptor, 70).ends_with("protocol_version"));
    }

    #[test]
    fn close_notify_and_tls_on_one_side_are_no_tls_failure() {
        assert!(rules(&[ended_by(Outcome::Tls, Role::Acceptor, 0)]).is_empty());
        let mismatch = ended_by(Outcome::TlsMismatch, Role::Acceptor, 10);
        assert_eq!(rules(&[mismatch]), ["tls-mismatch"]);
        let silent = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(Outcome::Tls);
        assert!(rules(&[silent.into()]).is_empty());
    }
}
