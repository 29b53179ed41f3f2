#!/usr/bin/env python3
"""`./dev mutants [name]`: applies each tests/mutants/*.patch to a copy of the tree, builds it and runs the test
its header names (`# test: NAME`). The test must turn red; a mutant that survives is a hole in the tests."""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, "build", "mutants")


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


def run(*command):
    return subprocess.run(command, cwd=COPY, capture_output=True, text=True)


def verdict(patch):
    """None when the named test turned red, else what happened instead."""
    with open(patch) as file:
        wanted = re.search(r"^# test: (.+)$", file.read(), re.M)
    if not wanted:
        return "has no line `# test: NAME`"
    refresh_copy()
    applied = run("patch", "-p1", "--no-backup-if-mismatch", "-i", patch)
    if applied.returncode:
        return "does not apply: " + applied.stdout.strip()
    if not os.path.exists(os.path.join(COPY, "build", "build.ninja")):
        run("meson", "setup", "build")
    built = run("ninja", "-C", "build")
    if built.returncode:
        return "does not build:\n" + built.stdout[-1500:]
    tested = run(sys.executable, "dev.d/run_tests.py", "--no-e2e", wanted.group(1).strip())
    if re.search(r"^0 passed, 0 failed", tested.stdout, re.M):
        return f"no test matches {wanted.group(1)!r}"
    return None if tested.returncode else f"survives {wanted.group(1)!r}"


def main():
    folder = os.path.join(ROOT, "tests", "mutants")
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    patches = sorted(entry for entry in os.listdir(folder) if entry.endswith(".patch") and name in entry)
    passed = failed = 0
    for entry in patches:
        problem = verdict(os.path.join(folder, entry))
        print(f"{'FAIL' if problem else 'PASS'} mutant {entry}" + (f": {problem}" if problem else ""), flush=True)
        passed, failed = passed + (not problem), failed + bool(problem)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
