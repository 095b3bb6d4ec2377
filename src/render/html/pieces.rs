//! Sentences in which the frames are marked, and text within drawings.
//!
//! In: sentences of the report, and the frames that they may name. Out: pieces, of which those that name a frame have
//! its number; text of SVG, escaped.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use minijinja::Value;
use serde::Serialize;

use crate::render::escape::escape;
use crate::render::report::FrameLabel;

/// A part of a sentence.
#[derive(Debug, Eq, PartialEq, Serialize)]
pub(super) struct Piece {
    pub(super) text: String,
    /// The frame that the part names.
    pub(super) frame: Option<u64>,
    /// The input of that frame, if the run has several.
    pub(super) input: Option<Arc<str>>,
}

impl Piece {
    fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), frame: None, input: None }
    }

    /// The name of a frame.
    pub(super) fn of(label: &FrameLabel) -> Self {
        Self { text: label.to_string(), frame: Some(label.frame), input: label.input.clone() }
    }
}

/// The frames that sentences of a report may name, and the inputs that follow them in a run over several.
#[derive(Default)]
pub(super) struct KnownFrames {
    pub(super) numbers: BTreeSet<u64>,
    pub(super) inputs: Vec<Arc<str>>,
}

impl KnownFrames {
    /// The sentence with each `frame N` as a piece of its own, if the frame is known.
    pub(super) fn marked(&self, sentence: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (sentence, sentence);
        while let Some((_, after)) = rest.split_once(FRAME) {
            rest = after;
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = after.get(..digits).and_then(|digits| digits.parse().ok());
            let Some(number) = number.filter(|number| self.numbers.contains(number)) else {
                continue;
            };
            let behind = after.get(digits..).unwrap_or_default();
            let input = behind.strip_prefix(" of ").and_then(|name| {
                self.inputs
                    .iter()
                    .filter(|input| name.starts_with(&***input))
                    .max_by_key(|it| it.len())
            });
            let named = digits + input.map_or(0, |input| " of ".len() + input.len());
            let begin = plain.len() - after.len() - FRAME.len();
            let end = plain.len() - after.len() + named;
            if begin > 0 {
                pieces.push(Piece::plain(plain.get(..begin).unwrap_or_default()));
            }
            let text = plain.get(begin..end).unwrap_or_default().to_owned();
            pieces.push(Piece { text, frame: Some(number), input: input.cloned() });
            plain = plain.get(end..).unwrap_or_default();
            rest = plain;
        }
        if !plain.is_empty() {
            pieces.push(Piece::plain(plain));
        }
        pieces
    }
}

const FRAME: &str = "frame ";

/// A drawing, as a value that the page takes as it is: its texts are escaped already.
pub(super) fn markup(svg: String) -> Value {
    Value::from_safe_string(svg)
}

/// Text of SVG: without anything that controls a terminal or the direction of text, and without markup.
pub(super) fn svg_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in escape(text).chars() {
        let _ = match c {
            '&' => safe.write_str("&amp;"),
            '<' => safe.write_str("&lt;"),
            '>' => safe.write_str("&gt;"),
            '"' => safe.write_str("&quot;"),
            '\'' => safe.write_str("&#39;"),
            c => safe.write_char(c),
        };
    }
    safe
}

/// The start of a text that fits a drawing; what is cut is in the table below it.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let text = escape(text);
    if text.chars().count() <= most {
        return text.into_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(numbers: &[u64], inputs: &[&str]) -> KnownFrames {
        KnownFrames {
            numbers: numbers.iter().copied().collect(),
            inputs: inputs.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn marks(known: &KnownFrames, sentence: &str) -> Vec<(String, Option<u64>)> {
        let pieces = known.marked(sentence);
        let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(whole, sentence);
        pieces.into_iter().map(|piece| (piece.text, piece.frame)).collect()
    }

    #[test]
    fn known_frames_are_marked_and_the_sentence_stays_whole() {
        let known = frames(&[7, 71], &[]);
        let expected = [
            ("solved (".to_owned(), None),
            ("frame 71".to_owned(), Some(71)),
            ("), not frame 8 of frames; ".to_owned(), None),
            ("frame 7".to_owned(), Some(7)),
        ];
        assert_eq!(marks(&known, "solved (frame 71), not frame 8 of frames; frame 7"), expected);
        assert_eq!(marks(&known, ""), []);
        let endless = "frame 99999999999999999999 é";
        assert_eq!(marks(&known, endless), [(endless.to_owned(), None)]);
    }

    #[test]
    fn the_input_of_a_frame_belongs_to_its_name() {
        let known = frames(&[7], &["a", "a.pcap"]);
        let pieces = known.marked("at frame 7 of a.pcap and on");
        assert_eq!(pieces.get(1).map(|it| it.text.as_str()), Some("frame 7 of a.pcap"));
        assert_eq!(pieces.get(1).and_then(|it| it.input.as_deref()), Some("a.pcap"));
    }

    #[test]
    fn text_of_a_drawing_is_no_markup() {
        assert_eq!(
            svg_text("<img src='x'>&\"\u{202e}\x07"),
            "&lt;img src=&#39;x&#39;&gt;&amp;&quot;\\u{202e}\\x07"
        );
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
