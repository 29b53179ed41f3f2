"""BitTorrent clients: a seeder at the origin, a leecher on each node that seeds on when it is done, a tracker."""

import json
import os

import torrent

from harness.process import wait_for

from .base import ProcessSystem

HERE = os.path.dirname(os.path.abspath(__file__))


class Torrent(ProcessSystem):
    """A client's command is `client(address, folder, done)`; it seeds when `done` is None and the blob is in `folder`."""

    ends_itself = False

    def prepare(self):
        origin = self.lab.origin
        self.metainfo = os.path.join(self.scratch.dir("torrent"), "blob.torrent")
        torrent.write_metainfo(self.blob, self.metainfo, origin.address)
        with origin.inside():
            self._tracker = torrent.Tracker(self.scratch, origin.address)
        seeds = self.scratch.dir("copies", "origin")
        os.link(self.blob.path, os.path.join(seeds, "blob"))
        origin.start("seeder", self.client(origin.address, seeds, None))
        wait_for(lambda: self._tracker.peers, 30, "the seeder has announced itself")
        super().prepare()

    def client(self, address, folder, done):
        raise NotImplementedError

    def command(self, node):
        return self.client(self.lab.hosts[node].address, self.place(node), self.done(node))


class Aria2(Torrent):
    def client(self, address, folder, done):
        words = ["aria2c", "--no-conf", "--quiet", f"--dir={folder}", "--seed-ratio=0.0", "--file-allocation=none",
                 "--enable-dht=false", "--enable-dht6=false", "--disable-ipv6", f"--listen-port={torrent.PEER_PORT}",
                 "--bt-max-peers=0", "--allow-overwrite=true"]
        if done:
            hook = f"{done}.sh"
            with open(hook, "w") as file:
                file.write(f"#!/bin/sh\n: >{done}\n")
            os.chmod(hook, 0o755)
            words.append(f"--on-bt-download-complete={hook}")
        else:
            words += ["--check-integrity=true", "--bt-seed-unverified=true"]
        return [*words, self.metainfo]


class Libtorrent(Torrent):
    def client(self, address, folder, done):
        return ["/usr/bin/python3", os.path.join(HERE, "libtorrent_node.py"), self.metainfo, folder,
                f"{address}:{torrent.PEER_PORT}", done or "-"]


class Anacrolix(Torrent):
    def done(self, node):
        return self.copy(node)  # "blob.part" until it is complete

    def client(self, address, folder, done):
        return ["env", f"HOME={folder}", "sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", folder,
                self.program, "download", "--seed", "--no-dht", "--no-port-forward", "--no-utp-peers",
                "--no-webtorrent", "--no-ipv6", "--no-progress", f"--addr={address}:{torrent.PEER_PORT}",
                "--max-alloc-peer-request-data-per-conn=16MiB", self.metainfo]
