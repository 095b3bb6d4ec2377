//! The identifiers of a connection, and its [`Observation`]: the facts that it has shown so far.
//!
//! In: the states of TCP, TLS and the distribution protocol. Out: one value with the facts of all three, by role.

use std::sync::Arc;

use super::connection::{Now, ProtocolState, ReportReason};
use super::dist::Distribution;
use super::epmd::EpmdCarrier;
use super::{ConnContext, ConnOutput, Connection, Observed};
use crate::decode::Endpoint;
use crate::flow::{Direction, PerDirection};
use crate::observe::{
    Anomaly, AnomalyKind, CloseFacts, CloseKind, ConnectionIds, Delivery, IcmpAboutBytes,
    IcmpUnreachable, Observation, Occasion, Opening, Orientation, PerRole, ProxyHeaderFacts, Rare,
    Role, SealedLengths, Stall, SynFacts, TcpFacts, TcpSide, TlsSide, TransportProtocol,
    community_id, short_id,
};
use crate::packet::PacketRef;
use crate::stream::tcp::{ClosedWindow, ClosingFlag, Opened, TcpDirection};
use crate::time::Timestamp;
use crate::transport::SeenProxyHeader;
use crate::transport::tls::{TlsFacts, TlsOpener};

impl Connection {
    /// The identifiers of this connection, which are fixed when it is first reported.
    pub(super) fn ids(&mut self) -> Arc<ConnectionIds> {
        if let Some(ids) = &self.ids {
            return Arc::clone(ids);
        }
        let originator = self.originator();
        let (src, dst) = (self.end(originator), self.end(originator.reverse()));
        let isn = |direction: Direction| {
            self.tcp.side(direction).syn.map_or_else(String::new, |syn| syn.isn.0.to_string())
        };
        let text = format!(
            "{},{},{},{},{},{}",
            src.ip,
            src.port,
            dst.ip,
            dst.port,
            isn(originator),
            isn(originator.reverse())
        );
        let ids = Arc::new(ConnectionIds {
            session_id: short_id(&text),
            community_id: community_id(src, dst),
            src_ip: src.ip,
            src_port: src.port,
            dest_ip: dst.ip,
            dest_port: dst.port,
            proto: TransportProtocol::Tcp,
            encap: self.encap.clone(),
        });
        self.ids = Some(Arc::clone(&ids));
        ids
    }

    /// The direction of the side that opened the TCP connection: by its SYN, or else by the role of the side.
    fn originator(&self) -> Direction {
        let by_reset = || Some(self.tcp.lone_reset()?.0.reverse());
        let by_role = match &self.protocol {
            ProtocolState::Epmd(epmd) => Some(epmd.requester()),
            ProtocolState::Distribution(distribution) => {
                distribution.initiator().map(|(initiator, _)| initiator)
            }
        };
        self.tcp.originator().or(by_role).or_else(by_reset).unwrap_or(Direction::LowToHigh)
    }

    /// Reports the connection when its handshake has completed.
    pub(super) fn report_established(
        &mut self,
        now: Now,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        self.push_observation(now, Occasion::Established, false, context, out);
    }

    /// Reports an established connection of which one side is silent since its packet `last`.
    pub(super) fn report_silence(
        &mut self,
        now: Now,
        silent: Direction,
        last: PacketRef,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let ProtocolState::Distribution(distribution) = &self.protocol else { return };
        let (initiator, _) = self.roles(distribution);
        let role = if silent == initiator { Role::Initiator } else { Role::Acceptor };
        self.push_observation(now, Occasion::Silent { role, last }, false, context, out);
    }

    /// Reports the current state of the connection, after its streams have passed on all bytes that they hold.
    pub(super) fn report(
        &mut self,
        now: Now,
        reason: ReportReason,
        is_final: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        self.give_rest(context, out);
        self.open_waiting(true, context, out);
        self.report_proxy_header(out);
        if let ProtocolState::Epmd(epmd) = &self.protocol {
            let requester = epmd.requester();
            self.give_undecided(context, out);
            let carrier = EpmdCarrier { proxy: self.proxy(requester), tls: self.tls(requester) };
            let Self { tcp, protocol, .. } = &mut *self;
            if let ProtocolState::Epmd(epmd) = protocol {
                epmd.report_refusal(out);
                epmd.on_end(tcp, &carrier, now, reason, context.lost_until, out);
            }
        } else {
            self.observed = true;
        }
        let occasion = match reason {
            ReportReason::Over => Occasion::Over,
            ReportReason::Quiet => Occasion::Quiet,
            ReportReason::End => Occasion::End,
        };
        if let Some(not_taken) = self.tcp.take_not_taken() {
            out.push(Observed::Anomaly(Anomaly::new(AnomalyKind::NotTaken, not_taken.to_string())));
        }
        self.push_observation(now, occasion, is_final, context, out);
        if is_final || reason == ReportReason::Over {
            self.early = None;
            if let Some(note) = self.transport.take_note() {
                let kind =
                    if note.leaves_gap() { AnomalyKind::KeyLog } else { AnomalyKind::KeyLabels };
                out.push(Observed::Anomaly(Anomaly::new(kind, note.detail().to_owned())));
            }
            self.transport.wipe_keys();
        }
    }

    /// Passes all bytes on that the streams hold, and gaps before them: no segment is expected any more.
    pub(super) fn give_rest(&mut self, context: &ConnContext<'_>, out: &mut ConnOutput) {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, protocol, .. } = &mut *self;
            let from_start = tcp.has_start(direction);
            tcp.finish(direction, &mut |chunk| {
                transport.on_chunk(direction, &chunk, from_start, &mut |direction, chunk| {
                    protocol.on_chunk(direction, chunk, from_start, context, out);
                });
            });
        }
    }

    /// Passes on what waits for the secrets of TLS, if they have come. `is_end`: no bytes follow.
    pub(super) fn open_waiting(
        &mut self,
        is_end: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let Self { transport, protocol, .. } = &mut *self;
        transport.open_waiting(is_end, &mut |direction, chunk| {
            protocol.on_chunk(direction, chunk, true, context, out);
        });
    }

    /// Passes on the first bytes of a direction that may be the beginning of TLS, and no more came.
    fn give_undecided(&mut self, context: &ConnContext<'_>, out: &mut ConnOutput) {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, protocol, .. } = &mut *self;
            let from_start = tcp.has_start(direction);
            transport.give_rest(direction, &mut |direction, chunk| {
                protocol.on_chunk(direction, chunk, from_start, context, out);
            });
        }
    }

    /// Reports the PROXY protocol header of the connection, once.
    pub(super) fn report_proxy_header(&mut self, out: &mut ConnOutput) {
        if self.proxy_reported || self.transport.proxy().is_none() || !self.is_erlang() {
            return;
        }
        self.proxy_reported = true;
        if let Some(header) = self.proxy(self.originator()) {
            out.push(Observed::ProxyHeader(header));
        }
    }

    /// The PROXY protocol header with which the side that sends in `initiator` began.
    fn proxy(&self, initiator: Direction) -> Option<ProxyHeaderFacts> {
        let SeenProxyHeader { direction, header, packet } = self.transport.proxy()?;
        let end = |at: usize| {
            let [client, dialed] = header.ends?;
            let end = if at == 0 { client } else { dialed };
            Some(Endpoint { ip: end.ip().to_canonical(), port: end.port() })
        };
        (*direction == initiator).then(|| ProxyHeaderFacts {
            version: header.version,
            mark: *packet,
            client: end(0),
            dialed: end(1),
        })
    }

    /// What each side showed of TLS, first the one that sends in `initiator`.
    fn tls(&self, initiator: Direction) -> PerRole<TlsSide> {
        PerRole::from_fn(|role| {
            let direction = match role {
                Role::Initiator => initiator,
                Role::Acceptor => initiator.reverse(),
            };
            self.transport.tls(direction).map(tls_side).unwrap_or_default()
        })
    }

    /// Appends an observation of a distribution connection to the output.
    fn push_observation(
        &mut self,
        now: Now,
        occasion: Occasion,
        is_final: bool,
        context: &ConnContext<'_>,
        out: &mut ConnOutput,
    ) {
        let lost_until = context.lost_until;
        if let Some(seen) = self.observe(now, occasion, is_final, lost_until) {
            let seen = Observed::Connection(Box::new(seen));
            // The packet that completes the handshake may also have the first messages, and a renderer needs the
            // names of the nodes before them.
            match occasion {
                Occasion::Established => out.push_before_messages(seen),
                _ => out.push(seen),
            }
        }
    }

    /// The direction that the initiator sends in, and how it was determined.
    fn roles(&self, distribution: &Distribution) -> (Direction, Orientation) {
        distribution.initiator().unwrap_or_else(|| (self.originator(), Orientation::Guess))
    }

    /// The facts of a distribution connection so far; `None` for one to EPMD.
    fn observe(
        &mut self,
        now: Now,
        occasion: Occasion,
        is_final: bool,
        lost_until: Option<Timestamp>,
    ) -> Option<Observation> {
        let ProtocolState::Distribution(distribution) = &mut self.protocol else { return None };
        let mut calls = distribution.settle_calls();
        if self.transport.opener().is_some_and(TlsOpener::is_half_open) {
            // The answers are in what was not opened.
            calls = PerDirection::from_fn(|_| Vec::new());
        }
        let ProtocolState::Distribution(distribution) = &self.protocol else { return None };
        let (initiator, orientation) = self.roles(distribution);
        let direction = |role: Role| match role {
            Role::Initiator => initiator,
            Role::Acceptor => initiator.reverse(),
        };
        Some(Observation {
            at: now.at,
            occasion,
            is_final,
            lost_until,
            orientation,
            ends: PerRole::from_fn(|role| self.end(direction(role))),
            passed_on: PerRole::default(),
            tcp: self.tcp_facts(initiator),
            handshake: distribution.exchange.observation(),
            proxy: self.proxy(initiator),
            tls: self.tls(initiator).map(Rare::new),
            opened_tls: self.transport.opener().map(TlsOpener::facts).unwrap_or_default(),
            traffic: PerRole::from_fn(|role| distribution.traffic(direction(role))),
            foreign: PerRole::from_fn(|role| distribution.foreign(direction(role))),
            messages: PerRole::from_fn(|role| {
                let direction = direction(role);
                let calls = std::mem::take(&mut calls[direction]);
                distribution.messages(direction, calls, &self.tcp).map(Box::new)
            }),
        })
    }

    /// The facts of the TCP connection, by role.
    fn tcp_facts(&self, initiator: Direction) -> TcpFacts {
        let tcp = &self.tcp;
        let role = |direction: Direction| {
            if direction == initiator { Role::Initiator } else { Role::Acceptor }
        };
        let opening = match tcp.opened() {
            Opened::Yes => Opening::Answered,
            Opened::Reset(mark) => Opening::Reset(mark),
            Opened::Unreachable(icmp) => {
                Opening::Unreachable(PacketRef { frame: icmp.frame, at: icmp.at })
            }
            Opened::Unanswered => Opening::Unanswered,
        };
        let first_close = tcp.first_close();
        let close = first_close.map(|close| CloseFacts {
            by: close.by.map(role),
            kind: close.kind.into(),
            mark: close.mark,
            received: close.received,
            is_answer: close.is_answer,
            is_whole: close.by.is_some_and(|by| {
                tcp.is_whole(by, None) && tcp.is_whole(by.reverse(), close.received)
            }),
        });
        let closed = opening.refused().or_else(|| first_close.map(|close| close.mark));
        let until = closed.unwrap_or_else(|| tcp.last()).at;
        let side = |direction: Direction| {
            let (side, stream) = (tcp.side(direction), &tcp.side(direction).stream);
            TcpSide {
                syn: side.syn.map(|syn| SynFacts {
                    mark: syn.mark,
                    count: syn.count,
                    last: syn.last,
                }),
                start: side.start(),
                base: stream.base(),
                bytes: stream.bytes(),
                missing_bytes: tcp.missing(direction),
                retransmitted_bytes: stream.retransmitted(),
                end: stream.end(),
                last_bytes: side.last_bytes(until),
                last_segment: side.last(),
                unanswered: side.unanswered(),
                closed_at: side.closed_at(),
                fin_unseen: tcp.fin_unseen(direction),
                stall: side.longest_closed_window().map(Into::into),
                delivery: delivery(side),
            }
        };
        let (gaps, gap_bytes) = self.gaps();
        let sides = PerRole { initiator: side(initiator), acceptor: side(initiator.reverse()) };
        TcpFacts {
            first: tcp.first(),
            last: tcp.last(),
            opening,
            icmp: tcp.icmp().map(|icmp| IcmpUnreachable {
                kind: icmp.kind,
                code: icmp.code,
                reporter: icmp.reporter,
            }),
            close,
            both_seen: tcp.both_seen(),
            is_lossy: tcp.is_lossy(),
            round_trip: tcp.round_trip(),
            gaps,
            gap_bytes,
            conflicts: [Direction::LowToHigh, Direction::HighToLow]
                .map(|direction| tcp.side(direction).stream.conflicts())
                .iter()
                .sum(),
            sides,
        }
    }
}

/// What of the bytes of one direction arrived.
pub(super) fn delivery(side: &TcpDirection) -> Delivery {
    Delivery {
        acked: side.stream.acked(),
        largest_acked: side.largest_acked(),
        resent: side.resent(),
        icmp: side.icmp().map(|error| IcmpAboutBytes {
            mark: error.into(),
            kind: error.kind,
            code: error.code,
            reporter: error.reporter,
            mtu: error.mtu,
        }),
    }
}

impl From<ClosingFlag> for CloseKind {
    fn from(flag: ClosingFlag) -> Self {
        match flag {
            ClosingFlag::Fin => Self::Fin,
            ClosingFlag::Rst => Self::Rst,
        }
    }
}

impl From<ClosedWindow> for Stall {
    fn from(window: ClosedWindow) -> Self {
        Self { since: window.since, lasted_us: window.lasted_us, sent_bytes: window.sent_bytes }
    }
}

/// The facts of TLS in one direction.
fn tls_side(facts: &TlsFacts) -> TlsSide {
    let lengths = facts.seal.map(|seal| SealedLengths {
        alert: seal.alert(),
        finished: seal.finished(),
        no_certificate: seal.no_certificate(),
    });
    TlsSide {
        sign: Some(facts.sign),
        fatal: facts.fatal,
        lengths,
        sealed: facts.sealed.clone(),
        hello: facts.hello.clone(),
        certificates: facts.certificates.clone(),
        progress: facts.progress.clone(),
    }
}
