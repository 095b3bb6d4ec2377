//! Another host asks EPMD for the names of all nodes.
//!
//! The evidence is NAMES_REQ from another address than that of EPMD. The capture cannot show the purpose:
//! clusters that find their nodes by name send the same request.

use super::epmd_common::{self, Pending};
use super::finding::shown;
use super::{Detection, Rule, RuleDoc};
use crate::judge::world::World;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, Role, Settled};
use crate::record::{Severity, Shows};

/// Documentation of the rule `epmd-enumeration`.
const DOC: RuleDoc = RuleDoc {
    rule: "epmd-enumeration",
    severity: Severity::Low,
    summary: "another host asked EPMD for the names of all nodes",
    symptom: "a host outside asks EPMD for the names of all nodes",
    meaning: "A host asked EPMD on another host for all names and ports. EPMD answers anyone who \
              reaches it, without authentication, and this is the first step of an attacker who \
              looks for nodes. If --home-net names your own networks, a request from outside \
              them has severity medium.",
    evidence: "NAMES_REQ from an address that is neither EPMD's own nor loopback.",
    lookalikes: "Legitimate programs ask the same: net_adm:names/1 and net_adm:world/0, the Epmd \
                 strategy of libcluster, monitoring. Ask first who runs the asking host. `epmd \
                 -names` asks on its own host, and is not reported.",
    log_lines: &[],
    remedy: &[
        "Find out what runs on the asking host, and whether it belongs to the cluster.",
        "Let only the hosts of the cluster reach port 4369 and the distribution ports: use a \
         packet filter, or ERL_EPMD_ADDRESS to bind EPMD to an internal network.",
        "Use a long random cookie, and TLS where the network is not trusted: an attacker who \
         knows the ports needs only the cookie.",
    ],
};

#[derive(Default)]
pub(super) struct EpmdEnumeration {
    pending: Pending,
}

impl Rule for EpmdEnumeration {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        known: &World,
        out: &mut Vec<Detection>,
    ) {
        let ids = &*settled.connection;
        // Without a reply, the client has learned no names.
        let has_reply = epmd.outcome != EpmdOutcome::NoReply;
        if epmd.request != Some(EpmdTag::NAMES_REQ) || epmd_common::is_local(ids) || !has_reply {
            return;
        }
        let server = epmd_common::server_address(ids);
        let asker = ids.src_ip;
        let outside = known.home().is_outside(asker) == Some(true);
        let (who, severity) = if outside {
            (format!("{asker} (outside your networks)"), Severity::Medium)
        } else {
            // A tool that could not reach its node asks for the names, to print what runs there.
            let is_tool = known.dials().tool_dialed(asker, ids.dest_ip, settled.at);
            (asker.to_string(), if is_tool { Severity::Info } else { DOC.severity })
        };
        let answer = match epmd.names.as_ref().map(Vec::len) {
            None => "The capture does not show the complete answer.".to_owned(),
            Some(0) => "EPMD listed no names.".to_owned(),
            Some(1) => "EPMD listed 1 name with its port.".to_owned(),
            Some(names) => format!("EPMD listed {names} names, each with its port."),
        };
        let evidence = [
            shown(epmd.seen.request, Some(Role::Initiator), Shows::epmd(EpmdTag::NAMES_REQ, "")),
            shown(epmd.seen.reply, Some(Role::Acceptor), Shows::Note("names and ports".into())),
        ];
        let finding = Detection {
            severity,
            title: format!("{who} asked EPMD at {server} for the names of all nodes"),
            explanation: format!(
                "{answer} Programs that look for the nodes of a cluster send the same request \
                 (net_adm:names, net_adm:world, the Epmd strategy of libcluster), and so does an attacker \
                 who looks for nodes."
            ),
            remedy: vec![
                format!(
                    "Find out which program at {asker} sent the request, and whether it belongs to the \
                     cluster."
                ),
                format!("If it does not, close port {} to that host.", ids.dest_port),
            ],
            parties: asker.to_string(),
            evidence: evidence.into_iter().flatten().collect(),
            ..Detection::new(&DOC)
        };
        self.pending.report(ids, epmd.outcome, finding, out);
    }

    fn on_end(&mut self, _: &World, out: &mut Vec<Detection>) {
        self.pending.release(out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{closed, epmd, evidence, found, found_at};
    use super::*;
    use crate::detect::tests::Step;
    use crate::judge::world::HomeNets;
    use crate::network::Cidr;
    use crate::observe::RegisteredName;

    fn asks(src: &str, dest: &str) -> Step {
        let names = vec![RegisteredName { name: "b".into(), name_hex: None, port: 9100 }];
        let change = |epmd: &mut EpmdObservation| epmd.names = Some(names);
        epmd((src, dest, "1"), (10, 2.0), EpmdTag::NAMES_REQ, "", EpmdOutcome::Answered, change)
    }

    #[test]
    fn a_request_from_another_host_is_low() {
        let found = found::<EpmdEnumeration>(&[asks("10.0.0.1", "10.0.0.2")]);
        let [finding] = &found[..] else { panic!("{found:?}") };
        assert_eq!(finding.severity, Severity::Low);
        assert_eq!(finding.parties, "10.0.0.1");
        assert_eq!(evidence(finding), [(9, "NAMES_REQ"), (10, "names and ports")]);
        assert!(finding.explanation.starts_with("EPMD listed 1 name "));
    }

    #[test]
    fn a_request_on_the_host_itself_is_no_finding() {
        let own =
            [asks("127.0.0.1", "127.0.0.1"), asks("::1", "::1"), asks("10.0.0.2", "10.0.0.2")];
        assert!(found::<EpmdEnumeration>(&own).is_empty());
    }

    #[test]
    fn a_request_from_outside_the_home_networks_is_medium() {
        let home = || -> HomeNets { ["10.0.0.0/8".parse::<Cidr>().unwrap()].into_iter().collect() };
        let severity = |src| {
            let found = found_at(home(), EpmdEnumeration::default(), &[asks(src, "10.0.0.2")]);
            (found[0].severity, found[0].title.contains("outside"))
        };
        assert_eq!(severity("192.0.2.7"), (Severity::Medium, true));
        assert_eq!(severity("10.0.0.1"), (Severity::Low, false));
    }

    #[test]
    fn other_requests_and_an_epmd_without_reply_are_no_finding() {
        let ends = ("10.0.0.1", "10.0.0.2", "1");
        let outcome = EpmdOutcome::Answered;
        let events = [
            epmd(ends, (10, 2.0), EpmdTag::PORT_PLEASE2_REQ, "b", outcome, |_| ()),
            epmd(
                ends,
                (20, 3.0),
                EpmdTag::NAMES_REQ,
                "",
                EpmdOutcome::NoReply,
                closed(Role::Initiator, 7.0),
            ),
        ];
        assert!(found::<EpmdEnumeration>(&events).is_empty());
    }
}
