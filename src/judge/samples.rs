//! Builders of judged connections for tests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::PriorLookup;
use super::{Confidence, JudgedConnection, LossScope, Outcome, PeerSigns, Undelivered, Verdict};
use crate::decode::Endpoint;
use crate::observe::{
    CertificateFacts, CloseFacts, CloseKind, ConnectionIds, CookieTest, DistFlags, HandshakeFacts,
    Hello, IssuedBy, Observation, Occasion, Opening, Orientation, PerRole, Received, Role, Settled,
    State, StatusText, TcpFacts, TcpSide, TransportProtocol,
};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;

/// The time so many milliseconds after the start of the capture.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::default().after(Duration::from_millis(ms))
}

/// A dial between two nodes, each written as `name/address/creation`, that begins at `ms`.
pub(crate) fn dial(ms: u64, from: &str, to: &str) -> SampleDial {
    let (from, to) = (SampleSide::read(from), SampleSide::read(to));
    SampleDial {
        begun: ms,
        observed: ms,
        from,
        to,
        outcome: Outcome::Connected,
        state: State::Established,
        last_sent: [ms; 2],
    }
}

/// The certificate of an authority that is not sent, for these names, without dates and for every purpose.
pub(crate) fn certificate(names: &[&str]) -> CertificateFacts {
    CertificateFacts {
        mark: mark(3),
        subject: None,
        issuer: None,
        names: names.iter().map(|name| (*name).into()).collect(),
        not_before: None,
        not_after: None,
        key_usage: None,
        extended_key_usage: None,
        is_authority: false,
        issued: IssuedBy::NotSent,
    }
}

#[derive(Clone)]
pub(crate) struct SampleDial {
    begun: u64,
    observed: u64,
    from: SampleSide,
    to: SampleSide,
    outcome: Outcome,
    state: State,
    last_sent: [u64; 2],
}

#[derive(Clone)]
struct SampleSide {
    name: Arc<str>,
    ip: IpAddr,
    creation: u32,
    flags: u64,
    cookie: Option<Arc<str>>,
}

impl SampleSide {
    fn read(text: &str) -> Self {
        let mut parts = text.split('/');
        let mut next = || parts.next().unwrap();
        Self {
            name: next().into(),
            ip: next().parse().unwrap(),
            creation: next().parse().unwrap(),
            flags: 0xd_07df_7fbd,
            cookie: None,
        }
    }
}

impl SampleDial {
    /// Ends the attempt with this outcome.
    pub(crate) fn fails(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self.state = State::Closed;
        self
    }

    /// Makes this the observation of the close at `ms`; `last_sent` is when each side last sent bytes.
    pub(crate) fn closed(mut self, ms: u64, last_sent: [u64; 2]) -> Self {
        (self.observed, self.state, self.last_sent) = (ms, State::Closed, last_sent);
        self
    }

    /// Sets the flags of the two sides.
    pub(crate) fn flags(mut self, from: u64, to: u64) -> Self {
        (self.from.flags, self.to.flags) = (from, to);
        self
    }

    /// Sets the labels of the cookies that the two sides used.
    pub(crate) fn cookies(mut self, from: Option<&str>, to: Option<&str>) -> Self {
        (self.from.cookie, self.to.cookie) = (from.map(Arc::from), to.map(Arc::from));
        self
    }

    pub(crate) fn judged(self) -> JudgedConnection {
        let is_connected = self.outcome == Outcome::Connected;
        let hello = |side: &SampleSide| Received {
            what: Hello {
                version: if DistFlags(side.flags).contains(DistFlags::HANDSHAKE_23) {
                    6
                } else {
                    5
                },
                flags: DistFlags(side.flags),
                creation: Some(side.creation),
                name: Arc::clone(&side.name),
                name_hex: None,
                is_legal: true,
            },
            mark: mark(self.begun),
            end: TcpOffset::BASE,
        };
        let sent = || Some(Received { what: (), mark: mark(self.begun), end: TcpOffset::BASE });
        let cookie =
            |side: &SampleSide| side.cookie.clone().map_or(CookieTest::Untested, CookieTest::Fits);
        let close = (self.state == State::Closed).then(|| CloseFacts {
            by: None,
            kind: CloseKind::Fin,
            mark: mark(self.observed),
            received: None,
            is_answer: false,
            is_whole: true,
        });
        let [from_last_sent, to_last_sent] = self.last_sent;
        let side = |last_sent| TcpSide { last_bytes: Some(at(last_sent)), ..TcpSide::default() };
        let seen = Observation {
            at: at(self.observed),
            occasion: if self.state == State::Established {
                Occasion::Established
            } else {
                Occasion::Over
            },
            is_final: false,
            lost_until: None,
            orientation: Orientation::Syn,
            ends: PerRole {
                initiator: Endpoint { ip: self.from.ip, port: 40_000 },
                acceptor: Endpoint { ip: self.to.ip, port: 9100 },
            },
            tcp: TcpFacts {
                first: mark(self.begun),
                last: mark(self.observed),
                opening: Opening::Answered,
                icmp: None,
                close,
                both_seen: true,
                is_lossy: false,
                round_trip: None,
                gaps: 0,
                gap_bytes: 0,
                conflicts: 0,
                sides: PerRole { initiator: side(from_last_sent), acceptor: side(to_last_sent) },
            },
            handshake: HandshakeFacts {
                send_name: Some(hello(&self.from)),
                challenge: Some(hello(&self.to)),
                reply: sent(),
                ack: sent().filter(|_| is_connected),
                cookies: PerRole { initiator: cookie(&self.from), acceptor: cookie(&self.to) },
                ..HandshakeFacts::default()
            },
            proxy: None,
            passed_on: PerRole::default(),
            tls: PerRole::default(),
            opened_tls: crate::observe::OpenedTls::default(),
            traffic: PerRole::default(),
            foreign: PerRole::default(),
            messages: PerRole::default(),
        };
        let ids = ConnectionIds {
            session_id: format!("{}-{}-{}", self.begun, self.from.ip, self.to.ip).into(),
            community_id: Arc::default(),
            src_ip: self.from.ip,
            src_port: 40_000,
            dest_ip: self.to.ip,
            dest_port: 9100,
            proto: TransportProtocol::Tcp,
            encap: Vec::new(),
        };
        JudgedConnection {
            settled: Settled {
                at: at(self.observed),
                frame: Some(mark(self.observed).frame),
                input: Some(0),
                host_input: None,
                connection: Arc::new(ids),
            },
            seen: Box::new(seen),
            verdict: Verdict::new(self.outcome, Confidence::Likely),
            claim: None,
            is_repeated: false,
        }
    }
}

impl JudgedConnection {
    /// Removes the names of both sides, as if the capture lacked them.
    pub(crate) fn forget_names(&mut self) {
        self.forget_name(Role::Initiator);
        self.forget_name(Role::Acceptor);
    }

    /// Removes the name of one side, as if the capture lacked it.
    pub(crate) fn forget_name(&mut self, role: Role) {
        let handshake = &mut self.seen.handshake;
        match role {
            Role::Initiator => handshake.send_name = None,
            Role::Acceptor => handshake.challenge = None,
        }
    }

    /// Sets the first close, by `by` with packet `mark`.
    pub(crate) fn close(&mut self, by: Role, mark: PacketRef) {
        let tcp = &mut self.seen.tcp;
        let kind = tcp.close.map_or(CloseKind::Fin, |close| close.kind);
        let is_answer = tcp.close.is_some_and(|close| close.is_answer);
        let by = Some(by);
        tcp.close = Some(CloseFacts { by, kind, mark, received: None, is_answer, is_whole: true });
    }

    /// Sets the status that the acceptor sent.
    pub(crate) fn status(&mut self, mark: PacketRef, text: &str) {
        let what = match text {
            "nok" => StatusText::Nok,
            "alive" => StatusText::Alive,
            "not_allowed" => StatusText::NotAllowed,
            other => StatusText::Other(other.to_owned()),
        };
        self.seen.handshake.status = Some(Received { what, mark, end: TcpOffset::BASE });
    }
}

/// The packet whose number is its time in milliseconds.
pub(crate) fn mark(ms: u64) -> PacketRef {
    PacketRef { frame: FrameRef { input: 0, number: ms.max(1) }, at: at(ms) }
}

/// A look-up of a node by this alive name, which EPMD answered with port 9100 at `ms`.
pub(crate) fn lookup(asked: &str, ms: u64) -> PriorLookup {
    PriorLookup {
        session_id: "lookup".into(),
        reply: mark(ms).frame,
        asked: asked.into(),
        port: 9100,
        highest_version: 6,
        forwarded: None,
    }
}

/// Bytes of the initiator that were sent from `since` to `until`, in milliseconds, and did not arrive.
pub(crate) fn in_the_void(since: u64, until: u64) -> Undelivered {
    Undelivered {
        from: Role::Initiator,
        offset: TcpOffset::BASE.plus(500),
        bytes: 4,
        sent: 6,
        since: at(since),
        again: Some(mark(since + 200)),
        last: Some(mark(until)),
        loss: LossScope::FromThen,
        peer: PeerSigns::Silent,
        pause: None,
        too_large: None,
    }
}
