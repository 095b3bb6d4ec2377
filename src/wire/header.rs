//! Frames of an established connection: the bytes before their terms.
//!
//! In: the start of a `{packet, 4}` frame. Out: its kind, its distribution header, and whether it is a frame at all.
//! The atoms that the header refers to are in the atom cache of the connection.

use nom::bytes::streaming::{tag, take};
use nom::combinator::verify;
use nom::number::streaming::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

use super::WireErrorKind;
use super::control::Operation;
use super::term::tag::{SMALL_INTEGER_EXT, SMALL_TUPLE_EXT};

/// What a frame of an established connection carries, by the first bytes behind its length.
///
/// Spec: *Distribution Protocol*, "Protocol between Connected Nodes"; *External Term Format*,
/// "Distribution Header" (fragments since OTP 22).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FrameKind {
    /// An empty frame, which shows that the node is alive.
    Tick,
    /// 112: terms with their own version bytes, where no distribution header was agreed on.
    PassThrough,
    /// 131 68: distribution header, control term and, for some operations, a message term.
    Normal,
    /// 131 69: as `Normal`, with the start of a message that goes on in continuations.
    FirstFragment,
    /// 131 70: the next bytes of such a message.
    Continuation,
    /// Bytes that begin none of these.
    Unknown,
}

impl FrameKind {
    /// The kind of the frame with this body.
    pub const fn of(body: &[u8]) -> Self {
        match body {
            [] => Self::Tick,
            [PASS_THROUGH, VERSION, ..] => Self::PassThrough,
            [VERSION, NORMAL, ..] => Self::Normal,
            [VERSION, FIRST_FRAGMENT, ..] => Self::FirstFragment,
            [VERSION, CONTINUATION, ..] => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// The terms of a frame of this kind, each of which has a version byte in front of it where there is no header.
#[inline(always)] // a comparison
pub fn unversioned(kind: FrameKind, bytes: &[u8]) -> &[u8] {
    let is_versioned = kind == FrameKind::PassThrough;
    bytes.strip_prefix(&[VERSION]).filter(|_| is_versioned).unwrap_or(bytes)
}

/// The part of a frame before its terms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// Which fragment of a message this is, where it is one.
    pub fragment: Option<FragmentId>,
    /// The atoms that the terms refer to by number.
    pub references: AtomReferences<'a>,
}

/// The identity of a fragment: its message, and its number in that.
///
/// ```text
///       8            8
/// | SequenceId | FragmentId |
/// ```
///
/// Spec: *External Term Format*, "Distribution Header for fragmented messages" (OTP 22 and later).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FragmentId {
    /// The message that it belongs to: one number for all fragments of a message, and for the next message of the same
    /// sender.
    pub sequence: u64,
    /// The number of fragments that are still to come, this one included.
    pub left: u32,
}

/// The atom cache references of a distribution header, in order: in the terms behind it, reference
/// number `i` is the bytes 82 `i`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AtomReferences<'a> {
    count: u8,
    /// Whether one of the references brings a new atom.
    has_new_atoms: bool,
    nibbles: &'a [u8],
    bytes: &'a [u8],
}

/// One reference to the atom cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AtomReference<'a> {
    /// The slot of the sender's cache, below [`CACHE_SLOTS`].
    pub slot: u16,
    /// The atom that is put there, for a new entry: UTF-8 or Latin-1, by what the nodes agreed on.
    pub text: Option<&'a [u8]>,
}

/// Entries of an atom cache: 8 segments of 256.
pub const CACHE_SLOTS: usize = 2048;

impl<'a> AtomReferences<'a> {
    /// The number of references.
    pub const fn len(&self) -> u8 {
        self.count
    }

    /// Whether there are no references.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether one of the references brings a new atom.
    pub const fn has_new_atoms(&self) -> bool {
        self.has_new_atoms
    }

    /// The slot of number `index`, where none [is new](Self::has_new_atoms).
    #[inline]
    pub fn slot(&self, index: u8) -> Option<u16> {
        let internal = self.bytes.get(usize::from(index)).filter(|_| index < self.count)?;
        Some(slot(nibble(self.nibbles, index), *internal))
    }

    /// The references in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = AtomReference<'a>> {
        let Self { count, nibbles, mut bytes, .. } = *self;
        let long_atoms = nibble(nibbles, count) & LONG_ATOMS != 0;
        (0..count).map_while(move |index| {
            let flags = nibble(nibbles, index);
            let (rest, reference) = reference(bytes, flags, long_atoms).ok()?;
            bytes = rest;
            Some(reference)
        })
    }
}

/// Reads the header of a frame of this kind from its body, and gives the bytes behind it: the control
/// term, which in a pass-through frame has a version byte; or, in a continuation, the next bytes of the
/// message.
///
/// # Errors
///
/// The bytes end in the header, or are no header.
#[inline]
pub fn header(kind: FrameKind, body: &[u8]) -> Result<(Header<'_>, &[u8]), WireErrorKind> {
    match usual_header(kind, body) {
        Some((references, rest)) => Ok((Header { fragment: None, references }, rest)),
        None => any_header(kind, body),
    }
}

/// [`header`] of a message in one frame which brings no new atom; `None` for every other frame.
#[inline(always)]
pub fn usual_header(kind: FrameKind, body: &[u8]) -> Option<(AtomReferences<'_>, &[u8])> {
    match (kind, body) {
        (FrameKind::Normal, _) => known_atoms(body),
        (FrameKind::PassThrough, [_, rest @ ..]) => Some((AtomReferences::default(), rest)),
        _ => None,
    }
}

/// The header of a message in one frame which brings no new atom, as nearly all are once two nodes have
/// talked for a while: as many bytes as it has references. `None` for every other one.
#[inline]
fn known_atoms(body: &[u8]) -> Option<(AtomReferences<'_>, &[u8])> {
    let [_, _, count, i @ ..] = body else { return None };
    if *count == 0 {
        return Some((AtomReferences::default(), i));
    }
    if has_new_atoms(*count, i) {
        return None;
    }
    let (nibbles, bytes) = i.split_at_checked(usize::from(*count / 2 + 1))?;
    let rest = bytes.get(usize::from(*count)..)?;
    Some((AtomReferences { count: *count, has_new_atoms: false, nibbles, bytes }, rest))
}

fn any_header(kind: FrameKind, body: &[u8]) -> Result<(Header<'_>, &[u8]), WireErrorKind> {
    let read = match kind {
        FrameKind::Tick | FrameKind::Unknown => return Err(WireErrorKind::Malformed),
        FrameKind::PassThrough => take(1_usize).parse(body).map(|(i, _)| (i, None)),
        FrameKind::Normal => take(2_usize).parse(body).map(|(i, _)| (i, None)),
        FrameKind::FirstFragment | FrameKind::Continuation => {
            (take(2_usize), fragment_ids).parse(body).map(|(i, (_, ids))| (i, Some(ids)))
        }
    };
    let read = read.and_then(|(i, fragment): (_, Option<FragmentId>)| {
        let (i, references) = match kind {
            FrameKind::Normal | FrameKind::FirstFragment => atom_cache_header(i)?,
            _ => (i, AtomReferences::default()),
        };
        Ok((Header { fragment, references }, i))
    });
    read.map_err(|e: nom::Err<()>| match e {
        nom::Err::Incomplete(_) => WireErrorKind::CutShort,
        nom::Err::Error(()) | nom::Err::Failure(()) => WireErrorKind::Malformed,
    })
}

/// Whether bytes look like the start of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credible {
    /// They do. Random bytes do so once in 2^40 times or less.
    Yes,
    /// They do not: no node sends them.
    No,
    /// A length of zero. It is legal and proves nothing, since zeros are frequent in any data.
    Tick,
    /// They may. At least this many further bytes are needed to decide.
    NeedMore(usize),
}

/// Judges `prefix`, the bytes of a stream from a possible frame start on: to find the next frame
/// behind a gap, and to know the distribution in a stream whose handshake was not seen.
///
/// What is read: a length of at most 64 MiB; the kind; the fragment's number; the whole atom cache
/// header; and that the control term is a tuple which begins with a known operation.
pub fn credible_frame(prefix: &[u8]) -> Credible {
    let Some((len, body)) = prefix.split_first_chunk() else {
        return Credible::NeedMore(4_usize.saturating_sub(prefix.len()));
    };
    let len = match usize::try_from(u32::from_be_bytes(*len)) {
        Ok(0) => return Credible::Tick,
        Ok(len) if len <= MAX_CREDIBLE => len,
        _ => return Credible::No,
    };
    // A complete frame has no further bytes.
    let (body, whole) = body.get(..len).map_or((body, false), |body| (body, true));
    match frame_start(body) {
        Ok(_) => Credible::Yes,
        Err(nom::Err::Incomplete(nom::Needed::Size(more))) if !whole => {
            let still_to_come = len - body.len();
            if more.get() > still_to_come { Credible::No } else { Credible::NeedMore(more.get()) }
        }
        Err(_) => Credible::No,
    }
}

/// Far above the 64 KiB at which OTP cuts fragments. Peers without fragments send frames of any
/// size, but a greater length is much more often no length.
const MAX_CREDIBLE: usize = 64 << 20;

const PASS_THROUGH: u8 = 112;
const VERSION: u8 = 131;
const NORMAL: u8 = 68;
const FIRST_FRAGMENT: u8 = 69;
const CONTINUATION: u8 = 70;

/// Flag in the half byte behind those of the references.
const LONG_ATOMS: u8 = 1;

/// An atom has at most 255 characters, of at most four bytes each in UTF-8.
const MAX_ATOM: u16 = 1020;

/// The result of a streaming parser, which asks for more bytes where they end too early.
type Judged<'a, T> = IResult<&'a [u8], T, ()>;

fn frame_start(i: &[u8]) -> Judged<'_, ()> {
    let (i, first) = be_u8(i)?;
    if first == PASS_THROUGH {
        let (i, _) = tag(&[VERSION][..]).parse(i)?;
        return control_start(i);
    }
    let (i, kind) = verify(be_u8, |_: &u8| first == VERSION).parse(i)?;
    match kind {
        NORMAL => {
            let (i, _) = atom_cache_header(i)?;
            control_start(i)
        }
        FIRST_FRAGMENT => {
            let (i, _) = fragment_ids(i)?;
            let (i, _) = atom_cache_header(i)?;
            control_start(i)
        }
        CONTINUATION => fragment_ids.map(|_| ()).parse(i),
        _ => Err(nom::Err::Error(())),
    }
}

/// `SequenceId` is the sender's pid, never 0; `FragmentId` counts down to 1 from the number of
/// fragments, of 64 KiB each, so that its upper half is never needed.
fn fragment_ids(i: &[u8]) -> Judged<'_, FragmentId> {
    let (i, sequence) = verify(be_u64, |sequence: &u64| *sequence != 0).parse(i)?;
    let (i, _) = verify(be_u32, |upper: &u32| *upper == 0).parse(i)?;
    let (i, left) = verify(be_u32, |fragment: &u32| *fragment != 0).parse(i)?;
    Ok((i, FragmentId { sequence, left }))
}

/// Reads the atom cache references of a distribution header.
///
/// ```text
///   1    N/2+1           N times, the last two for new entries only
/// | N | nibbles | InternalSegmentIndex (1) | Length (1 or 2) | AtomText |
/// ```
///
/// For N = 0 there are no nibbles either.
///
/// Spec: *External Term Format*, "Normal Distribution Header".
fn atom_cache_header(i: &[u8]) -> Judged<'_, AtomReferences<'_>> {
    let (i, count) = be_u8(i)?;
    if count == 0 {
        return Ok((i, AtomReferences::default()));
    }
    let (bytes, nibbles) = take(count / 2 + 1).parse(i)?;
    let long_atoms = nibble(nibbles, count) & LONG_ATOMS != 0;
    let mut i = bytes;
    for index in 0..count {
        (i, _) = reference(i, nibble(nibbles, index), long_atoms)?;
    }
    let has_new_atoms = has_new_atoms(count, nibbles);
    Ok((i, AtomReferences { count, has_new_atoms, nibbles, bytes }))
}

/// One of them, whose half byte is `flags`: three bits of segment, and whether it is new.
fn reference(i: &[u8], flags: u8, long_atoms: bool) -> Judged<'_, AtomReference<'_>> {
    let (i, internal) = be_u8(i)?;
    let slot = slot(flags, internal);
    if !is_new(flags) {
        return Ok((i, AtomReference { slot, text: None }));
    }
    let (i, length) = if long_atoms { be_u16(i)? } else { be_u8.map(u16::from).parse(i)? };
    if length > MAX_ATOM {
        return Err(nom::Err::Error(()));
    }
    let (i, text) = take(length).parse(i)?;
    Ok((i, AtomReference { slot, text: Some(text) }))
}

/// Flag in the half byte of a reference: the atom is new.
const NEW_CACHE_ENTRY: u8 = 8;
const SEGMENT_INDEX: u8 = 7;

/// Whether one of `count` references is new, whose half bytes are at the front of `nibbles`.
#[inline]
fn has_new_atoms(count: u8, nibbles: &[u8]) -> bool {
    // Up to fifteen references, which most headers have, are tested at once.
    if let (Some(bytes), 0..=15) = (nibbles.first_chunk(), count) {
        let flags = u64::from_le_bytes(*bytes) & u64::from_ne_bytes([NEW_CACHE_ENTRY * 0x11; 8]);
        return flags & ((1 << (4 * count)) - 1) != 0;
    }
    (0..count).any(|index| is_new(nibble(nibbles, index)))
}

const fn is_new(flags: u8) -> bool {
    flags & NEW_CACHE_ENTRY != 0
}

fn slot(flags: u8, internal: u8) -> u16 {
    u16::from(flags & SEGMENT_INDEX) << 8 | u16::from(internal)
}

/// Number `index` of the half bytes, of which the lower comes first.
fn nibble(bytes: &[u8], index: u8) -> u8 {
    let byte = bytes.get(usize::from(index / 2)).copied().unwrap_or(0);
    if index.is_multiple_of(2) { byte & 0x0f } else { byte >> 4 }
}

/// A control term: a tuple whose first element is an operation that is assigned and in use. Each
/// has three to seven elements.
///
/// Spec: *Distribution Protocol*, "Protocol between Connected Nodes".
fn control_start(i: &[u8]) -> Judged<'_, ()> {
    let (i, _) = tag(&[SMALL_TUPLE_EXT][..]).parse(i)?;
    let (i, _) = verify(be_u8, |arity: &u8| matches!(arity, 3..=7)).parse(i)?;
    let (i, _) = tag(&[SMALL_INTEGER_EXT][..]).parse(i)?;
    let (i, _) = verify(be_u8, |op: &u8| Operation(*op).fields().is_some()).parse(i)?;
    Ok((i, ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MONITOR_P` without atom cache references, shortened behind its operation.
    #[rustfmt::skip]
    const NO_REFERENCES: &[u8] = &[
        0x00, 0x00, 0x00, 0x4d, // length
        0x83, 0x44,             // version, normal header
        0x00,                   // N
        0x68, 0x04,             // control term: tuple of 4
        0x61, 0x13,             // MONITOR_P
    ];

    /// `SEND_SENDER` behind a header of three references, the second of which is not new.
    #[rustfmt::skip]
    const REFERENCES: &[u8] = &[
        0x00, 0x00, 0x00, 0x30, // length
        0x83, 0x44,             // version, normal header
        0x03,                   // N
        0x0c, 0x0a,             // nibbles: new in 4, old in 0, new in 2; short atoms
        0x66, 0x01, b'a',       // InternalSegmentIndex, Length, AtomText
        0x05,                   // InternalSegmentIndex
        0xb5, 0x03, b'r', b'e', b'x',
        0x68, 0x03,             // control term: tuple of 3
        0x61, 0x16,             // SEND_SENDER
    ];

    #[rustfmt::skip]
    const LONG_ATOM: &[u8] = &[
        0x00, 0x00, 0x00, 0x30, // length
        0x83, 0x44,             // version, normal header
        0x01,                   // N
        0x18,                   // nibbles: new in 0; long atoms
        0x66, 0x00, 0x02, b'o', b'k',
        0x68, 0x03,             // control term: tuple of 3
        0x61, 0x16,             // SEND_SENDER
    ];

    #[rustfmt::skip]
    const FIRST: &[u8] = &[
        0x00, 0x01, 0x00, 0x1c,                         // length
        0x83, 0x45,                                     // version, first fragment
        0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x93, // SequenceId
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, // FragmentId
        0x00,                                           // N
        0x68, 0x04,                                     // control term: tuple of 4
        0x61, 0x06,                                     // REG_SEND
    ];

    #[rustfmt::skip]
    const NEXT: &[u8] = &[
        0x00, 0x01, 0x00, 0x12,                         // length
        0x83, 0x46,                                     // version, continuation
        0x00, 0x00, 0x00, 0x48, 0x00, 0x00, 0x00, 0x93, // SequenceId
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, // FragmentId
    ];

    /// The C node `c17@vm`.
    #[rustfmt::skip]
    const PASSED_THROUGH: &[u8] = &[
        0x00, 0x00, 0x00, 0x57, // length
        0x70, 0x83,             // pass-through, version
        0x68, 0x04,             // control term: tuple of 4
        0x61, 0x06,             // REG_SEND
    ];

    const FRAMES: [(&[u8], FrameKind); 6] = [
        (NO_REFERENCES, FrameKind::Normal),
        (REFERENCES, FrameKind::Normal),
        (LONG_ATOM, FrameKind::Normal),
        (FIRST, FrameKind::FirstFragment),
        (NEXT, FrameKind::Continuation),
        (PASSED_THROUGH, FrameKind::PassThrough),
    ];

    #[test]
    fn one_new_atom_is_found_in_every_place_and_only_among_the_references() {
        for count in 1..=MOST_REFERENCES {
            for place in 0..=MOST_REFERENCES {
                // Every other reference is an old one in the last segment.
                let mut nibbles = [0x77; 16];
                nibbles[usize::from(place / 2)] |= if place % 2 == 0 { 0x08 } else { 0x80 };
                assert_eq!(has_new_atoms(count, &nibbles), place < count, "{place} of {count}");
                let exact = &nibbles[..usize::from(count / 2 + 1)];
                assert_eq!(has_new_atoms(count, exact), place < count, "{place} of {count}");
            }
        }
    }

    /// References in one header, of which up to fifteen are looked at together.
    const MOST_REFERENCES: u8 = 20;

    #[test]
    fn two_bytes_determine_the_kind() {
        for (frame, kind) in FRAMES {
            assert_eq!(FrameKind::of(&frame[4..]), kind);
            assert_eq!(FrameKind::of(&frame[4..5]), FrameKind::Unknown);
        }
        assert_eq!(FrameKind::of(&[]), FrameKind::Tick);
        assert_eq!(FrameKind::of(&[0x83, 0x68]), FrameKind::Unknown);
    }

    #[test]
    fn a_frame_is_credible_once_its_operation_is_seen_and_never_refused_before() {
        for (frame, kind) in FRAMES {
            for cut in 0..frame.len() {
                match credible_frame(&frame[..cut]) {
                    Credible::NeedMore(more) => {
                        assert!(more > 0 && cut + more <= frame.len(), "{kind:?} cut at {cut}");
                    }
                    other => panic!("{kind:?} cut at {cut}: {other:?}"),
                }
            }
            assert_eq!(credible_frame(frame), Credible::Yes, "{kind:?}");
            assert_eq!(credible_frame(&[frame, b"more"].concat()), Credible::Yes, "{kind:?}");
        }
    }

    #[test]
    fn a_wrong_byte_in_what_is_judged_is_refused() {
        for (at, byte) in [(0, 0x05), (4, 0x84), (5, 0x47), (7, 0x69), (8, 8), (9, 0x62), (10, 5)] {
            let mut frame = NO_REFERENCES.to_vec();
            frame[at] = byte;
            assert_eq!(credible_frame(&frame), Credible::No, "byte {at}");
        }
    }

    #[test]
    fn a_fragment_without_sequence_or_credible_number_is_refused() {
        let mut frame = NEXT.to_vec();
        frame[14] = 1;
        assert_eq!(credible_frame(&frame), Credible::No);
        frame[14] = 0;
        frame[21] = 0;
        assert_eq!(credible_frame(&frame), Credible::No);
        frame[21] = 1;
        frame[6..14].fill(0);
        assert_eq!(credible_frame(&frame), Credible::No);
    }

    #[test]
    fn a_length_too_small_for_its_header_is_refused() {
        for len in 1..7 {
            let mut frame = NO_REFERENCES.to_vec();
            frame[3] = len;
            assert_eq!(credible_frame(&frame), Credible::No, "length {len}");
        }
        let mut frame = NO_REFERENCES.to_vec();
        frame[3] = 7;
        assert_eq!(credible_frame(&frame), Credible::Yes);
        assert_eq!(credible_frame(&[0, 0, 0, 2, 0x83, 0x44]), Credible::No);
        let atom_beyond_frame = [0, 0, 0, 8, 0x83, 0x44, 1, 8, 0x66, 0xff];
        assert_eq!(credible_frame(&atom_beyond_frame), Credible::No);
    }

    fn references_of(frame: &[u8]) -> Vec<(u16, Option<&[u8]>)> {
        let body = &frame[4..];
        let (header, rest) = header(FrameKind::of(body), body).unwrap();
        assert_eq!(rest[0], SMALL_TUPLE_EXT);
        assert_eq!(header.references.iter().count(), usize::from(header.references.len()));
        header.references.iter().map(|reference| (reference.slot, reference.text)).collect()
    }

    #[test]
    fn references_name_their_slots_and_new_ones_their_atoms() {
        assert!(references_of(NO_REFERENCES).is_empty());
        let expected = [(0x466, Some(&b"a"[..])), (0x005, None), (0x2b5, Some(b"rex"))];
        assert_eq!(references_of(REFERENCES), expected);
        assert_eq!(references_of(LONG_ATOM), [(0x066, Some(&b"ok"[..]))]);
    }

    #[test]
    fn where_no_reference_is_new_each_has_its_place_alone() {
        for count in 0..=9_u8 {
            for new in (0..=count).map(|at| (at < count).then_some(at)) {
                let mut nibbles = vec![0; if count == 0 { 0 } else { usize::from(count / 2 + 1) }];
                let mut bytes = Vec::new();
                // Flags behind the references are those of none.
                for at in 0..count + u8::from(count > 0) {
                    let flags = match new {
                        Some(new) if new == at => 8 | (at % 8),
                        _ if at == count => 9,
                        _ => at % 8,
                    };
                    nibbles[usize::from(at / 2)] |= flags << (at % 2 * 4);
                    if at < count {
                        bytes.push(at);
                        bytes.extend(if new == Some(at) { &b"\0\x02ok"[..] } else { b"" });
                    }
                }
                let body = [&[131, 68, count][..], &nibbles, &bytes, b"behind"].concat();
                let (header, behind) = header(FrameKind::Normal, &body).unwrap();
                assert_eq!(any_header(FrameKind::Normal, &body), Ok((header, &b"behind"[..])));
                assert_eq!(behind, b"behind");
                let all: Vec<_> = header.references.iter().map(|it| it.slot).collect();
                assert_eq!(all.len(), usize::from(count));
                assert_eq!(header.references.has_new_atoms(), new.is_some(), "{count} {new:?}");
                let slots = (0..=count).map_while(|at| header.references.slot(at));
                assert!(new.is_some() || slots.eq(all), "{count}");
            }
        }
    }

    #[test]
    fn fragments_have_their_message_and_number() {
        for (frame, left) in [(FIRST, 4), (NEXT, 3)] {
            let (header, _) = header(FrameKind::of(&frame[4..]), &frame[4..]).unwrap();
            assert_eq!(header.fragment, Some(FragmentId { sequence: 0x48_0000_0093, left }));
        }
    }

    #[test]
    fn a_header_that_is_cut_anywhere_is_cut_short_and_never_malformed() {
        for (frame, kind) in FRAMES {
            let body = &frame[4..];
            let (_, rest) = header(kind, body).unwrap();
            let len = body.len() - rest.len();
            for cut in 0..len {
                assert_eq!(
                    header(kind, &body[..cut]),
                    Err(WireErrorKind::CutShort),
                    "{kind:?} {cut}"
                );
            }
        }
    }

    #[test]
    fn an_atom_longer_than_any_atom_is_refused() {
        let mut frame = LONG_ATOM.to_vec();
        frame[9] = 0x04;
        assert_eq!(credible_frame(&frame), Credible::No);
    }

    #[test]
    fn a_tick_is_not_a_message() {
        assert_eq!(credible_frame(&[0; 4]), Credible::Tick);
        assert_eq!(credible_frame(&[0; 9]), Credible::Tick);
        assert_eq!(credible_frame(&[0; 3]), Credible::NeedMore(1));
    }

    #[test]
    fn other_protocols_are_not_credible() {
        for other in [&b"GET / HTTP/1.1"[..], b"\x16\x03\x01\x02\x00\x01", b"\x00\x15rabcdefgh"] {
            assert_eq!(credible_frame(other), Credible::No);
        }
    }
}
