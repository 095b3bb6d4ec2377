//! `beamscope explain`: what is to be known about a rule, and the rules behind a line of a log.
//!
//! In: the name of a rule, a line, or neither. Out: their pages as text, or as JSON. Knows no rule
//! by name: what is said is said in [`beamscope::detect`].

use std::cmp::Reverse;
use std::io::{self, IsTerminal};

use beamscope::detect::log_lines::{self, Logged};
use beamscope::detect::{self, LogLine, RuleDoc};
use beamscope::record::Severity;
use beamscope::render;

use super::args::Style;
use super::{Error, Outcome, complain, run};

/// Prints what is asked for.
///
/// # Errors
///
/// There is no such rule, or nothing can be written.
pub(super) fn explain(rule: Option<&str>, log: Option<&str>, json: bool) -> Result<Outcome, Error> {
    let mut text = Text::new();
    let pages: Vec<&RuleDoc> = match (rule, log) {
        (Some(name), _) => {
            let page = detect::pages().find(|page| page.rule == name);
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
                let hint = "try the words of the line without what the logger puts around them; \
                            beamscope explain --log '' shows every line that is known";
                complain(&"no rule is known to make anyone log this", Some(hint.to_owned()));
                return Ok(Outcome::NoMatch);
            }
            text.lines(&lines);
            let pages = distinct(&lines, |logged| logged.doc);
            text.proofs(&pages);
            pages
        }
        (None, None) => {
            let mut pages: Vec<_> = detect::pages().collect();
            pages.sort_by_key(|page| (Reverse(page.severity), page.rule));
            text.table(&pages);
            pages
        }
    };
    if !json {
        return run::print(text.out);
    }
    let mut lines = Vec::new();
    for page in pages {
        render::json_line(&mut lines, page).map_err(run::unwritten)?;
    }
    run::print(lines)
}

/// Pages as paragraphs.
struct Text {
    out: String,
    width: usize,
    bold: Style,
}

impl Text {
    fn new() -> Self {
        let bold = if run::takes_colour() { Style::new().bold() } else { Style::new() };
        Self { out: String::new(), width: run::width(io::stdout().is_terminal()), bold }
    }

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

    /// Each line once, with who writes it and the rules it may stand for.
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

    /// What a capture must show for each of these.
    fn proofs(&mut self, pages: &[&RuleDoc]) {
        self.heading("What a capture shows");
        for page in pages {
            self.wrapped("  ", &format!("{}: {}", page.rule, page.evidence));
        }
        self.more();
    }

    /// A bold line or two, apart from what comes before.
    fn heading(&mut self, text: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let bold = self.bold;
        self.out.push_str(&bold.render().to_string());
        self.wrapped("", text);
        self.out.truncate(self.out.trim_end().len());
        self.out.push_str(&format!("{bold:#}\n"));
    }

    /// Where to go from a list.
    fn more(&mut self) {
        self.out.push('\n');
        self.wrapped("", "beamscope explain RULE tells more about one of them.");
    }

    fn wrapped(&mut self, lead: &str, text: &str) {
        self.out.push_str(&render::wrapped(lead, text, self.width));
    }
}

/// Who writes a line, and since or until when.
fn author(line: &LogLine) -> String {
    match line.releases {
        "all" => line.writer.to_owned(),
        releases => format!("{}, {releases}", line.writer),
    }
}

/// What `of` gives for each, in the order in which it first does.
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

/// Up to three rules that are meant most likely: a few letters off, or with a part in common.
fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.to_lowercase().replace(['_', ' '], "-");
    let has_part = |rule: &str| name.split('-').any(|part| part.len() > 2 && rule.contains(part));
    let mut near: Vec<_> = detect::pages()
        .map(|page| (!has_part(page.rule), distance(&name, page.rule), page.rule))
        .filter(|(is_other, distance, rule)| !is_other || *distance <= rule.len() / 3)
        .collect();
    near.sort_by_key(|(_, distance, rule)| (*distance, *rule));
    let closest = near.first().map_or(0, |(_, distance, _)| *distance);
    near.retain(|(_, distance, _)| *distance <= closest + 2);
    near.into_iter().map(|(.., rule)| rule).take(3).collect()
}

/// How many letters to put in, take out or change to come from one to the other (Levenshtein).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (from, to, letters) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(from, to), letters, "{from} {to}");
        }
    }

    #[test]
    fn a_name_half_right_is_recognised() {
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
    fn lines_are_as_wide_as_they_may_be() {
        let mut text = Text { out: String::new(), width: 12, bold: Style::new() };
        text.wrapped("  - ", "four and five seventeen-letters x");
        assert_eq!(text.out, "  - four and\n    five\n    seventeen-letters\n    x\n");
    }
}
