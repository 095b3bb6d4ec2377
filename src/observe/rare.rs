//! Values that most observations lack.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A type with a value that shows nothing.
pub trait Blank: Clone + PartialEq + 'static {
    /// The value that shows nothing, which all that lack one share.
    fn blank() -> &'static Self;
}

/// A value that takes memory only if it shows something. It reads and serializes as the value itself.
pub struct Rare<T>(Option<Box<T>>);

impl<T: Blank> Rare<T> {
    /// Keeps the value, if it shows something.
    pub fn new(value: T) -> Self {
        Self((value != *T::blank()).then(|| Box::new(value)))
    }

    /// The value by itself.
    pub fn into_inner(self) -> T {
        self.0.map_or_else(|| T::blank().clone(), |value| *value)
    }

    /// The value, to be changed, if it shows something.
    pub fn as_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::blank())
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(T::blank().clone()))
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Clone for Rare<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Blank> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            _ => **self == **other,
        }
    }
}

impl<T: Blank + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Blank + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Blank + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TlsHello, TlsSide};
    use super::*;

    #[test]
    fn a_value_that_shows_nothing_takes_no_memory() {
        let blank = Rare::new(TlsSide::default());
        assert!(blank.0.is_none());
        assert_eq!(format!("{blank:?}"), format!("{:?}", TlsSide::default()));
        let read: Rare<TlsSide> = serde_json::from_str(r#"{"sealed": [], "hello": null}"#).unwrap();
        assert!(read.0.is_none() && read == blank);
        let hello = TlsSide { hello: Some(TlsHello::default()), ..TlsSide::default() };
        let some = Rare::new(hello.clone());
        assert!(some != blank && *some == hello && some.into_inner() == hello);
        assert_eq!(blank.into_inner(), TlsSide::default());
    }
}
