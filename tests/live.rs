//! The program on a real interface: loopback, with a connection played over real TCP.

#![cfg(all(feature = "live", target_os = "linux"))]
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The program at work, and the lines it prints as they come.
struct Watch {
    child: Child,
    lines: Receiver<serde_json::Value>,
}

impl Watch {
    /// Starts on loopback for the connections to `port`; `None` where that is not allowed.
    fn start(port: u16) -> Option<Self> {
        Self::start_with(port, &[])
    }

    fn start_with(port: u16, more: &[&str]) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_beamscope"))
            .args(["-i", "lo", "--json", "-l", "--dist-port", &port.to_string()])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        // It says on standard error when the capture is open, or why it cannot be.
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        if !said.starts_with("listening on lo") {
            child.wait().unwrap();
            println!("skipped: live: {}", said.trim_end());
            assert!(std::env::var("BEAMSCOPE_REQUIRE_ALL").as_deref() != Ok("1"), "{said}");
            return None;
        }
        // Kept open, so that nothing written there later fails.
        thread::spawn(move || stderr.read_to_string(&mut String::new()));
        Some(Self { child, lines })
    }

    /// The next event for which `is_meant` holds.
    fn wait_for(
        &self,
        limit: Duration,
        is_meant: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the event comes in time");
            if is_meant(&line) {
                return line;
            }
        }
    }

    /// Sends a signal, by the shell: small systems have no other `kill`.
    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Ctrl-C: the run ends with its final statistics.
    fn stop(mut self) {
        self.signal("INT");
        let stats = self.wait_for(Duration::from_secs(10), |line| line["event_type"] == "stats");
        assert_eq!(stats["stats"]["final"], true);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

fn says(stream: &mut TcpStream, message: &[u8]) {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).unwrap();
    thread::sleep(Duration::from_millis(20));
}

/// `N`, flags of OTP 25, and what stands between them and the name.
fn hello(between: &[u8], name: &str) -> Vec<u8> {
    let mut message = vec![b'N'];
    message.extend(0xd_07df_7fbd_u64.to_be_bytes());
    message.extend(between);
    message.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    message.extend(name.as_bytes());
    message
}

#[test]
fn a_refused_cookie_is_told_while_it_happens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(watch) = Watch::start(listener.local_addr().unwrap().port()) else { return };
    let mut a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut b, _) = listener.accept().unwrap();
    says(&mut a, &hello(&[0, 0, 0, 1], "one@127.0.0.1"));
    says(&mut b, b"sok");
    says(&mut b, &hello(&[0, 0, 0, 77, 0, 0, 0, 2], "two@127.0.0.1"));
    says(&mut a, &[b"r".as_slice(), &[7; 20]].concat());
    let mut reply = vec![0; 1024];
    let _ = b.read(&mut reply).unwrap();
    drop(b);
    let _ = a.read_to_end(&mut Vec::new());
    drop(a);
    let found = watch.wait_for(Duration::from_secs(5), |line| line["event_type"] == "finding");
    assert_eq!(found["finding"]["rule"], "cookie-mismatch");
    assert_eq!(found["finding"]["title"], "two@127.0.0.1 refused the cookie of one@127.0.0.1");
    watch.stop();
}

#[test]
fn the_cluster_is_told_on_an_interval_and_on_a_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(watch) = Watch::start_with(port, &["--cluster-interval", "1"]) else { return };
    let mut a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut b, _) = listener.accept().unwrap();
    says(&mut a, &hello(&[0, 0, 0, 1], "one@127.0.0.1"));
    says(&mut b, b"sok");
    says(&mut b, &hello(&[0, 0, 0, 77, 0, 0, 0, 2], "two@127.0.0.1"));
    drop(a);
    let names = |line: &serde_json::Value| {
        let nodes = line["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let both = ["one@127.0.0.1", "two@127.0.0.1"];
    watch.wait_for(Duration::from_secs(10), |line| names(line) == both);
    watch.wait_for(Duration::from_secs(10), |line| names(line) == both);
    watch.signal("USR1");
    let stats = watch.wait_for(Duration::from_secs(10), |line| line["event_type"] == "stats");
    assert_eq!(stats["stats"]["final"], false);
    watch.stop();
}

#[test]
fn a_stalled_handshake_is_told_on_a_quiet_link() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(watch) = Watch::start(listener.local_addr().unwrap().port()) else { return };
    let mut a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_b, _) = listener.accept().unwrap();
    says(&mut a, &hello(&[0, 0, 0, 1], "one@127.0.0.1"));
    // Not a packet more: the time that passes is all that can tell.
    let told = watch.wait_for(Duration::from_secs(25), |line| {
        line["event_type"] == "session" && line["session"]["close"] == "idle"
    });
    assert_eq!(told["session"]["reached"], "send_name");
    assert_eq!(told["session"]["outcome"], "incomplete");
    watch.stop();
}

#[test]
fn a_terminated_run_ends_cleanly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut watch) = Watch::start(listener.local_addr().unwrap().port()) else { return };
    assert!(watch.child.try_wait().unwrap().is_none());
    watch.signal("TERM");
    watch.wait_for(Duration::from_secs(10), |line| line["event_type"] == "stats");
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}
