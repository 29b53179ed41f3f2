"""A network of this test's own: addresses that really answer (the metadata service's too), names, a lying DNS."""

import ctypes
import os
import socket
import struct
import subprocess
import threading

from . import process

_CLONE_NEWNET = 0x40000000
DNS_ADDRESS = "127.0.0.53"


def enter_private_network(scratch, addresses=(), hosts=None):
    """Moves this thread, and whatever it starts from now on, into a network with loopback alone; needs root.

    `addresses` are added to loopback. Programs that `scratch` starts see `hosts` {name: address or addresses} as
    /etc/hosts and DNS_ADDRESS as name server. The end of `scratch` leads back."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def leave():
        if libc.setns(before, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(before)

    scratch.defer(leave)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare (as root?)")
    _run("ip", "link", "set", "lo", "up")
    for address in addresses:
        _run("ip", "address", "add", address, "dev", "lo")
    _use_names(scratch, {"localhost": "127.0.0.1", **(hosts or {})})


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=10)


def _use_names(scratch, names):
    """A mount namespace, kept by a sleeping process, where name resolution is this test's."""
    lines = [f"{address} {name}" for name, listed in names.items()
             for address in ([listed] if isinstance(listed, str) else listed)]
    files = {"hosts": "\n".join(lines) + "\n", "resolv.conf": f"nameserver {DNS_ADDRESS}\noptions timeout:1\n",
             "nsswitch.conf": "hosts: files dns\n"}
    script = []
    for name, text in files.items():
        path = os.path.join(scratch.dir("namespace"), name)
        with open(path, "w") as file:
            file.write(text)
        script.append(f"mount --bind {path} {os.path.realpath('/etc/' + name)}")
    keeper = scratch.start("namespace", ["unshare", "--mount", "--propagation", "private", "sh", "-ec",
                                         "; ".join([*script, "echo ready", "exec sleep 1000000"])])

    def is_ready():
        with open(keeper.log, "rb") as file:
            text = file.read()
        if not keeper.running():
            raise AssertionError(f"no mount namespace: {text!r}")
        return b"ready" in text

    process.wait_for(is_ready, 10, "the mount namespace")
    scratch.prefix = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt", "--"]


class Evil:
    """A process that listens on every address of this network and only counts who connects."""

    _PROGRAM = """
import socket, sys
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, client = listener.accept()
    print("hit on", connection.getsockname()[0], flush=True)
    connection.close()
"""

    def __init__(self, scratch, port=80):
        self._process = scratch.start(f"evil-{port}", ["python3", "-c", self._PROGRAM, str(port)])
        process.wait_for(lambda: b"listening" in self._output(), 10, "the evil server listens")

    def _output(self):
        with open(self._process.log, "rb") as file:
            return file.read()

    def hits(self):
        return [line.decode() for line in self._output().splitlines() if line.startswith(b"hit")]

    def prove_it_counts(self, address, port=80):
        """A hit of our own, so that none means none; resets nothing, returns how many there were."""
        before = len(self.hits())
        socket.create_connection((address, port), timeout=5).close()
        process.wait_for(lambda: len(self.hits()) > before, 5, "the evil server counts")
        return before


class LyingDns:
    """Answers A queries for a name with the next of its addresses each time, the last for ever."""

    def __init__(self, scratch, answers):
        self._answers = {name: list(addresses) for name, addresses in answers.items()}
        self.queries = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((DNS_ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()
        scratch.defer(self._socket.close)

    def _serve(self):
        while True:
            try:
                query, client = self._socket.recvfrom(512)
            except OSError:
                return
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack("!H", query[at + 1:at + 3])[0]
        question = query[12:at + 5]
        name, records = ".".join(labels).lower(), b""
        known = self._answers.get(name)
        if kind == 1 and known:
            address = known.pop(0) if len(known) > 1 else known[0]
            self.queries.append(address)
            records = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
        flags = 0x8180 if known else 0x8183
        return query[:2] + struct.pack("!HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records
