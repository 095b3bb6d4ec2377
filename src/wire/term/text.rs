//! Text out of terms in Erlang's quotes, in a form that no terminal obeys.

use std::fmt::{self, Write};

use super::AtomText;

/// Where text is written to, and how many bytes of it may still come.
pub(super) struct Out<'w, W: ?Sized> {
    to: &'w mut W,
    pub(super) left: usize,
}

impl<'w, W: Write + ?Sized> Out<'w, W> {
    pub(super) const fn new(to: &'w mut W, left: usize) -> Self {
        Self { to, left }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.left == 0
    }
}

impl<W: Write + ?Sized> Write for Out<'_, W> {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.saturating_sub(text.len());
        self.to.write_str(text)
    }
}

/// Writes an atom, in quotes where Erlang needs them. False when it was cut.
pub(super) fn atom<W: Write + ?Sized>(
    out: &mut Out<'_, W>,
    atom: AtomText<'_>,
) -> Result<bool, fmt::Error> {
    match atom {
        AtomText::Utf8(text) => {
            let is_plain = match has_quotes(text.as_bytes()) {
                Some(true) if text.len() < out.left => {
                    out.write_str("'")?;
                    out.write_str(text)?;
                    out.write_str("'")?;
                    return Ok(true);
                }
                Some(has_quotes) => !has_quotes,
                None => is_plain_atom(text),
            };
            if !is_plain {
                return quoted_str(out, text, '\'');
            }
            out.write_str(text)?;
            Ok(true)
        }
        AtomText::Latin1(_) => {
            let is_plain = is_plain_start(atom.chars().next()) && atom.chars().all(is_name);
            if is_plain {
                atom.chars().try_for_each(|c| out.write_char(c))?;
                return Ok(true);
            }
            quoted(out, atom.chars(), '\'')
        }
        AtomText::Unknown(reference) => {
            write!(out, "#{reference}")?;
            Ok(true)
        }
    }
}

/// Whether an atom is written in quotes; `None` where one of its characters is escaped, in JSON or Erlang. Names of
/// nodes and functions do: one look at each byte.
pub(super) fn has_quotes(text: &[u8]) -> Option<bool> {
    let looks = |byte: &u8| LOOKS.get(usize::from(*byte)).copied().unwrap_or(OTHER);
    match text.iter().fold(0, |seen, byte| seen | looks(byte)) & !NAME {
        0 => Some(!matches!(text, [b'a'..=b'z', ..]) || is_reserved(text)),
        QUOTED => Some(true),
        _ => None,
    }
}

/// A character of atoms without quotes.
const NAME: u8 = 1;
/// A character that needs quotes and no escape.
const QUOTED: u8 = 2;
/// A byte that may need an escape.
const OTHER: u8 = 4;

/// [`looks`] of each byte: by its ranges it takes thrice the time.
static LOOKS: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        #[expect(clippy::indexing_slicing, reason = "while it is compiled")]
        {
            table[byte] = looks(byte as u8);
        }
        byte += 1;
    }
    table
};

const fn looks(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'@' => NAME,
        b'\\' | b'\'' | b'"' => OTHER,
        b' '..=b'~' => QUOTED,
        _ => OTHER,
    }
}

/// Whether an atom is written without quotes, as `io_lib:write_atom/1` does.
fn is_plain_atom(text: &str) -> bool {
    is_plain_start(text.chars().next()) && text.chars().all(is_name)
}

fn is_plain_start(c: Option<char>) -> bool {
    matches!(c, Some('a'..='z' | 'ß'..='ö' | 'ø'..='ÿ'))
}

/// Letters beyond Latin-1 are quoted although newer scanners read them without.
fn is_name(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '@' | 'À'..='Ö' | 'Ø'..='ö' | 'ø'..='ÿ')
}

/// `else` and `maybe` since OTP 27, and earlier where they were asked for.
fn is_reserved(text: &[u8]) -> bool {
    #[rustfmt::skip] // a table reads best as a table
    let reserved = matches!(
        text,
        b"after" | b"and" | b"andalso" | b"band" | b"begin" | b"bnot" | b"bor" | b"bsl" | b"bsr" | b"bxor"
            | b"case" | b"catch" | b"cond" | b"div" | b"else" | b"end" | b"fun" | b"if" | b"let" | b"maybe"
            | b"not" | b"of" | b"or" | b"orelse" | b"receive" | b"rem" | b"try" | b"when" | b"xor"
    );
    reserved
}

/// Writes `text` between quotes. False when it was cut.
pub(super) fn quoted_str<W: Write + ?Sized>(
    out: &mut Out<'_, W>,
    text: &str,
    quote: char,
) -> Result<bool, fmt::Error> {
    out.write_char(quote)?;
    let mut rest = text;
    while !rest.is_empty() && !out.is_full() {
        let is_special = |c: u8| !matches!(c, b' '..=b'~') || char::from(c) == quote || c == b'\\';
        let ahead = rest.len().min(out.left);
        let plain = rest.bytes().take(ahead).position(is_special).unwrap_or(ahead);
        // Ends behind an ASCII character, or where a character begins.
        let (run, behind) = rest.split_at_checked(plain).unwrap_or((rest, ""));
        out.write_str(run)?;
        let mut chars = behind.chars();
        if plain < ahead
            && let Some(c) = chars.next()
        {
            escaped(out, c, quote)?;
        }
        rest = chars.as_str();
    }
    out.write_char(quote)?;
    Ok(rest.is_empty())
}

/// Writes `chars` between quotes. False when they were cut.
pub(super) fn quoted<W: Write + ?Sized>(
    out: &mut Out<'_, W>,
    chars: impl Iterator<Item = char>,
    quote: char,
) -> Result<bool, fmt::Error> {
    out.write_char(quote)?;
    let mut whole = true;
    for c in chars {
        if out.is_full() {
            whole = false;
            break;
        }
        escaped(out, c, quote)?;
    }
    out.write_char(quote)?;
    Ok(whole)
}

fn escaped<W: Write + ?Sized>(out: &mut Out<'_, W>, c: char, quote: char) -> fmt::Result {
    match c {
        '\\' => out.write_str("\\\\"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\u{8}' => out.write_str("\\b"),
        '\u{b}' => out.write_str("\\v"),
        '\u{c}' => out.write_str("\\f"),
        '\u{1b}' => out.write_str("\\e"),
        '\u{7f}' => out.write_str("\\d"),
        c if c == quote => {
            out.write_char('\\')?;
            out.write_char(quote)
        }
        c if is_graphic(c) => out.write_char(c),
        c => write!(out, "\\x{{{:x}}}", u32::from(c)),
    }
}

/// Whether text made of such characters is shown as text: what is seen, and the white space and
/// escapes that Erlang's printer knows.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\u{8}'..='\u{d}' | '\u{1b}') || is_graphic(c)
}

/// Whether a character shows itself: no control, no change of direction, no half of a character.
fn is_graphic(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9f}' => false,
        // What Rust would escape is what cannot be seen.
        c => c.escape_debug().next() != Some('\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: AtomText<'_>) -> String {
        let mut to = String::new();
        assert!(atom(&mut Out::new(&mut to, usize::MAX), text).unwrap());
        to
    }

    #[test]
    fn atoms_have_quotes_exactly_where_erlang_needs_them() {
        for plain in ["a", "ok", "a1_@B", "a@host", "nonode@nohost", "été", "ß", "ÿÀ", "ends", "do"]
        {
            assert_eq!(printed(AtomText::Utf8(plain)), plain);
            assert_ne!(has_quotes(plain.as_bytes()), Some(true), "{plain}");
        }
        for quoted in [
            "",
            "A",
            "_a",
            "1a",
            "@a",
            "a b",
            "a.b",
            "a-b",
            "$gen_call",
            "Elixir.A",
            "÷",
            "a×",
            "aΩ",
            "日本",
            "when",
            "maybe",
            "else",
            "and",
            "xor",
            "fun",
        ] {
            assert_eq!(printed(AtomText::Utf8(quoted)), format!("'{quoted}'"));
            assert_ne!(has_quotes(quoted.as_bytes()), Some(false), "{quoted}");
        }
        for other in ["a\"b", "a\\b", "'a'", "a\nb", "\u{7f}", "\u{202e}", "''", "été"] {
            assert_eq!(has_quotes(other.as_bytes()), None, "{other:?}");
        }
        assert_eq!(printed(AtomText::Latin1(b"\xe9t\xe9")), "été");
        assert_eq!(printed(AtomText::Latin1(b"\xc9t\xe9")), "'Été'");
        assert_eq!(printed(AtomText::Unknown(7)), "#7");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_is_written() {
        assert_eq!(printed(AtomText::Utf8("\u{1b}[2J\r\n\t\0")), r"'\e[2J\r\n\t\x{0}'");
        assert_eq!(printed(AtomText::Utf8("'\\\"")), r#"'\'\\"'"#);
        assert_eq!(printed(AtomText::Utf8("a\u{202e}b\u{2066}")), r"'a\x{202e}b\x{2066}'");
        assert_eq!(
            printed(AtomText::Utf8("\u{200b}\u{feff}\u{2028}")),
            r"'\x{200b}\x{feff}\x{2028}'"
        );
        assert_eq!(printed(AtomText::Latin1(b"\x9b\x7f\xad\xa0")), r"'\x{9b}\d\x{ad}\x{a0}'");
        for code in (0..0x20).chain(0x7f..0xa0) {
            assert!(!printed(AtomText::Latin1(&[code])).contains(char::is_control), "{code}");
        }
    }

    #[test]
    fn quoted_text_is_cut_at_its_bound_and_closed() {
        for (text, most, expected) in [
            ("abcdef", 4, r#""abc""#),
            ("abc", 4, r#""abc""#),
            ("éééé", 4, r#""éé""#),
            ("\u{1}\u{1}\u{1}", 4, r#""\x{1}""#),
            ("\"\"\"\"\"", 4, r#""\"\"""#),
            ("abc", 0, r#""""#),
        ] {
            let mut to = String::new();
            let whole = quoted_str(&mut Out::new(&mut to, most), text, '"').unwrap();
            assert_eq!((&*to, whole), (expected, text == "abc" && most > 0), "{text}");
            let mut by_chars = String::new();
            let whole_too = quoted(&mut Out::new(&mut by_chars, most), text.chars(), '"').unwrap();
            assert_eq!((by_chars, whole_too), (to, whole));
        }
    }
}
