#!/usr/bin/env python3
"""Transfer sessions between waggle (noise_tool) and an independent implementation (noise_peer.py), in both roles.

  run.py path/to/noise_tool

Makes a virtual environment with the pinned packages of requirements.txt beside the tool unless this Python has them.
Exit 0: every exchange was right. 1: one was not. 77: the packages cannot be had (offline), nothing was tested.
"""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77


def python_with_noise(tool):
    if subprocess.run([sys.executable, "-c", "import noise, cryptography"], capture_output=True).returncode == 0:
        return sys.executable
    home = tool.parent / "interop-venv"
    python = home / "bin" / "python"
    install = [[sys.executable, "-m", "venv", str(home)],
               [str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]]
    probe = [str(python), "-c", "import noise, cryptography"]
    if not python.exists() or subprocess.run(probe, capture_output=True).returncode != 0:
        for command in install:
            if subprocess.run(command).returncode != 0:
                sys.exit(SKIPPED)
    return str(python)


def exchange(python, tool, tool_role, cipher):
    """Joins the two programs by a pair of pipes; true when both were content."""
    peer_role = "responder" if tool_role == "initiator" else "initiator"
    to_peer, from_tool = os.pipe()
    to_tool, from_peer = os.pipe()
    first = subprocess.Popen([str(tool), tool_role, cipher], stdin=to_tool, stdout=from_tool)
    second = subprocess.Popen([python, str(HERE / "noise_peer.py"), peer_role, cipher],
                              stdin=to_peer, stdout=from_peer)
    for end in (to_peer, from_tool, to_tool, from_peer):
        os.close(end)
    try:
        codes = first.wait(timeout=60), second.wait(timeout=60)
    except subprocess.TimeoutExpired:
        first.kill()
        second.kill()
        codes = "timed out"
    good = codes == (0, 0)
    print(f"{'ok  ' if good else 'FAIL'} waggle {tool_role}, noiseprotocol {peer_role}, {cipher}"
          + ("" if good else f": {codes}"))
    return good


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tool = pathlib.Path(sys.argv[1]).resolve()
    python = python_with_noise(tool)
    results = [exchange(python, tool, role, cipher)
               for role in ("initiator", "responder") for cipher in ("chacha", "aes")]
    vectors = subprocess.run([python, "-W", "ignore", str(HERE / "noise_peer.py"), "vectors"],
                             capture_output=True, text=True)
    same = vectors.stdout == (HERE.parent / "wire" / "session.txt").read_text()
    print(f"{'ok  ' if same else 'FAIL'} tests/wire/session.txt is what the independent implementation writes")
    results.append(same)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
