//! What tests share that look at the stream of each direction of each TCP connection in a capture.

use std::collections::HashMap;
use std::path::Path;

use beamscope::capture::{CaptureFile, Item};
use beamscope::decode::{Decoded, Decoder, Endpoint, Segment, TcpFlags};
use beamscope::flow::FlowKey;
use beamscope::limits::Limits;
use beamscope::memory::MemoryBudget;
use beamscope::packet::PacketRef;
use beamscope::stream::{SegmentData, SeqNum, StreamChunk, StreamDirection, StreamEvent};

/// The streams of a capture.
pub(crate) struct Streams {
    /// In the order in which they began.
    pub(crate) connections: Vec<Connection>,
    /// The connection that a pair of ends has now.
    open: HashMap<FlowKey, usize>,
    budget: MemoryBudget,
    limits: Limits,
}

impl Default for Streams {
    fn default() -> Self {
        let limits = Limits::default();
        let budget = MemoryBudget::new(limits.held_total);
        Self { connections: Vec::new(), open: HashMap::new(), budget, limits }
    }
}

#[derive(Default)]
pub(crate) struct Connection {
    halves: HashMap<Endpoint, (StreamDirection, Option<SeqNum>)>,
    pub(crate) streams: HashMap<Endpoint, Stream>,
}

/// One direction of a connection up to its first hole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    /// Whether bytes are missing behind them.
    pub(crate) hole: bool,
    /// Whether a snaplen has cut them off. tshark goes on with the next segment without a remark, though
    /// the sequence numbers jump.
    pub(crate) cut: bool,
}

impl Streams {
    /// Those of a whole capture.
    pub(crate) fn read(path: &Path) -> Self {
        let mut streams = Self::default();
        let mut capture = CaptureFile::open(path, 0).unwrap();
        let mut decoder = Decoder::new(streams.limits.fragments);
        while let Some(item) = capture.next_item().unwrap() {
            let Item::Frame(frame) = item else { continue };
            if let Decoded::Tcp(segment) = decoder.decode(&frame) {
                streams.on_segment(&segment);
            }
        }
        streams.finish();
        streams
    }

    /// Takes a segment in; gives the number of its connection.
    pub(crate) fn on_segment(&mut self, segment: &Segment<'_>) -> usize {
        let key = segment.flow;
        let is_syn = segment.flags.has(TcpFlags::SYN);
        let isn = SeqNum(segment.seq);
        let known = self.open.get(&key).copied().filter(|&index| {
            let half = self.connections[index].halves.get(&segment.src());
            !is_syn || half.is_none_or(|(_, syn)| syn.is_none_or(|syn| syn == isn))
        });
        let index = known.unwrap_or(self.connections.len());
        if known.is_none() {
            self.connections.push(Connection::default());
            self.open.insert(key, index);
        }
        let connection = &mut self.connections[index];
        let packet = PacketRef { frame: segment.frame, at: segment.at };
        let new = || (StreamDirection::new(&self.budget), None);
        let (half, syn) = connection.halves.entry(segment.src()).or_insert_with(new);
        let stream = connection.streams.entry(segment.src()).or_default();
        if is_syn {
            *syn = Some(isn);
            half.begins_at(isn.plus(1));
        }
        stream.cut |= segment.missing > 0;
        if !segment.flags.has(TcpFlags::RST) && segment.payload.len() + segment.missing as usize > 0
        {
            let piece = SegmentData {
                seq: if is_syn { isn.plus(1) } else { isn },
                payload: segment.payload,
                missing: segment.missing,
                packet: &packet,
                ip_id: segment.ip_id,
            };
            half.push(piece, &self.limits, &mut |taken| stream.take(&taken));
        }
        if segment.flags.has(TcpFlags::ACK) {
            let (peer, _) = connection.halves.entry(segment.dst()).or_insert_with(new);
            peer.on_ack((SeqNum(segment.ack), segment.at), false, &self.limits);
        }
        index
    }

    /// Nothing more will come.
    pub(crate) fn finish(&mut self) {
        for connection in &mut self.connections {
            for (end, (half, _)) in &mut connection.halves {
                let stream = connection.streams.entry(*end).or_default();
                half.finish(&mut |taken| stream.take(&taken));
            }
        }
    }
}

impl Stream {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.hole {
            self.bytes.extend(bytes);
        }
    }

    /// For messages: what there is at `offset`.
    pub(crate) fn from(&self, offset: usize) -> String {
        let shown = &self.bytes[offset..self.bytes.len().min(offset + 16)];
        format!("{shown:02x?} of {}{}", self.bytes.len(), if self.hole { ", hole" } else { "" })
    }

    fn take(&mut self, taken: &StreamChunk<'_>) {
        match taken.event {
            StreamEvent::Data(bytes) => self.push(bytes),
            StreamEvent::Gap(_) => self.hole = true,
        }
    }
}
