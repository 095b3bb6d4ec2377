//! Every bound of the program, each with the reason for its default.
//!
//! Captures are hostile input: whatever is kept, is kept up to a bound, and a bound that bites is told
//! by an `anomaly` of kind `limit` and by `evictions` in `stats`.

use std::collections::VecDeque;
use std::time::Duration;

/// Bounds of the stages behind decoding.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections kept at a time. An Erlang cluster of 300 nodes has 45,000; each costs about 1 KiB.
    pub connections: usize,
    /// Connections that have not said anything yet, kept in a table of fixed size until their first
    /// bytes show whether they are Erlang. A power of two; busy links open a few thousand a second.
    pub pending_connections: usize,
    /// Out-of-order bytes held for one direction. A window of 1 MiB fills a 10 Gbit/s LAN.
    pub held_per_direction: usize,
    /// Out-of-order bytes held in all.
    pub held_total: usize,
    /// How long a hole that the receiver has acknowledged may still be filled: its bytes did arrive,
    /// so the capture has lost or reordered them, and captures reorder by milliseconds.
    pub hole_grace: Duration,
    /// Segments after which a stream whose beginning was not seen starts with the lowest byte there is.
    pub start_segments: u32,
    /// Time after which it does. Captures reorder by milliseconds.
    pub start_grace: Duration,
    /// Quiet time after the first FIN or RST after which the verdict is told although the other side has
    /// not closed: longer than a retransmission, short for a person who watches.
    pub close_grace: Duration,
    /// How long a SYN may go unanswered before that is told: the set-up time of a node, 7 s, has run out.
    pub syn_wait: Duration,
    /// Silence in mid-handshake after which an open session is told as it stands. Twice the set-up time.
    pub handshake_idle: Duration,
    /// Silence after which a session in mid-handshake is forgotten: the longest `net_setuptime` is 120 s.
    pub handshake_forget: Duration,
    /// Silence after which an established session is told as it stands and forgotten. Ticks come every
    /// 15 s; a `net_ticktime` of an hour is seen in the wild.
    pub established_idle: Duration,
    /// How long a closed connection is remembered, so that stray copies of its packets open no new one.
    pub closed_forget: Duration,
    /// Longest handshake message. Names have at most 255 characters of at most 4 bytes on each side of
    /// the `@`; what lies behind a name must be ignored and is not bounded by the protocol.
    pub handshake_message: usize,
    /// Bytes kept of messages after the handshake, by all connections: atom caches, headers and messages
    /// that come in pieces, requests that wait for an answer. An atom cache of a busy node has some 20 KiB.
    pub messages: usize,
    /// Longest EPMD reply kept: a port mapper has at most 1,024 connections, so as many lines.
    pub epmd_reply: usize,
    /// EPMD answers remembered, to find the look-up behind a connection.
    pub lookups: usize,
    /// Pairs of who asked a name server and which address it was told, and addresses that a capture brings
    /// names of. For a few minutes each: a resolver for hundreds of hosts answers some fifty a second.
    pub resolved: usize,
    /// Look-ups that have led to a connection, to know the full name behind the next. A cluster of 300
    /// nodes has 45,000.
    pub dials: usize,
    /// Ports remembered as those of a node.
    pub ports: usize,
    /// Nodes remembered with what is known of them.
    pub nodes: usize,
    /// Pairs of nodes remembered with how they stand to each other: as many as a full mesh of 180 nodes
    /// has.
    pub pairs: usize,
    /// Entries of each list of a `cluster` event: one line is to stay readable.
    pub cluster_rows: usize,
    /// Problems remembered, so that a repeat is counted and not told again.
    pub incidents: usize,
    /// Findings that one rule tells within an hour; further ones are counted. Nobody reads more, and an
    /// outage of a cluster of a hundred nodes has fewer.
    pub findings: u64,
    /// Candidate cookies: each digest is tested against each.
    pub cookies: usize,
    /// Bytes of a file of cookies: room for that many of the usual 20 characters, with labels.
    pub cookie_file: u64,
    /// Anomalies told one by one for one kind; further ones are counted.
    pub anomalies: u64,
    /// Bytes of events that wait for a slow reader while live. Ten seconds of a flood of 20,000 short
    /// sessions a second would be 200 MB; findings, which are few, outlive the rest.
    pub unread: usize,
    /// The table in which IP fragments wait.
    pub fragments: DefragLimits,
    /// The packets at hand for files of evidence.
    pub evidence: EvidenceLimits,
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
        }
    }
}

/// Keeps the last `most` of what comes.
pub(crate) fn remember<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}

/// Tags, labels and session headers read between one link header and its IP datagram. Three are
/// rare in honest traffic; a frame made of nothing but tags must end somewhere.
pub const LINK_TAGS: usize = 8;

/// Tunnels opened, one in the other. A container network over a provider's tunnel has two.
pub const TUNNELS: usize = 4;

/// Bounds of the table in which IP fragments wait for one another.
#[derive(Clone, Copy, Debug)]
pub struct DefragLimits {
    /// Datagrams waiting at once. Arbitrary: the bytes bind first unless the fragments are tiny.
    pub datagrams: usize,
    /// Bytes held for all of them, bookkeeping included. What Linux allows itself by default
    /// (`ipfrag_high_thresh`, 4 MiB).
    pub bytes: usize,
    /// Pieces of one datagram. One of 65,535 bytes has 119 over the smallest common MTU of 576.
    pub pieces: usize,
    /// Time on the capture's clock from the first fragment to the last. What Linux waits for IPv4
    /// (`ipfrag_time`, 30 s).
    pub age: Duration,
}

impl Default for DefragLimits {
    fn default() -> Self {
        Self { datagrams: 1024, bytes: 4 << 20, pieces: 256, age: Duration::from_secs(30) }
    }
}

/// Bounds of the packets that are kept for files of evidence, and of those files.
#[derive(Clone, Copy, Debug)]
pub struct EvidenceLimits {
    /// Bytes of packets kept, bookkeeping included: some 10,000 failed dials of a dozen small packets
    /// each, or 500 connections with all that may be kept of one.
    pub bytes: usize,
    /// Bytes of packets that opened connections of which nobody knows yet what they carry, bookkeeping
    /// included: as many as there are places for such connections, with two small packets each.
    pub pending_connections: usize,
    /// Bytes of answers of name servers that may be behind a connection, bookkeeping included.
    pub names: usize,
    /// First packets kept of a connection. A dial has about twenty: the handshakes of TCP and of the
    /// distribution, acknowledgements, and the close.
    pub first_frames: usize,
    /// Bytes of them, so that the longest handshakes fit.
    pub first_bytes: usize,
    /// Last packets kept of a connection that has more: what led to its end, or a few rounds of ticks.
    pub last_frames: usize,
    /// Bytes of them.
    pub last_bytes: usize,
    /// Bytes kept of a packet. A handshake message is shorter; offload hands up packets of 64 KiB.
    pub frame: usize,
    /// Files in one run. Nobody reads more, and a run may last for months.
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
