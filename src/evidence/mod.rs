//! The packets that findings rest on.
//!
//! In: frames of the connections that are followed, and the findings. Out: a [`EvidenceCase`] for each finding, to an
//! [`EvidenceSink`]. Keeps the most recent packets within bounds, copies none of other connections, and opens no
//! file.

mod recent;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::recent::RecentPackets;
pub(crate) use self::recent::Relevance;
use crate::capture::Frame;
use crate::decode::Endpoint;
use crate::flow::FlowId;
use crate::limits::{self, Limits};
use crate::packet::FrameRef;
use crate::record::{Body, Event, Evidence, Finding};
use crate::time::Timestamp;

/// Saves cases, as its implementation decides.
pub trait EvidenceSink: Send {
    /// Saves one case, and returns the name under which it was saved; `None` if it is not to be saved.
    ///
    /// # Errors
    ///
    /// The case cannot be saved, as the text of an anomaly. An implementation reports a lasting failure once, not
    /// for each case.
    fn keep(&mut self, case: &EvidenceCase<'_>) -> Result<Option<Arc<str>>, String>;
}

/// A finding, and the packets of the connections that it rests on.
pub struct EvidenceCase<'a> {
    /// Time at which it was reported.
    pub at: Timestamp,
    /// The finding itself.
    pub finding: &'a Finding,
    /// The packets in the order in which they were read: the first and the last ones of each connection that its
    /// evidence refers to, and of the look-ups of these connections, with the answers of name servers.
    pub packets: Vec<CasePacket<'a>>,
    /// Packets of its evidence that are no longer in memory.
    pub missing: usize,
    /// Packets of the same connections that are missing between the first and the last ones.
    pub left_out: u64,
    /// Whether it was saved before with fewer packets, when the close had not been captured yet.
    pub is_again: bool,
}

/// A packet of a case.
pub struct CasePacket<'a> {
    /// Its frame, cut at [`EvidenceLimits::frame`](limits::EvidenceLimits::frame).
    pub frame: Frame<'a>,
    /// The evidence of the finding that this packet shows.
    pub shows: Vec<&'a Evidence>,
}

/// Collects packets, and joins each finding with those that are still in memory.
pub(crate) struct EvidenceCollector {
    recent: RecentPackets,
    /// The look-up of each connection: its session id, and the frame of the answer.
    lookups: VecDeque<(Arc<str>, FrameRef)>,
    /// Endpoints at which nodes listen, and the frame that showed it.
    nodes: VecDeque<(Endpoint, FrameRef)>,
    most_lookups: usize,
    archive: Box<dyn EvidenceSink>,
    /// Cases that may get more packets, in the order in which they were reported.
    unsettled: VecDeque<Unsettled>,
}

/// A case that was saved a moment ago.
struct Unsettled {
    /// When it is saved again, if it has more packets by then.
    due: Timestamp,
    at: Timestamp,
    finding: Box<Finding>,
    wanted: Vec<FrameRef>,
    /// Number of packets that it had.
    packets: usize,
}

impl EvidenceCollector {
    pub(crate) fn new(limits: &Limits, archive: Box<dyn EvidenceSink>) -> Self {
        Self {
            recent: RecentPackets::new(limits.evidence),
            lookups: VecDeque::new(),
            nodes: VecDeque::new(),
            most_lookups: limits.lookups,
            archive,
            unsettled: VecDeque::new(),
        }
    }

    /// Takes the frame that is being processed. It is kept if [`Self::on_packet`] is called for it before the next frame, or,
    /// if it is relevant later, until then.
    #[cold] // few runs collect evidence
    pub(crate) fn on_frame(&mut self, frame: &Frame<'_>, relevance: Relevance) {
        self.recent.stage(frame, relevance);
    }

    /// Another connection has begun at `flow`.
    pub(crate) fn on_connection(&mut self, flow: FlowId) {
        self.recent.begin(flow);
    }

    /// The packet in `frame` belongs to the connection at `flow`.
    pub(crate) fn on_packet(&mut self, flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) {
        self.recent.attach(flow, frame, ends);
    }

    /// A frame with the answer of a name server: to `client`, or to all, about the addresses `ips`.
    pub(crate) fn on_names(&mut self, frame: &Frame<'_>, client: Option<IpAddr>, ips: Vec<IpAddr>) {
        self.recent.stage(frame, Relevance::Now);
        self.recent.note_names(client, ips);
    }

    /// Time passes: cases that were saved long enough before `now` and have got more packets since are saved again.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while self.unsettled.front().is_some_and(|case| case.due <= now) {
            let Some(case) = self.unsettled.pop_front() else { break };
            let Unsettled { at, finding, wanted, packets, .. } = case;
            let again = EvidenceCase { is_again: true, ..self.recent.case(at, &finding, &wanted) };
            if again.packets.len() > packets {
                // If it cannot be saved again, the first version stays.
                let _ = self.archive.keep(&again);
            }
        }
    }

    /// Processes an event before it is reported: remembers look-ups, and saves the packets of a finding, which then
    /// contains the name of the file.
    ///
    /// # Errors
    ///
    /// Those of [`EvidenceSink::keep`].
    pub(crate) fn on_event(&mut self, event: &mut Event) -> Result<(), String> {
        match &mut event.body {
            Body::Session { session } => {
                if let (Some(lookup), Some(own)) = (&session.lookup, &event.connection) {
                    let lookup = (Arc::clone(&own.session_id), lookup.reply);
                    if self.lookups.back() != Some(&lookup) {
                        limits::remember(&mut self.lookups, lookup, self.most_lookups);
                    }
                }
            }
            Body::Epmd { epmd } => {
                let (Some(own), Some(frame)) = (&event.connection, event.frame) else {
                    return Ok(());
                };
                // A node that registers listens at its own address; an answer describes the host of the EPMD that
                // sent it.
                let ip = if epmd.request == Some(REGISTRATION) { own.src_ip } else { own.dest_ip };
                let listed = epmd.names.iter().flatten().map(|listed| listed.port);
                for port in epmd.port.into_iter().chain(listed) {
                    let node = (Endpoint { ip, port }, frame);
                    limits::remember(&mut self.nodes, node, self.most_lookups);
                }
            }
            Body::Finding { finding } => {
                let own = event.connection.as_ref().map(|own| &own.session_id);
                let shown = finding.evidence.iter().map(|evidence| evidence.frame);
                let mut wanted: Vec<_> = shown.chain(event.frame).collect();
                let others = finding.evidence.iter().filter_map(|it| it.session_id.as_ref());
                for session in own.into_iter().chain(others) {
                    let known = self.lookups.iter().rev().find(|(id, _)| id == session);
                    wanted.extend(known.map(|(_, reply)| *reply));
                }
                wanted.sort_unstable();
                // The answer that contained its port shows the node of a connection without a handshake.
                wanted.extend(self.recent.ends_of(&wanted).into_iter().filter_map(|end| {
                    self.nodes.iter().rev().find(|(node, _)| *node == end).map(|(_, frame)| *frame)
                }));
                wanted.sort_unstable();
                wanted.dedup();
                let case = self.recent.case(event.at, finding, &wanted);
                if case.packets.is_empty() {
                    return Ok(());
                }
                let packets = case.packets.len();
                finding.evidence_file = self.archive.keep(&case)?;
                if finding.evidence_file.is_some() {
                    let (due, at) = (event.at.after(AFTERMATH), event.at);
                    let finding = finding.clone();
                    let case = Unsettled { due, at, finding, wanted, packets };
                    limits::remember(&mut self.unsettled, case, MOST_UNSETTLED);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long a case waits for further packets: the answer to a close that was reported comes within a few round
/// trips.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Cases that wait at a time; with more, the oldest are not saved again.
const MOST_UNSETTLED: usize = 64;

/// The request by which a node registers.
const REGISTRATION: &str = "ALIVE2_REQ";

impl fmt::Debug for EvidenceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("recent", &self.recent).finish_non_exhaustive()
    }
}
