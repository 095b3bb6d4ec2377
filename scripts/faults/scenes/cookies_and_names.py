"""Faults of cookies and of node names."""

import contextlib

from .base import scene
from .peers import register


@scene("cookie-mismatch")
def cookie_mismatch(s):
    way = s.rng.choice(["different", "per-node", "retries", "acceptor-per-node", "changed"])
    wrong = s.other_cookie()
    s.healthy_first = way == "changed"
    a, b = s.pair(cookie_a=wrong if way in ("different", "retries") else None)
    if way == "changed":
        s.connect(a, b)
        s.disconnect(a, b)
        a.ask(f"erlang:set_cookie('{wrong}')")
    with s.with_third_node(b):
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
    s.testbed.long = s.style != "short"
    host_a, host_b = s.host(), s.host()
    hosts = {}
    if way == "length":
        s.third_node = None
        short, full = host_b.name.split(".")[0], f"{host_b.name.split('.')[0]}.{s.domain}"
        hosts = {short: host_b.address, full: host_b.address}
        alive = s.names.pop()
        # Who has short names dials one; the other has the long name of the same host.
        a = s.node(host_a, name=s.full_name(host_a), hosts=hosts)
        if s.testbed.long:
            s.testbed.long = False
            b = s.node(host_b, name=f"{alive}@{short}", hosts=hosts)
            wanted = f"{alive}@{full}"
        else:
            s.testbed.long = True
            b = s.node(host_b, name=f"{alive}@{full}", hosts=hosts)
            wanted = f"{alive}@{short}"
        s.testbed.long = s.style != "short"
    else:
        b = s.node(host_b)
        if way == "alias":
            alias += "." + s.domain if s.testbed.long else ""
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
    with keeper or contextlib.nullcontext(), s.with_third_node(b):
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
    with s.with_third_node(b, {shared: host_b.address}):
        s.dial(a, wanted)
    return f"{name} on {host_a.address} dials {wanted}, a node that is called {name} too"


@scene("not-allowed")
def not_allowed(s):
    a, b = s.pair()
    s.connect_before(a, b)
    third = f"{s.names.pop()}@{b.host.name}"
    b.ask(f"net_kernel:allow(['{third}'])")
    s.dial(a, b.name)
    if s.healed:
        b.ask(f"net_kernel:allow(['{a.name}'])")
        s.connect(a, b)
    return f"{b.name} allows only {third}, and {a.name} dials it"
