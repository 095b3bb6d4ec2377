//! No connection to the port of a node can be opened.
//!
//! `stale-registration`: EPMD gives a port, and the answer to the SYN is RST. The capture cannot show the reason: a
//! listener on another address or of the other family, a missing port mapping and a packet filter lead to RST too, so
//! the finding never claims that the port has no listener. `dist-port-blocked`: no answer in this capture, or ICMP; or
//! RST where the capture shows that the node runs, that EPMD's answer is one of another host, or no answer of EPMD.

use std::net::IpAddr;
use std::sync::Arc;

use super::epmd_common::Registrations;
use super::finding::{Sides, address, finding, looked_up, order_by_frame, shown, syn_count};
use super::{Detection, EndedBy, Ending, LogLine, Rule, RuleDoc, log_lines};
use crate::decode::Endpoint;
use crate::judge::world::{Accepted, ForwardedLookup, PriorLookup, World};
use crate::judge::{JudgedConnection, Outcome};
use crate::observe::{EpmdObservation, EpmdTag, IcmpUnreachable, Role, Settled};
use crate::packet::PacketRef;
use crate::record::{Confidence, Evidence, Severity, Shows};

/// Documentation of the rule `stale-registration`.
const STALE: RuleDoc = RuleDoc {
    rule: "stale-registration",
    severity: Severity::High,
    summary: "EPMD gives a port that refuses connections",
    symptom: "EPMD lists the node, and its port refuses connections",
    meaning: "EPMD returned a port for the name, and the SYN to that port was answered with RST. \
              EPMD only says which port the node registered, and listens on all addresses \
              itself. The node may listen on another address (127.0.0.1 alone, another \
              interface) or on the other family (IPv4 is the default; IPv6 needs -proto_dist \
              inet6_tcp), the port may not be mapped, a packet filter may reject it, or the \
              registration outlived the listener.",
    evidence: "PORT2_RESP with a port, then a SYN to that port which is answered with RST.",
    lookalikes: "A port that accepted a connection before, or to which one is open, is \
                 dist-port-blocked: the node runs, and a packet filter may answer with RST in \
                 its name. So is a port that a proxy in front of EPMD does not forward. If the \
                 connection is accepted and another node answers, that is name-mismatch.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        LogLine { writer: "the dialed host", releases: "all", text: "" },
        log_lines::NO_LISTENER,
        log_lines::RABBITMQ_NO_TCP,
    ],
    remedy: &[
        "On the dialed host, compare `epmd -names` with the listening sockets (`ss -ltnp`): see \
         whether the node listens on its port, and on which address.",
        "If it listens on one address only (inet_dist_use_interface), dial it by that address.",
        "If it listens on IPv4 only and is dialed over IPv6, or the other way round, start both \
         nodes with the same -proto_dist: inet_tcp for IPv4, inet6_tcp for IPv6.",
        "Behind NAT or in a container, map the distribution port to the same number outside: fix \
         it with inet_dist_listen_min and inet_dist_listen_max.",
        "If it listens on the dialed address, look for a packet filter that rejects the port.",
        "If nothing listens on the port, the registration is left over: end the process that \
         holds the connection to EPMD, and start the node again.",
    ],
};

/// Documentation of the rule `dist-port-blocked`.
const BLOCKED: RuleDoc = RuleDoc {
    rule: "dist-port-blocked",
    severity: Severity::High,
    summary: "the way to a node's port is blocked",
    symptom: "nothing for 7 s, then `false`; EPMD answers, and the node's own port does not",
    meaning: "Connections to the port of a node are dropped or rejected on the path. Very often \
              only port 4369 was opened or forwarded, while each node listens on a port of its \
              own.",
    evidence: "PORT2_RESP with a port, then a SYN to that port which is answered with ICMP. SYNs \
               without any answer make it likely, since EPMD on the same host does answer. RST \
               counts where the same port accepted a connection before or has one open (a \
               packet filter may reject with RST), where EPMD's answer came through a proxy \
               from another host, and where no EPMD was asked for the port.",
    lookalikes: "An RST from a port that EPMD gives, and of which nothing else is known, is \
                 stale-registration. A host that went down after EPMD answered is silent too, \
                 and so is an answer that takes a path past the capture point. A node with a \
                 fixed port (-erl_epmd_port) that ended refuses connections as well.",
    log_lines: &[
        LogLine { writer: "the dialing node", releases: "all", text: "" },
        LogLine { writer: "the dialed host", releases: "all", text: "" },
        log_lines::SETUP_TIMED_OUT,
        log_lines::RABBITMQ_NO_TCP,
    ],
    remedy: &[
        "Fix the range of distribution ports on all nodes with inet_dist_listen_min and \
         inet_dist_listen_max (kernel application), and open it between the hosts in both \
         directions, besides 4369.",
        "Until then, read the node's port from `epmd -names` on the dialed host, and open that \
         port.",
        "If the port accepted connections before, look for what changed on the path: packet \
         filters of the dialed host (`nft list ruleset`, `iptables -S`), security groups, \
         network policies. A restart of the node changes nothing there.",
        "If a proxy or a port mapping is in front of EPMD, forward the node's port too, under \
         the same number.",
        "With -erl_epmd_port, give all nodes the same number.",
    ],
};

#[derive(Default)]
pub(super) struct DistPort {
    registered: Registrations,
}

impl Rule for DistPort {
    fn docs(&self) -> &'static [RuleDoc] {
        &[STALE, BLOCKED]
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        _: &World,
        _: &mut Vec<Detection>,
    ) {
        self.registered.on_epmd(settled, epmd);
    }

    fn on_session(&mut self, session: &JudgedConnection, world: &World, out: &mut Vec<Detection>) {
        let has_failed = matches!(session.outcome(), Outcome::Refused | Outcome::Unanswered);
        if !has_failed || !session.is_settled() {
            return;
        }
        let dial = FailedDial::of(session, world);
        let mut found = match (session.outcome(), session.seen.tcp.icmp) {
            (Outcome::Refused, None) => self.refused(&dial),
            (Outcome::Refused, Some(icmp)) => dial.rejected(icmp),
            _ => dial.unanswered(),
        };
        // A port that accepts no connection is one cause, however many nodes dial it.
        found.parties = format!("{},{}", dial.port, dial.node);
        // A packet filter may reject one client and not another.
        let is_blocked = found.rule == BLOCKED.rule && dial.lookup.is_some();
        let endings = [Ending::connection_of(session), Ending::accepted(session, is_blocked)];
        found.ended_by = EndedBy::Any(endings.into());
        let syn = session.seen.tcp.sides.initiator.syn;
        found.evidence.extend(looked_up(session));
        found.evidence.extend(shown(syn.map(|syn| syn.mark), Some(Role::Initiator), Shows::Syn));
        let answer = if session.seen.tcp.icmp.is_some() { Shows::Icmp } else { Shows::RST };
        found.evidence.extend(shown(session.seen.closed(), Some(Role::Acceptor), answer));
        order_by_frame(&mut found.evidence);
        out.push(found);
    }
}

impl DistPort {
    /// The SYN was answered with RST.
    fn refused(&self, dial: &FailedDial<'_>) -> Detection {
        let Some(lookup) = dial.lookup else { return dial.refused_without_lookup() };
        if let Some(open) = dial.open {
            return dial.refused_beside(open);
        }
        if let Some(forwarded) = &lookup.forwarded {
            return dial.not_forwarded(forwarded);
        }
        // Another node may have had the port before.
        let is_same = |accepted: &&Accepted| {
            let alive = accepted.node.as_ref().and_then(|node| node.split_once('@'));
            alive.is_none_or(|(alive, _)| alive == &*lookup.asked)
        };
        match dial.accepted.filter(is_same) {
            Some(accepted) => dial.refused_after(accepted),
            None => self.refused_at_address(dial, lookup),
        }
    }

    /// EPMD gives the port, and nothing shows that it ever accepted a connection at the dialed address.
    fn refused_at_address(&self, dial: &FailedDial<'_>, lookup: &PriorLookup) -> Detection {
        let FailedDial { end, port, node, world, .. } = dial;
        let (ip, is_v6) = (end.ip, end.ip.is_ipv6());
        let mut found = dial.finding(&STALE);
        found.title =
            format!("EPMD says {node} is on port {}; {ip} refused the connection", end.port);
        let own = if is_v6 { "IPv6" } else { "IPv4" };
        let other = if is_v6 { "IPv4" } else { "IPv6" };
        let mut facts = String::new();
        let registered = self.registered.on_loopback(&lookup.asked, end.port, dial.input());
        let is_other_family = |client: &IpAddr| client.is_ipv6() != is_v6;
        let registered = registered
            .and_then(|known| Some((known.node.filter(is_other_family)?, known, known.shown?)));
        let seen = world.reach().only_in_other_family(&lookup.asked, ip);
        if let Some((client, known, shown)) = registered {
            found.evidence.push(other_session(
                shown,
                &known.session_id,
                format!("\"{}\" registered, with port {}", known.name, known.port),
            ));
            facts += &format!(
                " \"{}\" registered that port over {client} (frame {}): a node that does so runs on {other}.",
                known.name, shown.frame.number
            );
        } else if let Some(seen) = seen {
            found.evidence.push(other_session(
                seen.mark,
                &seen.session_id,
                format!("{} at {}", seen.node, seen.ip),
            ));
            found.nodes.push(Arc::clone(&seen.node));
            facts += &format!(
                " {} was seen at {} (frame {}), and in this capture only over {other}.",
                seen.node, seen.ip, seen.mark.frame.number
            );
        }
        let is_family = !facts.is_empty();
        if is_family {
            found.title = format!("{node} refuses {own} at {port}, and was seen on {other} only");
        }
        if let Some((other_ip, accepted)) = world.reach().elsewhere(&lookup.asked, *end) {
            found.evidence.push(accepted_before(accepted, format!("accepted at {other_ip}")));
            facts += &format!(
                " A node of that name accepts connections on the same port at {other_ip} (frame {}): if it \
                 is this node, it listens there and not on {ip}.",
                accepted.mark.frame.number
            );
        }
        if let Some((name, address)) = world.addresses().other_family(ip) {
            facts += &format!(
                " {name} has both families in the DNS: {ip} and {} (frame {}).",
                address.ip, address.frame.number
            );
        }
        let families = if is_v6 {
            "on IPv4 alone, as nodes do without -proto_dist inet6_tcp"
        } else {
            "on IPv6 alone"
        };
        found.explanation = format!(
            "{} dialed {port}, and its SYN was answered with RST.{facts} EPMD only says which port the node \
             registered, and listens on all addresses itself; the node may listen on 127.0.0.1 or another \
             interface alone (inet_dist_use_interface), or {families}. A port mapping without the port and a \
             packet filter that answers with RST look the same, and so does a registration that outlived \
             the listener.",
            dial.initiator
        );
        let same_family = format!(
            "If it listens on {other} alone, dial it over {other}: start both nodes with the same \
             -proto_dist, inet_tcp for IPv4 or inet6_tcp for IPv6."
        );
        let mut steps = vec![
            format!(
                "On {ip}, see whether the node listens, and on which address: `ss -ltnp 'sport = :{}'`.",
                end.port
            ),
            "If it listens on 127.0.0.1 or on another address, dial it by that address, or change \
             inet_dist_use_interface."
                .to_owned(),
            same_family,
            "If it listens on the dialed address, look for a packet filter that rejects the port, and for a \
             port mapping that lacks it."
                .to_owned(),
            "If nothing listens on that port, the registration is left over: end the process that holds the \
             connection to EPMD, and start the node again."
                .to_owned(),
        ];
        if is_family || is_v6 {
            steps.swap(1, 2);
        }
        found.remedy = steps;
        found
    }
}

/// A dial that opened no connection, and what else the capture shows of the dialed endpoint.
struct FailedDial<'a> {
    session: &'a JudgedConnection,
    sides: Sides,
    world: &'a World,
    /// The side that dialed, by name or address.
    initiator: String,
    end: Endpoint,
    /// The dialed address and port.
    port: String,
    /// The node that was looked up, for a sentence.
    node: String,
    lookup: Option<&'a PriorLookup>,
    /// A connection to the same endpoint that is open.
    open: Option<&'a Accepted>,
    /// The last connection that the endpoint accepted.
    accepted: Option<&'a Accepted>,
}

impl<'a> FailedDial<'a> {
    fn of(session: &'a JudgedConnection, world: &'a World) -> Self {
        let sides = Sides::of(session);
        let end = session.acceptor_end();
        let lookup = session.verdict.lookup.as_ref();
        Self {
            initiator: sides.initiator.clone(),
            port: address(end.ip, end.port),
            node: lookup.map_or_else(|| "a node".to_owned(), |it| format!("\"{}\"", it.asked)),
            open: world.reach().open(end),
            accepted: world.reach().accepted(end),
            session,
            sides,
            world,
            end,
            lookup,
        }
    }

    /// The alive name that was looked up.
    fn name(&self) -> &str {
        self.lookup.map_or("?", |lookup| &lookup.asked)
    }

    fn input(&self) -> Option<u16> {
        self.session.settled.host()
    }

    fn finding(&self, doc: &RuleDoc) -> Detection {
        finding(doc, self.session, &self.sides)
    }

    /// A detection that the capture makes likely, with the node that accepted a connection before.
    fn likely(&self, accepted: &Accepted, what: &str) -> Detection {
        let mut found = self.finding(&BLOCKED);
        found.confidence = found.confidence.min(Confidence::Likely);
        found.evidence.push(accepted_before(accepted, what.to_owned()));
        let node = accepted.node.iter().find(|node| !found.nodes.contains(node));
        found.nodes.extend(node.cloned());
        found
    }

    /// The name of the node for a sentence: the one that it sent on an accepted connection, else the one looked up.
    fn named(&self, accepted: &Accepted) -> String {
        let name = accepted.node.as_ref().map(ToString::to_string);
        name.unwrap_or_else(|| self.node.clone())
    }

    fn filter_steps(&self) -> Vec<String> {
        let Endpoint { ip, port } = self.end;
        vec![
            format!(
                "Look for a packet filter that rejects TCP port {port} from {} to {ip}: on {ip} with `nft list \
                 ruleset` and `iptables -S`, then security groups, network policies and firewalls on the path.",
                self.session.ip(Role::Initiator)
            ),
            format!(
                "On {ip}, check that the node still listens: `ss -ltnp 'sport = :{port}'`. If it does, the node \
                 is well, and a restart changes nothing."
            ),
        ]
    }

    /// RST, while a connection to the same port is open.
    fn refused_beside(&self, open: &Accepted) -> Detection {
        let mut found = self.likely(open, "connection to the same port, still open");
        let node = self.named(open);
        found.title = format!(
            "new connections to {node} ({}) are refused, while one to the same port is open",
            self.port
        );
        found.explanation = format!(
            "{} dialed {}, and its SYN was answered with RST. A connection to that very port is open (frame \
             {}), and EPMD still gives the port, so the node runs. A packet filter that rejects new \
             connections answers with RST in the name of the host.",
            self.initiator, self.port, open.mark.frame.number
        );
        found.remedy = self.filter_steps();
        found.not_excluded =
            vec!["the node closed its listening socket and kept its connections".to_owned()];
        found
    }

    /// RST from a port that accepted a connection before and that EPMD still gives.
    fn refused_after(&self, accepted: &Accepted) -> Detection {
        let mut found = self.likely(accepted, "connection accepted on the same port");
        let node = self.named(accepted);
        found.title =
            format!("{node} refuses connections at {}, which accepted them before", self.port);
        found.explanation = format!(
            "{} dialed {}, and its SYN was answered with RST. The same port had accepted a connection \
             (frame {}), and EPMD still gives it; EPMD drops a name as soon as the node ends. So the node \
             most likely runs and listens, and a packet filter on the path rejects connections with RST in \
             its name.",
            self.initiator, self.port, accepted.mark.frame.number
        );
        found.remedy = self.filter_steps();
        found.not_excluded = vec![
            "the node ended between the answer of EPMD and the dial".to_owned(),
            "the node closed its listening socket".to_owned(),
        ];
        found
    }

    /// EPMD's answer came through a proxy from another host, and the proxy does not forward the port.
    fn not_forwarded(&self, forwarded: &ForwardedLookup) -> Detection {
        let mut found = self.finding(&BLOCKED);
        found.confidence = found.confidence.min(Confidence::Likely);
        let (Endpoint { ip, port }, Endpoint { ip: real, .. }) = (self.end, forwarded.epmd);
        let node = &self.node;
        found.title = format!("{ip} forwards EPMD to {real}, and not port {port} of {node}");
        found.explanation = format!(
            "EPMD's answer to {} came through a proxy, balancer or port mapping at {ip}: the same question \
             went on from there to {} (frame {} is its answer). So port {port} is one of {real}. {}",
            self.initiator,
            address(real, forwarded.epmd.port),
            forwarded.reply.number,
            if self.session.outcome() == Outcome::Unanswered {
                format!("At {ip} nothing answers on it.")
            } else {
                format!("{ip} refused the connection: it does not forward that port.")
            }
        );
        found.remedy = vec![
            format!(
                "Dial {node} by an address of its own, such as {real}: distribution needs a direct way to \
                 each node, and a balancer in front of EPMD alone does not give one."
            ),
            format!(
                "Or forward port {port} at {ip} to {real} under the same number, and fix it with \
                 inet_dist_listen_min and inet_dist_listen_max (kernel application)."
            ),
        ];
        found.evidence.push(Evidence {
            frame: forwarded.reply,
            input: None,
            session_id: Some(Arc::clone(&forwarded.session_id)),
            from: None,
            what: Shows::epmd(
                EpmdTag::PORT2_RESP,
                format!("\"{}\" is at port {port}, from {real} to {ip}", self.name()),
            ),
        });
        found.not_excluded =
            vec!["a node at that address asked the same question at that moment".to_owned()];
        found
    }

    /// RST, and no EPMD was asked for the port.
    fn refused_without_lookup(&self) -> Detection {
        if let Some(open) = self.open {
            let mut found = self.refused_beside(open);
            found.explanation = found.explanation.replace(", and EPMD still gives the port", "");
            return found;
        }
        let mut found = self.finding(&BLOCKED);
        (found.severity, found.confidence) =
            (Severity::Medium, found.confidence.min(Confidence::Likely));
        let before = self.accepted.map_or_else(String::new, |accepted| {
            found.evidence.push(accepted_before(accepted, "connection accepted on the same port".to_owned()));
            format!(
                " It had accepted a connection before (frame {}): the node ended since, or a packet filter \
                 rejects new connections.",
                accepted.mark.frame.number
            )
        });
        let Endpoint { ip, port } = self.end;
        found.title = format!("{} refused the connection from {}", self.port, self.initiator);
        found.explanation = format!(
            "{} dialed {}, and its SYN was answered with RST.{before} The capture shows no EPMD that gave \
             this port. If it is a fixed port (-erl_epmd_port, or a module of -epmd_module), the node does \
             not run there or listens on another port.",
            self.initiator, self.port
        );
        found.remedy = vec![
            format!("On {ip}, see whether the node runs and on which port it listens: `ss -ltnp`."),
            "If it listens on another port, give all nodes the same -erl_epmd_port, or let them ask EPMD."
                .to_owned(),
            format!("If it listens on {port} at {ip}, look for a packet filter that rejects the port."),
        ];
        found.not_excluded =
            vec!["a packet filter that answers with RST in the name of the host".to_owned()];
        found
    }

    /// The SYN was answered with ICMP "destination unreachable".
    fn rejected(&self, icmp: IcmpUnreachable) -> Detection {
        let IcmpUnreachable { kind, code, reporter } = icmp;
        let mut found = self.finding(&BLOCKED);
        found.title = format!("a firewall rejects connections to {} ({})", self.node, self.port);
        found.explanation = format!(
            "{reporter} answered the SYN to {} with ICMP {kind}/{code}, \"destination unreachable\": a \
             packet filter rejects it, or there is no route.",
            self.port
        );
        found.remedy = vec![self.open_ports()];
        if let Some(open) = self.open {
            found
                .evidence
                .push(accepted_before(open, "connection to the same port, still open".to_owned()));
            found.explanation += &format!(
                " A connection to that very port is open (frame {}), so the node runs, and a restart \
                 changes nothing. Where the filter answers with RST, the port looks closed.",
                open.mark.frame.number
            );
            found.remedy.extend(self.filter_steps());
        }
        found
    }

    fn unanswered(&self) -> Detection {
        if let Some(forwarded) = self.lookup.and_then(|lookup| lookup.forwarded.as_deref()) {
            return self.not_forwarded(forwarded);
        }
        let syn = self.session.seen.tcp.sides.initiator.syn;
        let mut found = self.finding(&BLOCKED);
        found.title = format!("no answer from {} at {}", self.node, self.port);
        found.explanation = format!(
            "{} from {} to {} and no answer in this capture. If EPMD on the same host answers, the usual \
             reason is a packet filter that lets port 4369 through and not this port.",
            syn_count(syn.map_or(0, |syn| syn.count.into())),
            self.initiator,
            self.port
        );
        found.remedy = vec![self.open_ports()];
        found
    }

    fn open_ports(&self) -> String {
        format!(
            "Open the distribution ports between the hosts, not 4369 alone: fix their range with \
             inet_dist_listen_min and inet_dist_listen_max (kernel application) and let {} through.",
            self.end.port
        )
    }
}

/// Evidence by a connection that the dialed endpoint accepted.
fn accepted_before(accepted: &Accepted, what: String) -> Evidence {
    other_session(accepted.mark, &accepted.session_id, what)
}

/// Evidence by a packet of another connection.
fn other_session(mark: PacketRef, session_id: &Arc<str>, what: String) -> Evidence {
    Evidence {
        frame: mark.frame,
        input: None,
        session_id: Some(Arc::clone(session_id)),
        from: None,
        what: Shows::Note(what.into()),
    }
}
