"""Clusters that are well: nobody may be accused."""

from network import pause

from ..play import fault, truth
from .path import connected


@fault("well", on="plain four elixir rabbitmq ejabberd tls tls13 tls-ipv6 ipv6 hidden")
def well(c):
    """The members connect, talk, and one of them is stopped as it should be."""
    c.joins = False
    c.tick_time = 8
    connected(c)
    c.call(c.a, c.b, 5)
    pause(9)
    if c.scene.chance():
        c.b.stop()
        pause(1)
    return truth("The members connect and talk", [])


@fault("rolling-restart", on="rabbitmq ejabberd elixir tls")
def rolling_restart(c):
    """One member after the other is stopped and started again."""
    c.joins = True
    connected(c)
    for member in (c.b, c.a):
        member.stop()
        pause(1.2)
        member.start()
        other = c.a if member is c.b else c.b
        if other.name not in member.connected():
            c.dial(member, other, True)
        c.call(member, other)
    return truth("One member after the other is restarted", [], allowed=["node-not-registered"])
