//! The way of a packet: the only file that knows every stage.
//!
//! In: frames, and time. Out: events, to a sink. Pushes; nothing is queued between stages.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use crate::capture::Frame;
use crate::decode::{
    Counters, Decoded, Decoder, Endpoint, FastDecode, Segment, TcpFlags, TcpView, UdpDatagram,
    Unreachable,
};
use crate::detect::Detector;
use crate::evidence::{EvidenceCollector, EvidenceSink, Relevance};
use crate::flow::{FlowId, FlowKey, FlowTable, PendingTable, PortSet, TcpOpening};
use crate::identify::{self, Verdict};
use crate::judge::world::{HomeNets, World};
use crate::limits::Limits;
use crate::names;
use crate::protocol::digest::Cookies;
use crate::protocol::{
    ConnContext, ConnEvent, ConnOutput, Connection, EventSource, FactSource, FollowReason, Keep,
    MessageDetail, Pool,
};
use crate::record::{Anomaly, AnomalyKind, Body, EpmdOutcome, Event, EventSink, Stats};
use crate::stream::Budget;
use crate::time::Timestamp;

/// What a run works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// Candidate cookies.
    pub cookies: Cookies,
    /// Whether challenges and digests are told.
    pub include_secrets: bool,
    /// Which messages after the handshake are told.
    pub messages: MessageDetail,
    /// Whether a side that falls silent is told before the other gives up on it: for those who watch.
    pub warns: bool,
    /// Ports of port mappers.
    pub epmd_ports: Vec<u16>,
    /// Ports known as those of nodes, on any host.
    pub dist_ports: Vec<RangeInclusive<u16>>,
    /// Networks that are one's own; empty when none was named.
    pub home_nets: HomeNets,
}

impl Default for Config {
    /// No candidate cookies, nothing secret told, and the port mapper where it usually is.
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            cookies: Cookies::default(),
            include_secrets: false,
            messages: MessageDetail::None,
            warns: false,
            epmd_ports: vec![EPMD_PORT],
            dist_ports: Vec::new(),
            home_nets: HomeNets::default(),
        }
    }
}

/// The port mapper's, registered with IANA.
pub const EPMD_PORT: u16 = 4369;

/// All stages behind the capture.
pub struct Pipeline<S> {
    decoder: Decoder,
    stages: Stages<S>,
}

/// The stages behind decoding: apart from it, because a segment borrows the decoder.
struct Stages<S> {
    config: Config,
    flows: FlowTable<Followed>,
    pending: PendingTable,
    budget: Budget,
    /// When connections want to be asked for what time has settled.
    alarms: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
    /// Before this time, nothing is to be done but for packets.
    idle_until: Timestamp,
    /// Ports of port mappers and of nodes, whatever their host.
    known_ports: PortSet,
    /// Whether it was told that facts are forgotten.
    forgets: bool,
    /// Whether it was told that there is no more room for what is kept of messages.
    lacks_room: bool,
    correlator: World,
    detector: Detector,
    stats: Stats,
    /// Latest capture time; capture clocks may go back.
    now: Timestamp,
    /// What it was with the last frame.
    last: Timestamp,
    /// Capture time of the last frame of each input.
    clocks: Vec<Timestamp>,
    /// What connections say while they are at work; empty in between.
    said: ConnOutput,
    /// Memory for what they keep of messages.
    pool: Pool,
    /// Packets for files of evidence, where those were asked for.
    keeper: Option<Box<EvidenceCollector>>,
    sink: S,
}

/// A connection in the table.
#[derive(Debug)]
struct Followed {
    connection: Connection,
    /// The earliest of its alarms.
    alarm: Option<Timestamp>,
}

impl<S: EventSink> Pipeline<S> {
    /// A pipeline that has seen nothing.
    pub fn new(config: Config, sink: S) -> Self {
        let decoder = Decoder::new(config.limits.fragments);
        Self { decoder, stages: Stages::new(config, sink) }
    }

    /// Takes one frame in.
    ///
    /// For nearly all frames this is all there is: their headers say that they are no business of ours. These
    /// few instructions become a part of the loop over frames, and whatever is done for others stands apart.
    #[inline(always)]
    pub fn push_frame(&mut self, frame: &Frame<'_>) {
        self.stages.count(frame);
        match self.decoder.glance(frame) {
            FastDecode::Tcp(outline) => match self.stages.concern(&outline) {
                Concern::None => {}
                Concern::TcpOpening => self.push_opening(frame, outline),
                Concern::Other => self.push_other(frame, outline),
                Concern::Segment => self.push_outline(frame, outline),
            },
            FastDecode::Other => {}
            FastDecode::SlowReaderNotice => self.push_unread(frame),
        }
    }

    #[inline(never)]
    fn push_opening(&mut self, frame: &Frame<'_>, outline: TcpView<'_>) {
        if self.stages.keeper.is_some() {
            self.stage_outline(frame, outline);
        }
        let segment = self.decoder.segment(frame, &outline);
        self.stages.pending.note(&segment);
    }

    // With a segment of its own: one that is handed on stands in memory.
    #[cold]
    fn stage_outline(&mut self, frame: &Frame<'_>, outline: TcpView<'_>) {
        let segment = self.decoder.segment(frame, &outline);
        self.stages.stage_segment(frame, &segment);
    }

    #[inline(never)]
    fn push_other(&mut self, frame: &Frame<'_>, outline: TcpView<'_>) {
        let (flow, direction) = outline.flow();
        let seq = outline.seq();
        if !self.stages.pending.rules_out(&flow, seq, direction, MAX_BEFORE_HELLO) {
            self.push_outline(frame, outline);
        }
    }

    #[inline(never)]
    fn push_outline(&mut self, frame: &Frame<'_>, outline: TcpView<'_>) {
        let segment = self.decoder.segment(frame, &outline);
        self.stages.stage_segment(frame, &segment);
        self.stages.on_segment(&segment);
    }

    #[inline(never)]
    fn push_unread(&mut self, frame: &Frame<'_>) {
        match &self.decoder.decode_full(frame) {
            Decoded::Tcp(segment) => {
                self.stages.stage_segment(frame, segment);
                self.stages.on_segment(segment);
            }
            Decoded::Unreachable(unreachable) => {
                self.stages.stage(frame, Relevance::Now);
                self.stages.on_unreachable(unreachable);
            }
            Decoded::Names(datagram) => {
                self.stages.stage(frame, Relevance::Now);
                self.stages.on_names(datagram);
            }
            Decoded::Other => {}
        }
    }

    /// Takes a segment in that was decoded elsewhere: the stages behind decoding need nothing of its frame.
    pub fn push_segment(&mut self, segment: &Segment<'_>) {
        self.stages.stats.packets += 1;
        self.stages.advance(segment.at);
        self.stages.on_segment(segment);
    }

    /// From here on, the packets of each finding are put into `archive` before it is told.
    pub fn keep_evidence(&mut self, archive: Box<dyn EvidenceSink>) {
        let limits = &self.stages.config.limits;
        self.stages.keeper = Some(Box::new(EvidenceCollector::new(limits, archive)));
        self.stages.idle_until = Timestamp::default();
    }

    /// The capture brings names of addresses: whoever made it called `ip` by `name`.
    pub fn on_listed_name(&mut self, ip: IpAddr, name: &[u8]) {
        self.stages.correlator.on_listed_name(ip, name);
    }

    /// The reader of input number `input` has something to say about it.
    pub fn on_input_anomaly(&mut self, input: u16, anomaly: Anomaly) {
        self.stages.on_input_anomaly(Some(input), anomaly);
    }

    /// Time goes on to `now`, with or without a packet.
    pub fn advance(&mut self, now: Timestamp) {
        self.stages.advance(now);
    }

    /// What the kernel and the interfaces have dropped so far.
    pub const fn drops(&mut self, kernel: Option<u64>, interface: Option<u64>) {
        self.stages.stats.kernel_drops = kernel;
        self.stages.stats.interface_drops = interface;
    }

    /// The capture has lost packets, the last of them by `until` at the latest: nothing is concluded from
    /// the absence of what may have been among them.
    pub fn on_loss(&mut self, until: Timestamp) {
        self.stages.correlator.on_loss(until);
    }

    /// How many events the sink has left out so far.
    pub const fn left_out(&mut self, events: u64) {
        self.stages.stats.left_out = Some(events);
    }

    /// Something about the run, and not about one input.
    pub fn on_anomaly(&mut self, anomaly: Anomaly) {
        self.stages.on_input_anomaly(None, anomaly);
    }

    /// Tells the nodes and how they stand to each other, so far.
    pub fn cluster(&mut self) {
        self.stages.tell_cluster();
    }

    /// Tells the statistics so far.
    pub fn stats(&mut self) {
        let stats = self.stages.stats_now(&self.decoder.counters());
        self.stages.tell_stats(stats);
    }

    /// Where the events go.
    pub const fn sink_mut(&mut self) -> &mut S {
        &mut self.stages.sink
    }

    /// Settles everything that is still open, closes incidents, and tells the final statistics.
    pub fn finish(mut self) -> S {
        self.stages.settle_all();
        let counters = self.decoder.counters();
        self.stages.tell_unsupported(&counters);
        self.stages.tell_cluster();
        let stats = Stats { is_final: true, ..self.stages.stats_now(&counters) };
        self.stages.tell_stats(stats);
        self.stages.sink
    }
}

impl<S: EventSink> Stages<S> {
    fn new(config: Config, sink: S) -> Self {
        let known: Vec<u16> = {
            let named = config.dist_ports.iter().cloned().flatten();
            named.chain(config.epmd_ports.iter().copied()).collect()
        };
        let mut stages = Self {
            flows: FlowTable::new(config.limits.connections),
            pending: PendingTable::new(config.limits.pending_connections),
            budget: Budget::default(),
            alarms: BinaryHeap::new(),
            idle_until: Timestamp(u64::MAX),
            forgets: false,
            lacks_room: false,
            known_ports: PortSet::default(),
            correlator: World::new(
                &config.limits,
                config.dist_ports.clone(),
                config.home_nets.clone(),
            ),
            detector: Detector::new(&config.limits),
            stats: Stats::default(),
            now: Timestamp::default(),
            last: Timestamp::default(),
            clocks: Vec::new(),
            said: ConnOutput::default(),
            pool: Pool::new(config.limits.messages),
            keeper: None,
            config,
            sink,
        };
        known.into_iter().for_each(|port| stages.know_port(port));
        stages
    }

    fn on_input_anomaly(&mut self, input: Option<u16>, anomaly: Anomaly) {
        let body = Body::Anomaly { anomaly: Box::new(anomaly) };
        self.dispatch(Event { at: self.now, frame: None, input, connection: None, body });
    }

    #[inline(always)]
    fn advance(&mut self, now: Timestamp) {
        if now >= self.idle_until {
            self.catch_up(now);
        }
        self.now = self.now.max(now);
    }

    /// Does what time asks for, up to `now`.
    #[inline(never)]
    fn catch_up(&mut self, now: Timestamp) {
        while self.alarms.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            self.on_first_alarm();
        }
        let first_alarm = self.alarms.peek().map_or(Timestamp(u64::MAX), |Reverse((due, _))| *due);
        self.idle_until = match &mut self.keeper {
            None => first_alarm,
            Some(keeper) => {
                keeper.settle(now);
                Timestamp::default()
            }
        };
    }

    #[cold] // beside packets
    fn on_first_alarm(&mut self) {
        let Some(Reverse((due, id))) = self.alarms.pop() else { return };
        // A long pause is gone through step by step: what an alarm sets off may be due in it.
        self.now = self.now.max(due);
        self.on_alarm(due, id);
    }

    fn settle_all(&mut self) {
        let mut open: Vec<_> = self.flows.drain().collect();
        open.sort_by_key(|followed| followed.connection.first());
        for followed in open {
            self.retire(followed.connection);
        }
        let mut closing = Vec::new();
        self.detector.finish(self.now, &self.correlator, &mut closing);
        for event in closing {
            self.tell(event);
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.settle(Timestamp(u64::MAX));
        }
    }

    /// Counts a frame, and goes on to its time.
    #[inline(always)]
    fn count(&mut self, frame: &Frame<'_>) {
        self.stats.bytes += u64::from(frame.wire_len);
        match self.clocks.get_mut(usize::from(frame.id.input)) {
            Some(clock) => {
                let before = std::mem::replace(clock, frame.at);
                if before > frame.at {
                    self.stats.clock_steps += u64::from(before > frame.at.after(CLOCK_STEP));
                }
            }
            None => self.begin(frame.id.input, frame.at),
        }
        self.advance(frame.at);
        self.last = self.now;
        self.stats.packets += 1;
    }

    /// The first frame of an input.
    #[cold]
    fn begin(&mut self, input: u16, at: Timestamp) {
        self.stats.first.get_or_insert(at);
        self.clocks.resize(usize::from(input), Timestamp::default());
        self.clocks.push(at);
    }

    /// Shows a frame to the keeper of evidence before anything is made of it.
    #[inline]
    fn stage(&mut self, frame: &Frame<'_>, stake: Relevance) {
        if let Some(keeper) = &mut self.keeper {
            keeper.recent.stage(frame, stake);
        }
    }

    /// Likewise the frame of a segment, which [`Self::on_segment`] may follow now or later; that of one which it
    /// does not follow after all is let go.
    #[inline]
    fn stage_segment(&mut self, frame: &Frame<'_>, segment: &Segment<'_>) {
        if self.keeper.is_some() {
            self.stage_if_it_matters(frame, segment);
        }
    }

    // Apart: nearly nobody asks for evidence off-line, and every segment passes here.
    #[cold]
    fn stage_if_it_matters(&mut self, frame: &Frame<'_>, segment: &Segment<'_>) {
        let ([src, dst], payload) = (segment.flow.ports(), segment.payload);
        if payload.is_empty() && segment.flags.opens_or_closes() {
            // Most that close are of connections that have shown what they are.
            let is_known = || self.has_known_ports(src, dst) || self.pending.has(&segment.flow);
            if segment.flags.has(TcpFlags::SYN) || is_known() {
                self.stage(frame, Relevance::Later);
            }
        } else if self.has_known_ports(src, dst)
            || !reaches_past_hello(payload)
            || identify::distribution(payload) != Verdict::NotForUs
        {
            self.stage(frame, Relevance::Now);
        }
    }

    /// What a segment is to us. Most are of other protocols, between ports that no connection which is
    /// followed has: they need no table and are not even put together.
    #[inline(always)]
    fn concern(&mut self, outline: &TcpView<'_>) -> Concern {
        let (src, dst) = outline.ports();
        if self.flows.may_concern(src, dst) && self.has_known_ports(src, dst) {
            return Concern::Segment;
        }
        let (payload, flags) = (outline.payload(), outline.flags());
        let is_bare = payload.is_empty();
        let begins_nothing = identify::is_no_beginning(payload);
        // Without a branch for each: which of them a segment is cannot be foreseen.
        if (is_bare & !flags.opens_or_closes()) | (begins_nothing & reaches_past_hello(payload)) {
            return Concern::None;
        }
        let opens = is_bare & flags.has(TcpFlags::SYN);
        if (is_bare | begins_nothing) & !opens & !self.pending.may_have(src, dst) {
            return Concern::None;
        }
        if is_bare {
            Concern::TcpOpening
        } else if begins_nothing {
            Concern::Other
        } else {
            Concern::Segment
        }
    }

    /// Whether a connection between such ports is followed, or would be.
    #[inline(never)]
    fn has_known_ports(&self, src: u16, dst: u16) -> bool {
        self.flows.may_have(src, dst) || self.known_ports.has_one_of(src, dst)
    }

    #[inline(always)] // each call on the way of a segment costs a hundredth of it
    fn on_segment(&mut self, segment: &Segment<'_>) {
        if let Some(id) = self.flows.find(&segment.flow) {
            let another = segment.flags.has(TcpFlags::SYN)
                && self
                    .flows
                    .get_mut(id)
                    .is_some_and(|it| it.connection.is_other_connection(segment));
            if !another {
                self.hand_to(id, segment);
                return;
            }
            if let Some(old) = self.flows.remove(id) {
                self.retire(old.connection);
            }
        }
        if let Some(known) = self.known_by_port(segment) {
            if can_start_connection(segment) {
                let opening = self.pending.take(&segment.flow);
                self.follow(segment, known, opening.as_ref());
            }
        } else {
            self.on_unknown(segment);
        }
    }

    /// A segment of a connection that is not followed, on ports that nothing has marked.
    fn on_unknown(&mut self, segment: &Segment<'_>) {
        if !segment.payload.is_empty() {
            self.on_first_words(segment);
        } else if segment.flags.opens_or_closes() {
            self.pending.note(segment);
        }
    }

    /// Bytes on an unknown port: the first of a connection tell whether it is followed. Captures reorder,
    /// so the first to come need not be the first sent.
    fn on_first_words(&mut self, segment: &Segment<'_>) {
        let verdict = identify::distribution(segment.payload);
        if verdict == Verdict::NotForUs
            && (reaches_past_hello(segment.payload)
                || self.pending.rules_out(
                    &segment.flow,
                    segment.seq,
                    segment.direction,
                    MAX_BEFORE_HELLO,
                ))
        {
            return;
        }
        let before = match self.pending.get(&segment.flow) {
            Some(opening) => opening.bytes_before(segment),
            None => segment.flags.has(TcpFlags::SYN).then_some(0),
        };
        let follows = match (before, verdict) {
            (_, Verdict::Certain) => true,
            (Some(before), _) => before < MAX_BEFORE_HELLO,
            // In the middle of a stream, a few bytes that fit are chance.
            (None, _) => segment.payload.len() >= MIN_TELLING,
        };
        if follows {
            let opening = self.pending.take(&segment.flow).filter(|_| before.is_some());
            self.follow(segment, FollowReason::Maybe, opening.as_ref());
        }
    }

    fn known_by_port(&self, segment: &Segment<'_>) -> Option<FollowReason> {
        let [low, high] = segment.flow.ports();
        if !self.known_ports.has_one_of(low, high) {
            return None;
        }
        let (src, dst, direction) = (segment.src(), segment.dst(), segment.direction);
        let epmd = |end: Endpoint| self.config.epmd_ports.contains(&end.port);
        let node = |end: Endpoint| self.correlator.is_node_port(end);
        if epmd(dst) && !(epmd(src) && is_syn_ack(segment)) {
            Some(FollowReason::Epmd(direction))
        } else if epmd(src) {
            Some(FollowReason::Epmd(direction.reverse()))
        } else if node(dst) {
            Some(FollowReason::Node(direction))
        } else if node(src) {
            Some(FollowReason::Node(direction.reverse()))
        } else {
            None
        }
    }

    fn follow(&mut self, segment: &Segment<'_>, known: FollowReason, opening: Option<&TcpOpening>) {
        let Some(id) = self.enter(segment, known, opening) else { return };
        self.hand_to(id, segment);
    }

    /// Puts the connection of a segment into the table and gives it its opening.
    fn enter(
        &mut self,
        segment: &Segment<'_>,
        known: FollowReason,
        opening: Option<&TcpOpening>,
    ) -> Option<FlowId> {
        let first = opening.and_then(|opening| opening.segments().next());
        let begins = first.as_ref().unwrap_or(segment);
        let setting = setting(&self.config, &self.pool, &self.correlator);
        let connection = Connection::new(begins, known, &setting);
        let (id, evicted) = self.flows.insert(segment.flow, Followed { connection, alarm: None });
        if let Some(keeper) = &mut self.keeper {
            keeper.recent.begin(id);
        }
        if let Some(evicted) = evicted {
            self.on_eviction(evicted.connection);
        }
        for segment in opening.into_iter().flat_map(TcpOpening::segments) {
            self.hand_to(id, &segment);
            self.flows.get_mut(id)?;
        }
        Some(id)
    }

    /// Drops the alarms that were put forward, once they are most of all: an old one may lie hours ahead.
    fn forget_alarms(&mut self) {
        if self.alarms.len() > ALARMS_KEPT.max(self.flows.len().saturating_mul(4)) {
            let flows = &self.flows;
            self.alarms.retain(|Reverse((due, id))| {
                flows.peek(*id).is_some_and(|followed| followed.alarm == Some(*due))
            });
        }
    }

    /// Gives a followed connection its segment.
    #[inline(always)]
    fn hand_to(&mut self, id: FlowId, segment: &Segment<'_>) {
        let Some(followed) = self.flows.get_mut(id) else { return };
        if let Some(keeper) = &mut self.keeper {
            keeper.recent.attach(id, segment.frame, [segment.src(), segment.dst()]);
        }
        let setting = setting(&self.config, &self.pool, &self.correlator);
        let keep =
            followed.connection.on_segment(segment, &setting, &mut self.budget, &mut self.said);
        if keep != Keep::AsBefore {
            self.after(id, keep);
        } else if !self.said.is_empty() {
            self.dispatch_said();
        }
    }

    fn on_unreachable(&mut self, unreachable: &Unreachable) {
        let (key, direction) = FlowKey::new(unreachable.src, unreachable.dst);
        let Some(id) = self.flows.find(&key) else { return };
        let Some(followed) = self.flows.get_mut(id) else { return };
        if let Some(keeper) = &mut self.keeper {
            keeper.recent.attach(id, unreachable.frame, [unreachable.src, unreachable.dst]);
        }
        let setting = setting(&self.config, &self.pool, &self.correlator);
        followed.connection.on_unreachable(
            unreachable,
            direction,
            &setting,
            &mut self.budget,
            &mut self.said,
        );
        self.after(id, Keep::Yes);
    }

    #[cold] // beside segments
    fn on_names(&mut self, datagram: &UdpDatagram<'_>) {
        let all = names::resolved(datagram);
        for resolved in &all {
            self.correlator.on_resolved(resolved);
        }
        if let (Some(keeper), Some(first)) = (&mut self.keeper, all.first()) {
            let client = first.client;
            keeper.recent.note_names(client, all.into_iter().flat_map(|it| it.ips).collect());
        }
    }

    fn on_alarm(&mut self, due: Timestamp, id: FlowId) {
        let Some(followed) = self.flows.get_mut(id) else { return };
        if followed.alarm != Some(due) {
            return;
        }
        followed.alarm = None;
        let setting = setting(&self.config, &self.pool, &self.correlator);
        let keep = followed.connection.on_time(due, &setting, &mut self.budget, &mut self.said);
        self.after(id, keep);
    }

    /// What a connection wants after it was at work.
    fn after(&mut self, id: FlowId, keep: Keep) {
        if keep == Keep::No {
            if let Some(followed) = self.flows.remove(id) {
                self.close_account(&followed.connection);
            }
        } else if let Some(followed) = self.flows.get_mut(id) {
            if let Some(due) = followed.connection.deadline(&self.config.limits, self.config.warns)
            {
                // Time goes forward: what has not been settled by now is asked for a moment later.
                let due = due.max(self.now.after(MOMENT));
                if followed.alarm.is_none_or(|alarm| due < alarm) {
                    followed.alarm = Some(due);
                    self.alarms.push(Reverse((due, id)));
                    self.idle_until = self.idle_until.min(due);
                    self.forget_alarms();
                }
            }
        }
        if !self.said.is_empty() {
            self.dispatch_said();
        }
    }

    /// A connection has to end: its ports are used again, it makes room, or the input is over.
    fn retire(&mut self, mut connection: Connection) {
        let setting = setting(&self.config, &self.pool, &self.correlator);
        connection.on_end(self.now, &setting, &mut self.budget, &mut self.said);
        self.close_account(&connection);
        self.dispatch_said();
    }

    fn on_eviction(&mut self, connection: Connection) {
        // One that is over is told whole, before its time.
        self.stats.evictions += u64::from(!connection.is_over());
        if self.stats.evictions == 1 && !connection.is_over() {
            let detail = format!(
                "more than {} connections at a time: the ones quiet for longest are forgotten",
                self.config.limits.connections
            );
            let anomaly = Anomaly::new(AnomalyKind::Limit, detail);
            self.on_input_anomaly(Some(connection.first().frame.input), anomaly);
        }
        self.retire(connection);
    }

    /// Adds a connection that is over to the statistics.
    fn close_account(&mut self, connection: &Connection) {
        let Some(outcome) = connection.outcome() else { return };
        *self.stats.sessions.entry(outcome).or_default() += 1;
        let (gaps, bytes) = connection.gaps();
        self.stats.gaps += gaps;
        self.stats.missing_bytes += bytes;
        self.stats.one_sided += u64::from(connection.is_one_sided());
    }

    fn dispatch_said(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let mut said = std::mem::take(&mut self.said);
        let Some((source, mut events)) = said.take_events() else { return };
        for event in events.drain(..) {
            match event {
                ConnEvent::Body(body) => self.dispatch(source.event(body)),
                ConnEvent::Messages(range) => self.tell_messages(&said, &source, range),
            }
        }
        // What is followed anew above speaks into a list of its own; this one is kept for the room of its
        // messages.
        said.reuse(events);
        if self.said.is_empty() {
            self.said = said;
        }
    }

    fn tell_messages(&mut self, said: &ConnOutput, source: &EventSource, range: Range<usize>) {
        let are_wanted = self.config.messages != MessageDetail::None;
        let mut found = Vec::new();
        said.each_message(source, range, |event| {
            if are_wanted {
                self.sink.message(event);
            }
            if event.wording.facts.trigger.is_some() {
                self.detector.on_message(event, &mut found);
            }
            for finding in found.drain(..) {
                self.tell(finding);
            }
        });
    }

    /// Shows an event to the stages that see several connections, then tells it and what they make of it.
    fn dispatch(&mut self, event: Event) {
        let mut marked = Vec::new();
        let mut nodes = Vec::new();
        self.correlator.on_event(&event, &mut marked, &mut nodes);
        self.detect_and_tell(event);
        for event in nodes {
            self.detect_and_tell(event);
        }
        for end in marked {
            self.on_marked(end);
        }
    }

    fn detect_and_tell(&mut self, event: Event) {
        let mut found = Vec::new();
        let incident = self.detector.on_event(&event, &self.correlator, &mut found);
        self.correlator.on_verdict(&event, incident);
        self.tell(event);
        for finding in found {
            self.tell(finding);
        }
        if !self.forgets && self.correlator.evictions() + self.detector.evictions() > 0 {
            self.forgets = true;
            let detail =
                "more nodes, pairs, look-ups or problems than are remembered: some are forgotten";
            self.tell_limit(detail.to_owned());
        }
        if !self.lacks_room && self.pool.refused() > 0 {
            self.lacks_room = true;
            self.tell_limit(format!(
                "messages need more than the {} bytes that are kept of them: some atoms, names and calls \
                 stay unknown",
                self.config.limits.messages
            ));
        }
    }

    /// A bound of the whole run has been reached.
    fn tell_limit(&mut self, detail: String) {
        let anomaly = Box::new(Anomaly::new(AnomalyKind::Limit, detail));
        let body = Body::Anomaly { anomaly };
        self.tell(Event { at: self.now, frame: None, input: None, connection: None, body });
    }

    /// A port has become known as a node's: connections to it that have said nothing yet are followed.
    fn on_marked(&mut self, end: Endpoint) {
        self.know_port(end.port);
        for opening in self.pending.take_to(end) {
            let Some(first) = opening.segments().next() else { continue };
            let goes = first.direction;
            let dials = if first.dst() == end { goes } else { goes.reverse() };
            self.enter(&first, FollowReason::Node(dials), Some(&opening));
        }
    }

    fn know_port(&mut self, port: u16) {
        if !self.known_ports.has_one_of(port, port) {
            self.known_ports.insert(port);
            self.flows.watch(port);
        }
    }

    fn tell(&mut self, mut event: Event) {
        let kept = self.keeper.as_mut().map_or(Ok(()), |keeper| keeper.on_event(&mut event));
        match &event.body {
            // The end of a registration is no request.
            Body::Epmd { epmd } if epmd.outcome != EpmdOutcome::Unregistered => {
                *self.stats.epmd.entry(epmd.outcome).or_default() += 1;
            }
            Body::Finding { finding } => {
                *self.stats.findings.entry(finding.rule).or_default() += 1;
            }
            Body::Anomaly { anomaly } => {
                let told = self.stats.anomalies.entry(anomaly.kind).or_default();
                *told += 1;
                if *told > self.config.limits.anomalies {
                    return;
                }
            }
            Body::Epmd { .. }
            | Body::Handshake { .. }
            | Body::Session { .. }
            | Body::Incident { .. }
            | Body::Node { .. }
            | Body::Cluster { .. }
            | Body::PairChange { .. }
            | Body::Comparison { .. }
            | Body::Stats { .. } => {}
        }
        self.sink.event(event);
        if let Err(detail) = kept {
            self.on_input_anomaly(None, Anomaly::new(AnomalyKind::NotSaved, detail));
        }
    }

    fn tell_cluster(&mut self) {
        let body = Body::Cluster { cluster: Box::new(self.correlator.cluster(self.now)) };
        let input = self.only_input();
        self.tell(Event { at: self.now, frame: None, input, connection: None, body });
    }

    fn tell_stats(&mut self, stats: Stats) {
        let body = Body::Stats { stats: Box::new(stats) };
        let input = self.only_input();
        self.tell(Event { at: self.now, frame: None, input, connection: None, body });
    }

    /// The input that a line about all of them is about, where there is one alone.
    fn only_input(&self) -> Option<u16> {
        (self.clocks.len() <= 1).then_some(0)
    }

    fn stats_now(&self, decoded: &Counters) -> Stats {
        let mut stats = self.stats.clone();
        stats.last = stats.first.map(|_| self.last);
        stats.cut_packets = decoded.cut;
        let fragments = &decoded.fragments;
        stats.lost_fragments =
            fragments.expired + fragments.evicted + fragments.refused + fragments.waiting as u64;
        stats.evictions += self.correlator.evictions() + self.detector.evictions();
        stats.evictions += self.pool.refused() as u64;
        let about_input = |kind: &AnomalyKind| kind.is_about_input() || *kind == AnomalyKind::Limit;
        stats.complete = stats.missing_bytes == 0
            && stats.gaps == 0
            && stats.cut_packets == 0
            && stats.lost_fragments == 0
            && stats.evictions == 0
            && stats.kernel_drops.unwrap_or(0) == 0
            && stats.interface_drops.unwrap_or(0) == 0
            && stats.left_out.unwrap_or(0) == 0
            && !stats.anomalies.keys().any(about_input);
        stats
    }

    /// One message for each link type that was met and is not read.
    fn tell_unsupported(&mut self, decoded: &Counters) {
        for (link, frames) in decoded.unsupported.iter().take(MAX_UNSUPPORTED_TOLD) {
            let detail = format!(
                "{frames} frames have link type {} (LINKTYPE_ registry of tcpdump.org), which is not \
                 read: nothing in them was looked at",
                link.0
            );
            let anomaly = Anomaly::new(AnomalyKind::UnsupportedLink, detail);
            self.on_input_anomaly(self.only_input(), anomaly);
        }
    }
}

/// What a segment is to the stages behind decoding.
enum Concern {
    /// Nothing.
    None,
    /// A part of the opening, or of the end, of a connection that has said nothing so far.
    TcpOpening,
    /// Nothing, unless it has overtaken the beginning of a connection.
    Other,
    /// Perhaps a part of a connection that is, or will be, followed.
    Segment,
}

/// A free function, so that the borrow checker sees which fields it borrows.
fn setting<'a>(config: &'a Config, pool: &'a Pool, correlator: &'a World) -> ConnContext<'a> {
    ConnContext {
        limits: &config.limits,
        cookies: &config.cookies,
        include_secrets: config.include_secrets,
        messages: config.messages,
        warns: config.warns,
        pool,
        facts: correlator,
    }
}

/// Whether a segment on a known port may begin a record: the last words of a connection that is over and
/// forgotten do not, except the reset of a closed port, which needs no SYN to be understood.
fn can_start_connection(segment: &Segment<'_>) -> bool {
    let flags = segment.flags;
    let answers_syn = flags.has(TcpFlags::RST) && flags.has(TcpFlags::ACK) && segment.seq == 0;
    flags.has(TcpFlags::SYN)
        || answers_syn
        || !segment.payload.is_empty()
        || segment.missing > 0
        || !(flags.has(TcpFlags::RST) || flags.has(TcpFlags::FIN))
}

fn is_syn_ack(segment: &Segment<'_>) -> bool {
    segment.flags.has(TcpFlags::SYN) && segment.flags.has(TcpFlags::ACK)
}

/// Whether what lies behind bytes this many is no part of a hello, so that nobody need know where they stand.
const fn reaches_past_hello(payload: &[u8]) -> bool {
    payload.len() >= MAX_BEFORE_HELLO as usize
}
/// Alarms below which none is dropped: little beside what else is kept.
const ALARMS_KEPT: usize = 4096;

/// Captures of several processors are out of order by less than this.
const CLOCK_STEP: std::time::Duration = std::time::Duration::from_millis(1);

/// A hello is shorter than this: what lies further behind the start of a stream is not a part of it.
const MAX_BEFORE_HELLO: u32 = 600;

/// Length and tag of a message: fewer bytes fit by chance.
const MIN_TELLING: usize = 3;

/// The shortest time between two looks at a connection for which nothing comes.
const MOMENT: std::time::Duration = std::time::Duration::from_millis(1);

/// A capture with more link types than this is not one.
const MAX_UNSUPPORTED_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "a test may")]

    use super::*;
    use crate::packet::FrameRef;

    /// What keeps a pipeline busy for days, in little time.
    struct Days {
        pipeline: Pipeline<Vec<Event>>,
        at: Timestamp,
        number: u64,
    }

    impl Days {
        fn new() -> Self {
            let pipeline = Pipeline::new(Config::default(), Vec::new());
            Self { pipeline, at: Timestamp::new(1_000_000, 0), number: 0 }
        }

        fn segment(&mut self, (from, to): (u16, u16), seq: u32, flags: u8, payload: &[u8]) {
            self.number += 1;
            let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, (port >> 15) as u8]), port };
            let (flow, direction) = FlowKey::new(end(from), end(to));
            self.pipeline.push_segment(&Segment {
                frame: FrameRef { input: 0, number: self.number },
                at: self.at,
                flow,
                direction,
                seq,
                ack: 1,
                flags: TcpFlags(flags),
                window: 1000,
                ip_id: None,
                payload,
                missing: 0,
                layers: &[],
            });
        }

        fn says(&mut self, ends: (u16, u16), seq: &mut u32, message: &[u8]) {
            let framed = [&(message.len() as u16).to_be_bytes(), message].concat();
            self.segment(ends, *seq, 0x18, &framed);
            *seq += framed.len() as u32;
        }

        fn pass(&mut self, millis: u64) {
            self.at = self.at.after(std::time::Duration::from_millis(millis));
        }
    }

    #[test]
    fn alarms_of_connections_that_are_gone_are_forgotten() {
        const STEP: u64 = 200;
        // Long enough for the next look at the connection to lie hours ahead.
        const LASTS: u32 = 100;
        let mut days = Days::new();
        let ends = |dial: u32| (32_768 + (dial % 30_000) as u16, 1000 + (dial % 10) as u16);
        let name = |name: &str| {
            [[0; 4].as_slice(), &(name.len() as u16).to_be_bytes(), name.as_bytes()].concat()
        };
        let flags = 0xd_07df_7fbd_u64.to_be_bytes();
        let hello = [b"N", flags.as_slice(), &name("a@one")].concat();
        let challenge = [b"N", flags.as_slice(), &[0; 4], &name("b@two")].concat();
        for dial in 0..5_500 {
            let there = ends(dial);
            let back = (there.1, there.0);
            let (mut up, mut down) = (1, 1);
            days.segment(there, 0, 0x02, b"");
            days.segment(back, 0, 0x12, b"");
            days.says(there, &mut up, &hello);
            days.says(back, &mut down, b"sok");
            days.says(back, &mut down, &challenge);
            days.says(there, &mut up, &[b'r'; 21]);
            days.says(back, &mut down, &[b'a'; 17]);
            if dial >= LASTS {
                days.segment(ends(dial - LASTS), up, 0x04, b"");
            }
            days.pass(STEP);
        }
        let stages = &days.pipeline.stages;
        assert!((100..1000).contains(&stages.flows.len()), "{}", stages.flows.len());
        assert!(stages.alarms.len() <= 5000, "{}", stages.alarms.len());
    }

    #[test]
    fn ports_of_connections_that_are_gone_are_forgotten() {
        let mut days = Days::new();
        for dial in 0..10_000_u32 {
            let ends = (32_768 + (dial % 30_000) as u16, 1000 + (dial % 10_000) as u16);
            days.segment(ends, 0, 0x02, b"");
            // What a hello may begin with.
            days.segment(ends, 1, 0x18, b"\0\x0dn\0\x05\0\0\0\x04a@one");
            days.segment(ends, 16, 0x04, b"");
            days.pass(90_000);
        }
        let stages = &days.pipeline.stages;
        assert!(stages.flows.len() < 10, "{}", stages.flows.len());
        let marked = (0..=u16::MAX).filter(|port| stages.flows.may_have(*port, *port)).count();
        assert!(marked <= 5000, "{marked}");
    }
}
