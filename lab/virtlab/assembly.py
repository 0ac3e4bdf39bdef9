"""How the parts of the lab become one cluster. The only place that knows them all."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable

import virtlab.admission
import virtlab.auth
import virtlab.controllers
import virtlab.schema
import virtlab.subresources
from virtlab import bootstrap
from virtlab.auth.authentication import Authenticator
from virtlab.auth.rbac import Authorizer
from virtlab.auth.tokens import TokenAuthority, generate_key
from virtlab.catalog import Catalog
from virtlab.clock import Clock
from virtlab.cluster import Cluster
from virtlab.controllers.runtime import Controller, Manager
from virtlab.datapath.volumes import Volumes, tidy
from virtlab.operation import ADMIN
from virtlab.schema.source import open_schemas
from virtlab.state import State
from virtlab.store import Store

REGISTERING = (virtlab.admission, virtlab.auth, virtlab.subresources, virtlab.controllers, virtlab.schema)


def load_parts() -> None:
    """Import every module that registers itself: hooks, actions, controllers, converters."""
    for package in REGISTERING:
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)


def controllers() -> list[type[Controller]]:
    """Every controller there is, in a stable order."""
    return sorted(_leaves(Controller), key=lambda kind: (kind.__module__, kind.__qualname__))


def _leaves(kind: type[Controller]) -> Iterable[type[Controller]]:
    for below in kind.__subclasses__():
        if below.watches:
            yield below
        yield from _leaves(below)


def assemble(state: State, prepare: Callable[[Cluster], None] | None = None) -> tuple[Cluster, Manager]:
    """The cluster of C(state), filled with what every cluster holds, and the manager of its controllers.

    C(prepare) is done with the cluster before there are controllers.
    """
    load_parts()
    settings = state.settings
    schemas = open_schemas()
    cluster = Cluster(
        Store(state.database),
        Catalog(resource for resource in schemas.resources if not resource.custom),
        schemas=schemas,
        clock=Clock(settings.time_factor),
        seed=settings.seed,
    )
    cluster.ca_certificate = state.authority.pem
    cluster.volumes = Volumes(state.storage)
    cluster.authorizer = Authorizer(cluster.store)
    keys = TokenAuthority(state.secret("service-account.key", generate_key().decode()).encode(), clock=cluster.clock)
    cluster.authenticator = Authenticator(cluster, keys, {state.admin_token: ADMIN})
    bootstrap.fill(cluster)
    tidy(cluster)
    if prepare is not None:
        prepare(cluster)
    return cluster, Manager(cluster, controllers())
