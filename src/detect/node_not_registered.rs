//! EPMD does not know the name.
//!
//! Evidence: PORT2_RESP with a result other than 0. It does not show whether the node is down, has another alive name,
//! or is registered with another EPMD; what the capture has of the node from before may show it. A hidden node that was
//! only seen to dial may not listen at all (`-dist_listen false`).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::epmd_common::{KnownRegistration, Mapper, Registrations, names_command};
use super::finding::{address, seconds, shown, sighted};
use super::{Detection, EndedBy, Ending, Host, KnownAs, LogLine, Rule, RuleDoc, log_lines};
use crate::decode::Endpoint;
use crate::judge::world::{World, alive_of};
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::remember;
use crate::observe::{EpmdObservation, EpmdOutcome, EpmdTag, PerRole, Role, Settled, State};
use crate::packet::PacketRef;
use crate::record::{Evidence, Severity, Shows};
use crate::time::{Timestamp, micros};

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
         (-name, -sname, RELEASE_NODE). If it was there before, find out why it ended: its log, \
         erl_crash.dump, `dmesg` (out of memory), its supervisor.",
        "If it runs and is not listed, it may use another EPMD: the one of its container, or \
         another ERL_EPMD_PORT.",
        "Restart a node older than OTP 23.3 after a restart of EPMD: it does not register again \
         by itself.",
    ],
};

#[derive(Default)]
pub(super) struct NodeNotRegistered {
    registered: Registrations,
    /// Registrations whose connection was closed, the last one at the end; at most [`REMEMBERED`].
    unregistered: VecDeque<(KnownRegistration, Ended)>,
    /// Connections between nodes that were closed, the last one at the end; at most [`REMEMBERED`].
    links: VecDeque<ClosedLink>,
}

/// A connection between nodes that was closed.
struct ClosedLink {
    /// Addresses of both sides.
    ips: PerRole<IpAddr>,
    /// Names of both sides, as far as they were seen.
    names: PerRole<Option<Arc<str>>>,
    end: Ended,
}

/// The close of a connection.
struct Ended {
    close: PacketRef,
    by: Option<Role>,
    session_id: Arc<str>,
}

/// What the capture shows of a node from before it was missing.
struct Past {
    sentence: String,
    evidence: Option<Evidence>,
    about: About,
}

/// What is known of the node that is missing.
enum About {
    /// It was registered, or connected.
    Listening,
    /// It sent its name to another node.
    Running,
    /// It sent its name to another node, is hidden, and may not listen for connections.
    OnlyDialing(Arc<str>),
    /// Only a node of that host is known, whose name was not seen.
    SomeNode,
}

impl Ended {
    fn evidence(&self, what: &'static str) -> Option<Evidence> {
        let evidence = shown(Some(self.close), self.by, Shows::Closed(what.into()))?;
        Some(Evidence { session_id: Some(Arc::clone(&self.session_id)), ..evidence })
    }

    fn before(&self, now: Timestamp) -> String {
        ago(now, self.close.at)
    }
}

impl NodeNotRegistered {
    /// What the capture shows of the node with this alive name before EPMD was asked for it.
    fn past(&self, settled: &Settled, alive: &Arc<str>, world: &World) -> Option<Past> {
        let registration = self.registration(settled, alive);
        let named = self
            .closed_link(settled, |name| name.is_some_and(|name| alive_of(name) == Some(alive)));
        let hello = hello(settled, alive, world);
        match (registration, hello, named) {
            // A node that listens registers, unless its options forbid it.
            (None, Some(hello), named) if matches!(hello.about, About::OnlyDialing(_)) => {
                Some(match named {
                    Some(named) => {
                        Past { sentence: format!("{} {}", named.sentence, hello.sentence), ..hello }
                    }
                    None => hello,
                })
            }
            (_, _, Some(named)) => Some(named),
            (Some(registration), _, None) => Some(registration),
            (None, Some(hello), None) => Some(hello),
            (None, None, None) => self.closed_link(settled, |name| name.is_none()),
        }
    }

    /// The last connection with a node at the host that was asked, whose name fits.
    fn closed_link(
        &self,
        settled: &Settled,
        fits: impl Fn(Option<&Arc<str>>) -> bool,
    ) -> Option<Past> {
        let host = settled.connection.dest_ip;
        let (link, role) = self.links.iter().rev().find_map(|link| {
            let mut roles = Role::BOTH.into_iter();
            let role =
                roles.find(|role| link.ips[*role] == host && fits(link.names[*role].as_ref()))?;
            Some((link, role))
        })?;
        let ClosedLink { ips, names, end } = link;
        let side = |role: Role| match &names[role] {
            Some(name) => name.to_string(),
            None => ips[role].to_string(),
        };
        let (node, peer, before) = (side(role), side(role.peer()), end.before(settled.at));
        let closer = end.by.map_or_else(String::new, |by| format!(", and {} closed it", side(by)));
        let is_named = names[role].is_some();
        let sentence = if is_named {
            format!("{node} was connected with {peer} until {before} before{closer}.")
        } else {
            format!(
                "A node at {node} was connected with {peer} until {before} before{closer}: it may be the node \
                 that is missing."
            )
        };
        let evidence = end.evidence("the connection is closed");
        let about = if is_named { About::Listening } else { About::SomeNode };
        Some(Past { sentence, evidence, about })
    }

    /// The last registration of the name with the EPMD that was asked.
    fn registration(&self, settled: &Settled, alive: &str) -> Option<Past> {
        let mapper = Mapper::of(settled);
        let is_it = |known: &KnownRegistration| known.mapper == mapper && *known.name == *alive;
        if let Some((known, end)) = self.unregistered.iter().rev().find(|(known, _)| is_it(known)) {
            let closer = match end.by {
                Some(Role::Initiator) => "the node closed it",
                Some(Role::Acceptor) => "EPMD closed it",
                None => "it was closed",
            };
            return Some(Past {
                sentence: format!(
                    "The name was registered with port {} until {} before, when {closer}.",
                    known.port,
                    end.before(settled.at)
                ),
                evidence: end.evidence("the registration's connection is closed"),
                about: About::Listening,
            });
        }
        let known = self.registered.holder(mapper, alive)?;
        let what =
            Shows::Note(format!("\"{alive}\" is registered with port {}", known.port).into());
        let evidence = shown(known.shown, Some(Role::Acceptor), what)
            .map(|it| Evidence { session_id: Some(Arc::clone(&known.session_id)), ..it });
        Some(Past {
            sentence: format!(
                "The name was registered with port {} {} before.",
                known.port,
                ago(settled.at, known.at)
            ),
            evidence,
            about: About::Listening,
        })
    }
}

/// The last hello that a node with this alive name sent from the host that was asked. One that is hidden, and that no
/// capture shows as an acceptor, may have been started with `-dist_listen false` (kernel application): then it neither
/// listens nor registers.
fn hello(settled: &Settled, alive: &Arc<str>, world: &World) -> Option<Past> {
    let host = settled.connection.dest_ip;
    let (node, hello) = world.node_seen_at(host, alive)?;
    if hello.ip != host || hello.hello.at > settled.at {
        return None;
    }
    let (name, before) = (&node.name, ago(settled.at, hello.hello.at));
    let evidence = Some(sighted(hello));
    if node.hidden != Some(true) || !node.dist_ports.is_empty() {
        let sentence = format!(
            "{name} ran on that host {before} before, when it sent its name to another node."
        );
        return Some(Past { sentence, evidence, about: About::Running });
    }
    let sentence = format!(
        "{name} ran on that host {before} before: it is a hidden node, and it dialed another one. A hidden node that \
         was started with -dist_listen false, or a C node, listens on no port and registers nowhere: it only \
         dials, and cannot be dialed."
    );
    Some(Past { sentence, evidence, about: About::OnlyDialing(Arc::clone(name)) })
}

impl Rule for NodeNotRegistered {
    fn docs(&self) -> &'static [RuleDoc] {
        &[DOC]
    }

    fn on_session(&mut self, it: &JudgedConnection, _: &World, _: &mut Vec<Detection>) {
        if it.outcome() != Outcome::Connected || it.state() != State::Closed {
            return;
        }
        let is_known = self.links.iter().any(|link| link.end.session_id == *it.session_id());
        let Some(close) = it.seen.closed().filter(|_| !is_known) else { return };
        let end = Ended { close, by: it.seen.closed_by(), session_id: Arc::clone(it.session_id()) };
        let ips = PerRole::from_fn(|role| it.ip(role));
        let names = PerRole::from_fn(|role| it.name(role).cloned());
        remember(&mut self.links, ClosedLink { ips, names, end }, REMEMBERED);
    }

    fn on_epmd(
        &mut self,
        settled: &Settled,
        epmd: &EpmdObservation,
        world: &World,
        out: &mut Vec<Detection>,
    ) {
        let ids = &*settled.connection;
        let seen = &epmd.seen;
        if let Some(known) = self.registered.on_epmd(settled, epmd)
            && let Some(close) = seen.close
        {
            let session_id = Arc::clone(&ids.session_id);
            let end = Ended { close, by: seen.closed_by, session_id };
            remember(&mut self.unregistered, (known, end), REMEMBERED);
        }
        // A reply without a request has no name, and every host can send one on a connection that no longer exists.
        if epmd.outcome != EpmdOutcome::NotRegistered || seen.request.is_none() {
            return;
        }
        let name = epmd.name.as_deref().unwrap_or("?");
        let mapper = address(ids.dest_ip, ids.dest_port);
        let asked = Shows::epmd(EpmdTag::PORT_PLEASE2_REQ, format!("\"{name}\""));
        let answered = Shows::epmd(EpmdTag::PORT2_RESP, format!("no \"{name}\""));
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
        let past = epmd.name.as_ref().and_then(|name| self.past(settled, name, world));
        let ended = format!(
            "See whether the node still runs on {}. If it ended, look for the reason in \
             erl_crash.dump, in `dmesg` (out of memory), and at its supervisor (systemd, Kubernetes).",
            ids.dest_ip
        );
        let spelling = format!(
            "On {}, run `{}` and compare the spelling.",
            ids.dest_ip,
            names_command(ids.dest_port)
        );
        let other_mapper =
            "If the node runs, it may use another EPMD (that of a container, or another ERL_EPMD_PORT). \
             Or it is older than OTP 23.3 and lost its registration when EPMD was restarted: restart it."
                .to_owned();
        let about = past.as_ref().map(|past| &past.about);
        let remedy = match about {
            Some(About::OnlyDialing(node)) => vec![
                format!(
                    "Find out how {node} was started. With -dist_listen false it cannot be dialed: let it dial the \
                     others. If others are to dial it, start it without that option."
                ),
                ended,
                other_mapper,
            ],
            Some(About::Listening | About::Running) => vec![ended, other_mapper],
            Some(About::SomeNode) => vec![ended, spelling, other_mapper],
            None => vec![spelling, other_mapper],
        };
        let title = match about {
            Some(About::Listening) => format!("\"{name}\" is no longer registered at {mapper}"),
            Some(About::OnlyDialing(node)) => format!(
                "\"{name}\" is not registered at {mapper}: {node} is a hidden node and may not listen at all"
            ),
            _ => format!("no node \"{name}\" is registered at {mapper}"),
        };
        let unknown = format!(
            "{} asked EPMD at {mapper} for \"{name}\", and EPMD does not know that name.",
            ids.src_ip
        );
        let why = match &past {
            Some(past) => past.sentence.clone(),
            None => "The node is not running there, has another alive name (names are case-sensitive), or is \
                     registered with another EPMD."
                .to_owned(),
        };
        let end = Endpoint { ip: ids.dest_ip, port: ids.dest_port };
        let other = world.reach().epmd_on_other_port(end).map_or_else(String::new, |other| {
            format!(
                " Another EPMD answers on port {} of that host (frame {}).",
                other.port, other.mark.frame.number
            )
        });
        let evidence = [
            past.and_then(|past| past.evidence),
            shown(seen.request, Some(Role::Initiator), asked),
            shown(seen.reply, Some(Role::Acceptor), answered),
        ];
        out.push(Detection {
            title,
            explanation: format!("{unknown} {why}{other}"),
            remedy,
            // Look-ups of all clients belong to one incident, because the same node is missing.
            parties: format!("{mapper},{name}"),
            evidence: evidence.into_iter().flatten().collect(),
            ended_by: EndedBy::Any(endings.collect()),
            // A node that is there again was started later, or restarted.
            severity_if_solved: Some(Severity::Low),
            ..Detection::new(&DOC)
        });
    }
}

/// The time from `then` to `now`, as part of a sentence.
fn ago(now: Timestamp, then: Timestamp) -> String {
    match micros(now.since(then)) {
        us if us < 1_000_000 => format!("{} ms", us.div_ceil(1000)),
        us => seconds(us),
    }
}

/// Maximum of closed connections and of closed registrations that are remembered.
const REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use super::super::epmd_common::tests::{epmd, evidence, found, mark};
    use super::*;
    use crate::detect::tests::{Step, but};
    use crate::judge::samples::dial;

    fn asks(at: u32, outcome: EpmdOutcome) -> Step {
        let ends = ("10.0.0.1", "10.0.0.2", "asks");
        epmd(ends, (at.into(), at.into()), EpmdTag::PORT_PLEASE2_REQ, "b", outcome, |_| ())
    }

    fn missing() -> Step {
        asks(9, EpmdOutcome::NotRegistered)
    }

    fn link(peer: &str, named: bool) -> Step {
        but(dial(1_000, peer, "b@h2/10.0.0.2/1").closed(8_750, [8_000; 2]), |it| {
            it.close(Role::Acceptor, mark(7, 8.75));
            if !named {
                it.forget_names();
            }
        })
    }

    fn only(steps: &[Step]) -> Detection {
        let mut found = found::<NodeNotRegistered>(steps);
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    #[test]
    fn a_name_that_was_never_seen_may_be_misspelled() {
        let other = but(
            dial(1_000, "a@h1/10.0.0.1/1", "bb@h2/10.0.0.2/1").closed(8_750, [8_000; 2]),
            |_| (),
        );
        for steps in [vec![missing()], vec![other, missing()]] {
            let found = only(&steps);
            assert_eq!(found.title, "no node \"b\" is registered at 10.0.0.2:4369");
            assert!(found.remedy[0].contains("spelling"));
            assert_eq!(found.evidence.len(), 2);
        }
    }

    #[test]
    fn a_node_that_was_connected_a_moment_before_has_ended() {
        for peer in ["a@h1/10.0.0.1/1", "c@h3/10.0.0.3/1"] {
            let found = only(&[link(peer, true), missing()]);
            assert_eq!(found.title, "\"b\" is no longer registered at 10.0.0.2:4369");
            let name = peer.split('/').next().unwrap();
            let past =
                format!("b@h2 was connected with {name} until 250 ms before, and b@h2 closed it.");
            assert!(found.explanation.contains(&past), "{}", found.explanation);
            assert!(found.remedy[0].contains("erl_crash.dump"));
            assert!(found.remedy.iter().all(|step| !step.contains("spelling")));
            assert_eq!(evidence(&found)[0], (7, "the connection is closed"));
        }
    }

    /// A dial of `b` to another node, in vain, with these flags.
    fn dials(flags: u64) -> Step {
        let dialed = dial(1_000, "b@h2/10.0.0.2/1", "a@h1/10.0.0.1/1").flags(flags, VISIBLE);
        but(dialed.fails(Outcome::CookieMismatch).closed(1_100, [1_050; 2]), |_| ())
    }

    const VISIBLE: u64 = 0xd_07df_7fbd;
    const HIDDEN: u64 = VISIBLE - 1;

    #[test]
    fn a_hidden_node_that_dialed_a_moment_before_may_not_listen() {
        let closed = link("a@h1/10.0.0.1/1", false);
        for steps in [vec![dials(HIDDEN), missing()], vec![closed, dials(HIDDEN), missing()]] {
            let found = only(&steps);
            assert_eq!(
                found.title,
                "\"b\" is not registered at 10.0.0.2:4369: b@h2 is a hidden node and may not listen at all"
            );
            assert!(found.explanation.contains("cannot be dialed"), "{}", found.explanation);
            assert!(found.remedy[0].contains("-dist_listen false"));
            assert_eq!(evidence(&found)[0].1, "send_name from 10.0.0.2, creation 1");
        }
    }

    #[test]
    fn a_visible_node_that_dialed_or_a_hidden_one_that_listened_has_ended() {
        let found = only(&[dials(VISIBLE), missing()]);
        assert_eq!(found.title, "no node \"b\" is registered at 10.0.0.2:4369");
        assert!(found.explanation.contains("b@h2 ran on that host 8.0 s before"));
        assert!(found.remedy.iter().all(|step| !step.contains("spelling")));
        for before in [asks(1, EpmdOutcome::Answered), link("a@h1/10.0.0.1/1", true)] {
            let found = only(&[before, dials(HIDDEN), missing()]);
            assert_eq!(found.title, "\"b\" is no longer registered at 10.0.0.2:4369");
            assert!(found.remedy[0].contains("erl_crash.dump"));
        }
    }

    #[test]
    fn a_hidden_node_at_another_host_is_another_node() {
        let other = dial(1_000, "b@h3/10.0.0.3/1", "a@h1/10.0.0.1/1").flags(HIDDEN, VISIBLE);
        let found = only(&[but(other.fails(Outcome::CookieMismatch), |_| ()), missing()]);
        assert!(found.remedy[0].contains("spelling"));
    }

    #[test]
    fn a_connection_without_names_only_may_be_that_of_the_node() {
        let found = only(&[link("a@h1/10.0.0.1/1", false), missing()]);
        assert_eq!(found.title, "no node \"b\" is registered at 10.0.0.2:4369");
        assert!(found.explanation.contains("A node at 10.0.0.2 was connected with 10.0.0.1 until"));
        assert!(found.remedy[0].contains("still runs") && found.remedy[1].contains("spelling"));
    }

    #[test]
    fn a_name_that_epmd_knew_before_was_registered() {
        let found = only(&[asks(2, EpmdOutcome::Answered), missing()]);
        assert!(found.explanation.contains("was registered with port 9100 7.0 s before"));
        let (local, tag) = (("10.0.0.2", "10.0.0.2", "own"), EpmdTag::ALIVE2_REQ);
        let registers = epmd(local, (2, 2.0), tag, "b", EpmdOutcome::Answered, |_| ());
        let leaves = epmd(local, (5, 5.0), tag, "b", EpmdOutcome::Unregistered, |it| {
            it.seen.close = Some(mark(5, 5.0));
            it.seen.closed_by = Some(Role::Initiator);
        });
        let found = only(&[registers, leaves, missing()]);
        let past =
            "The name was registered with port 9100 until 4.0 s before, when the node closed it.";
        assert!(found.explanation.contains(past), "{}", found.explanation);
        assert_eq!(evidence(&found)[0], (5, "the registration's connection is closed"));
    }
}
