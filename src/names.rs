//! Stage 3, beside [`identify`](crate::identify): names of addresses.
//!
//! In: datagrams of name servers, and names as the makers of a capture wrote them. Out: [`Resolved`], who
//! was told which addresses a name has. Knows no connection. The only door to `simple-dns`.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::decode::{MDNS, UdpDatagram};
use crate::packet::PacketRef;

/// What a name server answered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resolved {
    /// The answer.
    pub mark: PacketRef,
    /// Who asked; `None` where all hear the answer (mDNS).
    pub client: Option<IpAddr>,
    /// The name asked for, as asked: what it is an alias of counts for its addresses alone.
    pub name: Arc<str>,
    /// Its addresses; none when there is no such name.
    pub ips: Vec<IpAddr>,
}

/// What `datagram` says about names that a host can have; nothing when it is malformed.
///
/// # Limits
///
/// Datagrams of 4,096 bytes, 32 addresses a name, 16 names of an mDNS answer.
pub fn resolved(datagram: &UdpDatagram<'_>) -> Vec<Resolved> {
    let bytes = datagram.payload;
    // The crate makes room for as many records as the header tells, whatever comes.
    if bytes.len() > MAX_DATAGRAM || !has_room_for_its_records(bytes) {
        return Vec::new();
    }
    let Ok(packet) = Packet::parse(bytes) else { return Vec::new() };
    if !packet.has_flags(PacketFlag::RESPONSE) || packet.opcode() != OPCODE::StandardQuery {
        return Vec::new();
    }
    let mark = PacketRef { frame: datagram.frame, at: datagram.at };
    let client = datagram.dst.ip.to_canonical();
    if datagram.src.port == MDNS {
        let client = (!client.is_multicast()).then_some(client);
        return announced(&packet, mark, client);
    }
    let [question] = packet.questions.as_slice() else { return Vec::new() };
    if !matches!(question.qtype, QTYPE::TYPE(TYPE::A | TYPE::AAAA)) {
        return Vec::new();
    }
    let ips = match packet.rcode() {
        RCODE::NoError => addresses(&packet, &question.qname),
        RCODE::NameError => Vec::new(),
        _ => return Vec::new(),
    };
    // A name without addresses of the kind asked for is no news, one that does not exist is.
    if ips.is_empty() && packet.rcode() == RCODE::NoError {
        return Vec::new();
    }
    let Some(name) = text(&question.qname) else { return Vec::new() };
    vec![Resolved { mark, client: Some(client), name, ips }]
}

/// A name as a host part can be, out of `bytes`: letters, digits, `-` and `_` between dots.
pub fn host(bytes: &[u8]) -> Option<Arc<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_label = |label: &str| {
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        !label.is_empty() && label.bytes().all(fits)
    };
    (text.len() <= MAX_NAME && text.split('.').all(is_label)).then(|| text.into())
}

/// The addresses of `name` and of what it is an alias of.
fn addresses(packet: &Packet<'_>, name: &Name<'_>) -> Vec<IpAddr> {
    let mut owner = name;
    let mut ips = Vec::new();
    // The records of an alias may come in any order, and go round in a circle.
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

/// What an mDNS answer says: each record stands for itself.
fn announced(packet: &Packet<'_>, mark: PacketRef, client: Option<IpAddr>) -> Vec<Resolved> {
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

/// Whether `bytes` can hold as many questions and records as the header tells.
fn has_room_for_its_records(bytes: &[u8]) -> bool {
    let Some((header, rest)) = bytes.split_first_chunk::<12>() else { return false };
    let &[_, _, _, _, q0, q1, a0, a1, n0, n1, x0, x1] = header;
    let count = |high, low| usize::from(u16::from_be_bytes([high, low]));
    let records = count(a0, a1) + count(n0, n1) + count(x0, x1);
    count(q0, q1) * MIN_QUESTION + records * MIN_RECORD <= rest.len()
}

/// As many bytes as resolvers ask for at most by habit (EDNS); a hostile one costs time that grows with
/// the square of its length.
const MAX_DATAGRAM: usize = 4096;

/// The longest name that DNS has.
const MAX_NAME: usize = 255;

/// Aliases of aliases; resolvers give up at about as many.
const MAX_ALIASES: usize = 16;

/// Addresses of one name: more than a service in front of a cluster has.
const MAX_ADDRESSES: usize = 32;

/// Names in one mDNS answer: a host announces itself and what it found.
const MAX_NAMES: usize = 16;

/// A name of no label, type and class.
const MIN_QUESTION: usize = 5;

/// A name of no label, type, class, time to live and length.
const MIN_RECORD: usize = 11;

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, AAAA, CNAME};
    use simple_dns::{QCLASS, Question};

    use super::*;
    use crate::decode::Endpoint;
    use crate::packet::FrameRef;
    use crate::time::Timestamp;

    const ASKER: &str = "10.0.0.1";

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

    fn reply<'a>(asked: Option<&'a str>, answers: Vec<ResourceRecord<'a>>) -> Packet<'a> {
        let mut packet = Packet::new_reply(7);
        packet.questions.extend(asked.map(|asked| {
            Question::new(name(asked), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false)
        }));
        packet.answers = answers;
        packet
    }

    fn read(bytes: &[u8], port: u16, dst: &str) -> Vec<Resolved> {
        resolved(&UdpDatagram {
            frame: FrameRef { input: 0, number: 5 },
            at: Timestamp::new(1, 0),
            src: Endpoint { ip: "10.0.0.53".parse().unwrap(), port },
            dst: Endpoint { ip: dst.parse().unwrap(), port: 40_000 },
            payload: bytes,
        })
    }

    /// Names and addresses that an answer of DNS gives.
    fn told(packet: &Packet<'_>) -> Vec<(String, Vec<String>)> {
        let bytes = packet.build_bytes_vec_compressed().unwrap();
        let text = |found: Resolved| {
            assert_eq!(found.client, Some(ASKER.parse().unwrap()));
            (found.name.to_string(), found.ips.iter().map(ToString::to_string).collect())
        };
        read(&bytes, 53, ASKER).into_iter().map(text).collect()
    }

    fn one(name: &str, ips: &[&str]) -> Vec<(String, Vec<String>)> {
        vec![(name.to_owned(), ips.iter().map(|ip| (*ip).to_owned()).collect())]
    }

    #[test]
    fn the_name_asked_for_gets_the_addresses_at_the_end_of_its_aliases() {
        let direct = reply(Some("Two.example.lan"), vec![a("two.example.lan", 2)]);
        assert_eq!(told(&direct), one("Two.example.lan", &["10.0.0.2"]));
        let last_first = vec![a("c.lan", 3), alias("b.lan", "c.lan"), alias("a.lan", "b.lan")];
        assert_eq!(told(&reply(Some("a.lan"), last_first)), one("a.lan", &["10.0.0.3"]));
        let bytes = std::net::Ipv6Addr::LOCALHOST.into();
        let aaaa = record("six.lan", RData::AAAA(AAAA { address: bytes }));
        assert_eq!(told(&reply(Some("six.lan"), vec![aaaa])), one("six.lan", &["::1"]));
    }

    #[test]
    fn an_address_of_another_name_is_none_of_the_one_asked_for() {
        let circle = vec![alias("a.lan", "b.lan"), alias("b.lan", "a.lan"), a("c.lan", 3)];
        for answers in [circle, vec![a("b.lan", 2)], Vec::new()] {
            assert_eq!(told(&reply(Some("a.lan"), answers)), []);
        }
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_address_and_one_that_failed_is_not_told() {
        let mut packet = reply(Some("two.svc"), Vec::new());
        *packet.rcode_mut() = RCODE::NameError;
        assert_eq!(told(&packet), one("two.svc", &[]));
        *packet.rcode_mut() = RCODE::ServerFailure;
        assert_eq!(told(&packet), []);
    }

    #[test]
    fn only_answers_to_one_question_about_an_address_count() {
        let mut query = reply(Some("a.lan"), vec![a("a.lan", 2)]);
        query.remove_flags(PacketFlag::RESPONSE);
        let none = reply(None, vec![a("a.lan", 2)]);
        let mut text = reply(Some("a.lan"), vec![a("a.lan", 2)]);
        text.questions[0].qtype = QTYPE::TYPE(TYPE::TXT);
        for packet in [query, none, text] {
            assert_eq!(told(&packet), []);
        }
    }

    #[test]
    fn what_all_hear_has_no_client() {
        let bytes = reply(None, vec![a("two.local", 2), a("two.local", 3), a("x.local", 4)])
            .build_bytes_vec()
            .unwrap();
        for (dst, client) in [("224.0.0.251", None), ("ff02::fb", None), (ASKER, Some(ASKER))] {
            let found = read(&bytes, 5353, dst);
            assert_eq!(found.len(), 2, "{dst}");
            assert_eq!((&*found[0].name, found[0].ips.len()), ("two.local", 2));
            assert_eq!(found[0].client, client.map(|ip| ip.parse().unwrap()), "{dst}");
        }
    }

    #[test]
    fn names_that_no_host_can_have_are_not_kept() {
        for wrong in ["", ".", "a..b", "a b", "a@b", "\u{e9}.lan", "\u{1b}[2J", &"a".repeat(256)] {
            assert_eq!(host(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(host(b"my_node-1.example.lan").as_deref(), Some("my_node-1.example.lan"));
        assert_eq!(host(b"\xff.lan"), None);
    }

    #[test]
    fn an_answer_gives_no_more_than_its_bounds() {
        let many = vec![a("a.lan", 9); MAX_ADDRESSES + 1];
        assert_eq!(told(&reply(Some("a.lan"), many.clone()))[0].1.len(), MAX_ADDRESSES);
        let names: Vec<_> = (0..MAX_NAMES + 1).map(|n| format!("h{n}.local")).collect();
        let all = many.into_iter().chain(names.iter().map(|name| a(name, 1))).collect();
        let found = read(&reply(None, all).build_bytes_vec_compressed().unwrap(), 5353, ASKER);
        assert_eq!((found.len(), found[0].ips.len()), (MAX_NAMES, MAX_ADDRESSES));
    }

    #[test]
    fn counts_beyond_the_datagram_cost_no_room() {
        let mut header = [0; 12];
        header[2] = 0x80;
        header[4..].fill(0xff);
        assert!(!has_room_for_its_records(&header));
        assert_eq!(read(&header, 53, ASKER), []);
    }

    #[test]
    fn a_name_that_points_to_itself_ends() {
        let mut bytes = reply(Some("a.lan"), vec![a("a.lan", 2)]).build_bytes_vec().unwrap();
        let owner = 12 + 7 + 4;
        for pointer in [owner, owner + 1, 12, 0x3fff] {
            let [high, low] = u16::try_from(0xc000 | pointer).unwrap().to_be_bytes();
            bytes[owner..owner + 2].copy_from_slice(&[high, low]);
            assert!(read(&bytes, 53, ASKER).len() <= 1);
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
        let mut rich = reply(Some("a.lan"), vec![alias("a.lan", "b.lan"), a("b.lan", 2)]);
        rich.additional_records = vec![a("c.local", 4)];
        let whole = rich.build_bytes_vec_compressed().unwrap();
        for _ in 0..50_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random(6) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            bytes.truncate(bytes.len() - random(8));
            for port in [53, 5353] {
                for found in read(&bytes, port, ASKER) {
                    assert!(found.name.len() <= MAX_NAME && found.ips.len() <= MAX_ADDRESSES);
                }
            }
        }
    }

    /// Names made of nothing but pointers: each record walks them all.
    #[test]
    fn the_longest_chain_of_pointers_is_soon_read() {
        let mut bytes = vec![0, 7, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // A record without meaning whose data are pointers, each to the one before.
        let records = 170_u16;
        bytes[6..8].copy_from_slice(&records.to_be_bytes());
        let chain = 1000_u16;
        bytes.truncate(12);
        bytes.extend([0, 0xff, 0x00, 0, 1, 0, 0, 0, 0]);
        bytes.extend((2 * chain).to_be_bytes());
        let mut before = 12_u16;
        for _ in 0..chain {
            let here = u16::try_from(bytes.len()).unwrap();
            bytes.extend((0xc000 | before).to_be_bytes());
            before = here;
        }
        for _ in 1..records {
            bytes.extend((0xc000 | before).to_be_bytes());
            bytes.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        assert!(bytes.len() <= MAX_DATAGRAM, "{}", bytes.len());
        for _ in 0..20 {
            assert_eq!(read(&bytes, 53, ASKER), []);
        }
        bytes.resize(MAX_DATAGRAM + 1, 0);
        assert_eq!(read(&bytes, 53, ASKER), []);
    }
}
