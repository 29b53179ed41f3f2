"""The upstream's front: one byte rate for all connections together, exact accounting, and faults on demand.

docker-registry has no rate limit and logs no aborted bytes, so this HTTP proxy stands before it. Its access
log is the far side's count: what was really handed to a client's connection, request by request.
"""

import http.client
import http.server
import json
import os
import socket
import socketserver
import struct
import threading
import time

from .faults import Faults

BLOCK = 64 * 1024
_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "date", "server"}


class TokenBucket:
    """`rate` bytes/s shared by all callers, each in turn; None = no limit."""

    def __init__(self, rate):
        self._rate = rate
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def take(self, size):
        if not self._rate:
            return
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + size / self._rate
        delay = start - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address, handler):
        super().__init__(address, handler)
        self.connections = set()

    def process_request(self, request, client_address):
        request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BLOCK)
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that went away is in the log with complete=false


class UpstreamFront:
    """Listens on 127.0.0.1:`port` (0 = free) and forwards GET and HEAD to `backend` (host, port)."""

    def __init__(self, backend, log_path, rate=None, port=0):
        self.backend, self.log_path = backend, log_path
        self.bucket, self.faults = TokenBucket(rate), Faults()
        self._log_lock = threading.Lock()
        self._log = open(log_path, "a", buffering=1)
        self._stopping = threading.Event()
        self._active = 0
        front = self

        class Handler(_Handler):
            owner = front

        self._server = _Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def stopping(self):
        return self._stopping

    def begin(self):
        with self._log_lock:
            self._active += 1

    def idle(self):
        """No request is being answered: every byte sent so far is in the log."""
        with self._log_lock:
            return self._active == 0

    def end(self, record):
        with self._log_lock:
            self._active -= 1
            if not self._log.closed:
                self._log.write(json.dumps(record) + "\n")

    def stop(self):
        """Refuses new connections and cuts the open ones."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self._forward()

    def do_HEAD(self):
        self._forward()

    def _forward(self):
        began = time.time()
        record = {"time": round(began, 3), "method": self.command, "path": self.path.partition("?")[0],
                  "range": self.headers.get("Range"), "user_agent": self.headers.get("User-Agent"),
                  "status": 0, "bytes": 0, "complete": False}
        self.owner.begin()
        try:
            self._relay(record)
        except OSError:
            self.close_connection = True
        finally:
            record["seconds"] = round(time.time() - began, 3)
            self.owner.end(record)

    def _relay(self, record):
        faults = self.owner.faults
        if faults.silent:
            self._wait_while(lambda: faults.silent)
            return
        if faults.status:
            self._say(faults.status, record)
            return
        if record["path"].startswith("/expired/"):
            self._say(403, record)
            return
        rule = faults.take(record["path"], record["user_agent"]) if self.command == "GET" else None
        if rule:
            record["fault"] = rule.kind
        if rule and rule.kind == "stall_head":
            self._wait_while(lambda: True)
        elif rule and rule.kind == "status":
            self._say(rule.code, record, rule.headers)
        elif rule and rule.kind == "expired_redirect":
            self._say(302, record, {"Location": "/expired" + record["path"] + "?signature=old"})
        else:
            self._pass_on(record, rule)

    def _wait_while(self, condition):
        """Silence, until the client has gone or the front stops."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while condition() and not self.owner.stopping.is_set():
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    return
                time.sleep(0.05)
            except TimeoutError:
                pass

    def _say(self, code, record, headers=None):
        record["status"] = code
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()
        record["complete"] = True

    def _pass_on(self, record, rule):
        backend = http.client.HTTPConnection(*self.owner.backend, timeout=30)
        try:
            backend.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # clients repeat Accept: each line goes on
                ignored = rule and rule.kind == "no_range" and name.lower() == "range"
                if name.lower() not in _HOP_HEADERS and not ignored:
                    backend.putheader(name, value)
            backend.endheaders()
            response = backend.getresponse()
            record["status"] = response.status
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() == "content-length" and rule and rule.kind.startswith("length_"):
                    value = str(max(0, int(value) + (1000 if rule.kind == "length_long" else -1000)))
                    self.close_connection = True
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            if response.getheader("Content-Length") is None or self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                self._copy_body(response, record, rule)
            record["complete"] = True
        finally:
            backend.close()

    def _copy_body(self, response, record, rule):
        is_blob = "/blobs/" in record["path"]
        corrupt = is_blob and record["path"].rpartition("/")[2] in self.owner.faults.corrupt
        corrupt = corrupt or (rule is not None and rule.kind == "wrong_bytes")
        left = None
        if rule and rule.kind == "length_short":
            left = max(0, int(response.getheader("Content-Length")) - 1000)
        breaks = rule is not None and rule.kind in ("stall_body", "drip", "reset")
        while True:
            block = response.read(min(BLOCK, max(0, rule.after - record["bytes"])) if breaks else BLOCK)
            if not block:
                break
            if corrupt:
                block, corrupt = bytes([block[0] ^ 1]) + block[1:], False
            if left is not None:
                block = block[:left]
                left -= len(block)
            self.owner.bucket.take(len(block))
            self._send(block, record)
            cut = self.owner.faults.cut_after
            if cut is not None and is_blob and record["bytes"] >= cut:
                raise ConnectionAbortedError("cut on purpose")
        if breaks and response.length != 0:
            self._break(response, record, rule)

    def _break(self, response, record, rule):
        """What comes after the first `after` bytes of a body that goes wrong in its middle."""
        if rule.kind == "stall_body":
            self._wait_while(lambda: True)
            raise ConnectionAbortedError("stalled on purpose")
        if rule.kind == "reset":
            # Closed behind the socket's back: its own shutdown() would send a FIN first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            raise ConnectionResetError("reset on purpose")
        while not self.owner.stopping.wait(0.1):
            block = response.read(max(1, rule.rate // 10))
            if not block:
                return
            self._send(block, record)

    def _send(self, block, record):
        view = memoryview(block)
        while view:
            sent = self.connection.send(view)
            record["bytes"] += sent
            view = view[sent:]


class AccessLog:
    """Reads what an UpstreamFront wrote."""

    def __init__(self, path):
        self._path = path

    def records(self):
        with open(self._path) as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def blob_bytes(self):
        return sum(r["bytes"] for r in self.records() if r["method"] == "GET" and "/blobs/" in r["path"])

    def body_bytes(self):
        return sum(r["bytes"] for r in self.records() if r["method"] == "GET")

    def bytes_of(self, digest):
        return sum(r["bytes"] for r in self.records() if r["path"].endswith("/blobs/" + digest))
