//! What a capture cannot show, whatever is in it, and how to capture it.
//!
//! In: the final statistics and the counters of the decoder. Out: the same statistics with what is unseen, and with
//! the pairs that the user expected.

use std::collections::BTreeMap;

use super::Core;
use crate::capture::LinkType;
use crate::decode::Counters;
use crate::record::{EpmdOutcome, EventSink, ExpectedPair, Outcome, Stats, Unseen, UnseenBecause};
use crate::time::Timestamp;

impl<S: EventSink> Core<S> {
    /// The final statistics with what the capture cannot show.
    pub(super) fn with_unseen(&self, mut stats: Stats, decoded: &Counters) -> Stats {
        let world = self.reducer.world();
        let expected = self.config.expect.iter().map(|nodes| {
            let [a, b] = nodes;
            let connected = world.are_connected(a, b);
            let unknown_because = if connected { None } else { world.undecided(a, b) };
            ExpectedPair { nodes: nodes.clone(), connected, unknown_because }
        });
        stats.expected = expected.collect();
        let mut unsupported = decoded.unsupported.clone();
        for (link, frames) in &self.elsewhere.unsupported {
            let sum = unsupported.entry(LinkType(*link)).or_default();
            *sum = sum.saturating_add(*frames);
        }
        let unseen = [
            no_packets(&stats),
            link_types(&stats, &unsupported),
            self.no_erlang(&stats, &unsupported),
            self.only_epmd(&stats),
            cut_packets(&stats),
            one_direction(&stats),
            no_times(&stats),
        ];
        stats.unseen = unseen.into_iter().flatten().collect();
        stats
    }

    /// Only the port of EPMD was captured, and EPMD gave ports of nodes.
    fn only_epmd(&self, stats: &Stats) -> Option<Unseen> {
        let has_answers = stats.epmd.contains_key(&EpmdOutcome::Answered);
        if !stats.sessions.is_empty() || !has_answers || self.has_other_ports {
            return None;
        }
        let mut lookups: Vec<_> = self.reducer.world().answered_lookups().collect();
        lookups.dedup_by(|a, b| a.asked == b.asked && a.port == b.port);
        let lookup = lookups.first()?;
        let more = match lookups.len() - 1 {
            0 => String::new(),
            n => format!(", and {n} more"),
        };
        let port = self.config.epmd_ports.first().copied().unwrap_or_default();
        Some(Unseen {
            because: UnseenBecause::OnlyEpmd,
            detail: format!(
                "this capture has port {port} only. EPMD gave port {} for \"{}\" (frame {}{more}), and no packet \
                 of such a port is here: each node listens on a port of its own, and what becomes of a connection \
                 shows there.",
                lookup.port, lookup.asked, lookup.reply.number
            ),
            remedy: capture("tcp"),
        })
    }

    /// Nothing of Erlang was recognised. A connection is recognised by its port or by its first bytes.
    fn no_erlang(&self, stats: &Stats, unsupported: &UnsupportedFrames) -> Option<Unseen> {
        let is_read = all(unsupported) < stats.packets;
        let packets = stats.packets;
        let is_middle = self.has_other_ports && !self.has_openings;
        let detail = if is_middle {
            format!(
                "no packet of these {packets} can be told to be Erlang traffic: the capture has no start of a TCP \
                 connection, and the first bytes of a connection are what shows it."
            )
        } else {
            format!(
                "no packet of these {packets} is Erlang traffic, as far as their ports and first bytes show."
            )
        };
        let remedy = if is_middle {
            "Capture from before the nodes connect, or until one of them connects again, with: tcpdump -i any -s 0 -w \
             trace.pcap tcp"
                .to_owned()
        } else {
            format!(
                "Capture on the host of one of the nodes, from before they connect: each node listens on a port of its \
                 own. {}",
                capture("tcp")
            )
        };
        (stats.sessions.is_empty() && stats.epmd.is_empty() && is_read).then_some(Unseen {
            because: UnseenBecause::NoErlang,
            detail,
            remedy,
        })
    }
}

/// Frames of link types that are not read.
type UnsupportedFrames = BTreeMap<LinkType, u64>;

/// Their number. Counts of other runs may be any numbers.
fn all(unsupported: &UnsupportedFrames) -> u64 {
    unsupported.values().fold(0, |sum, frames| sum.saturating_add(*frames))
}

/// The command that captures everything that a filter lets through.
fn capture(filter: &str) -> String {
    format!("Capture again with: tcpdump -i any -s 0 -w trace.pcap {filter}")
}

fn no_packets(stats: &Stats) -> Option<Unseen> {
    // The observations of a run that goes on, or was cut short, have no counts of packets.
    let has_seen = !stats.sessions.is_empty() || !stats.epmd.is_empty();
    (stats.packets == 0 && !has_seen).then(|| Unseen {
        because: UnseenBecause::NoPackets,
        detail: "no packet was read.".to_owned(),
        remedy: capture("tcp"),
    })
}

fn link_types(stats: &Stats, unsupported: &UnsupportedFrames) -> Option<Unseen> {
    let frames = all(unsupported);
    if frames == 0 {
        return None;
    }
    let names: Vec<_> = unsupported.keys().take(NAMED).map(ToString::to_string).collect();
    let which = if frames == stats.packets {
        "no packet was read: all of them".to_owned()
    } else {
        format!("{frames} of {} packets", stats.packets)
    };
    Some(Unseen {
        because: UnseenBecause::LinkType,
        detail: format!(
            "{which} have a link type that is not read, {}.",
            names.join(", ")
        ),
        remedy: "Capture on an interface that carries IP, or on all with: tcpdump -i any -s 0 -w trace.pcap tcp"
            .to_owned(),
    })
}

fn cut_packets(stats: &Stats) -> Option<Unseen> {
    (stats.cut_packets > stats.packets / 2).then(|| Unseen {
        because: UnseenBecause::CutPackets,
        detail: format!(
            "{} of {} packets are cut short by the capture's snapshot length, and the rest of their bytes is not here.",
            stats.cut_packets, stats.packets
        ),
        remedy: capture("tcp"),
    })
}

fn one_direction(stats: &Stats) -> Option<Unseen> {
    let connected = |outcome: &&Outcome| !matches!(outcome, Outcome::Refused | Outcome::Unanswered);
    let sessions = stats.sessions.iter().filter(|(outcome, _)| connected(outcome));
    let unopened =
        [EpmdOutcome::ConnectionRefused, EpmdOutcome::Unanswered, EpmdOutcome::Unregistered];
    let requests = stats.epmd.iter().filter(|(outcome, _)| !unopened.contains(outcome));
    let all: u64 = sessions.map(|(_, n)| n).chain(requests.map(|(_, n)| n)).sum();
    (stats.one_sided > 0 && stats.one_sided.saturating_mul(2) >= all).then(|| Unseen {
        because: UnseenBecause::OneDirection,
        detail: format!(
            "{} of {all} Erlang connections have packets of one direction only, and the other side's answers are not \
             here.",
            stats.one_sided
        ),
        remedy: "Capture at a place that both directions pass, such as the host of one of the nodes: \
                 tcpdump -i any -s 0 -w trace.pcap tcp"
            .to_owned(),
    })
}

fn no_times(stats: &Stats) -> Option<Unseen> {
    (stats.packets > 0 && stats.last.is_none_or(|last| last == Timestamp::default())).then(|| {
        Unseen {
            because: UnseenBecause::NoTimes,
            detail: "the packets have no times, so nothing that depends on a pause is certain."
                .to_owned(),
            remedy: "Save the capture in a format with times, such as pcap.".to_owned(),
        }
    })
}

/// Maximum of link types that one sentence names.
const NAMED: usize = 4;
