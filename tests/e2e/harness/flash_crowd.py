"""Many clients, one image, one moment: the run that the demo shows and the tests assert."""

import dataclasses
import threading
import time

from .clients import Containerd, Skopeo


@dataclasses.dataclass
class NodeResult:
    name: str
    seconds: float
    local: int
    peer: int
    upstream: int

    @property
    def peer_share(self):
        return self.peer / max(1, self.peer + self.upstream)


@dataclasses.dataclass
class Outcome:
    image_bytes: int
    nodes: list
    egress_blobs: int  # of layers and config, by the registry's access log
    egress_all: int    # the same with manifests

    @property
    def upstream(self):
        return sum(node.upstream for node in self.nodes)

    def upstream_share(self, node):
        return node.upstream / max(1, self.upstream)


def make_clients(scratch, nodes, kind=None):
    """A client per node, started: `kind`, or containerd where it runs, else skopeo."""
    if kind is None and Containerd.can_be_tried():
        try:
            return [Containerd(scratch, node.name).start() for node in nodes]
        except (AssertionError, OSError):
            kind = Skopeo  # installed, but it does not come up here (no cgroups, a sandbox)
    return [(kind or Skopeo)(scratch, node.name).start() for node in nodes]


def release(nodes, clients, image, endpoint, on_start=None):
    """All clients at one barrier; the seconds of each. Fails with the first client that failed."""
    for node, client in zip(nodes, clients):
        if isinstance(client, Containerd):
            client.use_mirror(node.mirror, endpoint)
    barrier = threading.Barrier(len(nodes) + 1)
    seconds, errors = [0.0] * len(nodes), []

    def run(index):
        barrier.wait()
        began = time.monotonic()
        try:
            clients[index].pull(nodes[index].mirror, image)
        except Exception as error:  # reported by the caller's thread
            errors.append((nodes[index].name, error))
        seconds[index] = time.monotonic() - began

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(nodes))]
    for thread in threads:
        thread.start()
    barrier.wait()
    failure = None
    try:
        if on_start:
            on_start()
    except Exception as error:
        failure = error
    for thread in threads:
        thread.join()
    if failure:
        raise failure
    return seconds, errors


def flash_crowd(nodes, clients, image, registry):
    """Releases the clients, verifies every digest on each, and counts on both sides."""
    blobs_before, all_before = registry.log.blob_bytes(), registry.log.body_bytes()
    before = [node.source_bytes() for node in nodes]
    seconds, errors = release(nodes, clients, image, registry.endpoint)
    if errors:
        name, error = errors[0]
        raise AssertionError(f"client of {name} failed: {error}") from error
    for client in clients:
        client.verify(image)
    registry.settle()
    results = []
    for node, earlier, took in zip(nodes, before, seconds):
        now = node.source_bytes()
        results.append(NodeResult(node.name, took, *(now[s] - earlier[s] for s in ("local", "peer", "upstream"))))
    return Outcome(image.blob_bytes, results, registry.log.blob_bytes() - blobs_before,
                   registry.log.body_bytes() - all_before)


def checks(outcome, egress_max=1.05, share_min=0.05, share_max=0.45, peer_min=0.50):
    """[(what was promised and what was seen, kept)]; None switches a bound off."""
    egress = outcome.egress_blobs / outcome.image_bytes
    made = [(f"upstream egress {egress:.3f}x of the image (<= {egress_max}x)", egress <= egress_max)]
    gap = abs(outcome.upstream - outcome.egress_all) / max(1, outcome.egress_all)
    made.append((f"the nodes' own count of upstream bytes is within {gap:.2%} of the registry's log (<= 2 %)",
                 gap <= 0.02))
    shares = [outcome.upstream_share(node) for node in outcome.nodes]
    if share_max is not None:
        made.append((f"the largest upstream share of a node is {max(shares):.0%} (<= {share_max:.0%})",
                     max(shares) <= share_max))
    if share_min is not None:
        made.append((f"the smallest upstream share of a node is {min(shares):.0%} (>= {share_min:.0%})",
                     min(shares) >= share_min))
    if peer_min is not None:
        low = min(node.peer_share for node in outcome.nodes)
        made.append((f"every node got at least {low:.0%} from peers (>= {peer_min:.0%})", low >= peer_min))
    return made
