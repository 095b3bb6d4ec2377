//! The frames that can change the state of an engine.
//!
//! In: all frames of a run, in order. Out: those that an engine needs, and facts for other inputs. The rules are those of
//! [`Triage`](crate::flow::Triage), without its knowledge of what came before: where that could make a frame matter, the
//! frame is kept. What an engine would learn from the kept frames about later ones, an engine learns here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::Facts;
use super::first_frames::FirstFrames;
use super::waiting::{KeptItems, WaitingItems};
use crate::capture::Frame;
use crate::decode::{
    Decoded, Decoder, Direction, Endpoint, FastDecode, Segment, TcpFlags, TcpView,
};
use crate::engine::{Config, Engine, KeyLog, LearnedCount};
use crate::flow::{
    FirstPayload, FlowKey, PendingTable, PortSet, SegmentHead, TcpOpening, first_payload,
    is_of_use_to_followed_alone,
};
use crate::identify::{is_no_beginning, may_be_proxy_header};
use crate::packet::FrameRef;
use crate::protocol::MessageDetail;
use crate::protocol::digest::CandidateCookies;
use crate::record::{Event, EventSink};
use crate::time::Timestamp;
use crate::wire::decode;
use crate::wire::epmd::{Port2Resp, port2_resp};

/// Selects the frames that matter, of one input or of several together.
pub struct Selector<I> {
    decoder: Decoder,
    chosen: Chosen<I>,
}

/// What a selector has done, and has learned for other parts of the same traffic.
#[derive(Debug, Default)]
pub struct ExtractEnd {
    /// Number of all frames.
    pub frames: u64,
    /// Number of those of each input, up to the last one with frames.
    pub inputs: Vec<u64>,
    /// Latest capture time of any frame.
    pub until: Timestamp,
    /// What the frames show about those of other parts.
    pub facts: Facts,
    /// Addresses of the connections that were followed, and have frames here; `None` if there are too many.
    pub addresses: Option<BTreeSet<IpAddr>>,
}

/// The part behind decoding: a struct of its own, because a segment borrows the decoder.
struct Chosen<I> {
    frames: u64,
    /// Number of the frames of each input, without the last ones of `input`.
    inputs: Vec<u64>,
    /// Number of all frames that are counted there.
    counted: u64,
    /// The input of the last frame.
    input: Option<u16>,
    /// Latest capture time of a frame.
    until: Timestamp,
    /// Ports on which EPMD listens.
    epmd: PortSet,
    /// Ports that the user named, and those of EPMD, on any host.
    named: PortSet,
    /// Endpoints of nodes, and of EPMD on other ports.
    ends: HashSet<Endpoint, RandomState>,
    /// The ports of all of these.
    known: PortSet,
    /// Ports of connections that are followed.
    followed_ports: PortSet,
    /// Connections that are followed.
    followed: HashMap<FlowKey, FollowedFlow, RandomState>,
    /// Openings of connections without payload so far. A segment has the number by which its frame waits, in place of that
    /// of the frame. What the table loses is undecided for good, and so is kept.
    openings: PendingTable,
    first_frames: FirstFrames,
    /// Whether more connections are followed than are remembered, so that every segment is kept.
    keeps_all: bool,
    waiting: WaitingItems<I>,
    /// Learns the ports of nodes.
    learner: Engine<NoEvents>,
    learned: LearnedCount,
    /// The endpoints that were learned here.
    own_ends: BTreeSet<Endpoint>,
    /// The addresses of connections with a frame that was kept because they are followed.
    addresses: BTreeSet<IpAddr>,
}

/// A connection that is followed.
#[derive(Default)]
struct FollowedFlow {
    /// Number of its frames that the learner was given.
    learned: u32,
    /// Whether it is followed whatever the learner makes of it, since the learner lacks frames of it.
    is_sure: bool,
}

/// Takes no events: what an engine learns is asked for.
struct NoEvents;

impl EventSink for NoEvents {
    fn event(&mut self, _event: Event) {}
}

impl<I> Selector<I> {
    /// A selector before its first frame. `facts` are those of other parts, as far as they are known.
    pub fn new(config: &Config, facts: &Facts) -> Self {
        let learner = Config {
            cookies: CandidateCookies::default(),
            key_log: KeyLog::default(),
            messages: MessageDetail::None,
            expect: Vec::new(),
            ..config.clone()
        };
        let named = config.dist_ports.iter().cloned().flatten();
        let epmd = || config.epmd_ports.iter().copied();
        let named: PortSet = named.chain(epmd()).collect();
        let mut chosen = Chosen {
            frames: 0,
            inputs: Vec::new(),
            counted: 0,
            input: None,
            until: Timestamp::default(),
            epmd: epmd().collect(),
            known: named.clone(),
            named,
            ends: HashSet::default(),
            followed_ports: PortSet::default(),
            followed: HashMap::default(),
            openings: PendingTable::new(MOST_OPENINGS),
            first_frames: FirstFrames::default(),
            keeps_all: false,
            waiting: WaitingItems::default(),
            learner: Engine::new(learner, NoEvents),
            learned: LearnedCount::default(),
            own_ends: BTreeSet::new(),
            addresses: BTreeSet::new(),
        };
        facts.ends.iter().for_each(|end| chosen.remember_end(*end));
        for [one, other] in &facts.flows {
            let key = FlowKey::new(*one, *other).0;
            // Another part shows that it is one of Erlang.
            chosen.remember(key, true);
        }
        Self { decoder: Decoder::new(config.limits.fragments), chosen }
    }

    /// Takes the next frame. It leaves through `out` if it matters, perhaps later.
    #[inline(always)] // the loop over frames
    pub fn on_frame(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        if self.chosen.input == Some(frame.id.input) {
            self.take(frame, false, out);
        } else {
            self.take_of_other_input(frame, out);
        }
    }

    /// Takes a frame that is of another input than the one before.
    #[inline(never)] // the loop over frames of one input pays for one comparison
    fn take_of_other_input(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        let is_first = self.chosen.go_to_input(frame.id.input);
        self.take(frame, is_first, out);
    }

    #[inline(always)]
    fn take(&mut self, frame: &Frame<'_>, is_first: bool, out: &mut impl KeptItems<I>) {
        self.chosen.frames += 1;
        self.chosen.until = self.chosen.until.max(frame.at);
        if self.chosen.learner.is_due(frame.at) {
            self.chosen.catch_up(out);
        }
        let taken = self.chosen.waiting.taken();
        self.select(frame, out);
        let waiting = &mut self.chosen.waiting;
        if waiting.taken() != taken {
            waiting.hold_last();
        } else if is_first {
            // It is kept in any case, for its time and its link type.
            waiting.keep(frame, out);
        } else {
            waiting.hold(frame);
        }
    }

    #[inline(always)]
    fn select(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        match self.decoder.decode_fast(frame) {
            FastDecode::Tcp(view) => {
                let (src, dst) = view.ports();
                // By value: through a reference, the loop would write each view to memory and wait for it.
                if self.chosen.may_be_followed(src, dst) {
                    self.on_known_ports(frame, view, out);
                } else if !is_of_use_to_followed_alone(&view)
                    || self.chosen.learner.has_secrets_of(view.payload())
                {
                    self.on_candidate(frame, view, out);
                }
            }
            FastDecode::Other => {}
            FastDecode::Undecided => self.on_undecided(frame, out),
        }
    }

    /// All frames up to this time were given. Those that have waited long are kept, so that what is written is not late
    /// without end.
    pub fn advance(&mut self, until: Timestamp, out: &mut impl KeptItems<I>) {
        self.chosen.until = self.chosen.until.max(until);
        self.chosen.waiting.release_before(until.before(LONGEST_WAIT), out);
    }

    /// Takes anything but a frame, which always matters, and the bytes that it takes in memory.
    pub fn on_other(&mut self, item: I, bytes: usize, out: &mut impl KeptItems<I>) {
        self.chosen.waiting.keep_other(item, bytes, out);
    }

    /// The kept packets are read with these lines of a TLS key log: connections that begin from here on matter if the
    /// secrets of one are there.
    pub fn add_secrets(&mut self, lines: &[u8]) {
        self.chosen.learner.add_secrets(lines);
    }

    /// Ends the input: everything that still waits may matter.
    pub fn finish(self, out: &mut impl KeptItems<I>) -> ExtractEnd {
        let mut chosen = self.chosen;
        chosen.count_input(chosen.frames);
        let Chosen { mut waiting, named, ends, learner, followed, own_ends, .. } = chosen;
        let Chosen { frames, inputs, until, keeps_all, addresses, .. } = chosen;
        waiting.release(out);
        let has_all = !keeps_all && addresses.len() < MOST_ENDS;
        let is_known = |key: &FlowKey| {
            let [low, high] = key.ports();
            named.has_one_of(low, high) || both(key).iter().any(|end| ends.contains(end))
        };
        // A connection that the learner has given up is none of Erlang, or is over.
        let flows = learner.followed().filter(|key| followed.contains_key(*key) && !is_known(key));
        let facts = Facts { ends: own_ends, flows: flows.map(both).collect() };
        ExtractEnd { frames, inputs, until, facts, addresses: has_all.then_some(addresses) }
    }

    #[inline(never)]
    fn on_known_ports(
        &mut self,
        frame: &Frame<'_>,
        view: TcpView<'_>,
        out: &mut impl KeptItems<I>,
    ) {
        let ((key, direction), (src, dst)) = (view.flow(), view.ports());
        if self.chosen.is_followed(&key, src, dst) {
            self.chosen.keep(frame, key, out);
            self.chosen.learn_from_reply(key.end(direction), view.payload(), out);
        } else if !is_of_use_to_followed_alone(&view)
            || self.chosen.learner.has_secrets_of(view.payload())
        {
            self.on_candidate(frame, view, out);
        }
    }

    #[inline(never)]
    fn on_candidate(&mut self, frame: &Frame<'_>, view: TcpView<'_>, out: &mut impl KeptItems<I>) {
        let (payload, key) = (view.payload(), view.flow().0);
        let begins_nothing = is_no_beginning(payload)
            && !may_be_proxy_header(payload)
            && !self.chosen.learner.has_secrets_of(payload);
        let is_bare = payload.is_empty() & !view.flags().has(TcpFlags::SYN);
        if (is_bare | begins_nothing) && !self.chosen.is_being_opened(&key) {
            // Of any payload and any connection, nearly all that come here are such.
            self.chosen.keep_if_first(frame, &key, out);
        } else {
            let segment = self.decoder.segment(frame, &view);
            self.chosen.on_candidate(frame, &segment, out);
        }
    }

    /// A frame that only the full decoder reads.
    #[inline(never)]
    fn on_undecided(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        let chosen = &mut self.chosen;
        let taken = chosen.waiting.taken();
        let mut is_other = false;
        match &self.decoder.decode_full(frame) {
            Decoded::Tcp(segment) => {
                let (src, dst) = segment.ports();
                if chosen.is_followed(&segment.flow, src, dst) {
                    chosen.keep(frame, segment.flow, out);
                    chosen.learn_from_reply(segment.src(), segment.payload, out);
                } else if !is_of_use_to_followed_alone(segment)
                    || chosen.learner.has_secrets_of(segment.payload)
                {
                    chosen.on_candidate(frame, segment, out);
                }
            }
            Decoded::Unreachable(error) => {
                let key = FlowKey::new(error.src, error.dst).0;
                if chosen.is_followed(&key, error.src.port, error.dst.port) {
                    chosen.keep(frame, key, out);
                } else {
                    chosen.waiting.keep(frame, out);
                }
            }
            Decoded::Names(_) | Decoded::Neighbour(_) => chosen.waiting.keep(frame, out),
            Decoded::Other => is_other = true,
        }
        if self.decoder.has_read_fragment() {
            // Without one fragment, the others are of no use, and would count as lost.
            if chosen.waiting.taken() == taken {
                chosen.waiting.keep(frame, out);
            }
            // The learner reads the frame that completes the datagram when that shows a connection.
            if is_other {
                chosen.learner.push_frame(frame);
            }
        }
    }
}

impl<I> Chosen<I> {
    /// Goes on with another input. Whether the next frame is its first; it is then kept.
    fn go_to_input(&mut self, input: u16) -> bool {
        self.count_input(self.frames);
        self.input = Some(input);
        let place = usize::from(input);
        if self.inputs.len() <= place {
            self.inputs.resize(place + 1, 0);
        }
        let is_first = self.inputs.get(place) == Some(&0);
        if is_first {
            self.waiting.keep_next();
        }
        is_first
    }

    /// Counts the frames up to this number as those of the input.
    fn count_input(&mut self, frames: u64) {
        let place = self.input.map(usize::from);
        if let Some(input) = place.and_then(|place| self.inputs.get_mut(place)) {
            *input += frames - self.counted;
        }
        self.counted = frames;
    }

    /// Whether a connection between such ports may be followed: a first test without its addresses.
    #[inline(always)]
    fn may_be_followed(&self, src: u16, dst: u16) -> bool {
        self.known.has_one_of(src, dst) | self.followed_ports.has_both(src, dst) | self.keeps_all
    }

    fn is_followed(&self, key: &FlowKey, src: u16, dst: u16) -> bool {
        self.keeps_all
            || self.named.has_one_of(src, dst)
            || self.followed.contains_key(key)
            || self.known.has_one_of(src, dst)
                && both(key).iter().any(|end| self.ends.contains(end))
    }

    /// A segment on unknown ports that opens or ends a connection, or has a payload that may begin something.
    fn on_candidate(
        &mut self,
        frame: &Frame<'_>,
        segment: &Segment<'_>,
        out: &mut impl KeptItems<I>,
    ) {
        let key = segment.flow;
        if segment.payload.is_empty() {
            self.on_bare(frame, segment, out);
            return;
        }
        if self.learner.has_secrets_of(segment.payload) {
            self.follow(key, out);
            self.keep(frame, key, out);
            return;
        }
        let (src, dst) = segment.ports();
        let may_be_known = self.openings.may_have(src, dst);
        let known = || self.openings.bytes_before(&key, segment.seq, segment.direction);
        let before = may_be_known.then(known).flatten();
        match first_payload(segment, before) {
            FirstPayload::Begins { .. } | FirstPayload::BeginsEpmd => {
                self.follow(key, out);
                self.keep(frame, key, out);
            }
            FirstPayload::RulesOut => {
                self.first_frames.end(&key);
                let opening = if may_be_known { self.openings.take(&key) } else { None };
                let Some(opening) = opening else { return };
                // What was kept of the opening is ruled out there as well.
                if self.waiting.has_one_kept(frames_of(&opening)) {
                    self.waiting.keep(frame, out);
                }
                self.waiting.settle(frames_of(&opening), false, out);
            }
            FirstPayload::ShowsNothing if before.is_some() => {}
            FirstPayload::ShowsNothing => self.on_middle(frame, segment, out),
        }
    }

    /// A segment without payload that opens or ends a connection.
    fn on_bare(&mut self, frame: &Frame<'_>, segment: &Segment<'_>, out: &mut impl KeptItems<I>) {
        if !segment.flags.has(TcpFlags::SYN) && !self.is_being_opened(&segment.flow) {
            self.on_middle(frame, segment, out);
            return;
        }
        let number = self.waiting.wait(frame, out);
        let segment = Segment { frame: FrameRef { number, ..segment.frame }, ..*segment };
        if !self.openings.note(&segment) {
            self.waiting.settle([number], true, out);
        }
    }

    fn is_being_opened(&self, key: &FlowKey) -> bool {
        let [low, high] = key.ports();
        self.openings.may_have(low, high) && self.openings.has(key)
    }

    /// A segment of a connection whose opening is not known: it may have been in an earlier part.
    fn on_middle(&mut self, frame: &Frame<'_>, segment: &Segment<'_>, out: &mut impl KeptItems<I>) {
        let key = segment.flow;
        if !self.first_frames.count(&key) {
            return;
        }
        let as_first = first_payload(segment, Some(0));
        if !segment.payload.is_empty()
            && matches!(as_first, FirstPayload::Begins { .. } | FirstPayload::BeginsEpmd)
        {
            self.follow(key, out);
            self.keep(frame, key, out);
        } else {
            self.waiting.keep(frame, out);
        }
    }

    /// A segment that begins nothing, of a connection whose opening is not known.
    fn keep_if_first(&mut self, frame: &Frame<'_>, key: &FlowKey, out: &mut impl KeptItems<I>) {
        if self.first_frames.count(key) {
            self.waiting.keep(frame, out);
        }
    }

    /// Follows a connection from here on; the frames that opened it matter.
    fn follow(&mut self, key: FlowKey, out: &mut impl KeptItems<I>) {
        let opening = self.openings.take(&key);
        let is_sure = match &opening {
            Some(opening) => self.waiting.has_one_kept(frames_of(opening)),
            // Its opening may have been in an earlier part, unless it was ruled out in this one.
            None => !self.first_frames.has_ended(&key),
        };
        self.remember(key, is_sure);
        if let Some(opening) = opening {
            self.keep_opening(&opening, out);
        }
    }

    fn keep_opening(&mut self, opening: &TcpOpening, out: &mut impl KeptItems<I>) {
        let Self { waiting, learner, until, .. } = self;
        learner.advance(*until);
        for number in frames_of(opening) {
            waiting.with_frame(number, |frame| learner.push_frame(frame));
        }
        waiting.settle(frames_of(opening), true, out);
        if let Some(segment) = opening.segments().next() {
            self.note_addresses(&segment.flow);
        }
    }

    fn note_addresses(&mut self, key: &FlowKey) {
        if self.addresses.len() < MOST_ENDS {
            self.addresses.extend(both(key).map(|end| end.ip));
        }
    }

    fn remember(&mut self, key: FlowKey, is_sure: bool) {
        if self.followed.len() >= MOST_FOLLOWED {
            self.keeps_all = true;
            return;
        }
        self.followed.entry(key).or_default().is_sure |= is_sure;
        for port in key.ports() {
            self.followed_ports.insert(port);
        }
    }

    fn remember_end(&mut self, end: Endpoint) {
        if self.ends.len() >= MOST_ENDS {
            // Of further ones the port is known, on any host.
            self.named.insert(end.port);
        } else {
            self.ends.insert(end);
        }
        self.known.insert(end.port);
    }

    /// A node or an EPMD listens at this end: connections to it that are being opened matter.
    fn know(&mut self, end: Endpoint, out: &mut impl KeptItems<I>) {
        if self.own_ends.len() < MOST_ENDS {
            self.own_ends.insert(end);
        }
        self.remember_end(end);
        for opening in self.openings.take_to(end) {
            self.keep_opening(&opening, out);
        }
    }

    /// The port in a reply of EPMD whose request may be in another part, so that the learner makes nothing of it.
    fn learn_from_reply(&mut self, src: Endpoint, payload: &[u8], out: &mut impl KeptItems<I>) {
        if payload.is_empty() || !self.epmd.has_one_of(src.port, src.port) {
            return;
        }
        if let Ok(Port2Resp::Registered(node)) = decode(payload, port2_resp) {
            self.know(Endpoint { ip: src.ip, port: node.port }, out);
        }
    }

    /// Keeps a frame, and lets the learner see the first of each connection.
    fn keep(&mut self, frame: &Frame<'_>, key: FlowKey, out: &mut impl KeptItems<I>) {
        self.waiting.keep(frame, out);
        if self.followed.len() >= MOST_FOLLOWED {
            return;
        }
        let flow = self.followed.entry(key).or_default();
        if flow.learned >= MOST_LEARNED_FROM {
            return;
        }
        flow.learned += 1;
        let (is_first, is_sure) = (flow.learned == 1, flow.is_sure);
        if is_first {
            self.note_addresses(&key);
        }
        // The clock of an engine follows the frames that are left out as well.
        self.learner.advance(self.until);
        self.learner.push_frame(frame);
        if !is_sure && !self.learner.may_follow(&key) {
            // It is over, or none of Erlang: what comes later is as of an unknown connection.
            self.followed.remove(&key);
            self.first_frames.end(&key);
        }
        self.learn(out);
    }

    /// Does what is due before the next frame: the end of a connection may show a port, on which that frame then matters.
    #[cold]
    fn catch_up(&mut self, out: &mut impl KeptItems<I>) {
        self.learner.advance(self.until);
        self.learn(out);
    }

    fn learn(&mut self, out: &mut impl KeptItems<I>) {
        let ends = self.learner.learned_since(&mut self.learned);
        for end in ends {
            self.know(end, out);
        }
    }
}

/// The numbers by which the frames of an opening wait.
fn frames_of(opening: &TcpOpening) -> impl Iterator<Item = u64> {
    opening.segments().map(|segment| segment.frame.number)
}

/// Both ends of a connection.
fn both(key: &FlowKey) -> [Endpoint; 2] {
    [Direction::LowToHigh, Direction::HighToLow].map(|side| key.end(side))
}

/// Endpoints that are remembered.
const MOST_ENDS: usize = 1 << 18;

/// Frames of one connection that the learner sees: enough for its handshake, or its request to EPMD.
const MOST_LEARNED_FROM: u32 = 64;

/// Connections that are remembered as followed. Beyond, every segment is kept.
const MOST_FOLLOWED: usize = 1 << 18;

/// Time that a frame of a live capture waits: longer than a node waits for a handshake.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Openings that wait for a payload; a power of two.
const MOST_OPENINGS: usize = 1 << 15;
