//! What tests of a live run share: the program as a child, the lines it prints, and a dial between two nodes
//! played over real TCP on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Starts the program that is to listen on loopback. It reports on standard error when the capture is open, or
/// why it cannot be: then the group is skipped.
pub(crate) fn listening(group: &str, command: &mut Command) -> Option<Child> {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    if !line.starts_with("listening on lo") {
        child.wait().unwrap();
        super::skip(group, line.trim_end());
        return None;
    }
    // Kept open, so that nothing written there later fails.
    thread::spawn(move || stderr.read_to_string(&mut String::new()));
    Some(child)
}

/// The events it prints, as they come.
pub(crate) fn events(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str(&line).unwrap());
        }
    });
    events
}

/// The next event for which `is_meant` holds.
pub(crate) fn wait_for(
    events: &Receiver<Value>,
    limit: Duration,
    is_meant: impl Fn(&Value) -> bool,
) -> Value {
    let until = Instant::now() + limit;
    let mut others = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let event = events.recv_timeout(left);
        let event =
            event.unwrap_or_else(|_| panic!("the event does not come; others: {others:#?}"));
        if is_meant(&event) {
            return event;
        }
        others.push(event);
    }
}

pub(crate) fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal, by the shell: small systems have no other `kill`.
pub(crate) fn signal(child: &Child, name: &str) {
    let command = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}

/// Both ends of a new connection.
pub(crate) fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (b, _) = listener.accept().unwrap();
    (a, b)
}

/// A handshake up to the challenge: `one@127.0.0.1` dials `two@127.0.0.1`.
pub(crate) fn challenged(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let (mut a, mut b) = connected(listener);
    send_name(&mut a);
    send(&mut b, b"sok");
    send(&mut b, &hello(&[0, 0, 0, 77, 0, 0, 0, 2], "two@127.0.0.1"));
    (a, b)
}

/// The first message of the handshake.
pub(crate) fn send_name(initiator: &mut TcpStream) {
    send(initiator, &hello(&[0, 0, 0, 1], "one@127.0.0.1"));
}

/// A dial that is refused over the cookie.
pub(crate) fn refused_cookie(listener: &TcpListener) {
    let (mut a, mut b) = challenged(listener);
    send(&mut a, &[b"r".as_slice(), &[7; 20]].concat());
    let _ = b.read(&mut [0; 1024]).unwrap();
    drop(b);
    let _ = a.read_to_end(&mut Vec::new());
}

fn send(stream: &mut TcpStream, message: &[u8]) {
    let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).unwrap();
    thread::sleep(Duration::from_millis(20));
}

/// `N`, flags of OTP 25, and what is between them and the name.
fn hello(between: &[u8], name: &str) -> Vec<u8> {
    let mut message = vec![b'N'];
    message.extend(0xd_07df_7fbd_u64.to_be_bytes());
    message.extend(between);
    message.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    message.extend(name.as_bytes());
    message
}
