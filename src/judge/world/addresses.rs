//! The addresses of host names, as name servers gave them to any client.
//!
//! In: answers of name servers. Out: the name of an address, and the other addresses of that name. Who dialed which
//! name is not decided here, but in `hosts.rs`.

use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::{BoundedMap, Limits};
use crate::names::Resolved;
use crate::packet::FrameRef;

/// Names with their addresses, and addresses with their last name.
#[derive(Debug)]
pub struct Addresses {
    /// By the name in lower case.
    by_name: BoundedMap<Arc<str>, Vec<NamedAddress>>,
    by_ip: HashMap<IpAddr, Arc<str>, RandomState>,
}

/// An address of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NamedAddress {
    /// The address that the name has.
    pub ip: IpAddr,
    /// The packet with the last answer that has it.
    pub frame: FrameRef,
}

impl Addresses {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { by_name: BoundedMap::new(limits.resolved), by_ip: HashMap::default() }
    }

    pub(super) const fn evictions(&self) -> u64 {
        self.by_name.evictions()
    }

    /// The last name that was resolved to `ip`, and all its addresses.
    pub fn name_of(&self, ip: IpAddr) -> Option<(&Arc<str>, &[NamedAddress])> {
        let name = self.by_ip.get(&ip.to_canonical())?;
        Some((name, self.by_name.get(name)?))
    }

    /// The only address of the other family that the name of `ip` has, if the name has no further address: then both
    /// are most likely of one host.
    pub fn other_family(&self, ip: IpAddr) -> Option<(&Arc<str>, NamedAddress)> {
        let ip = ip.to_canonical();
        let (name, addresses) = self.name_of(ip)?;
        let other = addresses.iter().find(|it| it.ip.is_ipv4() != ip.is_ipv4())?;
        (addresses.len() == 2).then_some((name, *other))
    }

    pub(super) fn on_resolved(&mut self, resolved: &Resolved) {
        let name: Arc<str> = resolved.name.to_ascii_lowercase().into();
        for ip in resolved.ips.iter().map(IpAddr::to_canonical) {
            self.add(&name, NamedAddress { ip, frame: resolved.mark.frame });
        }
    }

    fn add(&mut self, name: &Arc<str>, address: NamedAddress) {
        let (known, forgotten) = self.by_name.entry(name);
        if let Some(before) = known.iter_mut().find(|it| it.ip == address.ip) {
            *before = address;
        } else if known.len() < MAX_ADDRESSES {
            known.push(address);
        } else {
            return;
        }
        self.by_ip.insert(address.ip, Arc::clone(name));
        let Some((oldest, addresses)) = forgotten else { return };
        for address in addresses {
            if self.by_ip.get(&address.ip) == Some(&oldest) {
                self.by_ip.remove(&address.ip);
            }
        }
    }
}

/// Addresses kept of one name: those of a host with several interfaces, and of a small cluster behind one name.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::at;
    use crate::packet::PacketRef;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn answer(known: &mut Addresses, number: u64, name: &str, ips: &[&str]) {
        let mark = PacketRef { frame: FrameRef { input: 0, number }, at: at(number) };
        let ips = ips.iter().copied().map(ip).collect();
        known.on_resolved(&Resolved { mark, client: None, name: name.into(), ips });
    }

    #[test]
    fn a_name_with_one_address_of_each_family_shows_the_other_one() {
        let mut known = Addresses::new(&Limits::default());
        answer(&mut known, 1, "H2.lan", &["10.0.0.2"]);
        assert_eq!(known.other_family(ip("10.0.0.2")), None);
        answer(&mut known, 2, "h2.lan", &["fd00::2"]);
        let (name, other) = known.other_family(ip("fd00::2")).unwrap();
        assert_eq!((&**name, other.ip, other.frame.number), ("h2.lan", ip("10.0.0.2"), 1));
        answer(&mut known, 3, "h2.lan", &["10.0.0.3"]);
        assert_eq!(known.other_family(ip("fd00::2")), None, "the name of several hosts");
    }

    #[test]
    fn the_oldest_name_is_forgotten_with_its_addresses() {
        let mut known = Addresses::new(&Limits { resolved: 2, ..Limits::default() });
        answer(&mut known, 1, "a", &["10.0.0.1"]);
        answer(&mut known, 2, "b", &["10.0.0.2", "10.0.0.1"]);
        answer(&mut known, 3, "c", &["10.0.0.3"]);
        assert_eq!((known.by_name.len(), known.by_ip.len(), known.evictions()), (2, 3, 1));
        assert_eq!(known.name_of(ip("10.0.0.1")).map(|(name, _)| &**name), Some("b"));
    }
}
