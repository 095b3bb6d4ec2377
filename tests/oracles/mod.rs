//! The same answers as other programs that read the same bytes: tshark, and the Erlang emulator.

mod erlang_messages;
mod erlang_terms;
mod tshark;
mod zstd;
