//! Stage 2: from link frames to TCP segments.
//!
//! In: a [`Frame`]. Out: a [`Segment`] that borrows the frame, or the datagram reassembled from fragments;
//! an ICMP error; a UDP datagram of DNS or mDNS; or a message of ARP or neighbour discovery. This stage keeps no state of connections.
//! It is the only one that uses `etherparse`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::mem;
use std::net::IpAddr;

use etherparse::{IpNumber, ip_number};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use crate::capture::{Frame, LinkType};
use crate::limits::{DefragLimits, TUNNELS};
use crate::packet::FrameRef;
use crate::time::Timestamp;

mod defrag;
mod fast;
mod ip;
mod key;
mod link;
mod neighbour;
mod pseudo;
#[cfg(test)]
mod samples;
mod slice;
mod tunnel;

pub use defrag::FragmentCounters;
use defrag::{Defrag, FragmentKey};
pub use fast::{FastDecode, TcpView};
use ip::Datagram;
pub(crate) use ip::is_dns;
pub use key::{Direction, FlowKey};
pub use neighbour::Neighbour;
use slice::{PacketSlice, Skip, bytes_in};

/// Decodes frames to segments, one frame at a time.
///
/// Of earlier frames it keeps only the fragments of incomplete datagrams, within [`DefragLimits`].
pub struct Decoder {
    counters: Counters,
    defrag: Defrag,
    has_read_fragment: bool,
    /// Outer layers of the current frame.
    layers: Vec<Layer>,
    /// Buffers for reassembled datagrams: one for each level of tunnels, since each level can be fragmented.
    reassembled: [Vec<u8>; TUNNELS + 1],
}

/// Counts of the frames that gave no segment, by reason, and of truncated frames.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Frames that were longer on the wire than captured.
    pub cut: u64,
    /// Of these, frames in which a header is truncated.
    pub headers_cut: u64,
    /// Frames with a header that contradicts itself or the outer header.
    pub malformed: u64,
    /// Frames without a readable IP datagram: ARP, encrypted wireless frames, and so on.
    pub not_ip: u64,
    /// Frames with more tags or tunnels than [`limits`](crate::limits) allows.
    pub too_deep: u64,
    /// Frames of link types that the decoder does not read, by type.
    pub unsupported: BTreeMap<LinkType, u64>,
    /// Counts of IP fragments and their datagrams.
    pub fragments: FragmentCounters,
}

impl Decoder {
    /// Creates a decoder that buffers fragments within `limits`.
    pub fn new(limits: DefragLimits) -> Self {
        Self {
            counters: Counters::default(),
            defrag: Defrag::new(limits),
            has_read_fragment: false,
            layers: Vec::new(),
            reassembled: Default::default(),
        }
    }

    /// Decodes the segment, ICMP error, DNS message or neighbour message in `frame`.
    ///
    /// The payload borrows the frame, or the decoder if it was reassembled from fragments.
    pub fn decode<'a>(&'a mut self, frame: &Frame<'a>) -> Decoded<'a> {
        match self.decode_fast(frame) {
            FastDecode::Tcp(fast) => Decoded::Tcp(self.segment(frame, &fast)),
            FastDecode::Other => Decoded::Other,
            FastDecode::Undecided => self.decode_full(frame),
        }
    }

    /// Counts a frame and decodes its headers if they are of the common form.
    ///
    /// [`Self::segment`] makes a [`Segment`] of [`FastDecode::Tcp`]. A frame that is [`FastDecode::Undecided`]
    /// needs [`Self::decode_full`].
    #[inline(always)]
    pub fn decode_fast<'a>(&mut self, frame: &Frame<'a>) -> FastDecode<'a> {
        if frame.wire_len as usize > frame.bytes.len() {
            self.counters.cut += 1;
        }
        fast::decode_fast(frame)
    }

    /// The segment that [`Self::decode_fast`] found in `frame`.
    #[inline(always)]
    pub fn segment<'a>(&'a mut self, frame: &Frame<'a>, fast: &TcpView<'a>) -> Segment<'a> {
        self.layers.clear();
        fast.segment(frame, &mut self.layers)
    }

    /// Decodes, header by header, a frame that [`Self::decode_fast`] left undecided.
    #[inline(never)]
    pub fn decode_full<'a>(&'a mut self, frame: &Frame<'a>) -> Decoded<'a> {
        let Self { counters, defrag, has_read_fragment, layers, reassembled } = self;
        let fragments = defrag.read();
        let missing = frame.wire_len.saturating_sub(bytes_in(frame.bytes));
        layers.clear();
        let mut decoded = Decoded::Other;
        if let Err(skip) = decode_headers(frame, missing, defrag, layers, reassembled, &mut decoded)
        {
            counters.count(skip);
            if let (Skip::NotIp, Some(neighbour)) = (skip, neighbour::arp(frame)) {
                decoded = Decoded::Neighbour(neighbour);
            }
        }
        *has_read_fragment = defrag.read() != fragments;
        decoded
    }

    /// Whether [`Self::decode_full`] has read a fragment of an IP datagram in the last frame.
    pub const fn has_read_fragment(&self) -> bool {
        self.has_read_fragment
    }

    /// Counts of all frames so far.
    pub fn counters(&self) -> Counters {
        Counters { fragments: self.defrag.counters(), ..self.counters.clone() }
    }
}

impl Counters {
    #[cold]
    fn count(&mut self, skip: Skip) {
        *match skip {
            Skip::Cut => &mut self.headers_cut,
            Skip::Malformed => &mut self.malformed,
            Skip::NotIp => &mut self.not_ip,
            Skip::TooDeep => &mut self.too_deep,
            Skip::Unsupported(link) => self.unsupported.entry(link).or_default(),
        } += 1;
    }
}

/// Decodes the headers of a frame from the outermost to the innermost.
///
/// Each reassembled datagram takes one of `buffers`, since the inner headers borrow it while the next datagram
/// is reassembled.
fn decode_headers<'a>(
    frame: &Frame<'a>,
    missing: u32,
    defrag: &mut Defrag,
    layers: &'a mut Vec<Layer>,
    mut buffers: &'a mut [Vec<u8>],
    decoded: &mut Decoded<'a>,
) -> Result<(), Skip> {
    let bytes = PacketSlice { bytes: frame.bytes, missing };
    let mut slice = link::ip_in_frame(frame.link, bytes, layers)?;
    for _ in 0..=TUNNELS {
        let mut datagram = Datagram::read(slice)?;
        while let Some(fragment) = datagram.fragment {
            let (buffer, rest) = mem::take(&mut buffers).split_first_mut().ok_or(Skip::TooDeep)?;
            buffers = rest;
            let Datagram { src, dst, id, protocol, payload, .. } = datagram;
            // Without a seed: a forged collision does no more harm than a forged fragment.
            let context = FixedState::default().hash_one((frame.id.input, &*layers));
            let key =
                FragmentKey { context, src, dst, id: fragment.id, protocol: id.map(|_| protocol) };
            let done = defrag.add(key, frame.at, protocol, fragment, payload, buffer);
            let Some((protocol, missing)) = done else { return Ok(()) };
            datagram = datagram.reassembled(protocol, PacketSlice { bytes: buffer, missing })?;
        }
        match datagram.protocol {
            ip_number::TCP => {
                *decoded = Decoded::Tcp(ip::segment(frame, &datagram, layers)?);
                return Ok(());
            }
            ip_number::ICMP | ip_number::IPV6_ICMP => {
                let neighbour = neighbour::ndp(frame, &datagram);
                if let (ip_number::IPV6_ICMP, Some(neighbour)) = (datagram.protocol, neighbour) {
                    *decoded = Decoded::Neighbour(neighbour);
                } else if let Some(unreachable) = ip::unreachable(frame, datagram)? {
                    *decoded = Decoded::Unreachable(unreachable);
                }
                return Ok(());
            }
            protocol => match tunnel::ip_in_tunnel(protocol, datagram.payload, layers)? {
                Some(inner) => slice = inner,
                None => {
                    if let Some(message) = ip::dns_message(frame, datagram)? {
                        *decoded = Decoded::Names(message);
                    }
                    return Ok(());
                }
            },
        }
    }
    Err(Skip::TooDeep)
}

/// Where the IP header of a frame begins, if it has one behind headers that this stage reads.
pub fn ip_start(frame: &Frame<'_>) -> Option<usize> {
    let missing = frame.wire_len.saturating_sub(bytes_in(frame.bytes));
    let bytes = PacketSlice { bytes: frame.bytes, missing };
    start_within(frame.bytes, link::ip_in_frame(frame.link, bytes, &mut Vec::new()).ok()?)
}

/// Where the inner IP header begins in the payload of a datagram of this protocol, if it is a tunnel.
pub fn tunnel_start(protocol: u8, payload: &[u8]) -> Option<usize> {
    let bytes = PacketSlice { bytes: payload, missing: 0 };
    let inner = tunnel::ip_in_tunnel(IpNumber(protocol), bytes, &mut Vec::new()).ok()??;
    start_within(payload, inner)
}

/// The position of a part of `whole`.
fn start_within(whole: &[u8], part: PacketSlice<'_>) -> Option<usize> {
    let start = part.bytes.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (start + part.bytes.len() <= whole.len()).then_some(start)
}

/// The part of a frame that later stages process.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// A TCP segment, whole or truncated.
    Tcp(Segment<'a>),
    /// An ICMP or ICMPv6 "destination unreachable" that quotes a TCP segment.
    Unreachable(Unreachable),
    /// A whole UDP datagram from the port of DNS or mDNS, or to the port of DNS.
    Names(UdpDatagram<'a>),
    /// A message of ARP or of IPv6 neighbour discovery.
    Neighbour(Neighbour),
    /// Nothing for later stages: another protocol, a fragment of an incomplete datagram, or no IP.
    Other,
}

/// One TCP segment with its endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The frame that contained it, or its last fragment.
    pub frame: FrameRef,
    /// Capture time of `frame`.
    pub at: Timestamp,
    /// Key of its connection: the two endpoints.
    pub flow: FlowKey,
    /// Direction between the two endpoints.
    pub direction: Direction,
    /// Sequence number as sent.
    pub seq: u32,
    /// Acknowledgement number as sent; undefined unless `flags` has `ACK`.
    pub ack: u32,
    /// Flag bits of the header.
    pub flags: TcpFlags,
    /// Window as sent, unscaled.
    pub window: u16,
    /// Identification of the IPv4 header, which distinguishes a packet captured twice from a retransmission.
    /// `None` for IPv6.
    pub ip_id: Option<u16>,
    /// Time to live of the IPv4 header, hop limit of the IPv6 header; 0 if it is not known.
    pub ttl: u8,
    /// The IPv4 header with its options; empty if it was not kept, the datagram came in fragments, or it is of IPv6.
    pub ip_header: &'a [u8],
    /// The TCP header with its options; empty if it was not kept, or was not captured completely.
    pub header: &'a [u8],
    /// Payload bytes that were captured.
    pub payload: &'a [u8],
    /// Number of bytes after `payload` that were sent and not captured (snaplen).
    pub missing: u32,
    /// Outer layers, outermost first.
    pub layers: &'a [Layer],
}

/// What the checksums of a segment show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChecksumState {
    /// They fit the bytes.
    Right,
    /// One does not fit the bytes: they were damaged.
    Wrong,
    /// Not all of the bytes were captured, or the checksum of TCP is left to the network card: it has the sum of the pseudo
    /// header alone, as for packets that go out, and for those that were joined when they came in.
    Unknown,
}

impl Segment<'_> {
    /// Endpoint that sent the segment.
    pub fn src(&self) -> Endpoint {
        self.flow.end(self.direction)
    }

    /// Endpoint that receives the segment.
    pub fn dst(&self) -> Endpoint {
        self.flow.end(self.direction.reverse())
    }

    /// Verifies the checksum over the pseudo header, the header and the payload (RFC 9293, section 3.1), and where that
    /// is right, the checksum of the IPv4 header (RFC 791, section 3.1).
    pub fn checksum(&self) -> ChecksumState {
        if self.header.is_empty() || self.missing > 0 {
            return ChecksumState::Unknown;
        }
        let addresses = [self.src().ip, self.dst().ip].map(|ip| match ip {
            IpAddr::V4(ip) => sum_of(&ip.octets()),
            IpAddr::V6(ip) => sum_of(&ip.octets()),
        });
        let len = self.header.len() as u64 + self.payload.len() as u64;
        // A header has an even number of bytes, so the payload begins at a word of its own.
        let pseudo = addresses.iter().sum::<u64>() + u64::from(ip_number::TCP.0);
        let len = (len >> 16) + (len & 0xffff);
        if folded(pseudo + len + sum_of(self.header) + sum_of(self.payload)) == 0xffff {
            return if self.is_ip_header_damaged() {
                ChecksumState::Wrong
            } else {
                ChecksumState::Right
            };
        }
        let field = self.header.get(16..18).map_or(0, sum_of);
        // Where the card also cuts the segment into smaller ones, the length is left to it as well.
        if [folded(pseudo + len), folded(pseudo)].contains(&field) {
            ChecksumState::Unknown
        } else {
            ChecksumState::Wrong
        }
    }

    /// Whether the checksum of the IPv4 header does not fit. A zero is left to the network card.
    fn is_ip_header_damaged(&self) -> bool {
        self.ip_header.get(10..12).is_some_and(|field| field != [0, 0])
            && folded(sum_of(self.ip_header)) != 0xffff
    }

    /// The value of its timestamps option, and the timestamp of the other side that it repeats (RFC 7323, section 3.2).
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let mut options = self.header.get(20..)?;
        loop {
            options = match *options {
                [NO_OPERATION, ref rest @ ..] => rest,
                [TIMESTAMPS, 10, v0, v1, v2, v3, r0, r1, r2, r3, ..] => {
                    let [value, repeated] = [[v0, v1, v2, v3], [r0, r1, r2, r3]];
                    return Some((u32::from_be_bytes(value), u32::from_be_bytes(repeated)));
                }
                [END_OF_OPTIONS, ..] | [] | [_] | [_, 0 | 1, ..] => return None,
                [_, len, ..] => options.get(usize::from(len)..)?,
            };
        }
    }

    /// Whether it has payload, captured or not.
    #[inline]
    pub const fn has_bytes(&self) -> bool {
        !self.payload.is_empty() || self.missing > 0
    }
}

/// Kinds of TCP options (RFC 9293, section 3.1; RFC 7323, section 3.2).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const TIMESTAMPS: u8 = 8;

/// A sum in 16 bits, with the carries added (RFC 1071).
const fn folded(mut sum: u64) -> u64 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum
}

/// The sum of 16-bit words, the last of which may have one byte (RFC 1071).
fn sum_of(bytes: &[u8]) -> u64 {
    let (words, last) = bytes.as_chunks::<2>();
    let sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    sum + last.first().map_or(0, |last| u64::from(*last) << 8)
}

/// One UDP datagram with its endpoints.
#[derive(Clone, Copy, Debug)]
pub struct UdpDatagram<'a> {
    /// The frame that contained it, or its last fragment.
    pub frame: FrameRef,
    /// Capture time of `frame`.
    pub at: Timestamp,
    /// Endpoint that sent it.
    pub src: Endpoint,
    /// Endpoint that receives it.
    pub dst: Endpoint,
    /// Payload, which is always complete.
    pub payload: &'a [u8],
}

/// Address and port of one side of a TCP connection or of a UDP datagram.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Endpoint {
    /// IPv4 or IPv6 address.
    pub ip: IpAddr,
    /// TCP or UDP port.
    pub port: u16,
}

/// TCP flag bits, as in byte 13 of the header (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// The sender synchronises sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// The connection is reset.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);

    /// Whether SYN, FIN or RST is set.
    #[inline]
    pub const fn opens_or_closes(self) -> bool {
        self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0) != 0
    }

    /// Whether ACK is set, and none of SYN, FIN and RST.
    pub const fn is_plain(self) -> bool {
        self.0 & (Self::SYN.0 | Self::FIN.0 | Self::RST.0 | Self::ACK.0) == Self::ACK.0
    }

    /// Whether none of SYN, RST and ACK is set. A receiver drops such a segment in every state (RFC 9293, section 3.10.7.4,
    /// fifth step).
    pub const fn is_never_taken(self) -> bool {
        self.0 & (Self::SYN.0 | Self::RST.0 | Self::ACK.0) == 0
    }

    /// Whether FIN or RST is set.
    pub const fn closes(self) -> bool {
        self.0 & (Self::FIN.0 | Self::RST.0) != 0
    }

    /// Whether every bit of `other` is set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// An ICMP error about a TCP segment: "destination unreachable", or "packet too big" of ICMPv6.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable {
    /// The frame that contained it.
    pub frame: FrameRef,
    /// Capture time of `frame`.
    pub at: Timestamp,
    /// Sender of the error: the destination host, or a router or firewall on the path.
    pub reporter: IpAddr,
    /// Type field of the ICMP header.
    pub kind: u8,
    /// Code field of the ICMP header, with the type: 3/3 port, 3/10 and 3/13 administratively prohibited, and so on.
    pub code: u8,
    /// Sender of the quoted segment.
    pub src: Endpoint,
    /// Receiver of the quoted segment.
    pub dst: Endpoint,
    /// Sequence number of the quoted segment.
    pub seq: u32,
    /// The largest packet that the next link carries, if the error is about a packet that was larger: RFC 1191,
    /// section 4, and RFC 4443, section 3.2. 0 from routers older than RFC 1191.
    pub mtu: Option<u32>,
}

/// One encapsulation around the IP datagram of a segment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Layer {
    /// 802.1Q or 802.1ad tag with its VLAN identifier.
    Vlan(u16),
    /// MPLS label of one stack entry.
    Mpls(u32),
    /// PPPoE with its session identifier.
    Pppoe(u16),
    /// IP in IP, either version in either (RFC 2003, 2473, 4213).
    IpInIp,
    /// GRE, with its key when it has one (RFC 2784, 2890).
    Gre(Option<u32>),
    /// NVGRE: GRE over Ethernet with a virtual subnet (RFC 7637).
    Nvgre(u32),
    /// VXLAN network identifier (RFC 7348).
    Vxlan(u32),
    /// GENEVE network identifier (RFC 8926).
    Geneve(u32),
    /// GTP-U tunnel endpoint (3GPP TS 29.281).
    GtpU(u32),
}

/// The text in the field `encap` of events: the protocol, and the number that distinguishes two of them.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(id) => write!(f, "vlan {id}"),
            Self::Mpls(label) => write!(f, "mpls {label}"),
            Self::Pppoe(session) => write!(f, "pppoe {session}"),
            Self::IpInIp => f.write_str("ipip"),
            Self::Gre(None) => f.write_str("gre"),
            Self::Gre(Some(key)) => write!(f, "gre {key}"),
            Self::Nvgre(subnet) => write!(f, "nvgre {subnet}"),
            Self::Vxlan(network) => write!(f, "vxlan {network}"),
            Self::Geneve(network) => write!(f, "geneve {network}"),
            Self::GtpU(endpoint) => write!(f, "gtp-u {endpoint}"),
        }
    }
}

/// UDP port of multicast DNS (RFC 6762, section 3).
pub(crate) const MDNS: u16 = 5353;

#[cfg(test)]
mod tests {
    use super::samples::{Seen, decoder, frame, request, segment_in};
    use super::*;
    use crate::limits::LINK_TAGS;

    fn all_samples() -> Vec<samples::Sample> {
        samples::links().into_iter().chain(samples::tunnels()).collect()
    }

    #[test]
    fn a_segment_keeps_its_length_wherever_the_snaplen_truncates_it() {
        for sample in all_samples() {
            let whole = frame(sample.link, &sample.frame);
            let payload_at = sample.frame.len() - samples::NAMES_REQ.len();
            let fixed_header_end = payload_at - 12;
            for len in 0..sample.frame.len() {
                let mut decoder = decoder();
                let decoded = decoder.decode(&Frame { bytes: &sample.frame[..len], ..whole });
                if len < fixed_header_end {
                    assert!(matches!(decoded, Decoded::Other), "{} cut at {len}", sample.name);
                    let counters = decoder.counters();
                    assert_eq!((counters.cut, counters.headers_cut), (1, 1), "{}", sample.name);
                } else {
                    let Decoded::Tcp(segment) = decoded else { panic!("{} at {len}", sample.name) };
                    let captured = &sample.frame[payload_at.min(len)..len];
                    assert_eq!(segment.payload, captured, "{} cut at {len}", sample.name);
                    assert_eq!(captured.len() + segment.missing as usize, 3, "{}", sample.name);
                }
            }
        }
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let limits = DefragLimits { datagrams: 8, bytes: 4096, ..DefragLimits::default() };
        let mut decoder = Decoder::new(limits);
        for sample in all_samples() {
            for _ in 0..2000 {
                let mut bytes = sample.frame.clone();
                for _ in 0..=random(4) {
                    let at = random(bytes.len());
                    bytes[at] = u8::try_from(random(256)).unwrap();
                }
                bytes.truncate(bytes.len() - random(8));
                let mut flipped = frame(sample.link, &bytes);
                flipped.wire_len = sample.frame.len().try_into().unwrap();
                if let Decoded::Tcp(segment) = decoder.decode(&flipped) {
                    assert!(segment.payload.len() <= bytes.len() * 8);
                    assert!(segment.layers.len() <= (LINK_TAGS + 1) * (TUNNELS + 1));
                }
            }
        }
    }

    #[test]
    fn layers_of_one_frame_are_not_added_to_the_next() {
        let mut decoder = decoder();
        let tagged = samples::ethernet(0x8100, &[&[0, 7, 8, 0], &request()[..]].concat());
        decoder.decode(&frame(LinkType::ETHERNET, &tagged));
        let plain = request();
        let Decoded::Tcp(segment) = decoder.decode(&frame(LinkType::RAW, &plain)) else { panic!() };
        assert!(segment.layers.is_empty());
    }

    #[test]
    fn fragments_of_the_outer_and_of_the_inner_datagram_are_reassembled() {
        let inner = samples::ethernet(0x0800, &request());
        let vxlan = [&[0x08, 0, 0, 0, 0, 0, 0x2a, 0], &inner[..]].concat();
        let datagram = samples::ipv4(17, &samples::udp(4789, &vxlan));
        let mut decoder = decoder();
        // The inner datagram is in two fragments, and each of these in a tunnel packet in two fragments.
        let halves = |datagram: &[u8]| {
            let part = |from: usize, to: usize, more: u8| {
                let mut half = samples::ipv4(datagram[9], &datagram[20 + from..20 + to]);
                half[6] = more;
                half[7] = (from / 8).try_into().unwrap();
                half
            };
            [part(0, 16, 0x20), part(16, datagram.len() - 20, 0)]
        };
        let mut seen = None;
        for (id, inner) in (1..).zip(halves(&request())) {
            let wrapped = [&vxlan[..8], &samples::ethernet(0x0800, &inner)].concat();
            for mut outer in halves(&samples::ipv4(17, &samples::udp(4789, &wrapped))) {
                outer[5] = id;
                if let Decoded::Tcp(segment) = decoder.decode(&frame(LinkType::RAW, &outer)) {
                    seen = Some(Seen::from(segment));
                }
            }
        }
        assert_eq!(seen, segment_in(LinkType::RAW, &datagram));
        assert_eq!(decoder.counters().fragments.reassembled, 3);
    }

    #[test]
    fn equal_addresses_in_different_vlans_are_different_datagrams() {
        let mut fragment = request();
        fragment[6] = 0x20;
        fragment.truncate(20 + 16);
        fragment[3] = 36;
        let mut decoder = decoder();
        for vlan in [7, 8] {
            let tagged = samples::ethernet(0x8100, &[&[0, vlan, 8, 0], &fragment[..]].concat());
            decoder.decode(&frame(LinkType::ETHERNET, &tagged));
        }
        assert_eq!(decoder.counters().fragments.incomplete, 2);
    }

    #[test]
    fn layers_have_the_text_of_the_field_encap() {
        let text = |layers: &[Layer]| layers.iter().map(ToString::to_string).collect::<Vec<_>>();
        let layers = [Layer::Vlan(7), Layer::Vxlan(42), Layer::Gre(None), Layer::Gre(Some(5))];
        assert_eq!(text(&layers), ["vlan 7", "vxlan 42", "gre", "gre 5"]);
    }
}
