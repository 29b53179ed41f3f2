#!/usr/bin/env python3
"""Packets per node for the same announcements by each way of spreading them: `multicast.py [--nodes N]`.

Real waggled processes in network namespaces on one switch; packets are counted by nftables in each namespace, beside
what the nodes count themselves. The same must hold in every mode: all know everything, nothing invented."""

import argparse
import json
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

from harness.lan import Lan  # noqa: E402
from harness.process import Scratch, wait_for  # noqa: E402

GROUP = "239.255.79.47"


def measure(scratch, mode, options):
    lan = Lan(scratch)
    wire = lan.switch("wire")
    hosts = [lan.host(f"n{i}", (wire, [f"10.9.0.{i}/24"])) for i in range(1, options.nodes + 1)]
    nodes = [lan.node(host, ["10.9.0.1:7947", "10.9.0.2:7947"],
                      {"cluster": {"broadcast": mode}, "log": {"level": "warn"}}) for host in hosts]
    for host in hosts:
        host.count(sent=f"output ip daddr != {GROUP} udp dport 7947", sent_to_group=f"output ip daddr {GROUP}",
                   received="input udp dport 7947")
    for node in nodes:
        node.start()
    names = {node.name for node in nodes}
    for node in nodes:
        wait_for(lambda node=node: node.members() == names - {node.name}, 60, f"{node.name} sees all")
    time.sleep(3)

    def spent(seconds_since):
        counts = [host.counted() for host in hosts]
        seconds = time.monotonic() - seconds_since
        return {key: statistics.mean(count[key] for count in counts) for key in counts[0]}, seconds

    spent(0)
    began = time.monotonic()
    time.sleep(options.seconds)
    idle, idle_seconds = spent(began)
    began = time.monotonic()
    held = {}
    for number in range(options.announcements):
        node = nodes[number % len(nodes)]
        held[node.announce(os.urandom(1500))] = node.name
        time.sleep(0.05)
    for digest, holder in held.items():
        for node in nodes:
            wait_for(lambda node=node, digest=digest, holder=holder: node.knows(digest, holder), 30,
                     f"{node.name} knows {digest}", every=0.05)
    time.sleep(max(0.0, options.seconds - (time.monotonic() - began)))
    busy, busy_seconds = spent(began)
    wait_for(lambda: len({node.api("status")["state_hash"] for node in nodes}) == 1, 30, "all believe the same")
    for node in nodes:
        found = node.api("status")["index"]["digests"]
        if found != len(held):
            raise AssertionError(f"{node.name} has {found} digests of {len(held)}")
    print(json.dumps({
        "name": "announcement_packets", "params": {"nodes": options.nodes, "broadcast": mode,
                                                   "announcements": options.announcements},
        "unit": "packets/s per node", "date": time.strftime("%F"),
        **{"idle_" + key: round(value / idle_seconds, 2) for key, value in idle.items()},
        **{key: round(value / busy_seconds, 2) for key, value in busy.items()}}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--announcements", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--modes", default="unicast,relay,multicast")
    options = parser.parse_args()
    for mode in options.modes.split(","):
        with Scratch("waggle-bench-") as scratch:
            measure(scratch, mode, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
