//! Beamscope reads packet captures of Erlang and Elixir clusters and says why two nodes do not connect.
//!
//! # The way of a packet
//!
//! Top to bottom, each stage a folder or a file; what flows in between is borrowed as long as it can be.
//!
//! | stage | takes | gives |
//! |---|---|---|
//! | [`capture`] | bytes of files, pipes, interfaces | [`Frame`](capture::Frame) |
//! | [`decode`] | frames of any link, tunnels, fragments | [`Segment`](decode::Segment) |
//! | [`names`] | answers of name servers | names that addresses have |
//! | [`flow`], [`identify`] | segments | the connection they belong to, if it is Erlang's |
//! | [`reassembly`] | one direction's segments in any order | [`StreamEvent`](reassembly::StreamEvent) |
//! | [`wire`] | one message's bytes | its fields, and terms |
//! | [`conn`] | both streams of one connection, and time | [`Event`](event::Event), [`Message`](event::Message) |
//! | [`correlate`] | events of all connections | facts that one connection cannot know |
//! | [`detect`] | events, messages that are telling | findings and incidents |
//! | [`output`] | events, messages | lines of JSON, or text |
//!
//! Beside them, [`compare`] takes the sessions of two captures and gives what changed, [`evidence`]
//! keeps the packets that findings rest on, and [`capture::save`] makes capture files of packets again.
//! [`pipeline`] is the only file that knows every stage; [`limits`] holds every bound.
//!
//! # What holds everywhere
//!
//! - No input makes it panic, allocate without bound, or take more than linear time.
//! - Time is the capture's; nothing here reads a clock, except where live frames get their stamp.
//! - A connection is judged by its own segments and by the facts it is told, so the order in which
//!   unrelated connections interleave changes nothing. What a capture does not show is `incomplete`.
//! - A cookie is known by its label; its bytes never leave [`conn::digest`].
//!
//! # Example
//!
//! ```
//! use beamscope::capture::{Input, Inputs, Item, Order};
//! use beamscope::record::{Body, Severity};
//! use beamscope::engine::{Config, Engine};
//!
//! let path = "captures/seed-lan-wrong-then-right-cookie.pcap";
//! let mut inputs = Inputs::new(vec![Input::Path(path.into())], Order::Time)?;
//! let mut pipeline = Engine::new(Config::default(), Vec::new());
//! while let Some(item) = inputs.next_item() {
//!     if let Item::Frame(frame) = item {
//!         pipeline.push_frame(&frame);
//!     }
//! }
//! let titles: Vec<_> = pipeline
//!     .finish()
//!     .into_iter()
//!     .filter_map(|event| match event.body {
//!         Body::Finding { finding } if finding.severity > Severity::Info => Some(finding.title),
//!         _ => None,
//!     })
//!     .collect();
//! assert_eq!(titles, ["two@192.168.0.103 refused the cookie of one@192.168.0.100"]);
//! # Ok::<(), beamscope::capture::Error>(())
//! ```

#[cfg(all(feature = "live", not(unix)))]
compile_error!("the feature `live` needs a Unix system: build with --no-default-features");

pub mod capture;
pub mod compare;
mod cursor;
pub mod decode;
pub mod detect;
pub mod drive;
pub mod engine;
pub mod evidence;
pub mod flow;
pub mod identify;
pub mod judge;
pub mod limits;
pub mod memory;
pub mod names;
pub mod observe;
pub mod packet;
pub mod protocol;
pub mod record;
pub mod render;
pub mod stream;
pub mod time;
mod transport;
pub mod wire;
