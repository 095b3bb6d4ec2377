//! The program itself: arguments, output, files, exit status, the pages of README.md and docs/.

mod annotate;
mod anonymize;
#[cfg(all(feature = "live", target_os = "linux"))]
mod confined;
mod diff;
mod docs;
mod evidence;
mod examples;
mod explain;
mod extract;
mod keylog;
mod ladder;
mod merge;
#[cfg(all(feature = "nats", feature = "live", target_os = "linux"))]
mod nats;
mod packaging;
#[cfg(unix)]
mod places;
mod program;
mod reading;
mod save;
#[cfg(feature = "tui")]
mod screen;
// Once, and not in a build without libpcap as well: it takes a minute.
#[cfg(all(feature = "live", unix))]
mod spark;
mod text;
