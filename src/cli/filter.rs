//! Filters in the syntax of pcap-filter(7).
//!
//! In: the filter of the arguments, and frames. Out: whether each passes, compiled when the first
//! frame of its link type comes; and what the filter may have hidden. Like all such filters, it
//! sees ports neither behind a tag or a tunnel that it does not name nor in any fragment but the
//! first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use beamscope::capture::{Frame, LinkType, live};
use beamscope::decode::{Decoded, Decoder, Layer};
use beamscope::limits::Limits;

use super::args::Args;
use super::{Error, warn};

/// The filter as typed, or out of its file without what stands behind a `#`. Warns of what shows
/// from the text alone. Reads the file, which may be a pipe, at each call.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn text(args: &Args) -> Result<Option<String>, Error> {
    let text = match &args.filter_file {
        Some(path) => Some(read_filter(path)?),
        None => args.filter.clone(),
    };
    if let Some(doubt) = text.as_deref().and_then(|text| hidden_ports(text, args)) {
        warn(&args.writing, &doubt);
    }
    Ok(text)
}

/// A filter, compiled for each link type that was met.
pub(super) struct Filter {
    text: String,
    /// `None` where it does not compile.
    programs: BTreeMap<LinkType, Option<live::Filter>>,
    /// Looks at what did not pass.
    witness: Decoder,
    hidden: Hidden,
}

/// What a filter may be wrong about: TCP segments that did not pass, by what they were in.
#[derive(Default)]
struct Hidden {
    tagged: u64,
    tunnelled: u64,
    /// Frames cut by the snaplen, passed or not: their length is judged wrongly.
    cut: u64,
}

impl Filter {
    /// Takes a filter that some link type has a meaning for.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) fn new(text: String) -> Result<Self, Error> {
        let usual = [
            LinkType::ETHERNET,
            LinkType::RAW,
            LinkType::LINUX_SLL2,
            LinkType::IEEE802_11_RADIOTAP,
        ];
        let mut tried = usual.iter().map(|link| live::Filter::compile(&text, *link));
        if let Some(Err(error)) = tried.next() {
            if tried.all(|compiled| compiled.is_err()) {
                return Err(error.into());
            }
        }
        Ok(Self {
            text,
            programs: BTreeMap::new(),
            witness: Decoder::new(Limits::default().fragments),
            hidden: Hidden::default(),
        })
    }

    /// Whether `frame` passes.
    ///
    /// # Errors
    ///
    /// The filter does not compile for its link type: told at the first of them, none passes.
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        let link = frame.link;
        if !self.programs.contains_key(&link) {
            let (program, error) = match live::Filter::compile(&self.text, link) {
                Ok(program) => (Some(program), None),
                Err(source) => (None, Some(Error::FilterLink { link: link.0, source })),
            };
            self.programs.insert(link, program);
            if let Some(error) = error.filter(|_| self.programs.len() <= MAX_TOLD) {
                return Err(error);
            }
        }
        let Some(Some(program)) = self.programs.get(&link) else { return Ok(false) };
        let passes = program.matches(frame.bytes);
        self.hidden.cut += u64::from(frame.bytes.len() < frame.wire_len as usize);
        if !passes {
            self.look_at(frame);
        }
        Ok(passes)
    }

    fn look_at(&mut self, frame: &Frame<'_>) {
        if let Decoded::Tcp(segment) = self.witness.decode(frame) {
            match segment.layers.first() {
                Some(Layer::Vlan(_)) => self.hidden.tagged += 1,
                Some(_) => self.hidden.tunnelled += 1,
                None => {}
            }
        }
    }

    /// What it may have hidden, a sentence each.
    pub(super) fn doubts(&self) -> Vec<String> {
        let text = &self.text;
        let names = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
        let fragments = self.witness.counters().fragments.seen;
        let mut doubts = Vec::new();
        if self.hidden.tagged > 0 && !names("vlan") {
            doubts.push(format!(
                "the filter left out {} TCP segments with VLAN tags; it sees behind a tag with: \
                 ({text}) or (vlan and ({text}))",
                self.hidden.tagged
            ));
        }
        if self.hidden.tunnelled > 0 {
            doubts.push(format!(
                "the filter left out {} TCP segments in tunnels, into which filters do not look",
                self.hidden.tunnelled
            ));
        }
        if fragments > 0 {
            doubts.push(format!(
                "the filter left out {fragments} IP fragments; all but the first of a datagram \
                 have no ports, and pass with: ({text}) or (ip[6:2] & 0x1fff != 0)"
            ));
        }
        if self.hidden.cut > 0 && ["len", "greater", "less"].iter().any(|word| names(word)) {
            doubts.push(format!(
                "the filter took {} packets for as long as was captured of them; they were longer",
                self.hidden.cut
            ));
        }
        doubts
    }
}

/// A warning where `filter` names ports, and connections to others would matter.
fn hidden_ports(filter: &str, args: &Args) -> Option<String> {
    let ports = ports_kept(filter);
    let is_told = |port: &u16| args.facts.dist_port.iter().any(|told| told.contains(port));
    // Whoever says which ports the nodes have knows what the filter leaves.
    if ports.is_empty() || ports.iter().filter_map(|port| port.parse().ok()).any(|p| is_told(&p)) {
        return None;
    }
    Some(format!(
        "the filter looks as if it kept port {} alone; nodes listen on ports of their own choice, \
         and connections between them on others are not seen",
        ports.join(" or ")
    ))
}

/// The ports to which `filter` narrows a capture down; empty when it does not look as if it did.
fn ports_kept(filter: &str) -> Vec<String> {
    let spaced = filter.replace(['(', ')'], " ").replace('!', " not ").to_ascii_lowercase();
    let words: Vec<_> = spaced.split_whitespace().collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    // Beside these, ports are not the only way to pass.
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

fn read_filter(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILTER).read_to_string(&mut text));
    match read {
        Err(source) => Err(Error::FilterFile { name: path.display().to_string(), source }),
        Ok(bytes) if bytes as u64 == MAX_FILTER => {
            let source = io::Error::other(format!("expected less than {MAX_FILTER} bytes"));
            Err(Error::FilterFile { name: path.display().to_string(), source })
        }
        Ok(_) => {
            let lines = text.lines().filter_map(|line| line.split('#').next());
            Ok(lines.collect::<Vec<_>>().join(" ").trim().to_owned())
        }
    }
}

const OR: [&str; 2] = ["or", "||"];

/// A capture with more link types than this is not one.
const MAX_TOLD: usize = 8;

/// Far beyond the longest program that a kernel takes.
const MAX_FILTER: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_filter_that_keeps_some_ports_alone_is_told_from_others() {
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
            assert_eq!(ports_kept(filter), ports, "{filter}");
        }
    }

    #[test]
    fn who_names_the_ports_of_nodes_is_not_warned() {
        let parse = |arguments: &[&str]| {
            Args::try_parse_from(["beamscope"].iter().chain(arguments)).unwrap()
        };
        let filter = "port 4369 or port 9100";
        assert!(hidden_ports(filter, &parse(&[])).unwrap().contains("4369 or 9100"));
        assert!(hidden_ports(filter, &parse(&["--dist-port", "9100-9105"])).is_none());
        assert!(hidden_ports("tcp", &parse(&[])).is_none());
    }
}
