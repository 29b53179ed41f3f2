"""The harness itself: what it counts and limits has to be right before it may judge the daemon."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time

from harness import clients
from harness.cases import case, expect, expect_equal
from harness.cluster import merged, to_yaml
from harness.image import MIB
from harness.metrics import Metrics
from harness.process import Scratch, wait_for


def _blob_url(registry, image, blob):
    return f"{registry.endpoint}/v2/{image.repo}/blobs/{blob.digest}"


@case("a pull straight from the registry is counted to the byte", needs_daemon=False)
def _(context):
    registry = context.registry()
    image = context.image(registry, 3 * MIB, 5 * MIB + 17)
    clients.http_pull(registry.endpoint, image)
    registry.settle()
    expect_equal(registry.log.blob_bytes(), image.blob_bytes, "blob bytes in the access log")
    expect_equal(registry.log.body_bytes(), image.blob_bytes + image.manifest.size, "all body bytes")


@case("ranges, HEAD and unknown digests pass the registry's front unchanged", needs_daemon=False)
def _(context):
    registry = context.registry()
    image = context.image(registry, 2 * MIB)
    url = _blob_url(registry, image, image.biggest)
    part = clients.http_get(url, {"Range": "bytes=100-299"})
    expect_equal((part.status, len(part.body)), (206, 200), "a range")
    with open(image.biggest.path, "rb") as file:
        file.seek(100)
        expect_equal(part.body, file.read(200), "the range's bytes")
    head = clients.http_request("HEAD", url)
    expect_equal((head.status, head.headers["content-length"]), (200, str(image.biggest.size)), "HEAD")
    expect_equal(clients.http_get(url[:-4] + "0000").status, 404, "an unknown digest")
    registry.settle()
    expect_equal(registry.log.bytes_of(image.biggest.digest), 200, "bytes of the blob in the log")


@case("the rate limit holds for all connections together", needs_daemon=False)
def _(context):
    registry = context.registry(rate=20 * MIB)
    image = context.image(registry, 5 * MIB, 5 * MIB, 5 * MIB, 5 * MIB)
    began = time.monotonic()
    threads = [threading.Thread(target=clients.http_get, args=(_blob_url(registry, image, layer),))
               for layer in image.layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    expect(0.95 <= seconds, f"20 MiB at 20 MiB/s took only {seconds:.2f} s")


@case("an aborted download is counted by the bytes that left, not by its length", needs_daemon=False)
def _(context):
    registry = context.registry(rate=20 * MIB)
    image = context.image(registry, 20 * MIB)
    connection = http.client.HTTPConnection("127.0.0.1", registry.front.port)
    connection.request("GET", f"/v2/{image.repo}/blobs/{image.biggest.digest}")
    response = connection.getresponse()
    taken = len(response.read(2 * MIB))
    response.close()
    connection.close()
    registry.settle()
    sent = registry.log.blob_bytes()
    expect(taken <= sent <= taken + 8 * MIB, f"took {taken}, log says {sent}")
    expect_equal(registry.log.records()[-1]["complete"], False, "complete")


@case("faults cut, corrupt and refuse, and end when they are switched off", needs_daemon=False)
def _(context):
    registry = context.registry()
    image = context.image(registry, 4 * MIB)
    url = _blob_url(registry, image, image.biggest)
    registry.faults.corrupt.add(image.biggest.digest)
    try:
        clients.http_pull(registry.endpoint, image)
        raise RuntimeError("a corrupt blob passed")
    except clients.WrongContent:
        registry.faults.corrupt.clear()
    registry.faults.cut_after = MIB
    try:
        clients.http_get(url)
        raise RuntimeError("a cut response passed")
    except (http.client.IncompleteRead, OSError):
        registry.faults.cut_after = None
    registry.faults.status = 503
    expect_equal(clients.http_get(url).status, 503, "status")
    registry.faults.status = None
    clients.http_pull(registry.endpoint, image)


@case("a stopped registry refuses connections and comes back on its port", needs_daemon=False)
def _(context):
    registry = context.registry()
    image = context.image(registry, MIB)
    endpoint = registry.endpoint
    registry.stop()
    try:
        clients.http_get(endpoint + "/v2/")
        raise RuntimeError("a stopped registry answered")
    except ConnectionRefusedError:
        registry.start()
    expect_equal(registry.endpoint, endpoint, "the endpoint")
    clients.http_pull(endpoint, image)


@case("skopeo pulls such an image without changing a digest", needs_daemon=False)
def _(context):
    registry = context.registry()
    image = context.image(registry, 2 * MIB, MIB)
    client = clients.Skopeo(context.scratch, "direct").start()
    client.pull(registry.endpoint, image)
    client.verify(image)


@case("a private containerd pulls and unpacks such an image through hosts.toml", needs_daemon=False)
def _(context):
    expect(clients.Containerd.can_be_tried(), "containerd and ctr are needed, and root")
    registry = context.registry()
    image = context.image(registry, 2 * MIB, MIB)
    client = clients.Containerd(context.scratch, "direct").start()
    client.use_mirror(registry.endpoint, registry.endpoint)
    client.pull(None, image, reference=":v1", unpack=True)
    client.verify(image)


@case("leaving a scratch directory ends its processes and removes it, also on SIGTERM", needs_daemon=False)
def _(context):
    script = ("import signal, sys; sys.path.insert(0, sys.argv[1])\n"
              "from harness.process import Scratch\n"
              "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
              "with Scratch('waggle-selftest-') as scratch:\n"
              "    child = scratch.start('sleeper', ['sleep', '1000'])\n"
              "    print(child.pid, scratch.path, flush=True)\n"
              "    signal.pause()\n")
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with subprocess.Popen([sys.executable, "-c", script, here], stdout=subprocess.PIPE, text=True) as parent:
        pid, path = parent.stdout.readline().split()
        parent.send_signal(signal.SIGTERM)
        expect_equal(parent.wait(20), 3, "exit code")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 5, "the child is gone")
    expect(not os.path.exists(path), "the directory is gone")


@case("a failed case keeps its logs", needs_daemon=False)
def _(context):
    kept = os.path.join(context.scratch.path, "kept")
    try:
        with Scratch("waggle-selftest-", keep_logs_in=kept) as inner:
            inner.start("speaker", ["echo", "last words"]).wait(5)
            raise KeyError("on purpose")
    except KeyError:
        pass
    with open(os.path.join(kept, "speaker.log")) as log:
        expect_equal(log.read(), "last words\n", "the kept log")


@case("the metrics parser reads labels, escapes and values", needs_daemon=False)
def _(_context):
    metrics = Metrics('# HELP a b\na_total{x="1",y="q\\"}"} 3\na_total{x="2"} 4.5e1\nplain 7 1700000000000\n')
    expect_equal(metrics.total("a_total"), 48.0, "sum over labels")
    expect_equal(metrics.total("a_total", x="2"), 45.0, "one label")
    expect_equal(metrics.total("plain"), 7.0, "no labels")
    expect_equal(metrics.total("absent"), 0, "absent")


@case("configurations are written as YAML, changes laid over the base", needs_daemon=False)
def _(_context):
    config = merged({"mirror": {"bind": ["a"], "on_miss": "fetch"}}, {"mirror": {"on_miss": "not_found"}})
    config["upstream"] = {"registries": {"registry.test": {"endpoint": "http://x"}}}
    expect_equal(to_yaml(config), 'mirror:\n  bind: ["a"]\n  on_miss: "not_found"\nupstream:\n  registries:\n'
                                  '    "registry.test":\n      endpoint: "http://x"', "the text")
