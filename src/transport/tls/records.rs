//! Cuts one direction of a TLS connection into records.
//!
//! In: chunks of its stream, from the first byte. Out: whole records; records that the capture lacks in part; and places
//! behind which the start of the next record is unknown. There a record is searched for, and the code with the keys
//! decides whether the bytes are one.

use crate::packet::PacketRef;
use crate::stream::{StreamChunk, StreamEvent, TcpOffset};
use crate::wire::decode;
use crate::wire::tls::{ContentType, MAJOR, RecordHeader, record_header};

/// The bytes of a header.
pub(super) type HeaderBytes = [u8; RecordHeader::LEN];

/// What comes next in a direction.
#[derive(Debug)]
pub(super) enum RecordEvent<'a> {
    /// A record with all its bytes.
    Whole(WholeRecord<'a>),
    /// Bytes that may be a record: they have the form of one, behind a gap. The answer decides.
    Candidate(WholeRecord<'a>),
    /// A record with this header, of which the capture lacks a part.
    Broken(HeaderBytes),
    /// So many bytes are missing that the start of the next record is unknown. They held a number of whole records.
    Lost(u64),
}

/// A record as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeRecord<'a> {
    /// The bytes of its header.
    pub(super) header: &'a HeaderBytes,
    /// The bytes behind its header.
    pub(super) body: &'a [u8],
    /// The packet that completed it.
    pub(super) packet: PacketRef,
    /// Offset in the TCP stream behind it.
    pub(super) end: TcpOffset,
}

impl<'a> WholeRecord<'a> {
    /// A record that `chunk` completed, with `behind` bytes of the chunk behind it.
    fn of(chunk: &StreamChunk<'_>, header: &'a HeaderBytes, body: &'a [u8], behind: usize) -> Self {
        Self { header, body, packet: *chunk.packet, end: chunk.end.minus(behind as u64) }
    }
}

/// Assembles the records of one direction.
#[derive(Debug, Default)]
pub(super) struct RecordAssembler {
    state: AssemblerState,
    /// The front of an incomplete record; while searching, all bytes that may belong to one.
    held: Vec<u8>,
    /// Number of bytes of a broken record that are still to come.
    skip: u64,
    /// Bytes of records that were offered as candidates since the last gap.
    offered: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum AssemblerState {
    /// A record begins behind the bytes so far.
    #[default]
    Framed,
    /// The start of the next record is unknown.
    Searching,
    /// Nothing more is read: these are no records, or none was found.
    Closed,
}

impl RecordAssembler {
    /// Number of bytes that wait for the rest of a record.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next chunk. `take` gets each event; its answer counts for candidates alone.
    pub(super) fn on_chunk(
        &mut self,
        chunk: &StreamChunk<'_>,
        take: &mut dyn FnMut(RecordEvent<'_>) -> bool,
    ) {
        match chunk.event {
            _ if self.state == AssemblerState::Closed => {}
            StreamEvent::Gap(bytes) => self.on_gap(bytes, take),
            StreamEvent::Data(bytes) => self.on_bytes(bytes, chunk, take),
        }
    }

    fn on_gap(&mut self, bytes: u64, take: &mut dyn FnMut(RecordEvent<'_>) -> bool) {
        let mut left = self.skip;
        if self.state == AssemblerState::Framed
            && let Some((bytes_of_header, _)) =
                self.held.split_first_chunk::<{ RecordHeader::LEN }>()
            && let Ok(header) = decode(bytes_of_header, record_header)
        {
            left = (RecordHeader::LEN as u64 + u64::from(header.length))
                .saturating_sub(self.held.len() as u64);
            take(RecordEvent::Broken(*bytes_of_header));
        }
        self.held.clear();
        self.skip = left.saturating_sub(bytes);
        let beyond = bytes.saturating_sub(left);
        if beyond > 0 {
            self.state = AssemblerState::Searching;
            self.offered = 0;
            take(RecordEvent::Lost(beyond));
        }
    }

    fn on_bytes(
        &mut self,
        mut rest: &[u8],
        chunk: &StreamChunk<'_>,
        take: &mut dyn FnMut(RecordEvent<'_>) -> bool,
    ) {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
        self.skip -= skipped as u64;
        rest = rest.get(skipped..).unwrap_or_default();
        while !rest.is_empty() {
            match self.state {
                AssemblerState::Closed => return,
                AssemblerState::Searching => {
                    self.held.extend_from_slice(rest);
                    let held = std::mem::take(&mut self.held);
                    let found = self.search(&held, |header, body, behind| {
                        take(RecordEvent::Candidate(WholeRecord::of(chunk, header, body, behind)))
                    });
                    match found {
                        SearchResult::Record { behind } => {
                            self.state = AssemblerState::Framed;
                            let at = held.len() - behind;
                            return self.on_bytes(held.get(at..).unwrap_or_default(), chunk, take);
                        }
                        SearchResult::Maybe { from } => {
                            self.held = held.get(from..).unwrap_or_default().to_vec()
                        }
                        SearchResult::No => self.state = AssemblerState::Closed,
                    }
                    return;
                }
                AssemblerState::Framed => {}
            }
            if self.held.is_empty() {
                let cut = match cut(rest) {
                    RecordCut::Record(header, body, later) => {
                        let record = WholeRecord::of(chunk, header, body, later.len());
                        take(RecordEvent::Whole(record));
                        rest = later;
                        continue;
                    }
                    RecordCut::NeedsMore(_) => rest,
                    RecordCut::NoRecord => return self.close(),
                };
                self.held.extend_from_slice(cut);
                return;
            }
            // One record that began in an earlier chunk; first its header, which has its length.
            let RecordCut::NeedsMore(missing) = cut(&self.held) else { return self.close() };
            let (now, later) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            self.held.extend_from_slice(now);
            rest = later;
            let held = std::mem::take(&mut self.held);
            match cut(&held) {
                RecordCut::Record(header, body, _) => {
                    let record = WholeRecord::of(chunk, header, body, rest.len());
                    take(RecordEvent::Whole(record));
                    self.held = held;
                    self.held.clear();
                }
                RecordCut::NeedsMore(_) => self.held = held,
                RecordCut::NoRecord => return self.close(),
            }
        }
    }

    /// Searches `bytes` for a record. `offer` decides whether one is genuine, given its parts and the number of bytes behind
    /// it.
    fn search(
        &mut self,
        bytes: &[u8],
        mut offer: impl FnMut(&HeaderBytes, &[u8], usize) -> bool,
    ) -> SearchResult {
        let mut from = 0;
        while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
            match cut(rest) {
                RecordCut::Record(header, body, later) => {
                    if offer(header, body, later.len()) {
                        return SearchResult::Record { behind: later.len() };
                    }
                    self.offered += body.len();
                    if self.offered > MOST_OFFERED {
                        return SearchResult::No;
                    }
                }
                RecordCut::NeedsMore(_) => return SearchResult::Maybe { from },
                RecordCut::NoRecord => {}
            }
            from += 1;
        }
        SearchResult::Maybe { from }
    }

    fn close(&mut self) {
        self.state = AssemblerState::Closed;
        self.held = Vec::new();
    }
}

enum SearchResult {
    /// A record, with so many bytes behind it.
    Record { behind: usize },
    /// A record may begin at this byte.
    Maybe { from: usize },
    /// None was found within the bound.
    No,
}

enum RecordCut<'a> {
    Record(&'a HeaderBytes, &'a [u8], &'a [u8]),
    /// At least so many bytes are missing.
    NeedsMore(usize),
    NoRecord,
}

/// Cuts a record from the front of `bytes`.
fn cut(bytes: &[u8]) -> RecordCut<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<{ RecordHeader::LEN }>() else {
        let is_front = match *bytes {
            [] => true,
            [kind] => is_record_type(kind),
            [kind, major, ..] => is_record_type(kind) && major == MAJOR,
        };
        let missing = RecordHeader::LEN - bytes.len();
        return if is_front { RecordCut::NeedsMore(missing) } else { RecordCut::NoRecord };
    };
    let [kind, ..] = *header;
    match decode(header, record_header) {
        Ok(RecordHeader { length, .. })
            if is_record_type(kind) && length <= RecordHeader::MAX_LENGTH =>
        {
            match rest.split_at_checked(length.into()) {
                Some((body, later)) => RecordCut::Record(header, body, later),
                None => RecordCut::NeedsMore(usize::from(length) - rest.len()),
            }
        }
        _ => RecordCut::NoRecord,
    }
}

const fn is_record_type(kind: u8) -> bool {
    ContentType::CHANGE_CIPHER_SPEC.0 <= kind && kind <= ContentType::APPLICATION_DATA.0
}

/// Most bytes of candidates that are offered behind one gap: some records of the longest kind. Nearly always the first one
/// is a record; others have its form by chance, in the content of an encrypted record.
const MOST_OFFERED: usize = 64 << 10;
