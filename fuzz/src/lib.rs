//! The fuzz targets of beamscope: each a function of bytes that panics where a promise is broken.
//!
//! A target is public here under the name of its program in `fuzz_targets/` and of its folder in `corpus/`. Structured ones
//! read their input from the bytes with `arbitrary`.

mod captures;
mod connections;
mod packets;
mod records;
mod streams;
mod terms;

pub use captures::{extract, pcap_parser, pipeline, reader};
pub use connections::{epmd, handshake, header, resegmented, tls};
pub use packets::{decode, fast_decode};
pub use records::{compare, facts, merge};
pub use streams::reassembly;
pub use terms::{erltf, terms};
