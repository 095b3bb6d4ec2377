//! What a process is for, by which its system calls are chosen.

/// What a sandbox is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::cli) enum SandboxKind {
    /// Packets of interfaces. No thread starts any more.
    Live,
    /// Captures, which threads decompress.
    Reading,
    /// A server on the network. A thread looks up its name.
    #[cfg(feature = "nats")]
    Network,
}

impl SandboxKind {
    /// Whether threads start once it is in force.
    #[cfg(target_os = "linux")]
    pub(super) fn has_threads(self) -> bool {
        self != Self::Live
    }
}
