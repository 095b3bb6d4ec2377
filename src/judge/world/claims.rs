//! Which addresses have proven the names that they send, and which have not.
//!
//! Every client can send the name of any node: only a digest that its peer accepts shows that the sender belongs to the
//! cluster. In: judged connections. Out: for one side of a connection, whether its name is that of a node elsewhere, as
//! the name itself or an accepted digest shows. A node with several addresses or behind address translation is one until
//! its digest is accepted; then both addresses are its own.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Dials, relays};
use crate::judge::{Confidence, Identity, JudgedConnection, Outcome, Verdict};
use crate::limits::Limits;
use crate::observe::{Observation, Role, Settled};
use crate::packet::PacketRef;

/// The addresses at which each node has proven that it has a cookie.
#[derive(Debug)]
pub(super) struct Claims {
    proven: HashMap<Arc<str>, Vec<Proof>, RandomState>,
    capacity: usize,
    evictions: u64,
}

/// A connection on which the digest of a node was accepted.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Address of the node.
    pub ip: IpAddr,
    /// Role of the node on that connection.
    pub role: Role,
    /// The packet with its hello.
    pub hello: PacketRef,
    /// The `session_id` of the connection.
    pub session_id: Arc<str>,
}

/// A name that one side of a connection sent and has not proven, and that is the name of a node elsewhere.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The side that sent it.
    pub role: Role,
    /// The name that it sent.
    pub name: Arc<str>,
    /// Where the node of this name is.
    pub owner: Owner,
}

impl Claim {
    /// Whether what came of the connection is a matter of the side that sent the name. It is not where bytes were lost on
    /// the way, nor where that side waited in vain for the other: then it is known by its address, and no more.
    pub fn decides(&self, verdict: &Verdict) -> bool {
        is_decided_by(self.role, verdict)
    }
}

fn is_decided_by(role: Role, verdict: &Verdict) -> bool {
    let has_waited = verdict.outcome == Outcome::TimedOut && verdict.detected_by == Some(role);
    verdict.undelivered.is_none() && !has_waited
}

/// A name that one side of a connection sent and has not proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SentName {
    /// The side that sent it.
    pub role: Role,
    /// The name that it sent.
    pub name: Arc<str>,
    /// The identity that has the name.
    pub identity: Identity,
    /// Address of the side that sent it.
    pub ip: IpAddr,
    /// Address of the other side.
    pub peer: IpAddr,
}

/// What shows where the node of a name is.
#[derive(Clone, Debug)]
pub enum Owner {
    /// The host in the name is this address.
    Named(IpAddr),
    /// The digest of the node was accepted at another address.
    Proven(Proof),
}

impl Owner {
    /// The address of the node.
    pub const fn ip(&self) -> IpAddr {
        match self {
            Self::Named(ip) => *ip,
            Self::Proven(proof) => proof.ip,
        }
    }
}

impl Claims {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { proven: HashMap::default(), capacity: limits.nodes, evictions: 0 }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Records the addresses of the sides that have proven a cookie.
    pub(super) fn on_session(&mut self, it: &JudgedConnection) {
        for role in Role::BOTH {
            let (Some(label), Some(hello)) = (it.label(role), it.seen.hello(role)) else {
                continue;
            };
            if !is_accepted(it, role) {
                self.withdraw(&label, it.session_id());
                continue;
            }
            if !self.proven.contains_key(&label) && self.proven.len() >= self.capacity {
                self.evictions += 1;
                continue;
            }
            let proofs = self.proven.entry(label).or_default();
            let ip = it.ip(role);
            let session_id = Arc::clone(it.session_id());
            let proof = Proof { ip, role, hello, session_id };
            if proofs.iter().any(|known| known.ip == ip) {
                continue;
            }
            if proofs.len() >= MAX_ADDRESSES {
                proofs.remove(0);
            }
            proofs.push(proof);
        }
    }

    /// The end of a connection shows that a digest was not accepted, which seemed to be.
    fn withdraw(&mut self, label: &str, session_id: &Arc<str>) {
        if let Some(proofs) = self.proven.get_mut(label) {
            proofs.retain(|proof| proof.session_id != *session_id);
        }
    }

    /// Where the node of this name is, if that is not `ip`: the last address at which its digest was accepted, or the one
    /// in its name.
    pub(super) fn owner_elsewhere(&self, identity: &Identity, ip: IpAddr) -> Option<Owner> {
        let proofs = self.proven.get(&identity.label).map_or(&[][..], |proofs| proofs);
        let own = ip.to_canonical();
        if own.is_loopback() || proofs.iter().any(|proof| proof.ip == ip) {
            return None;
        }
        let named = address_in(&identity.label);
        if named == Some(own) {
            return None;
        }
        // The tools of a host have one identity, and may run on several hosts of one name.
        let proof = proofs.last().filter(|_| !identity.is_tool);
        named.map(Owner::Named).or_else(|| proof.cloned().map(Owner::Proven))
    }

    /// The name that a side of this connection sent, if it has not proven it and it is that of a node elsewhere. `None`
    /// also where the outcome rests on nothing that this side sent.
    pub(super) fn claim(
        &self,
        (settled, seen): (&Settled, &Observation),
        verdict: &Verdict,
        dials: &Dials,
    ) -> Option<Claim> {
        unproven(seen, verdict).find_map(|sent| {
            let claim = self.claim_by_now(&sent, verdict.outcome)?;
            (!is_passed_on(settled, seen, sent.role, dials)).then_some(claim)
        })
    }

    /// The names that the sides of a connection sent and have not proven, where nothing shows yet that another address
    /// has them.
    pub(super) fn unclaimed(&self, it: &JudgedConnection, dials: &Dials) -> Vec<SentName> {
        let is_open = |sent: &SentName| {
            let proofs = self.proven.get(&sent.identity.label).map_or(&[][..], |proofs| proofs);
            !sent.identity.is_tool
                && is_decided_by(sent.role, &it.verdict)
                && !is_named_in(&sent.identity, sent.ip)
                && proofs.iter().all(|proof| proof.ip != sent.ip)
                && !is_passed_on(&it.settled, &it.seen, sent.role, dials)
        };
        unproven(&it.seen, &it.verdict).filter(is_open).collect()
    }

    /// The claim that an unproven name is, if its node is elsewhere by what is known now.
    pub(super) fn claim_by_now(&self, sent: &SentName, outcome: Outcome) -> Option<Claim> {
        let owner = self.owner_elsewhere(&sent.identity, sent.ip)?;
        // Two nodes of one name on two hosts never come to the digests, and have a rule of their own.
        let is_its_own_peer = matches!(owner, Owner::Named(ip) if ip == sent.peer.to_canonical());
        if outcome == Outcome::Superseded && !is_its_own_peer {
            return None;
        }
        Some(Claim { role: sent.role, name: Arc::clone(&sent.name), owner })
    }
}

/// The sides of a connection whose names matter for its outcome, and are not proven by it.
fn unproven(seen: &Observation, verdict: &Verdict) -> impl Iterator<Item = SentName> {
    Role::BOTH.into_iter().filter_map(move |role| {
        let identity = Identity::of(seen, role)?;
        let [ip, peer] = [role, role.peer()].map(|role| seen.ends[role].ip);
        // A host dials an address of its own from that address, whichever name its node has.
        if ip == peer || !is_in_question(seen, verdict, role) {
            return None;
        }
        let name = Arc::clone(seen.name(role)?);
        Some(SentName { role, name, identity, ip, peer })
    })
}

/// Whether the side in this role is a proxy that passes on what the node of the name sends, or the handshake came through a
/// proxy or a translator of addresses: then the two nodes know each other by its addresses.
fn is_passed_on(settled: &Settled, seen: &Observation, role: Role, dials: &Dials) -> bool {
    let is_in_merge = Role::BOTH.into_iter().any(|role| seen.passed_on[role]);
    if is_in_merge || relays::has_other_addresses(settled, seen, dials) {
        return true;
    }
    match role {
        Role::Initiator => seen.proxy.is_some() || relays::near_leg(settled, seen, dials).is_some(),
        Role::Acceptor => relays::far_leg(settled, seen, dials).is_some(),
    }
}

/// Whether the peer of this side accepted its digest, as far as the capture shows by now: an acceptor shows its own in
/// the last message of the handshake, and the initiator may still refuse it.
fn is_accepted(it: &JudgedConnection, role: Role) -> bool {
    let has_answer = role == Role::Acceptor || it.seen.handshake.ack.is_some();
    it.outcome() == Outcome::Connected && it.verdict.confidence >= Confidence::Likely && has_answer
}

/// Whether the peer of this side surely accepted its digest: after that of an acceptor, the initiator sends something, or
/// one cookie fits both digests.
pub(super) fn is_proven(it: &JudgedConnection, role: Role) -> bool {
    let is_sure = role == Role::Initiator || it.verdict.confidence == Confidence::Proven;
    is_accepted(it, role) && is_sure
}

/// Whether the host in the name of a node is this address.
pub(super) fn is_named_in(identity: &Identity, ip: IpAddr) -> bool {
    address_in(&identity.label) == Some(ip.to_canonical())
}

/// Whether the outcome rests on what this side sent, or on who it is: then it matters whether the name is its own.
fn is_in_question(seen: &Observation, verdict: &Verdict, role: Role) -> bool {
    let by_peer = verdict.detected_by == Some(role.peer());
    let handshake = &seen.handshake;
    match (role, verdict.outcome) {
        (_, Outcome::Incomplete) => true,
        (
            Role::Initiator,
            Outcome::NotAllowed
            | Outcome::AlreadyConnected
            | Outcome::VersionMismatch
            | Outcome::NameMismatch
            | Outcome::Superseded
            // The side that closed, or that waited in vain, did so with what is at that address.
            | Outcome::Aborted
            | Outcome::TimedOut,
        ) => true,
        (Role::Initiator, Outcome::CookieMismatch) => by_peer,
        // An acceptor shows a cookie last of all, and may refuse every digest until then.
        (Role::Acceptor, Outcome::CookieMismatch) => true,
        (Role::Acceptor, Outcome::TimedOut) => by_peer && handshake.reply.is_some(),
        (Role::Acceptor, Outcome::Aborted) => !by_peer || handshake.reply.is_some(),
        // The initiator has sent nothing after the digest of the acceptor, and may still refuse it.
        (Role::Acceptor, Outcome::Connected) => verdict.confidence < Confidence::Proven,
        _ => false,
    }
}

/// The address that a node name has for its host, unless it means the own host.
fn address_in(name: &str) -> Option<IpAddr> {
    let (_, host) = name.split_once('@')?;
    let ip = host.parse::<IpAddr>().ok()?.to_canonical();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Maximum number of addresses of one node that are remembered; a node has one or two.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{SampleDial, dial};
    use crate::judge::world::HomeNets;
    use crate::judge::{JudgedConnection, World};

    const B: &str = "b@h2/10.0.0.2/5";
    const HIDDEN: u64 = 0xd_07df_7fbc;

    fn world(dials: Vec<JudgedConnection>) -> World {
        let mut world = World::new(&Limits { nodes: 3, ..Limits::default() }, HomeNets::default());
        for it in dials {
            world.on_session(&it, &mut Vec::new(), &mut Vec::new());
        }
        world
    }

    /// A dial whose digest the acceptor refused.
    fn refused(dial: SampleDial) -> JudgedConnection {
        let mut it = dial.fails(Outcome::CookieMismatch).judged();
        it.verdict.detected_by = Some(Role::Acceptor);
        it
    }

    fn owner(world: &World, it: &JudgedConnection) -> Option<(Role, IpAddr)> {
        let claim = world.claim(&it.settled, &it.seen, &it.verdict)?;
        Some((claim.role, claim.owner.ip()))
    }

    #[test]
    fn a_name_is_of_a_node_elsewhere_by_its_address_or_by_an_accepted_digest() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = (Role::Initiator, ip("10.0.0.1"));
        let known = || world(vec![dial(0, "a@h1/10.0.0.1/7", B).judged()]);
        let from = |side: &str| refused(dial(9000, side, B));
        assert_eq!(owner(&known(), &from("a@h1/10.0.0.66/8")), Some(one));
        assert_eq!(owner(&known(), &from("a@h1/10.0.0.66/7")), Some(one), "a creation is no proof");
        assert_eq!(owner(&known(), &from("a@h1/10.0.0.1/8")), None);
        assert_eq!(owner(&known(), &from("c@h1/10.0.0.66/8")), None, "another node");
        assert_eq!(owner(&world(Vec::new()), &from("a@h1/10.0.0.66/8")), None);
        assert_eq!(owner(&world(Vec::new()), &from("a@10.0.0.1/10.0.0.66/8")), Some(one));
        assert_eq!(owner(&world(Vec::new()), &from("a@10.0.0.1/10.0.0.1/8")), None);
        assert_eq!(owner(&world(Vec::new()), &from("a@127.0.0.1/10.0.0.1/8")), None);
    }

    #[test]
    fn an_address_where_the_digest_was_accepted_is_one_of_the_node() {
        let both = world(vec![
            dial(0, "a@10.0.0.1/10.0.0.1/7", B).judged(),
            dial(0, "a@10.0.0.1/192.0.2.1/7", B).judged(),
        ]);
        let again = refused(dial(9000, "a@10.0.0.1/192.0.2.1/7", B));
        assert_eq!(owner(&both, &again), None);
    }

    #[test]
    fn a_refused_digest_of_an_acceptor_proves_nothing_although_it_seemed_accepted() {
        let shown = dial(0, B, "a@h1/10.0.0.66/8");
        let mut left = shown.clone().closed(5, [0; 2]).judged();
        left.verdict.confidence = Confidence::Possible;
        let genuine = || refused(dial(9000, "a@h1/10.0.0.1/7", B));
        let seemed = world(vec![shown.clone().judged()]);
        assert!(owner(&seemed, &genuine()).is_some());
        let known = world(vec![shown.judged(), left]);
        assert_eq!(owner(&known, &genuine()), None);
    }

    #[test]
    fn a_tool_of_two_hosts_with_one_short_name_is_none() {
        let tool = |ip: &str| {
            dial(0, &format!("rabbitmqcli-7-rabbit@h1/{ip}/7"), B).flags(HIDDEN, 0xd_07df_7fbd)
        };
        let known = world(vec![tool("10.0.0.1").judged()]);
        assert_eq!(owner(&known, &refused(tool("10.0.0.9"))), None);
    }

    #[test]
    fn names_beyond_the_bound_are_counted_and_not_stored() {
        let dials = (0..9).map(|n| dial(n, &format!("x{n}@h/10.0.0.1/1"), B).judged());
        let world = world(dials.collect());
        assert_eq!((world.claims.proven.len(), world.claims.evictions()), (3, 7));
    }

    #[test]
    fn a_digest_is_proven_to_be_accepted_only_where_its_peer_shows_that() {
        let shown = |outcome, confidence, has_ack: bool| {
            let mut it = dial(0, "a@h1/10.0.0.1/7", B).judged();
            (it.verdict.outcome, it.verdict.confidence) = (outcome, confidence);
            it.seen.handshake.ack = it.seen.handshake.ack.filter(|_| has_ack);
            Role::BOTH.map(|role| is_proven(&it, role))
        };
        use Confidence::{Likely, Possible, Proven};
        assert_eq!(shown(Outcome::Connected, Proven, true), [true, true]);
        assert_eq!(shown(Outcome::Connected, Likely, true), [true, false]);
        assert_eq!(shown(Outcome::Connected, Proven, false), [false, true], "no ack was seen");
        assert_eq!(shown(Outcome::Connected, Possible, true), [false, false]);
        assert_eq!(shown(Outcome::CookieMismatch, Proven, true), [false, false]);
    }

    #[test]
    fn a_name_is_unproven_at_an_address_that_neither_it_nor_an_accepted_digest_names() {
        let known = world(vec![dial(0, "a@h1/10.0.0.1/7", B).judged()]);
        let unclaimed = |it: &JudgedConnection| {
            known.unclaimed(it).into_iter().map(|sent| sent.name.to_string()).collect::<Vec<_>>()
        };
        let from = |side: &str| refused(dial(9000, side, B));
        assert_eq!(unclaimed(&from("a@h1/10.0.0.66/7")), ["a@h1"]);
        assert_eq!(unclaimed(&from("c@h1/10.0.0.66/7")), ["c@h1"]);
        assert_eq!(unclaimed(&from("a@h1/10.0.0.1/8")), [""; 0], "its digest was accepted there");
        assert_eq!(unclaimed(&from("c@10.0.0.66/10.0.0.66/7")), [""; 0], "its own address");
        let tool = dial(9000, "rabbitmqcli-7-rabbit@h1/10.0.0.66/7", B).flags(HIDDEN, HIDDEN);
        assert_eq!(unclaimed(&refused(tool)), [""; 0]);
    }
}
