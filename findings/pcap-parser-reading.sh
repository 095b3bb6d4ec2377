#!/bin/sh
# The Rust crate pcap-parser 0.17.0:
#  - if_tsoffset is read as little-endian also in a big-endian pcapng section, so 1,000 s become another
#    number, and times are wrong;
#  - create_reader fails with Incomplete if the first read of its source returns 2 bytes, as the read of a
#    pipe may.
#
# Needs: cargo, python3, and crates.io.
# Exit status: 0 the behaviour is as described, 1 it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "reading"
version = "0.0.0"
edition = "2021"

[dependencies]
pcap-parser = "=0.17.0"
TOML
cat >src/main.rs <<'RUST'
use pcap_parser::pcapng::{parse_block_be, parse_block_le, Block};
use std::io::{Cursor, Read};

/// Returns 2 bytes first, and after that as many as are asked for.
struct TwoFirst(Cursor<Vec<u8>>);

impl Read for TwoFirst {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = if self.0.position() == 0 { 2 } else { buffer.len() };
        self.0.read(&mut buffer[..most])
    }
}

fn main() {
    for name in ["little", "big"] {
        let data = std::fs::read(format!("{name}.pcapng")).unwrap();
        let mut rest = &data[..];
        while !rest.is_empty() {
            let parsed = if name == "big" { parse_block_be(rest) } else { parse_block_le(rest) };
            let (after, block) = parsed.unwrap();
            rest = after;
            if let Block::InterfaceDescription(interface) = block {
                println!("{name}: offset {}", interface.if_tsoffset);
            }
        }
        let reader = pcap_parser::create_reader(65536, TwoFirst(Cursor::new(data)));
        println!("{name}: {:?}", reader.map(|_| "a reader"));
    }
}
RUST
python3 - <<'PYTHON'
import struct

for name, order in ("little", "<"), ("big", ">"):
    def block(kind, body):
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    offset = struct.pack(order + "HHq", 14, 8, 1000) + struct.pack(order + "HH", 0, 0)
    with open(name + ".pcapng", "wb") as file:
        file.write(block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)))
        file.write(block(1, struct.pack(order + "HHI", 1, 0, 65535) + offset))
PYTHON
cargo run --quiet >output 2>errors || { cat errors >&2; exit 1; }
cat output
cat >expected <<'TEXT'
little: offset 1000
little: Err(Incomplete(2))
big: offset -1728537831980138496
big: Err(Incomplete(2))
TEXT
cmp -s output expected || { echo 'changed' >&2; diff expected output >&2; exit 1; }
echo 'as described'
