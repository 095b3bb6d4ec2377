"""What stands between two nodes: headers, missing backends, limits, ports that are not forwarded."""

from network import EPMD_PORT, pause

from ..play import fault, truth

BOTH = "haproxy nginx"


@fault("forwarded", on="haproxy nginx socat stunnel")
def forwarded(c):
    """All is forwarded as it should be."""
    c.start()
    c.scene.listen()
    c.dial(c.a, c.b, True)
    c.call(c.a, c.b, 3)
    return truth(f"{c.a.name} reaches {c.b.name} through {c.program}", [])


@fault("proxy-header", on=BOTH)
def proxy_header(c):
    """The balancer sends a PROXY protocol header before what it forwards."""
    c.header = "send-proxy-v2" if c.kind == "haproxy" and c.scene.chance() else "send-proxy"
    # To the distribution port alone, or to EPMD as well.
    c.start()
    c.scene.place = "bridge"
    c.scene.listen()
    c.dial(c.a, c.b, False)
    return truth(f"{c.program} on {c.front.name} sends a PROXY header ({c.header}) before what it forwards",
                 ["proxy-header"], [c.front.address], [r"PROXY"],
                 allowed=["epmd-silent", "not-distribution"], state="open")


@fault("backend-gone", on="haproxy nginx socat")
def backend_gone(c):
    """Nothing stands behind the balancer: it accepts, and closes."""
    c.start()
    c.b.kill()
    c.back.epmd.kill()
    c.scene.listen(*c.scene.rng.choice([(None, "br0"), (c.a.host, "any")]))
    for _ in range(2):
        c.dial(c.a, c.b, False)
        pause(0.5)
    return truth(f"{c.program} on {c.front.name} has no backend: it accepts for EPMD, and closes",
                 ["epmd-silent", "epmd-unreachable"], [c.front.address], [r"balancer|proxy|sidecar|forward|backend"],
                 state="open")


@fault("idle-limit", on=BOTH)
def idle_limit(c):
    """The balancer closes a link on which nothing was said for some seconds, again and again."""
    c.idle = 4
    c.start()
    c.scene.listen()
    for _ in range(4):
        c.dial(c.a, c.b, True)
        c.call(c.a, c.b)
        c.wait_parted(c.a, c.b, 30)
    return truth(f"{c.program} closes links after {c.idle} s of silence",
                 ["idle-limit", "connection-lost"], [], [r"idle|silence"])


@fault("port-not-forwarded", on="haproxy nginx socat")
def port_not_forwarded(c):
    """The look-up is forwarded, and the port that EPMD gives is not."""
    c.forwarded = [EPMD_PORT]
    c.start()
    c.scene.listen()
    for _ in range(2):
        c.dial(c.a, c.b, False)
    return truth(f"{c.program} on {c.front.name} forwards EPMD, and not port {c.dist_port}",
                 ["stale-registration", "dist-port-blocked"], [c.b.alive + "|" + c.b.name + "|" + c.front.address],
                 [r"forward|balancer|proxy|published|mapped"], never=["nobody listens"], state="open")


@fault("tunnel-for-one", on="stunnel")
def tunnel_for_one(c):
    """The far end of the tunnel for the distribution port is missing."""
    c.forwarded = [EPMD_PORT]
    c.start()
    c.scene.listen(c.a.host, "any")
    c.dial(c.a, c.b, False)
    return truth(f"The tunnel for EPMD works; of that for port {c.dist_port} the near end accepts and closes",
                 ["handshake-aborted", "not-distribution"],
                 [c.b.name + "|" + c.near], [r"balancer|proxy|sidecar|forward|tunnel"], state="open")
