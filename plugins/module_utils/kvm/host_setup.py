# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task of C(kvm_host): the host on which it runs becomes one that runs virtual machines."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..machine.refusal import Refused
from ..task import Failure, Result, Task
from . import host_certificates, host_plan, host_services, host_system
from .conf_file import edited, settings_of
from .host_plan import DRIVERS, Release, Units
from .host_services import VERBS, answers
from .host_system import System

_GROUP = "libvirt"


def set_up_host(task: Task, system: System | None = None) -> Result:
    """Run a task of C(kvm_host). C(system) is another than the running one in tests."""
    try:
        return _Setup(task, system or System()).run()
    except Refused as refused:
        raise Failure(" ".join(f"{problem}." for problem in refused.problems)) from refused


class _Setup:
    """One run, step by step; each step reads, and changes what is not as it is to be."""

    def __init__(self, task: Task, system: System) -> None:
        self._task, self._system = task, system
        self._params: Mapping[str, Any] = task.params
        self._release: Release = host_plan.release_of(system.read("/etc/os-release"))
        self._files: dict[str, tuple[str, str]] = {}
        self._certificates: dict[str, tuple[str, int]] = {}
        # Files that the task says something of, whether or not they say it already.
        self._declared: set[str] = set()
        self._tcp: bool | None = None

    @property
    def _makes(self) -> bool:
        return not self._task.check_mode

    def run(self) -> Result:
        parts = [part for part in self._params["parts"] if part not in host_plan.PARTS[self._release.family]]
        if parts:
            raise Refused(f"parts: {', '.join(parts)} is none; {', '.join(host_plan.PARTS[self._release.family])} are")
        self._check_users()
        tls = self._tls()
        kind = self._kind()
        self._conf(kind, tls)
        installed = self._packages()
        # Packages bring the files that are edited, and the units; what was planned before them is looked at again.
        if installed and self._makes:
            kind = self._kind()
            self._conf(kind, tls)
        ports, users = self._closed_ports(tls, () if self._makes else installed), self._missing_users()
        if self._makes:
            self._write()
            self._add(users)
            self._open(ports)
        services = self._services(kind, tls, whole=self._makes or not installed)
        names = [*self._files, *self._certificates]
        changed = bool(installed or names or users or ports or any(services[verb] for verb in VERBS))
        result: Result = {
            "changed": changed,
            "family": self._release.family,
            "daemons": kind,
            "tls": tls,
            "packages": installed,
            "files": names,
            "users": users,
            "ports": ports,
            "services": services,
        }
        if self._task.diff:
            result["diff"] = [
                {"before_header": name, "after_header": name, "before": before, "after": after}
                for name, (before, after) in self._files.items()
            ]
        return result

    def _needs_root(self, what: str) -> None:
        if os.geteuid() != 0:
            raise Failure(f"Cannot {what}: only root may. Run the task as root (become: true).")

    # Packages

    def _packages(self) -> list[str]:
        """What was, or would be, installed."""
        if not self._params["packages"]:
            return []
        machine = os.uname().machine
        wanted = host_plan.packages(self._release, machine, self._params["parts"], self._params["extra_packages"])
        missing = host_system.missing_packages(self._release, wanted)
        if missing and self._makes:
            self._needs_root(f"install {', '.join(missing)}")
            host_system.install(self._release, missing)
        return missing

    # Daemons

    def _kind(self) -> str:
        """Which daemons: what is asked for, else what is used, else what is installed, else what the vendor chose."""
        names = ("libvirtd", *DRIVERS)
        installed = self._system.executables(names)
        present = installed
        if self._system.has_systemd and installed:
            states = host_system.unit_states([f"{name}.socket" for name in names])
            on = (unit for unit, (file, active) in states.items() if file == "enabled" or active)
            used = {unit.removesuffix(".socket") for unit in on}
            present = used or installed
        kind = host_plan.daemons(self._release, self._params["daemons"], present)
        if kind == "modular" and installed and not installed & set(DRIVERS):
            raise Refused("daemons: this host's libvirt has no virtqemud and its like; set daemons: monolithic")
        if kind == "monolithic" and installed and "libvirtd" not in installed:
            raise Refused("daemons: this host's libvirt has no libvirtd; set daemons: modular")
        return kind

    def _tls(self) -> bool | None:
        """Whether others may come in by TLS; None leaves it as it is, where there is nothing to prove the host by."""
        given = self._params["certificates"]
        for part, text in host_certificates.texts(given).items() if given else ():
            place, mode = host_certificates.PLACES[part]
            self._declared.add(place)
            if self._system.read(place) != text:
                self._certificates[place] = (text, mode)
        places = (host_certificates.PLACES[part][0] for part in host_certificates.OWN)
        missing = [place for place in places if not self._system.path(place).exists()]
        if self._params["tls"] is False:
            return False
        if missing and given is None:
            if self._params["tls"]:
                raise Refused(f"tls: {', '.join(missing)} is not there; give certificates, or set tls: false")
            self._task.warn(
                "Nobody can come in by TLS, as there are no certificates of the host"
                f" ({', '.join(missing)}); give certificates, or set tls: false."
            )
            return None
        return True

    # Files

    def _conf(self, kind: str, tls: bool | None) -> None:
        """Edit the texts of the files; they are written later, all together, after everything was checked."""
        places = host_plan.files(kind)
        live = settings_of(self._system.read(places["listener"]))
        self._files, self._tcp = {}, host_plan.tcp_listener(self._params["tcp_without_authentication"], live)
        self._edit(places["daemon"], self._params["daemon_settings"] or {}, "daemon_settings")
        listening = host_plan.listener_settings(tls=tls, tcp=self._tcp, sockets=self._system.has_systemd)
        asked = self._params["daemon_settings"] or {}
        if asked.get("auth_tcp") == "none" and not self._tcp:
            raise Refused(
                "daemon_settings: auth_tcp none lets anybody in who reaches the port; ask for it by name"
                " (tcp_without_authentication: true)"
            )
        self._edit(places["listener"], {**listening, **_of_listener(kind, asked)}, "daemon_settings")
        self._edit(places["qemu"], self._params["qemu_settings"] or {}, "qemu_settings")

    def _text(self, name: str) -> str:
        return self._files[name][1] if name in self._files else self._system.read(name)

    def _edit(self, name: str, settings: Mapping[str, Any], label: str) -> None:
        if settings:
            self._declared.add(name)
        before = self._system.read(name)
        after = edited(self._text(name), settings, label) if settings else self._text(name)
        if after != before:
            self._files[name] = (before, after)

    def _write(self) -> None:
        texts = {name: (after, 0o644) for name, (_before, after) in self._files.items()}
        for name, (text, mode) in {**texts, **self._certificates}.items():
            self._needs_root(f"write {name}")
            self._system.write(name, text, mode)

    # Users and firewall

    def _check_users(self) -> None:
        unknown = [user for user in self._params["users"] or () if not host_system.is_user(user)]
        if unknown:
            raise Refused(f"users: there is no user {', '.join(unknown)} on this host")

    def _missing_users(self) -> list[str]:
        """Who is not yet in the group that may use libvirt."""
        wanted = self._params["users"] or []
        there = host_system.members(_GROUP) if wanted else set()
        if there is None and self._makes:
            raise Failure(f"There is no group {_GROUP}; install libvirt's packages first (packages: true).")
        return [user for user in wanted if user not in (there or ())]

    def _add(self, users: Sequence[str]) -> None:
        for user in users:
            self._needs_root(f"add {user} to the group {_GROUP}")
            host_system.run("usermod", "--append", "--groups", _GROUP, user)

    def _closed_ports(self, tls: bool | None, coming: Sequence[str]) -> list[str]:
        """The ports that are not yet open."""
        firewall = self._params["firewall"]
        if firewall == "none":
            return []
        ports = host_plan.ports(tls=tls, tcp=self._tcp, more=self._params["extra_ports"])
        # One that would come with the packages has nothing open yet.
        if firewall in coming and not shutil.which(host_system.FIREWALLS[firewall]):
            return ports
        return host_system.closed_ports(firewall, ports)

    def _open(self, ports: Sequence[str]) -> None:
        if ports:
            self._needs_root(f"open ports in {self._params['firewall']}")
            host_system.open_ports(self._params["firewall"], ports)

    # Services

    def _services(self, kind: str, tls: bool | None, *, whole: bool) -> dict[str, Any]:
        """What was, or would be, done to the units of systemd; and whether libvirt answers."""
        mine = [place for place in self._certificates if place not in _OF_CLIENT]
        new, uri = bool(self._files or mine), self._params["uri"]
        told: dict[str, Any] = {"manager": "systemd", **{verb: [] for verb in VERBS}, "restart_required": False}
        if not self._params["start"]:
            return {**told, "manager": None, "restart_required": new, "answers": answers(uri)}
        if not self._system.has_systemd:
            does = answers(uri)
            self._task.warn(
                "systemd does not run this host, so that nothing was started or restarted; "
                + (
                    "libvirt answers."
                    if does
                    else f"start {'libvirtd' if kind == 'monolithic' else 'virtqemud'} yourself."
                )
            )
            return {**told, "manager": None, "restart_required": bool(new and does), "answers": does}
        units = host_plan.units(kind, tls=tls, tcp=self._tcp)
        states = host_system.unit_states([*units.wanted, *units.helpers, *units.unwanted, *units.daemons])
        told.update(host_services.steps(units, states, edited=new or self._is_behind(units), whole=whole))
        if self._makes and any(told[verb] for verb in VERBS):
            self._needs_root("change units of systemd")
            self._apply(units, told, [unit for unit, (_file, active) in states.items() if active])
        return {**told, "answers": answers(uri)}

    def _is_behind(self, units: Units) -> bool:
        """Whether a daemon runs that was started before its files were written, by a run that was cut off, say."""
        written = [self._system.changed(name) for name in self._declared - _OF_CLIENT]
        started = [start_of for daemon in units.daemons if (start_of := host_system.start_of(daemon)) is not None]
        return bool(written and started) and int(max(written)) > min(started)

    def _apply(self, units: Units, told: Mapping[str, Any], active: Sequence[str]) -> None:
        """Change units. Settings with which libvirt does not start are taken back, as guests need it."""
        uri = self._params["uri"]
        did, problem, since = answers(uri), "", time.time()
        try:
            host_services.apply(units, told, active)
        except Failure as failure:
            problem = str(failure)
        restarted = [daemon for daemon in units.daemons if daemon in active or daemon in told["restarted"]]
        if not problem and (did is False or answers(uri, restarted) is not False):
            return
        said = host_services.last_words(units, since) or problem or f"nothing answers at {uri}"
        for name, (before, _after) in self._files.items():
            self._system.write(name, before)
        host_services.revive(units)
        now = "it answers again" if answers(uri) else "yet it does not answer"
        kept = f" Settings are again what they were, and {now} ({', '.join(self._files)})." if self._files else ""
        raise Failure(f"libvirt does not run with what was asked for: {said}.{kept}")


_OF_CLIENT = frozenset(
    place for part, (place, _mode) in host_certificates.PLACES.items() if part not in host_certificates.OWN
)


def _of_listener(kind: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Of settings for the daemon, those that belong to the one that listens, where that is another."""
    return {} if kind == "monolithic" else {name: value for name, value in asked.items() if name in _LISTENER}


_LISTENER = frozenset(
    {"listen_tls", "listen_tcp", "tls_port", "tcp_port", "listen_addr", "auth_tcp", "auth_tls", "key_file", "cert_file"}
    | {"ca_file", "crl_file", "tls_no_verify_certificate", "tls_allowed_dn_list", "sasl_allowed_username_list"}
)
