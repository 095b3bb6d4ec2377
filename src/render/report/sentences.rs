//! One event as one sentence of the time line.
//!
//! In: the body of an event and the ends of its connection. Out: a sentence without time and packet.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::observe::messages::{FieldKind, MessageView, PAYLOAD};
use crate::record::{
    Anomaly, Change, CloseKind, Confidence, ConnectionIds, Epmd, EpmdOutcome, Handshake, Incident,
    IncidentState, Node, Outcome, Party, Problems, Role, Session, SettledBy, State, Stats,
};
use crate::render::words::{
    anomaly_words, confidence, count, duration, epmd_words, grouped, listed, outcome_words, span,
    time, times,
};
use crate::time::Zone;

/// The two sides of a connection between nodes, by [`Role::index`].
pub(super) struct Ends {
    /// Node names, else addresses.
    pub(super) names: [String; 2],
    /// The same, each with its address if the name does not contain it.
    pub(super) located: [String; 2],
}

impl Ends {
    pub(super) fn of(session: &Session, connection: Option<&ConnectionIds>) -> Self {
        let sides = [
            (&session.initiator, connection.map(|ids| (ids.src_ip, ids.src_port))),
            (&session.acceptor, connection.map(|ids| (ids.dest_ip, ids.dest_port))),
        ];
        let places = sides.map(|(party, usual)| party.ip.zip(party.port).or(usual));
        let [initiator, acceptor] = places;
        let name =
            |role: Role, party: &Party, place: Option<(IpAddr, u16)>| match (&party.node, place) {
                (Some(node), _) => node.to_string(),
                (None, Some((ip, port))) => endpoint(ip, port),
                (None, None) => format!("the {role}"),
            };
        let located = |name: &String, ip: IpAddr, place: String| {
            if name.contains(&ip.to_string()) { name.clone() } else { format!("{name} ({place})") }
        };
        let from = name(Role::Initiator, &session.initiator, initiator);
        let to = name(Role::Acceptor, &session.acceptor, acceptor);
        let located = [
            // The initiator has another port for each attempt.
            match (initiator, &session.initiator.node) {
                (Some((ip, _)), None) => ip.to_string(),
                (Some((ip, _)), Some(_)) => located(&from, ip, ip.to_string()),
                (None, _) => from.clone(),
            },
            acceptor.map_or_else(|| to.clone(), |(ip, port)| located(&to, ip, endpoint(ip, port))),
        ];
        Self { names: [from, to], located }
    }
}

/// The names of the two sides of a connection, else their addresses.
pub(in crate::render) fn connection_names(
    session: &Session,
    connection: Option<&ConnectionIds>,
) -> [String; 2] {
    Ends::of(session, connection).names
}

/// The two ends under which all attempts of a pair are found: an initiator without a name has another port each time,
/// and is known by its address; an acceptor without a name, by the name that was looked up.
pub(in crate::render) fn lane_ends(
    session: &Session,
    connection: Option<&ConnectionIds>,
) -> [String; 2] {
    let Ends { names: [from, to], located: [located, _] } = Ends::of(session, connection);
    let from = if session.initiator.node.is_some() { from } else { located };
    let asked = session.lookup.as_ref().map(|lookup| &lookup.asked);
    let to = match (&session.acceptor.node, asked, connection) {
        (None, Some(asked), Some(ids)) => {
            // As the record of the cluster has it.
            format!("{asked} at {}", session.acceptor.ip.unwrap_or(ids.dest_ip))
        }
        _ => to,
    };
    [from, to]
}

/// The client of a request to EPMD, and the EPMD.
pub(in crate::render) fn lane_of_request(ids: &ConnectionIds) -> [String; 2] {
    [ids.src_ip.to_string(), format!("EPMD at {}", ids.dest_ip)]
}

/// Who dialed whom, and the outcome.
pub(super) fn attempt(session: &Session, connection: Option<&ConnectionIds>) -> String {
    let Ends { names, .. } = Ends::of(session, connection);
    let [initiator, acceptor] = &names;
    format!("{initiator} -> {acceptor}: {}", result(session, &names))
}

/// One message after the handshake.
pub(super) fn signal(
    message: &MessageView<'_>,
    connection: &ConnectionIds,
    names: Option<&[String; 2]>,
) -> String {
    let side = |role: Role| match names.and_then(|names| names.get(role.index())) {
        Some(name) => name.clone(),
        None if role == Role::Initiator => source(connection),
        None => destination(connection),
    };
    let meta = message.meta;
    let mut text =
        format!("{} -> {}: {}", side(meta.from), side(meta.from.peer()), meta.operation_name());
    let mut add = |part: std::fmt::Arguments<'_>| {
        // Writing to a `String` cannot fail.
        let _ = text.write_fmt(part);
    };
    let field = |kind: FieldKind| message.text(kind);
    if let Some(call) = meta.call {
        add(format_args!(" {}", call.name()));
    }
    if let (Some(module), Some(function)) = (field(FieldKind::Module), field(FieldKind::Function)) {
        add(format_args!(" {module}:{function}"));
        if let Some(arity) = field(FieldKind::Arity) {
            add(format_args!("/{arity}"));
        }
    } else if let Some(request) = field(FieldKind::Request) {
        add(format_args!(" {request}"));
    }
    if let Some(from) = field(FieldKind::FromPid) {
        add(format_args!(" from {from}"));
    }
    if let Some(to) = field(FieldKind::ToName).or_else(|| field(FieldKind::To)) {
        add(format_args!(" to {to}"));
    }
    if let Some(reason) = field(FieldKind::Reason) {
        add(format_args!(" because of {reason}"));
    }
    if let Some(result) = field(FieldKind::Result) {
        add(format_args!(", {result}"));
    }
    if let Some(latency) = message.number(FieldKind::LatencyUs) {
        add(format_args!(" after {}", duration(latency)));
    }
    if let Some(bytes) = meta.payload_bytes {
        add(format_args!(", {}", count(bytes, "byte")));
    }
    if let Some(payload) = &message.payload {
        add(format_args!(": {}", payload.erlang(PAYLOAD)));
    }
    text
}

/// The outcome of a connection.
fn result(session: &Session, ends: &[String; 2]) -> String {
    let words = match (session.outcome, session.incomplete_because) {
        (Outcome::Connected, _) => lifetime(session, ends),
        (outcome, Some(because)) => format!("{}: {}", outcome_words(outcome), because.words()),
        (failed, None) => outcome_words(failed).to_owned(),
    };
    match (session.confidence, session.outcome) {
        // Without the cookies no challenge_ack is proven: repeating that for each connection
        // has no value. An undecided outcome needs no confidence.
        (Confidence::Proven, _)
        | (Confidence::Likely, Outcome::Connected)
        | (_, Outcome::Incomplete) => words,
        (unsure, _) => format!("{words} ({})", confidence(unsure)),
    }
}

/// How long a connection lasted, and which side closed it.
fn lifetime(session: &Session, [initiator, acceptor]: &[String; 2]) -> String {
    let lasted = duration(session.duration_us);
    let closer = match session.closed_by {
        Some(Role::Initiator) => format!(" by {initiator}"),
        Some(Role::Acceptor) => format!(" by {acceptor}"),
        None => String::new(),
    };
    match (session.state, session.close) {
        (State::Established, _) => match session.handshake_us {
            Some(us) => format!("connected in {}", duration(us)),
            None => "connected".to_owned(),
        },
        (State::Closed, Some(CloseKind::Rst)) => format!("reset{closer} after {lasted}"),
        (State::Closed, _) => format!("closed{closer} after {lasted}"),
        (State::Open, Some(CloseKind::Idle)) => {
            format!("connected, no more packets after {lasted}")
        }
        (State::Open, _) => format!("connected, still open after {lasted}"),
    }
}

/// Who asked which EPMD for what, and the answer.
pub(super) fn request(epmd: &Epmd, connection: Option<&ConnectionIds>) -> String {
    let (asker, mapper) = connection
        .map_or_else(Default::default, |ids| (ids.src_ip.to_string(), ids.dest_ip.to_string()));
    let name = epmd.name.as_deref().unwrap_or("?");
    let asked = match epmd.request {
        Some("PORT_PLEASE2_REQ") => format!("asked EPMD at {mapper} for \"{name}\""),
        Some("ALIVE2_REQ") => {
            let port = epmd.port.map_or_else(String::new, |port| format!(" (port {port})"));
            if epmd.outcome == EpmdOutcome::Unregistered {
                format!("had registered \"{name}\"{port} with EPMD at {mapper}")
            } else {
                format!("asked EPMD at {mapper} to register \"{name}\"{port}")
            }
        }
        Some("NAMES_REQ") => format!("asked EPMD at {mapper} for all names"),
        Some(other) => format!("sent {other} to EPMD at {mapper}"),
        None => match epmd.outcome {
            EpmdOutcome::Unanswered | EpmdOutcome::ConnectionRefused => {
                format!("tried to reach EPMD at {mapper}")
            }
            _ => format!("connected to EPMD at {mapper}"),
        },
    };
    format!("{asker} {asked}: {}", answer(epmd))
}

fn answer(epmd: &Epmd) -> String {
    let words = epmd_words(epmd.outcome).to_owned();
    match (epmd.outcome, &epmd.names, epmd.port, &epmd.reply) {
        (EpmdOutcome::Answered, Some(names), ..) => count(names.len() as u64, "name"),
        (EpmdOutcome::Answered, _, _, Some(reply)) => format!("\"{}\"", reply.trim_end()),
        (EpmdOutcome::Answered, ..) if epmd.request == Some("ALIVE2_REQ") => "registered".into(),
        (EpmdOutcome::Answered, _, Some(port), _) => format!("port {port}"),
        (EpmdOutcome::Unregistered, ..) => epmd
            .lifetime_us
            .map_or_else(|| words.clone(), |us| format!("{words} after {}", duration(us))),
        _ => words,
    }
}

/// One message of a handshake.
pub(super) fn handshake(handshake: &Handshake, connection: Option<&ConnectionIds>) -> String {
    let mut text = connection.map_or_else(String::new, |ids| format!("{}: ", addresses(ids)));
    let Handshake { message, from, name, status, cookie, .. } = handshake;
    let _ = write!(text, "{message} from the {from}");
    for (what, value) in [("", name.as_deref()), ("", status.as_deref())] {
        let _ = value.map(|value| write!(text, "{what} \"{value}\""));
    }
    let _ = cookie.as_deref().map(|label| write!(text, ", cookie {label}"));
    text
}

/// What happened to a node; nothing for a node that is new or only better known.
pub(super) fn node_change(node: &Node) -> Option<String> {
    let name = &node.node;
    let ips: Vec<_> = node.ips.iter().map(IpAddr::to_string).collect();
    let at = node.ips.last().map_or_else(String::new, |ip| format!(" at {ip}"));
    Some(match node.change? {
        Change::Seen | Change::Updated => return None,
        Change::Restarted => format!("{name} restarted{at}"),
        Change::Moved => {
            format!("{name} now runs with another creation{at}; the former address is silent")
        }
        Change::Duplicate => format!("two nodes use the name {name}, at {}", listed(&ips)),
        Change::Address => format!("{name} was also seen{at}"),
    })
}

/// What became of a problem: its state, and how often it came. Without a title, its rule and nodes name it.
pub(super) fn incident_change(zone: &Zone, incident: &Incident, title: Option<&str>) -> String {
    let Incident { rule, nodes, count, first, last, .. } = incident;
    let between = match nodes.as_slice() {
        [] => String::new(),
        [one] => format!(" at {one}"),
        several => format!(" between {}", listed(several)),
    };
    let subject = title.map_or_else(|| format!("{rule}{between}"), ToOwned::to_owned);
    let often = match count {
        1 => String::new(),
        _ => format!(" ({} {})", times(*count), span(zone, *first, *last)),
    };
    format!("{}: {subject}{often}", incident_state(zone, incident))
}

/// The state of a problem, and what shows it: `solved at 15:30:12 (frame 71): the nodes connected`.
pub(super) fn incident_state(zone: &Zone, incident: &Incident) -> String {
    let how = match incident.settled_by {
        Some(SettledBy::Connected) => ", when the nodes connected",
        Some(SettledBy::Registered) => ", when the name was registered",
        Some(SettledBy::EpmdReplied) => ", when EPMD replied",
        Some(SettledBy::Accepted) => ", when the port accepted a connection",
        None => "",
    };
    let frame = incident.settled_frame.map_or_else(String::new, |n| format!(" (frame {n})"));
    match (incident.state, incident.settled_at) {
        (IncidentState::Open, _) => "open".to_owned(),
        (IncidentState::Solved, Some(at)) => format!("solved at {}{how}{frame}", time(zone, at)),
        (IncidentState::Solved, None) => format!("solved{how}"),
        (IncidentState::Unknown, _) => "unknown whether it is over".to_owned(),
        (IncidentState::Withdrawn, _) => {
            "withdrawn: what another sensor sent later contradicts it".to_owned()
        }
    }
}

/// What an anomaly is, and where.
pub(super) fn anomaly(anomaly: &Anomaly) -> String {
    let mut text = format!("{}: {}", anomaly_words(anomaly.kind), anomaly.detail);
    let _ = anomaly.field.as_ref().map(|field| write!(text, ", at {field}"));
    let _ = anomaly.offset.map(|offset| write!(text, ", byte {offset}"));
    text
}

/// How much was read and found so far.
pub(super) fn progress(stats: &Stats) -> String {
    let Problems { open, solved, unknown } = &stats.problems;
    let open = open.values().chain(unknown.values()).sum();
    let solved = match solved.values().sum() {
        0 => String::new(),
        n => format!(", {} solved", grouped(n)),
    };
    format!(
        "{} so far, {}, {} open{solved}",
        count(stats.packets, "packet"),
        count(stats.sessions.values().sum(), "connection"),
        count(open, "problem"),
    )
}

/// Both ends of a TCP connection.
pub(super) fn addresses(ids: &ConnectionIds) -> String {
    format!("{} -> {}", source(ids), destination(ids))
}

/// The end that opened the TCP connection.
pub(super) fn source(ids: &ConnectionIds) -> String {
    endpoint(ids.src_ip, ids.src_port)
}

/// The end that the TCP connection was opened to.
pub(super) fn destination(ids: &ConnectionIds) -> String {
    endpoint(ids.dest_ip, ids.dest_port)
}

fn endpoint(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}
