//! One direction of a TCP connection: its bytes in order, and what replaces them.
//!
//! In: pieces of the stream by offset, in any order and several times. Out: replacements by offset. A message is replaced
//! when all of it is there; a piece that waits for the rest of its message, or for bytes before it, can be forced. What
//! was replaced is kept for a while, so that bytes that are sent again are replaced alike.

use std::collections::BTreeMap;

use super::frames;
use super::messages;
use super::pseudonyms::Pseudonyms;
use super::tls;
use crate::identify::{self, PayloadMatch};
use crate::wire::header::{Credible, credible_frame};
use crate::wire::proxy::{ProxyStart, proxy_header};

/// One direction of a connection.
#[derive(Default)]
pub(super) struct StreamSide {
    /// Sequence number of the first byte, once it is known.
    first: Option<u32>,
    /// Offset of the next byte without a replacement.
    next: u64,
    /// Bytes from there on, in order.
    pending: Vec<u8>,
    /// Bytes behind a hole.
    later: BTreeMap<u64, Vec<u8>>,
    later_bytes: usize,
    /// The last replacements, up to `next`.
    history: Vec<u8>,
    /// Offsets of pieces that wait to be written, the first one first.
    waiting: std::collections::VecDeque<u64>,
    state: StreamState,
    /// Bytes of a message that are left zero.
    skip: u64,
    /// Bytes that must be pending for the next message to be complete, as far as its length is known.
    needed: usize,
    /// Whether the first byte of the stream was seen.
    is_from_start: bool,
}

/// What a direction is in the middle of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum StreamState {
    /// The first byte, or the first one behind a PROXY protocol header.
    #[default]
    Start,
    /// Handshake messages; whether the sender was dialed, once that is known.
    Handshake(Option<bool>),
    Frames,
    /// An unknown position, from the start or since a gap.
    Searching,
    EpmdClient,
    EpmdServer,
    /// The lines of a list of names.
    EpmdLines,
    Tls {
        is_sealed: bool,
    },
    /// Bytes that nothing here reads.
    Opaque,
}

/// What is known of the connection of a direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// Whether this side is on a port of EPMD, or answers a request to EPMD.
    pub(super) is_epmd: bool,
    /// Whether the other side is.
    pub(super) asks_epmd: bool,
    /// First byte of the last request to EPMD of the other side.
    pub(super) request: u8,
}

/// What a direction has shown of its connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct StreamSigns {
    /// First byte of a request to EPMD.
    pub(super) request: Option<u8>,
}

impl StreamSigns {
    /// What is known after both.
    pub(super) fn or(self, later: Self) -> Self {
        Self { request: later.request.or(self.request) }
    }
}

/// A step of a parser.
enum ParserStep {
    /// More bytes are needed.
    Need,
    /// The replacement of as many bytes.
    Done(Vec<u8>),
    /// What follows is known now: another step replaces it.
    Again,
}

impl StreamSide {
    /// Notes the sequence number of a SYN. `false` if the direction has begun with another one.
    pub(super) fn open(&mut self, seq: u32) -> bool {
        let first = seq.wrapping_add(1);
        match self.first {
            Some(known) => known == first,
            None => {
                self.first = Some(first);
                self.is_from_start = true;
                true
            }
        }
    }

    /// The offset of a sequence number; `None` if it is before the first byte.
    pub(super) fn offset(&mut self, seq: u32) -> Option<u64> {
        let first = *self.first.get_or_insert(seq);
        let end = self.next + self.pending.len() as u64;
        let expected = first.wrapping_add(low_half(end));
        // The distance is signed: a segment may come late.
        let distance = i64::from(seq.wrapping_sub(expected).cast_signed());
        end.checked_add_signed(distance)
    }

    /// Whether everything up to `end` has its replacement.
    pub(super) const fn is_known(&self, end: u64) -> bool {
        self.next >= end
    }

    /// Whether the direction carries nothing that is read.
    pub(super) fn is_opaque(&self) -> bool {
        self.state == StreamState::Opaque && self.skip == 0
    }

    /// Whether `end` is behind the last byte in order.
    pub(super) const fn is_at(&self, end: u64) -> bool {
        self.next + self.pending.len() as u64 == end
    }

    /// Notes that a piece at `offset` waits to be written.
    pub(super) fn wait(&mut self, offset: u64) {
        self.waiting.push_back(offset);
    }

    /// Bytes that are held.
    pub(super) fn size(&self) -> usize {
        self.pending.len() + self.later_bytes + self.history.len()
    }

    /// Takes a piece, and replaces what is complete.
    pub(super) fn insert(
        &mut self,
        offset: u64,
        bytes: &[u8],
        context: &Context,
        names: &mut Pseudonyms,
    ) -> StreamSigns {
        let end = self.next + self.pending.len() as u64;
        let mut shown = StreamSigns::default();
        if offset > end {
            if self.later_bytes + bytes.len() <= MOST_LATER && !self.later.contains_key(&offset) {
                self.later_bytes += bytes.len();
                self.later.insert(offset, bytes.to_vec());
            }
            return shown;
        }
        let known = usize::try_from(end - offset).unwrap_or(usize::MAX);
        if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
            self.pending.extend_from_slice(new);
            self.run(false, context, names, &mut shown);
            self.take_later(context, names, &mut shown);
        }
        shown
    }

    fn take_later(&mut self, context: &Context, names: &mut Pseudonyms, shown: &mut StreamSigns) {
        while let Some(entry) = self.later.first_entry() {
            let end = self.next + self.pending.len() as u64;
            if *entry.key() > end {
                return;
            }
            let (offset, bytes) = entry.remove_entry();
            self.later_bytes -= bytes.len();
            let known = usize::try_from(end - offset).unwrap_or(usize::MAX);
            if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
                self.pending.extend_from_slice(new);
                self.run(false, context, names, shown);
            }
        }
    }

    /// Passes over `bytes` behind what is pending, which the capture lacks.
    pub(super) fn gap(
        &mut self,
        bytes: u64,
        context: &Context,
        names: &mut Pseudonyms,
    ) -> StreamSigns {
        let mut shown = StreamSigns::default();
        self.run(true, context, names, &mut shown);
        self.next += bytes;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= HISTORY => self.history.resize(self.history.len() + bytes, 0),
            _ => self.history.clear(),
        }
        if self.skip > bytes {
            self.skip -= bytes;
        } else if self.skip == bytes && bytes > 0 {
            self.skip = 0;
        } else {
            self.skip = 0;
            self.state = match self.state {
                StreamState::Start
                | StreamState::Handshake(_)
                | StreamState::Frames
                | StreamState::Searching => StreamState::Searching,
                _ => StreamState::Opaque,
            };
        }
        self.take_later(context, names, &mut shown);
        shown
    }

    /// Replaces everything up to `end`, as far as it was seen, without waiting any longer.
    pub(super) fn force(
        &mut self,
        end: u64,
        context: &Context,
        names: &mut Pseudonyms,
    ) -> StreamSigns {
        let mut shown = StreamSigns::default();
        while self.next < end {
            if !self.pending.is_empty() {
                self.run(true, context, names, &mut shown);
                self.take_later(context, names, &mut shown);
                continue;
            }
            let Some(offset) = self.later.keys().next().copied() else { break };
            if offset >= end {
                break;
            }
            shown = shown.or(self.gap(offset.saturating_sub(self.next).max(1), context, names));
        }
        shown
    }

    /// Writes the replacements of a piece at `offset`. Bytes whose replacement is not known stay as they are.
    pub(super) fn write(&mut self, offset: u64, out: &mut [u8]) {
        // Pieces are written in the order in which they came.
        while self.waiting.pop_front().is_some_and(|waiting| waiting != offset) {}
        let start = self.next - self.history.len() as u64;
        let from = usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
        let to = usize::try_from(start.saturating_sub(offset)).unwrap_or(usize::MAX);
        let known = self.history.get(from..).unwrap_or_default();
        out.iter_mut().skip(to).zip(known).for_each(|(to, from)| *to = *from);
    }

    /// Replaces what is complete; with `force` also the rest.
    fn run(
        &mut self,
        force: bool,
        context: &Context,
        names: &mut Pseudonyms,
        shown: &mut StreamSigns,
    ) {
        if !force && self.pending.len() < self.needed {
            return;
        }
        self.needed = 0;
        let pending = std::mem::take(&mut self.pending);
        let mut input = pending.as_slice();
        while !input.is_empty() {
            if self.skip > 0 {
                let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
                self.skip -= here as u64;
                self.done(&vec![0; here]);
                input = input.get(here..).unwrap_or_default();
                continue;
            }
            match self.step(input, force, context, names, shown) {
                ParserStep::Need => break,
                ParserStep::Again => {}
                ParserStep::Done(new) => {
                    let len = new.len().clamp(1, input.len());
                    self.done(new.get(..len).unwrap_or(&[0]));
                    input = input.get(len..).unwrap_or_default();
                }
            }
        }
        self.pending = input.to_vec();
        let needed = self.waiting.front().copied().unwrap_or(self.next);
        let keep = usize::try_from(self.next.saturating_sub(needed)).unwrap_or(usize::MAX);
        let keep = keep.clamp(HISTORY, MOST_KEPT);
        if self.history.len() > keep.saturating_mul(2) {
            self.history.drain(..self.history.len() - keep);
        }
    }

    fn done(&mut self, new: &[u8]) {
        self.next += new.len() as u64;
        if self.state == StreamState::Opaque && self.waiting.is_empty() {
            // Bytes that are not kept are zero.
            self.history.clear();
        } else {
            self.history.extend_from_slice(new);
        }
    }

    fn step(
        &mut self,
        input: &[u8],
        force: bool,
        context: &Context,
        names: &mut Pseudonyms,
        shown: &mut StreamSigns,
    ) -> ParserStep {
        match self.state {
            StreamState::Start => self.start(input, force, context, names, shown),
            StreamState::Handshake(role) => self.handshake(input, force, role, names),
            StreamState::Frames => self.frame(input, force, names),
            StreamState::Searching => self.search(input, force),
            StreamState::EpmdClient => self.request(input, force, names, shown),
            StreamState::EpmdServer => self.reply(input, force, context, names),
            StreamState::EpmdLines => lines(input, force, names),
            StreamState::Tls { is_sealed } => self.record(input, force, is_sealed, names),
            StreamState::Opaque => ParserStep::Done(vec![0; input.len()]),
        }
    }

    /// The first bytes show the protocol.
    fn start(
        &mut self,
        input: &[u8],
        force: bool,
        context: &Context,
        names: &mut Pseudonyms,
        shown: &mut StreamSigns,
    ) -> ParserStep {
        match proxy_header(input) {
            ProxyStart::Header(_, len) => {
                let header = input.get(..len).unwrap_or(input);
                return ParserStep::Done(messages::proxy(header, names));
            }
            ProxyStart::CutShort if !force && input.len() < MOST_HEAD => return ParserStep::Need,
            _ => {}
        }
        if input.len() < 3 && !force {
            return ParserStep::Need;
        }
        let is_tls = matches!(input, [20..=23, 3, ..]) && !context.is_epmd_reply(input);
        if is_tls {
            self.state = StreamState::Tls { is_sealed: false };
            return ParserStep::Again;
        }
        if context.is_epmd {
            self.state = StreamState::EpmdServer;
            return self.reply(input, force, context, names);
        }
        if context.asks_epmd || identify::is_epmd_request(input) {
            self.state = StreamState::EpmdClient;
            return self.request(input, force, names, shown);
        }
        match identify::handshake_start(input) {
            PayloadMatch::Certain | PayloadMatch::Fits => {
                self.state = StreamState::Handshake(None);
                return self.handshake(input, force, None, names);
            }
            PayloadMatch::Unsure if !force && input.len() < MOST_HEAD => return ParserStep::Need,
            PayloadMatch::Unsure | PayloadMatch::No => {}
        }
        if self.is_from_start {
            // What is no handshake message is foreign there.
            self.state = StreamState::Handshake(None);
            return ParserStep::Again;
        }
        self.state = StreamState::Searching;
        self.search(input, force)
    }

    /// Bytes of another protocol: of the first ones stays what shows which.
    fn foreign(&mut self, input: &[u8]) -> ParserStep {
        self.state = StreamState::Opaque;
        let mut new = vec![0; input.len()];
        match identify::sign(input) {
            Some(sign) => new.iter_mut().zip(sign).for_each(|(to, from)| *to = *from),
            // Zeros would be a sign as well.
            None => new.iter_mut().take(1).for_each(|first| *first = 0xff),
        }
        ParserStep::Done(new)
    }

    fn handshake(
        &mut self,
        input: &[u8],
        force: bool,
        role: Option<bool>,
        names: &mut Pseudonyms,
    ) -> ParserStep {
        let Some(&[high, low, tag]) = input.first_chunk() else {
            return if force { ParserStep::Done(input.to_vec()) } else { ParserStep::Need };
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len == 0 || len > MOST_MESSAGE || !b"Nnscra".contains(&tag) {
            return self.foreign(input);
        }
        let available = input.get(2..).unwrap_or_default();
        let Some(body) = available.get(..len) else {
            if !force {
                self.needed = 2 + len;
                return ParserStep::Need;
            }
            self.skip = (len - available.len()) as u64;
            self.after_handshake(tag, role);
            return ParserStep::Done(
                [&[high, low, tag], vec![0; available.len() - 1].as_slice()].concat(),
            );
        };
        let role = role.or_else(|| (tag == b's').then_some(true));
        self.after_handshake(tag, role);
        let new = messages::handshake(body, role, names);
        ParserStep::Done([&[high, low], new.as_slice()].concat())
    }

    /// Which messages follow a message of the handshake.
    const fn after_handshake(&mut self, tag: u8, role: Option<bool>) {
        self.state = match tag {
            b'r' | b'a' => StreamState::Frames,
            b'c' => StreamState::Handshake(Some(false)),
            _ => StreamState::Handshake(role),
        };
    }

    fn frame(&mut self, input: &[u8], force: bool, names: &mut Pseudonyms) -> ParserStep {
        let Some((prefix, body)) = input.split_first_chunk::<4>() else {
            // A part of a length.
            return if force { ParserStep::Done(input.to_vec()) } else { ParserStep::Need };
        };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        let wanted = len.min(MOST_FRONT);
        let front = body.get(..wanted);
        let is_frame = match body {
            [] | [_] => true,
            _ => len == 0 || matches!(body, [112, 131, ..] | [131, 68..=70, ..]),
        };
        if front.is_none() && !force && (is_frame || body.len() < 2) {
            // Two bytes show whether it is one.
            self.needed = 4 + if body.len() < 2 { wanted.min(2) } else { wanted };
            return ParserStep::Need;
        }
        let front = front.unwrap_or(body);
        let new = frames::frame(front, names);
        if !is_frame {
            self.state = StreamState::Searching;
        } else {
            self.skip = (len - front.len()) as u64;
        }
        ParserStep::Done([prefix.as_slice(), &new].concat())
    }

    /// Looks for a message at the front, as the analysis does at the front of a segment.
    fn search(&mut self, input: &[u8], force: bool) -> ParserStep {
        let is_short = !force && input.len() < MOST_HEAD;
        match (identify::handshake_start(input), credible_frame(input)) {
            (PayloadMatch::Certain | PayloadMatch::Fits, _) => {
                self.state = StreamState::Handshake(None);
                ParserStep::Again
            }
            (_, Credible::Yes) => {
                self.state = StreamState::Frames;
                ParserStep::Again
            }
            (_, Credible::Tick) if input.len() > 4 && input.iter().any(|byte| *byte != 0) => {
                ParserStep::Done(vec![0; 4])
            }
            (_, Credible::Tick) => ParserStep::Done(vec![0; input.len()]),
            (PayloadMatch::Unsure, _) | (_, Credible::NeedMore(_)) if is_short => ParserStep::Need,
            _ => {
                let mut new = vec![0; input.len()];
                // Zeros alone would be a tick.
                new.iter_mut().take(1).for_each(|first| *first = 0xff);
                ParserStep::Done(new)
            }
        }
    }

    fn request(
        &mut self,
        input: &[u8],
        force: bool,
        names: &mut Pseudonyms,
        shown: &mut StreamSigns,
    ) -> ParserStep {
        let Some(&[high, low, tag]) = input.first_chunk() else {
            return if force { ParserStep::Done(input.to_vec()) } else { ParserStep::Need };
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len == 0 || len > MOST_MESSAGE {
            return self.foreign(input);
        }
        shown.request = Some(tag);
        let available = input.get(2..).unwrap_or_default();
        let body = available.get(..len);
        if body.is_none() && !force {
            return ParserStep::Need;
        }
        let body = body.unwrap_or(available);
        self.skip = (len - body.len()) as u64;
        ParserStep::Done([&[high, low], messages::epmd_request(body, names).as_slice()].concat())
    }

    fn reply(
        &mut self,
        input: &[u8],
        force: bool,
        context: &Context,
        names: &mut Pseudonyms,
    ) -> ParserStep {
        let is_list = matches!(context.request, b'n' | b'd');
        let len = match input {
            [a, b, c, d, ..] if is_list => {
                self.state = StreamState::EpmdLines;
                let port = u16::from_be_bytes([*c, *d]);
                let [high, low] = names.port(port).to_be_bytes();
                return ParserStep::Done(vec![*a, *b, high, low]);
            }
            _ if is_list && !force => return ParserStep::Need,
            [b'v', ..] => 6,
            [b'y', ..] => 4,
            [b'w', 0, rest @ ..] => {
                let name = rest.get(8..10).and_then(|len| len.try_into().ok());
                let name = name.map_or(0, |len| usize::from(u16::from_be_bytes(len)));
                let extra = rest.get(10 + name..12 + name).and_then(|len| len.try_into().ok());
                let extra = extra.map(|len| usize::from(u16::from_be_bytes(len)));
                match extra {
                    Some(extra) => 14 + name + extra,
                    None if force => input.len(),
                    None => return ParserStep::Need,
                }
            }
            [b'w', _, ..] => 2,
            [b'w'] if !force => return ParserStep::Need,
            // The answer to a command, which the close ends.
            [b'A'..=b'Z', ..] if matches!(context.request, b'k' | b's') => input.len(),
            _ => return self.foreign(input),
        };
        match input.get(..len) {
            Some(reply) => ParserStep::Done(messages::epmd_reply(reply, names)),
            None if force => ParserStep::Done(messages::epmd_reply(input, names)),
            None => ParserStep::Need,
        }
    }

    fn record(
        &mut self,
        input: &[u8],
        force: bool,
        is_sealed: bool,
        names: &mut Pseudonyms,
    ) -> ParserStep {
        let Some((header, available)) = input.split_first_chunk::<5>() else {
            return if force { ParserStep::Done(vec![0; input.len()]) } else { ParserStep::Need };
        };
        let [kind @ 20..=23, 3, _, high, low] = *header else {
            self.state = StreamState::Opaque;
            return ParserStep::Done(vec![0; input.len()]);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > MOST_RECORD {
            self.state = StreamState::Opaque;
            return ParserStep::Done([header.as_slice(), &vec![0; available.len()]].concat());
        }
        let body = available.get(..len);
        if body.is_none() && !force {
            self.needed = 5 + len;
            return ParserStep::Need;
        }
        let body = body.unwrap_or(available);
        self.skip = (len - body.len()) as u64;
        let new = tls::record(kind, body, is_sealed, names);
        if kind == tls::CHANGE_CIPHER_SPEC {
            self.state = StreamState::Tls { is_sealed: true };
        }
        ParserStep::Done([header.as_slice(), &new].concat())
    }
}

impl Context {
    /// Whether the bytes are a reply of EPMD that looks like a record of TLS: none does, since replies begin with a
    /// letter or a port.
    const fn is_epmd_reply(&self, input: &[u8]) -> bool {
        self.is_epmd && matches!(self.request, b'n' | b'd') && input.len() < 5
    }
}

fn lines(input: &[u8], force: bool, names: &mut Pseudonyms) -> ParserStep {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = input.get(..=end).unwrap_or(input);
            ParserStep::Done(messages::epmd_line(line, names))
        }
        None if force || input.len() > MOST_HEAD => {
            ParserStep::Done(messages::epmd_line(input, names))
        }
        None => ParserStep::Need,
    }
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

/// Bytes of a direction that may wait behind a hole.
const MOST_LATER: usize = 1 << 20;

/// Replacements that are kept for bytes that are sent again: a window of most connections.
const HISTORY: usize = 32 << 10;

/// Replacements that are kept for pieces that wait: as many as packets may wait.
const MOST_KEPT: usize = 16 << 20;

/// Bytes of a message of EPMD or of the handshake.
const MOST_MESSAGE: usize = 4096;

/// Bytes within which the first message shows what it is.
const MOST_HEAD: usize = 4096;

/// Bytes of a frame that are read: the size of a fragment. The rest of a longer frame is zero.
const MOST_FRONT: usize = 64 << 10;

/// Bytes of the longest record of TLS.
const MOST_RECORD: usize = (1 << 14) + 2048;
