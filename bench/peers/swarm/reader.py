"""A client in a host's namespace: gets the blob over HTTP, hashes it as it comes, keeps nothing. See reader.cpp."""

import json
import subprocess
import time


class Reader:
    """Waits to be started. `ended` [time.time()] is set once the digest is right, `error` when that will never be."""

    program = None  # what swarm.py has had built

    def __init__(self, host, address, port, blob):
        self._blob, self._stopped, self._result = blob, False, None
        url = f"http://{address}:{port}{blob.url_path}"
        with host.inside():
            self._process = subprocess.Popen([self.program, url, str(blob.size)], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, text=True)
        host.scratch.defer(self.stop)

    def start(self):
        self.began = time.time()
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def stop(self):
        """Its node is gone, or the run is over."""
        self._stopped = True
        self._process.kill()
        self._process.wait()

    def _poll(self):
        if self._result is None and not self._stopped and self._process.poll() is not None:
            said = self._process.stdout.read()
            self._result = json.loads(said) if said else {"error": f"ended with {self._process.returncode}"}
            if self._result.get("digest", self._blob.digest) != self._blob.digest:
                self._result = {"error": f"the bytes that came are {self._result['digest']}"}
        return self._result or {}

    @property
    def error(self):
        return self._poll().get("error")

    @property
    def ended(self):
        return self._poll().get("ended")

    @property
    def worst_gap(self):
        return self._poll()["worst_gap"]

    @property
    def first_byte(self):
        return self._poll()["first_byte"]

    @property
    def resumes(self):
        return self._poll()["resumes"]
