"""Clusters of plain nodes, of Erlang and of Elixir."""

from .cluster import DOOR, Cluster, kind


@kind("plain")
class Plain(Cluster):
    """Two Erlang nodes."""


@kind("four")
class Four(Cluster):
    """Four Erlang nodes that know each other."""

    size = 4

    def prepare(self):
        for number, member in enumerate(self.members):
            for other in self.members[:number]:
                self.dial(member, other, True)


@kind("ipv6")
class Ipv6(Cluster):
    """Two Erlang nodes that use IPv6 alone."""

    family = 6


@kind("hidden")
class Hidden(Cluster):
    """A hidden node, and a usual one."""

    def build(self):
        super().build()
        self.a.options += ["-hidden"]


@kind("elixir", tools=["iex"])
class Elixir(Cluster):
    """Two Elixir nodes, dialed as in their shell."""

    def command(self, member):
        erl = " ".join(["-start_epmd false", *self.emulator_options(member), "-run file eval", str(DOOR)])
        return ["elixir", "--name" if self.long else "--sname", member.name, "--cookie", member.cookie,
                "--erl", erl, "--no-halt"]

    def dial(self, a, b, expected=None):
        name = getattr(b, "name", b)
        answer = a.ask(f"'Elixir.Node':connect('{name}')")
        self.note(f'{a.name}: Node.connect(:"{name}") -> {answer}')
        return self.checked(answer == "true", expected, f"{a.name} dials {name}: {answer}")
