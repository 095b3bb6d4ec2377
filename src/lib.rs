//! Beamscope reads packet captures of Erlang and Elixir clusters and says why two nodes do not connect.

pub mod capture;
pub mod decode;
pub mod limits;
pub mod time;
pub mod wire;
