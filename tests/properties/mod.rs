//! What holds for any capture: damaged, reordered, with packets missing, or very large.

mod anonymize;
mod clocks;
mod damage;
mod exhaustion;
mod hostile_text;
mod loss;
mod messages_robust;
mod observations;
mod robustness;
mod scale;
