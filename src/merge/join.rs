//! One observation of a connection from those of several sensors.
//!
//! In: observations of one connection, on one clock, with offsets that count from the same bytes and with the same roles.
//! Out: what they show together. [`join`] takes each field by itself, as the least upper bound of an order: so the order in
//! which sensors are joined changes nothing, nor does the same one twice. Every field is named, so that one which is added
//! elsewhere does not compile until it is decided how it is joined. [`settle`] then takes back what one of the sensors
//! contradicts.

use std::cmp::{Ordering, Reverse};

use crate::observe::{
    CallSums, CloseFacts, CloseKind, CookieTest, CorruptFrame, Delivery, EpmdObservation,
    EpmdOutcome, EpmdPackets, FrameTraffic, HandshakeFacts, Hello, MessageSums, NativeRecords,
    Observation, Occasion, OddChallenge, OpenedTls, Opening, Orientation, PerRole, Rare, Received,
    Role, SealedRecord, SynFacts, TcpFacts, TcpSide, TlsProgress, TlsSide,
};
use crate::packet::PacketRef;
use crate::stream::TcpOffset;
use crate::time::Timestamp;

/// What two sensors show of one connection together.
pub(super) fn join(a: Observation, b: Observation) -> Observation {
    let Observation {
        at,
        occasion,
        is_final,
        lost_until,
        orientation,
        ends,
        passed_on,
        tcp,
        handshake,
        proxy,
        tls,
        opened_tls,
        traffic,
        foreign,
        messages,
    } = a;
    Observation {
        at: at.max(b.at),
        occasion: pick(occasion, b.occasion, occasion_rank),
        is_final: is_final || b.is_final,
        lost_until: lost_until.max(b.lost_until),
        orientation: pick(orientation, b.orientation, |it| orientation_rank(*it)),
        ends: pick(ends, b.ends, |_| ()),
        passed_on: per_role(passed_on, b.passed_on, |a, b| a || b),
        tcp: tcp_facts(tcp, b.tcp),
        handshake: handshake_facts(handshake, b.handshake),
        proxy: some(proxy, b.proxy, |a, b| pick(a, b, |it| Reverse(order(it.mark)))),
        tls: per_role(tls, b.tls, rare_tls_side),
        opened_tls: pick(opened_tls, b.opened_tls, |it: &OpenedTls| {
            (it.has_data, it.records, Reverse(it.unopened))
        }),
        traffic: per_role(traffic, b.traffic, frame_traffic),
        foreign: per_role(foreign, b.foreign, |a, b| {
            some(a, b, |a, b| pick(a, b, |it| Reverse(order(it.mark))))
        }),
        messages: per_role(messages, b.messages, |a, b| {
            some(a, b, |a, b| pick(a, b, |it| message_count(it)))
        }),
    }
}

/// Takes back of what sensors show together what one of them contradicts, and adds what only all of them decide.
/// `parts` are their observations.
pub(super) fn settle(joined: &mut Observation, parts: &[Observation]) {
    for role in Role::BOTH {
        let side = &mut joined.tcp.sides[role];
        if side.missing_bytes == 1 && side.closed_at.is_some() {
            // The sequence number of a FIN, which the sensor of the acknowledgement did not see.
            side.missing_bytes = 0;
        }
        let lacking = lacking(&joined.tcp.sides[role], parts, role);
        let side = &mut joined.tcp.sides[role];
        side.missing_bytes = side.missing_bytes.max(lacking);
        let sent = sent(side);
        let is_known = parts.iter().any(|it| is_whole(it, sent, role))
            || is_all_of(&joined.handshake, TcpOffset::BASE.plus(sent), role);
        joined.handshake.is_torn[role] = !is_known;
        joined.handshake.is_lost[role] = !is_known;
        let is_acked = {
            let side = &joined.tcp.sides[role];
            side.delivery.acked.is_some_and(|acked| acked >= side.end)
        };
        if is_acked {
            joined.tcp.sides[role].unanswered = None;
        }
        let has_other_bytes =
            |it: &Observation| it.foreign[role].is_none() && has_messages(&it.handshake, role);
        if parts.iter().any(has_other_bytes) {
            joined.foreign[role] = None;
        }
        let is_sound = |it: &Observation, corrupt: &CorruptFrame| {
            let traffic = &it.traffic[role];
            let goes_on = traffic.last.is_some_and(|last| last.at >= corrupt.mark.at);
            traffic.corrupt.is_none() && traffic.frames > 0 && goes_on
        };
        let corrupt = joined.traffic[role].corrupt.take();
        joined.traffic[role].corrupt =
            corrupt.filter(|corrupt| !parts.iter().any(|it| is_sound(it, corrupt)));
        joined.messages[role] = messages(parts, role);
        // A sensor that lacks the FIN before an RST takes the RST for the close.
        let closes = |is_unseen: bool| {
            let of = parts.iter().map(|it| &it.tcp.sides[role]);
            of.filter(move |it| it.fin_unseen == is_unseen).filter_map(|it| it.closed_at).min()
        };
        joined.tcp.sides[role].fin_unseen |=
            closes(true).is_some_and(|unseen| closes(false).is_none_or(|seen| seen >= unseen));
    }
    settle_close(&mut joined.tcp, parts);
    if let Some(CloseFacts { by: Some(by), kind: CloseKind::Fin, received: None, .. }) =
        joined.tcp.close
        && joined.tcp.sides[by.peer()].base.is_some()
    {
        // A sensor that has no byte of the other stream does not know a FIN of it, which may have come first.
        joined.tcp.close = joined.tcp.close.map(|close| CloseFacts { by: None, ..close });
    }
    settle_last_bytes(&mut joined.tcp, parts);
    joined.tcp.both_seen |=
        Role::BOTH.iter().all(|role| joined.tcp.sides[*role].last_segment.is_some());
    let is_whole = Role::BOTH.iter().all(|role| joined.tcp.sides[*role].missing_bytes == 0);
    if let Some(close) = joined.tcp.close {
        let has_it = |it: &Observation| decides(it, &close, &joined.tcp);
        let is_decided = parts.iter().any(has_it);
        if is_decided {
            (joined.handshake.is_torn, joined.handshake.is_lost) = Default::default();
        }
        // Before an RST there may be a FIN, which a sensor that has no bytes of that side does not know.
        let is_known =
            is_whole && !close.is_reset() && joined.tcp.both_seen && !joined.handshake.is_torn();
        let is_whole = close.by.is_some() && (is_decided || is_known);
        joined.tcp.close = Some(CloseFacts { is_whole, ..close });
    }
    // What needs both directions at one place was seen nowhere, where each sensor lacks a part.
    let has_all = |it: &Observation| {
        let has_close = it.tcp.close.is_some() || joined.tcp.close.is_none();
        let has = |role: &Role| it.tcp.sides[*role].bytes >= sent(&joined.tcp.sides[*role]);
        has_close && Role::BOTH.iter().all(has)
    };
    if !parts.iter().any(has_all) {
        // A reset may answer bytes that only one who has the handshake can read.
        let is_reset = joined.tcp.close.is_some_and(|close| close.is_reset());
        if is_reset || !is_whole || !parts.iter().all(|it| is_alone(it, parts)) {
            joined.lost_until = joined.lost_until.max(Some(joined.tcp.last.at));
        }
        settle_pieces(joined, parts);
    }
    if is_whole {
        // What each sensor lacks, another one has.
        (joined.tcp.gaps, joined.tcp.gap_bytes) = (0, 0);
    }
}

/// Whether a sensor lacks nothing of both directions in its time, in which no other one saw a packet.
fn is_alone(it: &Observation, parts: &[Observation]) -> bool {
    let tcp = &it.tcp;
    let is_clean = tcp.sides.each().all(|(_, side)| side.missing_bytes == 0);
    let own = (tcp.first, tcp.last);
    let others = parts.iter().map(|other| (other.tcp.first, other.tcp.last));
    let mut others = others.filter(|other| *other != own);
    tcp.both_seen
        && is_clean
        && others.all(|(first, last)| last.at <= own.0.at || first.at >= own.1.at)
}

/// Takes back what only a sensor without gaps knows, where each sensor has a piece of the connection.
fn settle_pieces(joined: &mut Observation, parts: &[Observation]) {
    for role in Role::BOTH {
        let clean = || parts.iter().filter(|it| is_alone(it, parts)).map(|it| &it.tcp.sides[role]);
        let side = &mut joined.tcp.sides[role];
        // Another one may have the acknowledgement.
        side.delivery.resent =
            side.delivery.resent.filter(|it| clean().any(|own| own.delivery.resent == Some(*it)));
        side.unanswered =
            side.unanswered.filter(|it| clean().any(|own| own.unanswered == Some(*it)));
    }
    // The side that opens the connection sends its first message behind the last packet of the opening.
    let tcp = &mut joined.tcp;
    let syn = tcp.sides.initiator.syn.filter(|syn| syn.count == 1);
    let opened = syn.zip(joined.handshake.send_name.as_ref());
    let most = opened.map(|(syn, hello)| hello.mark.at.since(syn.mark.at));
    tcp.round_trip = tcp.round_trip.map(|trip| most.map_or(trip, |most| trip.min(most)));
}

/// Number of bytes of a stream that no sensor has. Those of a sensor that has gaps may be in these of another one.
fn lacking(side: &TcpSide, parts: &[Observation], role: Role) -> u64 {
    let of = |it: &TcpSide| (it.end.minus(it.bytes.saturating_add(it.missing_bytes)), it.end);
    let own = parts.iter().map(|it| &it.tcp.sides[role]);
    let mut seen: Vec<_> = own.filter(|it| it.missing_bytes == 0 && it.bytes > 0).map(of).collect();
    seen.sort_unstable();
    let (mut until, mut lacking) = (TcpOffset::BASE, 0_u64);
    for (from, end) in seen {
        lacking = lacking.saturating_add(from.since(until));
        until = until.max(end);
    }
    lacking = lacking.saturating_add(side.end.since(until));
    lacking.min(side.end.since(TcpOffset::BASE).saturating_sub(side.bytes))
}

/// Length of a stream, with the bytes of it that no sensor has.
fn sent(side: &TcpSide) -> u64 {
    side.end.since(TcpOffset::BASE).max(side.bytes.saturating_add(side.missing_bytes))
}

/// Whether one sensor has the whole stream of a side of so many bytes, and lost none of its messages. A stream without a byte is known from
/// a close of the other side.
fn is_whole(it: &Observation, sent: u64, role: Role) -> bool {
    let is_closed_without_any = || {
        it.tcp.close.is_some_and(|close| {
            let by_peer = close.by == Some(role.peer()) && close.is_whole;
            by_peer && close.received == Some(TcpOffset::BASE)
        })
    };
    let is_clean = !it.handshake.is_torn[role] && !it.handshake.is_lost[role];
    is_clean && it.tcp.sides[role].bytes >= sent && (sent > 0 || is_closed_without_any())
}

/// Whether the messages of a side that the sensors have together are all that it sent, up to the end of its stream: then no
/// other one, nor a header before the first, is hidden where one of them lacks bytes.
fn is_all_of(handshake: &HandshakeFacts, end: TcpOffset, role: Role) -> bool {
    /// Its first byte and the one behind its last, from the length of what follows the length prefix.
    fn span<T>(it: Option<&Received<T>>, length: impl Fn(&T) -> usize) -> Option<[TcpOffset; 2]> {
        it.map(|it| {
            let length = u64::try_from(length(&it.what)).unwrap_or(u64::MAX);
            [it.end.minus(length.saturating_add(LENGTH_PREFIX)), it.end]
        })
    }
    let HandshakeFacts { send_name, status, challenge, reply, ack, .. } = handshake;
    // Tag, flags, creation and length of the name; or tag, version and flags. A challenge has four bytes more.
    let hello = |it: &Hello| it.name.len() + if it.version >= 6 { 15 } else { 7 };
    let spans = match role {
        Role::Initiator => [
            span(send_name.as_ref(), hello),
            span(handshake.alive_reply.as_ref(), |is_right| if *is_right { 5 } else { 6 }),
            span(handshake.complement.as_ref(), |_| 9),
            span(reply.as_ref(), |_| 21),
        ],
        Role::Acceptor => [
            span(status.as_ref(), |it| 1 + it.text().len()),
            span(challenge.as_ref(), |it| hello(it) + 4),
            span(handshake.late_refusal.as_ref(), |_| usize::MAX),
            span(ack.as_ref(), |_| 17),
        ],
    };
    let mut until = TcpOffset::BASE;
    for [from, end] in spans.into_iter().flatten() {
        if from != until {
            return false;
        }
        until = end;
    }
    until == end && until > TcpOffset::BASE
}

/// Bytes of the length in front of a handshake message.
const LENGTH_PREFIX: u64 = 2;

/// Whether one sensor has all that the first close rests on: that close, and both streams from their first bytes.
fn decides(it: &Observation, first: &CloseFacts, all: &TcpFacts) -> bool {
    let is_it = |own: CloseFacts| own.is_whole && (own.by, own.kind) == (first.by, first.kind);
    let has_begin = |role: &Role| {
        let side = &it.tcp.sides[*role];
        side.end.since(TcpOffset::BASE) == side.bytes
            && (side.base.is_some() || sent(&all.sides[*role]) == 0)
    };
    let is_torn =
        it.handshake.is_torn() || Role::BOTH.iter().any(|role| it.handshake.is_lost[*role]);
    it.tcp.close.is_some_and(is_it) && !is_torn && Role::BOTH.iter().all(has_begin)
}

/// Finds out which of two closes came first, where sensors have different ones: the side that had received the other's FIN
/// closed second. Clocks of sensors are known up to a round trip, within which most second closes come, and decide nothing.
fn settle_close(joined: &mut TcpFacts, parts: &[Observation]) {
    let closes = || parts.iter().filter_map(|it| Some((it, it.tcp.close?)));
    let first_of = |role: Role| {
        let of_role = closes().filter(|(_, close)| close.by == Some(role));
        of_role.map(|(_, close)| close).reduce(first_close)
    };
    let (Some(a), Some(b)) = (first_of(Role::Initiator), first_of(Role::Acceptor)) else { return };
    let has_other = |close: CloseFacts, other: Role| {
        let TcpSide { missing_bytes, end, .. } = joined.sides[other];
        // What lies behind the end may as well be bytes that no sensor has.
        missing_bytes == 0 && close.received.is_some_and(|received| received > end)
    };
    let first = match (has_other(a, Role::Acceptor), has_other(b, Role::Initiator)) {
        (false, true) => Some(a),
        (true, false) => Some(b),
        _ => {
            // One clock has both.
            let has_both = |it: &Observation| {
                Role::BOTH.iter().all(|role| it.tcp.sides[*role].closed_at.is_some())
            };
            let all = closes().filter(|(it, _)| has_both(it)).map(|(_, close)| close);
            all.reduce(first_close)
        }
    };
    let is_whole = a.is_whole || b.is_whole;
    joined.close = match (first, joined.close) {
        (Some(first), _) => Some(CloseFacts { is_whole, ..first }),
        (None, close) => close.map(|close| CloseFacts { by: None, ..close }),
    };
}

/// A sensor that did not see the close has the bytes behind it as the last ones. Those before it are known from a sensor that
/// has that close and lacks no bytes, if there is one.
fn settle_last_bytes(joined: &mut TcpFacts, parts: &[Observation]) {
    let Some(close) = joined.close else { return };
    for role in Role::BOTH {
        let last = &mut joined.sides[role].last_bytes;
        if *last <= Some(close.mark.at) {
            continue;
        }
        let has_close = |it: &&Observation| {
            let is_same = it.tcp.close.is_some_and(|own| own.by.is_some() && own.by == close.by);
            is_same && it.tcp.sides[role].missing_bytes == 0
        };
        let before = parts.iter().filter(has_close).filter_map(|it| it.tcp.sides[role].last_bytes);
        *last = before.max().map(|at| at.min(close.mark.at));
    }
}

/// The totals of messages of one side, from the sensor that read most of them. A sensor of one direction has no answers.
fn messages(parts: &[Observation], role: Role) -> Option<Box<MessageSums>> {
    let of = |both_seen: bool| {
        let sums = parts.iter().filter(|it| it.tcp.both_seen == both_seen);
        let sums = sums.filter_map(|it| it.messages[role].clone());
        sums.reduce(|a, b| pick(a, b, |it| message_count(it)))
    };
    of(true).or_else(|| {
        let mut sums = of(false)?;
        if parts.len() > 1 {
            sums.calls = Vec::new();
        }
        Some(sums)
    })
}

/// Whether a message of the side in this role was read.
fn has_messages(handshake: &HandshakeFacts, role: Role) -> bool {
    match role {
        Role::Initiator => handshake.send_name.is_some() || handshake.reply.is_some(),
        Role::Acceptor => {
            handshake.status.is_some() || handshake.challenge.is_some() || handshake.ack.is_some()
        }
    }
}

/// The one with the higher rank. Of equal rank, the lesser one, so that the choice does not depend on their order.
fn pick<T: Ord, K: Ord>(a: T, b: T, rank: impl Fn(&T) -> K) -> T {
    match rank(&a).cmp(&rank(&b)) {
        Ordering::Greater => a,
        Ordering::Less => b,
        Ordering::Equal => a.min(b),
    }
}

/// Both values as one, or the only one.
fn some<T>(a: Option<T>, b: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

fn per_role<T>(a: PerRole<T>, b: PerRole<T>, mut both: impl FnMut(T, T) -> T) -> PerRole<T> {
    PerRole { initiator: both(a.initiator, b.initiator), acceptor: both(a.acceptor, b.acceptor) }
}

/// Packets in the order of their times; the number of an input decides between equal ones.
const fn order(mark: PacketRef) -> (Timestamp, crate::packet::FrameRef) {
    (mark.at, mark.frame)
}

/// The first sight of a packet, which is that of the sensor nearer to its sender.
fn first(a: PacketRef, b: PacketRef) -> PacketRef {
    if order(a) <= order(b) { a } else { b }
}

fn last(a: PacketRef, b: PacketRef) -> PacketRef {
    if order(a) >= order(b) { a } else { b }
}

/// The lesser of two, if both are known.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    some(a, b, Ord::min)
}

const fn occasion_rank(it: &Occasion) -> u8 {
    match it {
        Occasion::Established => 0,
        Occasion::Silent { .. } => 1,
        Occasion::Over => 2,
        Occasion::Quiet => 3,
        Occasion::End => 4,
    }
}

/// How certain the roles are.
pub(super) const fn orientation_rank(it: Orientation) -> u8 {
    match it {
        Orientation::Guess => 0,
        Orientation::Epmd => 1,
        Orientation::Handshake => 2,
        Orientation::Syn => 3,
    }
}

const fn opening_rank(it: &Opening) -> u8 {
    match it {
        Opening::Unanswered => 0,
        Opening::Unreachable(_) => 1,
        Opening::Reset(_) => 2,
        Opening::Answered => 3,
    }
}

fn opening(a: Opening, b: Opening) -> Opening {
    match (a, b) {
        (Opening::Reset(a), Opening::Reset(b)) => Opening::Reset(first(a, b)),
        (Opening::Unreachable(a), Opening::Unreachable(b)) => Opening::Unreachable(first(a, b)),
        (a, b) => pick(a, b, opening_rank),
    }
}

fn tcp_facts(a: TcpFacts, b: TcpFacts) -> TcpFacts {
    let TcpFacts {
        first: first_packet,
        last: last_packet,
        opening: opened,
        icmp,
        close,
        both_seen,
        is_lossy,
        round_trip,
        gaps,
        gap_bytes,
        conflicts,
        sides,
    } = a;
    TcpFacts {
        first: first(first_packet, b.first),
        last: last(last_packet, b.last),
        opening: opening(opened, b.opening),
        icmp: some(icmp, b.icmp, |a, b| pick(a, b, |_| ())),
        close: some(close, b.close, first_close),
        both_seen: both_seen || b.both_seen,
        is_lossy: is_lossy || b.is_lossy,
        // A sensor that lacks a packet of the opening takes a later one for it.
        round_trip: least(round_trip, b.round_trip),
        gaps: gaps.min(b.gaps),
        gap_bytes: gap_bytes.min(b.gap_bytes),
        conflicts: conflicts.max(b.conflicts),
        sides: per_role(sides, b.sides, tcp_side),
    }
}

/// The close that came first. A sensor that does not know the side which closed first gives way to one that does.
fn first_close(a: CloseFacts, b: CloseFacts) -> CloseFacts {
    let CloseFacts { by, kind, mark: _, received, is_answer: _, is_whole } = a;
    let is_same = (by, kind) == (b.by, b.kind);
    let (received, is_whole) = (received.max(b.received), is_whole || b.is_whole);
    let chosen = pick(a, b, |it| (it.by.is_some(), Reverse(order(it.mark))));
    CloseFacts { received: if is_same { received } else { chosen.received }, is_whole, ..chosen }
}

fn tcp_side(a: TcpSide, b: TcpSide) -> TcpSide {
    let TcpSide {
        syn,
        start,
        base,
        bytes,
        missing_bytes,
        retransmitted_bytes,
        end,
        last_bytes,
        last_segment,
        unanswered,
        closed_at,
        fin_unseen,
        stall,
        delivery,
    } = a;
    let sent = bytes.saturating_add(missing_bytes).max(b.bytes.saturating_add(b.missing_bytes));
    let read = bytes.max(b.bytes);
    let closed_at = least(closed_at, b.closed_at);
    TcpSide {
        syn: some(syn, b.syn, syn_facts),
        start: start.max(b.start),
        base: base.max(b.base),
        bytes: read,
        missing_bytes: sent.saturating_sub(read),
        retransmitted_bytes: retransmitted_bytes.max(b.retransmitted_bytes),
        end: end.max(b.end),
        last_bytes: last_bytes.max(b.last_bytes),
        last_segment: last_segment.max(b.last_segment),
        unanswered: unanswered.max(b.unanswered),
        closed_at,
        fin_unseen: fin_unseen && b.fin_unseen
            || (fin_unseen || b.fin_unseen) && closed_at.is_none(),
        stall: some(stall, b.stall, |a, b| pick(a, b, |it| (it.lasted_us, it.sent_bytes))),
        delivery: deliveries(delivery, b.delivery),
    }
}

fn syn_facts(a: SynFacts, b: SynFacts) -> SynFacts {
    let SynFacts { mark, count, last } = a;
    SynFacts { mark: first(mark, b.mark), count: count.max(b.count), last: last.max(b.last) }
}

fn deliveries(a: Delivery, b: Delivery) -> Delivery {
    let Delivery { acked, largest_acked, resent, icmp } = a;
    Delivery {
        acked: acked.max(b.acked),
        largest_acked: largest_acked.max(b.largest_acked),
        resent: some(resent, b.resent, |a, b| pick(a, b, |it| (Reverse(it.offset), it.sent))),
        icmp: some(icmp, b.icmp, |a, b| pick(a, b, |it| Reverse(order(it.mark)))),
    }
}

/// The first sight of a message, with its content there.
fn received<T: Ord>(a: Option<Received<T>>, b: Option<Received<T>>) -> Option<Received<T>> {
    some(a, b, |a, b| pick(a, b, |it| Reverse(order(it.mark))))
}

/// A sensor that lacks the `complement` of an old hello lacks its flags and its creation.
fn hello(a: Option<Received<Hello>>, b: Option<Received<Hello>>) -> Option<Received<Hello>> {
    let all =
        |it: &Option<Received<Hello>>| it.as_ref().map(|it| (it.what.flags.0, it.what.creation));
    let (own, other) = (all(&a), all(&b));
    let mut hello = received(a, b)?;
    for (flags, creation) in [own, other].into_iter().flatten() {
        hello.what.flags.0 |= flags;
        hello.what.creation = hello.what.creation.max(creation);
    }
    Some(hello)
}

fn handshake_facts(a: HandshakeFacts, b: HandshakeFacts) -> HandshakeFacts {
    let HandshakeFacts {
        send_name,
        status,
        alive_reply,
        challenge,
        complement,
        late_refusal,
        reply,
        ack,
        fingerprint,
        odd_challenge,
        is_torn,
        is_lost,
        cookies,
    } = a;
    HandshakeFacts {
        send_name: hello(send_name, b.send_name),
        status: received(status, b.status),
        alive_reply: received(alive_reply, b.alive_reply),
        challenge: hello(challenge, b.challenge),
        complement: received(complement, b.complement),
        late_refusal: received(late_refusal, b.late_refusal),
        reply: received(reply, b.reply),
        ack: received(ack, b.ack),
        fingerprint: fingerprint.max(b.fingerprint),
        odd_challenge: some(odd_challenge, b.odd_challenge, |a, b| {
            pick(a, b, |it| *it == OddChallenge::Echo)
        }),
        is_torn: per_role(is_torn, b.is_torn, |a, b| a || b),
        is_lost: per_role(is_lost, b.is_lost, |a, b| a || b),
        cookies: per_role(cookies, b.cookies, |a, b| pick(a, b, cookie_rank)),
    }
}

const fn cookie_rank(it: &CookieTest) -> u8 {
    match it {
        CookieTest::Untested => 0,
        CookieTest::NoneFits => 1,
        CookieTest::Fits(_) => 2,
    }
}

fn rare_tls_side(a: Rare<TlsSide>, b: Rare<TlsSide>) -> Rare<TlsSide> {
    if a == b { a } else { Rare::new(tls_side(a.into_inner(), b.into_inner())) }
}

fn tls_side(a: TlsSide, b: TlsSide) -> TlsSide {
    let TlsSide { sign, fatal, lengths, sealed, hello, certificates, progress } = a;
    TlsSide {
        sign: some(sign, b.sign, |a, b| pick(a, b, |it| Reverse(order(it.1)))),
        fatal: some(fatal, b.fatal, |a, b| pick(a, b, |it| Reverse(order(it.1)))),
        lengths: some(lengths, b.lengths, |a, b| pick(a, b, |_| ())),
        // The list of the sensor that has the first of them.
        sealed: pick(sealed, b.sealed, |it| {
            (!it.is_empty(), it.first().map(|it| Reverse(it.end)), it.len())
        }),
        hello: some(hello, b.hello, |a, b| pick(a, b, |it| it.versions.len())),
        certificates: pick(certificates, b.certificates, Vec::len),
        progress: tls_progress(progress, b.progress),
    }
}

fn tls_progress(a: TlsProgress, b: TlsProgress) -> TlsProgress {
    let TlsProgress { flight, no_certificate, finished, alert } = a;
    let record =
        |a: Option<SealedRecord>, b| some(a, b, |a, b| pick(a, b, |it| Reverse(order(it.mark))));
    TlsProgress {
        flight: some(flight, b.flight, first),
        no_certificate: some(no_certificate, b.no_certificate, first),
        finished: record(finished, b.finished),
        alert: record(alert, b.alert),
    }
}

/// Counts and pauses are those of the sensor that read most frames: they belong together.
fn frame_traffic(a: FrameTraffic, b: FrameTraffic) -> FrameTraffic {
    let last_frame = some(a.last, b.last, last);
    let corrupt =
        some(a.corrupt.clone(), b.corrupt.clone(), |a, b| pick(a, b, |it| Reverse(order(it.mark))));
    let records = some(a.native_records, b.native_records, |a, b| {
        let NativeRecords { first: own_first, last: own_last } = a;
        NativeRecords { first: first(own_first, b.first), last: last(own_last, b.last) }
    });
    let counts = |it: &FrameTraffic| (it.frames, it.messages, it.ticks);
    let FrameTraffic {
        frames,
        messages,
        ticks,
        tick_period,
        last: _,
        longest_pause,
        corrupt: _,
        native_records: _,
    } = pick(
        FrameTraffic { last: None, corrupt: None, native_records: None, ..a },
        FrameTraffic { last: None, corrupt: None, native_records: None, ..b },
        counts,
    );
    FrameTraffic {
        frames,
        messages,
        ticks,
        tick_period,
        last: last_frame,
        longest_pause,
        corrupt,
        native_records: records,
    }
}

/// Rank of the totals of a side by the messages that they count.
fn message_count(sums: &MessageSums) -> (u64, u64, Reverse<u64>) {
    let messages = sums.operations.iter().fold(0_u64, |sum, it| sum.saturating_add(it.messages));
    let answered =
        sums.calls.iter().fold(0_u64, |sum, it: &CallSums| sum.saturating_add(it.answered));
    (messages, answered, Reverse(sums.unreadable))
}

/// The same connection by the other roles, for a sensor that took them the wrong way round. A sensor that read a message of
/// the handshake knows the roles: `None`.
pub(super) fn with_other_roles(it: Observation) -> Option<Observation> {
    fn swap<T>(it: PerRole<T>) -> PerRole<T> {
        PerRole { initiator: it.acceptor, acceptor: it.initiator }
    }
    if it.handshake.reached().is_some() || it.orientation == Orientation::Syn {
        return None;
    }
    let close = it.tcp.close.map(|close| CloseFacts { by: close.by.map(Role::peer), ..close });
    let occasion = match it.occasion {
        Occasion::Silent { role, last } => Occasion::Silent { role: role.peer(), last },
        other => other,
    };
    let HandshakeFacts { is_torn, is_lost, cookies, .. } = it.handshake;
    let handshake = HandshakeFacts {
        is_torn: swap(is_torn),
        is_lost: swap(is_lost),
        cookies: swap(cookies),
        ..it.handshake
    };
    Some(Observation {
        occasion,
        ends: swap(it.ends),
        passed_on: swap(it.passed_on),
        tcp: TcpFacts { close, sides: swap(it.tcp.sides), ..it.tcp },
        handshake,
        tls: swap(it.tls),
        traffic: swap(it.traffic),
        foreign: swap(it.foreign),
        messages: swap(it.messages),
        ..it
    })
}

/// Makes offsets in the stream of `role` count from the byte with the sequence number `base`.
pub(super) fn rebase(it: &mut Observation, role: Role, base: u32) {
    let side = &mut it.tcp.sides[role];
    let Some(own) = side.base.replace(base) else { return };
    // As RFC 9293 compares sequence numbers, section 3.4.
    let by = i64::from(own.wrapping_sub(base).cast_signed());
    if by == 0 {
        return;
    }
    let mut offsets = vec![&mut side.end];
    offsets.extend(side.delivery.acked.as_mut());
    offsets.extend(side.delivery.resent.as_mut().map(|resent| &mut resent.offset));
    if let Some(close) = it.tcp.close.as_mut().filter(|close| close.by == Some(role.peer())) {
        offsets.extend(close.received.as_mut());
    }
    if let Some(TlsSide { sealed, progress: TlsProgress { finished, alert, .. }, .. }) =
        it.tls[role].as_mut()
    {
        let records = sealed.iter_mut().chain(finished).chain(alert);
        offsets.extend(records.map(|record| &mut record.end));
    }
    let HandshakeFacts {
        send_name,
        status,
        alive_reply,
        challenge,
        complement,
        late_refusal,
        reply,
        ack,
        ..
    } = &mut it.handshake;
    match role {
        Role::Initiator => {
            offsets.extend(send_name.as_mut().map(|it| &mut it.end));
            offsets.extend(alive_reply.as_mut().map(|it| &mut it.end));
            offsets.extend(complement.as_mut().map(|it| &mut it.end));
            offsets.extend(reply.as_mut().map(|it| &mut it.end));
        }
        Role::Acceptor => {
            offsets.extend(status.as_mut().map(|it| &mut it.end));
            offsets.extend(challenge.as_mut().map(|it| &mut it.end));
            offsets.extend(late_refusal.as_mut().map(|it| &mut it.end));
            offsets.extend(ack.as_mut().map(|it| &mut it.end));
        }
    }
    let moved = by.unsigned_abs();
    for offset in offsets {
        *offset = if by > 0 { offset.plus(moved) } else { offset.minus(moved) };
    }
}

/// What two sensors show of one request to EPMD together.
pub(super) fn join_epmd(a: EpmdObservation, b: EpmdObservation) -> EpmdObservation {
    let EpmdObservation {
        request,
        name,
        name_hex,
        outcome,
        response,
        result,
        port,
        node_type,
        highest_version,
        lowest_version,
        protocol,
        extra_hex,
        creation,
        names,
        reply,
        response_time_us,
        lifetime_us,
        seen,
    } = a;
    let joined = EpmdObservation {
        request: some(request, b.request, |a, b| pick(a, b, |_| ())),
        name: name.max(b.name),
        name_hex: name_hex.max(b.name_hex),
        outcome: pick(outcome, b.outcome, |it| epmd_rank(*it)),
        response: some(response, b.response, |a, b| pick(a, b, |_| ())),
        result: least(result, b.result),
        port: port.max(b.port),
        node_type: some(node_type, b.node_type, |a, b| pick(a, b, |_| ())),
        highest_version: highest_version.max(b.highest_version),
        lowest_version: lowest_version.max(b.lowest_version),
        protocol: protocol.max(b.protocol),
        extra_hex: extra_hex.max(b.extra_hex),
        creation: creation.max(b.creation),
        names: some(names, b.names, |a, b| pick(a, b, Vec::len)),
        reply: reply.max(b.reply),
        response_time_us: response_time_us.max(b.response_time_us),
        lifetime_us: lifetime_us.max(b.lifetime_us),
        seen: epmd_packets(seen, b.seen),
    };
    let is_answered = joined.request.is_some() && joined.response.is_some();
    let is_undecided = matches!(
        joined.outcome,
        EpmdOutcome::Incomplete | EpmdOutcome::Unacknowledged | EpmdOutcome::NoReply
    );
    // One sensor has the request, the other the reply.
    let outcome = if is_answered && is_undecided && joined.result.unwrap_or(0) == 0 {
        EpmdOutcome::Answered
    } else {
        joined.outcome
    };
    EpmdObservation { outcome, ..joined }
}

/// How much of a request an outcome shows: one that a sensor saw excludes those that need packets to be absent.
const fn epmd_rank(it: EpmdOutcome) -> u8 {
    match it {
        EpmdOutcome::Incomplete => 0,
        EpmdOutcome::Unanswered => 1,
        EpmdOutcome::Unacknowledged => 2,
        EpmdOutcome::NoReply => 3,
        EpmdOutcome::Malformed => 4,
        EpmdOutcome::ConnectionRefused => 5,
        EpmdOutcome::CommandRefused => 6,
        EpmdOutcome::RegistrationRefused => 7,
        EpmdOutcome::NotRegistered => 8,
        EpmdOutcome::Answered => 9,
        EpmdOutcome::Unregistered => 10,
    }
}

fn epmd_packets(a: EpmdPackets, b: EpmdPackets) -> EpmdPackets {
    let EpmdPackets {
        syn,
        syns,
        starts,
        request,
        reply,
        close,
        icmp,
        foreign,
        proxy,
        tls,
        closed_by,
        is_whole,
        is_acknowledged,
        is_unread,
        is_pipelined,
        is_mute,
        delivery,
        last_segment,
    } = a;
    let earlier = |a: Option<PacketRef>, b: Option<PacketRef>| some(a, b, first);
    EpmdPackets {
        syn: earlier(syn, b.syn),
        syns: syns.max(b.syns),
        starts: per_role(starts, b.starts, Ord::max),
        request: earlier(request, b.request),
        reply: earlier(reply, b.reply),
        close: earlier(close, b.close),
        icmp: icmp.max(b.icmp),
        foreign: some(foreign, b.foreign, |a, b| pick(a, b, |it| Reverse(order(it.mark)))),
        proxy: some(proxy, b.proxy, |a, b| pick(a, b, |it| Reverse(order(it.mark)))),
        tls: per_role(tls, b.tls, rare_tls_side),
        closed_by: some(closed_by, b.closed_by, Ord::min),
        is_whole: is_whole || b.is_whole,
        is_acknowledged: is_acknowledged || b.is_acknowledged,
        is_unread: is_unread && b.is_unread,
        is_pipelined: is_pipelined || b.is_pipelined,
        is_mute: is_mute && b.is_mute,
        delivery: per_role(delivery, b.delivery, deliveries),
        last_segment: per_role(last_segment, b.last_segment, Ord::max),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::capture::{CaptureFile, Item};
    use crate::engine::{Config, Engine};
    use crate::observe::Fact;

    /// The last observation of each connection of a capture, at a sensor that lost one frame of so many.
    fn observed(capture: &str, lost: u64) -> BTreeMap<String, Observation> {
        let seen: Arc<Mutex<BTreeMap<String, Observation>>> = Arc::default();
        let mut engine = Engine::new(Config::default(), Vec::new());
        let sink = Arc::clone(&seen);
        engine.record_facts(Box::new(move |fact| {
            if let Fact::Connection { seen, .. } = &fact.fact {
                let mut ends =
                    [seen.ends.initiator, seen.ends.acceptor].map(|it| format!("{it:?}"));
                ends.sort();
                sink.lock().unwrap().insert(ends.join(" "), (**seen).clone());
            }
        }));
        let mut capture = CaptureFile::open(capture.as_ref(), 0).unwrap();
        while let Some(item) = capture.next_item().unwrap() {
            if let Item::Frame(frame) = item
                && !frame.id.number.is_multiple_of(lost)
            {
                engine.push_frame(&frame);
            }
        }
        engine.finish();
        std::mem::take(&mut *seen.lock().unwrap())
    }

    #[test]
    fn a_side_closed_second_if_it_had_received_a_fin_and_not_if_that_may_be_lost_bytes() {
        let seen = observed("captures/seed-lan-wrong-then-right-cookie.pcap", u64::MAX);
        let any = seen.into_values().find(|it| it.tcp.close.is_some()).unwrap();
        let by = |missing_bytes: u64| {
            let closed_by = |role: Role| {
                let mut it = any.clone();
                let end = it.tcp.sides[role.peer()].end;
                let received = Some(if role == Role::Initiator { end.plus(1) } else { end });
                it.tcp.close = it.tcp.close.map(|it| CloseFacts { by: Some(role), received, ..it });
                it.tcp.sides[role.peer()].closed_at = None;
                it.tcp.sides.acceptor.missing_bytes = missing_bytes;
                it
            };
            let parts = Role::BOTH.map(closed_by);
            let mut joined = parts[0].tcp.clone();
            settle_close(&mut joined, &parts);
            joined.close.unwrap().by
        };
        assert_eq!(by(0), Some(Role::Acceptor));
        assert_eq!(by(1), None);
    }

    #[test]
    fn a_join_depends_neither_on_the_order_nor_on_the_number_of_its_parts() {
        let text = |it: &Observation| format!("{it:?}");
        let joined = |a: &Observation, b: &Observation| join(a.clone(), b.clone());
        let mut tried = 0;
        for entry in std::fs::read_dir("captures").unwrap() {
            let path = entry.unwrap().path();
            let path = path.to_string_lossy();
            if !path.ends_with(".pcap") {
                continue;
            }
            let [whole, one, two] = [u64::MAX, 7, 4].map(|lost| observed(&path, lost));
            for (ends, a) in &whole {
                let (Some(b), Some(c)) = (one.get(ends), two.get(ends)) else { continue };
                let same_roles = [b, c].iter().all(|it| it.ends == a.ends);
                let bases = |it: &Observation| Role::BOTH.map(|role| it.tcp.sides[role].base);
                if !same_roles || bases(a) != bases(b) || bases(a) != bases(c) {
                    continue;
                }
                tried += 1;
                for it in [a, b, c] {
                    assert_eq!(text(&joined(it, it)), text(it), "{path} {ends}: twice");
                }
                assert_eq!(text(&joined(a, b)), text(&joined(b, a)), "{path} {ends}: order");
                assert_eq!(text(&joined(b, c)), text(&joined(c, b)), "{path} {ends}: order");
                let left = joined(&joined(b, c), a);
                let right = joined(b, &joined(c, a));
                assert_eq!(text(&left), text(&right), "{path} {ends}: grouping");
            }
        }
        assert!(tried > 80, "{tried}");
    }
}
