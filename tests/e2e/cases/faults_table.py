"""Upstreams that misbehave, each before real clients: never a hang, never a wrong blob, bounded egress.

CI runs every fault before curl, and those that a fallback decides before skopeo and containerd. With
WAGGLE_FAULTS_FULL=1 (./dev soak) every fault meets every client.
"""

import concurrent.futures
import os

from harness.cases import Skip, case, expect
from harness.clients import Containerd, Containerd2, http_pull
from harness.cluster import Cluster
from harness.fault_rows import CASES, Table
from harness.image import MIB

FULL = bool(os.environ.get("WAGGLE_FAULTS_FULL"))
BY_CONTAINERD = ("stall before the head, for ever", "503, for ever", "wrong bytes, once",
                 "reset in every body, after 1 MiB")
BY_SKOPEO = (*BY_CONTAINERD, "no ranges", "429 with Retry-After 1, once", "redirect to an expired address, once",
             "connection refused")


def only(names):
    return [fault for fault in CASES if FULL or fault.name in names]


def table(context):
    return Table(context, wait_idle=45 if FULL else 0)


def judge(rows):
    """Fails with every row that broke a rule; WAGGLE_FAULTS_REPORT names a file for all of them."""
    if path := os.environ.get("WAGGLE_FAULTS_REPORT"):
        with open(path, "a") as file:
            for row in rows:
                file.write(f"{row.case.name} | {row.client} | {row.end} | {row.first_byte:.1f} | {row.seconds:.1f} | "
                           f"{row.egress:.2f} | {row.requests} | {row.said}\n")
    broken = [f"{row.case.name} x {row.client}: {'; '.join(row.broken)}" for row in rows if row.broken]
    expect(not broken, f"{len(broken)} of {len(rows)} rows:\n  " + "\n  ".join(broken))


@case("every fault before curl, some before skopeo: an answer in time, no wrong blob, bounded egress")
def _(context):
    everything = table(context)
    judge(everything.run([(fault, "curl") for fault in CASES] + [(fault, "skopeo") for fault in only(BY_SKOPEO)] +
                         ([] if FULL else [(fault, "containerd") for fault in only(BY_CONTAINERD)])))


PAIRS = ("stall before the head, once", "stall in the body, once", "503, once", "reset in the body, once",
         "Content-Length too small, once", "slow drip, once")


@case("a claimant whose request goes wrong: two nodes that pull at once both finish, near one image of egress")
def _(context):
    registry = context.registry()
    for number, fault in enumerate(fault for fault in CASES if fault.name in (PAIRS if FULL else PAIRS[:1])):
        front = registry.another_front(f"pair{number}")
        image = context.image(registry, 20 * MIB, repo=f"faults/pair{number}")
        front.faults.add(**fault.rule, path="/blobs/" + image.biggest.digest)
        nodes = Cluster(context.scratch, front, 2, first=1 + 2 * number).start().nodes
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for pull in [pool.submit(http_pull, node.mirror, image) for node in nodes]:
                pull.result()
        egress = front.log.blob_bytes() / image.blob_bytes
        expect(egress <= 1.5, f"{fault.name}: egress {egress:.2f}x")
        for node in nodes:
            node.terminate()


if FULL:
    @case("every fault before containerd 1.6")
    def _(context):
        expect(Containerd.can_be_tried(), "containerd and ctr are needed, and root")
        judge(table(context).run([(fault, "containerd") for fault in CASES]))

    @case("every fault before containerd 2.x with parallel fetches")
    def _(context):
        if not Containerd2.can_be_tried():
            raise Skip("containerd 2.x: dev.d/containerd2.sh has to build it first, and root is needed")
        judge(table(context).run([(fault, "containerd2") for fault in CASES]))
