"""Every kind of fault that clusters are played with."""

from . import certificates, cookies, forwarding, healthy, links, names, path, ports

__all__ = ["certificates", "cookies", "forwarding", "healthy", "links", "names", "path", "ports"]
