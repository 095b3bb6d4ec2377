//! A PROXY protocol header before EPMD's protocol or the distribution.
//!
//! Evidence: the header itself, and a close without an answer. What the load balancer's client sees of it, on the other
//! leg of the same connection, has the same cause and belongs to the same incident.

use std::net::IpAddr;
use std::sync::Arc;

use super::finding::{Sides, address, finding, order_by_frame, shown};
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc};
use crate::decode::Endpoint;
use crate::judge::world::{SeenHeader, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{
    EpmdObservation, EpmdOutcome, EpmdTag, MessageKind, ProxyHeaderFacts, Role, Settled,
};
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `proxy-header`.
const DOC: RuleDoc = RuleDoc {
    rule: "proxy-header",
    severity: Severity::High,
    summary: "a load balancer sends a PROXY header to the nodes",
    symptom: "nodes behind a load balancer do not connect: nothing for 7 s, and no log line",
    meaning: "A load balancer between the nodes sends a PROXY protocol header (HAProxy's \
              send-proxy, nginx's proxy_protocol, Proxy Protocol of a cloud balancer) before the \
              bytes of its client. Neither EPMD nor a node understands it. A node reads its \
              first two bytes as the length of a message (PR is 20,562), waits for the rest, and \
              closes when its setup time is over. EPMD closes at once.",
    evidence: "The first bytes of a connection are a PROXY protocol header, of version 1 (text) \
               or 2 (binary), often with a send_name or a request to EPMD behind it, and no \
               answer comes.",
    lookalikes: "A chain of load balancers, in which the next one accepts the header: then an \
                 answer comes. A health check of the load balancer sends the header and nothing \
                 else; it is reported with low severity.",
    log_lines: &[LogLine { writer: "either node, and EPMD", releases: "all", text: "" }],
    remedy: &[
        "Switch the PROXY protocol off for these ports on the load balancer: remove send-proxy \
         and send-proxy-v2 (HAProxy), proxy_protocol on (nginx), Proxy Protocol (cloud balancers).",
        "EPMD and nodes have no option that accepts the header.",
        "Better let nodes reach each other directly: a name, its port in EPMD and its address \
         must fit, which a load balancer in between rarely ensures.",
    ],
};

#[derive(Default)]
pub(super) struct ProxyHeaderFirst;

impl Rule for ProxyHeaderFirst {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        world: &World,
        out: &mut Vec<Detection>,
    ) {
        let ids = &*settled.connection;
        if let (EpmdOutcome::Malformed, Some(header)) = (epmd.outcome, &epmd.seen.proxy) {
            let server = format!("EPMD at {}", address(ids.dest_ip, ids.dest_port));
            let behind = match (epmd.request, &epmd.name) {
                (Some(EpmdTag::PORT_PLEASE2_REQ), Some(name)) => {
                    Some(format!("the look-up of \"{name}\""))
                }
                (Some(_), _) => Some("the request of a node".to_owned()),
                (None, _) => None,
            };
            let mut found = detection(ids.src_ip, header, &server, behind, READ_BY_EPMD);
            found.ended_by = EndedBy::Any(vec![Ending::reply(settled, true)]);
            found.evidence = header_evidence(header, None).into_iter().collect();
            found.evidence.extend(shown(
                epmd.seen.close,
                epmd.seen.closed_by,
                Shows::Closed("closed without an answer".into()),
            ));
            out.push(found);
        } else if let Some(seen) = sent_for_request(settled, epmd, world) {
            let server =
                format!("EPMD at {}", address(seen.connection.dest_ip, seen.connection.dest_port));
            let behind = epmd.name.as_ref().map(|name| format!("the look-up of \"{name}\""));
            let behind = behind.or_else(|| Some("what its client sends".to_owned()));
            let mut found =
                detection(seen.connection.src_ip, &seen.header, &server, behind, READ_BY_EPMD);
            found.ended_by = EndedBy::Any(vec![Ending::reply(settled, true)]);
            found.evidence = header_evidence(&seen.header, Some(seen)).into_iter().collect();
            found.evidence.extend(shown(
                epmd.seen.close,
                epmd.seen.closed_by,
                Shows::Closed("closed without an answer".into()),
            ));
            out.push(found);
        }
    }

    fn on_session(&mut self, session: &JudgedConnection, world: &World, out: &mut Vec<Detection>) {
        if !session.is_settled() {
            return;
        }
        let sides = Sides::of(session);
        let (seen, header) = match (session.outcome(), &session.seen.proxy) {
            (Outcome::NotDistribution, Some(header)) => (None, header),
            _ => match sent_for_session(session, world) {
                Some(seen) => (Some(seen), &seen.header),
                None => return,
            },
        };
        let balancer =
            seen.map_or_else(|| session.ip(Role::Initiator), |seen| seen.connection.src_ip);
        // By its address alone, whichever leg of the connection through the load balancer is judged first.
        let end = session.acceptor_end();
        let node = match seen {
            None => address(end.ip, end.port),
            Some(seen) => address(seen.connection.dest_ip, seen.connection.dest_port),
        };
        let name = session.name(Role::Initiator);
        let is_tls = session.seen.tls.initiator.sign.is_some();
        let behind = match name {
            Some(name) => Some(format!("the hello of {name}")),
            None if is_tls => Some("the TLS hello of its client".to_owned()),
            None => seen.map(|_| "what its client sends".to_owned()),
        };
        let common = detection(balancer, header, &node, behind, READ_BY_NODE);
        let mut found = finding(&DOC, session, &sides);
        found.severity = common.severity;
        found.confidence = Confidence::Proven;
        (found.title, found.explanation) = (common.title, common.explanation);
        (found.remedy, found.parties) = (common.remedy, common.parties);
        found.not_excluded = Vec::new();
        found.evidence = header_evidence(header, seen).into_iter().collect();
        found.evidence.extend(shown(
            session.seen.message(MessageKind::SendName),
            Some(Role::Initiator),
            MessageKind::SendName,
        ));
        order_by_frame(&mut found.evidence);
        found.evidence.extend(shown(
            session.seen.closed(),
            session.seen.closed_by(),
            Shows::Closed("closed without an answer".into()),
        ));
        out.push(found);
    }
}

/// The header that a load balancer sent for this request to it, if the request failed.
pub(super) fn sent_for_request<'w>(
    settled: &Settled,
    epmd: &EpmdObservation,
    world: &'w World,
) -> Option<&'w SeenHeader> {
    let ids = &*settled.connection;
    if !matches!(epmd.outcome, EpmdOutcome::NoReply | EpmdOutcome::Incomplete) {
        return None;
    }
    let opened = epmd.seen.syn.or(epmd.seen.request)?.at;
    let closed = epmd.seen.close?.at;
    let client = Endpoint { ip: ids.src_ip, port: ids.src_port };
    let dialed = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
    world.relays().sent_for(client, dialed, (opened, closed))
}

/// The header that a load balancer sent for this connection to it, if the handshake failed without an answer.
pub(super) fn sent_for_session<'w>(
    session: &JudgedConnection,
    world: &'w World,
) -> Option<&'w SeenHeader> {
    let has_failed =
        matches!(session.outcome(), Outcome::TimedOut | Outcome::Aborted | Outcome::TlsMismatch);
    let is_mute = session.seen.tcp.sides.acceptor.bytes == 0;
    if !has_failed || !is_mute {
        return None;
    }
    world.relays().sent_for_dial(session, world.dials())
}

/// The texts of the finding. `behind` is what follows the header, if anything does.
fn detection(
    balancer: IpAddr,
    header: &ProxyHeaderFacts,
    server: &str,
    behind: Option<String>,
    read: &str,
) -> Detection {
    let version = header.version;
    let client = match header.client {
        Some(client) => format!(" for {}", address(client.ip, client.port)),
        None => String::new(),
    };
    let Some(behind) = behind else {
        return Detection {
            severity: Severity::Low,
            title: format!(
                "{balancer} sends a PROXY protocol header to {server}, and nothing else"
            ),
            explanation: format!(
                "{balancer} opened a connection{client} and sent a PROXY protocol header (version {version}) \
                 alone, as the check of a load balancer does. {read}"
            ),
            remedy: vec![format!(
                "On {balancer}, switch the PROXY protocol off in the check of this port (HAProxy: remove \
                 check-send-proxy), and see that it does not send the header for its clients either."
            )],
            parties: format!("{balancer},check"),
            ..Detection::new(&DOC)
        };
    };
    Detection {
        title: format!("{balancer} puts a PROXY protocol header before {behind} to {server}"),
        explanation: format!(
            "{balancer} is a load balancer or proxy: it opened a connection{client}, and sent a PROXY protocol \
             header (version {version}) before {behind}. {read} What stands behind the header is in order: \
             the nodes are well, and nobody logs anything about it."
        ),
        remedy: vec![
            format!(
                "On {balancer}, switch the PROXY protocol off for this port: remove send-proxy or \
                 send-proxy-v2 from the server line (HAProxy), or set proxy_protocol off (nginx), or \
                 disable Proxy Protocol for the target (cloud balancers)."
            ),
            "EPMD and Erlang nodes have no option that accepts the header.".to_owned(),
        ],
        parties: balancer.to_string(),
        ..Detection::new(&DOC)
    }
}

/// Evidence by the header. `seen` is its connection, if that is not the one of the finding.
fn header_evidence(header: &ProxyHeaderFacts, seen: Option<&SeenHeader>) -> Option<Evidence> {
    let what = format!("PROXY protocol header, version {}", header.version);
    let mut evidence = shown(Some(header.mark), Some(Role::Initiator), Shows::Note(what.into()))?;
    evidence.session_id = seen.map(|seen| Arc::clone(&seen.connection.session_id));
    Some(evidence)
}

const READ_BY_NODE: &str = "A node does not know this header: it reads the first two bytes as the length of a long \
                            message, waits for the rest of it, and closes when its setup time (7 s by default) is \
                            over.";

const READ_BY_EPMD: &str = "EPMD does not know this header: it reads it as a request that is too long, and closes at once.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{dial, mark};
    use crate::judge::world::HomeNets;
    use crate::limits::Limits;

    #[test]
    fn a_header_is_of_a_handshake_that_failed_without_an_answer_and_of_no_other() {
        let is_found = |outcome: Outcome, bytes: u64| {
            let mut session = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").fails(outcome).judged();
            session.seen.tcp.sides.acceptor.bytes = bytes;
            let leg = dial(1, "a@h2/10.0.0.2/1", "b@h3/10.0.0.3/2").judged();
            let client = Some(session.seen.ends.initiator);
            let header = ProxyHeaderFacts { version: 1, mark: mark(1), client, dialed: None };
            let mut world = World::new(&Limits::default(), HomeNets::default());
            world.on_proxy_header(&leg.settled, &header);
            sent_for_session(&session, &world).is_some()
        };
        for outcome in [Outcome::TimedOut, Outcome::Aborted, Outcome::TlsMismatch] {
            assert_eq!([0, 5].map(|bytes| is_found(outcome, bytes)), [true, false], "{outcome:?}");
        }
        for outcome in [Outcome::Connected, Outcome::CookieMismatch, Outcome::Incomplete] {
            assert!(!is_found(outcome, 0), "{outcome:?}");
        }
    }

    #[test]
    fn a_header_is_of_a_request_to_epmd_without_an_answer_and_of_no_other() {
        let dialed = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").judged();
        let ids = &*dialed.settled.connection;
        let client = Some(Endpoint { ip: ids.src_ip, port: ids.src_port });
        let header = ProxyHeaderFacts { version: 1, mark: mark(1), client, dialed: None };
        let leg = dial(1, "a@h2/10.0.0.2/1", "b@h3/10.0.0.3/2").judged();
        let mut world = World::new(&Limits::default(), HomeNets::default());
        world.on_proxy_header(&leg.settled, &header);
        let found = |outcome, is_own: bool, [opened, closed]: [u64; 2]| {
            let mut epmd = EpmdObservation { outcome, ..EpmdObservation::default() };
            epmd.seen.syn = Some(mark(opened));
            epmd.seen.close = Some(mark(closed));
            epmd.seen.proxy = is_own.then_some(header);
            let mut out = Vec::new();
            ProxyHeaderFirst.on_epmd(&dialed.settled, &epmd, &world, &mut out);
            out.into_iter().map(|it| it.title).collect::<Vec<_>>()
        };
        let of_leg = "10.0.0.2 puts a PROXY protocol header before what its client sends to EPMD at 10.0.0.3:";
        for outcome in [EpmdOutcome::NoReply, EpmdOutcome::Incomplete] {
            let titles = found(outcome, false, [0, 9]);
            assert!(matches!(&*titles, [title] if title.starts_with(of_leg)), "{titles:?}");
            assert!(found(outcome, false, [9000, 9009]).is_empty(), "another time");
        }
        let own = found(EpmdOutcome::Malformed, true, [0, 9]);
        assert!(matches!(&*own, [title] if title.starts_with("10.0.0.1 sends")), "{own:?}");
        assert!(found(EpmdOutcome::Malformed, false, [0, 9]).is_empty());
        for outcome in [EpmdOutcome::Answered, EpmdOutcome::NotRegistered] {
            assert!(found(outcome, true, [0, 9]).is_empty(), "{outcome:?}: an answer came");
        }
    }
}
