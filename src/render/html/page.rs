//! The page: what the template is filled with.
//!
//! In: the parts of a report. Out: HTML, in which every text is escaped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Output, State, Value};
use serde::Serialize;

use super::map::{self, MapView};
use super::pieces::{KnownFrames, Piece, markup, svg_text};
use super::timeline::TimelineView;
use super::traffic::TrafficView;
use crate::limits::ReportLimits;
use crate::record::{Cluster, Node, Outcome, Stats};
use crate::render::InputNames;
use crate::render::ladder::svg::svg;
use crate::render::report::{
    ClusterTable, LadderStore, ListedProblem, Problem, Sections, Summary, few, release,
};
use crate::render::words::{
    CONNECTED_INSIDE, count, grouped, listed, outcome_words, shell_word, state_word,
};
use crate::time::Zone;

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
    pub(super) zone: &'a Zone,
    pub(super) ladders: &'a LadderStore,
    pub(super) timeline: TimelineView,
    pub(super) traffic: TrafficView,
}

/// The values of the template.
#[derive(Serialize)]
struct PageView {
    css: Value,
    inputs: String,
    zone: String,
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
    more_blocks: Vec<String>,
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
}

/// Problems of one cause.
#[derive(Serialize)]
struct GroupView {
    explain: String,
    several: bool,
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
    ladder: Value,
    ladder_notes: Vec<Vec<Piece>>,
    evidence: Vec<EvidenceView>,
    remedy: Vec<String>,
    earlier: String,
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

/// Fills the template with the parts of a report.
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
        zone,
        ladders,
        timeline,
        traffic,
    } = parts;
    let names: Vec<_> = inputs.iter().cloned().collect();
    let Sections { groups, notes, .. } = sections;
    let mut blocks = Blocks { limits, known: &known, inputs, ladders, number: 0 };
    let groups: Vec<_> = groups.iter().filter_map(|group| blocks.group(group)).collect();
    let hidden = sections.groups.iter().map(Vec::len).sum::<usize>() - blocks.number;
    let more_blocks = (hidden > 0).then(|| {
        let others = count(hidden as u64, "other problem");
        format!("Details of {others} are left out; the list above has them.")
    });
    let undrawn = (blocks.number > limits.ladders).then(|| {
        let drawn = grouped(limits.ladders as u64);
        format!(
            "The first {drawn} problems have drawings; beamscope ladder makes those of the others."
        )
    });
    let list = summary.problems.iter().take(limits.rows).map(|it| list_view(it, &known));
    let more_listed = summary.problems.len().saturating_sub(limits.rows) as u64 + summary.more;
    let more = |n: u64| if n == 0 { String::new() } else { format!("and {} more", grouped(n)) };
    let lacks = summary.losses.iter().chain(&summary.advice);
    PageView {
        css: Value::from_safe_string(include_str!("report.css").to_owned()),
        inputs: few(&names),
        zone: zone.abbreviation(stats.last.unwrap_or_default()),
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
        more_blocks: more_blocks.into_iter().chain(undrawn).collect(),
        notes: notes.iter().take(NOTES).map(|note| known.marked(&note.one_line())).collect(),
        more_notes: more(notes.len().saturating_sub(NOTES) as u64),
        map: cluster.map(|cluster| map::view(zone, cluster)).unwrap_or_default(),
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
    }
}

/// Makes the blocks of problems, in their order.
struct Blocks<'a> {
    limits: ReportLimits,
    known: &'a KnownFrames,
    inputs: &'a InputNames,
    ladders: &'a LadderStore,
    /// Number of the last block.
    number: usize,
}

impl Blocks<'_> {
    /// The blocks of a group, as far as there is room for more of them.
    fn group(&mut self, group: &[Problem]) -> Option<GroupView> {
        let room = self.limits.blocks.saturating_sub(self.number);
        let mut remedies = HashMap::new();
        let blocks = group.iter().take(room).map(|problem| self.block(problem, &mut remedies));
        let problems: Vec<_> = blocks.collect();
        let rule = group.first().filter(|_| !problems.is_empty())?.finding.rule;
        Some(GroupView {
            explain: format!("beamscope explain {rule}"),
            several: problems.len() > 1,
            problems,
        })
    }

    fn block<'a>(
        &mut self,
        problem: &'a Problem,
        remedies: &mut HashMap<&'a str, usize>,
    ) -> BlockView {
        self.number += 1;
        let (known, finding) = (self.known, &problem.finding);
        let evidence = problem.evidence();
        let evidence =
            evidence.map(|(frame, text)| EvidenceView { frame: Piece::of(&frame), text });
        let (remedy, earlier) = problem.own_remedies(self.number, remedies);
        let earlier = match (remedy.is_empty(), listed(&earlier)) {
            (_, earlier) if earlier.is_empty() => String::new(),
            (true, earlier) => format!("What to do: as for {earlier}."),
            (false, earlier) => format!("Also as for {earlier}."),
        };
        let ladder = (self.number <= self.limits.ladders)
            .then(|| self.ladders.of_finding(&finding.incident_id))
            .flatten();
        let notes = ladder.iter().flat_map(|ladder| &ladder.notes);
        BlockView {
            number: self.number,
            state: state_word(problem.state()),
            severity: problem.severity().name(),
            title: known.marked(&finding.title),
            circumstances: known.marked(&problem.circumstances(true)),
            explanation: known.marked(&finding.explanation),
            ladder_notes: notes.map(|note| known.marked(note)).collect(),
            ladder: ladder.map(|ladder| markup(svg(&ladder))).unwrap_or_default(),
            evidence: evidence.collect(),
            remedy: remedy.into_iter().map(ToOwned::to_owned).collect(),
            earlier,
            not_excluded: finding.not_excluded.clone(),
            logs: problem.logs(),
            file: finding.evidence_file.as_ref().map(|file| file.to_string()),
            commands: commands(problem, self.inputs),
        }
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
        let line = format!("beamscope ladder --session {session} {captures}");
        lines.push(CommandView { purpose: "Its connection, message by message", line });
    }
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
