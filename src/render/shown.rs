//! Which connections, problems, nodes and messages are written, of all that were analysed.
//!
//! In: [`Shown`], what the user asked for, and events. Out: whether an event is written, and a cluster without the rows
//! that were not asked for. What is left out was analysed all the same: it may explain what is written.

use std::collections::HashSet;
use std::net::IpAddr;
use std::str::{Chars, FromStr};
use std::sync::Arc;

use crate::limits::BoundedMap;
use crate::network::Cidr;
use crate::observe::messages::{FieldKind, MessageEvent, MessageView};
use crate::record::{Body, Cluster, ConnectionIds, Event, FailedPair, Finding};
use crate::render::escape::escape;
use crate::render::words::listed;

/// What is written. Each list that is not empty must have an entry that fits.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Nodes, as one end of a connection or as a node concerned.
    pub nodes: Vec<Pattern>,
    /// Addresses of an end of a connection, or of a node.
    pub hosts: Vec<Cidr>,
    /// Pairs of nodes or addresses, in either order.
    pub pairs: Vec<[Pattern; 2]>,
    /// Connections, each by its `session_id`.
    pub sessions: Vec<Arc<str>>,
    /// Rules of findings and incidents; they select nothing else.
    pub rules: Vec<&'static str>,
    /// Receivers of messages: registered names, processes or aliases.
    pub receivers: Vec<Pattern>,
    /// Operations of messages, by their names in the specification.
    pub operations: Vec<Pattern>,
    /// Functions that messages call or spawn: module and name.
    pub calls: Vec<[Pattern; 2]>,
}

/// A name in which `*` matches any characters and `?` matches one. Without `@`, it also fits the part of a node name
/// before the `@`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern(Arc<str>);

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" => Err("expected a name; * stands for any characters, ? for one"),
            text => Ok(Self(text.into())),
        }
    }
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        let alive = name.split_once('@').map(|(alive, _)| alive).filter(|_| !self.0.contains('@'));
        is_match(&self.0, name) || alive.is_some_and(|alive| is_match(&self.0, alive))
    }

    /// Whether it fits a name of which the part before the `@` is known; `is_there` if a node that it fits has the
    /// address, `None` if no node is known there.
    fn fits_alive(&self, alive: &str, is_there: Option<bool>) -> bool {
        match self.0.split_once('@') {
            None => is_match(&self.0, alive),
            // All nodes of a host: a name alone does not show the host.
            Some((any, _)) if any.contains('*') => is_there == Some(true),
            Some((own, _)) => is_match(own, alive) && is_there != Some(false),
        }
    }

    fn is(&self, ip: IpAddr) -> bool {
        self.0.parse::<IpAddr>().is_ok_and(|own| own.to_canonical() == ip.to_canonical())
    }
}

/// Whether `text` is what `pattern` describes. Takes at most as many steps as the product of their lengths.
fn is_match(pattern: &str, text: &str) -> bool {
    let mut rest = (pattern.chars(), text.chars());
    // The pattern after its last `*`, and the text from which that was compared.
    let mut after_star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut pattern, mut text) = rest.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                after_star = Some((pattern.clone(), rest.1.clone()));
                rest.0 = pattern;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                rest = (pattern, text);
            }
            // The `*` takes one character more.
            _ => {
                let Some((pattern, text)) = &mut after_star else { return false };
                if text.next().is_none() {
                    return false;
                }
                rest = (pattern.clone(), text.clone());
            }
        }
    }
}

/// What is known of one end of a connection.
#[derive(Clone, Copy, Default)]
struct KnownEnd<'a> {
    name: Option<&'a str>,
    /// The part of its name before the `@`, if no more is known.
    alive: Option<&'a str>,
    ip: Option<IpAddr>,
}

impl<'a> KnownEnd<'a> {
    /// An end as rows of a cluster have it: a name, a name without its host, or an address.
    fn of_text(text: &'a str) -> Self {
        match text.parse() {
            Ok(ip) => Self { ip: Some(ip), ..Self::default() },
            Err(_) if text.contains('@') => Self::of_name(text),
            Err(_) => Self { alive: Some(text), ..Self::default() },
        }
    }

    fn of_name(name: &'a str) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    fn of_ips(ids: &ConnectionIds) -> [Self; 2] {
        [ids.src_ip, ids.dest_ip].map(|ip| Self { ip: Some(ip), ..Self::default() })
    }

    /// The ends of the connection of an event, except a finding.
    fn of_event(event: &'a Event) -> Option<[Self; 2]> {
        let ids = event.connection.as_deref()?;
        let [mut initiator, mut acceptor] = Self::of_ips(ids);
        match &event.body {
            Body::Session { session } => {
                for (end, party) in
                    [(&mut initiator, &session.initiator), (&mut acceptor, &session.acceptor)]
                {
                    end.name = party.node.as_deref();
                    end.ip = party.ip.or(end.ip);
                }
                let wanted = session.wanted.as_ref();
                acceptor.alive = wanted.and_then(|wanted| wanted.alive.as_deref());
            }
            Body::Handshake { handshake } => {
                initiator.name = handshake.initiator.as_deref();
                acceptor.name = handshake.acceptor.as_deref();
            }
            Body::Epmd { epmd } => acceptor.alive = epmd.name.as_deref(),
            _ => {}
        }
        Some([initiator, acceptor])
    }
}

/// What is known of one end of a connection, kept.
#[derive(Default)]
struct OwnedEnd {
    name: Option<Box<str>>,
    alive: Option<Box<str>>,
    ip: Option<IpAddr>,
}

impl OwnedEnd {
    fn of(end: KnownEnd<'_>) -> Self {
        Self { name: end.name.map(Into::into), alive: end.alive.map(Into::into), ip: end.ip }
    }

    fn known(&self) -> KnownEnd<'_> {
        KnownEnd { name: self.name.as_deref(), alive: self.alive.as_deref(), ip: self.ip }
    }
}

/// Selects events by what the user asked for.
pub(super) struct EventFilter {
    shown: Shown,
    /// Names of the nodes that were seen at an address.
    names: BoundedMap<IpAddr, Vec<Arc<str>>>,
    /// Addresses at which a node was seen.
    ips: BoundedMap<Arc<str>, Vec<IpAddr>>,
    /// Incidents whose finding was written.
    incidents: BoundedMap<Arc<str>, ()>,
    /// The last records of incidents whose finding was not: a later one, with names, may be.
    held: BoundedMap<Arc<str>, Option<Event>>,
    /// What is known of the ends of connections.
    ends: BoundedMap<Arc<str>, [OwnedEnd; 2]>,
    /// Names and addresses at the ends of [`Shown::sessions`].
    ends_of_sessions: HashSet<String>,
    /// Whether an event about a connection, a node or a problem was written.
    has_shown: bool,
    /// Whether a message was written.
    has_shown_message: bool,
}

impl EventFilter {
    /// A filter, if `shown` selects anything.
    pub(super) fn new(shown: &Shown) -> Option<Self> {
        (!shown.options().is_empty()).then(|| Self {
            shown: shown.clone(),
            names: BoundedMap::new(MOST_KNOWN),
            ips: BoundedMap::new(MOST_KNOWN),
            incidents: BoundedMap::new(MOST_KNOWN),
            held: BoundedMap::new(MOST_KNOWN),
            ends: BoundedMap::new(MOST_KNOWN),
            ends_of_sessions: HashSet::new(),
            has_shown: false,
            has_shown_message: false,
        })
    }

    /// Which options nothing of the capture fits, and what names there are; `None` if something was written.
    pub(super) fn nothing_fits(&mut self) -> Option<String> {
        let mut options = self.shown.options();
        if self.has_shown {
            options.retain(|option| MESSAGE_OPTIONS.contains(option));
            let is_unfit = !options.is_empty() && !self.has_shown_message;
            return is_unfit
                .then(|| format!("no message of this capture fits {}", listed(&options)));
        }
        options.retain(|option| !MESSAGE_OPTIONS.contains(option));
        let unknown = self.unknown_halves();
        let (mut names, more): (Vec<_>, usize) = {
            let mut all: Vec<_> = self.ips.drain().map(|(name, _)| name).collect();
            all.sort_unstable();
            let more = all.len().saturating_sub(LISTED);
            (all.into_iter().take(LISTED).map(|name| escape(&name).into_owned()).collect(), more)
        };
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let nodes = match names.as_slice() {
            [] => "it shows no node by name".to_owned(),
            names => format!("it has {}", listed(names)),
        };
        let is_unfit = !options.is_empty();
        is_unfit.then(|| {
            let halves = match unknown.as_slice() {
                [] => String::new(),
                names => format!(": no node or address is {}", names.join(" or ")),
            };
            format!("nothing in this capture fits {}{halves}; {nodes}", listed(&options))
        })
    }

    /// The halves of pairs that fit no node and no end of a connection.
    pub(super) fn unknown_halves(&self) -> Vec<String> {
        let ends = || self.ends.iter().flat_map(|(_, ends)| ends).map(OwnedEnd::known);
        let is_known = |half: &Pattern| {
            let is_node = self.ips.iter().any(|(name, _)| half.fits(name));
            is_node || ends().any(|end| self.fits(half, &end))
        };
        let halves = self.shown.pairs.iter().flatten().filter(|half| !is_known(half));
        halves.take(LISTED).map(|half| format!("\"{}\"", escape(&half.0))).collect()
    }

    /// The record of an incident that was left out before its finding was written.
    pub(super) fn take_held(&mut self, incident: &str) -> Option<Event> {
        self.held.get_mut(incident)?.take()
    }

    /// Whether `event` is written. A cluster is, without the rows that were not asked for.
    pub(super) fn admits(&mut self, event: &mut Event) -> bool {
        let is_shown = self.selects(event);
        let is_about_input =
            matches!(&event.body, Body::Cluster { .. } | Body::Stats { .. } | Body::Anomaly { .. });
        // A node is no sign that something is between the two of a pair.
        let is_half = !self.shown.pairs.is_empty() && matches!(&event.body, Body::Node { .. });
        self.has_shown |= is_shown && !is_about_input && !is_half;
        is_shown
    }

    fn selects(&mut self, event: &mut Event) -> bool {
        match &mut event.body {
            Body::Cluster { cluster } => {
                self.retain_rows(cluster);
                return true;
            }
            Body::Stats { .. } | Body::PairChange { .. } | Body::Comparison { .. } => return true,
            Body::Node { node } => {
                for ip in &node.ips {
                    let (names, _) = self.names.entry(ip);
                    if names.len() < MOST_OF_ONE && !names.contains(&node.node) {
                        names.push(Arc::clone(&node.node));
                    }
                }
                self.ips.entry(&node.node).0.clone_from(&node.ips);
                return self.selects_node(&node.node);
            }
            _ => {}
        }
        match &event.body {
            Body::Anomaly { anomaly } if anomaly.kind.is_about_input() => true,
            Body::Incident { incident } => {
                let is_shown = self.incidents.get(&incident.incident_id).is_some();
                if !is_shown {
                    *self.held.entry(&incident.incident_id).0 = Some(event.clone());
                }
                is_shown
            }
            Body::Finding { finding } => {
                let is_shown = self.selects_finding(finding, event.connection.as_deref());
                if is_shown {
                    self.incidents.entry(&finding.incident_id);
                }
                is_shown
            }
            body => {
                let Some(ends) = KnownEnd::of_event(event) else {
                    return self.shown.has_rules_only();
                };
                let ids = event.connection.as_deref();
                if let (Some(ids), Body::Session { .. } | Body::Epmd { .. }) = (ids, body) {
                    *self.ends.entry(&ids.session_id).0 = ends.map(OwnedEnd::of);
                }
                let is_shown = self.selects_ends(&ends)
                    && self.selects_session(ids.map(|ids| &*ids.session_id));
                if is_shown && matches!(body, Body::Session { .. }) {
                    self.keep_ends(&ends);
                }
                is_shown
            }
        }
    }

    /// Whether `event` is written.
    pub(super) fn admits_message(&mut self, event: &MessageEvent<'_>) -> bool {
        let [mut initiator, mut acceptor] = KnownEnd::of_ips(event.connection);
        if let Some(names) = event.nodes {
            initiator.name = names.initiator.as_deref();
            acceptor.name = names.acceptor.as_deref();
        }
        let is_shown = self.selects_ends(&[initiator, acceptor])
            && self.selects_session(Some(&event.connection.session_id))
            && self.shown.selects_message(&event.message);
        self.has_shown_message |= is_shown;
        is_shown
    }

    fn selects_ends(&self, ends: &[KnownEnd<'_>]) -> bool {
        let Shown { nodes, hosts, pairs, .. } = &self.shown;
        let fits = |pattern: &Pattern| ends.iter().any(|end| self.fits(pattern, end));
        (nodes.is_empty() || nodes.iter().any(fits))
            && (hosts.is_empty() || ends.iter().any(|end| self.is_at(hosts, end)))
            && (pairs.is_empty() || pairs.iter().any(|pair| self.fits_pair(pair, ends)))
    }

    fn selects_session(&self, session_id: Option<&str>) -> bool {
        let wanted = &self.shown.sessions;
        wanted.is_empty() || wanted.iter().any(|id| session_id == Some(&**id))
    }

    fn selects_finding(&self, finding: &Finding, ids: Option<&ConnectionIds>) -> bool {
        let Shown { sessions, rules, .. } = &self.shown;
        let mut ends: Vec<_> = finding.nodes.iter().map(|name| KnownEnd::of_name(name)).collect();
        if ends.len() < 2 {
            ends.extend(ids.map(KnownEnd::of_ips).into_iter().flatten());
        }
        // A node that gave no name is known by the one that it was asked for.
        let own = ids.and_then(|ids| self.ends.get(&ids.session_id));
        let own = own.map(|ends| ends.each_ref().map(OwnedEnd::known));
        let mut shown_by = finding.evidence.iter().filter_map(|it| it.session_id.as_deref());
        (rules.is_empty() || rules.contains(&finding.rule))
            && (self.selects_ends(&ends) || own.is_some_and(|own| self.selects_ends(&own)))
            && (sessions.is_empty()
                || self.selects_session(ids.map(|ids| &*ids.session_id))
                || shown_by.any(|id| self.selects_session(Some(id))))
    }

    fn selects_node(&self, name: &str) -> bool {
        let Shown { nodes, hosts, pairs, sessions, .. } = &self.shown;
        let end = KnownEnd::of_name(name);
        let fits = |pattern: &Pattern| self.fits(pattern, &end);
        (nodes.is_empty() || nodes.iter().any(fits))
            && (hosts.is_empty() || self.is_at(hosts, &end))
            && (pairs.is_empty() || pairs.iter().flatten().any(fits))
            && (sessions.is_empty() || self.ends_of_sessions.contains(name))
    }

    fn retain_rows(&self, cluster: &mut Cluster) {
        let pair = |a: &str, b: &str| {
            self.selects_ends(&[KnownEnd::of_text(a), KnownEnd::of_text(b)])
                && (self.shown.sessions.is_empty()
                    || [a, b].iter().all(|end| self.ends_of_sessions.contains(*end)))
        };
        let Cluster { nodes, connected, failed, never_tried, cookies, left_out: _ } = cluster;
        nodes.retain(|node| self.selects_node(&node.node));
        connected.retain(|row| pair(&row.nodes[0], &row.nodes[1]));
        failed.retain(|FailedPair { initiator, acceptor, .. }| pair(initiator, acceptor));
        never_tried.retain(|[a, b]| pair(a, b));
        cookies.retain(|group| group.nodes.iter().any(|name| self.selects_node(name)));
    }

    fn keep_ends(&mut self, ends: &[KnownEnd<'_>]) {
        if self.shown.sessions.is_empty() {
            return;
        }
        for end in ends {
            self.ends_of_sessions.extend(end.name.map(ToOwned::to_owned));
            self.ends_of_sessions.extend(end.ip.map(|ip| ip.to_string()));
        }
    }

    fn fits(&self, pattern: &Pattern, end: &KnownEnd<'_>) -> bool {
        if end.ip.is_some_and(|ip| pattern.is(ip)) {
            return true;
        }
        if let Some(name) = end.name {
            return pattern.fits(name);
        }
        let at_ip = end.ip.and_then(|ip| self.names.get(&ip));
        let is_there = at_ip.map(|names| names.iter().any(|name| pattern.fits(name)));
        match end.alive {
            Some(alive) => pattern.fits_alive(alive, is_there),
            None => is_there == Some(true),
        }
    }

    fn fits_pair(&self, [a, b]: &[Pattern; 2], ends: &[KnownEnd<'_>]) -> bool {
        let fit = |pattern| ends.iter().enumerate().filter(move |(_, end)| self.fits(pattern, end));
        fit(a).any(|(first, _)| fit(b).any(|(second, _)| first != second))
    }

    fn is_at(&self, hosts: &[Cidr], end: &KnownEnd<'_>) -> bool {
        let known = end.name.and_then(|name| self.ips.get(name)).into_iter().flatten();
        end.ip.iter().chain(known).any(|ip| hosts.iter().any(|net| net.contains(*ip)))
    }
}

impl Shown {
    /// The options that select, as the user gave them.
    pub(super) fn options(&self) -> Vec<&'static str> {
        let Self { nodes, hosts, pairs, sessions, rules, receivers, operations, calls } = self;
        let given = [
            (!nodes.is_empty(), "--node"),
            (!hosts.is_empty(), "--host"),
            (!pairs.is_empty(), "--pair"),
            (!sessions.is_empty(), "--session"),
            (!rules.is_empty(), "--rule"),
            (!receivers.is_empty(), "--to"),
            (!operations.is_empty(), "--op"),
            (!calls.is_empty(), "--call"),
        ];
        given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, option)| option).collect()
    }

    /// Whether events without a connection are written: nothing but findings and messages is selected.
    fn has_rules_only(&self) -> bool {
        self.nodes.is_empty()
            && self.hosts.is_empty()
            && self.pairs.is_empty()
            && self.sessions.is_empty()
    }

    fn selects_message(&self, message: &MessageView<'_>) -> bool {
        let Self { receivers, operations, calls, .. } = self;
        let name = message.meta.operation_name();
        let texts = [FieldKind::ToName, FieldKind::To].map(|kind| message.text(kind));
        let mut to = texts.into_iter().flatten();
        (operations.is_empty() || operations.iter().any(|pattern| pattern.fits(name)))
            && (receivers.is_empty()
                || to.any(|to| receivers.iter().any(|pattern| pattern.fits(to))))
            && (calls.is_empty() || called(message).is_some_and(|it| fits_call(calls, it)))
    }
}

/// Module and name of the function that a message calls or spawns.
fn called<'a>(message: &MessageView<'a>) -> Option<(&'a str, &'a str)> {
    let call = message.text(FieldKind::Module).zip(message.text(FieldKind::Function));
    call.or_else(|| {
        let mfa = message.text(FieldKind::Mfa)?.strip_prefix('{')?;
        let (module, rest) = mfa.split_once(',')?;
        Some((module, rest.split_once(',')?.0))
    })
}

fn fits_call(calls: &[[Pattern; 2]], (module, function): (&str, &str)) -> bool {
    calls.iter().any(|[wanted, name]| wanted.fits(module) && name.fits(function))
}

/// The options that select messages only.
const MESSAGE_OPTIONS: [&str; 3] = ["--to", "--op", "--call"];

/// Names of nodes that are listed where nothing fits.
const LISTED: usize = 8;

/// Addresses, names and incidents that are remembered.
const MOST_KNOWN: usize = 65_536;

/// Names that are remembered of one address.
const MOST_OF_ONE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, State};
    use crate::render::samples;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn written(shown: &Shown, events: Vec<Event>) -> Vec<Event> {
        let mut filter = EventFilter::new(shown).unwrap();
        events
            .into_iter()
            .filter_map(|mut event| filter.admits(&mut event).then_some(event))
            .collect()
    }

    fn types(shown: &Shown) -> Vec<&'static str> {
        written(shown, samples::all()).iter().map(|event| event.body.event_type()).collect()
    }

    #[test]
    fn a_star_matches_any_characters_and_a_question_mark_matches_one() {
        for (pattern, text, is_fit) in [
            ("rabbit@rab1", "rabbit@rab1", true),
            ("rabbit", "rabbit@rab1", true),
            ("rab*", "rabbit@rab1", true),
            ("*@rab?", "rabbit@rab1", true),
            ("*@rab?", "rabbit@rab12", false),
            ("rabbitmqcli-*-rabbit@rab1", "rabbitmqcli-527-rabbit@rab1", true),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("rabbit@", "rabbit@rab1", false),
            ("", "", true),
            ("**", "", true),
            ("?", "é", true),
            ("Rabbit", "rabbit@rab1", false),
        ] {
            assert_eq!(Pattern(pattern.into()).fits(text), is_fit, "{pattern} {text}");
        }
        let stars = "*a".repeat(200);
        assert!(!is_match(&stars, &"a".repeat(199)), "no more steps than the product");
        assert!("  ".parse::<Pattern>().is_err());
    }

    #[test]
    fn a_node_selects_its_connections_its_findings_and_what_became_of_them() {
        let other = Shown { nodes: vec![pattern("*@elsewhere")], ..Shown::default() };
        let always = ["anomaly", "cluster", "stats", "pair_change", "comparison"];
        assert!(types(&other).iter().all(|it| always.contains(it)), "{:?}", types(&other));
        let one = Shown { nodes: vec![pattern("one")], ..Shown::default() };
        for wanted in ["session", "finding", "incident", "node", "cluster"] {
            assert!(types(&one).contains(&wanted), "{wanted}: {:?}", types(&one));
        }
    }

    #[test]
    fn a_node_without_a_name_is_selected_by_the_one_that_it_was_asked_for() {
        let mut session = samples::session(State::Closed, Outcome::TimedOut);
        let mut finding = samples::finding();
        if let Body::Session { session } = &mut session.body {
            session.acceptor.node = None;
        }
        if let Body::Finding { finding } = &mut finding.body {
            finding.nodes.pop();
        }
        let events = vec![session, finding];
        let shown = |node| Shown { nodes: vec![pattern(node)], ..Shown::default() };
        for node in ["two", "two@192.168.0.103", "one"] {
            assert_eq!(written(&shown(node), events.clone()).len(), 2, "{node}");
        }
        assert!(written(&shown("three"), events).is_empty());
    }

    #[test]
    fn an_incident_that_precedes_the_names_of_its_nodes_is_kept_for_them() {
        let shown = Shown { nodes: vec![pattern("one@192.168.0.100")], ..Shown::default() };
        let mut filter = EventFilter::new(&shown).unwrap();
        let mut early = samples::finding();
        early.connection = None;
        if let Body::Finding { finding } = &mut early.body {
            finding.nodes.clear();
        }
        assert!(!filter.admits(&mut early));
        assert!(!filter.admits(&mut samples::incident()));
        assert!(filter.admits(&mut samples::finding()));
        let held = filter.take_held("9c41000000000000").unwrap();
        assert!(matches!(held.body, Body::Incident { .. }));
        assert!(filter.admits(&mut held.clone()) && filter.take_held("9c41000000000000").is_none());
    }

    #[test]
    fn a_pair_is_selected_in_either_order_and_never_by_one_node_alone() {
        let pair = |a, b| Shown { pairs: vec![[pattern(a), pattern(b)]], ..Shown::default() };
        let has_session = |shown: &Shown| types(shown).contains(&"session");
        assert!(has_session(&pair("one", "two")));
        assert!(has_session(&pair("two@192.168.0.103", "one@*")));
        assert!(has_session(&pair("192.168.0.100", "two")), "an address of the node");
        assert!(!has_session(&pair("one", "one")));
        assert!(!has_session(&pair("one", "three")));
    }

    #[test]
    fn a_host_selects_by_address_and_a_rule_selects_findings_only() {
        let host = |net: &str| Shown { hosts: vec![net.parse().unwrap()], ..Shown::default() };
        assert!(types(&host("192.168.0.0/24")).contains(&"session"));
        assert!(!types(&host("172.16.0.0/12")).contains(&"session"));
        let rule = |id| Shown { rules: vec![id], ..Shown::default() };
        assert!(types(&rule("cookie-mismatch")).contains(&"finding"));
        let others = types(&rule("name-in-use"));
        assert!(!others.contains(&"finding") && !others.contains(&"incident"), "{others:?}");
        assert!(others.contains(&"session"));
    }

    #[test]
    fn a_cluster_keeps_the_rows_of_what_is_selected() {
        let cluster = |shown: &Shown| {
            let events = written(shown, samples::all());
            let found = events.into_iter().find_map(|event| match event.body {
                Body::Cluster { cluster } => Some(cluster),
                _ => None,
            });
            found.unwrap()
        };
        let all = samples::all();
        let whole = all.iter().find_map(|event| match &event.body {
            Body::Cluster { cluster } => Some(cluster.nodes.len()),
            _ => None,
        });
        let one = Shown { nodes: vec![pattern("one")], ..Shown::default() };
        assert!(cluster(&one).nodes.iter().all(|node| node.node.starts_with("one@")));
        let none = Shown { nodes: vec![pattern("nobody")], ..Shown::default() };
        assert_eq!((cluster(&none).nodes.len(), cluster(&none).failed.len()), (0, 0));
        assert!(whole > Some(0), "there was something to leave out");
    }

    #[test]
    fn a_session_selects_one_connection_and_its_nodes() {
        let all = samples::all();
        let id = all
            .iter()
            .find(|event| matches!(event.body, Body::Session { .. }))
            .and_then(|event| Some(Arc::clone(&event.connection.as_ref()?.session_id)))
            .unwrap();
        let own = Shown { sessions: vec![id], ..Shown::default() };
        assert!(types(&own).contains(&"session"));
        let other = Shown { sessions: vec!["0000000000000000".into()], ..Shown::default() };
        assert!(!types(&other).contains(&"session") && !types(&other).contains(&"node"));
    }
}
