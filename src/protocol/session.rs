//! What a connection is called, and what it showed so far: its [`Observation`].

use std::sync::Arc;

use super::dist::Distribution;
use super::{ConnContext, ConnOutput, Connection, Now, Observed, ReportReason, Talk};
use crate::flow::Direction;
use crate::observe::{
    CloseFacts, CloseKind, ConnectionIds, IcmpUnreachable, Observation, Occasion, Opening,
    Orientation, PerRole, Role, SealedLengths, Stall, SynFacts, TcpFacts, TcpSide, TlsSide,
    TransportProtocol, short_id,
};
use crate::packet::PacketRef;
use crate::stream::tcp::{ClosedWindow, ClosingFlag, Opened};
use crate::time::Timestamp;
use crate::transport::tls::TlsFacts;

impl Connection {
    /// The names of this connection, settled when its first line is written.
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
            community_id: community_id(src, dst).into(),
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

    /// Who opened the TCP connection: by its SYN, else the Erlang side that would have.
    fn originator(&self) -> Direction {
        let by_reset = || Some(self.tcp.lone_reset()?.0.reverse());
        let by_role = match &self.talk {
            Talk::Epmd(talk) => Some(talk.requester()),
            Talk::Distribution(talk) => talk.initiator().map(|(initiator, _)| initiator),
        };
        self.tcp.originator().or(by_role).or_else(by_reset).unwrap_or(Direction::LowToHigh)
    }

    /// Reports the connection whose handshake has just completed.
    pub(super) fn tell_established(
        &mut self,
        now: Now,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        self.report(now, Occasion::Established, false, setting, said);
    }

    /// Reports the established connection one side of which has fallen silent with its packet `last`.
    pub(super) fn tell_silence(
        &mut self,
        now: Now,
        silent: Direction,
        last: PacketRef,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        let Talk::Distribution(talk) = &self.talk else { return };
        let (initiator, _) = self.roles(talk);
        let role = if silent == initiator { Role::Initiator } else { Role::Acceptor };
        self.report(now, Occasion::Silent { role, last }, false, setting, said);
    }

    /// Reports the connection as it is now, with all that was held back of its streams.
    pub(super) fn tell(
        &mut self,
        now: Now,
        why: ReportReason,
        is_final: bool,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        for direction in [Direction::LowToHigh, Direction::HighToLow] {
            let Self { tcp, transport, talk, .. } = &mut *self;
            let opening = tcp.originator().is_some();
            tcp.finish(direction, &mut |chunk| {
                transport.on_chunk(direction, &chunk, opening, &mut |chunk| {
                    talk.on_chunk(direction, chunk, opening, setting, said);
                });
            });
        }
        let Self { tcp, talk, .. } = &mut *self;
        match talk {
            Talk::Epmd(talk) => talk.on_end(tcp, now, why, setting.lost_until, said),
            Talk::Distribution(_) => self.observed = true,
        }
        let occasion = match why {
            ReportReason::Over => Occasion::Over,
            ReportReason::Quiet => Occasion::Quiet,
            ReportReason::End => Occasion::End,
        };
        self.report(now, occasion, is_final, setting, said);
    }

    fn report(
        &mut self,
        now: Now,
        occasion: Occasion,
        is_final: bool,
        setting: &ConnContext<'_>,
        said: &mut ConnOutput,
    ) {
        let lost_until = setting.lost_until;
        if let Some(seen) = self.observe(now, occasion, is_final, lost_until) {
            let seen = Observed::Connection(Box::new(seen));
            // The first messages may come in the packet that completes the handshake: readers need the names of the
            // nodes before them.
            match occasion {
                Occasion::Established => said.push_before_messages(seen),
                _ => said.push(seen),
            }
        }
    }

    /// Which direction the initiator sends in, and how that was settled.
    fn roles(&self, talk: &Distribution) -> (Direction, Orientation) {
        talk.initiator().unwrap_or_else(|| (self.originator(), Orientation::Guess))
    }

    /// What a distribution connection showed so far.
    fn observe(
        &mut self,
        now: Now,
        occasion: Occasion,
        is_final: bool,
        lost_until: Option<Timestamp>,
    ) -> Option<Observation> {
        let Talk::Distribution(talk) = &mut self.talk else { return None };
        let mut calls = talk.settle_calls();
        let Talk::Distribution(talk) = &self.talk else { return None };
        let (initiator, orientation) = self.roles(talk);
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
            tcp: self.tcp_facts(initiator),
            handshake: talk.exchange.observation(),
            tls: PerRole::from_fn(|role| {
                self.transport.tls(direction(role)).map(tls_side).unwrap_or_default()
            }),
            traffic: PerRole::from_fn(|role| talk.traffic(direction(role))),
            foreign: PerRole::from_fn(|role| talk.foreign(direction(role))),
            messages: PerRole::from_fn(|role| {
                let direction = direction(role);
                talk.messages(direction, std::mem::take(&mut calls[direction]), &self.tcp)
            }),
        })
    }

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

/// What one direction showed of TLS, as it is observed.
fn tls_side(facts: &TlsFacts) -> TlsSide {
    let lengths = facts.seal.map(|seal| SealedLengths {
        alert: seal.alert(),
        finished: seal.finished(),
        no_certificate: seal.no_certificate(),
    });
    let (sign, sealed) = (Some(facts.sign), facts.sealed.clone());
    TlsSide { sign, fatal: facts.fatal, lengths, sealed }
}

fn community_id(src: crate::decode::Endpoint, dst: crate::decode::Endpoint) -> String {
    const TCP: u8 = 6;
    community_id::calculate_community_id(
        0,
        src.ip,
        dst.ip,
        Some(src.port),
        Some(dst.port),
        TCP,
        Default::default(),
    )
    .unwrap_or_default()
}
