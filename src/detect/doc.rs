//! What is to be known about a rule, for people who look it up.

use serde::Serialize;

use crate::record::Severity;

/// One rule: what it means and how to tell it, in the order in which `beamscope explain` says it.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub struct RuleDoc {
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
    /// What is written into logs, or said by tools, about it, word by word; empty when nothing.
    pub logs: &'static [LogLine],
    /// What to do, one step each.
    pub remedy: &'static [&'static str],
}

/// A line that a node, EPMD, or a tool writes.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub struct LogLine {
    /// Who writes it, such as `the dialed node`.
    pub by: &'static str,
    /// Which releases write it so: `all`, or such as `OTP 23 and newer`.
    pub releases: &'static str,
    /// The line, with `a@h` for the dialing and `b@h` for the dialed node. Empty where nothing is
    /// written by who might be expected to.
    pub text: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::detect::pages;

    #[test]
    fn every_page_says_everything() {
        let is_said = |text: &str| text.ends_with('.') && text.trim() == text;
        let lacking: Vec<_> = pages()
            .filter(|doc| {
                let is_short = (1..=55).contains(&doc.summary.chars().count());
                !is_short
                    || doc.summary.ends_with('.')
                    || ![doc.means, doc.proof, doc.resembles].into_iter().all(is_said)
                    || doc.remedy.is_empty()
                    || !doc.remedy.iter().all(|step| is_said(step))
            })
            .map(|doc| doc.rule)
            .collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn every_log_line_has_its_author() {
        for (doc, line) in pages().flat_map(|doc| doc.logs.iter().map(move |line| (doc, line))) {
            let rule = doc.rule;
            assert!(!line.by.is_empty() && !line.releases.is_empty(), "{rule}: {line:?}");
            assert!(!line.text.contains('\n') && line.text.trim() == line.text, "{rule}: {line:?}");
            let twice = doc.logs.iter().filter(|other| *other == line).count();
            assert_eq!(twice, 1, "{rule}: {line:?}");
        }
    }

    #[test]
    fn rules_have_names_of_their_own_in_kebab_case() {
        let mut known = HashSet::new();
        for doc in pages() {
            let parts = doc.rule.split('-');
            let is_kebab = parts.into_iter().all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            });
            assert!(is_kebab && known.insert(doc.rule), "{}", doc.rule);
        }
    }
}
