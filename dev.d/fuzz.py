#!/usr/bin/env python3
"""`./dev fuzz [NAME] [--seconds=N] [--jobs=N] [--keep]`: runs the libFuzzer targets of build-fuzz, all or those whose
name holds NAME, each for N seconds (default 60).

What a run learns stays in build-fuzz/corpus/NAME and is where the next one starts. A finding is kept as
tests/fuzz/corpus/NAME/finding-HASH.bin, which every test run replays. Each clean run appends a line to
bench/results/fuzz.jsonl when it took 600 seconds or more. --keep: instead of fuzzing, replaces
the kept inputs by two dozen of a minimal set of those that reach new code; findings stay."""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"
KEPT = ROOT / "tests" / "fuzz" / "corpus"
RECORD_SECONDS = 600
KEPT_FILES = 24
KEPT_BYTES = 2048
# Inputs that are whole stories reach so many features that libFuzzer's entropic schedule takes half of the time.
STORIES = ("exchange", "gossip_session", "http_server")
LENGTH_MAX = {"http_server": 16384, "journal": 16384, "exchange": 16384, "gossip_session": 16384, "session_frames": 8192}


def environment(name):
    """The target writes its own seeds before it starts."""
    env = dict(os.environ, WAGGLE_FUZZ_SEEDS=str(BUILD / "seeds" / name))
    env["ASAN_OPTIONS"] = "detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1:quarantine_size_mb=64"
    env["UBSAN_OPTIONS"] = "halt_on_error=1:print_stacktrace=1"
    return env


def folders(name):
    """Where inputs come from: first the one that grows, then what is only read."""
    grown, seeds = BUILD / "corpus" / name, BUILD / "seeds" / name
    for folder in (grown, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    return [str(folder) for folder in (grown, seeds, KEPT / name) if folder.is_dir()]


def last_number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def revision():
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True,
                          text=True).stdout.strip()


def record(name, commit, seconds, output):
    return {"name": "fuzz", "params": {"target": name}, "date": datetime.date.today().isoformat(),
            "commit": commit, "seconds": round(seconds),
            "executions": last_number(r"stat::number_of_executed_units:\s+(\d+)", output),
            "coverage_edges": last_number(r"cov: (\d+)", output), "features": last_number(r"ft: (\d+)", output),
            "peak_rss_mb": last_number(r"stat::peak_rss_mb:\s+(\d+)", output), "findings": 0}


def keep_findings(name, crashes):
    """Moves what libFuzzer wrote into the corpus that every test run replays."""
    kept = []
    for path in sorted(crashes.iterdir()):
        target = KEPT / name / ("finding-" + path.name.split("-", 1)[1][:12] + ".bin")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        kept.append(str(target.relative_to(ROOT)))
    return kept


def fuzz(program, seconds):
    name = program.name.removeprefix("fuzz_")
    began, commit = time.monotonic(), revision()
    with tempfile.TemporaryDirectory(dir=BUILD) as crashes:
        ran = subprocess.run(
            [program, f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=25", "-print_final_stats=1",
             f"-max_len={LENGTH_MAX.get(name, 4096)}", f"-artifact_prefix={crashes}/",
             f"-entropic={int(name not in STORIES)}", *folders(name)],
            capture_output=True, text=True, errors="replace", env=environment(name), cwd=BUILD)
        findings = keep_findings(name, pathlib.Path(crashes))
    output = ran.stdout + ran.stderr
    took = time.monotonic() - began
    line = record(name, commit, took, output)
    if ran.returncode != 0:
        return f"FAIL {name}: {', '.join(findings) or 'no input was kept'}\n{output[-6000:]}", False
    if seconds >= RECORD_SECONDS:
        results = ROOT / "bench" / "results"
        results.mkdir(parents=True, exist_ok=True)
        with open(results / "fuzz.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
    return (f"PASS {name}: {line['executions']} executions in {took:.0f} s, {line['coverage_edges']} edges, "
            f"{line['features']} features, {line['peak_rss_mb']} MiB"), True


def keep(program, _seconds):
    """A sample, small to large, of a minimal set; findings stay."""
    name = program.name.removeprefix("fuzz_")
    target = KEPT / name
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as merged:
        ran = subprocess.run([program, "-merge=1", "-rss_limit_mb=1024", f"-max_len={KEPT_BYTES}", merged,
                              *folders(name)[:2]], capture_output=True, text=True, env=environment(name), cwd=BUILD)
        if ran.returncode != 0:
            return f"FAIL {name}: cannot be merged\n{ran.stderr[-3000:]}", False
        for path in target.iterdir():
            if not path.name.startswith("finding-"):
                path.unlink()
        chosen = sorted(pathlib.Path(merged).iterdir(), key=lambda path: (path.stat().st_size, path.name))
        step = max(1, -(-len(chosen) // KEPT_FILES))
        for path in chosen[::step]:
            shutil.copy(path, target / (path.name[:12] + ".bin"))
    return f"PASS {name}: kept {len(list(target.iterdir()))} inputs", True


def main():
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    programs = [path for path in sorted((BUILD / "tests" / "fuzz").glob("fuzz_*"))
                if path.is_file() and options.name in path.name and path.name != "fuzz_replay"]
    exact = [path for path in programs if path.name == "fuzz_" + options.name]
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(keep if options.keep else fuzz, path, options.seconds) for path in exact or programs]
        for run in concurrent.futures.as_completed(runs):
            text, good = run.result()
            print(text, flush=True)
            passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not programs else 0


if __name__ == "__main__":
    sys.exit(main())
