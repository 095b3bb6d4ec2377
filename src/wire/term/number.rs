//! Numbers as terms carry them: integers of any size, and floats as text.

use std::fmt::{self, Write};

use super::scan::{FLOAT_TEXT, Fault, Reader};
use super::tag::*;

/// An integer of any size.
#[derive(Clone, Copy, Debug)]
pub struct Integer<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    Small(i32),
    /// Sign, and the magnitude's bytes, the lowest first, without zeros at the end.
    Big(bool, &'a [u8]),
}

impl<'a> Integer<'a> {
    pub(super) fn read(i: &mut Reader<'a>) -> Result<Self, Fault> {
        let at = *i;
        let len = match i.u8("tag")? {
            SMALL_INTEGER_EXT => return Ok(Self(Repr::Small(i.u8("Int")?.into()))),
            INTEGER_EXT => return Ok(Self(Repr::Small(i32::from_be_bytes(i.array("Int")?)))),
            SMALL_BIG_EXT => i.u8("n")?.into(),
            LARGE_BIG_EXT => i.u32("n")? as usize,
            _ => return Err(at.malformed("tag")),
        };
        let negative = i.u8("Sign")? != 0;
        Ok(Self::big(negative, i.take(len, "d")?))
    }

    /// Zeros at the end of `magnitude` are legal and mean nothing.
    fn big(negative: bool, magnitude: &'a [u8]) -> Self {
        let len = magnitude.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let magnitude = magnitude.get(..len).unwrap_or_default();
        Self(Repr::Big(negative && len > 0, magnitude))
    }

    /// Its value, where 64 bits hold it.
    pub fn as_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Small(value) => Some(value.into()),
            Repr::Big(negative, bytes) => {
                let magnitude = i128::from(unsigned(bytes)?);
                i64::try_from(if negative { -magnitude } else { magnitude }).ok()
            }
        }
    }

    /// Its value, where 64 bits without a sign hold it.
    pub fn as_u64(self) -> Option<u64> {
        match self.0 {
            Repr::Small(value) => value.try_into().ok(),
            Repr::Big(true, _) => None,
            Repr::Big(false, bytes) => unsigned(bytes),
        }
    }

    /// Writes about `most` digits; false when there are more. Only hexadecimal ones are cut.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_up_to(
        self,
        most: usize,
        out: &mut (impl Write + ?Sized),
    ) -> Result<bool, fmt::Error> {
        match self.0 {
            Repr::Small(value) => write!(out, "{value}").map(|()| true),
            Repr::Big(negative, bytes) => {
                if negative {
                    out.write_char('-')?;
                }
                write_magnitude(bytes, most, out)
            }
        }
    }

    /// The bytes of which [`write_up_to`](Self::write_up_to) writes digits, and how many there are.
    pub fn bytes_up_to(&self, most: usize) -> (&'a [u8], usize) {
        match self.0 {
            Repr::Small(_) => (&[], 0),
            Repr::Big(_, bytes) if bytes.len() <= MAX_DECIMAL => (bytes, bytes.len()),
            Repr::Big(_, bytes) => (bytes.get(..most / 2).unwrap_or(bytes), bytes.len()),
        }
    }
}

/// In Erlang's syntax: decimal, and hexadecimal (`16#ff`) where it has more than 1,024 bits, since the
/// time for decimal digits grows with the square of their number.
impl fmt::Display for Integer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_up_to(usize::MAX, f).map(|_| ())
    }
}

fn unsigned(bytes: &[u8]) -> Option<u64> {
    let mut value = [0; 8];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(value))
}

fn write_magnitude(
    bytes: &[u8],
    most: usize,
    out: &mut (impl Write + ?Sized),
) -> Result<bool, fmt::Error> {
    if let Some(value) = unsigned(bytes) {
        return write!(out, "{value}").map(|()| true);
    }
    if bytes.len() > MAX_DECIMAL {
        return write_hex(bytes, most, out);
    }
    let mut words = [0_u32; MAX_DECIMAL / 4];
    for (word, four) in words.iter_mut().zip(bytes.chunks(4)) {
        let mut padded = [0; 4];
        padded.iter_mut().zip(four).for_each(|(to, from)| *to = *from);
        *word = u32::from_le_bytes(padded);
    }
    // Nine digits a turn, the lowest first.
    let mut groups = [0_u32; MAX_DECIMAL / 3];
    let mut len = 0;
    while words.iter().any(|word| *word != 0) {
        let mut remainder = 0;
        for word in words.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*word);
            *word = u32::try_from(value / NINE_DIGITS).unwrap_or(u32::MAX);
            remainder = value % NINE_DIGITS;
        }
        if let Some(group) = groups.get_mut(len) {
            *group = u32::try_from(remainder).unwrap_or(u32::MAX);
        }
        len += 1;
    }
    let mut groups = groups.iter().take(len).rev();
    if let Some(first) = groups.next() {
        write!(out, "{first}")?;
    }
    groups.try_for_each(|group| write!(out, "{group:09}"))?;
    Ok(true)
}

fn write_hex(
    bytes: &[u8],
    most: usize,
    out: &mut (impl Write + ?Sized),
) -> Result<bool, fmt::Error> {
    out.write_str("16#")?;
    let written = bytes.len().min(most / 2);
    let mut digits = bytes.iter().rev().take(written);
    if let Some(highest) = digits.next() {
        write!(out, "{highest:x}")?;
    }
    digits.try_for_each(|byte| write!(out, "{byte:02x}"))?;
    Ok(written == bytes.len())
}

/// What `write!` does, in a fraction of the time: ids and words are most of what is printed.
pub(super) fn write_decimal(value: u64, out: &mut (impl Write + ?Sized)) -> fmt::Result {
    out.write_str(itoa::Buffer::new().format(value))
}

/// A float, of either form.
pub(super) fn float(i: &mut Reader<'_>) -> Result<f64, Fault> {
    let at = *i;
    let value = match i.u8("tag")? {
        NEW_FLOAT_EXT => Some(f64::from_bits(i.u64("IEEE float")?)),
        FLOAT_EXT => float_of_text(i.take(FLOAT_TEXT, "Float string")?),
        _ => None,
    };
    // A node takes neither infinity nor what is no number.
    value.filter(|value| value.is_finite()).ok_or_else(|| at.malformed("float"))
}

/// Writes the shortest digits that read back as `value`, with the dot that Erlang demands.
pub(super) fn write_float(value: f64, out: &mut (impl Write + ?Sized)) -> fmt::Result {
    let mut text = FloatText { bytes: [0; 32], len: 0 };
    write!(text, "{value:?}")?;
    let text = text.as_str();
    match text.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => {
            write!(out, "{mantissa}.0e{exponent}")
        }
        _ => out.write_str(text),
    }
}

/// At most 24 bytes: sign, 17 digits, dot, and an exponent of five.
struct FloatText {
    bytes: [u8; 32],
    len: usize,
}

impl FloatText {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|it| std::str::from_utf8(it).ok()).unwrap_or_default()
    }
}

impl Write for FloatText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let into = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        into.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The value of the text of `FLOAT_EXT`, which C's `%.20e` wrote, with zeros behind it.
fn float_of_text(bytes: &[u8]) -> Option<f64> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.')?;
    let number = |text: &str| digits(text.strip_prefix(['+', '-']).unwrap_or(text));
    let legal = number(whole) && digits(fraction) && exponent.is_none_or(number);
    let value = text.parse::<f64>().ok()?;
    (legal && value.is_finite()).then_some(value)
}

/// 1,024 bits, 309 digits. Keys and hashes are integers of this size; larger ones are not read in decimal digits.
const MAX_DECIMAL: usize = 128;

const NINE_DIGITS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn big(sign: u8, magnitude: &[u8]) -> Vec<u8> {
        let len = u32::try_from(magnitude.len()).unwrap();
        [&[LARGE_BIG_EXT][..], &len.to_be_bytes(), &[sign], magnitude].concat()
    }

    fn integer(bytes: &[u8]) -> Integer<'_> {
        Integer::read(&mut Reader(bytes)).unwrap()
    }

    #[test]
    fn integers_have_the_same_digits_as_a_wide_one() {
        let mut value = 1_u128;
        for _ in 0..200 {
            let bytes = value.to_le_bytes();
            assert_eq!(integer(&big(0, &bytes)).to_string(), value.to_string());
            assert_eq!(integer(&big(1, &bytes)).to_string(), format!("-{value}"));
            let low = u64::try_from(value & u128::from(u64::MAX)).unwrap() >> (value % 64);
            let mut decimal = String::new();
            write_decimal(low, &mut decimal).unwrap();
            assert_eq!(decimal, low.to_string());
            value = value.wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15).rotate_left(7);
        }
    }

    #[test]
    fn the_greatest_of_1024_bits_is_decimal_and_the_next_hexadecimal() {
        let digits = integer(&big(0, &[0xff; 128])).to_string();
        assert_eq!(digits.len(), 309);
        assert!(digits.starts_with("17976931348623159077293051907890247336179769789423065"));
        assert!(digits.ends_with("356329624224137215"));
        let ten_to_the_27 = 10_u128.pow(27).to_le_bytes();
        assert_eq!(integer(&big(0, &ten_to_the_27)).to_string(), "1".to_owned() + &"0".repeat(27));
        let mut next = vec![0; 128];
        next.push(1);
        assert_eq!(integer(&big(1, &next)).to_string(), "-16#1".to_owned() + &"00".repeat(128));
    }

    #[test]
    fn zeros_behind_the_magnitude_and_a_sign_of_nothing_mean_nothing() {
        assert_eq!(integer(&big(1, &[])).to_string(), "0");
        assert_eq!(integer(&big(1, &[0; 500])).to_string(), "0");
        assert_eq!(integer(&big(0, &[&[7][..], &[0; 500]].concat())).as_i64(), Some(7));
    }

    #[test]
    fn sixty_four_bits_are_enough_up_to_their_ends() {
        let least = i64::MIN.unsigned_abs().to_le_bytes();
        assert_eq!(integer(&big(1, &least)).as_i64(), Some(i64::MIN));
        assert_eq!(integer(&big(0, &least)).as_i64(), None);
        assert_eq!(integer(&big(0, &[0xff; 8])).as_u64(), Some(u64::MAX));
        assert_eq!(integer(&big(1, &[1])).as_u64(), None);
        assert_eq!(integer(&big(0, &[0, 0, 0, 0, 0, 0, 0, 0, 1])).as_u64(), None);
        assert_eq!(integer(b"\x62\xff\xff\xff\xff").as_i64(), Some(-1));
        assert_eq!(integer(b"\x62\xff\xff\xff\xff").as_u64(), None);
    }

    #[test]
    fn floats_have_a_dot_and_read_back() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1.0e16"),
            (1e23, "1.0e23"),
            (1.5e-7, "1.5e-7"),
            (5e-324, "5.0e-324"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            let mut written = String::new();
            write_float(value, &mut written).unwrap();
            assert_eq!(written, text);
            assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn only_what_c_prints_is_a_float() {
        let text = |text: &str| float_of_text(text.as_bytes());
        assert_eq!(text("1.50000000000000000000e+00\0\0\0\0\0"), Some(1.5));
        assert_eq!(text("-2.5e-1\0garbage"), Some(-0.25));
        for wrong in ["", "1", "1.", ".5", "1e5", "inf", "nan", "1.5e", " 1.5", "1.0e999", "0x1.8"]
        {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_bytes_that_are_printed_are_all_or_half_of_the_hexadecimal_digits() {
        let (decimal, long) = (big(0, &[1; MAX_DECIMAL]), big(0, &[1; MAX_DECIMAL + 1]));
        let lengths = |bytes, most| {
            let (printed, all) = integer(bytes).bytes_up_to(most);
            (printed.len(), all)
        };
        assert_eq!(lengths(&decimal, 10), (MAX_DECIMAL, MAX_DECIMAL));
        assert_eq!(lengths(&long, 10), (5, MAX_DECIMAL + 1));
        assert_eq!(lengths(&long, 4096), (MAX_DECIMAL + 1, MAX_DECIMAL + 1));
        assert_eq!(lengths(&[SMALL_INTEGER_EXT, 9], 10), (0, 0));
    }
}
