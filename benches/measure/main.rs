//! What scripts/bench and scripts/guard are made of.
//!
//!     measure make KIND MEGABYTES FILE    writes a capture of such traffic
//!     measure cluster SENSORS CONNECTIONS FOLDER
//!                                         writes what the sensors of a cluster see, one capture each
//!     measure merge BEAMSCOPE FOLDER      writes the observations of each of them, and prints how fast they are merged
//!     measure compare BEAMSCOPE FOLDER    runs it beside tcpdump and tshark over the captures in a folder,
//!                                         KIND.pcap, and prints a table in Markdown
//!
//! A figure is a ratio within one round, in which every program runs once, and the median of the ratios of all
//! rounds: machines drift by a third between runs, and then all of a round drift alike.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

#[path = "../traffic/mod.rs"]
mod traffic;

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use traffic::Kind;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        ["make", kind, megabytes, file] => make(kind, megabytes, Path::new(file)),
        ["cluster", sensors, connections, folder] => {
            cluster(sensors, connections, Path::new(folder))
        }
        ["merge", beamscope, folder] => merge(beamscope, Path::new(folder)),
        ["compare", beamscope, folder] => compare(beamscope, Path::new(folder)),
        _ => {
            let commands = "make KIND MEGABYTES FILE | cluster SENSORS CONNECTIONS FOLDER | merge BEAMSCOPE FOLDER | \
                            compare BEAMSCOPE FOLDER";
            Err(format!("usage: measure {commands}").into())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::from(2)
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn make(kind: &str, megabytes: &str, file: &Path) -> Done {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    let kind = Kind::named(kind).ok_or_else(|| format!("expected {}, found {kind}", known()))?;
    let bytes = megabytes.parse::<u64>()? * 1_000_000;
    // Under its name only when it is whole: one that was broken off would be taken for it.
    let part = file.with_extension("part");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    let packets = traffic::write(kind, bytes, &mut out)?;
    out.into_inner()?.sync_all()?;
    fs::rename(&part, file)?;
    println!("{packets}");
    Ok(())
}

fn cluster(sensors: &str, connections: &str, folder: &Path) -> Done {
    fs::create_dir_all(folder)?;
    let file = |sensor| File::create(folder.join(format!("host-{sensor:04}.pcap")));
    let outs = (0..sensors.parse::<usize>()?).map(|sensor| file(sensor).map(BufWriter::new));
    let mut outs = outs.collect::<Result<Vec<_>, _>>()?;
    traffic::write_cluster(connections.parse()?, &mut outs)?;
    outs.iter_mut().try_for_each(BufWriter::flush)?;
    Ok(())
}

fn merge(beamscope: &str, folder: &Path) -> Done {
    let all = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut captures = all.collect::<Result<Vec<_>, _>>()?;
    captures.retain(|path| path.extension().is_some_and(|it| it == "pcap"));
    let (mut files, mut facts) = (Vec::new(), 0);
    for capture in &captures {
        let written = capture.with_extension("ndjson").to_string_lossy().into_owned();
        let capture = capture.to_string_lossy();
        run(&[beamscope, "--json", "--quiet", &capture, "--observations", &written])?;
        // One line describes the run.
        facts += fs::read_to_string(&written)?.lines().count() - 1;
        files.push(written);
    }
    let command = [beamscope, "merge", "--json"];
    let command: Vec<&str> = command.into_iter().chain(files.iter().map(String::as_str)).collect();
    let mut seconds = (0..ROUNDS).map(|_| timed(&command)).collect::<Result<Vec<_>, _>>()?;
    let seconds = median(&mut seconds);
    println!(
        "{facts} facts of {} sensors: {seconds:.2} s, {:.0} facts a second, {} MiB of memory",
        files.len(),
        facts as f64 / seconds,
        memory(&command).map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
    );
    Ok(())
}

const ROUNDS: usize = 7;

fn compare(beamscope: &str, folder: &Path) -> Done {
    println!("| traffic | MB | MB/s | times as fast as tcpdump | as tshark | MiB of memory |");
    println!("|---|---:|---:|---:|---:|---:|");
    for kind in Kind::ALL {
        let file = folder.join(kind.name()).with_extension("pcap");
        if file.exists() {
            println!("{}", row(kind, beamscope, &file)?);
        }
    }
    Ok(())
}

fn row(kind: Kind, beamscope: &str, file: &Path) -> Result<String, Box<dyn Error>> {
    let name = file.to_string_lossy();
    let ours = [beamscope, "--json", &*name];
    let theirs = ["tcpdump", "-r", &*name, "-w", "/dev/null"];
    let slow =
        ["tshark", "-r", &*name, "-Y", "epmd || erldp", "-T", "fields", "-e", "frame.number"];
    let slow = [&slow[..], &["-e", "epmd.type", "-e", "erldp.type"]].concat();
    warm(file)?;
    let mut seconds = Vec::new();
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let (their, our) = (timed(&theirs)?, timed(&ours)?);
        // The first one warms up.
        if round > 0 {
            seconds.push(our);
            ratios.push(their / our);
        }
    }
    let tshark = match timed(&slow) {
        Ok(their) => format!("{:.0}", their / median(&mut seconds)),
        Err(_) => "–".to_owned(),
    };
    let megabytes = fs::metadata(file)?.len() as f64 / 1e6;
    Ok(format!(
        "| {} | {megabytes:.0} | {:.0} | {:.2} | {tshark} | {} |",
        about(kind),
        megabytes / median(&mut seconds),
        median(&mut ratios),
        memory(&ours).map_or_else(|| "–".to_owned(), |mib| format!("{mib:.0}")),
    ))
}

const fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Mixed => "a network with 2 % Erlang in it",
        Kind::Noise => "a network without Erlang",
        Kind::Dist => "distribution, messages of all sizes",
        Kind::DistSmall => "distribution, messages of 150 bytes",
        Kind::Disorder => "distribution, 5 % out of order, 5 % twice",
        Kind::Syn => "one SYN a connection, and nothing else",
    }
}

/// Into the system's cache: what is measured is not the disk.
fn warm(file: &Path) -> Done {
    let mut file = File::open(file)?;
    let mut bytes = vec![0; 1 << 20];
    while file.read(&mut bytes)? > 0 {}
    Ok(())
}

/// Seconds that a command takes, on one processor where that can be had.
fn timed(command: &[&str]) -> Result<f64, Box<dyn Error>> {
    let pinned = if has("taskset") { vec!["taskset", "-c", "0"] } else { Vec::new() };
    let begun = Instant::now();
    run(&[&pinned[..], command].concat())?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The most memory that a command has had at a time, in MiB, where GNU time shows it.
fn memory(command: &[&str]) -> Option<f64> {
    let reported: PathBuf = std::env::temp_dir().join(format!("measure-{}", std::process::id()));
    let time = ["/usr/bin/time", "-q", "-f", "%M", "-o", reported.to_str()?];
    run(&[&time[..], command].concat()).ok()?;
    let kib = fs::read_to_string(&reported).ok()?;
    let _ = fs::remove_file(reported);
    Some(kib.trim().parse::<f64>().ok()? / 1024.0)
}

fn run(command: &[&str]) -> Done {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
