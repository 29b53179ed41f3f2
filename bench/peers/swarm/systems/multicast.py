"""Reliable multicast: one sender at the origin, a receiver on each node. Nobody may join late."""

import os
import stat

from .base import ProcessSystem

_RATE_SHARE = 0.97  # of the link: both count UDP's payload or less
_RENDEZVOUS = ["--interface", "eth0", "--mcast-rdv-address", "239.0.0.1", "--nokbd", "--no-progress"]


class Multicast(ProcessSystem):
    scenarios = ("flash", "killed", "slow", "warm")
    header_bytes = 42  # Ethernet, IPv4, UDP


class Udpcast(Multicast):
    """The sender waits until all receivers have come."""

    def prepare(self):
        self.lab.origin.start("sender", [
            "udp-sender", "--file", self.blob.path, *_RENDEZVOUS, "--min-receivers", str(self.count),
            "--rexmit-hello-interval", "100", "--max-bitrate", f"{int(self.lab.origin_mbit * _RATE_SHARE * 1000)}k"])
        super().prepare()

    def command(self, node):
        return ["udp-receiver", "--file", self.copy(node), *_RENDEZVOUS, "--nosync"]


class Uftp(Multicast):
    """Receivers are daemons that wait; the sender starts with the first node, and announces for a while."""

    ends_itself = False
    GROUP = "230.4.4.1"

    def prepare(self):
        super().prepare()
        for node in range(self.count):
            super().start(node)
        self._sender = None

    def command(self, node):
        hook = self.place(node, "hook.sh")
        with open(hook, "w") as file:
            file.write(f"#!/bin/sh\n: >{self.done(node)}\n")
        os.chmod(hook, stat.S_IRWXU)
        return ["uftpd", "-d", "-t", "-D", self.place(node), "-I", "eth0", "-M", self.GROUP, "-s", hook]

    def start(self, node):
        if not self._sender:
            rate = int(self.lab.origin_mbit * _RATE_SHARE * 1000)
            self._sender = self.lab.origin.start("sender", [
                "uftp", "-R", str(rate), "-I", "eth0", "-M", self.GROUP, "-P", "230.4.5.1", "-q", self.blob.path])
