//! The last packets of each connection that is followed, within a bound.
//!
//! Of a connection, its first packets stay, since a failed dial is few packets long and a lasting one
//! began with its handshake; behind them the last ones go through a ring. What has not been followed yet
//! may be later on: packets that open connections wait in a ring of their own. The bytes of all are
//! bounded, and the connection that was quiet for longest, or nearly so, makes room.

use std::collections::VecDeque;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Case, Packet};
use crate::capture::{Frame, LinkType};
use crate::decode::Endpoint;
use crate::flow::FlowId;
use crate::limits::EvidenceLimits;
use crate::packet::FrameRef;
use crate::record::Finding;
use crate::time::Timestamp;

/// What a frame may be good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Relevance {
    /// Its connection may be followed with this very frame, or is.
    Now,
    /// It opens or closes a connection that may be followed later.
    Later,
}

/// The packets at hand.
#[derive(Debug)]
pub(crate) struct Recent {
    limits: EvidenceLimits,
    /// Frames kept so far: the order in which they came.
    serial: u64,
    /// The frame that goes through the pipeline just now, where it has a stake.
    staged: Option<(Kept, Relevance)>,
    pending: Young,
    /// Answers of name servers, who was told, and which addresses.
    names: VecDeque<NameAnswer>,
    names_bytes: usize,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_flow: HashMap<FlowId, usize, RandomState>,
    /// Next connection that the search for room looks at.
    hand: usize,
    bytes: usize,
}

/// A frame that outlives its buffer.
#[derive(Debug)]
struct Kept {
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
    kept: Kept,
    /// Who asked; `None` where all hear the answer.
    client: Option<IpAddr>,
    ips: Vec<IpAddr>,
}

/// Packets of one connection.
#[derive(Debug)]
struct Connection {
    flow: FlowId,
    ends: [Endpoint; 2],
    first: Vec<Kept>,
    first_bytes: usize,
    last: VecDeque<Kept>,
    last_bytes: usize,
    /// Packets between the two that were let go.
    left_out: u64,
    /// Least and greatest of its frames, by which most are passed over in the search for some.
    range: (FrameRef, FrameRef),
    /// Set by use, cleared by the search for room.
    used: bool,
}

/// Frames that opened connections nobody knows yet, in the order in which they came.
#[derive(Debug, Default)]
struct Young {
    /// An entry that was taken has left its place empty.
    frames: VecDeque<Option<Kept>>,
    /// Number of the front of `frames`, counted from the first ever.
    front: u64,
    places: HashMap<FrameRef, u64, RandomState>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            serial: 0,
            staged: None,
            pending: Young::default(),
            names: VecDeque::new(),
            names_bytes: 0,
            connections: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::default(),
            hand: 0,
            bytes: 0,
        }
    }

    /// A frame goes into the pipeline; what was staged before and belonged to nobody is put off or let go.
    pub(crate) fn stage(&mut self, frame: &Frame<'_>, stake: Relevance) {
        if let Some((kept, Relevance::Later)) = self.staged.take() {
            self.pending.push(kept, self.limits.pending_connections);
        }
        self.serial += 1;
        let bytes = frame.bytes.get(..self.limits.frame).unwrap_or(frame.bytes);
        let kept = Kept {
            serial: self.serial,
            id: frame.id,
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            wire_len: frame.wire_len,
            bytes: bytes.into(),
        };
        self.staged = Some((kept, stake));
    }

    /// Another connection has begun at `flow`.
    pub(crate) fn begin(&mut self, flow: FlowId) {
        self.by_flow.remove(&flow);
    }

    /// A frame belongs to the connection at `flow`: the one that is staged, or one that waits.
    pub(crate) fn attach(&mut self, flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) {
        let kept = match self.staged.take_if(|(kept, _)| kept.id == frame) {
            Some((kept, _)) => Some(kept),
            None => self.pending.take(frame),
        };
        let Some(kept) = kept else { return };
        let place = match self.by_flow.get(&flow) {
            Some(place) => *place,
            None => self.enter(Connection::new(flow, frame, ends)),
        };
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        let (taken, let_go) = connection.take(kept, &self.limits);
        self.bytes = (self.bytes + taken).saturating_sub(let_go);
        while self.bytes > self.limits.bytes && self.evict() {}
    }

    /// The frame that is staged is an answer of a name server.
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

    /// The ends of the connections that have one of the frames that are `wanted`, which are in order.
    pub(super) fn ends_of(&self, wanted: &[FrameRef]) -> Vec<Endpoint> {
        let known = self.connections.iter().flatten().filter(|it| it.has_one_of(wanted));
        known.flat_map(|connection| connection.ends).collect()
    }

    fn enter(&mut self, connection: Connection) -> usize {
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

    /// Lets one connection go; false when there is none.
    fn evict(&mut self) -> bool {
        // Two rounds at the most: the first clears every mark that it does not find cleared.
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

    /// All that is at hand of the connections of the frames that are `wanted`, which are in order.
    pub(super) fn case<'a>(
        &'a self,
        at: Timestamp,
        finding: &'a Finding,
        wanted: &[FrameRef],
    ) -> Case<'a> {
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
            .map(|kept| Packet {
                frame: kept.frame(),
                shows: finding.evidence.iter().filter(|it| it.frame == kept.id).collect(),
            })
            .collect();
        Case { at, finding, packets, missing, left_out, is_again: false }
    }
}

impl Kept {
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

    /// Whether one of two ends was told the address of the other, or that a name has none.
    fn is_about(&self, ends: &[[Endpoint; 2]]) -> bool {
        let told = |who: Endpoint, whom: Endpoint| {
            self.client.is_none_or(|client| client == who.ip)
                && (self.ips.is_empty() || self.ips.contains(&whom.ip))
        };
        ends.iter().any(|[one, other]| told(*one, *other) || told(*other, *one))
    }
}

impl Connection {
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

    /// Takes a frame in. Gives the bytes that came and those that were let go for it.
    fn take(&mut self, kept: Kept, limits: &EvidenceLimits) -> (usize, usize) {
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

    fn frames(&self) -> impl Iterator<Item = &Kept> {
        self.first.iter().chain(&self.last)
    }

    /// Whether one of `wanted`, which are in order, is a frame of it.
    fn has_one_of(&self, wanted: &[FrameRef]) -> bool {
        let (least, greatest) = self.range;
        let from = wanted.partition_point(|frame| *frame < least);
        let may_be = wanted.get(from).is_some_and(|frame| *frame <= greatest);
        may_be && self.frames().any(|kept| wanted.binary_search(&kept.id).is_ok())
    }
}

impl Young {
    fn push(&mut self, kept: Kept, most: usize) {
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

    fn take(&mut self, frame: FrameRef) -> Option<Kept> {
        let place = self.places.remove(&frame)?;
        let index = usize::try_from(place.checked_sub(self.front)?).ok()?;
        let kept = self.frames.get_mut(index)?.take()?;
        self.bytes -= kept.bytes();
        Some(kept)
    }
}

/// Answers of name servers in one case: the latest.
const MOST_ANSWERS: usize = 16;

/// What a frame costs beside its bytes, roughly.
const FRAME_OVERHEAD: usize = 128;

/// What a connection costs beside its frames, roughly.
const CONNECTION_OVERHEAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{FlowKey, FlowTable};

    /// Identities as the table of connections gives them.
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

    impl Recent {
        fn follow(&mut self, flow: FlowId, number: u64, bytes: usize) {
            self.stage(&frame(number, &vec![7; bytes]), Relevance::Now);
            self.attach(flow, id(number), ENDS);
        }

        fn numbers(&self, wanted: u64) -> Vec<u64> {
            let connections = self.connections.iter().flatten();
            let mut with = connections.filter(|it| it.has_one_of(&[id(wanted)]));
            let one = with.next().into_iter().flat_map(Connection::frames);
            one.map(|kept| kept.id.number).collect()
        }
    }

    #[test]
    fn the_first_and_the_last_packets_of_a_connection_stay_and_are_cut() {
        let mut recent = Recent::new(limits());
        let flow = flows(1)[0];
        (1..=9).for_each(|number| recent.follow(flow, number, 500));
        assert_eq!(recent.numbers(1), [1, 2, 7, 8, 9]);
        let connection = recent.connections[0].as_ref().unwrap();
        assert_eq!(connection.left_out, 4);
        assert!(connection.frames().all(|kept| kept.bytes.len() == 100 && kept.wire_len == 9999));
        assert_eq!(recent.bytes, connection.bytes());
    }

    #[test]
    fn bytes_are_bounded_and_what_is_in_use_stays() {
        let limits = EvidenceLimits { bytes: 20 * (CONNECTION_OVERHEAD + 400), ..limits() };
        let mut recent = Recent::new(limits);
        let flows = flows(500);
        for (number, flow) in (1_u64..).zip(&flows[1..]) {
            recent.follow(*flow, number * 2, 100);
            recent.follow(flows[0], number * 2 + 1, 10);
            assert!(recent.bytes <= limits.bytes, "{}", recent.bytes);
        }
        assert_eq!(recent.numbers(3)[..2], [3, 5], "the one in use has its start");
        assert!(recent.numbers(2).is_empty(), "an old one is gone");
        assert!(!recent.numbers(2 * 499).is_empty(), "the last one is there");
        let bytes: usize = recent.connections.iter().flatten().map(Connection::bytes).sum();
        assert_eq!(bytes, recent.bytes);
        assert!(recent.connections.len() < 60, "places are used again");
    }

    #[test]
    fn a_connection_that_is_followed_late_gets_the_packets_that_opened_it() {
        let mut recent = Recent::new(limits());
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
        // The next frame settles what was staged; what nobody followed and opened nothing is let go.
        recent.stage(&frame(5, b"junk"), Relevance::Now);
        recent.stage(&frame(6, b"junk"), Relevance::Now);
        assert_eq!(recent.pending.places.len(), 1, "the third one still waits");
    }

    #[test]
    fn packets_that_open_connections_wait_within_a_bound() {
        let limits = EvidenceLimits { pending_connections: 10 * (FRAME_OVERHEAD + 3), ..limits() };
        let mut recent = Recent::new(limits);
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
        let mut recent = Recent::new(limits());
        let flow = flows(1)[0];
        recent.follow(flow, 1, 10);
        recent.begin(flow);
        recent.follow(flow, 2, 10);
        assert_eq!((recent.numbers(1), recent.numbers(2)), (vec![1], vec![2]));
    }
}
