//! Beamscope reads packet captures of Erlang and Elixir clusters and says why two nodes do not connect.

pub mod capture;
pub mod decode;
pub mod event;
pub mod flow;
pub mod limits;
pub mod output;
pub mod reassembly;
pub mod time;
pub mod wire;
