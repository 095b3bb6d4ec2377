//! The last packets of each connection that is followed, within a bound.
//!
//! Of a connection, its first packets stay, since a failed dial is few packets long and a lasting one
//! began with its handshake; behind them the last ones go through a ring. What has not been followed yet
//! may be later on: packets that open connections wait in a ring of their own. The octets of all are
//! bounded, and the connection that was quiet for longest, or nearly so, makes room.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Case, Packet};
use crate::capture::{Frame, FrameRef, LinkType};
use crate::event::Finding;
use crate::flow::FlowId;
use crate::limits::EvidenceLimits;
use crate::time::Timestamp;

/// What a frame may be good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stake {
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
    staged: Option<(Kept, Stake)>,
    young: Young,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    by_flow: HashMap<FlowId, usize, RandomState>,
    /// Next connection that the search for room looks at.
    hand: usize,
    octets: usize,
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

/// Packets of one connection.
#[derive(Debug)]
struct Connection {
    flow: FlowId,
    first: Vec<Kept>,
    first_octets: usize,
    last: VecDeque<Kept>,
    last_octets: usize,
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
    octets: usize,
}

impl Recent {
    pub(crate) fn new(limits: EvidenceLimits) -> Self {
        Self {
            limits,
            serial: 0,
            staged: None,
            young: Young::default(),
            connections: Vec::new(),
            free: Vec::new(),
            by_flow: HashMap::default(),
            hand: 0,
            octets: 0,
        }
    }

    /// A frame goes into the pipeline; what was staged before and belonged to nobody is put off or let go.
    pub(crate) fn stage(&mut self, frame: &Frame<'_>, stake: Stake) {
        if let Some((kept, Stake::Later)) = self.staged.take() {
            self.young.push(kept, self.limits.young);
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
    pub(crate) fn attach(&mut self, flow: FlowId, frame: FrameRef) {
        let kept = match self.staged.take_if(|(kept, _)| kept.id == frame) {
            Some((kept, _)) => Some(kept),
            None => self.young.take(frame),
        };
        let Some(kept) = kept else { return };
        let place = match self.by_flow.get(&flow) {
            Some(place) => *place,
            None => self.enter(flow, frame),
        };
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        let (taken, let_go) = connection.take(kept, &self.limits);
        self.octets = (self.octets + taken).saturating_sub(let_go);
        while self.octets > self.limits.octets && self.evict() {}
    }

    fn enter(&mut self, flow: FlowId, frame: FrameRef) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Some(entry) = self.connections.get_mut(place) {
            *entry = Some(Connection::new(flow, frame));
            self.octets += CONNECTION_OVERHEAD;
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
                self.octets = self.octets.saturating_sub(gone.octets());
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
        let mut kept = Vec::new();
        let mut left_out = 0;
        for connection in self.connections.iter().flatten() {
            if connection.has_one_of(wanted) {
                kept.extend(connection.frames());
                left_out += connection.left_out;
            }
        }
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
        Case { at, finding, packets, missing, left_out }
    }
}

impl Kept {
    fn octets(&self) -> usize {
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
        }
    }
}

impl Connection {
    const fn new(flow: FlowId, frame: FrameRef) -> Self {
        Self {
            flow,
            first: Vec::new(),
            first_octets: 0,
            last: VecDeque::new(),
            last_octets: 0,
            left_out: 0,
            range: (frame, frame),
            used: true,
        }
    }

    /// Takes a frame in. Gives the octets that came and those that were let go for it.
    fn take(&mut self, kept: Kept, limits: &EvidenceLimits) -> (usize, usize) {
        self.used = true;
        self.range = (self.range.0.min(kept.id), self.range.1.max(kept.id));
        let octets = kept.octets();
        let is_first = self.last.is_empty()
            && self.first.len() < limits.first_frames
            && self.first_octets + octets <= limits.first_octets;
        if is_first {
            self.first_octets += octets;
            self.first.push(kept);
            return (octets, 0);
        }
        self.last_octets += octets;
        self.last.push_back(kept);
        let mut let_go = 0;
        while self.last.len() > limits.last_frames
            || (self.last_octets > limits.last_octets && self.last.len() > 1)
        {
            let Some(gone) = self.last.pop_front() else { break };
            self.left_out += 1;
            self.last_octets -= gone.octets();
            let_go += gone.octets();
        }
        (octets, let_go)
    }

    fn octets(&self) -> usize {
        self.first_octets + self.last_octets + CONNECTION_OVERHEAD
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
        self.octets += kept.octets();
        self.places.insert(kept.id, place);
        self.frames.push_back(Some(kept));
        while self.octets > most || matches!(self.frames.front(), Some(None)) {
            let Some(front) = self.frames.pop_front() else { break };
            self.front += 1;
            if let Some(gone) = front {
                self.octets -= gone.octets();
                self.places.remove(&gone.id);
            }
        }
    }

    fn take(&mut self, frame: FrameRef) -> Option<Kept> {
        let place = self.places.remove(&frame)?;
        let index = usize::try_from(place.checked_sub(self.front)?).ok()?;
        let kept = self.frames.get_mut(index)?.take()?;
        self.octets -= kept.octets();
        Some(kept)
    }
}

/// What a frame costs beside its octets, roughly.
const FRAME_OVERHEAD: usize = 96;

/// What a connection costs beside its frames, roughly.
const CONNECTION_OVERHEAD: usize = 256;
