"""Real clients: plain HTTP, skopeo, and a private containerd. Each pull ends with every digest checked."""

import dataclasses
import hashlib
import http.client
import os
import shutil
import subprocess
import urllib.parse

from . import process
from .image import sha256_file

HOST = "registry.test"


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


def http_request(method, url, headers=None, timeout=30):
    """One request on a connection of its own; header names in lower case."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        path = parts.path + ("?" + parts.query if parts.query else "")
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def http_get(url, headers=None, timeout=30):
    return http_request("GET", url, headers, timeout)


class WrongContent(AssertionError):
    """A client ended with bytes that don't have the digest it asked for."""


def http_pull(base, image, ns=HOST):
    """Manifest, config and layers one after the other, hashed as they come."""
    for blob in [image.manifest, *image.blobs]:
        kind = "manifests" if blob is image.manifest else "blobs"
        parts = urllib.parse.urlsplit(base)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        try:
            connection.request("GET", f"/v2/{image.repo}/{kind}/{blob.digest}?ns={ns}",
                               headers={"Accept": blob.media_type})
            response = connection.getresponse()
            if response.status != 200:
                raise AssertionError(f"GET {kind}/{blob.digest}: {response.status} {response.read(300)!r}")
            hasher, got = hashlib.sha256(), 0
            while block := response.read(1 << 20):
                hasher.update(block)
                got += len(block)
            announced = int(response.getheader("Content-Length", -1))
            if got != announced:  # read(n) is silent about a body that was cut
                raise ConnectionError(f"{kind}/{blob.digest} was cut after {got} of {announced} bytes")
            if "sha256:" + hasher.hexdigest() != blob.digest:
                raise WrongContent(f"{kind}/{blob.digest} came as sha256:{hasher.hexdigest()}")
        finally:
            connection.close()


class Skopeo:
    """`skopeo copy` from a mirror into a directory."""

    kind = "skopeo"

    def __init__(self, scratch, name):
        self._scratch, self._name = scratch, name
        self._out = scratch.dir(f"skopeo-{name}", "image")

    def start(self):
        return self

    def pull(self, mirror, image, deadline=300):
        shutil.rmtree(self._out)
        host = urllib.parse.urlsplit(mirror).netloc
        run = self._scratch.start(f"skopeo-{self._name}", [
            "skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", "--preserve-digests",
            f"docker://{host}/{image.repo}@{image.manifest.digest}", f"dir:{self._out}"],
            env={"TMPDIR": self._scratch.dir(f"skopeo-{self._name}", "tmp")})
        if run.wait(deadline) != 0:
            raise AssertionError(f"skopeo on {mirror} failed:\n{run.tail()}")

    def verify(self, image):
        check_files({image.manifest.digest: os.path.join(self._out, "manifest.json"),
                     **{blob.digest: os.path.join(self._out, blob.digest[7:]) for blob in image.blobs}})


_CONTAINERD = """version = 2
root = "{home}/root"
state = "{home}/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"""


class Containerd:
    """A containerd with root, state and socket of its own; pulls registry.test through a hosts.toml."""

    kind = "containerd"
    containerd, ctr = "containerd", "ctr"
    config = _CONTAINERD

    def __init__(self, scratch, name):
        self._scratch, self._name = scratch, name
        self.home = scratch.dir(f"containerd-{name}")
        self._socket = os.path.join(self.home, "c.sock")
        self._hosts = scratch.dir(f"containerd-{name}", "certs.d")

    @staticmethod
    def can_be_tried():
        """It is installed and we are root."""
        return os.geteuid() == 0 and bool(shutil.which("containerd")) and bool(shutil.which("ctr"))

    def start(self):
        config = os.path.join(self.home, "config.toml")
        with open(config, "w") as file:
            file.write(self.config.format(home=self.home, socket=self._socket, hosts=self._hosts))
        self._process = self._scratch.start(f"containerd-{self._name}", [self.containerd, "--config", config])
        process.wait_for(self._answers, 30, "containerd answers")
        return self

    def _ctr(self, *args):
        return [self.ctr, "--address", self._socket, *args]

    def _answers(self):
        if not self._process.running():
            raise AssertionError(f"containerd ended:\n{self._process.tail()}")
        return subprocess.run(self._ctr("version"), capture_output=True, timeout=20).returncode == 0

    def use_mirror(self, mirror, upstream):
        """hosts.toml as an operator writes it: the mirror first, the registry behind it."""
        os.makedirs(os.path.join(self._hosts, HOST), exist_ok=True)
        with open(os.path.join(self._hosts, HOST, "hosts.toml"), "w") as file:
            file.write(f'server = "{upstream}"\n\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n')

    def pull(self, _mirror, image, deadline=300, reference=None, unpack=False):
        """Without `unpack` the content only, as `ctr content fetch` takes it."""
        verb = ["images", "pull"] if unpack else ["content", "fetch"]
        name = f"{HOST}/{image.repo}" + (reference or "@" + image.manifest.digest)
        run = self._scratch.start(f"ctr-{self._name}", self._ctr(*verb, "--hosts-dir", self._hosts, name))
        if run.wait(deadline) != 0:
            raise AssertionError(f"ctr {' '.join(verb)} {name} failed:\n{run.tail()}")

    def verify(self, image):
        store = os.path.join(self.home, "root", "io.containerd.content.v1.content", "blobs", "sha256")
        check_files({digest: os.path.join(store, digest[7:]) for digest in image.digests})

    def forget(self, image):
        """Removes the image and its content, so that the next pull asks for every blob."""
        for name in (f"{HOST}/{image.repo}@{image.manifest.digest}", f"{HOST}/{image.repo}:v1"):
            subprocess.run(self._ctr("images", "rm", "--sync", name), capture_output=True, timeout=60)


_CONTAINERD2 = """version = 3
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
[plugins."io.containerd.transfer.v1.local"]
  config_path = "{hosts}"
  concurrent_layer_fetch_buffer = 1048576
"""


class Containerd2(Containerd):
    """containerd 2.x as dev.d/containerd2.sh builds it, fetching each layer in parallel pieces of 1 MiB."""

    kind = "containerd2"
    config = _CONTAINERD2
    _bin = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", ".deps", "containerd2", "bin")
    containerd, ctr = os.path.join(_bin, "containerd"), os.path.join(_bin, "ctr")

    @classmethod
    def can_be_tried(cls):
        return os.geteuid() == 0 and os.access(cls.containerd, os.X_OK) and os.access(cls.ctr, os.X_OK)

    def pull(self, _mirror, image, deadline=300, reference=None, unpack=True):
        """Through the transfer service, which alone fetches in parallel; it always unpacks."""
        super().pull(_mirror, image, deadline, reference, unpack=True)


def check_files(paths):
    """Every file of {digest: path} is there and hashes to its digest."""
    for digest, path in paths.items():
        if not os.path.exists(path):
            raise WrongContent(f"{digest} is missing")
        found = sha256_file(path)
        if found != digest:
            raise WrongContent(f"{digest} came as {found}")
