//! One connection to EPMD: a request, its reply and its outcome.
//!
//! In: plain bytes of both directions, and the close. Out: an observation of each request. A reply has no length
//! prefix: the request determines its layout, and a length inside it, or the close, where it ends.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{Now, ReportReason};
use super::observation::delivery;
use super::{ConnOutput, Observed};
use crate::flow::Direction;
use crate::identify;
use crate::limits::Limits;
use crate::memory::{MemoryBudget, Reservation};
use crate::observe::{
    Anomaly, AnomalyKind, EpmdObservation, EpmdOutcome, EpmdPackets, Foreign, PerRole,
    ProxyHeaderFacts, Rare, RegisteredName, Role, TlsSide,
};
use crate::packet::PacketRef;
use crate::record::{Charset, hex, wire_text};
use crate::stream::tcp::{ClosingFlag, FirstClose, Opened, TcpConnection};
use crate::stream::{StreamEvent, TcpOffset};
use crate::time::{Timestamp, micros};
use crate::transport::PlainChunk;
use crate::wire::epmd::{self as wire, EpmdTag, Port2Resp, Request};
use crate::wire::{Cut, WireError, decode, framing};

/// The requests and the reply on one connection to EPMD.
#[derive(Debug)]
pub(super) struct EpmdConnection {
    requester: Direction,
    /// Whether the port or a reply shows that it is EPMD. Until then nothing is reported.
    is_certain: bool,
    request: StreamBuffer,
    reply: StreamBuffer,
    first_request: Option<SeenRequest>,
    /// Requests behind the first, which EPMD never answers.
    pipelined: Vec<SeenRequest>,
    /// The data of the requester that are no EPMD request. Nothing behind them is read.
    malformed: Option<Foreign>,
    /// The packet with which the requester closed, if it closed before EPMD did.
    requester_close: Option<PacketRef>,
    /// Sequence number of the first byte of each side, as far as known.
    starts: PerRole<Option<u32>>,
    /// The outcome of the first request in its last observation; `None` before the first one.
    reported: Option<EpmdOutcome>,
    /// Whether it was reported that the reply did not arrive.
    /// The reply with which EPMD refused the request, until it is reported.
    refusal: Option<Box<EpmdObservation>>,
    lost_reply_reported: bool,
    registration: Option<ActiveRegistration>,
}

/// The bytes of one direction that are not parsed yet.
#[derive(Debug)]
struct StreamBuffer {
    /// Never longer than `Limits::epmd_reply`.
    bytes: Vec<u8>,
    /// Memory that `bytes` uses.
    memory: Reservation,
    /// Whether bytes are missing behind `bytes`, because of a gap or of a bound.
    is_cut: bool,
    first: Option<PacketRef>,
    last: Option<PacketRef>,
}

impl StreamBuffer {
    const fn new(memory: Reservation) -> Self {
        Self { bytes: Vec::new(), memory, is_cut: false, first: None, last: None }
    }

    /// Adds bytes, up to a length of `most` and as far as there is memory.
    fn add(&mut self, bytes: &[u8], most: usize) {
        let room = most.saturating_sub(self.bytes.len()).min(bytes.len());
        let kept = bytes.get(..room).unwrap_or_default();
        let has_memory = self.memory.take(kept.len());
        if has_memory {
            self.bytes.extend_from_slice(kept);
        }
        self.is_cut = !has_memory || kept.len() < bytes.len();
    }

    /// Drops the first bytes, which were read.
    fn drop_front(&mut self, bytes: usize) {
        self.bytes.drain(..bytes.min(self.bytes.len()));
        self.memory.release(bytes);
    }

    /// Drops all bytes of this direction.
    fn clear(&mut self) {
        self.bytes = Vec::new();
        self.memory.release_all();
    }
}

/// A request, and the packet with its last byte.
#[derive(Debug)]
struct SeenRequest {
    tag: EpmdTag,
    record: EpmdObservation,
    mark: PacketRef,
}

/// A registration that EPMD accepted, which lasts until its connection closes.
#[derive(Debug)]
struct ActiveRegistration {
    name: Option<Arc<str>>,
    name_hex: Option<String>,
    port: Option<u16>,
    since: Timestamp,
}

/// What carried the bytes of a connection to EPMD.
pub(super) struct EpmdCarrier {
    /// The PROXY protocol header in front of the request.
    pub(super) proxy: Option<ProxyHeaderFacts>,
    /// What both sides showed of TLS, the client first.
    pub(super) tls: PerRole<TlsSide>,
}

impl EpmdConnection {
    pub(super) fn new(requester: Direction, is_certain: bool, memory: &MemoryBudget) -> Self {
        Self {
            requester,
            is_certain,
            request: StreamBuffer::new(memory.reservation()),
            reply: StreamBuffer::new(memory.reservation()),
            first_request: None,
            pipelined: Vec::new(),
            malformed: None,
            requester_close: None,
            starts: PerRole::default(),
            reported: None,
            refusal: None,
            lost_reply_reported: false,
            registration: None,
        }
    }

    /// The direction that the requests are sent in.
    pub(super) const fn requester(&self) -> Direction {
        self.requester
    }

    /// Whether the port or a reply shows that the connection is one to EPMD.
    pub(super) const fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// Whether a connection on another port turned out not to be one to EPMD.
    pub(super) const fn is_other_protocol(&self) -> bool {
        !self.is_certain && self.malformed.is_some()
    }

    /// Whether a node is registered on this connection, which stays open and quiet as long as the node runs.
    pub(super) const fn is_registration(&self) -> bool {
        self.registration.is_some()
    }

    /// Takes in the opening and the first close of the connection, as known before the next segment.
    pub(super) fn on_tcp(&mut self, tcp: &TcpConnection) {
        if self.requester_close.is_none() {
            let close = tcp.first_close().filter(|close| close.by == Some(self.requester));
            self.requester_close = close.map(|close| close.mark);
        }
        self.starts = self.starts(tcp);
    }

    /// Sequence number of the first byte of each side, as far as known.
    fn starts(&self, tcp: &TcpConnection) -> PerRole<Option<u32>> {
        let [requester, epmd] = [self.requester, self.requester.reverse()].map(|it| tcp.side(it));
        PerRole { initiator: requester.start(), acceptor: epmd.start() }
    }

    /// Takes in the next bytes of one direction, or a gap.
    pub(super) fn on_stream(
        &mut self,
        direction: Direction,
        chunk: &PlainChunk<'_>,
        limits: &Limits,
        out: &mut ConnOutput,
    ) {
        let from_requester = direction == self.requester;
        let stream = if from_requester { &mut self.request } else { &mut self.reply };
        stream.first.get_or_insert(*chunk.packet);
        stream.last = Some(*chunk.packet);
        match chunk.event {
            StreamEvent::Gap(_) => stream.is_cut = true,
            StreamEvent::Data(bytes) if !stream.is_cut => stream.add(bytes, limits.epmd_reply),
            StreamEvent::Data(_) => {}
        }
        if from_requester {
            self.cut_requests(out);
        }
        self.report_whole_reply(out);
    }

    /// Parses the whole requests received so far.
    fn cut_requests(&mut self, out: &mut ConnOutput) {
        while self.malformed.is_none() && self.pipelined.len() < MAX_PIPELINED {
            let (Some(first), Some(mark)) = (self.request.first, self.request.last) else { return };
            let (body, used) = match framing::cut_packet2(&self.request.bytes) {
                Cut::Message { body, used } if !body.is_empty() && used < INBUF_SIZE => {
                    (body, used)
                }
                Cut::Need(more) if self.request.bytes.len() + more < INBUF_SIZE => return,
                _ => {
                    self.on_malformed(first, WireError::malformed("length", 0), out);
                    return;
                }
            };
            match decode(body, wire::request) {
                Ok(Request::Unknown(_)) => {
                    self.on_malformed(first, WireError::malformed("tag", 0), out);
                }
                Ok(request) => {
                    let seen =
                        SeenRequest { tag: request.tag(), record: observation_of(&request), mark };
                    self.request.drop_front(used);
                    if self.first_request.is_none() {
                        self.first_request = Some(seen);
                    } else {
                        self.pipelined.push(seen);
                    }
                }
                Err(error) => self.on_malformed(first, error, out),
            }
        }
    }

    /// Reports that the requester does not send EPMD requests, and drops its data.
    fn on_malformed(&mut self, mark: PacketRef, error: WireError, out: &mut ConnOutput) {
        let looks_like = identify::looks_like(&self.request.bytes);
        if self.is_certain {
            out.push(no_request(error, looks_like));
        }
        let looks_like = looks_like.into();
        self.malformed = Some(Foreign { from: Role::Initiator, mark, looks_like });
        self.request.clear();
    }

    /// Reports the request as soon as its reply is complete by its own length.
    fn report_whole_reply(&mut self, out: &mut ConnOutput) {
        if self.is_settled() {
            return;
        }
        let Some(request) = &self.first_request else { return };
        let cut = match request.tag {
            EpmdTag::ALIVE2_REQ => framing::cut_alive2_resp(&self.reply.bytes),
            EpmdTag::PORT_PLEASE2_REQ => framing::cut_port2_resp(&self.reply.bytes),
            _ => return,
        };
        if matches!(cut, Cut::Message { .. }) {
            self.on_reply(out);
        }
    }

    /// Takes in a whole reply. On another port than EPMD's it also confirms that the connection is one to EPMD, or not.
    fn on_reply(&mut self, out: &mut ConnOutput) {
        let Some(request) = &self.first_request else { return };
        if !self.is_certain {
            let is_whole = !self.reply.is_cut && self.request.bytes.is_empty();
            self.is_certain = is_whole && fits(request, &self.reply.bytes);
        }
        if !self.is_certain {
            let looks_like = identify::looks_like(&self.reply.bytes).into();
            let first = self.reply.first;
            self.malformed = first.map(|mark| Foreign { from: Role::Acceptor, mark, looks_like });
            return;
        }
        self.report_reply(out);
    }

    /// Reports the request with the reply received so far.
    fn report_reply(&mut self, out: &mut ConnOutput) {
        let Some(request) = &self.first_request else { return };
        let mut record = request.record.clone();
        record.outcome = read_reply(request.tag, &self.reply.bytes, &mut record);
        record.seen.starts = self.starts;
        record.seen.request = Some(request.mark);
        record.seen.reply = self.reply.last;
        record.seen.close = self.requester_close;
        record.seen.closed_by = self.requester_close.map(|_| Role::Initiator);
        record.response_time_us =
            self.reply.last.map(|reply| micros(reply.at.since(request.mark.at)));
        if request.tag == EpmdTag::ALIVE2_REQ && record.outcome == EpmdOutcome::Answered {
            self.registration = Some(ActiveRegistration {
                name: record.name.clone(),
                name_hex: record.name_hex.clone(),
                port: record.port,
                since: self.reply.last.map_or(request.mark.at, |mark| mark.at),
            });
        }
        self.reported = Some(record.outcome);
        if record.outcome == EpmdOutcome::Answered {
            out.push(Observed::Epmd(Box::new(record)));
        } else {
            self.refusal = Some(Box::new(record));
        }
    }

    /// Whether EPMD refused, and that was not reported: nothing has shown yet that the requester took the reply.
    pub(super) const fn has_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    /// Reports a refusal that waits to be reported.
    pub(super) fn report_refusal(&mut self, out: &mut ConnOutput) {
        if let Some(record) = self.refusal.take() {
            out.push(Observed::Epmd(record));
        }
    }

    /// Whether the reported outcome is final. One without an answer is not, since the answer may come late.
    const fn is_settled(&self) -> bool {
        use EpmdOutcome::{Incomplete, Unacknowledged, Unanswered};
        !matches!(self.reported, None | Some(Unanswered | Incomplete | Unacknowledged))
    }

    /// Reports what has not been reported, when the connection is over or quiet or the capture ends. A quiet
    /// connection may still get an answer. Until `lost` the capture has lost packets, so that packets which it does
    /// not show may have been sent.
    pub(super) fn on_end(
        &mut self,
        tcp: &TcpConnection,
        carrier: &EpmdCarrier,
        now: Now,
        why: ReportReason,
        lost: Option<Timestamp>,
        out: &mut ConnOutput,
    ) {
        let closed = tcp.first_close();
        if let Some(registration) = self.registration.take_if(|_| closed.is_some()) {
            let until = closed.map_or(now.at, |close| close.mark.at);
            out.push(Observed::Epmd(Box::new(EpmdObservation {
                request: Some(EpmdTag::ALIVE2_REQ),
                name: registration.name,
                name_hex: registration.name_hex,
                port: registration.port,
                outcome: EpmdOutcome::Unregistered,
                lifetime_us: Some(micros(until.since(registration.since))),
                seen: self.seen(tcp, carrier),
                ..EpmdObservation::default()
            })));
        }
        if self.is_settled() {
            self.report_lost_reply(tcp, carrier, out);
            return;
        }
        let outcome = self.outcome_at_end(tcp, carrier, lost);
        let waits = why == ReportReason::Quiet
            && closed.is_none()
            && outcome == Some(EpmdOutcome::Incomplete);
        if waits || self.reported.is_some() && self.reported == outcome {
            return;
        }
        let seen = self.seen(tcp, carrier);
        if outcome == Some(EpmdOutcome::Malformed) && self.malformed.is_none() {
            let found = match (&carrier.proxy, carrier.tls.initiator.sign) {
                (Some(_), _) => "a PROXY protocol header",
                (None, Some(_)) => "the start of TLS",
                (None, None) => "TLS in the reply",
            };
            out.push(no_request(WireError::malformed("length", 0), found));
        }
        if outcome.is_none() && self.first_request.is_some() {
            self.report_reply(out);
            self.report_refusal(out);
        } else {
            let outcome = outcome.unwrap_or_default();
            self.reported = Some(outcome);
            let mut record = match &self.first_request {
                Some(request) => request.record.clone(),
                None => reply_alone(&self.reply.bytes),
            };
            if self.first_request.is_some() || record.outcome == EpmdOutcome::Incomplete {
                record.outcome = outcome;
            }
            record.seen = seen.clone();
            out.push(Observed::Epmd(Box::new(record)));
        }
        for request in self.pipelined.drain(..) {
            let mut record = request.record;
            // EPMD closes without a reply if it receives more than one request.
            let silent = self.reply.bytes.is_empty() && closed.is_some() && is_whole(tcp);
            record.outcome = if silent { EpmdOutcome::NoReply } else { EpmdOutcome::Incomplete };
            record.seen = EpmdPackets { request: Some(request.mark), ..seen.clone() };
            out.push(Observed::Epmd(Box::new(record)));
        }
    }

    /// Reports once that a reply which was sent did not arrive at the requester.
    fn report_lost_reply(
        &mut self,
        tcp: &TcpConnection,
        carrier: &EpmdCarrier,
        out: &mut ConnOutput,
    ) {
        let Some(request) = &self.first_request else { return };
        let delivery = delivery(tcp.side(self.requester.reverse()));
        let is_lost = delivery.unacknowledged().is_some_and(|resent| resent.is_lost());
        if !is_lost || std::mem::replace(&mut self.lost_reply_reported, true) {
            return;
        }
        let mut record = request.record.clone();
        record.outcome = EpmdOutcome::Unacknowledged;
        record.seen = self.seen(tcp, carrier);
        out.push(Observed::Epmd(Box::new(record)));
    }

    /// Whether the request was sent and did not arrive at EPMD.
    fn is_request_lost(&self, tcp: &TcpConnection, request: PacketRef) -> bool {
        let delivery = delivery(tcp.side(self.requester));
        let close = tcp.first_close().filter(|_| is_whole(tcp));
        let gave_up = close.is_some_and(|close| close.mark.at.since(request.at) >= GIVES_UP);
        let is_unacknowledged = delivery.acked.is_none_or(|acked| acked <= TcpOffset::BASE);
        delivery.unacknowledged().is_some_and(|resent| resent.is_lost())
            || gave_up && is_unacknowledged && self.shows_silence(tcp, request)
    }

    /// The outcome of a request that was not reported before the end; `None` if it depends on the reply.
    fn outcome_at_end(
        &self,
        tcp: &TcpConnection,
        carrier: &EpmdCarrier,
        lost: Option<Timestamp>,
    ) -> Option<EpmdOutcome> {
        match tcp.opened() {
            Opened::Reset(_) | Opened::Unreachable(_) => {
                return Some(EpmdOutcome::ConnectionRefused);
            }
            Opened::Unanswered => {
                let is_timeout = tcp.timed_out(self.requester, lost);
                return Some(if is_timeout {
                    EpmdOutcome::Unanswered
                } else {
                    EpmdOutcome::Incomplete
                });
            }
            Opened::Yes => {}
        }
        let has_tls = carrier.tls.each().any(|(_, tls)| tls.sign.is_some());
        if self.malformed.is_some() || has_tls {
            return Some(EpmdOutcome::Malformed);
        }
        let closed = tcp.first_close().is_some() && is_whole(tcp);
        if carrier.proxy.is_some() && closed && self.reply.bytes.is_empty() {
            // EPMD reads the header as a request, and closes.
            return Some(EpmdOutcome::Malformed);
        }
        let Some(request) = &self.first_request else { return Some(EpmdOutcome::Incomplete) };
        if self.reply.is_cut {
            return Some(EpmdOutcome::Incomplete);
        }
        if self.reply.bytes.is_empty() {
            if self.is_request_lost(tcp, request.mark) {
                return Some(EpmdOutcome::Unacknowledged);
            }
            let closed = closed && self.shows_silence(tcp, request.mark);
            return Some(if closed { EpmdOutcome::NoReply } else { EpmdOutcome::Incomplete });
        }
        let ends_at_close = matches!(
            request.tag,
            EpmdTag::NAMES_REQ | EpmdTag::DUMP_REQ | EpmdTag::KILL_REQ | EpmdTag::STOP_REQ
        );
        let replier = tcp.side(self.requester.reverse());
        if ends_at_close && replier.has_closed() && !tcp.is_short(self.requester.reverse()) {
            return None;
        }
        Some(EpmdOutcome::Incomplete)
    }

    /// Whether the capture shows that EPMD sent no reply to `request`, and does not only lack one: EPMD closed, or the
    /// requester gave up after a while, and had received nothing by then.
    fn shows_silence(&self, tcp: &TcpConnection, request: PacketRef) -> bool {
        let (requester, epmd) = (tcp.side(self.requester), tcp.side(self.requester.reverse()));
        // The opening shows where the reply would begin. A host that has closed resets when something still comes.
        let is_reset = requester.has_reset_after_fin() && !epmd.has_closed();
        if tcp.originator().is_none() || is_reset {
            return false;
        }
        let gave_up = |close: FirstClose| {
            close.received.is_some() && close.mark.at.since(request.at) >= GIVES_UP
        };
        epmd.has_closed() || tcp.first_close().is_some_and(gave_up)
    }

    /// The packets of the connection, and what they show of the reason for a missing reply.
    fn seen(&self, tcp: &TcpConnection, carrier: &EpmdCarrier) -> EpmdPackets {
        let (requester, epmd) = (tcp.side(self.requester), tcp.side(self.requester.reverse()));
        let syn = requester.syn;
        let refused = tcp.opened().refused();
        let close = tcp.first_close();
        let sent_end = requester.stream.end();
        let is_unread = |close: &FirstClose| {
            close.by == Some(self.requester.reverse())
                && (close.kind == ClosingFlag::Rst
                    || close.received.is_some_and(|received| received < sent_end))
        };
        let role = |by| if by == self.requester { Role::Initiator } else { Role::Acceptor };
        EpmdPackets {
            syn: syn.map(|syn| syn.mark),
            syns: syn.map_or(0, |syn| syn.count),
            starts: self.starts(tcp),
            request: self.first_request.as_ref().map(|request| request.mark),
            reply: self.reply.last,
            close: refused.or_else(|| close.map(|close| close.mark)),
            icmp: tcp.icmp().map(|icmp| (icmp.kind, icmp.code, icmp.reporter)),
            foreign: self.malformed.clone(),
            proxy: carrier.proxy,
            tls: carrier.tls.clone().map(Rare::new),
            closed_by: close.and_then(|close| close.by).map(role),
            is_whole: is_whole(tcp),
            is_acknowledged: requester.stream.acked().is_some_and(|acked| acked >= sent_end),
            is_unread: close.is_some_and(|close| is_unread(&close)),
            is_pipelined: !self.pipelined.is_empty() || !self.request.bytes.is_empty(),
            is_mute: requester.stream.bytes() + epmd.stream.bytes() == 0,
            delivery: PerRole { initiator: delivery(requester), acceptor: delivery(epmd) },
            last_segment: PerRole { initiator: requester.last(), acceptor: epmd.last() },
        }
    }
}

/// The anomaly of bytes that are no request to EPMD.
fn no_request(error: WireError, found: &str) -> Observed {
    Observed::Anomaly(Anomaly {
        kind: AnomalyKind::Malformed,
        field: Some(error.field.into()),
        offset: Some(error.offset as u64),
        detail: format!("expected an EPMD request, found {found}"),
    })
}

/// Whether the capture has both directions without a gap.
fn is_whole(tcp: &TcpConnection) -> bool {
    tcp.both_seen()
        && tcp.is_whole(Direction::LowToHigh, None)
        && tcp.is_whole(Direction::HighToLow, None)
}

/// Whether a reply fits its request in what only EPMD sends: the name that was asked for, or a bare result.
fn fits(request: &SeenRequest, reply: &[u8]) -> bool {
    if request.tag == EpmdTag::ALIVE2_REQ {
        return matches!(reply, [b'y' | b'v', 0 | 1, ..]) && reply.len() <= 6;
    }
    match decode(reply, wire::port2_resp) {
        Ok(Port2Resp::Refused(_)) => reply == [b'w', 1],
        Ok(Port2Resp::Registered(node)) => {
            node.name.is_some_and(|name| alive_name(name).0 == request.record.name)
        }
        Err(_) => false,
    }
}

/// The observation of a request before its reply.
fn observation_of(request: &Request<'_>) -> EpmdObservation {
    let mut record = EpmdObservation { request: Some(request.tag()), ..EpmdObservation::default() };
    match *request {
        Request::Alive2Req(node) => {
            (record.name, record.name_hex) = alive_name(node.name);
            record.port = Some(node.port);
            record.node_type = Some(node.node_type);
            record.protocol = Some(node.protocol);
            record.highest_version = Some(node.highest_version);
            record.lowest_version = Some(node.lowest_version);
            record.extra_hex = (!node.extra.is_empty()).then(|| hex(node.extra));
        }
        Request::PortPlease2Req { name } | Request::StopReq { name } => {
            (record.name, record.name_hex) = alive_name(name);
        }
        Request::NamesReq
        | Request::DumpReq
        | Request::KillReq
        | Request::Ancient(_)
        | Request::Unknown(_) => {}
    }
    record
}

/// Adds the fields of a whole reply to `record`, and returns the outcome that it shows.
fn read_reply(request: EpmdTag, bytes: &[u8], record: &mut EpmdObservation) -> EpmdOutcome {
    match request {
        EpmdTag::ALIVE2_REQ => {
            let Ok(reply) = decode(bytes, wire::alive2_resp) else {
                return EpmdOutcome::Malformed;
            };
            record.response = Some(reply.tag);
            record.result = Some(reply.result);
            if reply.result != 0 {
                return EpmdOutcome::RegistrationRefused;
            }
            record.creation = Some(reply.creation.0);
        }
        EpmdTag::PORT_PLEASE2_REQ => {
            let Ok(reply) = decode(bytes, wire::port2_resp) else { return EpmdOutcome::Malformed };
            record.response = Some(EpmdTag::PORT2_RESP);
            match reply {
                Port2Resp::Refused(result) => {
                    record.result = Some(result);
                    return EpmdOutcome::NotRegistered;
                }
                Port2Resp::Registered(node) => {
                    record.result = Some(0);
                    record.port = Some(node.port);
                    record.node_type = Some(node.node_type);
                    record.protocol = Some(node.protocol);
                    record.highest_version = Some(node.highest_version);
                    record.lowest_version = Some(node.lowest_version);
                    record.extra_hex = (!node.extra.is_empty()).then(|| hex(node.extra));
                    if record.name.is_none() {
                        (record.name, record.name_hex) = node.name.map_or((None, None), alive_name);
                    }
                }
            }
        }
        EpmdTag::NAMES_REQ | EpmdTag::DUMP_REQ => {
            let Ok(listing) = decode(bytes, wire::listing) else { return EpmdOutcome::Malformed };
            let line = |registration: wire::Registration<'_>| {
                let (name, name_hex) = wire_text(registration.name, Charset::Utf8);
                RegisteredName { name, name_hex, port: registration.port }
            };
            record.names = Some(if request == EpmdTag::NAMES_REQ {
                listing.names().map(line).collect()
            } else {
                listing.dump().filter(|known| known.active).map(line).collect()
            });
        }
        _ => {
            let text = String::from_utf8_lossy(
                bytes.get(..MAX_COMMAND_REPLY.min(bytes.len())).unwrap_or_default(),
            );
            // `NO` to KILL, `NOEXISTSTOPPED` to STOP.
            let refused = text.starts_with("NO");
            record.reply = Some(text.into_owned());
            if refused {
                return EpmdOutcome::CommandRefused;
            }
        }
    }
    EpmdOutcome::Answered
}

/// The observation of a reply whose request was not seen, as far as the reply alone shows it.
fn reply_alone(bytes: &[u8]) -> EpmdObservation {
    let mut record = EpmdObservation::default();
    let request = match bytes.first() {
        Some(b'w') => EpmdTag::PORT_PLEASE2_REQ,
        Some(b'v' | b'y') => EpmdTag::ALIVE2_REQ,
        _ => return record,
    };
    let outcome = read_reply(request, bytes, &mut record);
    if outcome == EpmdOutcome::Malformed {
        return EpmdObservation::default();
    }
    record.outcome = outcome;
    record
}

/// The text of an alive name, and its hex digits if the text loses bytes.
fn alive_name(name: &[u8]) -> (Option<Arc<str>>, Option<String>) {
    let (name, name_hex) = wire_text(name, Charset::Utf8);
    (Some(name), name_hex)
}

/// Size of the input buffer of EPMD; a request and its length prefix are shorter.
const INBUF_SIZE: usize = 3060;

/// Bytes that are not acknowledged for this long did not arrive, or their acknowledgement did not: hosts delay it by
/// less than half a second (RFC 9293, section 3.8.6.3).
const GIVES_UP: Duration = Duration::from_secs(1);

/// Most requests behind the first that are reported.
const MAX_PIPELINED: usize = 16;

/// Longest reply to a command that is kept; the longest one that EPMD sends has 14 bytes.
const MAX_COMMAND_REPLY: usize = 64;
