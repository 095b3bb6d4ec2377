//! Properties over whole captures: however the packets are cut, doubled or reordered, the sessions and
//! findings are the same; and one packet less, or an earlier end, never turns into an accusation.

use crate::support::corpus;
use crate::support::packets::{Dice, Owned, Scene, doubled, load, reordered, resegmented};
use crate::support::story::{Story, difference, events, story};
use beamscope::decode::{Endpoint, TcpFlags};
use beamscope::packet::FrameRef;
use beamscope::protocol::digest::CandidateCookies;
use beamscope::record::{Body, Outcome};
use beamscope::time::Timestamp;

#[test]
fn cut_doubled_or_reordered_packets_give_the_same_results() {
    corpus::check_all(|path| {
        let mut wrong = Vec::new();
        let scene = load(path);
        let plain = story(&events(&scene, &scene.segments));
        let is_unfinished = |session: &&String| session.contains(" Established ");
        wrong.extend(plain.sessions.values().filter(is_unfinished).cloned());
        for seed in 0..ROUNDS {
            let mut dice = Dice(seed);
            let variants = [
                ("cut", resegmented(&scene.segments, &mut dice)),
                ("doubled", doubled(&scene.segments, &mut dice)),
                ("reordered", reordered(&scene.segments, WINDOW, &mut dice)),
                ("all", {
                    let cut = resegmented(&scene.segments, &mut dice);
                    let twice = doubled(&cut, &mut dice);
                    reordered(&twice, WINDOW, &mut dice)
                }),
            ];
            for (how, segments) in variants {
                let other = story(&events(&scene, &segments));
                if other != plain {
                    wrong.push(format!("{how} {seed}\n{}", difference(&plain, &other)));
                }
            }
        }
        wrong
    });
}

/// Seeds tried for each capture.
const ROUNDS: u64 = 8;

/// Places by which a packet may come late.
const WINDOW: usize = 3;

/// What may be left of an outcome when a packet is missing.
fn may_become(was: Outcome, is: Option<&Outcome>) -> bool {
    let Some(is) = is else { return true };
    *is == was
        || *is == Outcome::Incomplete
        || matches!(
            (was, is),
            (Outcome::Refused, Outcome::Unanswered)
                // Without its alert, what became of a connection with TLS is not known.
                | (Outcome::Aborted, Outcome::Tls)
                // Without the look-up, what EPMD reports about the acceptor is not known.
                | (Outcome::NameMismatch | Outcome::VersionMismatch, Outcome::Aborted)
        )
}

/// The rules that may fire on what is left of an outcome.
fn may_be_found(rule: &str, plain: &Story) -> bool {
    let is_found = |other: &str| plain.findings.iter().any(|finding| finding.starts_with(other));
    is_found(rule)
        || match rule {
            // What else is known of a port that refuses may be in the packet that is missing.
            "dist-port-blocked" => is_found("stale-registration"),
            "stale-registration" => is_found("dist-port-blocked"),
            "handshake-aborted" => is_found("name-mismatch") || is_found("version-mismatch"),
            // Without the PROXY header, all that is left is a node that does not answer.
            "handshake-timeout" => is_found("proxy-header"),
            // Without its close, a refused dial is judged later, when another one has proven the name at the same address.
            "cookie-mismatch" => {
                is_found("unproven-name")
                    && plain.outcomes.values().any(|was| *was == Outcome::CookieMismatch)
                    && plain.outcomes.values().any(|was| *was == Outcome::Connected)
            }
            _ => false,
        }
}

/// What a lesser capture claims that it should not.
fn found_in_lesser(scene: &Scene, plain: &Story, lesser: &[Owned], how: &str) -> Option<String> {
    let other = story(&events(scene, lesser));
    let mut bad = String::new();
    for (key, was) in &plain.outcomes {
        if !may_become(*was, other.outcomes.get(key)) {
            bad += &format!("  {key:?}: {was:?} became {:?}\n", other.sessions.get(key));
        }
    }
    for (key, is) in &other.outcomes {
        if !plain.outcomes.contains_key(key) && *is != Outcome::Incomplete {
            bad += &format!("  {key:?}: new, {}\n", other.sessions[key]);
        }
    }
    for finding in &other.findings {
        let rule = finding.split(' ').next().unwrap();
        if !may_be_found(rule, plain) {
            bad += &format!("  new finding {finding}\n");
        }
    }
    (!bad.is_empty()).then(|| format!("{how}\n{bad}"))
}

#[test]
fn one_packet_less_or_an_earlier_end_accuses_no_node() {
    corpus::check_all(|path| {
        let mut wrong = Vec::new();
        let scene = load(path);
        let plain = story(&events(&scene, &scene.segments));
        // Quadratic in the packets: long captures are sampled, evenly.
        let step = 1 + scene.segments.len() / PLACES;
        for place in (0..scene.segments.len()).step_by(step) {
            let mut lesser = scene.segments.clone();
            let gone = lesser.remove(place);
            let how = format!("without frame {}", gone.frame.number);
            wrong.extend(found_in_lesser(&scene, &plain, &lesser, &how));
            lesser.truncate(place);
            let how = format!("cut before frame {}", gone.frame.number);
            wrong.extend(found_in_lesser(&scene, &plain, &lesser, &how));
        }
        wrong
    });
}

/// Places of a capture at which it is cut, and a packet taken out.
const PLACES: usize = 400;

/// Segments as no honest host sends them: numbers anywhere, flags at random, bytes that are nearly
/// messages.
fn hostile(dice: &mut Dice, place: usize, clock_leaps: bool) -> Owned {
    const PAYLOADS: [&[u8]; 12] = [
        b"\0\x03sok",
        b"\0\x04snok",
        b"\0\x06salive",
        b"\0\x1aN\0\0\0\x01\x01\xdf\x7f\xbd\x6b\x03\x09\x21\0\x0ba@127.0.0.1",
        b"\0\x1eN\0\0\0\x01\x01\xdf\x7f\xbd\xd9\x93\x56\x36\x6b\x03\x09\x1f\0\x0bb@127.0.0.1",
        b"\0\x15r\0\0\0\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        b"\0\x11a\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        b"\0\0\0\x05p\x83haa\0\0\0\0",
        b"\xff\xff\xff\xff\x83D\0",
        b"\x16\x03\x01\0\x2c\x01\0\0\x28\x03\x03",
        b"\0\x02zb",
        b"w\0\x23\x8cM\0\0\x06\0\x05\0\x01b\0\0",
    ];
    let port = [4369, 9100, 9100, 50_000][dice.roll(4)];
    let client =
        Endpoint { ip: std::net::IpAddr::from([10, 0, 0, 1]), port: 40_000 + dice.roll(6) as u16 };
    let server = Endpoint { ip: std::net::IpAddr::from([10, 0, 0, 2]), port };
    let (src, dst) = if dice.roll(2) == 0 { (client, server) } else { (server, client) };
    let near = |dice: &mut Dice| match dice.roll(8) {
        0 => dice.roll(1 << 31) as u32 * 2,
        1 => u32::MAX - dice.roll(40) as u32,
        _ => dice.roll(80) as u32,
    };
    let mut payload = PAYLOADS[dice.roll(PAYLOADS.len())].to_vec();
    match dice.roll(5) {
        0 => payload.clear(),
        1 => payload.truncate(dice.roll(payload.len())),
        2 => {
            let byte = dice.roll(payload.len());
            payload[byte] ^= 1 << dice.roll(8);
        }
        _ => {}
    }
    let flags = [0x02, 0x12, 0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x14, 0x04, 0x3f][dice.roll(11)];
    // A clock that mostly goes on, sometimes leaps and sometimes goes back.
    let at = match dice.roll(50) {
        0 if clock_leaps => dice.roll(1 << 31) as u64 * 1_000_000_000,
        _ => 1_700_000_000_000_000_000 + place as u64 * 10_000_000,
    };
    Owned {
        frame: FrameRef { input: 0, number: place as u64 + 1 },
        at: Timestamp(at),
        src,
        dst,
        seq: near(dice),
        ack: near(dice),
        flags: TcpFlags(flags),
        ip_id: (dice.roll(2) == 0).then(|| dice.roll(4) as u16),
        ttl: if dice.roll(9) == 0 { dice.roll(256) as u8 } else { 64 },
        ip_header: Vec::new(),
        header: Vec::new(),
        payload,
        missing: if dice.roll(20) == 0 { dice.roll(70_000) as u32 } else { 0 },
    }
}

#[test]
fn hostile_segments_neither_panic_nor_keep_the_run_from_its_end() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let leaps = seed % 4 == 0;
        let segments: Vec<_> = (0..2000).map(|place| hostile(&mut dice, place, leaps)).collect();
        let scene = Scene {
            segments: Vec::new(),
            cookies: CandidateCookies::default(),
            epmd_ports: vec![4369],
        };
        let reported = events(&scene, &segments);
        let finals =
            reported.iter().filter(|event| matches!(event.body, Body::Stats { .. })).count();
        assert_eq!(finals, 1);
    }
}
