//! The alert that ended a TLS connection, as far as it shows.
//!
//! In: the alerts in clear, how many encrypted records each side had sent when the connection ended, and how long
//! each is. Out: the alert. In TLS 1.3 every verdict on a certificate is encrypted; its length and its place are not.
//! Only a handshake that fits record by record counts: Erlang puts each message into one of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::is_heard;
use crate::observe::{CloseFacts, Observation, Role, SealedLengths, SealedRecord};
use crate::packet::PacketRef;

/// An alert that ends a TLS connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsAlert {
    /// The side that sent it.
    pub from: Role,
    /// The packet with its first byte.
    pub mark: PacketRef,
    /// What is known of its contents.
    pub says: AlertSays,
}

/// What is known of why an alert was sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSays {
    /// In clear: its number, as in IANA's "TLS Alerts".
    Number(u8),
    /// Encrypted, in answer to the other side's part of the handshake, which had a certificate.
    RefusedCertificate,
    /// Encrypted, in answer to a part of the handshake that had an empty place for a certificate.
    RefusedNoCertificate,
}

/// The alert that ended a connection: the first in clear, else an encrypted one.
pub(super) fn alert(seen: &Observation, close: Option<(CloseFacts, Role)>) -> Option<TlsAlert> {
    let in_clear = seen.tls.each().filter_map(|(from, tls)| {
        let (number, mark) = tls.fatal?;
        Some(TlsAlert { from, mark, says: AlertSays::Number(number) })
    });
    in_clear.min_by_key(|alert| alert.mark.at).or_else(|| refusal(seen, close))
}

/// The encrypted alert with which one side refused the other, by the records that the first to close had sent or
/// received. Nothing of its sender comes behind it.
fn refusal(seen: &Observation, close: Option<(CloseFacts, Role)>) -> Option<TlsAlert> {
    let seal = seen.tls.acceptor.lengths?;
    let (close, by) = close?;
    let known = |role: Role| -> Vec<SealedRecord> {
        let is_known = |it: &&SealedRecord| role == by || is_heard(&close, it.mark, it.end);
        seen.tls[role].sealed.iter().filter(is_known).copied().collect()
    };
    let (client, server) = (known(Role::Initiator), known(Role::Acceptor));
    let (from, alert, says) = by_client(seal, &client, &server)
        .map(|alert| (Role::Initiator, alert, AlertSays::RefusedCertificate))
        .or_else(|| {
            let (alert, says) = by_server(seal, &client, &server)?;
            Some((Role::Acceptor, alert, says))
        })?;
    let is_last = seen.tcp.sides[from].end == alert.end;
    is_last.then_some(TlsAlert { from, mark: alert.mark, says })
}

/// An alert is all that the client says to the whole flight of the server, where its own Finished is due:
/// EncryptedExtensions, Certificate, CertificateVerify, Finished. A resumed session has no certificates.
fn by_client(
    seal: SealedLengths,
    client: &[SealedRecord],
    server: &[SealedRecord],
) -> Option<SealedRecord> {
    match (client, server) {
        (&[alert], [_, _, _, .., finished])
            if alert.length == seal.alert && finished.length == seal.finished =>
        {
            Some(alert)
        }
        _ => None,
    }
}

/// An alert is all that the server says behind its flight, in which it has asked for a certificate:
/// EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify, Finished. Two healthy ends look
/// alike and are left out: the answer to a client that leaves with its Finished, and the end of a long wait
/// for one that says nothing more.
fn by_server(
    seal: SealedLengths,
    client: &[SealedRecord],
    server: &[SealedRecord],
) -> Option<(SealedRecord, AlertSays)> {
    let &[_, _, _, _, finished, alert] = server else { return None };
    if finished.length != seal.finished || alert.length != seal.alert {
        return None;
    }
    let at = client.iter().position(|it| it.length == seal.finished)?;
    let (flight, [finished, then @ ..]) = client.split_at_checked(at)? else { return None };
    let is_alert = |it: &SealedRecord| it.length == seal.alert;
    let leaves = flight.iter().chain(then.first()).any(is_alert);
    if leaves || alert.mark.at.since(finished.mark.at) > REFUSED_WITHIN {
        return None;
    }
    let says = match flight {
        [] => return None,
        [only] if only.length == seal.no_certificate => AlertSays::RefusedNoCertificate,
        _ => AlertSays::RefusedCertificate,
    };
    Some((alert, says))
}

/// A certificate is judged within milliseconds; this leaves room for a busy host and for a retransmission.
/// A client that says nothing is waited for as long as the set-up time, 7 s unless it is set.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::stream::TcpOffset;
    use crate::time::Timestamp;

    const SEAL: SealedLengths = SealedLengths { alert: 19, finished: 69, no_certificate: 25 };

    /// Records of these lengths, all `ms` after the first record of the connection.
    fn records<const N: usize>(ms: u64, lengths: [u16; N]) -> Vec<SealedRecord> {
        let at = Timestamp::new(100 + ms / 1000, ms % 1000 * 1_000_000);
        let mark = PacketRef { frame: FrameRef { input: 0, number: 1 }, at };
        lengths.map(|length| SealedRecord { length, end: TcpOffset::BASE, mark }).to_vec()
    }

    fn client_refuses<const C: usize, const S: usize>(client: [u16; C], server: [u16; S]) -> bool {
        by_client(SEAL, &records(9, client), &records(0, server)).is_some()
    }

    fn server_says<const C: usize, const S: usize>(
        client: [u16; C],
        server: [u16; S],
        after_ms: u64,
    ) -> Option<AlertSays> {
        let (client, server) = (records(9, client), records(9 + after_ms, server));
        by_server(SEAL, &client, &server).map(|(_, says)| says)
    }

    // As on the wire, with AES_256_GCM_SHA384.
    const EXTENSIONS: u16 = 23;
    const REQUEST: u16 = 87;
    const CERTIFICATE: u16 = 1591;
    const VERIFY: u16 = 281;
    const FINISHED: u16 = 69;
    const ALERT: u16 = 19;
    const EMPTY: u16 = 25;
    const SEND_NAME: u16 = 48;
    const STATUS: u16 = 24;

    #[test]
    fn a_client_that_says_an_alert_alone_has_refused() {
        let flight = [EXTENSIONS, CERTIFICATE, VERIFY, FINISHED];
        assert!(client_refuses([ALERT], flight));
        assert!(client_refuses([ALERT], [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED]));
        assert!(!client_refuses([FINISHED, ALERT], flight), "a close behind a good handshake");
        assert!(!client_refuses([FINISHED], flight));
        assert!(!client_refuses([ALERT, ALERT], flight));
        assert!(!client_refuses([ALERT], [EXTENSIONS, CERTIFICATE]), "gave up in mid-flight");
        assert!(!client_refuses([ALERT], [EXTENSIONS, FINISHED]), "no certificate to refuse");
        assert!(!client_refuses([ALERT], []));
    }

    const MUTUAL: [u16; 6] = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED, ALERT];

    #[test]
    fn a_server_that_says_an_alert_behind_the_clients_flight_has_refused() {
        let refused = Some(AlertSays::RefusedCertificate);
        assert_eq!(server_says([CERTIFICATE, VERIFY, FINISHED], MUTUAL, 9), refused);
        let name = [CERTIFICATE, VERIFY, FINISHED, SEND_NAME];
        assert_eq!(server_says(name, MUTUAL, 9), refused);
        let answers = [CERTIFICATE, VERIFY, FINISHED, SEND_NAME, ALERT];
        assert_eq!(server_says(answers, MUTUAL, 9), refused);
        let none = Some(AlertSays::RefusedNoCertificate);
        assert_eq!(server_says([EMPTY, FINISHED, SEND_NAME], MUTUAL, 9), none);
    }

    #[test]
    fn a_server_that_was_left_or_was_not_spoken_to_has_not_refused() {
        let whole = [CERTIFICATE, VERIFY, FINISHED];
        assert_eq!(server_says(whole, MUTUAL, 7000), None, "the set-up time ran out");
        assert_eq!(server_says([CERTIFICATE, VERIFY, FINISHED, ALERT], MUTUAL, 9), None, "left");
        assert_eq!(server_says([FINISHED, SEND_NAME], MUTUAL, 9), None, "was asked for nothing");
        assert_eq!(server_says([CERTIFICATE, VERIFY], MUTUAL, 9), None, "not yet finished");
        let one_way = [EXTENSIONS, CERTIFICATE, VERIFY, FINISHED, STATUS, ALERT];
        assert_eq!(server_says(whole, one_way, 9), None, "talked");
        let talked = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED, STATUS, ALERT];
        assert_eq!(server_says(whole, talked, 9), None, "talked");
        let open = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED];
        assert_eq!(server_says(whole, open, 9), None);
    }
}
