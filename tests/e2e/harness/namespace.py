"""A network of this test's own: addresses that really answer (the metadata service's too), names, a lying DNS."""

import ctypes
import os
import socket
import struct
import subprocess
import threading

from . import process

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
DNS_ADDRESS = "127.0.0.53"


def enter_private_network(scratch, addresses=(), hosts=None):
    """Moves this thread, and whatever it starts from now on, into namespaces with loopback alone; needs root.

    `addresses` are added to loopback, `hosts` {name: address or addresses} becomes /etc/hosts, and DNS goes to
    DNS_ADDRESS. The end of `scratch` leads back."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = [(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY), flag)
              for kind, flag in (("net", _CLONE_NEWNET), ("mnt", _CLONE_NEWNS))]

    def leave():
        for descriptor, flag in before:
            if libc.setns(descriptor, flag) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(descriptor)

    scratch.defer(leave)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare (as root?)")
    home = scratch.dir("namespace")
    names = {"localhost": "127.0.0.1", **(hosts or {})}
    lines = [f"{address} {name}" for name, listed in names.items()
             for address in ([listed] if isinstance(listed, str) else listed)]
    files = {"hosts": "\n".join(lines) + "\n", "resolv.conf": f"nameserver {DNS_ADDRESS}\noptions timeout:1\n",
             "nsswitch.conf": "hosts: files dns\n"}
    commands = [["mount", "--make-rprivate", "/"], ["ip", "link", "set", "lo", "up"]]
    for name, text in files.items():
        path = os.path.join(home, name)
        with open(path, "w") as file:
            file.write(text)
        commands.append(["mount", "--bind", path, os.path.realpath("/etc/" + name)])
    commands += [["ip", "address", "add", address, "dev", "lo"] for address in addresses]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, timeout=10)


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
