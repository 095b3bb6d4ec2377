//! What software sent a hello, and of which release.
//!
//! In: the flags of a hello and its handshake version. Out: a [`Software`]. A program is named only if it always sends
//! exactly these flags: any program can send any flags, and other implementations copy those of OTP. What a node
//! demands of its peers follows from its release alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observe::{DistFlags, HandshakeFacts, Hello, Role};
use crate::wire::flags::Release;

/// The implementation of a node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Implementation {
    /// The Erlang virtual machine.
    Vm,
    /// A C node (`erl_interface`), such as `erl_call`.
    CNode,
    /// A Java node (`jinterface`).
    JavaNode,
    /// The library Pyrlang, in Python.
    Pyrlang,
    /// The Rust crate `erl_dist`.
    ErlDist,
    /// The Rust crate `edp_client`.
    EdpClient,
    /// The library `erldistpy`, in Python.
    Erldistpy,
    /// The framework Ergo, in Go.
    Ergo,
    /// None of these sends such a hello.
    Other,
    /// Not known: the capture does not show all flags of the node.
    #[default]
    Unknown,
}

impl Implementation {
    /// Whether it is a part of OTP, and so has a release of OTP.
    pub const fn is_otp(self) -> bool {
        matches!(self, Self::Vm | Self::CNode | Self::JavaNode)
    }

    /// Whether it is known to be no part of OTP.
    pub const fn is_foreign(self) -> bool {
        !self.is_otp() && !matches!(self, Self::Unknown)
    }

    /// Whether it writes a log line when it refuses a peer; what is not known is taken for the virtual machine.
    ///
    /// Observed: the libraries `erl_interface`, `jinterface`, `erl_dist` 0.8 and `edp_client` 0.16 return an error to
    /// the program that uses them, and Ergo 3.1 logs.
    pub const fn logs_refusals(self) -> bool {
        matches!(self, Self::Vm | Self::Unknown | Self::Ergo)
    }
}

/// The program that sent a hello.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Software {
    /// The implementation, as far as its flags are those of one alone.
    pub implementation: Implementation,
    /// Oldest OTP release that sends such a hello; `None` for what is no part of OTP.
    pub at_least: Option<u16>,
    /// Newest OTP release that sends such a hello; `None` also if that is the newest known one.
    pub at_most: Option<u16>,
}

impl Software {
    /// The program at the side in this role, if its hello was seen.
    pub fn of(handshake: &HandshakeFacts, role: Role) -> Option<Self> {
        let hello = &handshake.hello(role)?.what;
        let flags = hello.flags.difference(CHANGING);
        let known = DistFlags(u64::MAX).difference(handshake.unknown_flags(role));
        let sent_so = |it: &&KnownHello| {
            it.flags.intersection(known) == flags && it.versions.contains(&hello.version)
        };
        let mut found = KNOWN.iter().filter(sent_so).map(|it| it.software);
        if role == Role::Acceptor && is_shared(flags) {
            let exact = found.find(|it| it.implementation != Implementation::Vm);
            let peer = handshake.hello(Role::Initiator).map(|hello| hello.what.flags);
            return Some(Self::of_shared(flags, peer, exact));
        }
        Some(match (found.next(), found.next_back()) {
            // OTP 23.3 and 24 differ in flags that an old hello has no room for.
            (Some(first), Some(last)) => Self { at_most: last.at_most, ..first },
            (Some(only), None) => only,
            (None, _) if hello.version == 6 && flags.contains(NEWEST_FLAGS) => {
                Self { at_least: NEWEST_OTP, ..Self::default() }
            }
            (None, _) => Self { implementation: Implementation::Other, ..Self::default() },
        })
    }

    /// The program whose challenge has flags that it may share with `peer`. `exact` always sends them.
    fn of_shared(shared: DistFlags, peer: Option<DistFlags>, exact: Option<Self>) -> Self {
        let may_send = |own: DistFlags| peer.is_some_and(|peer| own.intersection(peer) == shared);
        let mut releases = SHARING.iter().filter(|(_, own)| may_send(*own));
        match (releases.next(), exact) {
            (Some((release, _)), None) => {
                Self { implementation: Implementation::Vm, at_least: Some(*release), at_most: None }
            }
            (None, Some(exact)) => exact,
            _ => Self::default(),
        }
    }

    /// The flags that a hello lacks of those that every release of OTP sends and demands.
    pub fn lacking_in_every_release(hello: &Hello) -> DistFlags {
        hello.flags.missing(Release::UpTo19.mandatory())
    }

    /// What it demands of its peers.
    #[rustfmt::skip] // a table reads best as a table
    pub fn demands(self) -> Demands {
        use Release::{Otp20, Otp21, Otp23, Otp25, Otp26, UpTo19};
        const NEWEST: Release = Release::NEWEST;
        let (sure, possible) = match (self.implementation, self.at_least) {
            (Implementation::Vm, None | Some(16..=18)) => (UpTo19, UpTo19),
            (Implementation::Vm, Some(19..=20)) => (UpTo19, Otp20), // 19 and 20 send the same flags
            (Implementation::Vm, Some(21..=22)) => (Otp21, Otp21),
            (Implementation::Vm, Some(23..=24)) => (Otp23, Otp23),
            (Implementation::Vm, Some(25..=27)) => (Otp25, NEWEST), // 25, 26 and 27 send the same flags
            (Implementation::Vm, Some(_))     => (Otp26, NEWEST),
            // What other implementations demand is their own affair.
            _                                 => return Demands::default(),
        };
        Demands { sure, possible }
    }

    /// Whether it may be a virtual machine of a release that `is_one` accepts; true if that is not known.
    fn may_be(self, is_one: impl Fn(u16) -> bool) -> bool {
        match (self.implementation, self.at_least) {
            (Implementation::Vm, least) => {
                (least.unwrap_or(OLDEST)..=self.at_most.unwrap_or(NEWEST_THINKABLE)).any(is_one)
            }
            (Implementation::Unknown, None) => true,
            _ => false,
        }
    }

    /// Whether it may close on an old hello (handshake version 5) without a reply, as OTP 25.0 to 25.2 do.
    pub fn may_refuse_old_hellos(self) -> bool {
        self.may_be(|release| release == 25)
    }

    /// Whether it may close on a new hello (handshake version 6) without a reply, as OTP 22 and older do.
    pub fn may_refuse_new_hellos(self) -> bool {
        self.may_be(|release| release <= 22)
    }
}

/// What a node demands of its peers, as far as its release is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Demands {
    /// The oldest release it can be: it demands at least what this release does.
    pub sure: Release,
    /// The newest release it can be: it demands at most what this release does.
    pub possible: Release,
}

impl Default for Demands {
    /// The demands of a node of which nothing is known.
    fn default() -> Self {
        Self { sure: Release::UpTo19, possible: Release::NEWEST }
    }
}

impl Demands {
    /// These demands, if EPMD gives `highest` as the highest handshake version of the node: nodes of OTP 22 and older
    /// register with 5, later ones with 6.
    #[must_use]
    pub fn registered_with(self, highest: u16) -> Self {
        if highest < 6 && self.sure <= Release::Otp21 {
            Self { possible: self.possible.min(Release::Otp21), ..self }
        } else {
            self
        }
    }
}

/// A hello that only one program sends.
struct KnownHello {
    /// Handshake versions in which it is sent.
    versions: &'static [u8],
    /// The flags in it without [`CHANGING`].
    flags: DistFlags,
    software: Software,
}

const fn otp(
    implementation: Implementation,
    versions: &'static [u8],
    flags: u64,
    at_least: Option<u16>,
    at_most: Option<u16>,
) -> KnownHello {
    KnownHello {
        versions,
        flags: DistFlags(flags),
        software: Software { implementation, at_least, at_most },
    }
}

const fn foreign(implementation: Implementation, version: &'static [u8], flags: u64) -> KnownHello {
    otp(implementation, version, flags, None, None)
}

const fn vm(
    versions: &'static [u8],
    flags: u64,
    least: Option<u16>,
    most: Option<u16>,
) -> KnownHello {
    otp(Implementation::Vm, versions, flags, least, most)
}

/// Flags that one program sends or not: PUBLISHED by its options, and NAME_ME, a request for a name that an acceptor
/// repeats.
const CHANGING: DistFlags = DistFlags::PUBLISHED.union(DistFlags::NAME_ME);

/// The oldest and the newest release that a virtual machine may be.
const OLDEST: u16 = 13;
const NEWEST_THINKABLE: u16 = 99;

/// The flags of the newest known release.
const NEWEST_FLAGS: DistFlags = DistFlags(0x6d_07df_7fbc);
const NEWEST_OTP: Option<u16> = Some(29);

/// The hellos of known programs, by their flags, the oldest release of each first.
///
/// The virtual machine: `erts/emulator/beam/dist.h`, observed for R16, 18, 20, 22 to 25 and 27 to 29. C nodes:
/// `preferred_flags` in `lib/erl_interface/src/connect/ei_connect.c`, observed for 25 and 29. Java nodes:
/// `AbstractNode.java` in `lib/jinterface`, observed for 23, 25 and 29. The others as observed: Pyrlang 0.12,
/// `erl_dist` 0.8.0, `edp_client` 0.16.0, `erldistpy`, Ergo 3.1.0. Java nodes of OTP 17 and `py-interface` share one hello.
#[rustfmt::skip] // a table reads best as a table
const KNOWN: [KnownHello; 27] = [
    vm(&[5],    0x7ffc,         None,     Some(15)),
    vm(&[5],    0x1_7ffc,       Some(16), Some(16)),
    vm(&[5],    0x3_7ffc,       Some(17), Some(18)),
    vm(&[5],    0x7_7ffc,       Some(19), Some(20)),
    vm(&[5],    0x1f_7fbc,      Some(21), Some(21)),
    vm(&[5],    0xdf_7fbc,      Some(22), Some(22)),
    vm(&[5, 6], 0x1_01df_7fbc,  Some(23), Some(23)),
    vm(&[5, 6], 0x1_03df_7fbc,  Some(23), Some(23)),
    vm(&[5, 6], 0xd_03df_7fbc,  Some(24), Some(24)),
    vm(&[6],    0xd_07df_7fbc,  Some(25), Some(27)),
    vm(&[6],    0x2d_07df_7fbc, Some(28), Some(28)),
    vm(&[6],    NEWEST_FLAGS.0,       NEWEST_OTP, None),
    otp(Implementation::CNode,    &[5], 0x1_499c,      Some(16), Some(16)),
    otp(Implementation::CNode,    &[5], 0x3_499c,      Some(17), Some(18)),
    otp(Implementation::CNode,    &[5], 0x7_499c,      Some(19), Some(22)),
    otp(Implementation::CNode,    &[5, 6], 0x107_4f9c, Some(23), Some(23)),
    otp(Implementation::CNode,    &[6], 0x4_0307_4f9c, Some(24), Some(24)),
    otp(Implementation::CNode,    &[6], 0x4_0707_4f9c, Some(25), None),
    otp(Implementation::JavaNode, &[5], 0x7_0d94,      Some(19), Some(22)),
    otp(Implementation::JavaNode, &[5, 6], 0x107_0f94, Some(23), Some(24)),
    otp(Implementation::JavaNode, &[6], 0x4_0707_0f94, Some(25), None),
    foreign(Implementation::Pyrlang,   &[6], 0x4_0307_4fbc),
    foreign(Implementation::ErlDist,   &[6], 0x14_0307_0f94),
    foreign(Implementation::Erldistpy, &[6], 0xc_0307_0f94),
    foreign(Implementation::Ergo,      &[6], 0xd_0387_7fbc),
    foreign(Implementation::EdpClient, &[5], 0x834_0b07_4fbc),
    foreign(Implementation::Unknown,   &[5], 0x3_0f94),
];

/// Whether a challenge may have the flags of both nodes alone. Nodes of OTP 23 and newer send all their flags in both
/// hellos, and so do those of OTP 20 and older, which alone have HIDDEN_ATOM_CACHE.
const fn is_shared(flags: DistFlags) -> bool {
    !flags.intersects(DistFlags::HANDSHAKE_23.union(DistFlags::HIDDEN_ATOM_CACHE))
}

/// The releases that send, in a challenge, the flags that both nodes have, with all of their flags.
const SHARING: [(u16, DistFlags); 2] = [(21, DistFlags(0x1f_7fbc)), (22, DistFlags(0xdf_7fbc))];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::dial;

    /// The origins of the two sides of a dial with these flags and handshake versions.
    fn of_both(from: (u8, u64), to: (u8, u64)) -> [Software; 2] {
        let dial = dial(0, "a@h1/10.0.0.1/1", "b@h2/10.0.0.2/2").flags(from.1, to.1);
        let mut handshake = dial.judged().seen.handshake;
        handshake.send_name.as_mut().unwrap().what.version = from.0;
        handshake.challenge.as_mut().unwrap().what.version = to.0;
        Role::BOTH.map(|role| Software::of(&handshake, role).unwrap())
    }

    fn initiator(version: u8, flags: u64) -> Software {
        of_both((version, flags), (6, NEWEST_FLAGS.0))[0]
    }

    /// Handshake version and flags, oldest and newest release, and what these demand.
    type Fingerprint = (u8, u64, Option<u16>, Option<u16>, Release, Release);

    /// Flags of published nodes, the releases they show, and what these demand.
    #[rustfmt::skip]
    const FINGERPRINTS: [Fingerprint; 12] = [
        (5, 0x7ffd,         None,     Some(15), Release::UpTo19, Release::UpTo19), // R13B03 to R15B
        (5, 0x1_7ffd,       Some(16), Some(16), Release::UpTo19, Release::UpTo19), // R16B
        (5, 0x3_7ffd,       Some(17), Some(18), Release::UpTo19, Release::UpTo19), // 17, 18
        (5, 0x7_7ffd,       Some(19), Some(20), Release::UpTo19, Release::Otp20),  // 19, 20
        (5, 0x1f_7fbd,      Some(21), Some(21), Release::Otp21,  Release::Otp21),  // 21
        (5, 0xdf_7fbd,      Some(22), Some(22), Release::Otp21,  Release::Otp21),  // 22
        (6, 0x1_01df_7fbd,  Some(23), Some(23), Release::Otp23,  Release::Otp23),  // 23.0 to 23.2
        (6, 0x1_03df_7fbd,  Some(23), Some(23), Release::Otp23,  Release::Otp23),  // 23.3
        (6, 0xd_03df_7fbd,  Some(24), Some(24), Release::Otp23,  Release::Otp23),  // 24
        (6, 0xd_07df_7fbd,  Some(25), Some(27), Release::Otp25,  Release::Otp26),  // 25, 26, 27
        (6, 0x2d_07df_7fbd, Some(28), Some(28), Release::Otp26,  Release::Otp26),  // 28
        (6, 0x6d_07df_7fbd, Some(29), None,     Release::Otp26,  Release::Otp26),  // 29
    ];

    #[test]
    fn flags_of_the_virtual_machine_show_its_release_also_where_it_is_hidden() {
        for (version, flags, at_least, at_most, sure, possible) in FINGERPRINTS {
            let expected = Software { implementation: Implementation::Vm, at_least, at_most };
            for flags in [flags, flags & !1] {
                assert_eq!(initiator(version, flags), expected, "{flags:#x}");
                assert_eq!(expected.demands(), Demands { sure, possible }, "{flags:#x}");
            }
            let own = DistFlags(flags);
            assert!(own.missing(possible.mandatory()).is_empty(), "{own} refuses its own kind");
        }
    }

    #[test]
    fn an_old_hello_of_a_new_node_shows_the_release_as_far_as_its_lower_flags_do() {
        let vm =
            |at_least, at_most| Software { implementation: Implementation::Vm, at_least, at_most };
        assert_eq!(initiator(5, 0x1df_7fbd), vm(Some(23), Some(23)));
        assert_eq!(initiator(5, 0x3df_7fbd), vm(Some(23), Some(24)));
        // OTP 25 and newer send the new one alone.
        assert_eq!(initiator(5, 0x7df_7fbd).implementation, Implementation::Other);
    }

    #[test]
    fn other_implementations_have_no_release_however_similar_their_flags() {
        for (version, flags, expected) in [
            (6, 0x4_0307_4fbd, Implementation::Pyrlang),
            (6, 0x14_0307_0f94, Implementation::ErlDist),
            (6, 0xc_0307_0f94, Implementation::Erldistpy),
            (6, 0xd_0387_7fbd, Implementation::Ergo),
            (5, 0xb07_4fbd, Implementation::EdpClient),
            (5, 0x3_0f94, Implementation::Unknown),
            (6, 0x4_0707_4f9c, Implementation::CNode),
            (6, 0x4_0707_0f94, Implementation::JavaNode),
            (6, 0xd_07df_7f9d, Implementation::Other),
            (6, 0x103_499c, Implementation::Other),
            (5, 0, Implementation::Other),
        ] {
            let software = initiator(version, flags);
            assert_eq!(software.implementation, expected, "{flags:#x}");
            if !expected.is_otp() {
                assert_eq!((software.at_least, software.at_most), (None, None), "{flags:#x}");
                assert_eq!(software.demands(), Demands::default());
            }
        }
    }

    #[test]
    fn a_later_release_than_the_known_ones_is_not_taken_for_something_else() {
        let later = initiator(6, NEWEST_FLAGS.0 | 1 << 40);
        assert_eq!((later.implementation, later.at_least), (Implementation::Unknown, NEWEST_OTP));
    }

    #[test]
    fn a_challenge_of_22_to_an_older_node_does_not_pass_for_an_older_release() {
        let [_, old] = of_both((5, 0x3_7ffd), (5, 0xdf_7fbd & 0x3_7ffd));
        assert_eq!((old.implementation, old.at_least), (Implementation::Vm, Some(21)));
        assert_eq!(old.demands().possible, Release::Otp21);
        let [_, c_node] = of_both((5, 0xdf_7fbd), (5, 0x7_499c));
        assert_eq!(c_node.implementation, Implementation::CNode);
        let [_, either] = of_both((5, 0x7_499c), (5, 0x7_499c));
        assert_eq!(either, Software::default(), "22 to a C node, or a C node");
        let [_, other] = of_both((6, NEWEST_FLAGS.0), (5, 0x3_0f90));
        assert_eq!(other, Software::default());
    }

    #[test]
    fn a_node_that_registered_with_version_5_demands_no_flag_of_otp_23() {
        let unknown = Demands::default();
        assert_eq!(unknown.registered_with(5).possible, Release::Otp21);
        assert_eq!(unknown.registered_with(6), unknown);
        let known = initiator(6, NEWEST_FLAGS.0).demands();
        assert_eq!(known.registered_with(5), known, "its flags show more than EPMD");
    }
}
