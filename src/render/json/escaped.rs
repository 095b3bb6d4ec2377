//! JSON without characters that a terminal obeys or that are not seen.
//!
//! In: any value that serializes. Out: its JSON, in which each character that [`escape`](crate::render::escape) knows is
//! written as `\uNNNN`: the same value to every reader. `serde_json` itself escapes only what JSON must, which is less
//! than a terminal obeys.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::render::escape::{is_below_del, is_unsafe};

/// Writes `value` as JSON on one line.
pub(super) fn to_writer(out: impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Escaped))?)
}

/// Compact JSON, as `serde_json` writes it, with more escapes.
struct Escaped;

impl Formatter for Escaped {
    /// Writes a part of a string in which `serde_json` has nothing to escape.
    #[inline]
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if is_below_del(fragment) {
            out.write_all(fragment.as_bytes())
        } else {
            escape(out, fragment)
        }
    }
}

#[cold]
fn escape<W: Write + ?Sized>(out: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    while let Some((seen, c)) = rest.find(is_unsafe).and_then(|at| rest.split_at_checked(at)) {
        let mut chars = c.chars();
        out.write_all(seen.as_bytes())?;
        chars.next().map_or(Ok(()), |c| escape_char(out, c))?;
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())
}

/// Writes one character by its number, as two halves where one has no room for it.
pub(super) fn escape_char<W: Write + ?Sized>(out: &mut W, c: char) -> io::Result<()> {
    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|half| write!(out, "\\u{half:04x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_gets_the_same_value_and_no_terminal_gets_a_character_that_it_obeys() {
        let all: String = (0..0xe_1000).filter_map(char::from_u32).collect();
        for text in ["", "plain", "é\u{202e}\"\u{7f}\\\u{200b}", "\u{e0041}a\n", &*all] {
            let mut json = Vec::new();
            to_writer(&mut json, text).unwrap();
            let json = String::from_utf8(json).unwrap();
            assert!(!json.contains(is_unsafe));
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            let usual = serde_json::to_string(text).unwrap();
            assert!(text.contains(is_unsafe) || json == usual, "{json}");
        }
        let mut json = Vec::new();
        to_writer(&mut json, "\u{9b}é\u{2066}\u{e0001}").unwrap();
        assert_eq!(json, r#""\u009bé\u2066\udb40\udc01""#.as_bytes());
    }
}
