//! Frames for the tests of stage 2: one EPMD request in every link header and tunnel.

use super::{Decoded, Decoder, Endpoint, FlowKey, Segment, TcpFlags};
use crate::capture::{Frame, LinkType};
use crate::limits::DefragLimits;
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// The message `NAMES_REQ` to EPMD.
pub(super) const NAMES_REQ: &[u8] = &[0x00, 0x01, b'n'];

/// A frame, and the layers that decoding it must give.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) link: LinkType,
    pub(super) frame: Vec<u8>,
    pub(super) layers: &'static [&'static str],
}

/// A copy of the fields of a segment that tests compare.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Seen {
    pub(super) src: String,
    pub(super) dst: String,
    pub(super) payload: Vec<u8>,
    pub(super) missing: u32,
    pub(super) layers: Vec<String>,
}

impl Segment<'static> {
    /// An empty segment without flags; a test sets the fields that it is about.
    pub(crate) fn between(src: Endpoint, dst: Endpoint) -> Self {
        let (flow, direction) = FlowKey::new(src, dst);
        Self {
            frame: FrameRef::default(),
            at: Timestamp::default(),
            flow,
            direction,
            seq: 0,
            ack: 0,
            flags: TcpFlags(0),
            window: 1000,
            ip_id: None,
            ttl: 0,
            ip_header: &[],
            header: &[],
            payload: &[],
            missing: 0,
            layers: &[],
        }
    }
}

impl From<Segment<'_>> for Seen {
    fn from(segment: Segment<'_>) -> Self {
        Self {
            src: format!("{} {}", segment.src().ip, segment.src().port),
            dst: format!("{} {}", segment.dst().ip, segment.dst().port),
            payload: segment.payload.to_vec(),
            missing: segment.missing,
            layers: segment.layers.iter().map(ToString::to_string).collect(),
        }
    }
}

pub(super) fn decoder() -> Decoder {
    Decoder::new(DefragLimits::default())
}

/// A frame of `bytes` that the snaplen did not truncate.
pub(super) fn frame(link: LinkType, bytes: &[u8]) -> Frame<'_> {
    let id = FrameRef { input: 0, number: 1 };
    let wire_len = bytes.len().try_into().unwrap();
    Frame { id, at: Timestamp(0), link, interface: None, wire_len, bytes, comments: &[] }
}

/// The segment in `bytes`, decoded by a new decoder.
pub(super) fn segment_in(link: LinkType, bytes: &[u8]) -> Option<Seen> {
    match decoder().decode(&frame(link, bytes)) {
        Decoded::Tcp(segment) => Some(segment.into()),
        _ => None,
    }
}

#[rustfmt::skip]
pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    let header = [
        0x9c, 0x40,             // source port 40000
        0x11, 0x11,             // destination port 4369
        0x01, 0x02, 0x03, 0x04, // sequence number
        0x05, 0x06, 0x07, 0x08, // acknowledgement number
        0x80, 0x18,             // data offset 8 words; PSH, ACK
        0x02, 0x00,             // window
        0xba, 0xad,             // checksum, wrong as before offload
        0x00, 0x00,             // urgent pointer
        0x01, 0x01,             // no operation, twice
        0x08, 0x0a, 0, 0, 0, 1, 0, 0, 0, 2, // time stamps
    ];
    [&header, payload].concat()
}

#[rustfmt::skip]
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header = [
        0x45, 0x00,      // version 4, header of 5 words
        l0, l1,          // total length
        0xca, 0xfe,      // identification
        0x40, 0x00,      // do not fragment
        0x40, protocol,  // time to live
        0x00, 0x00,      // checksum, wrong
        192, 168, 0, 100,
        192, 168, 0, 103,
    ];
    [&header, payload].concat()
}

#[rustfmt::skip]
pub(super) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [
        0x60, 0x00, 0x00, 0x00, // version 6, traffic class, flow label
        l0, l1,                 // payload length
        next_header, 0x40,      // hop limit
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01,
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02,
    ];
    [&header, payload].concat()
}

pub(super) fn udp(dst: u16, payload: &[u8]) -> Vec<u8> {
    let [p0, p1] = dst.to_be_bytes();
    let [l0, l1] = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    [&[0xd0, 0x00, p0, p1, l0, l1, 0x00, 0x00], payload].concat()
}

pub(super) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    [&[0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01], &kind.to_be_bytes()[..], payload].concat()
}

/// The request in IPv4: 20 + 32 + 3 bytes, 0x37 in all.
pub(super) fn request() -> Vec<u8> {
    ipv4(6, &tcp(NAMES_REQ))
}

pub(super) fn request_v6() -> Vec<u8> {
    ipv6(6, &tcp(NAMES_REQ))
}

/// The request after every link header that the decoder reads.
#[rustfmt::skip]
pub(super) fn links() -> Vec<Sample> {
    const MACS: &[u8] = &[0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01];
    const SNAP: &[u8] = &[
        0xaa, 0xaa, 0x03, // LLC: SNAP, unnumbered information (RFC 1042)
        0x00, 0x00, 0x00, // organisation: encapsulated Ethernet
        0x08, 0x00,       // IPv4
    ];
    let with = |name, link, header: &[&[u8]], layers| {
        Sample { name, link, frame: [&header.concat()[..], &request()].concat(), layers }
    };
    let with_v6 = |name, link, header: &[&[u8]]| {
        let frame = [&header.concat()[..], &request_v6()].concat();
        Sample { name, link, frame, layers: &[] }
    };
    const WIRELESS: &[u8] = &[
        0x08, 0x01, 0x00, 0x00, // data, to the distribution system; duration
        0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x03,
        0x10, 0x00,             // sequence 1, fragment 0
    ];
    const MARVELL_7: &[u8] = &[
        0x20, 0x08, // to the CPU, was tagged, device 0; port 1
        0x60, 0x07, // priority 3, VLAN 7
    ];
    const Q922: &[u8] = &[0x18, 0x41]; // DLCI 100
    const JUNIPER: &[u8] = &[b'M', b'G', b'C', 0x01]; // incoming, with link header
    let mut pktap = [0; 108];
    pktap[0] = 108;             // length of this header, little-endian
    pktap[4] = 1;               // a packet follows
    pktap[8] = 1;               // link type of it: Ethernet
    vec![
        with("Ethernet", LinkType::ETHERNET, &[MACS, &[0x08, 0x00]], &[]),
        with_v6("Ethernet", LinkType::ETHERNET, &[MACS, &[0x86, 0xdd]]),
        with("802.1Q", LinkType::ETHERNET, &[
            MACS, &[0x81, 0x00],
            &[0xe0, 0x07,       // priority 7, VLAN 7
              0x08, 0x00],
        ], &["vlan 7"]),
        with("802.1ad, three tags", LinkType::ETHERNET, &[
            MACS, &[0x88, 0xa8],
            &[0x00, 0x64, 0x91, 0x00],
            &[0x00, 0x65, 0x81, 0x00],
            &[0x0f, 0xff, 0x08, 0x00],
        ], &["vlan 100", "vlan 101", "vlan 4095"]),
        with("MPLS, two labels (RFC 3032)", LinkType::ETHERNET, &[
            MACS, &[0x88, 0x47],
            &[0x00, 0x06, 0x40, 0x40], // label 100
            &[0x00, 0x01, 0x01, 0x40], // label 16, bottom of stack
        ], &["mpls 100", "mpls 16"]),
        with("PPPoE (RFC 2516)", LinkType::ETHERNET, &[
            MACS, &[0x88, 0x64],
            &[0x11, 0x00,       // version 1, type 1, session data
              0x00, 0x09,       // session
              0x00, 0x39,       // length: PPP protocol and datagram
              0x00, 0x21],      // IPv4
        ], &["pppoe 9"]),
        with("802.3 with SNAP", LinkType::ETHERNET, &[MACS, &[0x00, 0x3f], SNAP], &[]),
        with("802.3 with the LLC of IP", LinkType::ETHERNET, &[
            MACS, &[0x00, 0x3a], &[0x06, 0x06, 0x03],
        ], &[]),
        with("802.1Q in 802.3", LinkType::ETHERNET, &[
            MACS, &[0x81, 0x00], &[0x00, 0x07, 0x00, 0x3f], SNAP,
        ], &["vlan 7"]),
        with("Linux cooked", LinkType::LINUX_SLL, &[
            &[0x00, 0x04,       // sent by the capturing host
              0x00, 0x01,       // ARPHRD_ETHER
              0x00, 0x06, 0x02, 0, 0, 0, 0, 0x01, 0, 0, // address
              0x08, 0x00],      // protocol
        ], &[]),
        with("Linux cooked, SNAP", LinkType::LINUX_SLL, &[
            &[0x00, 0x00, 0x00, 0x01, 0x00, 0x06, 0x02, 0, 0, 0, 0, 0x01, 0, 0, 0x00, 0x04], SNAP,
        ], &[]),
        with("Linux cooked, 802.1Q", LinkType::LINUX_SLL, &[
            &[0x00, 0x00, 0x00, 0x01, 0x00, 0x06, 0x02, 0, 0, 0, 0, 0x01, 0, 0, 0x81, 0x00],
            &[0x00, 0x07, 0x08, 0x00],
        ], &["vlan 7"]),
        with("Linux cooked 2", LinkType::LINUX_SLL2, &[
            &[0x08, 0x00,       // protocol
              0x00, 0x00,       // reserved
              0x00, 0x00, 0x00, 0x02, // interface index
              0x00, 0x01,       // ARPHRD_ETHER
              0x04, 0x06, 0x02, 0, 0, 0, 0, 0x01, 0, 0], // sent by the capturing host, address
        ], &[]),
        with("null, little-endian", LinkType::NULL, &[&[2, 0, 0, 0]], &[]),
        with("null, big-endian", LinkType::NULL, &[&[0, 0, 0, 2]], &[]),
        with_v6("null, Linux", LinkType::NULL, &[&[10, 0, 0, 0]]),
        with_v6("null, OpenBSD", LinkType::NULL, &[&[0, 0, 0, 24]]),
        with_v6("null, FreeBSD", LinkType::NULL, &[&[28, 0, 0, 0]]),
        with_v6("null, Darwin", LinkType::NULL, &[&[30, 0, 0, 0]]),
        with("loop", LinkType::LOOP, &[&[0, 0, 0, 2]], &[]),
        with("raw", LinkType::RAW, &[], &[]),
        with_v6("raw", LinkType::RAW, &[]),
        with("raw, as DLT_RAW", LinkType::DLT_RAW, &[], &[]),
        with("raw, OpenBSD's", LinkType::DLT_RAW_OPENBSD, &[], &[]),
        with("IPv4", LinkType::IPV4, &[], &[]),
        with_v6("IPv6", LinkType::IPV6, &[]),
        with("PPP", LinkType::PPP, &[&[0x00, 0x21]], &[]),
        with_v6("PPP, compressed protocol (RFC 1661)", LinkType::PPP, &[&[0x57]]),
        with("PPP in HDLC framing (RFC 1662)", LinkType::PPP_HDLC, &[
            &[0xff, 0x03,       // all stations, unnumbered information
              0x00, 0x21],
        ], &[]),
        with("PPP, MPLS", LinkType::PPP, &[&[0x02, 0x81], &[0x00, 0x01, 0x01, 0x40]], &["mpls 16"]),
        with("Cisco HDLC", LinkType::C_HDLC, &[&[0x0f, 0x00, 0x08, 0x00]], &[]),
        with("PKTAP", LinkType::PKTAP, &[&pktap, MACS, &[0x08, 0x00]], &[]),
        with("PKTAP under USER2", LinkType::USER2, &[&pktap, MACS, &[0x08, 0x00]], &[]),
        with("PPP, direction (pppd)", LinkType::PPP_PPPD, &[&[0x01, 0x03, 0x00, 0x21]], &[]),
        with("PPP with direction", LinkType::PPP_WITH_DIR, &[&[0x01, 0xff, 0x03, 0x00, 0x21]], &[]),
        with("Cisco HDLC with direction", LinkType::C_HDLC_WITH_DIR, &[
            &[0x00, 0x0f, 0x00, 0x08, 0x00],
        ], &[]),
        with("PPPoE without Ethernet", LinkType::PPP_ETHER, &[
            &[0x11, 0x00, 0x00, 0x09, 0x00, 0x39, 0x00, 0x21],
        ], &["pppoe 9"]),
        with("MPLS", LinkType::MPLS, &[&[0x00, 0x06, 0x40, 0x40, 0x00, 0x01, 0x01, 0x40]], &["mpls 100", "mpls 16"]),
        with("frame relay (RFC 2427)", LinkType::FRELAY, &[Q922, &[0x03, 0xcc]], &[]),
        with_v6("frame relay", LinkType::FRELAY, &[Q922, &[0x03, 0x8e]]),
        with("frame relay, four bytes of address, padding", LinkType::FRELAY, &[
            &[0x18, 0x40, 0x02, 0x01, 0x03, 0x00, 0xcc],
        ], &[]),
        with("frame relay, SNAP", LinkType::FRELAY, &[
            Q922, &[0x03, 0x00, 0x80, 0x00, 0x00, 0x00, 0x08, 0x00],
        ], &[]),
        with("frame relay, bridged Ethernet", LinkType::FRELAY, &[
            Q922, &[0x03, 0x00, 0x80, 0x00, 0x80, 0xc2, 0x00, 0x07], MACS, &[0x81, 0x00, 0x00, 0x07, 0x08, 0x00],
        ], &["vlan 7"]),
        with("frame relay, PPP (RFC 1973)", LinkType::FRELAY, &[Q922, &[0x03, 0xcf, 0x00, 0x21]], &[]),
        with("frame relay, Cisco", LinkType::FRELAY, &[Q922, &[0x08, 0x00]], &[]),
        with("frame relay with direction", LinkType::FRELAY_WITH_DIR, &[&[0x01], Q922, &[0x03, 0xcc]], &[]),
        with("SLIP, direction", LinkType::SLIP, &[&[0x01]], &[]),
        with_v6("SLIP, direction", LinkType::SLIP, &[&[0x00]]),
        with("SLIP, direction and start of the packet", LinkType::SLIP, &[
            &[0x00, 0x45, 0x00, 0x00, 0x37, 0xca, 0xfe, 0x40, 0x00, 0x40, 0x06, 0, 0, 0, 0, 0],
        ], &[]),
        with("ATM, LLC (RFC 2684)", LinkType::ATM_RFC1483, &[SNAP], &[]),
        with("ATM, LLC, protocol identifier", LinkType::ATM_RFC1483, &[&[0xfe, 0xfe, 0x03, 0xcc]], &[]),
        with("ATM, bridged Ethernet", LinkType::ATM_RFC1483, &[
            &[0xaa, 0xaa, 0x03, 0x00, 0x80, 0xc2, 0x00, 0x07, 0x00, 0x00], MACS, &[0x08, 0x00],
        ], &[]),
        with("SunATM, LLC", LinkType::SUNATM, &[&[0x82, 0x00, 0x00, 0x64], SNAP], &[]),
        with("SunATM, emulated LAN", LinkType::SUNATM, &[
            &[0x01, 0x00, 0x00, 0x64, 0x00, 0x01], MACS, &[0x08, 0x00],
        ], &[]),
        with("FDDI", LinkType::FDDI, &[&[0x50], MACS, SNAP], &[]),
        with("Token Ring", LinkType::IEEE802_5, &[&[0x10, 0x40], MACS, SNAP], &[]),
        with("Token Ring, route", LinkType::IEEE802_5, &[
            &[0x10, 0x40, 0x02, 0, 0, 0, 0, 0x02, 0x82, 0, 0, 0, 0, 0x01],
            &[0x06, 0x30, 0x00, 0x11, 0x00, 0x20], // length 6, two segments
            SNAP,
        ], &[]),
        with("IP over Fibre Channel (RFC 4338)", LinkType::IP_OVER_FC, &[
            &[0x10, 0, 0x02, 0, 0, 0, 0, 0x02, 0x10, 0, 0x02, 0, 0, 0, 0, 0x01], SNAP,
        ], &[]),
        with("IEEE 1394, Darwin", LinkType::APPLE_IP_OVER_IEEE1394, &[&[0; 16], &[0x08, 0x00]], &[]),
        with("IP over InfiniBand (RFC 4391)", LinkType::IPOIB, &[&[0x08, 0x00, 0x00, 0x00]], &[]),
        with_v6("IP over InfiniBand", LinkType::IPOIB, &[&[0x86, 0xdd, 0x00, 0x00]]),
        with("IP over InfiniBand, unicast", LinkType::IPOIB, &[&[0; 40], &[0x08, 0x00, 0x00, 0x00]], &[]),
        with_v6("IP over InfiniBand, global route header", LinkType::IPOIB, &[
            &[0x60], &[0; 39], &[0x86, 0xdd, 0x00, 0x00],
        ]),
        with("enc, little-endian", LinkType::ENC, &[&[2, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0]], &[]),
        with_v6("enc, big-endian", LinkType::ENC, &[&[0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 4, 0]]),
        with("pflog", LinkType::PFLOG, &[&[61, 2, 0, 0], &[0; 60]], &[]),
        with_v6("pflog, OpenBSD", LinkType::PFLOG, &[&[100, 24, 0, 0], &[0; 96]]),
        with("ipnet", LinkType::IPNET, &[
            &[2, 2, 0x00, 0x02],      // version 2, AF_INET; between zones
            &[0x00, 0x00, 0x00, 0x37], // length of the datagram
            &[0; 16],                 // interfaces and zones
        ], &[]),
        with_v6("ipnet", LinkType::IPNET, &[&[2, 26, 0, 0, 0, 0, 0, 0x4b], &[0; 16]]),
        with("NFLOG, little-endian", LinkType::NFLOG, &[
            &[2, 0, 0x00, 0x05],      // AF_INET, version 0; group 5
            &[8, 0, 1, 0, 0x08, 0x00, 0x03, 0x00], // packet header: IPv4, hook
            &[6, 0, 10, 0, b'x', 0, 0, 0], // prefix "x", padded
            &[59, 0, 9, 0],           // the packet
        ], &[]),
        with("NFLOG, big-endian", LinkType::NFLOG, &[
            &[2, 0, 0x00, 0x05],
            &[0, 8, 0, 1, 0x08, 0x00, 0x03, 0x00],
            &[0, 59, 0, 9],
        ], &[]),
        with_v6("NFLOG", LinkType::NFLOG, &[&[10, 0, 0, 0, 79, 0, 9, 0]]),
        with("Broadcom tag", LinkType::DSA_TAG_BRCM, &[MACS, &[0x00, 0x00, 0x04, 0x01, 0x08, 0x00]], &[]),
        with("Broadcom tag before Ethernet", LinkType::DSA_TAG_BRCM_PREPEND, &[
            &[0x00, 0x00, 0x04, 0x01], MACS, &[0x81, 0x00, 0x00, 0x07, 0x08, 0x00],
        ], &["vlan 7"]),
        with("Marvell tag", LinkType::DSA_TAG_DSA, &[MACS, &[0x40, 0x08, 0x00, 0x00], &[0x08, 0x00]], &[]),
        with("Marvell tag in place of a VLAN tag", LinkType::DSA_TAG_DSA, &[MACS, MARVELL_7, &[0x08, 0x00]], &["vlan 7"]),
        with("Marvell tag with EtherType", LinkType::DSA_TAG_EDSA, &[
            MACS, &[0xda, 0xda, 0x00, 0x00], MARVELL_7, &[0x08, 0x00],
        ], &["vlan 7"]),
        with("Marvell tag with EtherType, as Ethernet", LinkType::ETHERNET, &[
            MACS, &[0xda, 0xda, 0x00, 0x00], MARVELL_7, &[0x08, 0x00],
        ], &["vlan 7"]),
        with("netANALYZER", LinkType::NETANALYZER, &[&[0, 0, 0, 0], MACS, &[0x08, 0x00]], &[]),
        with("netANALYZER, transparent", LinkType::NETANALYZER_TRANSPARENT, &[
            &[0, 0, 0, 0, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xd5], MACS, &[0x08, 0x00],
        ], &[]),
        with("Juniper, Ethernet", LinkType::JUNIPER_ETHER, &[JUNIPER, MACS, &[0x08, 0x00]], &[]),
        with("Juniper, Ethernet, extensions", LinkType::JUNIPER_ETHER, &[
            &[b'M', b'G', b'C', 0x81, 0x00, 0x06], // incoming, extensions of 6 bytes
            &[0x03, 0x01, 0x01, 0x06, 0x01, 0x0e], // media type and encapsulation: Ethernet
            MACS, &[0x08, 0x00],
        ], &[]),
        with("Juniper, PPPoE", LinkType::JUNIPER_PPPOE, &[
            JUNIPER, MACS, &[0x88, 0x64, 0x11, 0x00, 0x00, 0x09, 0x00, 0x39, 0x00, 0x21],
        ], &["pppoe 9"]),
        with("Juniper, PPP", LinkType::JUNIPER_PPP, &[JUNIPER, &[0x00, 0x21]], &[]),
        with("Juniper, frame relay", LinkType::JUNIPER_FRELAY, &[JUNIPER, Q922, &[0x03, 0xcc]], &[]),
        with("Juniper, Cisco HDLC", LinkType::JUNIPER_CHDLC, &[JUNIPER, &[0x0f, 0x00, 0x08, 0x00]], &[]),
        with("Juniper, without link header", LinkType::JUNIPER_ATM2, &[
            &[b'M', b'G', b'C', 0x02, 0x00, 0x00, 0x00, 0x02],
        ], &[]),
        with("PPI, Ethernet", LinkType::PPI, &[&[0, 0, 8, 0, 1, 0, 0, 0], MACS, &[0x08, 0x00]], &[]),
        with("PPI, 802.11", LinkType::PPI, &[
            &[0, 0, 16, 0, 105, 0, 0, 0], // length 16, link type
            &[2, 0, 4, 0, 0, 0, 0, 0],    // a field of 4 bytes
            WIRELESS, SNAP,
        ], &[]),
        with("PPI, radiotap", LinkType::PPI, &[
            &[0, 0, 8, 0, 127, 0, 0, 0], &[0x00, 0x00, 0x08, 0x00, 0, 0, 0, 0], WIRELESS, SNAP,
        ], &[]),
        with("Prism", LinkType::IEEE802_11_PRISM, &[
            &[0x44, 0, 0, 0, 24, 0, 0, 0], b"wlan0\0\0\0\0\0\0\0\0\0\0\0", WIRELESS, SNAP,
        ], &[]),
        with("AVS", LinkType::IEEE802_11_AVS, &[
            &[0x80, 0x21, 0x10, 0x01, 0, 0, 0, 64], &[0; 56], WIRELESS, SNAP,
        ], &[]),
        with("802.11", LinkType::IEEE802_11, &[
            &[0x08, 0x01,       // data, to the distribution system
              0x00, 0x00],      // duration
            MACS, &[0x02, 0, 0, 0, 0, 0x03],
            &[0x10, 0x00],      // sequence 1, fragment 0
            SNAP,
        ], &[]),
        with("802.11, radiotap, four addresses, QoS, HT", LinkType::IEEE802_11_RADIOTAP, &[
            &[0x00, 0x00, 0x09, 0x00, 0x02, 0, 0, 0, 0x00], // radiotap: length 9, flags
            &[0x88, 0x83,       // QoS data, from and to the distribution system, +HT control
              0x00, 0x00],
            MACS, &[0x02, 0, 0, 0, 0, 0x03],
            &[0x10, 0x00],
            &[0x02, 0, 0, 0, 0, 0x04], // address 4
            &[0x00, 0x00],      // QoS control
            &[0x00, 0x00, 0x00, 0x00], // HT control
            SNAP,
        ], &[]),
    ]
}

/// The request in every tunnel that the decoder reads.
#[rustfmt::skip]
pub(super) fn tunnels() -> Vec<Sample> {
    const GRE: u8 = 47;
    let on_ethernet = |name, datagram: Vec<u8>, layers| {
        let kind = if datagram[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        Sample { name, link: LinkType::ETHERNET, frame: ethernet(kind, &datagram), layers }
    };
    let over_gre = |name, header: &[u8], inner: &[u8], layers| {
        on_ethernet(name, ipv4(GRE, &[header, inner].concat()), layers)
    };
    let over_udp = |name, port, header: &[u8], inner: &[u8], layers| {
        on_ethernet(name, ipv4(17, &udp(port, &[header, inner].concat())), layers)
    };
    let frame = ethernet(0x0800, &request());
    let tagged = ethernet(0x8100, &[&[0x00, 0x07, 0x86, 0xdd], &request_v6()[..]].concat());
    const VXLAN_42: &[u8] = &[
        0x08, 0x00, 0x00, 0x00, // flags: I
        0x00, 0x00, 0x2a, 0x00, // VNI
    ];
    let in_vxlan = over_udp("", 4789, VXLAN_42, &frame, &[]).frame;
    vec![
        on_ethernet("IPv4 in IPv4 (RFC 2003)", ipv4(4, &request()), &["ipip"]),
        on_ethernet("IPv6 in IPv4 (RFC 4213)", ipv4(41, &request_v6()), &["ipip"]),
        on_ethernet("IPv4 in IPv6 (RFC 2473)", ipv6(4, &request()), &["ipip"]),
        on_ethernet("IPv6 in IPv6 (RFC 2473)", ipv6(41, &request_v6()), &["ipip"]),
        over_gre("GRE (RFC 2784)", &[0x00, 0x00, 0x08, 0x00], &request(), &["gre"]),
        over_gre("GRE with all it may have (RFC 2890)", &[
            0xb0, 0x00, 0x86, 0xdd, // checksum, key, sequence; IPv6
            0xba, 0xad, 0x00, 0x00, // checksum, wrong
            0x00, 0x00, 0x00, 0x05, // key
            0x00, 0x00, 0x00, 0x01, // sequence number
        ], &request_v6(), &["gre 5"]),
        over_gre("GRE, Ethernet", &[0x00, 0x00, 0x65, 0x58], &frame, &["gre"]),
        over_gre("GRE, Ethernet, key and sequence", &[
            0x30, 0x00, 0x65, 0x58, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01,
        ], &frame, &["gre 5"]),
        over_gre("NVGRE (RFC 7637)", &[
            0x20, 0x00, 0x65, 0x58,
            0x00, 0x13, 0x88, 0x07, // virtual subnet 5000, flow 7
        ], &tagged, &["nvgre 5000", "vlan 7"]),
        over_udp("VXLAN (RFC 7348)", 4789, VXLAN_42, &frame, &["vxlan 42"]),
        over_udp("VXLAN on Linux's old port", 8472, VXLAN_42, &tagged, &["vxlan 42", "vlan 7"]),
        over_udp("GENEVE (RFC 8926)", 6081, &[
            0x02, 0x00, 0x65, 0x58, // version 0, options of 2 words; Ethernet
            0x00, 0x00, 0x07, 0x00, // VNI
            0x01, 0x02, 0x00, 0x01, 0, 0, 0, 0, // one option
        ], &frame, &["geneve 7"]),
        over_udp("GENEVE, IPv4", 6081, &[
            0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x07, 0x00,
        ], &request(), &["geneve 7"]),
        over_udp("GTP-U (TS 29.281)", 2152, &[
            0x30, 0xff,             // version 1, GTP; G-PDU
            0x00, 0x37,             // length
            0x00, 0x00, 0x00, 0x09, // TEID
        ], &request(), &["gtp-u 9"]),
        over_udp("GTP-U with an extension (TS 38.415)", 2152, &[
            0x34, 0xff,             // E
            0x00, 0x3f,
            0x00, 0x00, 0x00, 0x09,
            0x00, 0x00, 0x00, 0x85, // no sequence number, no N-PDU number; PDU session container
            0x01, 0x00, 0x01, 0x00, // one word, then no more
        ], &request(), &["gtp-u 9"]),
        over_gre("VXLAN in GRE", &[0x00, 0x00, 0x65, 0x58], &in_vxlan, &["gre", "vxlan 42"]),
    ]
}
