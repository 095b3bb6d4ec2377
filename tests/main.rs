//! All tests from outside the crate, in one program, so that it is linked once.
//!
//! | module | what it tests |
//! |---|---|
//! | `cli` | the program: arguments, output, files, exit status, the pages of README.md and docs/ |
//! | `captures` | what is found in each capture of the project |
//! | `properties` | what holds for any capture: damaged, reordered, lossy, very large |
//! | `oracles` | the same answers as tshark and as a real Erlang |
//! | `report` | pages for a browser, and the short form |
//! | `live` | capturing from interfaces, and real nodes (Linux) |
//! | `source` | rules for the source text itself |
//! | `support` | helpers of all of these; no tests |

#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic, and its numbers are small"
)]

mod captures;
mod cli;
#[cfg(target_os = "linux")]
mod live;
mod oracles;
mod properties;
mod report;
mod source;
mod support;
