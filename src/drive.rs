//! The loop of a run: items of a source, through the engine, until the source ends or its user wants no more.
//!
//! In: a [`Source`] and an [`Engine`]. Out: how the run ended. Files, several files, a growing file, interfaces,
//! memory and tests all run through [`run`]; what differs between them is a [`Control`].

use std::ops::ControlFlow;

use crate::capture::{
    Error, Frame, Item, Notice, NoticeKind, Progress, Receiver, SecretsType, Source,
};
use crate::engine::Engine;
use crate::record::{Anomaly, AnomalyKind, EventSink};

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunEnd {
    /// The source has no more items.
    Source,
    /// The [`Control`] wanted no more.
    Control,
}

/// What the user of a run does beside it: selects frames, saves them, reports on the way, ends it.
///
/// Each method does nothing by default and lets the run go on; `()` is a control that does nothing at all. The
/// engine has processed each item before the control sees it.
pub trait Control<S: EventSink> {
    /// Whether a frame is analysed.
    #[inline(always)]
    fn selects(&mut self, _frame: &Frame<'_>, _engine: &mut Engine<S>) -> bool {
        true
    }

    /// After each frame that was selected.
    #[inline(always)]
    fn after_frame(&mut self, _frame: &Frame<'_>, _engine: &mut Engine<S>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// After each item that is no frame and no failure.
    fn after_item(&mut self, _item: &Item<'_>, _engine: &mut Engine<S>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// An input failed, which is reported as an anomaly. The other inputs can still be read.
    fn on_failure(
        &mut self,
        _input: u16,
        _error: Error,
        _engine: &mut Engine<S>,
    ) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// In a live capture, some times a second: when nothing is at hand, and after some thousand frames.
    fn on_pause(&mut self, _engine: &mut Engine<S>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<S: EventSink> Control<S> for () {}

/// Runs the items of `source` through `engine`. The engine is not [finished](Engine::finish): another source may
/// follow.
///
/// # Errors
///
/// Waiting for packets fails. An input that cannot be read is no error here: it is an anomaly, and
/// [`Control::on_failure`] is called.
#[inline(always)] // specialised for its source and its control; once in each
pub fn run<S: EventSink>(
    source: &mut impl Source,
    engine: &mut Engine<S>,
    control: &mut impl Control<S>,
) -> Result<RunEnd, Error> {
    let mut driver = Driver { engine, control, is_ended: false };
    let end = loop {
        let progress = source.pump(&mut driver)?;
        if driver.is_ended {
            break RunEnd::Control;
        }
        match progress {
            Progress::More => {}
            Progress::Idle(until) => driver.engine.advance(until),
            Progress::End => break RunEnd::Source,
        }
        if driver.control.on_pause(driver.engine).is_break() {
            break RunEnd::Control;
        }
    };
    source.close(&mut driver);
    Ok(end)
}

/// Receives the items of a source for an engine.
struct Driver<'a, S, C> {
    engine: &'a mut Engine<S>,
    control: &'a mut C,
    is_ended: bool,
}

impl<S: EventSink, C: Control<S>> Receiver for Driver<'_, S, C> {
    #[inline(always)] // the body of the loop over frames
    fn on_frame(&mut self, frame: &Frame<'_>) -> ControlFlow<()> {
        if !self.control.selects(frame, self.engine) {
            return ControlFlow::Continue(());
        }
        self.engine.push_frame(frame);
        let flow = self.control.after_frame(frame, self.engine);
        if flow.is_break() {
            self.is_ended = true;
        }
        flow
    }

    #[inline(never)]
    fn on_item(&mut self, item: Item<'_>) -> ControlFlow<()> {
        let flow = self.process(item);
        self.is_ended |= flow.is_break();
        flow
    }
}

impl<S: EventSink, C: Control<S>> Driver<'_, S, C> {
    fn process(&mut self, item: Item<'_>) -> ControlFlow<()> {
        match &item {
            Item::Frame(frame) => return self.on_frame(frame),
            Item::Names { names, .. } => {
                names.iter().for_each(|(ip, name)| self.engine.on_listed_name(*ip, name));
            }
            Item::Drops(drops) => {
                if let Some(until) = drops.until {
                    self.engine.on_loss(until);
                }
                self.engine.drops(drops.kernel, drops.interface);
            }
            Item::Notice(notice) => {
                self.engine.on_input_anomaly(notice.after.input, damaged(notice));
            }
            Item::InterfaceState { input, device, is_up } => {
                self.engine.on_input_anomaly(*input, turned(device, *is_up));
            }
            Item::Failed { input, error } => {
                self.engine.on_input_anomaly(*input, failed(error));
            }
            Item::KeyLog { secrets, .. } if secrets.kind == SecretsType::TLS_KEY_LOG => {
                self.engine.add_secrets(secrets.expose());
            }
            // Names of interfaces are for those who save packets.
            Item::KeyLog { .. } | Item::Interface { .. } => {}
        }
        match item {
            Item::Failed { input, error } => self.control.on_failure(input, error, self.engine),
            item => self.control.after_item(&item, self.engine),
        }
    }
}

/// A capture is truncated or damaged, or has another clock.
fn damaged(notice: &Notice) -> Anomaly {
    let kind = match notice.kind {
        NoticeKind::Truncated => AnomalyKind::InputTruncated,
        NoticeKind::Corrupt => AnomalyKind::InputCorrupt,
        NoticeKind::ClocksAligned => AnomalyKind::ClocksAligned,
        NoticeKind::ClocksApart => AnomalyKind::ClocksApart,
    };
    let is_damage = matches!(notice.kind, NoticeKind::Truncated | NoticeKind::Corrupt);
    let offset = is_damage.then_some(notice.offset);
    Anomaly { kind, field: None, offset, detail: notice.detail.clone() }
}

/// A captured interface went down or came up.
fn turned(device: &str, is_up: bool) -> Anomaly {
    if is_up {
        Anomaly::new(AnomalyKind::InterfaceUp, format!("{device} is up again"))
    } else {
        let detail = format!("{device} is down: no packets come from it");
        Anomaly::new(AnomalyKind::InterfaceDown, detail)
    }
}

/// An input gives no frames, or no more.
fn failed(error: &Error) -> Anomaly {
    let (kind, offset) = match error {
        Error::Read { offset, .. } => (AnomalyKind::InputTruncated, Some(*offset)),
        Error::Device { .. } => (AnomalyKind::InterfaceGone, None),
        _ => (AnomalyKind::InputUnreadable, None),
    };
    Anomaly { kind, field: None, offset, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::capture::{CaptureFile, Drops, Input, Inputs, LinkType, Order};
    use crate::engine::Config;
    use crate::packet::FrameRef;
    use crate::record::{Body, Event};
    use crate::time::Timestamp;

    /// Gives one item of each kind, and frames without end.
    struct Endless;

    impl Source for Endless {
        fn pump(&mut self, receiver: &mut impl Receiver) -> Result<Progress, Error> {
            let name = (IpAddr::from([10, 0, 0, 1]), b"one"[..].into());
            let missing = Error::Directory { name: "x".into() };
            let items = [
                Item::Names { input: 0, names: &[name] },
                Item::InterfaceState { input: 0, device: "eth0", is_up: false },
                Item::Failed { input: 1, error: missing },
            ];
            for item in items {
                if receiver.on_item(item).is_break() {
                    return Ok(Progress::More);
                }
            }
            let frame = Frame {
                id: FrameRef::default(),
                at: Timestamp(1),
                link: LinkType::ETHERNET,
                interface: None,
                wire_len: 0,
                bytes: &[],
                comments: &[],
            };
            while receiver.on_frame(&frame).is_continue() {}
            Ok(Progress::More)
        }

        fn close(&mut self, receiver: &mut impl Receiver) {
            let drops = Drops { kernel: Some(7), ..Drops::default() };
            let _ = receiver.on_item(Item::Drops(drops));
        }
    }

    #[derive(Default)]
    struct Three {
        frames: u32,
        items: u32,
        failures: u32,
    }

    impl Control<Vec<Event>> for Three {
        fn after_frame(&mut self, _: &Frame<'_>, _: &mut Engine<Vec<Event>>) -> ControlFlow<()> {
            self.frames += 1;
            if self.frames < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }

        fn after_item(&mut self, _: &Item<'_>, _: &mut Engine<Vec<Event>>) -> ControlFlow<()> {
            self.items += 1;
            ControlFlow::Continue(())
        }

        fn on_failure(&mut self, _: u16, _: Error, _: &mut Engine<Vec<Event>>) -> ControlFlow<()> {
            self.failures += 1;
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn a_control_sees_every_item_and_ends_a_source_without_end() {
        let mut engine = Engine::new(Config::default(), Vec::new());
        let mut control = Three::default();
        assert_eq!(run(&mut Endless, &mut engine, &mut control).unwrap(), RunEnd::Control);
        assert_eq!((control.frames, control.items, control.failures), (3, 3, 1));
        let events = engine.finish();
        let anomalies: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.body {
                Body::Anomaly { anomaly } => Some((anomaly.kind, event.input)),
                _ => None,
            })
            .collect();
        let expected =
            [(AnomalyKind::InterfaceDown, Some(0)), (AnomalyKind::InputUnreadable, Some(1))];
        assert_eq!(anomalies, expected);
        let Some(Body::Stats { stats }) = events.last().map(|event| &event.body) else {
            panic!("{events:?}")
        };
        assert_eq!((stats.packets, stats.kernel_drops), (3, Some(7)));
    }

    #[test]
    fn memory_and_a_file_give_the_same_events() {
        let path = "captures/seed-lan-wrong-then-right-cookie.pcap";
        let events = |run: &mut dyn FnMut(&mut Engine<Vec<Event>>)| {
            let mut engine = Engine::new(Config::default(), Vec::new());
            run(&mut engine);
            engine.finish().iter().map(|event| format!("{event:?}")).collect::<Vec<_>>()
        };
        let from_file = events(&mut |engine| {
            let mut inputs = Inputs::new(vec![Input::Path(path.into())], Order::Time).unwrap();
            assert_eq!(run(&mut inputs, engine, &mut ()).unwrap(), RunEnd::Source);
        });
        let from_memory = events(&mut |engine| {
            let mut capture = CaptureFile::from_bytes(std::fs::read(path).unwrap());
            assert_eq!(run(&mut capture, engine, &mut ()).unwrap(), RunEnd::Source);
        });
        assert!(from_file.len() > 10);
        assert_eq!(from_file, from_memory);
    }

    #[test]
    fn a_source_and_an_engine_can_move_to_another_thread() {
        fn assert_send<T: Send>() {}
        assert_send::<Inputs>();
        assert_send::<CaptureFile>();
        assert_send::<Engine<Vec<Event>>>();
        #[cfg(feature = "live")]
        assert_send::<crate::capture::live::Live>();
    }
}
