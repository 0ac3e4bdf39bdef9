"""MAC addresses of virtual machines: kubemacpool gives out those that are missing and refuses those in use.

A namespace opts out with the label C(mutatevirtualmachines.kubemacpool.io: ignore). The lab gives addresses out only
from a range that NetworkAddonsConfig names (HyperConverged's kubeMacPoolConfiguration), so that a VM without one stays
as it was declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from virtlab.admission.registry import mutating
from virtlab.admission.webhook import at, deleting, failed, items
from virtlab.operation import Operation
from virtlab.resource import Object
from virtlab.store import Event, Store

WEBHOOK = "mutatevirtualmachines.kubemacpool.io"
RESOURCE = "virtualmachines.kubevirt.io"
MACHINES = ("kubevirt.io", "virtualmachines")
CONFIG = ("networkaddonsoperator.network.kubevirt.io", "networkaddonsconfigs")


def number(mac: str) -> int:
    return int(mac.replace(":", "").replace("-", "").replace(".", ""), 16)


def written(value: int) -> str:
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6))


def addresses(vm: Object) -> Iterator[str]:
    for interface in items(vm, "spec", "template", "spec", "domain", "devices", "interfaces"):
        mac = interface.get("macAddress")
        if mac:
            yield str(mac).lower().replace("-", ":")


class Pool:
    """Who holds which address, kept up to date by the store's events."""

    def __init__(self, store: Store) -> None:
        self.holders: dict[str, set[str]] = {}
        self._last = -1
        for entry in store.entries(MACHINES):
            self._hold(entry.object)
        store.subscribe(self._observe)

    @staticmethod
    def _path(vm: Object) -> str:
        return f"{vm['metadata'].get('namespace')}/{vm['metadata']['name']}"

    def _hold(self, vm: Object) -> None:
        for mac in addresses(vm):
            self.holders.setdefault(mac, set()).add(self._path(vm))

    def _observe(self, event: Event) -> None:
        if event.key != MACHINES:
            return
        if event.previous is not None:
            for mac in addresses(event.previous.object):
                self.holders.get(mac, set()).discard(self._path(event.previous.object))
        if event.type != "DELETED":
            self._hold(event.object)

    def holder(self, mac: str, path: str) -> str | None:
        """Another VM that holds the address."""
        return next((other for other in sorted(self.holders.get(mac, ())) if other != path), None)

    def allocate(self, first: int, last: int) -> str:
        """A free address of the range, after the one given out last. Raises LookupError when all are taken."""
        size = last - first + 1
        start = self._last + 1 - first if first <= self._last < last else 0
        for step in range(size):
            candidate = first + (start + step) % size
            if not self.holders.get(written(candidate)):
                self._last = candidate
                return written(candidate)
        raise LookupError("the range is full")


_pools: WeakKeyDictionary[Store, Pool] = WeakKeyDictionary()


def pool(store: Store) -> Pool:
    """The pool of a store, made when first asked for."""
    found = _pools.get(store)
    if found is None:
        found = _pools[store] = Pool(store)
    return found


def _range(operation: Operation) -> tuple[int, int] | None:
    """The configured range; None where the pool is not deployed or has none of its own."""
    for entry in operation.cluster.store.entries(CONFIG):
        wanted = at(entry.object, "spec", "kubeMacPool") or {}
        if wanted.get("rangeStart") and wanted.get("rangeEnd"):
            return number(wanted["rangeStart"]), number(wanted["rangeEnd"])
    return None


def _deployed(operation: Operation) -> bool:
    return any(at(entry.object, "spec", "kubeMacPool") is not None for entry in operation.cluster.store.entries(CONFIG))


def _managed(operation: Operation) -> bool:
    entry = operation.cluster.store.find(("", "namespaces"), None, operation.namespace or "")
    labels = at(entry.object, "metadata", "labels") if entry is not None else None
    return (labels or {}).get(WEBHOOK) != "ignore"


@mutating(RESOURCE, "CREATE", "UPDATE")
def give_addresses(operation: Operation) -> None:
    vm = operation.object
    assert vm is not None
    if deleting(operation) or not _deployed(operation) or not _managed(operation):
        return
    span = _range(operation)
    known, path = pool(operation.cluster.store), f"{operation.namespace}/{operation.name}"
    before = {
        interface.get("name"): interface.get("macAddress")
        for interface in items(operation.old, "spec", "template", "spec", "domain", "devices", "interfaces")
    }
    for interface in items(vm, "spec", "template", "spec", "domain", "devices", "interfaces"):
        mac = interface.get("macAddress")
        if mac:
            holder = known.holder(str(mac).lower().replace("-", ":"), path)
            if holder is not None and mac != before.get(interface.get("name")):
                why = f"Failed to allocate mac to the vm object: failed to allocate requested mac address {mac}"
                raise failed(WEBHOOK, f"{why}: MAC address is already in use by vm/{holder}", 500)
        elif before.get(interface.get("name")):
            interface["macAddress"] = before[interface["name"]]
        elif span is not None:
            interface["macAddress"] = known.allocate(*span)
