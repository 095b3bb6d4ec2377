//! Captures that the `zstd` program compressed, at several levels and window sizes, hold the same frames.

use std::fs;
use std::path::Path;
use std::process::Command;

use beamscope::capture::{CaptureFile, Item};

use crate::support::{SEED, TestDir, skip};

/// Each makes another kind of frame: small and large windows, no checksum, frames of 1 MiB in a row.
const OPTIONS: [&[&str]; 6] = [
    &["-1"],
    &["-3", "--no-check"],
    &["-19"],
    &["--ultra", "-22", "--long=27"],
    &["-1", "--rsyncable", "-T2", "-B1048576"],
    &["-3", "--no-content-size", "--stream-size=1000"],
];

#[test]
fn what_the_zstd_program_compresses_is_read_as_it_was() {
    let folder = TestDir::new("zstd");
    let plain = folder.file("plain.pcap");
    // More bytes than the window of the lower levels: its records twenty thousand times over.
    let seed = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEED)).unwrap();
    let (header, records) = seed.split_at(24);
    fs::write(&plain, [header, &records.repeat((6 << 20) / records.len())].concat()).unwrap();
    let expected = frames(&plain);
    assert!(expected.len() > 10_000);
    for options in OPTIONS {
        let packed = folder.file("packed.pcap.zst");
        let mut zstd = Command::new("zstd");
        zstd.args(["-q", "-f", &plain, "-o", &packed]).args(options);
        match zstd.output() {
            Err(e) => return skip("zstd", &e.to_string()),
            Ok(run) => assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr)),
        }
        assert!(frames(&packed) == expected, "{options:?}");
    }
}

/// Number, time and bytes of each frame.
fn frames(path: &str) -> Vec<(u64, u64, Vec<u8>)> {
    let mut capture = CaptureFile::open(Path::new(path), 0).unwrap();
    let mut frames = Vec::new();
    while let Some(item) = capture.next_item().unwrap() {
        if let Item::Frame(it) = item {
            frames.push((it.id.number, it.at.0, it.bytes.to_vec()));
        }
    }
    frames
}
