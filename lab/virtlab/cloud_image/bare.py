"""The root of a bare Debian with systemd, Python and an ssh server, made once and kept by what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from virtlab.cloud_image import debian
from virtlab.tiny.packages import ImageError, run

__all__ = ["ImageError", "copy"]
PACKAGES = ("systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "iproute2", "ca-certificates")


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "virtlab" / "bare"


def copy(target: Path, cache: Path | None = None) -> None:
    """Put a machine's root at C(target), which is not there yet: nobody's, without host keys. Raises ImageError."""
    run("cp", "--archive", "--reflink=auto", _made(cache or cache_directory()), target)


def _made(cache: Path) -> Path:
    digest = hashlib.sha256(debian.codename().encode())
    for path in (Path(__file__), Path(debian.__file__)):
        digest.update(path.read_bytes())
    made = cache / digest.hexdigest()[:16]
    if made.is_dir():
        return made
    if os.geteuid() != 0:
        raise ImageError("mmdebstrap has to be run by root here")
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=cache))
    try:
        root, listed = work / "root", work / "sources.list"
        listed.write_text(debian.sources())
        debian.unpack(root, listed, PACKAGES)
        for key in (root / "etc/ssh").glob("ssh_host_*"):
            key.unlink()
        (root / "etc/machine-id").write_text("")
        (root / "etc/hostname").unlink(missing_ok=True)
        try:
            root.rename(made)
        except OSError:
            if not made.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(work)
    return made
