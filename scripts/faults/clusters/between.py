"""A node behind something: a balancer, a tunnel, a plain forwarder."""

import functools
from pathlib import Path

from network import EPMD_PORT, pause, until

from .cluster import Cluster, kind


class Behind(Cluster):
    """The host of node `b` has the name of a host before it, which forwards EPMD and the distribution port."""

    # The ports that are forwarded: a fault may take some away.
    program = None
    styles = ("domain",)

    def build(self):
        self.dist_port = self.scene.rng.randrange(9100, 9200)
        self.add(host=self.near_host())
        self.front = self.scene.host(epmd=False)
        # The node has the name by which others reach it.
        self.back = self.scene.host()
        b = self.add(host=self.back)
        b.name = f"{b.alive}@{self.front.name}"
        self.scene.nodes[-1]["name"] = b.name
        b.options += ["-kernel", "inet_dist_listen_min", str(self.dist_port), "inet_dist_listen_max",
                      str(self.dist_port)]
        # On its own host the name is its own.
        self.back.aliases = {self.front.name: self.back.address}
        self.forwarded = [EPMD_PORT, self.dist_port]
        self.forwarder = None

    def near_host(self):
        return self.scene.host()

    def start(self, *members):
        super().start(*members)
        if not self.forwarder:
            self.start_forwarder()

    def start_forwarder(self):
        self.forwarder = self.launch(self.front, Path(self.testbed.work, "front"), self.configuration())
        self.wait_forwarder()

    def wait_forwarder(self):
        for port in self.forwarded:
            with self.front:
                until(functools.partial(self.front.listens, port), f"{self.program} listens on {port}")

    def launch(self, host, folder, text):
        folder.mkdir(exist_ok=True)
        file = Path(folder, f"{self.program}.conf")
        file.write_text(text)
        with open(Path(folder, "output"), "ab") as output:
            return host.run(self.command_line(file), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, folder, output)

    def stop_forwarder(self):
        self.forwarder.end()
        self.forwarder.process.wait()
        self.forwarder = None


@kind("haproxy", tools=["haproxy"])
class Haproxy(Behind):
    """A node behind HAProxy."""

    program = "haproxy"
    header, idle = "", 3600

    def configuration(self):
        text = f"defaults\n mode tcp\n timeout connect 2s\n timeout client {self.idle}s\n timeout server {self.idle}s\n"
        for port in self.forwarded:
            text += (f"listen port{port}\n bind {self.front.address}:{port}\n"
                     f" server back {self.back.address}:{port} {self.header}\n")
        return text

    def command_line(self, file):
        return ["haproxy", "-db", "-f", file]


@kind("nginx", tools=["nginx"])
class Nginx(Behind):
    """A node behind nginx with its stream module."""

    program = "nginx"
    header, idle = "", 3600

    def configuration(self):
        folder = Path(self.testbed.work, "front")
        text = ("load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nuser root;\nworker_processes 1;\n"
                f"pid {folder}/pid;\nerror_log {folder}/error.log;\ndaemon off;\n"
                "events { worker_connections 64; }\nstream {\n")
        for port in self.forwarded:
            text += (f"server {{ listen {self.front.address}:{port}; proxy_pass {self.back.address}:{port}; "
                     f"proxy_timeout {self.idle}s; {'proxy_protocol on;' if self.header else ''} }}\n")
        return text + "}\n"

    def command_line(self, file):
        return ["nginx", "-c", file]


@kind("socat", tools=["socat"])
class Socat(Behind):
    """A node behind a plain forwarder, one for each port."""

    program = "socat"

    def configuration(self):
        return "\n".join(f"socat TCP-LISTEN:{port},fork,reuseaddr TCP:{self.back.address}:{port} &"
                         for port in self.forwarded) + "\nwait\n"

    def command_line(self, file):
        return ["sh", file]


@kind("stunnel", tools=["stunnel4"])
class Stunnel(Behind):
    """A node behind a pair of tunnels: the dialing host has one end, and speaks plainly to it on its own address."""

    program = "stunnel4"

    def build(self):
        super().build()
        # The near end is on the dialing host, which resolves the name to itself, at another loopback address.
        self.near = "127.0.9.1"
        self.a.host.aliases = {self.front.name: self.near}
        self.tunneled = {EPMD_PORT: 14369, self.dist_port: self.dist_port + 1000}

    def near_host(self):
        # Its EPMD leaves other addresses of the loopback to the tunnel.
        host = self.scene.host(epmd=False)
        return host.start_epmd("-address", host.address)

    def settings(self):
        certificate = self.testbed.certificates("tunnel", "ca1")
        return f"foreground = yes\npid =\ndebug = 4\ncert = {certificate}.pem\nkey = {certificate}.key\n"

    def configuration(self):
        text = self.settings()
        for port, tunneled in self.tunneled.items():
            if port in self.forwarded:
                text += (f"[far{port}]\naccept = {self.front.address}:{tunneled}\n"
                         f"connect = {self.back.address}:{port}\n")
        return text

    def near_configuration(self):
        text = self.settings()
        for port, tunneled in self.tunneled.items():
            text += (f"[near{port}]\nclient = yes\naccept = {self.near}:{port}\n"
                     f"connect = {self.front.address}:{tunneled}\n")
        return text

    def start_forwarder(self):
        self.forwarder = self.launch(self.front, Path(self.testbed.work, "front"), self.configuration())
        self.near_end = self.launch(self.a.host, Path(self.testbed.work, "near"), self.near_configuration())
        pause(1)

    def command_line(self, file):
        return ["stunnel4", file]
