"""A fault on a cluster: what is drawn, what is captured, and the truth about it."""

import json

from scenes.base import Scene

from .cluster import KINDS as CLUSTERS

FAULTS = {}


def fault(name, on, tools=()):
    """Registers a function as a kind of fault, for these kinds of cluster. It plays, and returns the truth."""

    def register(run):
        FAULTS[name] = (run, on.split(), list(tools))
        return run

    return register


def combinations(is_there):
    """Each kind of cluster with each kind of fault that can be played on it and with the tools that are there."""
    return [f"{cluster}+{name}" for name, (_, clusters, tools) in FAULTS.items() for cluster in clusters
            if all(map(is_there, tools + CLUSTERS[cluster].tools))]


class Play(Scene):
    """One scene of a kind of fault on a kind of cluster."""

    def __init__(self, testbed, rng, pcap, combination):
        super().__init__(testbed, rng, pcap)
        cluster, fault_kind = combination.split("+")
        kind = CLUSTERS[cluster]
        self.fault, *_ = FAULTS[fault_kind]
        # No addresses as names: they hide what is looked up.
        self.style = rng.choice(kind.styles)
        testbed.long = self.style != "short"
        self.family = kind.family
        if self.family == 6:
            self.net = f"fd{rng.randrange(256):02x}:{rng.randrange(1, 65536):x}:"
        elif ":" in self.net:
            self.net = f"10.{rng.randrange(256)}.{rng.randrange(256)}"
        self.notes = []
        self.kind = kind

    def run(self):
        cluster = self.kind(self, self.notes)
        truth = self.fault(cluster)
        truth["allowed"] += list(cluster.allowed)
        return truth

    def write(self, truth, path):
        """The truth as JSON, and what was done and printed as text."""
        notes = [f"- {at:7.2f} s  {line}" + "".join(f"\n      | {said}" for said in text.splitlines()[:30])
                 for at, line, text in self.notes]
        path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")
        path.with_suffix(".md").write_text("\n".join([f"# {path.stem}", "", truth["description"], "", *notes]) + "\n")


def truth(description, rules, about=(), says=(), never=(), allowed=(), state=None, outcome=None):
    """What is right to say of a capture.

    One finding above `info` must be of one of the `rules`, name each of `about` (several with | are one of
    them), and match each of `says`. `never` are expressions that no title above `info` matches. Other findings above
    `info` must be of `allowed` rules; "rule:low" is allowed up to that severity. `state` is that of the finding when
    the capture has ended. The last outcome of each session between the first two of `outcome` is one of the others.
    Without `rules` nothing is wrong.
    """
    return {"description": description, "rules": list(rules), "about": list(about), "says": list(says),
            "never": list(never), "allowed": list(allowed), "state": state, "outcome": outcome}
