//! Beamscope reads packet captures of Erlang and Elixir clusters and says why two nodes do not connect.

pub mod capture;
pub mod conn;
pub mod correlate;
pub mod decode;
pub mod detect;
pub mod event;
pub mod flow;
pub mod identify;
pub mod limits;
pub mod output;
pub mod pipeline;
pub mod reassembly;
pub mod time;
pub mod wire;
