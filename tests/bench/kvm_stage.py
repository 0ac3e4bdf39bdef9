"""What a benchmark of the KVM side runs on: a KVM host in namespaces of this machine, with a network and a pool."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from programs import Programs

TINY = 128  # MiB of memory
PATIENCE = 240.0  # seconds: guests are emulated, and others may share the machine

NETWORK = """
<network>
  <name>default</name>
  <bridge name='virbr0' stp='off'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'/>
</network>"""


@dataclass
class KvmStage(Programs):
    """A host, and the Python environment whose Ansible is measured."""

    lab_python: Path

    def __enter__(self) -> KvmStage:
        self.work.mkdir(parents=True, exist_ok=True)
        self._host("start", "bench")
        listed = self._host("list").split()
        self.uri = listed[1]
        pool = self.work / "pool"
        pool.mkdir(exist_ok=True)
        with self.opened() as host:
            # libvirt comes with a network of this name.
            known = {network.name(): network for network in host.listAllNetworks()}
            network = known.get("default") or host.networkDefineXML(NETWORK)
            if not network.isActive():
                network.create()
            host.storagePoolCreateXML(
                f"<pool type='dir'><name>default</name><target><path>{pool}</path></target></pool>"
            )
        return self

    def __exit__(self, *_problem: object) -> None:
        self._host("stop", "--delete")

    def lacking(self) -> str | None:
        """Why there can be no host here."""
        check = [self.lab_python, "-m", "virtlab", "host", "check"]
        bound = [self.python, "-c", "import libvirt"]
        for command in (check, bound):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode:
                return (done.stderr or done.stdout).strip().splitlines()[-1]
        return None

    @property
    def hosts(self) -> Path:
        return self.work / "hosts"

    def _host(self, verb: str, *arguments: str) -> str:
        command = [self.lab_python, "-m", "virtlab", "host", verb, "--directory", self.hosts, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise SystemExit(f"virtlab host {verb} failed: {done.stderr or done.stdout}")
        return done.stdout

    def variables(self) -> Mapping[str, str]:
        return {"LIBVIRT_DEFAULT_URI": self.uri}

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """A connection to the host, outside of what is measured."""
        import libvirt

        connection = libvirt.open(self.uri)
        try:
            yield connection
        finally:
            connection.close()

    def start(self, *names: str) -> str | None:
        """Make machines that are defined run the tiny guest, and wait for their agents; why not, where they do not."""
        disks, tiny = self.work / "disks", self.work / "tiny"
        disks.mkdir(exist_ok=True)
        command = [self.lab_python, "-m", "virtlab", "image", "tiny", tiny]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            return (done.stderr or done.stdout).strip()
        with self.opened() as host:
            for name in names:
                for disk in ("root", "data"):
                    shutil.copyfile(tiny / "tiny.qcow2", disks / f"{name}-{disk}.qcow2")
                host.lookupByName(name).undefine()
                host.defineXML(domain(name, disks, TINY)).create()
            until = time.monotonic() + PATIENCE
            while any("state='connected'" not in host.lookupByName(name).XMLDesc() for name in names):
                if time.monotonic() > until:
                    return f"not all of them have their agents after {PATIENCE:.0f} seconds"
                time.sleep(0.5)
        return None

    @contextmanager
    def away(self, milliseconds: float) -> Iterator[str]:
        """The URI of the same host as if it were so far away, one way."""
        path = self.work / "relay"
        path.unlink(missing_ok=True)
        command = [sys.executable, Path(__file__).with_name("relay.py"), path, self.uri.partition("socket=")[2]]
        relay = subprocess.Popen([*command, str(milliseconds)], stdout=subprocess.PIPE, text=True)
        assert relay.stdout
        relay.stdout.readline()
        try:
            yield f"qemu+unix:///system?socket={path}"
        finally:
            relay.kill()
            relay.wait()
            relay.stdout.close()


def domain(name: str, disks: Path = Path("/nowhere"), mebibytes: int = 512) -> str:
    """A machine like many: two CPUs, two disks, a card, the agent's channel."""
    return f"""
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{mebibytes}</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disks}/{name}-root.qcow2'/>
      <target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disks}/{name}-data.qcow2'/>
      <target dev='vdb' bus='virtio'/></disk>
    <interface type='network'><source network='default'/><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc'/>
  </devices>
</domain>"""
