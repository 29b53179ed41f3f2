"""Floods of garbage from outside: no answer, no change of state, no growth, little work.

WAGGLE_GARBAGE_COUNT datagrams are thrown (100,000 unless set; a soak takes 1,000,000) and a hundredth as many
connections. Figures are printed, one JSON line."""

import json
import os
import time

from harness.cases import case, expect, expect_equal
from harness.clients import http_pull
from harness.cluster import GOSSIP_PORT, Cluster, Node, make_key, program
from harness.image import MIB
from harness.outside import Outside, blaster
from harness.process import wait_for

COUNT = int(os.environ.get("WAGGLE_GARBAGE_COUNT", 100_000))
CONNECTIONS = max(200, COUNT // 100)
RATE = int(os.environ.get("WAGGLE_GARBAGE_RATE", 100_000))  # datagrams/s
REPLY_BYTES_MAX = 2 + 32 + 48 + 256 + 16  # handshake_message_bytes_max and its length
INTRODUCTIONS_PER_SECOND = 1024
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_bytes(node):
    with open(f"/proc/{node.process.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def descriptors(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def log_bytes(node):
    return os.path.getsize(node.process.log)


def state(nodes):
    return {node.name: node.api("status")["state_hash"] for node in nodes}


def settled_state(nodes):
    """Once all have the same index and nothing moves for a second."""
    def same():
        statuses = [node.api("status") for node in nodes]
        if len({status["index"]["root"] for status in statuses}) != 1:
            return None
        hashes = [status["state_hash"] for status in statuses]
        time.sleep(1)
        return [node.api("status")["state_hash"] for node in nodes] == hashes
    wait_for(same, 30, "the cluster's state stands still")
    return state(nodes)


class Siege:
    """A cluster of three with content, strangers on the other side of a cable, and what was recorded meanwhile."""

    def __init__(self, context, size=3):
        self.scratch = context.scratch
        self.outside = Outside(context.scratch, size, GOSSIP_PORT)
        self.record = os.path.join(context.scratch.dir("garbage"), "recorded")
        registry = context.registry()
        image = context.image(registry, 2 * MIB)
        cluster = Cluster(context.scratch, registry, size, net=self.outside.net,
                          config={"mirror": {"allow": [f"{self.outside.net}.0/24"]}, "ops": {"expose": "all"}})
        recorder = context.scratch.start("recorder", [blaster(), "capture", self.record, GOSSIP_PORT])
        self.strangers = [self.stranger("other-key", 31, {}),
                          self.stranger("other-name", 32, {"name": "elsewhere"}, cluster.key_file)]
        cluster.start()
        self.nodes = cluster.nodes
        for node in self.nodes:
            http_pull(node.mirror, image)
        recorder.signal(15)
        expect_equal(recorder.wait(10), 0, "exit code of the recorder")
        self.targets = [f"{node.address}:{GOSSIP_PORT}" for node in self.nodes]

    def stranger(self, name, last, cluster, key_file=None):
        """A real waggled out there that wants to join with another key or cluster name, for ever."""
        home = self.scratch.dir(name)
        if key_file is None:
            key_file = os.path.join(home, "key")
            make_key(key_file)
        node = Node(self.scratch, name, f"{self.outside.net}.200", {
            "node": {"name": name, "data_dir": os.path.join(home, "data")},
            "cluster": {"name": "e2e", "key_files": [key_file], "bind": [f"{self.outside.net}.200:{7000 + last}"],
                        "join": [f"{self.outside.net}.11:{GOSSIP_PORT}"], **cluster},
            "mirror": {"bind": [f"127.0.0.1:{30000 + last}"]},
            "ops": {"bind": [f"127.0.0.1:{30100 + last}"], "socket": os.path.join(home, "waggle.sock")}})
        return self.outside.start(name, program("waggled"), "--config", node.config_path)

    def throw(self, protocol, kind, count, pace):
        return self.outside.run(blaster(), protocol, self.record, kind, count, pace, len(kind), *self.targets)

    def measure(self):
        return {"cpu": sum(map(cpu_seconds, self.nodes)), "rss": [resident_bytes(node) for node in self.nodes],
                "log": sum(map(log_bytes, self.nodes)), "fds": max(map(descriptors, self.nodes))}


def report(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)


@case("random, truncated, flipped, replayed and foreign packets and frames change, answer and cost nothing")
def _(context):
    siege = Siege(context)
    for stranger in siege.strangers:
        expect(stranger.running(), f"{stranger.name} ended:\n{stranger.tail()}")
    before_state = settled_state(siege.nodes)
    siege.outside.counters()
    before = siege.measure()

    sent, cpu = {}, {}
    for kind, share in (("random", 0.4), ("truncated", 0.2), ("flipped", 0.4)):
        began = siege.measure()["cpu"]
        thrown = siege.throw("udp", kind, int(COUNT * share), RATE)
        sent[kind], cpu[kind] = thrown, siege.measure()["cpu"] - began
        expect_equal(thrown["answers"], 0, f"answers to {kind} datagrams")
    for kind in ("random", "truncated", "flipped", "oversized", "silent"):
        began = siege.measure()["cpu"]
        thrown = siege.throw("tcp", kind, CONNECTIONS // 5, 40)
        sent[kind + " tcp"], cpu[kind + " tcp"] = thrown, siege.measure()["cpu"] - began
        if kind in ("random", "silent"):
            expect_equal(thrown["answer_bytes"], 0, f"bytes in answer to {kind} streams")
    counted = siege.outside.counters()
    expect(counted["udp_to_nodes"] >= COUNT, f"the far side saw {counted} leave")
    expect_equal(counted["udp_from_nodes"], 0, "datagrams from the nodes")

    # The stated exception: a recording that this process has not seen costs one bounded answer.
    replayed = siege.throw("udp", "replayed", COUNT // 4, RATE)
    replayed_tcp = siege.throw("tcp", "replayed", CONNECTIONS, 40)
    expect(replayed["answers"] <= (replayed["seconds"] + 1) * INTRODUCTIONS_PER_SECOND * len(siege.nodes),
           f"{replayed} is beyond the rate of introductions")
    expect(replayed_tcp["answer_bytes_max"] <= REPLY_BYTES_MAX, f"{replayed_tcp}")
    after = siege.measure()

    report("garbage", count=COUNT, datagrams_per_second={k: round(v["sent"] / v["seconds"]) for k, v in sent.items()},
           cpu_seconds_per_100k={k: round(cpu[k] / sent[k]["sent"] * 1e5, 2) for k in sent},
           replayed=replayed, replayed_tcp=replayed_tcp,
           rss_grown_mib=[round((b - a) / MIB, 2) for a, b in zip(before["rss"], after["rss"])],
           log_bytes_grown=after["log"] - before["log"], descriptors=[before["fds"], after["fds"]], nft=counted)
    expect_equal(state(siege.nodes), before_state, "state hashes")
    expect(max(b - a for a, b in zip(before["rss"], after["rss"])) <= 8 * MIB, f"memory grew: {before} {after}")
    expect(after["log"] - before["log"] <= 64 * 1024, f"logs grew by {after['log'] - before['log']} bytes")
    expect(cpu["random"] / sent["random"]["sent"] * 1e5 <= 5, f"{cpu} seconds of CPU")
    expect(after["fds"] <= before["fds"] + 5, f"descriptors: {before['fds']}, then {after['fds']}")
    for node in siege.nodes:
        expect_equal(node.alive_members(), len(siege.nodes), f"members alive on {node.name}")
