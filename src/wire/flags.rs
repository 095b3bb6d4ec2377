//! Capability flags of the handshake, and what each OTP release demands of them.
//!
//! In: 64 bits. Out: their names, the oldest release that can have sent them, and what a peer
//! misses. Which of two nodes refuses the other is decided from the handshake.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a node can do, one bit each, sent in `send_name` and `challenge`.
///
/// Spec: *Distribution Protocol*, "Distribution Flags". The consts keep the name after `DFLAG_`.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct DistFlags(pub u64);

/// Writes the consts and their names from one list of bits.
macro_rules! dist_flags {
    ($($(#[$doc:meta])+ $bit:literal $name:ident;)+) => {
        impl DistFlags {
            $($(#[$doc])+ pub const $name: Self = Self(1 << $bit);)+

            const fn name_of(bit: u32) -> Option<&'static str> {
                match bit {
                    $($bit => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

dist_flags! {
    /// The node is to be in the peer's `nodes()`; clear for a hidden connection.
    0 PUBLISHED;
    /// Obsolete flag, no longer sent.
    1 ATOM_CACHE;
    /// References of more than one word. Demanded by every release.
    2 EXTENDED_REFERENCES;
    /// Supports monitors of processes.
    3 DIST_MONITOR;
    /// Old funs in a tuple. Demanded from OTP 25.
    4 FUN_TAGS;
    /// Monitors of registered names.
    5 DIST_MONITOR_NAME;
    /// Atom cache towards hidden nodes too; sent up to OTP 20.
    6 HIDDEN_ATOM_CACHE;
    /// `NEW_FUN_EXT`. Demanded from OTP 21.
    7 NEW_FUN_TAGS;
    /// Pids and ports of more bits. Demanded by every release.
    8 EXTENDED_PIDS_PORTS;
    /// `EXPORT_EXT`. Demanded from OTP 25.
    9 EXPORT_PTR_TAG;
    /// `BIT_BINARY_EXT`. Demanded from OTP 25.
    10 BIT_BINARIES;
    /// `NEW_FLOAT_EXT`. Demanded from OTP 25.
    11 NEW_FLOATS;
    /// Unicode in the I/O protocol.
    12 UNICODE_IO;
    /// The distribution header with its atom cache.
    13 DIST_HDR_ATOM_CACHE;
    /// Understands terms with `SMALL_ATOM_EXT`.
    14 SMALL_ATOM_TAGS;
    /// Atoms in UTF-8. First sent by R16, demanded from OTP 20.
    16 UTF8_ATOMS;
    /// `MAP_EXT`. First sent by OTP 17, demanded from OTP 25.
    17 MAP_TAG;
    /// Creations of 32 bits. First sent by OTP 19, demanded from OTP 23.
    18 BIG_CREATION;
    /// `SEND_SENDER`. First sent by OTP 21.
    19 SEND_SENDER;
    /// Any term as label of a trace token. First sent by OTP 21.
    20 BIG_SEQTRACE_LABELS;
    /// Exit reasons as payload. First sent by OTP 22.
    22 EXIT_PAYLOAD;
    /// Large messages in fragments. First sent by OTP 22.
    23 FRAGMENTS;
    /// The handshake with tag `N`. First sent by OTP 23, demanded from OTP 25.
    24 HANDSHAKE_23;
    /// `UNLINK_ID`. First sent by OTP 23.3, demanded from OTP 26.
    25 UNLINK_ID;
    /// Implies all flags that OTP 25 demands. First sent by OTP 25.
    ///
    /// Observed: bit 26 in OTP 25 to 29, where the specification has bit 36.
    26 MANDATORY_25_DIGEST;
    /// `SPAWN_REQUEST`. First sent by OTP 23.
    32 SPAWN;
    /// A request, not a capability: the initiator has no name and wants one. First sent by OTP 23.
    33 NAME_ME;
    /// Pids and ports with creations of 32 bits and ports of 64. First sent by OTP 24, demanded
    /// from OTP 26.
    34 V4_NC;
    /// Process aliases. First sent by OTP 24.
    35 ALIAS;
    /// Internal to OTP from 26, never sent.
    36 LOCAL_EXT;
    /// `ALTACT_SIG_SEND`. First sent by OTP 28.
    37 ALTACT_SIG;
    /// `RECORD_EXT`. First sent by OTP 29.
    38 NATIVE_RECORDS;
}

impl DistFlags {
    /// The flags that a hello of handshake version 5 has no room for.
    pub const BEYOND_OLD_HELLO: Self = Self(!0xffff_ffff);

    /// Whether all of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether one of `flags` is set.
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Flags in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Flags in both sets: what two peers use.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Flags in `self` that are not in `other`.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names of the flags set, lowest bit first; `BIT_n` where the specification has no name.
    pub fn names(self) -> impl Iterator<Item = Cow<'static, str>> {
        (0..u64::BITS).filter(move |bit| self.0 >> bit & 1 == 1).map(|bit| {
            Self::name_of(bit).map_or_else(|| format!("BIT_{bit}").into(), Cow::Borrowed)
        })
    }

    /// The last OTP release that takes a node with these flags, and what the next one misses; `None`
    /// when all that are known take it. The node may have the flags `unknown`.
    pub fn accepted_up_to(self, unknown: Self) -> Option<(u16, Self)> {
        Release::ALL.iter().find_map(|release| {
            let missing = self.missing(release.mandatory()).difference(unknown);
            (!missing.is_empty()).then(|| (release.first().saturating_sub(1), missing))
        })
    }

    /// The flags of `mandatory` that a node with these flags lacks. `MANDATORY_25_DIGEST` counts as
    /// all that OTP 25 demands.
    pub const fn missing(self, mandatory: Self) -> Self {
        let counted = if self.contains(Self::MANDATORY_25_DIGEST) {
            self.union(Release::Otp25.mandatory())
        } else {
            self
        };
        mandatory.difference(counted)
    }
}

impl fmt::Display for DistFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// OTP releases by what they demand of a peer, each named for the first of its span.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Release {
    /// OTP 19 and all before it.
    UpTo19,
    /// Release OTP 20, of 2017.
    Otp20,
    /// OTP 21 and 22.
    Otp21,
    /// OTP 23 and 24.
    Otp23,
    /// Release OTP 25, of 2022.
    Otp25,
    /// OTP 26 to 29.
    Otp26,
}

impl Release {
    /// The newest that is known.
    pub const NEWEST: Self = Self::Otp26;

    /// All of them, the oldest first.
    const ALL: [Self; 6] =
        [Self::UpTo19, Self::Otp20, Self::Otp21, Self::Otp23, Self::Otp25, Self::Otp26];

    /// The first release of the span.
    const fn first(self) -> u16 {
        match self {
            Self::UpTo19 => 13,
            Self::Otp20 => 20,
            Self::Otp21 => 21,
            Self::Otp23 => 23,
            Self::Otp25 => 25,
            Self::Otp26 => 26,
        }
    }

    /// What a peer must have, or be refused.
    #[rustfmt::skip] // a table reads best as a table
    pub const fn mandatory(self) -> DistFlags {
        DistFlags(match self {
            Self::UpTo19 => 0x0000_0104,
            Self::Otp20  => 0x0001_0104,
            Self::Otp21  => 0x0001_0184,
            Self::Otp23  => 0x0005_0184,
            Self::Otp25  => 0x0107_0f94,
            Self::Otp26  => 0x4_0307_0f94,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(flags: DistFlags) -> String {
        flags.names().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_go_from_the_lowest_bit_up_and_keep_bits_without_one() {
        assert_eq!(names(DistFlags(0)), "");
        assert_eq!(
            names(DistFlags(1 << 63 | 0x21_0000_8001)),
            "PUBLISHED BIT_15 SPAWN ALTACT_SIG BIT_63"
        );
    }

    #[test]
    fn mandatory_masks_hold_the_flags_of_the_specification() {
        let grown = |older: Release, newer: Release| {
            assert!(newer.mandatory().contains(older.mandatory()));
            names(newer.mandatory().difference(older.mandatory()))
        };
        assert_eq!(names(Release::UpTo19.mandatory()), "EXTENDED_REFERENCES EXTENDED_PIDS_PORTS");
        assert_eq!(grown(Release::UpTo19, Release::Otp20), "UTF8_ATOMS");
        assert_eq!(grown(Release::Otp20, Release::Otp21), "NEW_FUN_TAGS");
        assert_eq!(grown(Release::Otp21, Release::Otp23), "BIG_CREATION");
        assert_eq!(
            grown(Release::Otp23, Release::Otp25),
            "FUN_TAGS EXPORT_PTR_TAG BIT_BINARIES NEW_FLOATS MAP_TAG HANDSHAKE_23"
        );
        assert_eq!(grown(Release::Otp25, Release::Otp26), "UNLINK_ID V4_NC");
    }

    #[test]
    fn flags_show_which_releases_accept_them() {
        let accepted = |flags: u64| DistFlags(flags).accepted_up_to(DistFlags(0));
        let releases = [0x7ffd, 0x7_7ffd, 0xdf_7fbd, 0x1_03df_7fbd, 0xd_03df_7fbd, 0x4_0707_4f9c]
            .map(|flags| accepted(flags).map(|(release, _)| release));
        assert_eq!(releases, [Some(19), Some(24), Some(24), Some(25), None, None]);
        assert_eq!(names(accepted(0x1_03df_7fbd).unwrap().1), "V4_NC", "OTP 26 demands it");
    }

    #[test]
    fn an_old_hello_does_not_show_that_a_flag_beyond_its_bits_is_missing() {
        let unknown = DistFlags::BEYOND_OLD_HELLO;
        assert_eq!(DistFlags(0x3df_7fbd).accepted_up_to(unknown), None);
        let (release, missing) = DistFlags(0x1df_7fbd).accepted_up_to(unknown).unwrap();
        assert_eq!((release, names(missing)), (25, "UNLINK_ID".to_owned()));
    }

    #[test]
    fn missing_flags_are_those_that_the_log_of_the_refusing_node_names() {
        let newest = Release::NEWEST.mandatory();
        assert_eq!(names(DistFlags(0x1_01df_7fbd).missing(newest)), "UNLINK_ID V4_NC");
        assert_eq!(names(DistFlags(0x1_03df_7fbd).missing(newest)), "V4_NC");
        assert_eq!(names(DistFlags(0xd_03df_7fbd).missing(newest)), "");
    }

    #[test]
    fn the_digest_implies_what_25_demands_and_no_more() {
        let digest = DistFlags::MANDATORY_25_DIGEST;
        assert!(digest.missing(Release::Otp25.mandatory()).is_empty());
        assert_eq!(names(digest.missing(Release::Otp26.mandatory())), "UNLINK_ID V4_NC");
    }

    #[test]
    fn text_is_hexadecimal() {
        assert_eq!(DistFlags(0xd_07df_7fbd).to_string(), "0xd07df7fbd");
    }
}
