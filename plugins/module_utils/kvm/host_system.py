# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Linux system that is made into a KVM host: its files, packages, units, users and firewall.

Each thing has a way to read it and a way to change it; nothing here decides.
"""

from __future__ import annotations

import calendar
import fcntl
import grp
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from ..task import Failure
from .host_plan import Release

# Lines of a command's output that an error shows.
_TOLD = 15
# Seconds to wait for whoever else installs packages.
_LOCK_PATIENCE = 600


class System:
    """The system below C(root), which is the running one unless it is a test's."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where a file of the system is."""
        return self._root / name.lstrip("/")

    def read(self, name: str) -> str:
        """The text of a file, empty where there is none."""
        try:
            return self.path(name).read_text()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise Failure(f"Cannot read {name}: {error.strerror}. Run the task as root (become: true).") from error

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file at once; one that is there keeps its mode and owner, a new one is root's."""
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            about = path.stat() if path.exists() else None
            with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                try:
                    file.write(text)
                    os.fchmod(file.fileno(), stat.S_IMODE(about.st_mode) if about else mode)
                    if about is not None and os.geteuid() == 0:
                        os.fchown(file.fileno(), about.st_uid, about.st_gid)
                    file.flush()
                    os.fsync(file.fileno())
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except OSError as error:
            raise Failure(f"Cannot write {name}: {error.strerror}. Run the task as root (become: true).") from error

    @property
    def has_systemd(self) -> bool:
        """Whether systemd runs the system (https://www.freedesktop.org/software/systemd/man/sd_booted.html)."""
        return self.path("/run/systemd/system").is_dir()

    def changed(self, name: str) -> float:
        """When a file was written, in seconds of the clock; 0 where there is none."""
        try:
            return self.path(name).stat().st_mtime
        except OSError:
            return 0.0

    def executables(self, names: Iterable[str]) -> set[str]:
        """Those daemons of these names that are installed."""
        places = ("/usr/sbin", "/usr/bin", "/usr/local/sbin")
        return {name for name in names if any(self.path(f"{place}/{name}").exists() for place in places)}


def run(*command: str, environment: Mapping[str, str] | None = None, ok: Sequence[int] = (0,)) -> str:
    """What a command prints. Raises Failure with what it said where it ends with another code than C(ok)."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            check=False,
        )
    except OSError as error:
        raise Failure(f"Cannot run {command[0]}: {error.strerror}.") from error
    if done.returncode not in ok:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_TOLD:]
        raise Failure(f"`{' '.join(command)}` failed ({done.returncode}): {' '.join(told)}")
    return done.stdout


def missing_packages(release: Release, names: Sequence[str]) -> list[str]:
    """Those packages that are not installed."""
    if release.family == "debian":
        listed = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names, ok=(0, 1))
        there = {line.split()[0] for line in listed.splitlines() if line.endswith(" installed")}
    else:
        # A package can be there under another name that it provides.
        listed = run("rpm", "-q", "--whatprovides", "--qf", "%{NAME}\n", *names, ok=tuple(range(256)))
        absent = {line.split()[-1] for line in listed.splitlines() if line.startswith("no package provides ")}
        there = set(names) - absent
    return [name for name in names if name not in there]


def install(release: Release, names: Sequence[str]) -> None:
    """Install packages by the system's own means. Lists of packages are fetched where they are missing or too old."""
    if release.family == "redhat":
        manager = "dnf" if shutil.which("dnf") else "yum"
        run(manager, "-y", "install", *names)
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # A host that was just made is about to bring itself up to date, which others wait for.
    patient = ("-o", f"DPkg::Lock::Timeout={_LOCK_PATIENCE}")
    command = ("apt-get", "-y", *patient, "-o", "Dpkg::Options::=--force-confold", "install", *names)
    try:
        run(*command, environment=quiet)
    except Failure:
        _wait_for_lists()
        run("apt-get", "update", environment=quiet)
        run(*command, environment=quiet)


def _wait_for_lists() -> None:
    """Wait until nobody else fetches lists of packages; apt-get itself would give up at once."""
    with suppress(OSError), open("/var/lib/apt/lists/lock", "a") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)


def unit_states(units: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Of each unit of systemd that there is: the state of its file (C(enabled), C(static)), whether it is active."""
    told = run("systemctl", "show", "-p", "Id,LoadState,ActiveState,UnitFileState", *units)
    found = {}
    for block in told.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("LoadState") == "loaded":
            active = values.get("ActiveState") in ("active", "activating")
            found[values["Id"]] = (values.get("UnitFileState", ""), active)
    return found


def start_of(unit: str) -> int | None:
    """When the process of a service was started, in whole seconds of the clock; None where it does not run."""
    told = run("systemctl", "show", "-p", "ActiveState,ExecMainStartTimestamp", unit, environment={"TZ": "UTC"})
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    try:
        started = time.strptime(values.get("ExecMainStartTimestamp", ""), "%a %Y-%m-%d %H:%M:%S %Z")
    except ValueError:
        return None
    return calendar.timegm(started) if values.get("ActiveState") == "active" else None


def is_user(name: str) -> bool:
    """Whether the host has a user of that name."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def members(group: str) -> set[str] | None:
    """The users in a group; None where there is no such group."""
    try:
        return set(grp.getgrnam(group).gr_mem)
    except KeyError:
        return None


FIREWALLS = {"firewalld": "firewall-cmd", "ufw": "ufw"}


def closed_ports(firewall: str, ports: Sequence[str]) -> list[str]:
    """Those ports (C(16514/tcp), C(49152-49215/tcp)) that a firewall has not been told to open."""
    if firewall == "firewalld":
        listed = run(*_permanently(), "--list-ports").split()
        return [port for port in ports if port not in listed]
    listed = run("ufw", "show", "added").split()
    return [port for port in ports if port.replace("-", ":") not in listed]


def open_ports(firewall: str, ports: Sequence[str]) -> None:
    """Tell a firewall to open ports, now and from the next start on."""
    if firewall == "firewalld":
        added = [f"--add-port={port}" for port in ports]
        run(*_permanently(), *added)
        if _firewalld_runs():
            run("firewall-cmd", *added)
        return
    for port in ports:
        run("ufw", "allow", port.replace("-", ":"))


def _firewalld_runs() -> bool:
    return run("firewall-cmd", "--state", ok=(0, 251, 252)).strip() == "running"


def _permanently() -> tuple[str, ...]:
    """What reads and writes the settings of firewalld that last; the daemon keeps them while it runs."""
    return ("firewall-cmd", "--permanent") if _firewalld_runs() else ("firewall-offline-cmd",)
