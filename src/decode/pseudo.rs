//! Stage 2, first step: headers that the capturing host put before the link header or in its place.
//!
//! In: a frame of a link type with such a header. Out: the link type of what follows, and the rest of the frame.
//! `link.rs` continues there, so that no header of this file contains another one of them.

use super::slice::{PacketSlice, Skip};
use crate::capture::LinkType;

/// Removes the pseudo header of link type `link`; `None` if the type has none.
pub(super) fn remove_pseudo_header(
    link: LinkType,
    frame: PacketSlice<'_>,
) -> Result<Option<(LinkType, PacketSlice<'_>)>, Skip> {
    const DIRECTION: usize = 1;
    let found = match link {
        LinkType::PKTAP | LinkType::USER2 => pktap(link, frame)?,
        LinkType::PPI => ppi(link, frame)?,
        LinkType::IEEE802_11_RADIOTAP => {
            // version, padding, length of the whole radiotap header
            let (&[_, _, l0, l1], _) = frame.split()?;
            (LinkType::IEEE802_11, frame.skip(u16::from_le_bytes([l0, l1]).into())?)
        }
        LinkType::IEEE802_11_PRISM | LinkType::IEEE802_11_AVS => {
            (LinkType::IEEE802_11, frame.skip(prism_or_avs(frame)?)?)
        }
        LinkType::NETANALYZER => (LinkType::ETHERNET, frame.skip(NETANALYZER_LEN)?),
        LinkType::NETANALYZER_TRANSPARENT => {
            (LinkType::ETHERNET, frame.skip(NETANALYZER_LEN + ETHERNET_PREAMBLE)?)
        }
        LinkType::DSA_TAG_BRCM_PREPEND => (LinkType::ETHERNET, frame.skip(BROADCOM_TAG)?),
        LinkType::PPP_WITH_DIR => (LinkType::PPP, frame.skip(DIRECTION)?),
        LinkType::C_HDLC_WITH_DIR => (LinkType::C_HDLC, frame.skip(DIRECTION)?),
        LinkType::FRELAY_WITH_DIR => (LinkType::FRELAY, frame.skip(DIRECTION)?),
        LinkType::NFLOG => (LinkType::RAW, nflog(frame)?),
        LinkType::IPNET => (LinkType::RAW, ipnet(frame)?),
        LinkType::ENC => (LinkType::RAW, enc(frame)?),
        LinkType::PFLOG => (LinkType::RAW, pflog(frame)?),
        LinkType::SLIP => (LinkType::RAW, slip(frame)?),
        LinkType(JUNIPER_FIRST..=JUNIPER_LAST) => match juniper(link, frame)? {
            Some(found) => found,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(found))
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
    match inner_type(u32_either_order([d0, d1, d2, d3])) {
        Some(inner) if len >= LEAST_LEN && follows == PACKET_FOLLOWS => {
            Ok((inner, frame.skip(len)?))
        }
        _ => Err(Skip::Unsupported(link)),
    }
}

/// Reads the per-packet information header: version 0, flags, length of all headers, link type; little-endian.
fn ppi(link: LinkType, frame: PacketSlice<'_>) -> Result<(LinkType, PacketSlice<'_>), Skip> {
    const LEAST_LEN: u16 = 8;
    let (&[version, _, l0, l1, d0, d1, d2, d3], _) = frame.split()?;
    let len = u16::from_le_bytes([l0, l1]);
    match inner_type(u32::from_le_bytes([d0, d1, d2, d3])) {
        Some(inner) if version == 0 && len >= LEAST_LEN => Ok((inner, frame.skip(len.into())?)),
        _ => Err(Skip::Unsupported(link)),
    }
}

/// The link type after a header that names it. None of these headers may contain another: that bounds the depth.
fn inner_type(number: u32) -> Option<LinkType> {
    let inner = LinkType(u16::try_from(number).ok()?);
    (!matches!(inner, LinkType::PKTAP | LinkType::USER2 | LinkType::PPI)).then_some(inner)
}

/// Length of a Prism or AVS header before an IEEE 802.11 frame. Drivers write AVS headers under the link type of
/// Prism as well; their magic number shows it.
fn prism_or_avs(frame: PacketSlice<'_>) -> Result<usize, Skip> {
    const AVS: [u8; 3] = [0x80, 0x21, 0x10]; // then the version; numbers are big-endian
    const PRISM: [u32; 2] = [0x41, 0x44]; // message codes; numbers are in the order of the capturing host
    let (&[c0, c1, c2, c3, l0, l1, l2, l3], _) = frame.split()?;
    let len = if [c0, c1, c2] == AVS {
        u32::from_be_bytes([l0, l1, l2, l3])
    } else if PRISM.contains(&u32_either_order([c0, c1, c2, c3])) {
        u32_either_order([l0, l1, l2, l3])
    } else {
        return Err(Skip::NotIp);
    };
    usize::try_from(len).map_err(|_| Skip::Malformed)
}

/// The datagram in an NFLOG message: address family, version, resource; then attributes of length, type and value,
/// padded to 4 bytes, one of which is the packet.
///
/// Length and type are in the byte order of the capturing host, which the frame does not contain. The first type
/// shows it: no type exceeds 255, so one of its bytes is 0.
fn nflog(frame: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    const ATTRIBUTE_HEADER: u16 = 4;
    const PAYLOAD: u16 = 9; // NFULA_PAYLOAD in linux/netfilter/nfnetlink_log.h
    const NESTED: u16 = 0x8000; // NLA_F_NESTED, a flag beside the type
    let (&[_, version, _, _], mut rest) = frame.split()?;
    if version != 0 {
        return Err(Skip::NotIp);
    }
    let mut is_little_endian = None;
    loop {
        let (&[l0, l1, t0, t1], value) = rest.split()?;
        let is_little_endian = *is_little_endian.get_or_insert(t1 == 0);
        let number = if is_little_endian { u16::from_le_bytes } else { u16::from_be_bytes };
        let (len, kind) = (number([l0, l1]), number([t0, t1]) & !NESTED);
        let value_len = len.checked_sub(ATTRIBUTE_HEADER).ok_or(Skip::Malformed)?;
        if kind == PAYLOAD {
            return Ok(value.limit(value_len.into()));
        }
        rest = value.skip(usize::from(value_len).next_multiple_of(4))?;
    }
}

/// The datagram after the header of Solaris' ipnet: version 2, address family, 22 bytes more.
fn ipnet(frame: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    match frame.split::<24>()? {
        ([_, 2 | 26, ..], ip) => Ok(ip), // AF_INET, AF_INET6 of Solaris
        _ => Err(Skip::NotIp),
    }
}

/// The datagram after the header of the enc interface: address family in the order of the host, SPI, flags.
fn enc(frame: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    let (&[f0, f1, f2, f3, ..], ip) = frame.split::<12>()?;
    ip_of_family(u32_either_order([f0, f1, f2, f3]), ip)
}

/// The datagram after a pflog header, whose first byte is its length without padding, and whose second byte is the
/// address family. The rest differs from system to system; the shortest header has 61 bytes, the longest 100.
fn pflog(frame: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    let (&[len, family], _) = frame.split()?;
    if !(61..=100).contains(&len) {
        return Err(Skip::NotIp);
    }
    ip_of_family(family.into(), frame.skip(usize::from(len).next_multiple_of(4))?)
}

/// `ip` if `family` is an address family of IP on any system: AF_INET is 2 everywhere, AF_INET6 is 10 on Linux,
/// 24 on OpenBSD and NetBSD, 28 on FreeBSD, 30 on Darwin.
pub(super) fn ip_of_family(family: u32, ip: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    matches!(family, 2 | 10 | 24 | 28 | 30).then_some(ip).ok_or(Skip::NotIp)
}

/// The datagram after a SLIP header.
///
/// The registry describes a header of one byte, the direction. Libpcap and the BSDs write 16 bytes: direction, and
/// the start of the packet as it was on the line, compressed (RFC 1144) or not. SLIP has no padding, so the total
/// length in the IP header shows which one it is.
fn slip(frame: PacketSlice<'_>) -> Result<PacketSlice<'_>, Skip> {
    const LONG: usize = 16;
    const SHORT: usize = 1;
    match frame.skip(SHORT) {
        Ok(ip) if is_whole_datagram(ip) && !frame.skip(LONG).is_ok_and(is_whole_datagram) => Ok(ip),
        _ => frame.skip(LONG),
    }
}

/// Whether the length in the IP header is that of the slice.
fn is_whole_datagram(ip: PacketSlice<'_>) -> bool {
    match *ip.bytes {
        [0x45..=0x4f, _, l0, l1, ..] => u32::from(u16::from_be_bytes([l0, l1])) == ip.sent(),
        [0x60..=0x6f, _, _, _, l0, l1, ..] => {
            u32::from(u16::from_be_bytes([l0, l1])) + 40 == ip.sent()
        }
        _ => false,
    }
}

/// Reads the metadata of Juniper routers: "MGC", flags, and extensions if there is a flag for them. With another flag,
/// the link header was removed, and 4 bytes with a protocol precede the datagram.
///
/// `None` if the link type does not belong to Juniper. The link headers after the metadata are public for those
/// types alone whose names the registry explains.
fn juniper(
    link: LinkType,
    frame: PacketSlice<'_>,
) -> Result<Option<(LinkType, PacketSlice<'_>)>, Skip> {
    const NO_LINK_HEADER: u8 = 0x02;
    const EXTENSIONS: u8 = 0x80;
    const PROTOCOL: usize = 4;
    let inner = match link {
        LinkType::JUNIPER_ETHER | LinkType::JUNIPER_PPPOE => Some(LinkType::ETHERNET),
        LinkType::JUNIPER_PPP => Some(LinkType::PPP),
        LinkType::JUNIPER_FRELAY => Some(LinkType::FRELAY),
        LinkType::JUNIPER_CHDLC => Some(LinkType::C_HDLC),
        LinkType::JUNIPER_MLPPP
        | LinkType::JUNIPER_MLFR
        | LinkType::JUNIPER_ES
        | LinkType::JUNIPER_GGSN
        | LinkType::JUNIPER_MFR
        | LinkType::JUNIPER_ATM2
        | LinkType::JUNIPER_SERVICES
        | LinkType::JUNIPER_ATM1
        | LinkType::JUNIPER_MONITOR
        | LinkType::JUNIPER_PPPOE_ATM
        | LinkType::JUNIPER_VP
        | LinkType::JUNIPER_ISM
        | LinkType::JUNIPER_ST
        | LinkType::JUNIPER_VS
        | LinkType::JUNIPER_SRX_E2E
        | LinkType::JUNIPER_FIBRECHANNEL
        | LinkType::JUNIPER_ATM_CEMIC => None,
        _ => return Ok(None),
    };
    let (&[b'M', b'G', b'C', flags], mut rest) = frame.split()? else {
        return Err(Skip::Unsupported(link));
    };
    if flags & EXTENSIONS != 0 {
        let (&len, after) = rest.split()?;
        rest = after.skip(u16::from_be_bytes(len).into())?;
    }
    if flags & NO_LINK_HEADER != 0 {
        return Ok(Some((LinkType::RAW, rest.skip(PROTOCOL)?)));
    }
    inner.map(|inner| Some((inner, rest))).ok_or(Skip::Unsupported(link))
}

/// A small number in the unknown byte order of the capturing host: the lesser of the two interpretations.
pub(super) fn u32_either_order(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes).min(u32::from_be_bytes(bytes))
}

/// The least and the greatest number of a link type of Juniper; types of others lie between.
const JUNIPER_FIRST: u16 = LinkType::JUNIPER_MLPPP.0;
const JUNIPER_LAST: u16 = LinkType::JUNIPER_ATM_CEMIC.0;

const NETANALYZER_LEN: usize = 4;
const ETHERNET_PREAMBLE: usize = 8; // with the start of frame delimiter
const BROADCOM_TAG: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::samples::{self, request};
    use super::super::{Counters, Decoded};
    use super::*;

    /// The counters after one frame, which must not contain a segment.
    fn skipped(link: LinkType, bytes: &[u8]) -> Counters {
        let mut decoder = samples::decoder();
        let frame = samples::frame(link, bytes);
        assert!(matches!(decoder.decode(&frame), Decoded::Other), "{link}: {bytes:02x?}");
        decoder.counters()
    }

    #[test]
    fn an_unsupported_type_inside_is_counted_by_its_number_and_no_header_contains_itself() {
        let mut pktap = [0; 120];
        (pktap[0], pktap[4]) = (108, 1);
        for (inner, counted) in [(195, 195), (3, 3), (2, 2), (149, 258), (192, 258)] {
            pktap[8] = inner;
            let counters = skipped(LinkType::PKTAP, &pktap);
            assert_eq!(counters.unsupported, [(LinkType(counted), 1)].into(), "{inner}");
        }
        for (inner, counted) in [(195, 195), (149, 192), (192, 192)] {
            let counters = skipped(LinkType::PPI, &[0, 0, 8, 0, inner, 0, 0, 0, 0, 0]);
            assert_eq!(counters.unsupported, [(LinkType(counted), 1)].into(), "{inner}");
        }
    }

    #[test]
    fn juniper_headers_that_are_not_public_are_unsupported_and_datagrams_without_them_are_read() {
        let metadata = |flags| [&[b'M', b'G', b'C', flags, 0, 0, 0, 2], &request()[..]].concat();
        for link in [130, 131, 133, 134, 135, 136, 137, 164, 168, 183, 194, 200, 232, 233, 234, 238]
        {
            let link = LinkType(link);
            assert_eq!(skipped(link, &metadata(1)).unsupported, [(link, 1)].into());
            assert!(samples::segment_in(link, &metadata(3)).is_some(), "{link}");
        }
        let no_magic = [&[0; 8], &request()[..]].concat();
        let counters = skipped(LinkType::JUNIPER_ETHER, &no_magic);
        assert_eq!(counters.unsupported, [(LinkType::JUNIPER_ETHER, 1)].into());
        // Numbers between those of Juniper.
        for link in [150, 184, 193, 218] {
            assert_eq!(
                skipped(LinkType(link), &no_magic).unsupported,
                [(LinkType(link), 1)].into()
            );
        }
    }

    #[test]
    fn a_log_message_without_a_packet_and_other_address_families_are_no_ip() {
        let prefix = [2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 1, 0];
        assert_eq!(skipped(LinkType::NFLOG, &prefix).malformed, 1, "no attribute is the packet");
        let endless = [&prefix[..4], &[3, 0, 1, 0].repeat(9)].concat();
        assert_eq!(skipped(LinkType::NFLOG, &endless).malformed, 1, "shorter than its own header");
        let ipnet = [&[2, 27][..], &[0; 22], &request()].concat();
        assert_eq!(skipped(LinkType::IPNET, &ipnet).not_ip, 1);
        let enc = [&[0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0][..], &request()].concat();
        assert_eq!(skipped(LinkType::ENC, &enc).not_ip, 1);
        let compressed = [&[0, 0x80][..], &[0; 14], &[0x70, 1, 2, 3]].concat();
        assert_eq!(skipped(LinkType::SLIP, &compressed).not_ip, 1);
    }
}
