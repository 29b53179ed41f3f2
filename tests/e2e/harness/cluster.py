"""N waggled on loopback addresses of their own: configuration, start, readiness, metrics, kill -9, restart."""

import json
import os
import subprocess

from . import process
from .clients import http_get
from .metrics import Metrics

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
GOSSIP_PORT, MIRROR_PORT, OPS_PORT = 7947, 30000, 30004


def program(name):
    """Where `./dev build` leaves it; WAGGLE_BUILD names another build directory."""
    path = os.path.join(os.environ.get("WAGGLE_BUILD", os.path.join(ROOT, "build")), name)
    if not os.access(path, os.X_OK):
        raise AssertionError(f"{path} is not in this build")
    return path


def to_yaml(value, indent=0):
    """Block style for mappings, flow style for everything else, so that messages can name a line."""
    lines = []
    for key, item in value.items():
        name = key if key.replace("_", "").isalnum() else json.dumps(key)
        if isinstance(item, dict) and item:
            lines += [" " * indent + name + ":", to_yaml(item, indent + 2)]
        else:
            lines.append(" " * indent + f"{name}: {json.dumps(item)}")
    return "\n".join(lines)


def merged(base, changes):
    """`changes` laid over `base`, mapping by mapping."""
    result = dict(base)
    for key, item in changes.items():
        both = isinstance(item, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], item) if both else item
    return result


class Node:
    """One waggled and its directories, which outlive kill and restart."""

    def __init__(self, scratch, name, address, config):
        self._scratch, self.name, self.address = scratch, name, address
        self.home = scratch.dir(name)
        self.mirror = f"http://{address}:{MIRROR_PORT}"
        self.ops = f"http://{address}:{OPS_PORT}"
        self.socket = os.path.join(self.home, "waggle.sock")
        self.config_path = os.path.join(self.home, "config.yaml")
        self.process = None
        self.write_config(config)

    def write_config(self, config):
        self.config = config
        with open(self.config_path, "w") as file:
            file.write(to_yaml(config) + "\n")

    def change_config(self, changes):
        """Lays `changes` over the configuration file; the daemon sees them at a reload or restart."""
        self.write_config(merged(self.config, changes))

    def waggle(self, *words):
        """One `waggle` command against this node's unix socket."""
        return subprocess.run([program("waggle"), "--api", self.socket, *words], capture_output=True, text=True,
                              timeout=30, env=process.clean_environment())

    def start(self):
        self.process = self._scratch.start(self.name, [program("waggled"), "--config", self.config_path])
        return self

    def _running_or_fail(self):
        if not self.process.running():
            raise AssertionError(f"{self.name} ended with {self.process.exit_code()}:\n{self.process.tail()}")

    def ready(self):
        self._running_or_fail()
        try:
            return http_get(self.ops + "/readyz", timeout=2).status == 200
        except OSError:
            return False

    def alive(self):
        """/livez answers 200: the listeners are up, whether ready or not."""
        self._running_or_fail()
        try:
            return http_get(self.ops + "/livez", timeout=2).status == 200
        except OSError:
            return False

    def wait_ready(self, deadline=20):
        process.wait_for(self.ready, deadline, f"{self.name} is ready")
        return self

    def metrics(self):
        return Metrics(http_get(self.ops + "/metrics").body.decode())

    def source_bytes(self):
        """{local, peer, upstream}: what this process counts so far, all protocols together."""
        metrics = self.metrics()
        return {source: int(metrics.total("waggle_bytes_total", source=source))
                for source in ("local", "peer", "upstream")}

    def api(self, path):
        """The JSON of /api/v1/`path`, or None for a 404."""
        answer = http_get(f"{self.ops}/api/v1/{path}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise AssertionError(f"{self.name} /api/v1/{path}: {answer.status} {answer.body[:200]!r}")
        return json.loads(answer.body)

    def have_bytes(self, digest):
        blob = self.api(f"blobs/{digest}")
        return blob["have_bytes"] if blob else 0

    def alive_members(self):
        return int(self.metrics().total("waggle_members", state="alive"))

    def kill9(self):
        self.process.kill()

    def terminate(self, deadline=10):
        """SIGTERM; the exit code, or Timeout."""
        self.process.signal(15)
        return self.process.wait(deadline)


class Cluster:
    """Nodes n1.. on NET.11, NET.12, ... that share one key and join through the first two (the only one).

    With `first` they begin at that number: several clusters on one net.
    """

    def __init__(self, scratch, registry, count, net=None, config=None, first=1):
        self._scratch, self._registry, self._first = scratch, registry, first
        self.net = net or process.private_net()
        self._changes = config or {}
        self._count = count  # a node alone names only itself, and so is ready at once
        self.key_file = os.path.join(scratch.dir("keys"), f"cluster-{first}.key")
        make_key(self.key_file)
        self.nodes = []
        for _ in range(count):
            self.add()

    def add(self, config=None):
        """One more node, not started yet."""
        number = self._first + len(self.nodes)
        name, address = f"n{number}", f"{self.net}.{10 + number}"
        changes = merged(self._changes, config or {})
        node = Node(self._scratch, name, address, merged(self._base(name, address), changes))
        self.nodes.append(node)
        return node

    def _base(self, name, address):
        home = self._scratch.dir(name)
        return {
            "node": {"name": name, "data_dir": self._scratch.dir(name, "data")},
            "cluster": {"name": "e2e", "key_files": [self.key_file], "bind": [f"{address}:{GOSSIP_PORT}"],
                        "join": [f"{self.net}.{last}:{GOSSIP_PORT}" for last in (self._first + 10, self._first + 11)]
                        [:self._count]},
            "upstream": {"registries": {"registry.test": {"endpoint": self._registry.endpoint}}},
            "mirror": {"bind": [f"{address}:{MIRROR_PORT}"], "default_registry": "registry.test"},
            "huggingface": {"bind": [f"{address}:30002"]},
            "objects": {"bind": [f"{address}:30006"]},
            "ops": {"bind": [f"{address}:{OPS_PORT}"], "socket": os.path.join(home, "waggle.sock")},
            "cache": {"max_bytes": "8GiB", "min_free": "1GiB", "containerd": {"content_store": ""}},
            "kubernetes": {"events": "off"},
        }

    def start(self, deadline=30):
        """Starts all and waits until each is ready and counts every other as alive."""
        for node in self.nodes:
            node.start()
        self.wait_joined(deadline)
        return self

    def wait_joined(self, deadline=30):
        for node in self.nodes:
            node.wait_ready(deadline)
        running = [node for node in self.nodes if node.process.running()]
        for node in running:
            process.wait_for(lambda node=node: node.alive_members() == len(running), deadline,
                             f"{node.name} sees {len(running)} members alive")


def make_key(path):
    made = subprocess.run([program("waggle"), "keygen"], check=True, capture_output=True, timeout=10)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(made.stdout)
