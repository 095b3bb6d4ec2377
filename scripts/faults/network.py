"""The network that scenes run on: hosts on a bridge, Erlang nodes and EPMDs on them, and tcpdump.

A host is a network namespace without a name, so nothing can clash, and it goes when the last
process in it has gone. A thread enters one by `with host:`, and its sockets and child processes are
then there.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import queue
import random
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
TUNSETIFF, TAP_WITHOUT_INFO = 0x400454CA, 0x1002
EPMD_PORT = 4369

libc = ctypes.CDLL(None, use_errno=True)
outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
stopping = threading.Event()

# Schedulers that wait do not spin.
QUIET = ["+S", "1:1", "+sbwt", "none"]

# A node does what it reads, and answers on a line of its own among what it logs.
ANSWER = "\x01"
COMMAND_LOOP = r"""
    Loop = fun(Loop) ->
        case io:get_line("") of
            Line when is_list(Line) ->
                {ok, Tokens, _} = erl_scan:string(Line),
                {ok, Expressions} = erl_parse:parse_exprs(Tokens),
                Said = try erl_eval:exprs(Expressions, []) of {value, Value, _} -> Value
                       catch Class:Reason -> {Class, Reason} end,
                io:format("~c~0p~n", [1, Said]),
                Loop(Loop);
            _ -> halt(0)
        end
    end,
    spawn(fun() -> io:format("~cready~n", [1]), Loop(Loop) end)."""


class Failed(Exception):
    """The scene could not be run."""


def pause(seconds):
    if stopping.wait(seconds):
        raise Failed("stopped")


def until(is_so, what, limit=20):
    end = time.monotonic() + limit
    while not is_so():
        if time.monotonic() > end:
            raise Failed(f"in vain: {what}")
        pause(0.02)


def setns(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def ip(commands, family=4):
    run = subprocess.run(
        ["ip", f"-{family}", "-batch", "-"], input=commands, text=True, capture_output=True
    )
    if run.returncode:
        raise Failed(f"ip: {run.stderr.strip()}: {commands}")


def nft(rules):
    run = subprocess.run(["nft", "-f", "-"], input=rules, text=True, capture_output=True)
    if run.returncode:
        raise Failed(f"nft: {run.stderr.strip()}: {rules}")


class Namespace:
    def __init__(self):
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.path = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        setns(outside)

    def __enter__(self):
        setns(self.descriptor)
        return self

    def __exit__(self, *_):
        setns(outside)

    def end_all(self):
        """Ends what is left in here: some programs start a daemon, such as EPMD."""
        own = os.fstat(self.descriptor).st_ino
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(process / "ns/net").st_ino == own:
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue  # It has ended, or ends.

    def set(self, key, value):
        with self:
            Path("/proc/sys/net", key).write_text(str(value))


class Host(Namespace):
    """One machine on the cable, with an EPMD of its own."""

    def __init__(self, testbed, name, address):
        super().__init__()
        self.testbed, self.name, self.address = testbed, name, address
        self.family = 6 if ":" in address else 4
        self.epmd, self.aliases, self.resolver = None, {}, None
        self.knows_itself_alone = False
        if self.family == 4:
            self.set("ipv6/conf/all/disable_ipv6", 1)

    def start_epmd(self, *options):
        with self:
            self.epmd = self.testbed.start([self.testbed.draw_release().epmd, *options])
            # Not by asking it, which a capture on this host would show.
            until(self.listens, "epmd listens")
        return self

    def listens(self, port=EPMD_PORT):
        table = "tcp6" if self.family == 6 else "tcp"
        listening = f":{port:04X} {'0' * (32 if self.family == 6 else 8)}:0000 0A"
        return listening in Path(f"/proc/thread-self/net/{table}").read_text()

    def ask(self, alive, address=None):
        """The port under which EPMD has a name: None when it has none, False without EPMD."""
        try:
            with socket.create_connection((address or self.address, EPMD_PORT), 5) as asked:
                asked.sendall(struct.pack(">HB", 1 + len(alive), ord("z")) + alive.encode())
                answer = asked.recv(4, socket.MSG_WAITALL)
        except OSError:
            return False
        return struct.unpack(">H", answer[2:])[0] if len(answer) == 4 else None

    @property
    def loopback(self):
        return "::1" if self.family == 6 else "127.0.0.1"

    def block(self, port, how):
        """What comes for the port is lost (blackhole), or ICMP says no (prohibit, unreachable)."""
        forwarding = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
        self.set(forwarding[self.family], 1)  # Only who may forward says so by ICMP.
        with self:
            ip(
                f"rule add pref 10 lookup local\nrule del pref 0\n"
                f"rule add pref 5 iif out0 ipproto tcp dport {port} {how}\n",
                self.family,
            )

    def unblock(self):
        with self:
            ip("rule del pref 5\n", self.family)

    def filter(self, *rules, hook="input"):
        """What nftables does with what comes in from now on (or goes out), until `pass_all`."""
        with self:
            nft(f"table inet scene {{ chain {hook} {{ type filter hook {hook} priority 0;\n" +
                "\n".join(rules) + "\n}\n}\n")

    def pass_all(self):
        with self:
            nft("delete table inet scene\n")

    def single_segments(self):
        """What is sent has one segment in each packet, as on a network card without offloading."""
        with self:
            ip("link set out0 gso_max_segs 1\n")

    def run(self, command, environment, folder, output):
        """Starts a program that sees this host's name, table of hosts and name server as a machine's own."""
        hosts, resolver = Path(folder, "hosts"), Path(folder, "resolv.conf")
        hosts_known = [self] if self.knows_itself_alone else self.testbed.hosts
        known = {host.name: host.address for host in hosts_known} | self.aliases
        lines = [f"{self.loopback} localhost"]
        lines += [f"{address} {name} {name.split('.')[0]}" for name, address in known.items() if address]
        hosts.write_text("\n".join(lines) + "\n")
        resolver.write_text(f"nameserver {self.resolver or self.loopback}\noptions timeout:2 attempts:2\n")
        enter = ("hostname \"$1\" && mount --bind \"$2\" /etc/hosts && mount --bind \"$3\" /etc/resolv.conf && "
                 "shift 3 && exec \"$@\"")
        wrapper = ["unshare", "--uts", "--mount", "sh", "-c", enter, "sh", self.name, hosts, resolver]
        with self:
            return self.testbed.start([*wrapper, *command], cwd=folder, env=environment, stdout=output,
                                      stderr=subprocess.STDOUT)

    def cable(self, state):
        if self.family == 6:
            self.set("ipv6/conf/out0/keep_addr_on_down", 1)
        with self:
            ip(f"link set out0 {state}\n")


class Process:
    """What was started, to be ended by its id."""

    def __init__(self, process):
        self.process = process

    def signal(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self):
        """With all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


class Node(Process):
    """A real Erlang node that evaluates the expressions it gets on standard input."""

    def __init__(self, testbed, host, name, cookie, options, hosts):
        self.testbed, self.host, self.name, self.cookie = testbed, host, name, cookie
        self.alive, self.options = name.split("@")[0], options
        home = Path(testbed.work, f"node-{len(testbed.started)}")
        home.mkdir()
        Path(home, "inetrc").write_text(self.names(hosts))
        if host.family == 6 and "-proto_dist" not in options:
            options = ["-proto_dist", "inet6_tcp", *options]
        command = self.command("name" if testbed.long or "." in name else "sname", options)
        environment = os.environ | {"HOME": str(home), "ERL_INETRC": str(home / "inetrc")}
        environment |= {"ERL_CRASH_DUMP_BYTES": "0", "ERL_CRASH_DUMP": "/dev/null"}
        with host:
            super().__init__(
                testbed.start(command, cwd=home, env=environment, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace").process
            )
        self.answers, self.log = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def command(self, kind, options):
        command = [self.testbed.draw_release().erl, "-noshell", "-start_epmd", "false"]
        command += [f"-{kind}", self.name, "-setcookie", self.cookie, *QUIET, *options]
        return [*command, "-eval", COMMAND_LOOP]

    def names(self, more):
        """The hosts as this node resolves them: one line for each address, with all its names."""
        lines = []
        known = {host.name: host.address for host in self.testbed.hosts} | more
        for address in sorted(set(known.values())):
            names = ",".join(f'"{name}"' for name in known if known[name] == address)
            lines.append(f"{{host, {{{erlang(address)}}}, [{names}]}}.\n")
        return "".join(lines) + "{lookup, [file]}.\n"

    def read(self):
        for line in self.process.stdout:
            # What a shell prompts with stands before it.
            before, mark, answer = line.partition(ANSWER)
            if mark:
                self.answers.put(answer.rstrip())
            else:
                self.log.append(before)
        self.answers.put(None)

    def answer(self, limit=30):
        try:
            answer = self.answers.get(timeout=limit)
        except queue.Empty:
            answer = None
        if answer is None:
            raise Failed(f"{self.name} is silent: {''.join(self.log[-20:])}")
        return answer

    def send(self, expression):
        self.type(" ".join(expression.split()) + ".\n")

    def type(self, line):
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.name} is gone: {''.join(self.log[-20:])}") from error

    def ask(self, expression):
        self.send(expression)
        return self.answer()

    @property
    def port(self):
        with self.host:
            return self.host.ask(self.alive, self.host.loopback)


class Iex(Node):
    """A node whose Elixir shell is typed into."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.send(":ready")

    def command(self, kind, options):
        erl = " ".join(["-start_epmd false", *QUIET, *options])
        return ["iex", f"--{kind}", self.name, "--cookie", self.cookie, "--erl", erl]

    def send(self, expression):
        self.type(f"IO.puts(<<{ord(ANSWER)}>> <> inspect({expression}))\n")


def erlang(address):
    """The inside of an address as Erlang writes it."""
    if ":" not in address:
        return address.replace(".", ",")
    return ",".join(map(str, struct.unpack(">8H", socket.inet_pton(socket.AF_INET6, address))))


class Disturbance:
    """What happens to frames on the way: the share that is lost, comes late, comes twice."""

    def __init__(self, loss=0, late=0, twice=0, seed=0):
        self.loss, self.late, self.twice = loss, late, twice
        self.rng = random.Random(seed)

    def copies(self):
        """By how much later than the others each copy of the next frame arrives."""
        if self.rng.random() < self.loss:
            return []
        number = 2 if self.rng.random() < self.twice else 1
        # Later than what is sent next in answer, sooner than it is sent again.
        return [0.02 if self.rng.random() < self.late else 0 for _ in range(number)]


class Testbed:
    """A scene's hosts, and all that was started on them."""

    def __init__(self, work, certificates, draw_release):
        self.work, self.certificates, self.draw_release = work, certificates, draw_release
        self.long = True
        self.hub, self.hosts, self.started, self.dumps = Namespace(), [], [], []
        self.wire = None
        with self.hub:
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            ip("link add br0 type bridge\nlink set br0 up\n")

    def start(self, command, **options):
        if stopping.is_set():
            raise Failed("stopped")
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.DEVNULL)
        process = Process(subprocess.Popen(command, start_new_session=True, **options))
        self.started.append(process)
        return process

    def host(self, name, address, bridge="br0"):
        host = Host(self, name, address)
        port = f"port{len(self.hosts)}"
        with self.hub:
            ip(f"link add {port} type veth peer name out0 netns {host.path}\n"
               f"link set {port} master {bridge} up\n")
        width, duplicates = (64, " nodad") if host.family == 6 else (24, "")
        with host:
            ip(f"link set lo up\naddress add {address}/{width} dev out0{duplicates}\n"
               "link set out0 up\n", host.family)
        self.hosts.append(host)
        return host

    def long_wire(self, delay, **disturbance):
        """Hosts that are put on bridge br1 are that many seconds away from those on br0.

        `disturbance` is what may happen to a frame on the way: see `Disturbance`.
        """
        with self.hub:
            ip("link add br1 type bridge\nlink set br1 up\n")
            ends = []
            for number in (0, 1):
                end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                request = struct.pack("16sH22x", b"wire%d" % number, TAP_WITHOUT_INFO)
                fcntl.ioctl(end, TUNSETIFF, request)
                ip(f"link set wire{number} master br{number} up\n")
                ends.append(end)
        arguments = (ends, delay, Disturbance(**disturbance))
        self.wire = threading.Thread(target=self.carry, args=arguments, daemon=True)
        self.wire_cut = threading.Event()
        self.wire.start()

    def carry(self, ends, delay, disturbance):
        on_the_way, numbers = [], itertools.count()
        while not self.wire_cut.is_set():
            wait = on_the_way[0][0] - time.monotonic() if on_the_way else 0.2
            for end in select.select(ends, [], [], max(wait, 0))[0]:
                other, frame = ends[1 - ends.index(end)], os.read(end, 65536)
                for late in disturbance.copies():
                    arrival = time.monotonic() + delay + late
                    heapq.heappush(on_the_way, (arrival, next(numbers), other, frame))
            while on_the_way and on_the_way[0][0] <= time.monotonic():
                *_, other, frame = heapq.heappop(on_the_way)
                os.write(other, frame)
        for end in ends:
            os.close(end)

    def node(self, host, name, cookie, *options, hosts=None, kind=Node):
        return kind(self, host, name, cookie, list(options), hosts or {})

    def listen(self, pcap, where=None, device="br0", at_once=True):
        """tcpdump writes from now on what passes the bridge, or a device of one host."""
        with where or self.hub:
            # Each packet takes a whole snaplen of the buffer where it is handed over at once: that is
            # not for megabytes in a moment.
            command = ["tcpdump", "-Z", "root", "-i", device, "-s", "65535", "-w", pcap]
            command += ["-U", "--immediate-mode", "-B", "16384"] if at_once else ["-B", "131072"]
            dump = self.start(command, stderr=subprocess.PIPE, text=True)
        for line in dump.process.stderr:
            if "listening on" in line:
                self.dumps.append(dump)
                return
        raise Failed("tcpdump does not listen")

    def cut(self):
        """The end of the scene: what happens from now on is not captured."""
        pause(0.4)
        for dump in self.dumps:
            dump.signal(signal.SIGINT)
            _, answer = dump.process.communicate()
            if "\n0 packets dropped by kernel" not in answer:
                raise Failed(f"tcpdump: {answer}")

    def abort(self):
        for process in self.started:
            process.end()

    def close(self):
        self.abort()
        for process in self.started:
            process.process.wait()
        if self.wire:
            self.wire_cut.set()
            self.wire.join()
        for namespace in [self.hub, *self.hosts]:
            namespace.end_all()
            os.close(namespace.descriptor)
