"""The first process of a host: it makes the host's namespaces and furnishes them, and buries what dies in them.

It is run as C(python -m virtlab.hosts.init DIRECTORY CGROUP) and says on its output what the host's first process is
(of those who look from outside), then C(ready). libvirtd is not it: as PID 1 it would bury nobody's children.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from virtlab.hosts import cgroups, kernel

NODES = (
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "fuse",
    "loop-control",
    "userfaultfd",
    "vsock",
    "vhost-vsock",
)
PRIVATE = {  # what of the machine a host has for itself
    "etc": "/etc",
    "lib": "/var/lib/libvirt",
    "images": "/var/lib/libvirt/images",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "swtpm-localca": "/var/lib/swtpm-localca",
    "run": "/run",
}
LIBVIRT_DIRECTORIES = ("qemu", "images", "boot", "swtpm", "dnsmasq")


def main() -> None:
    directory, group, *options = sys.argv[1:]
    for place in cgroups.make(group):
        (place / "tasks").write_text("0")
    kernel.unshare(kernel.NEW_NAMESPACES | kernel.NEW_CGROUP)
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    sys.stdin.readline()  # the network is there once the line is
    _furnish(Path(directory), kvm="kvm" in options)
    print("ready", flush=True)
    _detach(Path(directory))
    _bury()


def _furnish(directory: Path, *, kvm: bool) -> None:
    socket.sethostname(directory.name)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc")
    controllers = cgroups.mounted()
    kernel.mount("sysfs", "/sys", "sysfs")
    if controllers:
        _mount_cgroups(controllers)
    _make_dev(directory / "dev", kvm=kvm)
    if shutil.which("bindfs"):
        for shared in (directory / "shares").read_text().splitlines():
            command = ["bindfs", "-o", "subtype=glusterfs,direct_io,allow_other", shared, shared]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    for name, target in PRIVATE.items():
        if Path(target).is_dir():
            kernel.bind(directory / name, target)
    for name in LIBVIRT_DIRECTORIES:
        Path("/var/lib/libvirt", name).mkdir(exist_ok=True)
    Path("/run/lock").mkdir()
    address = (directory / "address").read_text()
    commands = f"link set lo up\naddr add {address} dev lan\nlink set lan up\n"
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)


def _mount_cgroups(controllers: list[str]) -> None:
    kernel.mount("tmpfs", cgroups.ROOT, "tmpfs", options="mode=755")
    for controller in controllers:
        place = cgroups.ROOT / controller
        place.mkdir()
        kernel.mount("cgroup", place, "cgroup", options=controller)


def _make_dev(directory: Path, *, kvm: bool) -> None:
    """A /dev of its own: hiding the node of KVM is the one way in which libvirt keeps what it found out about QEMU."""
    kernel.mount("tmpfs", directory, "tmpfs", options="mode=755")
    for name in ("pts", "shm", "net", "mapper", "hugepages"):
        (directory / name).mkdir()
    loops = [path.name for path in Path("/dev").glob("loop[0-9]*")]
    for name in (*NODES, *loops, "net/tun", *(("kvm",) if kvm else ())):
        _copy_node(Path("/dev", name), directory / name)
    for name, target in (("fd", "/proc/self/fd"), ("ptmx", "pts/ptmx"), ("stdin", "fd/0"), ("stdout", "fd/1")):
        (directory / name).symlink_to(target)
    (directory / "stderr").symlink_to("fd/2")
    kernel.mount("devpts", directory / "pts", "devpts", options="newinstance,ptmxmode=0666,mode=620")
    kernel.mount("tmpfs", directory / "shm", "tmpfs")
    kernel.mount(directory, "/dev", flags=kernel.MS_BIND | kernel.MS_REC)


def _copy_node(source: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = source.stat()
        os.mknod(target, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev)
        target.chmod(stat.S_IMODE(found.st_mode))


def _detach(directory: Path) -> None:
    """Keep nothing of the process that started the host."""
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _bury() -> None:
    """Reap whatever ends, forever; a signal that comes in between stays pending."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        signal.sigwait([signal.SIGCHLD])


if __name__ == "__main__":
    main()
