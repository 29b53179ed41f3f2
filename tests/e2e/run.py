#!/usr/bin/env python3
"""Runs the end-to-end cases: `run.py [name] [--list] [--json FILE]`; one PASS, FAIL or SKIP line each."""

import argparse
import importlib
import json
import os
import re
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from harness.cases import CASES, Context, Skip, daemon_is_in_this_build  # noqa: E402
from harness.cluster import ROOT  # noqa: E402
from harness.process import Scratch  # noqa: E402


def load_cases():
    for file in sorted(os.listdir(os.path.join(HERE, "cases"))):
        if file.endswith(".py") and file != "__init__.py":
            importlib.import_module("cases." + file[:-3])
    return CASES


CASE_SECONDS_MAX = 240


def too_long(_number, _frame):
    raise AssertionError(f"still running after {CASE_SECONDS_MAX} s")


def run_case(name, function):
    """(status, seconds, what went wrong)"""
    signal.alarm(CASE_SECONDS_MAX)
    began = time.monotonic()
    logs = os.path.join(ROOT, "build", "e2e-logs", re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))
    try:
        with Scratch("waggle-e2e-", keep_logs_in=logs) as scratch:
            function(Context(scratch))
            signal.alarm(0)
        return "passed", time.monotonic() - began, ""
    except Skip as reason:
        signal.alarm(0)
        return "skipped", time.monotonic() - began, str(reason)
    except Exception as error:
        signal.alarm(0)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.relpath(place.filename, ROOT)}:{place.lineno}"
        text = str(error) or type(error).__name__
        return "failed", time.monotonic() - began, f"{where}: {text}\n  logs: {os.path.relpath(logs, ROOT)}"


def stop(number, _frame):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="", help="only cases whose name contains this")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", help="write the results there")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGALRM, too_long)

    chosen = [entry for entry in load_cases() if options.name in entry[0]]
    if options.list:
        print("\n".join(name for name, _, _ in chosen))
        return 0
    results = []
    for name, needs_daemon, function in chosen:
        if needs_daemon and not daemon_is_in_this_build():
            print(f"SKIP {name}: waggled is not in this build", flush=True)
            results.append({"name": name, "status": "skipped", "seconds": 0})
            continue
        status, seconds, reason = run_case(name, function)
        word = {"passed": "PASS", "skipped": "SKIP", "failed": "FAIL"}[status]
        print(f"{word} {name} ({seconds:.1f} s)" + (f"\n  {reason}" if reason else ""), flush=True)
        results.append({"name": name, "status": status, "seconds": seconds})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file)
    return 1 if any(result["status"] == "failed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
