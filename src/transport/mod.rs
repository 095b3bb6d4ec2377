//! What carries the bytes of a protocol over TCP.
//!
//! In: the chunks of both directions of one TCP connection. Out: chunks of plain bytes, with the TCP offsets that they
//! came from. On most connections the protocol's bytes are TCP's; they pass unchanged. A direction that begins with TLS
//! is observed from outside, and gives plain bytes only if a key log has the secrets of its records. A PROXY protocol
//! header, which a load balancer puts before the bytes of its client, is taken off and remembered.

mod plain;
pub(crate) mod tls;

pub(crate) use self::plain::PlainChunk;
use self::tls::{Beginning, KeyLog, KeyNote, TlsFacts, TlsObserver, TlsOpener};
use crate::flow::{Direction, PerDirection};
use crate::memory::{MemoryBudget, Reservation};
use crate::packet::PacketRef;
use crate::stream::{StreamChunk, StreamEvent, TcpOffset};
use crate::wire::proxy::{ProxyHeader, ProxyStart, proxy_header};

/// What carries the bytes of one connection, by direction.
#[derive(Debug)]
pub(crate) struct Transport {
    directions: PerDirection<Carrier>,
    /// Allocated with the first header: nearly no connection has one.
    proxy: Option<Box<SeenProxyHeader>>,
    /// Where the secrets of TLS connections come from.
    key_log: KeyLog,
    /// Opens the records of TLS; allocated with the first hello, if there is a key log.
    opener: Option<Box<TlsOpener>>,
    /// Memory for bytes that wait for the rest of a header, message or record.
    memory: Reservation,
}

/// A PROXY protocol header at the beginning of a direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenProxyHeader {
    /// The direction that begins with it.
    pub(crate) direction: Direction,
    /// The contents of the header.
    pub(crate) header: ProxyHeader,
    /// The packet that completed it.
    pub(crate) packet: PacketRef,
}

/// What carries the bytes of one direction.
#[derive(Debug)]
enum Carrier {
    /// No chunk came yet, or a PROXY protocol header alone.
    Unseen,
    /// These first bytes may be the beginning of TLS, or of a PROXY protocol header.
    Undecided { held: Vec<u8>, packet: PacketRef, end: TcpOffset },
    /// TCP alone, or a stream whose beginning the capture lacks.
    Plain,
    /// Records of TLS, observed from outside.
    Tls(Box<TlsObserver>),
}

impl Transport {
    /// A transport that recognizes TLS and PROXY protocol headers by the first bytes of a direction.
    /// What it holds counts against `memory`.
    pub(crate) fn recognizing(key_log: &KeyLog, memory: &MemoryBudget) -> Self {
        let (low_to_high, high_to_low) = (Carrier::Unseen, Carrier::Unseen);
        Self {
            directions: PerDirection { low_to_high, high_to_low },
            proxy: None,
            key_log: key_log.clone(),
            opener: None,
            memory: memory.reservation(),
        }
    }

    /// Takes the next chunk of one direction and gives the plain bytes in it. `from_start`: the first chunk of the
    /// direction begins with the first byte of its stream.
    #[inline(always)] // one comparison on the path of plain bytes
    pub(crate) fn on_chunk(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        from_start: bool,
        out: &mut impl FnMut(Direction, &PlainChunk<'_>),
    ) {
        if matches!(self.directions[direction], Carrier::Plain) {
            out(direction, &PlainChunk::from(chunk));
        } else {
            self.on_other(direction, chunk, from_start, out);
        }
    }

    /// The TLS records of a direction, if it is carried by TLS.
    pub(crate) fn tls(&self, direction: Direction) -> Option<&TlsFacts> {
        match &self.directions[direction] {
            Carrier::Tls(observer) => Some(observer.facts()),
            Carrier::Unseen | Carrier::Undecided { .. } | Carrier::Plain => None,
        }
    }

    /// Whether a direction is carried by TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.directions.each().into_iter().any(|carrier| matches!(carrier, Carrier::Tls(_)))
    }

    /// Opens the records of TLS with the secrets of a key log, if it has them.
    pub(crate) fn opener(&self) -> Option<&TlsOpener> {
        self.opener.as_deref()
    }

    /// Opens records that wait for secrets, if those have come meanwhile. `is_end`: no chunk follows.
    pub(crate) fn open_waiting(
        &mut self,
        is_end: bool,
        out: &mut dyn FnMut(Direction, &PlainChunk<'_>),
    ) {
        let Some(opener) = &mut self.opener else { return };
        if is_end {
            opener.on_end(out);
        } else {
            opener.look_again(out);
        }
        self.take_found();
    }

    /// What a user is to know about the secrets of the connection, once.
    pub(crate) fn take_note(&mut self) -> Option<KeyNote> {
        self.opener.as_mut()?.take_note()
    }

    /// Wipes the keys of the connection, which has ended.
    pub(crate) fn wipe_keys(&mut self) {
        if let Some(opener) = &mut self.opener {
            opener.wipe();
        }
    }

    /// Passes the messages that were found in encrypted records to the observers.
    fn take_found(&mut self) {
        let Some(opener) = &mut self.opener else { return };
        for found in opener.take_found() {
            if let Carrier::Tls(observer) = &mut self.directions[found.direction] {
                observer.on_found(&found);
            }
        }
    }

    /// The PROXY protocol header of the connection.
    pub(crate) fn proxy(&self) -> Option<&SeenProxyHeader> {
        self.proxy.as_deref()
    }

    /// Gives the first bytes of a direction that are still undecided: no chunk follows.
    pub(crate) fn give_rest(
        &mut self,
        direction: Direction,
        out: &mut impl FnMut(Direction, &PlainChunk<'_>),
    ) {
        let carrier = &mut self.directions[direction];
        if let Carrier::Undecided { held, packet, end } = carrier {
            let event = StreamEvent::Data(held);
            out(direction, &PlainChunk::from(&StreamChunk { packet, end: *end, event }));
            *carrier = Carrier::Plain;
        }
    }

    /// Takes a chunk of a direction that is not, or not yet, plain. Dynamic dispatch: this runs for the first chunks of
    /// a connection, and a second copy of the protocol's code would not be worth it.
    #[inline(never)]
    fn on_other(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        from_start: bool,
        out: &mut dyn FnMut(Direction, &PlainChunk<'_>),
    ) {
        self.take(direction, chunk, from_start, out);
        let held = self.held();
        if !self.memory.resize(held) {
            self.drop_held(direction, chunk, out);
        }
    }

    /// Number of bytes that wait for the rest of a header, message or record.
    fn held(&self) -> usize {
        let carried = self.directions.each().map(|carrier| match carrier {
            Carrier::Undecided { held, .. } => held.len(),
            Carrier::Tls(observer) => observer.held(),
            Carrier::Unseen | Carrier::Plain => 0,
        });
        carried.iter().sum::<usize>() + self.opener.as_ref().map_or(0, |opener| opener.held())
    }

    /// Drops the bytes that wait, as if the capture lacked them. `chunk` is the last one, of `direction`.
    #[cold]
    fn drop_held(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        out: &mut dyn FnMut(Direction, &PlainChunk<'_>),
    ) {
        for side in [Direction::LowToHigh, Direction::HighToLow] {
            let carrier = &mut self.directions[side];
            match carrier {
                Carrier::Undecided { held, packet, end } => {
                    let event = StreamEvent::Gap(held.len() as u64);
                    out(side, &PlainChunk::from(&StreamChunk { packet, end: *end, event }));
                    *carrier = Carrier::Plain;
                }
                Carrier::Tls(observer) => observer.drop_held(),
                Carrier::Unseen | Carrier::Plain => {}
            }
        }
        if let Some(opener) = &mut self.opener {
            // The record that is incomplete cannot be opened; the next one begins where its length shows.
            for side in [direction, direction.reverse()] {
                opener.on_chunk(side, &StreamChunk { event: StreamEvent::Gap(0), ..*chunk }, out);
            }
        }
        let held = self.held();
        let _ = self.memory.resize(held);
    }

    fn take(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        from_start: bool,
        out: &mut dyn FnMut(Direction, &PlainChunk<'_>),
    ) {
        let carrier = &mut self.directions[direction];
        let mut held = match carrier {
            Carrier::Tls(observer) => {
                observer.on_chunk(chunk);
                if let Some(opener) = &mut self.opener {
                    opener.on_chunk(direction, chunk, out);
                    self.take_found();
                }
                return;
            }
            Carrier::Undecided { held, .. } => std::mem::take(held),
            Carrier::Unseen if from_start => Vec::new(),
            Carrier::Unseen | Carrier::Plain => {
                *carrier = Carrier::Plain;
                return out(direction, &PlainChunk::from(chunk));
            }
        };
        let StreamEvent::Data(bytes) = chunk.event else {
            // What was held is part of a record, or of a message, that the capture lacks in part.
            *carrier = Carrier::Plain;
            return out(direction, &PlainChunk::from(chunk));
        };
        let mut bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        let (packet, end) = (*chunk.packet, chunk.end);
        let undecided = |bytes: &[u8]| Carrier::Undecided { held: bytes.to_vec(), packet, end };
        if self.proxy.is_none() {
            match proxy_header(bytes) {
                ProxyStart::No => {}
                ProxyStart::CutShort => return *carrier = undecided(bytes),
                ProxyStart::Header(header, used) => {
                    self.proxy = Some(Box::new(SeenProxyHeader { direction, header, packet }));
                    bytes = bytes.get(used..).unwrap_or_default();
                    if bytes.is_empty() {
                        return *carrier = Carrier::Unseen;
                    }
                }
            }
        }
        match tls::beginning(bytes) {
            Beginning::CutShort => *carrier = undecided(bytes),
            Beginning::Other => {
                *carrier = Carrier::Plain;
                let event = StreamEvent::Data(bytes);
                out(direction, &PlainChunk::from(&StreamChunk { event, ..*chunk }));
            }
            Beginning::Alert(alert) => {
                *carrier = Carrier::Tls(Box::new(TlsObserver::of_alert(alert, packet)));
            }
            Beginning::Hello { body, rest } => {
                let mut observer = Box::new(TlsObserver::of_hello(body, packet));
                observer.on_chunk(&StreamChunk { event: StreamEvent::Data(rest), ..*chunk });
                *carrier = Carrier::Tls(observer);
                if self.key_log.is_in_use() {
                    let log = &self.key_log;
                    let opener = self.opener.get_or_insert_with(|| Box::new(TlsOpener::new(log)));
                    let event = StreamEvent::Data(bytes);
                    opener.on_chunk(direction, &StreamChunk { event, ..*chunk }, out);
                    self.take_found();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::FrameRef;
    use crate::time::Timestamp;

    const HEADER: &[u8] = b"PROXY TCP4 10.7.0.1 10.7.0.3 59220 9100\r\n";

    /// The plain bytes of a direction that begins with `stream`, in chunks of `size` bytes; and the header.
    fn carried(stream: &[u8], size: usize) -> (Vec<u8>, Option<ProxyHeader>, bool) {
        let mut transport = Transport::recognizing(&KeyLog::default(), &MemoryBudget::new(1 << 20));
        let (mut plain, mut end) = (Vec::new(), TcpOffset::BASE);
        let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
        for bytes in stream.chunks(size) {
            end = end.plus(bytes.len() as u64);
            let chunk = StreamChunk { packet: &packet, end, event: StreamEvent::Data(bytes) };
            transport.on_chunk(Direction::LowToHigh, &chunk, true, &mut |_, chunk| {
                if let StreamEvent::Data(bytes) = chunk.event {
                    plain.extend_from_slice(bytes);
                }
            });
        }
        let header = transport.proxy().map(|seen| seen.header);
        (plain, header, transport.has_tls())
    }

    #[test]
    fn a_proxy_header_is_taken_off_in_any_segmentation() {
        let stream = [HEADER, b"\0\x03sok"].concat();
        for size in 1..60 {
            let (plain, header, _) = carried(&stream, size);
            assert_eq!((&*plain, header.map(|it| it.version)), (&b"\0\x03sok"[..], Some(1)));
        }
        assert_eq!(carried(HEADER, 99).0, b"");
    }

    #[test]
    fn tls_is_recognized_behind_a_proxy_header() {
        let alert = b"\x15\x03\x03\0\x02\x02\x0a";
        let (plain, header, has_tls) = carried(&[HEADER, alert].concat(), 7);
        assert!(plain.is_empty() && header.is_some() && has_tls);
    }

    #[test]
    fn a_second_header_and_one_in_the_middle_are_plain_bytes() {
        assert_eq!(carried(&[HEADER, HEADER].concat(), 9).0, HEADER);
        assert_eq!(carried(&[b"\0\x03sok", HEADER].concat(), 9).1, None);
    }

    #[test]
    fn bytes_that_remain_undecided_are_given_at_the_end() {
        for held in [&b"\x16\x03\x01"[..], b"PROXY TCP4 ", b"\r\n"] {
            let mut transport =
                Transport::recognizing(&KeyLog::default(), &MemoryBudget::new(1 << 20));
            let packet = PacketRef { frame: FrameRef::default(), at: Timestamp(0) };
            let end = TcpOffset::BASE.plus(held.len() as u64);
            let chunk = StreamChunk { packet: &packet, end, event: StreamEvent::Data(held) };
            transport.on_chunk(Direction::LowToHigh, &chunk, true, &mut |_, _| panic!("too early"));
            let mut plain = Vec::new();
            transport.give_rest(Direction::LowToHigh, &mut |_, chunk| {
                if let StreamEvent::Data(bytes) = chunk.event {
                    plain.extend_from_slice(bytes);
                }
            });
            assert_eq!(plain, held);
        }
    }
}
