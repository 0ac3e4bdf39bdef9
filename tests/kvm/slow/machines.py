"""Bare machines, each a Debian that systemd runs (in a container of systemd-nspawn), and a controller beside them.

They have Python, sudo, an ssh server and a proxy to the mirrors of this machine's own Debian; nothing of libvirt. The
network is a bridge in a namespace of its own. The controller lives there, too: processes that know the machines' names,
an ssh client and a certificate that are let in.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from playing import Ansible, Played, executable
from proxy import proxy
from virtlab.certificates import Authority
from virtlab.cloud_image import bare
from virtlab.hosts import cgroups, network, requirements
from virtlab.hosts.network import Hub, address
from virtlab.hosts.processes import Process

# Whom the machines let in beside root, by the same key; sudo lets them become root.
USER = "keeper"
CONTROLLER, PROXY_PORT = address(254), 3128
PATIENCE = 180.0  # seconds for a machine to boot; it takes three when nobody else wants the processors
T = TypeVar("T")
DEVICES = ("/dev/net/tun", "/dev/fuse")


def missing() -> Iterator[str]:
    """What of this machine such machines need, and is not there."""
    if platform.machine() != "x86_64":
        yield "the packages are those of x86_64"
        return
    yield from requirements.missing()
    for name in ("systemd-nspawn", "mmdebstrap", "ssh", "ssh-keygen", "virsh"):
        if not requirements.has(name):
            yield f"{name} is missing: see install_kvm_packages in bin/setup.sh"


def _is_unified() -> bool:
    return (cgroups.ROOT / "cgroup.controllers").exists()


class Machine:
    """A machine that may run; C(root) is its file system."""

    def __init__(self, directory: Path, index: int) -> None:
        self.name, self.index = directory.name, index
        self.root = directory / "root"
        self._log = directory / "console"
        self._nspawn: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return address(self.index)

    def furnish(self, key: str, hosts: str) -> str:
        """Make its root; who has the key is let in as root. Returns the line that known_hosts has of it."""
        self.root.parent.mkdir()
        bare.copy(self.root)
        subprocess.run(["ssh-keygen", "-q", "-A", "-f", self.root], check=True)
        told = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
        checks = [line for line in told.splitlines() if line.startswith("Acquire::Check-")]
        ours = [f'Acquire::http::Proxy "http://{CONTROLLER}:{PROXY_PORT}";', *checks]
        subprocess.run(["chroot", self.root, "useradd", "--create-home", "--shell=/bin/bash", USER], check=True)
        files = {
            "root/.ssh/authorized_keys": key,
            f"etc/sudoers.d/{USER}": f"{USER} ALL=(ALL) NOPASSWD:ALL\n",
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{hosts}",
            "etc/apt/apt.conf.d/90ours": "\n".join(ours) + "\n",
            "etc/dpkg/dpkg.cfg.d/ours": "force-unsafe-io\n",
        }
        # Nobody's own services; where the processors are busy, whoever logs in would wait for them.
        (self.root / "etc/systemd/system/user@.service").symlink_to("/dev/null")
        for name, content in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.root / name).write_text(content)
        shutil.copytree(self.root / "root/.ssh", self.root / "home" / USER / ".ssh")
        subprocess.run(["chroot", self.root, "chown", "-R", f"{USER}:", f"/home/{USER}/.ssh"], check=True)
        return f"{self.name},{self.address} {(self.root / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"

    def boot(self, hub: Hub) -> None:
        """Start it, and wait until systemd is done."""
        # Where systemd runs this machine, it has to know what it gives away; elsewhere nobody is there to ask.
        alone = not Path("/run/systemd/system").is_dir()
        entering = self._enter_cgroups() if alone else []
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                [
                    *(*entering, "systemd-nspawn", "--quiet", "--boot", f"--machine={self.name}"),
                    *("--register=no", *(["--keep-unit"] if alone else [])),
                    *(f"--directory={self.root}", "--private-network", "--capability=all", "--resolv-conf=off"),
                    *("--link-journal=no", "--console=pipe", "--timezone=off"),
                    *(f"--bind={device}" for device in DEVICES if Path(device).exists()),
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": str(int(_is_unified()))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        init = self._wait_for_init()
        hub.connect(self.index, init)
        network.ip([f"addr add {self.address}/{network.LENGTH} dev lan", "link set lan up"], init)
        done = self.exec("systemctl", "is-system-running", "--wait")
        assert done.stdout.strip() in ("running", "degraded"), f"{self.name}: {done.stdout}{done.stderr}{self.console}"

    def _enter_cgroups(self) -> list[str]:
        """A command that runs another one in cgroups of its own, in which its systemd takes itself for the only one."""
        for place in self._cgroups:
            place.mkdir()
        written = "".join(f"echo $$ >{place}/cgroup.procs; " for place in self._cgroups)
        return ["sh", "-c", f'{written}exec "$@"', "sh"]

    @property
    def _cgroups(self) -> list[Path]:
        places = [cgroups.ROOT] if _is_unified() else [cgroups.ROOT / "systemd", cgroups.ROOT / "unified"]
        return [place / f"{self.root.parent.parent.name}-{self.name}" for place in places if place.is_dir()]

    @property
    def console(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def _wait_for_init(self) -> Process:
        """The machine's first process, once systemd listens on its bus."""
        until = time.monotonic() + PATIENCE
        while True:
            assert self._nspawn and self._nspawn.poll() is None, f"{self.name} does not start: {self.console}"
            if (init := self.init) and Path(f"/proc/{init.pid}/root/run/systemd/private").exists():
                return init
            assert time.monotonic() < until, f"{self.name} does not boot: {self.console}"
            time.sleep(0.1)

    @property
    def init(self) -> Process | None:
        """systemd, seen from here."""
        assert self._nspawn
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        for pid in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return Process.of(int(pid))
        return None

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root."""
        assert self.init
        entering = ["nsenter", "-t", str(self.init.pid), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
        return subprocess.run(
            [*entering, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def end(self) -> None:
        """Switch it off as by its plug."""
        if self._nspawn is None:
            return
        if self._nspawn.poll() is None and (init := self.init):
            init.end()
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for place in self._cgroups:
            cgroups.clear(place, time.monotonic() + cgroups.PATIENCE)


class Machines:
    """Machines that run for the time of a C(with) block, and the controller that reaches them."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.directory = directory
        self.machines = [Machine(directory / name, index) for index, name in enumerate(names, 1)]
        self.client = directory / "client"
        self._hub = Hub(directory)
        self._stack = ExitStack()

    def __getitem__(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def __enter__(self) -> Machines:
        with ExitStack() as stack:
            stack.callback(self._hub.stop)
            hub = self._hub.start()
            network.ip([f"addr add {CONTROLLER}/{network.LENGTH} dev lan"], hub)
            stack.enter_context(proxy(hub.pid, (CONTROLLER, PROXY_PORT)))
            self._furnish()
            for machine in self.machines:
                stack.callback(machine.end)
            self._each(lambda machine: machine.boot(self._hub))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _each(self, work: Callable[[Machine], T]) -> list[T]:
        """Have something done with all machines at a time."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(work, self.machines))

    def _furnish(self) -> None:
        key = self.directory / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "controller", "-f", key], check=True)
        hosts = "".join(f"{machine.address} {machine.name}\n" for machine in self.machines)
        public = key.with_suffix(".pub").read_text()
        known = self._each(lambda machine: machine.furnish(public, hosts))
        (self.directory / "known_hosts").write_text("".join(known))
        (self.directory / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        (self.directory / "ssh_config").write_text(
            f"Host *\n  IdentityFile {key}\n  IdentitiesOnly yes\n  BatchMode yes\n"
            f"  UserKnownHostsFile {self.directory}/known_hosts\n  StrictHostKeyChecking yes\n"
        )
        pki = self.directory / "pki"
        pki.mkdir()
        authority = Authority(pki)
        for machine in self.machines:
            authority.machine_files(machine.name, machine.address)
        self.client.mkdir()
        certificate, private = authority.machine_files("controller", CONTROLLER)
        for source, name in ((authority.certificate_file, "ca"), (certificate, "client"), (private, "client")):
            shutil.copy(source, self.client / f"{name}{'key' if source is private else 'cert'}.pem")

    def run(
        self, *command: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the controller is."""
        hub = self._hub.process
        assert hub
        binds = [("hosts", "/etc/hosts"), ("ssh_config", "/etc/ssh/ssh_config")]
        mounts = "".join(f"mount --bind {self.directory}/{ours} {theirs} && " for ours, theirs in binds)
        inside = mounts + "exec " + shlex.join(map(str, command))
        return subprocess.run(
            ["nsenter", "-t", str(hub.pid), "-n", "unshare", "--mount", "sh", "-c", inside],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def play(self, ansible: Ansible, playbook: Path, *arguments: str) -> Played:
        """Run a playbook there."""
        # A connection that is kept for later would outlive its machine, and be taken for one to the next of its name.
        alone = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_PIPELINING": "true"}
        environment = {**ansible.settings, **alone}
        done = self.run(executable("ansible-playbook"), playbook, *arguments, environment=environment, timeout=900.0)
        return Played(done.returncode, done.stdout + done.stderr)
