"""What the bench asks of every system, and the two kinds there are: those that a reader pulls from, and those whose own
processes leave a file on each node."""

import hashlib
import os
import time

from reader import Reader

from harness.process import wait_for

EVERY_SCENARIO = ("flash", "spread", "killed", "slow", "warm")


class System:
    """One system in one run. `nodes` of a run are numbered from 0, as `lab.hosts`."""

    scenarios = EVERY_SCENARIO
    header_bytes = 66  # of a packet: Ethernet, IPv4, TCP with timestamps
    program = None  # what of ours it runs, when it has to be built

    def __init__(self, lab, blob, scenario):
        self.lab, self.blob, self.scenario = lab, blob, scenario
        self.scratch, self.count = lab.scratch, len(lab.hosts)

    @classmethod
    def patience(cls, nodes):
        """After how many times the bound a run has failed."""
        return 8

    def prepare(self):
        """Starts whatever may be up before the clock runs; returns when it has settled."""

    def start(self, node):
        """This node wants the blob from now on; returns at once."""
        raise NotImplementedError

    def ended(self, node):
        """When the node had the whole blob [time.time()], or None; an error when it never will."""
        raise NotImplementedError

    def kill(self, node):
        """SIGKILL to all that the node runs."""
        raise NotImplementedError

    def verify(self, node):
        """After the clock: an error unless the node's copy has the digest."""
        raise NotImplementedError

    def details(self):
        """More to print of this run."""
        return {}


class HttpSystem(System):
    """Each node has a reader that pulls from `source(node)`, hashes what comes and keeps nothing."""

    def source(self, node):
        """(address, port) as seen from the node."""
        raise NotImplementedError

    def prepare(self):
        self.readers = [Reader(host, *self.source(node), self.blob) for node, host in enumerate(self.lab.hosts)]
        self._killed = set()

    def start(self, node):
        self.readers[node].start()

    def ended(self, node):
        reader = self.readers[node]
        if reader.error and node not in self._killed:
            raise AssertionError(f"reader of n{node + 1}: {reader.error}")
        return reader.ended

    def kill(self, node):
        self._killed.add(node)
        self.readers[node].stop()

    def verify(self, node):
        """The reader ended with the right digest."""

    def details(self):
        whole = [reader for reader in self.readers if reader.ended]
        return {"worst_gap_s": max(reader.worst_gap for reader in whole),
                "first_byte_s": max(reader.first_byte - reader.began for reader in whole),
                "resumes": sum(reader.resumes for reader in whole)}


class ProcessSystem(System):
    """Each node's process waits at a gate, a FIFO, until the node is to start, and leaves the blob in `copy(node)`."""

    ends_itself = True  # its exit is the end; otherwise the file done(node) is, since its last change

    def place(self, node, *parts):
        return os.path.join(self.scratch.dir("copies", f"n{node + 1}"), *parts)

    def copy(self, node):
        return self.place(node, "blob")

    def done(self, node):
        return self.place(node, "done")

    def _gate(self, node):
        return self.place(node, "gate")

    def command(self, node):
        """The words of the node's process."""
        raise NotImplementedError

    def prepare(self):
        self._processes, self._exits, self._gates = [], {}, {}
        for node, host in enumerate(self.lab.hosts):
            os.mkfifo(self._gate(node))
            gated = ["sh", "-c", f'read _ <{self._gate(node)}; exec "$@"', "sh", *self.command(node)]
            self._processes.append(host.start(host.name, gated))
        for node in range(self.count):
            wait_for(lambda node=node: self._at_gate(node), 10, f"n{node + 1} is at its gate", every=0.01)

    def _at_gate(self, node):
        """Its process has the FIFO open for reading: only then it opens for writing."""
        try:
            self._gates[node] = os.open(self._gate(node), os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    def start(self, node):
        os.write(self._gates[node], b"go\n")
        os.close(self._gates[node])

    def ended(self, node):
        process = self._processes[node]
        if node not in self._exits and not process.running():
            if process.exit_code() != 0 or not self.ends_itself:
                raise AssertionError(f"{process.name} ended with {process.exit_code()}:\n{process.tail()}")
            self._exits[node] = time.time()
        if self.ends_itself:
            return self._exits.get(node)
        try:
            return os.stat(self.done(node)).st_ctime
        except FileNotFoundError:
            return None

    def kill(self, node):
        self._processes[node].kill()

    def verify(self, node):
        with open(self.copy(node), "rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.blob.digest:
            raise AssertionError(f"n{node + 1} ended with {found}")
