"""One hostile member among five (tests/liar): the four others get the truth, ban the liar and nobody else.

Only WAGGLE_LIARS=all lists them: CI has no time for seven clusters. What each lie may cost: docs/adversity.md.
"""

import http.client
import os
import threading

from harness.cases import case, expect, expect_equal
from harness.clients import WrongContent, http_pull
from harness.cluster import program
from harness.image import MIB
from harness.process import wait_for

EXTENT = 16 * MIB
LAYER = 40 * MIB
LIAR = 2
EVERY = os.environ.get("WAGGLE_LIARS") == "all"


class Story:
    """Five nodes of which n3 lies about the image's one layer."""

    def __init__(self, context, lie, rate=40_000_000):
        self.registry = context.registry(rate)
        self.image = context.image(self.registry, LAYER)
        cluster = context.idle_cluster(self.registry, 5)
        self.liar = cluster.nodes[LIAR]
        self.honest = [node for node in cluster.nodes if node is not self.liar]
        self.context, self.cluster, self.lie = context, cluster, lie
        for node in self.honest:
            node.start()
        self.start_liar()
        self.before = 0
        self.liar_pulls = False

    def start_liar_pull(self):
        """The liar has a client, too, that gets what it gets."""
        self.liar_pulls = True

        def pull():
            try:
                http_pull(self.liar.mirror, self.image)
            except (AssertionError, OSError, http.client.HTTPException):
                pass
        thread = threading.Thread(target=pull)
        thread.start()
        return thread

    def wait_for_claim(self):
        """Else the honest nodes may share all extents, and nobody asks the liar."""
        wait_for(lambda: self.liar.have_bytes(self.image.biggest.digest) > 0, 30, "the liar has a claim", every=0.02)

    def start_liar(self):
        layer = self.image.biggest
        self.liar.process = self.context.scratch.start(self.liar.name, [
            program("tests/liar/waggled_liar"), "--config", self.liar.config_path, "--lie", self.lie,
            "--digest", layer.digest, "--size", str(layer.size)])
        self.cluster.wait_joined(60)

    def restart_liar(self):
        """From now on it serves from its disk: its lists go through the lie."""
        self.liar.terminate(20)
        self.start_liar()
        for node in self.honest:
            wait_for(lambda node=node: (node.api(f"blobs/{self.image.biggest.digest}") or {}).get("holders"), 20,
                     f"{node.name} knows the holder")

    def warm(self, *nodes):
        """These hold the image; what upstream sent for it does not count."""
        for node in nodes:
            http_pull(node.mirror, self.image)
        for node in self.honest:
            wait_for(lambda node=node: len((node.api(f"blobs/{self.image.biggest.digest}") or {}).get("holders", []))
                     >= len(nodes), 20, f"{node.name} knows the holders")
        self.registry.settle()
        self.before = self.registry.log.blob_bytes()

    def pull(self, deadline=90):
        """Every honest node's client gets the image; one that is cut tries again. Returns the cuts."""
        failures, cuts = [], []

        def run(node):
            def once():
                try:
                    http_pull(node.mirror, self.image)
                    return True
                except WrongContent as error:
                    failures.append(f"{node.name}: {error}")
                    return True
                except (AssertionError, OSError, http.client.HTTPException) as error:
                    cuts.append(f"{node.name}: {error}")
                    return False
            try:
                wait_for(once, deadline, f"{node.name}'s client has the image", every=0.3)
            except AssertionError as error:
                failures.append(str(error))

        threads = [threading.Thread(target=run, args=(node,)) for node in self.honest]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect_equal(failures, [], "clients without the right bytes")
        return cuts

    def own_share(self):
        """The liar's upstream bytes beyond an extent, which the others may have had from it."""
        taken = self.liar.metrics().total("waggle_bytes_total", source="upstream")
        return max(0, int(taken) - EXTENT) if self.liar_pulls else 0

    def check(self, egress_max, bans_min):
        """What upstream sent beside what the liar, alone once it is banned, fetched for its own client."""
        self.registry.settle()
        egress = self.registry.log.blob_bytes() - self.before - self.own_share()
        expect(egress <= egress_max + MIB, f"upstream sent {egress} bytes, at most {egress_max} expected")
        banned = {node.name: node.api("status")["banned"] for node in self.honest}
        expect(all(set(names) <= {self.liar.name} for names in banned.values()), f"honest nodes banned: {banned}")
        bans = sum(1 for names in banned.values() if names)
        expect(bans >= bans_min, f"{bans} nodes ban the liar: {banned}")
        for node in self.honest:
            expect_equal(int(node.metrics().total("waggle_peer_bans_total")), len(banned[node.name]),
                         f"{node.name}'s count of bans")


def lie_case(name):
    return case(name) if EVERY else lambda function: function


@lie_case("wrong bytes from the only holder: it is banned at its first chunk, and upstream serves once")
def _(context):
    story = Story(context, "bytes")
    story.warm(story.liar)
    story.pull()
    story.check(LAYER + EXTENT, 1)


@lie_case("wrong bytes in a cold swarm: banned by whoever got them")
def _(context):
    story = Story(context, "bytes")
    liar = story.start_liar_pull()
    story.wait_for_claim()
    story.pull()
    liar.join()
    story.check(LAYER + 2 * EXTENT, 1)


@lie_case("one wrong entry in the only holder's midstate list")
def _(context):
    story = Story(context, "midstate")
    story.warm(story.liar)
    story.restart_liar()
    story.pull()
    story.check(LAYER + EXTENT, 1)


@lie_case("a midstate list forged forwards, with the bytes to it")
def _(context):
    story = Story(context, "forged-list")
    story.warm(story.liar)
    story.restart_liar()
    story.pull()
    story.check(2 * LAYER + EXTENT, 1)


@lie_case("a holder that holds nothing and stays silent")
def _(context):
    story = Story(context, "holdings")
    wait_for(lambda: story.honest[0].api(f"blobs/{story.image.biggest.digest}"), 20, "the false holder is known")
    story.pull()
    story.check(LAYER + EXTENT, 0)


@lie_case("claims that are never served")
def _(context):
    story = Story(context, "claims")
    liar = story.start_liar_pull()
    story.pull()
    liar.join()
    story.check(2 * LAYER, 0)


@lie_case("a signed wrong chunk: one node fetches the layer again, the digest is tainted, the signer banned")
def _(context):
    story = Story(context, "crec")
    liar = story.start_liar_pull()
    story.wait_for_claim()
    story.pull()
    liar.join()
    story.check(2 * LAYER + 2 * EXTENT, 1)
    tainted = [node.name for node in story.honest if story.image.biggest.digest in node.api("status")["tainted"]]
    expect(tainted, "no node says that the digest is tainted")


@lie_case("a flood of announcements and wants")
def _(context):
    story = Story(context, "flood")
    wait_for(lambda: story.honest[0].metrics().total("waggle_index_digests") >= 4000, 30, "the flood has come")
    story.pull()
    story.check(LAYER, 0)
