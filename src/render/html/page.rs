//! The page: what the template is filled with.
//!
//! In: the parts of a report. Out: HTML, in which every text is escaped.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Output, State, Value};
use serde::Serialize;

use super::map::{self, MapView};
use super::pieces::{KnownFrames, Piece, svg_text};
use super::timeline::TimelineView;
use super::traffic::TrafficView;
use crate::limits::ReportLimits;
use crate::record::{Cluster, Node, Outcome, Stats};
use crate::render::InputNames;
use crate::render::report::{
    ClusterTable, ListedProblem, Problem, ProblemGroup, Sections, Summary, few, grouped_by_cause,
    release,
};
use crate::render::words::{
    CONNECTED_INSIDE, count, grouped, outcome_words, shell_word, state_word,
};

/// Everything that a page is made of.
pub(super) struct PageParts<'a> {
    pub(super) inputs: &'a InputNames,
    pub(super) limits: ReportLimits,
    pub(super) summary: &'a Summary,
    pub(super) stats: &'a Stats,
    pub(super) connected_inside: u64,
    pub(super) known: KnownFrames,
    pub(super) sections: &'a Sections,
    pub(super) cluster: Option<&'a Cluster>,
    pub(super) timeline: TimelineView,
    pub(super) traffic: TrafficView,
}

/// The values of the template.
#[derive(Serialize)]
struct PageView {
    css: Value,
    inputs: String,
    version: &'static str,
    verdict: String,
    unseen: Vec<[String; 2]>,
    expected: Vec<String>,
    lacks: Vec<String>,
    outcome: Vec<String>,
    sessions: Vec<Tile>,
    problems: Vec<Tile>,
    list: Vec<ListView>,
    more_listed: String,
    groups: Vec<GroupView>,
    more_blocks: String,
    notes: Vec<Vec<Piece>>,
    more_notes: String,
    map: MapView,
    cluster: ClusterView,
    timeline: TimelineView,
    traffic: TrafficView,
}

/// A number with what it counts.
#[derive(Serialize)]
struct Tile {
    number: String,
    words: String,
    class: &'static str,
}

#[derive(Serialize)]
struct ListView {
    state: &'static str,
    severity: &'static str,
    title: String,
    when: Vec<Piece>,
    remedy: String,
    details: bool,
}

/// Problems of one cause.
#[derive(Serialize)]
struct GroupView {
    heading: String,
    several: bool,
    remedy: Vec<String>,
    problems: Vec<BlockView>,
}

#[derive(Serialize)]
struct BlockView {
    number: usize,
    state: &'static str,
    severity: &'static str,
    title: Vec<Piece>,
    circumstances: Vec<Piece>,
    explanation: Vec<Piece>,
    evidence: Vec<EvidenceView>,
    not_excluded: Vec<String>,
    logs: String,
    file: Option<String>,
    commands: Vec<CommandView>,
}

#[derive(Serialize)]
struct EvidenceView {
    frame: Piece,
    text: String,
}

/// A line to copy, and what it is for.
#[derive(Serialize)]
struct CommandView {
    purpose: &'static str,
    line: String,
}

#[derive(Default, Serialize)]
struct ClusterView {
    heading: String,
    nodes: Vec<NodeView>,
    more_nodes: String,
    cookies: Vec<String>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    addresses: String,
    release: String,
    remarks: String,
}

/// Fills the template.
pub(super) fn html(parts: PageParts<'_>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_formatter(escaped);
    environment.add_template("report.html", include_str!("report.html"))?;
    environment
        .get_template("report.html")?
        .render(Value::from(Serde(&view(parts))))
        .map(|page| page + "\n")
}

/// Writes a value: markup as it is, any other text escaped.
fn escaped(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) if !value.is_safe() => {
            out.write_str(&svg_text(text)).map_err(minijinja::Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn view(parts: PageParts<'_>) -> PageView {
    let PageParts {
        inputs,
        limits,
        summary,
        stats,
        connected_inside,
        known,
        sections,
        cluster,
        timeline,
        traffic,
    } = parts;
    let names: Vec<_> = inputs.iter().cloned().collect();
    let Sections { problems, notes, .. } = sections;
    let drawn = problems.get(..limits.blocks.min(problems.len())).unwrap_or_default();
    let groups = grouped_by_cause(drawn);
    let mut number = 0;
    let groups = groups.iter().map(|group| group_view(group, &mut number, &known, inputs));
    let groups: Vec<_> = groups.collect();
    let hidden = problems.len() - drawn.len();
    let more_blocks = (hidden > 0).then(|| {
        format!(
            "Details of {} are left out; the list above has them.",
            count(hidden as u64, "other problem")
        )
    });
    let listed = &summary.problems;
    let list = listed.iter().take(limits.rows).map(|it| list_view(it, &known));
    let more_listed = listed.len().saturating_sub(limits.rows) as u64 + summary.more;
    let more = |n: u64| if n == 0 { String::new() } else { format!("and {} more", grouped(n)) };
    let lacks = summary.losses.iter().chain(&summary.advice);
    PageView {
        css: Value::from_safe_string(include_str!("report.css").to_owned()),
        inputs: few(&names),
        version: env!("CARGO_PKG_VERSION"),
        verdict: summary.head.clone(),
        unseen: summary.unseen.iter().map(|it| [it.detail.clone(), it.remedy.clone()]).collect(),
        expected: summary.expected.clone(),
        lacks: lacks.cloned().collect(),
        outcome: summary.outcome.iter().chain(&summary.unusual).cloned().collect(),
        sessions: session_tiles(stats, connected_inside),
        problems: problem_tiles(stats),
        list: list.collect(),
        more_listed: more(more_listed),
        groups,
        more_blocks: more_blocks.unwrap_or_default(),
        notes: notes.iter().take(NOTES).map(|note| known.marked(&note.one_line())).collect(),
        more_notes: more(notes.len().saturating_sub(NOTES) as u64),
        map: cluster.map(map::view).unwrap_or_default(),
        cluster: cluster.map(|cluster| cluster_view(cluster, limits.rows)).unwrap_or_default(),
        timeline,
        traffic,
    }
}

fn session_tiles(stats: &Stats, connected_inside: u64) -> Vec<Tile> {
    let tile =
        |words: &str, n: u64, class| Tile { number: grouped(n), words: words.to_owned(), class };
    let mut sessions: Vec<_> = stats.sessions.iter().map(|(outcome, n)| (*outcome, *n)).collect();
    // The statistics count them among those that use TLS.
    let inside = connected_inside.min(stats.sessions.get(&Outcome::Tls).copied().unwrap_or(0));
    for (_, n) in sessions.iter_mut().filter(|(outcome, _)| *outcome == Outcome::Tls) {
        *n -= inside;
    }
    sessions.retain(|(_, n)| *n > 0);
    sessions.sort_by_key(|(outcome, n)| (Reverse(*n), *outcome));
    let tiles = sessions.into_iter().map(|(outcome, n)| {
        let class = match outcome {
            Outcome::Connected => "ok",
            outcome if outcome.is_failure() => "bad",
            _ => "open",
        };
        tile(outcome_words(outcome), n, class)
    });
    let inside = (inside > 0).then(|| tile(CONNECTED_INSIDE, inside, "ok"));
    tiles.chain(inside).collect()
}

fn problem_tiles(stats: &Stats) -> Vec<Tile> {
    let states = [
        (&stats.problems.open, "open", "bad"),
        (&stats.problems.unknown, "unknown whether over", "open"),
        (&stats.problems.solved, "solved", "ok"),
    ];
    let tiles = states.into_iter().flat_map(|(by_severity, words, class)| {
        by_severity.iter().rev().filter(|(_, n)| **n > 0).map(move |(severity, n)| Tile {
            number: grouped(*n),
            words: format!("{}, {words}", severity.name()),
            class,
        })
    });
    tiles.collect()
}

fn list_view(problem: &ListedProblem, known: &KnownFrames) -> ListView {
    let ListedProblem { state, severity, title, when, remedy, .. } = problem;
    ListView {
        state: state_word(*state),
        severity: severity.name(),
        title: title.clone(),
        when: known.marked(when),
        remedy: remedy.clone().unwrap_or_default(),
        details: false,
    }
}

fn group_view(
    group: &ProblemGroup<'_>,
    number: &mut usize,
    known: &KnownFrames,
    inputs: &InputNames,
) -> GroupView {
    let block = |problem: &&Problem| {
        *number += 1;
        block_view(problem, *number, known, inputs)
    };
    GroupView {
        heading: group.heading.clone(),
        several: group.problems.len() > 1,
        remedy: group.remedy.to_vec(),
        problems: group.problems.iter().map(block).collect(),
    }
}

fn block_view(
    problem: &Problem,
    number: usize,
    known: &KnownFrames,
    inputs: &InputNames,
) -> BlockView {
    let finding = &problem.finding;
    let evidence =
        problem.evidence().map(|(frame, text)| EvidenceView { frame: Piece::of(&frame), text });
    BlockView {
        number,
        state: state_word(problem.state()),
        severity: problem.severity().name(),
        title: known.marked(&finding.title),
        circumstances: known.marked(&problem.circumstances(true)),
        explanation: known.marked(&finding.explanation),
        evidence: evidence.collect(),
        not_excluded: finding.not_excluded.clone(),
        logs: problem.logs(),
        file: finding.evidence_file.as_ref().map(|file| file.to_string()),
        commands: commands(problem, inputs),
    }
}

/// The display filter for the packets of a problem, and the commands that show them.
fn commands(problem: &Problem, inputs: &InputNames) -> Vec<CommandView> {
    let mut by_input: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for frame in problem.frames() {
        by_input.entry(frame.input).or_default().push(frame.number.to_string());
    }
    let mut lines = Vec::new();
    for (input, frames) in by_input {
        let filter = match frames.as_slice() {
            [one] => format!("frame.number == {one}"),
            several => format!("frame.number in {{{}}}", several.join(", ")),
        };
        let file = inputs.get(input).filter(|name| &***name != "-");
        let file = file.map_or_else(|| "CAPTURE".to_owned(), |name| shell_word(name));
        let line = format!("wireshark -r {file} -Y '{filter}'");
        lines.push(CommandView { purpose: "Display filter", line: filter });
        lines.push(CommandView { purpose: "Its packets in Wireshark", line });
    }
    if let Some(session) = problem.session_id() {
        let captures: Vec<_> = inputs
            .iter()
            .map(|name| if &**name == "-" { "CAPTURE".to_owned() } else { shell_word(name) })
            .collect();
        let captures = match captures.as_slice() {
            [] => "CAPTURE".to_owned(),
            few if few.len() <= SHOWN_INPUTS => few.join(" "),
            _ => "CAPTURE...".to_owned(),
        };
        let line = format!("beamscope --text -v --session {session} {captures}");
        lines.push(CommandView { purpose: "The connection, message by message", line });
    }
    let line = format!("beamscope explain {}", problem.finding.rule);
    lines.push(CommandView { purpose: "More about it", line });
    lines
}

fn cluster_view(cluster: &Cluster, rows: usize) -> ClusterView {
    let Some(table) = ClusterTable::of(cluster) else { return ClusterView::default() };
    let nodes = cluster.nodes.iter().take(rows).map(node_view);
    let more = cluster.nodes.len().saturating_sub(rows) as u64;
    ClusterView {
        heading: table.heading,
        nodes: nodes.collect(),
        more_nodes: if more == 0 { String::new() } else { format!("and {} more", grouped(more)) },
        cookies: table.cookies.into_iter().take(rows).collect(),
    }
}

fn node_view(node: &Node) -> NodeView {
    let names = node.names.map(|names| count(names, "name"));
    let hidden = (node.hidden == Some(true)).then(|| "hidden".to_owned());
    let restarts = (node.restarts > 0).then(|| count(node.restarts, "restart"));
    let dynamic = node.dynamic.then(|| "name given by the acceptor".to_owned());
    let remarks: Vec<_> = [names, hidden, dynamic, restarts].into_iter().flatten().collect();
    NodeView {
        name: node.node.to_string(),
        addresses: few(&node.ips),
        release: release(node).unwrap_or_else(|| "not known".to_owned()),
        remarks: remarks.join(", "),
    }
}

/// How many findings that are for information only are written.
const NOTES: usize = 20;

/// How many captures a command names.
const SHOWN_INPUTS: usize = 3;
