"""Clusters of RabbitMQ and of ejabberd, and their command-line tools."""

import re
import shutil
from pathlib import Path

from network import pause, until

from .cluster import DOOR, Cluster, kind


@kind("rabbitmq", tools=["rabbitmq-server"])
class RabbitMQ(Cluster):
    """Three nodes of RabbitMQ, joined by the tools."""

    size, styles, alive_name = 3, ("short",), "rabbit"
    tools_folder = Path("/usr/lib/rabbitmq/bin")
    # The tools execute code on a node. Where they cannot, they ask for all names, and open and close its port.
    allowed = ("remote-execution", "epmd-enumeration", "handshake-aborted:low")

    def __init__(self, *arguments):
        self.joins = True
        super().__init__(*arguments)

    def command(self, member):
        return [self.tools_folder / "rabbitmq-server"]

    def environment(self, member):
        home = member.home
        plugins = Path(home, "enabled_plugins")
        plugins.write_text("[].\n")
        config = Path(home, "rabbitmq.conf")
        config.write_text("log.console = true\nlog.console.level = info\nlog.file = false\n")
        options = " ".join(map(str, [*self.emulator_options(member), "-run file eval", DOOR]))
        return {"RABBITMQ_NODENAME": member.name, "RABBITMQ_MNESIA_BASE": home / "mnesia",
                "RABBITMQ_LOG_BASE": home / "log", "RABBITMQ_PID_FILE": home / "pid",
                "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_CONFIG_FILE": config,
                "RABBITMQ_ENABLED_PLUGINS_FILE": plugins, "RABBITMQ_FEATURE_FLAGS_FILE": home / "flags",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": options, "LANG": "C.UTF-8",
                "RABBITMQ_GENERATED_CONFIG_DIR": home / "generated"}

    def wait_ready(self, member):
        until(lambda: member.ask("catch rabbit:is_running()") == "true", f"{member.name} runs", 90)

    def prepare(self):
        if self.joins:
            for member in self.members[1:]:
                self.join(member, self.a, True)

    def ctl(self, member, *command, limit=60):
        return member.command(self.tools_folder / "rabbitmqctl", *command, limit=limit,
                              shown=["rabbitmqctl", *command])

    def join(self, a, b, expected=None):
        """What an operator types on the host of `a`."""
        self.ctl(a, "stop_app")
        status, said = self.ctl(a, "join_cluster", b.name, limit=90)
        if status == 0:
            self.ctl(a, "start_app")
        self.checked(status == 0, expected, f"{a.name} joins {b.name}: {said}")
        return status == 0


@kind("ejabberd", tools=["ejabberdctl"])
class Ejabberd(Cluster):
    """Two nodes of ejabberd, joined by the tool."""

    alive_name = "ejabberd"
    allowed = ("remote-execution",)

    def __init__(self, *arguments):
        self.joins = False
        super().__init__(*arguments)

    def tool(self, member):
        # As installed, it runs all as a user who may not read what a scene writes.
        tool = Path(member.home, "ejabberdctl")
        if not tool.exists():
            text = Path(shutil.which("ejabberdctl")).read_text()
            tool.write_text(re.sub(r"(?m)^INSTALLUSER=.*$", "INSTALLUSER=", text))
            tool.chmod(0o755)
            home = member.home
            # The program sets the tick time by its own settings.
            Path(home, "ejabberd.yml").write_text("hosts:\n  - localhost\nloglevel: info\nlisten: []\nmodules: {}\n"
                                                  f"net_ticktime: {self.tick_time or 60}\n")
            Path(home, "inetrc").write_text("{lookup, [native]}.\n")
            Path(home, "spool").mkdir()
            Path(home, "logs").mkdir()
        return [tool, "-n", member.name, "-d", member.home, "-s", member.home / "spool", "-l",
                member.home / "logs", "-c", member.home / "ejabberdctl.cfg"]

    def command(self, member):
        options = " ".join(map(str, [*self.emulator_options(member), "-run file eval", DOOR]))
        Path(member.home, "vm.args").write_text(options + "\n")
        return [*self.tool(member), "foreground"]

    def ctl(self, member, *command, limit=60):
        # The tool's own nodes must not answer at the door.
        Path(member.home, "vm.args").write_text("")
        return member.command(*self.tool(member), *command, limit=limit, shown=["ejabberdctl", *command])

    def wait_ready(self, member):
        until(lambda: "ejabberd," in member.ask("application:which_applications()"), f"{member.name} runs", 90)

    def prepare(self):
        if self.joins:
            self.join(self.a, self.b, True)

    def join(self, a, b, expected=None):
        name = getattr(b, "name", b)
        status, said = self.ctl(a, "join_cluster", name)
        pause(2)
        connected = name in a.connected()
        self.checked(connected, expected, f"{a.name} joins {name}: {status} {said}")
        return connected
