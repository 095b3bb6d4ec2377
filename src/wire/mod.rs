//! The protocols to the byte: EPMD, the distribution handshake, and framing.
//!
//! In: octets, exactly one message. Out: a struct that borrows them. Knows no flow, direction, time or
//! connection. The only door to `nom`.
