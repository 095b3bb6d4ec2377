//! The captures that tests run over: the project's own, and those of the folders that the environment
//! variable `BEAMSCOPE_CAPTURES` lists, as `PATH` does.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::machine;

/// Name and place of each capture, in order of name.
fn captures() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let more = env::var_os("BEAMSCOPE_CAPTURES").unwrap_or_default();
    let more = env::split_paths(&more).filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for folder in [own].into_iter().chain(more) {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| is_capture(path)));
    }
    assert!(!found.is_empty());
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found
}

fn is_capture(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".pcap")
}

/// Runs `check` on every capture, on all processors, and panics with everything that it found wrong.
pub(crate) fn check_all(check: impl Fn(&Path) -> Vec<String> + Sync) {
    let _others_wait = machine();
    let captures = captures();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(path) = captures.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = check(path).into_iter().map(|what| format!("{}: {what}", path.display()));
            wrong.lock().unwrap().extend(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} captures:\n{}", captures.len(), wrong.join("\n"));
}
