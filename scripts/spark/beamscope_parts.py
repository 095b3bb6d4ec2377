"""What the tasks of beamscope_job.py do with one part: reading it, extracting it, and judging a group of extracts.

Spark imports this file on every executor. A task can be run again, or twice at once: what it leaves is written under a
name of its own and renamed.
"""

import contextlib
import gc
import glob
import hashlib
import json
import os
import re
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipimport

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JJavaError
from pyspark import SparkFiles, TaskContext

# Endpoints and connections in one file of facts: beamscope reads files of 64 MiB.
FACTS_OF_FILE = 400_000

# Characters of an error message that are kept.
DETAIL = 500

_gateway = None

# Before each task, Spark has Python read the directory of pyspark.zip anew: 0.1 s of CPU, for a file that does not
# change. After each, it has Python look through all modules for garbage.
for _finder in sys.path_importer_cache.values():
    if isinstance(_finder, zipimport.zipimporter):
        _finder.invalidate_caches = lambda: None
gc.freeze()


class Store:
    """A Hadoop file system, reached by a JVM that belongs to this worker.

    Spark gives Python workers a file as bytes in memory only. This JVM copies it into a pipe.
    """

    def __init__(self, conf):
        global _gateway
        if _gateway is None:
            import pyspark

            home = os.environ.get("SPARK_HOME") or os.path.dirname(pyspark.__file__)
            jars = os.path.join(home, "jars")
            classes = [os.path.join(jars, "*"), os.environ.get("HADOOP_CONF_DIR")]
            port, token = launch_gateway(
                jarpath=glob.glob(os.path.join(jars, "py4j-*.jar"))[0],
                classpath=os.pathsep.join(filter(None, classes)),
                javaopts=["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
                die_on_exit=True,
                enable_auth=True,
            )
            parameters = GatewayParameters(port=port, auth_token=token, auto_convert=True)
            _gateway = JavaGateway(gateway_parameters=parameters)
        self.jvm = _gateway.jvm
        self.conf = self.jvm.org.apache.hadoop.conf.Configuration()
        for key, value in conf.items():
            self.conf.set(key, value)

    def _at(self, uri):
        path = self.jvm.org.apache.hadoop.fs.Path(uri)
        return path.getFileSystem(self.conf), path

    def copy_out(self, uri, file):
        """Copies into a local file or pipe."""
        system, path = self._at(uri)
        source = system.open(path)
        target = self.jvm.java.io.FileOutputStream(file)
        self.jvm.org.apache.hadoop.io.IOUtils.copyBytes(source, target, 1 << 20, True)

    def copy_in(self, file, uri):
        """Copies a local file in, whole or not at all."""
        system, path = self._at(uri)
        partial = self._at(f"{uri}.{secrets.token_hex(8)}")[1]
        system.copyFromLocalFile(False, True, self.jvm.org.apache.hadoop.fs.Path(file), partial)
        if not system.rename(partial, path):
            # Another try of this task was faster: what it wrote is the same.
            system.delete(partial, False)
            if not system.exists(path):
                raise OSError(f"{uri}: cannot be written")


class Failed(Exception):
    """A task did not succeed, and Spark should try again."""


@contextlib.contextmanager
def scratch():
    """A folder that is gone at the end."""
    folder = tempfile.mkdtemp(prefix="beamscope-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def beamscope(run):
    """The program: as Spark has shipped it, or of this machine."""
    shipped = SparkFiles.get(run["program"])
    return shipped if os.path.exists(shipped) else run["program"]


def read_part(run, part, folder, command, options):
    """Runs `command` over a part. Returns its status, and what it printed as an error.

    A file of this machine is read by its path, any other through a pipe: there is no copy of it on disk or in memory.
    """
    errors = os.path.join(folder, "stderr")
    with open(errors, "wb") as stderr:
        start = [beamscope(run), command, *run["args"], *options]
        silent = {"stdout": subprocess.DEVNULL, "stderr": stderr}
        if part["path"] is not None:
            status = subprocess.run([*start, "--", part["path"]], stdin=subprocess.DEVNULL, **silent).returncode
        else:
            status = _read_by_pipe(run, part, folder, [*start, "--", "-"], silent)
    with open(errors, encoding="utf-8", errors="replace") as text:
        detail = " ".join(text.read(1 << 16).split()).partition(" hint: ")[0]
    detail = detail.removeprefix("error: ").removeprefix("- ")[:DETAIL]
    if status < 0:
        raise Failed(f"{part['name']}: beamscope {command} was ended by signal {-status}")
    return status, detail


def _read_by_pipe(run, part, folder, command, silent):
    pipe = os.path.join(folder, "pipe")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(pipe)
    os.mkfifo(pipe, 0o600)
    # The end that writes is held open, so that the program waits for the JVM. The end that reads is the program's
    # alone, so that the JVM gets an error, and does not wait, where the program ends early.
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(pipe, os.O_WRONLY)
    os.set_blocking(reading, True)
    process = subprocess.Popen(command, stdin=reading, **silent)
    os.close(reading)
    try:
        Store(run["hadoop"]).copy_out(part["uri"], pipe)
    except Py4JJavaError:
        os.close(writing)
        writing = None
        # A program that ended early has closed the pipe, and says why.
        if process.wait() == 0:
            raise
    except BaseException:
        process.kill()
        raise
    finally:
        if writing is not None:
            os.close(writing)
        status = process.wait()
    return status


def of_part(task, run, part):
    """Runs a task over a part. A failure is an error, so that Spark tries again; at the last try it is a state."""
    try:
        with scratch() as folder:
            return task(run, part, folder)
    except (Failed, OSError, Py4JJavaError) as error:
        if TaskContext.get().attemptNumber() + 1 < run["tries"]:
            raise
        java = getattr(error, "java_exception", None)
        detail = str(error if java is None else java.toString())[:DETAIL]
        state = "missing" if "FileNotFoundException" in detail else "unreadable"
        return {"state": state, "detail": detail}


def unread(part, detail):
    """The state of a part from which nothing was read."""
    is_empty = part["bytes"] == 0 or "holds no packet" in detail
    state = "empty" if is_empty else "missing" if "No such file" in detail else "unreadable"
    return {"state": state, "detail": detail}


def facts_of(run, part, folder):
    """What a part shows about the others, as beamscope writes it."""
    file = os.path.join(folder, "facts.json")
    _, detail = read_part(run, part, folder, "facts", ["--quiet", "-o", file])
    facts = _json(file)
    return unread(part, detail) if facts is None else {"facts": facts}


def extract_of(run, part, folder, facts):
    """Writes the extract of a part into the output, and returns what the parts table has about it."""
    files = []
    for number, text in enumerate(facts):
        files.append(os.path.join(folder, f"facts-{number}.json"))
        with open(files[-1], "w", encoding="utf-8") as file:
            file.write(text)
    options = [option for file in files for option in ("--facts", file)]
    name = f"{hashlib.sha256(part['uri'].encode()).hexdigest()[:32]}.pcapng"
    extracts = run["extracts_path"]
    # In a local output next to its place, so that it can be renamed.
    kept = os.path.join(extracts or folder, f"{name}.{secrets.token_hex(8)}")
    summary = os.path.join(folder, "summary.json")
    try:
        _, detail = read_part(run, part, folder, "extract", ["--quiet", *options, "-w", kept, "--summary", summary])
        read = _json(summary)
        if read is None:
            return unread(part, detail)
        size, digest = os.path.getsize(kept), digest_of_frames(kept)
        if extracts is None:
            Store(run["hadoop"]).copy_in(kept, f"{run['extracts']}/{name}")
        else:
            os.replace(kept, os.path.join(extracts, name))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept)
    kinds = {damage["kind"] for damage in read["damage"]}
    state = "whole" if not kinds else "cut" if kinds == {"input_truncated"} else "damaged"
    detail = " ".join(damage["detail"] for damage in read["damage"])[:DETAIL]
    found = {"packets": read["packets"], "kept": read["kept"], "addresses": read["addresses"]}
    return {**found, "state": state, "detail": detail, "extract": name, "extract_bytes": size, "digest": digest}


def _json(file):
    try:
        with open(file, encoding="utf-8") as text:
            return json.loads(text.read() or "null")
    except FileNotFoundError:
        return None


def digest_of_frames(file):
    """A digest of an extract from its first packet on: what is before has the name of the input."""
    digest = hashlib.sha256()
    with open(file, "rb") as blocks:
        at, start = 0, blocks.read(8)
        # Blocks of pcapng: type and length, 4 bytes each. 6 is a packet.
        while len(start) == 8 and start[:4] != b"\6\0\0\0":
            at += max(int.from_bytes(start[4:], "little"), 12)
            blocks.seek(at)
            start = blocks.read(8)
        blocks.seek(at)
        while piece := blocks.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def facts_files(ends, flows):
    """The facts of all parts, as the texts of files that beamscope reads."""
    kept = [("ends", end) for end in sorted(ends)] + [("flows", flow) for flow in sorted(flows)]
    texts = []
    for at in range(0, len(kept), FACTS_OF_FILE):
        facts = {"v": 1, "type": "facts", "ends": [], "flows": []}
        for kind, value in kept[at : at + FACTS_OF_FILE]:
            facts[kind].append(_end(value) if kind == "ends" else [_end(end) for end in value])
        texts.append(json.dumps(facts))
    return texts


def _end(end):
    return {"ip": end[0], "port": end[1]}


def judge(run, number, parts, is_complete):
    """The events of one run over the extracts of a group: its number, that of the line, and the line.

    The files have names that occur nowhere else. In the lines they are replaced by the names of the parts.
    """
    # A run has all its inputs open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with scratch() as folder:
        token = secrets.token_hex(8)
        files = []
        for at, part in enumerate(parts):
            files.append(f"{token}-{at}")
            file = os.path.join(folder, files[-1])
            if run["extracts_path"] is None:
                Store(run["hadoop"]).copy_out(f"{run['extracts']}/{part['extract']}", file)
            else:
                os.symlink(os.path.join(run["extracts_path"], part["extract"]), file)
        names = [json.dumps(part["name"], ensure_ascii=False)[1:-1].encode() for part in parts]
        placed = re.compile(rf"{token}-(\d+)".encode())
        errors = os.path.join(folder, "stderr")
        with open(errors, "wb") as stderr:
            command = [beamscope(run), "--json", *run["args"], *run["judge_args"], "--", *files]
            output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": stderr}
            with subprocess.Popen(command, cwd=folder, **output) as process:
                for seq, line in enumerate(process.stdout, 1):
                    line = placed.sub(lambda found: names[int(found[1])], line.rstrip(b"\n"))
                    if not is_complete:
                        line = line[:-1] + b',"complete":false}'
                    yield number, seq, line.decode()
        if process.returncode != 0:
            with open(errors, encoding="utf-8", errors="replace") as text:
                raise Failed(f"beamscope ended with {process.returncode}: {text.read(DETAIL)}")
