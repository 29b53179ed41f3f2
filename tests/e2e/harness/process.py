"""Child processes that never outlive their test, free ports, and waiting on conditions."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

_PR_SET_PDEATHSIG = 1


class Timeout(AssertionError):
    """A condition did not become true before its deadline."""


def wait_for(condition, deadline, what, every=0.02):
    """Calls `condition` until it returns something true, and returns that; Timeout after `deadline` s."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Timeout(f"{what}: not within {deadline} s")
        time.sleep(every)


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def private_net():
    """The first three bytes of a loopback network that no other run on this machine uses."""
    return f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"


def clean_environment():
    """Without WAGGLE_* variables: waggled takes each of them for a configuration key."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAGGLE_")}


def _die_with_parent():
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """One child in a process group of its own, its output in `log`."""

    def __init__(self, name, args, log, env=None, cwd=None):
        self.name, self.log = name, log
        # The kernel ties the death signal to the starting *thread*, so only the main one may ask for it.
        in_main = threading.current_thread() is threading.main_thread()
        with open(log, "ab") as out:
            self._child = subprocess.Popen(
                [str(arg) for arg in args], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**clean_environment(), **(env or {})}, cwd=cwd, start_new_session=True,
                preexec_fn=_die_with_parent if in_main else None)

    @property
    def pid(self):
        return self._child.pid

    def running(self):
        return self._child.poll() is None

    def exit_code(self):
        return self._child.poll()

    def signal(self, number):
        if self.running():
            self._child.send_signal(number)

    def wait(self, deadline):
        """The exit code; Timeout when it still runs after `deadline` s."""
        try:
            return self._child.wait(deadline)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.name} (pid {self.pid}) still runs after {deadline} s") from None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def stop(self, deadline=10):
        """SIGTERM, then SIGKILL for the whole group; returns the exit code."""
        if self.running():
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(deadline)
        self.kill()
        return self._child.returncode

    def tail(self, lines=15):
        with open(self.log, "rb") as file:
            return b"\n".join(file.read().splitlines()[-lines:]).decode(errors="replace")


class Scratch:
    """A temporary directory and everything started in it; leaving the block ends and removes both."""

    def __init__(self, prefix="waggle-", keep_logs_in=None):
        self.path = tempfile.mkdtemp(prefix=prefix)
        self._keep_logs_in = keep_logs_in
        self._stack = contextlib.ExitStack()
        self.prefix = []  # words before each command that start() runs
        self.failed = False  # set it to keep the logs of a run that ends without an exception

    def dir(self, *parts):
        path = os.path.join(self.path, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    def defer(self, action, *args):
        """Runs `action` at the end, last deferred first."""
        self._stack.callback(action, *args)

    def start(self, name, args, **options):
        log = os.path.join(self.dir("logs"), name + ".log")
        process = Process(name, [*self.prefix, *args], log, **options)
        self.defer(process.stop)
        return process

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.failed = self.failed or kind is not None
        try:
            self._stack.close()
        finally:
            if self.failed and self._keep_logs_in:
                shutil.rmtree(self._keep_logs_in, ignore_errors=True)
                shutil.copytree(self.dir("logs"), self._keep_logs_in)
            self._unmount()
            shutil.rmtree(self.path, ignore_errors=True)

    def _unmount(self):
        """A containerd killed while it unpacked leaves mounts below its root."""
        with open("/proc/self/mounts") as mounts:
            points = [line.split()[1] for line in mounts if line.split()[1].startswith(self.path + "/")]
        for point in sorted(points, reverse=True):
            subprocess.run(["umount", "-l", point], check=False)
