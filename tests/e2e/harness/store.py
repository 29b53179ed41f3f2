"""A blob store on loopback as registries redirect to: signed URLs, ranges, and a count of every request."""

import http.server
import re
import threading
import urllib.parse



class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Store:
    """Serves `files` {path: bytes} under ?sig=<a valid one>; everything it is asked stands in `requests`."""

    def __init__(self, scratch, address="127.0.0.1", port=0):
        self.files, self.signatures, self.requests = {}, {"good"}, []
        self.no_ranges = False
        self.redirect_to = None  # answers every request with a 302 to there
        self.date = None  # its clock, when it is not the machine's
        self.answer = None  # the body of every answer
        self.status = None  # (code, headers) for every request
        self.challenge = None  # answers every request with a 401 and this WWW-Authenticate
        self._lock = threading.Lock()
        store = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                store._answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

            def date_time_string(self, timestamp=None):
                return store.date or super().date_time_string(timestamp)

        self._server = _Server((address, port), Handler)
        self.address, self.port = self._server.server_address
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        scratch.defer(self.stop)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    @property
    def host(self):
        return f"{self.address}:{self.port}"

    def url(self, path, signature="good"):
        return f"http://{self.host}{path}?se=2030-01-01T00%3A00%3A00Z&sig={signature}"

    def add(self, path, content):
        self.files[path] = content
        return path

    def hits(self):
        with self._lock:
            return len(self.requests)

    def body_bytes(self):
        with self._lock:
            return sum(sent for _, _, sent in self.requests)

    def _answer(self, request):
        status, headers, body = self._reply(request)
        with self._lock:
            self.requests.append((request.path, dict(request.headers), len(body)))
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            try:
                request.wfile.write(body)
            except OSError:
                pass  # the other side went

    def _reply(self, request):
        if self.status:
            return *self.status, b""
        if self.answer is not None:
            return 200, {}, self.answer
        if self.challenge:
            return 401, {"WWW-Authenticate": self.challenge}, b""
        if self.redirect_to:
            return 302, {"Location": self.redirect_to}, b""
        parts = urllib.parse.urlsplit(request.path)
        if urllib.parse.parse_qs(parts.query).get("sig", [""])[0] not in self.signatures:
            return 403, {}, b"signature expired"
        content = self.files.get(parts.path)
        if content is None:
            return 404, {}, b"no such blob"
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if not wanted or self.no_ranges:
            return 200, {"ETag": '"strong"'}, content
        if wanted[1]:
            first, last = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
        else:
            first, last = len(content) - int(wanted[2]), len(content) - 1
        if first >= len(content):
            return 416, {"Content-Range": f"bytes */{len(content)}"}, b""
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first:last + 1]


def allow(*stores):
    """Configuration that lets waggled ask loopback stores."""
    return {"upstream": {"allow_local": [store.host for store in stores]}}


def blobs_url(node, url):
    return f"{node.mirror}/blobs/{url}"


