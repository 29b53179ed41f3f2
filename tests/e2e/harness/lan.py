"""Machines of this test's own: a network namespace each, cabled to switches. Needs root."""

import contextlib
import ctypes
import hashlib
import http.client
import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading

from .clients import Answer, http_get
from .cluster import Node, make_key, merged
from .metrics import Metrics
from .outside import run

_CLONE_NEWNET = 0x40000000
GOSSIP_PORT = 7947
BLOBS = "127.0.0.1:8000"  # on each machine: where its contents come from
MIRROR = "http://127.0.0.1:30000"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def unix_socket_request(path):
    """The bytes of a GET on a connection that stays open."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def unix_get(socket_path, path, timeout=10):
    connection = _UnixConnection(socket_path, timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, {}, response.read())
    finally:
        connection.close()


@contextlib.contextmanager
def inside_namespace(name):
    """This thread is in that network namespace; what it opens there stays there."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path):
        with open(path, "rb") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        enter(f"/run/netns/{name}")
        yield
    finally:
        enter(f"/proc/self/fd/{own}")
        os.close(own)


class Lan:
    """Switches and hosts, gone with `scratch`."""

    def __init__(self, scratch):
        if os.geteuid() != 0:
            raise AssertionError("network namespaces of our own need root")
        self.scratch, self.hosts = scratch, {}
        self._tag = f"wg{os.getpid() % 100000}"
        self._key = os.path.join(scratch.dir("keys"), "cluster.key")
        make_key(self._key)
        self.switches = self._namespace("switch")
        self._cables = 0

    def _namespace(self, name):
        full = f"{self._tag}-{name}"
        run("ip", "netns", "add", full)
        self.scratch.defer(subprocess.run, ["ip", "netns", "del", full])
        run("ip", "-n", full, "link", "set", "lo", "up")
        return full

    def switch(self, name):
        """A learning switch that floods multicast."""
        run("ip", "-n", self.switches, "-batch", "-", input=(
            f"link add {name} type bridge forward_delay 0 mcast_snooping 0\nlink set {name} up\n"))
        return name

    def host(self, name, *cables):
        """`cables`: (switch, addresses with their prefix lengths); the first is eth0. No default route."""
        host = Host(self, name, self._namespace(name))
        for number, (switch, addresses) in enumerate(cables):
            self._cables += 1
            port, device = f"p{self._cables}", f"eth{number}"
            host.ports.append(port)
            run("ip", "-n", self.switches, "link", "add", port, "type", "veth", "peer", "name", device,
                "netns", host.namespace)
            run("ip", "-n", self.switches, "-batch", "-", input=(
                f"link set {port} master {switch}\nlink set {port} up\n"))
            run("ip", "-n", host.namespace, "-batch", "-", input="".join(
                f"address add {address} dev {device}{' nodad' if ':' in address else ''}\n"
                for address in addresses) + f"link set {device} up\n")
        self.hosts[name] = host
        return host

    def node(self, host, join, config=None, bind=("[::]:7947",)):
        """A waggled on `host`, configured and not started."""
        home = self.scratch.dir(host.name)
        base = {
            "node": {"name": host.name, "data_dir": self.scratch.dir(host.name, "data")},
            "cluster": {"name": "lan", "key_files": [self._key], "bind": list(bind), "join": list(join)},
            "upstream": {"allow_local": [BLOBS], "registries": {"registry.test": {"endpoint": f"http://{BLOBS}"}}},
            "mirror": {"bind": ["127.0.0.1:30000"], "default_registry": "registry.test"},
            "ops": {"bind": ["127.0.0.1:30004"], "socket": os.path.join(home, "waggle.sock")},
            "cache": {"max_bytes": "1GiB", "min_free": "1GiB", "containerd": {"content_store": ""}},
            "transfer": {"threads": 1},
            "kubernetes": {"events": "off"},
        }
        return LanNode(host, merged(base, config or {}))


class Host:
    """One network namespace."""

    def __init__(self, lan, name, namespace):
        self.lan, self.name, self.namespace = lan, name, namespace
        self.ports = []  # the other ends of eth0, eth1, ..., at the switches
        self.prefix = []  # words before each command that start() runs
        self._blobs = None

    @property
    def scratch(self):
        return self.lan.scratch

    def ip(self, *args):
        return run("ip", "-n", self.namespace, *args)

    def start(self, name, args, **options):
        return self.scratch.start(name, [*self.prefix, "ip", "netns", "exec", self.namespace, *args], **options)

    def run(self, *args, **options):
        return run("ip", "netns", "exec", self.namespace, *args, **options)

    def dir(self, *parts):
        return self.scratch.dir(*parts)

    def inside(self):
        """This thread makes its sockets there; they stay there."""
        return inside_namespace(self.namespace)

    def use_names(self, dns):
        """Programs started from now on ask `dns`, and no file."""
        place = f"/etc/netns/{self.namespace}"
        os.makedirs(place)
        self.scratch.defer(shutil.rmtree, place, True)
        for name, text in {"resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
                           "nsswitch.conf": "hosts: dns\n"}.items():
            with open(os.path.join(place, name), "w") as file:
                file.write(text)
        with self.inside():
            dns.serve(self.scratch)

    def blobs(self):
        """Where this machine's waggled finds contents upstream."""
        if self._blobs is None:
            with self.inside():
                self._blobs = Blobs(self.scratch)
        return self._blobs

    def shape(self, mbit, queue_ms=25):
        """eth0 carries `mbit` Mbit/s each way; a tbf at each end of the cable drops what would wait longer than
        `queue_ms`. 5 ms may leave at once, so that the kernel's large segments pass whole: frame by frame the
        processors, not the links, are what is measured."""
        burst = max(16000, int(mbit * 1e6 / 8 * 0.005))
        for namespace, device in ((self.namespace, "eth0"), (self.lan.switches, self.ports[0])):
            run("tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{mbit}mbit",
                "burst", burst, "latency", f"{queue_ms}ms")

    # Firewall, on everything that arrives.
    def drop_from(self, addresses):
        families = {"ip": [a for a in addresses if ":" not in a], "ip6": [a for a in addresses if ":" in a]}
        rules = "".join(f"    {family} saddr {{ {', '.join(listed)} }} drop\n"
                        for family, listed in families.items() if listed)
        self.run("nft", "-f", "-", input="table inet cut {\n  chain arriving {\n"
                 "    type filter hook input priority 0;\n" + rules + "  }\n}\n")

    def drop_nothing(self):
        self.run("nft", "delete", "table", "inet", "cut")

    def count(self, **counters):
        """Counts packets: name = an nft match, as udp_out="output udp dport 7947"."""
        text = "table inet counts {\n" + "".join(f"  counter {name} {{ }}\n" for name in counters)
        for name, rule in counters.items():
            hook, _, match = rule.partition(" ")
            text += (f"  chain {name} {{\n    type filter hook {hook} priority 0;\n"
                     f"    {match} counter name {name}\n  }}\n")
        self.run("nft", "-f", "-", input=text + "}\n")

    def counted(self, field="packets"):
        """{name: packets} since the last call."""
        listed = json.loads(self.run("nft", "-j", "reset", "counters", "table", "inet", "counts"))
        return {item["counter"]["name"]: item["counter"][field]
                for item in listed["nftables"] if "counter" in item}


class LanNode(Node):
    """A waggled on a host; its API is read through the unix socket."""

    def __init__(self, host, config):
        super().__init__(host, host.name, "127.0.0.1", config)
        self.host = host

    def _get(self, path):
        self._running_or_fail()
        return unix_get(self.socket, path)

    def ready(self):
        try:
            return self._get("/readyz").status == 200
        except OSError:
            return False

    def metrics(self):
        return Metrics(self._get("/metrics").body.decode())

    def api(self, path):
        answer = self._get(f"/api/v1/{path}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise AssertionError(f"{self.name} /api/v1/{path}: {answer.status} {answer.body[:200]!r}")
        return json.loads(answer.body)

    def members(self, state="alive"):
        """Names of the others in that state."""
        try:
            listed = self.api("members")["members"]
        except OSError:
            return set()
        return {member["name"] for member in listed if member["state"] == state and not member["self"]}

    def addresses_of(self, name):
        return next(member["addresses"] for member in self.api("members")["members"] if member["name"] == name)

    def announce(self, content):
        """Fetches `content` through this node's mirror, so that it announces it; the digest."""
        digest = self.host.blobs().add(content)
        with self.host.inside():
            answer = http_get(f"{MIRROR}/v2/team/app/blobs/{digest}")
        if answer.status != 200 or answer.body != content:
            raise AssertionError(f"{self.name}: {answer.status} for {digest}")
        return digest

    def knows(self, digest, holder):
        return holder in ((self.api(f"blobs/{digest}") or {}).get("holders") or [])

    def log(self):
        with open(self.process.log, errors="replace") as file:
            return file.read()


class Blobs:
    """A registry of single blobs, by digest, at BLOBS of the namespace it is made in."""

    def __init__(self, scratch, address=BLOBS):
        contents = self._contents = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                content = contents.get(self.path.partition("?")[0].rpartition("/")[2])
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if self.command == "GET" and content:
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        host, _, port = address.rpartition(":")
        server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        scratch.defer(server.server_close)
        scratch.defer(server.shutdown)

    def add(self, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self._contents[digest] = content
        return digest


class Dns:
    """A name server for A and AAAA whose `zone` {name: addresses} may change at any time; else NXDOMAIN."""

    ADDRESS = ("127.0.0.53", 53)

    def __init__(self):
        self.zone, self.queries = {}, []

    def serve(self, scratch):
        """UDP, and TCP for what does not fit, in the namespace of this thread."""
        dns = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                query, reply_by = self.request
                reply = dns._answer(query)
                if len(reply) > 512:
                    reply = reply[:2] + bytes([reply[2] | 2]) + reply[3:6] + bytes(6) + dns._question(query)
                reply_by.sendto(reply, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                while size := int.from_bytes(self.rfile.read(2), "big"):
                    reply = dns._answer(self.rfile.read(size))
                    self.wfile.write(len(reply).to_bytes(2, "big") + reply)

        for kind, handler in ((socketserver.ThreadingUDPServer, Udp), (socketserver.ThreadingTCPServer, Tcp)):
            server = kind(self.ADDRESS, handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            scratch.defer(server.server_close)
            scratch.defer(server.shutdown)

    @staticmethod
    def _question(query):
        at = 12
        while query[at]:
            at += 1 + query[at]
        return query[12:at + 5]

    def _answer(self, query):
        question = self._question(query)
        labels, at = [], 0
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        name, kind = ".".join(labels).lower(), int.from_bytes(question[-4:-2], "big")
        self.queries.append((name, kind))
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        listed = self.zone.get(name)
        records = [socket.inet_pton(family, address) for address in listed or []
                   if family and (":" in address) == (family == socket.AF_INET6)]
        body = b"".join(b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\x00\x01" + bytes(4)
                        + len(record).to_bytes(2, "big") + record for record in records)
        flags = 0x8180 if listed is not None else 0x8183
        return (query[:2] + flags.to_bytes(2, "big") + b"\x00\x01" + len(records).to_bytes(2, "big") + bytes(4)
                + question + body)
