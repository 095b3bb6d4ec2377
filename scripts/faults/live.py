"""Scenes that run while beamscope captures, with jq behind it.

What a scene is about takes place on the bridge `br0`, in the testbed's hub, where beamscope captures too.
"""

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

from scenes.base import ALONE
from network import Failed, Iex, pause, until

SCENES = {}

# A connection that goes silent is given up after this many seconds, and a dial after these.
TICK_TIME, SETUP_TIME = 4, 2
SHORT = ["-kernel", "net_ticktime", str(TICK_TIME), "net_setuptime", str(SETUP_TIME), *ALONE]


def scene(rules, allowed=()):
    """Enters a scene, which returns its description, with the rules that must find it, each of them ("a|b":
    one of the two), and those that are allowed beside it."""

    def enter(run):
        SCENES[run.__name__.replace("_", "-")] = (run, list(rules), list(allowed))
        return run

    return enter


class Watch:
    """`beamscope -i br0 --json | jq`, each line with the time of its arrival."""

    def __init__(self, testbed, program, path):
        self.path, self.arrived, self.stderr = path, [], []
        path.mkdir(exist_ok=True)
        saved = path.with_suffix(".pcapng")
        with testbed.hub:
            self.process = testbed.start(
                [program, "-i", "br0", "--json", "-w", saved, "--evidence", path],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            ).process
        self.jq = testbed.start(
            ["jq", "--unbuffered", "-c", "."],
            stdin=self.process.stdout, stdout=subprocess.PIPE, text=True,
        ).process
        self.process.stdout.close()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        threading.Thread(target=self.listen, daemon=True).start()
        until(lambda: any("listening on" in line for line in self.stderr), "beamscope listens")

    def listen(self):
        self.stderr.extend(self.process.stderr)

    def read(self):
        for line in self.jq.stdout:
            self.arrived.append((time.time_ns(), line))

    def events(self, event_type):
        events = (json.loads(line) for _, line in list(self.arrived))
        return [event for event in events if event["event_type"] == event_type]

    def stop(self):
        """Ctrl-C, and all that was reported until the end."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"beamscope goes on after SIGINT: {self.stderr}") from error
        self.jq.wait(20)
        self.reader.join(20)
        with self.path.with_suffix(".ndjson").open("w") as file:
            for arrived, line in self.arrived:
                file.write(f'{{"arrived":{arrived},"event":{line.rstrip()}}}\n')
        if status:
            raise Failed(f"beamscope ended with {status}: {self.stderr}")


class StallMonitor:
    """Tells when this machine let a thread sleep on that should have woken up."""

    BEAT, LATE = 0.005, 0.005

    def __init__(self):
        self.stalls = []
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        while True:
            before = time.time()
            time.sleep(self.BEAT)
            after = time.time()
            if after - before > self.BEAT + self.LATE:
                self.stalls.append([int((before + self.BEAT) * 1e9), int(after * 1e9)])


class Scene:
    """One testbed, and what most scenes do on it."""

    def __init__(self, testbed):
        self.testbed = testbed
        self.hosts = 0

    def host(self, net="192.168.0", bridge="br0", epmd=True):
        self.hosts += 1
        address = f"{net}{':' if ':' in net else '.'}{self.hosts + 10}"
        host = self.testbed.host(f"host{self.hosts}.example.lan", address, bridge)
        return host.start_epmd() if epmd else host

    def node(self, host, name, *options, cookie="right", **more):
        node = self.testbed.node(host, f"{name}@{host.name}", cookie, *SHORT, *options, **more)
        node.answer()
        return node

    def pair(self, *options, net="192.168.0", bridge="br0", cookie="right"):
        hosts = [self.host(net), self.host(net, bridge)]
        return self.node(hosts[0], "one", *options, cookie=cookie), \
            self.node(hosts[1], "two", *options)

    def dial(self, node, name, expected):
        """Dials, which must end as expected."""
        answer = node.ask(f"net_kernel:connect_node('{getattr(name, 'name', name)}')")
        if answer != expected:
            raise Failed(f"{node.name} dials {name}: {answer}: {''.join(node.log[-9:])}")

    def wrong_then_right(self, a, b):
        self.dial(a, b, "false")
        pause(0.3)
        a.ask("erlang:set_cookie('right')")
        self.dial(a, b, "true")
        self.talk(a, b)

    def talk(self, a, b, times=5):
        for _ in range(times):
            answer = a.ask(f"erpc:call('{b.name}', erlang, node, [])")
            if answer.strip("'") != b.name:
                raise Failed(f"{a.name}: {answer}")

    def alone(self, node, limit=20):
        """Waits until a node has no connection."""
        until(lambda: node.ask("nodes(connected)") == "[]", f"{node.name} is alone", limit)


CLEAR = ["clear-text-distribution"]


@scene(["cookie-mismatch", *CLEAR])
def seed(s):
    """The situation that the program was made for, as a user would type it."""
    one, two = (
        s.testbed.node(host, f"{name}@{host.address}", cookie, kind=Iex)
        for name, cookie, host in (("one", "wrong", s.host()), ("two", "right", s.host()))
    )
    for node in (one, two):
        node.answer()
    for cookie, expected in ((None, "false"), (":right", "true")):
        if cookie:
            one.ask(f"Node.set_cookie({cookie})")
        answer = one.ask(f'Node.connect(:"{two.name}")')
        if answer != expected:
            raise Failed(f"Node.connect: {answer}: {''.join(one.log[-9:])}")
        pause(1)
    return f"{one.name} dials {two.name} with a wrong cookie, then with the right one"


@scene(["node-restarted", *CLEAR])
def restart(s):
    a, b = s.pair()
    s.dial(a, b, "true")
    b.ask("init:stop()")
    b.process.wait(20)
    pause(1.1)  # Creations of one second may be equal.
    b = s.node(b.host, "two")
    s.dial(a, b, "true")
    s.talk(a, b)
    return f"{b.name} is stopped and started again"


@scene(["node-not-registered", "node-restarted", *CLEAR])
def killed(s):
    a, b = s.pair()
    s.dial(a, b, "true")
    s.talk(a, b)
    b.kill()
    s.alone(a)
    s.dial(a, b, "false")
    pause(1.1)
    b = s.node(b.host, "two")
    s.dial(a, b, "true")
    return f"{b.name} is killed by SIGKILL, dialed in vain, and started again"


# Which of the two depends on whether the last words of the other side come through in the end.
@scene(["tick-timeout|connection-lost", *CLEAR])
def cable_cut(s):
    # Long enough for ticks that are sent again and again to show that they are not heard.
    a, b = s.pair("-kernel", "net_ticktime", str(2 * TICK_TIME))
    s.dial(a, b, "true")
    s.talk(a, b)
    pause(TICK_TIME)
    b.host.cable("down")
    s.alone(a, 40)
    s.alone(b, 40)
    b.host.cable("up")
    pause(1)
    s.dial(a, b, "true")
    s.talk(a, b)
    return f"the cable of {b.name} is out until both nodes have noticed, and in again"


@scene(["tick-timeout", "handshake-timeout", *CLEAR])
def frozen(s):
    a, b = s.pair()
    s.dial(a, b, "true")
    pause(1)
    b.freeze()
    s.alone(a)
    s.dial(a, b, "false")
    b.thaw()
    pause(1)
    s.dial(a, b, "true")
    s.talk(a, b)
    return f"{b.name} is stopped by SIGSTOP, connected first, dialed then; and goes on"


@scene(["node-not-registered", "name-mismatch", *CLEAR])
def renamed(s):
    a, b = s.pair()
    s.dial(a, b, "true")
    b.ask("init:stop()")
    b.process.wait(20)
    s.alone(a)
    old, b = b.name, s.node(b.host, "three")
    s.dial(a, old, "false")
    pause(0.3)
    c = s.node(s.host(), "four", hosts={"alias.example.lan": b.host.address})
    s.dial(c, "three@alias.example.lan", "false")
    s.dial(a, b, "true")
    return f"{old} comes back as {b.name}, is dialed by its old name, and by one of another host"


@scene(["tls-mismatch"])
def tls(s):
    one = s.testbed.certificates("one", "ca1")
    file = Path(s.testbed.work, "tls.config")
    shows = f'[{{certfile,"{one}.pem"}},{{keyfile,"{one}.key"}},{{verify,verify_none}}]'
    file.write_text(f"[{{server,{shows}}},{{client,{shows}}}].\n")
    a, b = s.pair("-proto_dist", "inet_tls", "-ssl_dist_optfile", "../tls.config")
    plain = s.node(s.host(), "plain")
    s.dial(a, b, "true")
    s.talk(a, b)
    s.dial(plain, b, "false")
    return f"{a.name} and {b.name} use TLS, and {plain.name} does not"


@scene(["cookie-mismatch", *CLEAR])
def ipv6(s):
    a, b = s.pair(net="fd00:7:", cookie="wrong")
    s.wrong_then_right(a, b)
    return f"{a.name} dials {b.name} over IPv6 with a wrong cookie, then with the right one"


@scene(["cookie-mismatch", *CLEAR])
def loss(s):
    s.testbed.long_wire(0.002, loss=0.05, seed=6)
    a, b = s.pair("-kernel", "net_setuptime", "7", bridge="br1", cookie="wrong")
    s.wrong_then_right(a, b)
    s.talk(a, b, 20)
    return "as the seed, and one frame of twenty is lost between the two"


@scene(["cookie-mismatch", *CLEAR])
def disorder(s):
    s.testbed.long_wire(0.002, late=0.2, twice=0.05, seed=6)
    a, b = s.pair(bridge="br1", cookie="wrong")
    s.wrong_then_right(a, b)
    s.talk(a, b, 20)
    return "as the seed, and one frame of five arrives late, some twice"
