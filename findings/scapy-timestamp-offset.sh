#!/bin/sh
# scapy 2.6.1 and 2.8.0: the if_tsoffset option of a pcapng interface is ignored, so times are too early by
# that many seconds. dpkt 1.9.8 applies it.
#
# Needs: python3 with venv, and the Python package index.
# Exit status: 0 the behaviour is as described, 1 it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python >/dev/null
cat >times.py <<'PYTHON'
import struct, sys

def block(kind, body):
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size

frame = b"\2" * 6 + b"\4" * 6 + b"\x88\xb5" + bytes(46)  # an Ethernet frame of 60 bytes
offset = struct.pack("<HHq", 14, 8, 1000) + struct.pack("<HH", 0, 0)  # if_tsoffset: 1,000 s
with open("offset.pcapng", "wb") as file:
    file.write(block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
    file.write(block(1, struct.pack("<HHI", 1, 0, 65535) + offset))
    # Time 5 s, in microseconds.
    file.write(block(6, struct.pack("<IIIII", 0, 0, 5_000_000, len(frame), len(frame)) + frame))

if sys.argv[1] == "scapy":
    from scapy.utils import PcapNgReader
    print(*(float(packet.time) for packet in PcapNgReader("offset.pcapng")))
else:
    import dpkt
    print(*(time for time, _ in dpkt.pcapng.Reader(open("offset.pcapng", "rb"))))
PYTHON

check() { # package, version, time that it gives
    python/bin/pip --quiet --disable-pip-version-check install "$1==$2" >/dev/null
    time=$(python/bin/python times.py "$1" 2>/dev/null)
    echo "$1 $2: $time s"
    [ "$time" = "$3" ] || { echo "changed: $1 $2" >&2; exit 1; }
}
check dpkt 1.9.8 1005.0
check scapy 2.6.1 5.0
check scapy 2.8.0 5.0
echo 'as described'
