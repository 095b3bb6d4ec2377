//! Parts of findings that several rules share: names of the two sides, evidence, and numbers in
//! sentences.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Detection, EndedBy, Ending, RuleDoc};
use crate::decode::Endpoint;
use crate::judge::world::Sighting;
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{CloseKind, EpmdTag, MessageKind, Role};
use crate::packet::PacketRef;
use crate::record::{Evidence, Missing, Shows};

/// Puts evidence into the order of its frames. What is about the same frame keeps its order.
pub(super) fn order_by_frame(evidence: &mut [Evidence]) {
    evidence.sort_by_key(|shown| shown.frame);
}

/// How texts name the two sides of a connection. A tool that has a new name each time has the pattern of its names.
pub(super) struct Sides {
    /// Node name of the initiator, or its address if no name was seen.
    pub(super) initiator: String,
    /// Node name of the acceptor, else the name that EPMD was asked for, else address and port.
    pub(super) acceptor: String,
    /// Node names that the connection showed.
    pub(super) nodes: Vec<Arc<str>>,
}

impl Sides {
    pub(super) fn of(it: &JudgedConnection) -> Self {
        let end = it.acceptor_end();
        let name_in_lookup = it.verdict.lookup.as_ref().map(|lookup| &lookup.asked);
        let initiator = it.label(Role::Initiator);
        let initiator =
            initiator.map_or_else(|| it.ip(Role::Initiator).to_string(), |it| it.to_string());
        let acceptor = match (it.label(Role::Acceptor), name_in_lookup) {
            (Some(node), _) => node.to_string(),
            (None, Some(_)) if let Some(name) = it.dialed_over_tls() => name_at(&name, end),
            (None, Some(name)) => format!("\"{name}\" at {}", address(end.ip, end.port)),
            (None, None) => address(end.ip, end.port),
        };
        Self { initiator, acceptor, nodes: it.labels().collect() }
    }

    /// The side in this role, followed by its peer.
    pub(super) const fn side_and_peer(&self, role: Role) -> (&String, &String) {
        match role {
            Role::Initiator => (&self.initiator, &self.acceptor),
            Role::Acceptor => (&self.acceptor, &self.initiator),
        }
    }

    /// The two sides as a key that is the same whichever of them dials.
    pub(super) fn unordered_pair(&self) -> String {
        let (a, b) = (&self.initiator, &self.acceptor);
        if a <= b { format!("{a},{b}") } else { format!("{b},{a}") }
    }

    /// The two sides as a key, the dialing one first.
    pub(super) fn ordered_pair(&self) -> String {
        format!("{},{}", self.initiator, self.acceptor)
    }
}

/// A node by the name that was dialed, and by its address unless the name has it.
fn name_at(name: &str, end: Endpoint) -> String {
    let has_address = name.split_once('@').is_some_and(|(_, host)| host == end.ip.to_string());
    if has_address {
        format!("{name} at port {}", end.port)
    } else {
        format!("{name} at {}", address(end.ip, end.port))
    }
}

/// The texts of a finding, where a rule has several.
pub(super) struct FindingText {
    pub(super) title: String,
    pub(super) explanation: String,
    pub(super) remedy: Vec<String>,
}

/// A detection about a connection, with the fields that most rules fill in alike. It is over when the two nodes connect.
pub(super) fn finding(doc: &RuleDoc, it: &JudgedConnection, sides: &Sides) -> Detection {
    Detection {
        confidence: it.verdict.confidence,
        nodes: sides.nodes.clone(),
        parties: sides.ordered_pair(),
        not_excluded: it.verdict.not_excluded.iter().map(ToString::to_string).collect(),
        unnamed: unnamed(it, sides),
        ended_by: EndedBy::Any(vec![Ending::connection_of(it)]),
        ..Detection::new(doc)
    }
}

/// The sides of an established connection whose handshake is not in the capture.
fn unnamed(it: &JudgedConnection, sides: &Sides) -> Vec<(String, IpAddr)> {
    if it.outcome() != Outcome::Connected || !sides.nodes.is_empty() {
        return Vec::new();
    }
    vec![
        (sides.initiator.clone(), it.ip(Role::Initiator)),
        (sides.acceptor.clone(), it.ip(Role::Acceptor)),
    ]
}

/// Address and port, with an IPv6 address in brackets.
pub(super) fn address(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// Evidence by a packet of the connection that the finding is about.
pub(super) fn shown(
    mark: Option<PacketRef>,
    from: Option<Role>,
    what: impl Into<Shows>,
) -> Option<Evidence> {
    mark.map(|mark| Evidence {
        frame: mark.frame,
        input: None,
        session_id: None,
        from,
        what: what.into(),
    })
}

/// Evidence by the handshake message with which a node sent its name.
pub(super) fn sighted(sighting: &Sighting) -> Evidence {
    let message = match sighting.role {
        Role::Initiator => MessageKind::SendName,
        Role::Acceptor => MessageKind::Challenge,
    };
    let creation =
        sighting.creation.map_or_else(String::new, |creation| format!(", creation {creation}"));
    Evidence {
        frame: sighting.hello.frame,
        input: None,
        session_id: Some(Arc::clone(&sighting.session_id)),
        from: Some(sighting.role),
        what: Shows::handshake(message, format!("from {}{creation}", sighting.ip)),
    }
}

/// Evidence by the EPMD reply that gave the port which was then dialed.
pub(super) fn looked_up(it: &JudgedConnection) -> Option<Evidence> {
    it.verdict.lookup.as_ref().map(|lookup| Evidence {
        frame: lookup.reply,
        input: None,
        session_id: Some(Arc::clone(&lookup.session_id)),
        from: None,
        what: Shows::epmd(
            EpmdTag::PORT2_RESP,
            format!("\"{}\" is at port {}", lookup.asked, lookup.port),
        ),
    })
}

/// Evidence by the close of a connection; `detail` describes its moment.
pub(super) fn closed(it: &JudgedConnection, detail: &'static str) -> Option<Evidence> {
    close_of(it, None, detail)
}

/// Evidence by the close of a connection instead of the message that was due.
pub(super) fn closed_without(it: &JudgedConnection, message: MessageKind) -> Option<Evidence> {
    close_of(it, Some(Missing::Handshake(message)), "")
}

fn close_of(
    it: &JudgedConnection,
    missing: Option<Missing>,
    detail: &'static str,
) -> Option<Evidence> {
    let is_reset = it.seen.close_kind() == Some(CloseKind::Rst);
    let what = Shows::Close { is_reset, missing, detail };
    shown(it.seen.closed(), it.seen.closed_by(), what)
}

/// The release of the side in this role as its hello shows it, as part of a sentence.
pub(super) fn release(it: &JudgedConnection, role: Role) -> String {
    let software = it.software(role).unwrap_or_default();
    match (software.implementation, software.at_least, software.at_most) {
        (implementation, ..) if implementation.is_foreign() => {
            "another implementation than OTP, by its flags".to_owned()
        }
        (_, Some(least), Some(most)) if least == most => format!("OTP {least} by its flags"),
        (_, Some(least), Some(most)) => format!("OTP {least} to {most} by its flags"),
        (_, Some(least), None) => format!("OTP {least} or newer by its flags"),
        (_, None, Some(most)) => format!("OTP {most} or older by its flags"),
        (_, None, None) => "of unknown release".to_owned(),
    }
}

/// A number of microseconds as seconds with one decimal, such as `7.3 s`.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{} s", us / 1_000_000, us / 100_000 % 10)
}

/// A duration as part of a sentence, such as `31 ms` or `2.4 s`.
pub(super) fn lasted(time: Duration) -> String {
    match time.as_millis() {
        0 => "1 ms".to_owned(),
        ms if ms < 1000 => format!("{ms} ms"),
        ms if ms < 60_000 => format!("{}.{} s", ms / 1000, ms / 100 % 10),
        ms => format!("{} s", ms / 1000),
    }
}

/// A number as an ordinal, such as `3rd`.
pub(super) fn ordinal(n: u64) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// A number of SYN segments, as part of a sentence.
pub(super) fn syn_count(count: u64) -> String {
    if count == 1 { "1 SYN".to_owned() } else { format!("{count} SYNs") }
}

/// The first [`LISTED`] of `names` and the number of further ones, as part of a sentence.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names.get(..LISTED).unwrap_or(names);
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Maximum of names in one sentence.
const LISTED: usize = 4;
