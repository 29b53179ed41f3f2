"""The mirror's HTTP as registry clients see it, and containerd's own fallback."""

import json
import time

from harness.cases import case, expect, expect_equal
from harness.clients import Containerd, Skopeo, http_get, http_request
from harness.image import MIB
from harness.process import wait_for

NS = "?ns=registry.test"


def one_node(context, *layer_sizes, config=None):
    registry = context.registry()
    image = context.image(registry, *layer_sizes)
    return registry, image, context.cluster(registry, 1, config).nodes[0]


def blob_url(node, image, blob):
    return f"{node.mirror}/v2/{image.repo}/blobs/{blob.digest}{NS}"


def expect_oci_error(answer, status, what):
    expect_equal(answer.status, status, what)
    errors = json.loads(answer.body)["errors"]
    expect(errors and errors[0]["code"] and "message" in errors[0], f"{what}: {answer.body!r}")


@case("GET /v2/, manifests by digest and by tag, HEAD and GET, with the headers that clients read")
def _(context):
    _, image, node = one_node(context, 2 * MIB)
    expect_equal(http_get(f"{node.mirror}/v2/").status, 200, "/v2/")
    accept = {"Accept": image.manifest.media_type}
    for reference in (image.manifest.digest, "v1"):
        for method in ("HEAD", "GET"):
            answer = http_request(method, f"{node.mirror}/v2/{image.repo}/manifests/{reference}{NS}", accept)
            what = f"{method} manifests/{reference}"
            expect_equal(answer.status, 200, what)
            expect_equal(answer.headers.get("docker-content-digest"), image.manifest.digest, what + " digest")
            expect_equal(answer.headers.get("content-length"), str(image.manifest.size), what + " length")
            expect_equal(answer.headers.get("content-type"), image.manifest.media_type, what + " type")
            expect(answer.headers.get("x-waggle-source") in ("local", "peer", "upstream"), what + " source")
            expect(answer.headers.get("x-request-id"), what + " request id")
            expect("content-encoding" not in answer.headers, what + " is not encoded")


@case("a blob by HEAD, whole, and by every kind of range, cold and warm")
def _(context):
    _, image, node = one_node(context, 20 * MIB + 12345)
    blob = image.biggest
    url, size = blob_url(node, image, blob), blob.size
    with open(blob.path, "rb") as file:
        content = file.read()
    for temperature in ("cold", "warm"):
        head = http_request("HEAD", url)
        expect_equal((head.status, head.headers.get("content-length")), (200, str(size)), temperature + " HEAD")
        for header, first, last in (("bytes=0-0", 0, 0), ("bytes=1000-70000", 1000, 70000),
                                    (f"bytes={size - 10}-", size - 10, size - 1), ("bytes=-100", size - 100, size - 1),
                                    (f"bytes={size - 5}-{size + 500}", size - 5, size - 1), ("bytes=0-", 0, size - 1)):
            answer = http_get(url, {"Range": header})
            what = f"{temperature} {header}"
            expect_equal(answer.status, 206, what)
            expect_equal(answer.headers.get("content-range"), f"bytes {first}-{last}/{size}", what)
            expect(answer.body == content[first:last + 1], what + ": wrong bytes")
        whole = http_get(url)
        expect(whole.status == 200 and whole.body == content, f"{temperature} GET: {whole.status}")
        beyond = http_get(url, {"Range": f"bytes={size}-"})
        expect_equal((beyond.status, beyond.headers.get("content-range")), (416, f"bytes */{size}"),
                     temperature + " range past the end")


@case("unknown digests, repositories and malformed digests answer as the OCI spec says")
def _(context):
    _, image, node = one_node(context, MIB)
    nothing = "sha256:" + "0" * 64
    expect_oci_error(http_get(f"{node.mirror}/v2/{image.repo}/blobs/{nothing}{NS}"), 404, "unknown blob")
    expect_oci_error(http_get(f"{node.mirror}/v2/{image.repo}/manifests/{nothing}{NS}"), 404, "unknown manifest")
    expect_oci_error(http_get(f"{node.mirror}/v2/no/such/manifests/v1{NS}"), 404, "unknown repository")
    expect_oci_error(http_get(f"{node.mirror}/v2/{image.repo}/blobs/sha256:xyz{NS}"), 400, "malformed digest")


@case("on_miss: not_found answers 404 at once and asks upstream for no blob")
def _(context):
    registry, image, node = one_node(context, 2 * MIB, config={"mirror": {"on_miss": "not_found"}})
    began = time.monotonic()
    expect_oci_error(http_get(blob_url(node, image, image.biggest)), 404, "a blob that nobody holds")
    expect(time.monotonic() - began < 1, "at once")
    registry.settle()
    expect_equal(registry.log.blob_bytes(), 0, "upstream blob bytes")


@case("a node whose index is not ready says so on /readyz and answers 404 fast, then serves")
def _(context):
    registry = context.registry()
    image = context.image(registry, MIB)
    cluster = context.idle_cluster(registry, 1, {"cluster": {"join": ["127.0.0.1:9"]}})
    node = cluster.nodes[0].start()
    wait_for(node.alive, 10, "the listeners are up")
    expect(not node.ready(), "it is not ready without any peer")
    began = time.monotonic()
    expect_oci_error(http_get(blob_url(node, image, image.biggest)), 404, "a blob before it is ready")
    expect(time.monotonic() - began < 1, "fast")
    node.wait_ready(20)
    expect_equal(http_get(blob_url(node, image, image.biggest)).status, 200, "the same blob once it is ready")


@case("containerd pulls and unpacks through hosts.toml, by tag and by digest")
def _(context):
    registry, image, node = one_node(context, 12 * MIB, 3 * MIB)
    client = Containerd(context.scratch, "mirror").start()
    client.use_mirror(node.mirror, registry.endpoint)
    client.pull(None, image, reference=":v1", unpack=True)
    client.verify(image)
    took = node.source_bytes()
    expect(took["upstream"] >= image.blob_bytes, f"the pull went through the mirror: {took}")
    registry.settle()
    expect(registry.log.blob_bytes() <= 1.05 * image.blob_bytes, f"egress {registry.log.blob_bytes()}")
    client.forget(image)
    client.pull(None, image, unpack=True)
    client.verify(image)
    registry.settle()
    expect(registry.log.blob_bytes() <= 1.05 * image.blob_bytes, "the second pull is local")


@case("containerd falls back to the registry by itself when waggled is stopped")
def _(context):
    registry, image, node = one_node(context, 5 * MIB)
    expect_equal(node.terminate(10), 0, "exit code on SIGTERM")
    client = Containerd(context.scratch, "fallback").start()
    client.use_mirror(node.mirror, registry.endpoint)
    client.pull(None, image, reference=":v1", unpack=True)
    client.verify(image)
    registry.settle()
    expect_equal(registry.log.blob_bytes(), image.blob_bytes, "bytes straight from the registry")


@case("containerd gets a blob that waggled refuses (on_miss: not_found) from the registry")
def _(context):
    registry, image, node = one_node(context, 5 * MIB, config={"mirror": {"on_miss": "not_found"}})
    client = Containerd(context.scratch, "refused").start()
    client.use_mirror(node.mirror, registry.endpoint)
    client.pull(None, image, reference=":v1")
    client.verify(image)


@case("a plain registry client without ns= is served from default_registry")
def _(context):
    _, image, node = one_node(context, 5 * MIB, MIB)
    client = Skopeo(context.scratch, "plain").start()
    client.pull(node.mirror, image)
    client.verify(image)


@case("a registry that upstream.allow does not name is refused")
def _(context):
    _, image, node = one_node(context, MIB, config={"upstream": {"allow": ["registry.test"]}})
    url = f"{node.mirror}/v2/{image.repo}/blobs/{image.biggest.digest}?ns=169.254.169.254"
    status = http_get(url).status
    expect(400 <= status < 500, f"status {status}")
