"""One KVM host: its files, its namespaces, its libvirtd."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from virtlab.certificates import Authority
from virtlab.hosts import cgroups, network, settings
from virtlab.hosts.network import Hub
from virtlab.hosts.processes import Process
from virtlab.hosts.requirements import SEARCHED, HostError, tool

SOCKET_LIMIT = 107  # bytes of a UNIX socket's path
START_SECONDS = 60.0
DIRECTORIES = ("lib", "images", "log", "cache", "run", "dev", "swtpm-localca")


@dataclass(frozen=True)
class Identity:
    """What makes a host the same one after it was off. C(index) is the last number of its address."""

    index: int
    uuid: str
    machine_id: str
    tls: bool = False
    shared: tuple[str, ...] = ()  # more directories that all hosts have in common, beside C(shared)


class Host:
    """A host in the directory that holds its kin. It need not run, nor ever have run."""

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        self._identity_file = directory / "host.json"
        self._running_file = directory / "running.json"

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "libvirt" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """How a client on this machine reaches its libvirtd."""
        return f"qemu+unix:///system?socket={self.socket}"

    @property
    def images(self) -> Path:
        """Its own directory for disks; inside of it also known as /var/lib/libvirt/images."""
        return self.directory / "images"

    @property
    def shared(self) -> Path:
        """The directory that all hosts have, at the same path everywhere."""
        return self.directory.parent / "shared"

    @property
    def log(self) -> Path:
        """What its libvirtd has to say."""
        return self.directory / "log" / "libvirtd.log"

    @property
    def exists(self) -> bool:
        return self._identity_file.exists()

    @property
    def identity(self) -> Identity:
        return Identity(**json.loads(self._identity_file.read_text()))

    @property
    def address(self) -> str:
        """Where the other hosts find it, as they do by its name."""
        return network.address(self.identity.index)

    @property
    def init(self) -> Process | None:
        """Its first process, from outside; none when it is off."""
        return Process.read(self._running_file)

    @property
    def running(self) -> bool:
        return self.init is not None

    @property
    def daemon_running(self) -> bool:
        return self.running and self.exec(["sh", "-c", "kill -0 $(cat /run/libvirtd.pid)"]).returncode == 0

    @property
    def _group(self) -> str:
        return f"virtlab-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:12]}"

    def make(self, index: int, *, tls: bool, shared: Sequence[Path] = ()) -> None:
        """Its files, as they are before it is switched on for the first time."""
        if len(os.fsencode(self.socket)) > SOCKET_LIMIT:
            raise HostError(f"{self.socket} is longer than a socket's path may be; choose a shorter --directory")
        identity = Identity(index, str(uuid.uuid4()), secrets.token_hex(16), tls, tuple(map(str, shared)))
        self.directory.mkdir(exist_ok=True)
        settings.make_etc(self.directory / "etc", self.name, identity.machine_id)
        for name in DIRECTORIES:
            (self.directory / name).mkdir(exist_ok=True)
        (self.directory / "lib" / "images").mkdir(exist_ok=True)
        (self.directory / "shares").write_text("\n".join([str(self.shared), *identity.shared]))
        (self.directory / "address").write_text(f"{network.address(index)}/{network.LENGTH}")
        libvirt = self.directory / "etc" / "libvirt"
        (libvirt / "libvirtd.conf").write_text(settings.libvirtd(identity.uuid, tls=tls))
        (libvirt / "qemu.conf").write_text(settings.qemu(cgroups=bool(cgroups.mounted())))
        if tls:
            self._make_certificates(index)
        self._identity_file.write_text(json.dumps(asdict(identity)))

    def _make_certificates(self, index: int) -> None:
        """Where libvirt and QEMU look for them."""
        pki = self.directory.parent / "pki"
        pki.mkdir(exist_ok=True)
        authority = Authority(pki)
        certificate, key = authority.machine_files(self.name, network.address(index))
        place = self.directory / "etc" / "pki"
        for source, targets in (
            (authority.certificate_file, ("CA/cacert.pem", "qemu/ca-cert.pem")),
            (certificate, ("libvirt/servercert.pem", "libvirt/clientcert.pem")),
            (certificate, ("qemu/server-cert.pem", "qemu/client-cert.pem")),
            (key, ("libvirt/private/serverkey.pem", "libvirt/private/clientkey.pem")),
            (key, ("qemu/server-key.pem", "qemu/client-key.pem")),
        ):
            for target in targets:
                (place / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place / target)

    def boot(self, hub: Hub, *, kvm: bool) -> None:
        """Make its namespaces and start its libvirtd; raises HostError."""
        self._clear()
        with open(self.directory / "log" / "init.log", "w+") as log:
            try:
                self._start_init(hub, log, kvm=kvm)
                self.start_daemon()
            except (OSError, HostError) as error:
                log.seek(0)
                said = log.read().strip()
                self.stop()
                raise HostError(f"host {self.name} did not start: {error}{': ' if said else ''}{said}") from None

    def _clear(self) -> None:
        """What a host forgets when it is off."""
        cgroups.remove(self._group)
        for path in (self.directory / "run").iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _start_init(self, hub: Hub, log: IO[str], *, kvm: bool) -> None:
        command = [sys.executable, "-m", "virtlab.hosts.init", str(self.directory), self._group, *(["kvm"] * kvm)]
        path = os.pathsep.join(filter(None, sys.path))
        starting = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PATH": SEARCHED, "PYTHONPATH": path},
        )
        assert starting.stdin and starting.stdout
        with starting.stdin as answer, starting.stdout as said:
            first = said.readline()
            starting.wait()
            if not first:
                raise HostError("its namespaces cannot be made")
            process = Process.of(int(first))
            process.write(self._running_file)
            hub.connect(self.identity.index, process)
            answer.write("\n")
            answer.flush()
            if said.readline() != "ready\n":
                raise HostError("it cannot be furnished")

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one inside of the host; raises HostError when it is off."""
        init = self.init
        if init is None:
            raise HostError(f"host {self.name} is not running: virtlab host start {self.name}")
        joining = 'for place in $0; do echo 0 >"$place/tasks"; done; exec "$@"'
        places = " ".join(map(str, cgroups.places(self._group)))
        return ["sh", "-c", joining, places, tool("nsenter"), "-t", str(init.pid), "-a", "--", *command]

    def exec(self, command: Sequence[str], timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside of the host and say what came of it."""
        return subprocess.run(
            self.command(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PATH": SEARCHED},
        )

    def start_daemon(self) -> None:
        """Start its libvirtd, if it is not there, and come back when it takes connections; raises HostError."""
        if self.daemon_running:
            return
        done = self.exec([tool("libvirtd"), "--daemon", "--listen"], START_SECONDS)
        if done.returncode:
            raise HostError(f"libvirtd of host {self.name} does not start: {done.stderr.strip()}; see {self.log}")

    def kill_daemon(self) -> None:
        """SIGKILL to libvirtd alone, and wait until it is gone; the guests do not notice."""
        gone = "while kill -0 $pid 2>/dev/null; do sleep 0.02; done"
        self.exec(["sh", "-c", f"pid=$(cat /run/libvirtd.pid); kill -9 $pid; {gone}"])

    def crash(self) -> None:
        """As if its power were cut: every process of it dies at once."""
        if init := self.init:
            init.end()

    def stop(self) -> None:
        """Switch it off, like a crash, and leave nothing of it but its files."""
        init = self.init
        if init is not None and not init.end():
            raise HostError(f"the processes of host {self.name} do not end (its first one is {init.pid})")
        self._running_file.unlink(missing_ok=True)
        cgroups.remove(self._group)

    def delete(self) -> None:
        """Its files as well."""
        self.stop()
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory)
