#!/usr/bin/env python3
"""`./dev test [name]`: Meson's tests (case by case where they are doctest programs), then the end-to-end
cases; the ten slowest, and one last line `N passed, N failed`."""

import argparse
import concurrent.futures
import dataclasses
import html
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclasses.dataclass
class Case:
    name: str
    status: str  # passed | failed | skipped
    seconds: float
    details: str = ""


@dataclasses.dataclass
class Program:
    """One entry of `meson introspect --tests`."""
    name: str
    command: list
    env: dict
    workdir: str
    timeout: float

    def run(self, *extra):
        return subprocess.run([*self.command, *extra], capture_output=True, text=True, errors="replace",
                              cwd=self.workdir, env={**os.environ, **self.env}, timeout=self.timeout,
                              stdin=subprocess.DEVNULL)

    def is_doctest(self):
        try:
            with open(self.command[0], "rb") as file:
                return file.read(4) == b"\x7fELF" and b"doctest_version" in file.read()
        except OSError:
            return False


PROGRAM_SECONDS_MAX = 900


def programs(build, seconds_max):
    listed = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True, text=True, check=True)
    for entry in json.loads(listed.stdout):
        yield Program(entry["name"], entry["cmd"], entry["env"], entry["workdir"] or build,
                      seconds_max or min(PROGRAM_SECONDS_MAX, (entry["timeout"] or PROGRAM_SECONDS_MAX) * 4))


_SUITE = re.compile(r"<TestSuite(?: name=\"([^\"]*)\")?")
_CASE = re.compile(r"<TestCase name=\"([^\"]*)\"")
_END = re.compile(r"<OverallResultsAsserts [^>]*test_case_success=\"(true|false)\"(?: duration=\"([0-9.e+-]+)\")?")


def parse_doctest(xml):
    """The cases of a doctest XML report, also of one cut short by a crash: its last case then failed."""
    suite, name, cases, details = "", None, [], []
    for line in xml.splitlines():
        if match := _SUITE.search(line):
            suite = html.unescape(match.group(1) or "")
        elif "<TestCase " in line and (match := _CASE.search(line)):
            name, details = html.unescape(match.group(1)), []
            if 'skipped="true"' in line:
                name = None
        elif match := _END.search(line):
            if name is not None:
                cases.append(Case(f"{suite}: {name}", "passed" if match.group(1) == "true" else "failed",
                                  float(match.group(2) or 0), "\n".join(details)))
            name = None
        elif name is not None and line.strip() and not line.strip().startswith("</"):
            details.append(html.unescape(line.strip()))
    if name is not None:
        cases.append(Case(f"{suite}: {name}", "failed", 0, "\n".join([*details, "the program ended in this case"])))
    return cases


def run_doctest(program, name, share):
    """All its cases, or those whose suite or case holds `name`; `name` in the program's own name runs it whole."""
    filters = [[]]
    if name and name not in program.name:
        pattern = "*" + name.replace(",", "\\,") + "*"
        filters = [["-tc=" + pattern], ["-ts=" + pattern, "-tce=" + pattern]]
    cases = []
    for chosen in filters:
        ran = program.run("-r=xml", "-d=true", *chosen, *share)
        found = parse_doctest(ran.stdout)
        broken = ran.returncode != 0 and all(case.status != "failed" for case in found)
        if broken or (not found and chosen == []):
            found.append(Case(f"{program.name}: the program", "failed", 0,
                              f"exit {ran.returncode}\n{(ran.stderr or ran.stdout)[-2000:]}"))
        elif ran.returncode != 0 and ran.stderr:
            next(case for case in found if case.status == "failed").details += "\n" + ran.stderr[-4000:]
        cases += found
    return cases


_CASES_WORTH_SPLITTING = 120


def shares(program, name):
    """Its cases by number in two halves, so that one long program does not keep the other processor waiting."""
    counted = "" if name or not program.is_doctest() else program.run("--count").stdout
    match = re.search(r"(?:[Uu]nskipped test cases[^:]*: |^)([0-9]+)\s*$", counted.strip(), re.M)
    count = int(match.group(1)) if match else 0
    if count < _CASES_WORTH_SPLITTING:
        return [(program, [])]
    return [(program, [f"--last={count // 2}"]), (program, [f"--first={count // 2 + 1}"])]


def run_program(program, name, share):
    began = time.monotonic()
    try:
        if program.is_doctest():
            return run_doctest(program, name, share)
        if name and name not in program.name:
            return []
        ran = program.run()
        status = {0: "passed", 77: "skipped"}.get(ran.returncode, "failed")
        return [Case(program.name, status, time.monotonic() - began, (ran.stdout + ran.stderr)[-3000:])]
    except subprocess.TimeoutExpired:
        return [Case(f"{program.name}: the program", "failed", time.monotonic() - began, "did not end in time")]


def run_meson_tests(build, name, jobs, only="", without="", seconds_max=0):
    cases = []
    chosen = [program for program in programs(build, seconds_max)
              if only in ("", program.name) and program.name != without]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = [share for program in chosen for share in shares(program, name)]
        for found in pool.map(lambda share: run_program(share[0], name, share[1]), work):
            for case in found:
                if case.status == "failed":
                    show_failure(case)
            cases += found
    return cases


def show_failure(case):
    print(f"FAIL {case.name}")
    for line in case.details.splitlines()[:40]:
        print("  " + line)
    sys.stdout.flush()


def run_e2e(name):
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
        subprocess.run([sys.executable, os.path.join(ROOT, "tests", "e2e", "run.py"), name or "",
                        "--json", report.name], check=False)
        content = report.read()
    if not content:
        return [Case("e2e: the runner", "failed", 0)]
    return [Case(entry["name"], entry["status"], entry["seconds"]) for entry in json.loads(content)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--build", default="build")
    parser.add_argument("--no-e2e", action="store_true")
    parser.add_argument("--program", default="", help="only the test program of this name")
    parser.add_argument("--without-program", default="", help="all test programs but this one")
    parser.add_argument("--program-seconds", type=int, default=0,
                        help="a test program that takes longer is stopped; default: what meson says")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()

    build = os.path.join(ROOT, options.build)
    cases = run_meson_tests(build, options.name, options.jobs, options.program, options.without_program,
                            options.program_seconds)
    passed = sum(case.status == "passed" for case in cases)
    failed = sum(case.status == "failed" for case in cases)
    print(f"cases in {options.build}: {passed} passed, {failed} failed")
    if not options.no_e2e:
        cases += run_e2e(options.name)

    if slowest := sorted(cases, key=lambda case: -case.seconds)[:10]:
        print("slowest:")
    for case in slowest:
        print(f"  {case.seconds:8.3f} s  {case.name}")
    count = {status: sum(case.status == status for case in cases) for status in ("passed", "failed", "skipped")}
    if not count["passed"] + count["failed"]:
        print(f"no test matches {options.name!r}" if options.name else "no test was run")
        print("0 passed, 0 failed")
        return 1
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['passed']} passed, {count['failed']} failed{skipped}")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
