"""Handshakes that do not end, and releases that do not fit."""

import socket
import struct

from network import pause

from .base import scene
from .peers import receive, register, send, serve


@scene("handshake-timeout")
def handshake_timeout(s):
    a, b = s.pair()
    s.connect_before(a, b)
    with s.with_third_node(b):
        b.freeze()
        s.dial(a, b.name, min(s.dials, 2))
        if s.healed or s.third_node == "after":
            b.thaw()
            pause(0.3)
    if s.healed:
        s.connect(a, b)
    return f"{b.name} is frozen while {a.name} dials it" + (", and thaws" if s.healed else "")


# The flags of a node of each release (Distribution Protocol, Distribution Flags).
OLD_FLAGS = {"R15B": 0x7FFD, "R16B": 0x17FFD, "18": 0x37FFD, "20": 0x77FFD, "22": 0xDF7FBD}


@scene("version-mismatch")
def version_mismatch(s):
    release, flags = s.rng.choice(sorted(OLD_FLAGS.items()))
    old_dials = s.chance()
    host_a, host_b = s.host(), s.host()
    b = s.node(host_b)
    s.ready(b)
    old = s.full_name(host_a)
    s.nodes.append({"name": old, "address": host_a.address, "release": release})
    s.listen()
    # Releases before 23 know no other hello than their own, and close.
    listening = serve(host_a, 0, receive)
    with s.with_third_node(b), listening as port, register(host_a, old.split("@")[0], port, highest=5):
        for _ in range(s.dials if old_dials else 0):
            with host_a, socket.create_connection((host_b.address, b.host.ask(b.alive)), 5) as peer:
                send(peer, b"n" + struct.pack(">HI", 5, flags) + old.encode())
                receive(peer)
            pause(s.dial_pause)
        if not old_dials:
            s.dial(b, old)
    return f"{old} is of release {release}: " + \
        (f"it dials {b.name}" if old_dials else f"{b.name} dials it")
