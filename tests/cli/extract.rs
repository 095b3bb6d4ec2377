//! `beamscope extract` and `beamscope facts` as programs: what is written, and the error where nothing can be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::pieces::{frames_of, pcap};
use crate::support::{SEED, TestDir, WITH_SECRETS, beamscope, lines_of, skip};

const TUNNEL: &str = "captures/links-geneve.pcap";

/// The lines of a run over these captures without the names of the inputs and the statistics.
fn events(captures: &[&str]) -> Vec<Value> {
    let lines = lines_of(&[&["--json"], captures].concat());
    let events = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut events: Vec<Value> =
        events.filter(|event: &Value| event["event_type"] != "stats").collect();
    events.iter_mut().for_each(|event| drop(event.as_object_mut().unwrap().remove("input")));
    events
}

/// Exit status and standard error of a run.
fn outcome(arguments: &[&str]) -> (i32, String) {
    let output = beamscope(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_extract_is_smaller_and_its_events_have_the_frames_of_the_capture() {
    let dir = TestDir::new("extract-one");
    let file = dir.file("small.pcapng");
    let (status, notice) = outcome(&["extract", TUNNEL, "-w", &file]);
    assert_eq!((status, &*notice), (0, &*format!("{file}: 63 of 69 packets\n")));
    assert_eq!(events(&[TUNNEL]), events(&[&file]));
    // An extract of an extract is the same.
    let again = dir.file("again.pcapng");
    assert_eq!(outcome(&["extract", "-q", &file, "-w", &again]), (0, String::new()));
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());
}

/// Whether a file has lines of a TLS key log.
fn has_secrets(file: &str) -> bool {
    fs::read(file).unwrap().windows(14).any(|bytes| bytes == b"CLIENT_TRAFFIC")
}

#[test]
fn secrets_of_the_capture_are_kept_with_keys_alone_and_open_the_extract() {
    let dir = TestDir::new("extract-keys");
    let file = dir.file("small.pcapng");
    assert!(has_secrets(WITH_SECRETS));
    assert_eq!(outcome(&["extract", "-q", WITH_SECRETS, "-w", &file]), (0, String::new()));
    assert!(!has_secrets(&file));
    assert_ne!(events(&[WITH_SECRETS]), events(&[&file]), "what is inside TLS is not seen");
    // It is a file that others can read, until secrets are written to it.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let keys = ["extract", "-q", "--with-keys", WITH_SECRETS, "-w", &file];
    assert_eq!(outcome(&keys), (0, String::new()));
    assert!(has_secrets(&file));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(events(&[WITH_SECRETS]), events(&[&file]));
    // Beside another capture, and again.
    let (both, again) = (dir.file("both.pcapng"), dir.file("again.pcapng"));
    for (from, to) in [(&[WITH_SECRETS, SEED][..], &both), (&[&*both], &again)] {
        let arguments = [&["extract", "-q", "--with-keys", "-w", to], from].concat();
        assert_eq!(outcome(&arguments), (0, String::new()));
        assert_eq!(events(&[WITH_SECRETS, SEED]), events(&[to]), "{from:?}");
    }
}

/// Without EPMD, nothing but what is inside TLS shows that a connection is Erlang's.
#[cfg(feature = "live")] // filters
#[test]
fn connections_that_secrets_alone_show_are_kept_with_keys() {
    let dir = TestDir::new("extract-keys-ports");
    let (capture, file) = (dir.file("capture.pcapng"), dir.file("small.pcapng"));
    lines_of(&["--json", "-f", "not port 4369", "--with-keys", "-w", &capture, WITH_SECRETS]);
    let opened = |file| {
        let is_opened = |event: &&Value| event["session"]["tls"]["opened_by"].is_string();
        events(&[file]).iter().filter(is_opened).count()
    };
    assert!(opened(&capture) > 0);
    let keys = ["extract", "-q", "--with-keys", &capture, "-w", &file];
    assert_eq!(outcome(&keys), (0, String::new()));
    assert_eq!(events(&[&capture]), events(&[&file]));
}

#[test]
fn a_pipe_is_read_and_written() {
    let dir = TestDir::new("extract-pipe");
    let file = dir.file("small.pcapng");
    let extract = beamscope(&["extract", "-q", "-", "-w", "-"])
        .stdin(fs::File::open(TUNNEL).unwrap())
        .output()
        .unwrap();
    assert!(extract.status.success(), "{extract:?}");
    fs::write(&file, extract.stdout).unwrap();
    assert_eq!(events(&[TUNNEL]), events(&[&file]));
}

#[test]
fn the_summary_names_packets_damage_and_addresses() {
    let dir = TestDir::new("extract-summary");
    let (cut, small, summary) =
        (dir.file("cut.pcap"), dir.file("small.pcapng"), dir.file("summary.json"));
    fs::write(&cut, &fs::read(SEED).unwrap()[..3000]).unwrap();
    assert_eq!(outcome(&["extract", "-q", &cut, "-w", &small, "--summary", &summary]).0, 0);
    let line = fs::read_to_string(&summary).unwrap();
    let expected = r#"{"v":1,"type":"extract","packets":34,"kept":34,"damage":[{"kind":"input_truncated","detail":"expected the rest of a record; the input ends"}],"addresses":["192.168.0.100","192.168.0.103"]}"#;
    assert_eq!(line.trim_end(), expected);
    assert_eq!(outcome(&["extract", &cut, "-w", &small, "--summary", &cut]).0, 2);
    assert_eq!(outcome(&["extract", &cut, "-w", &small, "--summary", &small]).0, 2);
}

#[test]
fn facts_name_the_port_that_epmd_gave() {
    let dir = TestDir::new("extract-facts");
    let line = lines_of(&["facts", SEED]);
    let facts = r#"{"v":1,"type":"facts","ends":[{"ip":"192.168.0.103","port":33435}],"flows":[]}"#;
    assert_eq!(line.trim_end(), facts);
    let file = dir.file("facts.json");
    assert_eq!(outcome(&["facts", SEED, "-o", &file]), (0, String::new()));
    assert_eq!(fs::read_to_string(&file).unwrap(), line);
    let extract = dir.file("small.pcapng");
    assert_eq!(outcome(&["extract", "-q", "--facts", &file, SEED, "-w", &extract]).0, 0);
    assert_eq!(events(&[SEED]), events(&[&extract]));
}

#[test]
fn what_cannot_be_extracted_is_an_error() {
    let dir = TestDir::new("extract-errors");
    let (file, facts) = (dir.file("small.pcapng"), dir.file("facts.json"));
    fs::write(&facts, "[1, 2]").unwrap();
    let empty = dir.file("empty.pcap");
    fs::write(&empty, &fs::read(SEED).unwrap()[..24]).unwrap();
    let own = dir.file("own.pcapng");
    fs::copy(SEED, &own).unwrap();
    for (arguments, error) in [
        (&["extract", SEED, "-w", "x.pcap"][..], "x.pcap"),
        (
            &["extract", "--facts", &facts, SEED, "-w", &file],
            "expected what beamscope facts writes",
        ),
        (&["extract", "--facts", "/no/such/file", SEED, "-w", &file], "No such file"),
        (&["extract", "/no/such/file", "-w", &file], "cannot open"),
        (&["extract", &empty, "-w", &file], "holds no packet"),
        (&["extract", &own, "-w", &own], "is both read and written"),
        (&["facts", &own, "-o", &own], "is both read and written"),
        (&["facts", "/no/such/file"], "cannot open"),
        (&["facts", "-", "-"], "can be read once only"),
    ] {
        let (status, message) = outcome(arguments);
        assert_eq!(status, 2, "{arguments:?}: {message}");
        assert!(message.contains(error), "{arguments:?}: {message}");
    }
    assert_eq!(fs::read(&own).unwrap(), fs::read(SEED).unwrap());
}

#[test]
fn what_was_read_before_the_damage_is_written() {
    let dir = TestDir::new("extract-cut");
    let (cut, file) = (dir.file("cut.pcap"), dir.file("small.pcapng"));
    fs::write(&cut, &fs::read(SEED).unwrap()[..3000]).unwrap();
    let (status, warning) = outcome(&["extract", &cut, "-w", &file]);
    assert_eq!(status, 0);
    assert!(warning.contains("the input ends") && warning.contains("34 of 34"), "{warning}");
    let without = |events: Vec<Value>| -> Vec<Value> {
        events.into_iter().filter(|event| event["event_type"] != "anomaly").collect()
    };
    let (mut cut, mut small) = (without(events(&[&cut])), without(events(&[&file])));
    cut.iter_mut()
        .chain(&mut small)
        .for_each(|event| drop(event.as_object_mut().unwrap().remove("seq")));
    assert_eq!(cut, small);
}

/// A capture whose frames are dealt to three files in turn, and an extract of these.
struct Dealt {
    dir: TestDir,
    parts: [String; 3],
    extract: String,
}

impl Dealt {
    fn new(name: &str) -> Self {
        let dir = TestDir::new(name);
        let parts = ["a.pcap", "b.pcap", "c.pcap"].map(|name| dir.file(name));
        let (link, frames) = frames_of(SEED).unwrap();
        for (place, part) in parts.iter().enumerate() {
            let own: Vec<_> = frames.iter().skip(place).step_by(3).collect();
            fs::write(part, pcap(link, &own, 0)).unwrap();
        }
        let extract = dir.file("all.pcapng");
        let [a, b, c] = &parts;
        assert_eq!(outcome(&["extract", "-q", a, b, c, "-w", &extract]), (0, String::new()));
        Self { dir, parts, extract }
    }

    /// Both runs of a command: over the parts, and over the extract.
    fn both(&self, arguments: &[&str]) -> [String; 2] {
        let [a, b, c] = &self.parts;
        [vec![&**a, b, c], vec![&self.extract]]
            .map(|captures| lines_of(&[arguments, &captures].concat()))
    }
}

#[test]
fn an_extract_of_several_names_their_inputs_and_frames_in_every_command() {
    let dealt = Dealt::new("extract-several");
    for command in [
        &["--json"][..],
        &["--text"],
        &["--json", "--order", "given"],
        &["merge", "--json"],
        &["report", "-o", "-", "--format", "markdown"],
    ] {
        let [mut parts, mut extract] = dealt.both(command);
        if command.contains(&"given") {
            // The extract has the order of time.
            parts = dealt.both(&["--json"])[0].clone();
        }
        assert!(parts.contains("b.pcap") && !extract.contains("all.pcapng"), "{extract}");
        // All frames of this capture matter, so that the counts are the same too.
        for text in [&mut parts, &mut extract] {
            *text = text
                .lines()
                .filter(|line| !line.contains("captures:"))
                .collect::<Vec<_>>()
                .join("\n");
        }
        assert_eq!(parts, extract, "{command:?}");
    }
    let [parts, extract] = dealt.both(&["ladder"]);
    assert!(parts.contains("b.pcap"), "{parts}");
    assert_eq!(parts, extract);
}

#[test]
fn files_of_packets_and_observations_name_the_inputs_of_an_extract() {
    let dealt = Dealt::new("extract-several-files");
    let [a, b, c] = &dealt.parts;
    let file = |name: &str| dealt.dir.file(name);
    let text = |name: &str| String::from_utf8_lossy(&fs::read(file(name)).unwrap()).into_owned();
    for (name, captures) in [("of-parts", vec![&**a, b, c]), ("of-extract", vec![&*dealt.extract])]
    {
        let (observed, saved, annotated) = (
            file(&format!("{name}.ndjson")),
            file(&format!("{name}.pcapng")),
            file(&format!("{name}.annotated.pcapng")),
        );
        let run = [
            "--json",
            "-o",
            "/dev/null",
            "--sensor",
            "s",
            "--observations",
            &observed,
            "-w",
            &saved,
        ];
        lines_of(&[&run[..], &captures].concat());
        lines_of(&[&["annotate", "-q", "-o", &annotated], &captures[..]].concat());
    }
    assert_eq!(text("of-parts.ndjson"), text("of-extract.ndjson"));
    // The interfaces of what is written have the names of the inputs.
    for end in ["pcapng", "annotated.pcapng"] {
        let names = |name: &str| {
            let text = text(&format!("{name}.{end}"));
            dealt.parts.clone().map(|part| text.contains(&part))
        };
        assert_eq!((names("of-parts"), names("of-extract")), ([true; 3], [true; 3]));
    }
}

#[test]
fn an_extract_of_several_is_the_same_with_any_threads_through_pipes_and_again() {
    let dealt = Dealt::new("extract-several-again");
    let [a, b, c] = &dealt.parts;
    let (facts, again) = (dealt.dir.file("facts.json"), dealt.dir.file("again.pcapng"));
    lines_of(&["facts", a, b, c, "-o", &facts]);
    let bytes = fs::read(&dealt.extract).unwrap();
    let [ab, abc] = ["ab.pcapng", "abc.pcapng"].map(|name| dealt.dir.file(name));
    lines_of(&["extract", "-q", a, b, "-w", &ab]);
    for (captures, file) in [
        (&["-j", "1", a, b, c][..], &again),
        (&["-j", "3", a, b, c], &again),
        (&["--facts", &facts, a, b, c], &again),
        (&[&dealt.extract], &again),
        (&[&ab, c], &abc),
    ] {
        lines_of(&[&["extract", "-q", "-w", file], captures].concat());
        assert!(fs::read(file).unwrap() == bytes, "{captures:?}");
    }
    let mut first = beamscope(&["extract", "-q", a, b, c, "-w", "-"]);
    let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
    let second = beamscope(&["--json", "-"]).stdin(first.stdout.take().unwrap()).output().unwrap();
    assert!(first.wait().unwrap().success() && second.status.success());
    assert_eq!(String::from_utf8(second.stdout).unwrap(), dealt.both(&["--json"])[0]);
}

#[test]
fn the_summary_of_several_has_the_counts_of_each_and_of_all() {
    let dealt = Dealt::new("extract-several-summary");
    let [a, b, _] = &dealt.parts;
    let cut = dealt.dir.file("cut.pcap");
    fs::write(&cut, &fs::read(SEED).unwrap()[..3000]).unwrap();
    let (small, summary) = (dealt.dir.file("small.pcapng"), dealt.dir.file("summary.json"));
    let (status, messages) = outcome(&["extract", a, b, &cut, "-w", &small, "--summary", &summary]);
    assert_eq!(status, 0, "{messages}");
    assert!(messages.contains(&format!("{cut}: expected the rest of a record")), "{messages}");
    let found: Value = serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
    let counts = |input: &Value| {
        let name = input["name"].as_str().unwrap().to_owned();
        (name, input["packets"].as_u64().unwrap(), input["kept"].as_u64().unwrap())
    };
    let inputs: Vec<_> = found["inputs"].as_array().unwrap().iter().map(counts).collect();
    assert_eq!(found["packets"], inputs.iter().map(|input| input.1).sum::<u64>());
    assert_eq!(found["kept"], inputs.iter().map(|input| input.2).sum::<u64>());
    let (_, frames) = frames_of(SEED).unwrap();
    let [first, second] = [0, 1].map(|place| frames.iter().skip(place).step_by(3).count() as u64);
    assert_eq!(inputs[0], (a.clone(), first, first));
    assert_eq!(inputs[1], (b.clone(), second, second));
    assert_eq!((&*inputs[2].0, inputs[2].1), (&*cut, 34));
    assert_eq!(
        (&found["damage"][0]["input"], &found["damage"][1]),
        (&Value::from(cut), &Value::Null)
    );
}

#[test]
fn of_several_captures_those_that_can_be_read_are_used() {
    let dealt = Dealt::new("extract-several-bad");
    let [a, b, c] = &dealt.parts;
    let (missing, empty, text) =
        ("/no/such/file", dealt.dir.file("empty.pcap"), dealt.dir.file("text.pcap"));
    fs::write(&empty, "").unwrap();
    fs::write(&text, "no capture").unwrap();
    let file = dealt.dir.file("bad.pcapng");
    for (bad, message) in
        [(missing, "cannot open"), (&*empty, "is an empty file"), (&*text, "is not a capture file")]
    {
        let (status, messages) = outcome(&["extract", a, bad, b, c, "-w", &file]);
        assert_eq!((status, messages.contains(message)), (2, true), "{messages}");
        assert!(messages.contains(&format!("{file}: 65 of 65 packets")), "{messages}");
        let run = |captures: &[&str]| {
            beamscope(&[&["--json"], captures].concat()).output().unwrap().stdout
        };
        let lines = |out: Vec<u8>| -> Vec<Value> {
            let text = String::from_utf8(out).unwrap();
            let mut events: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            events
                .retain(|event| event["event_type"] != "anomaly" && event["event_type"] != "stats");
            events.iter_mut().for_each(|event| drop(event.as_object_mut().unwrap().remove("seq")));
            events
        };
        let (parts, extract) = (lines(run(&[a, bad, b, c])), lines(run(&[&file])));
        assert!(parts.len() > 10);
        assert_eq!(parts, extract);
    }
    // What is given twice is read twice, as by a run over both.
    let twice = |captures: &[&str]| lines_of(&[&["--json"], captures].concat());
    lines_of(&["extract", "-q", a, a, b, c, "-w", &file]);
    assert_eq!(twice(&[a, a, b, c]), twice(&[&file]));
    let (status, messages) = outcome(&["extract", missing, &empty, "-w", &file]);
    assert_eq!(status, 2, "{messages}");
    assert_eq!(twice(&[a, a, b, c]), twice(&[&file]), "nothing replaces what is there");
    for (arguments, error) in [
        (&["extract", a, "-", "-", "-w", &file][..], "can be read once only"),
        (&["extract", a, b, "-w", b], "is both read and written"),
        (&["extract", "-w", &file], "required arguments"),
    ] {
        let (status, messages) = outcome(arguments);
        assert_eq!((status, messages.contains(error)), (2, true), "{messages}");
    }
}

#[test]
fn an_input_of_which_nothing_matters_is_an_input_of_the_extract() {
    let dir = TestDir::new("extract-several-noise");
    let (noise, small, summary) =
        (dir.file("noise.pcap"), dir.file("small.pcapng"), dir.file("summary.json"));
    let (link, mut frames) = frames_of(SEED).unwrap();
    // LLDP, of which nothing is read.
    frames.truncate(5);
    frames.iter_mut().for_each(|frame| frame.bytes[12..14].copy_from_slice(&[0x88, 0xcc]));
    fs::write(&noise, pcap(link, &frames.iter().collect::<Vec<_>>(), 0)).unwrap();
    lines_of(&["extract", "-q", SEED, &noise, "-w", &small, "--summary", &summary]);
    let found: Value = serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
    assert_eq!(
        (&found["inputs"][1]["packets"], &found["inputs"][1]["kept"]),
        (&5.into(), &1.into())
    );
    // So the statistics are about several inputs, as those of the run over both.
    for captures in [&[SEED, &noise][..], &[&small]] {
        let lines = lines_of(&[&["--json"], captures].concat());
        let stats: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!((&stats["event_type"], stats.get("input")), (&"stats".into(), None));
    }
}

#[test]
fn names_that_no_header_holds_are_refused_before_anything_is_written() {
    let dir = TestDir::new("extract-several-names");
    let (file, long) = (dir.file("small.pcapng"), dir.file(&"../".repeat(600)));
    fs::write(&file, "before").unwrap();
    let mut captures = vec![SEED];
    captures.resize(520, &long);
    let (status, message) = outcome(&[&["extract", "-w", &file], &captures[..]].concat());
    assert_eq!(status, 2, "{message}");
    assert!(message.contains("the paths of 520 captures do not fit"), "{message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
}

#[test]
fn other_programs_read_an_extract_of_several() {
    let dealt = Dealt::new("extract-several-others");
    // As many names as the header of an extract holds.
    let [a, ..] = &dealt.parts;
    let long = format!("{}{a}", "/".repeat(3000));
    let mut captures = vec![SEED];
    captures.resize(250, &long);
    let file = dealt.dir.file("long.pcapng");
    lines_of(&[&["extract", "-q", "-w", &file], &captures[..]].concat());
    for (file, frames) in [(&dealt.extract, 65), (&file, 65 + 249 * 22)] {
        for program in ["tcpdump", "tshark"] {
            match Command::new(program).args(["-n", "-r", file]).output() {
                Err(error) => skip(program, &error.to_string()),
                Ok(read) => {
                    let lines = String::from_utf8_lossy(&read.stdout).lines().count();
                    assert!(
                        read.status.success() && lines == frames,
                        "{program}: {lines} {read:?}"
                    );
                }
            }
        }
    }
}
