//! Messages of EPMD, of the handshake and of the PROXY protocol.
//!
//! In: one message, or the front of one. Out: as many bytes.

use std::net::IpAddr;

use super::edit::{byte, keep, number2, part, put};
use super::pseudonyms::Pseudonyms;
use crate::wire::handshake::is_node_name;

/// A request to EPMD without its length.
pub(super) fn epmd_request(body: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    keep(&mut out, body, 0, 1);
    match body.first() {
        Some(b'x') => node(body, &mut out, names),
        Some(b'z' | b's') => {
            put(&mut out, 1, &names.alive(body.get(1..).unwrap_or_default()));
        }
        _ => {}
    }
    out
}

/// A node as EPMD's messages have it behind their first bytes: port, type, protocol, versions, name, extra bytes.
fn node(body: &[u8], out: &mut [u8], names: &mut Pseudonyms) {
    // PORT2_RESP has the result in front of the port.
    let at = if body.first() == Some(&b'w') { 2 } else { 1 };
    keep(out, body, 1, at - 1);
    if let Some(port) = number2(body, at) {
        put(out, at, &names.port(port).to_be_bytes());
    }
    keep(out, body, at + 2, 8);
    let len = number2(body, at + 8).map_or(0, usize::from);
    let start = at + 10;
    let Some(name) = body.get(start..).map(|rest| rest.get(..len).unwrap_or(rest)) else { return };
    put(out, start, &names.alive(name));
    // The length of the extra bytes.
    keep(out, body, start + len, 2);
}

/// A reply of EPMD to a registration, a look-up or a command.
pub(super) fn epmd_reply(body: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    match body.first() {
        Some(b'v' | b'y') => keep(&mut out, body, 0, 6),
        Some(b'w') => {
            keep(&mut out, body, 0, 1);
            if byte(body, 1) == Some(0) {
                node(body, &mut out, names);
            } else {
                keep(&mut out, body, 1, 1);
            }
        }
        // OK, NO, STOPPED or NOEXIST.
        Some(b'A'..=b'Z') => {
            let word = body.iter().position(|byte| !byte.is_ascii_uppercase());
            keep(&mut out, body, 0, word.unwrap_or(body.len()).min(7));
            let end =
                body.len() - body.iter().rev().take_while(|it| it.is_ascii_whitespace()).count();
            keep(&mut out, body, end, body.len() - end);
        }
        _ => {}
    }
    out
}

/// One line of EPMD's list of names: `name one at port 40000`, or a line of its dump.
pub(super) fn epmd_line(line: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let find = |what: &[u8]| line.windows(what.len()).rposition(|window| window == what);
    let words = [(&b" at port "[..]), b", port = "];
    let found = words.iter().find_map(|word| Some((find(word)?, word.len())));
    let start = line.windows(4).position(|window| window == b"name");
    let (Some((end, word)), Some(start)) = (found, start) else {
        let mut out = Vec::new();
        names.words(line, &mut out);
        return out;
    };
    let mut out = Vec::new();
    // Releases differ in the zero bytes between lines.
    let head = line.get(..start).unwrap_or_default();
    match head.strip_prefix(b"\0").unwrap_or(head) {
        b"" | b"active " | b"old/unused " => out.extend_from_slice(head),
        _ => names.words(head, &mut out),
    }
    let start = start + 4;
    out.extend_from_slice(b"name");
    let name = line.get(start..end).unwrap_or_default();
    let is_around = |byte: &u8| matches!(byte, b' ' | b'<' | b'>' | b'\t');
    let before = name.iter().position(|byte| !is_around(byte)).unwrap_or(name.len());
    let (before, name) = name.split_at(before);
    let behind = name.iter().rev().take_while(|byte| is_around(byte)).count();
    let (name, behind) = name.split_at(name.len() - behind);
    out.extend_from_slice(before);
    out.extend(names.alive(name));
    out.extend_from_slice(behind);
    let rest = line.get(end..).unwrap_or_default();
    let (word, rest) = rest.split_at_checked(word).unwrap_or((rest, &[]));
    out.extend_from_slice(word);
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (port, rest) = rest.split_at(digits);
    match std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()) {
        Some(port) => out.extend(names.port(port).to_string().into_bytes()),
        None => out.extend(port.iter().map(|_| b'0')),
    }
    // A line of the dump ends in the number of a descriptor of EPMD.
    match rest.strip_prefix(b", fd = ") {
        Some(number)
            if number
                .iter()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_whitespace() || *byte == 0) =>
        {
            out.extend_from_slice(rest);
        }
        _ => names.words(rest, &mut out),
    }
    out.resize(line.len(), b'0');
    out
}

/// A message of the handshake without its length. `is_acceptor` is whether its sender was dialed, if that is known.
pub(super) fn handshake(body: &[u8], is_acceptor: Option<bool>, names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    keep(&mut out, body, 0, 1);
    match body.first() {
        Some(b'N') => {
            let name_at = |at: usize| {
                let len = usize::from(number2(body, at)?);
                part(body, at + 2, len)
            };
            let (hello, challenge) = (name_at(13), name_at(17));
            let is_name = |name: Option<&[u8]>| name.is_some_and(is_node_name);
            // The length of the name shows where it begins, if it has no host.
            let fits = |at: usize| {
                number2(body, at).is_some_and(|len| at + 2 + usize::from(len) == body.len())
            };
            let is_challenge = is_acceptor.unwrap_or_else(|| {
                !is_name(hello) && (is_name(challenge) || fits(17) && !fits(13))
            });
            // Flags, and the creation behind a challenge.
            keep(&mut out, body, 1, 8);
            let (at, name) = if is_challenge {
                secret(body, 9, 4, &mut out, names);
                keep(&mut out, body, 13, 6);
                (19, challenge)
            } else {
                keep(&mut out, body, 9, 6);
                (15, hello)
            };
            let name = name.or_else(|| body.get(at..)).unwrap_or_default();
            put(
                &mut out,
                at,
                &if name.contains(&b'@') { names.name(name) } else { names.host(name) },
            );
        }
        Some(b'n') => {
            let (hello, challenge) = (body.get(7..), body.get(11..));
            let is_challenge = is_acceptor.unwrap_or_else(|| !hello.is_some_and(is_node_name));
            keep(&mut out, body, 1, 6);
            let (at, name) = if is_challenge {
                secret(body, 7, 4, &mut out, names);
                (11, challenge)
            } else {
                (7, hello)
            };
            put(&mut out, at, &names.name(name.unwrap_or_default()));
        }
        Some(b's') => {
            const NAMED: &[u8] = b"snamed:";
            if body.starts_with(NAMED) {
                keep(&mut out, body, 0, NAMED.len() + 2);
                let len = number2(body, NAMED.len()).map_or(0, usize::from);
                let start = NAMED.len() + 2;
                let name = body.get(start..).map(|rest| rest.get(..len).unwrap_or(rest));
                put(&mut out, start, &names.name(name.unwrap_or_default()));
                keep(&mut out, body, start + len, 4);
            } else if STATUSES.contains(&body.get(1..).unwrap_or_default()) {
                keep(&mut out, body, 0, body.len());
            } else {
                let mut new = Vec::new();
                names.words(body.get(1..).unwrap_or_default(), &mut new);
                put(&mut out, 1, &new);
            }
        }
        Some(b'c') => keep(&mut out, body, 1, 8),
        Some(b'r') => {
            secret(body, 1, 4, &mut out, names);
            secret(body, 5, 16, &mut out, names);
        }
        Some(b'a') => secret(body, 1, 16, &mut out, names),
        _ => {}
    }
    out
}

/// Replaces a challenge or a digest.
fn secret(body: &[u8], at: usize, len: usize, out: &mut [u8], names: &Pseudonyms) {
    if let (Some(secret), Some(to)) =
        (part(body, at, len), out.get_mut(at..).and_then(|it| it.get_mut(..len)))
    {
        names.secret(secret, to);
    }
}

/// A PROXY protocol header.
pub(super) fn proxy(header: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    if header.starts_with(b"PROXY ") {
        return proxy_line(header, names);
    }
    let mut out = vec![0; header.len()];
    keep(&mut out, header, 0, 16);
    let ports = match byte(header, 13).map(|family| family >> 4) {
        Some(1) => {
            for at in [16, 20] {
                if let Some(ip) = part(header, at, 4).and_then(|it| <[u8; 4]>::try_from(it).ok()) {
                    put(&mut out, at, &names.v4(ip));
                }
            }
            24
        }
        Some(2) => {
            for at in [16, 32] {
                if let Some(ip) = part(header, at, 16).and_then(|it| <[u8; 16]>::try_from(it).ok())
                {
                    put(&mut out, at, &names.v6(ip));
                }
            }
            48
        }
        _ => return out,
    };
    for at in [ports, ports + 2] {
        if let Some(port) = number2(header, at) {
            put(&mut out, at, &names.port(port).to_be_bytes());
        }
    }
    // Types and lengths of the options.
    let mut at = ports + 4;
    while let Some(len) = number2(header, at + 1) {
        keep(&mut out, header, at, 3);
        at += 3 + usize::from(len);
    }
    out
}

fn proxy_line(line: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    for (index, word) in line.split(|byte| *byte == b' ').enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        let text = word.strip_suffix(b"\r\n").unwrap_or(word);
        let parsed = std::str::from_utf8(text).ok();
        match (index, parsed) {
            (0 | 1, _) => out.extend_from_slice(text),
            (_, Some(text)) if text.parse::<IpAddr>().is_ok() => {
                out.extend(names.host(text.as_bytes()));
            }
            (_, Some(text)) => match text.parse() {
                Ok(port) => out.extend(names.port(port).to_string().into_bytes()),
                Err(_) => out.extend(text.bytes().map(|_| b'0')),
            },
            (_, None) => out.extend(text.iter().map(|_| b'0')),
        }
        out.extend_from_slice(word.get(text.len()..).unwrap_or_default());
    }
    out.resize(line.len(), b'0');
    out
}

/// The status messages of the protocol.
const STATUSES: [&[u8]; 7] =
    [b"ok", b"ok_simultaneous", b"nok", b"not_allowed", b"alive", b"true", b"false"];

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Pseudonyms {
        Pseudonyms::new([])
    }

    #[test]
    fn only_known_words_around_a_name_of_epmd_stay() {
        let line = |text: &str| {
            let new = epmd_line(text.as_bytes(), &mut names());
            assert_eq!(new.len(), text.len(), "{text}");
            String::from_utf8(new).unwrap()
        };
        let dumped = line("active name     <orders> at port 40000, fd = 5\n");
        assert!(dumped.starts_with("active name     <"), "{dumped}");
        assert!(dumped.ends_with(", fd = 5\n"), "{dumped}");
        let odd = line("confidential name orders at port 40000 for customer\n");
        for word in ["confidential", "orders", "customer"] {
            assert!(!odd.contains(word), "{odd}");
        }
    }

    #[test]
    fn a_challenge_without_a_host_in_its_name_is_replaced() {
        let challenge = 0xdead_beef_u32.to_be_bytes();
        let body = [b"N\0\0\0\0\0\0\0\0", &challenge[..], &[0, 0, 0, 7, 0, 5], b"alone"].concat();
        let new = handshake(&body, None, &mut names());
        assert_eq!(new.len(), body.len());
        assert_ne!(new[9..13], challenge);
        assert_eq!(new[13..19], body[13..19]);
        let hello = [b"N\0\0\0\0\0\0\0\0", &[0, 0, 0, 7, 0, 5][..], b"alone"].concat();
        assert_eq!(handshake(&hello, None, &mut names())[..15], hello[..15]);
    }
}
