//! The program on a real interface: loopback, with a connection played over real TCP.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::support::live::{
    self, challenged, connected, events, listening, refused_cookie, send_name, signal,
};
use serde_json::Value;

/// The program at work, and the lines it prints as they come.
struct LiveLoop {
    child: Child,
    lines: Receiver<Value>,
}

impl LiveLoop {
    /// Starts on loopback for the connections to `port`; `None` where that is not allowed.
    fn start(port: u16) -> Option<Self> {
        Self::start_with(port, &[])
    }

    fn start_with(port: u16, more: &[&str]) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_beamscope"));
        command
            .args(["-i", "lo", "--json", "-l", "--dist-port", &port.to_string()])
            .args(more)
            .stdout(Stdio::piped());
        let mut child = listening("live", &mut command)?;
        let lines = events(child.stdout.take().unwrap());
        Some(Self { child, lines })
    }

    /// The next event for which `is_meant` holds.
    fn wait_for(&self, limit: Duration, is_meant: impl Fn(&Value) -> bool) -> Value {
        live::wait_for(&self.lines, limit, is_meant)
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Ctrl-C: the run ends with its final statistics.
    fn stop(mut self) {
        self.signal("INT");
        let stats = self.wait_for(Duration::from_secs(10), |line| line["event_type"] == "stats");
        assert_eq!(stats["stats"]["final"], true);
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_refused_cookie_is_reported_while_it_happens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(watch) = LiveLoop::start(listener.local_addr().unwrap().port()) else { return };
    refused_cookie(&listener);
    let found = watch.wait_for(Duration::from_secs(5), |line| line["event_type"] == "finding");
    assert_eq!(found["finding"]["rule"], "cookie-mismatch");
    assert_eq!(found["finding"]["title"], "two@127.0.0.1 refused the cookie of one@127.0.0.1");
    watch.stop();
}

#[test]
fn the_cluster_is_reported_on_an_interval_and_on_a_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(watch) = LiveLoop::start_with(port, &["--cluster-interval", "1"]) else { return };
    drop(challenged(&listener).0);
    let names = |line: &Value| {
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
fn a_stalled_handshake_is_reported_on_a_quiet_link() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(watch) = LiveLoop::start(listener.local_addr().unwrap().port()) else { return };
    let (mut a, _b) = connected(&listener);
    send_name(&mut a);
    // Not a packet more: only the time that passes can show it.
    let reported = watch.wait_for(Duration::from_secs(25), |line| {
        line["event_type"] == "session" && line["session"]["close"] == "idle"
    });
    assert_eq!(reported["session"]["reached"], "send_name");
    assert_eq!(reported["session"]["outcome"], "incomplete");
    watch.stop();
}

#[test]
fn a_terminated_run_ends_cleanly() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(mut watch) = LiveLoop::start(listener.local_addr().unwrap().port()) else { return };
    assert!(watch.child.try_wait().unwrap().is_none());
    watch.signal("TERM");
    watch.wait_for(Duration::from_secs(10), |line| line["event_type"] == "stats");
    assert_eq!(watch.child.wait().unwrap().code(), Some(0));
}
