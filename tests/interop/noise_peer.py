#!/usr/bin/env python3
"""A transfer session peer that shares no code with waggle.

The handshake and the ciphers are the `noiseprotocol` package's (PyPI, pure Python on `cryptography`); the preamble, the
handshake payload and the records are written here from docs/wire-transfer.md.

  noise_peer.py initiator|responder aes|chacha   speak a session on stdin and stdout, exit 0 when all of it was right
  noise_peer.py vectors                          print tests/wire/session.txt
"""
import hashlib
import hmac
import struct
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from noise.backends.default import noise_backend
from noise.connection import Keypair, NoiseConnection
from noise.noise_protocol import NoiseProtocol
from noise.state import CipherState

NAME = b"Noise_XXpsk0_25519_ChaChaPoly_SHA256"
CLUSTER_KEY = bytes(range(32))
CLUSTER_NAME = b"interop"
SEEDS = {"initiator": bytes([1] * 32), "responder": bytes([2] * 32)}
EPHEMERALS = {"initiator": bytes([3] * 32), "responder": bytes([4] * 32)}
REKEY_AFTER = 100_000
P = 2**255 - 19
CONTROL, PAYLOAD = 1, 2
CONTROL_PART = 65_535 - 16 - 1


def ed25519_public(seed):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def x25519_image(public):
    """The birational map u = (1 + y) / (1 - y) of RFC 7748, section 4.1."""
    y = int.from_bytes(public, "little") & (2**255 - 1)
    return ((1 + y) * pow(1 - y, P - 2, P) % P).to_bytes(32, "little")


def x25519_secret(seed):
    return hashlib.sha512(seed).digest()[:32]


def content(size, salt):
    return bytes((i * 7 + salt) & 0xFF for i in range(size))


def noise_hkdf2(key, data):
    temp = hmac.new(key, data, hashlib.sha256).digest()
    first = hmac.new(temp, b"\x01", hashlib.sha256).digest()
    second = hmac.new(temp, first + b"\x02", hashlib.sha256).digest()
    return first, second


class Cipher:
    """A Noise CipherState that is rekeyed after REKEY_AFTER sealed bytes."""

    def __init__(self, protocol_name, key):
        self.state = CipherState(NoiseProtocol(protocol_name, noise_backend))
        self.state.initialize_key(key)
        self.sealed = 0

    def count(self, size):
        self.sealed += size
        if self.sealed >= REKEY_AFTER:
            self.sealed = 0
            self.state.rekey()

    def seal(self, aad, plaintext):
        out = self.state.encrypt_with_ad(aad, plaintext)
        self.count(len(out))
        return out

    def open(self, aad, sealed):
        out = self.state.decrypt_with_ad(aad, sealed)
        self.count(len(sealed))
        return out


class Session:
    def __init__(self, role, aes, read, write, fixed=False):
        self.role, self.read, self.write = role, read, write
        caps = 1 if aes else 0
        psk = hashlib.blake2b(b"psk", key=CLUSTER_KEY, digest_size=32).digest()
        key_id = hashlib.blake2b(CLUSTER_KEY, digest_size=16).digest()[:1]
        preamble = b"WGL1" + b"\x01" + key_id
        mine = ed25519_public(SEEDS[role])
        theirs = ed25519_public(SEEDS["responder" if role == "initiator" else "initiator"])
        payload = mine + struct.pack("<BBI", 1, 1, caps)
        noise = NoiseConnection.from_name(NAME)
        noise.set_psks(psk)
        noise.set_prologue(preamble + CLUSTER_NAME)
        noise.set_keypair_from_private_bytes(Keypair.STATIC, x25519_secret(SEEDS[role]))
        if fixed:
            noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, EPHEMERALS[role])
        if role == "initiator":
            noise.set_as_initiator()
        else:
            noise.set_as_responder()
        noise.start_handshake()
        state = noise.noise_protocol.handshake_state  # the library drops it with the last message
        if role == "initiator":
            write(preamble + self.framed(noise.write_message(b"")))
            got = bytes(noise.read_message(self.read_framed()))
            write(self.framed(noise.write_message(payload)))
        else:
            assert read(6) == preamble
            assert bytes(noise.read_message(self.read_framed())) == b""
            write(self.framed(noise.write_message(payload)))
            got = bytes(noise.read_message(self.read_framed()))
        assert got[:32] == theirs, "another identity"
        assert got[32:34] == b"\x01\x01", "another version range"
        assert state.rs.public_bytes == x25519_image(theirs)
        both_aes = aes and got[34] & 1 == 1
        suite = "AESGCM" if both_aes else "ChaChaPoly"
        chaining_key = state.symmetric_state.ck
        hashed = noise.get_handshake_hash()
        label = b"waggle payload " + suite.encode() + hashed
        control = noise_hkdf2(chaining_key, b"")
        bulk = noise_hkdf2(chaining_key, label)
        if role == "responder":
            control, bulk = control[::-1], bulk[::-1]
        bulk_name = f"Noise_XX_25519_{suite}_SHA256".encode()
        self.control_out, self.control_in = Cipher(NAME, control[0]), Cipher(NAME, control[1])
        self.bulk_out, self.bulk_in = Cipher(bulk_name, bulk[0]), Cipher(bulk_name, bulk[1])

    @staticmethod
    def framed(message):
        return struct.pack(">H", len(message)) + bytes(message)

    def read_framed(self):
        return self.read(struct.unpack(">H", self.read(2))[0])

    @staticmethod
    def header(kind, length):
        return struct.pack("<I", kind << 24 | length)

    def send_control(self, message):
        parts = [message[i:i + CONTROL_PART] for i in range(0, len(message), CONTROL_PART)] or [b""]
        for i, part in enumerate(parts):
            flag = b"\x00" if i == len(parts) - 1 else b"\x01"
            sealed = self.control_out.seal(b"", flag + part)
            self.write(self.header(CONTROL, len(sealed)) + sealed)

    def send_payload(self, tag, chunk, offset, data):
        header = self.header(PAYLOAD, 28 + len(data) + 16)
        plaintext = tag + struct.pack("<III", chunk, offset, len(data)) + data
        self.write(header + self.bulk_out.seal(header, plaintext))

    def receive(self):
        """("control", message) or ("payload", tag, chunk, offset, data)."""
        message = b""
        while True:
            header = self.read(4)
            word = struct.unpack("<I", header)[0]
            body = self.read(word & 0xFFFFFF)
            if word >> 24 == PAYLOAD:
                plain = self.bulk_in.open(header, body)
                chunk, offset, length = struct.unpack("<III", plain[16:28])
                assert length == len(plain) - 28
                return "payload", plain[:16], chunk, offset, plain[28:]
            assert word >> 24 == CONTROL
            plain = self.control_in.open(b"", body)
            message += plain[1:]
            if plain[0] == 0:
                return "control", message


SIZES = [0, 1, 1000, 65_518, 65_519, 300_000]  # of control messages: empty, exactly one record, several
DATA = [0, 1, 4096, 65_536, 65_536, 65_536]    # of payload frames: the last ones cross a rekey


def send_all(session, salt):
    for i, size in enumerate(SIZES):
        session.send_control(content(size, salt + i))
    for i, size in enumerate(DATA):
        session.send_payload(bytes([i] * 16), i, 10 * i, content(size, salt + i))


def receive_all(session, salt):
    for i, size in enumerate(SIZES):
        assert session.receive() == ("control", content(size, salt + i)), f"control {i}"
    for i, size in enumerate(DATA):
        assert session.receive() == ("payload", bytes([i] * 16), i, 10 * i,
                                     content(size, salt + i)), f"payload {i}"


def speak(role, aes):
    def read(size):
        data = sys.stdin.buffer.read(size)
        assert len(data) == size, "the other side closed"
        return data

    def write(data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    session = Session(role, aes, read, write)
    if role == "initiator":
        send_all(session, 11)
        receive_all(session, 22)
    else:
        receive_all(session, 11)
        send_all(session, 22)


def vectors():
    """Both roles against each other over byte queues, taking turns."""
    import queue
    import threading
    print("# One whole session with fixed keys, made by tests/interop/noise_peer.py (PyPI noiseprotocol 0.3.1).")
    print("# Stream bytes in the order they are sent; each side then sends one control message and one payload frame.\n")
    for suite in ("ChaChaPoly", "AESGCM"):
        log, queues = [], {"initiator": queue.Queue(), "responder": queue.Queue()}

        def run(role):
            other = "responder" if role == "initiator" else "initiator"
            held = bytearray()

            def read(size):
                while len(held) < size:
                    held.extend(queues[role].get(timeout=10))
                out = bytes(held[:size])
                del held[:size]
                return out

            def write(data):
                log.append((role, bytes(data)))
                queues[other].put(bytes(data))

            session = Session(role, suite == "AESGCM", read, write, fixed=True)
            steps = [lambda: session.send_control(b"hello from " + role.encode()),
                     lambda: session.send_payload(bytes(range(16)), 7, 65_536, content(33, 5))]
            for step in steps:
                if role == "initiator":
                    step()
                    session.receive()
                else:
                    session.receive()
                    step()

        threads = [threading.Thread(target=run, args=(role,)) for role in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(f"cipher={suite}")
        names = ["first", "second", "third"]
        names += ["control_initiator", "control_responder", "payload_initiator", "payload_responder"]
        for name, (_, data) in zip(names, log, strict=True):
            print(f"{name}={data.hex()}")
        print()


if __name__ == "__main__":
    if sys.argv[1:] == ["vectors"]:
        vectors()
    elif len(sys.argv) == 3 and sys.argv[1] in SEEDS and sys.argv[2] in ("aes", "chacha"):
        speak(sys.argv[1], sys.argv[2] == "aes")
    else:
        sys.exit(__doc__)
