//! TCP sequence numbers (RFC 9293, section 3.4).

/// A sequence number, compared modulo 2^32.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// The number `bytes` later.
    pub const fn plus(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// How far `self` lies behind `origin`: negative when before it. Right for distances below 2^31,
    /// twice the largest window there is.
    pub const fn distance(self, origin: Self) -> i64 {
        self.0.wrapping_sub(origin.0) as i32 as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_across_the_wrap() {
        assert_eq!(SeqNum(3).distance(SeqNum(u32::MAX)), 4);
        assert_eq!(SeqNum(u32::MAX).distance(SeqNum(3)), -4);
        assert_eq!(SeqNum(u32::MAX).plus(4), SeqNum(3));
    }
}
