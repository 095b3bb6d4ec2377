//! Prints the facts of captures, one a line: seeds for the target `facts`.

use beamscope::capture::CaptureFile;
use beamscope::drive;
use beamscope::engine::{Config, Engine};

fn main() {
    for path in std::env::args().skip(1) {
        let mut engine = Engine::new(Config::default(), Vec::new());
        engine.record_facts(Box::new(|fact| println!("{}", serde_json::to_string(fact).unwrap())));
        let mut file = CaptureFile::open(path.as_ref(), 0).unwrap();
        let _ = drive::run(&mut file, &mut engine, &mut ());
        engine.finish();
    }
}
