//! The time zone of this machine, for times that people read.
//!
//! In: the variable `TZ`, which may name any file, and `/etc/localtime`. Out: the zone, if the file is one that can hold
//! the rules of a zone: the library reads it to its end, which a device may not have.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use beamscope::time::Zone;

use super::console;

/// The zone that an argument names.
///
/// # Errors
///
/// There is no such zone, or the file of the zone of this machine is none.
pub(super) fn parse(text: &str) -> Result<Zone, String> {
    match (text, unreadable()) {
        ("local", Some(problem)) => Err(problem),
        _ => text.parse().map_err(|error: beamscope::time::UnknownZone| error.to_string()),
    }
}

/// The zone of this machine; UTC, with a warning, if its file is none.
pub(super) fn local() -> Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    let read = || match unreadable() {
        None => Zone::local(),
        Some(problem) => {
            console::report(&format_args!("warning: {problem}; times are in UTC"), None);
            Zone::UTC
        }
    };
    ZONE.get_or_init(read).clone()
}

/// Why the file of the zone of this machine is not read, if it is not.
fn unreadable() -> Option<String> {
    let paths = match env::var_os("TZ") {
        None => vec![PathBuf::from(LOCALTIME)],
        Some(name) => {
            let name = name.to_string_lossy();
            let name = name.strip_prefix(':').unwrap_or(&name);
            let folders = env::var_os("TZDIR").map(PathBuf::from).into_iter();
            let folders = folders.chain([ZONEINFO.into(), PathBuf::new()]);
            folders.map(|folder| folder.join(name)).collect()
        }
    };
    paths.iter().find_map(|path| problem(path))
}

fn problem(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    let name = path.display();
    if file.is_dir() || file.is_file() && file.len() <= MOST_BYTES {
        None
    } else if file.is_file() {
        Some(format!("{name}, which TZ or the system names, is too large for a time zone"))
    } else {
        Some(format!("{name}, which TZ or the system names, is no file of a time zone"))
    }
}

const LOCALTIME: &str = "/etc/localtime";
const ZONEINFO: &str = "/usr/share/zoneinfo";

/// More than the rules of any zone take: the largest has some 4 KB.
const MOST_BYTES: u64 = 1 << 20;
