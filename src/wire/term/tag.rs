//! First bytes of terms.
//!
//! Spec: *External Term Format*; `RECORD_EXT` since OTP 29, whose number meant something else before
//! R13. The tags that are missing here are not of the wire: 78 was before R13, 72 to 76 and `LOCAL_EXT`
//! (121) are a node's own.

pub(in crate::wire) const VERSION: u8 = 131;
/// Only directly behind [`VERSION`].
pub(in crate::wire) const COMPRESSED: u8 = 80;

pub(in crate::wire) const RECORD_EXT: u8 = 67;
pub(in crate::wire) const NEW_FLOAT_EXT: u8 = 70;
pub(in crate::wire) const BIT_BINARY_EXT: u8 = 77;
pub(in crate::wire) const ATOM_CACHE_REF: u8 = 82;
pub(in crate::wire) const NEW_PID_EXT: u8 = 88;
pub(in crate::wire) const NEW_PORT_EXT: u8 = 89;
pub(in crate::wire) const NEWER_REFERENCE_EXT: u8 = 90;
pub(in crate::wire) const SMALL_INTEGER_EXT: u8 = 97;
pub(in crate::wire) const INTEGER_EXT: u8 = 98;
pub(in crate::wire) const FLOAT_EXT: u8 = 99;
pub(in crate::wire) const ATOM_EXT: u8 = 100;
pub(in crate::wire) const REFERENCE_EXT: u8 = 101;
pub(in crate::wire) const PORT_EXT: u8 = 102;
pub(in crate::wire) const PID_EXT: u8 = 103;
pub(in crate::wire) const SMALL_TUPLE_EXT: u8 = 104;
pub(in crate::wire) const LARGE_TUPLE_EXT: u8 = 105;
pub(in crate::wire) const NIL_EXT: u8 = 106;
pub(in crate::wire) const STRING_EXT: u8 = 107;
pub(in crate::wire) const LIST_EXT: u8 = 108;
pub(in crate::wire) const BINARY_EXT: u8 = 109;
pub(in crate::wire) const SMALL_BIG_EXT: u8 = 110;
pub(in crate::wire) const LARGE_BIG_EXT: u8 = 111;
pub(in crate::wire) const NEW_FUN_EXT: u8 = 112;
pub(in crate::wire) const EXPORT_EXT: u8 = 113;
pub(in crate::wire) const NEW_REFERENCE_EXT: u8 = 114;
pub(in crate::wire) const SMALL_ATOM_EXT: u8 = 115;
pub(in crate::wire) const MAP_EXT: u8 = 116;
pub(in crate::wire) const FUN_EXT: u8 = 117;
pub(in crate::wire) const ATOM_UTF8_EXT: u8 = 118;
pub(in crate::wire) const SMALL_ATOM_UTF8_EXT: u8 = 119;
pub(in crate::wire) const V4_PORT_EXT: u8 = 120;
