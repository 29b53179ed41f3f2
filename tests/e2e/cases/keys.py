"""The cluster key changes under load, step by step; who misses a step is named, and cut off only when told to."""

import os
import shutil
import signal
import threading

from harness.cases import case, expect, expect_equal
from harness.clients import http_pull
from harness.cluster import make_key
from harness.image import MIB, make_image
from harness.process import wait_for

KEY_DROPS = ("unknown_key", "unauthenticated")
KEY_HANDSHAKES = ("unknown_key", "not_authentic")
STEP_SECONDS = 20


def drops(node):
    """Everything that this node refused, or ended, for a key's sake."""
    metrics = node.metrics()
    return {**{f"dropped {reason}": metrics.total("waggle_gossip_dropped_total", reason=reason)
               for reason in KEY_DROPS},
            **{f"handshake {result}": metrics.total("waggle_handshakes_total", result=result)
               for result in KEY_HANDSHAKES},
            "sessions retired": metrics.total("waggle_sessions_closed_total", reason="key_retired")}


NOTHING = {**{f"dropped {reason}": 0 for reason in KEY_DROPS},
           **{f"handshake {result}": 0 for result in KEY_HANDSHAKES}, "sessions retired": 0}


class Load:
    """New images, each pulled by all nodes at once, until stop(); every digest is checked."""

    def __init__(self, context, registry, nodes):
        self._context, self._registry, self._nodes = context, registry, nodes
        self._stop, self.pulls, self.errors = threading.Event(), 0, []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._stop.is_set():
            number += 1
            repo = f"load/{number}"
            image = make_image(self._context.scratch.dir("images", f"load-{number}"), repo, (10 * MIB, 2 * MIB))
            self._registry.push(image)
            threads = [threading.Thread(target=self._pull, args=(node, image)) for node in self._nodes]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _pull(self, node, image):
        try:
            http_pull(node.mirror, image)
            with self._lock:
                self.pulls += 1
        except Exception as error:  # pylint: disable=broad-except
            with self._lock:
                self.errors.append(f"{node.name}: {error}")

    def stop(self):
        self._stop.set()
        self._thread.join(60)
        expect(not self._thread.is_alive(), "the load does not end")


def key(node, name):
    """How `node` says that the cluster stands with the key of that name; None when it knows none."""
    return next((entry for entry in node.api("status")["keys"] if entry["id"] == name), None)


def step(nodes, files):
    """These files on these nodes, one after the other, by the command and the signal in turns."""
    for number, node in enumerate(nodes):
        node.change_config({"cluster": {"key_files": files}})
        if number % 2 == 0:
            done = node.waggle("reload")
            expect_equal(done.returncode, 0, f"{node.name} reload: {done.stderr}")
        else:
            node.process.signal(signal.SIGHUP)


def two_keys(context, cluster):
    """The files of both, and the names that the nodes give them."""
    second = context.scratch.dir("keys") + "/second.key"
    make_key(second)
    return [cluster.key_file, second], cluster.nodes[0].api("status")["keys"][0]["id"]


@case("the cluster key rotates under load: no pull fails, no packet is dropped and no session breaks for its key")
def _(context):
    registry = context.registry(40_000_000)
    cluster = context.cluster(registry, 5)
    nodes = cluster.nodes
    (old, new), old_name = two_keys(context, cluster)
    load = Load(context, registry, nodes)
    wait_for(lambda: load.pulls >= 5 or load.errors, 60, "the load runs")

    step(nodes, [old, new])
    new_name = wait_for(lambda: [k["id"] for k in nodes[0].api("status")["keys"] if k["role"] == "opens"],
                        STEP_SECONDS, "the second key is listed")[0]
    wait_for(lambda: all((key(node, new_name) or {}).get("accepted_by") == 5 for node in nodes), STEP_SECONDS,
             "every node knows that all accept the new key")
    step(nodes, [new, old])
    wait_for(lambda: all(key(node, new_name)["sealed_with_by"] == 5 for node in nodes), STEP_SECONDS,
             "every node knows that all seal with the new key")
    wait_for(lambda: all(key(node, old_name)["sessions"] == 0 for node in nodes), STEP_SECONDS,
             "every session has moved to the new key")
    moved = sum(node.metrics().total("waggle_sessions_closed_total", reason="session_moved") for node in nodes)
    expect(moved > 0, "sessions under the old key were there to move")
    step(nodes, [new])
    wait_for(lambda: all(key(node, old_name) is None for node in nodes), STEP_SECONDS, "the old key is gone")
    pulls = load.pulls
    wait_for(lambda: load.pulls >= pulls + 5 or load.errors, 60, "the load goes on under the new key")
    load.stop()

    expect_equal(load.errors, [], "pulls that failed")
    for node in nodes:
        expect_equal(drops(node), NOTHING, f"{node.name}: what was lost for a key's sake")
        expect_equal(node.alive_members(), 5, f"{node.name}: members alive")
        expect_equal(node.metrics().total("waggle_members", state="faulty"), 0, f"{node.name}: members faulty")
    print(f"  {load.pulls} pulls, {moved:.0f} ends of sessions moved", flush=True)


@case("a member that missed the new key is named, and nobody promotes it past that member unless forced")
def _(context):
    registry = context.registry()
    cluster = context.cluster(registry, 5)
    nodes = cluster.nodes
    informed, forgotten = nodes[:4], nodes[4]
    (old, new), _ = two_keys(context, cluster)

    # A file that is not there, and one that holds no key: file and reason, and nothing changes.
    first = nodes[0]
    keys_before = first.api("status")["keys"]
    rubbish = cluster.key_file + ".rubbish"
    with open(rubbish, "w") as file:
        file.write("rubbish\n")
    for bad, why in ((cluster.key_file + ".missing", "No such file"), (rubbish, "is not base64")):
        first.change_config({"cluster": {"key_files": [old, bad]}})
        refused = first.waggle("reload")
        expect_equal(refused.returncode, 1, "exit code of a reload with a bad key file")
        expect(bad in refused.stderr and why in refused.stderr, refused.stderr)
        expect_equal(first.api("status")["keys"], keys_before, "keys after a refused reload")

    step(informed, [old, new])
    new_name = wait_for(lambda: [k["id"] for k in first.api("status")["keys"] if k["role"] == "opens"],
                        STEP_SECONDS, "the second key is listed")[0]
    wait_for(lambda: all((key(node, new_name) or {}).get("accepted_by") == 4 for node in nodes), STEP_SECONDS,
             "every node knows that four accept the new key")
    expect_equal(key(first, new_name)["not_accepted_by"], [forgotten.name], "who lacks the new key")
    expect(f"NOT by {forgotten.name}" in first.waggle("status").stdout, "status names the member")
    rows = [line.split() for line in first.waggle("members").stdout.splitlines()]
    expect(any(row[0] == forgotten.name and new_name not in row[-1] for row in rows), "members shows its keys")
    expect_equal(key(forgotten, new_name)["role"], "unknown", "what the forgotten one sees of the key")

    for node in informed:
        node.change_config({"cluster": {"key_files": [new, old]}})
    refused = first.waggle("reload")
    expect_equal(refused.returncode, 1, "exit code of a promotion past a member")
    for word in (forgotten.name, new_name, "--force"):
        expect(word in refused.stderr, f"{word!r} is not in {refused.stderr!r}")
    expect_equal(key(first, new_name)["role"], "opens", "the new key's role after a refused promotion")
    expect_equal(first.alive_members(), 5, "members alive after a refused promotion")

    forced = first.waggle("reload", "--force")
    expect_equal(forced.returncode, 0, forced.stderr)
    expect(forgotten.name in forced.stderr, f"the warning names it: {forced.stderr!r}")
    finding = doctor_line(first, "rotation")
    expect(forgotten.name in finding and new_name in finding, finding)
    for node in informed[1:]:
        expect_equal(node.waggle("reload", "--force").returncode, 0, f"{node.name} forced")
    # It still reaches the others under the old key, until they retire that.
    for node in informed:
        node.change_config({"cluster": {"key_files": [new]}})
    refused = first.waggle("reload")
    expect(refused.returncode == 1 and forgotten.name in refused.stderr, f"retiring its key: {refused.stderr!r}")
    for node in informed:
        expect_equal(node.waggle("reload", "--force").returncode, 0, f"{node.name} forced to retire the old key")
    wait_for(lambda: all(node.metrics().total("waggle_members", state="faulty") == 1 for node in informed), 45,
             "the forgotten one is cut off")
    finding = doctor_line(first, "rotation")
    expect(forgotten.name in finding and "last seen without" in finding, finding)

    # With the key it comes back.
    forgotten.change_config({"cluster": {"key_files": [new]}})
    expect_equal(forgotten.waggle("reload", "--force").returncode, 0, "the key arrives late")
    wait_for(lambda: all(node.alive_members() == 5 for node in nodes), 45, "it is back")
    wait_for(lambda: key(first, new_name)["not_accepted_count"] == 0, STEP_SECONDS, "and accepts the new key")


def doctor_line(node, check):
    findings = node.api("doctor")["findings"]
    return next(finding["what"] for finding in findings if finding["check"] == check)


@case("two nodes from one disk image: both say so, name each other, and the rest of the cluster stays whole")
def _(context):
    registry = context.registry()
    cluster = context.cluster(registry, 3)
    original, others = cluster.nodes[2], cluster.nodes[:2]
    copy = cluster.add()
    shutil.copy(os.path.join(original.config["node"]["data_dir"], "identity"), copy.config["node"]["data_dir"])
    copy.start().wait_ready()
    for one, other in ((original, copy), (copy, original)):
        clone = wait_for(lambda one=one: one.api("status")["clones"], 20, f"{one.name} knows of the other")[0]
        expect(clone["self"], f"it is about {one.name} itself: {clone}")
        expect_equal(clone["other_address"], f"{other.address}:7947", f"where {one.name} sees the other")
        expect_equal(clone["other_name"], other.name, f"what {one.name} knows of the other's name")
        finding = doctor_line(one, "identity")
        expect(other.address in finding, finding)
        expect(one.metrics().total("waggle_cloned_identities") == 1, "the metric")
        with open(one.process.log) as log:
            lines = [line for line in log if "has its identity twice" in line]
        expect(1 <= len(lines) <= 2 and other.address in lines[0], f"{one.name} logged {lines}")
    for node in others:
        expect(node.process.running(), f"{node.name} runs")
        expect_equal(node.metrics().total("waggle_members", state="faulty"), 0, f"{node.name}: members faulty")
