//! Buffer of the first and last packets of each tracked connection.
//!
//! The first packets of a connection are kept, because a failed attempt has only few packets and a longer
//! connection began with its handshake; the last packets are in a ring buffer. A connection is tracked only
//! after its first packets, so frames that open connections are kept in a ring buffer of their own until then.
//! The bytes of all buffers are bounded. The CLOCK algorithm evicts a connection that has had no packet for long,
//! which is an approximation of least recently used.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{EvidenceCase, EvidencePacket};
use crate::capture::{Frame, LinkType};
use crate::decode::Endpoint;
use crate::flow::FlowId;
use crate::limits::EvidenceLimits;
use crate::packet::FrameRef;
use crate::record::Finding;
use crate::time::Timestamp;

/// When a frame can become evidence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relevance {
    /// Its connection is tracked, or may be from this frame on.
    Now,
    /// It opens or closes a connection that may be tracked later.
    Later,
}

/// All buffered packets, by connection.
#[derive(Debug)]
pub(crate) struct RecentPackets {
    limits: EvidenceLimits,
    /// Number of frames staged so far, which is the position of each in the order of arrival.
    serial: u64,
    /// The frame that is being processed, if it can become evidence.
    staged: Option<(RetainedFrame, Relevance)>,
    pending: OpeningFrames,
    /// DNS responses in order of arrival.
    dns_responses: VecDeque<DnsResponse>,
    dns_bytes: usize,
    connections: Vec<Option<ConnectionPackets>>,
    free: Vec<usize>,
    by_flow: HashMap<FlowId, usize, RandomState>,
    /// Index of the connection that the next eviction examines first.
    clock_hand: usize,
    bytes: usize,
}

/// A copy of a frame, truncated to the limit.
#[derive(Debug)]
struct RetainedFrame {
    serial: u64,
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: Box<[u8]>,
}

/// A DNS response and the addresses in it.
#[derive(Debug)]
struct DnsResponse {
    retained: RetainedFrame,
    /// Host that sent the query; `None` for multicast DNS, which all hosts receive.
    client: Option<IpAddr>,
    ips: Vec<IpAddr>,
}

/// First and last packets of one connection.
#[derive(Debug)]
struct ConnectionPackets {
    flow: FlowId,
    ends: [Endpoint; 2],
    first: Vec<RetainedFrame>,
    first_bytes: usize,
    last: VecDeque<RetainedFrame>,
    last_bytes: usize,
    /// Number of packets discarded between the first and the last ones.
    left_out: u64,
    /// Least and greatest of its frames, with which a search skips most connections.
    range: (FrameRef, FrameRef),
    /// Set when a packet arrives, cleared when an eviction examines the connection.
    used: bool,
}

/// Frames that opened connections which are not tracked yet, in order of arrival.
#[derive(Debug, Default)]
struct OpeningFrames {
    /// A frame that was taken leaves `None`.
    frames: VecDeque<Option<RetainedFrame>>,
    /// Position of the first of `frames`, counted from the first frame ever pushed.
    front: u64,
    positions: HashMap<FrameRef, u64, RandomState>,
    bytes: usize,
}

impl RecentPackets {
    pub(crate) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            serial: 0,
            staged: None,
            pending: OpeningFrames::default(),
            dns_responses: VecDeque::new(),
            dns_bytes: 0,
            connections: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::default(),
            clock_hand: 0,
            bytes: 0,
        }
    }

    /// Stages the frame that is being processed. The frame before it, if no connection claimed it, is kept as an
    /// opening frame or discarded.
    pub(crate) fn stage(&mut self, frame: &Frame<'_>, relevance: Relevance) {
        if let Some((retained, Relevance::Later)) = self.staged.take() {
            self.pending.push(retained, self.limits.pending_connections);
        }
        self.serial += 1;
        let bytes = frame.bytes.get(..self.limits.frame).unwrap_or(frame.bytes);
        let retained = RetainedFrame {
            serial: self.serial,
            id: frame.id,
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            wire_len: frame.wire_len,
            bytes: bytes.into(),
        };
        self.staged = Some((retained, relevance));
    }

    /// A new connection uses the identifier `flow`.
    pub(crate) fn begin(&mut self, flow: FlowId) {
        self.by_flow.remove(&flow);
    }

    /// Adds a frame, which is staged or among the opening frames, to the connection `flow`.
    pub(crate) fn attach(&mut self, flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) {
        let retained = match self.staged.take_if(|(retained, _)| retained.id == frame) {
            Some((retained, _)) => Some(retained),
            None => self.pending.take(frame),
        };
        let Some(retained) = retained else { return };
        let slot = match self.by_flow.get(&flow) {
            Some(slot) => *slot,
            None => self.insert(ConnectionPackets::new(flow, frame, ends)),
        };
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        let (taken, dropped) = connection.take(retained, &self.limits);
        self.bytes = (self.bytes + taken).saturating_sub(dropped);
        while self.bytes > self.limits.bytes && self.evict() {}
    }

    /// Adds the staged frame as a DNS response.
    pub(crate) fn attach_dns_response(&mut self, client: Option<IpAddr>, ips: Vec<IpAddr>) {
        let Some((retained, _)) = self.staged.take() else { return };
        let answer = DnsResponse { retained, client, ips };
        self.dns_bytes += answer.bytes();
        self.dns_responses.push_back(answer);
        while self.dns_bytes > self.limits.names {
            let Some(evicted) = self.dns_responses.pop_front() else { break };
            self.dns_bytes -= evicted.bytes();
        }
    }

    /// The endpoints of the connections that contain one of the frames `wanted`, which are sorted.
    pub(super) fn endpoints_of(&self, wanted: &[FrameRef]) -> Vec<Endpoint> {
        let known = self.connections.iter().flatten().filter(|it| it.contains_any(wanted));
        known.flat_map(|connection| connection.ends).collect()
    }

    fn insert(&mut self, connection: ConnectionPackets) -> usize {
        let flow = connection.flow;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Some(entry) = self.connections.get_mut(slot) {
            *entry = Some(connection);
            self.bytes += CONNECTION_OVERHEAD;
        }
        self.by_flow.insert(flow, slot);
        slot
    }

    /// Discards one connection; false if there is none.
    fn evict(&mut self) -> bool {
        // Two rounds suffice, because the first clears the mark of every connection.
        for _ in 0..self.connections.len().saturating_mul(2) {
            let clock_hand = self.clock_hand;
            self.clock_hand = (clock_hand + 1) % self.connections.len().max(1);
            let Some(entry) = self.connections.get_mut(clock_hand) else { return false };
            if entry.as_mut().is_some_and(|it| !std::mem::take(&mut it.used)) {
                let Some(evicted) = entry.take() else { return false };
                self.free.push(clock_hand);
                if self.by_flow.get(&evicted.flow) == Some(&clock_hand) {
                    self.by_flow.remove(&evicted.flow);
                }
                self.bytes = self.bytes.saturating_sub(evicted.bytes());
                return true;
            }
        }
        false
    }

    /// The case with all buffered packets of the connections that contain one of the frames `wanted`, which are
    /// sorted.
    pub(super) fn case<'a>(
        &'a self,
        at: Timestamp,
        finding: &'a Finding,
        wanted: &[FrameRef],
    ) -> EvidenceCase<'a> {
        let (mut retained, mut ends, mut left_out) = (Vec::new(), Vec::new(), 0);
        for connection in self.connections.iter().flatten() {
            if connection.contains_any(wanted) {
                retained.extend(connection.frames());
                ends.push(connection.ends);
                left_out += connection.left_out;
            }
        }
        let answers = self.dns_responses.iter().rev().filter(|answer| answer.is_about(&ends));
        retained.extend(answers.take(MAX_DNS_RESPONSES).map(|answer| &answer.retained));
        retained.sort_unstable_by_key(|retained| retained.serial);
        let is_buffered = |frame: FrameRef| retained.iter().any(|retained| retained.id == frame);
        let missing = finding.evidence.iter().filter(|it| !is_buffered(it.frame)).count();
        let packets = retained
            .iter()
            .map(|retained| EvidencePacket {
                frame: retained.frame(),
                shows: finding.evidence.iter().filter(|it| it.frame == retained.id).collect(),
            })
            .collect();
        EvidenceCase { at, finding, packets, missing, left_out, is_update: false }
    }
}

impl RetainedFrame {
    fn bytes(&self) -> usize {
        self.bytes.len() + FRAME_OVERHEAD
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            id: self.id,
            at: self.at,
            link: self.link,
            interface: self.interface,
            wire_len: self.wire_len,
            bytes: &self.bytes,
            comments: &[],
        }
    }
}

impl DnsResponse {
    fn bytes(&self) -> usize {
        self.retained.bytes() + self.ips.len() * size_of::<IpAddr>()
    }

    /// Whether one of two endpoints received the address of the other, or the response that a name has no address.
    fn is_about(&self, ends: &[[Endpoint; 2]]) -> bool {
        let resolved = |client: Endpoint, peer: Endpoint| {
            self.client.is_none_or(|ip| ip == client.ip)
                && (self.ips.is_empty() || self.ips.contains(&peer.ip))
        };
        ends.iter().any(|[one, other]| resolved(*one, *other) || resolved(*other, *one))
    }
}

impl ConnectionPackets {
    const fn new(flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) -> Self {
        Self {
            flow,
            ends,
            first: Vec::new(),
            first_bytes: 0,
            last: VecDeque::new(),
            last_bytes: 0,
            left_out: 0,
            range: (frame, frame),
            used: true,
        }
    }

    /// Adds a frame; returns the number of bytes added and the number discarded.
    fn take(&mut self, retained: RetainedFrame, limits: &EvidenceLimits) -> (usize, usize) {
        self.used = true;
        self.range = (self.range.0.min(retained.id), self.range.1.max(retained.id));
        let bytes = retained.bytes();
        let is_first = self.last.is_empty()
            && self.first.len() < limits.first_frames
            && self.first_bytes + bytes <= limits.first_bytes;
        if is_first {
            self.first_bytes += bytes;
            self.first.push(retained);
            return (bytes, 0);
        }
        self.last_bytes += bytes;
        self.last.push_back(retained);
        let mut dropped = 0;
        while self.last.len() > limits.last_frames
            || (self.last_bytes > limits.last_bytes && self.last.len() > 1)
        {
            let Some(evicted) = self.last.pop_front() else { break };
            self.left_out += 1;
            self.last_bytes -= evicted.bytes();
            dropped += evicted.bytes();
        }
        (bytes, dropped)
    }

    fn bytes(&self) -> usize {
        self.first_bytes + self.last_bytes + CONNECTION_OVERHEAD
    }

    fn frames(&self) -> impl Iterator<Item = &RetainedFrame> {
        self.first.iter().chain(&self.last)
    }

    /// Whether it contains one of the frames `wanted`, which are sorted.
    fn contains_any(&self, wanted: &[FrameRef]) -> bool {
        let (least, greatest) = self.range;
        let from = wanted.partition_point(|frame| *frame < least);
        let is_in_range = wanted.get(from).is_some_and(|frame| *frame <= greatest);
        is_in_range && self.frames().any(|retained| wanted.binary_search(&retained.id).is_ok())
    }
}

impl OpeningFrames {
    fn push(&mut self, retained: RetainedFrame, most: usize) {
        let position = self.front + self.frames.len() as u64;
        self.bytes += retained.bytes();
        self.positions.insert(retained.id, position);
        self.frames.push_back(Some(retained));
        while self.bytes > most || matches!(self.frames.front(), Some(None)) {
            let Some(front) = self.frames.pop_front() else { break };
            self.front += 1;
            if let Some(evicted) = front {
                self.bytes -= evicted.bytes();
                self.positions.remove(&evicted.id);
            }
        }
    }

    fn take(&mut self, frame: FrameRef) -> Option<RetainedFrame> {
        let position = self.positions.remove(&frame)?;
        let index = usize::try_from(position.checked_sub(self.front)?).ok()?;
        let retained = self.frames.get_mut(index)?.take()?;
        self.bytes -= retained.bytes();
        Some(retained)
    }
}

/// Most DNS responses in one case; the latest are used.
const MAX_DNS_RESPONSES: usize = 16;

/// Approximate memory of a frame beside its bytes.
const FRAME_OVERHEAD: usize = 128;

/// Approximate memory of a connection beside its frames.
const CONNECTION_OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, FlowTable};

    /// Identifiers as the flow table assigns them.
    fn flows(count: u16) -> Vec<FlowId> {
        let mut table = FlowTable::new(count.into());
        let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port };
        (0..count).map(|port| table.insert(FlowKey::new(end(1), end(port)).0, ()).0).collect()
    }

    const ENDS: [Endpoint; 2] = [
        Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port: 1 },
        Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port: 2 },
    ];

    fn id(number: u64) -> FrameRef {
        FrameRef { input: 0, number }
    }

    fn frame(number: u64, bytes: &[u8]) -> Frame<'_> {
        Frame {
            id: id(number),
            at: Timestamp(number),
            link: LinkType::ETHERNET,
            interface: None,
            wire_len: 9999,
            bytes,
            comments: &[],
        }
    }

    fn limits() -> EvidenceLimits {
        EvidenceLimits { first_frames: 2, last_frames: 3, frame: 100, ..EvidenceLimits::default() }
    }

    impl RecentPackets {
        fn follow(&mut self, flow: FlowId, number: u64, bytes: usize) {
            self.stage(&frame(number, &vec![7; bytes]), Relevance::Now);
            self.attach(flow, id(number), ENDS);
        }

        fn numbers(&self, wanted: u64) -> Vec<u64> {
            let connections = self.connections.iter().flatten();
            let mut with = connections.filter(|it| it.contains_any(&[id(wanted)]));
            let one = with.next().into_iter().flat_map(ConnectionPackets::frames);
            one.map(|retained| retained.id.number).collect()
        }
    }

    #[test]
    fn the_first_and_last_packets_of_a_connection_are_kept_and_truncated() {
        let mut recent = RecentPackets::new(limits());
        let flow = flows(1)[0];
        (1..=9).for_each(|number| recent.follow(flow, number, 500));
        assert_eq!(recent.numbers(1), [1, 2, 7, 8, 9]);
        let connection = recent.connections[0].as_ref().unwrap();
        assert_eq!(connection.left_out, 4);
        assert!(
            connection
                .frames()
                .all(|retained| retained.bytes.len() == 100 && retained.wire_len == 9999)
        );
        assert_eq!(recent.bytes, connection.bytes());
    }

    #[test]
    fn bytes_are_bounded_and_active_connections_are_kept() {
        let limits = EvidenceLimits { bytes: 20 * (CONNECTION_OVERHEAD + 400), ..limits() };
        let mut recent = RecentPackets::new(limits);
        let flows = flows(500);
        for (number, flow) in (1_u64..).zip(&flows[1..]) {
            recent.follow(*flow, number * 2, 100);
            recent.follow(flows[0], number * 2 + 1, 10);
            assert!(recent.bytes <= limits.bytes, "{}", recent.bytes);
        }
        assert_eq!(recent.numbers(3)[..2], [3, 5], "the one in use has its start");
        assert!(recent.numbers(2).is_empty(), "an old one is gone");
        assert!(!recent.numbers(2 * 499).is_empty(), "the last one is there");
        let bytes: usize = recent.connections.iter().flatten().map(ConnectionPackets::bytes).sum();
        assert_eq!(bytes, recent.bytes);
        assert!(recent.connections.len() < 60, "positions are used again");
    }

    #[test]
    fn a_connection_that_is_tracked_late_gets_the_packets_that_opened_it() {
        let mut recent = RecentPackets::new(limits());
        for number in 1..=3 {
            recent.stage(&frame(number, b"syn"), Relevance::Later);
        }
        recent.stage(&frame(4, b"name"), Relevance::Now);
        let flow = flows(1)[0];
        recent.begin(flow);
        for number in [1, 2, 4] {
            recent.attach(flow, id(number), ENDS);
        }
        assert_eq!(recent.numbers(4), [1, 2, 4]);
        // The next frame replaces the staged one; a frame that was not claimed and opened nothing is discarded.
        recent.stage(&frame(5, b"junk"), Relevance::Now);
        recent.stage(&frame(6, b"junk"), Relevance::Now);
        assert_eq!(recent.pending.positions.len(), 1, "the third one is still buffered");
    }

    #[test]
    fn packets_that_open_connections_are_buffered_within_a_bound() {
        let limits = EvidenceLimits { pending_connections: 10 * (FRAME_OVERHEAD + 3), ..limits() };
        let mut recent = RecentPackets::new(limits);
        for number in 1..=1000 {
            recent.stage(&frame(number, b"syn"), Relevance::Later);
            assert!(recent.pending.bytes <= limits.pending_connections);
            assert_eq!(recent.pending.positions.len(), recent.pending.frames.len());
        }
        assert_eq!(recent.pending.frames.len(), 10);
        let flow = flows(1)[0];
        recent.attach(flow, id(1), ENDS);
        recent.attach(flow, id(999), ENDS);
        assert_eq!(recent.numbers(999), [999]);
    }

    #[test]
    fn reused_ports_are_another_connection() {
        let mut recent = RecentPackets::new(limits());
        let flow = flows(1)[0];
        recent.follow(flow, 1, 10);
        recent.begin(flow);
        recent.follow(flow, 2, 10);
        assert_eq!((recent.numbers(1), recent.numbers(2)), (vec![1], vec![2]));
    }
}
