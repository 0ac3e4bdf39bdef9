# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a machine, as C(vm) and C(kvm_vm) read it: what is declared, checked, in one place.

None everywhere means: not declared, left as it is or to the system. What only one of the two sides can do is data
(C(CLUSTER_ONLY), C(KVM_ONLY)), so that the other refuses it with a message that says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import names
from .cloud_init import CloudInit, read_cloud_init
from .disks import Disk, read_disks
from .firmware import Firmware, read_firmware
from .interfaces import Interface, read_interfaces
from .processor import Cpu, Memory, read_cpu, read_memory
from .refusal import Problems

# Options that only a cluster understands, and what a KVM host offers instead.
CLUSTER_ONLY = {
    "cpu.dedicated": "pin its CPUs with <cputune> in xml",
    "disks.boot_source.namespace": "name the pool that holds the image with disks.boot_source.pool",
    "disks.http.secret": "put the credentials into the URL",
    "disks.http.cert_config_map": "make the CA known to the system that runs the task",
    "disks.registry": "use disks.http, or name an image file or volume with disks.path or disks.boot_source",
    "disks.clone_pvc": "copy a volume with disks.boot_source",
    "disks.clone_snapshot": "copy a volume with disks.boot_source",
    "disks.pvc": "use disks.volume",
    "disks.data_volume": "use disks.volume",
    "disks.container_disk": "use disks.volume or disks.path",
    "disks.ephemeral": "use disks.volume",
    "disks.empty": "use disks.blank",
    "disks.config_map": "put the content into cloud_init",
    "disks.secret": "put the content into cloud_init",
    "disks.service_account": "put the content into cloud_init",
    "disks.sysprep": "attach an image with disks.path",
    "disks.storage_class": "use disks.pool",
    "disks.access_modes": "leave it out",
    "disks.volume_mode": "leave it out",
    "interfaces.ports": "filter the ports on the host",
    "cloud_init.secret": "put the content into cloud_init.user_data",
    "cloud_init.network_secret": "put the content into cloud_init.network_data",
}

# Options that only a KVM host understands, and what a cluster offers instead.
KVM_ONLY = {
    "disks.volume": "use disks.pvc or disks.data_volume",
    "disks.path": "use disks.pvc, disks.http or disks.container_disk",
    "disks.pool": "use disks.storage_class",
    "disks.format": "leave it out; the cluster stores raw images",
    "disks.boot_source.pool": "use disks.boot_source.namespace",
    "disks.http.checksum": "leave it out; CDI checks none",
    "interfaces.portgroup": "use a network that has the VLAN",
}


@dataclass(frozen=True)
class Machine:
    """A machine as declared."""

    cpu: Cpu | None = None
    memory: Memory = field(default_factory=Memory)
    firmware: Firmware | None = None
    machine_type: str | None = None
    hostname: str | None = None
    disks: tuple[Disk, ...] | None = None
    interfaces: tuple[Interface, ...] | None = None
    cloud_init: CloudInit | None = None


def read_machine(options: Mapping[str, Any], other_side: Mapping[str, str], here: str) -> Machine:
    """The machine that validated module options describe.

    C(other_side) is the table of options that C(here) ("a cluster", "a KVM host") cannot honour. Raises Refused with
    every problem found.
    """
    problems = Problems()
    for path, instead in other_side.items():
        if any(value not in (None, False, [], {}) for value in _values(options, path.split("."))):
            problems.add(f"{path}: is not for {here}; {instead}")
    cpu = problems.take(lambda: read_cpu(options.get("cpu")))
    memory = problems.take(lambda: read_memory(options))
    firmware = problems.take(lambda: read_firmware(options.get("firmware")))
    disks = problems.take(lambda: read_disks(options.get("disks"), other_side))
    interfaces = problems.take(lambda: read_interfaces(options.get("interfaces")))
    seed = problems.take(lambda: read_cloud_init(options.get("cloud_init"), options.get("ssh_keys")))
    hostname = options.get("hostname")
    if hostname is not None:
        problems.take(lambda: names.device_name(hostname, "hostname"))
    _check_boot_order(problems, disks or (), interfaces or ())
    problems.refuse()
    return Machine(cpu, memory or Memory(), firmware, options.get("machine_type"), hostname, disks, interfaces, seed)


def _values(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Every value at C(path), through lists."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, path)
    elif not path:
        yield value
    elif isinstance(value, Mapping):
        yield from _values(value.get(path[0]), path[1:])


def _check_boot_order(problems: Problems, disks: Sequence[Disk], interfaces: Sequence[Interface]) -> None:
    taken: dict[int, str] = {}
    for kind, devices in (("disk", disks), ("interface", interfaces)):
        for device in devices:
            if device.boot_order is None or device.absent:
                continue
            label = f"{kind} {device.name}"
            if device.boot_order in taken:
                problems.add(f"boot_order: {taken[device.boot_order]} and {label} are both {device.boot_order}")
            taken.setdefault(device.boot_order, label)
