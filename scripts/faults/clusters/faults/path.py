"""Paths between two hosts that lose a part of what is sent."""

import subprocess

from network import EPMD_PORT, Failed, pause

from ..play import fault, truth

LOST = (r"unacknowledged|not acknowledged|never acknowledged|acknowledged (nothing|none)|(do|does|did) not "
        r"(reach|arrive)|never (reach|arriv)|(is|are|was|were|get|gets) lost")
TIMED_OUT = ["timed_out", "aborted", "incomplete"]
ALL_PAIRS = "plain elixir rabbitmq ejabberd tls ipv6 tls-ipv6 hidden"


def lose(c, receiver, sender, port, served_by, above):
    """Loses at a host what comes from another, to or from a TCP port, if it is longer than that many octets.

    What is captured elsewhere is sent, and not acknowledged.
    """
    ip = "ip6" if c.family == 6 else "ip"
    side = "sport" if served_by == sender else "dport"
    receiver.filter(f"{ip} saddr {sender.address} tcp {side} {port} tcp flags & syn == 0 meta length > {above} drop")
    c.note(f"{receiver.name} loses what comes from {sender.name} ({side} {port}, above {above} octets)")


def bare(c):
    """The octets of an IP packet with a TCP header and no payload, of a connection that is open."""
    return 72 if c.family == 6 else 52


def direction(c):
    return c.scene.rng.choice([(c.a, c.b), (c.b, c.a)])


@fault("payload-lost", on=ALL_PAIRS, tools=["nft"])
def payload_lost(c):
    """The TCP handshake passes both ways; of what one side says on the distribution port nothing arrives."""
    c.joins = False
    c.start()
    c.prepare()
    sender, receiver = direction(c)
    port, heals = c.b.port, c.scene.chance(0.4)
    c.scene.listen()
    lose(c, receiver.host, sender.host, port, c.b.host, bare(c))
    join(c, False)
    if heals:
        receiver.host.pass_all()
        pause(1)
        c.note("nothing is lost any more")
        join(c, True)
        c.call(c.a, c.b)
    return truth(f"{c.a.name} dials {c.b.name}; what {sender.host.name} says on the distribution port does not arrive"
                 + (", later it does" if heals else ""),
                 ["path-loss", "handshake-timeout"], [c.a.name + "|" + c.a.address,
                 c.b.name + "|" + c.b.address], [LOST], state="solved" if heals else "open",
                 outcome=None if heals else [c.a.address, c.b.address, *TIMED_OUT])


def join(c, expected):
    """The usual way to connect two members: `join` where the program has it."""
    return getattr(c, "join", c.dial)(c.a, c.b, expected)


def prepared(c):
    """Starts the members, and captures from then on."""
    c.start()
    c.prepare()
    c.scene.listen()


def connected(c):
    """Starts the members, captures from then on, and connects the two unless they are."""
    prepared(c)
    if c.b.name not in c.a.connected():
        join(c, True)


@fault("epmd-request-lost", on="ipv6 elixir ejabberd rabbitmq tls", tools=["nft"])
def epmd_request_lost(c):
    c.joins = False
    prepared(c)
    lose(c, c.b.host, c.a.host, EPMD_PORT, c.b.host, bare(c))
    join(c, False)
    return truth(f"The question of {c.a.name} to EPMD of {c.b.host.name} does not arrive",
                 ["path-loss", "epmd-silent"], [c.b.host.address], [LOST], state="open")


@fault("epmd-reply-lost", on="plain ipv6 elixir ejabberd", tools=["nft"])
def epmd_reply_lost(c):
    c.joins = False
    c.start()
    c.prepare()
    heals = c.scene.chance()
    c.scene.listen()
    lose(c, c.a.host, c.b.host, EPMD_PORT, c.b.host, bare(c))
    join(c, False)
    if heals:
        c.a.host.pass_all()
        pause(1)
        join(c, True)
    return truth(f"The answer of EPMD of {c.b.host.name} to {c.a.name} does not arrive" +
                 (", later it does" if heals else ""),
                 ["path-loss", "epmd-silent"], [c.b.host.address], [LOST],
                 state="solved" if heals else "open")


@fault("large-lost", on="plain elixir ipv6 tls rabbitmq", tools=["nft"])
def large_lost(c):
    """An established link loses what is longer than a tunnel on the way can carry."""
    limit = c.scene.rng.choice([576, 1280, 1400])
    c.tick_time = 8
    for member in c.members:
        member.options += ["-connect_all", "false"]
    c.start()
    c.prepare()
    sender, receiver = direction(c)
    port = c.b.port
    c.a.host.single_segments()
    c.b.host.single_segments()
    c.scene.listen()
    if not c.kind == "rabbitmq":
        c.dial(c.a, c.b, True)
        c.call(c.a, c.b)
        lose_both(c, sender, receiver, port, limit)
        sender.ask(f"erpc:cast('{receiver.name}', erlang, byte_size, [binary:copy(<<7>>, {limit * 3})])")
        pause(2)
    else:
        lose_both(c, sender, receiver, port, limit)
        sender.ask(f"erpc:cast('{receiver.name}', erlang, byte_size, [binary:copy(<<7>>, {limit * 3})])")
        pause(4)
    c.wait_parted(receiver, sender, 40)
    pause(1)
    return truth(f"Of what {sender.name} says to {receiver.name} nothing above {limit} octets arrives",
                 ["path-mtu", "path-loss", "connection-lost"],
                 [in_capture(c, sender), in_capture(c, receiver)], [LOST, r"MTU|size|octets|large|larger|above"], state=None)


def lose_both(c, sender, receiver, port, limit):
    ip = "ip6" if c.family == 6 else "ip"
    receiver.host.filter(*(f"{ip} saddr {sender.address} tcp {side} {port} meta length > {limit} drop"
                           for side in ("sport", "dport")))
    c.note(f"{receiver.host.name} loses what is above {limit} octets from {sender.host.name}")


@fault("lost-after-pause", on="plain ipv6 elixir tls ejabberd", tools=["nft"])
def lost_after_pause(c):
    """A filter forgets a link while nothing is said, and drops what comes after; new links pass."""
    c.tick_time = 40
    prepared(c)
    join(c, True)
    c.call(c.a, c.b, 3)
    ports = established(c)
    pause(3)
    # The ticks of 10 s are the first that is said after the pause.
    rules = [f"tcp {side} {port} drop" for port in ports for side in ("sport", "dport")]
    for member in (c.a, c.b):
        member.host.filter(*rules)
    c.note(f"what belongs to ports {ports} is dropped from now on, both ways")
    for number in range(3):
        c.a.ask_later(f"erpc:cast('{c.b.name}', erlang, node, [])")
        pause(1)
    c.a.ask(f"erlang:disconnect_node('{c.b.name}')")
    pause(1)
    again = c.dial(c.a, c.b)
    pause(2)
    return truth(f"The link between {c.a.name} and {c.b.name} is dropped both ways after 3 s of silence, "
                 f"and new links pass ({again})", ["path-loss", "connection-lost", "tick-timeout"],
                 [in_capture(c, c.a), in_capture(c, c.b)], [LOST], allowed=["already-connected"], state=None)


def in_capture(c, member):
    """What a capture shows of a node: inside TLS, of the node that dials, its address alone."""
    return f"{member.name}|{member.address}" if c.kind.startswith("tls") else member.name


def established(c):
    """The client ports of the links between the first two members."""
    served = c.b.port
    with c.a.host:
        ran = subprocess.run(["ss", "-Htn", "state", "established", f"dport = {served}"], capture_output=True,
                             text=True)
    ports = [int(line.split()[2].rsplit(":", 1)[1]) for line in ran.stdout.splitlines()]
    if not ports:
        raise Failed(f"no link to port {served}")
    return ports


@fault("random-loss", on="rabbitmq ejabberd elixir tls ipv6", tools=["nft"])
def random_loss(c):
    """A tenth of all packets is lost both ways, and everything comes about all the same."""
    c.joins = False
    prepared(c)
    for member in c.members:
        member.host.filter("iifname out0 meta l4proto tcp numgen random mod 10 == 0 drop")
    # With loss a dial may fail: it is made again.
    for _ in range(4):
        if join(c, None):
            break
        pause(1)
    c.call(c.a, c.b, 20)
    for member in c.members:
        member.host.pass_all()
    pause(1)
    c.call(c.a, c.b, 3)
    return truth("A tenth of all packets is lost for a while, and the members connect all the same", [],
                 allowed=["path-loss"])


@fault("host-gone", on="elixir ejabberd rabbitmq tls-ipv6")
def host_gone(c):
    """The cable of a host is out: its node is well, and hears nothing."""
    c.tick_time = 8
    c.joins = True
    c.start()
    c.prepare()
    c.scene.place = "bridge"
    c.scene.listen()
    if c.b.name not in c.a.connected():
        join(c, True)
    c.call(c.a, c.b, 3)
    pause(3)
    c.b.host.cable("down")
    c.note(f"the cable of {c.b.host.name} is out")
    c.wait_parted(c.a, c.b, 40)
    back = c.scene.chance()
    if back:
        c.wait_parted(c.b, c.a, 40)
        c.b.host.cable("up")
        c.note(f"the cable of {c.b.host.name} is in again")
        pause(2)
        if c.kind != "rabbitmq":
            c.dial(c.a, c.b)
        else:
            c.wait_connected(c.a, c.b, 40)
    pause(1)
    return truth(f"{c.b.host.name} is off the network while {c.b.name} is connected" + (", and back" if back else ""),
                 ["tick-timeout", "connection-lost", "path-loss", "partition-cascade"], [c.b.name],
                 allowed=["partition-cascade", "epmd-unreachable", "dist-port-blocked", "already-connected",
                          "connection-lost", "tick-timeout", "handshake-aborted"],
                 state="solved" if back else "open")


@fault("node-stopped", on="elixir ejabberd rabbitmq tls ipv6")
def node_stopped(c):
    """SIGSTOP: the kernel of the host acknowledges, and the node says nothing."""
    c.tick_time = 8
    c.joins = True
    connected(c)
    c.call(c.a, c.b, 3)
    pause(2)
    c.b.freeze()
    c.wait_parted(c.a, c.b, 40)
    goes_on = c.scene.chance()
    pause(1)
    if goes_on:
        c.b.thaw()
        pause(3)
        if c.kind != "rabbitmq":
            c.dial(c.a, c.b, True)
        else:
            c.wait_connected(c.a, c.b, 40)
        pause(1)
    return truth(f"{c.b.name} is stopped by SIGSTOP while it is connected" + (", and goes on" if goes_on else ""),
                 [] if c.secure else ["tick-timeout"], [c.b.name], [r"suspend|stopp|hang|hung|stuck|overload"],
                 never=[rf"{c.a.name} (fell|went) silent"],
                 allowed=["tick-timeout", "handshake-timeout", "partition-cascade", "connection-lost"],
                 state="solved" if goes_on else "open")
