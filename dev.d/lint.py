#!/usr/bin/env python3
"""`./dev lint`: format, the star of includes, file rules, clang-tidy. `--self-test` plants one violation per
rule in a copy of the tree and wants each to be seen. Ends with `N passed, N failed`, one per rule."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".deps", "venv", "bin")
SPOKES = ("gossip", "transfer", "cache", "mirror", "k8s", "objects", "ops")
CORES_ONLY = ("tests/sim", "tests/scenario", "bench/sim")
LINES_MAX = 600

# What only *_driver files may touch: the network, threads, clocks, files, the machine's randomness.
WORLD_INCLUDES = re.compile(
    r"(boost/(asio|beast)[/.]|(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier|"
    r"stop_token|fstream|filesystem|unistd\.h|fcntl\.h|sys/[a-z_]+\.h|net/if\.h|netdb\.h|"
    r"poll\.h|pthread\.h|dirent\.h)$)")
WORLD_CALLS = re.compile(
    r"((steady|system|high_resolution|utc|file)_clock\b|std::random_device\b|\b(sleep_for|sleep_until|usleep|nanosleep|"
    r"clock_gettime|gettimeofday)\s*\(|(?<![\w>])::time\s*\(|\b(fopen|freopen|tmpfile)\s*\(|(?<![\w>])::(open|read|write|fsync|pread|"
    r"pwrite|unlink|rename|socket|fork)\s*\(|std::(this_thread|thread|jthread|async|mutex|ofstream|ifstream|"
    r"filesystem)\b)")
FORBIDDEN_WORDS = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK", "T" + "BD", "W" + "IP", "lorem ip" + "sum"])
    + r")\b|\b(for n" + "ow|place" + "holder|dum" + "my|not yet impl" + "emented|temporary ha" + r"ck)\b", re.ASCII)
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
TIDY_FOLDERS = ("src/", "tests/sim/", "bench/")  # unit tests and scenarios join with --tidy-all: minutes more
CODE, TEXT_SKIP = (".cpp", ".hpp"), (".png", ".jpg", ".tgz", ".gz", ".bin")


class Tree:
    """The tracked and new files of one checkout, read once."""

    def __init__(self, root):
        self.root = root
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
        self.files = sorted({name for name in listed if name and os.path.isfile(os.path.join(root, name))})
        self._text = {}

    def text(self, name):
        if name not in self._text:
            with open(os.path.join(self.root, name), encoding="utf-8", errors="replace") as file:
                self._text[name] = file.read()
        return self._text[name]

    def code(self, *folders):
        return [name for name in self.files if name.endswith(CODE) and
                (not folders or any(name.startswith(folder + "/") for folder in folders))]

    def includes(self, name):
        for number, line in enumerate(self.text(name).splitlines(), 1):
            if match := INCLUDE.match(line):
                yield number, match.group(1)


def without_comments_and_strings(text):
    """The same number of lines, comments and literals blanked."""
    def blank(match):
        return "\n" * match.group(0).count("\n") if match.group(0).startswith(("/", '"')) else " "
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"', blank, text, flags=re.S)


def is_driver(name):
    return os.path.splitext(os.path.basename(name))[0].endswith("_driver")


def is_core(name):
    """A file that may not touch the world: base, every spoke, node/distributor."""
    parts = name.split("/")
    if parts[0] != "src" or is_driver(name):
        return False
    return parts[1] in ("base", *SPOKES) or (parts[1] == "node" and parts[2].startswith("distributor"))


def rule_format(tree):
    """every C++ file is as clang-format leaves it"""
    files = tree.code()
    if not files:
        return []
    ran = subprocess.run([os.path.join(VENV, "clang-format"), "--dry-run", "--Werror", *files], cwd=tree.root,
                         capture_output=True, text=True)
    found = sorted({line.split(":")[0] for line in ran.stderr.splitlines() if ": error:" in line})
    if ran.returncode and not found:
        return [ran.stderr.strip()]
    return [f"{name}: run ./dev fmt" for name in found]


def rule_spokes(tree):
    """base includes only base, spokes include only base and themselves"""
    found = []
    for name in tree.code("src"):
        folder = name.split("/")[1]
        if folder not in ("base", "cli", *SPOKES):
            continue
        for number, target in tree.includes(name):
            other = target.split("/")[0]
            if os.path.isdir(os.path.join(tree.root, "src", other)) and "/" in target and \
                    other not in ("base", folder):
                found.append(f"{name}:{number}: {folder} includes {target}")
    return found


def rule_world(tree):
    """only *_driver files touch sockets, threads, clocks and files"""
    found = []
    for name in filter(is_core, tree.code("src")):
        for number, target in tree.includes(name):
            if WORLD_INCLUDES.match(target):
                found.append(f"{name}:{number}: includes {target}")
        for number, line in enumerate(without_comments_and_strings(tree.text(name)).splitlines(), 1):
            if match := WORLD_CALLS.search(line):
                found.append(f"{name}:{number}: uses {match.group(0).strip()}")
    return found


def rule_cores_include_no_driver(tree):
    """cores, the simulator, its scenarios and sim benches include no driver"""
    files = [name for name in tree.code("src") if is_core(name)] + tree.code(*CORES_ONLY)
    return [f"{name}:{number}: includes {target}" for name in files for number, target in tree.includes(name)
            if is_driver(target) or (name.startswith(CORES_ONLY) and re.match(r"boost/(asio|beast)", target))]


def rule_length(tree):
    """no source file is longer than 600 lines"""
    names = [name for name in tree.files if name.endswith((*CODE, ".py", ".sh")) or name == "dev"]
    return [f"{name}: {count} lines" for name in names
            if (count := tree.text(name).count("\n")) > LINES_MAX]


def rule_leading_comment(tree):
    """every C++ file opens with a // comment that says what it is"""
    return [f"{name}:1: no leading // comment" for name in tree.code()
            if not re.match(r"// \S", tree.text(name))]


def rule_words(tree):
    """no words that promise work instead of doing it"""
    found = []
    for name in tree.files:
        if name.endswith(TEXT_SKIP) or name in ("LICENSE", "dev.d/lint.py"):
            continue
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            if match := FORBIDDEN_WORDS.search(line):
                found.append(f"{name}:{number}: '{match.group(0)}'")
    return found


def rule_whitespace(tree):
    """no TAB, no trailing blank, a newline at the end"""
    found = []
    for name in tree.files:
        if name.endswith((*TEXT_SKIP, ".patch")) or name == "LICENSE":
            continue
        for number, line in enumerate(tree.text(name).splitlines(), 1):
            if "\t" in line and not name.endswith((".go", "go.mod")):  # gofmt wants them
                found.append(f"{name}:{number}: TAB")
            if line != line.rstrip():
                found.append(f"{name}:{number}: trailing blank")
        if tree.text(name) and not tree.text(name).endswith("\n"):
            found.append(f"{name}: no newline at the end")
    return found


def rule_wraps(tree):
    """every wrap carries a hash"""
    return [f"{name}: no source_hash" for name in tree.files
            if re.fullmatch(r"subprojects/[^/]+\.wrap", name) and
            not re.search(r"^source_hash = [0-9a-f]{64}$", tree.text(name), re.M)]


def rule_mutants(tree):
    """every mutant applies"""
    found = []
    for name in tree.files:
        if re.fullmatch(r"tests/mutants/[^/]+\.patch", name):
            ran = subprocess.run(["patch", "--dry-run", "-f", "-p1", "-i", name], cwd=tree.root, capture_output=True, text=True)
            if ran.returncode != 0:
                found.append(f"{name}: {ran.stdout.strip().splitlines()[-1]}")
    return found


class Tidy:
    """clang-tidy over compile_commands.json; a file is checked again only when it or what it includes changed."""

    def __init__(self, tree, build):
        self._tree, self._build = tree, os.path.join(tree.root, build)
        self._cache = os.path.join(self._build, ".tidy-cache")
        os.makedirs(self._cache, exist_ok=True)
        self._digests = {}
        self._deps = self._read_deps()

    def _read_deps(self):
        """object file -> headers of this tree, from ninja's own log"""
        listed = subprocess.run(["ninja", "-C", self._build, "-t", "deps"], capture_output=True, text=True).stdout
        deps, current = {}, None
        for line in listed.splitlines():
            if line and not line.startswith((" ", "ninja:")):
                current = deps.setdefault(line.split(": #")[0], [])
            elif line.strip() and current is not None:
                path = os.path.normpath(os.path.join(self._build, line.strip()))
                if path.startswith(self._tree.root + "/"):
                    current.append(path)
        return deps

    def _digest(self, path):
        if path not in self._digests:
            with open(path, "rb") as file:
                self._digests[path] = hashlib.sha256(file.read()).hexdigest()
        return self._digests[path]

    def _key(self, entry):
        """None when ninja has not built the object: then it is checked for sure."""
        headers = self._deps.get(entry["output"])
        if headers is None:
            return None
        config = os.path.join(self._tree.root, ".clang-tidy")
        parts = [entry["command"], *(self._digest(path) for path in [config, *sorted(headers)] if
                                     os.path.exists(path))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def entries(self, everything):
        with open(os.path.join(self._build, "compile_commands.json")) as file:
            for entry in json.load(file):
                path = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
                name = os.path.relpath(path, self._tree.root)
                if name in self._tree.files and (everything or name.startswith(TIDY_FOLDERS)):
                    yield path, entry

    def check(self, path, entry):
        """The findings in one file."""
        key = self._key(entry)
        stamp = os.path.join(self._cache, key) if key else None
        if stamp and os.path.exists(stamp):
            return []
        ran = subprocess.run([os.path.join(VENV, "clang-tidy"), "-p", self._build, "--quiet", path],
                             capture_output=True, text=True)
        if ran.returncode == 0:
            if stamp:
                open(stamp, "w").close()
            return []
        errors = [line.replace(self._tree.root + "/", "") for line in ran.stdout.splitlines() if " error: " in line]
        return errors or [f"{os.path.relpath(path, self._tree.root)}: clang-tidy exited {ran.returncode}: "
                          f"{ran.stderr.strip()[-300:]}"]


def rule_tidy(tree, build="build", everything=False):
    """clang-tidy finds nothing"""
    if not os.path.exists(os.path.join(tree.root, build, "compile_commands.json")):
        return [f"{build}/compile_commands.json is missing: run ./dev build first"]
    tidy = Tidy(tree, build)
    found = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for findings in pool.map(lambda pair: tidy.check(*pair), tidy.entries(everything)):
            found.update(findings)
    return sorted(found)


RULES = (rule_format, rule_spokes, rule_world, rule_cores_include_no_driver, rule_length, rule_leading_comment,
         rule_words, rule_whitespace, rule_wraps, rule_mutants, rule_tidy)

# One planted violation per rule: file, text, and what the finding has to name.
PLANTED = (
    (rule_format, "src/base/planted.cpp", "// p\nint   f( );\n", "planted.cpp"),
    (rule_spokes, "src/gossip/planted.hpp", '// p\n#include "transfer/claims.hpp"\n', "planted.hpp:2"),
    (rule_spokes, "src/base/planted.hpp", '// p\n#include "gossip/gossip.hpp"\n', "planted.hpp:2"),
    (rule_world, "src/cache/planted.cpp", "// p\n#include <fstream>\n", "fstream"),
    (rule_world, "src/transfer/planted.cpp", "// p\n#include <boost/asio.hpp>\n", "asio"),
    (rule_world, "src/gossip/planted.cpp", "// p\nauto t = std::chrono::steady_clock::now();\n", "steady_clock"),
    (rule_world, "src/base/planted.cpp", "// p\nstd::random_device seed;\n", "random_device"),
    (rule_world, "src/base/planted.cpp", "// p\nint fd = ::open(path, 0);\n", "::open"),
    (rule_world, "src/node/distributor_planted.cpp", "// p\n#include <thread>\n", "thread"),
    (rule_cores_include_no_driver, "tests/sim/planted.cpp", '// p\n#include "gossip/udp_driver.hpp"\n', "udp_driver"),
    (rule_length, "src/base/planted.hpp", "// p\n" * 601, "601"),
    (rule_leading_comment, "src/base/planted.hpp", "#pragma once\n", "planted.hpp"),
    (rule_words, "docs/planted.md", "This is fine " + "for n" + "ow.\n", "planted.md:1"),
    (rule_words, "src/base/planted.hpp", "// TO" + "DO: all of it\n", "planted.hpp:1"),
    (rule_whitespace, "docs/planted.md", "a\tb\n", "TAB"),
    (rule_whitespace, "docs/planted.md", "a \n", "trailing"),
    (rule_wraps, "subprojects/planted.wrap", "[wrap-file]\n", "planted.wrap"),
    (rule_mutants, "tests/mutants/planted.patch", "--- a/src/a.hpp\n+++ b/src/a.hpp\n@@ -1 +1 @@\n-a\n+b\n", "planted.patch"),
)
HARMLESS = (
    (rule_world, "src/gossip/planted.cpp", '// steady_clock::now() is told\nauto s = "std::thread";\n'),
    (rule_world, "src/cache/planted_driver.cpp", "// p\n#include <fstream>\n"),
    (rule_world, "src/gossip/planted.cpp", "// p\nauto p = crypto::open(box);\n"),
    (rule_spokes, "src/node/planted.cpp", '// p\n#include "gossip/gossip.hpp"\n'),
)


def plant(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def self_test_tidy(root):
    """clang-tidy is really there and stops at a real mistake."""
    path = plant(root, "planted.cpp", "#include <string>\n#include <utility>\nstd::size_t f(std::string s) {\n"
                                      "  std::string t = std::move(s);\n  return s.size() + t.size();\n}\n")
    shutil.copy(os.path.join(ROOT, ".clang-tidy"), root)
    ran = subprocess.run([os.path.join(VENV, "clang-tidy"), "--quiet", path, "--", "-std=c++20"],
                         capture_output=True, text=True)
    os.remove(path)
    return ran.returncode != 0 and "bugprone-use-after-move" in ran.stdout


def self_test():
    """[what failed]: each planted violation must be found, the harmless neighbours must not."""
    failures = []
    with tempfile.TemporaryDirectory(prefix="waggle-lint-") as root:
        subprocess.run(["git", "init", "-q", root], check=True)
        for folder in ("base", "node", "cli", *SPOKES):
            os.makedirs(os.path.join(root, "src", folder))
        shutil.copy(os.path.join(ROOT, ".clang-format"), root)
        for rule, name, text, names in PLANTED:
            path = plant(root, name, text)
            if not any(names in finding for finding in rule(Tree(root))):
                failures.append(f"{rule.__name__} does not see {text.strip()[:60]!r} in {name}")
            os.remove(path)
        for rule, name, text in HARMLESS:
            path = plant(root, name, text)
            if found := rule(Tree(root)):
                failures.append(f"{rule.__name__} objects to {name}: {found}")
            os.remove(path)
        if not self_test_tidy(root):
            failures.append("clang-tidy does not see a use after move")
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--self-test", action="store_true", help="only the lint's own test")
    parser.add_argument("--build", default="build", help="where compile_commands.json is")
    parser.add_argument("--no-tidy", action="store_true", help="leave clang-tidy out")
    parser.add_argument("--tidy-all", action="store_true", help="clang-tidy for unit tests and scenarios too")
    parser.add_argument("--root", default=ROOT)
    options = parser.parse_args()

    passed = failed = 0
    tree = Tree(os.path.abspath(options.root))
    checks = [] if options.self_test else [(rule.__doc__.strip(), rule) for rule in RULES]
    for text, rule in [*checks, ("the lint finds every planted violation", None)]:
        if rule is rule_tidy and options.no_tidy:
            continue
        began = time.monotonic()
        if rule is rule_tidy:
            found = rule_tidy(tree, options.build, options.tidy_all)
        else:
            found = rule(tree) if rule else self_test()
        took = time.monotonic() - began
        print(f"{'FAIL' if found else 'PASS'} lint: {text}" + (f" ({took:.0f} s)" if took >= 1 else ""), flush=True)
        for finding in found[:40]:
            print("  " + finding)
        if len(found) > 40:
            print(f"  ... and {len(found) - 40} more")
        passed, failed = passed + (not found), failed + bool(found)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
