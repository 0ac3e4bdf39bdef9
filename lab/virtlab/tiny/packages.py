"""Files out of Debian packages: the machine's own where the package is installed, else out of a downloaded one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

KERNEL_METAPACKAGE = "linux-image-cloud-amd64"
KERNEL = re.compile(r"linux-image-\d\S*-cloud-amd64")


class ImageError(Exception):
    """Why the image cannot be made, and what to do; its text is all that is shown."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a tool and return what it printed; raises ImageError with what it said against it."""
    name = str(command[0])
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if path is None:
        raise ImageError(f"{name} is missing; see install_kvm_packages in bin/setup.sh for what images are made with")
    environment = {**os.environ, "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(
        [path, *map(str, command[1:])], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ImageError(f"{name} failed: {(done.stderr or done.stdout).strip()} ({' '.join(map(str, command))})")
    return done.stdout


class Packages:
    """Packages that are unpacked into a cache, each once and for good."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def file(self, package: str, path: str) -> Path:
        """The file that a package installs at C(path), which is absolute."""
        installed = Path(path)
        return installed if installed.exists() else self.unpacked(package) / path.lstrip("/")

    def kernel(self) -> Path:
        """The directory with the unpacked kernel of Debian's clouds."""
        if found := sorted(self._cache.glob("linux-image-*-cloud-amd64")):
            return found[-1]
        match = KERNEL.search(run("apt-cache", "depends", KERNEL_METAPACKAGE))
        if match is None:
            raise ImageError(f"apt-cache depends {KERNEL_METAPACKAGE} names no kernel: run apt-get update")
        return self.unpacked(match[0])

    def unpacked(self, package: str) -> Path:
        target = self._cache / package
        if not target.is_dir():
            work = self._cache / f".{package}.{os.getpid()}"
            shutil.rmtree(work, ignore_errors=True)
            (work / "root").mkdir(parents=True)
            try:
                run("apt-get", "download", package, cwd=work)
                run("dpkg-deb", "--extract", next(work.glob("*.deb")), work / "root")
                _take_place(work / "root", target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return target


def _take_place(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
