#!/usr/bin/env python3
"""`./dev mutants [name]`: applies each tests/mutants/*.patch to a copy of the tree, builds what its test needs and runs
it. The test is green before the patch and must be red with it; a mutant that survives is a hole in the tests.

Lines at a patch's head:
  # test: transfer/proof                       suite or case, as `./dev test` takes it
  # target: tests/unit/transfer/unit_transfer  its program; default: the unit tests of the suite's folder, or scenario
  # e2e: words of a case                       instead of both, where no unit test can see the difference
"""

import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, "build", "mutants")
PROGRAMS = os.path.join(COPY, "build", "build.ninja")
# The copy's objects are those of the tree wherever nothing was changed.
ENVIRONMENT = {**os.environ, "CCACHE_BASEDIR": COPY, "CCACHE_NOHASHDIR": "1"}
TEST_SECONDS_MAX = 900


def refresh_copy():
    """The tracked and new files as they are now; the copy's build directory stays, so rebuilds are small."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        source, target = os.path.join(ROOT, name), os.path.join(COPY, name)
        if not os.path.isfile(source):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(source, "rb") as file:
            content = file.read()
        if not os.path.exists(target) or open(target, "rb").read() != content:
            shutil.copy(source, target)
    if not os.path.exists(os.path.join(COPY, ".deps")):
        os.symlink(os.path.join(ROOT, ".deps"), os.path.join(COPY, ".deps"))
    if not os.path.exists(PROGRAMS):
        run("meson", "setup", "build")


def run(*command):
    try:
        return subprocess.run(command, cwd=COPY, capture_output=True, text=True, errors="replace", env=ENVIRONMENT,
                              timeout=TEST_SECONDS_MAX)
    except subprocess.TimeoutExpired as late:
        return subprocess.CompletedProcess(command, 1, "0 passed, 1 failed: did not end in time", str(late))


class Mutant:
    def __init__(self, path):
        self.path = path
        with open(path) as file:
            self.fields = dict(re.findall(r"^# (test|target|e2e): (.+?)\s*$", file.read(), re.M))

    def targets(self):
        """What ninja has to build: as little as the header allows."""
        if "e2e" in self.fields:
            return ["waggled", "waggle"]
        if "target" in self.fields:
            return [self.fields["target"]]
        folder = self.fields["test"].split("/")[0]
        with open(PROGRAMS) as file:
            known = file.read()
        guesses = ["tests/scenario/scenario"] if folder == "scenario" else [
            f"tests/unit/{folder}/unit_{folder}", f"tests/unit/{folder}/unit_{folder}_driver"]
        return [guess for guess in guesses if f"build {guess}:" in known] or ["all"]

    def build(self):
        built = run("ninja", "-C", "build", "-j", os.environ.get("WAGGLE_JOBS", str(os.cpu_count())), *self.targets())
        return built.stdout[-1500:] if built.returncode else None

    def failures(self):
        """How many of the named tests are red; None when no test has that name."""
        if "e2e" in self.fields:
            ran = run(sys.executable, "tests/e2e/run.py", self.fields["e2e"])
            verdicts = re.findall(r"^(PASS|FAIL) ", ran.stdout, re.M)
            return verdicts.count("FAIL") if verdicts else None
        programs = [os.path.basename(target).removeprefix("unit_") for target in self.targets()]
        program = [f"--program={programs[0]}"] if len(programs) == 1 and programs != ["all"] else []
        ran = run(sys.executable, "dev.d/run_tests.py", "--no-e2e", *program, self.fields["test"])
        counts = re.findall(r"^(\d+) passed, (\d+) failed", ran.stdout, re.M)
        passed, failed = map(int, counts[-1]) if counts else (0, 0)
        return failed if passed + failed else None

    def key(self):
        return tuple(sorted(self.fields.items()))


GREEN = {}


def green_before(mutant):
    """None when the tests pass on the unchanged tree, asked once per test."""
    if mutant.key() not in GREEN:
        GREEN[mutant.key()] = mutant.build() or {None: "no test has that name", 0: None}.get(
            mutant.failures(), "its test fails without it")
    return GREEN[mutant.key()]


def verdict(mutant):
    """None when the named test turned red, else what happened instead."""
    if "test" not in mutant.fields and "e2e" not in mutant.fields:
        return "has no line `# test: NAME`"
    refresh_copy()
    if problem := green_before(mutant):
        return problem
    applied = run("patch", "-p1", "--no-backup-if-mismatch", "-i", mutant.path)
    if applied.returncode:
        return "does not apply: " + applied.stdout.strip()
    if broken := mutant.build():
        return "does not build:\n" + broken
    return None if mutant.failures() else "survives"


def main():
    folder = os.path.join(ROOT, "tests", "mutants")
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    patches = sorted(entry for entry in os.listdir(folder) if entry.endswith(".patch") and name in entry)
    passed = failed = 0
    for entry in patches:
        began = time.monotonic()
        problem = verdict(Mutant(os.path.join(folder, entry)))
        print(f"{'FAIL' if problem else 'PASS'} mutant {entry} ({time.monotonic() - began:.0f} s)"
              + (f": {problem}" if problem else ""), flush=True)
        passed, failed = passed + (not problem), failed + bool(problem)
    refresh_copy()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
