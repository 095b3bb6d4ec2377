"""Messages and servers in place of real nodes, for what no real node sends."""

import contextlib
import hashlib
import socket
import struct
import threading

from network import EPMD_PORT, Failed

# The flags of OTP 25.
FLAGS = 0xD_07DF_7FBD


def alive2(alive, port, highest=6):
    """A registration request (EPMD protocol, ALIVE2_REQ)."""
    body = struct.pack(">BHBBHHH", ord("x"), port, 77, 0, highest, 5, len(alive))
    body += alive.encode() + b"\0\0"
    return struct.pack(">H", len(body)) + body


@contextlib.contextmanager
def register(host, alive, port, highest=6):
    """A name at EPMD for as long as this lasts."""
    with host:
        keeper = socket.create_connection((host.loopback, EPMD_PORT), 5)
    with keeper:
        keeper.sendall(alive2(alive, port, highest))
        if keeper.recv(6)[1:2] != b"\0":
            raise Failed(f"EPMD does not take {alive}")
        yield keeper


@contextlib.contextmanager
def serve(host, port, answer):
    """Listens, and leaves each connection to `answer`."""
    kind_of = socket.AF_INET6 if host.family == 6 else socket.AF_INET
    with host:
        listener = socket.create_server(("", port), family=kind_of)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    peer.settimeout(10)
                    answer(peer)

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def close_connection(peer, read):
    if read:
        peer.recv(1024)


def send(peer, message):
    peer.sendall(struct.pack(">H", len(message)) + message)


def receive(peer):
    """A message of the handshake; nothing at the end of the connection."""
    length = peer.recv(2, socket.MSG_WAITALL)
    if len(length) < 2:
        return b""
    return peer.recv(struct.unpack(">H", length)[0], socket.MSG_WAITALL)


def hello(peer, name):
    send(peer, struct.pack(">BQIH", ord("N"), FLAGS, 1, len(name)) + name.encode())


def is_right(peer, name, cookie):
    """The handshake of an Erlang node with this cookie: whether the other node accepts it."""
    hello(peer, name)
    if receive(peer) != b"sok":
        raise Failed("a guess was not let in")
    challenge = struct.unpack(">I", receive(peer)[9:13])[0]
    digest = hashlib.md5(f"{cookie}{challenge}".encode()).digest()
    send(peer, b"r" + struct.pack(">I", 7) + digest)
    return bool(receive(peer))


def guess(peer, name, cookie):
    """A cookie that must be wrong."""
    if is_right(peer, name, cookie):
        raise Failed("a guess was right")
