//! Facts of one sensor, put on the clock and the inputs of a merge.
//!
//! In: facts as a sensor recorded them. Out: the same facts with other times and numbers of inputs. Every field is named
//! here, so that one which is added elsewhere does not compile until it is decided whether it has a time.

use crate::names::{Question, Resolved, Unresolved};
use crate::observe::{
    Blank, CallSums, CertificateFacts, CloseFacts, CorruptFrame, Delivery, EpmdObservation,
    EpmdPackets, Fact, Foreign, ForeignBytes, FrameTraffic, HandshakeFacts, IcmpAboutBytes,
    LargestMessage, MessageSums, NativeRecords, Observation, Occasion, Opening, PauseSpan, PerRole,
    ProxyHeaderFacts, Rare, Received, Recorded, SealedRecord, Settled, SlowestCall, Stall,
    SynFacts, TcpFacts, TcpSide, TlsProgress, TlsSide, Totals, TriggerMessage,
};
use crate::packet::{FrameRef, PacketRef};
use crate::questions::NoNeighbour;
use crate::stream::Resent;
use crate::time::Timestamp;

/// How the clock and the inputs of one sensor become those of the merge.
#[derive(Clone, Debug)]
pub(super) struct SensorPlace {
    /// The number in the merge of each input of the sensor.
    pub(super) inputs: Vec<u16>,
    /// Nanoseconds to add to times.
    pub(super) shift: i64,
}

impl SensorPlace {
    /// The number of an input in the merge. A sensor that names fewer inputs than its facts have is put on its last one.
    fn input(&self, own: u16) -> u16 {
        self.inputs
            .get(usize::from(own))
            .or_else(|| self.inputs.last())
            .copied()
            .unwrap_or_default()
    }
}

/// Something with times or numbers of inputs.
pub(super) trait Placed {
    /// Puts it on the clock and the inputs of the merge.
    fn place(&mut self, to: &SensorPlace);
}

impl Placed for Timestamp {
    fn place(&mut self, to: &SensorPlace) {
        // A capture without times has none to correct.
        if *self != Self::default() {
            self.0 = self.0.saturating_add_signed(to.shift);
        }
    }
}

impl Placed for FrameRef {
    fn place(&mut self, to: &SensorPlace) {
        self.input = to.input(self.input);
    }
}

impl<T: Placed> Placed for Option<T> {
    fn place(&mut self, to: &SensorPlace) {
        self.iter_mut().for_each(|it| it.place(to));
    }
}

impl<T: Placed> Placed for Vec<T> {
    fn place(&mut self, to: &SensorPlace) {
        self.iter_mut().for_each(|it| it.place(to));
    }
}

impl<T: Placed> Placed for Box<T> {
    fn place(&mut self, to: &SensorPlace) {
        (**self).place(to);
    }
}

impl<T: Placed + Blank> Placed for Rare<T> {
    fn place(&mut self, to: &SensorPlace) {
        if let Some(value) = self.as_mut() {
            value.place(to);
        }
    }
}

impl<T: Placed> Placed for PerRole<T> {
    fn place(&mut self, to: &SensorPlace) {
        self.initiator.place(to);
        self.acceptor.place(to);
    }
}

impl<T> Placed for (T, PacketRef) {
    fn place(&mut self, to: &SensorPlace) {
        self.1.place(to);
    }
}

impl<T> Placed for Received<T> {
    fn place(&mut self, to: &SensorPlace) {
        let Self { what: _, mark, end: _ } = self;
        mark.place(to);
    }
}

/// The fields that have times or inputs, and behind the semicolon those that have none.
macro_rules! placed {
    ($($name:ident { $($field:ident),* ; $($other:ident),* })+) => {
        $(impl Placed for $name {
            fn place(&mut self, to: &SensorPlace) {
                let Self { $($field,)* $($other: _,)* } = self;
                $($field.place(to);)*
            }
        })+
    };
}

placed! {
    PacketRef { frame, at; }
    Recorded { clock, fact; version, sequence }
    Observation {
        at, occasion, lost_until, tcp, handshake, proxy, tls, traffic, foreign, messages;
        is_final, orientation, ends, passed_on, opened_tls
    }
    TcpFacts {
        first, last, opening, close, sides;
        icmp, both_seen, is_lossy, round_trip, gaps, gap_bytes, conflicts
    }
    TcpSide {
        syn, last_bytes, last_segment, unanswered, closed_at, stall, delivery;
        start, base, bytes, missing_bytes, retransmitted_bytes, end, fin_unseen
    }
    SynFacts { mark, last; count }
    CloseFacts { mark; by, kind, received, is_answer, is_whole }
    Stall { since; lasted_us, sent_bytes }
    Delivery { resent, icmp; acked, largest_acked }
    IcmpAboutBytes { mark; kind, code, reporter, mtu }
    HandshakeFacts {
        send_name, status, alive_reply, challenge, complement, late_refusal, reply, ack;
        fingerprint, odd_challenge, is_torn, is_lost, cookies
    }
    ProxyHeaderFacts { mark; version, client, dialed }
    TlsSide { sign, fatal, sealed, certificates, progress; lengths, hello }
    TlsProgress { flight, no_certificate, finished, alert; }
    SealedRecord { mark; length, end }
    CertificateFacts {
        mark;
        subject, issuer, names, not_before, not_after, key_usage, extended_key_usage, is_authority, issued
    }
    FrameTraffic {
        last, longest_pause, corrupt, native_records;
        frames, messages, ticks, tick_period
    }
    PauseSpan { since; lasted_us }
    CorruptFrame { mark; field }
    NativeRecords { first, last; }
    ForeignBytes { mark; looks_like }
    Foreign { mark; from, looks_like }
    MessageSums {
        largest, calls, longest_silence, longest_stall;
        operations, names, functions, fragmented, fragments, unfinished, unreadable, tick_time_s
    }
    LargestMessage { at; bytes, operation }
    CallSums {
        slowest, oldest_unanswered;
        kind, asked, answered, unanswered, given_up, noproc, down, median_us, p99_us
    }
    SlowestCall { request, answer; latency_us }
    EpmdObservation {
        seen;
        request, name, name_hex, outcome, response, result, port, node_type, highest_version, lowest_version, protocol,
        extra_hex, creation, names, reply, response_time_us, lifetime_us
    }
    EpmdPackets {
        syn, request, reply, close, foreign, proxy, tls, delivery, last_segment;
        syns, starts, icmp, closed_by, is_whole, is_acknowledged, is_unread, is_pipelined, is_mute
    }
    TriggerMessage { mark; from, operation, trigger, call, lost }
    Resent { first, before, again, last; offset, bytes, sent }
    Question { mark; client, server, name, is_v6 }
    Resolved { mark; client, name, ips }
    Unresolved { question, answer; reason }
    NoNeighbour { first, last; asker, wanted, count }
}

impl Placed for Settled {
    fn place(&mut self, to: &SensorPlace) {
        let Self { at, frame, input, host_input, connection: _ } = self;
        at.place(to);
        frame.place(to);
        *input = input.map(|input| to.input(input));
        *host_input = host_input.map(|input| to.input(input));
    }
}

impl Placed for Occasion {
    fn place(&mut self, to: &SensorPlace) {
        match self {
            Self::Silent { role: _, last } => last.place(to),
            Self::Established | Self::Over | Self::Quiet | Self::End => {}
        }
    }
}

impl Placed for Opening {
    fn place(&mut self, to: &SensorPlace) {
        match self {
            Self::Reset(mark) | Self::Unreachable(mark) => mark.place(to),
            Self::Answered | Self::Unanswered => {}
        }
    }
}

impl Placed for Totals {
    fn place(&mut self, to: &SensorPlace) {
        let Self { inputs, first, last, .. } = self;
        let highest = to.inputs.iter().take(usize::from(*inputs)).max();
        *inputs = highest.map_or(0, |highest| highest.saturating_add(1));
        first.place(to);
        last.place(to);
    }
}

impl Placed for Fact {
    fn place(&mut self, to: &SensorPlace) {
        match self {
            Self::Connection { settled, seen } => {
                settled.place(to);
                seen.place(to);
            }
            Self::Epmd { settled, seen } => {
                settled.place(to);
                seen.place(to);
            }
            Self::Handshake { settled, message: _ } | Self::Anomaly { settled, anomaly: _ } => {
                settled.place(to);
            }
            Self::Message { settled, message } => {
                settled.place(to);
                message.place(to);
            }
            Self::ProxyHeader { settled, header } => {
                settled.place(to);
                header.place(to);
            }
            Self::Resolved(resolved) => resolved.place(to),
            Self::Unresolved(unresolved) => unresolved.place(to),
            Self::NoNeighbour(neighbour) => neighbour.place(to),
            Self::ListedName { ip: _, name: _ } => {}
            Self::Run { at, input, anomaly: _ } => {
                at.place(to);
                *input = input.map(|input| to.input(input));
            }
            Self::End(totals) => totals.place(to),
        }
    }
}
