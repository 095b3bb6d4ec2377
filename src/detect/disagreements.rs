//! Which nodes do not have the same cookie, as one problem for each set of nodes that have something to do with each other.
//!
//! In: refused cookies, one after the other. Out: for each refusal the disagreement that it belongs to. Two refusals with
//! a node in common are one disagreement, whichever node dialed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Detection;
use crate::decode::Endpoint;
use crate::judge::world::{Burst, CookieUse};
use crate::record::Evidence;

/// All disagreements so far.
#[derive(Debug, Default)]
pub(super) struct Disagreements {
    known: Vec<Disagreement>,
    /// Index into `known` of the disagreement of each node.
    of_node: HashMap<Arc<str>, usize>,
}

/// Nodes of which each refused another one, or was refused.
#[derive(Debug)]
pub(super) struct Disagreement {
    /// Key of its incident.
    pub(super) parties: String,
    /// The nodes, in the order in which they were seen.
    pub(super) members: Vec<Member>,
    /// The refusals between members, each once.
    pub(super) refusals: Vec<Refusal>,
    /// The address that dialed and the endpoint that it dialed, for all refusals; `None` if there are several.
    pub(super) source: Option<(IpAddr, Endpoint)>,
    /// Packets of the first refusals, with their connections.
    pub(super) evidence: Vec<Evidence>,
    /// The detection of the last refusal, as if it were the only one.
    pub(super) last: Option<Detection>,
    /// The initiator and the acceptor of that refusal, as its texts name them.
    pub(super) sides: [String; 2],
    /// Its title when it was last reported, without the number of attempts.
    pub(super) title: String,
    /// The number and the pace of the refusals, if they came fast.
    pub(super) burst: Option<Burst>,
    /// Whether it is reported as a part of another problem.
    pub(super) is_part: bool,
}

/// A node that refused, or was refused.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) ip: IpAddr,
    /// Whether it is a command-line tool, which has a new name each time.
    pub(super) is_tool: bool,
}

/// The names of a node that refused the cookie of another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) by: Arc<str>,
    pub(super) of: Arc<str>,
    /// Whether the node that refused logs it.
    pub(super) is_logged: bool,
}

/// What a refusal changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Growth {
    /// It is the first refusal of its disagreement.
    New,
    /// A node was added, or two nodes are seen to refuse each other.
    Grown,
    /// The same was seen before.
    Same,
}

/// The disagreement that a refusal belongs to.
pub(super) struct Place {
    /// Its index in the table.
    pub(super) at: usize,
    pub(super) growth: Growth,
    /// Another disagreement that the refusal joined to this one.
    pub(super) joined: Option<Disagreement>,
}

impl Disagreements {
    /// Adds a refusal between an initiator and an acceptor. `None` if too many are known.
    pub(super) fn add(
        &mut self,
        members: [&Member; 2],
        refusal: Refusal,
        source: (IpAddr, Endpoint),
    ) -> Option<Place> {
        let known = members.map(|member| self.of_node.get(&member.name).copied());
        let (at, is_new, joined) = match known {
            [Some(a), Some(b)] if a != b => (a.min(b), false, self.join(a.min(b), a.max(b))),
            [Some(at), _] | [None, Some(at)] => (at, false, None),
            [None, None] if self.known.len() >= MAX_KNOWN => return None,
            [None, None] => {
                let [a, b] = members.map(|member| &member.name);
                self.known.push(Disagreement {
                    parties: if a <= b { format!("{a},{b}") } else { format!("{b},{a}") },
                    members: Vec::new(),
                    refusals: Vec::new(),
                    source: Some(source),
                    evidence: Vec::new(),
                    last: None,
                    sides: Default::default(),
                    title: String::new(),
                    burst: None,
                    is_part: false,
                });
                (self.known.len() - 1, true, None)
            }
        };
        let place = self.known.get_mut(at)?;
        if place.source != Some(source) {
            place.source = None;
        }
        for member in members {
            let is_known = place.members.iter().any(|known| known.name == member.name);
            if !is_known && place.members.len() < MAX_MEMBERS {
                place.members.push(member.clone());
                self.of_node.insert(member.name.clone(), at);
            }
        }
        let is_seen = place.refusals.contains(&refusal);
        if !is_seen && place.refusals.len() < MAX_REFUSALS {
            place.refusals.push(refusal);
        }
        let growth = match (is_new, is_seen && joined.is_none()) {
            (true, _) => Growth::New,
            (false, false) => Growth::Grown,
            (false, true) => Growth::Same,
        };
        Some(Place { at, growth, joined })
    }

    /// Joins the disagreement at `from` to the one at `to`. Returns the former without its nodes.
    fn join(&mut self, to: usize, from: usize) -> Option<Disagreement> {
        let old = self.known.get_mut(from)?;
        old.is_part = true;
        let (members, refusals) =
            (std::mem::take(&mut old.members), std::mem::take(&mut old.refusals));
        let old = Disagreement {
            parties: old.parties.clone(),
            members: Vec::new(),
            refusals: Vec::new(),
            source: old.source,
            evidence: std::mem::take(&mut old.evidence),
            last: old.last.take(),
            sides: std::mem::take(&mut old.sides),
            title: std::mem::take(&mut old.title),
            burst: None,
            is_part: true,
        };
        let place = self.known.get_mut(to)?;
        for member in members {
            self.of_node.insert(member.name.clone(), to);
            if place.members.len() < MAX_MEMBERS {
                place.members.push(member);
            }
        }
        let room = MAX_REFUSALS.saturating_sub(place.refusals.len());
        place.refusals.extend(refusals.into_iter().take(room));
        place.source = None;
        Some(old)
    }

    /// The disagreement that a node belongs to, for a refusal that adds nothing to it.
    pub(super) fn place_of(&self, node: &str) -> Option<Place> {
        let at = *self.of_node.get(node)?;
        Some(Place { at, growth: Growth::Same, joined: None })
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Disagreement> {
        self.known.get_mut(at)
    }

    /// The disagreement that a node belongs to.
    pub(super) fn of(&mut self, node: &str) -> Option<&mut Disagreement> {
        self.known.get_mut(*self.of_node.get(node)?)
    }

    /// All that are reported as problems of their own.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Disagreement> {
        self.known.iter_mut().filter(|it| !it.is_part)
    }
}

impl Disagreement {
    /// Keeps evidence of a refusal on this connection, as long as there is room.
    pub(super) fn keep(&mut self, evidence: &[Evidence], session_id: &Arc<str>) {
        let room = MAX_EVIDENCE.saturating_sub(self.evidence.len());
        let own = evidence.iter().cloned().map(|shown| Evidence {
            session_id: shown.session_id.or_else(|| Some(Arc::clone(session_id))),
            ..shown
        });
        self.evidence.extend(own.take(room));
    }

    /// Whether all its refusals are of this address at this endpoint, and it is a problem of its own.
    pub(super) fn is_all_from(&self, source: (IpAddr, Endpoint)) -> bool {
        self.source == Some(source) && !self.is_part
    }

    /// The node of the host of a tool, if the same peer refused both: the tool reads the cookie of that node.
    pub(super) fn node_of_tool(&self, tool: &str, peer: &str) -> Option<&Member> {
        let ip = self.members.iter().find(|it| it.is_tool && &*it.name == tool)?.ip;
        let is_refused =
            |name: &str| self.refusals.iter().any(|it| &*it.by == peer && &*it.of == name);
        self.members.iter().find(|it| !it.is_tool && it.ip == ip && is_refused(&it.name))
    }

    /// What is known of its two sides, by the refusals that no later connection refutes.
    pub(super) fn reading(&self, cookies: &CookieUse) -> Reading {
        let agree = |a: &str, b: &str| {
            cookies.peers(a).iter().any(|peer| peer.agreed && peer.name.as_ref() == b)
        };
        let is_refuted = |it: &&Refusal| {
            let node = self.node_of_tool(&it.of, &it.by);
            agree(&it.by, &it.of) || node.is_some_and(|node| agree(&it.by, &node.name))
        };
        let refusals: Vec<_> = self.refusals.iter().filter(|it| !is_refuted(it)).cloned().collect();
        let pairs: Vec<[&Arc<str>; 2]> = refusals.iter().map(|it| [&it.by, &it.of]).collect();
        let has = |name: &Arc<str>| pairs.iter().any(|pair| pair.contains(&name));
        let members: Vec<_> = self.members.iter().filter(|it| has(&it.name)).cloned().collect();
        let in_all = |member: &&Member| pairs.iter().all(|pair| pair.contains(&&member.name));
        let mut centers = members.iter().filter(in_all);
        let split = match (centers.next(), centers.next()) {
            (None, _) => groups(&members, &refusals, cookies),
            (Some(one), Some(other)) => Split::Pair([one.name.clone(), other.name.clone()]),
            (Some(center), None) => {
                let others: Vec<_> =
                    members.iter().filter(|it| it.name != center.name).cloned().collect();
                let name = center.name.clone();
                let odd = odd_one(center, &others, cookies);
                Split::Star { center: name, others: names(&others), odd }
            }
        };
        Reading { split, refusals, members: names(&members) }
    }
}

/// What the refusals of a disagreement add up to.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) split: Split,
    /// The refusals that hold.
    pub(super) refusals: Vec<Refusal>,
    /// The nodes in them.
    pub(super) members: Vec<Arc<str>>,
}

/// How a disagreement divides its nodes.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Split {
    /// One node on each side.
    Pair([Arc<str>; 2]),
    /// One node, and several others that it does not agree with.
    Star {
        /// The node that is in every refusal.
        center: Arc<str>,
        /// All the other nodes.
        others: Vec<Arc<str>>,
        /// Who has another cookie than the rest of the cluster, if that is known.
        odd: Odd,
    },
    /// Two groups. The nodes of each agree with each other.
    Groups([Vec<Arc<str>>; 2]),
    /// Several nodes without such a structure.
    Many,
}

/// The nodes that have another cookie than the rest of a cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Odd {
    /// The capture does not show who it is.
    Unknown,
    /// The center: the others, on several hosts, agree with each other.
    Center,
    /// The others: the center agrees with these nodes on other hosts, and they with no other node.
    Others(Vec<Arc<str>>),
}

/// Which side of a star is the odd one. A node and the tools of its host are one witness.
fn odd_one(center: &Member, others: &[Member], cookies: &CookieUse) -> Odd {
    let friends = |member: &Member| {
        let peers = cookies.peers(&member.name).iter();
        let agreed = peers.filter(|peer| peer.agreed && peer.ip != member.ip);
        agreed.map(|peer| (peer.name.clone(), peer.ip)).collect::<Vec<_>>()
    };
    let of_center = friends(center);
    let of_others: Vec<_> = others.iter().map(|other| (other, friends(other))).collect();
    let are_one = |(a, of_a): &(&Member, Vec<_>), (b, of_b): &(&Member, Vec<_>)| {
        a.ip != b.ip
            && (of_a.contains(&(b.name.clone(), b.ip)) || of_a.iter().any(|it| of_b.contains(it)))
    };
    let others_agree = of_others
        .iter()
        .enumerate()
        .any(|(at, one)| of_others.iter().skip(at + 1).any(|other| are_one(one, other)));
    if of_center.is_empty() && others_agree {
        return Odd::Center;
    }
    if !of_center.is_empty() && of_others.iter().all(|(_, friends)| friends.is_empty()) {
        return Odd::Others(of_center.into_iter().map(|(name, _)| name).collect());
    }
    Odd::Unknown
}

/// The two groups of nodes that agree, if all refusals are between them.
fn groups(members: &[Member], refusals: &[Refusal], cookies: &CookieUse) -> Split {
    let mut group_of: HashMap<&Arc<str>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Arc<str>>> = Vec::new();
    for member in members {
        if group_of.contains_key(&member.name) {
            continue;
        }
        let (group, mut open) = (groups.len(), vec![member]);
        groups.push(Vec::new());
        group_of.insert(&member.name, group);
        while let Some(next) = open.pop() {
            if let Some(list) = groups.get_mut(group) {
                list.push(next.name.clone());
            }
            let agreed = |other: &&Member| {
                let mut peers = cookies.peers(&next.name).iter();
                peers.any(|peer| peer.agreed && peer.name == other.name)
            };
            for other in members.iter().filter(agreed) {
                if !group_of.contains_key(&other.name) {
                    group_of.insert(&other.name, group);
                    open.push(other);
                }
            }
        }
    }
    let is_between = |it: &Refusal| group_of.get(&it.by) != group_of.get(&it.of);
    match <[Vec<Arc<str>>; 2]>::try_from(groups) {
        Ok(two) if refusals.iter().all(is_between) => Split::Groups(two),
        _ => Split::Many,
    }
}

fn names(members: &[Member]) -> Vec<Arc<str>> {
    members.iter().map(|member| member.name.clone()).collect()
}

/// Maximum number of disagreements: more than a person reads.
const MAX_KNOWN: usize = 1024;

/// Maximum number of nodes of one disagreement: enough to see what they have in common.
const MAX_MEMBERS: usize = 32;

/// Maximum number of refusals of one disagreement, each of another pair or direction.
const MAX_REFUSALS: usize = 64;

/// Maximum number of packets that show one disagreement.
const MAX_EVIDENCE: usize = 8;
