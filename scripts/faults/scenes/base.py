"""What all scenes share: how a kind of fault is registered, and what a scene draws at random and does."""

import contextlib

from network import Failed, pause

ALIVE = "app api web worker billing ledger chat search jobs cache gateway orders stock mail".split()
HOSTS = "alpha zeus db1 node-7 web01 oak rack3-14 edge k8s-pod-x7f2 ip-10-0-0-9 build host2".split()
DOMAINS = "example.lan prod.internal svc.cluster.local corp.example.com test".split()
WORDS = "chocolate monster secret s3cr3t_cookie changeme vanilla Z0phod".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Without `global`, which sends without end when a node replaces another one of the same name, and which
# connects nodes again that a scene disconnected.
ALONE = ["-connect_all", "false"]

KINDS = {}


class Kind:
    """One kind of fault: the function that runs it, the rules that must find it, and those that may."""

    def __init__(self, run, rules, allowed):
        self.run, self.rules, self.allowed = run, rules, allowed


def scene(name, rules=None, allowed=()):
    """Registers a function as a kind of fault. It returns a description of what it did. Without `rules`, the
    rule that must find the fault has the name of the kind."""

    def register(run):
        KINDS[name] = Kind(run, [name] if rules is None else rules, list(allowed))
        return run

    return register


class Scene:
    """What a scene draws, and what most scenes do."""

    def __init__(self, testbed, rng, pcap):
        self.testbed, self.rng, self.pcap = testbed, rng, pcap
        self.style = rng.choice(["address", "domain", "domain", "short"])
        testbed.long = self.style != "short"
        self.family = 6 if self.style != "address" and rng.random() < 0.2 else 4
        self.domain = rng.choice(DOMAINS)
        self.names = rng.sample(ALIVE, len(ALIVE))
        self.host_names = rng.sample(HOSTS, len(HOSTS))
        self.net = rng.choice([f"10.{rng.randrange(256)}.{rng.randrange(256)}",
                               f"192.168.{rng.randrange(256)}", f"172.{rng.randrange(16, 32)}.7"])
        if self.family == 6:
            self.net = f"fd{rng.randrange(256):02x}:{rng.randrange(1, 65536):x}:"
        self.numbers = rng.sample(range(2, 255), 20)
        self.cookie = self.draw_cookie()
        self.nodes, self.dialed = [], []
        # Most nodes have the seven seconds that are the default.
        self.setup_time = rng.choice([7, 7, 3, 2])
        self.third_node = rng.choice([None, None, "before", "after"])
        self.hidden = rng.random() < 0.2
        self.dials = rng.choice([1, 1, 2, 3, 5])
        self.dial_pause = rng.choice([0.1, 0.3, 0.5, 1.0])
        self.dial_expression = rng.choice([
            "net_kernel:connect_node({0})",
            "net_adm:ping({0})",
            "rpc:call({0}, erlang, node, [])",
            "monitor_node({0}, true), receive {{nodedown, {0}}} -> down after 9000 -> up end",
        ])
        self.healthy_first, self.healed = rng.random() < 0.3, rng.random() < 0.4
        self.place = rng.choice(["bridge"] * 6 + ["first", "second"])

    # --- Drawing --------------------------------------------------------------------------------

    def chance(self, probability=0.5):
        return self.rng.random() < probability

    def draw_cookie(self):
        if self.rng.random() < 0.5:
            return self.rng.choice(WORDS)
        return "".join(self.rng.choice(LETTERS) for _ in range(20))

    def other_cookie(self):
        while (cookie := self.draw_cookie()) == self.cookie:
            pass
        # Or a letter too many, or the wrong case, as it happens to those who copy.
        return self.rng.choice([cookie, cookie, self.cookie + "1", self.cookie.swapcase()])

    # --- Hosts and nodes ------------------------------------------------------------------------

    def host(self, epmd=True, bridge="br0"):
        name = self.host_names.pop()
        if self.testbed.long:
            name += "." + self.domain
        address = f"{self.net}{':' if self.family == 6 else '.'}{self.numbers.pop()}"
        host = self.testbed.host(name, address, bridge)
        return host.start_epmd() if epmd else host

    def full_name(self, host, alive=None):
        alive = alive or self.names.pop() + self.rng.choice(["", "", "1", "_2"])
        return f"{alive}@{host.address if self.style == 'address' else host.name}"

    def shared_host(self):
        """What several hosts go by, each on its own."""
        name = self.rng.choice(["app", "release", "worker-pod"])
        return f"{name}.{self.domain}" if self.testbed.long else name

    def node(self, host, cookie=None, *options, name=None, hosts=None, hidden=False):
        options = list(options)
        if self.setup_time != 7:
            options += ["-kernel", "net_setuptime", str(self.setup_time)]
        if hidden:
            options += ["-hidden"]
        if self.healthy_first and ALONE[0] not in options:
            options += ALONE
        name = name or self.full_name(host)
        node = self.testbed.node(host, name, cookie or self.cookie, *options, hosts=hosts)
        self.nodes.append({"name": name, "address": host.address, "cookie": node.cookie,
                           "options": options})
        return node

    def ready(self, *nodes):
        for node in nodes:
            node.answer()

    def listen(self, host=None, device=None):
        """Captures on the cable, or on all devices of one of the first two hosts."""
        if device is None and self.place != "bridge":
            host, device = self.testbed.hosts[self.place == "second"], "any"
        self.testbed.listen(self.pcap, host, device or "br0")

    def pair(self, cookie_a=None, cookie_b=None, options_a=(), options_b=(), listen=True):
        """Two nodes on two hosts, and tcpdump between them."""
        host_a, host_b = self.host(), self.host()
        a = self.node(host_a, cookie_a, *options_a, hidden=self.hidden)
        b = self.node(host_b, cookie_b, *options_b)
        self.ready(a, b)
        if listen:
            self.listen()
        return a, b

    # --- What nodes do --------------------------------------------------------------------------

    def dial(self, node, name, times=None):
        for number in range(times or self.dials):
            if number:
                pause(self.dial_pause)
            answer = node.ask(self.dial_expression.format(f"'{name}'"))
            self.dialed.append(f"{node.name}: {self.dial_expression.format(name)} -> {answer}")

    def connect(self, node, other):
        """A connection that must come about."""
        answer = node.ask(f"net_kernel:connect_node('{getattr(other, 'name', other)}')")
        if answer != "true":
            raise Failed(f"{node.name} to {other.name}: {answer}: {''.join(node.log[-9:])}"
                         f"{''.join(other.log[-9:])}")

    def call(self, node, other, times=1):
        for _ in range(times):
            answer = node.ask(f"erpc:call('{other.name}', erlang, node, [])")
            if answer.strip("'") != other.name:
                raise Failed(f"{node.name}: {answer}")

    def connect_before(self, a, b):
        """Perhaps the two were connected before the fault."""
        if self.healthy_first:
            self.connect(a, b)
            self.disconnect(a, b)

    def disconnect(self, a, b):
        # On a busy machine the other may still have something to say, which connects the two again.
        for _ in range(5):
            a.ask(f"erlang:disconnect_node('{b.name}')")
            pause(0.3)
            if a.ask("nodes(connected)") == "[]":
                return
        raise Failed(f"{a.name} is connected again")

    @contextlib.contextmanager
    def with_third_node(self, b, hosts=None):
        """Perhaps a third node is connected to `b`, healthy, before or after what is done here."""
        if self.third_node:
            third = self.node(self.host(), b.cookie, hosts=hosts)
            self.ready(third)
        if self.third_node == "before":
            self.connect(third, b)
        yield
        if self.third_node == "after":
            self.connect(third, b)
