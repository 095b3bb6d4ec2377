#!/usr/bin/env python3
"""Hours of a bad day for a live beamscope, in minutes: see scripts/soak.

    soak.py --beamscope PROGRAM [--seed S] [MINUTES]

Ends with status 2 where something is missing, with 1 when beamscope grew, failed, or ended.
"""

import argparse
import collections
import contextlib
import json
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import network  # noqa: E402
from scenes.peers import FLAGS, hello, receive, send, serve  # noqa: E402
from network import EPMD_PORT  # noqa: E402
from tools import Release, missing  # noqa: E402

# A second's traffic in total: each of some workers opens so many connections, and so many frames
# are sent beside them. What a busy cluster under attack sees, and what two cores carry.
WORKERS, CONNECTIONS = 4, 40
SYNS, FRAMES = 2000, 200

# Memory is flat when nothing of the second half is above the highest of the second quarter by more than
# three hundredths and this many KiB: tables have filled by then, and allocators keep some pages (those of glibc grow by 2 %
# in half an hour, while what is allocated, as jemalloc counts it, stays the same from the tenth minute on). Nodes are
# forgotten last, so that what is shorter than this many seconds only keeps below a ceiling, with all
# tables full.
SLACK_KIB = 2048
WHOLE = 1200
CEILING_KIB = 400 << 10


class Beat:
    """So many turns a second, however long each takes, until the time is over."""

    def __init__(self, rate, end):
        self.rate, self.end = rate, end

    def __iter__(self):
        begin, number = time.monotonic(), 0
        while (now := time.monotonic()) < self.end and not network.stopping.is_set():
            due = begin + number / self.rate
            if due > now:
                time.sleep(due - now)
            elif now - due > 1:
                begin, number = now, 0  # What was missed is not made up for.
            number += 1
            yield number


def node(rng, peer):
    """Answers a handshake: some are refused, some connected and closed after a few ticks."""
    if not receive(peer):
        return
    send(peer, b"sok")
    name = b"target@192.168.0.11"
    send(peer, b"N" + struct.pack(">QIIH", FLAGS, rng.getrandbits(32), 7, len(name)) + name)
    if receive(peer)[:1] == b"r" and rng.random() < 0.5:
        send(peer, b"a" + bytes(16))
        peer.sendall(bytes(4 * rng.randrange(1, 20)))
        peer.recv(4096)


def connect(rng, address, port):
    """One short connection, of a kind that is drawn."""
    kind = rng.choice(["dial", "dial", "dial", "epmd", "junk", "empty", "reset", "huge"])
    port = EPMD_PORT if kind == "epmd" or (kind == "junk" and rng.random() < 0.5) else port
    with socket.create_connection((address, port), 2) as peer:
        peer.settimeout(2)
        if kind == "dial":
            # Of many names, and with many creations: each is a node that came back.
            hello(peer, f"n{rng.randrange(5000)}@h{rng.randrange(50)}.example.lan")
            receive(peer), receive(peer)
            if rng.random() < 0.7:
                send(peer, b"r" + rng.randbytes(20))
                if receive(peer):
                    peer.sendall(bytes(4 * rng.randrange(1, 20)))
        elif kind == "epmd":
            name = b"z" + f"n{rng.randrange(5000)}".encode()
            peer.sendall(struct.pack(">H", len(name)) + name)
            peer.recv(100)
        elif kind == "junk":
            peer.sendall(rng.randbytes(rng.randrange(1, 3000)))
        elif kind == "reset":
            hello(peer, "gone@192.168.0.12")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif kind == "huge":
            peer.sendall(struct.pack(">H", 65535) + b"N" + bytes(2000))


def churn(seed, here, address, port, end):
    rng = random.Random(seed)
    with here:
        for _ in Beat(CONNECTIONS, end):
            with contextlib.suppress(OSError, struct.error):
                connect(rng, address, port)


def checksum(bytes):
    total = sum(struct.unpack(f">{len(bytes) // 2}H", bytes))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def segment(rng, source, destination, port, flags):
    """A TCP header in an IP header, as the kernel would make it."""
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    tcp = struct.pack(">HHIIBBHHH", rng.randrange(1024, 65536), port, rng.getrandbits(32), 0,
                      0x50, flags, 64240, 0, 0)
    total = checksum(addresses + struct.pack(">HH", 6, len(tcp)) + tcp)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, rng.getrandbits(16), 0, 64, 6, 0) + addresses
    return ip + tcp[:16] + struct.pack(">H", total) + tcp[18:]


def flood(seed, here, address, port, end):
    """SYNs from many addresses, which nobody answers or resets."""
    rng = random.Random(seed)
    with here:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for _ in Beat(SYNS, end):
            source = f"192.168.0.{rng.randrange(12, 250)}"
            to = rng.choice([EPMD_PORT, port, rng.randrange(1, 65536)])
            with contextlib.suppress(OSError):
                raw.sendto(segment(rng, source, address, to, 0x02), (address, 0))


def litter(seed, here, address, port, end):
    """Frames that are cut, twisted, or nothing at all."""
    rng = random.Random(seed)
    with here:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind(("out0", 0))
    with raw:
        for _ in Beat(FRAMES, end):
            packet = bytearray(segment(rng, "192.168.0.12", address, port, rng.randrange(256)))
            packet += rng.randbytes(rng.randrange(0, 1200))
            for _ in range(rng.randrange(0, 6)):
                packet[rng.randrange(len(packet))] = rng.randrange(256)
            kind = rng.choice([0x0800, 0x0800, 0x0800, 0x86DD, 0x8100, rng.randrange(65536)])
            frame = bytes(12) + struct.pack(">H", kind) + packet[: rng.randrange(1, len(packet))]
            with contextlib.suppress(OSError):
                raw.send(frame)


class Watched:
    """beamscope, what it tells, and how large it is."""

    def __init__(self, testbed, program):
        with testbed.hub:
            self.process = testbed.start(
                [program, "-i", "br0", "--json", "--evidence", Path(testbed.work, "evidence")],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ).process
        self.reported, self.broken, self.stats, self.stderr = collections.Counter(), [], {}, []
        self.readers = [threading.Thread(target=read, daemon=True)
                        for read in (self.read, self.listen)]
        for reader in self.readers:
            reader.start()
        while not any("listening on" in line for line in self.stderr):
            time.sleep(0.05)
            self.check()

    def read(self):
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self.broken.append(line[:200])
                continue
            self.reported[event["event_type"]] += 1
            if event["event_type"] == "stats":
                self.stats = event["stats"]

    def listen(self):
        self.stderr.extend(self.process.stderr)

    @property
    def resident(self):
        """In KiB."""
        self.check()
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise network.Failed("beamscope has no memory")

    def check(self):
        if self.process.poll() is not None:
            answer = "".join(self.stderr[-9:])
            raise network.Failed(f"beamscope ended with {self.process.returncode}: {answer}")

    def row(self, seconds):
        """How it stands now, in a line."""
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        stats = self.stats
        return (f"{seconds / 60:5.1f} min  {self.resident:7} KiB  {stats.get('packets', 0):9} packets  "
                f"{stats.get('kernel_drops') or 0} dropped  {sum(self.reported.values())} events  "
                f"{stats.get('left_out') or 0} left out  {stats.get('evictions', 0)} evictions")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(30)
        for reader in self.readers:
            reader.join(30)
        return status


def soak(program, seconds, seed):
    """What is wrong with how it went, a line each."""
    with tempfile.TemporaryDirectory() as work:
        scene = network.Testbed(Path(work), None, Release)
        try:
            target = scene.host("target", "192.168.0.11").start_epmd()
            other = scene.host("other", "192.168.0.12")
            watched = Watched(scene, program)
            rng = random.Random(seed)
            with serve(target, 0, lambda peer: node(rng, peer)) as port:
                samples = drive(watched, other, target.address, port, seconds, seed)
            status = watched.end()
        finally:
            scene.close()
    quarter = len(samples) // 4
    before, after = max(samples[quarter : 2 * quarter]), max(samples[2 * quarter :])
    print(f"resident: median {statistics.median(samples)} KiB, {before} KiB in the second quarter, "
          f"{after} KiB after; {dict(watched.reported)}", flush=True)
    if max(samples) > CEILING_KIB:
        yield f"memory reached {max(samples)} KiB"
    if seconds >= WHOLE and after > before + 3 * before // 100 + SLACK_KIB:
        yield f"memory grew from {before} KiB to {after} KiB"
    if status:
        yield f"beamscope ended with status {status}: {''.join(watched.stderr[-9:])}"
    if watched.broken:
        yield f"no JSON: {watched.broken[:3]}"
    if not watched.stats.get("final"):
        yield "the final statistics are missing"
    if watched.stats.get("packets", 0) < seconds * SYNS // 4:
        yield f"too few packets for a soak: {watched.stats.get('packets')}"


def drive(watched, here, address, port, seconds, seed):
    """All the traffic, and a sample of the memory each second."""
    begin = time.monotonic()
    end = begin + seconds
    work = [(churn, f"{seed}/{number}") for number in range(WORKERS)]
    work += [(flood, f"{seed}/flood"), (litter, f"{seed}/litter")]
    threads = [threading.Thread(target=run, args=(s, here, address, port, end), daemon=True)
               for run, s in work]
    for thread in threads:
        thread.start()
    samples, shown = [], 0
    for second in Beat(1, end):
        samples.append(watched.resident)
        if second // 60 > shown or second == 1:
            shown = second // 60
            print(watched.row(time.monotonic() - begin), flush=True)
    for thread in threads:
        thread.join()
    print(watched.row(time.monotonic() - begin), flush=True)
    return samples


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", nargs="?", type=float, default=20)
    parser.add_argument("--beamscope", required=True)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    if lacks := missing(["ip"], [Release()]):
        print(f"soak: {lacks}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        wrong = list(soak(options.beamscope, options.minutes * 60, options.seed))
    except network.Failed as error:
        wrong = [str(error)]
    except KeyboardInterrupt:
        network.stopping.set()
        return 130
    for line in wrong:
        print(f"soak: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
