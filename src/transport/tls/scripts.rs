//! Scripts of TLS 1.3 connections whose records are made here: what is opened of them, and what is reported of the rest.

#![allow(clippy::cast_possible_truncation, reason = "a test may")]

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};

use super::KeyNote;
use super::keylog::{KeyLog, Secret};
use super::keys::{expand_label, next_secret};
use crate::flow::Direction;
use crate::limits::KeyLogLimits;
use crate::memory::MemoryBudget;
use crate::packet::{FrameRef, PacketRef};
use crate::stream::{StreamChunk, StreamEvent, TcpOffset};
use crate::time::Timestamp;
use crate::transport::Transport;
use crate::wire::suites::SuiteHash;

const CLIENT: Direction = Direction::LowToHigh;
const SERVER: Direction = Direction::HighToLow;
const RANDOM: [u8; 32] = [0xab; 32];

const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

fn secret(byte: u8) -> Secret {
    Secret::filled(32, |out| {
        out.fill(byte);
        Some(())
    })
    .unwrap()
}

/// The secrets of a script, by the first bytes of their labels.
const CLIENT_HANDSHAKE: u8 = 1;
const SERVER_HANDSHAKE: u8 = 2;
const CLIENT_TRAFFIC: u8 = 3;
const SERVER_TRAFFIC: u8 = 4;

fn line(label: &str, byte: u8) -> String {
    let random = format!("{:02x}", RANDOM[0]).repeat(32);
    format!("{label} {random} {}\n", format!("{byte:02x}").repeat(32))
}

fn all_lines() -> String {
    [
        line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT_HANDSHAKE),
        line("SERVER_HANDSHAKE_TRAFFIC_SECRET", SERVER_HANDSHAKE),
        line("CLIENT_TRAFFIC_SECRET_0", CLIENT_TRAFFIC),
        line("SERVER_TRAFFIC_SECRET_0", SERVER_TRAFFIC),
    ]
    .concat()
}

/// A record in clear.
fn clear(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &len, content].concat()
}

/// An encrypted record under TLS_AES_128_GCM_SHA256, with so many bytes of padding.
fn padded(secret: &Secret, number: u64, kind: u8, content: &[u8], padding: usize) -> Vec<u8> {
    let (mut key, mut nonce) = ([0; 16], [0; 12]);
    expand_label(SuiteHash::Sha256, secret.expose(), b"key", &mut key).unwrap();
    expand_label(SuiteHash::Sha256, secret.expose(), b"iv", &mut nonce).unwrap();
    nonce[4..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, add)| *byte ^= add);
    let mut inner = [content, &[kind], &vec![0; padding]].concat();
    let len = u16::try_from(inner.len() + 16).unwrap().to_be_bytes();
    let header = [DATA, 3, 3, len[0], len[1]];
    let cipher = Aes128Gcm::new_from_slice(&key).unwrap();
    let sealed = cipher.encrypt_inout_detached(&nonce.into(), &header, inner.as_mut_slice().into());
    [&header[..], &inner, &sealed.unwrap()].concat()
}

fn sealed(byte: u8, number: u64, kind: u8, content: &[u8]) -> Vec<u8> {
    padded(&secret(byte), number, kind, content, 0)
}

fn data(byte: u8, number: u64, content: &[u8]) -> Vec<u8> {
    sealed(byte, number, DATA, content)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

fn client_hello() -> Vec<u8> {
    let body = [&[3, 3][..], &RANDOM, &[0, 0, 2, 0x13, 1, 1, 0, 0, 0]].concat();
    clear(HANDSHAKE, &message(1, &body))
}

fn server_hello(random: &[u8; 32]) -> Vec<u8> {
    let extensions = [0, 6, 0, 43, 0, 2, 3, 4];
    let body = [&[3, 3][..], random, &[0, 0x13, 1, 0], &extensions].concat();
    clear(HANDSHAKE, &message(2, &body))
}

/// The beginning of the server's stream, up to its Finished message.
fn server_flight() -> Vec<u8> {
    [
        server_hello(&[7; 32]),
        clear(20, &[1]),
        sealed(SERVER_HANDSHAKE, 0, HANDSHAKE, &message(8, &[0, 0])),
        sealed(SERVER_HANDSHAKE, 1, HANDSHAKE, &message(20, &[9; 32])),
    ]
    .concat()
}

/// The beginning of the client's stream behind its hello.
fn client_flight() -> Vec<u8> {
    [clear(20, &[1]), sealed(CLIENT_HANDSHAKE, 0, HANDSHAKE, &message(20, &[9; 32]))].concat()
}

/// A transport, and what it gave.
struct Fed {
    transport: Transport,
    log: KeyLog,
    ends: [TcpOffset; 2],
    given: Vec<(Direction, Given)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Given {
    Data(Vec<u8>),
    Gap(u64),
}

impl Fed {
    fn new(lines: &str) -> Self {
        let log = KeyLog::new(KeyLogLimits { waiting_each: 4096, ..KeyLogLimits::default() });
        log.add_lines(lines.as_bytes());
        Self {
            transport: Transport::recognizing(&log, &MemoryBudget::new(1 << 20)),
            log,
            ends: [TcpOffset::BASE; 2],
            given: Vec::new(),
        }
    }

    fn chunk(&mut self, direction: Direction, bytes: u64, event: StreamEvent<'_>) {
        let end = &mut self.ends[usize::from(direction == SERVER)];
        *end = end.plus(bytes);
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
        let chunk = StreamChunk { packet: &packet, end: *end, event };
        let given = &mut self.given;
        self.transport.on_chunk(direction, &chunk, true, &mut |direction, chunk| {
            assert!(chunk.is_opened());
            given.push((
                direction,
                match chunk.event {
                    StreamEvent::Data(bytes) => Given::Data(bytes.to_vec()),
                    StreamEvent::Gap(bytes) => Given::Gap(bytes),
                },
            ));
        });
    }

    fn send(&mut self, direction: Direction, stream: &[u8], size: usize) -> &mut Self {
        for bytes in stream.chunks(size) {
            self.chunk(direction, bytes.len() as u64, StreamEvent::Data(bytes));
        }
        self
    }

    fn lose(&mut self, direction: Direction, bytes: u64) -> &mut Self {
        self.chunk(direction, bytes, StreamEvent::Gap(bytes));
        self
    }

    /// Both handshakes, each in chunks of `size` bytes.
    fn shake_hands(&mut self, size: usize) -> &mut Self {
        self.send(CLIENT, &client_hello(), size).send(SERVER, &server_flight(), size).send(
            CLIENT,
            &client_flight(),
            size,
        )
    }

    fn end(&mut self) {
        let given = &mut self.given;
        self.transport.open_waiting(true, &mut |direction, chunk| {
            let StreamEvent::Gap(bytes) = chunk.event else { return };
            given.push((direction, Given::Gap(bytes)));
        });
    }

    /// What one direction gave, its bytes joined.
    fn of(&self, direction: Direction) -> Vec<Given> {
        let mut joined: Vec<Given> = Vec::new();
        for (_, given) in self.given.iter().filter(|(from, _)| *from == direction) {
            match (joined.last_mut(), given) {
                (Some(Given::Data(bytes)), Given::Data(more)) => bytes.extend(more),
                (_, given) => joined.push(given.clone()),
            }
        }
        joined
    }

    fn facts(&self) -> crate::observe::OpenedTls {
        self.transport.opener().unwrap().facts()
    }
}

fn given(bytes: &[u8]) -> Vec<Given> {
    vec![Given::Data(bytes.to_vec())]
}

const UNKNOWN: Given = Given::Gap(u64::MAX);

#[test]
fn records_are_opened_in_any_segmentation() {
    let stream: Vec<u8> =
        (0..40).flat_map(|number| data(CLIENT_TRAFFIC, number, &[number as u8; 30])).collect();
    let whole: Vec<u8> = (0..40).flat_map(|number| [number; 30]).collect();
    for size in [1, 2, 7, 52, 100, 1448, 1 << 16] {
        let mut fed = Fed::new(&all_lines());
        fed.shake_hands(size).send(CLIENT, &stream, size);
        assert_eq!(fed.of(CLIENT), given(&whole), "{size}");
        assert_eq!((fed.facts().unopened, fed.facts().records), (0, 43), "{size}");
    }
}

#[test]
fn a_wrong_secret_gives_nothing() {
    let wrong = all_lines().replace("0303", "0505").replace("0101", "0505");
    let mut fed = Fed::new(&wrong);
    let stream: Vec<u8> = (0..50).flat_map(|it| data(CLIENT_TRAFFIC, it, b"secret")).collect();
    fed.shake_hands(99).send(CLIENT, &stream, 99).end();
    assert_eq!(fed.of(CLIENT), []);
    assert_eq!(fed.facts().unopened, 51);
    assert!(!fed.facts().has_data && fed.facts().by.is_some());
    let note = fed.transport.take_note();
    assert_eq!(note, Some(KeyNote::NoFit));
    assert_eq!(fed.transport.take_note(), None);
}

#[test]
fn a_side_whose_secret_is_missing_is_a_gap() {
    let lines = all_lines().replace("0303", "0505");
    let mut fed = Fed::new(&lines);
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"up"), 99);
    fed.send(SERVER, &data(SERVER_TRAFFIC, 0, b"down"), 99).end();
    assert_eq!((fed.of(CLIENT), fed.of(SERVER)), (vec![UNKNOWN], given(b"down")));
    let note = fed.transport.take_note();
    assert_eq!(note, Some(KeyNote::HalfOpen));
}

#[test]
fn a_part_of_a_record_that_is_missing_is_a_gap_of_its_length() {
    let first = data(CLIENT_TRAFFIC, 0, &[1; 500]);
    let second = data(CLIENT_TRAFFIC, 1, &[2; 300]);
    let third = data(CLIENT_TRAFFIC, 2, &[3; 100]);
    for (from, lost) in [(5, 1), (5, 100), (100, 217), (6, 311)] {
        let mut fed = Fed::new(&all_lines());
        fed.shake_hands(99).send(CLIENT, &first, 99).send(CLIENT, &second[..from], 99);
        fed.lose(CLIENT, lost as u64);
        fed.send(CLIENT, &second[from + lost..], 99).send(CLIENT, &third, 99);
        let expected = [given(&[1; 500]), vec![Given::Gap(300)], given(&[3; 100])].concat();
        assert_eq!(fed.of(CLIENT), expected, "{from} {lost}");
    }
}

#[test]
fn behind_whole_records_that_are_missing_the_next_one_is_found() {
    let records: Vec<Vec<u8>> =
        (0..60).map(|it| data(CLIENT_TRAFFIC, it, &[it as u8; 40])).collect();
    for (from, until, cut) in [(3, 4, 0), (3, 9, 0), (3, 9, 17), (3, 40, 60), (1, 2, 3)] {
        let mut fed = Fed::new(&all_lines());
        let (before, lost, after) =
            (records[..from].concat(), records[from..until].concat(), records[until..].concat());
        fed.shake_hands(99).send(CLIENT, &before, 99);
        fed.lose(CLIENT, (lost.len() + cut) as u64).send(CLIENT, &after[cut..], 999).end();
        let first = until + usize::from(cut > 0);
        let rest: Vec<u8> = (first..60).flat_map(|it| [it as u8; 40]).collect();
        let start: Vec<u8> = (0..from).flat_map(|it| [it as u8; 40]).collect();
        let expected = [given(&start), vec![UNKNOWN], given(&rest)].concat();
        assert_eq!(fed.of(CLIENT), expected, "{from} {until} {cut}");
    }
}

#[test]
fn what_is_missing_at_the_end_is_a_gap() {
    let mut fed = Fed::new(&all_lines());
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"one"), 99).lose(CLIENT, 100).end();
    assert_eq!(fed.of(CLIENT), [given(b"one"), vec![UNKNOWN]].concat());
}

#[test]
fn exchanged_labels_are_found_out() {
    let exchanged = [
        line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT_HANDSHAKE),
        line("SERVER_HANDSHAKE_TRAFFIC_SECRET", SERVER_HANDSHAKE),
        line("CLIENT_TRAFFIC_SECRET_0", SERVER_TRAFFIC),
        line("SERVER_TRAFFIC_SECRET_0", CLIENT_TRAFFIC),
    ];
    let mut fed = Fed::new(&exchanged.concat());
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"up"), 99);
    fed.send(SERVER, &data(SERVER_TRAFFIC, 0, b"down"), 99);
    assert_eq!((fed.of(CLIENT), fed.of(SERVER)), (given(b"up"), given(b"down")));
    assert!(fed.facts().has_exchanged_labels);
    assert_eq!(fed.transport.take_note(), Some(KeyNote::Exchanged));
}

#[test]
fn key_updates_are_followed_without_their_secrets() {
    let mut fed = Fed::new(&all_lines());
    fed.shake_hands(99);
    let mut current = secret(CLIENT_TRAFFIC);
    for generation in 0..5_u8 {
        let update = padded(&current, 1, HANDSHAKE, &message(24, &[0]), 0);
        fed.send(CLIENT, &padded(&current, 0, DATA, &[generation], 0), 99);
        fed.send(CLIENT, &update, 99);
        current = next_secret(SuiteHash::Sha256, &current).unwrap();
    }
    assert_eq!(fed.of(CLIENT), given(&[0, 1, 2, 3, 4]));
}

#[test]
fn a_log_of_later_secrets_opens_what_they_open_and_the_rest_is_a_gap() {
    let later = [
        line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", CLIENT_HANDSHAKE),
        line("CLIENT_TRAFFIC_SECRET_1", 8),
    ];
    for lines in [later.concat(), later[1].clone(), line("CLIENT_TRAFFIC_SECRET_0", 8)] {
        let mut fed = Fed::new(&lines);
        fed.shake_hands(99);
        for it in 0..30 {
            fed.send(CLIENT, &data(CLIENT_TRAFFIC, it, b"old"), 99);
        }
        fed.send(CLIENT, &data(8, 0, b"new"), 99).send(CLIENT, &data(8, 1, b"er"), 99);
        assert_eq!(fed.of(CLIENT), [vec![UNKNOWN], given(b"newer")].concat(), "{lines}");
    }
}

#[test]
fn without_the_secrets_of_the_handshake_the_first_message_is_known_by_its_form() {
    let lines = line("CLIENT_TRAFFIC_SECRET_0", CLIENT_TRAFFIC);
    let status = b"\0\0\0\x03sok";
    let mut fed = Fed::new(&lines);
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, status), 99);
    assert_eq!(fed.of(CLIENT), given(status));
}

#[test]
fn padding_and_refused_early_data_are_taken_off() {
    let mut fed = Fed::new(&all_lines());
    fed.send(CLIENT, &client_hello(), 99);
    for it in 0..3 {
        fed.send(CLIENT, &data(9, it, b"early"), 99);
    }
    fed.send(SERVER, &server_flight(), 99).send(CLIENT, &client_flight(), 99);
    let traffic = secret(CLIENT_TRAFFIC);
    fed.send(CLIENT, &padded(&traffic, 0, DATA, b"one", 100), 99);
    fed.send(CLIENT, &padded(&traffic, 1, DATA, b"", 20), 99);
    fed.send(CLIENT, &padded(&traffic, 2, DATA, b"two", 0), 99);
    assert_eq!(fed.of(CLIENT), given(b"onetwo"));
}

#[test]
fn a_retried_hello_is_followed() {
    let retry = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let mut fed = Fed::new(&all_lines());
    fed.send(CLIENT, &client_hello(), 99).send(SERVER, &server_hello(&retry), 99);
    fed.send(SERVER, &clear(20, &[1]), 99).send(CLIENT, &clear(20, &[1]), 99);
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"up"), 99);
    assert_eq!(fed.of(CLIENT), given(b"up"));
}

#[test]
fn records_wait_for_secrets_that_come_later_and_keep_their_order() {
    let mut fed = Fed::new("");
    fed.log.expect_more();
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"one"), 99);
    fed.send(SERVER, &data(SERVER_TRAFFIC, 0, b"two"), 99);
    assert_eq!(fed.given, []);
    fed.log.add_lines(all_lines().as_bytes());
    fed.send(CLIENT, &data(CLIENT_TRAFFIC, 1, b"three"), 99);
    let expected = [(CLIENT, &b"one"[..]), (SERVER, b"two"), (CLIENT, b"three")];
    let expected = expected.map(|(from, bytes)| (from, Given::Data(bytes.to_vec())));
    assert_eq!(fed.given, expected);
}

#[test]
fn what_waits_is_bounded_and_what_follows_is_still_opened() {
    for many in [100, 5000] {
        let mut fed = Fed::new("");
        fed.log.expect_more();
        fed.shake_hands(99);
        for it in 0..many {
            fed.send(CLIENT, &data(CLIENT_TRAFFIC, it, &[1; 90]), 999);
        }
        assert!(fed.log.waiting().used() <= 4096);
        fed.log.add_lines(all_lines().as_bytes());
        fed.send(CLIENT, &data(CLIENT_TRAFFIC, many, b"new"), 999);
        assert_eq!(fed.of(CLIENT), [vec![UNKNOWN], given(b"new")].concat(), "{many}");
    }
}

#[test]
fn nothing_is_kept_where_no_secrets_can_come() {
    let other = all_lines().replace("ab", "cd");
    let mut fed = Fed::new(&other);
    fed.shake_hands(99);
    for it in 0..50 {
        fed.send(CLIENT, &data(CLIENT_TRAFFIC, it, b"closed"), 99);
    }
    assert_eq!((fed.of(CLIENT), fed.log.waiting().used()), (vec![], 0));
    assert_eq!(fed.facts().by, None);
}

#[test]
fn keys_are_wiped_at_the_end_and_nothing_is_opened_behind_it() {
    let mut fed = Fed::new(&all_lines());
    fed.shake_hands(99).send(CLIENT, &data(CLIENT_TRAFFIC, 0, b"one"), 99);
    fed.transport.wipe_keys();
    assert!(fed.log.secrets(&RANDOM).is_none());
    fed.send(CLIENT, &data(CLIENT_TRAFFIC, 1, b"two"), 99);
    assert_eq!(fed.of(CLIENT), given(b"one"));
}

/// A simple generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % most
    }
}

#[test]
fn damaged_streams_never_give_other_bytes() {
    let records: Vec<Vec<u8>> =
        (0..30).map(|it| data(CLIENT_TRAFFIC, it, &[it as u8 + 1; 50])).collect();
    let stream = [client_flight(), records.concat()].concat();
    for seed in 0..2000 {
        let mut numbers = Numbers(seed);
        let mut fed = Fed::new(&all_lines());
        fed.send(CLIENT, &client_hello(), 99).send(SERVER, &server_flight(), 99);
        let mut damaged = stream.clone();
        for _ in 0..numbers.below(4) {
            let at = numbers.below(damaged.len());
            damaged[at] = numbers.below(256) as u8;
        }
        let mut rest = &damaged[..];
        while !rest.is_empty() {
            let here = (1 + numbers.below(200)).min(rest.len());
            let (now, later) = rest.split_at(here);
            if numbers.below(8) == 0 {
                fed.lose(CLIENT, here as u64);
            } else {
                fed.send(CLIENT, now, here);
            }
            rest = later;
        }
        fed.end();
        let mut last = 0;
        for (_, given) in &fed.given {
            if let Given::Data(bytes) = given {
                assert!(bytes.len() == 50 && bytes.iter().all(|it| *it == bytes[0]), "{seed}");
                assert!(bytes[0] > last, "{seed}: out of order");
                last = bytes[0];
            }
        }
    }
}
