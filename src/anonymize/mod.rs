//! A source with names, addresses and contents replaced.
//!
//! In: the items of a source. Out: the same items, frame by frame as long as before, in which nothing shows whose network
//! it is: names of nodes and hosts, addresses, ports, challenges and digests are replaced alike wherever they occur, and
//! contents are zero. Everything that the analysis rests on stays, so the result is judged as the original.
//!
//! A frame is read from its link header inwards (`packet`). Payload of TCP is replaced as a part of its stream
//! (`stream`): a frame waits until the message that it is a part of is complete, or for [`AnonymizeLimits::wait`].
//! What cannot be read is zero.
//!
//! ```text
//! frame -> headers replaced, payload zero -> queue -> payload filled in, checksums -> frame
//!                    |                                      ^
//!                    +-> bytes of a stream -> replacements --+
//! ```

mod dns;
mod edit;
mod frames;
mod messages;
mod packet;
mod pseudonyms;
mod stream;
mod sums;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::ControlFlow;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use self::packet::{Content, Envelope, FragmentKeyOf, FragmentOf, Hole, Rewritten, SegmentOf};
use self::pseudonyms::Pseudonyms;
use self::stream::{Context, StreamSide, StreamSigns};
use crate::capture::{Error, Frame, Interface, Item, LinkType, Progress, Receiver, Source};
use crate::decode::Endpoint;
use crate::limits::AnonymizeLimits;
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The replacements of a run, which several sources may use one after the other.
pub struct Replacements {
    names: Pseudonyms,
    epmd_ports: Vec<u16>,
    limits: AnonymizeLimits,
}

impl Replacements {
    /// Replacements with a new random key. The ports of EPMD, and those that `kept_ports` names, stay.
    pub fn new(
        epmd_ports: &[u16],
        kept_ports: impl IntoIterator<Item = u16>,
        limits: AnonymizeLimits,
    ) -> Self {
        let kept = epmd_ports.iter().copied().chain(kept_ports);
        Self { names: Pseudonyms::new(kept), epmd_ports: epmd_ports.to_vec(), limits }
    }

    /// Chooses all replacements anew, none of which is a name or an address that was seen so far.
    pub fn choose_anew(&mut self) {
        self.names.choose_anew();
    }
}

/// A source whose items are anonymised.
pub struct Anonymized<'r, S> {
    source: S,
    state: Anonymizer<'r>,
    /// Whether the receiver wanted no more.
    is_ended: bool,
}

impl<'r, S: Source> Anonymized<'r, S> {
    /// The items of `source` with these replacements.
    pub fn new(source: S, replacements: &'r mut Replacements) -> Self {
        Self { source, state: Anonymizer::new(replacements), is_ended: false }
    }
}

impl<S: Source> Source for Anonymized<'_, S> {
    fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
        let mut forward =
            Forward { state: &mut self.state, receiver, flow: ControlFlow::Continue(()) };
        let progress = self.source.pump(&mut forward)?;
        let mut flow = forward.flow;
        let progress = match progress {
            _ if flow.is_break() => progress,
            Progress::More => Progress::More,
            Progress::Idle(until) => {
                flow = self.state.give(until, false, receiver);
                let oldest = self.state.queue.front().map(|held| held.at);
                Progress::Idle(oldest.map_or(until, |at| at.min(until)))
            }
            Progress::End => {
                flow = self.state.give(Timestamp(u64::MAX), true, receiver);
                Progress::End
            }
        };
        self.is_ended |= flow.is_break();
        Ok(progress)
    }

    fn close(&mut self, receiver: &mut impl Receiver) {
        if !self.is_ended {
            let _ = self.state.give(Timestamp(u64::MAX), true, receiver);
        }
        let mut forward =
            Forward { state: &mut self.state, receiver, flow: ControlFlow::Continue(()) };
        self.source.close(&mut forward);
    }
}

/// Hands the items of the source on.
struct Forward<'f, 'r, R> {
    state: &'f mut Anonymizer<'r>,
    receiver: &'f mut R,
    flow: ControlFlow<()>,
}

impl<R: Receiver> Receiver for Forward<'_, '_, R> {
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        self.state.push(frame);
        self.flow = self.state.give(frame.at, false, self.receiver);
        self.flow
    }

    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        self.flow = match item {
            Item::Frame(frame) => return self.on_frame(&frame),
            Item::Names { input, names } => {
                let pseudonyms = &mut self.state.replacements.names;
                let new: Vec<(IpAddr, Box<[u8]>)> = names
                    .iter()
                    .map(|(ip, name)| (pseudonyms.ip(*ip), pseudonyms.name_of_host(name)))
                    .collect();
                self.receiver.on_item(Item::Names { input, names: &new })
            }
            // With the secrets, contents could be read.
            Item::KeyLog { .. } => ControlFlow::Continue(()),
            Item::Interface { input, index, interface } => {
                let name = interface.name.as_ref().map(|_| interface_name(input, index));
                let interface = Interface { name, ..interface.clone() };
                self.receiver.on_item(Item::Interface { input, index, interface: &interface })
            }
            other => self.receiver.on_item(other),
        };
        self.flow
    }
}

/// What an interface is called in place of its name.
fn interface_name(input: u16, index: Option<u32>) -> String {
    match index {
        Some(index) => format!("interface {}", u64::from(index) + 1),
        None => format!("interface {}", u32::from(input) + 1),
    }
}

/// The state of a source that is anonymised.
struct Anonymizer<'r> {
    replacements: &'r mut Replacements,
    /// Frames that wait for the rest of a message, in their order.
    queue: VecDeque<WaitingFrame>,
    queued_bytes: usize,
    connections: HashMap<u64, ReplacedConnection, RandomState>,
    by_ends: HashMap<[Endpoint; 2], u64, RandomState>,
    /// Connections in the order in which they began, and the bytes that they hold.
    order: VecDeque<u64>,
    stream_bytes: usize,
    datagrams: HashMap<u64, FragmentedDatagram, RandomState>,
    incomplete: HashMap<FragmentKeyOf, u64, RandomState>,
    /// Incomplete datagrams in the order in which they began.
    incomplete_order: VecDeque<(FragmentKeyOf, u64)>,
    next_id: u64,
}

/// A frame with its new headers.
struct WaitingFrame {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    packet: Packet,
}

/// Bytes with new headers and places that are still zero.
struct Packet {
    rewritten: Rewritten,
    fills: Vec<Fill>,
}

/// What fills a hole of a packet.
struct Fill {
    at: usize,
    len: usize,
    from: FillSource,
}

/// Where the bytes for a hole come from.
#[derive(Clone, Copy)]
enum FillSource {
    /// A connection, one of its sides, and an offset in the stream.
    Stream(u64, usize, u64),
    /// A datagram, and an offset in it.
    Datagram(u64, usize),
}

/// A TCP connection whose bytes are replaced.
struct ReplacedConnection {
    ends: [Endpoint; 2],
    sides: [StreamSide; 2],
    /// The side that has sent a request to EPMD, and the first byte of the last one.
    epmd_client: Option<usize>,
    request: u8,
}

/// A datagram that came in fragments.
struct FragmentedDatagram {
    key: FragmentKeyOf,
    envelope: Envelope,
    protocol: u8,
    pieces: BTreeMap<usize, Vec<u8>>,
    size: Option<usize>,
    /// The whole of it, once it is complete.
    packet: Option<Packet>,
    /// Whether its holes are filled.
    is_filled: bool,
    /// Frames in the queue that have a fragment of it.
    frames: usize,
}

impl<'r> Anonymizer<'r> {
    fn new(replacements: &'r mut Replacements) -> Self {
        Self {
            replacements,
            queue: VecDeque::new(),
            queued_bytes: 0,
            connections: HashMap::default(),
            by_ends: HashMap::default(),
            order: VecDeque::new(),
            stream_bytes: 0,
            datagrams: HashMap::default(),
            incomplete: HashMap::default(),
            incomplete_order: VecDeque::new(),
            next_id: 0,
        }
    }

    /// Takes a frame into the queue.
    fn push(&mut self, frame: &Frame<'_>) {
        let mut rewritten = packet::frame(frame, &mut self.replacements.names);
        let holes = std::mem::take(&mut rewritten.holes);
        let fills = self.fills(&holes, frame.bytes, frame.at);
        self.queued_bytes += frame.bytes.len();
        self.queue.push_back(WaitingFrame {
            id: frame.id,
            at: frame.at,
            link: rewritten.link.unwrap_or(frame.link),
            interface: frame.interface,
            wire_len: frame.wire_len,
            packet: Packet { rewritten, fills },
        });
    }

    /// What fills these holes of a packet, whose original bytes are taken into their streams.
    fn fills(&mut self, holes: &[Hole], original: &[u8], at: Timestamp) -> Vec<Fill> {
        let mut fills = Vec::with_capacity(holes.len());
        for hole in holes {
            let bytes =
                original.get(hole.at..).and_then(|it| it.get(..hole.len)).unwrap_or_default();
            let from = match &hole.content {
                Content::Segment(segment) => self.segment(segment, bytes),
                Content::Fragment(fragment) => Some(self.fragment(fragment, bytes, at)),
            };
            fills.extend(from.map(|from| Fill { at: hole.at, len: hole.len, from }));
        }
        fills
    }

    fn segment(&mut self, segment: &SegmentOf, bytes: &[u8]) -> Option<FillSource> {
        let SegmentOf { src, dst, seq, is_syn, is_ack, missing } = *segment;
        let (ends, side) = if src <= dst { ([src, dst], 0) } else { ([dst, src], 1) };
        let mut id = match self.by_ends.get(&ends) {
            Some(id) => *id,
            None => self.connect(ends),
        };
        if is_syn {
            let known = self.connections.get_mut(&id)?.sides.get_mut(side)?.open(seq);
            if !known && !is_ack {
                // The ports are used again, by another connection.
                id = self.connect(ends);
                self.connections.get_mut(&id)?.sides.get_mut(side)?.open(seq);
            }
        }
        if bytes.is_empty() && missing == 0 {
            return None;
        }
        let connection = self.connections.get_mut(&id)?;
        let context = connection.context(side, &self.replacements.epmd_ports);
        let own = connection.sides.get_mut(side)?;
        let before = own.size();
        let names = &mut self.replacements.names;
        let offset = own.offset(if is_syn { seq.wrapping_add(1) } else { seq })?;
        own.wait(offset);
        let mut shown = own.insert(offset, bytes, &context, names);
        if missing > 0 && own.is_at(offset + bytes.len() as u64) {
            shown = shown.or(own.gap(missing.into(), &context, names));
        }
        self.stream_bytes = self.stream_bytes.saturating_add(own.size()).saturating_sub(before);
        connection.show(side, shown);
        self.trim();
        Some(FillSource::Stream(id, side, offset))
    }

    fn connect(&mut self, ends: [Endpoint; 2]) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let sides = Default::default();
        self.connections
            .insert(id, ReplacedConnection { ends, sides, epmd_client: None, request: 0 });
        self.by_ends.insert(ends, id);
        self.order.push_back(id);
        id
    }

    /// Forgets connections, so that no more is held than the limits allow.
    fn trim(&mut self) {
        let limits = self.replacements.limits;
        while self.stream_bytes > limits.streams || self.connections.len() > limits.connections {
            let Some(id) = self.order.pop_front() else { return };
            let Some(old) = self.connections.remove(&id) else { continue };
            let size = old.sides.iter().map(StreamSide::size).sum();
            self.stream_bytes = self.stream_bytes.saturating_sub(size);
            if self.by_ends.get(&old.ends) == Some(&id) {
                self.by_ends.remove(&old.ends);
            }
        }
    }

    fn fragment(&mut self, fragment: &FragmentOf, bytes: &[u8], at: Timestamp) -> FillSource {
        let id = match self.incomplete.get(&fragment.key) {
            Some(id) => *id,
            None => {
                self.next_id += 1;
                let datagram = FragmentedDatagram::new(fragment);
                self.datagrams.insert(self.next_id, datagram);
                self.incomplete.insert(fragment.key, self.next_id);
                self.incomplete_order.push_back((fragment.key, self.next_id));
                self.next_id
            }
        };
        while self.incomplete_order.len() > self.replacements.limits.datagrams {
            let Some((key, old)) = self.incomplete_order.pop_front() else { break };
            if self.incomplete.get(&key) == Some(&old) {
                self.incomplete.remove(&key);
            }
        }
        let mut whole = None;
        if let Some(datagram) = self.datagrams.get_mut(&id) {
            datagram.frames += 1;
            datagram.add(fragment, bytes);
            whole = datagram.whole();
        }
        if let Some((bytes, protocol, envelope)) = whole {
            self.incomplete.remove(&fragment.key);
            let names = &mut self.replacements.names;
            let new = names.pair(envelope.old);
            let envelope = Envelope { new, ..envelope };
            let mut rewritten = packet::datagram(&bytes, protocol, envelope, names);
            let holes = std::mem::take(&mut rewritten.holes);
            let fills = self.fills(&holes, &bytes, at);
            if let Some(datagram) = self.datagrams.get_mut(&id) {
                datagram.packet = Some(Packet { rewritten, fills });
            }
        }
        FillSource::Datagram(id, fragment.offset)
    }

    /// Gives the frames that are complete, and those that have waited long enough at the time `now`; with `all`, all.
    fn give(&mut self, now: Timestamp, all: bool, receiver: &mut impl Receiver) -> ControlFlow<()> {
        while let Some(held) = self.queue.front() {
            let limits = self.replacements.limits;
            let is_due =
                all || held.at.after(limits.wait) <= now || self.queued_bytes > limits.packets;
            if !is_due && !self.is_ready(&held.packet, 0) {
                break;
            }
            let Some(mut held) = self.queue.pop_front() else { break };
            self.queued_bytes -= held.packet.rewritten.bytes.len();
            self.fill(&mut held.packet, 0);
            let Rewritten { bytes, removed, .. } = &held.packet.rewritten;
            let frame = Frame {
                id: held.id,
                at: held.at,
                link: held.link,
                interface: held.interface,
                wire_len: held.wire_len.saturating_sub(u32::try_from(*removed).unwrap_or(0)),
                bytes: bytes.get(*removed..).unwrap_or_default(),
                comments: &[],
            };
            receiver.on_frame(&frame)?;
        }
        ControlFlow::Continue(())
    }

    fn is_ready(&self, packet: &Packet, depth: usize) -> bool {
        packet.fills.iter().all(|fill| match fill.from {
            FillSource::Stream(id, side, offset) => {
                let side = self.connections.get(&id).and_then(|it| it.sides.get(side));
                side.is_none_or(|it| it.is_known(offset + fill.len as u64) || it.is_opaque())
            }
            FillSource::Datagram(id, _) => self.datagrams.get(&id).is_none_or(|datagram| {
                let is_ready = |it: &Packet| depth < MOST_NESTED && self.is_ready(it, depth + 1);
                datagram.is_filled || datagram.packet.as_ref().is_some_and(is_ready)
            }),
        })
    }

    /// Fills the holes of a packet and writes its checksums.
    fn fill(&mut self, packet: &mut Packet, depth: usize) {
        let Packet { rewritten, fills } = packet;
        for Fill { at, len, from } in fills {
            let Some(out) = rewritten.bytes.get_mut(*at..).and_then(|it| it.get_mut(..*len)) else {
                continue;
            };
            match *from {
                FillSource::Stream(id, side, offset) => {
                    self.fill_from_stream(id, side, offset, out)
                }
                FillSource::Datagram(id, offset) => self.fill_from_datagram(id, offset, out, depth),
            }
        }
        for checksum in &rewritten.sums {
            checksum.write(&mut rewritten.bytes);
        }
    }

    fn fill_from_stream(&mut self, id: u64, side: usize, offset: u64, out: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let context = connection.context(side, &self.replacements.epmd_ports);
        let Some(own) = connection.sides.get_mut(side) else { return };
        let before = own.size();
        let end = offset + out.len() as u64;
        let mut shown = StreamSigns::default();
        if !own.is_known(end) {
            shown = own.force(end, &context, &mut self.replacements.names);
        }
        own.write(offset, out);
        self.stream_bytes = self.stream_bytes.saturating_add(own.size()).saturating_sub(before);
        connection.show(side, shown);
    }

    fn fill_from_datagram(&mut self, id: u64, offset: usize, out: &mut [u8], depth: usize) {
        let Some(mut datagram) = self.datagrams.remove(&id) else { return };
        if let Some(packet) = &mut datagram.packet {
            if !datagram.is_filled && depth < MOST_NESTED {
                self.fill(packet, depth + 1);
                datagram.is_filled = true;
            }
            let bytes = packet.rewritten.bytes.get(offset..).unwrap_or_default();
            out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
        datagram.frames -= 1;
        if datagram.frames > 0 || datagram.packet.is_none() {
            let is_open = datagram.frames > 0
                || self.incomplete.get(&datagram.key).is_some_and(|it| *it == id);
            if is_open {
                self.datagrams.insert(id, datagram);
            }
        }
    }
}

impl ReplacedConnection {
    /// What is known for a side.
    fn context(&self, side: usize, epmd_ports: &[u16]) -> Context {
        let is_epmd =
            |side: usize| self.ends.get(side).is_some_and(|end| epmd_ports.contains(&end.port));
        let peer = 1 - side.min(1);
        let is_own = is_epmd(side) && !is_epmd(peer);
        Context {
            is_epmd: is_own || self.epmd_client == Some(peer),
            asks_epmd: is_epmd(peer),
            request: self.request,
        }
    }

    fn show(&mut self, side: usize, shown: StreamSigns) {
        if let Some(request) = shown.request {
            self.epmd_client = Some(side);
            self.request = request;
        }
    }
}

impl FragmentedDatagram {
    const fn new(fragment: &FragmentOf) -> Self {
        let FragmentKeyOf { input, depth, src, dst, protocol, .. } = fragment.key;
        let envelope = Envelope {
            input,
            depth,
            old: [src, dst],
            new: [src, dst],
            missing: 0,
            is_quoted: false,
        };
        Self {
            key: fragment.key,
            envelope,
            protocol,
            pieces: BTreeMap::new(),
            size: None,
            packet: None,
            is_filled: false,
            frames: 0,
        }
    }

    fn add(&mut self, fragment: &FragmentOf, bytes: &[u8]) {
        if self.pieces.len() < MOST_PIECES && fragment.offset + bytes.len() <= MOST_BYTES {
            self.pieces.entry(fragment.offset).or_insert_with(|| bytes.to_vec());
            if fragment.is_last {
                self.size = Some(fragment.offset + bytes.len());
            }
        }
    }

    /// The whole datagram, once all of its fragments are there.
    fn whole(&self) -> Option<(Vec<u8>, u8, Envelope)> {
        let size = self.size.filter(|_| self.packet.is_none())?;
        let mut bytes = Vec::with_capacity(size);
        for (offset, piece) in &self.pieces {
            let known = bytes.len().checked_sub(*offset)?;
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        (bytes.len() >= size).then_some((bytes, self.protocol, self.envelope))
    }
}

/// Tunnels with fragments in fragments.
const MOST_NESTED: usize = 8;

/// Fragments of one datagram, and its bytes.
const MOST_PIECES: usize = 256;
const MOST_BYTES: usize = 66_000;
