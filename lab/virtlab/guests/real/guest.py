"""What is known of one guest; kept up to date by events, and only touched in the server's event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from virtlab.guests.interface import Credentials, Ending, Resized, Step
from virtlab.resource import Object

ALIAS = "ua-"  # what libvirt wants before the aliases that a user gives


@dataclass
class Transfer:
    """A migration of the guest."""

    uid: str
    target: str
    step: Step = field(default_factory=Step)
    figures: dict[str, int] = field(default_factory=dict)
    given_up: str = ""  # why it was aborted


@dataclass
class Guest:
    """C(addresses) are the agent's, by MAC: the interface's name and its addresses."""

    namespace: str
    name: str
    uid: str
    node: str
    running: bool = False
    problem: str = ""
    ending: Ending | None = None
    paused: bool = False
    held: bool = False  # standing still for a moment, while its disks are copied
    address: str = ""  # on the pod network, for life
    machine: str = ""
    vcpus: int = 0  # that it has now
    memory: int = 0  # bytes that it has now
    resizing: tuple[int, int, Resized] | None = None  # vCPUs and bytes that it was to have last, and what came of it
    disks: dict[str, str] = field(default_factory=dict)  # plugged disks, by name: their targets
    nics: dict[str, str] = field(default_factory=dict)  # plugged interfaces, by name: their MACs
    links: dict[str, bool] = field(default_factory=dict)  # whether the link is up
    info: Object | None = None
    addresses: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    stop_until: float | None = None  # when it has to be down, on the clock of the event loop
    stopped_hard: bool = False
    adjusting: bool = False
    asking: bool = False  # the agent, from time to time
    refused: dict[str, str] = field(default_factory=dict)  # devices that could not be plugged, and why
    transfer: Transfer | None = None
    credentials: tuple[Credentials, Step] | None = None  # the last that were to be set, and how far that is
    dumps: dict[str, Step] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def moving(self) -> bool:
        return self.transfer is not None and not self.transfer.step.over

    def read(self, xml: str) -> None:
        """Take in the devices of the domain as it runs."""
        domain = ET.fromstring(xml)
        kind = domain.find("./os/type")
        self.machine = kind.get("machine", "") if kind is not None else ""
        count = domain.find("vcpu")
        if count is not None:
            self.vcpus = int(count.get("current") or count.text or 0)
        self.memory = int(domain.findtext("./currentMemory") or 0) << 10  # libvirt writes it in KiB
        self.disks, self.nics, self.links = {}, {}, {}
        for disk in domain.iterfind("./devices/disk"):
            if name := _name(disk):
                target = disk.find("target")
                self.disks[name] = target.get("dev", "") if target is not None else ""
        for nic in domain.iterfind("./devices/interface"):
            if name := _name(nic):
                mac, link = nic.find("mac"), nic.find("link")
                self.nics[name] = mac.get("address", "") if mac is not None else ""
                self.links[name] = link is None or link.get("state") != "down"


def _name(device: ET.Element) -> str:
    alias = device.find("alias")
    return alias.get("name", "").removeprefix(ALIAS) if alias is not None else ""
