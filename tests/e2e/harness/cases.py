"""Named cases: a decorator that lists them and the context that each one gets."""

import os

from .cluster import ROOT, Cluster
from .image import make_image
from .registry import Registry

CASES = []


def case(name, needs_daemon=True):
    """Registers `function(context)` under `name`, a sentence of behaviour."""
    def register(function):
        CASES.append((f"{function.__module__.rpartition('.')[2]}: {name}", needs_daemon, function))
        return function
    return register


class Skip(Exception):
    """What the case needs is not here; it is counted as skipped, with this reason."""


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def expect_equal(found, wanted, what):
    expect(found == wanted, f"{what}: {found!r}, expected {wanted!r}")


def daemon_is_in_this_build():
    """True with a WAGGLE_BUILD of the caller's own, too."""
    return "WAGGLE_BUILD" in os.environ or os.path.exists(os.path.join(ROOT, "src", "node", "main.cpp"))


class Context:
    """What a case builds on; everything made here ends with the case."""

    def __init__(self, scratch):
        self.scratch = scratch

    def registry(self, rate=None):
        return Registry(self.scratch, rate)

    def image(self, registry, *layer_sizes, repo="team/app", tag="v1"):
        """Made on the spot and pushed."""
        image = make_image(self.scratch.dir("images", repo.replace("/", "_") + "-" + tag), repo, layer_sizes)
        registry.push(image, tag)
        return image

    def cluster(self, registry, count, config=None):
        """Started and joined."""
        return Cluster(self.scratch, registry, count, config=config).start()

    def idle_cluster(self, registry, count, config=None):
        """Configured, not started."""
        return Cluster(self.scratch, registry, count, config=config)
