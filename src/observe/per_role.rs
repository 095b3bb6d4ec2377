//! The two Erlang sides of a connection, and values that each of them has.

use std::fmt;
use std::ops::{Index, IndexMut};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A side of a connection, by its part in the handshake.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The node that dialed and sent `send_name`.
    Initiator,
    /// The node that was dialed and sent `challenge`.
    Acceptor,
}

impl Role {
    /// Both roles, the initiator first.
    pub const BOTH: [Self; 2] = [Self::Initiator, Self::Acceptor];

    /// Position in an array kept per role.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The role of the other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Acceptor => "acceptor",
        })
    }
}

/// One value for each side of a connection.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PerRole<T> {
    /// The value of the initiator.
    pub initiator: T,
    /// Value of the acceptor.
    pub acceptor: T,
}

impl<T> PerRole<T> {
    /// The values that `make` gives for each role.
    pub fn from_fn(mut make: impl FnMut(Role) -> T) -> Self {
        Self { initiator: make(Role::Initiator), acceptor: make(Role::Acceptor) }
    }

    /// References to both values.
    pub const fn as_ref(&self) -> PerRole<&T> {
        PerRole { initiator: &self.initiator, acceptor: &self.acceptor }
    }

    /// Both values after `change` was applied to each.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> PerRole<U> {
        PerRole { initiator: change(self.initiator), acceptor: change(self.acceptor) }
    }

    /// Both values with their roles, the initiator's first.
    pub fn each(&self) -> impl Iterator<Item = (Role, &T)> {
        [(Role::Initiator, &self.initiator), (Role::Acceptor, &self.acceptor)].into_iter()
    }
}

impl<T> Index<Role> for PerRole<T> {
    type Output = T;

    #[inline]
    fn index(&self, role: Role) -> &T {
        match role {
            Role::Initiator => &self.initiator,
            Role::Acceptor => &self.acceptor,
        }
    }
}

impl<T> IndexMut<Role> for PerRole<T> {
    #[inline]
    fn index_mut(&mut self, role: Role) -> &mut T {
        match role {
            Role::Initiator => &mut self.initiator,
            Role::Acceptor => &mut self.acceptor,
        }
    }
}
