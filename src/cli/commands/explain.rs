//! `beamscope explain`: the page of a rule, the list of all rules, or the rules for a line of a log.
//!
//! In: the name of a rule, a line, or neither. Out: pages as text, or as JSON. Knows no rule by name:
//! the texts are those of [`beamscope::detect`], the layout is made here.

use std::cmp::Reverse;

use beamscope::detect::log_lines::{self, Logged};
use beamscope::detect::{self, LogLine, RuleDoc};
use beamscope::record::Severity;
use beamscope::render;
use serde::Serialize;

use crate::cli::console::{self, print, report, stdout_error};
use crate::cli::error::{Error, RunOutcome};
use crate::cli::spelling::distance;

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
            let page = detect::doc(name)
                .ok_or_else(|| Error::NoRule { name: name.to_owned(), nearest: nearest(name) })?;
            text.page(page);
            vec![page]
        }
        (None, Some(line)) if line.trim().is_empty() => {
            let lines: Vec<_> = log_lines::lines().collect();
            text.lines(&lines, &UserNames::default());
            distinct(&lines, |logged| logged.doc).into_iter().flatten().collect()
        }
        (None, Some(line)) => return explain_line(line, json, text),
        (None, None) => {
            let mut pages: Vec<_> = detect::docs().collect();
            pages.sort_by_key(|page| (Reverse(page.severity), page.rule));
            text.table(&pages);
            pages
        }
    };
    if json { print_json(&pages) } else { print(text.out) }
}

/// Prints what causes a line of a log, and what to do.
fn explain_line(line: &str, json: bool, mut text: PageText) -> Result<RunOutcome, Error> {
    let lines = log_lines::search(line);
    let Some(first) = lines.first() else {
        let hint = "try only the message, without the time and level that the logger adds; \
                    beamscope explain --log '' shows all known lines";
        report(&"This log line is not known.", Some(hint.to_owned()));
        return Ok(RunOutcome::NoMatch);
    };
    let names = UserNames(log_lines::names(first.line, line));
    let pages = distinct(&lines, |logged| logged.doc);
    if json {
        let answers: Vec<_> = pages
            .into_iter()
            .map(|page| {
                let logged = lines.iter().find(|logged| logged.doc == page).unwrap_or(first);
                LineAnswer {
                    rule: page.map_or(Some(None), |_| None),
                    page,
                    line: names.in_line(logged.line.text),
                    dialing_node: names.get(DIALING),
                    dialed_node: names.get(DIALED),
                    note: logged.note.map(|note| NoteAnswer {
                        meaning: names.in_text(note.meaning),
                        remedy: note.remedy.iter().map(|step| names.in_text(step)).collect(),
                    }),
                }
            })
            .collect();
        return print_json(&answers);
    }
    let pages: Vec<_> = pages.into_iter().flatten().collect();
    text.lines(&lines, &names);
    text.roles(first.line, &names);
    text.remedies(&lines, &pages, &names);
    if !pages.is_empty() {
        text.proofs(&pages);
    }
    print(text.out)
}

/// The answer for a line of a log as JSON: the page of a rule that can cause it, and the names of the line.
#[derive(Serialize)]
struct LineAnswer<'a> {
    /// `null` if no rule belongs to the line; otherwise the page has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Option<&'a str>>,
    #[serde(flatten)]
    page: Option<&'a RuleDoc>,
    line: String,
    dialing_node: Option<&'a str>,
    dialed_node: Option<&'a str>,
    note: Option<NoteAnswer>,
}

/// What a line means that belongs to no single rule, and what to do.
#[derive(Serialize)]
struct NoteAnswer {
    meaning: String,
    remedy: Vec<String>,
}

/// Prints one JSON object a line.
fn print_json(values: &[impl Serialize]) -> Result<RunOutcome, Error> {
    let mut lines = Vec::new();
    for value in values {
        render::json_line(&mut lines, value).map_err(stdout_error)?;
    }
    print(lines)
}

/// Names of nodes in a line of the user, each with the name that it has in the known line.
#[derive(Default)]
struct UserNames(Vec<(&'static str, String)>);

impl UserNames {
    fn get(&self, known: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == known).map(|(_, own)| own.as_str())
    }

    /// A known line with the names of the user.
    fn in_line(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (known, own)| {
            if known.len() > 1 {
                return text.replace(known, own);
            }
            let words =
                text.split(' ').map(|word| if word == *known { own.as_str() } else { word });
            words.collect::<Vec<_>>().join(" ")
        })
    }

    /// A text about a line, with the names of the user, or words where the line has none.
    fn in_text(&self, text: &str) -> String {
        let mut text = self.in_line(text);
        for (known, words) in [(DIALING, "the dialing node"), (DIALED, "the other node")] {
            text = text.replace(known, words);
        }
        for (known, words) in [(DIALING, "he dialing node"), (DIALED, "he dialed node")] {
            if let (Some(own), Some(at)) = (self.get(known), text.find(words)) {
                let end = at + words.len();
                if text.get(end..).is_some_and(|rest| !rest.starts_with('\'')) {
                    text.insert_str(end, &format!(" ({own})"));
                }
            }
        }
        text
    }
}

/// Names of the dialing and of the dialed node in known lines.
const DIALING: &str = "a@h";
const DIALED: &str = "b@h";

/// A line with more causes than this has one answer for all, and not the steps of each.
const FEW_CAUSES: usize = 3;

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
    fn lines(&mut self, lines: &[Logged], names: &UserNames) {
        for text in distinct(lines, |logged| logged.line.text) {
            self.heading(&names.in_line(text));
            let same = || lines.iter().filter(|logged| logged.line.text == text);
            for author_of in distinct(same(), |logged| author(logged.line)) {
                let rules: Vec<_> = same()
                    .filter(|logged| author(logged.line) == author_of)
                    .filter_map(|logged| Some(logged.doc?.rule))
                    .collect();
                let rules = rules.join(", ");
                let separator = if rules.is_empty() { "" } else { ": " };
                self.wrapped("    ", &format!("{author_of}{separator}{rules}"));
            }
        }
    }

    /// Which node of a line dialed, and which one was dialed, as far as the line names them.
    fn roles(&mut self, line: &LogLine, names: &UserNames) {
        let (dialing, dialed) = (names.get(DIALING), names.get(DIALED));
        let roles = match (dialing, dialed) {
            (Some(a), Some(b)) => format!("{a} is the dialing node, {b} the dialed one."),
            (Some(a), None) if line.writer.starts_with("the dialed node") => format!(
                "{a} is the dialing node. The dialed one is the node that has this line in its log."
            ),
            (Some(a), None) => format!("{a} is the dialing node."),
            (None, Some(b)) if line.writer.starts_with("the dialing node") => format!(
                "{b} is the dialed node. The dialing one is the node that has this line in its log."
            ),
            _ => return,
        };
        self.out.push('\n');
        self.wrapped("", &roles);
    }

    /// What a line means and what to do: the answer of its note, or those of its rules if they are few.
    fn remedies(&mut self, lines: &[Logged], pages: &[&RuleDoc], names: &UserNames) {
        if let Some(note) = lines.iter().find_map(|logged| logged.note) {
            self.heading("What it means");
            self.wrapped("  ", &names.in_text(note.meaning));
            self.heading("What to do");
            for step in note.remedy {
                self.wrapped("  - ", &names.in_text(step));
            }
            return;
        }
        for page in pages {
            let steps = if pages.len() > FEW_CAUSES { 1 } else { page.remedy.len() };
            self.heading(&format!("What to do about {} ({})", page.rule, page.summary));
            for step in page.remedy.iter().take(steps) {
                self.wrapped("  - ", &names.in_text(step));
            }
        }
    }

    /// What a capture shows for each of these rules; their summaries alone if they are many.
    fn proofs(&mut self, pages: &[&RuleDoc]) {
        let is_short = pages.len() > FEW_CAUSES;
        self.heading(if is_short { "Possible causes" } else { "What a capture shows" });
        for page in pages {
            let text = if is_short { page.summary } else { page.evidence };
            self.wrapped("  ", &format!("{}: {text}", page.rule));
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

/// Terminal codes (ECMA-48, SGR) for bold text and back.
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

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
