//! The engine: every stage behind the capture, from a frame to events.
//!
//! In: frames, and time. Out: events, to a sink. Together with `lib.rs` the only file that knows every stage. A
//! frame is pushed through all of them before the next is taken; nothing waits between two stages.

mod config;
mod dispatch;
mod reduce;
mod reopen;
mod stats;
mod timers;
mod unseen;

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

pub use crate::transport::tls::{KeyLog, KeyLogCounts};
pub use config::{Config, EPMD_PORT};
use dispatch::Work;
pub use reduce::{Conclusions, Reducer, judge_facts};
use reopen::WaitingSyns;
use timers::{SHORTEST_TIMER, Timers};

use crate::capture::Frame;
use crate::decode::{
    Decoded, Decoder, Endpoint, FastDecode, Segment, TcpFlags, TcpView, UdpDatagram, Unreachable,
};
use crate::detect::Rule;
use crate::evidence::{EvidenceCollector, EvidenceSink, Relevance};
use crate::flow::{Admission, FlowId, FlowKey, FlowTable, Interest, NodePorts, TcpOpening, Triage};
use crate::identify;
use crate::memory::MemoryBudget;
use crate::names::{self, NameMessage, Unresolved};
use crate::observe::{Fact, Recorded, Totals};
use crate::protocol::{ConnContext, ConnOutput, Connection, FollowReason, Keep};
use crate::questions::Questions;
use crate::record::{Anomaly, AnomalyKind, EventSink, Stats};
use crate::time::Timestamp;

/// All stages after the capture.
pub struct Engine<S> {
    decoder: Decoder,
    core: Core<S>,
}

/// How many endpoints an engine has learned: what [`Engine::learned_since`] goes on from.
#[derive(Clone, Copy, Debug, Default)]
pub struct LearnedCount {
    nodes: u64,
    epmd: u64,
}

/// The stages behind decoding: a struct of their own, because a segment borrows the decoder.
struct Core<S> {
    config: Config,
    triage: Triage,
    flows: FlowTable<Followed>,
    waiting_syns: WaitingSyns,
    /// Connections whose handshake is complete, until a segment shows that its last message was taken.
    unconfirmed: Vec<FlowId>,
    /// Whether a SYN waits, or a completion.
    is_watchful: bool,
    /// Memory for segments that wait for a hole to be filled.
    reassembly: MemoryBudget,
    timers: Timers,
    /// Endpoints at which nodes listen.
    node_ports: NodePorts,
    /// Endpoints on other ports than [`Config::epmd_ports`] at which an EPMD answered.
    epmd_ends: NodePorts,
    /// Questions about names and neighbours that wait for their answer.
    questions: Questions,
    /// Whether it was reported that endpoints of nodes are forgotten.
    forgets: bool,
    /// Whether it was reported that there is no more memory for messages.
    lacks_room: bool,
    /// Whether it was reported that segments behind holes need more memory than there is.
    drops_segments: bool,
    /// Whether it was reported that secrets of a key log are dropped.
    drops_secrets: bool,
    /// Whether there may be secrets of TLS connections.
    opens_tls: bool,
    /// Whether segments that change no state need no look at all: nearly all frames are such.
    skips_others: bool,
    /// The second half: facts to events.
    reducer: Reducer,
    /// The conclusions from the current fact; empty in between.
    conclusions: Conclusions,
    /// Number of facts so far.
    facts: u64,
    /// Receives each fact before the reducer, if facts are recorded.
    recorder: Option<FactRecorder>,
    /// Whether a segment on ports other than those of EPMD and of known nodes was read.
    has_other_ports: bool,
    /// Whether a segment that opens a TCP connection on such ports was read.
    has_openings: bool,
    /// Up to when the capture is known to have lost packets.
    lost_until: Option<Timestamp>,
    stats: Stats,
    /// What other runs counted whose facts this one takes in.
    elsewhere: Totals,
    /// Whether a digest was tested against the candidate cookies.
    are_cookies_tested: bool,
    /// Labels of the candidate cookies that fit a digest.
    used_cookies: HashSet<Arc<str>>,
    /// Latest capture time; the clock of a capture may go back.
    now: Timestamp,
    /// The value of `now` at the last frame.
    last: Timestamp,
    /// Capture time of the last frame of each input.
    clocks: Vec<Timestamp>,
    /// What connections have reported since the last dispatch.
    output: ConnOutput,
    /// Work that dispatching has called for.
    queue: VecDeque<Work>,
    /// Memory for what connections keep of messages.
    pool: MemoryBudget,
    /// Collects the packets of findings, if evidence is wanted.
    evidence: Option<Box<EvidenceCollector>>,
    sink: S,
}

/// Receives the facts of a run, in their order.
pub type FactRecorder = Box<dyn FnMut(&Recorded) + Send>;

/// A connection in the table.
#[derive(Debug)]
struct Followed {
    connection: Connection,
    /// The earliest of its timers, the only one that counts.
    timer: Option<Timestamp>,
}

impl<S: EventSink> Engine<S> {
    /// An engine before its first frame.
    pub fn new(config: Config, sink: S) -> Self {
        let decoder = Decoder::new(config.limits.fragments);
        Self { decoder, core: Core::new(config, sink) }
    }

    /// Processes one frame.
    ///
    /// Nearly all frames are of other protocols and end here. These few instructions are inlined into the loop over
    /// frames; the handling of the others is out of line.
    #[inline(always)]
    pub fn push_frame(&mut self, frame: &Frame<'_>) {
        self.core.count(frame);
        match self.decoder.decode_fast(frame) {
            FastDecode::Tcp(view) => match self.core.triage.interest(&view, &self.core.flows) {
                Interest::None if self.core.skips_others => {}
                Interest::None => self.push_other(frame, view),
                Interest::Opening => self.push_opening(frame, view),
                Interest::Overtaking => self.push_overtaking(frame, view),
                Interest::Stream => self.push_view(frame, view),
            },
            FastDecode::Other => {}
            FastDecode::Undecided => self.push_undecided(frame),
        }
    }

    #[inline(never)]
    fn push_opening(&mut self, frame: &Frame<'_>, view: TcpView<'_>) {
        if let Some(evidence) = &mut self.core.evidence {
            evidence.on_frame(frame, Relevance::Later);
        }
        self.core.has_other_ports = true;
        self.core.has_openings = true;
        self.core.triage.note(frame, &view);
    }

    #[inline(never)]
    fn push_overtaking(&mut self, frame: &Frame<'_>, view: TcpView<'_>) {
        let (flow, direction) = view.flow();
        if identify::may_be_proxy_header(view.payload())
            || self.core.has_secrets_of(view.payload())
            || !self.core.triage.is_ruled_out(&flow, view.seq(), direction)
        {
            self.push_view(frame, view);
        }
    }

    /// A segment on unknown ports that is of interest only if it is the first such, or if it begins a TLS connection whose
    /// secrets are known.
    #[inline(never)]
    fn push_other(&mut self, frame: &Frame<'_>, view: TcpView<'_>) {
        self.core.has_other_ports = true;
        self.core.skips_others = !self.core.opens_tls;
        if self.core.has_secrets_of(view.payload()) {
            self.push_view(frame, view);
        }
    }

    #[inline(never)]
    fn push_view(&mut self, frame: &Frame<'_>, view: TcpView<'_>) {
        let segment = self.decoder.segment(frame, &view);
        self.core.on_frame(frame, &segment);
        self.core.on_segment(&segment);
    }

    /// A frame that only the full decoder reads: options, fragments, tunnels, names, ICMP.
    #[inline(never)]
    fn push_undecided(&mut self, frame: &Frame<'_>) {
        let core = &mut self.core;
        match &self.decoder.decode_full(frame) {
            Decoded::Tcp(segment) => {
                let interest = core.triage.interest(segment, &core.flows);
                core.has_other_ports |= matches!(interest, Interest::None | Interest::Opening);
                core.has_openings |= interest == Interest::Opening;
                if interest != Interest::None {
                    core.on_frame(frame, segment);
                    core.on_segment(segment);
                }
            }
            Decoded::Unreachable(unreachable) => {
                if let Some(evidence) = &mut core.evidence {
                    evidence.on_frame(frame, Relevance::Now);
                }
                core.on_unreachable(unreachable);
            }
            Decoded::Names(datagram) => core.on_names(frame, datagram),
            Decoded::Neighbour(neighbour) => core.questions.on_neighbour(neighbour),
            Decoded::Other => {}
        }
    }

    /// Endpoints that have become known since `seen` was brought up to date, which it then is.
    pub fn learned_since(&self, seen: &mut LearnedCount) -> Vec<Endpoint> {
        let Core { node_ports, epmd_ends, .. } = &self.core;
        let ends = node_ports.since(seen.nodes).chain(epmd_ends.since(seen.epmd));
        let ends = ends.collect();
        *seen = LearnedCount { nodes: node_ports.inserted(), epmd: epmd_ends.inserted() };
        ends
    }

    /// Whether the connection with this key is followed, or would be by an engine that has had to follow fewer.
    pub fn may_follow(&self, key: &FlowKey) -> bool {
        self.core.flows.has(key) || self.core.flows.has_evicted()
    }

    /// The connections that are followed.
    pub fn followed(&self) -> impl Iterator<Item = &FlowKey> {
        self.core.flows.keys()
    }

    /// Processes a segment that was decoded elsewhere. There is no frame, so there is no evidence of it.
    pub fn push_segment(&mut self, segment: &Segment<'_>) {
        self.core.stats.packets += 1;
        self.core.advance(segment.at);
        self.core.on_segment(segment);
    }

    /// Adds a rule of the user to those of the library. It sees every fact from here on.
    pub fn add_rule(&mut self, rule: Box<dyn Rule>) {
        self.core.reducer.add_rule(rule);
    }

    /// From here on, the packets of each finding are saved in `archive` before the finding is reported.
    pub fn keep_evidence(&mut self, archive: Box<dyn EvidenceSink>) {
        let limits = &self.core.config.limits;
        self.core.evidence = Some(Box::new(EvidenceCollector::new(limits, archive)));
        // Cases are completed as time passes, which has no timer.
        self.core.timers.stay_awake();
    }

    /// From here on, `recorder` is given every fact before it is judged: [`judge_facts`] makes the same events of
    /// them.
    pub fn record_facts(&mut self, recorder: FactRecorder) {
        self.core.recorder = Some(recorder);
    }

    /// The capture file contains a name of an address, as its author resolved it. A name that no host can have is
    /// left out.
    pub fn on_listed_name(&mut self, ip: IpAddr, name: &[u8]) {
        if let Some(name) = names::host(name) {
            self.core.on_fact(Fact::ListedName { ip, name });
        }
    }

    /// The capture contains secrets of TLS connections, or a key log has grown by these lines.
    pub fn add_secrets(&mut self, lines: &[u8]) {
        self.core.config.key_log.add_lines(lines);
        self.core.opens_tls = self.core.config.key_log.is_in_use();
        self.core.skips_others = false;
    }

    /// Whether a payload begins with a ClientHello whose secrets are known.
    #[inline(always)] // the loop over frames of an extract
    pub(crate) fn has_secrets_of(&self, payload: &[u8]) -> bool {
        self.core.has_secrets_of(payload)
    }

    /// Takes in a fact of another run, whose facts come in the order of [`Recorded::clock`]. What it counted is added to the
    /// statistics of this one.
    pub fn push_fact(&mut self, recorded: Recorded) {
        self.core.now = self.core.now.max(recorded.clock);
        match recorded.fact {
            Fact::End(totals) => self.core.add_totals(&totals),
            fact => self.core.on_fact(fact),
        }
        self.core.run_queue();
    }

    /// The reader of input number `input` reports something about it.
    pub fn on_input_anomaly(&mut self, input: u16, anomaly: Anomaly) {
        self.core.on_anomaly(Some(input), anomaly);
        self.core.run_queue();
    }

    /// Whether something is due up to `now`, which [`Self::advance`] then does.
    #[inline]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.core.timers.is_due(now)
    }

    /// Advances the capture time to `now`, with or without a packet.
    pub fn advance(&mut self, now: Timestamp) {
        self.core.advance(now);
    }

    /// How many packets the kernel and the interfaces have dropped so far.
    pub const fn drops(&mut self, kernel: Option<u64>, interface: Option<u64>) {
        self.core.stats.kernel_drops = kernel;
        self.core.stats.interface_drops = interface;
    }

    /// The capture has lost packets, the last of them by `until` at the latest: nothing is concluded from
    /// the absence of a packet that may have been among them.
    pub fn on_loss(&mut self, until: Timestamp) {
        self.core.lost_until = self.core.lost_until.max(Some(until));
    }

    /// How many events the sink has left out so far.
    pub const fn left_out(&mut self, events: u64) {
        self.core.stats.left_out = Some(events);
    }

    /// Reports something about the run, and not about one input.
    pub fn on_anomaly(&mut self, anomaly: Anomaly) {
        self.core.on_anomaly(None, anomaly);
        self.core.run_queue();
    }

    /// Reports the nodes and the state of each pair of them, so far.
    pub fn cluster(&mut self) {
        self.core.report_cluster();
    }

    /// Reports the statistics so far.
    pub fn stats(&mut self) {
        let stats = self.core.stats_now(&self.decoder.counters());
        self.core.report_stats(stats);
    }

    /// The sink that the events go to.
    pub const fn sink_mut(&mut self) -> &mut S {
        &mut self.core.sink
    }

    /// Judges every connection that is still open, closes incidents, reports the final statistics, and returns the
    /// sink.
    pub fn finish(mut self) -> S {
        self.core.close_all();
        let counters = self.decoder.counters();
        self.core.report_unsupported(&counters);
        self.core.report_evicted_fragments(&counters);
        self.core.report_limits();
        let totals = self.core.totals(&counters);
        self.core.on_fact(Fact::End(Box::new(totals)));
        self.core.end_incidents();
        self.core.report_cluster();
        let stats = Stats { is_final: true, ..self.core.stats_now(&counters) };
        self.core.report_stats(self.core.with_unseen(stats, &counters));
        self.core.sink
    }
}

impl<S: EventSink> Core<S> {
    fn new(config: Config, sink: S) -> Self {
        let known: Vec<u16> = {
            let named = config.dist_ports.iter().cloned().flatten();
            named.chain(config.epmd_ports.iter().copied()).collect()
        };
        let mut core = Self {
            triage: Triage::new(config.limits.pending_connections),
            flows: FlowTable::new(config.limits.connections),
            waiting_syns: WaitingSyns::default(),
            unconfirmed: Vec::new(),
            is_watchful: false,
            reassembly: MemoryBudget::new(config.limits.held_total),
            timers: Timers::new(),
            forgets: false,
            lacks_room: false,
            drops_segments: false,
            drops_secrets: false,
            opens_tls: config.key_log.is_in_use(),
            skips_others: false,
            node_ports: NodePorts::new(config.dist_ports.clone(), config.limits.ports),
            epmd_ends: NodePorts::new(Vec::new(), config.limits.ports),
            questions: Questions::default(),
            reducer: Reducer::new(&config.limits, config.home_nets.clone()),
            conclusions: Conclusions::default(),
            facts: 0,
            recorder: None,
            has_other_ports: false,
            has_openings: false,
            lost_until: None,
            stats: Stats::default(),
            elsewhere: Totals::default(),
            are_cookies_tested: false,
            used_cookies: HashSet::new(),
            now: Timestamp::default(),
            last: Timestamp::default(),
            clocks: Vec::new(),
            output: ConnOutput::default(),
            queue: VecDeque::new(),
            pool: MemoryBudget::new(config.limits.messages),
            evidence: None,
            config,
            sink,
        };
        known.into_iter().for_each(|port| core.know_port(port));
        core
    }

    #[inline(always)]
    fn advance(&mut self, now: Timestamp) {
        if self.timers.is_due(now) {
            self.catch_up(now);
        }
        self.now = self.now.max(now);
    }

    /// Does what is due up to `now`.
    #[inline(never)]
    fn catch_up(&mut self, now: Timestamp) {
        while let Some((due, id)) = self.timers.pop(now) {
            self.on_timer(due, id);
        }
        self.timers.sleep();
        if let Some(evidence) = &mut self.evidence {
            evidence.advance(now);
            self.timers.stay_awake();
        }
    }

    #[cold] // beside packets
    fn on_timer(&mut self, due: Timestamp, id: FlowId) {
        // A long pause is gone through step by step: the work of one timer may set another within it.
        self.now = self.now.max(due);
        let Some(followed) = self.flows.get_mut(id) else { return };
        if followed.timer != Some(due) {
            return;
        }
        followed.timer = None;
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        let keep = followed.connection.on_time(due, &context, &mut self.output);
        self.after(id, keep);
        self.dispatch();
    }

    fn close_all(&mut self) {
        self.end_waiting_syns();
        let mut open: Vec<_> = self.flows.drain().collect();
        // A refused one would have been reported by now, were the capture a moment longer.
        open.sort_by_key(|followed| {
            (!followed.connection.is_refused(), followed.connection.first())
        });
        for followed in open {
            self.close(followed.connection);
            self.dispatch();
        }
        let (names, neighbours) = self.questions.at_end(self.now);
        for unresolved in names {
            self.on_fact(Fact::Unresolved(unresolved));
        }
        for neighbour in neighbours {
            self.on_fact(Fact::NoNeighbour(neighbour));
        }
    }

    /// Closes the incidents, once everything was reported that they may be about.
    fn end_incidents(&mut self) {
        let mut out = std::mem::take(&mut self.conclusions);
        self.reducer.finish(self.now, &mut out);
        for event in out.events.drain(..) {
            self.report(event);
        }
        self.run_queue();
        if let Some(evidence) = &mut self.evidence {
            evidence.advance(Timestamp(u64::MAX));
        }
    }

    /// Shows the frame of a segment to the collector of evidence, before the segment is handed to its connection.
    #[inline]
    fn on_frame(&mut self, frame: &Frame<'_>, segment: &Segment<'_>) {
        if let Some(evidence) = &mut self.evidence {
            let is_bare = segment.payload.is_empty() && segment.flags.opens_or_closes();
            evidence.on_frame(frame, if is_bare { Relevance::Later } else { Relevance::Now });
        }
    }

    /// Whether a payload begins with a ClientHello whose secrets a key log has.
    #[inline]
    fn has_secrets_of(&self, payload: &[u8]) -> bool {
        self.opens_tls && self.knows_secrets_of(payload)
    }

    #[cold]
    fn knows_secrets_of(&self, payload: &[u8]) -> bool {
        identify::client_random(payload).is_some_and(|random| self.config.key_log.has(random))
    }

    #[inline(always)] // each call on the path of a segment costs a hundredth of its time
    fn on_segment(&mut self, segment: &Segment<'_>) {
        let Some(id) = self.flows.find(&segment.flow) else {
            return self.on_first_segment(segment);
        };
        if segment.flags.has(TcpFlags::SYN) || self.is_watchful {
            self.on_watched_segment(id, segment);
        } else {
            self.hand_to(id, segment);
        }
    }

    /// Takes a segment whose ends have no connection.
    fn on_first_segment(&mut self, segment: &Segment<'_>) {
        if let Some(known) = self.known_by_port(segment) {
            if can_start_connection(segment) {
                let opening = self.triage.take_opening(&segment.flow);
                self.follow(segment, known, opening.as_ref());
            }
        } else {
            let is_opened = self.has_secrets_of(segment.payload);
            match self.triage.admit(segment, is_opened) {
                Admission::Ignored => {}
                Admission::Followed(opening) => {
                    self.follow(segment, FollowReason::Maybe, opening.as_ref());
                }
                Admission::Epmd(opening) => {
                    let reason = FollowReason::MaybeEpmd(segment.direction);
                    self.follow(segment, reason, Some(&opening));
                }
            }
        }
    }

    fn know_port(&mut self, port: u16) {
        if self.triage.know_port(port) {
            self.flows.watch(port);
        }
    }

    fn known_by_port(&self, segment: &Segment<'_>) -> Option<FollowReason> {
        let [low, high] = segment.flow.ports();
        if !self.triage.is_known(low, high) {
            return None;
        }
        let (src, dst, direction) = (segment.src(), segment.dst(), segment.direction);
        let epmd = |end: Endpoint| {
            self.config.epmd_ports.contains(&end.port) || self.epmd_ends.contains(end)
        };
        let node = |end: Endpoint| self.node_ports.contains(end);
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
        if let Some(id) = self.enter(segment, known, opening) {
            self.hand_to(id, segment);
        }
    }

    /// Puts the connection of a segment into the table and replays its opening to it.
    fn enter(
        &mut self,
        segment: &Segment<'_>,
        known: FollowReason,
        opening: Option<&TcpOpening>,
    ) -> Option<FlowId> {
        let first = opening.and_then(|opening| opening.segments().next());
        let begins = first.as_ref().unwrap_or(segment);
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        let connection = Connection::new(begins, known, &context);
        let (id, evicted) = self.flows.insert(segment.flow, Followed { connection, timer: None });
        if let Some(evidence) = &mut self.evidence {
            evidence.on_connection(id);
        }
        if let Some(evicted) = evicted {
            self.on_eviction(evicted.connection);
        }
        for segment in opening.into_iter().flat_map(TcpOpening::segments) {
            self.feed(id, &segment);
            self.flows.get_mut(id)?;
        }
        Some(id)
    }

    /// Hands a segment to its connection, and dispatches what that reports.
    #[inline(always)]
    fn hand_to(&mut self, id: FlowId, segment: &Segment<'_>) {
        self.feed(id, segment);
        if !self.queue.is_empty() {
            self.run_queue();
        }
    }

    /// Hands a segment to its connection. The work that its output calls for is queued.
    #[inline(always)]
    fn feed(&mut self, id: FlowId, segment: &Segment<'_>) {
        let Some(followed) = self.flows.get_mut(id) else { return };
        if let Some(evidence) = &mut self.evidence {
            evidence.on_packet(id, segment.frame, [segment.src(), segment.dst()]);
        }
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        let keep = followed.connection.on_segment(segment, &context, &mut self.output);
        if keep != Keep::AsBefore {
            self.after(id, keep);
        }
        if !self.output.is_empty() {
            self.flush_output();
        }
    }

    /// Reports the completion of a handshake that a segment confirms, before the segment.
    #[cold] // once for each connection
    fn confirm(&mut self, id: FlowId, segment: &Segment<'_>) {
        if !self.unconfirmed.contains(&id) {
            return;
        }
        let Some(followed) = self.flows.get_mut(id) else { return };
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        followed.connection.confirm(segment, &context, &mut self.output);
        if !self.output.is_empty() {
            self.flush_output();
        }
        let is_unconfirmed =
            self.flows.peek(id).is_some_and(|followed| followed.connection.is_unconfirmed());
        watch(&mut self.unconfirmed, id, is_unconfirmed);
    }

    fn on_unreachable(&mut self, unreachable: &Unreachable) {
        let (key, direction) = FlowKey::new(unreachable.src, unreachable.dst);
        let Some(id) = self.flows.find(&key) else { return };
        let Some(followed) = self.flows.get_mut(id) else { return };
        if let Some(evidence) = &mut self.evidence {
            evidence.on_packet(id, unreachable.frame, [unreachable.src, unreachable.dst]);
        }
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        followed.connection.on_unreachable(unreachable, direction, &context, &mut self.output);
        self.after(id, Keep::Yes);
        self.dispatch();
    }

    #[cold] // beside segments
    fn on_names(&mut self, frame: &Frame<'_>, datagram: &UdpDatagram<'_>) {
        for unresolved in self.questions.overdue(datagram.at) {
            self.on_fact(Fact::Unresolved(unresolved));
        }
        let (all, unresolved) = match names::read(datagram) {
            None => return,
            Some(NameMessage::Question(question, id)) => {
                self.questions.on_question(question, id);
                return;
            }
            Some(NameMessage::Answer { id, resolved, unresolved }) => {
                let question = self.questions.on_answer(datagram.dst.ip.to_canonical(), id);
                let unresolved = unresolved.map(|it| Unresolved {
                    question: question
                        .filter(|question| question.name == it.question.name)
                        .unwrap_or(it.question),
                    ..it
                });
                (resolved.into_iter().collect(), unresolved)
            }
            Some(NameMessage::Announced(all)) => (all, None),
        };
        if let (Some(evidence), Some(first)) = (&mut self.evidence, all.first()) {
            let ips = all.iter().flat_map(|it| it.ips.iter().copied()).collect();
            evidence.on_names(frame, first.client, ips);
        }
        for resolved in all {
            self.on_fact(Fact::Resolved(resolved));
        }
        if let Some(unresolved) = unresolved {
            self.on_fact(Fact::Unresolved(unresolved));
        }
    }

    /// What a connection needs after a segment or a timer: to be forgotten, or another timer.
    fn after(&mut self, id: FlowId, keep: Keep) {
        if keep == Keep::No {
            watch(&mut self.unconfirmed, id, false);
            if let Some(followed) = self.flows.remove(id) {
                self.count_closed(&followed.connection);
            }
        } else if let Some(followed) = self.flows.get_mut(id) {
            let is_unconfirmed = followed.connection.is_unconfirmed();
            if is_unconfirmed || self.is_watchful {
                watch(&mut self.unconfirmed, id, is_unconfirmed);
                self.is_watchful |= is_unconfirmed;
            }
            let due = followed.connection.deadline(&self.config.limits, self.config.warns);
            let Some(due) = due else { return };
            // Time goes forward: what is not settled by now is tried again a moment later.
            let due = due.max(self.now.after(SHORTEST_TIMER));
            if followed.timer.is_none_or(|timer| due < timer) {
                followed.timer = Some(due);
                self.timers.set(due, id);
                let flows = &self.flows;
                self.timers.prune(flows.len(), |due, id| {
                    flows.peek(id).is_some_and(|followed| followed.timer == Some(due))
                });
            }
        }
    }

    /// Ends a connection: its ports are used again, it makes room, or the input is over.
    fn close(&mut self, mut connection: Connection) {
        let context = context(&self.config, [&self.reassembly, &self.pool], self.lost_until);
        connection.on_end(self.now, &context, &mut self.output);
        self.count_closed(&connection);
        self.flush_output();
    }

    fn on_eviction(&mut self, connection: Connection) {
        // A connection that is over was reported completely.
        self.stats.evictions += u64::from(!connection.is_over());
        if self.stats.evictions == 1 && !connection.is_over() {
            let detail = format!(
                "more than {} connections at a time: the ones quiet for longest are forgotten",
                self.config.limits.connections
            );
            let input = Some(connection.first().frame.input);
            self.on_anomaly(input, Anomaly::new(AnomalyKind::Limit, detail));
        }
        self.close(connection);
    }
}

/// Adds a connection to those whose completion waits to be confirmed, or removes it. A full list drops the oldest, which
/// is then reported when its time has come.
#[cold] // twice for each connection
fn watch(unconfirmed: &mut Vec<FlowId>, id: FlowId, is_unconfirmed: bool) {
    unconfirmed.retain(|other| *other != id);
    if is_unconfirmed {
        if unconfirmed.len() >= MOST_UNCONFIRMED {
            unconfirmed.remove(0);
        }
        unconfirmed.push(id);
    }
}

/// A free function, so that the borrow checker sees which fields it borrows.
fn context<'a>(
    config: &'a Config,
    [reassembly, message_memory]: [&'a MemoryBudget; 2],
    lost_until: Option<Timestamp>,
) -> ConnContext<'a> {
    ConnContext {
        limits: &config.limits,
        key_log: &config.key_log,
        cookies: &config.cookies,
        include_secrets: config.include_secrets,
        messages: config.messages,
        warns: config.warns,
        reassembly,
        message_memory,
        lost_until,
    }
}

/// Whether a segment on a known port may begin a record: the last segments of a connection that is over and
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

/// Connections whose completion waits at a time: so many handshakes rarely end within a round trip.
const MOST_UNCONFIRMED: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "a test may")]

    use super::*;
    use crate::packet::FrameRef;
    use crate::record::Event;

    /// What keeps an engine busy for days, in little time.
    struct LongRun {
        engine: Engine<Vec<Event>>,
        at: Timestamp,
        number: u64,
    }

    impl LongRun {
        fn new() -> Self {
            let engine = Engine::new(Config::default(), Vec::new());
            Self { engine, at: Timestamp::new(1_000_000, 0), number: 0 }
        }

        fn segment(&mut self, (from, to): (u16, u16), seq: u32, flags: u8, payload: &[u8]) {
            self.number += 1;
            let end = |port| Endpoint { ip: IpAddr::from([10, 0, 0, (port >> 15) as u8]), port };
            self.engine.push_segment(&Segment {
                frame: FrameRef { input: 0, number: self.number },
                at: self.at,
                seq,
                ack: 1,
                flags: TcpFlags(flags),
                payload,
                ..Segment::between(end(from), end(to))
            });
        }

        fn send(&mut self, ends: (u16, u16), seq: &mut u32, message: &[u8]) {
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
        let mut run = LongRun::new();
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
            run.segment(there, 0, 0x02, b"");
            run.segment(back, 0, 0x12, b"");
            run.send(there, &mut up, &hello);
            run.send(back, &mut down, b"sok");
            run.send(back, &mut down, &challenge);
            run.send(there, &mut up, &[b'r'; 21]);
            run.send(back, &mut down, &[b'a'; 17]);
            if dial >= LASTS {
                run.segment(ends(dial - LASTS), up, 0x04, b"");
            }
            run.pass(STEP);
        }
        let core = &run.engine.core;
        assert!((100..1000).contains(&core.flows.len()), "{}", core.flows.len());
        assert!(core.timers.len() <= 5000, "{}", core.timers.len());
    }

    #[test]
    fn ports_of_connections_that_are_gone_are_forgotten() {
        let mut run = LongRun::new();
        for dial in 0..10_000_u32 {
            let ends = (32_768 + (dial % 30_000) as u16, 1000 + (dial % 10_000) as u16);
            run.segment(ends, 0, 0x02, b"");
            // What a hello may begin with.
            run.segment(ends, 1, 0x18, b"\0\x0dn\0\x05\0\0\0\x04a@one");
            run.segment(ends, 16, 0x04, b"");
            run.pass(90_000);
        }
        let core = &run.engine.core;
        assert!(core.flows.len() < 10, "{}", core.flows.len());
        let marked = (0..=u16::MAX).filter(|port| core.flows.may_have(*port, *port)).count();
        assert!(marked <= 5000, "{marked}");
    }
}
