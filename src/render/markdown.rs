//! The short form of a report, for a ticket or a pull request.
//!
//! In: summary, problems and cluster. Out: Markdown in which text from the wire is no markup.

use std::io::{self, Write};

use crate::record::Cluster;
use crate::render::report::{ClusterTable, Sections, Summary, grouped_by_cause};
use crate::render::words::{count, escape, grouped, state_word};

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
    let problems =
        sections.problems.get(..DETAILED.min(sections.problems.len())).unwrap_or_default();
    for group in grouped_by_cause(problems) {
        writeln!(out, "\n### {}", plain(&group.heading))?;
        for problem in &group.problems {
            if group.problems.len() > 1 {
                writeln!(out, "\n#### {}", plain(&problem.finding.title))?;
            }
            writeln!(
                out,
                "\n{} {}",
                plain(&problem.circumstances(true)),
                plain(&problem.finding.explanation)
            )?;
            writeln!(out)?;
            for (frame, text) in problem.evidence() {
                writeln!(out, "- {}: {}", plain(&frame.to_string()), plain(&text))?;
            }
            list(out, "Not ruled out:", &problem.finding.not_excluded)?;
            writeln!(out, "\n{}", plain(&problem.logs()))?;
        }
        list(out, "**What to do:**", group.remedy)?;
        writeln!(out, "\nMore about it: `beamscope explain {}`", group.rule)?;
    }
    let left = sections.problems.len() - problems.len();
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

fn paragraphs(out: &mut impl Write, texts: &[String]) -> io::Result<()> {
    texts.iter().try_for_each(|text| writeln!(out, "\n{}", plain(text)))
}

fn list(out: &mut impl Write, heading: &str, items: &[String]) -> io::Result<()> {
    if !items.is_empty() {
        writeln!(out, "\n{heading}\n")?;
    }
    items.iter().try_for_each(|item| writeln!(out, "- {}", plain(item)))
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
