//! TLS, observed from outside: its hello, certificate and alerts in clear, and the lengths of its encrypted records.
//!
//! In: the chunks of a direction that begins with a hello or an alert. Out: [`TlsFacts`]. Nothing is decrypted.

#[cfg(test)]
mod against_tshark;
mod handshake;
mod keylog;
mod keys;
mod messages;
mod opener;
mod records;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod scripts;

use std::sync::Arc;

pub use self::keylog::{KeyLog, KeyLogCounts};
use self::messages::{ClearMessages, facts};
use self::opener::{FoundInside, FoundMessage};
pub(crate) use self::opener::{KeyNote, TlsOpener};
use crate::names;
use crate::observe::short_digest;
pub(crate) use crate::observe::{CertificateFacts, SealedRecord, TlsHello, TlsProgress, TlsSign};
use crate::packet::PacketRef;
use crate::stream::{StreamChunk, StreamEvent};
use crate::wire::decode;
use crate::wire::tls::{self, Alert, ContentType, MAJOR, RecordHeader, Sealed};

/// What one direction showed of TLS.
#[derive(Debug)]
pub(crate) struct TlsFacts {
    /// What it began with, and the packet that completed that.
    pub(crate) sign: (TlsSign, PacketRef),
    /// Number of the first fatal alert in clear, and its packet.
    pub(crate) fatal: Option<(u8, PacketRef)>,
    /// Record lengths of the cipher suite of TLS 1.3, if this direction selected one.
    pub(crate) seal: Option<Sealed>,
    /// The first encrypted records, up to [`SealedRecord::KEPT`].
    pub(crate) sealed: Vec<SealedRecord>,
    /// What its hello offers or selects.
    pub(crate) hello: Option<TlsHello>,
    /// Its certificates, which TLS 1.2 sends in clear.
    pub(crate) certificates: Vec<CertificateFacts>,
    /// How far it got in the handshake of TLS 1.2.
    pub(crate) progress: TlsProgress,
}

/// What a stream begins with.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Beginning<'a> {
    /// More bytes are needed to decide.
    CutShort,
    /// An alert of TLS.
    Alert(Alert),
    /// A record with a whole hello in it: its body, and the bytes behind it.
    Hello { body: &'a [u8], rest: &'a [u8] },
    /// Something else than TLS.
    Other,
}

/// Whether a stream that begins with `bytes` is TLS.
pub(super) fn beginning(bytes: &[u8]) -> Beginning<'_> {
    match *bytes {
        [ALERT, MAJOR, 0..=4, 0, 2, level @ (1 | 2), description, ..] => {
            Beginning::Alert(Alert { level, description })
        }
        // A ClientHello or ServerHello: message type, length, and a record that holds it.
        [HANDSHAKE, MAJOR, 0..=4, high, low, 1 | 2, 0, ..] => {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let record = bytes.get(RecordHeader::LEN..).unwrap_or_default();
            if !(SHORTEST_HELLO..=MAX_RECORD).contains(&len) {
                return Beginning::Other;
            }
            match record.split_at_checked(len) {
                Some((body, rest)) => Beginning::Hello { body, rest },
                None => Beginning::CutShort,
            }
        }
        []
        | [ALERT | HANDSHAKE]
        | [ALERT | HANDSHAKE, MAJOR]
        | [ALERT | HANDSHAKE, MAJOR, 0..=4]
        | [ALERT | HANDSHAKE, MAJOR, 0..=4, _]
        | [ALERT | HANDSHAKE, MAJOR, 0..=4, _, _]
        | [ALERT | HANDSHAKE, MAJOR, 0..=4, _, _, 1 | 2] => Beginning::CutShort,
        _ => Beginning::Other,
    }
}

/// Follows the records of one direction.
#[derive(Debug)]
pub(crate) struct TlsObserver {
    state: RecordState,
    /// The beginning of a record header, or of an alert.
    held: Vec<u8>,
    /// Number of bytes of the current record that are still to be skipped.
    skip: u64,
    /// Whether these are bytes of a handshake message in clear.
    in_handshake: bool,
    messages: ClearMessages,
    facts: TlsFacts,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RecordState {
    /// Records are in clear.
    Clear,
    /// Some records are encrypted, so an alert may be.
    Encrypted,
    /// Nothing more is read.
    Closed,
}

impl TlsObserver {
    /// A direction that begins with an alert: nothing follows it.
    pub(super) fn of_alert(alert: Alert, packet: PacketRef) -> Self {
        let mut observer = Self::new(RecordState::Closed, (TlsSign::Alert, packet), None);
        observer.facts.on_alert(alert, packet);
        observer
    }

    /// A direction that begins with a hello, the `body` of its first record.
    pub(super) fn of_hello(body: &[u8], packet: PacketRef) -> Self {
        let server_hello = decode(body, tls::server_hello).ok();
        let seal = server_hello.filter(|hello| hello.is_tls13);
        let seal = seal.and_then(|hello| Sealed::by(hello.cipher_suite));
        let mut observer = Self::new(RecordState::Clear, (TlsSign::Hello, packet), seal);
        observer.facts.hello = match server_hello {
            Some(hello) => {
                let version = if hello.is_tls13 { TLS_1_3 } else { hello.version };
                Some(TlsHello {
                    protocol: hello.protocol.and_then(names::host_characters),
                    versions: vec![version],
                    cipher_suite: Some(hello.cipher_suite),
                    encrypt_then_mac: hello.encrypt_then_mac,
                    ..TlsHello::default()
                })
            }
            None => decode(body, tls::client_hello).ok().map(|hello| offered(&hello)),
        };
        if seal.is_some() {
            observer.messages.give_up();
        }
        observer.on_handshake(body, packet);
        observer
    }

    fn new(state: RecordState, sign: (TlsSign, PacketRef), seal: Option<Sealed>) -> Self {
        let facts = TlsFacts {
            sign,
            fatal: None,
            seal,
            sealed: Vec::new(),
            hello: None,
            certificates: Vec::new(),
            progress: TlsProgress::default(),
        };
        Self {
            state,
            held: Vec::new(),
            skip: 0,
            in_handshake: false,
            messages: ClearMessages::default(),
            facts,
        }
    }

    /// Number of bytes that wait for the rest of a message.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.messages.held()
    }

    /// Drops the message that is incomplete: no certificate of this direction is read any more.
    pub(super) fn drop_held(&mut self) {
        self.messages.give_up();
    }

    /// Takes bytes of handshake messages in clear.
    fn on_handshake(&mut self, bytes: &[u8], packet: PacketRef) {
        if self.messages.is_over() {
            return;
        }
        let completed = self.messages.on_bytes(bytes, packet);
        if !completed.certificates.is_empty() {
            self.facts.certificates = completed.certificates;
        }
        if completed.has_none {
            self.facts.progress.no_certificate.get_or_insert(packet);
        }
        if completed.is_flight {
            self.facts.progress.flight.get_or_insert(packet);
        }
    }

    /// What the direction showed so far.
    pub(super) const fn facts(&self) -> &TlsFacts {
        &self.facts
    }

    /// Takes a message that was encrypted.
    pub(super) fn on_found(&mut self, FoundInside { packet, message, .. }: &FoundInside) {
        match message {
            FoundMessage::Alert(alert) => self.facts.on_alert(*alert, *packet),
            FoundMessage::Certificate(body) => {
                if self.facts.certificates.is_empty() {
                    self.facts.certificates = facts(tls::certificates(body, true), *packet);
                }
            }
        }
    }

    /// Takes the next chunk behind the hello.
    pub(super) fn on_chunk(&mut self, chunk: &StreamChunk<'_>) {
        match chunk.event {
            _ if self.state == RecordState::Closed => {}
            StreamEvent::Gap(bytes) if self.held.is_empty() && bytes <= self.skip => {
                self.skip -= bytes;
                self.messages.give_up();
            }
            StreamEvent::Gap(_) => self.close(),
            StreamEvent::Data(bytes) if self.held.is_empty() => self.on_bytes(bytes, chunk),
            StreamEvent::Data(bytes) => {
                let mut joined = std::mem::take(&mut self.held);
                joined.extend_from_slice(bytes);
                self.on_bytes(&joined, chunk);
            }
        }
    }

    fn on_bytes(&mut self, mut input: &[u8], chunk: &StreamChunk<'_>) {
        loop {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
            self.skip -= skipped as u64;
            let (passed, rest) = input.split_at_checked(skipped).unwrap_or((input, &[]));
            if self.in_handshake {
                self.on_handshake(passed, *chunk.packet);
            }
            input = rest;
            let Some((header, body)) = input.split_at_checked(RecordHeader::LEN) else {
                return self.hold(input);
            };
            let Ok(RecordHeader { content_type, length }) = decode(header, tls::record_header)
            else {
                return self.close();
            };
            if length > RecordHeader::MAX_LENGTH {
                return self.close();
            }
            let record = || {
                let end = chunk.end.minus(body.len() as u64).plus(length.into());
                SealedRecord { length, end, mark: *chunk.packet }
            };
            match (content_type, self.state) {
                (ContentType::ALERT, RecordState::Clear) if length == Alert::LEN => {
                    let Some((alert, rest)) = body.split_at_checked(Alert::LEN.into()) else {
                        return self.hold(input);
                    };
                    if let Ok(alert) = decode(alert, tls::alert) {
                        self.facts.on_alert(alert, *chunk.packet);
                    }
                    input = rest;
                    continue;
                }
                // Where TLS 1.3 retries its hellos, a handshake goes on in clear behind it.
                (ContentType::CHANGE_CIPHER_SPEC, _) => self.state = RecordState::Encrypted,
                (ContentType::HANDSHAKE, RecordState::Clear) => {}
                (ContentType::HANDSHAKE, _) => {
                    self.facts.progress.finished.get_or_insert_with(record);
                }
                (ContentType::ALERT, RecordState::Encrypted) => {
                    self.facts.progress.alert.get_or_insert_with(record);
                    return self.close();
                }
                (ContentType::APPLICATION_DATA, _) => {
                    self.state = RecordState::Encrypted;
                    self.facts.sealed.push(record());
                    if self.facts.sealed.len() == SealedRecord::KEPT {
                        return self.close();
                    }
                }
                // Not TLS.
                _ => return self.close(),
            }
            self.in_handshake = content_type == ContentType::HANDSHAKE
                && self.state == RecordState::Clear
                && !self.messages.is_over();
            self.skip = length.into();
            input = body;
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.held = bytes.to_vec();
    }

    fn close(&mut self) {
        self.state = RecordState::Closed;
        self.held = Vec::new();
        self.messages.give_up();
    }
}

/// What a ClientHello offers.
fn offered(hello: &tls::ClientHello<'_>) -> TlsHello {
    let listed = hello.versions.chunks_exact(2).filter_map(|pair| pair.first_chunk());
    let listed = listed.map(|version| u16::from_be_bytes(*version));
    // Values such as 0x1a1a only test that unknown ones are ignored (RFC 8701).
    let known = listed.filter(|version| version.to_be_bytes().first() == Some(&MAJOR));
    let mut versions: Vec<u16> = known.take(MOST_VERSIONS).collect();
    if versions.is_empty() {
        versions.push(hello.legacy_version);
    }
    TlsHello {
        server_name: hello.server_name.and_then(host_or_address),
        protocol: hello.protocol.and_then(names::host_characters),
        versions,
        is_not_by_otp: hello.is_not_by_otp,
        fingerprint: Some(short_digest(&hello.random)),
        ..TlsHello::default()
    }
}

/// A host name or an address in text: the host part of a node name.
fn host_or_address(bytes: &[u8]) -> Option<Arc<str>> {
    names::host(bytes).or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?;
        text.parse::<std::net::IpAddr>().is_ok().then(|| text.into())
    })
}

impl TlsFacts {
    fn on_alert(&mut self, alert: Alert, packet: PacketRef) {
        if alert.level == FATAL {
            self.fatal.get_or_insert((alert.description, packet));
        }
    }
}

const ALERT: u8 = ContentType::ALERT.0;
const HANDSHAKE: u8 = ContentType::HANDSHAKE.0;

/// The version number of TLS 1.3.
const TLS_1_3: u16 = 0x0304;

/// Maximum number of versions of a hello that are kept: there are five.
const MOST_VERSIONS: usize = 8;

/// Level of an alert that ends the connection (RFC 5246, section 7.2).
pub(super) const FATAL: u8 = 2;

/// A ClientHello and a ServerHello have a version, 32 random bytes and a cipher suite at least.
const SHORTEST_HELLO: usize = 40;

/// Longest record in clear (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Direction;
    use crate::memory::MemoryBudget;
    use crate::packet::FrameRef;
    use crate::stream::TcpOffset;
    use crate::time::Timestamp;
    use crate::transport::Transport;

    /// A transport that is fed one direction, and the plain bytes that it gave.
    struct Fed {
        transport: Transport,
        plain: Vec<u8>,
        end: TcpOffset,
    }

    impl Fed {
        fn new() -> Self {
            let transport = Transport::recognizing(&KeyLog::default(), &MemoryBudget::new(1 << 20));
            Self { transport, plain: Vec::new(), end: TcpOffset::BASE }
        }

        fn chunk(&mut self, bytes: u64, event: StreamEvent<'_>) {
            self.end = self.end.plus(bytes);
            let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
            let chunk = StreamChunk { packet: &packet, end: self.end, event };
            let plain = &mut self.plain;
            self.transport.on_chunk(Direction::LowToHigh, &chunk, true, &mut |_, chunk| {
                if let StreamEvent::Data(bytes) = chunk.event {
                    plain.extend_from_slice(bytes);
                }
            });
        }

        /// Feeds `stream` in chunks of `size` bytes.
        fn data(&mut self, stream: &[u8], size: usize) -> &mut Self {
            for chunk in stream.chunks(size) {
                self.chunk(chunk.len() as u64, StreamEvent::Data(chunk));
            }
            self
        }

        fn gap(&mut self, bytes: u64) -> &mut Self {
            self.chunk(bytes, StreamEvent::Gap(bytes));
            self
        }

        /// What it showed of TLS: the sign, the fatal alert, and the lengths of encrypted records.
        fn shows(&self) -> Option<(TlsSign, Option<u8>, Vec<u16>)> {
            let facts = self.transport.tls(Direction::LowToHigh)?;
            let lengths = facts.sealed.iter().map(|record| record.length).collect();
            Some((facts.sign.0, facts.fatal.map(|(number, _)| number), lengths))
        }
    }

    fn shows(stream: &[u8], size: usize) -> Option<(TlsSign, Option<u8>, Vec<u16>)> {
        let mut fed = Fed::new();
        let shown = fed.data(stream, size).shows();
        assert!(shown.is_none() || fed.plain.is_empty(), "TLS gives no plain bytes");
        shown
    }

    const fn hello(fatal: Option<u8>) -> Option<(TlsSign, Option<u8>, Vec<u16>)> {
        Some((TlsSign::Hello, fatal, Vec::new()))
    }

    /// A record with `body_len` bytes of a handshake.
    fn flight(body_len: u8) -> Vec<u8> {
        let mut record = vec![0x16, 3, 3, 0, body_len, 2, 0, 0, body_len - 4];
        record.resize(usize::from(body_len) + 5, 0x15);
        record
    }

    const CHANGE_CIPHER_SPEC: &[u8] = b"\x14\x03\x03\0\x01\x01";
    const CLEAR_ALERT: &[u8] = b"\x15\x03\x03\0\x02\x02\x30";

    #[test]
    fn an_alert_is_found_behind_any_number_of_records_in_clear() {
        let stream = [&flight(60)[..], &flight(250), &flight(4), CLEAR_ALERT].concat();
        for size in 1..20 {
            assert_eq!(shows(&stream, size), hello(Some(48)));
        }
    }

    #[test]
    fn only_the_lengths_of_encrypted_records_are_known() {
        let data = b"\x17\x03\x03\0\x03\x15\x03\x03".to_vec();
        let retried = [&flight(60), CHANGE_CIPHER_SPEC, &flight(60), &data, &data, CLEAR_ALERT];
        let stream = retried.concat();
        for size in 1..20 {
            assert_eq!(shows(&stream, size), Some((TlsSign::Hello, None, vec![3, 3])));
            let mut fed = Fed::new();
            let facts = fed.data(&stream, size).transport.tls(Direction::LowToHigh).unwrap();
            let behind_last = TcpOffset::BASE.plus((stream.len() - CLEAR_ALERT.len()) as u64);
            assert_eq!(facts.sealed.last().unwrap().end, behind_last);
        }
    }

    #[test]
    fn no_alert_is_read_where_alerts_are_encrypted_or_records_are_broken() {
        let sealed = [CHANGE_CIPHER_SPEC, CLEAR_ALERT].concat();
        let long = [b"\x15\x03\x03\0\x1a\x02\x30", CLEAR_ALERT].concat();
        let over_long = [b"\x17\x03\x03\xff\xff", CLEAR_ALERT].concat();
        for rest in [sealed, long, over_long, b"rubbish".to_vec()] {
            let stream = [flight(60), rest].concat();
            for size in [1, 3, 99] {
                assert_eq!(shows(&stream, size), hello(None));
            }
        }
    }

    #[test]
    fn a_hole_inside_a_record_is_skipped_and_one_across_its_end_ends_the_observation() {
        for (bytes, found) in [(40, Some(48)), (41, None)] {
            let mut fed = Fed::new();
            fed.data(&flight(60), 99).data(&flight(60)[..25], 99).gap(bytes);
            assert_eq!(fed.data(CLEAR_ALERT, 99).shows(), hello(found), "{bytes}");
        }
    }

    #[test]
    fn tls_is_recognized_by_a_whole_hello_or_an_alert() {
        let mut stream = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
        stream.extend([0; 54]);
        for size in [1, 7, 99] {
            assert_eq!(shows(&stream, size), hello(None));
        }
        let alert = b"\x15\x03\x03\0\x02\x02\x0a";
        assert_eq!(shows(alert, 1), Some((TlsSign::Alert, Some(10), Vec::new())));
        assert_eq!(shows(&stream[..20], 99), None);
        let mut fed = Fed::new();
        assert_eq!(fed.data(&stream[..20], 99).plain, b"", "held until the hello is whole");
    }

    #[test]
    fn what_is_not_tls_passes_whole() {
        for stream in
            [&b"\x16\x03\x01\0\x05hello"[..], b"\0\x03sok", b"\x16\x04", b"\x15\x03\x03\x01"]
        {
            for size in [1, 3, 99] {
                let mut fed = Fed::new();
                fed.data(stream, size).data(b"more", 99);
                let whole = [stream, b"more"].concat();
                assert_eq!((fed.shows(), &fed.plain), (None, &whole), "{stream:?}");
            }
        }
    }

    #[test]
    fn a_stream_joined_in_its_middle_is_plain() {
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
        let event = StreamEvent::Data(CLEAR_ALERT);
        let chunk = StreamChunk { packet: &packet, end: TcpOffset::BASE, event };
        let mut plain = Vec::new();
        Transport::recognizing(&KeyLog::default(), &MemoryBudget::new(1 << 20)).on_chunk(
            Direction::HighToLow,
            &chunk,
            false,
            &mut |_, chunk| {
                plain.push(chunk.event == event);
            },
        );
        assert_eq!(plain, [true]);
    }
}
