//! Connections of scripted segments, and the observations and verdicts that must result.

#![expect(clippy::cast_possible_truncation, reason = "test messages are short")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::digest::{CandidateCookies, Cookie};
use super::*;
use crate::decode::{ChecksumState, Endpoint, Segment, TcpFlags, Unreachable};
use crate::flow::FlowKey;
use crate::judge::world::{PriorLookup, RelatedFacts};
use crate::judge::{
    Confidence, IncompleteBecause, LossScope, Outcome, PeerSigns, Undelivered, Verdict,
    judge_related,
};
use crate::observe::{
    AnomalyKind, ConnectionIds, EpmdOutcome, EpmdPackets, MessageKind, Observation, Occasion,
    Opening, Role, State, TransportProtocol,
};
use crate::packet::FrameRef;
use crate::record::{Session, StepKind};

const A: Endpoint = end([10, 0, 0, 1], 40_000);
const B: Endpoint = end([10, 0, 0, 2], 9_100);

const fn end(ip: [u8; 4], port: u16) -> Endpoint {
    let [a, b, c, d] = ip;
    Endpoint { ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)), port }
}

/// The facts about other connections, and the time until which the capture has lost packets.
#[derive(Default)]
struct OtherConnections {
    related: RelatedFacts,
    lost_until: Option<Timestamp>,
}

/// One connection from A to B, whose segments a test sends one by one.
struct TestConnection {
    connection: Option<Connection>,
    reason: FollowReason,
    responder: Endpoint,
    /// Next sequence number of A and of B.
    seq: [u32; 2],
    /// The acknowledgement number of the last segment of A and of B.
    acked: [u32; 2],
    /// How far the stream of A arrived at B, and that of B at A.
    arrived: [u32; 2],
    at: Timestamp,
    frame: u64,
    limits: Limits,
    cookies: CandidateCookies,
    others: OtherConnections,
    reassembly: MemoryBudget,
    message_memory: MemoryBudget,
    out: ConnOutput,
    /// Whether the checksum of the next segments is right; without a value they have no header.
    checksum: Option<bool>,
    /// Whether the connection was kept after the last segment.
    keep: Keep,
}

use Role::{Acceptor, Initiator};

/// No secrets: nothing of TLS is opened.
static KEY_LOG: LazyLock<KeyLog> = LazyLock::new(KeyLog::default);

fn context<'a>(
    limits: &'a Limits,
    cookies: &'a CandidateCookies,
    reassembly: &'a MemoryBudget,
    message_memory: &'a MemoryBudget,
    others: &OtherConnections,
) -> ConnContext<'a> {
    let messages = MessageDetail::Operations;
    ConnContext {
        limits,
        cookies,
        key_log: &KEY_LOG,
        include_secrets: false,
        messages,
        warns: true,
        reassembly,
        message_memory,
        lost_until: others.lost_until,
    }
}

impl TestConnection {
    fn new() -> Self {
        let (_, direction) = FlowKey::new(A, B);
        Self {
            connection: None,
            reason: FollowReason::Node(direction),
            responder: B,
            seq: [1000, 5000],
            acked: [5000, 1000],
            arrived: [1000, 5000],
            at: Timestamp::new(100, 0),
            frame: 0,
            limits: Limits::default(),
            cookies: CandidateCookies::default(),
            others: OtherConnections::default(),
            reassembly: MemoryBudget::new(Limits::default().held_total),
            message_memory: MemoryBudget::new(1 << 20),
            out: ConnOutput::default(),
            checksum: None,
            keep: Keep::Yes,
        }
    }

    /// A connection to EPMD, not to a node.
    fn to_epmd() -> Self {
        let responder = end([10, 0, 0, 2], 4369);
        let (_, direction) = FlowKey::new(A, responder);
        Self { reason: FollowReason::Epmd(direction), responder, ..Self::new() }
    }

    fn segment(&mut self, from: Role, flags: u8, payload: &[u8]) -> &mut Self {
        let (src, dst) = match from {
            Initiator => (A, self.responder),
            Acceptor => (self.responder, A),
        };
        self.frame += 1;
        self.at = self.at.after(Duration::from_micros(50));
        let (own, peer) = (from.index(), from.peer().index());
        self.acked[own] = self.arrived[peer];
        let segment = Segment {
            frame: FrameRef { input: 0, number: self.frame },
            at: self.at,
            seq: self.seq[own],
            ack: self.acked[own],
            flags: TcpFlags(flags),
            payload,
            ..Segment::between(src, dst)
        };
        let header = self.checksum.map(|is_right| header_of(&segment, is_right));
        let segment = Segment { header: header.as_deref().unwrap_or_default(), ..segment };
        let advance = payload.len() as u32 + u32::from(flags & 0x03 != 0);
        self.seq[own] = self.seq[own].wrapping_add(advance);
        if self.arrived[own] == segment.seq {
            self.arrived[own] = self.seq[own];
        }
        let Self { limits, cookies, others, reassembly, out, message_memory, reason, .. } = self;
        let context = context(limits, cookies, reassembly, message_memory, others);
        let connection =
            self.connection.get_or_insert_with(|| Connection::new(&segment, *reason, &context));
        connection.confirm(&segment, &context, out);
        self.keep = connection.on_segment(&segment, &context, out);
        self
    }

    /// Sends the SYN again.
    fn dials_again(&mut self) -> &mut Self {
        let [own, _] = &mut self.seq;
        *own = own.wrapping_sub(1);
        self.segment(Initiator, 0x02, b"")
    }

    fn open(&mut self) -> &mut Self {
        self.segment(Initiator, 0x02, b"")
            .segment(Acceptor, 0x12, b"")
            .segment(Initiator, 0x10, b"")
    }

    fn sends(&mut self, from: Role, message: &[u8]) -> &mut Self {
        self.segment(from, 0x18, &framed(message))
    }

    /// Sends a segment that does not arrive.
    fn sends_in_vain(&mut self, from: Role, bytes: &[u8]) -> &mut Self {
        let arrived = self.arrived;
        self.segment(from, 0x18, bytes);
        self.arrived = arrived;
        self
    }

    /// Sends the last bytes of `from` again, at doubled intervals, without success.
    fn resends(&mut self, from: Role, bytes: &[u8], times: u32) -> &mut Self {
        for n in 0..times {
            self.waits(200 << n);
            let own = from.index();
            self.seq[own] = self.seq[own].wrapping_sub(bytes.len() as u32);
            self.sends_in_vain(from, bytes);
        }
        self
    }

    fn sends_raw(&mut self, from: Role, bytes: &[u8]) -> &mut Self {
        self.segment(from, 0x18, bytes)
    }

    fn fin(&mut self, from: Role) -> &mut Self {
        self.segment(from, 0x11, b"").segment(from.peer(), 0x11, b"")
    }

    /// Skips bytes of `from` that the capture lacks.
    fn loses(&mut self, from: Role, bytes: u32) -> &mut Self {
        let own = from.index();
        self.seq[own] = self.seq[own].wrapping_add(bytes);
        self.arrived[own] = self.seq[own];
        self
    }

    fn waits(&mut self, ms: u64) -> &mut Self {
        self.at = self.at.after(Duration::from_millis(ms));
        self
    }

    /// Advances the clock by `seconds` and calls the connection at its deadlines, as the engine does.
    fn time_passes(&mut self, seconds: u64) -> &mut Self {
        let until = self.at.after(Duration::from_secs(seconds));
        let Self { limits, cookies, others, reassembly, out, message_memory, .. } = self;
        let context = context(limits, cookies, reassembly, message_memory, others);
        let mut last = self.at;
        while let Some(connection) = &mut self.connection {
            let Some(due) = connection.deadline(&context.limits.clone(), true) else { break };
            if due > until {
                break;
            }
            assert!(due >= last, "time goes forward");
            last = due.after(Duration::from_nanos(1));
            if connection.on_time(due, &context, out) == Keep::No {
                self.connection = None;
            }
        }
        self.at = until;
        self
    }

    /// Takes in an ICMP message about a segment of A.
    fn icmp(&mut self, message: &Unreachable) {
        let (_, direction) = FlowKey::new(A, self.responder);
        let Self { limits, cookies, others, reassembly, out, message_memory, .. } = self;
        let context = context(limits, cookies, reassembly, message_memory, others);
        if let Some(connection) = &mut self.connection {
            connection.on_unreachable(message, direction, &context, out);
        }
    }

    /// Ends the capture at this moment.
    fn ends(&mut self) {
        let Self { limits, cookies, others, reassembly, out, message_memory, .. } = self;
        let context = context(limits, cookies, reassembly, message_memory, others);
        if let Some(connection) = &mut self.connection {
            connection.on_end(self.at, &context, out);
        }
    }

    /// The last observation after the end of the capture, and the verdict on it.
    fn verdict(&mut self) -> (Observation, Verdict) {
        self.ends();
        let Self { others, out, .. } = self;
        let mut observations = out.observed().rev().filter_map(|observed| match observed {
            Observed::Connection(seen) => Some(seen.as_ref().clone()),
            _ => None,
        });
        let seen = observations.next().unwrap();
        let verdict = judge_related(&seen, others.related.clone());
        (seen, verdict)
    }

    fn outcome(&mut self) -> (Outcome, Option<Role>) {
        let (_, verdict) = self.verdict();
        (verdict.outcome, verdict.detected_by)
    }

    fn up_to_reply(&mut self) -> &mut Self {
        self.open()
            .sends(Initiator, &send_name("a@one"))
            .sends(Acceptor, b"sok")
            .sends(Acceptor, &challenge("b@two"))
            .sends(Initiator, &reply())
    }
}

/// A header of zeros and a checksum, which is right for the bytes of a segment or not.
fn header_of(segment: &Segment<'_>, is_right: bool) -> Vec<u8> {
    let with = |sum: u16| [&[0; 16][..], &sum.to_be_bytes(), &[0; 2]].concat();
    let is_it = |sum: &u16| {
        let header = with(*sum);
        Segment { header: &header, ..*segment }.checksum() == ChecksumState::Right
    };
    let right = (1..=u16::MAX).find(is_it).unwrap();
    with(if is_right { right } else { right ^ 0x0101 })
}

/// A message of the handshake with its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

const FLAGS_25: u64 = 0xd_07df_7fbd;

fn send_name(name: &str) -> Vec<u8> {
    send_name_with(name, FLAGS_25)
}

fn send_name_with(name: &str, flags: u64) -> Vec<u8> {
    let mut message = b"N".to_vec();
    message.extend(flags.to_be_bytes());
    message.extend(7_u32.to_be_bytes());
    message.extend((name.len() as u16).to_be_bytes());
    message.extend(name.as_bytes());
    message
}

fn challenge(name: &str) -> Vec<u8> {
    challenge_with(name, FLAGS_25)
}

fn challenge_with(name: &str, flags: u64) -> Vec<u8> {
    let mut message = b"N".to_vec();
    message.extend(flags.to_be_bytes());
    message.extend(CHALLENGE.to_be_bytes());
    message.extend(8_u32.to_be_bytes());
    message.extend((name.len() as u16).to_be_bytes());
    message.extend(name.as_bytes());
    message
}

const CHALLENGE: u32 = 77;

fn reply() -> Vec<u8> {
    let mut message = b"r".to_vec();
    message.extend(99_u32.to_be_bytes());
    message.extend(md5::compute("C77").0);
    message
}

fn ack(cookie: &str) -> Vec<u8> {
    let mut message = b"a".to_vec();
    message.extend(md5::compute(format!("{cookie}99")).0);
    message
}

fn lookup(asked: &str, highest_version: u16) -> PriorLookup {
    PriorLookup {
        session_id: Arc::from("0123456789abcdef"),
        reply: FrameRef::default(),
        asked: Arc::from(asked),
        port: B.port,
        highest_version,
        forwarded: None,
    }
}

#[test]
fn a_whole_handshake_connects() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, b"\0\0\0\0");
    let (seen, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, verdict.confidence), (Outcome::Connected, Confidence::Proven));
    assert_eq!((seen.state(), seen.traffic.initiator.ticks), (State::Open, 1));
    assert_eq!(seen.handshake.reached(), Some(MessageKind::ChallengeAck));
}

#[test]
fn a_handshake_has_a_fingerprint_once_two_names_and_two_random_challenges_were_seen() {
    let fingerprint = |script: &dyn Fn(&mut TestConnection)| {
        let mut conn = TestConnection::new();
        script(&mut conn);
        conn.verdict().0.handshake.fingerprint
    };
    let of = |acceptor: &str, reply: &[u8]| {
        fingerprint(&|conn| {
            conn.open().sends(Initiator, &send_name("a@h1")).sends(Acceptor, b"sok");
            conn.sends(Acceptor, &challenge(acceptor)).sends(Initiator, reply);
        })
    };
    let known = of("b@h2", &reply());
    assert!(known.is_some());
    // Neither a digest nor what follows changes it.
    let mut other_digest = reply();
    other_digest[9] ^= 1;
    assert_eq!(of("b@h2", &other_digest), known);
    let whole = fingerprint(&|conn| {
        conn.open().sends(Initiator, &send_name("a@h1")).sends(Acceptor, b"sok");
        conn.sends(Acceptor, &challenge("b@h2")).sends(Initiator, &reply());
        conn.sends(Acceptor, &ack("C")).fin(Acceptor);
    });
    assert_eq!(whole, known);
    let mut other_challenge = reply();
    other_challenge[4] ^= 1;
    assert_ne!(of("b@h2", &other_challenge), known);
    assert_ne!(of("c@h2", &reply()), known);
    let mut echo = reply();
    echo[1..5].copy_from_slice(&CHALLENGE.to_be_bytes());
    assert_eq!(of("b@h2", &echo), None, "one random number");
    let one_challenge = fingerprint(&|conn| {
        conn.open().sends(Initiator, &send_name("a@h1")).sends(Acceptor, b"sok");
        conn.sends(Acceptor, &challenge("b@h2"));
    });
    assert_eq!(one_challenge, None);
}

#[test]
fn a_close_right_after_the_reply_is_a_refused_cookie() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Acceptor)));
    assert_eq!(conn.verdict().1.confidence, Confidence::Likely);
}

#[test]
fn the_same_close_after_a_pause_is_aborted() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().waits(400).fin(Acceptor);
    let (_, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::Aborted);
    assert_eq!(verdict.not_excluded, ["b@two refused the cookie"]);
}

#[test]
fn a_close_before_the_reply_was_received_refuses_nothing() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two"));
    // B's FIN acknowledges A's stream up to before the reply.
    conn.sends_in_vain(Initiator, &framed(&reply())).segment(Acceptor, 0x11, b"");
    conn.segment(Initiator, 0x11, b"");
    assert_eq!(conn.outcome(), (Outcome::Aborted, Some(Acceptor)));
}

#[test]
fn a_refused_cookie_is_proven_when_both_are_known() {
    let mut conn = TestConnection::new();
    conn.cookies.add(Cookie::new("mine", b"C"));
    conn.others.related.acceptor_cookies = vec![Arc::from("theirs")];
    conn.up_to_reply().fin(Acceptor);
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.confidence, Confidence::Proven);
    assert_eq!(seen.handshake.cookies.initiator.label().map(|label| &**label), Some("mine"));
}

#[test]
fn a_refused_cookie_is_likely_when_that_of_the_acceptor_is_not_known() {
    let mut conn = TestConnection::new();
    conn.cookies.add(Cookie::new("mine", b"C"));
    conn.up_to_reply().fin(Acceptor);
    assert_eq!(conn.verdict().1.confidence, Confidence::Likely);
    conn.others.related.acceptor_cookies = vec![Arc::from("mine")];
    assert_eq!(conn.verdict().1.confidence, Confidence::Likely, "it is the same");
}

#[test]
fn two_digests_that_contradict_each_other_are_a_mismatch_found_by_the_initiator() {
    let mut conn = TestConnection::new();
    conn.cookies.add(Cookie::new("mine", b"C"));
    conn.up_to_reply().sends(Acceptor, &ack("other")).fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Initiator)));
    assert_eq!(conn.verdict().1.confidence, Confidence::Proven);
}

#[test]
fn an_ack_without_a_known_cookie_is_connected_and_only_possible() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("other")).fin(Initiator);
    let (_, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, verdict.confidence), (Outcome::Connected, Confidence::Possible));
}

#[test]
fn a_close_right_after_the_challenge_is_a_name_mismatch() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::NameMismatch, Some(Initiator)));
    assert_eq!(conn.verdict().1.confidence, Confidence::Likely);
}

#[test]
fn a_reset_right_after_the_challenge_shows_that_it_was_not_read() {
    let mut conn = TestConnection::new();
    conn.others.related.lookup = Some(lookup("c", 6));
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).segment(Initiator, 0x14, b"");
    assert_eq!(conn.outcome(), (Outcome::Aborted, Some(Initiator)));
}

#[test]
fn another_alive_name_than_looked_up_proves_the_name_mismatch() {
    let mut conn = TestConnection::new();
    conn.others.related.lookup = Some(lookup("c", 6));
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).fin(Initiator);
    let (_, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, verdict.confidence), (Outcome::NameMismatch, Confidence::Proven));
}

#[test]
fn a_missing_mandatory_flag_is_a_version_mismatch() {
    let mut conn = TestConnection::new();
    // OTP 23.2: neither V4_NC nor UNLINK_ID, which 26 and later demand.
    conn.open().sends(Initiator, &send_name_with("a@one", 0x1_01df_7fbd));
    conn.sends(Acceptor, b"snot_allowed").fin(Acceptor);
    let (_, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::VersionMismatch);
    assert_eq!(verdict.missing_flag_names(), ["UNLINK_ID", "V4_NC"]);
}

#[test]
fn not_allowed_with_every_flag_is_a_refusal_by_the_list_of_allowed_nodes() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"snot_allowed");
    conn.fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::NotAllowed, Some(Acceptor)));
}

#[test]
fn a_version_6_send_name_closed_by_a_version_5_acceptor_is_a_version_mismatch() {
    let mut conn = TestConnection::new();
    conn.others.related.acceptor_version = Some(5);
    conn.open().sends(Initiator, &send_name("a@one")).fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::VersionMismatch, Some(Acceptor)));
}

#[test]
fn nok_is_superseded() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"snok").fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::Superseded, Some(Acceptor)));
}

#[test]
fn an_attempt_closed_in_favour_of_the_crossing_one_is_superseded() {
    let mut conn = TestConnection::new();
    conn.others.related.crossed = true;
    conn.open().sends(Initiator, &send_name("a@one")).fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::Superseded, Some(Initiator)));
}

#[test]
fn an_attempt_that_crossed_one_whose_answer_is_missing_is_left_open() {
    let mut conn = TestConnection::new();
    conn.others.related.may_have_crossed = true;
    conn.open().sends(Initiator, &send_name("a@one")).fin(Initiator).time_passes(5);
    assert_eq!(conn.outcome().0, Outcome::Incomplete);
    let mut conn = TestConnection::new();
    conn.others.related.may_have_crossed = true;
    conn.open().sends(Initiator, &send_name("a@one")).waits(7000).fin(Initiator).time_passes(5);
    assert_eq!(conn.outcome().0, Outcome::TimedOut, "it was not dropped for another one");
}

#[test]
fn what_came_before_the_bytes_that_the_capture_has_is_not_known() {
    // The SYN is there. The SYN-ACK and the first bytes of both sides are not, nor their acknowledgements.
    let later = |bytes: &[u8]| {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"").loses(Acceptor, 1);
        conn.loses(Initiator, 1550).loses(Acceptor, 1748).segment(Initiator, 0x10, b"");
        conn.sends_raw(Acceptor, bytes).fin(Acceptor).time_passes(5);
        conn.outcome().0
    };
    assert_eq!(later(b"\x17\x03\x03\0\x05\x8a\x11\x02\x93\x55"), Outcome::Incomplete);
    assert_eq!(later(b"GET / HTTP/1.1\r\n\r\n"), Outcome::Incomplete);
    // The capture has the end of a connection alone.
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"").segment(Initiator, 0x10, b"");
    conn.time_passes(5);
    assert_eq!(conn.outcome().0, Outcome::Incomplete);
}

#[test]
fn an_attempt_may_be_closed_before_its_first_message() {
    let mut conn = TestConnection::new();
    (conn.others.related.crossed, conn.others.related.dialed_back) = (true, true);
    conn.open().fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::Superseded, Some(Initiator)));
    let mut conn = TestConnection::new();
    conn.open().fin(Initiator);
    assert_eq!(
        conn.outcome(),
        (Outcome::Aborted, Some(Initiator)),
        "the other node had not dialed"
    );
}

#[test]
fn an_attempt_closed_at_the_very_end_of_the_capture_is_undecided() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).fin(Initiator);
    assert_eq!(conn.outcome().0, Outcome::Incomplete);
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).fin(Initiator).time_passes(3);
    assert_eq!(conn.outcome(), (Outcome::Aborted, Some(Initiator)));
}

#[test]
fn alive_and_false_is_already_connected() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"salive");
    conn.sends(Initiator, b"sfalse").fin(Acceptor);
    assert_eq!(conn.outcome().0, Outcome::AlreadyConnected);
}

#[test]
fn silence_and_a_close_by_the_waiting_side_is_a_timeout() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).waits(7000).fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::TimedOut, Some(Initiator)));
    let mut conn = TestConnection::new();
    conn.open().waits(7000).fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::TimedOut, Some(Acceptor)));
}

#[test]
fn segments_after_the_first_close_change_nothing() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).waits(7000);
    conn.segment(Initiator, 0x11, b"").waits(3000).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).segment(Acceptor, 0x11, b"");
    assert_eq!(conn.outcome(), (Outcome::TimedOut, Some(Initiator)));
}

#[test]
fn a_gap_makes_a_failure_incomplete() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).loses(Initiator, 23).fin(Acceptor);
    conn.time_passes(3);
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::Incomplete);
    assert_eq!(seen.tcp.sides.initiator.missing_bytes, 23);
}

#[test]
fn frames_behind_a_gap_still_connect() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().loses(Acceptor, 19).sends_raw(Initiator, b"\0\0\0\x05p\x83haa");
    conn.sends_raw(Initiator, b"\0\0\0\0");
    assert_eq!(conn.outcome().0, Outcome::Connected);
}

#[test]
fn a_few_frames_without_an_opening_are_a_connection_at_the_end_of_the_capture() {
    // A REG_SEND with no reference to the atom cache.
    let frame = b"\0\0\0\x13\x83\x44\0\x68\x04\x61\x06\x6a\x77\0\x77\x03rex\x77\x02hi";
    for closes in [false, true] {
        let mut conn = TestConnection::new();
        conn.reason = FollowReason::Maybe;
        conn.sends_raw(Initiator, frame).sends_raw(Acceptor, frame);
        if closes {
            conn.fin(Acceptor);
        }
        let (seen, verdict) = conn.verdict();
        assert_eq!(verdict.outcome, Outcome::Connected);
        assert!(seen.traffic.each().all(|(_, sent)| sent.messages == 1), "{closes}");
        assert_eq!(seen.closed_by(), closes.then_some(Acceptor));
    }
}

#[test]
fn a_few_other_bytes_without_an_opening_are_no_connection() {
    let mut conn = TestConnection::new();
    conn.reason = FollowReason::Maybe;
    conn.sends_raw(Initiator, b"\0\0\0\x08abcdefgh").sends_raw(Acceptor, b"\0\0\0\x02ok");
    conn.ends();
    assert!(conn.out.observed().next().is_none());
}

#[test]
fn one_direction_alone_blames_neither_side() {
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"").segment(Initiator, 0x10, b"");
    conn.sends(Initiator, &send_name("a@one")).sends(Initiator, &reply());
    conn.segment(Initiator, 0x11, b"").time_passes(3);
    assert_eq!(conn.outcome().0, Outcome::Incomplete);
}

#[test]
fn a_syn_is_refused_by_a_reset_and_unanswered_when_it_is_sent_again() {
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"").segment(Acceptor, 0x14, b"");
    assert_eq!(conn.outcome().0, Outcome::Refused);
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"");
    assert_eq!(conn.outcome().0, Outcome::Incomplete, "a SYN this young may yet be answered");
    conn.waits(1000).dials_again();
    assert_eq!(conn.outcome().0, Outcome::Unanswered);
}

#[test]
fn a_syn_ack_behind_which_the_syn_is_sent_twice_opens_nothing() {
    let outcome = |send: &dyn Fn(&mut TestConnection)| {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"").segment(Acceptor, 0x12, b"");
        send(&mut conn);
        conn.time_passes(60);
        conn.outcome().0
    };
    let dials = |conn: &mut TestConnection| {
        conn.waits(1000).dials_again().waits(2000).dials_again();
    };
    let repeats = |conn: &mut TestConnection| {
        conn.seq[1] = 5000;
        conn.segment(Acceptor, 0x12, b"");
    };
    assert_eq!(outcome(&dials), Outcome::Unanswered);
    assert_eq!(outcome(&|it| _ = it.waits(1000).dials_again()), Outcome::Incomplete);
    let twice_at_once = |it: &mut TestConnection| {
        it.waits(300).dials_again().waits(300).dials_again();
    };
    assert_eq!(outcome(&twice_at_once), Outcome::Incomplete, "the SYN-ACK may be under way");
    let answers_again = |it: &mut TestConnection| {
        it.waits(1000).dials_again();
        repeats(it);
        it.waits(2000).dials_again();
    };
    assert_eq!(outcome(&answers_again), Outcome::Incomplete, "a host that listens");
    let acknowledges = |it: &mut TestConnection| {
        it.segment(Initiator, 0x10, b"");
        let seq = it.seq[0];
        dials(it);
        it.seq[0] = seq;
    };
    assert_eq!(outcome(&acknowledges), Outcome::Incomplete, "it was taken");
    let goes_on = |it: &mut TestConnection| {
        dials(it);
        it.segment(Initiator, 0x10, b"").sends(Initiator, &send_name("a@one"));
        it.sends(Acceptor, b"sok").sends(Acceptor, &challenge("b@two"));
        it.sends(Initiator, &reply()).sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    };
    assert_eq!(outcome(&goes_on), Outcome::Connected);
}

/// How a dial was opened whose SYN got an RST, and before or after it this ICMP message.
fn answered_twice(version: u8, code: u8, order: &str) -> Opening {
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"");
    let kind = if version == 4 { 3 } else { 1 };
    for step in order.split(' ') {
        conn.waits(1);
        match step {
            "icmp" => conn.icmp(&Unreachable {
                frame: FrameRef { input: 0, number: conn.frame + 1 },
                at: conn.at,
                reporter: B.ip,
                kind,
                code,
                src: A,
                dst: B,
                seq: 1000,
                mtu: None,
            }),
            "syn" => {
                conn.waits(1000).dials_again();
            }
            _ => {
                conn.seq = [1001, 0];
                conn.arrived = [1001, 0];
                conn.segment(Acceptor, 0x14, b"");
            }
        }
        conn.frame += 1;
    }
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::Refused);
    assert_eq!(seen.tcp.icmp.is_some(), matches!(seen.tcp.opening, Opening::Unreachable(_)));
    seen.tcp.opening
}

#[test]
fn of_an_icmp_message_and_a_reset_the_one_that_the_dialing_host_took_refuses_the_dial() {
    let is_reset =
        |version, code, order| matches!(answered_twice(version, code, order), Opening::Reset(_));
    // A host that cannot be reached at the moment ends no dial (RFC 1122, section 4.2.3.9).
    for (version, soft) in [(4, 0), (4, 1), (4, 5), (6, 0), (6, 3)] {
        assert!(is_reset(version, soft, "icmp rst"), "IPv{version}, code {soft}");
    }
    for (version, hard) in [(4, 3), (4, 10), (4, 13), (6, 1), (6, 4)] {
        assert!(!is_reset(version, hard, "icmp rst"), "IPv{version}, code {hard}");
        assert!(is_reset(version, hard, "rst icmp"), "the reset came first");
        assert!(is_reset(version, hard, "icmp syn rst"), "the host dialed on");
    }
    assert!(!is_reset(4, 1, "icmp"), "nothing else refused it");
}

#[test]
fn a_syn_that_was_not_sent_again_shows_no_missing_answer() {
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"").time_passes(2);
    let because = |conn: &mut TestConnection| {
        let (seen, verdict) = conn.verdict();
        (verdict.outcome, IncompleteBecause::of(&seen))
    };
    assert_eq!(because(&mut conn), (Outcome::Incomplete, IncompleteBecause::EndsBefore));
    conn.time_passes(60);
    assert_eq!(because(&mut conn), (Outcome::Incomplete, IncompleteBecause::SynSentOnce));
    let mut conn = TestConnection::to_epmd();
    conn.segment(Initiator, 0x02, b"").time_passes(1000);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Incomplete]);
}

#[test]
fn packets_that_may_be_lost_are_not_reported_as_unanswered() {
    let lost = |since_syn: i64| {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"").waits(1000).dials_again();
        conn.others.lost_until =
            Some(Timestamp(conn.at.0.saturating_add_signed(since_syn * 1_000_000_000)));
        conn.time_passes(60);
        conn.outcome().0
    };
    assert_eq!(lost(2), Outcome::Incomplete, "the answer may be what was lost");
    assert_eq!(lost(-2), Outcome::Unanswered, "nothing was lost since");
    let mut conn = TestConnection::to_epmd();
    conn.segment(Initiator, 0x02, b"").waits(1000).dials_again();
    conn.others.lost_until = Some(conn.at.after(Duration::from_secs(2)));
    conn.time_passes(1000);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Incomplete]);
}

#[test]
fn tls_to_a_plain_node_times_out_as_a_mismatch() {
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    let mut conn = TestConnection::new();
    conn.open().sends_raw(Initiator, &hello).waits(7000).fin(Initiator);
    assert_eq!(conn.outcome().0, Outcome::TlsMismatch);
    let mut conn = TestConnection::new();
    conn.open()
        .sends(Initiator, &send_name("a@one"))
        .sends_raw(Acceptor, b"\x15\x03\x03\0\x02\x02\x0a");
    conn.fin(Acceptor);
    assert_eq!(conn.outcome(), (Outcome::TlsMismatch, Some(Acceptor)));
}

#[test]
fn a_dial_that_ends_right_after_its_own_tls_hello_is_undecided() {
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    let mut dropped = TestConnection::new();
    dropped.open().sends_raw(Initiator, &hello).waits(40).fin(Initiator);
    assert_eq!(dropped.outcome().0, Outcome::Incomplete, "perhaps for a dial of its peer");
    let mut refused = TestConnection::new();
    refused.open().sends_raw(Initiator, &hello).waits(40).fin(Acceptor);
    assert_eq!(refused.outcome(), (Outcome::Aborted, Some(Acceptor)));
}

#[test]
fn an_acceptor_that_keeps_a_tls_dial_open_hangs_and_one_that_closes_does_not_use_tls() {
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    let closed = |by: Role| {
        let mut conn = TestConnection::new();
        conn.open().sends_raw(Initiator, &hello).segment(Acceptor, 0x10, b"").waits(7000);
        conn.segment(by, 0x11, b"").segment(by.peer(), 0x10, b"");
        conn
    };
    assert_eq!(closed(Acceptor).outcome().0, Outcome::TlsMismatch);
    let mut soon = TestConnection::new();
    soon.open().sends_raw(Initiator, &hello).waits(2000).fin(Acceptor);
    assert_eq!(soon.outcome(), (Outcome::Aborted, Some(Acceptor)), "no node gives up so soon");
    let mut hangs = closed(Initiator);
    hangs.time_passes(60);
    assert_eq!(hangs.outcome(), (Outcome::TimedOut, Some(Initiator)));
    assert_eq!(closed(Initiator).outcome().0, Outcome::Incomplete, "its FIN may follow");
}

#[test]
fn a_status_without_a_challenge_behind_it_is_no_older_connection() {
    for (status, expected) in
        [(&b"sok"[..], Outcome::TimedOut), (b"salive", Outcome::AlreadyConnected)]
    {
        let mut conn = TestConnection::new();
        conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, status);
        conn.waits(7000).fin(Initiator);
        assert_eq!(conn.outcome().0, expected);
    }
}

#[test]
fn a_fin_behind_bytes_that_are_missing_closes_once_it_is_acknowledged_or_nothing_follows() {
    let close = |conn: &mut TestConnection| conn.verdict().0.closed_by();
    let before = |lost: u32| {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends(Acceptor, &ack("C")).loses(Initiator, lost);
        conn.segment(Initiator, 0x11, b"");
        conn
    };
    assert_eq!(close(&mut before(9)), Some(Initiator), "nothing follows");
    let mut acknowledged = before(9);
    acknowledged.segment(Acceptor, 0x10, b"").time_passes(2);
    assert_eq!(close(&mut acknowledged), Some(Initiator));
    // The true stream goes on where it was, far before the number of that FIN.
    let mut decoy = before(90_000);
    decoy.seq[Initiator.index()] = decoy.seq[Initiator.index()].wrapping_sub(90_001);
    decoy.arrived[Initiator.index()] = decoy.seq[Initiator.index()];
    for _ in 0..9 {
        decoy.sends_raw(Initiator, &[0; 4]).sends_raw(Acceptor, &[0; 4]);
    }
    let (seen, verdict) = decoy.verdict();
    assert_eq!((verdict.outcome, seen.traffic.initiator.ticks), (Outcome::Connected, 9));
}

#[test]
fn http_on_a_node_port_is_no_distribution() {
    let mut conn = TestConnection::new();
    conn.open().sends_raw(Initiator, b"GET / HTTP/1.1\r\n\r\n").waits(7000).fin(Acceptor);
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::NotDistribution);
    assert_eq!(seen.foreign().unwrap().looks_like, "an HTTP request");
}

#[test]
fn time_alone_ends_every_connection_and_deadlines_always_advance() {
    type Script = fn(&mut TestConnection) -> &mut TestConnection;
    let scripts: [Script; 8] = [
        |conn| conn.segment(Initiator, 0x02, b""),
        |conn| conn.segment(Initiator, 0x02, b"").waits(1000).segment(Initiator, 0x10, b""),
        |conn| conn.open(),
        |conn| conn.open().sends(Initiator, &send_name("a@one")),
        |conn| conn.up_to_reply().segment(Acceptor, 0x11, b""),
        |conn| conn.up_to_reply().fin(Acceptor),
        |conn| conn.up_to_reply().sends(Acceptor, &ack("C")),
        |conn| conn.up_to_reply().loses(Acceptor, 19).sends_raw(Acceptor, b"\0\0\0\0"),
    ];
    for (n, script) in scripts.iter().enumerate() {
        for mut conn in [TestConnection::new(), TestConnection::to_epmd()] {
            script(&mut conn).time_passes(100_000);
            assert!(conn.connection.is_none(), "script {n} is not dropped");
        }
    }
}

fn epmd_outcomes(conn: &mut TestConnection) -> Vec<EpmdOutcome> {
    let TestConnection { limits, cookies, others, reassembly, out, message_memory, .. } = conn;
    let context = context(limits, cookies, reassembly, message_memory, others);
    if let Some(connection) = &mut conn.connection {
        connection.on_end(conn.at, &context, out);
    }
    let outcomes = out.observed().filter_map(|body| match body {
        Observed::Epmd(epmd) => Some(epmd.outcome),
        _ => None,
    });
    outcomes.collect()
}

#[test]
fn epmd_answers_refuses_and_sends_no_reply() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb");
    conn.sends_raw(Acceptor, b"w\0\x23\x8c\x4d\0\0\x06\0\x05\0\x01b\0\0").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Answered]);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"znope").sends_raw(Acceptor, b"w\x01").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NotRegistered]);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"z").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NoReply]);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_raw(Initiator, b"GET / HTTP/1.0\r\n").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Malformed]);
}

#[test]
fn a_registration_lasts_as_long_as_its_connection() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"x\x23\x8c\x4d\0\0\x06\0\x05\0\x01b\0\0");
    conn.sends_raw(Acceptor, b"v\0\x6b\x03\x09\x3b").time_passes(1_000_000);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Answered]);
    conn.fin(Initiator);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Answered, EpmdOutcome::Unregistered]);
}

#[test]
fn a_late_answer_still_counts() {
    let mut conn = TestConnection::to_epmd();
    conn.segment(Initiator, 0x02, b"").waits(1000).dials_again().time_passes(30);
    assert_eq!(conn.out.observed().count(), 1, "reported as unanswered");
    conn.segment(Acceptor, 0x12, b"").sends(Initiator, b"znope").sends_raw(Acceptor, b"w\x01");
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Unanswered, EpmdOutcome::NotRegistered]);
}

/// The packets of the only request, which got no reply.
fn unanswered(conn: &mut TestConnection) -> EpmdPackets {
    assert_eq!(epmd_outcomes(conn), [EpmdOutcome::NoReply]);
    let Some(Observed::Epmd(epmd)) = conn.out.observed().next() else { panic!("{:?}", conn.out) };
    epmd.seen.clone()
}

#[test]
fn the_side_that_closed_is_the_one_that_gave_up_on_a_request() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").segment(Acceptor, 0x10, b"").waits(7000);
    conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x10, b"").time_passes(3);
    assert_eq!(conn.out.observed().count(), 1, "reported although EPMD has not closed");
    let seen = unanswered(&mut conn);
    assert_eq!(seen.closed_by, Some(Initiator));
    assert!(seen.is_acknowledged && seen.is_whole && !seen.is_unread && !seen.is_pipelined);
    assert!(seen.close.unwrap().at.since(seen.request.unwrap().at) >= Duration::from_secs(7));
}

#[test]
fn a_requester_that_leaves_at_once_shows_no_missing_answer() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").segment(Acceptor, 0x10, b"").waits(2);
    conn.segment(Initiator, 0x11, b"").time_passes(60);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Incomplete], "nobody waited for an answer");
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").waits(2).segment(Initiator, 0x11, b"");
    conn.segment(Acceptor, 0x11, b"");
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NoReply], "EPMD closed without one");
}

#[test]
fn a_reset_shows_the_bytes_that_its_sender_had_received() {
    // The reply, its acknowledgement and the FIN are missing, and the requester resets.
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").segment(Acceptor, 0x10, b"").loses(Acceptor, 20);
    conn.segment(Initiator, 0x14, b"").time_passes(60);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Incomplete]);
    // A host that never knew the connection acknowledges what it did not read.
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb");
    conn.seq[Acceptor.index()] = 0;
    conn.loses(Initiator, 5).segment(Acceptor, 0x14, b"").time_passes(60);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NoReply]);
}

#[test]
fn an_answer_shows_whether_the_requester_had_closed() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").waits(2000).segment(Initiator, 0x11, b"");
    conn.sends_raw(Acceptor, b"w\x01");
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NotRegistered]);
    let Some(Observed::Epmd(epmd)) = conn.out.observed().next() else { panic!("{:?}", conn.out) };
    assert_eq!(epmd.seen.closed_by, Some(Initiator));
    assert!(epmd.seen.close.unwrap().at < epmd.seen.reply.unwrap().at);
}

#[test]
fn a_request_that_was_read_differs_from_one_that_was_not() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").fin(Acceptor);
    let seen = unanswered(&mut conn);
    assert!(seen.closed_by == Some(Acceptor) && !seen.is_unread && seen.is_acknowledged);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").segment(Acceptor, 0x14, b"");
    assert!(unanswered(&mut conn).is_unread, "reset");
    // The FIN crosses the request.
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_in_vain(Initiator, &framed(b"zb")).segment(Acceptor, 0x11, b"");
    conn.segment(Initiator, 0x11, b"");
    let seen = unanswered(&mut conn);
    assert!(seen.is_unread && !seen.is_acknowledged);
}

#[test]
fn a_second_request_shows_in_the_observation_of_the_first() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_raw(Initiator, b"\0\x01n\0\x01n").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NoReply; 2]);
    for body in conn.out.observed() {
        let Observed::Epmd(epmd) = body else { continue };
        assert!(epmd.seen.is_pipelined);
    }
}

#[test]
fn a_connection_without_data_is_mute() {
    let mut conn = TestConnection::to_epmd();
    conn.open().fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Incomplete]);
    let Some(Observed::Epmd(epmd)) = conn.out.observed().next() else { panic!("{:?}", conn.out) };
    let seen = &epmd.seen;
    assert!(seen.is_mute && seen.is_whole && seen.closed_by == Some(Acceptor));
}

/// An established connection on which A ticks every four seconds, and B only in the first `answers` rounds.
fn ticking(answers: u32) -> TestConnection {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C"));
    for n in 0..8 {
        conn.time_passes(4);
        conn.sends_raw(Initiator, &[0; 4]);
        if n < answers {
            conn.sends_raw(Acceptor, &[0; 4]);
        }
    }
    conn
}

/// The sides that were reported as silent.
fn silences(conn: &TestConnection) -> Vec<Role> {
    let silent = conn.out.observed().filter_map(|body| match body {
        Observed::Connection(seen) => match seen.occasion {
            Occasion::Silent { role, .. } => Some(role),
            _ => None,
        },
        _ => None,
    });
    silent.collect()
}

#[test]
fn a_silent_side_is_reported_once_before_the_other_closes() {
    assert_eq!(silences(&ticking(3)), [Acceptor]);
    assert_eq!(silences(&ticking(8)), []);
}

#[test]
fn silence_of_both_sides_is_not_reported() {
    let mut conn = ticking(8);
    conn.time_passes(60);
    assert_eq!(silences(&conn), []);
}

#[test]
fn a_silence_is_reported_by_the_longer_period_where_shorter_pauses_may_be_of_another_sender() {
    for (seconds, expected) in [(10, &[][..]), (13, &[Acceptor][..])] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends(Acceptor, &ack("C"));
        for _ in 0..3 {
            conn.time_passes(4).sends_raw(Initiator, &[0; 4]).sends_raw(Acceptor, &[0; 4]);
        }
        for _ in 0..seconds {
            conn.time_passes(1).sends_raw(Initiator, &[0; 4]);
        }
        assert_eq!(silences(&conn), expected, "{seconds}");
    }
}

/// `SEND_SENDER` and its two pids, as OTP 29 sends it behind a header of three known atoms.
const CALL: &[u8] = b"\0\0\0\x2c\x83D\x03\x03\x02\x80\x05\x84h\x03a\x16\
    XR\0\0\0\0Y\0\0\0\0k\x0c>\xadXR\0\0\0\0Y\0\0\0\0k\x0c>\xada\0";

/// A connection that may be of any protocol, and whose beginning the capture lacks.
fn joined_in_its_middle() -> TestConnection {
    let mut conn = TestConnection::new();
    conn.reason = FollowReason::Maybe;
    conn
}

#[test]
fn four_frames_without_a_handshake_are_a_connection() {
    for from in [Initiator, Acceptor] {
        let mut conn = joined_in_its_middle();
        for _ in 0..2 {
            conn.waits(40).sends_raw(from, CALL).sends_raw(from.peer(), CALL);
        }
        let (seen, verdict) = conn.verdict();
        assert_eq!((verdict.outcome, verdict.confidence), (Outcome::Connected, Confidence::Likely));
        assert_eq!((seen.traffic.initiator.frames, seen.traffic.acceptor.frames), (2, 2));
        assert_eq!(seen.state(), State::Open);
    }
}

#[test]
fn frames_that_end_with_a_close_are_a_connection_that_was_closed() {
    let mut conn = joined_in_its_middle();
    conn.sends_raw(Initiator, CALL).sends_raw(Acceptor, CALL).fin(Acceptor);
    let (seen, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, seen.state()), (Outcome::Connected, State::Closed));
}

#[test]
fn a_stream_without_a_hello_and_without_a_frame_is_no_handshake() {
    let mut reply = b"\0\x15r".to_vec();
    reply.extend([7; 20]);
    let mut ack = b"\0\x11a".to_vec();
    ack.extend([7; 16]);
    let screen: [&[u8]; 6] = [
        b"\0\x09c\x01\x02\x03\x04\x05\x06\x07\x08", // read as a complement
        b"\0\x03sok",
        b"\0\x05strue",
        &reply,
        &ack,
        b"\0\0\0\0",
    ];
    for first in screen {
        let mut conn = joined_in_its_middle();
        for _ in 0..3 {
            // An update of a screen (RFC 6143, section 7.6.1) has many zeros.
            conn.sends_raw(Acceptor, first).sends_raw(Acceptor, &[0; 4]).waits(300);
            conn.sends_raw(Initiator, &[0; 4]).sends_raw(Acceptor, &[0; 12]);
        }
        conn.time_passes(1).fin(Acceptor).time_passes(60);
        if let Some(mut connection) = conn.connection.take() {
            let context = context(
                &conn.limits,
                &conn.cookies,
                &conn.reassembly,
                &conn.message_memory,
                &conn.others,
            );
            connection.on_end(conn.at, &context, &mut conn.out);
        }
        assert_eq!(conn.out.observed().count(), 0, "{first:?}: {:?}", conn.out);
    }
}

#[test]
fn a_hello_makes_the_messages_before_it_a_handshake() {
    let mut conn = joined_in_its_middle();
    conn.sends(Acceptor, b"sok").sends(Acceptor, &challenge("b@two"));
    conn.sends(Initiator, &reply()).sends(Acceptor, &ack("C")).sends_raw(Acceptor, &[0; 4]);
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::Connected);
    assert_eq!(
        seen.handshake.status.map(|status| status.what.text().to_owned()).as_deref(),
        Some("ok")
    );
    assert_eq!(seen.traffic.acceptor.ticks, 1);
}

const PROXY_HEADER: &[u8] = b"PROXY TCP4 10.0.0.7 10.0.0.1 51000 9100\r\n";

#[test]
fn a_node_that_gets_a_proxy_header_does_not_answer_the_hello_behind_it() {
    for closer in [Initiator, Acceptor] {
        let mut conn = TestConnection::new();
        conn.open().sends_raw(Initiator, PROXY_HEADER).sends(Initiator, &send_name("a@one"));
        conn.waits(7000).fin(closer);
        let (seen, verdict) = conn.verdict();
        assert_eq!(verdict.outcome, Outcome::NotDistribution);
        assert_eq!(verdict.detected_by, Some(closer));
        assert_eq!(seen.handshake.reached(), Some(MessageKind::SendName));
        let header = seen.proxy.unwrap();
        assert_eq!((header.version, header.client.unwrap().port), (1, 51000));
    }
}

#[test]
fn a_proxy_header_that_is_understood_changes_nothing() {
    let mut conn = TestConnection::new();
    let hello = [PROXY_HEADER, b"\0\x14", &send_name("a@one")].concat();
    conn.open().sends_raw(Initiator, &hello).sends(Acceptor, b"sok");
    conn.sends(Acceptor, &challenge("b@two")).sends(Initiator, &reply());
    conn.sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    assert_eq!(conn.outcome(), (Outcome::Connected, None));
}

#[test]
fn a_proxy_header_on_a_connection_that_is_still_open_decides_nothing() {
    let mut conn = TestConnection::new();
    conn.open().sends_raw(Initiator, PROXY_HEADER).sends(Initiator, &send_name("a@one"));
    conn.waits(3000);
    assert_eq!(conn.outcome(), (Outcome::Incomplete, None));
    let mut conn = TestConnection::new();
    conn.open().sends_raw(Initiator, PROXY_HEADER).loses(Acceptor, 3);
    conn.sends(Initiator, &send_name("a@one")).waits(7000).fin(Initiator);
    assert_eq!(conn.outcome(), (Outcome::Incomplete, None), "the capture lacks an answer");
}

#[test]
fn epmd_gets_a_proxy_header_in_front_of_a_request() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_raw(Initiator, PROXY_HEADER).sends(Initiator, b"zb").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Malformed]);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_raw(Initiator, PROXY_HEADER).sends(Initiator, b"zb");
    conn.sends_raw(Acceptor, b"w\x01").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NotRegistered], "it was understood");
}

#[test]
fn tls_around_epmd_is_malformed_from_either_side() {
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    for first in [&hello[..], &hello[..20], b"\x16\x03"] {
        let mut conn = TestConnection::to_epmd();
        conn.open().sends_raw(Initiator, first).fin(Acceptor);
        assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Malformed], "{first:?}");
    }
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").sends_raw(Acceptor, b"\x15\x03\x03\0\x02\x02\x0a");
    conn.fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Malformed]);
}

/// The verdict of a connection, and the bytes that did not arrive.
fn lost(conn: &mut TestConnection) -> (Verdict, Option<Undelivered>) {
    let (_, verdict) = conn.verdict();
    let undelivered = verdict.undelivered.as_deref().cloned();
    (verdict, undelivered)
}

/// The message that did not arrive, with its sender.
fn lost_message(conn: &mut TestConnection) -> Option<(Role, Option<MessageKind>)> {
    let (seen, verdict) = conn.verdict();
    verdict.undelivered.map(|lost| (lost.from, lost.message(&seen.handshake)))
}

#[test]
fn a_handshake_whose_last_message_did_not_arrive_is_not_connected() {
    let mut conn = TestConnection::new();
    conn.up_to_reply();
    let message = framed(&ack("C"));
    conn.sends_in_vain(Acceptor, &message).resends(Acceptor, &message, 4);
    conn.waits(3500).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, verdict.detected_by), (Outcome::TimedOut, Some(Initiator)));
    assert_eq!(verdict.awaited, Some(MessageKind::ChallengeAck));
    let undelivered = undelivered.unwrap();
    assert_eq!((undelivered.from, undelivered.sent), (Acceptor, 5));
    assert_eq!((undelivered.loss, undelivered.peer), (LossScope::FromThen, PeerSigns::Answers));
    assert_eq!(lost_message(&mut conn), Some((Acceptor, Some(MessageKind::ChallengeAck))));
}

#[test]
fn an_initiator_that_closes_at_once_did_not_wait_for_the_last_message() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends_in_vain(Acceptor, &framed(&ack("C"))).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, undelivered), (Outcome::Aborted, None));
}

#[test]
fn the_last_message_in_the_void_decides_nothing_while_the_connection_is_open() {
    let mut conn = TestConnection::new();
    conn.up_to_reply();
    let message = framed(&ack("C"));
    conn.sends_in_vain(Acceptor, &message).resends(Acceptor, &message, 4);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!(verdict.outcome, Outcome::Incomplete);
    assert_eq!(undelivered.map(|lost| (lost.from, lost.peer)), Some((Acceptor, PeerSigns::Silent)));
}

#[test]
fn a_message_that_arrives_at_the_second_attempt_is_not_lost() {
    let mut conn = TestConnection::new();
    conn.up_to_reply();
    let message = framed(&ack("C"));
    conn.sends_in_vain(Acceptor, &message).waits(200);
    conn.seq[1] -= message.len() as u32;
    conn.sends_raw(Acceptor, &message).sends_raw(Initiator, &[0; 4]);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, undelivered), (Outcome::Connected, None));
}

#[test]
fn a_hello_in_the_void_is_lost_whichever_side_closes() {
    for closer in [Initiator, Acceptor] {
        let mut conn = TestConnection::new();
        let hello = framed(&send_name("a@one"));
        conn.open().sends_in_vain(Initiator, &hello).resends(Initiator, &hello, 5);
        conn.waits(800).fin(closer);
        let (verdict, undelivered) = lost(&mut conn);
        assert_eq!((verdict.outcome, verdict.detected_by), (Outcome::TimedOut, Some(closer)));
        let undelivered = undelivered.unwrap();
        assert_eq!((undelivered.from, undelivered.loss), (Initiator, LossScope::Payload));
        assert_eq!(lost_message(&mut conn), Some((Initiator, Some(MessageKind::SendName))));
    }
}

#[test]
fn a_hello_without_retransmissions_is_lost_if_nothing_acknowledges_it_until_the_close() {
    let mut conn = TestConnection::new();
    conn.open().sends_in_vain(Initiator, &framed(&send_name("a@one")));
    conn.waits(7000).fin(Acceptor);
    let (verdict, undelivered) = lost(&mut conn);
    let lost = undelivered.map(|lost| (lost.from, lost.sent));
    assert_eq!((verdict.outcome, lost), (Outcome::TimedOut, Some((Initiator, 1))));
}

#[test]
fn a_node_that_hangs_acknowledges_what_it_does_not_read() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).segment(Acceptor, 0x10, b"");
    conn.waits(7000).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, undelivered), (Outcome::TimedOut, None));
}

#[test]
fn one_direction_alone_shows_a_loss_by_its_retransmissions_only() {
    let mut conn = TestConnection::new();
    let hello = framed(&send_name("a@one"));
    conn.segment(Initiator, 0x02, b"").segment(Initiator, 0x10, b"");
    conn.sends_in_vain(Initiator, &hello).waits(7000).segment(Initiator, 0x11, b"");
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, undelivered), (Outcome::Incomplete, None));
}

#[test]
fn keep_alive_probes_and_packets_captured_twice_are_no_retransmissions() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    conn.segment(Acceptor, 0x10, b"");
    for _ in 0..8 {
        conn.waits(1000);
        conn.seq[0] -= 1;
        conn.segment(Initiator, 0x10, &[0]);
    }
    let (seen, _) = conn.verdict();
    assert_eq!(seen.tcp.sides.initiator.delivery.resent, None);
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    for _ in 0..8 {
        conn.seq[0] -= 4;
        conn.segment(Initiator, 0x18, &[0; 4]);
    }
    let (seen, _) = conn.verdict();
    assert_eq!(seen.tcp.sides.initiator.delivery.resent, None, "each within 2 ms");
}

/// A connection of which A sends `large` bytes in vain, and B ticks meanwhile if it `ticks`.
fn stalled(large: usize, ticks: bool) -> TestConnection {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"");
    let bytes = vec![1; large];
    conn.waits(1000).sends_in_vain(Initiator, &bytes);
    for n in 0..5 {
        conn.resends(Initiator, &bytes, 1).waits(200 << n);
        if ticks {
            conn.sends_raw(Acceptor, &[0; 4]);
        }
    }
    conn
}

#[test]
fn large_segments_in_the_void_while_the_peer_ticks_are_an_mtu() {
    let (_, undelivered) = lost(&mut stalled(1400, true));
    let undelivered = undelivered.unwrap();
    assert_eq!(undelivered.loss, LossScope::Large { arrives: 23 });
    assert_eq!((undelivered.from, undelivered.peer), (Initiator, PeerSigns::Sends));
}

#[test]
fn small_segments_and_a_silent_peer_are_no_mtu() {
    let loss = |conn: &mut TestConnection| lost(conn).1.map(|lost| lost.loss);
    assert_eq!(loss(&mut stalled(300, true)), Some(LossScope::FromThen));
    assert_eq!(loss(&mut stalled(1400, false)), Some(LossScope::FromThen));
}

#[test]
fn a_segment_as_large_as_one_that_arrived_is_not_lost_for_its_size() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C"));
    conn.sends_raw(Initiator, &[0; 1448]).segment(Acceptor, 0x10, b"");
    let bytes = [0; 1448];
    conn.sends_in_vain(Initiator, &bytes);
    for _ in 0..5 {
        conn.resends(Initiator, &bytes, 1).waits(900).sends_raw(Acceptor, &[0; 4]);
    }
    assert_eq!(lost(&mut conn).1.map(|lost| lost.loss), Some(LossScope::FromThen));
}

#[test]
fn an_icmp_message_shows_the_mtu() {
    let mut conn = stalled(1400, false);
    let message = Unreachable {
        frame: FrameRef { input: 0, number: 99 },
        at: conn.at,
        reporter: A.ip,
        kind: 3,
        code: 4,
        src: A,
        dst: B,
        seq: conn.seq[0] - 1400,
        mtu: Some(1300),
    };
    conn.icmp(&message);
    let (verdict, undelivered) = lost(&mut conn);
    let undelivered = undelivered.unwrap();
    assert_eq!(verdict.outcome, Outcome::Connected);
    assert_eq!(undelivered.too_large.map(|it| it.mtu), Some(1300));
    assert!(undelivered.is_large());
}

#[test]
fn a_peer_that_was_away_and_came_back_differs_from_one_that_is_gone() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    conn.sends_raw(Acceptor, &[0; 4]).waits(1000);
    let tick = [0; 4];
    conn.sends_in_vain(Initiator, &tick).resends(Initiator, &tick, 5).waits(400);
    assert_eq!(lost(&mut conn).1.map(|lost| lost.peer), Some(PeerSigns::Silent));
    conn.sends_raw(Acceptor, &tick);
    let peer = lost(&mut conn).1.map(|lost| lost.peer);
    assert!(matches!(peer, Some(PeerSigns::Returned(_))), "{peer:?}");
}

#[test]
fn a_long_pause_before_the_first_loss_is_known() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Initiator, &[0; 4]);
    conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(300_000);
    let tick = [0; 4];
    conn.sends_in_vain(Initiator, &tick).resends(Initiator, &tick, 5);
    let pause = lost(&mut conn).1.and_then(|lost| lost.pause);
    assert_eq!(pause.map(|pause| pause.as_secs()), Some(300));
}

#[test]
fn tls_hellos_in_the_void_time_out() {
    let hello = |len: usize| {
        let mut record = b"\x16\x03\x01".to_vec();
        record.extend((len as u16).to_be_bytes());
        record.extend(b"\x01\x00\x01\x00\x03\x03");
        record.resize(5 + len, 7);
        record
    };
    let mut conn = TestConnection::new();
    let record = hello(600);
    conn.open().sends_in_vain(Initiator, &record).resends(Initiator, &record, 5);
    conn.waits(800).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!(verdict.outcome, Outcome::TimedOut);
    assert!(undelivered.is_some_and(|lost| lost.from == Initiator && lost.may_be_size()));

    let mut conn = TestConnection::new();
    conn.open().sends_raw(Initiator, &hello(200)).segment(Acceptor, 0x10, b"");
    let mut answer = hello(1300);
    answer[5] = 2;
    conn.sends_in_vain(Acceptor, &answer).resends(Acceptor, &answer, 5);
    conn.waits(800).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!((verdict.outcome, verdict.detected_by), (Outcome::TimedOut, Some(Initiator)));
    assert_eq!(undelivered.map(|lost| lost.from), Some(Acceptor));
}

#[test]
fn an_epmd_request_in_the_void_is_lost_open_or_closed() {
    let request = framed(b"zb");
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_in_vain(Initiator, &request).resends(Initiator, &request, 5);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Unacknowledged]);
    let mut conn = TestConnection::to_epmd();
    conn.open().sends_in_vain(Initiator, &request).waits(7000).fin(Initiator);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::Unacknowledged]);
    // The kernel of a host with an EPMD that hangs acknowledges.
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").segment(Acceptor, 0x10, b"").waits(7000).fin(Initiator);
    assert_eq!(epmd_outcomes(&mut conn), [EpmdOutcome::NoReply]);
}

#[test]
fn an_epmd_reply_in_the_void_is_lost_after_the_answer() {
    let mut conn = TestConnection::to_epmd();
    conn.open().sends(Initiator, b"zb").sends_in_vain(Acceptor, b"w\x01");
    conn.resends(Acceptor, b"w\x01", 5);
    let outcomes = [EpmdOutcome::NotRegistered, EpmdOutcome::Unacknowledged];
    assert_eq!(epmd_outcomes(&mut conn), outcomes);
}

/// The steps in the record of a connection: frame, sender, kind, and how often it was sent.
fn steps(seen: &Observation, verdict: &Verdict) -> Vec<(u64, Option<Role>, StepKind, u64)> {
    let ids = ConnectionIds {
        session_id: "0123456789abcdef".into(),
        community_id: "1:".into(),
        src_ip: A.ip,
        src_port: A.port,
        dest_ip: B.ip,
        dest_port: B.port,
        proto: TransportProtocol::Tcp,
        encap: Vec::new(),
    };
    let session = Session::of(&ids, seen, verdict);
    assert!(session.steps.is_sorted_by_key(|step| step.at), "{:?}", session.steps);
    let steps = session.steps.iter();
    steps.map(|it| (it.frame.number, it.from, it.what, it.count.unwrap_or(1))).collect()
}

#[test]
fn the_steps_of_a_record_are_the_packets_beside_the_messages() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().fin(Acceptor);
    let (seen, verdict) = conn.verdict();
    let opening =
        [(1, Some(Initiator), StepKind::Syn, 1), (2, Some(Acceptor), StepKind::SynAck, 1)];
    let close = [(8, Some(Acceptor), StepKind::Fin, 1)];
    assert_eq!(steps(&seen, &verdict), [&opening[..], &close].concat());

    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"").waits(1000).dials_again();
    let (seen, verdict) = conn.verdict();
    assert_eq!(steps(&seen, &verdict), [(1, Some(Initiator), StepKind::Syn, 2)]);

    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"").segment(Acceptor, 0x14, b"");
    let (seen, verdict) = conn.verdict();
    let reset = (2, Some(Acceptor), StepKind::Rst, 1);
    assert_eq!(steps(&seen, &verdict), [(1, Some(Initiator), StepKind::Syn, 1), reset]);
}

#[test]
fn a_step_names_the_messages_that_were_sent_again_and_whether_they_arrived() {
    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    let message = framed(&challenge("b@two"));
    conn.sends_in_vain(Acceptor, &message).resends(Acceptor, &message, 4).fin(Initiator);
    let (seen, verdict) = conn.verdict();
    let found = steps(&seen, &verdict);
    assert!(found.contains(&(7, Some(Acceptor), StepKind::Unacknowledged, 5)), "{found:?}");

    let mut conn = TestConnection::new();
    conn.open().sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
    conn.sends_in_vain(Acceptor, &message).resends(Acceptor, &message, 1);
    conn.arrived[1] = conn.seq[1];
    conn.sends(Initiator, &reply()).fin(Acceptor);
    let (seen, verdict) = conn.verdict();
    let found = steps(&seen, &verdict);
    assert!(found.contains(&(7, Some(Acceptor), StepKind::SentAgain, 2)), "{found:?}");
}

/// The kinds of anomaly that a connection has reported.
fn not_taken(conn: &TestConnection) -> usize {
    let is_not_taken = |observed: &&Observed| matches!(observed, Observed::Anomaly(it) if it.kind == AnomalyKind::NotTaken);
    conn.out.observed().filter(is_not_taken).count()
}

impl TestConnection {
    /// Sends a segment that does not arrive, with its sequence number `ahead` of the next, and nothing of it counts.
    fn decoy(&mut self, from: Role, ahead: u32, flags: u8, payload: &[u8]) -> &mut Self {
        let (seq, arrived) = (self.seq, self.arrived);
        self.seq[from.index()] = seq[from.index()].wrapping_add(ahead);
        self.segment(from, flags, payload);
        (self.seq, self.arrived) = (seq, arrived);
        self
    }
}

#[test]
fn an_rst_that_is_not_the_next_segment_ends_nothing() {
    for from in [Initiator, Acceptor] {
        for ahead in [7, 600, 0x4000_0000, 0_u32.wrapping_sub(9)] {
            let mut conn = TestConnection::new();
            conn.up_to_reply().decoy(from, ahead, 0x14, b"").sends(Acceptor, &ack("C"));
            conn.segment(Initiator, 0x10, b"").sends_raw(Initiator, &[0; 4]);
            conn.segment(Acceptor, 0x10, b"").waits(3000);
            conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"");
            let (seen, verdict) = conn.verdict();
            assert_eq!(verdict.outcome, Outcome::Connected, "{from:?} {ahead}");
            assert_eq!(seen.tcp.close, None, "{from:?} {ahead}");
            assert_eq!(not_taken(&conn), 1, "{from:?} {ahead}");
        }
    }
}

#[test]
fn an_acknowledgement_that_comes_again_shows_that_an_rst_was_dropped() {
    for from in [Initiator, Acceptor] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
        conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
        // What the receiver sends in answer (RFC 5961, section 3.2), and then nothing.
        conn.decoy(from, 7, 0x14, b"").segment(from.peer(), 0x10, b"").time_passes(3);
        let (seen, _) = conn.verdict();
        assert_eq!((seen.tcp.close, not_taken(&conn)), (None, 1), "{from:?}");
    }
}

#[test]
fn an_rst_beyond_every_window_or_before_what_was_acknowledged_is_dropped_for_good() {
    for from in [Initiator, Acceptor] {
        for ahead in [0x4000_0000, 0_u32.wrapping_sub(9)] {
            let mut conn = TestConnection::new();
            conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
            conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
            conn.decoy(from, ahead, 0x14, b"").time_passes(3);
            let (seen, _) = conn.verdict();
            assert_eq!((seen.tcp.close, not_taken(&conn)), (None, 1), "{from:?} {ahead}");
        }
    }
}

#[test]
fn an_acknowledgement_of_the_initiator_shows_that_its_syn_was_answered() {
    let opening = |acknowledges: bool| {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"").waits(1000).dials_again();
        if acknowledges {
            conn.segment(Initiator, 0x10, b"");
        }
        conn.time_passes(300);
        conn.outcome().0
    };
    assert_eq!(opening(false), Outcome::Unanswered);
    assert_ne!(opening(true), Outcome::Unanswered, "the capture lacks the SYN-ACK");
}

#[test]
fn an_rst_in_the_window_ends_the_connection_if_nothing_follows() {
    // The capture lacks what was sent before it.
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    conn.decoy(Acceptor, 40, 0x14, b"").time_passes(3);
    let (seen, _) = conn.verdict();
    assert_eq!(seen.closed_by(), Some(Acceptor));
    assert_eq!(not_taken(&conn), 0);
}

#[test]
fn the_last_message_counts_for_nothing_where_its_sender_closes_before_it() {
    for close in [0x11, 0x14] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().segment(Acceptor, 0x10, b"");
        conn.decoy(Acceptor, 0, 0x18, &framed(&ack("C")));
        conn.segment(Acceptor, close, b"").segment(Initiator, 0x11, b"").time_passes(3);
        let established = conn.out.observed().filter(|observed| {
            matches!(observed, Observed::Connection(seen) if seen.occasion == Occasion::Established)
        });
        assert_eq!(established.count(), 0, "{close:#x}");
        assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Acceptor)), "{close:#x}");
        assert_eq!(not_taken(&conn), 1, "{close:#x}");
    }
}

#[test]
fn of_two_statuses_that_one_counts_behind_which_both_sides_go_on() {
    for decoy_is_first in [true, false] {
        let mut conn = TestConnection::new();
        conn.open().sends(Initiator, &send_name("a@one"));
        if decoy_is_first {
            conn.decoy(Acceptor, 0, 0x18, &framed(b"snot_allowed")).sends(Acceptor, b"sok");
        } else {
            conn.sends(Acceptor, b"sok");
            let before = conn.seq;
            conn.seq[Acceptor.index()] -= 5;
            conn.decoy(Acceptor, 0, 0x18, &framed(b"snot_allowed"));
            conn.seq = before;
        }
        conn.segment(Initiator, 0x10, b"").sends(Acceptor, &challenge("b@two"));
        conn.sends(Initiator, &reply()).sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
        assert_eq!(conn.outcome(), (Outcome::Connected, None), "{decoy_is_first}");
        assert_eq!(not_taken(&conn), 1, "{decoy_is_first}");
    }
}

#[test]
fn a_fin_behind_which_its_sender_goes_on_closes_nothing() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().decoy(Acceptor, 0, 0x11, b"").sends(Acceptor, &ack("C"));
    conn.segment(Initiator, 0x10, b"").sends_raw(Initiator, &[0; 4]);
    let (seen, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, seen.tcp.close), (Outcome::Connected, None));
    assert_eq!(not_taken(&conn), 1);
}

#[test]
fn a_refusal_in_front_of_the_answer_to_a_syn_refuses_nothing() {
    // An RST that acknowledges another SYN, and one that acknowledges this, in front of the answer.
    for acked in [0, 77] {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"");
        conn.arrived[Initiator.index()] += acked;
        conn.decoy(Acceptor, 0, 0x14, b"");
        conn.arrived[Initiator.index()] -= acked;
        conn.segment(Acceptor, 0x12, b"").segment(Initiator, 0x10, b"");
        conn.sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
        conn.segment(Initiator, 0x10, b"").time_passes(3);
        let (seen, _) = conn.verdict();
        assert!(!seen.is_closed(), "{acked}");
    }
}

#[test]
fn frames_before_the_last_message_of_the_handshake_connect_no_node() {
    for frame in [&[0; 4][..], b"\0\0\0\x05\x83hjkl"] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends_raw(Initiator, frame).segment(Acceptor, 0x10, b"");
        conn.segment(Acceptor, 0x11, b"").segment(Initiator, 0x11, b"").time_passes(3);
        assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Acceptor)), "{frame:?}");
    }
}

/// Cuts the connection off and gives its outcome, which an early decoy must not change.
fn outcome_after_refusal(mut conn: TestConnection) -> (Outcome, Option<Role>) {
    conn.segment(Acceptor, 0x11, b"").segment(Initiator, 0x11, b"").segment(Acceptor, 0x10, b"");
    conn.time_passes(3);
    conn.outcome()
}

#[test]
fn a_segment_without_an_acknowledgement_counts_for_nothing() {
    for (flags, payload) in [(0x01, &b""[..]), (0x08, b"\0\x0csnot_allowed"), (0x29, b"")] {
        for from in [Initiator, Acceptor] {
            let mut conn = TestConnection::new();
            conn.up_to_reply().decoy(from, 0, flags, payload).segment(Acceptor, 0x10, b"");
            assert_eq!(
                outcome_after_refusal(conn),
                (Outcome::CookieMismatch, Some(Acceptor)),
                "{flags:#x}"
            );
        }
    }
}

#[test]
fn a_segment_that_acknowledges_what_was_never_sent_counts_for_nothing() {
    for acked in [0x0a00_0000, 0x0a00_0000_u32.wrapping_neg()] {
        for flags in [0x11, 0x18] {
            let payload: &[u8] = if flags == 0x18 { b"\0\x0csnot_allowed" } else { b"" };
            let mut conn = TestConnection::new();
            conn.up_to_reply();
            let arrived = conn.arrived;
            conn.arrived[Initiator.index()] = arrived[Initiator.index()].wrapping_add(acked);
            conn.decoy(Acceptor, 0, flags, payload);
            conn.arrived = arrived;
            conn.sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
            let (seen, verdict) = conn.verdict();
            assert_eq!(verdict.outcome, Outcome::Connected, "{acked} {flags:#x}");
            assert_eq!(seen.tcp.close, None, "{acked} {flags:#x}");
            assert_eq!(not_taken(&conn), 1, "{acked} {flags:#x}");
        }
    }
}

#[test]
fn bytes_behind_a_fin_complete_no_handshake() {
    for message in [framed(&ack("C")), vec![0; 8], framed(b"snot_allowed")] {
        // Before and after the other side acknowledges the FIN.
        for is_late in [false, true] {
            let mut conn = TestConnection::new();
            conn.up_to_reply().segment(Acceptor, 0x10, b"").segment(Acceptor, 0x11, b"");
            if is_late {
                conn.segment(Initiator, 0x11, b"").decoy(Acceptor, 0, 0x18, &message);
            } else {
                conn.decoy(Acceptor, 0, 0x18, &message).segment(Initiator, 0x11, b"");
            }
            conn.segment(Acceptor, 0x10, b"").time_passes(3);
            assert_eq!(
                conn.outcome(),
                (Outcome::CookieMismatch, Some(Acceptor)),
                "{message:?} {is_late}"
            );
        }
    }
}

#[test]
fn what_comes_in_front_of_the_answer_to_a_syn_is_no_part_of_the_stream() {
    let far = 0x1000_0000;
    for (flags, payload) in [(0x18, framed(b"snot_allowed")), (0x10, vec![]), (0x11, vec![])] {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"").decoy(Acceptor, far, flags, &payload);
        conn.segment(Acceptor, 0x12, b"").segment(Initiator, 0x10, b"");
        conn.sends(Initiator, &send_name("a@one")).sends(Acceptor, b"sok");
        conn.sends(Acceptor, &challenge("b@two")).sends(Initiator, &reply());
        conn.sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
        assert_eq!(conn.outcome(), (Outcome::Connected, None), "{flags:#x}");
    }
}

#[test]
fn a_closed_port_refuses_a_syn_whatever_comes_beside_it() {
    let decoys: [fn(&mut TestConnection); 3] = [
        |conn| _ = conn.decoy(Acceptor, 40, 0x18, &framed(b"snot_allowed")),
        |conn| _ = conn.decoy(Acceptor, 0, 0x18, &[0; 8]),
        |conn| _ = conn.decoy(Initiator, 0, 0x10, b""),
    ];
    for is_late in [false, true] {
        for decoy in decoys {
            let mut conn = TestConnection::new();
            conn.segment(Initiator, 0x02, b"");
            if !is_late {
                decoy(&mut conn);
            }
            conn.seq[Acceptor.index()] = 0;
            conn.segment(Acceptor, 0x14, b"");
            if is_late {
                decoy(&mut conn);
            }
            conn.time_passes(1);
            assert_eq!(conn.outcome(), (Outcome::Refused, None), "{is_late}");
        }
    }
}

#[test]
fn a_syn_ack_that_acknowledges_another_syn_opens_nothing() {
    let mut conn = TestConnection::new();
    conn.segment(Initiator, 0x02, b"");
    conn.arrived[Initiator.index()] += 77_777;
    conn.decoy(Acceptor, 123_456, 0x12, b"");
    conn.arrived[Initiator.index()] -= 77_777;
    conn.segment(Acceptor, 0x12, b"").segment(Initiator, 0x10, b"");
    conn.sends(Initiator, &send_name("a@one")).sends(Acceptor, b"snot_allowed");
    conn.segment(Acceptor, 0x11, b"").segment(Initiator, 0x11, b"").time_passes(3);
    assert_eq!(conn.outcome().0, Outcome::NotAllowed);
}

#[test]
fn an_rst_one_past_the_end_ends_nothing_where_both_sides_go_on() {
    for from in [Initiator, Acceptor] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().decoy(from, 1, 0x04, b"").sends(Acceptor, &ack("C"));
        conn.segment(Initiator, 0x10, b"").sends_raw(Initiator, &[0; 4]);
        conn.segment(Acceptor, 0x10, b"").waits(3000);
        conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"");
        let reports = conn
            .out
            .observed()
            .filter(|it| matches!(it, Observed::Connection(seen) if seen.is_closed()));
        assert_eq!(reports.count(), 0, "{from:?}");
        assert_eq!(conn.verdict().1.outcome, Outcome::Connected, "{from:?}");
    }
}

#[test]
fn a_frame_for_which_its_sender_left_no_place_is_not_corrupt() {
    for (is_decoy, corrupt) in [(true, 0), (false, 1)] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
        for _ in 0..10 {
            conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
            conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
        }
        let bytes = b"\0\0\0\x05hello";
        if is_decoy {
            conn.decoy(Acceptor, 0, 0x18, bytes);
        } else {
            conn.sends_raw(Acceptor, bytes);
        }
        conn.segment(Acceptor, 0x11, b"")
            .segment(Initiator, 0x11, b"")
            .segment(Acceptor, 0x10, b"");
        let (seen, _) = conn.verdict();
        assert_eq!(usize::from(seen.traffic.acceptor.corrupt.is_some()), corrupt, "{is_decoy}");
    }
}

#[test]
fn bytes_that_come_again_and_differ_leave_what_was_acknowledged() {
    for message in [vec![0; 40], framed(&send_name("z@elsewhere")), framed(b"strue")] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().segment(Acceptor, 0x10, b"").segment(Acceptor, 0x11, b"");
        let back = (message.len() as u32).wrapping_neg();
        conn.decoy(Initiator, back, 0x18, &message);
        conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x10, b"").time_passes(3);
        assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Acceptor)), "{message:?}");
    }
}

#[test]
fn what_the_originator_sends_before_the_answer_to_its_syn_counts_for_nothing() {
    for acked in [0x0b00_0000, 0x0b00_0000_u32.wrapping_neg()] {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"");
        conn.arrived[Acceptor.index()] = conn.arrived[Acceptor.index()].wrapping_add(acked);
        conn.decoy(Initiator, 0, 0x18, b"\x7f\xff\xff\xff\x83");
        conn.arrived[Acceptor.index()] = conn.arrived[Acceptor.index()].wrapping_sub(acked);
        conn.segment(Acceptor, 0x12, b"").segment(Initiator, 0x10, b"");
        conn.sends(Initiator, &send_name("a@one")).sends(Acceptor, b"snot_allowed");
        conn.segment(Acceptor, 0x11, b"").segment(Initiator, 0x11, b"").time_passes(3);
        assert_eq!(conn.outcome().0, Outcome::NotAllowed, "{acked}");
    }
}

#[test]
fn a_fin_beyond_the_window_closes_nothing() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    conn.decoy(Initiator, 0x0800_0000, 0x11, b"").time_passes(3);
    conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
    conn.decoy(Initiator, 0x0800_0000, 0x11, b"").segment(Initiator, 0x10, b"").time_passes(3);
    let (seen, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, seen.closed_by()), (Outcome::Connected, Some(Initiator)));
}

#[test]
fn a_frame_that_is_corrupt_behind_bytes_of_another_segment_accuses_no_node() {
    for (is_decoy, corrupt) in [(true, 0), (false, 1)] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
        for _ in 0..10 {
            conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
            conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
        }
        if is_decoy {
            conn.decoy(Acceptor, 0, 0x18, &[0; 8]);
        }
        conn.sends_raw(Acceptor, b"\0\0\0\x0chello, world");
        conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
        conn.segment(Initiator, 0x10, b"");
        let (seen, _) = conn.verdict();
        assert_eq!(usize::from(seen.traffic.acceptor.corrupt.is_some()), corrupt, "{is_decoy}");
    }
}

/// A connection that has been up for a while.
fn steady() -> TestConnection {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    for _ in 0..10 {
        conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
        conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
    }
    conn
}

fn has_corrupt_frame(conn: &mut TestConnection) -> bool {
    let (seen, verdict) = conn.verdict();
    assert_eq!(verdict.outcome, Outcome::Connected);
    seen.traffic.acceptor.corrupt.is_some()
}

#[test]
fn a_frame_that_the_closing_side_had_not_received_is_not_its_reason() {
    for is_received in [true, false] {
        let mut conn = steady();
        let arrived = conn.arrived;
        conn.sends_raw(Acceptor, b"\0\0\0\x0chello, world");
        if !is_received {
            conn.arrived = arrived;
        }
        conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
        assert_eq!(has_corrupt_frame(&mut conn), is_received);
    }
}

#[test]
fn a_corrupt_frame_in_whose_place_its_sender_sends_other_bytes_accuses_no_node() {
    let mut conn = steady();
    conn.decoy(Acceptor, 0, 0x18, b"\0\0\0\x0chello, world");
    conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
    for _ in 0..4 {
        conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
    }
    conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
    assert!(!has_corrupt_frame(&mut conn));
}

#[test]
fn bytes_that_do_not_arrive_are_known_beside_an_acknowledgement_of_another_sender() {
    let mut conn = TestConnection::new();
    conn.up_to_reply();
    let message = framed(&ack("C"));
    conn.sends_in_vain(Acceptor, &message);
    let arrived = conn.arrived;
    conn.arrived[Acceptor.index()] += 5000;
    conn.segment(Initiator, 0x10, b"");
    conn.arrived = arrived;
    for n in 0..4 {
        conn.resends(Acceptor, &message, 1).waits(200 << n).segment(Initiator, 0x10, b"");
    }
    conn.waits(3500).fin(Initiator);
    let (verdict, undelivered) = lost(&mut conn);
    assert_eq!(verdict.outcome, Outcome::TimedOut);
    assert_eq!(undelivered.map(|lost| (lost.from, lost.sent)), Some((Acceptor, 5)));
}

#[test]
fn a_digest_for_which_a_close_leaves_no_place_was_not_of_the_acceptor() {
    for close in [0x11, 0x14] {
        let mut conn = TestConnection::new();
        conn.up_to_reply().decoy(Acceptor, 0, 0x18, &framed(&ack("C")));
        conn.segment(Acceptor, close, b"");
        assert_eq!(conn.outcome(), (Outcome::CookieMismatch, Some(Acceptor)), "{close}");
        let mut taken = TestConnection::new();
        taken.up_to_reply().sends(Acceptor, &ack("C")).segment(Acceptor, close, b"");
        assert_eq!(taken.outcome().0, Outcome::Connected, "{close}: the close is behind it");
    }
}

#[test]
fn ticks_of_another_sender_are_not_the_tick_period() {
    for ticks in 1..5 {
        let mut conn = steady();
        conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(400);
        for n in 0..ticks {
            conn.decoy(Acceptor, n * 4, 0x18, &[0; 4]).waits(1200);
        }
        for _ in 0..6 {
            conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(15_000);
        }
        conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
        let (seen, _) = conn.verdict();
        let period = seen.traffic.acceptor.tick_period.map(|period| period.as_secs());
        assert_eq!(period, Some(15), "{ticks}");
    }
}

#[test]
fn one_tick_of_another_sender_is_not_the_tick_period() {
    let mut conn = steady();
    conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"").waits(400);
    conn.decoy(Acceptor, 0, 0x18, &[0; 8]).waits(1000);
    conn.segment(Initiator, 0x11, b"").segment(Acceptor, 0x11, b"");
    let (seen, _) = conn.verdict();
    let period = seen.traffic.acceptor.tick_period.map(|period| period.as_secs());
    assert_eq!(period, Some(15));
}

#[test]
fn ticks_of_another_sender_beside_few_of_its_own_show_no_tick_period() {
    type Ending = fn(&mut TestConnection);
    let closes: Ending = |conn| _ = conn.waits(3_000);
    let ticks_on: Ending = |conn| {
        for _ in 0..2 {
            conn.waits(9_000).sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"");
        }
        conn.waits(4_000);
    };
    for (own, ending) in [(1, closes), (1, ticks_on), (2, closes), (2, ticks_on)] {
        for ticks in [1, 2, 3, 5, 14] {
            let mut conn = TestConnection::new();
            conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
            for n in 0..own {
                conn.waits(n * 15_000).sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
                conn.sends_raw(Acceptor, &[0; 4]).segment(Initiator, 0x10, b"");
            }
            for n in 0..ticks {
                conn.time_passes(1).decoy(Acceptor, n * 4, 0x18, &[0; 4]);
            }
            ending(&mut conn);
            conn.segment(Acceptor, 0x11, b"").segment(Initiator, 0x11, b"").time_passes(3);
            assert_eq!(silences(&conn), [], "{own} {ticks}");
            let (seen, _) = conn.verdict();
            let period = seen.traffic.acceptor.tick_period;
            assert!(period.is_none_or(|it| it.as_secs() > 8), "{own} {ticks}: {period:?}");
        }
    }
}

#[test]
fn bytes_that_the_capture_lacks_of_both_sides_are_added_up() {
    let mut conn = steady();
    for (side, bytes) in [(Initiator, 40), (Acceptor, 7)] {
        conn.loses(side, bytes).sends_raw(side, &[0; 4]).segment(side.peer(), 0x10, b"");
    }
    conn.time_passes(60);
    assert_eq!(conn.connection.unwrap().gaps(), (2, 47));
}

#[test]
fn a_refusal_of_a_closed_port_is_reported_at_once_and_another_after_a_moment() {
    for (seq, is_sure) in [(0, true), (5000, false)] {
        let mut conn = TestConnection::new();
        conn.segment(Initiator, 0x02, b"");
        conn.seq[1] = seq;
        conn.arrived[1] = seq;
        conn.segment(Acceptor, 0x14, b"");
        let is_reported = |conn: &TestConnection| {
            conn.out.observed().any(|it| matches!(it, Observed::Connection(_)))
        };
        assert_eq!(is_reported(&conn), is_sure, "{seq}");
        conn.time_passes(1);
        assert!(is_reported(&conn), "{seq}");
    }
}

#[test]
fn the_last_message_is_taken_when_the_other_side_acknowledges_it() {
    let established = |conn: &TestConnection| {
        let is_it = |it: &Observed| matches!(it, Observed::Connection(seen) if seen.occasion == Occasion::Established);
        conn.out.observed().filter(|it| is_it(it)).count()
    };
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Acceptor, 0x10, b"");
    assert_eq!(established(&conn), 0, "its sender repeats what it had");
    conn.segment(Initiator, 0x10, b"");
    assert_eq!(established(&conn), 1);
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).sends_raw(Acceptor, &[0; 4]);
    assert_eq!(established(&conn), 1, "its sender goes on");
}

#[test]
fn a_wrong_checksum_counts_in_the_handshake_and_the_close_and_not_in_bytes_between() {
    let mut conn = TestConnection::new();
    conn.checksum = Some(true);
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    conn.checksum = Some(false);
    conn.sends_raw(Initiator, &[0; 4]).segment(Acceptor, 0x10, b"");
    conn.decoy(Initiator, 0, 0x11, b"").decoy(Acceptor, 0, 0x14, b"");
    let (seen, verdict) = conn.verdict();
    assert_eq!((verdict.outcome, seen.tcp.close), (Outcome::Connected, None));
    assert_eq!(seen.traffic.initiator.ticks, 1);
    assert_eq!(not_taken(&conn), 1);
}

#[test]
fn a_connection_that_was_read_again_is_looked_at_again() {
    let mut conn = TestConnection::new();
    conn.up_to_reply().sends(Acceptor, &ack("C")).segment(Initiator, 0x10, b"");
    conn.waits(2000).decoy(Initiator, 0, 0x18, b"\0\0\0\x09").sends_raw(Initiator, &[0; 8]);
    conn.segment(Acceptor, 0x10, b"");
    assert_eq!(conn.keep, Keep::Yes, "the acknowledgement shows which of them counts");
    conn.ends();
    assert_eq!(not_taken(&conn), 1);
}
