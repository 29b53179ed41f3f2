"""The table fault x client: each row has an upstream, a daemon and a client of its own; one set of rules judges all.

docs/adversity-upstream.md shows its results.
"""

import concurrent.futures
import dataclasses
import os
import subprocess
import time

from .clients import HOST, Containerd, Containerd2, WrongContent, check_files, http_get
from .cluster import Cluster
from .faults import Blackhole
from .image import MIB, sha256_file
from .process import free_port, wait_for

LAYER = 3 * MIB
SLACK = 2.0  # seconds on a busy machine


@dataclasses.dataclass(frozen=True)
class FaultCase:
    """`ends`: how each kind of client ends: "whole", or "error" (a 404 or a cut that it reports itself)."""

    name: str
    rule: dict
    curl: str
    skopeo: str
    containerd: str
    egress: float        # bytes of the layer that waggle may take, as a multiple of its size
    requests: int        # GETs of the layer that waggle may make


def _case(name, curl, skopeo, containerd, egress, requests, **rule):
    return FaultCase(name, rule, curl, skopeo, containerd, egress, requests)


AFTER = MIB
# "for ever" rules hit waggle alone: a client that goes past it finds a healthy registry.
CASES = [
    _case("no fault", "whole", "whole", "whole", 1.0, 1),
    _case("wrong bytes, once", "error", "error", "error", 2.0, 4, kind="wrong_bytes", first=1),
    _case("wrong bytes, for ever", "error", "error", "error", 5.0, 10, kind="wrong_bytes"),
    _case("stall before the head, once", "whole", "whole", "whole", 1.8, 12, kind="stall_head", first=1),
    _case("stall before the head, for ever", "error", "error", "whole", 0.0, 8, kind="stall_head"),
    _case("stall in the body, once", "whole", "whole", "whole", 1.0, 2, kind="stall_body", first=1, after=AFTER),
    _case("stall in every body, after 1 MiB", "whole", "whole", "whole", 1.4, 6, kind="stall_body", after=AFTER),
    _case("stall before the body, for ever", "error", "error", "whole", 0.0, 10, kind="stall_body"),
    _case("slow drip, once", "whole", "whole", "whole", 1.8, 12, kind="drip", first=1, after=AFTER),
    _case("slow drip, for ever", "error", "error", "whole", 0.2, 18, kind="drip"),
    _case("401", "error", "error", "whole", 0.0, 1, kind="status", code=401),
    _case("403", "error", "error", "whole", 0.0, 1, kind="status", code=403),
    _case("404", "error", "error", "whole", 0.0, 1, kind="status", code=404),
    _case("429 with Retry-After 1, once", "whole", "whole", "whole", 1.0, 2, kind="status", code=429, first=1,
          headers={"Retry-After": "1"}),
    _case("429 with Retry-After 60, for ever", "error", "error", "whole", 0.0, 1, kind="status", code=429,
          headers={"Retry-After": "60"}),
    _case("500, twice", "whole", "whole", "whole", 1.0, 3, kind="status", code=500, first=2),
    _case("500, for ever", "error", "error", "whole", 0.0, 8, kind="status", code=500),
    _case("503, once", "whole", "whole", "whole", 1.0, 2, kind="status", code=503, first=1),
    _case("503, for ever", "error", "error", "whole", 0.0, 8, kind="status", code=503),
    _case("no ranges", "whole", "whole", "whole", 1.0, 1, kind="no_range"),
    _case("Content-Length too large, once", "whole", "whole", "whole", 1.2, 2, kind="length_long", first=1),
    _case("Content-Length too large, for ever", "error", "error", "whole", 1.0, 8, kind="length_long"),
    _case("Content-Length too small, once", "whole", "whole", "whole", 1.2, 2, kind="length_short", first=1),
    _case("Content-Length too small, for ever", "error", "error", "whole", 1.0, 8, kind="length_short"),
    _case("reset in the body, once", "whole", "whole", "whole", 1.3, 2, kind="reset", first=1, after=AFTER),
    _case("reset in every body, after 1 MiB", "whole", "whole", "whole", 1.3, 4, kind="reset", after=AFTER),
    _case("reset in every body, before its first byte", "error", "error", "whole", 0.0, 30, kind="reset"),
    _case("redirect to an expired address, once", "whole", "whole", "whole", 1.0, 2, kind="expired_redirect", first=1),
    _case("redirect to an expired address, for ever", "error", "error", "whole", 0.0, 16, kind="expired_redirect"),
    _case("connection refused", "error", "whole", "whole", 0.0, 0, socket="refused"),
    _case("SYN never answered", "error", "whole", "whole", 0.0, 0, socket="blackhole"),
]


@dataclasses.dataclass
class Row:
    """What one client met."""

    case: FaultCase
    client: str
    end: str = ""
    first_byte: float = 0   # s; of curl, else of the whole pull
    seconds: float = 0
    egress: float = 0
    requests: int = 0
    said: str = ""          # the client's own words about its failure
    broken: list = dataclasses.field(default_factory=list)


class _CurlClient:
    """One GET of the layer: no fallback, no retry."""

    kind = "curl"

    def __init__(self, scratch, name, node, front):
        self._out, self._node = os.path.join(scratch.dir("curl-" + name), "blob"), node

    def pull(self, image, row):
        blob = image.biggest
        ran = subprocess.run(
            ["curl", "-sS", "-o", self._out, "-w", "%{http_code} %{time_starttransfer} %{time_total}",
             "--max-time", "60", f"{self._node.mirror}/v2/{image.repo}/blobs/{blob.digest}?ns={HOST}"],
            capture_output=True, text=True, timeout=90)
        code, first, total = ran.stdout.split()
        row.first_byte, row.seconds = float(first), float(total)
        row.end = "whole" if ran.returncode == 0 and code == "200" else "error"
        row.said = f"{code}, {ran.stderr.strip()}" if ran.stderr else code
        if row.end == "whole" and sha256_file(self._out) != blob.digest:
            raise WrongContent("curl took a wrong blob for whole")


class _SkopeoClient:
    """`skopeo copy` with the node as a mirror in registries.conf, the registry behind it."""

    kind = "skopeo"

    def __init__(self, scratch, name, node, front):
        self._scratch, self._name = scratch, "skopeo-" + name
        self._out = os.path.join(scratch.dir(self._name), "image")
        self._conf = os.path.join(scratch.dir(self._name), "registries.conf")
        with open(self._conf, "w") as file:
            file.write(f'[[registry]]\nprefix = "{HOST}"\nlocation = "127.0.0.1:{front.front.port}"\ninsecure = true\n'
                       f'[[registry.mirror]]\nlocation = "{node.address}:30000"\ninsecure = true\n')

    def pull(self, image, row):
        run = self._scratch.start(self._name, [
            "skopeo", "--registries-conf", self._conf, "copy", "--insecure-policy", "--preserve-digests",
            f"docker://{HOST}/{image.repo}@{image.manifest.digest}", f"dir:{self._out}"],
            env={"TMPDIR": self._scratch.dir(self._name, "tmp")})
        row.end = "whole" if run.wait(60) == 0 else "error"
        row.said = run.tail(1) if row.end == "error" else ""
        if row.end == "whole":
            check_files({blob.digest: os.path.join(self._out, blob.digest[7:]) for blob in image.blobs})


class _ContainerdClient:
    """`ctr content fetch` through hosts.toml: the node first, then the registry."""

    def __init__(self, scratch, name, node, front):
        self._client = self.make(scratch, name).start()
        self._client.use_mirror(node.mirror, f"http://127.0.0.1:{front.front.port}")

    @staticmethod
    def make(scratch, name):
        return Containerd(scratch, name)

    def pull(self, image, row):
        try:
            self._client.pull(None, image, deadline=90)
            row.end = "whole"
        except WrongContent:
            raise
        except AssertionError as error:
            row.end, row.said = "error", str(error).splitlines()[-1][:200]
        if row.end == "whole":
            self._client.verify(image)


class _Containerd1Client(_ContainerdClient):
    kind = "containerd"


class _Containerd2Client(_ContainerdClient):
    kind = "containerd2"

    @staticmethod
    def make(scratch, name):
        return Containerd2(scratch, name)


CLIENTS = {client.kind: client for client in (_CurlClient, _SkopeoClient, _Containerd1Client, _Containerd2Client)}


class Table:
    """Runs rows, several at a time, against one registry's content."""

    def __init__(self, context, first_byte=8, wait_idle=45):
        """`wait_idle` [s]: for requests that are still open when the client has ended; 0: they are not counted."""
        self._context, self._first_byte, self._wait_idle = context, first_byte, wait_idle
        self._registry = context.registry()

    def run(self, wanted):
        """[Row] for [(FaultCase, client's kind)]: each spends its time waiting, so all run at once."""
        with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
            return list(pool.map(self._row, range(1, len(wanted) + 1), *zip(*wanted)))

    def _row(self, number, case, client):
        row = Row(case, client)
        try:
            self._pull(number, case, row)
            self._judge(row)
        except WrongContent as error:
            row.broken.append(f"WRONG CONTENT: {error}")
        except Exception as error:
            row.broken.append(f"{type(error).__name__}: {error}")
        return row

    def _pull(self, number, case, row):
        name = f"row{number}"
        front = self._registry.another_front(name)
        image = self._context.image(self._registry, LAYER, repo=f"faults/{name}")
        rule = dict(case.rule)
        hole = Blackhole() if rule.get("socket") == "blackhole" else None
        if hole:
            self._context.scratch.defer(hole.close)
        port = free_port() if rule.get("socket") == "refused" else hole.port if hole else front.front.port
        endpoint = f"http://127.0.0.1:{port}"
        if "kind" in rule:
            front.faults.add(**{"client": "waggle/", **rule, "path": "/blobs/" + image.biggest.digest})
        config = {"mirror": {"first_byte": f"{self._first_byte}s"},
                  "upstream": {"registries": {HOST: {"endpoint": endpoint}}}}
        node = Cluster(self._context.scratch, front, 1, config=config, first=number).start().nodes[0]
        client = CLIENTS[row.client](self._context.scratch, name, node, front)
        began = time.monotonic()
        client.pull(image, row)
        row.seconds = row.seconds or time.monotonic() - began
        self._check_store(node, image, row)
        if self._wait_idle:
            wait_for(front.front.idle, self._wait_idle, "no request is open any more")
        asked = [r for r in front.log.records() if "waggle/" in (r["user_agent"] or "")
                 and r["method"] == "GET" and r["path"].endswith(image.biggest.digest) and "/expired/" not in r["path"]]
        row.requests = len(asked)
        row.egress = sum(r["bytes"] for r in asked) / image.biggest.size

    @staticmethod
    def _check_store(node, image, row):
        """What the node calls complete has the right digest."""
        blob = node.api(f"blobs/{image.biggest.digest}")
        if blob and blob["complete"]:
            body = http_get(f"{node.mirror}/v2/{image.repo}/blobs/{image.biggest.digest}?ns={HOST}").body
            with open(image.biggest.path, "rb") as file:
                if body != file.read():
                    raise WrongContent("the node holds a wrong blob as complete")
        node.process.signal(0)
        if not node.process.running():
            row.broken.append("waggled ended")

    def _judge(self, row):
        case = row.case
        wanted = getattr(case, "containerd" if row.client.startswith("containerd") else row.client)
        if row.end != wanted:
            row.broken.append(f"ended with {row.end} ({row.said}), expected {wanted}")
        if row.client == "curl" and row.first_byte > self._first_byte + SLACK:
            row.broken.append(f"first byte or error after {row.first_byte:.1f} s")
        if row.egress > case.egress + 0.05:
            row.broken.append(f"egress {row.egress:.2f}x, at most {case.egress}x")
        if row.requests > case.requests:
            row.broken.append(f"{row.requests} requests, at most {case.requests}")
