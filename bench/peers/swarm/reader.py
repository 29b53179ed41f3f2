"""A client in a host's namespace: gets the blob over HTTP, hashes it as it comes, keeps nothing."""

import contextlib
import hashlib
import http.client
import socket
import threading
import time

_ATTEMPTS = 5
_BLOCK = 1 << 18


class Reader:
    """Like containerd it resumes with a range when a body is cut. `ended` [time.time()] is set once the digest is right."""

    def __init__(self, host, address, port, blob):
        self._host, self._address, self._port, self._blob = host, address, port, blob
        self.ended = self.error = self.first_byte = None
        self.worst_gap = 0.0
        self.resumes = 0
        self._got, self._hasher = 0, hashlib.sha256()
        self._socket, self._stopped = None, False

    def start(self):
        self.began = self._last = time.time()
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self):
        """Its node is gone."""
        self._stopped = True
        with contextlib.suppress(OSError, AttributeError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _run(self):
        try:
            for attempt in range(_ATTEMPTS):
                self.resumes = attempt
                self._fetch_rest()
                if self._got == self._blob.size or self._stopped:
                    break
            found = "sha256:" + self._hasher.hexdigest()
            if found != self._blob.digest:
                raise AssertionError(f"{self._got} bytes came as {found}")
            self.ended = self._last
        except (OSError, AssertionError, http.client.HTTPException) as error:
            self.error = error

    def _fetch_rest(self):
        connection = http.client.HTTPConnection(self._address, self._port, timeout=60)
        with self._host.inside():
            connection.sock = self._socket = socket.create_connection((self._address, self._port), timeout=60)
        try:
            connection.request("GET", self._blob.url_path,
                               headers={"Range": f"bytes={self._got}-"} if self._got else {})
            response = connection.getresponse()
            if response.status != (206 if self._got else 200):
                raise AssertionError(f"status {response.status}: {response.read(200)!r}")
            while block := response.read1(_BLOCK):
                self._hasher.update(block)
                now = time.time()
                self.first_byte = self.first_byte or now
                self.worst_gap = max(self.worst_gap, now - self._last)
                self._last = now
                self._got += len(block)
        finally:
            connection.close()
