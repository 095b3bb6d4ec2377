//! Session records as tests write them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Body, CloseKind, Confidence, ConnectionIds, Event, Hex, Orientation, Outcome, Party, Protocol,
    Session, SessionSeen, State, Traffic,
};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// A moment so many milliseconds into the capture.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::default().after(Duration::from_millis(ms))
}

/// A dial between two nodes, each written as `name/address/creation`, that begins at `ms`.
pub(crate) fn dial(ms: u64, from: &str, to: &str) -> Dial {
    let (from, to) = (Side::read(from), Side::read(to));
    Dial {
        begun: ms,
        told: ms,
        from,
        to,
        outcome: Outcome::Connected,
        state: State::Established,
        spoke: [ms; 2],
    }
}

#[derive(Clone)]
pub(crate) struct Dial {
    begun: u64,
    told: u64,
    from: Side,
    to: Side,
    outcome: Outcome,
    state: State,
    spoke: [u64; 2],
}

#[derive(Clone)]
struct Side {
    name: Arc<str>,
    ip: IpAddr,
    creation: u32,
    flags: u64,
    cookie: Option<Arc<str>>,
}

impl Side {
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

impl Dial {
    /// Fails so.
    pub(crate) fn fails(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self.state = State::Closed;
        self
    }

    /// The record of its end, told at `ms`, with when each side last said something.
    pub(crate) fn closed(mut self, ms: u64, spoke: [u64; 2]) -> Self {
        (self.told, self.state, self.spoke) = (ms, State::Closed, spoke);
        self
    }

    /// Flags of the two sides.
    pub(crate) fn flags(mut self, from: u64, to: u64) -> Self {
        (self.from.flags, self.to.flags) = (from, to);
        self
    }

    /// Labels of the cookies that the two sides used.
    pub(crate) fn cookies(mut self, from: Option<&str>, to: Option<&str>) -> Self {
        (self.from.cookie, self.to.cookie) = (from.map(Arc::from), to.map(Arc::from));
        self
    }

    pub(crate) fn event(self) -> Event {
        let mark =
            |ms: u64| PacketRef { frame: FrameRef { input: 0, number: ms.max(1) }, at: at(ms) };
        let party = |side: &Side| Party {
            node: Some(Arc::clone(&side.name)),
            version: Some(6),
            flags: Some(Hex(side.flags)),
            abilities: Some(crate::protocol::session::abilities(crate::wire::flags::DistFlags(
                side.flags,
            ))),
            otp_at_least: crate::wire::flags::DistFlags(side.flags).otp_at_least(),
            creation: Some(side.creation),
            cookie: side.cookie.clone(),
            ..Party::default()
        };
        let is_failed = self.outcome != Outcome::Connected;
        let is_open = self.state == State::Established;
        let session = Session {
            protocol: Protocol::Distribution,
            state: self.state,
            outcome: self.outcome,
            confidence: Confidence::Likely,
            not_excluded: Vec::new(),
            detected_by: None,
            orientation: Orientation::Syn,
            initiator: party(&self.from),
            acceptor: party(&self.to),
            reached: Some(if is_failed { "challenge_reply" } else { "challenge_ack" }),
            wanted: None,
            closed_by: None,
            close: (!is_open).then_some(CloseKind::Fin),
            lookup: None,
            handshake_us: None,
            duration_us: 0,
            traffic: Traffic::default(),
            messages: None,
            seen: SessionSeen {
                send_name: Some(mark(self.begun)),
                challenge: Some(mark(self.begun)),
                last_bytes: self.spoke.map(|ms| Some(at(ms))),
                ..SessionSeen::default()
            },
        };
        let ids = ConnectionIds {
            session_id: format!("{}-{}-{}", self.begun, self.from.ip, self.to.ip).into(),
            community_id: Arc::default(),
            src_ip: self.from.ip,
            src_port: 40_000,
            dest_ip: self.to.ip,
            dest_port: 9100,
            proto: "TCP",
            encap: Vec::new(),
        };
        Event {
            at: at(self.told),
            frame: Some(mark(self.told).frame),
            input: Some(0),
            connection: Some(Arc::new(ids)),
            body: Body::Session { session: Box::new(session) },
        }
    }
}
