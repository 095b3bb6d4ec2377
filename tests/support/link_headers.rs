//! A capture of Ethernet frames, written again as captures of other link types.

use beamscope::capture::{CaptureFile, Item};

use std::path::Path;

/// A link type, the bytes before an IPv4 datagram, and whether tshark 4.0 reads it.
pub(crate) struct LinkHeader {
    pub(crate) link: u16,
    /// The header for a datagram of this length.
    header: fn(usize) -> Vec<u8>,
    pub(crate) is_in_tshark: bool,
}

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

const fn known(link: u16, header: fn(usize) -> Vec<u8>) -> LinkHeader {
    LinkHeader { link, header, is_in_tshark: true }
}

const fn unknown(link: u16, header: fn(usize) -> Vec<u8>) -> LinkHeader {
    LinkHeader { link, header, is_in_tshark: false }
}

/// Headers of what tools write beside Ethernet, Linux cooked and raw IP, each as its specification shows it.
pub(crate) const LINK_HEADERS: &[LinkHeader] = &[
    unknown(8, |_| [&[0][..], &[0x45; 15]].concat()), // SLIP
    known(107, |_| vec![0x18, 0x41, 0x03, 0xcc]),     // frame relay
    known(109, |_| vec![2, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0]), // enc
    known(117, |_| [&[61, 2, 0, 0][..], &[0; 60]].concat()), // pflog
    known(178, |_| [&b"MGC\x01"[..], &MACS, &[8, 0]].concat()), // Juniper, Ethernet
    known(180, |_| [&b"MGC\x01"[..], &[0x18, 0x41, 0x03, 0xcc]].concat()), // Juniper, frame relay
    known(181, |_| b"MGC\x00\x0f\x00\x08\x00".to_vec()), // Juniper, Cisco HDLC
    unknown(179, |_| b"MGC\x01\x00\x21".to_vec()),    // Juniper, PPP
    known(192, |_| [&[0, 0, 8, 0, 1, 0, 0, 0][..], &MACS, &[8, 0]].concat()), // PPI
    known(226, |len| {
        [&[2, 2, 0, 1][..], &(len as u32).to_be_bytes(), &[0; 16]].concat() // ipnet
    }),
    known(239, |len| {
        let payload = [(len as u16 + 4).to_le_bytes(), [9, 0]].concat();
        [&[2, 0, 0, 5, 8, 0, 1, 0, 8, 0, 3, 0][..], &payload].concat() // NFLOG
    }),
    unknown(242, |_| vec![8, 0, 0, 0]), // IP over InfiniBand
    known(242, |_| [&[0; 40][..], &[8, 0, 0, 0]].concat()), // the same with a route header
    unknown(281, |_| [&MACS[..], &[0, 0, 4, 1, 8, 0]].concat()), // Broadcom tag
    unknown(282, |_| [&[0, 0, 4, 1][..], &MACS, &[8, 0]].concat()),
    unknown(284, |_| [&MACS[..], &[0x40, 8, 0, 0, 8, 0]].concat()), // Marvell tag
    unknown(285, |_| [&MACS[..], &[0xda, 0xda, 0, 0, 0x40, 8, 0, 0, 8, 0]].concat()),
];

/// The IPv4 datagrams of an Ethernet capture: time in microseconds, length on the wire, bytes.
fn datagrams(path: &Path) -> Vec<(u64, usize, Vec<u8>)> {
    let mut capture = CaptureFile::open(path, 0).unwrap();
    let mut found = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        let Item::Frame(frame) = item else { continue };
        let Some((header, ip)) = frame.bytes.split_first_chunk::<14>() else { continue };
        if header[12..] == [8, 0] {
            found.push((frame.at.0 / 1000, frame.wire_len as usize - 14, ip.to_vec()));
        }
    }
    found
}

/// The datagrams of the capture at `path` as a pcap file of another link type.
pub(crate) fn as_pcap(path: &Path, link: &LinkHeader) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x4_0000, link.link.into()] {
        file.extend(u32::to_le_bytes(word));
    }
    for (micros, wire_len, ip) in datagrams(path) {
        let header = (link.header)(wire_len);
        let lengths = [header.len() + ip.len(), header.len() + wire_len];
        for word in [micros / 1_000_000, micros % 1_000_000]
            .into_iter()
            .chain(lengths.map(|len| len as u64))
        {
            file.extend((word as u32).to_le_bytes());
        }
        file.extend(header);
        file.extend(ip);
    }
    file
}

/// The same as a snoop file of Ethernet frames.
pub(crate) fn as_snoop(path: &Path) -> Vec<u8> {
    let mut file = b"snoop\0\0\0\0\0\0\x02\0\0\0\x04".to_vec();
    for (micros, wire_len, ip) in datagrams(path) {
        let frame = [&MACS[..], &[8, 0], &ip].concat();
        let padding = frame.len().next_multiple_of(4) - frame.len();
        let words =
            [wire_len + 14, frame.len(), 24 + frame.len() + padding, 0].map(|word| word as u64);
        for word in words.into_iter().chain([micros / 1_000_000, micros % 1_000_000]) {
            file.extend((word as u32).to_be_bytes());
        }
        file.extend(frame);
        file.extend(vec![0; padding]);
    }
    file
}
