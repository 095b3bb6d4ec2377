//! What carries the bytes of a protocol over TCP.
//!
//! In: the chunks of both directions of one TCP connection. Out: chunks of plain bytes, with the TCP offsets that they
//! came from. On most connections the protocol's bytes are TCP's; they pass unchanged. A direction that begins with TLS
//! gives no plain bytes: its records are observed, not decrypted. A transport that decrypts belongs into a folder of its
//! own, or into [`tls`]; it would see both directions here, as its keys need.

mod plain;
pub(crate) mod tls;

pub(crate) use self::plain::PlainChunk;
use self::tls::{Beginning, TlsFacts, TlsObserver};
use crate::flow::{Direction, PerDirection};
use crate::stream::{StreamChunk, StreamEvent};

/// What carries the bytes of one connection, by direction.
#[derive(Debug)]
pub(crate) struct Transport {
    directions: PerDirection<Carrier>,
}

/// What carries the bytes of one direction.
#[derive(Debug)]
enum Carrier {
    /// No chunk came yet.
    Unseen,
    /// These first bytes may be the beginning of TLS.
    Undecided(Vec<u8>),
    /// TCP alone, or a stream whose beginning the capture lacks.
    Plain,
    /// TLS, which is not decrypted.
    Tls(Box<TlsObserver>),
}

impl Transport {
    /// A transport that recognizes TLS by the first bytes of a direction.
    pub(crate) const fn recognizing() -> Self {
        let (low_to_high, high_to_low) = (Carrier::Unseen, Carrier::Unseen);
        Self { directions: PerDirection { low_to_high, high_to_low } }
    }

    /// A transport for protocols that are never carried by TLS.
    pub(crate) const fn plain() -> Self {
        let (low_to_high, high_to_low) = (Carrier::Plain, Carrier::Plain);
        Self { directions: PerDirection { low_to_high, high_to_low } }
    }

    /// Takes the next chunk of one direction and gives the plain bytes in it. `from_start`: the first chunk of the
    /// direction begins with the first byte of its stream.
    #[inline(always)] // one comparison on the path of plain bytes
    pub(crate) fn on_chunk(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        from_start: bool,
        out: &mut impl FnMut(&PlainChunk<'_>),
    ) {
        if matches!(self.directions[direction], Carrier::Plain) {
            out(&PlainChunk::from(chunk));
        } else {
            self.on_other(direction, chunk, from_start, out);
        }
    }

    /// The TLS records of a direction, if it is carried by TLS.
    pub(crate) fn tls(&self, direction: Direction) -> Option<&TlsFacts> {
        match &self.directions[direction] {
            Carrier::Tls(observer) => Some(observer.facts()),
            Carrier::Unseen | Carrier::Undecided(_) | Carrier::Plain => None,
        }
    }

    /// Whether a direction is carried by TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.directions.each().into_iter().any(|carrier| matches!(carrier, Carrier::Tls(_)))
    }

    /// Takes a chunk of a direction that is not, or not yet, plain. Dynamic dispatch: this runs for the first chunks of
    /// a connection, and a second copy of the protocol's code would not be worth it.
    #[inline(never)]
    fn on_other(
        &mut self,
        direction: Direction,
        chunk: &StreamChunk<'_>,
        from_start: bool,
        out: &mut dyn FnMut(&PlainChunk<'_>),
    ) {
        let carrier = &mut self.directions[direction];
        let mut held = match carrier {
            Carrier::Tls(observer) => return observer.on_chunk(chunk),
            Carrier::Undecided(held) => std::mem::take(held),
            Carrier::Unseen if from_start => Vec::new(),
            Carrier::Unseen | Carrier::Plain => {
                *carrier = Carrier::Plain;
                return out(&PlainChunk::from(chunk));
            }
        };
        let StreamEvent::Data(bytes) = chunk.event else {
            // What was held is part of a record, or of a message, that the capture lacks in part.
            *carrier = Carrier::Plain;
            return out(&PlainChunk::from(chunk));
        };
        let bytes = if held.is_empty() {
            bytes
        } else {
            held.extend_from_slice(bytes);
            &held
        };
        match tls::beginning(bytes) {
            Beginning::CutShort => *carrier = Carrier::Undecided(bytes.to_vec()),
            Beginning::Other => {
                *carrier = Carrier::Plain;
                let event = StreamEvent::Data(bytes);
                out(&PlainChunk::from(&StreamChunk { event, ..*chunk }));
            }
            Beginning::Alert(alert) => {
                *carrier = Carrier::Tls(Box::new(TlsObserver::of_alert(alert, *chunk.packet)));
            }
            Beginning::Hello { body, rest } => {
                let mut observer = Box::new(TlsObserver::of_hello(body, *chunk.packet));
                observer.on_chunk(&StreamChunk { event: StreamEvent::Data(rest), ..*chunk });
                *carrier = Carrier::Tls(observer);
            }
        }
    }
}
