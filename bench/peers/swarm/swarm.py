#!/usr/bin/env python3
"""Time until the last of N nodes has a blob that one scarce origin holds: waggle beside its peers, on the same shaped
links, in the same session. Network namespaces on one bridge; needs root. `./dev bench peers-swarm` prepares all it needs.

Systems take turns within each repetition. One JSON line per system: the median of `--runs`. `value` is the last node's
time over the bound max(S/B_origin, S/B_node, N*S/(B_origin + N*B_node)) at raw link rate; TCP's headers alone make it
1.046. In `spread` the bound is at least that of the last to start, in `killed` and `slow` only the healthy nodes count."""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.process import Scratch  # noqa: E402

from lab import Blob, Lab  # noqa: E402
from meters import Meter  # noqa: E402
from race import Shape, plan_of, run  # noqa: E402
from reader import Reader  # noqa: E402
from systems import SYSTEMS, with_config  # noqa: E402
from systems.base import EVERY_SCENARIO  # noqa: E402

# Rates times nodes is 0.8 Gbit/s, what two processors shape and carry with time to spare.
SUM_MBIT = 800
SUM_MIB = 1024
GOALS = {8: 1.10, 16: 1.12, 32: 1.15}
ORIGIN_GOAL = 1.02
PROGRAMS = os.path.join(ROOT, "build-bench", "peers")


def machine():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return f"{model[1].strip() if model else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def commit():
    words = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def rounded(value):
    """Four digits that matter."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def one_run(name, kind, options, shape, blob, seed):
    with Scratch("waggle-swarm-", keep_logs_in=os.path.join(ROOT, "build-bench", "swarm-logs", name)) as scratch:
        lab = Lab(scratch, shape.nodes, shape.node_mbit, shape.origin_mbit, options.queue_ms)
        meter = Meter(scratch, lab)
        plan = plan_of(options.scenario, shape, seed)
        for node in plan.slow:
            lab.slow_down(lab.hosts[node], shape.node_mbit / 10)
        return run(kind(lab, blob, options.scenario), meter, plan, shape)


def row(name, runs, failures, options, shape):
    """One line of JSON."""
    params = {"system": name, "scenario": options.scenario, "nodes": shape.nodes, "node_mbit": shape.node_mbit,
              "origin_mbit": shape.origin_mbit, "blob_mib": shape.blob_bytes / 2**20, "runs": len(runs),
              "failed": len(failures)}
    line = {"name": "peers/swarm", "params": params, "unit": "x of the bound", "bound_s": shape.bound}
    if failures:
        line["failures"] = failures
    if runs:
        medians = {key: statistics.median(each[key] for each in runs) for key in runs[0] if key != "link_use"}
        what = "p50_ratio" if options.scenario == "slow" else "ratio"
        line["value"] = medians[what]
        line["spread"] = {"min": min(each[what] for each in runs), "max": max(each[what] for each in runs)}
        goal = GOALS.get(shape.nodes)
        if name.startswith("waggle") and options.scenario == "flash" and shape.origin_mbit == shape.node_mbit and goal:
            line |= {"goal": goal, "met": medians["ratio"] <= goal and not failures,
                     "goal_origin_x": ORIGIN_GOAL, "met_origin_x": medians["origin_x"] <= ORIGIN_GOAL}
        line |= medians
        line["cpu_idle_percent_min"] = min(each["cpu_idle_percent"] for each in runs)
    line |= {"machine": machine(), "date": time.strftime("%F"), "commit": commit()}
    return json.dumps(rounded(line))


def race_all(options, systems, shape):
    """{system: [figures]}, {system: [failures]}; systems take turns."""
    runs, failures = {name: [] for name in systems}, {name: [] for name in systems}
    with Scratch("waggle-swarm-blob-") as scratch:
        blob = Blob(scratch.dir("blob"), shape.blob_bytes)
        for repetition in range(options.runs):
            for name, kind in systems.items():
                try:
                    figures = one_run(name, kind, options, shape, blob, options.seed + repetition)
                    runs[name].append(figures)
                    say(f"{name} {repetition + 1}/{options.runs}: {json.dumps(rounded(figures))}")
                except (AssertionError, OSError) as error:
                    failures[name].append(str(error)[:500])
                    say(f"{name} {repetition + 1}/{options.runs}: FAILED: {error}")
    return runs, failures


def say(text):
    print(text, file=sys.stderr, flush=True)


def chosen_systems(options, parser):
    known = dict(SYSTEMS)
    known["chain"].program = os.path.join(PROGRAMS, "chain")
    known["anacrolix"].program = os.path.join(PROGRAMS, "torrent")
    Reader.program = os.path.join(PROGRAMS, "reader")
    for text in ["waggle-pull={\"transfer\": {\"relay\": false}}", *options.waggle_config]:
        name, _, config = text.partition("=")
        known[name] = with_config(json.loads(config))
    names = options.systems.split(",") if options.systems else list(known)
    if unknown := set(names) - set(known):
        parser.error(f"no such system: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {}
    for name in names:
        if options.scenario not in known[name].scenarios:
            say(f"{name}: has no {options.scenario}, left out")
        elif known[name].program and not os.access(known[name].program, os.X_OK):
            say(f"{name}: {known[name].program} is not there, left out")
        else:
            chosen[name] = known[name]
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", help="comma-separated; default all")
    parser.add_argument("--nodes", default="8", help="comma-separated: 8,16,32")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scenario", choices=EVERY_SCENARIO, default="flash",
                        help="flash: all at one moment; spread: over 5 s; killed: a tenth of the nodes, half-way; slow: a "
                        "tenth of the nodes at a tenth of the rate, value is the others' median; warm: one node has it")
    parser.add_argument("--waggle-config", action="append", default=[], metavar="NAME=JSON",
                        help="one more system: waggle with this laid over its configuration")
    parser.add_argument("--node-mbit", type=float, help=f"default {SUM_MBIT} / nodes")
    parser.add_argument("--origin-mbit", type=float, help="default as a node's")
    parser.add_argument("--blob-mib", type=float, help=f"default {SUM_MIB} / nodes")
    parser.add_argument("--queue-ms", type=float, default=25, help="of queue at each end of each cable")
    parser.add_argument("--seed", type=int, default=1, help="of who is late, killed or slow")
    parser.add_argument("--out", help="append the lines there too")
    options = parser.parse_args()
    os.environ["TMPDIR"] = "/dev/shm"
    os.environ.setdefault("WAGGLE_BUILD", os.path.join(ROOT, "build-bench"))
    systems = chosen_systems(options, parser)
    failed = False
    for nodes in map(int, options.nodes.split(",")):
        rate = options.node_mbit or SUM_MBIT / nodes
        shape = Shape(nodes, int((options.blob_mib or SUM_MIB / nodes) * 2**20), rate, options.origin_mbit or rate)
        runs, failures = race_all(options, systems, shape)
        for name in systems:
            line = row(name, runs[name], failures[name], options, shape)
            print(line, flush=True)
            if options.out:
                with open(options.out, "a") as file:
                    file.write(line + "\n")
        failed = failed or any(failures.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
