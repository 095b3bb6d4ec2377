#!/bin/sh
# pyspark 4.0.1 with Python 3.11: a worker that is used again reads the directory of pyspark.zip (1,220 files) twelve times
# for every task, in all some 50 ms of processor time. worker_util.py calls importlib.invalidate_caches(), and zipimport of
# Python 3.11 then reads the directory at once, for each package of the archive that was imported.
#
# Needs: Python 3.11 with venv, Java 17, strace, and the Python package index (434 MB).
# Exit status: 0 the behaviour is as described, 1 it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'needs Python 3.11' >&2; exit 1; }
python3 -m venv python >/dev/null
python/bin/pip --quiet --disable-pip-version-check install setuptools wheel >/dev/null
python/bin/pip --quiet --disable-pip-version-check install --no-build-isolation pyspark==4.0.1 py4j==0.10.9.9 >/dev/null
cat >tasks.py <<'PYTHON'
import sys

from pyspark import SparkContext

context = SparkContext("local[1]", "tasks")
context.setLogLevel("ERROR")
tasks = int(sys.argv[1])
numbers = context.parallelize(range(tasks), tasks).map(lambda n: n + 1).collect()
assert numbers == list(range(1, tasks + 1))
context.stop()
PYTHON

opens() { # number of tasks; of pyspark.zip by the process that opens it most often, which is the worker
    strace -f -qq -e trace=openat -o opened python/bin/python tasks.py "$1" >/dev/null 2>&1
    grep 'pyspark\.zip"' opened | cut -d ' ' -f 1 | sort | uniq -c | sort -rn | awk 'NR == 1 { print $1 }'
}
few=$(opens 20)
many=$(opens 60)
echo "pyspark 4.0.1: one worker opens pyspark.zip $few times in 20 tasks, $many times in 60"
[ $((many - few)) -ge 400 ] || { echo 'changed' >&2; exit 1; }
echo 'as described'
