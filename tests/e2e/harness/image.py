"""Images made on the spot: uncompressed tar layers of random bytes, so every digest is new to every cache."""

import dataclasses
import hashlib
import io
import json
import os
import tarfile

MIB = 1024 * 1024
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclasses.dataclass
class Blob:
    digest: str
    size: int
    path: str
    media_type: str

    def descriptor(self):
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclasses.dataclass
class Image:
    repo: str
    layers: list
    config: Blob
    manifest: Blob

    @property
    def blobs(self):
        return [self.config, *self.layers]

    @property
    def digests(self):
        return [blob.digest for blob in [self.manifest, *self.blobs]]

    @property
    def blob_bytes(self):
        """Layers and config: what has to cross the wire once."""
        return sum(blob.size for blob in self.blobs)

    @property
    def biggest(self):
        return max(self.layers, key=lambda layer: layer.size)


def sha256_file(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            hasher.update(block)
    return "sha256:" + hasher.hexdigest()


class _Random(io.RawIOBase):
    """`size` random bytes as a file, made as they are read."""

    def __init__(self, size):
        self._left = size

    def read(self, size=-1):
        size = self._left if size < 0 else min(size, self._left)
        self._left -= size
        return os.urandom(size)


def _layer(directory, index, size):
    """A tar of about `size` bytes with one file of random content and a small one beside it."""
    temporary = os.path.join(directory, f"layer-{index}.tar")
    with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT, copybufsize=MIB) as tar:
        note = f"layer {index}\n".encode()
        for name, length, source in ((f"srv/layer-{index}.txt", len(note), io.BytesIO(note)),
                                     (f"srv/layer-{index}.bin", size, _Random(size))):
            info = tarfile.TarInfo(name)
            info.size, info.mode = length, 0o644
            tar.addfile(info, source)
    return _adopt(directory, temporary, LAYER_TYPE)


def _adopt(directory, temporary, media_type):
    digest = sha256_file(temporary)
    path = os.path.join(directory, digest.replace(":", "-"))
    os.rename(temporary, path)
    return Blob(digest, os.path.getsize(path), path, media_type)


def _document(directory, name, media_type, content):
    temporary = os.path.join(directory, name)
    with open(temporary, "w") as file:
        json.dump(content, file)
    return _adopt(directory, temporary, media_type)


def make_image(directory, repo, layer_sizes):
    """An OCI image with one layer per entry of `layer_sizes` [bytes]; containerd can unpack it."""
    os.makedirs(directory, exist_ok=True)
    layers = [_layer(directory, index, size) for index, size in enumerate(layer_sizes)]
    config = _document(directory, "config.json", CONFIG_TYPE, {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/srv/none"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]}})
    manifest = _document(directory, "manifest.json", MANIFEST_TYPE, {
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers]})
    return Image(repo, layers, config, manifest)
