"""A network of its own for strangers: a namespace behind a veth pair, with counters of what the nodes send there."""

import json
import os
import subprocess
import time

from .cluster import program


def run(*args, **options):
    """The output of a command that has to succeed."""
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=30, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, args))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Outside:
    """The nodes keep NET.11 and up on this side of the cable, strangers NET.200 to NET.239 on the other side."""

    STRANGERS = 40

    # An acknowledgement without data is at most 20 + 60 bytes long, and the last data segment of a write has PSH.
    RULES = """
table inet garbage {{
  counter udp_to_nodes {{ }}
  counter tcp_to_nodes {{ }}
  counter udp_from_nodes {{ }}
  counter icmp_from_nodes {{ }}
  counter tcp_data_from_nodes {{ }}
  counter tcp_from_nodes {{ }}
  chain leaving {{
    type filter hook output priority 0;
    udp dport {port} counter name udp_to_nodes
    tcp dport {port} counter name tcp_to_nodes
  }}
  chain arriving {{
    type filter hook input priority 0;
    meta l4proto udp counter name udp_from_nodes
    meta l4proto icmp counter name icmp_from_nodes
    tcp sport {port} counter name tcp_from_nodes
    tcp sport {port} tcp flags & psh == psh counter name tcp_data_from_nodes
    tcp sport {port} tcp flags & psh != psh ip length > 80 counter name tcp_data_from_nodes
  }}
}}
"""

    def __init__(self, scratch, nodes, port):
        if os.geteuid() != 0:
            raise AssertionError("a network namespace of our own needs root")
        number = os.getpid() % 60000
        self.name, cable = f"waggle-{number}", f"wgl{number}"
        self.net = f"10.{100 + number // 250 % 100}.{number % 250}"
        self._scratch = scratch
        run("ip", "netns", "add", self.name)
        scratch.defer(self._remove)
        run("ip", "link", "add", cable, "type", "veth", "peer", "name", "far", "netns", self.name)
        scratch.defer(subprocess.run, ["ip", "link", "del", cable])
        for last in range(11, 11 + nodes):
            run("ip", "address", "add", f"{self.net}.{last}/24", "dev", cable)
        run("ip", "link", "set", cable, "up")
        run("ip", "-n", self.name, "-batch", "-", input="\n".join(
            f"address add {self.net}.{200 + i}/24 dev far" for i in range(self.STRANGERS)) + "\n")
        for device in ("lo", "far"):
            run("ip", "-n", self.name, "link", "set", device, "up")
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", input=self.RULES.format(port=port))

    def _remove(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def command(self, *args):
        return ["ip", "netns", "exec", self.name, *map(str, args)]

    def start(self, name, *args):
        return self._scratch.start(name, self.command(*args))

    def run(self, *args, deadline=600, every=0.02, meanwhile=lambda: None, env=None):
        """The JSON line that a program prints out there; `meanwhile` is called again and again."""
        with subprocess.Popen(self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, **(env or {})}) as child:
            end = time.monotonic() + deadline
            while child.poll() is None:
                if time.monotonic() > end:
                    child.kill()
                    raise AssertionError(f"{args[0]} {args[1]} still runs after {deadline} s")
                meanwhile()
                time.sleep(every)
            out, error = child.communicate()
        if child.returncode != 0:
            raise AssertionError(f"{args[0]} {args[1]}: {error.strip()}")
        return json.loads(out)

    def counters(self):
        """{name: packets} since the last call."""
        listed = json.loads(run("ip", "netns", "exec", self.name, "nft", "-j", "reset", "counters"))
        return {item["counter"]["name"]: item["counter"]["packets"]
                for item in listed["nftables"] if "counter" in item}


def blaster():
    return program(os.path.join("tests", "garbage", "garbage_blaster"))
