//! The atom cache of one direction.
//!
//! In: the references of each distribution header, in order. Out: the atom of each reference, as far as the capture
//! shows it. Entries that were not seen are unknown, and a gap makes all of them unknown: a stale atom is never
//! reported.

use std::str;
use std::sync::Arc;

use crate::memory::Reservation;
use crate::wire::header::{AtomReferences, CACHE_SLOTS};
use crate::wire::term::{AtomRole, Atoms, Spelling};

/// The known part of the atom cache that a node keeps for one direction of a connection.
#[derive(Debug)]
pub(super) struct AtomCache {
    /// For each slot, one more than the index of its atom in `atoms`; 0 for an unknown one. Allocated with the first
    /// entry.
    slots: Option<Box<[u16; CACHE_SLOTS]>>,
    atoms: Vec<Atom>,
    /// The references of the last header, if one of them was new; values as in `slots`.
    header: Vec<u16>,
    /// Atoms that the last header replaced in their slots; values as in `slots`.
    replaced: Vec<u16>,
    /// Unused entries of `atoms`; values as in `slots`.
    free: Vec<u16>,
    /// Whether atoms are in Latin-1, since one of the nodes is older than R16.
    is_latin1: bool,
    memory: Reservation,
}

/// An atom, and whether it is written in quotes, where its [spelling](Spelling) is known.
#[derive(Debug, Default)]
struct Atom {
    text: Arc<str>,
    has_quotes: Option<bool>,
    role: AtomRole,
}

impl From<Arc<str>> for Atom {
    fn from(text: Arc<str>) -> Self {
        let has_quotes = Spelling::of(text.as_bytes()).map(|spelling| spelling.has_quotes);
        let role = AtomRole::of(text.as_bytes());
        Self { text, has_quotes, role }
    }
}

impl AtomCache {
    pub(super) const fn new(memory: Reservation) -> Self {
        Self {
            slots: None,
            atoms: Vec::new(),
            header: Vec::new(),
            replaced: Vec::new(),
            free: Vec::new(),
            is_latin1: false,
            memory,
        }
    }

    /// Decodes atoms as Latin-1 from here on.
    pub(super) const fn use_latin1(&mut self) {
        self.is_latin1 = true;
    }

    /// Goes on to a header that brings no new atom. Once a connection is busy, nearly all are such, and few of their
    /// references are looked up.
    #[inline(always)]
    pub(super) fn apply_known(&mut self) {
        self.header.clear();
        if !self.replaced.is_empty() {
            self.free_replaced();
        }
    }

    /// Applies the references of the next header.
    pub(super) fn apply(&mut self, references: AtomReferences<'_>) {
        self.apply_known();
        if !references.has_new_atoms() {
            return;
        }
        for reference in references.iter() {
            let place = match reference.text {
                Some(text) => self.enter(reference.slot, text),
                None => self.slot(reference.slot),
            };
            self.header.push(place);
        }
    }

    /// Forgets all atoms, because bytes of this direction were lost, perhaps headers among them.
    pub(super) fn forget(&mut self) {
        self.slots = None;
        self.atoms = Vec::new();
        self.header.clear();
        self.replaced.clear();
        self.free.clear();
        self.memory.release_all();
    }

    /// The atoms of the last header, which has these references.
    pub(super) const fn header<'a>(&'a self, references: AtomReferences<'a>) -> HeaderAtoms<'a> {
        HeaderAtoms { cache: self, references }
    }

    #[inline]
    fn slot(&self, slot: u16) -> u16 {
        let slots = self.slots.as_ref();
        slots.and_then(|slots| slots.get(usize::from(slot))).copied().unwrap_or(0)
    }

    /// The atom of a value in `slots`, which is one more than its index.
    #[inline]
    fn at(&self, place: u16) -> Option<&Atom> {
        self.atoms.get(usize::from(place.checked_sub(1)?))
    }

    /// Puts an atom into its slot, and gives the slot's new value.
    fn enter(&mut self, slot: u16, bytes: &[u8]) -> u16 {
        let known = self.slot(slot);
        let room = bytes.len() + ENTRY;
        let table = if self.slots.is_none() { size_of::<[u16; CACHE_SLOTS]>() } else { 0 };
        if !self.memory.take(table + room) {
            // The slot becomes unknown: the atom that it held before is replaced.
            self.set(slot, 0);
            self.replaced.extend(Some(known).filter(|known| *known > 0));
            return 0;
        }
        let text = self.text(bytes);
        // An atom that this header refers to as well is kept: the terms behind the header may use both.
        let is_named = self.header.contains(&known);
        let place = if known > 0 && !is_named { known } else { self.free_place() };
        if let Some(atom) = usize::from(place).checked_sub(1).and_then(|at| self.atoms.get_mut(at))
        {
            self.memory.release(if place == known { atom.text.len() + ENTRY } else { 0 });
            *atom = text.into();
        }
        if known > 0 && is_named {
            self.replaced.push(known);
        }
        self.set(slot, place);
        place
    }

    /// An unused entry for an atom, as a value in `slots`.
    fn free_place(&mut self) -> u16 {
        if let Some(place) = self.free.pop() {
            return place;
        }
        // There are at most as many as slots, and references of a header.
        self.atoms.push(Atom::default());
        u16::try_from(self.atoms.len()).unwrap_or(0)
    }

    /// Frees the atoms that the last header replaced: no term refers to them any more.
    #[cold]
    fn free_replaced(&mut self) {
        for place in self.replaced.drain(..) {
            let atom = usize::from(place).checked_sub(1).and_then(|at| self.atoms.get_mut(at));
            if let Some(atom) = atom {
                self.memory.release(atom.text.len() + ENTRY);
                *atom = Atom::default();
                self.free.push(place);
            }
        }
    }

    fn set(&mut self, slot: u16, place: u16) {
        if place == 0 && self.slots.is_none() {
            return;
        }
        let slots = self.slots.get_or_insert_with(|| Box::new([0; CACHE_SLOTS]));
        if let Some(slot) = slots.get_mut(usize::from(slot)) {
            *slot = place;
        }
    }

    fn text(&self, bytes: &[u8]) -> Arc<str> {
        match str::from_utf8(bytes) {
            Ok(text) if !self.is_latin1 => Arc::from(text),
            _ => bytes.iter().copied().map(char::from).collect::<String>().into(),
        }
    }
}

/// The atoms that one distribution header refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderAtoms<'a> {
    cache: &'a AtomCache,
    references: AtomReferences<'a>,
}

impl HeaderAtoms<'_> {
    /// All atoms of the header, to be kept.
    pub(super) fn all(self) -> impl Iterator<Item = Option<Arc<str>>> {
        (0..self.references.len())
            .map(move |reference| Some(Arc::clone(&self.get(reference)?.text)))
    }

    #[inline]
    fn get(&self, reference: u8) -> Option<&Atom> {
        let Self { cache, references } = self;
        let place = if cache.header.is_empty() {
            cache.slot(references.slot(reference)?)
        } else {
            *cache.header.get(usize::from(reference))?
        };
        cache.at(place)
    }
}

impl Atoms for HeaderAtoms<'_> {
    #[inline]
    fn atom(&self, reference: u8) -> Option<&str> {
        self.get(reference).map(|atom| &*atom.text)
    }

    #[inline]
    fn spelling(&self, reference: u8) -> Option<Spelling<'_>> {
        let Atom { text, has_quotes, .. } = self.get(reference)?;
        Some(Spelling { text: text.as_bytes(), has_quotes: (*has_quotes)? })
    }

    #[inline]
    fn role(&self, reference: u8) -> AtomRole {
        self.get(reference).map_or(AtomRole::Unknown, |atom| atom.role)
    }
}

/// Bytes that an entry needs besides its text, about.
const ENTRY: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;
    use crate::wire::header::{FrameKind, header};

    /// A header with these references, in segment 0.
    fn references(entries: &[(u8, Option<&str>)]) -> Vec<u8> {
        let count = entries.len();
        let mut nibbles = vec![0_u8; count / 2 + 1];
        let mut bytes = Vec::new();
        for (at, (slot, text)) in entries.iter().enumerate() {
            bytes.push(*slot);
            if let Some(text) = text {
                nibbles[at / 2] |= 8 << (at % 2 * 4);
                bytes.push(u8::try_from(text.len()).unwrap());
                bytes.extend(text.bytes());
            }
        }
        [vec![131, 68, u8::try_from(count).unwrap()], nibbles, bytes].concat()
    }

    fn apply(cache: &mut AtomCache, entries: &[(u8, Option<&str>)]) -> Vec<Option<String>> {
        let bytes = references(entries);
        let (header, _) = header(FrameKind::Normal, &bytes).unwrap();
        cache.apply(header.references);
        let count = u8::try_from(entries.len()).unwrap();
        let atoms = cache.header(header.references);
        assert_eq!(atoms.atom(count), None, "no more references than the header has");
        for reference in 0..=count {
            let text = atoms.atom(reference).map(str::as_bytes);
            assert_eq!(atoms.spelling(reference), text.and_then(Spelling::of));
        }
        (0..count).map(|i| atoms.atom(i).map(str::to_owned)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn entries_last_until_they_are_overwritten() {
        let mut cache = AtomCache::new(MemoryBudget::new(1 << 20).reservation());
        assert_eq!(
            apply(&mut cache, &[(7, Some("rex")), (9, Some("ok"))]),
            [some("rex"), some("ok")]
        );
        assert_eq!(apply(&mut cache, &[(9, None), (7, None)]), [some("ok"), some("rex")]);
        assert_eq!(
            apply(&mut cache, &[(7, Some("other")), (9, None)]),
            [some("other"), some("ok")]
        );
        assert_eq!(apply(&mut cache, &[(7, None)]), [some("other")]);
    }

    #[test]
    fn one_header_may_put_two_atoms_into_one_slot() {
        let mut cache = AtomCache::new(MemoryBudget::new(1 << 20).reservation());
        apply(&mut cache, &[(7, Some("rex"))]);
        let both = [(7, None), (7, Some("ok")), (7, Some("no"))];
        assert_eq!(apply(&mut cache, &both), [some("rex"), some("ok"), some("no")]);
        for _ in 0..100 {
            assert_eq!(apply(&mut cache, &both), [some("no"), some("ok"), some("no")]);
        }
        assert_eq!(apply(&mut cache, &[(7, None)]), [some("no")]);
        assert!(cache.atoms.len() <= 3, "{}", cache.atoms.len());
    }

    #[test]
    fn room_for_the_slots_is_taken_with_the_first_entry_or_not_at_all() {
        let pool = MemoryBudget::new(size_of::<[u16; CACHE_SLOTS]>() + ENTRY + 3);
        let mut cache = AtomCache::new(pool.reservation());
        for _ in 0..9 {
            assert_eq!(apply(&mut cache, &[(7, Some("more"))]), [None]);
        }
        assert_eq!(apply(&mut cache, &[(7, Some("rex"))]), [some("rex")]);
    }

    #[test]
    fn what_was_not_seen_is_unknown_until_it_is_new_again() {
        let mut cache = AtomCache::new(MemoryBudget::new(1 << 20).reservation());
        assert_eq!(apply(&mut cache, &[(7, None)]), [None]);
        apply(&mut cache, &[(7, Some("rex"))]);
        cache.forget();
        assert_eq!(apply(&mut cache, &[(7, None), (8, Some("ok"))]), [None, some("ok")]);
    }

    #[test]
    fn without_room_an_entry_is_unknown_and_not_what_it_was() {
        let room = size_of::<[u16; CACHE_SLOTS]>() + 2 * ENTRY + 8;
        let mut cache = AtomCache::new(MemoryBudget::new(room).reservation());
        assert_eq!(
            apply(&mut cache, &[(1, Some("ab")), (2, Some("cd"))]),
            [some("ab"), some("cd")]
        );
        assert_eq!(apply(&mut cache, &[(1, Some("abcdef")), (2, None)]), [None, some("cd")]);
        assert_eq!(apply(&mut cache, &[(1, None)]), [None]);
    }

    #[test]
    fn latin_1_is_read_where_it_was_agreed_on_or_nothing_else_fits() {
        let pool = MemoryBudget::new(1 << 20);
        let (new, mut old) =
            (AtomCache::new(pool.reservation()), AtomCache::new(pool.reservation()));
        old.use_latin1();
        assert_eq!(new.text("é".as_bytes()).as_ref(), "é");
        assert_eq!(new.text(b"\xe9").as_ref(), "é");
        assert_eq!(old.text("é".as_bytes()).as_ref(), "Ã©");
    }
}
