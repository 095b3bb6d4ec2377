//! Beamscope reads packet captures of Erlang and Elixir clusters and shows why two nodes do not connect.
//!
//! [`analyze`] is the library in one call. To follow a growing file or an interface, to select frames, or to add a
//! rule, put a [`Source`](capture::Source), an [`Engine`](engine::Engine) and a [`Control`](drive::Control) together;
//! the folder `examples/` shows how.
//!
//! # The path of a packet
//!
//! From top to bottom, each stage a folder or a file. What flows between two stages is borrowed wherever it can be.
//!
//! | stage | in | out |
//! |---|---|---|
//! | [`capture`] | bytes of files, pipes, interfaces | [`Item`](capture::Item): frames, and the information beside them |
//! | [`drive`] | items of a source | frames for the engine, in the one loop of every run |
//! | [`engine`] | frames, and time | events, through all of the stages below |
//! | [`decode`] | frames of any link type, tunnels, fragments | [`Segment`](decode::Segment) |
//! | [`names`] | answers of name servers | names of addresses |
//! | [`flow`], [`identify`] | segments | the connection of a segment, if it is one of Erlang |
//! | [`stream`] | segments of one direction, in any order | bytes in order, and gaps |
//! | [`wire`] | bytes of one message | its fields, and terms |
//! | [`protocol`] | both directions of one connection, and time | what the connection showed |
//! | [`judge`] | what all connections showed | verdicts, nodes, pairs of nodes |
//! | [`detect`] | facts and verdicts | findings and incidents |
//! | [`record`] | facts, verdicts, findings | [`Event`](record::Event): the printed contract |
//! | [`render`] | events, messages | lines of JSON, or text |
//!
//! Beside them, [`compare`] takes the sessions of two captures and gives what changed, [`evidence`] keeps the packets
//! that findings rest on, [`anonymize`] replaces names and addresses in a source,
//! [`extract`] selects the frames that matter, [`merge`] joins the facts of several sensors, and [`capture::save`] writes capture files. [`limits`] holds every bound. Only [`engine`]
//! and this file know every stage.
//!
//! # Guarantees
//!
//! - No input makes the library panic, allocate without bound, or take more than linear time.
//! - Time is that of the capture. Only a live capture reads a clock.
//! - A connection is judged by its own segments and by what other connections showed before, so the order in which
//!   unrelated connections interleave changes nothing. Where a capture lacks the packets to decide, the verdict is
//!   `incomplete`.
//! - A cookie is known by its label; its bytes never leave [`protocol::digest`].
//! - Sources and the engine are `Send`: a run can move to another thread.

#[cfg(all(feature = "live", not(unix)))]
compile_error!("the feature `live` needs a Unix system: build with --no-default-features");

mod analysis;
pub mod anonymize;
pub mod capture;
pub mod clocks;
pub mod compare;
mod cursor;
pub mod decode;
pub mod detect;
pub mod drive;
pub mod engine;
pub mod evidence;
pub mod extract;
pub mod flow;
pub mod identify;
pub mod judge;
pub mod limits;
pub mod memory;
pub mod merge;
pub mod names;
pub mod network;
pub mod observe;
pub mod packet;
pub mod protocol;
pub mod questions;
pub mod record;
pub mod render;
pub mod stream;
pub mod time;
mod transport;
pub mod wire;

pub use analysis::{Analysis, analyze};

#[cfg(doctest)]
#[doc = include_str!("../docs/library.md")]
struct LibraryPage;
