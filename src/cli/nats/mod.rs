//! Observations over NATS JetStream: `--publish` and `merge --nats`.
//!
//! In: lines of observations. Out: messages of a stream, and back. A sensor writes its lines into a spool on disk, and a
//! second process sends them ([`worker`]): what talks to the network reads no packet, and what reads packets opens no
//! connection and never waits for one. `merge` gets its messages through a pipe from such a process.
//!
//! - `spool`: the lines that were not acknowledged yet, on disk;
//! - `process`: starts the second process, and talks to it;
//! - `client`: the only file that knows the client library;
//! - `worker`: what the second process does;
//! - `gather`: messages become the lines of each run again;
//! - `printed`: what was printed of the problems, while sensors go on.

mod client;
mod gather;
mod printed;
mod process;
mod spool;
pub(super) mod worker;

pub(super) use gather::{GatheredRun, Gathering};
pub(super) use printed::{PrintedProblems, RoundEvent};
pub(super) use process::{MessageReader, Publisher, Waited};
pub(super) use spool::Spool;
