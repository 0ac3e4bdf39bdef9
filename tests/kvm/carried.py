"""This machine's Python in an archive that a guest of the same libraries can unpack: a tiny guest has none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|lib2to3|ensurepip|tkinter|turtledemo|site-packages|__pycache__|config-[^/]*)/"
)
INTERPRETER = os.path.realpath(sys.executable)


def write(target: Path) -> None:
    """Every file under the path that it has here."""
    standard = Path(sysconfig.get_path("stdlib"))
    files = {path for path in standard.rglob("*") if path.is_file() and not LEFT_OUT.search(f"{path}/")}
    binaries = [INTERPRETER, *(str(path) for path in files if path.suffix == ".so")]
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    libraries = {Path(match[1]) for match in LIBRARY.finditer(told)}
    with tarfile.open(target, "w", dereference=True) as archive:
        for path in sorted({*files, *libraries, Path(INTERPRETER)}):
            archive.add(path)
