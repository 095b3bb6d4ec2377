//! Pairs of values, one for each direction of a connection.

use std::ops::{Index, IndexMut};

use super::Direction;

/// One value for each direction of a connection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PerDirection<T> {
    /// The value for [`Direction::LowToHigh`].
    pub low_to_high: T,
    /// The value for [`Direction::HighToLow`].
    pub high_to_low: T,
}

impl<T> PerDirection<T> {
    /// Makes the value of each direction.
    pub fn from_fn(mut value: impl FnMut(Direction) -> T) -> Self {
        let low_to_high = value(Direction::LowToHigh);
        Self { low_to_high, high_to_low: value(Direction::HighToLow) }
    }

    /// Both values, that of [`Direction::LowToHigh`] first.
    pub fn each(&self) -> [&T; 2] {
        [&self.low_to_high, &self.high_to_low]
    }
}

impl<T> Index<Direction> for PerDirection<T> {
    type Output = T;

    #[inline(always)]
    fn index(&self, direction: Direction) -> &T {
        match direction {
            Direction::LowToHigh => &self.low_to_high,
            Direction::HighToLow => &self.high_to_low,
        }
    }
}

impl<T> IndexMut<Direction> for PerDirection<T> {
    #[inline(always)]
    fn index_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::LowToHigh => &mut self.low_to_high,
            Direction::HighToLow => &mut self.high_to_low,
        }
    }
}
