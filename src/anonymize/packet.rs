//! Headers of a packet, from the link to the transport: addresses and ports are replaced, and what is not read is zero.
//!
//! In: a frame. Out: a [`Rewritten`] of as many bytes, in which the payload of TCP and of IP fragments is still zero:
//! [`Hole`]s name what belongs there, and [`Checksum`]s are written last.

use std::net::IpAddr;

use super::dns;
use super::edit::{byte, keep, number2, part, put};
use super::pseudonyms::Pseudonyms;
use super::sums::{Checksum, Covered};
use crate::capture::{Frame, LinkType};
use crate::decode::{self, Endpoint};
use crate::limits::{LINK_TAGS, TUNNELS};

/// A frame with new headers.
#[derive(Default)]
pub(super) struct Rewritten {
    pub(super) bytes: Vec<u8>,
    /// Bytes that were removed from the front of the frame, whose link header cannot be rewritten.
    pub(super) removed: usize,
    pub(super) link: Option<LinkType>,
    pub(super) holes: Vec<Hole>,
    /// The innermost comes first.
    pub(super) sums: Vec<Checksum>,
}

/// Bytes of a packet that are replaced as a part of something longer.
pub(super) struct Hole {
    /// Position in the packet.
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) content: Content,
}

/// What belongs into a hole.
pub(super) enum Content {
    /// A piece of a TCP stream.
    Segment(SegmentOf),
    /// A fragment of an IP datagram.
    Fragment(FragmentOf),
}

/// Place of a piece in its TCP stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentOf {
    pub(super) src: Endpoint,
    pub(super) dst: Endpoint,
    pub(super) seq: u32,
    pub(super) is_syn: bool,
    pub(super) is_ack: bool,
    /// Bytes behind it that were not captured.
    pub(super) missing: u32,
}

/// Place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FragmentOf {
    pub(super) key: FragmentKeyOf,
    pub(super) offset: usize,
    pub(super) is_last: bool,
}

/// The datagram of fragments.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct FragmentKeyOf {
    pub(super) input: u16,
    pub(super) depth: usize,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    pub(super) protocol: u8,
}

/// The datagram around a transport header.
#[derive(Clone, Copy)]
pub(super) struct Envelope {
    pub(super) input: u16,
    pub(super) depth: usize,
    pub(super) old: [IpAddr; 2],
    pub(super) new: [IpAddr; 2],
    /// Bytes of the datagram that were not captured.
    pub(super) missing: u32,
    /// Whether the datagram is quoted in an error, where it ends early.
    pub(super) is_quoted: bool,
}

/// Rewrites the headers of a frame.
pub(super) fn frame(frame: &Frame<'_>, names: &mut Pseudonyms) -> Rewritten {
    let ip = decode::ip_start(frame);
    let mut all = Rewriter { original: frame.bytes, names, rewritten: Rewritten::default() };
    all.rewritten.bytes = vec![0; frame.bytes.len()];
    let is_known = all.link_header(frame.link, ip);
    let missing =
        frame.wire_len.saturating_sub(u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX));
    match ip {
        Some(at) => {
            all.ip(at, missing, frame.id.input, 0, false);
            if !is_known {
                all.rewritten.removed = at;
                all.rewritten.link = Some(LinkType::RAW);
            }
        }
        None if is_known => all.arp(frame.link),
        None => {}
    }
    all.rewritten
}

/// Rewrites the datagram that fragments add up to.
pub(super) fn datagram(
    bytes: &[u8],
    protocol: u8,
    envelope: Envelope,
    names: &mut Pseudonyms,
) -> Rewritten {
    let mut all = Rewriter { original: bytes, names, rewritten: Rewritten::default() };
    all.rewritten.bytes = vec![0; bytes.len()];
    all.transport(protocol, 0, bytes.len(), &envelope);
    all.rewritten
}

struct Rewriter<'a> {
    original: &'a [u8],
    names: &'a mut Pseudonyms,
    rewritten: Rewritten,
}

impl Rewriter<'_> {
    fn keep(&mut self, at: usize, len: usize) {
        keep(&mut self.rewritten.bytes, self.original, at, len);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.rewritten.bytes, at, bytes);
    }

    fn mac(&mut self, at: usize) {
        if let Some(mac) = part(self.original, at, 6).and_then(|it| <[u8; 6]>::try_from(it).ok()) {
            let new = self.names.mac(mac);
            self.put(at, &new);
        }
    }

    /// Rewrites the bytes in front of the IP header. `false` if nothing here knows where they have addresses.
    fn link_header(&mut self, link: LinkType, ip: Option<usize>) -> bool {
        // Position of the EtherType, the header in front of it, and the bytes that hold no address.
        let (kind_at, end) = match link {
            LinkType::ETHERNET => (12, 14),
            LinkType::LINUX_SLL => (14, 16),
            LinkType::LINUX_SLL2 => (0, 20),
            LinkType::NULL
            | LinkType::LOOP
            | LinkType::DLT_RAW
            | LinkType::DLT_RAW_OPENBSD
            | LinkType::RAW
            | LinkType::IPV4
            | LinkType::IPV6
            | LinkType::PPP
            | LinkType::PPP_HDLC
            | LinkType::C_HDLC
            | LinkType::PPP_PPPD
            | LinkType::PPP_ETHER
            | LinkType::MPLS
            | LinkType::FRELAY => {
                // Numbers of protocols and labels; a longer header may have an Ethernet frame in it.
                let ip = ip.unwrap_or(2);
                self.keep(0, ip.min(MOST_PLAIN));
                return ip <= MOST_PLAIN;
            }
            _ => return false,
        };
        self.keep(0, end);
        match link {
            LinkType::ETHERNET => {
                self.mac(0);
                self.mac(6);
            }
            LinkType::LINUX_SLL => self.cooked_address(6, number2(self.original, 4)),
            _ => self.cooked_address(12, byte(self.original, 11).map(u16::from)),
        }
        let Some(ip) = ip else { return true };
        let kind = number2(self.original, kind_at);
        if self.tags(kind, end, ip) {
            return true;
        }
        // A header that is not known may have addresses.
        put(&mut self.rewritten.bytes, 0, &vec![0; ip]);
        false
    }

    /// Rewrites the address of a cooked header: a device that is a tunnel has an IP address there.
    fn cooked_address(&mut self, at: usize, len: Option<u16>) {
        self.put(at, &[0; 8]);
        if len == Some(6) {
            self.mac(at);
        }
    }

    /// Keeps the tags and labels from `at` to the IP header at `ip`. `false` if they do not lead there.
    fn tags(&mut self, kind: Option<u16>, mut at: usize, ip: usize) -> bool {
        let Some(mut kind) = kind else { return false };
        for _ in 0..=LINK_TAGS {
            let len = match kind {
                _ if at == ip => return true,
                VLAN | VLAN_SERVICE | VLAN_OLD_SERVICE => 4,
                MPLS | MPLS_MULTICAST => {
                    self.keep(at, 4);
                    let is_last = byte(self.original, at + 2).is_none_or(|it| it & 1 == 1);
                    at += 4;
                    if is_last {
                        kind = 0x0800;
                    }
                    continue;
                }
                PPPOE_SESSION => {
                    // The header and the number of the protocol, in one byte or two.
                    self.keep(at, ip.saturating_sub(at).min(8));
                    return ip.saturating_sub(at) <= 8;
                }
                0..=0x05ff => {
                    // LLC, and SNAP with an EtherType: no bridged frame.
                    let is_plain = part(self.original, at, 6) == Some(&[0xaa, 0xaa, 3, 0, 0, 0]);
                    self.keep(at, ip.saturating_sub(at).min(8));
                    return (is_plain || ip.saturating_sub(at) <= 3) && ip.saturating_sub(at) <= 8;
                }
                _ => return false,
            };
            self.keep(at, len);
            let Some(next) = number2(self.original, at + 2) else { return false };
            (kind, at) = (next, at + len);
        }
        false
    }

    /// Rewrites a message of ARP, where the frame has one.
    fn arp(&mut self, link: LinkType) {
        let mut at = match link {
            LinkType::ETHERNET => 12,
            LinkType::LINUX_SLL => 14,
            LinkType::LINUX_SLL2 => 0,
            _ => return,
        };
        for _ in 0..=MOST_TAGS {
            match number2(self.original, at) {
                Some(VLAN | VLAN_SERVICE) => {
                    self.keep(at, 6);
                    at += 4;
                }
                Some(ARP) => break,
                _ => return,
            }
        }
        let body = if link == LinkType::LINUX_SLL2 { 20 } else { at + 2 };
        // Hardware and protocol of six and four bytes, operation.
        if part(self.original, body, 6) != Some(&[0, 1, 8, 0, 6, 4]) {
            return;
        }
        self.keep(body, 8);
        for at in [body + 8, body + 18] {
            self.mac(at);
            let ip = part(self.original, at + 6, 4).and_then(|it| <[u8; 4]>::try_from(it).ok());
            if let Some(ip) = ip {
                let new = self.names.v4(ip);
                self.put(at + 6, &new);
            }
        }
    }

    /// Rewrites an IP header and what follows it.
    fn ip(&mut self, at: usize, missing: u32, input: u16, depth: usize, is_quoted: bool) {
        match byte(self.original, at).map(|first| first >> 4) {
            Some(4) => self.v4(at, missing, input, depth, is_quoted),
            Some(6) => self.v6(at, missing, input, depth, is_quoted),
            _ => None,
        };
    }

    fn v4(
        &mut self,
        at: usize,
        missing: u32,
        input: u16,
        depth: usize,
        is_quoted: bool,
    ) -> Option<()> {
        let header = part(self.original, at, 20)?;
        let header_len = usize::from(byte(header, 0)? & 0x0f) * 4;
        let total = usize::from(number2(header, 2)?);
        let flags = number2(header, 6)?;
        let id = number2(header, 4)?;
        let protocol = byte(header, 9)?;
        let [src, dst] = [12, 16].map(|at| {
            part(header, at, 4).and_then(|it| <[u8; 4]>::try_from(it).ok()).unwrap_or_default()
        });
        let new = [self.names.v4(src), self.names.v4(dst)];
        self.keep(at, 12);
        self.put(at + 12, new.as_flattened());
        let start = at + header_len.max(20);
        let checksum = Checksum::of(
            self.original,
            &Covered {
                at: at + 10,
                start: at,
                end: start.min(self.original.len()),
                is_cut: start > self.original.len(),
                pseudo: None,
            },
        );
        let (end, missing) = self.end(at, total, header_len, missing);
        let envelope = Envelope {
            input,
            depth,
            old: [src.into(), dst.into()],
            new: new.map(IpAddr::from),
            missing,
            is_quoted,
        };
        let (offset, more) = (usize::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
        if offset == 0 && (!more || is_quoted) {
            self.transport(protocol, start, end, &envelope);
        } else if !is_quoted {
            self.fragment(start, end, u32::from(id), protocol, (offset, more), &envelope);
        }
        self.rewritten.sums.push(checksum);
        Some(())
    }

    /// Where a datagram of `total` bytes at `at` ends in the frame, and how much of it was not captured.
    fn end(&self, at: usize, total: usize, least: usize, missing: u32) -> (usize, u32) {
        if total < least {
            return (self.original.len(), missing);
        }
        let end = at + total;
        let cut = end.saturating_sub(self.original.len());
        (end.min(self.original.len()), u32::try_from(cut).unwrap_or(u32::MAX))
    }

    fn v6(
        &mut self,
        at: usize,
        missing: u32,
        input: u16,
        depth: usize,
        is_quoted: bool,
    ) -> Option<()> {
        let header = part(self.original, at, 40)?;
        let payload = usize::from(number2(header, 4)?);
        let mut protocol = byte(header, 6)?;
        let [src, dst] = [8, 24].map(|at| {
            part(header, at, 16).and_then(|it| <[u8; 16]>::try_from(it).ok()).unwrap_or_default()
        });
        let new = [self.names.v6(src), self.names.v6(dst)];
        self.keep(at, 8);
        self.put(at + 8, new.as_flattened());
        let total = if payload == 0 { 0 } else { payload + 40 };
        let (end, missing) = self.end(at, total, 40, missing);
        let envelope = Envelope {
            input,
            depth,
            old: [src.into(), dst.into()],
            new: new.map(IpAddr::from),
            missing,
            is_quoted,
        };
        let mut start = at + 40;
        for _ in 0..MOST_EXTENSIONS {
            let next = byte(self.original, start);
            match protocol {
                // Options that pad, as many: the kinds of options are not kept, but the size of a jumbogram is.
                HOP_BY_HOP | ROUTING | DESTINATION | 135 | 139 | 140 => {
                    let len = (usize::from(byte(self.original, start + 1)?) + 1) * 8;
                    self.keep(start, 2);
                    if part(self.original, start + 2, 2) == Some(&[0xc2, 4]) {
                        self.keep(start + 2, 6);
                    }
                    (protocol, start) = (next?, start + len);
                }
                AUTHENTICATION => {
                    let len = (usize::from(byte(self.original, start + 1)?) + 2) * 4;
                    self.keep(start, 12);
                    (protocol, start) = (next?, start + len);
                }
                FRAGMENT => {
                    self.keep(start, 8);
                    let place = number2(self.original, start + 2)?;
                    let id = super::edit::number4(self.original, start + 4)?;
                    let (offset, more) = (usize::from(place & 0xfff8), place & 1 != 0);
                    (protocol, start) = (next?, start + 8);
                    if (offset > 0 || more) && !is_quoted {
                        self.fragment(start, end, id, protocol, (offset, more), &envelope);
                        return Some(());
                    }
                }
                _ => break,
            }
        }
        self.transport(protocol, start, end, &envelope);
        Some(())
    }

    fn fragment(
        &mut self,
        start: usize,
        end: usize,
        id: u32,
        protocol: u8,
        (offset, more): (usize, bool),
        envelope: &Envelope,
    ) {
        let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { return };
        let Envelope { input, depth, old: [src, dst], .. } = *envelope;
        let key = FragmentKeyOf { input, depth, src, dst, id, protocol };
        let is_last = !more && envelope.missing == 0;
        let content = Content::Fragment(FragmentOf { key, offset, is_last });
        self.rewritten.holes.push(Hole { at: start, len, content });
    }

    /// Rewrites a transport header and what follows it.
    fn transport(&mut self, protocol: u8, start: usize, end: usize, envelope: &Envelope) {
        if start >= end {
            return;
        }
        // `None` ends a header that is cut short; the rest stays zero.
        let _ = match protocol {
            TCP => self.tcp(start, end, envelope),
            UDP => self.udp(start, end, envelope),
            ICMP | ICMPV6 => self.icmp(protocol, start, end, envelope),
            IGMP => self.igmp(start, end, envelope),
            IN_IPV4 | IN_IPV6 | GRE => self.tunnel(protocol, start, end, envelope),
            _ => None,
        };
    }

    fn ports(&mut self, start: usize) -> Option<[u16; 2]> {
        let ports = [number2(self.original, start)?, number2(self.original, start + 2)?];
        let new = ports.map(|port| self.names.port(port).to_be_bytes());
        self.put(start, new.as_flattened());
        Some(ports)
    }

    fn tcp(&mut self, start: usize, end: usize, envelope: &Envelope) -> Option<()> {
        let ports = self.ports(start)?;
        // Sequence numbers; all that an error quotes.
        keep(&mut self.rewritten.bytes, self.original, start + 4, 16.min(end - start.min(end)));
        let header_len = usize::from(byte(self.original, start + 12)? >> 4) * 4;
        part(self.original, start, 20)?;
        self.put(start + 16, &[0, 0]);
        let payload = start + header_len.max(20);
        self.tcp_options(start + 20, payload.min(end));
        if envelope.is_quoted {
            return Some(());
        }
        let flags = byte(self.original, start + 13)?;
        self.checksum(TCP, start + 16, start, end, envelope);
        let len = end.saturating_sub(payload);
        // What is cut of the header is no payload.
        let cut = u32::try_from(payload.saturating_sub(end)).unwrap_or(u32::MAX);
        let missing = envelope.missing.saturating_sub(cut);
        let (is_syn, is_ack) = (flags & 0x02 != 0, flags & 0x10 != 0);
        if len == 0 && missing == 0 && !is_syn {
            return Some(());
        }
        let seq = super::edit::number4(self.original, start + 4)?;
        let [src, dst] = envelope.old;
        let [from, to] = ports;
        let content = Content::Segment(SegmentOf {
            src: Endpoint { ip: src, port: from },
            dst: Endpoint { ip: dst, port: to },
            seq,
            is_syn,
            is_ack,
            missing: if header_len < 20 { 0 } else { missing },
        });
        self.rewritten.holes.push(Hole { at: payload, len, content });
        Some(())
    }

    /// Keeps the options that have no content of their own.
    fn tcp_options(&mut self, mut at: usize, end: usize) {
        while at < end {
            match (byte(self.original, at), byte(self.original, at + 1)) {
                (Some(kind @ (0 | 1)), _) => {
                    self.put(at, &[kind]);
                    at += 1;
                }
                (Some(kind), Some(len @ 2..)) => {
                    let len = usize::from(len);
                    // Segment size, window scale, selective acknowledgements, timestamps: in their own lengths.
                    let is_kept = matches!(
                        (kind, len),
                        (2, 4) | (3, 3) | (4, 2) | (5, 10 | 18 | 26 | 34) | (8, 10)
                    );
                    self.keep(at, if is_kept { len.min(end - at) } else { 2 });
                    at += len;
                }
                _ => return,
            }
        }
    }

    fn udp(&mut self, start: usize, end: usize, envelope: &Envelope) -> Option<()> {
        let [from, to] = self.ports(start)?;
        self.keep(start + 4, 2);
        part(self.original, start, 8)?;
        if envelope.is_quoted {
            return Some(());
        }
        let len = usize::from(number2(self.original, start + 4)?);
        let end = if len < 8 { end } else { end.min(start + len) };
        let body = self.original.get(start + 8..end).unwrap_or_default();
        if decode::is_dns(from, to) || to == decode::MDNS {
            let new = dns::message(body, self.names);
            self.put(start + 8, &new);
        } else {
            self.tunnel(UDP, start, end, envelope);
        }
        self.checksum(UDP, start + 6, start, end, envelope);
        Some(())
    }

    fn checksum(&mut self, protocol: u8, at: usize, start: usize, end: usize, envelope: &Envelope) {
        let is_cut = envelope.missing > 0;
        let pseudo = (protocol != ICMP).then_some((envelope.old, envelope.new, protocol));
        let covered = Covered { at, start, end, is_cut, pseudo };
        self.rewritten.sums.push(Checksum::of(self.original, &covered));
    }

    fn icmp(&mut self, protocol: u8, start: usize, end: usize, envelope: &Envelope) -> Option<()> {
        let kind = byte(self.original, start)?;
        self.keep(start, 2);
        self.keep(start + 4, 4);
        let body = start + 8;
        match (protocol, kind) {
            // Errors quote a packet; a redirect names a router.
            (ICMP, 3 | 4 | 5 | 11 | 12) | (ICMPV6, 1..=4) => {
                if (protocol, kind) == (ICMP, 5) {
                    let ip = part(self.original, start + 4, 4)?;
                    let new = self.names.v4(<[u8; 4]>::try_from(ip).ok()?);
                    self.put(start + 4, &new);
                }
                if envelope.depth <= TUNNELS && !envelope.is_quoted {
                    let sums = self.rewritten.sums.len();
                    self.ip(body, envelope.missing, envelope.input, envelope.depth + 1, true);
                    // What a quote lacks cannot be summed up; the header can.
                    self.rewritten.sums.truncate(sums + 1);
                }
            }
            // Neighbour and router discovery, redirects: a target, a destination, and options with link-layer
            // addresses.
            (ICMPV6, 133..=137) => {
                let addresses = match kind {
                    137 => 2,
                    135 | 136 => 1,
                    _ => 0,
                };
                for index in 0..addresses {
                    let at = body + 16 * index;
                    let ip = part(self.original, at, 16)?;
                    let new = self.names.v6(<[u8; 16]>::try_from(ip).ok()?);
                    self.put(at, &new);
                }
                // The advertisement of a router has two times there.
                let mut at = body + if kind == 134 { 8 } else { 16 * addresses };
                while let Some(&[option, len]) =
                    self.original.get(at..end).and_then(|rest| rest.first_chunk())
                {
                    if len == 0 {
                        break;
                    }
                    self.keep(at, 2);
                    if matches!((option, len), (1 | 2, 1)) {
                        self.mac(at + 2);
                    }
                    at += usize::from(len) * 8;
                }
            }
            _ => {}
        }
        if !envelope.is_quoted {
            self.checksum(protocol, start + 2, start, end, envelope);
        }
        Some(())
    }

    /// Keeps groups, which are multicast addresses, and replaces the sources that are wanted of them.
    fn igmp(&mut self, start: usize, end: usize, envelope: &Envelope) -> Option<()> {
        const QUERY: u8 = 0x11;
        const REPORT_3: u8 = 0x22;
        self.keep(start, 2);
        self.keep(start + 4, 4);
        self.checksum(ICMP, start + 2, start, end, envelope);
        let mut at = start + 8;
        match byte(self.original, start)? {
            QUERY => {
                self.keep(at, 4);
                self.sources(at + 4, end);
            }
            REPORT_3 => {
                while at + 8 <= end {
                    self.keep(at, 8);
                    let len = usize::from(number2(self.original, at + 2)?) * 4;
                    self.sources(at + 8, end.min(at + 8 + len));
                    at += 8 + len;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn sources(&mut self, mut at: usize, end: usize) {
        while at + 4 <= end {
            let Some(ip) = part(self.original, at, 4).and_then(|it| <[u8; 4]>::try_from(it).ok())
            else {
                return;
            };
            let new = self.names.v4(ip);
            self.put(at, &new);
            at += 4;
        }
    }

    /// Rewrites a tunnel and the datagram in it.
    fn tunnel(
        &mut self,
        protocol: u8,
        start: usize,
        end: usize,
        envelope: &Envelope,
    ) -> Option<()> {
        if envelope.depth >= TUNNELS || envelope.is_quoted {
            return None;
        }
        let inner = start + decode::tunnel_start(protocol, self.original.get(start..end)?)?;
        let ethernet = match protocol {
            UDP => {
                let to = number2(self.original, start + 2)?;
                let body = start + 8;
                match to {
                    VXLAN | VXLAN_OF_LINUX => {
                        self.keep(body, 8);
                        Some(body + 8)
                    }
                    GENEVE => {
                        self.keep(body, 8);
                        let options = usize::from(byte(self.original, body)? & 0x3f) * 4;
                        let is_ethernet = number2(self.original, body + 2)? == BRIDGED;
                        let at = body + 8 + options;
                        self.options_of_geneve(body + 8, at);
                        if !is_ethernet {
                            self.keep(at, inner.saturating_sub(at));
                        }
                        is_ethernet.then_some(at)
                    }
                    _ => {
                        self.keep(body, inner.saturating_sub(body));
                        None
                    }
                }
            }
            GRE => {
                self.keep(start, inner.saturating_sub(start));
                let flags = byte(self.original, start)?;
                let options = [0x80, 0x20, 0x10].iter().filter(|flag| flags & **flag != 0).count();
                if flags & 0x80 != 0 {
                    // The checksum is left out: no receiver demands it.
                    self.put(start + 4, &[0, 0]);
                }
                (number2(self.original, start + 2)? == BRIDGED).then_some(start + 4 + 4 * options)
            }
            _ => None,
        };
        if let Some(at) = ethernet {
            self.keep(at, 14);
            self.mac(at);
            self.mac(at + 6);
            if !self.tags(number2(self.original, at + 12), at + 14, inner) {
                let len = inner.saturating_sub(at);
                self.put(at, &vec![0; len]);
                return None;
            }
        }
        self.ip(inner, envelope.missing, envelope.input, envelope.depth + 1, false);
        Some(())
    }

    /// Keeps the kinds and the lengths of the options.
    fn options_of_geneve(&mut self, mut at: usize, end: usize) {
        while at + 4 <= end {
            let Some(len) = byte(self.original, at + 3) else { return };
            self.keep(at, 4);
            at += 4 + usize::from(len & 0x1f) * 4;
        }
    }
}

const VLAN: u16 = 0x8100;
const VLAN_SERVICE: u16 = 0x88a8;
const VLAN_OLD_SERVICE: u16 = 0x9100;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
const ARP: u16 = 0x0806;
const BRIDGED: u16 = 0x6558;
const MOST_TAGS: usize = 2;

/// Bytes of a link header without addresses: the longest is that of PPP over Ethernet, or three labels.
const MOST_PLAIN: usize = 12;

// Protocol numbers (IANA).
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const IN_IPV4: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IN_IPV6: u8 = 41;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;
const AUTHENTICATION: u8 = 51;
const ICMPV6: u8 = 58;
const DESTINATION: u8 = 60;

/// Extension headers of one datagram.
const MOST_EXTENSIONS: usize = 16;

// UDP ports of tunnels (IANA).
const VXLAN: u16 = 4789;
const VXLAN_OF_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;
