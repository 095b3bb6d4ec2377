//! Connections played from scripts: who sends what, when, and the verdict that must come of it.

#![expect(clippy::cast_possible_truncation, reason = "test messages are short")]

use std::sync::Arc;
use std::time::Duration;

use super::digest::{CandidateCookies, Cookie};
use super::*;
use crate::flow::FlowKey;
use crate::judge::world::{PriorLookup, RelatedFacts};
use crate::judge::{Confidence, Outcome, Verdict, judge_related};
use crate::observe::{EpmdOutcome, EpmdPackets, MessageKind, Occasion, Role, State};

const A: Endpoint = end([10, 0, 0, 1], 40_000);
const B: Endpoint = end([10, 0, 0, 2], 9_100);

const fn end(ip: [u8; 4], port: u16) -> Endpoint {
    let [a, b, c, d] = ip;
    Endpoint { ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)), port }
}

/// What a test wants to be known of other connections, and up to when the capture has lost packets.
#[derive(Default)]
struct Known {
    related: RelatedFacts,
    lost_until: Option<Timestamp>,
}

/// One connection from A to B, played step by step.
struct Play {
    connection: Option<Connection>,
    known: FollowReason,
    responder: Endpoint,
    /// Next sequence number of A and of B.
    seq: [u32; 2],
    /// What each has acknowledged of the other.
    heard: [u32; 2],
    at: Timestamp,
    frame: u64,
    limits: Limits,
    cookies: CandidateCookies,
    known_of_others: Known,
    reassembly: MemoryBudget,
    pool: MemoryBudget,
    said: ConnOutput,
}

use Role::{Acceptor, Initiator};

fn setting<'a>(
    limits: &'a Limits,
    cookies: &'a CandidateCookies,
    reassembly: &'a MemoryBudget,
    pool: &'a MemoryBudget,
    known: &Known,
) -> ConnContext<'a> {
    let messages = MessageDetail::Operations;
    ConnContext {
        limits,
        cookies,
        include_secrets: false,
        messages,
        warns: true,
        reassembly,
        pool,
        lost_until: known.lost_until,
    }
}

impl Play {
    fn new() -> Self {
        let (_, direction) = FlowKey::new(A, B);
        Self {
            connection: None,
            known: FollowReason::Node(direction),
            responder: B,
            seq: [1000, 5000],
            heard: [5000, 1000],
            at: Timestamp::new(100, 0),
            frame: 0,
            limits: Limits::default(),
            cookies: CandidateCookies::default(),
            known_of_others: Known::default(),
            reassembly: MemoryBudget::new(Limits::default().held_total),
            pool: MemoryBudget::new(1 << 20),
            said: ConnOutput::default(),
        }
    }

    /// A connection to a port mapper.
    fn to_epmd() -> Self {
        let responder = end([10, 0, 0, 2], 4369);
        let (_, direction) = FlowKey::new(A, responder);
        Self { known: FollowReason::Epmd(direction), responder, ..Self::new() }
    }

    fn segment(&mut self, from: Role, flags: u8, payload: &[u8]) -> &mut Self {
        let (src, dst) = match from {
            Initiator => (A, self.responder),
            Acceptor => (self.responder, A),
        };
        self.frame += 1;
        self.at = self.at.after(Duration::from_micros(50));
        let (own, peer) = (from.index(), from.peer().index());
        self.heard[own] = self.seq[peer];
        let (flow, direction) = FlowKey::new(src, dst);
        let segment = Segment {
            frame: FrameRef { input: 0, number: self.frame },
            at: self.at,
            flow,
            direction,
            seq: self.seq[own],
            ack: self.heard[own],
            flags: TcpFlags(flags),
            window: 1000,
            ip_id: None,
            payload,
            missing: 0,
            layers: &[],
        };
        let advance = payload.len() as u32 + u32::from(flags & 0x03 != 0);
        self.seq[own] = self.seq[own].wrapping_add(advance);
        let Self { limits, cookies, known_of_others, reassembly, said, pool, known, .. } = self;
        let setting = setting(limits, cookies, reassembly, pool, known_of_others);
        let connection =
            self.connection.get_or_insert_with(|| Connection::new(&segment, *known, &setting));
        connection.on_segment(&segment, &setting, said);
        self
    }

    fn open(&mut self) -> &mut Self {
        self.segment(Initiator, 0x02, b"")
            .segment(Acceptor, 0x12, b"")
            .segment(Initiator, 0x10, b"")
    }

    fn says(&mut self, from: Role, message: &[u8]) -> &mut Self {
        let mut framed = (message.len() as u16).to_be_bytes().to_vec();
        framed.extend(message);
        self.segment(from, 0x18, &framed)
    }

    fn raw(&mut self, from: Role, bytes: &[u8]) -> &mut Self {
        self.segment(from, 0x18, bytes)
    }

    fn fin(&mut self, from: Role) -> &mut Self {
        self.segment(from, 0x11, b"").segment(from.peer(), 0x11, b"")
    }

    /// Bytes that were sent and that the capture does not have.
    fn loses(&mut self, from: Role, bytes: u32) -> &mut Self {
        let own = from.index();
        self.seq[own] = self.seq[own].wrapping_add(bytes);
        self
    }

    fn waits(&mut self, ms: u64) -> &mut Self {
        self.at = self.at.after(Duration::from_millis(ms));
        self
    }

    /// Lets time settle what it settles, as the pipeline does.
    fn time_goes_on(&mut self, seconds: u64) -> &mut Self {
        let until = self.at.after(Duration::from_secs(seconds));
        let Self { limits, cookies, known_of_others, reassembly, said, pool, .. } = self;
        let setting = setting(limits, cookies, reassembly, pool, known_of_others);
        let mut last = self.at;
        while let Some(connection) = &mut self.connection {
            let Some(due) = connection.deadline(&setting.limits.clone(), true) else { break };
            if due > until {
                break;
            }
            assert!(due >= last, "time goes forward");
            last = due.after(Duration::from_nanos(1));
            if connection.on_time(due, &setting, said) == Keep::No {
                self.connection = None;
            }
        }
        self.at = until;
        self
    }

    /// The last observation, once the input has ended, and the verdict on it.
    fn session(&mut self) -> (Observation, Verdict) {
        let Self { limits, cookies, known_of_others, reassembly, said, pool, .. } = self;
        let setting = setting(limits, cookies, reassembly, pool, known_of_others);
        if let Some(connection) = &mut self.connection {
            connection.on_end(self.at, &setting, said);
        }
        let mut observations = said.observed().rev().filter_map(|observed| match observed {
            Observed::Connection(seen) => Some(seen.as_ref().clone()),
            _ => None,
        });
        let seen = observations.next().unwrap();
        let verdict = judge_related(&seen, known_of_others.related.clone());
        (seen, verdict)
    }

    fn outcome(&mut self) -> (Outcome, Option<Role>) {
        let (_, verdict) = self.session();
        (verdict.outcome, verdict.detected_by)
    }

    fn up_to_reply(&mut self) -> &mut Self {
        self.open()
            .says(Initiator, &send_name("a@one"))
            .says(Acceptor, b"sok")
            .says(Acceptor, &challenge("b@two"))
            .says(Initiator, &reply())
    }
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
    }
}

#[test]
fn a_whole_handshake_connects() {
    let mut play = Play::new();
    play.up_to_reply().says(Acceptor, &ack("C")).raw(Initiator, b"\0\0\0\0");
    let (seen, session) = play.session();
    assert_eq!((session.outcome, session.confidence), (Outcome::Connected, Confidence::Proven));
    assert_eq!((seen.state(), seen.traffic.initiator.ticks), (State::Open, 1));
    assert_eq!(seen.handshake.reached(), Some(MessageKind::ChallengeAck));
}

#[test]
fn a_close_right_after_the_reply_is_a_refused_cookie() {
    let mut play = Play::new();
    play.up_to_reply().fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::CookieMismatch, Some(Acceptor)));
    assert_eq!(play.session().1.confidence, Confidence::Likely);
}

#[test]
fn the_same_close_after_a_pause_is_aborted() {
    let mut play = Play::new();
    play.up_to_reply().waits(400).fin(Acceptor);
    let (_, session) = play.session();
    assert_eq!(session.outcome, Outcome::Aborted);
    assert_eq!(session.not_excluded, ["b@two refused the cookie"]);
}

#[test]
fn a_close_that_did_not_hear_the_reply_refuses_nothing() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two"));
    let heard = play.seq[0];
    play.says(Initiator, &reply());
    // B's FIN acknowledges A's stream up to before the reply.
    play.seq[0] = heard;
    play.segment(Acceptor, 0x11, b"");
    play.seq[0] = heard + 23;
    play.segment(Initiator, 0x11, b"");
    assert_eq!(play.outcome(), (Outcome::Aborted, Some(Acceptor)));
}

#[test]
fn a_refused_cookie_is_proven_when_both_are_known() {
    let mut play = Play::new();
    play.cookies.add(Cookie::new("mine", b"C"));
    play.known_of_others.related.acceptor_cookies = vec![Arc::from("theirs")];
    play.up_to_reply().fin(Acceptor);
    let (seen, session) = play.session();
    assert_eq!(session.confidence, Confidence::Proven);
    assert_eq!(seen.handshake.cookies.initiator.label().map(|label| &**label), Some("mine"));
}

#[test]
fn two_digests_that_contradict_each_other_are_a_mismatch_found_by_the_initiator() {
    let mut play = Play::new();
    play.cookies.add(Cookie::new("mine", b"C"));
    play.up_to_reply().says(Acceptor, &ack("other")).fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::CookieMismatch, Some(Initiator)));
    assert_eq!(play.session().1.confidence, Confidence::Proven);
}

#[test]
fn an_ack_that_nobody_can_judge_is_connected_and_only_possible() {
    let mut play = Play::new();
    play.up_to_reply().says(Acceptor, &ack("other")).fin(Initiator);
    let (_, session) = play.session();
    assert_eq!((session.outcome, session.confidence), (Outcome::Connected, Confidence::Possible));
}

#[test]
fn a_close_right_after_the_challenge_is_another_name() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two")).fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::NameMismatch, Some(Initiator)));
    assert_eq!(play.session().1.confidence, Confidence::Likely);
}

#[test]
fn a_reset_right_after_the_challenge_is_of_one_who_did_not_read_it() {
    let mut play = Play::new();
    play.known_of_others.related.lookup = Some(lookup("c", 6));
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two")).segment(Initiator, 0x14, b"");
    assert_eq!(play.outcome(), (Outcome::Aborted, Some(Initiator)));
}

#[test]
fn another_alive_name_than_asked_for_proves_it() {
    let mut play = Play::new();
    play.known_of_others.related.lookup = Some(lookup("c", 6));
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two")).fin(Initiator);
    let (_, session) = play.session();
    assert_eq!((session.outcome, session.confidence), (Outcome::NameMismatch, Confidence::Proven));
}

#[test]
fn a_missing_mandatory_flag_is_the_version() {
    let mut play = Play::new();
    // OTP 23.2: neither V4_NC nor UNLINK_ID, which 26 and later demand.
    play.open().says(Initiator, &send_name_with("a@one", 0x1_01df_7fbd));
    play.says(Acceptor, b"snot_allowed").fin(Acceptor);
    let (_, session) = play.session();
    assert_eq!(session.outcome, Outcome::VersionMismatch);
    assert_eq!(session.missing_flag_names(), ["UNLINK_ID", "V4_NC"]);
}

#[test]
fn not_allowed_with_every_flag_is_the_list() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"snot_allowed");
    play.fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::NotAllowed, Some(Acceptor)));
}

#[test]
fn a_new_hello_closed_by_a_version_5_acceptor_is_the_version() {
    let mut play = Play::new();
    play.known_of_others.related.acceptor_version = Some(5);
    play.open().says(Initiator, &send_name("a@one")).fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::VersionMismatch, Some(Acceptor)));
}

#[test]
fn nok_is_superseded() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"snok").fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::Superseded, Some(Acceptor)));
}

#[test]
fn a_dial_dropped_for_the_other_sides_is_superseded() {
    let mut play = Play::new();
    play.known_of_others.related.crossed = true;
    play.open().says(Initiator, &send_name("a@one")).fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::Superseded, Some(Initiator)));
}

#[test]
fn a_dial_may_be_dropped_before_its_first_word() {
    let mut play = Play::new();
    (play.known_of_others.related.crossed, play.known_of_others.related.dialed_back) = (true, true);
    play.open().fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::Superseded, Some(Initiator)));
    let mut play = Play::new();
    play.open().fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::Aborted, Some(Initiator)), "nobody had dialed back");
}

#[test]
fn a_dial_dropped_at_the_very_end_of_the_capture_is_undecided() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).fin(Initiator);
    assert_eq!(play.outcome().0, Outcome::Incomplete);
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).fin(Initiator).time_goes_on(3);
    assert_eq!(play.outcome(), (Outcome::Aborted, Some(Initiator)));
}

#[test]
fn alive_and_false_is_already_connected() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"salive");
    play.says(Initiator, b"sfalse").fin(Acceptor);
    assert_eq!(play.outcome().0, Outcome::AlreadyConnected);
}

#[test]
fn silence_and_a_close_by_the_one_who_waited_is_a_timeout() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).waits(7000).fin(Initiator);
    assert_eq!(play.outcome(), (Outcome::TimedOut, Some(Initiator)));
    let mut play = Play::new();
    play.open().waits(7000).fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::TimedOut, Some(Acceptor)));
}

#[test]
fn what_comes_after_the_first_close_changes_nothing() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).waits(7000);
    play.segment(Initiator, 0x11, b"").waits(3000).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two")).segment(Acceptor, 0x11, b"");
    assert_eq!(play.outcome(), (Outcome::TimedOut, Some(Initiator)));
}

#[test]
fn a_hole_makes_a_failure_incomplete() {
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).says(Acceptor, b"sok");
    play.says(Acceptor, &challenge("b@two")).loses(Initiator, 23).fin(Acceptor);
    play.time_goes_on(3);
    let (seen, session) = play.session();
    assert_eq!(session.outcome, Outcome::Incomplete);
    assert_eq!(seen.tcp.sides.initiator.missing_bytes, 23);
}

#[test]
fn frames_behind_a_hole_still_connect() {
    let mut play = Play::new();
    play.up_to_reply().loses(Acceptor, 19).raw(Initiator, b"\0\0\0\x05p\x83haa");
    play.raw(Initiator, b"\0\0\0\0");
    assert_eq!(play.outcome().0, Outcome::Connected);
}

#[test]
fn one_direction_alone_accuses_nobody() {
    let mut play = Play::new();
    play.segment(Initiator, 0x02, b"").segment(Initiator, 0x10, b"");
    play.says(Initiator, &send_name("a@one")).says(Initiator, &reply());
    play.segment(Initiator, 0x11, b"").time_goes_on(3);
    assert_eq!(play.outcome().0, Outcome::Incomplete);
}

#[test]
fn a_syn_is_refused_by_reset_and_unanswered_by_nothing() {
    let mut play = Play::new();
    play.segment(Initiator, 0x02, b"").segment(Acceptor, 0x14, b"");
    assert_eq!(play.outcome().0, Outcome::Refused);
    let mut play = Play::new();
    play.segment(Initiator, 0x02, b"");
    assert_eq!(play.outcome().0, Outcome::Incomplete, "a SYN this young may yet be answered");
    play.time_goes_on(60);
    assert_eq!(play.outcome().0, Outcome::Unanswered);
}

#[test]
fn what_may_have_been_lost_is_not_told_as_silence() {
    let lost = |since_syn: i64| {
        let mut play = Play::new();
        play.segment(Initiator, 0x02, b"");
        play.known_of_others.lost_until =
            Some(Timestamp(play.at.0.saturating_add_signed(since_syn * 1_000_000_000)));
        play.time_goes_on(60);
        play.outcome().0
    };
    assert_eq!(lost(2), Outcome::Incomplete, "the answer may be what was lost");
    assert_eq!(lost(-2), Outcome::Unanswered, "nothing was lost since");
    let mut play = Play::to_epmd();
    play.segment(Initiator, 0x02, b"");
    play.known_of_others.lost_until = Some(play.at.after(Duration::from_secs(2)));
    play.time_goes_on(1000);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Incomplete]);
}

#[test]
fn tls_to_a_plain_node_is_waited_out() {
    let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
    hello.extend([0; 54]);
    let mut play = Play::new();
    play.open().raw(Initiator, &hello).waits(7000).fin(Initiator);
    assert_eq!(play.outcome().0, Outcome::TlsMismatch);
    let mut play = Play::new();
    play.open().says(Initiator, &send_name("a@one")).raw(Acceptor, b"\x15\x03\x03\0\x02\x02\x0a");
    play.fin(Acceptor);
    assert_eq!(play.outcome(), (Outcome::TlsMismatch, Some(Acceptor)));
}

#[test]
fn http_on_a_node_port_is_no_distribution() {
    let mut play = Play::new();
    play.open().raw(Initiator, b"GET / HTTP/1.1\r\n\r\n").waits(7000).fin(Acceptor);
    let (seen, session) = play.session();
    assert_eq!(session.outcome, Outcome::NotDistribution);
    assert_eq!(seen.foreign().unwrap().looks_like, "an HTTP request");
}

#[test]
fn time_alone_ends_every_connection_and_never_stands_still() {
    type Step = fn(&mut Play) -> &mut Play;
    let stories: [Step; 8] = [
        |play| play.segment(Initiator, 0x02, b""),
        |play| play.segment(Initiator, 0x02, b"").waits(1000).segment(Initiator, 0x10, b""),
        |play| play.open(),
        |play| play.open().says(Initiator, &send_name("a@one")),
        |play| play.up_to_reply().segment(Acceptor, 0x11, b""),
        |play| play.up_to_reply().fin(Acceptor),
        |play| play.up_to_reply().says(Acceptor, &ack("C")),
        |play| play.up_to_reply().loses(Acceptor, 19).raw(Acceptor, b"\0\0\0\0"),
    ];
    for (n, story) in stories.iter().enumerate() {
        for mut play in [Play::new(), Play::to_epmd()] {
            story(&mut play).time_goes_on(100_000);
            assert!(play.connection.is_none(), "story {n} is not forgotten");
        }
    }
}

fn epmd_outcomes(play: &mut Play) -> Vec<EpmdOutcome> {
    let Play { limits, cookies, known_of_others, reassembly, said, pool, .. } = play;
    let setting = setting(limits, cookies, reassembly, pool, known_of_others);
    if let Some(connection) = &mut play.connection {
        connection.on_end(play.at, &setting, said);
    }
    let outcomes = said.observed().filter_map(|body| match body {
        Observed::Epmd(epmd) => Some(epmd.outcome),
        _ => None,
    });
    outcomes.collect()
}

#[test]
fn epmd_answers_refuses_and_keeps_silent() {
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb");
    play.raw(Acceptor, b"w\0\x23\x8c\x4d\0\0\x06\0\x05\0\x01b\0\0").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Answered]);
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"znope").raw(Acceptor, b"w\x01").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::NotRegistered]);
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"z").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::NoReply]);
    let mut play = Play::to_epmd();
    play.open().raw(Initiator, b"GET / HTTP/1.0\r\n").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Malformed]);
}

#[test]
fn a_registration_lasts_as_long_as_its_connection() {
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"x\x23\x8c\x4d\0\0\x06\0\x05\0\x01b\0\0");
    play.raw(Acceptor, b"v\0\x6b\x03\x09\x3b").time_goes_on(1_000_000);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Answered]);
    play.fin(Initiator);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Answered, EpmdOutcome::Unregistered]);
}

#[test]
fn a_late_answer_still_counts() {
    let mut play = Play::to_epmd();
    play.segment(Initiator, 0x02, b"").time_goes_on(30);
    assert_eq!(play.said.observed().count(), 1, "told as unanswered");
    play.segment(Acceptor, 0x12, b"").says(Initiator, b"znope").raw(Acceptor, b"w\x01");
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Unanswered, EpmdOutcome::NotRegistered]);
}

/// The record of a request that was not answered, and that alone.
fn unanswered(play: &mut Play) -> EpmdPackets {
    assert_eq!(epmd_outcomes(play), [EpmdOutcome::NoReply]);
    let Some(Observed::Epmd(epmd)) = play.said.observed().next() else { panic!("{:?}", play.said) };
    epmd.seen.clone()
}

#[test]
fn who_gave_up_on_a_request_is_told_by_who_closed() {
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb").segment(Acceptor, 0x10, b"").waits(7000);
    play.segment(Initiator, 0x11, b"").segment(Acceptor, 0x10, b"").time_goes_on(3);
    assert_eq!(play.said.observed().count(), 1, "told while the port mapper still hangs");
    let seen = unanswered(&mut play);
    assert_eq!(seen.closed_by, Some(Initiator));
    assert!(seen.is_acknowledged && seen.is_whole && !seen.is_unread && !seen.is_pipelined);
    assert!(seen.close.unwrap().at.since(seen.request.unwrap().at) >= Duration::from_secs(7));
}

#[test]
fn an_answer_tells_whether_the_asker_had_left() {
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb").waits(2000).segment(Initiator, 0x11, b"");
    play.raw(Acceptor, b"w\x01");
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::NotRegistered]);
    let Some(Observed::Epmd(epmd)) = play.said.observed().next() else { panic!("{:?}", play.said) };
    assert_eq!(epmd.seen.closed_by, Some(Initiator));
    assert!(epmd.seen.close.unwrap().at < epmd.seen.reply.unwrap().at);
}

#[test]
fn a_request_that_was_read_is_told_from_one_that_was_not() {
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb").fin(Acceptor);
    let seen = unanswered(&mut play);
    assert!(seen.closed_by == Some(Acceptor) && !seen.is_unread && seen.is_acknowledged);
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb").segment(Acceptor, 0x14, b"");
    assert!(unanswered(&mut play).is_unread, "reset");
    // The FIN crosses the request.
    let mut play = Play::to_epmd();
    play.open().says(Initiator, b"zb");
    play.seq[0] -= 4;
    play.segment(Acceptor, 0x11, b"");
    play.seq[0] += 4;
    play.segment(Initiator, 0x11, b"");
    let seen = unanswered(&mut play);
    assert!(seen.is_unread && !seen.is_acknowledged);
}

#[test]
fn a_second_request_shows_in_what_is_told_of_the_first() {
    let mut play = Play::to_epmd();
    play.open().raw(Initiator, b"\0\x01n\0\x01n").fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::NoReply; 2]);
    for body in play.said.observed() {
        let Observed::Epmd(epmd) = body else { continue };
        assert!(epmd.seen.is_pipelined);
    }
}

#[test]
fn a_connection_on_which_nobody_said_a_word_is_mute() {
    let mut play = Play::to_epmd();
    play.open().fin(Acceptor);
    assert_eq!(epmd_outcomes(&mut play), [EpmdOutcome::Incomplete]);
    let Some(Observed::Epmd(epmd)) = play.said.observed().next() else { panic!("{:?}", play.said) };
    let seen = &epmd.seen;
    assert!(seen.is_mute && seen.is_whole && seen.closed_by == Some(Acceptor));
}

/// A connected pair, of which A ticks every four seconds, and B answers as often as `answers` says.
fn ticking(answers: u32) -> Play {
    let mut play = Play::new();
    play.up_to_reply().says(Acceptor, &ack("C"));
    for n in 0..8 {
        play.time_goes_on(4);
        play.raw(Initiator, &[0; 4]);
        if n < answers {
            play.raw(Acceptor, &[0; 4]);
        }
    }
    play
}

fn silences(play: &Play) -> Vec<Role> {
    let silent = play.said.observed().filter_map(|body| match body {
        Observed::Connection(seen) => match seen.occasion {
            Occasion::Silent { role, .. } => Some(role),
            _ => None,
        },
        _ => None,
    });
    silent.collect()
}

#[test]
fn a_side_that_falls_silent_is_told_before_the_other_gives_up_on_it_and_once() {
    assert_eq!(silences(&ticking(3)), [Acceptor]);
    assert_eq!(silences(&ticking(8)), []);
}

#[test]
fn where_both_are_silent_nobody_waits() {
    let mut play = ticking(8);
    play.time_goes_on(60);
    assert_eq!(silences(&play), []);
}
