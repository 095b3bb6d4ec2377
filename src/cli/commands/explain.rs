//! `beamscope explain`: the page of a rule, the list of all rules, or the rules for a line of a log.
//!
//! In: the name of a rule, a line, or neither. Out: pages as text, or as JSON. Knows no rule by name:
//! the texts are those of [`beamscope::detect`], the layout is made here.

use std::cmp::Reverse;

use beamscope::detect::log_lines::{self, Logged};
use beamscope::detect::{self, LogLine, RuleDoc};
use beamscope::record::Severity;
use beamscope::render;

use crate::cli::console::{self, print, report, stdout_error};
use crate::cli::error::{Error, RunOutcome};

/// Prints the page of `rule`, the rules for the line `log`, or the list of all rules.
///
/// # Errors
///
/// There is no such rule, or standard output cannot be written.
pub(in crate::cli) fn run(
    rule: Option<&str>,
    log: Option<&str>,
    json: bool,
) -> Result<RunOutcome, Error> {
    let mut text = PageText::new();
    let pages: Vec<&RuleDoc> = match (rule, log) {
        (Some(name), _) => {
            let page = detect::docs().find(|page| page.rule == name);
            let page = page
                .ok_or_else(|| Error::NoRule { name: name.to_owned(), nearest: nearest(name) })?;
            text.page(page);
            vec![page]
        }
        (None, Some(line)) if line.trim().is_empty() => {
            let lines: Vec<_> = log_lines::lines().collect();
            text.lines(&lines);
            distinct(&lines, |logged| logged.doc)
        }
        (None, Some(line)) => {
            let lines = log_lines::search(line);
            if lines.is_empty() {
                let hint = "try only the message, without the time and level that the logger adds; \
                            beamscope explain --log '' shows all known lines";
                report(&"This log line is not known.", Some(hint.to_owned()));
                return Ok(RunOutcome::NoMatch);
            }
            text.lines(&lines);
            let pages = distinct(&lines, |logged| logged.doc);
            text.proofs(&pages);
            pages
        }
        (None, None) => {
            let mut pages: Vec<_> = detect::docs().collect();
            pages.sort_by_key(|page| (Reverse(page.severity), page.rule));
            text.table(&pages);
            pages
        }
    };
    if !json {
        return print(text.out);
    }
    let mut lines = Vec::new();
    for page in pages {
        render::json_line(&mut lines, page).map_err(stdout_error)?;
    }
    print(lines)
}

/// Pages laid out as text: headings and paragraphs of a width.
struct PageText {
    out: String,
    width: usize,
    is_bold: bool,
}

impl PageText {
    fn new() -> Self {
        let width = console::text_width(console::stdout_is_terminal());
        Self { out: String::new(), width, is_bold: console::takes_colour() }
    }

    /// All rules with a summary, the most severe first.
    fn table(&mut self, pages: &[&RuleDoc]) {
        let longest = pages.iter().map(|page| page.rule.len()).max().unwrap_or_default();
        for severity in Severity::ALL.into_iter().rev() {
            let of_severity = || pages.iter().filter(|page| page.severity == severity);
            if of_severity().next().is_some() {
                self.heading(severity.name());
            }
            for page in of_severity() {
                self.wrapped(&format!("  {:longest$}  ", page.rule), page.summary);
            }
        }
        self.more();
    }

    /// Everything about one rule.
    fn page(&mut self, page: &RuleDoc) {
        self.heading(&format!("{}: {}", page.rule, page.summary));
        self.wrapped(
            "",
            &format!("Severity: {}, unless a finding says otherwise.", page.severity.name()),
        );
        for (heading, text) in [
            ("What it means", page.meaning),
            ("What proves it in a capture", page.evidence),
            ("What may look like it", page.lookalikes),
        ] {
            self.heading(heading);
            self.wrapped("  ", text);
        }
        self.heading("What is logged");
        if page.log_lines.is_empty() {
            self.wrapped("  ", "Neither node logs anything about it.");
        }
        let mut before = None;
        for line in page.log_lines {
            let author = author(line);
            match line.text {
                "" => self.wrapped("  ", &format!("{author}: nothing.")),
                _ if before.as_ref() == Some(&author) => {}
                _ => self.wrapped("  ", &format!("{author}:")),
            }
            if !line.text.is_empty() {
                self.wrapped("    ", line.text);
            }
            before = Some(author);
        }
        self.heading("What to do");
        for step in page.remedy {
            self.wrapped("  - ", step);
        }
    }

    /// Each log line once, with the programs that write it and the rules that it may belong to.
    fn lines(&mut self, lines: &[Logged]) {
        for text in distinct(lines, |logged| logged.line.text) {
            self.heading(text);
            let same = || lines.iter().filter(|logged| logged.line.text == text);
            for author_of in distinct(same(), |logged| author(logged.line)) {
                let rules: Vec<_> = same()
                    .filter(|logged| author(logged.line) == author_of)
                    .map(|logged| logged.doc.rule)
                    .collect();
                self.wrapped("    ", &format!("{author_of}: {}", rules.join(", ")));
            }
        }
    }

    /// What a capture shows for each of these rules.
    fn proofs(&mut self, pages: &[&RuleDoc]) {
        self.heading("What a capture shows");
        for page in pages {
            self.wrapped("  ", &format!("{}: {}", page.rule, page.evidence));
        }
        self.more();
    }

    /// A heading, bold on a terminal, after an empty line.
    fn heading(&mut self, text: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let (bold, plain) = if self.is_bold { (BOLD, PLAIN) } else { ("", "") };
        self.out.push_str(bold);
        self.wrapped("", text);
        self.out.truncate(self.out.trim_end().len());
        self.out.push_str(plain);
        self.out.push('\n');
    }

    /// The command that shows more about one rule of a list.
    fn more(&mut self) {
        self.out.push('\n');
        self.wrapped("", "More about one of them: beamscope explain RULE");
    }

    /// A paragraph; `lead` begins its first line, and the others are indented to match.
    fn wrapped(&mut self, lead: &str, text: &str) {
        self.out.push_str(&render::wrapped(lead, text, self.width));
    }
}

/// The program that writes a log line, and in which releases.
fn author(line: &LogLine) -> String {
    match line.releases {
        "all" => line.writer.to_owned(),
        releases => format!("{}, {releases}", line.writer),
    }
}

/// The different values of `of`, in the order of their first item.
fn distinct<'a, T, K: PartialEq>(
    items: impl IntoIterator<Item = &'a T>,
    of: impl Fn(&'a T) -> K,
) -> Vec<K>
where
    T: 'a,
{
    let mut known = Vec::new();
    for key in items.into_iter().map(of) {
        if !known.contains(&key) {
            known.push(key);
        }
    }
    known
}

/// Up to three rules that may be meant: with a few letters changed, or with a word in common.
fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.to_lowercase().replace(['_', ' '], "-");
    let has_part = |rule: &str| name.split('-').any(|part| part.len() > 2 && rule.contains(part));
    let mut near: Vec<_> = detect::docs()
        .map(|page| (!has_part(page.rule), distance(&name, page.rule), page.rule))
        .filter(|(is_other, distance, rule)| !is_other || *distance <= rule.len() / 3)
        .collect();
    near.sort_by_key(|(_, distance, rule)| (*distance, *rule));
    let closest = near.first().map_or(0, |(_, distance, _)| *distance);
    near.retain(|(_, distance, _)| *distance <= closest + 2);
    near.into_iter().map(|(.., rule)| rule).take(3).collect()
}

/// Number of letters to insert, delete or replace to turn one into the other (Levenshtein distance).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for a in from.chars() {
        let mut diagonal = 0;
        let mut left = usize::MAX;
        for (j, cost) in row.iter_mut().enumerate() {
            let change = match j.checked_sub(1).and_then(|j| to.chars().nth(j)) {
                Some(b) => diagonal + usize::from(a != b),
                None => usize::MAX,
            };
            diagonal = *cost;
            *cost = change.min(cost.saturating_add(1)).min(left.saturating_add(1));
            left = *cost;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Terminal codes (ECMA-48, SGR) for bold text and back.
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (from, to, letters) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), letters, "{from} {to}");
        }
    }

    #[test]
    fn a_misspelt_name_is_recognised() {
        for (name, rule) in [
            ("Cookie_Mismatch", "cookie-mismatch"),
            ("cookie-missmatch", "cookie-mismatch"),
            ("tsl-mismatch", "tls-mismatch"),
            ("not_allowd", "not-allowed"),
        ] {
            assert_eq!(nearest(name).first(), Some(&rule), "{name}");
        }
        assert_eq!(
            nearest("cookie"),
            ["cookie-guessing", "cookie-mismatch"],
            "either may be meant"
        );
        assert!(nearest("xyzzy").is_empty());
    }

    #[test]
    fn lines_are_filled_up_to_the_width() {
        let mut text = PageText { out: String::new(), width: 12, is_bold: false };
        text.wrapped("  - ", "four and five seventeen-letters x");
        assert_eq!(text.out, "  - four and\n    five\n    seventeen-letters\n    x\n");
    }
}
