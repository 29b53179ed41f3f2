"""waggled and waggle as programs: exit codes, configuration errors, the ops listener, the unix socket."""

import os
import subprocess

from harness.cases import case, expect, expect_equal
from harness.clients import http_get
from harness.cluster import make_key, program
from harness.process import clean_environment, wait_for


def check_config(context, text, env=None):
    path = os.path.join(context.scratch.path, "config.yaml")
    with open(path, "w") as file:
        file.write(text)
    ran = subprocess.run([program("waggled"), "--config", path, "--check"], capture_output=True, text=True,
                         timeout=20, env={**clean_environment(), **(env or {})})
    return ran.returncode, ran.stdout + ran.stderr, path


def good_config(context):
    key = os.path.join(context.scratch.path, "cluster.key")
    make_key(key)
    return (f"cluster:\n  key_files: [{key}]\n  bind: [\"127.0.0.1:7947\"]\n"
            f"node:\n  data_dir: {context.scratch.path}\n")


@case("--check accepts a good configuration with exit 0 and touches nothing")
def _(context):
    code, output, _ = check_config(context, good_config(context))
    expect_equal(code, 0, output)
    expect_equal(sorted(os.listdir(context.scratch.path)), ["cluster.key", "config.yaml"], "files afterwards")


@case("a bad configuration exits 2 and names file, line and key")
def _(context):
    for extra, line, words in (("mirror:\n  bnid: [\"127.0.0.1:1\"]\n", 2, ["mirror.bnid", "mirror.bind"]),
                               ("mirror:\n  tags: sometimes\n", 2, ["mirror.tags"]),
                               ("mirror:\n  first_byte: soon\n", 2, ["mirror.first_byte"]),
                               ("cache:\n  max_bytes: lots\n", 2, ["cache.max_bytes"]),
                               ("miror:\n  tags: off\n", 1, ["miror", "mirror"])):
        base = good_config(context)
        code, output, path = check_config(context, base + extra)
        expect_equal(code, 2, f"exit code for {extra!r}: {output}")
        for word in (f"{path}:{base.count(chr(10)) + line}", *words):
            expect(word in output, f"{word!r} is not in {output!r}")


@case("a file that is no YAML, and one that is not there, exit 2")
def _(context):
    code, output, path = check_config(context, "cluster: [\n")
    expect_equal(code, 2, output)
    expect(path in output, output)
    ran = subprocess.run([program("waggled"), "--config", "/nonexistent/waggle.yaml", "--check"],
                         capture_output=True, text=True, timeout=20, env=clean_environment())
    expect_equal(ran.returncode, 2, ran.stderr)


@case("environment variables set keys and are checked like them")
def _(context):
    expect_equal(check_config(context, good_config(context), {"WAGGLE_MIRROR_TAGS": "off"})[0], 0, "a good one")
    code, output, _ = check_config(context, good_config(context), {"WAGGLE_MIRROR_TAGS": "sometimes"})
    expect(code == 2 and "WAGGLE_MIRROR_TAGS" in output, output)


@case("waggle status, members, ls and who-has speak to the unix socket and over loopback ops")
def _(context):
    registry = context.registry()
    image = context.image(registry, 3 << 20)
    node = context.cluster(registry, 2).nodes[0]
    http_get(f"{node.mirror}/v2/{image.repo}/blobs/{image.biggest.digest}")

    def waggle(*args, api=node.socket):
        return subprocess.run([program("waggle"), "--api", api, *args], capture_output=True, text=True, timeout=20)

    for api in (node.socket, node.ops):
        for verb in (["status"], ["members"], ["ls"], ["who-has", image.biggest.digest]):
            for options in ([], ["--json"]):
                ran = waggle(*verb, *options, api=api)
                expect_equal(ran.returncode, 0, f"waggle {verb} {options} on {api}: {ran.stderr}")
    expect("n1" in waggle("who-has", image.biggest.digest).stdout, "who-has names the holder")
    expect("n2" in waggle("members").stdout, "members names the other node")
    expect_equal(waggle("no-such-verb").returncode, 2, "an unknown verb")
    expect_equal(waggle("status", api="/nonexistent.sock").returncode, 1, "no daemon")


@case("metrics carry the contract's names with the waggle_ prefix")
def _(context):
    registry = context.registry()
    image = context.image(registry, 2 << 20)
    node, other = context.cluster(registry, 2).nodes
    http_get(f"{node.mirror}/v2/{image.repo}/blobs/{image.biggest.digest}")
    lag = "waggle_announcement_lag_seconds"
    wait_for(lambda: other.metrics().total(lag + "_count") >= 1, 10, "the announcement counts at the other node")
    told = other.metrics()
    seconds = told.total(lag + "_sum") / told.total(lag + "_count")
    expect(0.015 <= seconds <= 5, f"{seconds} s is not the delay of a batch, nor of a repair")
    expect_equal(node.metrics().total(lag + "_count"), 0, "own announcements have no lag")
    metrics = node.metrics()
    for name in ("members", "index_digests", "index_facts", "announcement_lag_seconds_bucket", "bytes_total",
                 "upstream_requests_total", "requests_total", "swarms", "cache_bytes"):
        expect("waggle_" + name in metrics.names(), f"waggle_{name} is missing")
    expect_equal(metrics.total("waggle_members", state="alive"), 2.0, "alive members of a cluster of two")
    expect(not any("sha256" in value for _, labels, _ in metrics.samples for value in labels.values()),
           "a digest in a label")
    expect_equal(node.api("status")["ready"], True, "status.ready")
    expect_equal(node.api("blobs/sha256:" + "0" * 64), None, "a blob that nobody holds")
