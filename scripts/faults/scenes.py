"""Every kind of fault as a scene: what is started, what is broken, and who dials whom.

A scene draws all that may differ from its own random numbers, and has one fault. Its decorator says
which rules must find it (one of them is enough), and which others may speak too.
"""

import contextlib
import functools
import hashlib
import socket
import struct
import threading
from pathlib import Path

from stage import EPMD_PORT, Failed, ip, pause

ALIVE = "app api web worker billing ledger chat search jobs cache gateway orders stock mail".split()
HOSTS = "alpha zeus db1 node-7 web01 oak rack3-14 edge k8s-pod-x7f2 ip-10-0-0-9 build host2".split()
DOMAINS = "example.lan prod.internal svc.cluster.local corp.example.com test".split()
WORDS = "chocolate monster secret s3cr3t_cookie changeme vanilla Z0phod".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Without global: it talks without end where a node takes the place of another of its name, and
# connects again what was disconnected.
ALONE = ["-connect_all", "false"]

KINDS = {}


class Kind:
    def __init__(self, play, rules, also):
        self.play, self.rules, self.also = play, rules, also


def scene(name, rules=None, also=()):
    """Enters a scene, which returns its story; its rule has the kind's name if none is given."""

    def enter(play):
        KINDS[name] = Kind(play, [name] if rules is None else rules, list(also))
        return play

    return enter


class Scene:
    """What a scene draws, and what most scenes do."""

    def __init__(self, stage, rng, pcap):
        self.stage, self.rng, self.pcap = stage, rng, pcap
        self.style = rng.choice(["address", "domain", "domain", "short"])
        stage.long = self.style != "short"
        self.family = 6 if self.style != "address" and rng.random() < 0.2 else 4
        self.domain = rng.choice(DOMAINS)
        self.names = rng.sample(ALIVE, len(ALIVE))
        self.host_names = rng.sample(HOSTS, len(HOSTS))
        self.net = rng.choice([f"10.{rng.randrange(256)}.{rng.randrange(256)}",
                               f"192.168.{rng.randrange(256)}", f"172.{rng.randrange(16, 32)}.7"])
        if self.family == 6:
            self.net = f"fd{rng.randrange(256):02x}:{rng.randrange(1, 65536):x}:"
        self.numbers = rng.sample(range(2, 255), 20)
        self.cookie = self.draw_cookie()
        self.nodes, self.dialed = [], []
        # Most nodes have the seven seconds that are the default.
        self.patience = rng.choice([7, 7, 3, 2])
        self.company = rng.choice([None, None, "before", "after"])
        self.hidden = rng.random() < 0.2
        self.dials = rng.choice([1, 1, 2, 3, 5])
        self.rest = rng.choice([0.1, 0.3, 0.5, 1.0])
        self.manner = rng.choice([
            "net_kernel:connect_node({0})",
            "net_adm:ping({0})",
            "rpc:call({0}, erlang, node, [])",
            "monitor_node({0}, true), receive {{nodedown, {0}}} -> down after 9000 -> up end",
        ])
        self.healthy_first, self.healed = rng.random() < 0.3, rng.random() < 0.4
        self.place = rng.choice(["bridge"] * 6 + ["first", "second"])

    # --- Drawing --------------------------------------------------------------------------------

    def chance(self, probability=0.5):
        return self.rng.random() < probability

    def draw_cookie(self):
        if self.rng.random() < 0.5:
            return self.rng.choice(WORDS)
        return "".join(self.rng.choice(LETTERS) for _ in range(20))

    def other_cookie(self):
        while (cookie := self.draw_cookie()) == self.cookie:
            pass
        # Or a letter too many, or the wrong case, as it happens to those who copy.
        return self.rng.choice([cookie, cookie, self.cookie + "1", self.cookie.swapcase()])

    # --- Hosts and nodes ------------------------------------------------------------------------

    def host(self, epmd=True, bridge="br0"):
        name = self.host_names.pop()
        if self.stage.long:
            name += "." + self.domain
        address = f"{self.net}{':' if self.family == 6 else '.'}{self.numbers.pop()}"
        host = self.stage.host(name, address, bridge)
        return host.start_epmd() if epmd else host

    def full_name(self, host, alive=None):
        alive = alive or self.names.pop() + self.rng.choice(["", "", "1", "_2"])
        return f"{alive}@{host.address if self.style == 'address' else host.name}"

    def shared_host(self):
        """What several hosts go by, each on its own."""
        name = self.rng.choice(["app", "release", "worker-pod"])
        return f"{name}.{self.domain}" if self.stage.long else name

    def node(self, host, cookie=None, *options, name=None, hosts=None, hidden=False):
        options = list(options)
        if self.patience != 7:
            options += ["-kernel", "net_setuptime", str(self.patience)]
        if hidden:
            options += ["-hidden"]
        if self.healthy_first and ALONE[0] not in options:
            options += ALONE
        name = name or self.full_name(host)
        node = self.stage.node(host, name, cookie or self.cookie, *options, hosts=hosts)
        self.nodes.append({"name": name, "address": host.address, "cookie": node.cookie,
                           "options": options})
        return node

    def ready(self, *nodes):
        for node in nodes:
            node.answer()

    def listen(self, host=None, device=None):
        """Captures on the cable, or on all devices of one of the first two hosts."""
        if device is None and self.place != "bridge":
            host, device = self.stage.hosts[self.place == "second"], "any"
        self.stage.listen(self.pcap, host, device or "br0")

    def pair(self, cookie_a=None, cookie_b=None, options_a=(), options_b=(), listen=True):
        """Two nodes on two hosts, and tcpdump between them."""
        host_a, host_b = self.host(), self.host()
        a = self.node(host_a, cookie_a, *options_a, hidden=self.hidden)
        b = self.node(host_b, cookie_b, *options_b)
        self.ready(a, b)
        if listen:
            self.listen()
        return a, b

    # --- What nodes do --------------------------------------------------------------------------

    def dial(self, node, name, times=None):
        for number in range(times or self.dials):
            if number:
                pause(self.rest)
            said = node.ask(self.manner.format(f"'{name}'"))
            self.dialed.append(f"{node.name}: {self.manner.format(name)} -> {said}")

    def connect(self, node, other):
        """A connection that must come about."""
        said = node.ask(f"net_kernel:connect_node('{getattr(other, 'name', other)}')")
        if said != "true":
            raise Failed(f"{node.name} to {other.name}: {said}: {''.join(node.log[-9:])}"
                         f"{''.join(other.log[-9:])}")

    def talk(self, node, other, times=1):
        for _ in range(times):
            said = node.ask(f"erpc:call('{other.name}', erlang, node, [])")
            if said.strip("'") != other.name:
                raise Failed(f"{node.name}: {said}")

    def meet(self, a, b):
        """Perhaps the two were connected before the fault."""
        if self.healthy_first:
            self.connect(a, b)
            self.part(a, b)

    def part(self, a, b):
        # On a busy machine the other may still have something to say, which connects the two again.
        for _ in range(5):
            a.ask(f"erlang:disconnect_node('{b.name}')")
            pause(0.3)
            if a.ask("nodes(connected)") == "[]":
                return
        raise Failed(f"{a.name} is connected again")

    @contextlib.contextmanager
    def beside(self, b, hosts=None):
        """Perhaps a third node is connected to `b`, healthy, before or after what is done here."""
        if self.company:
            third = self.node(self.host(), b.cookie, hosts=hosts)
            self.ready(third)
        if self.company == "before":
            self.connect(third, b)
        yield
        if self.company == "after":
            self.connect(third, b)


# --- Cookies and names --------------------------------------------------------------------------


@scene("cookie-mismatch")
def cookie_mismatch(s):
    way = s.rng.choice(["different", "per-node", "retries", "acceptor-per-node", "changed"])
    wrong = s.other_cookie()
    s.healthy_first = way == "changed"
    a, b = s.pair(cookie_a=wrong if way in ("different", "retries") else None)
    if way == "changed":
        s.connect(a, b)
        s.part(a, b)
        a.ask(f"erlang:set_cookie('{wrong}')")
    with s.beside(b):
        if way == "per-node":
            a.ask(f"erlang:set_cookie('{b.name}', '{wrong}')")
        if way == "acceptor-per-node":
            b.ask(f"erlang:set_cookie('{a.name}', '{wrong}')")
        s.dial(a, b.name, s.rng.randrange(6, 13) if way == "retries" else None)
    if s.healed:
        (b if way == "acceptor-per-node" else a).ask(
            f"erlang:set_cookie('{(a if way == 'acceptor-per-node' else b).name}', '{s.cookie}')")
        s.connect(a, b)
    return f"{a.name} dials {b.name} with another cookie ({way})" + \
        (", then with the right one" if s.healed else "")


@scene("name-mismatch")
def name_mismatch(s):
    s.style = s.rng.choice(["address", "domain", "short"])
    way = s.rng.choice(["alias", "alias", "length", "alive"])
    alias = s.rng.choice(["db", "primary", "old-name", "backend-svc"])
    s.stage.long = s.style != "short"
    host_a, host_b = s.host(), s.host()
    hosts = {}
    if way == "length":
        s.company = None
        short, full = host_b.name.split(".")[0], f"{host_b.name.split('.')[0]}.{s.domain}"
        hosts = {short: host_b.address, full: host_b.address}
        alive = s.names.pop()
        # Who has short names dials one; the other has the long name of the same host.
        a = s.node(host_a, name=s.full_name(host_a), hosts=hosts)
        if s.stage.long:
            s.stage.long = False
            b = s.node(host_b, name=f"{alive}@{short}", hosts=hosts)
            wanted = f"{alive}@{full}"
        else:
            s.stage.long = True
            b = s.node(host_b, name=f"{alive}@{full}", hosts=hosts)
            wanted = f"{alive}@{short}"
        s.stage.long = s.style != "short"
    else:
        b = s.node(host_b)
        if way == "alias":
            alias += "." + s.domain if s.stage.long else ""
            hosts = {alias: host_b.address}
            wanted = f"{b.alive}@{alias}"
        else:
            wanted = s.full_name(host_b)
        a = s.node(host_a, hosts=hosts, hidden=s.hidden)
    s.ready(a, b)
    keeper = None
    if way == "alive":
        keeper = register(host_b, wanted.split("@")[0], b.port)
    s.listen()
    with keeper or contextlib.nullcontext(), s.beside(b):
        s.dial(a, wanted)
    if s.chance(0.3) and way != "length":
        s.connect(a, b)
    return f"{a.name} dials {wanted}, where {b.name} answers ({way})"


@scene("same-name")
def same_name(s):
    host_a, host_b = s.host(), s.host()
    shared = s.shared_host()
    name = f"{s.names.pop()}@{shared}"
    a = s.node(host_a, name=name, hosts={shared: host_a.address})
    b = s.node(host_b, name=name, hosts={shared: host_b.address})
    s.ready(a, b)
    s.listen()
    wanted = f"{b.alive}@{host_b.address if s.style == 'address' else host_b.name}"
    with s.beside(b, {shared: host_b.address}):
        s.dial(a, wanted)
    return f"{name} on {host_a.address} dials {wanted}, a node that is called {name} too"


@scene("not-allowed")
def not_allowed(s):
    a, b = s.pair()
    s.meet(a, b)
    third = f"{s.names.pop()}@{b.host.name}"
    b.ask(f"net_kernel:allow(['{third}'])")
    s.dial(a, b.name)
    if s.healed:
        b.ask(f"net_kernel:allow(['{a.name}'])")
        s.connect(a, b)
    return f"{b.name} allows only {third}, and {a.name} dials it"


# --- EPMD ---------------------------------------------------------------------------------------


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
        with s.beside(b):
            s.meet(a, b)
            s.dial(a, wanted)
    if s.healed:
        again = s.node(b.host, name=wanted)
        s.ready(again)
        s.connect(a, again)
    return f"{a.name} dials {wanted}, " + ("which has ended" if gone else "which no EPMD knows")


@scene("epmd-unreachable")
def epmd_unreachable(s):
    way = s.rng.choice(["refused", "blackhole", "prohibit", "unreachable", "no-host"])
    s.company = None
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
        s.meet(a, b)
        with s.beside(b):
            host_b.epmd.freeze()
            s.dial(a, wanted, min(s.dials, 2))
            host_b.epmd.thaw()
            pause(0.2)
        if s.healed:
            s.connect(a, b)
    else:
        wanted = s.full_name(host_b)
        s.listen()
        with serve(host_b, EPMD_PORT, functools.partial(close_it, read=way == "closes")):
            s.dial(a, wanted)
    return f"{a.name} dials {wanted}, and EPMD there says nothing ({way})"


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
        with register(host_b, wanted.split("@")[0], port), s.beside(healthy):
            s.dial(a, wanted)
        return f"EPMD of {host_b.name} has {wanted} at port {port}, where nobody listens"
    loopback = "{127,0,0,1}" if s.family == 4 else "{0,0,0,0,0,0,0,1}"
    b = s.node(host_b, None, "-kernel", "inet_dist_use_interface", loopback)
    s.ready(b)
    s.listen()
    with s.beside(healthy):
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
    s.meet(a, b)
    b.host.block(port, way)
    s.dial(a, b.name, min(s.dials, 2) if way == "blackhole" else None)
    if s.healed:
        b.host.unblock()
        s.connect(a, b)
    return f"{a.name} dials {b.name}, whose distribution port is blocked ({way})"


@scene("name-in-use")
def name_in_use(s):
    host = s.host()
    s.company = None
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
    with s.beside(b):
        for number in range(s.dials):
            with a.host, socket.create_connection((b.host.address, EPMD_PORT), 5) as epmd:
                epmd.sendall(alive2(name, 40000 + number))
                epmd.settimeout(5)
                if epmd.recv(16):
                    raise Failed("EPMD took a registration from another host")
            pause(s.rest)
    return f"something on {a.host.address} registers {name} with EPMD on {b.host.address}"


# The node asks for its registration every two seconds, and nobody is there.
@scene("registration-lost", rules=["registration-lost", "epmd-unreachable"])
def registration_lost(s):
    host_a, host_b = s.host(), s.host()
    returns = s.chance()
    s.listen(host_b, "any")
    a, b = s.node(host_a), s.node(host_b)
    s.ready(a, b)
    s.connect(*s.rng.choice([(a, b), (b, a)]))
    s.talk(a, b)
    host_b.epmd.kill()
    pause(s.rng.choice([4, 6]))
    s.talk(a, b, 3)
    if returns:
        host_b.start_epmd()
        pause(2.5)  # The node registers again within two seconds.
        s.talk(b, a)
    return f"EPMD on the host of {b.name} is killed while the node talks to {a.name}" + \
        (", and comes back" if returns else "")


@scene("epmd-enumeration")
def epmd_enumeration(s):
    a, b = s.pair()
    # net_adm looks hosts up by IPv4 alone.
    real = s.chance() and a.host.family == 4
    with s.beside(b):
        for _ in range(s.dials):
            if real:
                a.ask(f"net_adm:names('{b.host.name}')")
            else:
                with a.host, socket.create_connection((b.host.address, EPMD_PORT), 5) as epmd:
                    epmd.sendall(b"\0\1n")
                    while epmd.recv(4096):
                        pass
            pause(s.rest)
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
        said = b""
        while more := epmd.recv(4096):
            said += more
    return f"EPMD on {host_b.address} is told: {way}; it answers {said[:12]}"


# --- Connections that never finish --------------------------------------------------------------


@scene("handshake-timeout")
def handshake_timeout(s):
    a, b = s.pair()
    s.meet(a, b)
    with s.beside(b):
        b.freeze()
        s.dial(a, b.name, min(s.dials, 2))
        if s.healed or s.company == "after":
            b.thaw()
            pause(0.3)
    if s.healed:
        s.connect(a, b)
    return f"{b.name} is frozen while {a.name} dials it" + (", and thaws" if s.healed else "")


# The flags of a node of each release (Distribution Protocol, Distribution Flags).
OLD_FLAGS = {"R15B": 0x7FFD, "R16B": 0x17FFD, "18": 0x37FFD, "20": 0x77FFD, "22": 0xDF7FBD}
FLAGS = 0xD_07DF_7FBD


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
    with s.beside(b), listening as port, register(host_a, old.split("@")[0], port, highest=5):
        for _ in range(s.dials if old_dials else 0):
            with host_a, socket.create_connection((host_b.address, b.host.ask(b.alive)), 5) as peer:
                send(peer, b"n" + struct.pack(">HI", 5, flags) + old.encode())
                receive(peer)
            pause(s.rest)
        if not old_dials:
            s.dial(b, old)
    return f"{old} is of release {release}: " + \
        (f"it dials {b.name}" if old_dials else f"{b.name} dials it")


# --- TLS ----------------------------------------------------------------------------------------


@scene("tls-mismatch")
def tls_mismatch(s):
    trust = s.stage.certificates
    secure = tls_options(s, trust("one", "ca1"), None)
    dialer_is_secure = s.chance()
    a, b = s.pair(options_a=secure if dialer_is_secure else (),
                  options_b=() if dialer_is_secure else secure)
    s.dial(a, b.name, min(s.dials, 2) if dialer_is_secure else None)
    has_tls = a if dialer_is_secure else b
    return f"{a.name} dials {b.name}, and only {has_tls.name} has TLS"


@scene("tls-failure")
def tls_failure(s):
    way = s.rng.choice(["server-ca", "server-ca", "client-ca", "no-client", "version", "expired"])
    trust = s.stage.certificates
    one, two, late = trust("one", "ca1"), trust("two", "ca2"), trust("late", "ca1")
    a_has, a_trusts, b_has, b_trusts, a_version, b_version = one, None, one, None, None, None
    if way == "server-ca":
        b_has, a_trusts = two, one
    elif way == "client-ca":
        a_has, b_trusts = two, one
    elif way == "no-client":
        a_has, b_trusts = None, one
    elif way == "version":
        a_version, b_version = s.rng.choice([("tlsv1.2", "tlsv1.3"), ("tlsv1.3", "tlsv1.2")])
    elif way == "expired":
        b_has, a_trusts = late, one
    if a_version is None and s.chance(0.3):
        a_version = b_version = "tlsv1.3"
    a, b = s.pair(options_a=tls_options(s, a_has, a_trusts, a_version),
                  options_b=tls_options(s, b_has, b_trusts, b_version))
    s.dial(a, b.name)
    return f"{a.name} and {b.name} do not come to terms over TLS ({way}, {a_version or 'default'})"


def tls_options(s, has, trusts, version=None):
    """Arguments of a node that shows the certificate `has`, and trusts the issuer of `trusts`."""
    both = [f"{{versions,['{version}']}}"] if version else []
    if has:
        both += [f'{{certfile,"{has}.pem"}},{{keyfile,"{has}.key"}}']
    check = [f'{{cacertfile,"{trusts}.ca"}},{{verify,verify_peer}}'] if trusts else \
        ["{verify,verify_none}"]
    strict = ["{fail_if_no_peer_cert,true}"] if trusts else []
    file = Path(s.stage.work, f"tls-{len(list(s.stage.work.iterdir()))}.config")
    file.write_text(f"[{{server,[{','.join(both + check + strict)}]}},"
                    f"{{client,[{','.join(both + check)}]}}].\n")
    carrier = "inet6_tls" if s.family == 6 else "inet_tls"
    return ["-proto_dist", carrier, "-ssl_dist_optfile", f"../{file.name}"]


# --- A stranger ---------------------------------------------------------------------------------


@scene("handshake-aborted")
def handshake_aborted(s):
    a, b = s.pair()
    # Who leaves after the challenge, all read, is no other than who wanted another name.
    after = s.rng.choice(["send_name", "status"])
    name = s.full_name(a.host)
    with s.beside(b):
        for _ in range(s.dials):
            with a.host, socket.create_connection((b.host.address, b.host.ask(b.alive)), 5) as peer:
                hello(peer, name)
                if after == "status":
                    receive(peer)
            pause(s.rest)
    pause(1)
    s.connect(a, b)
    return f"a script that calls itself {name} dials {b.name} and leaves after {after}"


@scene("not-distribution")
def not_distribution(s):
    a, b = s.pair()
    to_epmd = s.chance()
    said = s.rng.choice([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-probe\r\n", b"PING\r\n"])
    with s.beside(b):
        for _ in range(s.dials):
            with a.host:
                port = EPMD_PORT if to_epmd else b.host.ask(b.alive)
                peer = socket.create_connection((b.host.address, port), 5)
            with peer:
                peer.sendall(said)
                peer.settimeout(s.rest)
                with contextlib.suppress(OSError):
                    peer.recv(100)
    return f"a script says {said[:4].decode()} to port {port} on {b.host.address}"


@scene("health-check", rules=["not-distribution", "handshake-aborted"])
def health_check(s):
    a, b = s.pair()
    port = b.port
    with s.beside(b):
        s.connect(a, b)
        check(s, a.host, b.host, port)
    return f"something on {a.host.address} opens and closes the distribution port of {b.name}"


def check(s, here, there, port):
    for _ in range(s.dials):
        with here:
            socket.create_connection((there.address, port), 5).close()
        pause(s.rest)


@scene("cookie-guessing", also=["cookie-mismatch"])
def cookie_guessing(s):
    a, b = s.pair()
    guesses, pace = s.rng.randrange(40, 120), s.rng.choice([0.01, 0.03, 0.1])
    names = s.rng.choice(["new", "few", "same"])
    with s.beside(b), a.host:
        port = b.host.ask(b.alive)
        for number in range(guesses):
            alive = {"new": f"n{s.rng.randrange(10**6)}", "few": f"x{number % 3}", "same": "probe"}
            with socket.create_connection((b.host.address, port), 5) as peer:
                guess(peer, f"{alive[names]}@{a.host.address}", s.draw_cookie() + str(number))
            pause(pace)
    return f"a script on {a.host.address} tries {guesses} cookies on {b.name} ({names} name)"


# --- More of one name ---------------------------------------------------------------------------


@scene("duplicate-node")
def duplicate_node(s):
    host_a, host_b, host_c = s.host(), s.host(epmd=False), s.host()
    shared = s.shared_host()
    name = f"{s.names.pop()}@{shared}"
    dials = s.rng.randrange(3, 7)
    one = s.node(host_a, None, *ALONE, name=name, hosts={shared: host_a.address})
    third = s.node(host_c, None, *ALONE)
    s.ready(one, third)
    # EPMD takes the first creation of a name from its clock: two of one second have the same.
    pause(1.1)
    host_b.start_epmd()
    two = s.node(host_b, None, *ALONE, name=name, hosts={shared: host_b.address})
    s.ready(two)
    # Each of the two sees itself alone.
    s.listen(*s.rng.choice([(None, "br0"), (host_c, "any")]))
    for number in range(dials):
        s.connect((one, two)[number % 2], third)
        pause(s.rest)
    return f"{host_a.address} and {host_b.address} both run {name}, and connect to {third.name}"


# --- What is no fault ---------------------------------------------------------------------------


@scene("simultaneous-connect")
def simultaneous_connect(s):
    s.stage.long_wire(s.rng.choice([0.04, 0.08, 0.15]))
    host_a, host_b = s.host(), s.host(bridge="br1")
    a, b = s.node(host_a), s.node(host_b)
    s.ready(a, b)
    s.listen()
    for node, other in ((a, b), (b, a)):
        node.tell(f"net_kernel:connect_node('{other.name}')")
    if [a.answer(), b.answer()] != ["true", "true"]:
        raise Failed("two dials at once came to nothing")
    s.talk(a, b)
    return f"{a.name} and {b.name} dial each other at the same moment"


@scene("already-connected")
def already_connected(s):
    a, b = s.pair(options_a=ALONE, options_b=ALONE)
    s.connect(a, b)
    s.talk(a, b)
    pause(0.4)  # All that was sent is delivered.
    # What is left of a killed node must be quiet before the cable is in again.
    a.host.set("ipv4/tcp_orphan_retries", 1)
    a.host.cable("down")
    a.kill()
    pause(3)
    a.host.cable("up")
    again = s.node(a.host, None, *ALONE, name=a.name, hidden=s.hidden)
    s.ready(again)
    s.connect(again, b)
    s.talk(again, b)
    return f"{a.name} restarts behind a cable that was out; {b.name} believes it connected still"


@scene("node-restarted")
def node_restarted(s):
    a, b = s.pair()
    s.connect(*s.rng.choice([(a, b), (b, a)]))
    s.talk(b, a)
    if s.chance():
        a.kill()
    else:
        a.ask("init:stop()")
        a.process.wait(20)
    pause(0.3)
    again = s.node(a.host, name=a.name, hidden=s.hidden)
    s.ready(again)
    s.connect(*s.rng.choice([(again, b), (b, again)]))
    s.talk(again, b)
    return f"{a.name} ends, comes back, and connects to {b.name} again"


@scene("healthy", rules=[])
def healthy(s):
    way = s.rng.choice(["work", "mesh", "reconnect", "ticks", "dynamic", "shutdown", "checked"])
    s.healthy_first = False
    options = ["-kernel", "net_ticktime", "4"] if way == "ticks" else ()
    a, b = s.pair(options_a=options, options_b=options)
    if way == "mesh":
        more = [s.node(s.host()) for _ in range(s.rng.randrange(1, 3))]
        s.ready(*more)
        for node in (b, *more):
            s.connect(node, a)
        pause(1)
    elif way == "dynamic":
        host = s.host()
        dynamic = s.node(host, name=f"undefined@{host.name}")
        s.ready(dynamic)
        s.connect(dynamic, b)
    s.connect(a, b)
    s.talk(a, b, 5)
    if way == "checked":
        # As load balancers do: open, and closed again.
        check(s, a.host, b.host, EPMD_PORT)
    if way == "ticks":
        pause(6)
    if way == "reconnect":
        for _ in range(s.dials):
            a.ask(f"erlang:disconnect_node('{b.name}')")
            pause(s.rest)
            s.connect(*s.rng.choice([(a, b), (b, a)]))
    if way == "shutdown":
        b.ask("init:stop()")
        b.process.wait(20)
    return f"{a.name} and {b.name} connect as they should ({way})"


# --- What no real node says ---------------------------------------------------------------------


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


def close_it(peer, read):
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


def guess(peer, name, cookie):
    """The handshake of an Erlang node up to the answer to the challenge, with this cookie."""
    hello(peer, name)
    if receive(peer) != b"sok":
        raise Failed("a guess was not let in")
    challenge = struct.unpack(">I", receive(peer)[9:13])[0]
    digest = hashlib.md5(f"{cookie}{challenge}".encode()).digest()
    send(peer, b"r" + struct.pack(">I", 7) + digest)
    if receive(peer):
        raise Failed("a guess was right")
