"""Names of hosts that do not lead to a host, with a name server of the cluster's own."""

import re
from pathlib import Path

from network import pause, until

from ..play import fault, truth
from .path import join, prepared


def name_server(c, *records):
    """A name server on a host of its own, which all members ask for names outside of their tables."""
    if c.scene.place == "second":
        # The questions do not pass there.
        c.scene.place = "bridge"
    host = c.scene.host(epmd=False)
    folder = Path(c.testbed.work, "dns")
    folder.mkdir()
    command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
               f"--listen-address={host.address}", "--bind-interfaces", "--address=/#/",
               *[f"--host-record={record}" for record in records]]
    with open(Path(folder, "output"), "ab") as output:
        process = host.run(command, {"PATH": "/usr/sbin:/usr/bin"}, folder, output)
    with host:
        until(lambda: ":0035 " in Path("/proc/thread-self/net/udp" + ("6" if host.family == 6 else "")).read_text(),
              "the name server listens")
    for member in c.members:
        member.host.resolver = host.address
    return host, process


def absent_name(c):
    host = c.scene.host_names.pop()
    return f"{host}.{c.scene.domain}" if c.long else host


@fault("no-such-name", on="plain elixir ejabberd rabbitmq ipv6", tools=["dnsmasq"])
def no_such_name(c):
    """The name server does not know the host of the dialed node."""
    c.joins = False
    name_server(c)
    c.start(c.a)
    host = absent_name(c)
    c.scene.listen()
    for _ in range(2):
        getattr(c, "join", c.dial)(c.a, Named(f"{c.b.alive}@{host}"), False)
        pause(0.5)
    return truth(f"{c.a.name} dials {c.b.alive}@{host}: the name server does not know the host",
                 ["name-not-resolved"],
                 [c.a.address], [re.escape(host), r"NXDOMAIN|no such|not known|unknown|does not (know|exist|resolve)"])


class Named:
    """A node that is known by its name alone."""

    def __init__(self, name):
        self.name = name


@fault("name-server-silent", on="elixir ejabberd rabbitmq", tools=["dnsmasq", "nft"])
def name_server_silent(c):
    """The name server does not answer."""
    c.joins = False
    server, _ = name_server(c)
    c.start(c.a)
    host = absent_name(c)
    c.scene.listen()
    server.filter("udp dport 53 drop")
    getattr(c, "join", c.dial)(c.a, Named(f"{c.b.alive}@{host}"), False)
    pause(3)
    return truth(f"{c.a.name} dials {c.b.alive}@{host}: the name server does not answer",
                 ["name-not-resolved"],
                 [], [re.escape(host), r"DNS|name server|resolv"])


@fault("name-of-other-family", on="ipv6 tls-ipv6", tools=["dnsmasq"])
def name_of_other_family(c):
    """The name of the host has an address, but not one of the family that the node uses."""
    host = absent_name(c)
    name_server(c, f"{host},10.9.8.7")
    c.start(c.a)
    c.scene.listen()
    c.dial(c.a, f"{c.b.alive}@{host}", False)
    pause(1)
    return truth(f"{c.a.name} uses IPv6 and dials {c.b.alive}@{host}, which has an IPv4 address alone",
                 ["name-not-resolved"],
                 [c.a.address], [re.escape(host), r"AAAA|IPv6|family"])


@fault("named-healthy", on="elixir ejabberd rabbitmq", tools=["dnsmasq"])
def named_healthy(c):
    """All names come from a name server, and all is well."""
    c.joins = False
    name_server(c, *[f"{member.host.name},{member.address}" for member in c.members])
    for member in c.members:
        member.host.knows_itself_alone = True
    prepared(c)
    join(c, True)
    c.call(c.a, c.b, 3)
    return truth("All names come from the name server, and the members connect", [])
