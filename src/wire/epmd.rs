//! EPMD messages: what nodes ask the port mapper, and what it answers.
//!
//! In: one request without its length prefix, or one reply. Out: structs that borrow it. Requests
//! are distinguished by their tag; which reply to expect follows from the request, which this
//! file does not know. It judges nothing: what EPMD would refuse is still read.

use std::iter;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take};
use nom::combinator::{map, opt, rest};
use nom::error::context;
use nom::number::complete::{be_u8, be_u16, be_u32};
use serde::{Deserialize, Serialize};

use super::{Creation, Parsed};

/// First byte of an EPMD message. Values this crate does not know stay representable.
///
/// Spec: *Distribution Protocol*, "EPMD Protocol".
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct EpmdTag(pub u8);

#[expect(missing_docs, reason = "each is the specification's message of that name")]
impl EpmdTag {
    pub const ALIVE_REQ: Self = Self(97);
    pub const DUMP_REQ: Self = Self(100);
    pub const KILL_REQ: Self = Self(107);
    pub const NAMES_REQ: Self = Self(110);
    pub const PORT_REQ: Self = Self(112);
    pub const STOP_REQ: Self = Self(115);
    pub const ALIVE2_X_RESP: Self = Self(118);
    pub const PORT2_RESP: Self = Self(119);
    pub const ALIVE2_REQ: Self = Self(120);
    pub const ALIVE2_RESP: Self = Self(121);
    pub const PORT_PLEASE2_REQ: Self = Self(122);
}

impl EpmdTag {
    /// Name in the specification.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::ALIVE_REQ => "ALIVE_REQ",
            Self::DUMP_REQ => "DUMP_REQ",
            Self::KILL_REQ => "KILL_REQ",
            Self::NAMES_REQ => "NAMES_REQ",
            Self::PORT_REQ => "PORT_REQ",
            Self::STOP_REQ => "STOP_REQ",
            Self::ALIVE2_X_RESP => "ALIVE2_X_RESP",
            Self::PORT2_RESP => "PORT2_RESP",
            Self::ALIVE2_REQ => "ALIVE2_REQ",
            Self::ALIVE2_RESP => "ALIVE2_RESP",
            Self::PORT_PLEASE2_REQ => "PORT_PLEASE2_REQ",
            _ => return None,
        })
    }
}

/// Type of node, as the node itself declares it when it registers. EPMD stores the byte blindly and echoes it.
///
/// Spec: *Distribution Protocol*, "Register a Node in EPMD".
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct EpmdNodeType(pub u8);

impl EpmdNodeType {
    /// Every Erlang VM, those started with `-hidden` among them: this does not show a hidden node.
    pub const NORMAL: Self = Self(77);
    /// What the specification assigns to hidden nodes; rarely seen.
    pub const HIDDEN: Self = Self(72);
    /// C nodes of `erl_interface`.
    pub const ERL_INTERFACE: Self = Self(104);
    /// Java nodes of `jinterface`.
    pub const JINTERFACE: Self = Self(110);

    /// The word for the two values that the specification assigns.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::NORMAL => Some("normal"),
            Self::HIDDEN => Some("hidden"),
            _ => None,
        }
    }
}

/// What a client asks of EPMD, once per connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request<'a> {
    /// Registers a node for as long as the connection lives.
    Alive2Req(Alive2Req<'a>),
    /// Asks for the port of the node with this alive name.
    PortPlease2Req {
        /// The part of the node name left of `@`; one NUL at its end, which EPMD tolerates, is
        /// taken off.
        name: &'a [u8],
    },
    /// Asks for all registered names.
    NamesReq,
    /// Asks for all that EPMD has, for debugging.
    DumpReq,
    /// Asks EPMD to exit.
    KillReq,
    /// Asks EPMD to forget a registration.
    StopReq {
        /// The alive name wanted.
        name: &'a [u8],
    },
    /// `ALIVE_REQ` or `PORT_REQ`, which EPMD no longer answers since R14.
    Ancient(EpmdTag),
    /// No request; EPMD closes without a word.
    Unknown(EpmdTag),
}

impl Request<'_> {
    /// The byte it began with.
    pub const fn tag(&self) -> EpmdTag {
        match *self {
            Self::Alive2Req(_) => EpmdTag::ALIVE2_REQ,
            Self::PortPlease2Req { .. } => EpmdTag::PORT_PLEASE2_REQ,
            Self::NamesReq => EpmdTag::NAMES_REQ,
            Self::DumpReq => EpmdTag::DUMP_REQ,
            Self::KillReq => EpmdTag::KILL_REQ,
            Self::StopReq { .. } => EpmdTag::STOP_REQ,
            Self::Ancient(tag) | Self::Unknown(tag) => tag,
        }
    }
}

/// One request, without its length prefix. EPMD ignores a body behind NAMES, DUMP and KILL, and so
/// does this.
pub fn request(i: &[u8]) -> Parsed<'_, Request<'_>> {
    let (body, tag) = context("tag", map(be_u8, EpmdTag)).parse(i)?;
    if tag == EpmdTag::ALIVE2_REQ {
        return map(alive2_req, Request::Alive2Req).parse(i);
    }
    let (i, body) = rest(body)?;
    let request = match tag {
        EpmdTag::PORT_PLEASE2_REQ => {
            Request::PortPlease2Req { name: body.strip_suffix(b"\0").unwrap_or(body) }
        }
        EpmdTag::NAMES_REQ => Request::NamesReq,
        EpmdTag::DUMP_REQ => Request::DumpReq,
        EpmdTag::KILL_REQ => Request::KillReq,
        EpmdTag::STOP_REQ => Request::StopReq { name: body },
        EpmdTag::ALIVE_REQ | EpmdTag::PORT_REQ => Request::Ancient(tag),
        _ => Request::Unknown(tag),
    };
    Ok((i, request))
}

/// `ALIVE2_REQ`: registers a node. The connection *is* the registration and ends it.
///
/// ```text
///    1       2         1          1            2                2
/// | 120 | PortNo | NodeType | Protocol | HighestVersion | LowestVersion |
///
///     2      Nlen      2     Elen
/// | Nlen | NodeName | Elen | Extra |
/// ```
///
/// Bytes behind `Extra` are ignored by EPMD.
///
/// Spec: *Distribution Protocol*, "Register a Node in EPMD".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alive2Req<'a> {
    /// Where the node listens for distribution connections; 0 is accepted too.
    pub port: u16,
    /// Type that the node declares.
    pub node_type: EpmdNodeType,
    /// 0 is TCP, over IPv6 as well.
    pub protocol: u8,
    /// 5 up to OTP 22, 6 from OTP 23. Decides the form of the reply.
    pub highest_version: u16,
    /// 5 from Erlang nodes of every release, though the specification has 6 from OTP 25.
    pub lowest_version: u16,
    /// The alive name: the part of the node name left of `@`.
    pub name: &'a [u8],
    /// Empty from Erlang nodes.
    pub extra: &'a [u8],
}

/// Reads an [`Alive2Req`] message.
pub fn alive2_req(i: &[u8]) -> Parsed<'_, Alive2Req<'_>> {
    let (i, _) = context("tag", tag(&b"x"[..])).parse(i)?;
    let (i, port) = context("PortNo", be_u16).parse(i)?;
    let (i, node_type) = context("NodeType", be_u8).parse(i)?;
    let (i, protocol) = context("Protocol", be_u8).parse(i)?;
    let (i, highest_version) = context("HighestVersion", be_u16).parse(i)?;
    let (i, lowest_version) = context("LowestVersion", be_u16).parse(i)?;
    let (i, nlen) = context("Nlen", be_u16).parse(i)?;
    let (i, name) = context("NodeName", take(nlen)).parse(i)?;
    let (i, elen) = context("Elen", be_u16).parse(i)?;
    let (i, extra) = context("Extra", take(elen)).parse(i)?;
    let (i, _) = rest(i)?;
    let node_type = EpmdNodeType(node_type);
    let request =
        Alive2Req { port, node_type, protocol, highest_version, lowest_version, name, extra };
    Ok((i, request))
}

/// `ALIVE2_RESP` and `ALIVE2_X_RESP`: what became of a registration.
///
/// ```text
///      1         1         2 or 4
/// | 121, 118 | Result | Creation |
/// ```
///
/// EPMD from OTP 23 answers with `ALIVE2_X_RESP` where the request's `HighestVersion` is 6 or more.
///
/// Spec: *Distribution Protocol*, "Register a Node in EPMD" (the X form since OTP 23).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alive2Resp {
    /// `ALIVE2_RESP`, with two bytes of creation, or `ALIVE2_X_RESP`, with four.
    pub tag: EpmdTag,
    /// 0 is success. EPMD knows no other error than 1 and gives no reason.
    pub result: u8,
    /// 99 where the registration failed.
    pub creation: Creation,
}

/// Reads an [`Alive2Resp`] message.
pub fn alive2_resp(i: &[u8]) -> Parsed<'_, Alive2Resp> {
    let (i, byte) = context("tag", alt((tag(&b"y"[..]), tag(&b"v"[..])))).parse(i)?;
    let (i, result) = context("Result", be_u8).parse(i)?;
    let (i, tag, creation) = if byte == b"y" {
        let (i, creation) = context("Creation", be_u16).parse(i)?;
        (i, EpmdTag::ALIVE2_RESP, creation.into())
    } else {
        let (i, creation) = context("Creation", be_u32).parse(i)?;
        (i, EpmdTag::ALIVE2_X_RESP, creation)
    };
    Ok((i, Alive2Resp { tag, result, creation: Creation(creation) }))
}

/// `PORT2_RESP`: where a node listens.
///
/// ```text
///    1      1
/// | 119 | Result |     where Result is not 0
///
///    1    1      2         1          1            2                2
/// | 119 | 0 | PortNo | NodeType | Protocol | HighestVersion | LowestVersion |
///
///     2      Nlen      2     Elen
/// | Nlen | NodeName | Elen | Extra |
/// ```
///
/// Spec: *Distribution Protocol*, "Get the Distribution Port of a Node".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port2Resp<'a> {
    /// No such node: `Result`, which is not 0 (EPMD sends 1).
    Refused(u8),
    /// The node is registered.
    Registered(Port2Node<'a>),
}

/// What a positive [`Port2Resp`] contains: the node as it was registered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port2Node<'a> {
    /// Where the node listens for distribution connections.
    pub port: u16,
    /// Type that the node declares.
    pub node_type: EpmdNodeType,
    /// Transport protocol; 0 is TCP.
    pub protocol: u8,
    /// 5 up to OTP 22, 6 from OTP 23.
    pub highest_version: u16,
    /// 5 from Erlang nodes of every release.
    pub lowest_version: u16,
    /// The alive name; `None` where the reply ends before or in it. Clients read nothing behind
    /// `Nlen`.
    pub name: Option<&'a [u8]>,
    /// Empty also where the reply ends before or in it.
    pub extra: &'a [u8],
}

/// Reads [`Port2Resp`]. Bytes behind it are ignored, as clients do.
pub fn port2_resp(i: &[u8]) -> Parsed<'_, Port2Resp<'_>> {
    let (i, _) = context("tag", tag(&b"w"[..])).parse(i)?;
    let (i, result) = context("Result", be_u8).parse(i)?;
    if result != 0 {
        let (i, _) = rest(i)?;
        return Ok((i, Port2Resp::Refused(result)));
    }
    let (i, port) = context("PortNo", be_u16).parse(i)?;
    let (i, node_type) = context("NodeType", be_u8).parse(i)?;
    let (i, protocol) = context("Protocol", be_u8).parse(i)?;
    let (i, highest_version) = context("HighestVersion", be_u16).parse(i)?;
    let (i, lowest_version) = context("LowestVersion", be_u16).parse(i)?;
    let (i, nlen) = context("Nlen", be_u16).parse(i)?;
    let (i, name) = opt(take(nlen)).parse(i)?;
    let (i, elen) = opt(be_u16).parse(i)?;
    let (i, extra) = opt(take(elen.unwrap_or(0))).parse(i)?;
    let (i, _) = rest(i)?;
    let (node_type, extra) = (EpmdNodeType(node_type), extra.unwrap_or(&[]));
    let node =
        Port2Node { port, node_type, protocol, highest_version, lowest_version, name, extra };
    Ok((i, Port2Resp::Registered(node)))
}

/// The reply to `NAMES_REQ` and `DUMP_REQ`: text that ends where EPMD closes the connection.
///
/// ```text
///      4
/// | EPMDPortNo | text ...
/// ```
///
/// Spec: *Distribution Protocol*, "Get All Registered Names from EPMD" and "Dump All Data from
/// EPMD".
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listing<'a> {
    /// The port EPMD itself listens on.
    pub epmd_port: u32,
    /// One line for each registration; empty when there is none.
    pub text: &'a [u8],
}

/// One line of a [`Listing`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Registration<'a> {
    /// The alive name. EPMD lets it hold any byte but NUL.
    pub name: &'a [u8],
    /// Where the node listens.
    pub port: u16,
    /// False for the `old/unused` lines of a dump: names that EPMD only remembers.
    pub active: bool,
}

/// Reads a [`Listing`] reply.
pub fn listing(i: &[u8]) -> Parsed<'_, Listing<'_>> {
    let (i, epmd_port) = context("EPMDPortNo", be_u32).parse(i)?;
    let (i, text) = rest(i)?;
    Ok((i, Listing { epmd_port, text }))
}

impl<'a> Listing<'a> {
    /// The lines of a reply to `NAMES_REQ`, `name NAME at port N`. Other lines, and a line that
    /// breaks off before its end, are passed over.
    pub fn names(&self) -> impl Iterator<Item = Registration<'a>> + use<'a> {
        let mut text = self.text;
        // A name may hold a line feed, so a registration goes on until one that follows a port.
        let mut pending = text;
        iter::from_fn(move || {
            loop {
                let line_feed = pending.iter().position(|&byte| byte == b'\n')?;
                pending = pending.get(line_feed + 1..)?;
                let line = text.get(..text.len() - pending.len() - 1)?;
                if let Some(registration) = names_line(line) {
                    text = pending;
                    return Some(registration);
                }
                if !line.starts_with(b"name ") {
                    text = pending;
                }
            }
        })
    }

    /// The lines of a reply to `DUMP_REQ`, each of which a NUL ends. Other lines are passed over.
    ///
    /// ```text
    /// active name     <NAME> at port P, fd = F\n\0
    /// old/unused name <NAME>, port = P, fd = F \n\0
    /// ```
    pub fn dump(&self) -> impl Iterator<Item = Registration<'a>> + use<'a> {
        self.text.split_inclusive(|&byte| byte == 0).filter_map(dump_line)
    }
}

/// `name NAME at port N`, where `NAME` may hold ` at port ` itself.
fn names_line(line: &[u8]) -> Option<Registration<'_>> {
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (named, port) = line.split_at_checked(line.len() - digits)?;
    let name = named.strip_prefix(b"name ")?.strip_suffix(b" at port ")?;
    Some(Registration { name, port: decimal(port)?, active: true })
}

fn dump_line(line: &[u8]) -> Option<Registration<'_>> {
    let line = line.strip_suffix(b"\n\0")?;
    let (line, active, before_port) = match line.strip_prefix(b"active name     <") {
        Some(line) => (line, true, &b"> at port "[..]),
        None => (line.strip_prefix(b"old/unused name <")?, false, &b">, port = "[..]),
    };
    let (name, tail) = split_at_last(line, before_port)?;
    let (port, _) = split_at_last(tail, b", fd = ")?;
    Some(Registration { name, port: decimal(port)?, active })
}

/// What is before and behind the last `separator` in `bytes`.
fn split_at_last<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).rposition(|window| window == separator)?;
    let (before, behind) = bytes.split_at_checked(at)?;
    Some((before, behind.strip_prefix(separator)?))
}

/// `bytes` as a decimal number; the sign that `str::parse` takes is none of EPMD's.
fn decimal(bytes: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.starts_with('+') { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::super::testing::assert_refuses_prefixes;
    use super::super::{WireError, decode};
    use super::*;

    /// OTP 25, node `b` on port 9100.
    #[rustfmt::skip]
    const ALIVE2_REQ: &[u8] = &[
        0x78,       // tag
        0x23, 0x8c, // PortNo
        0x4d,       // NodeType
        0x00,       // Protocol
        0x00, 0x06, // HighestVersion
        0x00, 0x05, // LowestVersion
        0x00, 0x01, // Nlen
        b'b',       // NodeName
        0x00, 0x00, // Elen
    ];

    const FIELDS_TO_NLEN: [(&str, usize); 6] = [
        ("PortNo", 2),
        ("NodeType", 1),
        ("Protocol", 1),
        ("HighestVersion", 2),
        ("LowestVersion", 2),
        ("Nlen", 2),
    ];

    #[test]
    fn alive2_req_is_read_whole() {
        let read = Alive2Req {
            port: 9100,
            node_type: EpmdNodeType::NORMAL,
            protocol: 0,
            highest_version: 6,
            lowest_version: 5,
            name: b"b",
            extra: &[],
        };
        assert_eq!(decode(ALIVE2_REQ, request), Ok(Request::Alive2Req(read)));
        assert_eq!(decode(&[ALIVE2_REQ, b"more"].concat(), alive2_req), Ok(read));
    }

    #[test]
    fn alive2_req_cut_short_names_the_field() {
        let longer = [&ALIVE2_REQ[..13], &[2, 0xca, 0xfe]].concat();
        let mut fields = vec![("tag", 1)];
        fields.extend(FIELDS_TO_NLEN);
        fields.extend([("NodeName", 1), ("Elen", 2), ("Extra", 2)]);
        assert_refuses_prefixes(&longer, request, &fields);
        assert_eq!(decode(&longer, alive2_req).unwrap().extra, [0xca, 0xfe]);
    }

    #[test]
    fn port_please2_req_loses_one_nul_and_no_more() {
        assert_eq!(decode(b"znope", request), Ok(Request::PortPlease2Req { name: b"nope" }));
        assert_eq!(decode(b"zb\0", request), Ok(Request::PortPlease2Req { name: b"b" }));
        assert_eq!(decode(b"zb\0\0", request), Ok(Request::PortPlease2Req { name: b"b\0" }));
        assert_eq!(decode(b"z", request), Ok(Request::PortPlease2Req { name: b"" }));
    }

    #[test]
    fn requests_keep_the_tag_they_began_with() {
        for (bytes, read) in [
            (&b"n"[..], Request::NamesReq),
            (b"n extra", Request::NamesReq),
            (b"d", Request::DumpReq),
            (b"k", Request::KillReq),
            (b"sr1", Request::StopReq { name: b"r1" }),
            (b"a\x23\x8cb", Request::Ancient(EpmdTag::ALIVE_REQ)),
            (b"pb", Request::Ancient(EpmdTag::PORT_REQ)),
            (b"T / HTTP/1.1", Request::Unknown(EpmdTag(b'T'))),
        ] {
            assert_eq!(decode(bytes, request), Ok(read));
            assert_eq!(read.tag(), EpmdTag(bytes[0]));
        }
        assert_eq!(decode(b"", request), Err(WireError::malformed("tag", 0)));
    }

    #[test]
    fn tags_are_named_where_the_specification_does() {
        let named = (0..=u8::MAX).filter_map(|byte| EpmdTag(byte).name());
        assert_eq!(named.collect::<Vec<_>>().len(), 11);
        assert_eq!(EpmdTag(122).name(), Some("PORT_PLEASE2_REQ"));
        assert_eq!((EpmdNodeType(72).name(), EpmdNodeType(104).name()), (Some("hidden"), None));
    }

    #[rustfmt::skip]
    const ALIVE2_X_RESP: &[u8] = &[
        0x76,                   // tag
        0x00,                   // Result
        0x6b, 0x03, 0x09, 0x3b, // Creation
    ];

    #[rustfmt::skip]
    const ALIVE2_RESP_REFUSED: &[u8] = &[
        0x79,       // tag
        0x01,       // Result
        0x00, 0x63, // Creation: 99
    ];

    #[test]
    fn both_forms_of_alive2_resp_are_read_whole() {
        let (tag, creation) = (EpmdTag::ALIVE2_X_RESP, Creation(0x6b03_093b));
        assert_eq!(decode(ALIVE2_X_RESP, alive2_resp), Ok(Alive2Resp { tag, result: 0, creation }));
        let (tag, creation) = (EpmdTag::ALIVE2_RESP, Creation(99));
        let read = decode(ALIVE2_RESP_REFUSED, alive2_resp);
        assert_eq!(read, Ok(Alive2Resp { tag, result: 1, creation }));
        let fields = |creation| [("tag", 1), ("Result", 1), ("Creation", creation)];
        assert_refuses_prefixes(ALIVE2_X_RESP, alive2_resp, &fields(4));
        assert_refuses_prefixes(ALIVE2_RESP_REFUSED, alive2_resp, &fields(2));
    }

    #[rustfmt::skip]
    const PORT2_RESP: &[u8] = &[
        0x77,       // tag
        0x00,       // Result
        0x23, 0x8c, // PortNo
        0x4d,       // NodeType
        0x00,       // Protocol
        0x00, 0x06, // HighestVersion
        0x00, 0x05, // LowestVersion
        0x00, 0x01, // Nlen
        b'b',       // NodeName
        0x00, 0x00, // Elen
    ];

    const NODE_B: Port2Node<'_> = Port2Node {
        port: 9100,
        node_type: EpmdNodeType::NORMAL,
        protocol: 0,
        highest_version: 6,
        lowest_version: 5,
        name: Some(b"b"),
        extra: &[],
    };

    #[test]
    fn port2_resp_is_read_whole() {
        assert_eq!(decode(PORT2_RESP, port2_resp), Ok(Port2Resp::Registered(NODE_B)));
        assert_eq!(decode(b"\x77\x01", port2_resp), Ok(Port2Resp::Refused(1)));
    }

    #[test]
    fn port2_resp_cut_short_names_the_field() {
        let mut fields = vec![("tag", 1), ("Result", 1)];
        fields.extend(FIELDS_TO_NLEN);
        assert_refuses_prefixes(PORT2_RESP, port2_resp, &fields);
    }

    #[test]
    fn port2_resp_may_end_anywhere_behind_nlen() {
        let nameless = Port2Resp::Registered(Port2Node { name: None, ..NODE_B });
        assert_eq!(decode(&PORT2_RESP[..12], port2_resp), Ok(nameless));
        assert_eq!(decode(&PORT2_RESP[..13], port2_resp), Ok(Port2Resp::Registered(NODE_B)));
        assert_eq!(decode(&PORT2_RESP[..14], port2_resp), Ok(Port2Resp::Registered(NODE_B)));
        let longer = [&PORT2_RESP[..14], b"\x01!more"].concat();
        let with_extra = Port2Resp::Registered(Port2Node { extra: b"!", ..NODE_B });
        assert_eq!(decode(&longer, port2_resp), Ok(with_extra));
    }

    fn names(text: &[u8]) -> Vec<(&[u8], u16)> {
        let listing = Listing { epmd_port: 4369, text };
        listing.names().map(|line| (line.name, line.port)).collect()
    }

    #[test]
    fn listing_begins_with_the_port_of_epmd() {
        let read = decode(b"\0\0\x11\x11name rock at port 33885\n", listing).unwrap();
        assert_eq!(read.epmd_port, 4369);
        assert_eq!(read.names().next().unwrap().name, b"rock");
        assert_eq!(decode(b"\0\0\x11\x11", listing).unwrap().names().count(), 0);
        assert_refuses_prefixes(b"\0\0\x11\x11", listing, &[("EPMDPortNo", 4)]);
    }

    #[test]
    fn names_may_hold_anything() {
        assert_eq!(
            names(b"name r2 at port 42409\nname  at port 1 at port 2\nname a\nb at port 3\n"),
            [(&b"r2"[..], 42409), (b" at port 1", 2), (b"a\nb", 3)]
        );
    }

    #[test]
    fn lines_that_are_no_registration_are_passed_over() {
        assert_eq!(names(b"epmd: up\n\nname a at port 1\nname b at port 338"), [(&b"a"[..], 1)]);
        assert_eq!(names(b"name a at port 65536\n"), []);
        assert_eq!(names(b"name a at port +1\n"), []);
        assert_eq!(names(b"name a at port \n"), []);
    }

    #[test]
    fn a_dump_distinguishes_active_from_old_registrations() {
        let text = b"active name     <r> at port 5> at port 42409, fd = 6\n\0\
            old/unused name <x, fd = 1>, port = 42369, fd = -1 \n\0\
            active name     <cut> at port 1";
        let listing = Listing { epmd_port: 4369, text };
        let active = Registration { name: b"r> at port 5", port: 42409, active: true };
        let old = Registration { name: b"x, fd = 1", port: 42369, active: false };
        assert_eq!(listing.dump().collect::<Vec<_>>(), [active, old]);
    }

    #[test]
    fn a_long_listing_of_nothing_takes_no_quadratic_time() {
        assert_eq!(names(&b"name \n1".repeat(100_000)), []);
    }
}
