//! Secrets of TLS connections, from key logs.
//!
//! In: the lines that programs write to `SSLKEYLOGFILE`, in pieces of any size. Out: the secrets of one connection, by
//! the random bytes of its ClientHello. Secrets are wiped when the last connection that uses them has ended, and never
//! printed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use zeroize::Zeroize;

use crate::limits::KeyLogLimits;
use crate::memory::MemoryBudget;
use crate::observe::OpenedBy;

/// The random bytes of a ClientHello, by which a key log names a connection.
pub(super) type ClientRandom = [u8; 32];

/// The key logs of a run, which all of its connections share. A clone is the same key log.
#[derive(Clone)]
pub struct KeyLog(Arc<Shared>);

struct Shared {
    /// Number of lines with a secret so far. Connections that wait for theirs look again when it has changed.
    secrets: AtomicU64,
    /// Whether records that cannot be opened are kept, since their secrets may still come.
    grows: AtomicBool,
    /// Whether secrets with the label of the other side were found.
    has_exchanged: AtomicBool,
    /// Memory for records that wait for their secrets.
    waiting: MemoryBudget,
    log: Mutex<Log>,
}

struct Log {
    sessions: HashMap<ClientRandom, SessionEntry, RandomState>,
    /// The keys of `sessions`, the oldest first. Entries that were wiped may be in it as well.
    order: VecDeque<ClientRandom>,
    limits: KeyLogLimits,
    counts: KeyLogCounts,
}

#[derive(Default)]
struct SessionEntry {
    secrets: SessionSecrets,
    /// Number of connections that use it.
    users: u32,
}

/// What the key logs of a run contained.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeyLogCounts {
    /// Lines with a secret that opens records.
    pub secrets: u64,
    /// Lines with a secret for another purpose, and labels that are not known.
    pub unused: u64,
    /// Lines that are no lines of a key log.
    pub unreadable: u64,
    /// Connections whose secrets were dropped because there were more than are kept.
    pub dropped: u64,
}

/// A secret, wiped when its last user is gone. Its bytes are never moved, so that no copies are left behind.
#[derive(Clone)]
pub(super) struct Secret(Arc<SecretBytes>);

struct SecretBytes {
    len: u8,
    bytes: [u8; MOST_SECRET],
}

/// Bytes of the longest secret: the master secret of TLS 1.2, or a secret of SHA-384.
const MOST_SECRET: usize = 48;

/// Bytes of the secrets of TLS 1.3: those of SHA-256 and SHA-384, which is as long as a master secret.
const LENGTHS: [usize; 2] = [32, MOST_SECRET];

impl Secret {
    /// A secret of `len` bytes, which `fill` writes; `None` if that fails, or if no secret is so long.
    pub(super) fn filled(len: usize, fill: impl FnOnce(&mut [u8]) -> Option<()>) -> Option<Self> {
        let len = u8::try_from(len).ok().filter(|len| LENGTHS.contains(&usize::from(*len)))?;
        let mut shared = Arc::new(SecretBytes { len, bytes: [0; MOST_SECRET] });
        fill(Arc::get_mut(&mut shared)?.bytes.get_mut(..len.into())?)?;
        Some(Self(shared))
    }

    /// The secret of these hex digits.
    fn from_hex(digits: &[u8]) -> Option<Self> {
        Self::filled(digits.len() / 2, |bytes| unhex(digits, bytes))
    }

    /// The bytes of the secret, for code that derives keys and never for code that prints.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.bytes.get(..self.0.len.into()).unwrap_or_default()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The secrets of one connection.
#[derive(Clone, Default)]
pub(super) struct SessionSecrets {
    /// The master secret of TLS 1.2 (`CLIENT_RANDOM`).
    pub(super) master: Option<Secret>,
    /// The secrets of TLS 1.3 that the label gives to the client.
    pub(super) client: TrafficSecrets,
    /// The secrets of TLS 1.3 that the label gives to the server.
    pub(super) server: TrafficSecrets,
}

/// The secrets with which one side of TLS 1.3 encrypts.
#[derive(Clone, Default)]
pub(super) struct TrafficSecrets {
    /// For the messages of the handshake.
    pub(super) handshake: Option<Secret>,
    /// For all that follows, with the number of key updates before; in the order of the key log.
    pub(super) traffic: Vec<(u32, Secret)>,
}

impl SessionSecrets {
    /// Which secrets there are; `None` if there are none.
    pub(super) fn kind(&self) -> Option<OpenedBy> {
        let has = |it: &TrafficSecrets| it.handshake.is_some() || !it.traffic.is_empty();
        match (&self.master, has(&self.client) || has(&self.server)) {
            (_, true) => Some(OpenedBy::TrafficSecrets),
            (Some(_), false) => Some(OpenedBy::MasterSecret),
            (None, false) => None,
        }
    }

    /// Adds the secret of a line. False if it is of no use here.
    fn add(&mut self, label: &[u8], secret: Secret) -> bool {
        let (side, kind) = match label {
            b"CLIENT_RANDOM" => {
                self.master = Some(secret);
                return true;
            }
            _ => match (label.strip_prefix(b"CLIENT_"), label.strip_prefix(b"SERVER_")) {
                (Some(kind), _) => (&mut self.client, kind),
                (_, Some(kind)) => (&mut self.server, kind),
                _ => return false,
            },
        };
        if kind == b"HANDSHAKE_TRAFFIC_SECRET" {
            side.handshake = Some(secret);
            return true;
        }
        let generation = kind.strip_prefix(b"TRAFFIC_SECRET_").and_then(decimal);
        let Some(generation) = generation.filter(|_| side.traffic.len() < MOST_GENERATIONS) else {
            return false;
        };
        match side.traffic.iter_mut().find(|(known, _)| *known == generation) {
            // The log of a node has each line once; `connection_information` may be asked again.
            Some((_, known)) => *known = secret,
            None => side.traffic.push((generation, secret)),
        }
        true
    }
}

/// Secrets of one generation after the other that are kept of one side. A node updates its keys every few hundred GiB.
const MOST_GENERATIONS: usize = 32;

impl KeyLog {
    /// A key log without lines, with these bounds.
    pub fn new(limits: KeyLogLimits) -> Self {
        let log = Log {
            sessions: HashMap::default(),
            order: VecDeque::new(),
            limits,
            counts: KeyLogCounts::default(),
        };
        Self(Arc::new(Shared {
            secrets: AtomicU64::new(0),
            grows: AtomicBool::new(false),
            has_exchanged: AtomicBool::new(false),
            waiting: MemoryBudget::new(limits.waiting_total),
            log: Mutex::new(log),
        }))
    }

    /// A key log of its own with the same secrets, for another run: a run wipes the secrets of connections that ended.
    pub fn for_another_run(&self) -> Self {
        let log = self.log();
        let copy = Self::new(log.limits);
        {
            let mut other = copy.log();
            other.order.clone_from(&log.order);
            other.counts = log.counts;
            let unused =
                |entry: &SessionEntry| SessionEntry { secrets: entry.secrets.clone(), users: 0 };
            other.sessions.extend(log.sessions.iter().map(|(random, it)| (*random, unused(it))));
        }
        copy.0.secrets.store(self.version(), Ordering::Release);
        copy
    }

    /// From here on, records that cannot be opened are kept within a bound: their secrets may come later.
    pub fn expect_more(&self) {
        self.0.grows.store(true, Ordering::Relaxed);
    }

    /// What was read so far.
    pub fn counts(&self) -> KeyLogCounts {
        self.log().counts
    }

    /// Takes in whole lines: `LABEL CLIENT_RANDOM SECRET`, both in hex. Comments and empty lines are skipped.
    ///
    /// Spec: RFC 9850, *The SSLKEYLOGFILE Format for TLS*.
    pub fn add_lines(&self, lines: &[u8]) {
        let mut log = self.log();
        for line in lines.split(|byte| matches!(byte, b'\n' | b'\r')) {
            log.add_line(line);
        }
        self.0.secrets.store(log.counts.secrets, Ordering::Release);
    }

    /// Whether there are secrets of the connection with this ClientHello.
    pub(crate) fn has(&self, random: &ClientRandom) -> bool {
        self.log().sessions.get(random).is_some_and(|entry| entry.secrets.kind().is_some())
    }

    /// Whether records may be opened: there are secrets, or some are expected.
    pub(crate) fn is_in_use(&self) -> bool {
        self.version() > 0 || self.grows()
    }

    /// Whether secrets may still come.
    pub(super) fn grows(&self) -> bool {
        self.0.grows.load(Ordering::Relaxed)
    }

    /// Whether this is the first connection of the run whose labels are exchanged.
    pub(super) fn is_first_exchange(&self) -> bool {
        !self.0.has_exchanged.swap(true, Ordering::Relaxed)
    }

    /// A number that changes with every secret.
    pub(super) fn version(&self) -> u64 {
        self.0.secrets.load(Ordering::Acquire)
    }

    /// The bound on all records that wait for their secrets.
    pub(super) fn waiting(&self) -> &MemoryBudget {
        &self.0.waiting
    }

    /// Most bytes of records of one connection that wait for their secrets.
    pub(super) fn waiting_each(&self) -> usize {
        self.log().limits.waiting_each
    }

    /// The secrets of a connection so far.
    pub(super) fn secrets(&self, random: &ClientRandom) -> Option<SessionSecrets> {
        self.log().sessions.get(random).map(|entry| entry.secrets.clone())
    }

    /// Counts a user of the secrets of a connection, which are kept until it is dropped.
    pub(super) fn subscribe(&self, random: ClientRandom) -> Subscription {
        self.log().entry(random).users += 1;
        Subscription { log: self.clone(), random }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that uses secrets. When the last one of its ClientHello is dropped, the secrets are wiped.
pub(super) struct Subscription {
    log: KeyLog,
    random: ClientRandom,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut log = self.log.log();
        if let Some(entry) = log.sessions.get_mut(&self.random) {
            entry.users = entry.users.saturating_sub(1);
            if entry.users == 0 {
                log.sessions.remove(&self.random);
            }
        }
    }
}

impl Log {
    fn add_line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return;
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (label, random, secret) = (words.next(), words.next(), words.next());
        if label == Some(b"RSA") {
            // The premaster secret of a key exchange with RSA, by the first bytes of its encrypted form.
            return self.counts.unused += 1;
        }
        let read = || {
            let mut client = ClientRandom::default();
            unhex(random?, &mut client)?;
            Some((label?, client, Secret::from_hex(secret?)))
        };
        let (label, random, secret) = match read().filter(|_| words.next().is_none()) {
            Some((label, random, Some(secret))) => (label, random, secret),
            Some((_, _, None)) => return self.counts.unused += 1,
            None => return self.counts.unreadable += 1,
        };
        let entry = self.entry(random);
        let is_used = entry.secrets.add(label, secret);
        if is_used {
            self.counts.secrets += 1;
        } else {
            if entry.users == 0 && entry.secrets.kind().is_none() {
                self.sessions.remove(&random);
                self.order.pop_back();
            }
            self.counts.unused += 1;
        }
    }

    /// The entry of a connection. If there are too many, the oldest that no connection uses is dropped.
    fn entry(&mut self, random: ClientRandom) -> &mut SessionEntry {
        if !self.sessions.contains_key(&random) {
            // Connections in use are bounded too, so the first of these is nearly always unused.
            for _ in 0..MOST_LOOKED_AT {
                if self.sessions.len() < self.limits.sessions {
                    break;
                }
                let Some(oldest) = self.order.pop_front() else { break };
                match self.sessions.get(&oldest).map(|entry| entry.users) {
                    Some(0) => {
                        self.sessions.remove(&oldest);
                        self.counts.dropped += 1;
                    }
                    Some(_) => self.order.push_back(oldest),
                    None => {}
                }
            }
            // What connections have wiped is still in the queue.
            if self.order.len() > 2 * self.sessions.len() + MOST_LOOKED_AT {
                let sessions = &self.sessions;
                self.order.retain(|random| sessions.contains_key(random));
            }
            self.order.push_back(random);
        }
        self.sessions.entry(random).or_default()
    }
}

/// Entries that are examined to make room for another one.
const MOST_LOOKED_AT: usize = 64;

impl Default for KeyLog {
    fn default() -> Self {
        Self::new(KeyLogLimits::default())
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyLog({:?})", self.counts())
    }
}

/// Writes the bytes of hex digits. `None` if they are no hex digits, or are for another number of bytes.
fn unhex(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(())
}

fn decimal(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

    fn log(sessions: usize) -> KeyLog {
        KeyLog::new(KeyLogLimits { sessions, ..KeyLogLimits::default() })
    }

    fn random() -> ClientRandom {
        let mut random = ClientRandom::default();
        unhex(RANDOM.as_bytes(), &mut random).unwrap();
        random
    }

    #[test]
    fn lines_are_read_by_their_label() {
        let log = log(9);
        let line = |label: &str, byte: &str, len: usize| {
            format!("{label} {RANDOM} {}\r\n", byte.repeat(len))
        };
        let text = [
            "# a comment\n\n".to_owned(),
            line("CLIENT_RANDOM", "01", 48),
            line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", "02", 32),
            line("SERVER_TRAFFIC_SECRET_0", "03", 48),
            line("SERVER_TRAFFIC_SECRET_1", "04", 48),
            line("EXPORTER_SECRET", "05", 48),
            format!("RSA 0011223344556677 {}\n", "05".repeat(48)),
            line("CLIENT_RANDOM", "06", 47),
            "CLIENT_RANDOM 0011 22\n\0\u{ff} binary\n".to_owned(),
            line("SERVER_HANDSHAKE_TRAFFIC_SECRET 1", "07", 32),
        ];
        log.add_lines(text.concat().as_bytes());
        let counts = KeyLogCounts { secrets: 4, unused: 3, unreadable: 3, dropped: 0 };
        assert_eq!(log.counts(), counts);
        let SessionSecrets { master, client, server } = log.secrets(&random()).unwrap();
        assert_eq!(master.unwrap().expose(), [1; 48]);
        assert_eq!(client.handshake.unwrap().expose(), [2; 32]);
        let traffic: Vec<_> = server.traffic.iter().map(|(n, it)| (*n, it.expose()[0])).collect();
        assert_eq!(traffic, [(0, 3), (1, 4)]);
        assert!(client.traffic.is_empty() && server.handshake.is_none());
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_those_in_use_are_kept() {
        let log = log(100);
        let add = |number: u32| {
            log.add_lines(format!("CLIENT_RANDOM {number:064x} {}", "07".repeat(48)).as_bytes());
        };
        let random = |number: u32| {
            let mut random = ClientRandom::default();
            random[28..].copy_from_slice(&number.to_be_bytes());
            random
        };
        add(0);
        let used = log.subscribe(random(0));
        (1..100_000).for_each(add);
        assert_eq!(log.log().sessions.len(), 100);
        assert!(log.log().order.len() <= 400);
        assert!(log.secrets(&random(0)).is_some() && log.secrets(&random(1)).is_none());
        assert_eq!(log.counts().dropped, 99_900);
        drop(used);
        assert!(log.secrets(&random(0)).is_none(), "wiped after its last user");
    }

    #[test]
    fn secrets_stay_until_the_last_connection_with_that_hello_has_ended() {
        let log = log(9);
        let first = log.subscribe(random());
        log.add_lines(format!("CLIENT_RANDOM {RANDOM} {}", "07".repeat(48)).as_bytes());
        let second = log.subscribe(random());
        drop(first);
        assert!(log.secrets(&random()).is_some());
        drop(second);
        assert!(log.secrets(&random()).is_none());
    }

    #[test]
    fn another_run_has_secrets_of_its_own() {
        let log = log(9);
        log.add_lines(format!("CLIENT_RANDOM {RANDOM} {}", "07".repeat(48)).as_bytes());
        let other = log.for_another_run();
        drop(log.subscribe(random()));
        assert!(!log.has(&random()) && other.has(&random()) && other.is_in_use());
        drop(other.subscribe(random()));
        assert!(!other.has(&random()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let log = log(9);
        log.add_lines(format!("CLIENT_RANDOM {RANDOM} {}", "07".repeat(48)).as_bytes());
        let printed = format!("{log:?}");
        assert!(printed.contains("secrets: 1") && !printed.contains('7'), "{printed}");
    }
}
