//! An established connection that ended without a normal close (`connection-lost`).
//!
//! A reset ended it, or what one side sent was not acknowledged any more. A reset that comes while both sides are
//! sending may be the end of a node; it is reported once the node shows that it lives on: it has the same creation in a
//! handshake that begins later, or it accepts or dials the same peer sooner than a node can start.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::finding::{Sides, finding, lasted, order_by_frame, seconds, shown};
use super::link_end::{LinkEnd, tls_has_flowed, tls_reset};
use super::log_lines::CUT_OFF_LINES;
use super::{Detection, Rule, RuleDoc, corrupt_distribution, undelivered};
use crate::decode::Endpoint;
use crate::judge::world::World;
use crate::judge::{Implementation, JudgedConnection, Outcome, PeerSigns, Undelivered};
use crate::limits::remember;
use crate::observe::{
    EpmdObservation, EpmdOutcome, EpmdTag, Role, RuleTrigger, Settled, TriggerMessage,
};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

/// Documentation of the rule `connection-lost`.
const LOST: RuleDoc = RuleDoc {
    rule: "connection-lost",
    severity: Severity::Medium,
    summary: "a connection was reset, or one side stopped answering",
    symptom: "connections end with a reset, or one side stops answering",
    meaning: "The connection did not end with a normal close: a reset (RST) ended it, or one \
              side retransmitted the same bytes and got no answer.",
    evidence: "An RST without a FIN before it, after frames were exchanged; or retransmissions \
               while not one segment comes from the other side.",
    lookalikes: "A node that exits or is killed with unread bytes in its socket: its kernel \
                 resets the connection at once, and this is not reported, unless the node takes part in a \
                 later handshake with the same creation. An RST after a FIN, \
                 which only answers late segments and is no fault. A capture that has one \
                 direction only.",
    log_lines: CUT_OFF_LINES,
    remedy: &[
        "If the reset came from a node's own host, look for a crash dump and for the \
         out-of-memory killer: a node that is killed with unread bytes resets its connections.",
        "If neither host sent the reset, or one side fell silent, look for firewalls, load \
         balancers and NAT with an idle limit below the tick period.",
    ],
};

#[derive(Default)]
pub(super) struct ConnectionLost {
    /// When each node was certainly alive last, by its frames and hellos so far; at most [`REMEMBERED`].
    lives: HashMap<Life, (Timestamp, Evidence), RandomState>,
    /// Resets of which it is not known whether the node ended, at most [`REMEMBERED`].
    pending: VecDeque<PendingReset>,
}

/// A node between one start and its end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Life {
    /// By its name and creation.
    Named(Arc<str>, Option<u32>),
    /// By the port on which it listens.
    Listener(Endpoint),
    /// By its address, and by the port that it dialed.
    Caller(IpAddr, Endpoint),
}

/// A reset of a busy connection.
struct PendingReset {
    /// The node whose address sent the reset.
    node: Life,
    /// The port on which it listens, if it accepted the connection.
    listens: Option<Endpoint>,
    /// Addresses of the node and of its peer.
    ips: [IpAddr; 2],
    reset: PacketRef,
    session_id: Arc<str>,
    /// Whether the reset answered bytes without an acknowledgement. That also follows a FIN that the capture lacks, so
    /// that it counts only if EPMD still lists the node and its port then refuses a dial.
    is_answer: bool,
    /// Whether the capture lacks nothing of this connection, as far as it shows.
    is_whole: bool,
    /// The reply of EPMD that still lists the node.
    listed: Option<Evidence>,
    /// Whether a node that was started again would be listed with another port, or not yet.
    is_same_start: bool,
    found: Detection,
    /// How texts name the two sides, the one that sent the reset first.
    names: [String; 2],
}

impl Rule for ConnectionLost {
    fn docs(&self) -> &'static [RuleDoc] {
        &[LOST]
    }

    fn on_session(&mut self, session: &JudgedConnection, known: &World, out: &mut Vec<Detection>) {
        self.on_return(session, out);
        self.on_signs_of_life(session, out);
        if !session.is_settled() {
            return;
        }
        if session.outcome() == Outcome::Refused {
            self.on_refused(session, out);
        }
        let sides = Sides::of(session);
        match LinkEnd::of(session).or_else(|| tls_reset(session)) {
            Some(LinkEnd::Unacknowledged) => {
                let lost = session.verdict.undelivered.as_deref();
                // Large packets that do not arrive have a rule of their own.
                if let Some(lost) = lost.filter(|lost| !lost.is_large()) {
                    out.push(no_acknowledgement(session, &sides, lost));
                }
            }
            // What was sent just before is the reason.
            Some(LinkEnd::Reset { .. }) if corrupt_distribution::explains(session) => {}
            Some(LinkEnd::Reset { by, is_busy: false, .. }) => {
                out.push(reset(session, &sides, by));
            }
            Some(LinkEnd::Reset { by, close, is_busy: true }) => {
                self.on_busy_reset(session, &sides, (by, close), known, out);
            }
            _ => {}
        }
    }

    fn on_message(
        &mut self,
        settled: &Settled,
        message: &TriggerMessage,
        out: &mut Vec<Detection>,
    ) {
        if message.trigger != (RuleTrigger::LostConnection { by_sender: true }) {
            return;
        }
        let Some(by) = message.lost.as_ref().and_then(|lost| lost.by.as_ref()) else { return };
        let at = message.mark.at;
        let is_it = |pending: &PendingReset| {
            let is_sender = matches!(&pending.node, Life::Named(name, _) if name == by);
            is_sender && !pending.is_answer && at > pending.reset.at
        };
        let shown = Evidence {
            frame: message.mark.frame,
            input: None,
            session_id: Some(Arc::clone(&settled.connection.session_id)),
            from: Some(message.from),
            what: Shows::Message("lost_connection to global".to_owned()),
        };
        self.report(is_it, "its global told other nodes of the loss", &shown, out);
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        out: &mut Vec<Detection>,
    ) {
        // EPMD forgets a node at once when the node ends.
        let is_listed = epmd.outcome == EpmdOutcome::Answered
            && epmd.request == Some(EpmdTag::PORT_PLEASE2_REQ);
        let (Some(port), Some(reply)) = (epmd.port, epmd.seen.reply.filter(|_| is_listed)) else {
            return;
        };
        let listens = Endpoint { ip: settled.connection.dest_ip, port };
        // A node that was started again may be listed as well: with the same port if that is a fixed one.
        let is_same_start = |pending: &PendingReset| {
            port >= FIRST_EPHEMERAL || reply.at.since(pending.reset.at) <= REGISTERS
        };
        let is_listed = |pending: &PendingReset| {
            pending.listens == Some(listens) && reply.at > pending.reset.at.after(LATER)
        };
        // Where the creation is known, a later handshake shows whether the node was started again.
        let is_it = |pending: &PendingReset| {
            !pending.is_answer
                && is_listed(pending)
                && is_same_start(pending)
                && !matches!(pending.node, Life::Named(_, Some(_)))
        };
        let shown = Evidence {
            frame: reply.frame,
            input: None,
            session_id: Some(Arc::clone(&settled.connection.session_id)),
            from: Some(Role::Acceptor),
            what: Shows::epmd(EpmdTag::PORT2_RESP, format!("port {port}")),
        };
        for pending in self.pending.iter_mut().filter(|pending| is_listed(pending)) {
            pending.listed.get_or_insert_with(|| shown.clone());
            pending.is_same_start |= is_same_start(pending);
        }
        self.report(is_it, STILL_LISTED, &shown, out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        for mut pending in std::mem::take(&mut self.pending) {
            let is_it = pending.is_same_start && !pending.is_answer;
            if let Some(shown) = pending.listed.take().filter(|_| is_it) {
                out.push(lives_on(pending, STILL_LISTED, &shown));
            }
        }
    }
}

impl ConnectionLost {
    /// Records what the nodes of a connection sent, and reports resets of nodes that live on.
    fn on_signs_of_life(&mut self, session: &JudgedConnection, out: &mut Vec<Detection>) {
        for role in Role::BOTH {
            let life = life(session, role);
            if matches!(life, Life::Caller(..)) {
                continue;
            }
            let hello = session.seen.hello(role);
            let frame = session.seen.traffic[role].last;
            // A kernel delivers what a node wrote before it ended, and no hello.
            let hello = hello.map(|mark| (mark.at, mark));
            let frame = frame.map(|mark| (mark.at.before(KERNEL_DELIVERS), mark));
            let Some((lives_at, last)) = hello.into_iter().chain(frame).max() else { continue };
            let shown = Evidence {
                frame: last.frame,
                input: None,
                session_id: Some(Arc::clone(session.session_id())),
                from: Some(role),
                what: Shows::Note("it sends on another connection".into()),
            };
            let is_it = |pending: &PendingReset| {
                pending.node == life
                    && !pending.is_answer
                    && pending.session_id != *session.session_id()
                    && lives_at > pending.reset.at.after(LATER)
            };
            self.report(is_it, "it sent to other nodes afterwards", &shown, out);
            let is_known = self.lives.contains_key(&life);
            if is_known || self.lives.len() < REMEMBERED {
                let known = self.lives.entry(life).or_insert((lives_at, shown.clone()));
                if known.0 < lives_at {
                    *known = (lives_at, shown);
                }
            }
        }
    }

    /// A handshake that begins after a reset, of a node that lives on. Its creation is the same as before; or, where the
    /// capture does not show the one before, it begins sooner than a node can start.
    fn on_return(&mut self, session: &JudgedConnection, out: &mut Vec<Detection>) {
        let (opened, seen) = (session.seen.tcp.first.at, &session.seen);
        let is_new = seen.tcp.sides.each().any(|(_, side)| side.syn.is_some());
        if self.pending.is_empty() || !is_new {
            return;
        }
        self.pending.retain(|pending| !pending.was_started_again(session));
        for pending in std::mem::take(&mut self.pending) {
            match pending.returns(session, opened) {
                Some(shown) => {
                    let sign = format!(
                        "it took part in a new connection {} later",
                        lasted(opened.since(pending.reset.at))
                    );
                    let pending = pending.named_by(session);
                    out.push(if pending.is_answer {
                        answered(pending, &sign, shown)
                    } else {
                        lives_on(pending, &sign, &shown)
                    });
                }
                None => self.pending.push_back(pending),
            }
        }
    }

    /// A dial was refused: a port that EPMD still lists, and that accepted connections before, is behind a filter.
    fn on_refused(&mut self, session: &JudgedConnection, out: &mut Vec<Detection>) {
        let refused = session.acceptor_end();
        let first = session.seen.tcp.first.at;
        let is_it = |pending: &PendingReset| {
            pending.listens == Some(refused)
                && pending.listed.is_some()
                && first > pending.reset.at.after(LATER)
        };
        let listed = self.pending.iter().find(|pending| is_it(pending));
        if let Some(shown) = listed.and_then(|pending| pending.listed.clone()) {
            self.report(is_it, STILL_LISTED, &shown, out);
        }
    }

    /// Reports the pending resets that `is_it` selects, of nodes which live on, as `sign` and `shown` show.
    fn report(
        &mut self,
        is_it: impl Fn(&PendingReset) -> bool,
        sign: &str,
        shown: &Evidence,
        out: &mut Vec<Detection>,
    ) {
        if !self.pending.iter().any(&is_it) {
            return;
        }
        for pending in std::mem::take(&mut self.pending) {
            if is_it(&pending) {
                out.push(lives_on(pending, sign, shown));
            } else {
                self.pending.push_back(pending);
            }
        }
    }

    /// A reset while both sides were sending.
    fn on_busy_reset(
        &mut self,
        session: &JudgedConnection,
        sides: &Sides,
        (by, reset): (Role, PacketRef),
        known: &World,
        out: &mut Vec<Detection>,
    ) {
        // A reset after a FIN, even one that the capture lacks, ends nothing.
        // A FIN before the RST may be among the bytes that the capture lacks.
        let sender = &session.seen.tcp.sides[by];
        let may_have_closed = sender.fin_unseen || sender.missing_bytes > 0;
        if may_have_closed || !may_be_node(session, by, known) {
            return;
        }
        let node = life(session, by);
        let (x, y) = sides.side_and_peer(by);
        let mut found = finding(&LOST, session, sides);
        found.confidence = Confidence::Likely;
        found.parties = sides.unordered_pair();
        found.shown_at = Some(reset.at);
        found.evidence.extend(shown(Some(reset), Some(by), Shows::RST));
        for evidence in &mut found.evidence {
            evidence.session_id = Some(Arc::clone(session.session_id()));
        }
        let pending = PendingReset {
            node: node.clone(),
            listens: (by == Role::Acceptor).then(|| session.acceptor_end()),
            ips: [by, by.peer()].map(|role| session.ip(role)),
            reset,
            session_id: Arc::clone(session.session_id()),
            is_answer: session.seen.tcp.close.is_some_and(|close| close.is_answer),
            is_whole: session.seen.lost_until.is_none()
                && session.seen.tcp.sides.each().all(|(_, side)| side.missing_bytes == 0),
            listed: None,
            is_same_start: false,
            found,
            names: [x.clone(), y.clone()],
        };
        match self.lives.get(&node) {
            Some((last, shown))
                if !pending.is_answer
                    && *last > reset.at.after(LATER)
                    && shown.session_id.as_ref() != Some(session.session_id()) =>
            {
                let shown = shown.clone();
                out.push(lives_on(pending, "it sent to other nodes afterwards", &shown));
            }
            _ => remember(&mut self.pending, pending, REMEMBERED),
        }
    }
}

impl PendingReset {
    /// Evidence by a connection opened at `opened`, if it shows that the node lives on.
    fn returns(&self, session: &JudgedConnection, opened: Timestamp) -> Option<Evidence> {
        if opened <= self.reset.at || self.session_id == *session.session_id() {
            return None;
        }
        let is_known_by_creation = matches!(self.node, Life::Named(_, Some(_)));
        if self.is_answer && !(self.is_whole && is_known_by_creation) {
            return None;
        }
        let is_soon = opened.since(self.reset.at) <= STARTS;
        let [ours, theirs] = self.ips;
        let role = Role::BOTH.into_iter().find(|role| match &self.node {
            Life::Named(name, creation) => {
                session.name(*role) == Some(name)
                    && creation
                        .map_or(is_soon, |it| session.seen.handshake.creation(*role) == Some(it))
            }
            Life::Listener(end) => {
                is_soon && *role == Role::Acceptor && session.acceptor_end() == *end
            }
            // Another node of that host may dial and be dialed, but hardly the same host at that moment.
            Life::Caller(..) => {
                is_soon && (session.ip(*role), session.ip(role.peer())) == (ours, theirs)
            }
        })?;
        let mark = match session.seen.hello(role) {
            Some(hello) => hello,
            // The records behind the handshake show that both sides completed it.
            None if tls_has_flowed(session) => session.seen.tcp.sides[role].syn?.mark,
            None => return None,
        };
        Some(Evidence {
            frame: mark.frame,
            input: None,
            session_id: Some(Arc::clone(session.session_id())),
            from: Some(role),
            what: Shows::Note("a new connection of the same node".into()),
        })
    }

    /// Whether a later connection shows the node with another creation.
    fn was_started_again(&self, session: &JudgedConnection) -> bool {
        let Life::Named(name, Some(creation)) = &self.node else { return false };
        let is_other = |role: &Role| {
            let other = session.seen.handshake.creation(*role).filter(|it| *it != 0);
            session.name(*role) == Some(name) && other.is_some_and(|it| it != *creation)
        };
        session.seen.tcp.first.at > self.reset.at && Role::BOTH.iter().any(is_other)
    }

    /// Takes the names of nodes that only their new connection shows.
    fn named_by(mut self, session: &JudgedConnection) -> Self {
        if !self.found.nodes.is_empty() || session.outcome() != Outcome::Connected {
            return self;
        }
        for role in Role::BOTH {
            if [role, role.peer()].map(|role| session.ip(role)) == self.ips
                && let (Some(x), Some(y)) = (session.label(role), session.label(role.peer()))
            {
                self.names = [&x, &y].map(ToString::to_string);
                self.found.nodes = session.labels().collect();
                break;
            }
        }
        self
    }
}

/// Whether the side in this role may be a node that goes on after this connection. A tool, a client that only does a
/// handshake, or one that guesses cookies closes with bytes unread, and comes back with the same creation.
fn may_be_node(session: &JudgedConnection, role: Role, known: &World) -> bool {
    let software = session.software(role).unwrap_or_default().implementation;
    let (from, to) = (session.ip(Role::Initiator), session.acceptor_end());
    let sent = &session.seen.traffic[role];
    let has_sent = sent.messages + sent.ticks > 0 || session.outcome() == Outcome::Tls;
    has_sent
        && matches!(software, Implementation::Vm | Implementation::Unknown)
        && session.identity(role).is_none_or(|it| !it.is_tool)
        && known.guesses().guess(from, to).is_none()
}

/// The node in this role, as far as the capture identifies it.
fn life(session: &JudgedConnection, role: Role) -> Life {
    match (session.name(role), role) {
        (Some(name), _) => {
            let creation = session.seen.handshake.creation(role).filter(|it| *it != 0);
            Life::Named(Arc::clone(name), creation)
        }
        (None, Role::Acceptor) => Life::Listener(session.acceptor_end()),
        (None, Role::Initiator) => Life::Caller(session.ip(role), session.acceptor_end()),
    }
}

/// The detection of a reset by a node that lives on, as `sign` shows.
fn lives_on(pending: PendingReset, sign: &str, shown: &Evidence) -> Detection {
    let PendingReset { mut found, names: [x, y], .. } = pending;
    found.title =
        format!("the connection between {x} and {y} was reset (RST from {x}), and {x} lives on");
    found.explanation = format!(
        "While the connection was in use, an RST came from the address of {x}, with no FIN before it. {x} did not \
         end: {sign}. So a packet filter or a load balancer on the path reset the connection in the name of \
         {x}, somebody on its host cut it off (`ss -K`, \
         `conntrack -D`), or {x} was made to disconnect with unread bytes in its socket."
    );
    found.remedy = vec![
        format!(
            "Look for a packet filter or firewall that rejects with RST, and for a load balancer or proxy, \
             between {x} and {y}; look at rules that were changed at that moment (`iptables -S`, `nft list \
             ruleset`)."
        ),
        format!(
            "Capture on the host of {x}: an RST that is missing there was sent by something on the path."
        ),
    ];
    found.evidence.push(shown.clone());
    found
}

/// The detection of a reset that answered bytes, of a node that lives on. The node may have closed the connection, if the
/// capture lacks that.
fn answered(pending: PendingReset, sign: &str, shown: Evidence) -> Detection {
    let PendingReset { mut found, names: [x, y], .. } = pending;
    found.severity = Severity::Low;
    found.confidence = Confidence::Possible;
    found.title = format!(
        "the connection between {x} and {y} ended with a reset (RST from {x}), and {x} lives on"
    );
    found.explanation = format!(
        "While the connection was in use, bytes from {y} were answered with an RST that has no acknowledgement, from the \
         address of {x}: its host did not have this connection any more, or a filter on the path answered in its name. \
         {x} did not end: {sign}."
    );
    found.remedy = vec![format!(
        "Look for what resets connections between {x} and {y}: a firewall that lost its state or rejects with RST, or \
         somebody on the host of {x} (`ss -K`, `conntrack -D`)."
    )];
    found.not_excluded =
        vec![format!("{x} closed the connection, and its FIN is not in the capture")];
    found.evidence.push(shown);
    found
}

fn no_acknowledgement(session: &JudgedConnection, sides: &Sides, lost: &Undelivered) -> Detection {
    let (x, y) = sides.side_and_peer(lost.from);
    let mut found = finding(&LOST, session, sides);
    found.confidence = Confidence::Likely;
    found.parties = sides.unordered_pair();
    let is_there = matches!(lost.peer, PeerSigns::Sends | PeerSigns::Answers);
    found.title = match lost.peer {
        _ if is_there => format!("what {x} sends no longer reaches {y}"),
        PeerSigns::InVain => format!("nothing passes between {x} and {y} any more"),
        PeerSigns::Returned(_) => format!("{y} was away, and did not acknowledge what {x} sent"),
        _ => format!("{y} no longer acknowledges what {x} sends"),
    };
    let what = format!("the same {} bytes", lost.bytes);
    let ends = if is_there {
        format!("The path from {x} to {y} loses packets, and the path back works.")
    } else if lost.peer == PeerSigns::InVain {
        "The path between the two was cut.".to_owned()
    } else {
        format!("The path between the two was cut, or the host of {y} was down or suspended.")
    };
    found.explanation = format!(
        "{} {} {} {ends} A node that receives nothing for net_ticktime (60 s by default) logs that the other one \
         is \"not responding\", and closes the connection.",
        undelivered::sent(lost, x, y, &what),
        undelivered::arrives(lost, x),
        undelivered::signs(lost, x, y),
    );
    let path = format!(
        "Look for what drops packets on the way from {x} to {y}: a packet filter, a firewall, a failing link."
    );
    let host = format!(
        "Check the host of {y} (suspended, migrated, off the network), and the network and the firewalls \
         between the two."
    );
    found.remedy = if is_there || lost.peer == PeerSigns::InVain { vec![path] } else { vec![host] };
    found.evidence.extend(undelivered::evidence(lost));
    if let Some(close) = session.seen.closed() {
        let is_reset = session.seen.tcp.close.is_some_and(|close| close.is_reset());
        let what = Shows::Close { is_reset, missing: None, detail: "" };
        found.evidence.extend(shown(Some(close), session.seen.closed_by(), what));
    }
    order_by_frame(&mut found.evidence);
    // Evidence begins with that packet.
    found.shown_at = Some(lost.again.map_or(lost.since, |again| again.at));
    // The packets do not show the net_ticktime of the nodes, and the capture may end before it is over.
    found.may_log = Role::BOTH.to_vec();
    found.not_excluded = if is_there {
        Vec::new()
    } else {
        vec!["the acknowledgements took a path past the capture point".to_owned()]
    };
    found
}

fn reset(session: &JudgedConnection, sides: &Sides, closer: Role) -> Detection {
    let (x, y) = sides.side_and_peer(closer);
    let mut found = finding(&LOST, session, sides);
    found.confidence = Confidence::Likely;
    found.parties = sides.unordered_pair();
    found.title = format!("the connection between {x} and {y} was reset (RST from {x})");
    let until = session.seen.open_until();
    let lasted = seconds(micros(until.since(session.seen.tcp.first.at)));
    let is_answer = session.seen.tcp.close.is_some_and(|close| close.is_answer);
    found.explanation = if is_answer {
        format!(
            "{lasted} after its first packet here, the host of {x} answered bytes from {y} with an RST: it \
             no longer had this connection. {x} had closed it or exited, and that close is not in the \
             capture: the path between the two was cut, or the host was restarted."
        )
    } else {
        format!(
            "{lasted} after its first packet here, an RST came from the address of {x}, with no FIN before \
             it and with nothing sent by {y} just before. A firewall or a load balancer ends connections \
             like this, and so does a node that exits with bytes that it has not read for long."
        )
    };
    found.remedy = vec![if is_answer {
        format!("Check {x}, its host, and the network between the two at that time.")
    } else {
        format!(
            "Look for a firewall or proxy between the two that resets idle connections, and check {x} for \
             a crash dump and its host for the out-of-memory killer."
        )
    }];
    found.evidence.extend(shown(session.seen.closed(), Some(closer), Shows::RST));
    // It may have closed because nothing arrived for net_ticktime, and logs that.
    found.may_log = if is_answer { vec![closer] } else { Vec::new() };
    found.not_excluded = vec![format!("something on the path sent the RST in the name of {x}")];
    found
}

/// The sign of life that EPMD gives.
const STILL_LISTED: &str = "EPMD on its host still lists it at the same port";

/// What comes so much later than a reset was not sent at the same moment.
const LATER: Duration = Duration::from_millis(100);

/// A virtual machine takes longer to start, to register and to complete a handshake.
const STARTS: Duration = Duration::from_millis(200);

/// A virtual machine takes longer to end, to start and to register.
const REGISTERS: Duration = Duration::from_millis(300);

/// The lowest port that Linux gives to a node which does not ask for one (`net.ipv4.ip_local_port_range`); it gives
/// another one at each start.
const FIRST_EPHEMERAL: u16 = 32_768;

/// A kernel delivers what a node wrote before it ended, and retransmits it until it is acknowledged.
const KERNEL_DELIVERS: Duration = Duration::from_secs(5);

/// Maximum of nodes and resets kept.
const REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::epmd_common::{self, tests::epmd};
    use crate::detect::link_end::tests::{A, B, C, reset, session, unacknowledged};
    use crate::detect::tests::Step;
    use crate::judge::LossScope;
    use crate::judge::samples::{at, dial, in_the_void, mark};
    use crate::observe::{SealedRecord, SynFacts};
    use crate::stream::TcpOffset;

    fn found(steps: &[Step]) -> Vec<Detection> {
        epmd_common::tests::found::<ConnectionLost>(steps)
    }

    fn titles(steps: &[Step]) -> Vec<String> {
        found(steps).into_iter().map(|it| it.title).collect()
    }

    #[test]
    fn a_reset_of_an_idle_connection_is_a_loss() {
        let title = "the connection between a@h1 and b@h2 was reset (RST from a@h1)";
        assert_eq!(titles(&[reset(1000, 60_000, false)]), [title]);
    }

    #[test]
    fn a_reset_of_a_busy_connection_is_a_loss_once_the_node_shows_that_it_lives() {
        let busy = || reset(59_950, 60_000, false);
        assert!(titles(&[busy()]).is_empty(), "the node may have ended");
        let title =
            ["the connection between a@h1 and b@h2 was reset (RST from a@h1), and a@h1 lives on"];
        assert_eq!(titles(&[busy(), dial(61_000, A, C).into()]), title);
        assert_eq!(titles(&[dial(61_000, A, C).into(), busy()]), title, "known before");
        let other = "a@h1/10.0.0.1/77";
        assert!(titles(&[busy(), dial(61_000, other, C).into()]).is_empty(), "another creation");
        assert!(titles(&[busy(), dial(61_000, B, C).into()]).is_empty(), "its peer lives");
    }

    /// A dial that begins at `ms`, with its SYN.
    fn opened(ms: u64, from: &str, to: &str) -> Step {
        let mut step = Step::from(dial(ms, from, to));
        let seen = session(&mut step);
        seen.tcp.first = mark(ms);
        seen.tcp.sides.initiator.syn = Some(SynFacts { mark: mark(ms), count: 1, last: at(ms) });
        step
    }

    #[test]
    fn a_new_handshake_with_the_same_creation_shows_at_once_that_a_node_lives() {
        let busy = || reset(59_950, 60_000, false);
        let title =
            ["the connection between a@h1 and b@h2 was reset (RST from a@h1), and a@h1 lives on"];
        assert_eq!(titles(&[busy(), opened(60_002, A, B)]), title);
        assert_eq!(titles(&[busy(), opened(60_002, B, A)]), title, "dialed by the other");
        assert_eq!(titles(&[busy(), opened(90_000, A, C)]), title, "later, with another");
        assert!(titles(&[busy(), opened(59_999, A, C)]).is_empty(), "opened before");
        let again = "a@h1/10.0.0.1/77";
        assert!(titles(&[busy(), opened(60_002, again, B)]).is_empty(), "started again");
    }

    /// The same connection inside TLS, with this number of encrypted records of each side.
    fn in_tls(mut step: Step, records: u64) -> Step {
        step.session_mut().forget_names();
        step.session_mut().verdict.outcome = Outcome::Tls;
        let record = |n: u64| SealedRecord { length: 30, end: TcpOffset::BASE, mark: mark(n) };
        for side in [Role::Initiator, Role::Acceptor] {
            session(&mut step).tls[side].sealed = (0..records).map(record).collect();
        }
        step
    }

    #[test]
    fn a_reset_inside_tls_is_a_loss_if_the_nodes_connect_again_at_once() {
        let busy = |records| in_tls(reset(59_950, 60_000, false), records);
        let title =
            "the connection between 10.0.0.1 and 10.0.0.2:9100 was reset (RST from 10.0.0.1)";
        let again = |ms, records| in_tls(opened(ms, A, B), records);
        assert_eq!(
            titles(&[busy(16), again(60_020, 16)]),
            [format!("{title}, and 10.0.0.1 lives on")]
        );
        assert!(titles(&[busy(16), again(60_020, 3)]).is_empty(), "no message in the new one");
        assert!(titles(&[busy(16), again(63_000, 16)]).is_empty(), "started again");
        assert!(titles(&[busy(3), again(60_020, 16)]).is_empty(), "a handshake that failed");
        assert_eq!(titles(&[in_tls(reset(1000, 60_000, false), 16)]), [title], "idle");
    }

    #[test]
    fn a_tool_or_a_client_that_only_does_handshakes_is_no_node_that_lives_on() {
        let busy = |change: fn(&mut JudgedConnection)| {
            let mut busy = reset(59_950, 60_000, false);
            change(busy.session_mut());
            titles(&[busy, opened(60_002, A, B)]).len()
        };
        assert_eq!(busy(|_| ()), 1);
        assert_eq!(busy(|it| it.seen.traffic.initiator.ticks = 0), 0, "no frame");
        let tool = "rabbitmqcli-7-a@h1/10.0.0.1/1";
        let mut step = reset(59_950, 60_000, false);
        let dialed = dial(0, tool, B).flags(0xd_07df_7fbc, 0xd_07df_7fbd).judged();
        session(&mut step).handshake = dialed.seen.handshake.clone();
        assert!(titles(&[step, opened(60_002, tool, B)]).is_empty(), "a tool");
    }

    #[test]
    fn a_node_without_a_name_lives_if_it_is_there_sooner_than_it_can_start() {
        let unnamed = |by: Role| {
            let mut busy = reset(59_990, 60_000, false);
            busy.session_mut().forget_names();
            busy.session_mut().close(by, mark(60_000));
            let sides = &mut session(&mut busy).tcp.sides;
            sides.initiator.last_bytes = Some(at(59_990));
            sides.acceptor.last_bytes = Some(at(59_990));
            busy
        };
        for (by, title) in [
            (Role::Initiator, "between a@h1 and b@h2 was reset (RST from a@h1), and a@h1 lives on"),
            (Role::Acceptor, "between b@h2 and a@h1 was reset (RST from b@h2), and b@h2 lives on"),
        ] {
            let soon = titles(&[unnamed(by), opened(60_020, A, B)]);
            assert_eq!(soon, [format!("the connection {title}")]);
            assert!(titles(&[unnamed(by), opened(63_000, A, B)]).is_empty(), "started again");
            assert!(titles(&[unnamed(by), opened(60_020, A, C)]).is_empty(), "with another");
        }
    }

    #[test]
    fn frames_that_a_kernel_may_still_deliver_show_no_life() {
        let talks = |last: u64| {
            let mut step = Step::from(dial(10, A, C).closed(last, [last; 2]));
            session(&mut step).traffic.initiator.last = Some(mark(last));
            step
        };
        assert!(titles(&[reset(59_950, 60_000, false), talks(61_000)]).is_empty());
        assert_eq!(titles(&[reset(59_950, 60_000, false), talks(66_000)]).len(), 1);
    }

    #[test]
    fn epmd_that_still_lists_a_node_shows_that_it_lives() {
        let busy = |port: u16| {
            let mut busy = reset(60_000, 60_000, false);
            busy.session_mut().close(Role::Acceptor, mark(60_000));
            let seen = session(&mut busy);
            seen.ends.acceptor.port = port;
            seen.tcp.sides.initiator.last_bytes = Some(at(59_990));
            busy
        };
        let listed = |port: u16, ms: u32| {
            let (ends, outcome) = (("10.0.0.1", "10.0.0.2", "e"), EpmdOutcome::Answered);
            let at = (u64::from(ms), f64::from(ms) / 1000.0);
            epmd(ends, at, EpmdTag::PORT_PLEASE2_REQ, "b", outcome, |epmd| {
                epmd.port = Some(port);
                epmd.seen.reply = Some(mark(ms.into()));
            })
        };
        assert_eq!(titles(&[busy(41_000), listed(41_000, 65_000)]).len(), 1);
        assert!(titles(&[busy(41_000), listed(41_001, 65_000)]).is_empty(), "started again");
        assert_eq!(titles(&[busy(9100), listed(9100, 60_200)]).len(), 1);
        assert!(titles(&[busy(9100), listed(9100, 65_000)]).is_empty(), "a fixed port");
        let mut again = opened(65_100, A, "b@h2/10.0.0.2/99");
        session(&mut again).ends.acceptor.port = 41_000;
        assert!(titles(&[busy(41_000), listed(41_000, 65_000), again]).is_empty());
    }

    #[test]
    fn a_reset_that_answers_bytes_counts_only_if_the_port_then_refuses_a_dial() {
        let mut answer = reset(60_000, 60_000, true);
        answer.session_mut().close(Role::Acceptor, mark(60_000));
        session(&mut answer).tcp.sides.acceptor.last_bytes = Some(mark(59_990).at);
        let ends = ("10.0.0.1", "10.0.0.2", "e");
        let port_please = EpmdTag::PORT_PLEASE2_REQ;
        let listed = epmd(ends, (62_000, 62.0), port_please, "b", EpmdOutcome::Answered, |epmd| {
            epmd.port = Some(9100);
            epmd.seen.reply = Some(mark(62_000));
        });
        let refused = Step::from(dial(62_100, A, B).fails(Outcome::Refused));
        let again = opened(60_005, A, B);
        let [low] = &found(&[answer.clone(), again.clone()])[..] else { panic!() };
        assert_eq!((low.severity, low.confidence), (Severity::Low, Confidence::Possible));
        let mut gap = answer.clone();
        session(&mut gap).tcp.sides.acceptor.missing_bytes = 1;
        assert!(titles(&[gap, again]).is_empty(), "packets lack");
        assert!(titles(&[answer.clone(), listed.clone()]).is_empty(), "a FIN may be lacking");
        assert!(titles(&[answer.clone(), dial(62_100, B, C).into()]).is_empty());
        assert!(titles(&[answer.clone(), refused.clone()]).is_empty(), "the node may have ended");
        assert_eq!(titles(&[answer, listed, refused]).len(), 1);
    }

    #[test]
    fn bytes_in_the_void_are_a_loss_unless_they_are_large() {
        let title = "b@h2 no longer acknowledges what a@h1 sends";
        assert_eq!(titles(&[unacknowledged(A, B, 3000, 10_000)]), [title]);
        let [cut] = &found(&[unacknowledged(A, B, 3000, 10_000)])[..] else { panic!() };
        assert_eq!((&cut.logged_by[..], &cut.may_log[..]), (&[][..], &Role::BOTH[..]));
        assert!(cut.explanation.contains("\"not responding\""), "{}", cut.explanation);
        let with = |change: fn(&mut Undelivered)| {
            let mut step = unacknowledged(A, B, 3000, 10_000);
            let mut lost = in_the_void(3000, 10_000);
            change(&mut lost);
            step.session_mut().verdict.undelivered = Some(Box::new(lost));
            titles(&[step])
        };
        assert_eq!(
            with(|lost| lost.peer = PeerSigns::Sends),
            ["what a@h1 sends no longer reaches b@h2"]
        );
        assert_eq!(
            with(|lost| lost.peer = PeerSigns::Returned(mark(9000).at)),
            ["b@h2 was away, and did not acknowledge what a@h1 sent"]
        );
        assert!(with(|lost| lost.loss = LossScope::Large { arrives: 200 }).is_empty());
    }
}
