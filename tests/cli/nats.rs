//! `--publish` and `merge --nats` with a real nats-server: the answer is that of one run, also when the server, the sensor or
//! the reader ends in the middle, and when messages come twice; what is missing is named.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::live::wait_until;
use crate::support::{SEED, TestDir, beamscope, lines_of, skip};

/// A capture with 26 attempts to connect, of which the first ones are over at half of its bytes.
const LOOP: &str = "captures/ping-loop-old-cookie.pcap";

/// Captures with a problem of their own: `not-allowed`, and `duplicate-node`.
const NOT_ALLOWED: &str = "captures/status-not-allowed.pcap";
const DUPLICATE: &str = "captures/duplicate-node.pcap";

/// A server on loopback that keeps its messages in a folder.
struct Server {
    child: Option<Child>,
    arguments: Vec<String>,
    port: u16,
}

impl Server {
    /// A server that is not running yet.
    fn away(dir: &TestDir, more: &[&str]) -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        let own = ["-js", "-a", "127.0.0.1", "-p"].map(str::to_owned).into_iter();
        let store = [port.to_string(), "-sd".to_owned(), dir.file("store")];
        let arguments = own.chain(store).chain(more.iter().map(|it| (*it).to_owned())).collect();
        let server = Self { child: None, arguments, port };
        if let Err(error) = server.command().arg("--version").output() {
            skip("NATS", &format!("nats-server: {error}; scripts/setup --full installs it"));
            return None;
        }
        Some(server)
    }

    fn running(dir: &TestDir) -> Option<Self> {
        let mut server = Self::away(dir, &[])?;
        server.start();
        Some(server)
    }

    fn command(&self) -> Command {
        // Debian has it among the programs of administrators.
        let path = env::var("PATH").unwrap_or_default();
        let mut command = Command::new("nats-server");
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).args(&self.arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&mut self) {
        self.child = Some(self.command().spawn().unwrap());
        // The server greets before it has read its store.
        wait_until("no nats-server", LIMIT, || self.try_ask("$JS.API.INFO", "").is_some());
    }

    /// Kills it: it has no time to write anything.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
        Ok(stream)
    }

    /// Publishes a message, and waits until the server has taken it.
    fn publish(&self, subject: &str, id: Option<&str>, payload: &str) {
        let mut stream = self.connect().unwrap();
        let headers =
            id.map_or_else(String::new, |id| format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n"));
        let (head, all) = (headers.len(), headers.len() + payload.len());
        let message = match id {
            Some(_) => format!("HPUB {subject} {head} {all}\r\n{headers}{payload}\r\nPING\r\n"),
            None => format!("PUB {subject} {all}\r\n{payload}\r\nPING\r\n"),
        };
        stream.write_all(message.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "PONG"));
    }

    /// The answer to a question of the API.
    fn try_ask(&self, subject: &str, payload: &str) -> Option<String> {
        let mut stream = self.connect().ok()?;
        let length = payload.len();
        let question = format!("SUB a 1\r\nPUB {subject} a {length}\r\n{payload}\r\nPING\r\n");
        stream.write_all(question.as_bytes()).ok()?;
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.skip_while(|line| !line.starts_with("MSG a ")).nth(1)
    }

    /// Number of messages in the stream.
    fn messages(&self) -> u64 {
        let answer = self.try_ask("$JS.API.STREAM.INFO.BEAMSCOPE", "").unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// What a merge prints, its errors, and its exit status.
    fn merged(&self) -> (String, String, i32) {
        ended(beamscope(&["merge", "--json", "--nats", &self.url()]).output().unwrap())
    }

    /// What a merge of everything prints.
    fn whole(&self) -> String {
        let (printed, errors, status) = self.merged();
        assert_eq!((&*errors, status), ("", 0));
        printed
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn ended(output: Output) -> (String, String, i32) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

/// Publishes what a run over a capture shows, with more arguments. What it prints, its errors and its status.
fn publish(
    url: &str,
    spool: &str,
    (capture, sensor): (&str, &str),
    more: &[&str],
) -> (String, String, i32) {
    let run = ["--json", capture, "--sensor", sensor, "--publish", url, "--spool", spool];
    ended(beamscope(&[&run, more].concat()).output().unwrap())
}

/// The same, where nothing may be wrong.
fn published(url: &str, spool: &str, of: (&str, &str)) {
    let (_, errors, status) = publish(url, spool, of, &[]);
    assert_eq!((&*errors, status), ("", 0), "{of:?}");
}

/// Files of a spool, without that which locks it.
fn spooled(spool: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(spool).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|it| it == "spool")).collect()
}

/// The rules of findings above info.
fn accused(printed: &str) -> Vec<String> {
    let events = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings = events.filter(|it| it["event_type"] == "finding");
    let findings = findings.filter(|it| it["finding"]["severity"] != "info");
    findings.map(|it| it["finding"]["rule"].to_string()).collect()
}

/// The final statistics, by which something is missing.
fn incomplete(printed: &str) -> Value {
    let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event_type"], &last["stats"]["complete"]), (&"stats".into(), &false.into()));
    last
}

#[test]
fn what_sensors_publish_gives_the_output_of_one_run() {
    let dir = TestDir::new("nats-equal");
    let Some(server) = Server::running(&dir) else { return };
    let (url, spool) = (server.url(), dir.file("spool"));
    published(&url, &spool, (SEED, "host-a"));
    assert_eq!(spooled(&spool), [""; 0].map(PathBuf::from), "all was acknowledged");
    let run = lines_of(&["--json", SEED]);
    assert_eq!(server.whole(), run);
    // The same run again, in a run of another number.
    published(&url, &spool, (SEED, "host-a"));
    assert_eq!(server.whole(), run);
    assert_eq!(lines_of(&["merge", "--text", "--nats", &url]), lines_of(&["--text", SEED]));
    // With a second sensor, and in any mix with files.
    let captures =
        ["dialer", "acceptor"].map(|end| format!("captures/translated-both-at-{end}.pcap"));
    let files = captures.each_ref().map(|capture| {
        let file = dir.file(&format!("{}.ndjson", capture.len()));
        published(&url, &dir.file("other"), (capture, capture));
        let run =
            ["--json", capture, "-o", "/dev/null", "--sensor", capture, "--observations", &file];
        lines_of(&run);
        file
    });
    let alone = dir.file("seed.ndjson");
    lines_of(&["--json", "-o", "/dev/null", SEED, "--sensor", "host-a", "--observations", &alone]);
    let of_files = lines_of(&["merge", "--json", &files[0], &files[1], &alone]);
    assert_eq!(server.whole(), of_files);
    assert_eq!(lines_of(&["merge", "--json", &files[1], "--nats", &url]), of_files);
}

#[test]
fn a_sensor_without_a_server_keeps_what_it_saw_for_the_next_run() {
    let dir = TestDir::new("nats-away");
    let Some(mut server) = Server::away(&dir, &[]) else { return };
    let (url, spool) = (server.url(), dir.file("spool"));
    let (printed, errors, status) = publish(&url, &spool, (SEED, "host-a"), &[]);
    assert_eq!((printed, status), (lines_of(&["--json", SEED]), 0));
    assert!(
        errors.contains(&format!("warning: cannot connect to 127.0.0.1:{}", server.port)),
        "{errors}"
    );
    assert!(errors.contains("they wait in"), "{errors}");
    let files = spooled(&spool);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(files.iter().map(|it| mode(it)).collect::<Vec<_>>(), [0o600]);
    assert_eq!(mode(Path::new(&spool)), 0o700);
    let kept = files.iter().map(|it| (it.clone(), fs::read(it).unwrap())).collect::<Vec<_>>();
    server.start();
    published(&url, &spool, (LOOP, "host-b"));
    assert_eq!(spooled(&spool).len(), 0);
    let both = server.whole();
    let other = TestDir::new("nats-away-other");
    let files = [(SEED, "host-a"), (LOOP, "host-b")].map(|(capture, sensor)| {
        let file = other.file(sensor);
        lines_of(&[
            "--json",
            "-o",
            "/dev/null",
            capture,
            "--sensor",
            sensor,
            "--observations",
            &file,
        ]);
        file
    });
    assert_eq!(both, lines_of(&["merge", "--json", &files[0], &files[1]]));
    // The acknowledgement did not arrive: the next run sends all again, under the same numbers.
    let messages = server.messages();
    kept.iter().for_each(|(path, lines)| fs::write(path, lines).unwrap());
    published(&url, &spool, (LOOP, "host-b"));
    let lines = fs::read_to_string(&files[1]).unwrap().lines().count() as u64;
    assert_eq!(server.messages(), messages + lines, "only the second run is new");
    assert_eq!(server.whole(), both);
}

/// A sensor that reads packets as they are given to it.
fn sensor_of_packets(url: &str, spool: &str) -> Child {
    let run = ["--json", "-", "--sensor", "a", "--publish", url, "--spool", spool];
    let mut command = beamscope(&run);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_server_that_is_killed_in_the_middle_loses_nothing_and_counts_nothing_twice() {
    let dir = TestDir::new("nats-killed");
    let Some(mut server) = Server::running(&dir) else { return };
    let capture = fs::read(LOOP).unwrap();
    let (first, second) = capture.split_at(capture.len() / 2);
    let mut sensor = sensor_of_packets(&server.url(), &dir.file("spool"));
    let mut packets = sensor.stdin.take().unwrap();
    packets.write_all(first).unwrap();
    packets.flush().unwrap();
    wait_until("nothing is published", LIMIT, || server.messages() > 3);
    // So far: a run without an end.
    let (printed, _, status) = server.merged();
    assert_eq!(status, 2);
    incomplete(&printed);
    server.kill();
    // A reader that has nothing to read from.
    let reader = beamscope(&["merge", "--nats", &server.url()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    packets.write_all(second).unwrap();
    drop(packets);
    server.start();
    let (_, errors, status) = ended(sensor.wait_with_output().unwrap());
    assert_eq!(status, 0, "{errors}");
    let whole = {
        let mut run = beamscope(&["--json", "-"]);
        let run = run.stdin(fs::File::open(LOOP).unwrap()).output().unwrap();
        ended(run).0
    };
    assert_eq!(server.whole(), whole);
    // Readers that are killed leave nothing behind.
    let mut reader = reader;
    reader.kill().unwrap();
    reader.wait().unwrap();
    let mut other = beamscope(&["merge", "--json", "--nats", &server.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    other.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(server.whole(), whole);
}

#[test]
fn a_sensor_that_is_killed_is_incomplete_and_its_next_run_sends_the_rest() {
    let dir = TestDir::new("nats-sensor-killed");
    let Some(mut server) = Server::away(&dir, &[]) else { return };
    let (url, spool) = (server.url(), dir.file("spool"));
    let capture = fs::read(LOOP).unwrap();
    let mut sensor = sensor_of_packets(&url, &spool);
    let mut packets = sensor.stdin.take().unwrap();
    packets.write_all(&capture[..capture.len() / 2]).unwrap();
    let bytes = || spooled(&spool).iter().map(|it| fs::metadata(it).unwrap().len()).sum::<u64>();
    wait_until("nothing is in the spool", LIMIT, || bytes() > 4096);
    sensor.kill().unwrap();
    sensor.wait().unwrap();
    server.start();
    // Its publisher may be sending still: the server counts once what both send.
    published(&url, &spool, (SEED, "b"));
    let (printed, _, status) = server.merged();
    assert_eq!(status, 2);
    incomplete(&printed);
    assert!(printed.contains("the observations have no end"), "{printed}");
    let single = [LOOP, SEED].map(|it| accused(&lines_of(&["--json", it]))).concat();
    assert!(accused(&printed).iter().all(|it| single.contains(it)), "{printed}");
}

#[test]
fn messages_that_come_twice_count_once_also_where_the_server_takes_them_twice() {
    let dir = TestDir::new("nats-twice");
    let Some(mut server) = Server::running(&dir) else { return };
    // A stream of the user's own, which forgets the numbers of messages at once.
    let stream = r#"{"name":"BEAMSCOPE","subjects":["beamscope.>"],"storage":"file","num_replicas":1,"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"discard":"old","duplicate_window":100000000}"#;
    let made = server.try_ask("$JS.API.STREAM.CREATE.BEAMSCOPE", stream).unwrap();
    assert!(made.contains("\"did_create\":true"), "{made}");
    let (url, spool) = (server.url(), dir.file("spool"));
    server.kill();
    publish(&url, &spool, (SEED, "a"), &[]);
    let kept =
        spooled(&spool).iter().map(|it| (it.clone(), fs::read(it).unwrap())).collect::<Vec<_>>();
    server.start();
    published(&url, &spool, (LOOP, "b"));
    let (whole, messages) = (server.whole(), server.messages());
    kept.iter().for_each(|(path, lines)| fs::write(path, lines).unwrap());
    published(&url, &spool, (LOOP, "b"));
    let lines = |capture| {
        let file = dir.file("lines");
        lines_of(&["--json", "-o", "/dev/null", capture, "--observations", &file]);
        fs::read_to_string(file).unwrap().lines().count() as u64
    };
    assert_eq!(server.messages(), messages + lines(SEED) + lines(LOOP));
    assert_eq!(server.whole(), whole);
}

#[test]
fn garbage_and_old_messages_are_named_and_accuse_no_node() {
    let dir = TestDir::new("nats-garbage");
    let Some(server) = Server::running(&dir) else { return };
    published(&server.url(), &dir.file("spool"), (SEED, "a"));
    let findings = accused(&server.whole());
    let observed = dir.file("observed");
    lines_of(&["--json", "-o", "/dev/null", LOOP, "--observations", &observed]);
    server.publish("beamscope.bad.run", None, "\u{1b}[2Jgarbage\r\n{}");
    server.publish("beamscope.bad.x.y.z", Some("no number"), "");
    server.publish("beamscope.worse.run", Some("00000000000000aa-0"), "{\"v\":4}");
    server.publish("beamscope.old.run", Some("00000000000000bb-0"), OLD);
    let mut lines = fs::read_to_string(&observed).unwrap();
    lines.truncate(lines.find('\n').unwrap());
    server.publish("beamscope.late.run", Some("00000000000000cc-0"), &lines);
    server.publish("beamscope.late.run", Some("00000000000000cc-7"), "not an observation");
    server.publish("beamscope.gone.run", Some("00000000000000dd-7"), "{}");
    let (printed, errors, status) = server.merged();
    // One that follows gives the same answer at its end.
    let follower = Follower::start(&dir, &server, "follower", &["--json"]);
    follower.wait("the problem of the sensor", |it| !states(it).is_empty());
    let (followed, also, also_status) = follower.end();
    let stats = |printed: &str| {
        let last: Value = serde_json::from_str(printed.lines().last().unwrap()).unwrap();
        last["stats"].clone()
    };
    assert_eq!((stats(&followed), also_status), (stats(&printed), 2));
    let sorted = |errors: &str| {
        let mut lines: Vec<_> = errors.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&also), sorted(&errors));
    assert_eq!(status, 2);
    for words in [
        "error: 1 messages of sensor \"bad\" have no number of an observation",
        "error: run 00000000000000aa of sensor worse: expected what beamscope --observations writes",
        "error: run 00000000000000bb of sensor old: version 3 of the format is not read",
        "error: run 00000000000000dd of sensor gone: 7 of 8 observations are missing",
    ] {
        assert!(errors.contains(words), "{errors}");
    }
    assert!(!errors.contains('\x1b'), "{errors}");
    incomplete(&printed);
    assert!(
        printed.contains("run 00000000000000cc of sensor late: 6 of 8 observations are missing"),
        "{printed}"
    );
    assert_eq!(accused(&printed), findings);
}

const OLD: &str = r#"{"v":3,"type":"observations","sensor":"old","inputs":["old.pcap"]}"#;

#[test]
fn a_full_spool_loses_what_finds_no_room_which_the_merge_reports() {
    let dir = TestDir::new("nats-full");
    let Some(mut server) = Server::away(&dir, &[]) else { return };
    let (url, spool) = (server.url(), dir.file("spool"));
    let (printed, errors, status) = publish(&url, &spool, (LOOP, "a"), &["--spool-size", "64k"]);
    assert_eq!((printed, status), (lines_of(&["--json", LOOP]), 2));
    assert!(errors.contains("takes no more: it has reached --spool-size"), "{errors}");
    assert!(errors.contains("observations found no room in"), "{errors}");
    let bytes: u64 = spooled(&spool).iter().map(|it| fs::metadata(it).unwrap().len()).sum();
    assert!(bytes <= 64 << 10, "{bytes}");
    server.start();
    published(&url, &spool, (SEED, "b"));
    let (printed, _, status) = server.merged();
    assert_eq!(status, 2);
    incomplete(&printed);
    let single = [LOOP, SEED].map(|it| accused(&lines_of(&["--json", it]))).concat();
    assert!(accused(&printed).iter().all(|it| single.contains(it)), "{printed}");
}

#[test]
fn a_server_that_refuses_is_named_without_the_password() {
    let dir = TestDir::new("nats-refuses");
    let Some(mut server) = Server::away(&dir, &["--user", "beam", "--pass", "s3cret"]) else {
        return;
    };
    server.child = Some(server.command().spawn().unwrap());
    wait_until("no nats-server", LIMIT, || server.connect().is_ok());
    let port = server.port;
    let with = |login: &str| format!("nats://{login}@127.0.0.1:{port}");
    published(&with("beam:s3cre%74"), &dir.file("spool"), (SEED, "a"));
    let right = lines_of(&["merge", "--json", "--nats", &with("beam:s3cret")]);
    assert_eq!(right, lines_of(&["--json", SEED]));
    let merge = beamscope(&["merge", "--nats", &with("beam:wr0ng")]).output().unwrap();
    let (printed, errors, status) = ended(merge);
    assert_eq!((&*printed, status), ("", 2));
    assert!(errors.contains("authorization violation"), "{errors}");
    assert!(!errors.contains("wr0ng") && !errors.contains("s3cret"), "{errors}");
    for (option, file, words) in [
        ("--nats-creds", SEED, "cannot read"),
        ("--nats-creds", "README.md", "is none of NATS credentials"),
    ] {
        let spool = dir.file("other");
        let (_, errors, status) = publish(&with("a:wr0ng"), &spool, (SEED, "a"), &[option, file]);
        assert_eq!(status, 2, "{errors}");
        assert!(errors.contains(words) && !errors.contains("wr0ng"), "{errors}");
    }
}

#[test]
fn an_address_that_is_none_is_refused_without_the_password() {
    let dir = TestDir::new("nats-address");
    for (url, words) in [
        ("http://a:wr0ng@b", "expected nats://HOST:PORT"),
        ("nats://a:wr0ng @b", "expected nats://HOST:PORT"),
        ("-", "expected nats://HOST:PORT"),
        ("nats://a:wr0ng,x@127.0.0.1:1", "a comma in it as %2C"),
        ("nats://a:wr0ng@b:port", "is no address of a NATS server"),
        // Without a host, the password is where a port would be.
        ("nats://a:wr0ng", "is no address of a NATS server"),
    ] {
        let published = publish(url, &dir.file("spool"), (SEED, "a"), &[]);
        let merged = ended(beamscope(&["merge", "--nats", url]).output().unwrap());
        for (printed, errors, status) in [published, merged] {
            assert_eq!((&*printed, status), ("", 2), "{errors}");
            assert!(errors.contains(words) && !errors.contains("wr0ng"), "{url}: {errors}");
        }
    }
}

/// Makes the certificates of a server, and of who signs it.
fn certificates(dir: &TestDir) -> bool {
    let script = "set -e; cd \"$0\"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out own.csr -subj /CN=localhost
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > names
        openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out own.pem";
    let run = Command::new("sh").args(["-c", script, dir.0.to_str().unwrap()]).output();
    run.is_ok_and(|it| it.status.success())
}

#[test]
fn tls_trusts_the_named_certificates_alone() {
    let dir = TestDir::new("nats-tls");
    if !certificates(&dir) {
        return skip("NATS with TLS", "openssl");
    }
    let files = ["own.pem", "key.pem", "ca.pem", "ca.key"].map(|name| dir.file(name));
    let tls = ["--tls", "--tlscert", &files[0], "--tlskey", &files[1]];
    let Some(mut server) = Server::away(&dir, &tls) else { return };
    server.child = Some(server.command().spawn().unwrap());
    wait_until("no nats-server", LIMIT, || server.connect().is_ok());
    let url = format!("tls://localhost:{}", server.port);
    let trusted = ["--nats-ca", &files[2]];
    let (_, errors, status) = publish(&url, &dir.file("spool"), (SEED, "a"), &trusted);
    assert_eq!((&*errors, status), ("", 0));
    let merged = lines_of(&["merge", "--json", "--nats", &url, trusted[0], trusted[1]]);
    assert_eq!(merged, lines_of(&["--json", SEED]));
    let (_, errors, status) =
        publish(&url, &dir.file("other"), (SEED, "a"), &["--nats-ca", "README.md"]);
    assert_eq!(status, 0);
    assert!(errors.contains("they wait in"), "{errors}");
    let mut merge = beamscope(&["merge", "--json", "--nats", &url]);
    let (printed, errors, _) = ended(merge.env("SSL_CERT_FILE", &files[2]).output().unwrap());
    assert_eq!((&*printed, &*errors), (&*merged, ""));
    let system = beamscope(&["merge", "--nats", &url]).output().unwrap();
    let (_, errors, status) = ended(system);
    assert_eq!(status, 2);
    assert!(errors.contains("invalid peer certificate"), "the system does not trust it: {errors}");
    assert_eq!(server.try_ask("$JS.API.INFO", ""), None, "the server speaks TLS alone");
}

/// A key of NATS, made by openssl.
struct Key {
    /// The file of the key.
    file: String,
    /// The public key, as NATS writes it.
    public: String,
    seed: [u8; 32],
}

impl Key {
    /// A key of a role, by the number with which its public form begins.
    fn new(dir: &TestDir, role: u8, name: &str) -> Option<Self> {
        let file = dir.file(name);
        let make = ["genpkey", "-algorithm", "ed25519", "-out", &file];
        let made = Command::new("openssl").args(make).output();
        if !made.ok()?.status.success() {
            return None;
        }
        let der = |more: &[&str]| {
            let of = ["pkey", "-in", &file, "-outform", "DER"];
            let der = Command::new("openssl").args(of).args(more).output().unwrap().stdout;
            der[der.len() - 32..].try_into().unwrap()
        };
        let (seed, public): ([u8; 32], [u8; 32]) = (der(&[]), der(&["-pubout"]));
        Some(Self { file, public: checked(&[&[role << 3][..], &public].concat()), seed })
    }

    /// The key itself, as a file of credentials has it.
    fn secret(&self, role: u8) -> String {
        let start = [18 << 3 | role >> 5, (role & 31) << 3];
        checked(&[&start[..], &self.seed].concat())
    }

    /// A claim about another key.
    fn signed(&self, dir: &TestDir, subject: &str, claim: &str) -> String {
        let part = |text: &str| encoded(text.as_bytes(), 6, BASE64);
        let claims = format!(
            r#"{{"jti":"x","iat":1700000000,"iss":"{}","name":"x","sub":"{subject}","nats":{claim}}}"#,
            self.public
        );
        let text = format!("{}.{}", part(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#), part(&claims));
        let file = dir.file("claim");
        fs::write(&file, &text).unwrap();
        let sign = ["pkeyutl", "-sign", "-inkey", &self.file, "-rawin", "-in", &file];
        let signature = Command::new("openssl").args(sign).output().unwrap().stdout;
        assert_eq!(signature.len(), 64);
        format!("{text}.{}", encoded(&signature, 6, BASE64))
    }
}

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes in digits of so many bits.
fn encoded(bytes: &[u8], bits: usize, digits: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let digit = |start| (start..start + bits).fold(0, |number, at| number << 1 | bit(at));
    let starts = (0..bytes.len() * 8).step_by(bits);
    starts.map(|start| char::from(digits[usize::from(digit(start))])).collect()
}

/// A key with its checksum, CRC-16 of XMODEM, in digits of base 32.
fn checked(key: &[u8]) -> String {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            crc << 1 ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 }
        })
    });
    encoded(&[key, &crc.to_le_bytes()].concat(), 5, BASE32)
}

/// What the public keys of an operator, an account and a user begin with: O, A and U.
const ROLES: [u8; 3] = [14, 0, 20];

#[test]
fn a_file_of_credentials_proves_who_the_sensor_is() {
    let dir = TestDir::new("nats-creds");
    let [operator, account, user, system] =
        [(0, "operator"), (1, "account"), (2, "user"), (1, "system")]
            .map(|(role, name)| Key::new(&dir, ROLES[role], name));
    let (Some(operator), Some(account), Some(user), Some(system)) =
        (operator, account, user, system)
    else {
        return skip("NATS with credentials", "openssl");
    };
    let of_operator = operator.signed(&dir, &operator.public, r#"{"type":"operator","version":2}"#);
    let limits = r#"{"type":"account","version":2,"limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1,"mem_storage":-1,"disk_storage":-1,"streams":-1,"consumer":-1}}"#;
    let of_account = operator.signed(&dir, &account.public, limits);
    let of_system = operator.signed(&dir, &system.public, r#"{"type":"account","version":2}"#);
    let of_user = account.signed(
        &dir,
        &user.public,
        r#"{"type":"user","version":2,"subs":-1,"data":-1,"payload":-1}"#,
    );
    fs::write(dir.file("operator.jwt"), of_operator).unwrap();
    let settings = format!(
        "operator: \"{}\"\nsystem_account: {2}\nresolver: MEMORY\nresolver_preload: {{ {1}: {of_account}, {2}: {of_system} }}\n",
        dir.file("operator.jwt"),
        account.public,
        system.public
    );
    fs::write(dir.file("server.conf"), settings).unwrap();
    let credentials = dir.file("user.creds");
    let secret = user.secret(ROLES[2]);
    let line = |kind: &str, text: &str| {
        format!("-----BEGIN {kind}-----\n{text}\n------END {kind}------\n\n")
    };
    let text = line("NATS USER JWT", &of_user) + &line("USER NKEY SEED", &secret);
    fs::write(&credentials, text).unwrap();
    let Some(mut server) = Server::away(&dir, &["-c", &dir.file("server.conf")]) else { return };
    server.child = Some(server.command().spawn().unwrap());
    wait_until("no nats-server", LIMIT, || server.connect().is_ok());
    let (url, spool, proof) = (server.url(), dir.file("spool"), ["--nats-creds", &credentials]);
    let (_, errors, status) = publish(&url, &spool, (SEED, "a"), &proof);
    assert_eq!((&*errors, status), ("", 0));
    let merged = lines_of(&["merge", "--json", "--nats", &url, proof[0], proof[1]]);
    assert_eq!(merged, lines_of(&["--json", SEED]));
    // Without them, and with those of a user whom the account does not know.
    let (_, errors, _) = server.merged();
    assert!(errors.contains("authorization violation"), "{errors}");
    let other = Key::new(&dir, ROLES[2], "other").unwrap();
    let text = line("NATS USER JWT", &of_user) + &line("USER NKEY SEED", &other.secret(ROLES[2]));
    fs::write(&credentials, text).unwrap();
    let merge = ["merge", "--nats", &url, proof[0], proof[1]];
    let (_, errors, status) = ended(beamscope(&merge).output().unwrap());
    assert!(status == 2 && errors.contains("authorization violation"), "{errors}");
    assert!(!errors.contains(&secret) && !errors.contains(&of_user), "{errors}");
}

/// The processes that a process started.
fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap();
    tasks.split_whitespace().map(|it| it.parse().unwrap()).collect()
}

#[test]
fn the_process_that_talks_to_the_server_has_no_rights_and_that_which_reads_packets_no_network() {
    let dir = TestDir::new("nats-confined");
    let Some(server) = Server::running(&dir) else { return };
    let mut sensor = sensor_of_packets(&server.url(), &dir.file("spool"));
    let mut packets = sensor.stdin.take().unwrap();
    packets.write_all(&fs::read(SEED).unwrap()).unwrap();
    wait_until("nothing is published", LIMIT, || server.messages() > 0);
    let [publisher] = *children(sensor.id()) else { panic!("one process publishes") };
    for process in [sensor.id(), publisher] {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        assert_eq!((&*value("CapEff"), &*value("Seccomp")), ("0000000000000000", "2"), "{process}");
    }
    let sockets = |process: u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let files = files.filter_map(|it| fs::read_link(it.unwrap().path()).ok());
        files.filter(|it| it.to_string_lossy().starts_with("socket:")).count()
    };
    assert_eq!(sockets(sensor.id()), 0);
    assert!(sockets(publisher) > 0);
    drop(packets);
    assert_eq!(ended(sensor.wait_with_output().unwrap()).2, 0);
}

#[test]
fn two_runs_do_not_share_a_spool() {
    let dir = TestDir::new("nats-shared");
    let Some(server) = Server::running(&dir) else { return };
    let (url, spool) = (server.url(), dir.file("spool"));
    let mut first = sensor_of_packets(&url, &spool);
    wait_until("no spool", LIMIT, || Path::new(&spool).join("lock").exists());
    wait_until("no lock", LIMIT, || children(first.id()).len() == 1);
    let (_, errors, status) = publish(&url, &spool, (SEED, "b"), &[]);
    assert_eq!(status, 2);
    assert!(errors.contains("another run has this spool; each needs its own"), "{errors}");
    drop(first.stdin.take());
    first.wait().unwrap();
}

#[test]
fn a_stream_without_observations_is_an_error_with_what_to_do() {
    let dir = TestDir::new("nats-none");
    let Some(server) = Server::running(&dir) else { return };
    let (printed, errors, status) = server.merged();
    assert_eq!((&*printed, status), ("", 2));
    let words = "error: the server has no stream BEAMSCOPE: --nats-stream names another one, and the first sensor with --publish makes it\n";
    assert!(errors.contains(words), "{errors}");
    let stream = r#"{"name":"BEAMSCOPE","subjects":["beamscope.>"],"storage":"file","num_replicas":1,"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"discard":"old"}"#;
    server.try_ask("$JS.API.STREAM.CREATE.BEAMSCOPE", stream).unwrap();
    let (printed, errors, status) = server.merged();
    let words = "error: stream BEAMSCOPE has no observations of the subject beamscope.>; --nats-stream and --nats-subject name others\n";
    assert_eq!((&*printed, &*errors, status), ("", words, 2));
    let url = server.url();
    let other = ["merge", "--json", "--nats", &url, "--nats-subject", "other"];
    let (printed, errors, status) = ended(beamscope(&other).output().unwrap());
    assert_eq!((&*printed, status), ("", 2));
    let words = "error: stream BEAMSCOPE takes no messages of the subject other.>: --nats-subject names that of the sensors\n";
    assert!(errors.contains(words), "{errors}");
}

/// Longest wait for another program.
const LIMIT: Duration = Duration::from_secs(30);

/// A merge that goes on until it is ended.
struct Follower {
    child: Option<Child>,
    printed: PathBuf,
}

/// It tries without end, also where its test has failed.
impl Drop for Follower {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Follower {
    fn start(dir: &TestDir, server: &Server, name: &str, more: &[&str]) -> Self {
        let (url, printed) = (server.url(), PathBuf::from(dir.file(name)));
        let run = [&["merge", "--nats", &url, "--follow"], more].concat();
        let out = fs::File::create(&printed).unwrap();
        let child = beamscope(&run).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        Self { child: Some(child), printed }
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.printed).unwrap()
    }

    /// Waits until it has printed lines that satisfy this.
    fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) {
        wait_until(what, LIMIT, || is_there(&self.printed()));
    }

    /// Kills it: it has no time to write anything.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends it by a signal. What it printed, its errors and its status.
    fn end(mut self) -> (String, String, i32) {
        let child = self.child.take().unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let (_, errors, status) = ended(child.wait_with_output().unwrap());
        (fs::read_to_string(&self.printed).unwrap(), errors, status)
    }
}

/// The state of each problem as it was printed last, by its rule: findings are open.
fn states(printed: &str) -> Vec<(String, String)> {
    let mut states: Vec<(Value, String, String)> = Vec::new();
    for line in printed.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["event_type"].as_str().unwrap();
        let it = &event[kind];
        if !matches!(kind, "finding" | "incident") {
            continue;
        }
        let state = it["state"].as_str().unwrap_or("open").to_owned();
        match states.iter_mut().find(|(id, ..)| *id == it["incident_id"]) {
            Some(known) => known.2 = state,
            None => {
                let rule = it["rule"].as_str().unwrap().to_owned();
                states.push((it["incident_id"].clone(), rule, state));
            }
        }
    }
    states.into_iter().map(|(_, rule, state)| (rule, state)).collect()
}

#[test]
fn a_merge_that_follows_prints_each_problem_when_it_shows_and_none_twice() {
    let dir = TestDir::new("nats-follow");
    let Some(mut server) = Server::running(&dir) else { return };
    let (url, state) = (server.url(), dir.file("state.ndjson"));
    let arguments = ["--json", "--state", &state];
    let follower = Follower::start(&dir, &server, "first", &arguments);
    published(&url, &dir.file("a"), (SEED, "host-a"));
    let solved = ("cookie-mismatch".to_owned(), "solved".to_owned());
    follower.wait("the problem of the first sensor", |it| states(it).contains(&solved));
    // The server is killed: it goes on when that is back.
    server.kill();
    server.start();
    published(&url, &dir.file("b"), (LOOP, "host-b"));
    let both = [solved.clone(), solved];
    follower.wait("the problem of the second sensor", |it| states(it).starts_with(&both));
    let (printed, _, status) = follower.end();
    assert_eq!(status, 0);
    let whole = server.whole();
    let last = |printed: &str| printed.lines().last().unwrap().to_owned();
    let stats = |line: String| serde_json::from_str::<Value>(&line).unwrap()["stats"].clone();
    assert_eq!(stats(last(&printed)), stats(last(&whole)), "the answer of one merge");
    assert_eq!(states(&printed), states(&whole));
    // Only its owner reads what was printed.
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o600);
    // Killed and started again: nothing is printed again, and what is new is.
    let mut killed = Follower::start(&dir, &server, "second", &arguments);
    published(&url, &dir.file("c"), (NOT_ALLOWED, "host-c"));
    let is_third = |it: &str| states(it).iter().any(|(rule, _)| rule == "not-allowed");
    killed.wait("the problem of the third sensor", is_third);
    // All of it: what comes of the problem is another line.
    let solved = ("not-allowed".to_owned(), "solved".to_owned());
    let remembered = || states(&fs::read_to_string(&state).unwrap()).contains(&solved);
    wait_until("it is remembered", LIMIT, remembered);
    killed.kill();
    let third = killed.printed();
    assert!(!states(&third).iter().any(|(rule, _)| rule == "cookie-mismatch"), "{third}");
    // Ended before anything new comes: it has read all by the time that it prints its statistics.
    let again = Follower::start(&dir, &server, "third", &arguments);
    published(&url, &dir.file("d"), (DUPLICATE, "host-d"));
    again.wait("what the fourth sensor saw", |it| !states(it).is_empty());
    let (printed, _, _) = again.end();
    let is_first = |it: &str| states(it).iter().any(|(rule, _)| rule == "cookie-mismatch");
    assert!(!is_third(&printed) && !is_first(&printed), "{printed}");
    // The exit status is about all that is there, and not about what is new.
    let arguments = [&arguments[..], &["--fail-on", "critical", "--fail-on-solved"]].concat();
    let last = Follower::start(&dir, &server, "fourth", &arguments);
    published(&url, &dir.file("e"), ("captures/proxy-header.pcap", "host-e"));
    last.wait("what the fifth sensor saw", |it| !states(it).is_empty());
    let (printed, _, status) = last.end();
    assert!(!printed.contains("\"severity\":\"critical\""), "{printed}");
    assert_eq!(status, 1, "{printed}");
}

#[test]
fn what_another_sensor_contradicts_is_withdrawn() {
    let dir = TestDir::new("nats-withdrawn");
    let Some(server) = Server::running(&dir) else { return };
    let url = server.url();
    // Behind address translation the name of the dialing node looks like that of another host.
    published(&url, &dir.file("a"), ("captures/translated-both-at-acceptor.pcap", "acceptor"));
    let follower = Follower::start(&dir, &server, "json", &["--json"]);
    let text = Follower::start(&dir, &server, "text", &["--text"]);
    let state = |printed: &str| {
        let all = states(printed).into_iter().filter(|(rule, _)| rule == "unproven-name");
        all.map(|(_, state)| state).collect::<Vec<_>>()
    };
    follower.wait("a stranger", |it| !state(it).is_empty());
    text.wait("a stranger", |it| it.contains("whose address is"));
    published(&url, &dir.file("b"), ("captures/translated-both-at-dialer.pcap", "dialer"));
    follower.wait("it is withdrawn", |it| state(it).iter().all(|it| it == "withdrawn"));
    text.wait("it is withdrawn", |it| {
        it.contains("  withdrawn: what another sensor sent later contradicts it: ")
    });
    let (printed, errors, status) = text.end();
    assert_eq!((&*errors, status), ("", 0));
    let whole = lines_of(&["merge", "--text", "--nats", &url]);
    assert!(printed.ends_with(&whole), "the end is the answer of one merge: {printed}");
    let (printed, errors, status) = follower.end();
    assert_eq!((&*errors, status), ("", 0));
    let open: Vec<_> = states(&printed).into_iter().filter(|(_, it)| it != "withdrawn").collect();
    assert_eq!(open.iter().filter(|(rule, _)| rule == "unproven-name").count(), 0);
}

#[test]
fn only_what_sensors_publish_can_be_followed() {
    let (_, errors, status) = ended(beamscope(&["merge", "--follow", SEED]).output().unwrap());
    assert!(errors.contains("--nats") && status == 2, "{errors}");
}
