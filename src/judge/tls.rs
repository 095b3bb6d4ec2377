//! The alert that ended a TLS connection, as far as the records show it.
//!
//! In: the alerts in clear, and the number and lengths of the encrypted records that each side had sent when the
//! connection ended. Out: the alert. In TLS 1.3 an alert about a certificate is encrypted, but its length and its
//! position are visible. Only a handshake whose records match one by one counts: Erlang sends each handshake message
//! in a record of its own.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inside::InsideTls;
use super::verdict::is_received;
use crate::observe::{CloseFacts, Observation, Role, SealedLengths, SealedRecord};
use crate::packet::PacketRef;

/// An alert that ends a TLS connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TlsAlert {
    /// The side that sent the alert.
    pub from: Role,
    /// The packet with its first byte.
    pub mark: PacketRef,
    /// What is known of its content.
    pub content: AlertContent,
}

impl TlsAlert {
    /// Whether it refuses the connection; `close_notify` ends one without a fault.
    pub fn is_refusal(&self) -> bool {
        self.content != AlertContent::Number(CLOSE_NOTIFY)
    }
}

/// What is known of why an alert was sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertContent {
    /// The number of an alert in clear, as in IANA's "TLS Alerts".
    Number(u8),
    /// Encrypted; the other side's part of the handshake had a certificate.
    RefusedCertificate,
    /// Encrypted; the other side's Certificate message was empty.
    RefusedNoCertificate,
}

/// The number of the alert at the end of a TLS connection without a fault.
const CLOSE_NOTIFY: u8 = 0;

/// The alert that ended a connection: the first in clear, else an encrypted one.
pub(super) fn alert(seen: &Observation, close: Option<(CloseFacts, Role)>) -> Option<TlsAlert> {
    let in_clear = seen.tls.each().filter_map(|(from, tls)| {
        let (number, mark) = tls.fatal?;
        Some(TlsAlert { from, mark, content: AlertContent::Number(number) })
    });
    in_clear.min_by_key(|alert| alert.mark.at).or_else(|| refusal(seen, close))
}

/// The encrypted alert with which one side refused the other, by the records that the first side to close had sent or
/// received. It must be the last record of its sender.
fn refusal(seen: &Observation, close: Option<(CloseFacts, Role)>) -> Option<TlsAlert> {
    let lengths = seen.tls.acceptor.lengths?;
    let (close, by) = close?;
    let known = |role: Role| -> Vec<SealedRecord> {
        let is_known = |it: &&SealedRecord| role == by || is_received(&close, it.mark, it.end);
        seen.tls[role].sealed.iter().filter(is_known).copied().collect()
    };
    let (client, server) = (known(Role::Initiator), known(Role::Acceptor));
    let (from, alert, content) = refusal_by_client(lengths, &client, &server)
        .map(|alert| (Role::Initiator, alert, AlertContent::RefusedCertificate))
        .or_else(|| {
            let (alert, content) = refusal_by_server(lengths, &client, &server)?;
            Some((Role::Acceptor, alert, content))
        })?;
    let is_last = seen.tcp.sides[from].end == alert.end;
    is_last.then_some(TlsAlert { from, mark: alert.mark, content })
}

/// The alert of a client that refused the server's certificate: the client sends nothing but an alert after the whole
/// flight of the server (EncryptedExtensions, Certificate, CertificateVerify, Finished), where its own Finished is
/// due. A resumed session has no certificates, and its flight has only two records.
fn refusal_by_client(
    lengths: SealedLengths,
    client: &[SealedRecord],
    server: &[SealedRecord],
) -> Option<SealedRecord> {
    match (client, server) {
        (&[alert], [_, _, _, .., finished])
            if alert.length == lengths.alert && finished.length == lengths.finished =>
        {
            Some(alert)
        }
        _ => None,
    }
}

/// The alert of a server that refused the client's certificate: the server sends nothing but an alert after its flight
/// (EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify, Finished), in which it requested a
/// certificate. Two cases without a fault have the same records and are excluded: the alert that answers a client
/// which closes right after its Finished, and the alert at the end of the setup time of a client that sends nothing
/// more.
fn refusal_by_server(
    lengths: SealedLengths,
    client: &[SealedRecord],
    server: &[SealedRecord],
) -> Option<(SealedRecord, AlertContent)> {
    let &[_, _, _, _, finished, alert] = server else { return None };
    if finished.length != lengths.finished || alert.length != lengths.alert {
        return None;
    }
    let at = client.iter().position(|it| it.length == lengths.finished)?;
    let (flight, [finished, after @ ..]) = client.split_at_checked(at)? else { return None };
    let is_alert = |it: &SealedRecord| it.length == lengths.alert;
    let client_closes = flight.iter().chain(after.first()).any(is_alert);
    if client_closes || alert.mark.at.since(finished.mark.at) > REFUSED_WITHIN {
        return None;
    }
    let content = match flight {
        [] => return None,
        [only] if only.length == lengths.no_certificate => AlertContent::RefusedNoCertificate,
        _ => AlertContent::RefusedCertificate,
    };
    Some((alert, content))
}

/// A node verifies a certificate within milliseconds; the bound leaves room for a busy host and a retransmission.
/// For a client that sends nothing, a node waits the whole setup time (`net_setuptime`), 7 s by default.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

/// The packet which shows that two nodes connected inside TLS, by the order of their encrypted records. Erlang sends each
/// message of the distribution handshake in a record of its own (`ssl:send/2` in `inet_tls_dist.erl`): `send_name`;
/// `status` and `challenge`; `challenge_reply`; `challenge_ack`. A node that refuses sends nothing after its last
/// message. If both sides send records behind the third one of the acceptor, the nodes are connected.
pub(super) fn link(seen: &Observation) -> Option<PacketRef> {
    let hello = seen.tls.initiator.hello.as_ref()?;
    if hello.is_not_by_otp || hello.protocol.is_some() {
        return None;
    }
    seen.tls.acceptor.hello.as_ref()?;
    let is_tls13 = is_tls13(seen);
    let lengths = seen.tls.acceptor.lengths;
    if is_tls13 && lengths.is_none() {
        return None;
    }
    let lengths = lengths.filter(|_| is_tls13);
    let [client, server] = Role::BOTH.map(|role| after_handshake(&seen.tls[role].sealed, lengths));
    linked_by(client?, server?, lengths)
}

/// The records of a side behind its TLS handshake, which ends with a Finished message. TLS 1.2 sends that in a record of
/// another type.
pub(super) fn after_handshake(
    sealed: &[SealedRecord],
    lengths: Option<SealedLengths>,
) -> Option<&[SealedRecord]> {
    let Some(lengths) = lengths else { return Some(sealed) };
    let finished = sealed.iter().position(|record| record.length == lengths.finished)?;
    sealed.get(finished + 1..)
}

/// Whether the server selected TLS 1.3.
pub(super) fn is_tls13(seen: &Observation) -> bool {
    let hello = seen.tls.acceptor.hello.as_ref();
    hello.is_some_and(|hello| hello.versions.contains(&TLS_1_3))
}

/// Whether the server resumed a session: in TLS 1.2 it then sends Finished right behind its hello, and in TLS 1.3 behind
/// EncryptedExtensions alone.
pub fn is_resumed(seen: &Observation) -> bool {
    let server = &seen.tls.acceptor;
    match server.lengths.filter(|_| is_tls13(seen)) {
        Some(lengths) => {
            matches!(server.sealed.as_slice(), [_, finished, ..] if finished.length == lengths.finished)
        }
        None => {
            let has_flight = server.progress.flight.is_some() || !server.certificates.is_empty();
            server.hello.is_some()
                && !is_tls13(seen)
                && !has_flight
                && server.progress.finished.is_some()
        }
    }
}

/// How far a connection got in the handshake of TLS, and then inside it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsStep {
    /// The dialing side sent its hello, and the dialed one no hello.
    ClientHello,
    /// The dialed side sent its hello, and not all of its part of the handshake as far as the capture shows.
    ServerHello,
    /// The dialed side sent all of its part, with its certificate, and the dialing one is next.
    ServerFlight,
    /// The dialing side finished its part of TLS 1.2, and the dialed one has yet to.
    ClientFlight,
    /// TLS is established: both sides finished, and nothing followed.
    Finished,
    /// A record as long as `send_name` followed.
    SendName,
    /// A record as long as a `status` followed.
    Status,
    /// A record as long as `challenge` followed.
    Challenge,
    /// A record as long as `complement` followed.
    Complement,
    /// A record as long as `challenge_reply` followed.
    ChallengeReply,
    /// A record as long as `challenge_ack` followed.
    ChallengeAck,
    /// Further encrypted records followed: behind the distribution handshake, if their lengths fit one.
    Messages,
}

/// How far a connection got in TLS, as the first side to close knew; `None` without the hello of the dialing side.
pub(super) fn step(
    seen: &Observation,
    close: Option<(CloseFacts, Role)>,
    inside: Option<&InsideTls>,
) -> Option<TlsStep> {
    seen.tls.initiator.hello.as_ref()?;
    if let Some(step) = inside.and_then(InsideTls::step) {
        return Some(step);
    }
    let is_known = |role: Role, it: &SealedRecord| {
        close.is_none_or(|(close, by)| role == by || is_received(&close, it.mark, it.end))
    };
    let has_data = |role: Role, lengths| {
        let inside = after_handshake(&seen.tls[role].sealed, lengths).unwrap_or_default();
        inside.iter().any(|it| is_known(role, it) && is_message(it, lengths))
    };
    let lengths = seen.tls.acceptor.lengths.filter(|_| is_tls13(seen));
    let finished = |role: Role| match lengths {
        Some(lengths) => {
            let is_finished = |it: &&SealedRecord| it.length == lengths.finished;
            seen.tls[role].sealed.iter().find(is_finished).is_some_and(|it| is_known(role, it))
        }
        None => seen.tls[role].progress.finished.is_some_and(|it| is_known(role, &it)),
    };
    let [client, server] = Role::BOTH.map(finished);
    Some(match () {
        () if seen.tls.acceptor.hello.is_none() => TlsStep::ClientHello,
        () if client && server => {
            let has_data = Role::BOTH.into_iter().any(|role| has_data(role, lengths));
            if has_data { TlsStep::Messages } else { TlsStep::Finished }
        }
        () if client => TlsStep::ClientFlight,
        () if server || seen.tls.acceptor.progress.flight.is_some() => TlsStep::ServerFlight,
        () => TlsStep::ServerHello,
    })
}

/// Whether an encrypted record is no alert, as far as its length shows.
fn is_message(record: &SealedRecord, lengths: Option<SealedLengths>) -> bool {
    lengths.is_none_or(|known| record.length != known.alert)
}

/// The first record that a connected node sends behind the distribution handshake, and that the other one answers.
fn linked_by(
    client: &[SealedRecord],
    server: &[SealedRecord],
    lengths: Option<SealedLengths>,
) -> Option<PacketRef> {
    let is_message = |it: &&SealedRecord| is_message(it, lengths);
    let (reply, ack) = (client.get(REPLY)?, server.get(ACK)?);
    if reply.mark.at > ack.mark.at {
        return None;
    }
    let mut later = client.iter().skip(REPLY + 1).filter(is_message);
    let first = later.find(|it| it.mark.at > ack.mark.at)?;
    let mut answers = server.iter().skip(ACK + 1).filter(is_message);
    answers.any(|it| it.mark.at > first.mark.at).then_some(first.mark)
}

/// TLS 1.3 in the `supported_versions` of a hello (RFC 8446, section 4.2.1).
const TLS_1_3: u16 = 0x0304;

/// Place of `challenge_reply` among the records of the initiator: it follows `send_name`.
const REPLY: usize = 1;

/// Place of `challenge_ack` among the records of the acceptor: it follows `status` and `challenge`.
const ACK: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::stream::TcpOffset;
    use crate::time::Timestamp;

    const LENGTHS: SealedLengths = SealedLengths { alert: 19, finished: 69, no_certificate: 25 };

    /// Records of these lengths, all `ms` after the first record of the connection.
    fn records<const N: usize>(ms: u64, lengths: [u16; N]) -> Vec<SealedRecord> {
        let at = Timestamp::new(100 + ms / 1000, ms % 1000 * 1_000_000);
        let mark = PacketRef { frame: FrameRef { input: 0, number: 1 }, at };
        lengths.map(|length| SealedRecord { length, end: TcpOffset::BASE, mark }).to_vec()
    }

    fn client_refuses<const C: usize, const S: usize>(client: [u16; C], server: [u16; S]) -> bool {
        refusal_by_client(LENGTHS, &records(9, client), &records(0, server)).is_some()
    }

    fn server_refusal<const C: usize, const S: usize>(
        client: [u16; C],
        server: [u16; S],
        after_ms: u64,
    ) -> Option<AlertContent> {
        let (client, server) = (records(9, client), records(9 + after_ms, server));
        refusal_by_server(LENGTHS, &client, &server).map(|(_, content)| content)
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
    fn a_client_that_sends_only_an_alert_has_refused() {
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

    /// Records of 100 bytes at these times in milliseconds.
    fn records_at<const N: usize>(times: [u64; N]) -> Vec<SealedRecord> {
        times.iter().flat_map(|ms| records(*ms, [100])).collect()
    }

    #[test]
    fn records_behind_a_distribution_handshake_show_that_two_nodes_connected() {
        let is_linked = |client: &[SealedRecord], server: &[SealedRecord]| {
            linked_by(client, server, Some(LENGTHS)).is_some()
        };
        let server = |last: u64| records_at([2, 3, 5, last]);
        assert!(is_linked(&records_at([1, 4, 6]), &server(8)));
        assert!(!is_linked(&records_at([1, 4]), &records_at([2, 3])), "refused, or no answer yet");
        assert!(
            !is_linked(&records_at([1, 4]), &records_at([2, 3, 5])),
            "refused by the initiator"
        );
        assert!(!is_linked(&records_at([1, 4, 6]), &records_at([2, 3, 5])), "not answered");
        let with_ticket = records_at([0, 2, 3]);
        assert!(!is_linked(&records_at([1, 4]), &with_ticket), "a session ticket, and refused");
        let closes = [records_at([1, 4]), records(6, [ALERT])].concat();
        assert!(!is_linked(&closes, &server(8)), "an alert that closes");
    }

    #[test]
    fn the_handshake_of_tls_13_is_not_that_of_the_nodes() {
        let flight = records(0, [EXTENSIONS, CERTIFICATE, VERIFY, FINISHED, STATUS]);
        assert_eq!(after_handshake(&flight, Some(LENGTHS)).map(<[_]>::len), Some(1));
        assert_eq!(after_handshake(&flight, None).map(<[_]>::len), Some(5));
        assert!(after_handshake(&records(0, [EXTENSIONS]), Some(LENGTHS)).is_none());
    }

    const MUTUAL: [u16; 6] = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED, ALERT];

    #[test]
    fn a_server_that_sends_only_an_alert_after_the_clients_flight_has_refused() {
        let refused = Some(AlertContent::RefusedCertificate);
        assert_eq!(server_refusal([CERTIFICATE, VERIFY, FINISHED], MUTUAL, 9), refused);
        let name = [CERTIFICATE, VERIFY, FINISHED, SEND_NAME];
        assert_eq!(server_refusal(name, MUTUAL, 9), refused);
        let answers = [CERTIFICATE, VERIFY, FINISHED, SEND_NAME, ALERT];
        assert_eq!(server_refusal(answers, MUTUAL, 9), refused);
        let none = Some(AlertContent::RefusedNoCertificate);
        assert_eq!(server_refusal([EMPTY, FINISHED, SEND_NAME], MUTUAL, 9), none);
    }

    #[test]
    fn a_server_whose_client_closed_or_sent_nothing_has_not_refused() {
        let whole = [CERTIFICATE, VERIFY, FINISHED];
        assert_eq!(server_refusal(whole, MUTUAL, 7000), None, "the setup time ran out");
        assert_eq!(server_refusal([CERTIFICATE, VERIFY, FINISHED, ALERT], MUTUAL, 9), None, "left");
        assert_eq!(server_refusal([FINISHED, SEND_NAME], MUTUAL, 9), None, "was asked for nothing");
        assert_eq!(server_refusal([CERTIFICATE, VERIFY], MUTUAL, 9), None, "not yet finished");
        let one_way = [EXTENSIONS, CERTIFICATE, VERIFY, FINISHED, STATUS, ALERT];
        assert_eq!(server_refusal(whole, one_way, 9), None, "talked");
        let talked = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED, STATUS, ALERT];
        assert_eq!(server_refusal(whole, talked, 9), None, "talked");
        let open = [EXTENSIONS, REQUEST, CERTIFICATE, VERIFY, FINISHED];
        assert_eq!(server_refusal(whole, open, 9), None);
    }
}
