"""A cluster: its members on hosts of their own, how they are started, dialed, asked and stopped."""

import os
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from network import QUIET, Failed, pause, until

DOOR = Path(__file__).resolve().parent.parent / "door.script"

KINDS = {}


def kind(name, tools=()):
    """Registers a class as a kind of cluster, which needs these programs beside Erlang."""

    def register(cluster):
        cluster.kind, cluster.tools = name, list(tools)
        KINDS[name] = cluster
        return cluster

    return register


class Member:
    """A node of a cluster: before its start, while it runs, and after its end."""

    def __init__(self, cluster, host, name, cookie):
        self.cluster, self.host, self.name, self.cookie = cluster, host, name, cookie
        self.options, self.process, self.starts, self.emulator = [], None, 0, None
        self.home = Path(host.testbed.work, name.replace("@", "-").replace(":", "-"))
        self.home.mkdir(exist_ok=True)

    @property
    def alive(self):
        return self.name.split("@")[0]

    @property
    def address(self):
        return self.host.address

    @property
    def testbed(self):
        return self.host.testbed

    def start(self, wait=True):
        """Starts the node, and waits until it answers."""
        self.starts += 1
        self.door = Path(self.home, f"door{self.starts}")
        self.cluster.set_cookie_file(self)
        self.process = self.run(self.cluster.command(self), BEAMSCOPE_DOOR=self.door,
                                **self.cluster.environment(self))
        if wait:
            self.ready()
        return self

    def ready(self):
        until(lambda: self.answers() or self.process.process.poll() is not None,
              f"{self.name} starts", 90)
        if self.process.process.poll() is not None:
            raise Failed(f"{self.name} ended: {self.said[-2000:]}")
        self.cluster.wait_ready(self)
        self.emulator = int(self.ask("os:getpid()").strip('"'))

    def answers(self):
        with socket.socket(socket.AF_UNIX) as asked:
            return asked.connect_ex(str(self.door)) == 0

    def run(self, command, **environment):
        """Starts a program on the member's host, with the host's name and table of hosts."""
        output = open(Path(self.home, "output"), "ab")
        with output:
            return self.host.run(command, self.environment(**environment), self.home, output)

    def environment(self, **more):
        own = {"HOME": self.home, "ERL_CRASH_DUMP": "/dev/null", "ERL_CRASH_DUMP_BYTES": "0"}
        return os.environ | {key: str(value) for key, value in (own | more).items()}

    @property
    def said(self):
        """What the node has printed so far."""
        path = Path(self.home, "output")
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, expression, limit=60):
        """The value of an expression, as the node prints it."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(limit)
            try:
                asked.connect(str(self.door))
                text = f"{' '.join(expression.split())}.".encode()
                asked.sendall(struct.pack(">I", len(text)) + text)
                size = asked.recv(4, socket.MSG_WAITALL)
                answer = asked.recv(struct.unpack(">I", size)[0], socket.MSG_WAITALL)
            except (OSError, struct.error) as error:
                raise Failed(f"{self.name} does not answer {expression}: {error!r}") from error
        return answer.decode()

    def ask_later(self, expression):
        """Asks on a thread of its own: the answer is dropped."""
        def ask():
            try:
                self.ask(expression, 120)
            except Failed:
                pass

        threading.Thread(target=ask, daemon=True).start()

    def command(self, *command, limit=60, shown=None):
        """Runs a command to its end on this host: its status and what it printed. Both are noted."""
        began = time.monotonic()
        path = Path(self.home, f"command{time.monotonic_ns()}")
        with open(path, "wb") as output:
            run = self.host.run(command, self.environment(**self.cluster.environment(self)), self.home,
                                output)
        try:
            status = run.process.wait(limit)
        except subprocess.TimeoutExpired:
            run.end()
            status = "killed"
        said = path.read_text(errors="replace")
        self.cluster.note(f"on {self.host.name}: {' '.join(map(str, shown or command))} -> status {status} in "
                          f"{time.monotonic() - began:.1f} s", said)
        return status, said

    def signal(self, number):
        os.kill(self.emulator, number)
        self.cluster.note(f"{signal.Signals(number).name} to {self.name}")

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.process.wait(60)

    def stop(self):
        self.ask("spawn(fun() -> init:stop() end)")
        self.process.process.wait(60)
        self.cluster.note(f"{self.name} is stopped")

    def connected(self):
        """The nodes that this one is connected to, hidden ones too."""
        return self.ask("nodes(connected)")

    @property
    def port(self):
        """The distribution port, as EPMD of the host has it."""
        with self.host:
            return self.host.ask(self.alive, self.host.loopback)


class Cluster:
    """What all kinds have in common. A kind says how many members there are, and how each is started."""

    size = 2
    family = 4
    # Host names with a domain, or without.
    styles = ("domain", "domain", "short")
    # Whether the distribution runs over TLS.
    secure = False
    # Seconds: a scene about ticks has to wait for several of them.
    tick_time = None
    # Names that must fit the host: many programs insist on them.
    alive_name = None
    # What is found in each capture of this kind, and is no part of the fault.
    allowed = ()

    def __init__(self, scene, notes):
        self.scene, self.testbed, self.notes = scene, scene.testbed, notes
        self.members, self.began = [], time.monotonic()
        self.build()

    # --- Making -----------------------------------------------------------------------------------

    def build(self):
        for _ in range(self.size):
            self.add()

    def add(self, alive=None, host=None):
        host = host or self.scene.host()
        alive = alive or self.alive_name
        name = f"{alive}@{host.name}" if alive else self.scene.full_name(host)
        member = Member(self, host, name, self.scene.cookie)
        self.members.append(member)
        self.scene.nodes.append({"name": name, "address": host.address})
        return member

    def start(self, *members):
        """Starts members at the same time: all, unless some are named."""
        members = members or self.members
        for member in members:
            member.start(wait=False)
        for member in members:
            member.ready()

    def prepare(self):
        """What is done after the start and before the capture: the members may join each other."""

    @property
    def long(self):
        return self.testbed.long

    def note(self, line, said=""):
        self.notes.append((round(time.monotonic() - self.began, 2), line, said))

    def set_cookie_file(self, member):
        """What reads the cookie from a file gets it from there."""
        path = Path(member.home, ".erlang.cookie")
        path.unlink(missing_ok=True)
        path.write_text(member.cookie)
        path.chmod(0o400)

    # --- Starting ---------------------------------------------------------------------------------

    def emulator_options(self, member):
        options = [*QUIET]
        if self.tick_time:
            options += ["-kernel", "net_ticktime", str(self.tick_time)]
        carrier = self.carrier(member)
        if carrier != "inet_tcp":
            options += ["-proto_dist", carrier]
        return [*options, *member.options]

    def carrier(self, _):
        return "inet6_tcp" if self.family == 6 else "inet_tcp"

    def command(self, member):
        length = "name" if self.long else "sname"
        return [self.testbed.draw_release().erl, "-noshell", "-start_epmd", "false", f"-{length}",
                member.name, "-setcookie", member.cookie, *self.emulator_options(member),
                "-run", "file", "eval", DOOR]

    def environment(self, _):
        return {}

    def wait_ready(self, member):
        pass

    # --- Use --------------------------------------------------------------------------------------

    @property
    def a(self):
        return self.members[0]

    @property
    def b(self):
        return self.members[1]

    def dial(self, a, b, expected=None):
        """A member dials another by its name, as an operator would; True when they are connected then."""
        name = getattr(b, "name", b)
        answer = a.ask(f"net_kernel:connect_node('{name}')")
        self.note(f"{a.name}: net_kernel:connect_node('{name}') -> {answer}")
        return self.checked(answer == "true", expected, f"{a.name} dials {name}: {answer}")

    def checked(self, connected, expected, what):
        if expected is not None and connected != expected:
            raise Failed(what + "".join(f"\n{m.name}: {m.said[-800:]}" for m in self.members))
        return connected

    def call(self, a, b, times=1):
        for _ in range(times):
            answer = a.ask(f"catch erpc:call('{b.name}', erlang, node, [])")
            if answer.strip("'") != b.name:
                raise Failed(f"{a.name} calls {b.name}: {answer}")

    def set_cookie(self, member, cookie):
        """Changes the cookie of a running member, and of what is started for it."""
        member.cookie = cookie
        self.set_cookie_file(member)
        member.ask(f"erlang:set_cookie('{cookie}')")

    def disconnect(self, a, b):
        for _ in range(10):
            a.ask(f"erlang:disconnect_node('{b.name}')")
            pause(0.3)
            if f"{b.name}" not in a.connected():
                return
        raise Failed(f"{a.name} is connected to {b.name} again")

    def wait_parted(self, a, b, limit=60):
        until(lambda: b.name not in a.connected(), f"{a.name} gives {b.name} up", limit)
        self.note(f"{a.name} has given {b.name} up")

    def wait_connected(self, a, b, limit=60):
        until(lambda: b.name in a.connected(), f"{a.name} is connected to {b.name}", limit)
        self.note(f"{a.name} is connected to {b.name}")

