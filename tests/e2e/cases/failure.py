"""Crashes, restarts, broken upstreams: nobody else suffers, nothing kept is fetched again, nothing wrong passes."""

import http.client
import time

from harness.cases import case, expect, expect_equal
from harness.clients import Skopeo, WrongContent, http_get, http_pull
from harness.flash_crowd import make_clients, release
from harness.image import MIB
from harness.process import wait_for

EXTENT = 16 * MIB


@case("kill -9 of one of five in mid-pull: four finish, and the fifth resumes from what it had")
def _(context):
    registry = context.registry(40_000_000)
    image = context.image(registry, 120 * MIB, 16 * MIB, 16 * MIB)
    nodes = context.cluster(registry, 5).nodes
    clients = make_clients(context.scratch, nodes, Skopeo)
    victim, held = nodes[2], {}

    def kill_in_the_middle():
        def sample():
            big = victim.have_bytes(image.biggest.digest)
            if not 0.3 * image.biggest.size <= big <= 0.7 * image.biggest.size:
                expect(big <= 0.7 * image.biggest.size, "the biggest layer went past 70 % unseen")
                return False
            held.update({blob.digest: victim.have_bytes(blob.digest) for blob in image.blobs})
            return True
        wait_for(sample, 120, "the victim holds 30 to 70 % of the biggest layer", every=0.005)
        victim.kill9()

    _, errors = release(nodes, clients, image, registry.endpoint, on_start=kill_in_the_middle)
    expect_equal([name for name, _ in errors if name != victim.name], [], "other nodes' clients that failed")
    for node, client in zip(nodes, clients):
        if node is not victim:
            client.verify(image)

    victim.start().wait_ready(30)
    again = Skopeo(context.scratch, victim.name + "-again").start()
    again.pull(victim.mirror, image)
    again.verify(image)
    lacked = sum(blob.size - held[blob.digest] for blob in image.blobs) + image.manifest.size
    took = victim.source_bytes()
    expect(took["peer"] + took["upstream"] <= lacked + EXTENT,
           f"it lacked {lacked} bytes when it was killed and took {took} after the restart")


@case("a restarted node still holds what it had and says so to the others")
def _(context):
    registry = context.registry()
    image = context.image(registry, 20 * MIB)
    first, second = context.cluster(registry, 2).nodes
    http_pull(first.mirror, image)
    first.kill9()
    registry.stop()
    first.start().wait_ready()
    wait_for(lambda: first.name in (second.api(f"blobs/{image.biggest.digest}") or {}).get("holders", []), 20,
             "the second node knows the holder again")
    http_pull(first.mirror, image)
    expect_equal(first.source_bytes()["peer"] + first.source_bytes()["upstream"], 0, "bytes fetched again")
    http_pull(second.mirror, image)


@case("an upstream that cuts every response is resumed, and the egress stays near one image")
def _(context):
    registry = context.registry()
    image = context.image(registry, 40 * MIB)
    nodes = context.cluster(registry, 2).nodes
    registry.faults.cut_after = 7 * MIB
    for node in nodes:
        http_pull(node.mirror, image)
    registry.settle()
    egress = registry.log.blob_bytes() / image.blob_bytes
    expect(egress <= 1.5, f"egress {egress:.2f}x")


@case("a blob that arrives corrupt is never given out as complete, and its true bytes are once they come")
def _(context):
    registry = context.registry()
    image = context.image(registry, 20 * MIB)
    nodes = context.cluster(registry, 2).nodes
    registry.faults.corrupt.add(image.biggest.digest)
    for node in nodes:
        try:
            http_pull(node.mirror, image)
            raise RuntimeError("a corrupt blob came as complete")
        except WrongContent:
            raise
        except (AssertionError, OSError, http.client.HTTPException):
            pass
        blob = node.api(f"blobs/{image.biggest.digest}")
        expect(not blob or not blob["complete"], f"{node.name} announces it: {blob}")
    registry.faults.corrupt.clear()

    def pulls():
        try:
            http_pull(nodes[0].mirror, image)
            return True
        except WrongContent:
            raise
        except (AssertionError, OSError, http.client.HTTPException):
            return False
    wait_for(pulls, 60, "the true blob passes", every=0.5)


@case("an upstream that accepts and never answers: the reader has a 404 within first_byte")
def _(context):
    registry = context.registry()
    image = context.image(registry, 2 * MIB)
    node = context.cluster(registry, 1, {"mirror": {"first_byte": "2s"}}).nodes[0]
    registry.faults.silent = True
    began = time.monotonic()
    answer = http_get(f"{node.mirror}/v2/{image.repo}/blobs/{image.biggest.digest}")
    took = time.monotonic() - began
    expect_equal(answer.status, 404, "status")
    expect(took <= 4, f"it took {took:.1f} s")
    registry.faults.silent = False


@case("SIGTERM during a pull drains and exits 0 within ten seconds")
def _(context):
    registry = context.registry(20_000_000)
    image = context.image(registry, 60 * MIB)
    nodes = context.cluster(registry, 2).nodes
    clients = make_clients(context.scratch, nodes, Skopeo)

    def leave():
        wait_for(lambda: nodes[1].have_bytes(image.biggest.digest) > 0, 30, "the pull has begun")
        expect_equal(nodes[1].terminate(10), 0, "exit code")

    _, errors = release(nodes, clients, image, registry.endpoint, on_start=leave)
    expect_equal([name for name, _ in errors if name == nodes[0].name], [], "the other node's client")
    clients[0].verify(image)
    wait_for(lambda: nodes[0].alive_members() == 1, 5, "the leave was heard")
