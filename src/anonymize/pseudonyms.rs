//! ReplacementTable of names, addresses, ports, challenges and digests.
//!
//! In: a name or a number of the capture. Out: its replacement, the same one for each occurrence in a run. The key is
//! random and is forgotten with the run, so nothing leads back from a replacement.
//!
//! A replacement has the length of the original, also as text: an address with three digits in a part gets three
//! digits. Parts of names and of addresses are replaced one by one, so names of one host keep one host, and addresses
//! of one network keep one network.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use foldhash::fast::RandomState as FastState;
use hashbrown::{HashMap, HashSet};

/// A hash map of keys that a capture chooses.
type Table<K, V> = HashMap<K, V, FastState>;

/// The replacements of one run.
pub(super) struct Pseudonyms {
    key: RandomState,
    words: ReplacementTable<Box<[u8]>>,
    v4_parts: ReplacementTable<AddressPrefix<4, u8>>,
    v6_groups: ReplacementTable<AddressPrefix<8, u16>>,
    ports: ReplacementTable<u16>,
    /// Ports that stay as they are, beside the ones that every host has.
    kept_ports: HashSet<u16, FastState>,
}

/// The first parts of an address; the others are zero.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct AddressPrefix<const N: usize, T> {
    parts: [T; N],
    len: usize,
}

/// ReplacementTable that were chosen, each used once.
struct ReplacementTable<K> {
    of: Table<K, K>,
    used: HashSet<K, FastState>,
    /// Originals, those of an earlier pass included: what is one of them is no good replacement.
    originals: HashSet<K, FastState>,
}

impl<K: Clone + Eq + std::hash::Hash> ReplacementTable<K> {
    fn new() -> Self {
        Self { of: Table::default(), used: HashSet::default(), originals: HashSet::default() }
    }

    /// The replacement of `original`: one that was chosen, or the first candidate that is free. Without a candidate
    /// that is free, the original stays.
    fn get(&mut self, original: &K, candidates: impl Iterator<Item = K>) -> K {
        if let Some(known) = self.of.get(original) {
            return known.clone();
        }
        if self.originals.len() < MOST_ORIGINALS {
            self.originals.insert(original.clone());
        }
        let mut second = None;
        let mut chosen = None;
        for candidate in candidates {
            if candidate == *original || self.used.contains(&candidate) {
                continue;
            }
            if !self.originals.contains(&candidate) {
                chosen = Some(candidate);
                break;
            }
            second.get_or_insert(candidate);
        }
        let chosen = chosen.or(second).unwrap_or_else(|| original.clone());
        if self.of.len() < MOST_ORIGINALS {
            self.of.insert(original.clone(), chosen.clone());
            self.used.insert(chosen.clone());
        }
        chosen
    }

    fn forget(&mut self) {
        self.of.clear();
        self.used.clear();
    }

    fn set(&mut self, original: K, new: K) {
        self.used.insert(new.clone());
        self.of.insert(original, new);
    }
}

impl Pseudonyms {
    pub(super) fn new(kept_ports: impl IntoIterator<Item = u16>) -> Self {
        Self {
            key: RandomState::new(),
            words: ReplacementTable::new(),
            v4_parts: ReplacementTable::new(),
            v6_groups: ReplacementTable::new(),
            ports: ReplacementTable::new(),
            kept_ports: kept_ports.into_iter().collect(),
        }
    }

    /// Chooses anew, and keeps what was seen: no replacement is then a name or an address of the capture.
    pub(super) fn choose_anew(&mut self) {
        self.words.forget();
        self.v4_parts.forget();
        self.v6_groups.forget();
        self.ports.forget();
        self.keep_order();
    }

    /// Chooses replacements of all addresses and ports that were seen, in the same order as these: the lower of two stays
    /// the lower one. The analysis takes the sides of a connection in that order where nothing else shows who dialed.
    fn keep_order(&mut self) {
        let random = |kind: u8, what: &[u8], count: u32| self.key.hash_one((kind, what, count));
        let of_v4 = PartClasses {
            is_alike: |base: &[u8; 4], len, a: u8, b: u8| {
                let class = |part: u8| (digits(part.into()), part_class(base, len, part));
                class(a) == class(b)
            },
            range: |_, part: u8| match digits(part.into()) {
                1 => (0, 9),
                2 => (10, 99),
                _ => (100, 255),
            },
        };
        choose_parts(&mut self.v4_parts, &of_v4, |what, count| random(12, what, count));
        let of_v6 = PartClasses {
            is_alike: |_: &[u16; 8], len, a: u16, b: u16| {
                group_range(len, a) == group_range(len, b)
            },
            range: group_range,
        };
        choose_parts(&mut self.v6_groups, &of_v6, |what, count| random(13, what, count));
        let kept = &self.kept_ports;
        let mut ports: Vec<u16> = self.ports.originals.iter().copied().collect();
        ports.sort_unstable();
        for group in ports.chunk_by(|a, b| port_ranges(*a).0 == port_ranges(*b).0) {
            let Some((all, first)) = group.first().map(|port| port_ranges(*port)) else { continue };
            let free = |(low, high): (u16, u16)| -> Vec<u16> {
                let is_free = |port: &u16| {
                    !KEPT_PORTS.contains(port)
                        && !kept.contains(port)
                        && !self.ports.originals.contains(port)
                };
                (low..=high).filter(is_free).collect()
            };
            let mut candidates = free(first);
            if candidates.len() < group.len() {
                candidates = free(all);
            }
            let new = sample(candidates, group.len(), |count| random(14, &[], count));
            // Where there are too few, ports are chosen one by one.
            if new.len() == group.len() {
                group.iter().zip(new).for_each(|(port, new)| self.ports.set(*port, new));
            }
        }
    }

    /// A number that depends on the key and on `what`.
    fn random(&self, kind: u8, what: &[u8], count: u32) -> u64 {
        self.key.hash_one((kind, what, count))
    }

    /// The replacement of an IP address.
    pub(super) fn ip(&mut self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(ip) => Ipv4Addr::from(self.v4(ip.octets())).into(),
            IpAddr::V6(ip) => Ipv6Addr::from(self.v6(ip.octets())).into(),
        }
    }

    /// The replacements of two addresses.
    pub(super) fn pair(&mut self, ips: [IpAddr; 2]) -> [IpAddr; 2] {
        ips.map(|ip| self.ip(ip))
    }

    /// The replacement of a name of an address.
    pub(super) fn name_of_host(&mut self, name: &[u8]) -> Box<[u8]> {
        let is_node = name.contains(&b'@');
        if is_node { self.name(name) } else { self.host(name) }.into()
    }

    /// The replacement of an IPv4 address. Loopback, multicast, broadcast and unspecified addresses stay; the others
    /// keep the class, such as private or link-local.
    pub(super) fn v4(&mut self, address: [u8; 4]) -> [u8; 4] {
        if matches!(address, [0 | 127 | 224.., ..]) {
            return address;
        }
        let mut new = AddressPrefix { parts: [0; 4], len: 0 };
        for len in 1..=4 {
            let Some(part) = address.get(len - 1).copied() else { continue };
            let mut old = [0; 4];
            old.iter_mut().zip(address).take(len).for_each(|(to, from)| *to = from);
            let old = AddressPrefix { parts: old, len };
            let start = usize::from(low(self.random(1, &old.parts, u32::from(part))));
            let base = new.parts;
            let kind = part_class(&base, len, part);
            let candidates = (0..=255_u8).cycle().skip(start).take(256).filter_map(|candidate| {
                let is_alike = digits(candidate.into()) == digits(part.into())
                    && part_class(&base, len, candidate) == kind;
                is_alike.then(|| with(base, len, candidate))
            });
            new = self.v4_parts.get(&old, candidates);
            if new.parts == old.parts {
                new = with(base, len, part);
            }
        }
        new.parts
    }

    /// The replacement of an IPv6 address, with the classes of [`Self::v4`].
    pub(super) fn v6(&mut self, address: [u8; 16]) -> [u8; 16] {
        let ip = Ipv6Addr::from(address);
        if let Some(v4) = ip.to_ipv4_mapped() {
            return Ipv4Addr::from(self.v4(v4.octets())).to_ipv6_mapped().octets();
        }
        let groups = ip.segments();
        if ip.is_loopback() || ip.is_unspecified() {
            return address;
        }
        if ip.is_multicast() {
            return self.multicast(address);
        }
        let mut new = AddressPrefix { parts: [0; 8], len: 0 };
        for len in 1..=8 {
            let Some(part) = groups.get(len - 1).copied() else { continue };
            let mut old = [0; 8];
            old.iter_mut().zip(groups).take(len).for_each(|(to, from)| *to = from);
            let old = AddressPrefix { parts: old, len };
            let base = new.parts;
            let (low, high) = group_range(len, part);
            let count = u64::from(high - low) + 1;
            let start = self.random(2, &address, u32::try_from(len).unwrap_or(0)) % count;
            let candidates = (0..count.min(MOST_TRIES)).filter_map(|step| {
                let candidate = u64::from(low) + (start + step) % count;
                let candidate = u16::try_from(candidate).ok()?;
                Some(with(base, len, candidate))
            });
            new = self.v6_groups.get(&old, candidates);
            if new.parts == old.parts {
                new = with(base, len, part);
            }
        }
        Ipv6Addr::from(new.parts).octets()
    }

    /// A multicast address stays, but for the part that a solicited-node address takes from an address of a host
    /// (RFC 4291, section 2.7.1).
    fn multicast(&self, address: [u8; 16]) -> [u8; 16] {
        let [head @ .., a, b, c] = address;
        if head != SOLICITED_NODE {
            return address;
        }
        let [a, b, c, ..] = self.random(3, &[a, b, c], 0).to_be_bytes();
        let mut new = address;
        new.iter_mut().rev().zip([c, b, a]).for_each(|(to, from)| *to = from);
        new
    }

    /// The replacement of a link-layer address. Broadcast and multicast addresses stay.
    pub(super) fn mac(&self, address: [u8; 6]) -> [u8; 6] {
        match address {
            [0x33, 0x33, 0xff, a, b, c] => {
                let [a, b, c, ..] = self.random(3, &[a, b, c], 0).to_be_bytes();
                [0x33, 0x33, 0xff, a, b, c]
            }
            [0, 0, 0, 0, 0, 0] => address,
            [first, ..] if first & 1 == 1 => address,
            [first, ..] => {
                let [a, b, c, d, e, f, ..] = self.random(4, &address, 0).to_be_bytes();
                // The bits for a group and for a local assignment.
                [a & 0xfc | first & 3, b, c, d, e, f]
            }
        }
    }

    /// The replacement of a port, with as many digits and on the same side of the ports that systems give to clients.
    pub(super) fn port(&mut self, port: u16) -> u16 {
        if port == 0 || KEPT_PORTS.contains(&port) || self.kept_ports.contains(&port) {
            return port;
        }
        let (all, first) = port_ranges(port);
        let random = self.random(5, &port.to_be_bytes(), 0);
        let kept = &self.kept_ports;
        let within = |(low, high): (u16, u16), most: u64| {
            let count = u64::from(high - low) + 1;
            let steps = 0..count.min(most);
            steps.filter_map(move |step| {
                let candidate =
                    u16::try_from(u64::from(low) + random.wrapping_add(step) % count).ok()?;
                let is_free = !KEPT_PORTS.contains(&candidate) && !kept.contains(&candidate);
                is_free.then_some(candidate)
            })
        };
        self.ports.get(&port, within(first, 256).chain(within(all, 4096)))
    }

    /// Random bytes in place of a challenge or a digest: the same ones for the same bytes. Challenges that programs
    /// send in place of random ones stay.
    pub(super) fn secret(&self, secret: &[u8], out: &mut [u8]) {
        if matches!(secret, [0, 0, 0, 0] | [1, 2, 3, 4]) {
            out.iter_mut().zip(secret).for_each(|(to, from)| *to = *from);
            return;
        }
        for (count, chunk) in (0..).zip(out.chunks_mut(8)) {
            let bytes = self.random(6, secret, count).to_be_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
    }

    /// The replacement of the name of a node, or of another name: the host is behind the first `@`.
    pub(super) fn name(&mut self, name: &[u8]) -> Vec<u8> {
        let Some(at) = name.iter().position(|byte| *byte == b'@') else {
            return if is_address(name) { self.host(name) } else { self.alive(name) };
        };
        let (alive, host) = name.split_at(at);
        let mut new = self.alive(alive);
        new.push(b'@');
        new.extend(self.host(host.get(1..).unwrap_or_default()));
        new
    }

    /// The replacement of the part of a node name before the `@`. A name that a tool made up stays one.
    pub(super) fn alive(&mut self, name: &[u8]) -> Vec<u8> {
        let mut new = Vec::with_capacity(name.len());
        if name == b"AAAAAA" {
            // The name that exploits use; no other node has it.
            return name.to_vec();
        }
        if let Some((kept, number, rest)) = tool(name) {
            match kept {
                // The name of a product: another tool with as many characters is distinguished as well.
                b"rabbitmqcli-" | b"rabbitmq-cli-"
                    if !rest.is_empty() && kept.len() + number.len() <= LONGNAME + MOST_DIGITS =>
                {
                    new.extend_from_slice(b"longname");
                    let digits = kept.len() - new.len() + number.len();
                    new.extend(self.hex(&name.repeat(4), digits));
                }
                _ => {
                    new.extend_from_slice(kept);
                    new.extend(self.hex(number, number.len()));
                }
            }
            self.words(rest, &mut new);
        } else if let Some((number, kept)) = numbered(name) {
            new.extend(self.hex(number, number.len()));
            new.extend_from_slice(kept);
            self.words(name.get(new.len()..).unwrap_or_default(), &mut new);
        } else if let Some(at) = MARKS.iter().find_map(|mark| {
            name.windows(mark.len())
                .rposition(|window| window == mark.as_bytes())
                .map(|at| (at, mark))
        }) {
            let (at, mark) = at;
            let (head, rest) = name.split_at(at);
            self.words(head, &mut new);
            new.extend_from_slice(mark.as_bytes());
            self.words(rest.get(mark.len()..).unwrap_or_default(), &mut new);
        } else {
            self.words(name, &mut new);
        }
        new
    }

    /// So many digits in place of a number: each of the same kind where the number has one.
    fn hex(&self, number: &[u8], len: usize) -> Vec<u8> {
        let digit = |count: u32| {
            let random = self.random(7, number, count);
            match usize::try_from(count).ok().and_then(|at| number.get(at)) {
                Some(b'a'..=b'f') => b'a' + low(random % 6),
                Some(b'A'..=b'F') => b'A' + low(random % 6),
                _ => b'0' + low(random % 10),
            }
        };
        (0..).map(digit).take(len).collect()
    }

    /// The replacement of a host: of each label of its name, or of its address.
    pub(super) fn host(&mut self, host: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(host).ok();
        let (text, zone) = match text.and_then(|text| text.split_once('%')) {
            Some((address, _)) => (Some(address), host.get(address.len()..).unwrap_or_default()),
            None => (text, &[][..]),
        };
        match text.and_then(|text| Some((text, text.parse::<IpAddr>().ok()?))) {
            Some((_, IpAddr::V4(ip))) => {
                let mut new = Ipv4Addr::from(self.v4(ip.octets())).to_string().into_bytes();
                self.words(zone, &mut new);
                new.resize(host.len(), b'0');
                new
            }
            Some((text, IpAddr::V6(ip))) => {
                let ip = Ipv6Addr::from(self.v6(ip.octets()));
                let mut new = in_form_of(text, ip);
                self.words(zone, &mut new);
                new.resize(host.len(), b'0');
                new
            }
            None => {
                let mut new = Vec::with_capacity(host.len());
                self.words(host, &mut new);
                new
            }
        }
    }

    /// Replaces each run of letters and each run of digits; other characters stay, in as many bytes.
    pub(super) fn words(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while let Some(first) = rest.first() {
            let len = match first {
                b'0'..=b'9' => run(rest, u8::is_ascii_digit),
                b'a'..=b'z' | b'A'..=b'Z' => run(rest, u8::is_ascii_alphabetic),
                0..=0x7f => {
                    out.push(*first);
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
                _ => run(rest, |byte| !byte.is_ascii()),
            };
            let (word, behind) = rest.split_at(len.max(1).min(rest.len()));
            rest = behind;
            if word.is_ascii() { self.word(word, out) } else { self.foreign(word, out) }
        }
    }

    /// Replaces a run of letters or of digits.
    fn word(&mut self, word: &[u8], out: &mut Vec<u8>) {
        let lower = word.to_ascii_lowercase();
        if KEPT_WORDS.iter().any(|kept| kept.as_bytes() == lower) || word == b"AAAAAAA" {
            out.extend_from_slice(word);
            return;
        }
        let alphabet: &[u8] = if lower.iter().all(u8::is_ascii_digit) {
            b"0123456789"
        } else if lower.iter().all(u8::is_ascii_hexdigit) {
            // What may be a number in hexadecimal stays one.
            b"abcdef"
        } else {
            b"abcdefghijklmnopqrstuvwxyz"
        };
        let count = alphabet.len();
        let new: Box<[u8]> = if lower.len() < 3 {
            // So short a word has too few others to choose from at random: each letter moves by the same distance.
            let distance =
                1 + usize::try_from(self.random(8, alphabet, 0)).unwrap_or(0) % (count - 1);
            let moved = |byte: &u8| {
                let at = alphabet.iter().position(|it| it == byte).unwrap_or(0);
                alphabet.get((at + distance) % count).copied().unwrap_or(*byte)
            };
            lower.iter().map(moved).collect()
        } else {
            let key = &self.key;
            let candidates = (0..MOST_CANDIDATES).map(|attempt| {
                let letter = |at: usize| {
                    let random = key.hash_one((9_u8, &*lower, attempt, at));
                    let index = usize::try_from(random % count as u64).unwrap_or(0);
                    alphabet.get(index).copied().unwrap_or(b'x')
                };
                (0..lower.len()).map(letter).collect::<Box<[u8]>>()
            });
            self.words.get(&lower.clone().into_boxed_slice(), candidates)
        };
        let in_case = |(new, old): (&u8, &u8)| {
            if old.is_ascii_uppercase() { new.to_ascii_uppercase() } else { *new }
        };
        out.extend(new.iter().zip(word).map(in_case));
    }

    /// Replaces characters beyond ASCII, each by one of as many bytes, by a distance that depends on all before it: two
    /// words stay two, and one that is known shows nothing of another. What is not UTF-8 stays so.
    fn foreign(&self, word: &[u8], out: &mut Vec<u8>) {
        let Ok(text) = std::str::from_utf8(word) else {
            // No such byte occurs in UTF-8.
            let byte = |count: u32| 0xf8 + low(self.random(10, word, count) % 7);
            out.extend((0..).map(byte).take(word.len()));
            return;
        };
        for (at, c) in text.char_indices() {
            let number = u32::from(c);
            // Control characters, and marks that change the direction of text, stay: they are shown.
            let range =
                RANGES.iter().find(|range| range.contains(&number) && number != BYTE_ORDER_MARK);
            let moved = range.and_then(|range| {
                let count = range.end() - range.start() + 1;
                let before = word.get(..at).unwrap_or_default();
                let random = self.random(11, before, *range.start());
                let distance = 1 + u32::try_from(random % u64::from(count - 1)).unwrap_or(0);
                char::from_u32(range.start() + (number - range.start() + distance) % count)
            });
            out.extend(moved.unwrap_or(c).encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

fn low(number: u64) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(0)
}

/// The ports that may replace a port; and of these the ones that Wireshark takes for no protocol of their own.
const fn port_ranges(port: u16) -> ((u16, u16), (u16, u16)) {
    match port {
        0..=9 => ((1, 9), (1, 9)),
        10..=99 => ((10, 99), (89, 99)),
        100..=999 => ((100, 999), (830, 909)),
        1000..=1023 => ((1000, 1023), (1002, 1023)),
        1024..=9999 => ((1024, 9999), (7277, 7783)),
        10_000..=32_767 => ((10_000, 32_767), (12_224, 17_219)),
        32_768.. => ((32_768, u16::MAX), (50_000, u16::MAX)),
    }
}

/// What may replace a part of an address.
struct PartClasses<A, R> {
    /// Whether two parts, behind these parts before them, may replace each other.
    is_alike: A,
    /// The least and the greatest of the numbers that may replace a part.
    range: R,
}

/// Chooses the parts of all addresses that were seen, those of one network in the order of the originals.
fn choose_parts<
    const N: usize,
    T: Copy + Default + Ord + std::hash::Hash + Into<u32> + TryFrom<u32>,
>(
    table: &mut ReplacementTable<AddressPrefix<N, T>>,
    classes: &PartClasses<impl Fn(&[T; N], usize, T, T) -> bool, impl Fn(usize, T) -> (T, T)>,
    random: impl Fn(&[u8], u32) -> u64,
) {
    let mut seen: Vec<_> = table.originals.iter().copied().collect();
    seen.sort_unstable_by_key(|prefix| (prefix.len, prefix.parts));
    let parent = |prefix: &AddressPrefix<N, T>| {
        let len = prefix.len.saturating_sub(1);
        let mut parts = prefix.parts;
        parts.iter_mut().skip(len).for_each(|part| *part = T::default());
        AddressPrefix { parts, len }
    };
    let last = |prefix: &AddressPrefix<N, T>| {
        prefix.parts.get(prefix.len.saturating_sub(1)).copied().unwrap_or_default()
    };
    let mut count = 0_u32;
    for network in seen.chunk_by(|a, b| a.len == b.len && parent(a) == parent(b)) {
        let Some(first) = network.first() else { continue };
        let base = table.of.get(&parent(first)).map_or_else(|| [T::default(); N], |new| new.parts);
        let is_alike = |a: &AddressPrefix<N, T>, b: &AddressPrefix<N, T>| {
            (classes.is_alike)(&base, a.len, last(a), last(b))
        };
        for alike in network.chunk_by(is_alike) {
            let Some(first) = alike.first() else { continue };
            let (low, high) = (classes.range)(first.len, last(first));
            let (low, high): (u32, u32) = (low.into(), high.into());
            let may_be =
                |part: u32, table: &ReplacementTable<AddressPrefix<N, T>>, is_new: bool| {
                    let part = T::try_from(part).ok()?;
                    let candidate = with(base, first.len, part);
                    let fits = (classes.is_alike)(&base, first.len, last(first), part)
                        && !table.used.contains(&candidate)
                        && !(is_new && table.originals.contains(&candidate));
                    fits.then_some(part)
                };
            let size = high - low + 1;
            let mut new: Vec<T> = Vec::new();
            for is_new in [true, false] {
                if size <= MOST_LISTED {
                    let all = (low..=high).filter_map(|it| may_be(it, table, is_new)).collect();
                    new = sample(all, alike.len(), |step| random(&[], count.wrapping_add(step)));
                } else {
                    // So many that a few tries find enough.
                    let mut found = BTreeSet::new();
                    for step in 0..u32::try_from(alike.len() * 4 + 16).unwrap_or(u32::MAX) {
                        if found.len() == alike.len() {
                            break;
                        }
                        let place = random(&[], count.wrapping_add(step)) % u64::from(size);
                        let place = low + u32::try_from(place).unwrap_or(0);
                        found.extend(may_be(place, table, is_new));
                    }
                    new = found.into_iter().collect();
                }
                count = count.wrapping_add(size).wrapping_add(1);
                if new.len() == alike.len() {
                    break;
                }
            }
            // What finds no place stays.
            let parts: Vec<T> =
                if new.len() == alike.len() { new } else { alike.iter().map(last).collect() };
            for (old, part) in alike.iter().zip(parts) {
                table.set(*old, with(base, first.len, part));
            }
        }
    }
}

/// So many of the candidates, at random and in their order.
fn sample<T: Copy>(candidates: Vec<T>, wanted: usize, random: impl Fn(u32) -> u64) -> Vec<T> {
    let mut left = candidates.len();
    let mut wanted = wanted.min(left);
    let mut chosen = Vec::with_capacity(wanted);
    for (count, candidate) in (0..).zip(candidates) {
        // Each candidate is as likely as another.
        if random(count) % (left as u64) < wanted as u64 {
            chosen.push(candidate);
            wanted -= 1;
        }
        left -= 1;
    }
    chosen
}

fn run(bytes: &[u8], is_part: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len())
}

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

fn with<const N: usize, T: Copy>(mut parts: [T; N], len: usize, part: T) -> AddressPrefix<N, T> {
    if let Some(last) = len.checked_sub(1).and_then(|at| parts.get_mut(at)) {
        *last = part;
    }
    AddressPrefix { parts, len }
}

const fn digits(number: u32) -> u32 {
    match number {
        0..=9 => 1,
        10..=99 => 2,
        _ => 3,
    }
}

/// The class of the part number `len` of an IPv4 address behind the parts `before`; a part keeps its class.
const fn part_class(before: &[u8; 4], len: usize, part: u8) -> u16 {
    let [first, ..] = *before;
    match (len, first, part) {
        // Networks with a purpose of their own stay: private, shared, link-local, and those for documentation.
        (1, _, 0 | 10 | 100 | 127 | 169 | 172 | 192 | 198 | 203 | 224..) => 1000 + part as u16,
        (2, 172, 16..=31) | (2, 100, 64..=127) => 1,
        (2, 192, 0 | 88 | 168) | (2, 169, 254) | (2, 198, 18 | 19 | 51) | (2, 203, 0) => {
            1000 + part as u16
        }
        (4, _, 0 | 255) => 1000 + part as u16,
        _ => 0,
    }
}

/// The numbers that may replace the group number `len` of an IPv6 address: with as many hexadecimal digits, and of the
/// same class.
const fn group_range(len: usize, group: u16) -> (u16, u16) {
    match (len, group) {
        (_, 0) => (0, 0),
        // Link-local; networks with a purpose of their own: documentation, 6to4, NAT64.
        (1, 0xfe80..=0xfebf | 0x2001 | 0x2002 | 0x64 | 0x100) => (group, group),
        (1, 0xfc00..=0xfdff) => (group & 0xff00, group | 0x00ff),
        (1, 0x2000..=0x3fff) => (0x2400, 0x3fef),
        (1, 0x1000..) => (group, group),
        (_, 0x1..=0xf) => (0x1, 0xf),
        (_, 0x10..=0xff) => (0x10, 0xff),
        (_, 0x100..=0xfff) => (0x100, 0xfff),
        (_, 0x1000..) => (0x1000, 0xffff),
    }
}

/// The text of an address with the groups, the leading zeros and the case of `form`, which is the text of another one
/// with the same groups of zeros.
fn in_form_of(form: &str, ip: Ipv6Addr) -> Vec<u8> {
    let groups = ip.segments();
    if form.contains('.') {
        // The last four bytes as an IPv4 address.
        let head = form.rfind(':').map_or(0, |at| at + 1);
        let [.., a, b, c, d] = ip.octets();
        // The groups before, as if the last two were written like them.
        let mut new = in_form_of(&format!("{}0:0", form.get(..head).unwrap_or_default()), ip);
        for _ in 0..2 {
            let last = new.iter().rposition(|byte| *byte == b':').unwrap_or(0);
            new.truncate(last);
        }
        new.push(b':');
        new.extend(Ipv4Addr::new(a, b, c, d).to_string().into_bytes());
        return new;
    }
    let before = form.split("::").next().unwrap_or_default();
    let has_run = form.contains("::");
    let count_before = if before.is_empty() { 0 } else { before.split(':').count() };
    let after = form.split_once("::").map_or("", |(_, after)| after);
    let count_after = if after.is_empty() { 0 } else { after.split(':').count() };
    let mut numbers: Vec<u16> = groups.iter().take(count_before).copied().collect();
    numbers.extend(groups.iter().skip(8 - count_after.min(8)).take(if has_run { 8 } else { 0 }));
    let mut numbers = numbers.into_iter();
    let mut new = Vec::with_capacity(form.len());
    for (at, part) in form.split(':').enumerate() {
        if at > 0 {
            new.push(b':');
        }
        if part.is_empty() {
            continue;
        }
        let number = numbers.next().unwrap_or(0);
        let width = part.len();
        let text = if part.bytes().any(|byte| byte.is_ascii_uppercase()) {
            format!("{number:0width$X}")
        } else {
            format!("{number:0width$x}")
        };
        new.extend(text.into_bytes());
    }
    new
}

/// Ports that stay: EPMD, name servers, and the tunnels that are read.
const KEPT_PORTS: [u16; 7] = [4369, 53, 5353, 2152, 4789, 6081, 8472];

/// Words that tools put before a number, as `judge/identity.rs` knows them; whether a name may end behind the number.
const TOOLS: [(&str, bool); 10] = [
    ("rabbitmqcli-", false),
    ("rabbitmq-cli-", true),
    ("ctl-", false),
    ("rem-", true),
    ("rpc-", true),
    ("remsh", false),
    ("maint", false),
    ("rpc", false),
    ("eval", false),
    ("longname", false),
];

/// The longest number of a tool.
const MOST_DIGITS: usize = 10;

/// Characters of the word `longname`.
const LONGNAME: usize = 8;

/// What tools put behind a number of three digits.
const TAILS: [&str; 3] = ["-ping", "-ctl-", "-debug-"];

/// What tools put between a name and a number.
const MARKS: [&str; 2] = ["_maint_", "_remsh_"];

/// Words of names that stay, in lower case: they are not those of a host of its own.
const KEPT_WORDS: [&str; 2] = ["localhost", "nowhere"];

/// Word, number and rest of a name that a tool made up, such as `rpc-c0ffee-app`.
fn tool(name: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    TOOLS.iter().find_map(|(word, may_end)| {
        let behind = name.strip_prefix(word.as_bytes())?;
        let is_digit = |byte: &u8| match word.starts_with("rabbit") || *word == "ctl-" {
            true => byte.is_ascii_digit(),
            false => byte.is_ascii_hexdigit(),
        };
        let (number, rest) = behind.split_at(run(behind, is_digit));
        let fits = match rest {
            [] => *may_end,
            [b'-', _, ..] => true,
            _ => false,
        };
        let is_number = (1..=MOST_DIGITS).contains(&number.len());
        (is_number && fits).then(|| (name.get(..word.len()).unwrap_or_default(), number, rest))
    })
}

/// Number and mark of a name such as `70b-ctl-ejabberd`.
fn numbered(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (number, rest) = name.split_at_checked(3)?;
    let tail = TAILS.iter().find(|tail| {
        rest.starts_with(tail.as_bytes()) && (**tail != "-ping" || rest.len() == tail.len())
    })?;
    let is_number = number.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| (number, rest.get(..tail.len()).unwrap_or_default()))
}

/// Characters beyond ASCII, in ranges whose characters have as many bytes in UTF-8: within a range, each moves by the same
/// distance.
const RANGES: [RangeInclusive<u32>; 7] = [
    0xa0..=0xbf,
    0xc0..=0x5ff,
    0x620..=0x7ff,
    0x800..=0x1fff,
    0x2070..=0xd7ff,
    0xe000..=0xffff,
    0x1_0000..=0x10_ffff,
];

const BYTE_ORDER_MARK: u32 = 0xfeff;

/// All bytes but the last three of a solicited-node multicast address.
const SOLICITED_NODE: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];

/// Names or numbers of one kind that get a replacement each: more than a network has hosts.
const MOST_ORIGINALS: usize = 1 << 18;

/// Attempts at another number of a group of an IPv6 address.
const MOST_TRIES: u64 = 1024;

/// Numbers of a class that are listed one by one.
const MOST_LISTED: u32 = 256;

/// Attempts at another word.
const MOST_CANDIDATES: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new([9100])
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn addresses_keep_network_class_and_length_as_text() {
        for _ in 0..20 {
            let mut all = pseudonyms();
            for ip in [
                "10.0.0.1",
                "10.0.0.2",
                "192.168.0.100",
                "172.31.255.7",
                "8.8.4.4",
                "100.64.3.9",
                "169.254.10.20",
                "203.0.113.77",
                "fd00:41::21",
                "fe80::1:2",
                "2400:cb00::ab:c",
                "::ffff:10.0.0.1",
            ] {
                let ip: IpAddr = ip.parse().unwrap();
                let new = all.ip(ip);
                assert_ne!(new, ip);
                assert_eq!(new, all.ip(ip));
                assert_eq!(new.to_string().len(), ip.to_string().len(), "{ip} {new}");
                match (ip, new) {
                    (IpAddr::V4(ip), IpAddr::V4(new)) => {
                        assert_eq!(new.is_private(), ip.is_private(), "{ip} {new}");
                        assert_eq!(new.is_link_local(), ip.is_link_local(), "{ip} {new}");
                    }
                    (IpAddr::V6(ip), IpAddr::V6(new)) => {
                        assert_eq!(new.is_unique_local(), ip.is_unique_local(), "{ip} {new}");
                        assert_eq!(
                            new.is_unicast_link_local(),
                            ip.is_unicast_link_local(),
                            "{ip} {new}"
                        );
                    }
                    _ => panic!("{ip} {new}"),
                }
            }
            let [a, b] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|ip| all.v4(ip));
            assert_eq!(a[..3], b[..3]);
            assert_ne!(a, b);
        }
    }

    #[test]
    fn the_groups_before_a_dotted_tail_are_replaced() {
        let form = "2001:db8:12:34:56:78:10.20.30.40";
        let ip = "2001:db8:ab:cd:ef:98:1.2.3.4".parse().unwrap();
        assert_eq!(text(in_form_of(form, ip)), "2001:db8:ab:cd:ef:98:1.2.3.4");
        let ip = "::ffff:9.8.7.6".parse().unwrap();
        assert_eq!(text(in_form_of("::ffff:10.20.30.40", ip)), "::ffff:9.8.7.6");
        let ip = "::9.8.7.6".parse().unwrap();
        assert_eq!(text(in_form_of("::10.20.30.40", ip)), "::9.8.7.6");
    }

    #[test]
    fn special_addresses_stay() {
        let mut all = pseudonyms();
        for ip in
            ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.251", "::1", "::", "ff02::fb"]
        {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(all.ip(ip), ip);
        }
        let node: IpAddr = "ff02::1:ff00:21".parse().unwrap();
        let new = all.ip(node).to_string();
        assert!(new.starts_with("ff02::1:ff") && new != node.to_string(), "{new}");
    }

    #[test]
    fn names_keep_length_form_and_equal_parts() {
        let mut all = pseudonyms();
        let one = text(all.name(b"alpha@host17.example.lan"));
        let two = text(all.name(b"beta@host17.example.lan"));
        assert_eq!(one.len(), "alpha@host17.example.lan".len());
        assert_eq!(one.split_once('@').unwrap().1, two.split_once('@').unwrap().1);
        let lengths = |name: &str| name.split(['@', '.']).map(str::len).collect::<Vec<_>>();
        assert_eq!(lengths(&one), lengths("alpha@host17.example.lan"));
        for part in ["alpha", "host17", "example", "beta"] {
            assert!(!one.contains(part) && !two.contains(part), "{one} {two}");
        }
        let host = text(all.host(b"host17"));
        assert!(one.contains(&format!("@{host}.")), "{one} {host}");
        let upper = text(all.name(b"ALPHA@Host17"));
        assert!(upper.eq_ignore_ascii_case(one.split('.').next().unwrap()), "{upper} {one}");
        let address = text(all.name(b"a@192.168.0.100"));
        assert_eq!(address[2..], all.ip("192.168.0.100".parse().unwrap()).to_string());
        let tool = text(all.name(b"rabbitmqcli-527-rabbit@h"));
        assert!(tool.starts_with("longname") && tool.len() == 24, "{tool}");
        assert!(!tool.contains("rabbit"), "{tool}");
        let ctl = text(all.name(b"70b-ctl-ejabberd@h"));
        assert!(ctl[3..].starts_with("-ctl-") && !ctl.contains("ejabberd"), "{ctl}");
        let maint = text(all.name(b"app_maint_4711@h"));
        assert!(maint[3..].starts_with("_maint_") && maint.len() == 16, "{maint}");
        assert_eq!(all.name(b"AAAAAA@AAAAAAA"), b"AAAAAA@AAAAAAA");
        let tool = text(all.name(b"remshc0ffee-app@h"));
        assert!(tool.starts_with("remsh"), "{tool}");
        assert!(tool[5..11].bytes().all(|byte| byte.is_ascii_hexdigit()), "{tool}");
    }

    #[test]
    fn text_of_any_form_keeps_its_bytes_and_its_encoding() {
        let mut all = pseudonyms();
        assert_ne!(all.name("ä".as_bytes()), all.name("ö".as_bytes()));
        assert!(!text(all.name("देवनागरी".as_bytes())).contains('व'));
        for name in [
            &b"<img src=x>@h"[..],
            "köln@höst".as_bytes(),
            "日本@語".as_bytes(),
            b"\xe4\xf6@\xff",
            "a\u{202e}b@h".as_bytes(),
            b"",
            b"@",
            b"@@",
            b"FD00:0041::0021",
            b"a@::ffff:10.0.0.1",
            b"a@fe80::1%eth0",
            b"1:2:3:4:5:6:7:8",
        ] {
            let new = all.name(name);
            assert_eq!(new.len(), name.len(), "{name:?} {new:?}");
            assert_eq!(std::str::from_utf8(&new).is_ok(), std::str::from_utf8(name).is_ok());
        }
        let new = text(all.host(b"FD00:0041::0021"));
        let ip = all.ip("fd00:41::21".parse().unwrap());
        assert_eq!(new.parse::<IpAddr>().unwrap(), ip);
    }

    #[test]
    fn ports_keep_their_digits_and_known_ports_stay() {
        let mut all = pseudonyms();
        for port in [4369, 53, 9100] {
            assert_eq!(all.port(port), port);
        }
        for port in [7, 80, 443, 1020, 9101, 25_672, 40_000, 65_535] {
            let new = all.port(port);
            assert!(new != port && new == all.port(port));
            assert_eq!(new.to_string().len(), port.to_string().len());
        }
    }

    #[test]
    fn a_second_choice_avoids_what_the_capture_contains() {
        for _ in 0..20 {
            let mut all = pseudonyms();
            let hosts: Vec<[u8; 4]> = (1..10).map(|n| [10, 0, 0, n]).collect();
            for ip in &hosts {
                all.v4(*ip);
            }
            all.choose_anew();
            for ip in &hosts {
                assert!(!hosts.contains(&all.v4(*ip)));
            }
        }
    }

    #[test]
    fn a_second_choice_keeps_the_order() {
        for _ in 0..20 {
            let mut all = pseudonyms();
            let mut ips: Vec<IpAddr> = [
                "10.0.0.1",
                "10.0.0.2",
                "10.0.0.9",
                "10.0.0.10",
                "10.0.0.77",
                "10.0.3.5",
                "192.168.0.100",
                "192.168.0.101",
                "192.168.0.103",
                "fd00:41::21",
                "fd00:41::22",
                "fd00:42::1",
            ]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
            ips.sort_unstable();
            let ports = [1500, 4369, 9100, 25_672, 33_435, 37_832, 46_274];
            for _ in 0..2 {
                for ip in &ips {
                    all.ip(*ip);
                }
                for port in ports {
                    all.port(port);
                }
                all.choose_anew();
            }
            let new: Vec<IpAddr> = ips.iter().map(|ip| all.ip(*ip)).collect();
            assert!(new.is_sorted(), "{new:?}");
            assert!(new.iter().all(|ip| !ips.contains(ip)), "{new:?}");
            assert!(new.iter().zip(&ips).all(|(a, b)| a.to_string().len() == b.to_string().len()));
            let [.., a, b, c] = ports.map(|port| all.port(port));
            assert!(a < b && b < c, "{a} {b} {c}");
        }
    }

    #[test]
    fn secrets_are_replaced_alike_and_constants_stay() {
        let all = pseudonyms();
        let secret = |bytes: &[u8]| {
            let mut out = vec![0; bytes.len()];
            all.secret(bytes, &mut out);
            out
        };
        assert_ne!(secret(&[7; 16]), [7; 16]);
        assert_eq!(secret(&[7; 16]), secret(&[7; 16]));
        assert_eq!(secret(&[1, 2, 3, 4]), [1, 2, 3, 4]);
    }
}
