//! Which frames are looked at.
//!
//! In: the arguments, and frames as they are read. Out: whether each goes on into the pipeline, and in
//! the end what the filter may have hidden. A filter is compiled when the first frame of a link type
//! comes; it is pcap-filter(7)'s, and like that sees ports neither behind a tag or a tunnel that it does
//! not name nor in any fragment but the first.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use beamscope::capture::Frame;
use beamscope::time::Timestamp;

#[cfg(feature = "live")]
use self::filter::Filter;
use super::Error;
use super::args::Args;

/// The selection that the arguments make.
pub(super) struct Selection {
    since: Timestamp,
    until: Timestamp,
    #[cfg(feature = "live")]
    filter: Option<Filter>,
}

impl Selection {
    /// The frames between the times of the arguments that pass `filter`.
    ///
    /// # Errors
    ///
    /// The end is before the beginning; the filter is understood for no link type, or this build has
    /// no filters.
    pub(super) fn new(args: &Args, filter: Option<String>) -> Result<Self, Error> {
        let since = args.since.unwrap_or(Timestamp(0));
        let until = args.until.unwrap_or(Timestamp(u64::MAX));
        if until < since {
            return Err(Error::EmptyWindow { since, until });
        }
        #[cfg(not(feature = "live"))]
        if filter.is_some() {
            return Err(Error::NoFilter);
        }
        Ok(Self {
            since,
            until,
            #[cfg(feature = "live")]
            filter: filter.map(Filter::new).transpose()?,
        })
    }

    /// Whether `frame` is looked at.
    ///
    /// # Errors
    ///
    /// The filter does not compile for its link type: told at the first of them, all are left out.
    pub(super) fn admits(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        if !(self.since..=self.until).contains(&frame.at) {
            return Ok(false);
        }
        #[cfg(feature = "live")]
        if let Some(filter) = &mut self.filter {
            return filter.admits(frame);
        }
        Ok(true)
    }

    /// What the filter may have hidden, a sentence each.
    pub(super) fn doubts(&self) -> Vec<String> {
        #[cfg(feature = "live")]
        if let Some(filter) = &self.filter {
            return filter.doubts();
        }
        Vec::new()
    }
}

/// The filter as typed, or out of its file without what stands behind a `#`. Reads the file once: it
/// may be a pipe.
///
/// # Errors
///
/// The file cannot be read.
pub(super) fn filter_text(args: &Args) -> Result<Option<String>, Error> {
    match &args.filter_file {
        Some(path) => read_filter(path).map(Some),
        None => Ok(args.filter.clone()),
    }
}

fn read_filter(path: &Path) -> Result<String, Error> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILTER).read_to_string(&mut text));
    match read {
        Err(source) => Err(Error::FilterFile { name: path.display().to_string(), source }),
        Ok(octets) if octets as u64 == MAX_FILTER => {
            let source = io::Error::other(format!("expected less than {MAX_FILTER} octets"));
            Err(Error::FilterFile { name: path.display().to_string(), source })
        }
        Ok(_) => {
            let lines = text.lines().filter_map(|line| line.split('#').next());
            Ok(lines.collect::<Vec<_>>().join(" ").trim().to_owned())
        }
    }
}

/// Far beyond the longest program that a kernel takes.
const MAX_FILTER: u64 = 64 * 1024;

/// The port numbers that `filter` narrows a capture down to; empty when it does not look as if it did.
pub(super) fn ports_kept(filter: &str) -> Vec<String> {
    let spaced = filter.replace(['(', ')'], " ").replace('!', " not ").to_ascii_lowercase();
    let words: Vec<_> = spaced.split_whitespace().collect();
    // Beside these, ports are not the only way to pass.
    let widens = ["not", "portrange", "host", "net", "ether", "icmp", "icmp6", "proto"];
    if words.iter().any(|word| widens.contains(word)) && words.iter().any(|word| is_or(word)) {
        return Vec::new();
    }
    if words.iter().any(|word| ["not", "portrange"].contains(word)) {
        return Vec::new();
    }
    let mut ports = Vec::new();
    let mut after_port = false;
    for word in words {
        // `port 4369 or 9100` means both.
        after_port = match word {
            "port" => true,
            _ if after_port && is_or(word) => true,
            _ if after_port && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') => {
                let is_port = word.parse::<u16>().is_ok() || word == "epmd";
                if is_port && !ports.iter().any(|port| port == word) {
                    ports.push(word.to_owned());
                }
                is_port
            }
            _ => false,
        };
    }
    ports
}

fn is_or(word: &str) -> bool {
    word == "or" || word == "||"
}

/// A warning where `filter` names ports, and connections to other ports would matter.
pub(super) fn hidden_ports(filter: &str, args: &Args) -> Option<String> {
    let ports = ports_kept(filter);
    let is_told = |port: &u16| args.dist_port.iter().any(|told| told.contains(port));
    // Whoever says which ports the nodes have knows what the filter leaves.
    if ports.is_empty() || ports.iter().filter_map(|port| port.parse().ok()).any(|p| is_told(&p)) {
        return None;
    }
    Some(format!(
        "the filter looks as if it kept port {} alone; nodes listen on ports of their own choice, \
         and connections between them on others are not seen",
        ports.join(" and ")
    ))
}

#[cfg(feature = "live")]
mod filter {
    use std::collections::BTreeMap;

    use beamscope::capture::{Frame, LinkType, live};
    use beamscope::decode::{Decoded, Decoder, Layer};
    use beamscope::limits::Limits;

    use super::Error;

    /// A filter, compiled for each link type that was met.
    pub(super) struct Filter {
        text: String,
        /// `None` where it does not compile.
        programs: BTreeMap<LinkType, Option<live::Filter>>,
        /// Looks at what did not pass.
        witness: Decoder,
        hidden: Hidden,
    }

    /// TCP segments that did not pass, by what they were in.
    #[derive(Default)]
    struct Hidden {
        tagged: u64,
        tunnelled: u64,
    }

    impl Filter {
        /// Takes a filter that some link type has a meaning for.
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

        pub(super) fn admits(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
            let link = frame.link;
            if !self.programs.contains_key(&link) {
                let compiled = live::Filter::compile(&self.text, link);
                let (program, told) = match compiled {
                    Ok(program) => (Some(program), Ok(())),
                    Err(source) => (None, Err(Error::FilterLink { link: link.0, source })),
                };
                self.programs.insert(link, program);
                told?;
            }
            let Some(Some(program)) = self.programs.get(&link) else { return Ok(false) };
            let passes = program.matches(frame.bytes);
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
            doubts
        }
    }
}

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
        assert!(hidden_ports(filter, &parse(&[])).unwrap().contains("4369 and 9100"));
        assert!(hidden_ports(filter, &parse(&["--dist-port", "9100-9105"])).is_none());
        assert!(hidden_ports("tcp", &parse(&[])).is_none());
    }
}
