//! Bytes that are written at a position, where there is room for them.

/// Writes `bytes` at `at`. Where they do not fit, nothing is written.
pub(super) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = out.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

/// Copies `len` bytes at `at`, as far as both have them.
pub(super) fn keep(out: &mut [u8], original: &[u8], at: usize, len: usize) {
    let to = out.iter_mut().skip(at).take(len);
    to.zip(original.iter().skip(at)).for_each(|(to, from)| *to = *from);
}

/// The bytes at `at`, if all of them are there.
pub(super) fn part(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..)?.get(..len)
}

/// The byte at `at`.
pub(super) fn byte(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The two bytes at `at` as a number.
pub(super) fn number2(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The three bytes at `at` as a length.
pub(super) fn number3(bytes: &[u8], at: usize) -> Option<usize> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()
}

/// The four bytes at `at` as a number.
pub(super) fn number4(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
