//! Atoms as they are printed.
//!
//! In: atoms, most of them names of nodes and processes. Out: their text, with the quotes that Erlang needs, and
//! without. A few names stand in nearly all messages, two of nodes in each pid and reference of a connection:
//! they are looked at octet by octet once, and then found by their octets.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use super::log::FIELD;
use crate::event::ShortText;
use crate::wire::term::{Atoms, Erlang, Term};

/// Atoms met lately, as far as they are short and printed by their own characters.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    /// By a part of their hash; made with the first.
    places: Vec<Option<Spelling>>,
    hasher: RandomState,
}

/// An atom as it is printed: one line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Spelling {
    printed: ShortText,
    is_quoted: bool,
}

impl Spelling {
    fn new(atom: Term<'_>, atoms: &impl Atoms) -> Option<Self> {
        let mut printed = String::new();
        // Writing to a `String` cannot fail.
        let _ = Erlang::within(atom, atoms, FIELD).write_to(&mut printed);
        let is_quoted = printed.starts_with('\'');
        let spelling = Self { printed: ShortText::new(&printed)?, is_quoted };
        (spelling.own() == atom.utf8_atom(atoms)?).then_some(spelling)
    }

    /// With quotes, where it needs them.
    #[inline]
    pub(super) const fn printed(&self) -> &ShortText {
        &self.printed
    }

    /// Whether it does.
    #[inline]
    pub(super) const fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// Without.
    #[inline]
    fn own(&self) -> &[u8] {
        match self.printed.as_bytes() {
            [_, own @ .., _] if self.is_quoted => own,
            own => own,
        }
    }
}

impl Spellings {
    /// An atom, unless it is none of those.
    #[inline]
    pub(super) fn find(&mut self, atom: Term<'_>, atoms: &impl Atoms) -> Option<&Spelling> {
        let octets = atom.utf8_atom(atoms)?;
        let mut hasher = self.hasher.build_hasher();
        hasher.write(octets);
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let place = hasher.finish() as usize % PLACES;
        match self.places.get(place) {
            Some(Some(known)) if known.own() == octets => {}
            _ => self.enter(place, atom, atoms)?,
        }
        self.places.get(place)?.as_ref()
    }

    #[cold]
    #[inline(never)]
    fn enter(&mut self, place: usize, atom: Term<'_>, atoms: &impl Atoms) -> Option<()> {
        let spelling = Spelling::new(atom, atoms)?;
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        *self.places.get_mut(place)? = Some(spelling);
        Some(())
    }
}

/// Enough for a few hundred nodes and processes; where two share a place, they are printed anew in turn.
const PLACES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::term::NoAtoms;

    fn spelled(spellings: &mut Spellings, text: &str) -> Option<(String, String)> {
        let octets = [&[119, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let atom = Term::cut_off(&octets);
        let spelling = spellings.find(atom, &NoAtoms)?;
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        Some((text(spelling.printed().as_bytes()), text(spelling.own())))
    }

    #[test]
    fn atoms_are_found_as_erlang_prints_them_unless_something_escapes_them() {
        let mut spellings = Spellings::default();
        for _ in 0..2 {
            for (text, printed) in [
                ("rex", "rex"),
                ("a@h", "a@h"),
                ("a@10.0.0.1", "'a@10.0.0.1'"),
                ("", "''"),
                ("when", "'when'"),
                ("日本", "'日本'"),
            ] {
                let expected = Some((printed.to_owned(), text.to_owned()));
                assert_eq!(spelled(&mut spellings, text), expected);
            }
            let long = "n".repeat(63);
            for text in [&long, "a\"b", "a\\b", "'a'", "a\nb", "\u{7f}", "\u{202e}", "''"] {
                assert_eq!(spelled(&mut spellings, text), None, "{text:?}");
            }
        }
    }
}
