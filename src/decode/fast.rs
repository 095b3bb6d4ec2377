//! Stage 2, fast path: the headers of nearly every frame, read at fixed offsets.
//!
//! In: a frame. Out: a [`TcpView`] of its TCP segment, of which a [`Segment`] is made only if a later stage needs
//! one; the result that no stage needs the frame; or the result that it has to be decoded header by header. The
//! fast path reads IP without options, extension headers and fragments, after Ethernet, one VLAN tag, Linux cooked
//! or no link header, with TCP or UDP.
//!
//! The reason, in instructions per frame of a capture with 2 % Erlang traffic: decoding header by header takes 360,
//! the fast path 90, and it decides most frames. Tests compare both paths over every capture, also with flipped
//! and missing bytes.

use etherparse::ip_number;

use super::ip::is_dns;
use super::link::ether_type;
use super::tunnel::is_tunnel;
use super::{Direction, FlowKey, Layer, Segment, TcpFlags};
use crate::capture::{Frame, LinkType};

/// Result of the fast path for one frame.
#[derive(Clone, Copy, Debug)]
#[repr(u8)] // an explicit tag, so that the compiler sees its value where the result is made and drops the test
pub enum FastDecode<'a> {
    /// A TCP segment without fragments.
    Tcp(TcpView<'a>),
    /// A UDP datagram that is neither a DNS message nor a tunnel, which no stage needs.
    Other,
    /// Headers that only [`Decoder::decode_full`](super::Decoder::decode_full) reads.
    Undecided,
}

/// A TCP segment as references to its headers.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    ip: IpHeader<'a>,
    tcp: &'a [u8; TCP],
    payload: &'a [u8],
    vlan: Option<&'a [u8; 2]>,
}

#[derive(Clone, Copy, Debug)]
enum IpHeader<'a> {
    V4(&'a [u8; IPV4]),
    V6(&'a [u8; IPV6]),
}

impl<'a> TcpView<'a> {
    /// Port of the sender, and of the receiver.
    #[inline]
    pub const fn ports(&self) -> (u16, u16) {
        let [s0, s1, d0, d1, ..] = *self.tcp;
        (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
    }

    /// Key of the connection, and direction of the segment.
    #[inline(always)] // of every segment that is looked at
    pub fn flow(&self) -> (FlowKey, Direction) {
        let (src_port, dst_port) = self.ports();
        match self.ip {
            IpHeader::V4(&[.., s0, s1, s2, s3, d0, d1, d2, d3]) => {
                FlowKey::v4([[s0, s1, s2, s3], [d0, d1, d2, d3]], [src_port, dst_port])
            }
            IpHeader::V6(&[_, _, _, _, _, _, _, _, ref addresses @ ..]) => {
                let (src, dst) = addresses.split_at(16);
                let address = |ip: &[u8]| ip.first_chunk().copied().unwrap_or_default();
                FlowKey::v6([address(src), address(dst)], [src_port, dst_port])
            }
        }
    }

    /// Sequence number as sent.
    #[inline]
    pub const fn seq(&self) -> u32 {
        let [_, _, _, _, q0, q1, q2, q3, ..] = *self.tcp;
        u32::from_be_bytes([q0, q1, q2, q3])
    }

    /// Acknowledgement number as sent.
    #[inline]
    pub const fn ack(&self) -> u32 {
        let [_, _, _, _, _, _, _, _, a0, a1, a2, a3, ..] = *self.tcp;
        u32::from_be_bytes([a0, a1, a2, a3])
    }

    /// Window as sent, not scaled.
    #[inline]
    pub const fn window(&self) -> u16 {
        let [.., w0, w1, _, _, _, _] = *self.tcp;
        u16::from_be_bytes([w0, w1])
    }

    /// Identification of the IPv4 datagram.
    #[inline]
    pub const fn ip_id(&self) -> Option<u16> {
        match self.ip {
            IpHeader::V4(&[_, _, _, _, i0, i1, ..]) => Some(u16::from_be_bytes([i0, i1])),
            IpHeader::V6(_) => None,
        }
    }

    /// Flag bits of the header.
    #[inline]
    pub const fn flags(&self) -> TcpFlags {
        TcpFlags(self.tcp[13])
    }

    /// Payload bytes that were captured.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Number of payload bytes sent and not captured.
    #[inline]
    fn missing(&self) -> u32 {
        let (sent, header_len) = match self.ip {
            IpHeader::V4(header) => (sent_v4(header), IPV4),
            IpHeader::V6(header) => (sent_v6(header), IPV6),
        };
        let captured = header_len + tcp_header_len(self.tcp) + self.payload.len();
        sent.saturating_sub(captured.try_into().unwrap_or(u32::MAX))
    }

    /// The TCP header with its options: the bytes of `frame` in front of the payload. It is found again here, because a
    /// view is made of nearly every frame.
    #[inline(always)]
    fn header(&self, frame: &Frame<'a>) -> &'a [u8] {
        let end = self.payload.as_ptr().addr().wrapping_sub(frame.bytes.as_ptr().addr());
        frame.bytes.get(end.wrapping_sub(tcp_header_len(self.tcp))..end).unwrap_or_default()
    }

    /// Makes the segment, which is in `frame`; its VLAN tag is pushed to `layers`.
    #[inline(always)]
    pub(super) fn segment(&self, frame: &Frame<'a>, layers: &'a mut Vec<Layer>) -> Segment<'a> {
        if let Some(tag) = self.vlan {
            layers.push(Layer::Vlan(u16::from_be_bytes(*tag) & 0x0fff));
        }
        let (flow, direction) = self.flow();
        Segment {
            frame: frame.id,
            at: frame.at,
            flow,
            direction,
            seq: self.seq(),
            ack: self.ack(),
            flags: self.flags(),
            window: self.window(),
            ip_id: self.ip_id(),
            ttl: match self.ip {
                IpHeader::V4(&[_, _, _, _, _, _, _, _, ttl, ..]) => ttl,
                IpHeader::V6(&[_, _, _, _, _, _, _, limit, ..]) => limit,
            },
            ip_header: match self.ip {
                IpHeader::V4(header) => header,
                IpHeader::V6(_) => &[],
            },
            header: self.header(frame),
            payload: self.payload,
            missing: self.missing(),
            layers,
        }
    }
}

/// Decodes the headers of `frame` by the fast path. Each way out returns the result itself: a result in an `Option` that is
/// taken out of it was written to memory and read from there in other pieces, for which a processor waits.
#[inline(always)]
pub(super) fn decode_fast<'a>(frame: &Frame<'a>) -> FastDecode<'a> {
    let Some((vlan, datagram)) = datagram(frame) else { return FastDecode::Undecided };
    let (ip, protocol, sent, header_len) = match datagram {
        [V4_WITHOUT_OPTIONS, ..] => {
            let Some(header) = datagram.first_chunk::<IPV4>() else {
                return FastDecode::Undecided;
            };
            let &[_, _, _, _, _, _, f0, f1, _, protocol, ..] = header;
            // A fragment has an offset, or the flag that more fragments follow.
            if u16::from_be_bytes([f0 & 0x3f, f1]) != 0 {
                return FastDecode::Undecided;
            }
            (IpHeader::V4(header), protocol, sent_v4(header), IPV4)
        }
        [0x60..=0x6f, ..] => {
            let Some(header) = datagram.first_chunk::<IPV6>() else {
                return FastDecode::Undecided;
            };
            let &[_, _, _, _, _, _, next, ..] = header;
            let sent = sent_v6(header);
            // A payload length of 0: longer than the field can hold.
            if sent == IPV6_LEN {
                return FastDecode::Undecided;
            }
            (IpHeader::V6(header), next, sent, IPV6)
        }
        _ => return FastDecode::Undecided,
    };
    // Bytes after the datagram are padding; bytes that are not there were not captured.
    let captured = (sent as usize).min(datagram.len());
    let Some(body) = datagram.get(header_len..captured) else { return FastDecode::Undecided };
    match etherparse::IpNumber(protocol) {
        ip_number::TCP => {
            let Some(tcp) = body.first_chunk::<TCP>() else { return FastDecode::Undecided };
            let header_len = tcp_header_len(tcp);
            match body.get(header_len..) {
                Some(payload) if header_len >= TCP => {
                    FastDecode::Tcp(TcpView { ip, tcp, payload, vlan })
                }
                _ => FastDecode::Undecided,
            }
        }
        ip_number::UDP => {
            let Some(&[s0, s1, d0, d1, ..]) = body.first_chunk::<UDP>() else {
                return FastDecode::Undecided;
            };
            let (src, dst) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            if is_dns(src, dst) || is_tunnel(dst) {
                FastDecode::Undecided
            } else {
                FastDecode::Other
            }
        }
        _ => FastDecode::Undecided,
    }
}

/// Length of an IPv4 datagram, header included, as its header gives it.
#[inline]
fn sent_v4(&[_, _, l0, l1, ..]: &[u8; IPV4]) -> u32 {
    u16::from_be_bytes([l0, l1]).into()
}

/// Length of an IPv6 datagram, header included, as its header gives it.
#[inline]
fn sent_v6(&[_, _, _, _, l0, l1, ..]: &[u8; IPV6]) -> u32 {
    u32::from(u16::from_be_bytes([l0, l1])) + IPV6_LEN
}

#[inline]
const fn tcp_header_len(header: &[u8; TCP]) -> usize {
    (header[12] >> 4) as usize * 4
}

/// The VLAN tag, if the frame has one, and the IP datagram; `None` for other link headers and for more tags.
#[inline(always)]
fn datagram<'a>(frame: &Frame<'a>) -> Option<(Option<&'a [u8; 2]>, &'a [u8])> {
    let bytes = frame.bytes;
    let (kind, rest) = match frame.link {
        LinkType::ETHERNET => {
            let (&[.., k0, k1], rest) = bytes.split_first_chunk::<14>()?;
            (u16::from_be_bytes([k0, k1]), rest)
        }
        LinkType::LINUX_SLL => {
            let (&[.., k0, k1], rest) = bytes.split_first_chunk::<16>()?;
            (u16::from_be_bytes([k0, k1]), rest)
        }
        LinkType::LINUX_SLL2 => {
            let (&[k0, k1, ..], rest) = bytes.split_first_chunk::<20>()?;
            (u16::from_be_bytes([k0, k1]), rest)
        }
        LinkType::RAW | LinkType::DLT_RAW | LinkType::IPV4 | LinkType::IPV6 => {
            return Some((None, bytes));
        }
        _ => return None,
    };
    match kind {
        ether_type::IPV4 | ether_type::IPV6 => Some((None, rest)),
        ether_type::VLAN => {
            let (tag, rest) = rest.split_first_chunk()?;
            let (inner_kind, rest) = rest.split_first_chunk()?;
            matches!(u16::from_be_bytes(*inner_kind), ether_type::IPV4 | ether_type::IPV6)
                .then_some((Some(tag), rest))
        }
        _ => None,
    }
}

/// First byte of an IPv4 header without options: version 4, length 5 words.
const V4_WITHOUT_OPTIONS: u8 = 0x45;

const IPV4: usize = 20;
const IPV6: usize = 40;
const IPV6_LEN: u32 = 40;
const TCP: usize = 20;
const UDP: usize = 8;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::samples::{self, decoder};
    use super::super::{Decoded, Decoder};
    use super::*;
    use crate::capture::{CaptureFile, Item};

    /// Result and counters of decoding a frame header by header, as text.
    fn full_decode(decoder: &mut Decoder, frame: &Frame<'_>) -> String {
        let decoded = format!("{:?}", decoder.decode_full(frame));
        format!("{decoded} {:?}", decoder.counters())
    }

    /// Asserts that both paths give the same result; false if the fast path does not decide.
    fn fast_agrees_with_full(frame: &Frame<'_>) -> bool {
        let (mut fast_decoder, mut full_decoder) = (decoder(), decoder());
        let decoded = match fast_decoder.decode_fast(frame) {
            FastDecode::Undecided => return false,
            FastDecode::Other => Decoded::Other,
            FastDecode::Tcp(fast) => {
                let segment = fast_decoder.segment(frame, &fast);
                assert_eq!(fast.ports(), (segment.src().port, segment.dst().port));
                assert_eq!((fast.flags(), fast.payload()), (segment.flags, segment.payload));
                Decoded::Tcp(segment)
            }
        };
        let decoded = format!("{decoded:?}");
        full_decoder.decode_fast(frame);
        let counters = full_decoder.counters();
        // Decoding header by header counts the frames that it skips; the fast path skips none.
        assert_eq!(
            format!("{decoded} {counters:?}"),
            full_decode(&mut full_decoder, frame),
            "{frame:02x?}"
        );
        true
    }

    fn random(state: &mut u64) -> impl FnMut(usize) -> usize {
        move |below| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            usize::try_from(*state >> 33).unwrap() % below.max(1)
        }
    }

    /// Compares both paths on `frame` and on 20 variants of it with flipped and missing bytes; returns how many
    /// the fast path decided.
    fn count_fast_decodes(frame: &Frame<'_>, random: &mut impl FnMut(usize) -> usize) -> usize {
        let mut read = usize::from(fast_agrees_with_full(frame));
        for _ in 0..20 {
            let mut bytes = frame.bytes.to_vec();
            let headers = bytes.len().min(80);
            for _ in 0..random(3) {
                if let Some(byte) = bytes.get_mut(random(headers)) {
                    *byte = u8::try_from(random(256)).unwrap();
                }
            }
            if random(2) == 0 {
                bytes.truncate(random(headers + 1));
            }
            read += usize::from(fast_agrees_with_full(&Frame { bytes: &bytes, ..*frame }));
        }
        read
    }

    #[test]
    fn fast_and_full_decode_agree_on_every_link_and_tunnel() {
        let mut state = 0x2545_f491_4f6c_dd1d;
        let mut random = random(&mut state);
        for sample in samples::links().into_iter().chain(samples::tunnels()) {
            for _ in 0..50 {
                count_fast_decodes(&samples::frame(sample.link, &sample.frame), &mut random);
            }
        }
    }

    #[test]
    fn fast_and_full_decode_agree_on_every_capture_whole_flipped_and_cut() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut random = random(&mut state);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
        let (mut frames, mut read) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Ok(mut capture) = CaptureFile::open(&path, 0) else { continue };
            while let Ok(Some(item)) = capture.next_item() {
                let Item::Frame(frame) = item else { continue };
                frames += 1;
                read += count_fast_decodes(&frame, &mut random);
            }
        }
        assert!(frames > 1000, "{frames} frames");
        assert!(read > frames * 5, "the fast path decided {read} of {}", frames * 21);
    }
}
