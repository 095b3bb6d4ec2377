"""Faults of TLS: one side without it, and certificates that are refused."""

from pathlib import Path

from .base import scene


@scene("tls-mismatch")
def tls_mismatch(s):
    trust = s.testbed.certificates
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
    trust = s.testbed.certificates
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
    file = Path(s.testbed.work, f"tls-{len(list(s.testbed.work.iterdir()))}.config")
    file.write_text(f"[{{server,[{','.join(both + check + strict)}]}},"
                    f"{{client,[{','.join(both + check)}]}}].\n")
    carrier = "inet6_tls" if s.family == 6 else "inet_tls"
    return ["-proto_dist", carrier, "-ssl_dist_optfile", f"../{file.name}"]
