"""Whether a lab's guests are real, and what makes them so."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtlab.hosts import requirements
from virtlab.hosts.fleet import Hosts
from virtlab.hosts.requirements import HostError
from virtlab.state import State

if TYPE_CHECKING:
    from virtlab.cluster import Cluster
    from virtlab.guests.real.nodes import Nodes

log = logging.getLogger(__name__)

KINDS = ("simulated", "real", "auto")


def missing() -> Iterator[str]:
    """What a machine lacks for real guests, a sentence each."""
    yield from requirements.missing()
    if importlib.util.find_spec("libvirt") is None:
        yield "libvirt-python is missing: install libvirt-dev, pkg-config and gcc, then pip install libvirt-python"


def wants_real(kind: str) -> bool:
    """Raises HostError when real guests are asked for and cannot be had."""
    if kind == "simulated":
        return False
    lacking = list(missing())
    if not lacking:
        return True
    text = "; ".join(lacking)
    if kind == "real":
        raise HostError(f"guests cannot be real here: {text}")
    log.info("guests are simulated: %s", text)
    return False


@dataclass
class Running:
    """The nodes of real guests, while the lab runs."""

    state: State
    nodes: Nodes

    def prepare(self, cluster: Cluster) -> None:
        """Give the cluster its guests; to be called in its event loop, before its controllers are made."""
        from virtlab.guests.real.guests import RealGuests
        from virtlab.guests.real.quiet import RealQuiescer
        from virtlab.guests.real.streams import RealStreams
        from virtlab.subresources.kubevirt import backends

        guests = RealGuests(cluster, self.nodes, self.state.guests)
        names = sorted(entry.object["metadata"]["name"] for entry in cluster.store.entries(("", "nodes"), None))
        self.nodes.start(names, guests.happened)
        running = cluster.store.entries(("kubevirt.io", "virtualmachineinstances"), None)
        guests.adopt(entry.object for entry in running)
        cluster.guests, cluster.power = guests, guests.power
        if cluster.volumes is not None:
            cluster.volumes.quiescer = RealQuiescer(guests)
        backends.register(cluster, RealStreams(guests))

    def stop(self) -> None:
        self.nodes.stop()


def explain(state: State) -> Callable[[Cluster], None]:
    """Let a cluster with simulated guests say why they are no real ones, where these were wanted."""
    lacking = "; ".join(missing()) if state.settings.guests == "auto" else ""

    def prepare(cluster: Cluster) -> None:
        if lacking:
            cluster.guests.description += f" ({lacking})"

    return prepare


def open_nodes(state: State) -> Running | None:
    """None where guests are simulated. Raises HostError."""
    if not wants_real(state.settings.guests):
        return None
    from virtlab.guests.real.nodes import Nodes

    for directory in (state.storage, state.guests):
        directory.mkdir(exist_ok=True)
    return Running(state, Nodes(state.hosts, (state.storage, state.guests)))


def stop_nodes(state: State) -> None:
    """Whatever a lab that was killed left running. Raises HostError."""
    Hosts(state.hosts).stop()


def delete_nodes(state: State) -> None:
    """Their files as well. Raises HostError."""
    Hosts(state.hosts).stop(delete=True)
    shutil.rmtree(state.hosts, ignore_errors=True)
