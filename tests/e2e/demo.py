#!/usr/bin/env python3
"""`./dev demo`: five nodes pull one image at one moment; then the registry goes, and a sixth pulls from peers.

Everything it starts is its own: a registry on loopback, six waggled on 127.0.0.11 to .16, one client each.
It ends all of it and removes its files, also when interrupted. Exit code 0 = every promise below was kept."""

import argparse
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness.clients import Containerd, Skopeo  # noqa: E402
from harness.cluster import ROOT, Cluster  # noqa: E402
from harness.flash_crowd import checks, flash_crowd, make_clients, release  # noqa: E402
from harness.image import MIB, make_image  # noqa: E402
from harness.process import Scratch  # noqa: E402
from harness.registry import Registry  # noqa: E402

RATE = 40_000_000
LOGS = os.path.join(ROOT, "build", "demo-logs")
LAYERS = [100 * MIB, 40 * MIB, 24 * MIB, 20 * MIB, 10 * MIB, 6 * MIB]


def mib(size):
    return f"{size / MIB:9.1f}"


def stop(number, _frame):
    raise SystemExit(128 + number)


def table(results):
    print("   node    seconds   local MiB   peers MiB   upstream MiB")
    for node in results:
        print(f"   {node.name:<6} {node.seconds:8.1f}   {mib(node.local)}   {mib(node.peer)}      {mib(node.upstream)}")


class Promises:
    """Counts what was kept and prints each line as it is judged."""

    def __init__(self):
        self.passed = self.failed = 0

    def judge(self, text, kept):
        print(f"   {'kept  ' if kept else 'BROKEN'} {text}")
        self.passed, self.failed = self.passed + bool(kept), self.failed + (not kept)


def crowd(cluster, clients, image, registry, promises):
    """Part one: everybody at once, with cold caches."""
    print(f"\n1. Five {clients[0].kind} clients pull {image.repo} at one moment, every cache cold")
    began = time.monotonic()
    outcome = flash_crowd(cluster.nodes, clients, image, registry)
    took = time.monotonic() - began
    table(outcome.nodes)
    print(f"   the registry sent {outcome.egress_blobs / MIB:.1f} MiB of blobs for five pulls of "
          f"{image.blob_bytes / MIB:.1f} MiB; alone one pull takes {image.blob_bytes / RATE:.1f} s at its rate, "
          f"all five with their checks took {took:.1f} s")
    promises.judge(f"each of the {len(image.digests)} digests is right on each of the five clients", True)
    for text, kept in checks(outcome):
        promises.judge(text, kept)


def late_node(scratch, cluster, kind, image, registry, promises):
    """Part two: no registry any more."""
    print("\n2. The registry is stopped; a sixth node with a cold cache pulls the same image")
    registry.stop()
    late = cluster.add()
    late.start().wait_ready()
    client = make_clients(scratch, [late], kind)[0]
    seconds, errors = release([late], [client], image, registry.endpoint)
    if errors:
        raise AssertionError(f"the sixth client failed: {errors[0][1]}")
    client.verify(image)
    count = late.source_bytes()
    print(f"   {late.name} took {seconds[0]:.1f} s: {count['peer'] / MIB:.1f} MiB from peers, "
          f"{count['upstream']} bytes from upstream")
    promises.judge("each digest is right on the sixth client", True)
    promises.judge("no byte came from upstream", count["upstream"] == 0)


def main():
    parser = argparse.ArgumentParser(description="five nodes, one image, one moment")
    parser.add_argument("--client", choices=("containerd", "skopeo"), help="default: containerd where it runs")
    parser.add_argument("--net", default="127.0.0", help="first three bytes of the nodes' loopback addresses")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    kind = {"containerd": Containerd, "skopeo": Skopeo, None: None}[options.client]

    promises = Promises()
    try:
        with Scratch("waggle-demo-", keep_logs_in=LOGS) as scratch:
            registry = Registry(scratch, RATE)
            image = make_image(scratch.dir("image"), "team/app", LAYERS)
            registry.push(image)
            print(f"An image of {len(image.layers)} layers, {image.blob_bytes / MIB:.1f} MiB (largest "
                  f"{image.biggest.size / MIB:.0f} MiB), made of random bytes just now;\n"
                  f"a registry on {registry.endpoint} that gives {RATE / 1e6:.0f} MB/s to all its clients together;\n"
                  f"five waggled on {options.net}.11 to .15 with one new key.")
            cluster = Cluster(scratch, registry, 5, net=options.net).start()
            clients = make_clients(scratch, cluster.nodes, kind)
            crowd(cluster, clients, image, registry, promises)
            late_node(scratch, cluster, type(clients[0]), image, registry, promises)
            scratch.failed = promises.failed > 0
    except AssertionError as error:
        promises.judge(str(error), False)
    if promises.failed:
        print(f"\nThe logs of every process are in {os.path.relpath(LOGS)}.")
    print(f"\n{promises.passed} passed, {promises.failed} failed")
    return 1 if promises.failed else 0


if __name__ == "__main__":
    sys.exit(main())
