//! Stage 5: the application protocol of one connection, EPMD or the distribution protocol.
//!
//! In: the segments of one connection, and time. Out: observations of it, and its messages. A connection is a pure
//! function of its own segments and of its [`ConnContext`]: it has no clock, does no I/O and knows no other connection,
//! so that the order in which unrelated connections interleave changes nothing.
//!
//! | Module | Contents |
//! |---|---|
//! | `connection` | [`Connection`]: segments to plain bytes, and the times at which it is reported |
//! | `observation` | the identifiers of a connection, and its [`Observation`](crate::observe::Observation) |
//! | `output` | [`ConnOutput`]: what one segment or timer made a connection report |
//! | `early` | the first segments of a connection, read again without those that their receiver did not take |
//! | `epmd` | a request to EPMD and its reply |
//! | `dist` | a distribution connection: roles, handshake, and frames behind it |
//! | `framing` | handshake messages and the position at which frames begin |
//! | `messages` | frames, and the messages in them |
//! | [`digest`] | candidate cookies and the digests of challenges |

mod connection;
pub mod digest;
mod dist;
mod early;
mod epmd;
mod framing;
mod messages;
mod observation;
mod output;
#[cfg(test)]
mod tests;

pub use self::connection::{Connection, FollowReason, Keep};
pub use self::messages::MessageDetail;
pub use self::output::{ConnEvent, ConnOutput, Observed};

use self::digest::CandidateCookies;
use crate::limits::Limits;
use crate::memory::MemoryBudget;
use crate::time::Timestamp;
use crate::transport::tls::KeyLog;

/// The settings and memory budgets that all connections share. Nothing in it changes with a segment, except the
/// amounts of memory in use.
pub struct ConnContext<'a> {
    /// The bounds of the run.
    pub limits: &'a Limits,
    /// The candidate cookies of the run.
    pub cookies: &'a CandidateCookies,
    /// Whether observations have challenges and digests.
    pub include_secrets: bool,
    /// Which messages are printed, and how much of them.
    pub messages: MessageDetail,
    /// Whether a silent side is reported before the other side gives up: for live captures, where it is a warning.
    pub warns: bool,
    /// The secrets of TLS connections.
    pub key_log: &'a KeyLog,
    /// Memory for out-of-order segments.
    pub reassembly: &'a MemoryBudget,
    /// Memory for the state of messages: atom caches, fragments and pending calls.
    pub message_memory: &'a MemoryBudget,
    /// Time until which the capture is known to have lost packets. Packets before it may have been sent although the
    /// capture does not show them.
    pub lost_until: Option<Timestamp>,
}
