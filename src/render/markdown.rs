//! The short form of a report, for a ticket or a pull request.
//!
//! In: summary, problems and cluster. Out: Markdown in which text from the wire is no markup.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::record::Cluster;
use crate::render::escape::escape;
use crate::render::report::{ClusterTable, Problem, Sections, Summary};
use crate::render::words::{count, grouped, listed, state_word};

/// Writes the short form.
pub(super) fn write(
    out: &mut impl Write,
    summary: &Summary,
    sections: &Sections,
    cluster: Option<&Cluster>,
) -> io::Result<()> {
    writeln!(out, "**{}**", plain(&summary.head))?;
    for unseen in &summary.unseen {
        writeln!(out, "\n> Cannot tell: {} {}", plain(&unseen.detail), plain(&unseen.remedy))?;
    }
    paragraphs(out, &summary.expected)?;
    if !summary.problems.is_empty() {
        writeln!(out, "\n| state | severity | problem | when |\n|---|---|---|---|")?;
    }
    for problem in summary.problems.iter().take(LISTED) {
        let cells =
            [state_word(problem.state), problem.severity.name(), &problem.title, &problem.when];
        writeln!(out, "| {} |", cells.map(plain).join(" | "))?;
    }
    let more = summary.problems.len().saturating_sub(LISTED) as u64 + summary.more;
    if more > 0 {
        writeln!(out, "\nand {} more", grouped(more))?;
    }
    let mut number = 0;
    for group in &sections.groups {
        let mut remedies = HashMap::new();
        let room = DETAILED.saturating_sub(number);
        for problem in group.iter().take(room) {
            number += 1;
            write_problem(out, problem, number, &mut remedies)?;
        }
        if let Some(first) = group.first().filter(|_| room > 0) {
            writeln!(out, "\nMore about it: `beamscope explain {}`", first.finding.rule)?;
        }
    }
    let left = sections.groups.iter().map(Vec::len).sum::<usize>() - number;
    if left > 0 {
        writeln!(out, "\nDetails of {} are left out.", count(left as u64, "other problem"))?;
    }
    if let Some(table) = cluster.and_then(ClusterTable::of) {
        writeln!(out, "\n{}.\n", plain(&table.heading))?;
        for row in table.failed.iter().take(LISTED) {
            writeln!(out, "- {}", plain(row))?;
        }
        let more = table.failed.len().saturating_sub(LISTED) as u64;
        if more > 0 {
            writeln!(out, "- and {} more", grouped(more))?;
        }
    }
    paragraphs(out, &summary.outcome)?;
    list(out, "The capture is not complete:", &summary.losses)?;
    paragraphs(out, summary.advice.as_slice())
}

fn write_problem<'a>(
    out: &mut impl Write,
    problem: &'a Problem,
    number: usize,
    remedies: &mut HashMap<&'a str, usize>,
) -> io::Result<()> {
    let finding = &problem.finding;
    writeln!(out, "\n### {number}. {}", plain(&finding.title))?;
    let (when, why) = (problem.circumstances(true), &finding.explanation);
    writeln!(out, "\n{} {}\n", plain(&when), plain(why))?;
    for (frame, text) in problem.evidence() {
        writeln!(out, "- {}: {}", plain(&frame.to_string()), plain(&text))?;
    }
    let (remedy, earlier) = problem.own_remedies(number, remedies);
    list(out, "**What to do:**", &remedy)?;
    if !earlier.is_empty() {
        writeln!(out, "\nWhat to do: as for {}.", listed(&earlier))?;
    }
    list(out, "Not ruled out:", &finding.not_excluded)?;
    writeln!(out, "\n{}", plain(&problem.logs()))
}

fn paragraphs(out: &mut impl Write, texts: &[String]) -> io::Result<()> {
    texts.iter().try_for_each(|text| writeln!(out, "\n{}", plain(text)))
}

fn list(out: &mut impl Write, heading: &str, items: &[impl AsRef<str>]) -> io::Result<()> {
    if !items.is_empty() {
        writeln!(out, "\n{heading}\n")?;
    }
    items.iter().try_for_each(|item| writeln!(out, "- {}", plain(item.as_ref())))
}

/// The text without markup: each character that Markdown or HTML may take for some has a backslash, and those of HTML
/// are entities.
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in escape(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                safe.extend(['\\', c]);
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Problems in the table, and pairs in the list.
const LISTED: usize = 50;

/// Problems with their details: more belong into a page.
const DETAILED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(
            plain("<img src=x> [a](b) `c` *d* _e_ | #1 \u{202e}"),
            r"&lt;img src=x&gt; \[a\](b) \`c\` \*d\* \_e\_ \| \#1 \\u\{202e\}"
        );
    }
}
