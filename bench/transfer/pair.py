#!/usr/bin/env python3
"""One blob from a node to another over loopback, beside the least that moving it sealed can cost.

`pair.py [--size GIB] [--runs N] [--files N] [--threads N] [--directory DIR]` starts two waggled; the first holds the
blob, a client that throws its body away pulls it through the second's mirror, which begins each run with an empty
cache. In between bench/transfer/raw_pair.cpp moves the same file: pread, AES-256-GCM, write; read, open, sha256,
pwrite. One JSON line for each of the two (medians), one for their ratio. With --files the blobs are pulled at one
moment, and the raw pair moves the first of them."""

import argparse
import hashlib
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.cluster import make_key, program, to_yaml  # noqa: E402
from harness.lan import unix_get  # noqa: E402
from harness.process import Scratch, private_net, wait_for  # noqa: E402

GiB = 1 << 30
RAW_FLAGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror"]


def rounded(value):
    """Four digits that matter."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def cpu_seconds(process):
    """Of all threads that run; the scheduler counts nanoseconds."""
    total = 0
    tasks = f"/proc/{process.pid}/task"
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def make_blob(path, size):
    """Random bytes, one MiB of them again and again with a counter: nothing here compresses."""
    block = bytearray(os.urandom(1 << 20))
    hashed = hashlib.sha256()
    with open(path, "wb") as file:
        left, number = size, 0
        while left > 0:
            block[:8] = number.to_bytes(8, "little")
            piece = memoryview(block)[:min(left, len(block))]
            hashed.update(piece)
            file.write(piece)
            left, number = left - len(piece), number + 1
    return hashed.hexdigest()


class Node:
    def __init__(self, scratch, name, address, first, key, threads):
        self.scratch, self.name, self.address = scratch, name, address
        self.data = scratch.dir(name, "data")
        self.socket = os.path.join(scratch.dir(name), "s")
        config = {
            "node": {"name": name, "data_dir": self.data},
            "cluster": {"name": "bench", "key_files": [key], "bind": [f"{address}:7947"], "join": [f"{first}:7947"]},
            "mirror": {"bind": [f"{address}:30000"], "default_registry": "registry.test"},
            "ops": {"bind": [], "socket": self.socket},
            "transfer": {"threads": threads},
            "cache": {"max_bytes": "100%", "min_free": "64MiB", "containerd": {"content_store": ""}},
            "kubernetes": {"events": "off"},
            "log": {"level": "warn"},
        }
        self.config = os.path.join(scratch.dir(name), "config.yaml")
        with open(self.config, "w") as file:
            file.write(to_yaml(config) + "\n")

    def start(self):
        self.process = self.scratch.start(self.name, [program("waggled"), "--config", self.config])

    def api(self, path):
        try:
            answer = unix_get(self.socket, f"/api/v1/{path}")
        except OSError:
            return None
        return json.loads(answer.body) if answer.status == 200 else None

    def ready(self):
        try:
            return unix_get(self.socket, "/readyz").status == 200
        except OSError:
            return False

    def empty(self):
        """Ends it and forgets all that it held."""
        self.process.stop()
        for name in ("blobs", "partial", "midstates"):
            shutil.rmtree(os.path.join(self.data, name), ignore_errors=True)


class Client:
    """Asks a mirror for a blob and throws the body away where it lies, in the kernel."""

    def __init__(self, node, digest):
        self.node, self.digest = node, digest
        self.first_byte = None

    def pull(self):
        began = time.monotonic()
        with socket.create_connection((self.node.address, 30000), timeout=60) as connection:
            connection.sendall(f"GET /v2/bench/app/blobs/sha256:{self.digest} HTTP/1.1\r\nHost: bench\r\n"
                               "Connection: close\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096) or self.fail("no answer")
            self.first_byte = time.monotonic() - began
            head, _, rest = head.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                self.fail(head.decode(errors="replace"))
            length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                         .split(b":")[1])
            got, buffer = len(rest), bytearray(4 << 20)
            while got < length:
                got += connection.recv_into(buffer, 0, socket.MSG_TRUNC) or self.fail(f"cut after {got} bytes")

    def fail(self, what):
        raise AssertionError(f"{self.node.name}: {what}")


class Bench:
    def __init__(self, scratch, options):
        self.scratch, self.options = scratch, options
        net = private_net()
        key = os.path.join(scratch.dir("keys"), "cluster.key")
        make_key(key)
        self.giver = Node(scratch, "giver", f"{net}.1", f"{net}.1", key, options.threads)
        self.taker = Node(scratch, "taker", f"{net}.2", f"{net}.1", key, options.threads)
        self.raw = os.path.join(scratch.dir("raw"), "raw_pair")
        subprocess.run(["c++", *RAW_FLAGS, os.path.join(HERE, "raw_pair.cpp"), "-o", self.raw, "-lcrypto"], check=True)
        self.digests = [self._give() for _ in range(options.files)]
        self.facts = {"machine": f"{platform.machine()} {os.cpu_count()} CPUs", "date": time.strftime("%F"),
                      "commit": subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                                               capture_output=True, text=True).stdout.strip()}

    def _give(self):
        """A complete file under its digest's name is a blob of the cache."""
        made = os.path.join(self.scratch.dir("giver"), "made")
        digest = make_blob(made, self.options.size)
        os.chmod(made, 0o444)
        os.makedirs(os.path.dirname(self.path(digest)), exist_ok=True)
        os.replace(made, self.path(digest))
        return digest

    def path(self, digest):
        return os.path.join(self.giver.data, "blobs", "sha256", digest[:2], digest)

    def run(self):
        self.giver.start()
        self.taker.start()
        waggle, raw = [], []
        self._pull()  # the giver makes the list of midstates that it keeps from then on
        for _ in range(self.options.runs):
            self.taker.empty()
            raw.append(self._raw())
            self.taker.start()
            waggle.append(self._pull())
        self._report("waggle", waggle)
        self._report("raw", raw)
        rates = [ours["rate"] / theirs["rate"] for ours, theirs in zip(waggle, raw)]
        self._say("ratio", unit="of the raw pair's rate", value=statistics.median(rates), goal=0.7,
                  met=statistics.median(rates) >= 0.7, spread=[min(rates), max(rates)])

    def _pull(self):
        wait_for(self.taker.ready, 30, "the taker is ready")
        for digest in self.digests:
            wait_for(lambda digest=digest: "giver" in (self.taker.api(f"blobs/sha256:{digest}") or {})
                     .get("holders", []), 30, "the taker knows the holder")
        clients = [Client(self.taker, digest) for digest in self.digests]
        before = [cpu_seconds(node.process) for node in (self.giver, self.taker)]
        began = time.monotonic()
        threads = [threading.Thread(target=client.pull) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        for digest in self.digests:
            wait_for(lambda digest=digest: (self.taker.api(f"blobs/sha256:{digest}") or {}).get("complete"), 30,
                     "the pulled blob is complete")
        after = [cpu_seconds(node.process) for node in (self.giver, self.taker)]
        size = self.options.size * len(self.digests)
        return self._figures(size, seconds, after[0] - before[0], after[1] - before[1],
                             first_byte=clients[0].first_byte)

    def _raw(self):
        destination = os.path.join(self.scratch.dir("raw"), "copy")
        ran = subprocess.run([self.raw, self.path(self.digests[0]), destination], check=True, capture_output=True)
        os.unlink(destination)
        figures = json.loads(ran.stdout)
        if figures["digest"] != "sha256:" + self.digests[0]:
            raise AssertionError("the raw pair's copy is another")
        return self._figures(figures["bytes"], figures["seconds"], figures["send_cpu"], figures["receive_cpu"])

    @staticmethod
    def _figures(size, seconds, send, receive, **more):
        each = GiB / size
        figures = {"rate": size / seconds / 1e9, "send_cpu": send * each, "receive_cpu": receive * each, **more}
        print(json.dumps({name: rounded(value) for name, value in figures.items()}), file=sys.stderr, flush=True)
        return figures

    def _report(self, name, runs):
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rates = [run["rate"] for run in runs]
        more = {"first_byte_s": middle["first_byte"]} if "first_byte" in middle else {}
        self._say(name, unit="GB/s", value=middle["rate"], spread=[min(rates), max(rates)],
                  sender_cpu_s_per_GiB=middle["send_cpu"], receiver_cpu_s_per_GiB=middle["receive_cpu"], **more)

    def _say(self, name, **values):
        values = {key: [rounded(item) for item in value] if isinstance(value, list) else rounded(value)
                  for key, value in values.items()}
        line = {"name": f"transfer_pair/{name}",
                "params": {"size": self.options.size, "files": self.options.files,
                           "threads": self.options.threads, "runs": self.options.runs},
                **values, "load": os.getloadavg()[0], **self.facts}
        print(json.dumps(line), flush=True)
        if self.options.out:
            with open(self.options.out, "a") as file:
                file.write(json.dumps(line) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=lambda text: int(float(text) * GiB), default=4 * GiB, metavar="GIB",
                        help="of a blob [GiB], default 4")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--files", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="transfer.threads of both nodes")
    parser.add_argument("--directory", default="/dev/shm", help="where all data lies, default /dev/shm")
    parser.add_argument("--out", help="append the lines to this file too")
    options = parser.parse_args()
    tempfile.tempdir = options.directory
    with Scratch(prefix="waggle-pair-", keep_logs_in=os.environ.get("WAGGLE_PAIR_LOGS")) as scratch:
        Bench(scratch, options).run()


if __name__ == "__main__":
    main()
