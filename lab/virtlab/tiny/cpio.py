"""An initramfs archive (cpio's newc format), written without root: devices and owners are only told."""

from __future__ import annotations

import stat
from pathlib import PurePosixPath
from typing import Protocol

MAGIC = "070701"


class Writable(Protocol):
    def write(self, content: bytes, /) -> object: ...


class Archive:
    """Files for a guest, whose directories come by themselves. Everything is root's, and from the epoch."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._number = 0
        self._there: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._add(path, stat.S_IFREG | mode, content)

    def link(self, path: str, target: str) -> None:
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device."""
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        self._write("TRAILER!!!", 0, b"", (0, 0))

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._there

    def _add(self, path: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        name = path.strip("/")
        if name in self._there:
            return
        parent = str(PurePosixPath(name).parent)
        if parent != ".":
            self.directory(parent)
        self._there.add(name)
        self._write(name, mode, content, device)

    def _write(self, name: str, mode: int, content: bytes, device: tuple[int, int]) -> None:
        self._number += 1
        encoded = name.encode() + b"\0"
        fields = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        header = MAGIC + "".join(f"{field:08x}" for field in fields)
        self._stream.write(_padded(header.encode() + encoded))
        self._stream.write(_padded(content))


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)
