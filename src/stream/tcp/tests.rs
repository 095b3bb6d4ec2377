//! What two hosts take of each other's segments, close by close.

use std::net::{IpAddr, Ipv4Addr};

use super::taken::Extent;
use super::*;
use crate::decode::Endpoint;
use crate::flow::FlowKey;
use crate::packet::FrameRef;
use crate::stream::TcpOffset;

const A: Endpoint = Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), port: 40_000 };
const B: Endpoint = Endpoint { ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), port: 9_100 };

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const RST_ACK: u8 = 0x14;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;
const FIN_ACK: u8 = 0x11;

/// The numbers of A begin at 1000, and those of B at 5000.
struct Hosts {
    tcp: TcpConnection,
    at: Timestamp,
    frame: u64,
    ttl: u8,
    /// The timestamps of the next segment.
    stamps: Option<(u32, u32)>,
    input: u16,
    limits: Limits,
}

impl Hosts {
    fn new() -> Self {
        let at = Timestamp::new(100, 0);
        let first = PacketRef { frame: FrameRef::default(), at };
        let tcp = TcpConnection::new(first, &MemoryBudget::new(1 << 20));
        let limits = Limits::default();
        Self { tcp, at, frame: 0, ttl: 64, stamps: None, input: 0, limits }
    }

    fn opened() -> Self {
        let mut hosts = Self::new();
        hosts.a(SYN, 1000, 0, b"").b(SYN_ACK, 5000, 1001, b"").a(ACK, 1001, 5001, b"");
        hosts
    }

    fn a(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> &mut Self {
        self.send((A, B), flags, (seq, ack), payload)
    }

    fn b(&mut self, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> &mut Self {
        self.send((B, A), flags, (seq, ack), payload)
    }

    fn send(
        &mut self,
        (src, dst): (Endpoint, Endpoint),
        flags: u8,
        (seq, ack): (u32, u32),
        payload: &[u8],
    ) -> &mut Self {
        self.frame += 1;
        self.wait(1);
        let header = self.stamps.take().map_or(Vec::new(), header_with);
        let segment = Segment {
            frame: FrameRef { input: self.input, number: self.frame },
            at: self.at,
            seq,
            ack,
            flags: TcpFlags(flags),
            ttl: self.ttl,
            header: &header,
            payload,
            ..Segment::between(src, dst)
        };
        if !self.tcp.is_dropped(&segment, true) && self.tcp.is_intact(&segment) {
            if self.tcp.has_closed() {
                self.tcp.refute_close(&segment);
            }
            self.tcp.on_segment(&segment, &self.limits, &mut |_| {});
        }
        self
    }

    /// The next segment has this timestamp, and repeats that one.
    fn stamp(&mut self, value: u32, repeated: u32) -> &mut Self {
        self.stamps = Some((value, repeated));
        self
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        self.at = self.at.after(Duration::from_millis(ms));
        self
    }

    /// The kind of the first close, and whether A made it.
    fn closed(&self) -> Option<(ClosingFlag, Option<bool>)> {
        let close = self.tcp.first_close()?;
        let (_, up) = FlowKey::new(A, B);
        Some((close.kind, close.by.map(|by| by == up)))
    }

    fn not_taken(&self) -> u64 {
        self.tcp.not_taken.as_ref().map_or(0, |known| known.count)
    }

    fn a_side(&self) -> &TcpDirection {
        self.tcp.side(FlowKey::new(A, B).1)
    }
}

/// A header with timestamps, and a checksum of zero.
fn header_with((value, repeated): (u32, u32)) -> Vec<u8> {
    let stamps = [value, repeated].map(u32::to_be_bytes).concat();
    [&[0; 20][..], &[1, 1, 8, 10], &stamps].concat()
}

use ClosingFlag::{Fin, Rst};

#[test]
fn the_usual_time_to_live_is_that_of_the_first_segment() {
    let mut hosts = Hosts::new();
    assert!(hosts.a_side().has_usual_ttl(7), "none is known");
    hosts.a(SYN, 1000, 0, b"");
    let is_usual = |ttl| hosts.a_side().has_usual_ttl(ttl);
    assert_eq!([64, 0, 7].map(is_usual), [true, true, false]);
}

#[test]
fn a_connection_may_go_on_when_it_is_open_or_has_bytes() {
    let may_go_on = |send: fn(&mut Hosts) -> &mut Hosts| {
        let mut hosts = Hosts::new();
        send(&mut hosts);
        hosts.tcp.may_go_on()
    };
    assert!(!may_go_on(|it| it.a(SYN, 1000, 0, b"")));
    assert!(!may_go_on(|it| it.a(SYN, 1000, 0, b"").b(RST_ACK, 0, 1001, b"")));
    assert!(may_go_on(|it| it.a(SYN, 1000, 0, b"").b(SYN_ACK, 5000, 1001, b"")));
    assert!(may_go_on(|it| { it.a(SYN, 1000, 0, b"").a(ACK, 1001, 5001, b"xy") }));
}

#[test]
fn the_end_of_a_side_is_behind_its_last_byte() {
    let own = TcpOffset::BASE.plus(7);
    let extent = Extent { own, peer: TcpOffset::BASE, acked: None };
    assert!(extent.is_end(own) && !extent.is_end(own.plus(1)) && !extent.is_end(own.minus(1)));
    assert!(extent.is_before(own.plus(1)) && !extent.is_before(own));
}

#[test]
fn an_rst_before_what_was_acknowledged_or_beyond_every_window_is_dropped() {
    for seq in [1001, 1003, 1005 + (17 << 20)] {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(RST_ACK, seq, 5001, b"");
        assert_eq!((hosts.closed(), hosts.not_taken()), (None, 1), "{seq}");
    }
    let mut hosts = Hosts::opened();
    hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(RST, 1005, 0, b"");
    assert_eq!(hosts.closed(), Some((Rst, Some(true))));
}

#[test]
fn an_rst_in_the_window_behind_which_its_receiver_repeats_itself_closes_nothing() {
    let mut hosts = Hosts::opened();
    hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(RST_ACK, 1055, 5001, b"");
    assert!(hosts.tcp.has_closed(), "what follows decides");
    hosts.b(ACK, 5001, 1005, b"");
    assert!(!hosts.tcp.has_closed());
    assert_eq!((hosts.closed(), hosts.not_taken()), (None, 1));
}

#[test]
fn an_rst_in_the_window_is_refuted_by_less_than_one_with_the_number_of_its_sender() {
    // The number of the first one is not that of A: that A sends bytes which B acknowledges refutes it, however few.
    let goes_on = |seq: u32| {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(RST_ACK, seq, 5001, b"");
        hosts.wait(10).a(ACK, 1005, 5001, b"ef").b(ACK, 5001, 1007, b"");
        (hosts.closed(), hosts.tcp.has_closed())
    };
    assert_eq!(goes_on(1060), (None, false));
    assert_eq!(goes_on(1005), (None, false));
}

#[test]
fn an_rst_is_refuted_by_its_sender_when_that_goes_on_after_more_than_a_round_trip() {
    let goes_on = |ms: u64| {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(RST_ACK, 1005, 5001, b"");
        // A acknowledges bytes that B sent behind the RST.
        hosts.wait(ms).b(ACK, 5001, 1005, b"xyz").a(ACK, 1005, 5004, b"");
        hosts.closed().is_none()
    };
    assert!(!goes_on(10), "a reordered segment");
    assert!(goes_on(1500));
}

#[test]
fn an_rst_is_refuted_by_an_acknowledgement_of_a_fin_behind_it() {
    let acknowledged = |fin_is_behind: bool| {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"");
        if fin_is_behind {
            hosts.a(RST_ACK, 1005, 5001, b"").a(FIN_ACK, 1005, 5001, b"");
        } else {
            hosts.a(FIN_ACK, 1005, 5001, b"").a(RST_ACK, 1006, 5001, b"");
        }
        hosts.b(ACK, 5001, 1006, b"");
        hosts.a_side().rst.is_none() && hosts.a_side().doubtful_rst.is_none()
    };
    assert!(acknowledged(true));
    assert!(!acknowledged(false), "the FIN was taken, and the RST as well");
}

#[test]
fn a_fin_counts_where_nothing_is_missing_before_it() {
    let closed = |seq: u32, then: fn(&mut Hosts) -> &mut Hosts| {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").a(FIN_ACK, seq, 5001, b"");
        then(&mut hosts);
        hosts.closed()
    };
    let by_a = Some((Fin, Some(true)));
    assert_eq!(closed(1005, |it| it), by_a);
    assert_eq!(closed(1030, |it| it), None, "bytes are missing before it");
    assert_eq!(closed(1030, |it| it.b(ACK, 5001, 1031, b"")), by_a, "it was acknowledged");
    assert_eq!(closed(1030, |it| it.b(ACK, 5001, 1005, b"")), None, "it was not");
}

#[test]
fn an_rst_shows_what_its_host_had_received_unless_it_has_no_connection() {
    let missing = |seq: u32| {
        let mut hosts = Hosts::opened();
        // The capture lacks eight bytes of A, which B acknowledges with its RST.
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"").b(RST_ACK, seq, 1013, b"");
        hosts.tcp.missing(FlowKey::new(A, B).1)
    };
    assert_eq!(missing(5001), 8);
    assert_eq!(missing(0), 0, "such a host acknowledges what it did not take in");
}

#[test]
fn a_reset_connection_is_not_over_while_bytes_of_either_side_are_missing() {
    let is_over = |lacking: Endpoint| {
        let mut hosts = Hosts::opened();
        let (own, peer) = if lacking == A { (1001, 5001) } else { (5001, 1001) };
        let other = if lacking == A { B } else { A };
        hosts.send((lacking, other), ACK, (own + 4, peer), b"efgh");
        hosts.send((other, lacking), RST_ACK, (peer, own), b"");
        hosts.tcp.is_over(hosts.at.after(Duration::from_secs(60)), &hosts.limits)
    };
    assert_eq!([A, B].map(is_over), [false, false]);
    let mut whole = Hosts::opened();
    whole.a(ACK, 1001, 5001, b"abcd").b(RST_ACK, 5001, 1005, b"");
    assert!(whole.tcp.is_over(whole.at.after(Duration::from_secs(60)), &whole.limits));
}

#[test]
fn a_syn_ack_beside_the_refusal_of_a_closed_port_opens_nothing() {
    let mut hosts = Hosts::new();
    hosts.a(SYN, 1000, 0, b"").b(SYN_ACK, 5000, 1001, b"").b(RST_ACK, 0, 1001, b"");
    hosts.wait(1000).tcp.finish(FlowKey::new(B, A).1, &mut |_| {});
    assert!(matches!(hosts.tcp.opened(), Opened::Reset(_)), "{:?}", hosts.tcp.opened());
    let mut taken = Hosts::opened();
    taken.b(RST_ACK, 0, 1001, b"").wait(1000);
    taken.tcp.finish(FlowKey::new(B, A).1, &mut |_| {});
    assert!(matches!(taken.tcp.opened(), Opened::Yes), "A had acknowledged the SYN-ACK");
}

#[test]
fn the_first_answer_to_a_syn_acknowledges_it() {
    let is_answered = |flags: u8, ack: u32| {
        let mut hosts = Hosts::new();
        hosts.a(SYN, 1000, 0, b"");
        hosts.tcp.is_answered_by(&Segment {
            frame: FrameRef { input: 0, number: 9 },
            at: hosts.at,
            seq: 5000,
            ack,
            flags: TcpFlags(flags),
            ttl: 64,
            ..Segment::between(B, A)
        })
    };
    assert!(is_answered(SYN_ACK, 1001) && is_answered(RST_ACK, 1001));
    assert!(!is_answered(SYN_ACK, 1002) && !is_answered(SYN, 1001));
}

#[test]
fn a_fin_further_on_than_any_window_is_dropped() {
    let dropped = |ahead: u32| {
        let mut hosts = Hosts::opened();
        hosts.a(ACK, 1001, 5001, b"abcd").b(ACK, 5001, 1005, b"");
        hosts.a(FIN_ACK, 1005 + ahead, 5001, b"");
        (hosts.tcp.has_closed(), hosts.not_taken())
    };
    assert_eq!(dropped(0), (true, 0));
    assert_eq!(dropped(17 << 20), (false, 1));
}

#[test]
fn what_one_reading_of_a_connection_showed_of_checksums_holds_for_the_next() {
    let mut before = Hosts::opened();
    for side in [Direction::LowToHigh, Direction::HighToLow] {
        before.tcp.sides[side].has_right_checksum = true;
    }
    let mut again = Hosts::new();
    again.tcp.take_over(&mut before.tcp);
    let sides = again.tcp.sides.each();
    assert!(sides.into_iter().all(|side| side.has_right_checksum));
}

/// Bytes of A behind a header with this checksum.
fn with_checksum(hosts: &Hosts, header: &'static [u8]) -> Segment<'static> {
    Segment {
        frame: FrameRef { input: 0, number: 99 },
        at: hosts.at,
        seq: 1001,
        ack: 5001,
        flags: TcpFlags(ACK),
        ttl: 64,
        header,
        payload: b"abcd",
        ..Segment::between(A, B)
    }
}

#[test]
fn a_wrong_checksum_counts_where_others_of_that_side_are_right() {
    const WRONG: &[u8] = &[7; 20];
    let mut hosts = Hosts::opened();
    let segment = with_checksum(&hosts, WRONG);
    assert_eq!(segment.checksum(), ChecksumState::Wrong);
    assert!(hosts.tcp.is_usual(&segment) && hosts.tcp.is_intact(&segment), "left to the card");
    hosts.tcp.sides[segment.direction].has_right_checksum = true;
    assert!(!hosts.tcp.is_usual(&segment) && !hosts.tcp.is_intact(&segment));
    let whole = with_checksum(&hosts, &[]);
    assert!(hosts.tcp.is_usual(&whole) && hosts.tcp.is_intact(&whole));
    assert!(!hosts.tcp.is_usual(&Segment { ttl: 9, ..whole }));
}

#[test]
fn an_rst_in_syn_sent_acknowledges_the_syn_or_bytes_that_were_sent() {
    let closed = |ack: u32| {
        let mut hosts = Hosts::new();
        hosts.a(SYN, 1000, 0, b"").b(RST_ACK, 0, ack, b"");
        hosts.tcp.has_closed()
    };
    assert_eq!([1001, 1000, 1005].map(closed), [true, false, false]);
}

#[test]
fn bytes_whose_acknowledgement_came_before_them_wait_for_none() {
    let waits = |is_acknowledged: bool| {
        let mut hosts = Hosts::opened();
        if is_acknowledged {
            hosts.b(ACK, 5001, 1005, b"");
        }
        hosts.a(ACK, 1001, 5001, b"abcd");
        hosts.a_side().unanswered().is_some()
    };
    assert_eq!([true, false].map(waits), [false, true]);
}

#[test]
fn the_number_of_an_rst_shows_what_its_sender_had_sent() {
    let missing = |seq: u32| {
        let mut hosts = Hosts::opened();
        hosts.a(RST_ACK, seq, 5001, b"").wait(1000);
        let (_, up) = FlowKey::new(A, B);
        hosts.tcp.finish(up, &mut |_| {});
        hosts.tcp.missing(up)
    };
    assert_eq!([1001, 1011].map(missing), [0, 10]);
}

#[test]
fn an_rst_alone_is_the_answer_of_a_closed_port_by_its_number() {
    let is_lone = |seq: u32| {
        let mut hosts = Hosts::new();
        hosts.b(RST_ACK, seq, 1001, b"");
        hosts.tcp.lone_reset().is_some()
    };
    assert_eq!([0, 5001].map(is_lone), [true, false]);
}

#[test]
fn an_icmp_message_about_a_syn_that_was_answered_refuses_nothing() {
    let refuses = |is_answered: bool| {
        let mut hosts = if is_answered { Hosts::opened() } else { Hosts::new() };
        if !is_answered {
            hosts.a(SYN, 1000, 0, b"");
        }
        let unreachable = Unreachable {
            frame: FrameRef::default(),
            at: hosts.at,
            reporter: B.ip,
            kind: 3,
            code: 3,
            src: A,
            dst: B,
            seq: 1000,
            mtu: None,
        };
        hosts.tcp.on_unreachable(&unreachable, FlowKey::new(A, B).1);
        hosts.tcp.icmp().is_some()
    };
    assert_eq!([false, true].map(refuses), [true, false]);
}

#[test]
fn a_window_of_zero_is_closed_until_another_one_is_announced() {
    let mut hosts = Hosts::opened();
    let segment = with_checksum(&hosts, &[]);
    for (window, is_closed) in [(0, true), (500, false)] {
        let segment = Segment { window, ..segment };
        hosts.tcp.on_segment(&segment, &hosts.limits, &mut |_| {});
        assert_eq!(hosts.a_side().is_window_closed(), is_closed);
    }
    assert!(hosts.a_side().longest_closed_window().is_some());
}

#[test]
fn an_rst_is_usual_with_the_time_to_live_of_its_side() {
    let is_usual = |ttl: u8| {
        let mut hosts = Hosts::opened();
        hosts.ttl = ttl;
        hosts.a(RST_ACK, 1001, 5001, b"");
        let side = hosts.a_side();
        side.rst.or(side.doubtful_rst).unwrap().is_usual
    };
    assert_eq!([64, 9].map(is_usual), [true, false]);
}

#[test]
fn a_fin_behind_the_last_bytes_counts_and_not_one_that_came_before_them() {
    let mut hosts = Hosts::opened();
    hosts.a(FIN_ACK, 1001, 5001, b"").a(ACK, 1001, 5001, b"abcd").a(FIN_ACK, 1005, 5001, b"");
    hosts.b(ACK, 5001, 1006, b"");
    assert_eq!(hosts.closed(), Some((Fin, Some(true))));
    assert_eq!(hosts.a_side().fin.unwrap().seq, SeqNum(1005));
}

#[test]
fn a_syn_behind_a_refusal_is_no_segment_of_the_refused_connection() {
    let mut hosts = Hosts::new();
    hosts.a(SYN, 1000, 0, b"").b(RST_ACK, 0, 1001, b"").wait(1000).a(SYN, 1000, 0, b"");
    assert_eq!(hosts.not_taken(), 0);
    hosts.a(ACK, 1001, 5001, b"");
    assert_eq!(hosts.not_taken(), 1);
}

/// A connection in which B has taken the timestamp 10 of A, counted from `base`, and the bytes up to 1005.
fn stamped(base: u32) -> Hosts {
    let mut hosts = Hosts::new();
    hosts.stamp(base, 0).a(SYN, 1000, 0, b"");
    hosts.stamp(9000, base).b(SYN_ACK, 5000, 1001, b"");
    hosts.stamp(base.wrapping_add(10), 9000).a(ACK, 1001, 5001, b"abcd");
    hosts.stamp(9010, base.wrapping_add(10)).b(ACK, 5001, 1005, b"");
    assert_eq!(hosts.not_taken(), 0);
    hosts
}

#[test]
fn bytes_that_are_older_than_what_the_receiver_has_taken_are_not() {
    let is_dropped = |base: u32, value: u32, send: fn(&mut Hosts)| {
        let mut hosts = stamped(base);
        send(hosts.stamp(value, 9010));
        hosts.not_taken() == 1
    };
    let bytes: fn(&mut Hosts) = |hosts| _ = hosts.a(ACK, 1005, 5001, b"efgh");
    for base in [1000, u32::MAX - 4] {
        let values = [8_u32, 9, 10, 11, 1 << 30, 1 << 31, (1 << 31) + 20];
        let dropped = values.map(|value| is_dropped(base, base.wrapping_add(value), bytes));
        assert_eq!(dropped, [true, false, false, false, false, false, true], "{base}");
    }
    let old = |send| is_dropped(1000, 900, send);
    assert!(old(bytes));
    assert!(old(|hosts| _ = hosts.a(FIN_ACK, 1005, 5001, b"")));
    assert!(old(|hosts| _ = hosts.a(ACK, 1003, 5001, b"cdef")), "not all is acknowledged");
    assert!(!old(|hosts| _ = hosts.a(ACK, 1001, 5001, b"abcd")), "a late copy");
    assert!(!old(|hosts| _ = hosts.a(ACK, 1005, 5001, b"")), "an acknowledgement alone");
    assert!(!old(|hosts| _ = hosts.a(RST_ACK, 1005, 5001, b"")));
    assert!(!old(|hosts| {
        hosts.stamps = None;
        hosts.a(ACK, 1005, 5001, b"efgh");
    }));
    assert!(!old(|hosts| {
        hosts.input = 1;
        hosts.a(ACK, 1005, 5001, b"efgh");
    }));
    assert!(!old(|hosts| _ = hosts.wait(31 * 60_000).a(ACK, 1005, 5001, b"efgh")));
    let microseconds = 36 * 60_000_000;
    let later: fn(&mut Hosts) = |hosts| _ = hosts.wait(36 * 60_000).a(FIN_ACK, 1005, 5001, b"");
    assert!(!is_dropped(1000, 1000 + microseconds, later), "36 minutes of a clock of microseconds");
    assert!(!old(|hosts| {
        hosts.at = Timestamp::new(99, 0);
        hosts.a(ACK, 1005, 5001, b"efgh");
    }));
}

#[test]
fn a_timestamp_is_taken_if_its_sender_has_sent_it_and_the_receiver_repeats_it() {
    let is_dropped = |before: fn(&mut Hosts)| {
        let mut hosts = stamped(1000);
        before(&mut hosts);
        hosts.ttl = 64;
        hosts.stamp(1050, 9010).a(ACK, 1005, 5001, b"efgh");
        hosts.not_taken() == 1
    };
    let sent: fn(&mut Hosts) = |hosts| _ = hosts.stamp(1100, 9010).a(ACK, 1005, 5001, b"");
    assert!(!is_dropped(sent), "it is not repeated");
    assert!(!is_dropped(|hosts| _ = hosts.stamp(9020, 1100).b(ACK, 5001, 1005, b"")), "not sent");
    assert!(is_dropped(|hosts| {
        hosts.stamp(1100, 9010).a(ACK, 1005, 5001, b"");
        hosts.stamp(9020, 1100).b(ACK, 5001, 1005, b"");
    }));
    assert!(!is_dropped(|hosts| {
        hosts.stamp(1100, 9010).a(ACK, 1005, 5001, b"").ttl = 9;
        hosts.stamp(9020, 1100).b(ACK, 5001, 1005, b"");
    }));
    assert!(!is_dropped(|hosts| {
        hosts.stamp(1100, 9010).a(ACK, 1005, 5001, b"");
        hosts.stamp(9020, 1100).b(RST, 9_000_000, 0, b"");
    }));
}
