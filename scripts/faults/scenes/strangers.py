"""Connections of programs that are no Erlang nodes."""

import contextlib
import socket

from network import EPMD_PORT, pause

from .base import scene
from .peers import guess, hello, receive


@scene("handshake-aborted")
def handshake_aborted(s):
    a, b = s.pair()
    # Who leaves after the challenge, all read, is no other than who wanted another name.
    after = s.rng.choice(["send_name", "status"])
    name = s.full_name(a.host)
    with s.with_third_node(b):
        for _ in range(s.dials):
            with a.host, socket.create_connection((b.host.address, b.host.ask(b.alive)), 5) as peer:
                hello(peer, name)
                if after == "status":
                    receive(peer)
            pause(s.dial_pause)
    pause(1)
    s.connect(a, b)
    return f"a script that calls itself {name} dials {b.name} and leaves after {after}"


@scene("not-distribution")
def not_distribution(s):
    a, b = s.pair()
    to_epmd = s.chance()
    payload = s.rng.choice([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-probe\r\n", b"PING\r\n"])
    with s.with_third_node(b):
        for _ in range(s.dials):
            with a.host:
                port = EPMD_PORT if to_epmd else b.host.ask(b.alive)
                peer = socket.create_connection((b.host.address, port), 5)
            with peer:
                peer.sendall(payload)
                peer.settimeout(s.dial_pause)
                with contextlib.suppress(OSError):
                    peer.recv(100)
    return f"a script sends {payload[:4].decode()} to port {port} on {b.host.address}"


@scene("health-check", rules=["not-distribution", "handshake-aborted"])
def health_check(s):
    a, b = s.pair()
    port = b.port
    with s.with_third_node(b):
        s.connect(a, b)
        check(s, a.host, b.host, port)
    return f"something on {a.host.address} opens and closes the distribution port of {b.name}"


def check(s, here, there, port):
    for _ in range(s.dials):
        with here:
            socket.create_connection((there.address, port), 5).close()
        pause(s.dial_pause)


@scene("cookie-guessing", allowed=["cookie-mismatch"])
def cookie_guessing(s):
    a, b = s.pair()
    guesses, pace = s.rng.randrange(40, 120), s.rng.choice([0.01, 0.03, 0.1])
    names = s.rng.choice(["new", "few", "same"])
    with s.with_third_node(b), a.host:
        port = b.host.ask(b.alive)
        for number in range(guesses):
            alive = {"new": f"n{s.rng.randrange(10**6)}", "few": f"x{number % 3}", "same": "probe"}
            with socket.create_connection((b.host.address, port), 5) as peer:
                guess(peer, f"{alive[names]}@{a.host.address}", s.draw_cookie() + str(number))
            pause(pace)
    return f"a script on {a.host.address} tries {guesses} cookies on {b.name} ({names} name)"
