//! The two legs of a connection that a proxy forwards: from the client to the proxy, and from the proxy to the node.
//!
//! In: PROXY protocol headers, and the dials of [`Dials`]. Out: for one leg, what the other one shows. The legs are
//! matched by the client's address in the header, or by the hello that the proxy passes on unchanged. Where addresses do not
//! show which leg comes first, as at a router that translates them, the challenges show that the handshake is one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::dials::{Dial, Dials};
use crate::decode::Endpoint;
use crate::judge::JudgedConnection;
use crate::limits::remember;
use crate::observe::{ConnectionIds, Observation, ProxyHeaderFacts, Role, Settled};
use crate::time::Timestamp;

/// The last PROXY protocol headers.
#[derive(Debug, Default)]
pub struct Relays {
    headers: VecDeque<SeenHeader>,
}

/// A PROXY protocol header, and the connection that begins with it.
#[derive(Debug)]
pub struct SeenHeader {
    /// The connection from the load balancer to EPMD or to a node.
    pub connection: Arc<ConnectionIds>,
    /// The contents of the header.
    pub header: ProxyHeaderFacts,
}

impl Relays {
    pub(super) fn on_proxy_header(&mut self, settled: &Settled, header: &ProxyHeaderFacts) {
        let connection = Arc::clone(&settled.connection);
        remember(&mut self.headers, SeenHeader { connection, header: *header }, REMEMBERED);
    }

    /// The header that a load balancer sent for a connection of `client` to `dialed`, which was opened at `opened` and
    /// lasted until `closed`. A header that does not name its client may be for any connection of that time.
    pub fn sent_for(
        &self,
        client: Endpoint,
        dialed: Endpoint,
        (opened, closed): (Timestamp, Timestamp),
    ) -> Option<&SeenHeader> {
        let is_meant = |seen: &&SeenHeader| {
            let at = seen.header.mark.at;
            let is_then = at >= opened.before(REORDERED) && at <= closed.after(REORDERED);
            let is_client = match seen.header.client {
                Some(named) => (named.ip, named.port) == (client.ip.to_canonical(), client.port),
                None => seen.connection.src_ip == dialed.ip,
            };
            is_then && is_client
        };
        self.headers.iter().rev().find(is_meant)
    }

    /// The header on the connection with this `session_id`.
    fn of_session(&self, session_id: &str) -> Option<&SeenHeader> {
        self.headers.iter().rev().find(|seen| &*seen.connection.session_id == session_id)
    }

    /// The header that a load balancer sent for a dial to it: by the client in the header, or by the hello behind it.
    pub fn sent_for_dial(&self, it: &JudgedConnection, dials: &Dials) -> Option<&SeenHeader> {
        let [client, dialed] = Role::BOTH.map(|role| it.seen.ends[role]);
        let lasted = (it.seen.tcp.first.at, it.seen.open_until());
        let by_client = self.sent_for(client, dialed, lasted);
        by_client.or_else(|| self.of_session(&far_leg(&it.settled, &it.seen, dials)?.session_id))
    }
}

/// The dial with which the acceptor of a connection passed on the hello of its initiator.
pub(super) fn far_leg<'d>(
    settled: &Settled,
    seen: &Observation,
    dials: &'d Dials,
) -> Option<&'d Dial> {
    let proxy = seen.ends.acceptor.ip;
    let is_from_proxy = |dial: &&Dial| dial.from == proxy && dial.from != seen.ends.initiator.ip;
    with_its_hello(settled, seen, dials).find(is_from_proxy)
}

/// The dial whose hello the initiator of a connection passed on to the acceptor.
pub(super) fn near_leg<'d>(
    settled: &Settled,
    seen: &Observation,
    dials: &'d Dials,
) -> Option<&'d Dial> {
    let proxy = seen.ends.initiator.ip;
    let is_to_proxy = |dial: &&Dial| dial.to.ip == proxy && dial.from != proxy;
    with_its_hello(settled, seen, dials).find(is_to_proxy)
}

/// Whether the handshake of this connection was seen between other addresses as well: a translator or a proxy is between the
/// two nodes. Which of the addresses are their own is not known.
pub(super) fn has_other_addresses(settled: &Settled, seen: &Observation, dials: &Dials) -> bool {
    let [from, to] = Role::BOTH.map(|role| seen.ends[role].ip);
    with_its_hello(settled, seen, dials)
        .any(|dial| (dial.from, dial.to.ip) != (from, to) && dial.has_handshake_of(seen))
}

/// Other dials with the hello of this one, while this one lasted.
fn with_its_hello<'d>(
    settled: &Settled,
    seen: &Observation,
    dials: &'d Dials,
) -> impl Iterator<Item = &'d Dial> {
    let hello = seen.handshake.send_name.as_ref();
    let until = seen.open_until().after(REORDERED);
    let session_id = Arc::clone(&settled.connection.session_id);
    hello.into_iter().flat_map(move |hello| {
        let from = hello.mark.at.before(REORDERED);
        let session_id = Arc::clone(&session_id);
        dials.with_hello(&hello.what.name, hello.what.creation).filter(move |dial| {
            dial.session_id != session_id && dial.at >= from && dial.at <= until
        })
    })
}

/// Captures reorder packets by milliseconds.
const REORDERED: Duration = Duration::from_millis(50);

/// Maximum of headers kept: a load balancer forwards a few connections within the setup time of a node.
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{at, dial, mark};

    fn end(text: &str) -> Endpoint {
        let end: std::net::SocketAddr = text.parse().unwrap();
        Endpoint { ip: end.ip(), port: end.port() }
    }

    /// The balancer at 10.0.0.3 sends a header for `client` at `ms`.
    fn header(relays: &mut Relays, ms: u64, client: Option<&str>) {
        let far = dial(ms, "a@h1/10.0.0.3/1", "b@h2/10.0.0.2/2").judged();
        let client = client.map(end);
        let header = ProxyHeaderFacts { version: 1, mark: mark(ms), client, dialed: None };
        relays.on_proxy_header(&far.settled, &header);
    }

    #[test]
    fn a_header_is_for_the_connection_of_the_client_that_it_names() {
        let mut relays = Relays::default();
        header(&mut relays, 100, Some("10.0.0.1:40000"));
        let for_client = |client: &str, from: u64, until: u64| {
            relays.sent_for(end(client), end("10.0.0.3:9100"), (at(from), at(until))).is_some()
        };
        assert!(for_client("10.0.0.1:40000", 90, 7000));
        assert!(for_client("[::ffff:10.0.0.1]:40000", 90, 7000));
        assert!(!for_client("10.0.0.1:40001", 90, 7000), "another connection");
        assert!(!for_client("10.0.0.1:40000", 9000, 10_000), "the port was used again");
    }

    #[test]
    fn a_header_without_a_client_is_for_a_connection_of_that_time_to_its_sender() {
        let mut relays = Relays::default();
        header(&mut relays, 100, None);
        let for_dialed = |dialed: &str, until: u64| {
            let client = end("10.0.0.1:40000");
            relays.sent_for(client, end(dialed), (at(0), at(until))).is_some()
        };
        assert!(for_dialed("10.0.0.3:9100", 7000));
        assert!(!for_dialed("10.0.0.2:9100", 7000));
        assert!(!for_dialed("10.0.0.3:9100", 10));
    }

    #[test]
    fn headers_have_a_bound() {
        let mut relays = Relays::default();
        (0..2000).for_each(|ms| header(&mut relays, ms, None));
        assert_eq!(relays.headers.len(), REMEMBERED);
    }

    #[test]
    fn the_near_leg_is_the_dial_of_the_client_to_the_proxy() {
        let hello = |dials: &mut Dials, from: &str, to: &str, ms: u64| {
            let near = dial(ms, &format!("a@h1/{from}/1"), &format!("p@h3/{to}/3")).judged();
            let message = crate::observe::HandshakeObservation {
                name: Some("a@h1".into()),
                creation: Some(1),
                ..crate::observe::HandshakeObservation::new(
                    crate::observe::MessageKind::SendName,
                    Role::Initiator,
                )
            };
            dials.on_handshake(&near.settled, &message);
        };
        let found = |from: &str, to: &str| {
            let mut dials = Dials::default();
            hello(&mut dials, from, to, 100);
            let far = dial(101, "a@h1/10.0.0.3/1", "b@h2/10.0.0.2/2").judged();
            near_leg(&far.settled, &far.seen, &dials).map(|dial| dial.from)
        };
        assert_eq!(found("10.0.0.1", "10.0.0.3"), Some([10, 0, 0, 1].into()));
        assert_eq!(found("10.0.0.1", "10.0.0.2"), None, "it is not to the proxy");
        assert_eq!(found("10.0.0.3", "10.0.0.3"), None, "it is of the proxy");
    }
}
