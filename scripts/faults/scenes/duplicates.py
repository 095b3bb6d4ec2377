"""Two nodes of one name."""

from network import pause

from .base import ALONE, scene


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
        pause(s.dial_pause)
    return f"{host_a.address} and {host_b.address} both run {name}, and connect to {third.name}"
