"""Cold caches, one image, all clients at one moment: the cluster takes each byte from upstream once."""

import os

from harness.cases import case, expect, expect_equal
from harness.clients import Skopeo, http_pull
from harness.flash_crowd import checks, flash_crowd, make_clients
from harness.image import MIB


# Programs under sanitizers (./dev asan-e2e) are so slow that the processors decide who fetches what, not the swarm.
# They are judged by the sanitizers' reports and by every digest; the shares, by the programs as they ship.
SLOW_BOUNDS = {"egress_max": 5, "share_min": None, "share_max": None, "peer_min": None}
IS_SANITIZED = "WAGGLE_SANITIZED" in os.environ


def crowd(context, nodes, rate, layer_sizes, client_kind=None, **bounds):
    registry = context.registry(rate)
    image = context.image(registry, *layer_sizes)
    cluster = context.cluster(registry, nodes)
    clients = make_clients(context.scratch, cluster.nodes, client_kind)
    outcome = flash_crowd(cluster.nodes, clients, image, registry)
    broken = [text for text, kept in checks(outcome, **(SLOW_BOUNDS if IS_SANITIZED else bounds)) if not kept]
    expect(not broken, "; ".join(broken) + f"; per node: {outcome.nodes}")
    return registry, image, cluster


@case("five nodes share one image's upstream bytes, and a sixth needs none when the registry is gone")
def _(context):
    registry, image, cluster = crowd(context, 5, 40_000_000, [100 * MIB, *[20 * MIB] * 5])
    registry.stop()
    late = cluster.add()
    late.start().wait_ready()
    client = make_clients(context.scratch, [late])[0]
    if client.kind == "containerd":
        client.use_mirror(late.mirror, registry.endpoint)
    client.pull(late.mirror, image)
    client.verify(image)
    bytes_of = late.source_bytes()
    expect_equal(bytes_of["upstream"], 0, "upstream bytes of the late node")
    expect(bytes_of["peer"] >= image.blob_bytes, f"the late node took {bytes_of} of {image.blob_bytes}")


@case("three nodes and odd layer sizes: egress stays at one image")
def _(context):
    crowd(context, 3, 40_000_000, [1, 262_143, MIB - 1, MIB, 16 * MIB + 1, 33 * MIB + 4097], Skopeo,
          share_min=None, share_max=None, peer_min=None)


@case("without a rate limit upstream the egress still stays at one image")
def _(context):
    crowd(context, 4, None, [40 * MIB, 24 * MIB], Skopeo, share_min=None, share_max=None, peer_min=None)


@case("a second pull on the same node is local to the byte")
def _(context):
    registry = context.registry()
    image = context.image(registry, 20 * MIB, 3 * MIB)
    node = context.cluster(registry, 1).nodes[0]
    http_pull(node.mirror, image)
    registry.settle()
    egress, before = registry.log.body_bytes(), node.source_bytes()
    http_pull(node.mirror, image)
    now = node.source_bytes()
    expect_equal(registry.log.body_bytes(), egress, "egress after the second pull")
    expect(now["local"] - before["local"] >= image.blob_bytes, f"{before} -> {now}")


@case("what one node pulled earlier the next takes from it, not from upstream")
def _(context):
    registry = context.registry()
    image = context.image(registry, 24 * MIB, 2 * MIB)
    first, second = context.cluster(registry, 2).nodes
    http_pull(first.mirror, image)
    registry.settle()
    egress = registry.log.blob_bytes()
    http_pull(second.mirror, image)
    registry.settle()
    expect_equal(registry.log.blob_bytes(), egress, "egress after the second node's pull")
    expect(second.source_bytes()["peer"] >= image.blob_bytes, f"{second.source_bytes()}")
