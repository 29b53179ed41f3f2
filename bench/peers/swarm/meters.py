"""What a run costs: processor time and memory of its processes, the origin's bytes, how idle the machine was."""

import contextlib
import json
import os
import re
import threading
import time

from harness.lan import inside_namespace
from harness.outside import run

_SAMPLE_SECONDS = 0.05
_MEMORY_SECONDS = 0.5
_CGROUP_V1, _CGROUP_V2 = "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"


class ProcessGroup:
    """A control group: the processor time of all that ever ran in it, the largest process seen in it."""

    def __init__(self, scratch, name):
        self._v1 = os.path.isdir(_CGROUP_V1)
        self._path = os.path.join(_CGROUP_V1 if self._v1 else _CGROUP_V2, f"waggle-swarm-{os.getpid()}-{name}")
        os.makedirs(self._path, exist_ok=True)
        scratch.defer(self._remove)
        self.resident_mib = self.anonymous_mib = 0.0

    def _remove(self):
        for _ in range(100):  # what was just killed takes a moment to leave
            with contextlib.suppress(OSError):
                os.rmdir(self._path)
                return
            time.sleep(0.02)

    @property
    def prefix(self):
        """Words that make the command behind them run in this group."""
        return ["sh", "-ec", f'echo $$ >{self._path}/cgroup.procs; exec "$@"', "sh"]

    def cpu_seconds(self):
        if self._v1:
            with open(f"{self._path}/cpuacct.usage") as file:
                return int(file.read()) / 1e9
        with open(f"{self._path}/cpu.stat") as file:
            return int(re.search(r"usage_usec (\d+)", file.read())[1]) / 1e6

    def sample_memory(self):
        with open(f"{self._path}/cgroup.procs") as file:
            pids = file.read().split()
        for pid in pids:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
                text = file.read()
                for name, field in (("resident_mib", "VmHWM"), ("anonymous_mib", "RssAnon")):
                    if found := re.search(rf"{field}:\s+(\d+)", text):
                        setattr(self, name, max(getattr(self, name), int(found[1]) / 1024))


class Meter:
    """Between start() and stop(). From now on what the lab's hosts start is counted: the nodes' and the origin's apart."""

    def __init__(self, scratch, lab):
        self._lab = lab
        self.nodes, self.origin = ProcessGroup(scratch, "nodes"), ProcessGroup(scratch, "origin")
        for host in lab.hosts:
            host.prefix = self.nodes.prefix
        lab.origin.prefix = self.origin.prefix
        self._curve = []  # (seconds since the start, {switch port: (bytes in, bytes out, packets in)})
        self._stopped = threading.Event()
        scratch.defer(self._stopped.set)

    def start(self):
        self._cpu = {group: group.cpu_seconds() for group in (self.nodes, self.origin)}
        self._ticks = _machine_ticks()
        self._began = time.time()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self._began

    def stop(self):
        """Processor seconds, MiB, drops, the machine's idle share of this run."""
        self._stopped.set()
        self._sampler.join()
        busy, idle = (after - before for after, before in zip(_machine_ticks(), self._ticks))
        self.nodes.sample_memory()
        return {
            "cpu_nodes_s": self.nodes.cpu_seconds() - self._cpu[self.nodes],
            "cpu_origin_s": self.origin.cpu_seconds() - self._cpu[self.origin],
            "rss_mib": self.nodes.resident_mib, "rss_anon_mib": self.nodes.anonymous_mib,
            "cpu_idle_percent": 100 * idle / max(1, busy + idle),
            "port_drops": self._port_drops(),
        }

    def _sample(self):
        next_memory = 0.0
        with inside_namespace(self._lab.lan.switches):
            while True:
                now = time.time() - self._began
                self._curve.append((now, _ports()))
                if now >= next_memory:
                    next_memory = now + _MEMORY_SECONDS
                    self.nodes.sample_memory()
                if self._stopped.wait(_SAMPLE_SECONDS):
                    self._curve.append((time.time() - self._began, _ports()))
                    return

    def origin_bytes(self, header_bytes):
        """What has come from the origin to the switch, without headers; repeats are in it. A large segment counts as
        one packet with one header, so that what is left is payload however it was cut."""
        port = self._lab.origin.ports[0]
        received, _, packets = (after - before for after, before in zip(self._curve[-1][1][port],
                                                                        self._curve[0][1][port]))
        return received - header_bytes * packets

    def origin_last_byte(self):
        """When all but a thousandth of what the origin sent had left it [s]."""
        port = self._lab.origin.ports[0]
        sent = [(at, ports[port][0]) for at, ports in self._curve]
        first, last = sent[0][1], sent[-1][1]
        return next(at for at, count in sent if count - first >= 0.999 * (last - first))

    def link_use(self, origin_mbit, node_mbit, parts=10):
        """Shares of the links in use in each tenth of the run: the origin's uplink, the nodes' up and down (their mean,
        and the one busiest over the whole run). A large segment counts with one header: a full link shows 0.96 to 1."""
        last = self._curve[-1][0]
        cuts = [next(ports for at, ports in self._curve if at >= last * part / parts) for part in range(parts + 1)]

        def shares(ports, direction, mbit):
            full = mbit * 1e6 / 8 * last / parts * len(ports)
            return [round(sum(after[port][direction] - before[port][direction] for port in ports) / full, 2)
                    for before, after in zip(cuts, cuts[1:])]

        nodes = [host.ports[0] for host in self._lab.hosts]
        busiest = [max(nodes, key=lambda port, way=way: cuts[-1][port][way] - cuts[0][port][way]) for way in (0, 1)]
        return {"origin_up": shares(self._lab.origin.ports, 0, origin_mbit),
                "nodes_up": shares(nodes, 0, node_mbit), "busiest_up": shares(busiest[:1], 0, node_mbit),
                "nodes_down": shares(nodes, 1, node_mbit), "busiest_down": shares(busiest[1:], 1, node_mbit)}

    def _port_drops(self):
        """Frames that the switch's queues dropped since they were made."""
        listed = json.loads(run("tc", "-n", self._lab.lan.switches, "-s", "-j", "qdisc", "show"))
        return sum(item.get("drops", 0) for item in listed if item["kind"] == "tbf")


def _ports():
    """{device: (bytes received, bytes sent, packets received)} of this thread's namespace."""
    with open("/proc/thread-self/net/dev") as file:
        rows = (line.split() for line in file.readlines()[2:])
        return {row[0].rstrip(":"): (int(row[1]), int(row[9]), int(row[2])) for row in rows}


def _machine_ticks():
    """(busy, idle) of all processors; time that the host took away counts as busy."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, idle
