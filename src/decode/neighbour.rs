//! Stage 2, beside IP: questions for the link address of a host on the same network, and their answers.
//!
//! In: a frame with ARP (RFC 826) in Ethernet or Linux cooked, or the ICMPv6 message of a datagram (RFC 4861). Out: who
//! asked for whom, or who is there. Link addresses are not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ip::Datagram;
use crate::capture::{Frame, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// A message of ARP or of IPv6 neighbour discovery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Neighbour {
    /// The frame that contained it.
    pub frame: FrameRef,
    /// Capture time of `frame`.
    pub at: Timestamp,
    /// The host that sent it; `None` if it has no address yet.
    pub sender: Option<IpAddr>,
    /// The host that is asked for; `None` in an answer.
    pub wanted: Option<IpAddr>,
}

/// The ARP message in a frame without IP.
#[cold]
pub(super) fn arp(frame: &Frame<'_>) -> Option<Neighbour> {
    let bytes = frame.bytes;
    let (mut kind, mut rest): (&[u8; 2], &[u8]) = match frame.link {
        LinkType::ETHERNET => bytes.get(12..)?.split_first_chunk()?,
        LinkType::LINUX_SLL => bytes.get(14..)?.split_first_chunk()?,
        LinkType::LINUX_SLL2 => (bytes.first_chunk()?, bytes.get(20..)?),
        _ => return None,
    };
    for _ in 0..MAX_TAGS {
        if !matches!(u16::from_be_bytes(*kind), VLAN | VLAN_SERVICE) {
            break;
        }
        (kind, rest) = rest.get(2..)?.split_first_chunk()?;
    }
    if u16::from_be_bytes(*kind) != ARP {
        return None;
    }
    // Hardware type Ethernet, protocol type IPv4, the lengths of their addresses, the operation.
    let (&[0, 1, 8, 0, 6, 4, 0, operation], body) = rest.split_first_chunk()? else { return None };
    let &[_, _, _, _, _, _, s0, s1, s2, s3, _, _, _, _, _, _, t0, t1, t2, t3] =
        body.first_chunk()?;
    let known = |ip: Ipv4Addr| (!ip.is_unspecified()).then_some(IpAddr::V4(ip));
    let sender = known(Ipv4Addr::new(s0, s1, s2, s3));
    let target = known(Ipv4Addr::new(t0, t1, t2, t3));
    let wanted = match operation {
        // A host that asks for its own address announces itself (RFC 5227, section 3).
        REQUEST => target.filter(|target| sender != Some(*target)),
        REPLY => None,
        _ => return None,
    };
    Some(Neighbour { frame: frame.id, at: frame.at, sender, wanted })
}

/// The neighbour solicitation or advertisement that an ICMPv6 datagram contains.
#[cold]
pub(super) fn ndp(frame: &Frame<'_>, datagram: &Datagram<'_>) -> Option<Neighbour> {
    let (&[kind, 0, _, _, _, _, _, _], body) = datagram.payload.bytes.split_first_chunk()? else {
        return None;
    };
    let target = IpAddr::V6(Ipv6Addr::from(*body.first_chunk::<16>()?));
    let (sender, wanted) = match kind {
        // Without a source address a host asks whether the address is free, before it takes it.
        SOLICITATION if datagram.src.is_unspecified() => (None, None),
        SOLICITATION => (Some(datagram.src), Some(target)),
        ADVERTISEMENT => (Some(target), None),
        _ => return None,
    };
    Some(Neighbour { frame: frame.id, at: frame.at, sender, wanted })
}

/// EtherTypes (IEEE 802 numbers, IANA).
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const VLAN_SERVICE: u16 = 0x88a8;

/// VLAN tags in front of ARP: one of the customer and one of the provider.
const MAX_TAGS: usize = 2;

/// Operations in the header of ARP.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// Types of ICMPv6 messages (RFC 4861, sections 4.3 and 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

#[cfg(test)]
mod tests {
    use super::super::samples::{decoder, ethernet, frame};
    use super::super::{Decoded, LinkType};
    use super::*;

    fn arp_body(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        [&head[..], &[2; 6], &sender, &[0; 6], &target].concat()
    }

    fn read(link: LinkType, bytes: &[u8]) -> Option<(Option<String>, Option<String>)> {
        let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string());
        match decoder().decode(&frame(link, bytes)) {
            Decoded::Neighbour(it) => Some((text(it.sender), text(it.wanted))),
            _ => None,
        }
    }

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    #[test]
    fn arp_is_read_after_every_link_header_that_may_have_it() {
        let body = arp_body(REQUEST, A, B);
        let tagged = [&[0, 7, 0x08, 0x06], &body[..]].concat();
        let sll = [&[0; 14][..], &[0x08, 0x06], &body].concat();
        let sll2 = [&[0x08, 0x06][..], &[0; 18], &body].concat();
        let asked = Some((Some("10.0.0.1".to_owned()), Some("10.0.0.2".to_owned())));
        for (link, bytes) in [
            (LinkType::ETHERNET, ethernet(ARP, &body)),
            (LinkType::ETHERNET, ethernet(VLAN, &tagged)),
            (LinkType::LINUX_SLL, sll),
            (LinkType::LINUX_SLL2, sll2),
        ] {
            assert_eq!(read(link, &bytes), asked);
            for cut in 0..bytes.len() {
                assert_eq!(read(link, &bytes[..cut]), None, "{cut}");
            }
        }
    }

    #[test]
    fn a_reply_and_an_announcement_ask_for_no_other_host() {
        let reply = ethernet(ARP, &arp_body(REPLY, B, A));
        assert_eq!(read(LinkType::ETHERNET, &reply), Some((Some("10.0.0.2".into()), None)));
        let own = ethernet(ARP, &arp_body(REQUEST, B, B));
        assert_eq!(read(LinkType::ETHERNET, &own), Some((Some("10.0.0.2".into()), None)));
        assert_eq!(read(LinkType::ETHERNET, &ethernet(ARP, &arp_body(3, A, B))), None);
    }

    #[test]
    fn neighbour_discovery_is_read_from_icmpv6() {
        let host = |last: u8| [&[0xfd, 0, 0, 0x41][..], &[0; 11], &[last]].concat();
        let message = |kind: u8, src: &[u8], target: u8| {
            let body = [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &host(target)].concat();
            let head = [0x60, 0, 0, 0, 0, 24, 58, 255];
            ethernet(0x86dd, &[&head[..], src, &host(9), &body].concat())
        };
        let seen = |kind, src: &[u8], target| read(LinkType::ETHERNET, &message(kind, src, target));
        let text = |last: u8| Some(format!("fd00:41::{last}"));
        assert_eq!(seen(SOLICITATION, &host(1), 2), Some((text(1), text(2))));
        assert_eq!(seen(ADVERTISEMENT, &host(2), 2), Some((text(2), None)));
        assert_eq!(seen(SOLICITATION, &[0; 16], 2), Some((None, None)));
        assert_eq!(seen(134, &host(1), 2), None);
    }
}
