#!/usr/bin/env python3
"""Analyses capture files on any store that Hadoop reads, as tasks of Spark: docs/spark.md.

    spark-submit scripts/spark/beamscope_job.py --input URI... --output URI

Three stages: the facts of each file; with the facts of all, the extract of each; the extracts are judged together. A
task that fails or is slow is run again by Spark, and the answer is the same: no task changes anything but by a rename.
"""

import argparse
import functools
import json
import os
import re
import shlex
import shutil
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as sql

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beamscope_parts as parts_of  # noqa: E402

PARTS = (
    "part string, state string, detail string, same_as string, bytes long, packets long, kept long, "
    "extract_bytes long, group int"
)
# Parts of one run: their names are arguments of one program, for which Linux has 2 MiB.
MOST_OF_GROUP = 50_000
# What Parquet has beside the line itself.
FIELDS = (
    "timestamp string, event_type string, seq long, frame long, input string, session_id string, src_ip string, "
    "src_port int, dest_ip string, dest_port int, finding struct<rule: string, severity: string, confidence: string>"
)


def arguments():
    """The arguments of the job."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", nargs="+", required=True, metavar="URI", help="files, folders or patterns")
    parser.add_argument("--output", required=True, metavar="URI", help="a folder that all executors reach")
    parser.add_argument(
        "--beamscope", metavar="FILE", help="the program, sent to all executors; else theirs, or that of --files"
    )
    parser.add_argument("--partitions", type=int, metavar="N", help="tasks of a stage; else one for each file")
    parser.add_argument(
        "--reducer-bytes",
        type=int,
        default=16 << 30,
        metavar="N",
        help="extracts up to this size are judged as one; beyond, those that share addresses (default %(default)s)",
    )
    parser.add_argument("--args", default="", help="arguments for every beamscope, such as '--dist-port 9100'")
    parser.add_argument("--judge-args", default="", help="arguments for judging, such as '--cookie-file /etc/cookies'")
    parser.add_argument("--keep-extracts", action="store_true", help="leave the extracts in the output")
    return parser.parse_args()


class Driver:
    """The Hadoop file systems, as the driver sees them."""

    def __init__(self, context):
        self.jvm, self.conf = context._jvm, context._jsc.hadoopConfiguration()

    def at(self, uri):
        """A file system, and the qualified path in it."""
        path = self.jvm.org.apache.hadoop.fs.Path(uri)
        system = path.getFileSystem(self.conf)
        return system, system.makeQualified(path)

    def parts(self, inputs):
        """The files that the inputs name, each once; what names none is a part that is missing."""
        found = {}
        for given in inputs:
            system, path = self.at(given)
            # A name with such characters is no pattern if there is a file of that name.
            matches = [system.getFileStatus(path)] if system.exists(path) else system.globStatus(path) or []
            files = [file for match in matches for file in self.files(system, match)]
            if not files:
                missing = part(path, 0)
                found.setdefault(missing["uri"], {**missing, "state": "missing", "detail": "there is no such file"})
            for file in files:
                of_file = part(file.getPath(), file.getLen())
                found[of_file["uri"]] = of_file
        return [found[uri] for uri in sorted(found)]

    def files(self, system, status):
        """A file, or the files of a folder, without those that Hadoop takes for hidden."""
        if not status.isDirectory():
            return [status]
        files = [file for file in system.listStatus(status.getPath()) if file.isFile()]
        return [file for file in files if file.getPath().getName()[0] not in "._"]

    def write(self, uri, text):
        """Writes a small file."""
        system, path = self.at(uri)
        with_bytes = system.create(path, True)
        with_bytes.write(bytearray(text.encode()))
        with_bytes.close()

    def remove(self, uri):
        """Removes a folder, and the one around it if that is empty: another job may write there."""
        system, path = self.at(uri)
        system.delete(path, True)
        if not system.listStatus(path.getParent()):
            system.delete(path.getParent(), True)


def local_path(path):
    """The path of a file of this machine; `None` in any other store."""
    return path.toUri().getPath() if path.toUri().getScheme() == "file" else None


def part(path, size):
    """A part before it was read."""
    local = local_path(path)
    return {"uri": path.toString(), "path": local, "name": local or path.toString(), "bytes": size}


def tries(context):
    """How often Spark runs a task before it gives up the job."""
    master = re.fullmatch(r"local(\[[^,]+(,\s*(\d+))?\])?", context.master)
    if master:
        return int(master[3] or 1)
    return int(context.getConf().get("spark.task.maxFailures", "4"))


def for_each(context, parts, partitions, task, run):
    """Runs a task for each part, and adds what it returns to the part."""
    wanted = [each for each in parts if "state" not in each]
    if not wanted:
        return
    run_part = functools.partial(parts_of.of_part, task, run)
    results = context.parallelize(wanted, partitions or len(wanted)).map(run_part).collect()
    for each, result in zip(wanted, results, strict=True):
        each.update(result)


def share_facts(context, parts, partitions, run):
    """The facts of all parts together."""
    for_each(context, parts, partitions, parts_of.facts_of, run)
    ends, flows = set(), set()
    for each in parts:
        facts = each.pop("facts", {"ends": [], "flows": []})
        ends.update((end["ip"], end["port"]) for end in facts["ends"])
        flows.update(tuple((end["ip"], end["port"]) for end in flow) for flow in facts["flows"])
    return parts_of.facts_files(ends, flows)


def extract_all(context, parts, partitions, run, facts):
    """Extracts each part; the facts reach each executor once."""
    shared = context.broadcast(facts)

    def task(run, each, folder):
        return parts_of.extract_of(run, each, folder, shared.value)

    for_each(context, parts, partitions, task, run)


def set_doubled_aside(parts):
    """A part with the packets of another one is left out: each packet counts once."""
    first = {}
    for each in parts:
        if "digest" not in each:
            continue
        same = first.setdefault(each["digest"], each)
        if same is not each:
            each.update(state="doubled", same_as=same["name"], detail="the packets are those of another part")


def group_all(parts, most):
    """Puts parts that are judged together into groups, and returns these.

    Extracts beyond `most` bytes are grouped by their addresses: two that share one are of the same group. A part
    without any address of Erlang is in every group: it may have the name resolution or the ICMP errors of each.
    """
    judged = [each for each in parts if "extract" in each and each["state"] != "doubled"]
    is_small = sum(each["extract_bytes"] for each in judged) <= most
    if is_small or any(each["addresses"] is None for each in judged):
        groups = [judged] if judged else []
    else:
        groups = grouped_by_address(judged)
    for number, group in enumerate(groups):
        if len(group) > MOST_OF_GROUP:
            sys.exit(f"{len(group)} parts belong together, more than {MOST_OF_GROUP}: join them to larger files first")
        for each in group:
            each.setdefault("group", number)
    return groups


def grouped_by_address(parts):
    """Union-find over addresses: the root of an address names its component."""
    parent = {}

    def root(address):
        parent.setdefault(address, address)
        while parent[address] != address:
            parent[address] = parent[parent[address]]
            address = parent[address]
        return address

    for each in parts:
        for address in each["addresses"][1:]:
            parent[root(address)] = root(each["addresses"][0])
    of_all = [each for each in parts if not each["addresses"]]
    groups = {}
    for each in parts:
        if each["addresses"]:
            groups.setdefault(root(each["addresses"][0]), []).append(each)
    # Inputs of a run are read by time, and by this order where the time is the same.
    ordered = [sorted(group + of_all, key=lambda each: each["uri"]) for group in groups.values()]
    return ordered or [of_all]


def judge_all(spark, groups, run, output, is_complete):
    """Judges each group by one task, and writes the events: lines as they are, and Parquet of these lines."""
    numbered = list(enumerate(groups))
    lines = spark.sparkContext.parallelize(numbered, max(len(numbered), 1)).flatMap(
        lambda numbered: parts_of.judge(run, *numbered, is_complete)
    )
    events = spark.createDataFrame(lines, "group int, seq long, value string")
    ordered = events.sortWithinPartitions("group", "seq").select("group", "value")
    ordered.write.partitionBy("group").mode("overwrite").text(f"{output}/events.ndjson")
    if not groups:
        return 0
    written = spark.read.schema("value string, group int").text(f"{output}/events.ndjson")
    event = sql.from_json("value", FIELDS).alias("event")
    table = written.select("group", event, "value").select("group", "event.*", sql.col("value").alias("line"))
    table = table.withColumn("complete", sql.lit(is_complete))
    table.write.mode("overwrite").parquet(f"{output}/events.parquet")
    return spark.read.parquet(f"{output}/events.parquet").count()


def write_parts(spark, parts, output):
    """Writes the parts table."""
    names = [column.strip().split(" ")[0] for column in PARTS.split(",")]
    rows = [tuple({**each, "part": each["name"]}.get(name) for name in names) for each in parts]
    table = spark.createDataFrame(rows, PARTS).coalesce(1)
    table.write.mode("overwrite").json(f"{output}/parts.ndjson", ignoreNullFields=True)
    table.write.mode("overwrite").parquet(f"{output}/parts.parquet")


def main():
    """Runs the job. The status is 0 if every part was read whole, and 2 if the answer lacks some."""
    options = arguments()
    spark = SparkSession.builder.appName("beamscope").getOrCreate()
    context = spark.sparkContext
    context.setLogLevel("WARN")
    context.addPyFile(os.path.abspath(parts_of.__file__))
    program = options.beamscope or "beamscope"
    if options.beamscope:
        context.addFile(os.path.abspath(program))
        program = os.path.basename(program)
    elif found := shutil.which(program):
        program = found
    driver = Driver(context)
    system, path = driver.at(options.output)
    output = path.toString()
    extracts = f"{output}/_extracts/{context.applicationId}"
    system.mkdirs(driver.at(extracts)[1])
    prefix = "spark.hadoop."
    hadoop = {key[len(prefix) :]: value for key, value in context.getConf().getAll() if key.startswith(prefix)}
    run = {
        "program": program,
        "args": shlex.split(options.args),
        "judge_args": shlex.split(options.judge_args),
        "extracts": extracts,
        "extracts_path": local_path(driver.at(extracts)[1]),
        "hadoop": hadoop,
        "tries": tries(context),
    }
    try:
        parts = driver.parts(options.input)
        facts = share_facts(context, parts, options.partitions, run)
        extract_all(context, parts, options.partitions, run, facts)
        set_doubled_aside(parts)
        groups = group_all(parts, options.reducer_bytes)
        lacking = [each for each in parts if each["state"] not in ("whole", "doubled")]
        is_complete = bool(groups) and not lacking
        events = judge_all(spark, groups, run, output, is_complete)
        write_parts(spark, parts, output)
    finally:
        if not options.keep_extracts:
            driver.remove(extracts)
    because = [{"part": each["name"], "state": each["state"], "detail": each["detail"]} for each in lacking]
    sums = {name: sum(each.get(name) or 0 for each in parts) for name in ("bytes", "packets", "kept", "extract_bytes")}
    result = {"v": 1, "type": "spark", "complete": is_complete, "because": because, "parts": len(parts)}
    result.update(sums, facts_bytes=sum(map(len, facts)), groups=len(groups), events=events)
    driver.write(f"{output}/run.json", json.dumps(result) + "\n")
    for each in because:
        print(f"{each['part']}: {each['state']}: {each['detail']}")
    print(f"{output}: {events} events of {len(parts)} parts, {len(lacking)} of them not whole")
    spark.stop()
    return 0 if is_complete else 2


if __name__ == "__main__":
    sys.exit(main())
