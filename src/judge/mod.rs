//! What connections show together, and the verdict on each.

pub mod world;
