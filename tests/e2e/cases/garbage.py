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
HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS_MAX = 64, 8
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
        self.recorded = json.loads(recorder.tail(1))
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

    def throw(self, protocol, kind, count, pace, everywhere=False):
        """What the blaster says, with the CPU seconds that it cost the nodes and their most descriptors meanwhile."""
        began, most = self.measure()["cpu"], [0]

        def watch():
            most[0] = max(most[0], *map(descriptors, self.nodes))
        env = {"GARBAGE_FROM": f"{self.outside.net}.200,{self.outside.STRANGERS}"} if everywhere else {}
        thrown = self.outside.run(blaster(), protocol, self.record, kind, count, pace, len(kind), *self.targets,
                                  meanwhile=watch, env=env)
        return {**thrown, "cpu": round(self.measure()["cpu"] - began, 2), "descriptors": most[0]}

    def measure(self):
        return {"cpu": sum(map(cpu_seconds, self.nodes)), "rss": [resident_bytes(node) for node in self.nodes],
                "log": sum(map(log_bytes, self.nodes)), "descriptors": max(map(descriptors, self.nodes)),
                "packets": sum(node.metrics().total("waggle_gossip_packets_total", dir="rx") for node in self.nodes)}


def report(name, **figures):
    print(json.dumps({"name": name, **figures}), flush=True)


def expect_unmoved(siege, before_state, before, after):
    grown = [b - a for a, b in zip(before["rss"], after["rss"])]
    expect(max(grown) <= 8 * MIB, f"memory grew by {grown} bytes")
    expect(after["log"] - before["log"] <= 32 * 1024, f"logs grew by {after['log'] - before['log']} bytes")
    expect(after["descriptors"] <= before["descriptors"] + 5, f"descriptors: {before}, then {after}")
    expect_equal(state(siege.nodes), before_state, "state hashes")
    for node in siege.nodes:
        expect_equal(node.alive_members(), len(siege.nodes), f"members alive on {node.name}")


@case("a flood of random, truncated, flipped, replayed and foreign packets and streams is not answered, changes "
      "nothing and costs little")
def _(context):
    siege = Siege(context)
    for stranger in siege.strangers:
        expect(stranger.running(), f"{stranger.name} ended:\n{stranger.tail()}")
    before_state = settled_state(siege.nodes)
    foreign = siege.outside.counters()
    expect(foreign["udp_to_nodes"] > 0, "the strangers have sent nothing")
    before = siege.measure()

    udp = {kind: siege.throw("udp", kind, int(COUNT * share), RATE)
           for kind, share in (("random", 0.4), ("truncated", 0.2), ("flipped", 0.4))}
    tcp = {kind: siege.throw("tcp", kind, CONNECTIONS // 5, 40)
           for kind in ("random", "truncated", "flipped", "oversized", "silent")}
    tcp["crowd"] = siege.throw("tcp", "silent", CONNECTIONS, 400, everywhere=True)
    counted = siege.outside.counters()
    taken = siege.measure()["packets"] - before["packets"]

    # The exception: a recording costs an answer of bounded size once, then none.
    again = {"udp": siege.throw("udp", "replayed", COUNT // 4, RATE),
             "tcp": siege.throw("tcp", "replayed", CONNECTIONS // 2, 40),
             "tcp late": siege.throw("tcp", "late", CONNECTIONS // 2, 40)}
    after = siege.measure()
    report("garbage", count=COUNT, datagrams_taken=taken, udp=udp, tcp=tcp, again=again, recorded=siege.recorded,
           foreign=foreign, nft=counted,
           cpu_per_100k={k: round(v["cpu"] / v["sent"] * 1e5, 2) for k, v in udp.items()},
           rss_grown_mib=[round((b - a) / MIB, 2) for a, b in zip(before["rss"], after["rss"])],
           log_grown=after["log"] - before["log"])

    expect(counted["udp_to_nodes"] >= COUNT, f"the far side saw {counted} leave")
    for name in ("udp_from_nodes", "tcp_data_from_nodes"):
        expect_equal(foreign[name] + counted[name], 0, f"packets in {name}")
    expect_equal(counted["icmp_from_nodes"], 0, "ICMP messages, now that the nodes listen")
    for thrown in (*udp.values(), *tcp.values()):
        expect_equal(thrown["answer_bytes"], 0, f"bytes in answer to {thrown}")
    nodes = len(siege.nodes)
    expect(again["udp"]["answers"] <= siege.recorded["undirected"] * nodes, f"{again['udp']}")
    expect(again["tcp"]["answers"] + again["tcp late"]["answers"] <= siege.recorded["streams"] * (nodes - 1),
           f"each of {siege.recorded} once per node that had not seen it: {again}")
    expect(max(again["tcp"]["answer_bytes_max"], again["tcp late"]["answer_bytes_max"]) <= REPLY_BYTES_MAX, f"{again}")
    expect(udp["random"]["cpu"] <= 5 * COUNT * 0.4 / 1e5 + 0.5, f"CPU: {udp}")
    base = before["descriptors"]
    expect(tcp["silent"]["descriptors"] <= base + HALF_OPEN_PER_ADDRESS_MAX + 5, f"{tcp['silent']}")
    expect(tcp["crowd"]["descriptors"] <= base + HALF_OPEN_MAX + 5, f"{tcp['crowd']}")
    expect_unmoved(siege, before_state, before, after)
