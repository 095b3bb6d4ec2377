//! Frames from interfaces, by libpcap.
//!
//! In: names of interfaces. Out: frames as they arrive, a descriptor to wait on, counters, and whether the
//! interface is up. Never blocks and never waits: a quiet interface must not stop the clock of the caller, and the
//! time-out of libpcap does not fire on one. The only user of the crate `pcap`.

mod source;
mod timeline;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pcap::{Active, BpfProgram, Capture, Device, Linktype, Precision, Stat};

pub use self::source::{LiveSource, Wait};
use super::{Error, Frame, Interface, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// Options of a capture, the same for all interfaces.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Bytes captured of a frame.
    pub snaplen: u32,
    /// Bytes of the ring buffer in the kernel.
    pub buffer: u32,
    /// How long the kernel may hold frames back, to hand over many at once.
    pub timeout: Duration,
    /// Whether to ask the interface for frames that are not for this host.
    pub promisc: bool,
    /// Whether the kernel hands over each frame at once. That costs several times the processor time, and most of
    /// the ring buffer.
    pub immediate: bool,
    /// A filter for the kernel, in the syntax of pcap-filter(7).
    pub filter: Option<String>,
}

impl LiveOptions {
    /// The longest time from the arrival of a frame until it is handed over. The kernel looks at the block that is
    /// being filled once each [`timeout`](Self::timeout), and closes it if it was there the last time.
    pub fn held_back(&self) -> Duration {
        let blocks = if self.immediate { Duration::ZERO } else { self.timeout.saturating_mul(2) };
        blocks.saturating_add(WAKE_UP)
    }
}

/// Time from the moment at which the kernel hands frames over until this process runs.
const WAKE_UP: Duration = Duration::from_millis(20);

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            // Frames with segmentation offload have 64 KiB and more.
            snaplen: 262_144,
            // The usual 2 MiB are full after 9 ms of full load.
            buffer: 16 * 1024 * 1024,
            // A block that is closed by the time-out is handed over half empty, and a ring buffer has some sixty
            // blocks: the longer the time-out, the longer may a busy host be late.
            timeout: Duration::from_millis(50),
            promisc: true,
            immediate: false,
            filter: None,
        }
    }
}

/// Packets since the start of the capture, as libpcap counts them; on `lo` of Linux it counts each twice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LiveStats {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets that the kernel dropped because its ring was full.
    pub dropped: u64,
    /// Packets that the interface or its driver dropped.
    pub if_dropped: u64,
}

/// An interface being captured from.
pub struct Live {
    device: String,
    capture: Capture<Active>,
    link: LinkType,
    id: FrameRef,
    /// The interfaces of the frames: the device, or, on `any`, those that occurred.
    interfaces: Vec<Interface>,
    /// Their indices in the kernel, if frames contain these.
    indices: Vec<u32>,
    is_up: bool,
    stats: LiveStats,
    /// The counters at the last call: 32 bits, which wrap.
    last: Stat,
}

impl Live {
    /// Starts to capture from `device`, as input number `input`.
    ///
    /// # Errors
    ///
    /// The interface is unknown, capturing is not permitted, or the filter does not compile.
    pub fn open(device: &str, input: u16, options: &LiveOptions) -> Result<Self, Error> {
        let failed = |e| device_error(device, &e);
        let timeout = i32::try_from(options.timeout.as_millis()).unwrap_or(i32::MAX);
        let mut capture = Capture::from_device(device)
            .map_err(failed)?
            .snaplen(i32::try_from(options.snaplen).unwrap_or(i32::MAX))
            .buffer_size(i32::try_from(options.buffer).unwrap_or(i32::MAX))
            .timeout(timeout)
            .promisc(options.promisc)
            .immediate_mode(options.immediate)
            .precision(PRECISION)
            .open()
            .map_err(failed)?;
        // On `any`, only the second version of the cooked header contains the interface.
        let sll2 = Linktype(LinkType::LINUX_SLL2.0.into());
        if capture.list_datalinks().is_ok_and(|offered| offered.contains(&sll2)) {
            capture.set_datalink(sll2).map_err(failed)?;
        }
        let link = link_of(capture.get_datalink());
        if let Some(text) = &options.filter {
            capture.filter(text, true).map_err(|e| filter_error(text, &e))?;
        }
        let named = Interface { name: Some(device.to_owned()), ..Interface::default() };
        Ok(Self {
            device: device.to_owned(),
            capture: capture.setnonblock().map_err(failed)?,
            link,
            id: FrameRef { input, number: 0 },
            interfaces: if link == LinkType::LINUX_SLL2 { Vec::new() } else { vec![named] },
            indices: Vec::new(),
            is_up: true,
            stats: LiveStats::default(),
            last: Stat { received: 0, dropped: 0, if_dropped: 0 },
        })
    }

    /// The name by which it was opened.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The input number of its frames.
    pub const fn input(&self) -> u16 {
        self.id.input
    }

    /// The link type of its frames.
    pub const fn link(&self) -> LinkType {
        self.link
    }

    /// The interfaces that [`Frame::interface`] refers to; on `any` there are more over time.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Calls `on_frame` for the frames at hand, at most `most`. `true` if there may be more; otherwise there is
    /// none until the descriptor is readable.
    ///
    /// # Errors
    ///
    /// The interface went away.
    pub fn frames(
        &mut self,
        most: usize,
        mut on_frame: impl FnMut(&Frame<'_>),
    ) -> Result<bool, Error> {
        let Self { capture, link, id, interfaces, indices, .. } = self;
        let link = *link;
        // The frames are borrowed from the ring buffer of the kernel: `next_packet` would copy each.
        let given = capture.dispatch(Some(most.min(MOST)), |packet| {
            id.number += 1;
            let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
            let fraction = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
            on_frame(&Frame {
                id: *id,
                at: Timestamp::new(seconds, fraction.saturating_mul(NANOS_PER_FRACTION)),
                link,
                interface: match link {
                    LinkType::LINUX_SLL2 => interface_of(packet.data, interfaces, indices),
                    _ => Some(0),
                },
                wire_len: packet.header.len,
                bytes: packet.data,
                comments: &[],
            });
        });
        match given {
            Ok(given) => Ok(given >= most.min(MOST)),
            Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => Ok(false),
            Err(e) => Err(device_error(&self.device, &e)),
        }
    }

    /// Packets received and dropped since the start of the capture. Must be called before a 32-bit counter can wrap
    /// twice: at least once a minute.
    pub fn stats(&mut self) -> LiveStats {
        if let Ok(now) = self.capture.stats() {
            self.stats.widen(self.last, now);
            self.last = now;
        }
        self.stats
    }

    /// Whether the interface went down (`Some(false)`) or came up since the last call; libpcap reports neither.
    pub fn turn(&mut self) -> Option<bool> {
        let is_up = flags(&self.device)? & IFF_UP != 0;
        (std::mem::replace(&mut self.is_up, is_up) != is_up).then_some(is_up)
    }
}

/// Most frames of one call: libpcap counts in a C `int`.
const MOST: usize = 1 << 16;

/// Interface flag `IFF_UP`, from netdevice(7).
const IFF_UP: u32 = 1;

/// The flags of an interface, if the system has a file for them.
fn flags(device: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("{SYSFS}/{device}/flags")).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// The folder in which Linux describes interfaces.
const SYSFS: &str = "/sys/class/net";

/// The interface of a cooked header, by its index in the kernel.
///
/// ```text
///     2         2           4          2        1      1       8
/// | protocol | zero | interface index | ARPHRD | type | length | address |
/// ```
fn interface_of(
    frame: &[u8],
    interfaces: &mut Vec<Interface>,
    indices: &mut Vec<u32>,
) -> Option<u32> {
    let index = u32::from_be_bytes(*frame.get(4..)?.first_chunk()?);
    let place = match indices.iter().position(|known| *known == index) {
        Some(place) => place,
        None if indices.len() < MAX_INTERFACES => {
            interfaces.push(Interface { name: name_of(index), ..Interface::default() });
            indices.push(index);
            indices.len() - 1
        }
        None => return None,
    };
    u32::try_from(place).ok()
}

/// Most interfaces on `any`. A host of containers has a few hundred at a time.
const MAX_INTERFACES: usize = 4096;

fn name_of(index: u32) -> Option<String> {
    let interfaces = fs::read_dir(SYSFS).ok()?.filter_map(Result::ok);
    let named = interfaces.map(|entry| entry.path()).find(|path| {
        fs::read_to_string(path.join("ifindex")).is_ok_and(|text| text.trim().parse() == Ok(index))
    })?;
    Some(named.file_name()?.to_string_lossy().into_owned())
}

impl AsFd for Live {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

impl LiveStats {
    /// The sum of both counters.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_add(other.received),
            dropped: self.dropped.saturating_add(other.dropped),
            if_dropped: self.if_dropped.saturating_add(other.if_dropped),
        }
    }

    /// Adds the difference of two readings of counters that wrap at 32 bits.
    fn widen(&mut self, last: Stat, now: Stat) {
        self.received += u64::from(now.received.wrapping_sub(last.received));
        self.dropped += u64::from(now.dropped.wrapping_sub(last.dropped));
        self.if_dropped += u64::from(now.if_dropped.wrapping_sub(last.if_dropped));
    }
}

/// An interface that libpcap can capture from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Available {
    /// The name to give to [`Live::open`].
    pub name: String,
    /// The description that the operating system has of it.
    pub description: Option<String>,
    /// Its addresses in text form.
    pub addresses: Vec<String>,
    /// Whether the interface is up.
    pub up: bool,
}

/// The interfaces that libpcap can capture from, in its order: the most likely ones first.
///
/// # Errors
///
/// libpcap cannot list them.
pub fn available() -> Result<Vec<Available>, Error> {
    let devices = Device::list().map_err(|e| device_error("any interface", &e))?;
    Ok(devices
        .into_iter()
        .map(|device| Available {
            up: device.flags.is_up(),
            addresses: device.addresses.iter().map(|address| address.addr.to_string()).collect(),
            description: device.desc,
            name: device.name,
        })
        .collect())
}

/// The name of the interface that a user means: the one of that name, or the one at that position, from 1, in
/// [`available`].
///
/// # Errors
///
/// There are not as many.
pub fn named(given: &str) -> Result<String, Error> {
    let Ok(place) = given.parse::<usize>() else { return Ok(given.to_owned()) };
    let known = available()?;
    if known.iter().any(|device| device.name == given) {
        return Ok(given.to_owned());
    }
    let at = place.checked_sub(1).and_then(|place| known.get(place));
    at.map(|device| device.name.clone()).ok_or_else(|| Error::Device {
        device: format!("interface {given}"),
        message: format!("there are {} interfaces", known.len()),
        hint: Some("beamscope -D numbers them".to_owned()),
    })
}

/// A filter for frames that are in memory, compiled for one link type.
pub struct Filter(BpfProgram);

impl Filter {
    /// Compiles `text`, in the syntax of pcap-filter(7).
    ///
    /// # Errors
    ///
    /// libpcap cannot compile it, or not for this link type (`vlan` on cooked frames, for example).
    pub fn compile(text: &str, link: LinkType) -> Result<Self, Error> {
        // libpcap uses its own number of raw IP here, not that of files.
        let link = if link == LinkType::RAW { LinkType::DLT_RAW } else { link };
        Capture::dead(Linktype(link.0.into()))
            .and_then(|dead| dead.compile(text, true))
            .map(Self)
            .map_err(|e| filter_error(text, &e))
    }

    /// Whether a frame matches the filter.
    pub fn matches(&self, frame: &[u8]) -> bool {
        self.0.filter(frame)
    }
}

/// The link type of files: libpcap's own number differs for raw IP only.
fn link_of(link: Linktype) -> LinkType {
    match u16::try_from(link.0).map(LinkType) {
        Ok(LinkType::DLT_RAW | LinkType::DLT_RAW_OPENBSD) => LinkType::RAW,
        Ok(link) => link,
        Err(_) => LinkType(u16::MAX),
    }
}

fn device_error(device: &str, error: &pcap::Error) -> Error {
    let message = message(error);
    let has = |part: &str| message.contains(part);
    let hint = if has("ermission") || has("not permitted") {
        Some("allow it once: sudo setcap cap_net_raw=ep $(command -v beamscope)".to_owned())
    } else if has("No such device") {
        let names: Vec<_> =
            Device::list().unwrap_or_default().into_iter().map(|known| known.name).collect();
        (!names.is_empty()).then(|| format!("known interfaces: {}", names.join(", ")))
    } else if has("not up") {
        Some(format!("bring it up: sudo ip link set {device} up"))
    } else {
        None
    };
    Error::Device { device: device.to_owned(), message, hint }
}

fn filter_error(text: &str, error: &pcap::Error) -> Error {
    Error::Filter { text: text.to_owned(), message: message(error) }
}

/// The message of libpcap, without the words that the crate adds.
fn message(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(message) => message.clone(),
        other => other.to_string(),
    }
}

/// Linux has nanoseconds whenever they are requested; elsewhere the request does not show whether they were
/// granted.
#[cfg(target_os = "linux")]
const PRECISION: Precision = Precision::Nano;
#[cfg(target_os = "linux")]
const NANOS_PER_FRACTION: u64 = 1;
#[cfg(not(target_os = "linux"))]
const PRECISION: Precision = Precision::Micro;
#[cfg(not(target_os = "linux"))]
const NANOS_PER_FRACTION: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_past_32_bits() {
        let mut stats = LiveStats::default();
        let stat = |received| Stat { received, dropped: received, if_dropped: 0 };
        stats.widen(stat(0), stat(u32::MAX));
        stats.widen(stat(u32::MAX), stat(9));
        assert_eq!(stats.received, (1 << 32) + 9);
        assert_eq!(stats.dropped, stats.received);
    }

    #[test]
    fn a_cooked_frame_contains_its_interface() {
        let (mut interfaces, mut indices) = (Vec::new(), Vec::new());
        let frame = |index: u8| [&[8, 0, 0, 0, 0, 0, 1, index], [0; 12].as_slice()].concat();
        let places = [7, 9, 7].map(|n| interface_of(&frame(n), &mut interfaces, &mut indices));
        assert_eq!(places, [Some(0), Some(1), Some(0)]);
        assert_eq!(indices, [0x107, 0x109]);
        assert_eq!(interface_of(&[8, 0, 0, 0, 0, 0, 1], &mut interfaces, &mut indices), None);
    }

    #[test]
    fn a_number_is_a_position_in_the_list() {
        assert_eq!(named("eth0").unwrap(), "eth0");
        assert!(named("0").is_err() && named("65536").is_err());
        if let Some(first) = available().unwrap().first() {
            assert_eq!(named("1").unwrap(), first.name);
        }
    }

    #[test]
    fn three_numbers_of_raw_ip_are_one_link_type() {
        for number in [12, 14, 101] {
            assert_eq!(link_of(Linktype(number)), LinkType::RAW);
        }
        assert_eq!(link_of(Linktype(276)), LinkType::LINUX_SLL2);
    }

    #[test]
    fn a_filter_compiles_for_every_link_type_that_is_decoded() {
        use LinkType as L;
        let links = [L::NULL, L::ETHERNET, L::RAW, L::LOOP, L::LINUX_SLL, L::IPV4, L::LINUX_SLL2];
        for link in links {
            Filter::compile("tcp port 4369", link).unwrap();
        }
    }

    #[test]
    fn a_filter_passes_what_it_names() {
        #[rustfmt::skip]
        let datagram = [
            0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, // IPv4, TCP
            10, 0, 0, 1, 10, 0, 0, 2,
            0x9c, 0x40, 0x11, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, // ports 40000, 4369
            0x50, 0x02, 0, 0, 0, 0, 0, 0,
        ];
        assert!(Filter::compile("tcp port 4369", LinkType::RAW).unwrap().matches(&datagram));
        assert!(!Filter::compile("tcp port 4370", LinkType::RAW).unwrap().matches(&datagram));
    }

    #[test]
    fn a_bad_filter_gives_the_error_of_libpcap() {
        let error = Filter::compile("tcp prot 4369", LinkType::ETHERNET).err().unwrap();
        assert!(error.to_string().contains("syntax error"), "{error}");
    }

    #[test]
    fn an_unknown_interface_is_an_error_with_a_hint() {
        let Err(error) = Live::open("no-such-if0", 0, &LiveOptions::default()) else {
            panic!("opened")
        };
        assert!(error.hint().is_some(), "{error}");
    }
}
