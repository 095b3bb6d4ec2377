"""What scenes need from the machine: Erlang, certificates, and the right to make namespaces."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import network


class Release:
    """An installed Erlang, 23 or later: the one on PATH, or one in a folder."""

    def __init__(self, folder=None):
        numbers = [path.name for path in Path(folder or "", "releases").glob("[0-9]*")]
        self.number = max(map(int, numbers), default=0)
        found = sorted(Path(folder).glob("erts-*/bin/epmd")) if folder else []
        self.erl = str(Path(folder, "bin/erl")) if folder else "erl"
        self.epmd = str(found[-1]) if found else str(Path(folder, "bin/epmd")) if folder else "epmd"


class Certificates:
    """What openssl makes once for all scenes: NAME.pem, NAME.key, and NAME.ca of who issued it."""

    def __init__(self, folder):
        self.folder, self.lock = Path(folder), threading.Lock()

    def __call__(self, name, issuer):
        with self.lock:
            path = self.folder / name
            if not Path(f"{path}.pem").exists():
                self.make(path, self.folder / issuer)
            return path

    def make(self, path, issuer):
        if not Path(f"{issuer}.pem").exists():
            openssl(f"req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN={issuer.name} "
                    f"-keyout {issuer}.key -out {issuer}.pem")
        shutil.copy(f"{issuer}.pem", f"{path}.ca")
        openssl(f"req -newkey rsa:2048 -nodes -subj /CN={path.name} "
                f"-keyout {path}.key -out {path}.csr")
        days = -1 if path.name == "late" else 30
        # From OTP 27 on a host name in the subject alone is not accepted.
        extensions = Path(f"{path}.extensions")
        extensions.write_text(f"subjectAltName = DNS:{path.name}\n")
        openssl(f"x509 -req -in {path}.csr -CA {issuer}.pem -CAkey {issuer}.key -CAcreateserial "
                f"-days {days} -extfile {extensions} -out {path}.pem")


def openssl(arguments):
    run = subprocess.run(["openssl", *arguments.split()], capture_output=True, text=True)
    if run.returncode:
        raise network.Failed(f"openssl: {run.stderr}")


def missing(needed, releases):
    """What keeps scenes from being run on this machine, if anything does."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for tool in needed + [tool for release in releases for tool in (release.erl, release.epmd)]:
        if not shutil.which(tool):
            return f"{tool} is missing"
    for release in releases:
        load = [release.erl, "-noinput", "-eval", "ok = application:load(ssl), halt(0)."]
        if subprocess.run(load, capture_output=True).returncode:
            return f"{release.erl} has no ssl"
    try:
        network.Testbed(None, None, None).close()
    except (OSError, network.Failed) as error:
        return f"namespaces: {error}"
    return None
