//! Stage 2, third step: tunnels over IP.
//!
//! In: the payload of a datagram and its protocol. Out: the slice that begins with the inner IP header;
//! the tunnel and the tags inside it are pushed as layers. `None` if the payload is not one of the tunnels
//! below. WireGuard and ESP are encrypted and cannot be read.

use etherparse::{IpNumber, ip_number};

use super::Layer;
use super::link::{ether_type, ip_after, ip_in_ethernet};
use super::slice::{PacketSlice, Skip};

/// The IP datagram inside a tunnel that `payload` begins.
pub(super) fn ip_in_tunnel<'a>(
    protocol: IpNumber,
    payload: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<Option<PacketSlice<'a>>, Skip> {
    match protocol {
        ip_number::IPV4 | ip_number::IPV6 => {
            layers.push(Layer::IpInIp);
            Ok(Some(payload))
        }
        ip_number::GRE => gre(payload, layers),
        ip_number::UDP => {
            // source port, destination port, length, checksum
            let (&[_, _, p0, p1, l0, l1, _, _], _) = payload.split()?;
            let datagram = match u16::from_be_bytes([l0, l1]) {
                0..UDP_HEADER => payload, // 0: longer than the field can hold (RFC 2675, section 4)
                len => payload.limit(len.into()),
            };
            let body = datagram.skip(UDP_HEADER.into())?;
            match u16::from_be_bytes([p0, p1]) {
                GTP_U => gtp_u(body, layers),
                VXLAN | VXLAN_OF_LINUX => vxlan(body, layers),
                GENEVE => geneve(body, layers),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// Whether a UDP destination port is that of one of the tunnels above.
pub(super) const fn is_tunnel(port: u16) -> bool {
    matches!(port, GTP_U | VXLAN | VXLAN_OF_LINUX | GENEVE)
}

/// GRE (RFC 2784) with key and sequence number (RFC 2890), and NVGRE (RFC 7637), which has Ethernet in GRE with a
/// key and nothing else.
///
/// ```text
///    2        2            4                4       4
/// | flags | protocol | [checksum, 0] | [key] | [sequence] |
/// ```
fn gre<'a>(
    packet: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<Option<PacketSlice<'a>>, Skip> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000; // RFC 1701, removed by RFC 2784
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    let (&[f0, f1, p0, p1], mut rest) = packet.split()?;
    let flags = u16::from_be_bytes([f0, f1]);
    let protocol = u16::from_be_bytes([p0, p1]);
    if flags & (ROUTING | VERSION) != 0 {
        return Ok(None);
    }
    if flags & CHECKSUM != 0 {
        rest = rest.skip(4)?;
    }
    let mut key = None;
    if flags & KEY != 0 {
        let (bytes, after_key) = rest.split()?;
        (key, rest) = (Some(u32::from_be_bytes(*bytes)), after_key);
    }
    if flags & SEQUENCE != 0 {
        rest = rest.skip(4)?;
    }
    layers.push(match key {
        // Virtual subnet in 24 bits, flow in 8; neither checksum nor sequence number.
        Some(key) if protocol == ether_type::ETHERNET && flags & (CHECKSUM | SEQUENCE) == 0 => {
            Layer::Nvgre(key >> 8)
        }
        key => Layer::Gre(key),
    });
    ip_in_payload(protocol, rest, layers).map(Some)
}

/// VXLAN (RFC 7348, section 5).
///
/// ```text
///     1         3       3        1
/// | flags | reserved | VNI | reserved | Ethernet frame
/// ```
fn vxlan<'a>(
    packet: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<Option<PacketSlice<'a>>, Skip> {
    const VALID_VNI: u8 = 0x08;
    let (&[flags, _, _, _, v0, v1, v2, _], frame) = packet.split()?;
    if flags & VALID_VNI == 0 {
        return Ok(None);
    }
    layers.push(Layer::Vxlan(u32::from_be_bytes([0, v0, v1, v2])));
    ip_in_ethernet(frame, layers).map(Some)
}

/// GENEVE (RFC 8926, section 3.4).
///
/// ```text
///        1           1        2       3       1
/// | ver, optlen | flags | protocol | VNI | reserved | options | payload
/// ```
fn geneve<'a>(
    packet: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<Option<PacketSlice<'a>>, Skip> {
    let (&[lengths, _, p0, p1, v0, v1, v2, _], rest) = packet.split()?;
    if lengths >> 6 != 0 {
        return Ok(None); // version
    }
    let options = usize::from(lengths & 0x3f).saturating_mul(4);
    layers.push(Layer::Geneve(u32::from_be_bytes([0, v0, v1, v2])));
    ip_in_payload(u16::from_be_bytes([p0, p1]), rest.skip(options)?, layers).map(Some)
}

/// GTP-U, version 1 (3GPP TS 29.281, section 5).
///
/// ```text
///     1       1        2       4          2              1             1
/// | flags | type | length | TEID | [sequence number | N-PDU number | next type] | extensions | IP
/// ```
///
/// The fields in brackets are present if any of the flags E, S and PN is set; `length` counts the bytes after
/// TEID.
fn gtp_u<'a>(
    packet: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<Option<PacketSlice<'a>>, Skip> {
    const VERSION_1_GTP: u8 = 0x30;
    const G_PDU: u8 = 255;
    let (&[flags, kind, l0, l1, t0, t1, t2, t3], rest) = packet.split()?;
    if flags & 0xf0 != VERSION_1_GTP || kind != G_PDU {
        return Ok(None);
    }
    let mut rest = rest.limit(u16::from_be_bytes([l0, l1]).into());
    if flags & 0x07 != 0 {
        let (&[_, _, _, next], extensions) = rest.split()?;
        rest = extensions;
        // The next type is defined only if the flag E is set.
        let mut next = if flags & 0x04 != 0 { next } else { 0 };
        while next != 0 {
            // Length in units of 4 bytes, including itself and the next type, which is the last byte.
            let (&[units], _) = rest.split()?;
            let len = usize::from(units).saturating_mul(4);
            let last = len.checked_sub(1).ok_or(Skip::Malformed)?;
            next = *rest.bytes.get(last).ok_or_else(|| rest.too_short())?;
            rest = rest.skip(len)?;
        }
    }
    layers.push(Layer::GtpU(u32::from_be_bytes([t0, t1, t2, t3])));
    Ok(Some(rest))
}

/// The IP datagram in the payload of a tunnel, whose type is an EtherType.
fn ip_in_payload<'a>(
    kind: u16,
    slice: PacketSlice<'a>,
    layers: &mut Vec<Layer>,
) -> Result<PacketSlice<'a>, Skip> {
    match kind {
        ether_type::ETHERNET => ip_in_ethernet(slice, layers),
        0..ether_type::FIRST => Err(Skip::NotIp), // no EtherType, and no length either
        kind => ip_after(kind, slice, layers),
    }
}

const UDP_HEADER: u16 = 8;

/// UDP ports as IANA assigned them.
const GTP_U: u16 = 2152;
const VXLAN: u16 = 4789;
const VXLAN_OF_LINUX: u16 = 8472; // used by Linux before IANA assigned a port
const GENEVE: u16 = 6081;

#[cfg(test)]
mod tests {
    use super::super::samples::{self, NAMES_REQ, ethernet, frame, ipv4, request, segment_in, udp};
    use crate::capture::LinkType;
    use crate::limits::TUNNELS;

    #[test]
    fn the_segment_is_found_in_every_tunnel() {
        for sample in samples::tunnels() {
            let seen = segment_in(sample.link, &sample.frame).expect(sample.name);
            assert_eq!((&seen.payload[..], seen.missing), (NAMES_REQ, 0), "{}", sample.name);
            assert_eq!(seen.layers, sample.layers, "{}", sample.name);
        }
    }

    #[test]
    fn no_more_tunnels_are_decoded_than_the_bound_allows() {
        let nested = |depth| (0..depth).fold(request(), |inner, _| ipv4(4, &inner));
        let seen = segment_in(LinkType::RAW, &nested(TUNNELS)).unwrap();
        assert_eq!(seen.layers, vec!["ipip"; TUNNELS]);

        let mut decoder = samples::decoder();
        decoder.decode(&frame(LinkType::RAW, &nested(TUNNELS + 1)));
        assert_eq!(decoder.counters().too_deep, 1);
    }

    #[test]
    fn a_datagram_to_the_port_of_a_tunnel_without_its_header_is_no_tunnel() {
        let frame_in = ethernet(0x0800, &request());
        let bodies: [(u16, &[u8]); 4] = [
            (4789, &[0x00, 0, 0, 0, 0, 0, 0x2a, 0]),    // no VNI
            (6081, &[0x40, 0, 0x65, 0x58, 0, 0, 7, 0]), // version 1
            (2152, &[0x30, 0x01, 0, 4, 0, 0, 0, 9]),    // echo request
            (51820, &[0x04, 0, 0, 0, 0, 0, 0, 0]),      // WireGuard
        ];
        for (port, header) in bodies {
            let datagram = ipv4(17, &udp(port, &[header, &frame_in].concat()));
            assert_eq!(segment_in(LinkType::RAW, &datagram), None, "port {port}");
        }
    }

    #[test]
    fn a_gtp_extension_of_length_zero_is_malformed() {
        let header = [0x34, 0xff, 0x00, 0x40, 0, 0, 0, 9, 0, 0, 0, 0x85, 0x00, 0x85, 0x85, 0x85];
        let datagram = ipv4(17, &udp(2152, &[&header, &request()[..]].concat()));
        let mut decoder = samples::decoder();
        decoder.decode(&frame(LinkType::RAW, &datagram));
        assert_eq!(decoder.counters().malformed, 1);
    }
}
