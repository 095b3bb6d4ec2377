//! Packet filters in the syntax of pcap-filter(7).
//!
//! In: the text of a filter, and frames. Out: whether each frame matches, and which packets the filter
//! may have hidden by mistake. The filter is compiled when the first frame of a link type comes. Like
//! every BPF filter it sees no port behind a VLAN tag or a tunnel that it does not name, nor in any
//! fragment of a datagram but the first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use beamscope::capture::{Frame, LinkType, live};
use beamscope::decode::{Decoded, Decoder, Layer};
use beamscope::limits::Limits;

use super::error::Error;

/// A filter that was compiled for the usual link types. That is done before a run is confined: names of hosts cannot be
/// looked up afterwards.
pub(super) struct CompiledFilter {
    text: String,
    programs: BTreeMap<LinkType, Option<live::Filter>>,
}

/// A filter, with a program for each link type of the frames so far.
pub(super) struct PacketFilter {
    text: String,
    /// `None` for link types that the filter does not compile for.
    programs: BTreeMap<LinkType, Option<live::Filter>>,
    /// Decodes frames that did not match, to find those that the filter missed.
    decoder: Decoder,
    missed: MissedPackets,
    /// Link types that were reported.
    reported: usize,
}

/// TCP segments that did not match although the filter may have meant them.
#[derive(Default)]
struct MissedPackets {
    /// Segments behind a VLAN tag.
    tagged: u64,
    /// Segments in a tunnel.
    tunnelled: u64,
    /// Frames cut by the snap length, matching or not: the filter sees the wrong length.
    cut: u64,
}

impl CompiledFilter {
    /// Compiles a filter for the usual link types; one that compiles for any of them is accepted.
    ///
    /// # Errors
    ///
    /// It compiles for none of them.
    pub(super) fn new(text: String) -> Result<Self, Error> {
        let usual = [
            LinkType::ETHERNET,
            LinkType::RAW,
            LinkType::LINUX_SLL,
            LinkType::LINUX_SLL2,
            LinkType::NULL,
            LinkType::IEEE802_11_RADIOTAP,
        ];
        let (mut programs, mut first) = (BTreeMap::new(), None);
        for link in usual {
            match live::Filter::compile(&text, link) {
                Ok(program) => drop(programs.insert(link, Some(program))),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        match first {
            Some(error) if programs.is_empty() => Err(error.into()),
            _ => Ok(Self { text, programs }),
        }
    }
}

impl PacketFilter {
    /// A filter that has matched nothing so far.
    pub(super) fn new(CompiledFilter { text, programs }: CompiledFilter) -> Self {
        let decoder = Decoder::new(Limits::default().fragments);
        Self { text, programs, decoder, missed: MissedPackets::default(), reported: 0 }
    }

    /// The same filter, for another pass over the same frames.
    pub(super) fn begin_again(&mut self) {
        self.decoder = Decoder::new(Limits::default().fragments);
        (self.missed, self.reported) = (MissedPackets::default(), 0);
    }

    /// Whether `frame` matches.
    ///
    /// # Errors
    ///
    /// The filter does not compile for the link type of the frame. The first frame of that type gives
    /// the error, all others of that type do not match.
    pub(super) fn matches(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        let link = frame.link;
        if !self.programs.contains_key(&link) {
            let (program, error) = match live::Filter::compile(&self.text, link) {
                Ok(program) => (Some(program), None),
                Err(source) => (None, Some(Error::FilterLink { link: link.0, source })),
            };
            self.programs.insert(link, program);
            if let Some(error) = error.filter(|_| self.reported < MAX_REPORTED) {
                self.reported += 1;
                return Err(error);
            }
        }
        let Some(Some(program)) = self.programs.get(&link) else { return Ok(false) };
        let is_match = program.matches(frame.bytes);
        self.missed.cut += u64::from(frame.bytes.len() < frame.wire_len as usize);
        if !is_match {
            self.count_missed(frame);
        }
        Ok(is_match)
    }

    fn count_missed(&mut self, frame: &Frame<'_>) {
        if let Decoded::Tcp(segment) = self.decoder.decode(frame) {
            match segment.layers.first() {
                Some(Layer::Vlan(_)) => self.missed.tagged += 1,
                Some(_) => self.missed.tunnelled += 1,
                None => {}
            }
        }
    }

    /// Warnings about packets that the filter may have missed.
    pub(super) fn warnings(&self) -> Vec<String> {
        let text = &self.text;
        let names = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
        let fragments = self.decoder.counters().fragments.seen;
        let mut warnings = Vec::new();
        if self.missed.tagged > 0 && !names("vlan") {
            warnings.push(format!(
                "the filter skipped {} TCP segments with VLAN tags; to match them too, use: \
                 ({text}) or (vlan and ({text}))",
                self.missed.tagged
            ));
        }
        if self.missed.tunnelled > 0 {
            warnings.push(format!(
                "the filter skipped {} TCP segments in tunnels; filters do not look into tunnels",
                self.missed.tunnelled
            ));
        }
        if fragments > 0 {
            warnings.push(format!(
                "the filter skipped {fragments} IP fragments; only the first fragment of a \
                 datagram has ports; to match the others too, use: ({text}) or (ip[6:2] & 0x1fff != 0)"
            ));
        }
        if self.missed.cut > 0 && ["len", "greater", "less"].iter().any(|word| names(word)) {
            warnings.push(format!(
                "the filter compared the captured length of {} packets, which were longer on the \
                 wire",
                self.missed.cut
            ));
        }
        warnings
    }
}

/// A warning if `filter` matches some ports only, since nodes may also use others. None if one of the
/// ports is in `dist_ports`: then the user knows which ports the nodes have.
pub(super) fn hidden_ports(filter: &str, dist_ports: &[RangeInclusive<u16>]) -> Option<String> {
    let ports = matched_ports(filter);
    let is_known = |port: &u16| dist_ports.iter().any(|known| known.contains(port));
    if ports.is_empty() || ports.iter().filter_map(|port| port.parse().ok()).any(|p| is_known(&p)) {
        return None;
    }
    Some(format!(
        "the filter seems to match port {} only; nodes listen on any port, so connections between \
         them may be missing; if these are their ports, give them with --dist-port",
        ports.join(" or ")
    ))
}

/// The ports that `filter` is limited to; empty if other packets may match as well.
fn matched_ports(filter: &str) -> Vec<String> {
    let spaced = filter.replace(['(', ')'], " ").replace('!', " not ").to_ascii_lowercase();
    let words: Vec<_> = spaced.split_whitespace().collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    // With one of these behind an "or", a packet may match without a port.
    let others = ["host", "net", "ether", "vlan", "icmp", "icmp6", "proto"];
    if has(&["not", "portrange"]) || has(&OR) && has(&others) {
        return Vec::new();
    }
    let mut ports: Vec<String> = Vec::new();
    let mut is_port = false;
    for word in &words {
        // `port 4369 or 9100` means both.
        if *word == "port" || is_port && OR.contains(word) {
            is_port = true;
            continue;
        }
        is_port = is_port && (*word == "epmd" || word.parse::<u16>().is_ok());
        if is_port && !ports.iter().any(|port| port == word) {
            ports.push((*word).to_owned());
        }
    }
    ports
}

/// Reads a filter from a file, without comments, which begin with `#`.
///
/// # Errors
///
/// The file cannot be read, or is larger than any filter.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILTER).read_to_string(&mut text));
    let failed = |source| Error::FilterFile { name: path.display().to_string(), source };
    if read.map_err(failed)? as u64 == MAX_FILTER {
        let too_large = format!("expected less than {MAX_FILTER} bytes");
        return Err(failed(io::Error::other(too_large)));
    }
    let lines = text.lines().filter_map(|line| line.split('#').next());
    Ok(lines.collect::<Vec<_>>().join(" ").trim().to_owned())
}

/// Both spellings of "or".
const OR: [&str; 2] = ["or", "||"];

/// Link types whose error is reported. Only a damaged capture has more.
const MAX_REPORTED: usize = 8;

/// Bytes of a filter: far more than the longest program that a kernel accepts.
const MAX_FILTER: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_matches_some_ports_only_is_recognised() {
        for (filter, ports) in [
            ("port 4369", &["4369"][..]),
            ("tcp port epmd", &["epmd"]),
            ("tcp and (port 4369 or 9100)", &["4369", "9100"]),
            ("host 10.0.0.1 and (tcp port 4369 || tcp port 9100)", &[]),
            ("host 10.0.0.1 and tcp port 4369", &["4369"]),
            ("src port 4369 or dst port 4369", &["4369"]),
            ("tcp", &[]),
            ("not port 22", &[]),
            ("!port 22", &[]),
            ("port 4369 or portrange 9100-9105", &[]),
            ("port 4369 or host 10.0.0.1", &[]),
            ("host 10.0.0.1", &[]),
            ("(tcp port 4369) or (vlan and (tcp port 4369))", &[]),
        ] {
            assert_eq!(matched_ports(filter), ports, "{filter}");
        }
    }

    #[test]
    fn there_is_no_warning_if_dist_port_names_a_port_of_the_filter() {
        let filter = "port 4369 or port 9100";
        assert!(hidden_ports(filter, &[]).unwrap().contains("4369 or 9100"));
        assert!(hidden_ports(filter, &[9100..=9105]).is_none());
        assert!(hidden_ports("tcp", &[]).is_none());
    }
}
