"""Faults of EPMD and of registrations with it, and ports that cannot be reached."""

import functools
import socket
import struct

from network import EPMD_PORT, Failed, ip, pause

from .base import scene
from .peers import alive2, close_connection, register, serve


@scene("node-not-registered")
def node_not_registered(s):
    a, b = s.pair()
    other = s.rng.choice([b.alive + "2", b.alive[:-1] or "x", b.alive.upper(), "server"])
    wanted = s.full_name(b.host, other)
    gone = s.chance(0.3)
    if gone:
        s.connect(a, b)
        b.kill()
        pause(0.5)
        wanted = b.name
        s.dial(a, wanted)
    else:
        with s.with_third_node(b):
            s.connect_before(a, b)
            s.dial(a, wanted)
    if s.healed:
        again = s.node(b.host, name=wanted)
        s.ready(again)
        s.connect(a, again)
    return f"{a.name} dials {wanted}, " + ("which has ended" if gone else "which no EPMD knows")


@scene("epmd-unreachable")
def epmd_unreachable(s):
    way = s.rng.choice(["refused", "blackhole", "prohibit", "unreachable", "no-host"])
    s.third_node = None
    host_a, host_b = s.host(), s.host(epmd=False)
    a = s.node(host_a, hidden=s.hidden)
    s.ready(a)
    wanted = s.full_name(host_b)
    if way == "no-host":
        s.place = "bridge"
        host_b.cable("down")
        with host_a:
            # Who has the address is known still, and no longer there.
            gone = f"{host_b.address} lladdr 02:00:00:00:00:99 dev out0 nud permanent"
            ip(f"neigh replace {gone}\n", s.family)
    elif way != "refused":
        host_b.start_epmd()
        b = s.node(host_b, name=wanted)
        s.ready(b)
        host_b.block(EPMD_PORT, way)
    s.listen()
    s.dial(a, wanted, min(s.dials, 2) if way in ("blackhole", "no-host") else None)
    if s.healed and way == "refused":
        host_b.start_epmd()
        b = s.node(host_b, name=wanted)
        s.ready(b)
        s.connect(a, b)
    return f"{a.name} dials {wanted}, and no way leads to EPMD there ({way})"


@scene("epmd-silent")
def epmd_silent(s):
    way = s.rng.choice(["frozen", "frozen", "closes", "closes-at-once"])
    host_a, host_b = s.host(), s.host(epmd=way == "frozen")
    a = s.node(host_a, hidden=s.hidden)
    s.ready(a)
    if way == "frozen":
        b = s.node(host_b)
        s.ready(b)
        wanted = b.name
        s.listen()
        s.connect_before(a, b)
        with s.with_third_node(b):
            host_b.epmd.freeze()
            s.dial(a, wanted, min(s.dials, 2))
            host_b.epmd.thaw()
            pause(0.2)
        if s.healed:
            s.connect(a, b)
    else:
        wanted = s.full_name(host_b)
        s.listen()
        with serve(host_b, EPMD_PORT, functools.partial(close_connection, read=way == "closes")):
            s.dial(a, wanted)
    return f"{a.name} dials {wanted}, and EPMD there sends nothing ({way})"


@scene("stale-registration")
def stale_registration(s):
    script = s.chance()
    host_a, host_b = s.host(), s.host()
    a = s.node(host_a, hidden=s.hidden)
    healthy = s.node(host_b)
    s.ready(a, healthy)
    if script:
        wanted = s.full_name(host_b)
        with host_b, socket.socket(socket.AF_INET) as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        s.listen()
        with register(host_b, wanted.split("@")[0], port), s.with_third_node(healthy):
            s.dial(a, wanted)
        return f"EPMD of {host_b.name} has {wanted} at port {port}, where nothing listens"
    loopback = "{127,0,0,1}" if s.family == 4 else "{0,0,0,0,0,0,0,1}"
    b = s.node(host_b, None, "-kernel", "inet_dist_use_interface", loopback)
    s.ready(b)
    s.listen()
    with s.with_third_node(healthy):
        s.dial(a, b.name)
    return f"{b.name} listens on loopback only, and {a.name} dials it from another host"


@scene("dist-port-blocked")
def dist_port_blocked(s):
    way = s.rng.choice(["blackhole", "blackhole", "prohibit", "unreachable"])
    port = s.rng.randrange(9100, 9200)
    ranged = s.chance()
    options = ["-kernel", "inet_dist_listen_min", str(port), "inet_dist_listen_max", str(port)]
    a, b = s.pair(options_b=options if ranged else (), listen=False)
    port = b.port
    s.listen()
    s.connect_before(a, b)
    b.host.block(port, way)
    s.dial(a, b.name, min(s.dials, 2) if way == "blackhole" else None)
    if s.healed:
        b.host.unblock()
        s.connect(a, b)
    return f"{a.name} dials {b.name}, whose distribution port is blocked ({way})"


@scene("name-in-use")
def name_in_use(s):
    host = s.host()
    s.third_node = None
    s.listen(host, s.rng.choice(["lo", "any"]))
    first = s.node(host)
    s.ready(first)
    for _ in range(min(s.dials, 3)):
        second = s.node(host, name=first.name)
        if second.process.wait(20) == 0:
            raise Failed("both nodes of one name started")
        pause(0.1)
    return f"{first.name} is started again on its host while it is alive"


@scene("registration-rejected")
def registration_rejected(s):
    a, b = s.pair()
    name = s.names.pop()
    with s.with_third_node(b):
        for number in range(s.dials):
            with a.host, socket.create_connection((b.host.address, EPMD_PORT), 5) as epmd:
                epmd.sendall(alive2(name, 40000 + number))
                epmd.settimeout(5)
                if epmd.recv(16):
                    raise Failed("EPMD took a registration from another host")
            pause(s.dial_pause)
    return f"something on {a.host.address} registers {name} with EPMD on {b.host.address}"


# The node asks for its registration every two seconds, and EPMD is not there.
@scene("registration-lost", rules=["registration-lost", "epmd-unreachable"])
def registration_lost(s):
    host_a, host_b = s.host(), s.host()
    returns = s.chance()
    s.listen(host_b, "any")
    a, b = s.node(host_a), s.node(host_b)
    s.ready(a, b)
    s.connect(*s.rng.choice([(a, b), (b, a)]))
    s.call(a, b)
    host_b.epmd.kill()
    pause(s.rng.choice([4, 6]))
    s.call(a, b, 3)
    if returns:
        host_b.start_epmd()
        pause(2.5)  # The node registers again within two seconds.
        s.call(b, a)
    return f"EPMD on the host of {b.name} is killed while the node talks to {a.name}" + \
        (", and comes back" if returns else "")


@scene("epmd-enumeration")
def epmd_enumeration(s):
    a, b = s.pair()
    # net_adm looks hosts up by IPv4 alone.
    real = s.chance() and a.host.family == 4
    with s.with_third_node(b):
        for _ in range(s.dials):
            if real:
                a.ask(f"net_adm:names('{b.host.name}')")
            else:
                with a.host, socket.create_connection((b.host.address, EPMD_PORT), 5) as epmd:
                    epmd.sendall(b"\0\1n")
                    while epmd.recv(4096):
                        pass
            pause(s.dial_pause)
    return f"{a.host.address} asks EPMD on {b.host.address} for all names" + \
        (" (net_adm:names)" if real else "")


@scene("epmd-command")
def epmd_command(s):
    host_a, host_b = s.host(), s.host()
    way = s.rng.choice(
        ["kill-refused", "kill", "stop-refused", "dump", "remote-kill", "remote-stop"]
    )
    s.listen(host_b, "any")
    a, b = s.node(host_a), s.node(host_b)
    s.ready(a, b)
    s.connect(a, b)
    if way == "kill":
        b.ask("init:stop()")
        b.process.wait(20)
    where, host = (host_a, host_b.address) if "remote" in way else (host_b, host_b.loopback)
    request = b"k" if "kill" in way else b"d" if way == "dump" else b"s" + b.alive.encode()
    with where, socket.create_connection((host, EPMD_PORT), 5) as epmd:
        epmd.sendall(struct.pack(">H", len(request)) + request)
        epmd.settimeout(5)
        answer = b""
        while more := epmd.recv(4096):
            answer += more
    return f"EPMD on {host_b.address} gets a command: {way}; it answers {answer[:12]}"
