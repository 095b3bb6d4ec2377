//! Words that several rules use.

use std::net::IpAddr;
use std::sync::Arc;

use super::RuleDoc;
use crate::judge::world::{acceptor_end, ip_of};
use crate::packet::PacketRef;
use crate::record::{
    Body, CloseKind, Confidence, ConnectionIds, EpmdTag, Event, Evidence, Finding, MessageKind,
    Missing, Party, Role, Session, Shows, Sighting, State,
};

/// A session that is over, or as far along as the capture goes, seen for the first time with its
/// outcome; what every rule about sessions looks at.
pub(super) fn settled(event: &Event) -> Option<(&ConnectionIds, &Session)> {
    let (Body::Session { session }, Some(ids)) = (&event.body, &event.connection) else {
        return None;
    };
    let settled = session.state != State::Established && !session.seen.again;
    settled.then_some((ids, session))
}

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
    pub(super) fn of(ids: &ConnectionIds, session: &Session) -> Self {
        let end = acceptor_end(ids, session);
        let asked = session.lookup.as_ref().map(|lookup| &lookup.asked);
        let nodes: Vec<_> = [&session.initiator.node, &session.acceptor.node]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let initiator = session
            .initiator
            .node
            .as_deref()
            .map_or_else(|| ip_of(ids, session, Role::Initiator).to_string(), ToOwned::to_owned);
        let acceptor = match (&session.acceptor.node, asked) {
            (Some(node), _) => node.to_string(),
            (None, Some(asked)) => format!("\"{asked}\" at {}", address(end.ip, end.port)),
            (None, None) => address(end.ip, end.port),
        };
        Self { initiator, acceptor, nodes }
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

/// A finding about a session, with everything that most rules fill in alike.
pub(super) fn finding(doc: &RuleDoc, session: &Session, sides: &Sides) -> Finding {
    Finding {
        confidence: session.confidence,
        nodes: sides.nodes.clone(),
        parties: sides.one_way(),
        not_excluded: session.not_excluded.clone(),
        ..blank(doc)
    }
}

/// A finding of which the rule alone is known.
pub(super) fn blank(doc: &RuleDoc) -> Finding {
    Finding {
        rule: doc.rule,
        severity: doc.severity,
        confidence: Confidence::Proven,
        title: String::new(),
        explanation: String::new(),
        remedy: Vec::new(),
        nodes: Vec::new(),
        incident_id: Arc::default(),
        parties: String::new(),
        evidence: Vec::new(),
        not_excluded: Vec::new(),
        logged_by: Vec::new(),
        evidence_file: None,
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
pub(super) fn looked_up(session: &Session) -> Option<Evidence> {
    session.lookup.as_ref().map(|lookup| Evidence {
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
pub(super) fn closed(session: &Session, detail: &'static str) -> Option<Evidence> {
    close_of(session, None, detail)
}

/// The close of a session, and the message that was due in its place.
pub(super) fn closed_without(session: &Session, message: MessageKind) -> Option<Evidence> {
    close_of(session, Some(Missing::Handshake(message)), "")
}

fn close_of(session: &Session, missing: Option<Missing>, detail: &'static str) -> Option<Evidence> {
    let is_reset = session.close == Some(CloseKind::Rst);
    let what = Shows::Close { is_reset, missing, detail };
    shown(session.seen.close, session.closed_by, what)
}

/// A release by what its flags show, for a sentence.
pub(super) fn release(party: &Party) -> String {
    match party.otp_at_least {
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
