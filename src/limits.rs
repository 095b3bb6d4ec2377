//! Every bound of the program, each with the reason for its default.
//!
//! Captures are hostile input, so everything that is kept has a bound. When a bound of the analysis is reached,
//! an `anomaly` of kind `limit` reports it and `evictions` in `stats` counts it.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

/// Bounds of the stages behind decoding.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections kept at a time. An Erlang cluster of 300 nodes has 45,000; each costs 2 to 8 KiB.
    pub connections: usize,
    /// Connections without data so far, kept in a table of fixed size until their first bytes show whether they
    /// are Erlang. The size is a power of two; busy links open a few thousand connections a second.
    pub pending_connections: usize,
    /// Out-of-order bytes held for one direction. A window of 1 MiB fills a 10 Gbit/s LAN.
    pub held_per_direction: usize,
    /// Out-of-order bytes held for all connections together.
    pub held_total: usize,
    /// Time within which a gap may still be filled although the receiver has acknowledged its bytes. Such bytes
    /// did arrive, so the capture has lost or reordered them, and captures reorder by milliseconds.
    pub hole_grace: Duration,
    /// Number of segments after which a stream whose SYN was not seen begins at the lowest byte received so far.
    pub start_segments: u32,
    /// Time after which such a stream begins, however few its segments. Captures reorder by milliseconds.
    pub start_grace: Duration,
    /// Quiet time after the first FIN or RST after which the connection is reported although the other side has
    /// not closed: longer than a retransmission, and short for a person who watches.
    pub close_grace: Duration,
    /// Time after which a SYN without an answer is reported: the set-up time of a node, 7 s, has run out.
    pub syn_wait: Duration,
    /// Silence during the handshake after which an open connection is reported in its current state: twice the
    /// set-up time.
    pub handshake_idle: Duration,
    /// Silence during the handshake after which a connection is dropped. The longest `net_setuptime` is 120 s.
    pub handshake_forget: Duration,
    /// Silence after which an established connection is reported in its current state and dropped. Ticks come
    /// every 15 s by default, and some clusters have a `net_ticktime` of an hour.
    pub established_idle: Duration,
    /// Time for which a closed connection is kept, so that late copies of its packets do not open a new one.
    pub closed_forget: Duration,
    /// Longest handshake message, in bytes. Names have at most 255 characters of at most 4 bytes on each side of
    /// the `@`. Bytes behind the name must be ignored, and the protocol does not bound their number.
    pub handshake_message: usize,
    /// Bytes kept of messages after the handshake, by all connections together: atom caches, incomplete headers
    /// and messages, and requests without an answer so far. The atom cache of a busy node takes some 20 KiB.
    pub messages: usize,
    /// Longest EPMD reply kept, in bytes. EPMD has at most 1,024 connections, so a list of names has as many lines.
    pub epmd_reply: usize,
    /// EPMD answers kept to find the look-up that led to a connection.
    pub lookups: usize,
    /// Answers of name servers kept for a few minutes, as pairs of client and address, and addresses whose names
    /// the capture file has. A resolver for hundreds of hosts answers some fifty queries a second.
    pub resolved: usize,
    /// Look-ups that led to a connection, kept to know the full name in later look-ups. A cluster of 300 nodes
    /// has 45,000.
    pub dials: usize,
    /// Ports kept as distribution ports of a node.
    pub ports: usize,
    /// Nodes kept with their properties.
    pub nodes: usize,
    /// Pairs of nodes kept with their state: as many as a full mesh of 180 nodes has.
    pub pairs: usize,
    /// Entries of each list of a `cluster` event, so that one line stays readable.
    pub cluster_rows: usize,
    /// Problems kept, so that a repetition is counted and not reported as a new finding.
    pub incidents: usize,
    /// Findings that one rule reports within an hour; further ones are counted. A person reads no more, and an
    /// outage of a cluster of a hundred nodes has fewer.
    pub findings: u64,
    /// Candidate cookies; each digest is tested against each of them.
    pub cookies: usize,
    /// Bytes of a cookie file: room for that many cookies of the usual 20 characters, with labels.
    pub cookie_file: u64,
    /// Anomalies of one kind that are reported; further ones are counted.
    pub anomalies: u64,
    /// Bytes of events queued for a slow reader of a live capture. Ten seconds of 20,000 short sessions a second
    /// would take 200 MB. When the queue is full, findings, which are few, are dropped last.
    pub unread: usize,
    /// Bounds of the table of incomplete IP datagrams.
    pub fragments: DefragLimits,
    /// Bounds of the packets kept for evidence files.
    pub evidence: EvidenceLimits,
    /// Bytes of the comments that `annotate` keeps until it writes them, bookkeeping included: those of some 40,000
    /// connections. The capture is read a second time to place them, so they wait until its end.
    pub comments: usize,
    /// Bounds of the secrets of key logs, and of the records that wait for them.
    pub key_log: KeyLogLimits,
    /// Bounds of what is held while a capture is anonymised.
    pub anonymize: AnonymizeLimits,
    /// Bounds of a merge of what several sensors saw.
    pub merge: MergeLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            pending_connections: 16_384,
            held_per_direction: 1 << 20,
            held_total: 8 << 20,
            hole_grace: Duration::from_secs(1),
            start_segments: 16,
            start_grace: Duration::from_millis(200),
            close_grace: Duration::from_secs(1),
            syn_wait: Duration::from_secs(8),
            handshake_idle: Duration::from_secs(14),
            handshake_forget: Duration::from_secs(150),
            established_idle: Duration::from_secs(4 * 3600),
            closed_forget: Duration::from_secs(60),
            handshake_message: 4096,
            messages: 64 << 20,
            epmd_reply: 256 << 10,
            lookups: 4096,
            resolved: 16_384,
            dials: 65_536,
            ports: 65_536,
            nodes: 16_384,
            pairs: 16_384,
            cluster_rows: 4096,
            incidents: 16_384,
            findings: 1000,
            cookies: 4096,
            cookie_file: 1 << 20,
            anomalies: 1000,
            unread: 16 << 20,
            fragments: DefragLimits::default(),
            evidence: EvidenceLimits::default(),
            comments: 64 << 20,
            key_log: KeyLogLimits::default(),
            anonymize: AnonymizeLimits::default(),
            merge: MergeLimits::default(),
        }
    }
}

/// Memory that a run with the default bounds may come to need under floods of every kind at a time, in bytes.
const MEMORY: usize = 640 << 20;

/// Of this, what does not depend on the bounds: the program, its buffers for input and output, and small tables of rules.
const FIXED: usize = 16 << 20;

/// The least memory that bounds can be made for, in bytes.
pub const LEAST_MEMORY: usize = 48 << 20;

/// Scales the bounds that memory depends on.
#[derive(Clone, Copy)]
struct MemoryScale(usize);

impl MemoryScale {
    /// `most` in the proportion that the memory has to that of the default bounds, and at least `least`.
    fn of(self, most: usize, least: usize) -> usize {
        let (room, all) = (self.0.saturating_sub(FIXED) as u128, (MEMORY - FIXED) as u128);
        usize::try_from(most as u128 * room / all).unwrap_or(usize::MAX).max(least)
    }
}

impl Limits {
    /// Bounds for a run that uses at most so many bytes of memory, whatever the input: the default ones in proportion. Below
    /// [`LEAST_MEMORY`] they are those for that. Bounds that no memory depends on, such as times, stay as they are.
    pub fn for_memory(bytes: usize) -> Self {
        let scale = MemoryScale(bytes.max(LEAST_MEMORY));
        let full = Self::default();
        Self {
            connections: scale.of(full.connections, 256),
            pending_connections: scale.of(full.pending_connections, 256),
            held_per_direction: scale.of(full.held_per_direction, 64 << 10),
            held_total: scale.of(full.held_total, 256 << 10),
            messages: scale.of(full.messages, 1 << 20),
            epmd_reply: scale.of(full.epmd_reply, 64 << 10).min(full.epmd_reply),
            lookups: scale.of(full.lookups, 256),
            resolved: scale.of(full.resolved, 256),
            dials: scale.of(full.dials, 1024),
            ports: scale.of(full.ports, 1024),
            nodes: scale.of(full.nodes, 256),
            pairs: scale.of(full.pairs, 256),
            cluster_rows: scale.of(full.cluster_rows, 256).min(full.cluster_rows),
            incidents: scale.of(full.incidents, 256),
            unread: scale.of(full.unread, 1 << 20),
            fragments: full.fragments.scaled(scale),
            evidence: full.evidence.scaled(scale),
            comments: scale.of(full.comments, 1 << 20),
            key_log: full.key_log.scaled(scale),
            anonymize: full.anonymize.scaled(scale),
            merge: full.merge.scaled(scale),
            ..full
        }
    }
}

impl KeyLogLimits {
    fn scaled(self, scale: MemoryScale) -> Self {
        Self {
            sessions: scale.of(self.sessions, 1024),
            waiting_total: scale.of(self.waiting_total, 256 << 10),
            ..self
        }
    }
}

impl DefragLimits {
    fn scaled(self, scale: MemoryScale) -> Self {
        Self {
            datagrams: scale.of(self.datagrams, 64),
            bytes: scale.of(self.bytes, 256 << 10),
            ..self
        }
    }
}

impl EvidenceLimits {
    fn scaled(self, scale: MemoryScale) -> Self {
        Self {
            bytes: scale.of(self.bytes, 1 << 20),
            pending_connections: scale.of(self.pending_connections, 256 << 10),
            names: scale.of(self.names, 64 << 10),
            ..self
        }
    }
}

impl AnonymizeLimits {
    fn scaled(self, scale: MemoryScale) -> Self {
        Self {
            packets: scale.of(self.packets, 1 << 20),
            streams: scale.of(self.streams, 1 << 20),
            connections: scale.of(self.connections, 256),
            datagrams: scale.of(self.datagrams, 64),
            ..self
        }
    }
}

/// Bounds of the secrets of key logs, and of the records that wait for them.
#[derive(Clone, Copy, Debug)]
pub struct KeyLogLimits {
    /// Connections whose secrets are kept; those of TLS 1.3 take half a KiB. The oldest that no connection of the
    /// capture uses is dropped first.
    pub sessions: usize,
    /// Bytes of records of one connection that wait for its secrets. A node logs them when the TLS handshake is over,
    /// and its distribution handshake takes a few hundred bytes.
    pub waiting_each: usize,
    /// Bytes of records of all connections that wait for secrets.
    pub waiting_total: usize,
}

impl Default for KeyLogLimits {
    fn default() -> Self {
        Self { sessions: 1 << 18, waiting_each: 64 << 10, waiting_total: 16 << 20 }
    }
}

/// Bounds of a merge of what several sensors saw.
#[derive(Clone, Copy, Debug)]
pub struct MergeLimits {
    /// Facts kept until all inputs are read, of about 2.5 KiB each. A connection has five to ten. One with more than
    /// [`FACT_BYTES`](Self::FACT_BYTES) of text counts as several.
    pub facts: usize,
    /// Captures and interfaces of all sensors, each with a name.
    pub inputs: usize,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self { facts: 160_000, inputs: 4096 }
    }
}

impl MergeLimits {
    /// Bytes of the text of a fact that its memory is counted by.
    pub const FACT_BYTES: usize = 4096;

    /// As how many facts one counts whose text has so many bytes. Those of real connections have less than two times
    /// `FACT_BYTES`.
    pub const fn cost(bytes: usize) -> usize {
        let whole = bytes / Self::FACT_BYTES;
        if whole > 1 { whole } else { 1 }
    }

    fn scaled(self, scale: MemoryScale) -> Self {
        Self { facts: scale.of(self.facts, 4096), ..self }
    }
}

/// Connections of which ladders keep the messages: so many of the last ones, and so many that findings name. Each takes a few
/// KiB, and a person looks at a few.
pub const LADDER_SESSIONS: usize = 1024;

/// Handshake messages that a ladder keeps of a connection. The longest handshake has seven.
pub const LADDER_MESSAGES: usize = 16;

/// Nodes of which ladders keep the release.
pub const LADDER_NODES: usize = 4096;

/// Rows of each list of a screen. A person looks at a few, and filters.
pub const SCREEN_ROWS: usize = 4096;

/// Appends `item` to `queue`, which keeps its last `most` items.
pub(crate) fn remember<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}

/// A map with at most so many entries: a new one takes the place of the oldest.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    entries: HashMap<K, V, RandomState>,
    /// The keys of `entries` in the order in which they were added.
    order: VecDeque<K>,
    capacity: usize,
    evictions: u64,
}

impl<K: Clone + Eq + Hash, V: Default> BoundedMap<K, V> {
    /// An empty map for at most `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), capacity, evictions: 0 }
    }

    /// Number of entries that gave up their place.
    pub(crate) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// The value of `key`.
    pub(crate) fn get<Q: Equivalent<K> + Hash + ?Sized>(&self, key: &Q) -> Option<&V> {
        self.entries.get(key)
    }

    /// The value of `key`, to be changed.
    pub(crate) fn get_mut<Q: Equivalent<K> + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    /// The value of `key`, which begins as the default one; and the entry that gave up its place for it.
    pub(crate) fn entry(&mut self, key: &K) -> (&mut V, Option<(K, V)>) {
        let mut evicted = None;
        if !self.entries.contains_key(key) {
            self.order.push_back(key.clone());
            if self.order.len() > self.capacity {
                evicted =
                    self.order.pop_front().and_then(|oldest| self.entries.remove_entry(&oldest));
                self.evictions += 1;
            }
        }
        (self.entries.entry(key.clone()).or_default(), evicted)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter()
    }

    /// Number of entries that it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, the oldest first; none are left.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let entries = &mut self.entries;
        self.order.drain(..).filter_map(|key| entries.remove_entry(&key))
    }
}

/// VLAN tags, MPLS labels and PPPoE headers parsed between one link header and its IP datagram. Three are rare in
/// honest traffic, and the bound limits the work on a frame of nothing but tags.
pub const LINK_TAGS: usize = 8;

/// Nested tunnels that are decapsulated. A container network over a provider's tunnel has two.
pub const TUNNELS: usize = 4;

/// Bounds of what is held while a capture is anonymised.
#[derive(Clone, Copy, Debug)]
pub struct AnonymizeLimits {
    /// Bytes of packets that wait for the rest of a message: a second of a busy link.
    pub packets: usize,
    /// Time on the capture's clock that a packet waits: the longest pause that a retransmission fills in most networks.
    /// Live, packets are given that much later.
    pub wait: Duration,
    /// Bytes of streams kept, to replace what is sent again as before.
    pub streams: usize,
    /// Connections kept. One that gives way is read from then on as one whose beginning was not captured.
    pub connections: usize,
    /// Incomplete IP datagrams kept.
    pub datagrams: usize,
}

impl Default for AnonymizeLimits {
    fn default() -> Self {
        Self {
            packets: 16 << 20,
            wait: Duration::from_secs(1),
            streams: 64 << 20,
            connections: 65_536,
            datagrams: 1024,
        }
    }
}

/// Captures whose clocks are compared: each with each of the others, before the first packet is analysed.
pub const CLOCK_INPUTS: usize = 16;

/// Frames that are read for that, over all captures: some milliseconds, and enough for hundreds of connections.
pub const CLOCK_FRAMES: usize = 40_000;

/// Bounds of the table of IP datagrams whose fragments have not all arrived.
#[derive(Clone, Copy, Debug)]
pub struct DefragLimits {
    /// Incomplete datagrams at a time. The number is arbitrary: `bytes` is reached first unless the fragments are
    /// tiny.
    pub datagrams: usize,
    /// Bytes held for all of them, bookkeeping included: the default of Linux (`ipfrag_high_thresh`, 4 MiB).
    pub bytes: usize,
    /// Fragments of one datagram. One of 65,535 bytes has 119 over the smallest common MTU of 576.
    pub pieces: usize,
    /// Time on the capture's clock from the first fragment to the last: the default of Linux for IPv4
    /// (`ipfrag_time`, 30 s).
    pub age: Duration,
}

impl Default for DefragLimits {
    fn default() -> Self {
        Self { datagrams: 1024, bytes: 4 << 20, pieces: 256, age: Duration::from_secs(30) }
    }
}

/// Bounds of the packets that are kept for evidence files, and of those files.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceLimits {
    /// Bytes of packets kept, bookkeeping included: some 10,000 failed attempts of a dozen small packets each, or
    /// 500 connections with the most that is kept of one.
    pub bytes: usize,
    /// Bytes of packets of connections whose protocol is not known yet, bookkeeping included: two small packets for
    /// each entry of [`Limits::pending_connections`].
    pub pending_connections: usize,
    /// Bytes of answers of name servers that may have led to a connection, bookkeeping included.
    pub names: usize,
    /// First packets kept of a connection. An attempt has about twenty: the handshakes of TCP and of the
    /// distribution protocol, acknowledgements, and the close.
    pub first_frames: usize,
    /// Bytes of those first packets, enough for the longest handshakes.
    pub first_bytes: usize,
    /// Last packets kept of a longer connection: those that led to its end, or a few rounds of ticks.
    pub last_frames: usize,
    /// Bytes of those last packets.
    pub last_bytes: usize,
    /// Bytes kept of one packet. A handshake message is shorter; segmentation offload gives packets of 64 KiB.
    pub frame: usize,
    /// Files in one run. A person reads no more, and a run may last for months.
    pub files: u64,
    /// Bytes of all files of a run.
    pub file_bytes: u64,
}

impl Default for EvidenceLimits {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            pending_connections: 6 << 20,
            names: 1 << 20,
            first_frames: 32,
            first_bytes: 32 << 10,
            last_frames: 32,
            last_bytes: 32 << 10,
            frame: 4608,
            files: 1000,
            file_bytes: 256 << 20,
        }
    }
}

/// Bounds of what is kept for a report file, and of what is written into it.
#[derive(Clone, Copy, Debug)]
pub struct ReportLimits {
    /// Findings kept with their text and evidence, some 3 KiB each.
    pub problems: usize,
    /// Problems written with their evidence; further ones have a line in the list.
    pub blocks: usize,
    /// Problems with a drawing of their connection, some 8 KiB each.
    pub ladders: usize,
    /// Lines of the list of problems, and rows of each table: a person reads no more, and a file stays small.
    pub rows: usize,
    /// Pairs of nodes kept with a lane of the timeline, at most 3 KiB each; further ones share one.
    pub lanes: usize,
    /// Lanes that are drawn; further ones are drawn as one.
    pub drawn_lanes: usize,
    /// Attempts of a lane that are kept one by one; more are counted by time.
    pub attempts: usize,
    /// Connections kept with the time of their first message until they are over.
    pub open: usize,
    /// Names of operations, receivers and functions counted, and callees.
    pub names: usize,
    /// Names of the inputs of kept events.
    pub inputs: usize,
    /// Bytes of kept events from a pipe that are read ahead for the names of their inputs.
    pub read_ahead: u64,
}

impl Default for ReportLimits {
    fn default() -> Self {
        Self {
            problems: 4096,
            blocks: 200,
            ladders: 20,
            rows: 1000,
            lanes: 2048,
            drawn_lanes: 60,
            attempts: 48,
            open: 50_000,
            names: 1024,
            inputs: 1024,
            read_ahead: 8 << 20,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_default_bounds_gives_the_default_bounds() {
        let (full, scaled) = (Limits::default(), Limits::for_memory(MEMORY));
        assert_eq!(format!("{full:?}"), format!("{scaled:?}"));
    }

    #[test]
    fn bounds_grow_with_the_memory_and_have_a_floor() {
        let [none, least, more] = [0, LEAST_MEMORY, 4 << 30].map(Limits::for_memory);
        assert_eq!(format!("{none:?}"), format!("{least:?}"));
        assert!(least.connections < 3_000 && least.messages < 4 << 20, "{least:?}");
        assert!(more.connections > 300_000 && more.messages > 400 << 20, "{more:?}");
        assert_eq!((least.findings, least.syn_wait), (1000, Duration::from_secs(8)));
    }
}
