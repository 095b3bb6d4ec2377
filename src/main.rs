//! The `beamscope` program.

fn main() {}
