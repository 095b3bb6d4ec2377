//! Builds a capture in memory, packet by packet, for situations that no recorded capture shows.
//!
//! A capture is a list of TCP connections between IPv4 or IPv6 hosts, each with its own sequence numbers. The methods
//! for EPMD and the handshake add one message each, so that a test can stop, repeat or change any of them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::TestDir;

/// A capture that grows by one packet at a time; each is a millisecond after the one before.
pub(crate) struct CaptureBuilder {
    pcap: Vec<u8>,
    now: Duration,
    frames: usize,
}

/// One end of a connection: where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Initiator,
    Acceptor,
}

/// A TCP connection within a capture. Its packets are written in the order of the calls.
pub(crate) struct Connection<'a> {
    capture: &'a mut CaptureBuilder,
    /// The address of each end, initiator first.
    addresses: [SocketAddr; 2],
    /// The sequence number that each end uses next.
    next_seq: [u32; 2],
    /// How far the stream of each end has arrived at the other.
    arrived: [u32; 2],
}

/// A connection that goes on after packets of others.
#[derive(Clone, Copy)]
pub(crate) struct PausedConnection {
    addresses: [SocketAddr; 2],
    next_seq: [u32; 2],
    arrived: [u32; 2],
}

impl CaptureBuilder {
    pub(crate) fn new() -> Self {
        let mut pcap = Vec::new();
        // Magic number of microsecond files, version 2.4, time zone, accuracy, snaplen, Ethernet.
        pcap.extend(0xa1b2_c3d4_u32.to_le_bytes());
        pcap.extend([2, 0, 4, 0]);
        pcap.extend([0; 8]);
        pcap.extend(0x4_0000_u32.to_le_bytes());
        pcap.extend(1_u32.to_le_bytes());
        Self { pcap, now: Duration::from_secs(1_795_000_000), frames: 0 }
    }

    /// Lets time pass before the next packet.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Number of frames so far.
    pub(crate) const fn frames(&self) -> usize {
        self.frames
    }

    /// Writes the capture into a folder and returns its path.
    pub(crate) fn write(&self, folder: &TestDir, name: &str) -> String {
        let path = folder.file(name);
        fs::write(&path, &self.pcap).unwrap();
        path
    }

    /// A connection whose three-way handshake succeeds.
    pub(crate) fn connect(&mut self, initiator: &str, acceptor: &str) -> Connection<'_> {
        self.connect_from(initiator, acceptor, 1_000)
    }

    /// A connection whose initiator begins with this sequence number.
    pub(crate) fn connect_from(
        &mut self,
        initiator: &str,
        acceptor: &str,
        seq: u32,
    ) -> Connection<'_> {
        let mut connection = self.dial_from(initiator, acceptor, seq);
        connection.answer_syn();
        connection
    }

    /// A connection of which there is only the SYN so far.
    pub(crate) fn dial(&mut self, initiator: &str, acceptor: &str) -> Connection<'_> {
        self.dial_from(initiator, acceptor, 1_000)
    }

    fn dial_from(&mut self, initiator: &str, acceptor: &str, seq: u32) -> Connection<'_> {
        let addresses = [initiator, acceptor].map(|address| address.parse().unwrap());
        let (next_seq, arrived) = ([seq, 5_000], [seq, 5_000]);
        let mut connection = Connection { capture: self, addresses, next_seq, arrived };
        connection.packet(End::Initiator, SYN, b"");
        connection
    }

    /// A connection that was opened before the capture begins.
    pub(crate) fn opened_before(&mut self, initiator: &str, acceptor: &str) -> Connection<'_> {
        let addresses = [initiator, acceptor].map(|address| address.parse().unwrap());
        let (next_seq, arrived) = ([1_001, 5_001], [1_001, 5_001]);
        Connection { capture: self, addresses, next_seq, arrived }
    }

    /// Goes on with a connection of this capture.
    pub(crate) fn resume(&mut self, paused: PausedConnection) -> Connection<'_> {
        let PausedConnection { addresses, next_seq, arrived } = paused;
        Connection { capture: self, addresses, next_seq, arrived }
    }

    /// A whole conversation with EPMD: the port of a node is asked for; `None` if it is not registered.
    pub(crate) fn epmd_lookup(&mut self, from: &str, epmd: &str, node: &str, port: Option<u16>) {
        let mut connection = self.connect(from, epmd);
        // PORT_PLEASE2_REQ ('z'): Distribution Protocol, "EPMD Protocol".
        let request = [b"z", node.as_bytes()].concat();
        connection.send_framed(End::Initiator, &request);
        connection.send(End::Acceptor, &Self::port_response(node, port));
        connection.close(End::Acceptor);
    }

    /// PORT2_RESP ('w'): Distribution Protocol, "EPMD Protocol".
    pub(crate) fn port_response(node: &str, port: Option<u16>) -> Vec<u8> {
        let mut response = vec![b'w', u8::from(port.is_none())];
        if let Some(port) = port {
            response.extend(port.to_be_bytes());
            // A normal node over TCP, versions 6 to 5 as OTP 25 has them, its name, no extra field.
            response.extend([b'M', 0, 0, 6, 0, 5]);
            response.extend(named(node));
            response.extend([0, 0]);
        }
        response
    }

    /// A node registers with EPMD, and stays registered: the connection is not closed.
    pub(crate) fn epmd_register(
        &mut self,
        from: &str,
        epmd: &str,
        node: &str,
        port: u16,
    ) -> Connection<'_> {
        let mut connection = self.connect(from, epmd);
        // ALIVE2_REQ ('x') and ALIVE2_X_RESP ('v').
        let kind = [b'M', 0, 0, 6, 0, 5];
        let request = [b"x".as_slice(), &port.to_be_bytes(), &kind, &named(node), &[0, 0]].concat();
        connection.send_framed(End::Initiator, &request);
        connection.send(End::Acceptor, &[b"v\0".as_slice(), &CREATION].concat());
        connection
    }

    /// A DNS question for the IPv4 address of a name, without an answer.
    pub(crate) fn dns_question(&mut self, client: &str, server: &str, name: &str) {
        let message = [&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &question(name)].concat();
        self.datagram(client, server, &message);
    }

    /// A DNS question for the IPv4 address of a name, and an answer with this response code and these addresses.
    pub(crate) fn dns(
        &mut self,
        client: &str,
        server: &str,
        name: &str,
        code: u8,
        ips: &[[u8; 4]],
    ) {
        self.dns_question(client, server, name);
        let head = [0, 7, 0x81, 0x80 | code, 0, 1, 0, ips.len() as u8, 0, 0, 0, 0];
        let mut message = [&head[..], &question(name)].concat();
        for ip in ips {
            // A pointer to the name in the question, type A, class IN, a minute to live.
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            message.extend(ip);
        }
        self.datagram(server, client, &message);
    }

    /// An ARP question of one host for another.
    pub(crate) fn arp_request(&mut self, sender: [u8; 4], target: [u8; 4]) {
        self.arp(1, sender, target);
    }

    /// An ARP answer of `sender` to `target`.
    pub(crate) fn arp_reply(&mut self, sender: [u8; 4], target: [u8; 4]) {
        self.arp(2, sender, target);
    }

    fn arp(&mut self, operation: u8, sender: [u8; 4], target: [u8; 4]) {
        let head = [0, 1, 8, 0, 6, 4, 0, operation];
        let own = mac(sender.into());
        let body = [&head[..], &own, &sender, &[0; 6], &target].concat();
        self.frame(&[&[0xff; 6][..], &own, &[8, 6], &body].concat());
    }

    fn datagram(&mut self, from: &str, to: &str, payload: &[u8]) {
        let [source, target]: [SocketAddr; 2] = [from, to].map(|address| address.parse().unwrap());
        let len = (8 + payload.len()) as u16;
        let ports = [source.port(), target.port(), len].map(u16::to_be_bytes).concat();
        let udp = [&ports[..], &[0, 0], payload].concat();
        self.frame(&ethernet(source.ip(), target.ip(), UDP, &udp));
    }

    fn frame(&mut self, ethernet: &[u8]) {
        self.frames += 1;
        self.now += Duration::from_millis(1);
        self.pcap.extend((self.now.as_secs() as u32).to_le_bytes());
        self.pcap.extend(self.now.subsec_micros().to_le_bytes());
        let len = (ethernet.len() as u32).to_le_bytes();
        self.pcap.extend([len, len].concat());
        self.pcap.extend(ethernet);
    }
}

impl Connection<'_> {
    /// Its state after the packets so far, to go on with it after packets of others.
    pub(crate) const fn pause(&self) -> PausedConnection {
        let Self { addresses, next_seq, arrived, .. } = *self;
        PausedConnection { addresses, next_seq, arrived }
    }

    /// Number of frames of the capture so far.
    pub(crate) const fn frames(&self) -> usize {
        self.capture.frames()
    }

    /// Lets time pass before the next packet.
    pub(crate) fn wait(&mut self, time: Duration) -> &mut Self {
        self.capture.wait(time);
        self
    }

    /// Sends bytes as one segment.
    pub(crate) fn send(&mut self, from: End, payload: &[u8]) -> &mut Self {
        self.packet(from, PSH | ACK, payload)
    }

    /// Sends a message behind its length in two bytes, as EPMD requests and the handshake have it.
    pub(crate) fn send_framed(&mut self, from: End, message: &[u8]) -> &mut Self {
        let len = (message.len() as u16).to_be_bytes();
        self.send(from, &[&len, message].concat())
    }

    /// Sends bytes as one segment that does not arrive, and sends it again `times` times, as Linux does.
    pub(crate) fn send_in_vain(&mut self, from: End, payload: &[u8], times: u32) -> &mut Self {
        let arrived = self.arrived;
        self.send(from, payload);
        self.arrived = arrived;
        for n in 0..times {
            self.wait(Duration::from_millis(200 << n)).repeat_in_vain(from, payload);
        }
        self
    }

    /// Sends the last bytes of this end again, and again they do not arrive.
    pub(crate) fn repeat_in_vain(&mut self, from: End, payload: &[u8]) -> &mut Self {
        let arrived = self.arrived;
        self.send_again(from, payload);
        self.arrived = arrived;
        self
    }

    /// Sends the last bytes of this end again, and now they arrive.
    pub(crate) fn send_again(&mut self, from: End, payload: &[u8]) -> &mut Self {
        self.next_seq[from as usize] = self.arrived[from as usize];
        self.send(from, payload)
    }

    /// Acknowledges what has arrived, and sends nothing.
    pub(crate) fn acknowledge(&mut self, from: End) -> &mut Self {
        self.packet(from, ACK, b"")
    }

    /// Closes the connection from both ends; `first` sends the first FIN.
    pub(crate) fn close(&mut self, first: End) -> &mut Self {
        self.packet(first, FIN | ACK, b"");
        self.packet(first.peer(), FIN | ACK, b"");
        self.packet(first, ACK, b"")
    }

    /// Aborts the connection.
    pub(crate) fn reset(&mut self, from: End) -> &mut Self {
        self.packet(from, RST | ACK, b"")
    }

    /// A SYN with another sequence number, from this end.
    pub(crate) fn decoy_syn(&mut self, from: End) -> &mut Self {
        let before = (self.next_seq, self.arrived);
        self.next_seq[from as usize] ^= 0x5a5a_5a5a;
        self.packet(from, SYN, b"");
        (self.next_seq, self.arrived) = before;
        self
    }

    /// A SYN-ACK that the other end does not get.
    pub(crate) fn decoy_syn_ack(&mut self) -> &mut Self {
        let before = (self.next_seq, self.arrived);
        self.packet(End::Acceptor, SYN | ACK, b"");
        (self.next_seq, self.arrived) = before;
        self
    }

    /// Sends the SYN of the initiator again.
    pub(crate) fn dial_again(&mut self) -> &mut Self {
        self.next_seq[0] = self.next_seq[0].wrapping_sub(1);
        self.packet(End::Initiator, SYN, b"")
    }

    /// Bytes that the other end does not get.
    pub(crate) fn decoy(&mut self, from: End, payload: &[u8]) -> &mut Self {
        let before = (self.next_seq, self.arrived);
        self.send(from, payload);
        (self.next_seq, self.arrived) = before;
        self
    }

    /// An RST without an acknowledgement, as a host without the connection answers.
    pub(crate) fn reset_bare(&mut self, from: End) -> &mut Self {
        self.packet(from, RST, b"")
    }

    /// The answer to the SYN, and its acknowledgement.
    pub(crate) fn answer_syn(&mut self) -> &mut Self {
        self.packet(End::Acceptor, SYN | ACK, b"").packet(End::Initiator, ACK, b"")
    }

    /// An ICMP error about the SYN, by the acceptor: port unreachable (RFC 792).
    pub(crate) fn unreachable(&mut self) -> &mut Self {
        self.unreachable_about(self.next_seq[0].wrapping_sub(1))
    }

    /// The same, about the segment of the initiator with this sequence number.
    pub(crate) fn unreachable_about(&mut self, seq: u32) -> &mut Self {
        let [source, target] = self.addresses;
        let mut tcp = [source.port(), target.port()].map(u16::to_be_bytes).concat();
        tcp.extend(seq.to_be_bytes());
        let quoted = &ethernet(source.ip(), target.ip(), TCP, &tcp)[14..];
        let mut icmp = [&[3, 3, 0, 0, 0, 0, 0, 0][..], quoted].concat();
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum);
        self.capture.frame(&ethernet(target.ip(), source.ip(), ICMP, &icmp));
        self
    }

    /// `send_name` of OTP 23 and later, by the initiator.
    pub(crate) fn send_name(&mut self, node: &str) -> &mut Self {
        self.send_name_of(node, CREATION)
    }

    /// The same, of a node with this creation.
    pub(crate) fn send_name_of(&mut self, node: &str, creation: [u8; 4]) -> &mut Self {
        let message = [b"N".as_slice(), &FLAGS, &creation, &named(node)].concat();
        self.send_framed(End::Initiator, &message)
    }

    /// The status of the acceptor: `ok`, `nok`, `not_allowed`, `alive` ...
    pub(crate) fn send_status(&mut self, status: &str) -> &mut Self {
        self.send_framed(End::Acceptor, &[b"s", status.as_bytes()].concat())
    }

    /// The challenge of the acceptor, with its name.
    pub(crate) fn send_challenge(&mut self, node: &str, challenge: u32) -> &mut Self {
        let challenge = challenge.to_be_bytes();
        let message = [b"N".as_slice(), &FLAGS, &challenge, &CREATION, &named(node)].concat();
        self.send_framed(End::Acceptor, &message)
    }

    /// The initiator's reply: the digest for the acceptor's challenge, and a challenge of its own.
    pub(crate) fn send_challenge_reply(
        &mut self,
        cookie: &str,
        acceptors: u32,
        own: u32,
    ) -> &mut Self {
        let message = [b"r".as_slice(), &own.to_be_bytes(), &digest(cookie, acceptors)].concat();
        self.send_framed(End::Initiator, &message)
    }

    /// The acceptor's answer to the initiator's challenge, which completes the handshake.
    pub(crate) fn send_challenge_ack(&mut self, cookie: &str, initiators: u32) -> &mut Self {
        let message = [b"a".as_slice(), &digest(cookie, initiators)].concat();
        self.send_framed(End::Acceptor, &message)
    }

    /// The initiator's answer to status `alive`.
    pub(crate) fn send_alive_reply(&mut self, reply: &str) -> &mut Self {
        self.send_framed(End::Initiator, &[b"s", reply.as_bytes()].concat())
    }

    /// A keep-alive of a connected node: a distribution message of no bytes.
    pub(crate) fn send_tick(&mut self, from: End) -> &mut Self {
        self.send(from, &[0; 4])
    }

    /// One TCP segment in IP in Ethernet, with the checksums that a receiver would verify.
    fn packet(&mut self, from: End, flags: u8, payload: &[u8]) -> &mut Self {
        let (own, peer) = (from as usize, from.peer() as usize);
        let (source, target) = (self.addresses[own], self.addresses[peer]);
        let ack = if flags & ACK == 0 { 0 } else { self.arrived[peer] };

        let mut tcp = Vec::new();
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(target.port().to_be_bytes());
        tcp.extend(self.next_seq[own].to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        // A header of five words, a window of 64 KB, no urgent data.
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let sum = tcp_checksum(source.ip(), target.ip(), &tcp);
        tcp[16..18].copy_from_slice(&sum);

        let ethernet = ethernet(source.ip(), target.ip(), TCP, &tcp);
        self.capture.frame(&ethernet);
        let control = u32::from(flags & (SYN | FIN) != 0);
        let is_next = self.arrived[own] == self.next_seq[own];
        self.next_seq[own] = self.next_seq[own].wrapping_add(payload.len() as u32 + control);
        if is_next {
            self.arrived[own] = self.next_seq[own];
        }
        self
    }
}

impl End {
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }
}

/// A DNS question of type A and class IN.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// A name behind its length in two bytes.
fn named(node: &str) -> Vec<u8> {
    [&(node.len() as u16).to_be_bytes(), node.as_bytes()].concat()
}

/// MD5 of the cookie and the challenge in decimal: "The Handshake in Detail", `gen_digest`.
fn digest(cookie: &str, challenge: u32) -> [u8; 16] {
    md5::compute(format!("{cookie}{challenge}")).0
}

/// A datagram of an IP protocol in Ethernet.
fn ethernet(source: IpAddr, target: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let len = body.len() as u16;
    let (kind, ip) = match source {
        IpAddr::V4(_) => {
            let mut ip = vec![0x45, 0];
            ip.extend((20 + len).to_be_bytes());
            // No identification, "don't fragment", a TTL of 64.
            ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            ip.extend([address_bytes(source), address_bytes(target)].concat());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum);
            ([0x08, 0x00], ip)
        }
        IpAddr::V6(_) => {
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(len.to_be_bytes());
            ip.extend([protocol, 64]);
            ip.extend([address_bytes(source), address_bytes(target)].concat());
            ([0x86, 0xdd], ip)
        }
    };
    [&mac(target)[..], &mac(source), &kind, &ip, body].concat()
}

/// The checksum of a TCP segment whose own field for it is 0.
pub(crate) fn tcp_checksum(source: IpAddr, target: IpAddr, segment: &[u8]) -> [u8; 2] {
    checksum(&[&pseudo_header(source, target, TCP, segment), segment].concat())
}

/// What the checksum of a protocol over IP begins with: RFC 9293, section 3.1, and RFC 8200, section 8.1.
fn pseudo_header(source: IpAddr, target: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [&address_bytes(source)[..], &address_bytes(target), &[0, protocol], &len].concat()
}

fn address_bytes(host: IpAddr) -> Vec<u8> {
    match host {
        IpAddr::V4(host) => host.octets().to_vec(),
        IpAddr::V6(host) => host.octets().to_vec(),
    }
}

/// A locally administered address for each host.
fn mac(host: IpAddr) -> Vec<u8> {
    let address = address_bytes(host);
    [&[2, 0], &address[address.len() - 4..]].concat()
}

/// The Internet checksum, RFC 1071.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words =
        bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}

/// The flags of OTP 25.
const FLAGS: [u8; 8] = 0xd_07df_7fbd_u64.to_be_bytes();

/// A creation, as a node gets one from EPMD when it registers.
const CREATION: [u8; 4] = 0x6a00_0001_u32.to_be_bytes();

/// The number of ICMP among the protocols over IP.
const ICMP: u8 = 1;

/// The number of TCP among the protocols over IP.
const TCP: u8 = 6;

/// The number of UDP among the protocols over IP.
const UDP: u8 = 17;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
