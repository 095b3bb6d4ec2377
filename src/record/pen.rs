//! Writing into room that is there.
//!
//! In: pieces of a line, most of them short, and numbers. Out: whether there was room. A line of a message is made
//! of some forty pieces: for each, a `Vec` looks up its room and its length in memory, and notes the new length
//! there, before the next can come. What is stored here is stored in a number of bytes that is known when this is
//! compiled, wherever that may be, and what is too much is written over by what comes next.
//!
//! Making digits of numbers one by one would be a third of all that it takes to write a line: three are looked up
//! at a time, and all of a number stored at once.

use std::io::{self, Write};

/// Bytes that were written, and room behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    len: usize,
}

impl Page {
    /// What was written.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How much that is.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds what `write` writes, which needs no more than `room`; nothing, and false, where it is more.
    #[inline]
    pub(crate) fn add(
        &mut self,
        room: usize,
        write: impl for<'a> FnOnce(Pen<'a>) -> Option<Pen<'a>>,
    ) -> bool {
        if self.bytes.len() - self.len < room {
            self.enlarge(room);
        }
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        let size = rest.len();
        let Some(pen) = write(Pen::new(rest)) else { return false };
        self.len += size - pen.left();
        true
    }

    #[cold]
    fn enlarge(&mut self, room: usize) {
        let more = self.bytes.len().max(room);
        self.bytes.resize(self.len + more, 0);
    }

    /// Forgets what was written behind `len`, and keeps the room.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes.len(), |pen| pen.copy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes from the front of a slice on. Each piece gives the pen for what comes behind it, or `None` where there is
/// no room: handed on by value, it never leaves the registers.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    rest: &'a mut [u8],
}

impl<'a> Pen<'a> {
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { rest: room }
    }

    /// Bytes that there is still room for.
    #[inline]
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Writes all of `bytes`.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(self, bytes: &[u8; N]) -> Option<Self> {
        let (place, rest) = self.rest.split_first_chunk_mut()?;
        *place = *bytes;
        Some(Self { rest })
    }

    /// Writes the first `len` of `bytes`, where there is room for all of them.
    #[inline(always)]
    pub(crate) fn put_some<const N: usize>(self, bytes: &[u8; N], len: usize) -> Option<Self> {
        *self.rest.first_chunk_mut()? = *bytes;
        Some(Self { rest: self.rest.get_mut(len..)? })
    }

    /// Writes bytes whose number is not known, and mostly small.
    #[inline]
    pub(crate) fn copy_short(self, bytes: &[u8]) -> Option<Self> {
        let (place, rest) = self.rest.split_at_mut_checked(bytes.len())?;
        match bytes.len() {
            0..4 => place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte),
            4..8 => copy_ends::<4>(place, bytes)?,
            8..16 => copy_ends::<8>(place, bytes)?,
            16..32 => copy_ends::<16>(place, bytes)?,
            _ => place.copy_from_slice(bytes),
        }
        Some(Self { rest })
    }

    /// Writes bytes whose number is not known.
    #[inline]
    pub(crate) fn copy(self, bytes: &[u8]) -> Option<Self> {
        let (place, rest) = self.rest.split_at_mut_checked(bytes.len())?;
        place.copy_from_slice(bytes);
        Some(Self { rest })
    }

    /// Writes a number.
    #[inline]
    pub(crate) fn number(self, number: u64) -> Option<Self> {
        match short(number) {
            Some((bytes, count)) => self.put_some(&bytes.to_le_bytes(), count),
            None => self.long(number),
        }
    }

    /// Writes a dot and a number.
    #[inline]
    pub(crate) fn dot_number(self, number: u64) -> Option<Self> {
        match short(number) {
            Some((bytes, count)) => {
                let bytes = bytes << 8 | u64::from(b'.');
                self.put_some(&bytes.to_le_bytes(), count + 1)
            }
            None => self.put(b".")?.long(number),
        }
    }

    #[cold]
    fn long(self, number: u64) -> Option<Self> {
        // As deep as there are groups of three digits: five.
        self.number(number / 1000)?.put_some(&three(number % 1000).to_le_bytes(), 3)
    }
}

/// Copies the first and the last `N` bytes: all, where there are no more than twice as many.
#[inline]
fn copy_ends<const N: usize>(place: &mut [u8], bytes: &[u8]) -> Option<()> {
    *place.first_chunk_mut::<N>()? = *bytes.first_chunk()?;
    *place.last_chunk_mut::<N>()? = *bytes.last_chunk()?;
    Some(())
}

/// The nine digits of a number below 1,000,000,000.
pub(crate) fn nine_digits(number: u64) -> [u8; 9] {
    let [a, b, c, _] = three(number / 1_000_000).to_le_bytes();
    let [d, e, f, _] = three(number / 1000 % 1000).to_le_bytes();
    let [g, h, i, _] = three(number % 1000).to_le_bytes();
    [a, b, c, d, e, f, g, h, i]
}

/// So many bytes, the lowest is the first.
type Bytes = (u64, usize);

/// A number below 1,000,000.
#[inline]
fn short(number: u64) -> Option<Bytes> {
    if number < 1000 {
        return Some(first(number));
    }
    if number < 1_000_000 {
        let (bytes, count) = first(number / 1000);
        let rest = u64::from(three(number % 1000)) << (8 * count);
        return Some((bytes | rest, count + 3));
    }
    None
}

/// A number below 1,000, without zeros in front.
#[inline]
fn first(number: u64) -> Bytes {
    let digits = usize::try_from(number).ok().and_then(|number| FIRST.get(number));
    let [a, b, c, count] = digits.copied().unwrap_or_default().to_le_bytes();
    (u32::from_le_bytes([a, b, c, 0]).into(), count.into())
}

/// The three digits of a number below 1,000.
#[inline]
fn three(number: u64) -> u32 {
    let digits = usize::try_from(number).ok().and_then(|number| THREE.get(number));
    digits.copied().unwrap_or_default()
}

/// Of each number the digits without zeros in front, and how many.
static FIRST: [u32; 1000] = table(true);

/// Of each number three digits.
static THREE: [u32; 1000] = table(false);

#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "while it is compiled"
)]
const fn table(without_zeros: bool) -> [u32; 1000] {
    let mut table = [0; 1000];
    let mut number = 0;
    while number < 1000 {
        let [a, b, c] = [number / 100, number / 10 % 10, number % 10];
        let [a, b, c] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        table[number] = u32::from_le_bytes(match number {
            0..10 if without_zeros => [c, 0, 0, 1],
            10..100 if without_zeros => [b, c, 0, 2],
            _ if without_zeros => [a, b, c, 3],
            _ => [a, b, c, 0],
        });
        number += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(Pen<'_>) -> Option<Pen<'_>>) -> String {
        let mut room = [0; 64];
        let left = write(Pen::new(&mut room)).unwrap().left();
        String::from_utf8(room[..64 - left].to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_everyone_writes_them() {
        let around = |n: u64| [n.saturating_sub(1), n, n.saturating_add(1)];
        let powers = (0..20).map(|digits| 10_u64.pow(digits)).flat_map(around);
        for value in (0..2000).chain(powers).chain([123_456_789, 1_002_003_004, u64::MAX]) {
            assert_eq!(
                written(|pen| pen.number(value)?.dot_number(value)),
                format!("{value}.{value}")
            );
            if value < 1_000_000_000 {
                assert_eq!(nine_digits(value), *format!("{value:09}").as_bytes());
            }
        }
    }

    #[test]
    fn a_page_has_the_room_that_is_asked_for() {
        let mut page = Page::default();
        for n in 0..1000 {
            assert!(page.add(9, |pen| pen.put(b"ab")?.put_some(b"cdefghi", 1)));
            page.write_all(b"jk").unwrap();
            assert_eq!(page.len(), 5 * (n + 1));
        }
        assert_eq!(page.bytes(), b"abcjk".repeat(1000));
        assert!(!page.add(0, |_| None), "what fails adds nothing");
        page.truncate(7);
        assert_eq!(page.bytes(), b"abcjkab");
    }

    #[test]
    fn what_is_copied_is_the_same_at_any_length() {
        let bytes: Vec<_> = (b' '..b'~').collect();
        for len in 0..50 {
            let text = &bytes[..len];
            assert_eq!(
                written(|pen| pen.copy_short(text)?.put(b".")).as_bytes(),
                [text, b"."].concat()
            );
            assert!(Pen::new(&mut vec![0; len + 1][1..]).copy_short(text).is_some(), "{len}");
            assert!(
                len == 0 || Pen::new(&mut vec![0; len][1..]).copy_short(text).is_none(),
                "{len}"
            );
        }
    }

    #[test]
    fn pieces_stand_side_by_side_and_what_does_not_fit_is_none() {
        fn pieces(pen: Pen<'_>) -> Option<Pen<'_>> {
            pen.put(b"ab")?.put_some(b"cdef", 1)?.copy(b"gh")
        }
        assert_eq!(written(pieces), "abcgh");
        for room in 0..6 {
            let fits = pieces(Pen::new(&mut [0; 6][..room])).is_some();
            assert_eq!(fits, room == 6, "{room}: all four bytes of the second are stored");
        }
    }
}
