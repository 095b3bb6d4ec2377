//! Writing into room that is there.
//!
//! In: pieces of a line, most of them short, and numbers. Out: whether there was room. A line of a message is made
//! of some forty pieces: for each, a `Vec` looks up its room and its length in memory, and notes the new length
//! there, before the next can come. What is stored here is stored in a number of octets that is known when this is
//! compiled, wherever that may be, and what is too much is written over by what comes next.
//!
//! Making digits of numbers one by one would be a third of all that it takes to write a line: three are looked up
//! at a time, and all of a number stored at once.

use std::mem;

/// Writes from the front of a slice on. After `None`, for which there is no room, nothing is left of it.
pub(crate) struct Pen<'a> {
    rest: &'a mut [u8],
}

impl<'a> Pen<'a> {
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { rest: room }
    }

    /// Octets that there is still room for.
    #[inline]
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Writes all of `octets`.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, octets: &[u8; N]) -> Option<()> {
        let (place, rest) = mem::take(&mut self.rest).split_first_chunk_mut()?;
        *place = *octets;
        self.rest = rest;
        Some(())
    }

    /// Writes the first `len` of `octets`, where there is room for all of them.
    #[inline(always)]
    pub(crate) fn put_some<const N: usize>(&mut self, octets: &[u8; N], len: usize) -> Option<()> {
        let rest = mem::take(&mut self.rest);
        *rest.first_chunk_mut()? = *octets;
        self.rest = rest.get_mut(len..)?;
        Some(())
    }

    /// Writes octets whose number is not known.
    #[inline]
    pub(crate) fn copy(&mut self, octets: &[u8]) -> Option<()> {
        let (place, rest) = mem::take(&mut self.rest).split_at_mut_checked(octets.len())?;
        place.copy_from_slice(octets);
        self.rest = rest;
        Some(())
    }

    /// Writes a number.
    #[inline]
    pub(crate) fn number(&mut self, number: u64) -> Option<()> {
        match short(number) {
            Some((octets, count)) => self.put_some(&octets.to_le_bytes(), count),
            None => self.long(number),
        }
    }

    /// Writes a dot and a number.
    #[inline]
    pub(crate) fn dot_number(&mut self, number: u64) -> Option<()> {
        match short(number) {
            Some((octets, count)) => {
                let octets = octets << 8 | u64::from(b'.');
                self.put_some(&octets.to_le_bytes(), count + 1)
            }
            None => {
                self.put(b".")?;
                self.long(number)
            }
        }
    }

    #[cold]
    fn long(&mut self, number: u64) -> Option<()> {
        // As deep as there are groups of three digits: five.
        self.number(number / 1000)?;
        self.put_some(&three(number % 1000).to_le_bytes(), 3)
    }
}

/// The nine digits of a number below 1,000,000,000.
pub(crate) fn nine_digits(number: u64) -> [u8; 9] {
    let [a, b, c, _] = three(number / 1_000_000).to_le_bytes();
    let [d, e, f, _] = three(number / 1000 % 1000).to_le_bytes();
    let [g, h, i, _] = three(number % 1000).to_le_bytes();
    [a, b, c, d, e, f, g, h, i]
}

/// So many octets, the lowest is the first.
type Octets = (u64, usize);

/// A number below 1,000,000.
#[inline]
fn short(number: u64) -> Option<Octets> {
    if number < 1000 {
        return Some(first(number));
    }
    if number < 1_000_000 {
        let (octets, count) = first(number / 1000);
        let rest = u64::from(three(number % 1000)) << (8 * count);
        return Some((octets | rest, count + 3));
    }
    None
}

/// A number below 1,000, without zeros in front.
#[inline]
fn first(number: u64) -> Octets {
    let zeros = usize::from(number < 100) + usize::from(number < 10);
    (u64::from(three(number)) >> (8 * zeros), 3 - zeros)
}

/// The three digits of a number below 1,000.
#[inline]
fn three(number: u64) -> u32 {
    let digits = usize::try_from(number).ok().and_then(|number| DIGITS.get(number));
    digits.copied().unwrap_or_default()
}

static DIGITS: [u32; 1000] = {
    let mut table = [0; 1000];
    let mut number = 0_u16;
    while number < 1000 {
        #[expect(clippy::cast_possible_truncation, reason = "below 10")]
        let digits = [(number / 100) as u8, (number / 10 % 10) as u8, (number % 10) as u8];
        let [hundreds, tens, ones] = digits;
        #[expect(clippy::indexing_slicing, reason = "while it is compiled")]
        {
            let digits = [b'0' + hundreds, b'0' + tens, b'0' + ones, 0];
            table[number as usize] = u32::from_le_bytes(digits);
        }
        number += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut Pen<'_>) -> Option<()>) -> String {
        let mut room = [0; 64];
        let mut pen = Pen::new(&mut room);
        write(&mut pen).unwrap();
        let len = 64 - pen.left();
        String::from_utf8(room[..len].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_everyone_writes_them() {
        let around = |n: u64| [n.saturating_sub(1), n, n.saturating_add(1)];
        let powers = (0..20).map(|digits| 10_u64.pow(digits)).flat_map(around);
        for value in (0..2000).chain(powers).chain([123_456_789, 1_002_003_004, u64::MAX]) {
            let both = |pen: &mut Pen<'_>| pen.number(value).and_then(|()| pen.dot_number(value));
            assert_eq!(written(both), format!("{value}.{value}"));
            if value < 1_000_000_000 {
                assert_eq!(nine_digits(value), *format!("{value:09}").as_bytes());
            }
        }
    }

    #[test]
    fn pieces_stand_side_by_side_and_what_does_not_fit_is_none() {
        let pieces = |pen: &mut Pen<'_>| {
            pen.put(b"ab")?;
            pen.put_some(b"cdef", 1)?;
            pen.copy(b"gh")
        };
        assert_eq!(written(pieces), "abcgh");
        for room in 0..6 {
            let fits = pieces(&mut Pen::new(&mut [0; 6][..room])).is_some();
            assert_eq!(fits, room == 6, "{room}: all four octets of the second are stored");
        }
    }
}
