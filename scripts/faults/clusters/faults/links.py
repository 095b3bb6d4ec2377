"""Links that end between living nodes."""

import subprocess

from network import pause

from ..play import fault, truth
from .path import connected, in_capture


@fault("busy-link-reset", on="rabbitmq elixir ejabberd tls ipv6", tools=["ss"])
def busy_link_reset(c):
    """Something resets the link of two nodes in the middle of their talk."""
    c.joins = True
    connected(c)
    c.call(c.a, c.b, 5)
    c.a.ask_later(f"[erpc:cast('{c.b.name}', erlang, node, []) || _ <- lists:seq(1, 400), timer:sleep(5) =:= ok]")
    pause(1)
    port = c.b.port if c.kind != "rabbitmq" else c.a.port
    with c.b.host:
        # Both ends of a link have the port of the one that listens.
        ran = subprocess.run(["ss", "-K", "-t", "state", "established", f"( sport = {port} or dport = {port} )"],
                             capture_output=True, text=True)
    c.note(f"on {c.b.host.name}: ss -K ( sport = {port} or dport = {port} )", ran.stdout)
    pause(4)
    return truth(f"The link of {c.a.name} and {c.b.name} is reset on {c.b.host.name} while they talk",
                 ["connection-lost"], [in_capture(c, c.a), in_capture(c, c.b)], [r"reset|RST"], never=[r"(ended|stopped|crashed)$"],
                 allowed=["partition-cascade"], state=None)


@fault("tick-times-differ", on="elixir ipv6 tls")
def tick_times_differ(c):
    """One side gives up after a time in which the other has no reason to send a tick."""
    c.a.options += ["-kernel", "net_ticktime", "4"]
    c.b.options += ["-kernel", "net_ticktime", "60"]
    c.start()
    c.scene.listen()
    c.dial(c.a, c.b, True)
    c.call(c.a, c.b, 2)
    c.wait_parted(c.a, c.b, 60)
    pause(1)
    c.dial(c.a, c.b, True)
    c.wait_parted(c.a, c.b, 60)
    # Under TLS ticks cannot be told from messages.
    return truth(f"{c.a.name} gives up after 4 s of silence, and {c.b.name} sends a tick each 15 s",
                 [] if c.secure else ["tick-timeout"],
                 [c.a.name, c.b.name], [r"net_ticktime"], allowed=["tick-timeout", "connection-lost"])


@fault("partition", on="four rabbitmq")
def partition(c):
    """Two of the members lose each other, and `global` parts them from the rest."""
    c.tick_time = 8
    c.joins = True
    c.start()
    c.prepare()
    pause(1)
    c.scene.place = "bridge"
    c.scene.listen()
    third = c.members[2]
    c.call(third, c.a, 2)
    c.call(third, c.b, 2)
    c.a.ask(f"erlang:disconnect_node('{c.b.name}')")
    c.note(f"{c.a.name} disconnects from {c.b.name}")
    pause(8)
    c.note(f"{c.a.name}: {c.a.connected()}; {c.b.name}: {c.b.connected()}; {third.name}: {third.connected()}")
    # RabbitMQ connects again what it knows to be one cluster.
    return truth(f"{c.a.name} is disconnected from {c.b.name}; global parts what is left",
                 ["partition-cascade"] if c.kind == "four" else [], allowed=["connection-lost", "partition-cascade"])


@fault("killed", on="rabbitmq ejabberd tls elixir")
def killed(c):
    """A node is killed by SIGKILL, dialed, and started again."""
    c.joins = True
    connected(c)
    c.call(c.a, c.b, 3)
    c.b.kill()
    pause(1.5)
    c.dial(c.a, c.b, False)
    c.b.start()
    pause(1)
    if c.b.name not in c.a.connected():
        c.dial(c.a, c.b, True)
    pause(2)
    return truth(f"{c.b.name} is killed by SIGKILL and started again", ["node-not-registered", "stale-registration"],
                 [c.b.name + "|" + c.b.alive], allowed=["connection-lost", "partition-cascade"], state="solved")
