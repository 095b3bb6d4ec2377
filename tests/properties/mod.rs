//! What holds for any capture: damaged, reordered, with packets missing, or very large.

mod anonymize;
mod clocks;
mod damage;
mod decoys;
mod divided;
mod exhaustion;
mod fuzzed;
mod hostile_text;
mod loss;
mod merge;
mod messages_robust;
mod observations;
mod parts;
mod robustness;
mod scale;
