"""One run of one system: when each node starts, who dies, who is slow, and when each had the blob."""

import dataclasses
import math
import random
import statistics
import tempfile
import time

_TICK_SECONDS = 0.01


@dataclasses.dataclass
class Shape:
    """Rates are of the raw link [Mbit/s], per direction."""

    nodes: int
    blob_bytes: int
    node_mbit: float
    origin_mbit: float

    @property
    def bound(self):
        """No protocol can be faster to the last node [s]: the origin's link, a node's link, all uplinks together."""
        bits = self.blob_bytes * 8 / 1e6
        return max(bits / self.origin_mbit, bits / self.node_mbit,
                   self.nodes * bits / (self.origin_mbit + self.nodes * self.node_mbit))


@dataclasses.dataclass
class Plan:
    """What a scenario does to the nodes. Times in seconds from the first start."""

    starts: list
    kills: dict = dataclasses.field(default_factory=dict)  # node -> when
    slow: set = dataclasses.field(default_factory=set)
    bound: float = 0.0

    @property
    def waited_for(self):
        return [node for node in range(len(self.starts)) if node not in self.kills and node not in self.slow]


SPREAD_SECONDS = 5.0
SLOW_SHARE = 0.1  # of the nodes, and of the rate


def plan_of(scenario, shape, seed):
    """The same for all systems of one repetition."""
    chance = random.Random(seed)
    plan = Plan([0.0] * shape.nodes, bound=shape.bound)
    tenth = max(1, round(shape.nodes * SLOW_SHARE))
    if scenario == "spread":
        plan.starts = [0.0, *(chance.uniform(0, SPREAD_SECONDS) for _ in range(shape.nodes - 2)), SPREAD_SECONDS]
        chance.shuffle(plan.starts)
        alone = shape.blob_bytes * 8 / 1e6 / shape.node_mbit
        plan.bound = max(shape.bound, SPREAD_SECONDS + alone)
    elif scenario == "killed":
        plan.kills = dict.fromkeys(chance.sample(range(shape.nodes), tenth), shape.bound / 2)
    elif scenario == "slow":
        plan.slow = set(chance.sample(range(shape.nodes), tenth))
    return plan


def quantile(values, share):
    """Of the sorted values, the one below which `share` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def warm_memory(count):
    """A virtual machine gives free memory back to its host, and the first touch of such a page costs five times what
    copying into it does: not what is measured. What the nodes will write is touched, and freed, just before."""
    with tempfile.TemporaryFile() as file:
        block = bytes(1 << 20)
        for _ in range(0, 3 * count // 2, len(block)):
            file.write(block)


def run(system, meter, plan, shape):
    """The figures of one run, or an error."""
    system.prepare()
    warm_memory(shape.nodes * shape.blob_bytes)
    deadline = plan.bound * system.patience(shape.nodes)
    waiting = set(plan.waited_for)
    starts = sorted(range(shape.nodes), key=lambda node: plan.starts[node])
    kills = dict(plan.kills)
    ended = {}
    began = meter.start()
    while waiting:
        now = time.time() - began
        while starts and plan.starts[starts[0]] <= now:
            system.start(starts.pop(0))
        for node in [node for node, at in kills.items() if at <= now]:
            system.kill(node)
            del kills[node]
        for node in list(waiting):
            if at := system.ended(node):
                ended[node] = at - began
                waiting.remove(node)
        if now > deadline:
            raise AssertionError(f"{len(waiting)} of {shape.nodes} nodes have not ended after {now:.0f} s")
        time.sleep(_TICK_SECONDS)
    spent = meter.stop()
    details = {**system.details(), "origin_x": meter.origin_bytes(system.header_bytes) / shape.blob_bytes,
               "origin_end_ratio": meter.origin_last_byte() / plan.bound,
               "link_use": meter.link_use(shape.origin_mbit, shape.node_mbit)}
    for node in plan.waited_for:
        system.verify(node)
    return {**figures(ended, plan, shape, spent), **details}


def figures(ended, plan, shape, spent):
    own = [at - plan.starts[node] for node, at in ended.items()]
    delivered = len(ended) * shape.blob_bytes / 2**30
    return {
        "p50_s": statistics.median(own), "p90_s": quantile(own, 0.9), "p100_s": max(own), "last_s": max(ended.values()),
        "ratio": max(ended.values()) / plan.bound, "p50_ratio": statistics.median(own) / plan.bound,
        "cpu_s_per_gib": (spent["cpu_nodes_s"] + spent["cpu_origin_s"]) / delivered,
        "cpu_origin_s_per_gib": spent["cpu_origin_s"] / delivered,
        "rss_mib": spent["rss_mib"], "rss_anon_mib": spent["rss_anon_mib"],
        "cpu_idle_percent": spent["cpu_idle_percent"], "port_drops": spent["port_drops"],
    }
