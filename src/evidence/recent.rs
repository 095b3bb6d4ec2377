//! The most recent packets of each connection that is followed, within a bound.
//!
//! The first packets of a connection are kept, since a failed connection is a few packets long, and the handshake
//! is at the start of any other; the last ones go through a ring buffer. A connection may be followed later than at
//! its first packet, so packets that open connections wait in a ring buffer of their own. The bytes of all packets
//! are bounded: the connection that was unused for longest, approximately, is evicted.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{CasePacket, EvidenceCase};
use crate::capture::{Frame, LinkType};
use crate::decode::Endpoint;
use crate::flow::FlowId;
use crate::limits::EvidenceLimits;
use crate::packet::FrameRef;
use crate::record::Finding;
use crate::time::Timestamp;

/// When a frame may become relevant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relevance {
    /// Its connection is followed, or may be with this frame.
    Now,
    /// It opens or closes a connection that may be followed later.
    Later,
}

/// The packets in memory.
#[derive(Debug)]
pub(crate) struct RecentPackets {
    limits: EvidenceLimits,
    /// Number of frames kept so far, which gives their order.
    serial: u64,
    /// The frame that is being processed, if it may be relevant.
    staged: Option<(KeptFrame, Relevance)>,
    pending: PendingFrames,
    /// Answers of name servers.
    names: VecDeque<NameAnswer>,
    names_bytes: usize,
    connections: Vec<Option<KeptConnection>>,
    free: Vec<usize>,
    by_flow: HashMap<FlowId, usize, RandomState>,
    /// The next connection that an eviction looks at.
    hand: usize,
    bytes: usize,
}

/// A copy of a frame, which outlives its buffer.
#[derive(Debug)]
struct KeptFrame {
    serial: u64,
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: Box<[u8]>,
}

/// An answer of a name server.
#[derive(Debug)]
struct NameAnswer {
    kept: KeptFrame,
    /// The address of the client; `None` if the answer went to all.
    client: Option<IpAddr>,
    ips: Vec<IpAddr>,
}

/// The packets of one connection.
#[derive(Debug)]
struct KeptConnection {
    flow: FlowId,
    ends: [Endpoint; 2],
    first: Vec<KeptFrame>,
    first_bytes: usize,
    last: VecDeque<KeptFrame>,
    last_bytes: usize,
    /// Number of packets dropped between the first and the last ones.
    left_out: u64,
    /// Range of its frames, which rules most connections out in the search for some frames.
    range: (FrameRef, FrameRef),
    /// Set by use, cleared by an eviction that passes.
    used: bool,
}

/// Frames that opened connections which are not followed yet, in the order of their arrival.
#[derive(Debug, Default)]
struct PendingFrames {
    /// An entry that was taken is `None`.
    frames: VecDeque<Option<KeptFrame>>,
    /// Number of the first entry of `frames`, counted from the start of the run.
    front: u64,
    places: HashMap<FrameRef, u64, RandomState>,
    bytes: usize,
}

impl RecentPackets {
    pub(crate) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            serial: 0,
            staged: None,
            pending: PendingFrames::default(),
            names: VecDeque::new(),
            names_bytes: 0,
            connections: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::default(),
            hand: 0,
            bytes: 0,
        }
    }

    /// Copies the frame that is being processed. The frame before, if no connection took it, is kept for later or
    /// dropped.
    pub(crate) fn stage(&mut self, frame: &Frame<'_>, relevance: Relevance) {
        if let Some((kept, Relevance::Later)) = self.staged.take() {
            self.pending.push(kept, self.limits.pending_connections);
        }
        self.serial += 1;
        let bytes = frame.bytes.get(..self.limits.frame).unwrap_or(frame.bytes);
        let kept = KeptFrame {
            serial: self.serial,
            id: frame.id,
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            wire_len: frame.wire_len,
            bytes: bytes.into(),
        };
        self.staged = Some((kept, relevance));
    }

    /// Forgets that an earlier connection had the same identifier.
    pub(crate) fn begin(&mut self, flow: FlowId) {
        self.by_flow.remove(&flow);
    }

    /// Adds a frame to the connection at `flow`: the current one, or one that waits.
    pub(crate) fn attach(&mut self, flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) {
        let kept = match self.staged.take_if(|(kept, _)| kept.id == frame) {
            Some((kept, _)) => Some(kept),
            None => self.pending.take(frame),
        };
        let Some(kept) = kept else { return };
        let place = match self.by_flow.get(&flow) {
            Some(place) => *place,
            None => self.enter(KeptConnection::new(flow, frame, ends)),
        };
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        let (taken, let_go) = connection.take(kept, &self.limits);
        self.bytes = (self.bytes + taken).saturating_sub(let_go);
        while self.bytes > self.limits.bytes && self.evict() {}
    }

    /// Keeps the current frame as an answer of a name server.
    pub(crate) fn note_names(&mut self, client: Option<IpAddr>, ips: Vec<IpAddr>) {
        let Some((kept, _)) = self.staged.take() else { return };
        let answer = NameAnswer { kept, client, ips };
        self.names_bytes += answer.bytes();
        self.names.push_back(answer);
        while self.names_bytes > self.limits.names {
            let Some(gone) = self.names.pop_front() else { break };
            self.names_bytes -= gone.bytes();
        }
    }

    /// The endpoints of the connections that have one of the `wanted` frames, which are sorted.
    pub(super) fn ends_of(&self, wanted: &[FrameRef]) -> Vec<Endpoint> {
        let known = self.connections.iter().flatten().filter(|it| it.has_one_of(wanted));
        known.flat_map(|connection| connection.ends).collect()
    }

    fn enter(&mut self, connection: KeptConnection) -> usize {
        let flow = connection.flow;
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Some(entry) = self.connections.get_mut(place) {
            *entry = Some(connection);
            self.bytes += CONNECTION_OVERHEAD;
        }
        self.by_flow.insert(flow, place);
        place
    }

    /// Evicts one connection; `false` if there is none.
    fn evict(&mut self) -> bool {
        // At most two rounds: the first clears every mark.
        for _ in 0..self.connections.len().saturating_mul(2) {
            let hand = self.hand;
            self.hand = (hand + 1) % self.connections.len().max(1);
            let Some(entry) = self.connections.get_mut(hand) else { return false };
            if entry.as_mut().is_some_and(|it| !std::mem::take(&mut it.used)) {
                let Some(gone) = entry.take() else { return false };
                self.free.push(hand);
                if self.by_flow.get(&gone.flow) == Some(&hand) {
                    self.by_flow.remove(&gone.flow);
                }
                self.bytes = self.bytes.saturating_sub(gone.bytes());
                return true;
            }
        }
        false
    }

    /// The packets in memory of the connections that have one of the `wanted` frames, which are sorted.
    pub(super) fn case<'a>(
        &'a self,
        at: Timestamp,
        finding: &'a Finding,
        wanted: &[FrameRef],
    ) -> EvidenceCase<'a> {
        let (mut kept, mut ends, mut left_out) = (Vec::new(), Vec::new(), 0);
        for connection in self.connections.iter().flatten() {
            if connection.has_one_of(wanted) {
                kept.extend(connection.frames());
                ends.push(connection.ends);
                left_out += connection.left_out;
            }
        }
        let answers = self.names.iter().rev().filter(|answer| answer.is_about(&ends));
        kept.extend(answers.take(MOST_ANSWERS).map(|answer| &answer.kept));
        kept.sort_unstable_by_key(|kept| kept.serial);
        let is_there = |frame: FrameRef| kept.iter().any(|kept| kept.id == frame);
        let missing = finding.evidence.iter().filter(|it| !is_there(it.frame)).count();
        let packets = kept
            .iter()
            .map(|kept| CasePacket {
                frame: kept.frame(),
                shows: finding.evidence.iter().filter(|it| it.frame == kept.id).collect(),
            })
            .collect();
        EvidenceCase { at, finding, packets, missing, left_out, is_again: false }
    }
}

impl KeptFrame {
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

impl NameAnswer {
    fn bytes(&self) -> usize {
        self.kept.bytes() + self.ips.len() * size_of::<IpAddr>()
    }

    /// Whether the answer gave one of the endpoints the address of the other, or was that a name has no address.
    fn is_about(&self, ends: &[[Endpoint; 2]]) -> bool {
        let informs = |who: Endpoint, whom: Endpoint| {
            self.client.is_none_or(|client| client == who.ip)
                && (self.ips.is_empty() || self.ips.contains(&whom.ip))
        };
        ends.iter().any(|[one, other]| informs(*one, *other) || informs(*other, *one))
    }
}

impl KeptConnection {
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

    /// Adds a frame. Returns the bytes that were added, and those that were dropped for it.
    fn take(&mut self, kept: KeptFrame, limits: &EvidenceLimits) -> (usize, usize) {
        self.used = true;
        self.range = (self.range.0.min(kept.id), self.range.1.max(kept.id));
        let bytes = kept.bytes();
        let is_first = self.last.is_empty()
            && self.first.len() < limits.first_frames
            && self.first_bytes + bytes <= limits.first_bytes;
        if is_first {
            self.first_bytes += bytes;
            self.first.push(kept);
            return (bytes, 0);
        }
        self.last_bytes += bytes;
        self.last.push_back(kept);
        let mut let_go = 0;
        while self.last.len() > limits.last_frames
            || (self.last_bytes > limits.last_bytes && self.last.len() > 1)
        {
            let Some(gone) = self.last.pop_front() else { break };
            self.left_out += 1;
            self.last_bytes -= gone.bytes();
            let_go += gone.bytes();
        }
        (bytes, let_go)
    }

    fn bytes(&self) -> usize {
        self.first_bytes + self.last_bytes + CONNECTION_OVERHEAD
    }

    fn frames(&self) -> impl Iterator<Item = &KeptFrame> {
        self.first.iter().chain(&self.last)
    }

    /// Whether one of the `wanted` frames, which are sorted, belongs to this connection.
    fn has_one_of(&self, wanted: &[FrameRef]) -> bool {
        let (least, greatest) = self.range;
        let from = wanted.partition_point(|frame| *frame < least);
        let may_be = wanted.get(from).is_some_and(|frame| *frame <= greatest);
        may_be && self.frames().any(|kept| wanted.binary_search(&kept.id).is_ok())
    }
}

impl PendingFrames {
    fn push(&mut self, kept: KeptFrame, most: usize) {
        let place = self.front + self.frames.len() as u64;
        self.bytes += kept.bytes();
        self.places.insert(kept.id, place);
        self.frames.push_back(Some(kept));
        while self.bytes > most || matches!(self.frames.front(), Some(None)) {
            let Some(front) = self.frames.pop_front() else { break };
            self.front += 1;
            if let Some(gone) = front {
                self.bytes -= gone.bytes();
                self.places.remove(&gone.id);
            }
        }
    }

    fn take(&mut self, frame: FrameRef) -> Option<KeptFrame> {
        let place = self.places.remove(&frame)?;
        let index = usize::try_from(place.checked_sub(self.front)?).ok()?;
        let kept = self.frames.get_mut(index)?.take()?;
        self.bytes -= kept.bytes();
        Some(kept)
    }
}

/// Answers of name servers in one case, the most recent ones.
const MOST_ANSWERS: usize = 16;

/// Approximate memory of a frame beside its bytes.
const FRAME_OVERHEAD: usize = 128;

/// Approximate memory of a connection beside its frames.
const CONNECTION_OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, FlowTable};

    /// Identifiers as the table of connections assigns them.
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
            let mut with = connections.filter(|it| it.has_one_of(&[id(wanted)]));
            let one = with.next().into_iter().flat_map(KeptConnection::frames);
            one.map(|kept| kept.id.number).collect()
        }
    }

    #[test]
    fn the_first_and_the_last_packets_of_a_connection_are_kept_and_cut() {
        let mut recent = RecentPackets::new(limits());
        let flow = flows(1)[0];
        (1..=9).for_each(|number| recent.follow(flow, number, 500));
        assert_eq!(recent.numbers(1), [1, 2, 7, 8, 9]);
        let connection = recent.connections[0].as_ref().unwrap();
        assert_eq!(connection.left_out, 4);
        assert!(connection.frames().all(|kept| kept.bytes.len() == 100 && kept.wire_len == 9999));
        assert_eq!(recent.bytes, connection.bytes());
    }

    #[test]
    fn bytes_are_bounded_and_connections_in_use_are_kept() {
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
        let bytes: usize = recent.connections.iter().flatten().map(KeptConnection::bytes).sum();
        assert_eq!(bytes, recent.bytes);
        assert!(recent.connections.len() < 60, "places are used again");
    }

    #[test]
    fn a_connection_that_is_followed_late_has_the_packets_that_opened_it() {
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
        // The next frame decides about the one before: it is dropped if no connection took it and it opened none.
        recent.stage(&frame(5, b"junk"), Relevance::Now);
        recent.stage(&frame(6, b"junk"), Relevance::Now);
        assert_eq!(recent.pending.places.len(), 1, "the third one still waits");
    }

    #[test]
    fn packets_that_open_connections_wait_within_a_bound() {
        let limits = EvidenceLimits { pending_connections: 10 * (FRAME_OVERHEAD + 3), ..limits() };
        let mut recent = RecentPackets::new(limits);
        for number in 1..=1000 {
            recent.stage(&frame(number, b"syn"), Relevance::Later);
            assert!(recent.pending.bytes <= limits.pending_connections);
            assert_eq!(recent.pending.places.len(), recent.pending.frames.len());
        }
        assert_eq!(recent.pending.frames.len(), 10);
        let flow = flows(1)[0];
        recent.attach(flow, id(1), ENDS);
        recent.attach(flow, id(999), ENDS);
        assert_eq!(recent.numbers(999), [999]);
    }

    #[test]
    fn ports_that_are_used_again_are_another_connection() {
        let mut recent = RecentPackets::new(limits());
        let flow = flows(1)[0];
        recent.follow(flow, 1, 10);
        recent.begin(flow);
        recent.follow(flow, 2, 10);
        assert_eq!((recent.numbers(1), recent.numbers(2)), (vec![1], vec![2]));
    }
}
