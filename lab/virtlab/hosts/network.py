"""The network that joins the hosts of one directory: a bridge in a network namespace that belongs to no host."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from virtlab.hosts.processes import Process
from virtlab.hosts.requirements import HostError, tool

PREFIX = "10.98.0"
LENGTH = 24
MOST_HOSTS = 250


def address(index: int) -> str:
    return f"{PREFIX}.{index}"


def ip(commands: list[str], inside: Process | None = None, *, force: bool = False) -> None:
    """Run commands of ip(8), in the network namespace of a process; C(force) goes on after one that fails."""
    entering = [tool("nsenter"), "-t", str(inside.pid), "-n"] if inside else []
    command = [*entering, tool("ip"), *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(commands) + "\n", text=True, capture_output=True, check=False)
    if done.returncode and not force:
        raise HostError(f"the hosts' network cannot be made: {done.stderr.strip()} ({'; '.join(commands)})")


class Hub:
    """The bridge, and the process that keeps its namespace: it sleeps, and ends with the last host."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "hub.json"
        self._servers = directory / "servers"

    @property
    def process(self) -> Process | None:
        return Process.read(self._file)

    def start(self) -> Process:
        if found := self.process:
            return found
        command = [tool("unshare"), "--net", "sh", "-c", "echo; exec sleep infinity >/dev/null"]
        sleeping = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        assert sleeping.stdout
        if not sleeping.stdout.readline():
            raise HostError(f"no network namespace can be made (unshare --net: exit status {sleeping.wait()})")
        sleeping.stdout.close()
        process = Process.of(sleeping.pid)
        process.write(self._file)
        ip(["link set lo up", "link add lan type bridge", "link set lan up"], process)
        return process

    def connect(self, index: int, host: Process) -> None:
        """Give a host's network namespace its interface C(lan)."""
        hub = self.start()
        port = f"lan{index}"
        ip([f"link del {port}"], hub, force=True)  # of a crashed host, whose namespace is not yet taken down
        ip([f"link add lan netns {host.pid} type veth peer name {port} netns {hub.pid}"])
        ip([f"link set {port} master lan", f"link set {port} up"], hub)

    def join(self, segment: str, index: int, host: Process, gateway: str = "") -> None:
        """Give a host a bridge C(segment) that is one Ethernet with those of the others; made where it is missing.

        C(gateway), an address with its prefix length, is the hub's own in it.
        """
        hub = self.start()
        port = f"{segment}{index}"
        making = [f"link add {segment} type bridge", f"link set {segment} up"]
        ip([*making, *([f"addr add {gateway} dev {segment}"] if gateway else []), f"link del {port}"], hub, force=True)
        ip(making, host, force=True)
        ip([f"link add {port} netns {host.pid} type veth peer name {port} netns {hub.pid}"])
        for place in (hub, host):
            ip([f"link set {port} master {segment}", f"link set {port} up"], place)

    def serve_addresses(self, segment: str, network: IPv4Network, directory: Path) -> None:
        """Start the DHCP server of a segment, if none runs: it gives what files in C(directory)/hosts reserve."""
        file = self._servers / f"{segment}.json"
        if Process.read(file) is not None:
            return
        self._servers.mkdir(exist_ok=True)
        (directory / "hosts").mkdir(parents=True, exist_ok=True)
        server = subprocess.Popen(
            [
                *(tool("nsenter"), "-t", str(self.start().pid), "-n"),
                *(tool("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"),
                *(f"--interface={segment}", "--bind-interfaces", "--except-interface=lo", "--dhcp-authoritative"),
                *(f"--dhcp-range={network.network_address},static,{network.netmask},infinite", "--dhcp-option=6"),
                *(f"--dhcp-hostsdir={directory}/hosts", f"--dhcp-leasefile={directory}/leases", "--no-ping"),
                f"--log-facility={directory}/log",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        Process.of(server.pid).write(file)

    def stop(self) -> None:
        """End it, and the servers in it."""
        for file in (*self._servers.glob("*.json"), self._file):
            if process := Process.read(file):
                process.end()
            file.unlink(missing_ok=True)
