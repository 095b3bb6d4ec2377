//! Which characters no output contains, and how text is written without them.
//!
//! In: text from a capture, a file name or an argument. Out: the same text, in which each such character is named by its
//! number. JSON names it as JSON does, in [`json`](super::json); every other form as [`escape`] does.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character controls a terminal, changes the order or the lines of the text around it, or is not seen at all,
/// so that two different names look alike: controls (C0, DEL, C1), separators of lines and paragraphs, and what has the
/// property `Default_Ignorable_Code_Point` in Unicode 16, among which are the bidirectional and zero-width marks.
pub(super) const fn is_unsafe(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether all bytes are those of ASCII that can be seen, or controls that JSON escapes anyway: no byte from DEL on. One
/// pass without branches, since nearly all text is such.
#[inline]
pub(super) fn is_below_del(text: &str) -> bool {
    text.bytes().fold(0, |seen, byte| seen | byte.wrapping_add(1)) < 0x80
}

/// `text` without anything that controls a terminal or is not seen: control characters become `\xNN`, and the others
/// `\u{NNNN}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c {
            c if !is_unsafe(c) => safe.write_char(c),
            c if c.is_control() => write!(safe, "\\x{:02x}", u32::from(c)),
            c => write!(safe, "\\u{{{:04x}}}", u32::from(c)),
        };
    }
    Cow::Owned(safe)
}

/// `text` in ASCII, without anything that controls a terminal: signs that reports use become those of ASCII, and any
/// other character becomes `\u{NNNN}`.
pub(super) fn ascii(text: &str) -> Cow<'_, str> {
    let safe = escape(text);
    if safe.is_ascii() {
        return safe;
    }
    let mut plain = String::with_capacity(safe.len());
    for c in safe.chars() {
        let _ = match c {
            c if c.is_ascii() => plain.write_char(c),
            'µ' => plain.write_char('u'),
            '…' => plain.write_str("..."),
            '→' => plain.write_str("->"),
            '–' | '—' => plain.write_char('-'),
            c => write!(plain, "\\u{{{:04x}}}", u32::from(c)),
        };
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_or_moves_other_text_is_named_by_its_number() {
        for (text, safe) in [
            ("a\x1b[2J\x7f\u{9b}", r"a\x1b[2J\x7f\x9b"),
            (
                "\u{61c}\u{200e}\u{200f}\u{202e}\u{2066}",
                r"\u{061c}\u{200e}\u{200f}\u{202e}\u{2066}",
            ),
            (
                "\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
                r"\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}",
            ),
            ("\u{ad}\u{2028}\u{e0041}", r"\u{00ad}\u{2028}\u{e0041}"),
        ] {
            assert_eq!(escape(text), safe);
        }
        for text in ["", "a@host", "é 日本 Ω µ… → ÿ", "🙂"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn only_text_below_del_passes_without_a_look_at_each_character() {
        for c in '\0'..='\u{fff}' {
            assert_eq!(is_below_del(&format!("a{c}b")), c < '\x7f', "{c:?}");
            assert!(c >= '\x7f' || is_unsafe(c) == c.is_control());
        }
    }

    #[test]
    fn ascii_keeps_the_meaning_of_signs_and_names_other_characters() {
        assert_eq!(ascii("527 µs → a@café\x1b"), "527 us -> a@caf\\u{00e9}\\x1b");
        assert!(matches!(ascii("plain"), Cow::Borrowed("plain")));
    }
}
