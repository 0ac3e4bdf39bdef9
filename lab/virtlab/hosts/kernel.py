"""The system calls that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

NEW_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000  # mount, UTS, IPC, PID, network
NEW_CGROUP = 0x02000000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave these namespaces for new ones; raises OSError."""
    _check(_libc.unshare(flags), "namespaces")


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError with the target in it."""
    _check(
        _libc.mount(str(source).encode(), str(target).encode(), kind.encode(), flags, options.encode() or None),
        str(target),
    )


def bind(source: str | Path, target: str | Path) -> None:
    """Show one directory or file at the place of another one."""
    mount(source, target, flags=MS_BIND)


def _check(result: int, subject: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
