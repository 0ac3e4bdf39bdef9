"""Guests that are domains on KVM hosts. All state is the event loop's; what waits for libvirt is done in threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import libvirt

from virtlab.controllers.kubevirt import instance_status
from virtlab.controllers.kubevirt.launchers import guest_memory, vcpus
from virtlab.guests.interface import (
    DONE,
    WAITING,
    Agent,
    CommandFailed,
    Credentials,
    Ending,
    Inspection,
    Move,
    Moved,
    Resized,
    Step,
)
from virtlab.guests.real import agent, moving, plugging, sizing
from virtlab.guests.real.files import NoGuest
from virtlab.guests.real.guest import Guest, Transfer
from virtlab.guests.real.nodes import Node, Nodes
from virtlab.guests.real.power import RealPower
from virtlab.guests.real.workshop import Workshop
from virtlab.resource import Object

if TYPE_CHECKING:
    from virtlab.cluster import Cluster

log = logging.getLogger(__name__)

Result = TypeVar("Result")

THREADS = 12
ASK_AGAIN = 5.0  # seconds between two questions for addresses: nothing tells of those
ASK_SOON = 0.5  # while the guest has none
ABORT_AGAIN = 0.2  # seconds until libvirt is asked once more to call a migration off
TRY_AGAIN = 5.0  # seconds until a device is plugged again that could not be
CRASHED = Ending("Failed", "The VirtualMachineInstance crashed.")
POWERED_OFF = Ending("Succeeded", "The VirtualMachineInstance was shut down.")
GRACE = 30


class RealGuests:
    """Implements Guests."""

    simulated = False
    node = "KVM host in namespaces of this machine"

    def __init__(self, cluster: Cluster, nodes: Nodes, directory: Path) -> None:
        """C(directory) holds the guests' own files, on all nodes."""
        version = libvirt.getVersion()
        self.description = (
            f"real (QEMU domains of libvirt {version // 1000000}.{version // 1000 % 1000}, emulated in software)"
        )
        self.nodes = nodes
        self.directory = directory
        self.shop = Workshop(cluster, nodes, directory)
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="guests")
        self._guests: dict[str, Guest] = {}
        self._followers: list[Callable[[str, str], None]] = []
        self.power = RealPower(nodes, self.work)

    def happened(self, node: str, uid: str, what: str, event: int, detail: int) -> None:
        """Something happened to a domain; called in libvirt's thread."""
        with contextlib.suppress(RuntimeError):  # the lab is ending
            self._loop.call_soon_threadsafe(self._take_in, node, uid, what, event, detail)

    def adopt(self, instances: Iterable[Object]) -> None:
        """Take over the guests that run on the nodes already, of which the instances tell the rest."""
        addresses = {vmi["metadata"]["uid"]: pod_network_address(vmi) for vmi in instances}
        for node in self.nodes.all.values():
            for domain in node.active():
                namespace, _, name = domain.name().partition("_")
                guest = Guest(namespace, name, domain.UUIDString(), node.name, running=True)
                guest.paused = domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
                guest.address = addresses.get(guest.uid, "")
                guest.read(domain.XMLDesc(0))
                self._guests[guest.uid] = guest
                self._loop.call_soon(self._ask, guest)

    def known(self, vmi: Object) -> Guest | None:
        """The instance's guest, if it runs."""
        guest = self._guests.get(vmi["metadata"]["uid"])
        return guest if guest is not None and guest.running and guest.ending is None else None

    def named(self, namespace: str, name: str) -> Guest | None:
        return next(
            (guest for guest in self._guests.values() if guest.key == (namespace, name) and guest.running), None
        )

    def place(self, guest: Guest) -> Node:
        """The node that the guest is on."""
        return self.nodes.all[guest.node]

    def domain(self, guest: Guest) -> Any:
        """Raises libvirtError."""
        return self.place(guest).domain(guest.uid)

    async def work(self, job: Callable[[], Result]) -> Result:
        """Do in a thread what waits for libvirt."""
        return await self._loop.run_in_executor(self._pool, job)

    # What the controllers ask

    def follow(self, changed: Callable[[str, str], None]) -> None:
        self._followers.append(changed)

    def boot(self, vmi: Object, pod: Object) -> Step:
        metadata = vmi["metadata"]
        guest = self._guests.get(metadata["uid"])
        if guest is None:
            guest = Guest(metadata["namespace"], metadata["name"], metadata["uid"], pod["spec"]["nodeName"])
            guest.address = pod["status"]["podIP"]
            self._guests[guest.uid] = guest
            self._begin(self._start(guest, vmi))
        if guest.problem:
            return Step(problem=guest.problem)
        return DONE if guest.running else WAITING

    def agent(self, vmi: Object) -> Agent:
        guest = self.known(vmi)
        return Agent(guest.info if guest is not None else None)

    def ended(self, vmi: Object) -> Ending | None:
        guest = self._guests.get(vmi["metadata"]["uid"])
        return CRASHED if guest is None else guest.ending

    def paused(self, vmi: Object) -> bool | None:
        guest = self.known(vmi)
        return None if guest is None or guest.moving else guest.paused and not guest.held

    def shut_down(self, vmi: Object) -> Step:
        guest = self._guests.get(vmi["metadata"]["uid"])
        if guest is None or guest.ending is not None or guest.problem:
            hard = guest is not None and guest.stopped_hard
            return Step(problem="The VirtualMachineInstance was destroyed after its grace period.") if hard else DONE
        grace = vmi["spec"].get("terminationGracePeriodSeconds")
        until = self._loop.time() + (GRACE if grace is None else grace)
        if guest.stop_until is None or until < guest.stop_until:
            first, guest.stop_until = guest.stop_until is None, until
            if first and guest.running:
                self._begin(self._signal_shutdown(guest))
        left = guest.stop_until - self._loop.time()
        if left > 0:
            return Step(wait=left)
        if not guest.stopped_hard:
            guest.stopped_hard = True
            self._begin(self._destroy(guest))
        return WAITING

    def forget(self, vmi: Object) -> None:
        guest = self._guests.pop(vmi["metadata"]["uid"], None)
        if guest is not None:
            self._begin(self._clear(guest))

    def hardware(self, vmi: Object) -> Object:
        guest = self.known(vmi)
        found = instance_status.hardware(vmi)
        if guest is not None and guest.machine:
            found["machine"] = {"type": guest.machine}
        return found

    def interfaces(self, vmi: Object, pod_address: str, *, agent: bool) -> list[Object]:
        guest = self._guests.get(vmi["metadata"]["uid"])
        if guest is None:
            return instance_status.interfaces(vmi, pod_address, agent=False)
        found = instance_status.interfaces(vmi, guest.address or pod_address, agent=False)
        return [self._told(entry, guest) for entry in found]

    def volumes(self, vmi: Object, statuses: list[Object]) -> list[Object]:
        guest = self.known(vmi)
        return statuses if guest is None else [self._attached(entry, guest) for entry in statuses]

    def adjust(self, vmi: Object) -> None:
        guest = self.known(vmi)
        if guest is None or guest.adjusting or guest.moving:
            return
        wanted = plugging.changes(guest, vmi)
        if wanted:
            guest.adjusting = True
            self._begin(self._plug(guest, vmi, wanted))

    def migrate(self, vmi: Object, move: Move) -> Moved:
        guest = self.known(vmi)
        if guest is None:
            return Moved(Step(problem="the guest is gone"))
        if guest.moving and guest.transfer is not None and guest.transfer.uid != move.uid:
            return Moved(WAITING)  # one that was called off is still being undone
        if guest.transfer is None or guest.transfer.uid != move.uid:
            guest.transfer, guest.resizing = Transfer(move.uid, move.target), None
            self._begin(self._move(guest, guest.transfer, move))
        return Moved(guest.transfer.step, guest.transfer.figures)

    def abort(self, vmi: Object, move_uid: str) -> None:
        guest = self.known(vmi)
        if guest is not None and guest.moving and guest.transfer is not None and guest.transfer.uid == move_uid:
            guest.transfer.given_up = "the migration was canceled"
            self._begin(self._abort(guest))

    def resize(self, vmi: Object) -> Resized:
        guest = self.known(vmi)
        if guest is None:
            return Resized(cpu_problem="the guest is gone", memory_problem="the guest is gone")
        wanted = (vcpus(vmi["spec"]), guest_memory(vmi["spec"]))
        if guest.resizing is None or guest.resizing[:2] != wanted:
            guest.resizing = (*wanted, Resized(over=False))
            self._begin(self._resize(guest, *wanted))
        return guest.resizing[2]

    def memory(self, vmi: Object) -> int | None:
        guest = self.known(vmi)
        return guest.memory or None if guest is not None else None

    def dump(self, vmi: Object, label: str, path: Path | None) -> Step:
        guest = self.known(vmi)
        if guest is None or path is None:
            return Step(problem="there is no guest, or no file for its memory")
        if label not in guest.dumps:
            guest.dumps[label] = WAITING
            self._begin(self._dump(guest, label, path))
        return guest.dumps[label]

    def set_credentials(self, vmi: Object, wanted: Credentials) -> Step:
        guest = self.known(vmi)
        if guest is None:
            return WAITING
        if guest.credentials is None or guest.credentials[0] != wanted:
            guest.credentials = (wanted, WAITING)
            self._begin(self._set_credentials(guest, wanted))
        return guest.credentials[1]

    async def inspect(self, vmi: Object) -> Inspection:
        guest = self.known(vmi)
        if guest is None:
            raise CommandFailed("the guest is not running")
        try:
            return await self.work(lambda: agent.inspect(self.domain(guest)))
        except libvirt.libvirtError as error:
            raise CommandFailed(str(error)) from error

    async def command(self, vmi: Object, command: str) -> None:
        guest = self.known(vmi)
        if guest is None:
            raise CommandFailed("the guest is not running")
        try:
            await self.work(lambda: _command(self.domain(guest), command, agent=guest.info is not None))
        except libvirt.libvirtError as error:
            raise CommandFailed(str(error)) from error
        if command in ("pause", "unpause"):
            guest.paused = command == "pause"

    # Status

    def _told(self, entry: Object, guest: Guest) -> Object:
        """An interface's status with what the agent says of it."""
        if guest.running and entry["name"] not in guest.nics:
            kept: Object = {key: entry[key] for key in ("name", "mac", "podInterfaceName") if key in entry}
            return {**kept, "infoSource": "multus-status"}
        name, addresses = guest.addresses.get(entry.get("mac", ""), ("", []))
        if not name or guest.info is None:
            return entry
        told = {
            **entry,
            "interfaceName": name,
            "infoSource": entry["infoSource"].replace("domain", "domain, guest-agent"),
        }
        if addresses:
            told.update(ipAddress=addresses[0], ipAddresses=addresses)
        return told

    def _attached(self, entry: Object, guest: Guest) -> Object:
        """A volume's status as the domain has it."""
        name = entry["name"]
        if "hotplugVolume" not in entry or name in guest.disks:
            return {**entry, "target": guest.disks.get(name, entry.get("target", ""))}
        if entry.get("phase") not in plugging.MOUNTED:
            return {**entry, "target": ""}
        why = guest.refused.get(name)
        return {**entry, "target": "", **({"message": why, "reason": "AttachFailed"} if why else {})}

    # Life

    def _begin(self, coroutine: Any) -> None:
        """Let something run by itself; what goes wrong unexpectedly is in the log."""
        task = self._loop.create_task(coroutine)
        task.add_done_callback(_note_failure)

    def _changed(self, guest: Guest) -> None:
        for follower in self._followers:
            follower(*guest.key)

    async def _start(self, guest: Guest, vmi: Object) -> None:
        try:
            sources = self.shop.sources(vmi)
            xml, paused = await self.work(lambda: self.shop.create(self.place(guest), vmi, guest.address, sources))
        except (NoGuest, libvirt.libvirtError) as error:
            guest.problem = str(error)
        else:
            guest.read(xml)
            guest.paused = paused
            guest.running = True
        self._changed(guest)

    async def _signal_shutdown(self, guest: Guest) -> None:
        with contextlib.suppress(libvirt.libvirtError):
            if guest.paused:
                await self.work(lambda: self.domain(guest).resume())
            await self.work(lambda: _shut_down(self.domain(guest), agent=guest.info is not None))

    async def _destroy(self, guest: Guest) -> None:
        try:
            await self.work(lambda: self.domain(guest).destroy())
        except libvirt.libvirtError:
            guest.ending = guest.ending or CRASHED
            self._changed(guest)

    async def _clear(self, guest: Guest) -> None:
        """Nothing of it stays but what its console said."""
        if guest.ending is None:
            with contextlib.suppress(libvirt.libvirtError):
                await self.work(lambda: self.domain(guest).destroy())
        guest.running = False
        self._changed(guest)
        place = self.directory / f"{guest.namespace}_{guest.name}"
        if self.named(*guest.key) is None and not any(other.key == guest.key for other in self._guests.values()):
            await self.work(lambda: _remove_but_log(place))
        self.shop.unplug(guest.nics.values())

    async def _plug(self, guest: Guest, vmi: Object, wanted: plugging.Changes) -> None:
        def change() -> dict[str, str]:
            disks = self.shop.disks(vmi, wanted, sources)
            nics = self.shop.plug_in(vmi, guest.address) if wanted.interfaces else {}
            return plugging.apply(self.domain(guest), wanted, disks, nics)

        try:
            sources = self.shop.sources(vmi)
            guest.refused = await self.work(change)
            guest.read(await self.work(lambda: str(self.domain(guest).XMLDesc(0))))
        except (NoGuest, libvirt.libvirtError) as error:
            guest.refused = {disk["name"]: str(error) for disk in wanted.disks}
        if guest.refused:
            for name, why in guest.refused.items():
                log.warning("%s/%s: %s is not plugged: %s", *guest.key, name, why)
            self._loop.call_later(TRY_AGAIN, self._adjusted, guest)
        else:
            self._adjusted(guest)

    def _adjusted(self, guest: Guest) -> None:
        guest.adjusting = False
        self._changed(guest)

    async def _resize(self, guest: Guest, count: int, memory: int) -> None:
        try:
            done = await self.work(lambda: sizing.resize(self.domain(guest), count, memory))
            guest.read(await self.work(lambda: str(self.domain(guest).XMLDesc(0))))
        except libvirt.libvirtError as error:
            done = Resized(cpu_problem=str(error), memory_problem=str(error))
        guest.resizing = (count, memory, done)
        self._changed(guest)

    async def _dump(self, guest: Guest, label: str, path: Path) -> None:
        def write() -> None:
            flags = libvirt.VIR_DUMP_MEMORY_ONLY
            self.domain(guest).coreDumpWithFormat(str(path), libvirt.VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, flags)

        try:
            await self.work(write)
        except libvirt.libvirtError as error:
            guest.dumps[label] = Step(problem=str(error))
        else:
            guest.dumps[label] = DONE
        self._changed(guest)

    async def _set_credentials(self, guest: Guest, wanted: Credentials) -> None:
        step = DONE
        try:
            await self.work(lambda: agent.set_credentials(self.domain(guest), wanted))
        except libvirt.libvirtError as error:
            step = Step(problem=str(error))
        if guest.credentials is not None and guest.credentials[0] is wanted:
            guest.credentials = (wanted, step)
        self._changed(guest)

    # Migration

    async def _move(self, guest: Guest, transfer: Transfer, move: Move) -> None:
        target = self.nodes.all[move.target]
        timer = None
        if move.timeout:
            timer = self._loop.call_later(move.timeout, self._out_of_time, guest, transfer, move.timeout)

        def copy() -> tuple[str, dict[str, int]]:
            self.shop.make_room(target)
            moving.move(self.domain(guest), move)
            arrived = target.domain(guest.uid)
            return arrived.XMLDesc(0), moving.figures(arrived)

        try:
            xml, figures = await self.work(copy)
        except libvirt.libvirtError as error:
            transfer.step = Step(problem=transfer.given_up or str(error))
        else:
            guest.node = move.target
            guest.read(xml)
            transfer.figures, transfer.step = figures, DONE
            log.info("%s/%s moved to %s: %s", *guest.key, move.target, figures)
        finally:
            if timer is not None:
                timer.cancel()
        self._changed(guest)

    def _out_of_time(self, guest: Guest, transfer: Transfer, seconds: float) -> None:
        transfer.given_up = f"Live migration is not completed after {int(seconds)} seconds and has been aborted"
        self._begin(self._abort(guest))

    async def _abort(self, guest: Guest) -> None:
        """Ask until the migration is over: libvirt forgets what it is asked before the copying has begun."""
        transfer = guest.transfer
        while guest.moving and guest.transfer is transfer:
            with contextlib.suppress(libvirt.libvirtError):
                await self.work(lambda: self.domain(guest).abortJob())
            await asyncio.sleep(ABORT_AGAIN)

    # Events

    def _take_in(self, node: str, uid: str, what: str, event: int, detail: int) -> None:
        if what == "closed":
            self._begin(self._reconnect(self.nodes.all[node]))
            return
        guest = self._guests.get(uid)
        if guest is None or guest.node != node:
            return
        if what == "lifecycle":
            self._live(guest, event, detail)
        elif what == "agent":
            connected = event == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED
            if connected:
                self._ask(guest)
            else:
                guest.info, guest.addresses = None, {}
                self._changed(guest)
        elif guest.running:
            self._begin(self._look(guest))

    def _live(self, guest: Guest, event: int, detail: int) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
                return
            good = detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN
            guest.ending = POWERED_OFF if good else CRASHED
        elif event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and detail != libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED:
            guest.paused = True
        elif event == libvirt.VIR_DOMAIN_EVENT_RESUMED:
            guest.paused = False
        else:
            return
        self._changed(guest)

    async def _look(self, guest: Guest) -> None:
        """Devices came or went."""
        with contextlib.suppress(libvirt.libvirtError):
            guest.read(await self.work(lambda: str(self.domain(guest).XMLDesc(0))))
            self._changed(guest)

    def _ask(self, guest: Guest) -> None:
        if not guest.asking and guest.ending is None and self._guests.get(guest.uid) is guest:
            guest.asking = True
            self._begin(self._ask_agent(guest))

    async def _ask_agent(self, guest: Guest) -> None:
        """Ask the agent about the system once, and about addresses from time to time."""
        before = guest.info, guest.addresses
        try:
            domain = await self.work(lambda: self.domain(guest))
            if guest.info is None:
                guest.info = await self.work(lambda: agent.system(domain))
            guest.addresses = await self.work(lambda: agent.addresses(domain))
        except libvirt.libvirtError as error:
            if error.get_error_code() in (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_NO_DOMAIN):
                return  # the next connection tells
        finally:
            guest.asking = False
        if (guest.info, guest.addresses) != before:
            self._changed(guest)
        found = any(addresses for _name, addresses in guest.addresses.values())
        self._loop.call_later(ASK_AGAIN if found else ASK_SOON, self._ask, guest)

    async def _reconnect(self, node: Node) -> None:
        """A node's libvirtd ended, or all of the node; its guests may live on."""
        there = [guest for guest in self._guests.values() if guest.node == node.name and guest.running]
        while node.host.running:
            try:
                active = await self.work(lambda: {domain.UUIDString() for domain in node.active()})
            except libvirt.libvirtError:
                await asyncio.sleep(1)
                continue
            there = [guest for guest in there if guest.uid not in active]
            break
        else:
            self.power.lost(node.name)
        for guest in there:
            guest.ending = guest.ending or CRASHED
            self._changed(guest)


def _note_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a guest was not taken care of", exc_info=task.exception())


def _shut_down(domain: Any, *, agent: bool) -> None:
    if agent:
        with contextlib.suppress(libvirt.libvirtError):
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            return
    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


def _command(domain: Any, command: str, *, agent: bool) -> None:
    match command:
        case "pause":
            domain.suspend()
        case "unpause":
            domain.resume()
        case "reset":
            domain.reset(0)
        case "soft-reboot":
            domain.reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT if agent else libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
        case "freeze":
            domain.fsFreeze()
        case "unfreeze":
            domain.fsThaw()
        case _:
            raise CommandFailed(f"a guest does not know the command {command}")


def _remove_but_log(place: Path) -> None:
    for path in place.glob("*"):
        if path.name != "console.log":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def pod_network_address(vmi: Object) -> str:
    """The address that a guest has on the pod network, by what its instance tells; empty where it has none."""
    networks = {item["name"] for item in vmi["spec"].get("networks") or () if "pod" in item}
    interfaces = (vmi.get("status") or {}).get("interfaces") or ()
    return next((str(item.get("ipAddress") or "") for item in interfaces if item.get("name") in networks), "")
