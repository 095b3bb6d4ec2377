//! Atoms, and how references to them are resolved.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::scan::RawAtom;
use super::text;

/// Resolves `ATOM_CACHE_REF`: the atoms that one distribution header refers to.
pub trait Atoms {
    /// The text of reference number `reference`; `None` where it is not known, as after a late start
    /// of the capture.
    fn atom(&self, reference: u8) -> Option<&str>;

    /// The spelling of reference number `reference`; see [`Spelling`].
    #[inline]
    fn spelling(&self, reference: u8) -> Option<Spelling<'_>> {
        Spelling::of(self.atom(reference)?.as_bytes())
    }

    /// What reference number `reference` means in the conventions of OTP.
    #[inline]
    fn role(&self, reference: u8) -> AtomRole {
        self.atom(reference).map_or(AtomRole::Unknown, |text| AtomRole::of(text.as_bytes()))
    }
}

/// What an atom means in the conventions of OTP: known once for each entry of an atom cache, so that the text is not
/// compared for each message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AtomRole {
    /// The text is not known.
    #[default]
    Unknown,
    /// It begins no message that follows a convention, or one that its first atom alone does not identify.
    Other,
    /// `'$gen_call'`, the first element of a call.
    GenCall,
    /// `'$gen_cast'`, the first element of a cast.
    GenCast,
    /// `call`, `block_call` and `cast`: the first element of a request to `rex`.
    Rex,
    /// `global_name_server`, the registered name of `global`.
    Global,
}

impl AtomRole {
    /// The role of the atom with this text.
    #[inline]
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"$gen_call" => Self::GenCall,
            b"$gen_cast" => Self::GenCast,
            b"call" | b"block_call" | b"cast" => Self::Rex,
            b"global_name_server" => Self::Global,
            _ => Self::Other,
        }
    }
}

impl<T: Atoms + ?Sized> Atoms for &T {
    fn atom(&self, reference: u8) -> Option<&str> {
        (**self).atom(reference)
    }

    fn spelling(&self, reference: u8) -> Option<Spelling<'_>> {
        (**self).spelling(reference)
    }

    fn role(&self, reference: u8) -> AtomRole {
        (**self).role(reference)
    }
}

/// No header: every reference is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAtoms;

impl Atoms for NoAtoms {
    fn atom(&self, _: u8) -> Option<&str> {
        None
    }
}

/// The references of a header in their order.
impl Atoms for [&str] {
    fn atom(&self, reference: u8) -> Option<&str> {
        self.get(usize::from(reference)).copied()
    }
}

/// A short atom none of whose characters is escaped, in Erlang's syntax or in JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spelling<'a> {
    /// Its bytes, without quotes.
    pub text: &'a [u8],
    /// Whether Erlang writes it in quotes.
    pub has_quotes: bool,
}

impl<'a> Spelling<'a> {
    /// The spelling of an atom with these bytes, if it has one.
    #[inline]
    pub fn of(text: &'a [u8]) -> Option<Self> {
        let has_quotes = text::has_quotes(text).filter(|_| text.len() <= Self::MOST)?;
        Some(Self { text, has_quotes })
    }

    /// The most characters that an atom may have.
    const MOST: usize = 255;
}

/// An atom's text. Equal text is equal however it was encoded.
#[derive(Clone, Copy, Debug)]
pub enum AtomText<'a> {
    /// Its text in UTF-8.
    Utf8(&'a str),
    /// Its text in Latin-1, with characters beyond ASCII.
    Latin1(&'a [u8]),
    /// A reference to an atom that is not known, by its number in the distribution header.
    Unknown(u8),
}

impl<'a> AtomText<'a> {
    #[inline]
    pub(super) fn resolve(raw: RawAtom<'a>, atoms: &'a (impl Atoms + ?Sized)) -> Self {
        match raw {
            RawAtom::Utf8(text) => Self::Utf8(text),
            RawAtom::Latin1(bytes) => Self::Latin1(bytes),
            RawAtom::Reference(reference) => match atoms.atom(reference) {
                Some(text) => Self::Utf8(text),
                None => Self::Unknown(reference),
            },
        }
    }

    /// Its characters; none where the atom is not known.
    pub fn chars(self) -> impl Iterator<Item = char> + 'a {
        let (text, bytes): (_, &[u8]) = match self {
            Self::Utf8(text) => (text, &[]),
            Self::Latin1(bytes) => ("", bytes),
            Self::Unknown(_) => ("", &[]),
        };
        text.chars().chain(bytes.iter().map(|byte| char::from(*byte)))
    }

    /// Its text; `None` where it is not known. Allocates for Latin-1 only, which no node since OTP 26
    /// sends.
    #[inline]
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Utf8(text) => Some(Cow::Borrowed(text)),
            Self::Latin1(_) => Some(Cow::Owned(self.chars().collect())),
            Self::Unknown(_) => None,
        }
    }

    /// Whether the atom is known.
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

impl PartialEq for AtomText<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Self::Utf8(a), Self::Utf8(b)) => a == b,
            (Self::Latin1(a), Self::Latin1(b)) => a == b,
            (Self::Unknown(a), Self::Unknown(b)) => a == b,
            (Self::Unknown(_), _) | (_, Self::Unknown(_)) => false,
            (a, b) => a.chars().eq(b.chars()),
        }
    }
}

impl Eq for AtomText<'_> {}

impl PartialEq<str> for AtomText<'_> {
    #[inline]
    fn eq(&self, text: &str) -> bool {
        match *self {
            Self::Utf8(own) => own == text,
            other => other == AtomText::Utf8(text),
        }
    }
}

impl PartialEq<&str> for AtomText<'_> {
    #[inline]
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl Hash for AtomText<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::Utf8(text) => text.hash(state),
            Self::Latin1(_) => self.text().unwrap_or_default().hash(state),
            Self::Unknown(reference) => reference.hash(state),
        }
    }
}

/// The text as it is, without quotes, and `#3` for reference number 3 where that is not known.
impl fmt::Display for AtomText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Utf8(text) => f.write_str(text),
            Self::Latin1(bytes) => {
                bytes.iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
            }
            Self::Unknown(reference) => write!(f, "#{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::super::Term;
    use super::*;

    fn read<'a>(bytes: &'a [u8], atoms: &'a [&str]) -> AtomText<'a> {
        Term::cut_off(bytes).as_atom(atoms).unwrap()
    }

    #[test]
    fn equal_text_is_equal_however_it_was_encoded() {
        let atoms = &["ete", "été"][..];
        let hasher = RandomState::new();
        for (text, encodings) in [
            ("ete", [&b"\x52\0"[..], b"\x64\0\x03ete", b"\x73\x03ete", b"\x77\x03ete"]),
            (
                "été",
                [
                    &b"\x52\x01"[..],
                    b"\x64\0\x03\xe9t\xe9",
                    b"\x73\x03\xe9t\xe9",
                    b"\x77\x05\xc3\xa9t\xc3\xa9",
                ],
            ),
        ] {
            for encoded in encodings {
                let atom = read(encoded, atoms);
                assert_eq!(atom, text);
                assert_eq!(atom, AtomText::Utf8(text));
                assert_eq!(hasher.hash_one(atom), hasher.hash_one(AtomText::Utf8(text)));
                assert_eq!((atom.text().as_deref(), &*atom.to_string()), (Some(text), text));
                assert_ne!(atom, "et");
            }
        }
    }

    #[test]
    fn an_atom_that_is_not_known_is_no_text() {
        let unknown = read(b"\x52\x02", &["a", "b"]);
        assert!(!unknown.is_known() && unknown.text().is_none());
        assert_eq!(unknown, AtomText::Unknown(2));
        for text in ["", "#2", "a"] {
            assert_ne!(unknown, text);
        }
        assert_ne!(unknown, AtomText::Unknown(3));
        assert_eq!(unknown.to_string(), "#2");
    }

    #[test]
    fn atoms_of_one_encoding_are_equal_by_their_bytes() {
        let latin1 = [&b"\x64\0\x01\xe9"[..], b"\x64\0\x01\xe8"].map(|it| read(it, &[]));
        assert!(latin1[0] == latin1[0] && latin1[0] != latin1[1]);
    }
}
