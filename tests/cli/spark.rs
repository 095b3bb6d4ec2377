//! The job of `scripts/spark/` on a Spark of this machine: the events of one run, whatever the tasks, and an account of
//! each part that cannot be read.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::pieces::{Kept, frames_of, pcap};
use crate::support::{SEED, TestDir, lines_of, machine, skip};

/// Three nodes for a minute and a half. One connection goes on over nine tenths of the packets.
const LONG: &str = "captures/partition-cascade-heals.pcap";

#[test]
fn a_connection_over_many_parts_is_that_of_one_run() {
    let Some(spark) = Spark::find() else { return };
    let dir = TestDir::new("spark-parts");
    let parts = cut(LONG, &dir, 20);
    let output = spark.run(&dir, "local[2]", &["--input", &dir.file("parts")]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(events(&dir, 0), single(&parts));
    let run = run(&dir);
    assert_eq!((&run["complete"], &run["parts"]), (&true.into(), &20.into()), "{run}");
    // Nothing is left of the extracts.
    assert!(!dir.names().iter().any(|name| name.starts_with('_')));
    assert!(!Path::new(&dir.file("out/_extracts")).exists());
}

#[test]
fn a_task_that_is_killed_changes_nothing_and_neither_does_the_store() {
    let Some(spark) = Spark::find() else { return };
    let dir = TestDir::new("spark-killed");
    let parts = cut(LONG, &dir, 20);
    // The first worker that runs the program is killed.
    let (program, mark) = (dir.file("program"), dir.file("killed"));
    let real = env!("CARGO_BIN_EXE_beamscope");
    let script = format!("#!/bin/sh\nmkdir '{mark}' 2>&- && kill -9 $PPID\nexec '{real}' \"$@\"\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // A store that is reached through Hadoop alone, and three tasks in a stage.
    let mount = format!("spark.hadoop.fs.viewfs.mounttable.x.link./x=file:{}", dir.path());
    let arguments = ["--conf", &mount, JOB, "--input", "viewfs://x/x/parts", "--partitions", "3"];
    let output = spark.submit(&dir, "local[2,4]", &program, &arguments, "viewfs://x/x/out");
    assert!(output.status.success(), "{}", text(&output));
    assert!(Path::new(&mark).exists());
    let expected = single_text(&parts).replace(&dir.file("parts"), "viewfs://x/x/parts");
    assert_eq!(events(&dir, 0), of_lines(&expected));
}

#[test]
fn parts_that_cannot_be_read_are_named_and_clusters_are_judged_apart() {
    let Some(spark) = Spark::find() else { return };
    let dir = TestDir::new("spark-bad");
    let parts = cut(LONG, &dir, 8);
    // Another cluster, whose addresses are others.
    let other = dir.file("parts/seed.pcap");
    fs::copy(SEED, &other).unwrap();
    let bytes = fs::read(&parts[3]).unwrap();
    fs::write(&parts[3], &bytes[..bytes.len() - 30]).unwrap();
    fs::write(&parts[5], b"").unwrap();
    fs::write(dir.file("parts/note.txt"), "no capture").unwrap();
    fs::copy(&parts[1], dir.file("parts/z-again.pcap")).unwrap();
    let missing = dir.file("parts/lost.pcap");
    let folder = dir.file("parts");
    let arguments = ["--input", &folder, &missing, "--reducer-bytes", "1"];
    let output = spark.run(&dir, "local[2]", &arguments);
    let printed = text(&output);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains(&format!("{missing}: missing: there is no such file")), "{printed}");

    let run = run(&dir);
    assert_eq!(run["complete"], false);
    let because = run["because"].as_array().unwrap().iter();
    let because: BTreeMap<&str, &str> =
        because.map(|it| (it["part"].as_str().unwrap(), it["state"].as_str().unwrap())).collect();
    let note = dir.file("parts/note.txt");
    let expected =
        [(&parts[3], "cut"), (&parts[5], "empty"), (&missing, "missing"), (&note, "unreadable")];
    assert_eq!(because, expected.into_iter().map(|(part, state)| (&**part, state)).collect());
    let table = lines(&dir.file("out/parts.ndjson"));
    let doubled: Vec<&Value> = table.iter().filter(|part| part["state"] == "doubled").collect();
    assert_eq!(doubled.len(), 1, "{table:?}");
    assert_eq!(doubled[0]["same_as"], *parts[1]);

    assert_eq!(run["groups"], 2, "{run}");
    let groups = [events(&dir, 0), events(&dir, 1)];
    let seed = single(&[other]);
    let of_seed = groups.iter().find(|events| events.len() == seed.len()).unwrap();
    for (found, expected) in of_seed.iter().zip(&seed) {
        let mut expected = expected.clone();
        expected.as_object_mut().unwrap().insert("complete".to_owned(), false.into());
        assert_eq!(found, &expected);
    }
}

const JOB: &str = "scripts/spark/beamscope_job.py";

/// A Spark of this machine.
struct Spark {
    path: OsString,
}

impl Spark {
    /// That of scripts/setup, or one that is installed; `None`, and a `skipped` line, where there is none.
    fn find() -> Option<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/spark/bin");
        let others = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([own].into_iter().chain(env::split_paths(&others))).unwrap();
        for program in ["java", "spark-submit"] {
            if !env::split_paths(&path).any(|folder| folder.join(program).exists()) {
                skip("spark", &format!("{program} is not installed: scripts/setup --full"));
                return None;
            }
        }
        Some(Self { path })
    }

    /// The job with the program of this build.
    fn run(&self, dir: &TestDir, master: &str, arguments: &[&str]) -> Output {
        let arguments = [&[JOB][..], arguments].concat();
        self.submit(dir, master, env!("CARGO_BIN_EXE_beamscope"), &arguments, &dir.file("out"))
    }

    fn submit(
        &self,
        dir: &TestDir,
        master: &str,
        program: &str,
        arguments: &[&str],
        output: &str,
    ) -> Output {
        let _others_wait = machine();
        let temporary = dir.file("tmp");
        fs::create_dir(&temporary).unwrap();
        let local = format!("spark.local.dir={temporary}");
        let options = ["--master", master, "--conf", "spark.ui.enabled=false", "--conf", &local];
        // A short run is over before much is compiled.
        let java = ["--driver-java-options", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"];
        Command::new("spark-submit")
            .args(options)
            .args(java)
            .args(arguments)
            .args(["--output", output, "--beamscope", program])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .envs([("PATH", self.path.as_os_str()), ("TMPDIR", temporary.as_ref())])
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .output()
            .unwrap()
    }
}

/// Cuts a capture into files with as many packets each, in a folder `parts`.
fn cut(capture: &str, dir: &TestDir, count: usize) -> Vec<String> {
    fs::create_dir(dir.file("parts")).unwrap();
    let (link, frames) = frames_of(capture).unwrap();
    let part = |number: usize| {
        let at = |number| number * frames.len() / count;
        let frames: Vec<&Kept> = frames[at(number)..at(number + 1)].iter().collect();
        let file = dir.file(&format!("parts/{number:02}.pcap"));
        fs::write(&file, pcap(link, &frames, 0)).unwrap();
        file
    };
    (0..count).map(part).collect()
}

/// The events of one run over captures, as [`without_counts`].
fn single(captures: &[String]) -> Vec<Value> {
    of_lines(&single_text(captures))
}

fn single_text(captures: &[String]) -> String {
    let captures: Vec<&str> = captures.iter().map(String::as_str).collect();
    lines_of(&[&["--json"], &captures[..]].concat())
}

fn of_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| without_counts(serde_json::from_str(line).unwrap())).collect()
}

/// The events of a group of the job, as [`without_counts`].
fn events(dir: &TestDir, group: u32) -> Vec<Value> {
    let events = lines(&dir.file(&format!("out/events.ndjson/group={group}")));
    let events: Vec<_> = events.into_iter().map(without_counts).collect();
    assert!(events.len() > 3, "{events:?}");
    events
}

/// An event without the counts of all packets, which those of an extract are not.
fn without_counts(mut event: Value) -> Value {
    if let Some(stats) = event.get_mut("stats").and_then(Value::as_object_mut) {
        for of_all in ["packets", "bytes"] {
            stats.remove(of_all);
        }
    }
    event
}

/// The lines of the files in a folder that Spark wrote.
fn lines(folder: &str) -> Vec<Value> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("part-"));
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The account that the job gives of the run.
fn run(dir: &TestDir) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.file("out/run.json")).unwrap()).unwrap()
}

/// What the job printed, which Spark takes to standard output.
fn text(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    let log = stderr.lines().filter(|line| !line.contains(" INFO "));
    [&*stdout].into_iter().chain(log).collect::<Vec<_>>().join("\n")
}
