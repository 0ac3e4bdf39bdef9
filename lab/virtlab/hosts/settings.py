"""What a host's /etc says: libvirtd and QEMU's driver, names, certificates."""

from __future__ import annotations

import shutil
from pathlib import Path

# Kept out of a host's copy of /etc: what the machine's own libvirtd defines, and what no guest has to do with.
FOREIGN = ("libvirt/qemu/*.xml", "libvirt/qemu/autostart", "libvirt/qemu/networks/autostart", "libvirt/storage")
FOREIGN_SECRETS = ("libvirt/secrets", "shadow-", "gshadow-")


def libvirtd(uuid: str, *, tls: bool) -> str:
    return f"""\
host_uuid = "{uuid}"
listen_tls = {int(tls)}
listen_tcp = 1
listen_addr = "0.0.0.0"
auth_tcp = "none"
auth_tls = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
max_clients = 200
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""


def qemu(*, cgroups: bool) -> str:
    return f"""\
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
namespaces = []
{"" if cgroups else "cgroup_controllers = []"}
swtpm_user = "root"
swtpm_group = "root"
vnc_listen = "127.0.0.1"
migration_address = "0.0.0.0"
"""


def make_etc(etc: Path, name: str, machine_id: str) -> None:
    """A host's own /etc: a copy of the machine's without what that machine's libvirtd defines."""
    shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True, ignore=_special)
    for pattern in (*FOREIGN, *FOREIGN_SECRETS):
        for path in etc.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (etc / "libvirt" / "qemu").mkdir(parents=True, exist_ok=True)
    for file, text in (
        ("hostname", f"{name}\n"),
        ("machine-id", f"{machine_id}\n"),
        ("resolv.conf", ""),
        ("hosts", ""),
    ):
        (etc / file).unlink(missing_ok=True)
        (etc / file).write_text(text)


def _special(directory: str, names: list[str]) -> list[str]:
    """Sockets and pipes cannot be copied."""
    paths = (Path(directory) / name for name in names)
    return [path.name for path in paths if not (path.is_symlink() or path.is_file() or path.is_dir())]


def hosts_file(addresses: dict[str, str]) -> str:
    """The hosts of one directory find each other by name."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    return "\n".join([*lines, *(f"{address} {name}" for name, address in sorted(addresses.items()))]) + "\n"
