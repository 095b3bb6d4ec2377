//! One connection to a port mapper: a request, its reply, and what came of it.
//!
//! A reply has no length of its own: the request tells what it is, a length inside or the close where it
//! ends.

use std::sync::Arc;

use super::{ConnOutput, Now, Observed, ReportReason};
use crate::flow::Direction;
use crate::identify;
use crate::limits::Limits;
use crate::observe::{
    Anomaly, AnomalyKind, EpmdObservation, EpmdOutcome, EpmdPackets, Foreign, RegisteredName, Role,
};
use crate::packet::PacketRef;
use crate::record::{Charset, hex, wire_text};
use crate::stream::StreamEvent;
use crate::stream::tcp::{ClosingFlag, FirstClose, Opened, TcpConnection};
use crate::time::{Timestamp, micros};
use crate::transport::PlainChunk;
use crate::wire::epmd::{self as wire, EpmdTag, Port2Resp, Request};
use crate::wire::{Cut, WireError, decode, framing};

/// What is said on one connection to a port mapper.
#[derive(Debug)]
pub(super) struct EpmdTalk {
    requester: Direction,
    request: Stream,
    reply: Stream,
    asked: Option<Asked>,
    /// Requests behind the first, which EPMD never answers.
    pipelined: Vec<Asked>,
    broken: Option<Foreign>,
    /// Where the asker closed, before the port mapper did.
    left: Option<PacketRef>,
    /// What was told of the first request, if anything.
    told: Option<EpmdOutcome>,
    registration: Option<Registration>,
}

#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    torn: bool,
    first: Option<PacketRef>,
    last: Option<PacketRef>,
}

#[derive(Debug)]
struct Asked {
    tag: EpmdTag,
    record: EpmdObservation,
    mark: PacketRef,
}

#[derive(Debug)]
struct Registration {
    name: Option<Arc<str>>,
    name_hex: Option<String>,
    port: Option<u16>,
    since: Timestamp,
}

impl EpmdTalk {
    pub(super) fn new(requester: Direction) -> Self {
        Self {
            requester,
            request: Stream::default(),
            reply: Stream::default(),
            asked: None,
            pipelined: Vec::new(),
            broken: None,
            left: None,
            told: None,
            registration: None,
        }
    }

    /// Who asks.
    pub(super) const fn requester(&self) -> Direction {
        self.requester
    }

    /// Whether a node is registered through this connection: it stays quiet for as long as that lives.
    pub(super) const fn is_registration(&self) -> bool {
        self.registration.is_some()
    }

    /// How the connection was closed, as far as it goes.
    pub(super) fn on_close(&mut self, close: Option<FirstClose>) {
        let by_asker = close.filter(|close| close.by == Some(self.requester));
        self.left = self.left.or_else(|| by_asker.map(|close| close.mark));
    }

    /// The next stretch of one direction.
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
            StreamEvent::Gap(_) => stream.torn = true,
            StreamEvent::Data(bytes) if !stream.torn => {
                let room = limits.epmd_reply.saturating_sub(stream.bytes.len());
                let kept = bytes.get(..room.min(bytes.len())).unwrap_or_default();
                stream.bytes.extend_from_slice(kept);
                stream.torn = kept.len() < bytes.len();
            }
            StreamEvent::Data(_) => {}
        }
        if from_requester {
            self.cut_requests(out);
        }
        self.answer_if_whole(out);
    }

    fn cut_requests(&mut self, out: &mut ConnOutput) {
        while self.broken.is_none() && self.pipelined.len() < MAX_PIPELINED {
            let (Some(first), Some(mark)) = (self.request.first, self.request.last) else { return };
            let (body, used) = match framing::cut_packet2(&self.request.bytes) {
                Cut::Message { body, used } if !body.is_empty() && used < INBUF_SIZE => {
                    (body, used)
                }
                Cut::Need(more) if self.request.bytes.len() + more < INBUF_SIZE => return,
                _ => {
                    self.break_off(first, WireError::malformed("length", 0), out);
                    return;
                }
            };
            match decode(body, wire::request) {
                Ok(Request::Unknown(_)) => {
                    self.break_off(first, WireError::malformed("tag", 0), out);
                }
                Ok(request) => {
                    let asked = Asked { tag: request.tag(), record: record_of(&request), mark };
                    self.request.bytes.drain(..used);
                    if self.asked.is_none() {
                        self.asked = Some(asked);
                    } else {
                        self.pipelined.push(asked);
                    }
                }
                Err(error) => self.break_off(first, error, out),
            }
        }
    }

    fn break_off(&mut self, mark: PacketRef, error: WireError, out: &mut ConnOutput) {
        let looks_like = identify::looks_like(&self.request.bytes);
        out.push(Observed::Anomaly(Anomaly {
            kind: AnomalyKind::Malformed,
            field: Some(error.field.into()),
            offset: Some(error.offset as u64),
            detail: format!("expected an EPMD request, found {looks_like}"),
        }));
        let looks_like = looks_like.into();
        self.broken = Some(Foreign { from: Role::Initiator, mark, looks_like });
        self.request.bytes = Vec::new();
    }

    /// Tells what came of the request as soon as the reply shows its own end.
    fn answer_if_whole(&mut self, out: &mut ConnOutput) {
        if self.is_settled() {
            return;
        }
        let Some(asked) = &self.asked else { return };
        let cut = match asked.tag {
            EpmdTag::ALIVE2_REQ => framing::cut_alive2_resp(&self.reply.bytes),
            EpmdTag::PORT_PLEASE2_REQ => framing::cut_port2_resp(&self.reply.bytes),
            _ => return,
        };
        if matches!(cut, Cut::Message { .. }) {
            self.tell_reply(out);
        }
    }

    /// Tells the request with the reply as it is.
    fn tell_reply(&mut self, out: &mut ConnOutput) {
        let Some(asked) = &self.asked else { return };
        let mut record = asked.record.clone();
        record.outcome = read_reply(asked.tag, &self.reply.bytes, &mut record);
        record.seen.request = Some(asked.mark);
        record.seen.reply = self.reply.last;
        record.seen.close = self.left;
        record.seen.closed_by = self.left.map(|_| Role::Initiator);
        record.response_time_us =
            self.reply.last.map(|reply| micros(reply.at.since(asked.mark.at)));
        if asked.tag == EpmdTag::ALIVE2_REQ && record.outcome == EpmdOutcome::Answered {
            self.registration = Some(Registration {
                name: record.name.clone(),
                name_hex: record.name_hex.clone(),
                port: record.port,
                since: self.reply.last.map_or(asked.mark.at, |mark| mark.at),
            });
        }
        self.told = Some(record.outcome);
        out.push(Observed::Epmd(Box::new(record)));
    }

    /// Whether what was told of the request is the last word: a late answer still counts.
    const fn is_settled(&self) -> bool {
        !matches!(self.told, None | Some(EpmdOutcome::Unanswered | EpmdOutcome::Incomplete))
    }

    /// The connection is over, or quiet, or the capture ends: tells what has not been told. One that is
    /// just quiet may still be answered.
    /// Up to the moment `lost`, what the capture does not show may have been there.
    pub(super) fn on_end(
        &mut self,
        tcp: &TcpConnection,
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
                seen: self.seen(tcp),
                ..EpmdObservation::default()
            })));
        }
        if self.is_settled() {
            return;
        }
        let outcome = self.outcome_at_end(tcp, now.at, lost);
        let waits = why == ReportReason::Quiet
            && closed.is_none()
            && outcome == Some(EpmdOutcome::Incomplete);
        if waits || self.told.is_some() && self.told == outcome {
            return;
        }
        let seen = self.seen(tcp);
        if outcome.is_none() && self.asked.is_some() {
            self.tell_reply(out);
        } else {
            let outcome = outcome.unwrap_or_default();
            self.told = Some(outcome);
            let mut record = match &self.asked {
                Some(asked) => asked.record.clone(),
                None => unasked(&self.reply.bytes),
            };
            if self.asked.is_some() || record.outcome == EpmdOutcome::Incomplete {
                record.outcome = outcome;
            }
            record.seen = seen.clone();
            out.push(Observed::Epmd(Box::new(record)));
        }
        for asked in self.pipelined.drain(..) {
            let mut record = asked.record;
            // EPMD closes without a word when more comes than one request.
            let silent = self.reply.bytes.is_empty() && closed.is_some() && is_whole(tcp);
            record.outcome = if silent { EpmdOutcome::NoReply } else { EpmdOutcome::Incomplete };
            record.seen = EpmdPackets { request: Some(asked.mark), ..seen.clone() };
            out.push(Observed::Epmd(Box::new(record)));
        }
    }

    /// What came of a request that was not told before the end; `None` when the reply tells.
    fn outcome_at_end(
        &self,
        tcp: &TcpConnection,
        now: Timestamp,
        lost: Option<Timestamp>,
    ) -> Option<EpmdOutcome> {
        match tcp.opened() {
            Opened::Reset(_) | Opened::Unreachable(_) => {
                return Some(EpmdOutcome::ConnectionRefused);
            }
            Opened::Unanswered => {
                let told = tcp.timed_out(self.requester, now, lost);
                return Some(if told { EpmdOutcome::Unanswered } else { EpmdOutcome::Incomplete });
            }
            Opened::Yes => {}
        }
        if self.broken.is_some() {
            return Some(EpmdOutcome::Malformed);
        }
        let Some(asked) = &self.asked else { return Some(EpmdOutcome::Incomplete) };
        if self.reply.torn {
            return Some(EpmdOutcome::Incomplete);
        }
        let closed = tcp.first_close().is_some() && is_whole(tcp);
        if self.reply.bytes.is_empty() {
            return Some(if closed { EpmdOutcome::NoReply } else { EpmdOutcome::Incomplete });
        }
        let ends_at_close = matches!(
            asked.tag,
            EpmdTag::NAMES_REQ | EpmdTag::DUMP_REQ | EpmdTag::KILL_REQ | EpmdTag::STOP_REQ
        );
        let replier = tcp.side(self.requester.reverse());
        if ends_at_close && replier.has_closed() && !tcp.is_short(self.requester.reverse()) {
            return None;
        }
        Some(EpmdOutcome::Incomplete)
    }

    fn seen(&self, tcp: &TcpConnection) -> EpmdPackets {
        let (asker, mapper) = (tcp.side(self.requester), tcp.side(self.requester.reverse()));
        let syn = asker.syn;
        let refused = tcp.opened().refused();
        let close = tcp.first_close();
        let said = asker.stream.end();
        let is_unread = |close: &FirstClose| {
            close.by == Some(self.requester.reverse())
                && (close.kind == ClosingFlag::Rst || close.heard.is_some_and(|heard| heard < said))
        };
        let role = |by| if by == self.requester { Role::Initiator } else { Role::Acceptor };
        EpmdPackets {
            syn: syn.map(|syn| syn.mark),
            syns: syn.map_or(0, |syn| syn.count),
            request: self.asked.as_ref().map(|asked| asked.mark),
            reply: self.reply.last,
            close: refused.or_else(|| close.map(|close| close.mark)),
            icmp: tcp.icmp().map(|icmp| (icmp.kind, icmp.code, icmp.reporter)),
            foreign: self.broken.clone(),
            closed_by: close.and_then(|close| close.by).map(role),
            is_whole: is_whole(tcp),
            is_acknowledged: asker.stream.acked().is_some_and(|acked| acked >= said),
            is_unread: close.is_some_and(|close| is_unread(&close)),
            is_pipelined: !self.pipelined.is_empty() || !self.request.bytes.is_empty(),
            is_mute: asker.stream.bytes() + mapper.stream.bytes() == 0,
        }
    }
}

/// Whether both directions were seen without a hole.
fn is_whole(tcp: &TcpConnection) -> bool {
    tcp.both_seen()
        && tcp.is_whole(Direction::LowToHigh, None)
        && tcp.is_whole(Direction::HighToLow, None)
}

/// What a request says of itself.
fn record_of(request: &Request<'_>) -> EpmdObservation {
    let mut record = EpmdObservation { request: Some(request.tag()), ..EpmdObservation::default() };
    match *request {
        Request::Alive2Req(asked) => {
            (record.name, record.name_hex) = alive_name(asked.name);
            record.port = Some(asked.port);
            record.node_type = Some(asked.node_type);
            record.protocol = Some(asked.protocol);
            record.highest_version = Some(asked.highest_version);
            record.lowest_version = Some(asked.lowest_version);
            record.extra_hex = (!asked.extra.is_empty()).then(|| hex(asked.extra));
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

/// Adds what a whole reply says, and judges it.
fn read_reply(asked: EpmdTag, bytes: &[u8], record: &mut EpmdObservation) -> EpmdOutcome {
    match asked {
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
            record.names = Some(if asked == EpmdTag::NAMES_REQ {
                listing.names().map(line).collect()
            } else {
                listing.dump().filter(|known| known.active).map(line).collect()
            });
        }
        _ => {
            let text =
                String::from_utf8_lossy(bytes.get(..MAX_WORD.min(bytes.len())).unwrap_or_default());
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

/// A reply whose request was not seen, as far as it tells by itself.
fn unasked(bytes: &[u8]) -> EpmdObservation {
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

fn alive_name(name: &[u8]) -> (Option<Arc<str>>, Option<String>) {
    let (name, name_hex) = wire_text(name, Charset::Utf8);
    (Some(name), name_hex)
}

/// Where EPMD stops reading: a request and its length are shorter.
const INBUF_SIZE: usize = 3060;

/// Requests behind the first that are told one by one.
const MAX_PIPELINED: usize = 16;

/// Longest reply to a command that is kept; the longest there is has 14 bytes.
const MAX_WORD: usize = 64;
