"""What an upstream does wrong, request by request: rules that name whom they hit, how often, and with what."""

import dataclasses
import socket
import threading

KINDS = {
    "wrong_bytes": "one bit of the body is turned",
    "stall_head": "the request is read, no answer comes",
    "stall_body": "the answer stops after `after` bytes, the connection stays",
    "drip": "after `after` bytes the answer goes on at `rate` bytes/s",
    "status": "`code` instead of an answer, with `headers`",
    "no_range": "Range is ignored: 200 with the whole",
    "length_long": "Content-Length is 1,000 too large, then the connection is closed",
    "length_short": "Content-Length is 1,000 too small, and so is the body",
    "reset": "RST after `after` bytes of the body",
    "expired_redirect": "302 to a signed address of this server that answers 403",
}


@dataclasses.dataclass
class Fault:
    """One rule. It hits GETs whose path holds `path` and whose User-Agent holds `client`."""

    kind: str
    path: str = "/blobs/"
    client: str = ""           # "waggle/" spares clients that come past it
    first: int | None = None   # so many requests; None: for ever
    after: int = 0
    rate: int = 1000
    code: int = 503
    headers: dict = dataclasses.field(default_factory=dict)
    hits: int = 0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}")

    def wants(self, path, user_agent):
        if self.first is not None and self.hits >= self.first:
            return False
        return self.path in path and self.client in (user_agent or "")


class Faults:
    """What goes wrong on purpose; all off at first, may be changed at any time."""

    def __init__(self):
        self.cut_after = None    # bytes of a blob response, then the connection is reset
        self.corrupt = set()     # digests whose bytes come with one bit turned
        self.silent = False      # accept and never answer
        self.status = None       # answer this code to everything
        self._rules = []
        self._lock = threading.Lock()

    def add(self, kind, **options):
        """The rule, which counts its `hits`; the first rule that fits a request is taken."""
        with self._lock:
            self._rules.append(Fault(kind, **options))
            return self._rules[-1]

    def clear(self):
        with self._lock:
            self._rules.clear()

    def take(self, path, user_agent):
        """The rule for this request, counted; None: it is answered as it should be."""
        with self._lock:
            for rule in self._rules:
                if rule.wants(path, user_agent):
                    rule.hits += 1
                    return rule
        return None


class Blackhole:
    """A port whose SYNs are never answered: its queue of one is full, and nobody accepts."""

    def __init__(self):
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        self._fillers = []
        while self._is_answered():
            if len(self._fillers) == 64:
                raise AssertionError("the blackhole answered")

    def _is_answered(self):
        """One more connection, which stays in the queue if it still fits."""
        filler = socket.socket()
        self._fillers.append(filler)
        filler.settimeout(0.3)
        try:
            filler.connect(("127.0.0.1", self.port))
            return True
        except TimeoutError:
            return False

    def close(self):
        for end in (*self._fillers, self._listener):
            end.close()
