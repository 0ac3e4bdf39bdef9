"""C(virtlab host): KVM hosts without a cluster."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from virtlab.hosts import requirements
from virtlab.hosts.fleet import Hosts, default_directory
from virtlab.hosts.host import Host

LACKING = 3  # exit status of `virtlab host check`


def run(arguments: argparse.Namespace) -> int:
    """Raises HostError."""
    hosts = Hosts(arguments.directory or default_directory())
    match arguments.action:
        case "check":
            return _check()
        case "start":
            for host in hosts.start(*arguments.names, tls=arguments.tls, kvm=arguments.kvm):
                print(host.name, host.uri)
        case "list":
            for host in hosts:
                print(host.name, host.uri, _state(host))
        case "stop":
            hosts.stop(*arguments.names, delete=arguments.delete)
        case "exec":
            command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
            entering = hosts[arguments.name].command(command or ["sh"])
            os.execvpe(entering[0], entering, {**os.environ, "PATH": requirements.SEARCHED})
        case "kill-daemon":
            hosts[arguments.name].kill_daemon()
        case "start-daemon":
            hosts[arguments.name].start_daemon()
        case "crash":
            hosts[arguments.name].crash()
    return 0


def _check() -> int:
    lacking = list(requirements.missing())
    for line in lacking:
        print(line, file=sys.stderr)
    if not requirements.has("bindfs"):
        print("bindfs is missing: hosts have no storage that libvirt takes for shared", file=sys.stderr)
    return LACKING if lacking else 0


def _state(host: Host) -> str:
    if not host.running:
        return "off"
    return "running" if host.daemon_running else "without-libvirtd"


def add_actions(top: argparse.ArgumentParser) -> None:
    """The actions of C(virtlab host)."""
    actions = top.add_subparsers(dest="action", required=True, metavar="ACTION")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument(
        "--directory",
        type=Path,
        metavar="DIRECTORY",
        help="where the hosts live (VIRTLAB_HOSTS, else virtlab-hosts below XDG_STATE_HOME)",
    )

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, parents=[place], help=text, description=f"{text[0].upper()}{text[1:]}.")

    def of_one(name: str, text: str) -> argparse.ArgumentParser:
        added = action(name, text)
        added.add_argument("name", metavar="NAME")
        return added

    action("check", "say what is missing for hosts on this machine; exit status 3 if something is")
    starting = action("start", "start hosts and print their names and URIs")
    starting.add_argument("names", metavar="NAME", nargs="+")
    starting.add_argument("--tls", action="store_true", help="give new hosts certificates, and listen with them")
    starting.add_argument("--kvm", action="store_true", help="show them /dev/kvm, which has to work")
    action("list", "print the hosts, their URIs and states")
    stopping = action("stop", "switch hosts off, all of them without names")
    stopping.add_argument("names", metavar="NAME", nargs="*")
    stopping.add_argument("--delete", action="store_true", help="and delete what is theirs")
    executing = of_one("exec", "run a command inside a host")
    executing.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    of_one("kill-daemon", "kill the libvirtd of a host, and nothing else")
    of_one("start-daemon", "start the libvirtd of a host")
    of_one("crash", "cut the power of a host")
