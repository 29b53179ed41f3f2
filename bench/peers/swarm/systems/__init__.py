"""The systems of the bench, by name."""

from .chain import Chain
from .direct import Direct
from .multicast import Udpcast, Uftp
from .torrents import Anacrolix, Aria2, Libtorrent
from .waggle import Waggle

SYSTEMS = {"waggle": Waggle, "direct": Direct, "chain": Chain, "aria2": Aria2, "libtorrent": Libtorrent,
           "anacrolix": Anacrolix, "udpcast": Udpcast, "uftp": Uftp}


def with_config(config):
    """A row of its own: waggle with `config` laid over its nodes' configuration."""
    return type("Waggle", (Waggle,), {"config": config})
