#!/usr/bin/env python3
"""Real waggled processes on one machine: joining, announcements, lookups, sudden deaths, idle cost.

`cluster100.py [--nodes N] [--announcements N] [--idle SECONDS] [--broadcast MODE]` prints one JSON line for each of
them. Everything is on loopback with an address per node and data on tmpfs, and is seen from outside: unix sockets for
reading, each node's mirror for putting content in. What the observer itself costs is in the numbers."""

import argparse
import http.client
import json
import math
import os
import platform
import random
import re
import select
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.cluster import make_key, program, to_yaml  # noqa: E402
from harness.lan import Blobs, unix_socket_request  # noqa: E402
from harness.process import Scratch, private_net, wait_for  # noqa: E402

def quantile(values, share):
    """Of the sorted values, the one below which `share` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def rounded(value):
    """Four digits that matter."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Reader:
    """One connection to a node's unix socket, kept open; requests and answers of known length."""

    def __init__(self, path):
        self._path = path
        self._connect()

    def _connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)
        self._rest = b""

    def fileno(self):
        return self.sock.fileno()

    def ask(self, path):
        self.sock.sendall(unix_socket_request(path))

    def answer(self):
        """(status, body) of the oldest request; blocks."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, body = self._rest.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
        while len(body) < length:
            self._more()
            head, _, body = self._rest.partition(b"\r\n\r\n")
        self._rest = body[length:]
        return int(head.split(b" ", 2)[1]), body[:length]

    def _more(self):
        block = self.sock.recv(1 << 20)
        if not block:
            raise ConnectionError(f"{self._path} closed")
        self._rest += block

    def get(self, path):
        self.ask(path)
        return self.answer()

    def json(self, path):
        status, body = self.get(path)
        return json.loads(body) if status == 200 else None


class Bench:
    def __init__(self, scratch, options):
        self.scratch, self.options = scratch, options
        self.net = private_net()
        self.blobs = Blobs(scratch, f"{self.net}.250:0")
        self.key = os.path.join(scratch.dir("keys"), "cluster.key")
        make_key(self.key)
        self.nodes = [self._configure(i) for i in range(options.nodes)]
        self.facts = {"machine": f"{platform.machine()} {os.cpu_count()} CPUs", "date": time.strftime("%F"),
                      "commit": subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                                               capture_output=True, text=True).stdout.strip()}

    def _configure(self, number):
        name, address = f"n{number}", f"{self.net}.{1 + number}"
        home = self.scratch.dir(name)
        config = {
            "node": {"name": name, "data_dir": self.scratch.dir(name, "data")},
            "cluster": {"name": "bench", "key_files": [self.key], "bind": [f"{address}:7947"],
                        "join": [f"{self.net}.1:7947", f"{self.net}.2:7947"],
                        "broadcast": self.options.broadcast},
            "upstream": {"allow_local": [f"{self.net}.250"],
                         "registries": {"registry.test": {"endpoint": f"http://{self.net}.250:{self.blobs.port}"}}},
            "mirror": {"bind": [f"{address}:30000"], "default_registry": "registry.test"},
            "ops": {"bind": [], "socket": os.path.join(home, "s")},
            "transfer": {"threads": 1},
            "cache": {"max_bytes": "64MiB", "min_free": "64MiB", "containerd": {"content_store": ""}},
            "kubernetes": {"events": "off"},
            "log": {"level": "warn"},
        }
        path = os.path.join(home, "config.yaml")
        with open(path, "w") as file:
            file.write(to_yaml(config) + "\n")
        return {"name": name, "address": address, "config": path, "socket": os.path.join(home, "s")}

    def say(self, name, **values):
        line = {"name": name, "params": {"nodes": len(self.nodes), "broadcast": self.options.broadcast},
                **{key: rounded(value) for key, value in values.items()}, **self.facts}
        print(json.dumps(line), flush=True)
        if self.options.out:
            with open(self.options.out, "a") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def start(self):
        began = time.monotonic()
        for node in self.nodes:
            node["process"] = self.scratch.start(node["name"], [program("waggled"), "--config", node["config"]])
        started = time.monotonic() - began
        waiting = {node["name"]: node for node in self.nodes}

        def all_see_all():
            for name in list(waiting):
                node = waiting[name]
                try:
                    if "reader" not in node:
                        node["reader"] = Reader(node["socket"])
                    if node["reader"].json("/api/v1/status")["members"]["alive"] == len(self.nodes):
                        del waiting[name]
                except (OSError, TypeError):
                    pass
            return not waiting

        wait_for(all_see_all, 180, "all see all", every=0.05)
        whole = time.monotonic() - began
        self.say("all_see_all", unit="s", value=whole, processes_started=started, goal=15)

    def put(self, node, size=2000):
        """New content into the cluster through the node's mirror; (digest, when the last byte had come)."""
        content = os.urandom(size)
        digest = self.blobs.add(content)
        connection = http.client.HTTPConnection(node["address"], 30000, timeout=20)
        connection.request("GET", f"/v2/bench/app/blobs/{digest}")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200 or body != content:
            raise AssertionError(f"{node['name']}: {answer.status} for new content")
        return digest, time.monotonic()

    def spread(self, digest, origin):
        """Seconds after the origin itself names the blob complete, per other node, until it knows the holder."""
        path = f"/api/v1/blobs/{digest}"
        while not (origin["reader"].json(path) or {}).get("complete"):
            pass
        began = time.monotonic()
        others = [node for node in self.nodes if node is not origin]
        poller, by_fd, when = select.epoll(), {}, {}
        for node in others:
            by_fd[node["reader"].fileno()] = node
            poller.register(node["reader"].fileno(), select.EPOLLIN)
            node["reader"].ask(path)
        while len(when) < len(others) and time.monotonic() - began < 60:
            for fd, _ in poller.poll(1):
                node = by_fd[fd]
                status, body = node["reader"].answer()
                if status == 200 and origin["name"] in json.loads(body)["holders"]:
                    when[node["name"]] = time.monotonic() - began
                    poller.unregister(fd)
                else:
                    node["reader"].ask(path)
        poller.close()
        if len(when) < len(others):
            raise AssertionError(f"{digest} is known to {len(when)} of {len(others)} after 60 s")
        return sorted(when.values())

    def announcements(self):
        at_99, last, all_lags = [], [], []
        for _ in range(self.options.announcements):
            origin = random.choice(self.nodes)
            digest, _ = self.put(origin)
            lags = self.spread(digest, origin)
            at_99.append(quantile(lags, 0.99))
            last.append(lags[-1])
            all_lags += lags
            time.sleep(random.uniform(0.1, 0.3))  # otherwise the cluster is never idle
        self.say("announcement_at_99_percent", unit="s", value=statistics.mean(at_99), p50=quantile(at_99, 0.5),
                 p99=quantile(at_99, 0.99), samples=len(at_99), last_node_p99=quantile(last, 0.99),
                 any_node_p50=quantile(all_lags, 0.5))

    def discovery(self):
        """"Who has it?" over the API of a node that does not have it."""
        rows = {"hit, just announced": [], "hit, settled": [], "miss": []}
        settled = []
        for _ in range(self.options.announcements):
            origin, asker = random.sample(self.nodes, 2)
            digest, _ = self.put(origin)
            began = time.monotonic()
            while origin["name"] not in (asker["reader"].json(f"/api/v1/blobs/{digest}") or {}).get("holders", []):
                pass
            rows["hit, just announced"].append(time.monotonic() - began)
            settled.append((digest, origin["name"]))
        time.sleep(3)
        for digest, holder in settled * 4:
            asker = random.choice([node for node in self.nodes if node["name"] != holder])
            began = time.monotonic()
            found = asker["reader"].json(f"/api/v1/blobs/{digest}")
            rows["hit, settled"].append(time.monotonic() - began)
            assert holder in found["holders"], (digest, found)
            began = time.monotonic()
            status, _ = asker["reader"].get("/api/v1/blobs/sha256:" + os.urandom(32).hex())
            rows["miss"].append(time.monotonic() - began)
            assert status == 404
        for what, values in rows.items():
            self.say("discovery", what=what, unit="s", samples=len(values), min=min(values), mean=statistics.mean(values),
                     max=max(values), deviation=statistics.stdev(values))
        self.lookups()

    def lookups(self):
        """What the nodes themselves measured of their lookups so far."""
        for result in ("hit", "miss"):
            count = seconds = 0.0
            for node in self.nodes:
                text = node["reader"].get("/metrics")[1].decode()
                for part, pattern in (("count", r"_count"), ("sum", r"_sum")):
                    found = re.search(rf'(?m)^waggle_lookup_seconds{pattern}{{result="{result}"}} (\S+)', text)
                    value = float(found[1]) if found else 0.0
                    count, seconds = (count + value, seconds) if part == "count" else (count, seconds + value)
            if count:
                self.say("lookup_inside", what=result, unit="s", samples=int(count), mean=seconds / count)

    def _cpu_seconds(self):
        """Of all threads; the scheduler counts nanoseconds."""
        total = 0
        for node in self.nodes:
            tasks = f"/proc/{node['process'].pid}/task"
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def _gossip(self):
        """(packets sent, bytes sent) of all nodes."""
        packets = sent = 0
        for node in self.nodes:
            text = node["reader"].get("/metrics")[1].decode()
            packets += float(re.search(r'(?m)^waggle_gossip_packets_total\{dir="tx"\} (\S+)', text)[1])
            sent += float(re.search(r"(?m)^waggle_gossip_tx_bytes_total (\S+)", text)[1])
        return packets, sent

    def idle(self):
        time.sleep(3)
        packets, sent = self._gossip()
        before, began = self._cpu_seconds(), time.monotonic()
        time.sleep(self.options.idle)
        seconds = time.monotonic() - began
        cpu = (self._cpu_seconds() - before) / seconds
        packets_after, sent_after = self._gossip()
        resident = []
        for node in self.nodes:
            with open(f"/proc/{node['process'].pid}/status") as file:
                resident.append(int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024)
        count = len(self.nodes)
        self.say("idle_cpu_all_together", unit="share of one core", value=cpu, seconds=seconds, goal=0.2)
        self.say("idle_gossip_per_node", unit="packets/s", value=(packets_after - packets) / seconds / count,
                 bytes_per_second=(sent_after - sent) / seconds / count)
        self.say("resident", unit="MiB", value=statistics.mean(resident), max=max(resident), sum=sum(resident))

    def deaths(self):
        """Ten killed at once, which all held a blob of their own: when each survivor has none of them any more."""
        victims = random.sample(self.nodes, min(10, len(self.nodes) // 3))
        digests = {}
        for node in victims:
            digests[node["name"]], _ = self.put(node)
            self.spread(digests[node["name"]], node)
        survivors = [node for node in self.nodes if node not in victims]
        for node in victims:
            os.kill(node["process"].pid, 9)
        began = time.monotonic()
        missing = {(node["name"], name): node for node in survivors for name in digests}
        when = []
        while missing and time.monotonic() - began < 60:
            for (survivor, name), node in list(missing.items()):
                if node["reader"].get(f"/api/v1/blobs/{digests[name]}")[0] == 404:
                    when.append(time.monotonic() - began)
                    del missing[survivor, name]
            time.sleep(0.2)
        if missing:
            raise AssertionError(f"{len(missing)} facts about the dead are left after 60 s")
        alive = [node["reader"].json("/api/v1/status")["members"] for node in survivors]
        self.say("ten_killed_gone_from_every_index", unit="s", value=max(when), p50=quantile(when, 0.5),
                 p99=quantile(when, 0.99), killed=len(victims), goal_p99=14,
                 wrongly_lost=sum(members["alive"] != len(survivors) for members in alive))
        self.nodes = survivors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--announcements", type=int, default=100)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--broadcast", default="auto")
    parser.add_argument("--only", default="start announcements discovery idle deaths")
    parser.add_argument("--out", help="append the lines there too")
    options = parser.parse_args()
    if not 2 <= options.nodes <= 200:
        parser.error("--nodes: 2 to 200")
    os.environ["TMPDIR"] = "/dev/shm"
    with Scratch("waggle-bench-") as scratch:
        bench = Bench(scratch, options)
        bench.start()
        for part in ("announcements", "discovery", "idle", "deaths"):
            if part in options.only.split():
                getattr(bench, part)()
        for node in bench.nodes:  # at once, not one after the other
            node["process"].signal(9)
    return 0


if __name__ == "__main__":
    sys.exit(main())
