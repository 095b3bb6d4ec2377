//! Opens the records of one TLS connection with the secrets of a key log.
//!
//! In: the chunks of both directions, from their first bytes. PlainOut: chunks of the plain bytes inside, with the packets and
//! TCP offsets of the records that carried them; gaps where records were lost or could not be opened; and the alerts and
//! certificates that were encrypted.
//!
//! The label of a secret is not trusted: `ssl:connection_information/2` of OTP 27.3.4.1 exchanges the labels of the two
//! traffic secrets (erlang/otp issue 10698). A secret counts for the side whose records it opens. A record that does not
//! open with the current secret may be the first of the next one: of the application data behind the handshake, or of what
//! follows a key update.

use std::collections::VecDeque;

use super::FATAL;
use super::handshake::HandshakeMessages;
use super::keylog::{ClientRandom, KeyLog, Secret, SessionSecrets, Subscription, TrafficSecrets};
use super::keys::{OpenedRecord, Parameters12, RecordKey, next_secret};
use super::records::{HeaderBytes, RecordAssembler, RecordEvent, WholeRecord};
use crate::flow::{Direction, PerDirection};
use crate::identify::{PayloadMatch, handshake_start};
use crate::memory::Reservation;
use crate::observe::OpenedTls;
use crate::packet::PacketRef;
use crate::stream::{StreamChunk, StreamEvent, TcpOffset};
use crate::transport::PlainChunk;
use crate::wire::decode;
use crate::wire::suites::{CipherSuite, SuiteHash, cipher_suite};
use crate::wire::tls::{
    self, Alert, CERTIFICATE, CLIENT_HELLO, ContentType, MESSAGE_HEADER, SERVER_HELLO,
};

/// Opens the records of both directions of one connection.
pub(crate) struct TlsOpener {
    log: KeyLog,
    client: Option<Client>,
    server: Option<Server>,
    /// Whether the server selected TLS 1.3, in its ServerHello or HelloRetryRequest.
    is_tls13: bool,
    secrets: Option<SessionSecrets>,
    /// The version of the key log at which the secrets were looked up.
    looked_up: Option<u64>,
    sides: PerDirection<OpenerSide>,
    waiting: Waiting,
    facts: OpenedTls,
    /// What was found inside, for the observer of the connection.
    found: Vec<FoundInside>,
    /// The content of the last record.
    content: Vec<u8>,
    /// Whether keys were wiped, since the connection has ended.
    is_over: bool,
    /// Whether a note about the secrets was taken.
    is_noted: bool,
}

/// What a user is to know about the secrets of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyNote {
    /// They are of another connection, or were changed.
    NoFit,
    /// Records of the cipher suite cannot be opened.
    NoSuite,
    /// A secret of one side is missing, or is of another connection.
    HalfOpen,
    /// The fault of `ssl:connection_information/2` in OTP 27.3.4.1 (erlang/otp issue 10698).
    Exchanged,
}

impl KeyNote {
    /// The note in words.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::NoFit => {
                "the key log has secrets of this connection, and they do not open its records"
            }
            Self::NoSuite => {
                "the key log has secrets of this connection, and records of its cipher suite cannot be opened: only \
                 AES and ChaCha20 are"
            }
            Self::HalfOpen => {
                "the key log opens what one side of this connection sent, and not what the other sent"
            }
            Self::Exchanged => {
                "the labels of the traffic secrets of client and server are exchanged in the key log, as by \
                 ssl:connection_information/2 of OTP 27.3.4.1; each secret is used for the side that it opens"
            }
        }
    }

    /// Whether something of the connection stays unknown.
    pub(crate) const fn leaves_gap(self) -> bool {
        !matches!(self, Self::Exchanged)
    }
}

/// A message that was encrypted and concerns the TLS connection itself.
#[derive(Debug)]
pub(crate) struct FoundInside {
    /// The direction that it was sent in.
    pub(crate) direction: Direction,
    /// The packet that completed its record.
    pub(crate) packet: PacketRef,
    /// The content of the message.
    pub(crate) message: FoundMessage,
}

/// An alert, or a Certificate message of TLS 1.3 without its header.
#[derive(Debug)]
pub(crate) enum FoundMessage {
    /// An alert of either side.
    Alert(Alert),
    /// The body of a Certificate message.
    Certificate(Vec<u8>),
}

/// The side that sent the ClientHello.
struct Client {
    direction: Direction,
    random: ClientRandom,
    _subscription: Subscription,
}

/// What the ServerHello settled.
struct Server {
    random: [u8; 32],
    /// `None` for a suite whose records cannot be opened.
    suite: Option<CipherSuite>,
    encrypt_then_mac: bool,
}

/// The state of one direction.
#[derive(Default)]
struct OpenerSide {
    records: RecordAssembler,
    messages: HandshakeMessages,
    /// Whether a ChangeCipherSpec in clear was seen: in TLS 1.2, all behind it is encrypted.
    has_changed: bool,
    current: Option<CurrentKey>,
    missed: Missed,
    /// Number of records in a row that were not opened.
    failures: u32,
    /// The packet and the end of the last record with application data that was opened.
    last: Option<(PacketRef, TcpOffset)>,
}

/// The key that opened the last record of a direction.
struct CurrentKey {
    stage: Stage,
    key: RecordKey,
    /// The number of the next record.
    next: u64,
    /// The traffic secret, which the one behind a key update is derived from.
    secret: Option<Secret>,
}

/// Which records a key is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// All encrypted ones of TLS 1.2.
    Tls12,
    /// Those of the handshake of TLS 1.3.
    Handshake,
    /// Those behind it, and behind so many key updates.
    Traffic(u32),
}

/// Records that were not opened since the last one that was.
#[derive(Clone, Copy, Debug)]
struct Missed {
    /// Those that were seen, whole or in part.
    known: u64,
    /// The most that may have been in gaps.
    possible: u64,
    /// The bytes of content of the known ones; `None` if that of one is not known.
    content: Option<u64>,
}

impl Missed {
    const NONE: Self = Self { known: 0, possible: 0, content: Some(0) };

    fn add_known(&mut self, content: Option<usize>) {
        self.known += 1;
        self.content = self.content.zip(content).map(|(sum, more)| sum + more as u64);
    }

    fn add_possible(&mut self, records: u64) {
        self.possible = self.possible.saturating_add(records);
    }

    const fn is_none(&self) -> bool {
        self.known == 0 && self.possible == 0
    }
}

impl Default for Missed {
    fn default() -> Self {
        Self::NONE
    }
}

/// Records and gaps of both directions that wait for the secrets, in their order.
struct Waiting {
    held: VecDeque<HeldItem>,
    memory: Reservation,
    /// Most bytes that wait.
    each: usize,
    /// Whether there was no room for more.
    is_full: bool,
}

struct HeldItem {
    direction: Direction,
    event: HeldEvent,
}

enum HeldEvent {
    Record { header: HeaderBytes, body: Vec<u8>, packet: PacketRef, end: TcpOffset },
    Broken(HeaderBytes),
    Lost(u64),
}

impl HeldEvent {
    fn size(&self) -> usize {
        size_of::<HeldItem>() + if let Self::Record { body, .. } = self { body.len() } else { 0 }
    }
}

/// Receives the plain bytes.
type PlainOut<'a> = &'a mut dyn FnMut(Direction, &PlainChunk<'_>);

impl TlsOpener {
    pub(crate) fn new(log: &KeyLog) -> Self {
        let waiting = Waiting {
            held: VecDeque::new(),
            memory: log.waiting().reservation(),
            each: log.waiting_each(),
            is_full: false,
        };
        Self {
            log: log.clone(),
            client: None,
            server: None,
            is_tls13: false,
            secrets: None,
            looked_up: None,
            sides: PerDirection::from_fn(|_| OpenerSide::default()),
            waiting,
            facts: OpenedTls::default(),
            found: Vec::new(),
            content: Vec::new(),
            is_over: false,
            is_noted: false,
        }
    }

    /// What was opened so far.
    pub(crate) const fn facts(&self) -> OpenedTls {
        self.facts
    }

    /// Whether something was opened, or may still be.
    pub(crate) fn is_hopeful(&self) -> bool {
        let has_secrets = |client: &Client| self.log.has(&client.random);
        self.secrets.is_some()
            || (self.log.grows() && !self.is_over)
            || self.client.as_ref().is_some_and(has_secrets)
    }

    /// What a user is to know about the secrets of this connection, once.
    pub(crate) fn take_note(&mut self) -> Option<KeyNote> {
        let OpenedTls { has_data, has_exchanged_labels, .. } = self.facts;
        if std::mem::replace(&mut self.is_noted, true) {
            return None;
        }
        if !has_data && self.sides.each().iter().any(|side| side.failures > 0) {
            let is_known = self.server.as_ref().is_none_or(|server| server.suite.is_some());
            return Some(if is_known { KeyNote::NoFit } else { KeyNote::NoSuite });
        }
        if self.is_half_open() {
            return Some(KeyNote::HalfOpen);
        }
        (has_exchanged_labels && self.log.is_first_exchange()).then_some(KeyNote::Exchanged)
    }

    /// Whether application data of one side were opened, and nothing but unopened records came from the other.
    pub(crate) fn is_half_open(&self) -> bool {
        let is_closed = |side: &&OpenerSide| side.last.is_none() && !side.missed.is_none();
        self.facts.has_data && self.sides.each().iter().any(is_closed)
    }

    /// Number of bytes that wait for the rest of a record or message.
    pub(crate) fn held(&self) -> usize {
        let sides = self.sides.each();
        sides.iter().map(|side| side.records.held() + side.messages.held()).sum()
    }

    /// Takes the messages that were found in encrypted records since the last call.
    pub(crate) fn take_found(&mut self) -> Vec<FoundInside> {
        std::mem::take(&mut self.found)
    }

    /// Takes the next chunk of a direction.
    pub(crate) fn on_chunk(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        out: PlainOut<'_>,
    ) {
        if self.is_over {
            return;
        }
        let mut records = std::mem::take(&mut self.sides[direction].records);
        records.on_chunk(chunk, &mut |event| self.on_event(direction, &event, out));
        self.sides[direction].records = records;
    }

    /// Opens what waits if the secrets have come.
    pub(crate) fn look_again(&mut self, out: PlainOut<'_>) {
        if !self.waiting.held.is_empty() && self.is_ready() {
            self.open_waiting(out);
        }
    }

    /// No chunk follows: gives the gaps behind the last bytes that were opened.
    pub(crate) fn on_end(&mut self, out: PlainOut<'_>) {
        self.look_again(out);
        // What a side sent is missing as well if none of it was opened, and something of the other side was.
        let last = |direction: Direction| self.sides[direction].last;
        let either = last(Direction::LowToHigh).or_else(|| last(Direction::HighToLow));
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let side = &self.sides[direction];
            if let Some((packet, end)) = side.last.or(either).filter(|_| !side.missed.is_none()) {
                let event = StreamEvent::Gap(UNKNOWN);
                out(direction, &PlainChunk::opened(&packet, end, event));
            }
        }
    }

    /// Wipes all keys, since the connection has ended.
    pub(crate) fn wipe(&mut self) {
        self.is_over = true;
        self.client = None;
        self.secrets = None;
        self.waiting.held = VecDeque::new();
        self.waiting.memory.release_all();
        self.content = Vec::new();
        self.sides = PerDirection::from_fn(|_| OpenerSide::default());
    }

    /// Takes the next event of a direction. The answer: whether a candidate is a record.
    fn on_event(
        &mut self,
        direction: Direction,
        event: &RecordEvent<'_>,
        out: PlainOut<'_>,
    ) -> bool {
        match event {
            RecordEvent::Whole(record) => self.on_record(direction, record, out),
            RecordEvent::Candidate(record) => {
                self.is_ready()
                    && self.is_sealed(direction, ContentType(record.header[0]))
                    && self.open(direction, record, true, out)
            }
            RecordEvent::Broken(header) => {
                self.on_unread(direction, HeldEvent::Broken(*header), out);
                true
            }
            RecordEvent::Lost(bytes) => {
                self.on_unread(direction, HeldEvent::Lost(*bytes), out);
                true
            }
        }
    }

    fn on_record(
        &mut self,
        direction: Direction,
        record: &WholeRecord<'_>,
        out: PlainOut<'_>,
    ) -> bool {
        let content_type = ContentType(record.header[0]);
        if self.is_sealed(direction, content_type) {
            if self.has_to_wait() {
                let (header, body) = (*record.header, record.body.to_vec());
                let WholeRecord { packet, end, .. } = *record;
                self.hold(direction, HeldEvent::Record { header, body, packet, end });
                return true;
            }
            self.open_waiting(out);
            return self.open(direction, record, false, out);
        }
        match content_type {
            ContentType::CHANGE_CIPHER_SPEC => self.sides[direction].has_changed = true,
            ContentType::HANDSHAKE => self.on_handshake(direction, record.body, record.packet),
            _ => {}
        }
        true
    }

    /// A record is broken, or was lost.
    fn on_unread(&mut self, direction: Direction, event: HeldEvent, out: PlainOut<'_>) {
        if self.waiting.held.is_empty() {
            self.miss(direction, &event);
        } else if self.has_to_wait() {
            self.hold(direction, event);
        } else {
            self.open_waiting(out);
            self.miss(direction, &event);
        }
    }

    /// Whether a record of this type is encrypted.
    fn is_sealed(&self, direction: Direction, content_type: ContentType) -> bool {
        content_type == ContentType::APPLICATION_DATA
            || (self.sides[direction].has_changed && !self.is_tls13)
    }

    /// Takes bytes of handshake messages, in clear or opened.
    fn on_handshake(&mut self, direction: Direction, bytes: &[u8], packet: PacketRef) {
        let mut messages = std::mem::take(&mut self.sides[direction].messages);
        messages.on_bytes(bytes, &mut |kind, message| {
            self.on_message(direction, kind, message, packet);
        });
        self.sides[direction].messages = messages;
    }

    /// Takes a whole handshake message; `message` begins with its header.
    fn on_message(&mut self, direction: Direction, kind: u8, message: &[u8], packet: PacketRef) {
        match kind {
            CLIENT_HELLO => {
                let Ok(hello) = decode(message, tls::client_hello) else { return };
                let random = hello.random;
                // The second hello, which a HelloRetryRequest asks for, has the same random bytes.
                if self.client.as_ref().is_none_or(|client| client.random != random) {
                    let _subscription = self.log.subscribe(random);
                    self.client = Some(Client { direction, random, _subscription });
                    (self.secrets, self.looked_up) = (None, None);
                }
            }
            SERVER_HELLO => {
                let Ok(hello) = decode(message, tls::server_hello) else { return };
                self.is_tls13 = hello.is_tls13;
                if !hello.is_retry_request() {
                    self.server = Some(Server {
                        random: hello.random,
                        suite: cipher_suite(hello.cipher_suite),
                        encrypt_then_mac: hello.encrypt_then_mac,
                    });
                }
            }
            CERTIFICATE => {
                if let Some(body) = message.get(MESSAGE_HEADER..).filter(|_| self.is_tls13) {
                    let message = FoundMessage::Certificate(body.to_vec());
                    self.found.push(FoundInside { direction, packet, message });
                }
            }
            _ => {}
        }
    }

    /// Whether all that keys are made of is known. Looks the secrets up again if the key log has changed.
    fn is_ready(&mut self) -> bool {
        let Some(client) = &self.client else { return false };
        let version = self.log.version();
        if self.looked_up != Some(version) {
            self.looked_up = Some(version);
            if let Some(secrets) = self.log.secrets(&client.random) {
                self.facts.by = secrets.kind();
                self.secrets = self.facts.by.is_some().then_some(secrets);
            }
        }
        self.secrets.is_some() && self.server.is_some()
    }

    /// Whether an encrypted record waits: its secrets may still come, or its hellos.
    fn has_to_wait(&mut self) -> bool {
        !self.is_ready()
            && !self.waiting.is_full
            && (self.log.grows() || self.secrets.is_some() || self.client.is_none())
    }

    /// Keeps an event until the secrets come. When there is no more room, nothing of the connection waits any longer: what
    /// follows can still be opened, since records are counted.
    fn hold(&mut self, direction: Direction, event: HeldEvent) {
        let size = event.size();
        let Waiting { held, memory, each, is_full } = &mut self.waiting;
        if memory.held() + size <= *each && memory.take(size) {
            held.push_back(HeldItem { direction, event });
            return;
        }
        *is_full = true;
        for HeldItem { direction, event } in self.waiting.take() {
            self.miss(direction, &event);
        }
        self.miss(direction, &event);
    }

    /// Opens the records that wait, in their order.
    fn open_waiting(&mut self, out: PlainOut<'_>) {
        if self.waiting.held.is_empty() {
            return;
        }
        for HeldItem { direction, event } in self.waiting.take() {
            match &event {
                HeldEvent::Record { header, body, packet, end } => {
                    let record = WholeRecord { header, body, packet: *packet, end: *end };
                    self.open(direction, &record, false, out);
                }
                HeldEvent::Broken(_) | HeldEvent::Lost(_) => self.miss(direction, &event),
            }
        }
    }

    /// Counts what is not opened: a record, or those in a gap.
    fn miss(&mut self, direction: Direction, event: &HeldEvent) {
        match event {
            HeldEvent::Record { header, .. } => self.miss_record(direction, header),
            HeldEvent::Broken(header) => self.miss_record(direction, header),
            HeldEvent::Lost(bytes) => {
                self.sides[direction].missed.add_possible(bytes / SHORTEST_RECORD + 1);
            }
        }
    }

    /// Counts a record that cannot be opened.
    fn miss_record(&mut self, direction: Direction, header: &HeaderBytes) {
        let side = &mut self.sides[direction];
        let header = decode(header, tls::record_header).ok();
        let length = header.filter(|it| it.content_type == ContentType::APPLICATION_DATA);
        let content = length.zip(side.current.as_ref()).and_then(|(header, current)| {
            let is_data = current.stage != Stage::Handshake;
            current.key.content_len(header.length.into()).filter(|_| is_data)
        });
        side.missed.add_known(content);
        self.facts.unopened += 1;
    }

    /// Opens an encrypted record and gives its content on. False if no key opens it.
    fn open(
        &mut self,
        direction: Direction,
        record: &WholeRecord<'_>,
        is_candidate: bool,
        out: PlainOut<'_>,
    ) -> bool {
        let mut content = std::mem::take(&mut self.content);
        let is_opened = self.open_into(direction, record, &mut content, out);
        self.content = content;
        if !is_opened && !is_candidate {
            self.miss_record(direction, record.header);
            if self.secrets.is_some() {
                let side = &mut self.sides[direction];
                side.failures = side.failures.saturating_add(1);
            }
        }
        is_opened
    }

    fn open_into(
        &mut self,
        direction: Direction,
        record: &WholeRecord<'_>,
        content: &mut Vec<u8>,
        out: PlainOut<'_>,
    ) -> bool {
        let side = &mut self.sides[direction];
        let (missed, is_patient) = (side.missed, side.failures < PATIENCE);
        if let Some(current) = &mut side.current {
            let base = current.next + missed.known;
            let possible = if is_patient { missed.possible.min(MOST_TRIED) } else { 0 };
            for number in base..=base + possible {
                if let Some(opened) = current.key.open(number, record.header, record.body, content)
                {
                    let lost = number - current.next;
                    current.next = number + 1;
                    let lost = (lost > 0 && current.stage != Stage::Handshake).then(|| {
                        missed.content.filter(|_| missed.known == lost).unwrap_or(UNKNOWN)
                    });
                    self.on_opened(direction, record, &opened, lost, out);
                    return true;
                }
            }
        }
        if !self.is_ready() {
            return false;
        }
        for CandidateKey { stage, key, secret, is_exchanged } in self.next_keys(direction) {
            for number in fresh_numbers(missed, is_patient) {
                let Some(opened) = key.open(number, record.header, record.body, content) else {
                    continue;
                };
                let side = &mut self.sides[direction];
                let before = side.current.as_ref().map(|current| current.stage);
                let is_lost = is_behind_lost_data(before, missed, stage, number, &opened);
                let lost = is_lost.then_some(UNKNOWN);
                side.current = Some(CurrentKey { stage, key, next: number + 1, secret });
                self.facts.has_exchanged_labels |= is_exchanged;
                self.on_opened(direction, record, &opened, lost, out);
                return true;
            }
        }
        false
    }

    /// Gives the content of a record on, and `lost` bytes before it that are missing.
    fn on_opened(
        &mut self,
        direction: Direction,
        record: &WholeRecord<'_>,
        opened: &OpenedRecord<'_>,
        lost: Option<u64>,
        out: PlainOut<'_>,
    ) {
        let WholeRecord { packet, end, .. } = *record;
        let side = &mut self.sides[direction];
        side.missed = Missed::NONE;
        side.failures = 0;
        self.facts.records += 1;
        if let Some(bytes) = lost {
            side.messages = HandshakeMessages::default();
            out(direction, &PlainChunk::opened(&packet, end, StreamEvent::Gap(bytes)));
        }
        match opened.content_type {
            ContentType::APPLICATION_DATA => {
                side.last = Some((packet, end));
                self.facts.has_data = true;
                if !opened.content.is_empty() {
                    let event = StreamEvent::Data(opened.content);
                    out(direction, &PlainChunk::opened(&packet, end, event));
                }
            }
            ContentType::HANDSHAKE => self.on_handshake(direction, opened.content, packet),
            ContentType::ALERT => {
                if let Ok(mut alert) = decode(opened.content, tls::alert) {
                    if self.is_tls13 && !matches!(alert.description, CLOSE_NOTIFY | USER_CANCELED) {
                        // All other alerts end the connection, whatever their level (RFC 8446, section 6).
                        alert.level = FATAL;
                    }
                    let message = FoundMessage::Alert(alert);
                    self.found.push(FoundInside { direction, packet, message });
                }
            }
            // A renegotiation of TLS 1.2 settled new keys.
            ContentType::CHANGE_CIPHER_SPEC => side.current = None,
            _ => {}
        }
    }

    /// The keys that may open the next record of a direction if its current one does not, the most likely first.
    fn next_keys(&self, direction: Direction) -> Vec<CandidateKey> {
        let (Some(client), Some(server), Some(secrets)) =
            (&self.client, &self.server, &self.secrets)
        else {
            return Vec::new();
        };
        let Some(suite) = &server.suite else { return Vec::new() };
        let current = self.sides[direction].current.as_ref();
        let is_client = client.direction == direction;
        if !self.is_tls13 {
            let master = secrets.master.as_ref().filter(|_| current.is_none());
            let parameters = Parameters12 {
                client: &client.random,
                server: &server.random,
                encrypt_then_mac: server.encrypt_then_mac,
            };
            let keys = master.and_then(|it| RecordKey::of_master(suite, it, &parameters));
            let key =
                keys.map(|[of_client, of_server]| if is_client { of_client } else { of_server });
            let candidate =
                |key| CandidateKey { stage: Stage::Tls12, key, secret: None, is_exchanged: false };
            return key.map(candidate).into_iter().collect();
        }
        let (own, other) = if is_client {
            (&secrets.client, &secrets.server)
        } else {
            (&secrets.server, &secrets.client)
        };
        candidates(suite.hash, current, own, other)
            .filter_map(|(stage, secret, is_exchanged)| {
                let key = RecordKey::of_traffic(suite, &secret)?;
                Some(CandidateKey { stage, key, secret: Some(secret), is_exchanged })
            })
            .collect()
    }
}

/// A key that may open the next record.
struct CandidateKey {
    stage: Stage,
    key: RecordKey,
    secret: Option<Secret>,
    /// Whether the label of its secret names the other side.
    is_exchanged: bool,
}

/// The secrets of TLS 1.3 that may come behind the current one: the derived one, those with the label of the side, and
/// those with the label of the other side.
fn candidates<'a>(
    hash: SuiteHash,
    current: Option<&'a CurrentKey>,
    own: &'a TrafficSecrets,
    other: &'a TrafficSecrets,
) -> impl Iterator<Item = (Stage, Secret, bool)> + 'a {
    let stage = current.map(|current| current.stage);
    let updated = current.and_then(|current| match (current.stage, &current.secret) {
        (Stage::Traffic(generation), Some(secret)) => {
            Some((Stage::Traffic(generation.saturating_add(1)), next_secret(hash, secret)?, false))
        }
        _ => None,
    });
    let handshakes =
        [(own, false), (other, true)].into_iter().filter_map(move |(side, exchanged)| {
            let secret = side.handshake.clone().filter(|_| stage.is_none())?;
            Some((Stage::Handshake, secret, exchanged))
        });
    let traffic = [(own, false), (other, true)].into_iter().flat_map(move |(side, exchanged)| {
        let is_later = move |generation: u32| match stage {
            Some(Stage::Traffic(current)) => generation > current,
            _ => true,
        };
        let later = side.traffic.iter().filter(move |(generation, _)| is_later(*generation));
        later.map(move |(generation, it)| (Stage::Traffic(*generation), it.clone(), exchanged))
    });
    updated.into_iter().chain(handshakes).chain(traffic)
}

/// Whether application data may be missing before the first record that a new key opened. What was not opened before may
/// have been of the handshake alone; without its secret, a record is the first one only if a handshake message of the
/// nodes begins in it.
fn is_behind_lost_data(
    before: Option<Stage>,
    missed: Missed,
    stage: Stage,
    number: u64,
    opened: &OpenedRecord<'_>,
) -> bool {
    match (before, stage) {
        (_, Stage::Handshake) => false,
        (_, Stage::Tls12) => number > 0,
        (Some(Stage::Traffic(last)), Stage::Traffic(next)) => {
            number > 0 || !missed.is_none() || next != last.saturating_add(1)
        }
        (Some(_), Stage::Traffic(next)) => number > 0 || next > 0,
        (None, Stage::Traffic(next)) => {
            let is_data = opened.content_type == ContentType::APPLICATION_DATA;
            let is_first = match opened.content {
                [0, 0, message @ ..] => handshake_start(message) != PayloadMatch::No,
                _ => false,
            };
            number > 0 || next > 0 || is_data && !is_first
        }
    }
}

/// The numbers that the first record with a new key may have: nearly always 0, and behind gaps a later one.
fn fresh_numbers(missed: Missed, is_patient: bool) -> impl Iterator<Item = u64> {
    let Missed { known, possible, .. } = missed;
    let first = if is_patient { (known + possible).min(FIRST_NUMBERS) } else { 0 };
    // Behind many records that were not opened, the number is theirs without those of the handshake.
    let far = known.saturating_sub(HANDSHAKE_RECORDS).max(first + 1);
    let far = is_patient.then(|| far..=known.saturating_add(possible.min(MOST_TRIED)));
    (0..=first).chain(far.into_iter().flatten())
}

impl Waiting {
    fn take(&mut self) -> VecDeque<HeldItem> {
        self.memory.release_all();
        std::mem::take(&mut self.held)
    }
}

impl std::fmt::Debug for TlsOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsOpener({:?})", self.facts)
    }
}

/// Failures in a row behind which only the likely numbers are tried.
const PATIENCE: u32 = 16;

/// Most record numbers that are tried with one key behind a gap.
const MOST_TRIED: u64 = 64;

/// The first record numbers that are tried with a new key.
const FIRST_NUMBERS: u64 = 16;

/// Most records of the handshake of one side: EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify and
/// Finished, some of them in several records.
const HANDSHAKE_RECORDS: u64 = 12;

/// Bytes of the shortest encrypted record: a header, and a tag of eight bytes.
const SHORTEST_RECORD: u64 = 13;

/// The length of a gap that is not known. No frame is as long.
const UNKNOWN: u64 = u64::MAX;

/// The alert at the end of a connection without a fault.
const CLOSE_NOTIFY: u8 = 0;

/// The alert of a client that gives up its handshake for a reason outside TLS.
const USER_CANCELED: u8 = 90;
