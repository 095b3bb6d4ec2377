//! Stage 2, first step: link headers.
//!
//! In: a frame and its link type, or an Ethernet frame from a tunnel. Out: the slice that should begin
//! with an IP header; VLAN tags and MPLS labels are pushed as layers. `ip.rs` reads the version from the
//! first byte, and decides whether the slice is IPv4, IPv6 or neither.

use super::Layer;
use super::slice::{PacketSlice, Skip};
use crate::capture::LinkType;
use crate::limits::LINK_TAGS;

/// EtherType values (IEEE 802 numbers, IANA).
pub(super) mod ether_type {
    pub(in crate::decode) const IPV4: u16 = 0x0800;
    pub(in crate::decode) const ETHERNET: u16 = 0x6558; // transparent Ethernet bridging, RFC 1701
    pub(in crate::decode) const VLAN: u16 = 0x8100; // 802.1Q
    pub(in crate::decode) const IPV6: u16 = 0x86dd;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_MULTICAST: u16 = 0x8848; // since RFC 5332: upstream-assigned labels
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const VLAN_SERVICE: u16 = 0x88a8; // 802.1ad
    pub(super) const VLAN_OLD_SERVICE: u16 = 0x9100; // used before 802.1ad, and still in use
    pub(in crate::decode) const FIRST: u16 = 0x0600; // smaller values: an 802.3 length, followed by LLC
}

/// The IP datagram in a frame of link type `link`.
pub(super) fn ip_in_frame<'a>(
    link: LinkType,
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    match link {
        LinkType::ETHERNET => ip_in_ethernet(frame, layers),
        LinkType::DLT_RAW
        | LinkType::DLT_RAW_OPENBSD
        | LinkType::RAW
        | LinkType::IPV4
        | LinkType::IPV6 => Ok(frame),
        LinkType::NULL | LinkType::LOOP => {
            let (family, ip) = frame.split()?;
            match u32_either_order(*family) {
                2 => Ok(ip),                 // AF_INET everywhere
                10 | 24 | 28 | 30 => Ok(ip), // AF_INET6 of Linux, OpenBSD, FreeBSD, Darwin
                _ => Err(Skip::NotIp),
            }
        }
        LinkType::LINUX_SLL => {
            let (&[.., p0, p1], rest) = frame.split::<16>()?;
            ip_in_cooked(u16::from_be_bytes([p0, p1]), rest, layers)
        }
        LinkType::LINUX_SLL2 => {
            let (&[p0, p1, ..], rest) = frame.split::<20>()?;
            ip_in_cooked(u16::from_be_bytes([p0, p1]), rest, layers)
        }
        LinkType::PPP | LinkType::PPP_HDLC | LinkType::C_HDLC => {
            let (protocol, rest) = hdlc(frame)?;
            ip_after(protocol, rest, layers)
        }
        LinkType::IEEE802_11 => ip_in_802_11(frame, layers),
        LinkType::IEEE802_11_RADIOTAP => {
            // version, padding, length of the whole radiotap header
            let (&[_, _, l0, l1], _) = frame.split()?;
            ip_in_802_11(frame.skip(u16::from_le_bytes([l0, l1]).into())?, layers)
        }
        LinkType::PKTAP | LinkType::USER2 => {
            let (inner, frame) = pktap(link, frame)?;
            ip_in_frame(inner, frame, layers)
        }
        unsupported => Err(Skip::Unsupported(unsupported)),
    }
}

/// The IP datagram after the protocol field of a Linux cooked header, which is an EtherType or one of the
/// numbers below 0x0600 that Linux defines.
fn ip_in_cooked<'a>(
    protocol: u16,
    rest: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    let (kind, rest) = match protocol {
        SLL_LLC => llc(rest)?,
        0..ether_type::FIRST => return Err(Skip::NotIp),
        kind => (kind, rest),
    };
    ip_after(kind, rest, layers)
}

/// The IP datagram in an Ethernet frame.
pub(super) fn ip_in_ethernet<'a>(
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    let (&[.., t0, t1], rest) = frame.split::<14>()?;
    ip_after(u16::from_be_bytes([t0, t1]), rest, layers)
}

/// The IP datagram after an EtherType or an 802.3 length, and after the tags and labels that follow.
pub(super) fn ip_after<'a>(
    mut kind: u16,
    mut slice: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    use ether_type::{
        FIRST, IPV4, IPV6, MPLS, MPLS_MULTICAST, PPPOE_SESSION, VLAN, VLAN_OLD_SERVICE,
        VLAN_SERVICE,
    };
    for _ in 0..=LINK_TAGS {
        match kind {
            IPV4 | IPV6 => return Ok(slice),
            VLAN | VLAN_SERVICE | VLAN_OLD_SERVICE => {
                let (&[t0, t1, k0, k1], rest) = slice.split()?;
                layers.push(Layer::Vlan(u16::from_be_bytes([t0, t1]) & 0x0fff));
                (kind, slice) = (u16::from_be_bytes([k0, k1]), rest);
            }
            MPLS | MPLS_MULTICAST => {
                let (entry, rest) = slice.split()?;
                let entry = u32::from_be_bytes(*entry);
                layers.push(Layer::Mpls(entry >> 12));
                // No field gives the protocol after the bottom of the stack; `ip.rs` reads the IP version.
                (kind, slice) = (if entry & MPLS_BOTTOM == 0 { kind } else { IPV4 }, rest);
            }
            PPPOE_SESSION => {
                let (&[0x11, 0x00, s0, s1, l0, l1], rest) = slice.split()? else {
                    return Err(Skip::NotIp); // version and type 1, code 0: RFC 2516, section 4
                };
                layers.push(Layer::Pppoe(u16::from_be_bytes([s0, s1])));
                (kind, slice) = ppp(rest.limit(u16::from_be_bytes([l0, l1]).into()))?;
            }
            length if length < FIRST => (kind, slice) = llc(slice.limit(length.into()))?,
            _ => return Err(Skip::NotIp),
        }
    }
    Err(Skip::TooDeep)
}

/// Reads LLC with SNAP (RFC 1042) or with the service access point of IP; returns the EtherType and the rest.
fn llc(slice: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    match slice.split()? {
        ([0x06, 0x06, 0x03], rest) => Ok((ether_type::IPV4, rest)),
        ([0xaa, 0xaa, 0x03], rest) => match rest.split()? {
            // encapsulated Ethernet, RFC 1042 and 802.1H
            (&[0x00, 0x00, 0x00 | 0xf8, t0, t1], rest) => Ok((u16::from_be_bytes([t0, t1]), rest)),
            _ => Err(Skip::NotIp),
        },
        _ => Err(Skip::NotIp),
    }
}

/// Reads PPP with or without HDLC framing, or Cisco HDLC, distinguished by their first byte as in the
/// registry of link types; returns the EtherType and the rest.
fn hdlc(frame: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    match frame.bytes {
        [0xff, ..] => ppp(frame.skip(2)?), // address, control: RFC 1662, section 3.1
        [0x0f | 0x8f, ..] => {
            let (&[_, _, t0, t1], rest) = frame.split()?; // unicast or multicast, 0, EtherType
            Ok((u16::from_be_bytes([t0, t1]), rest))
        }
        _ => ppp(frame),
    }
}

/// Reads the PPP protocol field (RFC 1661, section 2), one byte if compressed; returns the EtherType and the
/// rest.
fn ppp(slice: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    let (&[first], rest) = slice.split()?;
    let (protocol, rest) = if first & 1 == 1 {
        (u16::from(first), rest)
    } else {
        let (&[second], rest) = rest.split()?;
        (u16::from_be_bytes([first, second]), rest)
    };
    match protocol {
        0x0021 => Ok((ether_type::IPV4, rest)),
        0x0057 => Ok((ether_type::IPV6, rest)),
        0x0281 => Ok((ether_type::MPLS, rest)),
        _ => Err(Skip::NotIp),
    }
}

/// The IP datagram in an IEEE 802.11 frame, which must be an unencrypted, unfragmented data frame with one
/// datagram.
fn ip_in_802_11<'a>(
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    const ADDRESS_4: usize = 6;
    const QOS_CONTROL: usize = 2;
    const HT_CONTROL: usize = 4;
    let (&[control, flags, .., sequence, _], rest) = frame.split::<24>()?;
    let data = control & 0b1100 == 0b1000 && control & 0x40 == 0; // type data, and not "no data"
    let fragment = flags & 0x04 != 0 || sequence & 0x0f != 0;
    let protected = flags & 0x40 != 0;
    if !data || fragment || protected {
        return Err(Skip::NotIp);
    }
    let address_4 = if flags & 0x03 == 0x03 { ADDRESS_4 } else { 0 };
    let mut rest = rest.skip(address_4)?;
    if control & 0x80 != 0 {
        let (&[qos, _], after_qos) = rest.split::<QOS_CONTROL>()?;
        if qos & 0x80 != 0 {
            return Err(Skip::NotIp); // A-MSDU: several datagrams in one frame
        }
        rest = after_qos.skip(if flags & 0x80 != 0 { HT_CONTROL } else { 0 })?;
    }
    let (kind, rest) = llc(rest)?;
    ip_after(kind, rest, layers)
}

/// Reads Darwin's PKTAP header; returns the link type that it contains, and the frame.
///
/// Darwin also writes it with link type `USER2`, which other tools use for formats of their own, so the header
/// is checked for plausible fields.
fn pktap(link: LinkType, frame: PacketSlice<'_>) -> Result<(LinkType, PacketSlice<'_>), Skip> {
    const LEAST_LEN: usize = 108;
    const PACKET_FOLLOWS: u32 = 1;
    let (&[l0, l1, l2, l3, n0, n1, n2, n3, d0, d1, d2, d3], _) = frame.split()?;
    let len = usize::try_from(u32_either_order([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let follows = u32_either_order([n0, n1, n2, n3]);
    match u16::try_from(u32_either_order([d0, d1, d2, d3])).map(LinkType) {
        Ok(inner)
            if !matches!(inner, LinkType::PKTAP | LinkType::USER2)
                && len >= LEAST_LEN
                && follows == PACKET_FOLLOWS =>
        {
            Ok((inner, frame.skip(len)?))
        }
        _ => Err(Skip::Unsupported(link)),
    }
}

/// A small number in the unknown byte order of the capturing host: the lesser of the two interpretations.
fn u32_either_order(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes).min(u32::from_be_bytes(bytes))
}

const MPLS_BOTTOM: u32 = 0x100; // bottom of stack, RFC 3032, section 2.1
const SLL_LLC: u16 = 0x0004; // LINUX_SLL_P_802_2

#[cfg(test)]
mod tests {
    use super::super::samples::{self, NAMES_REQ, ethernet, request, segment_in};
    use super::*;

    #[test]
    fn the_segment_is_found_after_every_link_header() {
        for sample in samples::links() {
            let seen = segment_in(sample.link, &sample.frame).expect(sample.name);
            assert_eq!((&seen.payload[..], seen.missing), (NAMES_REQ, 0), "{}", sample.name);
            assert_eq!(seen.layers, sample.layers, "{}", sample.name);
        }
    }

    #[test]
    fn no_more_tags_are_read_than_the_bound_allows() {
        let tagged = |tags: usize| {
            let inner = [&[0x00, 0x07, 0x08, 0x00], &request()[..]].concat();
            let body = [&[0x00, 0x07, 0x81, 0x00].repeat(tags - 1)[..], &inner].concat();
            ethernet(0x8100, &body)
        };
        let seen = segment_in(LinkType::ETHERNET, &tagged(LINK_TAGS)).unwrap();
        assert_eq!(seen.layers.len(), LINK_TAGS);

        let mut decoder = samples::decoder();
        let too_many = tagged(LINK_TAGS + 1);
        decoder.decode(&samples::frame(LinkType::ETHERNET, &too_many));
        assert_eq!(decoder.counters().too_deep, 1);
    }

    #[test]
    fn encrypted_and_fragmented_wireless_frames_are_not_ip() {
        for (byte, value) in [(1, 0x41), (1, 0x05), (22, 0x11), (0, 0x48), (0, 0x80)] {
            let mut sample = samples::links().into_iter().find(|s| s.name == "802.11").unwrap();
            sample.frame[byte] = value;
            let mut decoder = samples::decoder();
            decoder.decode(&samples::frame(sample.link, &sample.frame));
            assert_eq!(decoder.counters().not_ip, 1, "byte {byte}");
        }
    }

    #[test]
    fn a_link_type_that_cannot_be_read_is_counted_by_its_number() {
        let mut decoder = samples::decoder();
        for _ in 0..3 {
            decoder.decode(&samples::frame(LinkType(195), &request()));
        }
        // For PKTAP the inner type is counted, unless that is PKTAP again.
        let mut pktap = [0; 120];
        (pktap[0], pktap[4]) = (108, 1);
        for inner in [195, 2, 3, 149] {
            pktap[8] = inner;
            decoder.decode(&samples::frame(LinkType::PKTAP, &pktap));
        }
        let unsupported = decoder.counters().unsupported.into_iter().collect::<Vec<_>>();
        let expected = [(2, 1), (3, 1), (195, 4), (258, 1)];
        assert_eq!(unsupported, expected.map(|(link, count)| (LinkType(link), count)));
    }
}
