"""The laboratory: N hosts and an origin on one bridge, each cable shaped, and the blob they all want."""

import contextlib
import hashlib
import os
import socket

from harness.lan import Lan
from harness.process import wait_for

ORIGIN_PORT = 8000
REPOSITORY = "team/app"


class Blob:
    """Random bytes in a file: `path`, `size`, `digest` ("sha256:...")."""

    def __init__(self, folder, size):
        self.path, self.size = os.path.join(folder, "blob"), size
        hasher = hashlib.sha256()
        with open(self.path, "wb") as file:
            for begin in range(0, size, 1 << 20):
                block = os.urandom(min(1 << 20, size - begin))
                hasher.update(block)
                file.write(block)
        self.digest = "sha256:" + hasher.hexdigest()

    @property
    def url_path(self):
        """Where the origin's nginx, and any mirror of it, has the blob."""
        return f"/v2/{REPOSITORY}/blobs/{self.digest}"


class Lab:
    """Hosts n1..nN at 10.9.0.1.. and `origin` at 10.9.1.1, with cubic, on one switch."""

    def __init__(self, scratch, nodes, node_mbit, origin_mbit, queue_ms):
        self.scratch, self.origin_mbit = scratch, origin_mbit
        self._widen_neighbour_table(nodes)
        self.lan = Lan(scratch)
        self._wire = self.lan.switch("wire")
        self.hosts = [self._host(f"n{i}", f"10.9.0.{i}", node_mbit, queue_ms) for i in range(1, nodes + 1)]
        self.origin = self._host("origin", "10.9.1.1", origin_mbit, queue_ms)
        self._queue_ms = queue_ms

    def _host(self, name, address, mbit, queue_ms):
        host = self.lan.host(name, (self._wire, [f"{address}/16"]))
        host.address = address
        # By route: which algorithm a namespace may have as its default is a setting of the whole machine.
        host.ip("route", "replace", "10.9.0.0/16", "dev", "eth0", "src", address, "congctl", "cubic")
        host.ip("route", "add", "224.0.0.0/4", "dev", "eth0")
        host.shape(mbit, queue_ms)
        return host

    def slow_down(self, host, mbit):
        host.shape(mbit, self._queue_ms)

    def _widen_neighbour_table(self, nodes):
        """One table for all namespaces: 33 hosts that all talk to each other are more than its usual 1,024 rows.
        A setting of the whole machine, put back at the end."""
        if nodes < 20:
            return
        for name, wanted in (("gc_thresh3", 8192), ("gc_thresh2", 4096), ("gc_thresh1", 2048)):
            path = f"/proc/sys/net/ipv4/neigh/default/{name}"
            with open(path) as file:
                before = int(file.read())
            if before < wanted:
                _write(path, wanted)
                self.scratch.defer(_write, path, before)


def _write(path, value):
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(str(value))


def _listens(host, address):
    try:
        with host.inside():
            socket.create_connection((address, ORIGIN_PORT), timeout=1).close()
    except OSError:
        return False
    return True


_NGINX = """daemon off;
user root;
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log {home}/access.log;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  sendfile on;
  keepalive_requests 1000000;
  server {{
    listen {address}:{port};
    root {home}/root;
    default_type application/octet-stream;
    location = /v2/ {{ return 200 "{{}}"; }}
  }}
}}
"""


class OriginServer:
    """nginx on the origin: the blob as a registry serves it, ranges too."""

    def __init__(self, lab, blob, address):
        home = lab.scratch.dir("nginx")
        place = os.path.join(home, "root") + blob.url_path
        os.makedirs(os.path.dirname(place))
        os.link(blob.path, place)
        config = os.path.join(home, "nginx.conf")
        with open(config, "w") as file:
            file.write(_NGINX.format(home=home, address=address, port=ORIGIN_PORT))
        self._log = os.path.join(home, "access.log")
        lab.origin.start("nginx", ["nginx", "-p", home, "-c", config])
        wait_for(lambda: _listens(lab.origin, address), 10, "nginx listens")

    def requests(self):
        """How many GETs of blobs it has answered."""
        with open(self._log) as file:
            return sum('"GET /v2/' in line and "/blobs/" in line for line in file)
