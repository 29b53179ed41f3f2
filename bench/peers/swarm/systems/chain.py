"""A static pipeline origin -> n1 -> ... -> nN of chain.cpp: what this network lets anything reach. No rival: one slow or
dead node stops it, and it has to be told who takes part."""

from .base import ProcessSystem

_PORT = 7000


class Chain(ProcessSystem):
    scenarios = ("flash", "warm")

    def prepare(self):
        origin = self.lab.origin
        origin.start("origin", [self.program, "serve", self.blob.path, str(_PORT)])
        super().prepare()

    def command(self, node):
        before = self.lab.hosts[node - 1] if node else self.lab.origin
        last = node == self.count - 1
        return [self.program, "relay", before.address, str(_PORT), self.copy(node), *([] if last else [str(_PORT)])]
