//! Collection of the packets that findings are based on.
//!
//! In: frames of tracked connections, and findings. Out: one [`EvidenceCase`] for each finding, passed to an
//! [`EvidenceSink`]. Recent frames are kept within bounds; frames of other connections are not copied. This stage
//! opens no file.

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
use crate::observe::{Anomaly, AnomalyKind};
use crate::packet::FrameRef;
use crate::record::{Body, Event, Evidence, Finding};
use crate::time::Timestamp;

/// Destination of evidence cases, such as a folder of capture files.
pub trait EvidenceSink: Send {
    /// Stores one case and returns the name of its file; `None` if the case is not to be stored.
    ///
    /// # Errors
    ///
    /// The case cannot be stored. The text is for an anomaly; a sink returns it once and not for each case.
    fn keep(&mut self, case: &EvidenceCase<'_>) -> Result<Option<Arc<str>>, String>;
}

/// A finding, and the packets of the connections that it is based on.
pub struct EvidenceCase<'a> {
    /// Time of the finding, by the capture.
    pub at: Timestamp,
    /// The finding that the packets support.
    pub finding: &'a Finding,
    /// The packets in the order in which they were read: the first and the last ones of each connection in the
    /// evidence, those of the EPMD look-ups before these connections, and DNS responses about their addresses.
    pub packets: Vec<EvidencePacket<'a>>,
    /// Number of packets in the evidence that are no longer buffered.
    pub missing: usize,
    /// Number of packets of the same connections that were discarded between the first and the last ones.
    pub left_out: u64,
    /// The case was stored before with fewer packets, since packets of the close arrived after the finding.
    pub is_update: bool,
}

/// One packet of an evidence case.
pub struct EvidencePacket<'a> {
    /// Its frame, truncated to [`EvidenceLimits::frame`](limits::EvidenceLimits::frame).
    pub frame: Frame<'a>,
    /// The items of evidence that refer to it.
    pub shows: Vec<&'a Evidence>,
}

/// Selects the buffered packets of each finding, and passes them to a sink.
pub(crate) struct EvidenceCollector {
    recent: RecentPackets,
    /// Look-ups by connection: the session identifier, and the frame of the EPMD response.
    lookups: VecDeque<(Arc<str>, FrameRef)>,
    /// Endpoints at which nodes listen, and the frame of the EPMD message that gives the port.
    nodes: VecDeque<(Endpoint, FrameRef)>,
    max_lookups: usize,
    sink: Box<dyn EvidenceSink>,
    /// Cases that may get more packets, in the order of their findings.
    pending_cases: VecDeque<PendingCase>,
    /// Whether it was reported that there were more of them than are kept.
    has_overflowed: bool,
}

/// A stored case that may get more packets.
struct PendingCase {
    /// Time at which it is checked for more packets.
    due: Timestamp,
    at: Timestamp,
    finding: Box<Finding>,
    wanted: Vec<FrameRef>,
    /// Number of packets when it was stored.
    packets: usize,
}

impl EvidenceCollector {
    pub(crate) fn new(limits: &Limits, sink: Box<dyn EvidenceSink>) -> Self {
        Self {
            recent: RecentPackets::new(limits.evidence),
            lookups: VecDeque::new(),
            nodes: VecDeque::new(),
            max_lookups: limits.lookups,
            sink,
            pending_cases: VecDeque::new(),
            has_overflowed: false,
        }
    }

    /// Stages the current frame. [`Self::on_packet`] must claim it before the next frame arrives; only a frame that
    /// may become relevant later stays buffered without that.
    #[cold] // out of line, because few runs collect evidence
    pub(crate) fn on_frame(&mut self, frame: &Frame<'_>, relevance: Relevance) {
        self.recent.stage(frame, relevance);
    }

    /// A new connection uses the identifier `flow`.
    pub(crate) fn on_connection(&mut self, flow: FlowId) {
        self.recent.begin(flow);
    }

    /// The packet in `frame` belongs to the connection `flow`.
    pub(crate) fn on_packet(&mut self, flow: FlowId, frame: FrameRef, ends: [Endpoint; 2]) {
        self.recent.attach(flow, frame, ends);
    }

    /// Buffers a frame with a DNS response about the addresses `ips`, sent to `client`, or to all hosts (mDNS).
    pub(crate) fn on_names(&mut self, frame: &Frame<'_>, client: Option<IpAddr>, ips: Vec<IpAddr>) {
        self.recent.stage(frame, Relevance::Now);
        self.recent.attach_dns_response(client, ips);
    }

    /// Stores those cases again that are due at `now` and have more packets than before.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        while self.pending_cases.front().is_some_and(|case| case.due <= now) {
            self.update_oldest();
        }
    }

    /// Stores the case of the oldest finding again if it has more packets than before.
    fn update_oldest(&mut self) {
        let Some(case) = self.pending_cases.pop_front() else { return };
        let PendingCase { at, finding, wanted, packets, .. } = case;
        let update = EvidenceCase { is_update: true, ..self.recent.case(at, &finding, &wanted) };
        if update.packets.len() > packets {
            // After an error, the case that was stored first remains.
            let _ = self.sink.keep(&update);
        }
    }

    /// Processes an event before it is reported: records look-ups and ports of nodes, and passes the packets of a
    /// finding to the sink. The name that the sink returns is set in the finding.
    ///
    /// # Errors
    ///
    /// The sink could not store the case; or, once a run, there are more cases than wait for further packets.
    pub(crate) fn on_event(&mut self, event: &mut Event) -> Result<(), Anomaly> {
        match &mut event.body {
            Body::Session { session } => {
                if let (Some(lookup), Some(own)) = (&session.lookup, &event.connection) {
                    let lookup = (Arc::clone(&own.session_id), lookup.reply);
                    if self.lookups.back() != Some(&lookup) {
                        limits::remember(&mut self.lookups, lookup, self.max_lookups);
                    }
                }
            }
            Body::Epmd { epmd } => {
                let (Some(own), Some(frame)) = (&event.connection, event.frame) else {
                    return Ok(());
                };
                // A registering node listens at its own address; a look-up returns ports of the host of EPMD.
                let ip = if epmd.request == Some(REGISTRATION) { own.src_ip } else { own.dest_ip };
                let listed = epmd.names.iter().flatten().map(|listed| listed.port);
                for port in epmd.port.into_iter().chain(listed) {
                    let node = (Endpoint { ip, port }, frame);
                    limits::remember(&mut self.nodes, node, self.max_lookups);
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
                // Of a connection without a handshake, the EPMD message with its port shows which node was dialled.
                wanted.extend(self.recent.endpoints_of(&wanted).into_iter().filter_map(|end| {
                    self.nodes.iter().rev().find(|(node, _)| *node == end).map(|(_, frame)| *frame)
                }));
                wanted.sort_unstable();
                wanted.dedup();
                let case = self.recent.case(event.at, finding, &wanted);
                if case.packets.is_empty() {
                    return Ok(());
                }
                let packets = case.packets.len();
                let kept = self.sink.keep(&case);
                finding.evidence_file =
                    kept.map_err(|detail| Anomaly::new(AnomalyKind::NotSaved, detail))?;
                if finding.evidence_file.is_some() {
                    let (due, at) = (event.at.after(UPDATE_DELAY), event.at);
                    let finding = finding.clone();
                    let is_full = self.pending_cases.len() >= MAX_PENDING_CASES;
                    if is_full {
                        // What has come by now is in its file at least.
                        self.update_oldest();
                    }
                    self.pending_cases.push_back(PendingCase { due, at, finding, wanted, packets });
                    if is_full && !std::mem::replace(&mut self.has_overflowed, true) {
                        let detail = format!(
                            "more than {MAX_PENDING_CASES} findings within a second: the files of evidence of the oldest \
                             of them may lack packets that came after the finding"
                        );
                        return Err(Anomaly::new(AnomalyKind::Limit, detail));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Time after a finding until its case is checked for more packets: the peer answers a FIN or RST within a few
/// round trips.
const UPDATE_DELAY: Duration = Duration::from_secs(1);

/// Most cases that wait to be checked again; when there are more, the oldest are checked at once.
const MAX_PENDING_CASES: usize = 64;

/// The EPMD request with which a node registers.
const REGISTRATION: &str = "ALIVE2_REQ";

impl fmt::Debug for EvidenceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvidenceCollector").field("recent", &self.recent).finish_non_exhaustive()
    }
}
