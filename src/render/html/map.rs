//! The cluster as a drawing: nodes by host, and a line for each pair of nodes.
//!
//! In: the last cluster record. Out: an SVG, a row of text for each line in it, and sentences about what is not drawn.
//! The places depend on the names of the nodes alone, so that the drawings of two captures of one cluster compare, and
//! the order of events changes nothing. A large cluster is drawn by host.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

use minijinja::Value;
use serde::Serialize;

use super::pieces::{markup, shortened, svg_text};
use crate::record::{Cluster, FailedPair};
use crate::render::report::{failed_last, failure_reasons};
use crate::render::words::{count, grouped, moment};
use crate::time::Zone;

/// The drawing, and the same as text.
#[derive(Default, Serialize)]
pub(super) struct MapView {
    /// The drawing; empty if there is nothing to draw.
    pub(super) svg: Value,
    /// A row for each line of the drawing, by its number.
    pub(super) rows: Vec<MapRow>,
    /// The kinds of lines in the drawing, for its legend.
    pub(super) kinds: Vec<KindLabel>,
    /// What is drawn as one, and what is left out.
    pub(super) notes: Vec<String>,
}

/// One line of the drawing as text.
#[derive(Serialize)]
pub(super) struct MapRow {
    pub(super) number: usize,
    pub(super) ends: [String; 2],
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) detail: Vec<String>,
}

/// The name of a kind of line, and its class in the style sheet.
#[derive(Serialize)]
pub(super) struct KindLabel {
    pub(super) class: &'static str,
    pub(super) words: &'static str,
}

/// The kind of a line, the worst last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum LineKind {
    NeverTried,
    Connected,
    Closed,
    Mixed,
    Failed,
}

impl LineKind {
    const ALL: [Self; 5] =
        [Self::Connected, Self::Closed, Self::Mixed, Self::Failed, Self::NeverTried];

    const fn class(self) -> &'static str {
        match self {
            Self::NeverTried => "never",
            Self::Connected => "ok",
            Self::Closed => "closed",
            Self::Mixed => "mixed",
            Self::Failed => "bad",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::NeverTried => "never tried",
            Self::Connected => "connected",
            Self::Closed => "connected until closed",
            Self::Mixed => "connected, and other attempts failed",
            Self::Failed => "last attempt failed",
        }
    }

    const fn is_trouble(self) -> bool {
        matches!(self, Self::Mixed | Self::Failed)
    }
}

/// The pairs between two ends of a line, and what is known of them.
#[derive(Default)]
struct PairLine {
    /// Number of pairs of each kind; one pair unless the ends are hosts.
    kinds: BTreeMap<LineKind, u64>,
    /// Words for the drawing.
    short: String,
    /// Sentences for the table.
    detail: Vec<String>,
}

impl PairLine {
    fn kind(&self) -> LineKind {
        self.kinds.keys().max().copied().unwrap_or(LineKind::NeverTried)
    }
}

type Lines = BTreeMap<[String; 2], PairLine>;

/// Draws a cluster; nothing if it has no two ends of a pair.
pub(super) fn view(zone: &Zone, cluster: &Cluster) -> MapView {
    let nodes = NodePlaces::of(cluster);
    let pairs = pair_lines(zone, cluster);
    let is_small = nodes.host_of.len() <= MOST_ENDS && pairs.len() <= MOST_LINES;
    let mut view = if is_small {
        let groups = nodes.groups();
        draw(&groups, &pairs, |name| alive(name).to_owned())
    } else {
        by_host(&nodes, &pairs)
    };
    if cluster.left_out > 0 {
        view.notes.push(format!(
            "The record of the cluster itself leaves out {}.",
            count_of(cluster.left_out, "entry", "entries")
        ));
    }
    view
}

/// The drawing of a cluster that is too large for a line a pair.
fn by_host(nodes: &NodePlaces, pairs: &Lines) -> MapView {
    let host = |name: &String| nodes.host_of.get(name).cloned().unwrap_or_default();
    let mut hosts: Lines = BTreeMap::new();
    for (ends, line) in pairs {
        let mut ends = ends.each_ref().map(host);
        ends.sort();
        let merged = hosts.entry(ends).or_default();
        for (kind, n) in &line.kinds {
            *merged.kinds.entry(*kind).or_default() += n;
        }
    }
    for line in hosts.values_mut() {
        let kinds =
            LineKind::ALL.into_iter().filter_map(|kind| Some((kind, line.kinds.get(&kind)?)));
        let counts: Vec<_> =
            kinds.map(|(kind, n)| format!("{} {}", grouped(*n), short_words(kind))).collect();
        line.short = counts.join(", ");
        line.detail.push(format!("pairs: {}", counts.join(", ")));
    }
    let mut notes = vec![format!(
        "{} and {} are too many for one line a pair: each point is a host, and each line stands \
         for all pairs between two hosts.",
        count(nodes.host_of.len() as u64, "node"),
        count(pairs.len() as u64, "pair"),
    )];
    let all_hosts: BTreeSet<String> = nodes.host_of.values().cloned().collect();
    let mut drawn = all_hosts.clone();
    if all_hosts.len() > MOST_ENDS || hosts.len() > MOST_LINES {
        let total = hosts.len();
        let trouble = hosts.into_iter().filter(|(_, line)| line.kind().is_trouble());
        let mut ends = BTreeSet::new();
        let mut kept: Lines = BTreeMap::new();
        let mut trouble: Vec<_> = trouble.collect();
        trouble.sort_by(|(a, _), (b, _)| natural_pair(a, b));
        for (pair, line) in trouble {
            let with: BTreeSet<_> = ends.iter().chain(&pair).cloned().collect();
            if with.len() <= MOST_ENDS && kept.len() < MOST_TROUBLE {
                ends = with;
                kept.insert(pair, line);
            }
        }
        let (left, hidden) = (total - kept.len(), all_hosts.len() - ends.len());
        notes.push(format!(
            "Lines are drawn only where attempts failed, the first of them. Not drawn: {} and {}.",
            count_of(left as u64, "pair of hosts", "pairs of hosts"),
            count(hidden as u64, "host"),
        ));
        (hosts, drawn) = (kept, ends);
    }
    let members = |host: &str| nodes.host_of.values().filter(|it| *it == host).count() as u64;
    let mut drawn: Vec<_> = drawn.into_iter().collect();
    drawn.sort_by(|a, b| natural(a, b));
    let groups: Vec<_> = drawn.into_iter().map(|host| (None, vec![host])).collect();
    let mut view =
        draw(&groups, &hosts, |host| format!("{} ({})", host_words(host), grouped(members(host))));
    notes.append(&mut view.notes);
    view.notes = notes;
    view
}

/// Which host each node, or other end of a pair, belongs to.
struct NodePlaces {
    host_of: BTreeMap<String, String>,
}

/// A host, unless the ends are hosts themselves, and its ends.
type HostGroup = (Option<String>, Vec<String>);

impl NodePlaces {
    fn of(cluster: &Cluster) -> Self {
        let mut hosts_of_ips: HashMap<IpAddr, String> = HashMap::new();
        for node in &cluster.nodes {
            for ip in &node.ips {
                // Of several names, the first: the order of nodes in the record may differ.
                let host = host_part(&node.node);
                let known = hosts_of_ips.entry(*ip).or_insert_with(|| host.clone());
                if host < *known {
                    *known = host;
                }
            }
        }
        let failed = cluster.failed.iter().flat_map(|it| [&it.initiator, &it.acceptor]);
        let connected = cluster.connected.iter().flat_map(|it| &it.nodes);
        let names = cluster.nodes.iter().map(|node| &node.node).chain(failed).chain(connected);
        let names = names.chain(cluster.never_tried.iter().flatten());
        let place = |name: &str| {
            let host = host_part(name);
            let ip = host.parse::<IpAddr>().ok();
            ip.and_then(|ip| hosts_of_ips.get(&ip).cloned()).unwrap_or(host)
        };
        let names: BTreeSet<&str> = names.map(|name| &**name).collect();
        Self { host_of: names.into_iter().map(|name| (name.to_owned(), place(name))).collect() }
    }

    fn groups(&self) -> Vec<HostGroup> {
        let mut by_host: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (name, host) in &self.host_of {
            by_host.entry(host).or_default().push(name.clone());
        }
        let mut groups: Vec<_> = by_host.into_iter().collect();
        groups.sort_by(|(a, _), (b, _)| natural(a, b));
        let sorted = groups.into_iter().map(|(host, mut names)| {
            names.sort_by(|a, b| natural(a, b));
            (Some(host_words(host)), names)
        });
        sorted.collect()
    }
}

fn host_part(name: &str) -> String {
    let is_ip = |text: &str| text.parse::<IpAddr>().is_ok();
    match (name.split_once('@'), name.rsplit_once(AT)) {
        (Some((_, host)), _) => host.to_owned(),
        (None, Some((_, ip))) if is_ip(ip) => ip.to_owned(),
        // An address is a host; a name without one has none that is known.
        (None, _) if is_ip(name) => name.to_owned(),
        (None, _) => String::new(),
    }
}

/// What is between the name that was looked up and the address, of a node that did not give its name.
const AT: &str = " at ";

fn host_words(host: &str) -> String {
    if host.is_empty() { "host not known".to_owned() } else { host.to_owned() }
}

/// The part of a name before the `@`; a name without one as it is.
fn alive(name: &str) -> &str {
    let parts = name.split_once('@').or_else(|| name.rsplit_once(AT));
    parts.map(|(alive, _)| alive).filter(|it| !it.is_empty()).unwrap_or(name)
}

/// Every pair of the record, with the worst that is known of it.
fn pair_lines(zone: &Zone, cluster: &Cluster) -> Lines {
    /// Whether a pair is connected, in words, and its failures.
    type PairFacts<'a> = (Option<LineKind>, Vec<String>, Vec<&'a FailedPair>);
    let mut states: BTreeMap<[String; 2], PairFacts<'_>> = BTreeMap::new();
    let key = |a: &str, b: &str| {
        let mut ends = [a.to_owned(), b.to_owned()];
        ends.sort();
        ends
    };
    for pair in &cluster.connected {
        let [a, b] = &pair.nodes;
        let state = states.entry(key(a, b)).or_default();
        let kind = if pair.closed { LineKind::Closed } else { LineKind::Connected };
        state.0 = state.0.max(Some(kind));
        let inside = if pair.tls { " inside TLS" } else { "" };
        let until = if pair.closed { "; closed later" } else { "" };
        state
            .1
            .push(format!("{a} -> {b}: connected{inside} at {}{until}", moment(zone, pair.since)));
    }
    for pair in &cluster.failed {
        states.entry(key(&pair.initiator, &pair.acceptor)).or_default().2.push(pair);
    }
    for [a, b] in &cluster.never_tried {
        states.entry(key(a, b)).or_default();
    }
    let line = |(ends, (connected, mut detail, mut failed)): (_, PairFacts<'_>)| {
        detail.sort();
        failed.sort_by(|a, b| (&a.initiator, &a.acceptor).cmp(&(&b.initiator, &b.acceptor)));
        let is_beside = failed.iter().any(|pair| pair.is_beside_open_connection());
        let kind = match (connected, failed.first()) {
            (None, None) => LineKind::NeverTried,
            (Some(kind), None) => kind,
            (None, Some(_)) if !is_beside => LineKind::Failed,
            (Some(LineKind::Closed), Some(_)) if !is_beside => LineKind::Failed,
            (_, Some(_)) => LineKind::Mixed,
        };
        let short = match failed.first() {
            Some(pair) if kind == LineKind::Failed => failed_last(pair).to_owned(),
            _ => short_words(kind).to_owned(),
        };
        let reasons =
            failed.iter().map(|pair| format!("{}: {}", pair.dialed(), failure_reasons(pair)));
        detail.extend(reasons);
        (ends, PairLine { kinds: [(kind, 1)].into(), short, detail })
    };
    states.into_iter().map(line).collect()
}

const fn short_words(kind: LineKind) -> &'static str {
    match kind {
        LineKind::NeverTried => "never tried",
        LineKind::Connected => "connected",
        LineKind::Closed => "closed",
        LineKind::Mixed => "connected, some failed",
        LineKind::Failed => "failed",
    }
}

/// Numbers within names are compared as numbers, so that `n2` comes before `n10`.
fn natural(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = text.split_at(digits);
        (number.trim_start_matches('0').to_owned(), rest.to_owned())
    };
    let (mut left, mut right) = (a.to_owned(), b.to_owned());
    loop {
        let head = |text: &str| text.chars().next();
        let order = match (head(&left), head(&right)) {
            (None, _) | (_, None) => return left.len().cmp(&right.len()).then_with(|| a.cmp(b)),
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let ((x, left_rest), (y, right_rest)) = (split(&left), split(&right));
                (left, right) = (left_rest, right_rest);
                x.len().cmp(&y.len()).then(x.cmp(&y))
            }
            (Some(x), Some(y)) => {
                let rest = |text: &str, c: char| text.get(c.len_utf8()..).unwrap_or("").to_owned();
                (left, right) = (rest(&left, x), rest(&right, y));
                x.cmp(&y)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn natural_pair(a: &[String; 2], b: &[String; 2]) -> Ordering {
    let ([a1, a2], [b1, b2]) = (a, b);
    natural(a1, b1).then_with(|| natural(a2, b2))
}

fn count_of(n: u64, one: &str, several: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { several })
}

/// A point of the drawing, with the side that its label is on.
struct Point {
    x: f64,
    y: f64,
    is_left: bool,
}

/// A rectangle that nothing else may cover.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    /// The area of a line of text around a point.
    fn around(x: f64, y: f64, text: &str) -> Self {
        let width = text_width(text) + 6.0;
        Self { x: x - width / 2.0, y: y - 8.0, width, height: 16.0 }
    }

    fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Width of a text in the font of drawings; a browser fits text beyond ASCII into it.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Draws ends in two columns that bend outwards, so that every line between two of them is within.
fn draw(groups: &[HostGroup], lines: &Lines, name: impl Fn(&str) -> String) -> MapView {
    let ends: Vec<(usize, &String)> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, (_, ends))| ends.iter().map(move |end| (group, end)))
        .collect();
    if ends.is_empty() {
        return MapView::default();
    }
    let half = middle(&ends);
    let (left, right) = ends.split_at(half);
    // A few ends have more room, so that the labels of their lines are apart.
    let rows = left.len().max(right.len()) as f64;
    let row = (ROOMY / rows).clamp(ROW, WIDEST_ROW);
    let height = [left, right].map(|side| column_height(side, groups, row)).into_iter();
    let height = height.fold(LEAST_HEIGHT, f64::max) + 2.0 * MARGIN;
    let (points, taken, nodes) = (HashMap::new(), Vec::new(), String::new());
    let mut drawing = MapDrawing { row, points, taken, height, nodes };
    drawing.column(left, groups, true, &name);
    drawing.column(right, groups, false, &name);
    let mut numbered: Vec<_> = lines.iter().collect();
    numbered.sort_by(|(a, a_line), (b, b_line)| {
        b_line.kind().cmp(&a_line.kind()).then_with(|| natural_pair(a, b))
    });
    let (strokes, labels, unlabelled) = drawing.lines(&numbered);
    let kinds: BTreeSet<LineKind> = numbered.iter().map(|(_, line)| line.kind()).collect();
    let title = format!(
        "Map of the cluster: {}, {}. The table below has the same.",
        count_of(ends.len() as u64, "end", "ends"),
        count(numbered.len() as u64, "line")
    );
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">"
    );
    let _ = write!(svg, "{strokes}{}{labels}</svg>", drawing.nodes);
    let rows = (1..).zip(&numbered).map(|(number, (ends, line))| MapRow {
        number,
        ends: ends.each_ref().map(|end| end.clone()),
        kind: line.kind().class(),
        state: line.kind().words(),
        detail: line.detail.clone(),
    });
    let legend = LineKind::ALL.into_iter().filter(|kind| kinds.contains(kind));
    let unlabelled = (unlabelled > 0).then(|| {
        format!("{} without room for a label; the table has all.", count(unlabelled, "line"))
    });
    MapView {
        rows: rows.collect(),
        kinds: legend.map(|kind| KindLabel { class: kind.class(), words: kind.words() }).collect(),
        notes: unlabelled.into_iter().collect(),
        svg: markup(svg),
    }
}

/// How many ends the left column has: half of them, or up to the end of a host near that.
fn middle(ends: &[(usize, &String)]) -> usize {
    let half = ends.len().div_ceil(2);
    let is_border = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| ends.get(before));
        before.map(|it| it.0) != ends.get(at).map(|it| it.0)
    };
    let slack = ends.len() / 6;
    let near = (0..=slack).flat_map(|by| [half.saturating_sub(by), half + by]);
    near.into_iter().find(|at| *at > 0 && *at <= ends.len() && is_border(*at)).unwrap_or(half)
}

fn column_height(side: &[(usize, &String)], groups: &[HostGroup], row: f64) -> f64 {
    let rows = side.len() as f64 * row;
    let hosts: BTreeSet<usize> = side.iter().map(|(group, _)| *group).collect();
    let captions = hosts.iter().filter(|it| groups.get(**it).is_some_and(|it| it.0.is_some()));
    rows + captions.count() as f64 * CAPTION
}

/// What is drawn so far.
struct MapDrawing {
    /// Height of a row.
    row: f64,
    points: HashMap<String, Point>,
    taken: Vec<Area>,
    height: f64,
    /// Points, their labels and the names of hosts.
    nodes: String,
}

impl MapDrawing {
    fn column(
        &mut self,
        side: &[(usize, &String)],
        groups: &[HostGroup],
        is_left: bool,
        name: &impl Fn(&str) -> String,
    ) {
        let mut y = (self.height - column_height(side, groups, self.row)) / 2.0;
        let mut last = None;
        for (group, end) in side {
            let caption = groups.get(*group).and_then(|(host, _)| host.as_ref());
            let is_own_name = |host: &&String| *host == *end;
            if let Some(host) = caption.filter(|it| last != Some(*group) && !is_own_name(it)) {
                y += CAPTION;
                let x = self.bent(y);
                self.label(x, y - 5.0, is_left, "host", host);
            }
            last = Some(*group);
            y += self.row;
            let middle = y - self.row + ROW / 2.0;
            let x = self.bent(middle);
            self.label(x, middle + 4.0, is_left, "node", &name(end));
            let x = if is_left { x } else { WIDTH - x };
            let _ = write!(
                self.nodes,
                "<circle class=\"node\" cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"5\"/>"
            );
            self.taken.push(Area { x: x - 8.0, y: middle - 8.0, width: 16.0, height: 16.0 });
            self.points.insert((*end).clone(), Point { x, y: middle, is_left });
        }
    }

    /// Distance of a point from its edge of the drawing: the ends of a column are further in.
    fn bent(&self, y: f64) -> f64 {
        let share = ((y - self.height / 2.0) / (self.height / 2.0)).clamp(-1.0, 1.0);
        LABEL + BEND * (1.0 - (1.0 - share * share).max(0.0).sqrt())
    }

    /// Writes a name beside a column; `x` is the distance from the edge of the drawing.
    fn label(&mut self, x: f64, y: f64, is_left: bool, class: &str, text: &str) {
        let text = shortened(text, LONGEST_NAME);
        let width = text_width(&text);
        let inset = x - 11.0;
        let (x, anchor) = if is_left { (inset, "end") } else { (WIDTH - inset, "start") };
        let left = if is_left { x - width } else { x };
        self.taken.push(Area { x: left, y: y - 11.0, width, height: 14.0 });
        let fit = fitted(&text, width);
        let _ = write!(
            self.nodes,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{fit}>{}</text>",
            svg_text(&text)
        );
    }

    /// Lines, their labels, and how many have none.
    fn lines(&mut self, numbered: &[(&[String; 2], &PairLine)]) -> (String, String, u64) {
        let (mut strokes, mut labels, mut unlabelled) = (String::new(), String::new(), 0);
        let has_words = numbered.len() <= MOST_WORDED;
        for (number, (ends, line)) in (1..).zip(numbered) {
            let [a, b] = ends.each_ref().map(|end| self.points.get(end));
            let (Some(a), Some(b)) = (a, b) else { continue };
            let class = line.kind().class();
            let inward = if a.is_left { 1.0 } else { -1.0 };
            let places: Vec<(f64, f64)> = if std::ptr::eq(a, b) {
                let x = a.x + inward * 13.0;
                let _ = write!(
                    strokes,
                    "<circle class=\"line {class}\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"9\"/>",
                    a.y
                );
                (3..12).map(|step| (a.x + inward * f64::from(step) * 13.0, a.y)).collect()
            } else {
                // Within one column, a bow: straight lines there would cover each other.
                let is_bowed = a.is_left == b.is_left;
                let bow =
                    if is_bowed { (BOW + (a.y - b.y).abs() * 0.5).min(WIDEST_BOW) } else { 0.0 };
                let middle = ((a.x + b.x) / 2.0 + inward * bow, (a.y + b.y) / 2.0);
                let _ = write!(
                    strokes,
                    "<path class=\"line {class}\" d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\"/>",
                    a.x, a.y, middle.0, middle.1, b.x, b.y
                );
                PLACES.iter().map(|at| on_curve(a, middle, b, *at)).collect()
            };
            let worded = format!("{number} {}", line.short);
            let texts = [has_words.then_some(worded), Some(number.to_string())];
            let place = texts.into_iter().flatten().find_map(|text| {
                let areas = places.iter().map(|(x, y)| (Area::around(*x, *y, &text), *x, *y));
                let free = areas
                    .filter(|(area, ..)| self.is_free(area))
                    .map(|(area, x, y)| (area, x, y, text.clone()));
                free.into_iter().next()
            });
            let Some((area, x, y, text)) = place else {
                unlabelled += 1;
                continue;
            };
            self.taken.push(area);
            let Area { x: left, y: top, width, height } = area;
            let (fit, baseline) = (fitted(&text, text_width(&text)), y + 4.0);
            let _ = write!(
                labels,
                "<rect class=\"back\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
                 height=\"{height:.1}\" rx=\"3\"/><text class=\"label {class}\" x=\"{x:.1}\" \
                 y=\"{baseline:.1}\" text-anchor=\"middle\"{fit}>{}</text>",
                svg_text(&text)
            );
        }
        (strokes, labels, unlabelled)
    }

    fn is_free(&self, area: &Area) -> bool {
        let is_within = area.x >= 0.0
            && area.y >= 0.0
            && area.x + area.width <= WIDTH
            && area.y + area.height <= self.height;
        is_within && !self.taken.iter().any(|taken| taken.meets(area))
    }
}

/// A point of a quadratic curve, at a share of its way.
fn on_curve(a: &Point, control: (f64, f64), b: &Point, at: f64) -> (f64, f64) {
    let mix = |a: f64, control: f64, b: f64| {
        let rest = 1.0 - at;
        rest * rest * a + 2.0 * rest * at * control + at * at * b
    };
    (mix(a.x, control.0, b.x), mix(a.y, control.1, b.y))
}

/// The attributes that make a browser fit text whose width is not known: characters beyond ASCII.
fn fitted(text: &str, width: f64) -> String {
    if text.is_ascii() {
        return String::new();
    }
    format!(" textLength=\"{width:.1}\" lengthAdjust=\"spacingAndGlyphs\"")
}

/// The most ends and lines that a drawing has: more are a tangle.
const MOST_ENDS: usize = 40;
const MOST_LINES: usize = 120;

/// The most lines where not all have room: some are left out anyway, and fewer can be followed.
const MOST_TROUBLE: usize = 40;

/// The most lines that have words beside their numbers.
const MOST_WORDED: usize = 16;

/// Where on a line its label may be, the best place first.
const PLACES: [f64; 17] = [
    0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74, 0.2, 0.8, 0.47, 0.53, 0.41, 0.59, 0.14,
    0.86,
];

/// Characters of a name in a drawing; the table has it whole.
const LONGEST_NAME: usize = 28;

/// Width of a character, and the other measures of a drawing, in its own units.
const CHARACTER: f64 = 6.7;
const WIDTH: f64 = 800.0;
const LABEL: f64 = 205.0;
const BEND: f64 = 70.0;
const ROW: f64 = 30.0;
const WIDEST_ROW: f64 = 80.0;
const ROOMY: f64 = 400.0;
const CAPTION: f64 = 24.0;
const MARGIN: f64 = 12.0;
const BOW: f64 = 16.0;
const WIDEST_BOW: f64 = 190.0;
const LEAST_HEIGHT: f64 = 90.0;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Pair;
    use crate::render::samples;

    /// A mesh of nodes, `on_host` of them on each host.
    fn mesh(nodes: usize, on_host: usize) -> Cluster {
        let name = |n: usize| -> Arc<str> { format!("n{n}@h{}", n / on_host).into() };
        let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        let pair = |(a, b)| Pair {
            nodes: [name(a), name(b)],
            since: samples::at(0),
            closed: false,
            tls: false,
        };
        Cluster {
            nodes: (0..nodes).map(|n| samples::node(&name(n), None)).collect(),
            connected: pairs.map(pair).collect(),
            ..Cluster::default()
        }
    }

    fn drawn(cluster: &Cluster) -> (String, MapView) {
        let view = view(&Zone::UTC, cluster);
        (view.svg.to_string(), view)
    }

    /// The places of points and of text in a drawing: x, y, and the text.
    fn places(svg: &str, element: &str, at: [&str; 2]) -> Vec<(f64, f64, String)> {
        let number = |text: &str, name: &str| -> f64 {
            let rest = text.split_once(&format!(" {name}=\"")).unwrap().1;
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        let [x, y] = at;
        svg.split(element)
            .skip(1)
            .map(|it| {
                let text = it.split_once('>').unwrap().1.split_once('<').map_or("", |it| it.0);
                (number(it, x), number(it, y), text.to_owned())
            })
            .collect()
    }

    #[test]
    fn no_label_is_over_another_or_outside() {
        for (nodes, on_host) in [(1, 1), (2, 1), (3, 3), (5, 2), (9, 1), (15, 4), (16, 16)] {
            let (svg, view) = drawn(&mesh(nodes, on_host));
            let height: f64 = svg
                .split_once("viewBox=\"0 0 800 ")
                .unwrap()
                .1
                .split_once('"')
                .unwrap()
                .0
                .parse()
                .unwrap();
            let mut texts: Vec<Area> = Vec::new();
            for part in svg.split("<text ").skip(1) {
                let text = format!("<text  {part}");
                let (x, y, words) = places(&text, "<text ", ["x", "y"]).remove(0);
                let width = words.chars().count() as f64 * 6.63;
                let left = match part {
                    part if part.contains("\"end\"") => x - width,
                    part if part.contains("\"middle\"") => x - width / 2.0,
                    _ => x,
                };
                let area = Area { x: left, y: y - 9.0, width, height: 11.0 };
                assert!(left >= 0.0 && left + width <= WIDTH && y > 9.0 && y < height, "{words}");
                assert!(!texts.iter().any(|it| it.meets(&area)), "{nodes}: {words}: {svg}");
                texts.push(area);
            }
            assert_eq!(view.rows.len(), nodes * (nodes - 1) / 2);
            assert!(view.notes.len() < 2, "{:?}", view.notes);
        }
    }

    #[test]
    fn places_depend_on_the_names_alone() {
        let whole = mesh(7, 2);
        let mut other = whole.clone();
        other.nodes.reverse();
        other.connected.reverse();
        assert_eq!(drawn(&whole).0, drawn(&other).0);
        other.connected.truncate(4);
        let points =
            |cluster: &Cluster| places(&drawn(cluster).0, "<circle class=\"node\"", ["cx", "cy"]);
        assert_eq!(points(&whole), points(&other), "another state of the same nodes");
    }

    #[test]
    fn a_large_cluster_is_drawn_by_host_and_never_as_a_tangle() {
        for (nodes, on_host) in [(17, 1), (60, 10), (120, 1)] {
            let cluster = mesh(nodes, on_host);
            let (svg, view) = drawn(&cluster);
            assert!(view.rows.len() <= MOST_LINES, "{}", view.rows.len());
            assert!(svg.matches("class=\"node\" cx").count() <= MOST_ENDS);
            assert!(view.notes.iter().any(|note| note.contains("too many")), "{:?}", view.notes);
        }
        // Within a host, a line is a circle.
        let (svg, view) = drawn(&mesh(60, 10));
        assert_eq!(svg.matches("<circle class=\"line ok\"").count(), 6);
        assert_eq!(view.rows.len(), 6 + 15);
    }

    #[test]
    fn an_address_is_on_the_host_of_the_node_that_has_it() {
        let mut cluster = samples::pair();
        for failed in &mut cluster.failed {
            failed.initiator = "10.0.0.1".into();
            failed.acceptor = "three at 192.168.0.100".into();
        }
        let nodes = NodePlaces::of(&cluster);
        // Both sample nodes have these addresses; the first host in order has them.
        assert_eq!(nodes.host_of["10.0.0.1"], "192.168.0.100");
        assert_eq!(nodes.host_of["three at 192.168.0.100"], "192.168.0.100");
        assert_eq!(host_part("x at nowhere"), "");
    }

    #[test]
    fn a_pair_that_is_connected_beside_failures_is_drawn_as_both() {
        let mut cluster = samples::pair();
        let kinds = |cluster: &Cluster| -> Vec<_> {
            drawn(cluster).1.rows.iter().map(|row| row.kind).collect()
        };
        assert_eq!(kinds(&cluster), ["bad"]);
        let nodes = [&cluster.nodes[1].node, &cluster.nodes[0].node].map(Arc::clone);
        cluster.connected = vec![Pair { nodes, since: samples::at(0), closed: false, tls: false }];
        assert_eq!(kinds(&cluster), ["mixed"]);
        cluster.connected[0].closed = true;
        assert_eq!(kinds(&cluster), ["bad"], "connected before, and the last attempt failed");
    }

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["n10", "n9", "n1", "m", "n", "10.0.0.9", "10.0.0.10", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "10.0.0.9", "10.0.0.10", "m", "n", "n1", "n9", "n10"]);
    }
}
