//! Rules for the source text itself.

mod layering;
mod names;
mod prose;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A list of places that do not yet keep a rule, one per line. It may only shrink: new places fail the test,
/// and with `BEAMSCOPE_BLESS=1` those that keep the rule by now are taken out of the file.
struct Unfinished {
    path: PathBuf,
    listed: Vec<String>,
}

impl Unfinished {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/source").join(name);
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self { path, listed: text.lines().map(str::to_owned).collect() }
    }

    /// Fails on an offence in a place that is not listed. `offences` are places and what is wrong there.
    fn check(self, offences: &[(String, String)]) {
        let new: Vec<_> = offences
            .iter()
            .filter(|(place, _)| {
                !self.listed.iter().any(|listed| file_name(listed) == file_name(place))
            })
            .map(|(place, what)| format!("{place}: {what}"))
            .collect();
        assert!(new.is_empty(), "\n{}", new.join("\n"));
        if env::var("BEAMSCOPE_BLESS").as_deref() == Ok("1") {
            let places: BTreeSet<_> = offences.iter().map(|(place, _)| place.as_str()).collect();
            let text: String = places.into_iter().flat_map(|place| [place, "\n"]).collect();
            fs::write(self.path, text).unwrap();
        }
    }
}

/// The last part of a path: a file that is moved stays listed.
fn file_name(place: &str) -> &str {
    place.rsplit('/').next().unwrap()
}
