//! The captures that an extract of several was taken from.
//!
//! In: comments of a section header, which list the inputs, and of its interfaces, each of which is of one of them. Out: the
//! input and the number of each frame in the captures. [`super::save`] writes these comments, [`super::pcapng`] reads them.

use std::sync::Arc;

use crate::packet::FrameRef;

/// What an extract has about its frames, and how far each of its inputs was read.
#[derive(Debug)]
pub(super) struct Originals {
    /// Number of the first input.
    first: u16,
    /// Numbers that are kept free for the inputs, from the first.
    most: u16,
    /// The list of the first section; `None` before it. A capture that is no extract of several has an empty one.
    listed: Option<Vec<Arc<str>>>,
    /// Number of the last frame of each input; empty if the capture is one input.
    last: Vec<u64>,
}

impl Originals {
    /// A capture whose inputs have up to `most` numbers from `first` on.
    pub(super) const fn new(first: u16, most: u16) -> Self {
        Self { first, most, listed: None, last: Vec::new() }
    }

    /// Whether the frames are of several inputs.
    pub(super) const fn are_several(&self) -> bool {
        !self.last.is_empty()
    }

    /// Takes the list of a section.
    ///
    /// # Errors
    ///
    /// It lists inputs to which its frames cannot be assigned; the reason, in words for the user.
    pub(super) fn begin_section(&mut self, names: Vec<Arc<str>>) -> Result<(), String> {
        let Some(listed) = &self.listed else {
            let count = names.len();
            let fits = count <= usize::from(self.most);
            let first = self.listed.insert(names);
            if first.len() > 1 && fits {
                self.last = vec![0; count];
            }
            return if fits { Ok(()) } else { Err(unplaced(count)) };
        };
        if *listed == names {
            return if names.is_empty() || self.are_several() {
                Ok(())
            } else {
                Err(unplaced(names.len()))
            };
        }
        Err(format!(
            "this section lists {}, and the first one {}: its frames are counted as those of the first input",
            described(&names, "other inputs"),
            described(listed, "inputs")
        ))
    }

    /// The input and the number of a frame. `place` is that of its input in the list, and `number` its number there, as far as
    /// its section has them. A frame without a known input is counted as one of the first.
    pub(super) fn place(&mut self, place: Option<u16>, number: Option<u64>) -> Option<FrameRef> {
        let at = place.unwrap_or_default();
        let last = self.last.get_mut(usize::from(at))?;
        *last = number.filter(|_| place.is_some()).unwrap_or_default().max(last.saturating_add(1));
        Some(FrameRef { input: self.first.saturating_add(at), number: *last })
    }

    /// The input of an interface that is of the input at this place in the list.
    pub(super) fn input(&self, place: Option<u16>) -> u16 {
        self.first.saturating_add(place.unwrap_or_default())
    }

    /// The place in the list that the comment of an interface gives.
    pub(super) fn place_of(&self, comment: &[u8]) -> Option<u16> {
        let number = std::str::from_utf8(comment).ok()?.strip_prefix(INPUT)?;
        let place = number.parse::<u16>().ok()?.checked_sub(1)?;
        Some(place).filter(|place| usize::from(*place) < self.last.len())
    }
}

fn described(names: &[Arc<str>], inputs: &str) -> String {
    match names.len() {
        0 => "no inputs".to_owned(),
        count => format!("{count} {inputs}"),
    }
}

fn unplaced(count: usize) -> String {
    format!(
        "no numbers are kept for the {count} inputs of this extract: its frames are numbered as they are in it"
    )
}

/// The inputs that the comments of a section list, as an extract of several has them; none if they list one, or are other
/// comments.
pub(super) fn listed<'a>(comments: impl Iterator<Item = &'a [u8]>) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for comment in comments {
        let text = String::from_utf8_lossy(comment);
        let entry = text.strip_prefix(INPUT).and_then(|text| text.split_once(": "));
        if let Some((number, name)) = entry
            && number.parse() == Ok(names.len() + 1)
            && names.len() < MOST
        {
            names.push(Arc::from(name));
        }
    }
    if names.len() > 1 { names } else { Vec::new() }
}

/// The comment that lists an input, at this place of all.
pub(super) fn entry(place: usize, name: &str) -> String {
    format!("{INPUT}{}: {name}", place + 1)
}

/// The comment of an interface that is of this input.
pub(super) fn mark(input: u16) -> String {
    format!("{INPUT}{}", u32::from(input) + 1)
}

/// What these comments begin with.
const INPUT: &str = "input ";

/// Inputs that can be listed: as many as have numbers.
const MOST: usize = u16::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<Arc<str>> {
        let comments: Vec<_> = names.iter().enumerate().map(|(at, name)| entry(at, name)).collect();
        listed(comments.iter().map(String::as_bytes))
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        assert_eq!(list(&["a: b.pcap", "", "ü"]), ["a: b.pcap", "", "ü"].map(Arc::from));
        assert!(list(&["one"]).is_empty(), "the capture goes by its own name");
        let others = [
            &b"input 2: b"[..],
            b"why",
            b"input 1: a",
            b"input 1: c",
            b"input x: d",
            b"input 2: \xff",
        ];
        assert_eq!(listed(others.into_iter()), ["a", "\u{fffd}"].map(Arc::from));
        let many = vec![String::new(); MOST + 9];
        let many: Vec<_> = many.iter().enumerate().map(|(at, name)| entry(at, name)).collect();
        assert_eq!(listed(many.iter().map(String::as_bytes)).len(), MOST);
    }

    #[test]
    fn frames_have_the_numbers_of_their_inputs_which_rise() {
        let mut originals = Originals::new(7, 2);
        assert_eq!(originals.begin_section(list(&["a", "b"])), Ok(()));
        let places: Vec<_> = ["input 1", "input 2", "input 3", "input 0", "input", "input 99999"]
            .map(|comment| originals.place_of(comment.as_bytes()))
            .into();
        assert_eq!(places, [Some(0), Some(1), None, None, None, None]);
        assert_eq!(mark(65_534), "input 65535");
        let mut place = |at, number| {
            let FrameRef { input, number } = originals.place(at, number).unwrap();
            (input, number)
        };
        assert_eq!(place(Some(1), Some(48)), (8, 48));
        assert_eq!(place(Some(0), Some(3)), (7, 3));
        assert_eq!(place(Some(1), Some(5)), (8, 49), "a number that does not rise");
        assert_eq!(place(Some(0), None), (7, 4));
        assert_eq!(place(None, Some(99)), (7, 5), "of which input it is not known");
    }

    #[test]
    fn lists_that_do_not_fit_are_errors() {
        let (a, b) = (list(&["a", "b"]), list(&["a", "c", "d"]));
        let mut originals = Originals::new(0, 2);
        assert!(originals.begin_section(b.clone()).is_err() && !originals.are_several());
        assert!(originals.begin_section(b.clone()).is_err() && !originals.are_several());
        assert_eq!(originals.place(Some(0), None), None);
        let mut originals = Originals::new(0, 2);
        assert!(originals.begin_section(a.clone()).is_ok() && originals.are_several());
        assert!(originals.begin_section(a).is_ok());
        assert!(originals.begin_section(b).is_err());
        assert!(originals.begin_section(Vec::new()).is_err());
        let mut plain = Originals::new(0, 1);
        assert!(plain.begin_section(Vec::new()).is_ok() && plain.begin_section(Vec::new()).is_ok());
        assert!(plain.begin_section(list(&["a", "b"])).is_err() && !plain.are_several());
    }
}
