"""waggle doctor: each check caused on a real node; and what is left in containerd after wrong bytes."""

import hashlib
import json
import os
import shutil
import subprocess

from harness.cases import case, expect, expect_equal
from harness.clients import Containerd, http_get
from harness.cluster import program
from harness.image import MIB
from harness.namespace import enter_private_network
from harness.process import clean_environment, wait_for
from harness.store import Store


class NoRegistry:
    endpoint = "http://127.0.0.1:9"


def containerd_files(context, mirror, hosts=None, config=True):
    """A config.toml whose config_path has one hosts.toml; the file's path."""
    home = context.scratch.dir("etc-containerd")
    certs = context.scratch.dir("etc-containerd", "certs.d", "_default")
    with open(os.path.join(certs, "hosts.toml"), "w") as file:
        file.write(hosts or f'[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n')
    path = os.path.join(home, "config.toml")
    with open(path, "w") as file:
        file.write('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n')
        file.write(f'  config_path = "{os.path.dirname(certs)}"\n' if config else "\n")
    return path


def doctor(context, node, *args, containerd=None, root=None):
    """(exit code, the findings that are not ok by their check, all)"""
    containerd = containerd or containerd_files(context, node.mirror)
    ran = subprocess.run(
        [program("waggle"), "doctor", "--api", node.socket, "--json", "--config", node.config_path,
         "--containerd-config", containerd, "--containerd-root", root or context.scratch.dir("no-containerd"), *args],
        capture_output=True, text=True, timeout=30, env=clean_environment())
    expect(ran.returncode in (0, 1), f"exit {ran.returncode}: {ran.stderr}")
    document = json.loads(ran.stdout)
    found = {}
    for finding in document["findings"]:
        if finding["level"] != "ok":
            expect(finding["to_do"], f"nothing to do: {finding}")
            found.setdefault(finding["check"], []).append(finding)
    failed = any(finding["level"] == "fail" for finding in document["findings"])
    expect_equal((ran.returncode, document["ok"]), (1, False) if failed else (0, True), "exit code and ok")
    return ran.returncode, found, document["findings"]


def expect_finding(found, check, level, words, what):
    text = " ".join(finding["what"] + " " + finding["to_do"] for finding in found.get(check, []))
    expect(any(finding["level"] == level for finding in found.get(check, [])), f"{what}: {found}")
    expect(words in text, f"{what}: {words!r} is not in {text!r}")


def unless_clock(found):
    """A test machine's clock may have no time service."""
    return sorted(set(found) - {"clock", "disk", "config"})


@case("a healthy cluster has nothing to mend: exit 0, a line per check, for people and as JSON")
def _(context):
    registry = context.registry()
    node = context.cluster(registry, 2).nodes[0]
    code, found, everything = doctor(context, node)
    expect_equal((code, unless_clock(found)), (0, []), f"findings {found}")
    checks = {finding["check"] for finding in everything}
    expect_equal(checks, {"daemon", "config", "key", "clock", "index", "members", "hints", "udp", "mtu", "versions",
                          "data_dir", "disk", "upstream", "pause", "rotation", "identity", "ports", "containerd",
                          "tainted"}, "checks")
    text = subprocess.run([program("waggle"), "doctor", "--api", node.socket], capture_output=True, text=True,
                          timeout=30, env=clean_environment()).stdout
    expect("ok    daemon" in text and "failed" in text, text)


@case("the daemon is down, or its configuration is wrong")
def _(context):
    node = context.idle_cluster(NoRegistry, 1).nodes[0]
    code, found, everything = doctor(context, node)
    expect_equal(code, 1, "exit code")
    expect_finding(found, "daemon", "fail", "systemctl start waggled", "down")
    expect("config" not in found, f"the configuration is good: {everything}")
    with open(node.config_path, "a") as file:
        file.write("mirorr: {}\n")
    expect_finding(doctor(context, node)[1], "config", "fail", "mirorr", "a wrong key")


@case("key mode, full disk, unreachable and pausing registries, a clock that is off, a hint that is gone")
def _(context):
    store = Store(context.scratch)
    store.date = "Mon, 01 Jan 2024 00:00:00 GMT"
    pausing = Store(context.scratch)
    pausing.status = (429, {"Retry-After": "30"})
    config = {"upstream": {"registries": {"off.test": {"endpoint": f"http://{store.host}"},
                                          "busy.test": {"endpoint": f"http://{pausing.host}"}}},
              "cache": {"min_free": "99%"}, "transfer": {"dscp": "8"}}
    cluster = context.idle_cluster(NoRegistry, 2, config)
    node = cluster.nodes[0].start()
    wait_for(node.alive, 10, "it answers")
    os.chmod(cluster.key_file, 0o644)
    _, found, _ = doctor(context, node)
    expect_finding(found, "key", "fail", "chmod 600", "key mode")
    expect_finding(found, "disk", "warn", "cache.min_free", "full disk")
    expect_finding(found, "upstream", "fail", "registry.test", "unreachable registry")
    expect_finding(found, "pause", "warn", "busy.test", "pausing registry")
    expect_finding(found, "clock", "fail", "ahead of off.test", "clock")
    expect_finding(found, "config", "warn", "transfer.dscp", "a key without effect")
    expect_finding(found, "hints", "fail", "12:7947", "the other node is not there")
    expect_finding(found, "members", "fail", "alone", "alone")
    expect_finding(found, "index", "fail", "not ready", "a node that waits for its peers")
    os.unlink(cluster.key_file)
    expect_finding(doctor(context, node)[1], "key", "fail", "waggle keygen", "no key")


@case("UDP blocked while TCP passes, a path that is too narrow")
def _(context):
    enter_private_network(context.scratch)
    cluster = context.idle_cluster(NoRegistry, 2)
    one, two = [node.start() for node in cluster.nodes]
    cluster.wait_joined()
    subprocess.run(["ip", "link", "set", "lo", "mtu", "1300"], check=True)
    expect_finding(doctor(context, one)[1], "mtu", "warn", "cluster.packet_bytes to 1300", "narrow path")
    subprocess.run(["ip", "link", "set", "lo", "mtu", "65536"], check=True)
    two.kill9()
    # Somebody listens on its TCP port, but gossip is not answered: what a UDP filter looks like.
    listener = Store(context.scratch, two.address, 7947)
    wait_for(lambda: one.metrics().total("waggle_members", state="faulty") == 1, 40, "it is missed")
    found = doctor(context, one)[1]
    expect_finding(found, "udp", "fail", f"{two.address}:7947", "blocked UDP")
    expect_finding(found, "members", "warn", "n2 (faulty)", "missing member")
    listener.stop()
    expect("udp" not in doctor(context, one)[1], "without TCP it is just gone")


@case("a port that somebody else answers is not taken for ours", needs_daemon=False)
def _(context):
    api, thief = Store(context.scratch), Store(context.scratch)
    thief.answer = b"waggle\n"
    api.answer = json.dumps({"findings": [], "listeners": [thief.host], "mirrors": []}).encode()
    ran = subprocess.run([program("waggle"), "doctor", "--json", "--api", f"http://{api.host}"], capture_output=True,
                         text=True, timeout=30, env=clean_environment())
    expect_equal(ran.returncode, 1, ran.stdout)
    expect("somebody else answers" in ran.stdout, ran.stdout)
    expect("/livez?nonce=" in thief.requests[0][0], f"{thief.requests}")


@case("containerd that does not ask waggle, or asks others first")
def _(context):
    node = context.cluster(context.registry(), 1).nodes[0]
    ask = lambda **files: doctor(context, node, containerd=containerd_files(context, node.mirror, **files))[1]
    expect_finding(ask(config=False), "containerd", "warn", "config_path", "no config_path")
    expect_finding(ask(hosts='[host."http://10.0.0.1:5000"]\n'), "containerd", "warn", "names http://", "not named")
    expect_finding(ask(hosts=f'[host."http://10.0.0.1:5000"]\n[host."{node.mirror}"]\n'), "containerd", "warn",
                   "before waggle", "others first")
    expect_finding(ask(hosts=f'[host."{node.mirror}"]\ncapabilities = ["push"]\n'), "containerd", "warn", '"pull"',
                   "no pull")


def expect_tainted(context, node, digest):
    """The doctor names the digest, and what a containerd keeps of it."""
    root = context.scratch.dir("some-containerd")
    for name, content in (("kept", f"layer-{digest}"), ("other", "layer-sha256:" + "0" * 64)):
        with open(os.path.join(context.scratch.dir("some-containerd", "io.containerd.content.v1.content", "ingest",
                                                   name), "ref"), "w") as file:
            file.write(content)
    found = doctor(context, node, root=root)[1]
    expect_finding(found, "tainted", "warn", digest, "the digest is named")
    expect_finding(found, "tainted", "warn", "ingest/kept", "what to remove")
    expect("ingest/other" not in found["tainted"][0]["to_do"], f"and nothing else: {found['tainted']}")


def ingests(client, digest):
    """Directories of containerd's unfinished ingests of `digest`."""
    base = os.path.join(client.home, "root", "io.containerd.content.v1.content", "ingest")
    found = []
    for name in os.listdir(base) if os.path.isdir(base) else []:
        try:
            with open(os.path.join(base, name, "ref")) as file:
                if digest[7:] in file.read():
                    found.append(os.path.join(base, name))
        except FileNotFoundError:
            pass  # containerd has cleaned it up meanwhile
    return found


@case("after wrong bytes from upstream containerd's next pull ends right, once what doctor names is removed")
def _(context):
    registry = context.registry()
    image = context.image(registry, 9 * MIB)
    node = context.cluster(registry, 1).nodes[0]
    client = Containerd(context.scratch, "tainted").start()
    client.use_mirror(node.mirror, registry.endpoint)
    layer = image.biggest.digest
    registry.faults.corrupt.add(layer)
    try:
        client.pull(None, image, deadline=120)
        raise AssertionError("containerd took wrong bytes for the layer")
    except AssertionError as error:
        expect("failed" in str(error), str(error))
    registry.faults.corrupt.clear()
    expect_tainted(context, node, layer)

    def pulls():
        """containerd may write what was on its way into the ingest after it was removed: then once more."""
        for directory in ingests(client, layer):
            shutil.rmtree(directory, ignore_errors=True)
        try:
            client.pull(None, image, deadline=120)
            return True
        except AssertionError as error:
            expect("unexpected commit digest" in str(error), str(error))
            return False

    wait_for(pulls, 20, "the layer's true bytes are taken", every=0.5)
    client.verify(image)
    expect(not ingests(client, layer), "nothing is left unfinished")


@case("curl -C resumes after wrong bytes and never ends with a file that looks whole and is wrong")
def _(context):
    registry = context.registry()
    image = context.image(registry, 9 * MIB)
    node = context.cluster(registry, 1).nodes[0]
    blob = image.biggest
    url = f"{node.mirror}/v2/{image.repo}/blobs/{blob.digest}?ns=registry.test"
    path = os.path.join(context.scratch.path, "layer")

    def curl():
        return subprocess.run(["curl", "-sS", "-f", "-C", "-", "-o", path, url], capture_output=True,
                              timeout=120).returncode

    def digest():
        with open(path, "rb") as file:
            return "sha256:" + hashlib.sha256(file.read()).hexdigest()

    registry.faults.corrupt.add(blob.digest)
    expect(curl() != 0, "a pull of wrong bytes fails")
    kept = os.path.getsize(path) if os.path.exists(path) else 0
    expect(kept < blob.size, f"{kept} of {blob.size} bytes")
    registry.faults.corrupt.clear()
    code = curl()
    if code == 0:
        # The start of the file is wrong for ever; whoever resumes has to check, as every registry client does.
        expect_equal(os.path.getsize(path), blob.size, "size")
    if code != 0 or digest() != blob.digest:
        os.unlink(path)
        expect_equal(curl(), 0, "a pull from the start")
    expect_equal(digest(), blob.digest, "in the end")
    wait_for(lambda: node.api(f"blobs/{blob.digest}")["complete"], 20, "complete")
    expect_equal(http_get(url, {"Range": "bytes=5-9"}).status, 206, "ranges are served again")
    expect_tainted(context, node, blob.digest)
