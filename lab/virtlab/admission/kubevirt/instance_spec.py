"""All rules for an instance's spec, in the order in which virt-api tries them and lists their causes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from virtlab.admission.kubevirt import architecture, compute, network, placement, storage
from virtlab.admission.kubevirt.settings import Settings
from virtlab.admission.webhook import REQUIRED, at
from virtlab.resource import Object
from virtlab.status import Cause

Rule = Callable[[str, Object, Settings], Iterator[Cause]]

RULES: tuple[Rule, ...] = (
    placement.host_name,
    placement.subdomain,
    compute.memory_requests,
    compute.memory_limits,
    compute.huge_pages,
    compute.guest_memory,
    compute.machine_type,
    compute.acpi_tables,
    compute.cpu_amounts,
    compute.dedicated_cpus,
    compute.numa,
    compute.cpu_options,
    compute.start_strategy,
    compute.realtime,
    placement.affinity,
    placement.topology_spread,
    network.networks,
    storage.boot_order,
    compute.inputs,
    compute.io_threads,
    placement.probes,
    storage.disks,
    compute.firmware,
    storage.volumes,
    storage.container_disks,
    storage.utility_volumes,
    storage.access_credentials,
    placement.dns,
    placement.eviction,
    compute.displays,
    compute.host_devices,
    compute.sound,
    architecture.launch_security,
    compute.gated_devices,
    storage.file_systems,
    compute.video,
    compute.panic_devices,
    compute.gated_policies,
    placement.service_account,
)


def problems(path: str, spec: Object, settings: Settings) -> Iterator[Cause]:
    """Everything that virt-api refuses in a spec whose defaults are filled in."""
    for rule in RULES:
        yield from rule(path, spec, settings)


def memory_is_given(path: str, spec: Object) -> Iterator[Cause]:
    """For instances only."""
    memory = at(spec, "domain", "memory") or {}
    if at(spec, "domain", "resources", "requests", "memory"):
        return
    if memory.get("guest") is None and memory.get("hugepages") is None:
        message = (
            f"no memory requested, at least one of '{path}.domain.memory.guest', "
            f"'{path}.domain.memory.hugepages.pageSize' or '{path}.domain.resources.requests.memory' must be set"
        )
        yield Cause(message, None, REQUIRED)
