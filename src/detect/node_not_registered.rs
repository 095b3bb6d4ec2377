//! EPMD does not know the name.
//!
//! Evidence: PORT2_RESP with a result other than 0. It does not show whether the node is down, has another alive name,
//! or is registered with another EPMD.

use std::sync::Arc;

use super::epmd_common::names_command;
use super::finding::{address, shown};
use super::{Detection, EndedBy, Ending, Host, KnownAs, LogLine, Rule, RuleDoc, log_lines};
use crate::decode::Endpoint;
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Severity, Shows};

/// Documentation of the rule `node-not-registered`.
const DOC: RuleDoc = RuleDoc {
    rule: "node-not-registered",
    severity: Severity::Medium,
    summary: "EPMD does not know the name",
    symptom: "nothing is logged, and `epmd -names` on that host does not list the node",
    meaning: "EPMD on that host answered, and does not know the name. The node is not running \
              there, has another name, or is registered with another EPMD.",
    evidence: "PORT2_RESP with a result other than 0, in answer to PORT_PLEASE2_REQ with that \
               name.",
    lookalikes: "An EPMD that cannot be reached is epmd-unreachable. EPMD closes without an \
                 answer if the name is not valid. A name that is known, with a port that refuses \
                 connections, is stale-registration.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        log_lines::NO_LISTENER,
        LogLine {
            writer: "rabbitmqctl on the dialing host",
            releases: "all",
            text: "* epmd reports: node 'rabbit' not running at all",
        },
    ],
    remedy: &[
        "On the host that was asked, run `epmd -names`, and compare the spelling with the part \
         before the @: names are case-sensitive.",
        "If the name is missing, check that the node runs, and that it was started with a name \
         (-name, -sname, RELEASE_NODE).",
        "If it runs and is not listed, it may use another EPMD: the one of its container, or \
         another ERL_EPMD_PORT.",
        "Restart a node older than OTP 23.3 after a restart of EPMD: it does not register again \
         by itself.",
    ],
};

#[derive(Default)]
pub(super) struct NodeNotRegistered;

impl Rule for NodeNotRegistered {
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
        if epmd.outcome != EpmdOutcome::NotRegistered {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let mapper = address(ids.dest_ip, ids.dest_port);
        let seen = &epmd.seen;
        let asked = Shows::epmd(EpmdTag::PORT_PLEASE2_REQ, format!("\"{name}\""));
        let answered = Shows::epmd(EpmdTag::PORT2_RESP, format!("no \"{name}\""));
        let evidence = [
            shown(seen.request, Some(Role::Initiator), asked),
            shown(seen.reply, Some(Role::Acceptor), answered),
        ];
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        let other = world.reach().epmd_on_other_port(end).map_or_else(String::new, |other| {
            format!(
                " Another EPMD answers on port {} of that host (frame {}).",
                other.port, other.mark.frame.number
            )
        });
        let [client, host] = [ids.src_ip, ids.dest_ip].map(|ip| Host::of(ip, settled));
        // A node that connects to the host of the client is up, and so is one that was dialed.
        let endings = epmd.name.iter().flat_map(|name| {
            let node = KnownAs::Alive(Arc::clone(name), host);
            [
                Ending::is_registered(settled, name),
                Ending::connect(KnownAs::AnyOf(client), node.clone()),
                Ending::IsDialed(node),
            ]
        });
        out.push(Detection {
            ended_by: EndedBy::Any(endings.collect()),
            title: format!("no node \"{name}\" is registered at {mapper}"),
            explanation: format!(
                "{} asked EPMD at {mapper} for \"{name}\", and EPMD does not know that name. The node is not \
                 running there, has another alive name (names are case-sensitive), or is registered with \
                 another EPMD.{other}",
                ids.src_ip
            ),
            remedy: vec![
                format!(
                    "On {}, run `{}` and compare the spelling.",
                    ids.dest_ip,
                    names_command(ids.dest_port)
                ),
                "If the node runs, it may use another EPMD (that of a container, or another ERL_EPMD_PORT). \
                 Or it is older than OTP 23.3 and lost its registration when EPMD was restarted: restart it."
                    .to_owned(),
            ],
            // Look-ups of all clients belong to one incident, because the same node is missing.
            parties: format!("{mapper},{name}"),
            evidence: evidence.into_iter().flatten().collect(),
            ..Detection::new(&DOC)
        });
    }
}
