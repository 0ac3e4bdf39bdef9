"""The tiny guest's file system: busybox, the guest agent, an ssh server, and modules of the kernel that it boots."""

from __future__ import annotations

import gzip
import lzma
import re
import subprocess
from pathlib import Path

from virtlab.tiny.cpio import Archive
from virtlab.tiny.packages import ImageError, Packages, run

GUEST = Path(__file__).parent / "guest"
MACHINE_DIRECTORIES = ("proc", "sys", "dev", "tmp", "run", "root", "data", "mnt", "var/log", "etc/dropbear")
LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
PROGRAMS = {  # where it is in the guest: the package and its file
    "bin/busybox": ("busybox-static", ("/bin/busybox", "/usr/bin/busybox")),
    "bin/qemu-ga": ("qemu-guest-agent", ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")),
    "bin/dropbear": ("dropbear-bin", ("/usr/sbin/dropbear",)),
}
COMPRESSION = 6


def write(target: Path, modules: Path, packages: Packages) -> None:
    """Write the initramfs; C(modules) is the kernel's /lib/modules/VERSION. Raises ImageError."""
    with gzip.GzipFile(target, "wb", compresslevel=COMPRESSION, mtime=0) as stream:
        archive = Archive(stream)
        for directory in MACHINE_DIRECTORIES:
            archive.directory(directory)
        for link in ("sbin", "usr/bin", "usr/sbin"):
            archive.link(link, "/bin")
        archive.link("var/run", "/run")
        archive.device("dev/console", 5, 1)
        archive.device("dev/null", 1, 3, 0o666)
        _add_guest(archive)
        _add_modules(archive, modules)
        for path, (package, places) in PROGRAMS.items():
            _add_program(archive, path, package, places, packages)
        archive.close()


def _add_guest(archive: Archive) -> None:
    """What this project writes itself."""
    for path in sorted(GUEST.rglob("*")):
        name = str(path.relative_to(GUEST))
        if path.is_file() and name != "modules":
            executable = name == "init" or name.startswith(("bin/", "etc/acpi/"))
            mode = 0o600 if name == "etc/shadow" else 0o755 if executable else 0o644
            archive.file(name, path.read_bytes(), mode)
    for name in ("poweroff", "reboot", "halt"):
        archive.link(f"bin/{name}", "shutdown")


def _add_modules(archive: Archive, modules: Path) -> None:
    """Those of the list that the kernel has as modules, by their bare names and in the list's order."""
    order = []
    for line in (GUEST / "modules").read_text().split():
        for path, unpack in ((modules / line, bytes), (modules / f"{line}.xz", lzma.decompress)):
            if path.exists():
                order.append(path.name.removesuffix(".xz"))
                archive.file(f"lib/modules/{order[-1]}", unpack(path.read_bytes()))
    if not order:
        raise ImageError(f"there are no kernel modules in {modules}")
    archive.file("lib/modules/order", "\n".join(order).encode())


def _add_program(archive: Archive, path: str, package: str, places: tuple[str, ...], packages: Packages) -> None:
    installed = next((Path(place) for place in places if Path(place).exists()), None)
    program = installed or packages.file(package, places[-1])
    archive.file(path, program.read_bytes(), 0o755)
    for library in _libraries(program):
        archive.file(str(library), library.read_bytes(), 0o755)
    if path == "bin/busybox":
        applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
        for applet in applets:
            archive.link(f"bin/{applet}", "busybox")


def _libraries(program: Path) -> list[Path]:
    try:
        listed = run("ldd", program)
    except ImageError:  # it is a static one
        return []
    missing = [line.split()[0] for line in listed.splitlines() if "not found" in line]
    if missing:
        raise ImageError(f"{program} needs {', '.join(missing)}, which this machine does not have")
    return [Path(match[1]) for match in LIBRARY.finditer(listed)]
