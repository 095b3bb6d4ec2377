//! Words that several rules use.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Detection, RuleDoc};
use crate::judge::JudgedConnection;
use crate::judge::world::Sighting;
use crate::observe::{CloseKind, EpmdTag, Hello, MessageKind, Received, Role};
use crate::packet::PacketRef;
use crate::record::{Evidence, Missing, Shows};

/// The two sides of a session, as a person would call them.
pub(super) struct Sides {
    /// Node name, or address.
    pub(super) initiator: String,
    /// Node name, the name that was asked for, or address and port.
    pub(super) acceptor: String,
    /// Node names that were seen.
    pub(super) nodes: Vec<Arc<str>>,
}

impl Sides {
    pub(super) fn of(it: &JudgedConnection) -> Self {
        let end = it.acceptor_end();
        let asked = it.verdict.lookup.as_ref().map(|lookup| &lookup.asked);
        let initiator = it.name(Role::Initiator);
        let initiator =
            initiator.map_or_else(|| it.ip(Role::Initiator).to_string(), ToString::to_string);
        let acceptor = match (it.name(Role::Acceptor), asked) {
            (Some(node), _) => node.to_string(),
            (None, Some(asked)) => format!("\"{asked}\" at {}", address(end.ip, end.port)),
            (None, None) => address(end.ip, end.port),
        };
        Self { initiator, acceptor, nodes: it.seen.names().cloned().collect() }
    }

    /// The side in this role, and the other one.
    pub(super) const fn beginning_with(&self, role: Role) -> (&String, &String) {
        match role {
            Role::Initiator => (&self.initiator, &self.acceptor),
            Role::Acceptor => (&self.acceptor, &self.initiator),
        }
    }

    /// Who is concerned, the same whoever dials.
    pub(super) fn either_way(&self) -> String {
        let (a, b) = (&self.initiator, &self.acceptor);
        if a <= b { format!("{a},{b}") } else { format!("{b},{a}") }
    }

    /// Who is concerned, and who dials.
    pub(super) fn one_way(&self) -> String {
        format!("{},{}", self.initiator, self.acceptor)
    }
}

/// What is detected about a session, with everything that most rules fill in alike.
pub(super) fn finding(doc: &RuleDoc, it: &JudgedConnection, sides: &Sides) -> Detection {
    Detection {
        confidence: it.verdict.confidence,
        nodes: sides.nodes.clone(),
        parties: sides.one_way(),
        not_excluded: it.verdict.not_excluded.iter().map(ToString::to_string).collect(),
        ..Detection::new(doc)
    }
}

/// Address and port as people write them.
pub(super) fn address(ip: IpAddr, port: u16) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// A packet on the session's own connection.
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

/// A node's hello.
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

/// The look-up that led to a session.
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

/// The close of a session, and when it came.
pub(super) fn closed(it: &JudgedConnection, detail: &'static str) -> Option<Evidence> {
    close_of(it, None, detail)
}

/// The close of a session, and the message that was due in its place.
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

/// A release by what the flags of its hello show, for a sentence.
pub(super) fn release(hello: Option<&Received<Hello>>) -> String {
    match hello.and_then(|hello| hello.what.flags.otp_at_least()) {
        Some(release) => format!("OTP {release} or newer by its flags"),
        None => "of unknown release".to_owned(),
    }
}

/// Microseconds as seconds with one decimal.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{} s", us / 1_000_000, us / 100_000 % 10)
}

/// The first few of `names`, for a sentence.
pub(super) fn listed(names: &[&str]) -> String {
    let shown = names.get(..LISTED).unwrap_or(names);
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Names in one sentence.
const LISTED: usize = 4;
