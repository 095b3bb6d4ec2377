//! Prints findings while a capture file is still being written, each as soon as it is known.
//!
//! ```text
//! tcpdump -U -w trace.pcap 'tcp port 4369 or portrange 9100-9155' &
//! cargo run --example live_findings -- trace.pcap 60
//! ```
//!
//! The second argument is the time in seconds after which the program ends.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use beamscope::capture::{AtEnd, Follow, Input, Inputs, Order};
use beamscope::drive;
use beamscope::engine::{Config, Engine};
use beamscope::record::{Body, Event, EventSink};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("expected a capture file")?;
    let seconds = arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(60);
    run(Path::new(&path), Duration::from_secs(seconds), io::stdout())
}

/// Prints the findings of the capture at `path`, as it grows for so long.
pub(crate) fn run(path: &Path, time: Duration, out: impl Write) -> Result<(), Box<dyn Error>> {
    let end = Instant::now() + time;
    // At the end of the file, this is asked whether more may come.
    let wait = move || {
        thread::sleep(Duration::from_millis(100));
        if Instant::now() < end { AtEnd::Again } else { AtEnd::End }
    };
    let source = Box::new(Follow::open(path, wait)?);
    let input = Input::Stream { name: path.display().to_string(), source };
    let mut inputs = Inputs::new(vec![input], Order::Given)?;

    // With `warns`, the silence of a node is reported before its peer gives up on the connection.
    let config = Config { warns: true, ..Config::default() };
    let mut engine = Engine::new(config, Findings { out, failure: None });
    drive::run(&mut inputs, &mut engine, &mut ())?;
    engine.finish().failure.map_or(Ok(()), |error| Err(error.into()))
}

/// Prints the findings among the events.
struct Findings<W> {
    out: W,
    failure: Option<io::Error>,
}

impl<W: Write> EventSink for Findings<W> {
    fn event(&mut self, event: Event) {
        if let Body::Finding { finding } = event.body {
            let severity = finding.severity.name();
            let printed = writeln!(self.out, "{} {severity}: {}", event.at, finding.title);
            self.failure = self.failure.take().or_else(|| printed.err());
        }
    }
}
