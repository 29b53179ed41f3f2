"""What BitTorrent clients need beside themselves: a metainfo file and a tracker."""

import hashlib
import http.server
import os
import socket
import threading
import urllib.parse

TRACKER_PORT = 6969
PEER_PORT = 6881
_INTERVAL_SECONDS = 30


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def piece_bytes(size):
    """About 512 pieces, as waggle has chunks."""
    return 1 << min(20, max(14, (size // 512).bit_length() - 1))


def write_metainfo(blob, path, tracker_address):
    piece = piece_bytes(blob.size)
    with open(blob.path, "rb") as file:
        pieces = b"".join(hashlib.sha1(block).digest() for block in iter(lambda: file.read(piece), b""))
    with open(path, "wb") as file:
        file.write(bencode({
            "announce": f"http://{tracker_address}:{TRACKER_PORT}/announce",
            "info": {"name": os.path.basename(blob.path), "length": blob.size, "piece length": piece,
                     "pieces": pieces}}))


class Tracker:
    """Tells each client who announced before it. Made in the namespace of this thread."""

    def __init__(self, scratch, address):
        peers, lock = {}, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                port = int(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query, encoding="latin-1")["port"][0])
                caller = socket.inet_aton(self.client_address[0]) + port.to_bytes(2, "big")
                with lock:
                    peers[caller] = True
                    others = b"".join(peer for peer in peers if peer != caller)
                body = bencode({"interval": _INTERVAL_SECONDS, "min interval": _INTERVAL_SECONDS, "peers": others})
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer((address, TRACKER_PORT), Handler)
        server.daemon_threads = True
        self.peers = peers
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        scratch.defer(server.server_close)
        scratch.defer(server.shutdown)
