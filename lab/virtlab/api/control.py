"""/virtlab/: how the lab's own command steers the running server. For the administrator's token alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import orjson
from aiohttp import web

from virtlab import __version__, load
from virtlab.api.errors import page_not_found
from virtlab.api.negotiation import JSON
from virtlab.cluster import Cluster
from virtlab.faults import FaultError
from virtlab.guests.power import checked
from virtlab.hosts.requirements import HostError
from virtlab.operation import ADMIN, User
from virtlab.resource import Object
from virtlab.status import StatusError, bad_request

PREFIX = "/virtlab/"


def answer(
    cluster: Cluster,
    requests: Counter[str],
    user: User,
    method: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
) -> web.Response:
    _require_admin(user)
    match method, path.removeprefix(PREFIX).strip("/"):
        case "GET", "status":
            return _json(status(cluster))
        case "GET", "requests":
            return _json({"total": requests.total(), "requests": dict(requests.most_common())})
        case "DELETE", "requests":
            requests.clear()
            return _json({"total": 0})
        case "GET", "faults":
            return _json({"faults": cluster.faults.described()})
        case "POST", "faults":
            try:
                fault = cluster.faults.add(**_object(body))
            except (FaultError, TypeError) as error:
                raise bad_request(str(error)) from None
            return _json({"id": fault.id}, 201)
        case "DELETE", "faults":
            number = query.get("id")
            return _json({"cleared": cluster.faults.clear(int(number) if number else None)})
        case "POST", "load":
            try:
                return _json(load.fill(cluster, **_object(body)))
            except (load.LoadError, TypeError) as error:
                raise bad_request(str(error)) from None
        case "POST", "expire":
            cluster.store.expire()
            return _json({"resourceVersion": str(cluster.store.version)})
        case "GET", "nodes":
            return _json({"nodes": {name: "off" if cluster.power.down(name) else "on" for name in _nodes(cluster)}})
    return page_not_found()


def switches(method: str, path: str) -> bool:
    """Whether a request is one that C(switch) answers."""
    return (method, path.removeprefix(PREFIX).strip("/")) == ("POST", "nodes")


async def switch(cluster: Cluster, user: User, body: bytes) -> web.Response:
    """Cut or restore the power of a node."""
    _require_admin(user)
    wanted = _object(body)
    name, on = wanted.get("name"), wanted.get("on")
    if not isinstance(name, str) or not isinstance(on, bool):
        raise bad_request("name (of a node) and on (true or false) are needed")
    if name not in _nodes(cluster):
        raise bad_request(f"there is no node {name}; there are: {', '.join(_nodes(cluster))}")
    try:
        checked(cluster.power, name, on=on)
        await (cluster.power.restore(name) if on else cluster.power.cut(name))
    except HostError as error:
        raise bad_request(str(error)) from None
    return _json({"name": name, "on": on})


def _nodes(cluster: Cluster) -> list[str]:
    return [entry.object["metadata"]["name"] for entry in cluster.store.entries(("", "nodes"))]


def _require_admin(user: User) -> None:
    if user.name != ADMIN.name:
        raise StatusError(403, f'forbidden: User "{user.name}" cannot steer the lab', "Forbidden")


def status(cluster: Cluster) -> Object:
    keys = cluster.store.keys()
    counts = {f"{plural}.{group}" if group else plural: cluster.store.count((group, plural)) for group, plural in keys}
    return {
        "version": __version__,
        "resourceVersion": str(cluster.store.version),
        "timeFactor": cluster.clock.factor,
        "guests": cluster.guests.description,
        "objects": dict(sorted(counts.items())),
        "faults": len(cluster.faults.described()),
    }


def _object(body: bytes) -> Object:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(str(error)) from None
    if not isinstance(value, dict):
        raise bad_request("a JSON object is needed")
    return value


def _json(value: object, code: int = 200) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(value), headers={"Content-Type": JSON})
