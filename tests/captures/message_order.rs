//! The order of messages among the events of their connection.

use std::path::Path;

use beamscope::capture::{CaptureFile, Item};
use beamscope::engine::{Config, Engine};
use beamscope::observe::messages::MessageEvent;
use beamscope::protocol::MessageDetail;
use beamscope::record::{Body, Event, EventSink};

/// The kinds of events in order, one letter each.
#[derive(Default)]
struct Order(String);

impl EventSink for Order {
    fn event(&mut self, event: Event) {
        if let Body::Session { .. } = event.body {
            self.0.push('s');
        }
    }

    fn message(&mut self, _: &MessageEvent<'_>) {
        self.0.push('m');
    }
}

/// In this capture the first message is in the packet that completes the visible part of the handshake.
#[test]
fn the_established_session_comes_before_its_messages() {
    let path = "captures/one-direction-initiator-only.pcap";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let config = Config { messages: MessageDetail::Operations, ..Config::default() };
    let mut engine = Engine::new(config, Order::default());
    let mut capture = CaptureFile::open(&path, 0).unwrap();
    while let Some(item) = capture.next_item().unwrap() {
        if let Item::Frame(frame) = item {
            engine.push_frame(&frame);
        }
    }
    let order = engine.finish().0;
    assert!(order.starts_with("sm") && order.ends_with('s'), "{order}");
}
