//! Stage 2, second step: IP headers, and the TCP segments, ICMP errors and DNS responses that follow them.
//!
//! In: a slice that begins with an IP header. Out: the datagram. Checksums are not verified, and a length
//! of 0 means the rest of the frame: with offload, a capture contains packets whose checksum and length the
//! network card has yet to fill in. Fragments are reassembled in `defrag.rs`, tunnels decoded in `tunnel.rs`.

use std::net::IpAddr;

use etherparse::err::{ip_auth, ipv4, ipv6, tcp};
use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, TcpHeaderSlice, ip_number,
};

use super::slice::{PacketSlice, Skip, bytes_in};
use super::{Endpoint, FlowKey, Layer, MDNS, Segment, TcpFlags, UdpDatagram, Unreachable};
use crate::capture::Frame;

/// One IP datagram, or one fragment of it.
pub(super) struct Datagram<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// The Identification field, which only IPv4 has.
    pub(super) id: Option<u16>,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// The IPv4 header; empty for IPv6, and for what was reassembled.
    header: &'a [u8],
    /// Set if `payload` is only a fragment.
    pub(super) fragment: Option<IpFragment>,
    /// Protocol of `payload`, after all extension headers.
    pub(super) protocol: IpNumber,
    pub(super) payload: PacketSlice<'a>,
}

/// The datagram of a fragment and its position there.
#[derive(Clone, Copy, Debug)]
pub(super) struct IpFragment {
    pub(super) id: u32,
    /// Offset in bytes; the header counts units of 8.
    pub(super) offset: u16,
    pub(super) more: bool,
}

impl<'a> Datagram<'a> {
    /// Reads the header at the start of `slice`, of version 4 or 6.
    pub(super) fn read(slice: PacketSlice<'a>) -> Result<Self, Skip> {
        match slice.bytes.first().map(|first| first >> 4) {
            Some(4) => Self::read_v4(slice),
            Some(6) => Self::read_v6(slice),
            Some(_) => Err(Skip::NotIp),
            None => Err(slice.too_short()),
        }
    }

    /// The same datagram with the `payload` that was reassembled from its fragments.
    pub(super) fn reassembled(
        self,
        protocol: IpNumber,
        payload: PacketSlice<'a>,
    ) -> Result<Self, Skip> {
        let (protocol, payload, fragment) = skip_extensions(protocol, payload)?;
        Ok(Self { header: &[], fragment, protocol, payload, ..self })
    }

    fn read_v4(slice: PacketSlice<'a>) -> Result<Self, Skip> {
        let header = Ipv4HeaderSlice::from_slice(slice.bytes).map_err(|error| match error {
            ipv4::HeaderSliceError::Len(_) => slice.too_short(),
            ipv4::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let header_len = header.slice().len();
        let total_len = header.total_len();
        let whole = if usize::from(total_len) < header_len {
            slice // 0: longer than the field can hold, since the network card segments it (TSO)
        } else {
            slice.limit(total_len.into())
        };
        let payload = whole.skip(header_len)?;
        let (protocol, payload, fragment) = if header.is_fragmenting_payload() {
            let fragment = IpFragment {
                id: header.identification().into(),
                offset: header.fragments_offset().byte_offset(),
                more: header.more_fragments(),
            };
            (header.protocol(), payload, Some(fragment))
        } else {
            skip_extensions(header.protocol(), payload)?
        };
        Ok(Self {
            src: header.source_addr().into(),
            dst: header.destination_addr().into(),
            id: Some(header.identification()),
            ttl: header.ttl(),
            header: header.slice(),
            fragment,
            protocol,
            payload,
        })
    }

    fn read_v6(slice: PacketSlice<'a>) -> Result<Self, Skip> {
        let header = Ipv6HeaderSlice::from_slice(slice.bytes).map_err(|error| match error {
            ipv6::HeaderSliceError::Len(_) => slice.too_short(),
            ipv6::HeaderSliceError::Content(_) => Skip::Malformed,
        })?;
        let payload = slice.skip(header.slice().len())?;
        let payload = match header.payload_length() {
            0 if header.next_header() == ip_number::IPV6_HOP_BY_HOP => {
                jumbo_payload_len(payload.bytes).map_or(payload, |len| payload.limit(len))
            }
            0 => payload, // as in IPv4
            len => payload.limit(len.into()),
        };
        let (protocol, payload, fragment) = skip_extensions(header.next_header(), payload)?;
        Ok(Self {
            src: header.source_addr().into(),
            dst: header.destination_addr().into(),
            id: None,
            ttl: header.hop_limit(),
            header: &[],
            fragment,
            protocol,
            payload,
        })
    }
}

/// Reads the TCP segment in `datagram`.
///
/// The options are not used, so a header that the snaplen truncated after its 20th byte is sufficient.
pub(super) fn segment<'a>(
    frame: &Frame<'_>,
    datagram: &Datagram<'a>,
    layers: &'a [Layer],
) -> Result<Segment<'a>, Skip> {
    let slice = datagram.payload;
    let mut padded = None;
    let header = match TcpHeaderSlice::from_slice(slice.bytes) {
        Err(tcp::HeaderSliceError::Len(_)) if slice.missing > 0 => {
            TcpHeaderSlice::from_slice(padded.insert(pad_options(slice.bytes)?))
        }
        header => header,
    }
    .map_err(|_| Skip::Malformed)?;
    let header_len = header.slice().len();
    let (payload, missing) = match slice.bytes.get(header_len..) {
        Some(payload) => (payload, slice.missing),
        None => (&[][..], slice.sent().saturating_sub(bytes_in(header.slice()))),
    };
    let (flow, direction) = FlowKey::new(
        Endpoint { ip: datagram.src, port: header.source_port() },
        Endpoint { ip: datagram.dst, port: header.destination_port() },
    );
    Ok(Segment {
        frame: frame.id,
        at: frame.at,
        flow,
        direction,
        seq: header.sequence_number(),
        ack: header.acknowledgment_number(),
        flags: TcpFlags(header.slice().get(13).copied().unwrap_or_default()),
        window: header.window_size(),
        ip_id: datagram.id,
        ttl: datagram.ttl,
        ip_header: datagram.header,
        header: slice.bytes.get(..header_len).unwrap_or_default(),
        payload,
        missing,
        layers,
    })
}

/// A TCP header that the snaplen truncated, with zeros for the missing options.
#[cold]
fn pad_options(cut: &[u8]) -> Result<[u8; 60], Skip> {
    let (fixed, options) = cut.split_first_chunk::<20>().ok_or(Skip::Cut)?;
    let mut padded = [0; 60];
    padded.iter_mut().zip(fixed.iter().chain(options)).for_each(|(to, from)| *to = *from);
    Ok(padded)
}

/// Reads `datagram`, an ICMP or ICMPv6 message, as an error about a segment that was not delivered; `None` if it is
/// another message or quotes no TCP segment. Errors quote at least 8 bytes of the segment (RFC 792, RFC 4443
/// section 3.1).
#[inline(never)]
pub(super) fn unreachable(
    frame: &Frame<'_>,
    datagram: Datagram<'_>,
) -> Result<Option<Unreachable>, Skip> {
    let (&[kind, code, _, _, m0, m1, m2, m3], quote) = datagram.payload.split::<8>()?;
    let mtu = match (datagram.protocol, kind, code) {
        (ip_number::ICMP, 3, FRAGMENTATION_NEEDED) => Some(u32::from(u16::from_be_bytes([m2, m3]))),
        (ip_number::ICMP, 3, _) | (ip_number::IPV6_ICMP, 1, _) => None,
        (ip_number::IPV6_ICMP, PACKET_TOO_BIG, _) => Some(u32::from_be_bytes([m0, m1, m2, m3])),
        _ => return Ok(None),
    };
    let quoted = Datagram::read(quote)?;
    let begins_segment = quoted.fragment.is_none_or(|fragment| fragment.offset == 0);
    if quoted.protocol != ip_number::TCP || !begins_segment {
        return Ok(None);
    }
    let (&[s0, s1, d0, d1, seq @ ..], _) = quoted.payload.split::<8>()?;
    Ok(Some(Unreachable {
        frame: frame.id,
        at: frame.at,
        reporter: datagram.src,
        kind,
        code,
        src: Endpoint { ip: quoted.src, port: u16::from_be_bytes([s0, s1]) },
        dst: Endpoint { ip: quoted.dst, port: u16::from_be_bytes([d0, d1]) },
        seq: u32::from_be_bytes(seq),
        mtu,
    }))
}

/// Code of ICMP "destination unreachable": the packet is larger than the next link allows and must not be fragmented.
const FRAGMENTATION_NEEDED: u8 = 4;

/// Type of the ICMPv6 message about a packet that is larger than the next link allows.
const PACKET_TOO_BIG: u8 = 2;

/// The DNS question, or the DNS or mDNS response, in `datagram`; `None` if it is of other ports, or truncated by the
/// snaplen.
#[inline(never)]
pub(super) fn dns_message<'a>(
    frame: &Frame<'_>,
    datagram: Datagram<'a>,
) -> Result<Option<UdpDatagram<'a>>, Skip> {
    if datagram.protocol != ip_number::UDP {
        return Ok(None);
    }
    let (&[s0, s1, d0, d1, l0, l1, _, _], _) = datagram.payload.split()?;
    let (src_port, dst_port) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    if !is_dns(src_port, dst_port) {
        return Ok(None);
    }
    let whole = datagram.payload.limit(u16::from_be_bytes([l0, l1]).into());
    let body = whole.skip(8)?;
    if body.missing > 0 {
        return Ok(None);
    }
    Ok(Some(UdpDatagram {
        frame: frame.id,
        at: frame.at,
        src: Endpoint { ip: datagram.src, port: src_port },
        dst: Endpoint { ip: datagram.dst, port: dst_port },
        payload: body.bytes,
    }))
}

/// Whether a UDP datagram between such ports is a message of DNS, or a response of mDNS.
pub(crate) const fn is_dns(src_port: u16, dst_port: u16) -> bool {
    matches!(src_port, DNS | MDNS) || dst_port == DNS
}

/// Skips the extension headers (RFC 8200, section 4; AH in IPv4 too) up to the fragment header or the
/// upper layer.
fn skip_extensions(
    mut protocol: IpNumber,
    mut payload: PacketSlice<'_>,
) -> Result<(IpNumber, PacketSlice<'_>, Option<IpFragment>), Skip> {
    use ip_number::{
        AUTH, HIP, IPV6_DEST_OPTIONS, IPV6_FRAG, IPV6_HOP_BY_HOP, IPV6_ROUTE, MOBILITY, SHIM6,
    };
    loop {
        let len;
        (protocol, len) = match protocol {
            IPV6_HOP_BY_HOP | IPV6_ROUTE | IPV6_DEST_OPTIONS | MOBILITY | HIP | SHIM6 => {
                let header = Ipv6RawExtHeaderSlice::from_slice(payload.bytes)
                    .map_err(|_| payload.too_short())?;
                (header.next_header(), header.slice().len())
            }
            AUTH => {
                let header =
                    IpAuthHeaderSlice::from_slice(payload.bytes).map_err(|error| match error {
                        ip_auth::HeaderSliceError::Len(_) => payload.too_short(),
                        ip_auth::HeaderSliceError::Content(_) => Skip::Malformed,
                    })?;
                (header.next_header(), header.slice().len())
            }
            IPV6_FRAG => {
                let header = Ipv6FragmentHeaderSlice::from_slice(payload.bytes)
                    .map_err(|_| payload.too_short())?;
                let len = header.slice().len();
                if header.is_fragmenting_payload() {
                    let fragment = IpFragment {
                        id: header.identification(),
                        offset: header.fragment_offset().byte_offset(),
                        more: header.more_fragments(),
                    };
                    return Ok((header.next_header(), payload.skip(len)?, Some(fragment)));
                }
                (header.next_header(), len) // an atomic fragment, RFC 6946
            }
            _ => return Ok((protocol, payload, None)),
        };
        payload = payload.skip(len)?;
    }
}

/// Length in the jumbo payload option (RFC 2675, section 2) of the hop-by-hop header at the start
/// of `payload`.
fn jumbo_payload_len(payload: &[u8]) -> Option<u32> {
    let header = Ipv6RawExtHeaderSlice::from_slice(payload).ok()?;
    let mut options = header.payload();
    loop {
        match options {
            [PAD1, rest @ ..] => options = rest,
            [JUMBO_PAYLOAD, 4, l0, l1, l2, l3, ..] => {
                return Some(u32::from_be_bytes([*l0, *l1, *l2, *l3]));
            }
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
}

/// UDP port of DNS servers (RFC 1035, section 4.2.1).
pub(super) const DNS: u16 = 53;

const PAD1: u8 = 0x00;
const JUMBO_PAYLOAD: u8 = 0xc2;

#[cfg(test)]
mod tests {
    use super::super::samples::{
        NAMES_REQ, decoder, ethernet, frame, ipv4, ipv6, request, request_v6, segment_in, tcp, udp,
    };
    use super::super::{folded, sum_of};
    use super::*;
    use crate::capture::LinkType;
    use crate::decode::{ChecksumState, Decoded};

    #[test]
    fn a_segment_has_the_fields_of_its_headers() {
        let mut decoder = decoder();
        let bytes = request();
        let Decoded::Tcp(segment) = decoder.decode(&frame(LinkType::RAW, &bytes)) else { panic!() };
        assert_eq!(segment.src(), Endpoint { ip: [192, 168, 0, 100].into(), port: 40_000 });
        assert_eq!(segment.dst(), Endpoint { ip: [192, 168, 0, 103].into(), port: 4369 });
        assert_eq!((segment.seq, segment.ack), (0x0102_0304, 0x0506_0708));
        assert_eq!((segment.flags, segment.window), (TcpFlags(0x18), 0x0200));
        assert_eq!((segment.ip_id, segment.payload), (Some(0xcafe), NAMES_REQ));

        let bytes = request_v6();
        let Decoded::Tcp(segment) = decoder.decode(&frame(LinkType::RAW, &bytes)) else { panic!() };
        assert_eq!((segment.src().ip.to_string().as_str(), segment.ip_id), ("fd00::1", None));
    }

    /// What the checksums of a request show; `change` is given the datagram when both are right.
    fn checksum_of(datagram: &[u8], change: fn(&mut [u8])) -> ChecksumState {
        let mut bytes = datagram.to_vec();
        let is_v4 = datagram[0] == 0x45;
        let (addresses, tcp) = if is_v4 { (12..20, 20) } else { (8..40, 40) };
        bytes[tcp + 16..tcp + 18].fill(0);
        let len = u64::try_from(bytes.len() - tcp).unwrap();
        let pseudo = sum_of(&bytes[addresses]) + 6 + len;
        let sums = [pseudo + sum_of(&bytes[tcp..]), sum_of(&bytes[..20])].map(folded);
        let [of_tcp, of_ip] = sums.map(|sum| (!u16::try_from(sum).unwrap()).to_be_bytes());
        bytes[tcp + 16..tcp + 18].copy_from_slice(&of_tcp);
        if is_v4 {
            bytes[10..12].copy_from_slice(&of_ip);
        }
        change(&mut bytes);
        let mut decoder = decoder();
        let Decoded::Tcp(segment) = decoder.decode(&frame(LinkType::RAW, &bytes)) else { panic!() };
        segment.checksum()
    }

    #[test]
    fn a_segment_is_damaged_if_its_ipv4_header_is() {
        use ChecksumState::{Right, Unknown, Wrong};

        let v4 = |change| checksum_of(&request(), change);
        assert_eq!(v4(|_| {}), Right);
        assert_eq!(v4(|bytes| bytes[5] ^= 1), Wrong, "identification");
        assert_eq!(v4(|bytes| bytes[11] ^= 1), Wrong);
        assert_eq!(v4(|bytes| bytes[10..12].fill(0)), Right, "left to the network card");
        assert_eq!(v4(|bytes| *bytes.last_mut().unwrap() ^= 1), Wrong, "payload");
        let left_to_card = |bytes: &mut [u8]| {
            let pseudo = folded(sum_of(&bytes[12..20]) + 6);
            bytes[36..38].copy_from_slice(&u16::try_from(pseudo).unwrap().to_be_bytes());
            bytes[5] ^= 1;
        };
        assert_eq!(v4(left_to_card), Unknown, "the card may fill in both");
        assert_eq!(checksum_of(&request_v6(), |_| {}), Right);
        assert_eq!(checksum_of(&request_v6(), |bytes| bytes[3] ^= 1), Right, "flow label");
    }

    #[test]
    fn timestamps_are_found_among_the_options() {
        let of = |options: &[u8]| {
            let header = [&[0; 20], options].concat();
            let end = Endpoint { ip: IpAddr::from([10, 0, 0, 1]), port: 1 };
            Segment { header: &header, ..Segment::between(end, end) }.timestamps()
        };
        let stamps = [8, 10, 0, 0, 0, 7, 0, 1, 0, 0];
        let behind = |options: &[u8]| of(&[options, &stamps].concat());
        for before in [&[][..], &[1, 1], &[4, 2], &[2, 4, 5, 180, 1], &[3, 3, 7]] {
            assert_eq!(behind(before), Some((7, 0x1_0000)), "{before:?}");
        }
        for before in [&[0][..], &[5, 0], &[5, 1], &[5, 40], &[8, 9]] {
            assert_eq!(behind(before), None, "{before:?}");
        }
        assert_eq!(of(&stamps[..9]), None, "cut");
        assert_eq!(of(&[8]), None);
    }

    #[test]
    fn padding_of_the_frame_is_not_payload() {
        for datagram in [request(), request_v6()] {
            let padded = ethernet(
                if datagram[0] == 0x45 { 0x0800 } else { 0x86dd },
                &[&datagram[..], &[0; 9]].concat(),
            );
            assert_eq!(segment_in(LinkType::ETHERNET, &padded).unwrap().payload, NAMES_REQ);
        }
    }

    #[test]
    fn a_length_of_zero_reaches_to_the_end() {
        let mut v4 = request();
        v4[2..4].fill(0); // total length
        let mut v6 = request_v6();
        v6[4..6].fill(0); // payload length
        for datagram in [v4, v6] {
            assert_eq!(segment_in(LinkType::RAW, &datagram).unwrap().payload, NAMES_REQ);
            let mut cut = frame(LinkType::RAW, &datagram);
            cut.wire_len += 1000;
            let mut decoder = decoder();
            let Decoded::Tcp(segment) = decoder.decode(&cut) else { panic!() };
            assert_eq!((segment.payload, segment.missing), (NAMES_REQ, 1000));
        }
    }

    #[test]
    fn ipv4_options_and_ah_are_skipped() {
        let mut datagram = request();
        datagram[0] = 0x46;
        datagram[3] += 4;
        datagram.splice(20..20, [0x94, 0x04, 0x00, 0x00]); // router alert, RFC 2113
        assert_eq!(segment_in(LinkType::RAW, &datagram).unwrap().payload, NAMES_REQ);

        let header = [6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]; // AH of 3 words, RFC 4302
        let datagram = ipv4(51, &[&header, &tcp(NAMES_REQ)[..]].concat());
        assert_eq!(segment_in(LinkType::RAW, &datagram).unwrap().payload, NAMES_REQ);
    }

    #[test]
    #[rustfmt::skip]
    fn ipv6_extension_headers_are_skipped() {
        let headers = [
            43, 0, 0x05, 0x02, 0, 0, 0, 0,  // hop by hop: router alert, padding; then routing
            60, 0, 0, 0, 0, 0, 0, 0,        // routing; then destination options
            44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padding; then fragment
            6, 0, 0, 0, 0, 0, 0, 1,         // atomic fragment (RFC 6946); then TCP
        ];
        let datagram = ipv6(0, &[&headers, &tcp(NAMES_REQ)[..]].concat());
        assert_eq!(segment_in(LinkType::RAW, &datagram).unwrap().payload, NAMES_REQ);
    }

    #[test]
    #[rustfmt::skip]
    fn the_jumbo_payload_option_gives_the_length() {
        let body = vec![0x55; 70_000];
        let len = 8 + 32 + 70_000;
        let [l0, l1, l2, l3] = u32::to_be_bytes(len);
        let hop_by_hop = [
            6, 0,                    // then TCP
            0xc2, 4, l0, l1, l2, l3, // jumbo payload, RFC 2675
        ];
        let mut datagram = ipv6(0, &[]);
        datagram.extend_from_slice(&[&hop_by_hop, &tcp(&body)[..], b"padding"].concat());
        assert_eq!(segment_in(LinkType::RAW, &datagram).unwrap().payload, body);

        datagram.truncate(40 + 8 + 32 + 10);
        let seen = segment_in(LinkType::RAW, &datagram).unwrap();
        assert_eq!((seen.payload.len(), seen.missing), (10, 69_990));
    }

    #[test]
    fn a_header_shorter_than_the_shortest_is_malformed() {
        let mut words = request();
        words[32] = 0x40; // TCP data offset 4
        let mut beyond = ipv4(6, &tcp(&[]));
        beyond[32] = 0xf0; // TCP data offset 15, beyond the datagram
        let mut ihl = request();
        ihl[0] = 0x44;
        for datagram in [words, beyond, ihl] {
            let mut decoder = decoder();
            decoder.decode(&frame(LinkType::RAW, &datagram));
            assert_eq!(decoder.counters().malformed, 1);
        }
    }

    #[test]
    fn an_icmp_error_gives_the_endpoints_of_the_segment_that_it_quotes() {
        let v4 = ipv4(1, &[&[3, 13, 0, 0, 0, 0, 0, 0], &request()[..28]].concat());
        let v6 = ipv6(58, &[&[1, 4, 0, 0, 0, 0, 0, 0], &request_v6()[..48]].concat());
        for (datagram, kind, code) in [(v4, 3, 13), (v6, 1, 4)] {
            let mut decoder = decoder();
            let decoded = decoder.decode(&frame(LinkType::RAW, &datagram));
            let Decoded::Unreachable(error) = decoded else { panic!("{decoded:?}") };
            assert_eq!((error.kind, error.code), (kind, code));
            assert_eq!((error.src.port, error.dst.port, error.seq), (40_000, 4369, 0x0102_0304));
            assert_eq!(error.reporter, error.src.ip);
        }
    }

    #[test]
    fn an_icmp_error_about_a_packet_that_is_too_large_gives_the_mtu() {
        let v4 = ipv4(1, &[&[3, 4, 0, 0, 0, 0, 0x05, 0x14], &request()[..28]].concat());
        let v6 = ipv6(58, &[&[2, 0, 0, 0, 0, 0, 0x05, 0x78], &request_v6()[..48]].concat());
        for (datagram, mtu) in [(v4, 1300), (v6, 1400)] {
            let mut decoder = decoder();
            let decoded = decoder.decode(&frame(LinkType::RAW, &datagram));
            let Decoded::Unreachable(error) = decoded else { panic!("{decoded:?}") };
            assert_eq!((error.mtu, error.seq), (Some(mtu), 0x0102_0304));
        }
    }

    #[test]
    fn the_only_udp_datagrams_returned_are_whole_messages_of_dns_and_mdns() {
        let from = |port: u16| {
            let mut udp = udp(40_000, b"answer");
            udp[..2].copy_from_slice(&port.to_be_bytes());
            udp
        };
        for (port, is_dns) in [(53, true), (5353, true), (54, false)] {
            for datagram in [ipv4(17, &from(port)), ipv6(17, &from(port))] {
                let mut decoder = decoder();
                let decoded = decoder.decode(&frame(LinkType::RAW, &datagram));
                let payload = match decoded {
                    Decoded::Names(names) => {
                        assert_eq!((names.src.port, names.dst.port), (port, 40_000));
                        Some(names.payload)
                    }
                    _ => None,
                };
                assert_eq!(payload, is_dns.then_some(&b"answer"[..]), "{port}");
                let mut cut = frame(LinkType::RAW, &datagram[..datagram.len() - 1]);
                cut.wire_len += 1;
                assert!(matches!(decoder.decode(&cut), Decoded::Other), "{port}");
            }
        }
    }

    #[test]
    fn other_icmp_messages_are_ignored() {
        let echo = ipv4(1, &[8, 0, 0, 0, 0, 0, 0, 0]);
        let quoting = |quote: &[u8]| ipv4(1, &[&[3, 3, 0, 0, 0, 0, 0, 0], quote].concat());
        let about_udp = quoting(&ipv4(17, &udp(53, &[])));
        let mut later_fragment = request();
        later_fragment[7] = 0x10;
        for datagram in [echo, about_udp, quoting(&later_fragment)] {
            let mut decoder = decoder();
            let decoded = decoder.decode(&frame(LinkType::RAW, &datagram));
            assert!(matches!(decoded, Decoded::Other));
            assert_eq!(decoder.counters().malformed, 0);
        }
    }
}
