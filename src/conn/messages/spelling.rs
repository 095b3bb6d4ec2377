//! Atoms as they are printed.
//!
//! In: atoms, most of them names of nodes and processes. Out: where they stand as text, with quotes and
//! without. A few names stand in nearly all messages, two of nodes in each pid and reference of a
//! connection: they are looked at octet by octet once, and then found by their octets.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::log::{FIELD, Span};
use crate::wire::term::{Atoms, Erlang, Term};

/// Atoms met lately, of those that are printed by their own characters, and which no notation escapes: JSON
/// neither.
#[derive(Debug, Default)]
pub(super) struct Spellings {
    /// One behind the other, as they are printed.
    text: String,
    /// By a part of their hash; made with the first.
    places: Vec<Option<Spelling>>,
    hasher: RandomState,
}

/// Where an atom stands in the text of [`Spellings`].
#[derive(Clone, Copy, Debug)]
struct Spelling {
    /// Its own characters.
    own: Span,
    /// With the quotes that Erlang needs.
    printed: Span,
}

impl Spellings {
    /// Where an atom stands as it is printed, unless it is none of those.
    #[inline]
    pub(super) fn printed(&mut self, atom: Term<'_>, atoms: &impl Atoms) -> Option<Span> {
        Some(self.find(atom, atoms)?.printed)
    }

    /// Where it stands without quotes.
    #[inline]
    pub(super) fn own(&mut self, atom: Term<'_>, atoms: &impl Atoms) -> Option<Span> {
        Some(self.find(atom, atoms)?.own)
    }

    /// What stands there.
    pub(super) fn text(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// Nothing that was found is looked at any more: where it has become too much, all is forgotten.
    pub(super) fn tidy(&mut self) {
        if self.text.len() > MOST {
            self.text.clear();
            self.places.clear();
        }
    }

    fn find(&mut self, atom: Term<'_>, atoms: &impl Atoms) -> Option<Spelling> {
        let octets = atom.utf8_atom(atoms)?;
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let place = self.hasher.hash_one(octets) as usize % PLACES;
        if let Some(Some(known)) = self.places.get(place) {
            if self.text.as_bytes().get(known.own.range()) == Some(octets) {
                return Some(*known);
            }
        }
        self.enter(place, atom, atoms)
    }

    #[cold]
    fn enter(&mut self, place: usize, atom: Term<'_>, atoms: &impl Atoms) -> Option<Spelling> {
        let own = atom.as_atom(atoms)?.text()?;
        let from = self.text.len();
        // Writing to a `String` cannot fail.
        let _ = Erlang::within(atom, atoms, FIELD).write_to(&mut self.text);
        let printed = self.text.get(from..).unwrap_or_default();
        let between = printed.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
        let is_escaped = |octet: u8| octet < b' ' || octet == b'"' || octet == b'\\';
        if between.unwrap_or(printed) != own || own.bytes().any(is_escaped) {
            self.text.truncate(from);
            return None;
        }
        let quote = usize::from(between.is_some());
        let to = self.text.len();
        let known =
            Spelling { own: Span::new(from + quote, to - quote), printed: Span::new(from, to) };
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        *self.places.get_mut(place)? = Some(known);
        Some(known)
    }
}

/// Enough for a few hundred nodes and processes; where two share a place, they are printed anew in turn.
const PLACES: usize = 1024;

/// Octets of text: more than that many names have.
const MOST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::term::NoAtoms;

    fn spelled(spellings: &mut Spellings, text: &str) -> Option<(String, String)> {
        let octets = [&[119, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let atom = Term::cut_off(&octets);
        let printed = spellings.printed(atom, &NoAtoms)?;
        let own = spellings.own(atom, &NoAtoms)?;
        Some((spellings.text(printed).to_owned(), spellings.text(own).to_owned()))
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
            for text in ["a\"b", "a\\b", "'a'", "a\nb", "\u{7f}", "\u{202e}", "''"] {
                assert_eq!(spelled(&mut spellings, text), None, "{text:?}");
            }
        }
    }

    #[test]
    fn names_without_end_take_no_room_without_end() {
        let mut spellings = Spellings::default();
        for n in 0..100_000 {
            let name = format!("node{n}@host");
            assert_eq!(spelled(&mut spellings, &name).unwrap().1, name);
            spellings.tidy();
            assert!(spellings.text.capacity() < 4 * MOST);
        }
    }
}
