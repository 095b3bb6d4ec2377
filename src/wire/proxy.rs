//! The PROXY protocol header: what a load balancer may put before the bytes of its client.
//!
//! HAProxy (`send-proxy`, `send-proxy-v2`), nginx (`proxy_protocol on` in a stream), Envoy and cloud balancers send it.
//! Neither EPMD nor a node understands it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A PROXY protocol header.
///
/// Version 1 is one line of text of at most 107 bytes:
///
/// ```text
/// PROXY TCP4 10.0.0.1 10.0.0.3 56324 9100\r\n
/// ```
///
/// Version 2 is binary:
///
/// ```text
///      12           1              1           2      length
/// | signature | version, cmd | family, type | length | addresses, options |
/// ```
///
/// Spec: *The PROXY protocol, versions 1 and 2* (HAProxy, `doc/proxy-protocol.txt`), sections 2.1 and 2.2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProxyHeader {
    /// Version of the header, 1 or 2.
    pub version: u8,
    /// The client of the balancer, and the address that it dialed; `None` for a connection of the balancer's own, such
    /// as a health check, and where the header does not give them.
    pub ends: Option<[SocketAddr; 2]>,
}

/// Whether a stream begins with a PROXY protocol header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProxyStart {
    /// It begins with something else.
    No,
    /// More bytes are needed to decide.
    CutShort,
    /// It does, and the header has this many bytes.
    Header(ProxyHeader, usize),
}

/// Reads the header at the front of a stream.
pub fn proxy_header(bytes: &[u8]) -> ProxyStart {
    if bytes.starts_with(TEXT) {
        text_header(bytes)
    } else if bytes.starts_with(SIGNATURE) {
        binary_header(bytes)
    } else if TEXT.starts_with(bytes) || SIGNATURE.starts_with(bytes) {
        ProxyStart::CutShort
    } else {
        ProxyStart::No
    }
}

fn text_header(bytes: &[u8]) -> ProxyStart {
    let front = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
    let Some(len) = front.windows(2).position(|pair| pair == b"\r\n") else {
        return if front.len() < LONGEST_TEXT { ProxyStart::CutShort } else { ProxyStart::No };
    };
    let line = front.get(TEXT.len()..len).unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return ProxyStart::No };
    let mut words = line.split(' ');
    let ends = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4" | "TCP6") => match text_ends(words) {
            Some(ends) => Some(ends),
            None => return ProxyStart::No,
        },
        _ => return ProxyStart::No,
    };
    ProxyStart::Header(ProxyHeader { version: 1, ends }, len + 2)
}

/// Reads the two addresses, and then the two ports.
fn text_ends<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<[SocketAddr; 2]> {
    let source: IpAddr = words.next()?.parse().ok()?;
    let target: IpAddr = words.next()?.parse().ok()?;
    let [from, to] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
    words.next().is_none().then_some([SocketAddr::new(source, from), SocketAddr::new(target, to)])
}

fn binary_header(bytes: &[u8]) -> ProxyStart {
    let rest = bytes.get(SIGNATURE.len()..).unwrap_or_default();
    let Some((&[version_and_command, family, high, low], rest)) = rest.split_first_chunk() else {
        return ProxyStart::CutShort;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(version_and_command, LOCAL | PROXY) || len > LONGEST_BINARY {
        return ProxyStart::No;
    }
    let Some(body) = rest.get(..len) else { return ProxyStart::CutShort };
    let ends = match (version_and_command, family) {
        (PROXY, TCP_4) => body.first_chunk::<12>().map(|it| {
            let &[a, b, c, d, e, f, g, h, from @ .., to_high, to_low] = it;
            let to = u16::from_be_bytes([to_high, to_low]);
            [
                SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes(from)),
                SocketAddr::new(Ipv4Addr::new(e, f, g, h).into(), to),
            ]
        }),
        (PROXY, TCP_6) => binary_ends_6(body),
        _ => None,
    };
    ProxyStart::Header(ProxyHeader { version: 2, ends }, SIGNATURE.len() + 4 + len)
}

fn binary_ends_6(body: &[u8]) -> Option<[SocketAddr; 2]> {
    let (source, body) = body.split_first_chunk::<16>()?;
    let (target, body) = body.split_first_chunk::<16>()?;
    let (from, body) = body.split_first_chunk::<2>()?;
    let to = body.first_chunk::<2>()?;
    Some([
        SocketAddr::new(Ipv6Addr::from(*source).into(), u16::from_be_bytes(*from)),
        SocketAddr::new(Ipv6Addr::from(*target).into(), u16::from_be_bytes(*to)),
    ])
}

const TEXT: &[u8] = b"PROXY ";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and a connection of the balancer's own.
const LOCAL: u8 = 0x20;

/// Version 2, and a connection of a client.
const PROXY: u8 = 0x21;

/// The addresses are of TCP over IPv4.
const TCP_4: u8 = 0x11;

/// The addresses are of TCP over IPv6.
const TCP_6: u8 = 0x21;

/// Longest header of version 1, with its line end (section 2.1).
const LONGEST_TEXT: usize = 107;

/// Longest body of version 2 that is read. Addresses take 216 bytes at most, and options some hundred.
const LONGEST_BINARY: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, target: &str) -> Option<[SocketAddr; 2]> {
        Some([source.parse().unwrap(), target.parse().unwrap()])
    }

    fn header(version: u8, ends: Option<[SocketAddr; 2]>, used: usize) -> ProxyStart {
        ProxyStart::Header(ProxyHeader { version, ends }, used)
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &len, body].concat()
    }

    #[test]
    fn a_line_of_version_1_gives_client_and_dialed_address() {
        let line = b"PROXY TCP4 10.7.0.1 10.7.0.3 59220 9100\r\n";
        let read = header(1, ends("10.7.0.1:59220", "10.7.0.3:9100"), line.len());
        assert_eq!(proxy_header(&[&line[..], b"\0\x15N"].concat()), read);
        let line = b"PROXY TCP6 fd00::1 fd00::3 59220 9100\r\n";
        assert_eq!(proxy_header(line), header(1, ends("[fd00::1]:59220", "[fd00::3]:9100"), 39));
        assert_eq!(proxy_header(b"PROXY UNKNOWN\r\n"), header(1, None, 15));
        assert_eq!(proxy_header(b"PROXY UNKNOWN ff ff 1 2\r\n"), header(1, None, 25));
    }

    #[test]
    fn version_2_gives_client_and_dialed_address() {
        let body = [&[10, 7, 0, 1, 10, 7, 0, 3][..], &[0xe7, 0x54, 0x23, 0x8c]].concat();
        let read = header(2, ends("10.7.0.1:59220", "10.7.0.3:9100"), 28);
        assert_eq!(proxy_header(&binary(PROXY, TCP_4, &body)), read);
        let with_option = [&body[..], &[0x04, 0, 3, 0, 0, 0]].concat();
        let read = header(2, ends("10.7.0.1:59220", "10.7.0.3:9100"), 34);
        assert_eq!(proxy_header(&binary(PROXY, TCP_4, &with_option)), read);
        let mut body = [[0; 16]; 2].concat();
        (body[0], body[31]) = (0xfd, 9);
        body.extend([0, 1, 0x11, 0x11]);
        let read = header(2, ends("[fd00::]:1", "[::9]:4369"), 52);
        assert_eq!(proxy_header(&binary(PROXY, TCP_6, &body)), read);
        assert_eq!(proxy_header(&binary(LOCAL, 0, b"")), header(2, None, 16));
        assert_eq!(proxy_header(&binary(PROXY, TCP_4, b"short")), header(2, None, 21));
    }

    #[test]
    fn every_shorter_prefix_is_undecided() {
        let whole = [&b"PROXY TCP4 10.7.0.1 10.7.0.3 59220 9100\r\n"[..], &binary(LOCAL, 0, b"x")];
        for whole in whole {
            for cut in 0..whole.len() {
                assert_eq!(proxy_header(&whole[..cut]), ProxyStart::CutShort, "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_bound() {
        let endless = [TEXT, &[b'7'; 101]].concat();
        let others: [&[u8]; 8] = [
            b"PROXY TCP4 10.7.0.1 10.7.0.3 59220\r\n",
            b"PROXY TCP4 10.7.0.1 10.7.0.3 59220 9100 1\r\n",
            b"PROXY TCP4 10.7.0.1 host 59220 9100\r\n",
            b"PROXY SCTP 10.7.0.1 10.7.0.3 59220 9100\r\n",
            b"GET / HTTP/1.1\r\n",
            &endless,
            &binary(0x11, TCP_4, b""),
            &binary(PROXY, TCP_4, &[0; LONGEST_BINARY + 1]),
        ];
        for other in others {
            assert_eq!(proxy_header(other), ProxyStart::No, "{other:?}");
        }
    }
}
