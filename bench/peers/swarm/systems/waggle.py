"""waggled on every node and a reader at each one's mirror; upstream is the origin's nginx. With one warm holder there is
no upstream: the origin runs a waggled that has the blob."""

import time

from lab import ORIGIN_PORT, OriginServer
from reader import Reader

from harness.cluster import merged
from harness.process import wait_for

from .base import HttpSystem

_MIRROR = ("127.0.0.1", 30000)
_SETTLE_SECONDS = 3


class Waggle(HttpSystem):
    config = {}  # laid over every node's configuration: what a row of its own differs by

    def source(self, node):
        return _MIRROR

    def prepare(self):
        warm = self.scenario == "warm"
        self._registry = "127.0.0.1" if warm else self.lab.origin.address
        self.server = OriginServer(self.lab, self.blob, self._registry)
        self.nodes = [self._node(host) for host in self.lab.hosts]
        members = self._members = [*self.nodes, self._node(self.lab.origin)] if warm else self.nodes
        names = {node.name for node in members}
        for node in members:
            node.start()
        for node in members:
            wait_for(lambda node=node: node.members() == names - {node.name}, 60, f"{node.name} sees all", every=0.1)
        if warm:
            self._fetch_once(self.lab.origin)
        time.sleep(_SETTLE_SECONDS)
        super().prepare()

    def _node(self, host):
        registry = f"{self._registry}:{ORIGIN_PORT}"
        config = merged({
            "upstream": {"allow_local": [registry], "registries": {"registry.test": {"endpoint": f"http://{registry}"}}},
            "cache": {"max_bytes": "4GiB"}, "transfer": {"threads": 0}, "log": {"level": "warn"}}, self.config)
        return self.lab.lan.node(host, ["10.9.0.1:7947", "10.9.0.2:7947"], config, bind=(f"{host.address}:7947",))

    def _fetch_once(self, host):
        reader = Reader(host, *_MIRROR, self.blob)
        reader.start()
        wait_for(lambda: reader.ended or reader.error, 60, f"{host.name} has the blob")
        if reader.error:
            raise reader.error

    def kill(self, node):
        super().kill(node)
        self.nodes[node].kill9()

    def details(self):
        scrapes = [node.metrics() for node in self._members if node.process.running()]

        def total(name, **labels):
            return sum(scrape.total(f"waggle_{name}", **labels) for scrape in scrapes)

        received = total("bytes_total", source="peer")
        return {**super().details(), "origin_requests": self.server.requests(),
                "takeovers": total("claims_total", outcome="takeover"),
                "verify_failures": total("chunk_verify_failures_total"),
                "upstream_x": total("bytes_total", source="upstream") / self.blob.size,
                "relayed_share": total("relayed_bytes_total") / max(1, received),
                "repaired_blocks": total("relay_repaired_blocks_total"),
                "uploads_per_peer_byte": total("upload_bytes_total") / max(1, received)}
