//! Rules for the source text itself.

mod layering;
mod names;
mod prose;
mod supply;

/// Fails with every place that breaks a rule, and what is wrong there.
fn check(offences: &[(String, String)]) {
    let lines: Vec<_> = offences.iter().map(|(place, what)| format!("{place}: {what}")).collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}
