"""Zstandard streams, unpacked by the machine's own library: Python has one of its own from 3.14 on only."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache

from virtlab.storage.problems import DataProblem

NO_LIBRARY = "could not create zst reader: this machine has no libzstd"


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer, and ZSTD_outBuffer as well."""

    _fields_ = (("place", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


@cache
def library() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("zstd")
    if name is None:
        return None
    found = ctypes.CDLL(name)
    found.ZSTD_createDStream.restype = ctypes.c_void_p
    found.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
    found.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    found.ZSTD_decompressStream.restype = ctypes.c_size_t
    found.ZSTD_DStreamOutSize.restype = ctypes.c_size_t
    found.ZSTD_isError.argtypes = [ctypes.c_size_t]
    found.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
    found.ZSTD_getErrorName.restype = ctypes.c_char_p
    return found


class Unzstd:
    """One or more frames after another. Implements Unpacker; raises DataProblem where there is no library."""

    def __init__(self) -> None:
        found = library()
        if found is None:
            raise DataProblem(NO_LIBRARY)
        self._library = found
        self._stream = ctypes.c_void_p(found.ZSTD_createDStream())
        self._out = ctypes.create_string_buffer(found.ZSTD_DStreamOutSize())
        self._open = True  # within a frame, or before the first

    def __del__(self) -> None:
        if hasattr(self, "_stream"):
            self._library.ZSTD_freeDStream(self._stream)

    def feed(self, data: bytes) -> Iterator[bytes]:
        taken = ctypes.create_string_buffer(data, len(data))
        source = _Buffer(ctypes.cast(taken, ctypes.c_void_p), len(data), 0)
        full = False
        while source.at < source.size or full:
            made = _Buffer(ctypes.cast(self._out, ctypes.c_void_p), len(self._out), 0)
            left = self._library.ZSTD_decompressStream(self._stream, ctypes.byref(made), ctypes.byref(source))
            if self._library.ZSTD_isError(left):
                raise DataProblem(f"zstd: {self._library.ZSTD_getErrorName(left).decode()}")
            self._open = left != 0
            full = made.at == made.size and self._open  # there may be more than found room
            if made.at:
                yield ctypes.string_at(self._out, made.at)

    def finish(self) -> None:
        if self._open:
            raise DataProblem("unexpected EOF")
