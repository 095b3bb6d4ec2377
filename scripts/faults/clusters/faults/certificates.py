"""Certificates that are refused, and options of TLS that do not load."""

from ..play import fault, truth

PAIRS = "tls tls-ipv6 tls13"


def refuse(c, certificate, issuer, what, says):
    """The acceptor shows this certificate, and the dialing node refuses it."""
    c.shows[c.b] = (certificate, issuer)
    c.start()
    c.scene.listen()
    for _ in range(2):
        c.dial(c.a, c.b, False)
    # TLS 1.3 encrypts certificates and alerts.
    return truth(f"{c.b.name} shows a certificate that {c.a.name} refuses: {what}", ["tls-failure"],
                 [c.a.name + "|" + c.a.address, c.b.name + "|" + c.b.address],
                 [] if c.kind == "tls13" else says, state="open")


@fault("other-issuer", on=PAIRS)
def other_issuer(c):
    return refuse(c, "stranger", "ca2", "it is of another issuer", [r"issuer|CA\b|authority"])


@fault("expired", on=PAIRS)
def expired(c):
    return refuse(c, "late", "ca1", "it has expired", [r"expired"])


@fault("other-host", on=PAIRS)
def other_host(c):
    return refuse(c, "somewhere.else.lan", "ca1", "it is for another host", [r"host name|hostname|name"])


@fault("client-options", on="tls tls-ipv6")
def client_options(c):
    """The options of the dialing side do not load: it dials nobody, or opens a connection and says nothing."""
    c.extra[c.a] = ["-ssl_dist_opt", "server_certfile", f"{c.testbed.certificates(c.a.host.name, 'ca1')}.pem",
                    "server_keyfile", f"{c.testbed.certificates(c.a.host.name, 'ca1')}.key",
                    "client_cacertfile", "/nonexistent/ca.pem", "client_verify", "verify_peer"]
    c.start()
    c.scene.listen()
    for _ in range(3):
        c.dial(c.a, c.b, False)
    return truth(f"The TLS options with which {c.a.name} dials do not load: it asks EPMD and dials nobody",
                 ["asked-not-dialed", "handshake-aborted"],
                 [c.a.address + "|" + c.a.name], [r"TLS|ssl_dist"])


@fault("plain-dials-tls", on="tls tls-ipv6")
def plain_dials_tls(c):
    """The dialing node has no TLS."""
    c.plain.add(c.a)
    c.start()
    c.scene.listen()
    c.dial(c.a, c.b, False)
    return truth(f"{c.a.name} has no TLS, and {c.b.name} has", ["tls-mismatch"],
                 [c.a.name + "|" + c.a.address, c.b.name + "|" + c.b.address], state="open")
