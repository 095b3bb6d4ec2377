//! Appending text to a reusable buffer, and decimal digits.
//!
//! In: pieces of text, most of them shorter than 32 bytes, and numbers. Out: bytes in a [`LineBuffer`].
//!
//! A printed message consists of some forty pieces. `Vec::extend_from_slice` loads the length and the capacity
//! for each of them, calls `memcpy` and stores the new length, and the next piece waits for that store (store
//! forwarding). A [`Cursor`] is passed by value and stays in registers. Where the largest length of a piece is
//! known at compile time, the cursor stores a chunk of that fixed size (one or a few wide stores) and the next
//! piece overwrites the surplus.
//!
//! Numbers are converted three digits at a time, with one table load each, and stored at once. With digits
//! computed one by one, numbers would take a third of the instructions of a printed message.

use std::io::{self, Write};

/// A byte buffer that keeps its initialised capacity when it is emptied.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl LineBuffer {
    /// An empty buffer of `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], len: 0 }
    }

    /// The bytes that were written.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The bytes that were written, and the unused rest of the buffer behind them. Readers that copy chunks of a
    /// fixed size may read beyond the text.
    #[inline]
    pub(crate) fn with_rest(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of bytes that were written.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Appends what `write` writes. `write` gets a cursor with at least `room` bytes; where it needs more and
    /// gives `None`, nothing is appended and the result is false.
    #[inline]
    pub(crate) fn append(
        &mut self,
        room: usize,
        write: impl for<'a> FnOnce(Cursor<'a>) -> Option<Cursor<'a>>,
    ) -> bool {
        if self.bytes.len() - self.len < room {
            self.grow(room);
        }
        let rest = self.bytes.get_mut(self.len..).unwrap_or_default();
        let size = rest.len();
        let Some(cursor) = write(Cursor::new(rest)) else { return false };
        self.len += size - cursor.left();
        true
    }

    #[cold]
    fn grow(&mut self, room: usize) {
        let more = self.bytes.len().max(room);
        self.bytes.resize(self.len + more, 0);
    }

    /// Removes the bytes behind the first `len`, and keeps the capacity.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Write for LineBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes.len(), |cursor| cursor.copy(bytes));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the front of a slice. Each method returns the cursor behind what it wrote, or `None` where the
/// slice is too short.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a mut [u8],
}

impl<'a> Cursor<'a> {
    /// A cursor at the front of `room`.
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { rest: room }
    }

    /// The number of bytes that still fit.
    #[inline]
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Writes all of `bytes`.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(self, bytes: &[u8; N]) -> Option<Self> {
        let (target, rest) = self.rest.split_first_chunk_mut()?;
        *target = *bytes;
        Some(Self { rest })
    }

    /// Writes the first `len` of `bytes`. All of them are stored, so all of them must fit.
    #[inline(always)]
    pub(crate) fn put_prefix<const N: usize>(self, bytes: &[u8; N], len: usize) -> Option<Self> {
        *self.rest.first_chunk_mut()? = *bytes;
        Some(Self { rest: self.rest.get_mut(len..)? })
    }

    /// Writes the first `len` bytes of `bytes`, which is faster where `bytes` goes on behind them: chunks of
    /// [`CHUNK`] bytes are copied then, without a branch on the length of a short text.
    #[inline(always)]
    pub(crate) fn copy_prefix(self, bytes: &[u8], len: usize) -> Option<Self> {
        match bytes.first_chunk::<CHUNK>() {
            Some(chunk) if len <= CHUNK => self.put_prefix(chunk, len),
            _ => self.copy_long(bytes, len),
        }
    }

    /// Writes the first `len` bytes of `bytes`. Inlined, the compiler would join it with the copy of a chunk to one
    /// call of `memcpy` with a variable length, which costs 30 instructions for each field of a message.
    #[cold]
    #[inline(never)]
    fn copy_long(self, bytes: &[u8], len: usize) -> Option<Self> {
        self.copy(bytes.get(..len)?)
    }

    /// Writes `bytes`, of which there are mostly fewer than 32.
    #[inline]
    pub(crate) fn copy_short(self, bytes: &[u8]) -> Option<Self> {
        let (target, rest) = self.rest.split_at_mut_checked(bytes.len())?;
        match bytes.len() {
            0..4 => target.iter_mut().zip(bytes).for_each(|(target, byte)| *target = *byte),
            4..8 => copy_ends::<4>(target, bytes)?,
            8..16 => copy_ends::<8>(target, bytes)?,
            16..32 => copy_ends::<16>(target, bytes)?,
            _ => target.copy_from_slice(bytes),
        }
        Some(Self { rest })
    }

    /// Writes `bytes` with one `memcpy`.
    #[inline]
    pub(crate) fn copy(self, bytes: &[u8]) -> Option<Self> {
        let (target, rest) = self.rest.split_at_mut_checked(bytes.len())?;
        target.copy_from_slice(bytes);
        Some(Self { rest })
    }

    /// Writes a number in decimal digits.
    #[inline]
    pub(crate) fn number(self, number: u64) -> Option<Self> {
        if number < MILLION {
            let (digits, count) = six_digits(number);
            return self.put_prefix(&digits.to_le_bytes(), count);
        }
        self.large_number(number)
    }

    /// Writes a number of more than six digits. Recurses at most twice.
    #[inline(never)]
    fn large_number(self, number: u64) -> Option<Self> {
        let cursor = self.number(number / MILLION)?;
        cursor.put_prefix(&six_digits_with_zeros(number % MILLION).to_le_bytes(), 6)
    }

    /// Writes a dot and a number.
    #[inline]
    pub(crate) fn dot_number(self, number: u32) -> Option<Self> {
        let number = u64::from(number);
        if number < MILLION {
            let (digits, count) = six_digits(number);
            let digits = digits << 8 | u64::from(b'.');
            return self.put_prefix(&digits.to_le_bytes(), count + 1);
        }
        self.put(b".")?.large_number(number)
    }
}

/// Bytes that [`Cursor::copy_prefix`] stores at once: the text of a pid or of a reference with a short node name
/// fits, and so does one cache line.
pub(crate) const CHUNK: usize = 64;

/// Copies the first `N` and the last `N` bytes, which are all bytes where there are between `N` and `2 * N`.
#[inline]
fn copy_ends<const N: usize>(target: &mut [u8], bytes: &[u8]) -> Option<()> {
    *target.first_chunk_mut::<N>()? = *bytes.first_chunk()?;
    *target.last_chunk_mut::<N>()? = *bytes.last_chunk()?;
    Some(())
}

/// The digits of a number below 1,000,000,000, with leading zeros.
pub(crate) fn nine_digits(number: u64) -> [u8; 9] {
    let [a, b, c, _] = three_digits(number / 1_000_000).to_le_bytes();
    let [d, e, f, _] = three_digits(number / 1000 % 1000).to_le_bytes();
    let [g, h, i, _] = three_digits(number % 1000).to_le_bytes();
    [a, b, c, d, e, f, g, h, i]
}

/// ASCII digits, the first one in the lowest byte, and how many they are.
type AsciiDigits = (u64, usize);

const MILLION: u64 = 1_000_000;

/// The digits of a number below 1,000,000, without leading zeros.
#[inline]
fn six_digits(number: u64) -> AsciiDigits {
    if number < 1000 {
        return up_to_three_digits(number);
    }
    let (digits, count) = up_to_three_digits(number / 1000);
    let rest = u64::from(three_digits(number % 1000)) << (8 * count);
    (digits | rest, count + 3)
}

/// The digits of a number below 1,000,000, with leading zeros.
#[inline]
fn six_digits_with_zeros(number: u64) -> u64 {
    u64::from(three_digits(number % 1000)) << 24 | u64::from(three_digits(number / 1000))
}

/// The digits of a number below 1,000, without leading zeros.
#[inline]
fn up_to_three_digits(number: u64) -> AsciiDigits {
    let zeros = usize::from(number < 100) + usize::from(number < 10);
    (u64::from(three_digits(number) >> (8 * zeros)), 3 - zeros)
}

/// The three digits of a number below 1,000, with leading zeros.
#[inline]
fn three_digits(number: u64) -> u32 {
    let digits = usize::try_from(number).ok().and_then(|number| THREE_DIGITS.get(number));
    digits.copied().unwrap_or_default()
}

/// The three digits of each number below 1,000.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated at compile time"
)]
static THREE_DIGITS: [u32; 1000] = {
    let mut table = [0; 1000];
    let mut number = 0;
    while number < 1000 {
        let digits = [number / 100, number / 10 % 10, number % 10];
        let [a, b, c] = [b'0' + digits[0] as u8, b'0' + digits[1] as u8, b'0' + digits[2] as u8];
        table[number] = u32::from_le_bytes([a, b, c, 0]);
        number += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(Cursor<'_>) -> Option<Cursor<'_>>) -> String {
        let mut room = [0; 128];
        let left = write(Cursor::new(&mut room)).unwrap().left();
        String::from_utf8(room[..128 - left].to_vec()).unwrap()
    }

    #[test]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half of a number is a number too"
    )]
    fn numbers_have_the_digits_that_the_standard_library_gives() {
        let around = |n: u64| [n.saturating_sub(1), n, n.saturating_add(1)];
        let powers = (0..20).map(|digits| 10_u64.pow(digits)).flat_map(around);
        for value in (0..2000).chain(powers).chain([123_456_789, 1_002_003_004, u64::MAX]) {
            assert_eq!(
                written(|cursor| cursor.number(value)?.dot_number(value as u32)),
                format!("{value}.{}", value as u32)
            );
            if value < 1_000_000_000 {
                assert_eq!(nine_digits(value), *format!("{value:09}").as_bytes());
            }
        }
    }

    #[test]
    fn a_buffer_grows_to_the_room_that_is_asked_for() {
        let mut buffer = LineBuffer::default();
        for n in 0..1000 {
            assert!(buffer.append(9, |cursor| cursor.put(b"ab")?.put_prefix(b"cdefghi", 1)));
            buffer.write_all(b"jk").unwrap();
            assert_eq!(buffer.len(), 5 * (n + 1));
        }
        assert_eq!(buffer.bytes(), b"abcjk".repeat(1000));
        assert!(!buffer.append(0, |_| None), "a failed write appends nothing");
        buffer.truncate(7);
        assert_eq!(buffer.bytes(), b"abcjkab");
    }

    #[test]
    fn copies_are_exact_at_any_length() {
        let bytes: Vec<_> = (0..100).map(|n| b' ' + n % 90).collect();
        for len in 0..70 {
            let text = &bytes[..len];
            let expected = [text, b"."].concat();
            assert_eq!(written(|cursor| cursor.copy_short(text)?.put(b".")).as_bytes(), expected);
            for bytes in [text, &bytes[..]] {
                let copied = written(|cursor| cursor.copy_prefix(bytes, len)?.put(b"."));
                assert_eq!(copied.as_bytes(), expected, "{len} of {}", bytes.len());
            }
            assert!(Cursor::new(&mut vec![0; len + 1][1..]).copy_short(text).is_some(), "{len}");
            assert!(
                len == 0 || Cursor::new(&mut vec![0; len][1..]).copy_short(text).is_none(),
                "{len}"
            );
        }
        assert!(Cursor::new(&mut [0; 80]).copy_prefix(b"short", 6).is_none());
    }

    #[test]
    fn a_piece_that_does_not_fit_gives_none() {
        fn pieces(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
            cursor.put(b"ab")?.put_prefix(b"cdef", 1)?.copy(b"gh")
        }
        assert_eq!(written(pieces), "abcgh");
        for room in 0..6 {
            let fits = pieces(Cursor::new(&mut [0; 6][..room])).is_some();
            assert_eq!(fits, room == 6, "{room}: all four bytes of the second piece are stored");
        }
    }
}
