//! Captures whose reports differ most: a mesh with a stranger, a storm of attempts, hostile names, nothing at all.

use std::time::Duration;

use crate::support::capture_builder::{CaptureBuilder, End};

/// Five nodes that are all connected, two of them on one host, and a sixth with another cookie that dials two of them.
pub(super) fn mesh_with_a_stranger() -> CaptureBuilder {
    mesh(&[0, 1, 2, 3, 4], &["a", "b", "c", "d", "e"])
}

/// The same, with the connections in another order.
pub(super) fn mesh_in_another_order() -> CaptureBuilder {
    mesh(&[3, 1, 4, 0, 2], &["a", "b", "c", "d", "e"])
}

/// A mesh of nodes with these names; `order` is that of their dials.
pub(super) fn mesh(order: &[usize], names: &[&str]) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    let host = |n: usize| if n == 4 { 3 } else { n };
    let node = |n: usize| format!("{}@host{}", names[n], host(n));
    let end = |n: usize, port: u16| format!("10.0.0.{}:{port}", 10 + host(n));
    for (at, &from) in order.iter().enumerate() {
        for (step, &to) in order.iter().enumerate().skip(at + 1) {
            // One of a pair always dials, whichever comes first.
            let (from, to) = (from.min(to), from.max(to));
            let port = 40_000 + (from * 10 + to) as u16;
            let mut link = capture.connect(&end(from, port), &end(to, 9100 + to as u16));
            link.send_name(&node(from)).send_status("ok").send_challenge(&node(to), step as u32);
            link.send_challenge_reply("secret", step as u32, 7).send_challenge_ack("secret", 7);
            link.wait(Duration::from_millis(50)).send_tick(End::Initiator);
            link.send_tick(End::Acceptor);
        }
    }
    for to in [0, 2] {
        for attempt in 0..3 {
            let from = format!("10.0.0.99:{}", 50_000 + to * 10 + attempt);
            let mut dial = capture.connect(&from, &end(to, 9100 + to as u16));
            dial.send_name("stranger@host99").send_status("ok").send_challenge(&node(to), 5);
            dial.send_challenge_reply("wrong", 5, 7).close(End::Acceptor);
            dial.wait(Duration::from_millis(300));
        }
    }
    capture
}

/// A node that dials another one so many times, whose port is closed.
pub(super) fn storm(attempts: u32) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for attempt in 0..attempts {
        if attempt % 1000 == 0 {
            capture.epmd_lookup("10.0.0.1:39999", "10.0.0.2:4369", "two", Some(9100));
        }
        let from = format!("10.0.0.1:{}", 10_000 + attempt);
        capture.dial(&from, "10.0.0.2:9100").reset(End::Acceptor);
        capture.wait(Duration::from_millis(40));
    }
    capture
}

/// Names that are markup, change the direction of text, control a terminal, or fill a line.
pub(super) const HOSTILE: [&str; 5] = [
    "<img src=x onerror=alert(1)>",
    "\u{202e}gnp.exe\u{2066}",
    "x\u{fdfd}\u{fdfd}*_`[a](http://b)|{{ 7*7 }}&amp;\"'",
    "\x1b[2J\x07\r\n",
    "n",
];

/// A mesh of nodes with hostile names, of which the last has 245 characters.
pub(super) fn hostile() -> CaptureBuilder {
    let long = "n".repeat(245);
    let mut names = HOSTILE.to_vec();
    names[4] = &long;
    mesh(&[0, 1, 2, 3, 4], &names)
}

/// So many nodes on so many hosts, each of which dials the next one and is refused its cookie by the third.
pub(super) fn crowd(nodes: u16) -> CaptureBuilder {
    let mut capture = CaptureBuilder::new();
    for n in 0..nodes {
        for (step, cookie) in [(1, "right"), (2, "wrong")] {
            let to = (n + step) % nodes;
            let [from_ip, to_ip] = [n, to].map(|n| format!("10.1.{}.{}", n / 200, n % 200 + 1));
            let (from, to_end) = (format!("{from_ip}:{}", 20_000 + step), format!("{to_ip}:9100"));
            let mut link = capture.connect(&from, &to_end);
            link.send_name(&format!("n{n}@{from_ip}")).send_status("ok");
            link.send_challenge(&format!("n{to}@{to_ip}"), 5).send_challenge_reply(cookie, 5, 7);
            if cookie == "right" {
                link.send_challenge_ack(cookie, 7).send_tick(End::Initiator);
            }
            link.close(End::Acceptor);
        }
    }
    capture
}
