//! The host that an initiator may have dialed: from answers of name servers, from its earlier connections, and from
//! the names in the capture file.
//!
//! The full name that a node dials is never on the wire, so this module gives clues, each with its source. Where
//! several names are possible, it gives none.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::registry::REORDERED;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::{BoundedMap, Limits};
use crate::names::Resolved;
use crate::observe::{MessageKind, Observation, Role};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Names of addresses, and look-ups that led to a connection.
#[derive(Debug)]
pub(super) struct Hosts {
    answers: HashMap<AnswerKey, VecDeque<Answers>, RandomState>,
    /// Keys of `answers`, the oldest first.
    order: VecDeque<AnswerKey>,
    max_answers: usize,
    dials: BoundedMap<LookupKey, VecDeque<ReachedNode>>,
    /// Names by address, from the capture files.
    listed: HashMap<IpAddr, Vec<Arc<str>>, RandomState>,
    evictions: u64,
}

/// The client, `None` if the answer was multicast (mDNS); and the address, `None` if the name does not exist.
type AnswerKey = (Option<IpAddr>, Option<IpAddr>);

/// Answers with one name, each at most [`ANSWER_AGE`] after the previous one.
#[derive(Debug)]
struct Answers {
    name: Arc<str>,
    first: PacketRef,
    last: PacketRef,
}

/// A look-up: the client, the address of EPMD, and the alive name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct LookupKey {
    client: IpAddr,
    epmd: IpAddr,
    alive: Arc<str>,
}

/// The node that a look-up led to.
#[derive(Debug)]
struct ReachedNode {
    initiator: Option<Arc<str>>,
    host: Arc<str>,
    session_id: Arc<str>,
    frame: FrameRef,
}

/// A host that an initiator may have dialed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostClue {
    /// The part after the `@` in the dialed name.
    pub host: Arc<str>,
    /// The source of the host name.
    pub ground: Ground,
}

/// The source of a clue to the host that an initiator dialed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ground {
    /// Shortly before, the initiator had asked a name server and received the acceptor's address.
    Dns {
        /// Frame of the DNS answer.
        frame: FrameRef,
        /// The name in the question.
        asked: Arc<str>,
    },
    /// Shortly before, the address was announced under that name by multicast (mDNS).
    Mdns(FrameRef),
    /// After the same look-up, the same initiator had connected to a node on that host.
    OtherSession {
        /// The `session_id` of the other connection.
        session_id: Arc<str>,
        /// The packet with the name of that node.
        frame: FrameRef,
    },
    /// The capture file lists that name for the address.
    CaptureNames,
    /// The TLS ClientHello of the initiator has it (SNI).
    TlsHello(FrameRef),
}

impl Ground {
    /// The value of `rests_on` in the output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dns { .. } | Self::Mdns(_) => "dns",
            Self::OtherSession { .. } => "other_session",
            Self::CaptureNames => "capture_names",
            Self::TlsHello(_) => "tls",
        }
    }
}

impl Hosts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            answers: HashMap::default(),
            order: VecDeque::new(),
            max_answers: limits.resolved,
            dials: BoundedMap::new(limits.dials),
            listed: HashMap::default(),
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions + self.dials.evictions()
    }

    /// Records an answer of a name server.
    pub(super) fn on_resolved(&mut self, resolved: &Resolved) {
        let Resolved { mark, client, name, ips } = resolved;
        if ips.is_empty() {
            self.add_answer((*client, None), name, *mark);
        }
        for ip in ips {
            self.add_answer((*client, Some(ip.to_canonical())), name, *mark);
        }
    }

    /// Records that the capture file lists `name` for `ip`.
    pub(super) fn on_listed(&mut self, ip: IpAddr, name: Arc<str>) {
        let ip = ip.to_canonical();
        if self.listed.len() >= self.max_answers && !self.listed.contains_key(&ip) {
            self.evictions += 1;
            return;
        }
        let names = self.listed.entry(ip).or_default();
        if names.len() < MAX_NAMES && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }

    /// Records the node that a look-up led to, if the connection was established.
    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        let (Some(lookup), Some(node), Outcome::Connected) =
            (&it.verdict.lookup, it.name(Role::Acceptor), it.outcome())
        else {
            return;
        };
        let challenge = it.seen.message(MessageKind::Challenge);
        let frame = challenge.map(|mark| mark.frame).or(it.settled.frame);
        let Some(((alive, host), frame)) = node.split_once('@').zip(frame) else { return };
        if alive != &*lookup.asked {
            return;
        }
        let key = LookupKey {
            client: it.ip(Role::Initiator).to_canonical(),
            epmd: it.ip(Role::Acceptor).to_canonical(),
            alive: Arc::clone(&lookup.asked),
        };
        let reached = ReachedNode {
            initiator: it.name(Role::Initiator).cloned(),
            host: host.into(),
            session_id: Arc::clone(it.session_id()),
            frame,
        };
        let (known, _) = self.dials.entry(&key);
        known.retain(|before| before.initiator != reached.initiator);
        known.push_back(reached);
        if known.len() > MAX_NAMES {
            known.pop_front();
        }
    }

    /// Hosts that the initiator may have dialed, the most certain first. It asked EPMD for `alive`, and sent its first
    /// packet to the acceptor's address at `first_contact`.
    pub(super) fn clues(
        &self,
        about: &Observation,
        alive: Option<&Arc<str>>,
        first_contact: Timestamp,
    ) -> Vec<HostClue> {
        let query = NameQuery::of(about, first_contact);
        for client in [Some(about.ends.initiator.ip.to_canonical()), None] {
            match self.answered(client, &query).as_slice() {
                [] => {}
                [clue] => return vec![clue.clone()],
                _ => return Vec::new(),
            }
        }
        self.dialed(about, alive).into_iter().chain(self.listed(&query)).collect()
    }

    /// The names for which `client` received the address.
    fn answered(&self, client: Option<IpAddr>, query: &NameQuery<'_>) -> Vec<HostClue> {
        let shortly_before = |ip| {
            let answers = self.answers.get(&(client, ip)).into_iter().flatten();
            answers.filter(|it| it.first.at <= query.until && it.last.at >= query.from)
        };
        let nonexistent: Vec<_> = shortly_before(None).map(|it| &*it.name).collect();
        let mut found: Vec<HostClue> = Vec::new();
        for Answers { name, first, last } in shortly_before(Some(query.dialed)) {
            let host = query.dialed_host(name, &nonexistent);
            if found.iter().any(|known| known.host.eq_ignore_ascii_case(host)) {
                continue;
            }
            let frame = if last.at <= query.until { last.frame } else { first.frame };
            let ground = match client {
                Some(_) => Ground::Dns { frame, asked: Arc::clone(name) },
                None => Ground::Mdns(frame),
            };
            found.push(HostClue { host: host.into(), ground });
        }
        found
    }

    /// The host of the node to which the same look-up had led before.
    fn dialed(&self, about: &Observation, alive: Option<&Arc<str>>) -> Option<HostClue> {
        let key = LookupKey {
            client: about.ends.initiator.ip.to_canonical(),
            epmd: about.ends.acceptor.ip.to_canonical(),
            alive: Arc::clone(alive?),
        };
        let is_same = |reached: &&ReachedNode| {
            let names = reached.initiator.as_ref().zip(about.name(Role::Initiator));
            names.is_none_or(|(then, now)| then == now)
        };
        let mut known = self.dials.get(&key)?.iter().rev().filter(is_same);
        let ReachedNode { host, session_id, frame, .. } = known.next()?;
        known.all(|other| other.host == *host).then(|| HostClue {
            host: Arc::clone(host),
            ground: Ground::OtherSession { session_id: Arc::clone(session_id), frame: *frame },
        })
    }

    /// The host name that the capture file lists for the address, if it is the only one.
    fn listed(&self, query: &NameQuery<'_>) -> Option<HostClue> {
        let mut names =
            self.listed.get(&query.dialed)?.iter().map(|name| query.dialed_host(name, &[]));
        let host = names.next()?;
        let is_alone = names.all(|other| other.eq_ignore_ascii_case(host));
        is_alone.then(|| HostClue { host: host.into(), ground: Ground::CaptureNames })
    }

    fn add_answer(&mut self, key: AnswerKey, name: &Arc<str>, mark: PacketRef) {
        if !self.answers.contains_key(&key) {
            self.make_room(mark.at);
            self.order.push_back(key);
        }
        let answers = self.answers.entry(key).or_default();
        let should_continue = |it: &&mut Answers| {
            it.name.eq_ignore_ascii_case(name) && mark.at.since(it.last.at) <= ANSWER_AGE
        };
        if let Some(known) = answers.iter_mut().rev().find(should_continue) {
            known.last = known.last.max(mark);
            return;
        }
        answers.push_back(Answers { name: Arc::clone(name), first: mark, last: mark });
        if answers.len() > MAX_NAMES {
            answers.pop_front();
        }
    }

    /// Removes an entry that is too old to be used; the oldest entry if there is none.
    fn make_room(&mut self, now: Timestamp) {
        if self.order.len() < self.max_answers {
            return;
        }
        let is_old = |answers: &VecDeque<Answers>| {
            answers.iter().all(|it| now.since(it.last.at) > LATEST_USE)
        };
        for _ in 0..SECOND_CHANCES {
            let Some(key) = self.order.pop_front() else { return };
            if self.answers.get(&key).is_none_or(is_old) {
                self.answers.remove(&key);
                return;
            }
            self.order.push_back(key);
        }
        let oldest = self.order.pop_front();
        self.evictions += u64::from(oldest.is_some_and(|it| self.answers.remove(&it).is_some()));
    }
}

/// What is searched for: answers with the dialed address, at the time when the initiator must have received them.
struct NameQuery<'a> {
    dialed: IpAddr,
    /// Host part of the initiator's own name.
    own_host: Option<&'a str>,
    from: Timestamp,
    until: Timestamp,
}

impl<'a> NameQuery<'a> {
    fn of(about: &'a Observation, first_contact: Timestamp) -> Self {
        Self {
            dialed: about.ends.acceptor.ip.to_canonical(),
            own_host: about.name(Role::Initiator).and_then(|name| Some(name.split_once('@')?.1)),
            from: first_contact.before(ANSWER_AGE),
            until: first_contact.after(REORDERED),
        }
    }

    /// The host that was dialed if a resolver asked for `name` and, before that, for the `nonexistent` names. A resolver
    /// appends search domains, so each of its questions begins with the dialed host. A node with a short name dials
    /// short names, one with a long name long ones.
    fn dialed_host<'n>(&self, name: &'n str, nonexistent: &[&str]) -> &'n str {
        let label = name.find('.').map_or(name, |dot| name.get(..dot).unwrap_or(name));
        if self.own_host.is_some_and(|host| !host.contains(['.', ':'])) {
            return label;
        }
        let common = nonexistent.iter().fold(name, |dialed, other| {
            let common = common_labels(dialed, other);
            if common.is_empty() { dialed } else { common }
        });
        if common.contains('.') { common } else { name }
    }
}

/// The labels with which both names begin.
fn common_labels<'n>(name: &'n str, other: &str) -> &'n str {
    let labels = name.split('.').zip(other.split('.'));
    let common = labels.take_while(|(a, b)| a.eq_ignore_ascii_case(b));
    let len: usize = common.map(|(label, _)| label.len() + 1).sum();
    name.get(..len.saturating_sub(1)).unwrap_or(name)
}

/// A node dials as soon as it has received the address.
const ANSWER_AGE: Duration = Duration::from_secs(10);

/// A dial is judged at the latest after the longest setup time, 120 s; the rest is a margin.
const LATEST_USE: Duration = Duration::from_secs(180);

/// Maximum number of names of one address: more than one is ambiguous, and a few show whether they are outdated.
const MAX_NAMES: usize = 8;

/// Number of oldest entries that are searched for one that can be removed.
const SECOND_CHANCES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    const LONG: &str = "one@hosta.example.lan";

    /// The node that is dialed in these tests.
    const TO: &str = "two@hostb/10.0.0.2/1";

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn mark(ms: u64) -> PacketRef {
        let at = Timestamp::new(1000, 0).after(Duration::from_millis(ms));
        PacketRef { frame: FrameRef { input: 0, number: ms }, at }
    }

    fn answer(hosts: &mut Hosts, ms: u64, client: Option<u8>, name: &str, last: &[u8]) {
        let ips = last.iter().copied().map(ip).collect();
        let client = client.map(ip);
        hosts.on_resolved(&Resolved { mark: mark(ms), client, name: name.into(), ips });
    }

    /// Clues to the host that `name` at 10.0.0.1 dialed, with its first packet to 10.0.0.2 after 10 s.
    fn clues(hosts: &Hosts, name: Option<&str>) -> Vec<HostClue> {
        let mut about = dial(10_100, &format!("{}/10.0.0.1/1", name.unwrap_or("-")), TO).judged();
        if name.is_none() {
            about.forget_names();
        }
        hosts.clues(&about.seen, Some(&"two".into()), mark(10_000).at)
    }

    fn host(hosts: &Hosts, name: &str) -> Option<String> {
        Some(clues(hosts, Some(name)).first()?.host.to_string())
    }

    fn hosts() -> Hosts {
        Hosts::new(&Limits::default())
    }

    #[test]
    fn an_answer_to_the_initiator_shortly_before_shows_the_host() {
        let mut known = hosts();
        answer(&mut known, 9_990, Some(1), "alias.example.lan", &[2]);
        let [clue] = &clues(&known, Some(LONG))[..] else { panic!() };
        assert_eq!(&*clue.host, "alias.example.lan");
        let asked = "alias.example.lan".into();
        assert_eq!(clue.ground, Ground::Dns { frame: mark(9_990).frame, asked });
    }

    #[test]
    fn an_answer_to_another_client_or_with_another_address_or_at_another_time_shows_nothing() {
        for (ms, client, last) in
            [(9_990, Some(3), 2), (9_990, Some(1), 4), (9_990, Some(2), 1), (10_060, Some(1), 2)]
        {
            let mut known = hosts();
            answer(&mut known, ms, client, "alias.example.lan", &[last]);
            assert_eq!(clues(&known, Some(LONG)), [], "{ms} {client:?} {last}");
        }
        let mut early = hosts();
        answer(&mut early, 0, Some(1), "alias.example.lan", &[2]);
        assert_eq!(clues(&early, Some(LONG)).len(), 1);
        let about_late = |hosts: &Hosts| {
            let about = dial(10_001, &format!("{LONG}/10.0.0.1/1"), TO).judged();
            hosts.clues(&about.seen, None, mark(10_001).at)
        };
        assert_eq!(about_late(&early), []);
    }

    #[test]
    fn a_dial_at_any_time_between_repeated_answers_has_the_clue() {
        let mut known = hosts();
        for ms in (0..60_000).step_by(9_000) {
            answer(&mut known, ms, Some(1), "alias.example.lan", &[2, 3]);
        }
        assert_eq!(host(&known, LONG).as_deref(), Some("alias.example.lan"));
    }

    #[test]
    fn two_names_of_one_address_give_no_clue() {
        let mut known = hosts();
        answer(&mut known, 9_000, Some(1), "alias.example.lan", &[2]);
        answer(&mut known, 9_100, Some(1), "ALIAS.example.lan", &[2]);
        assert_eq!(host(&known, LONG).as_deref(), Some("alias.example.lan"));
        answer(&mut known, 9_200, Some(1), "hostb.example.lan", &[2]);
        known.on_listed(ip(2), "hostb.example.lan".into());
        assert_eq!(clues(&known, Some(LONG)), []);
    }

    #[test]
    fn a_short_name_dials_the_first_label() {
        let mut known = hosts();
        answer(&mut known, 9_000, Some(1), "hostb.example.lan", &[2]);
        answer(&mut known, 9_001, Some(1), "hostb.other.lan", &[2]);
        assert_eq!(host(&known, "one@hosta").as_deref(), Some("hostb"));
        assert_eq!(host(&known, LONG), None);
        assert_eq!(host(&known, "one@10.0.0.1"), None);
    }

    #[test]
    fn a_search_domain_is_not_part_of_the_dialed_host() {
        for (nonexistent, asked, dialed) in [
            // The resolver asks for the host as it is first, then with the search domain.
            (&["two.svc"][..], "two.svc.cluster.local", "two.svc"),
            // The resolver asks with search domains first, as in Kubernetes.
            (
                &["two.ns.svc.ns.svc.cluster.local", "two.ns.svc.svc.cluster.local"],
                "two.ns.svc.cluster.local",
                "two.ns.svc",
            ),
            (&["two.example.lan.svc.cluster.local"], "two.example.lan", "two.example.lan"),
            // Questions about other hosts, and one that a node with a long name cannot have caused.
            (&["three.svc", "two"], "two.svc.cluster.local", "two.svc.cluster.local"),
        ] {
            let mut known = hosts();
            for name in nonexistent {
                answer(&mut known, 9_000, Some(1), name, &[]);
            }
            answer(&mut known, 9_001, Some(1), asked, &[2]);
            assert_eq!(host(&known, LONG).as_deref(), Some(dialed), "{asked}");
        }
    }

    #[test]
    fn the_name_in_the_question_counts_if_the_initiator_has_no_name() {
        let mut known = hosts();
        answer(&mut known, 9_000, Some(1), "hostb.example.lan", &[2]);
        assert_eq!(&*clues(&known, None)[0].host, "hostb.example.lan");
    }

    #[test]
    fn an_answer_to_the_initiator_goes_before_a_multicast_one() {
        let mut known = hosts();
        answer(&mut known, 9_000, None, "hostb.local", &[2]);
        known.on_listed(ip(2), "listed.lan".into());
        let [clue] = &clues(&known, Some(LONG))[..] else { panic!() };
        assert_eq!(clue.ground, Ground::Mdns(mark(9_000).frame));
        answer(&mut known, 9_001, Some(1), "alias.lan", &[2]);
        assert_eq!(host(&known, LONG).as_deref(), Some("alias.lan"));
    }

    #[test]
    fn a_single_listed_name_counts_if_there_is_no_answer() {
        let mut known = hosts();
        known.on_listed(ip(2), "hostb.example.lan".into());
        known.on_listed(ip(2), "HOSTB.example.lan".into());
        let ground = Ground::CaptureNames;
        let expected = HostClue { host: "hostb.example.lan".into(), ground };
        assert_eq!(clues(&known, Some(LONG)), [expected]);
        known.on_listed(ip(2), "hostb.other.lan".into());
        assert_eq!(clues(&known, Some(LONG)), []);
        assert_eq!(host(&known, "one@hosta").as_deref(), Some("hostb"));
    }

    #[test]
    fn answers_have_a_bound_and_old_ones_are_removed_first() {
        let mut known = Hosts::new(&Limits { resolved: 2, ..Limits::default() });
        answer(&mut known, 0, Some(1), "a.lan", &[10, 11]);
        answer(&mut known, 200_000, Some(1), "a.lan", &[11]);
        answer(&mut known, 200_001, Some(1), "a.lan", &[12]);
        assert_eq!((known.answers.len(), known.order.len(), known.evictions), (2, 2, 0));
        assert!(!known.answers.contains_key(&(Some(ip(1)), Some(ip(10)))));
        answer(&mut known, 200_002, Some(1), "a.lan", &[13]);
        assert_eq!((known.answers.len(), known.order.len(), known.evictions), (2, 2, 1));
        for n in 0..100 {
            answer(&mut known, 300_000, Some(1), &format!("h{n}.lan"), &[13]);
        }
        assert!(known.answers.values().all(|answers| answers.len() <= MAX_NAMES));
    }

    #[test]
    fn listed_names_have_a_bound() {
        let mut known = Hosts::new(&Limits { resolved: 2, ..Limits::default() });
        (0..4).for_each(|last| known.on_listed(ip(last), "a.lan".into()));
        (0..20).for_each(|n| known.on_listed(ip(0), format!("h{n}.lan").into()));
        assert_eq!((known.listed.len(), known.evictions), (2, 2));
        assert_eq!(known.listed[&ip(0)].len(), MAX_NAMES);
    }
}
