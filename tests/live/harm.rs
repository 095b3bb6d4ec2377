//! What happens to a live capture, and what it must not do to others: readers that stop, interfaces that go
//! away, signals, rights. In network namespaces of its own, which needs root.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::live::{self, events, signal};
use crate::support::{TestDir, beamscope, machine, skip};
use serde_json::Value;

/// For what takes a moment on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// For all connections of one [`helper`].
const DIALS_AT_MOST: Duration = Duration::from_secs(120);

/// A network namespace with loopback up, gone at the end.
struct Net(String);

impl Net {
    /// `None`, with a line that gives the reason, where namespaces cannot be made.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self(format!("bsharm{}-{count}", std::process::id()));
        let made =
            Command::new("ip").args(["netns", "add", &net.0]).stderr(Stdio::piped()).output();
        let reason = match made {
            Ok(made) if made.status.success() => {
                net.ip(&["link", "set", "lo", "up"]);
                return Some(net);
            }
            Ok(made) => String::from_utf8_lossy(&made.stderr).trim_end().to_owned(),
            Err(error) => format!("ip: {error}"),
        };
        std::mem::forget(net);
        skip("live-harm", &format!("no network namespace of its own: {reason}"));
        None
    }

    /// Two with a cable between `va`, 10.9.0.1, and `vb`, 10.9.0.2.
    fn pair() -> Option<(Self, Self)> {
        let (here, there) = (Self::new()?, Self::new()?);
        here.ip(&["link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", &there.0]);
        here.ip(&["addr", "add", "10.9.0.1/24", "dev", "va"]);
        there.ip(&["addr", "add", "10.9.0.2/24", "dev", "vb"]);
        here.ip(&["link", "set", "va", "up"]);
        there.ip(&["link", "set", "vb", "up"]);
        Some((here, there))
    }

    fn ip(&self, arguments: &[&str]) {
        let done = Command::new("ip").args(["-n", &self.0]).args(arguments).status().unwrap();
        assert!(done.success(), "ip {arguments:?}");
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program.as_ref());
        command
    }

    /// This very program, doing what [`helper`] does, in the namespace.
    fn helper(&self, what: &str) -> Child {
        let mut command = self.command(std::env::current_exe().unwrap());
        command
            .args(["--exact", "live::harm::helper", "--nocapture"])
            .env("BEAMSCOPE_HELPER", what);
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// So many connections to a port mapper that is not there: an event each. As many a second as any
    /// build of the program bears.
    fn dial(&self, to: &str, count: u32) {
        assert!(self.helper(&format!("dial {to} {count} 4000")).wait().unwrap().success());
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Not a test: what other tests let a copy of this program do in a namespace.
#[test]
fn helper() {
    let Ok(what) = std::env::var("BEAMSCOPE_HELPER") else { return };
    match what.split(' ').collect::<Vec<_>>().as_slice() {
        ["dial", to, count, rate] => {
            let to: SocketAddr = format!("{to}:4369").parse().unwrap();
            let (began, rate): (_, f64) = (Instant::now(), rate.parse().unwrap());
            let (mut left, mut done): (u32, _) = (count.parse().unwrap(), 0.0);
            while left > 0 {
                // A test that failed no longer waits for this process, and may have removed the interface.
                assert!(began.elapsed() < DIALS_AT_MOST, "{left} connections are left");
                // A kernel under load does not answer each SYN; this outlasts one that is sent again.
                let tried = TcpStream::connect_timeout(&to, Duration::from_secs(5));
                let is_refused =
                    tried.err().map(|e| e.kind()) == Some(ErrorKind::ConnectionRefused);
                left -= u32::from(is_refused);
                done += 1.0;
                while began.elapsed().as_secs_f64() < done / rate {
                    thread::sleep(Duration::from_micros(100));
                }
            }
        }
        ["flood", rate, seconds] => {
            let (rate, seconds): (f64, f64) = (rate.parse().unwrap(), seconds.parse().unwrap());
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let began = Instant::now();
            let mut sent = 0.0;
            while began.elapsed().as_secs_f64() < seconds {
                while sent < began.elapsed().as_secs_f64() * rate {
                    let _ = socket.send_to(&[0; 500], "127.0.0.1:9");
                    sent += 1.0;
                }
                thread::sleep(Duration::from_micros(200));
            }
        }
        other => panic!("{other:?}"),
    }
}

/// The program at work in a namespace.
struct LiveLoop {
    child: Child,
    stdout: Option<ChildStdout>,
    /// Standard error after the line that it listens.
    stderr: Receiver<String>,
    /// The lines it printed before.
    state: String,
}

impl LiveLoop {
    fn start(net: &Net, arguments: &[&str]) -> Self {
        Self::spawn(net.command(env!("CARGO_BIN_EXE_beamscope")).args(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut state = String::new();
        while !state.contains("listening on") {
            assert!(stderr.read_line(&mut state).unwrap() > 0, "{state}");
        }
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stdout = child.stdout.take();
        Self { child, stdout, stderr: lines, state }
    }

    /// From now on, its lines are read.
    fn read(&mut self) -> Receiver<Value> {
        events(self.stdout.take().unwrap())
    }

    fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A line of /proc/PID/status, without its name.
    fn status(&self, name: &str) -> String {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_default().to_owned()
    }
}

impl Drop for LiveLoop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for(lines: &Receiver<Value>, is_meant: impl Fn(&Value) -> bool) -> Value {
    live::wait_for(lines, SOON, is_meant)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    live::wait_until(what, SOON, is_so);
}

fn is_refusal(line: &Value) -> bool {
    line["epmd"]["outcome"] == "connection_refused"
}

/// A folder that others may look into.
fn open_folder(name: &str) -> TestDir {
    let folder = TestDir::new(name);
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn a_reader_that_leaves_ends_the_run_on_a_quiet_link() {
    let Some(net) = Net::new() else { return };
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json"]);
    drop(watch.stdout.take());
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn a_reader_that_stops_costs_no_packet() {
    let Some(net) = Net::new() else { return };
    let _alone = machine();
    // As an optimised build is to bear it; the other is several times slower.
    let rate = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json"]);
    // More than a pipe holds, so that the writer blocks.
    net.dial("127.0.0.1", 1000);
    assert!(net.helper(&format!("flood {rate} 10")).wait().unwrap().success());
    let lines = watch.read();
    watch.signal("INT");
    let stats = wait_for(&lines, |line| line["stats"]["final"] == true);
    assert_eq!(stats["stats"]["kernel_drops"], 0, "{stats}");
    assert_eq!(stats["stats"]["left_out"], 0, "{stats}");
    assert!(stats["stats"]["packets"].as_u64().unwrap() > rate * 5, "{stats}");
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn what_a_reader_that_stops_has_no_room_for_is_counted_and_reported() {
    let Some(net) = Net::new() else { return };
    let _alone = machine();
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json"]);
    net.dial("127.0.0.1", 60_000);
    // As text: so many lines are not looked at one by one in time.
    let mut stdout = watch.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    watch.signal("TERM");
    let text = reader.join().unwrap();
    assert_eq!(watch.wait().code(), Some(0));
    let of_type = |name| format!(r#""event_type":"{name}""#);
    assert_eq!(text.matches(&of_type("finding")).count(), 1, "it outlives the rest");
    let last = text.lines().last().unwrap().to_owned();
    let reported = text.lines().find(|line| line.contains(&of_type("anomaly"))).expect(&last);
    assert!(reported.contains("slower than the capture"), "{reported}");
    let stats: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let left_out = stats["stats"]["left_out"].as_u64().unwrap();
    let missing = stats["seq"].as_u64().unwrap() - text.lines().count() as u64;
    assert!(left_out > 0 && left_out == missing, "{stats}");
    assert_eq!(stats["stats"]["complete"], false);
}

#[test]
fn a_slow_reader_gets_all_that_there_is_room_for() {
    let Some(net) = Net::new() else { return };
    let _alone = machine();
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json"]);
    net.dial("127.0.0.1", 2000);
    // Only now is anything read: more than a pipe holds has waited.
    let lines = watch.read();
    for expected in 1..=2000 {
        let line = lines.recv_timeout(SOON).unwrap();
        assert_eq!(line["seq"], expected, "{line}");
    }
    watch.signal("INT");
    let stats = wait_for(&lines, |line| line["stats"]["final"] == true);
    assert_eq!(
        (&stats["stats"]["left_out"], &stats["stats"]["epmd"]["connection_refused"]),
        (&0.into(), &2000.into())
    );
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn sigterm_under_load_ends_with_the_statistics() {
    let Some(net) = Net::new() else { return };
    let _alone = machine();
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json", "--only-findings"]);
    let lines = watch.read();
    let mut flood = net.helper("flood 200000 5");
    let mut dials = net.helper("dial 127.0.0.1 20000 20000");
    wait_for(&lines, |line| line["event_type"] == "finding");
    watch.signal("TERM");
    wait_for(&lines, |line| line["stats"]["final"] == true);
    assert_eq!(watch.wait().code(), Some(0));
    let _ = (flood.kill(), flood.wait(), dials.kill(), dials.wait());
}

#[test]
fn sighup_opens_the_output_anew_also_without_rights() {
    let Some(net) = Net::new() else { return };
    let folder = open_folder("sighup");
    let (file, moved) = (folder.file("events.ndjson"), folder.file("events.ndjson.1"));
    std::os::unix::fs::chown(&folder.0, Some(65_534), Some(65_534)).unwrap();
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "-o", &file, "-v", "-Z", "65534:65534"]);
    let refusals = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .filter(|line| is_refusal(&serde_json::from_str(line).unwrap_or_default()))
            .count()
    };
    net.dial("127.0.0.1", 3);
    wait_until("three events in the first file", || refusals(&file) == 3);
    fs::rename(&file, &moved).unwrap();
    watch.signal("HUP");
    wait_until("the file is made again", || Path::new(&file).exists());
    net.dial("127.0.0.1", 2);
    wait_until("two events in the second file", || refusals(&file) == 2);
    assert_eq!(refusals(&moved), 3);
    watch.signal("TERM");
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn sigusr1_shows_the_cluster_and_the_statistics() {
    let Some(net) = Net::new() else { return };
    let mut watch = LiveLoop::start(&net, &["-i", "lo", "--json", "--stats-interval", "1s"]);
    let lines = watch.read();
    let is_interim = |line: &Value| line["stats"]["final"] == false;
    wait_for(&lines, is_interim);
    wait_for(&lines, is_interim);
    watch.signal("USR1");
    wait_for(&lines, |line| line["event_type"] == "cluster");
    wait_for(&lines, is_interim);
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn an_interface_that_goes_down_and_comes_back_is_captured_from_again() {
    let Some((here, there)) = Net::pair() else { return };
    let mut watch = LiveLoop::start(&here, &["-i", "va", "--json"]);
    let lines = watch.read();
    here.dial("10.9.0.2", 1);
    assert_eq!(wait_for(&lines, is_refusal)["input"], "va");
    here.ip(&["link", "set", "va", "down"]);
    wait_for(&lines, |line| line["anomaly"]["kind"] == "interface_down");
    here.ip(&["link", "set", "va", "up"]);
    wait_for(&lines, |line| line["anomaly"]["kind"] == "interface_up");
    here.dial("10.9.0.2", 1);
    wait_for(&lines, is_refusal);
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
    drop(there);
}

#[test]
fn an_interface_that_disappears_is_named_and_the_others_go_on() {
    let Some((here, there)) = Net::pair() else { return };
    let mut watch = LiveLoop::start(&here, &["-i", "va", "-i", "lo", "--json"]);
    let lines = watch.read();
    here.ip(&["link", "del", "va"]);
    let gone = wait_for(&lines, |line| line["anomaly"]["kind"] == "interface_gone");
    assert_eq!(gone["input"], "va");
    let stderr = watch.stderr.recv_timeout(SOON).unwrap();
    assert!(stderr.starts_with("error: cannot capture from va"), "{stderr}");
    here.dial("127.0.0.1", 1);
    assert_eq!(wait_for(&lines, is_refusal)["input"], "lo");
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(2));
    drop(there);
}

#[test]
fn the_last_interface_that_disappears_ends_the_run() {
    let Some((here, there)) = Net::pair() else { return };
    let mut watch = LiveLoop::start(&here, &["-i", "va", "--json"]);
    let lines = watch.read();
    here.ip(&["link", "del", "va"]);
    wait_for(&lines, |line| line["stats"]["final"] == true);
    assert_eq!(watch.wait().code(), Some(2));
    drop(there);
}

#[test]
fn two_interfaces_make_one_timeline() {
    let Some((here, _there)) = Net::pair() else { return };
    let mut watch = LiveLoop::start(&here, &["-i", "va", "-i", "lo", "--json"]);
    let lines = watch.read();
    for _ in 0..10 {
        here.dial("10.9.0.2", 3);
        here.dial("127.0.0.1", 3);
    }
    let reported: Vec<_> = (0..60).map(|_| wait_for(&lines, is_refusal)).collect();
    for input in ["va", "lo"] {
        assert_eq!(reported.iter().filter(|line| line["input"] == input).count(), 30, "{input}");
    }
    assert!(reported.is_sorted_by_key(|line| line["timestamp"].as_str().unwrap().to_owned()));
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn any_shows_packets_of_all_interfaces() {
    let Some((here, _there)) = Net::pair() else { return };
    let mut watch = LiveLoop::start(&here, &["-i", "any", "--json"]);
    let lines = watch.read();
    here.dial("10.9.0.2", 1);
    assert_eq!(wait_for(&lines, is_refusal)["dest_ip"], "10.9.0.2");
    here.dial("127.0.0.1", 1);
    assert_eq!(wait_for(&lines, is_refusal)["dest_ip"], "127.0.0.1");
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
}

const NO_CAPABILITIES: &str = "0000000000000000";

/// Whether nothing is left that could be used, and nothing to come.
fn assert_without_rights(watch: &LiveLoop) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(watch.status(set), NO_CAPABILITIES, "{set}");
    }
    assert_eq!(watch.status("NoNewPrivs"), "1");
    assert!(watch.state.starts_with("privileges: running as "), "{}", watch.state);
    // Where the kernel has none, the state shows that.
    if watch.state.contains("; seccomp") {
        assert_eq!(watch.status("Seccomp"), "2");
    }
}

#[test]
fn root_keeps_no_right_once_it_listens() {
    let Some(net) = Net::new() else { return };
    let watch = LiveLoop::start(&net, &["-i", "lo", "-v", "--json"]);
    assert_without_rights(&watch);
    assert_eq!(watch.status("CapBnd"), NO_CAPABILITIES);
    let watch = LiveLoop::start(&net, &["-i", "lo", "-v", "--json", "-Z", "nobody"]);
    assert_without_rights(&watch);
    assert_eq!(watch.status("Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(watch.status("Groups").trim(), watch.status("Gid").split('\t').next().unwrap());
    let watch = LiveLoop::start(&net, &["-i", "lo", "-v", "--json", "--no-sandbox"]);
    assert_without_rights(&watch);
    assert!(watch.state.contains("sandbox: none"), "{}", watch.state);
    assert_eq!(watch.status("Seccomp"), "0");
}

#[test]
fn an_extract_of_an_interface_keeps_no_right_and_writes_on() {
    let Some(net) = Net::new() else { return };
    let folder = open_folder("harm-extract");
    let [file, moved, summary] = ["a.pcapng", "b.pcapng", "summary.json"].map(|it| folder.file(it));
    let size = |file: &str| fs::metadata(file).map_or(0, |it| it.len());
    let plain = LiveLoop::start(&net, &["-i", "lo", "-Z", "nobody"]);
    let arguments = ["extract", "-i", "lo", "-Z", "nobody", "-w", &file, "--summary", &summary];
    let mut watch = LiveLoop::start(&net, &arguments);
    for name in [
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapAmb",
        "CapBnd",
        "NoNewPrivs",
        "Seccomp",
        "Uid",
        "Gid",
        "Groups",
    ] {
        assert_eq!(watch.status(name), plain.status(name), "{name}");
    }
    assert_eq!(watch.status("CapEff"), NO_CAPABILITIES);
    net.dial("127.0.0.1", 10);
    wait_until("the packets are written", || size(&file) > 1_000);
    // Another program moves the file away, where it has the right to.
    fs::rename(&file, &moved).unwrap();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
    watch.signal("HUP");
    wait_until("there is a new file", || size(&file) > 0);
    net.dial("127.0.0.1", 10);
    watch.signal("TERM");
    assert_eq!(watch.wait().code(), Some(0));
    for file in [file, moved] {
        let counted = beamscope(&["--json", &file]).output().unwrap();
        assert!(counted.status.success(), "{counted:?}");
        let text = String::from_utf8(counted.stdout).unwrap();
        let stats: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        // A SYN and its refusal for each.
        assert_eq!(stats["stats"]["packets"], 20, "{file}");
    }
    let summary: Value = serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
    assert_eq!((&summary["packets"], &summary["kept"]), (&40.into(), &40.into()));
}

#[test]
fn an_extract_of_an_interface_ends_after_its_time() {
    let Some(net) = Net::new() else { return };
    let folder = open_folder("harm-extract-time");
    let file = folder.file("a.pcapng");
    let mut watch = LiveLoop::start(&net, &["extract", "-i", "lo", "-w", &file, "--duration", "1"]);
    assert_eq!(watch.wait().code(), Some(0));
    assert!(fs::metadata(&file).unwrap().len() > 0, "a section without packets");
}

/// The program for everybody, in a folder of its own.
fn copy(folder: &TestDir) -> String {
    let copy = folder.file("beamscope");
    fs::copy(env!("CARGO_BIN_EXE_beamscope"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

fn as_other_user(net: &Net, program: &str, arguments: &[&str]) -> Command {
    let mut command = net.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
    command.args(arguments);
    command
}

#[test]
fn an_ordinary_user_captures_with_the_one_capability() {
    let Some(net) = Net::new() else { return };
    let folder = open_folder("capability");
    let program = copy(&folder);
    let set = Command::new("setcap").args(["cap_net_raw=ep", &program]).status();
    if !set.is_ok_and(|set| set.success()) {
        skip("live-harm", "setcap does not work here");
        return;
    }
    let mut watch =
        LiveLoop::spawn(&mut as_other_user(&net, &program, &["-i", "lo", "-v", "--json"]));
    assert_without_rights(&watch);
    let lines = watch.read();
    net.dial("127.0.0.1", 1);
    wait_for(&lines, is_refusal);
    watch.signal("INT");
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn without_it_the_command_that_helps_is_printed() {
    let Some(net) = Net::new() else { return };
    let folder = open_folder("no-capability");
    let program = copy(&folder);
    let ended = as_other_user(&net, &program, &["-i", "lo", "-o", "/dev/null"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines[0].starts_with("error: cannot capture from lo: "), "{stderr}");
    assert_eq!(
        lines[1..],
        ["hint: allow it once: sudo setcap cap_net_raw=ep $(command -v beamscope)"]
    );
}

#[test]
fn a_user_who_is_not_root_stays_that_user() {
    let Some(net) = Net::new() else { return };
    let mut command = net.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]);
    let folder = open_folder("no-root");
    command.arg(copy(&folder)).args(["-i", "lo", "-Z", "0:0", "--duration", "1"]);
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(stderr.starts_with("error: cannot switch to user 0"), "{stderr}");
}

/// Nothing left of what a run has printed is lost when it is asked for little.
#[test]
fn a_count_ends_the_run_after_so_many_packets() {
    let Some(net) = Net::new() else { return };
    let mut watch =
        LiveLoop::start(&net, &["-i", "lo", "--json", "-c", "5", "-s", "96", "--immediate"]);
    let mut stdout = watch.stdout.take().unwrap();
    net.dial("127.0.0.1", 10);
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert!(text.lines().last().unwrap().contains(r#""packets":5,"#), "{text}");
    assert_eq!(watch.wait().code(), Some(0));
}
