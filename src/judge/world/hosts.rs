//! Which host an initiator may have dialed: what name servers told it, what it connected to before, and
//! what the capture itself calls an address.
//!
//! The full name that a node dials is never on the wire. What stands here are clues, each as strong as
//! its ground; several names are as good as none.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::registry::REORDERED;
use crate::judge::{JudgedConnection, Outcome};
use crate::limits::Limits;
use crate::names::Resolved;
use crate::observe::{MessageKind, Observation, Role};
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Names of addresses, and dials that got through.
#[derive(Debug)]
pub(super) struct Hosts {
    answers: HashMap<Asked, VecDeque<Answers>, RandomState>,
    /// Keys of `answers`, the oldest first.
    order: VecDeque<Asked>,
    max_answers: usize,
    dials: HashMap<Dial, VecDeque<Dialed>, RandomState>,
    /// Keys of `dials`, the oldest first.
    dial_order: VecDeque<Dial>,
    max_dials: usize,
    /// Names in the captures' own lists.
    listed: HashMap<IpAddr, Vec<Arc<str>>, RandomState>,
    evictions: u64,
}

/// Who asked, `None` where all heard the answer; and the address, `None` where there is no such name.
type Asked = (Option<IpAddr>, Option<IpAddr>);

/// Answers with one name, none of them later than [`MEMORY`] after the one before.
#[derive(Debug)]
struct Answers {
    name: Arc<str>,
    first: PacketRef,
    last: PacketRef,
}

/// A look-up: who asked the port mapper at which address for which name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Dial {
    initiator: IpAddr,
    mapper: IpAddr,
    alive: Arc<str>,
}

/// A connection that a look-up led to.
#[derive(Debug)]
struct Dialed {
    initiator: Option<Arc<str>>,
    host: Arc<str>,
    session_id: Arc<str>,
    frame: FrameRef,
}

/// A host that an initiator may have dialed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostClue {
    /// The part right of the `@`, as it was typed.
    pub host: Arc<str>,
    /// The source of this name.
    pub ground: Ground,
}

/// What shows the host that an initiator dialed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ground {
    /// The initiator asked a name server shortly before, and this address was the answer.
    Dns {
        /// Frame of the DNS answer.
        frame: FrameRef,
        /// The name as it was asked for.
        asked: Arc<str>,
    },
    /// Shortly before, this address was announced to all under that name (mDNS).
    Mdns(FrameRef),
    /// After the same look-up, the same initiator has connected to a node on that host.
    OtherSession {
        /// Id of the other connection.
        session_id: Arc<str>,
        /// The packet that showed its name.
        frame: FrameRef,
    },
    /// The capture file has a list of names, in which this address has that one.
    CaptureNames,
}

impl Ground {
    /// As printed in `rests_on`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dns { .. } | Self::Mdns(_) => "dns",
            Self::OtherSession { .. } => "other_session",
            Self::CaptureNames => "capture_names",
        }
    }
}

impl Hosts {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            answers: HashMap::default(),
            order: VecDeque::new(),
            max_answers: limits.resolved,
            dials: HashMap::default(),
            dial_order: VecDeque::new(),
            max_dials: limits.dials,
            listed: HashMap::default(),
            evictions: 0,
        }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// A name server has answered.
    pub(super) fn on_resolved(&mut self, resolved: &Resolved) {
        let Resolved { mark, client, name, ips } = resolved;
        if ips.is_empty() {
            self.note((*client, None), name, *mark);
        }
        for ip in ips {
            self.note((*client, Some(ip.to_canonical())), name, *mark);
        }
    }

    /// The capture calls `ip` by `name`.
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

    /// A connection is told: the initiator has found the node that it wanted.
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
        let dial = Dial {
            initiator: it.ip(Role::Initiator).to_canonical(),
            mapper: it.ip(Role::Acceptor).to_canonical(),
            alive: Arc::clone(&lookup.asked),
        };
        let dialed = Dialed {
            initiator: it.name(Role::Initiator).cloned(),
            host: host.into(),
            session_id: Arc::clone(it.session_id()),
            frame,
        };
        let known = self.dials.entry(dial.clone()).or_insert_with(|| {
            self.dial_order.push_back(dial);
            VecDeque::new()
        });
        known.retain(|before| before.initiator != dialed.initiator);
        known.push_back(dialed);
        if known.len() > MAX_NAMES {
            known.pop_front();
        }
        if self.dial_order.len() > self.max_dials {
            let oldest = self.dial_order.pop_front();
            self.evictions += u64::from(oldest.is_some_and(|it| self.dials.remove(&it).is_some()));
        }
    }

    /// Hosts that the initiator may have dialed, the best-founded first. It asked a port mapper for `alive`
    /// and first turned to the acceptor's address at `turned_to`.
    pub(super) fn clues(
        &self,
        about: &Observation,
        alive: Option<&Arc<str>>,
        turned_to: Timestamp,
    ) -> Vec<HostClue> {
        let asker = Asker::of(about, turned_to);
        for client in [Some(about.ends.initiator.ip.to_canonical()), None] {
            match self.answered(client, &asker).as_slice() {
                [] => {}
                [clue] => return vec![clue.clone()],
                _ => return Vec::new(),
            }
        }
        self.dialed(about, alive).into_iter().chain(self.listed(&asker)).collect()
    }

    /// The names under which `client` got the address.
    fn answered(&self, client: Option<IpAddr>, asker: &Asker<'_>) -> Vec<HostClue> {
        let shortly_before = |ip| {
            let answers = self.answers.get(&(client, ip)).into_iter().flatten();
            answers.filter(|it| it.first.at <= asker.until && it.last.at >= asker.from)
        };
        let missed: Vec<_> = shortly_before(None).map(|it| &*it.name).collect();
        let mut found: Vec<HostClue> = Vec::new();
        for Answers { name, first, last } in shortly_before(Some(asker.dialed)) {
            let host = asker.typed(name, &missed);
            if found.iter().any(|known| known.host.eq_ignore_ascii_case(host)) {
                continue;
            }
            let frame = if last.at <= asker.until { last.frame } else { first.frame };
            let ground = match client {
                Some(_) => Ground::Dns { frame, asked: Arc::clone(name) },
                None => Ground::Mdns(frame),
            };
            found.push(HostClue { host: host.into(), ground });
        }
        found
    }

    /// The host of the node that the same look-up has led to.
    fn dialed(&self, about: &Observation, alive: Option<&Arc<str>>) -> Option<HostClue> {
        let dial = Dial {
            initiator: about.ends.initiator.ip.to_canonical(),
            mapper: about.ends.acceptor.ip.to_canonical(),
            alive: Arc::clone(alive?),
        };
        let is_same = |dialed: &&Dialed| {
            let names = dialed.initiator.as_ref().zip(about.name(Role::Initiator));
            names.is_none_or(|(then, now)| then == now)
        };
        let mut known = self.dials.get(&dial)?.iter().rev().filter(is_same);
        let Dialed { host, session_id, frame, .. } = known.next()?;
        known.all(|other| other.host == *host).then(|| HostClue {
            host: Arc::clone(host),
            ground: Ground::OtherSession { session_id: Arc::clone(session_id), frame: *frame },
        })
    }

    /// What the capture calls the address, where that is one name.
    fn listed(&self, asker: &Asker<'_>) -> Option<HostClue> {
        let mut names = self.listed.get(&asker.dialed)?.iter().map(|name| asker.typed(name, &[]));
        let host = names.next()?;
        let is_alone = names.all(|other| other.eq_ignore_ascii_case(host));
        is_alone.then(|| HostClue { host: host.into(), ground: Ground::CaptureNames })
    }

    fn note(&mut self, asked: Asked, name: &Arc<str>, mark: PacketRef) {
        if !self.answers.contains_key(&asked) {
            self.make_room(mark.at);
            self.order.push_back(asked);
        }
        let answers = self.answers.entry(asked).or_default();
        let should_continue = |it: &&mut Answers| {
            it.name.eq_ignore_ascii_case(name) && mark.at.since(it.last.at) <= MEMORY
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

    /// Forgets what is too old to be asked for; where nothing is, what has been there for longest.
    fn make_room(&mut self, now: Timestamp) {
        if self.order.len() < self.max_answers {
            return;
        }
        let is_old = |answers: &VecDeque<Answers>| {
            answers.iter().all(|it| now.since(it.last.at) > ASKED_FOR)
        };
        for _ in 0..SECOND_CHANCES {
            let Some(asked) = self.order.pop_front() else { return };
            if self.answers.get(&asked).is_none_or(is_old) {
                self.answers.remove(&asked);
                return;
            }
            self.order.push_back(asked);
        }
        let oldest = self.order.pop_front();
        self.evictions += u64::from(oldest.is_some_and(|it| self.answers.remove(&it).is_some()));
    }
}

/// Who dialed which address, and when it must have known that.
struct Asker<'a> {
    dialed: IpAddr,
    /// Host part of its own name.
    own_host: Option<&'a str>,
    from: Timestamp,
    until: Timestamp,
}

impl<'a> Asker<'a> {
    fn of(about: &'a Observation, turned_to: Timestamp) -> Self {
        Self {
            dialed: about.ends.acceptor.ip.to_canonical(),
            own_host: about.name(Role::Initiator).and_then(|name| Some(name.split_once('@')?.1)),
            from: turned_to.before(MEMORY),
            until: turned_to.after(REORDERED),
        }
    }

    /// What was typed where a resolver asked for `name`, and before that for the names that it `missed`:
    /// it adds search domains, and each of its questions begins with what was typed. A node with a short
    /// name dials short names, one with a long name long ones.
    fn typed<'n>(&self, name: &'n str, missed: &[&str]) -> &'n str {
        let label = name.find('.').map_or(name, |dot| name.get(..dot).unwrap_or(name));
        if self.own_host.is_some_and(|host| !host.contains(['.', ':'])) {
            return label;
        }
        let common = missed.iter().fold(name, |typed, missed| {
            let common = common_labels(typed, missed);
            if common.is_empty() { typed } else { common }
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

/// A node dials as soon as it has the address.
const MEMORY: Duration = Duration::from_secs(10);

/// A dial is told at the latest after the longest set-up time, 120 s, and some.
const ASKED_FOR: Duration = Duration::from_secs(180);

/// Names of one address: more than one is ambiguous, a few tell whether they are old.
const MAX_NAMES: usize = 8;

/// Old pairs looked at to find one that can go.
const SECOND_CHANCES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    const LONG: &str = "one@hosta.example.lan";

    /// The node that is dialed.
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

    /// Clues to the host that `name` at 10.0.0.1 dialed when it turned to 10.0.0.2 after 10 s.
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
    fn an_answer_to_the_initiator_shortly_before_tells_the_host() {
        let mut known = hosts();
        answer(&mut known, 9_990, Some(1), "alias.example.lan", &[2]);
        let [clue] = &clues(&known, Some(LONG))[..] else { panic!() };
        assert_eq!(&*clue.host, "alias.example.lan");
        let asked = "alias.example.lan".into();
        assert_eq!(clue.ground, Ground::Dns { frame: mark(9_990).frame, asked });
    }

    #[test]
    fn an_answer_to_another_or_with_another_address_or_too_early_or_late_tells_nothing() {
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
    fn repeated_answers_count_whenever_the_dial_fell_among_them() {
        let mut known = hosts();
        for ms in (0..60_000).step_by(9_000) {
            answer(&mut known, ms, Some(1), "alias.example.lan", &[2, 3]);
        }
        assert_eq!(host(&known, LONG).as_deref(), Some("alias.example.lan"));
    }

    #[test]
    fn two_names_of_one_address_are_as_good_as_none() {
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
    fn a_search_domain_was_not_typed() {
        for (missed, asked, typed) in [
            // Asked as it is first, then with the search domain.
            (&["two.svc"][..], "two.svc.cluster.local", "two.svc"),
            // Search domains first, as in Kubernetes.
            (
                &["two.ns.svc.ns.svc.cluster.local", "two.ns.svc.svc.cluster.local"],
                "two.ns.svc.cluster.local",
                "two.ns.svc",
            ),
            (&["two.example.lan.svc.cluster.local"], "two.example.lan", "two.example.lan"),
            // Questions about others, and one that no long name can have asked.
            (&["three.svc", "two"], "two.svc.cluster.local", "two.svc.cluster.local"),
        ] {
            let mut known = hosts();
            for missed in missed {
                answer(&mut known, 9_000, Some(1), missed, &[]);
            }
            answer(&mut known, 9_001, Some(1), asked, &[2]);
            assert_eq!(host(&known, LONG).as_deref(), Some(typed), "{asked}");
        }
    }

    #[test]
    fn the_question_counts_where_the_initiator_has_no_name() {
        let mut known = hosts();
        answer(&mut known, 9_000, Some(1), "hostb.example.lan", &[2]);
        assert_eq!(&*clues(&known, None)[0].host, "hostb.example.lan");
    }

    #[test]
    fn what_was_announced_to_all_comes_behind_what_was_asked() {
        let mut known = hosts();
        answer(&mut known, 9_000, None, "hostb.local", &[2]);
        known.on_listed(ip(2), "listed.lan".into());
        let [clue] = &clues(&known, Some(LONG))[..] else { panic!() };
        assert_eq!(clue.ground, Ground::Mdns(mark(9_000).frame));
        answer(&mut known, 9_001, Some(1), "alias.lan", &[2]);
        assert_eq!(host(&known, LONG).as_deref(), Some("alias.lan"));
    }

    #[test]
    fn a_list_with_one_name_of_the_address_is_the_last_resort() {
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
    fn answers_have_a_bound_and_old_ones_go_first() {
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
