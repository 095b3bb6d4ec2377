//! Messages of DNS and mDNS: names and addresses are replaced where they are, so lengths and pointers stay.

use std::net::IpAddr;

use super::edit::{byte, keep, number2, part, put};
use super::pseudonyms::Pseudonyms;

/// Replaces a message. What cannot be read is zero.
pub(super) fn message(body: &[u8], names: &mut Pseudonyms) -> Vec<u8> {
    let mut out = vec![0; body.len()];
    keep(&mut out, body, 0, HEADER);
    // `None` ends a message that is cut short or malformed.
    let _ = sections(body, &mut out, names);
    out
}

fn sections(body: &[u8], out: &mut [u8], names: &mut Pseudonyms) -> Option<()> {
    let mut at = HEADER;
    for _ in 0..number2(body, 4)? {
        at = name(body, at, out, names)?;
        keep(out, body, at, 4);
        at += 4;
    }
    let records = [6, 8, 10].map(|at| number2(body, at).map_or(0, u32::from));
    for _ in 0..records.iter().sum() {
        at = name(body, at, out, names)?;
        let (kind, len) = (number2(body, at)?, usize::from(number2(body, at + 8)?));
        keep(out, body, at, 10);
        at += 10;
        let value = part(body, at, len)?;
        match kind {
            A => {
                if let Ok(ip) = <[u8; 4]>::try_from(value) {
                    put(out, at, &names.v4(ip));
                }
            }
            AAAA => {
                if let Ok(ip) = <[u8; 16]>::try_from(value) {
                    put(out, at, &names.v6(ip));
                }
            }
            NS | CNAME | PTR | DNAME => {
                name(body, at, out, names);
            }
            MX => {
                keep(out, body, at, 2);
                name(body, at + 2, out, names);
            }
            SRV => {
                keep(out, body, at, 4);
                if let Some(port) = number2(value, 4) {
                    put(out, at + 4, &names.port(port).to_be_bytes());
                }
                name(body, at + 6, out, names);
            }
            SOA => {
                let next = name(body, at, out, names)?;
                let next = name(body, next, out, names)?;
                keep(out, body, next, 20);
            }
            _ => {}
        }
        at += len;
    }
    Some(())
}

/// Replaces the labels of the name at `at`; gives the position behind it. Labels behind a pointer belong to another
/// name, which has them replaced alike.
fn name(body: &[u8], start: usize, out: &mut [u8], names: &mut Pseudonyms) -> Option<usize> {
    let mut labels: Vec<(usize, &[u8])> = Vec::new();
    let (mut at, mut end, mut own) = (start, None, 0);
    for _ in 0..MOST_LABELS {
        match byte(body, at)? {
            0 => {
                if end.is_none() {
                    end = Some(at + 1);
                    own = labels.len();
                }
                break;
            }
            len @ 1..=63 => {
                labels.push((at + 1, part(body, at + 1, len.into())?));
                at += 1 + usize::from(len);
            }
            high @ 0xc0.. => {
                if end.is_none() {
                    keep(out, body, at, 2);
                    end = Some(at + 2);
                    own = labels.len();
                }
                at = usize::from(high & 0x3f) << 8 | usize::from(byte(body, at + 1)?);
            }
            _ => return None,
        }
    }
    let end = end?;
    let replaced = reversed(&labels, names);
    for (index, (at, label)) in labels.iter().take(own).enumerate() {
        keep(out, body, at - 1, 1);
        let new = match replaced.as_ref().and_then(|all| all.get(index)) {
            Some(new) => new.clone(),
            None => {
                let mut new = Vec::new();
                names.words(label, &mut new);
                new
            }
        };
        put(out, *at, &new);
    }
    Some(end)
}

/// The labels of a name of an address, such as `1.0.0.10.in-addr.arpa`, that are replaced as the address is.
fn reversed(labels: &[(usize, &[u8])], names: &mut Pseudonyms) -> Option<Vec<Vec<u8>>> {
    // A host that was given as an address, and was looked up as a name.
    if let [a, b, c, d] = labels {
        let parts = [a, b, c, d].map(|(_, label)| std::str::from_utf8(label).ok()?.parse().ok());
        if let [Some(a), Some(b), Some(c), Some(d)] = parts {
            let all: Vec<_> =
                names.v4([a, b, c, d]).iter().map(|it| it.to_string().into_bytes()).collect();
            return fits(&all, labels).then_some(all);
        }
    }
    let (head, zone) = labels.split_at_checked(labels.len().checked_sub(2)?)?;
    let mut texts = head.iter().map(|(_, label)| std::str::from_utf8(label));
    let zone: Vec<_> = zone.iter().map(|(_, label)| label.to_ascii_lowercase()).collect();
    let rest = ["", "arpa"].map(|it| it.as_bytes().to_vec());
    match zone.first().map(Vec::as_slice)? {
        b"in-addr" if zone.last() == rest.last() && (1..=4).contains(&head.len()) => {
            let mut address = [0; 4];
            let parts: Option<Vec<u8>> = texts.by_ref().map(|it| it.ok()?.parse().ok()).collect();
            address.iter_mut().zip(parts?.iter().rev()).for_each(|(to, from)| *to = *from);
            let new = names.v4(address);
            let mut all: Vec<_> =
                new.iter().take(head.len()).rev().map(|it| it.to_string().into_bytes()).collect();
            // The zone stays.
            all.extend(labels.iter().skip(head.len()).map(|(_, label)| label.to_vec()));
            fits(&all, labels).then_some(all)
        }
        b"ip6" if zone.last() == rest.last() && head.len() == 32 => {
            let digits: String = texts.by_ref().filter_map(Result::ok).collect::<Vec<_>>().concat();
            let digits: String = digits.chars().rev().collect();
            let number = u128::from_str_radix(&digits, 16).ok()?;
            let IpAddr::V6(new) = names.ip(IpAddr::from(number.to_be_bytes())) else { return None };
            let digits = format!("{:032x}", u128::from(new));
            let mut all: Vec<_> = digits.bytes().rev().map(|digit| vec![digit]).collect();
            all.extend(labels.iter().skip(head.len()).map(|(_, label)| label.to_vec()));
            fits(&all, labels).then_some(all)
        }
        _ => None,
    }
}

fn fits(new: &[Vec<u8>], labels: &[(usize, &[u8])]) -> bool {
    new.len() == labels.len()
        && new.iter().zip(labels).all(|(new, (_, old))| new.len() == old.len())
}

const HEADER: usize = 12;

/// Labels of one name, those behind pointers included; a name has at most 127.
const MOST_LABELS: usize = 160;

// Types of records (IANA, "Domain Name System (DNS) Parameters").
const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
const MX: u16 = 15;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const DNAME: u16 = 39;
