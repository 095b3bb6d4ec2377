//! Healthy connections that nodes close because two of them lost contact (`partition-cascade`).
//!
//! In: the messages of `global` about lost connections, and the ends of connections. `global` of a node that lost
//! another one informs the nodes that both knew (`lost_connection`), and these ask both of them to disconnect
//! (`remove_connection`): that proves a cascade, whatever ended the first connection. Without such messages, closes of
//! healthy connections within seconds after a pair lost contact are likely one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::finding::{Sides, listed, order_by_frame, seconds, shown};
use super::link_end::LinkEnd;
use super::{Detection, EndedBy, Ending, Host, IfKnown, KnownAs, LogLine, Rule, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::World;
use crate::limits::remember;
use crate::observe::{
    CloseKind, EpmdObservation, Role, RuleTrigger, Settled, State, TriggerMessage,
};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `partition-cascade`.
const CASCADE: RuleDoc = RuleDoc {
    rule: "partition-cascade",
    severity: Severity::High,
    summary: "healthy connections closed after a pair lost contact",
    symptom: "many nodes disconnect within seconds after one pair lost contact",
    meaning: "From OTP 25 on, global prevents overlapping partitions: when one pair of nodes \
              loses contact, the nodes that still see both disconnect from both. So one broken \
              link ends connections that had no fault of their own.",
    evidence: "The messages of global: lost_connection tells who lost whom, and remove_connection \
               asks a node to disconnect; the connections that carried the second one are closed \
               within milliseconds. Or, if the messages are not readable: within seconds after \
               one pair lost contact, connections of one of the two to other nodes are closed \
               with FIN, although both sides had just sent data.",
    lookalikes: "A node that is stopped closes all its connections at once, but no pair lost \
                 contact before. If the capture holds the message by which global requests the \
                 disconnect, the finding is proven.",
    log_lines: &[LogLine {
        writer: "a node that was cut off",
        releases: "OTP 25 and newer",
        text: "'global' at node 'c@h' requested disconnect from node 'b@h' in order to prevent \
               overlapping partitions",
    }],
    remedy: &[
        "Find and repair what separated the first pair; the other disconnects follow from it.",
        "Reconnect or restart the nodes that were cut off: they do not reconnect by themselves.",
        "Only if the application handles partial partitions itself: set \
         prevent_overlapping_partitions (kernel application) to false on all nodes.",
    ],
};

#[derive(Default)]
pub(super) struct PartitionCascade {
    /// The last messages of `global` about lost connections that were not evaluated, at most [`REMEMBERED`].
    messages: VecDeque<GlobalMessage>,
    /// The last established connections that ended, at most [`REMEMBERED`].
    ends: VecDeque<End>,
    /// The last pairs that lost contact without a message of `global`, at most [`REMEMBERED`].
    losses: VecDeque<Loss>,
    /// When a message of `global` last asked for a disconnect.
    last_request: Option<Timestamp>,
    /// The last cascades that messages of `global` proved, at most [`MAX_CASCADES`].
    proven: VecDeque<Cascade>,
}

/// A cascade that was reported.
struct Cascade {
    found: Detection,
    /// The two nodes that lost contact first.
    pair: [String; 2],
    /// The pairs whose connections `global` closed.
    fell: Vec<[String; 2]>,
    /// The first message of `global` about it.
    first: Timestamp,
    /// The aftermath in its text.
    aftermath: Aftermath,
}

/// Who is connected again.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Aftermath {
    /// Whether the pair that lost contact is connected.
    pair: bool,
    /// The pairs that fell and are not connected, as parts of a sentence.
    apart: Vec<String>,
}

/// A message of `global` about a lost connection.
struct GlobalMessage {
    session_id: Arc<str>,
    from: Role,
    mark: PacketRef,
    news: News,
}

enum News {
    /// It asks the receiver to disconnect from the sender.
    Disconnect,
    /// It reports that the node `by` lost `node`, as far as their names are known.
    Lost { by_sender: bool, by: Option<Arc<str>>, node: Option<Arc<str>> },
}

/// The end of an established connection.
struct End {
    settled: Settled,
    session_id: Arc<str>,
    /// How texts name the initiator and the acceptor.
    labels: [String; 2],
    ips: [IpAddr; 2],
    nodes: Vec<Arc<str>>,
    closer: Option<Role>,
    at: Timestamp,
    is_reset: bool,
    /// Whether both sides had sent something just before.
    is_healthy: bool,
    /// Whether the capture lacks bytes of it.
    lacks_bytes: bool,
    shown: Option<Evidence>,
}

/// A pair of nodes that lost contact.
struct Loss {
    nodes: [Arc<str>; 2],
    /// Start of the silence, or time of the first byte that was not acknowledged.
    began: Timestamp,
    /// When one of the two closed the connection, or the last packet of it.
    ended: Timestamp,
    shown: Evidence,
}

impl Rule for PartitionCascade {
    fn docs(&self) -> &'static [RuleDoc] {
        &[CASCADE]
    }

    fn on_session(&mut self, session: &JudgedConnection, world: &World, out: &mut Vec<Detection>) {
        self.evaluate(session.at(), Some(session), world, out);
        if !session.is_settled() {
            return;
        }
        let Some(end) = LinkEnd::of(session).or_else(|| reset_or_closed(session)) else { return };
        self.infer(session, end, out);
        if session.state() == State::Closed {
            remember(&mut self.ends, End::of(session, end), REMEMBERED);
        }
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        _: &EpmdObservation,
        world: &World,
        out: &mut Vec<Detection>,
    ) {
        self.evaluate(settled.at, None, world, out);
    }

    fn on_message(
        &mut self,
        settled: &Settled,
        message: &TriggerMessage,
        _out: &mut Vec<Detection>,
    ) {
        let (mark, from) = (message.mark, message.from);
        let news = match message.trigger {
            RuleTrigger::Disconnect => News::Disconnect,
            RuleTrigger::LostConnection { by_sender } => {
                let lost = message.lost.clone();
                let (by, node) = lost.map_or((None, None), |lost| (lost.by, lost.node));
                News::Lost { by_sender, by, node }
            }
            RuleTrigger::Execution(_) => return,
        };
        if matches!(news, News::Disconnect) {
            self.last_request = self.last_request.max(Some(mark.at));
        }
        let session_id = Arc::clone(&settled.connection.session_id);
        remember(&mut self.messages, GlobalMessage { session_id, from, mark, news }, REMEMBERED);
    }

    fn on_end(&mut self, world: &World, out: &mut Vec<Detection>) {
        self.report(None, world, out);
        for cascade in &self.proven {
            let aftermath = Aftermath::of(&cascade.pair, &cascade.fell, cascade.first, world);
            if aftermath != cascade.aftermath {
                let mut found = cascade.found.clone();
                found.if_known = IfKnown::RewritesOnly;
                out.push(aftermath.add_to(found, &cascade.pair));
            }
        }
    }
}

impl PartitionCascade {
    /// Reports what the messages show, once a second has passed without another one. `session` is the connection at
    /// hand, which the world does not know yet.
    fn evaluate(
        &mut self,
        now: Timestamp,
        session: Option<&JudgedConnection>,
        world: &World,
        out: &mut Vec<Detection>,
    ) {
        let last = self.messages.iter().map(|message| message.mark.at).max();
        if last.is_some_and(|last| now > last.after(SETTLES)) {
            let ending = session.filter(|session| session.state() == State::Closed).map(Sides::of);
            self.report(ending.as_ref(), world, out);
        }
    }

    /// Reports the connections that were closed as `global` asked. Messages with a pause between them are of two losses.
    fn report(&mut self, ending: Option<&Sides>, world: &World, out: &mut Vec<Detection>) {
        let mut messages: Vec<_> = std::mem::take(&mut self.messages).into();
        messages.sort_by_key(|message| message.mark);
        let is_close = |a: &GlobalMessage, b: &GlobalMessage| b.mark.at.since(a.mark.at) <= SETTLES;
        for news in messages.chunk_by(is_close) {
            let Some((found, proven)) = self.cascade(news, ending, world) else { continue };
            out.push(found);
            if let Some(proven) = proven {
                remember(&mut self.proven, proven, MAX_CASCADES);
            }
        }
    }

    /// The detection of the connections that were closed as these messages asked, and what is kept of it.
    fn cascade(
        &self,
        messages: &[GlobalMessage],
        ending: Option<&Sides>,
        world: &World,
    ) -> Option<(Detection, Option<Cascade>)> {
        let (first, last) = (messages.first()?.mark.at, messages.last()?.mark.at);
        let asks: Vec<_> =
            messages.iter().filter(|message| matches!(message.news, News::Disconnect)).collect();
        let is_asked = |end: &&End| {
            let ask = asks.iter().find(|ask| ask.session_id == end.session_id);
            ask.is_some_and(|ask| end.at.since(ask.mark.at) <= CASCADE_WITHIN)
        };
        let mut fell: Vec<_> = self.ends.iter().filter(is_asked).collect();
        fell.sort_by_key(|end| end.at);
        if fell.is_empty() {
            return None;
        }
        let pair = self.pair(messages);
        let hosts = pair.as_ref().and_then(|pair| self.hosts(pair, messages));
        let first_end = pair.as_ref().and_then(|pair| self.first_end(pair, hosts, first));
        // A node that is stopped closes all of its connections as well.
        if self.stopped(&fell, &asks, pair.as_ref(), ending, world) {
            return None;
        }
        let how = how_it_ended(pair.as_ref(), hosts, first_end, world);
        let first_end = first_end.and_then(|end| end.shown.clone());
        let mut found =
            cascade(messages, &asks, &fell, pair.clone(), (&how, first_end), [first, last]);
        let fell = fell.iter().map(|end| end.labels.clone()).collect::<Vec<_>>();
        let Some(pair) = pair else { return Some((found, None)) };
        // The two may connect while others still close: what they have closed since counts, and nothing else.
        let is_pair = |end: &&End| end.labels.iter().all(|label| pair.contains(label));
        let ends = self.ends.iter().filter(is_pair).map(|end| end.at);
        found.shown_at = ends.chain([first]).max();
        let [a, b] = pair.each_ref().map(|label| known_as(label));
        found.ended_by = EndedBy::Any(vec![Ending::connect(a, b)]);
        let aftermath = Aftermath::of(&pair, &fell, first, world);
        let report = aftermath.add_to(found.clone(), &pair);
        Some((report, Some(Cascade { found, pair, fell, first, aftermath })))
    }

    /// Whether one node, which may have been stopped, is an end of all these connections.
    fn stopped(
        &self,
        fell: &[&End],
        asks: &[&GlobalMessage],
        pair: Option<&[String; 2]>,
        ending: Option<&Sides>,
        world: &World,
    ) -> bool {
        let Some(first) = fell.first() else { return false };
        let is_whole = !fell.iter().any(|end| end.lacks_bytes);
        let is_of_all = |node| fell.iter().all(|end| end.may_be_of(node));
        let mut ends = [Role::Initiator, Role::Acceptor].into_iter().zip(first.ends());
        if let Some([a, b]) = pair {
            let is_of_pair = |label: &str| !is_name(label) || label == a || label == b;
            let is_ending = ending.is_some_and(|sides| {
                let may_be_of_pair = |side: &&String| !is_name(side) || *side == a || *side == b;
                [&sides.initiator, &sides.acceptor].iter().all(may_be_of_pair)
            });
            let is_again = is_whole && !is_ending && world.are_connected(a, b);
            return !is_again && ends.any(|(_, end)| is_of_pair(end.0) && is_of_all(end));
        }
        // The capture does not name the pair: it may be the node that was asked to disconnect. A node that is stopped
        // closes other connections before it is asked, and the capture may lack such a close.
        let asked = asks.iter().find(|ask| ask.session_id == first.session_id);
        let has_others = |node: (&str, IpAddr)| {
            let is_other = |end: &&End| !fell.iter().any(|it| it.session_id == end.session_id);
            let is_recent = |end: &&End| first.at.since(end.at) <= NOTICED_WITHIN;
            let mut others = self.ends.iter().filter(is_other).filter(is_recent);
            others.any(|end| end.may_be_of(node))
                || world.is_connected(is_name(node.0).then_some(node.0), node.1)
        };
        ends.any(|(role, end)| {
            asked.is_none_or(|ask| ask.from != role)
                && is_of_all(end)
                && (!is_whole || has_others(end))
        })
    }

    /// The two nodes that lost contact first, as the messages name them.
    fn pair(&self, messages: &[GlobalMessage]) -> Option<[String; 2]> {
        let mut names: Vec<&Arc<str>> = Vec::new();
        let mut senders: Vec<String> = Vec::new();
        for message in messages {
            let News::Lost { by_sender, by, node } = &message.news else { continue };
            for name in [by, node].into_iter().flatten() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if *by_sender && by.is_none() {
                let session = self.ends.iter().find(|end| end.session_id == message.session_id);
                let label = session.and_then(|end| end.labels.get(message.from.index()));
                senders.extend(label.filter(|label| !senders.contains(label)).cloned());
            }
        }
        match (names.as_slice(), senders.as_slice()) {
            ([a, b], _) => Some([a.to_string(), b.to_string()]),
            ([one], [other]) => Some([other.clone(), one.to_string()]),
            ([], [a, b]) => Some([a.clone(), b.clone()]),
            _ => None,
        }
    }

    /// The addresses of the two nodes, as far as they sent messages of `global` themselves or their names have them.
    fn hosts(&self, pair: &[String; 2], messages: &[GlobalMessage]) -> Option<[IpAddr; 2]> {
        let sent = |name: &String| {
            messages.iter().find_map(|message| match &message.news {
                News::Lost { by_sender: true, by: Some(by), .. } if **by == **name => {
                    let of = |end: &&End| end.session_id == message.session_id;
                    let end = self.ends.iter().find(of)?;
                    end.ips.get(message.from.index()).copied()
                }
                _ => None,
            })
        };
        let named = |name: &String| name.rsplit('@').next().and_then(|host| host.parse().ok());
        let [a, b] = pair.each_ref().map(|name| sent(name).or_else(|| named(name)));
        Some([a?, b?])
    }

    /// The end of the connection between the two nodes that lost contact.
    fn first_end(
        &self,
        pair: &[String; 2],
        hosts: Option<[IpAddr; 2]>,
        first: Timestamp,
    ) -> Option<&End> {
        // A connection without its handshake shows no names.
        let is_between = |end: &End| {
            end.labels.iter().all(|label| pair.contains(label))
                || end.nodes.is_empty()
                    && hosts.is_some_and(|[a, b]| end.ips == [a, b] || end.ips == [b, a])
        };
        let is_it = |end: &&End| {
            is_between(end)
                && end.at <= first.after(SETTLES)
                && first.since(end.at) <= NOTICED_WITHIN
        };
        self.ends.iter().rev().find(is_it)
    }

    /// Reports closes of healthy connections after a pair lost contact, where no message of `global` shows more.
    fn infer(&mut self, session: &JudgedConnection, end: LinkEnd, out: &mut Vec<Detection>) {
        // What was lost without a close is reported when the input goes on, which may be days later.
        let at = session.at().min(session.seen.tcp.last.at);
        let apart = |asked: Timestamp| at.since(asked).max(asked.since(at));
        if self.last_request.is_some_and(|asked| apart(asked) <= NOTICED_WITHIN) {
            return;
        }
        let began = match end {
            LinkEnd::Silent(silence) => session.seen.open_until().before(silence.lasted),
            LinkEnd::Unacknowledged => match session.verdict.undelivered.as_deref() {
                Some(lost) => lost.since,
                None => return,
            },
            LinkEnd::Closed { .. } => {
                let end = End::of(session, end);
                out.extend(self.losses.iter().rev().find_map(|loss| inferred(loss, &end)));
                return;
            }
            LinkEnd::Reset { .. } => return,
        };
        let nodes: Vec<_> = session.seen.names().cloned().collect();
        let Ok(nodes) = <[Arc<str>; 2]>::try_from(nodes) else { return };
        let lost = session.verdict.undelivered.as_deref();
        let mark = session.seen.closed().or_else(|| lost?.last).unwrap_or(session.seen.tcp.last);
        let what = if session.seen.is_closed() { Shows::FIN } else { Shows::Retransmission };
        let Some(mut shown) = shown(Some(mark), session.seen.closed_by(), what) else { return };
        shown.session_id = Some(Arc::clone(session.session_id()));
        let loss = Loss { nodes, began, ended: at, shown };
        out.extend(self.ends.iter().filter_map(|end| inferred(&loss, end)));
        remember(&mut self.losses, loss, REMEMBERED);
    }
}

impl End {
    fn of(session: &JudgedConnection, end: LinkEnd) -> Self {
        let sides = Sides::of(session);
        let is_reset = session.seen.close_kind() == Some(CloseKind::Rst);
        let by = session.seen.closed_by();
        let closer = by.map_or("one side", |by| sides.side_and_peer(by).0);
        let other = by.map_or("the other", |by| sides.side_and_peer(by).1);
        let flag = if is_reset { "RST" } else { "FIN" };
        let what =
            Shows::Note(format!("{closer} closed the connection with {other} ({flag})").into());
        let shown = shown(session.seen.closed(), None, what);
        let session_id = Arc::clone(session.session_id());
        Self {
            shown: shown
                .map(|shown| Evidence { session_id: Some(Arc::clone(&session_id)), ..shown }),
            settled: session.settled.clone(),
            session_id,
            nodes: sides.nodes,
            ips: [Role::Initiator, Role::Acceptor].map(|role| session.ip(role)),
            labels: [sides.initiator, sides.acceptor],
            closer: session.seen.closed_by(),
            at: session.seen.open_until(),
            is_reset,
            is_healthy: matches!(end, LinkEnd::Closed { .. }),
            lacks_bytes: session.seen.tcp.gaps > 0
                || session.seen.tcp.sides.each().any(|(_, side)| side.missing_bytes > 0),
        }
    }

    /// Whether `node` may be one of the two ends. Nodes without a name differ by their hosts.
    fn may_be_of(&self, node: (&str, IpAddr)) -> bool {
        let is_it = |(label, ip): (&str, IpAddr)| {
            label == node.0 || (!is_name(label) || !is_name(node.0)) && ip == node.1
        };
        self.ends().into_iter().any(is_it)
    }

    /// Label and address of the initiator and of the acceptor.
    fn ends(&self) -> [(&str, IpAddr); 2] {
        let ([a, b], [from, to]) = (&self.labels, self.ips);
        [(a.as_str(), from), (b.as_str(), to)]
    }

    /// The two sides, as part of a sentence.
    fn sides(&self) -> String {
        let [a, b] = &self.labels;
        format!("{a} and {b}")
    }
}

/// Whether a label of a side is the name of its node, and not an address.
fn is_name(label: &str) -> bool {
    label.contains('@')
}

impl Aftermath {
    /// Connections that the nodes made after `first`. An older one of the pair may be open as well: one that was cut is
    /// not closed in the capture.
    fn of(pair: &[String; 2], fell: &[[String; 2]], first: Timestamp, world: &World) -> Self {
        let is_connected = |[a, b]: &[String; 2]| world.have_connected_since([a, b], first);
        let apart = fell.iter().filter(|fell| !is_connected(fell));
        Self {
            pair: is_connected(pair),
            apart: apart.map(|[a, b]| format!("{a} and {b}")).collect(),
        }
    }

    /// Adds to a detection what became of the nodes.
    fn add_to(&self, mut found: Detection, [a, b]: &[String; 2]) -> Detection {
        if !self.pair {
            return found;
        }
        let apart: Vec<_> = self.apart.iter().map(String::as_str).collect();
        let rest = if apart.is_empty() {
            found.severity_if_solved = Some(Severity::Low);
            found.remedy = vec![
                "Nothing needs repair now: all of these nodes are connected with each other again."
                    .to_owned(),
            ];
            "and so are the nodes that were cut off: the mesh has healed".to_owned()
        } else {
            let connect = "Check that the nodes that were cut off have connected again: run \
                           nodes() on them, and net_adm:ping/1 for a node that is missing.";
            found.remedy.insert(0, connect.to_owned());
            format!(
                "so the mesh has healed between the two; {} have not connected again, as far as the \
                 capture shows",
                listed(&apart)
            )
        };
        found.explanation.push_str(&format!(" {a} and {b} are connected again, {rest}."));
        found
    }
}

/// The node that a label in a message, or of a side of a connection, names.
fn known_as(label: &str) -> KnownAs {
    match label.parse() {
        Ok(ip) => KnownAs::AnyOf(Host::At(ip)),
        Err(_) => KnownAs::Name(label.into()),
    }
}

/// A close that shows no loss by itself.
fn reset_or_closed(session: &JudgedConnection) -> Option<LinkEnd> {
    let (by, close) = session.seen.closed_by().zip(session.seen.closed())?;
    let is_connected = session.outcome() == crate::judge::Outcome::Connected;
    is_connected.then_some(LinkEnd::Reset { by, close, is_busy: true })
}

/// How the connection of the two nodes that lost contact ended, as a sentence.
fn how_it_ended(
    pair: Option<&[String; 2]>,
    hosts: Option<[IpAddr; 2]>,
    first_end: Option<&End>,
    world: &World,
) -> String {
    let closer = |end: &End, by: Role| {
        let ip = end.ips.get(by.index());
        let is_host = |host: &IpAddr| ip == Some(host);
        let by_host = hosts.and_then(|hosts| hosts.iter().position(is_host));
        let name = pair.zip(by_host).and_then(|(pair, at)| pair.get(at));
        let label = end.labels.get(by.index()).filter(|label| is_name(label));
        label.or(name).map_or("one of them", String::as_str).to_owned()
    };
    match first_end {
        Some(end @ End { is_reset: true, closer: Some(by), .. }) => {
            format!("Their connection had ended with an RST from {}.", closer(end, *by))
        }
        Some(end @ End { is_healthy: true, closer: Some(by), .. }) => format!(
            "{} had closed their connection, although both had sent something just before: somebody disconnected \
             them, or a node was stopped.",
            closer(end, *by)
        ),
        Some(_) => "Their connection had stalled before it was closed.".to_owned(),
        None if pair.is_some_and(|[a, b]| world.are_connected(a, b)) => {
            "The capture has no close of their connection.".to_owned()
        }
        None if pair.is_none() => {
            "The capture does not show which connection that was, or how it ended.".to_owned()
        }
        None => {
            let filter = hosts.map(|[a, b]| {
                let ip = if a.is_ipv6() { "ipv6" } else { "ip" };
                format!(
                    ": Wireshark shows it with the filter {ip}.addr == {a} && {ip}.addr == {b} && \
                     (tcp.flags.fin == 1 || tcp.flags.reset == 1)"
                )
            });
            format!(
                "The capture has no data of their connection from that time, so it was not followed. Its FIN or RST may \
                 be in the capture all the same{}.",
                filter.unwrap_or_default()
            )
        }
    }
}

/// The detection of a cascade that messages of `global` prove.
fn cascade(
    messages: &[GlobalMessage],
    asks: &[&GlobalMessage],
    fell: &[&End],
    pair: Option<[String; 2]>,
    (how, first_end): (&str, Option<Evidence>),
    [first, last]: [Timestamp; 2],
) -> Detection {
    let count = match fell.len() {
        1 => "a healthy connection".to_owned(),
        n => format!("{n} healthy connections"),
    };
    let lost = match &pair {
        Some([a, b]) => format!("{a} and {b} lost contact"),
        None => "nodes lost contact with each other".to_owned(),
    };
    let pairs: Vec<_> = fell.iter().map(|end| end.sides()).collect();
    let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
    let ended = fell.iter().map(|end| end.at).max().unwrap_or(last);
    let mut nodes: Vec<Arc<str>> =
        pair.iter().flatten().map(|name| Arc::from(name.as_str())).collect();
    for node in fell.iter().flat_map(|end| &end.nodes) {
        if !nodes.contains(node) {
            nodes.push(Arc::clone(node));
        }
    }
    nodes.retain(|node| node.contains('@'));
    let find_first = match &pair {
        Some([a, b]) => format!(
            "Find out why the first connection, between {a} and {b}, was lost (their logs and the network \
             at that moment); the other disconnects follow from it."
        ),
        None => CASCADE.remedy.first().copied().unwrap_or_default().to_owned(),
    };
    let rest = CASCADE.remedy.iter().skip(1).map(ToString::to_string);
    let evidence_of = |message: &GlobalMessage, what: &str| {
        let end = fell.iter().find(|end| end.session_id == message.session_id);
        let [from, to] = [message.from, message.from.peer()]
            .map(|role| end.and_then(|end| end.labels.get(role.index())));
        let between =
            from.zip(to).map_or_else(String::new, |(from, to)| format!(" from {from} to {to}"));
        let what = Shows::Note(format!("global: {what}{between}").into());
        let shown = shown(Some(message.mark), None, what)?;
        Some(Evidence { session_id: Some(Arc::clone(&message.session_id)), ..shown })
    };
    let first_news = messages.iter().find(|it| matches!(it.news, News::Lost { .. }));
    let mut evidence: Vec<_> = first_end.into_iter().collect();
    evidence.extend(first_news.and_then(|news| evidence_of(news, "lost_connection")));
    for end in fell.iter().take(SHOWN) {
        let ask = asks.iter().find(|ask| ask.session_id == end.session_id);
        evidence.extend(ask.and_then(|ask| evidence_of(ask, "remove_connection")));
        evidence.extend(end.shown.clone());
    }
    order_by_frame(&mut evidence);
    Detection {
        confidence: Confidence::Proven,
        title: format!("global closed {count} after {lost}"),
        explanation: format!(
            "{}. {how} global of the nodes that knew both then asked them to disconnect \
             (remove_connection), in order to prevent overlapping partitions. Within {}, the {} between {} \
             {} closed, although nothing was wrong with {}.",
            if pair.is_some() { &lost } else { "Nodes lost contact with each other" },
            milliseconds(ended.since(first)),
            if fell.len() == 1 { "connection" } else { "connections" },
            listed(&pairs),
            if fell.len() == 1 { "was" } else { "were" },
            if fell.len() == 1 { "it" } else { "them" },
        ),
        remedy: [find_first].into_iter().chain(rest).collect(),
        parties: format!("{},{first}", pair.map_or_else(String::new, |pair| pair.join(","))),
        nodes,
        evidence,
        not_excluded: Vec::new(),
        logged_by: Role::BOTH.to_vec(),
        settled: fell.first().map(|end| end.settled.clone()),
        ended_by: EndedBy::Nothing,
        severity_if_solved: Some(Severity::Medium),
        shown_at: Some(ended),
        ..Detection::new(&CASCADE)
    }
}

/// A detection if a healthy connection was closed soon after one of its two nodes lost contact with a third one.
fn inferred(loss: &Loss, end: &End) -> Option<Detection> {
    let [a, b] = end.nodes.as_slice() else { return None };
    let [first, second] = &loss.nodes;
    let shared = loss.nodes.iter().filter(|node| *node == a || *node == b).count();
    let is_after = end.at > loss.began && end.at <= loss.ended.after(CASCADE_WITHIN);
    if shared != 1 || !is_after || !end.is_healthy {
        return None;
    }
    let mut nodes = vec![Arc::clone(first), Arc::clone(second)];
    nodes.extend([a, b].into_iter().filter(|node| !loss.nodes.contains(node)).cloned());
    Some(Detection {
        confidence: Confidence::Likely,
        title: format!("connections were closed after {first} and {second} lost contact"),
        explanation: format!(
            "{} after {first} and {second} last received anything from each other, the connection between \
             {a} and {b} was closed, although both had sent data just before. global disconnects nodes to \
             prevent overlapping partitions.",
            seconds(micros(end.at.since(loss.began)))
        ),
        remedy: CASCADE.remedy.iter().map(ToString::to_string).collect(),
        nodes,
        parties: format!("{first},{second},{}", loss.began),
        evidence: [loss.shown.clone()].into_iter().chain(end.shown.clone()).collect(),
        not_excluded: vec!["a person or a program closed it at that moment".to_owned()],
        logged_by: end.closer.map(Role::peer).into_iter().collect(),
        ended_by: EndedBy::Any(vec![Ending::connect(
            KnownAs::Name(Arc::clone(first)),
            KnownAs::Name(Arc::clone(second)),
        )]),
        severity_if_solved: Some(Severity::Low),
        shown_at: Some(loss.ended.min(end.at)),
        ..Detection::new(&CASCADE)
    })
}

/// A short time as text: `8 ms`, or seconds.
fn milliseconds(time: Duration) -> String {
    match time.as_millis() {
        0 => "1 ms".to_owned(),
        ms @ 1..1000 => format!("{ms} ms"),
        _ => seconds(micros(time)),
    }
}

/// Nodes report a loss to each other at once, and disconnect as soon as they receive the report.
const CASCADE_WITHIN: Duration = Duration::from_secs(5);

/// A cascade is over when no message of `global` has followed for this long.
const SETTLES: Duration = Duration::from_secs(1);

/// `global` learns of a lost connection at once, and a capture may show the end of that connection later.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Connections whose messages and closes are named as evidence.
const SHOWN: usize = 8;

/// Cascades whose text is brought up to date when the input ends; with the parts of each, more than a person reads.
const MAX_CASCADES: usize = 32;

/// Maximum of messages, closes and losses kept: far more than occur within [`CASCADE_WITHIN`].
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detector;
    use crate::detect::link_end::tests::{A, B, C, closed, reset, unacknowledged};
    use crate::detect::tests::{Step, detected, events};
    use crate::judge::samples::{at, dial, mark};
    use crate::judge::world::HomeNets;
    use crate::limits::Limits;
    use crate::observe::LostContact;
    use crate::record::{Body, Event, IncidentState};

    fn inferred(steps: &[Step]) -> usize {
        let rule = &mut PartitionCascade::default();
        detected(rule, HomeNets::default(), steps).len()
    }

    #[test]
    fn a_close_soon_after_a_loss_of_one_of_its_nodes_is_a_cascade() {
        let healthy = |ms| closed(C, A, ms, ms);
        assert_eq!(inferred(&[healthy(6000), unacknowledged(A, B, 3000, 10_000)]), 1);
        assert_eq!(inferred(&[unacknowledged(A, B, 3000, 10_000), healthy(12_000)]), 1);
        assert_eq!(inferred(&[closed(A, B, 6000, 10_000), healthy(10_100)]), 1);
    }

    #[test]
    fn closes_without_a_loss_and_closes_of_other_nodes_are_no_cascade() {
        let healthy = |ms| closed(C, A, ms, ms);
        assert_eq!(inferred(&[healthy(100), closed(B, A, 120, 120)]), 0, "a node that stops");
        assert_eq!(inferred(&[reset(59_990, 60_000, false), healthy(60_001)]), 0, "one that ends");
        assert_eq!(inferred(&[healthy(2000), unacknowledged(A, B, 3000, 10_000)]), 0, "before");
        assert_eq!(inferred(&[unacknowledged(A, B, 3000, 10_000), healthy(20_000)]), 0, "after");
        let others = closed(C, "d@h4/10.0.0.4/4", 6000, 6000);
        assert_eq!(inferred(&[unacknowledged(A, B, 3000, 10_000), others]), 0);
    }

    #[test]
    fn an_inferred_cascade_names_the_pair_and_then_the_third_node() {
        let (mut rule, healthy) = (PartitionCascade::default(), closed(C, A, 6000, 6000));
        let steps = [unacknowledged(A, B, 3000, 10_000), healthy];
        let found = detected(&mut rule, HomeNets::default(), &steps);
        let [found] = &*found else { panic!("{}", found.len()) };
        assert_eq!(found.title, "connections were closed after a@h1 and b@h2 lost contact");
        assert!(found.nodes.iter().map(|it| &**it).eq(["a@h1", "b@h2", "c@h3"]));
        assert_eq!(found.shown_at, Some(at(6000)));
    }

    #[test]
    fn the_addresses_of_the_pair_are_those_of_a_reporter_and_those_in_names() {
        let world = World::new(&Limits::default(), HomeNets::default());
        let hosts = |from: Role, by_sender: bool, by: &str| {
            let mut rule = PartitionCascade::default();
            let step = closed(A, C, 60_004, 60_005);
            rule.on_session(step.session(), &world, &mut Vec::new());
            let session_id = step.session().session_id().clone();
            let by = Some(by.into());
            let news = News::Lost { by_sender, by, node: Some("b@10.0.0.2".into()) };
            let message = GlobalMessage { session_id, from, mark: mark(60_002), news };
            rule.hosts(&["a@h1".to_owned(), "b@10.0.0.2".to_owned()], &[message])
        };
        let ips = |a: [u8; 4]| Some([a.into(), [10, 0, 0, 2].into()]);
        assert_eq!(hosts(Role::Initiator, true, "a@h1"), ips([10, 0, 0, 1]));
        assert_eq!(hosts(Role::Acceptor, true, "a@h1"), ips([10, 0, 0, 3]));
        assert_eq!(hosts(Role::Initiator, false, "a@h1"), None, "passed on by another node");
        assert_eq!(hosts(Role::Initiator, true, "c@h3"), None, "of another node");
    }

    /// Bytes of A to B of 3 s that are sent again until 10 s, which is reported a day later.
    fn reported_late() -> Step {
        let mut step = unacknowledged(A, B, 3000, 10_000);
        step.session_mut().settled.at = at(DAY);
        step
    }

    #[test]
    fn a_loss_has_the_time_of_its_last_packet_and_not_that_of_its_report() {
        let healthy = |ms| closed(C, A, ms, ms);
        assert_eq!(inferred(&[healthy(6000), reported_late()]), 1);
        assert_eq!(inferred(&[reported_late(), healthy(DAY + 1000)]), 0, "a day after the loss");
        let world = World::new(&Limits::default(), HomeNets::default());
        let (mut rule, mut out) = (PartitionCascade::default(), Vec::new());
        let fell = healthy(6000);
        let (settled, asks) = message(&fell, 5999, RuleTrigger::Disconnect, None);
        rule.on_message(&settled, &asks, &mut out);
        rule.on_session(fell.session(), &world, &mut out);
        rule.on_session(reported_late().session(), &world, &mut out);
        let titles: Vec<_> = out.iter().map(|found| &found.title).collect();
        assert_eq!(
            titles,
            ["global closed a healthy connection after nodes lost contact with each other"]
        );
    }

    /// A day in milliseconds.
    const DAY: u64 = 86_400_000;

    fn message(
        of: &Step,
        ms: u64,
        trigger: RuleTrigger,
        lost: Option<[&str; 2]>,
    ) -> (Settled, TriggerMessage) {
        let settled = of.session().settled.clone();
        let lost = lost.map(|[by, node]| LostContact {
            by: Some(by.into()).filter(|_| !by.is_empty()),
            node: Some(node.into()),
        });
        let message = TriggerMessage {
            mark: mark(ms),
            from: Role::Initiator,
            operation: "REG_SEND".into(),
            trigger,
            call: None,
            lost,
        };
        (settled, message)
    }

    /// The connection of C and A with these messages, closed a moment later, and perhaps that of A and B before.
    fn detected_with(
        lost: Option<[&str; 2]>,
        asks: bool,
        both: bool,
        before: Option<&Step>,
    ) -> Vec<Detection> {
        let (world, mut out) = (World::new(&Limits::default(), HomeNets::default()), Vec::new());
        let mut rule = PartitionCascade::default();
        if let Some(before) = before {
            rule.on_session(before.session(), &world, &mut out);
        }
        let steps = [closed(C, A, 60_004, 60_005), closed(C, B, 60_004, 60_005)];
        let by_sender = RuleTrigger::LostConnection { by_sender: false };
        for (trigger, lost) in [(by_sender, lost), (RuleTrigger::Disconnect, None)] {
            if trigger == RuleTrigger::Disconnect && !asks {
                continue;
            }
            for step in &steps {
                let (settled, message) = message(step, 60_002, trigger, lost);
                rule.on_message(&settled, &message, &mut out);
            }
        }
        for step in &steps[..=usize::from(both)] {
            rule.on_session(step.session(), &world, &mut out);
        }
        assert!(out.is_empty(), "more of it may follow");
        rule.on_end(&world, &mut out);
        out
    }

    #[test]
    fn messages_of_global_prove_a_cascade_whatever_ended_the_first_connection() {
        let lost = Some(["a@h1", "b@h2"]);
        let found = detected_with(lost, true, true, None);
        assert_eq!(
            found[0].title,
            "global closed 2 healthy connections after a@h1 and b@h2 lost contact"
        );
        assert_eq!(found[0].confidence, Confidence::Proven);
        assert!(found[0].explanation.contains("no data of their connection from that time"));
        assert_eq!(found[0].nodes.len(), 3);
        let found = detected_with(lost, true, true, Some(&reset(59_990, 60_000, false)));
        assert!(found[0].explanation.contains("had ended with an RST from a@h1"));
        let found = detected_with(lost, true, true, Some(&closed(A, B, 59_990, 60_000)));
        assert!(found[0].explanation.contains("a@h1 had closed their connection"));
    }

    #[test]
    fn the_end_of_a_connection_without_names_is_found_by_the_addresses_of_its_nodes() {
        let lost = Some(["a@10.0.0.1", "b@10.0.0.2"]);
        let mut unnamed = reset(59_990, 60_000, false);
        unnamed.session_mut().forget_names();
        let found = detected_with(lost, true, true, Some(&unnamed));
        let text = &found[0].explanation;
        assert!(text.contains("had ended with an RST from a@10.0.0.1"), "{text}");
        let found = detected_with(lost, true, true, None);
        let text = &found[0].explanation;
        assert!(text.contains("ip.addr == 10.0.0.1 && ip.addr == 10.0.0.2"), "{text}");
    }

    /// The state of the cascade of A and B at the end, its severity then, and its last text. C closed its connections
    /// with both at 60,004 ms.
    fn at_the_end(later: Vec<Step>, early: bool) -> (IncidentState, Severity, String) {
        let limits = Limits::default();
        let mut world = World::new(&limits, HomeNets::default());
        let (mut detector, mut out) = (Detector::new(&limits), Vec::new());
        let steps = [closed(C, A, 60_004, 60_005), closed(C, B, 60_004, 60_005)];
        let lost = RuleTrigger::LostConnection { by_sender: false };
        for (trigger, names) in [(lost, Some(["a@h1", "b@h2"])), (RuleTrigger::Disconnect, None)] {
            for step in &steps {
                let (settled, message) = message(step, 60_002, trigger, names);
                detector.on_message(&settled, &message, &mut out);
            }
        }
        let at = later.iter().map(Step::at).chain([at(60_100)]).max().unwrap();
        let (before, after) = if early { (later, vec![]) } else { (vec![], later) };
        for step in before.into_iter().chain(steps).chain(after) {
            let it = step.session();
            world.on_session(it, &mut Vec::new(), &mut Vec::new());
            let incident = detector.on_session(it, &world, &mut out);
            world.on_session_incident(it, incident);
        }
        detector.finish(at, &world, &mut out);
        let of_rule = |event: &&Event| match &event.body {
            Body::Finding { finding } => finding.rule == CASCADE.rule,
            _ => false,
        };
        let last = out.iter().rfind(of_rule).expect("it is found");
        let Body::Finding { finding } = &last.body else { panic!() };
        let state = out.iter().rev().find_map(|event| match &event.body {
            Body::Incident { incident } if incident.rule == CASCADE.rule => {
                Some((incident.state, incident.severity))
            }
            _ => None,
        });
        let (state, severity) = state.unwrap_or((IncidentState::Open, finding.severity));
        (state, severity, finding.explanation.clone())
    }

    #[test]
    fn a_pair_that_connects_again_and_stays_solves_its_cascade() {
        let connects = |ms| vec![dial(ms, A, B).into()];
        assert_eq!(at_the_end(vec![], false).0, IncidentState::Open);
        for (steps, early) in [
            (connects(60_003), true),
            (connects(60_006), false),
            (connects(75_000), false),
            (vec![dial(60_006, B, A).into()], false),
        ] {
            let (state, severity, text) = at_the_end(steps, early);
            assert_eq!((state, severity), (IncidentState::Solved, Severity::Medium));
            assert!(text.contains("a@h1 and b@h2 are connected again"), "{text}");
            assert!(text.contains("c@h3 and a@h1, c@h3 and b@h2 have not"), "{text}");
        }
        let all = [(A, B), (A, C), (C, B)].map(|(from, to)| dial(75_000, from, to).into());
        let (state, severity, text) = at_the_end(all.into(), false);
        assert_eq!((state, severity), (IncidentState::Solved, Severity::Low));
        assert!(text.ends_with("the mesh has healed."), "{text}");
        let (state, ..) = at_the_end(vec![dial(75_000, A, C).into()], false);
        assert_eq!(state, IncidentState::Open, "the two are apart");
        let (state, _, text) = at_the_end(vec![dial(100, A, B).into()], true);
        assert_eq!(state, IncidentState::Open, "cut, and not closed");
        assert!(text.contains("no close of their connection"), "{text}");
        assert!(!text.contains("connected again"), "{text}");
        let parted = [dial(60_003, A, B).into(), closed(A, B, 60_004, 60_004)];
        assert_eq!(at_the_end(parted.into(), true).0, IncidentState::Open, "not for long");
    }

    #[test]
    fn a_cascade_that_no_message_shows_is_solved_by_its_pair_as_well() {
        let steps = [
            unacknowledged(A, B, 3000, 10_000),
            closed(C, A, 12_000, 12_000),
            dial(14_000, B, A).into(),
        ];
        let of_rule = events(&steps).into_iter().filter_map(|event| match event.body {
            Body::Incident { incident } if incident.rule == CASCADE.rule => Some(*incident),
            _ => None,
        });
        let states: Vec<_> = of_rule.map(|it| (it.state, it.severity)).collect();
        assert_eq!(states, [(IncidentState::Solved, Severity::Low)]);
    }

    #[test]
    fn closes_of_one_node_of_the_pair_alone_may_be_its_own_end() {
        assert!(detected_with(Some(["a@h1", "b@h2"]), true, false, None).is_empty());
    }

    #[test]
    fn a_node_that_was_asked_and_had_closed_another_connection_may_have_been_stopped() {
        let unnamed = Some(["", "b@h2"]);
        assert_eq!(
            detected_with(unnamed, true, false, None).len(),
            1,
            "closed because it was asked"
        );
        let before = closed(A, B, 59_990, 60_000);
        assert!(detected_with(unnamed, true, false, Some(&before)).is_empty());
        let long_before = closed(A, B, 10_000, 10_001);
        assert_eq!(detected_with(unnamed, true, false, Some(&long_before)).len(), 1);
        let of_others = closed(B, "d@h4/10.0.0.4/4", 59_990, 60_000);
        assert_eq!(detected_with(unnamed, true, false, Some(&of_others)).len(), 1);
    }

    #[test]
    fn news_of_a_loss_without_a_request_to_disconnect_is_no_cascade() {
        assert!(detected_with(Some(["a@h1", "b@h2"]), false, true, None).is_empty());
    }

    #[test]
    fn a_pair_whose_names_do_not_show_is_not_named() {
        let found = detected_with(Some(["", "b@h2"]), true, true, None);
        assert!(found[0].title.ends_with("after nodes lost contact with each other"));
    }
}
