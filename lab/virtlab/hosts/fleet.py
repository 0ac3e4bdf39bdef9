"""All hosts of one directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from virtlab.hosts import network, requirements, settings
from virtlab.hosts.host import Host
from virtlab.hosts.network import Hub
from virtlab.hosts.requirements import HostError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
TAKEN = ("shared", "pki", "servers")  # directories beside the hosts' own
HIDDEN = ("/run", "/var/run", "/dev", "/proc", "/sys", "/etc", "/var/lib/libvirt", "/var/cache/libvirt")


def default_directory() -> Path:
    """VIRTLAB_HOSTS, or virtlab-hosts below XDG_STATE_HOME (~/.local/state)."""
    if chosen := os.environ.get("VIRTLAB_HOSTS"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "virtlab-hosts"


class Hosts:
    """The hosts of one directory: they share a network, where each is known by its name, and a directory for disks."""

    def __init__(self, directory: Path, shared: Sequence[Path] = ()) -> None:
        """C(shared): directories that new hosts have in common beside their own one."""
        self.directory = directory.absolute()
        self._more_shared = shared
        self.shared = self.directory / "shared"
        self.hub = Hub(self.directory)

    def __getitem__(self, name: str) -> Host:
        """A host that was started once; raises HostError with those that there are."""
        host = Host(self.directory / name)
        if not (NAME.fullmatch(name) and host.exists):
            known = ", ".join(found.name for found in self) or "none"
            raise HostError(f"there is no host {name} in {self.directory}; there are: {known}")
        return host

    def __iter__(self) -> Iterator[Host]:
        yield from (Host(path.parent) for path in sorted(self.directory.glob("*/host.json")))

    def start(self, *names: str, tls: bool = False, kvm: bool = False) -> list[Host]:
        """Start hosts, all at once; those that run are left alone. Raises HostError.

        C(tls) gives a new host certificates of the directory's authority and a libvirtd that listens with them.
        C(kvm) shows it the machine's /dev/kvm; otherwise its guests are emulated in software.
        """
        requirements.require()
        self._check(names)
        with self._alone():
            hosts = [Host(self.directory / name) for name in dict.fromkeys(names)]
            for host in hosts:
                if not host.exists:
                    host.make(self._free_index(), tls=tls, shared=self._more_shared)
                elif tls and not host.identity.tls:
                    raise HostError(
                        f"host {host.name} exists without TLS; virtlab host stop --delete {host.name} first"
                    )
            self._introduce()
            self.hub.start()
            off = [host for host in hosts if not host.running]
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda host: host.boot(self.hub, kvm=kvm), off))
        return hosts

    def stop(self, *names: str, delete: bool = False) -> None:
        """Switch hosts off, all of them without names; with C(delete) their files go, too."""
        if not self.directory.is_dir():
            return
        with self._alone():
            hosts = [self[name] for name in names] if names else list(self)
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda host: host.delete() if delete else host.stop(), hosts))
            if not any(host.running for host in self):
                self.hub.stop()

    def _check(self, names: tuple[str, ...]) -> None:
        for name in names:
            if not NAME.fullmatch(name) or name in TAKEN:
                raise HostError(f"{name!r} is no name for a host: small letters, digits and dashes, at most 32")
        for hidden in HIDDEN:
            if self.directory.is_relative_to(hidden) or self.directory.resolve().is_relative_to(hidden):
                raise HostError(f"hosts have a {hidden} of their own and cannot live in {self.directory}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.shared.mkdir(exist_ok=True)
        except OSError as error:
            raise HostError(f"{self.directory} cannot hold hosts: {error.strerror}") from None

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several processes that start or stop hosts of one directory, one at a time."""
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)

    def _free_index(self) -> int:
        used = {host.identity.index for host in self}
        free = (index for index in range(1, network.MOST_HOSTS + 1) if index not in used)
        with contextlib.suppress(StopIteration):
            return next(free)
        raise HostError(f"{self.directory} holds {network.MOST_HOSTS} hosts, and can hold no more")

    def _introduce(self) -> None:
        """Tell every host the names of all; written in place, so that those that run see it."""
        text = settings.hosts_file({host.name: host.address for host in self})
        for host in self:
            (host.directory / "etc" / "hosts").write_text(text)
