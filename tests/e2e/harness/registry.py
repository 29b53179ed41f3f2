"""Debian's docker-registry on loopback with a rate-limited, counting front: the upstream of every test."""

import dataclasses
import http.client
import os
import urllib.parse

from . import process
from .limiter import AccessLog, UpstreamFront

_CONFIG = """version: 0.1
log: {{ level: warn, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: {root} }}, delete: {{ enabled: true }} }}
http: {{ addr: "127.0.0.1:{port}", secret: waggle-e2e }}
"""


@dataclasses.dataclass
class Front:
    """One way to a registry's content."""

    front: UpstreamFront
    log: AccessLog

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.front.port}"

    @property
    def faults(self):
        return self.front.faults

    def settle(self, deadline=30):
        """Waits until no request is open, so that the access log is complete."""
        process.wait_for(self.front.idle, deadline, "the front is idle")


class Registry:
    """`rate` [bytes/s] holds for all clients together; pushes go past the front and are not counted."""

    def __init__(self, scratch, rate=None, name="registry"):
        self._scratch, self._name, self._rate = scratch, name, rate
        self.home = scratch.dir(name)
        self._backend_port = process.free_port()
        self._config = os.path.join(self.home, "config.yml")
        with open(self._config, "w") as file:
            file.write(_CONFIG.format(root=scratch.dir(name, "storage"), port=self._backend_port))
        self._log_path = os.path.join(scratch.dir("logs"), name + "-access.jsonl")
        self.log = AccessLog(self._log_path)
        self._port = 0
        self.start()

    def start(self):
        self._process = self._scratch.start(self._name, ["docker-registry", "serve", self._config])
        process.wait_for(self._answers, 20, "docker-registry answers")
        self.front = UpstreamFront(("127.0.0.1", self._backend_port), self._log_path, self._rate, self._port)
        self._port = self.front.port
        self._scratch.defer(self.front.stop)

    def stop(self):
        """From now on connections are refused; start() brings it back on the same port."""
        self.front.stop()
        self._process.stop()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self._port}"

    @property
    def faults(self):
        return self.front.faults

    def another_front(self, name, rate=None):
        """The same content on a port of its own: an upstream with its own log and faults."""
        path = os.path.join(self._scratch.dir("logs"), name + "-access.jsonl")
        front = UpstreamFront(("127.0.0.1", self._backend_port), path, rate)
        self._scratch.defer(front.stop)
        return Front(front, AccessLog(path))

    def settle(self, deadline=30):
        """Waits until no request is open, so that the access log is complete."""
        process.wait_for(self.front.idle, deadline, "the registry is idle")

    def _answers(self):
        if not self._process.running():
            raise AssertionError(f"docker-registry ended:\n{self._process.tail()}")
        try:
            status, _ = self._ask("GET", "/v2/")
            return status == 200
        except OSError:
            return False

    def _ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self._backend_port, timeout=60,
                                                blocksize=1 << 20)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("Location")
        finally:
            connection.close()

    def _expect(self, wanted, what, *request):
        status, location = self._ask(*request)
        if status != wanted:
            raise AssertionError(f"{what}: status {status}, expected {wanted}")
        return location

    def push(self, image, tag="v1"):
        """Uploads every blob as it is (no recompression), then the manifest under `tag`."""
        for blob in image.blobs:
            location = self._expect(202, "upload", "POST", f"/v2/{image.repo}/blobs/uploads/")
            place = urllib.parse.urlsplit(location)
            query = (place.query + "&" if place.query else "") + "digest=" + blob.digest
            with open(blob.path, "rb") as file:
                self._expect(201, "blob", "PUT", f"{place.path}?{query}", file,
                             {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)})
        with open(image.manifest.path, "rb") as file:
            manifest = file.read()
        self._expect(201, "manifest", "PUT", f"/v2/{image.repo}/manifests/{tag}", manifest,
                     {"Content-Type": image.manifest.media_type})
