//! What each stage costs: `cargo bench`, or `cargo bench -- parse` for some of them.

#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used, reason = "a benchmark may")]

mod traffic;

use std::hint::black_box;
use std::io::Cursor;

use beamscope::capture::{Input, Inputs, Item, Order};
use beamscope::engine::{Config, Engine};
use beamscope::limits::Limits;
use beamscope::memory::MemoryBudget;
use beamscope::packet::FrameRef;
use beamscope::packet::PacketRef;
use beamscope::record::Severity;
use beamscope::render::{Format, Options, Output};
use beamscope::stream::{SegmentData, SeqNum, StreamDirection};
use beamscope::time::Timestamp;
use beamscope::wire::{self, epmd, framing, handshake, header};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use traffic::Kind;

/// One message each. Parsers of further messages go here.
fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    let request = b"\x7ab";
    group.bench_function("epmd request", |b| {
        b.iter(|| wire::decode(black_box(request), epmd::request).unwrap());
    });
    let hello = b"N\0\0\0\x0d\x07\xdf\x7f\xbd\x6b\x03\x09\x21\0\x0ba@127.0.0.1";
    group.bench_function("handshake send_name", |b| {
        b.iter(|| wire::decode(black_box(hello), handshake::from_initiator).unwrap());
    });
    let frame = b"\0\0\0\x30\x83D\x03\x0c\x0af\x01a\x05\xb5\x03rexh\x03a\x16";
    group.bench_function("distribution header", |b| {
        b.iter(|| header::credible_frame(black_box(frame)));
    });
}

/// Frames of one stream, cut into blocks.
fn walk(c: &mut Criterion) {
    let frame = [&[0, 0, 0, 150, 131, 68][..], &[7; 148]].concat();
    let stream = frame.repeat(1000);
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("frames", |b| {
        b.iter(|| {
            let mut rest = black_box(&stream[..]);
            let mut messages = 0;
            while let framing::Cut::Message { body, used } = framing::cut_packet4(rest, 1 << 20) {
                messages += u32::from(header::FrameKind::of(body) == header::FrameKind::Normal);
                rest = &rest[used..];
            }
            messages
        });
    });
}

fn reassembly(c: &mut Criterion) {
    const SEGMENTS: u32 = 1000;
    let payload = [7; 1448];
    let mut group = c.benchmark_group("reassembly");
    group.throughput(Throughput::Bytes(u64::from(SEGMENTS) * 1448));
    // The order within each ten segments.
    let orders: [(&str, [u32; 10]); 3] = [
        ("in order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("one of ten late", [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]),
        ("all out of order", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ];
    for (name, order) in orders {
        group.bench_function(name, |b| {
            b.iter(|| {
                let limits = Limits::default();
                let budget = MemoryBudget::new(limits.held_total);
                let mut half = StreamDirection::new(&budget);
                let mut end = half.end();
                half.begins_at(SeqNum(1));
                for n in 0..SEGMENTS {
                    let place = n - n % 10 + order[n as usize % 10];
                    let packet =
                        PacketRef { frame: FrameRef::default(), at: Timestamp(u64::from(n)) };
                    let seq = SeqNum(1 + place * 1448);
                    let piece = SegmentData {
                        seq,
                        payload: &payload,
                        missing: 0,
                        packet: &packet,
                        ip_id: Some(1),
                    };
                    half.push(piece, &limits, &mut |taken| end = taken.end);
                }
                end
            });
        });
    }
}

/// From the bytes of a capture to events as lines.
fn pipeline(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipeline");
    group.sample_size(20);
    for kind in [Kind::Mixed, Kind::Dist, Kind::Syn] {
        let capture = traffic::capture(kind, 8_000_000);
        group.throughput(Throughput::Bytes(capture.len() as u64));
        group.bench_function(kind.name(), |b| b.iter(|| run(&capture)));
    }
}

/// Attempts that begin and end, so that nearly every packet leads to an event.
fn events(c: &mut Criterion) {
    let capture = traffic::capture(Kind::Dist, 64 * 500);
    let lines = run(&capture).iter().filter(|byte| **byte == b'\n').count();
    let mut group = c.benchmark_group("events");
    group.throughput(Throughput::Elements(lines as u64));
    group.bench_function("lines of short connections", |b| b.iter(|| run(&capture)));
}

fn run(capture: &[u8]) -> Vec<u8> {
    let source = Box::new(Cursor::new(capture.to_vec()));
    let input = Input::Stream { name: "traffic".to_owned(), source };
    let mut inputs = Inputs::new(vec![input], Order::Given).unwrap();
    let options = Options {
        format: Format::Ndjson,
        only_findings: false,
        min_severity: Severity::Info,
        shown: beamscope::render::Shown::default(),
        line_buffered: false,
        terms: beamscope::render::TermStyle::Erlang,
    };
    let mut lines = Vec::new();
    let output = Output::new(&mut lines, vec!["traffic".into()], options);
    let mut pipeline = Engine::new(Config::default(), output);
    while let Some(item) = inputs.next_item() {
        if let Item::Frame(frame) = item {
            pipeline.push_frame(&frame);
        }
    }
    pipeline.finish().finish().unwrap();
    lines
}

criterion_group!(stages, parse, walk, reassembly, pipeline, events);
criterion_main!(stages);
