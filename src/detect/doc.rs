//! Documentation of a rule: the text of `beamscope explain`, of `docs/rules.md` and of the symptom
//! table in README.md. Tests hold both files equal to this.

use serde::Serialize;

use crate::record::Severity;

/// One rule, with its fields in the order in which `beamscope explain` prints them.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub struct RuleDoc {
    /// Stable name of the rule, in the output and on the command line.
    pub rule: &'static str,
    /// Severity of its findings, unless a finding has reason to differ.
    pub severity: Severity,
    /// What the rule finds, in at most 55 characters.
    pub summary: &'static str,
    /// What a user sees when no log line names the problem, in one line.
    pub symptom: &'static str,
    /// What the problem is and how it comes about.
    pub meaning: &'static str,
    /// Packets that show the problem in a capture.
    pub evidence: &'static str,
    /// Other causes that look alike, and how to distinguish them.
    pub lookalikes: &'static str,
    /// Lines that nodes and tools log about it, word by word; the best known one first. Empty if
    /// they log nothing.
    pub log_lines: &'static [LogLine],
    /// Steps that solve the problem; the first one must make sense alone.
    pub remedy: &'static [&'static str],
}

/// A line that a node, EPMD or a tool logs.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub struct LogLine {
    /// The node or tool that logs it, such as `the dialed node`.
    pub writer: &'static str,
    /// Releases that log it: `all`, or a range such as `OTP 23 and newer`.
    pub releases: &'static str,
    /// The line, with `a@h` for the dialing node and `b@h` for the dialed one. Empty if `writer`
    /// logs nothing although a user may expect it.
    pub text: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::detect::docs;

    #[test]
    fn every_field_of_every_rule_is_filled() {
        let is_sentence = |text: &str| text.ends_with('.') && text.trim() == text;
        let is_phrase = |text: &str, most| {
            let is_short = (1..=most).contains(&text.chars().count());
            is_short && !text.ends_with('.') && text.trim() == text
        };
        let lacking: Vec<_> = docs()
            .filter(|doc| {
                !is_phrase(doc.summary, 55)
                    || !is_phrase(doc.symptom, 110)
                    || ![doc.meaning, doc.evidence, doc.lookalikes].into_iter().all(is_sentence)
                    || doc.remedy.is_empty()
                    || !doc.remedy.iter().all(|step| is_sentence(step))
            })
            .map(|doc| doc.rule)
            .collect();
        assert!(lacking.is_empty(), "{lacking:?}");
    }

    #[test]
    fn every_log_line_has_a_writer() {
        for (doc, line) in docs().flat_map(|doc| doc.log_lines.iter().map(move |line| (doc, line)))
        {
            let rule = doc.rule;
            assert!(!line.writer.is_empty() && !line.releases.is_empty(), "{rule}: {line:?}");
            assert!(!line.text.contains('\n') && line.text.trim() == line.text, "{rule}: {line:?}");
            let twice = doc.log_lines.iter().filter(|other| *other == line).count();
            assert_eq!(twice, 1, "{rule}: {line:?}");
        }
    }

    #[test]
    fn rule_names_are_unique_and_in_kebab_case() {
        let mut known = HashSet::new();
        for doc in docs() {
            let parts = doc.rule.split('-');
            let is_kebab = parts.into_iter().all(|part| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            });
            assert!(is_kebab && known.insert(doc.rule), "{}", doc.rule);
        }
    }
}
