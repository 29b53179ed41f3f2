"""/blobs/<url> as overlaybd uses it: ranges, sharing by digest, expired signatures, URLs without a digest."""

import hashlib
import http.client
import os
import threading
import time

from harness.cases import case, expect, expect_equal
from harness.clients import http_get, http_request
from harness.image import MIB
from harness.process import wait_for
from harness.store import Store, allow, blobs_url


def layer(store, content, form="/docker/registry/v2/blobs/sha256/{short}/{hex}/data"):
    """Adds `content` where registries keep it; (its path, its digest)."""
    name = hashlib.sha256(content).hexdigest()
    return store.add(form.format(short=name[:2], hex=name), content), "sha256:" + name


def nodes(context, store, count, config=None):
    changes = allow(store)
    changes["upstream"]["registries"] = {"registry.test": {"endpoint": f"http://127.0.0.1:{store.port}"}}
    for section, keys in (config or {}).items():
        changes[section] = {**changes.get(section, {}), **keys}
    return context.cluster(_NoRegistry, count, changes).nodes


class _NoRegistry:
    """A cluster needs an endpoint to name; these cases have only a store."""
    endpoint = "http://127.0.0.1:9"


def ask(node, url, first, last, **headers):
    return http_get(blobs_url(node, url), {"Range": f"bytes={first}-{last}", **headers})


def expect_range(answer, content, first, last, what):
    expect_equal(answer.status, 206, f"{what}: {answer.body[:200]!r}")
    expect_equal(answer.headers.get("content-range"), f"bytes {first}-{last}/{len(content)}", what)
    expect_equal(answer.headers.get("content-length"), str(last - first + 1), what + " length")
    expect(answer.body == content[first:last + 1], what + ": wrong bytes")


@case("overlaybd's sequence: size by one byte, the end, then pieces anywhere; cold at once, warm without upstream")
def _(context):
    store, content = Store(context.scratch), os.urandom(20 * MIB + 4321)
    path, digest = layer(store, content)
    node, other = nodes(context, store, 2)
    size = len(content)
    expect_range(ask(node, store.url(path), 0, 0), content, 0, 0, "size")
    for first, length in ((size - 4096, 4096), (17 * MIB + 17, 70000), (MIB - 100, 200)):
        began = time.monotonic()
        expect_range(ask(node, store.url(path), first, first + length - 1), content, first, first + length - 1,
                     f"cold at {first}")
        expect(time.monotonic() - began < 2.5, f"cold at {first}: {time.monotonic() - began:.1f} s")
    whole = http_get(blobs_url(node, store.url(path)))
    expect(whole.status == 200 and whole.body == content, f"the whole: {whole.status}")
    wait_for(lambda: (node.api(f"blobs/{digest}") or {}).get("complete"), 20, "the blob is complete")
    wait_for(lambda: (other.api(f"blobs/{digest}") or {}).get("holders"), 10, "the other node knows")
    asked = store.hits()
    for reader, source in ((node, "local"), (other, "peer")):
        answer = ask(reader, store.url(path, "expired"), 5 * MIB, 5 * MIB + 99)
        expect_range(answer, content, 5 * MIB, 5 * MIB + 99, f"warm from {source}")
        expect_equal(answer.headers["x-waggle-source"], source, "source")
        head = http_request("HEAD", blobs_url(reader, store.url(path, "expired")))
        expect_equal((head.status, head.headers["content-length"]), (200, str(size)), "HEAD")
    expect_equal(store.hits(), asked, "requests upstream once the size and the content are known")
    expect(store.body_bytes() < 1.3 * size, f"egress {store.body_bytes() / size:.2f} of the blob")
    expect(node.metrics().total("waggle_bytes_total", protocol="overlaybd", source="upstream") >= size, "metrics")


@case("the same blob through /v2 and through /blobs is one blob")
def _(context):
    registry = context.registry()
    image = context.image(registry, 6 * MIB)
    store = Store(context.scratch)
    with open(image.biggest.path, "rb") as file:
        content = file.read()
    path, digest = layer(store, content, "/sha256/{hex}")
    expect_equal(digest, image.biggest.digest, "digest")
    node = context.cluster(registry, 1, allow(store)).nodes[0]
    got = http_get(f"{node.mirror}/v2/{image.repo}/blobs/{digest}?ns=registry.test")
    expect(got.body == content, "by /v2")
    wait_for(lambda: node.api(f"blobs/{digest}")["complete"], 10, "complete")
    expect_range(ask(node, store.url(path), 100, 4195), content, 100, 4195, "by /blobs")
    expect_equal(store.hits(), 0, "the store was not asked")
    # Mode Self: the registry's own URL, with overlaybd's token.
    registry_url = f"{registry.endpoint}/v2/{image.repo}/blobs/{image.config.digest}"
    answer = ask(node, registry_url, 0, 9, Authorization="Bearer any")
    expect_equal((answer.status, len(answer.body)), (206, 10), "mode Self")


@case("an expired signature answers 403, a missing blob 404, and a fresh URL works at once")
def _(context):
    store, content = Store(context.scratch), os.urandom(3 * MIB)
    path, _ = layer(store, content)
    node = nodes(context, store, 1)[0]
    for attempt in range(2):
        began = time.monotonic()
        answer = ask(node, store.url(path, "expired"), 0, 0)
        expect_equal(answer.status, 403, f"expired, attempt {attempt}: {answer.body!r}")
        expect(b"expired" not in answer.body or b"resolve" in answer.body, f"{answer.body!r}")
        expect(time.monotonic() - began < 3, "at once")
        expect_equal(ask(node, store.url(path.replace("/data", "").replace("sha256", "gone/sha256")), 0, 0).status, 404,
                     "missing")
    expect_range(ask(node, store.url(path), 7, 77), content, 7, 77, "with a fresh URL")


@case("a URL without a digest is passed through and never shared")
def _(context):
    store, content = Store(context.scratch), os.urandom(2 * MIB + 99)
    path = store.add("/layers/without-a-name", content)
    node = nodes(context, store, 1)[0]
    for no_ranges in (False, True):
        store.no_ranges = no_ranges
        for first, last in ((0, 0), (MIB, MIB + 4095), (len(content) - 10, len(content) - 1)):
            expect_range(ask(node, store.url(path), first, last), content, first, last, f"no ranges: {no_ranges}")
        whole = http_get(blobs_url(node, store.url(path)))
        expect(whole.status == 200 and whole.body == content, f"the whole: {whole.status}")
    beyond = ask(node, store.url(path), len(content), len(content) + 1)
    expect_equal((beyond.status, beyond.headers.get("content-range")), (416, f"bytes */{len(content)}"), "beyond")
    expect_equal(ask(node, store.url(path, "expired"), 0, 0).status, 403, "expired")
    expect_equal(node.api("blobs")["blobs"], [], "blobs of this node")


@case("a storage without ranges still gives exact 206 answers for a blob with a digest")
def _(context):
    store, content = Store(context.scratch), os.urandom(5 * MIB)
    store.no_ranges = True
    path, _ = layer(store, content)
    node = nodes(context, store, 1)[0]
    for first, last in ((0, 0), (4 * MIB, 4 * MIB + 4095)):
        expect_range(ask(node, store.url(path), first, last), content, first, last, "no ranges upstream")


@case("many nodes that read one cold blob ask the store about once for each byte")
def _(context):
    store, content = Store(context.scratch), os.urandom(20 * MIB)
    path, _ = layer(store, content)
    cluster = nodes(context, store, 4)
    wrong = []

    def read_all(node, number):
        for first in range(0, len(content), MIB):
            answer = ask(node, store.url(path) + f"&node={number}", first, first + MIB - 1)
            if answer.status != 206 or answer.body != content[first:first + MIB]:
                wrong.append(f"node {number} at {first}: {answer.status} {answer.body[:100]!r}")

    threads = [threading.Thread(target=read_all, args=(node, i)) for i, node in enumerate(cluster)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not wrong, "\n".join(wrong[:3]))
    expect(store.body_bytes() < 1.5 * len(content), f"egress {store.body_bytes() / len(content):.2f} of the blob")


@case("with lazy_reads: upstream unproven ranges come from upstream alone")
def _(context):
    store, content = Store(context.scratch), os.urandom(3 * MIB)
    path, _ = layer(store, content)
    node = nodes(context, store, 1, {"mirror": {"lazy_reads": "upstream"}})[0]
    answer = ask(node, store.url(path), MIB, MIB + 9)
    expect_range(answer, content, MIB, MIB + 9, "lazy_reads: upstream")
    expect_equal(answer.headers["x-waggle-source"], "upstream", "source")


@case("an evil origin named for a digest changes nothing for those who use the true one")
def _(context):
    true, evil = Store(context.scratch), Store(context.scratch)
    content = os.urandom(6 * MIB)
    path, digest = layer(true, content)
    evil.add(path, os.urandom(len(content)))
    config = {"upstream": {"allow_local": [true.host, evil.host]}}
    one, two = context.cluster(_NoRegistry, 2, config).nodes
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            try:
                ask(one, evil.url(path), 0, 4095)
                http_get(blobs_url(one, evil.url(path)))
            except http.client.HTTPException:
                pass  # cut: its bytes have not the digest

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        wait_for(lambda: evil.hits() > 0, 10, "the attack runs")
        for node in (two, one):
            whole = http_get(blobs_url(node, true.url(path)))
            expect(whole.status == 200 and whole.body == content, f"{node.name}: {whole.status}")
            expect_range(ask(node, true.url(path), 3 * MIB, 3 * MIB + 99), content, 3 * MIB, 3 * MIB + 99, node.name)
    finally:
        stop.set()
        attacker.join()
    wait_for(lambda: one.api(f"blobs/{digest}")["complete"], 10, "proven")
    # Proven content is the same whoever names it.
    expect_range(ask(one, evil.url(path), 1, 2), content, 1, 2, "proven, whatever origin is named")


@case("no signature and no token reaches a log or the disk")
def _(context):
    store, content = Store(context.scratch), os.urandom(2 * MIB)
    store.signatures.add("TopSecretSignature")
    path, _ = layer(store, content)
    node = nodes(context, store, 1, {"log": {"level": "trace"}})[0]
    url = store.url(path, "TopSecretSignature")
    expect_range(ask(node, url, 0, 99, Authorization="Bearer TopSecretToken"), content, 0, 99, "a range")
    ask(node, store.url("/nothing", "TopSecretSignature"), 0, 1)
    http_get(blobs_url(node, "ftp://x/?sig=TopSecretSignature"))
    expect_equal(store.requests[0][1].get("Authorization"), "Bearer TopSecretToken", "the token goes upstream")
    expect_equal(node.terminate(), 0, "exit code")
    for directory, _dirs, names in os.walk(context.scratch.path):
        for name in names:
            with open(os.path.join(directory, name), "rb") as file:
                expect(b"TopSecret" not in file.read(), f"{directory}/{name} holds a secret")
