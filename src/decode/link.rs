//! Stage 2, first step: link headers.
//!
//! In: a frame and its link type, or an Ethernet frame from a tunnel. Out: the slice that should begin
//! with an IP header; VLAN tags and MPLS labels are pushed as layers. `ip.rs` reads the version from the
//! first byte, and decides whether the slice is IPv4, IPv6 or neither.

use super::Layer;
use super::pseudo::{ip_of_family, remove_pseudo_header, u32_either_order};
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
    pub(super) const EDSA: u16 = 0xdada; // the tag of a Marvell switch, as Linux sets its EtherType
    pub(in crate::decode) const FIRST: u16 = 0x0600; // smaller values: an 802.3 length, followed by LLC
}

/// The IP datagram in a frame of link type `link`.
pub(super) fn ip_in_frame<'a>(
    link: LinkType,
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    let (link, frame) = match remove_pseudo_header(link, frame)? {
        // One header may lead to another one, as PPI to radiotap. Two of those that can contain any type may not.
        Some((link, frame)) => remove_pseudo_header(link, frame)?.unwrap_or((link, frame)),
        None => (link, frame),
    };
    match link {
        LinkType::ETHERNET => ip_in_ethernet(frame, layers),
        LinkType::DLT_RAW
        | LinkType::DLT_RAW_OPENBSD
        | LinkType::RAW
        | LinkType::IPV4
        | LinkType::IPV6 => Ok(frame),
        LinkType::NULL | LinkType::LOOP => {
            let (family, ip) = frame.split()?;
            ip_of_family(u32_either_order(*family), ip)
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
        LinkType::PPP_PPPD => {
            let (protocol, rest) = ppp(frame.skip(2)?)?; // direction, control
            ip_after(protocol, rest, layers)
        }
        LinkType::PPP_ETHER => ip_after(ether_type::PPPOE_SESSION, frame, layers),
        LinkType::MPLS => ip_after(ether_type::MPLS, frame, layers),
        LinkType::FRELAY => {
            let (protocol, rest) = frame_relay(frame)?;
            ip_after(protocol, rest, layers)
        }
        LinkType::ATM_RFC1483 => ip_in_llc(frame, layers),
        LinkType::SUNATM => ip_in_sun_atm(frame, layers),
        LinkType::FDDI => {
            let (&[control, ..], rest) = frame.split::<13>()?; // control, addresses
            if control & 0xf0 != 0x50 {
                return Err(Skip::NotIp); // no LLC
            }
            ip_in_llc(rest, layers)
        }
        LinkType::IEEE802_5 => ip_in_token_ring(frame, layers),
        LinkType::IP_OVER_FC => ip_in_llc(frame.skip(16)?, layers), // two addresses
        LinkType::APPLE_IP_OVER_IEEE1394 => {
            let (&[.., t0, t1], rest) = frame.split::<18>()?;
            ip_after(u16::from_be_bytes([t0, t1]), rest, layers)
        }
        LinkType::IPOIB => ip_in_infiniband(frame, layers),
        LinkType::DSA_TAG_BRCM => {
            let (&[.., t0, t1], rest) = frame.split::<{ MAC_ADDRESSES + 4 + 2 }>()?;
            ip_after(u16::from_be_bytes([t0, t1]), rest, layers)
        }
        LinkType::DSA_TAG_DSA => {
            let (kind, rest) = marvell_tag(frame.skip(MAC_ADDRESSES)?, layers)?;
            ip_after(kind, rest, layers)
        }
        LinkType::DSA_TAG_EDSA => {
            // the EtherType of the tag, which can be chosen, and two reserved bytes
            let (kind, rest) = marvell_tag(frame.skip(MAC_ADDRESSES + 4)?, layers)?;
            ip_after(kind, rest, layers)
        }
        LinkType::IEEE802_11 => ip_in_802_11(frame, layers),
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
        EDSA, ETHERNET, FIRST, IPV4, IPV6, MPLS, MPLS_MULTICAST, PPPOE_SESSION, VLAN,
        VLAN_OLD_SERVICE, VLAN_SERVICE,
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
            EDSA => (kind, slice) = marvell_tag(slice.skip(2)?, layers)?,
            ETHERNET => {
                let (&[.., t0, t1], rest) = slice.split::<14>()?;
                (kind, slice) = (u16::from_be_bytes([t0, t1]), rest);
            }
            length if length < FIRST => (kind, slice) = llc(slice.limit(length.into()))?,
            _ => return Err(Skip::NotIp),
        }
    }
    Err(Skip::TooDeep)
}

/// Reads LLC with SNAP (RFC 1042) or with the service access point of IP or of a network layer (RFC 2684, section
/// 5); returns the EtherType and the rest.
fn llc(slice: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    match slice.split()? {
        ([0x06, 0x06, 0x03], rest) => Ok((ether_type::IPV4, rest)),
        ([0xaa, 0xaa, 0x03], rest) => snap(rest, BRIDGED_PADDING),
        ([0xfe, 0xfe, 0x03], rest) => nlpid(rest),
        _ => Err(Skip::NotIp),
    }
}

/// Reads the organisation and the protocol of SNAP; returns the EtherType and the rest. `padding` bytes precede a
/// bridged frame.
fn snap(slice: PacketSlice<'_>, padding: usize) -> Result<(u16, PacketSlice<'_>), Skip> {
    match slice.split()? {
        // encapsulated Ethernet, RFC 1042 and 802.1H
        (&[0x00, 0x00, 0x00 | 0xf8, t0, t1], rest) => Ok((u16::from_be_bytes([t0, t1]), rest)),
        // bridged Ethernet, with and without its check sequence: RFC 2427 and 2684
        ([0x00, 0x80, 0xc2, 0x00, 0x01 | 0x07], rest) => {
            Ok((ether_type::ETHERNET, rest.skip(padding)?))
        }
        _ => Err(Skip::NotIp),
    }
}

/// Reads a network layer protocol identifier (RFC 2427, appendix A); returns the EtherType and the rest.
fn nlpid(slice: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    match slice.split()? {
        ([0xcc], rest) => Ok((ether_type::IPV4, rest)),
        ([0x8e], rest) => Ok((ether_type::IPV6, rest)),
        ([0x80], rest) => snap(rest, 0),
        ([0xcf], rest) => ppp(rest), // RFC 1973
        _ => Err(Skip::NotIp),
    }
}

/// Reads a frame relay header: an address of two to four bytes, the last of which is odd (Q.922, section 2.3.2);
/// then a control byte with a protocol identifier (RFC 2427, section 2), or the EtherType as Cisco does. Returns the
/// EtherType and the rest.
fn frame_relay(frame: PacketSlice<'_>) -> Result<(u16, PacketSlice<'_>), Skip> {
    const UNNUMBERED: u8 = 0x03;
    let (&[first, second], mut rest) = frame.split()?;
    let mut last = second;
    for _ in 0..2 {
        if last & 1 == 0 {
            let (&[byte], after) = rest.split()?;
            (last, rest) = (byte, after);
        }
    }
    if first & 1 == 1 || last & 1 == 0 {
        return Err(Skip::NotIp);
    }
    match rest.split()? {
        (&[UNNUMBERED], after) => match after.split()? {
            (&[0x00], after_padding) => nlpid(after_padding),
            _ => nlpid(after),
        },
        (&[t0], after) => {
            let (&[t1], after) = after.split()?;
            Ok((u16::from_be_bytes([t0, t1]), after))
        }
    }
}

/// Reads the tag of a Marvell switch and the EtherType after it; a frame that had a VLAN tag has that VLAN here.
fn marvell_tag<'a>(
    slice: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<(u16, PacketSlice<'a>), Skip> {
    const WAS_TAGGED: u8 = 0x20;
    let (&[mode, _, v0, v1, t0, t1], rest) = slice.split()?;
    if mode & WAS_TAGGED != 0 {
        layers.push(Layer::Vlan(u16::from_be_bytes([v0, v1]) & 0x0fff));
    }
    Ok((u16::from_be_bytes([t0, t1]), rest))
}

/// The IP datagram after LLC.
fn ip_in_llc<'a>(slice: PacketSlice<'a>, layers: &mut Vec<Layer>) -> Result<PacketSlice<'a>, Skip> {
    let (kind, rest) = llc(slice)?;
    ip_after(kind, rest, layers)
}

/// The IP datagram in an ATM frame of a SunATM device: flags, VPI, VCI; then LLC or an emulated LAN.
fn ip_in_sun_atm<'a>(
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    const KIND: u8 = 0x0f; // the highest bit is the direction
    const LAN_EMULATION_HEADER: usize = 2;
    let (&[flags, ..], rest) = frame.split::<4>()?;
    match flags & KIND {
        1 => ip_in_ethernet(rest.skip(LAN_EMULATION_HEADER)?, layers),
        2 => ip_in_llc(rest, layers),
        _ => Err(Skip::NotIp),
    }
}

/// The IP datagram after the EtherType and two reserved bytes of IP over InfiniBand (RFC 4391, section 6).
///
/// The registry describes no header before these. Libpcap writes a global route header, all zeros if the packet has
/// none. It begins with 0 or with IP version 6, and no EtherType of the RFC does.
fn ip_in_infiniband<'a>(
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    const GLOBAL_ROUTE_HEADER: usize = 40;
    let (&[first], _) = frame.split()?;
    let has_route = matches!(first, 0x00 | 0x60..=0x6f);
    let (&[t0, t1, _, _], rest) =
        frame.skip(if has_route { GLOBAL_ROUTE_HEADER } else { 0 })?.split()?;
    ip_after(u16::from_be_bytes([t0, t1]), rest, layers)
}

/// The IP datagram in a Token Ring frame: access control, frame control, addresses, the route if the source address
/// has a bit for it, LLC.
fn ip_in_token_ring<'a>(
    frame: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    let (&[_, control, _, _, _, _, _, _, source, ..], rest) = frame.split::<14>()?;
    if control & 0xc0 != 0x40 {
        return Err(Skip::NotIp); // no LLC
    }
    if source & 0x80 == 0 {
        return ip_in_llc(rest, layers);
    }
    let (&[route, _], _) = rest.split()?;
    ip_in_llc(rest.skip((route & 0x1f).into())?, layers)
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

const MPLS_BOTTOM: u32 = 0x100; // bottom of stack, RFC 3032, section 2.1
const SLL_LLC: u16 = 0x0004; // LINUX_SLL_P_802_2
const MAC_ADDRESSES: usize = 12;
const BRIDGED_PADDING: usize = 2; // RFC 2684, section 5.2

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
    fn addresses_of_frame_relay_end_with_an_odd_byte() {
        for (address, is_read) in [
            (&[0x18, 0x41][..], true),
            (&[0x18, 0x40, 0x01], true),
            (&[0x18, 0x40, 0x00, 0x01], true),
            (&[0x18, 0x40, 0x00, 0x00], false),
            (&[0x19, 0x41], false),
        ] {
            let frame = [address, &[0x03, 0xcc], &request()].concat();
            assert_eq!(segment_in(LinkType::FRELAY, &frame).is_some(), is_read, "{address:02x?}");
        }
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
        let unsupported = decoder.counters().unsupported.into_iter().collect::<Vec<_>>();
        assert_eq!(unsupported, [(LinkType(195), 3)]);
    }
}
