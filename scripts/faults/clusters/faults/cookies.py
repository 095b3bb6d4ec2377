"""Cookies that differ, tools with another cookie, allow lists, guesses."""

import socket

from network import Failed, pause
from scenes.peers import is_right

from ..play import fault, truth
from .path import join, prepared

PAIRS = "elixir ejabberd rabbitmq tls ipv6 hidden"


@fault("wrong-then-right", on=PAIRS)
def wrong_then_right(c):
    """A node is given the right cookie after it was refused."""
    c.joins = False
    c.a.cookie = c.scene.other_cookie()
    prepared(c)
    for _ in range(c.scene.rng.randrange(1, 4)):
        join(c, False)
        pause(0.3)
    c.set_cookie(c.a, c.b.cookie)
    c.note(f"{c.a.name} has the right cookie")
    join(c, True)
    c.call(c.a, c.b)
    # Under TLS only the sizes of records tell, and a hint may be missing.
    return truth(f"{c.a.name} dials {c.b.name} with another cookie, then with the right one",
                 [] if c.secure else ["cookie-mismatch"], [c.a.name + "|" + c.a.address, c.b.name + "|" + c.b.address],
                 allowed=["cookie-mismatch", "handshake-aborted"], state="solved")


@fault("odd-one-out", on="four")
def odd_one_out(c):
    """One of four has another cookie, dials two of the others, and is dialed by the third."""
    odd = c.scene.rng.choice(c.members)
    rest = [member for member in c.members if member is not odd]
    odd.cookie = c.scene.other_cookie()
    c.scene.place = "bridge"
    c.start()
    c.scene.listen()
    for number, member in enumerate(rest):
        for other in rest[:number]:
            c.dial(member, other, True)
    for _ in range(2):
        for member in rest[:2]:
            c.dial(odd, member, False)
        c.dial(rest[2], odd, False)
        pause(0.5)
    return truth(f"{odd.name} has another cookie than the other three", ["cookie-mismatch"], [odd.name],
                 never=[rf"^{other.name} has another cookie" for other in rest], state="open")


@fault("tool-polls", on="rabbitmq ejabberd")
def tool_polls(c):
    """A monitoring script calls the command-line tool again and again, with a cookie that is not the nodes' own."""
    c.joins = False
    c.start()
    c.prepare()
    # From another host: that is what a capture on the network shows.
    script, target = c.members[-1], c.a
    script.cookie = c.scene.other_cookie()
    c.set_cookie_file(script)
    c.scene.place = "bridge"
    c.scene.listen()
    for _ in range(5):
        if c.kind == "rabbitmq":
            c.ctl(script, "-n", target.name, "status")
        else:
            c.ctl(script, "ping", target.name)
    return truth(f"A tool on {script.host.name} calls {target.name} five times with another cookie",
                 ["cookie-mismatch"], [target.name], [r"command|tool|CLI"], state="open")


@fault("allow-list", on="elixir ipv6 hidden ejabberd")
def allow_list(c):
    """The dialed node allows another node alone; later it allows this one too."""
    c.start()
    c.b.ask(f"net_kernel:allow(['other@{c.b.host.name}'])")
    opens = c.scene.chance()
    c.scene.listen()
    join(c, False)
    if opens:
        c.b.ask(f"net_kernel:allow(['{c.a.name}'])")
        join(c, True)
        c.call(c.a, c.b)
    return truth(f"{c.b.name} allows other nodes alone" + (", later also this one" if opens else ""), ["not-allowed"],
                 [c.a.name, c.b.name + "|" + c.b.alive], [r"allow"], state="solved" if opens else "open")


@fault("cookie-guessed", on="plain elixir hidden ejabberd")
def cookie_guessed(c):
    """A script tries cookies on a node until one is right."""
    c.start()
    c.prepare()
    attacker = c.scene.host(epmd=False)
    rng = c.scene.rng
    number, name = rng.randrange(12, 60), f"n{rng.randrange(1000)}@{attacker.name}"
    port = c.b.port
    c.scene.place = "bridge"
    c.scene.listen()
    if c.scene.chance():
        join(c, True)
    wrong = [c.scene.draw_cookie() + str(i) for i in range(number)]
    with attacker:
        for cookie in [*wrong, c.b.cookie, "x", "y"]:
            with socket.create_connection((c.b.address, port), 5) as peer:
                # On a busy machine the node may need some time to close.
                peer.settimeout(10)
                accepted = is_right(peer, name, cookie)
            if accepted != (cookie == c.b.cookie):
                raise Failed(f"{c.b.name} takes {cookie}: {accepted}")
    return truth(f"{attacker.address} guesses the cookie of {c.b.name} at try {number + 1}", ["cookie-guessing"],
                 [attacker.address, c.b.name], [r"accept|guessed|succe|right|got in"],
                 allowed=["cookie-mismatch", "handshake-aborted"], state=None)


@fault("c-node-wrong-cookie", on="plain ejabberd elixir rabbitmq", tools=["erl_call"])
def c_node_wrong_cookie(c):
    """A health check with erl_call has another cookie."""
    c.joins = False
    c.scene.place = "bridge"
    prepared(c)
    caller = c.members[-1]
    wrong = c.scene.other_cookie()
    for _ in range(3):
        caller.command("erl_call", "-n" if c.long else "-sname", c.a.name, "-c", wrong, "-a", "erlang node []")
        pause(1)
    right = c.scene.chance()
    if right:
        caller.command("erl_call", "-n" if c.long else "-sname", c.a.name, "-c", c.a.cookie, "-a", "erlang node []")
    return truth(f"erl_call on {caller.host.name} calls {c.a.name} with another cookie" +
                 (", then with the right one" if right else ""), ["cookie-mismatch"], [c.a.name],
                 never=[r"restart"], state="solved" if right else "open")
