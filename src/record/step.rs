//! The packets of a connection beside its messages: what opened it, what closed it, and what happened to its bytes.
//!
//! In: the facts of one connection. Out: [`Step`]s in order of time. Together with the `handshake` lines they are the
//! whole course of an attempt, packet by packet.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kept::{self, ContractName};
use super::{Role, frame_number};
use crate::observe::{
    CloseKind, ConnectionIds, Delivery, EpmdObservation, EpmdOutcome, HandshakeFacts, MessageKind,
    Observation, Opening, PerRole, SealedRecord, TlsHello, TlsSign, tls_version_name,
};
use crate::packet::{FrameRef, PacketRef};
use crate::stream::TcpOffset;
use crate::time::Timestamp;

/// A packet of a connection, beside the messages of its handshake, that belongs to the course of the attempt.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
pub struct Step {
    /// Frame number within its input, from 1; of bytes that were sent again, that of the first copy.
    #[serde(with = "frame_number")]
    #[schemars(with = "u64")]
    pub frame: FrameRef,
    /// The input of the packet, if it is not that of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<str>>,
    /// Capture time of the packet.
    pub at: Timestamp,
    /// The side that sent the packet; absent for ICMP, and where the capture does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Role>,
    /// The kind of the packet.
    pub what: StepKind,
    /// How often it was sent, or the number of TLS records in a row; absent for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Time of the last of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Number of bytes, where they matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Names of the handshake messages in bytes that were sent again.
    #[serde(skip_serializing_if = "Vec::is_empty", default, deserialize_with = "kept::names")]
    pub messages: Vec<ContractName>,
    /// More about the packet, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
}

/// The kind of a packet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// The first packet of a TCP connection.
    Syn,
    /// The answer to a SYN: the port is open.
    SynAck,
    /// An ICMP error about a packet of the connection.
    Icmp,
    /// The end of a request to EPMD.
    Request,
    /// The end of the reply of EPMD.
    Reply,
    /// The PROXY protocol header of a load balancer.
    ProxyHeader,
    /// The ClientHello or ServerHello of TLS.
    TlsHello,
    /// A certificate in clear.
    TlsCertificate,
    /// Encrypted records of TLS.
    TlsRecords,
    /// A TLS alert in clear.
    TlsAlert,
    /// Bytes of another protocol than that of the port.
    OtherProtocol,
    /// Bytes that were sent again, and that the other side acknowledged.
    SentAgain,
    /// Bytes that were sent again, without an acknowledgement in the capture.
    Unacknowledged,
    /// The last packet with a message or a tick after the handshake.
    LastMessage,
    /// The first FIN of the connection.
    Fin,
    /// An RST, which ends the connection at once.
    Rst,
    /// A FIN or RST.
    Close,
}

impl Step {
    const fn new(packet: PacketRef, from: Option<Role>, what: StepKind) -> Self {
        Self {
            frame: packet.frame,
            input: None,
            at: packet.at,
            from,
            what,
            count: None,
            until: None,
            bytes: None,
            messages: Vec::new(),
            detail: None,
        }
    }

    /// The step after it happened `count` times, the last time at `until`.
    fn repeated(self, count: u64, until: Timestamp) -> Self {
        if count > 1 { Self { count: Some(count), until: Some(until), ..self } } else { self }
    }

    fn with_detail(self, detail: Option<String>) -> Self {
        Self { detail: detail.filter(|it| !it.is_empty()).map(Arc::from), ..self }
    }

    /// The steps of a distribution connection, or of an attempt at one.
    pub(super) fn of_connection(ids: &ConnectionIds, seen: &Observation) -> Vec<Self> {
        let tcp = &seen.tcp;
        let mut steps = Vec::with_capacity(4);
        for (role, side) in tcp.sides.each() {
            if let Some(syn) = side.syn {
                let end = seen.ends[role];
                let is_client = (end.ip, end.port) == (ids.src_ip, ids.src_port);
                let what = if is_client { StepKind::Syn } else { StepKind::SynAck };
                let step = Self::new(syn.mark, Some(role), what);
                steps.push(step.repeated(u64::from(syn.count), syn.last));
            }
            steps.extend(last_message(seen, role));
            steps.extend(sent_again(&side.delivery, role, Some(&seen.handshake)));
            steps.extend(about_bytes(&side.delivery));
        }
        match tcp.opening {
            Opening::Reset(mark) => {
                steps.push(Self::new(mark, Some(Role::Acceptor), StepKind::Rst))
            }
            Opening::Unreachable(mark) => {
                let about = tcp.icmp.map(|icmp| icmp_detail(icmp.kind, icmp.code, icmp.reporter));
                steps.push(Self::new(mark, None, StepKind::Icmp).with_detail(about));
            }
            Opening::Answered | Opening::Unanswered => {}
        }
        if let Some(proxy) = &seen.proxy {
            let client = proxy.client.map(|client| format!("for {}", client.ip));
            let step = Self::new(proxy.mark, Some(Role::Initiator), StepKind::ProxyHeader);
            steps.push(step.with_detail(client));
        }
        steps.extend(tls_steps(seen));
        for (role, foreign) in seen.foreign.each() {
            let Some(foreign) = foreign else { continue };
            let step = Self::new(foreign.mark, Some(role), StepKind::OtherProtocol);
            steps.push(step.with_detail(Some(foreign.looks_like.to_string())));
        }
        if tcp.opening.refused().is_none()
            && let Some(close) = tcp.close
        {
            let what = match close.kind {
                CloseKind::Rst => StepKind::Rst,
                _ => StepKind::Fin,
            };
            steps.push(Self::new(close.mark, close.by, what));
        }
        in_order(steps)
    }

    /// The steps of a request to EPMD.
    pub(super) fn of_request(request: &EpmdObservation) -> Vec<Self> {
        let seen = &request.seen;
        let mut steps = Vec::with_capacity(4);
        if let Some(syn) = seen.syn {
            let step = Self::new(syn, Some(Role::Initiator), StepKind::Syn);
            steps.push(Self { count: Some(u64::from(seen.syns)).filter(|n| *n > 1), ..step });
        }
        let sent = [
            (seen.request, Role::Initiator, StepKind::Request),
            (seen.reply, Role::Acceptor, StepKind::Reply),
        ];
        for (mark, role, what) in sent {
            steps.extend(mark.map(|mark| Self::new(mark, Some(role), what)));
            steps.extend(sent_again(&seen.delivery[role], role, None));
            steps.extend(about_bytes(&seen.delivery[role]));
        }
        if let Some(proxy) = &seen.proxy {
            steps.push(Self::new(proxy.mark, Some(Role::Initiator), StepKind::ProxyHeader));
        }
        for (role, tls) in seen.tls.each() {
            steps.extend(hello(tls.sign, tls.hello.as_ref(), role));
        }
        if let Some(foreign) = &seen.foreign {
            let step = Self::new(foreign.mark, Some(foreign.from), StepKind::OtherProtocol);
            steps.push(step.with_detail(Some(foreign.looks_like.to_string())));
        }
        if let Some(mark) = seen.close {
            let is_refused = request.outcome == EpmdOutcome::ConnectionRefused;
            let step = match (seen.icmp, is_refused) {
                (Some((kind, code, reporter)), true) => {
                    let detail = icmp_detail(kind, code, reporter);
                    Self::new(mark, None, StepKind::Icmp).with_detail(Some(detail))
                }
                (None, true) => Self::new(mark, Some(Role::Acceptor), StepKind::Rst),
                (_, false) => Self::new(mark, seen.closed_by, StepKind::Close),
            };
            steps.push(step);
        }
        in_order(steps)
    }
}

fn in_order(mut steps: Vec<Step>) -> Vec<Step> {
    steps.sort_by_key(|step| (step.at, step.frame));
    steps
}

fn last_message(seen: &Observation, role: Role) -> Option<Step> {
    Some(Step::new(seen.traffic[role].last?, Some(role), StepKind::LastMessage))
}

/// The bytes of a side that were sent several times, with the messages that are among them.
fn sent_again(delivery: &Delivery, role: Role, handshake: Option<&HandshakeFacts>) -> Option<Step> {
    let resent = delivery.resent?;
    let what = match delivery.unacknowledged() {
        Some(_) => StepKind::Unacknowledged,
        None => StepKind::SentAgain,
    };
    let step = Step::new(resent.again, Some(role), what);
    let step = step.repeated(u64::from(resent.sent), resent.last.at);
    let messages = handshake.map(|it| messages_at(it, role, resent.offset, resent.bytes));
    Some(Step {
        bytes: Some(u64::from(resent.bytes)),
        messages: messages.unwrap_or_default(),
        ..step
    })
}

/// The messages of a side that end within these bytes.
fn messages_at(
    handshake: &HandshakeFacts,
    role: Role,
    offset: TcpOffset,
    bytes: u32,
) -> Vec<&'static str> {
    let HandshakeFacts { send_name, status, challenge, complement, reply, ack, .. } = handshake;
    let ends = match role {
        Role::Initiator => [
            (send_name.as_ref().map(|it| it.end), MessageKind::SendName),
            (complement.as_ref().map(|it| it.end), MessageKind::Complement),
            (reply.as_ref().map(|it| it.end), MessageKind::ChallengeReply),
        ],
        Role::Acceptor => [
            (status.as_ref().map(|it| it.end), MessageKind::Status),
            (challenge.as_ref().map(|it| it.end), MessageKind::Challenge),
            (ack.as_ref().map(|it| it.end), MessageKind::ChallengeAck),
        ],
    };
    let until = offset.plus(u64::from(bytes));
    let is_within = |end: &TcpOffset| *end > offset && *end <= until;
    ends.into_iter()
        .filter(|(end, _)| end.as_ref().is_some_and(is_within))
        .map(|(_, kind)| kind.name())
        .collect()
}

/// The ICMP error about bytes of a side.
fn about_bytes(delivery: &Delivery) -> Option<Step> {
    let icmp = delivery.icmp?;
    let mut detail = icmp_detail(icmp.kind, icmp.code, icmp.reporter);
    if let Some(mtu) = icmp.mtu.filter(|mtu| *mtu > 0) {
        detail = format!("packet too large, at most {mtu} bytes, from {}", icmp.reporter);
    }
    Some(Step::new(icmp.mark, None, StepKind::Icmp).with_detail(Some(detail)))
}

fn icmp_detail(kind: u8, code: u8, reporter: IpAddr) -> String {
    format!("type {kind}, code {code}, from {reporter}")
}

/// The first record of a side, if it shows TLS.
fn hello(sign: Option<(TlsSign, PacketRef)>, hello: Option<&TlsHello>, role: Role) -> Option<Step> {
    let (sign, mark) = sign?;
    let step = match sign {
        TlsSign::Hello => Step::new(mark, Some(role), StepKind::TlsHello),
        TlsSign::Alert => Step::new(mark, Some(role), StepKind::TlsAlert),
    };
    Some(step.with_detail(hello.and_then(|hello| match &hello.server_name {
        Some(host) => Some(format!("for {host}")),
        None => {
            let version = hello.versions.first().and_then(|version| tls_version_name(*version));
            let suite = hello.suite_name()?;
            // The way of the keys, before `_WITH_`, does not fit into a line.
            let (_, cipher) = suite.rsplit_once("_WITH_").unwrap_or(("", &suite));
            Some(format!("{}, {}", version?, cipher.trim_start_matches("TLS_")))
        }
    })))
}

/// The hellos, certificates, encrypted records and alerts of both sides.
fn tls_steps(seen: &Observation) -> Vec<Step> {
    let mut steps = Vec::new();
    for (role, tls) in seen.tls.each() {
        let first = hello(tls.sign, tls.hello.as_ref(), role);
        let alert = tls.fatal.filter(|(_, mark)| {
            first.as_ref().is_none_or(|it| it.what != StepKind::TlsAlert || it.frame != mark.frame)
        });
        let number = tls.fatal.map(|(number, _)| format!("alert {number}"));
        steps.extend(first.map(|step| match step.what {
            StepKind::TlsAlert => step.with_detail(number.clone()),
            _ => step,
        }));
        if let Some((_, mark)) = alert {
            steps.push(Step::new(mark, Some(role), StepKind::TlsAlert).with_detail(number));
        }
        if let Some(certificate) = tls.certificates.first() {
            let subject = certificate.subject.as_ref().map(|it| format!("of {it}"));
            let step = Step::new(certificate.mark, Some(role), StepKind::TlsCertificate);
            steps.push(step.with_detail(subject));
        }
    }
    // Where they were opened, the messages inside are rows of their own.
    if !seen.is_opened_tls() {
        steps.extend(sealed_steps(PerRole::from_fn(|role| seen.tls[role].sealed.as_slice())));
    }
    steps
}

/// The encrypted records, those of one side in a row as one step.
fn sealed_steps(sides: PerRole<&[SealedRecord]>) -> Vec<Step> {
    let mut records: Vec<(Role, &SealedRecord)> = Vec::new();
    for (role, of_side) in sides.each() {
        records.extend(of_side.iter().map(|record| (role, record)));
    }
    records.sort_by_key(|(_, record)| record.mark);
    let runs = records.chunk_by(|(a, _), (b, _)| a == b);
    let steps = runs.filter_map(|run| {
        let ((role, first), (_, last)) = (run.first()?, run.last()?);
        let bytes = run.iter().map(|(_, record)| u64::from(record.length)).sum();
        let step = Step::new(first.mark, Some(*role), StepKind::TlsRecords);
        let step = step.repeated(run.len() as u64, last.mark.at);
        Some(Step { bytes: Some(bytes), ..step })
    });
    steps.take(TLS_RUNS).collect()
}

/// Runs of encrypted records: those of both handshakes, that of TLS and that of the distribution inside it.
const TLS_RUNS: usize = 8;
