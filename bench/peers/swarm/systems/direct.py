"""Every node from the origin itself: what a cluster does without any of this."""

from lab import ORIGIN_PORT, OriginServer

from .base import HttpSystem


class Direct(HttpSystem):
    scenarios = ("flash", "spread", "killed", "slow")

    @classmethod
    def patience(cls, nodes):
        return 1.5 * nodes

    def source(self, node):
        return self.lab.origin.address, ORIGIN_PORT

    def prepare(self):
        self.server = OriginServer(self.lab, self.blob, self.lab.origin.address)
        super().prepare()

    def details(self):
        return {**super().details(), "origin_requests": self.server.requests()}
