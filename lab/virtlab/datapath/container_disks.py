"""Container disks: the disk in a container image as a file, fetched once for each content."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from virtlab.datapath.fetch import Access, is_local
from virtlab.datapath.images import layers, source_of, take_disk
from virtlab.storage.disks import DISK
from virtlab.storage.receive import Receiver, Target

DIRECTORY = ".containerdisks"
LARGEST = 1 << 40  # bytes


def address_of(image: str) -> str | None:
    """The image as a URL, where it is here: C(127.0.0.1:5000/name:tag), C(oci:/path), C(oci-archive:/path)."""
    if image.startswith(("oci:", "oci-archive:")):
        return image
    url = image if image.startswith("docker://") else f"docker://{image}"
    return url if is_local(url) else None


class ContainerDisks:
    """The files below C(root), by the layers that they came from."""

    def __init__(self, root: Path) -> None:
        self._root = root / DIRECTORY
        self._fetching = threading.Lock()

    def path(self, image: str, file: str = "") -> Path | None:
        """The raw disk in C(image), not to be written to; C(file): its path in there, where it is not the only one.

        None for an image that is not on this machine. Takes as long as fetching it does: call it in a thread.
        Raises DataProblem.
        """
        url = address_of(image)
        if url is None:
            return None
        source = source_of(url, Access())
        content = "".join(layer["digest"] for layer in layers(source)) + file
        path = self._root / hashlib.sha256(content.encode()).hexdigest()[:32] / DISK
        with self._fetching:
            if not path.exists():
                receiver = Receiver(Target(path, 0, LARGEST), always_scratch=True)
                try:
                    take_disk(source, receiver, lambda fraction: None, file)
                    receiver.finish()
                finally:
                    receiver.abandon()
        return path
