//! Beside the pipeline: the packets that findings rest on.
//!
//! In: frames of the connections that are followed, and the findings. Out: a [`Case`] a finding, to an
//! [`EvidenceSink`]. Keeps the last of what comes within bounds, copies nothing of what is not followed, and
//! opens no file.

mod recent;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use self::recent::Recent;
pub(crate) use self::recent::Relevance;
use crate::capture::Frame;
use crate::decode::Endpoint;
use crate::flow::FlowId;
use crate::limits::{self, Limits};
use crate::packet::FrameRef;
use crate::record::{Body, Event, Evidence, Finding};
use crate::time::Timestamp;

/// Keeps cases, where and as it likes.
pub trait EvidenceSink: Send {
    /// Keeps one case, and gives the name under which; `None` where it was not to be kept.
    ///
    /// # Errors
    ///
    /// It cannot be kept, in words for an anomaly. An archive says so once and not for each case.
    fn keep(&mut self, case: &Case<'_>) -> Result<Option<Arc<str>>, String>;
}

/// A finding, and the packets of the connections that it rests on.
pub struct Case<'a> {
    /// When it was told.
    pub at: Timestamp,
    /// The finding.
    pub finding: &'a Finding,
    /// The packets in the order in which they were read: of each connection those from its start and the
    /// last ones, of the connections that its evidence names, and of the look-ups behind them, with the
    /// answers of name servers.
    pub packets: Vec<Packet<'a>>,
    /// Packets of its evidence that are not among them: too long ago.
    pub missing: usize,
    /// Packets of the same connections that were left out between the first and the last.
    pub left_out: u64,
    /// It was given before, with fewer packets: the close was still to come.
    pub is_again: bool,
}

/// One packet of a case.
pub struct Packet<'a> {
    /// Its frame, cut at [`EvidenceLimits::frame`](limits::EvidenceLimits::frame).
    pub frame: Frame<'a>,
    /// What the finding says about it.
    pub shows: Vec<&'a Evidence>,
}

/// Joins findings with the packets that are still at hand, for an archive.
pub(crate) struct EvidenceCollector {
    recent: Recent,
    /// The look-up behind a connection: its id, and the frame of the answer.
    lookups: VecDeque<(Arc<str>, FrameRef)>,
    /// Where nodes listen, and the frame that told it.
    nodes: VecDeque<(Endpoint, FrameRef)>,
    most_lookups: usize,
    archive: Box<dyn EvidenceSink>,
    /// Cases that may get more packets, in the order in which they were told.
    unsettled: VecDeque<Unsettled>,
}

/// A case that was kept a moment ago.
struct Unsettled {
    /// When it is looked at again.
    due: Timestamp,
    at: Timestamp,
    finding: Box<Finding>,
    wanted: Vec<FrameRef>,
    /// Packets that it had.
    packets: usize,
}

impl EvidenceCollector {
    pub(crate) fn new(limits: &Limits, archive: Box<dyn EvidenceSink>) -> Self {
        Self {
            recent: Recent::new(limits.evidence),
            lookups: VecDeque::new(),
            nodes: VecDeque::new(),
            most_lookups: limits.lookups,
            archive,
            unsettled: VecDeque::new(),
        }
    }

    /// Takes the frame that is being processed. It is kept if [`Self::on_packet`] says so before the next frame, or,
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
            let again = Case { is_again: true, ..self.recent.case(at, &finding, &wanted) };
            if again.packets.len() > packets {
                // What could be kept once stays as it was.
                let _ = self.archive.keep(&again);
            }
        }
    }

    /// Sees an event before it is told: learns the look-ups behind connections, and puts the packets of a
    /// finding into the archive, whose name for them the finding then tells.
    ///
    /// # Errors
    ///
    /// Those of the archive.
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
                // Whoever registers listens at its own address, whoever is asked tells of its host.
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
                // What a connection that said nothing was about shows in who told of its port.
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

/// How long packets of a case are waited for after it was told: the answer to the close that told it comes
/// within a few round trips.
const AFTERMATH: Duration = Duration::from_secs(1);

/// Cases waited for at a time; with more, the oldest stay as they are.
const MOST_UNSETTLED: usize = 64;

/// The request by which a node registers.
const REGISTRATION: &str = "ALIVE2_REQ";

impl fmt::Debug for EvidenceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("recent", &self.recent).finish_non_exhaustive()
    }
}
