"""EPMD and the ports of the distribution: down, refused, of another family, on another interface."""

import threading

from network import pause

from ..play import fault, truth
from .path import join, prepared

PAIRS = "plain elixir ejabberd rabbitmq tls ipv6"


@fault("epmd-restarted", on=PAIRS + " hidden")
def epmd_restarted(c):
    """EPMD is down when it is asked, comes back, and the node registers again."""
    c.joins = False
    prepared(c)
    c.b.host.epmd.kill()
    c.note(f"EPMD of {c.b.host.name} is killed")
    join(c, False)
    pause(1)
    c.b.host.start_epmd()
    c.note(f"EPMD of {c.b.host.name} is started")
    pause(3)
    join(c, True)
    c.call(c.a, c.b)
    return truth(f"EPMD of {c.b.host.name} is down when {c.a.name} asks, and up later", ["epmd-unreachable"],
                 [c.b.host.address], allowed=["registration-lost"], state="solved")


@fault("registers-later", on="elixir tls ipv6 ejabberd rabbitmq")
def registers_later(c):
    """A node is dialed before it has started."""
    c.joins = False
    c.start(*[member for member in c.members if member is not c.b])
    c.prepare()
    c.scene.listen()
    for _ in range(c.scene.rng.randrange(1, 4)):
        join(c, False)
        pause(0.5)
    c.b.start()
    pause(1)
    join(c, True)
    c.call(c.a, c.b)
    return truth(f"{c.a.name} dials {c.b.name} before it has started, and again when it has", ["node-not-registered"],
                 [c.b.name + "|" + c.b.alive], state="solved")


@fault("listens-elsewhere", on="elixir ejabberd ipv6 tls")
def listens_elsewhere(c):
    """A node listens on one interface, and is dialed on another."""
    address = "{0,0,0,0,0,0,0,1}" if c.family == 6 else "{127,0,0,1}"
    c.b.options += ["-kernel", "inet_dist_use_interface", address]
    c.start()
    c.scene.listen()
    join(c, False)
    return truth(f"{c.b.name} listens on the loopback interface alone, and {c.a.name} dials it from another host",
                 ["stale-registration"], [c.b.name + "|" + c.b.alive + "|" + c.b.address],
                 [r"interface|loopback|127\.0\.0\.1|::1"], never=["nobody listens"], state="open",
                 outcome=[c.a.address, c.b.address, "refused"])


@fault("family-differs", on="plain elixir")
def family_differs(c):
    """A node of IPv6 registers with an EPMD of both families, and is dialed by IPv4."""
    c.b.options += ["-proto_dist", "inet6_tcp"]
    c.b.host.set("ipv6/conf/all/disable_ipv6", 0)
    c.b.host.set("ipv6/conf/lo/disable_ipv6", 0)
    c.b.host.set("ipv6/bindv6only", 1)
    c.start(c.a)
    # There it can be seen that the node registers by IPv6.
    c.scene.listen(c.b.host, "any")
    c.start(c.b)
    c.dial(c.a, c.b, False)
    return truth(f"{c.b.name} listens on IPv6 alone, and {c.a.name} dials it by IPv4", ["stale-registration"],
                 [c.b.name + "|" + c.b.alive + "|" + c.b.address], [r"IPv6|inet6|family"], state="open")


@fault("rejected-later", on="ipv6 ejabberd elixir tls", tools=["nft"])
def rejected_later(c):
    """A filter begins to answer for the distribution port with resets, while an old link lives on."""
    third = c.add()
    c.start()
    c.prepare()
    port = c.b.port
    c.scene.place = "bridge"
    c.scene.listen()
    join(c, True)
    c.call(c.a, c.b, 2)
    c.b.host.filter(f"tcp dport {port} tcp flags & (syn|ack) == syn reject with tcp reset")
    c.note(f"{c.b.host.name} rejects new links to port {port}")
    pause(1)
    for _ in range(2):
        c.dial(third, c.b, False)
        pause(0.5)
    c.call(c.a, c.b, 2)
    return truth(f"The port of {c.b.name} refuses {third.name} by a filter, while {c.a.name} talks to it",
                 ["stale-registration", "dist-port-blocked"], [c.b.name + "|" + c.b.alive + "|" + c.b.address],
                 [r"filter|firewall|reject"], never=["nobody listens", "no longer runs"], state="open",
                 outcome=[third.address, c.b.address, "refused"])


@fault("port-blocked", on="rabbitmq ejabberd elixir", tools=["nft"])
def port_blocked(c):
    """Only EPMD is let through a firewall, which drops the rest."""
    c.joins = False
    c.start()
    c.prepare()
    port, opens = c.b.port, c.scene.chance()
    c.scene.listen()
    c.b.host.filter(f"ip saddr {c.a.address} tcp dport {port} drop")
    c.note(f"{c.b.host.name} drops what comes to port {port}")
    join(c, False)
    if opens:
        c.b.host.pass_all()
        c.note(f"port {port} is open")
        join(c, True)
        c.call(c.a, c.b)
    return truth(f"A firewall drops what comes to the port of {c.b.name}" + (", later not" if opens else ""),
                 ["dist-port-blocked"], [c.b.name + "|" + c.b.alive + "|" + c.b.address],
                 state="solved" if opens else "open")


@fault("host-absent", on="plain ipv6 ejabberd")
def host_absent(c):
    """The host of a node is not on the network: nobody answers for its address."""
    c.start(c.a)
    c.scene.place = "bridge"
    c.b.host.cable("down")
    c.scene.listen()
    join(c, False)
    pause(2)
    return truth(f"{c.a.name} dials {c.b.name}, whose host is off: nobody answers for {c.b.address}",
                 ["neighbour-silent", "epmd-unreachable"],
                 [c.b.address], [r"ARP|neighbou?r|off|down|no such host|not on|absent"], state="open")


@fault("dials-itself", on="elixir ipv6 rabbitmq hidden")
def dials_itself(c):
    """A node dials its own host by another name."""
    c.joins = False
    alias = c.scene.rng.choice(["backend", "db-primary", "me"]) + ("." + c.scene.domain if c.long else "")
    c.a.host.aliases = {alias: c.a.address}
    c.start()
    c.prepare()
    c.scene.listen(c.a.host, "any")
    wanted = f"{c.a.alive}@{alias}"
    for _ in range(2):
        c.dial(c.a, wanted, False)
        pause(0.5)
    c.dial(c.a, c.b, True)
    return truth(f"{c.a.name} dials itself as {wanted}", ["name-mismatch", "same-name"],
                 [c.a.name + "|" + c.a.address], [r"itself|own host|same host|own name"],
                 never=["two nodes", "duplicate"])


@fault("two-at-once", on="elixir ipv6 tls")
def two_at_once(c):
    """Two nodes dial each other at the same moment, many times: one of the two links gives way."""
    c.start()
    c.scene.listen()
    for _ in range(6):
        calls = [threading.Thread(target=lambda x=x, y=y: x.ask(f"net_kernel:connect_node('{y.name}')"))
                 for x, y in ((c.a, c.b), (c.b, c.a))]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
        c.note(f"both dial: {c.a.connected()} {c.b.connected()}")
        pause(0.3)
        c.disconnect(c.a, c.b)
    c.dial(c.a, c.b, True)
    return truth(f"{c.a.name} and {c.b.name} dial each other at once", [])
