//! Stage 3, beside [`identify`](crate::identify): names of addresses.
//!
//! In: datagrams to and from name servers, and names in the capture file. Out: [`Resolved`], the addresses of a name as
//! one client received them; a question, which [`Questions`](crate::questions::Questions) compares with the answers; and
//! the reason why an answer has no address. This stage knows no connection, and is the only one that uses `simple-dns`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::decode::{MDNS, UdpDatagram};
use crate::packet::PacketRef;

/// An answer of a name server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resolved {
    /// The packet with the answer.
    pub mark: PacketRef,
    /// The address that sent the query; `None` for an answer to a multicast group (mDNS).
    pub client: Option<IpAddr>,
    /// The name in the question. The names that it is an alias of only lead to its addresses.
    pub name: Arc<str>,
    /// The addresses of the name; empty if the name does not exist.
    pub ips: Vec<IpAddr>,
}

/// A question to a name server for the address of a host.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Question {
    /// The packet with the question.
    pub mark: PacketRef,
    /// The address that asked.
    pub client: IpAddr,
    /// The address of the name server.
    pub server: IpAddr,
    /// The name in the question.
    pub name: Arc<str>,
    /// Whether it asks for IPv6 addresses (AAAA) and not for IPv4 addresses (A).
    pub is_v6: bool,
}

/// The reason why a name has no address for a client.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoAddress {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists, and has no address of the family in the question.
    OtherFamily,
    /// The name server answered with this error code (RFC 1035, section 4.1.1).
    Failed(u8),
    /// The name server did not answer.
    NoAnswer,
}

/// A question that gave no address.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unresolved {
    /// The question; its packet is that of the answer if the question was not seen.
    pub question: Question,
    /// The packet with the answer, if there is one.
    pub answer: Option<PacketRef>,
    /// The reason why it gave no address.
    pub reason: NoAddress,
}

/// A message of a name server, or to one.
#[derive(Debug)]
pub enum NameMessage {
    /// A question for an address, with its identifier and the port of the client.
    Question(Question, QuestionId),
    /// An answer to such a question.
    Answer {
        /// Identifier of the question, and the port of the client.
        id: QuestionId,
        /// The addresses of the name.
        resolved: Option<Resolved>,
        /// The same question, and why it has no address, if it has none.
        unresolved: Option<Unresolved>,
    },
    /// Names that were announced (mDNS).
    Announced(Vec<Resolved>),
}

/// Port of the client, and the identifier that it gave to its question.
pub type QuestionId = (u16, u16);

/// The message in `datagram` about names that a host can have; `None` if it is malformed or about others.
///
/// # Limits
///
/// Reads datagrams of at most 4,096 bytes, 32 addresses of a name, and 16 names of an mDNS answer.
pub fn read(datagram: &UdpDatagram<'_>) -> Option<NameMessage> {
    let bytes = datagram.payload;
    // `simple-dns` allocates for the record counts in the header before it reads the records.
    if bytes.len() > MAX_DATAGRAM || !can_hold_its_records(bytes) {
        return None;
    }
    let packet = Packet::parse(bytes).ok()?;
    let is_response = packet.has_flags(PacketFlag::RESPONSE);
    if packet.opcode() != OPCODE::StandardQuery {
        return None;
    }
    let mark = PacketRef { frame: datagram.frame, at: datagram.at };
    if datagram.src.port == MDNS {
        let client = datagram.dst.ip.to_canonical();
        let client = (!client.is_multicast()).then_some(client);
        return is_response.then(|| NameMessage::Announced(mdns_answers(&packet, mark, client)));
    }
    let (client, server) =
        if is_response { (datagram.dst, datagram.src) } else { (datagram.src, datagram.dst) };
    let [asked] = packet.questions.as_slice() else { return None };
    let is_v6 = match asked.qtype {
        QTYPE::TYPE(TYPE::A) => false,
        QTYPE::TYPE(TYPE::AAAA) => true,
        _ => return None,
    };
    let name = text(&asked.qname)?;
    let client_ip = client.ip.to_canonical();
    let question = Question {
        mark,
        client: client_ip,
        server: server.ip.to_canonical(),
        name: Arc::clone(&name),
        is_v6,
    };
    let id = (client.port, packet.id());
    if !is_response {
        return Some(NameMessage::Question(question, id));
    }
    let ips = addresses(&packet, &asked.qname);
    let reason = match packet.rcode() {
        RCODE::NoError if ips.is_empty() && packet.has_flags(PacketFlag::TRUNCATION) => None,
        RCODE::NoError if ips.is_empty() => Some(NoAddress::OtherFamily),
        RCODE::NoError => None,
        RCODE::NameError => Some(NoAddress::NoSuchName),
        _ => bytes.get(3).map(|flags| NoAddress::Failed(flags & 0x0f)),
    };
    let unresolved = reason.map(|reason| Unresolved { question, answer: Some(mark), reason });
    // An empty answer only lacks the address family of the question. A name that does not exist is a fact.
    let resolved = match reason {
        None if !ips.is_empty() => Some(ips),
        Some(NoAddress::NoSuchName) => Some(Vec::new()),
        _ => None,
    };
    let resolved = resolved.map(|ips| Resolved { mark, client: Some(client_ip), name, ips });
    Some(NameMessage::Answer { id, resolved, unresolved })
}

/// A name that the host part of a node name can be, from `bytes`: letters, digits, `-` and `_` between dots.
pub fn host(bytes: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_label = |label: &str| {
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty() && label.bytes().all(fits)
    };
    (text.len() <= MAX_NAME && text.split('.').all(is_label)).then(|| text.into())
}

/// A name with the characters of a host name, and `*` as in a certificate, or `/` and `.` as in a protocol name.
pub fn host_characters(bytes: &[u8]) -> Option<Arc<str>> {
    let fits = |c: &u8| c.is_ascii_alphanumeric() || b"-_.*/:".contains(c);
    let is_name = !bytes.is_empty() && bytes.len() <= MAX_NAME && bytes.iter().all(fits);
    std::str::from_utf8(bytes).ok().filter(|_| is_name).map(Into::into)
}

/// A short text without control characters, such as the common name of a certificate.
pub fn printable(bytes: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_short = !text.is_empty() && text.len() <= MAX_NAME;
    (is_short && !text.chars().any(char::is_control)).then(|| text.into())
}

/// The addresses of `name`, or of the first name with addresses that it is an alias of.
fn addresses(packet: &Packet<'_>, name: &Name<'_>) -> Vec<IpAddr> {
    let mut owner = name;
    let mut ips = Vec::new();
    // The alias records may come in any order, and may form a loop.
    for _ in 0..MAX_ALIASES {
        ips.extend(packet.answers.iter().filter(|record| record.name == *owner).filter_map(ip));
        let alias = packet.answers.iter().find_map(|record| match &record.rdata {
            RData::CNAME(target) if record.name == *owner => Some(&target.0),
            _ => None,
        });
        match alias {
            Some(target) if ips.is_empty() => owner = target,
            _ => break,
        }
    }
    ips.truncate(MAX_ADDRESSES);
    ips
}

/// The names and addresses in an mDNS answer, of which each record is independent of the others.
fn mdns_answers(packet: &Packet<'_>, mark: PacketRef, client: Option<IpAddr>) -> Vec<Resolved> {
    let mut found: Vec<Resolved> = Vec::new();
    for record in packet.answers.iter().chain(&packet.additional_records) {
        let Some((ip, name)) = ip(record).zip(text(&record.name)) else { continue };
        if let Some(known) = found.iter_mut().find(|known| known.name == name) {
            if known.ips.len() < MAX_ADDRESSES {
                known.ips.push(ip);
            }
        } else if found.len() < MAX_NAMES {
            found.push(Resolved { mark, client, name, ips: vec![ip] });
        }
    }
    found
}

fn ip(record: &ResourceRecord<'_>) -> Option<IpAddr> {
    match &record.rdata {
        _ if record.class != CLASS::IN => None,
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    }
}

fn text(name: &Name<'_>) -> Option<Arc<str>> {
    host(&name.as_bytes().collect::<Vec<_>>().join(&b'.'))
}

/// Whether `bytes` can hold the numbers of questions and records in its header.
fn can_hold_its_records(bytes: &[u8]) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<12>() else { return false };
    let &[_, _, _, _, q0, q1, a0, a1, n0, n1, x0, x1] = header;
    let count = |high, low| usize::from(u16::from_be_bytes([high, low]));
    let records = count(a0, a1) + count(n0, n1) + count(x0, x1);
    count(q0, q1) * MIN_QUESTION + records * MIN_RECORD <= rest.len()
}

/// The largest UDP payload that resolvers commonly advertise (EDNS). The time to parse a hostile datagram grows with
/// the square of its length.
const MAX_DATAGRAM: usize = 4096;

/// The longest name in DNS, in bytes.
const MAX_NAME: usize = 255;

/// Length of a chain of aliases; resolvers give up at about the same length.
const MAX_ALIASES: usize = 16;

/// Addresses of one name: more than the load-balanced name of a cluster has.
const MAX_ADDRESSES: usize = 32;

/// Names in one mDNS answer, which has those of the host itself and of services that it knows.
const MAX_NAMES: usize = 16;

/// Length of the shortest question: an empty name, type and class.
const MIN_QUESTION: usize = 5;

/// Length of the shortest record: an empty name, type, class, time to live and data length.
const MIN_RECORD: usize = 11;

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, AAAA, CNAME};
    use simple_dns::{QCLASS, Question};

    use super::*;
    use crate::decode::Endpoint;
    use crate::packet::FrameRef;
    use crate::time::Timestamp;

    const CLIENT: &str = "10.0.0.1";

    fn name(text: &str) -> Name<'_> {
        Name::new_unchecked(text)
    }

    fn record<'a>(owner: &'a str, rdata: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(name(owner), CLASS::IN, 60, rdata)
    }

    fn a(owner: &str, last: u8) -> ResourceRecord<'_> {
        record(owner, RData::A(A { address: u32::from_be_bytes([10, 0, 0, last]) }))
    }

    fn alias<'a>(owner: &'a str, target: &'a str) -> ResourceRecord<'a> {
        record(owner, RData::CNAME(CNAME(name(target))))
    }

    fn reply<'a>(question: Option<&'a str>, answers: Vec<ResourceRecord<'a>>) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        packet.questions.extend(question.map(|question| {
            Question::new(name(question), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false)
        }));
        packet.answers = answers;
        packet
    }

    fn message(bytes: &[u8], port: u16, dst: &str) -> Option<NameMessage> {
        super::read(&UdpDatagram {
            frame: FrameRef { input: 0, number: 5 },
            at: Timestamp::new(1, 0),
            src: Endpoint { ip: "10.0.0.53".parse().unwrap(), port },
            dst: Endpoint { ip: dst.parse().unwrap(), port: 40_000 },
            payload: bytes,
        })
    }

    fn read(bytes: &[u8], port: u16, dst: &str) -> Vec<Resolved> {
        match message(bytes, port, dst) {
            None | Some(NameMessage::Question(..)) => Vec::new(),
            Some(NameMessage::Answer { resolved, .. }) => resolved.into_iter().collect(),
            Some(NameMessage::Announced(all)) => all,
        }
    }

    /// The reason why an answer has no address.
    fn reason(packet: &Packet<'_>) -> Option<NoAddress> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        match message(&bytes, 53, CLIENT)? {
            NameMessage::Answer { id: (40_000, 7), unresolved, .. } => Some(unresolved?.reason),
            other => panic!("{other:?}"),
        }
    }

    /// Names and addresses in a DNS answer to the client.
    fn resolved_names(packet: &Packet<'_>) -> Vec<(String, Vec<String>)> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        let text = |found: Resolved| {
            assert_eq!(found.client, Some(CLIENT.parse().unwrap()));
            (found.name.to_string(), found.ips.iter().map(ToString::to_string).collect())
        };
        read(&bytes, 53, CLIENT).into_iter().map(text).collect()
    }

    fn one(name: &str, ips: &[&str]) -> Vec<(String, Vec<String>)> {
        vec![(name.to_owned(), ips.iter().map(|ip| (*ip).to_owned()).collect())]
    }

    #[test]
    fn the_name_in_the_question_gets_the_addresses_at_the_end_of_its_aliases() {
        let direct = reply(Some("Two.example.lan"), vec![a("two.example.lan", 2)]);
        assert_eq!(resolved_names(&direct), one("Two.example.lan", &["10.0.0.2"]));
        let last_first = vec![a("c.lan", 3), alias("b.lan", "c.lan"), alias("a.lan", "b.lan")];
        assert_eq!(resolved_names(&reply(Some("a.lan"), last_first)), one("a.lan", &["10.0.0.3"]));
        let bytes = std::net::Ipv6Addr::LOCALHOST.into();
        let aaaa = record("six.lan", RData::AAAA(AAAA { address: bytes }));
        assert_eq!(resolved_names(&reply(Some("six.lan"), vec![aaaa])), one("six.lan", &["::1"]));
    }

    #[test]
    fn addresses_of_other_names_are_ignored() {
        let circle = vec![alias("a.lan", "b.lan"), alias("b.lan", "a.lan"), a("c.lan", 3)];
        for answers in [circle, vec![a("b.lan", 2)], Vec::new()] {
            assert_eq!(resolved_names(&reply(Some("a.lan"), answers)), []);
        }
    }

    #[test]
    fn a_missing_name_has_no_addresses_and_a_server_failure_gives_no_answer() {
        let mut packet = reply(Some("two.svc"), Vec::new());
        assert_eq!(reason(&packet), Some(NoAddress::OtherFamily));
        packet.set_flags(PacketFlag::TRUNCATION);
        assert_eq!(reason(&packet), None, "the client asks again over TCP");
        packet.remove_flags(PacketFlag::TRUNCATION);
        *packet.rcode_mut() = RCODE::NameError;
        assert_eq!(resolved_names(&packet), one("two.svc", &[]));
        assert_eq!(reason(&packet), Some(NoAddress::NoSuchName));
        *packet.rcode_mut() = RCODE::ServerFailure;
        assert_eq!(resolved_names(&packet), []);
        assert_eq!(reason(&packet), Some(NoAddress::Failed(2)));
        assert_eq!(reason(&reply(Some("two.lan"), vec![a("two.lan", 2)])), None);
    }

    #[test]
    fn a_question_has_its_client_its_server_and_its_family() {
        let mut packet = reply(Some("Two.lan"), Vec::new());
        packet.remove_flags(PacketFlag::RESPONSE);
        let bytes = packet.build_bytes_vec().unwrap();
        let Some(NameMessage::Question(question, id)) = message(&bytes, 50_000, CLIENT) else {
            panic!()
        };
        assert_eq!((question.client.to_string(), id), ("10.0.0.53".to_owned(), (50_000, 7)));
        assert_eq!((question.server.to_string(), &*question.name), (CLIENT.into(), "Two.lan"));
        assert!(!question.is_v6);
    }

    #[test]
    fn only_answers_to_a_single_address_question_count() {
        let mut query = reply(Some("a.lan"), vec![a("a.lan", 2)]);
        query.remove_flags(PacketFlag::RESPONSE);
        let none = reply(None, vec![a("a.lan", 2)]);
        let mut text = reply(Some("a.lan"), vec![a("a.lan", 2)]);
        text.questions[0].qtype = QTYPE::TYPE(TYPE::TXT);
        for packet in [query, none, text] {
            assert_eq!(resolved_names(&packet), []);
        }
    }

    #[test]
    fn a_multicast_answer_has_no_client() {
        let bytes = reply(None, vec![a("two.local", 2), a("two.local", 3), a("x.local", 4)])
            .build_bytes_vec()
            .unwrap();
        for (dst, client) in [("224.0.0.251", None), ("ff02::fb", None), (CLIENT, Some(CLIENT))] {
            let found = read(&bytes, 5353, dst);
            assert_eq!(found.len(), 2, "{dst}");
            assert_eq!((&*found[0].name, found[0].ips.len()), ("two.local", 2));
            assert_eq!(found[0].client, client.map(|ip| ip.parse().unwrap()), "{dst}");
        }
    }

    #[test]
    fn names_that_no_host_can_have_are_dropped() {
        for wrong in ["", ".", "a..b", "a b", "a@b", "\u{e9}.lan", "\u{1b}[2J", &"a".repeat(256)] {
            assert_eq!(host(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(host(b"my_node-1.example.lan").as_deref(), Some("my_node-1.example.lan"));
        assert_eq!(host(b"\xff.lan"), None);
    }

    #[test]
    fn an_answer_yields_no_more_than_its_bounds() {
        let many = vec![a("a.lan", 9); MAX_ADDRESSES + 1];
        assert_eq!(resolved_names(&reply(Some("a.lan"), many.clone()))[0].1.len(), MAX_ADDRESSES);
        let names: Vec<_> = (0..MAX_NAMES + 1).map(|n| format!("h{n}.local")).collect();
        let all = many.into_iter().chain(names.iter().map(|name| a(name, 1))).collect();
        let found = read(&reply(None, all).build_bytes_vec_compressed().unwrap(), 5353, CLIENT);
        assert_eq!((found.len(), found[0].ips.len()), (MAX_NAMES, MAX_ADDRESSES));
    }

    #[test]
    fn record_counts_beyond_the_datagram_allocate_nothing() {
        let mut header = [0; 12];
        header[2] = 0x80;
        header[4..].fill(0xff);
        assert!(!can_hold_its_records(&header));
        assert_eq!(read(&header, 53, CLIENT), []);
    }

    #[test]
    fn a_compression_pointer_to_itself_terminates() {
        let mut bytes = reply(Some("a.lan"), vec![a("a.lan", 2)]).build_bytes_vec().unwrap();
        let owner = 12 + 7 + 4;
        for pointer in [owner, owner + 1, 12, 0x3fff] {
            let [high, low] = u16::try_from(0xc000 | pointer).unwrap().to_be_bytes();
            bytes[owner..owner + 2].copy_from_slice(&[high, low]);
            assert!(read(&bytes, 53, CLIENT).len() <= 1);
        }
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut answer = reply(Some("a.lan"), vec![alias("a.lan", "b.lan"), a("b.lan", 2)]);
        answer.additional_records = vec![a("c.local", 4)];
        let whole = answer.build_bytes_vec_compressed().unwrap();
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random(6) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            bytes.truncate(bytes.len() - random(8));
            for port in [53, 5353] {
                for found in read(&bytes, port, CLIENT) {
                    assert!(found.name.len() <= MAX_NAME && found.ips.len() <= MAX_ADDRESSES);
                }
            }
        }
    }

    /// The names consist of compression pointers alone, and parsing each record follows all of them.
    #[test]
    fn the_longest_chain_of_pointers_is_parsed_in_bounded_time() {
        let mut bytes = vec![0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // A record of an unknown type whose data are pointers, each to the one before.
        let records = 170_u16;
        bytes[6..8].copy_from_slice(&records.to_be_bytes());
        let chain = 1000_u16;
        bytes.truncate(12);
        bytes.extend([0, 0xff, 0x00, 0, 1, 0, 0, 0, 0]);
        bytes.extend((2 * chain).to_be_bytes());
        let mut previous = 12_u16;
        for _ in 0..chain {
            let here = u16::try_from(bytes.len()).unwrap();
            bytes.extend((0xc000 | previous).to_be_bytes());
            previous = here;
        }
        for _ in 1..records {
            bytes.extend((0xc000 | previous).to_be_bytes());
            bytes.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        assert!(bytes.len() <= MAX_DATAGRAM, "{}", bytes.len());
        for _ in 0..20 {
            assert_eq!(read(&bytes, 53, CLIENT), []);
        }
        bytes.resize(MAX_DATAGRAM + 1, 0);
        assert_eq!(read(&bytes, 53, CLIENT), []);
    }
}
