//! What tests share that change the packets of a capture: cut them, double them, reorder them.

use std::path::Path;
use std::time::Duration;

use beamscope::capture::{Input, Inputs, Item, Order};
use beamscope::decode::{Decoded, Decoder, Endpoint, Segment, TcpFlags};
use beamscope::flow::FlowKey;
use beamscope::identify::is_epmd_request;
use beamscope::limits::DefragLimits;
use beamscope::packet::FrameRef;
use beamscope::protocol::digest::{CandidateCookies, Cookie};
use beamscope::time::Timestamp;

use super::capture_builder::tcp_checksum;

/// A segment that owns its payload.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) frame: FrameRef,
    pub(crate) at: Timestamp,
    pub(crate) src: Endpoint,
    pub(crate) dst: Endpoint,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: TcpFlags,
    pub(crate) ip_id: Option<u16>,
    pub(crate) ttl: u8,
    /// Empty where it was not kept.
    pub(crate) ip_header: Vec<u8>,
    /// Empty where the payload is not that of the packet: then nothing shows whether the checksum is right.
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) missing: u32,
}

impl Owned {
    pub(crate) fn borrowed(&self) -> Segment<'_> {
        let (flow, direction) = FlowKey::new(self.src, self.dst);
        Segment {
            frame: self.frame,
            at: self.at,
            flow,
            direction,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: 64_000,
            ip_id: self.ip_id,
            ttl: self.ttl,
            ip_header: &self.ip_header,
            header: &self.header,
            payload: &self.payload,
            missing: self.missing,
            layers: &[],
        }
    }
}

impl Owned {
    /// Writes a header without options that fits the other fields, with a checksum that is right or not.
    pub(crate) fn fill_header(&mut self, is_right: bool) {
        self.fill_header_with(&[], is_right);
    }

    /// The same with these options, which are a multiple of four bytes.
    fn fill_header_with(&mut self, options: &[u8], is_right: bool) {
        let mut header = [self.src.port, self.dst.port].map(u16::to_be_bytes).concat();
        header.extend([self.seq, self.ack].map(u32::to_be_bytes).concat());
        let words = 5 + options.len() as u8 / 4;
        header.extend([words << 4, self.flags.0, 0xfa, 0, 0, 0, 0, 0]);
        header.extend(options);
        let segment = [&header[..], &self.payload].concat();
        let [high, low] = tcp_checksum(self.src.ip, self.dst.ip, &segment);
        header[16..18].copy_from_slice(&[if is_right { high } else { !high }, low]);
        self.header = header;
    }

    /// The same with a right checksum, and these timestamps.
    pub(crate) fn stamped(mut self, value: u32, repeated: u32) -> Self {
        // Two of no operation, and the kind and length of the option (RFC 7323, appendix A).
        let stamps = [value, repeated].map(u32::to_be_bytes).concat();
        self.fill_header_with(&[&[1, 1, 8, 10], &stamps[..]].concat(), true);
        self
    }

    /// The same, whose IPv4 header does not fit its checksum.
    pub(crate) fn damaged_in_ip(mut self) -> Self {
        if let Some(id) = self.ip_header.get_mut(4) {
            *id ^= 0x55;
        }
        self
    }

    /// The same with a wrong checksum.
    pub(crate) fn damaged(mut self) -> Self {
        self.fill_header(false);
        self
    }
}

/// `send_name`, or with a number `challenge`, in the layout of OTP 23 and later.
pub(crate) fn hello(name: &str, challenge: Option<u32>) -> Vec<u8> {
    let mut body = vec![b'N'];
    body.extend(0xd_07df_7fbd_u64.to_be_bytes());
    body.extend(challenge.into_iter().flat_map(u32::to_be_bytes));
    body.extend(1_795_000_000_u32.to_be_bytes());
    body.extend((name.len() as u16).to_be_bytes());
    body.extend(name.as_bytes());
    [(body.len() as u16).to_be_bytes().as_slice(), &body].concat()
}

/// A capture, and the cookies that its nodes had.
pub(crate) struct Scene {
    pub(crate) segments: Vec<Owned>,
    pub(crate) cookies: CandidateCookies,
    pub(crate) epmd_ports: Vec<u16>,
}

pub(crate) fn load(path: &Path) -> Scene {
    let mut inputs = Inputs::new(vec![Input::Path(path.into())], Order::Time).unwrap();
    let mut decoder = Decoder::new(DefragLimits::default());
    let mut segments = Vec::new();
    while let Some(item) = inputs.next_item() {
        let Item::Frame(frame) = item else { continue };
        if let Decoded::Tcp(s) = decoder.decode(&frame) {
            segments.push(Owned {
                frame: s.frame,
                at: s.at,
                src: s.src(),
                dst: s.dst(),
                seq: s.seq,
                ack: s.ack,
                flags: s.flags,
                ip_id: s.ip_id,
                ttl: s.ttl,
                ip_header: s.ip_header.to_vec(),
                header: s.header.to_vec(),
                payload: s.payload.to_vec(),
                missing: s.missing,
            });
        }
    }
    let (cookies, epmd_ports) = known_about(path);
    Scene { segments, cookies, epmd_ports }
}

/// The cookies of the nodes in a capture, and the ports of its EPMDs.
pub(crate) fn known_about(path: &Path) -> (CandidateCookies, Vec<u16>) {
    let (mut candidates, mut epmd_ports) = (CandidateCookies::default(), vec![4369]);
    // The test cookies are beside the project's captures; beside those of a larger corpus, what really
    // happened is written.
    let cookies = std::fs::read_to_string(path.with_file_name("cookies.txt")).unwrap_or_default();
    for (label, secret) in cookies.lines().filter_map(|line| line.split_once('\t')) {
        candidates.add(Cookie::new(label, secret.as_bytes()));
    }
    let name = path.file_name().unwrap().to_string_lossy();
    if name.starts_with("epmd-on-other-port") {
        // Recognised by the order of its packets, which some tests change; others leave the port for the program to find.
        epmd_ports.push(14369);
    }
    let stem = name.split('.').next().unwrap();
    if let Ok(text) = std::fs::read_to_string(path.with_file_name(format!("{stem}.truth.json"))) {
        let truth: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (n, cookie) in truth["cookies"].as_array().into_iter().flatten().enumerate() {
            let secret = cookie.as_str().unwrap().as_bytes();
            candidates.add(Cookie::new(&format!("k{n}"), secret));
        }
        let ports = truth["epmd_ports"].as_array().into_iter().flatten();
        epmd_ports.extend(ports.map(|port| port.as_u64().unwrap() as u16));
    }
    (candidates, epmd_ports)
}

/// A small generator with a fixed seed: the tests are the same on each run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// Cuts each payload into pieces of one byte and more.
pub(crate) fn resegmented(segments: &[Owned], dice: &mut Dice) -> Vec<Owned> {
    let mut out = Vec::new();
    for segment in segments {
        let mut rest = segment.payload.as_slice();
        let mut piece = Owned { payload: Vec::new(), header: Vec::new(), ..segment.clone() };
        // An EPMD on an unknown port is recognised by a request in one segment, as every client sends it.
        let is_first_request =
            ![segment.src.port, segment.dst.port].contains(&4369) && is_epmd_request(rest);
        if segment.flags.has(TcpFlags::SYN) || is_first_request {
            out.push(segment.clone());
            continue;
        }
        while rest.len() > 1 && dice.roll(8) > 0 {
            let longest = if dice.roll(3) == 0 { rest.len() } else { rest.len().min(7) };
            let (head, tail) = rest.split_at(1 + dice.roll(longest - 1));
            out.push(Owned {
                payload: head.to_vec(),
                flags: TcpFlags(segment.flags.0 & !TcpFlags::FIN.0),
                missing: 0,
                ip_id: None,
                ..piece.clone()
            });
            piece.seq = piece.seq.wrapping_add(head.len() as u32);
            rest = tail;
        }
        out.push(Owned { payload: rest.to_vec(), ip_id: None, ..piece });
    }
    out
}

/// Sends some packets again, a little later.
pub(crate) fn doubled(segments: &[Owned], dice: &mut Dice) -> Vec<Owned> {
    let mut out: Vec<Owned> = Vec::new();
    let mut later: Vec<(usize, Owned)> = Vec::new();
    for segment in segments {
        out.push(segment.clone());
        if dice.roll(3) == 0 {
            later.push((out.len() + dice.roll(4), segment.clone()));
        }
        while let Some(place) = later.iter().position(|(due, _)| *due <= out.len()) {
            out.push(later.remove(place).1);
        }
    }
    out.extend(later.into_iter().map(|(_, segment)| segment));
    renumbered(out)
}

/// Moves packets by up to `window` places, and none behind one that came a second later: no capture is so far out of order.
pub(crate) fn reordered(segments: &[Owned], window: usize, dice: &mut Dice) -> Vec<Owned> {
    let is_near = |place: usize, to: usize| {
        segments.get(to).is_none_or(|it| it.at.since(segments[place].at) < Duration::from_secs(1))
    };
    let mut keyed: Vec<(usize, usize)> = (0..segments.len())
        .map(|place| {
            let moved = dice.roll(window + 1);
            let to = (place..=place + moved).rev().find(|to| is_near(place, *to));
            (to.unwrap_or(place), place)
        })
        .collect();
    keyed.sort();
    let out = keyed.into_iter().map(|(_, place)| segments[place].clone()).collect();
    renumbered(out)
}

/// Numbers frames anew; each packet keeps its own time.
pub(crate) fn renumbered(mut segments: Vec<Owned>) -> Vec<Owned> {
    for (number, segment) in segments.iter_mut().enumerate() {
        segment.frame.number = number as u64 + 1;
    }
    segments
}
