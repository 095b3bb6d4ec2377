//! A TLS connection between nodes that an alert ended.
//!
//! Evidence: a fatal alert that is sent in clear, which is before its sender has sealed anything; or, in
//! TLS 1.3, a sealed one in a place where nothing but a refusal is due. Which one that is cannot be read. Any
//! other sealed alert is mostly `close_notify`, which is how a healthy connection ends.

use super::finding::{Sides, closed, finding, looked_up, shown};
use super::{Detection, LogLine, Rule, RuleDoc};
use crate::judge::world::World;
use crate::judge::{AlertSays, JudgedConnection, Outcome, TlsAlert};
use crate::observe::Role;
use crate::record::{Confidence, Severity, Shows};

/// `beamscope explain tls-failure`.
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
               and so on. The side that sends it is the one that refused. In TLS 1.3 an alert \
               about a certificate is encrypted, and is recognised by its length and its \
               position: it is all that the dialing node sends after the other's certificate, or \
               all that the dialed node sends after the dialing node's. That is likely, and not \
               proven.",
    lookalikes: "TLS on one side only is tls-mismatch. An alert of level warning, and \
                 close_notify, are no failure; in TLS 1.3 close_notify is as long as any alert, \
                 and comes after other records. A node that leaves during the handshake for a \
                 reason of its own looks the same as one that refuses. To see the number in the \
                 capture, try with {versions, ['tlsv1.2']}.",
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
        if session.outcome() != Outcome::Tls || alert.says == AlertSays::Number(CLOSE_NOTIFY) {
            return;
        }
        let sides = Sides::of(session);
        let (who, other) = sides.side_and_peer(alert.from);
        let mut found = finding(&DOC, session, &sides);
        found.not_excluded = Vec::new();
        let what = if let AlertSays::Number(description) = alert.says {
            let Meaning { name, says, fix } = meaning(description);
            found.confidence = Confidence::Proven;
            found.title = format!("{who} refused TLS with {other}: {name}");
            found.explanation =
                format!("{who} sent the fatal TLS alert {name} ({description}): {says}");
            found.remedy = vec![fix.to_owned(), PAGE_CHECK.to_owned()];
            Shows::TlsAlert(format!("fatal TLS alert {name}").into())
        } else {
            let Meaning { name, says, fix } = sealed(alert);
            found.confidence = Confidence::Likely;
            found.title = format!("{who} most likely refused TLS with {other}: {name}");
            found.explanation = format!(
                "{who} sent an encrypted TLS 1.3 alert {says} Which alert it is cannot be read in the \
                 capture; both nodes log it."
            );
            found.remedy = vec![READ_LOGS.to_owned(), fix.to_owned(), PAGE_CHECK.to_owned()];
            found.not_excluded = NOT_EXCLUDED.map(ToOwned::to_owned).to_vec();
            Shows::TlsAlert("encrypted TLS alert".into())
        };
        found.evidence.extend(looked_up(session));
        if let Some((role, mark)) = session.seen.tls().filter(|(_, mark)| *mark != alert.mark) {
            found.evidence.extend(shown(Some(mark), Some(role), Shows::TlsHello("TLS hello")));
        }
        found.evidence.extend(shown(Some(alert.mark), Some(alert.from), what));
        found.evidence.extend(closed(session, "in the TLS handshake"));
        found.logged_by = vec![Role::Initiator, Role::Acceptor];
        out.push(found);
    }
}

/// What is most likely meant by a sealed alert in its place; the words go on from "sent an alert".
fn sealed(alert: &TlsAlert) -> Meaning {
    match (alert.from, alert.says) {
        (Role::Initiator, _) => Meaning {
            name: "the certificate of the dialed node",
            says: "and nothing else where its own part of the handshake was due, having got the certificate \
                   of the dialed node. Most likely it does not accept that: its authority, its dates, or its \
                   names, among which must be the host that was dialed.",
            fix: "On the dialing node check the authority in cacertfile, and on the dialed one its \
                  certificate: its issuer, its dates, and that its subjectAltName has the host part of the \
                  node name.",
        },
        (Role::Acceptor, AlertSays::RefusedNoCertificate) => Meaning {
            name: "no certificate was sent",
            says: "and nothing else when the dialing node had finished its part of the handshake, in which it \
                   was asked for a certificate and sent none. Most likely that is why.",
            fix: "Give the dialing node certfile and keyfile under client in its -ssl_dist_optfile. They are \
                  demanded by {verify, verify_peer} with {fail_if_no_peer_cert, true} under server on the \
                  dialed one.",
        },
        (Role::Acceptor, _) => Meaning {
            name: "the certificate of the dialing node",
            says: "and nothing else when the dialing node had finished its part of the handshake, in which it \
                   was asked for a certificate and sent one. Most likely the dialed node does not accept \
                   that: its authority, its dates, or its use.",
            fix: "On the dialed node check the authority in cacertfile, and on the dialing one the \
                  certificate under client: its issuer, its dates, and that it is for clientAuth too.",
        },
    }
}

const READ_LOGS: &str = "Read the notice that both nodes log in that moment: it ends in the name of the alert, such \
                         as Fatal - Unknown CA.";

const NOT_EXCLUDED: [&str; 2] = [
    "another alert than one about a certificate",
    "a side that left in mid-handshake for a reason of its own",
];

/// What an alert means between two nodes.
struct Meaning {
    name: &'static str,
    says: &'static str,
    fix: &'static str,
}

/// What is meant by an alert of this number.
///
/// Spec: RFC 8446, section 6.2; RFC 5246, section 7.2.2; RFC 6066, section 3.
fn meaning(description: u8) -> Meaning {
    let (name, says, fix) = match description {
        10 => (
            "unexpected_message",
            "what came was not the message that was due, as when something that is no TLS node answers.",
            "Check that both nodes run with -proto_dist inet_tls, and that nothing between them terminates \
             TLS.",
        ),
        20 | 21 | 51 => (
            match description {
                20 => "bad_record_mac",
                21 => "decryption_failed",
                _ => "decrypt_error",
            },
            "what came could not be deciphered or its signature is wrong: a key that does not belong to its \
             certificate, bytes changed on the way, or two releases that disagree.",
            "Check that keyfile and certfile belong together: openssl x509 -in CERT.pem -noout -pubkey and \
             openssl pkey -in KEY.pem -pubout must print the same.",
        ),
        40 => (
            "handshake_failure",
            "the two have no set of parameters in common (cipher suites, curves, signatures), a certificate \
             was demanded and none was sent, or the name in the certificate is not the host that was dialed.",
            "Compare ciphers, versions and eccs of both -ssl_dist_optfile; where one side has \
             {fail_if_no_peer_cert, true}, give the other certfile and keyfile; and see that the \
             certificate's subjectAltName has the host part of the node name.",
        ),
        41 | 116 => (
            if description == 41 { "no_certificate" } else { "certificate_required" },
            "it demands a certificate, and the other side has sent none.",
            "Give the other node certfile and keyfile in its -ssl_dist_optfile, under client if it dials and \
             under server if it is dialed.",
        ),
        42 => (
            "bad_certificate",
            "the certificate that it was sent is broken: its signature does not fit, or a check on it failed.",
            "Verify the certificate of the other node against the cacertfile of this one, and look for a \
             verify_fun or a wrong intermediate certificate.",
        ),
        43 => (
            "unsupported_certificate",
            "the certificate that it was sent is of a kind or for a use that it does not take, such as a \
             server certificate presented by a node that dials.",
            "Issue the certificate of the other node for both uses: extendedKeyUsage = serverAuth, \
             clientAuth. A node is client and server.",
        ),
        44 => (
            "certificate_revoked",
            "the certificate that it was sent is on a revocation list.",
            "Issue a new certificate for the other node, or look at crl_check and crl_cache of this one.",
        ),
        45 => (
            "certificate_expired",
            "the certificate that it was sent is past its date or not yet valid, by the clock of the node \
             that refused.",
            "Renew the certificate of the other node, with its issuers, and compare the clocks of both hosts.",
        ),
        46 => (
            "certificate_unknown",
            "something about the certificate that it was sent was not acceptable.",
            "Read the notice in the log of the node that refused: it has the reason.",
        ),
        47 => (
            "illegal_parameter",
            "a field of the handshake is out of range or contradicts another one.",
            "Look for two releases or TLS libraries that disagree, and for a middlebox that changes TLS.",
        ),
        48 => (
            "unknown_ca",
            "the certificate that it was sent is not signed by an authority that it trusts.",
            "Put the authority that signed the other node's certificate, with any intermediates, into the \
             cacertfile of the node that refused.",
        ),
        49 => (
            "access_denied",
            "the certificate is valid, and its owner is not let in.",
            "Look at verify_fun in the -ssl_dist_optfile of the node that refused.",
        ),
        70 => (
            "protocol_version",
            "the two have no TLS version in common.",
            "Compare {versions, [...]} in both -ssl_dist_optfile, and the releases: up to OTP 25 distribution \
             offers TLS 1.2 unless told otherwise.",
        ),
        71 => (
            "insufficient_security",
            "what the other side offers is too weak for it.",
            "Compare ciphers and key sizes in both -ssl_dist_optfile.",
        ),
        80 => (
            "internal_error",
            "it failed for a reason of its own: often a file in its options that is missing or unreadable.",
            "Read the log of the node that refused; check that its user can read certfile, keyfile and \
             cacertfile.",
        ),
        86 => (
            "inappropriate_fallback",
            "the other side came back with an older TLS version than it can.",
            "Look for a middlebox that breaks newer TLS, and compare {versions, [...]} on both nodes.",
        ),
        109 => (
            "missing_extension",
            "the hello lacks an extension that it demands.",
            "Compare the releases and the -ssl_dist_optfile of both nodes.",
        ),
        112 => (
            "unrecognized_name",
            "the host that was dialed (SNI) is none that it answers for: the host part of the node name is \
             not the one its certificate or its sni_hosts are for.",
            "Dial the node by the host name that its certificate has, or issue one for the host part of its \
             node name.",
        ),
        120 => (
            "no_application_protocol",
            "it demands an application protocol (ALPN), which nodes do not offer: it is no node.",
            "Check what listens on that port: a TLS proxy or a web server is in the place of the node.",
        ),
        _ => (
            "of another kind",
            "see IANA's list of TLS alerts for this number.",
            "Read the logs of both nodes at this moment.",
        ),
    };
    Meaning { name, says, fix }
}

const PAGE_CHECK: &str = "Try it by hand: openssl s_client -connect HOST:PORT -servername HOST -CAfile CA.pem \
                          -cert CERT.pem -key KEY.pem prints the same alert and the certificates.";

/// The healthy end of a TLS connection.
const CLOSE_NOTIFY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Step, but, found, rules};
    use crate::judge::TlsAlert;
    use crate::judge::samples::{dial, mark};

    fn ended_by(outcome: Outcome, from: Role, description: u8) -> Step {
        ended_with(outcome, from, AlertSays::Number(description))
    }

    fn ended_with(outcome: Outcome, from: Role, says: AlertSays) -> Step {
        let dial = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(outcome);
        but(dial, |session| {
            session.forget_names();
            session.verdict.tls_alert = Some(TlsAlert { from, mark: mark(9), says });
        })
    }

    #[test]
    fn a_fatal_alert_is_told_by_its_name_and_sender() {
        let [finding] = &found(&[ended_by(Outcome::Tls, Role::Acceptor, 48)])[..] else { panic!() };
        assert_eq!(finding.title, "10.0.0.2:9100 refused TLS with 10.0.0.1: unknown_ca");
        assert_eq!((finding.rule, finding.confidence), ("tls-failure", Confidence::Proven));
        assert!(finding.evidence.iter().any(|shown| shown.frame.number == 9));
        let [finding] = &found(&[ended_by(Outcome::Tls, Role::Initiator, 45)])[..] else {
            panic!()
        };
        assert_eq!(finding.title, "10.0.0.1 refused TLS with 10.0.0.2:9100: certificate_expired");
    }

    #[test]
    fn a_sealed_alert_is_told_by_its_place_as_likely() {
        for (from, says, title) in [
            (
                Role::Initiator,
                AlertSays::RefusedCertificate,
                "10.0.0.1 most likely refused TLS with 10.0.0.2:9100: the certificate of the dialed node",
            ),
            (
                Role::Acceptor,
                AlertSays::RefusedCertificate,
                "10.0.0.2:9100 most likely refused TLS with 10.0.0.1: the certificate of the dialing node",
            ),
            (
                Role::Acceptor,
                AlertSays::RefusedNoCertificate,
                "10.0.0.2:9100 most likely refused TLS with 10.0.0.1: no certificate was sent",
            ),
        ] {
            let [finding] = &found(&[ended_with(Outcome::Tls, from, says)])[..] else { panic!() };
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
    fn a_healthy_end_and_tls_on_one_side_are_none() {
        assert!(rules(&[ended_by(Outcome::Tls, Role::Acceptor, CLOSE_NOTIFY)]).is_empty());
        let mismatch = ended_by(Outcome::TlsMismatch, Role::Acceptor, 10);
        assert_eq!(rules(&[mismatch]), ["tls-mismatch"]);
        let silent = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(Outcome::Tls);
        assert!(rules(&[silent.into()]).is_empty());
    }
}
