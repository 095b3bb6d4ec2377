//! Cutting messages from a stream.
//!
//! In: the front of one direction's bytes, in stream order. Out: one whole message, or how much is
//! missing. It reads lengths only, not what a message contains.

/// What the front of a stream holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut<'a> {
    /// At least so many bytes are missing.
    Need(usize),
    /// The front is one whole message.
    Message {
        /// The message without its length prefix.
        body: &'a [u8],
        /// Bytes it takes in the stream, length prefix included.
        used: usize,
    },
    /// The prefix announces so many bytes, which is more than the caller is ready to buffer.
    TooLong(usize),
}

/// Cuts one `{packet, 2}` message: EPMD requests, and the handshake over TCP.
///
/// Spec: *Distribution Protocol*, "EPMD Protocol" and "The Handshake in Detail".
pub fn cut_packet2(stream: &[u8]) -> Cut<'_> {
    match stream.split_first_chunk() {
        Some((len, rest)) => cut(2, u16::from_be_bytes(*len).into(), rest),
        None => Cut::Need(2_usize.saturating_sub(stream.len())),
    }
}

/// Cuts one `{packet, 4}` message of at most `max` bytes: everything after the handshake. A zero
/// length is a tick.
///
/// Spec: *Distribution Protocol*, "Protocol between Connected Nodes".
pub fn cut_packet4(stream: &[u8], max: usize) -> Cut<'_> {
    let Some((len, rest)) = stream.split_first_chunk() else {
        return Cut::Need(4_usize.saturating_sub(stream.len()));
    };
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    // Before any buffering: the peer chose this number.
    if len > max { Cut::TooLong(len) } else { cut(4, len, rest) }
}

/// Cuts one reply to `ALIVE2_REQ`. It has no length prefix: its tag determines the length.
///
/// What starts with another tag is given whole, for the parser to refuse.
pub fn cut_alive2_resp(stream: &[u8]) -> Cut<'_> {
    match stream.first() {
        None => Cut::Need(1),
        Some(b'y') => cut(0, 4, stream),
        Some(b'v') => cut(0, 6, stream),
        Some(_) => cut(0, stream.len(), stream),
    }
}

/// Cuts one reply to `PORT_PLEASE2_REQ`. It has no length prefix: `Result`, `Nlen` and `Elen`
/// determine its end.
///
/// What starts with another tag is given whole, for the parser to refuse. At the close of the
/// connection the parser may also be given a reply that still needs bytes: clients read nothing
/// behind `Nlen`.
pub fn cut_port2_resp(stream: &[u8]) -> Cut<'_> {
    const FIXED: usize = 12; // tag to Nlen
    let field = |at: usize| {
        let bytes = stream.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    match stream {
        [] => return Cut::Need(2),
        [b'w'] => return Cut::Need(1),
        [b'w', 0, ..] => {}
        [b'w', ..] => return cut(0, 2, stream),
        _ => return cut(0, stream.len(), stream),
    }
    // Two lengths of 16 bits and 14 bytes: no sum here overflows.
    let nlen = field(FIXED - 2).unwrap_or(0);
    let elen = field(FIXED + nlen).unwrap_or(0);
    cut(0, FIXED + nlen + 2 + elen, stream)
}

/// `rest` is the stream behind a prefix of `prefix` bytes, which announced `len`.
fn cut(prefix: usize, len: usize, rest: &[u8]) -> Cut<'_> {
    match rest.get(..len) {
        // No overflow: the stream holds that many bytes.
        Some(body) => Cut::Message { body, used: prefix + len },
        None => Cut::Need(len - rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each prefix shorter than `whole` asks for more, and never for more than there is.
    fn asks_until_whole(cut: impl Fn(&[u8]) -> Cut<'_>, whole: &[u8]) {
        for len in 0..whole.len() {
            match cut(&whole[..len]) {
                Cut::Need(more) => assert!(more > 0 && len + more <= whole.len(), "cut at {len}"),
                other => panic!("cut at {len}: {other:?}"),
            }
        }
    }

    #[test]
    fn status_ok_is_cut_byte_by_byte() {
        let stream = [0x00, 0x03, b's', b'o', b'k', 0x00];
        asks_until_whole(cut_packet2, &stream[..5]);
        assert_eq!(cut_packet2(&stream), Cut::Message { body: b"sok", used: 5 });
    }

    #[test]
    fn a_frame_is_cut_byte_by_byte() {
        let stream = [0x00, 0x00, 0x00, 0x02, 0x83, 0x44, 0x00];
        asks_until_whole(|i| cut_packet4(i, 2), &stream[..6]);
        assert_eq!(cut_packet4(&stream, 2), Cut::Message { body: &[0x83, 0x44], used: 6 });
    }

    #[test]
    fn a_tick_is_an_empty_message() {
        assert_eq!(cut_packet4(&[0; 4], 0), Cut::Message { body: &[], used: 4 });
    }

    #[test]
    fn a_length_beyond_the_maximum_is_refused_before_its_bytes_come() {
        assert_eq!(cut_packet4(b"GET ", 1 << 26), Cut::TooLong(0x4745_5420));
        assert_eq!(cut_packet4(&[0, 0, 0, 3], 2), Cut::TooLong(3));
    }

    #[test]
    fn the_tag_of_a_reply_to_alive2_determines_its_end() {
        let x = [b'v', 0x00, 0x6b, 0x03, 0x09, 0x3b];
        asks_until_whole(cut_alive2_resp, &x);
        assert_eq!(cut_alive2_resp(&x), Cut::Message { body: &x, used: 6 });
        let y = [b'y', 0x01, 0x00, 0x63, 0xff];
        assert_eq!(cut_alive2_resp(&y), Cut::Message { body: &y[..4], used: 4 });
    }

    /// "b" on port 9100, with an `Extra` of two bytes.
    #[rustfmt::skip]
    const PORT2: &[u8] = &[
        b'w', 0x00,             // tag, Result
        0x23, 0x8c,             // PortNo
        0x4d, 0x00,             // NodeType, Protocol
        0x00, 0x06, 0x00, 0x05, // HighestVersion, LowestVersion
        0x00, 0x01, b'b',       // Nlen, NodeName
        0x00, 0x02, 0x01, 0x02, // Elen, Extra
    ];

    #[test]
    fn the_lengths_in_a_reply_to_port_please2_determine_its_end() {
        asks_until_whole(cut_port2_resp, PORT2);
        let longer = [PORT2, b"w"].concat();
        assert_eq!(cut_port2_resp(&longer), Cut::Message { body: PORT2, used: 17 });
        assert_eq!(cut_port2_resp(b"w\x01w"), Cut::Message { body: b"w\x01", used: 2 });
    }

    #[test]
    fn what_is_no_reply_is_given_whole() {
        assert_eq!(cut_alive2_resp(b"HTTP"), Cut::Message { body: b"HTTP", used: 4 });
        assert_eq!(cut_port2_resp(b"HTTP"), Cut::Message { body: b"HTTP", used: 4 });
    }
}
