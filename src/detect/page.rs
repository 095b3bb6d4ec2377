//! What is to be known about a rule, for people who look it up.

use crate::event::Severity;

/// One rule: what it means and how to tell it, in the order in which `beamscope explain` says it.
#[derive(Debug)]
pub struct Page {
    /// Stable identifier of the rule: the name in the output and on the command line.
    pub rule: &'static str,
    /// How bad it is, unless a finding has reason to say otherwise.
    pub severity: Severity,
    /// In a few words, for the table of all rules.
    pub summary: &'static str,
    /// What it means.
    pub means: &'static str,
    /// What in a capture proves it.
    pub proof: &'static str,
    /// What may look like it, and how that differs.
    pub resembles: &'static str,
    /// What the nodes write into their logs about it, word by word; empty when nothing.
    pub logs: &'static [LogLine],
    /// What to do, one step each.
    pub remedy: &'static [&'static str],
}

/// A line that a node, or EPMD, writes.
#[derive(Debug)]
pub struct LogLine {
    /// Who writes it, such as `the dialed node (acceptor)`.
    pub by: &'static str,
    /// Which releases write it so.
    pub releases: &'static str,
    /// The line, with `a@h` for the dialing and `b@h` for the dialed node.
    pub text: &'static str,
}
