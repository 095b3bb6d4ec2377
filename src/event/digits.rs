//! Numbers as digits, at the end of a line.
//!
//! A line of a message has ten numbers, most of them of one to six digits. To make digits of them one by one
//! would be a third of all that it takes to write the line: three are looked up at a time, and all of a number
//! stored at once.

use super::wording::append;

/// Appends a number.
#[inline]
pub(crate) fn number(line: &mut Vec<u8>, number: u64) {
    match short(number) {
        Some((octets, count)) => append(line, &octets.to_le_bytes(), count),
        None => long(line, number),
    }
}

/// Appends a dot and a number.
#[inline]
pub(crate) fn dot_number(line: &mut Vec<u8>, number: u64) {
    match short(number) {
        Some((octets, count)) => {
            append(line, &(octets << 8 | u64::from(b'.')).to_le_bytes(), count + 1);
        }
        None => {
            line.push(b'.');
            long(line, number);
        }
    }
}

/// The nine digits of a number below 1,000,000,000.
pub(crate) fn nine(number: u64) -> [u8; 9] {
    let [a, b, c, _] = three(number / 1_000_000).to_le_bytes();
    let [d, e, f, _] = three(number / 1000 % 1000).to_le_bytes();
    let [g, h, i, _] = three(number % 1000).to_le_bytes();
    [a, b, c, d, e, f, g, h, i]
}

/// So many octets, the lowest is the first.
type Octets = (u64, usize);

#[cold]
fn long(line: &mut Vec<u8>, value: u64) {
    // As deep as there are groups of three digits: five.
    number(line, value / 1000);
    append(line, &three(value % 1000).to_le_bytes(), 3);
}

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

    #[test]
    fn numbers_are_written_as_everyone_writes_them() {
        let around = |n: u64| [n.saturating_sub(1), n, n.saturating_add(1)];
        let powers = (0..20).map(|digits| 10_u64.pow(digits)).flat_map(around);
        for value in (0..2000).chain(powers).chain([123_456_789, 1_002_003_004, u64::MAX]) {
            let mut line = b">".to_vec();
            number(&mut line, value);
            dot_number(&mut line, value);
            assert_eq!(String::from_utf8(line).unwrap(), format!(">{value}.{value}"));
            if value < 1_000_000_000 {
                assert_eq!(nine(value), *format!("{value:09}").as_bytes());
            }
        }
    }
}
