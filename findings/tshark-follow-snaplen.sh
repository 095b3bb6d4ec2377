#!/bin/sh
# tshark 4.0.17, "-z follow,tcp,raw": bytes that a short snaplen cut from a packet are skipped without
# any mark, so the stream that it prints is not the stream that was sent.
#
# Needs: tshark 4.0.17 (Debian 12: apt-get install tshark=4.0.17-0+deb12u3), python3.
# Exit status: 0 the behaviour is as described, 1 it has changed, 2 a tool is missing.
set -eu
tshark --version 2>/dev/null | grep -q '4\.0\.17' || { echo 'needs tshark 4.0.17' >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# One connection: SYN, SYN-ACK, ACK, 60 bytes of A, 10 bytes of B; once whole, once cut at 74 bytes.
python3 - <<'PYTHON'
import struct

def packet(src, dst, sport, dport, seq, ack, flags, data=b""):
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 65535, 0, 0) + data
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, bytes(src), bytes(dst))
    return b"\2" * 6 + b"\4" * 6 + b"\x08\0" + ip + tcp

a, b = (10, 0, 0, 1), (10, 0, 0, 2)
packets = [
    packet(a, b, 1000, 2000, 1, 0, 0x02),
    packet(b, a, 2000, 1000, 1, 2, 0x12),
    packet(a, b, 1000, 2000, 2, 2, 0x10),
    packet(a, b, 1000, 2000, 2, 2, 0x18, b"A" * 60),
    packet(a, b, 1000, 2000, 62, 2, 0x18, b"B" * 10),
]
for name, snaplen in ("whole", 65535), ("cut", 74):
    with open(name + ".pcap", "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, 1))
        for i, data in enumerate(packets):
            file.write(struct.pack("<IIII", i, 0, len(data[:snaplen]), len(data)) + data[:snaplen])
PYTHON

stream() { tshark -r "$1.pcap" -q -z follow,tcp,raw,0 2>/dev/null | grep -E '^[0-9a-f]+$|missing' | tr -d '\n'; }
as=$(printf '41%.0s' $(seq 60))
bs=$(printf '42%.0s' $(seq 10))
echo "whole: $(stream whole)"
echo "cut:   $(stream cut)"
[ "$(stream whole)" = "$as$bs" ] || { echo 'changed: the whole stream' >&2; exit 1; }
# 20 bytes of A, then B: 40 bytes are absent, and nothing says so.
[ "$(stream cut)" = "$(printf '41%.0s' $(seq 20))$bs" ] || { echo 'changed: the cut stream' >&2; exit 1; }
echo 'as described'
