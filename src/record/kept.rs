//! Values of records, read back from lines that the program wrote.
//!
//! In: JSON values, by serde. Out: frames without their input, which the reader of the line adds; and names as
//! constants, as they are in the records of a run.

use std::collections::{BTreeMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Error};

/// The number of a frame, by which a line refers to the frame.
pub(super) mod frame_number {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::packet::FrameRef;

    pub(in crate::record) fn serialize<S: Serializer>(
        frame: &FrameRef,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(frame.number)
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<FrameRef, D::Error> {
        Ok(FrameRef { input: 0, number: u64::deserialize(deserializer)? })
    }
}

/// A name of the contract. An alias, since serde takes a reference for one into the text that is read.
pub(in crate::record) type ContractName = &'static str;

/// A name of the contract: of a rule, a message, a request.
pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    constant(&String::deserialize(deserializer)?).ok_or_else(|| Error::custom(TOO_MANY))
}

/// A name of the contract, or none.
pub(super) fn maybe_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'static str>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| constant(&text).ok_or_else(|| Error::custom(TOO_MANY))).transpose()
}

/// Several names of the contract.
pub(super) fn names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'static str>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| constant(text).ok_or_else(|| Error::custom(TOO_MANY))).collect()
}

/// Counts by names of the contract.
pub(super) fn counts_by_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<&'static str, u64>, D::Error> {
    let counts = BTreeMap::<String, u64>::deserialize(deserializer)?;
    let named = |(text, n): (String, u64)| constant(&text).map(|name| (name, n));
    counts.into_iter().map(|it| named(it).ok_or_else(|| Error::custom(TOO_MANY))).collect()
}

/// The text as a constant; `None` if it is too long for a name, or there are too many names.
///
/// Names of the contract are constants of the program, and a later version may have more of them. Each is kept until
/// the process ends, so their number and their length are bounded.
pub(super) fn constant(text: &str) -> Option<&'static str> {
    static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(text) {
        return Some(*known);
    }
    if text.len() > LONGEST_NAME || names.len() >= MOST_NAMES {
        return None;
    }
    let name: &'static str = Box::leak(text.into());
    names.insert(name);
    Some(name)
}

/// Bytes of the longest name: the longest of a rule has 24.
const LONGEST_NAME: usize = 64;

/// Names kept; the contract has some 80.
const MOST_NAMES: usize = 1024;

const TOO_MANY: &str = "a name that is too long, or one of too many names";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_have_bounds() {
        let first = constant("cookie-mismatch").unwrap();
        assert!(std::ptr::eq(first, constant("cookie-mismatch").unwrap()));
        assert_eq!(constant(&"x".repeat(LONGEST_NAME + 1)), None);
    }
}
