"""No fault: scenes in which only information, or nothing, may be found."""

import time

from network import EPMD_PORT, Failed, pause

from .base import ALONE, scene
from .strangers import check


@scene("simultaneous-connect")
def simultaneous_connect(s):
    delay = s.rng.choice([0.04, 0.08, 0.15])
    s.testbed.long_wire(delay)
    host_a, host_b = s.host(), s.host(bridge="br1")
    a, b = s.node(host_a), s.node(host_b)
    s.ready(a, b)
    s.listen()
    # Dials that begin further apart than a packet takes may not cross: the second asks EPMD at most.
    if not any(dialed_apart(s, a, b) < delay for _ in range(5)):
        raise Failed("the two dials never began at the same time")
    s.call(a, b)
    return f"{a.name} and {b.name} dial each other at the same moment"


def dialed_apart(s, a, b):
    """Lets two nodes dial each other at a time that both wait for; by how many seconds they missed each other."""
    if b.name in a.ask("nodes(connected)"):
        s.disconnect(a, b)
    moment = int(time.time() * 1000) + 300
    for node, other in ((a, b), (b, a)):
        wait = f"timer:sleep(max(0, {moment} - os:system_time(millisecond)))"
        node.send(f"{{{wait}, os:system_time(millisecond), net_kernel:connect_node('{other.name}')}}")
    began = []
    for answer in (a.answer(), b.answer()):
        _, start, connected = answer.strip("{}").split(",")
        if connected != "true":
            raise Failed("two dials at once came to nothing")
        began.append(int(start) / 1000)
    return abs(began[0] - began[1])


@scene("already-connected")
def already_connected(s):
    a, b = s.pair(options_a=ALONE, options_b=ALONE)
    s.connect(a, b)
    s.call(a, b)
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
    s.call(again, b)
    return f"{a.name} restarts behind a cable that was out; {b.name} believes it connected still"


@scene("node-restarted")
def node_restarted(s):
    a, b = s.pair()
    s.connect(*s.rng.choice([(a, b), (b, a)]))
    s.call(b, a)
    if s.chance():
        a.kill()
    else:
        a.ask("init:stop()")
        a.process.wait(20)
    pause(0.3)
    again = s.node(a.host, name=a.name, hidden=s.hidden)
    s.ready(again)
    s.connect(*s.rng.choice([(again, b), (b, again)]))
    s.call(again, b)
    return f"{a.name} ends, comes back, and connects to {b.name} again"


# In a mesh that forms, global may really close a connection when two nodes lose a simultaneous dial.
@scene("healthy", rules=[], allowed=["partition-cascade"])
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
    s.call(a, b, 5)
    if way == "checked":
        # As load balancers do: open, and closed again.
        check(s, a.host, b.host, EPMD_PORT)
    if way == "ticks":
        pause(6)
    if way == "reconnect":
        for _ in range(s.dials):
            a.ask(f"erlang:disconnect_node('{b.name}')")
            pause(s.dial_pause)
            s.connect(*s.rng.choice([(a, b), (b, a)]))
    if way == "shutdown":
        b.ask("init:stop()")
        b.process.wait(20)
    return f"{a.name} and {b.name} connect as they should ({way})"
