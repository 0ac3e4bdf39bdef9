"""The common instance types that virt-operator deploys (kubevirt/common-instancetypes), from a table of series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from virtlab.resource import Object

PREFIX = "instancetype.kubevirt.io"
REALTIME = {
    "cpu-load-balancing.crio.io": "disable",
    "cpu-quota.crio.io": "disable",
    "irq-load-balancing.crio.io": "disable",
}
DEDICATED = {"dedicatedCPUPlacement": True, "isolateEmulatorThread": True}
NUMA: dict[str, Any] = {"numa": {"guestMappingPassthrough": {}}}

# size: (vCPUs, memory)
SMALL = {
    "nano": (1, "512Mi"),
    "micro": (1, "1Gi"),
    "small": (1, "2Gi"),
    "medium": (1, "4Gi"),
    "large": (2, "8Gi"),
    "xlarge": (4, "16Gi"),
    "2xlarge": (8, "32Gi"),
    "4xlarge": (16, "64Gi"),
    "8xlarge": (32, "128Gi"),
}
COMPUTE = {
    "medium": (1, "2Gi"),
    "large": (2, "4Gi"),
    "xlarge": (4, "8Gi"),
    "2xlarge": (8, "16Gi"),
    "4xlarge": (16, "32Gi"),
    "8xlarge": (32, "64Gi"),
}
MEMORY = {
    "large": (2, "16Gi"),
    "xlarge": (4, "32Gi"),
    "2xlarge": (8, "64Gi"),
    "4xlarge": (16, "128Gi"),
    "8xlarge": (32, "256Gi"),
}
NETWORK = {
    "medium": (4, "4Gi"),
    "large": (4, "8Gi"),
    "xlarge": (8, "16Gi"),
    "2xlarge": (16, "32Gi"),
    "4xlarge": (32, "64Gi"),
    "8xlarge": (64, "128Gi"),
}


@dataclass(frozen=True)
class Series:
    """C(page_sizes): a series with huge pages has one type a page size; the name of 1Gi ones ends in C(1gi)."""

    name: str
    title: str
    kind: str
    sizes: dict[str, tuple[int, str]]
    cpu: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    page_sizes: tuple[str, ...] = ("",)
    io_threads: bool = False
    all_sockets: bool = False


SERIES = (
    Series("u1", "General Purpose", "general.purpose", {**SMALL, "2xmedium": (2, "4Gi")}),
    Series("o1", "Overcommitted", "overcommitted", SMALL, memory={"overcommitPercent": 50}),
    Series(
        "cx1",
        "Compute Exclusive",
        "compute.exclusive",
        COMPUTE,
        cpu={**DEDICATED, **NUMA},
        page_sizes=("2Mi", "1Gi"),
        io_threads=True,
        all_sockets=True,
    ),
    Series("d1", "Dedicated vCPU", "dedicated.vcpu", {**SMALL, "2xmedium": (2, "4Gi")}, DEDICATED, io_threads=True),
    Series("m1", "Memory Intensive", "memory.intensive", MEMORY, page_sizes=("2Mi", "1Gi")),
    Series("n1", "Network", "network", NETWORK, DEDICATED, {"hugepages": {"pageSize": "1Gi"}}, annotations=REALTIME),
    Series(
        "rt1",
        "Realtime",
        "realtime",
        {name: size for name, size in SMALL.items() if name != "nano"},
        {**DEDICATED, **NUMA, "realtime": {}},
        {"hugepages": {"pageSize": "1Gi"}},
        annotations=REALTIME,
    ),
)


def instancetypes() -> Iterator[Object]:
    """Every common VirtualMachineClusterInstancetype."""
    for series in SERIES:
        for size, (cpus, memory) in series.sizes.items():
            for page_size in series.page_sizes:
                yield _instancetype(series, f"{size}1gi" if page_size == "1Gi" else size, cpus, memory, page_size)


def _instancetype(series: Series, size: str, cpus: int, memory: str, page_size: str) -> Object:
    labels = {
        f"{PREFIX}/class": series.kind,
        f"{PREFIX}/cpu": str(cpus),
        f"{PREFIX}/memory": memory,
        f"{PREFIX}/size": size,
        f"{PREFIX}/vendor": "kubevirt.io",
        f"{PREFIX}/version": "1",
        "app.kubernetes.io/component": "kubevirt",
        "app.kubernetes.io/managed-by": "virt-operator",
    }
    if page_size:
        labels[f"{PREFIX}/hugepages"] = page_size
    spec: Object = {
        "cpu": {"guest": cpus, **series.cpu},
        "memory": {"guest": memory, **series.memory},
    }
    if page_size:
        spec["memory"]["hugepages"] = {"pageSize": page_size}
    if series.all_sockets:
        spec["cpu"]["maxSockets"] = cpus
    if series.io_threads:
        spec["ioThreadsPolicy"] = "auto"
    if series.annotations:
        spec["annotations"] = dict(series.annotations)
    return {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {
            "name": f"{series.name}.{size}",
            "labels": labels,
            "annotations": {f"{PREFIX}/displayName": series.title},
        },
        "spec": spec,
    }
